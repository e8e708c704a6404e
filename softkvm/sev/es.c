// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * es.c - execution of SEV-ES guests: AMD publication 24593 (APM volume 2), 15.35
 *
 * Theory of operation.  There are two sets of registers: the guest's, which are in its VMSA, and
 * those that KVM has of it.  KVM's are what a VMM gets and sets, what events of the guest's GHCB
 * are served with, and what a few writes of the guest's show up in (15.35.10).  While the guest
 * runs its own are in cpu->state, and KVM's in sev.other; a VMGEXIT is served with the two
 * exchanged, so that whoever serves it sees KVM's as ever.
 *
 * Some things are one for both: what is neither in the VMSA nor KVM's alone.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "softkvm/sev/internal.h"

#define CR0_PG	  (1ull << 31)
#define EFER_LME  (1ull << 8)
#define EFER_LMA  (1ull << 10)
#define EFER_SVME (1ull << 12) /* the host's */
#define VECTOR_GP 13

/* VMEXIT_INVALID, in the 32 bits of a VMCB's exit code that KVM passes on (15.5.1). */
#define INVALID_STATE UINT32_MAX

struct cpu_state *sev_es_kvm_state(struct vcpu *vcpu)
{
	return vcpu->sev.is_loaded ? vcpu->sev.other : &vcpu->cpu->state;
}

static void take_common(struct cpu_state *to, const struct cpu_state *from)
{
	to->cr8 = from->cr8; /* V_TPR of the VMCB */
	to->tsc_aux = from->tsc_aux;
	to->shadow = from->shadow;
	to->nmi_masked = from->nmi_masked;
	to->halted = from->halted;
	to->exception = from->exception;
}

static void exchange(struct vcpu *vcpu)
{
	struct cpu_state *state = &vcpu->cpu->state, *other = vcpu->sev.other, saved = *state;

	*state = *other;
	*other = saved;
	take_common(state, other);
	OPENSSL_cleanse(&saved, sizeof(saved));
}

int sev_es_enter(struct vcpu *vcpu)
{
	int r = ghcb_continue(vcpu);

	if (r != 1)
		return r;
	*vcpu->sev.other = vcpu->cpu->state;
	if (!vmsa_load(vcpu, &vcpu->cpu->state)) {
		vcpu->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
		vcpu->run->fail_entry.hardware_entry_failure_reason = INVALID_STATE;
		vcpu->run->fail_entry.cpu = 0;
		return 0;
	}
	vcpu->sev.is_loaded = true;
	return 1;
}

void sev_es_leave(struct vcpu *vcpu)
{
	struct cpu_state *state = &vcpu->cpu->state, *other = vcpu->sev.other;

	vmsa_store(vcpu, state);
	take_common(other, state);
	*state = *other;
	vcpu->sev.is_loaded = false;
}

void sev_es_resume(struct vcpu *vcpu)
{
	vcpu->sev.hold = SEV_HOLD_NONE;
	ghcb_unmap(vcpu);
}

int sev_es_vmgexit(struct vcpu *vcpu, bool *ret_to_user)
{
	int r;

	exchange(vcpu);
	vcpu->sev.is_loaded = false;
	r = ghcb_serve(vcpu);
	exchange(vcpu);
	vcpu->sev.is_loaded = true;
	*ret_to_user = r == 0;
	return r < 0 ? r : 0;
}

/* What KVM refuses is a #GP for the guest, though its register has been written. */
static void refuse(struct vcpu *vcpu)
{
	vcpu->cpu->state.exception =
		(struct cpu_exception){.pending = true, .has_error = true, .vector = VECTOR_GP};
}

void sev_es_trap(struct vcpu *vcpu)
{
	const struct cpu_state *guest = &vcpu->cpu->state;
	struct cpu_state *kvm = vcpu->sev.other;
	bool is_paging = kvm->cr0 & CR0_PG;

	switch ((enum cpu_trap)vcpu->cpu->trap) {
	case CPU_TRAP_CR0:
		kvm->cr0 = guest->cr0;
		kvm->efer &= ~EFER_LMA;
		if (kvm->efer & EFER_LME && kvm->cr0 & CR0_PG)
			kvm->efer |= EFER_LMA;
		break;
	case CPU_TRAP_CR4:
		kvm->cr4 = guest->cr4;
		break;
	case CPU_TRAP_CR8: /* goes to the APIC by cpu_ops */
		kvm->cr8 = guest->cr8;
		break;
	case CPU_TRAP_EFER:
		if (is_paging && (kvm->efer ^ guest->efer) & EFER_LME)
			refuse(vcpu);
		else
			kvm->efer =
				(guest->efer & ~(EFER_LMA | EFER_SVME)) | (kvm->efer & EFER_LMA);
		break;
	}
}

/*
 * The first one starts the vCPU with its VMSA as it was launched; later ones only end the guest's
 * wait (56421, 4.3.2), since KVM cannot change its registers.
 */
void sev_es_startup(struct vcpu *vcpu)
{
	struct sev_vcpu *sev = &vcpu->sev;
	const uint64_t woken = 1;

	if (!sev->received_first_sipi) {
		sev->received_first_sipi = true;
		return;
	}
	if (sev->hold == SEV_HOLD_EVENT)
		sev->ghcb.ret_info_2 = woken;
	else if (sev->hold == SEV_HOLD_MSR)
		vcpu->cpu->ghcb |= woken << 12;
}
