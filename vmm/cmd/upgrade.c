// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmrelay upgrade: have a running guest taken over by a new process.
 *
 * Theory of operation: this program starts the target, with one end of a socket pair, and gives the
 * other end and the target's pidfd to the source.  From then on the two of them decide; this
 * program shows what they say.  It kills the target only when the source has said that the guest
 * stays with it: a target that may own the guest is never touched, whatever happens here.
 */
#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "../client.h"
#include "../runtime.h"

#define TARGET_SOCKET	  3
#define TAKEOVER_TIME_MS  5000
#define TAKEOVER_RETRY_MS 50
#define TIDY_TIME_MS	  500
#define MS_MAX		  (24U * 3600 * 1000)

/* The target: our child. */
struct target {
	pid_t pid;
	int pidfd;
	int sock; /* the source's end */
};

error_t upgrade_parse_opt(int key, char *arg, struct argp_state *state)
{
	struct upgrade *upgrade = state->input;

	switch (key) {
	case UPGRADE_KEY_VMM:
		upgrade->path = arg;
		return 0;
	case UPGRADE_KEY_CHECK:
		upgrade->check = true;
		return 0;
	case UPGRADE_KEY_STRICT:
		upgrade->strict = true;
		return 0;
	case UPGRADE_KEY_MAX_DOWNTIME:
		return cmd_parse_number(arg, MS_MAX, &upgrade->max_downtime_ms)
			       ? 0
			       : cmd_bad_value(&upgrade->cmd, "--max-downtime", arg);
	case UPGRADE_KEY_TIMEOUT:
		return cmd_parse_number(arg, MS_MAX, &upgrade->timeout_ms)
			       ? 0
			       : cmd_bad_value(&upgrade->cmd, "--timeout", arg);
	default:
		return cmd_parse_opt(&upgrade->cmd, key, arg, state);
	}
}

/*
 * The program by an fd: O_PATH, so that reading it needs no permission.  A given path is executed
 * by its name nevertheless, because the interpreter of a script could not open an fd that is closed
 * on exec.
 */
static int open_program(const struct upgrade *upgrade, struct client *client, int *ret_fd,
			struct vmm_error *ret_error)
{
	const char *path = upgrade->path ? upgrade->path : "/proc/self/exe";
	struct stat st;

	if (upgrade->kind == UPGRADE_ROLLBACK) {
		int fd = -1;

		if (client_send(client, "previous-program", NULL, NULL, 0, ret_error) < 0 ||
		    client_reply(client, NULL, &fd, ret_error) < 0)
			return -1;
		if (fd < 0) {
			vmm_error_set(ret_error, VMM_EXIT_FAILED,
				      "the VMM of %s did not send the program that ran before",
				      upgrade->cmd.name);
			return -1;
		}
		*ret_fd = fd;
		return 0;
	}

	autofd fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		vmm_error_set(ret_error, VMM_EXIT_REFUSED, "cannot open the program %.180s: %s",
			      path, strerror(errno));
		return -1;
	}
	if (!S_ISREG(st.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0) {
		vmm_error_set(ret_error, VMM_EXIT_REFUSED, "%.180s is not an executable file",
			      path);
		return -1;
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* In the child: never returns; errno of what failed goes into error_fd. */
static _Noreturn void exec_target(const struct upgrade *upgrade, int program_fd, int sock,
				  int log_fd, int error_fd)
{
	char *fixed[] = {"vmrelay", "receive", "--fd", "3", "--"};
	char **argv = calloc(ARRAY_SIZE(fixed) + (size_t)upgrade->n_flags + 1, sizeof(*argv));
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	if (!argv)
		_exit(127);
	memcpy(argv, fixed, sizeof(fixed));
	for (int i = 0; i < upgrade->n_flags; i++)
		argv[ARRAY_SIZE(fixed) + (size_t)i] = upgrade->flags[i];

	for (int i = 1; i < NSIG; i++)
		(void)signal(i, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();

	/* Out of the way of TARGET_SOCKET. */
	error_fd = fcntl(error_fd, F_DUPFD_CLOEXEC, TARGET_SOCKET + 1);
	program_fd = fcntl(program_fd, F_DUPFD_CLOEXEC, TARGET_SOCKET + 1);
	sock = fcntl(sock, F_DUPFD_CLOEXEC, TARGET_SOCKET + 1);
	if (null_fd >= 0 && error_fd >= 0 && program_fd >= 0 && sock >= 0 &&
	    dup2(log_fd, STDERR_FILENO) >= 0 && dup2(null_fd, STDIN_FILENO) >= 0 &&
	    dup2(null_fd, STDOUT_FILENO) >= 0 && dup2(sock, TARGET_SOCKET) >= 0 &&
	    close_range(TARGET_SOCKET + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0) {
		if (upgrade->path)
			(void)execve(upgrade->path, argv, environ);
		else
			(void)execveat(program_fd, "", argv, environ, AT_EMPTY_PATH);
	}

	int error = errno;

	(void)!write(error_fd, &error, sizeof(error));
	_exit(127);
}

static void reap_target(struct target *target, bool do_kill)
{
	if (do_kill)
		(void)pidfd_send_signal(target->pidfd, SIGKILL, NULL, 0);
	while (waitpid(target->pid, NULL, do_kill ? 0 : WNOHANG) < 0 && errno == EINTR)
		;
}

/* 0, or -1 with error filled and no process left. */
static int start_target(const struct upgrade *upgrade, int program_fd, struct target *ret,
			struct vmm_error *ret_error)
{
	struct target target = {.pid = -1, .pidfd = -1, .sock = -1};
	autofd log_fd = runtime_open_log(upgrade->cmd.name);
	int pair[2], errors[2];
	int error = 0;

	if (log_fd < 0) {
		/* It may have ended since it told its status. */
		if (errno == ENOENT)
			vmm_error_set(ret_error, VMM_EXIT_NO_SUCH_VM, "no VM named %s is running",
				      upgrade->cmd.name);
		else
			vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot open the log of %s: %s",
				      upgrade->cmd.name, strerror(errno));
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot create a socket pair: %s",
			      strerror(errno));
		return -1;
	}

	autofd source_sock = pair[0], target_sock = pair[1];

	if (pipe2(errors, O_CLOEXEC) < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot create a pipe: %s",
			      strerror(errno));
		return -1;
	}

	autofd error_read = errors[0], error_write = errors[1];

	(void)fflush(NULL);
	target.pid = fork();
	if (target.pid == 0)
		exec_target(upgrade, program_fd, target_sock, log_fd, error_write);
	if (target.pid < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot start a process: %s",
			      strerror(errno));
		return -1;
	}
	/* Our own child cannot be reaped by others, so its pid is still its own. */
	target.pidfd = pidfd_open(target.pid, 0);
	if (target.pidfd < 0) {
		error = errno;
		(void)kill(target.pid, SIGKILL);
		(void)waitpid(target.pid, NULL, 0);
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot open a pidfd: %s",
			      strerror(error));
		return -1;
	}

	error_write = close_fd(error_write);

	ssize_t n;

	do {
		n = read(error_read, &error, sizeof(error));
	} while (n < 0 && errno == EINTR);
	if (n != 0) {
		reap_target(&target, true);
		close_fd(target.pidfd);
		vmm_error_set(ret_error, VMM_EXIT_REFUSED, "cannot execute %.180s: %s",
			      upgrade->path ? upgrade->path : "the program of the target",
			      strerror(error));
		return -1;
	}
	target.sock = steal_fd(&source_sock);
	*ret = target;
	return 0;
}

/* Remove the line of progress. */
static void end_progress(void)
{
	if (isatty(STDERR_FILENO))
		(void)fputs("\r\033[K", stderr);
}

static void show_event(const struct upgrade *upgrade, json_t *message)
{
	const char *event = json_string_value(json_object_get(message, "event"));
	json_t *data = json_object_get(message, "data");

	if (event && strcmp(event, "UPGRADE_WARNING") == 0) {
		end_progress();
		(void)fprintf(stderr, "vmrelay: warning: %s.\n", CMD_TEXT(data, "text"));
	} else if (event && strcmp(event, "UPGRADE_PHASE") == 0 && isatty(STDERR_FILENO)) {
		(void)fprintf(stderr, "\r\033[K%s: %s", upgrade->cmd.name, CMD_TEXT(data, "phase"));
	}
}

/*
 * 0 with the source's reply, whatever it is; -EPIPE: the source is gone without one; -ECONNRESET:
 * it is, and has not read the request; -EINTR: the user does not want to wait.
 */
static int follow(const struct upgrade *upgrade, struct client *client, int signal_fd, json_t **ret)
{
	for (;;) {
		json_t *message;
		int r = client_receive(client, 0, &message);

		if (r == 0 &&
		    (json_object_get(message, "return") || json_object_get(message, "error"))) {
			*ret = message;
			return 0;
		}
		if (r == 0) {
			show_event(upgrade, message);
			json_decref(message);
			continue;
		}
		if (r != -ETIMEDOUT)
			return r == -ECONNRESET ? r : -EPIPE;

		struct pollfd fds[] = {{.fd = client_fd(client), .events = POLLIN},
				       {.fd = signal_fd, .events = POLLIN}};

		(void)poll(fds, ARRAY_SIZE(fds), -1);
		if (fds[1].revents && cmd_signal_read(signal_fd))
			return -EINTR;
	}
}

static bool has_exited(const struct target *target)
{
	struct pollfd poll_fd = {.fd = target->pidfd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) > 0;
}

/* The status of the VM, with the process that serves it, or NULL. */
static json_t *ask_status(const struct upgrade *upgrade, pid_t *ret_pid)
{
	struct client *client = NULL;
	struct vmm_error ignored;
	json_t *status = NULL;

	if (client_connect(upgrade->cmd.name, TAKEOVER_RETRY_MS * 10, &client, &ignored) < 0)
		return NULL;
	*ret_pid = client_pid(client);
	(void)client_call(client, "status", NULL, &status, &ignored);
	client_free(client);
	return status;
}

static bool is_in_state(const json_t *status, const char *state)
{
	const char *text = json_string_value(json_object_get(status, "state"));

	return text && strcmp(text, state) == 0;
}

/* The status of the VM if the target serves it and runs its guest, else NULL. */
static json_t *target_status(const struct upgrade *upgrade, const struct target *target)
{
	pid_t pid = -1;
	json_t *status = ask_status(upgrade, &pid);

	if (pid == target->pid && (is_in_state(status, "running") || is_in_state(status, "paused")))
		return status;
	json_decref(status);
	return NULL;
}

/* What a dead VMM left behind, which it may take a moment more to let go of. */
static void tidy(const struct upgrade *upgrade)
{
	const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
	long long deadline = client_now_ms() + TIDY_TIME_MS;

	while (!runtime_tidy(upgrade->cmd.name) && client_now_ms() < deadline)
		(void)nanosleep(&pause, NULL);
}

/* The guest has no VMM any more: lost, unless a keeper has it. */
static int fail_lost(const struct upgrade *upgrade)
{
	pid_t ignored;
	json_t *status = ask_status(upgrade, &ignored);
	struct vmm_error error;

	if (is_in_state(status, "crashed"))
		vmm_error_set(&error, VMM_EXIT_FAILED,
			      "the VMM of %s died during the upgrade; `vmrelay rescue` gives the "
			      "guest a new one",
			      upgrade->cmd.name);
	else
		vmm_error_set(&error, VMM_EXIT_LOST,
			      "the guest of %s is lost: its VMM died during the upgrade, and the "
			      "new one did not take over",
			      upgrade->cmd.name);
	if (error.exit == VMM_EXIT_LOST)
		tidy(upgrade);
	json_decref(status);
	return cmd_fail(&upgrade->cmd, &error);
}

/* The source died without an answer: did the target take the guest over? */
static json_t *await_takeover(const struct upgrade *upgrade, const struct target *target,
			      const json_t *source)
{
	const struct timespec pause = {.tv_nsec = TAKEOVER_RETRY_MS * 1000 * 1000};
	long long deadline = client_now_ms() + TAKEOVER_TIME_MS;

	while (!has_exited(target) && client_ms_until(deadline) > 0) {
		json_t *status = target_status(upgrade, target), *result;

		if (status) {
			result = json_pack("{s:s, s:s, s:{s:O*, s:O*}, s:{s:i, s:O*}, s:O*, s:b}",
					   "vm", upgrade->cmd.name, "result", "done", "source",
					   "pid", json_object_get(source, "pid"), "version",
					   json_object_get(source, "version"), "target", "pid",
					   (int)target->pid, "version",
					   json_object_get(status, "version"), "confidential",
					   json_object_get(status, "confidential"), "source_died",
					   1);
			json_decref(status);
			return result;
		}
		(void)nanosleep(&pause, NULL);
	}
	return NULL;
}

static const char *format_us(const json_t *object, const char *key, char *buf, size_t size)
{
	json_t *value = json_object_get(object, key);
	double us = json_number_value(value);

	if (!json_is_number(value))
		(void)snprintf(buf, size, "unknown");
	else if (us < 10e3)
		(void)snprintf(buf, size, "%.0f us", us);
	else if (us < 10e6)
		(void)snprintf(buf, size, "%.0f ms", us / 1e3);
	else
		(void)snprintf(buf, size, "%.1f s", us / 1e6);
	return buf;
}
#define FORMAT_US(object, key) format_us(object, key, (char[32]){0}, 32)

/* Takes the reference. */
static int succeed(const struct upgrade *upgrade, json_t *result)
{
	static const char *const done[] = {
		[UPGRADE_FORWARD] = "upgraded",
		[UPGRADE_ROLLBACK] = "rolled back",
		[UPGRADE_RESCUE] = "rescued",
	};
	json_t *source = json_object_get(result, "source"),
	       *target = json_object_get(result, "target");

	if (upgrade->cmd.json) {
		cmd_print_json(result);
		return VMM_EXIT_OK;
	}
	if (upgrade->check)
		(void)printf("%s: %s can take over from %s (pid %s), nothing was changed\n",
			     upgrade->cmd.name, CMD_TEXT(target, "version"),
			     CMD_TEXT(source, "version"), CMD_TEXT(source, "pid"));
	else
		(void)printf("%s: %s from %s (pid %s) to %s (pid %s), downtime %s, total %s%s%s\n",
			     upgrade->cmd.name, done[upgrade->kind], CMD_TEXT(source, "version"),
			     CMD_TEXT(source, "pid"), CMD_TEXT(target, "version"),
			     CMD_TEXT(target, "pid"), FORMAT_US(result, "downtime_us"),
			     FORMAT_US(result, "total_us"),
			     json_is_true(json_object_get(result, "source_died"))
				     ? " (the source died on the way)"
				     : "",
			     json_is_true(json_object_get(result, "source_vm_dead"))
				     ? "; KVM moved its encrypted context, and the old VM is dead"
				     : "");
	json_decref(result);
	return VMM_EXIT_OK;
}

static int check_state(const struct upgrade *upgrade, const json_t *status,
		       struct vmm_error *ret_error)
{
	bool has_crashed = is_in_state(status, "crashed");
	bool has_vmm = is_in_state(status, "running") || is_in_state(status, "paused");

	if (upgrade->kind == UPGRADE_RESCUE ? has_crashed : has_vmm)
		return 0;
	if (is_in_state(status, "launching"))
		return 0; /* which is refused, with the reason */
	vmm_error_set(ret_error, VMM_EXIT_WRONG_STATE, "%s is %s: %s", upgrade->cmd.name,
		      CMD_TEXT(status, "state"),
		      upgrade->kind == UPGRADE_RESCUE ? "only a VM whose VMM crashed is rescued"
		      : has_crashed		      ? "`vmrelay rescue` gives it a new VMM"
				    : "only a running or paused VM can be upgraded");
	return -1;
}

/* The source never read the request: it has ended, or another upgrade was faster. */
static int fail_unread(const struct upgrade *upgrade)
{
	struct client *client = NULL;
	struct vmm_error error;

	if (client_connect(upgrade->cmd.name, CLIENT_TIMEOUT_MS, &client, &error) == 0)
		vmm_error_set(&error, VMM_EXIT_REFUSED,
			      "%s was being upgraded by somebody else; it is run by process %d now",
			      upgrade->cmd.name, (int)client_pid(client));
	client_free(client);
	return cmd_fail(&upgrade->cmd, &error);
}

/* Everything from the request on; the exit code. */
static int relay(const struct upgrade *upgrade, struct client *client, struct target *target,
		 const json_t *source, int signal_fd)
{
	const int fds[] = {target->sock, target->pidfd};
	struct vmm_error error;
	json_t *reply = NULL, *result;
	int r;

	r = client_send(client, "upgrade",
			json_pack("{s:b, s:b, s:i, s:i}", "check", upgrade->check, "strict",
				  upgrade->strict, "max_downtime_ms", (int)upgrade->max_downtime_ms,
				  "timeout_ms", (int)upgrade->timeout_ms),
			fds, ARRAY_SIZE(fds), &error);
	/* The source must be the only one to hold it, or the target would not see its death. */
	target->sock = close_fd(target->sock);
	if (r == 0)
		r = follow(upgrade, client, signal_fd, &reply);
	else
		r = -ECONNRESET;
	end_progress();
	if (r == -ECONNRESET) {
		reap_target(target, true);
		return fail_unread(upgrade);
	}
	if (r == -EINTR) {
		vmm_error_set(&error, VMM_EXIT_FAILED,
			      "interrupted: the upgrade of %s goes on without this command",
			      upgrade->cmd.name);
		return cmd_fail(&upgrade->cmd, &error);
	}
	if (r < 0) {
		result = upgrade->check ? NULL : await_takeover(upgrade, target, source);
		if (result)
			return succeed(upgrade, result);
		reap_target(target, false);
		return fail_lost(upgrade);
	}

	if (client_is_error(reply, &error)) {
		/* Unless the guest is lost, the source has it: then the target must not stay. */
		reap_target(target, error.exit != VMM_EXIT_LOST);
		if (error.exit == VMM_EXIT_LOST)
			tidy(upgrade);
		json_decref(reply);
		return cmd_fail(&upgrade->cmd, &error);
	}
	result = json_incref(json_object_get(reply, "return"));
	json_decref(reply);
	if (upgrade->check)
		reap_target(target, true);
	return succeed(upgrade, result);
}

static int run(const struct upgrade *upgrade)
{
	struct target target = {.pid = -1, .pidfd = -1, .sock = -1};
	struct client *client = NULL;
	struct vmm_error error;
	json_t *status = NULL;
	int exit_code;
	sigset_t old;
	autofd program_fd = -1, signal_fd = -1;

	if (client_connect(upgrade->cmd.name, CLIENT_TIMEOUT_MS, &client, &error) < 0 ||
	    client_call(client, "status", NULL, &status, &error) < 0 ||
	    check_state(upgrade, status, &error) < 0 ||
	    open_program(upgrade, client, &program_fd, &error) < 0) {
		exit_code = cmd_fail(&upgrade->cmd, &error);
	} else {
		/* From here on a signal must not leave a target behind that nobody knows of. */
		signal_fd = cmd_signal_fd(&old);
		if (start_target(upgrade, program_fd, &target, &error) < 0)
			exit_code = cmd_fail(&upgrade->cmd, &error);
		else
			exit_code = relay(upgrade, client, &target, status, signal_fd);
	}
	close_fd(target.pidfd);
	json_decref(status);
	client_free(client);
	return exit_code;
}

int upgrade_main(enum upgrade_kind kind, const struct argp *argp, int argc, char **argv)
{
	struct upgrade upgrade = {.cmd.wants_name = true, .kind = kind};
	int exit_code;

	cmd_split(&argc, argv, &upgrade.n_flags, &upgrade.flags);
	if (!cmd_parse(&upgrade.cmd, argp, argc, argv, &exit_code))
		return exit_code;
	return run(&upgrade);
}

int cmd_upgrade(int argc, char **argv)
{
	static const struct argp_option options[] = {UPGRADE_OPTION_VMM,
						     UPGRADE_OPTION_CHECK,
						     UPGRADE_OPTION_STRICT,
						     UPGRADE_OPTION_MAX_DOWNTIME,
						     UPGRADE_OPTION_TIMEOUT,
						     CMD_OPTIONS,
						     {0}};
	static const struct argp argp = {
		.options = options,
		.parser = upgrade_parse_opt,
		.args_doc = "NAME [-- FLAGS...]",
		.doc = "Have a running guest taken over by a new VMM process.  FLAGS change "
		       "options of `vmrelay run` that the guest cannot see."};

	return upgrade_main(UPGRADE_FORWARD, &argp, argc, argv);
}
