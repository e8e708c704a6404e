// SPDX-License-Identifier: GPL-2.0-or-later
/* integer.c - arithmetic, logic, moves and conversions of general-purpose registers */
#include "alu.h"

static uint64_t compute_add(struct modification *m, uint64_t old)
{
	return alu_add(&m->flags, m->size, old, m->source, false);
}

static uint64_t compute_adc(struct modification *m, uint64_t old)
{
	return alu_add(&m->flags, m->size, old, m->source, m->flags & FLAG_CF);
}

static uint64_t compute_sub(struct modification *m, uint64_t old)
{
	return alu_sub(&m->flags, m->size, old, m->source, false);
}

static uint64_t compute_sbb(struct modification *m, uint64_t old)
{
	return alu_sub(&m->flags, m->size, old, m->source, m->flags & FLAG_CF);
}

static uint64_t compute_and(struct modification *m, uint64_t old)
{
	return alu_logic(&m->flags, m->size, old & m->source);
}

static uint64_t compute_or(struct modification *m, uint64_t old)
{
	return alu_logic(&m->flags, m->size, old | m->source);
}

static uint64_t compute_xor(struct modification *m, uint64_t old)
{
	return alu_logic(&m->flags, m->size, old ^ m->source);
}

static uint64_t compute_inc(struct modification *m, uint64_t old)
{
	return alu_inc(&m->flags, m->size, old);
}

static uint64_t compute_dec(struct modification *m, uint64_t old)
{
	return alu_dec(&m->flags, m->size, old);
}

static uint64_t compute_neg(struct modification *m, uint64_t old)
{
	return alu_sub(&m->flags, m->size, 0, old, false);
}

static uint64_t compute_not(struct modification *m, uint64_t old)
{
	return zero_extend(~old, m->size);
}

/* Operand 0 becomes what is made of it and of operand 1, if there is one. */
static enum cpu_result modify(struct cpu *cpu, const struct insn *insn,
			      uint64_t (*compute)(struct modification *, uint64_t))
{
	struct modification modification = {.compute = compute};

	if (insn->n_operands > 1) {
		enum cpu_result result = operand_get(cpu, insn, 1, &modification.source);

		if (result != CPU_NEXT)
			return result;
	}
	return operand_modify(cpu, insn, 0, &modification);
}

static enum cpu_result exec_add(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_add);
}

static enum cpu_result exec_adc(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_adc);
}

static enum cpu_result exec_sub(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_sub);
}

static enum cpu_result exec_sbb(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_sbb);
}

static enum cpu_result exec_and(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_and);
}

static enum cpu_result exec_or(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_or);
}

static enum cpu_result exec_xor(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_xor);
}

static enum cpu_result exec_inc(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_inc);
}

static enum cpu_result exec_dec(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_dec);
}

static enum cpu_result exec_neg(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_neg);
}

static enum cpu_result exec_not(struct cpu *cpu, const struct insn *insn)
{
	return modify(cpu, insn, compute_not);
}

static enum cpu_result get_both(struct cpu *cpu, const struct insn *insn, uint64_t *ret_a,
				uint64_t *ret_b)
{
	enum cpu_result result = operand_get(cpu, insn, 0, ret_a);

	return result == CPU_NEXT ? operand_get(cpu, insn, 1, ret_b) : result;
}

static enum cpu_result exec_cmp(struct cpu *cpu, const struct insn *insn)
{
	uint64_t a, b;
	enum cpu_result result = get_both(cpu, insn, &a, &b);

	if (result == CPU_NEXT)
		(void)alu_sub(&cpu->state.rflags, insn->operand[0].size, a, b, false);
	return result;
}

static enum cpu_result exec_test(struct cpu *cpu, const struct insn *insn)
{
	uint64_t a, b;
	enum cpu_result result = get_both(cpu, insn, &a, &b);

	if (result == CPU_NEXT)
		(void)alu_logic(&cpu->state.rflags, insn->operand[0].size, a & b);
	return result;
}

/* ADCX and ADOX have a carry of their own each, and touch no other flag. */
static enum cpu_result add_carry(struct cpu *cpu, const struct insn *insn, uint64_t carry)
{
	uint64_t a, b, flags = 0;
	enum cpu_result result = get_both(cpu, insn, &a, &b);

	if (result != CPU_NEXT)
		return result;
	a = alu_add(&flags, insn->operand[0].size, a, b, cpu->state.rflags & carry);
	cpu->state.rflags &= ~carry;
	cpu->state.rflags |= flag_if(flags & FLAG_CF, carry);
	return operand_set(cpu, insn, 0, a);
}

static enum cpu_result exec_adcx(struct cpu *cpu, const struct insn *insn)
{
	return add_carry(cpu, insn, FLAG_CF);
}

static enum cpu_result exec_adox(struct cpu *cpu, const struct insn *insn)
{
	return add_carry(cpu, insn, FLAG_OF);
}

/* Also MOVZX and MOVNTI. */
static enum cpu_result exec_mov(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = operand_get(cpu, insn, 1, &value);

	return result == CPU_NEXT ? operand_set(cpu, insn, 0, value) : result;
}

static enum cpu_result exec_movsx(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = operand_get(cpu, insn, 1, &value);

	if (result != CPU_NEXT)
		return result;
	return operand_set(cpu, insn, 0, (uint64_t)sign_extend(value, insn->operand[1].size));
}

static uint64_t swap_bytes(uint64_t value, unsigned size)
{
	return __builtin_bswap64(value) >> (64 - 8 * size);
}

static enum cpu_result exec_movbe(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = operand_get(cpu, insn, 1, &value);

	if (result != CPU_NEXT)
		return result;
	return operand_set(cpu, insn, 0, swap_bytes(value, insn->operand[1].size));
}

/* Of 16 bits it is undefined; processors give zero. */
static enum cpu_result exec_bswap(struct cpu *cpu, const struct insn *insn)
{
	unsigned reg = insn->operand[0].reg, size = insn->operand[0].size;
	uint64_t value = size == 2 ? 0 : swap_bytes(cpu->state.gpr[reg], size);

	set_gpr(cpu, reg, size, value);
	return CPU_NEXT;
}

static enum cpu_result exec_lea(struct cpu *cpu, const struct insn *insn)
{
	set_gpr(cpu, insn->operand[0].reg, insn->operand[0].size, insn_offset(cpu, insn));
	return CPU_NEXT;
}

/* The source is read in any case, and a register of 32 bits written. */
static enum cpu_result exec_cmov(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = operand_get(cpu, insn, 1, &value);

	if (result != CPU_NEXT)
		return result;
	if (!alu_condition(cpu->state.rflags, insn->condition))
		value = cpu->state.gpr[insn->operand[0].reg];
	return operand_set(cpu, insn, 0, value);
}

static enum cpu_result exec_set(struct cpu *cpu, const struct insn *insn)
{
	return operand_set(cpu, insn, 0, alu_condition(cpu->state.rflags, insn->condition));
}

/* D6, which no manual of AMD lists: all bits of AL become CF. */
static enum cpu_result exec_salc(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	set_gpr(cpu, RAX, 1, cpu->state.rflags & FLAG_CF ? 0xff : 0);
	return CPU_NEXT;
}

static enum cpu_result exec_xlat(struct cpu *cpu, const struct insn *insn)
{
	uint64_t offset =
		zero_extend(cpu->state.gpr[RBX] + (uint8_t)cpu->state.gpr[RAX], insn->address_size);
	uint8_t value;
	uint64_t linear;
	enum cpu_result result = cpu_linear(cpu, insn->segment, offset, 1, false, &linear);

	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear, &value, 1);
	if (result == CPU_NEXT)
		set_gpr(cpu, RAX, 1, value);
	return result;
}

/* CBW, CWDE, CDQE: the lower half of an accumulator of operand_size into all of it. */
static enum cpu_result exec_cbw(struct cpu *cpu, const struct insn *insn)
{
	int64_t value = sign_extend(cpu->state.gpr[RAX], insn->operand_size / 2);

	set_gpr(cpu, RAX, insn->operand_size, (uint64_t)value);
	return CPU_NEXT;
}

/* CWD, CDQ, CQO: its sign into all of rDX. */
static enum cpu_result exec_cwd(struct cpu *cpu, const struct insn *insn)
{
	bool is_negative = top_bit(cpu->state.gpr[RAX], insn->operand_size);

	set_gpr(cpu, RDX, insn->operand_size, is_negative ? UINT64_MAX : 0);
	return CPU_NEXT;
}

#define FLAGS_AH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF)
#define FLAG_ONE (1ull << 1) /* reads as 1 */

static enum cpu_result exec_lahf(struct cpu *cpu, const struct insn *insn)
{
	uint64_t flags = (cpu->state.rflags & FLAGS_AH) | FLAG_ONE;

	(void)insn;
	cpu->state.gpr[RAX] = (cpu->state.gpr[RAX] & ~0xff00ull) | flags << 8;
	return CPU_NEXT;
}

static enum cpu_result exec_sahf(struct cpu *cpu, const struct insn *insn)
{
	uint64_t flags = cpu->state.gpr[RAX] >> 8 & FLAGS_AH;

	(void)insn;
	cpu->state.rflags = (cpu->state.rflags & ~FLAGS_AH) | flags;
	return CPU_NEXT;
}

static enum cpu_result exec_flag(struct cpu *cpu, const struct insn *insn)
{
	uint64_t *flags = &cpu->state.rflags;

	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_CLC:
		*flags &= ~FLAG_CF;
		break;
	case ZYDIS_MNEMONIC_STC:
		*flags |= FLAG_CF;
		break;
	case ZYDIS_MNEMONIC_CMC:
		*flags ^= FLAG_CF;
		break;
	case ZYDIS_MNEMONIC_CLD:
		*flags &= ~FLAG_DF;
		break;
	default: /* STD */
		*flags |= FLAG_DF;
		break;
	}
	return CPU_NEXT;
}

/* Also fences and prefetches: each CPU runs in a thread, and sees memory as that does. */
static enum cpu_result exec_nop(struct cpu *cpu, const struct insn *insn)
{
	(void)cpu;
	(void)insn;
	return CPU_NEXT;
}

static enum cpu_result exec_mfence(struct cpu *cpu, const struct insn *insn)
{
	(void)cpu;
	(void)insn;
	atomic_thread_fence(memory_order_seq_cst);
	return CPU_NEXT;
}

/* Caches are not modelled; the access is, as a load. */
static enum cpu_result exec_clflush(struct cpu *cpu, const struct insn *insn)
{
	uint64_t linear;
	uint8_t byte;
	enum cpu_result result =
		cpu_linear(cpu, insn->segment, insn_offset(cpu, insn), 1, false, &linear);

	return result == CPU_NEXT ? cpu_load(cpu, linear, &byte, 1) : result;
}

static enum cpu_result exec_ud(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return cpu_ud(cpu);
}

exec_fn *integer_find(const ZydisDecodedInstruction *decoded)
{
	static exec_fn *const table[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
		[ZYDIS_MNEMONIC_ADD] = exec_add,	 [ZYDIS_MNEMONIC_ADC] = exec_adc,
		[ZYDIS_MNEMONIC_SUB] = exec_sub,	 [ZYDIS_MNEMONIC_SBB] = exec_sbb,
		[ZYDIS_MNEMONIC_AND] = exec_and,	 [ZYDIS_MNEMONIC_OR] = exec_or,
		[ZYDIS_MNEMONIC_XOR] = exec_xor,	 [ZYDIS_MNEMONIC_CMP] = exec_cmp,
		[ZYDIS_MNEMONIC_TEST] = exec_test,	 [ZYDIS_MNEMONIC_INC] = exec_inc,
		[ZYDIS_MNEMONIC_DEC] = exec_dec,	 [ZYDIS_MNEMONIC_NEG] = exec_neg,
		[ZYDIS_MNEMONIC_NOT] = exec_not,	 [ZYDIS_MNEMONIC_ADCX] = exec_adcx,
		[ZYDIS_MNEMONIC_ADOX] = exec_adox,	 [ZYDIS_MNEMONIC_MOV] = exec_mov,
		[ZYDIS_MNEMONIC_MOVZX] = exec_mov,	 [ZYDIS_MNEMONIC_MOVNTI] = exec_mov,
		[ZYDIS_MNEMONIC_MOVSX] = exec_movsx,	 [ZYDIS_MNEMONIC_MOVSXD] = exec_movsx,
		[ZYDIS_MNEMONIC_MOVBE] = exec_movbe,	 [ZYDIS_MNEMONIC_BSWAP] = exec_bswap,
		[ZYDIS_MNEMONIC_LEA] = exec_lea,	 [ZYDIS_MNEMONIC_SALC] = exec_salc,
		[ZYDIS_MNEMONIC_XLAT] = exec_xlat,	 [ZYDIS_MNEMONIC_CBW] = exec_cbw,
		[ZYDIS_MNEMONIC_CWDE] = exec_cbw,	 [ZYDIS_MNEMONIC_CDQE] = exec_cbw,
		[ZYDIS_MNEMONIC_CWD] = exec_cwd,	 [ZYDIS_MNEMONIC_CDQ] = exec_cwd,
		[ZYDIS_MNEMONIC_CQO] = exec_cwd,	 [ZYDIS_MNEMONIC_LAHF] = exec_lahf,
		[ZYDIS_MNEMONIC_SAHF] = exec_sahf,	 [ZYDIS_MNEMONIC_CLC] = exec_flag,
		[ZYDIS_MNEMONIC_STC] = exec_flag,	 [ZYDIS_MNEMONIC_CMC] = exec_flag,
		[ZYDIS_MNEMONIC_CLD] = exec_flag,	 [ZYDIS_MNEMONIC_STD] = exec_flag,
		[ZYDIS_MNEMONIC_NOP] = exec_nop,	 [ZYDIS_MNEMONIC_PAUSE] = exec_nop,
		[ZYDIS_MNEMONIC_PREFETCH] = exec_nop,	 [ZYDIS_MNEMONIC_PREFETCHNTA] = exec_nop,
		[ZYDIS_MNEMONIC_PREFETCHT0] = exec_nop,	 [ZYDIS_MNEMONIC_PREFETCHT1] = exec_nop,
		[ZYDIS_MNEMONIC_PREFETCHT2] = exec_nop,	 [ZYDIS_MNEMONIC_PREFETCHW] = exec_nop,
		[ZYDIS_MNEMONIC_PREFETCHWT1] = exec_nop, [ZYDIS_MNEMONIC_LFENCE] = exec_nop,
		[ZYDIS_MNEMONIC_SFENCE] = exec_nop,	 [ZYDIS_MNEMONIC_MFENCE] = exec_mfence,
		[ZYDIS_MNEMONIC_CLFLUSH] = exec_clflush, [ZYDIS_MNEMONIC_CLFLUSHOPT] = exec_clflush,
		[ZYDIS_MNEMONIC_CLWB] = exec_clflush,	 [ZYDIS_MNEMONIC_UD0] = exec_ud,
		[ZYDIS_MNEMONIC_UD1] = exec_ud,		 [ZYDIS_MNEMONIC_UD2] = exec_ud,
	};

	switch ((unsigned)decoded->meta.category) {
	case ZYDIS_CATEGORY_CMOV:
		return exec_cmov;
	case ZYDIS_CATEGORY_SETCC:
		return exec_set;
	default:
		break;
	}
	if (decoded->mnemonic == ZYDIS_MNEMONIC_MOV) {
		bool is_segment = decoded->opcode == 0x8c || decoded->opcode == 0x8e;

		/* Control and debug registers are in map 0F. */
		if (decoded->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || is_segment)
			return NULL;
	}
	return table[decoded->mnemonic];
}
