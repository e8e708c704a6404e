/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a guest ends: the ACPI power button and sleep control, and the ways to reset a PC. */
#ifndef VMM_DEV_POWER_H
#define VMM_DEV_POWER_H

#include "../bus.h"
#include "../device.h"
#include "../irq.h"
#include "../vmm.h"

struct power;

/* `end` is called on the thread of the vCPU that asked for it, maybe by more than one at a time. */
struct power *power_new(const struct irq_lines *lines, void (*end)(void *opaque, enum vmm_end end),
			void *opaque);
struct power *power_free(struct power *power);

/* Answer at the PM1 blocks, the reset register and the keyboard controller's command port. */
int power_add_ports(struct power *power, struct bus *bus);

/* Press and release the power button; from any thread.  What follows is up to the guest. */
void power_press_button(struct power *power);

extern const struct device_ops power_ops;

#endif
