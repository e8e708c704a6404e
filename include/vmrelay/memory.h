/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory objects: guest memory that can be handed to another process. */
#ifndef VMRELAY_MEMORY_H
#define VMRELAY_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <vmrelay/error.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vmr_memory_kind {
	VMR_MEMORY_MEMFD = 0,	/* memfd, sealed against shrinking and growing */
	VMR_MEMORY_HUGETLB = 1, /* the same of 2 MiB huge pages */
	VMR_MEMORY_FILE = 2,	/* an unlinked file in a directory of tmpfs or hugetlbfs */
};

/*
 * Create a memory object of `size` bytes, zero-filled; `dir` is used for VMR_MEMORY_FILE only.
 * Returns a file descriptor (close-on-exec) that the caller owns, or -errno.
 */
int vmr_memory_create(enum vmr_memory_kind kind, const char *dir, uint64_t size,
		      struct vmr_error *ret_error);

/*
 * Can [offset, offset + size) of this object be guest memory of two processes in turn?  It must be
 * a memfd that cannot shrink, or a file on tmpfs or hugetlbfs, and long enough.  0 or -errno.
 */
int vmr_memory_check(int fd, uint64_t offset, uint64_t size, struct vmr_error *ret_error);

/* Map it shared, readable and writable.  Returns 0 with *ret_hva (munmap() it), or -errno. */
int vmr_memory_map(int fd, uint64_t offset, uint64_t size, void **ret_hva,
		   struct vmr_error *ret_error);

/*
 * Fill the page tables of this process for those pages of the mapping that the object already has;
 * pages that the guest never touched stay unallocated.  `fd` and `offset` as given to
 * vmr_memory_map().  0 or -errno; a failure costs page faults later and nothing else.
 */
int vmr_memory_populate(int fd, uint64_t offset, void *hva, uint64_t size);

#ifdef __cplusplus
}
#endif

#endif
