// SPDX-License-Identifier: GPL-2.0-or-later
/* Standard input and output attached to a VM's console. */
#include "terminal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kvm/cleanup.h"

#define ESCAPE	 0x1d /* Ctrl-] */
#define QUIET_MS 200

void terminal_attach(struct terminal *terminal, int console_fd, int output_fd)
{
	struct termios raw;

	*terminal = (struct terminal){
		.console_fd = console_fd,
		.input_fd = STDIN_FILENO,
		.output_fd = output_fd,
	};
	terminal->is_tty = tcgetattr(STDIN_FILENO, &terminal->saved) == 0;
	if (!terminal->is_tty)
		return;
	raw = terminal->saved;
	cfmakeraw(&raw);
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

void terminal_detach(struct terminal *terminal)
{
	if (terminal->is_tty)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->saved);
	terminal->is_tty = false;
	terminal->console_fd = close_fd(terminal->console_fd);
}

/* A reader that has gone away is no reason to stop the guest or this program. */
static void write_output(struct terminal *terminal, const char *bytes, size_t len)
{
	while (len > 0 && terminal->output_fd >= 0) {
		struct pollfd poll_fd = {.fd = terminal->output_fd, .events = POLLOUT};
		ssize_t n = write(terminal->output_fd, bytes, len);

		if (n >= 0) {
			bytes += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			(void)poll(&poll_fd, 1, -1);
		} else if (errno != EINTR) {
			terminal->output_fd = -1;
		}
	}
}

/* False at the end of the console. */
static bool read_console(struct terminal *terminal)
{
	char bytes[16 * 1024];
	ssize_t n = recv(terminal->console_fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0) {
		terminal->console_fd = close_fd(terminal->console_fd);
		terminal->input_len = 0;
		return false;
	}
	write_output(terminal, bytes, (size_t)n);
	return true;
}

/*
 * False if the user detaches.  A terminal is read even if the guest takes nothing, or Ctrl-] would
 * be stuck behind what the guest does not take; what finds no room is lost, as on a serial line.
 */
static bool read_input(struct terminal *terminal)
{
	char bytes[sizeof(terminal->input)];
	ssize_t n = read(terminal->input_fd, bytes, sizeof(bytes));
	const char *escape;
	size_t len, room;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0) {
		/* The end of a file or pipe; a terminal at its end was hung up. */
		terminal->input_fd = -1;
		return !terminal->is_tty;
	}
	escape = terminal->is_tty ? memchr(bytes, ESCAPE, (size_t)n) : NULL;
	len = escape ? (size_t)(escape - bytes) : (size_t)n;
	room = terminal->console_fd < 0 ? 0 : sizeof(terminal->input) - terminal->input_len;
	if (len > room)
		len = room;
	memcpy(terminal->input + terminal->input_len, bytes, len);
	terminal->input_len += len;
	return !escape;
}

static void send_input(struct terminal *terminal)
{
	ssize_t n;

	if (terminal->input_len == 0)
		return;
	n = send(terminal->console_fd, terminal->input, terminal->input_len,
		 MSG_DONTWAIT | MSG_NOSIGNAL);
	/* An error is left for the receiving side to see. */
	if (n > 0) {
		terminal->input_len -= (size_t)n;
		memmove(terminal->input, terminal->input + n, terminal->input_len);
	}
}

enum terminal_event terminal_run(struct terminal *terminal, int watch_fd, int signal_fd)
{
	for (;;) {
		enum { CONSOLE, INPUT, WATCH, SIGNAL };
		struct pollfd fds[] = {
			[CONSOLE] = {.fd = terminal->console_fd,
				     .events = (short)(terminal->input_len > 0 ? POLLIN | POLLOUT
									       : POLLIN)},
			[INPUT] = {.fd = terminal->is_tty || terminal->input_len == 0
						 ? terminal->input_fd
						 : -1,
				   .events = POLLIN},
			[WATCH] = {.fd = watch_fd, .events = POLLIN},
			[SIGNAL] = {.fd = signal_fd, .events = POLLIN},
		};

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0) {
			if (errno == EINTR)
				continue;
			return TERMINAL_FAILED;
		}
		if (fds[SIGNAL].revents)
			return TERMINAL_SIGNAL;
		if (fds[INPUT].revents && !read_input(terminal)) {
			send_input(terminal);
			return TERMINAL_DETACHED;
		}
		send_input(terminal);
		if (fds[CONSOLE].revents & ~POLLOUT && !read_console(terminal))
			return TERMINAL_CLOSED;
		if (fds[WATCH].revents)
			return TERMINAL_WATCHED;
	}
}

void terminal_drain(struct terminal *terminal)
{
	struct pollfd poll_fd = {.fd = terminal->console_fd, .events = POLLIN};

	while (terminal->console_fd >= 0 && poll(&poll_fd, 1, QUIET_MS) > 0 &&
	       read_console(terminal))
		;
}
