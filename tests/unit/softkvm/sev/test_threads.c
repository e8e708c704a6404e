// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_threads.c - two clients at a time: calls that move against all that could come between
 *
 * In each round two threads start together; what may have come of it is checked after both have
 * ended.  The locks are tested by that none of it hangs, and under ThreadSanitizer.
 */
#include <errno.h>
#include <pthread.h>

#include "machine.h"

#define ROUNDS 10000

struct race {
	struct machine *m;
	struct call left_call, right_call;
	struct vm *a, *b, *c; /* what they are, each scenario says */
	void (*right)(struct race *race);
	long left_result, right_result;
	pthread_barrier_t barrier;
	bool is_over;
};

static void *right_thread(void *opaque)
{
	struct race *race = opaque;

	for (;;) {
		pthread_barrier_wait(&race->barrier);
		if (race->is_over)
			return NULL;
		race->right(race);
		pthread_barrier_wait(&race->barrier);
	}
}

struct scenario {
	void (*prepare)(struct race *race);
	void (*left)(struct race *race);
	void (*right)(struct race *race);
	void (*check)(struct race *race); /* and close the VMs */
};

static void run(const struct scenario *scenario)
{
	struct race race = {.m = machine_new(&(struct host_config){.profile = PROFILE_K61}),
			    .right = scenario->right};
	pthread_t thread;

	call_init(&race.left_call, race.m);
	call_init(&race.right_call, race.m);
	pthread_barrier_init(&race.barrier, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, right_thread, &race), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		scenario->prepare(&race);
		pthread_barrier_wait(&race.barrier);
		scenario->left(&race);
		pthread_barrier_wait(&race.barrier);
		scenario->check(&race);
	}
	race.is_over = true;
	pthread_barrier_wait(&race.barrier);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&race.barrier);
	assert_int_equal(guest_count(&race.left_call), 0);
	assert_int_equal(sev_host_usage(race.m->host.sev, "/", false), 0);
	assert_int_equal(sev_host_usage(race.m->host.sev, "/", true), 0);
	call_done(&race.left_call);
	call_done(&race.right_call);
	machine_free(race.m);
}

static void close_all(struct race *race)
{
	vm_close(race->a);
	vm_close(race->b);
	if (race->c)
		vm_close(race->c);
	race->c = NULL;
}

/* The context is where the result says. */
static void check_moved(struct race *race)
{
	assert_true(race->left_result == 0 || race->left_result == -EBUSY);
	assert_int_equal(race->a->sev.active, race->left_result == 0);
	assert_int_equal(race->b->sev.active, race->left_result != 0);
	assert_int_equal(race->b->dead, race->left_result == 0);
}

/* a from b, which has the context */
static void move_left(struct race *race)
{
	race->left_result = move_vm(&race->left_call, race->a, race->b);
}

static void prepare_sev(struct race *race)
{
	race->a = aux_vm(&race->left_call, 1);
	race->b = sev_vm(&race->left_call, 1);
}

/* A from B against B from A. */

static void move_back(struct race *race)
{
	race->right_result = move_vm(&race->right_call, race->b, race->a);
}

static void check_opposite(struct race *race)
{
	check_moved(race);
	/* Before the other it fails for what they are, after it for what has become of them.  Both
	 * may be busy: each has claimed its target. */
	assert_true(race->right_result == -EBUSY || race->right_result == -EINVAL ||
		    race->right_result == -EIO);
	close_all(race);
}

static void test_opposite(void **state)
{
	(void)state;
	run(&(struct scenario){prepare_sev, move_left, move_back, check_opposite});
}

/* Two targets for one source. */

static void prepare_two_targets(struct race *race)
{
	prepare_sev(race);
	race->c = aux_vm(&race->left_call, 1);
}

static void move_to_other(struct race *race)
{
	race->right_result = move_vm(&race->right_call, race->c, race->b);
}

static void check_one_target(struct race *race)
{
	assert_true(race->left_result == 0 || race->right_result == 0);
	assert_int_equal(race->a->sev.active, race->left_result == 0);
	assert_int_equal(race->c->sev.active, race->right_result == 0);
	assert_true(race->b->dead);
	assert_false(race->a->sev.active && race->c->sev.active);
	close_all(race);
}

static void test_two_targets(void **state)
{
	(void)state;
	run(&(struct scenario){prepare_two_targets, move_left, move_to_other, check_one_target});
}

/* Against the vCPUs of both, as KVM_RUN locks them. */

static void run_vcpu(struct vm *vm)
{
	static const uint8_t no_key[PSP_KEY_LEN];
	const uint8_t *vek;

	pthread_mutex_lock(&vm->vcpu[0]->lock);
	vek = atomic_load(&vm->dead) ? NULL : sev_vek(vm);
	if (vek)
		assert_memory_not_equal(vek, no_key, sizeof(no_key));
	pthread_mutex_unlock(&vm->vcpu[0]->lock);
}

static void run_both(struct race *race)
{
	for (unsigned i = 0; i < 4; i++) {
		run_vcpu(race->b);
		run_vcpu(race->a);
	}
}

static void check_moved_once(struct race *race)
{
	assert_int_equal(race->left_result, 0);
	check_moved(race);
	close_all(race);
}

static void test_run(void **state)
{
	(void)state;
	run(&(struct scenario){prepare_sev, move_left, run_both, check_moved_once});
}

/* Against a vCPU that joins either. */

static void prepare_es(struct race *race)
{
	race->a = aux_vm(&race->left_call, 1);
	race->b = es_vm(&race->left_call, 1);
}

static void create_vcpus(struct race *race)
{
	vcpu_create(race->a, 1);
	vcpu_create(race->b, 1);
}

static void check_no_naked_vcpu(struct race *race)
{
	/* EINVAL: one has joined already. */
	if (race->left_result != -EINVAL)
		check_moved(race);
	if (race->left_result == 0) {
		assert_true(race->a->vcpu[0]->sev.is_protected);
		assert_false(race->b->vcpu[0]->sev.is_protected);
	}
	close_all(race);
}

static void test_create(void **state)
{
	(void)state;
	run(&(struct scenario){prepare_es, move_left, create_vcpus, check_no_naked_vcpu});
}

/* Against the source's regions. */

static void prepare_regions(struct race *race)
{
	prepare_sev(race);
	assert_int_equal(region(&race->left_call, race->b, true, race->m->memory[0], PAGE), 0);
}

static void change_regions(struct race *race)
{
	race->right_result = region(&race->right_call, race->b, false, race->m->memory[0], PAGE);
	(void)region(&race->right_call, race->b, true, race->m->memory[1], 2 * PAGE);
	(void)region(&race->right_call, race->a, false, race->m->memory[0], PAGE);
}

static void check_regions(struct race *race)
{
	uint64_t n = race->a->sev.pages_locked;

	assert_true(race->right_result == 0 || race->right_result == -EIO);
	assert_int_equal(race->left_result, 0);
	check_moved(race);
	assert_true(n == 0 || n == 1 || n == 2);
	assert_int_equal(race->b->sev.pages_locked, 0);
	close_all(race);
	assert_int_equal(race->m->n_pinned, 0);
}

static void test_regions(void **state)
{
	(void)state;
	run(&(struct scenario){prepare_regions, move_left, change_regions, check_regions});
}

/* Against a mirror that is made, which is moved and goes. */

static void prepare_copy(struct race *race)
{
	prepare_sev(race);
	race->c = aux_vm(&race->left_call, 0);
}

static void copy_right(struct race *race)
{
	race->right_result = copy_vm(&race->right_call, race->c, race->b);
}

static void check_copy(struct race *race)
{
	const struct vm *owner = race->left_result == 0 ? race->a : race->b;

	check_moved(race);
	assert_true(race->right_result == 0 || race->right_result == -EBUSY ||
		    race->right_result == -EINVAL);
	if (race->right_result == 0)
		assert_ptr_equal(race->c->sev.owner, owner);
	close_all(race);
}

static void test_copy(void **state)
{
	(void)state;
	run(&(struct scenario){prepare_copy, move_left, copy_right, check_copy});
}

static void prepare_mirror(struct race *race)
{
	prepare_copy(race);
	assert_int_equal(copy_vm(&race->left_call, race->c, race->b), 0);
}

static void destroy_mirror(struct race *race)
{
	vm_close(race->c);
}

static void check_mirror_gone(struct race *race)
{
	check_moved(race);
	assert_null(race->a->sev.mirrors);
	assert_null(race->b->sev.mirrors);
	race->c = NULL;
	close_all(race);
}

static void test_destroy_mirror(void **state)
{
	(void)state;
	run(&(struct scenario){prepare_mirror, move_left, destroy_mirror, check_mirror_gone});
}

/* The owner's last descriptor is closed while its mirror is moved. */

static void move_mirror(struct race *race)
{
	race->left_result = move_vm(&race->left_call, race->a, race->c);
}

static void prepare_mirror_to_move(struct race *race)
{
	prepare_mirror(race);
	vm_close(race->a);
	race->a = aux_vm(&race->left_call, 0);
}

static void close_owner(struct race *race)
{
	vm_close(race->b);
}

static void check_mirror_moved(struct race *race)
{
	assert_int_equal(race->left_result, 0);
	assert_true(race->a->sev.is_mirror);
	(void)guest_status(&race->left_call, race->a);
	vm_close(race->a);
	vm_close(race->c);
	race->c = NULL;
}

static void test_close_owner(void **state)
{
	(void)state;
	run(&(struct scenario){prepare_mirror_to_move, move_mirror, close_owner,
			       check_mirror_moved});
}

/* Against commands for the source and for the mirror, which doubt each other's memory. */

static void command_both(struct race *race)
{
	struct kvm_sev_launch_update_data data = {.uaddr = (uintptr_t)race->m->memory[0],
						  .len = 16};
	struct kvm_sev_dbg dbg = {.src_uaddr = (uintptr_t)race->m->memory[0],
				  .dst_uaddr = (uintptr_t)race->m->memory[0] + PAGE,
				  .len = 16};

	race->right_result =
		op(&race->right_call, race->b, KVM_SEV_LAUNCH_UPDATE_DATA, &data, NULL);
	assert_int_equal(op(&race->right_call, race->c, KVM_SEV_DBG_DECRYPT, &dbg, NULL), 0);
}

static void check_commands(struct race *race)
{
	assert_int_equal(race->left_result, 0);
	assert_true(race->right_result == 0 || race->right_result == -EIO);
	check_moved(race);
	close_all(race);
}

static void test_commands(void **state)
{
	(void)state;
	run(&(struct scenario){prepare_mirror, move_left, command_both, check_commands});
}

/* Guests of two clients come and go: the firmware, ASIDs, which are used again, and accounts. */

static void prepare_nothing(struct race *race)
{
	race->a = race->b = NULL;
}

static void come_and_go(struct call *call, struct vm *(*make)(struct call *call, unsigned n_vcpus))
{
	struct vm *vm = make(call, 1);

	(void)guest_status(call, vm);
	vm_close(vm);
}

static void come_and_go_left(struct race *race)
{
	come_and_go(&race->left_call, sev_vm);
}

static void come_and_go_right(struct race *race)
{
	come_and_go(&race->right_call, es_vm);
}

static void check_gone(struct race *race)
{
	assert_int_equal(race->m->n_vms, 0);
}

static void test_come_and_go(void **state)
{
	(void)state;
	run(&(struct scenario){prepare_nothing, come_and_go_left, come_and_go_right, check_gone});
}

/* sev_migrate_tests: test_sev_migrate_locking() */

struct mover {
	struct call call;
	struct vm *target, **sources;
};

static void *move_all(void *opaque)
{
	struct mover *mover = opaque;

	for (unsigned i = 0; i < ROUNDS; i++)
		(void)move_vm(&mover->call, mover->target, mover->sources[i % 3]);
	return NULL;
}

static void test_circle(void **state)
{
	struct machine *m = machine_new(&(struct host_config){.profile = PROFILE_K61});
	struct mover mover[3];
	pthread_t thread[3];
	struct vm *vm[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		call_init(&mover[i].call, m);
		vm[i] = mover[i].target = sev_vm(&mover[i].call, 4);
		mover[i].sources = vm;
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, move_all, &mover[i]);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(vm[i]->sev.active);
		vm_close(vm[i]);
		call_done(&mover[i].call);
	}
	machine_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opposite),
		cmocka_unit_test(test_two_targets),
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_destroy_mirror),
		cmocka_unit_test(test_close_owner),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_come_and_go),
		cmocka_unit_test(test_circle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
