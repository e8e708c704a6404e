// SPDX-License-Identifier: GPL-2.0-or-later
/* KVM_IOEVENTFD: writes of a guest that only an eventfd is told of (api.rst, 4.59). */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvm/cleanup.h"

#define IOEVENTFDS_MAX 1000 /* of a bus of KVM's */

struct ioeventfd {
	uint64_t address, datamatch;
	uint32_t len; /* 0: any */
	bool is_pio, matches_data;
	int fd;
};

struct ioeventfds {
	pthread_mutex_t lock;
	unsigned n;
	struct ioeventfd *fd;
};

struct ioeventfds *ioeventfds_new(void)
{
	struct ioeventfds *fds = calloc(1, sizeof(*fds));

	if (fds)
		(void)pthread_mutex_init(&fds->lock, NULL);
	return fds;
}

struct ioeventfds *ioeventfds_free(struct ioeventfds *fds)
{
	if (!fds)
		return NULL;
	for (unsigned i = 0; i < fds->n; i++)
		close_fd(fds->fd[i].fd);
	free(fds->fd);
	(void)pthread_mutex_destroy(&fds->lock);
	free(fds);
	return NULL;
}

static bool is_eventfd(int fd)
{
	char path[40], target[32];
	ssize_t len;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, target, sizeof(target) - 1);
	target[len < 0 ? 0 : len] = '\0';
	return strcmp(target, "anon_inode:[eventfd]") == 0;
}

/* Could one write be for both? */
static bool collides(const struct ioeventfd *a, const struct ioeventfd *b)
{
	return a->is_pio == b->is_pio && a->address == b->address &&
	       (a->len == 0 || b->len == 0 ||
		(a->len == b->len &&
		 (!a->matches_data || !b->matches_data || a->datamatch == b->datamatch)));
}

static int assign(struct ioeventfds *fds, const struct ioeventfd *new)
{
	if (fds->n >= IOEVENTFDS_MAX)
		return -ENOSPC;
	for (unsigned i = 0; i < fds->n; i++)
		if (collides(&fds->fd[i], new))
			return -EEXIST;

	struct ioeventfd *grown = reallocarray(fds->fd, fds->n + 1, sizeof(fds->fd[0]));

	if (!grown)
		return -ENOMEM;
	fds->fd = grown;
	fds->fd[fds->n++] = *new;
	return 0;
}

/* Descriptors of one eventfd have nothing in common that user space sees but its ID. */
static long eventfd_id(int fd)
{
	char path[40], line[80];
	long id = -1;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);

	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file))
		(void)sscanf(line, "eventfd-id: %ld", &id);
	if (file)
		(void)fclose(file);
	return id;
}

static int deassign(struct ioeventfds *fds, const struct ioeventfd *old)
{
	long id = eventfd_id(old->fd);

	for (unsigned i = 0; i < fds->n; i++) {
		struct ioeventfd *fd = &fds->fd[i];

		if (fd->is_pio != old->is_pio || fd->address != old->address ||
		    fd->len != old->len || fd->matches_data != old->matches_data ||
		    (fd->matches_data && fd->datamatch != old->datamatch) ||
		    eventfd_id(fd->fd) != id)
			continue;
		close_fd(fd->fd);
		*fd = fds->fd[--fds->n];
		return 0;
	}
	return -ENOENT;
}

static bool is_valid(const struct kvm_ioeventfd *arg)
{
	const uint32_t flags =
		KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN;

	return !(arg->flags & ~flags) &&
	       (arg->len == 0 || arg->len == 1 || arg->len == 2 || arg->len == 4 ||
		arg->len == 8) &&
	       arg->addr + arg->len >= arg->addr &&
	       !(arg->len == 0 && arg->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
}

long ioeventfds_set(struct ioeventfds *fds, struct call *call, uint64_t arg)
{
	struct kvm_ioeventfd config;
	int r = call_copy_in(call, &config, arg, sizeof(config));

	if (r < 0)
		return r;
	if (!is_valid(&config))
		return -EINVAL;

	autofd fd = call_fd(call, config.fd);

	if (fd < 0)
		return fd;
	if (!is_eventfd(fd))
		return -EINVAL;

	const struct ioeventfd entry = {
		.address = config.addr,
		.datamatch = config.datamatch,
		.len = config.len,
		.is_pio = config.flags & KVM_IOEVENTFD_FLAG_PIO,
		.matches_data = config.flags & KVM_IOEVENTFD_FLAG_DATAMATCH,
		.fd = fd,
	};
	bool is_assign = !(config.flags & KVM_IOEVENTFD_FLAG_DEASSIGN);

	(void)pthread_mutex_lock(&fds->lock);
	r = is_assign ? assign(fds, &entry) : deassign(fds, &entry);
	(void)pthread_mutex_unlock(&fds->lock);
	if (r == 0 && is_assign)
		(void)steal_fd(&fd);
	return r;
}

/* As the kernel does it: a full counter stays full, and nobody waits. */
static void add_one(int fd)
{
	struct pollfd writable = {.fd = fd, .events = POLLOUT};
	const uint64_t one = 1;

	if (poll(&writable, 1, 0) == 1 && writable.revents & POLLOUT)
		(void)!write(fd, &one, sizeof(one));
}

bool ioeventfds_signal(struct ioeventfds *fds, bool is_pio, uint64_t address, unsigned len,
		       const void *data)
{
	uint64_t value = 0;
	bool is_found = false;

	memcpy(&value, data, len);
	(void)pthread_mutex_lock(&fds->lock);
	for (unsigned i = 0; i < fds->n && !is_found; i++) {
		const struct ioeventfd *fd = &fds->fd[i];

		is_found = fd->is_pio == is_pio && fd->address == address &&
			   (fd->len == 0 || fd->len == len) &&
			   (!fd->matches_data || fd->datamatch == value);
		if (is_found)
			add_one(fd->fd);
	}
	(void)pthread_mutex_unlock(&fds->lock);
	return is_found;
}
