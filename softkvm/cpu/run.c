// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * run.c - a CPU's life, and the loop that interprets
 *
 * An instruction is found (code.c), carried out by its function, and what that returns decides
 * what comes next.  Whatever is not so before most instructions (attention, an interrupt window
 * that is waited for, single-stepping, an interrupt shadow) is looked at together, in one
 * condition, and then taken care of in a slower step.
 *
 * An instruction counts when it has taken effect or an exception of it has been delivered; so does
 * each part of a string instruction that is interrupted between its elements.
 */
#include <stdlib.h>

#include "code.h"

#define DR6_BS (1ull << 14)

struct cpu *cpu_new(const struct cpu_ops *ops, void *opaque)
{
	struct cpu *cpu = aligned_alloc(_Alignof(struct cpu), sizeof(*cpu));

	if (!cpu)
		return NULL;
	*cpu = (struct cpu){
		.ops = ops,
		.opaque = opaque,
		.tlb = tlb_new(),
		.code = code_new(),
	};
	if (!cpu->tlb || !cpu->code)
		return cpu_free(cpu);
	cpu_reset(&cpu->state);
	return cpu;
}

struct cpu *cpu_free(struct cpu *cpu)
{
	if (cpu) {
		cpu->tlb = tlb_free(cpu->tlb);
		cpu->code = code_free(cpu->code);
		free(cpu);
	}
	return NULL;
}

static void move_behind(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rip = cpu->state.rip + insn->length;

	cpu->state.rip = is_64bit(cpu) ? rip : (uint32_t)rip;
}

/* To the guest.  True: *ret says why cpu_run() ends. */
static bool deliver(struct cpu *cpu, uint8_t vector, bool has_error, uint32_t error,
		    uint64_t address, enum cpu_stop *ret)
{
	if (vector == VECTOR_PF)
		cpu->state.cr2 = address;

	enum cpu_result result = cpu_deliver(cpu, vector, has_error, error, false);

	cpu->state.exception.pending = false;
	if (result == CPU_JUMPED)
		return false;
	if (result == CPU_SHUTS_DOWN) {
		*ret = CPU_STOP_SHUTDOWN;
		return true;
	}
	/* An answer is missing, or the way is by a task gate: nothing has changed. */
	cpu->state.exception = (struct cpu_exception){
		.pending = true,
		.has_error = has_error,
		.vector = vector,
		.error = error,
		.address = address,
	};
	*ret = result == CPU_ABANDONED ? CPU_STOP_PENDING : CPU_STOP_UNKNOWN;
	if (result != CPU_ABANDONED)
		cpu_describe_unknown(cpu);
	return true;
}

/* What is neither CPU_NEXT nor CPU_JUMPED.  True: *ret says why cpu_run() ends. */
static bool finish(struct cpu *cpu, const struct insn *insn, enum cpu_result result,
		   enum cpu_stop *ret)
{
	bool ends = true;

	switch (result) {
	case CPU_ABANDONED:
		*ret = CPU_STOP_PENDING;
		return true;
	case CPU_IS_UNKNOWN:
		cpu_describe_unknown(cpu);
		*ret = CPU_STOP_UNKNOWN;
		return true;
	case CPU_SHUTS_DOWN:
		*ret = CPU_STOP_SHUTDOWN;
		return true;
	case CPU_FAULT:
		cpu->instructions++;
		return deliver(cpu, cpu->fault.vector, cpu->fault.has_error, cpu->fault.error,
			       cpu->fault.address, ret);
	case CPU_HALTED:
		*ret = CPU_STOP_HALT;
		break;
	case CPU_VMMCALL:
		*ret = CPU_STOP_VMMCALL;
		break;
	case CPU_VMGEXIT:
		*ret = CPU_STOP_VMGEXIT;
		break;
	case CPU_TRAPPED:
		*ret = CPU_STOP_TRAP;
		code_doubt(cpu);
		break;
	case CPU_NEXT_AFRESH:
		code_doubt(cpu);
		ends = false;
		break;
	case CPU_NEXT:
	case CPU_JUMPED:
		return false;
	}
	cpu->instructions++;
	move_behind(cpu, insn);
	return ends;
}

/* These enter a handler with TF clear, and are not single-stepped over. */
static bool is_software_interrupt(const struct insn *insn)
{
	return insn->mnemonic == ZYDIS_MNEMONIC_INT || insn->mnemonic == ZYDIS_MNEMONIC_INT1 ||
	       insn->mnemonic == ZYDIS_MNEMONIC_INT3 || insn->mnemonic == ZYDIS_MNEMONIC_INTO;
}

static bool is_unusual(const struct cpu *cpu)
{
	return atomic_load_explicit(&cpu->attention, memory_order_relaxed) || cpu->window_wanted ||
	       cpu->state.shadow != SHADOW_NONE || (cpu->state.rflags & (FLAG_TF | FLAG_RF));
}

/* One instruction, with all that may be in its way.  True: *ret says why cpu_run() ends. */
static bool step_unusual(struct cpu *cpu, enum cpu_stop *ret)
{
	struct cpu_state *state = &cpu->state;
	const struct insn *insn = NULL;
	uint8_t shadow = state->shadow;
	uint64_t flags = state->rflags;

	if (atomic_load_explicit(&cpu->attention, memory_order_acquire)) {
		*ret = CPU_STOP_ATTENTION;
		return true;
	}
	if (cpu->window_wanted && cpu_can_interrupt(cpu)) {
		*ret = CPU_STOP_WINDOW;
		return true;
	}

	/* Both end with this instruction, unless it sets them again. */
	state->shadow = SHADOW_NONE;
	state->rflags &= ~FLAG_RF;

	enum cpu_result result = code_find(cpu, &insn);

	if (result == CPU_NEXT)
		result = insn->exec(cpu, insn);
	if (result == CPU_ABANDONED || result == CPU_IS_UNKNOWN) {
		state->shadow = shadow;
		state->rflags |= flags & FLAG_RF;
	}
	if (result == CPU_NEXT || result == CPU_JUMPED)
		cpu->instructions++;
	if (result == CPU_NEXT)
		move_behind(cpu, insn);

	bool is_done = result != CPU_FAULT && result != CPU_ABANDONED && result != CPU_IS_UNKNOWN &&
		       result != CPU_SHUTS_DOWN;
	bool ends = finish(cpu, insn, result, ret);

	/* Volume 2, 13.1.4; MOV SS puts the trap off. */
	if (is_done && (flags & FLAG_TF) && state->shadow != SHADOW_MOV_SS &&
	    !is_software_interrupt(insn)) {
		state->dr6 |= DR6_BS;
		if (ends)
			state->exception =
				(struct cpu_exception){.pending = true, .vector = VECTOR_DB};
		else
			ends = deliver(cpu, VECTOR_DB, false, 0, 0, ret);
	}
	return ends;
}

enum cpu_stop cpu_run(struct cpu *cpu, uint64_t max_instructions)
{
	struct cpu_state *state = &cpu->state;
	uint64_t end = cpu->instructions + max_instructions;
	enum cpu_stop stop;

	if (end < cpu->instructions)
		end = UINT64_MAX;
	if (state->exception.pending &&
	    deliver(cpu, state->exception.vector, state->exception.has_error,
		    state->exception.error, state->exception.address, &stop))
		return stop;
	if (state->halted)
		return CPU_STOP_HALT;

	while (cpu->instructions < end) {
		const struct insn *insn = NULL;
		enum cpu_result result;

		if (is_unusual(cpu)) {
			if (step_unusual(cpu, &stop))
				return stop;
			continue;
		}
		result = code_find(cpu, &insn);
		if (result == CPU_NEXT)
			result = insn->exec(cpu, insn);
		if (result == CPU_NEXT) {
			move_behind(cpu, insn);
			cpu->instructions++;
		} else if (result == CPU_JUMPED) {
			cpu->instructions++;
		} else if (finish(cpu, insn, result, &stop)) {
			return stop;
		}
	}
	return CPU_STOP_BUDGET;
}
