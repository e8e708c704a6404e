/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tlb.h - translations at hand, and memory that can be accessed in the host directly
 *
 * An entry is for one linear page.  It says who may do what there (what paging allows), and what of
 * that can be done at page.data without anything else to take care of: no MMIO, no guard, no code
 * that was decoded from it.  Code has entries of its own: what an encrypted guest fetches is always
 * encrypted, what it loads from the same page need not be (15.34.5).
 */
#ifndef SOFTKVM_CPU_TLB_H
#define SOFTKVM_CPU_TLB_H

#include "internal.h"

#define TLB_ENTRIES	 1024u
#define TLB_CODE_ENTRIES 256u
#define TLB_TABLES	 64u
/* A bit for each page that code was decoded from, and for others by coincidence. */
#define TLB_CODE_HASHES 65536u

enum tlb_access { TLB_READ, TLB_WRITE, TLB_EXECUTE, TLB_ACCESSES };
/* TLB_SUPERVISOR: with SMAP's restrictions, TLB_SUPERVISOR_AC: without. */
enum tlb_privilege { TLB_USER, TLB_SUPERVISOR, TLB_SUPERVISOR_AC, TLB_PRIVILEGES };

struct tlb_entry {
	uint64_t linear;
	uint16_t rights; /* of tlb_right(); 0: the entry is unused */
	uint16_t direct;
	bool global;
	uint64_t gpa;
	struct cpu_page page;
};

/* A page of page tables. */
struct tlb_table {
	uint64_t gpa;
	bool is_valid;
	struct cpu_page page;
};

struct tlb {
	struct tlb_entry data[TLB_ENTRIES];
	struct tlb_entry code[TLB_CODE_ENTRIES];
	struct tlb_table table[TLB_TABLES];
	uint64_t has_code[TLB_CODE_HASHES / 64];
};

static inline uint16_t tlb_right(enum tlb_privilege privilege, enum tlb_access access)
{
	return (uint16_t)(1u << (TLB_ACCESSES * privilege + access));
}

/* The privilege of the program that runs. */
static inline enum tlb_privilege tlb_privilege(const struct cpu *cpu)
{
	if (cpu->state.cpl == 3)
		return TLB_USER;
	return cpu->state.rflags & FLAG_AC ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
}

static inline struct tlb_entry *tlb_slot(struct tlb *tlb, uint64_t linear)
{
	return &tlb->data[linear / PAGE_SIZE % TLB_ENTRIES];
}

/* [linear, +len) in the host, if it is within a page and at hand; otherwise NULL. */
static inline uint8_t *tlb_direct(struct cpu *cpu, uint64_t linear, unsigned len, uint16_t right)
{
	const struct tlb_entry *entry = tlb_slot(cpu->tlb, linear);
	unsigned offset = linear % PAGE_SIZE;

	if (entry->linear != linear - offset || !(entry->direct & right) ||
	    offset + len > PAGE_SIZE)
		return NULL;
	return entry->page.data + offset;
}

#endif
