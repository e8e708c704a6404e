// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * decode.c - decode assists (AMD publication 24593, 15.8) and NextRIP (15.7.1)
 *
 * What a CPU tells of an intercepted instruction, so that the hypervisor need not read it.  If it
 * is not known it stays 0, and KVM reads the instruction itself unless the guest is encrypted.
 */
#include <asm/kvm_vcpu_regs.h>

#include "svm.h"

#define CR_VALID     BIT_ULL(63)
#define EXIT_DR_LAST 0x3f

/* Lengths of instructions that exit and have no prefixes and no operands in memory. */
static unsigned int insn_len(const struct vmcb_control_area *control)
{
	switch (control->exit_code) {
	case SVM_EXIT_CPUID:
	case SVM_EXIT_MSR:
	case SVM_EXIT_RDTSC:
	case SVM_EXIT_RDPMC:
	case SVM_EXIT_INVD:
	case SVM_EXIT_WBINVD:
	case SVM_EXIT_PAUSE:
		return 2;
	case SVM_EXIT_HLT:
		return 1;
	case SVM_EXIT_VMMCALL:
	case SVM_EXIT_RDTSCP:
	case SVM_EXIT_XSETBV:
	case SVM_EXIT_MONITOR:
	case SVM_EXIT_MWAIT:
		return 3;
	default:
		return 0;
	}
}

/* [REX] 0f 20 to 23 modrm: MOV to or from CR and DR (15.8.1).  LMSW and CLTS tell nothing. */
static void assist_mov(struct vmcb *vmcb)
{
	struct vmcb_control_area *control = &vmcb->control;
	u8 insn[4] = {0}, rex = 0, at = 0;

	(void)guest_fetch(vmcb, insn, sizeof(insn));
	if (vmcb->save.cs.attrib & SVM_SELECTOR_L_MASK && (insn[0] & 0xf0) == 0x40)
		rex = insn[at++];
	if (insn[at] != 0x0f || (insn[at + 1] & 0xfc) != 0x20)
		return;
	control->exit_info_1 = (insn[at + 2] & 7) | (rex & 1) << 3;
	if (!(insn[at + 1] & 1))
		control->exit_info_1 |= CR_VALID;
	control->next_rip = vmcb->save.rip + at + 3;
}

bool serve_mov_cr3(unsigned long *regs, struct vmcb *vmcb)
{
	struct vmcb_control_area *control = &vmcb->control;
	u64 *reg;

	if (control->exit_code != SVM_EXIT_READ_CR3 && control->exit_code != SVM_EXIT_WRITE_CR3)
		return false;
	control->exit_info_1 = 0;
	assist_mov(vmcb);
	if (!(control->exit_info_1 & CR_VALID))
		return false;
	reg = (u64 *)&regs[control->exit_info_1 & 15];
	if (reg == (u64 *)&regs[__VCPU_REGS_RSP])
		reg = &vmcb->save.rsp;
	else if (reg == (u64 *)&regs[__VCPU_REGS_RAX])
		reg = &vmcb->save.rax;
	if (control->exit_code == SVM_EXIT_READ_CR3)
		*reg = vmcb->save.cr3;
	else
		vmcb->save.cr3 = *reg;
	vmcb->save.rip = control->next_rip;
	control->event_inj = 0;
	control->int_state &= ~SVM_INTERRUPT_SHADOW_MASK;
	return true;
}

void decode_assist(struct vmcb *vmcb)
{
	struct vmcb_control_area *control = &vmcb->control;

	control->next_rip = insn_len(control) ? vmcb->save.rip + insn_len(control) : 0;
	control->insn_len = 0;
	switch (control->exit_code) {
	case SVM_EXIT_IOIO:
		control->next_rip = control->exit_info_2;
		break;
	case SVM_EXIT_READ_CR0 ... EXIT_DR_LAST:
	case SVM_EXIT_CR0_SEL_WRITE:
		assist_mov(vmcb);
		break;
	case SVM_EXIT_EXCP_BASE + PF_VECTOR:
	case SVM_EXIT_NPF: /* 15.8.4 */
		control->insn_len =
			guest_fetch(vmcb, control->insn_bytes, sizeof(control->insn_bytes));
		break;
	}
}
