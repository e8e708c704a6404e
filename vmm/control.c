// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The control socket.
 *
 * Theory of operation: a client has an input buffer of one request and an output queue.  Requests
 * are handled in order, and only while the queue is nearly empty: a client that does not read its
 * replies is not served, so only events can fill its queue, and when they do it is disconnected.
 * Nothing here ever waits for a client.
 *
 * File descriptors arrive somewhere within the bytes that one recvmsg() returns.  They wait at the
 * client for its next `upgrade`, and are closed as soon as its input holds no further bytes.
 *
 * A client whose `upgrade` is unanswered stays allocated, even if it disconnects, because struct
 * vmm remembers it until it answers.
 */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base64.h"
#include "kvm/cleanup.h"

#define REQUEST_MAX   (16U * 1024U) /* with its newline */
#define OUTPUT_MAX    (256U * 1024U)
#define OUTPUT_SERVED (64U * 1024U) /* requests are handled while the queue is below this */
#define CLIENTS_MAX   32
#define FDS_MAX	      8 /* more than any request has, so that a wrong number is seen */
#define UPGRADE_FDS   2
#define HEADER_MAX    256  /* of a secret; the secure processor wants 52 */
#define PACKET_MAX    8192 /* KVM wants it in one piece of memory: mostly one page */

#define END_FLUSH_MS 200

struct control_client {
	struct control *control;
	struct control_client *next;
	sd_event_source *source;
	int fd; /* -1: disconnected */

	bool dispatching;   /* do not free */
	bool waits;	    /* for the guest's end */
	bool upgrading;	    /* struct vmm has a pointer to it */
	bool closing;	    /* once the output queue is empty */
	json_t *upgrade_id; /* NULL: the request had none */

	char input[REQUEST_MAX];
	size_t input_len;
	int fds[FDS_MAX];
	unsigned n_fds;

	char *output;
	size_t output_len;
};

struct control {
	struct vmm *vmm;
	int listen_fd;
	sd_event_source *listen_source;
	struct control_client *clients;
	unsigned n_clients; /* connected ones */
	bool frozen;
};

static void client_close_fds(struct control_client *client)
{
	while (client->n_fds > 0)
		close_fd(client->fds[--client->n_fds]);
}

static void client_free(struct control_client *client)
{
	sd_event_source_disable_unref(client->source);
	close_fd(client->fd);
	client_close_fds(client);
	json_decref(client->upgrade_id);
	free(client->output);
	free(client);
}

static void client_free_if_unused(struct control_client *client)
{
	if (client->fd >= 0 || client->dispatching || client->upgrading)
		return;
	for (struct control_client **p = &client->control->clients; *p; p = &(*p)->next) {
		if (*p == client) {
			*p = client->next;
			break;
		}
	}
	client_free(client);
}

static void client_disconnect(struct control_client *client)
{
	if (client->fd < 0)
		return;
	client->source = sd_event_source_disable_unref(client->source);
	client->fd = close_fd(client->fd);
	client->control->n_clients--;
	client->waits = false;
	client->input_len = 0;
	client->output_len = 0;
	client_close_fds(client);
	client_free_if_unused(client);
}

static bool client_is_served(const struct control_client *client)
{
	return client->fd >= 0 && !client->closing && !client->control->frozen &&
	       client->output_len < OUTPUT_SERVED;
}

/*
 * What to wait for.  While frozen nothing is read, and waiting clients, whose fds are on their way,
 * are not even watched for a hang-up: closing one would free its number for another file.
 */
static void client_watch(struct control_client *client)
{
	bool handed_over = client->control->frozen && client->waits && !client->upgrading;
	uint32_t events = 0;

	if (!client->source)
		return;
	if (client_is_served(client) && client->input_len < REQUEST_MAX)
		events |= EPOLLIN;
	if (client->output_len > 0)
		events |= EPOLLOUT;
	(void)sd_event_source_set_io_events(client->source, events);
	(void)sd_event_source_set_enabled(client->source, handed_over ? SD_EVENT_OFF : SD_EVENT_ON);
}

/* False if the client was disconnected; it may be freed then. */
static bool client_flush(struct control_client *client)
{
	size_t done = 0;

	while (done < client->output_len) {
		ssize_t n = send(client->fd, client->output + done, client->output_len - done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			client_disconnect(client);
			return false;
		}
		done += (size_t)n;
	}
	client->output_len -= done;
	if (done > 0) /* one that waits since before an upgrade may have no queue yet */
		memmove(client->output, client->output + done, client->output_len);
	if (client->closing && !client->waits && !client->upgrading && client->output_len == 0) {
		client_disconnect(client);
		return false;
	}
	client_watch(client);
	return true;
}

/* Queue one message after all others and try to send.  May disconnect the client. */
static void client_send_fd(struct control_client *client, json_t *message, int fd)
{
	autofree char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	json_decref(message);
	if (client->fd < 0)
		return;
	if (!text || client->output_len + len + 1 > OUTPUT_MAX) {
		client_disconnect(client);
		return;
	}

	char *grown = realloc(client->output, client->output_len + len + 1);

	if (!grown) {
		client_disconnect(client);
		return;
	}
	client->output = grown;
	memcpy(grown + client->output_len, text, len);
	grown[client->output_len + len] = '\n';

	/* An fd goes with the first byte of its message, so nothing may be queued before it. */
	if (fd >= 0 && client->output_len == 0) {
		union {
			struct cmsghdr header;
			char bytes[CMSG_SPACE(sizeof(int))];
		} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
					.cmsg_level = SOL_SOCKET,
					.cmsg_type = SCM_RIGHTS}};
		struct iovec iov = {.iov_base = grown, .iov_len = len + 1};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};
		ssize_t n;

		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		n = sendmsg(client->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			client_disconnect(client);
			return;
		}
		len -= (size_t)n;
		memmove(grown, grown + n, len + 1);
	}
	client->output_len += len + 1;
	(void)client_flush(client);
}

static void client_send(struct control_client *client, json_t *message)
{
	client_send_fd(client, message, -1);
}

/* References to value are taken over, those to id are not. */
static json_t *make_reply(const char *kind, json_t *value, json_t *id)
{
	json_t *reply = json_pack("{s:o}", kind, value);

	if (reply && id && json_object_set(reply, "id", id) < 0) {
		json_decref(reply);
		return NULL;
	}
	return reply;
}

static void client_return(struct control_client *client, json_t *value, json_t *id)
{
	client_send(client, make_reply("return", value, id));
}

static void client_error(struct control_client *client, const struct vmm_error *error, json_t *id)
{
	json_t *value = json_pack("{s:i, s:s#}", "exit", (int)error->exit, "text", error->text,
				  (int)strnlen(error->text, sizeof(error->text)));

	/* A sentence that quotes a path which is not UTF-8 cannot be said in JSON. */
	if (!value)
		value = json_pack("{s:i, s:s}", "exit", (int)error->exit, "text",
				  "the request failed");
	client_send(client, make_reply("error", value, id));
}

static void refuse(struct control_client *client, json_t *id, const char *sentence)
{
	struct vmm_error error;

	vmm_error_set(&error, VMM_EXIT_USAGE, "%s", sentence);
	client_error(client, &error, id);
}

static bool get_bool(json_t *arguments, const char *key, bool *ret)
{
	json_t *value = json_object_get(arguments, key);

	if (value && !json_is_boolean(value))
		return false;
	*ret = json_is_true(value);
	return true;
}

static bool get_milliseconds(json_t *arguments, const char *key, unsigned *ret)
{
	json_t *value = json_object_get(arguments, key);
	json_int_t n = json_integer_value(value); /* 0 if absent: the VMM's default */

	if ((value && !json_is_integer(value)) || n < 0 || n > INT32_MAX)
		return false;
	*ret = (unsigned)n;
	return true;
}

static void do_status(struct control_client *client, json_t *arguments, json_t *id)
{
	(void)arguments;
	client_return(client, vmm_status(client->control->vmm), id);
}

static void do_simple(struct control_client *client, json_t *id,
		      int (*verb)(struct vmm *vmm, struct vmm_error *ret_error))
{
	struct vmm_error error;

	if (verb(client->control->vmm, &error) < 0)
		client_error(client, &error, id);
	else
		client_return(client, json_object(), id);
}

static void do_pause(struct control_client *client, json_t *arguments, json_t *id)
{
	(void)arguments;
	do_simple(client, id, vmm_pause);
}

static void do_resume(struct control_client *client, json_t *arguments, json_t *id)
{
	(void)arguments;
	do_simple(client, id, vmm_resume);
}

static void do_stop(struct control_client *client, json_t *arguments, json_t *id)
{
	bool force;

	if (!get_bool(arguments, "force", &force)) {
		refuse(client, id, "'force' of 'stop' must be true or false");
		return;
	}
	if (!force) {
		do_simple(client, id, vmm_press_power_button);
		return;
	}
	vmm_end(client->control->vmm, VMM_END_STOPPED, NULL);
	client_return(client, json_object(), id);
}

static bool get_bytes(json_t *arguments, const char *key, void *ret, size_t max, size_t *ret_len)
{
	json_t *value = json_object_get(arguments, key);
	const char *text = json_string_value(value);

	return text && strlen(text) == json_string_length(value) &&
	       base64_decode(text, ret, max, ret_len) == 0;
}

static void do_secret(struct control_client *client, json_t *arguments, json_t *id)
{
	uint8_t header[HEADER_MAX], packet[PACKET_MAX];
	struct vmm_secret secret = {.header = header, .packet = packet};
	json_t *gpa = json_object_get(arguments, "gpa");
	struct vmm_error error;
	size_t header_len, packet_len;

	if (!get_bytes(arguments, "header", header, sizeof(header), &header_len) ||
	    !get_bytes(arguments, "packet", packet, sizeof(packet), &packet_len) ||
	    packet_len == 0 || !json_is_integer(gpa) || json_integer_value(gpa) < 0) {
		refuse(client, id,
		       "'secret' takes 'header' (up to 256 bytes) and 'packet' (1 to 8192) in "
		       "base64, and the integer 'gpa'");
		return;
	}
	secret.header_len = (uint32_t)header_len;
	secret.packet_len = (uint32_t)packet_len;
	secret.gpa = (uint64_t)json_integer_value(gpa);
	if (vmm_put_secret(client->control->vmm, &secret, &error) < 0)
		client_error(client, &error, id);
	else
		client_return(client, json_object(), id);
}

static void do_attest(struct control_client *client, json_t *arguments, json_t *id)
{
	uint8_t nonce[VMM_NONCE_SIZE], report[VMR_SEV_REPORT_SIZE];
	char text[BASE64_SIZE(VMR_SEV_REPORT_SIZE)];
	struct vmm_error error;
	size_t len;

	if (!get_bytes(arguments, "nonce", nonce, sizeof(nonce), &len) || len != sizeof(nonce)) {
		refuse(client, id, "'attest' takes 'nonce', 16 bytes in base64");
		return;
	}
	if (vmm_attest(client->control->vmm, nonce, report, &error) < 0) {
		client_error(client, &error, id);
		return;
	}
	base64_encode(report, sizeof(report), text);
	client_return(client, json_pack("{s:s}", "report", text), id);
}

static void do_wait(struct control_client *client, json_t *arguments, json_t *id)
{
	(void)arguments;
	client->waits = true;
	client_return(client, json_object(), id);
}

static void do_upgrade(struct control_client *client, json_t *arguments, json_t *id)
{
	struct vmm_upgrade_request request;
	struct vmm_error error;

	if (client->n_fds != UPGRADE_FDS) {
		client_close_fds(client);
		refuse(client, id,
		       "'upgrade' takes two file descriptors: a socket to the target and its "
		       "pidfd");
		return;
	}
	if (!get_bool(arguments, "check", &request.check_only) ||
	    !get_bool(arguments, "strict", &request.strict) ||
	    !get_milliseconds(arguments, "max_downtime_ms", &request.max_downtime_ms) ||
	    !get_milliseconds(arguments, "timeout_ms", &request.timeout_ms)) {
		client_close_fds(client);
		refuse(client, id, "an argument of 'upgrade' has a wrong type or value");
		return;
	}
	if (client->upgrading) {
		client_close_fds(client);
		vmm_error_set(&error, VMM_EXIT_WRONG_STATE,
			      "an upgrade that this client asked for is still going on");
		client_error(client, &error, id);
		return;
	}
	request.sock = client->fds[0];
	request.target_pidfd = client->fds[1];
	client->n_fds = 0;
	client->upgrading = true;
	client->upgrade_id = json_incref(id);
	if (vmm_upgrade(client->control->vmm, &request, client, &error) < 0)
		control_client_error(client, &error);
}

static void do_previous_program(struct control_client *client, json_t *arguments, json_t *id)
{
	int fd = vmm_previous_program(client->control->vmm);
	struct vmm_error error;

	(void)arguments;
	if (fd < 0) {
		vmm_error_set(&error, VMM_EXIT_WRONG_STATE,
			      "no other program ran this guest before, there is nothing to roll "
			      "back to");
		client_error(client, &error, id);
	} else if (client->output_len > 0) {
		refuse(client, id, "read the replies to earlier requests first");
	} else {
		client_send_fd(client, make_reply("return", json_object(), id), fd);
	}
}

static const struct verb {
	const char *name;
	void (*run)(struct control_client *client, json_t *arguments, json_t *id);
} verbs[] = {
	{"status", do_status}, {"pause", do_pause},	{"resume", do_resume},
	{"stop", do_stop},     {"secret", do_secret},	{"attest", do_attest},
	{"wait", do_wait},     {"upgrade", do_upgrade}, {"previous-program", do_previous_program},
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

static void handle_request(struct control_client *client, const char *line, size_t len)
{
	json_error_t json_error;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &json_error);
	json_t *id = json_object_get(request, "id");
	json_t *arguments = json_object_get(request, "arguments");
	const char *name = json_string_value(json_object_get(request, "execute"));
	const struct verb *verb = name ? find_verb(name) : NULL;
	struct vmm_error error;

	if (!request && !json_error.text[0]) {
		vmm_error_set(&error, VMM_EXIT_FAILED, "the VMM has no memory for the request");
		client_error(client, &error, id);
	} else if (!name) {
		refuse(client, id, "a request is one line with a JSON object that has 'execute'");
	} else if (!verb) {
		refuse(client, id, "there is no such verb");
	} else if (arguments && !json_is_object(arguments)) {
		refuse(client, id, "'arguments' must be an object");
	} else {
		verb->run(client, arguments, id);
	}
	json_decref(request);
}

/* Handle the requests in the input buffer, as far as the client reads its replies. */
static void client_serve(struct control_client *client)
{
	bool nested = client->dispatching;
	size_t done = 0;
	char *newline;

	client->dispatching = true;
	while (client_is_served(client) &&
	       (newline = memchr(client->input + done, '\n', client->input_len - done))) {
		char *line = client->input + done;

		done = (size_t)(newline - client->input) + 1;
		handle_request(client, line, (size_t)(newline - line));
	}
	if (client->fd >= 0) {
		client->input_len -= done;
		memmove(client->input, client->input + done, client->input_len);
		if (client->input_len == 0)
			client_close_fds(client);
		if (client->input_len == REQUEST_MAX && !memchr(client->input, '\n', REQUEST_MAX)) {
			client->closing = true;
			refuse(client, NULL, "a request may have at most 16384 bytes");
		}
		client_watch(client);
	}
	client->dispatching = nested;
	client_free_if_unused(client);
}

/* False if the client must go. */
static bool client_take_fds(struct control_client *client, struct msghdr *msg)
{
	bool good = !(msg->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0);
		     at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
			if (client->n_fds < FDS_MAX) {
				client->fds[client->n_fds++] = fd;
			} else {
				close_fd(fd);
				good = false;
			}
		}
	}
	return good;
}

static void client_read(struct control_client *client)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = client->input + client->input_len,
			    .iov_len = sizeof(client->input) - client->input_len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(client->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EINTR && errno != EAGAIN)
			client_disconnect(client);
		return;
	}
	if (!client_take_fds(client, &msg)) {
		client->closing = true;
		client_close_fds(client);
		refuse(client, NULL, "a request may come with at most 8 file descriptors");
		return;
	}
	if (n == 0) {
		/* Done with asking; whoever still has an answer coming stays. */
		client->closing = true;
		(void)client_flush(client);
		return;
	}
	client->input_len += (size_t)n;
	client_serve(client);
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct control_client *client = userdata;

	(void)source;
	(void)fd;
	client->dispatching = true;
	if (revents & EPOLLOUT && client_flush(client))
		client_serve(client);
	if (revents & EPOLLIN && client_is_served(client) && client->input_len < REQUEST_MAX)
		client_read(client);
	else if (client->fd >= 0 && revents & (EPOLLHUP | EPOLLERR))
		client_disconnect(client);
	client->dispatching = false;
	client_free_if_unused(client);
	return 0;
}

/* Takes over fd in every case. */
static int client_new(struct control *control, int fd, struct control_client **ret)
{
	struct control_client *client =
		control->n_clients < CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
	int r;

	if (!client) {
		close_fd(fd);
		return control->n_clients < CLIENTS_MAX ? -ENOMEM : -EMFILE;
	}
	client->control = control;
	client->fd = fd;
	r = sd_event_add_io(vmm_event(control->vmm), &client->source, fd, EPOLLIN, on_client,
			    client);
	/* At the guest's end the loop has finished, but whoever waits still gets an answer. */
	if (r < 0 && r != -ESTALE) {
		client_free(client);
		return r;
	}
	client->next = control->clients;
	control->clients = client;
	control->n_clients++;
	client_watch(client);
	*ret = client;
	return 0;
}

static bool may_connect(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

/* -errno if nobody was there to accept; one who was turned away counts as accepted. */
static int accept_client(struct control *control)
{
	struct control_client *client;
	int fd = accept4(control->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (!may_connect(fd)) {
		close_fd(fd);
		return 0;
	}
	if (client_new(control, fd, &client) < 0)
		return 0;
	client_send(client, json_pack("{s:{s:s, s:s, s:i}}", "vmrelay", "version", VMRELAY_VERSION,
				      "name", vmm_name(control->vmm), "pid", (int)getpid()));
	return 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)source;
	(void)fd;
	(void)revents;
	(void)accept_client(userdata);
	return 0;
}

int control_new(struct vmm *vmm, int listen_fd, struct control **ret)
{
	struct control *control = calloc(1, sizeof(*control));
	int r = control ? 0 : -ENOMEM;

	if (r == 0) {
		control->vmm = vmm;
		control->listen_fd = listen_fd;
		if (listen_fd >= 0)
			r = sd_event_add_io(vmm_event(vmm), &control->listen_source, listen_fd,
					    EPOLLIN, on_connection, control);
	}
	if (r < 0) {
		free(control);
		close_fd(listen_fd);
		return r;
	}
	*ret = control;
	return 0;
}

struct control *control_free(struct control *control)
{
	if (!control)
		return NULL;
	while (control->clients) {
		struct control_client *client = control->clients;

		control->clients = client->next;
		client_free(client);
	}
	sd_event_source_disable_unref(control->listen_source);
	close_fd(control->listen_fd);
	free(control);
	return NULL;
}

void control_freeze(struct control *control)
{
	control->frozen = true;
	if (control->listen_source)
		(void)sd_event_source_set_enabled(control->listen_source, SD_EVENT_OFF);
	for (struct control_client *c = control->clients; c; c = c->next)
		client_watch(c);
}

void control_thaw(struct control *control)
{
	control->frozen = false;
	if (control->listen_source)
		(void)sd_event_source_set_enabled(control->listen_source, SD_EVENT_ON);
	for (struct control_client *c = control->clients, *next; c; c = next) {
		next = c->next;
		client_serve(c);
	}
}

int control_listen_fd(const struct control *control)
{
	return control->listen_fd;
}

unsigned control_waiters(const struct control *control, int *ret_fds, unsigned max)
{
	unsigned n = 0;

	/*
	 * In the middle of a message, in either direction, a connection cannot change hands; such a
	 * client is disconnected in the end and has to ask again.
	 */
	for (const struct control_client *c = control->clients; c && n < max; c = c->next)
		if (c->fd >= 0 && c->waits && !c->upgrading && c->input_len == 0 &&
		    c->output_len == 0)
			ret_fds[n++] = c->fd;
	return n;
}

int control_adopt_waiter(struct control *control, int fd)
{
	struct control_client *client;
	int r = client_new(control, fd, &client);

	if (r < 0)
		return r;
	client->waits = true;
	client_watch(client);
	return 0;
}

void control_client_event(struct control_client *client, const char *name, json_t *data)
{
	if (!client) {
		json_decref(data);
		return;
	}
	client_send(client, json_pack("{s:s, s:o*}", "event", name, "data", data));
}

/* The upgrade is answered: nobody points to the client any more. */
static void client_upgraded(struct control_client *client)
{
	json_decref(client->upgrade_id);
	client->upgrade_id = NULL;
	client->upgrading = false;
	if (client->fd >= 0)
		(void)client_flush(client);
	else
		client_free_if_unused(client);
}

void control_client_return(struct control_client *client, json_t *value)
{
	if (!client) {
		json_decref(value);
		return;
	}
	client_return(client, value, client->upgrade_id);
	client_upgraded(client);
}

void control_client_error(struct control_client *client, const struct vmm_error *error)
{
	if (!client)
		return;
	client_error(client, error, client->upgrade_id);
	client_upgraded(client);
}

static const char *end_name(enum vmm_end end)
{
	switch (end) {
	case VMM_END_POWEROFF:
		return "poweroff";
	case VMM_END_REBOOT:
		return "reboot";
	case VMM_END_STOPPED:
		return "stopped";
	case VMM_END_CRASHED:
		return "crashed";
	case VMM_END_NONE:
		break;
	}
	return "none";
}

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / (1000 * 1000);
}

/* Whoever asked to wait before the end, but was not read yet: `run` asks before the guest starts.
 */
static void serve_latecomers(struct control *control)
{
	while (control->listen_fd >= 0 && !control->frozen && accept_client(control) >= 0)
		;
	for (struct control_client *c = control->clients, *next; c; c = next) {
		next = c->next;
		if (client_is_served(c) && c->input_len < REQUEST_MAX)
			client_read(c);
	}
}

void control_announce_end(struct control *control, enum vmm_end end, const char *text)
{
	int64_t deadline = now_ms() + END_FLUSH_MS;

	serve_latecomers(control);
	for (struct control_client *c = control->clients, *next; c; c = next) {
		next = c->next;
		if (!c->waits)
			continue;
		c->waits = false;
		control_client_event(c, "END",
				     json_pack("{s:s, s:s*}", "end", end_name(end), "text", text));
	}
	/* The guest is gone, so a little patience costs nobody time. */
	for (struct control_client *c = control->clients, *next; c; c = next) {
		next = c->next;
		while (c->fd >= 0 && c->output_len > 0 && now_ms() < deadline) {
			struct pollfd poll_fd = {.fd = c->fd, .events = POLLOUT};

			(void)poll(&poll_fd, 1, (int)(deadline - now_ms()));
			if (!client_flush(c))
				break;
		}
	}
}
