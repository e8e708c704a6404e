// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay: the command line.  Finds the verb and leaves the rest to it. */
#include <argp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "cmd/cmd.h"
#include "cmd/common.h"
#include "vmm.h"

static int cmd_help(int argc, char **argv);

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *doc; /* NULL: not for people */
} verbs[] = {
	{"run", cmd_run, "start a VM"},
	{"list", cmd_list, "list the VMs that run"},
	{"status", cmd_status, "show what a VM says about itself"},
	{"console", cmd_console, "attach the terminal to a VM's console"},
	{"pause", cmd_pause, "stop a guest's vCPUs"},
	{"resume", cmd_resume, "let a paused guest go on"},
	{"stop", cmd_stop, "power a guest off"},
	{"upgrade", cmd_upgrade, "move a running guest to a new VMM process"},
	{"rollback", cmd_rollback, "move it back to the program that ran it before"},
	{"rescue", cmd_rescue, "give a guest whose VMM crashed a new one"},
	{"host", cmd_host, "show what SEV this host has"},
	{"measure", cmd_measure, "write what a confidential guest's launch measures"},
	{"secret", cmd_secret, "put a secret into a guest that waits in its launch"},
	{"attest", cmd_attest, "have a confidential guest attested"},
	{"version", cmd_version, "show the version of this program"},
	{"help", cmd_help, "explain a verb"},
	{"receive", cmd_receive, NULL},
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

static void print_usage(void)
{
	(void)puts("Usage: vmrelay VERB [ARGUMENTS...]\n"
		   "Run KVM guests, and move them to a new VMM process while they run.\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (verbs[i].doc)
			(void)printf("  %-10s %s\n", verbs[i].name, verbs[i].doc);
	(void)puts("\nEvery verb takes --json and --help.  See vmrelay(1).");
}

struct top {
	struct cmd cmd;
	bool version;
	int verb; /* its index in argv, 0 if there is none */
};

enum { KEY_VERSION = CMD_KEY_FIRST };

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct top *top = state->input;

	switch (key) {
	case KEY_VERSION:
		top->version = true;
		return 0;
	case ARGP_KEY_ARG:
		/* The rest belongs to the verb. */
		top->verb = state->next - 1;
		state->next = state->argc;
		return 0;
	default:
		return cmd_parse_opt(&top->cmd, key, arg, state);
	}
}

static int unknown_verb(const struct cmd *cmd, const char *name)
{
	struct vmm_error error;

	vmm_error_set(&error, VMM_EXIT_USAGE, "there is no verb '%.80s', see `vmrelay help`", name);
	return cmd_fail(cmd, &error);
}

static int cmd_help(int argc, char **argv)
{
	const struct cmd cmd = {0};
	const struct verb *verb = argc > 1 ? find_verb(argv[1]) : NULL;

	if (argc < 2 || argv[1][0] == '-' || (verb && verb->run == cmd_help)) {
		print_usage();
		return VMM_EXIT_OK;
	}
	if (!verb)
		return unknown_verb(&cmd, argv[1]);

	char *verb_argv[] = {argv[1], "--help", NULL};

	return verb->run(2, verb_argv);
}

static int run(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"version", KEY_VERSION, NULL, 0, "Show the version", 0}, CMD_OPTIONS, {0}};
	static const struct argp argp = {.options = options, .parser = parse_opt};
	struct top top = {0};
	int r = argp_parse(&argp, argc, argv, ARGP_IN_ORDER | ARGP_NO_ERRS | ARGP_NO_HELP, NULL,
			   &top);

	if (r != 0) {
		if (top.cmd.error.exit == VMM_EXIT_OK)
			vmm_error_set(&top.cmd.error, VMM_EXIT_USAGE, "the arguments are wrong: %s",
				      strerror(r));
		return cmd_fail(&top.cmd, &top.cmd.error);
	}
	if (top.cmd.help) {
		print_usage();
		return VMM_EXIT_OK;
	}
	if (top.version) {
		char *version_argv[] = {"version", top.cmd.json ? "--json" : NULL, NULL};

		return cmd_version(top.cmd.json ? 2 : 1, version_argv);
	}
	if (top.verb == 0) {
		struct vmm_error error;

		vmm_error_set(&error, VMM_EXIT_USAGE, "a verb is missing, see `vmrelay help`");
		return cmd_fail(&top.cmd, &error);
	}

	const struct verb *verb = find_verb(argv[top.verb]);

	if (!verb)
		return unknown_verb(&top.cmd, argv[top.verb]);
	return verb->run(argc - top.verb, argv + top.verb);
}

/* Or the next file that is opened would get what is written to standard error. */
static int open_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -1;
	close_fd(fd);
	return 0;
}

int main(int argc, char **argv)
{
	argp_err_exit_status = VMM_EXIT_USAGE;
	if (open_standard_fds() < 0)
		return VMM_EXIT_FAILED;
	/* A peer that goes away is seen by the write that fails. */
	(void)signal(SIGPIPE, SIG_IGN);

	int exit_code = run(argc, argv);

	if (fflush(stdout) != 0 && exit_code == VMM_EXIT_OK) {
		(void)fprintf(stderr, "vmrelay: cannot write to standard output.\n");
		return VMM_EXIT_FAILED;
	}
	return exit_code;
}
