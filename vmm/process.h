/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of a VMM process share: vmm.c (life and verbs), upgrade.c (source), receive.c
 * (target). */
#ifndef VMM_PROCESS_H
#define VMM_PROCESS_H

#include <pthread.h>
#include <stdint.h>

#include "control.h"
#include "machine.h"
#include "options.h"
#include "runtime.h"
#include "vcpu.h"
#include "vmm.h"

/* File descriptors that the VMM adds to an offer; numbers are for ever. */
enum {
	VMM_FD_RUNTIME_DIR = 1,
	VMM_FD_RUNTIME_LOCK = 2,
	VMM_FD_CONTROL_LISTEN = 3,
	VMM_FD_CONTROL_WAITER = 4, /* any number */
	VMM_FD_CONSOLE_LISTEN = 5,
	VMM_FD_CONSOLE_RING = 6,
	VMM_FD_CONSOLE_CLIENT = 7, /* any number, in the console's order */
	VMM_FD_PROGRAM = 8,	   /* O_PATH: the source's own program */
	VMM_FD_KEEPER = 9,	   /* the VMM's end of the socket to the keeper; with --rescue */
};

#define VMM_WAITERS_MAX 32

struct vmm {
	sd_event *event;
	struct vmm_options options;
	struct runtime runtime;
	struct machine machine;
	struct console *console;
	struct control *control;
	struct vcpus *vcpus;
	struct upgrade *upgrade;   /* we are the source of a relay */
	int keeper_fd;		   /* socket to the keeper, -1: none */
	struct rescue *rescue;	   /* the guardian and what it needs, if armed */
	struct vmr_keeper *keeper; /* we are the keeper of a guest whose VMM is dead */
	enum vmm_state state;

	int program_fd;	 /* O_PATH: this program, for the target's rollback */
	int previous_fd; /* O_PATH: the program before, or -1 */
	unsigned n_upgrades;
	uint64_t since_ns; /* CLOCK_MONOTONIC: this process owns the guest */
	bool is_gone;	   /* another process owns the guest now */

	/* How the guest ended: by any thread, first one wins. */
	pthread_mutex_t end_lock;
	enum vmm_end end;
	char end_text[160];
	int end_fd; /* eventfd: wakes the main thread */
};

/* An empty process: event loop, signals, own program.  0 or -1 with error filled. */
int process_init(struct vmm *vmm, struct vmm_error *ret_error);
void process_done(struct vmm *vmm);

bool process_has_ended(struct vmm *vmm);

/* Devices on a machine that has its VM; their callback for the guest's end. */
int process_add_devices(struct vmm *vmm, struct vmm_error *ret_error);
void process_end_from_vcpu(void *opaque, enum vmm_end end, const char *text);

/* Open or drop the pseudo terminal as options.console asks. */
int process_set_console_kind(struct vmm *vmm, struct vmm_error *ret_error);

/* As options.log_level asks. */
void process_set_log_level(const struct vmm *vmm);

/* The main loop, until the guest ends or another process has it; the exit code. */
int process_serve(struct vmm *vmm);

/* Call off a relay whose source we are. */
void upgrade_cancel(struct vmm *vmm, const char *reason);

/*
 * With a keeper: see to it that the guest outlives this process (rescue.c).  Disarmed when the
 * guest leaves, or may leave, for another one.
 */
int rescue_arm(struct vmm *vmm, struct vmm_error *ret_error); /* or -1; 0 without a keeper */
void rescue_rearm(struct vmm *vmm);			      /* a failure goes to the log */
void rescue_disarm(struct vmm *vmm);

/* vmm_upgrade() of a guest without a VMM (keeper.c). */
int keeper_hand_over(struct vmm *vmm, const struct vmm_upgrade_request *request,
		     struct control_client *client, struct vmm_error *ret_error);

/*
 * What a new VMM is given beyond the machine, whether in an upgrade or a rescue: a text to be freed
 * (NULL: no memory), and fds (borrowed); returns how many.
 */
#define PROCESS_FDS_MAX 7
struct process_fd {
	uint32_t tag;
	int fd;
};
char *process_options_blob(const struct vmm *vmm);
unsigned process_fds(const struct vmm *vmm, struct process_fd ret[PROCESS_FDS_MAX]);

uint64_t process_now_ns(void);

#endif
