/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shared.h - bytes that others read and write at the same time
 *
 * Memory of guests is changed by vCPUs and by clients while it is looked at here.  Which of two
 * values is seen does not matter, but C wants to be told: this is the only place where memory/ does
 * so.  Words are relaxed atomics, as a machine's are; there is no order between them.
 */
#ifndef SOFTKVM_MEMORY_SHARED_H
#define SOFTKVM_MEMORY_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool shared_is_word(const void *at, size_t len)
{
	return len >= sizeof(uint64_t) && !((uintptr_t)at % sizeof(uint64_t));
}

static inline void shared_load(void *ret, const void *from, size_t len)
{
	const uint8_t *at = from;
	uint8_t *to = ret;

	while (len) {
		size_t n = shared_is_word(at, len) ? sizeof(uint64_t) : 1;
		uint64_t word = n == 1 ? __atomic_load_n(at, __ATOMIC_RELAXED)
				       : __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);

		memcpy(to, &word, n);
		at += n;
		to += n;
		len -= n;
	}
}

static inline void shared_store(void *to, const void *data, size_t len)
{
	const uint8_t *from = data;
	uint8_t *at = to;

	while (len) {
		size_t n = shared_is_word(at, len) ? sizeof(uint64_t) : 1;
		uint64_t word = 0;

		memcpy(&word, from, n);
		if (n == 1)
			__atomic_store_n(at, (uint8_t)word, __ATOMIC_RELAXED);
		else
			__atomic_store_n((uint64_t *)at, word, __ATOMIC_RELAXED);
		at += n;
		from += n;
		len -= n;
	}
}

#endif
