// SPDX-License-Identifier: GPL-2.0-or-later
/* The state area: what is adopted, slots and their waiters, and the ownership word under races. */
#include "lib/area.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "kvm/cleanup.h"
#include "util.h"

#define SLOTS	  4U
#define SLOT_SIZE 8000U /* rounded up to 8192 */
#define ROUNDS	  20000U
#define SEALS	  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct fixture {
	struct area source, target;
	unsigned n_open;
};

static int setup(void **state)
{
	static struct fixture f;

	f.n_open = count_fds();
	f.source = f.target = (struct area)AREA_INIT;
	if (area_create(&f.source, SLOTS, SLOT_SIZE) < 0 ||
	    area_adopt(&f.target, dup(f.source.fd), SLOTS, SLOT_SIZE) < 0)
		return -1;
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	area_done(&f->source);
	area_done(&f->target);
	if (count_fds() == f->n_open && count_mappings("vmrelay-state") == 0)
		return 0;
	print_error("fds or mappings leaked\n");
	return -1;
}

static void start(void *(*fn)(void *), void *arg, pthread_t *ret)
{
	assert_int_equal(pthread_create(ret, NULL, fn, arg), 0);
}

static void test_new_area(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->source.slot_size, 8192);
	assert_int_equal(f->source.size, f->target.size);
	assert_true(fcntl(f->source.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fcntl(f->source.fd, F_GET_SEALS) & SEALS, SEALS);
	assert_int_equal(area_owner(&f->target), AREA_SOURCE);
	for (unsigned i = 0; i < SLOTS; i++)
		assert_false(area_is_ready(&f->target, i));
}

static void test_create_limits(void **state)
{
	struct area area = AREA_INIT;

	(void)state;
	assert_int_equal(area_create(&area, AREA_SLOTS_MAX + 1, 4096), -E2BIG);
	assert_int_equal(area_create(&area, UINT32_MAX, 4096), -E2BIG);
	assert_int_equal(area_create(&area, 1, AREA_SLOT_SIZE_MAX + 1), -E2BIG);
	assert_int_equal(area_create(&area, 1, SIZE_MAX), -E2BIG);
	assert_int_equal(area.fd, -1);
	assert_null(area.base);
}

/* Adopts an fd that must be refused: it is closed, and nothing stays mapped. */
static void refuse(int fd, unsigned n_slots, size_t slot_size, int expected)
{
	struct area area = AREA_INIT;
	unsigned n = count_fds();

	assert_in_range(fd, 0, 1 << 20);
	assert_int_equal(area_adopt(&area, fd, n_slots, slot_size), expected);
	assert_int_equal(count_fds(), n - 1);
	assert_int_equal(area.fd, -1);
	assert_null(area.base);
	area_done(&area);
}

static int memory_object(size_t size, int seals)
{
	int fd = memfd_create("vmrelay-hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void test_adopt_refuses(void **state)
{
	struct fixture *f = *state;
	size_t size = f->source.size;

	refuse(dup(f->source.fd), SLOTS + 1, SLOT_SIZE, -EBADMSG);
	refuse(dup(f->source.fd), SLOTS - 1, SLOT_SIZE, -EBADMSG);
	refuse(dup(f->source.fd), SLOTS, SLOT_SIZE + 4096, -EBADMSG);
	refuse(dup(f->source.fd), AREA_SLOTS_MAX + 1, SLOT_SIZE, -E2BIG);
	refuse(dup(f->source.fd), SLOTS, AREA_SLOT_SIZE_MAX + 1, -E2BIG);
	refuse(dup(f->source.fd), SLOTS, SIZE_MAX - 100, -E2BIG);
	refuse(memory_object(size, 0), SLOTS, SLOT_SIZE, -EBADMSG);
	refuse(memory_object(size, F_SEAL_GROW | F_SEAL_SEAL), SLOTS, SLOT_SIZE, -EBADMSG);
	refuse(memory_object(size - 4096, SEALS), SLOTS, SLOT_SIZE, -EBADMSG);
	refuse(memory_object(size + 4096, SEALS), SLOTS, SLOT_SIZE, -EBADMSG);
	refuse(open("/dev/null", O_RDWR | O_CLOEXEC), SLOTS, SLOT_SIZE, -EBADMSG);
	assert_int_equal(count_mappings("vmrelay-hostile"), 0);
}

/* A file that is no memfd knows no seals: it can be cut off, and must not pass for sealed. */
static void test_adopt_refuses_file(void **state)
{
	struct fixture *f = *state;
	int fd = disk_file(f->source.size);

	if (fd < 0)
		skip_because("there is no file system but tmpfs");
	refuse(fd, SLOTS, SLOT_SIZE, -EBADMSG);
}

static void test_publish_and_take(void **state)
{
	static const size_t lengths[SLOTS] = {1, 4096, 8191, 8192};
	struct fixture *f = *state;
	uint8_t out[8192], in[8192];

	for (unsigned i = 0; i < SLOTS; i++) {
		memset(out, (int)(i + 1), sizeof(out));
		memset(in, 0xee, sizeof(in));
		area_publish(&f->source, i, AREA_WHOLE, out, 0, lengths[i]);
		assert_true(area_is_ready(&f->target, i));
		assert_int_equal(area_take(&f->target, i, AREA_WHOLE, in, 0), lengths[i]);
		assert_memory_equal(in, out, lengths[i]);
		for (size_t k = lengths[i]; k < sizeof(in); k++)
			assert_int_equal(in[k], 0xee);
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		assert_int_equal(area_take(&f->target, i, AREA_WHOLE, in, 0), lengths[i]);
		assert_int_equal(in[0], i + 1);
	}
}

static void test_two_parts(void **state)
{
	struct fixture *f = *state;
	uint8_t out[6000], in[8192];

	memset(out, 1, 1000);
	memset(out + 1000, 2, 5000);
	memset(in, 0xee, sizeof(in));
	area_publish(&f->source, 2, AREA_FIRST, out, 0, 1000);
	assert_false(area_is_ready(&f->target, 2));
	assert_int_equal(area_take(&f->target, 2, AREA_FIRST, in, 0), 1000);
	assert_memory_equal(in, out, 1000);
	assert_int_equal(in[1000], 0xee);

	/* What was taken is not looked at again. */
	memset(out, 3, 1000);
	area_publish(&f->source, 2, AREA_WHOLE, out, 1000, 6000);
	assert_true(area_is_ready(&f->target, 2));
	assert_int_equal(area_take(&f->target, 2, AREA_WHOLE, in, 1000), 6000);
	assert_int_equal(in[999], 1);
	assert_int_equal(in[1000], 2);
	assert_memory_equal(in + 1000, out + 1000, 5000);
	assert_int_equal(in[6000], 0xee);

	/* A slot whose second part never comes is not ready, and nobody waits for it for ever. */
	area_publish(&f->source, 3, AREA_FIRST, out, 0, 1000);
	area_abort(&f->target, 3);
	assert_false(area_is_ready(&f->target, 3));
	assert_int_equal(area_take(&f->target, 3, AREA_FIRST, in, 0), 1000);
	assert_int_equal(area_take(&f->target, 3, AREA_WHOLE, in, 1000), -ECANCELED);
}

struct taker {
	struct area *area;
	unsigned slot;
	enum area_part part;
	int result;
	uint8_t buf[8192];
};

static void *take(void *arg)
{
	struct taker *t = arg;

	t->result = area_take(t->area, t->slot, t->part, t->buf, 0);
	return NULL;
}

static void test_across_threads(void **state)
{
	struct fixture *f = *state;
	struct taker t[SLOTS];
	pthread_t thread[SLOTS];
	uint8_t out[100];

	for (unsigned i = 0; i < SLOTS; i++) {
		t[i] = (struct taker){.area = &f->target, .slot = i, .part = AREA_WHOLE};
		start(take, &t[i], &thread[i]);
	}
	(void)usleep(20000); /* most of them sleep by now */
	for (unsigned i = SLOTS; i-- > 0;) {
		memset(out, (int)(i + 1), sizeof(out));
		area_publish(&f->source, i, AREA_WHOLE, out, 0, sizeof(out));
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(t[i].result, sizeof(out));
		assert_int_equal(t[i].buf[99], i + 1);
	}
}

static void test_across_processes(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < SLOTS; i++) {
		uint8_t out[5000];
		pid_t pid = fork();

		if (pid == 0) {
			uint8_t in[8192];
			int len = area_take(&f->target, i, AREA_WHOLE, in, 0);

			for (int k = 0; k < len; k++)
				if (in[k] != 0x40 + i)
					_exit(2);
			_exit(len == 5000 && area_own(&f->target, AREA_SOURCE, AREA_TARGET) ? 0
											    : 1);
		}
		memset(out, (int)(0x40 + i), sizeof(out));
		if (i % 2)
			(void)usleep(20000);
		area_publish(&f->source, i, AREA_WHOLE, out, 0, sizeof(out));
		assert_int_equal(wait_for(pid), 0);
		assert_int_equal(area_owner(&f->source), AREA_TARGET);
		assert_true(area_own(&f->source, AREA_TARGET, AREA_SOURCE));
	}
}

static void test_abort_wakes_waiters(void **state)
{
	struct fixture *f = *state;
	struct taker t[SLOTS];
	pthread_t thread[SLOTS];

	for (unsigned i = 0; i < SLOTS; i++) {
		t[i] = (struct taker){
			.area = &f->target, .slot = i / 2, .part = (enum area_part)(i % 2)};
		start(take, &t[i], &thread[i]);
	}
	(void)usleep(20000);
	area_abort(&f->target, 0);
	area_abort(&f->target, 1);
	for (unsigned i = 0; i < SLOTS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(t[i].result, -ECANCELED);
	}
	assert_false(area_is_ready(&f->source, 0));
	assert_false(area_is_ready(&f->source, 2));
}

static void test_ready_slot_survives_abort(void **state)
{
	struct fixture *f = *state;
	uint8_t in[8192];

	area_publish(&f->source, 1, AREA_WHOLE, "state", 0, 6);
	area_abort(&f->target, 1);
	assert_true(area_is_ready(&f->target, 1));
	assert_int_equal(area_take(&f->target, 1, AREA_WHOLE, in, 0), 6);
	assert_string_equal((char *)in, "state");
}

static void test_hostile_length(void **state)
{
	static const uint32_t words[] = {8193, 0x7fffffff, 0x80000000, UINT32_MAX - 1};
	struct fixture *f = *state;
	struct area_slot *slots = (struct area_slot *)(f->source.base + sizeof(struct area_header));
	uint8_t in[8192];

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		atomic_store(&slots[3].word[AREA_WHOLE], words[i]);
		memset(in, 0x5a, sizeof(in));
		assert_int_equal(area_take(&f->target, 3, AREA_WHOLE, in, 0), -EBADMSG);
		for (size_t k = 0; k < sizeof(in); k++)
			assert_int_equal(in[k], 0x5a);
	}
	/* Shorter than what was taken before. */
	atomic_store(&slots[3].word[AREA_WHOLE], 100);
	assert_int_equal(area_take(&f->target, 3, AREA_WHOLE, in, 101), -EBADMSG);
	assert_int_equal(area_take(&f->target, 3, AREA_WHOLE, in, 100), 100);
	atomic_store(&slots[3].word[AREA_WHOLE], 8192);
	assert_int_equal(area_take(&f->target, 3, AREA_WHOLE, in, 0), 8192);
}

/* Ownership: two threads run against each other, round by round. */

struct race {
	struct area *area;
	/* What each of the two does in a round; true: it won. */
	bool (*act[2])(const struct race *race, unsigned who);
	enum area_owner from, to[2];
	_Atomic unsigned ready, armed, done; /* rounds: set up; racer 1 is at the start; run */
	bool won[2];
};

struct racer {
	struct race *race;
	unsigned who;
};

/* The CPUs may be fewer than the threads: spin shortly, then let others run. */
static void await(_Atomic unsigned *counter, unsigned value)
{
	for (unsigned i = 0; atomic_load(counter) != value; i++)
		if (i > 200)
			(void)sched_yield();
}

/* One thread is sooner off the mark than the other: let the lead change from round to round. */
static void stagger(unsigned round, unsigned who)
{
	for (unsigned i = who ? round * 31 % 2048 : round * 17 % 512; i > 0; i--)
		__builtin_ia32_pause();
}

static void *race_thread(void *arg)
{
	struct racer *r = arg;

	for (unsigned round = 1; round <= ROUNDS; round++) {
		await(&r->race->ready, round);
		atomic_store(&r->race->armed, round);
		stagger(round, 1);
		r->race->won[r->who] = r->race->act[r->who](r->race, r->who);
		atomic_store(&r->race->done, round);
	}
	return NULL;
}

/* Runs all rounds; `end[i]` is the owner when racer i won.  Returns how often racer 0 did. */
static unsigned run_race(struct race *race, const enum area_owner end[2])
{
	struct racer r = {race, 1};
	unsigned n_won = 0;
	pthread_t thread;

	start(race_thread, &r, &thread);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		struct area_header *header = area_header(race->area);

		atomic_store(&header->owner, race->from);
		atomic_store(&race->ready, round);
		await(&race->armed, round);
		stagger(round, 0);
		race->won[0] = race->act[0](race, 0);
		await(&race->done, round);
		assert_int_equal(race->won[0] + race->won[1], 1);
		assert_int_equal(area_owner(race->area), end[race->won[1]]);
		n_won += race->won[0];
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	return n_won;
}

static bool act_once(const struct race *race, unsigned who)
{
	return area_own(race->area, race->from, race->to[who]);
}

static void test_contradicting_transitions(void **state)
{
	struct fixture *f = *state;
	unsigned n_both = 0;

	for (unsigned from = 0; from < 4; from++)
		for (unsigned a = 0; a < 4; a++)
			for (unsigned b = a + 1; b < 4; b++) {
				if (a == from || b == from)
					continue;

				struct race race = {.area = &f->source,
						    .act = {act_once, act_once},
						    .from = (enum area_owner)from,
						    .to = {(enum area_owner)a, (enum area_owner)b}};
				unsigned n = run_race(&race, race.to);

				n_both += n > 0 && n < ROUNDS;
			}
	print_message("# in %u of 12 pairs both sides won at times\n", n_both);
}

/* As in a relay: the target takes the guest and enters, the source gives up meanwhile. */
static bool act_target(const struct race *race, unsigned who)
{
	(void)who;
	return area_own(race->area, AREA_SOURCE, AREA_TARGET) &&
	       area_own(race->area, AREA_TARGET, AREA_ENTERED);
}

static bool act_source(const struct race *race, unsigned who)
{
	(void)who;
	return area_own(race->area, AREA_SOURCE, AREA_KEPT) ||
	       area_own(race->area, AREA_TARGET, AREA_KEPT);
}

static void test_enter_against_keep(void **state)
{
	static const enum area_owner end[2] = {AREA_ENTERED, AREA_KEPT};
	struct fixture *f = *state;
	struct race race = {
		.area = &f->source, .act = {act_target, act_source}, .from = AREA_SOURCE};

	print_message("# the target won %u of %u rounds\n", run_race(&race, end), ROUNDS);
}

static void test_wrong_owner_fails(void **state)
{
	struct fixture *f = *state;

	for (unsigned is = 0; is < 4; is++)
		for (unsigned from = 0; from < 4; from++)
			for (unsigned to = 0; to < 4; to++) {
				atomic_store(&area_header(&f->source)->owner, is);

				bool ok = area_own(&f->target, (enum area_owner)from,
						   (enum area_owner)to);

				assert_int_equal(ok, from == is);
				assert_int_equal(area_owner(&f->source), ok ? to : is);
			}
}

static void test_word_is_set_once(void **state)
{
	_Atomic uint32_t word = 0;

	(void)state;
	assert_int_equal(word_wait(&word, 0, monotonic_ns() + 20000000), -ETIMEDOUT);
	assert_int_equal(word_wait(&word, 0, 1), -ETIMEDOUT); /* long ago */
	assert_true(word_set(&word, 7));
	assert_false(word_set(&word, 8));
	assert_int_equal(word, 7);
	assert_int_equal(word_wait(&word, 0, 1), 0);
	assert_int_equal(word_wait(&word, 0, 0), 0);
}

static void *wait_for_word(void *arg)
{
	return word_wait(arg, 0, 0) == 0 ? arg : NULL;
}

static void test_word_wakes_all(void **state)
{
	_Atomic uint32_t word = 0;
	pthread_t thread[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		start(wait_for_word, &word, &thread[i]);
	(void)usleep(20000);
	assert_true(word_set(&word, 1));
	for (unsigned i = 0; i < 4; i++) {
		void *result;

		assert_int_equal(pthread_join(thread[i], &result), 0);
		assert_ptr_equal(result, &word);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_area, setup, teardown),
		cmocka_unit_test(test_create_limits),
		cmocka_unit_test_setup_teardown(test_adopt_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopt_refuses_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_publish_and_take, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_across_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_across_processes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abort_wakes_waiters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ready_slot_survives_abort, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_length, setup, teardown),
		cmocka_unit_test_setup_teardown(test_contradicting_transitions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_enter_against_keep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_owner_fails, setup, teardown),
		cmocka_unit_test(test_word_is_set_once),
		cmocka_unit_test(test_word_wakes_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
