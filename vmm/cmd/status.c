// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay status: what one VM says about itself. */
#include <stdio.h>

#include "../client.h"
#include "common.h"

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	return cmd_parse_opt(state->input, key, arg, state);
}

int cmd_status(int argc, char **argv)
{
	static const struct argp_option options[] = {CMD_OPTIONS, {0}};
	static const struct argp argp = {.options = options,
					 .parser = parse_opt,
					 .args_doc = "NAME",
					 .doc = "Show what a VM says about itself."};
	struct cmd cmd = {.wants_name = true};
	struct vmm_error error;
	struct client *client = NULL;
	json_t *status, *value;
	const char *key;
	char text[4096];
	int exit_code;

	if (!cmd_parse(&cmd, &argp, argc, argv, &exit_code))
		return exit_code;
	if (client_connect(cmd.name, CLIENT_TIMEOUT_MS, &client, &error) < 0 ||
	    client_call(client, "status", NULL, &status, &error) < 0) {
		client_free(client);
		return cmd_fail(&cmd, &error);
	}
	client_free(client);

	if (cmd.json) {
		cmd_print_json(status);
		return VMM_EXIT_OK;
	}
	json_object_foreach(status, key, value)
	{
		(void)printf("%-16s %s\n", key, cmd_text(status, key, text, sizeof(text)));
	}
	json_decref(status);
	return VMM_EXIT_OK;
}
