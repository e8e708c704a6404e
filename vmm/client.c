// SPDX-License-Identifier: GPL-2.0-or-later
/* The command line's side of the control socket. */
#include "client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "kvm/cleanup.h"
#include "options.h"
#include "runtime.h"

#define MESSAGE_MAX (256U * 1024U)
#define FDS_MAX	    4
#define DRAIN_MS    2000
#define TRIES	    5

struct client {
	int fd;
	char name[VMM_NAME_MAX + 1];
	pid_t pid;
	bool waits;	 /* client_wait()s */
	int received_fd; /* came with a message that client_reply() has not claimed yet */
	json_t *end;	 /* came while client_reply() waited for something else */
	size_t len;
	char buffer[MESSAGE_MAX];
};

long long client_now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / (1000 * 1000);
}

int client_ms_until(long long deadline)
{
	long long left = deadline - client_now_ms();

	return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

struct client *client_free(struct client *client)
{
	if (client) {
		close_fd(client->fd);
		close_fd(client->received_fd);
		json_decref(client->end);
		free(client);
	}
	return NULL;
}

int client_fd(const struct client *client)
{
	return client->fd;
}

pid_t client_pid(const struct client *client)
{
	return client->pid;
}

/* Keep the last fd that came, close the others. */
static void take_fds(struct client *client, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0);
		     at += sizeof(int)) {
			close_fd(client->received_fd);
			memcpy(&client->received_fd, CMSG_DATA(c) + at, sizeof(int));
		}
	}
}

/*
 * Bytes into the buffer; 0, -EAGAIN, -EPIPE or another -errno.  -ECONNRESET: the connection was
 * closed before what we sent was read.
 */
static int fill(struct client *client)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = client->buffer + client->len,
			    .iov_len = sizeof(client->buffer) - client->len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};

	if (iov.iov_len == 0)
		return -EMSGSIZE;

	ssize_t n = recvmsg(client->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	take_fds(client, &msg);
	if (n == 0)
		return -EPIPE;
	client->len += (size_t)n;
	return 0;
}

/* -EAGAIN: there is no whole line yet. */
static int take_line(struct client *client, json_t **ret)
{
	char *newline = memchr(client->buffer, '\n', client->len);
	json_error_t ignored;
	json_t *message;
	size_t len;

	if (!newline)
		return -EAGAIN;
	len = (size_t)(newline - client->buffer);
	message = json_loadb(client->buffer, len, 0, &ignored);
	client->len -= len + 1;
	memmove(client->buffer, newline + 1, client->len);
	if (!json_is_object(message)) {
		json_decref(message);
		return -EBADMSG;
	}
	*ret = message;
	return 0;
}

int client_receive(struct client *client, int timeout_ms, json_t **ret)
{
	long long deadline = client_now_ms() + timeout_ms;

	for (;;) {
		struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
		int r = take_line(client, ret);

		if (r != -EAGAIN)
			return r;
		r = fill(client);
		if (r == 0)
			continue;
		if (r != -EAGAIN)
			return r;
		r = poll(&poll_fd, 1, timeout_ms < 0 ? -1 : client_ms_until(deadline));
		if (r == 0)
			return -ETIMEDOUT;
		if (r < 0 && errno != EINTR)
			return -errno;
	}
}

static void broken(const struct client *client, int r, struct vmm_error *ret_error)
{
	if (r == -EPIPE || r == -ECONNRESET)
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "the VMM of %s closed the connection without an answer",
			      client->name);
	else if (r == -ETIMEDOUT)
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "the VMM of %s does not answer",
			      client->name);
	else
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "cannot understand the VMM of %s on its control socket: %s",
			      client->name, strerror(-r));
}

int client_open(const char *name, struct client **ret, struct vmm_error *ret_error)
{
	int fd = runtime_connect(name, "control.sock", ret_error);

	if (fd < 0)
		return -1;

	struct client *client = malloc(sizeof(*client));

	if (!client) {
		close_fd(fd);
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "out of memory");
		return -1;
	}
	client->fd = fd;
	client->received_fd = -1;
	client->end = NULL;
	client->waits = false;
	client->pid = 0;
	client->len = 0;
	(void)snprintf(client->name, sizeof(client->name), "%s", name);
	*ret = client;
	return 0;
}

/* 0, or -errno with error filled. */
static int greet(const char *name, int timeout_ms, struct client **ret, struct vmm_error *ret_error)
{
	struct client *client;
	json_t *greeting = NULL;

	if (client_open(name, &client, ret_error) < 0)
		return -ENOENT;

	int r = client_receive(client, timeout_ms, &greeting);
	json_int_t pid =
		json_integer_value(json_object_get(json_object_get(greeting, "vmrelay"), "pid"));

	json_decref(greeting);
	if (r == 0 && (pid <= 0 || pid > INT_MAX))
		r = -EBADMSG;
	if (r < 0) {
		broken(client, r, ret_error);
		client_free(client);
		return r;
	}
	client->pid = (pid_t)pid;
	*ret = client;
	return 0;
}

static bool is_closed(int r)
{
	return r == -EPIPE || r == -ECONNRESET;
}

/* A VMM that has just left or ended may have closed the connection: then ask again who is there. */
int client_connect(const char *name, int timeout_ms, struct client **ret,
		   struct vmm_error *ret_error)
{
	int r = -EPIPE;

	for (unsigned i = 0; i < TRIES && is_closed(r); i++)
		r = greet(name, timeout_ms, ret, ret_error);
	return r < 0 ? -1 : 0;
}

static int send_bytes(int fd, const char *bytes, size_t len, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(n_fds * sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS}};

	if (n_fds > FDS_MAX)
		return -EINVAL;
	if (n_fds > 0)
		memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));

	for (size_t done = 0; done < len;) {
		struct iovec iov = {.iov_base = (char *)bytes + done, .iov_len = len - done};
		struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

		if (done == 0 && n_fds > 0) {
			msg.msg_control = &control;
			msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		}

		ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}

/* 0, or -errno with error filled. */
static int send_request(struct client *client, const char *verb, json_t *arguments, const int *fds,
			unsigned n_fds, struct vmm_error *ret_error)
{
	json_t *request =
		json_pack("{s:s, s:o*, s:i}", "execute", verb, "arguments", arguments, "id", 1);
	autofree char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	int r = -ENOMEM;

	json_decref(request);
	if (text) {
		size_t len = strlen(text);

		/* The request's terminator becomes its newline. */
		text[len] = '\n';
		r = send_bytes(client->fd, text, len + 1, fds, n_fds);
	}
	if (r < 0)
		broken(client, r, ret_error);
	return r;
}

int client_send(struct client *client, const char *verb, json_t *arguments, const int *fds,
		unsigned n_fds, struct vmm_error *ret_error)
{
	return send_request(client, verb, arguments, fds, n_fds, ret_error) < 0 ? -1 : 0;
}

bool client_is_error(json_t *message, struct vmm_error *ret_error)
{
	json_t *error = json_object_get(message, "error");
	json_int_t code = json_integer_value(json_object_get(error, "exit"));
	const char *text = json_string_value(json_object_get(error, "text"));

	if (!error)
		return false;
	if (code < VMM_EXIT_FAILED || code > VMM_EXIT_LOST)
		code = VMM_EXIT_FAILED;
	vmm_error_set(ret_error, (enum vmm_exit)code, "%s",
		      text ? text : "the request failed without a reason");
	return true;
}

/* 0, or -errno with error filled; -EREMOTEIO: the reply is an error. */
static int receive_reply(struct client *client, json_t **ret, int *ret_fd,
			 struct vmm_error *ret_error)
{
	long long deadline = client_now_ms() + CLIENT_TIMEOUT_MS;

	for (;;) {
		json_t *message = NULL, *value;
		int r = client_receive(client, client_ms_until(deadline), &message);
		bool is_error;

		if (r < 0) {
			broken(client, r, ret_error);
			return r;
		}
		if (client_is_end(message) && !client->end)
			client->end = json_incref(client_is_end(message));
		is_error = client_is_error(message, ret_error);
		value = json_incref(json_object_get(message, "return"));
		json_decref(message);
		if (is_error) {
			json_decref(value);
			return -EREMOTEIO;
		}
		if (!value)
			continue;
		if (ret_fd)
			*ret_fd = steal_fd(&client->received_fd);
		if (ret)
			*ret = value;
		else
			json_decref(value);
		return 0;
	}
}

int client_reply(struct client *client, json_t **ret, int *ret_fd, struct vmm_error *ret_error)
{
	return receive_reply(client, ret, ret_fd, ret_error) < 0 ? -1 : 0;
}

static int call_once(struct client *client, const char *verb, json_t *arguments, json_t **ret,
		     struct vmm_error *ret_error)
{
	int r = send_request(client, verb, json_incref(arguments), NULL, 0, ret_error);

	return r < 0 ? r : receive_reply(client, ret, NULL, ret_error);
}

/* Take the connection of another client over, which is freed. */
static void replace_connection(struct client *client, struct client *fresh)
{
	close_fd(client->fd);
	client->fd = steal_fd(&fresh->fd);
	client->pid = fresh->pid;
	client->len = fresh->len;
	memcpy(client->buffer, fresh->buffer, fresh->len);
	client_free(fresh);
}

/*
 * An upgrade closes the source's connections.  A request that was not answered was not handled:
 * whoever owns the VM now is asked.
 */
int client_call(struct client *client, const char *verb, json_t *arguments, json_t **ret,
		struct vmm_error *ret_error)
{
	int r = call_once(client, verb, arguments, ret, ret_error);

	for (unsigned i = 0; i < TRIES && is_closed(r) && !client->end; i++) {
		struct client *fresh = NULL;

		if (client_connect(client->name, CLIENT_TIMEOUT_MS, &fresh, ret_error) < 0)
			break;
		replace_connection(client, fresh);
		r = client->waits ? call_once(client, "wait", NULL, NULL, ret_error) : 0;
		if (r == 0)
			r = call_once(client, verb, arguments, ret, ret_error);
	}
	json_decref(arguments);
	return r < 0 ? -1 : 0;
}

int client_wait(struct client *client, struct vmm_error *ret_error)
{
	int r = client_call(client, "wait", NULL, NULL, ret_error);

	client->waits = r == 0;
	return r;
}

json_t *client_is_end(json_t *message)
{
	const char *event = json_string_value(json_object_get(message, "event"));
	json_t *data = json_object_get(message, "data");

	return event && strcmp(event, "END") == 0 && json_is_string(json_object_get(data, "end"))
		       ? data
		       : NULL;
}

/* Whoever owns the VM now has to be asked again. */
static int reconnect(struct client **client, const char *name)
{
	struct client *fresh;
	struct vmm_error error;

	if (client_connect(name, CLIENT_TIMEOUT_MS, &fresh, &error) < 0)
		return error.exit == VMM_EXIT_NO_SUCH_VM ? -EPIPE : -EAGAIN;
	if (client_wait(fresh, &error) < 0) {
		client_free(fresh);
		return -EAGAIN;
	}
	client_free(*client);
	*client = fresh;
	return 0;
}

int client_wait_end(struct client **client, const char *name, int timeout_ms, json_t **ret)
{
	long long deadline = client_now_ms() + timeout_ms;

	for (;;) {
		json_t *message, *end;
		int r;

		if ((*client)->end) {
			*ret = steal_ptr((*client)->end);
			return 0;
		}
		r = client_receive(*client, timeout_ms < 0 ? -1 : client_ms_until(deadline),
				   &message);
		if (r == -ETIMEDOUT)
			return -EAGAIN;
		if (r == 0) {
			end = json_incref(client_is_end(message));
			json_decref(message);
			if (end) {
				*ret = end;
				return 0;
			}
			continue;
		}
		for (unsigned tries = 0; tries < 3; tries++) {
			const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};

			r = reconnect(client, name);
			if (r != -EAGAIN)
				break;
			(void)nanosleep(&pause, NULL);
		}
		if (r < 0)
			return -EPIPE;
	}
}

void client_drain(struct client *client)
{
	long long deadline = client_now_ms() + DRAIN_MS;
	json_t *message = NULL;

	while (client_receive(client, client_ms_until(deadline), &message) == 0)
		json_decref(message);
}
