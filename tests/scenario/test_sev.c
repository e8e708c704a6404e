// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is special about confidential guests; that they can be upgraded like others is shown by the
 * other scenarios, run with VMRELAY_CONFIDENTIAL.  Needs a host with SEV, such as the rig.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "kvm/cleanup.h"

#define WAIT_MS	  30000
#define ASIDS_MAX 32
#define ROUNDS	  50
#define CHAIN	  20
#define STEP	  0x9e3779b97f4a7c15ULL /* as in guests/ticker/loop.S */
#define AREA	  "/memfd:vmrelay-state (deleted)"

static const char *const options[] = {"--memory", "16M", NULL};

static void set_kind(const char *kind)
{
	(void)setenv("VMRELAY_CONFIDENTIAL", kind, 1);
}

/* The state area of a frozen source, whole. */
static uint8_t *read_area(int pid, size_t *ret_len)
{
	char dir_path[64], path[512], target[256];
	struct dirent *entry;
	uint8_t *area = NULL;
	DIR *dir;

	(void)snprintf(dir_path, sizeof(dir_path), "/proc/%d/fd", pid);
	dir = opendir(dir_path);
	while (dir && !area && (entry = readdir(dir))) {
		ssize_t n;

		(void)snprintf(path, sizeof(path), "%s/%s", dir_path, entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (strcmp(target, AREA) != 0)
			continue;

		autofd fd = open(path, O_RDONLY | O_CLOEXEC);
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0)
			continue;
		area = malloc((size_t)st.st_size);
		if (area && pread(fd, area, (size_t)st.st_size, 0) == st.st_size)
			*ret_len = (size_t)st.st_size;
	}
	if (dir)
		(void)closedir(dir);
	return area;
}

/* How many of the values that the guest keeps in general registers are in there? */
static unsigned count_values(const struct h_vm *vm, const uint8_t *area, size_t len)
{
	unsigned n = 0;

	for (unsigned cpu = 0; cpu < vm->cpus; cpu++)
		for (uint64_t round = vm->slot[cpu].rounds; round <= vm->slot[cpu].rounds + 1;
		     round++)
			for (uint64_t word = 3; word < 16; word++) {
				uint64_t value = round * STEP + word;

				n += memmem(area, len, &value, sizeof(value)) != NULL;
			}
	return n;
}

/* Look into the state area when everything is in it, and no vCPU runs. */
static void test_registers(const char *kind, bool are_seen)
{
	struct h_process upgrade;
	struct h_vm vm;

	set_kind(kind);
	h_set_fault("source-save-vm:sleep=500,source-saved:stop");
	if (h_vm_start(&vm, h_build("vmrelay-faulty"), 2, NULL, options)) {
		int pid = h_vm_pid(&vm);
		size_t len = 0;

		/* The target must not take over before the source goes on. */
		h_set_fault("target-load-vm:sleep=3000");
		h_start(&upgrade, h_program(), "upgrade", vm.name, "--vmm",
			h_build("vmrelay-faulty"), "--max-downtime", "30000");
		h_set_fault(NULL);
		for (unsigned ms = 0; ms < WAIT_MS && h_process_state(pid) != 'T'; ms++)
			h_sleep_ms(1);

		uint8_t *area = read_area(pid, &len);
		unsigned n = area ? count_values(&vm, area, len) : 0;

		(void)check(area && len > 0, "there is no state area");
		h_note("%s: %u of the guest's register values in a state area of %zu bytes", kind,
		       n, len);
		(void)check(are_seen ? n >= 2 * 10 : n == 0, "%u values were seen", n);
		free(area);
		(void)kill(pid, SIGCONT);
		(void)check(h_wait(&upgrade, WAIT_MS) == 0, "the upgrade failed");
		(void)check(h_vm_is_alive(&vm) && h_vm_ticks(&vm), "the guest does not go on");
	}
	h_set_fault(NULL);
	h_vm_stop(&vm);
	h_test("%s: the guest's registers are %sseen", kind, are_seen ? "" : "not ");
}

/* What `status` says of the launch; empty: nothing. */
static void read_measurement(const struct h_vm *vm, char ret[80])
{
	json_t *status = NULL;
	const char *text;

	(void)h_vmrelay(&status, "status", vm->name, "--json");
	text = json_string_value(json_object_get(status, "measurement"));
	(void)snprintf(ret, 80, "%s", text ? text : "");
	json_decref(status);
}

static void test_measurement(const char *kind)
{
	char before[80] = "", after[80] = "", other[80] = "";
	struct h_vm vm;

	set_kind(kind);
	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		read_measurement(&vm, before);
		(void)check(h_vm_upgrade(&vm, NULL) > 0, "the upgrade failed");
		read_measurement(&vm, after);
		(void)check(strlen(before) == 64 && strcmp(before, after) == 0,
			    "the measurement was '%s' and is '%s'", before, after);
	}
	h_vm_stop(&vm);
	/* The secure processor puts a nonce into it: the same guest is never measured the same. */
	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		read_measurement(&vm, other);
		(void)check(strlen(other) == 64 && strcmp(before, other) != 0,
			    "the measurement of two launches is '%s'", other);
	}
	h_vm_stop(&vm);
	h_test("%s: the measurement of the launch is known after an upgrade", kind);
}

/* How often a command of the secure processor succeeded, as the rig's stand-in for it counts. */
struct counts {
	unsigned long activate, deactivate, decommission;
};

static bool read_count(const char *name, unsigned long *ret)
{
	char path[80];
	FILE *file;
	int n = 0;

	(void)snprintf(path, sizeof(path), "/sys/module/vmrelay_ccp/parameters/n_%s", name);
	file = fopen(path, "re");
	if (file) {
		n = fscanf(file, "%lu", ret);
		(void)fclose(file);
	}
	return n == 1;
}

static bool read_counts(struct counts *ret)
{
	return read_count("activate", &ret->activate) &&
	       read_count("deactivate", &ret->deactivate) &&
	       read_count("decommission", &ret->decommission);
}

/* Since `from`: so many guests began and ended, each with one of each command. */
static bool check_counts(const struct counts *from, unsigned long begun, unsigned long ended)
{
	struct counts now;

	return check(read_counts(&now), "there are no counts") &&
	       check(now.activate - from->activate == begun &&
			     now.deactivate - from->deactivate == ended &&
			     now.decommission - from->decommission == ended,
		     "%lu began and %lu ended, but there were %lu of ACTIVATE, %lu of DEACTIVATE, "
		     "%lu of DECOMMISSION",
		     begun, ended, now.activate - from->activate, now.deactivate - from->deactivate,
		     now.decommission - from->decommission);
}

/* Through a chain of moves the guest is the same one to the secure processor, to its end. */
static void test_counts(const char *kind)
{
	char name[80];
	struct counts before;
	struct h_vm vm;
	unsigned i = 0;

	(void)snprintf(name, sizeof(name), "%s: what the secure processor is told in %d upgrades",
		       kind, CHAIN);
	/* Nobody is left who could add to them. */
	if (!check(h_processes_are(0), "a process is left") || !read_counts(&before)) {
		h_skip(name, "only the rig's counts");
		return;
	}
	set_kind(kind);
	if (h_vm_start(&vm, NULL, 2, NULL, options) && check_counts(&before, 1, 0))
		while (i < CHAIN && h_vm_upgrade(&vm, NULL) > 0 && check_counts(&before, 1, 0))
			i++;
	(void)check(i == CHAIN, "upgrade %u failed", i + 1);
	(void)check(h_vm_is_alive(&vm), "the guest does not go on");
	h_vm_stop(&vm);
	(void)check(h_processes_are(0), "a process is left");
	(void)check_counts(&before, 1, 1);
	h_test("%s", name);
}

/* One guest more, on the build that runs it by default; false: it was refused. */
static bool start_one(struct h_vm *vm, unsigned n, const char *interface, json_t **ret)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "asid-%u", n);
	(void)snprintf(vm->name, sizeof(vm->name), "%s", name);
	vm->cpus = 1;
	vm->slot = NULL;
	return h_vmrelay(ret, "run", "--detach", "--json", "--name", name, "--kernel",
			 h_guest("ticker"), "--memory", "8M", "--sev-interface", interface,
			 strcmp(h_confidential(), "sev") == 0 ? "--sev" : "--sev-es") == 0;
}

/* A move needs no ASID of its own, and none is lost over many lives. */
static void test_asids(const char *kind)
{
	struct h_vm vms[ASIDS_MAX + 1];
	json_t *result = NULL;
	struct counts before;
	bool has_counts = check(h_processes_are(0), "a process is left") && read_counts(&before);
	unsigned n = 0;

	set_kind(kind);
	while (n <= ASIDS_MAX && start_one(&vms[n], n, "auto", &result)) {
		json_decref(result);
		result = NULL;
		n++;
	}
	(void)check(n > 0 && n <= ASIDS_MAX, "%u guests were started", n);
	(void)h_error_has(result, "no free ASID");
	json_decref(result);
	if (n > 0 && h_vm_watch(&vms[0]))
		(void)check(h_vm_upgrade(&vms[0], NULL) > 0 && h_vm_is_alive(&vms[0]),
			    "no upgrade is possible without a free ASID");
	for (unsigned i = 0; i < n; i++)
		h_vm_stop(&vms[i]);
	(void)check(h_processes_are(0), "a process is left");
	(void)check(!has_counts || check_counts(&before, n, n), "of %u guests", n);

	for (unsigned i = 0; i < ROUNDS; i++) {
		result = NULL;
		if (!check(start_one(&vms[0], 0, "auto", &result) &&
				   h_vmrelay(NULL, "upgrade", vms[0].name) == 0,
			   "round %u failed", i))
			break;
		json_decref(result);
		h_vm_stop(&vms[0]);
	}
	(void)check(h_processes_are(0), "a process is left");
	(void)check(!has_counts || check_counts(&before, n + ROUNDS, n + ROUNDS), "of all lives");
	h_test("%s: %u ASIDs, an upgrade with none free, and %d lives", kind, n, ROUNDS);
}

/*
 * KVM's newer interface: a guest that was made with it is upgraded, or the upgrade is refused and
 * the guest does not notice, whichever KVM lets happen.
 */
static void test_interface(const char *kind)
{
	struct h_vm vm;
	json_t *result = NULL, *refusal = NULL;
	const char *what = "is not there";

	set_kind(kind);
	if (!start_one(&vm, 0, "init2", &result)) {
		(void)h_error_has(result, "no KVM_SEV_INIT2");
	} else if (h_vm_watch(&vm)) {
		int pid = h_vm_pid(&vm);
		int code = h_vmrelay(&refusal, "upgrade", vm.name, "--json");

		what = code == 0 ? "can be upgraded" : "cannot be upgraded";
		if (code != 0) {
			(void)check(code == 5, "exit code %d", code);
			(void)h_error_has(refusal, "after a move");
			(void)check(h_vm_pid(&vm) == pid, "another process runs the guest");
		}
		(void)check(code != 0 || strcmp(kind, "sev") == 0, "an SEV-ES guest was upgraded");
		(void)check(h_vm_is_alive(&vm) && h_vm_ticks(&vm), "the guest does not go on");
		(void)check(h_processes_are(1), "a process is left");
		json_decref(refusal);
		h_vm_stop(&vm);
	}
	json_decref(result);

	result = NULL;
	if (check(start_one(&vm, 1, "init", &result) && h_vm_watch(&vm) &&
			  h_vm_upgrade(&vm, NULL) > 0,
		  "a guest made with the older interface was not upgraded"))
		h_vm_stop(&vm);
	json_decref(result);
	h_test("%s: a guest made with KVM_SEV_INIT2 %s", kind, what);
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	if (access("/dev/sev", R_OK | W_OK) < 0)
		return h_skip_all("there is no /dev/sev: this host has no SEV (the rig has)");
	h_init();
	test_registers("sev", true);
	test_registers("sev-es", false);
	test_measurement("sev");
	test_measurement("sev-es");
	test_counts("sev");
	test_counts("sev-es");
	test_interface("sev");
	test_interface("sev-es");
	test_asids("sev");
	test_asids("sev-es");
	return h_done();
}
