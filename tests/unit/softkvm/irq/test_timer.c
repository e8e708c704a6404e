// SPDX-License-Identifier: GPL-2.0-or-later
/* The LAPIC's timer by a clock that the test moves. */
#include "machine.h"

#define VECTOR		 0x40u
#define MSR_DEADLINE	 0x6e0u
#define DIVIDE_BY_1	 0xbu
#define DIVIDE_BY_2	 0x0u
#define DIVIDE_BY_128	 0xau
#define LVT_TSC_DEADLINE (TIMER_TSC_DEADLINE | VECTOR)

static void start(struct lapic *lapic, uint32_t mode, uint32_t divide, uint32_t count)
{
	apic_write(lapic, APIC_LVT_TIMER, mode | VECTOR);
	apic_write(lapic, APIC_DIVIDE, divide);
	apic_write(lapic, APIC_INITIAL_COUNT, count);
}

static bool fires(struct lapic *lapic)
{
	lapic_poll(lapic);
	if (lapic_pending(lapic) < 0)
		return false;
	assert_interrupt(lapic, VECTOR);
	return true;
}

static void test_one_shot(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[1];
	uint64_t begin = machine->now;

	assert_true(lapic_deadline(lapic) == UINT64_MAX);
	start(lapic, TIMER_ONE_SHOT, DIVIDE_BY_2, 1000);
	assert_int_equal(lapic_deadline(lapic), begin + 2000);
	machine->now = begin + 500;
	assert_int_equal(apic_read(lapic, APIC_CURRENT_COUNT), 750);
	machine->now = begin + 1999;
	assert_false(fires(lapic));
	machine->now = begin + 2000;
	assert_int_equal(apic_read(lapic, APIC_CURRENT_COUNT), 0);
	assert_int_equal(lapic_deadline(lapic), 0); /* at once */
	assert_true(fires(lapic));
	assert_true(lapic_deadline(lapic) == UINT64_MAX);
	machine->now += 10000;
	assert_false(fires(lapic));
	start(lapic, TIMER_ONE_SHOT, DIVIDE_BY_128, 10);
	assert_int_equal(lapic_deadline(lapic), machine->now + 1280);
	apic_write(lapic, APIC_INITIAL_COUNT, 0);
	assert_true(lapic_deadline(lapic) == UINT64_MAX);
}

static void test_periodic(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[1];
	uint64_t begin = machine->now;

	start(lapic, TIMER_PERIODIC, DIVIDE_BY_1, 1000000);
	machine->now = begin + 1000000;
	assert_true(fires(lapic));
	assert_int_equal(lapic_deadline(lapic), begin + 2000000);
	machine->now = begin + 1250000;
	assert_int_equal(apic_read(lapic, APIC_CURRENT_COUNT), 750000);
	/* Ticks that nobody took are one. */
	machine->now = begin + 5500000;
	assert_true(fires(lapic));
	assert_false(fires(lapic));
	assert_int_equal(lapic_deadline(lapic), begin + 6000000);
	apic_write(lapic, APIC_LVT_TIMER, TIMER_PERIODIC | LVT_MASKED | VECTOR);
	machine->now = begin + 6000000;
	assert_false(fires(lapic));
	/* A period that is too short is lengthened. */
	start(lapic, TIMER_PERIODIC, DIVIDE_BY_1, 10);
	assert_int_equal(lapic_deadline(lapic), machine->now + TIMER_PERIOD_MIN);
}

static void test_divisor(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[1];
	uint64_t begin = machine->now;

	start(lapic, TIMER_ONE_SHOT, DIVIDE_BY_2, 1000);
	machine->now = begin + 1000;
	apic_write(lapic, APIC_DIVIDE, DIVIDE_BY_128);
	assert_int_equal(apic_read(lapic, APIC_DIVIDE), DIVIDE_BY_128);
	assert_int_equal(lapic_deadline(lapic), machine->now + 64000);
	assert_int_equal(apic_read(lapic, APIC_CURRENT_COUNT), 500);
	apic_write(lapic, APIC_DIVIDE, 0xfffffff4); /* bit 2 is none */
	assert_int_equal(apic_read(lapic, APIC_DIVIDE), DIVIDE_BY_2);
}

static void test_tsc_deadline(void **state)
{
	const struct lapic_features old = {.physical_bits = 48};
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[1];
	uint64_t value;

	machine->tsc = 1000000000;
	assert_true(lapic_wrmsr(lapic, MSR_DEADLINE, 5)); /* in another mode it is ignored */
	assert_true(lapic_rdmsr(lapic, MSR_DEADLINE, &value));
	assert_int_equal(value, 0);
	start(lapic, TIMER_ONE_SHOT, DIVIDE_BY_1, 1000);
	apic_write(lapic, APIC_LVT_TIMER, LVT_TSC_DEADLINE);
	assert_int_equal(apic_read(lapic, APIC_INITIAL_COUNT), 0);
	assert_true(lapic_deadline(lapic) == UINT64_MAX);
	apic_write(lapic, APIC_INITIAL_COUNT, 1000);
	assert_int_equal(apic_read(lapic, APIC_INITIAL_COUNT), 0);
	assert_true(lapic_wrmsr(lapic, MSR_DEADLINE, machine->tsc + 20000000));
	assert_true(lapic_rdmsr(lapic, MSR_DEADLINE, &value));
	assert_int_equal(value, machine->tsc + 20000000);
	/* At 2 GHz these are 10 ms; not before. */
	assert_in_range(lapic_deadline(lapic) - machine->now, 9999999, 11000000);
	machine->tsc += 19999998; /* and one of the vCPU's own */
	assert_false(fires(lapic));
	machine->tsc++;
	assert_true(fires(lapic));
	assert_true(lapic_rdmsr(lapic, MSR_DEADLINE, &value));
	assert_int_equal(value, 0);
	assert_true(lapic_wrmsr(lapic, MSR_DEADLINE, 1)); /* in the past */
	assert_true(fires(lapic));
	assert_true(lapic_wrmsr(lapic, MSR_DEADLINE, UINT64_MAX));
	assert_true(lapic_deadline(lapic) > machine->now);
	assert_true(lapic_wrmsr(lapic, MSR_DEADLINE, 0));
	assert_true(lapic_deadline(lapic) == UINT64_MAX);
	lapic_set_features(lapic, &old);
	apic_write(lapic, APIC_LVT_TIMER, LVT_TSC_DEADLINE);
	assert_int_equal(apic_read(lapic, APIC_LVT_TIMER), VECTOR);
}

/* The page takes the rest of a period along; the deadline, as in KVM, is an MSR's. */
static void test_migration(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[1], *other = machine->lapic[2];
	struct kvm_lapic_state page;
	uint32_t count;

	start(lapic, TIMER_PERIODIC, DIVIDE_BY_2, 1000000);
	machine->now += 500000;
	lapic_get(lapic, &page);
	memcpy(&count, page.regs + APIC_CURRENT_COUNT, sizeof(count));
	assert_int_equal(count, 750000);
	machine->now += 12345;
	assert_int_equal(lapic_set(other, &page), 0);
	assert_int_equal(lapic_deadline(other), machine->now + 1500000);
	machine->now += 1500000;
	assert_true(fires(other));
	assert_int_equal(lapic_deadline(other), machine->now + 2000000);

	/* A count that is longer than the period is cut. */
	count = UINT32_MAX;
	memcpy(page.regs + APIC_CURRENT_COUNT, &count, sizeof(count));
	assert_int_equal(lapic_set(other, &page), 0);
	assert_int_equal(lapic_deadline(other), machine->now + 2000000);
	lapic_init_signal(other);
	assert_true(lapic_deadline(other) == UINT64_MAX);
}

static void test_disabled(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[1];

	start(lapic, TIMER_ONE_SHOT, DIVIDE_BY_1, 1000);
	machine->now += 1000;
	assert_int_equal(apic_read(lapic, APIC_CURRENT_COUNT), 0); /* it is over */
	apic_write(lapic, APIC_SPIV, 0xff);
	apic_write(lapic, APIC_SPIV, SPIV_ON);
	apic_write(lapic, APIC_LVT_TIMER, VECTOR);
	assert_false(fires(lapic));
	start(lapic, TIMER_RESERVED, DIVIDE_BY_1, 1000);
	assert_true(lapic_deadline(lapic) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IRQ_TEST(test_one_shot),     IRQ_TEST(test_periodic),  IRQ_TEST(test_divisor),
		IRQ_TEST(test_tsc_deadline), IRQ_TEST(test_migration), IRQ_TEST(test_disabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
