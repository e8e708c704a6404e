/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * library.h - the parts of the library that is preloaded into clients
 *
 * preload.c	functions of libc that are taken over
 * link.c	connections to the host, one per thread
 * client.c	calls over them, and the host's questions
 * share.c	memory of this process as a file
 *
 * What happens between the program's call and its return must be possible anywhere a system call
 * is: in signal handlers, between fork() and exec(), with locks of libc held.  So it is plain
 * system calls, no allocation, and errno is the program's.
 */
#ifndef SOFTKVM_PRELOAD_LIBRARY_H
#define SOFTKVM_PRELOAD_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "softkvm/wire.h"

/* A thread's connection; in memory of its own. */
struct link {
	struct link *next; /* of all; under lock_library() */
	int fd, interrupt_fd;
	struct stat identity, interrupt_identity; /* nobody else has taken the numbers */
	pid_t tid;
	bool is_temporary;
	uint64_t sequence;
	struct wire_pace pace;
	const void *frame; /* stack of the call that is under way, NULL if none is */
	struct wire_packet packet;
};

/* The kernel's sigset_t. */
typedef uint64_t kernel_sigset;

/* System calls as they are: -errno, and errno stays. */
long library_syscall(long number, long a, long b, long c, long d, long e, long f);
int library_fstat(int fd, struct stat *ret);

/* Whether there is a host at all; else everything is passed through. */
bool library_is_active(void);
/* Under it all signals are blocked; *ret_mask is for unlock(). */
void library_lock(kernel_sigset *ret_mask);
void library_unlock(const kernel_sigset *mask);
void library_block_signals(kernel_sigset *ret_mask);
void library_restore_signals(const kernel_sigset *mask);

/* Moves a descriptor (-errno is passed on) out of the way of the program's. */
int library_move_high(int fd);
/* Whether fd is still what it was when ret was filled. */
bool library_is_same_file(int fd, const struct stat *identity);
const uint8_t *library_cookie(void);

/* link.c.  Signals are blocked; mask: the program's.  NULL: the host is not to be reached.  frame:
 * the caller's. */
struct link *link_acquire(const void *frame, kernel_sigset mask);
void link_release(struct link *link, bool is_broken);

/* client.c: result or -errno; *ret_fd, if not NULL: a descriptor, or -1. */
#define CLIENT_NOT_OURS (-4096L)
long client_call(struct wire_message *message, const void *data, int fd, const void *frame,
		 int *ret_fd);
/* Over a link that greets the host. */
long client_greet(struct link *link, kernel_sigset mask, int *ret_interrupt_fd);

/* share.c: the stretch of memory at message->address; answers it in *ret and *ret_fd. */
void share_find(struct link *link, const struct wire_message *message, struct wire_message *ret,
		int *ret_fd, bool *ret_close);
/* [address, +len) has been mapped from fd, and unmapped. */
void share_mapped(void *address, size_t len, int fd);
void share_unmapped(void *address, size_t len);

#endif
