/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What scenario tests and benchmarks share; see harness.h. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
#define POLL_NS	  15000

static unsigned n_tests, n_failed;
static bool this_failed;
static char runtime_dir[64];

/* TAP. */

static void diagnose(const char *format, va_list ap)
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

int h_done(void)
{
	json_t *list = NULL, *vm;
	size_t i;

	(void)h_vmrelay(&list, "list", "--json");
	json_array_foreach(json_is_array(list) ? list : json_object_get(list, "vms"), i, vm)(void)
		h_vmrelay(NULL, "stop", "--force", json_string_value(json_object_get(vm, "vm")));
	json_decref(list);
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

void h_init(void)
{
	(void)snprintf(runtime_dir, sizeof(runtime_dir), "/tmp/vmrelay-test-XXXXXX");
	if (!mkdtemp(runtime_dir)) {
		perror(runtime_dir);
		exit(1);
	}
	(void)setenv("VMRELAY_RUNTIME_DIR", runtime_dir, 1);
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

static void reap_orphans(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

int h_run_list(json_t **ret, const char *const argv[])
{
	int out[2], status;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		abort();
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (ret)
			(void)dup2(out[1], STDOUT_FILENO);
		else
			(void)dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
		(void)execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	(void)close(out[1]);

	FILE *stream = fdopen(out[0], "r");

	if (ret)
		*ret = json_loadf(stream, 0, NULL);
	(void)fclose(stream);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	reap_orphans();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
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
	if (cmdline) {
		argv[n++] = "--append";
		argv[n++] = cmdline;
	}
	for (unsigned i = 0; options && options[i] && n < ARRAY_SIZE(argv) - 3; i++)
		argv[n++] = options[i];

	int status = h_run_list(NULL, argv);

	return check(status == 0, "run exited with %d", status) &&
	       check(map_slots(vm), "mapping the guest's memory: %s", strerror(errno)) &&
	       check(all_count(vm, 20000), "not every vCPU of %u counts", cpus);
}

void h_vm_stop(struct h_vm *vm)
{
	int status = h_vmrelay(NULL, "stop", "--force", vm->name);

	(void)check(status == 0, "stop exited with %d", status);
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

/* The observer. */

#define GAPS_MAX   4096
#define GAP_MIN_US 40

struct h_observer {
	const struct h_vm *vm;
	pthread_t thread;
	pthread_mutex_t lock;
	bool stop;
	uint64_t count[64];
	double last_us; /* when a counter was last seen to move */
	unsigned n_gaps;
	struct {
		double from_us, to_us;
	} gap[GAPS_MAX]; /* the latest ones */
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
		if (now - o->last_us > GAP_MIN_US) {
			unsigned n = o->n_gaps++ % GAPS_MAX;

			o->gap[n].from_us = o->last_us;
			o->gap[n].to_us = now;
		}
		o->last_us = now;
	}
	(void)pthread_mutex_unlock(&o->lock);
}

static void *observer_thread(void *arg)
{
	const struct sched_param param = {.sched_priority = 50};
	const struct timespec pause = {.tv_nsec = POLL_NS};
	struct h_observer *o = arg;

	(void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
	(void)prctl(PR_SET_TIMERSLACK, 1);
	while (!__atomic_load_n(&o->stop, __ATOMIC_ACQUIRE)) {
		observe(o);
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
	o->last_us = h_now_us();
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

double h_observer_gap_at(struct h_observer *o, double us)
{
	double gap = 0;

	(void)pthread_mutex_lock(&o->lock);
	for (unsigned i = 0; i < o->n_gaps && i < GAPS_MAX; i++)
		if (o->gap[i].from_us <= us && us <= o->gap[i].to_us)
			gap = o->gap[i].to_us - o->gap[i].from_us;
	(void)pthread_mutex_unlock(&o->lock);
	return gap;
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

/* Processes whose environment names our runtime directory, but for ourselves. */
unsigned h_count_processes(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned n = 0;

	reap_orphans();
	while (proc && (entry = readdir(proc))) {
		char path[300], environment[16384];
		int pid = atoi(entry->d_name);
		ssize_t len;

		if (pid <= 0 || pid == getpid())
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%d/environ", pid);

		autofd fd = open(path, O_RDONLY | O_CLOEXEC);

		len = fd < 0 ? -1 : read(fd, environment, sizeof(environment) - 1);
		if (len <= 0 || !memmem(environment, (size_t)len, runtime_dir, strlen(runtime_dir)))
			continue;
		h_note("process %d is left", pid);
		n++;
	}
	if (proc)
		(void)closedir(proc);
	return n;
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
