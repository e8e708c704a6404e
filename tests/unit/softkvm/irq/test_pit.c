// SPDX-License-Identifier: GPL-2.0-or-later
/* The PIT: counters, and the ticks of the first by the IO-APIC. */
#include "machine.h"

#define VECTOR	    0x30u
#define MS	    1000000u
#define COUNT_10_MS 11931u /* of 1193181 Hz; 9999322 ns */
#define TICK_NS	    9999321u
#define MODE(n)	    ((n) << 1)
#define WORD	    0x30u
#define COUNTER(n)  ((n) << 6)

static void load(struct machine *machine, unsigned counter, unsigned mode, uint16_t count)
{
	outb(machine, 0x43, (uint8_t)(COUNTER(counter) | WORD | MODE(mode)));
	outb(machine, (uint16_t)(0x40 + counter), (uint8_t)count);
	outb(machine, (uint16_t)(0x40 + counter), (uint8_t)(count >> 8));
}

static uint16_t read_word(struct machine *machine, unsigned counter)
{
	uint16_t low = inb(machine, (uint16_t)(0x40 + counter));

	return (uint16_t)(low | inb(machine, (uint16_t)(0x40 + counter)) << 8);
}

static int setup(void **state)
{
	const struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct machine *machine;

	machine_setup(state);
	machine = *state;
	assert_int_equal(pit_create(machine->chip, &config), 0);
	assert_int_equal(pit_create(machine->chip, &config), -EEXIST);
	ioapic_write_pin(machine, 0, VECTOR);
	apic_write(machine->lapic[0], APIC_LVT_LINT0, LVT_MASKED); /* not by the 8259 */
	return 0;
}

/* Ticks that come one after the other, each being ended. */
static unsigned ticks(struct machine *machine)
{
	unsigned n = 0;

	lapic_poll(machine->lapic[0]);
	while (lapic_pending(machine->lapic[0]) == VECTOR) {
		assert_interrupt(machine->lapic[0], VECTOR);
		n++;
	}
	return n;
}

static void test_ticks(void **state)
{
	struct machine *machine = *state;
	uint64_t begin = machine->now;

	assert_true(lapic_deadline(machine->lapic[0]) == UINT64_MAX);
	machine->kicked = 0;
	load(machine, 0, 2, COUNT_10_MS);
	assert_int_equal(machine->kicked, 1); /* the BSP has a deadline now */
	assert_in_range(lapic_deadline(machine->lapic[0]), begin + TICK_NS, begin + TICK_NS + 1);
	assert_true(lapic_deadline(machine->lapic[1]) == UINT64_MAX);
	assert_int_equal(ticks(machine), 0);
	machine->now = begin + 10 * MS;
	assert_int_equal(ticks(machine), 1);
	/* Missed ones are made up for, */
	machine->now = begin + 51 * MS;
	assert_int_equal(ticks(machine), 4);
	/* or not. */
	assert_int_equal(pit_reinject(machine->chip, false), 0);
	machine->now = begin + 101 * MS;
	assert_int_equal(ticks(machine), 1);
	/* Nor behind a mask. */
	assert_int_equal(pit_reinject(machine->chip, true), 0);
	ioapic_write_pin(machine, 0, PIN_MASKED | VECTOR);
	machine->now = begin + 131 * MS;
	assert_int_equal(ticks(machine), 0);
	ioapic_write_pin(machine, 0, VECTOR);
	machine->now = begin + 141 * MS;
	assert_int_equal(ticks(machine), 1);
	load(machine, 0, 0, COUNT_10_MS);
	machine->now += 11 * MS;
	assert_int_equal(ticks(machine), 1);
	machine->now += 11 * MS;
	assert_int_equal(ticks(machine), 0);
	load(machine, 0, 2, 2); /* 1.7 us: too short */
	machine->now += 10;
	machine->now += 2 * 1000;
	assert_int_equal(ticks(machine), 1);
	assert_in_range(lapic_deadline(machine->lapic[0]) - machine->now, 150000, TIMER_PERIOD_MIN);
}

static void test_watchdog(void **state)
{
	struct machine *machine = *state;

	apic_write(machine->lapic[2], APIC_LVT_LINT0, DELIVER_NMI << 8);
	load(machine, 0, 2, COUNT_10_MS);
	machine->now += 10 * MS;
	lapic_poll(machine->lapic[0]);
	assert_true(lapic_take_nmi(machine->lapic[2]));
	assert_false(lapic_take_nmi(machine->lapic[1]));
}

static void test_counting(void **state)
{
	struct machine *machine = *state;
	uint16_t latched;

	load(machine, 2, 0, 11932); /* 10 ms */
	machine->now += 5 * MS;
	assert_in_range(read_word(machine, 2), 5966, 5968);
	outb(machine, 0x43, COUNTER(2)); /* latch */
	machine->now += 1 * MS;
	outb(machine, 0x43, COUNTER(2)); /* there is one */
	latched = read_word(machine, 2);
	assert_in_range(latched, 5966, 5968);
	assert_in_range(read_word(machine, 2), 4773, 4775);
	machine->now += 5 * MS;
	assert_in_range(read_word(machine, 2), 0x10000 - 1194, 0x10000 - 1192); /* wraps */
	load(machine, 2, 2, 11932);
	machine->now += 15 * MS;
	assert_in_range(read_word(machine, 2), 5965, 5968);
	load(machine, 2, 3, 11932);
	machine->now += 3 * MS; /* by two */
	assert_in_range(read_word(machine, 2), 11932 - 2 * 3580, 11932 - 2 * 3579 + 1);
	/* Read-back: status, then count. */
	outb(machine, 0x43, 0xc0 | 2 << 2);
	assert_int_equal(inb(machine, 0x42), 0x80 | WORD | MODE(3));
	(void)read_word(machine, 2);
	outb(machine, 0x43, COUNTER(2) | 0x10 | MODE(7)); /* low byte; mode 7 is 3 */
	outb(machine, 0x42, 0x80);
	outb(machine, 0x43, 0xe0 | 2 << 2);
	assert_int_equal(inb(machine, 0x42), 0x80 | 0x10 | MODE(3));
	assert_int_equal(inb(machine, 0x42), 0x80);
	assert_int_equal(inb(machine, 0x42), 0x80);
	outb(machine, 0x43, COUNTER(2) | 0x20 | MODE(2)); /* high byte */
	outb(machine, 0x42, 0x12);
	assert_int_equal(inb(machine, 0x42), 0x12);
}

static void test_speaker(void **state)
{
	struct machine *machine = *state;
	struct kvm_pit_state2 saved;

	machine->now = 1u << 20;
	load(machine, 2, 1, 11932);
	machine->now += 1u << 24; /* 17 ms: over */
	assert_int_equal(inb(machine, 0x61), 0);
	outb(machine, 0x61, 3); /* the gate starts it anew */
	assert_int_equal(inb(machine, 0x61), 0x23);
	machine->now += 1u << 14;
	assert_int_equal(inb(machine, 0x61), 0x33);
	machine->now += 1u << 24;
	assert_int_equal(inb(machine, 0x61), 0x13);
	assert_int_equal(pit_get(machine->chip, &saved), 0);
	assert_int_equal(saved.flags, KVM_PIT_FLAGS_SPEAKER_DATA_ON);
	outb(machine, 0x61, 0);
	assert_int_equal(pit_get(machine->chip, &saved), 0);
	assert_int_equal(saved.flags, 0);
	assert_int_equal(saved.channels[2].gate, 0);
}

static void test_state(void **state)
{
	struct machine *machine = *state;
	struct kvm_pit_state2 saved;

	assert_int_equal(pit_get(machine->chip, &saved), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(saved.channels[i].mode, 0xff);
		assert_int_equal(saved.channels[i].count, 0x10000);
		assert_int_equal(saved.channels[i].gate, i != 2);
	}
	saved.channels[0].mode = 2;
	saved.channels[0].count = COUNT_10_MS;
	assert_int_equal(pit_set(machine->chip, &saved), 0);
	machine->now += 10 * MS;
	assert_int_equal(ticks(machine), 1);
	saved.flags = KVM_PIT_FLAGS_HPET_LEGACY;
	assert_int_equal(pit_set(machine->chip, &saved), 0);
	machine->now += 50 * MS;
	assert_int_equal(ticks(machine), 0);
	assert_int_equal(pit_get(machine->chip, &saved), 0);
	assert_int_equal(saved.channels[0].mode, 2);
	assert_int_equal(saved.flags, KVM_PIT_FLAGS_HPET_LEGACY);
}

static void test_none(void **state)
{
	struct machine *machine = *state;
	struct kvm_pit_state2 saved = {0};

	assert_int_equal(pit_get(machine->chip, &saved), -ENXIO);
	assert_int_equal(pit_set(machine->chip, &saved), -ENXIO);
	assert_int_equal(pit_reinject(machine->chip, true), -ENXIO);
}

#define PIT_TEST(test) cmocka_unit_test_setup_teardown(test, setup, machine_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIT_TEST(test_ticks),	PIT_TEST(test_watchdog), PIT_TEST(test_counting),
		PIT_TEST(test_speaker), PIT_TEST(test_state),	 IRQ_TEST(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
