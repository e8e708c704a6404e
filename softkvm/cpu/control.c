// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * control.c - CR0 to CR8, EFER, debug registers: 3.1, 13.1
 *
 * Breakpoints in debug registers are not modelled; the registers are.
 */
#include "descriptor.h"
#include "paging.h"
#include "system.h"

#define CR0_ET (1ull << 4)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_DEFINED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
/* Those that translations depend on. */
#define CR0_PAGING (CR0_PE | CR0_WP | CR0_PG)
#define CR0_LMSW   (CR0_PE | CR0_MP | CR0_EM | CR0_TS)
#define CR3_PCID   0xfffull
#define CR3_KEEPS  (1ull << 63) /* with PCIDs: translations */
#define CR4_MCE	   (1ull << 6)
#define CR4_PCE	   (1ull << 8)
#define CR4_ALWAYS                                                                                 \
	(CR4_VME | 1ull << 1 | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE |          \
	 CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT)
#define CR8_PRIORITY 0xfull

#define DR6_FIXED    0xffff0ff0ull
#define DR6_VOLATILE 0xe00full
#define DR6_BD	     (1ull << 13)
#define DR7_FIXED    0x400ull
#define DR7_VOLATILE 0xffff2bffull
#define DR7_GD	     (1ull << 13)

#define EFER_LMSLE (1ull << 13)
#define EFER_SVME  (1ull << 12)
#define EFER_FFXSR (1ull << 14)

enum cpu_result control_written(struct cpu *cpu, enum cpu_trap trap)
{
	if (cpu->es) {
		cpu->trap = (uint8_t)trap;
		return CPU_TRAPPED;
	}
	cpu->ops->control_written(cpu->opaque);
	return CPU_NEXT_AFRESH;
}

static enum cpu_result write_cr0(struct cpu *cpu, uint64_t value)
{
	struct cpu_state *state = &cpu->state;
	uint64_t changed;
	bool is_paged = value & CR0_PG, begins, ends;

	if (value >> 32 || (is_paged && !(value & CR0_PE)) ||
	    ((value & CR0_NW) && !(value & CR0_CD)))
		return cpu_gp(cpu, 0);
	value = (value & CR0_DEFINED) | CR0_ET;
	changed = value ^ state->cr0;
	begins = is_paged && (changed & CR0_PG);
	ends = !is_paged && (changed & CR0_PG);
	/* 14.6.1: long mode begins and ends with paging. */
	if (begins && (state->efer & EFER_LME)) {
		if (!(state->cr4 & CR4_PAE) || (state->segment[CS].attributes & SEGMENT_L))
			return cpu_gp(cpu, 0);
		state->efer |= EFER_LMA;
	}
	if (ends) {
		if (is_64bit(cpu) || (state->cr4 & CR4_PCIDE))
			return cpu_gp(cpu, 0);
		state->efer &= ~EFER_LMA;
	}
	state->cr0 = value;
	if (changed & CR0_PAGING)
		tlb_flush(cpu, true);
	return control_written(cpu, CPU_TRAP_CR0);
}

/* Where page tables can be. */
static uint64_t cr3_reserved(const struct cpu *cpu)
{
	return ~(physical_mask(cpu) | cpu->c_bit);
}

static enum cpu_result write_cr3(struct cpu *cpu, uint64_t value)
{
	if (cpu->state.cr4 & CR4_PCIDE)
		value &= ~CR3_KEEPS;
	if (is_long_mode(cpu) && (value & cr3_reserved(cpu)))
		return cpu_gp(cpu, 0);
	cpu->state.cr3 = value;
	/* Translations need not be kept for other PCIDs: none are. */
	tlb_flush(cpu, false);
	return CPU_NEXT_AFRESH;
}

static uint64_t cr4_allowed(const struct cpu *cpu)
{
	const struct cpu_features *features = &cpu->features;

	return CR4_ALWAYS | (features->umip ? CR4_UMIP : 0) | (features->la57 ? CR4_LA57 : 0) |
	       (features->fsgsbase ? CR4_FSGSBASE : 0) | (features->pcid ? CR4_PCIDE : 0) |
	       (features->xsave ? CR4_OSXSAVE : 0) | (features->smep ? CR4_SMEP : 0) |
	       (features->smap ? CR4_SMAP : 0) | (features->pku ? CR4_PKE : 0);
}

static enum cpu_result write_cr4(struct cpu *cpu, uint64_t value)
{
	struct cpu_state *state = &cpu->state;
	uint64_t changed = value ^ state->cr4;

	if (value & ~cr4_allowed(cpu))
		return cpu_gp(cpu, 0);
	if (is_long_mode(cpu) && (!(value & CR4_PAE) || (changed & CR4_LA57)))
		return cpu_gp(cpu, 0);
	if ((value & changed & CR4_PCIDE) && (!is_long_mode(cpu) || (state->cr3 & CR3_PCID)))
		return cpu_gp(cpu, 0);
	state->cr4 = value;
	if (changed)
		tlb_flush(cpu, true);
	return control_written(cpu, CPU_TRAP_CR4);
}

static enum cpu_result write_cr8(struct cpu *cpu, uint64_t value)
{
	if (value & ~CR8_PRIORITY)
		return cpu_gp(cpu, 0);
	cpu->state.cr8 = value;
	return control_written(cpu, CPU_TRAP_CR8);
}

enum cpu_result control_write_efer(struct cpu *cpu, uint64_t value)
{
	struct cpu_state *state = &cpu->state;
	uint32_t extended[4];
	uint64_t allowed = EFER_SCE | EFER_LME | EFER_LMA | EFER_LMSLE;
	uint64_t changed;

	cpu->ops->cpuid(cpu->opaque, LEAF_EXTENDED, 0, extended);
	allowed |= extended[3] & CPUID_FFXSR ? EFER_FFXSR : 0;
	allowed |= cpu->features.nx ? EFER_NXE : 0;
	/* The CPU runs under SVM: 15.35.8 has it set in the guest's own register. */
	allowed |= cpu->es || (extended[2] & CPUID_SVM) ? EFER_SVME : 0;
	changed = value ^ state->efer;
	if ((value & ~allowed) || ((state->cr0 & CR0_PG) && (changed & EFER_LME)))
		return cpu_gp(cpu, 0);
	/* LMA is the CPU's to set. */
	state->efer = (value & ~EFER_LMA) | (state->efer & EFER_LMA);
	if (changed & EFER_NXE)
		tlb_flush(cpu, true);
	return control_written(cpu, CPU_TRAP_EFER);
}

static enum cpu_result exec_mov_to_control(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = cpu->state.gpr[insn->operand[1].reg];

	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	if (!is_64bit(cpu))
		value = (uint32_t)value;
	switch (insn->operand[0].reg) {
	case 0:
		return write_cr0(cpu, value);
	case 2:
		cpu->state.cr2 = value;
		return CPU_NEXT;
	case 3:
		return write_cr3(cpu, value);
	case 4:
		return write_cr4(cpu, value);
	case 8:
		return write_cr8(cpu, value);
	default:
		return cpu_ud(cpu);
	}
}

static enum cpu_result exec_mov_from_control(struct cpu *cpu, const struct insn *insn)
{
	const struct cpu_state *state = &cpu->state;
	uint64_t value;

	if (state->cpl != 0)
		return cpu_gp(cpu, 0);
	switch (insn->operand[1].reg) {
	case 0:
		value = state->cr0;
		break;
	case 2:
		value = state->cr2;
		break;
	case 3:
		value = state->cr3;
		break;
	case 4:
		value = state->cr4;
		break;
	case 8:
		value = state->cr8;
		break;
	default:
		return cpu_ud(cpu);
	}
	set_gpr(cpu, insn->operand[0].reg, is_64bit(cpu) ? 8 : 4, value);
	return CPU_NEXT;
}

static enum cpu_result exec_clts(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	cpu->state.cr0 &= ~CR0_TS;
	return control_written(cpu, CPU_TRAP_CR0);
}

/* Can set PE, but not clear it. */
static enum cpu_result exec_lmsw(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum cpu_result result;

	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	result = operand_get(cpu, insn, 0, &value);
	if (result != CPU_NEXT)
		return result;
	value = (value & CR0_LMSW) | (cpu->state.cr0 & CR0_PE);
	return write_cr0(cpu, (cpu->state.cr0 & ~CR0_LMSW) | value);
}

static enum cpu_result exec_smsw(struct cpu *cpu, const struct insn *insn)
{
	if ((cpu->state.cr4 & CR4_UMIP) && cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	return operand_set(cpu, insn, 0, cpu->state.cr0);
}

/* DR4 and DR5 are other names of DR6 and DR7, unless CR4.DE says that they are not there. */
static enum cpu_result find_debug(struct cpu *cpu, unsigned reg, bool is_write, unsigned *ret)
{
	if (reg > 7 || ((reg == 4 || reg == 5) && (cpu->state.cr4 & CR4_DE)))
		return cpu_ud(cpu);
	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	if (cpu->state.dr7 & DR7_GD) {
		cpu->state.dr6 |= DR6_BD;
		return cpu_raise(cpu, VECTOR_DB, false, 0);
	}
	*ret = reg == 4 || reg == 5 ? reg + 2 : reg;
	if (cpu->es && *ret == 7)
		return cpu_vc(cpu, is_write ? VC_WRITE_DR7 : VC_READ_DR7);
	return CPU_NEXT;
}

static enum cpu_result exec_mov_to_debug(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = cpu->state.gpr[insn->operand[1].reg];
	unsigned reg;
	enum cpu_result result = find_debug(cpu, insn->operand[0].reg, true, &reg);

	if (result != CPU_NEXT)
		return result;
	if (!is_64bit(cpu))
		value = (uint32_t)value;
	if (reg < 4) {
		cpu->state.dr[reg] = value;
		return CPU_NEXT;
	}
	if (value >> 32)
		return cpu_gp(cpu, 0);
	if (reg == 6)
		cpu->state.dr6 = (value & DR6_VOLATILE) | DR6_FIXED;
	else
		cpu->state.dr7 = (value & DR7_VOLATILE) | DR7_FIXED;
	return CPU_NEXT;
}

static enum cpu_result exec_mov_from_debug(struct cpu *cpu, const struct insn *insn)
{
	const struct cpu_state *state = &cpu->state;
	unsigned reg;
	enum cpu_result result = find_debug(cpu, insn->operand[1].reg, false, &reg);
	uint64_t value;

	if (result != CPU_NEXT)
		return result;
	if (reg < 4)
		value = state->dr[reg];
	else
		value = reg == 6 ? state->dr6 : state->dr7;
	set_gpr(cpu, insn->operand[0].reg, is_64bit(cpu) ? 8 : 4, value);
	return CPU_NEXT;
}

static exec_fn *find_mov(const ZydisDecodedInstruction *decoded)
{
	if (decoded->opcode_map != ZYDIS_OPCODE_MAP_0F)
		return NULL;
	switch (decoded->opcode) {
	case 0x20:
		return exec_mov_from_control;
	case 0x21:
		return exec_mov_from_debug;
	case 0x22:
		return exec_mov_to_control;
	case 0x23:
		return exec_mov_to_debug;
	default:
		return NULL;
	}
}

exec_fn *control_find(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		return find_mov(decoded);
	case ZYDIS_MNEMONIC_CLTS:
		return exec_clts;
	case ZYDIS_MNEMONIC_LMSW:
		return exec_lmsw;
	case ZYDIS_MNEMONIC_SMSW:
		return exec_smsw;
	default:
		return NULL;
	}
}
