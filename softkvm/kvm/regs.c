// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Registers of a vCPU: REGS, SREGS, SREGS2, DEBUGREGS, and TRANSLATE.
 *
 * Of an SEV-ES guest this is KVM's copy, which is nothing but scratch: setting it has no effect on
 * the guest, and of what is read only what write traps keep up to date has a meaning.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#define CR0_PE	     (1ull << 0)
#define CR0_NW	     (1ull << 29)
#define CR0_CD	     (1ull << 30)
#define CR0_PG	     (1ull << 31)
#define CR4_PAE	     (1ull << 5)
#define EFER_LME     (1ull << 8)
#define EFER_LMA     (1ull << 10)
#define RFLAGS_FIXED (1ull << 1)

static long get_regs(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	const struct cpu_state *s = &vcpu->cpu->state;
	const struct kvm_regs regs = {
		.rax = s->gpr[RAX],
		.rbx = s->gpr[RBX],
		.rcx = s->gpr[RCX],
		.rdx = s->gpr[RDX],
		.rsi = s->gpr[RSI],
		.rdi = s->gpr[RDI],
		.rsp = s->gpr[RSP],
		.rbp = s->gpr[RBP],
		.r8 = s->gpr[R8],
		.r9 = s->gpr[R9],
		.r10 = s->gpr[R10],
		.r11 = s->gpr[R11],
		.r12 = s->gpr[R12],
		.r13 = s->gpr[R13],
		.r14 = s->gpr[R14],
		.r15 = s->gpr[R15],
		.rip = s->rip,
		.rflags = s->rflags,
	};

	return call_copy_out(call, arg, &regs, sizeof(regs));
}

/* A pending exception is dropped with the registers that it was of. */
static long set_regs(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct cpu_state *s = &vcpu->cpu->state;
	struct kvm_regs regs;
	int r = call_copy_in(call, &regs, arg, sizeof(regs));

	if (r < 0)
		return r;
	s->gpr[RAX] = regs.rax;
	s->gpr[RBX] = regs.rbx;
	s->gpr[RCX] = regs.rcx;
	s->gpr[RDX] = regs.rdx;
	s->gpr[RSI] = regs.rsi;
	s->gpr[RDI] = regs.rdi;
	s->gpr[RSP] = regs.rsp;
	s->gpr[RBP] = regs.rbp;
	s->gpr[R8] = regs.r8;
	s->gpr[R9] = regs.r9;
	s->gpr[R10] = regs.r10;
	s->gpr[R11] = regs.r11;
	s->gpr[R12] = regs.r12;
	s->gpr[R13] = regs.r13;
	s->gpr[R14] = regs.r14;
	s->gpr[R15] = regs.r15;
	s->rip = regs.rip;
	s->rflags = regs.rflags | RFLAGS_FIXED;
	s->exception.pending = false;
	return 0;
}

/* Segments: the attributes of a VMCB (APM volume 2, 15.5.1) and KVM's bits. */

static struct kvm_segment get_segment(const struct cpu_segment *s)
{
	uint16_t a = s->attributes;

	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.type = a & SEGMENT_TYPE,
		.s = (a & SEGMENT_S) != 0,
		.dpl = (a & SEGMENT_DPL) >> 5,
		.present = (a & SEGMENT_PRESENT) != 0,
		.avl = a >> 8 & 1,
		.l = (a & SEGMENT_L) != 0,
		.db = (a & SEGMENT_DB) != 0,
		.g = (a & SEGMENT_G) != 0,
		.unusable = !(a & SEGMENT_PRESENT),
	};
}

static struct cpu_segment set_segment(const struct kvm_segment *s)
{
	return (struct cpu_segment){
		.selector = s->selector,
		.limit = s->limit,
		.base = s->base,
		.attributes = (uint16_t)((s->type & SEGMENT_TYPE) | (s->s ? SEGMENT_S : 0) |
					 (s->dpl & 3) << 5 |
					 (s->present && !s->unusable ? SEGMENT_PRESENT : 0) |
					 (s->avl ? 1 << 8 : 0) | (s->l ? SEGMENT_L : 0) |
					 (s->db ? SEGMENT_DB : 0) | (s->g ? SEGMENT_G : 0)),
	};
}

static void get_common(const struct vcpu *vcpu, struct kvm_sregs2 *ret)
{
	const struct cpu_state *s = &vcpu->cpu->state;

	*ret = (struct kvm_sregs2){
		.cr0 = s->cr0,
		.cr4 = s->cr4,
		.cr8 = s->cr8,
		.efer = s->efer,
		.apic_base = vcpu_get_apic_base(vcpu),
	};
	if (vcpu_is_protected(vcpu))
		return;
	ret->cs = get_segment(&s->segment[CS]);
	ret->ds = get_segment(&s->segment[DS]);
	ret->es = get_segment(&s->segment[ES]);
	ret->fs = get_segment(&s->segment[FS]);
	ret->gs = get_segment(&s->segment[GS]);
	ret->ss = get_segment(&s->segment[SS]);
	ret->tr = get_segment(&s->tr);
	ret->ldt = get_segment(&s->ldtr);
	ret->gdt.base = s->gdtr.base;
	ret->gdt.limit = (uint16_t)s->gdtr.limit;
	ret->idt.base = s->idtr.base;
	ret->idt.limit = (uint16_t)s->idtr.limit;
	ret->cr2 = s->cr2;
	ret->cr3 = s->cr3;
}

/* Long mode is active with paging only, and only then has it its page tables. */
static bool is_valid(const struct vcpu *vcpu, const struct kvm_sregs2 *s)
{
	const uint64_t cr0_allowed = 0xe005003full;

	if ((s->efer & EFER_LME) && (s->cr0 & CR0_PG)) {
		if (!(s->cr4 & CR4_PAE) || !(s->efer & EFER_LMA) ||
		    s->cr3 & vcpu_reserved_gpa_bits(vcpu))
			return false;
	} else if (s->efer & EFER_LMA || s->cs.l) {
		return false;
	}
	return !(s->cr0 & ~cr0_allowed) && !((s->cr0 & CR0_PG) && !(s->cr0 & CR0_PE)) &&
	       !((s->cr0 & CR0_NW) && !(s->cr0 & CR0_CD)) && !(s->cr4 & ~vcpu_allowed_cr4(vcpu));
}

static int set_common(struct vcpu *vcpu, const struct kvm_sregs2 *from)
{
	struct cpu_state *s = &vcpu->cpu->state;

	if (!is_valid(vcpu, from) || vcpu_set_apic_base(vcpu, from->apic_base, true) < 0)
		return -EINVAL;
	if (vcpu_is_protected(vcpu))
		return 0;
	s->segment[CS] = set_segment(&from->cs);
	s->segment[DS] = set_segment(&from->ds);
	s->segment[ES] = set_segment(&from->es);
	s->segment[FS] = set_segment(&from->fs);
	s->segment[GS] = set_segment(&from->gs);
	s->segment[SS] = set_segment(&from->ss);
	s->tr = set_segment(&from->tr);
	s->ldtr = set_segment(&from->ldt);
	/* AMD's CPUs have the CPL in SS. */
	s->cpl = from->ss.dpl & 3;
	s->gdtr = (struct cpu_table){from->gdt.base, from->gdt.limit};
	s->idtr = (struct cpu_table){from->idt.base, from->idt.limit};
	s->cr0 = from->cr0;
	s->cr2 = from->cr2;
	s->cr3 = from->cr3;
	s->cr4 = from->cr4;
	s->cr8 = from->cr8 & 0xf;
	s->efer = from->efer;
	vcpu_cr8_to_tpr(vcpu);
	/* Old user space does not know of MP states: KVM helps it with the boot vCPU after reset.
	 */
	if (vcpu_is_bsp(vcpu) && s->rip == 0xfff0 && from->cs.selector == 0xf000 &&
	    from->cs.base == 0xffff0000 && !(s->cr0 & CR0_PE))
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	return 0;
}

/* SREGS and SREGS2 are the same up to apic_base. */
_Static_assert(offsetof(struct kvm_sregs, interrupt_bitmap) == offsetof(struct kvm_sregs2, flags),
	       "what they have in common");
#define SREGS_COMMON offsetof(struct kvm_sregs, interrupt_bitmap)

static long get_sregs(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_sregs sregs = {.cr0 = 0};
	struct kvm_sregs2 common;

	get_common(vcpu, &common);
	memcpy(&sregs, &common, SREGS_COMMON);
	if (vcpu->interrupt >= 0 && !vcpu_is_protected(vcpu))
		sregs.interrupt_bitmap[vcpu->interrupt / 64] |= 1ull << vcpu->interrupt % 64;
	return call_copy_out(call, arg, &sregs, sizeof(sregs));
}

static long set_sregs(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_sregs2 common = {.cr0 = 0};
	struct kvm_sregs sregs;
	int r = call_copy_in(call, &sregs, arg, sizeof(sregs));

	if (r < 0)
		return r;
	memcpy(&common, &sregs, SREGS_COMMON);
	r = set_common(vcpu, &common);
	for (unsigned vector = 0; r == 0 && vector < 256; vector++)
		if (sregs.interrupt_bitmap[vector / 64] & 1ull << vector % 64) {
			vcpu->interrupt = (int)vector;
			break;
		}
	return r;
}

static bool has_pdptrs(const struct cpu_state *s)
{
	return (s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !(s->efer & EFER_LMA);
}

/* The interpreter reads PDPTRs from memory with each walk: they are no state of the vCPU. */
static long get_sregs2(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_sregs2 sregs;

	get_common(vcpu, &sregs);
	return call_copy_out(call, arg, &sregs, sizeof(sregs));
}

static long set_sregs2(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_sregs2 sregs;
	int r = call_copy_in(call, &sregs, arg, sizeof(sregs));

	if (r < 0)
		return r;

	const struct cpu_state state = {.cr0 = sregs.cr0, .cr4 = sregs.cr4, .efer = sregs.efer};

	if (sregs.flags & ~(uint64_t)KVM_SREGS2_FLAGS_PDPTRS_VALID ||
	    (sregs.flags && (!has_pdptrs(&state) || vcpu_is_protected(vcpu))))
		return -EINVAL;
	return set_common(vcpu, &sregs);
}

static long get_debugregs(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	const struct cpu_state *s = &vcpu->cpu->state;
	struct kvm_debugregs regs = {.dr6 = s->dr6, .dr7 = s->dr7};

	memcpy(regs.db, s->dr, sizeof(regs.db));
	return call_copy_out(call, arg, &regs, sizeof(regs));
}

static long set_debugregs(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	const uint64_t dr6_fixed = 0xffff0ff0, dr7_fixed = 0x400;
	struct cpu_state *s = &vcpu->cpu->state;
	struct kvm_debugregs regs;
	int r = call_copy_in(call, &regs, arg, sizeof(regs));

	if (r < 0)
		return r;
	if (regs.flags || regs.dr6 >> 32 || regs.dr7 >> 32)
		return -EINVAL;
	memcpy(s->dr, regs.db, sizeof(s->dr));
	s->dr6 = regs.dr6 | dr6_fixed;
	s->dr7 = regs.dr7 | dr7_fixed;
	return 0;
}

/* As KVM answers: it does not tell what the mapping allows. */
static long translate(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_translation t;
	bool is_writable, is_user;
	uint64_t gpa;
	int r = call_copy_in(call, &t, arg, sizeof(t));

	if (r < 0)
		return r;
	vcpu_enter_memory(vcpu);
	cpu_flush(vcpu->cpu);
	t.valid = cpu_translate(vcpu->cpu, t.linear_address, &gpa, &is_writable, &is_user);
	vcpu_leave_memory(vcpu);
	t.physical_address = t.valid ? gpa : ~0ull;
	t.writeable = 1;
	t.usermode = 0;
	return call_copy_out(call, arg, &t, sizeof(t));
}

const struct vcpu_ioctl vcpu_regs_ioctls[] = {
	{KVM_GET_REGS, get_regs},	    {KVM_SET_REGS, set_regs},
	{KVM_GET_SREGS, get_sregs},	    {KVM_SET_SREGS, set_sregs},
	{KVM_GET_SREGS2, get_sregs2},	    {KVM_SET_SREGS2, set_sregs2},
	{KVM_GET_DEBUGREGS, get_debugregs}, {KVM_SET_DEBUGREGS, set_debugregs},
	{KVM_TRANSLATE, translate},	    {0},
};
