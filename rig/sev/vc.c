// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vc.c - deliver #VC to an SEV-ES guest
 *
 * #VC pushes the exit code as its error code (AMD publication 24593, 15.35.5).  QEMU does not know
 * that vector 29 has one, so an injected #VC would come without: the exception is delivered here,
 * as 8.9 describes it for long mode.  The handler must be in 64-bit code of the GDT.
 */
#include "svm.h"

#define VC_VECTOR    29
#define GATE_LEN     16
#define GATE_PRESENT 0x80
#define GATE_TRAP    0x0f
#define GATE_TYPE    0x1f
#define SELECTOR_LDT 4
#define TSS_RSP0     0x04
#define TSS_IST1     0x24
#define NPF_FINAL    BIT_ULL(32)
#define VC_CLEARS    (X86_EFLAGS_TF | X86_EFLAGS_NT | X86_EFLAGS_RF | X86_EFLAGS_VM)

struct gate {
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_middle;
	u32 offset_high, reserved;
};

struct frame {
	u64 error_code, rip, cs, rflags, rsp, ss;
};

/* False: there is an exit instead, #NPF if the hypervisor can help, or else a shutdown. */
static bool copy(struct vmcb *vmcb, u64 linear, void *bytes, size_t len, bool is_write)
{
	struct vmcb_control_area *control = &vmcb->control;
	u64 missing;

	if (guest_copy(vmcb, linear, bytes, len, is_write, &missing) == len)
		return true;
	if (missing != NOWHERE) {
		control->exit_code = SVM_EXIT_NPF;
		control->exit_info_1 =
			NPF_FINAL | PFERR_USER_MASK | (is_write ? PFERR_WRITE_MASK : 0);
		control->exit_info_2 = missing;
	}
	return false;
}

/* Where the frame goes: the stack of the gate, of the handler's privilege level, or this one. */
static bool find_stack(struct vmcb *vmcb, const struct sev_es_save_area *vmsa, unsigned int ist,
		       unsigned int cpl, u64 *ret_rsp)
{
	u64 at;

	*ret_rsp = vmsa->rsp;
	if (!ist && cpl == vmsa->cpl)
		return true;
	at = vmsa->tr.base + (ist ? TSS_IST1 + 8 * (ist - 1) : TSS_RSP0 + 8 * cpl);
	return copy(vmcb, at, ret_rsp, sizeof(*ret_rsp), false);
}

bool raise_vc(struct vmcb *vmcb, struct sev_es_save_area *vmsa, u32 error_code)
{
	struct frame frame = {.error_code = error_code,
			      .rip = vmsa->rip,
			      .cs = vmsa->cs.selector,
			      .rflags = vmsa->rflags,
			      .rsp = vmsa->rsp,
			      .ss = vmsa->ss.selector};
	struct gate gate;
	unsigned int cpl;
	u64 code, rsp;

	vmcb->control.exit_code = SVM_EXIT_SHUTDOWN;
	if (!(vmsa->efer & EFER_LMA) || vmsa->idtr.limit < GATE_LEN * (VC_VECTOR + 1) - 1 ||
	    !copy(vmcb, vmsa->idtr.base + GATE_LEN * VC_VECTOR, &gate, sizeof(gate), false) ||
	    ((gate.type | 1) & (GATE_PRESENT | GATE_TYPE)) != (GATE_PRESENT | GATE_TRAP) ||
	    gate.selector & SELECTOR_LDT ||
	    gate.selector + 7U - (gate.selector & 7) > vmsa->gdtr.limit ||
	    !copy(vmcb, vmsa->gdtr.base + (gate.selector & ~7), &code, sizeof(code), false))
		return false;
	cpl = code >> 45 & 3;
	if (!find_stack(vmcb, vmsa, gate.ist & 7, cpl, &rsp))
		return false;
	rsp = (rsp & ~15ULL) - sizeof(frame);
	if (!copy(vmcb, rsp, &frame, sizeof(frame), true))
		return false;

	if (cpl != vmsa->cpl)
		vmsa->ss = (struct vmcb_seg){.selector = cpl, .attrib = cpl << 5};
	vmsa->cs = (struct vmcb_seg){.selector = (gate.selector & ~3) | cpl,
				     .attrib = (code >> 40 & 0xff) | (code >> 44 & 0xf00),
				     .limit = ~0U};
	vmsa->cpl = cpl;
	vmsa->rsp = rsp;
	vmsa->rip = gate.offset_low | (u64)gate.offset_middle << 16 | (u64)gate.offset_high << 32;
	vmsa->rflags &= ~(u64)(VC_CLEARS | (gate.type & 1 ? 0 : X86_EFLAGS_IF));
	vmcb->control.int_state &= ~SVM_INTERRUPT_SHADOW_MASK;
	return true;
}
