// SPDX-License-Identifier: GPL-2.0-or-later
/* What cannot be upgraded is refused, and the guest does not notice. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define TIMEOUT "1000" /* ms, for a target that does not answer */

static const char *const small[] = {"--memory", "16M", NULL};

static char dir[] = "/tmp/vmrelay-refusals-XXXXXX";

/* An upgrade to `target` with exit code 5, `words` in its error, and nothing else. */
static void expect_refusal(const struct h_vm *vm, const char *target, const char *words)
{
	int before = h_vm_pid(vm), status;
	json_t *result = NULL;
	char *state;

	/* 0 is the default, which is long: only who waits for it wants a short one. */
	status = h_vmrelay(&result, "upgrade", vm->name, "--json", "--timeout",
			   strcmp(words, "in time") == 0 ? TIMEOUT : "0", "--vmm", target);
	(void)check(status == 5, "%s: exit code %d", target, status);
	(void)check(json_integer_value(json_object_get(result, "exit")) == 5,
		    "%s: the JSON has another exit code", target);
	(void)h_error_has(result, words);
	json_decref(result);

	state = h_vm_state(vm);
	(void)check(strcmp(state, "running") == 0, "%s: the VM is %s", target, state);
	free(state);
	(void)check(h_vm_pid(vm) == before, "%s: another process runs the guest", target);
	(void)check(h_vm_is_alive(vm) && h_vm_ticks(vm), "%s: the guest does not go on", target);
	(void)check(h_processes_are(1), "%s: a process is left", target);
}

/* `fault` is for the source. */
static bool start(struct h_vm *vm, const char *program, const char *fault,
		  const char *const options[])
{
	bool ok;

	h_set_fault(fault);
	ok = h_vm_start(vm, program, 2, NULL, options);
	h_set_fault(NULL);
	return ok;
}

static void finish(struct h_vm *vm, const char *next, const char *name)
{
	if (next) {
		(void)check(h_vm_upgrade(vm, next) > 0, "no upgrade is possible afterwards");
		(void)check(h_vm_is_alive(vm) && h_vm_ticks(vm), "the guest does not go on");
	}
	h_vm_stop(vm);
	h_test("%s", name);
}

static void test_programs(void)
{
	char strict[512], protocol2[512], faulty[512];
	struct h_vm vm;

	(void)snprintf(strict, sizeof(strict), "%s", h_build("vmrelay-strict"));
	(void)snprintf(protocol2, sizeof(protocol2), "%s", h_build("vmrelay-protocol2"));
	(void)snprintf(faulty, sizeof(faulty), "%s", h_build("vmrelay-faulty"));

	if (start(&vm, strict, NULL, small))
		expect_refusal(&vm, h_program(), "test state");
	finish(&vm, strict, "state that the target cannot read");

	if (start(&vm, NULL, NULL, small))
		expect_refusal(&vm, protocol2, "protocol");
	finish(&vm, h_program(), "a target with a newer protocol only");

	if (start(&vm, protocol2, NULL, small))
		expect_refusal(&vm, h_program(), "protocol");
	finish(&vm, protocol2, "a target with an older protocol only");

	if (start(&vm, faulty, "require-cap", small))
		expect_refusal(&vm, faulty, "lacks capability");
	finish(&vm, faulty, "a capability that the target lacks");

	if (start(&vm, faulty, "require-msr", small))
		expect_refusal(&vm, faulty, "MSR");
	finish(&vm, faulty, "an MSR that the target lacks");
}

static void test_private_memory(void)
{
	static const char *const options[] = {"--memory", "16M", "--memory-backend", "private",
					      NULL};
	char name[] = "private";
	json_t *status = NULL, *result = NULL;
	int code, pid;
	double seconds;

	/* Nobody outside can see this guest count: the harness cannot start it. */
	code = h_vmrelay(NULL, "run", "--detach", "--name", name, "--kernel", h_guest("ticker"),
			 options[0], options[1], options[2], options[3]);
	(void)check(code == 0, "run exited with %d", code);
	(void)h_vmrelay(&status, "status", name, "--json");
	pid = (int)json_integer_value(json_object_get(status, "pid"));
	(void)check(json_is_null(json_object_get(
			    json_array_get(json_object_get(status, "memory"), 0), "path")),
		    "private memory has a path");
	json_decref(status);
	code = h_vmrelay(&result, "upgrade", name, "--json");
	(void)check(code == 5, "exit code %d", code);
	(void)h_error_has(result, "memory");
	json_decref(result);
	(void)h_vmrelay(&status, "status", name, "--json");
	(void)check(
		(int)json_integer_value(json_object_get(status, "pid")) == pid &&
			strcmp(json_string_value(json_object_get(status, "state")), "running") == 0,
		"the VM is not as before");
	seconds = json_number_value(json_object_get(status, "owner_seconds"));
	(void)check(seconds > 0, "it has been owned for %f s", seconds);
	json_decref(status);
	(void)check(h_processes_are(1), "a process is left");
	(void)check(h_vmrelay(NULL, "stop", "--force", name) == 0, "stop failed");
	h_test("memory that cannot be shared");
}

static const char *script(const char *name, const char *text, mode_t mode)
{
	static char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)unlink(path);
	file = fopen(path, "we");
	if (!check(file, "cannot write %s: %m", path))
		return path;
	(void)fputs(text, file);
	(void)fclose(file);
	(void)chmod(path, mode);
	return path;
}

static void test_not_ours(void)
{
	static const char *const programs[] = {"/bin/true", "/bin/sleep", "/bin/cat"};
	struct h_vm vm;

	if (start(&vm, NULL, NULL, small)) {
		expect_refusal(&vm, "/nonexistent/vmrelay", "cannot open");
		expect_refusal(&vm, dir, "not an executable");
		expect_refusal(&vm, "/dev/null", "not an executable");
		expect_refusal(&vm, script("plain", "#!/bin/sh\n", 0644), "not an executable");
		expect_refusal(&vm, script("format", "no program\n", 0755), "cannot execute");
		expect_refusal(&vm, script("interpreter", "#!/nonexistent/sh\n", 0755),
			       "cannot execute");
		for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
			expect_refusal(&vm, programs[i], "not a vmrelay VMM");
		expect_refusal(&vm, script("ends", "#!/bin/sh\nexit 0\n", 0755),
			       "not a vmrelay VMM");
		expect_refusal(
			&vm,
			script("garbage", "#!/bin/sh\necho garbage >&3\nexec sleep 60\n", 0755),
			"no relay message");
		expect_refusal(&vm, script("deaf", "#!/bin/sh\nexec 3>&-\nexec sleep 60\n", 0755),
			       "not a vmrelay VMM");
		expect_refusal(&vm, script("hangs", "#!/bin/sh\nexec sleep 60\n", 0755), "in time");
	}
	finish(&vm, h_program(), "programs that are missing, or no VMM");
}

/* Which is what most hosts are. */
static void test_no_sev(void)
{
	static const char *const kinds[] = {"--sev", "--sev-es"};
	const char *name = "confidential guests on a host without SEV";
	json_t *result = NULL;

	if (access("/dev/sev", F_OK) == 0) {
		h_skip(name, "this host has /dev/sev");
		return;
	}
	for (size_t i = 0; i < 2; i++) {
		int status = h_vmrelay(&result, "run", "--detach", "--json", "--name", "no-sev",
				       "--kernel", h_guest("ticker"), kinds[i]);

		(void)check(status == 1, "run %s exited with %d", kinds[i], status);
		(void)h_error_has(result, "this host has no SEV: opening /dev/sev failed");
		(void)h_error_has(result, "rig/run --sev");
		json_decref(result);
	}
	(void)check(h_processes_are(0), "a process is left");
	h_test("%s", name);
}

/* The target ends, or hangs, in the middle. */
static void test_unreliable_target(void)
{
	static const struct {
		const char *fault, *words;
	} targets[] = {
		{"target-accepted:stop", "in time"},  {"target-built:stop", "in time"},
		{"target-ready:stop", "in time"},     {"target-built:kill", "before it was ready"},
		{"target-built:fail", "target says"},
	};
	struct h_vm vm;

	if (start(&vm, NULL, NULL, small))
		for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
			h_set_fault(targets[i].fault);
			expect_refusal(&vm, h_build("vmrelay-faulty"), targets[i].words);
			h_set_fault(NULL);
		}
	finish(&vm, h_program(), "targets that hang, die or give up");
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	test_programs();
	test_private_memory();
	test_not_ours();
	test_unreliable_target();
	test_no_sev();

	static const char *const files[] = {"plain",   "format", "interpreter", "ends",
					    "garbage", "deaf",	 "hangs"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[128];

		(void)snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		(void)unlink(path);
	}
	(void)rmdir(dir);
	return h_done();
}
