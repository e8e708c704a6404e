// SPDX-License-Identifier: GPL-2.0-or-later
/* operand.c - operands of integer instructions, wherever they are */
#include <string.h>

#include "internal.h"

#define HIGH_BYTE 0xff00ull

/* The linear address of the memory operand. */
static enum cpu_result find_memory(struct cpu *cpu, const struct insn *insn, unsigned size,
				   bool is_write, uint64_t *ret)
{
	return cpu_linear(cpu, insn->segment, insn_offset(cpu, insn), size, is_write, ret);
}

static uint64_t get_register(const struct cpu *cpu, const struct operand *operand)
{
	uint64_t value = cpu->state.gpr[operand->reg];

	if (operand->kind == OPERAND_HIGH_BYTE)
		return (uint8_t)(value >> 8);
	return zero_extend(value, operand->size);
}

static void set_register(struct cpu *cpu, const struct operand *operand, uint64_t value)
{
	uint64_t *gpr = &cpu->state.gpr[operand->reg];

	if (operand->kind == OPERAND_HIGH_BYTE)
		*gpr = (*gpr & ~HIGH_BYTE) | (uint64_t)(uint8_t)value << 8;
	else
		set_gpr(cpu, operand->reg, operand->size, value);
}

enum cpu_result operand_get(struct cpu *cpu, const struct insn *insn, unsigned n, uint64_t *ret)
{
	const struct operand *operand = &insn->operand[n];
	uint64_t linear;
	enum cpu_result result;

	switch (operand->kind) {
	case OPERAND_GPR:
	case OPERAND_HIGH_BYTE:
		*ret = get_register(cpu, operand);
		return CPU_NEXT;
	case OPERAND_IMMEDIATE:
		*ret = insn->immediate;
		return CPU_NEXT;
	case OPERAND_MEMORY:
		result = find_memory(cpu, insn, operand->size, false, &linear);
		if (result != CPU_NEXT)
			return result;
		*ret = 0;
		return cpu_load(cpu, linear, ret, operand->size);
	default:
		return CPU_IS_UNKNOWN;
	}
}

enum cpu_result operand_set(struct cpu *cpu, const struct insn *insn, unsigned n, uint64_t value)
{
	const struct operand *operand = &insn->operand[n];
	uint64_t linear;
	enum cpu_result result;

	switch (operand->kind) {
	case OPERAND_GPR:
	case OPERAND_HIGH_BYTE:
		set_register(cpu, operand, value);
		return CPU_NEXT;
	case OPERAND_MEMORY:
		result = find_memory(cpu, insn, operand->size, true, &linear);
		if (result != CPU_NEXT)
			return result;
		return cpu_store(cpu, linear, &value, operand->size);
	default:
		return CPU_IS_UNKNOWN;
	}
}

static uint64_t compute(struct modification *modification, uint64_t old)
{
	modification->old = old;
	modification->flags = modification->flags_before;
	return modification->compute(modification, old);
}

static bool modify_memory(void *opaque, const void *old, void *ret_new)
{
	struct modification *modification = opaque;
	uint64_t value = 0;

	memcpy(&value, old, modification->size);
	value = compute(modification, value);
	memcpy(ret_new, &value, modification->size);
	return true;
}

enum cpu_result operand_modify(struct cpu *cpu, const struct insn *insn, unsigned n,
			       struct modification *modification)
{
	const struct operand *operand = &insn->operand[n];
	enum cpu_result result = CPU_NEXT;
	uint64_t linear;

	modification->size = operand->size;
	modification->flags_before = cpu->state.rflags;
	switch (operand->kind) {
	case OPERAND_GPR:
	case OPERAND_HIGH_BYTE:
		set_register(cpu, operand, compute(modification, get_register(cpu, operand)));
		break;
	case OPERAND_MEMORY:
		result = find_memory(cpu, insn, operand->size, true, &linear);
		if (result == CPU_NEXT)
			result = cpu_modify(cpu, linear, operand->size, insn->lock, modify_memory,
					    modification);
		break;
	default:
		return CPU_IS_UNKNOWN;
	}
	if (result == CPU_NEXT)
		cpu->state.rflags = modification->flags;
	return result;
}
