/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages over the socket between source and target. */
#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kvm/cleanup.h"

#define CHANNEL_MAGIC 0x4d524c59U

struct header {
	uint32_t magic;
	uint16_t type;
	uint16_t n_fds;
	uint32_t len;
	uint32_t reserved;
};

/* Room for the fds of a message and the credentials of its sender. */
union control {
	char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX) + CMSG_SPACE(sizeof(struct ucred))];
	struct cmsghdr align;
};

/* Append a control message to msg. */
static void add_control(struct msghdr *msg, union control *control, int type, const void *data,
			size_t len)
{
	struct cmsghdr *cmsg = (struct cmsghdr *)(control->bytes + msg->msg_controllen);

	memset(cmsg, 0, CMSG_SPACE(len));
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = type;
	cmsg->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(cmsg), data, len);
	msg->msg_control = control;
	msg->msg_controllen += CMSG_SPACE(len);
}

static void add_own_credentials(struct msghdr *msg, union control *control)
{
	const struct ucred own = {.pid = getpid(), .uid = geteuid(), .gid = getegid()};

	add_control(msg, control, SCM_CREDENTIALS, &own, sizeof(own));
}

int channel_send(int sock, enum channel_type type, const void *payload, size_t len, const int *fds,
		 unsigned n_fds)
{
	struct header header = {
		.magic = CHANNEL_MAGIC,
		.type = (uint16_t)type,
		.n_fds = (uint16_t)n_fds,
		.len = (uint32_t)len,
	};
	struct iovec iov[2] = {{&header, sizeof(header)}, {(void *)payload, len}};
	union control control;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = len > 0 ? 2 : 1};

	if (len > CHANNEL_PAYLOAD_MAX || n_fds > CHANNEL_FDS_MAX)
		return -EMSGSIZE;
	if (n_fds > 0)
		add_control(&msg, &control, SCM_RIGHTS, fds, sizeof(int) * n_fds);
	/* Whoever receives it may not have asked for credentials when it was sent. */
	if (type == CHANNEL_HELLO)
		add_own_credentials(&msg, &control);
	for (;;) {
		if (sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

/* Moves the fds of one control message into ret, closes those that do not fit; how many there were.
 */
static size_t take_fds(struct cmsghdr *cmsg, struct channel_message *ret)
{
	size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
		if (ret->n_fds < CHANNEL_FDS_MAX)
			ret->fds[ret->n_fds++] = fd;
		else
			close_fd(fd);
	}
	return n;
}

int channel_receive(int sock, struct channel_message *ret)
{
	struct header header;
	struct iovec iov[2] = {{&header, sizeof(header)}, {ret->payload, CHANNEL_PAYLOAD_MAX}};
	union control control;
	struct msghdr msg = {
		.msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	size_t n_fds = 0;
	ssize_t n;

	ret->n_fds = 0;
	ret->sender = 0;
	/*
	 * ECONNRESET, from a peer that ended without having read everything, comes once and before
	 * what the peer had said, which counts: it may be CANCEL.
	 */
	do
		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		struct ucred sender;

		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			n_fds += take_fds(c, ret);
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS &&
		    c->cmsg_len == CMSG_LEN(sizeof(sender))) {
			memcpy(&sender, CMSG_DATA(c), sizeof(sender));
			ret->sender = sender.pid;
		}
	}
	if (n == 0 && ret->n_fds == 0)
		return -EPIPE;
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)n < sizeof(header) ||
	    header.magic != CHANNEL_MAGIC || header.len != (size_t)n - sizeof(header) ||
	    header.n_fds != n_fds || n_fds > CHANNEL_FDS_MAX) {
		channel_message_done(ret);
		return -EBADMSG;
	}
	ret->type = (enum channel_type)header.type;
	ret->len = header.len;
	ret->payload[ret->len] = '\0';
	return 0;
}

int channel_ask_sender(int sock)
{
	const int on = 1;

	return setsockopt(sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ? -errno : 0;
}

pid_t channel_process(int pidfd)
{
	char path[40], line[80];
	int pid = -ENODATA;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);

	FILE *file = fopen(path, "re");

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Pid: %d", &pid) == 1)
			break;
	(void)fclose(file);
	if (pid == 0)
		return -EXDEV; /* in a pid namespace that /proc does not show */
	return pid == -1 ? -ESRCH : pid;
}

int channel_check_sender(const struct channel_message *message, int pidfd)
{
	pid_t pid = channel_process(pidfd);

	if (pid < 0)
		return pid;
	return message->sender == pid ? 0 : -EPERM;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int channel_wait(int sock, int timeout_ms, struct channel_message *ret)
{
	int64_t deadline = now_ms() + timeout_ms;

	for (;;) {
		struct pollfd p = {.fd = sock, .events = POLLIN};
		int r = channel_receive(sock, ret);
		int64_t left = deadline - now_ms();

		if (r != -EAGAIN)
			return r;
		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)left) < 0 && errno != EINTR)
			return -errno;
	}
}

void channel_message_done(struct channel_message *message)
{
	for (unsigned i = 0; i < message->n_fds; i++)
		message->fds[i] = close_fd(message->fds[i]);
	message->n_fds = 0;
}
