// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay receive: the new process of an upgrade; started by `vmrelay upgrade`, not by people. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "common.h"

struct receive {
	struct cmd cmd;
	unsigned fd;
};

enum { KEY_FD = CMD_KEY_FIRST };

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct receive *receive = state->input;

	if (key != KEY_FD)
		return cmd_parse_opt(&receive->cmd, key, arg, state);
	return cmd_parse_number(arg, INT_MAX, &receive->fd)
		       ? 0
		       : cmd_bad_value(&receive->cmd, "--fd", arg);
}

int cmd_receive(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"fd", KEY_FD, "FD", 0, "Socket to the source", 0}, CMD_OPTIONS, {0}};
	static const struct argp argp = {.options = options,
					 .parser = parse_opt,
					 .args_doc = "[-- FLAGS...]",
					 .doc = "Become the VMM of a running guest (internal)."};
	struct receive receive = {.fd = 3};
	char **flags;
	int n_flags, exit_code, type;
	socklen_t len = sizeof(type);

	cmd_split(&argc, argv, &n_flags, &flags);
	if (!cmd_parse(&receive.cmd, &argp, argc, argv, &exit_code))
		return exit_code;

	int fd = (int)receive.fd;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
		struct vmm_error error;

		vmm_error_set(&error, VMM_EXIT_USAGE,
			      "file descriptor %d is not a socket to the source of an upgrade", fd);
		return cmd_fail(&receive.cmd, &error);
	}
	/* Executed through a file descriptor, the process would be named by its number. */
	(void)prctl(PR_SET_NAME, "vmrelay");
	return vmm_receive(fd, n_flags, flags);
}
