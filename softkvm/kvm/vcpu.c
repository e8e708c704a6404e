// SPDX-License-Identifier: GPL-2.0-or-later
/* Life of a vCPU. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "kvm/uapi.h"

static const struct object_ops vcpu_ops;

bool vcpu_is_bsp(const struct vcpu *vcpu)
{
	return vcpu->id == vcpu->vm->bsp_id;
}

bool vcpu_is_protected(const struct vcpu *vcpu)
{
	return vcpu->sev.is_protected;
}

/* Since Linux 6.11 KVM refuses, if the VM's type says that its state is protected. */
bool vcpu_hides_state(const struct vcpu *vcpu)
{
	return vcpu->sev.is_protected && vcpu->vm->type == KVM_X86_SEV_ES_VM;
}

/* Sealed, so that no client can take the memory away from under the host. */
static int create_run(struct vcpu *vcpu)
{
	void *run;

	vcpu->run_fd = memfd_create("softkvm-run", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (vcpu->run_fd < 0)
		return -errno;
	if (ftruncate(vcpu->run_fd, RUN_SIZE) < 0 ||
	    fcntl(vcpu->run_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->run_fd, 0);
	if (run == MAP_FAILED)
		return -errno;
	vcpu->run = run;
	return 0;
}

static void init_locks(struct vcpu *vcpu)
{
	pthread_condattr_t attr;

	(void)pthread_mutex_init(&vcpu->lock, NULL);
	(void)pthread_mutex_init(&vcpu->wait_lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&vcpu->wake, &attr);
	(void)pthread_condattr_destroy(&attr);
}

/* All that needs no place among the VM's vCPUs yet. */
static int vcpu_new(struct vm *vm, unsigned id, struct vcpu **ret)
{
	struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
	int r;

	if (!vcpu)
		return -ENOMEM;
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->run_fd = -1;
	vcpu->interrupt = -1;
	vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	init_locks(vcpu);
	vcpu->cpu = cpu_new(&vcpu_cpu_ops, vcpu);
	r = vcpu->cpu ? create_run(vcpu) : -ENOMEM;
	if (r == 0)
		r = vcpu_msrs_new(vcpu);
	if (r == 0)
		r = vcpu_set_tsc_khz(vcpu, vm->tsc_khz);
	if (r == 0)
		r = sev_vcpu_create(vcpu);
	if (r < 0) {
		(void)vcpu_free(vcpu);
		return r;
	}
	vcpu_update_features(vcpu);
	vcpu->fpu_is_confidential = vm->sev.es && vm->object.host->config.profile != PROFILE_MAIN;
	/* A new vCPU's TSC begins at 0. */
	vcpu->tsc_offset = -vcpu_tsc(vcpu);
	*ret = vcpu;
	return 0;
}

struct vcpu *vcpu_free(struct vcpu *vcpu)
{
	if (!vcpu)
		return NULL;
	sev_vcpu_destroy(vcpu);
	(void)lapic_free(vcpu->lapic);
	(void)cpu_free(vcpu->cpu);
	if (vcpu->run)
		(void)munmap(vcpu->run, RUN_SIZE);
	close_fd(vcpu->run_fd);
	free(vcpu->cpuid);
	free(vcpu->msr);
	(void)pthread_cond_destroy(&vcpu->wake);
	(void)pthread_mutex_destroy(&vcpu->wait_lock);
	(void)pthread_mutex_destroy(&vcpu->lock);
	free(vcpu);
	return NULL;
}

/* Its place in the VM, and its file; under vm->lock. */
static int publish(struct vm *vm, struct vcpu *vcpu)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		if (vm->vcpu[i]->id == vcpu->id)
			return -EEXIST;
	vcpu->index = vm->n_vcpus;
	vm->vcpu[vcpu->index] = vcpu;
	if (vm->irqchip) {
		vcpu->lapic = lapic_new(vm->irqchip, vcpu->index, vcpu->id, vcpu_is_bsp(vcpu));
		if (!vcpu->lapic)
			return -ENOMEM;
		if (!vcpu_is_bsp(vcpu))
			vcpu->mp_state = KVM_MP_STATE_UNINITIALIZED;
	} else {
		const uint64_t base = 0xfee00000, is_bsp = 1u << 8, is_enabled = 1u << 11;

		vcpu->apic_base = base | is_enabled | (vcpu_is_bsp(vcpu) ? is_bsp : 0);
	}
	object_init(&vcpu->object, &vcpu_ops, vm->object.host);
	(void)object_get(&vm->object);
	atomic_store_explicit(&vm->n_vcpus, vcpu->index + 1, memory_order_release);
	return 0;
}

/*
 * In two steps, as KVM does it: what moves a VM's state away or copies it must see that a vCPU is
 * on its way.
 */
long vcpu_create(struct vm *vm, struct call *call, uint64_t id)
{
	struct vcpu *vcpu = NULL;
	int r;

	if (id >= VCPU_ID_MAX)
		return -EINVAL;
	r = vm_lock(vm, call);
	if (r < 0)
		return r;
	if (vm->n_created == VCPUS_MAX)
		r = -EINVAL;
	else
		vm->n_created++;
	(void)pthread_mutex_unlock(&vm->lock);
	if (r < 0)
		return r;

	r = vcpu_new(vm, (unsigned)id, &vcpu);

	(void)pthread_mutex_lock(&vm->lock);
	if (r == 0)
		r = publish(vm, vcpu);
	if (r < 0)
		vm->n_created--;
	(void)pthread_mutex_unlock(&vm->lock);
	if (r < 0) {
		(void)vcpu_free(vcpu);
		return r;
	}
	return call_return_object(call, &vcpu->object, true);
}

/* The file is closed; the vCPU stays until its VM goes. */
static void vcpu_release(struct object *object)
{
	struct vcpu *vcpu = (struct vcpu *)object;

	(void)object_put(&vcpu->vm->object);
}

void vcpu_kick(struct vcpu *vcpu)
{
	(void)pthread_mutex_lock(&vcpu->wait_lock);
	vcpu->is_kicked = true;
	atomic_store_explicit(&vcpu->cpu->attention, true, memory_order_release);
	(void)pthread_cond_signal(&vcpu->wake);
	(void)pthread_mutex_unlock(&vcpu->wait_lock);
}

static int vcpu_mmap(struct object *object, struct call *call, uint64_t offset, uint64_t len)
{
	const struct vcpu *vcpu = (const struct vcpu *)object;
	int fd;

	(void)call;
	if (offset > RUN_SIZE || len > RUN_SIZE - offset)
		return -EINVAL;
	fd = fcntl(vcpu->run_fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static long run(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	return arg ? -EINVAL : vcpu_run(vcpu, call);
}

/* api.rst, 4.21. */
static long set_signal_mask(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_signal_mask head;
	uint64_t mask;
	int r;

	vcpu->has_signal_mask = arg && vcpu->has_signal_mask;
	if (!arg)
		return 0;
	r = call_copy_in(call, &head, arg, sizeof(head));
	if (r < 0)
		return r;
	if (head.len != sizeof(mask))
		return -EINVAL;
	r = call_copy_in(call, &mask, arg + sizeof(head), sizeof(mask));
	if (r < 0)
		return r;
	vcpu->signal_mask = mask;
	vcpu->has_signal_mask = true;
	return 0;
}

static long set_tsc_khz(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	(void)call;
	return vcpu_set_tsc_khz(vcpu, arg);
}

static long get_tsc_khz(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	(void)call, (void)arg;
	return vcpu->tsc_khz;
}

/* No guest has a clock of KVM's that could be told that it was paused. */
static long kvmclock_ctrl(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	(void)vcpu, (void)call, (void)arg;
	return -EINVAL;
}

/* api.rst, 4.79: the TSC offset is the only attribute that there is. */
static int copy_attr(struct call *call, uint64_t arg, struct kvm_device_attr *ret)
{
	int r = call_copy_in(call, ret, arg, sizeof(*ret));

	if (r < 0)
		return r;
	return ret->group == KVM_VCPU_TSC_CTRL && ret->attr == KVM_VCPU_TSC_OFFSET ? 0 : -ENXIO;
}

static long has_attr(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_device_attr attr;

	(void)vcpu;
	return copy_attr(call, arg, &attr);
}

static long get_attr(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	uint64_t offset = vcpu->tsc_offset;
	struct kvm_device_attr attr;
	int r = copy_attr(call, arg, &attr);

	return r < 0 ? r : call_copy_out(call, attr.addr, &offset, sizeof(offset));
}

static long set_attr(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_device_attr attr;
	uint64_t offset;
	int r = copy_attr(call, arg, &attr);

	if (r == 0)
		r = call_copy_in(call, &offset, attr.addr, sizeof(offset));
	if (r == 0)
		vcpu->tsc_offset = offset;
	return r;
}

static const struct vcpu_ioctl vcpu_ioctls[] = {
	{KVM_RUN, run},
	{KVM_SET_SIGNAL_MASK, set_signal_mask},
	{KVM_SET_TSC_KHZ, set_tsc_khz},
	{KVM_GET_TSC_KHZ, get_tsc_khz},
	{KVM_KVMCLOCK_CTRL, kvmclock_ctrl},
	{KVM_X86_SETUP_MCE, vcpu_setup_mce},
	{KVM_HAS_DEVICE_ATTR, has_attr},
	{KVM_GET_DEVICE_ATTR, get_attr},
	{KVM_SET_DEVICE_ATTR, set_attr},
	{0},
};

/* What a vCPU that hides its state does not serve. */
static bool is_of_state(unsigned request)
{
	static const unsigned requests[] = {
		KVM_GET_REGS,	KVM_SET_REGS, KVM_GET_SREGS, KVM_SET_SREGS,	KVM_GET_SREGS2,
		KVM_SET_SREGS2, KVM_GET_FPU,  KVM_SET_FPU,   KVM_GET_XSAVE,	KVM_SET_XSAVE,
		KVM_GET_XSAVE2, KVM_GET_XCRS, KVM_SET_XCRS,  KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++)
		if (requests[i] == request)
			return true;
	return false;
}

static long serve(struct vcpu *vcpu, struct call *call, unsigned request, uint64_t arg)
{
	const struct vcpu_ioctl *const tables[] = {
		vcpu_ioctls,	    vcpu_regs_ioctls, vcpu_fpu_ioctls,
		vcpu_events_ioctls, vcpu_msr_ioctls,  vcpu_cpuid_ioctls,
	};

	if (vcpu_hides_state(vcpu) && is_of_state(request))
		return -EINVAL;
	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct vcpu_ioctl *row = tables[i]; row->serve; row++)
			if (row->request == request)
				return row->serve(vcpu, call, arg);
	return -EINVAL;
}

/* A move may have emptied the vCPU while the call waited for the lock: that is looked at again. */
static long vcpu_ioctl(struct object *object, struct call *call, unsigned request, uint64_t arg)
{
	struct vcpu *vcpu = (struct vcpu *)object;
	struct vm *vm = vcpu->vm;
	long r;

	if (vm->mm != call_mm(call) || vm->dead)
		return -EIO;
	if (_IOC_TYPE(request) != KVMIO)
		return -EINVAL;
	r = call_lock(call, &vcpu->lock);
	if (r < 0)
		return r;
	r = vm->dead ? -EIO : serve(vcpu, call, request, arg);
	(void)pthread_mutex_unlock(&vcpu->lock);
	return r;
}

static const struct object_ops vcpu_ops = {
	.name = "kvm-vcpu",
	.ioctl = vcpu_ioctl,
	.mmap = vcpu_mmap,
	.release = vcpu_release,
};
