// SPDX-License-Identifier: GPL-2.0-or-later
/* move.c - vectors and elements of them, to and from memory and registers */
#include "vector.h"

#include <string.h>

static enum cpu_result move(struct cpu *cpu, const struct insn *insn, bool is_aligned)
{
	unsigned len = vector_len(insn);
	struct ymm value;
	enum cpu_result result = vector_check(
		cpu, insn, insn->mnemonic == ZYDIS_MNEMONIC_LDDQU ? NEEDS_SSE3 : NEEDS_SSE_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, len, is_aligned, &value);
	return result == CPU_NEXT ? vector_store(cpu, insn, 0, len, is_aligned, &value) : result;
}

/* Non-temporal moves are moves: there are no caches here. */
static enum cpu_result move_aligned(struct cpu *cpu, const struct insn *insn)
{
	return move(cpu, insn, true);
}

static enum cpu_result move_unaligned(struct cpu *cpu, const struct insn *insn)
{
	return move(cpu, insn, false);
}

static enum cpu_result movntdqa(struct cpu *cpu, const struct insn *insn)
{
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE41);

	return result == CPU_NEXT ? move(cpu, insn, true) : result;
}

static enum cpu_result movnti(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = operand_get(cpu, insn, 1, &value);

	return result == CPU_NEXT ? operand_set(cpu, insn, 0, value) : result;
}

/* Element n of a vector, of size bytes. */
static uint64_t element(const struct ymm *vector, unsigned n, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, (const uint8_t *)vector + n * size, size);
	return value;
}

static void set_element(struct ymm *vector, unsigned n, unsigned size, uint64_t value)
{
	memcpy((uint8_t *)vector + n * size, &value, size);
}

/* MOVD, MOVQ: the lowest element, from and to anywhere. */
static enum cpu_result move_low(struct cpu *cpu, const struct insn *insn)
{
	bool is_quad =
		insn->mnemonic == ZYDIS_MNEMONIC_MOVQ || insn->mnemonic == ZYDIS_MNEMONIC_VMOVQ;
	unsigned size = is_quad ? 8 : 4;
	struct ymm value = {0};
	uint64_t integer;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE);

	if (result != CPU_NEXT)
		return result;
	if (is_xmm(insn, 0) && insn->operand[1].kind == OPERAND_GPR) {
		result = operand_get(cpu, insn, 1, &integer);
		set_element(&value, 0, size, integer);
	} else {
		result = vector_load(cpu, insn, 1, size, false, &value);
	}
	if (result != CPU_NEXT)
		return result;
	if (insn->operand[0].kind == OPERAND_GPR)
		return is_xmm(insn, 1) ? operand_set(cpu, insn, 0, element(&value, 0, size))
				       : CPU_IS_UNKNOWN;
	if (!is_xmm(insn, 0) && !is_xmm(insn, 1))
		return CPU_IS_UNKNOWN;
	return vector_store(cpu, insn, 0, size, false, &value);
}

/* MOVSS, MOVSD: from memory with zeros above, between registers only the element. */
static enum cpu_result move_scalar(struct cpu *cpu, const struct insn *insn, unsigned size)
{
	unsigned last = insn->n_operands - 1u;
	struct ymm value, merged;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, last, size, false, &value);
	if (result != CPU_NEXT)
		return result;
	if (is_xmm(insn, 0) && is_xmm(insn, last)) {
		vector_get(cpu, insn->operand[last - 1].reg, &merged);
		set_element(&merged, 0, size, element(&value, 0, size));
		value = (struct ymm){{merged.lane[0]}};
	}
	return vector_store(cpu, insn, 0, size, false, &value);
}

static enum cpu_result movss(struct cpu *cpu, const struct insn *insn)
{
	return move_scalar(cpu, insn, 4);
}

static enum cpu_result movsd(struct cpu *cpu, const struct insn *insn)
{
	return move_scalar(cpu, insn, 8);
}

/* A half of a register from and to memory, or from (the other half of) another. */
static enum cpu_result move_half(struct cpu *cpu, const struct insn *insn, unsigned half,
				 unsigned half_of_register)
{
	unsigned first = first_source(insn);
	struct ymm value, source;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE);

	if (result != CPU_NEXT)
		return result;
	if (insn->operand[0].kind == OPERAND_MEMORY) {
		vector_get(cpu, insn->operand[1].reg, &source);
		value.lane[0].u64[0] = source.lane[0].u64[half];
		return vector_store(cpu, insn, 0, 8, false, &value);
	}
	if (is_xmm(insn, first + 1)) {
		vector_get(cpu, insn->operand[first + 1].reg, &source);
		source.lane[0].u64[0] = source.lane[0].u64[half_of_register];
	} else {
		result = vector_load(cpu, insn, first + 1, 8, false, &source);
		if (result != CPU_NEXT)
			return result;
	}
	vector_get(cpu, insn->operand[first].reg, &value);
	value.lane[0].u64[half] = source.lane[0].u64[0];
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

static enum cpu_result move_low_half(struct cpu *cpu, const struct insn *insn)
{
	return move_half(cpu, insn, 0, 1);
}

static enum cpu_result move_high_half(struct cpu *cpu, const struct insn *insn)
{
	return move_half(cpu, insn, 1, 0);
}

static enum cpu_result movddup(struct cpu *cpu, const struct insn *insn)
{
	unsigned len = vector_len(insn);
	struct ymm value;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE3_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, len == 32 ? 32 : 8, false, &value);
	if (result != CPU_NEXT)
		return result;
	for (unsigned i = 0; i < 2; i++)
		value.lane[i].u64[1] = value.lane[i].u64[0];
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

/* The sign bits of elements of size bytes. */
static enum cpu_result movmsk(struct cpu *cpu, const struct insn *insn, unsigned size,
			      enum vector_feature feature)
{
	unsigned n = vector_len(insn) / size;
	struct ymm value;
	uint64_t mask = 0;
	enum cpu_result result = vector_check(cpu, insn, feature);

	if (result != CPU_NEXT)
		return result;
	if (!is_xmm(insn, 1))
		return CPU_IS_UNKNOWN;
	vector_get(cpu, insn->operand[1].reg, &value);
	for (unsigned i = 0; i < n; i++)
		mask |= (element(&value, i, size) >> (8 * size - 1)) << i;
	cpu->state.gpr[insn->operand[0].reg] = mask;
	return CPU_NEXT;
}

static enum cpu_result pmovmskb(struct cpu *cpu, const struct insn *insn)
{
	return movmsk(cpu, insn, 1, NEEDS_SSE);
}

static enum cpu_result movmskps(struct cpu *cpu, const struct insn *insn)
{
	return movmsk(cpu, insn, 4, NEEDS_SSE_FLOAT);
}

static enum cpu_result movmskpd(struct cpu *cpu, const struct insn *insn)
{
	return movmsk(cpu, insn, 8, NEEDS_SSE_FLOAT);
}

static enum cpu_result pinsr(struct cpu *cpu, const struct insn *insn, unsigned size,
			     enum vector_feature feature)
{
	unsigned first = first_source(insn);
	uint64_t integer;
	struct ymm value;
	enum cpu_result result = vector_check(cpu, insn, feature);

	if (result != CPU_NEXT)
		return result;
	if (!is_xmm(insn, 0))
		return CPU_IS_UNKNOWN;
	result = operand_get(cpu, insn, first + 1, &integer);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[first].reg, &value);
	set_element(&value, (unsigned)insn->immediate % (16 / size), size, integer);
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

static enum cpu_result pinsrb(struct cpu *cpu, const struct insn *insn)
{
	return pinsr(cpu, insn, 1, NEEDS_SSE41);
}

static enum cpu_result pinsrw(struct cpu *cpu, const struct insn *insn)
{
	return pinsr(cpu, insn, 2, NEEDS_SSE);
}

static enum cpu_result pinsrd(struct cpu *cpu, const struct insn *insn)
{
	return pinsr(cpu, insn, 4, NEEDS_SSE41);
}

static enum cpu_result pinsrq(struct cpu *cpu, const struct insn *insn)
{
	return pinsr(cpu, insn, 8, NEEDS_SSE41);
}

static enum cpu_result pextr(struct cpu *cpu, const struct insn *insn, unsigned size,
			     enum vector_feature feature)
{
	struct ymm value;
	uint64_t integer;
	enum cpu_result result = vector_check(cpu, insn, feature);

	if (result != CPU_NEXT)
		return result;
	if (!is_xmm(insn, 1))
		return CPU_IS_UNKNOWN;
	vector_get(cpu, insn->operand[1].reg, &value);
	integer = element(&value, (unsigned)insn->immediate % (16 / size), size);
	if (insn->operand[0].kind == OPERAND_GPR) {
		cpu->state.gpr[insn->operand[0].reg] = integer;
		return CPU_NEXT;
	}
	return operand_set(cpu, insn, 0, integer);
}

static enum cpu_result pextrb(struct cpu *cpu, const struct insn *insn)
{
	return pextr(cpu, insn, 1, NEEDS_SSE41);
}

/* To a register it is SSE2's, or another opcode of SSE4.1 that does the same. */
static enum cpu_result pextrw(struct cpu *cpu, const struct insn *insn)
{
	return pextr(cpu, insn, 2,
		     insn->operand[0].kind == OPERAND_MEMORY ? NEEDS_SSE41 : NEEDS_SSE);
}

static enum cpu_result pextrd(struct cpu *cpu, const struct insn *insn)
{
	return pextr(cpu, insn, 4, NEEDS_SSE41);
}

static enum cpu_result pextrq(struct cpu *cpu, const struct insn *insn)
{
	return pextr(cpu, insn, 8, NEEDS_SSE41);
}

/* Immediate: source element in 7:6, destination in 5:4, what to clear in 3:0. */
static enum cpu_result insertps(struct cpu *cpu, const struct insn *insn)
{
	unsigned first = first_source(insn), imm = (uint8_t)insn->immediate;
	struct ymm value, source;
	uint32_t single;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE41);

	if (result != CPU_NEXT)
		return result;
	if (is_xmm(insn, first + 1)) {
		vector_get(cpu, insn->operand[first + 1].reg, &source);
		single = source.lane[0].u32[imm >> 6];
	} else {
		result = vector_load(cpu, insn, first + 1, 4, false, &source);
		if (result != CPU_NEXT)
			return result;
		single = source.lane[0].u32[0];
	}
	vector_get(cpu, insn->operand[first].reg, &value);
	value.lane[0].u32[imm >> 4 & 3] = single;
	for (unsigned i = 0; i < 4; i++)
		if (imm >> i & 1)
			value.lane[0].u32[i] = 0;
	vector_set(cpu, insn, insn->operand[0].reg, &value);
	return CPU_NEXT;
}

/* Elements whose mask has its sign set; memory of the others is not touched: it may be absent. */
static enum cpu_result load_masked(struct cpu *cpu, const struct insn *insn, unsigned size,
				   const struct ymm *mask, struct ymm *ret)
{
	uint64_t offset = insn_offset(cpu, insn), linear;
	struct ymm value = {0};

	for (unsigned i = 0; i < vector_len(insn) / size; i++) {
		enum cpu_result result;

		if (!(element(mask, i, size) >> (8 * size - 1)))
			continue;
		result = cpu_linear(cpu, insn->segment,
				    zero_extend(offset + i * size, insn->address_size), size, false,
				    &linear);
		if (result == CPU_NEXT)
			result = cpu_load(cpu, linear, (uint8_t *)&value + i * size, size);
		if (result != CPU_NEXT)
			return result;
	}
	*ret = value;
	return CPU_NEXT;
}

static enum cpu_result store_masked(struct cpu *cpu, const struct insn *insn, uint64_t offset,
				    unsigned size, const struct ymm *mask, const struct ymm *value)
{
	/* First see whether all of it is possible. */
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < vector_len(insn) / size; i++) {
			const uint8_t *data = (const uint8_t *)value + i * size;
			enum cpu_result result;
			uint64_t linear;

			if (!(element(mask, i, size) >> (8 * size - 1)))
				continue;
			result = cpu_linear(cpu, insn->segment,
					    zero_extend(offset + i * size, insn->address_size),
					    size, true, &linear);
			if (result == CPU_NEXT)
				result = pass ? cpu_store(cpu, linear, data, size)
					      : cpu_probe_store(cpu, linear, size);
			if (result != CPU_NEXT)
				return result;
		}
	}
	return CPU_NEXT;
}

static enum cpu_result maskmov(struct cpu *cpu, const struct insn *insn, unsigned size,
			       enum vector_feature feature)
{
	struct ymm mask, value;
	enum cpu_result result = vector_check(cpu, insn, feature);

	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[1].reg, &mask);
	if (insn->operand[0].kind == OPERAND_MEMORY) {
		vector_get(cpu, insn->operand[2].reg, &value);
		return store_masked(cpu, insn, insn_offset(cpu, insn), size, &mask, &value);
	}
	result = load_masked(cpu, insn, size, &mask, &value);
	if (result == CPU_NEXT)
		vector_set(cpu, insn, insn->operand[0].reg, &value);
	return result;
}

static enum cpu_result vmaskmovps(struct cpu *cpu, const struct insn *insn)
{
	return maskmov(cpu, insn, 4, NEEDS_AVX);
}

static enum cpu_result vmaskmovpd(struct cpu *cpu, const struct insn *insn)
{
	return maskmov(cpu, insn, 8, NEEDS_AVX);
}

static enum cpu_result vpmaskmovd(struct cpu *cpu, const struct insn *insn)
{
	return maskmov(cpu, insn, 4, NEEDS_AVX2);
}

static enum cpu_result vpmaskmovq(struct cpu *cpu, const struct insn *insn)
{
	return maskmov(cpu, insn, 8, NEEDS_AVX2);
}

/*
 * To [rDI], which is no operand that could be seen.  Processors look at all of it, eight bytes at a
 * time, whatever the mask is.
 */
static enum cpu_result maskmovdqu(struct cpu *cpu, const struct insn *insn)
{
	uint64_t offset = zero_extend(cpu->state.gpr[RDI], insn->address_size), linear;
	struct ymm mask, value;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE);

	for (unsigned i = 0; i < 16 && result == CPU_NEXT; i += 8) {
		result = cpu_linear(cpu, insn->segment, offset + i, 8, true, &linear);
		if (result == CPU_NEXT)
			result = cpu_probe_store(cpu, linear, 8);
	}
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[0].reg, &value);
	vector_get(cpu, insn->operand[1].reg, &mask);
	return store_masked(cpu, insn, offset, 1, &mask, &value);
}

static enum cpu_result zero(struct cpu *cpu, const struct insn *insn)
{
	struct cpu_fpu *fpu = &cpu->state.fpu;
	size_t len = 16 * (is_64bit(cpu) ? 16 : 8);
	enum cpu_result result = vector_check(cpu, insn, NEEDS_AVX);

	if (result != CPU_NEXT)
		return result;
	memset(fpu->ymm_high, 0, len);
	if (insn->mnemonic == ZYDIS_MNEMONIC_VZEROALL)
		memset(fpu->xmm, 0, len);
	return CPU_NEXT;
}

#define BOTH(name, exec) [ZYDIS_MNEMONIC_##name] = exec, [ZYDIS_MNEMONIC_V##name] = exec

static exec_fn *const table[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	BOTH(MOVAPS, move_aligned),
	BOTH(MOVAPD, move_aligned),
	BOTH(MOVDQA, move_aligned),
	BOTH(MOVNTPS, move_aligned),
	BOTH(MOVNTPD, move_aligned),
	BOTH(MOVUPS, move_unaligned),
	BOTH(MOVUPD, move_unaligned),
	BOTH(MOVDQU, move_unaligned),
	BOTH(LDDQU, move_unaligned),
	BOTH(MOVNTDQ, move_aligned),
	BOTH(MOVNTDQA, movntdqa),
	[ZYDIS_MNEMONIC_MOVNTI] = movnti,
	BOTH(MOVD, move_low),
	BOTH(MOVQ, move_low),
	BOTH(MOVSS, movss),
	BOTH(MOVSD, movsd),
	BOTH(MOVLPS, move_low_half),
	BOTH(MOVLPD, move_low_half),
	BOTH(MOVHLPS, move_low_half),
	BOTH(MOVHPS, move_high_half),
	BOTH(MOVHPD, move_high_half),
	BOTH(MOVLHPS, move_high_half),
	BOTH(MOVDDUP, movddup),
	BOTH(PMOVMSKB, pmovmskb),
	BOTH(MOVMSKPS, movmskps),
	BOTH(MOVMSKPD, movmskpd),
	BOTH(PINSRB, pinsrb),
	BOTH(PINSRW, pinsrw),
	BOTH(PINSRD, pinsrd),
	BOTH(PINSRQ, pinsrq),
	BOTH(PEXTRB, pextrb),
	BOTH(PEXTRW, pextrw),
	BOTH(PEXTRD, pextrd),
	BOTH(PEXTRQ, pextrq),
	BOTH(EXTRACTPS, pextrd),
	BOTH(INSERTPS, insertps),
	BOTH(MASKMOVDQU, maskmovdqu),
	[ZYDIS_MNEMONIC_VMASKMOVPS] = vmaskmovps,
	[ZYDIS_MNEMONIC_VMASKMOVPD] = vmaskmovpd,
	[ZYDIS_MNEMONIC_VPMASKMOVD] = vpmaskmovd,
	[ZYDIS_MNEMONIC_VPMASKMOVQ] = vpmaskmovq,
	[ZYDIS_MNEMONIC_VZEROALL] = zero,
	[ZYDIS_MNEMONIC_VZEROUPPER] = zero,
};

exec_fn *move_find(const ZydisDecodedInstruction *decoded)
{
	/* The string instruction has the same name. */
	if (decoded->mnemonic == ZYDIS_MNEMONIC_MOVSD && decoded->opcode_map != ZYDIS_OPCODE_MAP_0F)
		return NULL;
	return table[decoded->mnemonic];
}
