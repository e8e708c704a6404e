/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state area; the theory is in area.h. */
#include "area.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kvm/cleanup.h"

#define NSEC_PER_SEC 1000000000ULL
#define PAGE	     4096U
#define SEALS	     (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

_Static_assert(sizeof(_Atomic uint32_t) == 4, "futexes are 32 bits");

uint64_t monotonic_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
	/* WAIT_BITSET rather than WAIT: its timeout is a point in time. */
	return syscall(SYS_futex, word, op, value, timeout, NULL, FUTEX_BITSET_MATCH_ANY);
}

static int wait_on(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns, int flag)
{
	const struct timespec deadline = {
		.tv_sec = (time_t)(deadline_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(deadline_ns % NSEC_PER_SEC),
	};

	while (atomic_load_explicit(word, memory_order_acquire) == value) {
		if (futex(word, FUTEX_WAIT_BITSET | flag, value, deadline_ns ? &deadline : NULL) <
			    0 &&
		    errno == ETIMEDOUT)
			return -ETIMEDOUT;
	}
	return 0;
}

bool word_set(_Atomic uint32_t *word, uint32_t value)
{
	uint32_t unset = 0;

	if (!atomic_compare_exchange_strong(word, &unset, value))
		return false;
	(void)futex(word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL);
	return true;
}

int word_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
	return wait_on(word, value, deadline_ns, FUTEX_PRIVATE_FLAG);
}

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static size_t slots_offset(void)
{
	return sizeof(struct area_header);
}

static size_t data_offset(const struct area *area)
{
	return round_up(slots_offset() + area->n_slots * sizeof(struct area_slot), PAGE);
}

static int set_up(struct area *area, unsigned n_slots, size_t slot_size)
{
	if (n_slots > AREA_SLOTS_MAX || slot_size > AREA_SLOT_SIZE_MAX)
		return -E2BIG;
	area->n_slots = n_slots;
	area->slot_size = round_up(slot_size, PAGE);
	area->size = data_offset(area) + n_slots * area->slot_size;
	return 0;
}

static int map(struct area *area, int fd)
{
	/* Populated: its first use is while the guest is stopped. */
	void *base =
		mmap(NULL, area->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	area->base = base;
	return 0;
}

int area_create(struct area *area, unsigned n_slots, size_t slot_size)
{
	autofd fd = memfd_create("vmrelay-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r = set_up(area, n_slots, slot_size);

	if (r < 0)
		return r;
	if (fd < 0 || ftruncate(fd, (off_t)area->size) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return -errno;
	r = map(area, fd);
	if (r == 0)
		area->fd = steal_fd(&fd);
	return r;
}

int area_adopt(struct area *area, int fd_in, unsigned n_slots, size_t slot_size)
{
	autofd fd = fd_in;
	int r = set_up(area, n_slots, slot_size);
	struct stat st;

	if (r < 0)
		return r;
	/* Not sealed, it could be cut off under our reads: SIGBUS.  (-1 has all bits set.) */
	int seals = fcntl(fd, F_GET_SEALS);

	if (fstat(fd, &st) < 0 || (size_t)st.st_size != area->size || seals < 0 ||
	    (seals & SEALS) != SEALS)
		return -EBADMSG;
	r = map(area, fd);
	if (r == 0)
		area->fd = steal_fd(&fd);
	return r;
}

void area_done(struct area *area)
{
	if (area->base)
		(void)munmap(area->base, area->size);
	close_fd(area->fd);
	*area = (struct area)AREA_INIT;
}

struct area_header *area_header(const struct area *area)
{
	return (struct area_header *)area->base;
}

static struct area_slot *slot_at(const struct area *area, unsigned slot)
{
	return (struct area_slot *)(area->base + slots_offset()) + slot;
}

static uint8_t *data_at(const struct area *area, unsigned slot)
{
	return area->base + data_offset(area) + slot * area->slot_size;
}

bool area_own(const struct area *area, enum area_owner from, enum area_owner to)
{
	uint32_t expected = from;

	return atomic_compare_exchange_strong(&area_header(area)->owner, &expected, to);
}

enum area_owner area_owner(const struct area *area)
{
	return (enum area_owner)atomic_load(&area_header(area)->owner);
}

void area_publish(const struct area *area, unsigned slot, enum area_part part, const void *contents,
		  size_t have, size_t len)
{
	_Atomic uint32_t *word = &slot_at(area, slot)->word[part];

	memcpy(data_at(area, slot) + have, (const uint8_t *)contents + have, len - have);
	atomic_store_explicit(word, (uint32_t)len, memory_order_release);
	(void)futex(word, FUTEX_WAKE, INT_MAX, NULL);
}

bool area_is_ready(const struct area *area, unsigned slot)
{
	uint32_t len =
		atomic_load_explicit(&slot_at(area, slot)->word[AREA_WHOLE], memory_order_acquire);

	return len != AREA_EMPTY && len != AREA_ABORTED;
}

int area_read(const struct area *area, unsigned slot, enum area_part part, void *buf, size_t have)
{
	uint32_t len = atomic_load_explicit(&slot_at(area, slot)->word[part], memory_order_acquire);

	if (len == AREA_ABORTED)
		return -ECANCELED;
	if (len == AREA_EMPTY || len < have || len > area->slot_size)
		return -EBADMSG;
	memcpy((uint8_t *)buf + have, data_at(area, slot) + have, len - have);
	return (int)len;
}

int area_take(const struct area *area, unsigned slot, enum area_part part, void *buf, size_t have)
{
	(void)wait_on(&slot_at(area, slot)->word[part], AREA_EMPTY, 0, 0);
	return area_read(area, slot, part, buf, have);
}

void area_abort(const struct area *area, unsigned slot)
{
	for (unsigned part = 0; part < AREA_PARTS; part++) {
		_Atomic uint32_t *word = &slot_at(area, slot)->word[part];
		uint32_t expected = AREA_EMPTY;

		if (atomic_compare_exchange_strong(word, &expected, AREA_ABORTED))
			(void)futex(word, FUTEX_WAKE, INT_MAX, NULL);
	}
}
