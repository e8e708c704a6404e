// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay rescue: give a guest whose VMM crashed a new one. */
#include "upgrade.h"

enum { KEY_VMM = UPGRADE_KEY_FIRST };

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct upgrade *upgrade = state->input;

	if (key != KEY_VMM)
		return upgrade_parse_opt(upgrade, key, arg, state);
	upgrade->path = arg;
	return 0;
}

int cmd_rescue(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"vmm", KEY_VMM, "PATH", 0, "Program to take over (default: this one)", 0},
		UPGRADE_OPTIONS,
		CMD_OPTIONS,
		{0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse_opt,
		.args_doc = "NAME [-- FLAGS...]",
		.doc = "Give a guest that was started with --rescue, and whose VMM crashed, a new "
		       "one: it goes on where it was."};
	struct upgrade upgrade = {.cmd.wants_name = true, .kind = UPGRADE_RESCUE};
	int exit_code;

	cmd_split(&argc, argv, &upgrade.n_flags, &upgrade.flags);
	if (!cmd_parse(&upgrade.cmd, &argp, argc, argv, &exit_code))
		return exit_code;
	return upgrade_run(&upgrade);
}
