// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Clients that lie, hang, flood and die, and what becomes of the host and the others: nothing.
 *
 * They speak to the host without the library; that is there for the one good client, this process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/cleanup.h"
#include "softkvm/wire.h"
#include "toy.h"

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_true(sock >= 0);
	(void)strncpy(address.sun_path, getenv(WIRE_SOCKET_ENV), sizeof(address.sun_path) - 1);
	assert_int_equal(connect(sock, (const struct sockaddr *)&address, sizeof(address)), 0);
	return sock;
}

/* The reply or question, and what descriptor came with it. */
static int hear(int sock, struct wire_packet *ret, int *ret_fd)
{
	struct wire_pace pace = {0};

	return wire_receive(sock, ret, ret_fd, &pace);
}

static int64_t call(int sock, struct wire_message *message, const void *data, int fd, int *ret_fd)
{
	struct wire_packet packet;

	message->sequence = 1;
	assert_int_equal(wire_send(sock, message, data, fd), 0);
	assert_int_equal(hear(sock, &packet, ret_fd), 0);
	assert_int_equal(packet.message.type, WIRE_REPLY);
	assert_int_equal(packet.message.sequence, 1);
	return packet.message.result;
}

/* A connection that has been greeted; *ret_interrupt_fd is the caller's to close. */
static int greet(int *ret_interrupt_fd)
{
	static const uint8_t cookie[WIRE_COOKIE_LEN] = {1};
	struct wire_message message = {
		.type = WIRE_HELLO, .number = WIRE_VERSION, .len = sizeof(cookie)};
	int sock = dial();

	assert_int_equal(call(sock, &message, cookie, -1, ret_interrupt_fd), 0);
	assert_true(*ret_interrupt_fd >= 0);
	return sock;
}

static int open_over(int sock)
{
	struct wire_message message = {.type = WIRE_OPEN, .number = WIRE_KVM};
	int fd;

	assert_int_equal(call(sock, &message, NULL, -1, &fd), 0);
	assert_true(fd >= 0);
	return fd;
}

/* The good client is served. */
static void assert_well(void)
{
	autofd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TOY_NOTHING), 0);
}

/* The host has hung up. */
static void assert_hung_up(int sock)
{
	struct wire_packet packet;
	int fd, r;

	do
		r = hear(sock, &packet, &fd);
	while (r == 0);
	assert_int_equal(r, -EPIPE);
}

static void test_greeting(void **state)
{
	(void)state;
	static const uint8_t cookie[WIRE_COOKIE_LEN];
	struct wire_message wrong = {
		.type = WIRE_HELLO, .number = WIRE_VERSION + 1, .len = sizeof(cookie)};
	struct wire_message early = {.type = WIRE_OPEN, .number = WIRE_KVM};
	struct wire_message twice = {
		.type = WIRE_HELLO, .number = WIRE_VERSION, .len = sizeof(cookie)};
	autofd sock = dial();
	autofd interrupt = -1;
	int fd;

	assert_int_equal(call(sock, &early, NULL, -1, &fd), -EPROTO);
	assert_int_equal(call(sock, &wrong, cookie, -1, &fd), -EPROTO);
	close_fd(sock);
	sock = greet(&interrupt);
	assert_int_equal(call(sock, &twice, cookie, -1, &fd), -EPROTO);
	assert_int_equal(fd, -1);
	assert_well();
}

static void test_garbage(void **state)
{
	(void)state;
	static char bytes[65536];

	for (unsigned i = 0; i < 12; i++) {
		autofd interrupt = -1;
		autofd sock = greet(&interrupt);
		struct wire_message message = {.type = (uint16_t)(i < 6 ? WIRE_IOCTL : 60000)};
		size_t len = (size_t[]){0,
					1,
					sizeof(message) - 1,
					sizeof(message),
					sizeof(message) + 1,
					sizeof(bytes)}[i % 6];

		/* Of a length that is not that of the packet, or unknown, but for one. */
		memcpy(bytes, &message, sizeof(message));
		assert_int_equal(send(sock, bytes, len, 0), len);
		if (i == 3) {
			struct wire_packet packet;
			int fd;

			assert_int_equal(hear(sock, &packet, &fd), 0);
			assert_int_equal(packet.message.result, -EBADF);
		} else {
			assert_hung_up(sock);
		}
	}
	assert_well();
}

/* What is not one of the host's descriptors: none, a file, a pipe, the client's other sockets. */
static void test_descriptors(void **state)
{
	(void)state;
	autofd interrupt = -1;
	autofd sock = greet(&interrupt);
	autofd null = open("/dev/null", O_RDWR | O_CLOEXEC);
	const int fds[] = {-1, null, sock, interrupt};

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		struct wire_message message = {.type = WIRE_IOCTL, .number = TOY_NOTHING};
		int fd;

		assert_int_equal(call(sock, &message, NULL, fds[i], &fd), -EBADF);
	}
	assert_well();
}

/* Several descriptors in a message: more than there is room for. */
static void test_many_descriptors(void **state)
{
	(void)state;
	union {
		char bytes[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct wire_message message = {.type = WIRE_IOCTL};
	struct iovec iov = {&message, sizeof(message)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};

	for (unsigned n = 2; n <= 8; n++) {
		autofd interrupt = -1;
		autofd sock = greet(&interrupt);
		int pipe_fds[2];
		char byte;

		assert_int_equal(pipe(pipe_fds), 0);
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		for (unsigned i = 0; i < n; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &pipe_fds[1],
			       sizeof(int));
		assert_int_equal(sendmsg(sock, &msg, 0), sizeof(message));
		assert_hung_up(sock);
		/* And the host has closed them all. */
		close_fd(pipe_fds[1]);
		assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
		close_fd(pipe_fds[0]);
	}
	assert_well();
}

/* Another process with this one's cookie is not in its address space; the kernel says so. */
static void test_cookie(void **state)
{
	(void)state;
	autofd interrupt = -1;
	autofd sock = greet(&interrupt);
	autofd fd = open_over(sock);
	struct wire_message message = {.type = WIRE_IOCTL, .number = TOY_MM};
	int other, status;
	pid_t child;

	assert_int_equal(call(sock, &message, NULL, fd, &other), 0);
	child = fork();
	if (child == 0) {
		int own_interrupt, own = greet(&own_interrupt);

		_exit(call(own, &message, NULL, fd, &other) == -EIO ? 42 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(WEXITSTATUS(status), 42);
}

/* What is written into a descriptor would be kept for nobody. */
static void test_written(void **state)
{
	(void)state;
	autofd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(ioctl(fd, TOY_NOTHING), 0);
}

/* Asks the toy to copy in, and gives this for an answer. */
static void answer_with(const struct wire_message *answer, const void *data)
{
	autofd interrupt = -1;
	autofd sock = greet(&interrupt);
	autofd fd = open_over(sock);
	struct wire_message message = {
		.type = WIRE_IOCTL, .number = TOY_SUM, .sequence = 2, .address = 4096};
	struct wire_message copy = *answer;
	struct wire_packet packet;
	int other;

	assert_int_equal(wire_send(sock, &message, NULL, fd), 0);
	assert_int_equal(hear(sock, &packet, &other), 0);
	assert_int_equal(packet.message.type, WIRE_COPY_IN);
	assert_int_equal(packet.message.size, sizeof(struct toy_memory));
	assert_int_equal(wire_send(sock, &copy, data, -1), 0);
	assert_hung_up(sock);
}

static void test_answers(void **state)
{
	(void)state;
	static const char bytes[WIRE_DATA_MAX];
	const struct wire_message answers[] = {
		{.type = WIRE_IOCTL, .sequence = 2},
		{.type = WIRE_ANSWER, .sequence = 1},
		{.type = WIRE_ANSWER, .sequence = 2, .result = 1},
		{.type = WIRE_ANSWER, .sequence = 2, .result = -5000},
		{.type = WIRE_ANSWER, .sequence = 2, .len = 0},
		{.type = WIRE_ANSWER, .sequence = 2, .len = sizeof(struct toy_memory) + 1},
		{.type = WIRE_ANSWER, .sequence = 2, .len = WIRE_DATA_MAX},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++)
		answer_with(&answers[i], bytes);
	assert_well();
}

/* A stretch of memory that cannot be one. */
static void test_stretches(void **state)
{
	(void)state;
	const struct toy_memory memory = {.address = 4096, .len = 4096};
	const struct wire_message answers[] = {
		{.type = WIRE_ANSWER, .sequence = 2, .size = 0},
		{.type = WIRE_ANSWER, .sequence = 2, .size = 4097},
		{.type = WIRE_ANSWER, .sequence = 2, .size = 4096, .address = UINT64_MAX},
		{.type = WIRE_ANSWER, .sequence = 2, .size = 4096},
	};

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(answers); i++) {
		autofd interrupt = -1;
		autofd sock = greet(&interrupt);
		autofd fd = open_over(sock);
		autofd pipe_fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
		struct wire_message message = {.type = WIRE_IOCTL,
					       .number = TOY_FLIP,
					       .sequence = 2,
					       .address = 4096,
					       .len = sizeof(memory)};
		struct wire_message answer = answers[i / 2];
		struct wire_packet packet;
		int other;

		assert_int_equal(wire_send(sock, &message, &memory, fd), 0);
		assert_int_equal(hear(sock, &packet, &other), 0);
		assert_int_equal(packet.message.type, WIRE_SHARE);
		/* Without a descriptor, and with one that is no file. */
		assert_int_equal(wire_send(sock, &answer, NULL, i % 2 ? pipe_fd : -1), 0);
		assert_hung_up(sock);
	}
	assert_well();
}

/* A client that does not answer, with a lock held, is in the way only of who wants that lock, and
 * that one can be killed; when it ends, the lock is free. */
static void test_silence(void **state)
{
	(void)state;
	const struct toy_memory memory = {.address = 4096, .len = 1};
	autofd interrupt = -1;
	autofd sock = greet(&interrupt);
	autofd fd = open_over(sock);
	struct wire_message message = {.type = WIRE_IOCTL,
				       .number = TOY_LOCK,
				       .sequence = 2,
				       .address = 8192,
				       .len = sizeof(memory)};
	struct toy_memory mine = {.address = (uint64_t)&mine, .len = 1};
	struct wire_packet packet;
	int other, status;
	pid_t waiter;

	assert_int_equal(wire_send(sock, &message, &memory, fd), 0);
	assert_int_equal(hear(sock, &packet, &other), 0);
	assert_int_equal(packet.message.type, WIRE_COPY_IN);
	assert_well();
	waiter = fork();
	if (waiter == 0) {
		close_fd(sock);
		close_fd(interrupt);
		_exit(ioctl(fd, TOY_LOCK, &mine) < 0);
	}
	assert_well();
	assert_int_equal(waitpid(waiter, &status, WNOHANG), 0);
	assert_int_equal(kill(waiter, SIGKILL), 0);
	assert_int_equal(waitpid(waiter, &status, 0), waiter);
	sock = close_fd(sock);
	assert_int_equal(ioctl(fd, TOY_LOCK, &mine), 0);
}

/* Requests without end, of which no reply is read; interruptions of anything. */
static void test_flood(void **state)
{
	(void)state;
	autofd interrupt = -1;
	autofd sock = greet(&interrupt);
	autofd fd = open_over(sock);
	int64_t sent = 0;

	assert_int_equal(fcntl(sock, F_SETFL, O_NONBLOCK), 0);
	for (uint64_t i = 2;; i++) {
		struct wire_message message = {
			.type = WIRE_IOCTL, .number = TOY_NOTHING, .sequence = i};
		int r = wire_send(sock, &message, NULL, fd);

		(void)send(interrupt, &i, sizeof(i), MSG_DONTWAIT | MSG_NOSIGNAL);
		/* Full, and stays so. */
		if (r == -EAGAIN && sent++ > 1000)
			break;
		assert_true(r == 0 || r == -EAGAIN || r == -ETOOMANYREFS);
		if (i % 64 == 0)
			assert_well();
	}
	assert_well();
	/* Too short an interruption is the end. */
	assert_true(send(interrupt, "x", 1, MSG_NOSIGNAL) == 1 || errno == EAGAIN);
}

/* CPU time of the host, in ticks. */
static long host_ticks(void)
{
	char path[64], line[1024], *fields;
	unsigned long user = 0, system = 0;
	FILE *file;

	/* SOFTKVM_SOCKET is /proc/PID/fd/N. */
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", atoi(getenv(WIRE_SOCKET_ENV) + 6));
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	(void)fclose(file);
	fields = strrchr(line, ')');
	assert_int_equal(sscanf(fields, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				&user, &system),
			 2);
	return (long)(user + system);
}

/* As many connections and objects as it lets a client have; then it refuses, and does not spin. */
static void flood_with_descriptors(unsigned n)
{
	int *socks = calloc(n, sizeof(int)), *fds = calloc(n, sizeof(int));
	unsigned n_fds = 0;
	long ticks;

	autofd first = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	assert_true(first >= 0);
	for (unsigned i = 0; i < n; i++)
		socks[i] = dial();
	for (unsigned i = 0; i < n; i++) {
		fds[i] = open("/dev/kvm", O_RDWR | O_CLOEXEC);
		n_fds += fds[i] >= 0;
		assert_true(fds[i] >= 0 || errno == EMFILE || errno == ENFILE);
	}
	assert_true(n_fds < n);
	assert_int_equal(ioctl(first, TOY_NOTHING), 0);
	ticks = host_ticks();
	(void)usleep(200000);
	/* Of 20 ticks that have passed, if it did. */
	assert_true(host_ticks() - ticks < 10);
	for (unsigned i = 0; i < n; i++) {
		close_fd(socks[i]);
		close_fd(fds[i]);
	}
	free(socks);
	free(fds);
	/* All of it can be had again. */
	while ((first = close_fd(first), first = open("/dev/kvm", O_RDWR | O_CLOEXEC)) < 0)
		assert_true(errno == EMFILE || errno == ENFILE);
	assert_int_equal(ioctl(first, TOY_NOTHING), 0);
}

/* With a host that may have few descriptors. */
static void test_few_descriptors(void **state)
{
	(void)state;
	pid_t child = fork();
	int status;

	if (child == 0) {
		(void)unsetenv(WIRE_SOCKET_ENV);
		(void)unsetenv("LD_PRELOAD");
		(void)execl("/proc/self/exe", "test_hostile", "--few", NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greeting),	cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_descriptors),	cmocka_unit_test(test_many_descriptors),
		cmocka_unit_test(test_cookie),		cmocka_unit_test(test_written),
		cmocka_unit_test(test_answers),		cmocka_unit_test(test_stretches),
		cmocka_unit_test(test_silence),		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_few_descriptors),
	};
	const struct rlimit few = {128, 128};

	(void)alarm(100);
	if (!getenv(WIRE_SOCKET_ENV)) {
		if (argc > 1 && setrlimit(RLIMIT_NOFILE, &few) < 0)
			return 1;
		toy_run(getenv("SOFTKVM_PRELOAD"), argv);
	}
	if (argc > 1) {
		flood_with_descriptors(50);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
