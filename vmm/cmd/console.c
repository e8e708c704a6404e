// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay console: attach this terminal to a VM's serial console. */
#include <stdio.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "../runtime.h"
#include "../terminal.h"
#include "common.h"

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	return cmd_parse_opt(state->input, key, arg, state);
}

int cmd_console(int argc, char **argv)
{
	static const struct argp_option options[] = {CMD_OPTIONS, {0}};
	static const struct argp argp = {.options = options,
					 .parser = parse_opt,
					 .args_doc = "NAME",
					 .doc = "Attach the terminal to a VM's serial console; "
						"Ctrl-] detaches."};
	struct cmd cmd = {.wants_name = true};
	struct terminal terminal;
	struct vmm_error error;
	enum terminal_event event;
	sigset_t old;
	int exit_code;

	if (!cmd_parse(&cmd, &argp, argc, argv, &exit_code))
		return exit_code;

	int console_fd = runtime_connect(cmd.name, "console.sock", &error);

	if (console_fd < 0)
		return cmd_fail(&cmd, &error);

	autofd signal_fd = cmd_signal_fd(&old);

	terminal_attach(&terminal, console_fd, cmd.json ? STDERR_FILENO : STDOUT_FILENO);
	if (terminal.is_tty)
		(void)fprintf(stderr, "%s: attached, Ctrl-] detaches\r\n", cmd.name);
	event = terminal_run(&terminal, -1, signal_fd);
	terminal_detach(&terminal);

	if (cmd.json)
		cmd_print_json(json_pack("{s:s, s:b}", "vm", cmd.name, "detached",
					 event != TERMINAL_CLOSED));
	else
		(void)fprintf(stderr, "\n%s: %s\n", cmd.name,
			      event == TERMINAL_CLOSED ? "the console closed" : "detached");
	return VMM_EXIT_OK;
}
