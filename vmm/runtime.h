/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runtime directory: $VMRELAY_RUNTIME_DIR, else /run/vmrelay for root, else
 * $XDG_RUNTIME_DIR/vmrelay; mode 0700, one directory NAME per VM in it:
 *
 *	lock		flock()ed for as long as any process owns the VM.  The lock belongs to the open
 *			file description, which an upgrade hands over: a dead VMM lets go of it.
 *	control.sock	see vmrelay-control(7)
 *	console.sock	the serial console
 *	log		what the VMM processes of this VM wrote to stderr
 */
#ifndef VMM_RUNTIME_H
#define VMM_RUNTIME_H

#include <stdbool.h>

#include "vmm.h"

struct runtime {
	int dir_fd;  /* the VM's directory */
	int lock_fd;
	int control_fd; /* listening */
	int console_fd; /* listening */
};
#define RUNTIME_INIT {-1, -1, -1, -1}

/* A name is 1 to VMM_NAME_MAX characters of [A-Za-z0-9._-] and does not begin with '.' or '-'. */
bool runtime_name_is_valid(const char *name);

/*
 * Create the VM's directory, take its lock and listen on its sockets.  What a dead VMM left there is
 * removed.  -1 with error filled (VMM_EXIT_WRONG_STATE: a VM of this name is running).
 */
int runtime_create(const char *name, struct runtime *ret, struct vmm_error *ret_error);
/* Remove sockets and directory; called by the process that owned the VM at its end. */
void runtime_remove(struct runtime *runtime, const char *name);
void runtime_close(struct runtime *runtime);

/* The runtime directory itself, O_CLOEXEC, or -1: there is none. */
int runtime_open_base(void);

/* Connect to a VM's socket ("control.sock", "console.sock"); fd or -1 (VMM_EXIT_NO_SUCH_VM). */
int runtime_connect(const char *name, const char *socket, struct vmm_error *ret_error);

/* Names of all VMs with a live owner, sorted; leftovers of dead ones are removed on the way. */
int runtime_list(char ***ret_names, unsigned *ret_n);

/* Remove what a dead VM has left; true if there is nothing now, false if a process owns it. */
bool runtime_tidy(const char *name);

/*
 * Open the VM's log for appending (O_CLOEXEC), or -1.  It exists from runtime_create() on; if
 * somebody has deleted it, what is written is lost.
 */
int runtime_open_log(const char *name);

#endif
