// SPDX-License-Identifier: GPL-2.0-or-later
/* The port I/O bus.  Links with: vmm/bus.c. */
#include "vmm/bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

struct access {
	unsigned n;
	uint16_t offset;
	bool is_write;
	unsigned size;
	uint32_t value;
};

static void record(void *opaque, uint16_t offset, bool is_write, unsigned size, uint32_t *value)
{
	struct access *access = opaque;

	*access = (struct access){access->n + 1, offset, is_write, size, *value};
	if (!is_write)
		*value = 0x44332211;
}

static void test_access_reaches_its_device(void **state)
{
	struct access a = {0}, b = {0};
	struct bus bus = {0};
	uint32_t data = 0xddccbbaa;

	(void)state;
	assert_int_equal(bus_add(&bus, 0x3f8, 8, record, &a), 0);
	assert_int_equal(bus_add(&bus, 0x400, 4, record, &b), 0);

	bus_pio(&bus, 0x3ff, true, 1, &data);
	assert_int_equal(a.n, 1);
	assert_int_equal(a.offset, 7);
	assert_true(a.is_write);
	assert_int_equal(a.value, 0xaa);
	bus_pio(&bus, 0x3f8, true, 2, &data);
	assert_int_equal(a.value, 0xbbaa);
	assert_int_equal(a.size, 2);

	/* A read changes only the bytes that were asked for, and starts as all ones. */
	bus_pio(&bus, 0x402, false, 2, &data);
	assert_int_equal(b.n, 1);
	assert_int_equal(b.offset, 2);
	assert_int_equal(b.value, 0xffffffff);
	assert_int_equal(data, 0xddcc2211);
	bus_pio(&bus, 0x400, false, 4, &data);
	assert_int_equal(data, 0x44332211);
}

static void test_unclaimed_reads_ones(void **state)
{
	struct access a = {0};
	struct bus bus = {0};
	uint32_t data = 0;

	(void)state;
	assert_int_equal(bus_add(&bus, 0x70, 2, record, &a), 0);
	bus_pio(&bus, 0x80, true, 1, &data);
	bus_pio(&bus, 0x6f, false, 1, &data);
	assert_int_equal(data, 0xff);
	bus_pio(&bus, 0xffff, false, 4, &data);
	assert_int_equal(data, 0xffffffff);

	/* Past the end of the range, or beginning in front of it. */
	data = 0;
	bus_pio(&bus, 0x71, false, 2, &data);
	assert_int_equal(data, 0xffff);
	bus_pio(&bus, 0x6f, true, 2, &data);
	bus_pio(&bus, 0x70, false, 3, &data);
	assert_int_equal(a.n, 0);
}

static void test_bad_ranges_are_refused(void **state)
{
	struct access a = {0};
	struct bus bus = {0};

	(void)state;
	assert_int_equal(bus_add(&bus, 0x100, 0, record, &a), -EINVAL);
	assert_int_equal(bus_add(&bus, 0xffff, 2, record, &a), -EINVAL);
	assert_int_equal(bus_add(&bus, 0xffff, 1, record, &a), 0);
	assert_int_equal(bus_add(&bus, 0x100, 8, record, &a), 0);
	assert_int_equal(bus_add(&bus, 0x107, 1, record, &a), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x0ff, 2, record, &a), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x0f0, 0x100, record, &a), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x108, 1, record, &a), 0);
	while (bus.n_ranges < VMM_BUS_PORTS_MAX)
		assert_int_equal(bus_add(&bus, 0x1000 + bus.n_ranges, 1, record, &a), 0);
	assert_int_equal(bus_add(&bus, 0x2000, 1, record, &a), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_access_reaches_its_device),
		cmocka_unit_test(test_unclaimed_reads_ones),
		cmocka_unit_test(test_bad_ranges_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
