// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * syscall.c - SYSCALL, SYSRET, SYSENTER, SYSEXIT: 6.1
 *
 * Segments are not loaded from descriptors, but are what an operating system is to have there.
 * Where processors of AMD differ from others, this is one of AMD: SYSCALL exists in all modes,
 * SYSENTER in legacy mode only, and SYSRET loads any RIP.
 */
#include "alu.h"
#include "descriptor.h"

#define STAR_SYSCALL  32
#define STAR_SYSRET   48
#define SELECTOR_NEXT 8u
/* Bit 1 of RFLAGS is always set. */
#define FLAG_ONE (1ull << 1)
#define SYSRET_FLAGS                                                                               \
	(FLAGS_STATUS | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_AC | FLAG_ID)

enum flat { FLAT_64, FLAT_32, FLAT_DATA };

static struct cpu_segment flat(unsigned selector, unsigned cpl, enum flat kind)
{
	uint16_t attributes = (uint16_t)(SEGMENT_S | SEGMENT_PRESENT | SEGMENT_G | TYPE_ACCESSED |
					 TYPE_WRITABLE | cpl * (SEGMENT_DPL / 3));

	if (kind != FLAT_DATA)
		attributes |= TYPE_CODE;
	attributes |= kind == FLAT_64 ? SEGMENT_L : SEGMENT_DB;
	return (struct cpu_segment){
		.selector = (uint16_t)((selector & ~SELECTOR_RPL) | cpl),
		.attributes = attributes,
		.limit = UINT32_MAX,
	};
}

static void set_privilege(struct cpu *cpu, unsigned cs, enum flat kind, unsigned ss, unsigned cpl)
{
	cpu->state.segment[CS] = flat(cs, cpl, kind);
	cpu->state.segment[SS] = flat(ss, cpl, FLAT_DATA);
	cpu->state.cpl = (uint8_t)cpl;
}

static enum cpu_result exec_syscall(struct cpu *cpu, const struct insn *insn)
{
	struct cpu_state *state = &cpu->state;
	unsigned selector = state->star >> STAR_SYSCALL & 0xffff;

	if (!(state->efer & EFER_SCE))
		return cpu_ud(cpu);
	state->gpr[RCX] = next_rip(cpu, insn);
	if (is_long_mode(cpu)) {
		state->gpr[R11] = state->rflags & ~FLAG_RF;
		state->rip = is_64bit(cpu) ? state->lstar : state->cstar;
		state->rflags &= ~(state->sfmask | FLAG_RF);
		set_privilege(cpu, selector, FLAT_64, selector + SELECTOR_NEXT, 0);
	} else {
		state->rip = (uint32_t)state->star;
		state->rflags &= ~(FLAG_VM | FLAG_IF | FLAG_RF);
		set_privilege(cpu, selector, FLAT_32, selector + SELECTOR_NEXT, 0);
	}
	return CPU_JUMPED;
}

static enum cpu_result exec_sysret(struct cpu *cpu, const struct insn *insn)
{
	struct cpu_state *state = &cpu->state;
	unsigned selector = state->star >> STAR_SYSRET & 0xffff;

	if (!(state->efer & EFER_SCE))
		return cpu_ud(cpu);
	if (is_real_mode(cpu) || state->cpl != 0)
		return cpu_gp(cpu, 0);
	if (!is_long_mode(cpu))
		state->rflags |= FLAG_IF;
	else
		state->rflags = (state->gpr[R11] & SYSRET_FLAGS) | FLAG_ONE;
	if (is_64bit(cpu) && insn->operand_size == 8) {
		state->rip = state->gpr[RCX];
		set_privilege(cpu, selector + 2 * SELECTOR_NEXT, FLAT_64, selector + SELECTOR_NEXT,
			      3);
	} else {
		state->rip = (uint32_t)state->gpr[RCX];
		set_privilege(cpu, selector, FLAT_32, selector + SELECTOR_NEXT, 3);
	}
	return CPU_JUMPED;
}

static enum cpu_result exec_sysenter(struct cpu *cpu, const struct insn *insn)
{
	struct cpu_state *state = &cpu->state;
	unsigned selector = (uint16_t)state->sysenter_cs;

	(void)insn;
	if (is_long_mode(cpu))
		return cpu_ud(cpu);
	if (is_real_mode(cpu) || is_null((uint16_t)selector))
		return cpu_gp(cpu, 0);
	state->rflags &= ~(FLAG_IF | FLAG_RF | FLAG_VM);
	state->rip = (uint32_t)state->sysenter_eip;
	state->gpr[RSP] = (uint32_t)state->sysenter_esp;
	set_privilege(cpu, selector, FLAT_32, selector + SELECTOR_NEXT, 0);
	return CPU_JUMPED;
}

static enum cpu_result exec_sysexit(struct cpu *cpu, const struct insn *insn)
{
	struct cpu_state *state = &cpu->state;
	unsigned selector = (uint16_t)state->sysenter_cs;

	(void)insn;
	if (is_long_mode(cpu))
		return cpu_ud(cpu);
	if (is_real_mode(cpu) || state->cpl != 0 || is_null((uint16_t)selector))
		return cpu_gp(cpu, 0);
	state->rip = (uint32_t)state->gpr[RDX];
	state->gpr[RSP] = (uint32_t)state->gpr[RCX];
	set_privilege(cpu, selector + 2 * SELECTOR_NEXT, FLAT_32, selector + 3 * SELECTOR_NEXT, 3);
	return CPU_JUMPED;
}

exec_fn *syscall_find(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_SYSCALL:
		return exec_syscall;
	case ZYDIS_MNEMONIC_SYSRET:
		return exec_sysret;
	case ZYDIS_MNEMONIC_SYSENTER:
		return exec_sysenter;
	case ZYDIS_MNEMONIC_SYSEXIT:
		return exec_sysexit;
	default:
		return NULL;
	}
}
