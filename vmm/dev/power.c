// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How a guest ends: ACPI PM1 event and control registers (ACPI 6.4, section 4.8.3), the reset
 * register at 0xcf9, and the reset line of the keyboard controller.
 */
#include "power.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../layout.h"

#define PM1_TIMER	 0x0001U
#define PM1_GLOBAL_LOCK	 0x0020U
#define PM1_POWER_BUTTON 0x0100U
#define PM1_SLEEP_BUTTON 0x0200U
#define PM1_RTC		 0x0400U
/* Only the power button has events; the other bits are there because ACPICA reads them back. */
#define PM1_ENABLE_BITS                                                                            \
	(PM1_TIMER | PM1_GLOBAL_LOCK | PM1_POWER_BUTTON | PM1_SLEEP_BUTTON | PM1_RTC)

#define PM1_SCI_EN	   0x0001U /* always set: there is no legacy mode to leave */
#define PM1_BM_RLD	   0x0002U
#define PM1_SLP_TYP_SHIFT  10
#define PM1_SLP_TYP	   (7U << PM1_SLP_TYP_SHIFT)
#define PM1_SLP_EN	   0x2000U /* reads as zero */
#define PM1_CONTROL_STORED (PM1_BM_RLD | PM1_SLP_TYP)

#define RESET_CPU	0x04U
#define KBD_PULSE_RESET 0xfeU
/*
 * Output buffer full for ever, input buffer empty: Linux' i8042 probe cannot flush such a
 * controller and gives up at once (it waits half a second for one that is merely silent), and its
 * reboot, which waits for the input buffer, goes ahead.
 */
#define KBD_STATUS 0x01U

/* PM1 event and control blocks as an array of 16-bit registers. */
enum pm1_register {
	PM1_STATUS,
	PM1_ENABLE,
	PM1_CONTROL,
	PM1_REGISTERS,
};
static_assert(LAYOUT_PM1_EVENT_PORT + 2 * PM1_CONTROL == LAYOUT_PM1_CONTROL_PORT,
	      "PM1 blocks are adjacent");

struct power {
	const struct irq_lines *lines;
	void (*end)(void *opaque, enum vmm_end end);
	void *opaque;

	pthread_mutex_t lock; /* of everything below */
	uint16_t status;
	uint16_t enable;
	uint16_t control; /* PM1_CONTROL_STORED */
	uint8_t reset;	  /* what was last written to the reset register */
	bool sci;	  /* level of the line */
};

/* The state in a relay, little-endian. */
struct power_state {
	uint16_t status;
	uint16_t enable;
	uint16_t control;
	uint8_t reset;
	uint8_t reserved;
} __attribute__((packed));

static_assert(sizeof(struct power_state) == 8, "the relayed state never changes size");

static void update_sci(struct power *power)
{
	bool level = power->status & power->enable;

	if (level == power->sci)
		return;
	power->sci = level;
	irq_set_level(power->lines, LAYOUT_SCI_GSI, level);
}

static uint16_t pm1_read(const struct power *power, enum pm1_register reg)
{
	switch (reg) {
	case PM1_STATUS:
		return power->status;
	case PM1_ENABLE:
		return power->enable;
	case PM1_CONTROL:
		return power->control | PM1_SCI_EN;
	case PM1_REGISTERS:
		break;
	}
	return 0;
}

/* Write the bits in `mask`: one or both bytes of the register. */
static enum vmm_end pm1_write(struct power *power, enum pm1_register reg, uint16_t value,
			      uint16_t mask)
{
	value &= mask;
	switch (reg) {
	case PM1_STATUS:
		power->status &= ~value;
		break;
	case PM1_ENABLE:
		power->enable = (power->enable & ~mask) | (value & PM1_ENABLE_BITS);
		break;
	case PM1_CONTROL:
		power->control = (power->control & ~mask) | (value & PM1_CONTROL_STORED);
		if (value & PM1_SLP_EN && power->control >> PM1_SLP_TYP_SHIFT == LAYOUT_SLEEP_S5)
			return VMM_END_POWEROFF;
		break;
	case PM1_REGISTERS:
		break;
	}
	update_sci(power);
	return VMM_END_NONE;
}

static void pm1_pio(void *opaque, uint16_t offset, bool is_write, unsigned size, uint32_t *value)
{
	struct power *power = opaque;
	enum vmm_end end = VMM_END_NONE;

	(void)pthread_mutex_lock(&power->lock);
	for (unsigned i = 0; i < size; i++) {
		enum pm1_register reg = (offset + i) / 2;
		unsigned shift = (offset + i) % 2 * 8;
		uint8_t byte = *value >> (8 * i);

		if (is_write) {
			enum vmm_end e = pm1_write(power, reg, byte << shift, 0xffU << shift);

			end = e == VMM_END_NONE ? end : e;
		} else {
			byte = pm1_read(power, reg) >> shift;
			*value = (*value & ~(0xffU << (8 * i))) | (uint32_t)byte << (8 * i);
		}
	}
	(void)pthread_mutex_unlock(&power->lock);

	if (end != VMM_END_NONE)
		power->end(power->opaque, end);
}

static void reset_pio(void *opaque, uint16_t offset, bool is_write, unsigned size, uint32_t *value)
{
	struct power *power = opaque;

	(void)offset;
	(void)size;
	(void)pthread_mutex_lock(&power->lock);
	if (is_write)
		power->reset = *value & ~RESET_CPU;
	else
		*value = power->reset;
	(void)pthread_mutex_unlock(&power->lock);

	if (is_write && *value & RESET_CPU)
		power->end(power->opaque, VMM_END_REBOOT);
}

static void kbd_pio(void *opaque, uint16_t offset, bool is_write, unsigned size, uint32_t *value)
{
	struct power *power = opaque;

	(void)offset;
	(void)size;
	if (!is_write)
		*value = KBD_STATUS;
	else if (*value == KBD_PULSE_RESET)
		power->end(power->opaque, VMM_END_REBOOT);
}

struct power *power_new(const struct irq_lines *lines, void (*end)(void *opaque, enum vmm_end end),
			void *opaque)
{
	struct power *power = calloc(1, sizeof(*power));

	if (!power)
		return NULL;
	power->lines = lines;
	power->end = end;
	power->opaque = opaque;
	(void)pthread_mutex_init(&power->lock, NULL);
	return power;
}

struct power *power_free(struct power *power)
{
	if (!power)
		return NULL;
	(void)pthread_mutex_destroy(&power->lock);
	free(power);
	return NULL;
}

int power_add_ports(struct power *power, struct bus *bus)
{
	int r = bus_add(bus, LAYOUT_PM1_EVENT_PORT, 2 * PM1_REGISTERS, pm1_pio, power);

	if (r == 0)
		r = bus_add(bus, LAYOUT_RESET_PORT, 1, reset_pio, power);
	if (r == 0)
		r = bus_add(bus, LAYOUT_KBD_PORT, 1, kbd_pio, power);
	return r;
}

void power_press_button(struct power *power)
{
	(void)pthread_mutex_lock(&power->lock);
	power->status |= PM1_POWER_BUTTON;
	update_sci(power);
	(void)pthread_mutex_unlock(&power->lock);
}

static void power_break_locks(void *device)
{
	struct power *power = device;

	(void)pthread_mutex_init(&power->lock, NULL);
}

static int power_save(void *device, uint16_t version, void *buf)
{
	struct power *power = device;
	struct power_state state;

	if (version != power_ops.version)
		return -EPROTONOSUPPORT;
	(void)pthread_mutex_lock(&power->lock);
	state = (struct power_state){
		.status = htole16(power->status),
		.enable = htole16(power->enable),
		.control = htole16(power->control),
		.reset = power->reset,
	};
	(void)pthread_mutex_unlock(&power->lock);
	memcpy(buf, &state, sizeof(state));
	return sizeof(state);
}

static int power_load(void *device, uint16_t version, const void *buf, size_t len)
{
	struct power *power = device;
	struct power_state state;

	if (version != power_ops.version)
		return -EPROTONOSUPPORT;
	if (len != sizeof(state))
		return -EBADMSG;
	memcpy(&state, buf, sizeof(state));
	state.status = le16toh(state.status);
	state.enable = le16toh(state.enable);
	state.control = le16toh(state.control);
	if (state.status & ~PM1_POWER_BUTTON || state.enable & ~PM1_ENABLE_BITS ||
	    state.control & ~PM1_CONTROL_STORED || state.reset & RESET_CPU || state.reserved != 0)
		return -EBADMSG;

	(void)pthread_mutex_lock(&power->lock);
	power->status = state.status;
	power->enable = state.enable;
	power->control = state.control;
	power->reset = state.reset;
	/* Unconditionally: this VM has not seen the level yet. */
	power->sci = state.status & state.enable;
	irq_set_level(power->lines, LAYOUT_SCI_GSI, power->sci);
	(void)pthread_mutex_unlock(&power->lock);
	return 0;
}

const struct device_ops power_ops = {
	.name = "power",
	.section = VMM_SECTION_POWER,
	.version = 1,
	.min_version = 1,
	.state_size = sizeof(struct power_state),
	.save = power_save,
	.break_locks = power_break_locks,
	.load = power_load,
};
