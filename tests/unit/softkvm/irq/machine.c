// SPDX-License-Identifier: GPL-2.0-or-later
#include "machine.h"

#define IOAPIC 0xfec00000u

static void kick(void *opaque, unsigned vcpu)
{
	struct machine *machine = opaque;

	machine->kicked |= 1ull << vcpu;
}

static uint64_t now_ns(void *opaque)
{
	return ((struct machine *)opaque)->now;
}

static uint64_t tsc(void *opaque, unsigned vcpu)
{
	return ((struct machine *)opaque)->tsc + vcpu;
}

static uint64_t tsc_khz(void *opaque, unsigned vcpu)
{
	(void)opaque;
	(void)vcpu;
	return 2000000;
}

static const struct irq_ops ops = {kick, now_ns, tsc, tsc_khz};

int machine_setup(void **state)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	machine->now = 1000000000;
	machine->chip = irqchip_new(&ops, machine);
	assert_non_null(machine->chip);
	for (unsigned i = 0; i < N_LAPICS; i++) {
		machine->lapic[i] = lapic_new(machine->chip, i, i, i == 0);
		assert_non_null(machine->lapic[i]);
		apic_write(machine->lapic[i], APIC_SPIV, SPIV_ON);
	}
	machine->kicked = 0;
	*state = machine;
	return 0;
}

int machine_teardown(void **state)
{
	struct machine *machine = *state;

	for (unsigned i = 0; i < N_LAPICS; i++)
		machine->lapic[i] = lapic_free(machine->lapic[i]);
	machine->chip = irqchip_free(machine->chip);
	free(machine);
	return 0;
}

uint32_t apic_read(struct lapic *lapic, unsigned offset)
{
	uint32_t value;

	lapic_mmio_read(lapic, offset, sizeof(value), &value);
	return value;
}

void apic_write(struct lapic *lapic, unsigned offset, uint32_t value)
{
	lapic_mmio_write(lapic, offset, sizeof(value), &value);
}

void apic_ipi(struct lapic *lapic, uint8_t destination, uint32_t low)
{
	apic_write(lapic, APIC_ICR2, (uint32_t)destination << 24);
	apic_write(lapic, APIC_ICR, low);
}

void apic_x2apic(struct lapic *lapic)
{
	assert_int_equal(lapic_set_base(lapic, lapic_get_base(lapic) | APIC_BASE_X2APIC), 0);
}

void assert_interrupt(struct lapic *lapic, int vector)
{
	assert_int_equal(lapic_pending(lapic), vector);
	assert_int_equal(lapic_take(lapic), vector);
	if (vector < 0)
		return;
	if (lapic_is_x2apic(lapic))
		assert_true(lapic_wrmsr(lapic, 0x80b, 0));
	else
		apic_write(lapic, APIC_EOI, 0);
}

void assert_no_interrupts(struct machine *machine)
{
	for (unsigned i = 0; i < N_LAPICS; i++)
		assert_int_equal(lapic_pending(machine->lapic[i]), -1);
}

void outb(struct machine *machine, uint16_t port, uint8_t value)
{
	assert_true(irqchip_pio(machine->chip, true, port, 1, &value));
}

uint8_t inb(struct machine *machine, uint16_t port)
{
	uint8_t value;

	assert_true(irqchip_pio(machine->chip, false, port, 1, &value));
	return value;
}

static uint32_t ioapic_window(struct machine *machine, bool is_write, uint32_t selected,
			      uint32_t value)
{
	assert_true(irqchip_mmio(machine->chip, true, IOAPIC, 4, &selected));
	assert_true(irqchip_mmio(machine->chip, is_write, IOAPIC + 0x10, 4, &value));
	return value;
}

void ioapic_write_pin(struct machine *machine, unsigned pin, uint64_t entry)
{
	(void)ioapic_window(machine, true, 0x11 + 2 * pin, (uint32_t)(entry >> 32));
	(void)ioapic_window(machine, true, 0x10 + 2 * pin, (uint32_t)entry);
}

uint64_t ioapic_read_pin(struct machine *machine, unsigned pin)
{
	return (uint64_t)ioapic_window(machine, false, 0x11 + 2 * pin, 0) << 32 |
	       ioapic_window(machine, false, 0x10 + 2 * pin, 0);
}
