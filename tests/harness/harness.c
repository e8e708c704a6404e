/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What scenario tests and benchmarks share; see harness.h. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"

#define SLOTS_GPA 0x200000U
#define POLL_US	  70 /* on average; more often, and looking would slow down what is looked at */

#define RUN_TIMEOUT_MS	120000
#define REST_MS		2000
#define GONE_TIMEOUT_MS 15000 /* the kernel tears a VM down at its own pace */
#define PROCESSES_MAX	16

static unsigned n_tests, n_failed;
static bool this_failed;
static char runtime_dir[64];

/* TAP. */

__attribute__((format(printf, 1, 0))) static void diagnose(const char *format, va_list ap)
{
	(void)printf("# ");
	(void)vprintf(format, ap);
	(void)printf("\n");
	(void)fflush(stdout);
}

void h_note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	diagnose(format, ap);
	va_end(ap);
}

bool h_check(bool ok, const char *file, int line, const char *condition, const char *format, ...)
{
	va_list ap;

	if (ok)
		return true;
	this_failed = true;
	(void)printf("# %s:%d: failed: %s\n", file, line, condition);
	va_start(ap, format);
	diagnose(format, ap);
	va_end(ap);
	return false;
}

void h_test(const char *format, ...)
{
	va_list ap;

	n_failed += this_failed;
	(void)printf("%sok %u - ", this_failed ? "not " : "", ++n_tests);
	va_start(ap, format);
	(void)vprintf(format, ap);
	va_end(ap);
	(void)printf("\n");
	(void)fflush(stdout);
	this_failed = false;
}

void h_skip(const char *name, const char *reason)
{
	(void)printf("ok %u - %s # SKIP %s\n", ++n_tests, name, reason);
}

int h_skip_all(const char *reason)
{
	(void)printf("1..0 # SKIP %s\n", reason);
	return 0;
}

int h_done(void)
{
	json_t *list = NULL, *vm;
	size_t i;

	h_set_fault(NULL);
	(void)h_vmrelay(&list, "list", "--json");
	json_array_foreach(json_object_get(list, "vms"), i, vm)(void)
		h_vmrelay(NULL, "stop", "--force", json_string_value(json_object_get(vm, "vm")));
	json_decref(list);
	if (!check(h_processes_are(0), "a process is left")) {
		h_kill_processes();
		(void)h_vmrelay(NULL, "list");
	}
	(void)check(h_count_leftovers() == 0, "a file is left");
	h_test("nothing is left");
	(void)rmdir(runtime_dir);
	(void)printf("1..%u\n", n_tests);
	return n_failed == 0 ? 0 : 1;
}

/* Programs. */

static const char *from_env(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return value ? value : otherwise;
}

/* Interrupted, or out of time.  That what this does is not safe in a handler does not matter then.
 */
static void end_all(int signal)
{
	h_kill_processes();
	_exit(128 + signal);
}

void h_init(void)
{
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)snprintf(runtime_dir, sizeof(runtime_dir), "/tmp/vmrelay-test-XXXXXX");
	if (!mkdtemp(runtime_dir)) {
		perror(runtime_dir);
		exit(1);
	}
	(void)setenv("VMRELAY_RUNTIME_DIR", runtime_dir, 1);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGINT, end_all);
	(void)signal(SIGTERM, end_all);
	/* Orphans come to us, so that no zombie of a VMM is left where PID 1 does not reap. */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
}

const char *h_program(void)
{
	return from_env("VMRELAY", "build/vmrelay");
}

const char *h_build(const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", from_env("VMRELAY_BUILDS", "build/tests"),
		       name);
	return path;
}

const char *h_guest(const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", from_env("VMRELAY_GUESTS", "build/guests"),
		       name);
	return path;
}

/* Our children that somebody will ask for; pid 0: free. */
static struct {
	pid_t pid;
	bool has_ended;
	int status;
} children[PROCESSES_MAX];

/* Take the status of every process that has ended: children and orphans. */
static void reap(void)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned i = 0; i < PROCESSES_MAX; i++)
			if (children[i].pid == pid) {
				children[i].has_ended = true;
				children[i].status = status;
			}
}

static _Noreturn void die(const char *what)
{
	perror(what);
	abort();
}

static void start(struct h_process *ret, const char *const argv[], bool wants_in, bool wants_out)
{
	int in[2], out[2];
	unsigned slot = 0;

	while (slot < PROCESSES_MAX && children[slot].pid != 0)
		slot++;
	if (slot == PROCESSES_MAX || pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		die("pipe2");
	(void)fflush(stdout);
	ret->pid = fork();
	if (ret->pid < 0)
		die("fork");
	if (ret->pid == 0) {
		int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

		(void)dup2(wants_in ? in[0] : null_fd, STDIN_FILENO);
		(void)dup2(wants_out ? out[1] : null_fd, STDOUT_FILENO);
		(void)signal(SIGPIPE, SIG_DFL);
		(void)execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	children[slot].pid = ret->pid;
	children[slot].has_ended = false;
	close_fd(in[0]);
	close_fd(out[1]);
	ret->in = in[1];
	ret->out = out[0];
}

void h_start_list(struct h_process *process, const char *const argv[])
{
	start(process, argv, true, true);
}

bool h_expect(struct h_process *process, char *buf, size_t size, const char *words,
	      unsigned timeout_ms)
{
	double deadline = h_now_us() + timeout_ms * 1e3;
	size_t len = strlen(buf);

	while (!words || !strstr(buf, words)) {
		struct pollfd p = {.fd = process->out, .events = POLLIN};
		double left_ms = (deadline - h_now_us()) / 1e3;
		ssize_t n;

		if (left_ms <= 0 || len + 1 >= size || poll(&p, 1, (int)left_ms + 1) <= 0)
			return false;
		n = read(process->out, buf + len, size - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
		buf[len] = '\0';
	}
	return true;
}

int h_wait(struct h_process *process, unsigned timeout_ms)
{
	double deadline = h_now_us() + timeout_ms * 1e3;
	unsigned slot = 0;

	process->in = close_fd(process->in);
	while (children[slot].pid != process->pid)
		slot++;
	for (reap(); !children[slot].has_ended; reap()) {
		if (!check(h_now_us() < deadline, "process %d does not end", process->pid)) {
			(void)kill(process->pid, SIGKILL);
			deadline = INFINITY;
		}
		h_sleep_ms(1);
	}
	children[slot].pid = 0;
	process->out = close_fd(process->out);

	int status = children[slot].status;

	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int h_run_list(json_t **ret, const char *const argv[])
{
	static char output[256 * 1024];
	struct h_process process;

	output[0] = '\0';
	start(&process, argv, false, ret);
	(void)h_expect(&process, output, sizeof(output), NULL, RUN_TIMEOUT_MS);
	if (ret)
		*ret = json_loads(output, 0, NULL);
	return h_wait(&process, RUN_TIMEOUT_MS);
}

bool h_error_has(const json_t *result, const char *words)
{
	const char *error = json_string_value(json_object_get(result, "error"));

	return check(error && strcasestr(error, words), "the error is: %s", error ? error : "none");
}

void h_set_fault(const char *fault)
{
	if (fault)
		(void)setenv("VMRELAY_FAULT", fault, 1);
	else
		(void)unsetenv("VMRELAY_FAULT");
}

/* A guest of one instruction, as a probe. */
bool h_kvm_is_usable(void)
{
	autofd kvm_fd = kvm_system_open();
	autofd vm_fd = kvm_fd < 0 ? -1 : kvm_system_create_vm(kvm_fd, 0);

	return vm_fd >= 0 && kvm_system_check_extension(kvm_fd, KVM_CAP_IRQCHIP) > 0 &&
	       kvm_system_check_extension(kvm_fd, KVM_CAP_IMMEDIATE_EXIT) > 0;
}

/* VMs. */

static json_t *status_of(const struct h_vm *vm)
{
	json_t *status = NULL;

	if (h_vmrelay(&status, "status", vm->name, "--json") != 0) {
		json_decref(status);
		return NULL;
	}
	return status;
}

int h_vm_pid(const struct h_vm *vm)
{
	json_t *status = status_of(vm);
	int pid = status ? (int)json_integer_value(json_object_get(status, "pid")) : -1;

	json_decref(status);
	return pid;
}

char *h_vm_state(const struct h_vm *vm)
{
	json_t *status = status_of(vm);
	const char *state = json_string_value(json_object_get(status, "state"));
	char *copy = strdup(state ? state : "none");

	json_decref(status);
	return copy;
}

static bool map_slots(struct h_vm *vm)
{
	json_t *status = status_of(vm);
	json_t *low = json_array_get(json_object_get(status, "memory"), 0);
	const char *path = json_string_value(json_object_get(low, "path"));
	autofd fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, SLOTS_GPA);

	json_decref(status);
	vm->slot = map == MAP_FAILED ? NULL : map;
	return vm->slot;
}

static bool all_count(const struct h_vm *vm, unsigned timeout_ms)
{
	uint64_t before[64];

	for (unsigned i = 0; i < vm->cpus; i++)
		before[i] = vm->slot[i].count;
	for (unsigned ms = 0; ms <= timeout_ms; ms += 5) {
		unsigned n = 0;

		for (unsigned i = 0; i < vm->cpus; i++)
			n += vm->slot[i].count > before[i] &&
			     memcmp((const void *)vm->slot[i].magic, "TICKER01", 8) == 0;
		if (n == vm->cpus)
			return true;
		h_sleep_ms(5);
	}
	return false;
}

const char *h_confidential(void)
{
	return getenv("VMRELAY_CONFIDENTIAL");
}

bool h_vm_start(struct h_vm *vm, const char *program, unsigned cpus, const char *cmdline,
		const char *const options[])
{
	static unsigned n_vms;
	char cpus_text[16];
	const char *argv[40] = {program ? program : h_program(), "run", "--detach"};
	unsigned n = 3;

	(void)snprintf(vm->name, sizeof(vm->name), "t%d-%u", (int)getpid(), n_vms++);
	(void)snprintf(cpus_text, sizeof(cpus_text), "%u", cpus);
	vm->cpus = cpus;
	vm->slot = NULL;
	argv[n++] = "--name";
	argv[n++] = vm->name;
	argv[n++] = "--kernel";
	argv[n++] = h_guest("ticker");
	argv[n++] = "--cpus";
	argv[n++] = cpus_text;
	if (h_confidential())
		argv[n++] = strcmp(h_confidential(), "sev") == 0 ? "--sev" : "--sev-es";
	if (cmdline) {
		argv[n++] = "--append";
		argv[n++] = cmdline;
	}
	for (unsigned i = 0; options && options[i] && n < ARRAY_SIZE(argv) - 3; i++)
		argv[n++] = options[i];

	int status = h_run_list(NULL, argv);

	return check(status == 0, "run exited with %d", status) && h_vm_watch(vm);
}

bool h_vm_watch(struct h_vm *vm)
{
	return check(map_slots(vm), "mapping the guest's memory: %s", strerror(errno)) &&
	       check(all_count(vm, 20000), "not every vCPU of %u counts", vm->cpus);
}

void h_vm_stop(struct h_vm *vm)
{
	int status = h_vmrelay(NULL, "stop", "--force", vm->name);

	(void)check(status == 0, "stop exited with %d", status);
	h_vm_forget(vm);
}

void h_vm_forget(struct h_vm *vm)
{
	if (vm->slot)
		(void)munmap((void *)vm->slot, 4096);
	vm->slot = NULL;
}

uint64_t h_vm_errors(const struct h_vm *vm)
{
	uint64_t errors = 0;

	for (unsigned i = 0; i < vm->cpus; i++)
		errors += vm->slot[i].errors;
	return errors;
}

bool h_vm_is_alive(const struct h_vm *vm)
{
	return all_count(vm, 2000) && h_vm_errors(vm) == 0;
}

bool h_vm_is_still(const struct h_vm *vm, unsigned ms)
{
	uint64_t before[64];
	bool is_still = true;

	for (unsigned i = 0; i < vm->cpus; i++)
		before[i] = vm->slot[i].count;
	h_sleep_ms(ms);
	for (unsigned i = 0; i < vm->cpus; i++)
		is_still &= vm->slot[i].count == before[i];
	return is_still;
}

bool h_vm_comes_to_rest(const struct h_vm *vm, unsigned ms)
{
	double deadline = h_now_us() + REST_MS * 1e3;

	while (!h_vm_is_still(vm, ms))
		if (h_now_us() > deadline)
			return false;
	return true;
}

bool h_vm_ticks(const struct h_vm *vm)
{
	uint64_t before[64];
	unsigned n = 0;

	for (unsigned i = 0; i < vm->cpus; i++)
		before[i] = vm->slot[i].ticks;
	for (unsigned ms = 0; ms <= 2000 && n < vm->cpus; ms += 5) {
		h_sleep_ms(5);
		n = 0;
		for (unsigned i = 0; i < vm->cpus; i++)
			n += vm->slot[i].ticks > before[i];
	}
	return n == vm->cpus;
}

int h_pid_in(const json_t *result, const char *side)
{
	json_t *pid = json_object_get(json_object_get(result, side), "pid");

	return pid ? (int)json_integer_value(pid) : -1;
}

int h_vm_upgrade(const struct h_vm *vm, const char *program)
{
	int before = h_vm_pid(vm);
	json_t *result = NULL;
	int status = h_vmrelay(&result, "upgrade", vm->name, "--json", "--vmm",
			       program ? program : h_program());
	const char *how = json_string_value(json_object_get(result, "result"));
	const char *kind = json_string_value(json_object_get(result, "confidential"));
	const char *expected = h_confidential() ? h_confidential() : "none";
	int after = h_pid_in(result, "target");
	bool ok = check(status == 0, "upgrade exited with %d", status) &&
		  check(how && strcmp(how, "done") == 0, "the result is %s", how ? how : "none") &&
		  check(kind && strcmp(kind, expected) == 0, "it is said to be %s", kind) &&
		  check(json_is_true(json_object_get(result, "source_vm_dead")) ==
				(h_confidential() != NULL),
			"the source's VM is %s", h_confidential() ? "not dead" : "dead") &&
		  check(h_pid_in(result, "source") == before && after > 0 && after != before &&
				h_vm_pid(vm) == after,
			"pids: before %d, from %d to %d, after %d", before,
			h_pid_in(result, "source"), after, h_vm_pid(vm)) &&
		  check(h_process_ends(before, GONE_TIMEOUT_MS), "the source %d is left", before);

	json_decref(result);
	return ok ? after : -1;
}

/*
 * The observer.
 *
 * It looks at the counters about every 100 us (70, and what a sleep costs).  If a counter had moved
 * at a look but not at the next, the guest stopped at some time before the former and after the one
 * before that; likewise it ran again at some time before the look that sees it move again.  So the
 * time between these two looks is right on average, and wrong by at most the time between two
 * looks.  The looks come at random times: medians would be multiples of a fixed period.
 */

#define GAPS_MAX 4096

struct h_observer {
	const struct h_vm *vm;
	pthread_t thread;
	pthread_mutex_t lock;
	bool stop;
	uint64_t count[64];
	double moved_us;  /* last look that saw a counter move */
	double before_us; /* the look before that */
	double polled_us; /* last look */
	double sum_us;
	unsigned n_gaps;
	struct {
		double before_us, from_us, polled_us, to_us; /* looks: moved, moved, still, moved */
	} gap[GAPS_MAX];				     /* the latest ones */
};

static void observe(struct h_observer *o)
{
	double now;
	bool any = false;

	(void)pthread_mutex_lock(&o->lock);
	now = h_now_us();
	for (unsigned i = 0; i < o->vm->cpus; i++) {
		uint64_t count = o->vm->slot[i].count;

		any |= count != o->count[i];
		o->count[i] = count;
	}
	if (any) {
		if (o->polled_us > o->moved_us) {
			unsigned n = o->n_gaps++ % GAPS_MAX;

			o->gap[n].before_us = o->before_us;
			o->gap[n].from_us = o->moved_us;
			o->gap[n].polled_us = o->polled_us;
			o->gap[n].to_us = now;
			o->sum_us += now - o->moved_us;
		}
		o->before_us = o->polled_us;
		o->moved_us = now;
	}
	o->polled_us = now;
	(void)pthread_mutex_unlock(&o->lock);
}

static void *observer_thread(void *arg)
{
	const struct sched_param param = {.sched_priority = 50};
	const char *poll_us = getenv("VMRELAY_OBSERVE_US");
	uint32_t period_ns = (poll_us ? (uint32_t)atoi(poll_us) : POLL_US) * 1000;
	struct h_observer *o = arg;
	uint32_t random = 1;

	(void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
	(void)prctl(PR_SET_TIMERSLACK, 1);
	while (!__atomic_load_n(&o->stop, __ATOMIC_ACQUIRE)) {
		observe(o);
		random = random * 1664525 + 1013904223;

		const struct timespec pause = {
			.tv_nsec = period_ns / 2 + (uint64_t)period_ns * random / UINT32_MAX};

		(void)nanosleep(&pause, NULL);
	}
	return NULL;
}

struct h_observer *h_observer_start(const struct h_vm *vm)
{
	struct h_observer *o = calloc(1, sizeof(*o));

	if (!o)
		abort();
	o->vm = vm;
	o->moved_us = o->before_us = o->polled_us = h_now_us();
	(void)pthread_mutex_init(&o->lock, NULL);
	if (pthread_create(&o->thread, NULL, observer_thread, o) != 0)
		abort();
	return o;
}

struct h_observer *h_observer_stop(struct h_observer *o)
{
	__atomic_store_n(&o->stop, true, __ATOMIC_RELEASE);
	(void)pthread_join(o->thread, NULL);
	(void)pthread_mutex_destroy(&o->lock);
	free(o);
	return NULL;
}

static void find_gap(struct h_observer *o, double us, double *ret_gap, double *ret_doubt)
{
	*ret_gap = *ret_doubt = 0;
	(void)pthread_mutex_lock(&o->lock);
	for (unsigned i = 0; i < o->n_gaps && i < GAPS_MAX; i++)
		if (o->gap[i].before_us <= us && us <= o->gap[i].to_us) {
			*ret_gap = o->gap[i].to_us - o->gap[i].from_us;
			*ret_doubt = o->gap[i].from_us - o->gap[i].before_us + o->gap[i].to_us -
				     o->gap[i].polled_us;
		}
	(void)pthread_mutex_unlock(&o->lock);
}

double h_observer_gap_at(struct h_observer *o, double us)
{
	double gap, doubt;

	find_gap(o, us, &gap, &doubt);
	return gap;
}

double h_observer_doubt_at(struct h_observer *o, double us)
{
	double gap, doubt;

	find_gap(o, us, &gap, &doubt);
	return doubt;
}

double h_observer_gaps_sum(struct h_observer *o)
{
	double sum;

	(void)pthread_mutex_lock(&o->lock);
	sum = o->sum_us;
	(void)pthread_mutex_unlock(&o->lock);
	return sum;
}

bool h_upgrade_parse(const json_t *result, struct h_upgrade *ret)
{
	double begin_us = json_number_value(json_object_get(result, "begin_monotonic_us"));
	const json_t *phases = json_object_get(result, "phases");
	json_t *phase;
	size_t i;

	ret->downtime_us = json_number_value(json_object_get(result, "downtime_us"));
	ret->total_us = json_number_value(json_object_get(result, "total_us"));
	json_array_foreach(phases, i, phase)
	{
		const char *name = json_string_value(json_object_get(phase, "name"));

		if (!name || strcmp(name, "stop") != 0)
			continue;
		ret->middle_us = begin_us + json_number_value(json_object_get(phase, "start_us")) +
				 ret->downtime_us / 2;
		return ret->downtime_us > 0;
	}
	return false;
}

/* Processes. */

/* A file of /proc/PID as far as it fits, with a 0 behind it; its length, or -1. */
static ssize_t read_proc(int pid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);

	autofd fd = open(path, O_RDONLY | O_CLOEXEC);

	len = fd < 0 ? -1 : read(fd, buf, size - 1);
	buf[len > 0 ? len : 0] = '\0';
	return len;
}

/* Those whose environment names our runtime directory, but for ourselves. */
static unsigned find_processes(bool tell, int signal, int *ret_pids, unsigned max)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned n = 0;

	reap();
	while (proc && (entry = readdir(proc))) {
		char environment[16384], name[64];
		int pid = atoi(entry->d_name);
		ssize_t len;

		if (pid <= 0 || pid == getpid())
			continue;
		len = read_proc(pid, "environ", environment, sizeof(environment));
		if (len <= 0 || !memmem(environment, (size_t)len, runtime_dir, strlen(runtime_dir)))
			continue;
		if (n < max)
			ret_pids[n] = pid;
		n++;
		if (signal)
			(void)kill(pid, signal);
		if (!tell)
			continue;
		(void)read_proc(pid, "comm", name, sizeof(name));
		h_note("process %d is there, state %c: %s", pid, h_process_state(pid),
		       strtok(name, "\n"));
	}
	if (proc)
		(void)closedir(proc);
	return n;
}

unsigned h_count_processes(void)
{
	return find_processes(true, 0, NULL, 0);
}

unsigned h_list_processes(int *ret_pids, unsigned max)
{
	return find_processes(false, 0, ret_pids, max);
}

void h_kill_processes(void)
{
	while (find_processes(false, SIGKILL, NULL, 0) > 0)
		h_sleep_ms(5);
}

bool h_processes_are(unsigned n)
{
	double deadline = h_now_us() + GONE_TIMEOUT_MS * 1e3;

	while (find_processes(false, 0, NULL, 0) != n) {
		if (h_now_us() > deadline)
			return find_processes(true, 0, NULL, 0) == n;
		h_sleep_ms(5);
	}
	return true;
}

char h_process_state(int pid)
{
	char stat[512];
	const char *end;

	if (read_proc(pid, "stat", stat, sizeof(stat)) <= 0)
		return 0;
	end = strrchr(stat, ')');
	return end && end[1] ? end[2] : 0;
}

bool h_process_ends(int pid, unsigned timeout_ms)
{
	double deadline = h_now_us() + timeout_ms * 1e3;

	for (;;) {
		char state;

		reap();
		state = h_process_state(pid);
		if (state == 0 || state == 'Z' || state == 'X')
			return true;
		if (h_now_us() > deadline)
			return false;
		h_sleep_ms(1);
	}
}

static unsigned count_files(const char *path, const char *begin)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strncmp(entry->d_name, begin, strlen(begin)) == 0) {
			h_note("%s/%s is there", path, entry->d_name);
			n++;
		}
	if (dir)
		(void)closedir(dir);
	return n;
}

unsigned h_count_leftovers(void)
{
	return count_files(runtime_dir, "") + count_files("/dev/shm", "vmrelay");
}

void h_sleep_ms(unsigned ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L};

	(void)nanosleep(&pause, NULL);
}

double h_now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}
