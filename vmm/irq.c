// SPDX-License-Identifier: GPL-2.0-or-later
/* Raising interrupt lines: irqfds for edges, KVM_IRQ_LINE for levels. */
#include "irq.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "kvm/ioctl.h"
#include "log.h"

void irq_pulse(const struct irq_lines *lines, unsigned gsi)
{
	static const uint64_t one = 1;
	ssize_t r;

	do
		r = write(lines->pulse_fd[gsi], &one, sizeof(one));
	while (r < 0 && errno == EINTR);

	/* EAGAIN: the counter is at its maximum, so a pulse is pending anyway. */
	if (r < 0 && errno != EAGAIN)
		log_error("cannot raise interrupt %u: write to its eventfd: %s", gsi,
			  strerror(errno));
}

void irq_set_level(const struct irq_lines *lines, unsigned gsi, bool level)
{
	int r = kvm_vm_irq_line(lines->vm_fd, gsi, level);

	if (r < 0)
		log_error("cannot %s interrupt line %u: KVM_IRQ_LINE: %s",
			  level ? "raise" : "lower", gsi, strerror(-r));
}
