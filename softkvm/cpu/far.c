// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * far.c - far JMP, CALL and RET, software interrupts, IRET
 *
 * Call gates, task gates and task switches are unknown instructions; so is the way into
 * virtual-8086 mode.
 */
#include "alu.h"
#include "descriptor.h"

struct far_pointer {
	uint16_t selector;
	uint64_t offset;
};

/* Where RET and IRET lead to. */
struct return_frame {
	struct far_pointer target;
	uint64_t flags, rsp;
	uint16_t ss;
	bool has_stack;
};

static enum cpu_result find_pointer(struct cpu *cpu, const struct insn *insn,
				    struct far_pointer *ret)
{
	uint64_t linear;
	enum cpu_result result;

	*ret = (struct far_pointer){0};
	if (insn->operand[0].kind == OPERAND_FAR_POINTER) {
		ret->offset = (uint32_t)insn->immediate;
		ret->selector = (uint16_t)(insn->immediate >> 32);
		return CPU_NEXT;
	}
	result = cpu_linear(cpu, insn->segment, insn_offset(cpu, insn), insn->operand_size + 2,
			    false, &linear);
	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear, &ret->offset, insn->operand_size);
	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear + insn->operand_size, &ret->selector, 2);
	return result;
}

/* The bounds of RIP in a code segment that is about to be CS. */
static bool is_in_bounds(const struct cpu *cpu, const struct cpu_segment *cs, uint64_t rip)
{
	if (is_long_mode(cpu) && (cs->attributes & SEGMENT_L))
		return is_canonical(cpu, rip);
	return rip <= cs->limit;
}

/* 4.7.3: L and D at once are reserved. */
static bool is_valid_code(const struct cpu *cpu, const struct cpu_segment *cs)
{
	uint16_t both = SEGMENT_L | SEGMENT_DB;

	return is_code(cs) && !(is_long_mode(cpu) && (cs->attributes & both) == both);
}

static enum cpu_result transfer_real(struct cpu *cpu, const struct far_pointer *target)
{
	if (target->offset > cpu->state.segment[CS].limit)
		return cpu_gp(cpu, 0);
	cpu->state.segment[CS].selector = target->selector;
	cpu->state.segment[CS].base = (uint64_t)target->selector << 4;
	cpu->state.rip = target->offset;
	return CPU_JUMPED;
}

/* CS:RIP within this privilege level, for JMP and CALL; *ret_cs is to be loaded. */
static enum cpu_result find_target(struct cpu *cpu, const struct far_pointer *target,
				   struct cpu_segment *ret_cs)
{
	struct descriptor descriptor;
	const struct cpu_segment *cs = &descriptor.segment;
	unsigned cpl = cpu->state.cpl;
	enum cpu_result result;

	if (is_null(target->selector))
		return cpu_gp(cpu, 0);
	result = descriptor_read(cpu, target->selector, VECTOR_GP, false, &descriptor);
	if (result != CPU_NEXT)
		return result;
	if (is_system(cs) && type_of(cs) != 0)
		return CPU_IS_UNKNOWN;

	bool is_allowed = is_conforming(cs)
				  ? dpl_of(cs) <= cpl
				  : dpl_of(cs) == cpl && (target->selector & SELECTOR_RPL) <= cpl;

	if (!is_valid_code(cpu, cs) || !is_allowed)
		return selector_fault(cpu, VECTOR_GP, target->selector, false);
	if (!is_present(cs))
		return selector_fault(cpu, VECTOR_NP, target->selector, false);
	if (!is_in_bounds(cpu, cs, target->offset))
		return cpu_gp(cpu, 0);
	result = descriptor_access(cpu, &descriptor);
	*ret_cs = *cs;
	ret_cs->selector = (uint16_t)((target->selector & ~SELECTOR_RPL) | cpl);
	return result;
}

static bool has_no_descriptors(const struct cpu *cpu)
{
	return is_real_mode(cpu) || (cpu->state.rflags & FLAG_VM);
}

static enum cpu_result exec_jmp_far(struct cpu *cpu, const struct insn *insn)
{
	struct far_pointer target;
	struct cpu_segment cs;
	enum cpu_result result = find_pointer(cpu, insn, &target);

	if (result != CPU_NEXT)
		return result;
	if (has_no_descriptors(cpu))
		return transfer_real(cpu, &target);
	result = find_target(cpu, &target, &cs);
	if (result != CPU_NEXT)
		return result;
	cpu->state.segment[CS] = cs;
	cpu->state.rip = target.offset;
	return CPU_JUMPED;
}

static enum cpu_result exec_call_far(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rsp = cpu->state.gpr[RSP];
	struct cpu_segment cs = cpu->state.segment[CS];
	struct far_pointer target;
	enum cpu_result result = find_pointer(cpu, insn, &target);

	if (result == CPU_NEXT && !has_no_descriptors(cpu))
		result = find_target(cpu, &target, &cs);
	if (result == CPU_NEXT)
		result = cpu_push(cpu, cpu->state.segment[CS].selector, insn->operand_size);
	if (result == CPU_NEXT)
		result = cpu_push(cpu, next_rip(cpu, insn), insn->operand_size);
	if (result == CPU_NEXT && has_no_descriptors(cpu)) {
		result = transfer_real(cpu, &target);
	} else if (result == CPU_NEXT) {
		cpu->state.segment[CS] = cs;
		cpu->state.rip = target.offset;
		return CPU_JUMPED;
	}
	if (result != CPU_JUMPED)
		cpu->state.gpr[RSP] = rsp;
	return result;
}

/* The nth value on the stack; `skip` bytes of parameters are between. */
static enum cpu_result peek(struct cpu *cpu, unsigned n, unsigned size, uint64_t skip,
			    uint64_t *ret)
{
	uint64_t offset =
		zero_extend(cpu->state.gpr[RSP] + (uint64_t)n * size + skip, stack_size(cpu));
	uint64_t linear;
	enum cpu_result result = cpu_linear(cpu, SS, offset, size, false, &linear);

	*ret = 0;
	return result == CPU_NEXT ? cpu_load(cpu, linear, ret, size) : result;
}

static enum cpu_result read_stack_pointer(struct cpu *cpu, unsigned n, unsigned size, uint64_t skip,
					  struct return_frame *frame)
{
	uint64_t ss;
	enum cpu_result result = peek(cpu, n, size, skip, &frame->rsp);

	if (result == CPU_NEXT)
		result = peek(cpu, n + 1, size, skip, &ss);
	if (result == CPU_NEXT)
		frame->ss = (uint16_t)ss;
	frame->has_stack = true;
	return result;
}

static enum cpu_result read_return(struct cpu *cpu, unsigned size, struct return_frame *ret)
{
	uint64_t cs;
	enum cpu_result result = peek(cpu, 0, size, 0, &ret->target.offset);

	if (result == CPU_NEXT)
		result = peek(cpu, 1, size, 0, &cs);
	if (result == CPU_NEXT)
		ret->target.selector = (uint16_t)cs;
	return result;
}

static enum cpu_result find_return_code(struct cpu *cpu, const struct far_pointer *target,
					struct descriptor *ret)
{
	const struct cpu_segment *cs = &ret->segment;
	unsigned rpl = target->selector & SELECTOR_RPL;
	enum cpu_result result;

	if (is_null(target->selector))
		return cpu_gp(cpu, 0);
	result = descriptor_read(cpu, target->selector, VECTOR_GP, false, ret);
	if (result != CPU_NEXT)
		return result;
	if (!is_valid_code(cpu, cs) || rpl < cpu->state.cpl ||
	    (is_conforming(cs) ? dpl_of(cs) > rpl : dpl_of(cs) != rpl))
		return selector_fault(cpu, VECTOR_GP, target->selector, false);
	if (!is_present(cs))
		return selector_fault(cpu, VECTOR_NP, target->selector, false);
	return is_in_bounds(cpu, cs, target->offset) ? CPU_NEXT : cpu_gp(cpu, 0);
}

static enum cpu_result find_return_stack(struct cpu *cpu, const struct return_frame *frame,
					 const struct cpu_segment *cs, struct cpu_segment *ret)
{
	unsigned rpl = frame->target.selector & SELECTOR_RPL;
	struct descriptor descriptor;
	enum cpu_result result;

	if (is_null(frame->ss) && is_long_mode(cpu) && (cs->attributes & SEGMENT_L) && rpl < 3 &&
	    (frame->ss & SELECTOR_RPL) == rpl) {
		*ret = null_stack(rpl);
		return CPU_NEXT;
	}
	result = descriptor_read_stack(cpu, frame->ss, rpl, VECTOR_GP, false, &descriptor);
	if (result == CPU_NEXT)
		result = descriptor_access(cpu, &descriptor);
	if (result == CPU_NEXT)
		*ret = descriptor.segment;
	return result;
}

/* 4.11.2: a less privileged program does not get to keep the segments of a more privileged. */
static void drop_segments(struct cpu *cpu, unsigned cpl)
{
	static const unsigned names[] = {ES, DS, FS, GS};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct cpu_segment *segment = &cpu->state.segment[names[i]];

		if (is_present(segment) && !is_conforming(segment) && dpl_of(segment) < cpl)
			*segment = (struct cpu_segment){0};
	}
}

/* RSP is behind the frame, and `release` more, on both stacks. */
static enum cpu_result return_to(struct cpu *cpu, const struct return_frame *frame, uint64_t behind,
				 uint64_t release)
{
	unsigned rpl = frame->target.selector & SELECTOR_RPL;
	struct descriptor code;
	struct cpu_segment ss = cpu->state.segment[SS];
	enum cpu_result result = find_return_code(cpu, &frame->target, &code);

	if (result == CPU_NEXT && frame->has_stack)
		result = find_return_stack(cpu, frame, &code.segment, &ss);
	if (result == CPU_NEXT)
		result = descriptor_access(cpu, &code);
	if (result != CPU_NEXT)
		return result;

	bool is_outward = rpl > cpu->state.cpl;
	uint64_t rsp = (frame->has_stack ? frame->rsp : behind) + release;

	cpu->state.segment[CS] = code.segment;
	cpu->state.segment[SS] = ss;
	cpu->state.cpl = (uint8_t)rpl;
	cpu->state.rip = frame->target.offset;
	set_gpr(cpu, RSP, stack_size(cpu), rsp);
	if (is_outward)
		drop_segments(cpu, rpl);
	return CPU_JUMPED;
}

static enum cpu_result exec_ret_far(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t behind = cpu->state.gpr[RSP] + 2 * size;
	struct return_frame frame = {0};
	enum cpu_result result = read_return(cpu, size, &frame);

	if (result != CPU_NEXT)
		return result;
	if (has_no_descriptors(cpu)) {
		result = transfer_real(cpu, &frame.target);
		if (result == CPU_JUMPED)
			set_gpr(cpu, RSP, stack_size(cpu), behind + insn->immediate);
		return result;
	}
	if ((frame.target.selector & SELECTOR_RPL) > cpu->state.cpl)
		result = read_stack_pointer(cpu, 2, size, insn->immediate, &frame);
	if (result != CPU_NEXT)
		return result;
	return return_to(cpu, &frame, behind, insn->immediate);
}

static uint64_t flags_by_iret(const struct cpu *cpu, uint64_t flags, unsigned size)
{
	uint64_t changeable =
		FLAGS_STATUS | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_RF | FLAG_AC | FLAG_ID;

	if (cpu->state.cpl == 0)
		changeable |= FLAG_IOPL;
	if (cpu->state.cpl <= iopl_of(cpu))
		changeable |= FLAG_IF;
	changeable = zero_extend(changeable, size);
	return (cpu->state.rflags & ~changeable) | (flags & changeable);
}

static enum cpu_result iret_real(struct cpu *cpu, unsigned size, const struct return_frame *frame)
{
	uint64_t flags = flags_by_iret(cpu, frame->flags, size);
	uint64_t behind = cpu->state.gpr[RSP] + 3 * size;
	enum cpu_result result = transfer_real(cpu, &frame->target);

	if (result == CPU_JUMPED) {
		cpu->state.rflags = flags;
		set_gpr(cpu, RSP, stack_size(cpu), behind);
	}
	return result;
}

static enum cpu_result iret_protected(struct cpu *cpu, unsigned size, struct return_frame *frame)
{
	uint64_t flags = flags_by_iret(cpu, frame->flags, size);
	uint64_t behind = cpu->state.gpr[RSP] + 3 * size;
	enum cpu_result result = CPU_NEXT;

	if (!is_long_mode(cpu) && (frame->flags & FLAG_VM) && cpu->state.cpl == 0 && size > 2)
		return CPU_IS_UNKNOWN;
	/* 8.9.4: always, in 64-bit mode. */
	if (is_64bit(cpu) || (frame->target.selector & SELECTOR_RPL) > cpu->state.cpl)
		result = read_stack_pointer(cpu, 3, size, 0, frame);
	if (result == CPU_NEXT)
		result = return_to(cpu, frame, behind, 0);
	if (result == CPU_JUMPED)
		cpu->state.rflags = flags;
	return result;
}

static enum cpu_result exec_iret(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	struct return_frame frame = {0};
	enum cpu_result result;

	if (cpu->state.rflags & FLAG_VM)
		return CPU_IS_UNKNOWN;
	/* Back from a task, which long mode has not. */
	if (!is_real_mode(cpu) && (cpu->state.rflags & FLAG_NT))
		return is_long_mode(cpu) ? cpu_gp(cpu, 0) : CPU_IS_UNKNOWN;
	result = read_return(cpu, size, &frame);
	if (result == CPU_NEXT)
		result = peek(cpu, 2, size, 0, &frame.flags);
	if (result == CPU_NEXT)
		result = is_real_mode(cpu) ? iret_real(cpu, size, &frame)
					   : iret_protected(cpu, size, &frame);
	if (result == CPU_JUMPED) {
		cpu->state.nmi_masked = false;
		code_doubt(cpu);
	}
	return result;
}

/* If it cannot be delivered, the fault is that of the instruction. */
static enum cpu_result interrupt(struct cpu *cpu, const struct insn *insn, uint8_t vector,
				 bool is_software)
{
	uint64_t rip = cpu->state.rip;
	enum cpu_result result;

	cpu->state.rip = next_rip(cpu, insn);
	result = cpu_deliver(cpu, vector, false, 0, is_software);
	if (result != CPU_JUMPED)
		cpu->state.rip = rip;
	return result;
}

static enum cpu_result exec_int(struct cpu *cpu, const struct insn *insn)
{
	return interrupt(cpu, insn, (uint8_t)insn->immediate, true);
}

static enum cpu_result exec_int3(struct cpu *cpu, const struct insn *insn)
{
	return interrupt(cpu, insn, VECTOR_BP, true);
}

static enum cpu_result exec_into(struct cpu *cpu, const struct insn *insn)
{
	return cpu->state.rflags & FLAG_OF ? interrupt(cpu, insn, VECTOR_OF, true) : CPU_NEXT;
}

/* The gate's DPL is not looked at. */
static enum cpu_result exec_int1(struct cpu *cpu, const struct insn *insn)
{
	return interrupt(cpu, insn, VECTOR_DB, false);
}

exec_fn *far_find(const ZydisDecodedInstruction *decoded)
{
	bool is_far = decoded->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;

	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
		return is_far ? exec_jmp_far : NULL;
	case ZYDIS_MNEMONIC_CALL:
		return is_far ? exec_call_far : NULL;
	case ZYDIS_MNEMONIC_RET:
		return is_far ? exec_ret_far : NULL;
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
		return exec_iret;
	case ZYDIS_MNEMONIC_INT:
		return exec_int;
	case ZYDIS_MNEMONIC_INT3:
		return exec_int3;
	case ZYDIS_MNEMONIC_INTO:
		return exec_into;
	case ZYDIS_MNEMONIC_INT1:
		return exec_int1;
	default:
		return NULL;
	}
}
