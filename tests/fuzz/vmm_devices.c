// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a guest can do to the VMM's devices by port I/O, people at the console by coming, typing and
 * leaving, and an old VMM by the states and the ring that it hands over.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
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
#define VISITORS  (CONSOLE_CLIENTS_MAX + 2)

struct machine {
	sd_event *event;
	struct irq_lines lines;
	struct console *console;
	struct uart *uart;
	struct rtc *rtc;
	struct power *power;
	struct bus bus;
	struct sockaddr_un address;
	socklen_t address_len;
	int client;		/* the last that came */
	int visitors[VISITORS]; /* those before it */
	unsigned n_visitors;
};

static void ends(void *opaque, enum vmm_end end)
{
	(void)opaque, (void)end;
}

static void set_up(struct machine *m)
{
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int pair[2];

	m->address.sun_family = AF_UNIX;
	m->address_len = sizeof(m->address);

	m->lines.vm_fd = -1;
	for (unsigned i = 0; i < VMM_GSI_MAX; i++)
		m->lines.pulse_fd[i] = i == UART_GSI ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	if (bind(listener, (struct sockaddr *)&m->address, sizeof(sa_family_t)) < 0 ||
	    listen(listener, VISITORS) < 0 ||
	    getsockname(listener, (struct sockaddr *)&m->address, &m->address_len) < 0 ||
	    sd_event_new(&m->event) < 0 || console_new(m->event, listener, -1, &m->console) < 0 ||
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
	while (m->n_visitors > 0)
		close_fd(m->visitors[--m->n_visitors]);
}

static void turn(struct machine *m)
{
	for (unsigned i = 0; i < 100 && sd_event_run(m->event, 0) > 0; i++)
		;
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

static void connect_client(struct machine *m)
{
	if (m->n_visitors == VISITORS)
		return;
	m->visitors[m->n_visitors++] = m->client;
	m->client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)connect(m->client, (struct sockaddr *)&m->address, m->address_len);
}

static void disconnect_client(struct machine *m)
{
	close_fd(m->client);
	m->client = m->n_visitors > 0 ? m->visitors[--m->n_visitors] : -1;
}

static size_t room(void *opaque)
{
	(void)opaque;
	return 3;
}

static void input(void *opaque, const uint8_t *bytes, size_t len)
{
	(void)opaque, (void)bytes;
	if (len > 3)
		abort();
}

/* A console that an old VMM hands over; its ring belongs to the caller. */
static void take_over(struct machine *m, int ring_fd, const int *fds, unsigned n_fds,
		      const void *state, size_t len)
{
	autofd ring = fcntl(ring_fd, F_DUPFD_CLOEXEC, 0);
	autofd listener = fcntl(console_listen_fd(m->console), F_DUPFD_CLOEXEC, 0);
	struct console *console;
	int clients[CONSOLE_CLIENTS_MAX];

	if (console_new(m->event, listener, ring, &console) < 0)
		return;
	(void)steal_fd(&ring);
	(void)steal_fd(&listener);
	for (unsigned i = 0; i < n_fds; i++)
		clients[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
	console_set_sink(console, &(struct console_sink){.room = room, .input = input});
	if (console_adopt(console, clients, n_fds) == 0 &&
	    console_ops.load(console, console_ops.version, state, len) == 0) {
		console_thaw(console);
		turn(m);
		console_write(console, state, len);
		turn(m);
	}
	console_set_sink(console, NULL);
	(void)console_free(console);
}

/* As in an upgrade that fails: the state, but for what the input changes of it. */
static void relay_console(struct machine *m, struct input *in)
{
	autofree uint8_t *state = malloc(console_ops.state_size);
	int fds[CONSOLE_CLIENTS_MAX], len;
	uint8_t n_changes = input_u8(in) % 8;
	unsigned n;

	console_freeze(m->console);
	n = console_client_fds(m->console, fds);
	turn(m);
	len = console_ops.save(m->console, console_ops.version, state);
	if (len < 0)
		abort();
	for (unsigned i = 0; i < n_changes; i++)
		state[input_u16(in) % (unsigned)len] = input_u8(in);
	take_over(m, console_ring_fd(m->console), fds, n, state, (size_t)len);
	console_thaw(m->console);
}

/* Nothing of it is as it was. */
static void adopt_ring(struct machine *m, struct input *in)
{
	struct {
		uint64_t magic;
		uint32_t version, size;
		uint64_t head;
	} header;
	struct {
		uint64_t head;
		uint32_t n_clients, reserved;
		struct {
			uint64_t position;
			uint32_t is_gone, reserved;
		} client[CONSOLE_CLIENTS_MAX];
	} state = {0};
	autofd ring = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t how = input_u8(in);

	input_take(in, &header, sizeof(header));
	if (how & 1) {
		header.magic = 0x676e69722d726d76;
		header.version = 1;
	}
	if (how & 2)
		header.size = 4096u << (how >> 6);
	if (ftruncate(ring, 4096 + (off_t)(header.size % (1u << 20))) < 0 ||
	    pwrite(ring, &header, sizeof(header), 0) != sizeof(header) ||
	    fcntl(ring, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		abort();
	state.head = input_u64(in);
	state.n_clients = how >> 2 & 1;
	state.client[0].position = state.head - input_u16(in);
	take_over(m, ring, &m->client, how >> 2 & 1, &state, sizeof(state));
}

static void visit_console(struct machine *m, uint32_t what, struct input *in)
{
	switch (what % 5) {
	case 0:
		connect_client(m);
		break;
	case 1:
		(void)shutdown(m->client, SHUT_WR);
		break;
	case 2:
		disconnect_client(m);
		break;
	case 3:
		relay_console(m, in);
		break;
	default:
		adopt_ring(m, in);
		break;
	}
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
		turn(m);
		(void)!recv(m->client, got, sizeof(got), MSG_DONTWAIT);
		break;
	case 0x1b:
		visit_console(m, value, in);
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
