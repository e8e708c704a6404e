/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `upgrade`, `rollback` and `rescue` share. */
#ifndef VMM_CMD_UPGRADE_H
#define VMM_CMD_UPGRADE_H

#include "common.h"

enum upgrade_kind {
	UPGRADE_FORWARD,
	UPGRADE_ROLLBACK, /* to the program that ran the guest before */
	UPGRADE_RESCUE,	  /* of a guest whose VMM crashed */
};

struct upgrade {
	struct cmd cmd;
	const char *path; /* of the target's program; NULL: this one */
	enum upgrade_kind kind;
	bool check;
	bool strict;
	unsigned max_downtime_ms; /* 0: the VMM's default */
	unsigned timeout_ms;	  /* likewise */
	int n_flags;		  /* behind "--" */
	char **flags;
};

enum {
	UPGRADE_KEY_VMM = CMD_KEY_FIRST,
	UPGRADE_KEY_CHECK,
	UPGRADE_KEY_STRICT,
	UPGRADE_KEY_MAX_DOWNTIME,
	UPGRADE_KEY_TIMEOUT,
};

/* Options of argp; each verb has those that mean something to it. */
#define UPGRADE_OPTION_VMM                                                                         \
	{                                                                                          \
		"vmm", UPGRADE_KEY_VMM, "PATH", 0, "Program to take over (default: this one)", 0   \
	}
#define UPGRADE_OPTION_CHECK                                                                       \
	{                                                                                          \
		"check", UPGRADE_KEY_CHECK, NULL, 0,                                               \
			"Only find out whether the new program could take over", 0                 \
	}
#define UPGRADE_OPTION_STRICT                                                                      \
	{                                                                                          \
		"strict", UPGRADE_KEY_STRICT, NULL, 0, "Refuse what would be a warning", 0         \
	}
#define UPGRADE_OPTION_MAX_DOWNTIME                                                                \
	{                                                                                          \
		"max-downtime", UPGRADE_KEY_MAX_DOWNTIME, "MS", 0,                                 \
			"Keep the guest on its VMM if it would have to stop for longer", 0         \
	}
#define UPGRADE_OPTION_TIMEOUT                                                                     \
	{                                                                                          \
		"timeout", UPGRADE_KEY_TIMEOUT, "MS", 0, "Time for everything before the stop", 0  \
	}

/* The parser of an argp whose input is a struct upgrade. */
error_t upgrade_parse_opt(int key, char *arg, struct argp_state *state);

/* A verb, whole; the exit code. */
int upgrade_main(enum upgrade_kind kind, const struct argp *argp, int argc, char **argv);

#endif
