// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * string.c - MOVS, STOS, LODS, CMPS, SCAS, with and without REP
 *
 * A repeated instruction does a part of its work, moves its registers accordingly, and returns with
 * RIP unchanged if there is more to do: it can be interrupted and continued between any two parts.
 * So whatever happens in a part is that part's alone; what has been done before it stays done.
 *
 * A part is a stretch of memory that can be accessed directly, within a page of each operand, or
 * one element: at the border of a page, in MMIO, where it faults, when single-stepping.
 */
#include "alu.h"
#include "translate.h"

struct string_access {
	uint8_t segment, reg;
};

static struct string_access source_of(const struct insn *insn)
{
	return (struct string_access){insn->segment, RSI};
}

/* Overrides do not affect it. */
static const struct string_access destination = {ES, RDI};

static uint64_t offset_of(const struct cpu *cpu, const struct insn *insn, unsigned reg)
{
	return zero_extend(cpu->state.gpr[reg], insn->address_size);
}

static bool is_repeated(const struct insn *insn)
{
	return insn->rep || insn->repne;
}

static uint64_t count_of(const struct cpu *cpu, const struct insn *insn)
{
	return is_repeated(insn) ? offset_of(cpu, insn, RCX) : 1;
}

static bool is_backward(const struct cpu *cpu)
{
	return cpu->state.rflags & FLAG_DF;
}

static void advance(struct cpu *cpu, const struct insn *insn, unsigned reg, uint64_t n)
{
	uint64_t bytes = n * insn->operand_size;

	set_gpr(cpu, reg, insn->address_size,
		cpu->state.gpr[reg] + (is_backward(cpu) ? -bytes : bytes));
}

/* n elements are done.  ends: by a comparison. */
static enum cpu_result finish(struct cpu *cpu, const struct insn *insn, uint64_t n, bool ends)
{
	if (!is_repeated(insn))
		return CPU_NEXT;

	uint64_t left = offset_of(cpu, insn, RCX) - n;

	set_gpr(cpu, RCX, insn->address_size, left);
	return left == 0 || ends ? CPU_NEXT : CPU_JUMPED;
}

static enum cpu_result find_element(struct cpu *cpu, const struct insn *insn,
				    struct string_access access, bool is_write, uint64_t *ret)
{
	return cpu_linear(cpu, access.segment, offset_of(cpu, insn, access.reg), insn->operand_size,
			  is_write, ret);
}

static enum cpu_result load_element(struct cpu *cpu, const struct insn *insn,
				    struct string_access access, uint64_t *ret)
{
	uint64_t linear;
	enum cpu_result result = find_element(cpu, insn, access, false, &linear);

	*ret = 0;
	return result == CPU_NEXT ? cpu_load(cpu, linear, ret, insn->operand_size) : result;
}

static enum cpu_result store_element(struct cpu *cpu, const struct insn *insn, uint64_t value)
{
	uint64_t linear;
	enum cpu_result result = find_element(cpu, insn, destination, true, &linear);

	return result == CPU_NEXT ? cpu_store(cpu, linear, &value, insn->operand_size) : result;
}

/* Whether several elements can be done at once at all. */
static bool goes_fast(const struct cpu *cpu, const struct insn *insn)
{
	return is_repeated(insn) && !is_backward(cpu) && !(cpu->state.rflags & FLAG_TF);
}

/* In the host: NULL, or *n of elements is reduced to as many as are there. */
static uint8_t *find_stretch(struct cpu *cpu, const struct insn *insn, struct string_access access,
			     bool is_write, uint64_t *n)
{
	uint64_t offset = offset_of(cpu, insn, access.reg);
	uint64_t linear, end;

	if (find_element(cpu, insn, access, is_write, &linear) != CPU_NEXT)
		return NULL;

	uint64_t room = (PAGE_SIZE - linear % PAGE_SIZE) / insn->operand_size;

	if (room < *n)
		*n = room;
	/* To the end of the segment, or of what the address size reaches, it goes step by step. */
	if (*n == 0 || zero_extend(offset + *n * insn->operand_size, insn->address_size) < offset ||
	    cpu_linear(cpu, access.segment, offset, (unsigned)*n * insn->operand_size, is_write,
		       &end) != CPU_NEXT)
		return NULL;
	return cpu_direct(cpu, linear, is_write);
}

/* As element by element, which repeats a pattern if they overlap. */
static void copy(uint8_t *to, const uint8_t *from, uint64_t n, unsigned size)
{
	if (to <= from || to >= from + n * size)
		guest_write(to, from, (unsigned)n * size);
	else
		for (uint64_t i = 0; i < n; i++)
			guest_write(to + i * size, from + i * size, size);
}

/* How many were moved at once. */
static uint64_t move_stretch(struct cpu *cpu, const struct insn *insn)
{
	uint64_t n = count_of(cpu, insn);
	const uint8_t *from;
	uint8_t *to;

	if (!goes_fast(cpu, insn))
		return 0;
	from = find_stretch(cpu, insn, source_of(insn), false, &n);
	to = from ? find_stretch(cpu, insn, destination, true, &n) : NULL;
	if (!to)
		return 0;
	copy(to, from, n, insn->operand_size);
	return n;
}

static enum cpu_result exec_movs(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value, n;
	enum cpu_result result;

	if (count_of(cpu, insn) == 0)
		return CPU_NEXT;
	n = move_stretch(cpu, insn);
	if (n == 0) {
		n = 1;
		result = load_element(cpu, insn, source_of(insn), &value);
		if (result == CPU_NEXT)
			result = store_element(cpu, insn, value);
		if (result != CPU_NEXT)
			return result;
	}
	advance(cpu, insn, RSI, n);
	advance(cpu, insn, RDI, n);
	return finish(cpu, insn, n, false);
}

static uint64_t store_stretch(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t n = count_of(cpu, insn);
	uint8_t *to = goes_fast(cpu, insn) ? find_stretch(cpu, insn, destination, true, &n) : NULL;

	if (!to)
		return 0;
	for (uint64_t i = 0; i < n; i++)
		guest_write(to + i * size, &cpu->state.gpr[RAX], size);
	return n;
}

static enum cpu_result exec_stos(struct cpu *cpu, const struct insn *insn)
{
	uint64_t n;
	enum cpu_result result;

	if (count_of(cpu, insn) == 0)
		return CPU_NEXT;
	n = store_stretch(cpu, insn);
	if (n == 0) {
		n = 1;
		result = store_element(cpu, insn, cpu->state.gpr[RAX]);
		if (result != CPU_NEXT)
			return result;
	}
	advance(cpu, insn, RDI, n);
	return finish(cpu, insn, n, false);
}

static enum cpu_result exec_lods(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result;

	if (count_of(cpu, insn) == 0)
		return CPU_NEXT;
	result = load_element(cpu, insn, source_of(insn), &value);
	if (result != CPU_NEXT)
		return result;
	set_gpr(cpu, RAX, insn->operand_size, value);
	advance(cpu, insn, RSI, 1);
	return finish(cpu, insn, 1, false);
}

/* REPE goes on while equal, REPNE while not. */
static bool ends_by(const struct insn *insn, bool is_equal)
{
	return insn->repne == is_equal;
}

static uint64_t element(const uint8_t *data, uint64_t i, unsigned size)
{
	uint64_t value = 0;

	guest_read(&value, data + i * size, size);
	return value;
}

/*
 * Elements at once that do not end the comparison; the next one is compared by itself and sets the
 * flags.  a is NULL for SCAS.
 */
static uint64_t skip(const struct insn *insn, const uint8_t *a, uint64_t accumulator,
		     const uint8_t *b, uint64_t n)
{
	unsigned size = insn->operand_size;
	uint64_t i = 0;

	while (i < n &&
	       !ends_by(insn, (a ? element(a, i, size) : accumulator) == element(b, i, size)))
		i++;
	return i;
}

/* In the order in which AMD's processors find faults: of REPE CMPSB it is another. */
static enum cpu_result load_both(struct cpu *cpu, const struct insn *insn, uint64_t *ret_source,
				 uint64_t *ret_destination)
{
	bool source_first = insn->rep && insn->operand_size == 1;
	enum cpu_result result = CPU_NEXT;

	if (source_first)
		result = load_element(cpu, insn, source_of(insn), ret_source);
	if (result == CPU_NEXT)
		result = load_element(cpu, insn, destination, ret_destination);
	if (result == CPU_NEXT && !source_first)
		result = load_element(cpu, insn, source_of(insn), ret_source);
	return result;
}

static enum cpu_result exec_cmps(struct cpu *cpu, const struct insn *insn)
{
	uint64_t n = count_of(cpu, insn), skipped = 0;
	const uint8_t *a, *b;
	uint64_t x, y;
	enum cpu_result result;

	if (n == 0)
		return CPU_NEXT;
	n--;
	a = goes_fast(cpu, insn) ? find_stretch(cpu, insn, source_of(insn), false, &n) : NULL;
	b = a ? find_stretch(cpu, insn, destination, false, &n) : NULL;
	if (b)
		skipped = skip(insn, a, 0, b, n);
	if (skipped > 0) {
		advance(cpu, insn, RSI, skipped);
		advance(cpu, insn, RDI, skipped);
		return finish(cpu, insn, skipped, false);
	}
	result = load_both(cpu, insn, &x, &y);
	if (result != CPU_NEXT)
		return result;
	(void)alu_sub(&cpu->state.rflags, insn->operand_size, x, y, false);
	advance(cpu, insn, RSI, 1);
	advance(cpu, insn, RDI, 1);
	return finish(cpu, insn, 1, ends_by(insn, x == y));
}

static enum cpu_result exec_scas(struct cpu *cpu, const struct insn *insn)
{
	uint64_t x = zero_extend(cpu->state.gpr[RAX], insn->operand_size);
	uint64_t n = count_of(cpu, insn), skipped = 0;
	const uint8_t *b;
	uint64_t y;
	enum cpu_result result;

	if (n == 0)
		return CPU_NEXT;
	n--;
	b = goes_fast(cpu, insn) ? find_stretch(cpu, insn, destination, false, &n) : NULL;
	if (b)
		skipped = skip(insn, NULL, x, b, n);
	if (skipped > 0) {
		advance(cpu, insn, RDI, skipped);
		return finish(cpu, insn, skipped, false);
	}
	result = load_element(cpu, insn, destination, &y);
	if (result != CPU_NEXT)
		return result;
	(void)alu_sub(&cpu->state.rflags, insn->operand_size, x, y, false);
	advance(cpu, insn, RDI, 1);
	return finish(cpu, insn, 1, ends_by(insn, x == y));
}

exec_fn *string_find(const ZydisDecodedInstruction *decoded)
{
	/* MOVSD and CMPSD are names of vector instructions, too. */
	if (decoded->meta.category != ZYDIS_CATEGORY_STRINGOP)
		return NULL;
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
		return exec_movs;
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ:
		return exec_stos;
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD:
	case ZYDIS_MNEMONIC_LODSQ:
		return exec_lods;
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
		return exec_cmps;
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ:
		return exec_scas;
	default:
		return NULL;
	}
}
