// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Many upgrades in a row: the guest goes on, and nothing piles up.
 *
 *	VMRELAY_UPGRADES	how many (default 200)
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

#define HUGE_PAGES	      "/proc/sys/vm/nr_hugepages"
#define HUGE_PAGE	      (2u << 20)
#define BYTES_PER_KIB	      1024
#define MEMORY_BIG	      (5ULL << 30)
#define MEMORY_SHARED_MAX_KIB (1u << 20)

static unsigned count_fds(int pid)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		(void)closedir(dir);
	return n;
}

/* The number behind `name` in a file of /proc. */
static unsigned long read_field(const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	unsigned long value = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtoul(line + strlen(name), NULL, 10);
	if (file)
		(void)fclose(file);
	return value;
}

static bool has_stepped_back(const struct h_vm *vm, const struct h_slot *before)
{
	for (unsigned i = 0; i < vm->cpus; i++) {
		volatile const struct h_slot *now = &vm->slot[i];

		if (now->count < before[i].count || now->ticks < before[i].ticks ||
		    now->rounds < before[i].rounds || now->tsc < before[i].tsc) {
			h_note("vCPU %u: count %lu -> %lu, ticks %lu -> %lu, rounds %lu -> %lu, "
			       "tsc %lu -> %lu",
			       i, before[i].count, now->count, before[i].ticks, now->ticks,
			       before[i].rounds, now->rounds, before[i].tsc, now->tsc);
			return true;
		}
	}
	return false;
}

/* One upgrade; the new pid or -1. */
static int hop(const struct h_vm *vm)
{
	struct h_slot before[16];
	int pid;

	for (unsigned i = 0; i < vm->cpus; i++)
		before[i] = vm->slot[i];
	pid = h_vm_upgrade(vm, NULL);
	return pid > 0 && check(!has_stepped_back(vm, before), "a counter stepped back") &&
			       check(h_vm_is_alive(vm), "the guest does not count on, errors %lu",
				     h_vm_errors(vm)) &&
			       check(h_processes_are(1), "not one process")
		       ? pid
		       : -1;
}

static void chain(const char *what, unsigned cpus, unsigned hops, const char *const options[])
{
	struct h_vm vm;
	uint64_t ticks[16];
	unsigned fds = 0, done = 0;
	double begin = h_now_us();
	int pid = -1;

	if (h_vm_start(&vm, NULL, cpus, NULL, options)) {
		for (unsigned i = 0; i < cpus; i++)
			ticks[i] = vm.slot[i].ticks;
		while (done < hops && (pid = hop(&vm)) > 0)
			/* The first target has a predecessor's program open, unlike its source. */
			fds = done++ == 0 ? count_fds(pid) : fds;
		(void)check(done == hops, "only %u of %u upgrades", done, hops);
		(void)check(h_vm_ticks(&vm), "timer interrupts have stopped");
		for (unsigned i = 0; i < cpus; i++)
			(void)check(vm.slot[i].ticks > ticks[i], "vCPU %u has no ticks", i);
		if (pid > 0)
			(void)check(count_fds(pid) == fds,
				    "fds: %u after the first upgrade, %u now", fds, count_fds(pid));
		(void)check(h_vm_errors(&vm) == 0, "the guest has seen %lu wrong registers",
			    h_vm_errors(&vm));
	}
	h_vm_stop(&vm);
	(void)check(h_processes_are(0), "processes are left");
	(void)check(h_count_leftovers() == 0, "files are left");
	h_test("%u upgrades with %u vCPUs%s (%.0f s)", done, cpus, what,
	       (h_now_us() - begin) / 1e6);
}

static bool write_huge_pages(unsigned long n)
{
	char text[32];
	int fd = open(HUGE_PAGES, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	(void)snprintf(text, sizeof(text), "%lu", n);
	ok = write(fd, text, strlen(text)) > 0;
	(void)close(fd);
	return ok;
}

static void chain_hugetlb(unsigned hops)
{
	const char *const options[] = {"--memory", "32M", "--memory-backend", "hugetlb", NULL};
	const unsigned long needed = (32u << 20) / HUGE_PAGE;
	unsigned long before = read_field(HUGE_PAGES, "");
	bool changed = false;

	if (read_field("/proc/meminfo", "HugePages_Free:") < needed)
		changed = write_huge_pages(before + needed);
	if (read_field("/proc/meminfo", "HugePages_Free:") < needed)
		h_skip("upgrades with hugetlb memory",
		       "there are no free huge pages and none could be had");
	else
		chain(", hugetlb memory", 2, hops, options);
	if (changed)
		(void)check(write_huge_pages(before), "restoring the number of huge pages failed");
}

static void chain_big(unsigned hops)
{
	const char *const options[] = {"--memory", "5G", NULL};
	struct h_vm vm;

	if (h_vm_start(&vm, NULL, 2, NULL, options)) {
		json_t *status = NULL;
		char path[64];
		int pid = -1;

		for (unsigned i = 0; i < hops && (i == 0 || pid > 0); i++)
			pid = hop(&vm);
		(void)h_vmrelay(&status, "status", vm.name, "--json");

		json_t *memory = json_object_get(status, "memory");
		json_t *high = json_array_get(memory, json_array_size(memory) - 1);

		(void)check(json_integer_value(json_object_get(high, "gpa")) >= 4LL << 30,
			    "there is no memory above 4 GiB");
		(void)check(json_integer_value(json_object_get(status, "memory_bytes")) ==
				    (json_int_t)MEMORY_BIG,
			    "it has another size");
		json_decref(status);
		/* Sparse memory stays sparse. */
		(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
		(void)check(read_field(path, "RssShmem:") < MEMORY_SHARED_MAX_KIB,
			    "%lu KiB are in use", read_field(path, "RssShmem:"));
	}
	h_vm_stop(&vm);
	h_test("%u upgrades with memory above 4 GiB", hops);
}

int main(void)
{
	static const char *const plain[] = {"--memory", "64M", NULL};
	static const char *const file[] = {"--memory", "64M", "--memory-backend", "file:/dev/shm",
					   NULL};
	static const char *const pit[] = {"--memory", "64M", "--pit", NULL};
	const char *wanted = getenv("VMRELAY_UPGRADES");
	unsigned hops = wanted ? (unsigned)atoi(wanted) : 200;
	unsigned few = hops < 5 ? hops : 5;

	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();
	for (unsigned cpus = 1; cpus <= 4; cpus *= 2)
		chain("", cpus, hops, plain);
	if (h_confidential())
		return h_done();
	chain("", 16, few, plain);
	chain_hugetlb(few);
	chain(", memory in /dev/shm", 2, few, file);
	chain_big(few);
	chain(", a PIT", 2, few, pit);
	return h_done();
}
