// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * world_switch.c - what a CPU with SEV and SEV-ES does around VMRUN, on one that has neither
 *
 * Theory of operation.  kvm_amd enters a guest through __svm_vcpu_run() or, with SEV-ES,
 * __svm_sev_es_vcpu_run(), a few instructions around VMRUN.  Both are overwritten with a jump into
 * this module.  (They are noinstr assembly: neither ftrace nor kprobes can take them.)  kvm_amd
 * itself runs unchanged and sees in the VMCB what it would see from a real CPU.  By AMD publication
 * 24593 (APM volume 2), chapter 15:
 *
 * - With SEV-ES, VMRUN loads the guest's state from the VMSA and #VMEXIT saves it there; the save
 *   area of the VMCB is not used.  Here it is filled from the VMSA before VMRUN, emptied into it
 *   afterwards, and put back as kvm_amd had left it (15.35.8).  XCR0 and the FPU go the same way.
 *   EFER in the VMSA is what the guest has written there, with or without SVME.
 * - Exits that need the hypervisor to see state (CPUID, IOIO, MSR, MMIO and so on) raise #VC in the
 *   guest instead (15.35.4, 15.35.5, vc.c).  VMGEXIT, which this CPU takes for VMMCALL, exits with
 *   code 0x403; it, HLT and PAUSE have been completed by then.  MSR 0xc0010130 is the address of
 *   the GHCB in VMCB.control.
 * - Writes to CR0, CR4, CR8 and EFER exit after the fact, with the new value (15.35.10).
 * - Bit 1 of the interrupt shadow is the guest's RFLAGS.IF, which kvm_amd cannot read.
 * - SEV_STATUS (MSR 0xc0010131) is read without an exit (15.34.10).
 * - CR3 of an SEV guest may have the C-bit set; what is kept of CR3 has it (15.34.6).
 * - NextRIP and decode assists are supplied to all guests (decode.c).
 *
 * Not modelled: encryption.  PKRU and XSS, which the emulated CPU does not have; switching of DR0
 * to DR3 ("debug virtualization", which CPUID does not offer).  Instruction bytes for a guest in
 * legacy paging modes; NextRIP after superfluous prefixes.  #VC outside of long mode is a shutdown,
 * and one that cannot be delivered too.  A guest that sets RFLAGS.TF on a write that traps gets its
 * #DB one instruction late.  XSETBV of an SEV guest is not seen by kvm_amd.  L1 has one CPU: so has
 * this.
 */
#include <linux/kernel_read_file.h>
#include <linux/kprobes.h>
#include <linux/vmalloc.h>
#include <asm/fpu/xcr.h>
#include <asm/kvm_vcpu_regs.h>

#include "svm.h"

#define LEAF_ENCRYPTION 0x8000001fU
#define MSR_GHCB	0xc0010130U
#define MSR_STATUS	0xc0010131U
/* Bytes of the permission map: two bits per MSR, from 0xc0000000 at 0x800, 0xc0010000 at 0x1000. */
#define MSRPM_EFER     0x820
#define MSRPM_GHCB     0x104c
#define INTERCEPTED    3
#define HAS_ERROR_CODE 0x27d00 /* vectors 8, 10 to 14, 17 */
#define XSTATE	       7       /* x87, SSE, AVX */
#define XSAVE_XMM      160
#define XSAVE_HEADER   512
#define XSAVE_YMM      576
#define JUMP_LEN       12

/* vCPUs that were entered, for who wonders whether this module was at work. */
static unsigned long n_plain, n_es, n_vmgexit, n_vc, n_trap;
module_param(n_plain, ulong, 0444);
module_param(n_es, ulong, 0444);
module_param(n_vmgexit, ulong, 0444);
module_param(n_vc, ulong, 0444);
module_param(n_trap, ulong, 0444);

/* Where kvm_amd's struct vcpu_svm, which begins with struct kvm_vcpu, keeps two pointers. */
static long vmcb_offset, msrpm_offset;

static u64 c_bit;
static struct page *host_page; /* for VMSAVE of the host */
static struct vmcb_save_area saved;

struct xsave_image {
	u8 bytes[1024];
} __aligned(64);
static struct xsave_image host_fpu, guest_fpu;

static struct vmcb *vmcb_of(struct kvm_vcpu *vcpu)
{
	return *(struct vmcb **)((u8 *)vcpu + vmcb_offset);
}

static void enter(unsigned long *regs, struct vmcb *vmcb)
{
	svm_enter(regs, virt_to_phys(vmcb), page_to_phys(host_page));
}

/*
 * The C-bit may be set in the CR3 of an SEV guest (15.34.6), but this CPU refuses it there, in
 * VMRUN and in MOV: it gets CR3 without, and what the guest does with CR3 is done here.
 */
static void enter_sev(unsigned long *regs, struct vmcb *vmcb)
{
	struct vmcb_control_area *control = &vmcb->control;
	u32 cr = control->intercepts[INTERCEPT_CR];
	u64 cr3;

	do {
		cr3 = vmcb->save.cr3 & c_bit;
		vmcb->save.cr3 &= ~c_bit;
		control->intercepts[INTERCEPT_CR] |=
			BIT(INTERCEPT_CR3_READ) | BIT(INTERCEPT_CR3_WRITE);
		enter(regs, vmcb);
		control->intercepts[INTERCEPT_CR] = cr;
		vmcb->save.cr3 |= cr3;
	} while (serve_mov_cr3(regs, vmcb));
}

static bool reads_sev_status(const struct vmcb *vmcb, u64 rcx)
{
	return vmcb->control.exit_code == SVM_EXIT_MSR && !vmcb->control.exit_info_1 &&
	       (u32)rcx == MSR_STATUS;
}

/* In place of __svm_vcpu_run(): plain guests, SEV guests and L2 of nested ones. */
static void run_plain(struct kvm_vcpu *vcpu, bool spec_ctrl_intercepted)
{
	unsigned long *regs = vcpu->arch.regs;
	struct vmcb *vmcb = vmcb_of(vcpu);
	struct vmcb_control_area *control = &vmcb->control;

	n_plain++;
	for (;;) {
		if (!(control->nested_ctl & SVM_NESTED_CTL_SEV_ENABLE)) {
			enter(regs, vmcb);
			break;
		}
		enter_sev(regs, vmcb);
		if (!reads_sev_status(vmcb, regs[__VCPU_REGS_RCX]))
			break;
		vmcb->save.rax = BIT(0);
		regs[__VCPU_REGS_RDX] = 0;
		vmcb->save.rip += 2;
		control->event_inj = 0;
	}
	decode_assist(vmcb);
}

/* The FPU is the kernel's when we are called, and must be when we return. */

static void xsave(struct xsave_image *image)
{
	memset(image, 0, sizeof(*image));
	asm volatile("xsave64 %0" : "+m"(*image) : "a"(XSTATE), "d"(0) : "memory");
}

static void xrstor(const struct xsave_image *image)
{
	asm volatile("xrstor64 %0" : : "m"(*image), "a"(XSTATE), "d"(0) : "memory");
}

static void load_fpu(const struct sev_es_save_area *vmsa)
{
	u8 *b = guest_fpu.bytes;
	unsigned int i;

	xsave(&host_fpu);
	memset(b, 0, sizeof(guest_fpu));
	memcpy(b, &vmsa->x87_fcw, 2);
	memcpy(b + 2, &vmsa->x87_fsw, 2);
	b[4] = vmsa->x87_ftw;
	memcpy(b + 6, &vmsa->x87_fop, 2);
	memcpy(b + 8, &vmsa->x87_rip, 8);
	memcpy(b + 16, &vmsa->x87_dp, 8);
	memcpy(b + 24, &vmsa->mxcsr, 4);
	for (i = 0; i < 8; i++) {
		memcpy(b + 32 + 16 * i, vmsa->fpreg_x87 + 8 * i, 8);
		memcpy(b + 40 + 16 * i, vmsa->fpreg_x87 + 64 + 2 * i, 2);
	}
	memcpy(b + XSAVE_XMM, vmsa->fpreg_xmm, 256);
	b[XSAVE_HEADER] = XSTATE;
	memcpy(b + XSAVE_YMM, vmsa->fpreg_ymm, 256);
	xrstor(&guest_fpu);
}

static void save_fpu(struct sev_es_save_area *vmsa)
{
	const u8 *b = guest_fpu.bytes;
	unsigned int i;

	xsave(&guest_fpu);
	memcpy(&vmsa->x87_fcw, b, 2);
	memcpy(&vmsa->x87_fsw, b + 2, 2);
	vmsa->x87_ftw = b[4];
	memcpy(&vmsa->x87_fop, b + 6, 2);
	memcpy(&vmsa->x87_rip, b + 8, 8);
	memcpy(&vmsa->x87_dp, b + 16, 8);
	memcpy(&vmsa->mxcsr, b + 24, 4);
	for (i = 0; i < 8; i++) {
		memcpy(vmsa->fpreg_x87 + 8 * i, b + 32 + 16 * i, 8);
		memcpy(vmsa->fpreg_x87 + 64 + 2 * i, b + 40 + 16 * i, 2);
	}
	memcpy(vmsa->fpreg_xmm, b + XSAVE_XMM, 256);
	memcpy(vmsa->fpreg_ymm, b + XSAVE_YMM, 256);
	xrstor(&host_fpu);
}

static void load_vmsa(const struct sev_es_save_area *vmsa, struct vmcb *vmcb, unsigned long *regs)
{
	unsigned int i;

	memcpy(&vmcb->save, vmsa, sizeof(vmcb->save));
	vmcb->save.spec_ctrl = 0;
	vmcb->save.efer |= EFER_SVME; /* for VMRUN, and for VMMCALL to be one */
	regs[__VCPU_REGS_RCX] = vmsa->rcx;
	regs[__VCPU_REGS_RDX] = vmsa->rdx;
	regs[__VCPU_REGS_RBX] = vmsa->rbx;
	regs[__VCPU_REGS_RBP] = vmsa->rbp;
	regs[__VCPU_REGS_RSI] = vmsa->rsi;
	regs[__VCPU_REGS_RDI] = vmsa->rdi;
	for (i = 0; i < 8; i++)
		regs[__VCPU_REGS_R8 + i] = (&vmsa->r8)[i];
}

static void save_vmsa(struct sev_es_save_area *vmsa, const struct vmcb *vmcb,
		      const unsigned long *regs)
{
	u64 svme = vmsa->efer & EFER_SVME;
	unsigned int i;

	/* As far as both areas are the same. */
	memcpy(vmsa, &vmcb->save, offsetofend(struct vmcb_save_area, last_excp_to));
	vmsa->efer = (vmsa->efer & ~EFER_SVME) | svme;
	vmsa->rcx = regs[__VCPU_REGS_RCX];
	vmsa->rdx = regs[__VCPU_REGS_RDX];
	vmsa->rbx = regs[__VCPU_REGS_RBX];
	vmsa->rbp = regs[__VCPU_REGS_RBP];
	vmsa->rsi = regs[__VCPU_REGS_RSI];
	vmsa->rdi = regs[__VCPU_REGS_RDI];
	for (i = 0; i < 8; i++)
		(&vmsa->r8)[i] = regs[__VCPU_REGS_R8 + i];
}

static void enter_es(unsigned long *regs, struct vmcb *vmcb, struct sev_es_save_area *vmsa)
{
	u64 host_xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);

	vmcb->control.clean = 0;
	xsetbv(XCR_XFEATURE_ENABLED_MASK, vmsa->xcr0);
	enter_sev(regs, vmcb);
	vmsa->xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	xsetbv(XCR_XFEATURE_ENABLED_MASK, host_xcr0);
}

/* What XSETBV takes, or else VMRUN fails. */
static bool is_valid_xcr0(u64 xcr0)
{
	return xcr0 & XFEATURE_MASK_FP && !(xcr0 & ~xgetbv(XCR_XFEATURE_ENABLED_MASK)) &&
	       (xcr0 & XFEATURE_MASK_SSE || !(xcr0 & XFEATURE_MASK_YMM));
}

/* The exit for a write trap that belongs to this intercept, 0 for others. */
static u32 trap_of(const struct vmcb_control_area *control, const unsigned long *regs)
{
	u32 code = control->exit_code;

	if (code >= SVM_EXIT_WRITE_CR0 && code < SVM_EXIT_READ_DR0)
		return code - SVM_EXIT_WRITE_CR0 + SVM_EXIT_CR0_WRITE_TRAP;
	if (code == SVM_EXIT_MSR && control->exit_info_1 && (u32)regs[__VCPU_REGS_RCX] == MSR_EFER)
		return SVM_EXIT_EFER_WRITE_TRAP;
	return 0;
}

static u64 trapped_value(const struct vmcb *vmcb, u32 trap)
{
	switch (trap) {
	case SVM_EXIT_EFER_WRITE_TRAP:
		return vmcb->save.efer;
	case SVM_EXIT_CR0_WRITE_TRAP:
		return vmcb->save.cr0;
	case SVM_EXIT_CR0_WRITE_TRAP + 3:
		return vmcb->save.cr3;
	case SVM_EXIT_CR4_WRITE_TRAP:
		return vmcb->save.cr4;
	default:
		return vmcb->control.int_ctl & V_TPR_MASK;
	}
}

/*
 * A write trap comes after the instruction and tells the new value (15.35.10); this CPU has only
 * intercepts, which come before it.  So the CPU gets to execute this one instruction, by RFLAGS.TF.
 * All its effects and checks are real then.  If something else comes first the guest tries again;
 * not a virtual interrupt: QEMU 7.2 aborts if one is pending when CR8 is written.
 */
static void step(unsigned long *regs, struct vmcb *vmcb, struct sev_es_save_area *vmsa, u32 trap)
{
	struct vmcb_control_area *control = &vmcb->control;
	u64 tf = vmcb->save.rflags & X86_EFLAGS_TF, dr6 = vmcb->save.dr6;
	u32 exceptions = control->intercepts[INTERCEPT_EXCEPTION];
	u32 irq = control->int_ctl & V_IRQ_MASK;
	u32 vector;

	vmcb->save.rflags |= X86_EFLAGS_TF;
	control->intercepts[INTERCEPT_EXCEPTION] = ~0U;
	control->int_ctl &= ~V_IRQ_MASK;
	enter_es(regs, vmcb, vmsa);
	control->int_ctl |= irq;
	control->intercepts[INTERCEPT_EXCEPTION] = exceptions;
	vmcb->save.rflags = (vmcb->save.rflags & ~(u64)X86_EFLAGS_TF) | tf;

	vector = control->exit_code - SVM_EXIT_EXCP_BASE;
	if (vector == DB_VECTOR) {
		if (trap == SVM_EXIT_EFER_WRITE_TRAP)
			vmsa->efer = vmcb->save.efer;
		vmcb->save.dr6 = dr6;
		control->exit_code = trap;
		control->exit_info_1 = trapped_value(vmcb, trap);
		control->exit_info_2 = 0;
		n_trap++;
	}
}

static void run_once(unsigned long *regs, struct vmcb *vmcb, struct sev_es_save_area *vmsa,
		     u8 *msrpm)
{
	u32 *intercepts = vmcb->control.intercepts;
	u32 cr = intercepts[INTERCEPT_CR], trap;

	/* Bits 16 to 31 are those of writes to CR0 to CR15 in both words. */
	intercepts[INTERCEPT_CR] |= intercepts[INTERCEPT_WORD4] & GENMASK(31, 16);
	msrpm[MSRPM_EFER] |= INTERCEPTED;
	load_vmsa(vmsa, vmcb, regs);
	enter_es(regs, vmcb, vmsa);
	intercepts[INTERCEPT_CR] = cr;
	vmcb->control.event_inj = 0;
	trap = trap_of(&vmcb->control, regs);
	if (trap) {
		msrpm[MSRPM_EFER] &= ~INTERCEPTED;
		step(regs, vmcb, vmsa, trap);
	}
	if (vmcb->control.exit_code != SVM_EXIT_ERR)
		save_vmsa(vmsa, vmcb, regs);
}

/* MSRs that the CPU serves itself.  True: done, go on in the guest. */
static bool serve_msr(struct sev_es_save_area *vmsa, struct vmcb_control_area *control)
{
	bool is_write = control->exit_info_1 & 1;
	u64 value;

	switch ((u32)vmsa->rcx) {
	case MSR_GHCB:
		value = control->ghcb_gpa;
		break;
	case MSR_STATUS:
		value = BIT(0) | BIT(1);
		break;
	case MSR_EFER:
		value = vmsa->efer;
		break;
	default:
		return false;
	}
	if (is_write && (u32)vmsa->rcx != MSR_GHCB)
		return false;
	if (is_write) {
		control->ghcb_gpa = vmsa->rdx << 32 | (u32)vmsa->rax;
	} else {
		vmsa->rax = (u32)value;
		vmsa->rdx = value >> 32;
	}
	vmsa->rip += 2;
	return true;
}

/* The instruction in step() has raised what kvm_amd does not intercept: it is the guest's. */
static void inject(struct sev_es_save_area *vmsa, struct vmcb_control_area *control, u32 vector)
{
	control->event_inj = vector | SVM_EVTINJ_TYPE_EXEPT | SVM_EVTINJ_VALID;
	if (HAS_ERROR_CODE & BIT(vector)) {
		control->event_inj |= SVM_EVTINJ_VALID_ERR;
		control->event_inj_err = control->exit_info_1;
	}
	if (vector == PF_VECTOR)
		vmsa->cr2 = control->exit_info_2;
}

/* VMGEXIT is VMMCALL with a REP prefix (15.35.6). */
static bool is_vmgexit(const struct vmcb *vmcb)
{
	u8 prefix = 0;

	return guest_fetch(vmcb, &prefix, sizeof(prefix)) && (prefix == 0xf3 || prefix == 0xf2);
}

/* After #VMEXIT, by 15.35.4: does kvm_amd get to see it?  False: on in the guest. */
static bool is_automatic(struct vmcb *vmcb, struct sev_es_save_area *vmsa)
{
	struct vmcb_control_area *control = &vmcb->control;
	u32 vector;

	switch (control->exit_code) {
	case SVM_EXIT_EXCP_BASE ... SVM_EXIT_LAST_EXCP:
		vector = control->exit_code - SVM_EXIT_EXCP_BASE;
		if (control->intercepts[INTERCEPT_EXCEPTION] & BIT(vector))
			return true;
		inject(vmsa, control, vector);
		return false;
	case SVM_EXIT_MSR:
		if (serve_msr(vmsa, control))
			return false;
		break;
	case SVM_EXIT_VMMCALL:
		if (!is_vmgexit(vmcb))
			break;
		vmsa->rip += 4;
		control->exit_code = SVM_EXIT_VMGEXIT;
		control->exit_info_1 = control->exit_info_2 = 0;
		n_vmgexit++;
		return true;
	case SVM_EXIT_HLT:
		vmsa->rip += 1;
		return true;
	case SVM_EXIT_PAUSE:
		vmsa->rip += 2;
		return true;
	case SVM_EXIT_NPF:
		if (!(control->exit_info_1 & PFERR_RSVD_MASK))
			return true;
		break;
	case SVM_EXIT_CPUID:
	case SVM_EXIT_IOIO:
	case SVM_EXIT_RDTSC:
	case SVM_EXIT_RDPMC:
	case SVM_EXIT_RDTSCP:
	case SVM_EXIT_INVD:
	case SVM_EXIT_WBINVD:
	case SVM_EXIT_MONITOR:
	case SVM_EXIT_MWAIT:
	case SVM_EXIT_READ_DR7:
	case SVM_EXIT_WRITE_DR7:
		break;
	default:
		return true;
	}
	n_vc++;
	return !raise_vc(vmcb, vmsa, control->exit_code);
}

/* In place of __svm_sev_es_vcpu_run(). */
static void run_es(struct kvm_vcpu *vcpu, bool spec_ctrl_intercepted)
{
	struct vmcb *vmcb = vmcb_of(vcpu);
	struct vmcb_control_area *control = &vmcb->control;
	u8 *msrpm = *(u8 **)((u8 *)vcpu + msrpm_offset);
	unsigned long regs[__VCPU_REGS_R15 + 1];
	struct sev_es_save_area *vmsa;

	n_es++;
	vmsa = control->vmsa_pa && control->vmsa_pa != INVALID_PAGE ? __va(control->vmsa_pa) : NULL;
	if (!vmsa || !is_valid_xcr0(vmsa->xcr0)) {
		control->exit_code = SVM_EXIT_ERR; /* VMEXIT_INVALID */
		control->exit_code_hi = ~0;
		return;
	}
	/* kvm_amd passes the MSR through; this CPU has no such MSR. */
	msrpm[MSRPM_GHCB] |= INTERCEPTED;
	saved = vmcb->save;
	load_fpu(vmsa);
	do {
		run_once(regs, vmcb, vmsa, msrpm);
		if (control->exit_code == SVM_EXIT_ERR)
			break;
		control->int_state &= ~SVM_GUEST_INTERRUPT_MASK;
		if (vmsa->rflags & X86_EFLAGS_IF)
			control->int_state |= SVM_GUEST_INTERRUPT_MASK;
	} while (!is_automatic(vmcb, vmsa));
	save_fpu(vmsa);
	vmcb->save = saved;
}

/* Taking the place of kvm_amd's functions. */

struct hook {
	const char *name;
	void *function;
	unsigned long at;
	u8 original[JUMP_LEN];
};

static struct hook hooks[] = {
	{.name = "__svm_vcpu_run", .function = run_plain},
	{.name = "__svm_sev_es_vcpu_run", .function = run_es},
};

static unsigned long lookup(const char *name)
{
	static unsigned long (*kallsyms)(const char *name);
	struct kprobe probe = {.symbol_name = "kallsyms_lookup_name"};

	/* Not exported, but a kprobe finds it. */
	if (!kallsyms) {
		if (register_kprobe(&probe))
			return 0;
		kallsyms = (void *)probe.addr;
		unregister_kprobe(&probe);
	}
	return kallsyms(name);
}

/* Kernel text is read-only where it is: write through another mapping of its pages. */
static int write_text(unsigned long at, const u8 *bytes)
{
	unsigned long first = at & PAGE_MASK, last = (at + JUMP_LEN - 1) & PAGE_MASK;
	struct page *pages[] = {vmalloc_to_page((void *)first), vmalloc_to_page((void *)last)};
	u8 *alias = vmap(pages, 2, VM_MAP, PAGE_KERNEL);

	if (!alias)
		return -ENOMEM;
	memcpy(alias + offset_in_page(at), bytes, JUMP_LEN);
	vunmap(alias);
	return 0;
}

static int set_hook(struct hook *hook)
{
	u8 jump[JUMP_LEN] = {0x48, 0xb8, 0, 0, 0,    0,
			     0,	   0,	 0, 0, 0xff, 0xe0}; /* mov $x, %rax; jmp *%rax */

	hook->at = lookup(hook->name);
	if (!hook->at)
		return -ENOENT;
	memcpy(hook->original, (void *)hook->at, JUMP_LEN);
	memcpy(jump + 2, &hook->function, sizeof(hook->function));
	return write_text(hook->at, jump);
}

/* Learn where kvm_amd's structures have what. */
static int find_offsets(void)
{
	const void *base_btf = (const void *)lookup("__start_BTF");
	void *btf = NULL;
	int len = kernel_read_file_from_path("/sys/kernel/btf/kvm_amd", 0, &btf, INT_MAX, NULL,
					     READING_FIRMWARE);

	if (len < 0)
		return len;
	vmcb_offset = base_btf ? btf_offset(btf, len, base_btf, "vcpu_svm", "vmcb") : -ENOENT;
	msrpm_offset = base_btf ? btf_offset(btf, len, base_btf, "vcpu_svm", "msrpm") : -ENOENT;
	vfree(btf);
	return vmcb_offset < 0 ? vmcb_offset : msrpm_offset < 0 ? msrpm_offset : 0;
}

static void undo(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		if (hooks[i].at)
			(void)write_text(hooks[i].at, hooks[i].original);
	if (host_page)
		__free_page(host_page);
}

static int __init world_switch_init(void)
{
	int r = find_offsets();
	unsigned int i;

	c_bit = BIT_ULL(cpuid_ebx(LEAF_ENCRYPTION) & 0x3f);
	host_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (r == 0 && !host_page)
		r = -ENOMEM;
	for (i = 0; r == 0 && i < ARRAY_SIZE(hooks); i++)
		r = set_hook(&hooks[i]);
	if (r < 0)
		undo();
	return r;
}

static void __exit world_switch_exit(void)
{
	undo();
}

module_init(world_switch_init);
module_exit(world_switch_exit);
MODULE_DESCRIPTION("stand-in for the world switch of SEV and SEV-ES");
MODULE_LICENSE("GPL");
