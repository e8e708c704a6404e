/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * client.h - a client of the host in the test's own process: what host/ does, without sockets
 *
 * Descriptors of objects are numbers of their own, from CLIENT_FD on.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "softkvm/host/host.h"

#define CLIENT_FD 1000

struct client;
struct object;

/* A host with this profile and without SEV, and a client of it that has /dev/kvm open. */
struct client *client_new(enum profile profile);
struct client *client_free(struct client *client);
int client_kvm(const struct client *client);

/* As the system call: -errno, not -1. */
long client_ioctl(struct client *client, int fd, unsigned long request, uint64_t arg);
#define client_ioctl_p(client, fd, request, p) client_ioctl(client, fd, request, (uintptr_t)(p))
struct object *client_object(const struct client *client, int fd); /* no reference */
void client_close(struct client *client, int fd);
void *client_mmap_run(struct client *client, int fd);

/* Memory of the client that can be guest memory; it is there until client_free(). */
void *client_memory(struct client *client, size_t len);

/* Another address space from now on. */
void client_fork(struct client *client);

/* The thread that is in an ioctl, or the next that will be, gets a signal. */
void client_interrupt(struct client *client);
/* All of its threads, by SIGSTOP: nobody tells the host. */
void client_stop(struct client *client);

#endif
