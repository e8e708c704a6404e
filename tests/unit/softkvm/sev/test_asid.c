// SPDX-License-Identifier: GPL-2.0-or-later
/* test_asid.c - ASIDs are given out, given back, and used again; what control groups are charged */
#include <errno.h>

#include "fixture.h"

/* So that it is ASIDs that there are too few of. */
static int setup_ranges(void **state)
{
	return setup_as(state, &(struct host_config){.sev_capacity = 100, .sev_es_capacity = 100});
}

static int setup_without_es(void **state)
{
	return setup_as(state, &(struct host_config){.max_asid = 3, .min_sev_asid = 1});
}

static int setup_es_only(void **state)
{
	return setup_as(state, &(struct host_config){.max_asid = 2, .min_sev_asid = 3});
}

static int setup_es_only_main(void **state)
{
	return setup_as(state, &(struct host_config){
				       .profile = PROFILE_MAIN, .max_asid = 2, .min_sev_asid = 3});
}

static int setup_capacity(void **state)
{
	return setup_as(state, &(struct host_config){.profile = PROFILE_MAIN,
						     .max_asid = 8,
						     .min_sev_asid = 4,
						     .sev_capacity = 2});
}

static struct vm *init(struct fixture *f, uint32_t id, long expected)
{
	struct vm *vm = aux_vm(&f->call, 0);

	assert_int_equal(op(&f->call, vm, id, NULL, NULL), expected);
	assert_int_equal(vm->sev.active, expected == 0);
	return vm;
}

static void test_ranges(void **state)
{
	struct fixture *f = *state;
	struct vm *vm[MAX_ASID + 1];

	for (uint32_t i = 1; i < MIN_SEV_ASID; i++) {
		vm[i] = init(f, KVM_SEV_ES_INIT, 0);
		assert_int_equal(vm[i]->sev.asid, i);
	}
	vm_close(init(f, KVM_SEV_ES_INIT, -EBUSY));
	for (uint32_t i = MIN_SEV_ASID; i <= MAX_ASID; i++) {
		vm[i] = init(f, KVM_SEV_INIT, 0);
		assert_int_equal(vm[i]->sev.asid, i);
	}
	vm_close(init(f, KVM_SEV_INIT, -EBUSY));
	assert_int_equal(sev_host_usage(f->m->host.sev, "/", true), MIN_SEV_ASID - 1);
	/* Given back, of which only the right kind helps. */
	vm_close(vm[MIN_SEV_ASID + 2]);
	vm_close(init(f, KVM_SEV_ES_INIT, -EBUSY));
	assert_int_equal(n_commands(f->m, PSP_DF_FLUSH), 0);
	vm[MIN_SEV_ASID + 2] = init(f, KVM_SEV_INIT, 0);
	assert_int_equal(vm[MIN_SEV_ASID + 2]->sev.asid, MIN_SEV_ASID + 2);
	assert_int_equal(n_commands(f->m, PSP_DF_FLUSH), 1);
	for (uint32_t i = 1; i <= MAX_ASID; i++)
		vm_close(vm[i]);
}

static void test_lazy(void **state)
{
	struct fixture *f = *state;

	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t i = MIN_SEV_ASID; i <= MAX_ASID; i++) {
			struct vm *vm = sev_vm(&f->call, 1);

			assert_int_equal(vm->sev.asid, i);
			assert_int_equal(n_commands(f->m, PSP_DF_FLUSH), round);
			/* No key of whoever was there before. */
			assert_memory_equal(sev_vek(vm), psp_vek(f->m->host.sev->psp, i),
					    PSP_KEY_LEN);
			vm_close(vm);
		}
	}
	/* The flush was for both kinds. */
	vm_close(es_vm(&f->call, 1));
	vm_close(sev_vm(&f->call, 1));
	assert_int_equal(n_commands(f->m, PSP_DF_FLUSH), 3);
	for (uint32_t i = 1; i < MIN_SEV_ASID; i++)
		vm_close(es_vm(&f->call, 1));
	assert_int_equal(n_commands(f->m, PSP_DF_FLUSH), 3);
}

static void test_failed_flush(void **state)
{
	struct fixture *f = *state;
	struct sev_host *sev = f->m->host.sev;

	for (uint32_t i = MIN_SEV_ASID; i <= MAX_ASID; i++)
		vm_close(sev_vm(&f->call, 1));
	sev->fault = (struct firmware_fault){
		.nth = 1, .command = PSP_DF_FLUSH, .status = PSP_HWERROR_PLATFORM};
	vm_close(init(f, KVM_SEV_INIT, -EBUSY));
	assert_int_equal(sev_host_usage(sev, "/", false), 0);
	vm_close(init(f, KVM_SEV_INIT, 0));
}

static void test_failed_init_gives_back(void **state)
{
	struct fixture *f = *state;
	struct sev_host *sev = f->m->host.sev;
	struct vm *vm = aux_vm(&f->call, 0);
	uint32_t error = 77;

	vm_close(sev_vm(&f->call, 1));
	sev->is_initialized = false;
	sev->fault = (struct firmware_fault){.nth = 1, .command = PSP_INIT, .status = 0x18};
	assert_int_equal(op(&f->call, vm, KVM_SEV_INIT, NULL, &error), -EIO);
	assert_int_equal(error, 0x18);
	assert_false(vm->sev.active);
	assert_int_equal(sev_host_usage(sev, "/", false), 0);
	sev->is_initialized = true;
	assert_int_equal(op(&f->call, vm, KVM_SEV_INIT, NULL, NULL), 0);
	/* What was given back in vain is not used before the next flush. */
	assert_int_equal(vm->sev.asid, MIN_SEV_ASID + 2);
	vm_close(vm);
}

static void test_without_es(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = init(f, KVM_SEV_INIT, 0);

	assert_int_equal(vm->sev.asid, 1);
	vm_close(vm);
	vm_close(init(f, KVM_SEV_ES_INIT, -ENOTTY));
}

static void test_es_only(void **state)
{
	struct fixture *f = *state;

	vm_close(init(f, KVM_SEV_INIT, -EBUSY));
	vm_close(init(f, KVM_SEV_ES_INIT, 0));
}

static void test_es_only_main(void **state)
{
	vm_close(init(*state, KVM_SEV_INIT, -ENOTTY));
}

static void test_capacity(void **state)
{
	struct fixture *f = *state;
	struct vm *vm[2] = {init(f, KVM_SEV_INIT, 0), init(f, KVM_SEV_INIT, 0)};

	vm_close(init(f, KVM_SEV_INIT, -EBUSY));
	vm_close(vm[0]);
	vm_close(vm[1]);
	assert_int_equal(
		sev_charge(&(struct sev_accounts){.lock = PTHREAD_MUTEX_INITIALIZER}, "/a", false),
		-EINVAL);
}

static void test_groups(void **state)
{
	struct fixture *f = *state;
	struct sev_host *sev = f->m->host.sev;
	struct vm *vm;

	f->call.cgroup = "/a/b/c";
	assert_int_equal(sev_host_limit(sev, "/a", true, 1), 0);
	vm = init(f, KVM_SEV_ES_INIT, 0);
	vm_close(init(f, KVM_SEV_ES_INIT, -EBUSY));
	vm_close(init(f, KVM_SEV_INIT, 0));
	f->call.cgroup = "/ab";
	vm_close(init(f, KVM_SEV_ES_INIT, 0));
	assert_int_equal(sev_host_usage(sev, "/a/b/c", true), 1);
	assert_int_equal(sev_host_usage(sev, "/a/b", true), 1);
	assert_int_equal(sev_host_usage(sev, "/a", true), 1);
	assert_int_equal(sev_host_usage(sev, "/", true), 1);
	assert_int_equal(sev_host_usage(sev, "/ab", true), 0);
	vm_close(vm);
	assert_int_equal(sev_host_usage(sev, "/a", true), 0);
}

static void test_keys(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = init(f, KVM_SEV_INIT, 0), *other = sev_vm(&f->call, 1);
	struct kvm_sev_launch_start start = {0};

	assert_null(sev_vek(vm));
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_START, &start, NULL), 0);
	assert_non_null(sev_vek(vm));
	assert_memory_not_equal(sev_vek(vm), sev_vek(other), PSP_KEY_LEN);
	/* A second guest of the firmware for the same VM: its ASID is taken. */
	start.handle = 0;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_START, &start, NULL), -EIO);
	/* Unless it has the same key; then it takes the first one's place. */
	start.handle = guest_status(&f->call, vm).handle;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_START, &start, NULL), 0);
	assert_int_equal(guest_status(&f->call, vm).handle, start.handle);
	assert_int_equal(guest_count(&f->call), 2);
	vm_close(vm);
	/* One that shares the key of another. */
	vm = init(f, KVM_SEV_INIT, 0);
	start.handle = guest_status(&f->call, other).handle;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_START, &start, NULL), 0);
	assert_memory_equal(sev_vek(vm), sev_vek(other), PSP_KEY_LEN);
	vm_close(vm);
	vm_close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_ranges, setup_ranges),
		CASE(test_lazy, setup),
		CASE(test_failed_flush, setup),
		CASE(test_failed_init_gives_back, setup),
		CASE(test_without_es, setup_without_es),
		CASE(test_es_only, setup_es_only),
		CASE(test_es_only_main, setup_es_only_main),
		CASE(test_capacity, setup_capacity),
		CASE(test_groups, setup),
		CASE(test_keys, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
