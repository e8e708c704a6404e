/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ownership helpers used throughout the tree.
 *
 * A variable declared `autofd` or `autofree` releases what it holds when it goes out of scope;
 * steal_fd() and steal_ptr() take the value out of it.  One owner, one close.
 */
#ifndef KVM_CLEANUP_H
#define KVM_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* close() that takes -1, keeps errno and always returns -1: `fd = close_fd(fd)`. */
static inline int close_fd(int fd)
{
	if (fd >= 0) {
		int saved = errno;

		(void)close(fd);
		errno = saved;
	}
	return -1;
}

static inline int steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static inline void cleanup_close_fd(int *fd)
{
	close_fd(*fd);
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

#define autofd	 __attribute__((cleanup(cleanup_close_fd))) int
#define autofree __attribute__((cleanup(cleanup_free)))

#define steal_ptr(p)                                                                               \
	({                                                                                         \
		__typeof__(p) *steal_at_ = &(p);                                                   \
		__typeof__(p) steal_taken_ = *steal_at_;                                           \
		*steal_at_ = NULL;                                                                 \
		steal_taken_;                                                                      \
	})

/* 0 or -errno of a system call that returns -1 on failure. */
#define negative_errno(call) ((call) < 0 ? -errno : 0)

#endif
