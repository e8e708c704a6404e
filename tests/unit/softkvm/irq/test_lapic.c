// SPDX-License-Identifier: GPL-2.0-or-later
/* The LAPIC's registers, priorities, IPIs, base MSR, and its page for KVM_GET/SET_LAPIC. */
#include "machine.h"

static uint32_t page_reg(const struct kvm_lapic_state *page, unsigned offset)
{
	uint32_t value;

	memcpy(&value, page->regs + offset, sizeof(value));
	return value;
}

static void page_set(struct kvm_lapic_state *page, unsigned offset, uint32_t value)
{
	memcpy(page->regs + offset, &value, sizeof(value));
}

static void test_reset(void **state)
{
	struct machine *machine = *state;
	struct kvm_lapic_state page;

	lapic_init_signal(machine->lapic[0]);
	lapic_init_signal(machine->lapic[2]);
	lapic_get(machine->lapic[0], &page);
	assert_int_equal(page_reg(&page, APIC_ID), 0);
	assert_int_equal(page_reg(&page, APIC_VERSION), 0x50014);
	assert_int_equal(page_reg(&page, APIC_DFR), 0xffffffff);
	assert_int_equal(page_reg(&page, APIC_SPIV), 0xff);
	assert_int_equal(page_reg(&page, APIC_LVT_LINT0), 0x700); /* of the BSP, by firmware */
	assert_int_equal(page_reg(&page, APIC_LVT_TIMER), 0x10000);
	lapic_get(machine->lapic[2], &page);
	assert_int_equal(page_reg(&page, APIC_ID), 2u << 24);
	assert_int_equal(page_reg(&page, APIC_LVT_LINT0), 0x10000);
	assert_int_equal(lapic_get_base(machine->lapic[0]), 0xfee00900);
	assert_int_equal(lapic_get_base(machine->lapic[2]), 0xfee00800);
}

static void test_widths(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[1];
	uint32_t value = 0x55;
	uint16_t half;
	uint8_t byte;

	lapic_mmio_write(lapic, APIC_TPR, 2, &value); /* not 32 bits */
	lapic_mmio_write(lapic, APIC_TPR + 4, 4, &value);
	assert_int_equal(apic_read(lapic, APIC_TPR), 0);
	apic_write(lapic, APIC_ID, 0xab000000);
	lapic_mmio_read(lapic, APIC_ID + 3, 1, &byte);
	assert_int_equal(byte, 0xab);
	lapic_mmio_read(lapic, APIC_ID + 2, 2, &half);
	assert_int_equal(half, 0xab00);
	lapic_mmio_read(lapic, APIC_ID + 3, 2, &half);
	assert_int_equal(half, 0);
	assert_int_equal(apic_read(lapic, 0xff0), 0);
	assert_int_equal(apic_read(lapic, APIC_EOI), 0);
}

static void test_priority(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[0];

	apic_write(lapic, APIC_ICR, ICR_SELF | 0x41);
	apic_write(lapic, APIC_ICR, ICR_SELF | 0x52);
	apic_write(lapic, APIC_ICR, ICR_SELF | 0x43);
	assert_int_equal(lapic_take(lapic), 0x52);
	assert_int_equal(apic_read(lapic, APIC_PPR), 0x50);
	assert_int_equal(lapic_pending(lapic), -1);   /* below what is in service */
	apic_write(lapic, APIC_ICR, ICR_SELF | 0x5f); /* of the same class */
	assert_int_equal(lapic_pending(lapic), -1);
	apic_write(lapic, APIC_ICR, ICR_SELF | 0x60);
	assert_int_equal(lapic_take(lapic), 0x60);
	apic_write(lapic, APIC_EOI, 0);
	apic_write(lapic, APIC_EOI, 0);
	assert_interrupt(lapic, 0x5f);
	lapic_set_tpr(lapic, 4);
	assert_int_equal(apic_read(lapic, APIC_TPR), 0x40);
	assert_int_equal(lapic_pending(lapic), -1);
	apic_write(lapic, APIC_TPR, 0x3f);
	assert_int_equal(lapic_get_tpr(lapic), 3);
	assert_int_equal(apic_read(lapic, APIC_PPR), 0x3f);
	assert_interrupt(lapic, 0x43);
	assert_interrupt(lapic, 0x41);
	assert_interrupt(lapic, -1);
}

static void test_ipi_physical(void **state)
{
	struct machine *machine = *state;

	apic_ipi(machine->lapic[0], 2, 0x1000 | 0x44); /* a busy bit that is written stays clear */
	assert_int_equal(apic_read(machine->lapic[0], APIC_ICR), 0x44);
	assert_int_equal(machine->kicked, 1 << 2);
	assert_interrupt(machine->lapic[2], 0x44);
	apic_ipi(machine->lapic[0], 9, 0x44);
	assert_no_interrupts(machine);
	apic_ipi(machine->lapic[0], 0xff, 0x45);
	for (unsigned i = 0; i < N_LAPICS; i++)
		assert_interrupt(machine->lapic[i], 0x45);
	apic_write(machine->lapic[1], APIC_SPIV, 0xff); /* disabled by software */
	apic_ipi(machine->lapic[0], 0, ICR_ALL | 0x46);
	assert_interrupt(machine->lapic[0], 0x46);
	assert_interrupt(machine->lapic[1], -1);
	assert_interrupt(machine->lapic[3], 0x46);
	apic_ipi(machine->lapic[3], 0, ICR_OTHERS | 0x47);
	assert_interrupt(machine->lapic[0], 0x47);
	assert_interrupt(machine->lapic[2], 0x47);
	assert_interrupt(machine->lapic[2], 0x46);
	assert_interrupt(machine->lapic[3], -1);
	apic_ipi(machine->lapic[0], 2, ICR_LEVEL | 0x48); /* level deassert */
	assert_interrupt(machine->lapic[2], -1);
}

static void test_ipi_logical(void **state)
{
	struct machine *machine = *state;

	for (unsigned i = 0; i < N_LAPICS; i++)
		apic_write(machine->lapic[i], APIC_LDR, 0x01000000u << i | 0x123456);
	assert_int_equal(apic_read(machine->lapic[1], APIC_LDR), 0x02000000);
	apic_ipi(machine->lapic[0], 0x0a, ICR_LOGICAL | 0x44);
	assert_interrupt(machine->lapic[0], -1);
	assert_interrupt(machine->lapic[1], 0x44);
	assert_interrupt(machine->lapic[2], -1);
	assert_interrupt(machine->lapic[3], 0x44);
	for (unsigned i = 0; i < N_LAPICS; i++) {
		apic_write(machine->lapic[i], APIC_DFR, 0);
		apic_write(machine->lapic[i], APIC_LDR, (i / 2 << 4 | 1u << i % 2) << 24);
	}
	assert_int_equal(apic_read(machine->lapic[1], APIC_DFR), 0x0fffffff);
	apic_ipi(machine->lapic[0], 0x12, ICR_LOGICAL | 0x45); /* cluster 1, second */
	assert_interrupt(machine->lapic[1], -1);
	assert_interrupt(machine->lapic[2], -1);
	assert_interrupt(machine->lapic[3], 0x45);
	apic_ipi(machine->lapic[0], 0xff, ICR_LOGICAL | 0x46);
	for (unsigned i = 0; i < N_LAPICS; i++)
		assert_interrupt(machine->lapic[i], 0x46);
}

static void test_lowest_priority(void **state)
{
	struct machine *machine = *state;

	for (unsigned i = 0; i < N_LAPICS; i++)
		apic_write(machine->lapic[i], APIC_LDR, 0x01000000u << i);
	/* The vector chooses: the 0x45 % 3rd of 1, 2 and 3. */
	apic_ipi(machine->lapic[0], 0x0e, ICR_LOGICAL | ICR_LOW | 0x45);
	assert_interrupt(machine->lapic[1], 0x45);
	assert_no_interrupts(machine);
	apic_ipi(machine->lapic[0], 0x0e, ICR_LOGICAL | ICR_LOW | 0x46);
	assert_interrupt(machine->lapic[2], 0x46);
	assert_no_interrupts(machine);
	apic_write(machine->lapic[2], APIC_SPIV, 0xff);
	/* KVM looks who is there only if it is no table that tells. */
	apic_ipi(machine->lapic[0], 0x0e, ICR_LOGICAL | ICR_LOW | 0x49);
	assert_no_interrupts(machine);
	apic_write(machine->lapic[0], APIC_ICR, ICR_OTHERS | ICR_LOW | 0x49);
	assert_interrupt(machine->lapic[3], 0x49);
	apic_ipi(machine->lapic[0], 0, ICR_LOGICAL | ICR_LOW | 0x49);
	assert_no_interrupts(machine);
	/* To everybody it is to everybody. */
	apic_ipi(machine->lapic[0], 0xff, ICR_LOW | 0x48);
	assert_interrupt(machine->lapic[0], 0x48);
	assert_interrupt(machine->lapic[1], 0x48);
}

static void test_signals(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[1];
	uint8_t vector = 0;

	apic_ipi(machine->lapic[0], 1, DELIVER_NMI << 8);
	assert_true(lapic_take_nmi(lapic));
	assert_false(lapic_take_nmi(lapic));
	apic_ipi(machine->lapic[0], 1, DELIVER_INIT << 8 | ICR_LEVEL); /* level deassert */
	assert_int_equal(lapic_peek_signal(lapic), LAPIC_NO_SIGNAL);
	apic_ipi(machine->lapic[0], 1, DELIVER_STARTUP << 8 | 0x12);
	apic_ipi(machine->lapic[0], 1, DELIVER_INIT << 8 | ICR_LEVEL | ICR_ASSERT);
	assert_int_equal(lapic_take_signal(lapic, &vector), LAPIC_INIT);
	assert_int_equal(lapic_take_signal(lapic, &vector), LAPIC_NO_SIGNAL);
	apic_ipi(machine->lapic[0], 1, DELIVER_INIT << 8 | ICR_ASSERT);
	apic_ipi(machine->lapic[0], 1, DELIVER_STARTUP << 8 | 0x9a);
	assert_int_equal(lapic_peek_signal(lapic), LAPIC_INIT);
	assert_int_equal(lapic_take_signal(lapic, &vector), LAPIC_INIT);
	assert_int_equal(lapic_take_signal(lapic, &vector), LAPIC_STARTUP);
	assert_int_equal(vector, 0x9a);
	assert_int_equal(lapic_peek_signal(lapic), LAPIC_NO_SIGNAL);
	lapic_set_startup_vector(lapic, 0x77);
	assert_int_equal(lapic_peek_signal(lapic), LAPIC_NO_SIGNAL);
	lapic_set_signal(lapic, LAPIC_STARTUP);
	assert_int_equal(lapic_take_signal(lapic, &vector), LAPIC_STARTUP);
	assert_int_equal(vector, 0x77);
}

static void test_lvt(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[1];

	apic_write(lapic, APIC_LVT_TIMER, 0xffffffff);
	assert_int_equal(apic_read(lapic, APIC_LVT_TIMER), 0x710ff);
	apic_write(lapic, APIC_LVT_LINT1, 0xfffeffff);
	assert_int_equal(apic_read(lapic, APIC_LVT_LINT1), 0xf7ff);
	apic_write(lapic, APIC_LVT_ERROR, 0xfffeffff);
	assert_int_equal(apic_read(lapic, APIC_LVT_ERROR), 0x10ff);
	apic_write(lapic, APIC_SPIV, 0xfffffeff);
	assert_int_equal(apic_read(lapic, APIC_SPIV), 0x2ff);
	assert_int_equal(apic_read(lapic, APIC_LVT_LINT1), 0x1f7ff); /* masked */
	apic_write(lapic, APIC_LVT_ERROR, 0x33);
	assert_int_equal(apic_read(lapic, APIC_LVT_ERROR), 0x10033);
}

static void test_base(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[3];
	const struct lapic_features old = {.physical_bits = 40};
	uint32_t value;

	apic_write(lapic, APIC_ID, 0x77000000);
	assert_int_equal(lapic_set_base(lapic, 0xfee00400), -EINVAL); /* x2APIC without APIC */
	assert_int_equal(lapic_set_base(lapic, 0xfee00801), -EINVAL);
	assert_int_equal(lapic_set_base(lapic, 0xfee00c00), 0);
	assert_int_equal(lapic_set_base(lapic, 0xfee00800), -EINVAL);
	lapic_mmio_read(lapic, APIC_ID, 4, &value);
	assert_int_equal(value, 0xffffffff);
	assert_int_equal(lapic_set_base(lapic, 0xfee00000), 0);
	assert_int_equal(lapic_set_base(lapic, 0xfee00c00), -EINVAL);
	assert_int_equal(lapic_set_base(machine->lapic[2], 0xfee00000), 0);
	apic_ipi(machine->lapic[0], 2, DELIVER_NMI << 8);
	apic_write(machine->lapic[0], APIC_ICR, ICR_OTHERS | DELIVER_NMI << 8);
	assert_false(lapic_take_nmi(machine->lapic[2]));
	assert_true(lapic_take_nmi(machine->lapic[1]));
	assert_int_equal(lapic_host_set_base(lapic, 0xfee00c00), 0);
	assert_int_equal(lapic_host_set_base(lapic, 0xfee00800), 0);
	assert_int_equal(apic_read(lapic, APIC_ID), 3u << 24);
	lapic_set_features(lapic, &old);
	assert_int_equal(lapic_host_set_base(lapic, 0xfee00c00), -EINVAL);
	assert_int_equal(lapic_host_set_base(lapic, 0x100fee00800), -EINVAL);
	assert_int_equal(lapic_host_set_base(lapic, 0xffee00800), 0);
	assert_int_equal(lapic_get_base(lapic), 0xffee00800);
}

static void test_x2apic(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = lapic_new(machine->chip, 40, 0x123, false);
	uint64_t value;

	assert_false(lapic_rdmsr(lapic, 0x802, &value));
	apic_x2apic(lapic);
	apic_x2apic(machine->lapic[1]);
	assert_true(lapic_rdmsr(lapic, 0x802, &value));
	assert_int_equal(value, 0x123);
	assert_true(lapic_rdmsr(lapic, 0x80d, &value));
	assert_int_equal(value, 0x120008);
	assert_false(lapic_wrmsr(lapic, 0x802, 0x5));
	assert_false(lapic_wrmsr(lapic, 0x80d, 0));
	assert_false(lapic_wrmsr(lapic, 0x828, 1)); /* ESR */
	assert_true(lapic_wrmsr(lapic, 0x828, 0));
	assert_false(lapic_rdmsr(lapic, 0x80e, &value)); /* no DFR, no ICR2 */
	assert_false(lapic_rdmsr(lapic, 0x831, &value));
	assert_false(lapic_rdmsr(lapic, 0x8ff, &value));
	assert_false(lapic_wrmsr(lapic, 0x808, 1ull << 32));
	assert_true(lapic_wrmsr(lapic, 0x80f, SPIV_ON));

	assert_true(lapic_wrmsr(machine->lapic[1], 0x830, 0x12300000055));
	assert_true(lapic_rdmsr(machine->lapic[1], 0x830, &value));
	assert_int_equal(value, 0x12300000055);
	assert_interrupt(lapic, 0x55);
	assert_true(lapic_wrmsr(machine->lapic[1], 0x830, 0x0012000800000000 | ICR_LOGICAL | 0x56));
	assert_interrupt(lapic, 0x56);
	assert_true(lapic_wrmsr(machine->lapic[1], 0x830, 0x0013000800000000 | ICR_LOGICAL | 0x57));
	assert_interrupt(lapic, -1);
	assert_true(lapic_wrmsr(lapic, 0x83f, 0x58));
	assert_interrupt(lapic, 0x58);
	assert_false(lapic_wrmsr(lapic, 0x83f, 0x158));
	assert_false(lapic_wrmsr(lapic, 0x830, 0x2058)); /* a reserved bit */
	/* 0xff is an ID for x2APICs, but not for devices. */
	assert_true(lapic_wrmsr(machine->lapic[1], 0x830, 0xff00000059));
	assert_interrupt(lapic, -1);
	assert_interrupt(machine->lapic[2], -1);
	assert_true(irq_send_msi(machine->chip, MSI_ADDRESS | 0xff000, 0x5a) == N_LAPICS + 1);
	assert_interrupt(lapic, 0x5a);
	assert_true(lapic_wrmsr(machine->lapic[1], 0x830, 0xffffffff0000005b));
	assert_interrupt(lapic, 0x5b);
	/* Among LAPICs of both modes, too */
	apic_write(machine->lapic[2], APIC_LDR, 0x04000000);
	assert_true(lapic_wrmsr(machine->lapic[1], 0x830, 0x0012000800000000 | ICR_LOGICAL | 0x5c));
	assert_interrupt(lapic, 0x5c);
	assert_true(lapic_wrmsr(machine->lapic[1], 0x830, 0x0013000800000000 | ICR_LOGICAL | 0x5d));
	assert_interrupt(lapic, -1);
	lapic_free(lapic);
}

static void test_page(void **state)
{
	struct machine *machine = *state;
	struct kvm_lapic_state page, again;
	struct lapic *lapic = machine->lapic[1];

	apic_ipi(machine->lapic[0], 1, 0x61);
	apic_ipi(machine->lapic[0], 1, ICR_LEVEL | ICR_ASSERT | 0x42);
	assert_int_equal(lapic_take(lapic), 0x61);
	lapic_get(lapic, &page);
	assert_int_equal(page_reg(&page, APIC_ISR + 0x30), 1 << 1);
	assert_int_equal(page_reg(&page, APIC_IRR + 0x20), 1 << 2);
	assert_int_equal(page_reg(&page, APIC_TMR + 0x20), 1 << 2);
	assert_int_equal(page_reg(&page, APIC_PPR), 0x60);
	page_set(&page, APIC_VERSION, 0);
	page_set(&page, APIC_PPR, 0);
	assert_int_equal(lapic_set(machine->lapic[2], &page), 0);
	lapic_get(machine->lapic[2], &again);
	assert_int_equal(page_reg(&again, APIC_VERSION), 0x50014);
	assert_int_equal(page_reg(&again, APIC_PPR), 0x60);
	page_set(&page, APIC_VERSION, 0x50014);
	page_set(&page, APIC_PPR, 0x60);
	assert_memory_equal(&page, &again, sizeof(page));
	apic_write(machine->lapic[2], APIC_EOI, 0);
	assert_interrupt(machine->lapic[2], 0x42);
}

static void test_page_x2apic(void **state)
{
	struct machine *machine = *state;
	struct kvm_lapic_state page;
	struct lapic *lapic = machine->lapic[1];
	uint64_t icr;

	apic_x2apic(lapic);
	assert_true(lapic_wrmsr(lapic, 0x830, 0x1234567800000055));
	lapic_get(lapic, &page);
	assert_int_equal(page_reg(&page, APIC_ID), 1u << 24);
	assert_int_equal(page_reg(&page, APIC_LDR), 2);
	assert_int_equal(page_reg(&page, APIC_ICR), 0x55);
	assert_int_equal(page_reg(&page, APIC_ICR2), 0x12345678);
	page_set(&page, APIC_LDR, 0);
	page_set(&page, APIC_ICR2, 0x87654321);
	assert_int_equal(lapic_set(lapic, &page), 0);
	assert_true(lapic_rdmsr(lapic, 0x830, &icr));
	assert_int_equal(icr, 0x8765432100000055);
	lapic_get(lapic, &page);
	assert_int_equal(page_reg(&page, APIC_ID), 1u << 24);
	assert_int_equal(page_reg(&page, APIC_LDR), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IRQ_TEST(test_reset),	    IRQ_TEST(test_widths),
		IRQ_TEST(test_priority),    IRQ_TEST(test_ipi_physical),
		IRQ_TEST(test_ipi_logical), IRQ_TEST(test_lowest_priority),
		IRQ_TEST(test_signals),	    IRQ_TEST(test_lvt),
		IRQ_TEST(test_base),	    IRQ_TEST(test_x2apic),
		IRQ_TEST(test_page),	    IRQ_TEST(test_page_x2apic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
