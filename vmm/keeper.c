/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keeper of a guest: the process that has it when its VMM is dead.
 *
 * Theory of operation.  It does nothing for as long as the VMM lives.  Then it takes the VMM's
 * place at the control socket, where it can tell its state and be asked for two things: to hand the
 * guest to a new VMM (`vmrelay rescue`), or to let it go (`vmrelay stop --force`).  The new VMM
 * gets the other end of the keeper's socket with everything else, so the same keeper goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <vmrelay/vmrelay.h>

#include "kvm/cleanup.h"
#include "log.h"
#include "process.h"
#include "sandbox.h"

#define DEFAULT_TIMEOUT_MS 30000
#define NSEC_PER_USEC	   1000.0

static json_t *result(const struct vmm *vmm, const struct vmr_keeper_report *report,
		      const char *outcome)
{
	double downtime_us = report->entered > report->orphaned
				     ? (double)(report->entered - report->orphaned) / NSEC_PER_USEC
				     : 0.0;

	return json_pack("{s:s, s:s, s:{s:i, s:s}, s:{s:i, s:s}, s:f, s:f, s:s}", "vm",
			 vmm->options.name, "result", outcome, "source", "pid", report->source.pid,
			 "version", report->source.version, "target", "pid", report->target.pid,
			 "version", report->target.version, "downtime_us", downtime_us, "total_us",
			 (double)(report->end - report->begin) / NSEC_PER_USEC, "confidential",
			 vmm_confidential_name(vmm->options.confidential));
}

int keeper_hand_over(struct vmm *vmm, const struct vmm_upgrade_request *request,
		     struct control_client *client, struct vmm_error *ret_error)
{
	const struct vmr_keeper_target target = {
		.sock = request->sock,
		.pidfd = request->target_pidfd,
		.timeout_ms = request->timeout_ms ? request->timeout_ms : DEFAULT_TIMEOUT_MS,
		.check_only = request->check_only,
	};
	struct vmr_error cause = {.text = ""};
	struct vmr_keeper_report report;

	switch (vmr_keeper_hand_over(vmm->keeper, &target, &report, &cause)) {
	case VMR_OUTCOME_DONE:
		vmm->is_gone = true;
		(void)sd_event_exit(vmm->event, 0);
		control_client_return(client, result(vmm, &report, "rescued"));
		return 0;
	case VMR_OUTCOME_REFUSED:
		if (cause.code == 0) {
			control_client_return(client, result(vmm, &report, "checked"));
			return 0;
		}
		vmm_error_set(ret_error, VMM_EXIT_REFUSED, "the rescue was refused: %s",
			      cause.text);
		return -1;
	case VMR_OUTCOME_KEPT:
		vmm_error_set(ret_error, VMM_EXIT_KEPT,
			      "the rescue failed, and can be tried again: %s", cause.text);
		return -1;
	case VMR_OUTCOME_LOST:
	default:
		vmm_error_set(ret_error, VMM_EXIT_LOST, "the guest is lost: %s", cause.text);
		vmm_end(vmm, VMM_END_CRASHED, ret_error->text);
		return -1;
	}
}

static int dup_kept(const struct vmr_keeper *keeper, uint32_t tag)
{
	return fcntl(vmr_keeper_fd(keeper, tag), F_DUPFD_CLOEXEC, 0);
}

/* Stand in for a VMM, as far as its control socket goes. */
static int take_place(struct vmm *vmm, struct vmr_keeper *keeper, struct vmm_error *ret_error)
{
	size_t len = 0;
	const char *text = vmr_keeper_blob(keeper, VMM_SECTION_OPTIONS, &len);
	json_t *json = text ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const char *measurement = json_string_value(json_object_get(json, "measurement"));
	int r;

	if (process_init(vmm, ret_error) < 0) {
		json_decref(json);
		return -1;
	}
	vmm->state = VMM_CRASHED;
	vmm->keeper = keeper;
	vmm->since_ns = process_now_ns();
	vmm->runtime.dir_fd = dup_kept(keeper, VMM_FD_RUNTIME_DIR);
	vmm->runtime.lock_fd = dup_kept(keeper, VMM_FD_RUNTIME_LOCK);
	vmm->previous_fd = dup_kept(keeper, VMM_FD_PROGRAM);
	vmm->n_upgrades = (unsigned)json_integer_value(json_object_get(json, "upgrades"));
	r = vmm_options_from_json(&vmm->options, json_object_get(json, "options"));
	if (r == 0)
		r = sev_set_measurement(&vmm->machine.sev, measurement ? measurement : "");
	json_decref(json);

	autofd listen = dup_kept(keeper, VMM_FD_CONTROL_LISTEN);

	if (r == 0)
		r = listen < 0 ? -EBADF : control_new(vmm, listen, &vmm->control);
	if (r < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "taking the VMM's place failed: %s",
			      strerrordesc_np(-r));
		return -1;
	}
	(void)steal_fd(&listen);
	return 0;
}

/* The guest is over: tell whoever asks, and leave nothing. */
static void bury(struct vmm *vmm)
{
	control_announce_end(vmm->control, vmm->end, vmm->end_text[0] ? vmm->end_text : NULL);
	runtime_remove(&vmm->runtime, vmm->options.name);
}

/* True: the guest has a VMM again. */
static bool serve(struct vmr_keeper *keeper, const char *lost)
{
	struct vmm vmm;
	struct vmm_error error;
	bool is_rescued = false;

	if (take_place(&vmm, keeper, &error) < 0) {
		log_error("keeper: %s", error.text);
	} else {
		log_error("the VMM of %s is dead: %s", vmm.options.name,
			  lost ? lost : "`vmrelay rescue` gives the guest a new one");
		if (lost)
			vmm_end(&vmm, VMM_END_CRASHED, lost);
		(void)sd_event_loop(vmm.event);
		is_rescued = vmm.is_gone;
		if (!is_rescued)
			bury(&vmm);
	}
	process_done(&vmm);
	return is_rescued;
}

int keeper_run(int sock, const struct vmm_options *options)
{
	struct vmr_keeper *keeper;
	struct vmr_error error = {.text = ""};
	struct vmm_error refused;
	int exit_code = VMM_EXIT_OK;
	bool go_on = true;

	/* It has the VMM's name otherwise. */
	(void)prctl(PR_SET_NAME, "vmrelay-keeper");
	if (sandbox_enter(options->seccomp, -1, sandbox_no_images, &refused) < 0) {
		log_error("keeper: %s", refused.text);
		return VMM_EXIT_FAILED;
	}
	if (vmr_keeper_new(sock, &keeper, &error) < 0) {
		log_error("keeper: %s", error.text);
		return VMM_EXIT_FAILED;
	}
	while (go_on) {
		switch (vmr_keeper_wait(keeper, &error)) {
		case VMR_KEEPER_ENDED:
			go_on = false;
			break;
		case VMR_KEEPER_ORPHANED:
			go_on = serve(keeper, NULL);
			break;
		case VMR_KEEPER_LOST:
			go_on = serve(keeper, error.text);
			exit_code = VMM_EXIT_LOST;
			break;
		default:
			log_error("keeper: %s", error.text);
			exit_code = VMM_EXIT_FAILED;
			go_on = false;
			break;
		}
	}
	(void)vmr_keeper_free(keeper);
	return exit_code;
}
