// SPDX-License-Identifier: GPL-2.0-or-later
/* round.c - ROUNDxx and DPPx of SSE4.1, by what SSE2 has */
#include <string.h>

#include "float.h"

FP(addps)
FP(addpd)
FP(mulps)
FP(mulpd)

#define MXCSR_RC       0x6000u
#define MXCSR_RC_SHIFT 13
#define MXCSR_DAZ      0x0040u

/* Of the immediate: rounding, unless MXCSR's is to be used; PE is not wanted. */
#define ROUND_RC	 0x03u
#define ROUND_AS_MXCSR	 0x04u
#define ROUND_IS_PRECISE 0x08u

#define DOUBLE_SIGN	(1ull << 63)
#define DOUBLE_QUIET	(1ull << 51)
#define DOUBLE_FRACTION (DOUBLE_SIGN / 2048 - 1) /* 52 bits */
#define DOUBLE_BIAS	1023
#define DOUBLE_SPECIAL	2047 /* exponent of infinities and NaNs */
#define SINGLE_SIGN	(1u << 31)
#define SINGLE_QUIET	(1u << 22)
#define SINGLE_SPECIAL	0x7f800000u

/* By a conversion to an integer of 64 bits, which has room for all that have a fraction. */
static uint64_t round_double(struct fp *fp, uint64_t bits)
{
	unsigned exponent = bits >> 52 & DOUBLE_SPECIAL;
	union lane lane = {_mm_setzero_si128()};
	int64_t integer;

	if (exponent == DOUBLE_SPECIAL && bits & DOUBLE_FRACTION) {
		if (!(bits & DOUBLE_QUIET))
			fp->mxcsr |= MXCSR_IE;
		return bits | DOUBLE_QUIET;
	}
	if (exponent >= DOUBLE_BIAS + 52)
		return bits;
	lane.u64[0] = bits;
	__asm__ volatile("ldmxcsr %[guest]\n\tcvtsd2si %[b], %[r]\n\t"
			 "stmxcsr %[guest]\n\tldmxcsr %[host]"
			 : [r] "=r"(integer), [guest] "+m"(fp->mxcsr)
			 : [b] "x"(lane.m), [host] "m"(fp->host));
	lane.m = _mm_castpd_si128(_mm_cvtsi64_sd(_mm_setzero_pd(), integer));
	return lane.u64[0] | (bits & DOUBLE_SIGN);
}

/* Through a double, which is exact; but that NaNs and what DAZ sees as zeros stay what they are. */
static uint32_t round_single(struct fp *fp, uint32_t bits)
{
	union lane lane = {_mm_cvtsi32_si128((int)bits)};
	uint32_t magnitude = bits & ~SINGLE_SIGN;

	if (magnitude > SINGLE_SPECIAL) {
		if (!(bits & SINGLE_QUIET))
			fp->mxcsr |= MXCSR_IE;
		return bits | SINGLE_QUIET;
	}
	if (magnitude < 1u << 23 && fp->mxcsr & MXCSR_DAZ)
		return bits & SINGLE_SIGN;
	lane.m = _mm_castpd_si128(_mm_cvtss_sd(_mm_setzero_pd(), _mm_castsi128_ps(lane.m)));
	lane.u64[0] = round_double(fp, lane.u64[0]);
	lane.m = _mm_castps_si128(_mm_cvtsd_ss(_mm_setzero_ps(), _mm_castsi128_pd(lane.m)));
	return lane.u32[0];
}

static void round_elements(struct fp *fp, unsigned imm, unsigned size, unsigned len,
			   struct ymm *vector)
{
	if (!(imm & ROUND_AS_MXCSR))
		fp->mxcsr = (fp->mxcsr & ~MXCSR_RC) | (imm & ROUND_RC) << MXCSR_RC_SHIFT;
	for (unsigned i = 0; i < len; i += size) {
		union lane *lane = &vector->lane[i / 16];

		if (size == 8)
			lane->u64[i % 16 / 8] = round_double(fp, lane->u64[i % 16 / 8]);
		else
			lane->u32[i % 16 / 4] = round_single(fp, lane->u32[i % 16 / 4]);
	}
	/* Denormals raise nothing. */
	fp->mxcsr &= ~MXCSR_DE;
	if (imm & ROUND_IS_PRECISE)
		fp->mxcsr &= ~MXCSR_PE;
}

static enum cpu_result round_packed(struct cpu *cpu, const struct insn *insn, unsigned size)
{
	struct ymm value;
	struct fp fp;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE41_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, vector_len(insn), wants_aligned(insn), &value);
	if (result != CPU_NEXT)
		return result;
	fp_begin(cpu, &fp);
	round_elements(&fp, (uint8_t)insn->immediate, size, vector_len(insn), &value);
	result = fp_end(cpu, &fp);
	if (result == CPU_NEXT)
		vector_set(cpu, insn, insn->operand[0].reg, &value);
	return result;
}

static enum cpu_result roundps(struct cpu *cpu, const struct insn *insn)
{
	return round_packed(cpu, insn, 4);
}

static enum cpu_result roundpd(struct cpu *cpu, const struct insn *insn)
{
	return round_packed(cpu, insn, 8);
}

static enum cpu_result round_scalar(struct cpu *cpu, const struct insn *insn, unsigned size)
{
	unsigned first = first_source(insn);
	struct ymm a, b, r = {0};
	struct fp fp;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE41_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, first + 1, size, false, &b);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[first].reg, &a);
	fp_begin(cpu, &fp);
	round_elements(&fp, (uint8_t)insn->immediate, size, size, &b);
	r.lane[0] = a.lane[0];
	memcpy(&r, &b, size);
	result = fp_end(cpu, &fp);
	if (result == CPU_NEXT)
		vector_set(cpu, insn, insn->operand[0].reg, &r);
	return result;
}

static enum cpu_result roundss(struct cpu *cpu, const struct insn *insn)
{
	return round_scalar(cpu, insn, 4);
}

static enum cpu_result roundsd(struct cpu *cpu, const struct insn *insn)
{
	return round_scalar(cpu, insn, 8);
}

/* Ones in elements whose bit is set. */
static __m128i select_4(unsigned bits)
{
	union lane lane;

	for (unsigned i = 0; i < 4; i++)
		lane.u32[i] = bits >> i & 1 ? UINT32_MAX : 0;
	return lane.m;
}

static __m128i select_8(unsigned bits)
{
	union lane lane;

	for (unsigned i = 0; i < 2; i++)
		lane.u64[i] = bits >> i & 1 ? UINT64_MAX : 0;
	return lane.m;
}

/* One step of a dot product in all lanes; exceptions of it are raised before there is a next. */
static enum cpu_result dot_step(struct cpu *cpu, const struct insn *insn, fp_fn *fn, enum tiny tiny,
				struct ymm *a, const struct ymm *b)
{
	struct fp fp;

	fp_begin(cpu, &fp);
	for (unsigned i = 0; i < vector_len(insn) / 16; i++) {
		a->lane[i].m = fn(&fp, a->lane[i].m, b->lane[i].m);
		fp_find_tiny(&fp, tiny, &a->lane[i], 16);
	}
	return fp_end(cpu, &fp);
}

/* Elements that are to be added: of pairs, then of halves. */
static void swap_neighbours(const struct ymm *vector, unsigned n_elements, struct ymm *ret)
{
	for (unsigned i = 0; i < 2; i++)
		ret->lane[i].m =
			n_elements == 2
				? _mm_shuffle_epi32(vector->lane[i].m, _MM_SHUFFLE(1, 0, 3, 2))
				: _mm_shuffle_epi32(vector->lane[i].m, _MM_SHUFFLE(2, 3, 0, 1));
}

/* Bits 7:4 of the immediate select products, 3:0 where the sum goes to; zeros raise nothing. */
static enum cpu_result dot(struct cpu *cpu, const struct insn *insn, bool is_double)
{
	__m128i (*select)(unsigned bits) = is_double ? select_8 : select_4;
	unsigned first = first_source(insn), imm = (uint8_t)insn->immediate;
	enum tiny tiny = is_double ? TINY_8 : TINY_4;
	struct ymm a, b;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE41_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, first + 1, vector_len(insn), wants_aligned(insn),
				     &b);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[first].reg, &a);
	for (unsigned i = 0; i < 2; i++) {
		a.lane[i].m = _mm_and_si128(a.lane[i].m, select(imm >> 4));
		b.lane[i].m = _mm_and_si128(b.lane[i].m, select(imm >> 4));
	}
	result = dot_step(cpu, insn, is_double ? mulpd : mulps, tiny, &a, &b);
	if (result == CPU_NEXT && !is_double) {
		swap_neighbours(&a, 4, &b);
		result = dot_step(cpu, insn, addps, tiny, &a, &b);
	}
	if (result == CPU_NEXT) {
		swap_neighbours(&a, 2, &b);
		result = dot_step(cpu, insn, is_double ? addpd : addps, tiny, &a, &b);
	}
	if (result != CPU_NEXT)
		return result;
	for (unsigned i = 0; i < 2; i++) {
		__m128i low = a.lane[i].m;

		low = is_double ? _mm_unpacklo_epi64(low, low) : _mm_shuffle_epi32(low, 0);
		a.lane[i].m = _mm_and_si128(low, select(imm));
	}
	vector_set(cpu, insn, insn->operand[0].reg, &a);
	return CPU_NEXT;
}

static enum cpu_result dpps(struct cpu *cpu, const struct insn *insn)
{
	return dot(cpu, insn, false);
}

static enum cpu_result dppd(struct cpu *cpu, const struct insn *insn)
{
	return dot(cpu, insn, true);
}

#define BOTH(name, exec) [ZYDIS_MNEMONIC_##name] = exec, [ZYDIS_MNEMONIC_V##name] = exec

static exec_fn *const table[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	BOTH(ROUNDPS, roundps), BOTH(ROUNDPD, roundpd), BOTH(ROUNDSS, roundss),
	BOTH(ROUNDSD, roundsd), BOTH(DPPS, dpps),	BOTH(DPPD, dppd),
};

exec_fn *round_find(ZydisMnemonic mnemonic)
{
	return table[mnemonic];
}
