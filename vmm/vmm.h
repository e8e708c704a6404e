/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One VMM process: one VM, its devices, its sockets.
 *
 * Threads: the main thread runs an sd-event loop (sockets, signals, relay) and owns everything in
 * struct vmm; one thread per vCPU runs the guest and the devices' pio().  The functions below are
 * for the main thread unless they say otherwise.
 */
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include <vmrelay/sev.h>

#define VMM_NONCE_SIZE 16

struct vmm;

enum vmm_state {
	VMM_CREATING,
	VMM_LAUNCHING, /* a confidential guest, measured; its owner may put secrets in */
	VMM_RUNNING,
	VMM_PAUSED,
	VMM_DONATING,  /* source of a relay, until its outcome is known */
	VMM_RECEIVING, /* target of a relay, not yet the owner */
	VMM_STOPPED,
	VMM_CRASHED, /* no VMM: its keeper has the guest */
};

const char *vmm_state_name(enum vmm_state state);

/* Exit codes of the command line, also the "exit" member of control-socket errors. */
enum vmm_exit {
	VMM_EXIT_OK = 0,
	VMM_EXIT_FAILED = 1,
	VMM_EXIT_USAGE = 2,
	VMM_EXIT_NO_SUCH_VM = 3,
	VMM_EXIT_WRONG_STATE = 4,
	VMM_EXIT_REFUSED = 5, /* upgrade refused, guest untouched */
	VMM_EXIT_KEPT = 6,    /* upgrade failed and rolled back, guest runs on the source */
	VMM_EXIT_LOST = 7,    /* guest lost */
};

/* How a guest ended; the "end" of the `wait` verb of the control socket. */
enum vmm_end {
	VMM_END_NONE,
	VMM_END_POWEROFF, /* ACPI S5 */
	VMM_END_REBOOT,	  /* reset requested by the guest; this VMM reports it and ends */
	VMM_END_STOPPED,  /* `vmrelay stop` */
	VMM_END_CRASHED,  /* triple fault, internal error: text says what */
};

/* A sentence for the operator and the exit code that goes with it. */
struct vmm_error {
	enum vmm_exit exit;
	char text[300];
};

#define vmm_error_set(error, code, ...)                                                            \
	((error)->exit = (code), (void)snprintf((error)->text, sizeof((error)->text), __VA_ARGS__))

/* Verbs of the control socket.  0, or -1 with error filled. */
int vmm_pause(struct vmm *vmm, struct vmm_error *ret_error);
int vmm_resume(struct vmm *vmm, struct vmm_error *ret_error);
int vmm_press_power_button(struct vmm *vmm, struct vmm_error *ret_error);

/* A packet that the owner of a guest sealed for it, to be put at a guest-physical address. */
struct vmm_secret {
	const void *header;
	const void *packet;
	uint32_t header_len;
	uint32_t packet_len;
	uint64_t gpa;
};
int vmm_put_secret(struct vmm *vmm, const struct vmm_secret *secret, struct vmm_error *ret_error);

/* The secure processor's attestation report, with the owner's nonce in it. */
int vmm_attest(struct vmm *vmm, const uint8_t nonce[VMM_NONCE_SIZE],
	       uint8_t ret[VMR_SEV_REPORT_SIZE], struct vmm_error *ret_error);

/* End the guest at once; from any thread.  `text` (may be NULL) is copied. */
void vmm_end(struct vmm *vmm, enum vmm_end end, const char *text);

/* The `status` object, see vmrelay-json(5).  A new reference, NULL if out of memory. */
json_t *vmm_status(struct vmm *vmm);

/*
 * Become the source of a relay over `sock` (taken over in every case) to the process `target_pidfd`
 * (likewise).  Progress and outcome go to the control client as events and as the reply to its
 * request `id`.  -1 with error filled if it cannot even begin.
 */
struct control_client;
struct vmm_upgrade_request {
	int sock;
	int target_pidfd;
	bool check_only;
	bool strict;
	unsigned max_downtime_ms;
	unsigned timeout_ms; /* for everything before the stop */
};
int vmm_upgrade(struct vmm *vmm, const struct vmm_upgrade_request *request,
		struct control_client *client, struct vmm_error *ret_error);

/* The VM's name. */
const char *vmm_name(const struct vmm *vmm);

/*
 * What this program can relay and what it can do otherwise, for `vmrelay version`: {"protocol":
 * {"min", "max"}, "sections": [], "syscalls": []}.
 */
json_t *vmm_version(void);

/* The program that ran the guest before this one: an O_PATH fd (borrowed), or -1 if none. */
int vmm_previous_program(struct vmm *vmm);

sd_event *vmm_event(struct vmm *vmm);

/*
 * Be the VMM of a new guest until it ends or leaves for another process; returns the exit code.
 * ready_fd (taken over) gets one line of JSON when the guest runs, {"pid": N}, or when it cannot,
 * {"exit": N, "error": "sentence"}, and is then closed.  The runtime directory is taken over, and
 * so is keeper_fd: a socket to a keeper, or -1.
 */
struct vmm_options;
struct runtime;
int vmm_run(const struct vmm_options *options, struct runtime *runtime, int keeper_fd,
	    int ready_fd);

/* Be the keeper of a guest (vmrelay/rescue.h) for as long as there is one; the exit code. */
int keeper_run(int sock, const struct vmm_options *options);

/*
 * Be the target of a relay over `sock`, and if it succeeds the VMM of the guest from then on.
 * changed_argv: the flags behind `upgrade NAME --`, see vmm_options_change().
 */
int vmm_receive(int sock, int changed_argc, char **changed_argv);

#endif
