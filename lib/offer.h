/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a source offers, as its receiver holds it: the machine description, the state area, and the
 * file descriptors that both refer to.  The receiver is a target, or a keeper that passes it on.
 */
#ifndef LIB_OFFER_H
#define LIB_OFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmrelay/error.h>

#include "area.h"
#include "channel.h"
#include "protocol.h"

struct offered {
	struct offer offer;
	int source_pidfd;
	int description_fd;
	const uint8_t *description; /* mapped from a sealed memfd */
	struct area area;
	int *fds; /* that came with it; -1: taken */
	unsigned n_fds;
};

#define OFFERED_NONE                                                                               \
	{                                                                                          \
		.source_pidfd = -1, .description_fd = -1, .area = AREA_INIT                        \
	}

/* Take a CHANNEL_OFFER, which is hostile until checked; 0, or -errno with nothing offered. */
int offered_begin(struct offered *offered, struct channel_message *m, struct vmr_error *ret_error);
/* Take a CHANNEL_FDS; offered_is_whole() when all have come. */
int offered_add_fds(struct offered *offered, struct channel_message *m,
		    struct vmr_error *ret_error);
bool offered_is_whole(const struct offered *offered);
void offered_done(struct offered *offered);

/* Position of the n-th fd that the VMM added under a tag, -ENOENT, or -EBADMSG. */
int offered_find_fd(const struct offered *offered, uint32_t tag, unsigned n);
/* A blob of the VMM, valid until offered_done(), or NULL. */
const void *offered_blob(const struct offered *offered, uint32_t type, size_t *ret_len);

#endif
