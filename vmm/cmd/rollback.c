// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay rollback: give a guest back to the program that ran it before. */
#include "upgrade.h"

int cmd_rollback(int argc, char **argv)
{
	static const struct argp_option options[] = {
		UPGRADE_OPTION_CHECK,	UPGRADE_OPTION_STRICT, UPGRADE_OPTION_MAX_DOWNTIME,
		UPGRADE_OPTION_TIMEOUT, CMD_OPTIONS,	       {0}};
	static const struct argp argp = {
		.options = options,
		.parser = upgrade_parse_opt,
		.args_doc = "NAME [-- FLAGS...]",
		.doc = "Have a running guest taken over by the program that ran it before its "
		       "last upgrade, even if its file was replaced since."};

	return upgrade_main(UPGRADE_ROLLBACK, &argp, argc, argv);
}
