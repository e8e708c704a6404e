// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * code.c - decoded instructions, kept per page
 *
 * Theory of operation.  Instructions are kept per page of memory and mode of decoding, found by the
 * page's place in the host.  Of each page there is a copy of the bytes that instructions were
 * decoded from.  A page is not watched for stores of others; it is compared with the copy where
 * hardware would look anew, too:
 *
 *  - own stores into such a page are announced by code_written(), which drops the instructions that
 *    overlap them;
 *  - after a serializing instruction (volume 2, 7.6.4) and whenever somebody outside the CPU may
 *    have written, code_doubt() makes each page be compared before its next use.
 *
 * The page that RIP is in is kept at hand with what made the lookup valid (linear address, CPL,
 * CS), so that straight code costs a handful of comparisons (code.h).  An instruction that spans
 * two pages belongs to the first, and its bytes are compared at each use, as the second may change.
 *
 * Nothing is freed but in cpu_fetch(): an instruction may overwrite itself while it is executed.
 */
#include "code.h"

#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "translate.h"

#define SETS 1024
/* Some 90 KiB each, if they are full of code. */
#define PAGES_MAX 2048
#define INSNS_MIN 64

struct code_page {
	struct code_page *next; /* of the set */
	const uint8_t *data;
	enum decode_mode mode;
	uint64_t doubt;		  /* code->doubt when it was compared last */
	uint16_t slot[PAGE_SIZE]; /* 1 + place in insn; 0: none begins here */
	uint8_t bytes[PAGE_SIZE]; /* what was decoded */
	struct insn *insn;
	unsigned n_insns, allocated;
	/* The instruction that was last seen to end in the next page. */
	struct insn crossing;
	uint8_t crossing_bytes[INSN_MAX], crossing_len;
};

struct code {
	struct code_view view; /* first: code.h knows no more of it */
	ZydisDecoder decoder[DECODE_MODES];
	struct code_page *set[SETS];
	unsigned n_pages;
	uint64_t doubt;
};

struct code *code_new(void)
{
	struct code *code = calloc(1, sizeof(*code));

	if (!code)
		return NULL;
	for (unsigned mode = 0; mode < DECODE_MODES; mode++)
		decoder_init(&code->decoder[mode], mode);
	return code;
}

static void drop_pages(struct code *code)
{
	for (unsigned i = 0; i < SETS; i++)
		while (code->set[i]) {
			struct code_page *page = code->set[i];

			code->set[i] = page->next;
			free(page->insn);
			free(page);
		}
	code->n_pages = 0;
}

struct code *code_free(struct code *code)
{
	if (code) {
		drop_pages(code);
		free(code);
	}
	return NULL;
}

static unsigned set_of(const uint8_t *data)
{
	uintptr_t number = (uintptr_t)data / PAGE_SIZE;

	return (number ^ number / SETS) % SETS;
}

/* Instructions with bytes in [offset, +len).  Others that begin near are dropped in vain. */
static void drop_instructions(struct code_page *page, unsigned offset, unsigned len)
{
	unsigned first = offset < INSN_MAX - 1 ? 0 : offset - (INSN_MAX - 1);

	memset(&page->slot[first], 0, (offset + len - first) * sizeof(page->slot[0]));
}

void code_written(struct cpu *cpu, const uint8_t *page_data, unsigned offset, unsigned len)
{
	struct code_page *page = cpu->code->set[set_of(page_data)];

	for (; page; page = page->next)
		if (page->data == page_data)
			drop_instructions(page, offset, len);
}

void code_doubt(struct cpu *cpu)
{
	cpu->code->doubt++;
	cpu->code->view.slot = NULL;
}

/* After each interrupt, of each page that is used: in a form that compilers make vectors of. */
GUEST_ACCESS static bool is_unchanged(const struct code_page *page)
{
	const guest_u64 *now = (const guest_u64 *)page->data;
	const guest_u64 *decoded = (const guest_u64 *)page->bytes;
	uint64_t difference = 0;

	for (unsigned i = 0; i < PAGE_SIZE / sizeof(*now); i++)
		difference |= now[i] ^ decoded[i];
	return difference == 0;
}

static void compare(struct code_page *page)
{
	uint8_t now[PAGE_SIZE];

	if (is_unchanged(page))
		return;
	/* A snapshot: the bytes may be changing. */
	guest_read(now, page->data, sizeof(now));
	for (unsigned offset = 0; offset < PAGE_SIZE; offset++) {
		if (page->slot[offset] == 0)
			continue;

		unsigned len = page->insn[page->slot[offset] - 1].length;

		if (memcmp(&now[offset], &page->bytes[offset], len) != 0)
			page->slot[offset] = 0;
	}
	memcpy(page->bytes, now, sizeof(now));
}

static struct code_page *find_page(struct code *code, const uint8_t *data, enum decode_mode mode)
{
	struct code_page **set = &code->set[set_of(data)], *page = *set;

	while (page && (page->data != data || page->mode != mode))
		page = page->next;
	if (!page) {
		if (code->n_pages == PAGES_MAX)
			drop_pages(code);
		page = calloc(1, sizeof(*page));
		if (!page)
			return NULL;
		page->data = data;
		page->mode = mode;
		page->next = *set;
		page->doubt = code->doubt;
		guest_read(page->bytes, data, sizeof(page->bytes));
		*set = page;
		code->n_pages++;
	}
	if (page->doubt != code->doubt) {
		compare(page);
		page->doubt = code->doubt;
	}
	return page;
}

/* A place for one more. */
static struct insn *new_insn(struct code_page *page)
{
	if (page->n_insns == PAGE_SIZE) {
		/* Code that is written again and again. */
		memset(page->slot, 0, sizeof(page->slot));
		page->n_insns = 0;
	}
	if (page->n_insns == page->allocated) {
		unsigned n = page->allocated ? 2 * page->allocated : INSNS_MIN;
		struct insn *grown = realloc(page->insn, n * sizeof(*grown));

		if (!grown)
			return NULL;
		page->insn = grown;
		page->allocated = n;
	}
	return &page->insn[page->n_insns];
}

static enum cpu_result add_insn(struct cpu *cpu, struct code_page *page, unsigned offset,
				const struct insn **ret, bool *ret_short)
{
	uint8_t bytes[INSN_MAX];
	unsigned len = PAGE_SIZE - offset < INSN_MAX ? PAGE_SIZE - offset : INSN_MAX;
	struct insn *insn = new_insn(page);

	if (!insn)
		return CPU_IS_UNKNOWN;
	guest_read(bytes, page->data + offset, len);

	enum cpu_result result =
		decode(cpu, &cpu->code->decoder[page->mode], bytes, len, insn, ret_short);

	if (result != CPU_NEXT)
		return result;
	if (memcmp(&page->bytes[offset], bytes, insn->length) != 0) {
		drop_instructions(page, offset, insn->length);
		memcpy(&page->bytes[offset], bytes, insn->length);
	}
	page->slot[offset] = (uint16_t)++page->n_insns;
	*ret = insn;
	return CPU_NEXT;
}

/* An instruction that begins at offset and ends in the page behind. */
static enum cpu_result fetch_crossing(struct cpu *cpu, struct code_page *page, unsigned offset,
				      uint64_t linear, const struct insn **ret)
{
	unsigned first = PAGE_SIZE - offset;
	uint8_t bytes[INSN_MAX];
	struct cpu_page next;
	bool is_short;
	enum cpu_result result = cpu_fetch_page(cpu, linear + first, &next);

	if (result != CPU_NEXT)
		return result;
	if (!next.data)
		return CPU_IS_UNKNOWN;
	guest_read(bytes, page->data + offset, first);
	guest_read(bytes + first, next.data, sizeof(bytes) - first);
	if (page->crossing_len != first ||
	    memcmp(page->crossing_bytes, bytes, page->crossing.length) != 0) {
		page->crossing_len = 0;
		result = decode(cpu, &cpu->code->decoder[page->mode], bytes, sizeof(bytes),
				&page->crossing, &is_short);
		if (result != CPU_NEXT)
			return result;
		memcpy(page->crossing_bytes, bytes, sizeof(bytes));
		page->crossing_len = (uint8_t)first;
	}
	*ret = &page->crossing;
	return CPU_NEXT;
}

/* The limit of CS, outside of 64-bit mode.  RIP has been truncated. */
static bool is_within_limit(const struct cpu *cpu, uint64_t rip, unsigned len)
{
	return rip + len - 1 <= cpu->state.segment[CS].limit;
}

/* The page at hand for code.h: where no instruction needs its limit checked, or spans pages. */
static void set_view(struct cpu *cpu, struct code_page *page, enum decode_mode mode,
		     uint64_t linear)
{
	uint64_t base = mode == DECODE_64 ? 0 : cpu->state.segment[CS].base;
	uint64_t begin = (linear & ~(PAGE_SIZE - 1ull)) - base;
	struct code_view *view = &cpu->code->view;

	view->slot = NULL;
	if (mode != DECODE_64 &&
	    (begin > UINT32_MAX - PAGE_SIZE || !is_within_limit(cpu, begin, PAGE_SIZE)))
		return;
	*view = (struct code_view){
		.slot = page->slot,
		.insn = page->insn,
		.begin = begin,
		.cs_base = cpu->state.segment[CS].base,
		.cs_attributes = cpu->state.segment[CS].attributes,
		.cpl = cpu->state.cpl,
	};
}

enum cpu_result cpu_fetch(struct cpu *cpu, const struct insn **ret)
{
	enum decode_mode mode = decode_mode(cpu);
	uint64_t linear = cpu->state.rip;
	struct cpu_page memory;
	bool is_short = false;

	cpu->code->view.slot = NULL;
	if (mode != DECODE_64) {
		linear = (uint32_t)(cpu->state.segment[CS].base + linear);
		if (!is_within_limit(cpu, cpu->state.rip, 1))
			return cpu_gp(cpu, 0);
	}

	enum cpu_result result = cpu_fetch_page(cpu, linear, &memory);

	if (result != CPU_NEXT)
		return result;
	if (!memory.data)
		return CPU_IS_UNKNOWN;

	struct code_page *page = find_page(cpu->code, memory.data, mode);
	unsigned offset = linear % PAGE_SIZE;

	if (!page)
		return CPU_IS_UNKNOWN;
	if (page->slot[offset])
		*ret = &page->insn[page->slot[offset] - 1];
	else
		result = add_insn(cpu, page, offset, ret, &is_short);
	if (is_short)
		result = fetch_crossing(cpu, page, offset, linear, ret);
	if (result != CPU_NEXT)
		return result;
	if (mode != DECODE_64 && !is_within_limit(cpu, cpu->state.rip, (*ret)->length))
		return cpu_gp(cpu, 0);
	set_view(cpu, page, mode, linear);
	return CPU_NEXT;
}
