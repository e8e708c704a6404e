// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Clock and TSC.
 *
 * The TSC of this host is CLOCK_MONOTONIC in nanoseconds, so it has 1 GHz: the same for every
 * client, not to be calibrated, and it goes well with the speed of an interpreter.  It is not what
 * a client's own RDTSC returns; that is why KVM_GET_CLOCK does not claim to know the host's TSC
 * (KVM_CLOCK_HOST_TSC).
 */
#include "internal.h"

#include <errno.h>
#include <time.h>

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t host_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t vcpu_tsc(const struct vcpu *vcpu)
{
	unsigned __int128 scaled = (unsigned __int128)host_now_ns() * vcpu->tsc_khz / HOST_TSC_KHZ;

	return (uint64_t)scaled + vcpu->tsc_offset;
}

/* KVM scales by up to 2^8 on AMD's; below 1 MHz makes no sense. */
static bool is_sane(uint64_t khz)
{
	return khz >= 1000 && khz < (uint64_t)HOST_TSC_KHZ << 8;
}

int vcpu_set_tsc_khz(struct vcpu *vcpu, uint64_t khz)
{
	khz = khz ? khz : HOST_TSC_KHZ;
	if (!is_sane(khz))
		return -EINVAL;
	vcpu->tsc_khz = (uint32_t)khz;
	return 0;
}

static long set_tsc_khz(struct vm *vm, struct call *call, uint64_t arg)
{
	uint64_t khz = arg ? arg : HOST_TSC_KHZ;
	int r = vm_lock(vm, call);

	if (r < 0)
		return r;
	if (!is_sane(khz) || vm->n_created > 0)
		r = -EINVAL;
	else
		vm->tsc_khz = (uint32_t)khz;
	(void)pthread_mutex_unlock(&vm->lock);
	return r;
}

static long get_tsc_khz(struct vm *vm, struct call *call, uint64_t arg)
{
	int r = vm_lock(vm, call);
	long khz = vm->tsc_khz;

	(void)arg;
	if (r < 0)
		return r;
	(void)pthread_mutex_unlock(&vm->lock);
	return khz;
}

/* Documentation/virt/kvm/api.rst, 4.29 and 4.30. */
static long get_clock(struct vm *vm, struct call *call, uint64_t arg)
{
	const struct kvm_clock_data data = {
		.clock = host_now_ns() + (uint64_t)vm->clock_offset,
		.flags = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME,
		.realtime = read_clock(CLOCK_REALTIME),
	};

	return call_copy_out(call, arg, &data, sizeof(data));
}

static long set_clock(struct vm *vm, struct call *call, uint64_t arg)
{
	const uint32_t valid = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
	struct kvm_clock_data data;
	int r = call_copy_in(call, &data, arg, sizeof(data));

	if (r < 0)
		return r;
	if (data.flags & ~valid)
		return -EINVAL;
	if (data.flags & KVM_CLOCK_REALTIME) {
		uint64_t now = read_clock(CLOCK_REALTIME);

		if (now > data.realtime)
			data.clock += now - data.realtime;
	}
	vm->clock_offset = (int64_t)(data.clock - host_now_ns());
	return 0;
}

const struct vm_ioctl vm_time_ioctls[] = {
	{KVM_SET_TSC_KHZ, set_tsc_khz},
	{KVM_GET_TSC_KHZ, get_tsc_khz},
	{KVM_GET_CLOCK, get_clock},
	{KVM_SET_CLOCK, set_clock},
	{0},
};
