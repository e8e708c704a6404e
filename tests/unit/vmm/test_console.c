// SPDX-License-Identifier: GPL-2.0-or-later
/* The console, on a real event loop.  Links with: vmm/dev/console.c vmm/log.c, libsystemd. */
#include "vmm/dev/console.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* In place of libc's, to count how often the console wakes its loop. */
static _Atomic unsigned n_wakes;

int eventfd_write(int fd, eventfd_t value)
{
	n_wakes++;
	return write(fd, &value, sizeof(value)) == sizeof(value) ? 0 : -1;
}

struct fixture {
	sd_event *event;
	struct console *console;
	/* The sink. */
	uint8_t input[4096];
	size_t n_input;
	size_t room;
};

static size_t sink_room(void *opaque)
{
	return ((struct fixture *)opaque)->room;
}

static void sink_input(void *opaque, const uint8_t *bytes, size_t len)
{
	struct fixture *f = opaque;

	assert_in_range(len, 1, f->room);
	assert_true(len <= sizeof(f->input) - f->n_input);
	memcpy(f->input + f->n_input, bytes, len);
	f->n_input += len;
	f->room -= len;
}

static void set_sink(struct fixture *f, struct console *console)
{
	console_set_sink(console, &(struct console_sink){sink_room, sink_input, f});
}

static void give_room(struct fixture *f, size_t room)
{
	f->room = room;
	console_sink_ready(f->console);
}

static int new_listener(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (void *)&address, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 32), 0);
	return fd;
}

static int connect_to(const struct console *console)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;
	socklen_t len = sizeof(address);

	assert_int_equal(getsockname(console_listen_fd(console), (void *)&address, &len), 0);
	assert_int_equal(connect(fd, (void *)&address, len), 0);
	return fd;
}

/* A client of its own socketpair: returns the far end. */
static int attach_pair(struct console *console, uint64_t position)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(console_attach(console, pair[0], position), 0);
	return pair[1];
}

/* Returns how many events the loop had to handle. */
static unsigned settle(struct fixture *f)
{
	unsigned n = 0;

	while (n < 10000 && sd_event_run(f->event, 0) > 0)
		n++;
	return n;
}

static unsigned run_for_ms(struct fixture *f, unsigned ms)
{
	struct timespec start, now;
	unsigned n = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		n += sd_event_run(f->event, 10000) > 0;
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < ms);
	return n;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(sd_event_new(&f->event), 0);
	assert_int_equal(console_new(f->event, new_listener(), -1, &f->console), 0);
	set_sink(f, f->console);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	console_free(f->console);
	sd_event_unref(f->event);
	free(f);
	return 0;
}

/* Output in which each byte tells its place: lines of 8 with a number. */
static uint8_t pattern(uint64_t position)
{
	char line[16];

	(void)snprintf(line, sizeof(line), "%07u\n", (unsigned)(position / 8 % 10000000));
	return line[position % 8];
}

static void guest_writes(struct console *console, uint64_t *position, size_t len)
{
	uint8_t chunk[100];

	while (len > 0) {
		size_t n = len < sizeof(chunk) ? len : sizeof(chunk);

		for (size_t i = 0; i < n; i++)
			chunk[i] = pattern(*position + i);
		console_write(console, chunk, n);
		*position += n;
		len -= n;
	}
}

/* Read what there is; all of it must be the pattern from *position on. */
static size_t expect_pattern(int fd, uint64_t *position)
{
	uint8_t buf[8192];
	size_t total = 0;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], pattern(*position + i));
		*position += n;
		total += n;
	}
	return total;
}

/* The same, until the loop has no more for it. */
static void drain(struct fixture *f, int fd, uint64_t *position)
{
	do
		settle(f);
	while (expect_pattern(fd, position) > 0);
}

static bool is_closed(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

static void test_every_client_gets_everything(void **state)
{
	struct fixture *f = *state;
	uint64_t written = 0, got_a = 0, got_b = 0;
	int a = attach_pair(f->console, 0);
	int b = attach_pair(f->console, 0);

	for (unsigned i = 0; i < 50; i++) {
		guest_writes(f->console, &written, 1 + i * 37);
		settle(f);
		(void)expect_pattern(a, &got_a);
		if (i % 7 == 0)
			(void)expect_pattern(b, &got_b);
	}
	(void)expect_pattern(b, &got_b);
	assert_int_equal(got_a, written);
	assert_int_equal(got_b, written);
	close(a);
	close(b);
}

static void test_new_client_gets_scrollback(void **state)
{
	struct fixture *f = *state;
	uint64_t written = 0, position;
	int fd;

	guest_writes(f->console, &written, 5000);
	fd = connect_to(f->console);
	settle(f);
	position = 0;
	assert_int_equal(expect_pattern(fd, &position), 5000);
	close(fd);

	guest_writes(f->console, &written, 300000); /* past the end of the ring */
	fd = connect_to(f->console);
	settle(f);
	position = written - 16384;
	assert_int_equal(expect_pattern(fd, &position), 16384);
	guest_writes(f->console, &written, 77);
	settle(f);
	assert_int_equal(expect_pattern(fd, &position), 77);
	close(fd);
}

static void test_slow_client_loses_output_not_the_guests_time(void **state)
{
	struct fixture *f = *state;
	uint64_t written = 0, got_fast = 0, got_slow = 0, tail;
	int fast = attach_pair(f->console, 0);
	int slow = attach_pair(f->console, 0);
	uint8_t line[8];

	for (unsigned i = 0; i < 1024; i++) {
		guest_writes(f->console, &written, 1024);
		settle(f);
		(void)expect_pattern(fast, &got_fast);
	}
	assert_int_equal(got_fast, written);

	/* What had gone into its socket is still in order; then it continues with what the ring
	 * has. */
	for (;;) {
		ssize_t n = recv(slow, line, sizeof(line), MSG_DONTWAIT);
		bool same = n == sizeof(line);

		assert_int_equal(n, sizeof(line));
		for (unsigned i = 0; i < sizeof(line); i++)
			same = same && line[i] == pattern(got_slow + i);
		if (!same)
			break;
		got_slow += n;
		settle(f);
	}
	tail = (uint64_t)strtoul((char *)line, NULL, 10) * 8;
	assert_true(tail > got_slow);
	assert_true(tail >= written - CONSOLE_RING_SIZE);
	tail += sizeof(line);
	drain(f, slow, &tail);
	assert_int_equal(tail, written);
	close(fast);
	close(slow);
}

struct writer {
	struct console *console;
	_Atomic uint64_t received;
	uint64_t total;
};

static void *writer_thread(void *opaque)
{
	struct writer *w = opaque;
	uint64_t written = 0;

	while (written < w->total) {
		if (written - w->received < CONSOLE_RING_SIZE / 2)
			guest_writes(w->console, &written, written % 5 + 1);
	}
	return NULL;
}

static void test_output_from_another_thread(void **state)
{
	struct fixture *f = *state;
	struct writer w = {.console = f->console, .total = 1000000};
	int client = attach_pair(f->console, 0);
	uint64_t got = 0;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, writer_thread, &w), 0);
	/* A wake-up that got lost would let the loop sleep although there is output. */
	while (got < w.total) {
		int n = sd_event_run(f->event, 2000000);

		assert_true(n > 0);
		(void)expect_pattern(client, &got);
		w.received = got;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	close(client);
}

static void test_writes_wake_an_idle_loop_once(void **state)
{
	struct fixture *f = *state;
	int client = attach_pair(f->console, 0);
	uint64_t written = 0, got = 0;

	settle(f);
	n_wakes = 0;
	guest_writes(f->console, &written, 10000);
	assert_int_equal(n_wakes, 1);
	assert_in_range(settle(f), 1, 3);
	assert_int_equal(expect_pattern(client, &got), 10000);
	close(client);
	settle(f);
	n_wakes = 0;
	guest_writes(f->console, &written, 10000);
	assert_in_range(n_wakes, 0, 1); /* nobody listens */
}

static void test_input_goes_as_far_as_there_is_room(void **state)
{
	struct fixture *f = *state;
	int client = attach_pair(f->console, 0);
	int fds[CONSOLE_CLIENTS_MAX], pending = 0;

	settle(f);
	assert_int_equal(send(client, "0123456789abcdefghij", 20, 0), 20);
	assert_in_range(settle(f), 0, 3);
	assert_int_equal(f->n_input, 0);
	give_room(f, 16);
	settle(f);
	assert_int_equal(f->n_input, 16);
	/* The rest is in the socket, where a relay does not lose it, and nobody polls it. */
	assert_int_equal(console_client_fds(f->console, fds), 1);
	assert_int_equal(ioctl(fds[0], FIONREAD, &pending), 0);
	assert_int_equal(pending, 4);
	assert_int_equal(settle(f), 0);
	give_room(f, 16);
	settle(f);
	assert_int_equal(f->n_input, 20);
	assert_memory_equal(f->input, "0123456789abcdefghij", 20);
	close(client);
}

static void test_last_words_of_a_client_are_kept(void **state)
{
	struct fixture *f = *state;
	int client = attach_pair(f->console, 0);
	int fds[CONSOLE_CLIENTS_MAX];

	settle(f);
	assert_int_equal(send(client, "poweroff\n", 9, 0), 9);
	close(client);
	console_write(f->console, (const uint8_t *)"EPIPE", 5);
	settle(f);
	assert_in_range(run_for_ms(f, 50), 0, 2); /* a hang-up that cannot be handled yet */
	assert_int_equal(console_client_fds(f->console, fds), 1);
	give_room(f, 5);
	settle(f);
	give_room(f, 5);
	settle(f);
	assert_int_equal(f->n_input, 9);
	assert_memory_equal(f->input, "poweroff\n", 9);
	assert_int_equal(console_client_fds(f->console, fds), 0);
}

static void test_half_closed_client_still_gets_output(void **state)
{
	struct fixture *f = *state;
	int client = attach_pair(f->console, 0);
	uint64_t written = 0, got = 0;
	int fds[CONSOLE_CLIENTS_MAX];

	give_room(f, 100);
	assert_int_equal(send(client, "ls\n", 3, 0), 3);
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	settle(f);
	assert_int_equal(f->n_input, 3);
	guest_writes(f->console, &written, 500);
	settle(f);
	assert_int_equal(expect_pattern(client, &got), 500);
	assert_int_equal(settle(f), 0);
	close(client);
	settle(f);
	assert_int_equal(console_client_fds(f->console, fds), 0);
}

static void test_too_many_clients(void **state)
{
	struct fixture *f = *state;
	int fds[CONSOLE_CLIENTS_MAX + 1];
	char text[100] = "";

	for (unsigned i = 0; i <= CONSOLE_CLIENTS_MAX; i++)
		fds[i] = connect_to(f->console);
	settle(f);
	assert_true(recv(fds[CONSOLE_CLIENTS_MAX], text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
	assert_non_null(strstr(text, "already has 16 clients"));
	assert_true(is_closed(fds[CONSOLE_CLIENTS_MAX]));
	assert_int_equal(console_attach(f->console, dup(fds[0]), 0), -EUSERS);
	close(fds[CONSOLE_CLIENTS_MAX]);

	/* One leaves, and another finds room. */
	give_room(f, 1);
	close(fds[3]);
	settle(f);
	fds[3] = connect_to(f->console);
	settle(f);
	console_write(f->console, (const uint8_t *)"x", 1);
	settle(f);
	for (unsigned i = 0; i < CONSOLE_CLIENTS_MAX; i++) {
		assert_int_equal(recv(fds[i], text, sizeof(text), MSG_DONTWAIT), 1);
		close(fds[i]);
	}
}

static int open_pty(char name[64])
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	assert_int_equal(ptsname_r(master, name, 64), 0);
	return master;
}

static int open_slave(const char *name)
{
	int fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	struct termios raw;

	assert_true(fd >= 0);
	assert_int_equal(tcgetattr(fd, &raw), 0);
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(fd, TCSANOW, &raw), 0);
	return fd;
}

/* The kernel carries bytes from one end of a pty to the other in its own time. */
static void expect_on_slave(int slave, const char *expected)
{
	size_t len = strlen(expected), n = 0;
	char text[64];

	while (n < len) {
		struct pollfd p = {.fd = slave, .events = POLLIN};
		ssize_t r;

		assert_int_equal(poll(&p, 1, 2000), 1);
		r = read(slave, text + n, len - n);
		assert_true(r > 0);
		n += r;
	}
	assert_memory_equal(text, expected, len);
}

static void expect_input(struct fixture *f, const char *expected)
{
	for (unsigned i = 0; i < 100 && f->n_input < strlen(expected); i++)
		run_for_ms(f, 20);
	assert_int_equal(f->n_input, strlen(expected));
	assert_memory_equal(f->input, expected, f->n_input);
}

static void test_pty_survives_its_users(void **state)
{
	struct fixture *f = *state;
	int master, slave, fds[CONSOLE_CLIENTS_MAX];
	char name[64];

	master = open_pty(name);
	f->room = 100;
	assert_int_equal(console_attach(f->console, master, 0), 0);
	slave = open_slave(name);
	console_write(f->console, (const uint8_t *)"login: ", 7);
	settle(f);
	expect_on_slave(slave, "login: ");
	assert_int_equal(write(slave, "root\n", 5), 5);
	close(slave);
	expect_input(f, "root\n");
	run_for_ms(f, 20);

	/* Nobody there: no spinning (4 looks per second), output waits. */
	console_write(f->console, (const uint8_t *)"Password: ", 10);
	assert_in_range(run_for_ms(f, 600), 1, 8);
	assert_int_equal(console_client_fds(f->console, fds), 1);
	slave = open_slave(name);
	run_for_ms(f, 400);
	expect_on_slave(slave, "Password: ");
	assert_int_equal(write(slave, "x", 1), 1);
	expect_input(f, "root\nx");
	console_drop_pty(f->console);
	assert_int_equal(console_client_fds(f->console, fds), 0);
	assert_int_equal(read(slave, name, sizeof(name)), 0); /* hung up */
	close(slave);
}

/* What a relay does: the fds cross as duplicates, the state as bytes. */
static struct console *relay(struct fixture *f, uint8_t *blob, const int *fds, unsigned n_fds)
{
	struct console *target;
	int copies[CONSOLE_CLIENTS_MAX];

	for (unsigned i = 0; i < n_fds; i++)
		copies[i] = dup(fds[i]);
	assert_int_equal(console_new(f->event, dup(console_listen_fd(f->console)),
				     dup(console_ring_fd(f->console)), &target),
			 0);
	assert_int_equal(console_adopt(target, copies, n_fds), 0);
	settle(f);
	assert_int_equal(console_ops.save(f->console, 1, blob), console_ops.state_size);
	assert_int_equal(console_ops.load(target, 1, blob, console_ops.state_size), 0);
	return target;
}

static void test_relay_loses_and_doubles_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t written = 0, got_a = 0, got_b = 0, got_late;
	int a = attach_pair(f->console, 0);
	int b = attach_pair(f->console, 0);
	int gone = attach_pair(f->console, 0);
	int c = attach_pair(f->console, 0);
	int fds[CONSOLE_CLIENTS_MAX], late;
	struct console *target;
	uint8_t blob[1024];
	unsigned n_fds;

	/* b is so slow that its socket is full. */
	guest_writes(f->console, &written, 200000);
	drain(f, a, &got_a);
	f->room = 5;
	set_sink(f, f->console);
	console_freeze(f->console);
	n_fds = console_client_fds(f->console, fds);
	assert_int_equal(n_fds, 4);
	late = connect_to(f->console);

	/* The guest still runs: bytes flow, nobody is accepted, one client leaves. */
	console_sink_ready(f->console);
	assert_int_equal(send(a, "to the source, and to the target", 32, 0), 32);
	guest_writes(f->console, &written, 5000);
	close(gone);
	drain(f, a, &got_a);
	assert_int_equal(got_a, written);
	assert_int_equal(f->n_input, 5);
	assert_int_equal(console_client_fds(f->console, fds), 4);
	assert_int_equal(console_attach(f->console, dup(a), 0), -EBUSY);
	assert_false(is_closed(late));

	guest_writes(f->console, &written, 3000);
	target = relay(f, blob, fds, n_fds);
	give_room(f, 100);
	assert_int_equal(settle(f), 1);
	assert_int_equal(f->n_input, 5); /* neither side touches the clients now */

	/* The outcome: it is the target's. */
	set_sink(f, target);
	console_thaw(target);
	f->console = console_free(f->console);
	f->console = target;
	guest_writes(target, &written, 4000);
	drain(f, a, &got_a);
	drain(f, b, &got_b);
	assert_int_equal(got_a, written);
	assert_int_equal(got_b, written);
	assert_int_equal(f->n_input, 32);
	assert_memory_equal(f->input, "to the source, and to the target", 32);
	assert_int_equal(console_client_fds(target, fds), 4); /* a, b, c and late */
	got_late = written - 16384;
	assert_int_equal(expect_pattern(late, &got_late), 16384);
	close(a);
	close(b);
	close(c);
	close(late);
}

static void test_source_that_keeps_the_guest_goes_on(void **state)
{
	struct fixture *f = *state;
	uint64_t written = 0, got = 0;
	int a = attach_pair(f->console, 0);
	int gone = attach_pair(f->console, 0);
	int fds[CONSOLE_CLIENTS_MAX];
	struct console *target;
	uint8_t blob[1024];

	f->room = 100;
	set_sink(f, f->console);
	guest_writes(f->console, &written, 1000);
	settle(f);
	console_freeze(f->console);
	close(gone);
	settle(f);
	guest_writes(f->console, &written, 1000);
	assert_int_equal(send(a, "hello", 5, 0), 5);
	assert_int_equal(console_client_fds(f->console, fds), 2);
	target = relay(f, blob, fds, 2);
	console_free(target);
	assert_false(is_closed(a));

	console_thaw(f->console);
	guest_writes(f->console, &written, 1000);
	settle(f);
	(void)expect_pattern(a, &got);
	assert_int_equal(got, written);
	assert_int_equal(f->n_input, 5);
	assert_int_equal(console_client_fds(f->console, fds), 1);
	close(a);
}

static void test_ring_outlives_its_process(void **state)
{
	struct fixture *f = *state;
	struct console *target;
	uint64_t written = 0, position;
	int fd;

	/* A rescue: there is the ring and nothing else. */
	guest_writes(f->console, &written, 300001);
	assert_int_equal(
		console_new(f->event, new_listener(), dup(console_ring_fd(f->console)), &target),
		0);
	console_thaw(target);
	fd = connect_to(target);
	guest_writes(target, &written, 9);
	settle(f);
	position = written - 16384;
	assert_int_equal(expect_pattern(fd, &position), 16384);
	close(fd);
	console_free(target);
}

static void test_bad_ring_is_refused(void **state)
{
	struct fixture *f = *state;
	int listen_fd = new_listener();
	struct console *console = NULL;
	static const struct {
		off_t offset;
		uint64_t value;
		size_t len;
		int error;
	} bad[] = {
		{0, 0, 8, -EBADMSG},	     /* magic */
		{8, 2, 4, -EPROTONOSUPPORT}, /* version */
		{12, 0, 4, -EBADMSG},	     /* size */
		{12, 1, 4, -EBADMSG},
		{12, 1U << 17, 4, -EBADMSG}, /* not that of the file */
		{12, 1U << 31, 4, -EBADMSG},
		{12, CONSOLE_RING_SIZE - 1, 4, -EBADMSG},
		{16, UINT64_MAX, 8, -EBADMSG}, /* head */
	};
	int fd = console_ring_fd(f->console), plain;
	uint8_t header[24];

	assert_int_equal(pread(fd, header, sizeof(header), 0), sizeof(header));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(pwrite(fd, &bad[i].value, bad[i].len, bad[i].offset), bad[i].len);
		assert_int_equal(console_new(f->event, listen_fd, fd, &console), bad[i].error);
		assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
	}
	assert_null(console);

	/* One that its creator can shrink, and one that is no memory object at all. */
	plain = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(plain, 4096 + CONSOLE_RING_SIZE), 0);
	assert_int_equal(pwrite(plain, header, sizeof(header), 0), sizeof(header));
	assert_int_equal(console_new(f->event, listen_fd, plain, &console), -EPERM);
	close(plain);
	assert_true(console_new(f->event, listen_fd, listen_fd, &console) < 0);
	/* On failure the fds stay with the caller. */
	assert_true(fcntl(fd, F_GETFD) >= 0);
	assert_int_equal(close(listen_fd), 0);
}

static void test_ring_header_is_not_believed_twice(void **state)
{
	struct fixture *f = *state;
	uint64_t written = 0, got = 0;
	uint64_t garbage[3] = {~0ULL, ~0ULL, ~0ULL};
	int client = attach_pair(f->console, 0);

	guest_writes(f->console, &written, 1000);
	assert_int_equal(pwrite(console_ring_fd(f->console), garbage, sizeof(garbage), 0),
			 sizeof(garbage));
	guest_writes(f->console, &written, 1000);
	settle(f);
	assert_int_equal(expect_pattern(client, &got), 2000);
	close(client);
}

static void test_bad_state_is_refused(void **state)
{
	static const struct {
		size_t offset;
		uint8_t value;
	} bad[] = {
		{7, 0xff}, /* head: beyond all reason */
		{8, 1},	   /* number of clients: not those that were adopted */
		{8, 3},		{8, 255}, {12, 1}, /* reserved */
		{16 + 7, 0x10},			   /* position: in front of the head */
		{16 + 8, 2},			   /* gone: neither yes nor no */
		{16 + 12, 1},			   /* reserved */
	};
	struct fixture *f = *state;
	int a = attach_pair(f->console, 0);
	int b = attach_pair(f->console, 0);
	uint8_t good[1024], blob[1024];
	int fds[CONSOLE_CLIENTS_MAX + 1];
	struct console *target;
	int len, plain;

	console_write(f->console, (const uint8_t *)"0123456789", 10);
	settle(f);
	console_freeze(f->console);
	assert_int_equal(console_client_fds(f->console, fds), 2);
	target = relay(f, good, fds, 2);
	len = console_ops.state_size;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(blob, good, len);
		blob[bad[i].offset] = bad[i].value;
		assert_int_equal(console_ops.load(target, 1, blob, len), -EBADMSG);
	}
	assert_int_equal(console_ops.load(target, 1, good, len - 1), -EBADMSG);
	assert_int_equal(console_ops.load(target, 1, good, len + 1), -EBADMSG);
	assert_int_equal(console_ops.load(target, 2, good, len), -EPROTONOSUPPORT);
	assert_int_equal(console_ops.save(f->console, 2, blob), -EPROTONOSUPPORT);
	assert_int_equal(console_ops.load(target, 1, good, len), 0);

	/* Fds that cannot be clients, too many of them, a second time, or in a live console. */
	fds[0] = dup(a);
	assert_int_equal(console_adopt(target, fds, 1), -EBUSY);
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	console_free(target);
	assert_int_equal(
		console_new(f->event, new_listener(), dup(console_ring_fd(f->console)), &target),
		0);
	plain = memfd_create("plain", MFD_CLOEXEC);
	fds[0] = dup(a);
	fds[1] = plain;
	fds[2] = dup(a);
	assert_int_equal(console_adopt(target, fds, 3), -EINVAL);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fcntl(fds[i], F_GETFD), -1);
	for (unsigned i = 0; i <= CONSOLE_CLIENTS_MAX; i++)
		fds[i] = dup(a);
	assert_int_equal(console_adopt(target, fds, CONSOLE_CLIENTS_MAX + 1), -EUSERS);
	assert_int_equal(fcntl(fds[CONSOLE_CLIENTS_MAX], F_GETFD), -1);
	console_thaw(target);
	fds[0] = dup(a);
	assert_int_equal(console_adopt(target, fds, 1), -EBUSY);
	console_free(target);
	close(a);
	close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_client_gets_everything, setup, teardown),
		cmocka_unit_test_setup_teardown(test_new_client_gets_scrollback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_client_loses_output_not_the_guests_time,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_output_from_another_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writes_wake_an_idle_loop_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_input_goes_as_far_as_there_is_room, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_last_words_of_a_client_are_kept, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_half_closed_client_still_gets_output, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_too_many_clients, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pty_survives_its_users, setup, teardown),
		cmocka_unit_test_setup_teardown(test_relay_loses_and_doubles_nothing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_source_that_keeps_the_guest_goes_on, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_ring_outlives_its_process, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_ring_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ring_header_is_not_believed_twice, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_bad_state_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
