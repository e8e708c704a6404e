// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * paging.c - page tables: 5.2 (32-bit and PAE), 5.3 (4 and 5 levels), 5.4, 5.6, 15.34.5
 *
 * All formats are walked by the same loop: they differ in the number of levels, the width of an
 * entry, and in which bits are reserved.  The tables of an encrypted guest are always encrypted,
 * its data only where the last entry has the C-bit, or if entries are too narrow to have one.
 */
#include "paging.h"
#include "tlb.h"
#include "translate.h"

#define PTE_P	(1ull << 0)
#define PTE_RW	(1ull << 1)
#define PTE_US	(1ull << 2)
#define PTE_A	(1ull << 5)
#define PTE_D	(1ull << 6)
#define PTE_PS	(1ull << 7)
#define PTE_G	(1ull << 8)
#define PTE_NX	(1ull << 63)
#define PTE_KEY 59
/* Reserved in levels 4 and 5: G is a leaf's. */
#define PTE_TABLE_RESERVED (PTE_PS | PTE_G)
/* A PDPE of legacy PAE has neither rights nor A (5.2.3). */
#define PDPE_RESERVED 0x1e6ull
#define PAE_RESERVED  0x7ff0000000000000ull /* what long mode leaves to software */
/* PSE-40: bits 39:32 of a 4 MiB page are in 20:13, 21 is reserved. */
#define PSE_HIGH_SHIFT 13
#define PSE_HIGH_MASK  0xffull
#define PSE_RESERVED   (1ull << 21)

/* The format in use. */
struct format {
	unsigned levels, entry_size, index_bits;
	bool is_long;
	uint64_t address; /* the bits of an entry that are a page's address */
	uint64_t reserved;
};

static struct format format_of(const struct cpu *cpu)
{
	uint64_t physical = physical_mask(cpu), limit = (1ull << PHYSICAL_BITS_MAX) - 1;
	bool is_long = is_long_mode(cpu);

	if (!(cpu->state.cr4 & CR4_PAE))
		return (struct format){
			.levels = 2, .entry_size = 4, .index_bits = 10, .address = UINT32_MAX};

	struct format format = {
		.levels = is_long ? cpu->state.cr4 & CR4_LA57 ? 5 : 4 : 3,
		.entry_size = 8,
		.index_bits = 9,
		.is_long = is_long,
		.address = physical & ~cpu->c_bit,
		.reserved = limit & ~physical & ~cpu->c_bit,
	};

	if (!is_long)
		format.reserved |= PAE_RESERVED;
	if (!(cpu->state.efer & EFER_NXE))
		format.reserved |= PTE_NX;
	return format;
}

static bool is_pdpe_of_pae(const struct format *format, unsigned level)
{
	return format->entry_size == 8 && !format->is_long && level == 3;
}

static unsigned shift_of(const struct format *format, unsigned level)
{
	return 12 + (level - 1) * format->index_bits;
}

static bool is_leaf(const struct cpu *cpu, const struct format *format, unsigned level,
		    uint64_t value)
{
	if (level == 1)
		return true;
	if (!(value & PTE_PS))
		return false;
	if (level == 2)
		return format->entry_size == 8 || (cpu->state.cr4 & CR4_PSE);
	return level == 3 && format->is_long && cpu->features.gb_pages;
}

static uint64_t reserved_of(const struct format *format, unsigned level, bool leaf)
{
	uint64_t reserved = format->reserved;

	if (format->entry_size == 4)
		return leaf && level == 2 ? PSE_RESERVED : 0;
	if (is_pdpe_of_pae(format, level))
		return reserved | PDPE_RESERVED | PTE_NX;
	if (leaf && level > 1) /* bit 12 is PAT's */
		return reserved | ((1ull << shift_of(format, level)) - (1ull << 13));
	if (level == 3)
		return reserved | PTE_PS;
	return level > 3 ? reserved | PTE_TABLE_RESERVED : reserved;
}

static uint64_t page_address(const struct format *format, unsigned level, uint64_t value,
			     uint64_t linear)
{
	uint64_t within = (1ull << shift_of(format, level)) - 1;
	uint64_t address = value & format->address & ~within;

	if (format->entry_size == 4 && level == 2)
		address |= (value >> PSE_HIGH_SHIFT & PSE_HIGH_MASK) << 32;
	return (address | (linear & within)) & ~(PAGE_SIZE - 1ull);
}

/* False: there is no memory. */
static bool read_entry(struct cpu *cpu, uint64_t gpa, unsigned size, struct paging_entry *ret)
{
	const struct cpu_page *page = table_page(cpu, gpa & ~(PAGE_SIZE - 1ull));

	ret->page = *page;
	ret->offset = gpa % PAGE_SIZE;
	ret->value = 0;
	if (!page->data)
		return false;
	guest_read(&ret->value, page->data + ret->offset, size);
	return true;
}

/* What an entry adds to what the levels above have said. */
static void apply(const struct cpu *cpu, const struct format *format, uint64_t value,
		  struct paging *paging)
{
	paging->is_user &= !!(value & PTE_US);
	paging->is_writable &= !!(value & PTE_RW);
	if (format->entry_size == 8 && (cpu->state.efer & EFER_NXE))
		paging->is_executable &= !(value & PTE_NX);
}

static void finish(const struct cpu *cpu, const struct format *format, unsigned level,
		   uint64_t value, uint64_t linear, struct paging *paging)
{
	paging->gpa = page_address(format, level, value, linear);
	paging->encrypted = cpu->c_bit && (format->entry_size == 4 || (value & cpu->c_bit));
	paging->global = (cpu->state.cr4 & CR4_PGE) && (value & PTE_G);
	paging->dirty = value & PTE_D;
	paging->has_key = format->is_long && paging->is_user && (cpu->state.cr4 & CR4_PKE);
	paging->key = value >> PTE_KEY & 0xf;
	paging->outcome = PAGING_PRESENT;
}

static uint64_t root_of(const struct cpu *cpu, const struct format *format)
{
	uint64_t cr3 = cpu->state.cr3;

	if (format->is_long)
		return cr3 & format->address & ~(PAGE_SIZE - 1ull);
	/* A PDP table is 32 bytes. */
	return cr3 & (format->levels == 3 ? 0xffffffe0u : 0xfffff000u);
}

void paging_walk(struct cpu *cpu, uint64_t linear, struct paging *ret)
{
	struct format format = format_of(cpu);
	uint64_t table = root_of(cpu, &format);

	*ret = (struct paging){
		.outcome = PAGING_NOT_PRESENT,
		.is_user = true,
		.is_writable = true,
		.is_executable = true,
		.entry_size = (uint8_t)format.entry_size,
	};
	if (!(cpu->state.cr0 & CR0_PG)) {
		ret->gpa = linear & ~(PAGE_SIZE - 1ull);
		ret->encrypted = cpu->c_bit;
		ret->dirty = true;
		ret->outcome = PAGING_PRESENT;
		return;
	}
	for (unsigned level = format.levels; level > 0; level--) {
		struct paging_entry *entry = &ret->entry[ret->n_entries];
		uint64_t index =
			linear >> shift_of(&format, level) & ((1ull << format.index_bits) - 1);

		if (!read_entry(cpu, table + index * format.entry_size, format.entry_size, entry) ||
		    !(entry->value & PTE_P))
			return;

		bool leaf = is_leaf(cpu, &format, level, entry->value);

		if (entry->value & reserved_of(&format, level, leaf)) {
			ret->outcome = PAGING_RESERVED;
			return;
		}
		entry->wanted = entry->value;
		if (!is_pdpe_of_pae(&format, level)) {
			apply(cpu, &format, entry->value, ret);
			entry->wanted |= PTE_A;
		}
		ret->n_entries++;
		if (leaf) {
			finish(cpu, &format, level, entry->value, linear, ret);
			return;
		}
		table = entry->value & format.address & ~(PAGE_SIZE - 1ull);
	}
}

static uint16_t rights_if(bool allowed, enum tlb_privilege privilege, enum tlb_access access)
{
	return allowed ? tlb_right(privilege, access) : 0;
}

uint16_t paging_rights(const struct cpu *cpu, const struct paging *paging, uint32_t pkru)
{
	bool user = paging->is_user, writable = paging->is_writable;
	bool executable = paging->is_executable;
	bool wp = cpu->state.cr0 & CR0_WP;
	/* Two bits per key: no access, no writing. */
	bool no_access = paging->has_key && (pkru >> 2 * paging->key & 1);
	bool no_write = paging->has_key && (pkru >> 2 * paging->key & 2);
	bool system_reads = !no_access;
	bool system_writes = !no_access && (!wp || (writable && !no_write));
	bool system_executes = executable && !(user && (cpu->state.cr4 & CR4_SMEP));
	bool restricted = user && (cpu->state.cr4 & CR4_SMAP);

	if (!(cpu->state.cr0 & CR0_PG))
		return (1u << TLB_ACCESSES * TLB_PRIVILEGES) - 1;
	return rights_if(user && !no_access, TLB_USER, TLB_READ) |
	       rights_if(user && writable && !no_access && !no_write, TLB_USER, TLB_WRITE) |
	       rights_if(user && executable, TLB_USER, TLB_EXECUTE) |
	       rights_if(system_reads && !restricted, TLB_SUPERVISOR, TLB_READ) |
	       rights_if(system_writes && !restricted, TLB_SUPERVISOR, TLB_WRITE) |
	       rights_if(system_executes, TLB_SUPERVISOR, TLB_EXECUTE) |
	       rights_if(system_reads, TLB_SUPERVISOR_AC, TLB_READ) |
	       rights_if(system_writes, TLB_SUPERVISOR_AC, TLB_WRITE) |
	       rights_if(system_executes, TLB_SUPERVISOR_AC, TLB_EXECUTE);
}

/* False: the entry is not what it was. */
static bool mark_entry(struct cpu *cpu, const struct paging_entry *entry, unsigned size)
{
	uint8_t *at = entry->page.data + entry->offset;
	bool is_done;

	announce_store(cpu, &entry->page, entry->offset, size);
	if (entry->page.guard)
		cpu->ops->begin_store(cpu->opaque, &entry->page);
	is_done = guest_exchange(at, size, &entry->value, &entry->wanted);
	if (entry->page.guard)
		cpu->ops->end_store(cpu->opaque, &entry->page, entry->offset, size);
	return is_done;
}

bool paging_mark(struct cpu *cpu, struct paging *paging, bool is_write)
{
	for (unsigned i = 0; i < paging->n_entries; i++) {
		struct paging_entry *entry = &paging->entry[i];

		if (is_write && i == paging->n_entries - 1u) {
			entry->wanted |= PTE_D;
			paging->dirty = true;
		}
		/* Tables in memory that cannot be written stay as they are. */
		if (entry->wanted != entry->value && !entry->page.read_only &&
		    !mark_entry(cpu, entry, paging->entry_size))
			return false;
	}
	return true;
}
