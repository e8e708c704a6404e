// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sigbus.c - what is missing of a file reads as zeroes
 *
 * A client can truncate a file while the host has it mapped, or its file system can be full: then
 * an access of the host's raises SIGBUS.  The handler puts a page of zeroes where the file's page
 * is missing, and the access goes on.  The guest, or its VMM, loses what it has itself thrown away.
 *
 * Signal handlers belong to the process, and so does what this one looks into.  It takes no lock:
 * an area does not go away under an access that faults in it, and one that changes meanwhile is
 * some other, which is recognised by its begin being the same before and after.
 *
 * Each hole costs a mapping, of which a process has 65530 (vm.max_map_count): after HOLES_MAX of
 * them the rest of the area goes at once.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include "internal.h"

#define AREAS_MAX 16384
#define HOLES_MAX 64

static struct bus_area areas[AREAS_MAX];
static _Atomic size_t n_areas; /* that have ever been used */
static pthread_mutex_t areas_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction others;

static bool fill(struct bus_area *area, uintptr_t address)
{
	uintptr_t begin = atomic_load(&area->begin), end = atomic_load(&area->end);
	uintptr_t page = address & ~(area->page_size - 1);
	size_t len = area->page_size;

	if (address < begin || address >= end || atomic_load(&area->begin) != begin)
		return false;
	if (atomic_fetch_add(&area->n_holes, 1) >= HOLES_MAX)
		len = end - page;
	return mmap((void *)page, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static void pass_on(int number, siginfo_t *info, void *context)
{
	if (others.sa_flags & SA_SIGINFO)
		others.sa_sigaction(number, info, context);
	else if (others.sa_handler != SIG_DFL && others.sa_handler != SIG_IGN)
		others.sa_handler(number);
	else
		(void)signal(number, SIG_DFL); /* the access is made again, and is the last */
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	size_t n = atomic_load(&n_areas);
	int saved = errno;

	for (size_t i = 0; info->si_code > 0 && i < n; i++) {
		if (fill(&areas[i], (uintptr_t)info->si_addr)) {
			errno = saved;
			return;
		}
	}
	pass_on(number, info, context);
	errno = saved;
}

static void install(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	(void)sigaction(SIGBUS, &action, &others);
}

void sigbus_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, install);
}

struct bus_area *sigbus_watch(void *begin, size_t len, size_t page_size)
{
	struct bus_area *area = NULL;
	size_t i;

	pthread_mutex_lock(&areas_lock);
	for (i = 0; i < AREAS_MAX && !area; i++)
		if (!atomic_load(&areas[i].end))
			area = &areas[i];
	if (area) {
		area->page_size = page_size;
		atomic_store(&area->n_holes, 0);
		atomic_store(&area->begin, (uintptr_t)begin);
		atomic_store(&area->end, (uintptr_t)begin + len);
		if (i > atomic_load(&n_areas))
			atomic_store(&n_areas, i);
	}
	pthread_mutex_unlock(&areas_lock);
	return area;
}

void sigbus_forget(struct bus_area *area)
{
	atomic_store(&area->end, 0);
}
