/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every emulated device offers for a relay: its state.  save and load are not optional: a
 * device without them would silently lose state in an upgrade.
 */
#ifndef VMM_DEVICE_H
#define VMM_DEVICE_H

#include <stddef.h>
#include <stdint.h>

/* Section types of the VMM's devices in a relay; numbers are for ever.  See docs/protocol.md. */
enum vmm_section {
	VMM_SECTION_OPTIONS = 0x8000, /* the options of `vmrelay run`, JSON */
	VMM_SECTION_UART = 0x8001,
	VMM_SECTION_CONSOLE = 0x8002,
	VMM_SECTION_POWER = 0x8003,
	VMM_SECTION_RTC = 0x8004,
};

struct device_ops {
	const char *name;
	enum vmm_section section;
	uint16_t version;     /* newest version of the state that save() can write */
	uint16_t min_version; /* oldest version that save() can write and load() can read */
	size_t state_size;    /* most bytes that save() writes */

	/*
	 * Write the state in the given version to buf (state_size bytes); returns its length or
	 * -errno.  Called while no vCPU runs, on the main thread.
	 */
	int (*save)(void *device, uint16_t version, void *buf);

	/*
	 * The threads of this process are dead, wherever they were (vmrelay/rescue.h): have the
	 * locks free, so that save() does not wait for them.
	 */
	void (*break_locks)(void *device);

	/* Take over a state written by save(); the bytes are not trusted.  Returns 0 or -errno. */
	int (*load)(void *device, uint16_t version, const void *buf, size_t len);
};

#endif
