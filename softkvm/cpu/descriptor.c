// SPDX-License-Identifier: GPL-2.0-or-later
/* descriptor.c - loading segments, and addresses within them: chapter 4 */
#include "descriptor.h"

#define DESCRIPTOR_LEN	  8
#define DESCRIPTOR_ACCESS 5 /* the byte with type, S, DPL, P */

enum cpu_result selector_fault(struct cpu *cpu, enum vector vector, uint16_t selector,
			       bool external)
{
	return cpu_raise(cpu, (uint8_t)vector, true, (selector & ~SELECTOR_RPL) | external);
}

static void parse(uint16_t selector, struct descriptor *descriptor)
{
	uint64_t low = descriptor->low;
	uint32_t limit = (uint32_t)((low & 0xffff) | (low >> 32 & 0xf0000));
	struct cpu_segment *segment = &descriptor->segment;

	*segment = (struct cpu_segment){
		.selector = selector,
		.attributes = (uint16_t)((low >> 40 & 0xff) | (low >> 44 & 0xf00)),
		.base = (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000) | descriptor->high << 32,
	};
	segment->limit = segment->attributes & SEGMENT_G ? limit << 12 | 0xfff : limit;
}

/* The linear address of [selector's descriptor, +len), if that is within its table. */
static bool find_descriptor(const struct cpu *cpu, uint16_t selector, unsigned len, uint64_t *ret)
{
	const struct cpu_state *state = &cpu->state;
	unsigned offset = selector & ~(SELECTOR_RPL | SELECTOR_LDT);
	uint64_t base = state->gdtr.base;
	uint32_t limit = state->gdtr.limit;

	if (selector & SELECTOR_LDT) {
		if (!is_present(&state->ldtr))
			return false;
		base = state->ldtr.base;
		limit = state->ldtr.limit;
	}
	*ret = base + offset;
	if (!is_long_mode(cpu))
		*ret = (uint32_t)*ret;
	return offset + len - 1 <= limit;
}

enum cpu_result descriptor_read(struct cpu *cpu, uint16_t selector, enum vector vector,
				bool external, struct descriptor *ret)
{
	enum cpu_result result;

	ret->high = 0;
	if (!find_descriptor(cpu, selector, DESCRIPTOR_LEN, &ret->linear))
		return selector_fault(cpu, vector, selector, external);
	result = cpu_load_system(cpu, ret->linear, &ret->low, DESCRIPTOR_LEN);
	if (result == CPU_NEXT)
		parse(selector, ret);
	return result;
}

enum cpu_result descriptor_widen(struct cpu *cpu, uint16_t selector, struct descriptor *descriptor)
{
	uint64_t linear;
	enum cpu_result result;

	if (!is_long_mode(cpu))
		return CPU_NEXT;
	if (!find_descriptor(cpu, selector, 2 * DESCRIPTOR_LEN, &linear))
		return selector_fault(cpu, VECTOR_GP, selector, false);
	result = cpu_load_system(cpu, linear + DESCRIPTOR_LEN, &descriptor->high, DESCRIPTOR_LEN);
	if (result == CPU_NEXT)
		parse(selector, descriptor);
	return result;
}

enum cpu_result descriptor_access(struct cpu *cpu, struct descriptor *descriptor)
{
	uint8_t access = (uint8_t)descriptor->segment.attributes | TYPE_ACCESSED;

	if (descriptor->segment.attributes & TYPE_ACCESSED)
		return CPU_NEXT;
	descriptor->segment.attributes |= TYPE_ACCESSED;
	return cpu_store_system(cpu, descriptor->linear + DESCRIPTOR_ACCESS, &access, 1);
}

enum cpu_result descriptor_read_stack(struct cpu *cpu, uint16_t selector, unsigned cpl,
				      enum vector vector, bool external, struct descriptor *ret)
{
	enum cpu_result result;

	if (is_null(selector))
		return selector_fault(cpu, vector, 0, external);
	result = descriptor_read(cpu, selector, vector, external, ret);
	if (result != CPU_NEXT)
		return result;
	if ((selector & SELECTOR_RPL) != cpl || dpl_of(&ret->segment) != cpl ||
	    !is_writable(&ret->segment))
		return selector_fault(cpu, vector, selector, external);
	if (!is_present(&ret->segment))
		return selector_fault(cpu, VECTOR_SS, selector, external);
	return CPU_NEXT;
}

struct cpu_segment null_stack(unsigned cpl)
{
	return (struct cpu_segment){
		.selector = (uint16_t)cpl,
		.attributes = (uint16_t)(cpl * (SEGMENT_DPL / 3)),
	};
}

static enum cpu_result load_stack_segment(struct cpu *cpu, uint16_t selector)
{
	struct descriptor descriptor;
	unsigned cpl = cpu->state.cpl;
	enum cpu_result result;

	/* 4.5.1: there may be none in 64-bit mode. */
	if (is_null(selector) && is_64bit(cpu) && cpl < 3 && (selector & SELECTOR_RPL) == cpl) {
		cpu->state.segment[SS] = null_stack(cpl);
		return CPU_NEXT;
	}
	result = descriptor_read_stack(cpu, selector, cpl, VECTOR_GP, false, &descriptor);
	if (result == CPU_NEXT)
		result = descriptor_access(cpu, &descriptor);
	if (result == CPU_NEXT)
		cpu->state.segment[SS] = descriptor.segment;
	return result;
}

static enum cpu_result load_data_segment(struct cpu *cpu, unsigned segment, uint16_t selector)
{
	struct descriptor descriptor;
	unsigned rpl = selector & SELECTOR_RPL;
	enum cpu_result result;

	if (is_null(selector)) {
		cpu->state.segment[segment] = (struct cpu_segment){.selector = selector};
		return CPU_NEXT;
	}
	result = descriptor_read(cpu, selector, VECTOR_GP, false, &descriptor);
	if (result != CPU_NEXT)
		return result;

	unsigned dpl = dpl_of(&descriptor.segment);

	if (!is_readable(&descriptor.segment) ||
	    (!is_conforming(&descriptor.segment) && (rpl > dpl || cpu->state.cpl > dpl)))
		return selector_fault(cpu, VECTOR_GP, selector, false);
	if (!is_present(&descriptor.segment))
		return selector_fault(cpu, VECTOR_NP, selector, false);
	result = descriptor_access(cpu, &descriptor);
	if (result == CPU_NEXT)
		cpu->state.segment[segment] = descriptor.segment;
	return result;
}

enum cpu_result cpu_load_segment(struct cpu *cpu, unsigned segment, uint16_t selector)
{
	if (cpu->state.rflags & FLAG_VM)
		return CPU_IS_UNKNOWN;
	if (is_real_mode(cpu)) {
		/* 4.5: limit and attributes stay what they are. */
		cpu->state.segment[segment].selector = selector;
		cpu->state.segment[segment].base = (uint64_t)selector << 4;
		return CPU_NEXT;
	}
	return segment == SS ? load_stack_segment(cpu, selector)
			     : load_data_segment(cpu, segment, selector);
}

static bool is_within_limit(const struct cpu_segment *segment, uint64_t offset, unsigned len)
{
	uint64_t last = offset + len - 1;

	if (is_code(segment) || !(segment->attributes & TYPE_EXPAND_DOWN))
		return last <= segment->limit;
	return offset > segment->limit &&
	       last <= (segment->attributes & SEGMENT_DB ? UINT32_MAX : UINT16_MAX);
}

static bool allows(const struct cpu *cpu, const struct cpu_segment *segment, bool is_write)
{
	if (is_real_mode(cpu))
		return true;
	return is_present(segment) && (is_write ? is_writable(segment) : is_readable(segment));
}

enum cpu_result cpu_linear_slow(struct cpu *cpu, unsigned segment, uint64_t offset, unsigned len,
				bool is_write, uint64_t *ret)
{
	const struct cpu_segment *cache = &cpu->state.segment[segment];
	bool is_within;

	if (is_64bit(cpu)) {
		*ret = offset + (segment >= FS ? cache->base : 0);
		is_within = is_canonical(cpu, *ret) && is_canonical(cpu, *ret + len - 1);
	} else {
		*ret = (uint32_t)(cache->base + offset);
		is_within = allows(cpu, cache, is_write) && is_within_limit(cache, offset, len);
	}
	if (is_within)
		return CPU_NEXT;
	return cpu_raise(cpu, segment == SS ? VECTOR_SS : VECTOR_GP, true, 0);
}

enum cpu_result cpu_push(struct cpu *cpu, uint64_t value, unsigned size)
{
	unsigned width = stack_size(cpu);
	uint64_t rsp = zero_extend(cpu->state.gpr[RSP] - size, width);
	uint64_t linear;
	enum cpu_result result = cpu_linear(cpu, SS, rsp, size, true, &linear);

	if (result == CPU_NEXT)
		result = cpu_store(cpu, linear, &value, size);
	if (result == CPU_NEXT)
		set_gpr(cpu, RSP, width, rsp);
	return result;
}

enum cpu_result cpu_pop(struct cpu *cpu, uint64_t *ret, unsigned size)
{
	unsigned width = stack_size(cpu);
	uint64_t rsp = zero_extend(cpu->state.gpr[RSP], width);
	uint64_t linear;
	enum cpu_result result = cpu_linear(cpu, SS, rsp, size, false, &linear);

	*ret = 0;
	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear, ret, size);
	if (result == CPU_NEXT)
		set_gpr(cpu, RSP, width, rsp + size);
	return result;
}
