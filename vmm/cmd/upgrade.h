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
	UPGRADE_KEY_CHECK = CMD_KEY_FIRST,
	UPGRADE_KEY_STRICT,
	UPGRADE_KEY_MAX_DOWNTIME,
	UPGRADE_KEY_TIMEOUT,
	UPGRADE_KEY_FIRST,
};

#define UPGRADE_OPTIONS                                                                            \
	{"check",                                                                                  \
	 UPGRADE_KEY_CHECK,                                                                        \
	 NULL,                                                                                     \
	 0,                                                                                        \
	 "Only find out whether the new program could take over",                                  \
	 0},                                                                                       \
		{"strict", UPGRADE_KEY_STRICT, NULL, 0, "Refuse what would be a warning", 0},      \
		{"max-downtime",                                                                   \
		 UPGRADE_KEY_MAX_DOWNTIME,                                                         \
		 "MS",                                                                             \
		 0,                                                                                \
		 "Keep the guest on its VMM if it would have to stop for longer",                  \
		 0},                                                                               \
	{                                                                                          \
		"timeout", UPGRADE_KEY_TIMEOUT, "MS", 0, "Time for everything before the stop", 0  \
	}

error_t upgrade_parse_opt(struct upgrade *upgrade, int key, char *arg, struct argp_state *state);

/* Do it; the exit code. */
int upgrade_run(const struct upgrade *upgrade);

#endif
