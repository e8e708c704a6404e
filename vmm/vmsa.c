/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VMSA of a vCPU; see vmsa.h.
 *
 * The layout is that of AMD publication 24593 (APM volume 2), table B-4, "VMSA layout, state save
 * area for SEV-ES".  The values are those of the processor's reset (table 14-1) and of the
 * registers that the VMM has set, with what KVM adds: EFER.SVME, since no guest may run without it,
 * and CR4.MCE, which it takes from the host's CR4.  The x87 and SSE state is zero, not what reset
 * makes of it: for a VM of KVM's default type KVM does not put it there.
 */
#include "vmsa.h"

#include <stddef.h>
#include <string.h>

#define EFER_SVME (1ULL << 12)
#define CR4_MCE	  (1ULL << 6)
#define DR6_RESET 0xffff0ff0ULL
#define DR7_RESET 0x400ULL
#define PAT_RESET 0x0007040600070406ULL

/* Offsets. */
enum {
	VMSA_ES = 0x00,
	VMSA_CS = 0x10,
	VMSA_SS = 0x20,
	VMSA_DS = 0x30,
	VMSA_FS = 0x40,
	VMSA_GS = 0x50,
	VMSA_GDTR = 0x60,
	VMSA_LDTR = 0x70,
	VMSA_IDTR = 0x80,
	VMSA_TR = 0x90,
	VMSA_EFER = 0xd0,
	VMSA_CR4 = 0x148,
	VMSA_CR3 = 0x150,
	VMSA_CR0 = 0x158,
	VMSA_DR7 = 0x160,
	VMSA_DR6 = 0x168,
	VMSA_RFLAGS = 0x170,
	VMSA_RIP = 0x178,
	VMSA_RSP = 0x1d8,
	VMSA_RAX = 0x1f8,
	VMSA_PAT = 0x268,
	VMSA_RCX = 0x308,
	VMSA_RDX = 0x310,
	VMSA_RBX = 0x318,
	VMSA_RBP = 0x328,
	VMSA_RSI = 0x330,
	VMSA_RDI = 0x338,
	VMSA_R8 = 0x340,
	VMSA_XCR0 = 0x3e8,
};

static void put64(uint8_t *vmsa, unsigned offset, uint64_t value)
{
	memcpy(vmsa + offset, &value, sizeof(value));
}

/* Selector, attributes (as in a descriptor, without the limit's bits between), limit, base. */
static void put_segment(uint8_t *vmsa, unsigned offset, const struct kvm_segment *segment)
{
	uint16_t attributes = (uint16_t)(segment->type | segment->s << 4 | segment->dpl << 5 |
					 segment->present << 7 | segment->avl << 8 |
					 segment->l << 9 | segment->db << 10 | segment->g << 11);

	memcpy(vmsa + offset, &segment->selector, 2);
	memcpy(vmsa + offset + 2, &attributes, 2);
	memcpy(vmsa + offset + 4, &segment->limit, 4);
	put64(vmsa, offset + 8, segment->base);
}

static void put_table(uint8_t *vmsa, unsigned offset, const struct kvm_dtable *table)
{
	put_segment(vmsa, offset,
		    &(struct kvm_segment){.limit = table->limit, .base = table->base});
}

void vmsa_reset_sregs(struct kvm_sregs *ret)
{
	const uint8_t type_ldt = 2, type_busy_tss = 3;

	*ret = (struct kvm_sregs){
		.ldt = {.limit = 0xffff, .type = type_ldt, .present = 1},
		.tr = {.limit = 0xffff, .type = type_busy_tss, .present = 1},
		.idt = {.limit = 0xffff},
		.gdt = {.limit = 0xffff},
	};
}

void vmsa_make(const struct kvm_regs *regs, const struct kvm_sregs *sregs, uint64_t xcr0,
	       uint8_t ret[VMSA_SIZE])
{
	const uint64_t r8_to_r15[] = {regs->r8,	 regs->r9,  regs->r10, regs->r11,
				      regs->r12, regs->r13, regs->r14, regs->r15};
	const struct {
		unsigned offset;
		uint64_t value;
	} words[] = {
		{VMSA_EFER, sregs->efer | EFER_SVME},
		{VMSA_CR4, sregs->cr4 | CR4_MCE},
		{VMSA_CR3, sregs->cr3},
		{VMSA_CR0, sregs->cr0},
		{VMSA_DR7, DR7_RESET},
		{VMSA_DR6, DR6_RESET},
		{VMSA_RFLAGS, regs->rflags},
		{VMSA_RIP, regs->rip},
		{VMSA_RSP, regs->rsp},
		{VMSA_RAX, regs->rax},
		{VMSA_PAT, PAT_RESET},
		{VMSA_RCX, regs->rcx},
		{VMSA_RDX, regs->rdx},
		{VMSA_RBX, regs->rbx},
		{VMSA_RBP, regs->rbp},
		{VMSA_RSI, regs->rsi},
		{VMSA_RDI, regs->rdi},
		{VMSA_XCR0, xcr0},
	};

	memset(ret, 0, VMSA_SIZE);
	put_segment(ret, VMSA_ES, &sregs->es);
	put_segment(ret, VMSA_CS, &sregs->cs);
	put_segment(ret, VMSA_SS, &sregs->ss);
	put_segment(ret, VMSA_DS, &sregs->ds);
	put_segment(ret, VMSA_FS, &sregs->fs);
	put_segment(ret, VMSA_GS, &sregs->gs);
	put_segment(ret, VMSA_LDTR, &sregs->ldt);
	put_segment(ret, VMSA_TR, &sregs->tr);
	put_table(ret, VMSA_GDTR, &sregs->gdt);
	put_table(ret, VMSA_IDTR, &sregs->idt);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		put64(ret, words[i].offset, words[i].value);
	memcpy(ret + VMSA_R8, r8_to_r15, sizeof(r8_to_r15));
}
