// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Upgrades of which somebody is killed, at random: the source, the target, or the command line.
 *
 * Theory of operation.  Half of the deaths come at any time of an upgrade, half of them just after
 * the guest is seen standing still, since that is the smallest part of it and the one in which the
 * guest changes its owner.  What the command line says must agree with where the guest then is, and
 * it may be lost only with a process that owned it: never with a target that the source says it has
 * taken the guest back from, and never with a source whose target says it has the guest.
 *
 * VMRELAY_RANDOM_KILLS: how many; VMRELAY_SEED: as the last line of an earlier run says.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

#define WAIT_MS	  30000
#define STILL_US  60   /* a guest that has not counted for so long may be stopped */
#define SPREAD_US 1000 /* kill it within this time from then */
#define CPUS_MAX  2

enum { DONE = 0, NO_SUCH_VM = 3, REFUSED = 5, KEPT = 6, LOST = 7 };
enum victim { SOURCE, TARGET, COMMAND, N_VICTIMS };

static const char *const victims[] = {"source", "target", "command"};
static const char *const options[] = {"--memory", "16M", NULL};

static struct {
	unsigned done, refused, kept, lost_with[N_VICTIMS];
	unsigned still; /* killed within SPREAD_US from when the guest was seen standing still */
} tally;
static double upgrade_us, stop_us; /* what one takes, and until the guest is stopped */

static bool is_right; /* the attempt's outcome */
#define demand(...) ((void)(is_right &= check(__VA_ARGS__)))

/* What somebody is killed in. */
struct attempt {
	enum victim victim;
	bool is_in_stop;
	double at_us;	    /* from its begin, or from when the guest is seen standing still */
	int source, target; /* target: 0 if not seen */
	int exit_code;	    /* of the command */
};

static unsigned random_below(unsigned n)
{
	return (unsigned)(drand48() * n);
}

/* The only child of the command line, or 0. */
static int find_target(int command)
{
	char path[64];
	int pid = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", command, command);
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file, "%d", &pid) != 1)
			pid = 0;
		(void)fclose(file);
	}
	return pid;
}

static uint64_t count(const struct h_vm *vm)
{
	uint64_t sum = 0;

	for (unsigned cpu = 0; cpu < vm->cpus; cpu++)
		sum += vm->slot[cpu].count;
	return sum;
}

/* Until the guest stands still for a moment at about the time of the stop, or it is late. */
static void await_stop(const struct h_vm *vm, double begin)
{
	double since, now;
	uint64_t last;

	while ((now = h_now_us()) < begin + 0.8 * stop_us)
		(void)usleep(50);
	since = now;
	last = count(vm);
	while (now - since < STILL_US && now - begin < 2 * upgrade_us) {
		uint64_t next = count(vm);

		now = h_now_us();
		if (next != last)
			since = now;
		last = next;
	}
	tally.still += now - since >= STILL_US;
}

static void spin_us(double us)
{
	double until = h_now_us() + us;

	while (h_now_us() < until)
		;
}

static void kill_amid(const struct h_vm *vm, struct attempt *attempt)
{
	static char output[65536];
	double begin = h_now_us();
	struct h_process command;
	int pid;

	h_start(&command, h_program(), "upgrade", vm->name, "--json");
	if (attempt->victim != SOURCE || attempt->is_in_stop)
		for (unsigned i = 0; i < WAIT_MS && attempt->target == 0; i++) {
			attempt->target = find_target(command.pid);
			if (attempt->target == 0 && h_process_state(command.pid) == 'Z')
				break;
			(void)usleep(100);
		}
	if (attempt->is_in_stop)
		await_stop(vm, begin);
	spin_us(attempt->at_us);
	pid = attempt->victim == SOURCE	  ? attempt->source
	      : attempt->victim == TARGET ? attempt->target
					  : command.pid;
	/* A frozen command line must not keep the guest from running, either. */
	if (attempt->victim == COMMAND && random_below(2) && kill(pid, SIGSTOP) == 0)
		demand(h_vm_is_alive(vm), "the guest waits for a frozen command line");
	if (pid > 0)
		(void)kill(pid, SIGKILL);
	output[0] = '\0';
	(void)h_expect(&command, output, sizeof(output), NULL, WAIT_MS);
	attempt->exit_code = h_wait(&command, WAIT_MS);

	json_t *result = json_loads(output, 0, NULL);

	if (h_pid_in(result, "target") > 0)
		attempt->target = h_pid_in(result, "target");
	json_decref(result);
}

static void check_lost(const struct h_vm *vm)
{
	demand(h_processes_are(0), "a process is left of a lost guest");
	demand(h_vm_comes_to_rest(vm, 5), "a lost guest runs");
	demand(h_vmrelay(NULL, "status", vm->name) == NO_SUCH_VM, "it has a status");
}

/* 0: anybody. */
static void check_alive(const struct h_vm *vm, int owner)
{
	int pid;

	demand(h_processes_are(1), "not one process");
	pid = h_vm_pid(vm);
	demand(pid > 0 && (owner == 0 || pid == owner), "%d runs the guest, not %d", pid, owner);
	demand(h_vm_is_alive(vm), "the guest does not go on, errors %lu", h_vm_errors(vm));
}

/* Is the guest where it is said to be?  False: it is lost, as it may be. */
static bool judge(const struct h_vm *vm, const struct attempt *attempt)
{
	switch (attempt->exit_code) {
	case DONE:
		/* It may have been killed just after the guest ran there. */
		if (attempt->victim == TARGET && h_process_ends(attempt->target, 100))
			break;
		tally.done++;
		check_alive(vm, attempt->target);
		return true;
	case REFUSED:
	case KEPT:
		demand(attempt->victim == TARGET, "exit code %d though the %s was killed",
		       attempt->exit_code, victims[attempt->victim]);
		*(attempt->exit_code == KEPT ? &tally.kept : &tally.refused) += 1;
		check_alive(vm, attempt->source);
		return true;
	case NO_SUCH_VM:
		demand(attempt->victim == SOURCE, "there is no VM any more");
		break;
	case LOST:
		demand(attempt->victim != COMMAND, "lost though nobody was killed who had it");
		break;
	default:
		/* The command was killed; nobody else was. */
		demand(attempt->victim == COMMAND && attempt->exit_code == 128 + SIGKILL,
		       "exit code %d", attempt->exit_code);
		tally.done++;
		check_alive(vm, 0);
		return true;
	}
	tally.lost_with[attempt->victim]++;
	check_lost(vm);
	return false;
}

static void measure(const struct h_vm *vm)
{
	const unsigned n = 5;

	for (unsigned i = 0; i < n; i++) {
		double begin = h_now_us();
		struct h_upgrade upgrade = {0};
		json_t *result = NULL;

		(void)check(h_vmrelay(&result, "upgrade", vm->name, "--json") == 0 &&
				    h_upgrade_parse(result, &upgrade),
			    "an upgrade failed");
		upgrade_us += (h_now_us() - begin) / n;
		stop_us += (upgrade.middle_us - begin) / n;
		json_decref(result);
	}
}

static void test_kills(unsigned n)
{
	struct h_vm vm = {.cpus = 0};

	for (unsigned i = 0; i < n; i++) {
		struct attempt attempt = {.victim = random_below(N_VICTIMS),
					  .is_in_stop = random_below(2)};

		if (vm.cpus == 0) {
			if (!h_vm_start(&vm, NULL, 1 + random_below(CPUS_MAX), NULL, options))
				break;
			if (stop_us == 0)
				measure(&vm);
		}
		attempt.at_us = drand48() * (attempt.is_in_stop ? SPREAD_US : 1.1 * upgrade_us);
		attempt.source = h_vm_pid(&vm);
		is_right = true;
		kill_amid(&vm, &attempt);
		if (!judge(&vm, &attempt)) {
			h_vm_forget(&vm);
			vm.cpus = 0;
		}
		if (!is_right) {
			h_note("kill %u: the %s, %.0f us after %s: exit code %d", i,
			       victims[attempt.victim], attempt.at_us,
			       attempt.is_in_stop ? "the guest stood still" : "the begin",
			       attempt.exit_code);
			h_kill_processes();
			if (vm.cpus)
				h_vm_forget(&vm);
			vm.cpus = 0;
		}
	}
	if (vm.cpus) {
		(void)check(h_vm_upgrade(&vm, NULL) > 0 && h_vm_ticks(&vm),
			    "no upgrade is possible afterwards");
		h_vm_stop(&vm);
	}
	h_note("%u moved, %u refused, %u taken back, lost with the source that had it %u, with the "
	       "target %u; %u deaths within %u us from when it was seen standing still",
	       tally.done, tally.refused, tally.kept, tally.lost_with[SOURCE],
	       tally.lost_with[TARGET], tally.still, SPREAD_US);
}

int main(void)
{
	const char *text = getenv("VMRELAY_RANDOM_KILLS"), *seed_text = getenv("VMRELAY_SEED");
	unsigned n = text ? (unsigned)atoi(text) : 100;
	long seed = seed_text ? atol(seed_text) : (long)h_now_us();

	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();
	srand48(seed);
	test_kills(n);
	h_note("VMRELAY_SEED=%ld", seed);
	h_test("%u random kills: nobody else's guest is lost, none runs twice", n);
	return h_done();
}
