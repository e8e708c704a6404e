// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a host with KVM costs a VMM: exits per second, ioctls per second, guest instructions per
 * second.  Plain ioctls, so that it runs on any: natively, in the rig, on softkvm.
 *
 *	host [--rounds N]
 *
 * A round is some tenths of a second; the row has the median of all rounds, the lowest and the
 * highest.
 */
#include <getopt.h>
#include <time.h>

#include "tests/vmms/machine.h"

#define ROUNDS_MAX 1000
#define EXITS	   5000
#define IOCTLS	   5000
#define LOOPS	   2000000
#define LOOP_INSNS 6 /* in each of the loops */

/*
 * RDI says what to do for ever: 0: exit; 1: count in registers; 2: in memory; 3: call functions.
 */
GUEST("	cmp edi, 1\n"
      "	je registers\n"
      "	ja 3f\n"
      "1:	out 0x10, al\n"
      "	jmp 1b\n"
      "registers:\n"
      "	mov ecx, 2000000\n"
      "2:	add rax, rcx\n"
      "	xor rbx, rax\n"
      "	lea rdx, [rax + rbx*2 + 5]\n"
      "	shl rdx, 3\n"
      "	dec ecx\n"
      "	jnz 2b\n"
      "	out 0x10, al\n"
      "	jmp registers\n"
      "3:	cmp edi, 2\n"
      "	jne calls\n"
      "memory:\n"
      "	mov ecx, 2000000\n"
      "	mov ebx, 0x3000\n"
      "4:	mov rax, [rbx]\n"
      "	add rax, rcx\n"
      "	mov [rbx + 8], rax\n"
      "	add [rbx], ecx\n"
      "	dec ecx\n"
      "	jnz 4b\n"
      "	out 0x10, al\n"
      "	jmp memory\n"
      "calls:\n"
      "	mov ecx, 2000000\n"
      "5:	call 6f\n"
      "	dec ecx\n"
      "	jnz 5b\n"
      "	out 0x10, al\n"
      "	jmp calls\n"
      "6:	push rcx\n"
      "	pop rdx\n"
      "	ret\n");

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print(const char *what, double *values, unsigned n)
{
	qsort(values, n, sizeof(values[0]), compare);
	(void)printf("%-34s %12.1f %12.1f %12.1f\n", what, values[n / 2], values[0], values[n - 1]);
}

static void expect_exit(const struct vcpu *vcpu)
{
	check(vcpu_run(vcpu) == 0 && vcpu->run->exit_reason == KVM_EXIT_IO);
}

/* exits per round, and what one stands for */
static void bench(const char *what, unsigned kind, unsigned exits, double units, unsigned rounds)
{
	double values[ROUNDS_MAX];
	struct machine m;
	struct vcpu vcpu;
	struct kvm_regs regs;

	machine_init(&m);
	vcpu_init(&vcpu, &m, 0);
	check(ioctl(vcpu.fd, KVM_GET_REGS, &regs) == 0);
	regs.rdi = kind;
	check(ioctl(vcpu.fd, KVM_SET_REGS, &regs) == 0);
	expect_exit(&vcpu);
	for (unsigned i = 0; i < rounds; i++) {
		double begin = now();

		for (unsigned n = 0; n < exits; n++)
			expect_exit(&vcpu);
		values[i] = exits * units / (now() - begin);
	}
	print(what, values, rounds);
	vcpu_done(&vcpu, &m);
	machine_done(&m);
}

static void bench_ioctl(unsigned rounds)
{
	double values[ROUNDS_MAX];
	struct machine m;
	struct vcpu vcpu;
	struct kvm_regs regs;

	machine_init(&m);
	vcpu_init(&vcpu, &m, 0);
	for (unsigned i = 0; i < rounds; i++) {
		double begin = now();

		for (unsigned n = 0; n < IOCTLS; n++)
			check(ioctl(vcpu.fd, KVM_GET_REGS, &regs) == 0);
		values[i] = IOCTLS / 1e3 / (now() - begin);
	}
	print("KVM_GET_REGS, thousands/s", values, rounds);
	vcpu_done(&vcpu, &m);
	machine_done(&m);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"rounds", required_argument, NULL, 'r'}, {0}};
	unsigned rounds = 9;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'r')
			return 2;
		rounds = (unsigned)atoi(optarg);
	}
	if (rounds < 1 || rounds > ROUNDS_MAX)
		return 2;
	(void)close(open_kvm());
	(void)printf("%-34s %12s %12s %12s\n", "", "median", "lowest", "highest");
	bench_ioctl(rounds);
	bench("exits (OUT), thousands/s", 0, EXITS, 1e-3, rounds);
	bench("instructions, registers, millions/s", 1, 1, LOOPS * LOOP_INSNS / 1e6, rounds);
	bench("instructions, memory, millions/s", 2, 1, LOOPS * LOOP_INSNS / 1e6, rounds);
	bench("instructions, calls, millions/s", 3, 1, LOOPS * LOOP_INSNS / 1e6, rounds);
	return 0;
}
