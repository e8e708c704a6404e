/* SPDX-License-Identifier: GPL-2.0-or-later */
/* code.h - the page of instructions that RIP is in, for run.c; see code.c */
#ifndef SOFTKVM_CPU_CODE_H
#define SOFTKVM_CPU_CODE_H

#include "internal.h"

/* Valid for RIP in [begin, +PAGE_SIZE), and this CPL and CS. */
struct code_view {
	const uint16_t *slot; /* NULL: there is none */
	const struct insn *insn;
	uint64_t begin, cs_base;
	uint16_t cs_attributes;
	uint8_t cpl;
};

static inline enum cpu_result code_find(struct cpu *cpu, const struct insn **ret)
{
	const struct code_view *view = (const struct code_view *)cpu->code;
	const struct cpu_segment *cs = &cpu->state.segment[CS];
	uint64_t offset = cpu->state.rip - view->begin;

	if (view->slot && offset < PAGE_SIZE && view->slot[offset] && view->cpl == cpu->state.cpl &&
	    view->cs_attributes == cs->attributes && view->cs_base == cs->base) {
		*ret = &view->insn[view->slot[offset] - 1];
		return CPU_NEXT;
	}
	return cpu_fetch(cpu, ret);
}

#endif
