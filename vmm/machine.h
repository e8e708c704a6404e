/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtual PC: KVM's VM, guest memory and the devices around it.  It is made in two ways that
 * meet half-way: from options, for a new guest, or from the VM that libvmrelay built for a relay.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <systemd/sd-event.h>
#include <vmrelay/vmrelay.h>

#include "bus.h"
#include "dev/console.h"
#include "dev/power.h"
#include "dev/rtc.h"
#include "dev/uart.h"
#include "irq.h"
#include "memory.h"
#include "options.h"
#include "sev.h"
#include "vmm.h"

/*
 * A build with -DVMM_TEST_SECTION=TYPE has one section more, as a VMM of another version might:
 * optional if the type is odd, of versions 1 to VMM_TEST_VERSION, which differ.  For tests.
 */
#ifdef VMM_TEST_SECTION
#ifndef VMM_TEST_VERSION
#define VMM_TEST_VERSION 1
#endif
#define MACHINE_SECTIONS 5
#else
#define MACHINE_SECTIONS 4
#endif

struct machine {
	int kvm_fd;
	struct vmr_vm *vm;
	struct sev sev;
	struct vmm_memory memory;
	bool owns_memory; /* made from options: mapping and fds are the machine's own */
	int uart_irq_fd;  /* likewise */
	struct bus bus;
	struct irq_lines irq;
	struct console *console; /* borrowed */
	struct uart *uart;
	struct rtc *rtc;
	struct power *power;
};

#define MACHINE_INIT                                                                               \
	{                                                                                          \
		.kvm_fd = -1, .sev = SEV_INIT, .uart_irq_fd = -1                                   \
	}

/* VM, memory and vCPUs for a new guest, as far as it can be booted. */
int machine_create(struct machine *machine, const struct vmm_options *options,
		   struct vmm_error *ret_error);
/*
 * Load the guest and set the registers of its boot CPU.  A confidential guest is then being
 * launched: it has been measured, and secrets may be put into it.
 */
int machine_boot(struct machine *machine, const struct vmm_options *options,
		 struct vmm_error *ret_error);
/* The end of its launch: nothing more comes in from outside, and it may run. */
int machine_complete(struct machine *machine, struct vmm_error *ret_error);

/* VM and memory from a relay; kvm_fd and vm are taken over. */
int machine_adopt(struct machine *machine, int kvm_fd, struct vmr_vm *vm,
		  struct vmm_error *ret_error);

/* The devices; `end` as for power_new().  0 or -errno. */
int machine_add_devices(struct machine *machine, struct console *console,
			void (*end)(void *opaque, enum vmm_end end), void *opaque);

/*
 * The devices' state for a relay.  Before the devices exist (machine NULL): what this VMM can read,
 * for the hello.
 */
void machine_sections(const struct machine *machine, struct vmr_section ret[MACHINE_SECTIONS]);

/* See vmm/device.h. */
void machine_break_locks(const struct machine *machine);

/* After the last vCPU thread has ended. */
void machine_done(struct machine *machine);

#endif
