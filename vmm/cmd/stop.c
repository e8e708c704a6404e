// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay stop: press the power button, and pull the plug if that does not help. */
#include <errno.h>
#include <stdio.h>

#include "../client.h"
#include "common.h"

#define TIMEOUT_S	  30
#define TIMEOUT_MAX_S	  86400
#define FORCED_TIMEOUT_MS 10000

struct stop {
	struct cmd cmd;
	bool force;
	unsigned timeout_s;
};

enum { KEY_FORCE = CMD_KEY_FIRST, KEY_TIMEOUT };

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct stop *stop = state->input;

	switch (key) {
	case KEY_FORCE:
		stop->force = true;
		return 0;
	case KEY_TIMEOUT:
		return cmd_parse_number(arg, TIMEOUT_MAX_S, &stop->timeout_s)
			       ? 0
			       : cmd_bad_value(&stop->cmd, "--timeout", arg);
	default:
		return cmd_parse_opt(&stop->cmd, key, arg, state);
	}
}

/*
 * 0 with *ret_end, or -1 with error filled.  A request that fails is not the last word: the guest
 * may have ended in between.
 */
static int stop_vm(const struct stop *stop, struct client **client, json_t **ret_end,
		   struct vmm_error *ret_error)
{
	int r = -EAGAIN;

	if (client_wait(*client, ret_error) < 0)
		return -1;
	if (!stop->force) {
		int asked = client_call(*client, "stop", json_pack("{s:b}", "force", 0), NULL,
					ret_error);

		r = client_wait_end(client, stop->cmd.name,
				    asked < 0 ? 0 : (int)stop->timeout_s * 1000, ret_end);
		if (r == -EAGAIN && asked < 0)
			return -1;
	}
	if (r == -EAGAIN) {
		(void)client_call(*client, "stop", json_pack("{s:b}", "force", 1), NULL, ret_error);
		r = client_wait_end(client, stop->cmd.name, FORCED_TIMEOUT_MS, ret_end);
	}
	if (r == -EAGAIN)
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "the VMM of %s does not end its guest",
			      stop->cmd.name);
	else if (r < 0)
		vmm_error_set(ret_error, VMM_EXIT_LOST,
			      "the VMM of %s is gone without having said how its guest ended",
			      stop->cmd.name);
	return r < 0 ? -1 : 0;
}

int cmd_stop(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"force", KEY_FORCE, NULL, 0, "End the guest at once", 0},
		{"timeout", KEY_TIMEOUT, "SECONDS", 0,
		 "How long the guest may take to power off before it is forced (default 30)", 0},
		CMD_OPTIONS,
		{0}};
	static const struct argp argp = {.options = options,
					 .parser = parse_opt,
					 .args_doc = "NAME",
					 .doc = "Press a VM's power button and wait for its end."};
	struct stop stop = {.cmd.wants_name = true, .timeout_s = TIMEOUT_S};
	struct vmm_error error;
	struct client *client = NULL;
	json_t *end = NULL;
	int exit_code;

	if (!cmd_parse(&stop.cmd, &argp, argc, argv, &exit_code))
		return exit_code;
	if (client_connect(stop.cmd.name, CLIENT_TIMEOUT_MS, &client, &error) < 0 ||
	    stop_vm(&stop, &client, &end, &error) < 0) {
		client_free(client);
		return cmd_fail(&stop.cmd, &error);
	}
	client_drain(client);
	client_free(client);
	cmd_print_end(&stop.cmd, stop.cmd.name, end);
	json_decref(end);
	return VMM_EXIT_OK;
}
