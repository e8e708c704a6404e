// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The host side of the serial port.
 *
 * Theory of operation: vCPU threads only copy into the ring, under a lock that nobody holds across
 * a system call.  The rest belongs to the main thread, which a writer wakes through an eventfd only
 * if the ring is `armed`, that is, if a client has been sent everything and waits for more; while
 * the main thread is behind, or waits for EPOLLOUT, writing costs a copy and nothing else.
 *
 * A client is finished in each direction on its own: `eof` when there is nothing more to read from
 * it, `broken` when it takes nothing more.  A socket with both is gone.  A pty master with both
 * only has no slave open at the moment; epoll would report that without end, so a timer looks after
 * it.
 */
#include "console.h"

#include <assert.h>
#include <endian.h>
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
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kvm/cleanup.h"

#include "../log.h"

#define RING_MAGIC	 0x676e69722d726d76ULL /* "vmr-ring" */
#define RING_VERSION	 1
#define RING_DATA_OFFSET 4096U
#define RING_SIZE_MIN	 4096U
#define RING_SIZE_MAX	 (64U << 20)
#define RING_SEALS	 (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
/* No console lives long enough to write this much; smaller positions cannot overflow sums. */
#define RING_POSITION_MAX (1ULL << 62)

#define SCROLLBACK_LEN	 (16U * 1024U)
#define CHUNK_LEN	 (16U * 1024U)
#define CHUNKS_PER_EVENT 4
#define RETRY_USEC	 250000U

struct ring_header {
	uint64_t magic;
	uint32_t version;
	uint32_t size;
	uint64_t head; /* bytes ever written */
};

struct client {
	struct console *console;
	sd_event_source *source;
	int fd;
	bool is_pty;
	bool eof;
	bool broken;
	bool behind; /* there is more for it: waits for EPOLLOUT, not for the ring */
	bool gone;   /* left while the console was frozen */
	uint64_t position;
};

struct console {
	sd_event *event;
	sd_event_source *listen_source;
	sd_event_source *wake_source;
	sd_event_source *retry_source;
	int listen_fd;
	int ring_fd;
	int wake_fd;

	struct console_sink sink;
	bool input_open;      /* the sink has room */
	_Atomic bool starved; /* input waits for console_sink_ready() */
	bool frozen;
	bool stopped; /* the clients belong to another process */
	unsigned n_clients;
	struct client *clients[CONSOLE_CLIENTS_MAX];

	struct ring_header
		*header; /* only written: what another process wrote there is not trusted */
	uint8_t *ring;
	uint32_t ring_size;   /* a power of two */
	pthread_mutex_t lock; /* of the bytes in the ring and of: */
	uint64_t head;
	bool armed;
};

/* The state in a relay, little-endian. */
struct console_state {
	uint64_t head;
	uint32_t n_clients;
	uint32_t reserved;
	struct {
		uint64_t position;
		uint32_t is_gone;
		uint32_t reserved;
	} client[CONSOLE_CLIENTS_MAX];
} __attribute__((packed));

static_assert(sizeof(struct console_state) == 272, "the relayed state never changes size");

/* The ring. */

static int ring_map(struct console *console, int fd, uint32_t size)
{
	void *map = mmap(NULL, RING_DATA_OFFSET + (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	console->header = map;
	console->ring = (uint8_t *)map + RING_DATA_OFFSET;
	console->ring_size = size;
	return 0;
}

static int ring_create(struct console *console)
{
	autofd fd = memfd_create("vmrelay-console", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0 || ftruncate(fd, RING_DATA_OFFSET + CONSOLE_RING_SIZE) < 0 ||
	    fcntl(fd, F_ADD_SEALS, RING_SEALS) < 0)
		return -errno;
	r = ring_map(console, fd, CONSOLE_RING_SIZE);
	if (r < 0)
		return r;
	*console->header = (struct ring_header){
		.magic = RING_MAGIC,
		.version = RING_VERSION,
		.size = CONSOLE_RING_SIZE,
	};
	console->ring_fd = steal_fd(&fd);
	return 0;
}

static int ring_adopt(struct console *console, int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct ring_header header;
	struct stat st;
	ssize_t n;
	int r;

	if (seals < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* Without its seals the other process could shrink it under our feet. */
	if ((seals & RING_SEALS) != RING_SEALS)
		return -EPERM;
	n = pread(fd, &header, sizeof(header), 0);
	if (n < 0)
		return -errno;
	if (n != sizeof(header) || header.magic != RING_MAGIC)
		return -EBADMSG;
	if (header.version != RING_VERSION)
		return -EPROTONOSUPPORT;
	if (header.size < RING_SIZE_MIN || header.size > RING_SIZE_MAX ||
	    header.size & (header.size - 1) || header.head > RING_POSITION_MAX ||
	    st.st_size != (off_t)RING_DATA_OFFSET + header.size)
		return -EBADMSG;
	r = ring_map(console, fd, header.size);
	if (r < 0)
		return r;
	console->head = header.head;
	return 0;
}

static uint64_t ring_oldest(const struct console *console, uint64_t len)
{
	return console->head > len ? console->head - len : 0;
}

/*
 * Copy at most len bytes from *position on, which moves forward to the oldest byte still there.
 * When there is nothing to copy, the next write will wake the main thread.
 */
static size_t ring_read(struct console *console, uint64_t *position, uint8_t *buf, size_t len)
{
	size_t offset, until_wrap;

	(void)pthread_mutex_lock(&console->lock);
	if (*position < ring_oldest(console, console->ring_size))
		*position = ring_oldest(console, console->ring_size);
	if (len > console->head - *position)
		len = console->head - *position;
	console->armed |= len == 0;

	offset = *position & (console->ring_size - 1);
	until_wrap = console->ring_size - offset;
	if (len <= until_wrap) {
		memcpy(buf, console->ring + offset, len);
	} else {
		memcpy(buf, console->ring + offset, until_wrap);
		memcpy(buf + until_wrap, console->ring, len - until_wrap);
	}
	(void)pthread_mutex_unlock(&console->lock);
	return len;
}

static uint64_t scrollback_position(struct console *console)
{
	uint64_t position;

	(void)pthread_mutex_lock(&console->lock);
	position = ring_oldest(console, SCROLLBACK_LEN);
	(void)pthread_mutex_unlock(&console->lock);
	return position;
}

static void wake(struct console *console)
{
	/* EAGAIN would mean that the main thread is about to wake up anyway. */
	(void)eventfd_write(console->wake_fd, 1);
}

void console_write(struct console *console, const uint8_t *bytes, size_t len)
{
	size_t offset, until_wrap;
	bool was_armed;

	(void)pthread_mutex_lock(&console->lock);
	if (len > console->ring_size) {
		console->head += len - console->ring_size;
		bytes += len - console->ring_size;
		len = console->ring_size;
	}
	offset = console->head & (console->ring_size - 1);
	until_wrap = console->ring_size - offset;
	if (len <= until_wrap) {
		memcpy(console->ring + offset, bytes, len);
	} else {
		memcpy(console->ring + offset, bytes, until_wrap);
		memcpy(console->ring, bytes + until_wrap, len - until_wrap);
	}
	console->head += len;
	__atomic_store_n(&console->header->head, console->head, __ATOMIC_RELEASE);
	was_armed = console->armed;
	console->armed = false;
	(void)pthread_mutex_unlock(&console->lock);

	if (was_armed)
		wake(console);
}

/* The sink. */

static bool sink_has_room(struct console *console)
{
	const struct console_sink *sink = &console->sink;

	if (!sink->room)
		return false;
	if (sink->room(sink->opaque) > 0)
		return true;
	/* Look again after asking to be told, lest it became ready in between. */
	console->starved = true;
	if (sink->room(sink->opaque) == 0)
		return false;
	console->starved = false;
	return true;
}

void console_sink_ready(struct console *console)
{
	if (atomic_exchange(&console->starved, false))
		wake(console);
}

/* Clients. */

static void arm_retry(struct console *console)
{
	int r = sd_event_source_get_enabled(console->retry_source, NULL);

	if (r > 0)
		return;
	if (r == 0)
		r = sd_event_source_set_time_relative(console->retry_source, RETRY_USEC);
	if (r >= 0)
		r = sd_event_source_set_enabled(console->retry_source, SD_EVENT_ONESHOT);
	if (r < 0)
		log_error("cannot set the retry timer of the console: %s", strerror(-r));
}

/* Listen for what the client may do next, and for nothing that would be reported without end. */
static void client_update(struct client *client)
{
	struct console *console = client->console;
	bool wants_input = !client->eof && console->input_open;
	bool is_on = !console->stopped && !client->gone && (wants_input || !client->broken);
	uint32_t events =
		(wants_input ? EPOLLIN : 0) | (client->behind && !client->broken ? EPOLLOUT : 0);
	int r = sd_event_source_set_io_events(client->source, events);

	if (r >= 0)
		r = sd_event_source_set_enabled(client->source, is_on ? SD_EVENT_ON : SD_EVENT_OFF);
	if (r < 0)
		log_error("cannot watch a client of the console: %s", strerror(-r));
	if (client->is_pty && client->broken)
		arm_retry(console);
}

static void check_input(struct console *console)
{
	bool open = sink_has_room(console);

	if (open == console->input_open)
		return;
	console->input_open = open;
	for (unsigned i = 0; i < console->n_clients; i++)
		client_update(console->clients[i]);
}

static struct client *client_free(struct client *client)
{
	if (!client)
		return NULL;
	/* Before the close: the target's copy of the fd would keep it in our epoll set. */
	sd_event_source_disable_unref(client->source);
	close_fd(client->fd);
	free(client);
	return NULL;
}

static void client_remove(struct console *console, unsigned index)
{
	client_free(console->clients[index]);
	console->n_clients--;
	memmove(&console->clients[index], &console->clients[index + 1],
		(console->n_clients - index) * sizeof(console->clients[0]));
}

/* Update or remove the client; it may not exist afterwards. */
static void client_settle(struct client *client)
{
	struct console *console = client->console;

	if (client->eof && client->broken && !client->is_pty) {
		if (!console->frozen) {
			unsigned index = 0;

			while (console->clients[index] != client)
				index++;
			client_remove(console, index);
			return;
		}
		client->gone = true;
	}
	client_update(client);
}

static bool is_transient(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static void client_output(struct client *client)
{
	uint8_t chunk[CHUNK_LEN];

	for (unsigned i = 0; i < CHUNKS_PER_EVENT; i++) {
		size_t len = ring_read(client->console, &client->position, chunk, sizeof(chunk));
		ssize_t n;

		client->behind = len > 0;
		if (len == 0)
			return;
		if (client->is_pty)
			n = write(client->fd, chunk, len);
		else
			n = send(client->fd, chunk, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			client->broken = !is_transient(errno);
			return;
		}
		client->position += n;
	}
}

static void client_input(struct client *client)
{
	const struct console_sink *sink = &client->console->sink;
	size_t room = sink->room ? sink->room(sink->opaque) : 0;
	uint8_t buf[256];
	ssize_t n;

	if (room == 0 || client->eof)
		return;
	if (room > sizeof(buf))
		room = sizeof(buf);
	if (client->is_pty)
		n = read(client->fd, buf, room);
	else
		n = recv(client->fd, buf, room, MSG_DONTWAIT);
	if (n > 0) {
		sink->input(sink->opaque, buf, n);
	} else if (n == 0 || !is_transient(errno)) {
		client->eof = true;
		/* A socket may have been shut down in this direction only; a pty has EIO. */
		client->broken |= n < 0 || client->is_pty;
	}
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct client *client = userdata;

	(void)source;
	(void)fd;
	if (revents & (EPOLLHUP | EPOLLERR))
		client->broken = true;
	if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
		client_input(client);
	if (revents & EPOLLOUT && !client->broken)
		client_output(client);
	check_input(client->console);
	client_settle(client);
	return 0;
}

/* Ready for console->clients, or NULL with fd closed and *ret_error set. */
static struct client *client_new(struct console *console, int fd_taken, uint64_t position,
				 int *ret_error)
{
	struct client *client = calloc(1, sizeof(*client));
	autofd fd = fd_taken;
	struct stat st;
	int r = 0;

	if (!client) {
		*ret_error = -ENOMEM;
		return NULL;
	}
	*client = (struct client){
		.console = console,
		.fd = -1,
		.behind = true, /* the first EPOLLOUT brings the scrollback */
		.position = position,
	};
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISSOCK(st.st_mode) && !S_ISCHR(st.st_mode))
		r = -EINVAL;
	if (r == 0 && S_ISCHR(st.st_mode)) {
		client->is_pty = true;
		r = negative_errno(fcntl(fd, F_SETFL, O_NONBLOCK));
	}
	if (r == 0)
		r = sd_event_add_io(console->event, &client->source, fd, 0, on_client, client);
	if (r < 0) {
		client_free(client);
		*ret_error = r;
		return NULL;
	}
	client->fd = steal_fd(&fd);
	client_update(client);
	return client;
}

int console_attach(struct console *console, int fd, uint64_t position)
{
	struct client *client;
	int r = console->frozen ? -EBUSY : 0;

	if (console->n_clients == CONSOLE_CLIENTS_MAX)
		r = -EUSERS;
	if (r < 0) {
		close_fd(fd);
		return r;
	}
	(void)pthread_mutex_lock(&console->lock);
	if (position > console->head)
		position = console->head;
	(void)pthread_mutex_unlock(&console->lock);
	client = client_new(console, fd, position, &r);
	if (!client)
		return r;
	console->clients[console->n_clients++] = client;
	return 0;
}

void console_drop_pty(struct console *console)
{
	for (unsigned i = 0; i < console->n_clients; i++) {
		if (!console->clients[i]->is_pty)
			continue;
		client_remove(console, i);
		return;
	}
}

static void refuse(int fd)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "vmrelay: this console already has %d clients\r\n",
			   CONSOLE_CLIENTS_MAX);

	(void)send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	close_fd(fd);
}

static int on_listen(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata)
{
	struct console *console = userdata;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int r;

	(void)revents;
	if (fd < 0) {
		if (is_transient(errno) || errno == ECONNABORTED)
			return 0;
		log_error("cannot accept a client of the console: %m");
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
		arm_retry(console);
		return 0;
	}
	if (console->n_clients == CONSOLE_CLIENTS_MAX) {
		refuse(fd);
		return 0;
	}
	r = console_attach(console, fd, scrollback_position(console));
	if (r < 0)
		log_error("cannot attach a client to the console: %s", strerror(-r));
	return 0;
}

static int on_wake(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct console *console = userdata;
	eventfd_t count;

	(void)source;
	(void)revents;
	(void)eventfd_read(fd, &count);
	if (console->stopped)
		return 0;
	check_input(console);
	/* Backwards, since a client may turn out to have left. */
	for (unsigned i = console->n_clients; i-- > 0;) {
		struct client *client = console->clients[i];

		if (client->gone || client->behind || client->broken)
			continue;
		client_output(client);
		client_settle(client);
	}
	return 0;
}

/* Look after what must not be polled: ptys whose slave is closed, and a listener that failed. */
static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct console *console = userdata;
	uint64_t recent = scrollback_position(console);

	(void)source;
	(void)usec;
	if (console->stopped)
		return 0;
	if (!console->frozen)
		(void)sd_event_source_set_enabled(console->listen_source, SD_EVENT_ON);
	for (unsigned i = 0; i < console->n_clients; i++) {
		struct client *client = console->clients[i];
		struct pollfd p = {.fd = client->fd};

		if (!client->is_pty || !client->broken)
			continue;
		if (poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP)) {
			client->eof = client->broken = false;
			client->behind = true;
			if (client->position < recent)
				client->position = recent;
		}
		client_update(client);
	}
	return 0;
}

void console_set_sink(struct console *console, const struct console_sink *sink)
{
	console->sink = sink ? *sink : (struct console_sink){0};
	check_input(console);
}

/* Relay. */

static void set_stopped(struct console *console, bool stopped)
{
	console->stopped = stopped;
	for (unsigned i = 0; i < console->n_clients; i++)
		client_update(console->clients[i]);
}

void console_freeze(struct console *console)
{
	console->frozen = true;
	(void)sd_event_source_set_enabled(console->listen_source, SD_EVENT_OFF);
}

void console_thaw(struct console *console)
{
	console->frozen = false;
	for (unsigned i = console->n_clients; i-- > 0;) {
		if (console->clients[i]->gone)
			client_remove(console, i);
		else
			console->clients[i]->behind = true;
	}
	check_input(console);
	set_stopped(console, false);
	(void)sd_event_source_set_enabled(console->listen_source, SD_EVENT_ON);
}

int console_listen_fd(const struct console *console)
{
	return console->listen_fd;
}

int console_ring_fd(const struct console *console)
{
	return console->ring_fd;
}

unsigned console_client_fds(const struct console *console, int ret_fds[CONSOLE_CLIENTS_MAX])
{
	for (unsigned i = 0; i < console->n_clients; i++)
		ret_fds[i] = console->clients[i]->fd;
	return console->n_clients;
}

int console_adopt(struct console *console, const int *fds, unsigned n_fds)
{
	int r = 0;

	if (!console->stopped || console->n_clients > 0)
		r = -EBUSY;
	else if (n_fds > CONSOLE_CLIENTS_MAX)
		r = -EUSERS;
	for (unsigned i = 0; i < n_fds; i++) {
		struct client *client;

		if (r < 0) {
			close_fd(fds[i]);
			continue;
		}
		client = client_new(console, fds[i], 0, &r);
		if (client)
			console->clients[console->n_clients++] = client;
	}
	while (r < 0 && console->n_clients > 0)
		client_remove(console, console->n_clients - 1);
	return r;
}

/* The clients were connected to this process alone. */
static void console_break_locks(void *device)
{
	struct console *console = device;

	(void)pthread_mutex_init(&console->lock, NULL);
	console->n_clients = 0;
}

static int console_save(void *device, uint16_t version, void *buf)
{
	struct console *console = device;
	struct console_state state = {0};

	if (version != console_ops.version)
		return -EPROTONOSUPPORT;
	set_stopped(console, true);
	(void)pthread_mutex_lock(&console->lock);
	state.head = htole64(console->head);
	(void)pthread_mutex_unlock(&console->lock);
	state.n_clients = htole32(console->n_clients);
	for (unsigned i = 0; i < console->n_clients; i++) {
		state.client[i].position = htole64(console->clients[i]->position);
		state.client[i].is_gone = htole32(console->clients[i]->gone);
	}
	memcpy(buf, &state, sizeof(state));
	return sizeof(state);
}

static int console_load(void *device, uint16_t version, const void *buf, size_t len)
{
	struct console *console = device;
	struct console_state state;
	uint64_t head;

	if (version != console_ops.version)
		return -EPROTONOSUPPORT;
	if (len != sizeof(state))
		return -EBADMSG;
	memcpy(&state, buf, sizeof(state));
	head = le64toh(state.head);
	if (head > RING_POSITION_MAX || le32toh(state.n_clients) != console->n_clients ||
	    state.reserved != 0)
		return -EBADMSG;
	for (unsigned i = 0; i < console->n_clients; i++) {
		if (le64toh(state.client[i].position) > head ||
		    le32toh(state.client[i].is_gone) > 1 || state.client[i].reserved != 0)
			return -EBADMSG;
	}

	(void)pthread_mutex_lock(&console->lock);
	console->head = head;
	(void)pthread_mutex_unlock(&console->lock);
	for (unsigned i = 0; i < console->n_clients; i++) {
		console->clients[i]->position = le64toh(state.client[i].position);
		console->clients[i]->gone = le32toh(state.client[i].is_gone);
	}
	return 0;
}

const struct device_ops console_ops = {
	.name = "console",
	.section = VMM_SECTION_CONSOLE,
	.version = 1,
	.min_version = 1,
	.state_size = sizeof(struct console_state),
	.save = console_save,
	.break_locks = console_break_locks,
	.load = console_load,
};

/* Life. */

struct console *console_free(struct console *console)
{
	if (!console)
		return NULL;
	while (console->n_clients > 0)
		client_remove(console, console->n_clients - 1);
	sd_event_source_disable_unref(console->listen_source);
	sd_event_source_disable_unref(console->wake_source);
	sd_event_source_disable_unref(console->retry_source);
	if (console->header)
		(void)munmap(console->header, RING_DATA_OFFSET + (size_t)console->ring_size);
	close_fd(console->listen_fd);
	close_fd(console->ring_fd);
	close_fd(console->wake_fd);
	sd_event_unref(console->event);
	(void)pthread_mutex_destroy(&console->lock);
	free(console);
	return NULL;
}

static int add_sources(struct console *console, int listen_fd)
{
	int flags = fcntl(listen_fd, F_GETFL);
	int r;

	if (flags < 0 || fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	r = sd_event_add_io(console->event, &console->listen_source, listen_fd, EPOLLIN, on_listen,
			    console);
	if (r < 0)
		return r;
	r = sd_event_add_io(console->event, &console->wake_source, console->wake_fd, EPOLLIN,
			    on_wake, console);
	if (r < 0)
		return r;
	r = sd_event_add_time(console->event, &console->retry_source, CLOCK_MONOTONIC, UINT64_MAX,
			      0, on_retry, console);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(console->retry_source, SD_EVENT_OFF);
}

int console_new(sd_event *event, int listen_fd, int ring_fd, struct console **ret)
{
	struct console *console = calloc(1, sizeof(*console));
	int r;

	if (!console)
		return -ENOMEM;
	(void)pthread_mutex_init(&console->lock, NULL);
	console->event = sd_event_ref(event);
	console->listen_fd = -1;
	console->ring_fd = -1;
	console->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = negative_errno(console->wake_fd);
	if (r == 0)
		r = ring_fd < 0 ? ring_create(console) : ring_adopt(console, ring_fd);
	if (r == 0)
		r = add_sources(console, listen_fd);
	if (r < 0) {
		console_free(console);
		return r;
	}
	console->listen_fd = listen_fd;
	if (ring_fd >= 0) {
		console->ring_fd = ring_fd;
		console_freeze(console);
		console->stopped = true;
	}
	*ret = console;
	return 0;
}
