// SPDX-License-Identifier: GPL-2.0-or-later
/* A thread for each vCPU, a counter that they share, and signals that get them out of the guest. */
#include "machine.h"

#include <pthread.h>
#include <signal.h>

#define VCPUS	4
#define COUNT	20000
#define COUNTER 0x3000

GUEST("	mov ecx, 20000\n"
      "1:	lock inc qword ptr [0x3000]\n"
      "	dec ecx\n"
      "	jnz 1b\n"
      "	out 0x10, al\n"
      "2:	pause\n"
      "	jmp 2b\n");

static void ignore(int signal)
{
	(void)signal;
}

static void *run(void *arg)
{
	struct vcpu *vcpu = arg;

	check(vcpu_run(vcpu) == 0);
	check(vcpu->run->exit_reason == KVM_EXIT_IO && vcpu->run->io.port == 0x10);
	/* Now for ever, until a signal comes. */
	check(vcpu_run(vcpu) == EINTR);
	check(vcpu->run->exit_reason == KVM_EXIT_INTR);
	/* And not at all with this. */
	vcpu->run->immediate_exit = 1;
	check(vcpu_run(vcpu) == EINTR);
	return NULL;
}

int main(void)
{
	const struct sigaction action = {.sa_handler = ignore};
	struct machine m;
	struct vcpu vcpu[VCPUS];
	pthread_t thread[VCPUS];

	check(sigaction(SIGUSR1, &action, NULL) == 0);
	machine_init(&m);
	for (unsigned i = 0; i < VCPUS; i++)
		vcpu_init(&vcpu[i], &m, i);
	for (unsigned i = 0; i < VCPUS; i++)
		check(pthread_create(&thread[i], NULL, run, &vcpu[i]) == 0);
	while (__atomic_load_n((uint64_t *)(m.memory + COUNTER), __ATOMIC_RELAXED) < VCPUS * COUNT)
		(void)usleep(1000);
	for (unsigned i = 0; i < VCPUS; i++) {
		/* As often as it takes: it may be on its way in. */
		while (pthread_tryjoin_np(thread[i], NULL) != 0) {
			(void)pthread_kill(thread[i], SIGUSR1);
			(void)usleep(1000);
		}
	}
	check(*(uint64_t *)(m.memory + COUNTER) == VCPUS * COUNT);
	for (unsigned i = 0; i < VCPUS; i++)
		vcpu_done(&vcpu[i], &m);
	machine_done(&m);
	return 0;
}
