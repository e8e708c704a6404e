// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fast.c - the forms of instructions that most of a program in 64-bit mode consists of
 *
 * Each function here does what the general one (integer.c, branch.c) does for the same instruction,
 * with operand kinds and sizes known to the compiler; the general ones are the reference.  What
 * these are about: sizes of 4 and 8 bytes, no LOCK, memory operands with 64-bit addresses.  Only
 * 64-bit mode has those, and decoded instructions are kept per mode, so that it need not be asked.
 */
#include "alu.h"
#include "tlb.h"
#include "translate.h"

enum source { FROM_GPR, FROM_IMMEDIATE, FROM_MEMORY };

enum operation { DO_ADD, DO_OR, DO_ADC, DO_SBB, DO_AND, DO_SUB, DO_XOR, DO_CMP, DO_TEST, DO_MOV };

#define always_inline inline __attribute__((always_inline))

static always_inline uint64_t offset_of(const struct cpu *cpu, const struct insn *insn)
{
	uint64_t offset = (uint64_t)insn->displacement;

	if (insn->base == BASE_RIP)
		offset += cpu->state.rip + insn->length;
	else if (insn->base != NO_REGISTER)
		offset += cpu->state.gpr[insn->base];
	if (insn->index != NO_REGISTER)
		offset += cpu->state.gpr[insn->index] * insn->scale;
	return offset;
}

static always_inline enum cpu_result find_memory(struct cpu *cpu, const struct insn *insn,
						 unsigned size, bool is_write, uint64_t *ret)
{
	return cpu_linear(cpu, insn->segment, offset_of(cpu, insn), size, is_write, ret);
}

static always_inline enum cpu_result load_linear(struct cpu *cpu, uint64_t linear, unsigned size,
						 uint64_t *ret)
{
	const uint8_t *direct =
		tlb_direct(cpu, linear, size, tlb_right(tlb_privilege(cpu), TLB_READ));

	*ret = 0;
	if (!direct)
		return cpu_load(cpu, linear, ret, size);
	guest_read(ret, direct, size);
	return CPU_NEXT;
}

static always_inline enum cpu_result store_linear(struct cpu *cpu, uint64_t linear, unsigned size,
						  uint64_t value)
{
	uint8_t *direct = tlb_direct(cpu, linear, size, tlb_right(tlb_privilege(cpu), TLB_WRITE));

	if (!direct)
		return cpu_store(cpu, linear, &value, size);
	guest_write(direct, &value, size);
	return CPU_NEXT;
}

static always_inline enum cpu_result load(struct cpu *cpu, const struct insn *insn, unsigned size,
					  uint64_t *ret)
{
	uint64_t linear;
	enum cpu_result result = find_memory(cpu, insn, size, false, &linear);

	return result == CPU_NEXT ? load_linear(cpu, linear, size, ret) : result;
}

static always_inline enum cpu_result store(struct cpu *cpu, const struct insn *insn, unsigned size,
					   uint64_t value)
{
	uint64_t linear;
	enum cpu_result result = find_memory(cpu, insn, size, true, &linear);

	return result == CPU_NEXT ? store_linear(cpu, linear, size, value) : result;
}

static always_inline uint64_t get_gpr(const struct cpu *cpu, unsigned reg, unsigned size)
{
	return zero_extend(cpu->state.gpr[reg], size);
}

static always_inline enum cpu_result get_source(struct cpu *cpu, const struct insn *insn,
						enum source source, unsigned size, uint64_t *ret)
{
	if (source == FROM_MEMORY)
		return load(cpu, insn, size, ret);
	*ret = source == FROM_GPR ? get_gpr(cpu, insn->operand[1].reg, size) : insn->immediate;
	return CPU_NEXT;
}

static always_inline uint64_t operate(uint64_t *flags, enum operation operation, unsigned size,
				      uint64_t a, uint64_t b)
{
	switch (operation) {
	case DO_ADD:
		return alu_add(flags, size, a, b, false);
	case DO_ADC:
		return alu_add(flags, size, a, b, *flags & FLAG_CF);
	case DO_SBB:
		return alu_sub(flags, size, a, b, *flags & FLAG_CF);
	case DO_SUB:
	case DO_CMP:
		return alu_sub(flags, size, a, b, false);
	case DO_AND:
	case DO_TEST:
		return alu_logic(flags, size, a & b);
	case DO_OR:
		return alu_logic(flags, size, a | b);
	case DO_XOR:
		return alu_logic(flags, size, a ^ b);
	case DO_MOV:
		break;
	}
	return b;
}

/* Operand 0 is a register. */
static always_inline enum cpu_result to_gpr(struct cpu *cpu, const struct insn *insn,
					    enum operation operation, enum source source,
					    unsigned size)
{
	unsigned reg = insn->operand[0].reg;
	uint64_t value;
	enum cpu_result result = get_source(cpu, insn, source, size, &value);

	if (result != CPU_NEXT)
		return result;
	value = operate(&cpu->state.rflags, operation, size, get_gpr(cpu, reg, size), value);
	if (operation != DO_CMP && operation != DO_TEST)
		set_gpr(cpu, reg, size, value);
	return CPU_NEXT;
}

/* Operand 0 is memory that is only read, or only written. */
static always_inline enum cpu_result with_memory(struct cpu *cpu, const struct insn *insn,
						 enum operation operation, enum source source,
						 unsigned size)
{
	uint64_t a, b;
	enum cpu_result result;

	(void)get_source(cpu, insn, source, size, &b);
	if (operation == DO_MOV)
		return store(cpu, insn, size, b);
	result = load(cpu, insn, size, &a);
	if (result == CPU_NEXT)
		(void)operate(&cpu->state.rflags, operation, size, a, b);
	return result;
}

/*
 * Operand 0 is memory that is read and written.  Not LOCKed, so others may come between; but
 * whether it can be written is known before it is read, as page faults tell of a write.
 */
static always_inline enum cpu_result modify_memory(struct cpu *cpu, const struct insn *insn,
						   enum operation operation, enum source source,
						   unsigned size)
{
	uint64_t linear, a = 0, b, flags = cpu->state.rflags;
	enum cpu_result result = find_memory(cpu, insn, size, true, &linear);
	uint8_t *direct;

	if (result != CPU_NEXT)
		return result;
	(void)get_source(cpu, insn, source, size, &b);
	direct = tlb_direct(cpu, linear, size, tlb_right(tlb_privilege(cpu), TLB_WRITE));
	if (direct) {
		guest_read(&a, direct, size);
		a = operate(&cpu->state.rflags, operation, size, a, b);
		guest_write(direct, &a, size);
		return CPU_NEXT;
	}
	result = cpu_probe_store(cpu, linear, size);
	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear, &a, size);
	if (result != CPU_NEXT)
		return result;
	a = operate(&flags, operation, size, a, b);
	result = cpu_store(cpu, linear, &a, size);
	if (result == CPU_NEXT)
		cpu->state.rflags = flags;
	return result;
}

/* What C has no templates for: a function per form. */
#define FORM(name, does, operation, source, size)                                                  \
	static enum cpu_result name(struct cpu *cpu, const struct insn *insn)                      \
	{                                                                                          \
		return does(cpu, insn, operation, source, size);                                   \
	}

#define FORMS_TO_GPR(name, operation)                                                              \
	FORM(name##_gpr_4, to_gpr, operation, FROM_GPR, 4)                                         \
	FORM(name##_gpr_8, to_gpr, operation, FROM_GPR, 8)                                         \
	FORM(name##_immediate_4, to_gpr, operation, FROM_IMMEDIATE, 4)                             \
	FORM(name##_immediate_8, to_gpr, operation, FROM_IMMEDIATE, 8)                             \
	FORM(name##_memory_4, to_gpr, operation, FROM_MEMORY, 4)                                   \
	FORM(name##_memory_8, to_gpr, operation, FROM_MEMORY, 8)

#define FORMS_WITH_MEMORY(name, does, operation)                                                   \
	FORM(name##_gpr_1, does, operation, FROM_GPR, 1)                                           \
	FORM(name##_gpr_4, does, operation, FROM_GPR, 4)                                           \
	FORM(name##_gpr_8, does, operation, FROM_GPR, 8)                                           \
	FORM(name##_immediate_1, does, operation, FROM_IMMEDIATE, 1)                               \
	FORM(name##_immediate_4, does, operation, FROM_IMMEDIATE, 4)                               \
	FORM(name##_immediate_8, does, operation, FROM_IMMEDIATE, 8)

FORMS_TO_GPR(add, DO_ADD)
FORMS_TO_GPR(or, DO_OR)
FORMS_TO_GPR(adc, DO_ADC)
FORMS_TO_GPR(sbb, DO_SBB)
FORMS_TO_GPR(and, DO_AND)
FORMS_TO_GPR(sub, DO_SUB)
FORMS_TO_GPR(xor, DO_XOR)
FORMS_TO_GPR(cmp, DO_CMP)
FORMS_TO_GPR(test, DO_TEST)
FORMS_TO_GPR(mov, DO_MOV)
FORMS_WITH_MEMORY(add_memory, modify_memory, DO_ADD)
FORMS_WITH_MEMORY(or_memory, modify_memory, DO_OR)
FORMS_WITH_MEMORY(and_memory, modify_memory, DO_AND)
FORMS_WITH_MEMORY(sub_memory, modify_memory, DO_SUB)
FORMS_WITH_MEMORY(xor_memory, modify_memory, DO_XOR)
FORMS_WITH_MEMORY(cmp_memory, with_memory, DO_CMP)
FORMS_WITH_MEMORY(test_memory, with_memory, DO_TEST)
FORMS_WITH_MEMORY(mov_memory, with_memory, DO_MOV)

#define ROW_TO_GPR(name)                                                                           \
	{                                                                                          \
		[FROM_GPR] = {[4] = name##_gpr_4, [8] = name##_gpr_8},                             \
		[FROM_IMMEDIATE] = {[4] = name##_immediate_4, [8] = name##_immediate_8},           \
		[FROM_MEMORY] = {[4] = name##_memory_4, [8] = name##_memory_8},                    \
	}

#define ROW_WITH_MEMORY(name)                                                                      \
	{                                                                                          \
		[FROM_GPR] = {[1] = name##_gpr_1, [4] = name##_gpr_4, [8] = name##_gpr_8},         \
		[FROM_IMMEDIATE] = {[1] = name##_immediate_1,                                      \
				    [4] = name##_immediate_4,                                      \
				    [8] = name##_immediate_8},                                     \
	}

#define SIZES 9

static exec_fn *binary_form(const struct insn *insn, enum operation operation)
{
	static exec_fn *const gpr[][FROM_MEMORY + 1][SIZES] = {
		[DO_ADD] = ROW_TO_GPR(add),   [DO_OR] = ROW_TO_GPR(or),
		[DO_ADC] = ROW_TO_GPR(adc),   [DO_SBB] = ROW_TO_GPR(sbb),
		[DO_AND] = ROW_TO_GPR(and),   [DO_SUB] = ROW_TO_GPR(sub),
		[DO_XOR] = ROW_TO_GPR(xor),   [DO_CMP] = ROW_TO_GPR(cmp),
		[DO_TEST] = ROW_TO_GPR(test), [DO_MOV] = ROW_TO_GPR(mov),
	};
	static exec_fn *const memory[][FROM_MEMORY + 1][SIZES] = {
		[DO_ADD] = ROW_WITH_MEMORY(add_memory),	  [DO_OR] = ROW_WITH_MEMORY(or_memory),
		[DO_AND] = ROW_WITH_MEMORY(and_memory),	  [DO_SUB] = ROW_WITH_MEMORY(sub_memory),
		[DO_XOR] = ROW_WITH_MEMORY(xor_memory),	  [DO_CMP] = ROW_WITH_MEMORY(cmp_memory),
		[DO_TEST] = ROW_WITH_MEMORY(test_memory), [DO_MOV] = ROW_WITH_MEMORY(mov_memory),
	};
	static const uint8_t sources[] = {
		[OPERAND_GPR] = FROM_GPR,
		[OPERAND_IMMEDIATE] = FROM_IMMEDIATE,
		[OPERAND_MEMORY] = FROM_MEMORY,
	};
	unsigned size = insn->operand[0].size, kind = insn->operand[1].kind;

	if (size >= SIZES ||
	    (kind != OPERAND_GPR && kind != OPERAND_IMMEDIATE && kind != OPERAND_MEMORY))
		return NULL;
	if (insn->operand[0].kind == OPERAND_GPR)
		return gpr[operation][sources[kind]][size];
	if (insn->operand[0].kind == OPERAND_MEMORY)
		return memory[operation][sources[kind]][size];
	return NULL;
}

static enum cpu_result inc_4(struct cpu *cpu, const struct insn *insn)
{
	uint64_t *gpr = &cpu->state.gpr[insn->operand[0].reg];

	*gpr = alu_inc(&cpu->state.rflags, 4, (uint32_t)*gpr);
	return CPU_NEXT;
}

static enum cpu_result inc_8(struct cpu *cpu, const struct insn *insn)
{
	uint64_t *gpr = &cpu->state.gpr[insn->operand[0].reg];

	*gpr = alu_inc(&cpu->state.rflags, 8, *gpr);
	return CPU_NEXT;
}

static enum cpu_result dec_4(struct cpu *cpu, const struct insn *insn)
{
	uint64_t *gpr = &cpu->state.gpr[insn->operand[0].reg];

	*gpr = alu_dec(&cpu->state.rflags, 4, (uint32_t)*gpr);
	return CPU_NEXT;
}

static enum cpu_result dec_8(struct cpu *cpu, const struct insn *insn)
{
	uint64_t *gpr = &cpu->state.gpr[insn->operand[0].reg];

	*gpr = alu_dec(&cpu->state.rflags, 8, *gpr);
	return CPU_NEXT;
}

/* MOVZX of a byte in memory. */
static enum cpu_result movzx_memory_1(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = load(cpu, insn, 1, &value);

	if (result == CPU_NEXT)
		cpu->state.gpr[insn->operand[0].reg] = value;
	return result;
}

/* RIP to a target of 64 bits. */
static always_inline enum cpu_result jump(struct cpu *cpu, uint64_t target)
{
	uint64_t linear;
	enum cpu_result result = cpu_linear(cpu, CS, target, 1, false, &linear);

	if (result != CPU_NEXT)
		return result;
	cpu->state.rip = target;
	return CPU_JUMPED;
}

static always_inline uint64_t relative_target(const struct cpu *cpu, const struct insn *insn)
{
	return cpu->state.rip + insn->length + insn->immediate;
}

static enum cpu_result jmp(struct cpu *cpu, const struct insn *insn)
{
	return jump(cpu, relative_target(cpu, insn));
}

static enum cpu_result jcc(struct cpu *cpu, const struct insn *insn)
{
	if (!alu_condition(cpu->state.rflags, insn->condition))
		return CPU_NEXT;
	return jump(cpu, relative_target(cpu, insn));
}

static always_inline enum cpu_result push_8(struct cpu *cpu, uint64_t value)
{
	uint64_t linear, rsp = cpu->state.gpr[RSP] - 8;
	enum cpu_result result = cpu_linear(cpu, SS, rsp, 8, true, &linear);

	if (result == CPU_NEXT)
		result = store_linear(cpu, linear, 8, value);
	if (result == CPU_NEXT)
		cpu->state.gpr[RSP] = rsp;
	return result;
}

static always_inline enum cpu_result load_stack(struct cpu *cpu, uint64_t *ret)
{
	uint64_t linear;
	enum cpu_result result = cpu_linear(cpu, SS, cpu->state.gpr[RSP], 8, false, &linear);

	return result == CPU_NEXT ? load_linear(cpu, linear, 8, ret) : result;
}

static enum cpu_result push_gpr_8(struct cpu *cpu, const struct insn *insn)
{
	return push_8(cpu, cpu->state.gpr[insn->operand[0].reg]);
}

static enum cpu_result pop_gpr_8(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = load_stack(cpu, &value);

	if (result == CPU_NEXT) {
		cpu->state.gpr[RSP] += 8;
		cpu->state.gpr[insn->operand[0].reg] = value;
	}
	return result;
}

static enum cpu_result call_relative(struct cpu *cpu, const struct insn *insn)
{
	uint64_t linear, target = relative_target(cpu, insn);
	enum cpu_result result = cpu_linear(cpu, CS, target, 1, false, &linear);

	if (result == CPU_NEXT)
		result = push_8(cpu, cpu->state.rip + insn->length);
	if (result != CPU_NEXT)
		return result;
	cpu->state.rip = target;
	return CPU_JUMPED;
}

static enum cpu_result ret_8(struct cpu *cpu, const struct insn *insn)
{
	uint64_t target;
	enum cpu_result result = load_stack(cpu, &target);

	if (result == CPU_NEXT)
		result = jump(cpu, target);
	if (result == CPU_JUMPED)
		cpu->state.gpr[RSP] += 8 + insn->immediate;
	return result;
}

static enum cpu_result lea_8(struct cpu *cpu, const struct insn *insn)
{
	cpu->state.gpr[insn->operand[0].reg] = offset_of(cpu, insn);
	return CPU_NEXT;
}

static enum cpu_result lea_4(struct cpu *cpu, const struct insn *insn)
{
	cpu->state.gpr[insn->operand[0].reg] = (uint32_t)offset_of(cpu, insn);
	return CPU_NEXT;
}

static exec_fn *of_size(const struct insn *insn, exec_fn *form_4, exec_fn *form_8)
{
	unsigned size = insn->operand[0].size;

	if (insn->operand[0].kind != OPERAND_GPR)
		return NULL;
	if (size == 4)
		return form_4;
	return size == 8 ? form_8 : NULL;
}

static exec_fn *branch_form(const struct insn *insn, exec_fn *form)
{
	return insn->operand[0].kind == OPERAND_IMMEDIATE && insn->operand_size == 8 ? form : NULL;
}

static bool is_jcc(const struct insn *insn)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_JO:
	case ZYDIS_MNEMONIC_JNO:
	case ZYDIS_MNEMONIC_JB:
	case ZYDIS_MNEMONIC_JNB:
	case ZYDIS_MNEMONIC_JZ:
	case ZYDIS_MNEMONIC_JNZ:
	case ZYDIS_MNEMONIC_JBE:
	case ZYDIS_MNEMONIC_JNBE:
	case ZYDIS_MNEMONIC_JS:
	case ZYDIS_MNEMONIC_JNS:
	case ZYDIS_MNEMONIC_JP:
	case ZYDIS_MNEMONIC_JNP:
	case ZYDIS_MNEMONIC_JL:
	case ZYDIS_MNEMONIC_JNL:
	case ZYDIS_MNEMONIC_JLE:
	case ZYDIS_MNEMONIC_JNLE:
		return true;
	default:
		return false;
	}
}

static bool has_memory(const struct insn *insn)
{
	return insn->operand[0].kind == OPERAND_MEMORY || insn->operand[1].kind == OPERAND_MEMORY;
}

exec_fn *fast_find(const struct insn *insn)
{
	if (insn->lock || (has_memory(insn) && insn->address_size != 8))
		return NULL;
	if (is_jcc(insn))
		return branch_form(insn, jcc);
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_ADD:
		return binary_form(insn, DO_ADD);
	case ZYDIS_MNEMONIC_OR:
		return binary_form(insn, DO_OR);
	case ZYDIS_MNEMONIC_ADC:
		return binary_form(insn, DO_ADC);
	case ZYDIS_MNEMONIC_SBB:
		return binary_form(insn, DO_SBB);
	case ZYDIS_MNEMONIC_AND:
		return binary_form(insn, DO_AND);
	case ZYDIS_MNEMONIC_SUB:
		return binary_form(insn, DO_SUB);
	case ZYDIS_MNEMONIC_XOR:
		return binary_form(insn, DO_XOR);
	case ZYDIS_MNEMONIC_CMP:
		return binary_form(insn, DO_CMP);
	case ZYDIS_MNEMONIC_TEST:
		return binary_form(insn, DO_TEST);
	case ZYDIS_MNEMONIC_MOV:
		return binary_form(insn, DO_MOV);
	case ZYDIS_MNEMONIC_INC:
		return of_size(insn, inc_4, inc_8);
	case ZYDIS_MNEMONIC_DEC:
		return of_size(insn, dec_4, dec_8);
	case ZYDIS_MNEMONIC_LEA:
		return of_size(insn, lea_4, lea_8);
	case ZYDIS_MNEMONIC_MOVZX:
		if (insn->operand[1].kind != OPERAND_MEMORY || insn->operand[1].size != 1)
			return NULL;
		return of_size(insn, movzx_memory_1, movzx_memory_1);
	case ZYDIS_MNEMONIC_JMP:
		return branch_form(insn, jmp);
	case ZYDIS_MNEMONIC_CALL:
		return branch_form(insn, call_relative);
	case ZYDIS_MNEMONIC_RET:
		return insn->operand_size == 8 ? ret_8 : NULL;
	case ZYDIS_MNEMONIC_PUSH:
		return insn->operand_size == 8 ? of_size(insn, NULL, push_gpr_8) : NULL;
	case ZYDIS_MNEMONIC_POP:
		return insn->operand_size == 8 ? of_size(insn, NULL, pop_gpr_8) : NULL;
	default:
		return NULL;
	}
}
