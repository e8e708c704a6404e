// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay rescue: give a guest whose VMM crashed a new one. */
#include "upgrade.h"

int cmd_rescue(int argc, char **argv)
{
	static const struct argp_option options[] = {
		UPGRADE_OPTION_VMM, UPGRADE_OPTION_CHECK, UPGRADE_OPTION_TIMEOUT, CMD_OPTIONS, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = upgrade_parse_opt,
		.args_doc = "NAME [-- FLAGS...]",
		.doc = "Give a guest that was started with --rescue, and whose VMM crashed, a new "
		       "one: it goes on where it was."};

	return upgrade_main(UPGRADE_RESCUE, &argp, argc, argv);
}
