// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * routing.c - from GSIs to pins of controllers and to MSIs
 *
 * Linux, Documentation/virt/kvm/api.rst, KVM_SET_GSI_ROUTING.
 */
#include "softkvm/irq/internal.h"

#include <string.h>

/* Of an MSI's address and data: APM 16.11.1 has the same fields for the IO-APIC's messages. */
#define MSI_LOGICAL  0x4u
#define MSI_REDIRECT 0x8u
#define MSI_LEVEL    0x8000u

static int send_msi(struct irqchip *chip, uint32_t address, uint32_t data)
{
	const struct message message = {
		.destination = address >> 12 & 0xff,
		.vector = (uint8_t)data,
		.mode = (enum delivery_mode)(data >> 8 & 7),
		.is_logical = address & MSI_LOGICAL,
		.is_level = data & MSI_LEVEL,
		.is_asserted = true,
		.is_redirectable = address & MSI_REDIRECT,
	};

	return message_send(chip, NULL, &message);
}

static int raise_route(struct irqchip *chip, const struct kvm_irq_routing_entry *entry,
		       enum irq_source source, bool level)
{
	unsigned pin = entry->u.irqchip.pin;

	if (entry->type == KVM_IRQ_ROUTING_MSI)
		return level ? send_msi(chip, entry->u.msi.address_lo, entry->u.msi.data) : -1;
	if (entry->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC)
		return ioapic_set_line(chip, pin, source, level);
	return pic_set_line(chip, pin + entry->u.irqchip.irqchip * PIC_PINS, source, level);
}

int irq_set_gsi(struct irqchip *chip, uint32_t gsi, enum irq_source source, bool level)
{
	const struct routing *routing = chip->routing;
	int sum = -1;

	if (gsi >= GSIS_MAX)
		return -1;
	for (unsigned i = routing->head[gsi]; i; i = routing->route[i - 1].next) {
		int r = raise_route(chip, &routing->route[i - 1].entry, source, level);

		if (r >= 0)
			sum = (sum < 0 ? 0 : sum) + r;
	}
	return sum;
}

void irq_acked(struct irqchip *chip, unsigned chip_id, unsigned pin)
{
	int gsi = chip->routing->pin_gsi[chip_id][pin];

	if (gsi < 0)
		return;
	if (gsi == 0)
		pit_acked(chip);
	irqfds_acked(chip, (uint32_t)gsi);
}

void irq_mask_changed(struct irqchip *chip, unsigned chip_id, unsigned pin, bool is_masked)
{
	if (chip->routing->pin_gsi[chip_id][pin] == 0 && !is_masked)
		pit_unmasked(chip);
}

static bool is_valid(const struct kvm_irq_routing_entry *entry)
{
	if (entry->gsi >= GSIS_MAX)
		return false;
	switch (entry->type) {
	case KVM_IRQ_ROUTING_MSI:
		return !(entry->flags & ~(uint32_t)KVM_MSI_VALID_DEVID);
	case KVM_IRQ_ROUTING_IRQCHIP:
		if (entry->flags)
			return false;
		if (entry->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC)
			return entry->u.irqchip.pin < KVM_IOAPIC_NUM_PINS;
		return entry->u.irqchip.irqchip <= KVM_IRQCHIP_PIC_SLAVE &&
		       entry->u.irqchip.pin < PIC_PINS;
	default:
		return false;
	}
}

/* A GSI leads to one MSI, or to one pin of each of several controllers. */
static int add(struct routing *routing, unsigned index, const struct kvm_irq_routing_entry *entry)
{
	const struct kvm_irq_routing_entry *other;
	unsigned pin;

	if (!is_valid(entry))
		return -EINVAL;
	for (unsigned i = routing->head[entry->gsi]; i; i = routing->route[i - 1].next) {
		other = &routing->route[i - 1].entry;
		if (other->type != KVM_IRQ_ROUTING_IRQCHIP ||
		    entry->type != KVM_IRQ_ROUTING_IRQCHIP ||
		    other->u.irqchip.irqchip == entry->u.irqchip.irqchip)
			return -EINVAL;
	}
	routing->route[index].entry = *entry;
	routing->route[index].next = routing->head[entry->gsi];
	routing->head[entry->gsi] = (uint16_t)(index + 1);
	if (entry->type == KVM_IRQ_ROUTING_IRQCHIP) {
		pin = entry->u.irqchip.pin;
		if (entry->u.irqchip.irqchip == KVM_IRQCHIP_PIC_SLAVE)
			pin += PIC_PINS;
		routing->pin_gsi[entry->u.irqchip.irqchip][pin] = (int16_t)entry->gsi;
	}
	return 0;
}

static int routing_new(unsigned n, const struct kvm_irq_routing_entry *entries,
		       struct routing **ret)
{
	autofree struct routing *routing = NULL;
	int r;

	if (n > GSIS_MAX)
		return -EINVAL;
	routing = calloc(1, sizeof(*routing) + n * sizeof(routing->route[0]));
	if (!routing)
		return -ENOMEM;
	memset(routing->pin_gsi, 0xff, sizeof(routing->pin_gsi));
	for (unsigned i = 0; i < n; i++) {
		r = add(routing, i, &entries[i]);
		if (r < 0)
			return r;
	}
	*ret = steal_ptr(routing);
	return 0;
}

int irq_set_routing(struct irqchip *chip, unsigned n, const struct kvm_irq_routing_entry *entries)
{
	struct routing *routing, *old;
	int r = routing_new(n, entries, &routing);

	if (r < 0)
		return r;
	irq_lock(chip);
	old = chip->routing;
	chip->routing = routing;
	irq_unlock(chip);
	free(old);
	return 0;
}

/* KVM_CREATE_IRQCHIP: GSIs 0 to 15 to the 8259s and the IO-APIC, the rest to the latter. */
int routing_init(struct irqchip *chip)
{
	struct kvm_irq_routing_entry entries[KVM_IOAPIC_NUM_PINS + PICS_PINS] = {0};
	unsigned n = 0;

	for (unsigned gsi = 0; gsi < KVM_IOAPIC_NUM_PINS; gsi++) {
		entries[n].gsi = gsi;
		entries[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		entries[n].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		entries[n++].u.irqchip.pin = gsi;
		if (gsi >= PICS_PINS)
			continue;
		entries[n].gsi = gsi;
		entries[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		entries[n].u.irqchip.irqchip = gsi / PIC_PINS;
		entries[n++].u.irqchip.pin = gsi % PIC_PINS;
	}
	return routing_new(n, entries, &chip->routing);
}

int irq_set_line(struct irqchip *chip, uint32_t gsi, uint32_t source, bool level)
{
	int r;

	if (source > SOURCE_PIT)
		return -1;
	irq_lock(chip);
	r = irq_set_gsi(chip, gsi, (enum irq_source)source, level);
	irq_unlock(chip);
	return r;
}

int irq_send_msi(struct irqchip *chip, uint64_t address, uint32_t data)
{
	int r;

	irq_lock(chip);
	r = send_msi(chip, (uint32_t)address, data);
	irq_unlock(chip);
	return r;
}
