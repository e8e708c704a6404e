/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ioctls of a vCPU file descriptor. */
#include "ioctl.h"

#include "call.h"

int kvm_vcpu_run(int vcpu_fd)
{
	return call(vcpu_fd, KVM_RUN, 0);
}

int kvm_vcpu_enable_cap(int vcpu_fd, const struct kvm_enable_cap *cap)
{
	return call(vcpu_fd, KVM_ENABLE_CAP, (unsigned long)cap);
}

int kvm_vcpu_get_regs(int vcpu_fd, struct kvm_regs *ret_regs)
{
	return call(vcpu_fd, KVM_GET_REGS, (unsigned long)ret_regs);
}

int kvm_vcpu_set_regs(int vcpu_fd, const struct kvm_regs *regs)
{
	return call(vcpu_fd, KVM_SET_REGS, (unsigned long)regs);
}

int kvm_vcpu_get_sregs(int vcpu_fd, struct kvm_sregs *ret_sregs)
{
	return call(vcpu_fd, KVM_GET_SREGS, (unsigned long)ret_sregs);
}

int kvm_vcpu_set_sregs(int vcpu_fd, const struct kvm_sregs *sregs)
{
	return call(vcpu_fd, KVM_SET_SREGS, (unsigned long)sregs);
}

int kvm_vcpu_get_sregs2(int vcpu_fd, struct kvm_sregs2 *ret_sregs)
{
	return call(vcpu_fd, KVM_GET_SREGS2, (unsigned long)ret_sregs);
}

int kvm_vcpu_set_sregs2(int vcpu_fd, const struct kvm_sregs2 *sregs)
{
	return call(vcpu_fd, KVM_SET_SREGS2, (unsigned long)sregs);
}

int kvm_vcpu_get_msrs(int vcpu_fd, struct kvm_msrs *msrs)
{
	return call(vcpu_fd, KVM_GET_MSRS, (unsigned long)msrs);
}

int kvm_vcpu_set_msrs(int vcpu_fd, const struct kvm_msrs *msrs)
{
	return call(vcpu_fd, KVM_SET_MSRS, (unsigned long)msrs);
}

int kvm_vcpu_get_cpuid2(int vcpu_fd, struct kvm_cpuid2 *cpuid)
{
	return call(vcpu_fd, KVM_GET_CPUID2, (unsigned long)cpuid);
}

int kvm_vcpu_set_cpuid2(int vcpu_fd, const struct kvm_cpuid2 *cpuid)
{
	return call(vcpu_fd, KVM_SET_CPUID2, (unsigned long)cpuid);
}

int kvm_vcpu_get_lapic(int vcpu_fd, struct kvm_lapic_state *ret_lapic)
{
	return call(vcpu_fd, KVM_GET_LAPIC, (unsigned long)ret_lapic);
}

int kvm_vcpu_set_lapic(int vcpu_fd, const struct kvm_lapic_state *lapic)
{
	return call(vcpu_fd, KVM_SET_LAPIC, (unsigned long)lapic);
}

int kvm_vcpu_get_events(int vcpu_fd, struct kvm_vcpu_events *ret_events)
{
	return call(vcpu_fd, KVM_GET_VCPU_EVENTS, (unsigned long)ret_events);
}

int kvm_vcpu_set_events(int vcpu_fd, const struct kvm_vcpu_events *events)
{
	return call(vcpu_fd, KVM_SET_VCPU_EVENTS, (unsigned long)events);
}

int kvm_vcpu_get_debugregs(int vcpu_fd, struct kvm_debugregs *ret_debugregs)
{
	return call(vcpu_fd, KVM_GET_DEBUGREGS, (unsigned long)ret_debugregs);
}

int kvm_vcpu_set_debugregs(int vcpu_fd, const struct kvm_debugregs *debugregs)
{
	return call(vcpu_fd, KVM_SET_DEBUGREGS, (unsigned long)debugregs);
}

int kvm_vcpu_get_mp_state(int vcpu_fd, struct kvm_mp_state *ret_mp_state)
{
	return call(vcpu_fd, KVM_GET_MP_STATE, (unsigned long)ret_mp_state);
}

int kvm_vcpu_set_mp_state(int vcpu_fd, const struct kvm_mp_state *mp_state)
{
	return call(vcpu_fd, KVM_SET_MP_STATE, (unsigned long)mp_state);
}

int kvm_vcpu_get_xsave(int vcpu_fd, struct kvm_xsave *ret_xsave)
{
	return call(vcpu_fd, KVM_GET_XSAVE, (unsigned long)ret_xsave);
}

int kvm_vcpu_get_xsave2(int vcpu_fd, struct kvm_xsave *ret_xsave)
{
	return call(vcpu_fd, KVM_GET_XSAVE2, (unsigned long)ret_xsave);
}

int kvm_vcpu_set_xsave(int vcpu_fd, const struct kvm_xsave *xsave)
{
	return call(vcpu_fd, KVM_SET_XSAVE, (unsigned long)xsave);
}

int kvm_vcpu_get_xcrs(int vcpu_fd, struct kvm_xcrs *ret_xcrs)
{
	return call(vcpu_fd, KVM_GET_XCRS, (unsigned long)ret_xcrs);
}

int kvm_vcpu_set_xcrs(int vcpu_fd, const struct kvm_xcrs *xcrs)
{
	return call(vcpu_fd, KVM_SET_XCRS, (unsigned long)xcrs);
}

int kvm_vcpu_set_tsc_khz(int vcpu_fd, unsigned khz)
{
	return call(vcpu_fd, KVM_SET_TSC_KHZ, khz);
}

int kvm_vcpu_get_tsc_khz(int vcpu_fd)
{
	return call(vcpu_fd, KVM_GET_TSC_KHZ, 0);
}

int kvm_vcpu_get_nested_state(int vcpu_fd, struct kvm_nested_state *state)
{
	return call(vcpu_fd, KVM_GET_NESTED_STATE, (unsigned long)state);
}

int kvm_vcpu_set_nested_state(int vcpu_fd, const struct kvm_nested_state *state)
{
	return call(vcpu_fd, KVM_SET_NESTED_STATE, (unsigned long)state);
}

int kvm_vcpu_kvmclock_ctrl(int vcpu_fd)
{
	return call(vcpu_fd, KVM_KVMCLOCK_CTRL, 0);
}

int kvm_vcpu_setup_mce(int vcpu_fd, uint64_t mcg_cap)
{
	return call(vcpu_fd, KVM_X86_SETUP_MCE, (unsigned long)&mcg_cap);
}

int kvm_vcpu_has_tsc_offset(int vcpu_fd)
{
	const struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL,
					     .attr = KVM_VCPU_TSC_OFFSET};

	return call(vcpu_fd, KVM_HAS_DEVICE_ATTR, (unsigned long)&attr);
}

int kvm_vcpu_get_tsc_offset(int vcpu_fd, uint64_t *ret_offset)
{
	const struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL,
					     .attr = KVM_VCPU_TSC_OFFSET,
					     .addr = (uintptr_t)ret_offset};

	return call(vcpu_fd, KVM_GET_DEVICE_ATTR, (unsigned long)&attr);
}

int kvm_vcpu_set_tsc_offset(int vcpu_fd, uint64_t offset)
{
	const struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL,
					     .attr = KVM_VCPU_TSC_OFFSET,
					     .addr = (uintptr_t)&offset};

	return call(vcpu_fd, KVM_SET_DEVICE_ATTR, (unsigned long)&attr);
}
