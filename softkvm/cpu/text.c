// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * text.c - PCMPISTRI, PCMPISTRM, PCMPESTRI, PCMPESTRM of SSE4.2
 *
 * APM volume 4, 1.5.  The immediate byte: bit 0: elements are of 16 bits; 1: signed; 3:2 how to
 * compare; 4: negate; 5: negate only what is in the second string; 6: the highest index, or a mask
 * of elements rather than of bits.
 */
#include "vector.h"

#define IS_WORDS      1u
#define IS_SIGNED     2u
#define NEGATES	      0x10u
#define NEGATES_VALID 0x20u
#define IS_HIGHEST    0x40u
#define IS_EXPANDED   0x40u

enum how { EQUAL_ANY, RANGES, EQUAL_EACH, EQUAL_ORDERED };

struct text {
	int32_t element[16];
	unsigned len; /* up to n */
};

static unsigned count(unsigned imm)
{
	return imm & IS_WORDS ? 8 : 16;
}

static int32_t element(const union lane *lane, unsigned i, unsigned imm)
{
	switch (imm & (IS_WORDS | IS_SIGNED)) {
	case 0:
		return lane->u8[i];
	case IS_WORDS:
		return lane->u16[i];
	case IS_SIGNED:
		return lane->i8[i];
	default:
		return lane->i16[i];
	}
}

/* All elements; they are as many as there are before a zero. */
static void get_text(const union lane *lane, unsigned imm, struct text *ret)
{
	ret->len = count(imm);
	for (unsigned i = count(imm); i-- > 0;) {
		ret->element[i] = element(lane, i, imm);
		if (ret->element[i] == 0)
			ret->len = i;
	}
}

/* The magnitude of a register, n at most. */
static unsigned explicit_len(const struct cpu *cpu, const struct insn *insn, unsigned reg,
			     unsigned n)
{
	int64_t value = insn->operand_size == 8 ? (int64_t)cpu->state.gpr[reg]
						: (int32_t)cpu->state.gpr[reg];
	uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;

	return magnitude < n ? (unsigned)magnitude : n;
}

static bool is_any(const struct text *a, int32_t element)
{
	for (unsigned i = 0; i < a->len; i++)
		if (a->element[i] == element)
			return true;
	return false;
}

static bool is_in_range(const struct text *a, int32_t element)
{
	for (unsigned i = 0; i + 1 < a->len; i += 2)
		if (a->element[i] <= element && element <= a->element[i + 1])
			return true;
	return false;
}

static bool is_equal(const struct text *a, const struct text *b, unsigned i)
{
	if (i < a->len && i < b->len)
		return a->element[i] == b->element[i];
	return i >= a->len && i >= b->len;
}

/* Does a begin at b's element j?  Yes, if it would go on behind the last of n. */
static bool begins_at(const struct text *a, const struct text *b, unsigned j, unsigned n)
{
	for (unsigned i = 0; i < a->len && i + j < n; i++)
		if (i + j >= b->len || a->element[i] != b->element[i + j])
			return false;
	return true;
}

static unsigned compare(const struct text *a, const struct text *b, unsigned imm)
{
	unsigned n = count(imm), result = 0;

	for (unsigned j = 0; j < n; j++) {
		bool is_so = false;

		switch ((enum how)(imm >> 2 & 3)) {
		case EQUAL_ANY:
			is_so = j < b->len && is_any(a, b->element[j]);
			break;
		case RANGES:
			is_so = j < b->len && is_in_range(a, b->element[j]);
			break;
		case EQUAL_EACH:
			is_so = is_equal(a, b, j);
			break;
		case EQUAL_ORDERED:
			is_so = begins_at(a, b, j, n);
			break;
		}
		if (imm & NEGATES && (!(imm & NEGATES_VALID) || j < b->len))
			is_so = !is_so;
		result |= (unsigned)is_so << j;
	}
	return result;
}

static unsigned find_index(unsigned bits, unsigned imm)
{
	if (bits == 0)
		return count(imm);
	return imm & IS_HIGHEST ? 31 - (unsigned)__builtin_clz(bits)
				: (unsigned)__builtin_ctz(bits);
}

static void expand(unsigned bits, unsigned imm, struct ymm *ret)
{
	*ret = (struct ymm){0};
	if (!(imm & IS_EXPANDED)) {
		ret->lane[0].u32[0] = bits;
		return;
	}
	for (unsigned i = 0; i < count(imm); i++)
		if (imm & IS_WORDS)
			ret->lane[0].u16[i] = bits >> i & 1 ? UINT16_MAX : 0;
		else
			ret->lane[0].u8[i] = bits >> i & 1 ? UINT8_MAX : 0;
}

static enum cpu_result compare_texts(struct cpu *cpu, const struct insn *insn, bool is_explicit,
				     bool wants_mask)
{
	unsigned imm = (uint8_t)insn->immediate, n = count(imm), bits;
	struct text a, b;
	struct ymm value;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE42);

	/* Need not be aligned. */
	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, 16, false, &value);
	if (result != CPU_NEXT)
		return result;
	get_text(&value.lane[0], imm, &b);
	vector_get(cpu, insn->operand[0].reg, &value);
	get_text(&value.lane[0], imm, &a);
	if (is_explicit) {
		a.len = explicit_len(cpu, insn, RAX, n);
		b.len = explicit_len(cpu, insn, RDX, n);
	}
	bits = compare(&a, &b, imm);
	if (wants_mask) {
		expand(bits, imm, &value);
		vector_set(cpu, insn, 0, &value);
	} else {
		cpu->state.gpr[RCX] = find_index(bits, imm);
	}
	cpu->state.rflags &= ~(FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF);
	cpu->state.rflags |= (bits ? FLAG_CF : 0) | (b.len < n ? FLAG_ZF : 0) |
			     (a.len < n ? FLAG_SF : 0) | (bits & 1 ? FLAG_OF : 0);
	return CPU_NEXT;
}

static enum cpu_result pcmpistri(struct cpu *cpu, const struct insn *insn)
{
	return compare_texts(cpu, insn, false, false);
}

static enum cpu_result pcmpistrm(struct cpu *cpu, const struct insn *insn)
{
	return compare_texts(cpu, insn, false, true);
}

static enum cpu_result pcmpestri(struct cpu *cpu, const struct insn *insn)
{
	return compare_texts(cpu, insn, true, false);
}

static enum cpu_result pcmpestrm(struct cpu *cpu, const struct insn *insn)
{
	return compare_texts(cpu, insn, true, true);
}

#define BOTH(name, exec) [ZYDIS_MNEMONIC_##name] = exec, [ZYDIS_MNEMONIC_V##name] = exec

static exec_fn *const table[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	BOTH(PCMPISTRI, pcmpistri),
	BOTH(PCMPISTRM, pcmpistrm),
	BOTH(PCMPESTRI, pcmpestri),
	BOTH(PCMPESTRM, pcmpestrm),
};

exec_fn *text_find(ZydisMnemonic mnemonic)
{
	return table[mnemonic];
}
