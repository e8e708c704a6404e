/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state area: one memory object that both sides of a relay map.
 *
 * Theory of operation.  It holds the ownership word, one slot per vCPU and one for the VM with its
 * devices.  A slot is written from front to back in two parts, so that the target loads the first
 * while the source still saves the second.  The source writes a part, then publishes the length up
 * to there in the part's word and wakes who waits for it; the target copies the part out, and works
 * on the copy only.
 *
 * The ownership word says who may run the guest.  It only ever moves along these edges, each a
 * compare-and-swap, so that for every pair of contradicting decisions exactly one is made:
 *
 *	SOURCE -> TARGET	target, when it has loaded everything
 *	TARGET -> ENTERED	target, when its first vCPU is about to enter the guest
 *	SOURCE -> KEPT		source, when it gives up
 *	TARGET -> KEPT		source, when the target died before entering
 *	KEPT -> SOURCE		keeper (keeper.c), when that target is dead, for the next one
 *
 * The sizes of everything follow from two numbers that both sides know; nothing read from the area
 * is ever used as an offset.
 */
#ifndef LIB_AREA_H
#define LIB_AREA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum area_owner {
	AREA_SOURCE = 0,
	AREA_TARGET = 1,
	AREA_ENTERED = 2,
	AREA_KEPT = 3,
};

/* A part's word: 0 until the source publishes the length, or until somebody gives up on it. */
#define AREA_EMPTY   0U
#define AREA_ABORTED UINT32_MAX

enum area_part {
	AREA_FIRST, /* may be left out: the VM's slot is published as a whole */
	AREA_WHOLE,
	AREA_PARTS,
};

struct area_slot {
	_Alignas(64) _Atomic uint32_t word[AREA_PARTS];
};

struct area_header {
	_Alignas(64) _Atomic uint32_t owner;
	/*
	 * CLOCK_MONOTONIC in ns, for the report; and not 0 once the target may have bound the
	 * irqfds.
	 */
	_Alignas(64) _Atomic uint64_t all_loaded;
	_Atomic uint64_t entered;
	/* With a keeper: when the VMM's death was seen, and whether its guest was paused. */
	_Atomic uint64_t orphaned;
	_Atomic uint32_t is_paused;
};

struct area {
	int fd;
	uint8_t *base;
	size_t size;
	unsigned n_slots;
	size_t slot_size;
};

#define AREA_INIT                                                                                  \
	{                                                                                          \
		.fd = -1                                                                           \
	}

#define AREA_SLOTS_MAX	   2048U
#define AREA_SLOT_SIZE_MAX (16U << 20)

/* Source: a new area.  0 or -errno. */
int area_create(struct area *area, unsigned n_slots, size_t slot_size);
/* Target: map the area behind fd (taken over in every case) after checking that it fits. */
int area_adopt(struct area *area, int fd, unsigned n_slots, size_t slot_size);
void area_done(struct area *area);

struct area_header *area_header(const struct area *area);
bool area_own(const struct area *area, enum area_owner from, enum area_owner to);
enum area_owner area_owner(const struct area *area);

/* Source: copy a slot's contents up to len, of which `have` bytes are published, and publish them.
 */
void area_publish(const struct area *area, unsigned slot, enum area_part part, const void *contents,
		  size_t have, size_t len);
/* Has the whole slot been published? */
bool area_is_ready(const struct area *area, unsigned slot);
/*
 * Target: wait until the part is published, and copy what lies between `have` and its end to the
 * same place in buf.  The length up to there, or -ECANCELED, -EBADMSG.
 */
int area_take(const struct area *area, unsigned slot, enum area_part part, void *buf, size_t have);
/* The same of a part that has been published; without waiting: -EBADMSG if it has not. */
int area_read(const struct area *area, unsigned slot, enum area_part part, void *buf, size_t have);
/* Target: let nobody wait for this slot any longer, unless it is ready. */
void area_abort(const struct area *area, unsigned slot);

/* A word of this process that threads wait on: 0 until it is set, once, by whoever comes first. */
bool word_set(_Atomic uint32_t *word, uint32_t value);
/* Wait while *word is `value`; deadline_ns of CLOCK_MONOTONIC, 0: none.  0 or -ETIMEDOUT. */
int word_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);

uint64_t monotonic_ns(void);

#endif
