// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * event.c - exceptions and interrupts, delivered to the guest: chapter 8
 *
 * Theory of operation.  A delivery looks at everything first (gate, code segment, stack), writes
 * the frame as a whole, and changes registers last.  So one that faults has changed nothing, and
 * what it leads to (8.2.9: the fault is delivered instead, or a double fault, or the CPU shuts
 * down) starts from the same state.
 *
 * Not modelled: task gates and virtual-8086 mode, which are unknown.
 */
#include <string.h>

#include "descriptor.h"

#define IVT_ENTRY_LEN	4
#define GATE_LEN	8
#define GATE_LEN_LONG	16
#define GATE_IST	7u
#define ERROR_IDT	2u
#define ERROR_EXTERNAL	1u
#define STACK_ALIGNMENT 16u
#define DR7_GD		(1ull << 13)

/* 12.2.2, 12.2.5: stacks in a TSS. */
#define TSS_RSP0    0x04u
#define TSS_IST1    0x24u
#define TSS_32_ESP0 0x04u
#define TSS_16_SP0  0x02u

struct event {
	uint8_t vector;
	bool has_error, is_software;
	uint32_t error;
};

struct gate {
	uint16_t selector;
	uint64_t offset;
	struct cpu_segment as_segment; /* for type, DPL, P */
	unsigned ist;
};

/* Where a handler begins: code, stack. */
struct handler {
	struct cpu_segment cs, ss;
	uint64_t rip, rsp;
	unsigned cpl;
	bool switches_stack;
};

static bool is_external(const struct event *event)
{
	return !event->is_software;
}

static enum cpu_result gate_fault(struct cpu *cpu, enum vector vector, const struct event *event)
{
	uint32_t error = event->vector * 8u | ERROR_IDT;

	return cpu_raise(cpu, (uint8_t)vector, true,
			 error | (is_external(event) ? ERROR_EXTERNAL : 0));
}

/* Without an offset in a selector's table; EXT may be set all the same. */
static enum cpu_result plain_fault(struct cpu *cpu, enum vector vector, const struct event *event)
{
	return selector_fault(cpu, vector, 0, is_external(event));
}

/* RFLAGS as it is pushed: RF for faults, so that a breakpoint does not strike twice. */
static uint64_t pushed_flags(const struct cpu *cpu, const struct event *event)
{
	bool is_fault = !event->is_software && event->vector < 32 && event->vector != VECTOR_NMI &&
			event->vector != VECTOR_DB && event->vector != VECTOR_BP &&
			event->vector != VECTOR_OF;

	return cpu->state.rflags | (is_fault ? FLAG_RF : 0);
}

static enum cpu_result deliver_real(struct cpu *cpu, const struct event *event)
{
	struct cpu_state *state = &cpu->state;
	uint64_t offset = event->vector * IVT_ENTRY_LEN;
	uint16_t sp = (uint16_t)(state->gpr[RSP] - 6);
	uint16_t frame[3] = {
		(uint16_t)state->rip,
		state->segment[CS].selector,
		(uint16_t)state->rflags,
	};
	uint16_t target[2]; /* IP, CS */
	uint64_t linear;
	enum cpu_result result;

	if (offset + IVT_ENTRY_LEN - 1 > state->idtr.limit)
		return gate_fault(cpu, VECTOR_GP, event);
	result =
		cpu_load_system(cpu, (uint32_t)(state->idtr.base + offset), target, sizeof(target));
	if (result == CPU_NEXT)
		result = cpu_linear(cpu, SS, sp, sizeof(frame), true, &linear);
	if (result == CPU_NEXT)
		result = cpu_store_system(cpu, linear, frame, sizeof(frame));
	if (result != CPU_NEXT)
		return result;
	set_gpr(cpu, RSP, 2, sp);
	state->rip = target[0];
	state->segment[CS].selector = target[1];
	state->segment[CS].base = (uint64_t)target[1] << 4;
	state->rflags &= ~(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
	return CPU_JUMPED;
}

static enum cpu_result read_gate(struct cpu *cpu, const struct event *event, struct gate *ret)
{
	bool is_long = is_long_mode(cpu);
	unsigned len = is_long ? GATE_LEN_LONG : GATE_LEN;
	uint64_t raw[2] = {0, 0}, linear = cpu->state.idtr.base + event->vector * len;
	enum cpu_result result;

	if (event->vector * len + len - 1 > cpu->state.idtr.limit)
		return gate_fault(cpu, VECTOR_GP, event);
	result = cpu_load_system(cpu, is_long ? linear : (uint32_t)linear, raw, len);
	*ret = (struct gate){
		.selector = (uint16_t)(raw[0] >> 16),
		.offset = (raw[0] & 0xffff) | (raw[0] >> 32 & 0xffff0000) | raw[1] << 32,
		.as_segment = {.attributes = raw[0] >> 40 & 0xff},
		.ist = is_long ? raw[0] >> 32 & GATE_IST : 0,
	};
	return result;
}

static bool is_16bit(const struct gate *gate)
{
	return type_of(&gate->as_segment) < TYPE_TSS;
}

static bool is_interrupt_gate(const struct gate *gate)
{
	return !(type_of(&gate->as_segment) & 1);
}

static bool is_gate_type(const struct cpu *cpu, const struct gate *gate)
{
	unsigned type = type_of(&gate->as_segment);

	if (!is_system(&gate->as_segment))
		return false;
	if (type == TYPE_INTERRUPT_GATE || type == TYPE_TRAP_GATE)
		return true;
	return !is_long_mode(cpu) && (type == TYPE_INTERRUPT_GATE_16 || type == TYPE_TRAP_GATE_16);
}

static enum cpu_result check_gate(struct cpu *cpu, const struct event *event,
				  const struct gate *gate)
{
	if (!is_long_mode(cpu) && is_system(&gate->as_segment) &&
	    type_of(&gate->as_segment) == TYPE_TASK_GATE)
		return CPU_IS_UNKNOWN;
	if (!is_gate_type(cpu, gate) ||
	    (event->is_software && dpl_of(&gate->as_segment) < cpu->state.cpl))
		return gate_fault(cpu, VECTOR_GP, event);
	return is_present(&gate->as_segment) ? CPU_NEXT : gate_fault(cpu, VECTOR_NP, event);
}

static enum cpu_result find_code(struct cpu *cpu, const struct event *event,
				 const struct gate *gate, struct handler *handler)
{
	bool external = is_external(event);
	struct descriptor descriptor;
	struct cpu_segment *cs = &descriptor.segment;
	enum cpu_result result;

	if (is_null(gate->selector))
		return plain_fault(cpu, VECTOR_GP, event);
	result = descriptor_read(cpu, gate->selector, VECTOR_GP, external, &descriptor);
	if (result != CPU_NEXT)
		return result;
	if (!is_code(cs) || dpl_of(cs) > cpu->state.cpl ||
	    (is_long_mode(cpu) && (cs->attributes & (SEGMENT_L | SEGMENT_DB)) != SEGMENT_L))
		return selector_fault(cpu, VECTOR_GP, gate->selector, external);
	if (!is_present(cs))
		return selector_fault(cpu, VECTOR_NP, gate->selector, external);
	handler->cpl = is_conforming(cs) ? cpu->state.cpl : dpl_of(cs);
	handler->rip = is_16bit(gate) ? (uint16_t)gate->offset : gate->offset;
	if (is_long_mode(cpu) ? !is_canonical(cpu, handler->rip) : handler->rip > cs->limit)
		return plain_fault(cpu, VECTOR_GP, event);
	result = descriptor_access(cpu, &descriptor);
	cs->selector = (uint16_t)((gate->selector & ~SELECTOR_RPL) | handler->cpl);
	handler->cs = *cs;
	return result;
}

static enum cpu_result read_tss(struct cpu *cpu, const struct event *event, unsigned offset,
				void *ret, unsigned len)
{
	const struct cpu_segment *tr = &cpu->state.tr;

	if (offset + len - 1 > tr->limit)
		return selector_fault(cpu, VECTOR_TS, tr->selector, is_external(event));
	return cpu_load_system(cpu, tr->base + offset, ret, len);
}

static enum cpu_result find_stack_long(struct cpu *cpu, const struct event *event,
				       const struct gate *gate, struct handler *handler)
{
	enum cpu_result result = CPU_NEXT;

	handler->ss =
		handler->cpl != cpu->state.cpl ? null_stack(handler->cpl) : cpu->state.segment[SS];
	handler->rsp = cpu->state.gpr[RSP];
	if (gate->ist)
		result = read_tss(cpu, event, TSS_IST1 + 8 * (gate->ist - 1), &handler->rsp, 8);
	else if (handler->cpl != cpu->state.cpl)
		result = read_tss(cpu, event, TSS_RSP0 + 8 * handler->cpl, &handler->rsp, 8);
	handler->rsp &= ~(uint64_t)(STACK_ALIGNMENT - 1);
	return result;
}

static enum cpu_result find_stack_legacy(struct cpu *cpu, const struct event *event,
					 struct handler *handler)
{
	bool is_tss_16 = type_of(&cpu->state.tr) < TYPE_TSS;
	unsigned size = is_tss_16 ? 2 : 4;
	unsigned offset =
		is_tss_16 ? TSS_16_SP0 + 4 * handler->cpl : TSS_32_ESP0 + 8 * handler->cpl;
	struct descriptor descriptor;
	uint16_t selector;
	enum cpu_result result;

	handler->ss = cpu->state.segment[SS];
	handler->rsp = cpu->state.gpr[RSP];
	handler->switches_stack = handler->cpl != cpu->state.cpl;
	if (!handler->switches_stack)
		return CPU_NEXT;
	handler->rsp = 0;
	result = read_tss(cpu, event, offset, &handler->rsp, size);
	if (result == CPU_NEXT)
		result = read_tss(cpu, event, offset + size, &selector, sizeof(selector));
	if (result == CPU_NEXT)
		result = descriptor_read_stack(cpu, selector, handler->cpl, VECTOR_TS,
					       is_external(event), &descriptor);
	if (result == CPU_NEXT)
		result = descriptor_access(cpu, &descriptor);
	if (result == CPU_NEXT)
		handler->ss = descriptor.segment;
	return result;
}

static enum cpu_result store_frame(struct cpu *cpu, const struct handler *handler, uint64_t linear,
				   const void *frame, unsigned len)
{
	return handler->cpl == 3 ? cpu_store(cpu, linear, frame, len)
				 : cpu_store_system(cpu, linear, frame, len);
}

/* 8.9.3 */
static enum cpu_result push_long(struct cpu *cpu, const struct event *event,
				 struct handler *handler)
{
	const struct cpu_state *state = &cpu->state;
	uint64_t frame[6] = {
		event->error,
		state->rip,
		state->segment[CS].selector,
		pushed_flags(cpu, event),
		state->gpr[RSP],
		state->segment[SS].selector,
	};
	unsigned skip = event->has_error ? 0 : 1;
	unsigned len = (unsigned)sizeof(frame) - skip * 8;

	handler->rsp -= len;
	if (!is_canonical(cpu, handler->rsp))
		return plain_fault(cpu, VECTOR_SS, event);
	return store_frame(cpu, handler, handler->rsp, &frame[skip], len);
}

/* 8.7.2, 8.7.3: of 16 or 32 bits, with SS:ESP if the stack is another. */
static enum cpu_result push_legacy(struct cpu *cpu, const struct event *event, bool is_16,
				   struct handler *handler)
{
	struct cpu_state *state = &cpu->state;
	uint32_t values[6] = {
		event->error,
		(uint32_t)state->rip,
		state->segment[CS].selector,
		(uint32_t)pushed_flags(cpu, event),
		(uint32_t)state->gpr[RSP],
		state->segment[SS].selector,
	};
	unsigned skip = event->has_error ? 0 : 1, size = is_16 ? 2 : 4;
	unsigned n = (handler->switches_stack ? 6 : 4) - skip;
	unsigned width = handler->ss.attributes & SEGMENT_DB ? 4 : 2;
	struct cpu_segment old_ss = state->segment[SS];
	uint8_t frame[sizeof(values)];
	uint64_t linear;
	enum cpu_result result;

	for (unsigned i = 0; i < n; i++)
		memcpy(&frame[i * size], &values[skip + i], size);
	handler->rsp = zero_extend(handler->rsp - n * size, width);
	/* The segment is the new one's. */
	state->segment[SS] = handler->ss;
	result = cpu_linear_slow(cpu, SS, handler->rsp, n * size, true, &linear);
	state->segment[SS] = old_ss;
	if (result == CPU_FAULT)
		return selector_fault(cpu, VECTOR_SS,
				      handler->switches_stack ? handler->ss.selector : 0,
				      is_external(event));
	return store_frame(cpu, handler, linear, frame, n * size);
}

static void enter(struct cpu *cpu, const struct gate *gate, const struct handler *handler)
{
	struct cpu_state *state = &cpu->state;

	state->segment[CS] = handler->cs;
	state->segment[SS] = handler->ss;
	state->cpl = (uint8_t)handler->cpl;
	set_gpr(cpu, RSP, stack_size(cpu), handler->rsp);
	state->rip = handler->rip;
	state->rflags &= ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM);
	if (is_interrupt_gate(gate))
		state->rflags &= ~FLAG_IF;
}

static enum cpu_result deliver_protected(struct cpu *cpu, const struct event *event)
{
	struct handler handler = {0};
	struct gate gate = {0};
	enum cpu_result result;

	if (cpu->state.rflags & FLAG_VM)
		return CPU_IS_UNKNOWN;
	result = read_gate(cpu, event, &gate);
	if (result == CPU_NEXT)
		result = check_gate(cpu, event, &gate);
	if (result == CPU_NEXT)
		result = find_code(cpu, event, &gate, &handler);
	if (result == CPU_NEXT)
		result = is_long_mode(cpu) ? find_stack_long(cpu, event, &gate, &handler)
					   : find_stack_legacy(cpu, event, &handler);
	if (result == CPU_NEXT)
		result = is_long_mode(cpu) ? push_long(cpu, event, &handler)
					   : push_legacy(cpu, event, is_16bit(&gate), &handler);
	if (result != CPU_NEXT)
		return result;
	enter(cpu, &gate, &handler);
	return CPU_JUMPED;
}

/* 8.2.9, which is silent on #VC: as one of them it cannot follow itself for ever. */
static bool is_contributory(uint8_t vector)
{
	return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP) ||
	       vector == VECTOR_VC;
}

static bool is_double_fault(uint8_t first, uint8_t second)
{
	if (first == VECTOR_PF)
		return second == VECTOR_PF || is_contributory(second);
	return is_contributory(first) && is_contributory(second);
}

enum cpu_result cpu_deliver(struct cpu *cpu, uint8_t vector, bool has_error, uint32_t error,
			    bool is_software)
{
	struct event event = {
		.vector = vector,
		.has_error = has_error,
		.is_software = is_software,
		.error = error,
	};
	enum cpu_result result;

	for (;;) {
		result = is_real_mode(cpu) ? deliver_real(cpu, &event)
					   : deliver_protected(cpu, &event);
		if (result != CPU_FAULT || is_software)
			break;
		if (event.vector == VECTOR_DF)
			return CPU_SHUTS_DOWN;
		if (cpu->fault.vector == VECTOR_PF)
			cpu->state.cr2 = cpu->fault.address;
		if (is_double_fault(event.vector, cpu->fault.vector))
			event = (struct event){.vector = VECTOR_DF, .has_error = true};
		else
			event = (struct event){
				.vector = cpu->fault.vector,
				.has_error = cpu->fault.has_error,
				.error = cpu->fault.error,
			};
	}
	if (result == CPU_JUMPED) {
		cpu->state.shadow = SHADOW_NONE;
		if (event.vector == VECTOR_DB)
			cpu->state.dr7 &= ~DR7_GD;
	}
	return result;
}

bool cpu_can_interrupt(const struct cpu *cpu)
{
	return (cpu->state.rflags & FLAG_IF) && cpu->state.shadow == SHADOW_NONE &&
	       !cpu->state.exception.pending;
}

/* As KVM sees it, the shadow of STI keeps NMIs out, too. */
bool cpu_can_nmi(const struct cpu *cpu)
{
	return !cpu->state.nmi_masked && cpu->state.shadow == SHADOW_NONE &&
	       !cpu->state.exception.pending;
}

static void interrupt(struct cpu *cpu, uint8_t vector)
{
	enum cpu_result result = cpu_deliver(cpu, vector, false, 0, false);

	cpu->state.halted = false;
	if (result == CPU_ABANDONED || result == CPU_IS_UNKNOWN)
		cpu->state.exception = (struct cpu_exception){.pending = true, .vector = vector};
	else if (result != CPU_JUMPED)
		/* This fails as well, and so the CPU shuts down. */
		cpu->state.exception = (struct cpu_exception){
			.pending = true, .has_error = true, .vector = VECTOR_DF};
}

void cpu_interrupt(struct cpu *cpu, uint8_t vector)
{
	interrupt(cpu, vector);
}

void cpu_nmi(struct cpu *cpu)
{
	cpu->state.nmi_masked = true;
	interrupt(cpu, VECTOR_NMI);
}
