/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loop that a vCPU spends its life in.
 *
 * Theory of operation: the general registers but RAX, RCX, RDX, RSP and all vector registers hold
 * running values.  In round R the 64-bit word number N has the value R * STEP + N; R is in memory, so
 * a register that was not preserved cannot vouch for itself.  A round visits every register once, to
 * compare it and to advance it to the value of the next round.  Between two visits come BURST
 * increments of the counter, rather than all of them at the end: to an observer, the longest pause
 * of the counter is one visit and not a whole round.
 *
 * Nothing but moves touches vector registers, because KVM's instruction emulator, on which some hosts
 * run every instruction of a guest, knows nothing else of SSE.
 */
#include "ticker.h"

#define STEP  0x9e3779b97f4a7c15
#define BURST 16

/* Numbers of words: 0-15 as the architecture numbers general registers, then 4 per vector register. */
#define VECTOR_WORD(n) (16 + 4 * (n))

	.text
	.code64

	.macro	COUNT n
	.rept	\n
	incq	%gs:SLOT_COUNT
	.endr
	.endm

/* %rax: R * STEP, %rcx: STEP */
	.macro	CHECK word, at
	lea	\word(%rax), %rdx
	cmp	%rdx, \at
	jne	9f
8:	add	%rcx, \at
	.pushsection .text.mismatch, "ax"
9:	push	\at
	push	$\word
	call	mismatch_entry
	mov	%rdx, \at
	jmp	8b
	.popsection
	.endm

	.macro	CHECK_VECTOR move, reg, n, words
	\move	%\reg, (%rsp)
	CHECK	VECTOR_WORD(\n), 0(%rsp)
	CHECK	VECTOR_WORD(\n) + 1, 8(%rsp)
	.if	\words == 4
	CHECK	VECTOR_WORD(\n) + 2, 16(%rsp)
	CHECK	VECTOR_WORD(\n) + 3, 24(%rsp)
	.endif
	\move	(%rsp), %\reg
	.endm

	.macro	FIRST_VALUE move, reg, n
	.irp	word, 0, 1, 2, 3
	movq	$VECTOR_WORD(\n) + \word, 8 * \word(%rsp)
	.endr
	\move	(%rsp), %\reg
	.endm

	.macro	LOOP name, halt, move, reg, words
	.globl	\name
\name:
	and	$-32, %rsp
	sub	$32, %rsp
	mov	$3, %ebx
	mov	$5, %ebp
	mov	$6, %esi
	mov	$7, %edi
	.irp	n, 8, 9, 10, 11, 12, 13, 14, 15
	mov	$\n, %r\n
	.endr
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	FIRST_VALUE \move, \reg\n, \n
	.endr
	movabs	$STEP, %rcx

	.if	\halt
	.set	burst, 0
	.else
	.set	burst, BURST
	sti
	.endif

1:
	.if	\halt
	sti
	hlt
	cli	/* a tick from here on ends the next halt at once */
	COUNT	1
	.endif
	mov	%gs:SLOT_ROUNDS, %rax
	imul	%rcx, %rax
	CHECK	3, %rbx
	COUNT	burst
	CHECK	5, %rbp
	COUNT	burst
	CHECK	6, %rsi
	COUNT	burst
	CHECK	7, %rdi
	COUNT	burst
	.irp	n, 8, 9, 10, 11, 12, 13, 14, 15
	CHECK	\n, %r\n
	COUNT	burst
	.endr
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	CHECK_VECTOR \move, \reg\n, \n, \words
	COUNT	burst
	.endr
	incq	%gs:SLOT_ROUNDS
	rdtsc
	mov	%eax, %gs:SLOT_TSC
	mov	%edx, %gs:SLOT_TSC + 4
	jmp	1b
	.endm

	LOOP	loop_sse, 0, movdqu, xmm, 2
	LOOP	loop_avx, 0, vmovdqu, ymm, 4
	LOOP	loop_halt_sse, 1, movdqu, xmm, 2
	LOOP	loop_halt_avx, 1, vmovdqu, ymm, 4

	.section .note.GNU-stack, "", @progbits
