// SPDX-License-Identifier: GPL-2.0-or-later
/* The real-time clock.  Links with: vmm/dev/rtc.c vmm/bus.c. */
#include "vmm/dev/rtc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct fixture {
	struct rtc *rtc;
	struct bus bus;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->rtc = rtc_new();
	assert_non_null(f->rtc);
	assert_int_equal(rtc_add_ports(f->rtc, &f->bus), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	rtc_free(f->rtc);
	free(f);
	return 0;
}

/* time() would lag behind by up to a tick. */
static time_t host_time(void)
{
	struct timespec now;

	assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
	return now.tv_sec;
}

static uint8_t cmos(struct fixture *f, uint8_t index)
{
	uint8_t value;

	bus_pio(&f->bus, 0x70, true, 1, &index);
	bus_pio(&f->bus, 0x71, false, 1, &value);
	return value;
}

static void set_cmos(struct fixture *f, uint8_t index, uint8_t value)
{
	bus_pio(&f->bus, 0x70, true, 1, &index);
	bus_pio(&f->bus, 0x71, true, 1, &value);
}

static int decimal(uint8_t bcd)
{
	assert_true((bcd & 0x0f) < 10 && bcd >> 4 < 10);
	return (bcd >> 4) * 10 + (bcd & 0x0f);
}

/* The way drivers read the clock: not while it updates, and again if the second has changed. */
static struct tm guest_time(struct fixture *f)
{
	struct tm tm;

	do {
		while (cmos(f, 0x0a) & 0x80)
			;
		tm = (struct tm){
			.tm_sec = decimal(cmos(f, 0x00)),
			.tm_min = decimal(cmos(f, 0x02)),
			.tm_hour = decimal(cmos(f, 0x04)),
			.tm_mday = decimal(cmos(f, 0x07)),
			.tm_mon = decimal(cmos(f, 0x08)) - 1,
			.tm_year = decimal(cmos(f, 0x09)) + decimal(cmos(f, 0x32)) * 100 - 1900,
		};
	} while (decimal(cmos(f, 0x00)) != tm.tm_sec);
	return tm;
}

static void test_shows_the_time_of_the_host(void **state)
{
	struct fixture *f = *state;
	time_t before = host_time(), now;
	struct tm tm = guest_time(f);
	struct tm normalised = tm;

	assert_int_equal(cmos(f, 0x0b) & 0x06, 0x02); /* BCD, 24 h */
	assert_int_equal(cmos(f, 0x0d), 0x80);
	now = timegm(&normalised);
	assert_in_range(now, before, host_time());
	assert_int_equal(normalised.tm_hour, tm.tm_hour);
	assert_int_equal(decimal(cmos(f, 0x06)), normalised.tm_wday + 1);
}

static void test_update_announces_the_next_second(void **state)
{
	struct fixture *f = *state;
	struct timespec before, after;
	time_t start = host_time();
	bool is_announced;

	/* It is for a moment only, which a busy machine may have us miss, many times. */
	do {
		assert_int_equal(clock_gettime(CLOCK_REALTIME, &before), 0);
		is_announced = cmos(f, 0x0a) & 0x80;
		assert_int_equal(clock_gettime(CLOCK_REALTIME, &after), 0);
		assert_true(after.tv_sec - start < 100);
	} while (!is_announced || before.tv_sec != after.tv_sec);
	assert_true(after.tv_nsec > 990000000);
	while (cmos(f, 0x0a) & 0x80)
		;
	assert_int_equal(clock_gettime(CLOCK_REALTIME, &after), 0);
	assert_true(after.tv_sec > before.tv_sec);
}

static void test_cannot_be_set(void **state)
{
	struct fixture *f = *state;
	time_t before = host_time();
	struct tm tm;

	set_cmos(f, 0x0b, 0x82);
	set_cmos(f, 0x09, 0x01);
	set_cmos(f, 0x32, 0x19);
	set_cmos(f, 0x0b, 0x06); /* and stays BCD */
	assert_int_equal(cmos(f, 0x0b), 0x02);
	tm = guest_time(f);
	assert_in_range(timegm(&tm), before, host_time());
	set_cmos(f, 0x0c, 0xff);
	assert_int_equal(cmos(f, 0x0c), 0);
	set_cmos(f, 0x0d, 0);
	assert_int_equal(cmos(f, 0x0d), 0x80);
}

static void test_keeps_nvram(void **state)
{
	struct fixture *f = *state;
	uint16_t both = 0xab40;
	uint8_t byte;

	set_cmos(f, 0x0e, 0x12);
	set_cmos(f, 0x80 | 0x7f, 0x34); /* bit 7 is the NMI mask */
	bus_pio(&f->bus, 0x70, true, 2, &both);
	assert_int_equal(cmos(f, 0x0e), 0x12);
	assert_int_equal(cmos(f, 0x7f), 0x34);
	assert_int_equal(cmos(f, 0x40), 0xab);
	bus_pio(&f->bus, 0x70, false, 1, &byte);
	assert_int_equal(byte, 0xff);
}

static void test_relay(void **state)
{
	struct fixture *f = *state;
	uint8_t blob[256], again[256], value = 0;
	struct bus bus = {0};
	struct rtc *target = rtc_new();
	int len;

	set_cmos(f, 0x0e, 0x12);
	set_cmos(f, 0x7f, 0x34);
	set_cmos(f, 0x05, 0x59);
	len = rtc_ops.save(f->rtc, 1, blob);
	assert_int_equal(len, rtc_ops.state_size);
	assert_int_equal(rtc_add_ports(target, &bus), 0);
	assert_int_equal(rtc_ops.load(target, 1, blob, len), 0);
	assert_int_equal(rtc_ops.save(target, 1, again), len);
	assert_memory_equal(blob, again, len);
	/* The index came along: the second half of the guest's access hits the same register. */
	bus_pio(&bus, 0x71, false, 1, &value);
	assert_int_equal(value, 0x59);
	rtc_free(target);
}

static void test_bad_state_is_refused(void **state)
{
	static const struct {
		size_t offset;
		uint8_t value;
	} bad[] = {{0, 0x80}, {1, 1}, {7, 1}, {8 + 0x0a, 0x80}, {8 + 0x0b, 0x06}, {8 + 0x0b, 0x00}};
	struct fixture *f = *state;
	uint8_t good[256], blob[256], after[256];
	int len = rtc_ops.save(f->rtc, 1, good);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(blob, good, len);
		blob[bad[i].offset] = bad[i].value;
		assert_int_equal(rtc_ops.load(f->rtc, 1, blob, len), -EBADMSG);
	}
	assert_int_equal(rtc_ops.load(f->rtc, 1, good, len - 1), -EBADMSG);
	assert_int_equal(rtc_ops.load(f->rtc, 1, good, len + 1), -EBADMSG);
	assert_int_equal(rtc_ops.load(f->rtc, 1, good, 0), -EBADMSG);
	assert_int_equal(rtc_ops.load(f->rtc, 2, good, len), -EPROTONOSUPPORT);
	assert_int_equal(rtc_ops.save(f->rtc, 0, after), -EPROTONOSUPPORT);
	assert_int_equal(rtc_ops.save(f->rtc, 1, after), len);
	assert_memory_equal(after, good, len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_shows_the_time_of_the_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_update_announces_the_next_second, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_cannot_be_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keeps_nvram, setup, teardown),
		cmocka_unit_test_setup_teardown(test_relay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_state_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
