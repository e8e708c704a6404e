/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What source and target tell each other; docs/protocol.md is the description. */
#ifndef LIB_PROTOCOL_H
#define LIB_PROTOCOL_H

#include <stdint.h>
#include <vmrelay/relay.h>

#include "channel.h"

/* Version of the protocol: messages, state area, machine description. */
#ifndef VMR_PROTOCOL_MIN
#define VMR_PROTOCOL_MIN 1
#endif
#ifndef VMR_PROTOCOL_MAX
#define VMR_PROTOCOL_MAX 1
#endif

#define PROTOCOL_SECTIONS_MAX 200U
#define PROTOCOL_FDS_MIN      3U /* that come with the offer */

struct hello {
	uint16_t protocol_min;
	uint16_t protocol_max;
	uint32_t pid;
	uint32_t n_sections;
	uint32_t reserved;
	char version[64];
};

/* A section that the target can read. */
struct hello_section {
	uint32_t type;
	uint16_t min_version;
	uint16_t max_version;
};

/* A hello, checked. */
struct hello_message {
	struct hello hello;
	struct hello_section readable[PROTOCOL_SECTIONS_MAX];
};

enum { OFFER_PAUSED = 1U };

struct offer {
	uint16_t protocol;
	uint16_t reserved;
	uint32_t pid;
	uint32_t flags;
	uint32_t n_fds; /* that follow in CHANNEL_FDS messages */
	uint32_t n_vcpus;
	uint32_t max_downtime_ms;
	uint64_t slot_size; /* of the state area, whose slots are the vCPUs and then the VM */
	uint64_t description_size;
	char version[64];
};

/*
 * Take a target's CHANNEL_HELLO apart: who it is, which must be the process behind the pidfd, and
 * the newest protocol that both speak.  0 or -errno.
 */
int protocol_hello(const struct channel_message *m, int pidfd, struct hello_message *ret,
		   struct vmr_peer *ret_peer, uint16_t *ret_protocol, struct vmr_error *ret_error);
/* NULL: the target cannot read it. */
const struct hello_section *protocol_find(const struct hello_message *hello, uint32_t type);
/* Why there will be no relay: nothing that the target can read. */
int protocol_unreadable(uint32_t type, const char *name, struct vmr_error *ret_error);
/* What the peer says for itself in CHANNEL_FAILED. */
int protocol_failed(const struct channel_message *m, struct vmr_error *ret_error);

/* Printable ASCII, always terminated: for a text that came from another process. */
void protocol_sanitise(char *to, size_t size, const void *from, size_t len);

#endif
