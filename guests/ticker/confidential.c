// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Running encrypted (AMD SEV), or encrypted with registers that the hypervisor cannot see (SEV-ES).
 *
 * Theory of operation.  The loader says in a register which it is; its page tables have the C-bit
 * on all of RAM.  The 2 MiB page of the slots is made shared, since the observer looks at it from
 * outside; each vCPU has its GHCB in it, too.  As an SEV-ES guest we avoid every instruction that
 * would raise #VC, and ask the hypervisor through the GHCB instead: CPUID, MSRs that it intercepts,
 * ports. Numbers of sections are of AMD publication 56421, "SEV-ES Guest-Hypervisor Communication
 * Block Standardization"; offsets in the GHCB are of its table 3.
 */
#include "ticker.h"

#define MSR_EFER	0xc0000080
#define MSR_GHCB	0xc0010130
#define CPUID_ENCRYPTED 0x8000001f
#define C_BIT_POSITION	0x3f
#define LARGE_PAGE	0x200000

/* MSR protocol (2.3.1). */
#define SEV_INFO_REQUEST 0x002
#define CPUID_REQUEST	 0x004
#define TERMINATE	 0x100

/* GHCB fields. */
#define GHCB_RAX	  0x1f8
#define GHCB_RCX	  0x308
#define GHCB_RDX	  0x310
#define GHCB_SW_EXITCODE  0x390
#define GHCB_SW_EXITINFO1 0x398
#define GHCB_SW_EXITINFO2 0x3a0
#define GHCB_VALID_BITMAP 0x3f0
#define GHCB_PROTOCOL	  0xffa
#define GHCB_USAGE	  0xffc
#define EXIT_IOIO	  0x7b
#define EXIT_MSR	  0x7c
#define IOIO_IN		  (1u << 0)
#define IOIO_SIZE(bytes)  ((uint64_t)(bytes) << 4)
#define IOIO_PORT(port)	  ((uint64_t)(port) << 16)
#define PROTOCOL_VERSION  1

enum confidential confidential;

static inline void vmgexit(void)
{
	__asm__ volatile("rep; vmmcall" : : : "memory");
}

static uint64_t ask_by_msr(uint64_t request)
{
	write_msr(MSR_GHCB, request);
	vmgexit();
	return read_msr(MSR_GHCB);
}

void confidential_cpuid(uint32_t leaf, uint32_t ret[4])
{
	uint64_t ghcb = read_msr(MSR_GHCB);

	for (unsigned reg = 0; reg < 4; reg++)
		ret[reg] = (uint32_t)(ask_by_msr((uint64_t)leaf << 32 | (uint64_t)reg << 30 |
						 CPUID_REQUEST) >>
				      32);
	write_msr(MSR_GHCB, ghcb);
}

static uint64_t find_c_bit(void)
{
	uint32_t regs[4];

	/* SEV_INFO (2.3.1): bits 31:24 are the position. */
	if (confidential == SEV_ES)
		return 1ull << (ask_by_msr(SEV_INFO_REQUEST) >> 24 & C_BIT_POSITION);
	cpuid(CPUID_ENCRYPTED, 0, regs);
	return 1ull << (regs[1] & C_BIT_POSITION);
}

/* The loader's page tables: identity, large pages, below 4 GiB. */
static void share(uintptr_t address, uint64_t c_bit)
{
	const uint64_t frame = 0x000ffffffffff000 & ~c_bit;
	uint64_t cr3, *table;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	table = (uint64_t *)(cr3 & frame);
	table = (uint64_t *)(table[0] & frame);
	table = (uint64_t *)(table[address >> 30] & frame);
	table[address >> 21 & 511] &= ~c_bit;
	__asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
}

void confidential_init(enum confidential kind)
{
	confidential = kind;
	if (kind != PLAIN)
		share(SLOTS, find_c_bit());
}

static volatile uint8_t *ghcb_of(unsigned cpu)
{
	return (volatile uint8_t *)(uintptr_t)(GHCBS + 4096 * cpu);
}

/*
 * INIT and SIPI do nothing to an SEV-ES vCPU that starts for the first time, but the hypervisor
 * takes CR0, CR4 and EFER for reset.  Writing them tells it otherwise: in the order that leads to
 * long mode, CR0 last, or KVM refuses EFER.
 */
void confidential_init_cpu(unsigned cpu)
{
	uint64_t cr4;

	if (confidential != SEV_ES)
		return;
	write_msr(MSR_GHCB, (uintptr_t)ghcb_of(cpu));
	__asm__ volatile("mov %%cr4, %0; mov %0, %%cr4" : "=r"(cr4) : : "memory");
	write_msr(MSR_EFER, read_msr(MSR_EFER));
}

void confidential_init_fpu(void)
{
	const uint32_t mxcsr = 0x1f80;

	if (confidential == SEV_ES)
		__asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

static void put(volatile uint8_t *ghcb, unsigned offset, uint64_t value)
{
	*(volatile uint64_t *)(ghcb + offset) = value;
	ghcb[GHCB_VALID_BITMAP + offset / 64] |= (uint8_t)(1u << offset / 8 % 8);
}

static uint64_t get(const volatile uint8_t *ghcb, unsigned offset)
{
	return *(const volatile uint64_t *)(ghcb + offset);
}

/*
 * One event (4.1).  The hypervisor reads and writes what the bitmap says is valid.  An interrupt
 * handler would use the same GHCB: none may come in between.
 */
static void event(uint64_t code, uint64_t info, uint64_t rcx, uint64_t *rax, uint64_t *rdx)
{
	uint64_t flags;

	__asm__ volatile("pushf; pop %0; cli" : "=r"(flags) : : "memory");

	volatile uint8_t *ghcb = (volatile uint8_t *)(uintptr_t)read_msr(MSR_GHCB);

	for (unsigned i = 0; i < 16; i++)
		ghcb[GHCB_VALID_BITMAP + i] = 0;
	*(volatile uint16_t *)(ghcb + GHCB_PROTOCOL) = PROTOCOL_VERSION;
	*(volatile uint32_t *)(ghcb + GHCB_USAGE) = 0;
	put(ghcb, GHCB_RAX, *rax);
	put(ghcb, GHCB_RCX, rcx);
	put(ghcb, GHCB_RDX, *rdx);
	put(ghcb, GHCB_SW_EXITCODE, code);
	put(ghcb, GHCB_SW_EXITINFO1, info);
	put(ghcb, GHCB_SW_EXITINFO2, 0);
	vmgexit();
	if ((uint32_t)get(ghcb, GHCB_SW_EXITINFO1) != 0)
		confidential_terminate();
	*rax = get(ghcb, GHCB_RAX);
	*rdx = get(ghcb, GHCB_RDX);
	if (flags & (1u << 9))
		__asm__ volatile("sti" : : : "memory");
}

uint32_t confidential_in(uint16_t port, unsigned bytes)
{
	uint64_t rax = 0, rdx = 0;

	event(EXIT_IOIO, IOIO_PORT(port) | IOIO_SIZE(bytes) | IOIO_IN, 0, &rax, &rdx);
	return (uint32_t)rax;
}

void confidential_out(uint16_t port, unsigned bytes, uint32_t value)
{
	uint64_t rax = value, rdx = 0;

	event(EXIT_IOIO, IOIO_PORT(port) | IOIO_SIZE(bytes), 0, &rax, &rdx);
}

uint64_t confidential_read_msr(uint32_t msr)
{
	uint64_t rax = 0, rdx = 0;

	if (confidential != SEV_ES)
		return read_msr(msr);
	event(EXIT_MSR, 0, msr, &rax, &rdx);
	return (uint32_t)rax | rdx << 32;
}

void confidential_write_msr(uint32_t msr, uint64_t value)
{
	uint64_t rax = (uint32_t)value, rdx = value >> 32;

	if (confidential != SEV_ES) {
		write_msr(msr, value);
		return;
	}
	event(EXIT_MSR, 1, msr, &rax, &rdx);
}

void confidential_terminate(void)
{
	for (;;)
		(void)ask_by_msr(TERMINATE);
}
