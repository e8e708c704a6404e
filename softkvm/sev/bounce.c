// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bounce.c - buffers that both the firmware and a command's handler can see
 *
 * The firmware knows system-physical addresses only.  These buffers are no memory of the machine,
 * so they get addresses that x86 cannot have: above 52 bits.
 */
#include <errno.h>
#include <stdlib.h>

#include "softkvm/sev/internal.h"

#define BOUNCE_BASE   (1ULL << 52)
#define BOUNCE_STRIDE (1ULL << 32)

int sev_bounce_new(struct sev_bounce *bounce, uint32_t len, uint64_t *ret_address)
{
	uint8_t *data;

	if (bounce->n == SEV_BOUNCES || len > SEV_ALLOCATION_MAX)
		return -ENOMEM;
	data = calloc(1, len ? len : 1);
	if (!data)
		return -ENOMEM;
	bounce->buffer[bounce->n].data = data;
	bounce->buffer[bounce->n].len = len;
	*ret_address = BOUNCE_BASE + bounce->n * BOUNCE_STRIDE;
	bounce->n++;
	return 0;
}

int sev_bounce_in(struct sev_bounce *bounce, struct call *call, uint64_t uaddr, uint32_t len,
		  uint64_t *ret_address)
{
	uint64_t address;
	int err;

	if (!uaddr || !len || len > SEV_BLOB_MAX)
		return -EINVAL;
	err = sev_bounce_new(bounce, len, &address);
	if (err == 0)
		err = call_copy_in(call, sev_bounce_at(bounce, address, len), uaddr, len);
	if (err == 0)
		*ret_address = address;
	return err;
}

uint8_t *sev_bounce_at(const struct sev_bounce *bounce, uint64_t address, uint32_t len)
{
	uint64_t offset = (address - BOUNCE_BASE) % BOUNCE_STRIDE;
	uint64_t i = (address - BOUNCE_BASE) / BOUNCE_STRIDE;

	if (address < BOUNCE_BASE || i >= bounce->n || offset > bounce->buffer[i].len ||
	    len > bounce->buffer[i].len - offset)
		return NULL;
	return bounce->buffer[i].data + offset;
}

void sev_bounce_done(struct sev_bounce *bounce)
{
	for (unsigned i = 0; i < bounce->n; i++) {
		explicit_bzero(bounce->buffer[i].data,
			       bounce->buffer[i].len); /* may be plaintext */
		free(bounce->buffer[i].data);
	}
	bounce->n = 0;
}
