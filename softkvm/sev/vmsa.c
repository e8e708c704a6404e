// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmsa.c - the encrypted state of an SEV-ES vCPU
 *
 * The page belongs to the host and is encrypted with the guest's key from LAUNCH_UPDATE_VMSA on;
 * what is in it is in the clear only in cpu->state, while the vCPU runs.  It keeps its
 * system-physical address when it moves to another VM, or it could not be decrypted there.
 *
 * Sections are of AMD publication 24593 (APM volume 2).
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/cleanup.h"
#include "softkvm/sev/internal.h"
#include "softkvm/sev/vmsa.h"

#define CR0_CD	   (1ull << 30)
#define CR0_NW	   (1ull << 29)
#define CR0_PG	   (1ull << 31)
#define CR0_PE	   (1ull << 0)
#define CR4_PAE	   (1ull << 5)
#define CR4_MCE	   (1ull << 6)
#define EFER_LME   (1ull << 8)
#define EFER_SVME  (1ull << 12)
#define DR7_FIXED  0x400ull
#define XCR0_X87   (1ull << 0)
#define XCR0_SSE   (1ull << 1)
#define XCR0_AVX   (1ull << 2)
#define XCR0_PKRU  (1ull << 9)
#define XCR0_KNOWN (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_PKRU)

static struct vmsa_segment segment_out(const struct cpu_segment *segment)
{
	return (struct vmsa_segment){.selector = segment->selector,
				     .attributes = segment->attributes,
				     .limit = segment->limit,
				     .base = segment->base};
}

static struct cpu_segment segment_in(const struct vmsa_segment *segment)
{
	return (struct cpu_segment){.selector = segment->selector,
				    .attributes = segment->attributes,
				    .limit = segment->limit,
				    .base = segment->base};
}

static void put_segments(struct vmsa *vmsa, const struct cpu_state *state)
{
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		vmsa->segment[i] = segment_out(&state->segment[i]);
	vmsa->ldtr = segment_out(&state->ldtr);
	vmsa->tr = segment_out(&state->tr);
	vmsa->gdtr.base = state->gdtr.base;
	vmsa->gdtr.limit = state->gdtr.limit;
	vmsa->idtr.base = state->idtr.base;
	vmsa->idtr.limit = state->idtr.limit;
}

static void get_segments(const struct vmsa *vmsa, struct cpu_state *state)
{
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		state->segment[i] = segment_in(&vmsa->segment[i]);
	state->ldtr = segment_in(&vmsa->ldtr);
	state->tr = segment_in(&vmsa->tr);
	state->gdtr = (struct cpu_table){.base = vmsa->gdtr.base, .limit = vmsa->gdtr.limit};
	state->idtr = (struct cpu_table){.base = vmsa->idtr.base, .limit = vmsa->idtr.limit};
}

/* Calls move() for each register of 64 bits that is in both. */
static void each_register(struct vmsa *vmsa, struct cpu_state *state,
			  void (*move)(uint64_t *in_vmsa, uint64_t *in_state))
{
	uint64_t *gpr = state->gpr;

	move(&vmsa->rax, &gpr[RAX]);
	move(&vmsa->rcx, &gpr[RCX]);
	move(&vmsa->rdx, &gpr[RDX]);
	move(&vmsa->rbx, &gpr[RBX]);
	move(&vmsa->rsp, &gpr[RSP]);
	move(&vmsa->rbp, &gpr[RBP]);
	move(&vmsa->rsi, &gpr[RSI]);
	move(&vmsa->rdi, &gpr[RDI]);
	for (unsigned i = 0; i < 8; i++)
		move(&vmsa->r8_to_r15[i], &gpr[R8 + i]);
	move(&vmsa->rip, &state->rip);
	move(&vmsa->rflags, &state->rflags);
	move(&vmsa->cr0, &state->cr0);
	move(&vmsa->cr2, &state->cr2);
	move(&vmsa->cr3, &state->cr3);
	move(&vmsa->cr4, &state->cr4);
	for (unsigned i = 0; i < 4; i++)
		move(&vmsa->dr[i], &state->dr[i]);
	move(&vmsa->dr6, &state->dr6);
	move(&vmsa->dr7, &state->dr7);
	move(&vmsa->xcr0, &state->xcr0);
	move(&vmsa->xss, &state->xss);
	move(&vmsa->star, &state->star);
	move(&vmsa->lstar, &state->lstar);
	move(&vmsa->cstar, &state->cstar);
	move(&vmsa->sfmask, &state->sfmask);
	move(&vmsa->kernel_gs_base, &state->kernel_gs_base);
	move(&vmsa->sysenter_cs, &state->sysenter_cs);
	move(&vmsa->sysenter_esp, &state->sysenter_esp);
	move(&vmsa->sysenter_eip, &state->sysenter_eip);
	move(&vmsa->pat, &state->pat);
}

static void put(uint64_t *in_vmsa, uint64_t *in_state)
{
	*in_vmsa = *in_state;
}

static void get(uint64_t *in_vmsa, uint64_t *in_state)
{
	*in_state = *in_vmsa;
}

static void put_fpu(struct vmsa *vmsa, const struct cpu_fpu *fpu)
{
	vmsa->x87_fcw = fpu->fcw;
	vmsa->x87_fsw = fpu->fsw;
	vmsa->x87_ftw = fpu->ftw;
	vmsa->x87_fop = fpu->fop;
	vmsa->x87_rip = fpu->fip;
	vmsa->x87_dp = fpu->fdp;
	vmsa->mxcsr = fpu->mxcsr;
	for (unsigned i = 0; i < 8; i++) {
		memcpy(vmsa->x87_low[i], fpu->st[i], sizeof(vmsa->x87_low[i]));
		memcpy(vmsa->x87_high[i], fpu->st[i] + 8, sizeof(vmsa->x87_high[i]));
	}
	memcpy(vmsa->xmm, fpu->xmm, sizeof(vmsa->xmm));
	memcpy(vmsa->ymm_high, fpu->ymm_high, sizeof(vmsa->ymm_high));
}

static void get_fpu(const struct vmsa *vmsa, struct cpu_fpu *fpu)
{
	fpu->fcw = vmsa->x87_fcw;
	fpu->fsw = vmsa->x87_fsw;
	fpu->ftw = (uint8_t)vmsa->x87_ftw;
	fpu->fop = vmsa->x87_fop;
	fpu->fip = vmsa->x87_rip;
	fpu->fdp = vmsa->x87_dp;
	fpu->mxcsr = vmsa->mxcsr;
	memset(fpu->st, 0, sizeof(fpu->st));
	for (unsigned i = 0; i < 8; i++) {
		memcpy(fpu->st[i], vmsa->x87_low[i], sizeof(vmsa->x87_low[i]));
		memcpy(fpu->st[i] + 8, vmsa->x87_high[i], sizeof(vmsa->x87_high[i]));
	}
	memcpy(fpu->xmm, vmsa->xmm, sizeof(fpu->xmm));
	memcpy(fpu->ymm_high, vmsa->ymm_high, sizeof(fpu->ymm_high));
}

/*
 * KVM begins with the save area of its VMCB, as it would run the guest with without SEV-ES: EFER
 * and CR4 have what the host needs there, CR0 what it never lets be set, SYSENTER is for 32-bit
 * code, and CR2 is not in it yet.  KVM_SEV_INIT2 added the FPU; before, it is all zeroes.
 */
int vmsa_build(struct vcpu *vcpu, uint8_t ret[4096])
{
	struct cpu_state state = vcpu->cpu->state;
	struct vmsa vmsa = {.cpl = state.cpl, .pkru = state.pkru};
	const struct vm *vm = vcpu->vm;

	if (state.dr7 & ~DR7_FIXED)
		return -EINVAL;
	put_segments(&vmsa, &state);
	each_register(&vmsa, &state, put);
	vmsa.efer = state.efer | EFER_SVME;
	vmsa.cr0 &= ~(CR0_CD | CR0_NW);
	vmsa.cr4 |= CR4_MCE;
	vmsa.cr2 = 0;
	vmsa.sysenter_esp = (uint32_t)vmsa.sysenter_esp;
	vmsa.sysenter_eip = (uint32_t)vmsa.sysenter_eip;
	memset(vmsa.dr, 0, sizeof(vmsa.dr));
	vmsa.sev_features = vm->sev.vmsa_features;
	if (vm->type != SEV_VM_DEFAULT)
		put_fpu(&vmsa, &state.fpu);
	memset(ret, 0, 4096);
	memcpy(ret, &vmsa, sizeof(vmsa));
	return 0;
}

/*
 * 15.5.1, as far as it is about what the interpreter relies on; XCR0: 15.35.8.  EFER is what the
 * guest has made of it, SVME included.
 */
static bool is_consistent(const struct vmsa *vmsa)
{
	bool is_long = vmsa->efer & EFER_LME && vmsa->cr0 & CR0_PG;

	return !(vmsa->cr0 >> 32) && !(vmsa->dr6 >> 32) && !(vmsa->dr7 >> 32) &&
	       !(~vmsa->cr0 & CR0_CD && vmsa->cr0 & CR0_NW) &&
	       !(is_long && !(vmsa->cr4 & CR4_PAE)) && !(is_long && !(vmsa->cr0 & CR0_PE)) &&
	       !(is_long && vmsa->segment[CS].attributes & SEGMENT_L &&
		 vmsa->segment[CS].attributes & SEGMENT_DB) &&
	       vmsa->xcr0 & XCR0_X87 && !(vmsa->xcr0 & ~XCR0_KNOWN) &&
	       (vmsa->xcr0 & XCR0_SSE || !(vmsa->xcr0 & XCR0_AVX)) && vmsa->cpl <= 3;
}

static void decrypt(const struct vcpu *vcpu, struct vmsa *ret)
{
	memcpy(ret, vcpu->sev.vmsa, sizeof(*ret));
	memory_cipher(sev_vek(vcpu->vm), vcpu->sev.vmsa_address, (uint8_t *)ret, sizeof(*ret),
		      false);
}

bool vmsa_load(struct vcpu *vcpu, struct cpu_state *state)
{
	struct vmsa vmsa;
	bool is_good;

	/* VMRUN would decrypt what is not encrypted, and find nonsense. */
	if (!vcpu->sev.is_protected || !sev_vek(vcpu->vm))
		return false;
	decrypt(vcpu, &vmsa);
	is_good = is_consistent(&vmsa);
	if (is_good) {
		get_segments(&vmsa, state);
		each_register(&vmsa, state, get);
		state->efer = vmsa.efer;
		state->cpl = vmsa.cpl;
		state->pkru = vmsa.pkru;
		get_fpu(&vmsa, &state->fpu);
	}
	OPENSSL_cleanse(&vmsa, sizeof(vmsa));
	return is_good;
}

void vmsa_store(struct vcpu *vcpu, const struct cpu_state *state)
{
	struct cpu_state copy = *state;
	struct vmsa vmsa;

	decrypt(vcpu, &vmsa);
	put_segments(&vmsa, state);
	each_register(&vmsa, &copy, put);
	vmsa.efer = state->efer;
	vmsa.cpl = state->cpl;
	vmsa.pkru = state->pkru;
	put_fpu(&vmsa, &state->fpu);
	memory_cipher(sev_vek(vcpu->vm), vcpu->sev.vmsa_address, (uint8_t *)&vmsa, sizeof(vmsa),
		      true);
	memcpy(vcpu->sev.vmsa, &vmsa, sizeof(vmsa));
	OPENSSL_cleanse(&copy, sizeof(copy));
}

int sev_vcpu_create(struct vcpu *vcpu)
{
	struct sev_vcpu *sev = &vcpu->sev;

	if (!vcpu->vm->sev.es)
		return 0;
	sev->other = aligned_alloc(_Alignof(struct cpu_state), sizeof(*sev->other));
	if (!sev->other)
		return -ENOMEM;
	memset(sev->other, 0, sizeof(*sev->other));
	vcpu->cpu->ghcb = ghcb_info(vcpu);
	return memory_page_new(vcpu->vm->object.host->memory_objects, &sev->vmsa,
			       &sev->vmsa_address);
}

void sev_vcpu_destroy(struct vcpu *vcpu)
{
	struct sev_vcpu *sev = &vcpu->sev;

	if (sev->vmsa)
		memory_page_free(vcpu->vm->object.host->memory_objects, sev->vmsa_address);
	free(sev->other);
	free(sev->ghcb.scratch.data);
	*sev = (struct sev_vcpu){0};
}

void sev_vcpu_move(struct vcpu *target, struct vcpu *source)
{
	const uint64_t invalid = ~0ull;

	target->sev = source->sev;
	target->sev.ghcb.io = (struct sev_io){0};
	target->cpu->ghcb = source->cpu->ghcb;
	source->sev = (struct sev_vcpu){0};
	source->cpu->ghcb = invalid;
}
