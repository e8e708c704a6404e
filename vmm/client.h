/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line's side of the control socket, see vmrelay-control(7). */
#ifndef VMM_CLIENT_H
#define VMM_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "vmm.h"

#define CLIENT_TIMEOUT_MS 10000

struct client;

/*
 * Connect to the VM, which need not accept yet; client_connect() also reads its greeting.  -1 with
 * error filled (VMM_EXIT_NO_SUCH_VM).
 */
int client_open(const char *name, struct client **ret, struct vmm_error *ret_error);
int client_connect(const char *name, int timeout_ms, struct client **ret,
		   struct vmm_error *ret_error);
struct client *client_free(struct client *client);

int client_fd(const struct client *client);    /* to poll; borrowed */
pid_t client_pid(const struct client *client); /* as the greeting says */

/*
 * Send a request with fds; arguments (may be NULL): reference taken over.  0 or -1 with error
 * filled.
 */
int client_send(struct client *client, const char *verb, json_t *arguments, const int *fds,
		unsigned n_fds, struct vmm_error *ret_error);

/*
 * The next message, a JSON object: 0, -EPIPE at the end of the connection, -ECONNRESET if in
 * addition what was sent was not read, -ETIMEDOUT, or another -errno.  timeout_ms < 0: wait for
 * ever; 0: only what is already there.
 */
int client_receive(struct client *client, int timeout_ms, json_t **ret);

/*
 * Wait for the reply to the last request; events on the way are dropped.  ret (may be NULL) gets
 * the "return" value, ret_fd (may be NULL) the fd that came with it, or -1.  0 or -1 with error
 * filled.
 */
int client_reply(struct client *client, json_t **ret, int *ret_fd, struct vmm_error *ret_error);

/*
 * client_send() and client_reply(), again if an upgrade closed the connection: the VMM may be
 * another one then.
 */
int client_call(struct client *client, const char *verb, json_t *arguments, json_t **ret,
		struct vmm_error *ret_error);

/* If message is an error reply, fill error and return true. */
bool client_is_error(json_t *message, struct vmm_error *ret_error);

/*
 * Ask to be told of the guest's end.  client_is_end() then recognises the event that tells it; the
 * returned object (borrowed) has "end" and perhaps "text".
 */
int client_wait(struct client *client, struct vmm_error *ret_error);
json_t *client_is_end(json_t *message);

/*
 * Has the guest, seen through a client_wait()ing connection, ended?  0 with *ret the object of
 * client_is_end() (a new reference); -EAGAIN after timeout_ms; -EPIPE if the VM is gone and nobody
 * said how.  Connections that an upgrade could not hand over are replaced in *client.
 */
int client_wait_end(struct client **client, const char *name, int timeout_ms, json_t **ret);

/* After the guest's end: until the VMM has closed the connection, for a while. */
void client_drain(struct client *client);

/* Milliseconds of the monotonic clock, and those left until a time on it, at least 0. */
long long client_now_ms(void);
int client_ms_until(long long deadline);

#endif
