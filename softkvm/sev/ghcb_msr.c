// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ghcb_msr.c - the protocol of the GHCB's MSR: AMD publication 56421, 2.3.1
 *
 * What is not understood leaves the MSR as it is, which is how the guest notices.
 */
#include "softkvm/sev/internal.h"

#define INFO_MASK	   0xfffull
#define SEV_INFO	   0x001u
#define SEV_INFO_REQUEST   0x002u
#define CPUID_REQUEST	   0x004u
#define CPUID_RESPONSE	   0x005u
#define RESET_HOLD_REQUEST 0x006u
#define RESET_HOLD	   0x007u
#define PREFERRED_REQUEST  0x010u
#define REGISTER_REQUEST   0x012u
#define PAGE_STATE_REQUEST 0x014u
#define FEATURES_REQUEST   0x080u
#define FEATURES	   0x081u
#define TERMINATE	   0x100u

#define CPUID_REGISTER(value) ((value) >> 30 & 3)

static bool is_main(const struct vcpu *vcpu)
{
	return vcpu->vm->object.host->config.profile == PROFILE_MAIN;
}

uint64_t ghcb_info(const struct vcpu *vcpu)
{
	const uint64_t min = 1, max = is_main(vcpu) ? vcpu->vm->sev.ghcb_version : 1;

	return max << 48 | min << 32 | (uint64_t)SEV_C_BIT << 24 | SEV_INFO;
}

static uint64_t cpuid(struct vcpu *vcpu, uint64_t request)
{
	struct cpu_state *kvm = &vcpu->cpu->state;
	uint32_t regs[4];

	vcpu_cpuid(vcpu, (uint32_t)(request >> 32), 0, regs);
	for (unsigned i = 0; i < 4; i++)
		kvm->gpr[(const unsigned[]){RAX, RBX, RCX, RDX}[i]] = regs[i];
	return (uint64_t)regs[CPUID_REGISTER(request)] << 32 |
	       (request & (UINT32_MAX & ~INFO_MASK)) | CPUID_RESPONSE;
}

int ghcb_terminate(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	run->system_event.type = KVM_SYSTEM_EVENT_SEV_TERM;
	run->system_event.ndata = 1;
	run->system_event.data[0] = vcpu->cpu->ghcb;
	return 0;
}

int ghcb_serve_msr(struct vcpu *vcpu)
{
	uint64_t *msr = &vcpu->cpu->ghcb;
	uint32_t info = *msr & INFO_MASK;

	switch (info) {
	case SEV_INFO_REQUEST:
		*msr = ghcb_info(vcpu);
		return 1;
	case CPUID_REQUEST:
		*msr = cpuid(vcpu, *msr);
		return 1;
	case TERMINATE:
		return ghcb_terminate(vcpu);
	default:
		break;
	}
	if (!is_main(vcpu))
		return 1;
	switch (info) {
	case RESET_HOLD_REQUEST:
		*msr = RESET_HOLD;
		return ghcb_hold(vcpu, SEV_HOLD_MSR);
	case FEATURES_REQUEST:
		*msr = (uint64_t)GHCB_FEATURES << 12 | FEATURES;
		return 1;
	case PREFERRED_REQUEST: /* of SEV-SNP only */
	case REGISTER_REQUEST:
	case PAGE_STATE_REQUEST:
		return ghcb_terminate(vcpu);
	default:
		return 1;
	}
}
