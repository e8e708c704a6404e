/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* peer.h - packets of a process that speaks lib/channel.h's protocol as it likes, with descriptors
 */
#ifndef TESTS_FUZZ_PEER_H
#define TESTS_FUZZ_PEER_H

#include "input.h"
#include "lib/area.h"

#define PEER_SLOT_SIZE 16384u
#define PEER_TAG       7

/* What a VMM sends: a description, a state area of two slots, the pidfd of somebody dead. */
enum { PEER_DESCRIPTION, PEER_AREA, PEER_PID, PEER_OTHER, PEER_FDS };

struct peer {
	int fds[PEER_FDS];
	size_t description_size;
	struct area area; /* a mapping of what is behind the descriptor */
};

void peer_set_up(struct peer *peer, struct input description);
void peer_tear_down(struct peer *peer);
/* One packet; hello and offer are good ones if the input wants that. */
void peer_send(const struct peer *peer, int sock, struct input *in);
/* Both ends, of which the first is the peer's. */
void peer_connect(int pair[2]);
/* Somebody dead. */
int peer_pidfd(void);

#endif
