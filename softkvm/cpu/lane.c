// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lane.c - integer arithmetic, logic, shuffles: what is done alike in each 128 bits
 *
 * A row of the table is an instruction without V and the one with it; lane_fn computes 128 bits of
 * its result.  SSE2 is done by the host's own instruction, what came later in C.
 */
#include "vector.h"

/* b is the second operand (of unary instructions: the only one), imm the immediate byte. */
typedef __m128i lane_fn(__m128i a, __m128i b, unsigned imm);

struct lane_op {
	exec_fn *exec;
	lane_fn *fn;
	lane_fn *by_imm;  /* with an immediate in the place of b, of VPERMILPx */
	uint8_t feature;  /* enum vector_feature */
	uint8_t imm_bits; /* of the immediate are for one lane; 0: all are for both */
};

static const struct lane_op *find_op(unsigned mnemonic); /* in the table at the end */

/* Intrinsics have no address: a function for each. */
#define BINARY(name, intrinsic)                                                                    \
	static __m128i name(__m128i a, __m128i b, unsigned imm)                                    \
	{                                                                                          \
		(void)imm;                                                                         \
		return intrinsic(a, b);                                                            \
	}

BINARY(paddb, _mm_add_epi8)
BINARY(paddw, _mm_add_epi16)
BINARY(paddd, _mm_add_epi32)
BINARY(paddq, _mm_add_epi64)
BINARY(paddsb, _mm_adds_epi8)
BINARY(paddsw, _mm_adds_epi16)
BINARY(paddusb, _mm_adds_epu8)
BINARY(paddusw, _mm_adds_epu16)
BINARY(psubb, _mm_sub_epi8)
BINARY(psubw, _mm_sub_epi16)
BINARY(psubd, _mm_sub_epi32)
BINARY(psubq, _mm_sub_epi64)
BINARY(psubsb, _mm_subs_epi8)
BINARY(psubsw, _mm_subs_epi16)
BINARY(psubusb, _mm_subs_epu8)
BINARY(psubusw, _mm_subs_epu16)
BINARY(pmullw, _mm_mullo_epi16)
BINARY(pmulhw, _mm_mulhi_epi16)
BINARY(pmulhuw, _mm_mulhi_epu16)
BINARY(pmuludq, _mm_mul_epu32)
BINARY(pmaddwd, _mm_madd_epi16)
BINARY(psadbw, _mm_sad_epu8)
BINARY(pavgb, _mm_avg_epu8)
BINARY(pavgw, _mm_avg_epu16)
BINARY(pminub, _mm_min_epu8)
BINARY(pminsw, _mm_min_epi16)
BINARY(pmaxub, _mm_max_epu8)
BINARY(pmaxsw, _mm_max_epi16)
BINARY(pcmpeqb, _mm_cmpeq_epi8)
BINARY(pcmpeqw, _mm_cmpeq_epi16)
BINARY(pcmpeqd, _mm_cmpeq_epi32)
BINARY(pcmpgtb, _mm_cmpgt_epi8)
BINARY(pcmpgtw, _mm_cmpgt_epi16)
BINARY(pcmpgtd, _mm_cmpgt_epi32)
BINARY(pand, _mm_and_si128)
BINARY(pandn, _mm_andnot_si128)
BINARY(por, _mm_or_si128)
BINARY(pxor, _mm_xor_si128)
BINARY(punpcklbw, _mm_unpacklo_epi8)
BINARY(punpcklwd, _mm_unpacklo_epi16)
BINARY(punpckldq, _mm_unpacklo_epi32)
BINARY(punpcklqdq, _mm_unpacklo_epi64)
BINARY(punpckhbw, _mm_unpackhi_epi8)
BINARY(punpckhwd, _mm_unpackhi_epi16)
BINARY(punpckhdq, _mm_unpackhi_epi32)
BINARY(punpckhqdq, _mm_unpackhi_epi64)
BINARY(packsswb, _mm_packs_epi16)
BINARY(packssdw, _mm_packs_epi32)
BINARY(packuswb, _mm_packus_epi16)
/* The count is the lower half of b. */
BINARY(psllw, _mm_sll_epi16)
BINARY(pslld, _mm_sll_epi32)
BINARY(psllq, _mm_sll_epi64)
BINARY(psrlw, _mm_srl_epi16)
BINARY(psrld, _mm_srl_epi32)
BINARY(psrlq, _mm_srl_epi64)
BINARY(psraw, _mm_sra_epi16)
BINARY(psrad, _mm_sra_epi32)

/* An element for each of a and b. */
#define EACH(name, member, expression)                                                             \
	static __m128i name(__m128i a_, __m128i b_, unsigned imm)                                  \
	{                                                                                          \
		const union lane a = {a_}, b = {b_};                                               \
		union lane r;                                                                      \
                                                                                                   \
		(void)imm;                                                                         \
		(void)a;                                                                           \
		for (unsigned i = 0; i < sizeof(r) / sizeof(r.member[0]); i++)                     \
			r.member[i] = (expression);                                                \
		return r.m;                                                                        \
	}

static int16_t saturate16(int32_t value)
{
	if (value > INT16_MAX)
		return INT16_MAX;
	return value < INT16_MIN ? INT16_MIN : (int16_t)value;
}

static uint16_t saturate_u16(int32_t value)
{
	if (value > UINT16_MAX)
		return UINT16_MAX;
	return value < 0 ? 0 : (uint16_t)value;
}

/* Element i of the eight pairs that horizontal instructions work on: those of a, then b. */
static const int16_t *pair16(const union lane *a, const union lane *b, unsigned i)
{
	return &(i < 4 ? a : b)->i16[2 * (i & 3)];
}

static const uint32_t *pair32(const union lane *a, const union lane *b, unsigned i)
{
	return &(i < 2 ? a : b)->u32[2 * (i & 1)];
}

static int32_t sign(int32_t value, int32_t of)
{
	if (of == 0)
		return 0;
	return of < 0 ? (int32_t) - (uint32_t)value : value;
}

EACH(pshufb, u8, b.u8[i] & 0x80 ? 0 : a.u8[b.u8[i] & 15])
EACH(phaddw, i16, (int16_t)(pair16(&a, &b, i)[0] + pair16(&a, &b, i)[1]))
EACH(phaddsw, i16, saturate16(pair16(&a, &b, i)[0] + pair16(&a, &b, i)[1]))
EACH(phaddd, u32, pair32(&a, &b, i)[0] + pair32(&a, &b, i)[1])
EACH(phsubw, i16, (int16_t)(pair16(&a, &b, i)[0] - pair16(&a, &b, i)[1]))
EACH(phsubsw, i16, saturate16(pair16(&a, &b, i)[0] - pair16(&a, &b, i)[1]))
EACH(phsubd, u32, pair32(&a, &b, i)[0] - pair32(&a, &b, i)[1])
EACH(pmaddubsw, i16, saturate16(a.u8[2 * i] * b.i8[2 * i] + a.u8[2 * i + 1] * b.i8[2 * i + 1]))
EACH(pmulhrsw, i16, (int16_t)(((a.i16[i] * b.i16[i] >> 14) + 1) >> 1))
EACH(psignb, i8, (int8_t)sign(a.i8[i], b.i8[i]))
EACH(psignw, i16, (int16_t)sign(a.i16[i], b.i16[i]))
EACH(psignd, i32, sign(a.i32[i], b.i32[i]))
EACH(pabsb, i8, (int8_t)sign(b.i8[i], b.i8[i]))
EACH(pabsw, i16, (int16_t)sign(b.i16[i], b.i16[i]))
EACH(pabsd, i32, sign(b.i32[i], b.i32[i]))
EACH(pminsb, i8, a.i8[i] < b.i8[i] ? a.i8[i] : b.i8[i])
EACH(pminuw, u16, a.u16[i] < b.u16[i] ? a.u16[i] : b.u16[i])
EACH(pminsd, i32, a.i32[i] < b.i32[i] ? a.i32[i] : b.i32[i])
EACH(pminud, u32, a.u32[i] < b.u32[i] ? a.u32[i] : b.u32[i])
EACH(pmaxsb, i8, a.i8[i] > b.i8[i] ? a.i8[i] : b.i8[i])
EACH(pmaxuw, u16, a.u16[i] > b.u16[i] ? a.u16[i] : b.u16[i])
EACH(pmaxsd, i32, a.i32[i] > b.i32[i] ? a.i32[i] : b.i32[i])
EACH(pmaxud, u32, a.u32[i] > b.u32[i] ? a.u32[i] : b.u32[i])
EACH(pmulld, u32, a.u32[i] * b.u32[i])
EACH(pmuldq, i64, (int64_t)a.i32[2 * i] * b.i32[2 * i])
EACH(pcmpeqq, i64, -(a.i64[i] == b.i64[i]))
EACH(pcmpgtq, i64, -(a.i64[i] > b.i64[i]))
EACH(packusdw, u16, saturate_u16((i < 4 ? &a : &b)->i32[i & 3]))
EACH(pblendw, u16, (imm >> i & 1 ? &b : &a)->u16[i])
EACH(blendps, u32, (imm >> i & 1 ? &b : &a)->u32[i])
EACH(blendpd, u64, (imm >> i & 1 ? &b : &a)->u64[i])
EACH(pshufd, u32, b.u32[imm >> 2 * i & 3])
EACH(pshuflw, u16, i < 4 ? b.u16[imm >> 2 * i & 3] : b.u16[i])
EACH(pshufhw, u16, i < 4 ? b.u16[i] : b.u16[4 + (imm >> 2 * (i - 4) & 3)])
EACH(shufps, u32, (i < 2 ? &a : &b)->u32[imm >> 2 * i & 3])
EACH(shufpd, u64, (i < 1 ? &a : &b)->u64[imm >> i & 1])
EACH(movsldup, u32, b.u32[i & ~1u])
EACH(movshdup, u32, b.u32[i | 1])
EACH(vpsllvd, u32, b.u32[i] < 32 ? a.u32[i] << b.u32[i] : 0)
EACH(vpsllvq, u64, b.u64[i] < 64 ? a.u64[i] << b.u64[i] : 0)
EACH(vpsrlvd, u32, b.u32[i] < 32 ? a.u32[i] >> b.u32[i] : 0)
EACH(vpsrlvq, u64, b.u64[i] < 64 ? a.u64[i] >> b.u64[i] : 0)
EACH(vpsravd, i32, a.i32[i] >> (b.u32[i] < 32 ? b.u32[i] : 31))
EACH(vpermilps, u32, a.u32[b.u32[i] & 3])
EACH(vpermilpd, u64, a.u64[b.u64[i] >> 1 & 1])
EACH(vpermilps_imm, u32, b.u32[imm >> 2 * i & 3])
EACH(vpermilpd_imm, u64, b.u64[imm >> i & 1])

/* Bytes of b:a, from byte `imm` on. */
static __m128i align(__m128i low, __m128i high, unsigned imm)
{
	const union lane source[2] = {{low}, {high}};
	union lane r;

	for (unsigned i = 0; i < 16; i++)
		r.u8[i] = i + imm < 32 ? source[(i + imm) / 16].u8[(i + imm) % 16] : 0;
	return r.m;
}

static __m128i palignr(__m128i a, __m128i b, unsigned imm)
{
	return align(b, a, imm);
}

static __m128i pslldq(__m128i a, __m128i b, unsigned imm)
{
	(void)b;
	return align(_mm_setzero_si128(), a, imm < 16 ? 16 - imm : 0);
}

static __m128i psrldq(__m128i a, __m128i b, unsigned imm)
{
	(void)b;
	return align(a, _mm_setzero_si128(), imm);
}

static __m128i phminposuw(__m128i a, __m128i b, unsigned imm)
{
	const union lane source = {b};
	union lane r = {_mm_setzero_si128()};

	(void)a;
	(void)imm;
	for (unsigned i = 1; i < 8; i++)
		if (source.u16[i] < source.u16[r.u16[1]])
			r.u16[1] = (uint16_t)i;
	r.u16[0] = source.u16[r.u16[1]];
	return r.m;
}

static __m128i mpsadbw(__m128i a_, __m128i b_, unsigned imm)
{
	const union lane a = {a_}, b = {b_};
	unsigned from_a = imm & 4, from_b = 4 * (imm & 3);
	union lane r;

	for (unsigned i = 0; i < 8; i++) {
		unsigned sum = 0;

		for (unsigned j = 0; j < 4; j++) {
			int difference = a.u8[from_a + i + j] - b.u8[from_b + j];

			sum += (unsigned)(difference < 0 ? -difference : difference);
		}
		r.u16[i] = (uint16_t)sum;
	}
	return r.m;
}

static void each_lane(const struct insn *insn, lane_fn *fn, unsigned imm_bits, const struct ymm *a,
		      const struct ymm *b, struct ymm *ret)
{
	unsigned imm = (uint8_t)insn->immediate;

	for (unsigned i = 0; i < vector_len(insn) / 16; i++)
		ret->lane[i].m = fn(a->lane[i].m, b->lane[i].m, imm >> i * imm_bits);
}

static enum cpu_result binary(struct cpu *cpu, const struct insn *insn)
{
	const struct lane_op *op = find_op(insn->mnemonic);
	unsigned first = first_source(insn);
	struct ymm a, b, r;
	enum cpu_result result = vector_check(cpu, insn, op->feature);

	if (result != CPU_NEXT)
		return result;
	if (!is_xmm(insn, 0))
		return CPU_IS_UNKNOWN;
	result = vector_load(cpu, insn, first + 1, vector_len(insn), wants_aligned(insn), &b);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[first].reg, &a);
	each_lane(insn, op->fn, op->imm_bits, &a, &b, &r);
	vector_set(cpu, insn, insn->operand[0].reg, &r);
	return CPU_NEXT;
}

static enum cpu_result unary(struct cpu *cpu, const struct insn *insn)
{
	const struct lane_op *op = find_op(insn->mnemonic);
	struct ymm b, r;
	enum cpu_result result = vector_check(cpu, insn, op->feature);

	if (result != CPU_NEXT)
		return result;
	if (!is_xmm(insn, 0))
		return CPU_IS_UNKNOWN;
	result = vector_load(cpu, insn, 1, vector_len(insn), wants_aligned(insn), &b);
	if (result != CPU_NEXT)
		return result;
	each_lane(insn, op->by_imm ? op->by_imm : op->fn, op->imm_bits, &b, &b, &r);
	vector_set(cpu, insn, insn->operand[0].reg, &r);
	return CPU_NEXT;
}

/* By an immediate, or by a number in 128 bits that is the same for both lanes. */
static enum cpu_result shift(struct cpu *cpu, const struct insn *insn)
{
	const struct lane_op *op = find_op(insn->mnemonic);
	unsigned first = first_source(insn);
	struct ymm a, b = {{{_mm_cvtsi32_si128((uint8_t)insn->immediate)}}}, r;
	enum cpu_result result = vector_check(cpu, insn, op->feature);

	if (result != CPU_NEXT)
		return result;
	if (!is_xmm(insn, 0))
		return CPU_IS_UNKNOWN;
	if (insn->operand[first + 1].kind != OPERAND_IMMEDIATE) {
		result = vector_load(cpu, insn, first + 1, 16, wants_aligned(insn), &b);
		if (result != CPU_NEXT)
			return result;
	}
	b.lane[1] = b.lane[0];
	vector_get(cpu, insn->operand[first].reg, &a);
	each_lane(insn, op->fn, op->imm_bits, &a, &b, &r);
	vector_set(cpu, insn, insn->operand[0].reg, &r);
	return CPU_NEXT;
}

/* By an immediate, or by a vector of numbers. */
static enum cpu_result permil(struct cpu *cpu, const struct insn *insn)
{
	return insn->operand[2].kind == OPERAND_IMMEDIATE ? unary(cpu, insn) : binary(cpu, insn);
}

/* An instruction and its form with VEX. */
#define ROW(name, ...)                                                                             \
	[ZYDIS_MNEMONIC_##name] = {__VA_ARGS__}, [ZYDIS_MNEMONIC_V##name] = {__VA_ARGS__}

/* clang-format off */
static const struct lane_op ops[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	ROW(PADDB, binary, paddb, NULL, NEEDS_SSE, 0),
	ROW(PADDW, binary, paddw, NULL, NEEDS_SSE, 0),
	ROW(PADDD, binary, paddd, NULL, NEEDS_SSE, 0),
	ROW(PADDQ, binary, paddq, NULL, NEEDS_SSE, 0),
	ROW(PADDSB, binary, paddsb, NULL, NEEDS_SSE, 0),
	ROW(PADDSW, binary, paddsw, NULL, NEEDS_SSE, 0),
	ROW(PADDUSB, binary, paddusb, NULL, NEEDS_SSE, 0),
	ROW(PADDUSW, binary, paddusw, NULL, NEEDS_SSE, 0),
	ROW(PSUBB, binary, psubb, NULL, NEEDS_SSE, 0),
	ROW(PSUBW, binary, psubw, NULL, NEEDS_SSE, 0),
	ROW(PSUBD, binary, psubd, NULL, NEEDS_SSE, 0),
	ROW(PSUBQ, binary, psubq, NULL, NEEDS_SSE, 0),
	ROW(PSUBSB, binary, psubsb, NULL, NEEDS_SSE, 0),
	ROW(PSUBSW, binary, psubsw, NULL, NEEDS_SSE, 0),
	ROW(PSUBUSB, binary, psubusb, NULL, NEEDS_SSE, 0),
	ROW(PSUBUSW, binary, psubusw, NULL, NEEDS_SSE, 0),
	ROW(PMULLW, binary, pmullw, NULL, NEEDS_SSE, 0),
	ROW(PMULHW, binary, pmulhw, NULL, NEEDS_SSE, 0),
	ROW(PMULHUW, binary, pmulhuw, NULL, NEEDS_SSE, 0),
	ROW(PMULUDQ, binary, pmuludq, NULL, NEEDS_SSE, 0),
	ROW(PMADDWD, binary, pmaddwd, NULL, NEEDS_SSE, 0),
	ROW(PSADBW, binary, psadbw, NULL, NEEDS_SSE, 0),
	ROW(PAVGB, binary, pavgb, NULL, NEEDS_SSE, 0),
	ROW(PAVGW, binary, pavgw, NULL, NEEDS_SSE, 0),
	ROW(PMINUB, binary, pminub, NULL, NEEDS_SSE, 0),
	ROW(PMINSW, binary, pminsw, NULL, NEEDS_SSE, 0),
	ROW(PMAXUB, binary, pmaxub, NULL, NEEDS_SSE, 0),
	ROW(PMAXSW, binary, pmaxsw, NULL, NEEDS_SSE, 0),
	ROW(PCMPEQB, binary, pcmpeqb, NULL, NEEDS_SSE, 0),
	ROW(PCMPEQW, binary, pcmpeqw, NULL, NEEDS_SSE, 0),
	ROW(PCMPEQD, binary, pcmpeqd, NULL, NEEDS_SSE, 0),
	ROW(PCMPGTB, binary, pcmpgtb, NULL, NEEDS_SSE, 0),
	ROW(PCMPGTW, binary, pcmpgtw, NULL, NEEDS_SSE, 0),
	ROW(PCMPGTD, binary, pcmpgtd, NULL, NEEDS_SSE, 0),
	ROW(PAND, binary, pand, NULL, NEEDS_SSE, 0),
	ROW(PANDN, binary, pandn, NULL, NEEDS_SSE, 0),
	ROW(POR, binary, por, NULL, NEEDS_SSE, 0),
	ROW(PXOR, binary, pxor, NULL, NEEDS_SSE, 0),
	ROW(PUNPCKLBW, binary, punpcklbw, NULL, NEEDS_SSE, 0),
	ROW(PUNPCKLWD, binary, punpcklwd, NULL, NEEDS_SSE, 0),
	ROW(PUNPCKLDQ, binary, punpckldq, NULL, NEEDS_SSE, 0),
	ROW(PUNPCKLQDQ, binary, punpcklqdq, NULL, NEEDS_SSE, 0),
	ROW(PUNPCKHBW, binary, punpckhbw, NULL, NEEDS_SSE, 0),
	ROW(PUNPCKHWD, binary, punpckhwd, NULL, NEEDS_SSE, 0),
	ROW(PUNPCKHDQ, binary, punpckhdq, NULL, NEEDS_SSE, 0),
	ROW(PUNPCKHQDQ, binary, punpckhqdq, NULL, NEEDS_SSE, 0),
	ROW(PACKSSWB, binary, packsswb, NULL, NEEDS_SSE, 0),
	ROW(PACKSSDW, binary, packssdw, NULL, NEEDS_SSE, 0),
	ROW(PACKUSWB, binary, packuswb, NULL, NEEDS_SSE, 0),
	ROW(PSLLW, shift, psllw, NULL, NEEDS_SSE, 0),
	ROW(PSLLD, shift, pslld, NULL, NEEDS_SSE, 0),
	ROW(PSLLQ, shift, psllq, NULL, NEEDS_SSE, 0),
	ROW(PSRLW, shift, psrlw, NULL, NEEDS_SSE, 0),
	ROW(PSRLD, shift, psrld, NULL, NEEDS_SSE, 0),
	ROW(PSRLQ, shift, psrlq, NULL, NEEDS_SSE, 0),
	ROW(PSRAW, shift, psraw, NULL, NEEDS_SSE, 0),
	ROW(PSRAD, shift, psrad, NULL, NEEDS_SSE, 0),
	ROW(PSLLDQ, shift, pslldq, NULL, NEEDS_SSE, 0),
	ROW(PSRLDQ, shift, psrldq, NULL, NEEDS_SSE, 0),
	ROW(PSHUFD, unary, pshufd, NULL, NEEDS_SSE, 0),
	ROW(PSHUFLW, unary, pshuflw, NULL, NEEDS_SSE, 0),
	ROW(PSHUFHW, unary, pshufhw, NULL, NEEDS_SSE, 0),
	ROW(ANDPS, binary, pand, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(ANDPD, binary, pand, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(ANDNPS, binary, pandn, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(ANDNPD, binary, pandn, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(ORPS, binary, por, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(ORPD, binary, por, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(XORPS, binary, pxor, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(XORPD, binary, pxor, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(UNPCKLPS, binary, punpckldq, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(UNPCKLPD, binary, punpcklqdq, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(UNPCKHPS, binary, punpckhdq, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(UNPCKHPD, binary, punpckhqdq, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(SHUFPS, binary, shufps, NULL, NEEDS_SSE_FLOAT, 0),
	ROW(SHUFPD, binary, shufpd, NULL, NEEDS_SSE_FLOAT, 2),
	ROW(MOVSLDUP, unary, movsldup, NULL, NEEDS_SSE3_FLOAT, 0),
	ROW(MOVSHDUP, unary, movshdup, NULL, NEEDS_SSE3_FLOAT, 0),
	ROW(PSHUFB, binary, pshufb, NULL, NEEDS_SSSE3, 0),
	ROW(PHADDW, binary, phaddw, NULL, NEEDS_SSSE3, 0),
	ROW(PHADDSW, binary, phaddsw, NULL, NEEDS_SSSE3, 0),
	ROW(PHADDD, binary, phaddd, NULL, NEEDS_SSSE3, 0),
	ROW(PHSUBW, binary, phsubw, NULL, NEEDS_SSSE3, 0),
	ROW(PHSUBSW, binary, phsubsw, NULL, NEEDS_SSSE3, 0),
	ROW(PHSUBD, binary, phsubd, NULL, NEEDS_SSSE3, 0),
	ROW(PMADDUBSW, binary, pmaddubsw, NULL, NEEDS_SSSE3, 0),
	ROW(PMULHRSW, binary, pmulhrsw, NULL, NEEDS_SSSE3, 0),
	ROW(PSIGNB, binary, psignb, NULL, NEEDS_SSSE3, 0),
	ROW(PSIGNW, binary, psignw, NULL, NEEDS_SSSE3, 0),
	ROW(PSIGND, binary, psignd, NULL, NEEDS_SSSE3, 0),
	ROW(PALIGNR, binary, palignr, NULL, NEEDS_SSSE3, 0),
	ROW(PABSB, unary, pabsb, NULL, NEEDS_SSSE3, 0),
	ROW(PABSW, unary, pabsw, NULL, NEEDS_SSSE3, 0),
	ROW(PABSD, unary, pabsd, NULL, NEEDS_SSSE3, 0),
	ROW(PMINSB, binary, pminsb, NULL, NEEDS_SSE41, 0),
	ROW(PMINUW, binary, pminuw, NULL, NEEDS_SSE41, 0),
	ROW(PMINSD, binary, pminsd, NULL, NEEDS_SSE41, 0),
	ROW(PMINUD, binary, pminud, NULL, NEEDS_SSE41, 0),
	ROW(PMAXSB, binary, pmaxsb, NULL, NEEDS_SSE41, 0),
	ROW(PMAXUW, binary, pmaxuw, NULL, NEEDS_SSE41, 0),
	ROW(PMAXSD, binary, pmaxsd, NULL, NEEDS_SSE41, 0),
	ROW(PMAXUD, binary, pmaxud, NULL, NEEDS_SSE41, 0),
	ROW(PMULLD, binary, pmulld, NULL, NEEDS_SSE41, 0),
	ROW(PMULDQ, binary, pmuldq, NULL, NEEDS_SSE41, 0),
	ROW(PCMPEQQ, binary, pcmpeqq, NULL, NEEDS_SSE41, 0),
	ROW(PACKUSDW, binary, packusdw, NULL, NEEDS_SSE41, 0),
	ROW(PBLENDW, binary, pblendw, NULL, NEEDS_SSE41, 0),
	ROW(MPSADBW, binary, mpsadbw, NULL, NEEDS_SSE41, 3),
	ROW(PHMINPOSUW, unary, phminposuw, NULL, NEEDS_SSE41, 0),
	ROW(BLENDPS, binary, blendps, NULL, NEEDS_SSE41_FLOAT, 4),
	ROW(BLENDPD, binary, blendpd, NULL, NEEDS_SSE41_FLOAT, 2),
	ROW(PCMPGTQ, binary, pcmpgtq, NULL, NEEDS_SSE42, 0),
	[ZYDIS_MNEMONIC_VPSLLVD] = {binary, vpsllvd, NULL, NEEDS_AVX2, 0},
	[ZYDIS_MNEMONIC_VPSLLVQ] = {binary, vpsllvq, NULL, NEEDS_AVX2, 0},
	[ZYDIS_MNEMONIC_VPSRLVD] = {binary, vpsrlvd, NULL, NEEDS_AVX2, 0},
	[ZYDIS_MNEMONIC_VPSRLVQ] = {binary, vpsrlvq, NULL, NEEDS_AVX2, 0},
	[ZYDIS_MNEMONIC_VPSRAVD] = {binary, vpsravd, NULL, NEEDS_AVX2, 0},
	[ZYDIS_MNEMONIC_VPBLENDD] = {binary, blendps, NULL, NEEDS_AVX2, 4},
	[ZYDIS_MNEMONIC_VPERMILPS] = {permil, vpermilps, vpermilps_imm, NEEDS_AVX, 0},
	[ZYDIS_MNEMONIC_VPERMILPD] = {permil, vpermilpd, vpermilpd_imm, NEEDS_AVX, 2},
};
/* clang-format on */

static const struct lane_op *find_op(unsigned mnemonic)
{
	return &ops[mnemonic];
}

exec_fn *lane_find(ZydisMnemonic mnemonic)
{
	return ops[mnemonic].exec;
}
