/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vector.h - SSE and AVX: what vector.c, lane.c, move.c, float.c, ... share
 *
 * A 256-bit instruction is, with few exceptions, two independent 128-bit ones: one function per
 * lane serves SSE and AVX.  Hosts need have no more than SSE2.
 */
#ifndef SOFTKVM_CPU_VECTOR_H
#define SOFTKVM_CPU_VECTOR_H

#include <emmintrin.h>

#include "internal.h"

union lane {
	__m128i m;
	int8_t i8[16];
	uint8_t u8[16];
	int16_t i16[8];
	uint16_t u16[8];
	int32_t i32[4];
	uint32_t u32[4];
	int64_t i64[2];
	uint64_t u64[2];
};

struct ymm {
	union lane lane[2];
};

#define XCR0_X87  (1ull << 0)
#define XCR0_SSE  (1ull << 1)
#define XCR0_AVX  (1ull << 2)
#define XCR0_PKRU (1ull << 9)

/* MXCSR: APM volume 1, 4.2.2. */
#define MXCSR_FLAGS	 0x3fu /* IE, DE, ZE, OE, UE, PE */
#define MXCSR_IE	 0x01u
#define MXCSR_DE	 0x02u
#define MXCSR_ZE	 0x04u
#define MXCSR_OE	 0x08u
#define MXCSR_UE	 0x10u
#define MXCSR_PE	 0x20u
#define MXCSR_MASKS	 0x1f80u
#define MXCSR_MASK_SHIFT 7
#define MXCSR_UM	 0x0800u
#define MXCSR_FZ	 0x8000u
#define MXCSR_MM	 0x20000u /* misaligned operands are allowed */
#define MXCSR_DEFAULT	 0x1f80u
#define FCW_DEFAULT	 0x37f

/* What an instruction needs of CPUID: its legacy form.  That with VEX needs AVX; AVX2, if it is of
 * 256 bits and of integers. */
enum vector_feature {
	NEEDS_SSE,	 /* and SSE2: all of AMD64 has them */
	NEEDS_SSE_FLOAT, /* AVX is enough for 256 bits */
	NEEDS_SSE3,
	NEEDS_SSE3_FLOAT,
	NEEDS_SSSE3,
	NEEDS_SSE41,
	NEEDS_SSE41_FLOAT,
	NEEDS_SSE42,
	NEEDS_AES,
	NEEDS_PCLMULQDQ,
	NEEDS_AVX,
	NEEDS_AVX2,
};

/* #UD, #NM, or CPU_NEXT: the instruction can be used now. */
enum cpu_result vector_check(struct cpu *cpu, const struct insn *insn, enum vector_feature feature);

/*
 * Operand n, a register or `len` bytes of memory; what is beyond is 0.  CPU_IS_UNKNOWN for
 * registers of MMX.
 */
enum cpu_result vector_load(struct cpu *cpu, const struct insn *insn, unsigned n, unsigned len,
			    bool is_aligned, struct ymm *ret);
enum cpu_result vector_store(struct cpu *cpu, const struct insn *insn, unsigned n, unsigned len,
			     bool is_aligned, const struct ymm *value);
/* Legacy: the lower half, the upper one stays.  VEX: both, with 0 beyond vector_len. */
void vector_set(struct cpu *cpu, const struct insn *insn, unsigned reg, const struct ymm *value);
void vector_get(const struct cpu *cpu, unsigned reg, struct ymm *ret);

static inline bool is_xmm(const struct insn *insn, unsigned n)
{
	return insn->operand[n].kind == OPERAND_XMM;
}

/* 16 or 32: how much of the registers is worked on. */
static inline unsigned vector_len(const struct insn *insn)
{
	return insn->vex && insn->vector_len == 32 ? 32 : 16;
}

/* Legacy instructions want their operands in memory aligned, those with VEX do not. */
static inline bool wants_aligned(const struct insn *insn)
{
	return !insn->vex;
}

/* The operand that is the first source: VEX has one apart from the destination. */
static inline unsigned first_source(const struct insn *insn)
{
	return insn->vex ? 1 : 0;
}

/* Each file has its own table. */
exec_fn *lane_find(ZydisMnemonic mnemonic);
exec_fn *move_find(const ZydisDecodedInstruction *decoded);
exec_fn *permute_find(ZydisMnemonic mnemonic);
exec_fn *float_find(ZydisMnemonic mnemonic);
exec_fn *compare_find(const ZydisDecodedInstruction *decoded);
exec_fn *round_find(ZydisMnemonic mnemonic);
exec_fn *text_find(ZydisMnemonic mnemonic);
exec_fn *gather_find(ZydisMnemonic mnemonic);
exec_fn *fpu_find(ZydisMnemonic mnemonic);

/* fpu.c: what hardware makes of an x87 state that is loaded. */
void fpu_normalize(struct cpu_fpu *fpu);

/* xsave.c */
exec_fn exec_xsave, exec_xsaveopt, exec_xsavec, exec_xrstor;

#endif
