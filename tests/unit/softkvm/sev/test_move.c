// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_move.c - contexts change their VM, and are shared: what KVM's own selftest
 * (sev_migrate_tests) asks for, then what it does not ask
 */
#include <errno.h>
#include <linux/psp-sev.h>

#include "fixture.h"

static int setup_v7(void **state)
{
	return setup_as(state, &(struct host_config){.profile = PROFILE_V7});
}

typedef struct vm *vm_maker(struct call *call, unsigned n_vcpus);

/* sev_migrate_tests: test_sev_migrate_from() */
static void chain(struct fixture *f, vm_maker *make)
{
	struct vm *first = make(&f->call, 4), *target[3], *previous = first;

	for (unsigned i = 0; i < 3; i++, previous = target[i - 1]) {
		target[i] = aux_vm(&f->call, 4);
		assert_int_equal(move_vm(&f->call, target[i], previous), 0);
	}
	assert_int_equal(move_vm(&f->call, first, target[2]), -EIO);
	assert_int_equal(guest_count(&f->call), 1);
	vm_close(first);
	for (unsigned i = 0; i < 3; i++)
		vm_close(target[i]);
	assert_int_equal(guest_count(&f->call), 0);
	/* One context, whatever the number of its VMs. */
	assert_int_equal(n_commands(f->m, PSP_DEACTIVATE), 1);
	assert_int_equal(n_commands(f->m, PSP_DECOMMISSION), 1);
}

static void test_chain_sev(void **state)
{
	chain(*state, sev_vm);
}

static void test_chain_es(void **state)
{
	chain(*state, es_vm);
}

/* test_sev_migrate_parameters() */
static void test_parameters(void **state)
{
	struct fixture *f = *state;
	struct vm *sev = sev_vm(&f->call, 4), *es = es_vm(&f->call, 4);
	struct vm *none = aux_vm(&f->call, 0), *plain = aux_vm(&f->call, 4);
	struct vm *no_vmsa = aux_vm(&f->call, 0), *one = aux_vm(&f->call, 1);

	assert_int_equal(op(&f->call, no_vmsa, KVM_SEV_ES_INIT, NULL, NULL), 0);
	vcpu_create(no_vmsa, 1);
	assert_int_equal(move_vm(&f->call, none, plain), -EINVAL);
	assert_int_equal(move_vm(&f->call, sev, es), -EINVAL);
	assert_int_equal(move_vm(&f->call, es, sev), -EINVAL);
	assert_int_equal(move_vm(&f->call, none, es), -EINVAL);
	assert_int_equal(move_vm(&f->call, none, no_vmsa), -EINVAL);
	assert_int_equal(move_vm(&f->call, one, no_vmsa), -EINVAL);
	/* None of them has changed anything. */
	assert_int_equal(guest_status(&f->call, sev).state, PSP_GUEST_LUPDATE);
	assert_int_equal(guest_status(&f->call, es).state, PSP_GUEST_LUPDATE);
	assert_int_equal(move_vm(&f->call, plain, es), 0);
	vm_close(sev);
	vm_close(es);
	vm_close(none);
	vm_close(plain);
	vm_close(no_vmsa);
	vm_close(one);
}

/* test_sev_move_copy(): the order of destruction is different each time */
static void test_move_and_copy(void **state)
{
	struct fixture *f = *state;
	struct vm *owner = sev_vm(&f->call, 4), *mirror = aux_vm(&f->call, 0), *vm[6];

	for (unsigned i = 0; i < 6; i++)
		vm[i] = aux_vm(&f->call, i < 3 ? 4 : 0);
	assert_int_equal(copy_vm(&f->call, mirror, owner), 0);
	assert_int_equal(move_vm(&f->call, vm[3], mirror), 0);
	assert_int_equal(move_vm(&f->call, vm[0], owner), 0);
	assert_int_equal(move_vm(&f->call, vm[1], vm[0]), 0);
	assert_int_equal(move_vm(&f->call, vm[4], vm[3]), 0);
	assert_int_equal(move_vm(&f->call, vm[5], vm[4]), 0);
	assert_int_equal(move_vm(&f->call, vm[2], vm[1]), 0);
	vm_close(vm[0]);
	vm_close(owner);
	vm_close(vm[1]);
	vm_close(vm[2]);
	assert_int_equal(guest_count(&f->call), 1);
	assert_int_equal(guest_status(&f->call, vm[5]).state, PSP_GUEST_LUPDATE);
	vm_close(mirror);
	vm_close(vm[3]);
	vm_close(vm[4]);
	vm_close(vm[5]);
	assert_int_equal(guest_count(&f->call), 0);

	owner = sev_vm(&f->call, 4);
	mirror = aux_vm(&f->call, 0);
	vm[0] = aux_vm(&f->call, 4);
	vm[1] = aux_vm(&f->call, 0);
	assert_int_equal(copy_vm(&f->call, mirror, owner), 0);
	assert_int_equal(move_vm(&f->call, vm[1], mirror), 0);
	assert_int_equal(move_vm(&f->call, vm[0], owner), 0);
	vm_close(mirror);
	vm_close(vm[1]);
	vm_close(vm[0]);
	vm_close(owner);
	assert_int_equal(guest_count(&f->call), 0);
}

static void check_mirror(struct fixture *f, vm_maker *make, bool is_es)
{
	struct vm *owner = make(&f->call, 4), *mirror = aux_vm(&f->call, 0);
	uint32_t handle = guest_status(&f->call, owner).handle;

	assert_int_equal(copy_vm(&f->call, mirror, owner), 0);
	for (unsigned i = 0; i < 4; i++)
		vcpu_create(mirror, i);
	if (is_es)
		assert_int_equal(op(&f->call, mirror, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, NULL), 0);
	for (uint32_t id = 0; id < KVM_SEV_NR_MAX + 2; id++)
		if (id != KVM_SEV_LAUNCH_UPDATE_VMSA && id != KVM_SEV_GUEST_STATUS &&
		    id != KVM_SEV_DBG_DECRYPT && id != KVM_SEV_DBG_ENCRYPT)
			assert_int_equal(op(&f->call, mirror, id, NULL, NULL), -EINVAL);
	assert_int_equal(guest_status(&f->call, mirror).handle, handle);
	assert_int_equal(region(&f->call, mirror, true, f->m->memory[0], PAGE), -EINVAL);
	assert_int_equal(region(&f->call, mirror, false, f->m->memory[0], PAGE), -EINVAL);
	vm_close(owner);
	/* Its context lives with the mirror. */
	assert_int_equal(guest_status(&f->call, mirror).handle, handle);
	vm_close(mirror);
	assert_int_equal(guest_count(&f->call), 0);
}

/* test_sev_mirror() */
static void test_mirror_sev(void **state)
{
	check_mirror(*state, sev_vm, false);
}

static void test_mirror_es(void **state)
{
	check_mirror(*state, es_vm, true);
}

/* test_sev_mirror_parameters() */
static void test_mirror_parameters(void **state)
{
	struct fixture *f = *state;
	struct vm *sev = sev_vm(&f->call, 4), *es = es_vm(&f->call, 4);
	struct vm *none = aux_vm(&f->call, 0), *plain = aux_vm(&f->call, 4);
	struct vm *mirror = aux_vm(&f->call, 0);

	assert_int_equal(copy_vm(&f->call, sev, sev), -EINVAL);
	assert_int_equal(copy_vm(&f->call, none, plain), -EINVAL);
	assert_int_equal(copy_vm(&f->call, plain, sev), -EINVAL);
	assert_int_equal(copy_vm(&f->call, sev, es), -EINVAL);
	assert_int_equal(copy_vm(&f->call, es, sev), -EINVAL);
	assert_int_equal(copy_vm(&f->call, mirror, sev), 0);
	assert_int_equal(copy_vm(&f->call, none, mirror), -EINVAL);
	assert_int_equal(copy_vm(&f->call, mirror, es), -EINVAL);
	/* A vCPU on its way counts. */
	vcpu_begin(none);
	assert_int_equal(copy_vm(&f->call, none, sev), -EINVAL);
	vcpu_end(none, 0);
	vm_close(sev);
	vm_close(es);
	vm_close(none);
	vm_close(plain);
	vm_close(mirror);
}

static void test_mirrors_follow_owner(void **state)
{
	struct fixture *f = *state;
	struct vm *owner = sev_vm(&f->call, 1), *mirror[3], *target[2], *late = aux_vm(&f->call, 0);
	uint32_t handle = guest_status(&f->call, owner).handle;

	for (unsigned i = 0; i < 3; i++) {
		mirror[i] = aux_vm(&f->call, 0);
		assert_int_equal(copy_vm(&f->call, mirror[i], owner), 0);
	}
	target[0] = aux_vm(&f->call, 1);
	target[1] = aux_vm(&f->call, 0);
	assert_int_equal(move_vm(&f->call, target[0], owner), 0);
	vm_close(mirror[1]);
	assert_int_equal(move_vm(&f->call, target[1], target[0]), 0);
	assert_int_equal(copy_vm(&f->call, late, owner), -EINVAL);
	assert_int_equal(copy_vm(&f->call, late, target[1]), 0);
	vm_close(owner);
	vm_close(target[0]);
	vm_close(target[1]);
	assert_int_equal(guest_status(&f->call, mirror[0]).handle, handle);
	vm_close(mirror[0]);
	vm_close(mirror[2]);
	assert_int_equal(guest_status(&f->call, late).handle, handle);
	vm_close(late);
	assert_int_equal(guest_count(&f->call), 0);
}

static void test_descriptors(void **state)
{
	struct fixture *f = *state;
	struct vm *source = sev_vm(&f->call, 1), *target = aux_vm(&f->call, 1);
	int fd = give(&f->call, &source->object), own = give(&f->call, &target->object);

	assert_int_equal(move_fd(&f->call, target, (uint64_t)-1), -EBADF);
	assert_int_equal(move_fd(&f->call, target, N_FDS), -EBADF);
	assert_int_equal(move_fd(&f->call, target, N_FDS - 1), -EBADF);
	assert_int_equal(move_fd(&f->call, target, SEV_FD), -EBADF);
	assert_int_equal(copy_fd(&f->call, target, SEV_FD), -EBADF);
	/* The descriptor is looked at before the target is, and whether it is the target before
	 * that. */
	assert_int_equal(move_fd(&f->call, source, SEV_FD), -EBADF);
	assert_int_equal(move_fd(&f->call, target, (uint64_t)own), -EINVAL);
	assert_int_equal(move_fd(&f->call, source, (uint64_t)fd), -EINVAL);
	/* The upper half is not. */
	assert_int_equal(move_fd(&f->call, target, 0xabcdULL << 32 | (unsigned)fd), 0);
	/* A dead VM has no descriptors to look at. */
	assert_int_equal(move_fd(&f->call, source, (uint64_t)-1), -EIO);
	close_in(&f->call, fd);
	vm_close(source);
	assert_int_equal(guest_status(&f->call, target).state, PSP_GUEST_LUPDATE);
	close_in(&f->call, own);
	vm_close(target);
}

static void test_busy(void **state)
{
	struct fixture *f = *state;
	struct vm *plain = aux_vm(&f->call, 1), *target = aux_vm(&f->call, 1);
	struct vm *es = es_vm(&f->call, 2);

	/* Another call names one of them: that comes before what they are. */
	plain->sev.in_progress = true;
	assert_int_equal(move_vm(&f->call, target, plain), -EBUSY);
	assert_int_equal(move_vm(&f->call, plain, target), -EBUSY);
	assert_int_equal(copy_vm(&f->call, target, plain), -EBUSY);
	plain->sev.in_progress = false;
	assert_int_equal(move_vm(&f->call, target, plain), -EINVAL);
	/* A vCPU on its way, before the number of vCPUs. */
	vcpu_begin(target);
	assert_int_equal(move_vm(&f->call, target, es), -EBUSY);
	vcpu_end(target, 1);
	vcpu_begin(es);
	assert_int_equal(move_vm(&f->call, target, es), -EBUSY);
	vcpu_end(es, 2);
	/* The number matches again only with a VMSA that is not encrypted. */
	vcpu_create(target, 2);
	assert_int_equal(move_vm(&f->call, target, es), -EINVAL);
	assert_int_equal(op(&f->call, es, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, NULL), 0);
	assert_int_equal(move_vm(&f->call, target, es), 0);
	vm_close(plain);
	vm_close(target);
	vm_close(es);
}

static void test_killed_while_waiting(void **state)
{
	struct fixture *f = *state;
	struct vm *source = sev_vm(&f->call, 2), *target = aux_vm(&f->call, 2);
	pthread_mutex_t *locks[] = {&target->lock, &source->lock, &target->vcpu[1]->lock,
				    &source->vcpu[1]->lock};

	f->call.is_killed = true;
	for (unsigned i = 0; i < ARRAY_SIZE(locks); i++) {
		pthread_mutex_lock(locks[i]);
		assert_int_equal(move_vm(&f->call, target, source), -EINTR);
		pthread_mutex_unlock(locks[i]);
	}
	f->call.is_killed = false;
	assert_int_equal(sev_host_usage(f->m->host.sev, "/user/a", false), 1);
	assert_int_equal(move_vm(&f->call, target, source), 0);
	vm_close(source);
	vm_close(target);
}

static void test_numbers_of_vcpus(void **state)
{
	static const unsigned numbers[] = {0, 1, 8};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		struct vm *source = sev_vm(&f->call, 4), *target = aux_vm(&f->call, numbers[i]);

		assert_int_equal(move_vm(&f->call, target, source), 0);
		assert_int_equal(target->n_vcpus, numbers[i]);
		vm_close(source);
		vm_close(target);
	}
}

static void test_vcpus_by_index(void **state)
{
	struct fixture *f = *state;
	struct vm *source = es_vm(&f->call, 4), *target = aux_vm(&f->call, 0);
	uint8_t *vmsa[4];

	for (unsigned i = 0; i < 4; i++) {
		vmsa[i] = source->vcpu[i]->sev.vmsa;
		vcpu_create(target, 13 - i);
	}
	assert_int_equal(move_vm(&f->call, target, source), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_ptr_equal(target->vcpu[i]->sev.vmsa, vmsa[i]);
		assert_true(target->vcpu[i]->sev.is_protected);
		assert_null(source->vcpu[i]->sev.vmsa);
		assert_false(source->vcpu[i]->sev.is_protected);
	}
	/* A new vCPU has no encrypted state, and can get none any more once the guest runs. */
	vcpu_create(target, 20);
	assert_false(target->vcpu[4]->sev.is_protected);
	vm_close(source);
	vm_close(target);
}

static void test_source_is_dead(void **state)
{
	struct fixture *f = *state;
	struct vm *source = sev_vm(&f->call, 1), *target = aux_vm(&f->call, 1);
	struct vm *other = aux_vm(&f->call, 0);

	assert_int_equal(move_vm(&f->call, target, source), 0);
	assert_true(source->dead);
	assert_false(target->dead);
	assert_int_equal(source->sev.asid, 0);
	assert_int_equal(source->sev.handle, 0);
	assert_null(sev_vek(source));
	assert_non_null(sev_vek(target));
	assert_int_equal(move_vm(&f->call, other, source), -EINVAL);
	assert_int_equal(copy_vm(&f->call, other, source), -EINVAL);
	/* Calls that waited for its lock meanwhile. */
	assert_int_equal(sev_move_from(&f->call, source, (uint64_t)give(&f->call, &target->object)),
			 -EIO);
	assert_int_equal(sev_mem_enc_op(&f->call, source, (uintptr_t) & (struct kvm_sev_cmd){0}),
			 -EIO);
	assert_int_equal(
		sev_reg_region(&f->call, source, (uintptr_t) & (struct kvm_enc_region){0, 1}),
		-EIO);
	assert_int_equal(
		sev_unreg_region(&f->call, source, (uintptr_t) & (struct kvm_enc_region){0, 1}),
		-EIO);
	/* The target is like any other: active. */
	assert_int_equal(op(&f->call, target, KVM_SEV_INIT, NULL, NULL), -EINVAL);
	vm_close(source);
	vm_close(target);
	vm_close(other);
}

static void test_regions_move(void **state)
{
	struct fixture *f = *state;
	struct vm *source = sev_vm(&f->call, 1), *target = aux_vm(&f->call, 1);
	uint8_t *there = f->m->memory[0], *here = f->m->memory[1];

	assert_int_equal(region(&f->call, source, true, there, 4 * PAGE), 0);
	assert_int_equal(region(&f->call, source, true, there + PAGE, 100), 0);
	f->call.memlock = 0;
	assert_int_equal(move_vm(&f->call, target, source), 0);
	assert_int_equal(target->sev.pages_locked, 5);
	assert_int_equal(f->m->n_pinned, 2);
	/* What is registered has its old keys. */
	assert_int_equal(region(&f->call, target, false, here, 4 * PAGE), -EINVAL);
	assert_int_equal(region(&f->call, target, true, here, PAGE), -ENOMEM);
	f->call.memlock = 6 * PAGE;
	assert_int_equal(region(&f->call, target, true, here, PAGE), 0);
	assert_int_equal(region(&f->call, target, true, here, PAGE), -ENOMEM);
	assert_int_equal(region(&f->call, target, false, there, 4 * PAGE), 0);
	assert_int_equal(region(&f->call, target, false, there, 4 * PAGE), -EINVAL);
	assert_int_equal(target->sev.pages_locked, 2);
	vm_close(source);
	assert_int_equal(f->m->n_pinned, 2);
	vm_close(target);
	assert_int_equal(f->m->n_pinned, 0);
}

/* In any state, also before LAUNCH_START, and everything can be continued. */
static void test_states(void **state)
{
	struct fixture *f = *state;
	struct kvm_sev_launch_start start = {0};
	struct psp_measurement blob;
	struct kvm_sev_launch_measure measure = {.uaddr = (uintptr_t)&blob, .len = sizeof(blob)};
	struct vm *vm = aux_vm(&f->call, 0), *next;
	static const uint32_t steps[] = {KVM_SEV_LAUNCH_START, KVM_SEV_LAUNCH_MEASURE,
					 KVM_SEV_LAUNCH_FINISH};
	void *data[] = {&start, &measure, NULL};

	assert_int_equal(op(&f->call, vm, KVM_SEV_INIT, NULL, NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++, vm = next) {
		next = aux_vm(&f->call, i);
		assert_int_equal(move_vm(&f->call, next, vm), 0);
		vm_close(vm);
		assert_int_equal(op(&f->call, next, steps[i], data[i], NULL), 0);
		assert_int_equal(guest_status(&f->call, next).state, i + 1);
		assert_int_equal(guest_status(&f->call, next).handle, start.handle);
	}
	vm_close(vm);
	assert_int_equal(guest_count(&f->call), 0);
}

static void test_number_of_device_stays(void **state)
{
	struct fixture *f = *state;
	struct vm *source = sev_vm(&f->call, 1), *target = aux_vm(&f->call, 1);
	struct kvm_sev_guest_status status;

	assert_int_equal(move_vm(&f->call, target, source), 0);
	close_in(&f->call, 0);
	assert_int_equal(op(&f->call, target, KVM_SEV_GUEST_STATUS, &status, NULL), -EBADF);
	f->call.fd[0] = object_get(f->call.fd[SEV_FD]);
	assert_int_equal(op(&f->call, target, KVM_SEV_GUEST_STATUS, &status, NULL), 0);
	vm_close(source);
	vm_close(target);
}

static void test_no_asid_needed(void **state)
{
	struct fixture *f = *state;
	struct vm *vm[MAX_ASID - MIN_SEV_ASID + 1], *target = aux_vm(&f->call, 1);

	for (unsigned i = 0; i < ARRAY_SIZE(vm); i++)
		vm[i] = sev_vm(&f->call, 1);
	assert_int_equal(op(&f->call, target, KVM_SEV_INIT, NULL, NULL), -EINVAL);
	assert_int_equal(move_vm(&f->call, target, vm[3]), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(vm); i++)
		vm_close(vm[i]);
	vm_close(target);
}

static void test_cgroups(void **state)
{
	struct fixture *f = *state;
	struct sev_host *sev = f->m->host.sev;
	struct vm *source = sev_vm(&f->call, 1), *target = aux_vm(&f->call, 1);

	assert_int_equal(sev_host_usage(sev, "/user/a", false), 1);
	assert_int_equal(sev_host_usage(sev, "/user", false), 1);
	f->call.cgroup = "/user/b";
	assert_int_equal(sev_host_limit(sev, "/user/b", false, 0), 0);
	assert_int_equal(move_vm(&f->call, target, source), -EBUSY);
	assert_false(source->dead);
	assert_int_equal(sev_host_usage(sev, "/user/a", false), 1);
	/* The parent is charged for both while it lasts. */
	assert_int_equal(sev_host_limit(sev, "/user/b", false, UINT64_MAX), 0);
	assert_int_equal(sev_host_limit(sev, "/user", false, 1), 0);
	assert_int_equal(move_vm(&f->call, target, source), -EBUSY);
	assert_int_equal(sev_host_limit(sev, "/user", false, 2), 0);
	/* A failure after the charge takes it back. */
	vcpu_begin(target);
	assert_int_equal(move_vm(&f->call, target, source), -EBUSY);
	vcpu_end(target, 1);
	assert_int_equal(sev_host_usage(sev, "/user/b", false), 0);
	assert_int_equal(sev_host_usage(sev, "/user", false), 1);
	assert_int_equal(move_vm(&f->call, target, source), 0);
	assert_int_equal(sev_host_usage(sev, "/user/a", false), 0);
	assert_int_equal(sev_host_usage(sev, "/user/b", false), 1);
	assert_int_equal(sev_host_usage(sev, "/", false), 1);
	vm_close(source);
	assert_int_equal(sev_host_usage(sev, "/", false), 1);
	vm_close(target);
	assert_int_equal(sev_host_usage(sev, "/", false), 0);
}

static void test_cgroups_of_mirrors_and_es(void **state)
{
	struct fixture *f = *state;
	struct sev_host *sev = f->m->host.sev;
	struct vm *es = es_vm(&f->call, 1), *mirror = aux_vm(&f->call, 0);
	struct vm *target = aux_vm(&f->call, 0), *last = aux_vm(&f->call, 1);

	assert_int_equal(copy_vm(&f->call, mirror, es), 0);
	f->call.cgroup = "/b";
	assert_int_equal(move_vm(&f->call, target, mirror), 0);
	assert_int_equal(sev_host_usage(sev, "/b", true), 0);
	assert_int_equal(move_vm(&f->call, last, es), 0);
	assert_int_equal(sev_host_usage(sev, "/b", true), 1);
	assert_int_equal(sev_host_usage(sev, "/b", false), 0);
	assert_int_equal(sev_host_usage(sev, "/", true), 1);
	vm_close(es);
	vm_close(mirror);
	vm_close(target);
	vm_close(last);
	assert_int_equal(sev_host_usage(sev, "/", true), 0);
}

static void test_main(void **state)
{
	struct fixture *f = *state;
	struct vm *plain = aux_vm(&f->call, 1), *sev = vm_new(f->m, SEV_VM_SEV, 0);
	struct vm *es = vm_new(f->m, SEV_VM_SEV_ES, 0), *target = vm_new(f->m, SEV_VM_SEV, 0);
	uint8_t params[48] = {0};

	assert_int_equal(op(&f->call, sev, 22, params, NULL), 0);
	assert_int_equal(move_vm(&f->call, plain, sev), -EINVAL);
	assert_int_equal(move_vm(&f->call, es, sev), -EINVAL);
	assert_int_equal(op(&f->call, target, 22, params, NULL), 0);
	assert_int_equal(move_vm(&f->call, target, sev), -EINVAL);
	vm_close(target);
	target = vm_new(f->m, SEV_VM_SEV, 2);
	assert_int_equal(move_vm(&f->call, target, sev), 0);
	assert_true(target->sev.need_init); /* as upstream leaves it */
	vm_close(plain);
	vm_close(sev);
	vm_close(es);
	vm_close(target);
}

static void test_without_quirks(void **state)
{
	struct fixture *f = *state;
	struct vm *source = vm_new(f->m, SEV_VM_SEV_ES, 0),
		  *target = vm_new(f->m, SEV_VM_SEV_ES, 0);
	struct kvm_sev_launch_start start = {.policy = PSP_POLICY_ES};
	uint8_t params[48] = {0};

	assert_int_equal(op(&f->call, source, 22, params, NULL), 0);
	assert_int_equal(op(&f->call, source, KVM_SEV_LAUNCH_START, &start, NULL), 0);
	source->sev.ap_jump_table = 0x1000;
	source->sev.vmsa_features = 0x20;
	assert_int_equal(move_vm(&f->call, target, source), 0);
	close_in(&f->call, 0);
	assert_false(target->sev.need_init);
	assert_int_equal(target->sev.ghcb_version, 2);
	assert_int_equal(target->sev.ap_jump_table, 0x1000);
	assert_int_equal(target->sev.vmsa_features, 0x20);
	assert_int_equal(guest_status(&f->call, target).handle, start.handle);
	vm_close(source);
	vm_close(target);
}

static void test_v7(void **state)
{
	struct fixture *f = *state;
	struct vm *vm[3], *plain = aux_vm(&f->call, 4);

	for (unsigned i = 0; i < 3; i++)
		vm[i] = sev_vm(&f->call, 4);
	assert_int_equal(move_fd(&f->call, plain, (uint64_t)-1), -EINVAL);
	assert_int_equal(move_fd(&f->call, vm[0], (uint64_t)-1), -EBADF);
	assert_int_equal(move_vm(&f->call, vm[0], vm[0]), -EBUSY);
	assert_int_equal(move_vm(&f->call, vm[0], plain), -EINVAL);
	assert_int_equal(move_vm(&f->call, vm[1], vm[0]), 0);
	assert_int_equal(move_vm(&f->call, vm[2], vm[1]), 0);
	assert_false(vm[0]->dead);
	assert_int_equal(op(&f->call, vm[0], KVM_SEV_LAUNCH_FINISH, NULL, NULL), -ENOTTY);
	assert_int_equal(guest_count(&f->call), 1);
	assert_int_equal(sev_host_usage(f->m->host.sev, "/", false), 1);
	assert_int_equal(guest_status(&f->call, vm[2]).state, PSP_GUEST_LUPDATE);
	assert_int_equal(region(&f->call, vm[2], true, f->m->memory[0], PAGE), 0);
	vm_close(vm[0]);
	vm[0] = sev_vm(&f->call, 4);
	assert_int_equal(move_vm(&f->call, vm[2], vm[0]), -EINVAL);
	for (unsigned i = 0; i < 3; i++)
		vm_close(vm[i]);
	vm_close(plain);
	assert_int_equal(guest_count(&f->call), 0);
}

static void test_v7_es(void **state)
{
	struct fixture *f = *state;
	struct vm *source = es_vm(&f->call, 2), *target = es_vm(&f->call, 2);
	struct vm *other = es_vm(&f->call, 1);
	uint8_t *vmsa = source->vcpu[1]->sev.vmsa;

	assert_int_equal(move_vm(&f->call, other, source), -EINVAL);
	assert_int_equal(move_vm(&f->call, target, source), 0);
	assert_ptr_equal(target->vcpu[1]->sev.vmsa, vmsa);
	vm_close(source);
	vm_close(target);
	vm_close(other);
	assert_int_equal(sev_host_usage(f->m->host.sev, "/", true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_chain_sev, setup),
		CASE(test_chain_es, setup),
		CASE(test_parameters, setup),
		CASE(test_move_and_copy, setup),
		CASE(test_mirror_sev, setup),
		CASE(test_mirror_es, setup),
		CASE(test_mirror_parameters, setup),
		CASE(test_mirrors_follow_owner, setup),
		CASE(test_descriptors, setup),
		CASE(test_busy, setup),
		CASE(test_killed_while_waiting, setup),
		CASE(test_numbers_of_vcpus, setup),
		CASE(test_vcpus_by_index, setup),
		CASE(test_source_is_dead, setup),
		CASE(test_regions_move, setup),
		CASE(test_states, setup),
		CASE(test_number_of_device_stays, setup),
		CASE(test_no_asid_needed, setup),
		CASE(test_cgroups, setup),
		CASE(test_cgroups_of_mirrors_and_es, setup),
		CASE(test_main, setup_main),
		CASE(test_without_quirks, setup_without_quirks),
		CASE(test_v7, setup_v7),
		CASE(test_v7_es, setup_v7),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
