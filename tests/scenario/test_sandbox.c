// SPDX-License-Identifier: GPL-2.0-or-later
/* What every process that has to do with a guest has given up, before and after an upgrade. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "kvm/cleanup.h"

#define PROCESSES_MAX 16
#define CAPABILITIES  (1ULL << 14) /* CAP_IPC_LOCK may stay */
#define CAP_SYS_ADMIN 21
#define CAP_SETPCAP   8
#define WAIT_MS	      10000

enum { SECCOMP_NONE = 0, SECCOMP_FILTER = 2 };

struct status {
	char name[32];
	unsigned long long permitted, effective, bounding;
	int no_new_privs, seccomp;
};

static bool read_status(const char *path, struct status *ret)
{
	FILE *file = fopen(path, "re");
	char line[256];

	*ret = (struct status){.seccomp = -1};
	while (file && fgets(line, sizeof(line), file)) {
		(void)sscanf(line, "Name: %31s", ret->name);
		(void)sscanf(line, "CapPrm: %llx", &ret->permitted);
		(void)sscanf(line, "CapEff: %llx", &ret->effective);
		(void)sscanf(line, "CapBnd: %llx", &ret->bounding);
		(void)sscanf(line, "NoNewPrivs: %d", &ret->no_new_privs);
		(void)sscanf(line, "Seccomp: %d", &ret->seccomp);
	}
	if (file)
		(void)fclose(file);
	return file && ret->seccomp >= 0;
}

static bool we_have(unsigned capability)
{
	struct status own;

	return read_status("/proc/self/status", &own) && (own.effective >> capability & 1);
}

static ino_t namespace_of(int pid, const char *name)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

static void check_capabilities(const struct status *s)
{
	/* It is reached by them: vmm/sandbox.c. */
	if (getenv("SOFTKVM_SOCKET"))
		return;
	(void)check((s->permitted & ~CAPABILITIES) == 0 && (s->effective & ~CAPABILITIES) == 0,
		    "%s has capabilities 0x%llx", s->name, s->permitted);
	(void)check(!we_have(CAP_SETPCAP) || (s->bounding & ~CAPABILITIES) == 0,
		    "%s could get capabilities 0x%llx", s->name, s->bounding);
}

/* Each thread of it; returns how many there are. */
static unsigned check_process(int pid, int seccomp)
{
	static const char *const namespaces[] = {"net", "ipc", "uts"};
	char path[64];
	unsigned n = 0;
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		char file[384];
		struct status s;

		(void)snprintf(file, sizeof(file), "%s/%s/status", path, entry->d_name);
		if (entry->d_name[0] == '.' || !read_status(file, &s))
			continue;
		n++;
		(void)check(s.seccomp == seccomp, "%s %s: seccomp is %d", s.name, entry->d_name,
			    s.seccomp);
		(void)check(s.no_new_privs == 1, "%s %s may get privileges", s.name, entry->d_name);
		check_capabilities(&s);
	}
	if (dir)
		(void)closedir(dir);
	for (unsigned i = 0; we_have(CAP_SYS_ADMIN) && i < ARRAY_SIZE(namespaces); i++)
		(void)check(namespace_of(pid, namespaces[i]) !=
				    namespace_of(getpid(), namespaces[i]),
			    "process %d has the %s namespace of everybody", pid, namespaces[i]);
	return n;
}

/* All of our VMs' processes, of which there are n. */
static void check_all(unsigned n, int seccomp)
{
	int pids[PROCESSES_MAX];
	bool settled = h_processes_are(n);
	unsigned found = h_list_processes(pids, PROCESSES_MAX);

	(void)check(settled, "there are %u processes instead of %u", found, n);
	for (unsigned i = 0; i < found && i < PROCESSES_MAX; i++)
		(void)check(check_process(pids[i], seccomp) > 0, "process %d is gone", pids[i]);
}

static void check_guest(const struct h_vm *vm)
{
	(void)check(h_vm_is_alive(vm) && h_vm_ticks(vm), "the guest does not run");
	(void)check(h_vm_errors(vm) == 0, "registers were not preserved");
}

static void test_upgrades(void)
{
	static const char *const options[] = {"--memory", "16M", NULL};
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 2, NULL, options)) {
		check_all(1, SECCOMP_FILTER);
		for (unsigned i = 0; i < 3; i++) {
			(void)check(h_vm_upgrade(&vm, NULL) > 0, "the upgrade failed");
			check_all(1, SECCOMP_FILTER);
			check_guest(&vm);
		}
		(void)check(h_vmrelay(NULL, "upgrade", vm.name, "--", "--console", "pty") == 0,
			    "the console cannot be changed");
		(void)check(h_vmrelay(NULL, "upgrade", "--check", vm.name) == 0, "--check failed");
		(void)check(h_vmrelay(NULL, "pause", vm.name) == 0, "pause failed");
		(void)check(h_vmrelay(NULL, "rollback", vm.name) == 0, "rollback failed");
		(void)check(h_vmrelay(NULL, "resume", vm.name) == 0, "resume failed");
		check_guest(&vm);
		h_vm_stop(&vm);
	}
	h_test("upgrades in the sandbox");
}

static void test_rescue(void)
{
	static const char *const options[] = {"--memory", "16M", "--rescue", NULL};
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		/* VMM, guardian, keeper. */
		check_all(3, SECCOMP_FILTER);
		(void)kill(h_vm_pid(&vm), SIGKILL);
		for (unsigned ms = 0; ms < WAIT_MS && h_vmrelay(NULL, "rescue", vm.name) != 0;
		     ms += 50)
			h_sleep_ms(50);
		check_all(3, SECCOMP_FILTER);
		check_guest(&vm);
		h_vm_stop(&vm);
	}
	h_test("a rescue in the sandbox");
}

static bool status_says(const struct h_vm *vm, const char *mode)
{
	json_t *status = NULL;
	bool ok = h_vmrelay(&status, "status", "--json", vm->name) == 0;
	const char *says =
		json_string_value(json_object_get(json_object_get(status, "options"), "seccomp"));

	ok = ok && says && strcmp(says, mode) == 0;
	json_decref(status);
	return ok;
}

/* A VMM does not decide how strict its successor is. */
static void test_modes(void)
{
	static const char *const options[] = {"--memory", "16M", "--seccomp", "off", NULL};
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		check_all(1, SECCOMP_NONE);
		(void)check(status_says(&vm, "off"), "the mode is not shown");
		(void)check(h_vm_upgrade(&vm, NULL) > 0, "the upgrade failed");
		check_all(1, SECCOMP_FILTER);
		(void)check(status_says(&vm, "kill"), "the mode was inherited");
		(void)check(h_vmrelay(NULL, "upgrade", vm.name, "--", "--seccomp=log") == 0,
			    "it cannot be asked for");
		check_all(1, SECCOMP_FILTER);
		(void)check(status_says(&vm, "log"), "the mode is not what was asked for");
		(void)check(h_vmrelay(NULL, "upgrade", vm.name, "--", "--seccomp", "maybe") == 5,
			    "nonsense was taken");
		check_guest(&vm);
		h_vm_stop(&vm);
	}
	h_test("--seccomp");
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("no usable /dev/kvm");
#ifdef VMM_INSTRUMENTED
	return h_skip_all("an instrumented build lets through what its instruments need");
#endif
	h_init();
	test_upgrades();
	test_rescue();
	test_modes();
	return h_done();
}
