/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * platform.h - what the interpreter is tested in: a CPU, memory, and a record of all else it asks
 *
 * There are two memories at the same addresses: what is accessed without encryption and what is
 * accessed with.  They have nothing to do with each other, so that a test sees which one was used.
 * Tests write page tables, descriptors and code with the functions below.
 */
#ifndef TESTS_SOFTKVM_CPU_PLATFORM_H
#define TESTS_SOFTKVM_CPU_PLATFORM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "softkvm/cpu/internal.h"

#define RAM_LEN (8u << 20)
#define C_BIT	(1ull << 47)
#define MMIO	0xc0000000ull

/* Where tests have their things. */
#define TABLES	     0x100000ull /* CR3 */
#define GDT	     0x200000ull
#define IDT	     0x201000ull
#define TSS	     0x202000ull
#define STACK	     0x210000ull /* ends here */
#define KERNEL_STACK 0x220000ull
#define IST_STACK    0x230000ull
#define CODE	     0x300000ull
#define HANDLERS     0x310000ull /* 16 bytes each: HLT */
#define DATA	     0x400000ull

/* Selectors: flat segments of the GDT that platform_long() and platform_32() make. */
#define KERNEL_CS    0x08
#define KERNEL_DS    0x10
#define USER_CS_32   0x18
#define USER_DS	     0x20
#define USER_CS	     0x28
#define KERNEL_CS_32 0x30
#define TSS_SELECTOR 0x40

#define PTE_P  0x1ull
#define PTE_W  0x2ull
#define PTE_U  0x4ull
#define PTE_A  0x20ull
#define PTE_D  0x40ull
#define PTE_PS 0x80ull
#define PTE_NX (1ull << 63)

struct platform {
	struct cpu *cpu;
	uint8_t *ram, *secret; /* without, with encryption */
	void *guard;	       /* of all pages */
	unsigned n_begun, n_ended;
	uint64_t read_only; /* this page is; 0: none */
	bool is_pending;    /* answers from outside are missing */
	unsigned n_mmio;
	struct {
		uint64_t gpa;
		unsigned len;
		bool is_write;
		uint64_t data;
	} mmio[16];
	unsigned n_ports;
	struct {
		uint16_t port;
		unsigned size;
		bool is_write;
		uint32_t value;
	} ports[16];
	uint32_t msr; /* the last one that went outside */
	uint64_t msr_value;
	unsigned n_controls;
};

int platform_setup(void **state);
int platform_teardown(void **state);

/* Another CPU in the same state, to be freed by the caller. */
struct cpu *platform_clone(struct platform *platform);

uint8_t *platform_view(struct platform *platform, bool encrypted);
void put16(struct platform *platform, uint64_t gpa, uint16_t value);
void put32(struct platform *platform, uint64_t gpa, uint32_t value);
void put64(struct platform *platform, uint64_t gpa, uint64_t value);
uint64_t get64(struct platform *platform, uint64_t gpa);
uint32_t get32(struct platform *platform, uint64_t gpa);
uint16_t get16(struct platform *platform, uint64_t gpa);

/*
 * 64-bit mode at CODE with 4 KiB pages for all of RAM: identity, `flags` in each entry, and
 * handlers in the IDT that halt.
 */
void platform_long(struct platform *platform, uint64_t flags);
/* The place of the last-level entry that maps linear. */
uint64_t platform_pte(uint64_t linear);
/* Protected mode of 32 bits without paging. */
void platform_32(struct platform *platform);
/* A gate of the current mode, to HANDLERS + 16 * vector. */
void platform_gate(struct platform *platform, unsigned vector, unsigned type_and_dpl, unsigned ist);
void platform_user(struct platform *platform); /* CPL 3, in 64-bit code */

/* Bytes at CODE, or where RIP is. */
#define platform_code(platform, ...)                                                               \
	do {                                                                                       \
		static const uint8_t code_[] = {__VA_ARGS__};                                      \
		platform_write_code(platform, code_, sizeof(code_));                               \
	} while (0)
void platform_write_code(struct platform *platform, const uint8_t *code, size_t len);
enum cpu_stop platform_run(struct platform *platform, unsigned instructions);
/* Runs one instruction, which is to raise vector: its handler has been entered, and halts. */
void platform_expect(struct platform *platform, unsigned vector);
/* With what error code? */
void platform_expect_error(struct platform *platform, unsigned vector, uint32_t error);

#endif
