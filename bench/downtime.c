/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Downtime and total time of an upgrade, as seen from outside and as reported.
 *
 *	downtime [--rounds N] [--cpus LIST] [--memory LIST]
 *
 * A row per number of vCPUs and memory size.  "observed" is the time in which no vCPU of the guest
 * counted, watched through the guest's memory; "reported" is what the upgrade says.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#define ROUNDS_MAX 10000

struct bench {
	unsigned rounds;
	char *cpus;
	char *memory;
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double quantile(double *sorted, unsigned n, double q)
{
	return n ? sorted[(unsigned)((n - 1) * q + 0.5)] : 0;
}

static void print_quantiles(double *values, unsigned n)
{
	qsort(values, n, sizeof(values[0]), compare);
	(void)printf(" %8.0f %8.0f %8.0f", quantile(values, n, 0.5), quantile(values, n, 0.9),
		     n ? values[0] : 0);
}

static void bench_one(const struct bench *bench, const char *cpus, const char *memory)
{
	static double observed[ROUNDS_MAX], reported[ROUNDS_MAX], total[ROUNDS_MAX],
		difference[ROUNDS_MAX];
	const char *const options[] = {"--memory", memory, NULL};
	struct h_vm vm;
	unsigned n = 0;

	if (!h_vm_start(&vm, NULL, (unsigned)atoi(cpus), NULL, options))
		return;

	struct h_observer *observer = h_observer_start(&vm);

	/* The first two are warm-up. */
	for (unsigned i = 0; i < bench->rounds + 2; i++) {
		json_t *result = NULL;
		struct h_upgrade upgrade = {0};

		if (h_vmrelay(&result, "upgrade", vm.name, "--json") != 0) {
			json_decref(result);
			break;
		}
		/* Long enough for the teardown of the old VM. */
		h_sleep_ms(20);
		if (h_upgrade_parse(result, &upgrade) && i >= 2) {
			observed[n] = h_observer_gap_at(observer, upgrade.middle_us);
			reported[n] = upgrade.downtime_us;
			total[n] = upgrade.total_us;
			difference[n] = observed[n] - reported[n];
			n++;
		}
		json_decref(result);
	}
	(void)h_observer_stop(observer);
	(void)check(h_vm_is_alive(&vm), "the guest does not go on");
	h_vm_stop(&vm);

	(void)printf("%5s %6s", cpus, memory);
	print_quantiles(observed, n);
	print_quantiles(reported, n);
	print_quantiles(total, n);
	print_quantiles(difference, n);
	(void)printf("  %u\n", n);
	(void)fflush(stdout);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct bench *bench = state->input;

	switch (key) {
	case 'n':
		bench->rounds = (unsigned)atoi(arg);
		if (bench->rounds < 1 || bench->rounds > ROUNDS_MAX)
			argp_error(state, "--rounds is 1 to %d", ROUNDS_MAX);
		return 0;
	case 'c':
		bench->cpus = arg;
		return 0;
	case 'm':
		bench->memory = arg;
		return 0;
	case 'p':
		exit(h_kvm_is_usable() ? 0 : 77);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"rounds", 'n', "N", 0, "Upgrades per row (default 50)", 0},
		{"cpus", 'c', "LIST", 0, "Numbers of vCPUs (default 1,2,4)", 0},
		{"memory", 'm', "LIST", 0, "Sizes of memory (default 64M)", 0},
		{"probe", 'p', NULL, 0, "Only find out whether /dev/kvm is usable", 0},
		{0},
	};
	static const struct argp argp = {.options = options, .parser = parse};
	struct bench bench = {.rounds = 50, .cpus = "1,2,4", .memory = "64M"};
	char *cpus_at, *memory_at;

	if (argp_parse(&argp, argc, argv, 0, NULL, &bench) != 0)
		return 2;
	if (!h_kvm_is_usable()) {
		(void)printf("no usable /dev/kvm here: nothing measured\n");
		return 77;
	}
	h_init();
	(void)printf("microseconds: median, p90, minimum\n"
		     "%5s %6s %26s %26s %26s %26s  rounds\n",
		     "vCPUs", "memory", "observed downtime", "reported downtime", "total",
		     "observed - reported");
	char *cpus_list = strdup(bench.cpus);

	for (char *cpus = strtok_r(cpus_list, ",", &cpus_at); cpus;
	     cpus = strtok_r(NULL, ",", &cpus_at)) {
		char *memory_list = strdup(bench.memory);

		for (char *memory = strtok_r(memory_list, ",", &memory_at); memory;
		     memory = strtok_r(NULL, ",", &memory_at))
			bench_one(&bench, cpus, memory);
		free(memory_list);
	}
	free(cpus_list);
	return h_done();
}
