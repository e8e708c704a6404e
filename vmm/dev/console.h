/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host side of the serial port: a ring of recent output and the clients attached to it.
 *
 * Theory of operation: output goes into a ring in a memory object of its own, so that a relay hands
 * it over instead of copying it.  Each client has a position in the ring and is sent what it has
 * not got yet; a client that falls behind by more than the ring loses the oldest output, never the
 * guest's time.  Input is read from a client only as far as the UART can take it, so the rest stays
 * in the socket and survives a relay.
 */
#ifndef VMM_DEV_CONSOLE_H
#define VMM_DEV_CONSOLE_H

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "../device.h"

struct console;

#define CONSOLE_RING_SIZE   (256U * 1024U)
#define CONSOLE_CLIENTS_MAX 16

/*
 * listen_fd: listening unix stream socket; ring_fd: memory object of a console that another process
 * began, or -1 for a new one.  Both are taken over on success.  A console with the ring of another
 * process starts frozen and stopped: console_thaw() says that it is the owner now.
 */
int console_new(sd_event *event, int listen_fd, int ring_fd, struct console **ret);
struct console *console_free(struct console *console);

/* The receiver of input: how many bytes it can take now, and bytes for it (never more than that).
 */
struct console_sink {
	size_t (*room)(void *opaque);
	void (*input)(void *opaque, const uint8_t *bytes, size_t len);
	void *opaque;
};
void console_set_sink(struct console *console, const struct console_sink *sink);
/* From any thread: the sink has room again. */
void console_sink_ready(struct console *console);

/* Guest output; from any thread; never blocks. */
void console_write(struct console *console, const uint8_t *bytes, size_t len);

/*
 * Attach a client by its fd (closed on failure): an accepted socket or a pty master.  It is sent
 * what the ring still has from `position` (bytes since the console began) on.  -EBUSY while frozen,
 * -EUSERS if there are CONSOLE_CLIENTS_MAX already.
 */
int console_attach(struct console *console, int fd, uint64_t position);

/* Let go of the client that is a pty master, if there is one. */
void console_drop_pty(struct console *console);

/*
 * Frozen, from the moment the clients' fds are on their way to a target until the outcome is known:
 * nobody is accepted, and a client that leaves keeps its place in the order, marked as gone.  Bytes
 * flow on in both directions while the event loop runs, until console_ops.save(): from then on they
 * belong to the target, and the console touches its clients no more until it is thawed.
 */
void console_freeze(struct console *console);
void console_thaw(struct console *console);

/* Borrowed fds for the target, in the order in which the console's saved state names the clients.
 */
int console_listen_fd(const struct console *console);
int console_ring_fd(const struct console *console);
unsigned console_client_fds(const struct console *console, int ret_fds[CONSOLE_CLIENTS_MAX]);
/*
 * Target: the clients that the state about to be loaded refers to, once, before it is thawed
 * (-EBUSY otherwise).  All fds are closed on failure.
 */
int console_adopt(struct console *console, const int *fds, unsigned n_fds);

extern const struct device_ops console_ops; /* save, load; no ports */

#endif
