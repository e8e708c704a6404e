// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Is a confidential guest treated as its CPU would treat it?  Each vCPU looks once, before its
 * loop.
 *
 * What the hypervisor knows shows in what it answers: it tells CPUID's OSXSAVE by the CR4, and the
 * TPR by the CR8, of which the CPU has told it.  Numbers of sections are of AMD publication 24593.
 */
#include "ticker.h"

#define MSR_EFER       0xc0000080
#define MSR_SEV_STATUS 0xc0010131
#define MSR_X2APIC_TPR 0x808
#define EFER_SCE       (1u << 0)
#define CR0_TS	       (1u << 3)
#define CR4_OSXSAVE    (1u << 18)
#define CPUID_OSXSAVE  (1u << 27) /* leaf 1, ECX */
#define XCR0_SSE       3
#define XCR0_AVX       7

#define VC_CPUID   0x72
#define VC_VMMCALL 0x81
#define VC_NPF	   0x400

/* Of the next #VC, on this vCPU: how long the instruction is that raises it, and with what code. */
static struct {
	uint64_t skip, error_code;
} expected_vc[CPUS_MAX];

void vc(uint64_t error_code, uint64_t *rip)
{
	unsigned cpu = this_cpu();

	if (!expected_vc[cpu].skip)
		exception(VECTOR_VC, error_code, *rip);
	*rip += expected_vc[cpu].skip;
	expected_vc[cpu].skip = 0;
	expected_vc[cpu].error_code = error_code;
}

static void expect(const char *what, uint64_t expected, uint64_t got)
{
	if (got == expected)
		return;
	slot_of(this_cpu())->errors++;
	serial_print("ticker: cpu %u %s expected %x got %x\n", this_cpu(), what, expected, got);
}

static uint64_t read_xcr0(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low | (uint64_t)high << 32;
}

static void write_xcr0(uint32_t value)
{
	__asm__ volatile("xsetbv" : : "a"(value), "d"(0), "c"(0));
}

static uint64_t read_cr4(void)
{
	uint64_t cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	return cr4;
}

static void write_cr4(uint64_t cr4)
{
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
}

static uint32_t osxsave_as_told(void)
{
	uint32_t regs[4];

	cpuid(1, 0, regs);
	return regs[2] & CPUID_OSXSAVE;
}

/* The instruction is skipped: registers stay as they are. */
#define EXPECT_VC(code, insn, length, ...)                                                         \
	do {                                                                                       \
		volatile uint64_t *skip = &expected_vc[this_cpu()].skip;                           \
		*skip = (length);                                                                  \
		__asm__ volatile(insn : : __VA_ARGS__ : "memory");                                 \
		expect("#VC by " insn, code, expected_vc[this_cpu()].error_code);                  \
	} while (0)

/* 15.35.4, 15.35.5. */
static void check_exceptions(void)
{
	EXPECT_VC(VC_CPUID, "cpuid", 2, "a"(0), "b"(0), "c"(0), "d"(0));
	EXPECT_VC(VC_VMMCALL, "vmmcall", 3, "a"(0));
	EXPECT_VC(VC_NPF, "movl (%%rdi), %%eax", 2, "D"((uint64_t)LAPIC), "a"(0));
}

/* 15.35.10. */
static void check_write_traps(bool avx)
{
	uint64_t cr0, cr4 = read_cr4(), efer = read_msr(MSR_EFER);

	__asm__ volatile("mov %0, %%cr8" : : "r"(5ul));
	expect("TPR", 0x50, confidential_read_msr(MSR_X2APIC_TPR));
	__asm__ volatile("mov %0, %%cr8" : : "r"(0ul));
	expect("TPR", 0, confidential_read_msr(MSR_X2APIC_TPR));
	if (avx) {
		write_cr4(cr4 & ~(uint64_t)CR4_OSXSAVE);
		expect("CPUID.OSXSAVE", 0, osxsave_as_told());
		write_cr4(cr4);
		expect("CPUID.OSXSAVE", CPUID_OSXSAVE, osxsave_as_told());
	}
	write_msr(MSR_EFER, efer ^ EFER_SCE);
	expect("EFER", efer ^ EFER_SCE, read_msr(MSR_EFER));
	write_msr(MSR_EFER, efer);
	expect("EFER", efer, read_msr(MSR_EFER));
	__asm__ volatile("mov %%cr0, %0; or %1, %0; mov %0, %%cr0; clts; mov %%cr0, %0"
			 : "=&r"(cr0)
			 : "i"(CR0_TS)
			 : "memory");
	expect("CR0.TS", 0, cr0 & CR0_TS);
}

/* It is ours (15.35.8), and lasts over an exit. */
static void check_xcr0(void)
{
	write_xcr0(XCR0_SSE);
	(void)osxsave_as_told();
	expect("XCR0", XCR0_SSE, read_xcr0());
	write_xcr0(XCR0_AVX);
	(void)osxsave_as_told();
	expect("XCR0", XCR0_AVX, read_xcr0());
}

void check(bool avx)
{
	if (confidential == PLAIN)
		return;
	expect("SEV_STATUS", confidential == SEV_ES ? 3 : 1, read_msr(MSR_SEV_STATUS));
	if (confidential != SEV_ES)
		return;
	check_exceptions();
	check_write_traps(avx);
	if (avx)
		check_xcr0();
}
