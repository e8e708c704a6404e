/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a source shares with rescue.c, which keeps one ready, and keeper.c, which takes its place.
 */
#ifndef LIB_SOURCE_H
#define LIB_SOURCE_H

#include <stdbool.h>
#include <vmrelay/relay.h>

#include "area.h"

/*
 * A source whose peer is a keeper: it says no hello, and is offered everything in its newest
 * version.  As vmr_source_new() otherwise; vmr_source_offer() may follow at once.
 */
int source_new_for_keeper(struct vmr_vm *vm, const struct vmr_source_config *config,
			  struct vmr_source **ret, struct vmr_error *ret_error);
struct area *source_area(struct vmr_source *source);
/*
 * Save and publish everything, all vCPUs being out of the guest for ever.  Allocates nothing and
 * waits for nothing.
 */
int source_salvage(struct vmr_source *source, struct vmr_error *ret_error);

int source_send_fds(int sock, const int *fds, unsigned n);
bool source_peer_is_dead(int pidfd, unsigned timeout_ms);

/*
 * Wait for the target to run the guest.  0: it does; -errno with ret_error: it does not, or has not
 * said so in time.  `failed`, if not NULL, turns 2 when *failure has been filled in here.
 */
struct source_wait {
	int sock;
	int pidfd;
	const struct area *area;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	unsigned max_ms;      /* for the message */
	const _Atomic uint32_t *failed;
	const struct vmr_error *failure;
};
int source_await_entered(const struct source_wait *wait, struct vmr_error *ret_error);

/* A killed process is waited for this long before its irqfds are taken back. */
#define SOURCE_REAP_TIMEOUT_MS 2000

#endif
