/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * translate.h - the bytes of guest memory, which other CPUs change meanwhile
 *
 * An aligned access of up to 8 bytes happens as one (7.3.2), which is what a single instruction of
 * the host does.  Guests may race: thread sanitizers are not to look.
 */
#ifndef SOFTKVM_CPU_TRANSLATE_H
#define SOFTKVM_CPU_TRANSLATE_H

#include "internal.h"

#define GUEST_ACCESS __attribute__((no_sanitize("thread", "undefined")))

typedef uint16_t __attribute__((aligned(1), may_alias)) guest_u16;
typedef uint32_t __attribute__((aligned(1), may_alias)) guest_u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) guest_u64;

GUEST_ACCESS static inline void guest_copy(volatile uint8_t *to, const volatile uint8_t *from,
					   unsigned len)
{
	for (; len >= 8; len -= 8, to += 8, from += 8)
		*(volatile guest_u64 *)to = *(const volatile guest_u64 *)from;
	if (len & 4) {
		*(volatile guest_u32 *)to = *(const volatile guest_u32 *)from;
		to += 4;
		from += 4;
	}
	if (len & 2) {
		*(volatile guest_u16 *)to = *(const volatile guest_u16 *)from;
		to += 2;
		from += 2;
	}
	if (len & 1)
		*to = *from;
}

static inline void guest_read(void *ret, const uint8_t *from, unsigned len)
{
	guest_copy(ret, from, len);
}

static inline void guest_write(uint8_t *to, const void *data, unsigned len)
{
	guest_copy(to, data, len);
}

/* Compare and exchange, len 1, 2, 4, 8, 16, as one step.  False: it was something else. */
bool guest_exchange(uint8_t *at, unsigned len, const void *old, const void *new);

/* Before a store: instructions that were decoded from there. */
void announce_store(struct cpu *cpu, const struct cpu_page *page, unsigned offset, unsigned len);

/* The page of page tables at gpa; good until the next call. */
const struct cpu_page *table_page(struct cpu *cpu, uint64_t gpa);

#endif
