// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay list: the VMs that run. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../client.h"
#include "../runtime.h"
#include "common.h"

#define TIMEOUT_MS 2000

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	return cmd_parse_opt(state->input, key, arg, state);
}

/* NULL: it has just ended. */
static json_t *ask_status(const char *name)
{
	struct vmm_error error;
	struct client *client = NULL;
	json_t *status = NULL;

	if (client_connect(name, TIMEOUT_MS, &client, &error) < 0 ||
	    client_call(client, "status", NULL, &status, &error) < 0) {
		if (error.exit != VMM_EXIT_NO_SUCH_VM)
			status = json_pack("{s:s, s:s}", "vm", name, "state", "not answering");
	}
	client_free(client);
	return status;
}

int cmd_list(int argc, char **argv)
{
	static const struct argp_option options[] = {CMD_OPTIONS, {0}};
	static const struct argp argp = {
		.options = options, .parser = parse_opt, .doc = "List the VMs that run."};
	struct cmd cmd = {0};
	json_t *vms;
	char **names;
	unsigned n;
	int exit_code, r;

	if (!cmd_parse(&cmd, &argp, argc, argv, &exit_code))
		return exit_code;

	r = runtime_list(&names, &n);
	if (r < 0) {
		struct vmm_error error;

		vmm_error_set(&error, VMM_EXIT_FAILED, "cannot list the runtime directory: %s",
			      strerror(-r));
		return cmd_fail(&cmd, &error);
	}

	vms = json_array();
	for (unsigned i = 0; i < n; i++) {
		json_t *status = ask_status(names[i]);

		if (status)
			(void)json_array_append_new(vms, status);
		free(names[i]);
	}
	free(names);

	if (cmd.json) {
		cmd_print_json(json_pack("{s:o}", "vms", vms));
		return VMM_EXIT_OK;
	}
	if (json_array_size(vms) > 0)
		(void)printf("%-24s %-14s %8s %s\n", "NAME", "STATE", "PID", "VERSION");
	for (size_t i = 0; i < json_array_size(vms); i++) {
		json_t *vm = json_array_get(vms, i);

		(void)printf("%-24s %-14s %8s %s\n", CMD_TEXT(vm, "vm"), CMD_TEXT(vm, "state"),
			     CMD_TEXT(vm, "pid"), CMD_TEXT(vm, "version"));
	}
	json_decref(vms);
	return VMM_EXIT_OK;
}
