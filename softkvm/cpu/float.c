// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * float.c - floating point of SSE and AVX
 *
 * Theory of operation.  The host's own instructions of SSE2 compute, under the guest's rounding,
 * flushing and denormals-are-zeros, all exceptions masked and their flags clear.  The flags that
 * result tell what the guest's masks make of it: results and flags are stored, or only flags and
 * #XF is raised (APM volume 1, 4.10).  Three things are not as if exceptions had been unmasked:
 *
 *  - unmasked, an exact result that is tiny is an underflow, too, and is not flushed: it is looked
 *    for;
 *  - flags of after the computation (OE, UE, PE) are not set, if an exception of before it (IE, DE,
 *    ZE) is unmasked: they are taken away;
 *  - unmasked, an overflow or underflow whose result were exact, had its exponent more bits, does
 *    not set PE.  Here it does.
 */
#include "float.h"

#define BEFORE (MXCSR_IE | MXCSR_DE | MXCSR_ZE)

FP(addps)
FP(addpd)
FP(addss)
FP(addsd)
FP(subps)
FP(subpd)
FP(subss)
FP(subsd)
FP(mulps)
FP(mulpd)
FP(mulss)
FP(mulsd)
FP(divps)
FP(divpd)
FP(divss)
FP(divsd)
FP(minps)
FP(minpd)
FP(minss)
FP(minsd)
FP(maxps)
FP(maxpd)
FP(maxss)
FP(maxsd)
FP(sqrtps)
FP(sqrtpd)
FP(sqrtss)
FP(sqrtsd)
FP(rcpps)
FP(rcpss)
FP(rsqrtps)
FP(rsqrtss)
FP(cvtdq2ps)
FP(cvtps2dq)
FP(cvttps2dq)
FP(cvtdq2pd)
FP(cvtps2pd)
FP(cvtpd2ps)
FP(cvtpd2dq)
FP(cvttpd2dq)
FP(cvtss2sd)
FP(cvtsd2ss)

/* Of the lower two elements of pairs and of the upper two. */
static __m128i evens_ps(__m128i a, __m128i b)
{
	return _mm_castps_si128(
		_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), _MM_SHUFFLE(2, 0, 2, 0)));
}

static __m128i odds_ps(__m128i a, __m128i b)
{
	return _mm_castps_si128(
		_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), _MM_SHUFFLE(3, 1, 3, 1)));
}

static __m128i haddps(struct fp *fp, __m128i a, __m128i b)
{
	return addps(fp, evens_ps(a, b), odds_ps(a, b));
}

static __m128i hsubps(struct fp *fp, __m128i a, __m128i b)
{
	return subps(fp, evens_ps(a, b), odds_ps(a, b));
}

static __m128i haddpd(struct fp *fp, __m128i a, __m128i b)
{
	return addpd(fp, _mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b));
}

static __m128i hsubpd(struct fp *fp, __m128i a, __m128i b)
{
	return subpd(fp, _mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b));
}

/* Zeros do not raise anything: elements are subtracted or added, not both. */
static __m128i addsub(struct fp *fp, __m128i a, __m128i b, __m128i odd, fp_fn *add, fp_fn *sub)
{
	__m128i sum = add(fp, _mm_and_si128(odd, a), _mm_and_si128(odd, b));
	__m128i difference = sub(fp, _mm_andnot_si128(odd, a), _mm_andnot_si128(odd, b));

	return _mm_or_si128(_mm_and_si128(odd, sum), _mm_andnot_si128(odd, difference));
}

static __m128i addsubps(struct fp *fp, __m128i a, __m128i b)
{
	return addsub(fp, a, b, _mm_set_epi32(-1, 0, -1, 0), addps, subps);
}

static __m128i addsubpd(struct fp *fp, __m128i a, __m128i b)
{
	return addsub(fp, a, b, _mm_set_epi32(-1, -1, 0, 0), addpd, subpd);
}

struct fp_op {
	exec_fn *exec;
	fp_fn *fn;
	uint8_t size; /* of what is loaded: 4, 8 (scalar); 16: all */
	uint8_t tiny; /* enum tiny: which results can underflow */
	uint8_t feature;
};

static const struct fp_op *find_op(unsigned mnemonic); /* in the table at the end */

void fp_begin(const struct cpu *cpu, struct fp *ret)
{
	uint32_t mxcsr = cpu->state.fpu.mxcsr;

	ret->finds_tiny = !(mxcsr & MXCSR_UM);
	if (ret->finds_tiny)
		mxcsr &= ~MXCSR_FZ;
	/* MXCSR.MM is of addresses only, and not every host has it. */
	ret->mxcsr = (mxcsr | MXCSR_MASKS) & ~(MXCSR_FLAGS | MXCSR_MM);
	ret->host = _mm_getcsr();
}

enum cpu_result fp_end(struct cpu *cpu, const struct fp *fp)
{
	uint32_t *mxcsr = &cpu->state.fpu.mxcsr, raised = fp->mxcsr & MXCSR_FLAGS;
	uint32_t unmasked = raised & ~(*mxcsr >> MXCSR_MASK_SHIFT);

	if (unmasked & BEFORE)
		raised &= BEFORE;
	*mxcsr |= raised;
	if (!unmasked)
		return CPU_NEXT;
	return cpu->state.cr4 & CR4_OSXMMEXCPT ? cpu_raise(cpu, VECTOR_XF, false, 0) : cpu_ud(cpu);
}

void fp_find_tiny(struct fp *fp, enum tiny tiny, const union lane *result, unsigned n)
{
	if (!fp->finds_tiny)
		return;
	for (unsigned i = 0; tiny == TINY_4 && i < n / 4; i++)
		if (!(result->u32[i] & 0x7f800000) && result->u32[i] & 0x007fffff)
			fp->mxcsr |= MXCSR_UE;
	for (unsigned i = 0; tiny == TINY_8 && i < n / 8; i++)
		if (!(result->u64[i] & 0x7ff0000000000000) && result->u64[i] & 0x000fffffffffffff)
			fp->mxcsr |= MXCSR_UE;
}

/* All elements of one vector, or of two. */
static enum cpu_result packed(struct cpu *cpu, const struct insn *insn, unsigned first)
{
	const struct fp_op *op = find_op(insn->mnemonic);
	struct ymm a, b, r = {0};
	struct fp fp;
	enum cpu_result result = vector_check(cpu, insn, op->feature);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, first + 1, vector_len(insn), wants_aligned(insn),
				     &b);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[first].reg, &a);
	fp_begin(cpu, &fp);
	for (unsigned i = 0; i < vector_len(insn) / 16; i++) {
		r.lane[i].m = op->fn(&fp, a.lane[i].m, b.lane[i].m);
		fp_find_tiny(&fp, op->tiny, &r.lane[i], 16);
	}
	result = fp_end(cpu, &fp);
	if (result == CPU_NEXT)
		vector_set(cpu, insn, insn->operand[0].reg, &r);
	return result;
}

static enum cpu_result binary(struct cpu *cpu, const struct insn *insn)
{
	return packed(cpu, insn, first_source(insn));
}

static enum cpu_result unary(struct cpu *cpu, const struct insn *insn)
{
	return packed(cpu, insn, 0);
}

/* The lowest element; the others are those of the first source. */
static enum cpu_result scalar(struct cpu *cpu, const struct insn *insn)
{
	const struct fp_op *op = find_op(insn->mnemonic);
	unsigned first = first_source(insn);
	struct ymm a, b, r = {0};
	struct fp fp;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, first + 1, op->size, false, &b);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[first].reg, &a);
	fp_begin(cpu, &fp);
	r.lane[0].m = op->fn(&fp, a.lane[0].m, b.lane[0].m);
	fp_find_tiny(&fp, op->tiny, &r.lane[0], op->tiny == TINY_8 ? 8 : 4);
	result = fp_end(cpu, &fp);
	if (result == CPU_NEXT)
		vector_set(cpu, insn, insn->operand[0].reg, &r);
	return result;
}

/* Four bytes become eight, in each element. */
static enum cpu_result widen(struct cpu *cpu, const struct insn *insn)
{
	const struct fp_op *op = find_op(insn->mnemonic);
	struct ymm b, r = {0};
	struct fp fp;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, vector_len(insn) / 2, false, &b);
	if (result != CPU_NEXT)
		return result;
	fp_begin(cpu, &fp);
	r.lane[0].m = op->fn(&fp, r.lane[0].m, b.lane[0].m);
	if (vector_len(insn) == 32)
		r.lane[1].m = op->fn(&fp, r.lane[1].m, _mm_srli_si128(b.lane[0].m, 8));
	result = fp_end(cpu, &fp);
	if (result == CPU_NEXT)
		vector_set(cpu, insn, insn->operand[0].reg, &r);
	return result;
}

/* Eight bytes become four; the rest of the register is cleared. */
static enum cpu_result narrow(struct cpu *cpu, const struct insn *insn)
{
	const struct fp_op *op = find_op(insn->mnemonic);
	struct ymm b, r = {0};
	struct fp fp;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, vector_len(insn), wants_aligned(insn), &b);
	if (result != CPU_NEXT)
		return result;
	fp_begin(cpu, &fp);
	for (unsigned i = 0; i < vector_len(insn) / 16; i++) {
		union lane half = {op->fn(&fp, r.lane[1].m, b.lane[i].m)};

		r.lane[0].u64[i] = half.u64[0];
	}
	fp_find_tiny(&fp, op->tiny, &r.lane[0], 16);
	result = fp_end(cpu, &fp);
	if (result == CPU_NEXT)
		vector_set(cpu, insn, insn->operand[0].reg, &r);
	return result;
}

/* An instruction and its form with VEX. */
#define ROW(name, ...)                                                                             \
	[ZYDIS_MNEMONIC_##name] = {__VA_ARGS__}, [ZYDIS_MNEMONIC_V##name] = {__VA_ARGS__}

/* clang-format off */
static const struct fp_op ops[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	ROW(ADDPS, binary, addps, 16, TINY_4, NEEDS_SSE_FLOAT),
	ROW(ADDPD, binary, addpd, 16, TINY_8, NEEDS_SSE_FLOAT),
	ROW(ADDSS, scalar, addss, 4, TINY_4, NEEDS_SSE_FLOAT),
	ROW(ADDSD, scalar, addsd, 8, TINY_8, NEEDS_SSE_FLOAT),
	ROW(SUBPS, binary, subps, 16, TINY_4, NEEDS_SSE_FLOAT),
	ROW(SUBPD, binary, subpd, 16, TINY_8, NEEDS_SSE_FLOAT),
	ROW(SUBSS, scalar, subss, 4, TINY_4, NEEDS_SSE_FLOAT),
	ROW(SUBSD, scalar, subsd, 8, TINY_8, NEEDS_SSE_FLOAT),
	ROW(MULPS, binary, mulps, 16, TINY_4, NEEDS_SSE_FLOAT),
	ROW(MULPD, binary, mulpd, 16, TINY_8, NEEDS_SSE_FLOAT),
	ROW(MULSS, scalar, mulss, 4, TINY_4, NEEDS_SSE_FLOAT),
	ROW(MULSD, scalar, mulsd, 8, TINY_8, NEEDS_SSE_FLOAT),
	ROW(DIVPS, binary, divps, 16, TINY_4, NEEDS_SSE_FLOAT),
	ROW(DIVPD, binary, divpd, 16, TINY_8, NEEDS_SSE_FLOAT),
	ROW(DIVSS, scalar, divss, 4, TINY_4, NEEDS_SSE_FLOAT),
	ROW(DIVSD, scalar, divsd, 8, TINY_8, NEEDS_SSE_FLOAT),
	ROW(MINPS, binary, minps, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(MINPD, binary, minpd, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(MINSS, scalar, minss, 4, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(MINSD, scalar, minsd, 8, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(MAXPS, binary, maxps, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(MAXPD, binary, maxpd, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(MAXSS, scalar, maxss, 4, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(MAXSD, scalar, maxsd, 8, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(SQRTPS, unary, sqrtps, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(SQRTPD, unary, sqrtpd, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(SQRTSS, scalar, sqrtss, 4, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(SQRTSD, scalar, sqrtsd, 8, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(RCPPS, unary, rcpps, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(RCPSS, scalar, rcpss, 4, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(RSQRTPS, unary, rsqrtps, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(RSQRTSS, scalar, rsqrtss, 4, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(HADDPS, binary, haddps, 16, TINY_4, NEEDS_SSE3_FLOAT),
	ROW(HADDPD, binary, haddpd, 16, TINY_8, NEEDS_SSE3_FLOAT),
	ROW(HSUBPS, binary, hsubps, 16, TINY_4, NEEDS_SSE3_FLOAT),
	ROW(HSUBPD, binary, hsubpd, 16, TINY_8, NEEDS_SSE3_FLOAT),
	ROW(ADDSUBPS, binary, addsubps, 16, TINY_4, NEEDS_SSE3_FLOAT),
	ROW(ADDSUBPD, binary, addsubpd, 16, TINY_8, NEEDS_SSE3_FLOAT),
	ROW(CVTDQ2PS, unary, cvtdq2ps, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(CVTPS2DQ, unary, cvtps2dq, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(CVTTPS2DQ, unary, cvttps2dq, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(CVTDQ2PD, widen, cvtdq2pd, 8, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(CVTPS2PD, widen, cvtps2pd, 8, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(CVTPD2PS, narrow, cvtpd2ps, 16, TINY_4, NEEDS_SSE_FLOAT),
	ROW(CVTPD2DQ, narrow, cvtpd2dq, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(CVTTPD2DQ, narrow, cvttpd2dq, 16, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(CVTSS2SD, scalar, cvtss2sd, 4, NEVER_TINY, NEEDS_SSE_FLOAT),
	ROW(CVTSD2SS, scalar, cvtsd2ss, 8, TINY_4, NEEDS_SSE_FLOAT),
};
/* clang-format on */

static const struct fp_op *find_op(unsigned mnemonic)
{
	return &ops[mnemonic];
}

exec_fn *float_find(ZydisMnemonic mnemonic)
{
	return ops[mnemonic].exec;
}
