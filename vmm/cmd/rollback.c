// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay rollback: give a guest back to the program that ran it before. */
#include "upgrade.h"

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	return upgrade_parse_opt(state->input, key, arg, state);
}

int cmd_rollback(int argc, char **argv)
{
	static const struct argp_option options[] = {UPGRADE_OPTIONS, CMD_OPTIONS, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse_opt,
		.args_doc = "NAME [-- FLAGS...]",
		.doc = "Have a running guest taken over by the program that ran it before its "
		       "last upgrade, even if its file was replaced since."};
	struct upgrade upgrade = {.cmd.wants_name = true, .kind = UPGRADE_ROLLBACK};
	int exit_code;

	cmd_split(&argc, argv, &upgrade.n_flags, &upgrade.flags);
	if (!cmd_parse(&upgrade.cmd, &argp, argc, argv, &exit_code))
		return exit_code;
	return upgrade_run(&upgrade);
}
