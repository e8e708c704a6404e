// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * branch.c - near transfers and the stack
 *
 * Where an instruction pops, and can fault after that, RSP is put back.
 */
#include "alu.h"
#include "descriptor.h"

#define LEVEL_MASK 31u /* of ENTER */

/* Of the instruction's operand size. */
static bool is_target(const struct cpu *cpu, const struct insn *insn, uint64_t target)
{
	target = zero_extend(target, insn->operand_size);
	return is_64bit(cpu) ? is_canonical(cpu, target) : target <= cpu->state.segment[CS].limit;
}

/* Nothing has changed if it is out of bounds. */
static enum cpu_result jump(struct cpu *cpu, const struct insn *insn, uint64_t target)
{
	if (!is_target(cpu, insn, target))
		return cpu_gp(cpu, 0);
	cpu->state.rip = zero_extend(target, insn->operand_size);
	return CPU_JUMPED;
}

static enum cpu_result jump_relative(struct cpu *cpu, const struct insn *insn)
{
	return jump(cpu, insn, next_rip(cpu, insn) + insn->immediate);
}

static enum cpu_result find_target(struct cpu *cpu, const struct insn *insn, uint64_t *ret)
{
	enum cpu_result result = operand_get(cpu, insn, 0, ret);

	if (result == CPU_NEXT && insn->operand[0].kind == OPERAND_IMMEDIATE)
		*ret += next_rip(cpu, insn);
	return result;
}

static enum cpu_result exec_jmp(struct cpu *cpu, const struct insn *insn)
{
	uint64_t target;
	enum cpu_result result = find_target(cpu, insn, &target);

	return result == CPU_NEXT ? jump(cpu, insn, target) : result;
}

static enum cpu_result exec_jcc(struct cpu *cpu, const struct insn *insn)
{
	if (!alu_condition(cpu->state.rflags, insn->condition))
		return CPU_NEXT;
	return jump_relative(cpu, insn);
}

static enum cpu_result exec_jrcxz(struct cpu *cpu, const struct insn *insn)
{
	if (zero_extend(cpu->state.gpr[RCX], insn->address_size) != 0)
		return CPU_NEXT;
	return jump_relative(cpu, insn);
}

/* LOOP, LOOPE, LOOPNE: the address size is that of the counter. */
static enum cpu_result exec_loop(struct cpu *cpu, const struct insn *insn)
{
	uint64_t count = zero_extend(cpu->state.gpr[RCX] - 1, insn->address_size);
	bool is_zero = cpu->state.rflags & FLAG_ZF;
	enum cpu_result result = CPU_NEXT;

	if (count != 0 && (insn->mnemonic == ZYDIS_MNEMONIC_LOOP ||
			   is_zero == (insn->mnemonic == ZYDIS_MNEMONIC_LOOPE)))
		result = jump_relative(cpu, insn);
	if (result != CPU_FAULT)
		set_gpr(cpu, RCX, insn->address_size, count);
	return result;
}

/* Would a store of len bytes at what is to be RSP fault? */
static enum cpu_result probe_stack(struct cpu *cpu, uint64_t top, unsigned len)
{
	uint64_t linear;
	enum cpu_result result =
		cpu_linear(cpu, SS, zero_extend(top, stack_size(cpu)), len, true, &linear);

	return result == CPU_NEXT ? cpu_probe_store(cpu, linear, len) : result;
}

/* Faults of the stack come before those of the target; with these nothing is pushed. */
static enum cpu_result exec_call(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t target;
	enum cpu_result result = find_target(cpu, insn, &target);

	if (result == CPU_NEXT)
		result = probe_stack(cpu, cpu->state.gpr[RSP] - size, size);
	if (result == CPU_NEXT && !is_target(cpu, insn, target))
		return cpu_gp(cpu, 0);
	if (result == CPU_NEXT)
		result = cpu_push(cpu, next_rip(cpu, insn), size);
	return result == CPU_NEXT ? jump(cpu, insn, target) : result;
}

static void add_rsp(struct cpu *cpu, uint64_t n)
{
	set_gpr(cpu, RSP, stack_size(cpu), cpu->state.gpr[RSP] + n);
}

static enum cpu_result exec_ret(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rsp = cpu->state.gpr[RSP];
	uint64_t target;
	enum cpu_result result = cpu_pop(cpu, &target, insn->operand_size);

	if (result == CPU_NEXT)
		result = jump(cpu, insn, target);
	if (result == CPU_JUMPED)
		add_rsp(cpu, insn->immediate);
	else
		cpu->state.gpr[RSP] = rsp;
	return result;
}

static enum cpu_result exec_push(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = operand_get(cpu, insn, 0, &value);

	return result == CPU_NEXT ? cpu_push(cpu, value, insn->operand_size) : result;
}

/* A memory operand's address is made of RSP as it is behind the pop. */
static enum cpu_result exec_pop(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rsp = cpu->state.gpr[RSP];
	uint64_t value;
	enum cpu_result result = cpu_pop(cpu, &value, insn->operand_size);

	if (result == CPU_NEXT)
		result = operand_set(cpu, insn, 0, value);
	if (result != CPU_NEXT)
		cpu->state.gpr[RSP] = rsp;
	return result;
}

/* All eight, RSP as it was before. */
static enum cpu_result exec_pusha(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rsp = cpu->state.gpr[RSP];
	enum cpu_result result = CPU_NEXT;

	for (unsigned reg = RAX; reg <= RDI && result == CPU_NEXT; reg++)
		result = cpu_push(cpu, reg == RSP ? rsp : cpu->state.gpr[reg], insn->operand_size);
	if (result != CPU_NEXT)
		cpu->state.gpr[RSP] = rsp;
	return result;
}

/* What has been popped stays, whatever is behind it; it is popped again, as RSP does not move. */
static enum cpu_result exec_popa(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rsp = cpu->state.gpr[RSP];
	enum cpu_result result = CPU_NEXT;

	for (unsigned reg = RDI + 1; reg-- > RAX && result == CPU_NEXT;) {
		uint64_t value;

		result = cpu_pop(cpu, &value, insn->operand_size);
		if (result == CPU_NEXT && reg != RSP)
			set_gpr(cpu, reg, insn->operand_size, value);
	}
	if (result != CPU_NEXT)
		cpu->state.gpr[RSP] = rsp;
	return result;
}

/* Virtual-8086 mode emulates flags with IOPL below 3; CR4.VME is not offered. */
static bool may_touch_flags(const struct cpu *cpu)
{
	return !(cpu->state.rflags & FLAG_VM) || iopl_of(cpu) == 3;
}

static enum cpu_result exec_pushf(struct cpu *cpu, const struct insn *insn)
{
	if (!may_touch_flags(cpu))
		return cpu_gp(cpu, 0);
	return cpu_push(cpu, cpu->state.rflags & ~(FLAG_VM | FLAG_RF), insn->operand_size);
}

static enum cpu_result exec_popf(struct cpu *cpu, const struct insn *insn)
{
	uint64_t changeable = FLAGS_STATUS | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;
	uint64_t value;

	if (!may_touch_flags(cpu))
		return cpu_gp(cpu, 0);
	if (cpu->state.cpl == 0)
		changeable |= FLAG_IOPL;
	if (cpu->state.cpl <= iopl_of(cpu))
		changeable |= FLAG_IF;

	enum cpu_result result = cpu_pop(cpu, &value, insn->operand_size);

	if (result != CPU_NEXT)
		return result;
	changeable = zero_extend(changeable, insn->operand_size);
	cpu->state.rflags = (cpu->state.rflags & ~(changeable | FLAG_RF)) | (value & changeable);
	return CPU_NEXT;
}

/* The frame pointers of the enclosing procedures, and this one's. */
static enum cpu_result push_frames(struct cpu *cpu, const struct insn *insn, uint64_t frame)
{
	unsigned size = insn->operand_size, level = insn->immediate2 & LEVEL_MASK;
	enum cpu_result result = CPU_NEXT;
	uint64_t offset = cpu->state.gpr[RBP];

	for (unsigned i = 1; i < level && result == CPU_NEXT; i++) {
		uint64_t linear, value = 0;

		offset = zero_extend(offset - size, stack_size(cpu));
		result = cpu_linear(cpu, SS, offset, size, false, &linear);
		if (result == CPU_NEXT)
			result = cpu_load(cpu, linear, &value, size);
		if (result == CPU_NEXT)
			result = cpu_push(cpu, value, size);
	}
	if (level > 0 && result == CPU_NEXT)
		result = cpu_push(cpu, frame, size);
	return result;
}

static enum cpu_result exec_enter(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rsp = cpu->state.gpr[RSP];
	enum cpu_result result = cpu_push(cpu, cpu->state.gpr[RBP], insn->operand_size);
	uint64_t frame = cpu->state.gpr[RSP];

	if (result == CPU_NEXT)
		result = push_frames(cpu, insn, frame);
	/* The new top of the stack has to be there. */
	if (result == CPU_NEXT)
		result = probe_stack(cpu, cpu->state.gpr[RSP] - insn->immediate, 1);
	if (result != CPU_NEXT) {
		cpu->state.gpr[RSP] = rsp;
		return result;
	}
	set_gpr(cpu, RBP, insn->operand_size, frame);
	add_rsp(cpu, -insn->immediate);
	return CPU_NEXT;
}

static enum cpu_result exec_leave(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rsp = cpu->state.gpr[RSP];
	uint64_t value;
	enum cpu_result result;

	set_gpr(cpu, RSP, stack_size(cpu), cpu->state.gpr[RBP]);
	result = cpu_pop(cpu, &value, insn->operand_size);
	if (result == CPU_NEXT)
		set_gpr(cpu, RBP, insn->operand_size, value);
	else
		cpu->state.gpr[RSP] = rsp;
	return result;
}

static enum cpu_result exec_bound(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	int64_t index = sign_extend(cpu->state.gpr[insn->operand[0].reg], size);
	uint64_t offset = insn_offset(cpu, insn), linear, bound[2] = {0, 0};
	enum cpu_result result = CPU_NEXT;

	for (unsigned i = 0; i < 2 && result == CPU_NEXT; i++) {
		result = cpu_linear(cpu, insn->segment,
				    zero_extend(offset + i * size, insn->address_size), size, false,
				    &linear);
		if (result == CPU_NEXT)
			result = cpu_load(cpu, linear, &bound[i], size);
	}
	if (result != CPU_NEXT)
		return result;
	if (index < sign_extend(bound[0], size) || index > sign_extend(bound[1], size))
		return cpu_raise(cpu, VECTOR_BR, false, 0);
	return CPU_NEXT;
}

/* PUSH, POP of segment registers. */
static bool is_segment_register(const ZydisDecodedInstruction *decoded)
{
	if (decoded->opcode_map == ZYDIS_OPCODE_MAP_0F)
		return true;
	return decoded->opcode < 0x20;
}

static bool is_jcc(const ZydisDecodedInstruction *decoded)
{
	unsigned row = decoded->opcode & 0xf0;

	return decoded->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       ((decoded->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && row == 0x70) ||
		(decoded->opcode_map == ZYDIS_OPCODE_MAP_0F && row == 0x80));
}

exec_fn *branch_find(const ZydisDecodedInstruction *decoded)
{
	if (decoded->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return NULL;
	if (is_jcc(decoded))
		return exec_jcc;
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		return exec_jrcxz;
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
		return exec_loop;
	case ZYDIS_MNEMONIC_JMP:
		return exec_jmp;
	case ZYDIS_MNEMONIC_CALL:
		return exec_call;
	case ZYDIS_MNEMONIC_RET:
		return exec_ret;
	case ZYDIS_MNEMONIC_PUSH:
		return is_segment_register(decoded) ? NULL : exec_push;
	case ZYDIS_MNEMONIC_POP:
		return is_segment_register(decoded) ? NULL : exec_pop;
	case ZYDIS_MNEMONIC_PUSHA:
	case ZYDIS_MNEMONIC_PUSHAD:
		return exec_pusha;
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD:
		return exec_popa;
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ:
		return exec_pushf;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		return exec_popf;
	case ZYDIS_MNEMONIC_ENTER:
		return exec_enter;
	case ZYDIS_MNEMONIC_LEAVE:
		return exec_leave;
	case ZYDIS_MNEMONIC_BOUND:
		return exec_bound;
	default:
		return NULL;
	}
}
