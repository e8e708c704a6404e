// SPDX-License-Identifier: GPL-2.0-or-later
/* To a newer program, back to the older one, and to other flags. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define NEXT "0.2.0"

static const char *const options[] = {"--memory", "16M", NULL};

static char *get(const struct h_vm *vm, const char *key)
{
	json_t *status = NULL;
	char *value;

	(void)h_vmrelay(&status, "status", vm->name, "--json");
	value = json_dumps(json_object_get(status, key), JSON_ENCODE_ANY | JSON_SORT_KEYS);
	json_decref(status);
	return value ? value : strdup("none");
}

/* Does a member of `status` contain this text? */
static void expect(const struct h_vm *vm, const char *key, const char *text)
{
	char *value = get(vm, key);

	(void)check(strstr(value, text), "%s is %s, not %s", key, value, text);
	free(value);
}

/* The version of the program under test, as JSON. */
static const char *this_version(void)
{
	static char text[64];
	json_t *version = NULL;

	(void)h_vmrelay(&version, "version", "--json");
	(void)snprintf(text, sizeof(text), "\"%s\"",
		       json_string_value(json_object_get(version, "version")));
	json_decref(version);
	return text;
}

static int rollback(const struct h_vm *vm)
{
	int before = h_vm_pid(vm);
	int status = h_vmrelay(NULL, "rollback", vm->name, "--json");

	(void)check(h_vm_is_alive(vm), "the guest does not go on after a rollback");
	if (status == 0)
		(void)check(h_process_ends(before, 2000), "the source is left");
	(void)check(h_processes_are(1), "not one process");
	return status;
}

static void copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ssize_t n = 1;

	while (in >= 0 && out >= 0 && n > 0)
		n = sendfile(out, in, NULL, 1 << 20);
	(void)check(in >= 0 && out >= 0 && n == 0, "copying %s to %s failed: %m", from, to);
	(void)close(in);
	(void)close(out);
}

static void test_there_and_back(void)
{
	char next[512];
	struct h_vm vm;

	(void)snprintf(next, sizeof(next), "%s", h_build("vmrelay-next"));
	if (h_vm_start(&vm, NULL, 2, NULL, options)) {
		expect(&vm, "version", this_version());
		(void)h_vm_upgrade(&vm, next);
		expect(&vm, "version", NEXT);
		expect(&vm, "program", "vmrelay-next");
		expect(&vm, "upgrades", "1");
		/* The older one cannot read all that the newer one has, but all that matters. */
		(void)h_vm_upgrade(&vm, h_program());
		expect(&vm, "version", this_version());
		expect(&vm, "previous_program", "vmrelay-next");
		expect(&vm, "upgrades", "2");
		(void)check(h_vm_is_alive(&vm) && h_vm_ticks(&vm), "the guest does not go on");
	}
	h_vm_stop(&vm);
	h_test("to the next version and back by upgrade");
}

/*
 * Each of three builds after each: one without a section that the others have, and two with
 * versions 1 and 1 to 2 of it.  The contents of a version that was not agreed on would be refused.
 */
static void test_matrix(void)
{
	static const char *const names[] = {NULL, "vmrelay-next", "vmrelay-later"};
	static const char *const versions[] = {NULL, NEXT, "0.2.5"};
	/* Begins with build 0, and has every ordered pair once. */
	static const unsigned walk[] = {0, 1, 1, 2, 2, 0, 2, 1, 0};
	char paths[3][512];
	struct h_vm vm;

	for (unsigned i = 0; i < 3; i++)
		(void)snprintf(paths[i], sizeof(paths[i]), "%s",
			       names[i] ? h_build(names[i]) : h_program());
	if (h_vm_start(&vm, paths[0], 2, NULL, options)) {
		for (unsigned i = 0; i < sizeof(walk) / sizeof(walk[0]); i++) {
			unsigned to = walk[i];

			(void)h_vm_upgrade(&vm, paths[to]);
			expect(&vm, "version", versions[to] ? versions[to] : this_version());
			(void)check(h_vm_is_alive(&vm) && h_vm_ticks(&vm),
				    "hop %u: the guest does not go on", i);
			(void)check(h_vm_errors(&vm) == 0, "hop %u: registers were not preserved",
				    i);
		}
	}
	h_vm_stop(&vm);
	h_test("three builds, each after each");
}

static void test_rollback(void)
{
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 2, NULL, options)) {
		(void)check(rollback(&vm) == 4, "a VM that was never upgraded was rolled back");
		(void)h_vm_upgrade(&vm, h_build("vmrelay-next"));
		(void)check(rollback(&vm) == 0, "the rollback failed");
		expect(&vm, "version", this_version());
		(void)check(rollback(&vm) == 0, "the rollback of the rollback failed");
		expect(&vm, "version", NEXT);
		(void)check(rollback(&vm) == 0, "the third rollback failed");
		expect(&vm, "version", this_version());
		(void)check(h_vm_ticks(&vm), "no timer interrupts");
	}
	h_vm_stop(&vm);
	h_test("rollback, and rollback of a rollback");
}

/* The file of the program that ran before is deleted, or another one is in its place. */
static void test_rollback_without_file(bool replace)
{
	char dir[] = "/tmp/vmrelay-old-XXXXXX", old[64];
	struct h_vm vm;

	if (!check(mkdtemp(dir), "mkdtemp: %m"))
		return;
	(void)snprintf(old, sizeof(old), "%s/vmrelay", dir);
	copy(h_program(), old);
	if (h_vm_start(&vm, old, 1, NULL, options)) {
		(void)h_vm_upgrade(&vm, h_build("vmrelay-next"));
		(void)check(unlink(old) == 0, "unlink: %m");
		if (replace)
			copy(h_build("vmrelay-next"), old);
		(void)check(rollback(&vm) == 0, "the rollback failed");
		expect(&vm, "version", this_version());
		expect(&vm, "program", dir);
		/* And away from it again, and back to it once more. */
		(void)h_vm_upgrade(&vm, h_build("vmrelay-next"));
		(void)check(rollback(&vm) == 0, "the second rollback failed");
		expect(&vm, "version", this_version());
	}
	h_vm_stop(&vm);
	(void)unlink(old);
	(void)rmdir(dir);
	h_test("rollback to a program whose file was %s", replace ? "replaced" : "deleted");
}

static void test_flags(void)
{
	struct h_vm vm;
	char *pty;

	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		expect(&vm, "options", "\"log_level\": \"info\"");
		(void)check(h_vmrelay(NULL, "upgrade", vm.name, "--", "--log-level", "debug") == 0,
			    "--log-level debug failed");
		expect(&vm, "options", "\"log_level\": \"debug\"");
		expect(&vm, "pty", "null");

		(void)check(h_vmrelay(NULL, "upgrade", vm.name, "--", "--console", "pty") == 0,
			    "--console pty failed");
		expect(&vm, "options", "\"console\": \"pty\"");
		expect(&vm, "options", "\"log_level\": \"debug\"");
		pty = get(&vm, "pty");
		(void)check(strncmp(pty, "\"/dev/pts/", 10) == 0, "the pty is %s", pty);

		/* It stays the same one through upgrades. */
		(void)h_vm_upgrade(&vm, NULL);
		expect(&vm, "pty", pty);
		free(pty);
		(void)check(h_vmrelay(NULL, "upgrade", vm.name, "--", "--console", "socket") == 0,
			    "--console socket failed");
		expect(&vm, "pty", "null");
		(void)check(rollback(&vm) == 0, "the rollback failed");
		expect(&vm, "options", "\"log_level\": \"debug\"");
	}
	h_vm_stop(&vm);
	h_test("changed flags");
}

static void test_refused_flags(void)
{
	static const char *const flags[][2] = {
		{"--memory", "32M"},	      {"--cpus", "2"},		{"--name", "other"},
		{"--kernel", "/bin/true"},    {"--append", "halt"},	{"--pit", NULL},
		{"--memory-backend", "file"}, {"--no-such-flag", NULL}, {"--log-level", "loud"},
		{"unexpected", NULL}};
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		int pid = h_vm_pid(&vm);

		for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
			json_t *result = NULL;
			int status = h_vmrelay(&result, "upgrade", vm.name, "--json", "--",
					       flags[i][0], flags[i][1]);

			(void)check(status == 5, "%s: exit code %d", flags[i][0], status);
			(void)h_error_has(result, flags[i][0]);
			json_decref(result);
			(void)check(h_vm_pid(&vm) == pid && h_vm_is_alive(&vm),
				    "%s touched the guest", flags[i][0]);
		}
		(void)h_vm_upgrade(&vm, NULL);
	}
	h_vm_stop(&vm);
	h_test("flags that the guest would see, or that nobody knows");
}

static void test_check(void)
{
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 2, NULL, options)) {
		int pid = h_vm_pid(&vm);
		json_t *result = NULL;
		int status;

		for (unsigned i = 0; i < 3; i++) {
			const char *how;

			status =
				h_vmrelay(&result, "upgrade", vm.name, "--check", "--json", "--vmm",
					  h_build("vmrelay-next"), "--", "--log-level", "debug");
			how = json_string_value(json_object_get(result, "result"));
			(void)check(status == 0, "exit code %d", status);
			(void)check(how && strcmp(how, "checked") == 0, "the result is %s",
				    how ? how : "none");
			json_decref(result);
			(void)check(h_processes_are(1), "the checked target is left");
		}
		(void)check(h_vm_pid(&vm) == pid, "another process runs the guest");
		expect(&vm, "version", this_version());
		expect(&vm, "upgrades", "0");
		expect(&vm, "state", "running");
		expect(&vm, "previous_program", "null");
		expect(&vm, "options", "\"log_level\": \"info\"");
		(void)check(h_vm_is_alive(&vm) && h_vm_ticks(&vm), "the guest does not go on");

		/* What would be refused is refused by a check too. */
		status = h_vmrelay(NULL, "upgrade", vm.name, "--check", "--vmm", "/bin/true");
		(void)check(status == 5, "--check with /bin/true: exit code %d", status);
		(void)check(h_vmrelay(NULL, "rollback", vm.name, "--check") == 4,
			    "--check of a rollback to nowhere");
		(void)h_vm_upgrade(&vm, NULL);
		(void)check(h_vmrelay(NULL, "rollback", vm.name, "--check") == 0,
			    "--check of a rollback");
		expect(&vm, "upgrades", "1");
	}
	h_vm_stop(&vm);
	h_test("--check changes nothing");
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();
	test_there_and_back();
	test_matrix();
	test_rollback();
	test_rollback_without_file(false);
	test_rollback_without_file(true);
	test_flags();
	test_refused_flags();
	test_check();
	return h_done();
}
