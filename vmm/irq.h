/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a device raises its interrupt line.  Safe from any thread. */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include <stdbool.h>

#define VMM_GSI_MAX 24

struct irq_lines {
	int vm_fd;
	int pulse_fd[VMM_GSI_MAX]; /* eventfd bound as irqfd to this GSI, or -1 */
};

/* Edge-triggered line: one pulse.  The GSI has an irqfd; a pulse sent while it is unbound (during a
 * relay) is kept in the eventfd and delivered by the next VM. */
void irq_pulse(const struct irq_lines *lines, unsigned gsi);

/* Level-triggered line: set its level.  After a relay the device sets it again from load(). */
void irq_set_level(const struct irq_lines *lines, unsigned gsi, bool level);

#endif
