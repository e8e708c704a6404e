// SPDX-License-Identifier: GPL-2.0-or-later
/* Several threads at the same VMs: nothing may hang, and what comes of it is legal. */
#include "conformance.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

/* As KVM's own selftest does: three SEV VMs take from each other, in vain. */
static struct vm three[3];

static void *take_in_turn(void *arg)
{
	for (unsigned i = 0; i < rounds; i++)
		(void)move_from(arg, three[i % 3].fd);
	return NULL;
}

static void all_sev(void)
{
	pthread_t thread[3];

	for (unsigned i = 0; i < 3; i++)
		three[i] = sev(4);
	for (unsigned i = 0; i < 3; i++)
		(void)pthread_create(&thread[i], NULL, take_in_turn, &three[i]);
	for (unsigned i = 0; i < 3; i++)
		(void)pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 3; i++)
		note("state %u", status_of(three[i].fd).state);
}

/* Two that start at the same time. */
struct racer {
	pthread_barrier_t *barrier;
	const struct vm *vm, *other;
	int (*act)(const struct vm *vm, const struct vm *other);
	int result; /* 0 or an errno */
};

static void *race_one(void *arg)
{
	struct racer *racer = arg;

	(void)pthread_barrier_wait(racer->barrier);
	racer->result = racer->act(racer->vm, racer->other) < 0 ? errno : 0;
	return NULL;
}

static void race(struct racer racers[2])
{
	pthread_barrier_t barrier;
	pthread_t thread[2];

	(void)pthread_barrier_init(&barrier, NULL, 2);
	for (unsigned i = 0; i < 2; i++) {
		racers[i].barrier = &barrier;
		(void)pthread_create(&thread[i], NULL, race_one, &racers[i]);
	}
	for (unsigned i = 0; i < 2; i++)
		(void)pthread_join(thread[i], NULL);
	(void)pthread_barrier_destroy(&barrier);
}

static int act_move(const struct vm *vm, const struct vm *other)
{
	return move_from(vm, other->fd);
}

static int act_copy(const struct vm *vm, const struct vm *other)
{
	return copy_from(vm, other->fd);
}

static int act_create(const struct vm *vm, const struct vm *other)
{
	int fd = ioctl(vm->fd, KVM_CREATE_VCPU, 9);

	(void)other;
	return fd < 0 ? fd : close(fd);
}

static int act_close(const struct vm *vm, const struct vm *other)
{
	(void)other;
	return close(vm->fd);
}

static unsigned some_rounds(void)
{
	return rounds > 100 ? rounds / 20 : rounds;
}

/* A from B against B from A, where B is SEV: one is refused, the other may win. */
static void there_and_back(void)
{
	for (unsigned i = 0; i < some_rounds(); i++) {
		struct vm a = aux(2), b = sev(2);
		struct racer racers[2] = {{.vm = &a, .other = &b, .act = act_move},
					  {.vm = &b, .other = &a, .act = act_move}};

		race(racers);
		/* b's own try finds a plain source, itself dead, or a move under way. */
		if ((racers[0].result != 0 && racers[0].result != EBUSY) ||
		    (racers[1].result != EINVAL && racers[1].result != EBUSY &&
		     racers[1].result != EIO))
			give_up("round %u: %s %s", i, strerrorname_np(racers[0].result),
				strerrorname_np(racers[1].result));
		vm_close(&a);
		vm_close(&b);
	}
	note("legal");
}

static void two_targets(void)
{
	unsigned both = 0, none = 0;

	for (unsigned i = 0; i < some_rounds(); i++) {
		struct vm a = aux(0), b = aux(0), source = sev(1);
		struct racer racers[2] = {{.vm = &a, .other = &source, .act = act_move},
					  {.vm = &b, .other = &source, .act = act_move}};

		race(racers);
		both += !racers[0].result && !racers[1].result;
		none += racers[0].result && racers[1].result;
		vm_close(&a);
		vm_close(&b);
		vm_close(&source);
	}
	note("%u both, %u none", both, none);
}

/* A vCPU comes to a VM that is moved: it is there before, or too late, or the move is. */
static void against_create(void)
{
	for (unsigned i = 0; i < some_rounds(); i++) {
		struct vm source = sev_es(1), target = aux(1);
		struct racer racers[2] = {{.vm = &target, .other = &source, .act = act_move},
					  {.vm = &source, .act = act_create}};

		race(racers);

		int m = racers[0].result, c = racers[1].result;

		if (!(m == 0 && (c == EIO || c == 0)) && !((m == EBUSY || m == EINVAL) && c == 0))
			give_up("round %u: %s %s", i, strerrorname_np(m), strerrorname_np(c));
		vm_close(&source);
		vm_close(&target);
	}
	note("legal");
}

static void against_copy(void)
{
	for (unsigned i = 0; i < some_rounds(); i++) {
		struct vm source = sev(1), target = aux(0), mirror = aux(0);
		struct racer racers[2] = {{.vm = &target, .other = &source, .act = act_move},
					  {.vm = &mirror, .other = &source, .act = act_copy}};

		race(racers);

		int m = racers[0].result, c = racers[1].result;

		if ((m && m != EBUSY) || (c && c != EBUSY && c != EINVAL) || (m && c))
			give_up("round %u: %s %s", i, strerrorname_np(m), strerrorname_np(c));
		vm_close(&source);
		vm_close(&target);
		vm_close(&mirror);
	}
	note("legal");
}

/* The owner moves while its mirror goes. */
static void against_destroy(void)
{
	for (unsigned i = 0; i < some_rounds(); i++) {
		struct vm owner = sev(1), mirror = aux(0), target = aux(0);

		(void)must(copy_from(&mirror, owner.fd), "copy");

		struct racer racers[2] = {{.vm = &target, .other = &owner, .act = act_move},
					  {.vm = &mirror, .act = act_close}};

		race(racers);
		(void)must(racers[0].result ? -1 : 0, "move");
		vm_close(&owner);
		vm_close(&target);
	}
	note("legal");
}

/* A move waits for a vCPU that runs, until it is left. */
#define COUNTER 0x1000
static const uint8_t endless[] = {0xfe, 0x06, 0x00, 0x10, 0xeb, 0xfa}; /* 1: incb 0x1000; jmp 1b */

static void *run_vcpu(void *arg)
{
	const struct vm *vm = arg;

	return (void *)(intptr_t)(ioctl(vm->vcpu[0], KVM_RUN, 0) < 0 ? errno : 0);
}

static void *move_meanwhile(void *arg)
{
	struct racer *racer = arg;

	racer->result = act_move(racer->vm, racer->other) < 0 ? errno : 0;
	return NULL;
}

static void ignore(int signal)
{
	(void)signal;
}

static void against_run(void)
{
	const struct sigaction action = {.sa_handler = ignore};
	struct shared memory = shared_new(0x2000);
	struct vm source = aux(0), target = aux(1);
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = 0, .rflags = 2};
	struct racer racer = {.vm = &target, .other = &source, .result = -1};
	pthread_t runner, mover;
	uint8_t before;
	void *ran;

	for (size_t i = 0; i < sizeof(endless); i++)
		memory.at[0][i] = endless[i];
	(void)must(command(source.fd, KVM_SEV_INIT, NULL, NULL), "INIT");
	source.n = 1;
	source.vcpu[0] = must(ioctl(source.fd, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	(void)must(launch_start(source.fd, 0), "LAUNCH_START");
	(void)must(set_memory(source.fd, 0, 0, memory.len, memory.at[0]), "memory");
	/* Encrypted: all of an SEV guest's code is, outside of paging. */
	(void)must(command(source.fd, KVM_SEV_LAUNCH_UPDATE_DATA,
			   &(struct kvm_sev_launch_update_data){.uaddr = POINTER(memory.at[0]),
								.len = (uint32_t)memory.len},
			   NULL),
		   "LAUNCH_UPDATE_DATA");
	(void)must(ioctl(source.vcpu[0], KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	(void)must(ioctl(source.vcpu[0], KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	(void)must(ioctl(source.vcpu[0], KVM_SET_REGS, &regs), "KVM_SET_REGS");
	(void)sigaction(SIGUSR1, &action, NULL);
	before = memory.at[0][COUNTER];
	(void)pthread_create(&runner, NULL, run_vcpu, &source);
	/* Ciphertext changes, too. */
	while (__atomic_load_n(&memory.at[0][COUNTER], __ATOMIC_RELAXED) == before)
		(void)usleep(1000);
	(void)pthread_create(&mover, NULL, move_meanwhile, &racer);
	(void)usleep(200000);
	note("%s", __atomic_load_n(&racer.result, __ATOMIC_RELAXED) == -1 ? "waits" : "is through");
	(void)pthread_kill(runner, SIGUSR1);
	(void)pthread_join(runner, &ran);
	(void)pthread_join(mover, NULL);
	note("%s", strerrorname_np((int)(intptr_t)ran));
	note("%d", racer.result);
}

const struct test_case thread_cases[] = {
	{"threads/all-sev", all_sev, "state 1 state 1 state 1", NULL, NEEDS_SEV},
	{"threads/there-and-back", there_and_back, "legal", NULL, NEEDS_SEV},
	{"threads/two-targets", two_targets, "0 both, 0 none", NULL, NEEDS_SEV},
	{"threads/against-create", against_create, "legal", NULL, NEEDS_ES},
	{"threads/against-copy", against_copy, "legal", NULL, NEEDS_SEV},
	{"threads/against-destroy", against_destroy, "legal", NULL, NEEDS_SEV | NEEDS_MIRROR_LOCK},
	{"threads/against-run", against_run, "waits EINTR 0", NULL, NEEDS_SEV},
	{0},
};
