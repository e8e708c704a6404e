// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the VMM of a confidential guest could read: everything in its own memory, before, during and
 * after an upgrade.  The same search finds a plain guest's memory and registers, or it would prove
 * nothing.  Needs a host that really encrypts memory, such as softkvm.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "kvm/cleanup.h"

#define WAIT_MS	     30000
#define CPUS	     2
#define STEP	     0x9e3779b97f4a7c15ULL /* as in guests/ticker/loop.S */
#define IMAGE	     0x100000		   /* as in guests/ticker/ticker.ld */
#define IMAGE_END    0x200000
#define LINE	     64
#define VARIED_BYTES 24
#define LINES_MAX    8192
#define CHUNK	     (1UL << 20)
#define PAGE	     4096
#define SHADOW	     (1UL << 36)

static const char *const options[] = {"--memory", "16M", NULL};

/* Lines of a plain guest's memory that are not found by chance, in order. */
static uint8_t lines[LINES_MAX][LINE];
static size_t n_lines;

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, LINE);
}

static bool is_varied(const uint8_t *line)
{
	bool seen[256] = {false};
	unsigned n = 0;

	for (unsigned i = 0; i < LINE; i++) {
		n += line[i] && !seen[line[i]];
		seen[line[i]] = true;
	}
	return n >= VARIED_BYTES;
}

/* The image of a guest that has run, which has code and what the code has written. */
static bool take_lines(const struct h_vm *vm)
{
	static uint8_t image[IMAGE_END - IMAGE];
	json_t *status = NULL;
	const char *path = NULL;

	(void)check(h_vmrelay(&status, "status", vm->name, "--json") == 0, "no status");
	path = json_string_value(
		json_object_get(json_array_get(json_object_get(status, "memory"), 0), "path"));

	autofd fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	json_decref(status);
	if (!check(fd >= 0 && pread(fd, image, sizeof(image), IMAGE) == (ssize_t)sizeof(image),
		   "the memory of the plain guest cannot be read"))
		return false;
	for (size_t at = 0; at < sizeof(image) && n_lines < LINES_MAX; at += LINE)
		if (is_varied(image + at))
			memcpy(lines[n_lines++], image + at, LINE);
	qsort(lines, n_lines, LINE, compare);
	return check(n_lines > 20, "%zu lines to look for", n_lines);
}

struct findings {
	size_t bytes, lines, registers;
};

/* The values that a guest has in its general registers in round N of its loop, or the next. */
#define FIRST_WORD 3
#define WORDS	   16

static bool is_register(const uint64_t *rounds, unsigned cpus, uint64_t value)
{
	for (unsigned cpu = 0; cpu < cpus; cpu++) {
		uint64_t base = rounds[cpu] * STEP;

		if (value - base - FIRST_WORD < WORDS - FIRST_WORD ||
		    value - base - STEP - FIRST_WORD < WORDS - FIRST_WORD)
			return true;
	}
	return false;
}

static void search_page(const uint8_t *page, const uint64_t *rounds, struct findings *f)
{
	for (unsigned i = 0; i < PAGE; i += LINE)
		f->lines += bsearch(page + i, lines, n_lines, LINE, compare) != NULL;
	for (unsigned i = 0; i < PAGE; i += sizeof(uint64_t)) {
		uint64_t value;

		memcpy(&value, page + i, sizeof(value));
		f->registers += is_register(rounds, CPUS, value);
	}
}

/* All memory of a process. */
static struct findings search(const struct h_vm *vm, int pid)
{
	static uint8_t chunk[CHUNK], zeros[PAGE];
	struct findings f = {0};
	uint64_t rounds[CPUS]; /* as they are now: a target may go on meanwhile */
	unsigned long begin, end;
	char path[64], line[512], r;
	FILE *maps;

	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		rounds[cpu] = vm->slot[cpu].rounds;
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", pid);

	autofd mem = open(path, O_RDONLY | O_CLOEXEC);

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %c", &begin, &end, &r) != 3 || r != 'r')
			continue;
		/* A sanitizer's shadow memory takes terabytes, in which there are no values. */
		if ((H_IS_ASAN || H_IS_TSAN) && end - begin > SHADOW)
			continue;
		for (unsigned long at = begin; at < end; at += CHUNK) {
			size_t len = end - at < CHUNK ? end - at : CHUNK;
			ssize_t n = pread(mem, chunk, len, (off_t)at);

			if (n <= 0)
				continue;
			f.bytes += (size_t)n;
			for (ssize_t i = 0; i + PAGE <= n; i += PAGE)
				if (memcmp(chunk + i, zeros, PAGE) != 0)
					search_page(chunk + i, rounds, &f);
		}
	}
	if (maps)
		(void)fclose(maps);
	return f;
}

/* Values of the first rounds are small numbers, as many are. */
static bool await_rounds(const struct h_vm *vm)
{
	bool are_done = false;

	for (unsigned ms = 0; ms < WAIT_MS && !are_done; ms++) {
		are_done = true;
		for (unsigned cpu = 0; cpu < vm->cpus; cpu++)
			are_done &= vm->slot[cpu].rounds > 1;
		h_sleep_ms(1);
	}
	return check(are_done, "the guest does not look at its registers");
}

static struct findings look(const struct h_vm *vm, int pid, const char *kind, const char *when)
{
	struct findings f = search(vm, pid);

	h_note("%s, %s: %zu KiB of process %d have %zu lines of memory, %zu values of registers",
	       kind, when, f.bytes >> 10, pid, f.lines, f.registers);
	(void)check(f.bytes > 0, "process %d could not be searched", pid);
	return f;
}

/* The source stopped with all state handed over, the target about to load it. */
static void test_kind(const char *kind, bool memory_is_seen, bool registers_are_seen)
{
	struct h_process upgrade;
	struct h_vm vm;
	bool is_plain = strcmp(kind, "plain") == 0;

	if (is_plain)
		(void)unsetenv("VMRELAY_CONFIDENTIAL");
	else
		(void)setenv("VMRELAY_CONFIDENTIAL", kind, 1);
	h_set_fault("source-save-vm:sleep=500,source-saved:stop");
	if (h_vm_start(&vm, h_build("vmrelay-faulty"), CPUS, NULL, options) && await_rounds(&vm) &&
	    (!is_plain || take_lines(&vm))) {
		int source = h_vm_pid(&vm), target;
		struct findings before = look(&vm, source, kind, "before"), during, after;

		h_set_fault("target-load-vm:sleep=3000");
		h_start(&upgrade, h_program(), "upgrade", vm.name, "--vmm",
			h_build("vmrelay-faulty"), "--max-downtime", "60000");
		h_set_fault(NULL);
		for (unsigned ms = 0; ms < WAIT_MS && h_process_state(source) != 'T'; ms++)
			h_sleep_ms(1);
		during = look(&vm, source, kind, "during");
		(void)kill(source, SIGCONT);
		(void)check(h_wait(&upgrade, WAIT_MS) == 0, "the upgrade failed");
		target = h_vm_pid(&vm);
		(void)check(target > 0 && target != source, "there is no new VMM");
		after = look(&vm, target, kind, "after");
		(void)check(memory_is_seen ? before.lines && during.lines && after.lines
					   : !before.lines && !during.lines && !after.lines,
			    "memory of the guest is%s seen", memory_is_seen ? " not" : "");
		(void)check(registers_are_seen
				    ? during.registers > 0
				    : !before.registers && !during.registers && !after.registers,
			    "registers of the guest are%s seen", registers_are_seen ? " not" : "");
		(void)check(h_vm_is_alive(&vm) && h_vm_ticks(&vm), "the guest does not go on");
	}
	h_set_fault(NULL);
	h_vm_stop(&vm);
	h_test("%s: memory is %sreadable, registers are %s", kind, memory_is_seen ? "" : "not ",
	       registers_are_seen ? "too" : "not");
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();
	test_kind("plain", true, true);
	if (access("/dev/sev", R_OK | W_OK) < 0) {
		h_skip("confidential guests", "there is no /dev/sev: this host has no SEV");
	} else if (access("/sys/module/vmrelay_ccp", F_OK) == 0) {
		h_skip("confidential guests", "memory is not encrypted in the rig");
	} else {
		test_kind("sev", false, true);
		test_kind("sev-es", false, false);
	}
	return h_done();
}
