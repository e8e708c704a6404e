// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a guest can do to the VMM's devices by port I/O, somebody at the console by typing, and an
 * old VMM by the states that it hands over.
 */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "input.h"
#include "kvm/cleanup.h"
#include "vmm/dev/console.h"
#include "vmm/dev/power.h"
#include "vmm/dev/rtc.h"
#include "vmm/dev/uart.h"

#define STEPS_MAX 256
#define UART_PORT 0x3f8
#define UART_GSI  4

struct machine {
	sd_event *event;
	struct irq_lines lines;
	struct console *console;
	struct uart *uart;
	struct rtc *rtc;
	struct power *power;
	struct bus bus;
	int client;
};

static void ends(void *opaque, enum vmm_end end)
{
	(void)opaque, (void)end;
}

static void set_up(struct machine *m)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int pair[2];

	m->lines.vm_fd = -1;
	for (unsigned i = 0; i < VMM_GSI_MAX; i++)
		m->lines.pulse_fd[i] = i == UART_GSI ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	if (bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0 ||
	    listen(listener, 1) < 0 || sd_event_new(&m->event) < 0 ||
	    console_new(m->event, listener, -1, &m->console) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 ||
	    console_attach(m->console, pair[0], 0) < 0)
		abort();
	m->client = pair[1];
	m->uart = uart_new(&m->lines, UART_GSI, m->console);
	m->rtc = rtc_new();
	m->power = power_new(&m->lines, ends, m);
	if (!m->uart || !m->rtc || !m->power || uart_add_ports(m->uart, &m->bus, UART_PORT) < 0 ||
	    rtc_add_ports(m->rtc, &m->bus) < 0 || power_add_ports(m->power, &m->bus) < 0)
		abort();
}

static void tear_down(struct machine *m)
{
	m->uart = uart_free(m->uart);
	m->rtc = rtc_free(m->rtc);
	m->power = power_free(m->power);
	m->console = console_free(m->console);
	sd_event_unref(m->event);
	close_fd(m->lines.pulse_fd[UART_GSI]);
	close_fd(m->client);
}

/* A state is loaded, and what can be loaded can be saved and loaded again. */
static void load(struct machine *m, struct input *in)
{
	const struct {
		const struct device_ops *ops;
		void *device;
	} devices[] = {{&uart_ops, m->uart},
		       {&rtc_ops, m->rtc},
		       {&power_ops, m->power},
		       {&console_ops, m->console}};
	uint8_t which = input_u8(in), version = input_u8(in) % 4;
	const struct device_ops *ops = devices[which % ARRAY_SIZE(devices)].ops;
	void *device = devices[which % ARRAY_SIZE(devices)].device;
	struct input part = input_part(in, input_u16(in));
	autofree uint8_t *given = malloc(part.left + 1), *saved = malloc(ops->state_size + 1);
	size_t len = part.left;
	int n;

	input_take(&part, given, len);
	if (ops == &console_ops || version < ops->min_version || version > ops->version ||
	    ops->load(device, version, given, len) < 0)
		return;
	n = ops->save(device, ops->version, saved);
	if (n < 0 || (size_t)n > ops->state_size ||
	    ops->load(device, ops->version, saved, (size_t)n) < 0)
		abort();
}

static void step(struct machine *m, struct input *in)
{
	static const uint16_t ports[] = {0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe,
					 0x3ff, 0x70,  0x71,  0x64,  0xcf9, 0x600, 0x604};
	uint8_t what = input_u8(in), size = (uint8_t)(1u << (what >> 6) % 3);
	uint32_t value = what & 0x20 ? input_u32(in) : input_u8(in);
	struct input typed;
	char got[512];

	switch (what & 0x1f) {
	case 0x1f:
		load(m, in);
		break;
	case 0x1e:
		typed = input_part(in, value & 0xff);
		(void)send(m->client, typed.at, typed.left, MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 0x1d:
		for (unsigned i = 0; i < 100 && sd_event_run(m->event, 0) > 0; i++)
			;
		(void)!recv(m->client, got, sizeof(got), MSG_DONTWAIT);
		break;
	case 0x1c:
		power_press_button(m->power);
		break;
	default:
		bus_pio(&m->bus,
			what & 0x10 ? (uint16_t)value : ports[(what & 0xf) % ARRAY_SIZE(ports)],
			value >> 31 || !(what & 0x20), size, &value);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct machine machine = {0};

	set_up(&machine);
	for (unsigned i = 0; i < STEPS_MAX && in.left > 0; i++)
		step(&machine, &in);
	tear_down(&machine);
	return 0;
}
