/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket of a running VM: newline-separated JSON, see vmrelay-control(7).
 *
 * Theory of operation: the listening socket and the clients that wait for the guest's end are handed
 * to the target of an upgrade as file descriptors, so that nobody has to connect again.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include <jansson.h>

#include "vmm.h"

struct control;
struct control_client;

/* Serve on listen_fd (taken over, may be -1 only in tests). */
int control_new(struct vmm *vmm, int listen_fd, struct control **ret);
struct control *control_free(struct control *control);

/* Stop and go on accepting and reading: frozen while fds of clients are on their way. */
void control_freeze(struct control *control);
void control_thaw(struct control *control);

/* Borrowed: what a target needs.  Fills at most `max` fds of clients in `wait`; returns how many. */
int control_listen_fd(const struct control *control);
unsigned control_waiters(const struct control *control, int *ret_fds, unsigned max);
/* Target: take over a waiting client. */
int control_adopt_waiter(struct control *control, int fd);

/* Send {"event": name, "data": data} (data: reference taken over, may be NULL) to one client. */
void control_client_event(struct control_client *client, const char *name, json_t *data);
/* Answer the client's pending `upgrade` request; the client may be gone (NULL). */
void control_client_return(struct control_client *client, json_t *value);
void control_client_error(struct control_client *client, const struct vmm_error *error);

/* Answer every waiter with how the guest ended, and flush.  Called once, at the end. */
void control_announce_end(struct control *control, enum vmm_end end, const char *text);

#endif
