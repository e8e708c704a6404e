/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * workload - a Linux guest program that notices if an upgrade of its VMM goes wrong
 *
 * Theory of operation.  Three threads keep state that a careless upgrade would damage, and check it
 * for ever: one rewrites and verifies memory, one watches the clocks, one computes in vector
 * registers.  The main thread answers one-line commands on the console, see commands[].  Whatever
 * does not match is told at once by a line that begins with FAIL.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/timex.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a)  (sizeof(a) / sizeof((a)[0]))
#define MEMORY_SIZE    (64U << 20)
#define PAGE_WORDS     (4096 / sizeof(uint64_t))
#define MAX_FAIL_LINES 20
#define N_WORKERS      3

static struct {
	atomic_ulong walks, errors;
	atomic_ulong backsteps;
	atomic_ulong max_jump_ns, max_jump_at_ns;
	atomic_ulong avx_rounds, avx_errors;
	atomic_ulong fail_lines;
} stats;

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	atomic_bool idle;
	unsigned n_parked;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static bool have_avx;

/* One write() per line: lines of different threads do not mix. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char line[400];
	va_list args;
	size_t len;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	if (n < 0)
		return;
	len = (size_t)n < sizeof(line) - 2 ? (size_t)n : sizeof(line) - 2;
	line[len++] = '\n';
	for (size_t done = 0; done < len;) {
		ssize_t r = write(STDOUT_FILENO, line + done, len - done);

		if (r < 0 && errno != EINTR)
			return;
		if (r > 0)
			done += (size_t)r;
	}
}

/* Damage tends to come in millions: count all, tell the first. */
#define fail(...)                                                                                  \
	do {                                                                                       \
		if (atomic_fetch_add(&stats.fail_lines, 1) < MAX_FAIL_LINES)                       \
			say("FAIL " __VA_ARGS__);                                                  \
	} while (0)

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Workers call this often.  Returns true if the worker has been stopped in between. */
static bool pass_gate(void)
{
	if (!atomic_load_explicit(&gate.idle, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&gate.lock);
	gate.n_parked++;
	pthread_cond_broadcast(&gate.changed);
	while (atomic_load(&gate.idle))
		pthread_cond_wait(&gate.changed, &gate.lock);
	gate.n_parked--;
	pthread_mutex_unlock(&gate.lock);
	return true;
}

/* Returns when the workers have been parked, or told to go on. */
static void set_idle(bool idle)
{
	pthread_mutex_lock(&gate.lock);
	atomic_store(&gate.idle, idle);
	pthread_cond_broadcast(&gate.changed);
	while (idle && gate.n_parked < N_WORKERS)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
}

static uint64_t word_value(uint64_t index, uint64_t walk)
{
	return (index + 1) * 0x9e3779b97f4a7c15 ^ walk * 0xd1b54a32d192ed03;
}

static void memory_fill(uint64_t *memory)
{
	for (size_t i = 0; i < MEMORY_SIZE / sizeof(*memory); i++)
		memory[i] = word_value(i, 0);
}

/* The values differ from walk to walk: a page that fell back to an older content is seen, too. */
static void *memory_worker(void *arg)
{
	volatile uint64_t *memory = arg;

	for (uint64_t walk = 0;; walk++) {
		for (size_t i = 0; i < MEMORY_SIZE / sizeof(*memory); i++) {
			uint64_t value = memory[i];

			if (value != word_value(i, walk)) {
				atomic_fetch_add(&stats.errors, 1);
				fail("memory walk=%lu offset=%#zx is=%#lx expected=%#lx", walk,
				     i * sizeof(*memory), value, word_value(i, walk));
			}
			memory[i] = word_value(i, walk + 1);
			if (i % PAGE_WORDS == 0)
				(void)pass_gate();
		}
		atomic_fetch_add(&stats.walks, 1);
	}
	return NULL;
}

/*
 * Ordinary scheduling in the guest would hide the pauses that we are after.  Real-time priority
 * keeps the other workers away from the thread, a short sleep now and then keeps the kernel alive
 * beside it.
 */
static void *clock_worker(void *arg)
{
	static const struct {
		clockid_t id;
		const char *name;
	} clocks[] = {
		{CLOCK_MONOTONIC, "monotonic"},
		{CLOCK_MONOTONIC_RAW, "monotonic_raw"},
		{CLOCK_REALTIME, "realtime"},
	};
	uint64_t last[ARRAY_SIZE(clocks)] = {0};
	uint64_t slept = now_ns(CLOCK_MONOTONIC);
	bool alone = sysconf(_SC_NPROCESSORS_ONLN) > 1;

	(void)arg;
	if (alone) {
		struct sched_param param = {.sched_priority = 10};

		alone = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param) == 0;
	}
	for (;;) {
		if (pass_gate()) {
			memset(last, 0, sizeof(last));
			slept = now_ns(CLOCK_MONOTONIC);
		}
		for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
			uint64_t now = now_ns(clocks[i].id);

			if (now < last[i]) {
				atomic_fetch_add(&stats.backsteps, 1);
				fail("clock %s stepped back from %lu to %lu", clocks[i].name,
				     last[i], now);
			} else if (i == 0 && last[i] &&
				   now - last[i] > atomic_load(&stats.max_jump_ns)) {
				atomic_store(&stats.max_jump_ns, now - last[i]);
				atomic_store(&stats.max_jump_at_ns, now_ns(CLOCK_REALTIME));
			}
			last[i] = now;
		}
		if (alone && last[0] - slept > 5000000) {
			(void)nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
			slept = now_ns(CLOCK_MONOTONIC);
		}
	}
	return NULL;
}

/*
 * Vector registers.  0 to 5 are linear congruential generators (x = 5x + c in 32-bit lanes), 6
 * holds c, 7 is scratch, 8 to 15 hold values that must stay.  The state is in no memory for
 * VECTOR_ROUNDS rounds, which is nearly all the time; where it ends is known from arithmetic on
 * integers.
 */
#define VECTOR_ROUNDS (1U << 17)
#define N_REGS	      16
#define N_GENERATORS  6
#define REG_INCREMENT 6
#define REG_SCRATCH   7
#define MAX_LANES     8

struct vectors {
	uint32_t lane[N_REGS][MAX_LANES];
};

#define EACH_REG(op)                                                                               \
	op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13)    \
		op(14) op(15)
#define EACH_GENERATOR(op) op(0) op(1) op(2) op(3) op(4) op(5)
#define XMM_CLOBBERS                                                                               \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",   \
		"xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

#define AVX_LOAD(n)  "vmovdqu 32*" #n "(%[v]), %%ymm" #n "\n\t"
#define AVX_STORE(n) "vmovdqu %%ymm" #n ", 32*" #n "(%[v])\n\t"
#define AVX_STEP(n)                                                                                \
	"vpslld $2, %%ymm" #n ", %%ymm7\n\t"                                                       \
	"vpaddd %%ymm7, %%ymm" #n ", %%ymm" #n "\n\t"                                              \
	"vpaddd %%ymm6, %%ymm" #n ", %%ymm" #n "\n\t"

#define SSE_LOAD(n)  "movdqu 32*" #n "(%[v]), %%xmm" #n "\n\t"
#define SSE_STORE(n) "movdqu %%xmm" #n ", 32*" #n "(%[v])\n\t"
#define SSE_STEP(n)                                                                                \
	"movdqa %%xmm" #n ", %%xmm7\n\t"                                                           \
	"pslld $2, %%xmm7\n\t"                                                                     \
	"paddd %%xmm7, %%xmm" #n "\n\t"                                                            \
	"paddd %%xmm6, %%xmm" #n "\n\t"

static void vectors_run(struct vectors *v)
{
	uint64_t rounds = VECTOR_ROUNDS;

	if (have_avx)
		asm volatile(EACH_REG(AVX_LOAD) "1:\n\t" EACH_GENERATOR(
				     AVX_STEP) "dec %[rounds]\n\t"
					       "jnz 1b\n\t" EACH_REG(AVX_STORE) "vzeroupper"
			     : [rounds] "+r"(rounds)
			     : [v] "r"(v)
			     : "memory", "cc", XMM_CLOBBERS);
	else
		asm volatile(EACH_REG(SSE_LOAD) "1:\n\t" EACH_GENERATOR(
				     SSE_STEP) "dec %[rounds]\n\t"
					       "jnz 1b\n\t" EACH_REG(SSE_STORE)
			     : [rounds] "+r"(rounds)
			     : [v] "r"(v)
			     : "memory", "cc", XMM_CLOBBERS);
}

static void *vector_worker(void *arg)
{
	size_t n_lanes = have_avx ? MAX_LANES : MAX_LANES / 2;
	uint32_t factor = 1, sum = 0;
	struct vectors before, after;

	(void)arg;
	/* VECTOR_ROUNDS steps at once: x -> factor * x + sum * c */
	for (uint32_t i = 0; i < VECTOR_ROUNDS; i++) {
		sum += factor;
		factor *= 5;
	}
	for (uint32_t round = 0;; round++) {
		for (uint32_t r = 0; r < N_REGS; r++)
			for (uint32_t l = 0; l < MAX_LANES; l++)
				before.lane[r][l] = (uint32_t)word_value(r * MAX_LANES + l, round);
		after = before;
		vectors_run(&after);
		for (uint32_t r = 0; r < N_REGS; r++) {
			for (uint32_t l = 0; l < n_lanes; l++) {
				uint32_t expected = before.lane[r][l];

				if (r == REG_SCRATCH)
					continue;
				if (r < N_GENERATORS)
					expected = factor * expected +
						   sum * before.lane[REG_INCREMENT][l];
				if (after.lane[r][l] == expected)
					continue;
				atomic_fetch_add(&stats.avx_errors, 1);
				fail("vector round=%u register=%u lane=%u is=%#x expected=%#x",
				     round, r, l, after.lane[r][l], expected);
			}
		}
		atomic_fetch_add(&stats.avx_rounds, 1);
		(void)pass_gate();
	}
	return NULL;
}

static void command_ping(const char *argument)
{
	say("pong %s %lu", argument, now_ns(CLOCK_REALTIME));
}

/* A page that an observer outside can find: its guest-physical address, or 0. */
static volatile uint64_t *clock_page(uint64_t *ret_gpa)
{
	static volatile uint64_t *page;
	uint64_t entry = 0;
	int fd;

	if (!page) {
		page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);
		if (page == MAP_FAILED)
			abort();
	}
	fd = open("/proc/self/pagemap", O_RDONLY);
	if (pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / 4096 * sizeof(entry))) < 0)
		entry = 0;
	(void)close(fd);
	*ret_gpa = (entry & ((1ULL << 55) - 1)) * 4096;
	return page;
}

static void command_where(const char *argument)
{
	uint64_t gpa;

	(void)argument;
	(void)clock_page(&gpa);
	say("where %lu", gpa);
}

static void command_clock(const char *argument)
{
	uint64_t gpa, until = now_ns(CLOCK_MONOTONIC) + strtoul(argument, NULL, 10) * 1000000;
	volatile uint64_t *page = clock_page(&gpa);

	while (now_ns(CLOCK_MONOTONIC) < until)
		*page = now_ns(CLOCK_REALTIME);
	*page = 0;
	say("clocked");
}

static void command_stats(const char *argument)
{
	(void)argument;
	say("stats walks=%lu errors=%lu backsteps=%lu max_jump_ns=%lu max_jump_at_ns=%lu "
	    "avx_rounds=%lu avx_errors=%lu avx=%s cpus=%ld",
	    atomic_load(&stats.walks), atomic_load(&stats.errors), atomic_load(&stats.backsteps),
	    atomic_load(&stats.max_jump_ns), atomic_load(&stats.max_jump_at_ns),
	    atomic_load(&stats.avx_rounds), atomic_load(&stats.avx_errors), have_avx ? "yes" : "no",
	    sysconf(_SC_NPROCESSORS_ONLN));
}

static void command_reset(const char *argument)
{
	(void)argument;
	atomic_store(&stats.max_jump_ns, 0);
	atomic_store(&stats.max_jump_at_ns, 0);
	say("reset");
}

/* As an NTP client steps the clock; only while idle, since the clock thread would complain. */
static void command_adjust(const char *argument)
{
	long long ns = strtoll(argument, NULL, 10), seconds = ns / 1000000000;
	struct timex step = {.modes = ADJ_SETOFFSET | ADJ_NANO};

	ns -= seconds * 1000000000;
	if (ns < 0) {
		ns += 1000000000;
		seconds--;
	}
	step.time.tv_sec = seconds;
	step.time.tv_usec = ns;
	say(adjtimex(&step) < 0 ? "cannot adjust" : "adjusted");
}

static void command_echo(const char *argument)
{
	say("echo %s", argument);
}

static void command_idle(const char *argument)
{
	(void)argument;
	set_idle(true);
	say("idle");
}

static void command_busy(const char *argument)
{
	(void)argument;
	set_idle(false);
	say("busy");
}

static void command_poweroff(const char *argument)
{
	(void)argument;
	(void)reboot(RB_POWER_OFF);
}

static void command_reboot(const char *argument)
{
	(void)argument;
	(void)reboot(RB_AUTOBOOT);
}

static const struct {
	const char *name;
	void (*run)(const char *argument);
} commands[] = {
	{"ping", command_ping},	  /* ping N: pong N <CLOCK_REALTIME in ns> */
	{"stats", command_stats}, /* one line of counters; max_jump_at_ns is CLOCK_REALTIME, too */
	{"reset", command_reset}, /* forget the largest jump of the clock */
	{"where", command_where}, /* guest-physical address of the page that `clock` writes */
	{"clock", command_clock}, /* clock MS: write CLOCK_REALTIME there for so long */
	{"adjust", command_adjust}, /* adjust NS: step CLOCK_REALTIME by so much */
	{"echo", command_echo},	    /* echo TEXT */
	{"idle", command_idle},	    /* stop the workers, so that the vCPUs halt */
	{"busy", command_busy},	    /* restart them */
	{"poweroff", command_poweroff}, {"reboot", command_reboot},
};

static void command_run(char *line)
{
	char *argument = line + strcspn(line, " ");

	if (*argument)
		*argument++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(line, commands[i].name) == 0) {
			commands[i].run(argument);
			return;
		}
	}
	if (*line)
		say("unknown command %s", line);
}

/* No echo, no translation, no signals: what is typed is the command, what is read is the answer. */
static void console_setup(void)
{
	struct termios tio;

	if (tcgetattr(STDIN_FILENO, &tio) < 0)
		return;
	cfmakeraw(&tio);
	(void)tcsetattr(STDIN_FILENO, TCSANOW, &tio);
}

/* Returns at the end of the input.  A line that is too long is cut. */
static void console_serve(void)
{
	char line[256];
	size_t len = 0;

	for (;;) {
		char c;
		ssize_t r = read(STDIN_FILENO, &c, 1);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return;
		if (c == '\n' || c == '\r') {
			line[len] = '\0';
			len = 0;
			command_run(line);
		} else if (len < sizeof(line) - 1) {
			line[len++] = c;
		}
	}
}

static void clocksource_name(char *name, int size)
{
	FILE *file =
		fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");

	(void)snprintf(name, (size_t)size, "unknown");
	if (!file)
		return;
	if (fgets(name, size, file))
		name[strcspn(name, "\n")] = '\0';
	(void)fclose(file);
}

int main(void)
{
	void *(*const workers[N_WORKERS])(void *) = {memory_worker, clock_worker, vector_worker};
	struct sched_param param = {.sched_priority = 20};
	uint64_t *memory = malloc(MEMORY_SIZE);
	char clocksource[64];

	console_setup();
	if (!memory) {
		say("FAIL no memory for the workload");
		return EXIT_FAILURE;
	}
	memory_fill(memory);
	have_avx = __builtin_cpu_supports("avx2");
	for (size_t i = 0; i < N_WORKERS; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, workers[i], memory) != 0) {
			say("FAIL cannot create a thread");
			return EXIT_FAILURE;
		}
		(void)pthread_detach(thread);
	}
	/* Answers must not wait for the workers; threads created before keep their own policy. */
	(void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
	clocksource_name(clocksource, sizeof(clocksource));
	say("workload ready cpus=%ld clocksource=%s", sysconf(_SC_NPROCESSORS_ONLN), clocksource);
	console_serve();
	say("FAIL the console has been closed");
	return EXIT_FAILURE;
}
