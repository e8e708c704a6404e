// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * gather.c - VGATHERxx, VPGATHERxx of AVX2: elements from addresses that a vector tells
 *
 * APM volume 4: elements are loaded from the lowest on, where the sign of the mask's element is
 * set; that is cleared.  A fault leaves what has been done.
 */
#include <string.h>

#include "vector.h"

struct gather {
	unsigned index_size, data_size; /* of elements, in bytes */
	uint64_t base;
	struct ymm index, mask, value;
};

static uint64_t get_element(const struct ymm *vector, unsigned n, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, (const uint8_t *)vector + n * size, size);
	return value;
}

/* All of it: a fault does not clear what is above 128 bits. */
static void set_register(struct cpu *cpu, unsigned reg, const struct ymm *value)
{
	memcpy(cpu->state.fpu.xmm[reg], &value->lane[0], 16);
	memcpy(cpu->state.fpu.ymm_high[reg], &value->lane[1], 16);
}

static enum cpu_result load_element(struct cpu *cpu, const struct insn *insn, struct gather *gather,
				    unsigned n)
{
	unsigned size = gather->data_size;
	uint8_t *element = (uint8_t *)&gather->value + n * size;
	uint8_t *mask = (uint8_t *)&gather->mask + n * size;
	int64_t index =
		sign_extend(get_element(&gather->index, n, gather->index_size), gather->index_size);
	uint64_t offset = gather->base + (uint64_t)index * insn->scale, linear;
	enum cpu_result result = CPU_NEXT;

	if (mask[size - 1] & 0x80) {
		result = cpu_linear(cpu, insn->segment, zero_extend(offset, insn->address_size),
				    size, false, &linear);
		if (result == CPU_NEXT)
			result = cpu_load(cpu, linear, element, size);
	}
	if (result == CPU_NEXT)
		memset(mask, 0, size);
	return result;
}

static enum cpu_result gather(struct cpu *cpu, const struct insn *insn, unsigned index_size,
			      unsigned data_size)
{
	unsigned n = vector_len(insn) / (index_size > data_size ? index_size : data_size);
	unsigned to = insn->operand[0].reg, mask = insn->operand[2].reg;
	struct gather gather = {
		.index_size = index_size,
		.data_size = data_size,
		.base = (uint64_t)insn->displacement,
	};
	enum cpu_result result = vector_check(cpu, insn, NEEDS_AVX2);

	if (result != CPU_NEXT)
		return result;
	if (to == mask || to == insn->index || mask == insn->index)
		return cpu_ud(cpu);
	if (insn->base != NO_REGISTER)
		gather.base += cpu->state.gpr[insn->base];
	vector_get(cpu, insn->index, &gather.index);
	vector_get(cpu, mask, &gather.mask);
	vector_get(cpu, to, &gather.value);
	for (unsigned i = 0; i < n && result == CPU_NEXT; i++)
		result = load_element(cpu, insn, &gather, i);
	if (result != CPU_NEXT && result != CPU_FAULT)
		return result;
	if (result == CPU_NEXT) {
		memset(&gather.mask, 0, sizeof(gather.mask));
		memset((uint8_t *)&gather.value + n * data_size, 0, 32 - n * data_size);
	}
	set_register(cpu, to, &gather.value);
	set_register(cpu, mask, &gather.mask);
	return result;
}

static enum cpu_result gather_4_4(struct cpu *cpu, const struct insn *insn)
{
	return gather(cpu, insn, 4, 4);
}

static enum cpu_result gather_4_8(struct cpu *cpu, const struct insn *insn)
{
	return gather(cpu, insn, 4, 8);
}

static enum cpu_result gather_8_4(struct cpu *cpu, const struct insn *insn)
{
	return gather(cpu, insn, 8, 4);
}

static enum cpu_result gather_8_8(struct cpu *cpu, const struct insn *insn)
{
	return gather(cpu, insn, 8, 8);
}

static exec_fn *const table[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	[ZYDIS_MNEMONIC_VGATHERDPS] = gather_4_4, [ZYDIS_MNEMONIC_VGATHERDPD] = gather_4_8,
	[ZYDIS_MNEMONIC_VGATHERQPS] = gather_8_4, [ZYDIS_MNEMONIC_VGATHERQPD] = gather_8_8,
	[ZYDIS_MNEMONIC_VPGATHERDD] = gather_4_4, [ZYDIS_MNEMONIC_VPGATHERDQ] = gather_4_8,
	[ZYDIS_MNEMONIC_VPGATHERQD] = gather_8_4, [ZYDIS_MNEMONIC_VPGATHERQQ] = gather_8_8,
};

exec_fn *gather_find(ZydisMnemonic mnemonic)
{
	return table[mnemonic];
}
