/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's half of an upgrade: libvmrelay driven by the main loop.
 *
 * Until the target is ready the guest runs and the loop goes on.  From the moment the clients' fds
 * are on their way their number must not change, so control socket and console are frozen from the
 * offer to the outcome.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <vmrelay/vmrelay.h>

#include "kvm/cleanup.h"
#include "log.h"
#include "process.h"

#define DEFAULT_MAX_DOWNTIME_MS 2000
#define DEFAULT_TIMEOUT_MS	30000
#define NSEC_PER_USEC		1000.0

/* A device's section that is saved only if the guest has not ended. */
struct guarded {
	struct vmm *vmm;
	struct vmr_section device;
};

struct upgrade {
	struct vmm *vmm;
	struct control_client *client;
	struct vmr_source *source;
	struct vmr_section sections[MACHINE_SECTIONS];
	struct guarded guarded[MACHINE_SECTIONS];
	enum vmm_state state_before;
	bool check_only;
	sd_event_source *io;
	sd_event_source *timer;
};

static void upgrade_free(struct upgrade *upgrade)
{
	struct vmm *vmm = upgrade->vmm;

	upgrade->io = sd_event_source_disable_unref(upgrade->io);
	upgrade->timer = sd_event_source_disable_unref(upgrade->timer);
	upgrade->source = vmr_source_free(upgrade->source);
	free(upgrade);
	vmm->upgrade = NULL;
}

/* The guest stays here: as before, but for the sentence that the operator gets. */
static void stay(struct upgrade *upgrade, const struct vmm_error *error)
{
	struct vmm *vmm = upgrade->vmm;

	log_error("upgrade of %s: %s", vmm->options.name, error->text);
	vmm->state = upgrade->state_before;
	control_client_error(upgrade->client, error);
	upgrade_free(upgrade);
	rescue_rearm(vmm);
	control_thaw(vmm->control);
	console_thaw(vmm->console);
}

static void refuse(struct upgrade *upgrade, const char *text)
{
	struct vmm_error error;

	vmm_error_set(&error, VMM_EXIT_REFUSED, "the upgrade was refused: %s", text);
	stay(upgrade, &error);
}

void upgrade_cancel(struct vmm *vmm, const char *reason)
{
	refuse(vmm->upgrade, reason);
}

/* The report. */

static json_t *phase(const char *name, const struct vmr_times *t, uint64_t from, uint64_t to)
{
	return json_pack("{s:s, s:f, s:f}", "name", name, "start_us",
			 (double)(from - t->begin) / NSEC_PER_USEC, "duration_us",
			 (double)(to - from) / NSEC_PER_USEC);
}

static json_t *phases(const struct vmr_times *t)
{
	const struct {
		const char *name;
		uint64_t from, to;
	} rows[] = {
		{"start", t->begin, t->hello},	     {"prepare", t->hello, t->ready},
		{"stop", t->stop, t->all_out},	     {"save", t->all_out, t->all_saved},
		{"load", t->all_out, t->all_loaded}, {"enter", t->all_loaded, t->entered},
	};
	json_t *array = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].from >= t->begin && rows[i].to >= rows[i].from)
			(void)json_array_append_new(
				array, phase(rows[i].name, t, rows[i].from, rows[i].to));
	return array;
}

static json_t *warnings(const struct upgrade *upgrade)
{
	json_t *array = json_array();
	const char *text;

	for (unsigned i = 0; (text = vmr_source_warning(upgrade->source, i)); i++)
		(void)json_array_append_new(array, json_string(text));
	return array;
}

static json_t *result(const struct upgrade *upgrade, const char *outcome)
{
	const struct vmr_vm *vm = upgrade->vmm->machine.vm;
	const struct vmr_peer *peer = vmr_source_peer(upgrade->source);
	struct vmr_times t;

	vmr_source_times(upgrade->source, &t);
	return json_pack(
		"{s:s, s:s, s:{s:i, s:s}, s:{s:i, s:s}, s:f, s:f, s:f, s:s, s:b, s:o, s:o}", "vm",
		upgrade->vmm->options.name, "result", outcome, "source", "pid", (int)getpid(),
		"version", VMRELAY_VERSION, "target", "pid", peer->pid, "version", peer->version,
		"downtime_us",
		t.entered > t.stop ? (double)(t.entered - t.stop) / NSEC_PER_USEC : 0.0, "total_us",
		(double)((t.end ? t.end : t.ready) - t.begin) / NSEC_PER_USEC, "begin_monotonic_us",
		(double)t.begin / NSEC_PER_USEC, "confidential",
		vmm_confidential_name(vmr_vm_confidential(vm)), "source_vm_dead",
		vmr_vm_is_dead(vm), "warnings", warnings(upgrade), "phases", phases(&t));
}

static void tell_phase(const struct upgrade *upgrade, const char *name)
{
	control_client_event(upgrade->client, "UPGRADE_PHASE", json_pack("{s:s}", "phase", name));
}

static void tell_warnings(const struct upgrade *upgrade)
{
	const char *text;

	for (unsigned i = 0; (text = vmr_source_warning(upgrade->source, i)); i++) {
		log_info("upgrade of %s: %s", upgrade->vmm->options.name, text);
		control_client_event(upgrade->client, "UPGRADE_WARNING",
				     json_pack("{s:s}", "text", text));
	}
}

/* The offer. */

static int add_blob(struct upgrade *upgrade)
{
	autofree char *text = process_options_blob(upgrade->vmm);

	return text ? vmr_source_add_blob(upgrade->source, VMM_SECTION_OPTIONS, text, strlen(text))
		    : -ENOMEM;
}

static int offer(struct upgrade *upgrade, struct vmr_error *error)
{
	struct vmm *vmm = upgrade->vmm;
	struct vmr_source *source = upgrade->source;
	int waiters[VMM_WAITERS_MAX], clients[CONSOLE_CLIENTS_MAX];
	int r = add_blob(upgrade);

	control_freeze(vmm->control);
	console_freeze(vmm->console);

	unsigned n_waiters = control_waiters(vmm->control, waiters, ARRAY_SIZE(waiters));
	unsigned n_clients = console_client_fds(vmm->console, clients);
	struct process_fd fds[PROCESS_FDS_MAX];
	unsigned n_fds = process_fds(vmm, fds);

	for (unsigned i = 0; r == 0 && i < n_fds; i++)
		r = vmr_source_add_fd(source, fds[i].tag, fds[i].fd);
	for (unsigned i = 0; r == 0 && i < n_waiters; i++)
		r = vmr_source_add_fd(source, VMM_FD_CONTROL_WAITER, waiters[i]);
	for (unsigned i = 0; r == 0 && i < n_clients; i++)
		r = vmr_source_add_fd(source, VMM_FD_CONSOLE_CLIENT, clients[i]);
	if (r < 0) {
		(void)snprintf(error->text, sizeof(error->text), "describing the VM failed: %s",
			       strerrordesc_np(-r));
		return r;
	}
	return vmr_source_offer(source, error);
}

/* The stop. */

static void kick(void *opaque)
{
	struct upgrade *upgrade = opaque;

	vcpus_save(upgrade->vmm->vcpus, upgrade->source);
}

/* A guest that ended after the last look must not be handed over as if it ran. */
static int save_guarded(void *opaque, uint16_t version, void *buf)
{
	const struct guarded *guarded = opaque;

	if (process_has_ended(guarded->vmm))
		return -ECANCELED;
	return guarded->device.save(guarded->device.opaque, version, buf);
}

static void finish(struct upgrade *upgrade)
{
	struct vmm *vmm = upgrade->vmm;
	struct vmr_error cause = {.text = ""};
	struct vmm_error error;

	if (upgrade->check_only) {
		control_client_return(upgrade->client, result(upgrade, "checked"));
		vmm->state = upgrade->state_before;
		upgrade_free(upgrade);
		control_thaw(vmm->control);
		console_thaw(vmm->console);
		return;
	}
	rescue_disarm(vmm);
	tell_phase(upgrade, "stop");
	switch (vmr_source_stop(upgrade->source, &cause)) {
	case VMR_OUTCOME_DONE:
		control_client_return(upgrade->client, result(upgrade, "done"));
		vmm->is_gone = true;
		vcpus_wait(vmm->vcpus);
		upgrade_free(upgrade);
		(void)sd_event_exit(vmm->event, 0);
		break;
	case VMR_OUTCOME_REFUSED:
		refuse(upgrade, cause.text);
		break;
	case VMR_OUTCOME_KEPT:
		vcpus_wait(vmm->vcpus);
		if (upgrade->state_before == VMM_RUNNING)
			vcpus_run(vmm->vcpus);
		vmm_error_set(&error, VMM_EXIT_KEPT,
			      "the upgrade failed and the guest goes on as before: %s", cause.text);
		stay(upgrade, &error);
		break;
	case VMR_OUTCOME_LOST:
		vmm_error_set(&error, VMM_EXIT_LOST, "the guest is lost: %s", cause.text);
		control_client_error(upgrade->client, &error);
		vcpus_wait(vmm->vcpus);
		upgrade_free(upgrade);
		vmm_end(vmm, VMM_END_CRASHED, error.text);
		break;
	}
}

static int on_message(sd_event_source *event_source, int fd, uint32_t revents, void *opaque)
{
	struct upgrade *upgrade = opaque;
	struct vmr_error error = {.text = ""};
	int r = vmr_source_dispatch(upgrade->source, &error);

	(void)event_source, (void)fd, (void)revents;
	if (r == VMR_SOURCE_HELLO) {
		tell_phase(upgrade, "prepare");
		r = offer(upgrade, &error);
	} else if (r == VMR_SOURCE_READY) {
		finish(upgrade);
		return 0;
	}
	if (r < 0)
		refuse(upgrade, error.text);
	return 0;
}

static int on_timeout(sd_event_source *event_source, uint64_t usec, void *opaque)
{
	(void)event_source, (void)usec;
	refuse(opaque, "the new VMM was not ready in time");
	return 0;
}

static int watch(struct upgrade *upgrade, unsigned timeout_ms)
{
	sd_event *event = upgrade->vmm->event;
	uint64_t timeout_us = (uint64_t)(timeout_ms ? timeout_ms : DEFAULT_TIMEOUT_MS) * 1000;
	int r = sd_event_add_io(event, &upgrade->io, vmr_source_fd(upgrade->source), EPOLLIN,
				on_message, upgrade);

	if (r >= 0)
		r = sd_event_add_time_relative(event, &upgrade->timer, CLOCK_MONOTONIC, timeout_us,
					       0, on_timeout, upgrade);
	return r;
}

int vmm_upgrade(struct vmm *vmm, const struct vmm_upgrade_request *request,
		struct control_client *client, struct vmm_error *ret_error)
{
	autofd sock = request->sock, pidfd = request->target_pidfd;
	struct vmr_error error = {.text = ""};

	if (vmm->keeper) {
		const struct vmm_upgrade_request taken = {
			.sock = steal_fd(&sock),
			.target_pidfd = steal_fd(&pidfd),
			.check_only = request->check_only,
			.timeout_ms = request->timeout_ms,
		};

		return keeper_hand_over(vmm, &taken, client, ret_error);
	}
	if (vmm->state == VMM_LAUNCHING) {
		vmm_error_set(ret_error, VMM_EXIT_REFUSED,
			      "the upgrade was refused: %s is being launched, `vmrelay resume` "
			      "ends that",
			      vmm->options.name);
		return -1;
	}
	if (vmm->upgrade || (vmm->state != VMM_RUNNING && vmm->state != VMM_PAUSED)) {
		vmm_error_set(ret_error, VMM_EXIT_WRONG_STATE, "%s is %s and cannot be upgraded",
			      vmm->options.name, vmm_state_name(vmm->state));
		return -1;
	}

	struct upgrade *upgrade = calloc(1, sizeof(*upgrade));

	if (!upgrade) {
		vmm_error_set(ret_error, VMM_EXIT_REFUSED, "out of memory");
		return -1;
	}
	upgrade->vmm = vmm;
	upgrade->client = client;
	upgrade->state_before = vmm->state;
	upgrade->check_only = request->check_only;
	machine_sections(&vmm->machine, upgrade->sections);
	for (unsigned i = 0; i < MACHINE_SECTIONS; i++) {
		upgrade->guarded[i] = (struct guarded){vmm, upgrade->sections[i]};
		upgrade->sections[i].save = save_guarded;
		upgrade->sections[i].opaque = &upgrade->guarded[i];
	}

	const struct vmr_source_config config = {
		.version = VMRELAY_VERSION,
		.sock = steal_fd(&sock),
		.target_pidfd = steal_fd(&pidfd),
		.sections = upgrade->sections,
		.n_sections = MACHINE_SECTIONS,
		.paused = vmm->state == VMM_PAUSED,
		.check_only = request->check_only,
		.strict = request->strict,
		.max_downtime_ms = request->max_downtime_ms ? request->max_downtime_ms
							    : DEFAULT_MAX_DOWNTIME_MS,
		.kick = kick,
		.opaque = upgrade,
	};
	int r = vmr_source_new(vmm->machine.vm, &config, &upgrade->source, &error);

	vmm->upgrade = upgrade;
	if (r < 0) {
		vmm_error_set(ret_error, VMM_EXIT_REFUSED, "the upgrade was refused: %s",
			      error.text);
	} else {
		r = watch(upgrade, request->timeout_ms);
		if (r < 0)
			vmm_error_set(ret_error, VMM_EXIT_REFUSED, "the upgrade was refused: %s",
				      strerrordesc_np(-r));
	}
	if (r < 0) {
		upgrade_free(upgrade);
		return -1;
	}
	vmm->state = VMM_DONATING;
	tell_warnings(upgrade);
	tell_phase(upgrade, "start");
	return 0;
}
