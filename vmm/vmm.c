/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a VMM process, and what its control socket can ask of it. */
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "log.h"
#include "process.h"
#include "sandbox.h"

#define NSEC_PER_SEC	  1000000000ULL
#define NO_MEMORY_WAIT_US 10000

uint64_t process_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

const char *vmm_state_name(enum vmm_state state)
{
	static const char *const names[] = {
		[VMM_CREATING] = "creating", [VMM_LAUNCHING] = "launching",
		[VMM_RUNNING] = "running",   [VMM_PAUSED] = "paused",
		[VMM_DONATING] = "donating", [VMM_RECEIVING] = "receiving",
		[VMM_STOPPED] = "stopped",   [VMM_CRASHED] = "crashed",
	};

	return names[state];
}

sd_event *vmm_event(struct vmm *vmm)
{
	return vmm->event;
}

const char *vmm_name(const struct vmm *vmm)
{
	return vmm->options.name;
}

int vmm_previous_program(struct vmm *vmm)
{
	return vmm->previous_fd;
}

/* The guest's end. */

void vmm_end(struct vmm *vmm, enum vmm_end end, const char *text)
{
	const uint64_t one = 1;

	(void)pthread_mutex_lock(&vmm->end_lock);
	if (vmm->end == VMM_END_NONE) {
		vmm->end = end;
		(void)snprintf(vmm->end_text, sizeof(vmm->end_text), "%s", text ? text : "");
		(void)!write(vmm->end_fd, &one, sizeof(one));
	}
	(void)pthread_mutex_unlock(&vmm->end_lock);
}

char *process_options_blob(const struct vmm *vmm)
{
	json_t *json = json_pack("{s:o, s:i, s:s}", "options", vmm_options_to_json(&vmm->options),
				 "upgrades", (int)vmm->n_upgrades, "measurement",
				 vmm->machine.sev.measurement);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	return text;
}

unsigned process_fds(const struct vmm *vmm, struct process_fd ret[PROCESS_FDS_MAX])
{
	const struct process_fd fds[PROCESS_FDS_MAX] = {
		{VMM_FD_RUNTIME_DIR, vmm->runtime.dir_fd},
		{VMM_FD_RUNTIME_LOCK, vmm->runtime.lock_fd},
		{VMM_FD_CONTROL_LISTEN, control_listen_fd(vmm->control)},
		{VMM_FD_CONSOLE_LISTEN, console_listen_fd(vmm->console)},
		{VMM_FD_CONSOLE_RING, console_ring_fd(vmm->console)},
		{VMM_FD_PROGRAM, vmm->program_fd},
		{VMM_FD_KEEPER, vmm->keeper_fd}, /* last: there may be none */
	};

	memcpy(ret, fds, sizeof(fds));
	return vmm->keeper_fd >= 0 ? PROCESS_FDS_MAX : PROCESS_FDS_MAX - 1;
}

bool process_has_ended(struct vmm *vmm)
{
	(void)pthread_mutex_lock(&vmm->end_lock);

	bool ended = vmm->end != VMM_END_NONE;

	(void)pthread_mutex_unlock(&vmm->end_lock);
	return ended;
}

static void end_from_device(void *opaque, enum vmm_end end)
{
	vmm_end(opaque, end, NULL);
}

void process_end_from_vcpu(void *opaque, enum vmm_end end, const char *text)
{
	vmm_end(opaque, end, text);
}

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct vmm *vmm = opaque;

	(void)source, (void)fd, (void)revents;
	return sd_event_exit(vmm->event, 0);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *opaque)
{
	(void)source;
	log_info("signal %u: ending the guest", info->ssi_signo);
	vmm_end(opaque, VMM_END_STOPPED, NULL);
	return 0;
}

/* Making and unmaking the process. */

int process_init(struct vmm *vmm, struct vmm_error *ret_error)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	sigset_t blocked;
	int r;

	*vmm = (struct vmm){
		.runtime = RUNTIME_INIT,
		.machine = MACHINE_INIT,
		.program_fd = open("/proc/self/exe", O_PATH | O_CLOEXEC),
		.previous_fd = -1,
		.keeper_fd = -1,
		.end_lock = PTHREAD_MUTEX_INITIALIZER,
		.end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	vmm_options_init(&vmm->options);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&blocked);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		(void)sigaddset(&blocked, signals[i]);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);

	r = vmm->end_fd < 0 ? -errno : sd_event_new(&vmm->event);
	if (r >= 0)
		r = sd_event_add_io(vmm->event, NULL, vmm->end_fd, EPOLLIN, on_end, vmm);
	for (unsigned i = 0; r >= 0 && i < ARRAY_SIZE(signals); i++)
		r = sd_event_add_signal(vmm->event, NULL, signals[i], on_signal, vmm);
	if (r < 0)
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "setting up the event loop failed: %s",
			      strerrordesc_np(-r));
	return r < 0 ? -1 : 0;
}

void process_done(struct vmm *vmm)
{
	rescue_disarm(vmm);
	vmm->vcpus = vcpus_free(vmm->vcpus);
	vmm->control = control_free(vmm->control);
	machine_done(&vmm->machine);
	vmm->console = console_free(vmm->console);
	runtime_close(&vmm->runtime);
	vmm_options_done(&vmm->options);
	close_fd(vmm->program_fd);
	close_fd(vmm->previous_fd);
	close_fd(vmm->keeper_fd);
	close_fd(vmm->end_fd);
	vmm->event = sd_event_unref(vmm->event);
}

int process_add_devices(struct vmm *vmm, struct vmm_error *ret_error)
{
	int r = machine_add_devices(&vmm->machine, vmm->console, end_from_device, vmm);

	if (r < 0)
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "creating the devices failed: %s",
			      strerrordesc_np(-r));
	return r < 0 ? -1 : 0;
}

/* The console's pseudo terminal: an open fd among its clients (borrowed), or -1. */
static int find_pty(const struct vmm *vmm)
{
	int fds[CONSOLE_CLIENTS_MAX];
	unsigned n = console_client_fds(vmm->console, fds);
	struct stat st;

	for (unsigned i = 0; i < n; i++)
		if (fds[i] >= 0 && fstat(fds[i], &st) == 0 && S_ISCHR(st.st_mode))
			return fds[i];
	return -1;
}

int process_set_console_kind(struct vmm *vmm, struct vmm_error *ret_error)
{
	bool want_pty = vmm->options.console == VMM_CONSOLE_PTY;
	int r;

	if (want_pty == (find_pty(vmm) >= 0))
		return 0;
	if (!want_pty) {
		console_drop_pty(vmm->console);
		return 0;
	}

	autofd pty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (pty < 0 || grantpt(pty) < 0 || unlockpt(pty) < 0)
		r = -errno;
	else
		r = console_attach(vmm->console, steal_fd(&pty), 0);
	if (r < 0)
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "opening a pseudo terminal failed: %s",
			      strerrordesc_np(-r));
	return r < 0 ? -1 : 0;
}

/* Verbs. */

static int wrong_state(struct vmm *vmm, const char *verb, struct vmm_error *ret_error)
{
	vmm_error_set(ret_error, VMM_EXIT_WRONG_STATE, "%s is %s and cannot be %s",
		      vmm->options.name, vmm_state_name(vmm->state), verb);
	return -1;
}

int vmm_pause(struct vmm *vmm, struct vmm_error *ret_error)
{
	if (vmm->state != VMM_RUNNING)
		return wrong_state(vmm, "paused", ret_error);
	vcpus_pause(vmm->vcpus);
	vmm->state = VMM_PAUSED;
	return 0;
}

/* The owner of a guest that is being launched has nothing more to put in. */
static int finish_launch(struct vmm *vmm, struct vmm_error *ret_error)
{
	if (machine_complete(&vmm->machine, ret_error) < 0)
		return -1;
	vmm->state = VMM_PAUSED;
	log_info("%s is launched", vmm->options.name);
	if (rescue_arm(vmm, ret_error) < 0)
		return -1;
	vcpus_run(vmm->vcpus);
	vmm->state = VMM_RUNNING;
	return 0;
}

int vmm_resume(struct vmm *vmm, struct vmm_error *ret_error)
{
	if (vmm->state == VMM_LAUNCHING)
		return finish_launch(vmm, ret_error);
	if (vmm->state != VMM_PAUSED)
		return wrong_state(vmm, "resumed", ret_error);
	/* Tell the guest that it was stopped, so that its watchdogs do not bark. */
	for (unsigned i = 0; i < vmr_vm_n_vcpus(vmm->machine.vm); i++)
		(void)kvm_vcpu_kvmclock_ctrl(vmr_vm_vcpu_fd(vmm->machine.vm, i));
	vcpus_run(vmm->vcpus);
	vmm->state = VMM_RUNNING;
	return 0;
}

int vmm_press_power_button(struct vmm *vmm, struct vmm_error *ret_error)
{
	if (vmm->state != VMM_RUNNING)
		return wrong_state(vmm, "asked to power off", ret_error);
	power_press_button(vmm->machine.power);
	return 0;
}

int vmm_put_secret(struct vmm *vmm, const struct vmm_secret *secret, struct vmm_error *ret_error)
{
	if (vmm->state != VMM_LAUNCHING) {
		vmm_error_set(ret_error, VMM_EXIT_WRONG_STATE,
			      "%s is %s: a secret can be put only into a guest that is being "
			      "launched, see --sev-wait",
			      vmm->options.name, vmm_state_name(vmm->state));
		return -1;
	}
	return sev_put_secret(vmm->machine.vm, &vmm->machine.memory, secret, ret_error);
}

int vmm_attest(struct vmm *vmm, const uint8_t nonce[VMM_NONCE_SIZE],
	       uint8_t ret[VMR_SEV_REPORT_SIZE], struct vmm_error *ret_error)
{
	if (vmm->state != VMM_LAUNCHING && vmm->state != VMM_RUNNING && vmm->state != VMM_PAUSED)
		return wrong_state(vmm, "attested", ret_error);
	if (vmr_vm_confidential(vmm->machine.vm) == VMR_CONFIDENTIAL_NONE) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "%s is not confidential: there is nothing to attest",
			      vmm->options.name);
		return -1;
	}
	return sev_attest(vmm->machine.vm, nonce, ret, ret_error);
}

static json_t *status_memory(const struct vmm *vmm)
{
	json_t *array = json_array();

	for (unsigned i = 0; array && i < vmm->machine.memory.n_regions; i++) {
		const struct vmm_memory_region *region = &vmm->machine.memory.region[i];
		char path[64];

		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), region->fd);
		(void)json_array_append_new(
			array, json_pack("{s:I, s:I, s:I, s:s?}", "gpa", (json_int_t)region->gpa,
					 "size", (json_int_t)region->size, "offset", (json_int_t)0,
					 "path", region->fd >= 0 ? path : NULL));
	}
	return array;
}

static json_t *status_program(int fd)
{
	char link[64], path[4096];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = fd < 0 ? -1 : readlink(link, path, sizeof(path));
	return n < 0 ? json_null() : json_stringn_nocheck(path, (size_t)n);
}

json_t *vmm_status(struct vmm *vmm)
{
	const char *measurement = vmm->machine.sev.measurement;
	char pty[64] = "";
	int pty_fd = vmm->console ? find_pty(vmm) : -1;

	if (pty_fd >= 0 && ptsname_r(pty_fd, pty, sizeof(pty)) != 0)
		pty[0] = '\0';
	return json_pack(
		"{s:s, s:s, s:i, s:s, s:o, s:o, s:i, s:I, s:o, s:s?, s:s, s:s?, s:b, s:i, s:f, "
		"s:o}",
		"vm", vmm->options.name, "state", vmm_state_name(vmm->state), "pid", (int)getpid(),
		"version", VMRELAY_VERSION, "program", status_program(vmm->program_fd),
		"previous_program", status_program(vmm->previous_fd), "cpus",
		(int)vmm->options.cpus, "memory_bytes", (json_int_t)vmm->options.memory, "memory",
		status_memory(vmm), "pty", pty[0] ? pty : NULL, "confidential",
		vmm_confidential_name(vmm->options.confidential), "measurement",
		measurement[0] ? measurement : NULL, "rescue", vmm->rescue || vmm->keeper,
		"upgrades", (int)vmm->n_upgrades, "owner_seconds",
		(double)(process_now_ns() - vmm->since_ns) / NSEC_PER_SEC, "options",
		vmm_options_to_json(&vmm->options));
}

json_t *vmm_version(void)
{
	struct vmr_section own[MACHINE_SECTIONS];
	json_t *sections = json_array(), *syscalls = json_array();
	uint16_t version, min_version;
	unsigned min, max;
	uint32_t type;
	const char *name, *condition;

	for (unsigned i = 0; (name = vmr_section_name(i, &type, &version, &min_version)); i++)
		(void)json_array_append_new(
			sections, json_pack("{s:i, s:s, s:i, s:i}", "type", (int)type, "name", name,
					    "version", version, "min_version", min_version));
	machine_sections(NULL, own);
	for (unsigned i = 0; i < MACHINE_SECTIONS; i++)
		(void)json_array_append_new(
			sections, json_pack("{s:i, s:s, s:i, s:i}", "type", (int)own[i].type,
					    "name", own[i].name, "version", own[i].version,
					    "min_version", own[i].min_version));
	vmr_protocol_range(&min, &max);
	for (unsigned i = 0; (name = sandbox_syscall(i, &condition)); i++)
		(void)json_array_append_new(
			syscalls, json_pack("{s:s, s:s}", "name", name, "condition", condition));
	return json_pack("{s:{s:i, s:i}, s:o, s:o}", "protocol", "min", (int)min, "max", (int)max,
			 "sections", sections, "syscalls", syscalls);
}

/* The main loop. */

/*
 * Want of memory is no reason to end the guest, which may need none.  It is told once: the log is
 * in memory, too.
 */
static int run_event_loop(sd_event *event)
{
	int r = sd_event_loop(event);

	if (r == -ENOMEM)
		log_error("the event loop has no memory, and tries again until it has");
	for (; r == -ENOMEM; r = sd_event_loop(event))
		(void)usleep(NO_MEMORY_WAIT_US);
	return r;
}

int process_serve(struct vmm *vmm)
{
	int r = run_event_loop(vmm->event);

	if (r < 0) {
		log_error("the event loop failed: %s", strerrordesc_np(-r));
		vmm_end(vmm, VMM_END_CRASHED, "the VMM's event loop failed");
	}
	if (vmm->is_gone) {
		log_info("%s is served by another process now", vmm->options.name);
		return VMM_EXIT_OK;
	}
	if (vmm->upgrade)
		upgrade_cancel(vmm, "the guest ended");
	vcpus_pause(vmm->vcpus);
	vmm->state = VMM_STOPPED;
	log_info("%s ended: %d %s", vmm->options.name, (int)vmm->end, vmm->end_text);
	control_announce_end(vmm->control, vmm->end, vmm->end_text[0] ? vmm->end_text : NULL);
	runtime_remove(&vmm->runtime, vmm->options.name);
	return vmm->end == VMM_END_CRASHED ? VMM_EXIT_FAILED : VMM_EXIT_OK;
}

/* A new guest. */

static void report(int ready_fd, json_t *object)
{
	if (object && json_dumpfd(object, ready_fd, JSON_COMPACT) == 0)
		(void)!write(ready_fd, "\n", 1);
	json_decref(object);
}

/* What is left to be read may be the guest's own. */
static int confine(struct vmm *vmm, const struct vmm_options *options, struct vmm_error *ret_error)
{
	const char *const all[] = {options->kernel, options->initrd, options->sev_dh_cert,
				   options->sev_session};
	const char *images[ARRAY_SIZE(all) + 1] = {NULL};
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i])
			images[n++] = all[i];
	vmm->options.seccomp = options->seccomp;
	return sandbox_enter(options->seccomp, vmm->runtime.dir_fd, images, ret_error);
}

static int start(struct vmm *vmm, const struct vmm_options *options, struct runtime *runtime,
		 struct vmm_error *ret_error)
{
	int r = 0;

	if (process_init(vmm, ret_error) < 0)
		return -1;
	vmm->runtime = *runtime;
	*runtime = (struct runtime)RUNTIME_INIT;

	json_t *json = vmm_options_to_json(options);

	r = vmm_options_from_json(&vmm->options, json);
	json_decref(json);
	if (r == 0)
		r = console_new(vmm->event, vmm->runtime.console_fd, -1, &vmm->console);
	if (r == 0) {
		vmm->runtime.console_fd = -1;
		r = control_new(vmm, vmm->runtime.control_fd, &vmm->control);
	}
	if (r < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "setting up the VMM failed: %s",
			      strerrordesc_np(-r));
		return -1;
	}
	vmm->runtime.control_fd = -1;
	/* From what was given: what is for the launch only is not in the JSON. */
	if (machine_create(&vmm->machine, options, ret_error) < 0 ||
	    process_set_console_kind(vmm, ret_error) < 0 ||
	    process_add_devices(vmm, ret_error) < 0 || confine(vmm, options, ret_error) < 0 ||
	    machine_boot(&vmm->machine, options, ret_error) < 0)
		return -1;
	if (!vmm->options.sev_wait && machine_complete(&vmm->machine, ret_error) < 0)
		return -1;
	if (sandbox_narrow(vmm->runtime.dir_fd, ret_error) < 0)
		return -1;
	r = vcpus_start(vmm->machine.vm, &vmm->machine.bus, NULL, process_end_from_vcpu, vmm,
			&vmm->vcpus);
	if (r < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "starting the vCPU threads failed: %s",
			      strerrordesc_np(-r));
		return -1;
	}
	return 0;
}

void process_set_log_level(const struct vmm *vmm)
{
	static const enum log_level levels[] = {
		[VMM_LOG_ERROR] = LOG_LEVEL_ERROR,
		[VMM_LOG_INFO] = LOG_LEVEL_INFO,
		[VMM_LOG_DEBUG] = LOG_LEVEL_DEBUG,
	};

	log_set_level(levels[vmm->options.log_level]);
}

int vmm_run(const struct vmm_options *options, struct runtime *runtime, int keeper_fd,
	    int ready_fd_in)
{
	autofd ready_fd = ready_fd_in;
	struct vmm vmm;
	struct vmm_error error;
	int r = start(&vmm, options, runtime, &error);

	vmm.keeper_fd = keeper_fd;
	if (r == 0 && !vmm.options.sev_wait)
		r = rescue_arm(&vmm, &error);
	if (r < 0) {
		log_error("%s", error.text);
		report(ready_fd,
		       json_pack("{s:i, s:s}", "exit", (int)error.exit, "error", error.text));
		/* Whoever of the two holds it still. */
		runtime_remove(runtime->dir_fd >= 0 ? runtime : &vmm.runtime, options->name);
		r = error.exit;
	} else {
		process_set_log_level(&vmm);
		vmm.since_ns = process_now_ns();
		vmm.state = vmm.options.sev_wait ? VMM_LAUNCHING : VMM_RUNNING;
		if (vmm.state == VMM_RUNNING)
			vcpus_run(vmm.vcpus);
		log_info("%s is %s, VMM %s", vmm.options.name, vmm_state_name(vmm.state),
			 VMRELAY_VERSION);
		report(ready_fd, json_pack("{s:i}", "pid", (int)getpid()));
		ready_fd = close_fd(ready_fd);
		r = process_serve(&vmm);
	}
	process_done(&vmm);
	return r;
}
