/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a vCPU runs after SIPI, copied to TRAMPOLINE: from real mode straight to 64-bit mode, with the
 * page tables of the boot vCPU.  Real-mode segments are based at TRAMPOLINE, hence the subtractions.
 */
#include "ticker.h"

	.section .rodata
	.code16

	.globl	trampoline_begin
trampoline_begin:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	lgdtl	gdt_copy - trampoline_begin
	mov	$0x20, %eax		/* PAE */
	mov	%eax, %cr4
	mov	trampoline_cr3 - trampoline_begin, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx	/* EFER */
	rdmsr
	or	$0x100, %eax		/* LME */
	wrmsr
	mov	$0x80000031, %eax	/* PG, NE, ET, PE */
	mov	%eax, %cr0
	ljmpl	$CODE_SELECTOR, $ap_start

	.balign	8
	.globl	trampoline_cr3
trampoline_cr3:
	.long	0
gdt_copy:
	.short	4 * 8 - 1
	.long	gdt

	.globl	trampoline_end
trampoline_end:

	.section .note.GNU-stack, "", @progbits
