/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real-time clock: the subset of a MC146818 that tells the time and keeps 128 bytes. */
#ifndef VMM_DEV_RTC_H
#define VMM_DEV_RTC_H

#include "../bus.h"
#include "../device.h"

struct rtc;

struct rtc *rtc_new(void); /* NULL if out of memory */
struct rtc *rtc_free(struct rtc *rtc);

/* Answer at LAYOUT_RTC_PORT and the port after it. */
int rtc_add_ports(struct rtc *rtc, struct bus *bus);

extern const struct device_ops rtc_ops;

#endif
