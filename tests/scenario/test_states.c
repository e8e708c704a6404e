// SPDX-License-Identifier: GPL-2.0-or-later
/* Guests that are paused, halted, talking or about to end while they are upgraded. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

#define WAIT_MS	 30000
#define HOPS	 10
#define TYPED	 "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define SAY	 "ticker: say "
#define GOT	 "ticker: got "
#define ENDS	 24
#define TICK_MIN 60 /* earliest end, ticks of 10 ms: after all vCPUs are up */

static const char *const options[] = {"--memory", "16M", NULL};

static bool is(const struct h_vm *vm, const char *expected)
{
	char *state = h_vm_state(vm);
	bool ok = check(strcmp(state, expected) == 0, "the VM is %s, not %s", state, expected);

	free(state);
	return ok;
}

/* Paused. */

static void test_paused(void)
{
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 2, NULL, options)) {
		(void)check(h_vmrelay(NULL, "pause", vm.name) == 0, "pause failed");
		(void)check(h_vm_is_still(&vm, 50), "the paused guest runs");
		for (unsigned i = 0; i < 3; i++) {
			(void)check(h_vm_upgrade(&vm, i == 1 ? h_build("vmrelay-next") : NULL) > 0,
				    "upgrade %u of the paused VM failed", i);
			(void)is(&vm, "paused");
			(void)check(h_vm_is_still(&vm, 50), "the upgraded paused guest runs");
			(void)check(h_processes_are(1), "not one process");
		}
		(void)check(h_vmrelay(NULL, "rollback", vm.name) == 0, "rollback failed");
		(void)is(&vm, "paused");
		(void)check(h_vm_is_still(&vm, 50), "the rolled back paused guest runs");

		(void)check(h_vmrelay(NULL, "resume", vm.name) == 0, "resume failed");
		(void)is(&vm, "running");
		(void)check(h_vm_is_alive(&vm) && h_vm_ticks(&vm),
			    "the resumed guest does not run");
		(void)check(h_vm_upgrade(&vm, NULL) > 0 && h_vm_is_alive(&vm) && h_vm_ticks(&vm),
			    "it cannot be upgraded afterwards");
	}
	h_vm_stop(&vm);
	h_test("a paused guest stays paused, and can be resumed");
}

/* A fault must not let a paused guest run. */
static void test_paused_fault(const char *fault, int exit_code)
{
	struct h_vm vm;

	if (h_vm_start(&vm, h_build("vmrelay-faulty"), 2, NULL, options)) {
		int pid = h_vm_pid(&vm), status;

		(void)check(h_vmrelay(NULL, "pause", vm.name) == 0, "pause failed");
		h_set_fault(fault);
		status = h_vmrelay(NULL, "upgrade", vm.name, "--vmm", h_build("vmrelay-faulty"),
				   "--max-downtime", "300");
		h_set_fault(NULL);
		(void)check(status == exit_code, "exit code %d", status);
		(void)check(h_vm_pid(&vm) == pid, "another process owns the guest");
		(void)is(&vm, "paused");
		(void)check(h_vm_is_still(&vm, 50), "the paused guest runs");
		(void)check(h_vm_upgrade(&vm, NULL) > 0, "it cannot be upgraded afterwards");
		(void)check(h_vmrelay(NULL, "resume", vm.name) == 0 && h_vm_is_alive(&vm) &&
				    h_vm_ticks(&vm),
			    "the resumed guest does not run");
	}
	h_vm_stop(&vm);
	h_test("a paused guest stays paused after %s", fault);
}

/* Halted. */

static void test_halted(unsigned cpus)
{
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, cpus, "halt", options))
		for (unsigned i = 0; i < HOPS; i++)
			(void)check(h_vm_upgrade(&vm, NULL) > 0 && h_vm_ticks(&vm) &&
					    h_vm_is_alive(&vm),
				    "the guest has stopped at upgrade %u", i);
	h_vm_stop(&vm);
	h_test("%d upgrades of %u halted vCPUs", HOPS, cpus);
}

/* Talking. */

/* Numbers in order without a gap; how many. */
static unsigned check_said(const char *output)
{
	unsigned n = 0, last = 0;

	for (const char *at = output; (at = strstr(at, SAY)); n++) {
		unsigned number = (unsigned)strtoul(at + strlen(SAY), NULL, 10);

		/* The last line may not be whole. */
		if (!strchr(at, '\n'))
			break;
		if (!check(n == 0 || number == last + 1, "%u was said after %u", number, last))
			break;
		last = number;
		at += strlen(SAY);
	}
	return n;
}

/* Each byte once, in order. */
static void check_got(const char *output, const char *typed)
{
	const char *at = output;

	for (const char *c = typed; *c; c++) {
		at = strstr(at, GOT);
		if (!check(at, "'%c' did not arrive", *c))
			return;
		at += strlen(GOT);
		if (!check(*at == *c, "'%c' arrived instead of '%c'", *at, *c))
			return;
	}
	(void)check(!strstr(at, GOT), "more arrived than was typed");
}

static bool has_output(struct h_process *console, char *output, size_t size, const char *words)
{
	return check(h_expect(console, output, size, words, WAIT_MS), "there is no '%s' in: %s",
		     words, output);
}

static void type(struct h_process *console, const char **next, unsigned n)
{
	for (; n > 0 && **next; n--, (*next)++)
		(void)check(write(console->in, *next, 1) == 1, "typing failed: %m");
}

static void detach(struct h_process *console)
{
	int status;

	(void)kill(console->pid, SIGTERM);
	status = h_wait(console, WAIT_MS);
	(void)check(status == 0, "the console client exited with %d", status);
}

static void test_console(void)
{
	static char output[1 << 20];
	struct h_process console;
	const char *next = TYPED;
	struct h_vm vm;

	output[0] = '\0';
	if (h_vm_start(&vm, NULL, 2, "say", options)) {
		h_start(&console, h_program(), "console", vm.name);
		(void)has_output(&console, output, sizeof(output), SAY);
		for (unsigned i = 0; i < HOPS; i++) {
			struct h_process upgrade;
			int status;

			/* Before, in the middle of it, and after. */
			type(&console, &next, 2);
			h_start(&upgrade, h_program(), "upgrade", vm.name);
			type(&console, &next, 1);
			h_sleep_ms(i);
			type(&console, &next, 1);
			status = h_wait(&upgrade, WAIT_MS);
			(void)check(status == 0, "upgrade exited with %d", status);
			type(&console, &next, 1);
			(void)h_expect(&console, output, sizeof(output), NULL, 20);
		}
		type(&console, &next, (unsigned)strlen(TYPED));
		(void)has_output(&console, output, sizeof(output), GOT "Z\n");
		(void)has_output(&console, output, sizeof(output), SAY "15\n");
		(void)check(check_said(output) > HOPS, "little was said: %s", output);
		check_got(output, TYPED);
		(void)check(h_processes_are(2), "not one VMM and one console");
		(void)check(h_vm_is_alive(&vm), "the guest does not go on");
		detach(&console);
	}
	h_vm_stop(&vm);
	h_test("a console through %d upgrades", HOPS);
}

static void test_two_consoles(void)
{
	static char output[2][1 << 20];
	struct h_process console[2];
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 1, "say", options)) {
		for (unsigned i = 0; i < 2; i++) {
			output[i][0] = '\0';
			h_start(&console[i], h_program(), "console", vm.name);
			(void)has_output(&console[i], output[i], sizeof(output[i]), SAY);
		}
		for (unsigned hop = 0; hop < 3; hop++) {
			const char *next = &"abcdef"[2 * hop];

			/* What one types both see. */
			for (unsigned i = 0; i < 2; i++) {
				char got[32];

				(void)snprintf(got, sizeof(got), GOT "%c\n", *next);
				type(&console[i], &next, 1);
				(void)has_output(&console[0], output[0], sizeof(output[0]), got);
				(void)has_output(&console[1], output[1], sizeof(output[1]), got);
			}
			(void)h_vm_upgrade(&vm, NULL);
		}
		for (unsigned i = 0; i < 2; i++) {
			(void)h_expect(&console[i], output[i], sizeof(output[i]), NULL, 200);
			(void)check(check_said(output[i]) > 3, "little was said");
			check_got(output[i], "abcdef");
			detach(&console[i]);
		}
	}
	h_vm_stop(&vm);
	h_test("two consoles");
}

/* Ending. */

struct ending {
	const char *option, *end, *text;
	int exit_code; /* of run */
};
static const struct ending endings[] = {
	{"off", "poweroff", NULL, 0},
	{"reboot", "reboot", NULL, 0},
	{"crash", "crashed", "triple fault", 1},
};

/* Upgrade it until it is gone; how many were done. */
static unsigned upgrade_until_end(const char *name)
{
	double deadline = h_now_us() + WAIT_MS * 1e3;
	unsigned n = 0;
	int status = 0;

	while (status != 3 && check(h_now_us() < deadline, "the guest does not end")) {
		json_t *result = NULL;

		status = h_vmrelay(&result, "upgrade", name, "--json");
		/* It ends before, while or after it is asked, but it is never lost. */
		(void)check(status == 0 || (status >= 3 && status <= 6), "exit code %d: %s", status,
			    json_string_value(json_object_get(result, "error")));
		n += status == 0;
		json_decref(result);
	}
	return n;
}

/* A foreground `run` that lives through upgrades and tells how its guest ended. */
static unsigned run_until_end(const struct ending *ending, unsigned ticks, unsigned cpus)
{
	static char output[65536];
	struct h_process run;
	char append[32], cpus_text[16], name[32];
	unsigned n;
	int status;

	(void)snprintf(append, sizeof(append), "%s=%u", ending->option, ticks);
	(void)snprintf(cpus_text, sizeof(cpus_text), "%u", cpus);
	(void)snprintf(name, sizeof(name), "end-%u", ticks);
	h_start(&run, h_program(), "run", "--json", "--name", name, "--kernel", h_guest("ticker"),
		"--append", append, "--cpus", cpus_text, "--memory", "16M");
	for (unsigned ms = 0; ms < WAIT_MS && h_run(NULL, h_program(), "status", name) != 0; ms++)
		h_sleep_ms(1);
	n = upgrade_until_end(name);

	output[0] = '\0';
	(void)h_expect(&run, output, sizeof(output), NULL, WAIT_MS);
	status = h_wait(&run, WAIT_MS);
	(void)check(status == ending->exit_code, "run exited with %d", status);

	json_t *json = json_loads(output, 0, NULL);
	const char *end = json_string_value(json_object_get(json, "end"));
	const char *text = json_string_value(json_object_get(json, "text"));

	(void)check(end && strcmp(end, ending->end) == 0, "run says: %s", output);
	if (ending->text)
		(void)check(text && strstr(text, ending->text), "run says: %s", output);
	json_decref(json);
	(void)check(h_processes_are(0), "a process is left");
	(void)check(h_count_leftovers() == 0, "a file is left");
	return n;
}

static void test_endings(void)
{
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		unsigned n = run_until_end(&endings[i], 150, 2);

		(void)check(n > 0, "it ended before it was upgraded");
		h_test("run tells %s after %u upgrades", endings[i].end, n);
	}
}

/* At another moment of an upgrade each time. */
static void test_ends(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ENDS; i++)
		n += run_until_end(&endings[i % 3], TICK_MIN + i, 1 + i % 2);
	h_test("%d guests that end amid %u upgrades", ENDS, n);
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();
	test_paused();
	test_paused_fault("target-load-vcpu:fail", 6);
	test_paused_fault("target-owner:stop", 6);
	test_paused_fault("target-built:kill", 5);
	test_halted(1);
	test_halted(4);
	test_console();
	test_two_consoles();
	test_endings();
	test_ends();
	return h_done();
}
