/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run.h - a program with a host of its own, and where hosts are to be found */
#ifndef SOFTKVM_RUN_H
#define SOFTKVM_RUN_H

#include <stdbool.h>

/* Becomes the host that listens at listener_fd: sets itself up, calls run_is_ready(), and serves.
 * Its value is the exit code of the process. */
struct run_host {
	int (*main)(void *opaque, int listener_fd, int program_fd);
	void *opaque;
};

/* Tell the program that it can begin, and leave it the terminal: standard descriptors are /dev/null
 * from here on, but stderr if it leads somewhere else. */
void run_is_ready(bool keeps_stderr);

/*
 * Start a host and become argv's program, whose /dev/kvm and /dev/sev it serves through the library
 * at preload.  Returns only if it fails, -errno; *ret_what: what could not be done.
 */
int run_program(const struct run_host *host, const char *preload, char **argv,
		const char **ret_what);

/* The same with a host that somebody has started to serve at a path. */
int run_program_at(const char *path, const char *preload, char **argv, const char **ret_what);

/* A listening socket at a path, which replaces one that nobody listens at; or -errno. */
int run_listen(const char *path);

#endif
