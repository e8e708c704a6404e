/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The socket between source and target: control messages and file descriptors, never guest state.
 * One message is one SOCK_SEQPACKET record with all of its fds.
 */
#ifndef LIB_CHANNEL_H
#define LIB_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CHANNEL_PAYLOAD_MAX 4096
#define CHANNEL_FDS_MAX	    200 /* below the kernel's SCM_MAX_FD, 253 */

/* Numbers are for ever. */
enum channel_type {
	CHANNEL_HELLO = 1,   /* target: struct hello and hello_section[] */
	CHANNEL_OFFER = 2,   /* source: struct offer; fds: description, state area, pidfd */
	CHANNEL_FDS = 3,     /* source: nothing; more fds */
	CHANNEL_READY = 4,   /* target; confidential: its VM's fd */
	CHANNEL_STOPPED = 5, /* source: the VM slot is written; confidential: its VM's fd */
	CHANNEL_ENTERED = 6, /* target: it runs the guest */
	CHANNEL_FAILED = 7,  /* target: text; it gives the relay up */
	CHANNEL_CANCEL = 8,  /* source: the guest stays */
	CHANNEL_KEEP = 9, /* VMM to keeper: all was sent; fds: guardian's pidfd; confidential: VM */
};

struct channel_message {
	enum channel_type type;
	size_t len;
	unsigned n_fds;
	pid_t sender;				  /* 0: not known, see channel_ask_sender() */
	int fds[CHANNEL_FDS_MAX];		  /* owned; see channel_message_done() */
	uint8_t payload[CHANNEL_PAYLOAD_MAX + 1]; /* one more, for a NUL behind a text */
};

/* Send without blocking; 0 or -errno (-EAGAIN: the peer does not read). */
int channel_send(int sock, enum channel_type type, const void *payload, size_t len, const int *fds,
		 unsigned n_fds);

/*
 * Receive without blocking: 0, -EAGAIN, -EPIPE at the end, -EBADMSG if it is no message of ours.
 * Whatever the result, no received fd stays open unless it is in *ret.
 */
int channel_receive(int sock, struct channel_message *ret);

/* The same, waiting at most timeout_ms: -ETIMEDOUT. */
int channel_wait(int sock, int timeout_ms, struct channel_message *ret);

/*
 * Have the kernel say who sent a message: from now on any, but of what has been sent before only a
 * CHANNEL_HELLO, whose sender says it himself and cannot lie without privileges (unix(7)).
 */
int channel_ask_sender(int sock);

/* The process behind a pidfd by its number here; -ESRCH: it is dead; or another -errno. */
pid_t channel_process(int pidfd);

/* 0, or -EPERM if a message is from another process than pidfd's; or as channel_process(). */
int channel_check_sender(const struct channel_message *message, int pidfd);

/* Close those fds that nobody took. */
void channel_message_done(struct channel_message *message);
#define automessage __attribute__((cleanup(channel_message_done))) struct channel_message

#endif
