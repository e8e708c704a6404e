/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * machine.h - a CPU with a little memory, for tests
 *
 * The first MEMORY_LEN bytes are memory, linear addresses are physical ones.  What is behind is a
 * device: it remembers the last byte written, and is asked as often as `refusals` tells before it
 * gives an answer.
 */
#ifndef TESTS_UNIT_SOFTKVM_CPU_MACHINE_H
#define TESTS_UNIT_SOFTKVM_CPU_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "softkvm/cpu/cpu.h"
#include "softkvm/cpu/internal.h"

#define MEMORY_LEN 0x200000u
#define MMIO	   MEMORY_LEN
#define CODE	   0x10000u /* where machine_start() puts it: within reach of 16 bits */
#define STACK	   0x8000u
#define DATA	   0x9000u

enum machine_mode { MACHINE_REAL, MACHINE_PROTECTED, MACHINE_LONG };

struct machine {
	struct cpu *cpu;
	uint8_t *memory;
	unsigned refusals; /* how often the next accesses are to be made again */
	unsigned refused;
	unsigned reads, writes; /* answered */
	uint8_t last_written;
	unsigned attention_at; /* the write that raises attention; 0: none */
};

/* Instructions, as text for the assembler, of 16, 32 or 64 bits: name to name_end. */
#define CODE_BLOCK(name, bits, text)                                                               \
	__asm__(".pushsection .rodata\n.code" #bits "\n" #name ":\n" text "\n" #name               \
		"_end:\n.code64\n.popsection\n");                                                  \
	extern const uint8_t name[], name##_end[]

int machine_setup(void **state);
int machine_teardown(void **state);
/* The code at CODE, in a CPU just reset but for the mode.  In real mode CS:0 is CODE. */
void machine_start(struct machine *machine, enum machine_mode mode, const uint8_t *code,
		   const uint8_t *end);
/* To HLT. */
void machine_run(struct machine *machine);

#endif
