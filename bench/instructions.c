// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How many instructions per second softkvm's CPU interprets: millions, median and spread of rounds.
 *
 *	instructions [ROUNDS]
 *
 * Each loop runs for ever, in 64-bit mode with paging; the CPU's budget ends a round.  Seconds are
 *of CPU time, so that a busy machine matters less.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "softkvm/cpu/cpu.h"
#include "softkvm/cpu/internal.h"

#define MEMORY_LEN   (1u << 21)
#define PML4	     0x1000u
#define PDPT	     0x2000u
#define DIRECTORY    0x3000u
#define CODE	     0x4000u
#define DATA	     0x8000u
#define STACK	     0x20000u
#define ENTRY_FLAGS  0x3u /* present, writable */
#define ENTRY_LARGE  0x80u
#define INSTRUCTIONS 10000000u /* of a round */
#define ROUNDS_MAX   1000

/* RSI, RDI: DATA and the 16 KiB behind. */
__asm__(".pushsection .rodata\n"
	/* A xorshift generator and what a compiler does with indices. */
	"integer:\n"
	"	mov $0x9e3779b97f4a7c15, %rax\n"
	"1:	mov %rax, %rdx\n"
	"	shl $13, %rdx\n"
	"	xor %rdx, %rax\n"
	"	mov %rax, %rdx\n"
	"	shr $7, %rdx\n"
	"	xor %rdx, %rax\n"
	"	lea 3(%rax,%rbx,4), %ecx\n"
	"	and $0xff, %ecx\n"
	"	add %ecx, %ebx\n"
	"	cmp $0x80, %ecx\n"
	"	jb 1b\n"
	"	inc %r8d\n"
	"	test %r8d, %r8d\n"
	"	jnz 1b\n"
	"	jmp 1b\n"
	"integer_end:\n"
	/* Adds up and copies an array. */
	"memory:\n"
	"1:	xor %ecx, %ecx\n"
	"2:	mov (%rsi,%rcx,8), %rax\n"
	"	add %rax, 8(%rdi)\n"
	"	mov %rax, 0x4000(%rsi,%rcx,8)\n"
	"	movzbl (%rsi,%rcx), %edx\n"
	"	add (%rdi), %edx\n"
	"	mov %edx, 16(%rdi)\n"
	"	inc %rcx\n"
	"	cmp $512, %rcx\n"
	"	jne 2b\n"
	"	jmp 1b\n"
	"memory_end:\n"
	/* Fibonacci's numbers, the slow way. */
	"calls:\n"
	"1:	mov $20, %edi\n"
	"	call 2f\n"
	"	jmp 1b\n"
	"2:	cmp $2, %edi\n"
	"	jb 3f\n"
	"	push %rbx\n"
	"	push %rdi\n"
	"	sub $1, %edi\n"
	"	call 2b\n"
	"	mov %eax, %ebx\n"
	"	pop %rdi\n"
	"	sub $2, %edi\n"
	"	call 2b\n"
	"	add %ebx, %eax\n"
	"	pop %rbx\n"
	"	ret\n"
	"3:	mov %edi, %eax\n"
	"	ret\n"
	"calls_end:\n"
	".popsection\n");

extern const uint8_t integer[], integer_end[], memory[], memory_end[], calls[], calls_end[];

static void find_page(void *opaque, uint64_t gpa, bool encrypted, struct cpu_page *ret)
{
	(void)encrypted;
	*ret = (struct cpu_page){.data = gpa < MEMORY_LEN ? (uint8_t *)opaque + gpa : NULL};
}

static void put(uint8_t *guest, uint64_t gpa, uint64_t value)
{
	memcpy(guest + gpa, &value, sizeof(value));
}

/* 64-bit mode, the lowest 2 MiB mapped to themselves. */
static void prepare(struct cpu *cpu, uint8_t *guest, const uint8_t *code, size_t len)
{
	struct cpu_state *state = &cpu->state;

	put(guest, PML4, PDPT | ENTRY_FLAGS);
	put(guest, PDPT, DIRECTORY | ENTRY_FLAGS);
	put(guest, DIRECTORY, ENTRY_LARGE | ENTRY_FLAGS);
	memcpy(guest + CODE, code, len);

	cpu_reset(state);
	cpu->features = (struct cpu_features){.physical_bits = 40};
	state->cr0 = CR0_PE | CR0_PG;
	state->cr3 = PML4;
	state->cr4 = CR4_PAE;
	state->efer = EFER_LME | EFER_LMA;
	state->segment[CS].attributes = SEGMENT_PRESENT | SEGMENT_S | SEGMENT_L | 0xb;
	state->rip = CODE;
	state->gpr[RSP] = STACK;
	state->gpr[RSI] = DATA;
	state->gpr[RDI] = DATA + 0x2000;
	cpu_flush(cpu);
}

static double now(void)
{
	struct timespec at;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void measure(struct cpu *cpu, const char *name, unsigned rounds)
{
	static double rate[ROUNDS_MAX];

	for (unsigned i = 0; i < rounds; i++) {
		double begin = now();
		enum cpu_stop stop = cpu_run(cpu, INSTRUCTIONS);

		if (stop != CPU_STOP_BUDGET)
			errx(1, "%s: the CPU stopped (%d) at 0x%llx", name, (int)stop,
			     (unsigned long long)cpu->state.rip);
		rate[i] = INSTRUCTIONS / (now() - begin) / 1e6;
	}
	qsort(rate, rounds, sizeof(rate[0]), compare);
	(void)printf("%-8s %7.1f  (%.1f to %.1f)\n", name, rate[rounds / 2], rate[0],
		     rate[rounds - 1]);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		const uint8_t *begin, *end;
	} loops[] = {
		{"integer", integer, integer_end},
		{"memory", memory, memory_end},
		{"calls", calls, calls_end},
	};
	static const struct cpu_ops ops = {.page = find_page};
	int rounds = argc > 1 ? atoi(argv[1]) : 11;

	if (rounds < 1 || rounds > ROUNDS_MAX)
		errx(1, "rounds: 1 to %d", ROUNDS_MAX);
	(void)printf("million instructions per second of CPU time, median of %d (least to most)\n",
		     rounds);
	for (unsigned i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
		uint8_t *guest = aligned_alloc(PAGE_SIZE, MEMORY_LEN);
		struct cpu *cpu = cpu_new(&ops, guest);

		if (!guest || !cpu)
			errx(1, "no memory");
		memset(guest, 0, MEMORY_LEN);
		prepare(cpu, guest, loops[i].begin, (size_t)(loops[i].end - loops[i].begin));
		measure(cpu, loops[i].name, (unsigned)rounds);
		cpu = cpu_free(cpu);
		free(guest);
	}
	return 0;
}
