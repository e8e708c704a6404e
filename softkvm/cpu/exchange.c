// SPDX-License-Identifier: GPL-2.0-or-later
/* exchange.c - instructions that return what was there: XCHG, XADD, CMPXCHG */
#include <string.h>

#include "alu.h"

static uint64_t compute_source(struct modification *m, uint64_t old)
{
	(void)old;
	return m->source;
}

static enum cpu_result exec_xchg(struct cpu *cpu, const struct insn *insn)
{
	/* The memory operand may be either. */
	unsigned memory = insn->operand[1].kind == OPERAND_MEMORY, other = !memory;
	struct modification modification = {.compute = compute_source};
	enum cpu_result result = operand_get(cpu, insn, other, &modification.source);

	if (result == CPU_NEXT)
		result = operand_modify(cpu, insn, memory, &modification);
	return result == CPU_NEXT ? operand_set(cpu, insn, other, modification.old) : result;
}

static uint64_t compute_sum(struct modification *m, uint64_t old)
{
	return alu_add(&m->flags, m->size, old, m->source, false);
}

static enum cpu_result exec_xadd(struct cpu *cpu, const struct insn *insn)
{
	struct modification modification = {.compute = compute_sum};
	uint64_t old;
	enum cpu_result result = operand_get(cpu, insn, 1, &modification.source);

	if (result != CPU_NEXT)
		return result;
	if (insn->operand[0].kind == OPERAND_MEMORY) {
		result = operand_modify(cpu, insn, 0, &modification);
		return result == CPU_NEXT ? operand_set(cpu, insn, 1, modification.old) : result;
	}
	/* The sum is written last: both may be the same register. */
	(void)operand_get(cpu, insn, 0, &old);
	(void)operand_set(cpu, insn, 1, old);
	return operand_set(cpu, insn, 0,
			   alu_add(&cpu->state.rflags, insn->operand[0].size, old,
				   modification.source, false));
}

struct comparison {
	struct modification modification; /* source: the new value */
	uint64_t expected;
};

static uint64_t compute_exchange(struct modification *m, uint64_t old)
{
	const struct comparison *comparison = (const struct comparison *)m;

	return alu_sub(&m->flags, m->size, comparison->expected, old, false) == 0 ? m->source : old;
}

/* A register that is not equal is not written: it keeps its upper half. */
static enum cpu_result compare_register(struct cpu *cpu, const struct insn *insn,
					struct comparison *comparison)
{
	struct modification *m = &comparison->modification;

	m->size = insn->operand[0].size;
	m->flags = cpu->state.rflags;
	(void)operand_get(cpu, insn, 0, &m->old);
	(void)compute_exchange(m, m->old);
	cpu->state.rflags = m->flags;
	return m->flags & FLAG_ZF ? operand_set(cpu, insn, 0, m->source) : CPU_NEXT;
}

static enum cpu_result exec_cmpxchg(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand[0].size;
	struct comparison comparison = {
		.modification.compute = compute_exchange,
		.expected = zero_extend(cpu->state.gpr[RAX], size),
	};
	enum cpu_result result = operand_get(cpu, insn, 1, &comparison.modification.source);

	if (result != CPU_NEXT)
		return result;
	if (insn->operand[0].kind == OPERAND_MEMORY)
		result = operand_modify(cpu, insn, 0, &comparison.modification);
	else
		result = compare_register(cpu, insn, &comparison);
	if (result == CPU_NEXT && !(cpu->state.rflags & FLAG_ZF))
		set_gpr(cpu, RAX, size, comparison.modification.old);
	return result;
}

/* CMPXCHG8B and CMPXCHG16B: pairs of registers of half that size. */
struct pair {
	uint64_t low, high;
};

struct pair_comparison {
	struct pair expected, desired, old;
	unsigned half; /* in bytes */
};

static bool exchange_pair(void *opaque, const void *old, void *ret_new)
{
	struct pair_comparison *comparison = opaque;
	const struct pair *desired = &comparison->desired;
	unsigned half = comparison->half;

	comparison->old = (struct pair){0, 0};
	memcpy(&comparison->old.low, old, half);
	memcpy(&comparison->old.high, (const uint8_t *)old + half, half);
	if (comparison->old.low != comparison->expected.low ||
	    comparison->old.high != comparison->expected.high)
		desired = &comparison->old;
	memcpy(ret_new, &desired->low, half);
	memcpy((uint8_t *)ret_new + half, &desired->high, half);
	return true;
}

static struct pair get_pair(const struct cpu *cpu, unsigned low, unsigned high, unsigned size)
{
	return (struct pair){
		.low = zero_extend(cpu->state.gpr[low], size),
		.high = zero_extend(cpu->state.gpr[high], size),
	};
}

static enum cpu_result exec_cmpxchg_pair(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand[0].size, half = size / 2;
	struct pair_comparison comparison = {
		.expected = get_pair(cpu, RAX, RDX, half),
		.desired = get_pair(cpu, RBX, RCX, half),
		.half = half,
	};
	uint64_t linear;
	enum cpu_result result;

	if (size == 16 && !insn_is_aligned(cpu, insn, size))
		return cpu_gp(cpu, 0);
	result = cpu_linear(cpu, insn->segment, insn_offset(cpu, insn), size, true, &linear);
	if (result != CPU_NEXT)
		return result;
	result = cpu_modify(cpu, linear, size, insn->lock, exchange_pair, &comparison);
	if (result != CPU_NEXT)
		return result;
	cpu->state.rflags |= FLAG_ZF;
	if (comparison.old.low != comparison.expected.low ||
	    comparison.old.high != comparison.expected.high) {
		cpu->state.rflags &= ~FLAG_ZF;
		set_gpr(cpu, RAX, half, comparison.old.low);
		set_gpr(cpu, RDX, half, comparison.old.high);
	}
	return CPU_NEXT;
}

exec_fn *exchange_find(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_XCHG:
		return exec_xchg;
	case ZYDIS_MNEMONIC_XADD:
		return exec_xadd;
	case ZYDIS_MNEMONIC_CMPXCHG:
		return exec_cmpxchg;
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		return exec_cmpxchg_pair;
	default:
		return NULL;
	}
}
