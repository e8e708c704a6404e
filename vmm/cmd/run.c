// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmrelay run: start a VM.
 *
 * The VMM is a child in a session of its own.  The foreground variant is only a client of it, like
 * `vmrelay console`, so that it lives through upgrades: it asks to be told of the guest's end
 * before the guest starts, and an upgrade hands that connection over.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "../client.h"
#include "../options.h"
#include "../runtime.h"
#include "../terminal.h"
#include "common.h"

#define FORCED_TIMEOUT_MS 10000

struct run {
	struct cmd cmd;
	struct vmm_options options;
	struct vmm_options_parser parser;
	bool detach;
	bool rescue;
};

enum { KEY_RESCUE = CMD_KEY_FIRST };

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct run *run = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &run->parser;
		return 0;
	case 'd':
		run->detach = true;
		return 0;
	case KEY_RESCUE:
		run->rescue = true;
		return 0;
	case ARGP_KEY_ERROR:
		if (run->parser.text[0])
			vmm_error_set(&run->cmd.error, VMM_EXIT_USAGE, "%s", run->parser.text);
		return cmd_parse_opt(&run->cmd, key, arg, state);
	case ARGP_KEY_END:
		if (!run->cmd.help && vmm_options_check(&run->options, run->parser.text,
							sizeof(run->parser.text)) < 0)
			return EINVAL;
		return 0;
	default:
		return cmd_parse_opt(&run->cmd, key, arg, state);
	}
}

/* The VMM leaves the working directory, so that no file system is kept busy by it. */
static int make_absolute(char **path, struct vmm_error *ret_error)
{
	char *absolute;

	if (!*path)
		return 0;
	absolute = realpath(*path, NULL);
	if (!absolute) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot open %.200s: %s", *path,
			      strerror(errno));
		return -1;
	}
	free(*path);
	*path = absolute;
	return 0;
}

/* A process that lives on without terminal and working directory. */
static void daemonise(int log_fd, const sigset_t *signals)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)sigprocmask(SIG_SETMASK, signals, NULL);
	(void)setsid();
	if (null_fd < 0 || chdir("/") < 0 || dup2(null_fd, STDIN_FILENO) < 0 ||
	    dup2(null_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0)
		_exit(VMM_EXIT_FAILED);
	close_fd(null_fd);
	close_fd(log_fd);
}

/* Fork the keeper; returns the VMM's end of the socket to it, or -1. */
static int start_keeper(int log_fd, const struct vmm_options *options, const sigset_t *signals)
{
	const int keeper_fd = STDERR_FILENO + 1;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;

	autofd ours = pair[0], its = pair[1];
	pid_t pid = fork();

	if (pid == 0) {
		daemonise(log_fd, signals);
		/* Nothing else that is open here is its business. */
		if (its != keeper_fd && dup3(its, keeper_fd, O_CLOEXEC) < 0)
			_exit(VMM_EXIT_FAILED);
		(void)close_range(keeper_fd + 1, ~0U, 0);
		exit(keeper_run(keeper_fd, options));
	}
	return pid < 0 ? -1 : steal_fd(&ours);
}

/* What vmm_run() says over the pipe: 0, or -1 with error filled. */
static int wait_ready(const char *name, int ready_fd, int signal_fd, pid_t pid,
		      struct vmm_error *ret_error)
{
	char line[2048];
	size_t len = 0;
	ssize_t n = 1;

	while (n != 0 && len < sizeof(line)) {
		struct pollfd fds[] = {{.fd = ready_fd, .events = POLLIN},
				       {.fd = signal_fd, .events = POLLIN}};

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents && cmd_signal_read(signal_fd)) {
			(void)kill(pid, SIGKILL);
			(void)waitpid(pid, NULL, 0);
			vmm_error_set(ret_error, VMM_EXIT_FAILED,
				      "interrupted while %s was being started", name);
			return -1;
		}
		if (!fds[0].revents)
			continue;
		n = read(ready_fd, line + len, sizeof(line) - len);
		if (n > 0)
			len += (size_t)n;
		else if (n < 0 && errno != EINTR)
			break;
	}

	json_error_t ignored;
	json_t *answer = json_loadb(line, len, JSON_DISABLE_EOF_CHECK, &ignored);
	json_t *text = json_object_get(answer, "error");
	json_int_t code = json_integer_value(json_object_get(answer, "exit"));
	bool is_ready = json_is_integer(json_object_get(answer, "pid"));

	if (!is_ready)
		vmm_error_set(ret_error,
			      code >= VMM_EXIT_FAILED && code <= VMM_EXIT_LOST ? (enum vmm_exit)code
									       : VMM_EXIT_FAILED,
			      "%s",
			      json_is_string(text) ? json_string_value(text)
						   : "the VMM ended before the guest ran");
	json_decref(answer);
	if (is_ready)
		return 0;
	(void)waitpid(pid, NULL, 0);
	return -1;
}

/* The terminal, until the guest ends (0 with *ret_end) or the user leaves it alone (1); or -1. */
static int follow(const char *name, struct terminal *terminal, struct client **client,
		  int signal_fd, json_t **ret_end, struct vmm_error *ret_error)
{
	int r, signal;

	for (;;) {
		r = client_wait_end(client, name, 0, ret_end);
		if (r == 0) {
			terminal_drain(terminal);
			return 0;
		}
		if (r == -EPIPE) {
			vmm_error_set(ret_error, VMM_EXIT_LOST,
				      "the VMM of %s is gone without having said how its guest "
				      "ended",
				      name);
			return -1;
		}
		switch (terminal_run(terminal, client_fd(*client), signal_fd)) {
		case TERMINAL_DETACHED:
			return 1;
		case TERMINAL_CLOSED:
		case TERMINAL_WATCHED:
			continue;
		case TERMINAL_SIGNAL:
			break;
		case TERMINAL_FAILED:
			vmm_error_set(ret_error, VMM_EXIT_FAILED,
				      "cannot wait for the console of %s: %s", name,
				      strerror(errno));
			return -1;
		}

		signal = cmd_signal_read(signal_fd);
		if (signal == 0)
			continue;
		if (signal == SIGHUP)
			return 1;
		(void)client_call(*client, "stop", json_pack("{s:b}", "force", 1), NULL, ret_error);
		r = client_wait_end(client, name, FORCED_TIMEOUT_MS, ret_end);
		if (r == -EAGAIN)
			vmm_error_set(ret_error, VMM_EXIT_FAILED,
				      "the VMM of %s does not end its guest", name);
		else if (r < 0)
			vmm_error_set(ret_error, VMM_EXIT_LOST,
				      "the VMM of %s is gone without having said how its guest "
				      "ended",
				      name);
		return r < 0 ? -1 : 0;
	}
}

static int attach(const struct run *run, struct client **client, int console_fd, int signal_fd,
		  pid_t pid)
{
	const char *name = run->options.name;
	struct terminal terminal;
	struct vmm_error error;
	json_t *end = NULL;
	int r;

	terminal_attach(&terminal, console_fd, run->cmd.json ? STDERR_FILENO : STDOUT_FILENO);
	r = follow(name, &terminal, client, signal_fd, &end, &error);
	terminal_detach(&terminal);
	if (r < 0)
		return cmd_fail(&run->cmd, &error);
	if (r > 0) {
		if (run->cmd.json)
			cmd_print_json(json_pack("{s:s, s:b}", "vm", name, "detached", 1));
		else
			(void)fprintf(stderr, "\n%s: detached, the VM goes on\n", name);
		return VMM_EXIT_OK;
	}

	bool crashed = strcmp(json_string_value(json_object_get(end, "end")), "crashed") == 0;

	/* Until the name is free again; after an upgrade the VMM is not our child. */
	client_drain(*client);
	(void)waitpid(pid, NULL, WNOHANG);
	cmd_print_end(&run->cmd, name, end);
	json_decref(end);
	return crashed ? VMM_EXIT_FAILED : VMM_EXIT_OK;
}

struct launch {
	struct runtime runtime;
	struct client *client; /* waits for the end; NULL with --detach */
	int console_fd;	       /* -1 with --detach */
	int signal_fd;
	int ready_fd;
	pid_t pid;
};

/* Fork the VMM.  Everything in launch is the caller's to release, 0 or -1 with error filled. */
static int launch_vmm(const struct run *run, struct launch *launch, struct vmm_error *ret_error)
{
	const char *name = run->options.name;
	autofd log_fd = runtime_open_log(name);
	sigset_t old;
	int ready[2];

	/* Nobody accepts yet, but whoever does will find the request there. */
	if (!run->detach) {
		launch->console_fd = runtime_connect(name, "console.sock", ret_error);
		if (launch->console_fd < 0 || client_open(name, &launch->client, ret_error) < 0 ||
		    client_send(launch->client, "wait", NULL, NULL, 0, ret_error) < 0)
			return -1;
	}
	if (log_fd < 0 || pipe2(ready, O_CLOEXEC) < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot open the log of %s: %s", name,
			      strerror(errno));
		return -1;
	}
	launch->ready_fd = ready[0];

	autofd ready_write = ready[1];

	launch->signal_fd = cmd_signal_fd(&old);

	autofd keeper_fd = run->rescue ? start_keeper(log_fd, &run->options, &old) : -1;

	if (run->rescue && keeper_fd < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot start the keeper of %s: %s", name,
			      strerror(errno));
		return -1;
	}
	launch->pid = fork();
	if (launch->pid == 0) {
		client_free(launch->client);
		close_fd(launch->console_fd);
		close_fd(launch->signal_fd);
		close_fd(launch->ready_fd);
		daemonise(log_fd, &old);
		exit(vmm_run(&run->options, &launch->runtime, keeper_fd, ready_write));
	}
	if (launch->pid < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot start a process: %s",
			      strerror(errno));
		return -1;
	}
	return 0;
}

static int run_vm(const struct run *run)
{
	const char *name = run->options.name;
	struct launch launch = {
		.runtime = RUNTIME_INIT, .console_fd = -1, .signal_fd = -1, .ready_fd = -1};
	struct vmm_error error;
	int exit_code;

	if (runtime_create(name, &launch.runtime, &error) < 0)
		return cmd_fail(&run->cmd, &error);

	if (launch_vmm(run, &launch, &error) < 0) {
		exit_code = cmd_fail(&run->cmd, &error);
		runtime_remove(&launch.runtime, name);
		runtime_close(&launch.runtime);
	} else {
		/* It owns the VM now. */
		runtime_close(&launch.runtime);
		if (wait_ready(name, launch.ready_fd, launch.signal_fd, launch.pid, &error) < 0) {
			exit_code = cmd_fail(&run->cmd, &error);
		} else if (run->detach) {
			exit_code = VMM_EXIT_OK;
			const char *state = run->options.sev_wait ? "launching" : "running";

			if (run->cmd.json)
				cmd_print_json(json_pack("{s:s, s:i, s:s}", "vm", name, "pid",
							 (int)launch.pid, "state", state));
			else
				(void)printf("%s: %s (pid %d)\n", name, state, (int)launch.pid);
		} else {
			exit_code = attach(run, &launch.client, steal_fd(&launch.console_fd),
					   launch.signal_fd, launch.pid);
		}
	}
	client_free(launch.client);
	close_fd(launch.console_fd);
	close_fd(launch.signal_fd);
	close_fd(launch.ready_fd);
	return exit_code;
}

int cmd_run(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"detach", 'd', NULL, 0, "Return as soon as the guest runs", 0},
		{"rescue", KEY_RESCUE, NULL, 0,
		 "Have the guest outlive a crash of its VMM, see `vmrelay rescue`", 0},
		CMD_OPTIONS,
		{0}};
	static const struct argp_child children[] = {{&vmm_options_argp, 0, NULL, 0}, {0}};
	static const struct argp argp = {.options = options,
					 .parser = parse_opt,
					 .children = children,
					 .args_doc = "--name NAME --kernel FILE",
					 .doc = "Start a VM.  Ctrl-] detaches from its console."};
	struct run run = {.parser.options = &run.options};
	struct vmm_error error;
	int exit_code;

	vmm_options_init(&run.options);
	if (cmd_parse(&run.cmd, &argp, argc, argv, &exit_code)) {
		/* The VMM outlives whoever left something open for this program. */
		(void)close_range(STDERR_FILENO + 1, ~0U, 0);
		if (make_absolute(&run.options.kernel, &error) < 0 ||
		    make_absolute(&run.options.initrd, &error) < 0 ||
		    make_absolute(&run.options.memory_dir, &error) < 0 ||
		    make_absolute(&run.options.sev_dh_cert, &error) < 0 ||
		    make_absolute(&run.options.sev_session, &error) < 0)
			exit_code = cmd_fail(&run.cmd, &error);
		else
			exit_code = run_vm(&run);
	}
	vmm_options_done(&run.options);
	return exit_code;
}
