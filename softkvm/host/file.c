// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * file.c - open file descriptions of clients: a socket pair for each
 *
 * The client's end is known by the numbers of its socket.  The inode number is unique in the
 * system, but wraps; the cookie is never used again, but counted per network namespace by old
 * kernels.  Nothing is ever sent over the pair.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "softkvm/host/internal.h"

static int identify(int fd, uint64_t *ret_inode, uint64_t *ret_cookie)
{
	socklen_t len = sizeof(*ret_cookie);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret_cookie, &len) < 0)
		return -errno;
	*ret_inode = st.st_ino;
	return 0;
}

static struct file **bucket(struct connections *all, uint64_t inode)
{
	return &all->files[inode % FILE_BUCKETS];
}

/* The monitor says that the client's end has no descriptors any more. */
static void file_ready(struct watch *watch, uint32_t events)
{
	(void)events;
	file_close((struct file *)watch);
}

static int file_count(struct connection *connection)
{
	struct connections *all = connection->all;
	int r = 0;

	if (atomic_fetch_add(&connection->client->n_files, 1) >= FILES_PER_CLIENT)
		r = -EMFILE;
	pthread_mutex_lock(&all->lock);
	if (r == 0 && all->n_files >= all->files_max)
		r = -ENFILE;
	all->n_files += r == 0;
	pthread_mutex_unlock(&all->lock);
	if (r < 0)
		atomic_fetch_sub(&connection->client->n_files, 1);
	return r;
}

static void file_uncount(struct connections *all, struct client *client)
{
	atomic_fetch_sub(&client->n_files, 1);
	pthread_mutex_lock(&all->lock);
	all->n_files--;
	pthread_mutex_unlock(&all->lock);
}

static int file_make(struct connections *all, struct file **ret, int *ret_client_fd)
{
	autofree void *memory = calloc(1, sizeof(struct file));
	struct file *file = memory;
	int ends[2];
	int r;

	if (!file)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -ENFILE;

	autofd host_fd = ends[0], client_fd = ends[1];

	/* What a client writes is of no use to anybody; let it fail. */
	(void)shutdown(host_fd, SHUT_RD);
	r = identify(client_fd, &file->inode, &file->cookie);
	if (r < 0)
		return r;
	file->all = all;
	file->watch = (struct watch){host_fd, file_ready};
	r = monitor_add(all, &file->watch, 0);
	if (r < 0)
		return r;
	(void)steal_fd(&host_fd);
	*ret_client_fd = steal_fd(&client_fd);
	*ret = steal_ptr(memory);
	return 0;
}

int file_new(struct connection *connection, struct object *object)
{
	struct connections *all = connection->all;
	struct file *file = NULL;
	int client_fd = -1;
	int r = file_count(connection);

	if (r == 0) {
		r = file_make(all, &file, &client_fd);
		if (r < 0)
			file_uncount(all, connection->client);
	}
	if (r < 0) {
		object_put(object);
		return r;
	}
	file->object = object;
	file->client = connection->client;
	atomic_fetch_add(&file->client->refs, 1);

	/* The client's end is still open here, so that the monitor has not freed it yet. */
	pthread_mutex_lock(&all->lock);
	file->next = *bucket(all, file->inode);
	*bucket(all, file->inode) = file;
	pthread_mutex_unlock(&all->lock);
	return client_fd;
}

struct object *file_find(struct connections *all, int fd)
{
	uint64_t inode, cookie;
	struct object *object = NULL;

	if (identify(fd, &inode, &cookie) < 0)
		return NULL;
	pthread_mutex_lock(&all->lock);
	for (const struct file *file = *bucket(all, inode); file && !object; file = file->next)
		if (file->inode == inode && file->cookie == cookie)
			object = object_get(file->object);
	pthread_mutex_unlock(&all->lock);
	return object;
}

void file_close(struct file *file)
{
	struct connections *all = file->all;
	struct file **at;

	pthread_mutex_lock(&all->lock);
	for (at = bucket(all, file->inode); *at != file; at = &(*at)->next)
		;
	*at = file->next;
	pthread_mutex_unlock(&all->lock);

	monitor_remove(all, &file->watch);
	file->watch.fd = close_fd(file->watch.fd);
	file_uncount(all, file->client);
	file->client = client_put(file->client);

	pthread_mutex_lock(&all->lock);
	file->next = all->reap;
	all->reap = file;
	pthread_cond_signal(&all->reap_more);
	pthread_mutex_unlock(&all->lock);
	monitor_listen(all);
}

void file_close_all(struct connections *all)
{
	for (unsigned i = 0; i < FILE_BUCKETS; i++)
		while (all->files[i])
			file_close(all->files[i]);
}

/* Closing can take a while, and the monitor has none. */
static void *reap(void *opaque)
{
	struct connections *all = opaque;

	pthread_mutex_lock(&all->lock);
	for (;;) {
		struct file *file = all->reap;

		if (!file && all->reap_ends)
			break;
		if (!file) {
			pthread_cond_wait(&all->reap_more, &all->lock);
			continue;
		}
		all->reap = file->next;
		pthread_mutex_unlock(&all->lock);
		if (file->object->ops->closed)
			file->object->ops->closed(file->object);
		object_put(file->object);
		free(file);
		pthread_mutex_lock(&all->lock);
	}
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

int reaper_start(struct connections *all)
{
	return -pthread_create(&all->reaper, NULL, reap, all);
}

void reaper_stop(struct connections *all)
{
	pthread_mutex_lock(&all->lock);
	all->reap_ends = true;
	pthread_cond_signal(&all->reap_more);
	pthread_mutex_unlock(&all->lock);
	(void)pthread_join(all->reaper, NULL);
}
