// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * translate.c - linear addresses: the TLB, loads and stores
 *
 * Theory of operation.  An access is cut at the border of pages into spans, each with a TLB entry
 * that allows it; only when all are found is anything read or written.  Most accesses need not come
 * that far: they are within a page that tlb_direct() knows.
 *
 * What the TLB says that is not allowed is looked up in the page tables again, as they may have
 * been changed to allow it.  A page may be written through the TLB only if D is set in its entry.
 *
 * Code: pages that instructions were decoded from are remembered by a hash of their place in the
 * host.  No store goes to them directly, all are announced to code.c first.
 */
#include "translate.h"

#include <stdlib.h>
#include <string.h>

#include "descriptor.h"
#include "paging.h"
#include "tlb.h"

#define SPANS_MAX 2

/* 8.4.2: the error code of a page fault. */
#define PF_PRESENT  (1u << 0)
#define PF_WRITE    (1u << 1)
#define PF_USER	    (1u << 2)
#define PF_RESERVED (1u << 3)
#define PF_FETCH    (1u << 4)
#define PF_KEY	    (1u << 5)

#define VC_NESTED_FAULT 0x400 /* VMEXIT_NPF */

#define WRITE_RIGHTS                                                                               \
	(1u << TLB_WRITE | 1u << (TLB_ACCESSES + TLB_WRITE) | 1u << (2 * TLB_ACCESSES + TLB_WRITE))

/* The part of an access that is within a page. */
struct span {
	struct cpu_page page;
	uint64_t gpa;
	unsigned offset, len;
};

struct tlb *tlb_new(void)
{
	return calloc(1, sizeof(struct tlb));
}

struct tlb *tlb_free(struct tlb *tlb)
{
	free(tlb);
	return NULL;
}

static void drop(struct tlb_entry *entries, unsigned n, bool globals_too)
{
	for (unsigned i = 0; i < n; i++)
		if (globals_too || !entries[i].global)
			entries[i].rights = entries[i].direct = 0;
}

void tlb_flush(struct cpu *cpu, bool globals_too)
{
	drop(cpu->tlb->data, TLB_ENTRIES, globals_too);
	drop(cpu->tlb->code, TLB_CODE_ENTRIES, globals_too);
}

static struct tlb_entry *code_slot(struct tlb *tlb, uint64_t linear)
{
	return &tlb->code[linear / PAGE_SIZE % TLB_CODE_ENTRIES];
}

void tlb_flush_page(struct cpu *cpu, uint64_t linear)
{
	drop(tlb_slot(cpu->tlb, linear), 1, true);
	drop(code_slot(cpu->tlb, linear), 1, true);
}

void cpu_flush(struct cpu *cpu)
{
	tlb_flush(cpu, true);
	memset(cpu->tlb->table, 0, sizeof(cpu->tlb->table));
	memset(cpu->tlb->has_code, 0, sizeof(cpu->tlb->has_code));
	code_doubt(cpu);
}

static unsigned hash_of(const uint8_t *data)
{
	return (uintptr_t)data / PAGE_SIZE % TLB_CODE_HASHES;
}

static bool has_code(const struct tlb *tlb, const uint8_t *data)
{
	unsigned hash = hash_of(data);

	return tlb->has_code[hash / 64] >> hash % 64 & 1;
}

/* All translations of the page, and of those that look the same, lose their direct stores. */
static void set_has_code(struct tlb *tlb, const uint8_t *data)
{
	unsigned hash = hash_of(data);

	tlb->has_code[hash / 64] |= 1ull << hash % 64;
	for (unsigned i = 0; i < TLB_ENTRIES; i++)
		if (hash_of(tlb->data[i].page.data) == hash)
			tlb->data[i].direct &= (uint16_t)~WRITE_RIGHTS;
}

void announce_store(struct cpu *cpu, const struct cpu_page *page, unsigned offset, unsigned len)
{
	if (has_code(cpu->tlb, page->data))
		code_written(cpu, page->data, offset, len);
}

const struct cpu_page *table_page(struct cpu *cpu, uint64_t gpa)
{
	struct tlb_table *table = &cpu->tlb->table[gpa / PAGE_SIZE % TLB_TABLES];

	if (!table->is_valid || table->gpa != gpa) {
		cpu->ops->page(cpu->opaque, gpa, cpu->c_bit, &table->page);
		table->gpa = gpa;
		table->is_valid = true;
	}
	return &table->page;
}

static enum tlb_access access_of(uint16_t right)
{
	return (unsigned)__builtin_ctz(right) % TLB_ACCESSES;
}

static enum tlb_privilege privilege_of(uint16_t right)
{
	return (unsigned)__builtin_ctz(right) / TLB_ACCESSES;
}

static enum cpu_result page_fault(struct cpu *cpu, uint64_t linear, uint16_t right,
				  const struct paging *paging)
{
	uint64_t cr4 = cpu->state.cr4;
	bool nx = (cpu->state.efer & EFER_NXE) && (cr4 & CR4_PAE);
	uint32_t error = 0;

	if (paging->outcome != PAGING_NOT_PRESENT)
		error |= PF_PRESENT;
	if (paging->outcome == PAGING_RESERVED)
		error |= PF_RESERVED;
	if (paging->outcome == PAGING_PRESENT && (paging_rights(cpu, paging, 0) & right))
		error |= PF_KEY;
	if (access_of(right) == TLB_WRITE)
		error |= PF_WRITE;
	if (access_of(right) == TLB_EXECUTE && (nx || (cr4 & CR4_SMEP)))
		error |= PF_FETCH;
	if (privilege_of(right) == TLB_USER)
		error |= PF_USER;
	cpu->fault.address = linear;
	return cpu_raise(cpu, VECTOR_PF, true, error);
}

static uint16_t direct_of(const struct tlb_entry *entry, const struct tlb *tlb)
{
	const struct cpu_page *page = &entry->page;

	if (!page->data)
		return 0;
	if (page->read_only || page->guard || has_code(tlb, page->data))
		return entry->rights & (uint16_t)~WRITE_RIGHTS;
	return entry->rights;
}

/* By the page tables. */
static enum cpu_result fill(struct cpu *cpu, uint64_t linear, uint16_t right,
			    struct tlb_entry *entry)
{
	bool is_fetch = access_of(right) == TLB_EXECUTE;
	struct paging paging;
	uint16_t rights;

	do {
		paging_walk(cpu, linear, &paging);
		if (paging.outcome != PAGING_PRESENT)
			return page_fault(cpu, linear, right, &paging);
		rights = paging_rights(cpu, &paging, cpu->state.pkru);
		if (!(rights & right))
			return page_fault(cpu, linear, right, &paging);
	} while (!paging_mark(cpu, &paging, access_of(right) == TLB_WRITE));
	if (!paging.dirty)
		rights &= (uint16_t)~WRITE_RIGHTS;

	*entry = (struct tlb_entry){
		.linear = linear & ~(PAGE_SIZE - 1ull),
		.rights = rights,
		.global = paging.global,
		.gpa = paging.gpa,
	};
	cpu->ops->page(cpu->opaque, paging.gpa, is_fetch ? cpu->c_bit : paging.encrypted,
		       &entry->page);
	entry->direct = direct_of(entry, cpu->tlb);
	return CPU_NEXT;
}

static bool is_hit(const struct tlb_entry *entry, uint64_t linear, uint16_t right)
{
	return entry->linear == (linear & ~(PAGE_SIZE - 1ull)) && (entry->rights & right);
}

/* SEV-ES: the nested page fault of MMIO is the guest's to handle (15.35.5).  What KVM makes of a
 * store to memory that is read-only, when it cannot emulate it, is to try again for ever. */
static enum cpu_result check_es(struct cpu *cpu, const struct cpu_page *page, uint16_t right)
{
	if (!page->data)
		return cpu_vc(cpu, VC_NESTED_FAULT);
	return page->read_only && access_of(right) == TLB_WRITE ? CPU_IS_UNKNOWN : CPU_NEXT;
}

static enum cpu_result find_span(struct cpu *cpu, uint64_t linear, unsigned len, uint16_t right,
				 struct span *ret)
{
	struct tlb_entry *entry = tlb_slot(cpu->tlb, linear);
	enum cpu_result result = CPU_NEXT;

	if (!is_hit(entry, linear, right))
		result = fill(cpu, linear, right, entry);
	if (result == CPU_NEXT && cpu->es)
		result = check_es(cpu, &entry->page, right);
	*ret = (struct span){
		.page = entry->page,
		.gpa = entry->gpa,
		.offset = linear % PAGE_SIZE,
		.len = len,
	};
	return result;
}

static enum cpu_result find_spans(struct cpu *cpu, uint64_t linear, unsigned len, uint16_t right,
				  struct span span[SPANS_MAX], unsigned *ret_n)
{
	unsigned room = PAGE_SIZE - linear % PAGE_SIZE;
	unsigned first = len < room ? len : room;
	enum cpu_result result = find_span(cpu, linear, first, right, &span[0]);

	*ret_n = 1;
	if (result == CPU_NEXT && first < len) {
		uint64_t next = linear + first;

		if (!is_long_mode(cpu))
			next = (uint32_t)next;
		result = find_span(cpu, next, len - first, right, &span[1]);
		*ret_n = 2;
	}
	return result;
}

/* MMIO in pieces within multiples of 8. */
static unsigned piece_len(const struct span *span, unsigned done)
{
	unsigned room = 8 - (span->offset + done) % 8, left = span->len - done;

	return left < room ? left : room;
}

static enum cpu_result read_mmio(struct cpu *cpu, const struct span *span, uint8_t *ret)
{
	for (unsigned done = 0, len; done < span->len; done += len) {
		len = piece_len(span, done);
		if (!cpu->ops->mmio_read(cpu->opaque, span->gpa + span->offset + done, len,
					 ret + done))
			return CPU_ABANDONED;
	}
	return CPU_NEXT;
}

static enum cpu_result write_mmio(struct cpu *cpu, const struct span *span, const uint8_t *data)
{
	for (unsigned done = 0, len; done < span->len; done += len) {
		len = piece_len(span, done);
		if (!cpu->ops->mmio_write(cpu->opaque, span->gpa + span->offset + done, len,
					  data + done))
			return CPU_ABANDONED;
	}
	return CPU_NEXT;
}

static void begin_store(struct cpu *cpu, const struct span *span)
{
	announce_store(cpu, &span->page, span->offset, span->len);
	if (span->page.guard)
		cpu->ops->begin_store(cpu->opaque, &span->page);
}

static void end_store(struct cpu *cpu, const struct span *span)
{
	if (span->page.guard)
		cpu->ops->end_store(cpu->opaque, &span->page, span->offset, span->len);
}

static void write_memory(struct cpu *cpu, const struct span *span, const uint8_t *data)
{
	begin_store(cpu, span);
	guest_write(span->page.data + span->offset, data, span->len);
	end_store(cpu, span);
}

static bool is_mmio_write(const struct span *span)
{
	return !span->page.data || span->page.read_only;
}

static enum cpu_result read_spans(struct cpu *cpu, const struct span *span, unsigned n,
				  uint8_t *ret)
{
	enum cpu_result result = CPU_NEXT;

	for (unsigned i = 0; i < n && result == CPU_NEXT; ret += span[i++].len)
		if (span[i].page.data)
			guest_read(ret, span[i].page.data + span[i].offset, span[i].len);
		else
			result = read_mmio(cpu, &span[i], ret);
	return result;
}

/* MMIO first: it may have to be abandoned. */
static enum cpu_result write_spans(struct cpu *cpu, const struct span *span, unsigned n,
				   const uint8_t *data)
{
	enum cpu_result result = CPU_NEXT;
	const uint8_t *at = data;

	for (unsigned i = 0; i < n && result == CPU_NEXT; at += span[i++].len)
		if (is_mmio_write(&span[i]))
			result = write_mmio(cpu, &span[i], at);
	if (result != CPU_NEXT)
		return result;
	at = data;
	for (unsigned i = 0; i < n; at += span[i++].len)
		if (!is_mmio_write(&span[i]))
			write_memory(cpu, &span[i], at);
	return CPU_NEXT;
}

static enum cpu_result load(struct cpu *cpu, uint64_t linear, void *ret, unsigned len,
			    enum tlb_privilege privilege)
{
	uint16_t right = tlb_right(privilege, TLB_READ);
	const uint8_t *direct = tlb_direct(cpu, linear, len, right);
	struct span span[SPANS_MAX];
	unsigned n;

	if (direct) {
		guest_read(ret, direct, len);
		return CPU_NEXT;
	}

	enum cpu_result result = find_spans(cpu, linear, len, right, span, &n);

	return result == CPU_NEXT ? read_spans(cpu, span, n, ret) : result;
}

static enum cpu_result store(struct cpu *cpu, uint64_t linear, const void *data, unsigned len,
			     enum tlb_privilege privilege)
{
	uint16_t right = tlb_right(privilege, TLB_WRITE);
	uint8_t *direct = tlb_direct(cpu, linear, len, right);
	struct span span[SPANS_MAX];
	unsigned n;

	if (direct) {
		guest_write(direct, data, len);
		return CPU_NEXT;
	}

	enum cpu_result result = find_spans(cpu, linear, len, right, span, &n);

	return result == CPU_NEXT ? write_spans(cpu, span, n, data) : result;
}

enum cpu_result cpu_load(struct cpu *cpu, uint64_t linear, void *ret, unsigned len)
{
	return load(cpu, linear, ret, len, tlb_privilege(cpu));
}

enum cpu_result cpu_store(struct cpu *cpu, uint64_t linear, const void *data, unsigned len)
{
	return store(cpu, linear, data, len, tlb_privilege(cpu));
}

enum cpu_result cpu_load_system(struct cpu *cpu, uint64_t linear, void *ret, unsigned len)
{
	return load(cpu, linear, ret, len, TLB_SUPERVISOR);
}

enum cpu_result cpu_store_system(struct cpu *cpu, uint64_t linear, const void *data, unsigned len)
{
	return store(cpu, linear, data, len, TLB_SUPERVISOR);
}

enum cpu_result cpu_probe_store(struct cpu *cpu, uint64_t linear, unsigned len)
{
	struct span span[SPANS_MAX];
	unsigned n;

	return find_spans(cpu, linear, len, tlb_right(tlb_privilege(cpu), TLB_WRITE), span, &n);
}

/* at is aligned.  No baseline for compilers has the instruction, all processors of today do. */
static bool exchange_16(uint8_t *at, const void *old, const void *new)
{
	uint64_t before[2], after[2];
	bool is_equal;

	memcpy(before, old, sizeof(before));
	memcpy(after, new, sizeof(after));
	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(is_equal), "+m"(*at), "+a"(before[0]), "+d"(before[1])
			 : "b"(after[0]), "c"(after[1])
			 : "memory");
	return is_equal;
}

/* The host's LOCK CMPXCHG does what the guest's would, aligned or not. */
GUEST_ACCESS bool guest_exchange(uint8_t *at, unsigned len, const void *old, const void *new)
{
	uint64_t before = 0, after = 0;

	if (len == 16)
		return exchange_16(at, old, new);
	memcpy(&before, old, len);
	memcpy(&after, new, len);
	switch (len) {
	case 1:
		return __sync_bool_compare_and_swap(at, (uint8_t)before, (uint8_t)after);
	case 2:
		return __sync_bool_compare_and_swap((guest_u16 *)at, (uint16_t)before,
						    (uint16_t)after);
	case 4:
		return __sync_bool_compare_and_swap((guest_u32 *)at, (uint32_t)before,
						    (uint32_t)after);
	default:
		return __sync_bool_compare_and_swap((guest_u64 *)at, before, after);
	}
}

static void modify_at(uint8_t *at, unsigned len, bool locked,
		      bool (*modify)(void *opaque, const void *old, void *ret_new), void *opaque)
{
	_Alignas(16) uint8_t old[16], new[16];

	for (;;) {
		guest_read(old, at, len);
		if (!modify(opaque, old, new))
			return;
		if (!locked) {
			guest_write(at, new, len);
			return;
		}
		if (guest_exchange(at, len, old, new))
			return;
	}
}

/* A locked access that spans two pages is not one step. */
enum cpu_result cpu_modify(struct cpu *cpu, uint64_t linear, unsigned len, bool locked,
			   bool (*modify)(void *opaque, const void *old, void *ret_new),
			   void *opaque)
{
	uint16_t right = tlb_right(tlb_privilege(cpu), TLB_WRITE);
	uint8_t *direct = tlb_direct(cpu, linear, len, right);
	struct span span[SPANS_MAX];
	uint8_t old[16], new[16];
	unsigned n;

	if (direct) {
		modify_at(direct, len, locked, modify, opaque);
		return CPU_NEXT;
	}

	enum cpu_result result = find_spans(cpu, linear, len, right, span, &n);

	if (result != CPU_NEXT)
		return result;
	if (n == 1 && !is_mmio_write(&span[0])) {
		begin_store(cpu, &span[0]);
		modify_at(span[0].page.data + span[0].offset, len, locked, modify, opaque);
		end_store(cpu, &span[0]);
		return CPU_NEXT;
	}
	result = read_spans(cpu, span, n, old);
	if (result != CPU_NEXT || !modify(opaque, old, new))
		return result;
	return write_spans(cpu, span, n, new);
}

enum cpu_result cpu_fetch_page(struct cpu *cpu, uint64_t linear, struct cpu_page *ret_page)
{
	struct tlb_entry *entry = code_slot(cpu->tlb, linear);
	uint16_t right = tlb_right(tlb_privilege(cpu), TLB_EXECUTE);

	if (!is_hit(entry, linear, right)) {
		enum cpu_result result = CPU_NEXT;

		/* SYSRET and running off the end lead there. */
		if (is_64bit(cpu) && !is_canonical(cpu, linear))
			result = cpu_gp(cpu, 0);
		if (result == CPU_NEXT)
			result = fill(cpu, linear, right, entry);
		if (result != CPU_NEXT)
			return result;
	}
	if (entry->page.data && !has_code(cpu->tlb, entry->page.data))
		set_has_code(cpu->tlb, entry->page.data);
	*ret_page = entry->page;
	return CPU_NEXT;
}

uint8_t *cpu_direct(struct cpu *cpu, uint64_t linear, bool is_write)
{
	uint16_t right = tlb_right(tlb_privilege(cpu), is_write ? TLB_WRITE : TLB_READ);
	struct tlb_entry *entry = tlb_slot(cpu->tlb, linear);

	if (!is_hit(entry, linear, right) && fill(cpu, linear, right, entry) != CPU_NEXT)
		return NULL;
	return tlb_direct(cpu, linear, 1, right);
}

bool cpu_translate(struct cpu *cpu, uint64_t linear, uint64_t *ret_gpa, bool *ret_writable,
		   bool *ret_user)
{
	struct paging paging;

	paging_walk(cpu, linear, &paging);
	if (paging.outcome != PAGING_PRESENT)
		return false;
	*ret_gpa = paging.gpa | linear % PAGE_SIZE;
	*ret_writable = paging.is_writable;
	*ret_user = paging.is_user;
	return true;
}
