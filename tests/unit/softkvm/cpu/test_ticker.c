// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest of guests/ticker on two CPUs, in a machine of memory, a serial port that only prints,
 * and what LAPICs do for it: a tick now and then, and SIPI.  It checks its registers all the time.
 *
 *	test_ticker PATH		as a test
 *	test_ticker PATH SECONDS	as a benchmark: instructions per second
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "platform.h"

#define LEN	    (4u << 20)
#define CPUS	    2u
#define TURN	    20000u /* instructions, then the other CPU */
#define CMDLINE	    0x6000u
#define BOOT_PARAMS 0x7000u
#define CMDLINE_PTR 0x228u
#define PAGE_TABLES 0x300000u
#define LARGE_PAGE  (2u << 20)

#define SERIAL		  0x3f8
#define SERIAL_STATUS	  0x3fd
#define TRANSMITTER_EMPTY 0x60
#define ICR_LOW		  0x300
#define INITIAL_COUNT	  0x380
#define ICR_MODE	  0x700u
#define ICR_INIT	  0x500u
#define ICR_STARTUP	  0x600u

/* As guests/ticker/ticker.h has them. */
#define LAPIC	      0xfee00000u
#define SLOTS	      0x200000u
#define VECTOR_TIMER  0x20
#define CODE_SELECTOR 0x10
#define DATA_SELECTOR 0x18
struct slot {
	uint64_t count, ticks, rounds, errors;
	uint8_t magic[8];
	uint64_t tsc, self, unused;
};

struct board;

struct seat {
	struct board *board;
	struct cpu *cpu;
	bool waits_for_startup, ticks;
};

struct board {
	uint8_t *ram;
	struct seat seat[CPUS];
	char output[4096];
	size_t output_len;
};

static const char *ticker_path;

static void page(void *opaque, uint64_t gpa, bool encrypted, struct cpu_page *ret)
{
	const struct seat *seat = opaque;

	(void)encrypted;
	*ret = (struct cpu_page){.data = gpa < LEN ? seat->board->ram + gpa : NULL};
}

static bool mmio_read(void *opaque, uint64_t gpa, unsigned len, void *ret)
{
	(void)opaque;
	(void)gpa;
	memset(ret, 0, len);
	return true;
}

static bool mmio_write(void *opaque, uint64_t gpa, unsigned len, const void *data)
{
	struct seat *seat = opaque, *other = &seat->board->seat[1];
	uint32_t value;

	assert_int_equal(len, sizeof(value));
	memcpy(&value, data, sizeof(value));
	if (gpa == LAPIC + INITIAL_COUNT)
		seat->ticks = true;
	if (gpa == LAPIC + ICR_LOW && (value & ICR_MODE) == ICR_INIT) {
		cpu_init_signal(&other->cpu->state);
		other->waits_for_startup = true;
	}
	if (gpa == LAPIC + ICR_LOW && (value & ICR_MODE) == ICR_STARTUP &&
	    other->waits_for_startup) {
		cpu_startup(&other->cpu->state, (uint8_t)value);
		cpu_flush(other->cpu);
		other->waits_for_startup = false;
	}
	return true;
}

static bool pio_in(void *opaque, uint16_t port, unsigned size, uint32_t *ret)
{
	(void)opaque;
	(void)size;
	*ret = port == SERIAL_STATUS ? TRANSMITTER_EMPTY : 0;
	return true;
}

static bool pio_out(void *opaque, uint16_t port, unsigned size, uint32_t value)
{
	const struct seat *seat = opaque;
	struct board *board = seat->board;

	(void)size;
	if (port == SERIAL && board->output_len < sizeof(board->output) - 1)
		board->output[board->output_len++] = (char)value;
	return true;
}

static bool rdmsr(void *opaque, uint32_t msr, uint64_t *ret)
{
	(void)opaque;
	(void)msr;
	*ret = 0;
	return false;
}

static bool wrmsr(void *opaque, uint32_t msr, uint64_t value)
{
	(void)opaque;
	(void)msr;
	(void)value;
	return false;
}

static void cpuid_of(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	const struct seat *seat = opaque;
	uint32_t id = (uint32_t)(seat - seat->board->seat);

	(void)subleaf;
	memset(ret, 0, 4 * sizeof(*ret));
	if (leaf == 0) {
		ret[0] = 0xd;
	} else if (leaf == 1) {
		ret[1] = id << 24;
		ret[2] = 1u << 26 | 1u << 28; /* XSAVE, AVX */
	} else if (leaf == 0xd) {
		ret[0] = 7;
	}
}

static uint64_t tsc(void *opaque)
{
	const struct seat *seat = opaque;

	return seat->cpu->instructions;
}

static void control_written(void *opaque)
{
	(void)opaque;
}

static const struct cpu_ops ops = {
	.page = page,
	.mmio_read = mmio_read,
	.mmio_write = mmio_write,
	.pio_in = pio_in,
	.pio_out = pio_out,
	.rdmsr = rdmsr,
	.wrmsr = wrmsr,
	.cpuid = cpuid_of,
	.tsc = tsc,
	.control_written = control_written,
};

/* Returns the entry point. */
static uint64_t load(uint8_t *ram)
{
	int fd = open(ticker_path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	const uint8_t *file;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(file, MAP_FAILED);
	(void)close(fd);

	const Elf64_Ehdr *header = (const Elf64_Ehdr *)file;
	const Elf64_Phdr *segment = (const Elf64_Phdr *)(file + header->e_phoff);
	uint64_t entry = header->e_entry;

	for (unsigned i = 0; i < header->e_phnum; i++)
		if (segment[i].p_type == PT_LOAD) {
			assert_true(segment[i].p_paddr + segment[i].p_memsz <= LEN);
			memcpy(ram + segment[i].p_paddr, file + segment[i].p_offset,
			       segment[i].p_filesz);
		}
	(void)munmap((void *)file, (size_t)st.st_size);
	return entry;
}

static void put_entry(uint8_t *ram, uint64_t gpa, uint64_t entry)
{
	memcpy(ram + gpa, &entry, sizeof(entry));
}

/* Identity, in large pages, below 4 GiB. */
static void make_tables(uint8_t *ram)
{
	put_entry(ram, PAGE_TABLES, (PAGE_TABLES + 0x1000) | PTE_P | PTE_W);
	for (unsigned i = 0; i < 4; i++)
		put_entry(ram, PAGE_TABLES + 0x1000 + 8 * i,
			  (PAGE_TABLES + 0x2000 + 0x1000 * i) | PTE_P | PTE_W);
	for (uint64_t i = 0; i < 2048; i++)
		put_entry(ram, PAGE_TABLES + 0x2000 + 8 * i,
			  i * LARGE_PAGE | PTE_P | PTE_W | PTE_PS);
}

static void boot(struct cpu_state *state, uint64_t entry)
{
	state->cr0 = CR0_PG | CR0_NE | CR0_PE | 1 << 4;
	state->cr3 = PAGE_TABLES;
	state->cr4 = CR4_PAE;
	state->efer = EFER_LME | EFER_LMA;
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		state->segment[i] = (struct cpu_segment){
			.selector = DATA_SELECTOR, .attributes = 0xc93, .limit = UINT32_MAX};
	state->segment[CS] = (struct cpu_segment){
		.selector = CODE_SELECTOR, .attributes = 0xa9b, .limit = UINT32_MAX};
	state->rip = entry;
	state->gpr[RSI] = BOOT_PARAMS;
	state->gpr[RDI] = 0; /* not encrypted */
}

static struct board *board_new(const char *options)
{
	struct board *board = calloc(1, sizeof(*board));
	uint32_t cmdline = CMDLINE;

	board->ram = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(board->ram, MAP_FAILED);
	memcpy(board->ram + CMDLINE, options, strlen(options) + 1);
	memcpy(board->ram + BOOT_PARAMS + CMDLINE_PTR, &cmdline, sizeof(cmdline));
	make_tables(board->ram);
	for (unsigned i = 0; i < CPUS; i++) {
		struct seat *seat = &board->seat[i];

		*seat = (struct seat){
			.board = board,
			.cpu = cpu_new(&ops, seat),
			.waits_for_startup = i > 0,
		};
		assert_non_null(seat->cpu);
		seat->cpu->features = (struct cpu_features){
			.physical_bits = 40, .nx = true, .xsave = true, .avx = true};
	}
	boot(&board->seat[0].cpu->state, load(board->ram));
	return board;
}

static void board_free(struct board *board)
{
	for (unsigned i = 0; i < CPUS; i++)
		(void)cpu_free(board->seat[i].cpu);
	(void)munmap(board->ram, LEN);
	free(board);
}

static volatile struct slot *slot(struct board *board, unsigned i)
{
	return (volatile struct slot *)(board->ram + SLOTS) + i;
}

/* A turn of each CPU that begins with a tick.  Returns how the turn of the first ended. */
static enum cpu_stop take_turns(struct board *board)
{
	enum cpu_stop stop[CPUS] = {CPU_STOP_BUDGET, CPU_STOP_BUDGET};

	for (unsigned i = 0; i < CPUS; i++) {
		struct seat *seat = &board->seat[i];

		if (seat->waits_for_startup)
			continue;
		if (seat->ticks && cpu_can_interrupt(seat->cpu))
			cpu_interrupt(seat->cpu, VECTOR_TIMER);
		stop[i] = cpu_run(seat->cpu, TURN);
		if (stop[i] == CPU_STOP_UNKNOWN)
			fail_msg("unknown: %s", seat->cpu->unknown.text);
	}
	return stop[0];
}

static void run_ticks(struct board *board, uint64_t ticks)
{
	for (unsigned i = 0; slot(board, 0)->ticks < ticks; i++) {
		assert_in_range(i, 0, 10 * ticks);
		(void)take_turns(board);
	}
}

static void check(struct board *board)
{
	for (unsigned i = 0; i < CPUS; i++) {
		assert_memory_equal((const void *)slot(board, i)->magic, "TICKER01", 8);
		assert_int_equal(slot(board, i)->errors, 0);
		assert_in_range(slot(board, i)->rounds, 10, UINT64_MAX);
		assert_in_range(slot(board, i)->ticks, 20, UINT64_MAX);
	}
}

static void test_spin(void **state)
{
	struct board *board = board_new("");

	(void)state;
	run_ticks(board, 60);
	assert_string_equal(board->output, "ticker: 2 cpus, avx yes\n");
	check(board);
	board_free(board);
}

static void test_halt(void **state)
{
	struct board *board = board_new("halt noavx");

	(void)state;
	run_ticks(board, 60);
	assert_string_equal(board->output, "ticker: 2 cpus, avx no\n");
	check(board);
	/* Once per tick since then. */
	assert_int_equal(slot(board, 0)->rounds, slot(board, 0)->count);
	board_free(board);
}

static void test_crash(void **state)
{
	struct board *board = board_new("crash=30");
	enum cpu_stop stop;

	(void)state;
	run_ticks(board, 30);
	do
		stop = take_turns(board);
	while (stop == CPU_STOP_BUDGET);
	assert_int_equal(stop, CPU_STOP_SHUTDOWN);
	board_free(board);
}

static uint64_t now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void measure(unsigned seconds)
{
	struct board *board = board_new("");
	uint64_t begin, end, done;

	run_ticks(board, 60);
	done = board->seat[0].cpu->instructions + board->seat[1].cpu->instructions;
	begin = now();
	do {
		(void)take_turns(board);
		end = now();
	} while (end - begin < seconds * UINT64_C(1000000000));
	done = board->seat[0].cpu->instructions + board->seat[1].cpu->instructions - done;
	printf("%.1f million instructions per second\n",
	       (double)done * 1e3 / (double)(end - begin));
	board_free(board);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spin),
		cmocka_unit_test(test_halt),
		cmocka_unit_test(test_crash),
	};

	if (argc < 2)
		return 1;
	ticker_path = argv[1];
	if (argc > 2) {
		measure((unsigned)atoi(argv[2]));
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
