// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * irqfd.c - interrupts from eventfds (Linux, Documentation/virt/kvm/api.rst, KVM_IRQFD)
 *
 * In the kernel a write to an eventfd raises the interrupt before it returns.  Here a thread waits
 * for all of a VM's eventfds and is a little later; whoever looks at a controller's state therefore
 * takes first what has been signalled.  The two may meet: the eventfd is read under the lock and
 * without blocking, so that one of them gets it.
 */
#include "softkvm/irq/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define STOP	   UINT64_MAX /* no eventfd's identity */
#define IRQFDS_MAX GSIS_MAX

struct irqfd {
	struct irqfd *next;
	uint64_t identity;
	uint32_t gsi;
	int fd, resample_fd; /* resample_fd: -1 for edges */
};

void irqfds_init(struct irqchip *chip)
{
	chip->irqfds.epoll = -1;
	chip->irqfds.stop = -1;
}

static void raise_irqfd(struct irqchip *chip, const struct irqfd *irqfd)
{
	if (irqfd->resample_fd >= 0) {
		(void)irq_set_gsi(chip, irqfd->gsi, SOURCE_RESAMPLE, true);
	} else {
		(void)irq_set_gsi(chip, irqfd->gsi, SOURCE_USER, true);
		(void)irq_set_gsi(chip, irqfd->gsi, SOURCE_USER, false);
	}
}

static void take(struct irqchip *chip, const struct irqfd *irqfd)
{
	if (eventfd_take(irqfd->fd))
		raise_irqfd(chip, irqfd);
}

void irqfds_drain(struct irqchip *chip)
{
	for (const struct irqfd *irqfd = chip->irqfds.first; irqfd; irqfd = irqfd->next)
		take(chip, irqfd);
}

/* The line goes down; if a device still wants it high, it signals again. */
void irqfds_acked(struct irqchip *chip, uint32_t gsi)
{
	bool is_lowered = false;

	for (const struct irqfd *irqfd = chip->irqfds.first; irqfd; irqfd = irqfd->next) {
		if (irqfd->resample_fd < 0 || irqfd->gsi != gsi)
			continue;
		if (!is_lowered)
			(void)irq_set_gsi(chip, gsi, SOURCE_RESAMPLE, false);
		is_lowered = true;
		eventfd_signal(irqfd->resample_fd);
	}
}

static void *watch(void *opaque)
{
	struct irqchip *chip = opaque;
	struct epoll_event event;

	for (;;) {
		if (epoll_wait(chip->irqfds.epoll, &event, 1, -1) != 1)
			continue;
		if (event.data.u64 == STOP)
			return NULL;
		irq_lock(chip);
		for (const struct irqfd *irqfd = chip->irqfds.first; irqfd; irqfd = irqfd->next)
			if (irqfd->identity == event.data.u64)
				take(chip, irqfd);
		irq_unlock(chip);
	}
}

static int add_to_epoll(int epoll, int fd, uint64_t identity)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = identity};

	return negative_errno(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

static int start_thread(struct irqchip *chip)
{
	autofd epoll = epoll_create1(EPOLL_CLOEXEC);
	autofd stop = eventfd(0, EFD_CLOEXEC);
	sigset_t all, old;
	int r;

	if (epoll < 0 || stop < 0)
		return -errno;
	r = add_to_epoll(epoll, stop, STOP);
	if (r < 0)
		return r;
	chip->irqfds.epoll = epoll;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&chip->irqfds.thread, NULL, watch, chip);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		chip->irqfds.epoll = -1;
		return r;
	}
	(void)steal_fd(&epoll);
	chip->irqfds.stop = steal_fd(&stop);
	return 0;
}

static struct irqfd *irqfd_free(struct irqfd *irqfd)
{
	close_fd(irqfd->fd);
	close_fd(irqfd->resample_fd);
	free(irqfd);
	return NULL;
}

void irqfds_done(struct irqchip *chip)
{
	struct irqfd *irqfd;

	if (chip->irqfds.stop >= 0) {
		eventfd_signal(chip->irqfds.stop);
		(void)pthread_join(chip->irqfds.thread, NULL);
	}
	close_fd(chip->irqfds.stop);
	close_fd(chip->irqfds.epoll);
	while ((irqfd = chip->irqfds.first)) {
		chip->irqfds.first = irqfd->next;
		irqfd_free(irqfd);
	}
}

static bool is_resampled(const struct irqchip *chip, uint32_t gsi)
{
	for (const struct irqfd *irqfd = chip->irqfds.first; irqfd; irqfd = irqfd->next)
		if (irqfd->resample_fd >= 0 && irqfd->gsi == gsi)
			return true;
	return false;
}

/* The kernel forgets an irqfd whose eventfd is closed, here it lives on in our duplicate: one who
 * opens and closes them must not take all descriptors there are. */
static int may_watch(const struct irqchip *chip, uint64_t identity)
{
	unsigned n = 0;

	for (const struct irqfd *irqfd = chip->irqfds.first; irqfd; irqfd = irqfd->next, n++)
		if (irqfd->identity == identity)
			return -EBUSY;
	return n < IRQFDS_MAX ? 0 : -EMFILE;
}

/* Takes irqfd over. */
static int insert(struct irqchip *chip, struct irqfd *irqfd)
{
	int r = may_watch(chip, irqfd->identity);

	if (!r && chip->irqfds.epoll < 0)
		r = start_thread(chip);
	if (!r)
		r = add_to_epoll(chip->irqfds.epoll, irqfd->fd, irqfd->identity);
	if (r < 0) {
		irqfd_free(irqfd);
		return r;
	}
	irqfd->next = chip->irqfds.first;
	chip->irqfds.first = irqfd;
	take(chip, irqfd);
	return 0;
}

static int duplicate(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static int assign(struct irqchip *chip, const struct kvm_irqfd *args, int event_fd, int resample_fd)
{
	bool resamples = args->flags & KVM_IRQFD_FLAG_RESAMPLE;
	autofd fd = -1, resample = -1;
	uint64_t identity, ignored;
	struct irqfd *irqfd;
	int r = eventfd_identity(event_fd, &identity);

	if (!r && resamples)
		r = eventfd_identity(resample_fd, &ignored);
	if (r < 0)
		return r;
	fd = duplicate(event_fd);
	if (resamples)
		resample = duplicate(resample_fd);
	if (fd < 0 || (resamples && resample < 0))
		return -errno;
	irqfd = calloc(1, sizeof(*irqfd));
	if (!irqfd)
		return -ENOMEM;
	irqfd->identity = identity;
	irqfd->gsi = args->gsi;
	irqfd->fd = steal_fd(&fd);
	irqfd->resample_fd = steal_fd(&resample);
	irq_lock(chip);
	r = insert(chip, irqfd);
	irq_unlock(chip);
	return r;
}

static int deassign(struct irqchip *chip, const struct kvm_irqfd *args, int event_fd)
{
	struct irqfd **link, *irqfd;
	uint64_t identity;
	int r = eventfd_identity(event_fd, &identity);

	if (r < 0)
		return r;
	irq_lock(chip);
	for (link = &chip->irqfds.first; (irqfd = *link);) {
		if (irqfd->identity != identity || irqfd->gsi != args->gsi) {
			link = &irqfd->next;
			continue;
		}
		take(chip, irqfd);
		(void)epoll_ctl(chip->irqfds.epoll, EPOLL_CTL_DEL, irqfd->fd, NULL);
		*link = irqfd->next;
		if (irqfd->resample_fd >= 0 && !is_resampled(chip, irqfd->gsi))
			(void)irq_set_gsi(chip, irqfd->gsi, SOURCE_RESAMPLE, false);
		irqfd_free(irqfd);
	}
	irq_unlock(chip);
	return 0;
}

int irq_fd(struct irqchip *chip, const struct kvm_irqfd *args, int event_fd, int resample_fd)
{
	if (args->flags & ~(uint32_t)(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
		return -EINVAL;
	if (args->flags & KVM_IRQFD_FLAG_DEASSIGN)
		return deassign(chip, args, event_fd);
	return assign(chip, args, event_fd, resample_fd);
}
