// SPDX-License-Identifier: GPL-2.0-or-later
/* bit.c - single bits, bit fields, counts of bits, CRC32 */
#include "alu.h"

static uint64_t bit_of(const struct modification *m)
{
	return 1ull << m->source;
}

static void set_carry(struct modification *m, uint64_t old)
{
	m->flags &= ~FLAG_CF;
	m->flags |= flag_if(old & bit_of(m), FLAG_CF);
}

static uint64_t compute_bts(struct modification *m, uint64_t old)
{
	set_carry(m, old);
	return old | bit_of(m);
}

static uint64_t compute_btr(struct modification *m, uint64_t old)
{
	set_carry(m, old);
	return old & ~bit_of(m);
}

static uint64_t compute_btc(struct modification *m, uint64_t old)
{
	set_carry(m, old);
	return old ^ bit_of(m);
}

/*
 * Which bit of operand 0 is meant.  A register is the offset in a string of bits that begins at a
 * memory operand: *ret is the instruction with the place in that string as its memory operand.
 */
static enum cpu_result find_bit(struct cpu *cpu, const struct insn *insn, struct insn *ret,
				uint64_t *ret_bit)
{
	unsigned size = insn->operand[0].size, bits = 8 * size;
	uint64_t offset;
	enum cpu_result result = operand_get(cpu, insn, 1, &offset);

	if (result != CPU_NEXT)
		return result;
	*ret = *insn;
	*ret_bit = offset % bits;
	if (insn->operand[0].kind == OPERAND_MEMORY && insn->operand[1].kind == OPERAND_GPR) {
		int64_t bytes = (sign_extend(offset, size) - (int64_t)*ret_bit) / 8;

		ret->displacement = (int64_t)((uint64_t)insn->displacement + (uint64_t)bytes);
	}
	return CPU_NEXT;
}

static enum cpu_result exec_bt(struct cpu *cpu, const struct insn *insn)
{
	struct insn placed;
	uint64_t bit, value;
	enum cpu_result result = find_bit(cpu, insn, &placed, &bit);

	if (result == CPU_NEXT)
		result = operand_get(cpu, &placed, 0, &value);
	if (result != CPU_NEXT)
		return result;
	cpu->state.rflags &= ~FLAG_CF;
	cpu->state.rflags |= flag_if(value >> bit & 1, FLAG_CF);
	return CPU_NEXT;
}

static enum cpu_result modify_bit(struct cpu *cpu, const struct insn *insn,
				  uint64_t (*compute)(struct modification *, uint64_t))
{
	struct modification modification = {.compute = compute};
	struct insn placed;
	enum cpu_result result = find_bit(cpu, insn, &placed, &modification.source);

	return result == CPU_NEXT ? operand_modify(cpu, &placed, 0, &modification) : result;
}

static enum cpu_result exec_bts(struct cpu *cpu, const struct insn *insn)
{
	return modify_bit(cpu, insn, compute_bts);
}

static enum cpu_result exec_btr(struct cpu *cpu, const struct insn *insn)
{
	return modify_bit(cpu, insn, compute_btr);
}

static enum cpu_result exec_btc(struct cpu *cpu, const struct insn *insn)
{
	return modify_bit(cpu, insn, compute_btc);
}

/* BSF and BSR: of nothing, ZF is set and the destination stays as it is, which AMD documents. */
static enum cpu_result exec_bit_scan(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = operand_get(cpu, insn, 1, &value);

	if (result != CPU_NEXT)
		return result;
	cpu->state.rflags &= ~FLAG_ZF;
	if (value == 0) {
		cpu->state.rflags |= FLAG_ZF;
		return CPU_NEXT;
	}
	value = insn->mnemonic == ZYDIS_MNEMONIC_BSF ? (uint64_t)__builtin_ctzll(value)
						     : 63 - (uint64_t)__builtin_clzll(value);
	return operand_set(cpu, insn, 0, value);
}

/* TZCNT, LZCNT: CF tells that there is no bit set, ZF that the result is zero. */
static enum cpu_result exec_count_zeroes(struct cpu *cpu, const struct insn *insn)
{
	unsigned bits = 8 * insn->operand[0].size;
	uint64_t value, count;
	enum cpu_result result = operand_get(cpu, insn, 1, &value);

	if (result != CPU_NEXT)
		return result;
	if (value == 0)
		count = bits;
	else if (insn->mnemonic == ZYDIS_MNEMONIC_TZCNT)
		count = (uint64_t)__builtin_ctzll(value);
	else
		count = (uint64_t)__builtin_clzll(value) - (64 - bits);
	cpu->state.rflags &= ~(FLAG_CF | FLAG_ZF);
	cpu->state.rflags |= flag_if(value == 0, FLAG_CF) | flag_if(count == 0, FLAG_ZF);
	return operand_set(cpu, insn, 0, count);
}

static enum cpu_result exec_popcnt(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = operand_get(cpu, insn, 1, &value);

	if (result != CPU_NEXT)
		return result;
	cpu->state.rflags &= ~FLAGS_STATUS;
	cpu->state.rflags |= flag_if(value == 0, FLAG_ZF);
	return operand_set(cpu, insn, 0, (uint64_t)__builtin_popcountll(value));
}

/* BLSI, BLSMSK, BLSR: the lowest bit that is set. */
static enum cpu_result exec_lowest_bit(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand[0].size;
	uint64_t source, value;
	enum cpu_result result = operand_get(cpu, insn, 1, &source);
	bool carry = false;

	if (result != CPU_NEXT)
		return result;
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_BLSI:
		value = source & -source;
		carry = source != 0;
		break;
	case ZYDIS_MNEMONIC_BLSR:
		value = source & (source - 1);
		carry = source == 0;
		break;
	default: /* BLSMSK */
		value = source ^ (source - 1);
		carry = source == 0;
		break;
	}
	value = alu_logic(&cpu->state.rflags, size, value);
	cpu->state.rflags |= flag_if(carry, FLAG_CF);
	return operand_set(cpu, insn, 0, value);
}

static uint64_t low_bits(uint64_t value, unsigned n)
{
	return n < 64 ? value & ((1ull << n) - 1) : value;
}

static uint64_t deposit(uint64_t source, uint64_t mask)
{
	uint64_t value = 0;

	for (; mask; mask &= mask - 1, source >>= 1)
		if (source & 1)
			value |= mask & -mask;
	return value;
}

static uint64_t extract(uint64_t source, uint64_t mask)
{
	uint64_t value = 0;

	for (uint64_t bit = 1; mask; mask &= mask - 1, bit <<= 1)
		if (source & mask & -mask)
			value |= bit;
	return value;
}

/* Operand 1 and operand 2 into operand 0. */
static enum cpu_result exec_bit_field(struct cpu *cpu, const struct insn *insn)
{
	uint64_t *flags = &cpu->state.rflags;
	unsigned size = insn->operand[0].size;
	uint64_t a, b;
	enum cpu_result result = operand_get(cpu, insn, 1, &a);

	if (result == CPU_NEXT)
		result = operand_get(cpu, insn, 2, &b);
	if (result != CPU_NEXT)
		return result;

	unsigned start = (uint8_t)b, len = (uint8_t)(b >> 8);

	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_ANDN:
		a = alu_logic(flags, size, ~a & b);
		break;
	case ZYDIS_MNEMONIC_BEXTR:
		a = alu_logic(flags, size, start < 8 * size ? low_bits(a >> start, len) : 0);
		break;
	case ZYDIS_MNEMONIC_BZHI:
		a = alu_logic(flags, size, low_bits(a, start));
		*flags |= flag_if(start >= 8 * size, FLAG_CF);
		break;
	case ZYDIS_MNEMONIC_PDEP:
		a = deposit(a, b);
		break;
	default: /* PEXT */
		a = extract(a, b);
		break;
	}
	return operand_set(cpu, insn, 0, a);
}

/* x^32 + x^28 + x^27 + .., Castagnoli's, with the bits reflected. */
#define CRC32C_POLYNOMIAL 0x82f63b78u

static enum cpu_result exec_crc32(struct cpu *cpu, const struct insn *insn)
{
	uint32_t crc = (uint32_t)cpu->state.gpr[insn->operand[0].reg];
	uint64_t data;
	enum cpu_result result = operand_get(cpu, insn, 1, &data);

	if (result != CPU_NEXT)
		return result;
	for (unsigned i = 0; i < 8u * insn->operand[1].size; i++) {
		bool divides = (crc ^ data >> i) & 1;

		crc = crc >> 1 ^ (divides ? CRC32C_POLYNOMIAL : 0);
	}
	cpu->state.gpr[insn->operand[0].reg] = crc;
	return CPU_NEXT;
}

exec_fn *bit_find(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_BT:
		return exec_bt;
	case ZYDIS_MNEMONIC_BTS:
		return exec_bts;
	case ZYDIS_MNEMONIC_BTR:
		return exec_btr;
	case ZYDIS_MNEMONIC_BTC:
		return exec_btc;
	case ZYDIS_MNEMONIC_BSF:
	case ZYDIS_MNEMONIC_BSR:
		return exec_bit_scan;
	case ZYDIS_MNEMONIC_TZCNT:
	case ZYDIS_MNEMONIC_LZCNT:
		return exec_count_zeroes;
	case ZYDIS_MNEMONIC_POPCNT:
		return exec_popcnt;
	case ZYDIS_MNEMONIC_BLSI:
	case ZYDIS_MNEMONIC_BLSR:
	case ZYDIS_MNEMONIC_BLSMSK:
		return exec_lowest_bit;
	case ZYDIS_MNEMONIC_ANDN:
	case ZYDIS_MNEMONIC_BEXTR:
	case ZYDIS_MNEMONIC_BZHI:
	case ZYDIS_MNEMONIC_PDEP:
	case ZYDIS_MNEMONIC_PEXT:
		return exec_bit_field;
	case ZYDIS_MNEMONIC_CRC32:
		return exec_crc32;
	default:
		return NULL;
	}
}
