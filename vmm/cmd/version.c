// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay version: this program, and what it can relay. */
#include <stdio.h>

#include "common.h"

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	return cmd_parse_opt(state->input, key, arg, state);
}

int cmd_version(int argc, char **argv)
{
	static const struct argp_option options[] = {CMD_OPTIONS, {0}};
	static const struct argp argp = {.options = options,
					 .parser = parse_opt,
					 .doc = "Show the version of this program, and with --json "
						"what it can relay."};
	struct cmd cmd = {0};
	json_t *version;
	int exit_code;

	if (!cmd_parse(&cmd, &argp, argc, argv, &exit_code))
		return exit_code;
	if (!cmd.json) {
		(void)printf("vmrelay %s\n", VMRELAY_VERSION);
		return VMM_EXIT_OK;
	}
	version = vmm_version();
	if (!version || json_object_set_new(version, "version", json_string(VMRELAY_VERSION)) < 0) {
		struct vmm_error error;

		json_decref(version);
		vmm_error_set(&error, VMM_EXIT_FAILED, "out of memory");
		return cmd_fail(&cmd, &error);
	}
	cmd_print_json(version);
	return VMM_EXIT_OK;
}
