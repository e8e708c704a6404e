/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * enter.S - into the guest and back
 */
#include <linux/linkage.h>
#include <asm/kvm_vcpu_regs.h>

#define LOAD(reg, name)	 mov __VCPU_REGS_##name * 8(%rdi), %reg ;
#define STORE(reg, name) mov %reg, __VCPU_REGS_##name * 8(%rax) ;

/* All but RAX and RSP; RDI, the base of LOAD, last. */
#define EACH(op)                                                                                   \
	op(rcx, RCX) op(rdx, RDX) op(rbx, RBX) op(rbp, RBP) op(rsi, RSI) op(r8, R8) op(r9, R9)     \
	op(r10, R10) op(r11, R11) op(r12, R12) op(r13, R13) op(r14, R14) op(r15, R15) op(rdi, RDI)

/*
 * void svm_enter(unsigned long *regs, phys_addr_t vmcb_pa, phys_addr_t host_save_pa)
 *
 * Called with GIF clear.  From VMLOAD of the guest to VMLOAD of the host GS belongs to the guest:
 * nothing but the stack may be touched.
 */
SYM_FUNC_START(svm_enter)
	push %rbp
	push %r15
	push %r14
	push %r13
	push %r12
	push %rbx
	push %rdx
	push %rdi

	mov %rdx, %rax
	vmsave %rax
	mov %rsi, %rax
	vmload %rax
	EACH(LOAD)
	sti		/* with GIF clear nothing comes in before VMRUN; with IF set it leaves the guest */
	vmrun %rax
	cli
	vmsave %rax

	pop %rax
	EACH(STORE)
	pop %rax
	vmload %rax

	pop %rbx
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	pop %rbp
	ret
	int3
SYM_FUNC_END(svm_enter)
