// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages between library and host. */
#include "softkvm/wire.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Waking a CPU of a virtual machine takes some 30 us. */
#define SPIN_NS	 20000
#define QUICK_NS 100000

union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int wire_send(int sock, struct wire_message *message, const void *data, int fd)
{
	struct iovec iov[2] = {{message, sizeof(*message)}, {(void *)data, message->len}};
	union control control;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = message->len > 0 ? 2 : 1};
	int saved = errno;
	long r;

	message->cpu = (uint16_t)sched_getcpu();
	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	do
		r = syscall(SYS_sendmsg, sock, &msg, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		r = -errno;
	errno = saved;
	return r < 0 ? (int)r : 0;
}

/* The descriptors of a message: the first one is *ret_fd, more than one is none. */
static int take_fds(struct msghdr *msg, int *ret_fd)
{
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at < c->cmsg_len; at += sizeof(int), n++) {
			int fd;

			memcpy(&fd, (char *)c + at, sizeof(fd));
			if (n == 0)
				*ret_fd = fd;
			else
				(void)syscall(SYS_close, fd);
		}
	}
	/* What the kernel could not install: there was no room in the message, or none among the
	 * descriptors. */
	if (msg->msg_flags & MSG_CTRUNC)
		return n > 0 ? -EBADMSG : -EMFILE;
	return n > 1 ? -EBADMSG : 0;
}

static int receive(int sock, struct wire_packet *ret, int *ret_fd, int flags)
{
	struct iovec iov[2] = {{&ret->message, sizeof(ret->message)}, {ret->data, WIRE_DATA_MAX}};
	union control control;
	struct msghdr msg = {
		.msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = &control,
		/* Without the padding, in which a second descriptor would find room. */
		.msg_controllen = CMSG_LEN(sizeof(int)),
	};
	long n;
	int r;

	do
		n = syscall(SYS_recvmsg, sock, &msg, MSG_CMSG_CLOEXEC | flags);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	r = take_fds(&msg, ret_fd);
	if (r == -EBADMSG)
		return r;
	if (n == 0)
		return -EPIPE;
	if ((msg.msg_flags & MSG_TRUNC) || (size_t)n < sizeof(ret->message) ||
	    ret->message.len != (size_t)n - sizeof(ret->message))
		return -EBADMSG;
	return r;
}

static int receive_safely(int sock, struct wire_packet *ret, int *ret_fd, int flags)
{
	int saved = errno;
	int r;

	*ret_fd = -1;
	r = receive(sock, ret, ret_fd, flags);
	if (r < 0 && *ret_fd >= 0) {
		(void)syscall(SYS_close, *ret_fd);
		*ret_fd = -1;
	}
	errno = saved;
	return r;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int wire_receive(int sock, struct wire_packet *ret, int *ret_fd, struct wire_pace *pace)
{
	int r = receive_safely(sock, ret, ret_fd, 0);

	pace->is_quick = now_ns() - pace->since_ns < QUICK_NS;
	pace->peer_cpu = ret->message.cpu;
	return r;
}

int wire_receive_soon(int sock, struct wire_packet *ret, int *ret_fd, struct wire_pace *pace)
{
	int r = -EAGAIN;

	pace->since_ns = now_ns();
	if (!pace->is_quick || pace->peer_cpu == (uint16_t)sched_getcpu())
		return r;
	while (r == -EAGAIN && now_ns() - pace->since_ns < SPIN_NS)
		r = receive_safely(sock, ret, ret_fd, MSG_DONTWAIT);
	if (r != -EAGAIN)
		pace->peer_cpu = ret->message.cpu;
	return r;
}
