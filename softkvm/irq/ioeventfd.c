// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ioeventfd.c - eventfds that guests' writes signal (Linux, Documentation/virt/kvm/api.rst,
 * KVM_IOEVENTFD)
 */
#include "softkvm/irq/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define FLAGS                                                                                      \
	(KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN |     \
	 KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY)
#define DEVICES_MAX 1000 /* on one bus, NR_IOBUS_DEVS */

enum bus { BUS_MMIO, BUS_PIO, BUS_CCW, BUSES };

struct ioeventfd {
	struct ioeventfd *next;
	uint64_t identity, address, data;
	uint32_t len; /* 0: any write at address */
	bool has_data;
	int fd;
};

struct ioeventfds {
	pthread_mutex_t lock;
	struct ioeventfd *first[BUSES];
	unsigned n[BUSES];
};

struct ioeventfds *ioeventfds_new(void)
{
	struct ioeventfds *set = calloc(1, sizeof(*set));

	if (set && pthread_mutex_init(&set->lock, NULL)) {
		free(set);
		return NULL;
	}
	return set;
}

static void ioeventfd_free(struct ioeventfd *ioeventfd)
{
	close_fd(ioeventfd->fd);
	free(ioeventfd);
}

struct ioeventfds *ioeventfds_free(struct ioeventfds *set)
{
	struct ioeventfd *ioeventfd;

	if (!set)
		return NULL;
	for (enum bus bus = 0; bus < BUSES; bus++)
		while ((ioeventfd = set->first[bus])) {
			set->first[bus] = ioeventfd->next;
			ioeventfd_free(ioeventfd);
		}
	(void)pthread_mutex_destroy(&set->lock);
	free(set);
	return NULL;
}

static enum bus bus_of(uint32_t flags)
{
	if (flags & KVM_IOEVENTFD_FLAG_PIO)
		return BUS_PIO;
	return flags & KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY ? BUS_CCW : BUS_MMIO;
}

/* There would be writes that both are for. */
static bool collides(const struct ioeventfd *a, const struct ioeventfd *b)
{
	if (a->address != b->address)
		return false;
	if (!a->len || !b->len)
		return true;
	return a->len == b->len && (!a->has_data || !b->has_data || a->data == b->data);
}

/* Takes ioeventfd over. */
static int insert(struct ioeventfds *set, enum bus bus, struct ioeventfd *ioeventfd)
{
	int r = set->n[bus] < DEVICES_MAX ? 0 : -ENOSPC;

	for (const struct ioeventfd *other = set->first[bus]; other; other = other->next)
		if (collides(other, ioeventfd))
			r = -EEXIST;
	if (r < 0) {
		ioeventfd_free(ioeventfd);
		return r;
	}
	ioeventfd->next = set->first[bus];
	set->first[bus] = ioeventfd;
	set->n[bus]++;
	return 0;
}

static bool is_legal(const struct kvm_ioeventfd *args)
{
	if (args->len > 8 || args->len & (args->len - 1))
		return false;
	if (args->addr + args->len < args->addr || args->flags & ~(uint32_t)FLAGS)
		return false;
	return args->len || !(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
}

static int assign(struct ioeventfds *set, const struct kvm_ioeventfd *args, int event_fd)
{
	struct ioeventfd *ioeventfd;
	uint64_t identity;
	autofd fd = -1;
	int r;

	if (!is_legal(args))
		return -EINVAL;
	r = eventfd_identity(event_fd, &identity);
	if (r < 0)
		return r;
	fd = fcntl(event_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	ioeventfd = calloc(1, sizeof(*ioeventfd));
	if (!ioeventfd)
		return -ENOMEM;
	ioeventfd->identity = identity;
	ioeventfd->address = args->addr;
	ioeventfd->len = args->len;
	ioeventfd->has_data = args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;
	ioeventfd->data = args->datamatch;
	ioeventfd->fd = steal_fd(&fd);
	(void)pthread_mutex_lock(&set->lock);
	r = insert(set, bus_of(args->flags), ioeventfd);
	(void)pthread_mutex_unlock(&set->lock);
	return r;
}

static bool is_meant(const struct ioeventfd *ioeventfd, const struct kvm_ioeventfd *args,
		     uint64_t identity)
{
	bool has_data = args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;

	return ioeventfd->identity == identity && ioeventfd->address == args->addr &&
	       ioeventfd->len == args->len && ioeventfd->has_data == has_data &&
	       (!has_data || ioeventfd->data == args->datamatch);
}

static int deassign(struct ioeventfds *set, const struct kvm_ioeventfd *args, int event_fd)
{
	enum bus bus = bus_of(args->flags);
	struct ioeventfd **link, *found;
	uint64_t identity;
	int r = eventfd_identity(event_fd, &identity);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&set->lock);
	link = &set->first[bus];
	while (*link && !is_meant(*link, args, identity))
		link = &(*link)->next;
	found = *link;
	if (found) {
		*link = found->next;
		set->n[bus]--;
		ioeventfd_free(found);
	}
	(void)pthread_mutex_unlock(&set->lock);
	return found ? 0 : -ENOENT;
}

int ioeventfd_set(struct ioeventfds *set, const struct kvm_ioeventfd *args, int event_fd)
{
	if (args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
		return deassign(set, args, event_fd);
	return assign(set, args, event_fd);
}

static bool is_hit(const struct ioeventfd *ioeventfd, uint64_t address, unsigned len,
		   const void *data)
{
	uint64_t value = 0;

	if (ioeventfd->address != address)
		return false;
	if (!ioeventfd->len)
		return true;
	if (ioeventfd->len != len)
		return false;
	memcpy(&value, data, len);
	return !ioeventfd->has_data || ioeventfd->data == value;
}

bool ioeventfd_write(struct ioeventfds *set, bool is_pio, uint64_t address, unsigned len,
		     const void *data)
{
	const struct ioeventfd *ioeventfd;

	(void)pthread_mutex_lock(&set->lock);
	ioeventfd = set->first[is_pio ? BUS_PIO : BUS_MMIO];
	while (ioeventfd && !is_hit(ioeventfd, address, len, data))
		ioeventfd = ioeventfd->next;
	if (ioeventfd)
		eventfd_signal(ioeventfd->fd);
	(void)pthread_mutex_unlock(&set->lock);
	return ioeventfd;
}
