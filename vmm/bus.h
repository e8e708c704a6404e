/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The port I/O bus: which device answers at which port. */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdbool.h>
#include <stdint.h>

#define VMM_BUS_PORTS_MAX 16

/*
 * One access of 1, 2 or 4 bytes at `offset` from the first port of the range, on the thread of the
 * vCPU that made it.  For a read the device fills *value, which starts as all ones.
 */
typedef void bus_pio_fn(void *opaque, uint16_t offset, bool is_write, unsigned size,
			uint32_t *value);

struct bus_range {
	uint16_t base;
	uint16_t len;
	bus_pio_fn *pio;
	void *opaque;
};

/* Built before the first vCPU runs and never changed afterwards, so look-ups take no lock. */
struct bus {
	unsigned n_ranges;
	struct bus_range range[VMM_BUS_PORTS_MAX];
};

/*
 * Give [base, base + len) to a device.  -EEXIST if the range overlaps another, -ENOSPC if the table
 * is full, -EINVAL if it is empty or runs past port 0xffff.
 */
int bus_add(struct bus *bus, uint16_t base, uint16_t len, bus_pio_fn *pio, void *opaque);

/*
 * One access by a vCPU.  Unclaimed ports read as all ones and swallow writes, as on a PC.
 * An access that runs past the end of a device's range is unclaimed too.
 */
void bus_pio(const struct bus *bus, uint16_t port, bool is_write, unsigned size, void *data);

#endif
