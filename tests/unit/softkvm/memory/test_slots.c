// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory slots: what KVM_SET_USER_MEMORY_REGION accepts, and what the guest has then. */
#include "client.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define AS(n) ((uint32_t)(n) << 16)

static void test_arguments(void **state)
{
	static const struct {
		uint32_t slot, flags;
		uint64_t gpa, size, uaddr;
		int result;
	} rows[] = {
		{32764, 0, 0x100000, PAGE, MEMORY, -EINVAL},
		{0xffff, 0, 0x100000, PAGE, MEMORY, -EINVAL},
		{32763, 0, 0x100000, PAGE, MEMORY, 0},
		{AS(2), 0, 0x100000, PAGE, MEMORY, -EINVAL},
		{AS(1), 0, 0x100000, PAGE, MEMORY, 0}, /* not in the guest's way */
		{1, KVM_MEM_LOG_DIRTY_PAGES, 0x200000, PAGE, MEMORY, -EINVAL},
		{1, 4, 0x200000, PAGE, MEMORY, -EINVAL},
		{1, 0, 0x200001, PAGE, MEMORY, -EINVAL},
		{1, 0, 0x200000, PAGE + 1, MEMORY, -EINVAL},
		{1, 0, 0x200000, PAGE, MEMORY + 1, -EINVAL},
		{1, 0, 0x200000, PAGE, 0x7ffffffff000, -EINVAL},
		{1, 0, 0x200000, PAGE, 1ull << 63, -EINVAL},
		{1, 0, 0x200000, 1ull << 43, 0, -EINVAL}, /* 2^31 pages */
		{1, 0, ~0xfffull, 2 * PAGE, MEMORY, -EINVAL},
		{1, 0, 1ull << 52, PAGE, MEMORY, -EINVAL},
		{1, 0, (1ull << 52) - PAGE, PAGE, MEMORY, 0},
		{2, 0, 0x300000, 0, MEMORY, -EINVAL}, /* nothing to delete */
		{2, 0, 0x300000, 2 * PAGE, MEMORY, 0},
		{3, 0, 0x300000 + PAGE, PAGE, MEMORY, -EEXIST},
		{3, 0, 0x300000 - PAGE, 2 * PAGE, MEMORY, -EEXIST},
		{3, 0, 0x300000 + 2 * PAGE, PAGE, MEMORY, 0},
		{3, 0, 0x300000 - PAGE, PAGE, MEMORY, 0}, /* is moved */
		{3, 0, 0x300000, PAGE, MEMORY, -EEXIST},  /* not there */
		{3, 0, 0x300000 - PAGE, PAGE, MEMORY + PAGE, -EINVAL},
		{3, 0, 0x300000 - PAGE, 2 * PAGE, MEMORY, -EINVAL},
		{3, KVM_MEM_READONLY, 0x300000 - PAGE, PAGE, MEMORY, -EINVAL},
		{3, 0, 0x300000 - PAGE, PAGE, MEMORY, 0}, /* as it is */
		{3, 0, 0, 0, 0, 0},
		{3, 0, 0, 0, 0, -EINVAL},
		{2, 0, 0x301000, 2 * PAGE, MEMORY, 0}, /* to where it partly is */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r = client_set(*state, rows[i].slot, rows[i].gpa, rows[i].size, rows[i].uaddr,
				   rows[i].flags);

		if (r != rows[i].result)
			fail_msg("row %zu: %d instead of %d", i, r, rows[i].result);
	}
}

/* Is gpa the client's page n?  From inside. */
static bool is_page(struct call *call, uint64_t gpa, unsigned n)
{
	struct cpu_page page = client_page(call, NULL, gpa);

	if (!page.data)
		return false;
	call->memory[n * PAGE + 5]++;
	return page.data[5] == call->memory[n * PAGE + 5];
}

static void test_lookup(void **state)
{
	struct call *call = *state;

	call->stretch = 3 * PAGE; /* which are to be put together again, or found */
	assert_int_equal(client_set(call, 9, 0x10000, 8 * PAGE, MEMORY + 8 * PAGE, 0), 0);
	assert_int_equal(client_set(call, 1, 0x40000, 4 * PAGE, MEMORY, KVM_MEM_READONLY), 0);
	assert_int_equal(client_set(call, 5, 0, PAGE, MEMORY + 20 * PAGE, 0), 0);
	assert_int_equal(client_set(call, AS(1), 0x60000, PAGE, MEMORY, 0), 0);
	slots_enter(call->slots, NULL);
	for (unsigned i = 0; i < 8; i++)
		assert_true(is_page(call, 0x10000 + i * PAGE, 8 + i));
	for (unsigned i = 0; i < 4; i++)
		assert_true(is_page(call, 0x40000 + i * PAGE, i));
	assert_true(is_page(call, 0, 20));
	assert_null(client_page(call, NULL, PAGE).data);
	assert_null(client_page(call, NULL, 0x18000).data);
	assert_null(client_page(call, NULL, 0x44000).data);
	assert_null(client_page(call, NULL, 0x60000).data);
	assert_true(client_page(call, NULL, 0x40000).read_only);
	assert_false(client_page(call, NULL, 0x10000).read_only);
	slots_leave(call->slots);

	assert_int_equal(client_set(call, 9, 0x80000, 8 * PAGE, MEMORY + 8 * PAGE, 0), 0);
	slots_enter(call->slots, NULL);
	assert_null(client_page(call, NULL, 0x10000).data);
	assert_true(is_page(call, 0x87000, 15));
	slots_leave(call->slots);
}

/* A slot of memory that is not there, or not to be written to. */
static void test_missing(void **state)
{
	struct call *call = *state;

	call->hole = MEMORY + 2 * PAGE;
	assert_int_equal(client_set(call, 0, 0, 4 * PAGE, MEMORY, 0), 0);
	call->hole = 0;
	call->read_only = true;
	assert_int_equal(client_set(call, 1, 0x10000, PAGE, MEMORY + 8 * PAGE, 0), 0);
	assert_int_equal(client_set(call, 2, 0x20000, PAGE, MEMORY + 9 * PAGE, KVM_MEM_READONLY),
			 0);
	call->result = -EINTR;
	assert_int_equal(client_set(call, 3, 0x30000, PAGE, MEMORY, 0), -EINTR);
	call->result = -ENOMEM;
	assert_int_equal(client_set(call, 3, 0x30000, PAGE, MEMORY, 0), -ENOMEM);

	slots_enter(call->slots, NULL);
	assert_true(is_page(call, PAGE, 1));
	assert_null(client_page(call, NULL, 2 * PAGE).data);
	assert_true(is_page(call, 3 * PAGE, 3));
	assert_true(client_page(call, NULL, 0x10000).read_only);
	assert_null(client_page(call, NULL, 0x30000).data);
	slots_leave(call->slots);
	assert_true(slots_is_fault(call->slots, 2 * PAGE, false));
	assert_false(slots_is_fault(call->slots, 3 * PAGE, true));
	assert_false(slots_is_fault(call->slots, 0x10000, false));
	assert_true(slots_is_fault(call->slots, 0x10000, true));
	assert_false(slots_is_fault(call->slots, 0x20000, true)); /* MMIO */
	assert_false(slots_is_fault(call->slots, 0x30000, true));
}

static void test_read_write(void **state)
{
	struct call *call = *state;
	uint8_t data[64], back[64] = {0};

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i + 1);
	assert_int_equal(client_set(call, 0, 0, PAGE, MEMORY + 3 * PAGE, 0), 0);
	assert_int_equal(client_set(call, 1, PAGE, PAGE, MEMORY, 0), 0);
	assert_int_equal(client_set(call, 2, 2 * PAGE, PAGE, MEMORY + PAGE, KVM_MEM_READONLY), 0);
	assert_true(slots_write(call->slots, PAGE - 29, NULL, data, sizeof(data)));
	assert_memory_equal(call->memory + 4 * PAGE - 29, data, 29);
	assert_memory_equal(call->memory, data + 29, sizeof(data) - 29);
	assert_true(slots_read(call->slots, PAGE - 29, NULL, back, sizeof(back)));
	assert_memory_equal(back, data, sizeof(data));
	assert_false(slots_write(call->slots, 2 * PAGE - 1, NULL, data, 2));
	assert_false(slots_read(call->slots, 3 * PAGE - 1, NULL, back, 2));
	assert_true(slots_read(call->slots, 3 * PAGE - 2, NULL, back, 2));
}

/* vCPUs that look at memory, and slots that come and go. */
struct runner {
	struct call *call;
	_Atomic bool is_inside, ends;
};

static void *run(void *opaque)
{
	struct runner *runner = opaque;
	uint64_t generation = 0, now;
	struct cpu_page page = {0};

	while (!runner->ends) {
		now = slots_enter(runner->call->slots, NULL);
		if (now != generation)
			page = client_page(runner->call, NULL, 0x10000);
		generation = now;
		if (page.data)
			__atomic_fetch_add(&page.data[0], 1, __ATOMIC_RELAXED);
		slots_leave(runner->call->slots);
	}
	return NULL;
}

static void test_change_while_running(void **state)
{
	struct runner runner = {.call = *state};
	struct call *call = *state;
	pthread_t thread[2];

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run, &runner), 0);
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(client_set(call, 0, 0x10000, PAGE, MEMORY + PAGE, 0), 0);
		while (!__atomic_load_n(&call->memory[PAGE], __ATOMIC_RELAXED))
			(void)sched_yield();
		assert_int_equal(client_set(call, 0, 0x10000, 0, 0, 0), 0);
		/* Nobody writes to it any more, it is not even mapped. */
		__atomic_store_n(&call->memory[PAGE], 0, __ATOMIC_RELAXED);
	}
	runner.ends = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(call->memory[PAGE], 0);
	assert_int_equal(call->n_kicks, 400);
}

/* One that is slow to leave. */
static void *run_until_kicked(void *opaque)
{
	struct runner *runner = opaque;

	slots_enter(runner->call->slots, NULL);
	runner->is_inside = true;
	while (!__atomic_load_n(&runner->call->n_kicks, __ATOMIC_RELAXED))
		(void)sched_yield();
	for (unsigned i = 0; i < 1000; i++)
		(void)sched_yield();
	runner->ends = true;
	slots_leave(runner->call->slots);
	return NULL;
}

static void test_waits_for_vcpu(void **state)
{
	struct runner runner = {.call = *state};
	struct call *call = *state;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, run_until_kicked, &runner), 0);
	while (!runner.is_inside)
		(void)sched_yield();
	assert_int_equal(client_set(call, 0, 0x10000, PAGE, MEMORY, 0), 0);
	assert_true(runner.ends);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_arguments, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_lookup, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_missing, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_read_write, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_change_while_running, client_setup,
						client_teardown),
		cmocka_unit_test_setup_teardown(test_waits_for_vcpu, client_setup, client_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
