// SPDX-License-Identifier: GPL-2.0-or-later
/* shift.c - shifts and rotates */
#include "alu.h"

/* CF and OF; the rotates touch no others. */
static void set_carry(struct modification *m, bool carry, bool overflow)
{
	m->flags &= ~(FLAG_CF | FLAG_OF);
	m->flags |= flag_if(carry, FLAG_CF) | flag_if(overflow, FLAG_OF);
}

static uint64_t finish_shift(struct modification *m, uint64_t value, bool carry, bool overflow)
{
	value = zero_extend(value, m->size);
	m->flags &= ~FLAGS_STATUS;
	m->flags |= flags_of(value, m->size);
	set_carry(m, carry, overflow);
	return value;
}

static uint64_t compute_shl(struct modification *m, uint64_t old)
{
	bool carry;
	uint64_t value;

	if (m->count == 0)
		return old;
	value = old << m->count;
	carry = m->size == 8 ? old >> (64 - m->count) & 1 : value >> 8 * m->size & 1;
	return finish_shift(m, value, carry, carry != top_bit(value, m->size));
}

static uint64_t compute_shr(struct modification *m, uint64_t old)
{
	if (m->count == 0)
		return old;
	return finish_shift(m, old >> m->count, old >> (m->count - 1) & 1, top_bit(old, m->size));
}

static uint64_t compute_sar(struct modification *m, uint64_t old)
{
	int64_t value = sign_extend(old, m->size);

	if (m->count == 0)
		return old;
	return finish_shift(m, (uint64_t)(value >> m->count), value >> (m->count - 1) & 1, false);
}

/* The two topmost bits differ: what a rotate by one to the right means by overflow. */
static bool top_bits_differ(uint64_t value, unsigned size)
{
	return top_bit(value, size) != top_bit(value << 1, size);
}

static uint64_t rotate_left(uint64_t value, unsigned size, unsigned count)
{
	unsigned bits = 8 * size;

	count &= bits - 1; /* which is a power of two */
	return count ? zero_extend(value << count | value >> (bits - count), size) : value;
}

static uint64_t compute_rol(struct modification *m, uint64_t old)
{
	uint64_t value;

	if (m->count == 0)
		return old;
	value = rotate_left(old, m->size, m->count);
	set_carry(m, value & 1, (value & 1) != top_bit(value, m->size));
	return value;
}

static uint64_t compute_ror(struct modification *m, uint64_t old)
{
	uint64_t value;

	if (m->count == 0)
		return old;
	value = rotate_left(old, m->size, 8 * m->size - m->count % (8 * m->size));
	set_carry(m, top_bit(value, m->size), top_bits_differ(value, m->size));
	return value;
}

static uint64_t compute_rcl(struct modification *m, uint64_t old)
{
	bool carry = m->flags & FLAG_CF;

	if (m->count == 0)
		return old;
	for (unsigned i = 0; i < m->count; i++) {
		bool out = top_bit(old, m->size);

		old = zero_extend(old << 1 | carry, m->size);
		carry = out;
	}
	set_carry(m, carry, carry != top_bit(old, m->size));
	return old;
}

static uint64_t compute_rcr(struct modification *m, uint64_t old)
{
	bool carry = m->flags & FLAG_CF;

	if (m->count == 0)
		return old;
	for (unsigned i = 0; i < m->count; i++) {
		bool out = old & 1;

		old = old >> 1 | (uint64_t)carry << (8 * m->size - 1);
		carry = out;
	}
	set_carry(m, carry, top_bits_differ(old, m->size));
	return old;
}

/*
 * SHLD, SHRD.  By more than the size, which 16 bits permit, the result is undefined; processors
 * shift the source in once more and clear CF.
 */
static uint64_t compute_shld(struct modification *m, uint64_t old)
{
	unsigned bits = 8 * m->size;
	bool again = m->count > bits;
	unsigned count = again ? m->count - bits : m->count;
	uint64_t upper = again ? m->source : old, value;

	if (count == 0)
		return old;
	value = upper << count | m->source >> (bits - count);
	return finish_shift(m, value, !again && (old >> (bits - count) & 1),
			    top_bit(value, m->size) != top_bit(old, m->size));
}

static uint64_t compute_shrd(struct modification *m, uint64_t old)
{
	unsigned bits = 8 * m->size;
	bool again = m->count > bits;
	unsigned count = again ? m->count - bits : m->count;
	uint64_t lower = again ? m->source : old, value;

	if (count == 0)
		return old;
	value = lower >> count | m->source << (bits - count);
	return finish_shift(m, value, !again && (old >> (count - 1) & 1),
			    top_bit(value, m->size) != top_bit(old, m->size));
}

/* Operand 0, by the last operand. */
static enum cpu_result shift(struct cpu *cpu, const struct insn *insn,
			     uint64_t (*compute)(struct modification *, uint64_t))
{
	struct modification modification = {.compute = compute};
	uint64_t count;
	enum cpu_result result = operand_get(cpu, insn, insn->n_operands - 1u, &count);

	if (result == CPU_NEXT && insn->n_operands == 3)
		result = operand_get(cpu, insn, 1, &modification.source);
	if (result != CPU_NEXT)
		return result;
	modification.count = count & (insn->operand[0].size == 8 ? 63 : 31);
	return operand_modify(cpu, insn, 0, &modification);
}

static enum cpu_result exec_shl(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, compute_shl);
}

static enum cpu_result exec_shr(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, compute_shr);
}

static enum cpu_result exec_sar(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, compute_sar);
}

static enum cpu_result exec_rol(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, compute_rol);
}

static enum cpu_result exec_ror(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, compute_ror);
}

static enum cpu_result exec_rcl(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, compute_rcl);
}

static enum cpu_result exec_rcr(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, compute_rcr);
}

static enum cpu_result exec_shld(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, compute_shld);
}

static enum cpu_result exec_shrd(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, compute_shrd);
}

/* BMI2: operand 1 by operand 2 into operand 0, without flags. */
static enum cpu_result exec_shift_flagless(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand[0].size;
	uint64_t value, count;
	enum cpu_result result = operand_get(cpu, insn, 1, &value);

	if (result == CPU_NEXT)
		result = operand_get(cpu, insn, 2, &count);
	if (result != CPU_NEXT)
		return result;
	count &= 8 * size - 1;
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_RORX:
		value = rotate_left(value, size, 8 * size - (unsigned)count);
		break;
	case ZYDIS_MNEMONIC_SARX:
		value = (uint64_t)(sign_extend(value, size) >> count);
		break;
	case ZYDIS_MNEMONIC_SHLX:
		value <<= count;
		break;
	default: /* SHRX */
		value >>= count;
		break;
	}
	return operand_set(cpu, insn, 0, value);
}

exec_fn *shift_find(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
		return exec_shl;
	case ZYDIS_MNEMONIC_SHR:
		return exec_shr;
	case ZYDIS_MNEMONIC_SAR:
		return exec_sar;
	case ZYDIS_MNEMONIC_ROL:
		return exec_rol;
	case ZYDIS_MNEMONIC_ROR:
		return exec_ror;
	case ZYDIS_MNEMONIC_RCL:
		return exec_rcl;
	case ZYDIS_MNEMONIC_RCR:
		return exec_rcr;
	case ZYDIS_MNEMONIC_SHLD:
		return exec_shld;
	case ZYDIS_MNEMONIC_SHRD:
		return exec_shrd;
	case ZYDIS_MNEMONIC_RORX:
	case ZYDIS_MNEMONIC_SARX:
	case ZYDIS_MNEMONIC_SHLX:
	case ZYDIS_MNEMONIC_SHRX:
		return exec_shift_flagless;
	default:
		return NULL;
	}
}
