// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * client.c - a system call that the host serves
 *
 * All signals are blocked while the library is at work, and let in while it waits.  A handler that
 * has run then is what would have made the kernel return to user space: the host is told, and
 * ends the call in its own time.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "softkvm/preload/library.h"

/* How long to wait for the host to take notice of earlier interruptions. */
#define INTERRUPT_RETRY_NS 1000000

/* One call. */
struct client {
	struct link *link;
	uint64_t sequence;
	kernel_sigset mask;    /* the program's */
	int signal_fd;	       /* what interrupts without being delivered; -1 */
	kernel_sigset blocked; /* while waiting */
	bool is_interrupted, is_told;
};

static void tell(struct client *client)
{
	struct link *link = client->link;

	client->is_told = !library_is_same_file(link->interrupt_fd, &link->interrupt_identity) ||
			  library_syscall(SYS_sendto, link->interrupt_fd, (long)&client->sequence,
					  sizeof(client->sequence), MSG_NOSIGNAL | MSG_DONTWAIT, 0,
					  0) != -EAGAIN;
}

/* Until there is something to be received. */
static void wait_for_host(struct client *client)
{
	for (;;) {
		struct pollfd fds[2] = {
			{.fd = client->link->fd, .events = POLLIN},
			/* Once is enough. */
			{.fd = client->is_interrupted ? -1 : client->signal_fd, .events = POLLIN},
		};
		struct timespec retry = {.tv_nsec = INTERRUPT_RETRY_NS};
		bool must_tell = client->is_interrupted && !client->is_told;
		long r = library_syscall(SYS_ppoll, (long)fds, 2, must_tell ? (long)&retry : 0,
					 (long)&client->blocked, sizeof(client->blocked), 0);

		if (r == -EINTR || (r > 0 && fds[1].revents != 0))
			client->is_interrupted = true;
		else if (r < 0)
			return;
		if (fds[0].revents != 0 && r > 0)
			return;
		if (client->is_interrupted && !client->is_told)
			tell(client);
	}
}

/*
 * KVM_SET_SIGNAL_MASK, for the time of the call.  What the program blocks and this mask does not
 * interrupts, and stays pending, since it is blocked again before it could be delivered.
 */
static void set_mask(struct client *client, kernel_sigset mask)
{
	kernel_sigset waiting = client->mask & ~mask;

	if (client->signal_fd < 0 && waiting != 0)
		client->signal_fd = library_move_high((int)library_syscall(
			SYS_signalfd4, -1, (long)&waiting, sizeof(waiting), O_CLOEXEC, 0, 0));
	client->blocked = client->mask | mask;
}

static long write_memory(const struct link *link, uint64_t address, const void *data, size_t len)
{
	struct iovec local = {(void *)data, len}, remote = {(void *)address, len};
	long r = library_syscall(SYS_process_vm_writev, link->tid, (long)&local, 1, (long)&remote,
				 1, 0);

	return r == (long)len ? 0 : -EFAULT;
}

static void answer(struct client *client, struct wire_message *message, const void *data, int fd)
{
	int r;

	message->type = WIRE_ANSWER;
	message->sequence = client->sequence;
	r = wire_send(client->link->fd, message, data, fd);
	if (r == -EFAULT || r == -EBADF) {
		struct wire_message failure = {
			.type = WIRE_ANSWER, .sequence = client->sequence, .result = r};

		(void)wire_send(client->link->fd, &failure, NULL, -1);
	}
}

static uint64_t memlock_limit(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	struct rlimit limit;

	if (library_syscall(SYS_capget, (long)&header, (long)data, 0, 0, 0, 0) == 0 &&
	    (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)))
		return UINT64_MAX;
	if (library_syscall(SYS_prlimit64, 0, RLIMIT_MEMLOCK, 0, (long)&limit, 0, 0) < 0)
		return 0;
	return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

static void answer_share(struct client *client, const struct wire_message *question)
{
	struct wire_message message = {0};
	bool is_ours;
	int fd;

	share_find(client->link, question, &message, &fd, &is_ours);
	answer(client, &message, NULL, fd);
	if (is_ours)
		(void)library_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

static bool answer_question(struct client *client)
{
	const struct wire_packet *packet = &client->link->packet;
	const struct wire_message question = packet->message;
	struct wire_message message = {0};

	switch (question.type) {
	case WIRE_COPY_IN:
		message.len = (uint32_t)question.size;
		answer(client, &message, (void *)question.address, -1);
		return true;
	case WIRE_COPY_OUT:
		message.result =
			write_memory(client->link, question.address, packet->data, question.len);
		answer(client, &message, NULL, -1);
		return true;
	case WIRE_GET_FD:
		if ((int)question.number < 0)
			message.result = -EBADF;
		answer(client, &message, NULL, (int)question.number);
		return true;
	case WIRE_SHARE:
		answer_share(client, &question);
		return true;
	case WIRE_MEMLOCK:
		message.size = memlock_limit();
		answer(client, &message, NULL, -1);
		return true;
	case WIRE_SIGNAL_MASK:
		set_mask(client, question.address);
		return true;
	default:
		return false;
	}
}

/* The copies that came with the reply. */
static long write_copies(const struct link *link)
{
	const struct wire_packet *packet = &link->packet;
	size_t at = 0;

	while (at + sizeof(struct wire_copy) <= packet->message.len) {
		struct wire_copy copy;

		memcpy(&copy, packet->data + at, sizeof(copy));
		at += sizeof(copy);
		if (copy.len > packet->message.len - at)
			return -EIO;
		if (write_memory(link, copy.address, packet->data + at, copy.len) < 0)
			return -EFAULT;
		at += wire_padded(copy.len);
	}
	return 0;
}

static long finish(const struct link *link, int *ret_fd)
{
	const struct wire_message *reply = &link->packet.message;
	long r = write_copies(link);

	if (r == 0)
		r = reply->result;
	if (*ret_fd >= 0 && r < 0) {
		(void)library_syscall(SYS_close, *ret_fd, 0, 0, 0, 0, 0);
		*ret_fd = -1;
	}
	if (*ret_fd >= 0 && !(reply->flags & WIRE_CLOEXEC))
		(void)library_syscall(SYS_fcntl, *ret_fd, F_SETFD, 0, 0, 0, 0);
	return r < 0 && (reply->flags & WIRE_NOT_OURS) ? CLIENT_NOT_OURS : r;
}

/* -EIO with *ret_is_broken: the host is not there any more. */
static long converse(struct client *client, struct wire_message *message, const void *data, int fd,
		     int *ret_fd, bool *ret_is_broken)
{
	struct link *link = client->link;
	int r;

	*ret_is_broken = false;
	message->sequence = client->sequence;
	r = wire_send(link->fd, message, data, fd);
	if (r == -EFAULT) {
		/* The host will ask for what it needs. */
		message->len = 0;
		r = wire_send(link->fd, message, NULL, fd);
	}
	if (r == -EBADF)
		return r;
	while (r == 0) {
		r = wire_receive_soon(link->fd, &link->packet, ret_fd, &link->pace);
		if (r == -EAGAIN) {
			wait_for_host(client);
			r = wire_receive(link->fd, &link->packet, ret_fd, &link->pace);
		}
		if (link->packet.message.type == WIRE_REPLY &&
		    link->packet.message.sequence == client->sequence) {
			if (r == 0)
				return finish(link, ret_fd);
			if (r == -EMFILE)
				return r;
		}
		/* Who is asked before the greeting is over has met another version. */
		if (r == 0 && (message->type == WIRE_HELLO || !answer_question(client)))
			r = -EPROTO;
	}
	*ret_is_broken = true;
	return -EIO;
}

static long call_over(struct link *link, kernel_sigset mask, struct wire_message *message,
		      const void *data, int fd, int *ret_fd, bool *ret_is_broken)
{
	struct client client = {
		.link = link,
		.sequence = ++link->sequence,
		.mask = mask,
		.signal_fd = -1,
		.blocked = mask,
	};
	long r;

	*ret_fd = -1;
	r = converse(&client, message, data, fd, ret_fd, ret_is_broken);
	if (client.signal_fd >= 0)
		(void)library_syscall(SYS_close, client.signal_fd, 0, 0, 0, 0, 0);
	return r;
}

long client_greet(struct link *link, kernel_sigset mask, int *ret_interrupt_fd)
{
	struct wire_message message = {
		.type = WIRE_HELLO, .number = WIRE_VERSION, .len = WIRE_COOKIE_LEN};
	bool is_broken;
	long r =
		call_over(link, mask, &message, library_cookie(), -1, ret_interrupt_fd, &is_broken);

	return r < 0 || *ret_interrupt_fd >= 0 ? r : -EIO;
}

long client_call(struct wire_message *message, const void *data, int fd, const void *frame,
		 int *ret_fd)
{
	kernel_sigset mask;
	struct link *link;
	bool is_broken;
	int reply_fd = -1;
	long r = -EIO;

	library_block_signals(&mask);
	link = link_acquire(frame, mask);
	if (link) {
		r = call_over(link, mask, message, data, fd, &reply_fd, &is_broken);
		link_release(link, is_broken);
	}
	library_restore_signals(&mask);
	if (ret_fd)
		*ret_fd = reply_fd;
	else if (reply_fd >= 0)
		(void)library_syscall(SYS_close, reply_fd, 0, 0, 0, 0, 0);
	return r;
}
