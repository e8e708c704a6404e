// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Upgrades in which a system call or an allocation fails, in the source or in the target.
 *
 * Theory of operation.  An upgrade in which nothing fails tells how often the call is made, and
 * then each of these calls (or VMRELAY_CALLS of them, evenly) fails in an upgrade of its own.
 * Whatever it was: the command line's exit code must agree with where the guest is, the guest must
 * go on there with its registers and its timer, and it is never lost.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "failing.h"
#include "harness.h"
#include "kvm/cleanup.h"

#define CPUS 2

enum { DONE = 0, FAILED = 1, USAGE = 2, REFUSED = 5, KEPT = 6 };

struct row {
	enum failing_call call;
	int error;
};
static const struct row rows[] = {
	{FAILING_IOCTL, EIO},	   {FAILING_IOCTL, EINTR},   {FAILING_MMAP, ENOMEM},
	{FAILING_OPEN, EMFILE},	   {FAILING_MEMFD, EMFILE},  {FAILING_EVENTFD, EMFILE},
	{FAILING_SENDMSG, EINTR},  {FAILING_SENDMSG, EPIPE}, {FAILING_RECVMSG, EINTR},
	{FAILING_RECVMSG, ENOMEM}, {FAILING_THREAD, EAGAIN}, {FAILING_MALLOC, ENOMEM},
};
static const char *const calls[] = {
	[FAILING_IOCTL] = "ioctl",     [FAILING_MMAP] = "mmap",
	[FAILING_OPEN] = "open",       [FAILING_MEMFD] = "memfd_create",
	[FAILING_EVENTFD] = "eventfd", [FAILING_SENDMSG] = "sendmsg",
	[FAILING_RECVMSG] = "recvmsg", [FAILING_THREAD] = "pthread_create",
	[FAILING_MALLOC] = "malloc",
};
static const char *const options[] = {"--memory", "16M", NULL};

struct side {
	const char *name, *role; /* role: the process's first argument */
};
static const struct side source_side = {"source", "run"}, target_side = {"target", "receive"};

/* The VM, which is started anew when it was lost, or when its VMM is not the one to fail. */
static struct h_vm vm;
static int owner;
static struct failing *failing;
static int failing_fd = -1;

/* What is preloaded anyway: softkvm's library, or NULL. */
static char *others;

/* Processes that are started from now on have `failing` preloaded, or have not. */
static void preload(const char *role)
{
	char path[64], list[1024];

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), failing_fd);
	(void)snprintf(list, sizeof(list), "%s%s%s", getenv("VMRELAY_FAILING_LIBRARY"),
		       others ? ":" : "", others ? others : "");
	(void)setenv("VMRELAY_FAILING", path, 1);
	(void)setenv("VMRELAY_FAILING_ROLE", role, 1);
	(void)setenv("LD_PRELOAD", list, 1);
}

static void do_not_preload(void)
{
	if (others)
		(void)setenv("LD_PRELOAD", others, 1);
	else
		(void)unsetenv("LD_PRELOAD");
	(void)unsetenv("VMRELAY_FAILING");
}

/* A file of its own for each process that is to fail: its successors are to be left alone. */
static bool share_failing(void)
{
	if (failing)
		(void)munmap(failing, sizeof(*failing));
	close_fd(failing_fd);
	failing_fd = memfd_create("failing", MFD_CLOEXEC);
	if (failing_fd < 0 || ftruncate(failing_fd, sizeof(*failing)) < 0)
		return check(false, "no memfd: %m");
	failing = mmap(NULL, sizeof(*failing), PROT_READ | PROT_WRITE, MAP_SHARED, failing_fd, 0);
	return check(failing != MAP_FAILED, "no memory");
}

static void stop(void)
{
	if (vm.cpus)
		h_vm_stop(&vm);
	vm.cpus = 0;
}

static bool start(const struct side *side)
{
	bool ok;

	if (side == &source_side && share_failing())
		preload(side->role);
	ok = h_vm_start(&vm, NULL, CPUS, NULL, options);
	do_not_preload();
	owner = ok ? h_vm_pid(&vm) : -1;
	return ok;
}

static int upgrade(const struct side *side, json_t **ret)
{
	int status;

	if (side == &target_side)
		preload(side->role);
	status = h_vmrelay(ret, "upgrade", vm.name, "--json");
	do_not_preload();
	return status;
}

/* Without memory a JSON parser may take a request for a wrong one. */
static bool is_right(int status, const struct row *row, unsigned nth)
{
	return status == DONE || (nth && (status == FAILED || status == REFUSED || status == KEPT ||
					  (status == USAGE && row->call == FAILING_MALLOC)));
}

/* One upgrade; the exit code, or -1 if something is wrong. */
static int attempt(const struct side *side, const struct row *row, unsigned nth,
		   unsigned *ret_calls)
{
	json_t *result = NULL;
	int status, pid;
	bool ok;

	if (vm.cpus == 0 && !start(side))
		return -1;
	if (side == &target_side && !share_failing())
		return -1;
	failing->call = row->call;
	failing->error = row->error;
	failing->nth = nth;
	atomic_store(&failing->n_calls, 0);
	atomic_store(&failing->armed, 1);
	status = upgrade(side, &result);
	atomic_store(&failing->armed, 0);
	*ret_calls = atomic_load(&failing->n_calls);

	pid = status == DONE ? h_pid_in(result, "target") : owner;
	ok = check(atomic_load(&failing->is_loaded), "nothing could fail") &&
	     check(is_right(status, row, nth), "exit code %d", status) &&
	     check(h_processes_are(1), "not one process") &&
	     check(h_vm_pid(&vm) == pid, "%d runs the guest, not %d", h_vm_pid(&vm), pid) &&
	     check(h_vm_is_alive(&vm) && h_vm_ticks(&vm), "the guest does not go on, errors %lu",
		   h_vm_errors(&vm));
	owner = pid;
	if (!ok) {
		const char *error = json_string_value(json_object_get(result, "error"));

		h_note("when the %s's %s number %u (0x%x) failed: %s", side->name, calls[row->call],
		       nth, failing->request, error ? error : "no error");
	}
	json_decref(result);
	if (!ok) {
		h_kill_processes();
		h_vm_forget(&vm);
		vm.cpus = 0;
	} else if (side == &source_side && status == DONE) {
		stop();
	}
	return ok ? status : -1;
}

static void test_row(const struct side *side, const struct row *row, unsigned limit)
{
	unsigned n_calls = 0, n = 0, n_with[8] = {0}, ignored;

	if (attempt(side, row, 0, &n_calls) == DONE) {
		unsigned step = limit && n_calls > limit ? n_calls / limit : 1;

		for (unsigned nth = 1; nth <= n_calls; nth += step, n++) {
			int status = attempt(side, row, nth, &ignored);

			if (status >= 0)
				n_with[status]++;
		}
	}
	stop();
	h_test("%s: %u of %u calls of %s fail (%s): %u moved, %u refused, %u taken back",
	       side->name, n, n_calls, calls[row->call], strerrorname_np(row->error), n_with[DONE],
	       n_with[FAILED] + n_with[USAGE] + n_with[REFUSED], n_with[KEPT]);
}

/* VMRELAY_CALL: only that call, such as ioctl. */
int main(void)
{
	const char *text = getenv("VMRELAY_CALLS"), *only = getenv("VMRELAY_CALL");
	unsigned limit = text ? (unsigned)atoi(text) : 10;

	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	if (H_IS_TSAN)
		return h_skip_all(
			"ThreadSanitizer cannot have another library between it and libc");
	h_init();
	others = getenv("LD_PRELOAD") ? strdup(getenv("LD_PRELOAD")) : NULL;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!only || strcmp(calls[rows[i].call], only) == 0) {
			test_row(&target_side, &rows[i], limit);
			test_row(&source_side, &rows[i], limit);
		}
	free(others);
	return h_done();
}
