// SPDX-License-Identifier: GPL-2.0-or-later
/* The port I/O bus: look-up of the device that answers at a port. */
#include "bus.h"

#include <errno.h>
#include <string.h>

int bus_add(struct bus *bus, uint16_t base, uint16_t len, bus_pio_fn *pio, void *opaque)
{
	uint32_t end = (uint32_t)base + len;

	if (len == 0 || end > 0x10000)
		return -EINVAL;
	for (unsigned i = 0; i < bus->n_ranges; i++) {
		const struct bus_range *r = &bus->range[i];

		if (base < (uint32_t)r->base + r->len && r->base < end)
			return -EEXIST;
	}
	if (bus->n_ranges == VMM_BUS_PORTS_MAX)
		return -ENOSPC;
	bus->range[bus->n_ranges++] = (struct bus_range){
		.base = base,
		.len = len,
		.pio = pio,
		.opaque = opaque,
	};
	return 0;
}

void bus_pio(const struct bus *bus, uint16_t port, bool is_write, unsigned size, void *data)
{
	uint32_t value = UINT32_MAX;

	if (size != 1 && size != 2 && size != 4)
		return;
	if (is_write) {
		value = 0;
		memcpy(&value, data, size);
	}
	for (unsigned i = 0; i < bus->n_ranges; i++) {
		const struct bus_range *r = &bus->range[i];

		if (port >= r->base && (uint32_t)port + size <= (uint32_t)r->base + r->len) {
			r->pio(r->opaque, port - r->base, is_write, size, &value);
			break;
		}
	}
	if (!is_write)
		memcpy(data, &value, size);
}
