/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * check.h - one instruction, by this machine's processor and by softkvm's
 *
 * generate.c	makes cases: an instruction, registers and memory before it
 * native.c	carries them out in a child that can do nothing else
 * interpret.c	has softkvm/cpu carry them out
 * check_cpu.c	compares
 *
 * Both see the same little address space: code that is read-only, data, and nothing else.
 */
#ifndef TESTS_SOFTKVM_CHECK_H
#define TESTS_SOFTKVM_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <Zydis/Zydis.h>

#include "softkvm/cpu/decode.h"

#define CODE_BASE 0x10000000ull
#define SLOT_LEN  512u /* for each case, filled with INT3; a short jump does not leave it */
#define SLOT_INSN 192u /* where the instruction is in it */
#define DATA_BASE 0x20000000ull
#define DATA_LEN  8192u
#define BATCH	  512u
#define CODE_LEN  (BATCH * SLOT_LEN)
#define GS_BASE	  (DATA_BASE + 1024) /* FS is the C library's */

#define NO_VECTOR 0xff

/* Flags that an application can see change. */
#define FLAGS_VISIBLE (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_DF | FLAG_OF)

struct registers {
	uint64_t gpr[16], rip, rflags;
	uint8_t xmm[16][16], ymm_high[16][16];
	uint32_t mxcsr;
	uint16_t fcw, fsw;
	uint8_t ftw;
};

struct test_case {
	uint64_t seed;
	uint8_t code[ZYDIS_MAX_INSTRUCTION_LENGTH];
	uint8_t length;
	uint16_t mnemonic;
	bool is_32; /* compatibility mode of 32 bits, else 64-bit mode */
	struct registers registers;
	uint8_t data[DATA_LEN];
};

struct outcome {
	struct registers registers;
	uint8_t vector; /* of the exception, or NO_VECTOR */
	uint32_t error;
	uint64_t address; /* of #PF */
	bool is_known;	  /* to the interpreter */
	uint8_t data[DATA_LEN];
};

static inline uint64_t case_address(unsigned slot)
{
	return CODE_BASE + slot * SLOT_LEN + SLOT_INSN;
}

/* generate.c.  only: a mnemonic or NULL; returns NULL if there is none. */
struct generator;
struct generator *generator_new(bool is_32, const char *only);
struct generator *generator_free(struct generator *generator);
/* Has it this mnemonic?  Do not make it any more. */
bool generator_has(const struct generator *generator, ZydisMnemonic mnemonic);
void generator_drop(struct generator *generator, ZydisMnemonic mnemonic);
/* Case for this slot. */
void generate(const struct generator *generator, uint64_t seed, unsigned slot,
	      struct test_case *ret);
/* Number of encodings; generate one that is the n-th. */
unsigned generator_count(const struct generator *generator);
void generate_nth(const struct generator *generator, unsigned n, uint64_t seed, unsigned slot,
		  struct test_case *ret);

/* native.c: false, if the child did not get to the end; *ret_done cases are done. */
struct native;
struct native *native_new(void);
struct native *native_free(struct native *native);
struct test_case *native_cases(struct native *native);
const struct outcome *native_outcomes(const struct native *native);
bool native_run(struct native *native, unsigned n, unsigned *ret_done);

/* interpret.c */
struct interpreter;
struct interpreter *interpreter_new(void);
struct interpreter *interpreter_free(struct interpreter *interpreter);
/* New code for a batch. */
void interpreter_load(struct interpreter *interpreter, const struct test_case *cases, unsigned n);
void interpret(struct interpreter *interpreter, const struct test_case *test, unsigned slot,
	       struct outcome *ret);
const char *interpreter_unknown(const struct interpreter *interpreter);

#endif
