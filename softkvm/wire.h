/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire.h - what the library in a client and the host say to each other
 *
 * One SOCK_SEQPACKET connection per thread of a client, one message per packet: a header, data
 * behind it, and at most one file descriptor.  The library calls; before the host replies it may
 * ask back, one question at a time.  Both are built together: there is no compatibility to keep
 * but the refusal of another version; WIRE_VERSION changes with whatever is below.
 *
 * A signal that arrives during a call is told through a second socket, which the host hands over
 * when it is greeted: {sequence} of the call, 8 bytes.
 */
#ifndef SOFTKVM_WIRE_H
#define SOFTKVM_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION 2
/* Where the host is to be found: a path, in the environment of its clients. */
#define WIRE_SOCKET_ENV "SOFTKVM_SOCKET"

/* More than the largest structure that an ioctl's number can name (14 bits of _IOC_SIZE). */
#define WIRE_DATA_MAX	16384
#define WIRE_COOKIE_LEN 16

enum wire_type {
	/* Calls.  Each is answered by WIRE_REPLY. */
	WIRE_HELLO = 1, /* number: WIRE_VERSION; data: cookie of the address space.  Reply: fd */
	WIRE_PROBE,	/* number: enum wire_device.  Is there one? */
	WIRE_OPEN,	/* number: enum wire_device; flags: of open().  Reply: fd */
	WIRE_IOCTL,	/* number: request; address: argument; fd; data: what is there at address */
	WIRE_MMAP,	/* address: offset; size; fd.  Reply: fd to map instead */
	WIRE_STAT,	/* fd.  Is it what WIRE_OPEN gave?  result: enum wire_device, or -ENODEV */

	/* result: >= 0 or -errno.  data: struct wire_copy, each with its bytes behind it */
	WIRE_REPLY,

	/* Questions.  Each is answered by WIRE_ANSWER, with a result. */
	WIRE_COPY_IN,  /* address, size.  Answer: data */
	WIRE_COPY_OUT, /* address; data */
	WIRE_GET_FD,   /* number: a descriptor.  Answer: fd */
	WIRE_SHARE,    /* address, size.  Answer: size, address: offset in the file, flags, fd */
	WIRE_MEMLOCK,  /* Answer: size: RLIMIT_MEMLOCK as it applies */

	WIRE_SIGNAL_MASK, /* address: what is blocked for the rest of the call; no answer */

	WIRE_ANSWER,
};

enum wire_device { WIRE_KVM, WIRE_SEV };

/* flags of a reply: what was shown is none of the host's objects. */
#define WIRE_NOT_OURS 1u
/* and: the descriptor is to be closed on exec. */
#define WIRE_CLOEXEC 2u
/* flags of an answer to WIRE_SHARE: the memory is mapped for writing. */
#define WIRE_WRITABLE 1u

struct wire_message {
	uint16_t type;
	uint16_t cpu;	   /* where the sender runs; filled in by wire_send() */
	uint32_t len;	   /* of the data */
	uint64_t sequence; /* the call's number: 1, 2, ... for each connection */
	int64_t result;
	uint64_t address, size;
	uint32_t number, flags;
};
_Static_assert(sizeof(struct wire_message) == 48, "no padding");

/* A piece of the caller's memory to be written before the call returns; bytes padded to 8. */
struct wire_copy {
	uint64_t address;
	uint32_t len;
	uint32_t reserved;
};

static inline size_t wire_padded(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

struct wire_packet {
	struct wire_message message;
	_Alignas(8) uint8_t data[WIRE_DATA_MAX];
};

/*
 * Waking a thread on another CPU can take longer than what it is woken for.  Who waits for a
 * message looks for it some time before he goes to sleep, if that has paid the last time, and if
 * the other side is not waiting for this very CPU.
 */
struct wire_pace {
	bool is_quick;
	uint16_t peer_cpu;
	int64_t since_ns; /* when the wait began */
};

/*
 * All keep signal handlers and thread cancellation out of it: they are plain system calls that are
 * repeated on EINTR, allocate nothing and leave errno alone.
 *
 * send: message->len bytes of data, which may be anybody's memory: -EFAULT.  fd: -1 for none.
 * receive: waits, checks the length; *ret_fd: -1 if there is none.  -EPIPE: the other side is gone;
 * -EBADMSG: nonsense; -EMFILE: there was a descriptor, but no room for it (the message is good).
 * receive_soon: does not wait for long: -EAGAIN.  Always followed by one of the others.
 */
int wire_send(int sock, struct wire_message *message, const void *data, int fd);
int wire_receive(int sock, struct wire_packet *ret, int *ret_fd, struct wire_pace *pace);
int wire_receive_soon(int sock, struct wire_packet *ret, int *ret_fd, struct wire_pace *pace);

#endif
