// SPDX-License-Identifier: GPL-2.0-or-later
/* Life of a VM, and its ioctls that are not of interrupts, time or encryption. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/cleanup.h"
#include "kvm/uapi.h"

static const struct object_ops vm_ops;

struct vm *vm_of(struct object *object)
{
	return object->ops == &vm_ops ? (struct vm *)object : NULL;
}

unsigned long vm_types(const struct host *host)
{
	unsigned long types = 1ul << KVM_X86_DEFAULT_VM;

	if (host->config.profile != PROFILE_MAIN || !host->sev)
		return types;
	types |= 1ul << KVM_X86_SEV_VM;
	if (host->config.min_sev_asid > 1)
		types |= 1ul << KVM_X86_SEV_ES_VM;
	return types;
}

/* All vCPUs leave memory, and enter it again. */
static void kick_all(void *opaque)
{
	struct vm *vm = opaque;
	unsigned n = atomic_load_explicit(&vm->n_vcpus, memory_order_acquire);

	for (unsigned i = 0; i < n; i++)
		vcpu_kick(vm->vcpu[i]);
}

long vm_create(struct host *host, struct call *call, uint64_t type)
{
	if (type >= 8 * sizeof(unsigned long) || !(vm_types(host) & 1ul << type))
		return -EINVAL;

	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return -ENOMEM;
	vm->slots = slots_new(host->memory_objects, kick_all, vm);
	vm->ioeventfds = ioeventfds_new();
	if (!vm->slots || !vm->ioeventfds) {
		(void)slots_free(vm->slots);
		(void)ioeventfds_free(vm->ioeventfds);
		free(vm);
		return -ENOMEM;
	}
	object_init(&vm->object, &vm_ops, host);
	vm->mm = mm_get(call_mm(call));
	vm->type = type;
	(void)pthread_mutex_init(&vm->lock, NULL);
	vm->sev.need_init = type != KVM_X86_DEFAULT_VM;
	vm->clock_offset = -(int64_t)host_now_ns();
	vm->tsc_khz = HOST_TSC_KHZ;
	return call_return_object(call, &vm->object, true);
}

static void vm_release(struct object *object)
{
	struct vm *vm = (struct vm *)object;

	sev_vm_destroy(vm);
	/* Its thread kicks vCPUs. */
	(void)irqchip_free(vm->irqchip);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		(void)vcpu_free(vm->vcpu[i]);
	(void)slots_free(vm->slots);
	(void)ioeventfds_free(vm->ioeventfds);
	(void)mm_put(vm->mm);
	(void)pthread_mutex_destroy(&vm->lock);
	free(vm);
}

int vm_lock(struct vm *vm, struct call *call)
{
	int r = call_lock(call, &vm->lock);

	if (r == 0 && vm->dead) {
		(void)pthread_mutex_unlock(&vm->lock);
		r = -EIO;
	}
	return r;
}

static long create_vcpu(struct vm *vm, struct call *call, uint64_t arg)
{
	return vcpu_create(vm, call, arg);
}

static long check_extension(struct vm *vm, struct call *call, uint64_t arg)
{
	(void)call;
	return kvm_check_extension(vm->object.host, arg);
}

/* Also while vCPUs run: they drop what they know of memory before anything is unmapped. */
static long set_memory_region(struct vm *vm, struct call *call, uint64_t arg)
{
	struct kvm_userspace_memory_region region;
	int r = call_copy_in(call, &region, arg, sizeof(region));

	if (r < 0)
		return r;
	r = vm_lock(vm, call);
	if (r < 0)
		return r;
	r = slots_set(vm->slots, call, &region);
	(void)pthread_mutex_unlock(&vm->lock);
	return r;
}

/* No slot has a dirty log: memory/ refuses the flag. */
static long get_dirty_log(struct vm *vm, struct call *call, uint64_t arg)
{
	struct kvm_dirty_log log;
	int r = call_copy_in(call, &log, arg, sizeof(log));

	(void)vm;
	return r < 0 ? r : -ENOENT;
}

/* The next two are of VMX: SVM takes and ignores them. */
static long set_tss_addr(struct vm *vm, struct call *call, uint64_t arg)
{
	const uint64_t last = (1ull << 32) - 3 * PAGE_SIZE;

	(void)vm, (void)call;
	return arg > last ? -EINVAL : 0;
}

static long set_identity_map_addr(struct vm *vm, struct call *call, uint64_t arg)
{
	uint64_t address;
	int r = call_copy_in(call, &address, arg, sizeof(address));

	if (r == 0)
		r = vm_lock(vm, call);
	if (r < 0)
		return r;
	r = vm->n_created > 0 ? -EINVAL : 0;
	(void)pthread_mutex_unlock(&vm->lock);
	return r;
}

static long set_boot_cpu_id(struct vm *vm, struct call *call, uint64_t arg)
{
	int r = vm_lock(vm, call);

	if (r < 0)
		return r;
	if (vm->n_created > 0)
		r = -EBUSY;
	else
		vm->bsp_id = (uint32_t)arg;
	(void)pthread_mutex_unlock(&vm->lock);
	return r;
}

static long enable_cap(struct vm *vm, struct call *call, uint64_t arg)
{
	struct kvm_enable_cap cap;
	int r = call_copy_in(call, &cap, arg, sizeof(cap));

	if (r < 0)
		return r;
	if (cap.flags)
		return -EINVAL;
	switch (cap.cap) {
	case KVM_CAP_VM_COPY_ENC_CONTEXT_FROM:
		return sev_copy_from(call, vm, cap.args[0]);
	case KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM:
		return sev_move_from(call, vm, cap.args[0]);
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
		vm->has_triple_fault_event = cap.args[0] != 0;
		return 0;
	default:
		return -EINVAL;
	}
}

static long memory_encrypt_op(struct vm *vm, struct call *call, uint64_t arg)
{
	return sev_mem_enc_op(call, vm, arg);
}

static long reg_region(struct vm *vm, struct call *call, uint64_t arg)
{
	return sev_reg_region(call, vm, arg);
}

static long unreg_region(struct vm *vm, struct call *call, uint64_t arg)
{
	return sev_unreg_region(call, vm, arg);
}

static const struct vm_ioctl vm_ioctls[] = {
	{KVM_CREATE_VCPU, create_vcpu},
	{KVM_CHECK_EXTENSION, check_extension},
	{KVM_SET_USER_MEMORY_REGION, set_memory_region},
	{KVM_GET_DIRTY_LOG, get_dirty_log},
	{KVM_SET_TSS_ADDR, set_tss_addr},
	{KVM_SET_IDENTITY_MAP_ADDR, set_identity_map_addr},
	{KVM_SET_BOOT_CPU_ID, set_boot_cpu_id},
	{KVM_ENABLE_CAP, enable_cap},
	{KVM_MEMORY_ENCRYPT_OP, memory_encrypt_op},
	{KVM_MEMORY_ENCRYPT_REG_REGION, reg_region},
	{KVM_MEMORY_ENCRYPT_UNREG_REGION, unreg_region},
	{0},
};

static long vm_ioctl(struct object *object, struct call *call, unsigned request, uint64_t arg)
{
	const struct vm_ioctl *const tables[] = {vm_ioctls, vm_irq_ioctls, vm_time_ioctls};
	struct vm *vm = (struct vm *)object;

	if (vm->mm != call_mm(call) || vm->dead)
		return -EIO;
	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct vm_ioctl *row = tables[i]; row->serve; row++)
			if (row->request == request)
				return row->serve(vm, call, arg);
	return -ENOTTY;
}

static const struct object_ops vm_ops = {
	.name = "kvm-vm",
	.ioctl = vm_ioctl,
	.release = vm_release,
};
