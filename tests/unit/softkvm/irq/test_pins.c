// SPDX-License-Identifier: GPL-2.0-or-later
/* The 8259s, the IO-APIC, and the routing that leads to them and to MSIs. */
#include "machine.h"

#define GSI_LEVEL 11u
#define IOAPIC	  0xfec00000u

static int raise_line(struct machine *machine, uint32_t gsi)
{
	return irq_set_line(machine->chip, gsi, 0, true);
}

static int lower_line(struct machine *machine, uint32_t gsi)
{
	return irq_set_line(machine->chip, gsi, 0, false);
}

/* As firmware does: vectors 0x20 and 0x28, nothing masked; LINT0 of the BSP takes them. */
static void start_pics(struct machine *machine, uint8_t icw4)
{
	static const uint16_t ports[] = {0x20, 0xa0};

	for (unsigned i = 0; i < 2; i++) {
		outb(machine, ports[i], 0x11);
		outb(machine, ports[i] + 1, (uint8_t)(0x20 + 8 * i));
		outb(machine, ports[i] + 1, i ? 2 : 4);
		outb(machine, ports[i] + 1, icw4);
		outb(machine, ports[i] + 1, 0);
	}
	apic_write(machine->lapic[0], APIC_LVT_LINT0, DELIVER_EXTINT << 8);
}

static void eoi_pics(struct machine *machine)
{
	outb(machine, 0xa0, 0x20);
	outb(machine, 0x20, 0x20);
}

static void test_pic_edge(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[0];

	start_pics(machine, 1);
	machine->kicked = 0;
	assert_int_equal(raise_line(machine, 4), 1);
	assert_int_equal(machine->kicked, 1);
	assert_int_equal(lapic_pending(machine->lapic[1]), -1);
	assert_int_equal(raise_line(machine, 4), 1); /* no edge, but KVM says so */
	assert_int_equal(inb(machine, 0x20), 0x10);  /* IRR */
	assert_int_equal(lapic_pending(lapic), 0x24);
	assert_int_equal(lapic_take(lapic), 0x24);
	outb(machine, 0x20, 0x0b);
	assert_int_equal(inb(machine, 0x20), 0x10); /* ISR */
	assert_int_equal(lapic_pending(lapic), -1);
	lower_line(machine, 4);
	raise_line(machine, 4);
	raise_line(machine, 5);
	raise_line(machine, 3);
	assert_int_equal(lapic_take(lapic), 0x23); /* of higher priority */
	outb(machine, 0x20, 0x20);
	assert_int_equal(lapic_pending(lapic), -1);
	outb(machine, 0x20, 0x64); /* specific EOI */
	assert_int_equal(lapic_take(lapic), 0x24);
	outb(machine, 0x20, 0x20);
	assert_int_equal(lapic_take(lapic), 0x25);
	outb(machine, 0x20, 0x20);
	outb(machine, 0x21, 0x08);
	lower_line(machine, 3);
	assert_int_equal(raise_line(machine, 3), -1); /* masked, and nowhere else */
	assert_int_equal(lapic_pending(lapic), -1);
	outb(machine, 0x21, 0);
	assert_int_equal(lapic_take(lapic), 0x23);
	outb(machine, 0x20, 0x20);
	apic_write(lapic, APIC_LVT_LINT0, LVT_MASKED | DELIVER_EXTINT << 8);
	raise_line(machine, 6);
	assert_int_equal(lapic_pending(lapic), -1);
	/* Without LAPIC the line is the processor's own. */
	assert_int_equal(lapic_set_base(lapic, 0xfee00100), 0);
	assert_int_equal(lapic_pending(lapic), 0x26);
}

static void test_pic_slave_level(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[0];

	start_pics(machine, 1);
	outb(machine, 0x4d0, 0xff);
	outb(machine, 0x4d1, 1 << (GSI_LEVEL - 8));
	assert_int_equal(inb(machine, 0x4d0), 0xf8);
	assert_int_equal(raise_line(machine, GSI_LEVEL), 1);
	assert_int_equal(lapic_take(lapic), 0x2b);
	eoi_pics(machine);
	assert_int_equal(lapic_take(lapic), 0x2b); /* still up */
	lower_line(machine, GSI_LEVEL);
	eoi_pics(machine);
	assert_int_equal(lapic_pending(lapic), -1);
	/* What goes away before it is taken is spurious. */
	raise_line(machine, GSI_LEVEL);
	lower_line(machine, GSI_LEVEL);
	assert_int_equal(lapic_take(lapic), 0x2f);
}

static void test_pic_modes(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[0];
	uint16_t word = 0xffff;

	start_pics(machine, 3);	   /* automatic EOI */
	outb(machine, 0x20, 0x80); /* and rotation */
	raise_line(machine, 4);
	raise_line(machine, 6);
	assert_int_equal(lapic_take(lapic), 0x24);
	lower_line(machine, 4);
	raise_line(machine, 4);
	assert_int_equal(lapic_take(lapic), 0x26); /* 5 to 7 go before 4 now */
	assert_int_equal(lapic_take(lapic), 0x24);
	raise_line(machine, 1);
	outb(machine, 0x20, 0x0c); /* poll */
	assert_int_equal(inb(machine, 0x20), 0x81);
	assert_int_equal(lapic_pending(lapic), -1);
	outb(machine, 0x20, 0x0c);
	assert_int_equal(inb(machine, 0x20), 7);
	assert_true(irqchip_pio(machine->chip, false, 0x20, 2, &word));
	assert_int_equal(word, 0);
	assert_false(irqchip_pio(machine->chip, false, 0x21, 2, &word));
	assert_false(irqchip_pio(machine->chip, false, 0x22, 1, &word));
	assert_false(irqchip_pio(machine->chip, false, 0x40, 1, &word)); /* no PIT */
}

static void test_ioapic_edge(void **state)
{
	struct machine *machine = *state;

	assert_int_equal(ioapic_read_pin(machine, 23), PIN_MASKED);
	ioapic_write_pin(machine, 20, 1ull << 56 | 0x5000 | 0x51);
	/* Delivery status and remote IRR cannot be written. */
	assert_int_equal(ioapic_read_pin(machine, 20), 1ull << 56 | 0x51);
	assert_int_equal(raise_line(machine, 20), 1);
	assert_int_equal(raise_line(machine, 20), 0);
	assert_interrupt(machine->lapic[1], 0x51);
	assert_int_equal(lower_line(machine, 20), 1);
	assert_int_equal(raise_line(machine, 20), 1);
	assert_interrupt(machine->lapic[1], 0x51);
	ioapic_write_pin(machine, 20, 1ull << 56 | PIN_MASKED | 0x51);
	lower_line(machine, 20);
	assert_int_equal(raise_line(machine, 20), -1);
	ioapic_write_pin(machine, 20, 1ull << 56 | 0x51); /* an edge that is over */
	assert_no_interrupts(machine);
	assert_int_equal(raise_line(machine, 24), -1);
	assert_int_equal(raise_line(machine, GSIS_MAX), -1);
	assert_int_equal(ioapic_read_pin(machine, 24), UINT64_MAX);
}

static void test_ioapic_level(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[2];
	const uint64_t entry = 2ull << 56 | PIN_LEVEL | 0x61;
	struct kvm_irqchip saved = {.chip_id = KVM_IRQCHIP_IOAPIC};

	ioapic_write_pin(machine, 20, entry);
	assert_int_equal(raise_line(machine, 20), 1);
	assert_int_equal(ioapic_read_pin(machine, 20), entry | REMOTE_IRR);
	assert_int_equal(raise_line(machine, 20), -1);
	assert_int_equal(irqchip_get(machine->chip, &saved), 0);
	assert_int_equal(saved.chip.ioapic.irr, 1 << 20);
	assert_interrupt(lapic, 0x61); /* the EOI sends it again */
	assert_int_equal(lapic_take(lapic), 0x61);
	lower_line(machine, 20);
	assert_int_equal(ioapic_read_pin(machine, 20), entry | REMOTE_IRR);
	apic_write(lapic, APIC_EOI, 0);
	assert_int_equal(ioapic_read_pin(machine, 20), entry);
	assert_no_interrupts(machine);
	/* It goes up behind a mask. */
	ioapic_write_pin(machine, 20, entry | PIN_MASKED);
	raise_line(machine, 20);
	assert_no_interrupts(machine);
	ioapic_write_pin(machine, 20, entry);
	assert_int_equal(lapic_take(lapic), 0x61);
	/* Edge-triggered for a moment, it has no remote IRR any more. */
	ioapic_write_pin(machine, 20, (entry & ~(uint64_t)PIN_LEVEL) | PIN_MASKED);
	ioapic_write_pin(machine, 20, entry | PIN_MASKED);
	assert_int_equal(ioapic_read_pin(machine, 20), entry | PIN_MASKED);
	/* Two sources hold a line together. */
	ioapic_write_pin(machine, 21, 2ull << 56 | PIN_LEVEL | 0x71);
	irq_set_line(machine->chip, 21, 0, true);
	irq_set_line(machine->chip, 21, 1, true);
	irq_set_line(machine->chip, 21, 0, false);
	assert_interrupt(lapic, 0x71);
	assert_int_equal(lapic_take(lapic), 0x71);
	irq_set_line(machine->chip, 21, 1, false);
	apic_write(lapic, APIC_EOI, 0);
	assert_int_equal(lapic_pending(lapic), -1);
}

static void test_ioapic_registers(void **state)
{
	struct machine *machine = *state;
	uint32_t value;
	uint64_t wide;

	for (uint32_t i = 0; i < 3; i++) {
		static const uint32_t expected[] = {0x0f000000, 0x170011, 0x0f000000};

		value = 0;
		assert_true(irqchip_mmio(machine->chip, true, IOAPIC, 4, &value));
		value = 0xff000000;
		assert_true(irqchip_mmio(machine->chip, true, IOAPIC + 0x10, 4, &value));
		assert_true(irqchip_mmio(machine->chip, true, IOAPIC, 1, &i));
		assert_true(irqchip_mmio(machine->chip, false, IOAPIC + 0x10, 4, &value));
		assert_int_equal(value, expected[i]);
		assert_true(irqchip_mmio(machine->chip, false, IOAPIC, 8, &wide));
		assert_int_equal(wide, i);
	}
	assert_true(irqchip_mmio(machine->chip, false, IOAPIC + 0x20, 4, &value));
	assert_int_equal(value, 0);
	assert_false(irqchip_mmio(machine->chip, false, IOAPIC + 0x100, 4, &value));
	assert_false(irqchip_mmio(machine->chip, false, IOAPIC - 4, 4, &value));
}

static void test_irqchip_state(void **state)
{
	struct machine *machine = *state;
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

	assert_int_equal(irqchip_get(machine->chip, &chip), 0);
	assert_int_equal(chip.chip.ioapic.base_address, IOAPIC);
	assert_int_equal(chip.chip.ioapic.redirtbl[3].bits, PIN_MASKED);
	/* A request in the state that is set is sent. */
	chip.chip.ioapic.redirtbl[3].bits = 1ull << 56 | 0x33;
	chip.chip.ioapic.irr = 1 << 3;
	assert_int_equal(irqchip_set(machine->chip, &chip), 0);
	assert_interrupt(machine->lapic[1], 0x33);
	assert_int_equal(irqchip_get(machine->chip, &chip), 0);
	assert_int_equal(chip.chip.ioapic.irr, 0);

	start_pics(machine, 1);
	chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
	assert_int_equal(irqchip_get(machine->chip, &chip), 0);
	assert_int_equal(chip.chip.pic.irq_base, 0x28);
	assert_int_equal(chip.chip.pic.elcr_mask, 0xde);
	chip.chip.pic.irr = 1 << 1;
	assert_int_equal(irqchip_set(machine->chip, &chip), 0);
	assert_int_equal(lapic_take(machine->lapic[0]), 0x29);
	chip.chip_id = 3;
	assert_int_equal(irqchip_get(machine->chip, &chip), -EINVAL);
	assert_int_equal(irqchip_set(machine->chip, &chip), -EINVAL);
}

static struct kvm_irq_routing_entry to_pin(uint32_t gsi, uint32_t chip, uint32_t pin)
{
	return (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {chip, pin},
	};
}

static struct kvm_irq_routing_entry to_msi(uint32_t gsi, uint32_t address, uint32_t data)
{
	return (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {.address_lo = address, .data = data},
	};
}

static void assert_routing(struct machine *machine, int r, struct kvm_irq_routing_entry a,
			   struct kvm_irq_routing_entry b)
{
	const struct kvm_irq_routing_entry entries[] = {a, b};

	assert_int_equal(irq_set_routing(machine->chip, 2, entries), r);
}

static void test_routing(void **state)
{
	struct machine *machine = *state;
	const struct kvm_irq_routing_entry msi = to_msi(100, MSI_ADDRESS | 3 << 12, 0x48);
	struct kvm_irq_routing_entry bad = msi;

	assert_routing(machine, 0, msi, to_pin(4, KVM_IRQCHIP_IOAPIC, 20));
	assert_int_equal(raise_line(machine, 100), 1);
	assert_int_equal(lower_line(machine, 100), -1);
	assert_interrupt(machine->lapic[3], 0x48);
	ioapic_write_pin(machine, 20, 0x49);
	assert_int_equal(raise_line(machine, 4), 1);
	assert_interrupt(machine->lapic[0], 0x49);
	assert_int_equal(raise_line(machine, 20), -1); /* the default is gone */
	bad.gsi = GSIS_MAX;
	assert_routing(machine, -EINVAL, msi, bad);
	bad = msi;
	bad.type = KVM_IRQ_ROUTING_HV_SINT;
	assert_routing(machine, -EINVAL, to_pin(4, 0, 4), bad);
	bad = to_pin(4, KVM_IRQCHIP_IOAPIC, 20);
	bad.flags = 1;
	assert_routing(machine, -EINVAL, msi, bad);
	assert_routing(machine, -EINVAL, msi, msi);
	assert_routing(machine, -EINVAL, msi, to_pin(100, 0, 1));
	assert_routing(machine, -EINVAL, to_pin(4, 0, 4), to_pin(4, 0, 5));
	assert_routing(machine, -EINVAL, msi, to_pin(4, 0, 8));
	assert_routing(machine, -EINVAL, msi, to_pin(4, 3, 0));
	assert_routing(machine, -EINVAL, msi, to_pin(4, KVM_IRQCHIP_IOAPIC, 24));
	assert_int_equal(raise_line(machine, 100), 1); /* a failure changes nothing */
	assert_int_equal(irq_set_routing(machine->chip, 0, NULL), 0);
	assert_int_equal(raise_line(machine, 100), -1);
}

static void test_msi(void **state)
{
	struct machine *machine = *state;

	apic_write(machine->lapic[1], APIC_LDR, 0x02000000);
	apic_write(machine->lapic[2], APIC_LDR, 0x04000000);
	assert_int_equal(irq_send_msi(machine->chip, MSI_ADDRESS | 2 << 12, 0x42), 1);
	assert_interrupt(machine->lapic[2], 0x42);
	assert_int_equal(irq_send_msi(machine->chip, MSI_ADDRESS | 6 << 12 | 4, 0x43), 2);
	assert_interrupt(machine->lapic[1], 0x43);
	assert_interrupt(machine->lapic[2], 0x43);
	/* With the redirection hint to one of them: the 0x45 % 2nd. */
	assert_int_equal(irq_send_msi(machine->chip, MSI_ADDRESS | 6 << 12 | 0xc, 0x45), 1);
	assert_int_equal(lapic_pending(machine->lapic[1]), -1);
	assert_interrupt(machine->lapic[2], 0x45);
	/* Nobody is there, which KVM says of a broadcast only. */
	assert_int_equal(irq_send_msi(machine->chip, MSI_ADDRESS | 9 << 12, 0x42), 0);
	apic_write(machine->lapic[1], APIC_SPIV, 0xff);
	assert_int_equal(irq_send_msi(machine->chip, MSI_ADDRESS | 1 << 12, 0x42), 0);
	assert_int_equal(irq_send_msi(machine->chip, MSI_ADDRESS | 1 << 12, 0x400), 1);
	assert_true(lapic_take_nmi(machine->lapic[1]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IRQ_TEST(test_pic_edge),      IRQ_TEST(test_pic_slave_level),
		IRQ_TEST(test_pic_modes),     IRQ_TEST(test_ioapic_edge),
		IRQ_TEST(test_ioapic_level),  IRQ_TEST(test_ioapic_registers),
		IRQ_TEST(test_irqchip_state), IRQ_TEST(test_routing),
		IRQ_TEST(test_msi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
