// SPDX-License-Identifier: GPL-2.0-or-later
/* What a vCPU needs before it can run the loop: vector registers, its slot, its interrupts. */
#include "ticker.h"

#define CR0_MP	       (1u << 1)
#define CR0_EM	       (1u << 2)
#define CR0_TS	       (1u << 3)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_OSXSAVE    (1u << 18)
#define XCR0_AVX       7 /* x87, SSE, AVX */
#define MSR_GS_BASE    0xc0000101

struct idt_gate {
	uint16_t offset_low;
	uint16_t selector;
	uint16_t type;
	uint16_t offset_middle;
	uint32_t offset_high;
	uint32_t zero;
};

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static struct idt_gate idt[256];

void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	if (confidential == SEV_ES) {
		confidential_cpuid(leaf, ret); /* whose subleaf is 0 */
		return;
	}
	__asm__ volatile("cpuid"
			 : "=a"(ret[0]), "=b"(ret[1]), "=c"(ret[2]), "=d"(ret[3])
			 : "a"(leaf), "c"(subleaf));
}

static uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | (uint64_t)high << 32;
}

/*
 * A PVM host runs kernel mode by KVM's instruction emulator.  That knows no AVX instruction, ends
 * the guest when it meets one, and CPUID has AVX all the same because user mode could not be kept
 * from seeing it.  What tells is the time: hundreds of cycles for doing nothing, where a CPU needs
 * less than one and a translator some ten.
 */
static bool is_interpreted(void)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < 16; i++) {
		uint64_t begin = rdtsc();

		__asm__ volatile(".rept 256; nop; .endr");
		uint64_t cycles = rdtsc() - begin;

		if (cycles < least)
			least = cycles;
	}
	return least > UINT64_C(256) * 100;
}

bool cpu_has_avx(void)
{
	const uint32_t xsave_and_avx = 1u << 26 | 1u << 28;
	uint32_t regs[4];

	cpuid(0, 0, regs);
	if (regs[0] < 0xd)
		return false;
	cpuid(1, 0, regs);
	if ((regs[2] & xsave_and_avx) != xsave_and_avx)
		return false;
	cpuid(0xd, 0, regs);
	return (regs[0] & XCR0_AVX) == XCR0_AVX && !is_interpreted();
}

static void set_gate(unsigned vector, const uint8_t *entry)
{
	uintptr_t offset = (uintptr_t)entry;

	idt[vector] = (struct idt_gate){
		.offset_low = (uint16_t)offset,
		.selector = CODE_SELECTOR,
		.type = 0x8e00, /* present interrupt gate */
		.offset_middle = (uint16_t)(offset >> 16),
	};
}

void idt_init(void)
{
	for (unsigned vector = 0; vector < 32; vector++)
		set_gate(vector, exception_entries + 16 * vector);
	set_gate(VECTOR_VC, vc_entry);
	set_gate(VECTOR_TIMER, timer_entry);
	set_gate(VECTOR_SPURIOUS, spurious_entry);
}

static void load_idt(const struct table_pointer *pointer)
{
	__asm__ volatile("lidt %0" : : "m"(*pointer));
}

void cpu_init(unsigned cpu, bool avx)
{
	const struct table_pointer pointer = {sizeof(idt) - 1, (uintptr_t)idt};
	volatile struct slot *slot = slot_of(cpu);
	uint64_t cr0, cr4;

	load_idt(&pointer);
	confidential_init_cpu(cpu);

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	cr0 = (cr0 & ~(uint64_t)(CR0_EM | CR0_TS)) | CR0_MP;
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0));

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | (avx ? CR4_OSXSAVE : 0);
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
	confidential_init_fpu();
	if (avx)
		__asm__ volatile("xsetbv" : : "a"(XCR0_AVX), "d"(0), "c"(0));

	__asm__ volatile("wrmsr"
			 :
			 : "a"((uint32_t)(uintptr_t)slot), "d"(0), "c"(MSR_GS_BASE)
			 : "memory");
	slot->self = (uintptr_t)slot;
	lapic_init();
	check(avx);
}

void triple_fault(void)
{
	const struct table_pointer none = {0, 0};

	load_idt(&none);
	__asm__ volatile("div %0" : : "r"(0), "a"(0), "d"(0));
	__builtin_unreachable();
}
