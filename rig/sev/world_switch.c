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
 *   afterwards, and put back as kvm_amd had left it (15.35, "SEV-ES").
 * - Exits that need the hypervisor to see state (CPUID, IOIO, MSR and so on) raise #VC in the guest
 *   instead.  VMGEXIT, which this CPU takes for VMMCALL, exits with code 0x403; it and HLT have been
 *   completed by then.  MSR 0xc0010130 is the GHCB's address in VMCB.control.
 * - Bit 1 of the interrupt shadow is the guest's RFLAGS.IF, which kvm_amd cannot read.
 * - SEV_STATUS (MSR 0xc0010131) is read without an exit (15.34, "SEV").
 * - NextRIP and decode assists are supplied to all guests (decode.c).
 *
 * Not modelled: encryption; the error code of #VC (QEMU pushes none); write traps of CR and EFER;
 * MMIO of SEV-ES guests; XSS, PKRU, XCR0 and debug registers of an SEV-ES guest's own, nor an EFER
 * without SVME in its VMSA; VMMCALL without a REP prefix there; instruction bytes for a guest
 * in legacy paging modes; NextRIP after superfluous prefixes.  L1 has one CPU: so has this.
 */
#include <linux/kernel_read_file.h>
#include <linux/kprobes.h>
#include <linux/vmalloc.h>
#include <asm/fpu/xcr.h>
#include <asm/kvm_vcpu_regs.h>

#include "svm.h"

#define MSR_GHCB   0xc0010130U
#define MSR_STATUS 0xc0010131U
#define MSRPM_GHCB                                                                                 \
	0x104c /* byte of the permission map; two bits per MSR, from 0xc0010000 at 0x1000 */
#define VC_VECTOR    29
#define XSTATE	     7 /* x87, SSE, AVX */
#define XSAVE_XMM    160
#define XSAVE_HEADER 512
#define XSAVE_YMM    576
#define JUMP_LEN     12

/* vCPUs that were entered, for who wonders whether this module was at work. */
static unsigned long n_plain, n_es, n_vmgexit;
module_param(n_plain, ulong, 0444);
module_param(n_es, ulong, 0444);
module_param(n_vmgexit, ulong, 0444);

/* Where kvm_amd's struct vcpu_svm, which begins with struct kvm_vcpu, keeps two pointers. */
static long vmcb_offset, msrpm_offset;

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
		enter(regs, vmcb);
		if (!(control->nested_ctl & SVM_NESTED_CTL_SEV_ENABLE) ||
		    !reads_sev_status(vmcb, regs[__VCPU_REGS_RCX]))
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
	unsigned int i;

	/* As far as both areas are the same. */
	memcpy(vmsa, &vmcb->save, offsetof(struct vmcb_save_area, reserved_6));
	vmsa->rcx = regs[__VCPU_REGS_RCX];
	vmsa->rdx = regs[__VCPU_REGS_RDX];
	vmsa->rbx = regs[__VCPU_REGS_RBX];
	vmsa->rbp = regs[__VCPU_REGS_RBP];
	vmsa->rsi = regs[__VCPU_REGS_RSI];
	vmsa->rdi = regs[__VCPU_REGS_RDI];
	for (i = 0; i < 8; i++)
		(&vmsa->r8)[i] = regs[__VCPU_REGS_R8 + i];
}

/* MSRs that the CPU serves itself.  True: done, go on in the guest. */
static bool serve_msr(struct sev_es_save_area *vmsa, struct vmcb_control_area *control)
{
	bool is_write = control->exit_info_1 & 1;
	u64 value;

	if ((u32)vmsa->rcx == MSR_GHCB && is_write) {
		control->ghcb_gpa = vmsa->rdx << 32 | (u32)vmsa->rax;
	} else if (!is_write && ((u32)vmsa->rcx == MSR_GHCB || (u32)vmsa->rcx == MSR_STATUS)) {
		value = (u32)vmsa->rcx == MSR_GHCB ? control->ghcb_gpa : (BIT(0) | BIT(1));
		vmsa->rax = (u32)value;
		vmsa->rdx = value >> 32;
	} else {
		return false;
	}
	vmsa->rip += 2;
	return true;
}

static void raise_vc(struct vmcb_control_area *control)
{
	control->event_inj =
		VC_VECTOR | SVM_EVTINJ_TYPE_EXEPT | SVM_EVTINJ_VALID_ERR | SVM_EVTINJ_VALID;
	control->event_inj_err = control->exit_code;
}

/* After #VMEXIT: does kvm_amd get to see it?  False: on in the guest. */
static bool is_automatic(struct sev_es_save_area *vmsa, struct vmcb_control_area *control)
{
	switch (control->exit_code) {
	case SVM_EXIT_MSR:
		if (!serve_msr(vmsa, control))
			raise_vc(control);
		return false;
	case SVM_EXIT_VMMCALL:
		vmsa->rip += 4; /* REP VMMCALL */
		control->exit_code = SVM_EXIT_VMGEXIT;
		control->exit_info_1 = control->exit_info_2 = 0;
		n_vmgexit++;
		return true;
	case SVM_EXIT_HLT:
		vmsa->rip += 1;
		return true;
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
		raise_vc(control);
		return false;
	default:
		return true;
	}
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
	if (!control->vmsa_pa || control->vmsa_pa == INVALID_PAGE) {
		control->exit_code = SVM_EXIT_ERR; /* VMEXIT_INVALID */
		control->exit_code_hi = ~0;
		return;
	}
	vmsa = __va(control->vmsa_pa);
	msrpm[MSRPM_GHCB] |= 3; /* kvm_amd passes the MSR through; this CPU has no such MSR */
	saved = vmcb->save;
	load_fpu(vmsa);
	do {
		load_vmsa(vmsa, vmcb, regs);
		control->clean = 0;
		enter(regs, vmcb);
		if (control->exit_code == SVM_EXIT_ERR)
			break;
		save_vmsa(vmsa, vmcb, regs);
		control->event_inj = 0;
		control->int_state &= ~SVM_GUEST_INTERRUPT_MASK;
		if (vmsa->rflags & X86_EFLAGS_IF)
			control->int_state |= SVM_GUEST_INTERRUPT_MASK;
	} while (!is_automatic(vmsa, control));
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
					     READING_UNKNOWN);

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
