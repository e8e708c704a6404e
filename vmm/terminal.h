/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Standard input and output attached to a VM's console. */
#ifndef VMM_TERMINAL_H
#define VMM_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

struct terminal {
	int console_fd; /* -1 once it is closed */
	int input_fd;	/* -1 once it is at its end */
	int output_fd;	/* -1 once nobody reads it */
	bool is_tty;	/* the input: raw mode, and Ctrl-] detaches */
	struct termios saved;
	char input[4096]; /* read, but not yet taken by the console */
	size_t input_len;
};

enum terminal_event {
	TERMINAL_DETACHED, /* Ctrl-] */
	TERMINAL_CLOSED,   /* the console is */
	TERMINAL_WATCHED,  /* watch_fd is readable */
	TERMINAL_SIGNAL,   /* signal_fd is readable */
	TERMINAL_FAILED,
};

/* Attach to console_fd (taken over); what the guest writes goes to output_fd (borrowed). */
void terminal_attach(struct terminal *terminal, int console_fd, int output_fd);
/* Restores the terminal; may be called more than once. */
void terminal_detach(struct terminal *terminal);

/* Carry bytes until something happens; watch_fd and signal_fd may be -1. */
enum terminal_event terminal_run(struct terminal *terminal, int watch_fd, int signal_fd);

/* The guest has ended: print what is still on its way, until the console closes or is quiet. */
void terminal_drain(struct terminal *terminal);

#endif
