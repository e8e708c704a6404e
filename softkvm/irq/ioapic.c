// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ioapic.c - the IO-APIC, an Intel 82093AA of version 0x11 with KVM's 24 pins
 *
 * A level-triggered pin that has been sent on waits, with "remote IRR", for the EOI of its vector;
 * if its line is still high then, it is sent again.
 */
#include "softkvm/irq/internal.h"

#include <string.h>

#define IOAPIC_LEN	 0x100u
#define IOAPIC_BASE	 0xfec00000ull
#define VERSION_VALUE	 ((KVM_IOAPIC_NUM_PINS - 1) << 16 | 0x11u)
#define ENTRY_READ_ONLY	 (1ull << 12 | ENTRY_REMOTE_IRR) /* delivery status is never set */
#define ENTRY_LOGICAL	 (1ull << 11)
#define ENTRY_REMOTE_IRR (1ull << 14)
#define ENTRY_LEVEL	 (1ull << 15)
#define ENTRY_MASKED	 (1ull << 16)

enum { SELECT = 0x00, WINDOW = 0x10 };
enum { ID, VERSION, ARBITRATION, ENTRIES = 0x10 };

void ioapic_init(struct irqchip *chip)
{
	chip->ioapic.base_address = IOAPIC_BASE;
	for (unsigned pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++)
		chip->ioapic.redirtbl[pin].bits = ENTRY_MASKED;
}

static int service(struct irqchip *chip, unsigned pin)
{
	uint64_t entry = chip->ioapic.redirtbl[pin].bits;
	const struct message message = {
		.destination = (uint32_t)(entry >> 56),
		.vector = (uint8_t)entry,
		.mode = (enum delivery_mode)(entry >> 8 & 7),
		.is_logical = entry & ENTRY_LOGICAL,
		.is_level = entry & ENTRY_LEVEL,
		.is_asserted = true,
	};
	int r;

	if (entry & ENTRY_MASKED || (message.is_level && entry & ENTRY_REMOTE_IRR))
		return -1;
	if (!message.is_level)
		chip->ioapic_delivered |= 1u << pin;
	r = message_send(chip, NULL, &message);
	if (r && message.is_level)
		chip->ioapic.redirtbl[pin].bits |= ENTRY_REMOTE_IRR;
	return r;
}

static int set_level(struct irqchip *chip, unsigned pin, bool level)
{
	struct kvm_ioapic_state *state = &chip->ioapic;
	uint32_t mask = 1u << pin, before = state->irr;

	if (!level) {
		state->irr &= ~mask;
		return 1;
	}
	state->irr |= mask;
	if (!(state->redirtbl[pin].bits & ENTRY_LEVEL)) {
		chip->ioapic_delivered &= ~mask;
		if (before & mask)
			return 0;
	}
	return service(chip, pin);
}

int ioapic_set_line(struct irqchip *chip, unsigned pin, enum irq_source source, bool level)
{
	return set_level(chip, pin, irq_line(&chip->ioapic_lines[pin], source, level));
}

void ioapic_eoi(struct irqchip *chip, uint8_t vector, bool is_level)
{
	for (unsigned pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++) {
		__u64 *entry = &chip->ioapic.redirtbl[pin].bits;

		if ((uint8_t)*entry != vector)
			continue;
		irq_acked(chip, KVM_IRQCHIP_IOAPIC, pin);
		if (!is_level)
			continue;
		*entry &= ~ENTRY_REMOTE_IRR;
		if (chip->ioapic.irr >> pin & 1)
			(void)service(chip, pin);
	}
}

/* Edges that have been sent on are the LAPICs' now. */
void ioapic_get(struct irqchip *chip, struct kvm_ioapic_state *ret)
{
	*ret = chip->ioapic;
	ret->irr &= ~chip->ioapic_delivered;
}

void ioapic_set(struct irqchip *chip, const struct kvm_ioapic_state *state)
{
	chip->ioapic = *state;
	chip->ioapic.irr = 0;
	chip->ioapic_delivered = 0;
	for (unsigned pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++)
		if (state->irr >> pin & 1)
			(void)set_level(chip, pin, true);
}

static uint32_t read_window(const struct kvm_ioapic_state *state)
{
	uint64_t entry = ~0ull;
	unsigned pin;

	switch (state->ioregsel) {
	case ID:
	case ARBITRATION:
		return (state->id & 0xf) << 24;
	case VERSION:
		return VERSION_VALUE;
	default:
		pin = (state->ioregsel - ENTRIES) / 2;
		if (pin < KVM_IOAPIC_NUM_PINS)
			entry = state->redirtbl[pin].bits;
		return (uint32_t)(state->ioregsel & 1 ? entry >> 32 : entry);
	}
}

static void write_entry(struct irqchip *chip, unsigned pin, bool is_high, uint32_t value)
{
	uint64_t before = chip->ioapic.redirtbl[pin].bits, entry;

	if (is_high)
		entry = (uint64_t)value << 32 | (uint32_t)before;
	else
		entry = (before >> 32 << 32) | value;
	entry = (entry & ~ENTRY_READ_ONLY) | (before & ENTRY_READ_ONLY);
	/* Guests get rid of a remote IRR by making the pin edge-triggered for a moment. */
	if (!(entry & ENTRY_LEVEL))
		entry &= ~ENTRY_REMOTE_IRR;
	chip->ioapic.redirtbl[pin].bits = entry;
	if ((before ^ entry) & ENTRY_MASKED)
		irq_mask_changed(chip, KVM_IRQCHIP_IOAPIC, pin, entry & ENTRY_MASKED);
	if (entry & ENTRY_LEVEL && chip->ioapic.irr >> pin & 1)
		(void)service(chip, pin);
}

static void write_window(struct irqchip *chip, uint32_t value)
{
	uint32_t selected = chip->ioapic.ioregsel;
	unsigned pin = (selected - ENTRIES) / 2;

	if (selected == ID)
		chip->ioapic.id = value >> 24 & 0xf;
	else if (selected >= ENTRIES && pin < KVM_IOAPIC_NUM_PINS)
		write_entry(chip, pin, selected & 1, value);
}

bool irqchip_mmio(struct irqchip *chip, bool is_write, uint64_t gpa, unsigned len, void *data)
{
	struct kvm_ioapic_state *state = &chip->ioapic;
	uint64_t value = 0, offset;
	bool is_known;

	irq_lock(chip);
	offset = gpa - state->base_address;
	is_known = offset < IOAPIC_LEN && len <= sizeof(value);
	if (is_known && is_write) {
		memcpy(&value, data, len);
		if (offset == SELECT)
			state->ioregsel = value & 0xff;
		else if (offset == WINDOW)
			write_window(chip, (uint32_t)value);
	} else if (is_known) {
		if (offset == SELECT)
			value = state->ioregsel;
		else if (offset == WINDOW)
			value = read_window(state);
		memcpy(data, &value, len);
	}
	irq_unlock(chip);
	return is_known;
}
