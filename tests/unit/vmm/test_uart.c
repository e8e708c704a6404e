// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The serial port, driven as Linux' 8250 driver does.  Links with: vmm/dev/uart.c vmm/dev/console.c
 * vmm/bus.c vmm/irq.c vmm/log.c kvm/vm.c, libsystemd.
 */
#include "vmm/dev/uart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <linux/serial_reg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 0x3f8
#define GSI  4

/* One machine: a UART on its bus, its console, and somebody attached to that. */
struct machine {
	sd_event *event;
	struct irq_lines lines;
	struct console *console;
	struct uart *uart;
	struct bus bus;
	int client;
};

static void machine_init(struct machine *m)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int pair[2];

	memset(m, 0, sizeof(*m));
	assert_int_equal(bind(listen_fd, (void *)&address, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(listen_fd, 1), 0);
	assert_int_equal(sd_event_new(&m->event), 0);
	assert_int_equal(console_new(m->event, listen_fd, -1, &m->console), 0);
	m->lines.vm_fd = -1;
	m->lines.pulse_fd[GSI] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->uart = uart_new(&m->lines, GSI, m->console);
	assert_non_null(m->uart);
	assert_int_equal(uart_add_ports(m->uart, &m->bus, PORT), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(console_attach(m->console, pair[0], 0), 0);
	m->client = pair[1];
}

static void machine_done(struct machine *m)
{
	uart_free(m->uart);
	console_free(m->console);
	sd_event_unref(m->event);
	close(m->lines.pulse_fd[GSI]);
	close(m->client);
}

static int setup(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));

	machine_init(m);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	machine_done(*state);
	free(*state);
	return 0;
}

static uint8_t in(struct machine *m, unsigned reg)
{
	uint8_t value = 0;

	bus_pio(&m->bus, PORT + reg, false, 1, &value);
	return value;
}

static void out(struct machine *m, unsigned reg, uint8_t value)
{
	bus_pio(&m->bus, PORT + reg, true, 1, &value);
}

/* Pulses since the last call. */
static unsigned pulses(struct machine *m)
{
	eventfd_t count = 0;

	(void)eventfd_read(m->lines.pulse_fd[GSI], &count);
	return count;
}

/* Let the main thread do all that it can do now. */
static void settle(struct machine *m)
{
	while (sd_event_run(m->event, 0) > 0)
		;
}

static void type(struct machine *m, const char *text)
{
	assert_int_equal(send(m->client, text, strlen(text), 0), strlen(text));
	settle(m);
}

/* As the driver leaves the port after startup. */
static void start(struct machine *m, uint8_t ier, uint8_t trigger)
{
	out(m, UART_FCR, UART_FCR_ENABLE_FIFO | trigger);
	out(m, UART_LCR, UART_LCR_WLEN8);
	out(m, UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
	(void)in(m, UART_MSR);
	out(m, UART_IER, ier);
	(void)in(m, UART_IIR);
	(void)pulses(m);
}

static void test_is_recognised_as_16550a(void **state)
{
	struct machine *m = *state;
	uint8_t mcr, status1, status2;

	/* autoconfig(): an interrupt enable register of four bits. */
	out(m, UART_IER, 0);
	assert_int_equal(in(m, UART_IER) & 0x0f, 0);
	out(m, UART_IER, 0x0f);
	assert_int_equal(in(m, UART_IER) & 0x0f, 0x0f);
	out(m, UART_IER, 0);

	/* Loopback brings RTS and OUT2 back as CTS and DCD. */
	mcr = in(m, UART_MCR);
	out(m, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(in(m, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(m, UART_MCR, mcr);

	out(m, UART_LCR, UART_LCR_CONF_MODE_B);
	out(m, UART_EFR, 0);
	out(m, UART_LCR, 0);
	out(m, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(in(m, UART_IIR) >> 6, 3); /* 16550A */

	/* autoconfig_16550a(): none of its relatives.  No EFR in either mode, ... */
	out(m, UART_LCR, UART_LCR_CONF_MODE_A);
	assert_int_not_equal(in(m, UART_EFR), 0);
	out(m, UART_LCR, UART_LCR_CONF_MODE_B);
	assert_int_not_equal(in(m, UART_EFR), 0);
	/* ... no second bank like that of a National Super I/O, ... */
	out(m, UART_LCR, 0);
	status1 = in(m, UART_MCR);
	out(m, UART_LCR, 0xe0);
	status2 = in(m, 2);
	assert_false((status1 ^ status2) & UART_MCR_LOOP);
	out(m, UART_LCR, 0);
	out(m, UART_MCR, status1 ^ UART_MCR_LOOP);
	out(m, UART_LCR, 0xe0);
	assert_false((in(m, 2) ^ status1) & UART_MCR_LOOP);
	out(m, UART_LCR, 0);
	out(m, UART_MCR, status1);
	/* ... no 64-byte FIFO, ... */
	out(m, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	assert_int_equal(in(m, UART_IIR) >> 5, 6);
	out(m, UART_LCR, UART_LCR_CONF_MODE_A);
	out(m, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	assert_int_equal(in(m, UART_IIR) >> 5, 6);
	out(m, UART_LCR, 0);
	/* ... no UUE bit. */
	out(m, UART_IER, UART_IER_UUE);
	assert_int_equal(in(m, UART_IER), 0);

	out(m, UART_SCR, 0xa5);
	assert_int_equal(in(m, UART_SCR), 0xa5);
}

static void test_fifo_has_16_bytes(void **state)
{
	struct machine *m = *state;
	unsigned count = 0;

	/* size_fifo() */
	out(m, UART_LCR, 0);
	out(m, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	out(m, UART_MCR, UART_MCR_LOOP);
	for (unsigned i = 0; i < 256; i++)
		out(m, UART_TX, i);
	assert_int_equal(in(m, UART_LSR),
			 UART_LSR_TEMT | UART_LSR_THRE | UART_LSR_OE | UART_LSR_DR);
	assert_false(in(m, UART_LSR) & UART_LSR_OE);
	while (in(m, UART_LSR) & UART_LSR_DR)
		assert_int_equal(in(m, UART_RX), count++);
	assert_int_equal(count, 16);

	/* Turning the FIFOs off and on empties them, and without them there is one byte. */
	out(m, UART_TX, 1);
	out(m, UART_FCR, 0);
	assert_false(in(m, UART_LSR) & UART_LSR_DR);
	assert_int_equal(in(m, UART_IIR), UART_IIR_NO_INT);
	out(m, UART_TX, 2);
	out(m, UART_TX, 3);
	assert_int_equal(in(m, UART_LSR) & (UART_LSR_OE | UART_LSR_DR), UART_LSR_OE | UART_LSR_DR);
	assert_int_equal(in(m, UART_RX), 2);
	assert_false(in(m, UART_LSR) & UART_LSR_DR);
}

static void test_divisor_latch(void **state)
{
	struct machine *m = *state;
	uint16_t divisor;

	/* Linux divides by what it finds here before it has ever set it. */
	out(m, UART_LCR, UART_LCR_DLAB);
	assert_int_not_equal(in(m, UART_DLL) | in(m, UART_DLM), 0);
	divisor = 0x1234;
	bus_pio(&m->bus, PORT + UART_DLL, true, 2, &divisor);
	assert_int_equal(in(m, UART_DLL), 0x34);
	assert_int_equal(in(m, UART_DLM), 0x12);
	out(m, UART_LCR, UART_LCR_WLEN8);
	assert_int_equal(in(m, UART_IER), 0);
	assert_int_equal(in(m, UART_LCR), UART_LCR_WLEN8);
}

static void test_driver_trusts_the_thre_interrupt(void **state)
{
	struct machine *m = *state;
	uint8_t iir1, iir2;

	/* serial8250_do_startup(): enabling it twice raises it twice ... */
	start(m, 0, 0);
	out(m, UART_IER, UART_IER_THRI);
	iir1 = in(m, UART_IIR);
	out(m, UART_IER, 0);
	out(m, UART_IER, UART_IER_THRI);
	iir2 = in(m, UART_IIR);
	out(m, UART_IER, 0);
	assert_false(iir1 & UART_IIR_NO_INT);
	assert_false(iir2 & UART_IIR_NO_INT);
	assert_int_equal(pulses(m), 2);
	/* ... and it is there although LSR was read in between. */
	out(m, UART_IER, UART_IER_THRI);
	assert_true(in(m, UART_LSR) & UART_LSR_TEMT);
	assert_false(in(m, UART_IIR) & UART_IIR_NO_INT);
	out(m, UART_IER, 0);
	assert_int_equal(in(m, UART_IIR) & 0x0f, UART_IIR_NO_INT);
}

static void test_thre_interrupt(void **state)
{
	struct machine *m = *state;
	char text[8] = "";

	start(m, UART_IER_THRI, 0);
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_NO_INT);
	assert_int_equal(pulses(m), 0);
	out(m, UART_TX, 'a');
	assert_int_equal(pulses(m), 1);
	out(m, UART_TX, 'b'); /* without a look at IIR: the line falls and rises */
	assert_int_equal(pulses(m), 1);
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_THRI);
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_NO_INT);
	assert_int_equal(pulses(m), 0);
	settle(m);
	assert_int_equal(recv(m->client, text, sizeof(text), MSG_DONTWAIT), 2);
	assert_string_equal(text, "ab");
}

static void test_out2_connects_the_line(void **state)
{
	struct machine *m = *state;

	out(m, UART_IER, UART_IER_THRI);
	out(m, UART_TX, 'a');
	assert_int_equal(pulses(m), 0);
	out(m, UART_MCR, UART_MCR_OUT2 | UART_MCR_LOOP);
	assert_int_equal(pulses(m), 0);
	out(m, UART_MCR, UART_MCR_OUT2);
	assert_int_equal(pulses(m), 1);
	assert_int_equal(in(m, UART_IIR), UART_IIR_THRI);
}

static void test_modem_status_interrupt(void **state)
{
	struct machine *m = *state;

	start(m, UART_IER_MSI, 0);
	assert_int_equal(in(m, UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	/* CTS and DCD fall and return; RI, which loopback raises by OUT1, ends. */
	out(m, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1 | UART_MCR_DTR);
	assert_int_equal(in(m, UART_MSR),
			 UART_MSR_RI | UART_MSR_DSR | UART_MSR_DCTS | UART_MSR_DDCD);
	out(m, UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
	assert_int_equal(pulses(m), 1);
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_MSI);
	assert_int_equal(in(m, UART_MSR) & 0x0f, UART_MSR_DCTS | UART_MSR_TERI | UART_MSR_DDCD);
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_NO_INT);
}

static void test_receive_interrupts(void **state)
{
	struct machine *m = *state;

	start(m, UART_IER_RDI, UART_FCR_R_TRIG_10); /* 8 bytes */
	type(m, "1234567");
	assert_true(pulses(m) > 0);
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_RX_TIMEOUT);
	type(m, "8");
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_RDI);
	for (char c = '1'; c <= '8'; c++) {
		assert_true(in(m, UART_LSR) & UART_LSR_DR);
		assert_int_equal(in(m, UART_RX), c);
	}
	assert_false(in(m, UART_LSR) & UART_LSR_DR);
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_NO_INT);
	(void)pulses(m);
	assert_int_equal(in(m, UART_RX), 0); /* nothing there */
	assert_int_equal(pulses(m), 0);
}

static void test_causes_in_order_of_priority(void **state)
{
	struct machine *m = *state;

	start(m, 0, 0);
	out(m, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2);
	for (unsigned i = 0; i < 17; i++)
		out(m, UART_TX, i);
	out(m, UART_IER, UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI);
	assert_int_equal(pulses(m), 0);
	out(m, UART_MCR, UART_MCR_OUT2);
	assert_int_equal(pulses(m), 1);

	/* Each acknowledgement makes a new edge as long as something is left. */
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_RLSI);
	assert_int_equal(pulses(m), 0);
	(void)in(m, UART_LSR);
	assert_int_equal(pulses(m), 1);
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_RDI);
	for (unsigned i = 0; i < 16; i++) {
		(void)in(m, UART_RX);
		assert_int_equal(pulses(m), 1);
	}
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_THRI);
	assert_int_equal(pulses(m), 1);
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_MSI);
	(void)in(m, UART_MSR);
	assert_int_equal(pulses(m), 0);
	assert_int_equal(in(m, UART_IIR), 0xc0 | UART_IIR_NO_INT);
}

/*
 * The hardest guest for an edge-triggered line: it does one thing per interrupt, reads one byte or
 * writes one, and never looks without being asked.  It echoes everything; one lost edge stops it.
 */
static void test_no_edge_is_ever_lost(void **state)
{
	struct machine *m = *state;
	uint8_t sent[3000], echoed[sizeof(sent)], queue[sizeof(sent)];
	size_t n_sent = 0, n_echoed = 0, queued = 0, written = 0;
	unsigned idle = 0;

	srand(1);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = rand();
	start(m, UART_IER_RDI | UART_IER_THRI, UART_FCR_R_TRIG_10);
	while (n_echoed < sizeof(sent) && idle < 100) {
		ssize_t n = 0;

		idle++;
		if (rand() % 3 == 0 && n_sent < sizeof(sent)) {
			size_t len = 1 + rand() % 40;

			if (len > sizeof(sent) - n_sent)
				len = sizeof(sent) - n_sent;
			n = send(m->client, sent + n_sent, len, MSG_DONTWAIT);
			n_sent += n > 0 ? n : 0;
		}
		settle(m);
		if (pulses(m) > 0) {
			switch (in(m, UART_IIR) & 0x0f) {
			case UART_IIR_RDI:
			case UART_IIR_RX_TIMEOUT:
				queue[queued++] = in(m, UART_RX);
				break;
			case UART_IIR_THRI:
				break;
			default:
				break;
			}
			if (written < queued)
				out(m, UART_TX, queue[written++]);
			idle = 0;
		}
		n = recv(m->client, echoed + n_echoed, sizeof(echoed) - n_echoed, MSG_DONTWAIT);
		n_echoed += n > 0 ? n : 0;
	}
	assert_int_equal(n_echoed, sizeof(sent));
	assert_memory_equal(echoed, sent, sizeof(sent));
}

static void test_input_waits_in_the_socket(void **state)
{
	struct machine *m = *state;
	char text[200], got[200];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = 'A' + i % 26;
	start(m, UART_IER_RDI, UART_FCR_R_TRIG_10);
	assert_int_equal(send(m->client, text, sizeof(text), 0), sizeof(text));
	while (n < sizeof(got)) {
		unsigned burst = 0;

		settle(m);
		while (in(m, UART_LSR) & UART_LSR_DR) {
			assert_false(in(m, UART_LSR) & UART_LSR_OE);
			got[n++] = in(m, UART_RX);
			burst++;
		}
		assert_in_range(burst, 1, 16);
	}
	assert_memory_equal(got, text, sizeof(got));

	/* In loopback the receiver is not connected to the outside. */
	out(m, UART_MCR, UART_MCR_LOOP);
	type(m, "x");
	assert_false(in(m, UART_LSR) & UART_LSR_DR);
	out(m, UART_MCR, UART_MCR_OUT2);
	settle(m);
	assert_int_equal(in(m, UART_RX), 'x');
}

static void test_relay_in_the_middle_of_received_data(void **state)
{
	struct machine *m = *state;
	uint8_t blob[64], again[64];
	struct machine target;
	int len;

	start(m, UART_IER_RDI | UART_IER_THRI, UART_FCR_R_TRIG_11);
	out(m, UART_LCR, UART_LCR_DLAB);
	out(m, UART_DLL, 0x56);
	out(m, UART_LCR, UART_LCR_WLEN8);
	out(m, UART_SCR, 0x77);
	type(m, "0123456789");
	for (char c = '0'; c <= '9'; c++)
		assert_int_equal(in(m, UART_RX), c);
	type(m, "abcdefghijklmnop"); /* which wraps in the FIFO */
	out(m, UART_TX, '!');

	len = uart_ops.save(m->uart, 1, blob);
	assert_int_equal(len, uart_ops.state_size);
	machine_init(&target);
	assert_int_equal(uart_ops.load(target.uart, 1, blob, len), 0);
	assert_int_equal(uart_ops.save(target.uart, 1, again), len);
	assert_memory_equal(again, blob, len);

	/* The edge is sent again, each time, and everything is where it was. */
	assert_int_equal(pulses(&target), 1);
	assert_int_equal(uart_ops.load(target.uart, 1, blob, len), 0);
	assert_int_equal(pulses(&target), 1);
	assert_int_equal(in(&target, UART_IIR), 0xc0 | UART_IIR_RDI);
	for (char c = 'a'; c <= 'p'; c++) {
		assert_int_equal(in(&target, UART_RX), c);
	}
	assert_int_equal(in(&target, UART_IIR), 0xc0 | UART_IIR_THRI);
	assert_int_equal(in(&target, UART_SCR), 0x77);
	assert_int_equal(in(&target, UART_MCR), UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
	out(&target, UART_LCR, UART_LCR_DLAB);
	assert_int_equal(in(&target, UART_DLL), 0x56);

	/* A target that had been full before takes input again. */
	out(&target, UART_LCR, UART_LCR_WLEN8);
	type(&target, "0123456789abcdefQ");
	len = uart_ops.save(m->uart, 1, blob);
	blob[10] = 0;
	assert_int_equal(uart_ops.load(target.uart, 1, blob, len), 0);
	settle(&target);
	assert_int_equal(in(&target, UART_RX), 'Q');
	machine_done(&target);
}

static void test_relay_without_a_cause_sends_no_edge(void **state)
{
	struct machine *m = *state;
	uint8_t blob[64];
	int len;

	start(m, UART_IER_RDI | UART_IER_THRI, 0);
	len = uart_ops.save(m->uart, 1, blob);
	assert_int_equal(uart_ops.load(m->uart, 1, blob, len), 0);
	assert_int_equal(pulses(m), 0);
}

static void test_bad_state_is_refused(void **state)
{
	static const struct {
		size_t offset;
		uint8_t value;
	} bad[] = {
		{0, 0x10},  /* IER */
		{1, 0x03},  /* FCR: a command bit */
		{1, 0xc0},  /* FCR: trigger without FIFOs */
		{3, 0x20},  /* MCR */
		{5, 0x01},  /* LSR: not an error bit */
		{6, 0x10},  /* MSR: not a delta */
		{7, 2},	    /* THRE pending */
		{10, 17},   /* more bytes than the FIFO has */
		{10, 0xff}, /* likewise */
		{11, 1},    /* reserved */
	};
	struct machine *m = *state;
	uint8_t good[64], blob[64], after[64];
	int len;

	start(m, UART_IER_RDI, 0);
	type(m, "abc");
	len = uart_ops.save(m->uart, 1, good);
	(void)pulses(m);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(blob, good, len);
		blob[bad[i].offset] = bad[i].value;
		assert_int_equal(uart_ops.load(m->uart, 1, blob, len), -EBADMSG);
	}
	memcpy(blob, good, len);
	blob[1] = 0; /* FIFOs off: three bytes are two too many */
	assert_int_equal(uart_ops.load(m->uart, 1, blob, len), -EBADMSG);
	for (int n = 0; n < len; n++)
		assert_int_equal(uart_ops.load(m->uart, 1, good, n), -EBADMSG);
	assert_int_equal(uart_ops.load(m->uart, 1, good, len + 1), -EBADMSG);
	assert_int_equal(uart_ops.load(m->uart, 0, good, len), -EPROTONOSUPPORT);
	assert_int_equal(uart_ops.load(m->uart, 2, good, len), -EPROTONOSUPPORT);
	assert_int_equal(uart_ops.save(m->uart, 2, after), -EPROTONOSUPPORT);

	/* Nothing was taken over from any of them. */
	assert_int_equal(uart_ops.save(m->uart, 1, after), len);
	assert_memory_equal(after, good, len);
	assert_int_equal(pulses(m), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_is_recognised_as_16550a, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fifo_has_16_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_divisor_latch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_driver_trusts_the_thre_interrupt, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_thre_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_out2_connects_the_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_modem_status_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_causes_in_order_of_priority, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_edge_is_ever_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_input_waits_in_the_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_relay_in_the_middle_of_received_data, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_relay_without_a_cause_sends_no_edge, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_bad_state_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
