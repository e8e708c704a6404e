// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fpu.c - MXCSR, FXSAVE, and of x87 as much as an operating system needs to leave it alone
 *
 * x87 and MMX arithmetic is not implemented, so nothing here raises x87 exceptions; a state that
 * was loaded may still have one pending.
 */
#include <string.h>

#include "vector.h"

#define FXSAVE_LEN     512
#define FXSAVE_WRITTEN 416 /* behind XMM15; the rest is left alone: APM volume 1, 11.4.4 */
#define FXSAVE_XMM8    288

/* APM volume 1, 6.2.2 and 6.2.3 */
#define FCW_WRITABLE   0x1f3f
#define FCW_ONES       0x0040 /* reads as 1 */
#define FSW_EXCEPTIONS 0x003f
#define FSW_TOP	       0x3800
#define FSW_CLEARED    0x80ff /* by FNCLEX: exceptions, SF, ES, B */
#define FSW_ES_B       0x8080

void fpu_normalize(struct cpu_fpu *fpu)
{
	fpu->fcw = (fpu->fcw & FCW_WRITABLE) | FCW_ONES;
	if (fpu->fsw & ~fpu->fcw & FSW_EXCEPTIONS)
		fpu->fsw |= FSW_ES_B;
	else
		fpu->fsw &= (uint16_t)~FSW_ES_B;
	fpu->reserved = 0;
	for (unsigned i = 0; i < 8; i++)
		memset(fpu->st[i] + 10, 0, 6); /* of 80 bits */
}

/* #NM; where `waits`, #MF for what is pending.  CR0.NE clear is IRQ 13 of the PC/AT: unknown. */
static enum cpu_result x87_check(struct cpu *cpu, bool waits)
{
	if (cpu->state.cr0 & (CR0_EM | CR0_TS))
		return cpu_raise(cpu, VECTOR_NM, false, 0);
	if (!waits || !(cpu->state.fpu.fsw & FSW_ES_B))
		return CPU_NEXT;
	return cpu->state.cr0 & CR0_NE ? cpu_raise(cpu, VECTOR_MF, false, 0) : CPU_IS_UNKNOWN;
}

static enum cpu_result fninit(struct cpu *cpu, const struct insn *insn)
{
	struct cpu_fpu *fpu = &cpu->state.fpu;
	enum cpu_result result = x87_check(cpu, false);

	(void)insn;
	if (result != CPU_NEXT)
		return result;
	fpu->fcw = FCW_DEFAULT;
	fpu->fsw = fpu->fop = 0;
	fpu->ftw = 0;
	fpu->fip = fpu->fdp = 0;
	return CPU_NEXT;
}

static enum cpu_result fnclex(struct cpu *cpu, const struct insn *insn)
{
	enum cpu_result result = x87_check(cpu, false);

	(void)insn;
	if (result == CPU_NEXT)
		cpu->state.fpu.fsw &= (uint16_t)~FSW_CLEARED;
	return result;
}

static enum cpu_result fnstcw(struct cpu *cpu, const struct insn *insn)
{
	enum cpu_result result = x87_check(cpu, false);

	return result == CPU_NEXT ? operand_set(cpu, insn, 0, cpu->state.fpu.fcw) : result;
}

static enum cpu_result fnstsw(struct cpu *cpu, const struct insn *insn)
{
	enum cpu_result result = x87_check(cpu, false);

	return result == CPU_NEXT ? operand_set(cpu, insn, 0, cpu->state.fpu.fsw) : result;
}

static enum cpu_result fldcw(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = x87_check(cpu, true);

	if (result == CPU_NEXT)
		result = operand_get(cpu, insn, 0, &value);
	if (result != CPU_NEXT)
		return result;
	cpu->state.fpu.fcw = (uint16_t)value;
	fpu_normalize(&cpu->state.fpu);
	return CPU_NEXT;
}

static enum cpu_result fwait(struct cpu *cpu, const struct insn *insn)
{
	const uint64_t monitored = CR0_MP | CR0_TS;

	(void)insn;
	if ((cpu->state.cr0 & monitored) == monitored)
		return cpu_raise(cpu, VECTOR_NM, false, 0);
	if (!(cpu->state.fpu.fsw & FSW_ES_B))
		return CPU_NEXT;
	return cpu->state.cr0 & CR0_NE ? cpu_raise(cpu, VECTOR_MF, false, 0) : CPU_IS_UNKNOWN;
}

static enum cpu_result emms(struct cpu *cpu, const struct insn *insn)
{
	enum cpu_result result;

	(void)insn;
	if (cpu->state.cr0 & CR0_EM)
		return cpu_ud(cpu);
	result = x87_check(cpu, true);
	if (result != CPU_NEXT)
		return result;
	cpu->state.fpu.ftw = 0;
	cpu->state.fpu.fsw &= (uint16_t)~FSW_TOP;
	return CPU_NEXT;
}

static enum cpu_result ldmxcsr(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE_FLOAT);

	if (result == CPU_NEXT)
		result = operand_get(cpu, insn, 0, &value);
	if (result != CPU_NEXT)
		return result;
	if (value & ~(uint64_t)cpu->state.fpu.mxcsr_mask)
		return cpu_gp(cpu, 0);
	cpu->state.fpu.mxcsr = (uint32_t)value;
	return CPU_NEXT;
}

static enum cpu_result stmxcsr(struct cpu *cpu, const struct insn *insn)
{
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE_FLOAT);

	return result == CPU_NEXT ? operand_set(cpu, insn, 0, cpu->state.fpu.mxcsr) : result;
}

/* Bytes [i, +len) of the memory operand: an offset of 32 bits wraps. */
static enum cpu_result fx_part(struct cpu *cpu, const struct insn *insn, unsigned i, unsigned len,
			       bool is_write, uint64_t *ret)
{
	return cpu_linear(cpu, insn->segment,
			  zero_extend(insn_offset(cpu, insn) + i, insn->address_size), len,
			  is_write, ret);
}

/* Where it begins, whether it is aligned, where it ends: the order that faults show. */
static enum cpu_result fx_check(struct cpu *cpu, const struct insn *insn, bool is_write)
{
	uint64_t linear;
	uint8_t last;
	enum cpu_result result = x87_check(cpu, false);

	if (result == CPU_NEXT)
		result = fx_part(cpu, insn, 0, 4, is_write, &linear);
	if (result == CPU_NEXT && linear % 16)
		return cpu_gp(cpu, 0);
	if (result == CPU_NEXT)
		result = fx_part(cpu, insn, FXSAVE_LEN - 1, 1, is_write, &linear);
	if (result != CPU_NEXT)
		return result;
	return is_write ? cpu_probe_store(cpu, linear, 1)
			: cpu_load(cpu, linear, &last, sizeof(last));
}

/* Pointers are moved as the eight bytes that they are: with a selector or, by FXSAVE64, without. */
static enum cpu_result fxsave(struct cpu *cpu, const struct insn *insn)
{
	unsigned len = is_64bit(cpu) ? FXSAVE_WRITTEN : FXSAVE_XMM8;
	enum cpu_result result = fx_check(cpu, insn, true);

	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < len && result == CPU_NEXT; i += 16) {
			const uint8_t *data = (const uint8_t *)&cpu->state.fpu + i;
			uint64_t linear;

			result = fx_part(cpu, insn, i, 16, true, &linear);
			if (result == CPU_NEXT)
				result = pass ? cpu_store(cpu, linear, data, 16)
					      : cpu_probe_store(cpu, linear, 16);
		}
	return result;
}

static enum cpu_result fxrstor(struct cpu *cpu, const struct insn *insn)
{
	unsigned len = is_64bit(cpu) ? FXSAVE_WRITTEN : FXSAVE_XMM8;
	struct cpu_fpu fpu = cpu->state.fpu;
	enum cpu_result result = fx_check(cpu, insn, false);

	for (unsigned i = 0; i < len && result == CPU_NEXT; i += 16) {
		uint64_t linear;

		result = fx_part(cpu, insn, i, 16, false, &linear);
		if (result == CPU_NEXT)
			result = cpu_load(cpu, linear, (uint8_t *)&fpu + i, 16);
	}
	if (result != CPU_NEXT)
		return result;
	fpu.mxcsr_mask = cpu->state.fpu.mxcsr_mask;
	if (fpu.mxcsr & ~fpu.mxcsr_mask)
		return cpu_gp(cpu, 0);
	fpu_normalize(&fpu);
	cpu->state.fpu = fpu;
	return CPU_NEXT;
}

static exec_fn *const table[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	[ZYDIS_MNEMONIC_FNINIT] = fninit,
	[ZYDIS_MNEMONIC_FNCLEX] = fnclex,
	[ZYDIS_MNEMONIC_FNSTCW] = fnstcw,
	[ZYDIS_MNEMONIC_FNSTSW] = fnstsw,
	[ZYDIS_MNEMONIC_FLDCW] = fldcw,
	[ZYDIS_MNEMONIC_FWAIT] = fwait,
	[ZYDIS_MNEMONIC_EMMS] = emms,
	[ZYDIS_MNEMONIC_LDMXCSR] = ldmxcsr,
	[ZYDIS_MNEMONIC_VLDMXCSR] = ldmxcsr,
	[ZYDIS_MNEMONIC_STMXCSR] = stmxcsr,
	[ZYDIS_MNEMONIC_VSTMXCSR] = stmxcsr,
	[ZYDIS_MNEMONIC_FXSAVE] = fxsave,
	[ZYDIS_MNEMONIC_FXSAVE64] = fxsave,
	[ZYDIS_MNEMONIC_FXRSTOR] = fxrstor,
	[ZYDIS_MNEMONIC_FXRSTOR64] = fxrstor,
	[ZYDIS_MNEMONIC_XSAVE] = exec_xsave,
	[ZYDIS_MNEMONIC_XSAVE64] = exec_xsave,
	[ZYDIS_MNEMONIC_XSAVEOPT] = exec_xsaveopt,
	[ZYDIS_MNEMONIC_XSAVEOPT64] = exec_xsaveopt,
	[ZYDIS_MNEMONIC_XSAVEC] = exec_xsavec,
	[ZYDIS_MNEMONIC_XSAVEC64] = exec_xsavec,
	[ZYDIS_MNEMONIC_XRSTOR] = exec_xrstor,
	[ZYDIS_MNEMONIC_XRSTOR64] = exec_xrstor,
};

exec_fn *fpu_find(ZydisMnemonic mnemonic)
{
	return table[mnemonic];
}
