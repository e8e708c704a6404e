/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The target's half of an upgrade.  Nothing here needs the event loop: until the relay is over
 * there is nobody to serve.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vmrelay/vmrelay.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "log.h"
#include "process.h"
#include "sandbox.h"

#define SOURCE_TIMEOUT_MS 30000

static int fail(struct vmm_error *ret_error, const struct vmr_error *error)
{
	vmm_error_set(ret_error, VMM_EXIT_REFUSED, "%s", error->text);
	return -1;
}

static int fail_errno(struct vmm_error *ret_error, const char *what, int r)
{
	vmm_error_set(ret_error, VMM_EXIT_REFUSED, "%s failed: %s", what, strerrordesc_np(-r));
	return -1;
}

/* Options and whatever else the source's VMM wrote down; hostile until checked. */
static int take_options(struct vmm *vmm, const struct vmr_target *target, int argc, char **argv,
			struct vmm_error *ret_error)
{
	size_t len;
	const char *text = vmr_target_blob(target, VMM_SECTION_OPTIONS, &len);
	json_t *json = text ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const char *measurement = json_string_value(json_object_get(json, "measurement"));
	json_int_t upgrades = json_integer_value(json_object_get(json, "upgrades"));
	int r = json ? vmm_options_from_json(&vmm->options, json_object_get(json, "options"))
		     : -EINVAL;
	char cause[200];

	r = r < 0 ? r : sev_set_measurement(&vmm->machine.sev, measurement ? measurement : "");
	json_decref(json);
	if (r < 0 || upgrades < 0 || upgrades >= INT32_MAX) {
		vmm_error_set(ret_error, VMM_EXIT_REFUSED, "the source's options are malformed");
		return -1;
	}
	vmm->n_upgrades = (unsigned)upgrades + 1;
	r = vmm_options_change(&vmm->options, argc, argv, cause, sizeof(cause));
	if (r < 0)
		vmm_error_set(ret_error, VMM_EXIT_REFUSED, "%s", cause);
	return r < 0 ? -1 : 0;
}

static int take_console(struct vmm *vmm, struct vmr_target *target)
{
	int clients[CONSOLE_CLIENTS_MAX];
	unsigned n = 0;
	autofd listen = vmr_target_take_fd(target, VMM_FD_CONSOLE_LISTEN, 0);
	autofd ring = vmr_target_take_fd(target, VMM_FD_CONSOLE_RING, 0);
	int r = listen < 0 ? listen
		: ring < 0 ? ring
			   : console_new(vmm->event, listen, ring, &vmm->console);

	if (r < 0)
		return r;
	(void)steal_fd(&listen);
	(void)steal_fd(&ring);
	console_freeze(vmm->console);
	while (n < CONSOLE_CLIENTS_MAX &&
	       (clients[n] = vmr_target_take_fd(target, VMM_FD_CONSOLE_CLIENT, n)) >= 0)
		n++;
	return console_adopt(vmm->console, clients, n);
}

static int take_control(struct vmm *vmm, struct vmr_target *target)
{
	autofd listen = vmr_target_take_fd(target, VMM_FD_CONTROL_LISTEN, 0);
	int r = listen < 0 ? listen : control_new(vmm, listen, &vmm->control);
	int fd;

	if (r < 0)
		return r;
	(void)steal_fd(&listen);
	control_freeze(vmm->control);
	for (unsigned i = 0; (fd = vmr_target_take_fd(target, VMM_FD_CONTROL_WAITER, i)) >= 0; i++)
		(void)control_adopt_waiter(vmm->control, fd);
	return 0;
}

/* Everything that the offer holds, short of the machine. */
static int take_offer(struct vmm *vmm, struct vmr_target *target, int argc, char **argv,
		      struct vmm_error *ret_error)
{
	int r;

	if (take_options(vmm, target, argc, argv, ret_error) < 0)
		return -1;
	vmm->runtime.dir_fd = vmr_target_take_fd(target, VMM_FD_RUNTIME_DIR, 0);
	vmm->runtime.lock_fd = vmr_target_take_fd(target, VMM_FD_RUNTIME_LOCK, 0);
	vmm->previous_fd = vmr_target_take_fd(target, VMM_FD_PROGRAM, 0);
	vmm->keeper_fd = vmr_target_take_fd(target, VMM_FD_KEEPER, 0); /* there may be none */
	if (vmm->runtime.dir_fd < 0 || vmm->runtime.lock_fd < 0 || vmm->previous_fd < 0)
		return fail_errno(ret_error, "taking the runtime directory over", -EBADMSG);
	/* There are no threads yet. */
	if (sandbox_narrow(vmm->runtime.dir_fd, ret_error) < 0)
		return -1;
	r = take_console(vmm, target);
	if (r < 0)
		return fail_errno(ret_error, "taking the console over", r);
	r = take_control(vmm, target);
	return r < 0 ? fail_errno(ret_error, "taking the control socket over", r) : 0;
}

static int build(struct vmm *vmm, struct vmr_target *target, struct vmm_error *ret_error)
{
	struct vmr_error error = {.text = ""};
	autofd kvm_fd = kvm_system_open();
	struct vmr_vm *vm;
	int r;

	if (kvm_fd < 0)
		return fail_errno(ret_error, "opening /dev/kvm", kvm_fd);
	if (vmr_target_build(target, kvm_fd, &vm, &error) < 0)
		return fail(ret_error, &error);
	if (machine_adopt(&vmm->machine, steal_fd(&kvm_fd), vm, ret_error) < 0 ||
	    process_add_devices(vmm, ret_error) < 0)
		return -1;
	r = vcpus_start(vm, &vmm->machine.bus, target, process_end_from_vcpu, vmm, &vmm->vcpus);
	return r < 0 ? fail_errno(ret_error, "starting the vCPU threads", r) : 0;
}

/* The guest is ours: serve it. */
static int own(struct vmm *vmm, bool is_paused)
{
	struct vmm_error error;

	vmm->since_ns = process_now_ns();
	vmm->state = is_paused ? VMM_PAUSED : VMM_RUNNING;
	if (!is_paused)
		vcpus_run(vmm->vcpus); /* they do already; now so it is written */
	rescue_rearm(vmm);
	console_thaw(vmm->console);
	control_thaw(vmm->control);
	if (process_set_console_kind(vmm, &error) < 0)
		log_error("%s", error.text);
	log_info("%s taken over by VMM %s", vmm->options.name, VMRELAY_VERSION);
	return process_serve(vmm);
}

static int receive(struct vmm *vmm, struct vmr_target *target, int argc, char **argv)
{
	struct vmr_section sections[MACHINE_SECTIONS];
	struct vmr_error cause = {.text = ""};
	struct vmm_error error;
	int r;

	machine_sections(NULL, sections);
	r = vmr_target_accept(target, sections, MACHINE_SECTIONS, &cause);
	if (r < 0)
		(void)fail(&error, &cause);
	if (r == 0)
		r = take_offer(vmm, target, argc, argv, &error);
	if (r == 0) {
		process_set_log_level(vmm);
		r = build(vmm, target, &error);
	}
	if (r == 0) {
		machine_sections(&vmm->machine, sections);
		r = vmr_target_ready(target, &cause);
		if (r < 0)
			(void)fail(&error, &cause);
	}
	if (r < 0) {
		log_error("upgrade: %s", error.text);
		(void)snprintf(cause.text, sizeof(cause.text), "%.*s", (int)sizeof(cause.text) - 1,
			       error.text);
		vmr_target_refuse(target, &cause);
		/* Threads may wait for a stop that does not come: the process ends with them. */
		exit(VMM_EXIT_REFUSED);
	}

	switch (vmr_target_finish(target, &cause)) {
	case VMR_OUTCOME_DONE:
		return own(vmm, vmr_target_paused(target));
	case VMR_OUTCOME_LOST:
		log_error("the guest is lost: %s", cause.text);
		exit(VMM_EXIT_LOST);
	case VMR_OUTCOME_REFUSED:
	case VMR_OUTCOME_KEPT:
	default:
		log_info("the guest stays with its VMM: %s", cause.text);
		exit(VMM_EXIT_KEPT);
	}
}

int vmm_receive(int sock, int changed_argc, char **changed_argv)
{
	const struct vmr_target_config config = {
		.version = VMRELAY_VERSION,
		.sock = sock,
		.timeout_ms = SOURCE_TIMEOUT_MS,
	};
	struct vmr_target *target;
	struct vmr_error cause;
	struct vmm_error error;
	struct vmm vmm;
	int r;

	/* What comes over the socket is from a process that a guest may have taken over. */
	if (sandbox_enter(vmm_options_seccomp(changed_argc, changed_argv), -1, sandbox_no_images,
			  &error) < 0) {
		log_error("%s", error.text);
		return VMM_EXIT_REFUSED;
	}
	if (vmr_target_new(&config, &target, &cause) < 0) {
		log_error("%s", cause.text);
		return VMM_EXIT_REFUSED;
	}
	if (process_init(&vmm, &error) < 0) {
		log_error("%s", error.text);
		return VMM_EXIT_REFUSED;
	}
	vmm.state = VMM_RECEIVING;
	r = receive(&vmm, target, changed_argc, changed_argv);
	process_done(&vmm);
	(void)vmr_target_free(target);
	return r;
}
