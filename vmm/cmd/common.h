/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all verbs share: arguments, --json, failures, signals. */
#ifndef VMM_CMD_COMMON_H
#define VMM_CMD_COMMON_H

#include <argp.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../vmm.h"
#include "cmd.h"

/* The first member of what a verb gives its parser as input. */
struct cmd {
	bool wants_name;  /* one positional argument NAME */
	const char *name; /* the VM's */
	bool json;
	bool help;
	struct vmm_error error; /* why the arguments are wrong */
};

enum { CMD_KEY_JSON = 0x1000, CMD_KEY_FIRST };

/* Behind a verb's own options; {0} has to follow. */
#define CMD_OPTIONS                                                                                \
	{"json", CMD_KEY_JSON, NULL, 0, "Print one JSON object, see vmrelay-json(5)", -1},         \
	{                                                                                          \
		"help", '?', NULL, 0, "Show this help", -1                                         \
	}

/* A parser's answer to keys that are not its own. */
error_t cmd_parse_opt(struct cmd *cmd, int key, char *arg, struct argp_state *state);
/* A parser's answer to a wrong value; its error_t. */
error_t cmd_bad_value(struct cmd *cmd, const char *option, const char *value);

/* True: go on.  False: done, *ret_exit is the exit code. */
bool cmd_parse(struct cmd *cmd, const struct argp *argp, int argc, char **argv, int *ret_exit);

/* Cut argv at "--"; what is behind it is for somebody else. */
void cmd_split(int *argc, char **argv, int *ret_rest_argc, char ***ret_rest_argv);

/* A decimal number up to max. */
bool cmd_parse_number(const char *text, unsigned max, unsigned *ret);

/* 0x and a hexadecimal number up to max. */
bool cmd_parse_hex(const char *text, uint64_t max, uint64_t *ret);

/* Say that it failed, on stderr and with --json on stdout; returns the exit code. */
int cmd_fail(const struct cmd *cmd, const struct vmm_error *error);

/* Print one line; the reference is taken over. */
void cmd_print_json(json_t *json);

/*
 * The string member `key` for a human: what could command a terminal is replaced.  Numbers and the
 * rest become JSON.  buf is returned.
 */
const char *cmd_text(const json_t *object, const char *key, char *buf, size_t size);
#define CMD_TEXT(object, key) cmd_text(object, key, (char[256]){0}, 256)

/* "guest powered off", ... */
void cmd_print_end(const struct cmd *cmd, const char *name, const json_t *end);

/* Receive SIGINT, SIGTERM and SIGHUP through the returned signalfd; the old mask for a child. */
int cmd_signal_fd(sigset_t *ret_old);
/* The signal that waits there, or 0. */
int cmd_signal_read(int signal_fd);

#endif
