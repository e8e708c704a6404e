// SPDX-License-Identifier: GPL-2.0-or-later
/* A program and the host that was started for it: which ends when, and that nothing is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/cleanup.h"
#include "softkvm/wire.h"
#include "toy.h"

/* A program of main_of_child() with a host; its ends of two pipes, and the host's pidfd. */
struct program {
	pid_t pid, host;
	int to, from, host_fd;
};

static void start(struct program *program, const char *what)
{
	int to[2], from[2];

	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	program->pid = fork();
	if (program->pid == 0) {
		(void)dup2(to[0], STDIN_FILENO);
		(void)dup2(from[1], STDOUT_FILENO);
		(void)execl("/proc/self/exe", "test_run", what, NULL);
		_exit(127);
	}
	assert_true(program->pid > 0);
	close_fd(to[0]);
	close_fd(from[1]);
	program->to = to[1];
	program->from = from[0];
	/* The program tells who its host is. */
	assert_int_equal(read(program->from, &program->host, sizeof(pid_t)), sizeof(pid_t));
	program->host_fd = (int)syscall(SYS_pidfd_open, program->host, 0);
	assert_true(program->host_fd >= 0);
}

static bool is_ended(int pidfd, int timeout_ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

/* The host ends, as it should; whatever is left of the program has closed its output. */
static void assert_ends(struct program *program)
{
	char byte;

	assert_true(is_ended(program->host_fd, 10000));
	assert_int_equal(read(program->from, &byte, 1), 0);
	close_fd(program->host_fd);
	close_fd(program->to);
	close_fd(program->from);
}

static int wait_status(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Sockets of hosts, in their directories. */
static unsigned count_left(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	DIR *dir = opendir(runtime && access(runtime, W_OK) == 0 ? runtime : "/tmp");
	unsigned n = 0;

	assert_non_null(dir);
	for (const struct dirent *e = readdir(dir); e; e = readdir(dir))
		n += strncmp(e->d_name, "softkvm-", strlen("softkvm-")) == 0;
	(void)closedir(dir);
	return n;
}

/* But for those that other tests are just starting. */
static void assert_nothing_left(void)
{
	for (unsigned i = 0; i < 1000 && count_left() > 0; i++)
		(void)usleep(5000);
	assert_int_equal(count_left(), 0);
}

static void test_end(void **state)
{
	(void)state;
	struct program program;

	start(&program, "end");
	assert_nothing_left();
	assert_false(is_ended(program.host_fd, 0));
	assert_int_equal(write(program.to, "", 1), 1);
	assert_int_equal(wait_status(program.pid), 7 << 8);
	assert_ends(&program);
}

static void test_killed(void **state)
{
	(void)state;
	struct program program;

	for (unsigned i = 0; i < 10; i++) {
		start(&program, "wait");
		assert_int_equal(kill(program.pid, i % 2 ? SIGKILL : SIGINT), 0);
		assert_int_equal(wait_status(program.pid), i % 2 ? SIGKILL : SIGINT);
		assert_ends(&program);
	}
}

/* What the program has left in the background keeps the host, until it ends. */
static void test_detached(void **state)
{
	(void)state;
	struct program program;
	char byte;

	start(&program, "detach");
	assert_int_equal(wait_status(program.pid), 0);
	assert_false(is_ended(program.host_fd, 100));
	assert_int_equal(write(program.to, "", 1), 1);
	/* It has used the device. */
	assert_int_equal(read(program.from, &byte, 1), 1);
	assert_int_equal(byte, 'y');
	assert_ends(&program);
}

/* Without its host, a program gets errors, and no more. */
static void test_host_killed(void **state)
{
	(void)state;
	const int signals[] = {SIGKILL, SIGTERM, SIGINT};

	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		struct program program;

		start(&program, "lose");
		assert_int_equal(kill(program.host, signals[i]), 0);
		assert_int_equal(wait_status(program.pid), 42 << 8);
		assert_ends(&program);
		assert_nothing_left();
	}
}

/* Who waits to be greeted can be killed as anybody else. */
static void test_host_stopped(void **state)
{
	(void)state;
	struct program program;
	char byte;

	start(&program, "again");
	assert_int_equal(kill(program.host, SIGSTOP), 0);
	assert_int_equal(write(program.to, "", 1), 1);
	assert_int_equal(read(program.from, &byte, 1), 1);
	/* Before it waits, it dies even more easily. */
	(void)usleep(50000);
	assert_int_equal(kill(program.pid, SIGTERM), 0);
	assert_int_equal(wait_status(program.pid), SIGTERM);
	assert_int_equal(kill(program.host, SIGCONT), 0);
	assert_ends(&program);
}

/* The host is no child of the program's. */
static void test_children(void **state)
{
	(void)state;
	struct program program;

	start(&program, "children");
	assert_int_equal(wait_status(program.pid), 42 << 8);
	assert_ends(&program);
}

static void fork_off(int fd)
{
	char byte;

	if (fork() != 0)
		return;
	(void)setsid();
	(void)!read(STDIN_FILENO, &byte, 1);
	(void)!write(STDOUT_FILENO, ioctl(fd, TOY_NOTHING) == 0 ? "y" : "n", 1);
	_exit(0);
}

static int main_of_child(const char *what)
{
	const pid_t host = atoi(getenv(WIRE_SOCKET_ENV) + strlen("/proc/"));
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	char byte;

	if (fd < 0 || ioctl(fd, TOY_NOTHING) != 0 ||
	    write(STDOUT_FILENO, &host, sizeof(host)) != sizeof(host))
		return 1;
	if (strcmp(what, "end") == 0)
		return read(STDIN_FILENO, &byte, 1) == 1 ? 7 : 1;
	if (strcmp(what, "wait") == 0)
		return ioctl(fd, TOY_WAIT) == 0;
	if (strcmp(what, "detach") == 0)
		return fork_off(fd), 0;
	if (strcmp(what, "children") == 0)
		return waitpid(-1, NULL, 0) < 0 && errno == ECHILD ? 42 : 1;
	if (strcmp(what, "again") == 0)
		return read(STDIN_FILENO, &byte, 1) == 1 &&
		       syscall(SYS_close_range, 100, ~0u, 0) == 0 &&
		       write(STDOUT_FILENO, "", 1) == 1 && ioctl(fd, TOY_NOTHING) == 0;
	/* lose: in a call, then for good */
	if (ioctl(fd, TOY_WAIT) == 0 || (errno != EIO && errno != EINTR))
		return 2;
	return ioctl(fd, TOY_NOTHING) < 0 && errno == EIO && open("/dev/kvm", O_RDWR) < 0 ? 42 : 3;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_end),	 cmocka_unit_test(test_killed),
		cmocka_unit_test(test_detached), cmocka_unit_test(test_host_killed),
		cmocka_unit_test(test_children), cmocka_unit_test(test_host_stopped),
	};

	(void)alarm(100);
	if (argc > 1 && !getenv(WIRE_SOCKET_ENV))
		toy_run(getenv("SOFTKVM_PRELOAD"), argv);
	if (argc > 1)
		return main_of_child(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
