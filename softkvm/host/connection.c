// SPDX-License-Identifier: GPL-2.0-or-later
/* Threads of clients, and the thread that serves each of them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "softkvm/host/internal.h"

/* The interpreter, the secure processor and sanitizers fit. */
#define STACK_SIZE (1u << 20)

/* Under connection->lock. */
static void notify(struct connection *connection)
{
	if (!connection->flag)
		return;
	atomic_store(connection->flag, true);
	connection->notify(connection->opaque);
}

void call_watch(struct call *call, _Atomic bool *flag, void (*function)(void *opaque), void *opaque)
{
	struct connection *connection = call->connection;

	pthread_mutex_lock(&connection->lock);
	connection->sequence = call->sequence;
	connection->flag = flag;
	connection->notify = function;
	connection->opaque = opaque;
	if (call_is_killed(call) || call_is_interrupted(call))
		notify(connection);
	pthread_mutex_unlock(&connection->lock);
}

static void unwatch(struct connections *all, struct watch *watch)
{
	if (watch->fd >= 0)
		monitor_remove(all, watch);
}

void connection_kill(struct connection *connection)
{
	atomic_store(&connection->killed, true);
	/* Ends whatever its thread waits for. */
	(void)shutdown(connection->watch.fd, SHUT_RDWR);
	pthread_mutex_lock(&connection->lock);
	if (connection->watched) {
		connection->watched = false;
		unwatch(connection->all, &connection->watch);
		unwatch(connection->all, &connection->interrupt);
	}
	notify(connection);
	pthread_mutex_unlock(&connection->lock);
}

static void connection_hung_up(struct watch *watch, uint32_t events)
{
	(void)events;
	connection_kill((struct connection *)watch);
}

static void interrupted(struct watch *watch, uint32_t events)
{
	struct connection *connection =
		(struct connection *)((char *)watch - offsetof(struct connection, interrupt));
	uint64_t sequence;
	ssize_t n = recv(watch->fd, &sequence, sizeof(sequence), MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(sequence)) {
		connection_kill(connection);
		return;
	}
	pthread_mutex_lock(&connection->lock);
	atomic_store(&connection->interrupted, sequence);
	if (connection->sequence == sequence)
		notify(connection);
	pthread_mutex_unlock(&connection->lock);
}

static void client_ended(struct watch *watch, uint32_t events)
{
	struct client *client = (struct client *)watch;
	struct connections *all = client->all;

	(void)events;
	client->ended = true;
	monitor_remove(all, watch);
	mm_forget(all, client->pid);
	for (struct connection *c = all->first; c; c = c->next)
		if (c->client == client)
			connection_kill(c);
}

static int open_stat(pid_t pid)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	return pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

static struct client *client_get(struct connections *all, pid_t pid)
{
	struct client *client;

	for (client = all->clients; client; client = client->next)
		if (client->pid == pid && !client->ended)
			break;
	if (!client) {
		client = calloc(1, sizeof(*client));
		if (!client)
			return NULL;
		client->all = all;
		client->pid = pid;
		client->watch.fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
		client->watch.ready = client_ended;
		client->stat_fd = open_stat(pid);
		/* Without it, the end of the process is seen by those of its connections. */
		if (client->watch.fd >= 0 && monitor_add(all, &client->watch, EPOLLIN) < 0)
			client->watch.fd = close_fd(client->watch.fd);
		client->next = all->clients;
		all->clients = client;
	}
	atomic_fetch_add(&client->refs, 1);
	return client;
}

struct client *client_put(struct client *client)
{
	struct client **at;

	if (atomic_fetch_sub(&client->refs, 1) > 1)
		return NULL;
	for (at = &client->all->clients; *at != client; at = &(*at)->next)
		;
	*at = client->next;
	unwatch(client->all, &client->watch);
	close_fd(client->watch.fd);
	close_fd(client->stat_fd);
	free(client);
	return NULL;
}

static void serve_greeting(struct connection *connection, struct call *call)
{
	const struct wire_message *message = &connection->request.message;
	int ends[2];

	if (connection->mm || message->number != WIRE_VERSION || message->len != WIRE_COOKIE_LEN) {
		call_end(call, -EPROTO, 0);
		return;
	}
	connection->mm =
		mm_find(connection->all, connection->request.data, connection->client->pid);
	if (!connection->mm ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
		call_end(call, -ENFILE, 0);
		return;
	}
	call->reply_fd = ends[1];
	pthread_mutex_lock(&connection->lock);
	connection->interrupt = (struct watch){ends[0], interrupted};
	if (connection->watched &&
	    monitor_add(connection->all, &connection->interrupt, EPOLLIN) < 0)
		connection->interrupt.fd = close_fd(connection->interrupt.fd);
	pthread_mutex_unlock(&connection->lock);
	call_end(call, connection->interrupt.fd < 0 ? -ENFILE : 0, 0);
}

static struct object *open_device(struct connection *connection, uint32_t flags)
{
	struct connections *all = connection->all;

	if (connection->request.message.number == WIRE_SEV)
		return all->devices->open_sev(all->host, (flags & O_ACCMODE) != O_RDONLY);
	return all->devices->open_kvm(all->host);
}

static bool has_device(const struct devices *devices, uint32_t number)
{
	return (number == WIRE_KVM && devices->open_kvm) ||
	       (number == WIRE_SEV && devices->open_sev);
}

static void serve_open(struct connection *connection, struct call *call)
{
	const struct wire_message *message = &connection->request.message;
	struct object *object;

	if (!has_device(connection->all->devices, message->number)) {
		call_end(call, -ENOENT, 0);
		return;
	}
	if (message->type == WIRE_PROBE) {
		call_end(call, 0, 0);
		return;
	}
	object = open_device(connection, message->flags);
	call_end(call,
		 object ? call_return_object(call, object, message->flags & O_CLOEXEC) : -ENOMEM,
		 0);
}

/* Devices are known by the names of their objects: those of their nodes in /dev. */
static long device_of(const struct object *object)
{
	if (strcmp(object->ops->name, "kvm") == 0)
		return WIRE_KVM;
	return strcmp(object->ops->name, "sev") == 0 ? WIRE_SEV : -ENODEV;
}

/* What a test has ordered to happen here. */
static void fault_at(struct connection *connection, uint32_t request)
{
	const struct ioctl_fault *at = &connection->all->host->config.at;
	struct pollfd end = {.fd = connection->watch.fd, .events = POLLRDHUP};

	if (at->request == 0 || at->request != request ||
	    (atomic_fetch_add(&connection->all->n_at, 1) + 1 != at->nth && at->nth))
		return;
	if (at->stop)
		(void)raise(SIGSTOP);
	else
		(void)poll(&end, 1, (int)at->delay_ms); /* not beyond the client's end */
}

static void serve_object(struct connection *connection, struct call *call, int fd)
{
	const struct wire_message *message = &connection->request.message;
	struct object *object = file_find(connection->all, fd);
	long r;

	if (!object) {
		call_end(call, -EBADF, WIRE_NOT_OURS);
		return;
	}
	if (message->type == WIRE_IOCTL) {
		fault_at(connection, message->number);
		call->uaddr = message->address;
		call->n_copied = message->len;
		r = object->ops->ioctl(object, call, message->number, message->address);
	} else if (message->type == WIRE_STAT) {
		r = device_of(object);
	} else {
		r = object->ops->mmap
			    ? object->ops->mmap(object, call, message->address, message->size)
			    : -ENODEV;
		if (r >= 0) {
			call->reply_fd = (int)r;
			r = 0;
		}
	}
	call_end(call, r, 0);
	object_put(object);
}

static void serve_call(struct connection *connection, int fd)
{
	struct call call;

	call_begin(&call, connection);
	switch (connection->mm ? connection->request.message.type : WIRE_HELLO) {
	case WIRE_HELLO:
		serve_greeting(connection, &call);
		break;
	case WIRE_PROBE:
	case WIRE_OPEN:
		serve_open(connection, &call);
		break;
	case WIRE_IOCTL:
	case WIRE_MMAP:
	case WIRE_STAT:
		serve_object(connection, &call, fd);
		break;
	default:
		call_abort(&call);
		break;
	}
}

int connection_receive(struct connection *connection, struct wire_packet *ret, int *ret_fd)
{
	int r = wire_receive_soon(connection->watch.fd, ret, ret_fd, &connection->pace);

	return r == -EAGAIN ? wire_receive(connection->watch.fd, ret, ret_fd, &connection->pace)
			    : r;
}

static void *serve(void *opaque)
{
	struct connection *connection = opaque;
	struct connections *all = connection->all;
	const uint64_t one = 1;

	while (!atomic_load(&connection->killed)) {
		autofd fd = -1;
		int r = connection_receive(connection, &connection->request, &fd);

		if (r == -EMFILE) {
			struct call call;

			call_begin(&call, connection);
			call_end(&call, -ENFILE, 0);
			continue;
		}
		if (r < 0)
			break;
		serve_call(connection, fd);
	}
	pthread_mutex_lock(&all->lock);
	connection->next_done = all->done;
	all->done = connection;
	/* Under the lock: the monitor may close it as soon as nobody is left. */
	(void)!write(all->ended.fd, &one, sizeof(one));
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

static int start_thread(struct connection *connection)
{
	pthread_attr_t attr;
	int r = -pthread_attr_init(&attr);

	if (r < 0)
		return r;
	(void)pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = -pthread_create(&connection->thread, &attr, serve, connection);
	pthread_attr_destroy(&attr);
	return r;
}

/* The connection is the caller's to close if this fails. */
static int connection_new(struct connections *all, int fd)
{
	struct connection *connection;
	struct client *client;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int r;

	if (all->stopping || all->n_connections >= all->connections_max)
		return -ENFILE;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	client = client_get(all, peer.pid);
	if (!client)
		return -ENOMEM;
	connection = client->n_connections < CONNECTIONS_PER_CLIENT ? calloc(1, sizeof(*connection))
								    : NULL;
	if (!connection) {
		client_put(client);
		return -ENOMEM;
	}
	connection->watch = (struct watch){fd, connection_hung_up};
	connection->interrupt.fd = -1;
	connection->all = all;
	connection->client = client;
	connection->watched = true;
	pthread_mutex_init(&connection->lock, NULL);
	r = monitor_add(all, &connection->watch, EPOLLRDHUP);
	if (r == 0) {
		r = start_thread(connection);
		if (r < 0)
			monitor_remove(all, &connection->watch);
	}
	if (r < 0) {
		pthread_mutex_destroy(&connection->lock);
		free(connection);
		client_put(client);
		return r;
	}
	client->n_connections++;
	all->n_connections++;
	connection->next = all->first;
	all->first = connection;
	return 0;
}

void connection_reap(struct connections *all)
{
	struct connection *done, **at;

	pthread_mutex_lock(&all->lock);
	done = all->done;
	all->done = NULL;
	pthread_mutex_unlock(&all->lock);
	while (done) {
		struct connection *connection = done;

		done = connection->next_done;
		(void)pthread_join(connection->thread, NULL);
		connection_kill(connection);
		for (at = &all->first; *at != connection; at = &(*at)->next)
			;
		*at = connection->next;
		close_fd(connection->watch.fd);
		close_fd(connection->interrupt.fd);
		connection->client->n_connections--;
		all->n_connections--;
		client_put(connection->client);
		mm_put(connection->mm);
		pthread_mutex_destroy(&connection->lock);
		free(connection);
	}
	monitor_listen(all);
}

/*
 * There is no descriptor for who is at the door: the reserve lets him in, and out again.  If that
 * is gone, too, nobody is heard until there is something to be closed.
 */
static void turn_away(struct connections *all)
{
	all->reserve_fd = close_fd(all->reserve_fd);
	close_fd(accept4(all->listener.fd, NULL, NULL, SOCK_CLOEXEC));
	all->reserve_fd = eventfd(0, EFD_CLOEXEC);
	if (all->reserve_fd < 0)
		monitor_ignore(all);
}

void connection_accept(struct watch *listener, uint32_t events)
{
	struct connections *all =
		(struct connections *)((char *)listener - offsetof(struct connections, listener));
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0) {
		if (connection_new(all, fd) < 0)
			close_fd(fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		turn_away(all);
	}
}
