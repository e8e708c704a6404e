/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * First instructions of every vCPU in 64-bit mode: segments and a stack, then C.  The loader's
 * registers: %rsi boot_params, %rdi enum confidential, %rdx number of the vCPU; SEV-ES has the other
 * vCPUs start here, too.
 */
#include "ticker.h"

	.text
	.code64

	.globl	_start
_start:
	cmp	$SEV_ES_KIND, %edi
	jne	1f
	test	%edx, %edx
	jz	1f
	mov	%edx, %edi
	jmp	start_other
1:
	xchg	%rsi, %rdi
	lea	stacks + STACK_SIZE(%rip), %rsp
	lea	bsp_main(%rip), %rax
	jmp	enter

	.globl	ap_start
ap_start:
	mov	$1, %eax
	cpuid
	mov	%ebx, %edi	/* initial APIC ID */
	shr	$24, %edi
start_other:
	cmp	$CPUS_MAX, %edi
	jae	stop
	lea	1(%rdi), %eax
	imul	$STACK_SIZE, %eax, %eax
	lea	stacks(%rip), %rsp
	add	%rax, %rsp
	lea	ap_main(%rip), %rax

enter:
	lgdt	gdt_pointer(%rip)
	mov	$DATA_SELECTOR, %ecx
	mov	%ecx, %ds
	mov	%ecx, %es
	mov	%ecx, %ss
	mov	%ecx, %fs
	mov	%ecx, %gs
	push	$0	/* no return address, and the alignment that C expects */
	push	$CODE_SELECTOR
	push	%rax
	lretq

stop:
	cli
	hlt
	jmp	stop

	.section .rodata
	.balign	8
	.globl	gdt
gdt:
	.quad	0, 0
	.quad	0x00af9b000000ffff	/* 64-bit code */
	.quad	0x00cf93000000ffff	/* data */
gdt_end:


gdt_pointer:
	.short	gdt_end - gdt - 1
	.quad	gdt

	.bss
	.balign	4096
stacks:
	.skip	CPUS_MAX * STACK_SIZE

	.section .note.GNU-stack, "", @progbits
