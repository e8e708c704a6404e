/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stock Linux guest at work is upgraded again and again, and must not notice.
 *
 *	linux [--upgrades N] [--sev] [--show] KERNEL INITRD
 *
 * The guest runs guests/workload, which verifies memory, clocks and vector registers all the time
 *and answers on its console; the connection to the console is made once and stays.  --show tells a
 * person what happens instead of printing TAP only.  It runs wherever /dev/kvm can run Linux: in
 *the rig, or on the machine itself.
 *
 * With --sev the guest is encrypted, and has to say that it knows.  Only the rig will do then: what
 * is compared with the guest's clock is read from its private memory, which is not encrypted there.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "kvm/cleanup.h"

#define BOOT_TIMEOUT_MS	  120000
#define ANSWER_TIMEOUT_MS 60000
#define CHECKS		  6
#define SCHEDULING_NS	  20e6
#define CLOCK_MS	  1000

static struct {
	unsigned upgrades;
	bool sev, show;
	const char *kernel, *initrd;
} opt = {.upgrades = 20};

/* The console: one connection for the whole run. */

static struct {
	int fd;
	char buf[65536];
	size_t len;
} console = {.fd = -1};

static void show(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void show(const char *format, ...)
{
	va_list ap;

	if (!opt.show)
		return;
	va_start(ap, format);
	(void)vprintf(format, ap);
	va_end(ap);
	(void)printf("\n");
	(void)fflush(stdout);
}

static bool console_connect(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/console.sock",
		       getenv("VMRELAY_RUNTIME_DIR"), name);
	console.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return console.fd >= 0 &&
	       connect(console.fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static void type(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void type(const char *format, ...)
{
	char line[200];
	va_list ap;

	va_start(ap, format);

	int len = vsnprintf(line, sizeof(line), format, ap);

	va_end(ap);
	for (int at = 0; at < len;) {
		ssize_t n = write(console.fd, line + at, (size_t)(len - at));

		if (n < 0 && errno != EINTR)
			return;
		at += n > 0 ? (int)n : 0;
	}
}

/* The next line of the guest, without its end; NULL after the timeout or at the end. */
static char *read_line(unsigned timeout_ms)
{
	static char line[sizeof(console.buf)];
	double deadline = h_now_us() + timeout_ms * 1e3;

	for (;;) {
		char *end = memchr(console.buf, '\n', console.len);
		struct pollfd p = {.fd = console.fd, .events = POLLIN};
		ssize_t n;

		if (end) {
			size_t len = (size_t)(end - console.buf);

			memcpy(line, console.buf, len);
			line[len] = '\0';
			if (len > 0 && line[len - 1] == '\r')
				line[len - 1] = '\0';
			console.len -= len + 1;
			memmove(console.buf, end + 1, console.len);
			return line;
		}
		if (h_now_us() > deadline || console.len == sizeof(console.buf))
			return NULL;
		if (poll(&p, 1, 100) <= 0)
			continue;
		n = read(console.fd, console.buf + console.len, sizeof(console.buf) - console.len);
		if (n <= 0)
			return NULL;
		console.len += (size_t)n;
	}
}

/* The next line that begins so; other lines are dropped, but a FAIL of the guest counts. */
static char *await(const char *prefix, unsigned timeout_ms)
{
	char *line;

	while ((line = read_line(timeout_ms))) {
		if (strncmp(line, prefix, strlen(prefix)) == 0)
			return line;
		(void)check(strncmp(line, "FAIL", 4) != 0, "the guest says: %s", line);
	}
	(void)check(false, "the guest did not say '%s' within %u ms", prefix, timeout_ms);
	return NULL;
}

struct stats {
	unsigned long long walks, errors, backsteps, max_jump_ns, avx_rounds, avx_errors;
	bool avx;
};

static bool field(const char *line, const char *name, unsigned long long *ret)
{
	char key[40];
	const char *at;

	(void)snprintf(key, sizeof(key), " %s=", name);
	at = strstr(line, key);
	if (at)
		*ret = strtoull(at + strlen(key), NULL, 10);
	return check(at, "no %s in: %s", name, line);
}

static bool get_stats(struct stats *ret)
{
	const char *line;

	type("stats\n");
	line = await("stats", ANSWER_TIMEOUT_MS);
	if (!line)
		return false;
	ret->avx = strstr(line, " avx=yes");
	return field(line, "walks", &ret->walks) && field(line, "errors", &ret->errors) &&
	       field(line, "backsteps", &ret->backsteps) &&
	       field(line, "max_jump_ns", &ret->max_jump_ns) &&
	       field(line, "avx_rounds", &ret->avx_rounds) &&
	       field(line, "avx_errors", &ret->avx_errors);
}

/*
 * Until a round of vector arithmetic has ended that the last upgrade may have come into: one can
 * take longer than all of them.
 */
static bool await_round(struct stats *stats)
{
	double deadline = h_now_us() + ANSWER_TIMEOUT_MS * 1e3;
	unsigned long long rounds = stats->avx_rounds;

	while (stats->avx_rounds == rounds) {
		h_sleep_ms(50);
		if (h_now_us() > deadline || !get_stats(stats))
			return false;
	}
	return true;
}

static void reset_jump(void)
{
	type("reset\n");
	(void)await("reset", ANSWER_TIMEOUT_MS);
}

/* Typing while an upgrade goes on. */

struct upgrade {
	const char *name;
	const char *program;
	bool check_only;
	int status;
	json_t *result;
	bool done;
};

static void *upgrade_thread(void *arg)
{
	struct upgrade *u = arg;

	u->status = u->check_only ? h_vmrelay(&u->result, "upgrade", u->name, "--json", "--vmm",
					      u->program, "--check", "--timeout", "60000")
				  : h_vmrelay(&u->result, "upgrade", u->name, "--json", "--vmm",
					      u->program, "--timeout", "60000");
	__atomic_store_n(&u->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Run the upgrade, and have the guest echo numbered lines meanwhile: each once and in order. */
static unsigned upgrade_while_typing(struct upgrade *u)
{
	static unsigned serial;
	unsigned n = 0;
	pthread_t thread;

	if (pthread_create(&thread, NULL, upgrade_thread, u) != 0)
		abort();
	do {
		char expected[40];
		const char *line;

		type("echo line %u\n", ++serial);
		(void)snprintf(expected, sizeof(expected), "echo line %u", serial);
		line = await("echo", ANSWER_TIMEOUT_MS);
		if (!line ||
		    !check(strcmp(line, expected) == 0, "typed '%s', got '%s'", expected, line))
			break;
		n++;
	} while (!__atomic_load_n(&u->done, __ATOMIC_ACQUIRE));
	(void)pthread_join(thread, NULL);
	return n;
}

static double real_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* The page of the guest's memory into which it writes its wall clock when told to. */
static const volatile uint64_t *clock_page(const char *name)
{
	json_t *status = NULL, *region;
	void *page = MAP_FAILED;
	const char *line;
	uint64_t gpa;
	size_t i;

	type("where\n");
	line = await("where", ANSWER_TIMEOUT_MS);
	gpa = line ? strtoull(line + strlen("where"), NULL, 10) : 0;
	(void)h_vmrelay(&status, "status", name, "--json");
	json_array_foreach(json_object_get(status, "memory"), i, region)
	{
		uint64_t base = (uint64_t)json_integer_value(json_object_get(region, "gpa"));
		uint64_t size = (uint64_t)json_integer_value(json_object_get(region, "size"));
		const char *path = json_string_value(json_object_get(region, "path"));

		if (gpa < base || gpa - base >= size)
			continue;

		autofd fd = open(path, O_RDONLY | O_CLOEXEC);

		page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, (off_t)(gpa - base));
	}
	json_decref(status);
	(void)check(gpa && page != MAP_FAILED, "cannot map the guest's clock page at 0x%llx",
		    (unsigned long long)gpa);
	return page == MAP_FAILED ? NULL : page;
}

/*
 * Guest's wall clock minus ours, in ms.  What is read of the guest's clock can only be old, so the
 * largest difference of many is the one that counts.
 */
static double clock_offset_ms(const volatile uint64_t *page)
{
	double best = -1e18;

	type("clock %u\n", CLOCK_MS);
	for (unsigned ms = 0; page && ms < CLOCK_MS; ms++) {
		double now = real_now_ns(), value = (double)*page;

		if (value > 0 && value - now > best)
			best = value - now;
		h_sleep_ms(1);
	}
	(void)await("clocked", ANSWER_TIMEOUT_MS);
	return best / 1e6;
}

/*
 * Set the guest's clock by ours, as an NTP client would: while Linux boots in the rig it counts
 * time by timer ticks, and loses many.  What the method itself is off by cancels out in the end.
 */
static void set_guest_clock(const volatile uint64_t *page)
{
	double offset = 0;

	type("idle\n");
	(void)await("idle", ANSWER_TIMEOUT_MS);
	for (unsigned i = 0; i < 5; i++) {
		offset = clock_offset_ms(page);
		if (offset > -0.5 && offset < 0.5)
			break;
		type("adjust %.0f\n", -offset * 1e6);
		(void)await("adjusted", ANSWER_TIMEOUT_MS);
	}
	h_note("wall clock set to within %.2f ms", offset);
	type("busy\n");
	(void)await("busy", ANSWER_TIMEOUT_MS);
}

static void check_stats(const struct stats *s)
{
	(void)check(s->errors == 0, "%llu memory errors", s->errors);
	(void)check(s->backsteps == 0, "the clock stepped back %llu times", s->backsteps);
	(void)check(s->avx_errors == 0, "%llu vector register errors", s->avx_errors);
}

static bool is_gone(void)
{
	json_t *list = NULL;
	bool gone = h_vmrelay(&list, "list", "--json") == 0 &&
		    json_array_size(json_object_get(list, "vms")) == 0;

	json_decref(list);
	return gone;
}

static void run(void)
{
	const char *name = "linux";
	char *other = strdup(h_build("vmrelay-next"));
	const char *const programs[] = {h_program(), other};
	double worst_down_us = 0, sum_down_us = 0, baseline_ns = 0, offset;
	struct stats before = {0}, after = {0};
	unsigned typed = 0;
	double begin = h_now_us();
	const char *line;
	const char *append = opt.sev ? "console=ttyS0 printk.time=0" : "console=ttyS0 quiet";
	int status = h_vmrelay(NULL, "run", "--detach", "--name", name, "--kernel", opt.kernel,
			       "--initrd", opt.initrd, "--memory", "256M", "--cpus", "2",
			       "--append", append, opt.sev ? "--sev" : NULL);

	(void)check(status == 0, "run exited with %d", status);
	(void)check(console_connect(name), "connecting to the console: %s", strerror(errno));
	if (opt.sev)
		(void)await("Memory Encryption Features active: AMD SEV", BOOT_TIMEOUT_MS);
	line = await("workload ready", BOOT_TIMEOUT_MS);
	if (!line) {
		h_test("a stock Linux guest boots");
		free(other);
		return;
	}
	(void)check(strstr(line, "cpus=2"), "it does not see 2 CPUs: %s", line);
	h_test("a stock Linux guest with 2 vCPUs boots%s", opt.sev ? " with SEV" : "");
	show("The guest booted in %.1f s: %s", (h_now_us() - begin) / 1e6, line);

	const volatile uint64_t *page = clock_page(name);

	set_guest_clock(page);

	/*
	 * What the guest's clock jumps by while a new VMM is started and built beside it, though
	 * the guest is never stopped: the scheduling that everything below includes too.
	 */
	for (unsigned i = 0; i < CHECKS; i++) {
		struct upgrade u = {.name = name, .program = programs[1], .check_only = true};

		reset_jump();
		(void)upgrade_while_typing(&u);
		(void)check(u.status == 0, "upgrade --check exited with %d", u.status);
		json_decref(u.result);
		if (get_stats(&before) && (double)before.max_jump_ns > baseline_ns)
			baseline_ns = (double)before.max_jump_ns;
	}
	h_test("upgrade --check, %u times", CHECKS);
	h_note("largest clock jump by scheduling alone: %.1f ms", baseline_ns / 1e6);

	for (unsigned i = 0; i < opt.upgrades; i++) {
		struct upgrade u = {.name = name, .program = programs[(i + 1) % 2]};
		struct h_upgrade times = {0};

		reset_jump();

		unsigned n = upgrade_while_typing(&u);

		(void)check(u.status == 0, "upgrade %u exited with %d", i + 1, u.status);
		(void)check(h_upgrade_parse(u.result, &times), "upgrade %u has no downtime", i + 1);
		if (get_stats(&after)) {
			double allowed_ns =
				times.downtime_us * 1e3 + 3 * baseline_ns + SCHEDULING_NS;

			check_stats(&after);
			(void)check((double)after.max_jump_ns <= allowed_ns,
				    "the clock jumped by %.1f ms, downtime %.1f ms",
				    (double)after.max_jump_ns / 1e6, times.downtime_us / 1e3);
			h_note("upgrade %u: downtime %.1f ms, clock jump %.1f ms, %u lines typed",
			       i + 1, times.downtime_us / 1e3, (double)after.max_jump_ns / 1e6, n);
		}
		show("Upgrade %u: VMM %s -> %s, downtime %.2f ms, total %.0f ms; the guest echoed "
		     "%u lines typed meanwhile",
		     i + 1,
		     json_string_value(
			     json_object_get(json_object_get(u.result, "source"), "version")),
		     json_string_value(
			     json_object_get(json_object_get(u.result, "target"), "version")),
		     times.downtime_us / 1e3, times.total_us / 1e3, n);
		json_decref(u.result);
		typed += n;
		sum_down_us += times.downtime_us;
		if (times.downtime_us > worst_down_us)
			worst_down_us = times.downtime_us;
	}
	(void)check(await_round(&after), "the workload stands still");
	check_stats(&after);
	h_test("%u upgrades in a row while the guest works", opt.upgrades);
	h_note("walks %llu, vector rounds %llu (avx %s), %u lines typed", after.walks,
	       after.avx_rounds, after.avx ? "yes" : "no", typed);
	h_note("downtime: mean %.1f ms, worst %.1f ms", sum_down_us / opt.upgrades / 1e3,
	       worst_down_us / 1e3);
	show("The guest saw: %llu walks through 64 MiB without an error, %llu rounds of %s "
	     "arithmetic without an error, no clock going back",
	     after.walks, after.avx_rounds, after.avx ? "AVX" : "SSE");

	type("idle\n");
	(void)await("idle", ANSWER_TIMEOUT_MS);
	offset = clock_offset_ms(page);
	(void)check(offset > -5 && offset < 5, "the guest's wall clock is off by %.2f ms", offset);
	h_test("the wall clock is within 5 ms of the host's");
	h_note("wall clock off by %.2f ms", offset);
	show("The guest's wall clock is off by %.2f ms after %u upgrades", offset, opt.upgrades);

	type("poweroff\n");
	for (unsigned ms = 0; ms < ANSWER_TIMEOUT_MS && !is_gone(); ms += 100)
		h_sleep_ms(100);
	(void)check(is_gone(), "the guest did not power off");
	(void)check(h_processes_are(0), "processes are left");
	h_test("it powers off, and nothing is left");
	show("The guest powered off cleanly; nothing is left of it.");
	free(other);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'n':
		opt.upgrades = (unsigned)atoi(arg);
		return 0;
	case 'e':
		opt.sev = true;
		return 0;
	case 's':
		opt.show = true;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0)
			opt.kernel = arg;
		else if (state->arg_num == 1)
			opt.initrd = arg;
		else
			argp_usage(state);
		return 0;
	case ARGP_KEY_END:
		if (state->arg_num < 2)
			argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"upgrades", 'n', "N", 0, "How often (default 20)", 0},
		{"sev", 'e', NULL, 0, "Run the guest with SEV", 0},
		{"show", 's', NULL, 0, "Tell a person what happens", 0},
		{0},
	};
	static const struct argp argp = {
		.options = options, .parser = parse, .args_doc = "KERNEL INITRD"};

	if (argp_parse(&argp, argc, argv, 0, NULL, NULL) != 0)
		return 2;
	h_init();
	run();
	return h_done();
}
