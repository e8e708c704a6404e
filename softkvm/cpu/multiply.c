// SPDX-License-Identifier: GPL-2.0-or-later
/* multiply.c - multiplication, division and decimal adjustments */
#include "alu.h"

typedef unsigned __int128 wide;
typedef __int128 signed_wide;

/* Of 8 bits: AX; of more: rDX:rAX. */
static wide get_accumulator(const struct cpu *cpu, unsigned size)
{
	const uint64_t *gpr = cpu->state.gpr;

	if (size == 1)
		return (uint16_t)gpr[RAX];
	return (wide)zero_extend(gpr[RDX], size) << 8 * size | zero_extend(gpr[RAX], size);
}

static void set_accumulator(struct cpu *cpu, unsigned size, uint64_t high, uint64_t low)
{
	if (size == 1) {
		set_gpr(cpu, RAX, 2, (uint8_t)high << 8 | (uint8_t)low);
		return;
	}
	set_gpr(cpu, RAX, size, low);
	set_gpr(cpu, RDX, size, high);
}

/* CF and OF: the product does not fit.  The others are undefined. */
static void set_overflow(struct cpu *cpu, bool overflows)
{
	cpu->state.rflags &= ~(FLAG_CF | FLAG_OF);
	cpu->state.rflags |= flag_if(overflows, FLAG_CF | FLAG_OF);
}

static enum cpu_result exec_mul(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand[0].size;
	uint64_t factor;
	enum cpu_result result = operand_get(cpu, insn, 0, &factor);

	if (result != CPU_NEXT)
		return result;

	wide product = (wide)zero_extend(cpu->state.gpr[RAX], size) * factor;
	uint64_t high = (uint64_t)(product >> 8 * size);

	set_accumulator(cpu, size, high, (uint64_t)product);
	set_overflow(cpu, high != 0);
	return CPU_NEXT;
}

static bool fits(signed_wide value, unsigned size)
{
	return sign_extend((uint64_t)value, size) == value;
}

static enum cpu_result imul_accumulator(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand[0].size;
	uint64_t factor;
	enum cpu_result result = operand_get(cpu, insn, 0, &factor);

	if (result != CPU_NEXT)
		return result;

	signed_wide product =
		(signed_wide)sign_extend(cpu->state.gpr[RAX], size) * sign_extend(factor, size);

	set_accumulator(cpu, size, (uint64_t)(product >> 8 * size), (uint64_t)product);
	set_overflow(cpu, !fits(product, size));
	return CPU_NEXT;
}

/* The last two operands into operand 0. */
static enum cpu_result exec_imul(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand[0].size;
	uint64_t a, b;
	enum cpu_result result;

	if (insn->n_operands == 1)
		return imul_accumulator(cpu, insn);
	result = operand_get(cpu, insn, insn->n_operands - 2u, &a);
	if (result == CPU_NEXT)
		result = operand_get(cpu, insn, insn->n_operands - 1u, &b);
	if (result != CPU_NEXT)
		return result;

	signed_wide product = (signed_wide)sign_extend(a, size) * sign_extend(b, size);

	set_gpr(cpu, insn->operand[0].reg, size, (uint64_t)product);
	set_overflow(cpu, !fits(product, size));
	return CPU_NEXT;
}

/* BMI2: without flags; the high half is written last. */
static enum cpu_result exec_mulx(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand[0].size;
	uint64_t factor;
	enum cpu_result result = operand_get(cpu, insn, 2, &factor);

	if (result != CPU_NEXT)
		return result;

	wide product = (wide)zero_extend(cpu->state.gpr[RDX], size) * factor;

	set_gpr(cpu, insn->operand[1].reg, size, (uint64_t)product);
	set_gpr(cpu, insn->operand[0].reg, size, (uint64_t)(product >> 8 * size));
	return CPU_NEXT;
}

static enum cpu_result divide_error(struct cpu *cpu)
{
	return cpu_raise(cpu, VECTOR_DE, false, 0);
}

static enum cpu_result exec_div(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand[0].size;
	uint64_t divisor;
	enum cpu_result result = operand_get(cpu, insn, 0, &divisor);

	if (result != CPU_NEXT)
		return result;
	if (divisor == 0)
		return divide_error(cpu);

	wide dividend = get_accumulator(cpu, size);
	wide quotient = dividend / divisor;

	if (quotient >> 8 * size)
		return divide_error(cpu);
	set_accumulator(cpu, size, (uint64_t)(dividend % divisor), (uint64_t)quotient);
	return CPU_NEXT;
}

static enum cpu_result exec_idiv(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand[0].size;
	unsigned unused = 128 - 16 * size;
	uint64_t operand;
	enum cpu_result result = operand_get(cpu, insn, 0, &operand);

	if (result != CPU_NEXT)
		return result;

	signed_wide divisor = sign_extend(operand, size);
	signed_wide dividend = (signed_wide)(get_accumulator(cpu, size) << unused) >> unused;
	bool is_lowest = dividend == (signed_wide)((wide)1 << 127);

	/* The lowest number of 128 bits by -1 overflows in C, too. */
	if (divisor == 0 || (divisor == -1 && is_lowest) || !fits(dividend / divisor, size))
		return divide_error(cpu);
	set_accumulator(cpu, size, (uint64_t)(dividend % divisor), (uint64_t)(dividend / divisor));
	return CPU_NEXT;
}

/* Decimal adjustments, outside of 64-bit mode. */

static void set_ax(struct cpu *cpu, unsigned ah, unsigned al)
{
	set_gpr(cpu, RAX, 2, (uint8_t)ah << 8 | (uint8_t)al);
}

static enum cpu_result exec_aam(struct cpu *cpu, const struct insn *insn)
{
	uint8_t base = (uint8_t)insn->immediate, al = (uint8_t)cpu->state.gpr[RAX];

	if (base == 0)
		return divide_error(cpu);
	set_ax(cpu, al / base, al % base);
	(void)alu_logic(&cpu->state.rflags, 1, al % base);
	return CPU_NEXT;
}

static enum cpu_result exec_aad(struct cpu *cpu, const struct insn *insn)
{
	uint64_t ax = cpu->state.gpr[RAX];
	uint8_t value = (uint8_t)((ax >> 8 & 0xff) * insn->immediate + ax);

	set_ax(cpu, 0, value);
	(void)alu_logic(&cpu->state.rflags, 1, value);
	return CPU_NEXT;
}

#define DIGIT	   10u
#define DIGIT_MASK 0xfu

/* AAA and AAS: one unpacked digit in AL, the carry into AH. */
static enum cpu_result exec_aaa(struct cpu *cpu, const struct insn *insn)
{
	uint64_t *flags = &cpu->state.rflags;
	uint16_t ax = (uint16_t)cpu->state.gpr[RAX];
	bool adjusts = (ax & DIGIT_MASK) >= DIGIT || (*flags & FLAG_AF);

	if (adjusts)
		ax += insn->mnemonic == ZYDIS_MNEMONIC_AAA ? 0x106 : -0x106;
	*flags &= ~(FLAG_AF | FLAG_CF);
	*flags |= flag_if(adjusts, FLAG_AF | FLAG_CF);
	set_gpr(cpu, RAX, 2, ax & (0xff00 | DIGIT_MASK));
	return CPU_NEXT;
}

/* DAA and DAS: two packed digits in AL. */
static enum cpu_result exec_daa(struct cpu *cpu, const struct insn *insn)
{
	uint64_t *flags = &cpu->state.rflags;
	uint8_t al = (uint8_t)cpu->state.gpr[RAX];
	bool low = (al & DIGIT_MASK) >= DIGIT || (*flags & FLAG_AF);
	bool high = al > 0x99 || (*flags & FLAG_CF);
	uint8_t adjustment = (low ? 0x06 : 0) + (high ? 0x60 : 0);
	/* DAS: the low digit may borrow as well. */
	bool borrows = insn->mnemonic == ZYDIS_MNEMONIC_DAS && low && al < 0x06;

	al = insn->mnemonic == ZYDIS_MNEMONIC_DAA ? al + adjustment : al - adjustment;
	(void)alu_logic(flags, 1, al);
	*flags |= flag_if(low, FLAG_AF) | flag_if(high || borrows, FLAG_CF);
	set_gpr(cpu, RAX, 1, al);
	return CPU_NEXT;
}

exec_fn *multiply_find(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_MUL:
		return exec_mul;
	case ZYDIS_MNEMONIC_IMUL:
		return exec_imul;
	case ZYDIS_MNEMONIC_MULX:
		return exec_mulx;
	case ZYDIS_MNEMONIC_DIV:
		return exec_div;
	case ZYDIS_MNEMONIC_IDIV:
		return exec_idiv;
	case ZYDIS_MNEMONIC_AAM:
		return exec_aam;
	case ZYDIS_MNEMONIC_AAD:
		return exec_aad;
	case ZYDIS_MNEMONIC_AAA:
	case ZYDIS_MNEMONIC_AAS:
		return exec_aaa;
	case ZYDIS_MNEMONIC_DAA:
	case ZYDIS_MNEMONIC_DAS:
		return exec_daa;
	default:
		return NULL;
	}
}
