/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The serial port: a 16550A, as the 8250 driver and earlycon of Linux expect it. */
#ifndef VMM_DEV_UART_H
#define VMM_DEV_UART_H

#include "../bus.h"
#include "../device.h"
#include "../irq.h"
#include "console.h"

struct uart;

/* Connects itself to the console, which must outlive it.  NULL if out of memory. */
struct uart *uart_new(const struct irq_lines *lines, unsigned gsi, struct console *console);
/* Main thread, after the last vCPU has ended. */
struct uart *uart_free(struct uart *uart);

/* Answer at the 8 ports from `base` on. */
int uart_add_ports(struct uart *uart, struct bus *bus, uint16_t base);

extern const struct device_ops uart_ops;

#endif
