/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * internal.h - the threads of the host process, and what they share
 *
 * monitor thread	monitor.c: waits for all descriptors but the connections' messages: new
 *			clients, signals that clients received, ends of clients, connections and
 *			files.  Never waits for anything else.  It alone frees clients, connections
 *			and files, so that an event never finds its subject gone.
 * one per connection	connection.c, call.c: serves the calls of one thread of a client.  Waits for
 *			its client as long as that lives.
 * reaper		file.c: closed() and release() of objects whose last descriptor is closed
 *
 * Locks: connections->lock, then connection->lock; neither is held while an object is called.
 */
#ifndef SOFTKVM_HOST_INTERNAL_H
#define SOFTKVM_HOST_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/types.h>

#include "softkvm/host/call.h"
#include "softkvm/host/host.h"
#include "softkvm/host/object.h"
#include "softkvm/wire.h"

/* A client may have as many threads and objects; the host's own limits may be lower. */
#define CONNECTIONS_PER_CLIENT 1024
#define FILES_PER_CLIENT       4096

#define FILE_BUCKETS 1024

/* A descriptor that the monitor waits for.  First member of what it belongs to. */
struct watch {
	int fd;
	void (*ready)(struct watch *watch, uint32_t events);
};

/* A process that is, or was, connected. */
struct client {
	struct watch watch; /* its pidfd; -1 if it is in no PID namespace that we see */
	struct connections *all;
	struct client *next;
	pid_t pid;
	int stat_fd; /* its /proc/PID/stat, or -1 */
	bool ended;
	_Atomic unsigned refs;	/* connections and files; dropped by the monitor only */
	unsigned n_connections; /* monitor only */
	_Atomic unsigned n_files;
};

struct mm {
	struct connections *all;
	struct mm *next, **link; /* under connections->lock */
	uint8_t cookie[WIRE_COOKIE_LEN];
	pid_t pid;
	unsigned refs; /* under connections->lock */
};

/* An open file description: the host's end of it. */
struct file {
	struct watch watch;
	struct connections *all;
	struct file *next;	/* with the same hash; under connections->lock */
	uint64_t inode, cookie; /* of the client's end */
	struct object *object;
	struct client *client; /* who opened it */
};

struct connection {
	struct watch watch;	/* ends with HUP */
	struct watch interrupt; /* -1 before the greeting */
	struct connections *all;
	struct connection *next;      /* monitor only */
	struct connection *next_done; /* under connections->lock */
	struct client *client;
	struct mm *mm;
	pthread_t thread;
	_Atomic bool killed;
	_Atomic uint64_t interrupted; /* number of the call that is to end */

	pthread_mutex_t lock; /* the next five */
	bool watched;	      /* the monitor has not yet been told to forget it */
	uint64_t sequence;    /* of the call that call_watch() is about */
	_Atomic bool *flag;
	void (*notify)(void *opaque);
	void *opaque;

	struct wire_pace pace;
	struct wire_packet request, answer;
	struct wire_packet reply; /* grows while the call is served */
};

struct call {
	struct connection *connection;
	uint64_t sequence;
	uint64_t uaddr; /* what came with the request: this much of the client's memory */
	size_t n_copied;
	bool failed; /* a copy to the client has: -EFAULT */
	int reply_fd;
	bool cloexec; /* the descriptor that the client gets for it */
	char *cgroup;
};

struct connections {
	struct host *host;
	const struct devices *devices;
	int epoll_fd;
	struct watch listener, ended, signals, program;
	int reserve_fd; /* given up for a moment when there are no others */
	bool listens, program_lives, stopping;
	_Atomic uint32_t n_at; /* ioctls as config.at names so far */
	unsigned connections_max, files_max;
	unsigned n_connections; /* monitor only */
	struct client *clients;
	struct connection *first;

	pthread_mutex_t lock;	 /* what follows */
	struct connection *done; /* threads that have ended */
	struct mm *mms;
	unsigned n_files;
	struct file *files[FILE_BUCKETS];

	pthread_t reaper;
	pthread_cond_t reap_more;
	struct file *reap; /* closed; the reaper's to free */
	bool reap_ends;
};

/* monitor.c */
int monitor_add(struct connections *all, struct watch *watch, uint32_t events);
void monitor_remove(struct connections *all, struct watch *watch);
/* Nobody is let in, until something has been closed. */
void monitor_ignore(struct connections *all);
void monitor_listen(struct connections *all);

/* connection.c */
void connection_accept(struct watch *listener, uint32_t events);
void connection_kill(struct connection *connection);
int connection_receive(struct connection *connection, struct wire_packet *ret, int *ret_fd);
/* Free those whose thread has ended. */
void connection_reap(struct connections *all);
struct client *client_put(struct client *client);

/* file.c */
/* The client's end of a new file, which takes object's reference over; or -errno. */
int file_new(struct connection *connection, struct object *object);
/* What a client's descriptor stands for, a reference; or NULL. */
struct object *file_find(struct connections *all, int fd);
void file_close(struct file *file); /* monitor only */
void file_close_all(struct connections *all);
int reaper_start(struct connections *all);
void reaper_stop(struct connections *all);

/* mm.c */
struct mm *mm_find(struct connections *all, const uint8_t cookie[WIRE_COOKIE_LEN], pid_t pid);
/* The process has ended: nobody else is to be taken for it because of its PID. */
void mm_forget(struct connections *all, pid_t pid);

/* call.c */
void call_begin(struct call *call, struct connection *connection);
void call_end(struct call *call, long result, uint32_t flags);
void call_abort(struct call *call); /* nobody knows what it is */

#endif
