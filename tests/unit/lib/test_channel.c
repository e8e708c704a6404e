// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages between source and target: order, fds, and what a hostile peer may send. */
#include "lib/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "kvm/cleanup.h"
#include "util.h"

#define MAGIC	 0x4d524c59U
#define MANY_FDS 253 /* SCM_MAX_FD */

struct raw_header {
	uint32_t magic;
	uint16_t type;
	uint16_t n_fds;
	uint32_t len;
	uint32_t reserved;
};

struct fixture {
	int sock[2];
	int fd[MANY_FDS]; /* memory objects, each its own inode */
	unsigned n_open;
};

static int setup(void **state)
{
	static struct fixture f;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, f.sock) < 0)
		return -1;
	for (int i = 0; i < MANY_FDS; i++) {
		f.fd[i] = memfd_create("test", MFD_CLOEXEC);
		if (f.fd[i] < 0 || ftruncate(f.fd[i], 1 + i) < 0)
			return -1;
	}
	f.n_open = count_fds();
	*state = &f;
	return 0;
}

/* Whatever a test did, it left no fd behind. */
static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned n = count_fds();

	close_fd(f->sock[0]);
	close_fd(f->sock[1]);
	for (int i = 0; i < MANY_FDS; i++)
		close_fd(f->fd[i]);
	if (n == f->n_open)
		return 0;
	print_error("%u fds open before the test, %u after\n", f->n_open, n);
	return -1;
}

/* A record as only a hostile peer would send it. */
static void send_raw(int sock, const void *bytes, size_t len, const int *fds, unsigned n_fds)
{
	struct iovec iov = {(void *)bytes, len};
	union {
		char bytes[CMSG_SPACE(sizeof(int) * MANY_FDS)];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);

		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
	}
	assert_int_equal(sendmsg(sock, &msg, MSG_DONTWAIT), (ssize_t)len);
}

static off_t size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_size;
}

static void test_fds_in_order(void **state)
{
	static const unsigned counts[] = {0, 1, 2, 7, 100, 199, 200};
	struct fixture *f = *state;

	for (unsigned c = 0; c < ARRAY_SIZE(counts); c++) {
		uint8_t payload[CHANNEL_PAYLOAD_MAX];
		size_t len = c == 0 ? 0 : c == 1 ? sizeof(payload) : c * 11;
		automessage m = {.n_fds = 0};

		memset(payload, (int)(c + 1), sizeof(payload));
		assert_int_equal(
			channel_send(f->sock[0], CHANNEL_FDS, payload, len, f->fd, counts[c]), 0);
		assert_int_equal(channel_receive(f->sock[1], &m), 0);
		assert_int_equal(m.type, CHANNEL_FDS);
		assert_int_equal(m.len, len);
		assert_memory_equal(m.payload, payload, len);
		assert_int_equal(m.payload[len], 0);
		assert_int_equal(m.n_fds, counts[c]);
		for (unsigned i = 0; i < m.n_fds; i++) {
			assert_int_equal(size_of(m.fds[i]), 1 + (int)i);
			assert_true(fcntl(m.fds[i], F_GETFD) & FD_CLOEXEC);
		}
	}
}

static void test_messages_in_order(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(
			channel_send(f->sock[0], CHANNEL_FDS, &i, sizeof(i), f->fd + i, i % 3), 0);
	for (uint32_t i = 0; i < 50; i++) {
		automessage m = {.n_fds = 0};
		uint32_t got;

		assert_int_equal(channel_receive(f->sock[1], &m), 0);
		assert_int_equal(m.len, sizeof(got));
		memcpy(&got, m.payload, sizeof(got));
		assert_int_equal(got, i);
		assert_int_equal(m.n_fds, i % 3);
		for (unsigned k = 0; k < m.n_fds; k++)
			assert_int_equal(size_of(m.fds[k]), 1 + (int)(i + k));
	}
}

static void test_send_limits(void **state)
{
	struct fixture *f = *state;
	uint8_t payload[CHANNEL_PAYLOAD_MAX + 1] = {0};
	automessage m = {.n_fds = 0};

	assert_int_equal(channel_send(f->sock[0], CHANNEL_FDS, payload, sizeof(payload), NULL, 0),
			 -EMSGSIZE);
	assert_int_equal(channel_send(f->sock[0], CHANNEL_FDS, NULL, 0, f->fd, CHANNEL_FDS_MAX + 1),
			 -EMSGSIZE);
	assert_int_equal(channel_receive(f->sock[1], &m), -EAGAIN);
}

/* A fd that somebody took is not closed with the message. */
static void test_taken_fd_stays_open(void **state)
{
	struct fixture *f = *state;
	int taken;

	assert_int_equal(channel_send(f->sock[0], CHANNEL_FDS, NULL, 0, f->fd, 3), 0);
	{
		automessage m = {.n_fds = 0};

		assert_int_equal(channel_receive(f->sock[1], &m), 0);
		taken = steal_fd(&m.fds[1]);
	}
	assert_int_equal(size_of(taken), 2);
	close_fd(taken);
}

/* Each of these is one record that is no message; each is sent without and with fds. */
static void test_hostile_records(void **state)
{
	static const struct raw_header good = {MAGIC, CHANNEL_READY, 0, 8, 0};
	static const struct {
		struct raw_header header;
		size_t len; /* of the record */
		unsigned n_fds;
	} cases[] = {
		{{MAGIC, CHANNEL_READY, 0, 8, 0}, 1, 0}, /* truncated header */
		{{MAGIC, CHANNEL_READY, 0, 8, 0}, 15, 0},
		{{MAGIC, CHANNEL_READY, 3, 8, 0}, 15, 3},
		{{MAGIC, CHANNEL_READY, 0, 8, 0}, 16, 0}, /* truncated payload */
		{{MAGIC, CHANNEL_READY, 2, 8, 0}, 23, 2},
		{{MAGIC, CHANNEL_READY, 0, 8, 0}, 25, 0}, /* more than it says */
		{{MAGIC, CHANNEL_READY, 0, UINT32_MAX, 0}, 24, 0},
		{{MAGIC, CHANNEL_READY, 0, 0, 0}, 24, 0},
		{{MAGIC, CHANNEL_READY, 0, UINT32_MAX - 15, 0}, 16, 0},
		{{MAGIC + 1, CHANNEL_READY, 0, 8, 0}, 24, 0}, /* wrong magic */
		{{MAGIC + 1, CHANNEL_READY, 5, 8, 0}, 24, 5},
		{{0, 0, 0, 0, 0}, 24, 200},
		{{MAGIC, CHANNEL_READY, 1, 8, 0}, 24, 0}, /* wrong number of fds */
		{{MAGIC, CHANNEL_READY, 0, 8, 0}, 24, 1},
		{{MAGIC, CHANNEL_READY, 4, 8, 0}, 24, 3},
		{{MAGIC, CHANNEL_READY, UINT16_MAX, 8, 0}, 24, 200},
		{{MAGIC, CHANNEL_READY, 0, CHANNEL_PAYLOAD_MAX + 1, 0},
		 16 + CHANNEL_PAYLOAD_MAX + 1,
		 0}, /* oversized */
		{{MAGIC, CHANNEL_READY, 7, CHANNEL_PAYLOAD_MAX + 1, 0},
		 16 + CHANNEL_PAYLOAD_MAX + 1,
		 7},
		{{MAGIC, CHANNEL_READY, 0, CHANNEL_PAYLOAD_MAX, 0},
		 16 + 3 * CHANNEL_PAYLOAD_MAX,
		 0},
		{{MAGIC, CHANNEL_READY, MANY_FDS, 8, 0}, 24, MANY_FDS}, /* control truncated */
		{{MAGIC, CHANNEL_READY, CHANNEL_FDS_MAX, 8, 0}, 24, MANY_FDS},
		{{MAGIC, CHANNEL_READY, CHANNEL_FDS_MAX, 8, 0}, 24, CHANNEL_FDS_MAX + 1},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[16 + 3 * CHANNEL_PAYLOAD_MAX] = {0};
		struct channel_message m;
		unsigned n = count_fds();

		memcpy(bytes, &cases[i].header, sizeof(cases[i].header));
		send_raw(f->sock[0], bytes, cases[i].len, f->fd, cases[i].n_fds);
		print_message("# case %u\n", i);
		assert_int_equal(channel_receive(f->sock[1], &m), -EBADMSG);
		assert_int_equal(m.n_fds, 0);
		assert_int_equal(count_fds(), n);
	}

	/* The socket is still good. */
	uint8_t bytes[24] = {0};
	automessage m = {.n_fds = 0};

	memcpy(bytes, &good, sizeof(good));
	send_raw(f->sock[0], bytes, sizeof(bytes), NULL, 0);
	assert_int_equal(channel_receive(f->sock[1], &m), 0);
	assert_int_equal(m.type, CHANNEL_READY);
	assert_int_equal(m.len, 8);
}

/* The sender of a hello is known even if it was not asked for yet, that of the others from then on.
 */
static void test_sender(void **state)
{
	struct fixture *f = *state;
	struct channel_message m;
	int own = (int)syscall(SYS_pidfd_open, getpid(), 0);
	int parent = (int)syscall(SYS_pidfd_open, getppid(), 0);

	assert_int_equal(channel_send(f->sock[0], CHANNEL_HELLO, "h", 1, f->fd, 2), 0);
	assert_int_equal(channel_send(f->sock[0], CHANNEL_READY, NULL, 0, NULL, 0), 0);
	assert_int_equal(channel_ask_sender(f->sock[1]), 0);
	assert_int_equal(channel_send(f->sock[0], CHANNEL_READY, NULL, 0, f->fd, CHANNEL_FDS_MAX),
			 0);

	assert_int_equal(channel_receive(f->sock[1], &m), 0);
	assert_int_equal(m.n_fds, 2);
	assert_int_equal(channel_check_sender(&m, own), 0);
	assert_int_equal(channel_check_sender(&m, parent), -EPERM);
	assert_int_equal(channel_check_sender(&m, f->fd[0]), -ENODATA);
	channel_message_done(&m);

	assert_int_equal(channel_receive(f->sock[1], &m), 0);
	assert_int_equal(channel_check_sender(&m, own), -EPERM);

	assert_int_equal(channel_receive(f->sock[1], &m), 0);
	assert_int_equal(m.n_fds, CHANNEL_FDS_MAX);
	assert_int_equal(channel_check_sender(&m, own), 0);
	channel_message_done(&m);
	close_fd(own);
	close_fd(parent);
}

/* A record without a byte but with fds: not the end of the stream, and no leak. */
static void test_empty_record(void **state)
{
	struct fixture *f = *state;
	struct channel_message m;

	send_raw(f->sock[0], "", 0, f->fd, 4);
	assert_int_equal(channel_receive(f->sock[1], &m), -EBADMSG);
}

static void test_end(void **state)
{
	struct fixture *f = *state;
	automessage m = {.n_fds = 0};

	assert_int_equal(channel_receive(f->sock[1], &m), -EAGAIN);
	assert_int_equal(channel_send(f->sock[0], CHANNEL_READY, NULL, 0, NULL, 0), 0);
	(void)close(f->sock[0]);
	/* What was sent before the end is still read. */
	assert_int_equal(channel_receive(f->sock[1], &m), 0);
	assert_int_equal(m.type, CHANNEL_READY);
	assert_int_equal(channel_receive(f->sock[1], &m), -EPIPE);
	assert_int_equal(channel_wait(f->sock[1], 1000, &m), -EPIPE);
	assert_int_equal(channel_send(f->sock[1], CHANNEL_READY, NULL, 0, NULL, 0), -EPIPE);
	f->sock[0] = memfd_create("test", MFD_CLOEXEC); /* teardown counts */
}

/* The peer ended without having read what was sent to it; what it said itself is not lost. */
static void test_end_with_unread(void **state)
{
	struct fixture *f = *state;
	automessage m = {.n_fds = 0};

	assert_int_equal(channel_send(f->sock[1], CHANNEL_READY, NULL, 0, f->fd, 1), 0);
	assert_int_equal(channel_send(f->sock[0], CHANNEL_CANCEL, NULL, 0, NULL, 0), 0);
	(void)close(f->sock[0]);
	assert_int_equal(channel_receive(f->sock[1], &m), 0);
	assert_int_equal(m.type, CHANNEL_CANCEL);
	assert_int_equal(channel_receive(f->sock[1], &m), -EPIPE);
	f->sock[0] = memfd_create("test", MFD_CLOEXEC);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void test_timeout(void **state)
{
	struct fixture *f = *state;
	automessage m = {.n_fds = 0};
	int64_t begin = now_ms();

	assert_int_equal(channel_wait(f->sock[1], 0, &m), -ETIMEDOUT);
	assert_int_equal(channel_wait(f->sock[1], 50, &m), -ETIMEDOUT);
	assert_in_range(now_ms() - begin, 49, 5000);
}

static void test_wait_wakes_up(void **state)
{
	struct fixture *f = *state;
	automessage m = {.n_fds = 0};
	int64_t begin = now_ms();
	pid_t pid = fork();

	if (pid == 0) {
		(void)usleep(30000);
		_exit(channel_send(f->sock[0], CHANNEL_ENTERED, "x", 1, f->fd, 1) != 0);
	}
	assert_int_equal(channel_wait(f->sock[1], 20000, &m), 0);
	assert_int_equal(m.type, CHANNEL_ENTERED);
	assert_int_equal(m.n_fds, 1);
	assert_in_range(now_ms() - begin, 0, 10000);
	assert_int_equal(wait_for(pid), 0);
}

/* A peer that does not read: the sender is told, and nothing that was taken is lost. */
static void test_full_socket(void **state)
{
	struct fixture *f = *state;
	uint8_t payload[CHANNEL_PAYLOAD_MAX] = {0};
	uint32_t sent = 0;
	int r;

	for (;;) {
		memcpy(payload, &sent, sizeof(sent));
		r = channel_send(f->sock[0], CHANNEL_FDS, payload, sizeof(payload), f->fd, 1);
		if (r < 0)
			break;
		sent++;
		assert_in_range(sent, 0, 10000);
	}
	assert_int_equal(r, -EAGAIN);
	assert_in_range(sent, 10, 10000);
	for (uint32_t i = 0; i < sent; i++) {
		automessage m = {.n_fds = 0};
		uint32_t got;

		assert_int_equal(channel_receive(f->sock[1], &m), 0);
		memcpy(&got, m.payload, sizeof(got));
		assert_int_equal(got, i);
		assert_int_equal(m.n_fds, 1);
	}

	automessage m = {.n_fds = 0};

	assert_int_equal(channel_receive(f->sock[1], &m), -EAGAIN);
	assert_int_equal(channel_send(f->sock[0], CHANNEL_READY, NULL, 0, NULL, 0), 0);
	assert_int_equal(channel_receive(f->sock[1], &m), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fds_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_messages_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taken_fd_stays_open, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sender, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_record, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_with_unread, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wait_wakes_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_socket, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
