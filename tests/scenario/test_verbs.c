// SPDX-License-Identifier: GPL-2.0-or-later
/* Exit codes and JSON of every verb, as vmrelay(1) and vmrelay-json(5) have them. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define WAIT_MS	   30000
#define CONCURRENT 10

static const char *const options[] = {"--memory", "16M", NULL};

/*
 * Are the members there with their types?  Pairs of type and name: s string, i integer, n number,
 * b boolean, a array, o object, S string or null.
 */
static bool has_members(const json_t *object, const char *const members[])
{
	bool ok = check(json_is_object(object), "there is no object");

	for (; ok && *members; members++) {
		json_t *value = json_object_get(object, *members + 1);
		char type = **members;
		bool fits = (type == 's' && json_is_string(value)) ||
			    (type == 'i' && json_is_integer(value)) ||
			    (type == 'n' && json_is_number(value)) ||
			    (type == 'b' && json_is_boolean(value)) ||
			    (type == 'a' && json_is_array(value)) ||
			    (type == 'o' && json_is_object(value)) ||
			    (type == 'S' && (json_is_string(value) || json_is_null(value)));

		ok = check(fits, "%s is not there, or not of type %c", *members + 1, type);
	}
	return ok;
}
#define HAS(object, ...) has_members(object, (const char *const[]){__VA_ARGS__, NULL})

static bool is(const json_t *object, const char *key, const char *expected)
{
	const char *value = json_string_value(json_object_get(object, key));

	return check(value && strcmp(value, expected) == 0, "%s is %s, not %s", key,
		     value ? value : "none", expected);
}

/* Run with --json; the exit code must be this one, and a failure must say it. */
static json_t *run(int expected, const char *const argv[])
{
	json_t *result = NULL;
	int status = h_run_list(&result, argv);

	(void)check(status == expected, "%s %s: exit code %d, not %d", argv[1],
		    argv[2] ? argv[2] : "", status, expected);
	if (status != 0) {
		(void)HAS(result, "serror", "iexit");
		(void)check(json_integer_value(json_object_get(result, "exit")) == status,
			    "the JSON has another exit code");
	}
	return result;
}
#define EXPECT(code, ...)      run(code, (const char *const[]){h_program(), __VA_ARGS__, "--json", NULL})
#define EXPECT_ONLY(code, ...) json_decref(EXPECT(code, __VA_ARGS__))

static void test_usage(void)
{
	char kernel[512];
	json_t *result;

	(void)snprintf(kernel, sizeof(kernel), "%s", h_guest("ticker"));
	EXPECT_ONLY(2, "run");
	EXPECT_ONLY(2, "run", "--name", "x");
	EXPECT_ONLY(2, "run", "--name", "../x", "--kernel", kernel);
	EXPECT_ONLY(2, "run", "--name", "x", "--kernel", kernel, "--cpus", "0");
	EXPECT_ONLY(2, "run", "--name", "x", "--kernel", kernel, "--cpus", "17");
	EXPECT_ONLY(2, "run", "--name", "x", "--kernel", kernel, "--memory", "1");
	EXPECT_ONLY(2, "run", "--name", "x", "--kernel", kernel, "--no-such-option");
	EXPECT_ONLY(2, "status");
	EXPECT_ONLY(2, "status", "a", "b");
	EXPECT_ONLY(2, "upgrade", "x", "--timeout", "soon");
	EXPECT_ONLY(2, "stop", "x", "--timeout", "99999999");
	(void)check(h_run(NULL, h_program()) == 2, "no verb at all");
	(void)check(h_vmrelay(NULL, "frobnicate") == 2, "no such verb");
	(void)check(h_vmrelay(NULL, "--help") == 0, "--help");
	(void)check(h_vmrelay(NULL, "help", "run") == 0, "help run");
	(void)check(h_vmrelay(NULL, "--version") == 0, "--version");
	result = EXPECT(0, "version");
	(void)HAS(result, "sversion", "oprotocol", "asections");
	(void)HAS(json_object_get(result, "protocol"), "imin", "imax");
	(void)HAS(json_array_get(json_object_get(result, "sections"), 0), "itype", "sname",
		  "iversion", "imin_version");
	json_decref(result);
	h_test("wrong arguments, help and version");
}

static void test_no_such_vm(void)
{
	static const char *const verbs[] = {"status", "console", "pause",   "resume",
					    "stop",   "upgrade", "rollback"};
	json_t *result;

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		EXPECT_ONLY(3, verbs[i], "ghost");
	result = EXPECT(0, "list");
	(void)check(json_array_size(json_object_get(result, "vms")) == 0, "the list is not empty");
	json_decref(result);
	result = EXPECT(1, "run", "--detach", "--name", "x", "--kernel", "/nonexistent");
	(void)h_error_has(result, "/nonexistent");
	json_decref(result);
	result = EXPECT(1, "run", "--detach", "--name", "x", "--kernel", "/bin/busybox/none");
	json_decref(result);
	(void)check(h_count_leftovers() == 0, "a file is left");
	h_test("VMs that do not exist");
}

/* With SEV: test_owner. */
static void test_host_without_sev(void)
{
	json_t *result;

	if (access("/dev/sev", F_OK) == 0) {
		h_skip("a host without SEV", "it has");
		return;
	}
	result = EXPECT(1, "host");
	(void)h_error_has(result, "this host has no SEV");
	json_decref(result);
	h_test("a host without SEV");
}

/* That it is what the secure processor measures: test_owner. */
static void test_measure(void)
{
	json_t *result, *list;
	unsigned n_cpus = 0;

	result = EXPECT(0, "measure", "--kernel", h_guest("ticker"), "--memory", "16M", "--cpus",
			"3", "--sev-es", "--c-bit", "51");
	list = json_object_get(result, "measured");
	(void)check(json_array_size(list) == 5, "%zu parts are measured", json_array_size(list));
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *part = json_array_get(list, i);

		n_cpus += HAS(part, "isize") && json_object_get(part, "cpu");
	}
	(void)check(n_cpus == 3, "%u vCPUs are measured", n_cpus);
	json_decref(result);
	EXPECT_ONLY(2, "measure", "--kernel", h_guest("ticker"), "--sev-es");
	EXPECT_ONLY(2, "measure", "--kernel", h_guest("ticker"), "--c-bit", "51");
	EXPECT_ONLY(2, "measure", "--kernel", h_guest("ticker"), "--sev", "--c-bit", "12");
	EXPECT_ONLY(1, "measure", "--kernel", "/nonexistent", "--sev", "--c-bit", "51");
	EXPECT_ONLY(1, "measure", "--kernel", h_guest("ticker"), "--sev", "--c-bit", "51", "--out",
		    "/nonexistent/x");
	h_test("measure");
}

static void test_status(void)
{
	struct h_vm vm;
	json_t *result, *memory;

	if (h_vm_start(&vm, NULL, 2, NULL, options)) {
		int pid = h_vm_pid(&vm), fd;
		volatile struct h_slot *slot;

		result = EXPECT(0, "status", vm.name);
		(void)HAS(result, "svm", "sstate", "ipid", "sversion", "Sprogram",
			  "Sprevious_program", "icpus", "imemory_bytes", "amemory", "Spty",
			  "sconfidential", "iupgrades", "nowner_seconds", "ooptions");
		(void)is(result, "vm", vm.name);
		(void)is(result, "state", "running");
		(void)check(json_integer_value(json_object_get(result, "cpus")) == 2, "cpus");
		(void)check(json_integer_value(json_object_get(result, "memory_bytes")) == 16 << 20,
			    "memory_bytes");
		(void)HAS(json_object_get(result, "options"), "sname", "skernel", "smemory_backend",
			  "sconsole", "slog_level", "imemory", "icpus", "bpit");

		/* The memory, as anybody can map it. */
		memory = json_array_get(json_object_get(result, "memory"), 0);
		if (HAS(memory, "igpa", "isize", "ioffset", "spath")) {
			fd = open(json_string_value(json_object_get(memory, "path")),
				  O_RDONLY | O_CLOEXEC);
			slot = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd,
				    json_integer_value(json_object_get(memory, "offset")) +
					    0x200000);
			if (check(slot != MAP_FAILED, "mapping the memory failed: %m")) {
				uint64_t count = slot->count;

				(void)check(memcmp((const void *)slot->magic, "TICKER01", 8) == 0,
					    "the ticker is not there");
				h_sleep_ms(100);
				(void)check(slot->count > count, "it does not count");
				(void)munmap((void *)slot, 4096);
			}
			(void)close(fd);
		}
		json_decref(result);

		result = EXPECT(0, "list");
		(void)check(json_array_size(json_object_get(result, "vms")) == 1, "one VM");
		(void)HAS(json_array_get(json_object_get(result, "vms"), 0), "svm", "sstate",
			  "ipid", "sversion");
		json_decref(result);

		result = EXPECT(0, "upgrade", vm.name);
		(void)HAS(result, "svm", "sresult", "osource", "otarget", "ndowntime_us",
			  "ntotal_us", "sconfidential", "aphases");
		(void)HAS(json_object_get(result, "source"), "ipid", "sversion");
		(void)HAS(json_object_get(result, "target"), "ipid", "sversion");
		(void)HAS(json_array_get(json_object_get(result, "phases"), 0), "sname",
			  "nstart_us", "nduration_us");
		(void)check(json_integer_value(json_object_get(json_object_get(result, "source"),
							       "pid")) == pid,
			    "the source is not the process that was");
		json_decref(result);
	}
	h_vm_stop(&vm);
	h_test("status, list and upgrade");
}

static void test_pause(void)
{
	struct h_vm vm;
	json_t *result;

	if (h_vm_start(&vm, NULL, 2, NULL, options)) {
		EXPECT_ONLY(4, "resume", vm.name);
		result = EXPECT(0, "pause", vm.name);
		(void)is(result, "vm", vm.name);
		(void)is(result, "state", "paused");
		json_decref(result);
		EXPECT_ONLY(4, "pause", vm.name);
		(void)check(h_vm_is_still(&vm, 50), "the paused guest runs");
		result = EXPECT(0, "resume", vm.name);
		(void)is(result, "state", "running");
		json_decref(result);
		(void)check(h_vm_is_alive(&vm), "the resumed guest does not run");
	}
	h_vm_stop(&vm);
	h_test("pause and resume");
}

static void test_stop(void)
{
	struct h_vm vm;
	json_t *result;

	/* The ticker does not care for its power button: forced after the timeout. */
	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		result = EXPECT(0, "stop", vm.name, "--timeout", "1");
		(void)is(result, "vm", vm.name);
		(void)is(result, "end", "stopped");
		json_decref(result);
		EXPECT_ONLY(3, "stop", vm.name);
		h_vm_forget(&vm);
	}
	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		EXPECT_ONLY(0, "pause", vm.name);
		result = EXPECT(0, "stop", "--force", vm.name);
		(void)is(result, "end", "stopped");
		json_decref(result);
		h_vm_forget(&vm);
	}
	(void)check(h_processes_are(0) && h_count_leftovers() == 0, "something is left");
	h_test("stop");
}

static void test_console(void)
{
	static char output[65536];
	struct h_process console;
	struct h_vm vm;
	json_t *result;

	/* With --json the console itself is on standard error. */
	for (unsigned detach = 0; detach < 2; detach++) {
		if (h_vm_start(&vm, NULL, 1, "say", options)) {
			output[0] = '\0';
			h_start(&console, h_program(), "console", vm.name, "--json");
			h_sleep_ms(100);
			if (detach)
				(void)kill(console.pid, SIGTERM);
			else
				h_vm_stop(&vm);
			(void)h_expect(&console, output, sizeof(output), NULL, WAIT_MS);
			(void)check(h_wait(&console, WAIT_MS) == 0, "console failed");
			result = json_loads(output, 0, NULL);
			(void)HAS(result, "svm", "bdetached");
			(void)check(json_is_true(json_object_get(result, "detached")) == detach,
				    "detached is wrong: %s", output);
			json_decref(result);
		}
		if (detach)
			h_vm_stop(&vm);
	}
	h_test("console");
}

static void test_name_taken(void)
{
	char kernel[512];
	struct h_vm vm;
	json_t *result;

	(void)snprintf(kernel, sizeof(kernel), "%s", h_guest("ticker"));
	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		EXPECT_ONLY(4, "run", "--detach", "--name", vm.name, "--kernel", kernel);
		(void)h_vm_upgrade(&vm, NULL);
		EXPECT_ONLY(4, "run", "--detach", "--name", vm.name, "--kernel", kernel);
		(void)check(h_vm_is_alive(&vm), "the guest does not go on");
	}
	h_vm_stop(&vm);
	/* Free again at once. */
	result = EXPECT(0, "run", "--detach", "--name", vm.name, "--kernel", kernel, "--memory",
			"16M");
	(void)HAS(result, "svm", "ipid");
	json_decref(result);
	EXPECT_ONLY(0, "stop", "--force", vm.name);
	h_test("a name that is taken");
}

static void test_killed(void)
{
	char kernel[512];
	struct h_process run_process;
	struct h_vm vm = {.name = "foreground", .cpus = 1};
	json_t *result;

	(void)snprintf(kernel, sizeof(kernel), "%s", h_guest("ticker"));
	for (unsigned upgraded = 0; upgraded < 2; upgraded++) {
		struct h_vm killed;

		if (!h_vm_start(&killed, NULL, 1, NULL, options))
			break;
		if (upgraded)
			(void)h_vm_upgrade(&killed, NULL);
		(void)kill(h_vm_pid(&killed), SIGKILL);
		(void)check(h_processes_are(0), "it has not died");
		EXPECT_ONLY(3, "status", killed.name);
		if (upgraded) {
			/* The name can be taken although nobody has tidied up. */
			EXPECT_ONLY(0, "run", "--detach", "--name", killed.name, "--kernel", kernel,
				    "--memory", "16M");
			EXPECT_ONLY(0, "status", killed.name);
			EXPECT_ONLY(0, "stop", "--force", killed.name);
		} else {
			result = EXPECT(0, "list");
			(void)check(json_array_size(json_object_get(result, "vms")) == 0,
				    "the dead VM is in the list");
			json_decref(result);
		}
		(void)check(h_count_leftovers() == 0, "files are left of it");
		h_vm_forget(&killed);
	}

	/* Its foreground `run` cannot know how the guest ended. */
	h_start(&run_process, h_program(), "run", "--name", vm.name, "--kernel", kernel, "--memory",
		"16M");
	for (unsigned ms = 0; ms < WAIT_MS && h_vm_pid(&vm) < 0; ms++)
		h_sleep_ms(1);
	(void)h_vm_upgrade(&vm, NULL);
	(void)kill(h_vm_pid(&vm), SIGKILL);
	int status = h_wait(&run_process, WAIT_MS);

	(void)check(status == 7, "run exited with %d", status);
	/* It sees the socket's end, which is not yet that of the process. */
	(void)check(h_processes_are(0), "it has not died");
	EXPECT_ONLY(0, "list");
	h_test("a VMM that was killed");
}

static void test_signals(void)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct h_vm vm;

		if (!h_vm_start(&vm, NULL, 1, NULL, options))
			break;
		if (i == 0)
			(void)h_vm_upgrade(&vm, NULL);
		(void)kill(h_vm_pid(&vm), signals[i]);
		(void)check(h_processes_are(0), "signal %d does not end the VMM", signals[i]);
		(void)check(h_count_leftovers() == 0, "signal %d: files are left", signals[i]);
		h_vm_forget(&vm);
	}
	h_test("signals end the VM");
}

static void test_two_vms(void)
{
	struct h_vm vm[2];
	bool ok = true;

	for (unsigned i = 0; i < 2; i++)
		ok &= h_vm_start(&vm[i], NULL, 1 + i, NULL, options);
	for (unsigned n = 0; ok && n < CONCURRENT; n++) {
		struct h_process upgrade[2];

		for (unsigned i = 0; i < 2; i++)
			h_start(&upgrade[i], h_program(), "upgrade", vm[i].name);
		for (unsigned i = 0; i < 2; i++) {
			int status = h_wait(&upgrade[i], WAIT_MS);

			ok &= check(status == 0, "upgrade exited with %d", status) &&
			      check(h_vm_is_alive(&vm[i]), "VM %u does not go on", i);
		}
		ok &= check(h_processes_are(2), "not two processes");
	}
	for (unsigned i = 0; i < 2; i++)
		h_vm_stop(&vm[i]);
	h_test("two VMs upgraded at once");
}

/* One is done, the other too or refused, and nobody thinks that the guest is lost. */
static void test_two_upgrades(void)
{
	unsigned n_done = 0, n_other = 0;
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 2, NULL, options))
		for (unsigned n = 0; n < CONCURRENT; n++) {
			struct h_process upgrade[3];
			unsigned done = 0;

			for (unsigned i = 0; i < 3; i++) {
				h_start(&upgrade[i], h_program(), "upgrade", vm.name);
				h_sleep_ms(n);
			}
			for (unsigned i = 0; i < 3; i++) {
				int status = h_wait(&upgrade[i], WAIT_MS);

				(void)check(status == 0 || status == 4 || status == 5,
					    "upgrade %u exited with %d", i, status);
				done += status == 0;
			}
			(void)check(done > 0, "none was done");
			(void)check(h_vm_is_alive(&vm) && h_processes_are(1),
				    "the guest does not go on in one process");
			n_done += done;
			n_other += 3 - done;
		}
	h_vm_stop(&vm);
	h_test("upgrades of one VM at once: %u were done, %u were not", n_done, n_other);
}

/* Whoever asks while it is upgraded gets an answer. */
static void test_status_meanwhile(void)
{
	struct h_vm vm;
	unsigned asked = 0;

	if (h_vm_start(&vm, NULL, 1, NULL, options))
		for (unsigned n = 0; n < 3 * CONCURRENT; n++) {
			struct h_process upgrade;
			char state;

			h_start(&upgrade, h_program(), "upgrade", vm.name);
			do {
				int status = h_vmrelay(NULL, "status", vm.name);

				(void)check(status == 0, "status exited with %d", status);
				asked++;
				state = h_process_state(upgrade.pid);
			} while (state != 0 && state != 'Z');
			(void)check(h_wait(&upgrade, WAIT_MS) == 0, "the upgrade failed");
		}
	h_vm_stop(&vm);
	h_test("status asked %u times during upgrades", asked);
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();
	test_usage();
	test_no_such_vm();
	test_host_without_sev();
	test_measure();
	test_status();
	test_pause();
	test_stop();
	test_console();
	test_name_taken();
	test_killed();
	test_signals();
	test_two_vms();
	test_two_upgrades();
	test_status_meanwhile();
	return h_done();
}
