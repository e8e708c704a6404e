// SPDX-License-Identifier: GPL-2.0-or-later
/* permute.c - what crosses lanes, and what does not fit lane.c's pattern otherwise */
#include "vector.h"

#include <string.h>

/* Elements of `from` bytes become elements of `to` bytes. */
static enum cpu_result extend(struct cpu *cpu, const struct insn *insn, unsigned from, unsigned to,
			      bool is_signed)
{
	unsigned n = vector_len(insn) / to;
	struct ymm source, value = {0};
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE41);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, n * from, false, &source);
	if (result != CPU_NEXT)
		return result;
	for (unsigned i = 0; i < n; i++) {
		uint8_t *element = (uint8_t *)&value + i * to;

		memcpy(element, (uint8_t *)&source + i * from, from);
		if (is_signed && element[from - 1] & 0x80)
			memset(element + from, 0xff, to - from);
	}
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

#define EXTEND(name, from, to)                                                                     \
	static enum cpu_result pmovsx##name(struct cpu *cpu, const struct insn *insn)              \
	{                                                                                          \
		return extend(cpu, insn, from, to, true);                                          \
	}                                                                                          \
	static enum cpu_result pmovzx##name(struct cpu *cpu, const struct insn *insn)              \
	{                                                                                          \
		return extend(cpu, insn, from, to, false);                                         \
	}

EXTEND(bw, 1, 2)
EXTEND(bd, 1, 4)
EXTEND(bq, 1, 8)
EXTEND(wd, 2, 4)
EXTEND(wq, 2, 8)
EXTEND(dq, 4, 8)

static enum cpu_result broadcast(struct cpu *cpu, const struct insn *insn, unsigned size,
				 enum vector_feature feature)
{
	struct ymm source, value = {0};
	enum cpu_result result = vector_check(cpu, insn, feature);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, size, false, &source);
	if (result != CPU_NEXT)
		return result;
	for (unsigned i = 0; i < vector_len(insn); i += size)
		memcpy((uint8_t *)&value + i, &source, size);
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

/* That from a register came with AVX2. */
static enum cpu_result vbroadcastss(struct cpu *cpu, const struct insn *insn)
{
	return broadcast(cpu, insn, 4, is_xmm(insn, 1) ? NEEDS_AVX2 : NEEDS_AVX);
}

static enum cpu_result vbroadcastsd(struct cpu *cpu, const struct insn *insn)
{
	return broadcast(cpu, insn, 8, is_xmm(insn, 1) ? NEEDS_AVX2 : NEEDS_AVX);
}

static enum cpu_result vbroadcastf128(struct cpu *cpu, const struct insn *insn)
{
	return broadcast(cpu, insn, 16, NEEDS_AVX);
}

static enum cpu_result vbroadcasti128(struct cpu *cpu, const struct insn *insn)
{
	return broadcast(cpu, insn, 16, NEEDS_AVX2);
}

static enum cpu_result vpbroadcastb(struct cpu *cpu, const struct insn *insn)
{
	return broadcast(cpu, insn, 1, NEEDS_AVX2);
}

static enum cpu_result vpbroadcastw(struct cpu *cpu, const struct insn *insn)
{
	return broadcast(cpu, insn, 2, NEEDS_AVX2);
}

static enum cpu_result vpbroadcastd(struct cpu *cpu, const struct insn *insn)
{
	return broadcast(cpu, insn, 4, NEEDS_AVX2);
}

static enum cpu_result vpbroadcastq(struct cpu *cpu, const struct insn *insn)
{
	return broadcast(cpu, insn, 8, NEEDS_AVX2);
}

/* Instructions "128" of floating point are AVX's, of integers AVX2's. */
static enum vector_feature needs_128(const struct insn *insn)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_VINSERTI128:
	case ZYDIS_MNEMONIC_VEXTRACTI128:
	case ZYDIS_MNEMONIC_VPERM2I128:
		return NEEDS_AVX2;
	default:
		return NEEDS_AVX;
	}
}

static enum cpu_result insert128(struct cpu *cpu, const struct insn *insn)
{
	struct ymm source, value;
	enum cpu_result result = vector_check(cpu, insn, needs_128(insn));

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 2, 16, false, &source);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[1].reg, &value);
	value.lane[insn->immediate & 1] = source.lane[0];
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

static enum cpu_result extract128(struct cpu *cpu, const struct insn *insn)
{
	struct ymm source, value = {0};
	enum cpu_result result = vector_check(cpu, insn, needs_128(insn));

	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[1].reg, &source);
	value.lane[0] = source.lane[insn->immediate & 1];
	return vector_store(cpu, insn, 0, 16, false, &value);
}

/* Either half is one of four; bits 3 and 7: zeros. */
static enum cpu_result permute128(struct cpu *cpu, const struct insn *insn)
{
	unsigned imm = (uint8_t)insn->immediate;
	struct ymm source[2], value = {0};
	enum cpu_result result = vector_check(cpu, insn, needs_128(insn));

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 2, 32, false, &source[1]);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[1].reg, &source[0]);
	for (unsigned i = 0; i < 2; i++, imm >>= 4)
		if (!(imm & 8))
			value.lane[i] = source[imm >> 1 & 1].lane[imm & 1];
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

/* VPERMQ, VPERMPD */
static enum cpu_result permute64(struct cpu *cpu, const struct insn *insn)
{
	unsigned imm = (uint8_t)insn->immediate;
	struct ymm source, value;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_AVX2);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, 32, false, &source);
	if (result != CPU_NEXT)
		return result;
	for (unsigned i = 0; i < 4; i++, imm >>= 2)
		value.lane[i / 2].u64[i % 2] = source.lane[imm >> 1 & 1].u64[imm & 1];
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

/* VPERMD, VPERMPS */
static enum cpu_result permute32(struct cpu *cpu, const struct insn *insn)
{
	struct ymm index, source, value;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_AVX2);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 2, 32, false, &source);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[1].reg, &index);
	for (unsigned i = 0; i < 8; i++) {
		unsigned from = index.lane[i / 4].u32[i % 4] & 7;

		value.lane[i / 4].u32[i % 4] = source.lane[from / 4].u32[from % 4];
	}
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

/* ZF: a and b have no bit in common; CF: b has none that a has not.  Of bits in mask. */
static enum cpu_result test(struct cpu *cpu, const struct insn *insn, uint64_t mask,
			    enum vector_feature feature)
{
	struct ymm a, b;
	uint64_t both = 0, only_b = 0;
	enum cpu_result result = vector_check(cpu, insn, feature);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, vector_len(insn), wants_aligned(insn), &b);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[0].reg, &a);
	for (unsigned i = 0; i < vector_len(insn) / 8; i++) {
		uint64_t in_a = a.lane[i / 2].u64[i % 2], in_b = b.lane[i / 2].u64[i % 2];

		both |= in_b & in_a;
		only_b |= in_b & ~in_a;
	}
	cpu->state.rflags &= ~(FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF);
	cpu->state.rflags |= (both & mask ? 0 : FLAG_ZF) | (only_b & mask ? 0 : FLAG_CF);
	return CPU_NEXT;
}

static enum cpu_result ptest(struct cpu *cpu, const struct insn *insn)
{
	return test(cpu, insn, UINT64_MAX, NEEDS_SSE41_FLOAT);
}

static enum cpu_result vtestps(struct cpu *cpu, const struct insn *insn)
{
	return test(cpu, insn, 1ull << 63 | 1ull << 31, NEEDS_AVX);
}

static enum cpu_result vtestpd(struct cpu *cpu, const struct insn *insn)
{
	return test(cpu, insn, 1ull << 63, NEEDS_AVX);
}

/* The mask is in the last operand; in XMM0 in legacy instructions. */
static enum cpu_result blendv(struct cpu *cpu, const struct insn *insn, unsigned size,
			      enum vector_feature feature)
{
	unsigned first = first_source(insn);
	struct ymm value, b, mask;
	enum cpu_result result = vector_check(cpu, insn, feature);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, first + 1, vector_len(insn), wants_aligned(insn),
				     &b);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[first].reg, &value);
	vector_get(cpu, insn->vex ? insn->operand[3].reg : 0, &mask);
	for (unsigned i = 0; i < vector_len(insn); i += size)
		if (((uint8_t *)&mask)[i + size - 1] & 0x80)
			memcpy((uint8_t *)&value + i, (uint8_t *)&b + i, size);
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

static enum cpu_result pblendvb(struct cpu *cpu, const struct insn *insn)
{
	return blendv(cpu, insn, 1, NEEDS_SSE41);
}

static enum cpu_result blendvps(struct cpu *cpu, const struct insn *insn)
{
	return blendv(cpu, insn, 4, NEEDS_SSE41_FLOAT);
}

static enum cpu_result blendvpd(struct cpu *cpu, const struct insn *insn)
{
	return blendv(cpu, insn, 8, NEEDS_SSE41_FLOAT);
}

#define BOTH(name, exec) [ZYDIS_MNEMONIC_##name] = exec, [ZYDIS_MNEMONIC_V##name] = exec

static exec_fn *const table[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	BOTH(PMOVSXBW, pmovsxbw),
	BOTH(PMOVSXBD, pmovsxbd),
	BOTH(PMOVSXBQ, pmovsxbq),
	BOTH(PMOVSXWD, pmovsxwd),
	BOTH(PMOVSXWQ, pmovsxwq),
	BOTH(PMOVSXDQ, pmovsxdq),
	BOTH(PMOVZXBW, pmovzxbw),
	BOTH(PMOVZXBD, pmovzxbd),
	BOTH(PMOVZXBQ, pmovzxbq),
	BOTH(PMOVZXWD, pmovzxwd),
	BOTH(PMOVZXWQ, pmovzxwq),
	BOTH(PMOVZXDQ, pmovzxdq),
	[ZYDIS_MNEMONIC_VBROADCASTSS] = vbroadcastss,
	[ZYDIS_MNEMONIC_VBROADCASTSD] = vbroadcastsd,
	[ZYDIS_MNEMONIC_VBROADCASTF128] = vbroadcastf128,
	[ZYDIS_MNEMONIC_VBROADCASTI128] = vbroadcasti128,
	[ZYDIS_MNEMONIC_VPBROADCASTB] = vpbroadcastb,
	[ZYDIS_MNEMONIC_VPBROADCASTW] = vpbroadcastw,
	[ZYDIS_MNEMONIC_VPBROADCASTD] = vpbroadcastd,
	[ZYDIS_MNEMONIC_VPBROADCASTQ] = vpbroadcastq,
	[ZYDIS_MNEMONIC_VINSERTF128] = insert128,
	[ZYDIS_MNEMONIC_VINSERTI128] = insert128,
	[ZYDIS_MNEMONIC_VEXTRACTF128] = extract128,
	[ZYDIS_MNEMONIC_VEXTRACTI128] = extract128,
	[ZYDIS_MNEMONIC_VPERM2F128] = permute128,
	[ZYDIS_MNEMONIC_VPERM2I128] = permute128,
	[ZYDIS_MNEMONIC_VPERMQ] = permute64,
	[ZYDIS_MNEMONIC_VPERMPD] = permute64,
	[ZYDIS_MNEMONIC_VPERMD] = permute32,
	[ZYDIS_MNEMONIC_VPERMPS] = permute32,
	BOTH(PTEST, ptest),
	[ZYDIS_MNEMONIC_VTESTPS] = vtestps,
	[ZYDIS_MNEMONIC_VTESTPD] = vtestpd,
	BOTH(PBLENDVB, pblendvb),
	BOTH(BLENDVPS, blendvps),
	BOTH(BLENDVPD, blendvpd),
};

exec_fn *permute_find(ZydisMnemonic mnemonic)
{
	return table[mnemonic];
}
