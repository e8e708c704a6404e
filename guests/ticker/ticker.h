/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ticker: a guest that counts, and that notices when the state of a vCPU was not preserved.
 *
 * Guest-physical memory:
 *	0x007000	boot_params, and what else the loader puts below 1 MiB
 *	0x008000	real-mode trampoline of the other vCPUs, one page
 *	0x100000	this image, its stacks and tables; must end below 0x200000
 *	0x200000	one struct slot per vCPU: what an observer of the guest's memory reads
 *	0x201000	one GHCB per vCPU, with SEV-ES
 */
#ifndef TICKER_H
#define TICKER_H

#define CPUS_MAX   16
#define STACK_SIZE 4096

#define TRAMPOLINE 0x8000
#define SLOTS	   0x200000
#define GHCBS	   0x201000

#define SEV_ES_KIND 2

#define CODE_SELECTOR 0x10
#define DATA_SELECTOR 0x18

/* Offsets into struct slot, which GS points at. */
#define SLOT_COUNT  0
#define SLOT_TICKS  8
#define SLOT_ROUNDS 16
#define SLOT_ERRORS 24
#define SLOT_MAGIC  32
#define SLOT_TSC    40
#define SLOT_SELF   48

#define LAPIC 0xfee00000

#define VECTOR_VC	29
#define VECTOR_TIMER	0x20
#define VECTOR_SPURIOUS 0xff

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slot {
	uint64_t count;	  /* incremented as fast as the vCPU can, or once per tick with `halt` */
	uint64_t ticks;	  /* timer interrupts */
	uint64_t rounds;  /* times that all registers were found to be as expected or put right */
	uint64_t errors;  /* registers that were not */
	uint8_t magic[8]; /* "TICKER01" once the vCPU runs */
	uint64_t tsc;	  /* at the end of the last round */
	uint64_t self;	  /* address of this slot */
	uint64_t unused;
};

_Static_assert(sizeof(struct slot) == 64, "a cache line per vCPU");
_Static_assert(offsetof(struct slot, tsc) == SLOT_TSC, "as assembly sees it");

static inline volatile struct slot *slot_of(unsigned cpu)
{
	return (volatile struct slot *)(uintptr_t)(SLOTS + sizeof(struct slot) * cpu);
}

static inline unsigned this_cpu(void)
{
	uint64_t self;

	__asm__("mov %%gs:%c1, %0" : "=r"(self) : "i"(SLOT_SELF));
	return (unsigned)((self - SLOTS) / sizeof(struct slot));
}

static inline uint64_t read_msr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return low | (uint64_t)high << 32;
}

static inline void write_msr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
}

/* confidential.c: what the loader says that we are, as libvmrelay numbers it. */
enum confidential { PLAIN = 0, SEV = 1, SEV_ES = SEV_ES_KIND };
extern enum confidential confidential;

void confidential_init(enum confidential kind); /* on the boot vCPU, first of all */
void confidential_init_cpu(unsigned cpu);	/* on each */
void confidential_init_fpu(void); /* a launch does not put the FPU's reset state into the VMSA */
void confidential_cpuid(uint32_t leaf, uint32_t ret[4]);
uint32_t confidential_in(uint16_t port, unsigned bytes);
void confidential_out(uint16_t port, unsigned bytes, uint32_t value);
/* MSRs that the hypervisor intercepts. */
uint64_t confidential_read_msr(uint32_t msr);
void confidential_write_msr(uint32_t msr, uint64_t value);
_Noreturn void confidential_terminate(void);

static inline void out8(uint16_t port, uint8_t value)
{
	if (confidential == SEV_ES)
		confidential_out(port, 1, value);
	else
		__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value)
{
	if (confidential == SEV_ES)
		confidential_out(port, 2, value);
	else
		__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	if (confidential == SEV_ES)
		return (uint8_t)confidential_in(port, 1);
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

/* loop.S: never return. */
_Noreturn void loop_sse(void);
_Noreturn void loop_avx(void);
_Noreturn void loop_halt_sse(void);
_Noreturn void loop_halt_avx(void);

/* start.S, trampoline.S, trap.S: symbols that are only addresses. */
extern uint8_t trampoline_begin[], trampoline_end[], trampoline_cr3[];
extern uint8_t exception_entries[], timer_entry[], spurious_entry[], vc_entry[];

/* main.c: called from assembly. */
_Noreturn void bsp_main(const uint8_t *boot_params, enum confidential kind);
_Noreturn void ap_main(unsigned cpu);
void tick(void);
void mismatch(unsigned reg, uint64_t expected, uint64_t got);
void vc(uint64_t error_code, uint64_t *rip);
_Noreturn void exception(uint64_t vector, uint64_t error_code, uint64_t rip);

struct options {
	bool halt;
	bool noavx;
	bool say;
	uint64_t off, reboot, crash; /* after how many ticks; 0: never */
	uint64_t secret;	     /* its address; 0: none is expected */
};

/* cpu.c */
void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t ret[4]);
bool cpu_has_avx(void); /* and can be relied on */
void cpu_init(unsigned cpu, bool avx);
void idt_init(void);
_Noreturn void triple_fault(void);

/* check.c */
void check(bool avx);

/* lapic.c */
void lapic_init(void);
void lapic_eoi(void);
void lapic_send_init(void);
void lapic_send_startup(unsigned page);

/* firmware.c: what the loader tells. */
void firmware_options(const uint8_t *boot_params, struct options *ret);
unsigned firmware_cpus(const uint8_t *boot_params); /* 0: no ACPI tables */

/* serial.c: %u (unsigned), %x (uint64_t), %s, %c.  One call is one uninterrupted piece of output.
 */
void serial_print(const char *format, ...);
int serial_read(void); /* -1: nothing there */

#endif
#endif
