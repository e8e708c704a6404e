// SPDX-License-Identifier: GPL-2.0-or-later
/* Guests whose VMM is killed while they run, and that go on with a new one. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "kvm/cleanup.h"

#define WAIT_MS 30000
#define GONE	3 /* exit code: no such VM */
#define REFUSED 5
#define KEPT	6

static const char *const options[] = {"--memory", "16M", "--rescue", NULL};
static const char *const without[] = {"--memory", "16M", NULL};

static unsigned kills(void)
{
	const char *text = getenv("VMRELAY_KILLS");

	return text ? (unsigned)atoi(text) : 20;
}

static bool is(const struct h_vm *vm, const char *expected)
{
	char *state = h_vm_state(vm);
	bool ok = strcmp(state, expected) == 0;

	free(state);
	return ok;
}

static bool becomes(const struct h_vm *vm, const char *state)
{
	for (unsigned ms = 0; ms < WAIT_MS; ms += 2) {
		if (is(vm, state))
			return true;
		h_sleep_ms(2);
	}
	return check(false, "%s does not become %s", vm->name, state);
}

/* Its VMM is dead, and its guest does not run. */
static bool crash(const struct h_vm *vm)
{
	int pid = h_vm_pid(vm);

	return check(pid > 0 && kill(pid, SIGKILL) == 0, "there is no VMM to be killed") &&
	       becomes(vm, "crashed") && check(h_vm_comes_to_rest(vm, 20), "the guest runs on");
}

static bool goes_on(const struct h_vm *vm)
{
	return check(is(vm, "running"), "it does not run") &&
	       check(h_vm_is_alive(vm) && h_vm_ticks(vm), "the guest does not go on") &&
	       check(h_vm_errors(vm) == 0, "registers were not preserved");
}

static int rescue(const struct h_vm *vm, const char *program, json_t **ret)
{
	return program ? h_vmrelay(ret, "rescue", vm->name, "--json", "--vmm", program)
		       : h_vmrelay(ret, "rescue", vm->name, "--json");
}

/* From now on the environment tells targets to fail like this. */
static int rescue_with(const struct h_vm *vm, const char *fault)
{
	int exit_code;

	h_set_fault(fault);
	exit_code = rescue(vm, h_build("vmrelay-faulty"), NULL);
	h_set_fault(NULL);
	return exit_code;
}

static void test_kills(unsigned cpus)
{
	struct h_vm vm;
	unsigned n = 0;

	if (h_vm_start(&vm, NULL, cpus, NULL, options)) {
		for (; n < kills(); n++) {
			json_t *result = NULL;
			uint64_t before;

			/* At all points of the guest's life, exits included. */
			h_sleep_ms(n * 7 % 50);
			if (!crash(&vm))
				break;
			before = vm.slot[0].count;
			if (!check(rescue(&vm, n % 2 ? h_build("vmrelay-next") : NULL, &result) ==
					   0,
				   "rescue %u failed", n))
				break;
			(void)check(strcmp(json_string_value(json_object_get(result, "result")),
					   "rescued") == 0 &&
					    json_number_value(
						    json_object_get(result, "downtime_us")) > 0,
				    "what is told of it is wrong");
			json_decref(result);
			if (!goes_on(&vm) || !check(vm.slot[0].count > before, "it began anew"))
				break;
		}
		(void)check(h_vm_upgrade(&vm, NULL) > 0 && goes_on(&vm),
			    "it cannot be upgraded afterwards");
		/* The new VMM of an upgrade may crash as well. */
		(void)check(crash(&vm) && rescue(&vm, NULL, NULL) == 0 && goes_on(&vm),
			    "it was not rescued after an upgrade");
	}
	h_vm_stop(&vm);
	h_test("%u vCPUs: the VMM is killed %u times, and once after an upgrade", cpus, n);
}

/* A target that fails does not spend the guest. */
static void test_bad_targets(void)
{
	static const struct {
		const char *fault;
		int exit_code;
		bool is_confidential;
	} cells[] = {
		{"target-accepted:kill", REFUSED, false}, {"target-built:fail", REFUSED, false},
		{"target-ready:kill", REFUSED, false},	  {"target-load-vcpu:fail", KEPT, false},
		{"target-load-vm:kill", KEPT, false},	  {"target-loaded:kill", KEPT, false},
		{"target-owner:kill", KEPT, false},	  {"target-moved:kill", KEPT, true},
		{"target-moved:fail", KEPT, true},
	};
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 2, NULL, options) && crash(&vm)) {
		for (unsigned i = 0; i < ARRAY_SIZE(cells); i++) {
			if (cells[i].is_confidential && !h_confidential())
				continue;

			int r = rescue_with(&vm, cells[i].fault);

			(void)check(r == cells[i].exit_code && is(&vm, "crashed"),
				    "%s: exit code %d", cells[i].fault, r);
		}
		(void)check(rescue(&vm, h_build("vmrelay-protocol2"), NULL) == REFUSED &&
				    is(&vm, "crashed"),
			    "a VMM with another protocol was not refused");
		(void)check(h_vmrelay(NULL, "rescue", vm.name, "--check") == 0 &&
				    is(&vm, "crashed"),
			    "rescue --check failed");
		(void)check(rescue(&vm, NULL, NULL) == 0 && goes_on(&vm),
			    "the guest was not rescued in the end");
		(void)check(h_vm_upgrade(&vm, NULL) > 0 && goes_on(&vm),
			    "it cannot be upgraded afterwards");
	}
	h_vm_stop(&vm);
	h_test("targets that fail: the guest can be rescued by another");
}

static void test_paused(void)
{
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 1, NULL, options) && h_vmrelay(NULL, "pause", vm.name) == 0) {
		(void)check(crash(&vm) && rescue(&vm, NULL, NULL) == 0 && is(&vm, "paused"),
			    "the paused guest was not rescued");
		(void)check(h_vm_is_still(&vm, 50), "it runs");
		(void)check(h_vmrelay(NULL, "resume", vm.name) == 0 && goes_on(&vm),
			    "it cannot be resumed");
	}
	h_vm_stop(&vm);
	h_test("a paused guest is rescued paused");
}

static void test_halted(void)
{
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 2, "halt", options))
		for (unsigned i = 0; i < 3; i++)
			(void)check(crash(&vm) && rescue(&vm, NULL, NULL) == 0 && goes_on(&vm),
				    "the halted guest was not rescued");
	h_vm_stop(&vm);
	h_test("a guest whose vCPUs are halted is rescued");
}

/* The source of an upgrade dies before anything has happened to the guest. */
static void test_upgrade(void)
{
	struct h_process upgrade;
	struct h_vm vm;

	h_set_fault("source-hello:kill");
	if (h_vm_start(&vm, h_build("vmrelay-faulty"), 2, NULL, options)) {
		h_set_fault(NULL);
		h_start(&upgrade, h_program(), "upgrade", vm.name);
		(void)check(h_wait(&upgrade, WAIT_MS) == 1, "another exit code than 1");
		(void)check(becomes(&vm, "crashed") && rescue(&vm, NULL, NULL) == 0 && goes_on(&vm),
			    "the guest was not rescued");
	}
	h_set_fault(NULL);
	h_vm_stop(&vm);
	h_test("the source of an upgrade dies before the stop");
}

/* An upgrade that fails after the stop leaves a guest that is as safe as before. */
static void test_kept(void)
{
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 2, NULL, options)) {
		h_set_fault(h_confidential() ? "target-moved:kill" : "target-loaded:kill");
		(void)check(h_vmrelay(NULL, "upgrade", vm.name, "--vmm",
				      h_build("vmrelay-faulty")) == KEPT,
			    "the upgrade did not fail");
		h_set_fault(NULL);
		(void)check(goes_on(&vm) && crash(&vm) && rescue(&vm, NULL, NULL) == 0 &&
				    goes_on(&vm),
			    "the guest was not rescued");
	}
	h_vm_stop(&vm);
	h_test("after an upgrade that failed, the guest outlives its VMM as before");
}

/* The child of this name, or -1. */
static int find_child(int parent, const char *name)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int found = -1;

	while (proc && found < 0 && (entry = readdir(proc))) {
		char path[300], comm[32] = "";
		int ppid = 0;
		FILE *stat;

		(void)snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		stat = fopen(path, "re");
		if (!stat)
			continue;
		if (fscanf(stat, "%*d (%31[^)]) %*c %d", comm, &ppid) == 2 && ppid == parent &&
		    strcmp(comm, name) == 0)
			found = atoi(entry->d_name);
		(void)fclose(stat);
	}
	if (proc)
		(void)closedir(proc);
	return found;
}

/* What kills the guardian as well, as the OOM killer would, takes the guest along, and says so. */
static void test_lost(void)
{
	struct h_process run;
	struct h_vm vm = {.name = "lost", .cpus = 1};
	char output[8192] = "";

	if (h_confidential())
		h_start(&run, h_program(), "run", "--name", vm.name, "--kernel", h_guest("ticker"),
			"--memory", "16M", "--rescue",
			strcmp(h_confidential(), "sev") == 0 ? "--sev" : "--sev-es");
	else
		h_start(&run, h_program(), "run", "--name", vm.name, "--kernel", h_guest("ticker"),
			"--memory", "16M", "--rescue");
	(void)h_expect(&run, output, sizeof(output), "ticker: 1 cpus", WAIT_MS);
	if (becomes(&vm, "running")) {
		int pid = h_vm_pid(&vm), guardian = find_child(pid, "vmrelay-guard");

		if (check(guardian > 0, "there is no guardian")) {
			(void)kill(guardian, SIGKILL);
			(void)kill(pid, SIGKILL);
		}

		/* 7 if it came too late to be told. */
		int exit_code = h_wait(&run, WAIT_MS);

		(void)check(exit_code == 1 || exit_code == 7, "`run` ends with %d", exit_code);
		(void)check(h_processes_are(0) && rescue(&vm, NULL, NULL) == GONE,
			    "something is left");
	}
	h_test("guardian and VMM are killed: the guest is lost, and nothing is left");
}

static void test_refusals(void)
{
	json_t *result = NULL;
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		(void)check(rescue(&vm, NULL, &result) == 4, "a guest that runs was rescued");
		(void)h_error_has(result, "only a VM whose VMM crashed");
		json_decref(result);
		(void)crash(&vm);
		result = NULL;
		(void)check(h_vmrelay(&result, "upgrade", vm.name, "--json") == 4,
			    "a guest without VMM was upgraded");
		(void)h_error_has(result, "vmrelay rescue");
		json_decref(result);
		(void)check(h_vmrelay(NULL, "pause", vm.name) == 4, "it was paused");
		(void)check(h_vmrelay(NULL, "stop", "--force", vm.name) == 0 && h_processes_are(0),
			    "it was not let go");
	}
	h_vm_forget(&vm);
	h_test("only a guest whose VMM crashed is rescued, and it can be let go");

	if (h_vm_start(&vm, NULL, 1, NULL, without)) {
		(void)kill(h_vm_pid(&vm), SIGKILL);
		(void)check(h_processes_are(0) && rescue(&vm, NULL, NULL) == GONE,
			    "a guest without --rescue is there");
	}
	h_vm_forget(&vm);
	h_test("a guest that was not started with --rescue is gone with its VMM");

	result = NULL;
	(void)check(h_vmrelay(&result, "run", "--detach", "--json", "--name", "private", "--kernel",
			      h_guest("ticker"), "--memory", "16M", "--memory-backend", "private",
			      "--rescue") == 1,
		    "a guest with private memory was started with --rescue");
	(void)h_error_has(result, "would not outlive its VMM");
	json_decref(result);
	(void)check(h_processes_are(0), "a process is left");
	h_test("memory that no other process can map is refused at the start");
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	if (H_IS_TSAN)
		return h_skip_all("ThreadSanitizer cannot have two processes in one address space");
	h_init();
	test_kills(1);
	test_kills(2);
	test_kills(4);
	test_bad_targets();
	test_paused();
	test_halted();
	test_upgrade();
	test_kept();
	test_lost();
	test_refusals();
	return h_done();
}
