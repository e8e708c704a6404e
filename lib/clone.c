/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A second VM from the record of the first, for a guest that comes back from a target that failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "state.h"
#include "vm.h"

static int clone_chips(const struct vmr_vm *vm, struct vmr_vm *clone, struct vmr_error *ret_error)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < vm->caps.n; i++)
		r = vmr_vm_enable_cap(clone, &vm->caps.cap[i], ret_error);
	if (r == 0 && vm->has_tss_addr)
		r = vmr_vm_set_tss_addr(clone, vm->tss_addr, ret_error);
	if (r == 0 && vm->has_identity_map_addr)
		r = vmr_vm_set_identity_map_addr(clone, vm->identity_map_addr, ret_error);
	if (r == 0 && vm->has_irqchip)
		r = vmr_vm_create_irqchip(clone, ret_error);
	if (r == 0 && vm->has_pit)
		r = vmr_vm_create_pit(clone, &vm->pit_config, vm->pit_reinject, ret_error);
	return r;
}

static int clone_vcpu(const struct vm_vcpu *vcpu, struct vmr_vm *clone, struct vmr_error *ret_error)
{
	unsigned index;
	int r = vmr_vm_create_vcpu(clone, vcpu->id, &index, ret_error);

	for (unsigned i = 0; r == 0 && i < vcpu->caps.n; i++)
		r = vmr_vcpu_enable_cap(clone, index, &vcpu->caps.cap[i], ret_error);
	if (r == 0 && vcpu->cpuid)
		r = vmr_vcpu_set_cpuid(clone, index, vcpu->cpuid, ret_error);
	if (r == 0 && vcpu->has_mce)
		r = vmr_vcpu_setup_mce(clone, index, vcpu->mcg_cap, ret_error);
	if (r == 0)
		r = state_set_feature_msrs(clone, index, vcpu->feature_msrs, ret_error);
	return r;
}

static int clone_events(const struct vmr_vm *vm, struct vmr_vm *clone, struct vmr_error *ret_error)
{
	int r = vm->routing ? vmr_vm_set_gsi_routing(clone, vm->routing, ret_error) : 0;

	for (unsigned i = 0; r == 0 && i < vm->n_ioeventfds; i++)
		r = vmr_vm_add_ioeventfd(clone, &vm->ioeventfds[i], ret_error);
	return r;
}

/* The MSRs of the record, in its order. */
static int clone_features(const struct vmr_vm *vm, struct vmr_vm *clone,
			  struct vmr_error *ret_error)
{
	const struct kvm_msrs *msrs = vm->features.msrs;
	uint32_t indices[VM_MSRS_MAX];

	for (uint32_t i = 0; i < msrs->nmsrs; i++)
		indices[i] = msrs->entries[i].index;
	return state_probe(clone, indices, msrs->nmsrs, ret_error);
}

int vm_clone(const struct vmr_vm *vm, struct vmr_vm **ret, struct vmr_error *ret_error)
{
	struct vmr_vm *clone;
	int r = vmr_vm_create(vm->kvm_fd, vm->type, &clone, ret_error);

	if (r < 0)
		return r;
	clone->sev = vm->sev;
	clone->sev.is_moved = true;
	r = clone_chips(vm, clone, ret_error);
	for (unsigned i = 0; r == 0 && i < vm->n_slots; i++)
		r = vmr_vm_set_memory(clone, &vm->slots[i].slot, ret_error);
	for (unsigned i = 0; r == 0 && i < vm->n_vcpus; i++)
		r = clone_vcpu(&vm->vcpus[i], clone, ret_error);
	if (r == 0)
		r = clone_features(vm, clone, ret_error);
	if (r == 0)
		r = clone_events(vm, clone, ret_error);
	if (r < 0) {
		(void)vmr_vm_free(clone);
		return r;
	}
	clone->is_complete = true;
	*ret = clone;
	return 0;
}

int vm_replace(struct vmr_vm *vm, const struct vmr_vm *clone, struct vmr_error *ret_error)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct vm_vcpu *vcpu = &vm->vcpus[i];

		if (dup3(clone->vcpus[i].fd, vcpu->fd, O_CLOEXEC) < 0 ||
		    mmap(vcpu->run, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 vcpu->fd, 0) == MAP_FAILED)
			return error_set(ret_error, -errno, "replace", "vCPU", NULL);
	}
	if (dup3(clone->vm_fd, vm->vm_fd, O_CLOEXEC) < 0)
		return error_set(ret_error, -errno, "replace", "VM", NULL);
	vm->sev.is_moved = clone->sev.is_moved;
	return 0;
}
