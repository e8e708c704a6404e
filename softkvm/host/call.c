// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * call.c - what a handler can do to the client whose call it serves
 *
 * Copies to the client are collected in the reply; before anything is asked, those so far are
 * carried out, so that the client's memory sees everything in the handler's order.  An answer
 * that is nonsense, or none, is the end of the connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "softkvm/host/internal.h"

/* How often who waits for a lock looks whether his client has been killed. */
#define KILLED_POLL_NS 20000000

struct host *call_host(const struct call *call)
{
	return call->connection->all->host;
}

struct mm *call_mm(const struct call *call)
{
	return call->connection->mm;
}

/*
 * The monitor is told, but may be late: others see that a process has ended, and act on it, before
 * the monitor has had its turn.
 */
bool call_is_killed(const struct call *call)
{
	struct connection *connection = call->connection;
	struct pollfd ends[] = {{.fd = connection->watch.fd, .events = POLLRDHUP},
				{.fd = connection->client->watch.fd, .events = POLLIN}};

	if (!atomic_load_explicit(&connection->killed, memory_order_relaxed) &&
	    poll(ends, ARRAY_SIZE(ends), 0) > 0 &&
	    ((ends[0].revents & (POLLRDHUP | POLLHUP)) || ends[1].revents))
		atomic_store(&connection->killed, true);
	return atomic_load_explicit(&connection->killed, memory_order_relaxed);
}

bool call_is_interrupted(const struct call *call)
{
	return atomic_load_explicit(&call->connection->interrupted, memory_order_relaxed) ==
	       call->sequence;
}

void call_begin(struct call *call, struct connection *connection)
{
	*call = (struct call){
		.connection = connection,
		.sequence = connection->request.message.sequence,
		.reply_fd = -1,
	};
	connection->reply.message = (struct wire_message){0};
}

void call_end(struct call *call, long result, uint32_t flags)
{
	struct connection *connection = call->connection;
	struct wire_message *reply = &connection->reply.message;

	call_watch(call, NULL, NULL, NULL);
	if (call->failed && result >= 0)
		result = -EFAULT;
	reply->type = WIRE_REPLY;
	reply->sequence = call->sequence;
	reply->result = result;
	reply->flags = flags | (call->cloexec ? WIRE_CLOEXEC : 0);
	if (wire_send(connection->watch.fd, reply, connection->reply.data,
		      result >= 0 ? call->reply_fd : -1) < 0)
		(void)shutdown(connection->watch.fd, SHUT_RDWR);
	call->reply_fd = close_fd(call->reply_fd);
	free(call->cgroup);
}

static int hang_up(struct connection *connection)
{
	atomic_store(&connection->killed, true);
	(void)shutdown(connection->watch.fd, SHUT_RDWR);
	return -EINTR;
}

void call_abort(struct call *call)
{
	(void)hang_up(call->connection);
}

/* The answer's result, the rest in connection->answer; or -EINTR. */
static long question(struct call *call, struct wire_message *message, const void *data, int *ret_fd)
{
	struct connection *connection = call->connection;
	const struct wire_message *answer = &connection->answer.message;
	int r;

	*ret_fd = -1;
	if (call_is_killed(call))
		return -EINTR;
	message->sequence = call->sequence;
	if (wire_send(connection->watch.fd, message, data, -1) < 0)
		return hang_up(connection);
	r = connection_receive(connection, &connection->answer, ret_fd);
	if (r == -EMFILE)
		return -ENFILE;
	if (r < 0)
		return hang_up(connection);
	if (answer->type != WIRE_ANSWER || answer->sequence != call->sequence ||
	    answer->result > 0 || answer->result < -4095) {
		*ret_fd = close_fd(*ret_fd);
		return hang_up(connection);
	}
	return answer->result;
}

/* A question without a descriptor in its answer. */
static long ask_nothing(struct call *call, struct wire_message *message, const void *data)
{
	autofd fd = -1;

	return question(call, message, data, &fd);
}

static long copy_piece(struct call *call, uint64_t uaddr, const void *data, uint32_t len)
{
	struct wire_message message = {.type = WIRE_COPY_OUT, .address = uaddr, .len = len};

	return ask_nothing(call, &message, data);
}

/* Carry out the copies that wait in the reply. */
static long flush(struct call *call)
{
	struct wire_packet *reply = &call->connection->reply;
	uint32_t at = 0;
	long r = 0;

	while (r == 0 && at < reply->message.len) {
		struct wire_copy copy;

		memcpy(&copy, reply->data + at, sizeof(copy));
		r = copy_piece(call, copy.address, reply->data + at + sizeof(copy), copy.len);
		at += sizeof(copy) + wire_padded(copy.len);
	}
	reply->message.len = 0;
	call->failed |= r < 0;
	return r == -EINTR ? r : 0;
}

static long ask(struct call *call, struct wire_message *message, int *ret_fd)
{
	long r = flush(call);

	*ret_fd = -1;
	return r < 0 ? r : question(call, message, NULL, ret_fd);
}

int call_copy_in(struct call *call, void *ret, uint64_t uaddr, size_t len)
{
	if (uaddr >= call->uaddr && uaddr - call->uaddr <= call->n_copied &&
	    len <= call->n_copied - (uaddr - call->uaddr)) {
		memcpy(ret, call->connection->request.data + (uaddr - call->uaddr), len);
		return 0;
	}
	for (size_t at = 0; at < len;) {
		size_t piece = len - at < WIRE_DATA_MAX ? len - at : WIRE_DATA_MAX;
		struct wire_message message = {
			.type = WIRE_COPY_IN, .address = uaddr + at, .size = piece};
		autofd fd = -1;
		long r = ask(call, &message, &fd);

		if (r < 0)
			return r == -EINTR ? -EINTR : -EFAULT;
		if (call->connection->answer.message.len != piece)
			return hang_up(call->connection);
		memcpy((char *)ret + at, call->connection->answer.data, piece);
		at += piece;
	}
	return 0;
}

/* What came with the request is not what is in the client's memory any more. */
static void forget_copied(struct call *call, uint64_t uaddr, size_t len)
{
	if (uaddr < call->uaddr + call->n_copied && call->uaddr < uaddr + len)
		call->n_copied = 0;
}

int call_copy_out_now(struct call *call, uint64_t uaddr, const void *data, size_t len)
{
	long r = flush(call);

	forget_copied(call, uaddr, len);
	for (size_t at = 0; r == 0 && at < len; at += WIRE_DATA_MAX) {
		size_t piece = len - at < WIRE_DATA_MAX ? len - at : WIRE_DATA_MAX;

		r = copy_piece(call, uaddr + at, (const char *)data + at, (uint32_t)piece);
	}
	return r == 0 || r == -EINTR ? (int)r : -EFAULT;
}

int call_copy_out(struct call *call, uint64_t uaddr, const void *data, size_t len)
{
	struct wire_packet *reply = &call->connection->reply;
	struct wire_copy copy = {.address = uaddr, .len = (uint32_t)len};
	uint32_t at = reply->message.len;

	if (len > WIRE_DATA_MAX - sizeof(copy))
		return call_copy_out_now(call, uaddr, data, len);
	if (at + sizeof(copy) + wire_padded(len) > WIRE_DATA_MAX) {
		long r = flush(call);

		if (r < 0)
			return (int)r;
		at = 0;
	}
	forget_copied(call, uaddr, len);
	memcpy(reply->data + at, &copy, sizeof(copy));
	memset(reply->data + at + sizeof(copy), 0, wire_padded(len));
	memcpy(reply->data + at + sizeof(copy), data, len);
	reply->message.len = at + (uint32_t)(sizeof(copy) + wire_padded(len));
	return 0;
}

int call_fd(struct call *call, int number)
{
	struct wire_message message = {.type = WIRE_GET_FD, .number = (uint32_t)number};
	autofd fd = -1;
	long r = ask(call, &message, &fd);

	if (r < 0)
		return r == -EINTR || r == -ENFILE ? (int)r : -EBADF;
	return fd < 0 ? -EBADF : steal_fd(&fd);
}

int call_object(struct call *call, int number, struct object **ret)
{
	autofd fd = call_fd(call, number);

	if (fd < 0)
		return fd;
	*ret = file_find(call->connection->all, fd);
	return *ret ? 0 : -EBADF;
}

long call_return_object(struct call *call, struct object *object, bool cloexec)
{
	int fd = file_new(call->connection, object);

	if (fd < 0)
		return fd;
	close_fd(call->reply_fd);
	call->reply_fd = fd;
	call->cloexec = cloexec;
	return 0;
}

/* The next stretch of [uaddr, +len): how long it is, or -errno. */
static long share(struct call *call, uint64_t uaddr, uint64_t len, int *ret_fd,
		  uint64_t *ret_offset, bool *ret_writable)
{
	struct wire_message message = {.type = WIRE_SHARE, .address = uaddr, .size = len};
	const struct wire_message *answer = &call->connection->answer.message;
	autofd fd = -1;
	struct stat st;
	long r = ask(call, &message, &fd);
	int flags;

	if (r < 0)
		return r;
	flags = fcntl(fd, F_GETFL);
	if (answer->size == 0 || answer->size > len || answer->address > INT64_MAX - len ||
	    flags < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return hang_up(call->connection);
	*ret_offset = answer->address;
	*ret_writable = (answer->flags & WIRE_WRITABLE) && (flags & O_ACCMODE) == O_RDWR;
	*ret_fd = steal_fd(&fd);
	return (long)answer->size;
}

int call_share(struct call *call, uint64_t uaddr, uint64_t len,
	       int (*each)(void *opaque, uint64_t uaddr, uint64_t len, int fd, uint64_t offset,
			   bool writable),
	       void *opaque)
{
	int r = 0;

	if (len > INT64_MAX)
		return -EFAULT;
	while (r == 0 && len > 0) {
		autofd fd = -1;
		uint64_t offset = 0;
		bool writable = false;
		long n = share(call, uaddr, len, &fd, &offset, &writable);

		if (n < 0)
			return (int)n;
		r = each(opaque, uaddr, (uint64_t)n, fd, offset, writable);
		uaddr += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return r;
}

void call_signal_mask(struct call *call, uint64_t mask)
{
	struct wire_message message = {
		.type = WIRE_SIGNAL_MASK, .sequence = call->sequence, .address = mask};

	if (wire_send(call->connection->watch.fd, &message, NULL, -1) < 0)
		(void)hang_up(call->connection);
}

uint64_t call_rlimit_memlock(struct call *call)
{
	struct wire_message message = {.type = WIRE_MEMLOCK};
	autofd fd = -1;

	return ask(call, &message, &fd) < 0 ? 0 : call->connection->answer.message.size;
}

const char *call_cgroup(struct call *call)
{
	char path[32], line[PATH_MAX];
	FILE *file;

	if (call->cgroup)
		return call->cgroup;
	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)call->connection->client->pid);
	file = fopen(path, "re");
	while (file && !call->cgroup && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		/* The unified hierarchy's line: see cgroups(7). */
		if (strncmp(line, "0::", 3) == 0)
			call->cgroup = strdup(line + 3);
	}
	if (file)
		(void)fclose(file);
	return call->cgroup ? call->cgroup : "/";
}

/* proc_pid_stat(5): the state is behind the name, which may contain anything. */
bool call_is_stopped(const struct call *call)
{
	char text[64], *end;
	ssize_t n = pread(call->connection->client->stat_fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	end = strrchr(text, ')');
	return end && strncmp(end, ") T", strlen(") T")) == 0;
}

int call_lock(struct call *call, pthread_mutex_t *mutex)
{
	int r = pthread_mutex_trylock(mutex);

	while (r != 0) {
		struct timespec until;

		if (call_is_killed(call))
			return -EINTR;
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += KILLED_POLL_NS;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		r = pthread_mutex_timedlock(mutex, &until);
	}
	return 0;
}
