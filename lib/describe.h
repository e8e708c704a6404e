/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The machine description: the record of a VM (vm.h) as sections, and a VM built from them.  File
 * descriptors are named by their position in the list of fds that goes with it.
 */
#ifndef LIB_DESCRIBE_H
#define LIB_DESCRIBE_H

#include "section.h"
#include "vm.h"

#define DESCRIBE_FDS_MAX 4096U

/* fds in the order in which they are sent; borrowed. */
struct fd_list {
	int *fd;
	unsigned n;
};

/* The fd's position, or -errno. */
int fd_list_add(struct fd_list *list, int fd);

/*
 * Refuse what cannot be relayed: memory that is private, a VM that is not complete.  The guest
 * may run.
 */
int describe_check(const struct vmr_vm *vm, struct vmr_error *ret_error);

/* Bytes that describe_write() needs at most. */
size_t describe_size(const struct vmr_vm *vm);
int describe_write(const struct vmr_vm *vm, struct section_writer *w, struct fd_list *fds,
		   struct vmr_error *ret_error);

/*
 * Build the VM that the description (hostile until checked) tells of.  fds[] are what came with it;
 * those that the VM takes over become -1.
 */
int describe_build(int kvm_fd, const void *description, size_t len, int *fds, unsigned n_fds,
		   struct vmr_vm **ret, struct vmr_error *ret_error);

/*
 * For a keeper, which builds no VM: the type that the VM has, and an event on each of its irqfds,
 * in case that a VM which is gone took one.
 */
unsigned long describe_vm_type(const void *description, size_t len);
void describe_ring_irqfds(const void *description, size_t len, const int *fds, unsigned n_fds);

#endif
