// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Source or target is killed, fails or freezes at every step of a relay.
 *
 * Theory of operation.  Both sides are the build that fails on demand, and only one of them is told
 * to: VMRELAY_FAULT is in the environment of `run` for the source, or of `upgrade`, which hands it
 * to the target.  The table says what the protocol promises for each step.  What decides is the
 * ownership word, and whether the source's state is complete:
 *
 *	before the stop				refused (5), or lost (7) with the source
 *	the state is not complete		kept (6), or lost (7) with the source
 *	the state is complete, the target has	kept (6) without the target, done (0) without the
 *	not entered				source
 *	the target has entered			done (0), or lost (7) with the target
 *
 * Where steps of several threads race, the table says which outcomes are right, and the exit code
 * must agree with where the guest is.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#define MAX_DOWNTIME "300"  /* ms, where it is to be exceeded */
#define TIMEOUT	     "1000" /* ms before the stop, likewise */
#define FREEZE_MS    500    /* longer than the downtime that is allowed */
#define WAIT_MS	     30000

enum side { SOURCE, TARGET };
enum {
	DONE = 1 << 0,
	REFUSED = 1 << 5,
	KEPT = 1 << 6,
	LOST = 1 << 7,
};

struct cell {
	enum side side;
	const char *fault;
	unsigned exits; /* that are right */
	/* A frozen process is let go on: the source always, the target if it owns the guest. */
	enum { NOT_FROZEN, FROZEN_IS_KILLED, FROZEN_GOES_ON, FROZEN_IS_OVERTAKEN } freeze;
	bool is_confidential; /* there is such a step for confidential guests only */
};

static const struct cell cells[] = {
	/* The guest dies with its source as long as its state is not complete, */
	{SOURCE, "source-hello:kill", LOST, NOT_FROZEN, false},
	{SOURCE, "source-offered:kill", LOST, NOT_FROZEN, false},
	{SOURCE, "source-ready:kill", LOST, NOT_FROZEN, false},
	{SOURCE, "source-kicked:kill", LOST, NOT_FROZEN, false},
	{SOURCE, "source-save-vcpu:kill", LOST, NOT_FROZEN, false},
	{SOURCE, "source-save-vm:kill", LOST, NOT_FROZEN, false},
	/* which source-saved does not tell: the vCPU threads may be slower, as here, */
	{SOURCE, "source-save-vcpu:sleep=1000,source-saved:kill", LOST, NOT_FROZEN, false},
	/* or faster: then the target goes on without it. */
	{SOURCE, "source-save-vm:sleep=500,source-saved:kill", DONE, NOT_FROZEN, false},
	{SOURCE, "source-saved:kill", DONE | LOST, NOT_FROZEN, false},

	{SOURCE, "source-hello:fail", REFUSED, NOT_FROZEN, false},
	{SOURCE, "source-offered:fail", REFUSED, NOT_FROZEN, false},
	{SOURCE, "source-ready:fail", REFUSED, NOT_FROZEN, false},
	{SOURCE, "source-save-vcpu:fail", KEPT, NOT_FROZEN, false},
	{SOURCE, "source-save-vm:fail", KEPT, NOT_FROZEN, false},

	/* A source that was frozen goes on where it was; its deadline may have passed. */
	{SOURCE, "source-hello:stop", DONE, FROZEN_GOES_ON, false},
	{SOURCE, "source-offered:stop", DONE, FROZEN_GOES_ON, false},
	{SOURCE, "source-ready:stop", DONE, FROZEN_GOES_ON, false},
	{SOURCE, "source-kicked:stop", DONE | KEPT, FROZEN_GOES_ON, false},
	{SOURCE, "source-save-vcpu:stop", DONE | KEPT, FROZEN_GOES_ON, false},
	{SOURCE, "source-save-vm:stop", DONE | KEPT, FROZEN_GOES_ON, false},
	{SOURCE, "source-save-vcpu:sleep=1000,source-saved:stop", DONE | KEPT, FROZEN_GOES_ON,
	 false},
	{SOURCE, "source-save-vm:sleep=500,source-saved:stop", DONE, FROZEN_IS_OVERTAKEN, false},

	/* Without its target the guest stays, until the target has entered it. */
	{TARGET, "target-accepted:kill", REFUSED, NOT_FROZEN, false},
	{TARGET, "target-built:kill", REFUSED, NOT_FROZEN, false},
	{TARGET, "target-ready:kill", REFUSED, NOT_FROZEN, false},
	{TARGET, "target-load-vm:kill", KEPT, NOT_FROZEN, false},
	{TARGET, "target-load-vcpu:kill", KEPT, NOT_FROZEN, false},
	{TARGET, "target-loaded:kill", KEPT, NOT_FROZEN, false},
	{TARGET, "target-owner:kill", KEPT, NOT_FROZEN, false},
	/* It may have said so before it dies. */
	{TARGET, "target-entered:kill", DONE | LOST, NOT_FROZEN, false},

	{TARGET, "target-accepted:fail", REFUSED, NOT_FROZEN, false},
	{TARGET, "target-built:fail", REFUSED, NOT_FROZEN, false},
	{TARGET, "target-ready:fail", REFUSED, NOT_FROZEN, false},
	{TARGET, "target-load-vm:fail", KEPT, NOT_FROZEN, false},
	{TARGET, "target-load-vcpu:fail", KEPT, NOT_FROZEN, false},
	{TARGET, "target-loaded:fail", KEPT, NOT_FROZEN, false},

	{TARGET, "target-accepted:stop", REFUSED, FROZEN_IS_KILLED, false},
	{TARGET, "target-built:stop", REFUSED, FROZEN_IS_KILLED, false},
	{TARGET, "target-ready:stop", REFUSED, FROZEN_IS_KILLED, false},
	{TARGET, "target-load-vm:stop", KEPT, FROZEN_IS_KILLED, false},
	{TARGET, "target-load-vcpu:stop", KEPT, FROZEN_IS_KILLED, false},
	{TARGET, "target-loaded:stop", KEPT, FROZEN_IS_KILLED, false},
	{TARGET, "target-owner:stop", KEPT, FROZEN_IS_KILLED, false},
	/* The kernel has moved the guest's context: the source gets it back from the target's VM.
	 */
	{TARGET, "target-moved:kill", KEPT, NOT_FROZEN, true},
	{TARGET, "target-moved:fail", KEPT, NOT_FROZEN, true},
	{TARGET, "target-moved:stop", KEPT, FROZEN_IS_KILLED, true},
	{TARGET, "target-entered:stop", DONE, FROZEN_GOES_ON, false},
};

/* What came of them, by exit code. */
#define EXITS 32
static unsigned n_cells, n_exits[EXITS];

static bool await_state(int pid, char state)
{
	for (unsigned ms = 0; ms < WAIT_MS; ms++) {
		if (h_process_state(pid) == state)
			return true;
		h_sleep_ms(1);
	}
	return check(false, "process %d has state %c, not %c", pid, h_process_state(pid), state);
}

/* The source freezes itself, and we let it go on. */
static void thaw_source(const struct cell *cell, const struct h_vm *vm, int source)
{
	if (!await_state(source, 'T'))
		return;
	/* Long enough for a deadline to pass, and for a target to take over. */
	h_sleep_ms(FREEZE_MS);
	if (cell->freeze == FROZEN_IS_OVERTAKEN)
		(void)check(h_vm_is_alive(vm), "nobody took over from the frozen source");
	else
		(void)check(h_vm_comes_to_rest(vm, 20),
			    "somebody runs the guest of the frozen source");
	(void)kill(source, SIGCONT);
}

static void thaw_target(const struct h_vm *vm, int target)
{
	if (!await_state(target, 'T'))
		return;
	(void)check(h_vm_comes_to_rest(vm, 20), "somebody runs the guest of the frozen target");
	(void)kill(target, SIGCONT);
}

/* Run the upgrade; its exit code, and its JSON. */
static int upgrade(const struct cell *cell, const struct h_vm *vm, int source, json_t **ret)
{
	static char output[65536];
	struct h_process process;
	bool is_late = cell->freeze != NOT_FROZEN && (cell->side == TARGET || cell->exits & KEPT);
	int status;

	if (cell->side == TARGET)
		h_set_fault(cell->fault);
	/* 0 is the default. */
	h_start(&process, h_program(), "upgrade", vm->name, "--json", "--vmm",
		h_build("vmrelay-faulty"), "--max-downtime", is_late ? MAX_DOWNTIME : "0",
		"--timeout",
		cell->freeze == FROZEN_IS_KILLED && cell->exits & REFUSED ? TIMEOUT : "0");
	h_set_fault(NULL);
	if (cell->side == SOURCE && cell->freeze != NOT_FROZEN)
		thaw_source(cell, vm, source);
	output[0] = '\0';
	(void)h_expect(&process, output, sizeof(output), NULL, WAIT_MS);
	status = h_wait(&process, WAIT_MS);
	*ret = json_loads(output, 0, NULL);
	if (status == 0 && cell->side == TARGET && cell->freeze == FROZEN_GOES_ON)
		thaw_target(vm, h_pid_in(*ret, "target"));
	return status;
}

static void check_lost(const struct h_vm *vm, int status)
{
	json_t *list = NULL;

	/* If it died after the answer, there was nobody who could tidy up. */
	(void)check(status == 0 || h_count_leftovers() == 0, "the upgrade leaves files");

	(void)check(h_processes_are(0), "a process is left of a lost guest");
	(void)check(h_vm_comes_to_rest(vm, 20), "a lost guest runs");
	(void)check(h_vmrelay(NULL, "status", vm->name) == 3, "the lost VM has a status");
	(void)check(h_vmrelay(&list, "list", "--json") == 0 &&
			    json_array_size(json_object_get(list, "vms")) == 0,
		    "the lost VM is in the list");
	json_decref(list);
	(void)check(h_count_leftovers() == 0, "files are left");
}

/* One process, `owner`, runs it, and can hand it on. */
static void check_alive(const struct h_vm *vm, int owner)
{
	char *state;
	int pid;

	(void)check(h_processes_are(1), "not one process");
	pid = h_vm_pid(vm);
	(void)check(pid == owner, "%d runs the guest, not %d", pid, owner);
	state = h_vm_state(vm);
	(void)check(strcmp(state, "running") == 0, "the VM is %s", state);
	free(state);
	(void)check(h_vm_is_alive(vm) && h_vm_ticks(vm), "the guest does not go on, errors %lu",
		    h_vm_errors(vm));
	(void)check(h_vm_upgrade(vm, NULL) > 0 && h_vm_is_alive(vm) && h_vm_ticks(vm),
		    "no upgrade is possible afterwards");
	(void)check(h_processes_are(1), "not one process after the next upgrade");
}

static void try_cell(const struct cell *cell, unsigned cpus)
{
	static const char *const options[] = {"--memory", "16M", NULL};
	struct h_vm vm;
	json_t *result;
	int status, source;
	bool started;

	if (cell->side == SOURCE)
		h_set_fault(cell->fault);
	started = h_vm_start(&vm, h_build("vmrelay-faulty"), cpus, NULL, options);
	h_set_fault(NULL);
	if (!started) {
		h_vm_stop(&vm);
		h_test("%s with %u vCPUs", cell->fault, cpus);
		return;
	}
	source = h_vm_pid(&vm);
	status = upgrade(cell, &vm, source, &result);

	(void)check(status >= 0 && status < 32 && (cell->exits & 1u << status),
		    "exit code %d is not right", status);
	if (status != 0) {
		const char *error = json_string_value(json_object_get(result, "error"));

		(void)check(error && error[0], "there is no error in the JSON");
		(void)check(json_integer_value(json_object_get(result, "exit")) == status,
			    "the JSON has another exit code");
	}
	if (status == 7 || strcmp(cell->fault, "target-entered:kill") == 0) {
		check_lost(&vm, status);
		h_vm_forget(&vm);
	} else {
		check_alive(&vm, status == 0 ? h_pid_in(result, "target") : source);
		h_vm_stop(&vm);
	}
	json_decref(result);
	if (!check(h_processes_are(0), "a process is left"))
		h_kill_processes();
	n_cells++;
	n_exits[status >= 0 && status < EXITS ? status : EXITS - 1]++;
	h_test("%s with %u vCPUs: exit code %d", cell->fault, cpus, status);
}

/* VMRELAY_CELL: only those whose fault begins so; VMRELAY_CPUS: only with that many vCPUs. */
int main(void)
{
	const char *only = getenv("VMRELAY_CELL"), *text = getenv("VMRELAY_CPUS");
	unsigned from = text ? (unsigned)atoi(text) : 1, to = text ? from : 2;

	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();
	for (unsigned cpus = from; cpus <= to; cpus++)
		for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
			if ((!only || strncmp(cells[i].fault, only, strlen(only)) == 0) &&
			    (!cells[i].is_confidential || h_confidential()))
				try_cell(&cells[i], cpus);
	h_note("%u cells: %u moved, %u refused, %u taken back, %u lost with the process that had "
	       "the guest",
	       n_cells, n_exits[0], n_exits[5], n_exits[6], n_exits[7]);
	return h_done();
}
