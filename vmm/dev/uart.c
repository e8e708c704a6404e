// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The serial port: a 16550A.
 *
 * Theory of operation: transmission takes no time, so the transmitter is always empty and every
 * byte written makes "transmitter holding register empty" (THRE) arise anew.  Received bytes come
 * from the console, only as many as there is room for, so only loopback can overrun.
 *
 * The interrupt line is edge-triggered, and the edge is all that the guest ever gets: one that is
 * missing hangs it, one too many costs it a look at IIR.  A pulse is therefore sent whenever a
 * cause arises, and also whenever an access acknowledges something while a cause is left: where the
 * real line would fall and rise again.  The character timeout of the receiver is taken to be over
 * at once.
 */
#include "uart.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define UART_PORTS     8
#define UART_FIFO_SIZE 16
#define UART_IER_BITS  (UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI)
#define UART_FCR_BITS  (UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_MASK)
#define UART_MCR_BITS  (UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT1 | UART_MCR_OUT2 | UART_MCR_LOOP)
#define UART_IIR_FIFOS 0xc0 /* reads as ones while the FIFOs are enabled */

#define UART_DIVISOR_9600 12

struct uart {
	const struct irq_lines *lines;
	struct console *console;
	unsigned gsi;

	pthread_mutex_t lock; /* of everything below; taken before the console's */
	uint8_t ier;
	uint8_t fcr; /* UART_FCR_BITS; 0 while the FIFOs are disabled */
	uint8_t lcr;
	uint8_t mcr;
	uint8_t scr;
	uint8_t lsr_errors; /* UART_LSR_OE or 0 */
	uint8_t msr_deltas; /* UART_MSR_ANY_DELTA */
	bool thre_pending;
	uint16_t divisor;
	uint8_t rx_first;
	uint8_t rx_count;
	uint8_t rx[UART_FIFO_SIZE];

	uint8_t causes; /* that were pending when the line was last looked at */
};

/* The state in a relay, little-endian. */
struct uart_state {
	uint8_t ier;
	uint8_t fcr;
	uint8_t lcr;
	uint8_t mcr;
	uint8_t scr;
	uint8_t lsr_errors;
	uint8_t msr_deltas;
	uint8_t thre_pending;
	uint16_t divisor;
	uint8_t rx_count;
	uint8_t reserved;
	uint8_t rx[UART_FIFO_SIZE]; /* oldest first, unused ones zero */
} __attribute__((packed));

static_assert(sizeof(struct uart_state) == 28, "the relayed state of a UART never changes size");

static unsigned rx_capacity(const struct uart *uart)
{
	return uart->fcr & UART_FCR_ENABLE_FIFO ? UART_FIFO_SIZE : 1;
}

/* Below the trigger level, received data interrupt only after a timeout. */
static bool rx_triggered(const struct uart *uart)
{
	static const uint8_t trigger[] = {1, 4, 8, 14};

	return uart->rx_count >= (uart->fcr ? trigger[uart->fcr >> 6] : 1);
}

static void rx_clear(struct uart *uart)
{
	uart->rx_first = 0;
	uart->rx_count = 0;
}

static void rx_push(struct uart *uart, uint8_t byte)
{
	if (uart->rx_count == rx_capacity(uart)) {
		uart->lsr_errors |= UART_LSR_OE;
		return;
	}
	uart->rx[(uart->rx_first + uart->rx_count++) % UART_FIFO_SIZE] = byte;
}

static uint8_t rx_pop(struct uart *uart)
{
	uint8_t byte;

	if (uart->rx_count == 0)
		return 0;
	byte = uart->rx[uart->rx_first];
	uart->rx_first = (uart->rx_first + 1) % UART_FIFO_SIZE;
	uart->rx_count--;
	return byte;
}

/* The modem lines: those of a cable with somebody at the other end, or our own in loopback. */
static uint8_t modem_lines(uint8_t mcr)
{
	if (!(mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	return (mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) | (mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
	       (mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) | (mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
}

static void set_mcr(struct uart *uart, uint8_t mcr)
{
	uint8_t before = modem_lines(uart->mcr);
	uint8_t after = modem_lines(mcr);
	uint8_t changed = before ^ after;

	uart->mcr = mcr;
	uart->msr_deltas |= (changed & UART_MSR_CTS ? UART_MSR_DCTS : 0) |
			    (changed & UART_MSR_DSR ? UART_MSR_DDSR : 0) |
			    (changed & before & UART_MSR_RI ? UART_MSR_TERI : 0) |
			    (changed & UART_MSR_DCD ? UART_MSR_DDCD : 0);
}

static void set_fcr(struct uart *uart, uint8_t value)
{
	bool enable = value & UART_FCR_ENABLE_FIFO;

	if (enable != !!uart->fcr || (enable && (value & UART_FCR_CLEAR_RCVR)))
		rx_clear(uart);
	uart->fcr = enable ? value & UART_FCR_BITS : 0;
}

static void set_ier(struct uart *uart, uint8_t value)
{
	uint8_t risen = value & ~uart->ier;

	uart->ier = value & UART_IER_BITS;
	/* Linux tests that enabling the interrupt of an empty transmitter raises it again. */
	if (risen & UART_IER_THRI)
		uart->thre_pending = true;
}

/* Causes of an interrupt that are pending and enabled, as the IER bits that enable them. */
static uint8_t enabled_causes(const struct uart *uart)
{
	return uart->ier &
	       ((uart->lsr_errors ? UART_IER_RLSI : 0) | (uart->rx_count ? UART_IER_RDI : 0) |
		(uart->thre_pending ? UART_IER_THRI : 0) | (uart->msr_deltas ? UART_IER_MSI : 0));
}

static uint8_t read_iir(struct uart *uart, uint8_t *ret_acknowledged)
{
	uint8_t fifos = uart->fcr ? UART_IIR_FIFOS : 0;
	uint8_t causes = enabled_causes(uart);

	if (causes & UART_IER_RLSI)
		return fifos | UART_IIR_RLSI;
	if (causes & UART_IER_RDI)
		return fifos | (rx_triggered(uart) ? UART_IIR_RDI : UART_IIR_RX_TIMEOUT);
	if (causes & UART_IER_THRI) {
		uart->thre_pending = false;
		*ret_acknowledged = UART_IER_THRI;
		return fifos | UART_IIR_THRI;
	}
	return fifos | (causes ? UART_IIR_MSI : UART_IIR_NO_INT);
}

static void transmit(struct uart *uart, uint8_t byte)
{
	uart->thre_pending = true;
	if (uart->mcr & UART_MCR_LOOP)
		rx_push(uart, byte);
	else
		console_write(uart->console, &byte, 1);
}

/* These two return the causes, as IER bits, that the access acknowledges. */

static uint8_t register_write(struct uart *uart, unsigned reg, uint8_t value)
{
	bool dlab = uart->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (dlab) {
			uart->divisor = (uart->divisor & 0xff00) | value;
			return 0;
		}
		transmit(uart, value);
		return UART_IER_THRI;
	case UART_IER:
		if (dlab)
			uart->divisor = (uart->divisor & 0xff) | value << 8;
		else
			set_ier(uart, value);
		return 0;
	case UART_FCR:
		set_fcr(uart, value);
		return UART_IER_RDI;
	case UART_LCR:
		uart->lcr = value;
		return 0;
	case UART_MCR:
		set_mcr(uart, value & UART_MCR_BITS);
		return 0;
	case UART_SCR:
		uart->scr = value;
		return 0;
	default: /* LSR and MSR are read-only */
		return 0;
	}
}

static uint8_t register_read(struct uart *uart, unsigned reg, uint8_t *ret_value)
{
	bool dlab = uart->lcr & UART_LCR_DLAB;
	uint8_t acknowledged = 0;

	switch (reg) {
	case UART_RX:
		if (dlab) {
			*ret_value = uart->divisor & 0xff;
			return 0;
		}
		*ret_value = rx_pop(uart);
		return UART_IER_RDI;
	case UART_IER:
		*ret_value = dlab ? uart->divisor >> 8 : uart->ier;
		return 0;
	case UART_IIR:
		*ret_value = read_iir(uart, &acknowledged);
		return acknowledged;
	case UART_LCR:
		*ret_value = uart->lcr;
		return 0;
	case UART_MCR:
		*ret_value = uart->mcr;
		return 0;
	case UART_LSR:
		*ret_value = UART_LSR_TEMT | UART_LSR_THRE | uart->lsr_errors |
			     (uart->rx_count ? UART_LSR_DR : 0);
		uart->lsr_errors = 0;
		return UART_IER_RLSI;
	case UART_MSR:
		*ret_value = modem_lines(uart->mcr) | uart->msr_deltas;
		uart->msr_deltas = 0;
		return UART_IER_MSI;
	default:
		*ret_value = uart->scr;
		return 0;
	}
}

static void update_line(struct uart *uart, uint8_t acknowledged)
{
	/* On a PC, OUT2 connects the interrupt to its line, and loopback holds OUT2 inactive. */
	bool connected = (uart->mcr & (UART_MCR_OUT2 | UART_MCR_LOOP)) == UART_MCR_OUT2;
	uint8_t causes = connected ? enabled_causes(uart) : 0;
	bool has_risen = causes & ~uart->causes;
	bool has_fallen = uart->causes & acknowledged;

	if (has_risen || (has_fallen && causes))
		irq_pulse(uart->lines, uart->gsi);
	uart->causes = causes;
}

static void uart_pio(void *opaque, uint16_t offset, bool is_write, unsigned size, uint32_t *value)
{
	struct uart *uart = opaque;
	bool drained;

	(void)pthread_mutex_lock(&uart->lock);
	/* The chip has 8 data lines: a wider access is one access to each register in turn. */
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = *value >> (8 * i);
		uint8_t acknowledged;

		if (is_write) {
			acknowledged = register_write(uart, offset + i, byte);
		} else {
			acknowledged = register_read(uart, offset + i, &byte);
			*value = (*value & ~(0xffU << (8 * i))) | (uint32_t)byte << (8 * i);
		}
		update_line(uart, acknowledged);
	}
	drained = uart->rx_count == 0;
	(void)pthread_mutex_unlock(&uart->lock);

	if (drained)
		console_sink_ready(uart->console);
}

static size_t uart_room(void *opaque)
{
	struct uart *uart = opaque;
	size_t room;

	(void)pthread_mutex_lock(&uart->lock);
	room = uart->mcr & UART_MCR_LOOP ? 0 : rx_capacity(uart) - uart->rx_count;
	(void)pthread_mutex_unlock(&uart->lock);
	return room;
}

static void uart_input(void *opaque, const uint8_t *bytes, size_t len)
{
	struct uart *uart = opaque;

	(void)pthread_mutex_lock(&uart->lock);
	for (size_t i = 0; i < len; i++)
		rx_push(uart, bytes[i]);
	update_line(uart, 0);
	(void)pthread_mutex_unlock(&uart->lock);
}

struct uart *uart_new(const struct irq_lines *lines, unsigned gsi, struct console *console)
{
	struct uart *uart = calloc(1, sizeof(*uart));

	if (!uart)
		return NULL;
	uart->lines = lines;
	uart->gsi = gsi;
	uart->console = console;
	uart->divisor = UART_DIVISOR_9600;
	(void)pthread_mutex_init(&uart->lock, NULL);
	console_set_sink(console, &(struct console_sink){
					  .room = uart_room,
					  .input = uart_input,
					  .opaque = uart,
				  });
	return uart;
}

struct uart *uart_free(struct uart *uart)
{
	if (!uart)
		return NULL;
	console_set_sink(uart->console, NULL);
	(void)pthread_mutex_destroy(&uart->lock);
	free(uart);
	return NULL;
}

int uart_add_ports(struct uart *uart, struct bus *bus, uint16_t base)
{
	return bus_add(bus, base, UART_PORTS, uart_pio, uart);
}

static void uart_break_locks(void *device)
{
	struct uart *uart = device;

	(void)pthread_mutex_init(&uart->lock, NULL);
}

static int uart_save(void *device, uint16_t version, void *buf)
{
	struct uart *uart = device;
	struct uart_state state;

	if (version != uart_ops.version)
		return -EPROTONOSUPPORT;
	(void)pthread_mutex_lock(&uart->lock);
	state = (struct uart_state){
		.ier = uart->ier,
		.fcr = uart->fcr,
		.lcr = uart->lcr,
		.mcr = uart->mcr,
		.scr = uart->scr,
		.lsr_errors = uart->lsr_errors,
		.msr_deltas = uart->msr_deltas,
		.thre_pending = uart->thre_pending,
		.divisor = htole16(uart->divisor),
		.rx_count = uart->rx_count,
	};
	for (unsigned i = 0; i < uart->rx_count; i++)
		state.rx[i] = uart->rx[(uart->rx_first + i) % UART_FIFO_SIZE];
	(void)pthread_mutex_unlock(&uart->lock);
	memcpy(buf, &state, sizeof(state));
	return sizeof(state);
}

static bool state_is_valid(const struct uart_state *state)
{
	return !(state->ier & ~UART_IER_BITS) && !(state->fcr & ~UART_FCR_BITS) &&
	       (state->fcr & UART_FCR_ENABLE_FIFO || state->fcr == 0) &&
	       !(state->mcr & ~UART_MCR_BITS) && !(state->lsr_errors & ~UART_LSR_OE) &&
	       !(state->msr_deltas & ~UART_MSR_ANY_DELTA) && state->thre_pending <= 1 &&
	       state->rx_count <= (state->fcr ? UART_FIFO_SIZE : 1) && state->reserved == 0;
}

static int uart_load(void *device, uint16_t version, const void *buf, size_t len)
{
	struct uart *uart = device;
	struct uart_state state;

	if (version != uart_ops.version)
		return -EPROTONOSUPPORT;
	if (len != sizeof(state))
		return -EBADMSG;
	memcpy(&state, buf, sizeof(state));
	if (!state_is_valid(&state))
		return -EBADMSG;

	(void)pthread_mutex_lock(&uart->lock);
	uart->ier = state.ier;
	uart->fcr = state.fcr;
	uart->lcr = state.lcr;
	uart->mcr = state.mcr;
	uart->scr = state.scr;
	uart->lsr_errors = state.lsr_errors;
	uart->msr_deltas = state.msr_deltas;
	uart->thre_pending = state.thre_pending;
	uart->divisor = le16toh(state.divisor);
	uart->rx_first = 0;
	uart->rx_count = state.rx_count;
	memcpy(uart->rx, state.rx, sizeof(uart->rx));
	/* The edge of a cause that is pending may have got lost on the way: send it (again). */
	uart->causes = 0;
	update_line(uart, 0);
	(void)pthread_mutex_unlock(&uart->lock);

	console_sink_ready(uart->console);
	return 0;
}

const struct device_ops uart_ops = {
	.name = "uart",
	.section = VMM_SECTION_UART,
	.version = 1,
	.min_version = 1,
	.state_size = sizeof(struct uart_state),
	.save = uart_save,
	.break_locks = uart_break_locks,
	.load = uart_load,
};
