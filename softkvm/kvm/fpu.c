// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Vector and x87 registers of a vCPU: FPU, XSAVE, XCRS.
 *
 * Of an SEV-ES guest's vCPU KVM has none: it answers with zeroes and ignores what is set.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

static bool is_confidential(const struct vcpu *vcpu)
{
	return vcpu->fpu_is_confidential;
}

static long get_fpu(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	const struct cpu_fpu *f = &vcpu->cpu->state.fpu;
	struct kvm_fpu fpu = {.fcw = 0};

	if (is_confidential(vcpu))
		return call_copy_out(call, arg, &fpu, sizeof(fpu));
	memcpy(fpu.fpr, f->st, sizeof(fpu.fpr));
	fpu.fcw = f->fcw;
	fpu.fsw = f->fsw;
	fpu.ftwx = f->ftw;
	fpu.last_opcode = f->fop;
	fpu.last_ip = f->fip;
	fpu.last_dp = f->fdp;
	memcpy(fpu.xmm, f->xmm, sizeof(fpu.xmm));
	fpu.mxcsr = f->mxcsr;
	return call_copy_out(call, arg, &fpu, sizeof(fpu));
}

static long set_fpu(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct cpu_fpu *f = &vcpu->cpu->state.fpu;
	struct kvm_fpu fpu;
	int r = call_copy_in(call, &fpu, arg, sizeof(fpu));

	if (r < 0 || is_confidential(vcpu))
		return r;
	memcpy(f->st, fpu.fpr, sizeof(f->st));
	f->fcw = fpu.fcw;
	f->fsw = fpu.fsw;
	f->ftw = fpu.ftwx;
	f->fop = fpu.last_opcode;
	f->fip = fpu.last_ip;
	f->fdp = fpu.last_dp;
	memcpy(f->xmm, fpu.xmm, sizeof(f->xmm));
	f->mxcsr = fpu.mxcsr & f->mxcsr_mask;
	return 0;
}

/* KVM_GET_XSAVE2 is KVM_GET_XSAVE, as there is no larger feature. */
_Static_assert(sizeof(struct kvm_xsave) == XSAVE_SIZE, "KVM_CAP_XSAVE2");

static long get_xsave(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_xsave area = {.region = {0}};

	if (!is_confidential(vcpu))
		cpu_get_xsave(&vcpu->cpu->state, XCR0_X87_SSE_AVX, &area, sizeof(area));
	return call_copy_out(call, arg, &area, sizeof(area));
}

static long set_xsave(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_xsave area;
	int r = call_copy_in(call, &area, arg, sizeof(area));

	if (r < 0 || is_confidential(vcpu))
		return r;
	return cpu_set_xsave(&vcpu->cpu->state, XCR0_X87_SSE_AVX, &area, sizeof(area)) ? 0
										       : -EINVAL;
}

static long get_xcrs(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	const struct kvm_xcrs xcrs = {
		.nr_xcrs = 1,
		.xcrs = {{.xcr = 0, .value = vcpu->cpu->state.xcr0}},
	};

	return call_copy_out(call, arg, &xcrs, sizeof(xcrs));
}

/* APM volume 2, 11.5.2: x87 is always on, AVX needs SSE. */
static bool xcr0_is_valid(uint64_t xcr0)
{
	return !(xcr0 & ~XCR0_X87_SSE_AVX) && xcr0 & 1 && !((xcr0 & 4) && !(xcr0 & 2));
}

static long set_xcrs(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_xcrs xcrs;
	int r = call_copy_in(call, &xcrs, arg, sizeof(xcrs));

	if (r < 0)
		return r;
	if (xcrs.nr_xcrs > KVM_MAX_XCRS || xcrs.flags)
		return -EINVAL;
	for (uint32_t i = 0; i < xcrs.nr_xcrs; i++) {
		if (xcrs.xcrs[i].xcr != 0)
			continue;
		if (!xcr0_is_valid(xcrs.xcrs[i].value))
			return -EINVAL;
		vcpu->cpu->state.xcr0 = xcrs.xcrs[i].value;
		break;
	}
	return 0;
}

const struct vcpu_ioctl vcpu_fpu_ioctls[] = {
	{KVM_GET_FPU, get_fpu},	     {KVM_SET_FPU, set_fpu},
	{KVM_GET_XSAVE, get_xsave},  {KVM_SET_XSAVE, set_xsave},
	{KVM_GET_XSAVE2, get_xsave}, {KVM_GET_XCRS, get_xcrs},
	{KVM_SET_XCRS, set_xcrs},    {0},
};
