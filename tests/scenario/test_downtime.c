// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The downtime that an upgrade reports is the one that can be seen from outside.
 *
 * There is no limit in it for how long the downtime may be.  A machine that is too busy for the
 * comparison is known by the observer: it comes late itself, or it sees the guest stand still while
 * nobody upgrades it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"

#define UPGRADES     30
#define BATCHES	     6
#define TOLERANCE    0.2
#define TOLERANCE_US 50
#define QUIET_MS     1000
#define LOOKS	     20
#define COMPANY_MAX  4	 /* a look may catch the observer at work, or what just ended */
#define STALLS_MAX   0.1 /* of the time without upgrades: medians bear that */
#define DOUBT_MAX_US 400 /* the observer was not late */
#define MEASURED_MIN 20

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(values[0]), compare);
	return n ? values[n / 2] : NAN;
}

static double tolerance(double us)
{
	return us * TOLERANCE > TOLERANCE_US ? us * TOLERANCE : TOLERANCE_US;
}

/* Does anybody run beside the guest's vCPU and ourselves? */
static bool has_company(void)
{
	FILE *file = fopen("/proc/loadavg", "re");
	unsigned running = 0;

	if (file) {
		(void)!fscanf(file, "%*f %*f %*f %u", &running);
		(void)fclose(file);
	}
	return running > 2;
}

static bool machine_is_quiet(struct h_observer *observer)
{
	double before = h_observer_gaps_sum(observer), stalls;
	unsigned company = 0;

	for (unsigned i = 0; i < LOOKS; i++) {
		h_sleep_ms(QUIET_MS / LOOKS);
		company += has_company();
	}
	stalls = (h_observer_gaps_sum(observer) - before) / (QUIET_MS * 1e3);
	h_note("without upgrades the guest stands still for %.1f %% of the time, and others run at "
	       "%u of %d looks",
	       stalls * 100, company, LOOKS);
	return stalls <= STALLS_MAX && company <= COMPANY_MAX;
}

enum verdict { AGREES, DIFFERS, TOO_BUSY };

static enum verdict measure(const struct h_vm *vm, struct h_observer *observer)
{
	double reported[UPGRADES], observed[UPGRADES], difference[UPGRADES];
	bool is_quiet = machine_is_quiet(observer);
	unsigned n = 0;

	for (unsigned i = 0; i < UPGRADES; i++) {
		struct h_upgrade upgrade = {0};
		json_t *result = NULL;
		int status = h_vmrelay(&result, "upgrade", vm->name, "--json");
		bool ok = check(status == 0, "upgrade exited with %d", status) &&
			  check(h_upgrade_parse(result, &upgrade), "there is no downtime in it");

		json_decref(result);
		if (!ok)
			return DIFFERS;
		/* The source takes its VM down meanwhile. */
		h_sleep_ms(20);
		if (h_observer_doubt_at(observer, upgrade.middle_us) > DOUBT_MAX_US)
			continue;
		observed[n] = h_observer_gap_at(observer, upgrade.middle_us);
		reported[n] = upgrade.downtime_us;
		difference[n] = observed[n] - reported[n];
		n++;
	}
	is_quiet &= machine_is_quiet(observer);

	double typical = median(reported, n), differs = median(difference, n);

	h_note("%u of %d upgrades: reported %.0f us, observed %.0f us, difference %.0f us "
	       "(medians)",
	       n, UPGRADES, typical, median(observed, n), differs);
	if (n >= MEASURED_MIN && fabs(differs) <= tolerance(typical))
		return AGREES;
	return is_quiet && n >= MEASURED_MIN ? DIFFERS : TOO_BUSY;
}

int main(void)
{
	static const char *const options[] = {"--memory", "64M", NULL};
	enum verdict verdict = TOO_BUSY, last;
	struct h_vm vm;

	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();
	if (h_vm_start(&vm, NULL, 1, NULL, options)) {
		struct h_observer *observer = h_observer_start(&vm);

		/* A batch on a quiet machine counts, whatever the others say. */
		for (unsigned i = 0; i < BATCHES && verdict != AGREES; i++) {
			last = measure(&vm, observer);
			verdict = last == TOO_BUSY ? verdict : last;
		}
		(void)h_observer_stop(observer);
		(void)check(h_vm_is_alive(&vm), "the guest does not go on");
	}
	h_vm_stop(&vm);
	if (verdict == TOO_BUSY) {
		h_skip("reported and observed downtime", "this machine is too busy to observe it");
		return h_done();
	}
	(void)check(verdict == AGREES, "reported and observed downtime differ by more than 20 %%");
	h_test("reported and observed downtime agree");
	return h_done();
}
