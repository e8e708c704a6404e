// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The real-time clock.
 *
 * It shows the host's CLOCK_REALTIME in UTC, BCD and 24-hour format.  The guest cannot set it:
 * writes to the time of day are ignored, and a relay has no clock to carry.  There are no
 * interrupts: the alarm registers are plain memory, the enable bits of register B keep their value,
 * and register C never shows a flag.
 */
#include "rtc.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../layout.h"

enum rtc_register {
	RTC_SECONDS = 0x00,
	RTC_MINUTES = 0x02,
	RTC_HOURS = 0x04,
	RTC_DAY_OF_WEEK = 0x06, /* 1: Sunday */
	RTC_DAY_OF_MONTH = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_A = 0x0a,
	RTC_B = 0x0b,
	RTC_C = 0x0c,
	RTC_D = 0x0d,
	RTC_CENTURY = 0x32,
};

#define RTC_A_UIP     0x80 /* update in progress */
#define RTC_A_DEFAULT 0x26 /* 32.768 kHz, 1024 Hz */
#define RTC_B_24H     0x02
#define RTC_B_BINARY  0x04
#define RTC_D_VALID   0x80

/* UIP announces the next second 244 us or more ahead, so that what is read after it is consistent.
 */
#define RTC_UIP_FROM_NS (1000000000L - 500000L)

#define RTC_PORTS     2
#define RTC_CMOS_SIZE 128

struct rtc {
	pthread_mutex_t lock;
	uint8_t index;
	uint8_t cmos[RTC_CMOS_SIZE]; /* those that show the time or flags are never read */
};

/* The state in a relay. */
struct rtc_state {
	uint8_t index;
	uint8_t reserved[7];
	uint8_t cmos[RTC_CMOS_SIZE];
} __attribute__((packed));

static_assert(sizeof(struct rtc_state) == 136, "the relayed state of an RTC never changes size");

static uint8_t bcd(int value)
{
	return value / 10 << 4 | value % 10;
}

static uint8_t cmos_read(const struct rtc *rtc, uint8_t index)
{
	struct timespec now;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);

	switch (index) {
	case RTC_SECONDS:
		return bcd(tm.tm_sec);
	case RTC_MINUTES:
		return bcd(tm.tm_min);
	case RTC_HOURS:
		return bcd(tm.tm_hour);
	case RTC_DAY_OF_WEEK:
		return bcd(tm.tm_wday + 1);
	case RTC_DAY_OF_MONTH:
		return bcd(tm.tm_mday);
	case RTC_MONTH:
		return bcd(tm.tm_mon + 1);
	case RTC_YEAR:
		return bcd(tm.tm_year % 100);
	case RTC_CENTURY:
		return bcd((tm.tm_year + 1900) / 100);
	case RTC_A:
		return rtc->cmos[RTC_A] | (now.tv_nsec >= RTC_UIP_FROM_NS ? RTC_A_UIP : 0);
	case RTC_C:
		return 0;
	case RTC_D:
		return RTC_D_VALID;
	default:
		return rtc->cmos[index];
	}
}

static void cmos_write(struct rtc *rtc, uint8_t index, uint8_t value)
{
	switch (index) {
	case RTC_A:
		value &= ~RTC_A_UIP;
		break;
	case RTC_B:
		value = (value & ~RTC_B_BINARY) | RTC_B_24H;
		break;
	default:
		break;
	}
	rtc->cmos[index] = value;
}

static void rtc_pio(void *opaque, uint16_t offset, bool is_write, unsigned size, uint32_t *value)
{
	struct rtc *rtc = opaque;

	(void)pthread_mutex_lock(&rtc->lock);
	/* A 16-bit write to the index port sets the index and writes the register. */
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = *value >> (8 * i);
		bool is_data = offset + i == 1;

		if (is_write && is_data)
			cmos_write(rtc, rtc->index, byte);
		else if (is_write)
			rtc->index = byte % RTC_CMOS_SIZE; /* bit 7 masks NMIs */
		else if (is_data)			   /* the index port is write-only */
			*value = (*value & ~(0xffU << (8 * i))) |
				 (uint32_t)cmos_read(rtc, rtc->index) << (8 * i);
	}
	(void)pthread_mutex_unlock(&rtc->lock);
}

struct rtc *rtc_new(void)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));

	if (!rtc)
		return NULL;
	rtc->cmos[RTC_A] = RTC_A_DEFAULT;
	rtc->cmos[RTC_B] = RTC_B_24H;
	(void)pthread_mutex_init(&rtc->lock, NULL);
	return rtc;
}

struct rtc *rtc_free(struct rtc *rtc)
{
	if (!rtc)
		return NULL;
	(void)pthread_mutex_destroy(&rtc->lock);
	free(rtc);
	return NULL;
}

int rtc_add_ports(struct rtc *rtc, struct bus *bus)
{
	return bus_add(bus, LAYOUT_RTC_PORT, RTC_PORTS, rtc_pio, rtc);
}

static void rtc_break_locks(void *device)
{
	struct rtc *rtc = device;

	(void)pthread_mutex_init(&rtc->lock, NULL);
}

static int rtc_save(void *device, uint16_t version, void *buf)
{
	struct rtc *rtc = device;
	struct rtc_state state = {0};

	if (version != rtc_ops.version)
		return -EPROTONOSUPPORT;
	(void)pthread_mutex_lock(&rtc->lock);
	state.index = rtc->index;
	memcpy(state.cmos, rtc->cmos, sizeof(state.cmos));
	(void)pthread_mutex_unlock(&rtc->lock);
	memcpy(buf, &state, sizeof(state));
	return sizeof(state);
}

static int rtc_load(void *device, uint16_t version, const void *buf, size_t len)
{
	static const uint8_t zero[sizeof(((struct rtc_state *)NULL)->reserved)];
	struct rtc *rtc = device;
	struct rtc_state state;

	if (version != rtc_ops.version)
		return -EPROTONOSUPPORT;
	if (len != sizeof(state))
		return -EBADMSG;
	memcpy(&state, buf, sizeof(state));
	if (state.index >= RTC_CMOS_SIZE || memcmp(state.reserved, zero, sizeof(zero)) != 0 ||
	    state.cmos[RTC_A] & RTC_A_UIP ||
	    (state.cmos[RTC_B] & (RTC_B_24H | RTC_B_BINARY)) != RTC_B_24H)
		return -EBADMSG;

	(void)pthread_mutex_lock(&rtc->lock);
	rtc->index = state.index;
	memcpy(rtc->cmos, state.cmos, sizeof(rtc->cmos));
	(void)pthread_mutex_unlock(&rtc->lock);
	return 0;
}

const struct device_ops rtc_ops = {
	.name = "rtc",
	.section = VMM_SECTION_RTC,
	.version = 1,
	.min_version = 1,
	.state_size = sizeof(struct rtc_state),
	.save = rtc_save,
	.break_locks = rtc_break_locks,
	.load = rtc_load,
};
