// SPDX-License-Identifier: GPL-2.0-or-later
/* segment.c - instructions that load, store and ask about segment registers and descriptors */
#include "alu.h"
#include "descriptor.h"

static enum cpu_result exec_mov_from_segment(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector = cpu->state.segment[insn->operand[1].reg].selector;

	return operand_set(cpu, insn, 0, selector);
}

/* 8.1.2: what comes next is not interrupted, so that RSP can be loaded. */
static void shadow_after(struct cpu *cpu, unsigned segment)
{
	if (segment == SS)
		cpu->state.shadow = SHADOW_MOV_SS;
}

static enum cpu_result exec_mov_to_segment(struct cpu *cpu, const struct insn *insn)
{
	unsigned segment = insn->operand[0].reg;
	uint64_t selector;
	enum cpu_result result;

	if (segment == CS)
		return cpu_ud(cpu);
	result = operand_get(cpu, insn, 1, &selector);
	if (result == CPU_NEXT)
		result = cpu_load_segment(cpu, segment, (uint16_t)selector);
	if (result == CPU_NEXT)
		shadow_after(cpu, segment);
	return result;
}

static enum cpu_result exec_push_segment(struct cpu *cpu, const struct insn *insn)
{
	return cpu_push(cpu, cpu->state.segment[insn->operand[0].reg].selector, insn->operand_size);
}

static enum cpu_result exec_pop_segment(struct cpu *cpu, const struct insn *insn)
{
	unsigned segment = insn->operand[0].reg;
	unsigned size = stack_size(cpu);
	uint64_t rsp = cpu->state.gpr[RSP], selector, behind;
	enum cpu_result result = cpu_pop(cpu, &selector, insn->operand_size);

	behind = cpu->state.gpr[RSP];
	cpu->state.gpr[RSP] = rsp;
	if (result == CPU_NEXT)
		result = cpu_load_segment(cpu, segment, (uint16_t)selector);
	if (result != CPU_NEXT)
		return result;
	/* As wide as the stack was, if it has been SS. */
	set_gpr(cpu, RSP, size, behind);
	shadow_after(cpu, segment);
	return CPU_NEXT;
}

/* LDS, LES, LFS, LGS, LSS */
static enum cpu_result load_far_pointer(struct cpu *cpu, const struct insn *insn, unsigned segment)
{
	unsigned size = insn->operand[0].size;
	uint64_t linear, offset = 0;
	uint16_t selector;
	enum cpu_result result =
		cpu_linear(cpu, insn->segment, insn_offset(cpu, insn), size + 2, false, &linear);

	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear, &offset, size);
	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear + size, &selector, sizeof(selector));
	if (result == CPU_NEXT)
		result = cpu_load_segment(cpu, segment, selector);
	if (result == CPU_NEXT)
		set_gpr(cpu, insn->operand[0].reg, size, offset);
	return result;
}

static enum cpu_result exec_lds(struct cpu *cpu, const struct insn *insn)
{
	return load_far_pointer(cpu, insn, DS);
}

static enum cpu_result exec_les(struct cpu *cpu, const struct insn *insn)
{
	return load_far_pointer(cpu, insn, ES);
}

static enum cpu_result exec_lfs(struct cpu *cpu, const struct insn *insn)
{
	return load_far_pointer(cpu, insn, FS);
}

static enum cpu_result exec_lgs(struct cpu *cpu, const struct insn *insn)
{
	return load_far_pointer(cpu, insn, GS);
}

static enum cpu_result exec_lss(struct cpu *cpu, const struct insn *insn)
{
	return load_far_pointer(cpu, insn, SS);
}

static void set_zf(struct cpu *cpu, bool is_set)
{
	cpu->state.rflags = (cpu->state.rflags & ~FLAG_ZF) | flag_if(is_set, FLAG_ZF);
}

static bool has_limit(unsigned type)
{
	return type == TYPE_TSS_16 || type == TYPE_LDT || type == TYPE_TSS_16_BUSY ||
	       type == TYPE_TSS || type == TYPE_TSS_BUSY;
}

/* Volume 3, LAR and LSL: descriptors that can be asked about. */
static bool has_rights(unsigned type, bool is_long)
{
	if (type == TYPE_LDT || type == TYPE_TSS || type == TYPE_TSS_BUSY || type == TYPE_CALL_GATE)
		return true;
	return !is_long && (type == TYPE_TSS_16 || type == TYPE_TSS_16_BUSY ||
			    type == TYPE_CALL_GATE_16 || type == TYPE_TASK_GATE);
}

/*
 * For LAR, LSL, VERR, VERW, which say by ZF whether the descriptor may be looked at.  A selector
 * beyond its table is no exception, but a page fault is.
 */
static enum cpu_result ask(struct cpu *cpu, uint16_t selector, struct descriptor *ret,
			   bool *ret_visible)
{
	const struct cpu_segment *segment = &ret->segment;
	unsigned rpl = selector & SELECTOR_RPL;
	enum cpu_result result;

	*ret_visible = false;
	if (is_real_mode(cpu) || (cpu->state.rflags & FLAG_VM))
		return cpu_ud(cpu);
	if (is_null(selector))
		return CPU_NEXT;
	result = descriptor_read(cpu, selector, VECTOR_GP, false, ret);
	if (result == CPU_FAULT && cpu->fault.vector == VECTOR_GP)
		return CPU_NEXT;
	*ret_visible = is_conforming(segment) ||
		       (cpu->state.cpl <= dpl_of(segment) && rpl <= dpl_of(segment));
	return result;
}

static enum cpu_result exec_lar(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor descriptor;
	uint64_t selector;
	bool is_visible;
	enum cpu_result result = operand_get(cpu, insn, 1, &selector);

	if (result == CPU_NEXT)
		result = ask(cpu, (uint16_t)selector, &descriptor, &is_visible);
	if (result != CPU_NEXT)
		return result;
	if (is_visible && is_system(&descriptor.segment))
		is_visible = has_rights(type_of(&descriptor.segment), is_long_mode(cpu));
	set_zf(cpu, is_visible);
	if (is_visible)
		set_gpr(cpu, insn->operand[0].reg, insn->operand[0].size,
			descriptor.low >> 32 & 0xf0ff00);
	return CPU_NEXT;
}

static enum cpu_result exec_lsl(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor descriptor;
	uint64_t selector;
	bool is_visible;
	enum cpu_result result = operand_get(cpu, insn, 1, &selector);

	if (result == CPU_NEXT)
		result = ask(cpu, (uint16_t)selector, &descriptor, &is_visible);
	if (result != CPU_NEXT)
		return result;
	if (is_visible && is_system(&descriptor.segment))
		is_visible = has_limit(type_of(&descriptor.segment)) &&
			     has_rights(type_of(&descriptor.segment), is_long_mode(cpu));
	set_zf(cpu, is_visible);
	if (is_visible)
		set_gpr(cpu, insn->operand[0].reg, insn->operand[0].size, descriptor.segment.limit);
	return CPU_NEXT;
}

static enum cpu_result verify(struct cpu *cpu, const struct insn *insn,
			      bool (*is_fit)(const struct cpu_segment *segment))
{
	struct descriptor descriptor;
	uint64_t selector;
	bool is_visible;
	enum cpu_result result = operand_get(cpu, insn, 0, &selector);

	if (result == CPU_NEXT)
		result = ask(cpu, (uint16_t)selector, &descriptor, &is_visible);
	if (result == CPU_NEXT)
		set_zf(cpu, is_visible && is_fit(&descriptor.segment));
	return result;
}

static enum cpu_result exec_verr(struct cpu *cpu, const struct insn *insn)
{
	return verify(cpu, insn, is_readable);
}

static enum cpu_result exec_verw(struct cpu *cpu, const struct insn *insn)
{
	return verify(cpu, insn, is_writable);
}

/* PUSH and POP of segment registers have opcodes of their own. */
static bool is_segment_opcode(const ZydisDecodedInstruction *decoded)
{
	return decoded->opcode_map == ZYDIS_OPCODE_MAP_0F || decoded->opcode < 0x20;
}

static exec_fn *find_mov(const ZydisDecodedInstruction *decoded)
{
	if (decoded->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		return NULL;
	if (decoded->opcode == 0x8c)
		return exec_mov_from_segment;
	return decoded->opcode == 0x8e ? exec_mov_to_segment : NULL;
}

exec_fn *segment_find(const ZydisDecodedInstruction *decoded)
{
	exec_fn *exec = far_find(decoded);

	if (!exec)
		exec = syscall_find(decoded);
	if (exec)
		return exec;
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		return find_mov(decoded);
	case ZYDIS_MNEMONIC_PUSH:
		return is_segment_opcode(decoded) ? exec_push_segment : NULL;
	case ZYDIS_MNEMONIC_POP:
		return is_segment_opcode(decoded) ? exec_pop_segment : NULL;
	case ZYDIS_MNEMONIC_LDS:
		return exec_lds;
	case ZYDIS_MNEMONIC_LES:
		return exec_les;
	case ZYDIS_MNEMONIC_LFS:
		return exec_lfs;
	case ZYDIS_MNEMONIC_LGS:
		return exec_lgs;
	case ZYDIS_MNEMONIC_LSS:
		return exec_lss;
	case ZYDIS_MNEMONIC_LAR:
		return exec_lar;
	case ZYDIS_MNEMONIC_LSL:
		return exec_lsl;
	case ZYDIS_MNEMONIC_VERR:
		return exec_verr;
	case ZYDIS_MNEMONIC_VERW:
		return exec_verw;
	default:
		return NULL;
	}
}
