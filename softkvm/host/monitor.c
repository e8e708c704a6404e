// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * monitor.c - the host's main loop, and when it ends
 *
 * One event at a time: what it is about may free any watch.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "softkvm/host/internal.h"

int monitor_add(struct connections *all, struct watch *watch, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	return negative_errno(epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event));
}

void monitor_remove(struct connections *all, struct watch *watch)
{
	(void)epoll_ctl(all->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

void monitor_ignore(struct connections *all)
{
	monitor_remove(all, &all->listener);
	all->listens = false;
}

void monitor_listen(struct connections *all)
{
	if (!all->listens)
		all->listens = monitor_add(all, &all->listener, EPOLLIN) == 0;
}

#define all_of(watch, member)                                                                      \
	((struct connections *)((char *)(watch)-offsetof(struct connections, member)))

static void threads_ended(struct watch *watch, uint32_t events)
{
	struct connections *all = all_of(watch, ended);
	uint64_t n;

	(void)events;
	if (read(watch->fd, &n, sizeof(n)) == sizeof(n))
		connection_reap(all);
}

static void signal_received(struct watch *watch, uint32_t events)
{
	struct connections *all = all_of(watch, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) != sizeof(info))
		return;
	all->stopping = true;
	for (struct connection *c = all->first; c; c = c->next)
		connection_kill(c);
}

static void program_ended(struct watch *watch, uint32_t events)
{
	struct connections *all = all_of(watch, program);

	(void)events;
	all->program_lives = false;
	monitor_remove(all, watch);
}

static bool is_over(struct connections *all)
{
	unsigned n_files;

	if (all->stopping)
		return all->n_connections == 0;
	if (all->program_lives)
		return false;
	/* Somebody may be at the door. */
	if (all->n_connections == 0)
		connection_accept(&all->listener, 0);
	pthread_mutex_lock(&all->lock);
	n_files = all->n_files;
	pthread_mutex_unlock(&all->lock);
	return all->n_connections == 0 && n_files == 0;
}

static int start(struct connections *all, int listener_fd, int program_fd)
{
	sigset_t set;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	r = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (r < 0)
		return r;
	all->reserve_fd = eventfd(0, EFD_CLOEXEC);
	all->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	all->listener = (struct watch){listener_fd, connection_accept};
	all->ended = (struct watch){eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), threads_ended};
	all->signals = (struct watch){signalfd(-1, &set, SFD_CLOEXEC), signal_received};
	all->program = (struct watch){program_fd, program_ended};
	if (all->reserve_fd < 0 || all->epoll_fd < 0 || all->ended.fd < 0 || all->signals.fd < 0)
		return -errno;
	monitor_listen(all);
	r = all->listens ? monitor_add(all, &all->ended, EPOLLIN) : -ENOSPC;
	if (r == 0)
		r = monitor_add(all, &all->signals, EPOLLIN);
	if (r == 0 && program_fd >= 0)
		r = monitor_add(all, &all->program, EPOLLIN);
	all->program_lives = true;
	return r == 0 ? reaper_start(all) : r;
}

/* As many descriptors as there may be: each thread of a client takes two, each file one. */
static void set_limits(struct connections *all)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		limit = (struct rlimit){1024, 1024};
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur > INT_MAX)
		limit.rlim_cur = INT_MAX;
	all->connections_max = (unsigned)limit.rlim_cur / 8;
	all->files_max = (unsigned)limit.rlim_cur / 4;
}

static void run(struct connections *all)
{
	while (!is_over(all)) {
		struct epoll_event event;

		if (epoll_wait(all->epoll_fd, &event, 1, -1) == 1) {
			struct watch *watch = event.data.ptr;

			watch->ready(watch, event.events);
		}
	}
	file_close_all(all);
	reaper_stop(all);
}

int host_run(struct host *host, const struct devices *devices, int listener_fd, int program_fd)
{
	struct connections *all = calloc(1, sizeof(*all));
	int r;

	if (!all)
		return -ENOMEM;
	all->host = host;
	all->devices = devices;
	host->connections = all;
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->reap_more, NULL);
	set_limits(all);
	r = start(all, listener_fd, program_fd);
	if (r == 0)
		run(all);
	close_fd(all->reserve_fd);
	close_fd(all->epoll_fd);
	close_fd(all->ended.fd);
	close_fd(all->signals.fd);
	pthread_cond_destroy(&all->reap_more);
	pthread_mutex_destroy(&all->lock);
	host->connections = NULL;
	free(all);
	return r;
}
