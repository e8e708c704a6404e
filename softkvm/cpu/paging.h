/* SPDX-License-Identifier: GPL-2.0-or-later */
/* paging.h - what page tables say of a linear address, for translate.c */
#ifndef SOFTKVM_CPU_PAGING_H
#define SOFTKVM_CPU_PAGING_H

#include "internal.h"

#define PAGING_LEVELS_MAX 5

#define PHYSICAL_BITS_MAX 52

struct paging_entry {
	struct cpu_page page; /* of the table */
	unsigned offset;
	uint64_t value, wanted; /* wanted: with A, D */
};

struct paging {
	enum { PAGING_PRESENT, PAGING_NOT_PRESENT, PAGING_RESERVED } outcome;
	uint64_t gpa; /* of the 4 KiB page */
	bool encrypted, global, dirty;
	bool is_user, is_writable, is_executable; /* by all levels */
	uint8_t key;				  /* 5.6.7: memory protection */
	bool has_key;
	uint8_t n_entries;
	uint8_t entry_size;
	struct paging_entry entry[PAGING_LEVELS_MAX];
};

/* Addresses of a plain guest's memory. */
static inline uint64_t physical_mask(const struct cpu *cpu)
{
	unsigned bits = cpu->features.physical_bits;

	return (1ull << (bits < PHYSICAL_BITS_MAX ? bits : PHYSICAL_BITS_MAX)) - 1;
}

/* Changes nothing in memory. */
void paging_walk(struct cpu *cpu, uint64_t linear, struct paging *ret);
/* Who may do what, in bits of tlb_right(), given pkru. */
uint16_t paging_rights(const struct cpu *cpu, const struct paging *paging, uint32_t pkru);
/* Sets A and, for a write, D in memory.  False: an entry has changed, walk again. */
bool paging_mark(struct cpu *cpu, struct paging *paging, bool is_write);

#endif
