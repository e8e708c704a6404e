// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay pause, vmrelay resume. */
#include <stdio.h>

#include "../client.h"
#include "common.h"

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	return cmd_parse_opt(state->input, key, arg, state);
}

static int change_state(const char *verb, const char *state, const char *doc, int argc, char **argv)
{
	static const struct argp_option options[] = {CMD_OPTIONS, {0}};
	const struct argp argp = {
		.options = options, .parser = parse_opt, .args_doc = "NAME", .doc = doc};
	struct cmd cmd = {.wants_name = true};
	struct vmm_error error;
	struct client *client = NULL;
	int exit_code;

	if (!cmd_parse(&cmd, &argp, argc, argv, &exit_code))
		return exit_code;
	if (client_connect(cmd.name, CLIENT_TIMEOUT_MS, &client, &error) < 0 ||
	    client_call(client, verb, NULL, NULL, &error) < 0) {
		client_free(client);
		return cmd_fail(&cmd, &error);
	}
	client_free(client);
	if (cmd.json)
		cmd_print_json(json_pack("{s:s, s:s}", "vm", cmd.name, "state", state));
	else
		(void)printf("%s: %s\n", cmd.name, state);
	return VMM_EXIT_OK;
}

int cmd_pause(int argc, char **argv)
{
	return change_state("pause", "paused", "Stop a guest's vCPUs until `vmrelay resume`.", argc,
			    argv);
}

int cmd_resume(int argc, char **argv)
{
	return change_state("resume", "running", "Let a paused guest go on.", argc, argv);
}
