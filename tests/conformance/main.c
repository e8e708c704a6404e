// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The runner: TAP by default, or with --results a line "case<TAB>result" each, which compare reads.
 */
#include "conformance.h"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define RESULT_MAX 400

static const struct test_case *const groups[] = {
	order_cases,  move_cases,   state_cases,  dead_cases, copy_cases, command_cases,
	region_cases, device_cases, thread_cases, type_cases, vcpu_cases,
};

int kvm_fd = -1, sev_fd = -1;
unsigned rounds = 10000;

/* Of the case that this process runs. */
static int result_fd = -1;
static size_t result_len;

static void put(const char *text)
{
	size_t len = strlen(text);

	if (result_len + len < RESULT_MAX && write(result_fd, text, len) == (ssize_t)len)
		result_len += len;
}

__attribute__((format(printf, 1, 0))) static void vnote(const char *format, va_list args)
{
	char text[RESULT_MAX];

	(void)vsnprintf(text, sizeof(text), format, args);
	if (result_len > 0)
		put(" ");
	put(text);
}

void note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vnote(format, args);
	va_end(args);
}

void note_result(long r)
{
	const char *name = r < 0 ? strerrorname_np(errno) : NULL;

	if (r >= 0)
		note("%ld", r);
	else if (name)
		note("%s", name);
	else
		note("errno %d", errno);
}

void note_same(bool same)
{
	note("%s", same ? "same" : "different");
}

void give_up(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vnote(format, args);
	va_end(args);
	_exit(1);
}

int must(long r, const char *what)
{
	if (r < 0)
		give_up("(%s: %s)", what, strerrorname_np(errno));
	return (int)r;
}

/* Debian's 6.1 says which one it is in its version; softkvm's host is no kernel of that kind. */
static bool has_mirror_lock(void)
{
	struct utsname name;
	const char *debian;
	unsigned sublevel;

	if (access("/sys/module/kvm_amd", F_OK) < 0 || uname(&name) < 0)
		return true;
	debian = strstr(name.version, "Debian 6.1.");
	return !debian || sscanf(debian, "Debian 6.1.%u", &sublevel) != 1 || sublevel >= 184;
}

static enum needs host_has(void)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[256];
	} cpuid = {.head.nent = 256};
	enum needs has = 0;
	int types = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES);

	has |= types > 0 && (types & 1 << TYPE_SEV) ? NEEDS_TYPES : NEEDS_NO_TYPES;
	has |= has_mirror_lock() ? NEEDS_MIRROR_LOCK : 0;
	if (sev_fd < 0 || ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0)
		return has;
	for (uint32_t i = 0; i < cpuid.head.nent; i++)
		if (cpuid.entry[i].function == 0x8000001f)
			has |= (cpuid.entry[i].eax & 1 << 1 ? NEEDS_SEV : 0) |
			       (cpuid.entry[i].eax & 1 << 3 ? NEEDS_ES : 0);
	return has;
}

static const char *missing(enum needs needs, enum needs has)
{
	if (needs & ~has & (NEEDS_SEV | NEEDS_ES))
		return needs & ~has & NEEDS_SEV ? "the host has no SEV" : "the host has no SEV-ES";
	if (needs & ~has & NEEDS_TYPES)
		return "the kernel has no VM types for SEV";
	if (needs & ~has & NEEDS_MIRROR_LOCK)
		return "the kernel has CVE-2026-74607, and this would corrupt its memory";
	return needs & ~has ? "the kernel has VM types" : NULL;
}

/* In a process of its own; result: what it noted, and how it ended if it did not end well. */
static void run(const struct test_case *test, unsigned seconds, char result[RESULT_MAX])
{
	size_t len = 0;
	ssize_t n;
	int ends[2], status;
	pid_t pid;

	result[0] = '\0';
	if (pipe2(ends, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		(void)snprintf(result, RESULT_MAX, "(fork: %m)");
		return;
	}
	if (pid == 0) {
		result_fd = ends[1];
		(void)setpgid(0, 0);
		(void)alarm(seconds);
		test->run();
		_exit(0);
	}
	(void)close(ends[1]);
	(void)waitpid(pid, &status, 0);
	/* What it may have started is in its process group. */
	(void)kill(-pid, SIGKILL);
	while (len < RESULT_MAX - 1 && (n = read(ends[0], result + len, RESULT_MAX - 1 - len)) > 0)
		len += (size_t)n;
	result[len] = '\0';
	(void)close(ends[0]);
	if (WIFSIGNALED(status))
		(void)snprintf(result + len, RESULT_MAX - len, "%s(%s)", len ? " " : "",
			       WTERMSIG(status) == SIGALRM ? "timeout"
							   : sigabbrev_np(WTERMSIG(status)));
}

static bool is_selected(const struct test_case *test, char **patterns)
{
	for (char **p = patterns; *p; p++)
		if (strstr(test->name, *p))
			return true;
	return !*patterns;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"results", no_argument, NULL, 'r'},
		{"rounds", required_argument, NULL, 'n'},
		{"timeout", required_argument, NULL, 't'},
		{0},
	};
	bool results = false;
	unsigned seconds = 60, n = 0, failed = 0;
	enum needs has;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'r')
			results = true;
		else if (c == 'n')
			rounds = (unsigned)atoi(optarg);
		else if (c == 't')
			seconds = (unsigned)atoi(optarg);
		else
			return 2;
	}
	kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	sev_fd = open("/dev/sev", O_RDONLY | O_CLOEXEC);
	if (kvm_fd < 0) {
		(void)printf("1..0 # SKIP opening /dev/kvm: %s\n", strerror(errno));
		return 0;
	}
	has = host_has();
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
		for (const struct test_case *test = groups[g]; test->name; test++) {
			const char *expected = has & NEEDS_TYPES && test->expected_main
						       ? test->expected_main
						       : test->expected;
			const char *lacks = missing(test->needs, has);
			char result[RESULT_MAX];

			if (!is_selected(test, argv + optind))
				continue;
			n++;
			if (lacks) {
				if (!results)
					(void)printf("ok %u - %s # SKIP %s\n", n, test->name,
						     lacks);
				continue;
			}
			run(test, seconds, result);
			if (results) {
				(void)printf("%s\t%s\n", test->name, result);
				continue;
			}
			(void)printf("%s %u - %s\n", strcmp(result, expected) ? "not ok" : "ok", n,
				     test->name);
			if (strcmp(result, expected)) {
				(void)printf("# expected: %s\n# got:      %s\n", expected, result);
				failed++;
			}
		}
	}
	if (!results)
		(void)printf("1..%u\n", n);
	return failed ? 1 : 0;
}
