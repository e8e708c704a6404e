/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt and exception entries.  They save only what C code may clobber: C is compiled for general
 * registers only, and the loop's vector registers have to survive an interrupt untouched.
 */
#include "ticker.h"

	.text
	.code64

	.macro	SAVE
	.irp	reg, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
	push	%\reg
	.endr
	.endm

	.macro	RESTORE
	.irp	reg, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
	pop	%\reg
	.endr
	.endm

	.globl	timer_entry
timer_entry:
	SAVE
	call	tick
	RESTORE
	iretq

	.globl	spurious_entry
spurious_entry:
	iretq

	.globl	vc_entry
vc_entry:
	SAVE
	mov	72(%rsp), %rdi	/* error code */
	lea	80(%rsp), %rsi	/* where RIP is */
	sub	$8, %rsp
	call	vc
	add	$8, %rsp
	RESTORE
	add	$8, %rsp
	iretq

/*
 * loop.S found a register with a wrong value: %rdx is the expected one, on the stack are the number
 * of the register (top) and the value that it had; both are popped.
 */
	.globl	mismatch_entry
mismatch_entry:
	SAVE
	mov	%rdx, %rsi
	mov	80(%rsp), %rdi
	mov	88(%rsp), %rdx
	call	mismatch
	RESTORE
	ret	$16

/* 32 entries of 16 bytes; the vectors named here come with an error code. */
	.balign	16
	.globl	exception_entries
exception_entries:
	.set	vector, 0
	.rept	32
	.balign	16
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
	push	$0
	.endif
	push	$vector
	jmp	exception_entry
	.set	vector, vector + 1
	.endr

exception_entry:
	pop	%rdi
	pop	%rsi
	mov	(%rsp), %rdx
	and	$-16, %rsp
	call	exception

	.section .note.GNU-stack, "", @progbits
