// SPDX-License-Identifier: GPL-2.0-or-later
/* table.c - GDTR, IDTR, LDTR, TR, and translations: LGDT to STR, INVLPG, INVPCID */
#include "descriptor.h"
#include "system.h"

#define DESCRIPTOR_BUSY	  0x2u
#define DESCRIPTOR_ACCESS 5
#define BASE_24		  0xffffffu

/* INVPCID's types: volume 3. */
enum invpcid_type { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL, INVPCID_NONGLOBAL };

/* Of memory: two bytes of limit, and the base. */
static enum cpu_result find_table(struct cpu *cpu, const struct insn *insn, bool is_write,
				  unsigned *ret_base_len, uint64_t *ret)
{
	*ret_base_len = is_64bit(cpu) ? 8 : 4;
	return cpu_linear(cpu, insn->segment, insn_offset(cpu, insn), 2 + *ret_base_len, is_write,
			  ret);
}

static enum cpu_result load_table(struct cpu *cpu, const struct insn *insn, struct cpu_table *ret)
{
	unsigned base_len;
	uint64_t linear, base = 0;
	uint16_t limit;
	enum cpu_result result;

	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	result = find_table(cpu, insn, false, &base_len, &linear);
	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear, &limit, sizeof(limit));
	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear + sizeof(limit), &base, base_len);
	if (result != CPU_NEXT)
		return result;
	if (insn->operand_size == 2)
		base &= BASE_24;
	if (is_64bit(cpu) && !is_canonical(cpu, base))
		return cpu_gp(cpu, 0);
	*ret = (struct cpu_table){.base = base, .limit = limit};
	return CPU_NEXT;
}

static bool is_kept_from_users(const struct cpu *cpu)
{
	return (cpu->state.cr4 & CR4_UMIP) && cpu->state.cpl != 0;
}

static enum cpu_result store_table(struct cpu *cpu, const struct insn *insn,
				   const struct cpu_table *table)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} image = {.limit = (uint16_t)table->limit, .base = table->base};
	unsigned base_len;
	uint64_t linear;
	enum cpu_result result;

	if (is_kept_from_users(cpu))
		return cpu_gp(cpu, 0);
	result = find_table(cpu, insn, true, &base_len, &linear);
	return result == CPU_NEXT ? cpu_store(cpu, linear, &image, 2 + base_len) : result;
}

static enum cpu_result exec_lgdt(struct cpu *cpu, const struct insn *insn)
{
	return load_table(cpu, insn, &cpu->state.gdtr);
}

static enum cpu_result exec_lidt(struct cpu *cpu, const struct insn *insn)
{
	return load_table(cpu, insn, &cpu->state.idtr);
}

static enum cpu_result exec_sgdt(struct cpu *cpu, const struct insn *insn)
{
	return store_table(cpu, insn, &cpu->state.gdtr);
}

static enum cpu_result exec_sidt(struct cpu *cpu, const struct insn *insn)
{
	return store_table(cpu, insn, &cpu->state.idtr);
}

static bool has_no_descriptors(const struct cpu *cpu)
{
	return is_real_mode(cpu) || (cpu->state.rflags & FLAG_VM);
}

/* For LLDT and LTR. */
static enum cpu_result get_selector(struct cpu *cpu, const struct insn *insn, uint16_t *ret)
{
	uint64_t selector;
	enum cpu_result result;

	if (has_no_descriptors(cpu))
		return cpu_ud(cpu);
	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	result = operand_get(cpu, insn, 0, &selector);
	if (result == CPU_NEXT)
		*ret = (uint16_t)selector;
	return result;
}

/* A system descriptor of the GDT. */
static enum cpu_result read_system(struct cpu *cpu, uint16_t selector, struct descriptor *ret)
{
	enum cpu_result result;

	if (selector & SELECTOR_LDT)
		return selector_fault(cpu, VECTOR_GP, selector, false);
	result = descriptor_read(cpu, selector, VECTOR_GP, false, ret);
	if (result != CPU_NEXT)
		return result;
	if (!is_system(&ret->segment))
		return selector_fault(cpu, VECTOR_GP, selector, false);
	return descriptor_widen(cpu, selector, ret);
}

static enum cpu_result exec_lldt(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor descriptor;
	uint16_t selector;
	enum cpu_result result = get_selector(cpu, insn, &selector);

	if (result != CPU_NEXT)
		return result;
	if (is_null(selector)) {
		cpu->state.ldtr = (struct cpu_segment){.selector = selector};
		return CPU_NEXT;
	}
	result = read_system(cpu, selector, &descriptor);
	if (result != CPU_NEXT)
		return result;
	if (type_of(&descriptor.segment) != TYPE_LDT || !is_canonical(cpu, descriptor.segment.base))
		return selector_fault(cpu, VECTOR_GP, selector, false);
	if (!is_present(&descriptor.segment))
		return selector_fault(cpu, VECTOR_NP, selector, false);
	cpu->state.ldtr = descriptor.segment;
	return CPU_NEXT;
}

static bool is_available_tss(const struct cpu *cpu, const struct cpu_segment *segment)
{
	return type_of(segment) == TYPE_TSS ||
	       (type_of(segment) == TYPE_TSS_16 && !is_long_mode(cpu));
}

/* Makes the TSS busy, in memory too. */
static enum cpu_result exec_ltr(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor descriptor;
	struct cpu_segment *tss = &descriptor.segment;
	uint16_t selector;
	enum cpu_result result = get_selector(cpu, insn, &selector);

	if (result != CPU_NEXT)
		return result;
	if (is_null(selector))
		return cpu_gp(cpu, 0);
	result = read_system(cpu, selector, &descriptor);
	if (result != CPU_NEXT)
		return result;
	if (!is_available_tss(cpu, tss) || !is_canonical(cpu, tss->base))
		return selector_fault(cpu, VECTOR_GP, selector, false);
	if (!is_present(tss))
		return selector_fault(cpu, VECTOR_NP, selector, false);
	tss->attributes |= DESCRIPTOR_BUSY;

	uint8_t access = (uint8_t)tss->attributes;

	result = cpu_store_system(cpu, descriptor.linear + DESCRIPTOR_ACCESS, &access, 1);
	if (result == CPU_NEXT)
		cpu->state.tr = *tss;
	return result;
}

static enum cpu_result store_selector(struct cpu *cpu, const struct insn *insn, uint16_t selector)
{
	if (has_no_descriptors(cpu))
		return cpu_ud(cpu);
	if (is_kept_from_users(cpu))
		return cpu_gp(cpu, 0);
	return operand_set(cpu, insn, 0, selector);
}

static enum cpu_result exec_sldt(struct cpu *cpu, const struct insn *insn)
{
	return store_selector(cpu, insn, cpu->state.ldtr.selector);
}

static enum cpu_result exec_str(struct cpu *cpu, const struct insn *insn)
{
	return store_selector(cpu, insn, cpu->state.tr.selector);
}

static enum cpu_result exec_invlpg(struct cpu *cpu, const struct insn *insn)
{
	uint64_t linear = insn_offset(cpu, insn);

	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	if (!is_64bit(cpu) || insn->segment >= FS)
		linear += cpu->state.segment[insn->segment].base;
	tlb_flush_page(cpu, is_64bit(cpu) ? linear : (uint32_t)linear);
	return CPU_NEXT_AFRESH;
}

/* There are translations of the current PCID only. */
static enum cpu_result exec_invpcid(struct cpu *cpu, const struct insn *insn)
{
	uint64_t type = cpu->state.gpr[insn->operand[0].reg];
	uint64_t linear, operand[2];
	enum cpu_result result;

	if (!cpu->features.pcid)
		return cpu_ud(cpu);
	if (cpu->state.cpl != 0 || type > INVPCID_NONGLOBAL)
		return cpu_gp(cpu, 0);
	result = cpu_linear(cpu, insn->segment, insn_offset(cpu, insn), sizeof(operand), false,
			    &linear);
	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear, operand, sizeof(operand));
	if (result != CPU_NEXT)
		return result;
	if (type == INVPCID_ADDRESS)
		tlb_flush_page(cpu, operand[1]);
	else
		tlb_flush(cpu, type == INVPCID_ALL);
	return CPU_NEXT_AFRESH;
}

exec_fn *table_find(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_LGDT:
		return exec_lgdt;
	case ZYDIS_MNEMONIC_LIDT:
		return exec_lidt;
	case ZYDIS_MNEMONIC_SGDT:
		return exec_sgdt;
	case ZYDIS_MNEMONIC_SIDT:
		return exec_sidt;
	case ZYDIS_MNEMONIC_LLDT:
		return exec_lldt;
	case ZYDIS_MNEMONIC_LTR:
		return exec_ltr;
	case ZYDIS_MNEMONIC_SLDT:
		return exec_sldt;
	case ZYDIS_MNEMONIC_STR:
		return exec_str;
	case ZYDIS_MNEMONIC_INVLPG:
		return exec_invlpg;
	case ZYDIS_MNEMONIC_INVPCID:
		return exec_invpcid;
	default:
		return NULL;
	}
}
