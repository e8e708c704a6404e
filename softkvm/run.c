// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * run.c - start a host, then become the program
 *
 * The program keeps the process that `softkvm run` was started as, and with it its terminal, its
 * signals and its exit status; it gets no child that it does not know of, either: the host is a
 * grandchild, whose parent has gone.  The host lives in a session of its own, until the program and
 * everything that its processes have opened has ended.
 *
 * Its socket has no name in any file system, so that nothing is left of it, however the host ends:
 * clients reach it through the host's own descriptor in /proc, which leads to the socket's inode.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "softkvm/run.h"
#include "softkvm/wire.h"

/* In the host, what else has been inherited is closed. */
enum { LISTENER_FD = 3, INODE_FD, READY_FD, PROGRAM_FD, FIRST_OTHER_FD };

static int bind_at(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	(void)strcpy(address.sun_path, path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return negative_errno(listen(fd, SOMAXCONN));
}

/* Left behind by a host that was killed? */
static bool is_deserted(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	autofd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	(void)strcpy(address.sun_path, path);
	return fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 &&
	       errno == ECONNREFUSED;
}

int run_listen(const char *path)
{
	autofd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = bind_at(fd, path);
	if (r == -EADDRINUSE && is_deserted(path) && unlink(path) == 0)
		r = bind_at(fd, path);
	return r < 0 ? r : steal_fd(&fd);
}

/* A socket that listens, and its inode, which has no name any more. */
static int listen_unnamed(int *ret_listener, int *ret_inode)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char directory[PATH_MAX], path[PATH_MAX + 2];
	autofd listener = -1;
	autofd inode = -1;

	(void)snprintf(directory, sizeof(directory), "%s/softkvm-XXXXXX",
		       runtime && access(runtime, W_OK) == 0 ? runtime : "/tmp");
	if (!mkdtemp(directory))
		return -errno;
	(void)snprintf(path, sizeof(path), "%s/s", directory);
	listener = run_listen(path);
	/* For a program that changes its user ID later; nobody else finds the way to it. */
	if (listener >= 0 && chmod(path, 0666) == 0)
		inode = open(path, O_PATH | O_CLOEXEC);
	if (listener >= 0 && inode < 0)
		listener = -errno;
	(void)unlink(path);
	(void)rmdir(directory);
	if (inode < 0)
		return listener;
	*ret_listener = steal_fd(&listener);
	*ret_inode = steal_fd(&inode);
	return 0;
}

void run_is_ready(bool keeps_stderr)
{
	const pid_t pid = getpid();
	autofd null = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* Who reads what the program writes waits for the last who could write. */
	for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO - keeps_stderr; fd++)
		(void)dup2(null, fd);
	(void)!chdir("/");
	(void)!write(READY_FD, &pid, sizeof(pid));
	close_fd(READY_FD);
}

/* fds end up as LISTENER_FD and what follows, whatever their numbers are now. */
static bool arrange(const int fds[4])
{
	int high[4];

	for (unsigned i = 0; i < 4; i++) {
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_OTHER_FD);
		if (high[i] < 0)
			return false;
	}
	for (unsigned i = 0; i < 4; i++)
		if (dup3(high[i], LISTENER_FD + (int)i, O_CLOEXEC) < 0)
			return false;
	return syscall(SYS_close_range, FIRST_OTHER_FD, ~0u, 0) == 0;
}

static _Noreturn void become_host(const struct run_host *host, pid_t program, int listener,
				  int inode, int ready)
{
	int program_fd = (int)syscall(SYS_pidfd_open, program, 0);
	const int fds[4] = {listener, inode, ready, program_fd};

	if (program_fd < 0 || !arrange(fds))
		_exit(1);
	_exit(host->main(host->opaque, LISTENER_FD, PROGRAM_FD));
}

/* Its PID, when it is ready. */
static pid_t start_host(const struct run_host *host, int listener, int inode)
{
	const pid_t program = getpid();
	pid_t child, pid;
	int ends[2];
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;

	autofd reader = ends[0], writer = ends[1];

	child = fork();
	if (child == 0) {
		(void)setsid();
		child = fork();
		if (child == 0)
			become_host(host, program, listener, inode, writer);
		_exit(child < 0);
	}
	if (child < 0)
		return -errno;
	(void)waitpid(child, NULL, 0);
	writer = close_fd(writer);
	do
		n = read(reader, &pid, sizeof(pid));
	while (n < 0 && errno == EINTR);
	return n == sizeof(pid) ? pid : -ESRCH;
}

int run_program_at(const char *path, const char *preload, char **argv, const char **ret_what)
{
	const char *others = getenv("LD_PRELOAD");
	char value[2 * PATH_MAX];

	*ret_what = "set the environment";
	if (others && others[0] != '\0')
		(void)snprintf(value, sizeof(value), "%s:%s", preload, others);
	else
		(void)snprintf(value, sizeof(value), "%s", preload);
	/* What separates names in LD_PRELOAD cannot be part of one: ld.so(8). */
	if (strpbrk(preload, ": ") || strlen(value) == sizeof(value) - 1)
		return -EINVAL;
	if (setenv("LD_PRELOAD", value, 1) < 0 || setenv(WIRE_SOCKET_ENV, path, 1) < 0)
		return -errno;
	(void)execvp(argv[0], argv);
	*ret_what = "execute the program";
	return -errno;
}

int run_program(const struct run_host *host, const char *preload, char **argv,
		const char **ret_what)
{
	char path[64];
	int listener, inode;
	pid_t pid;
	int r = listen_unnamed(&listener, &inode);

	if (r < 0) {
		*ret_what = "make a socket";
		return r;
	}
	pid = start_host(host, listener, inode);
	close_fd(listener);
	close_fd(inode);
	if (pid < 0) {
		*ret_what = "start the host";
		return pid;
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, INODE_FD);
	return run_program_at(path, preload, argv, ret_what);
}
