// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * native.c - instructions by the processor, in a child that can do nothing else
 *
 * Theory of operation.  Registers are loaded and taken by the kernel: the handler of a signal finds
 * them in its frame, XSAVE's area included, and what it leaves there is loaded on its return.  The
 * handler puts the next case there; that ends with INT3, or with an exception of its own, and so in
 * the handler again.  Its stack, cases and outcomes are out of reach of what the registers hold by
 * more than accident; strict seccomp leaves exit, read, write and sigreturn to an instruction that
 * is a system call after all.
 */
#include "check.h"

#include <asm/prctl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "kvm/cleanup.h"

#define BATCH_TIMEOUT_MS 10000
#define XSAVE_HEADER	 512
#define XSAVE_YMM	 576
#define STACK_LEN	 65536
#define INT3		 0xcc
/* Linux's: arch/x86/include/asm/segment.h */
#define USER32_CS 0x23
#define USER_DS	  0x2b
#define USER_CS	  0x33

struct shared {
	struct test_case cases[BATCH];
	struct outcome outcomes[BATCH];
	_Atomic unsigned done;
	unsigned n;
};

struct native {
	struct shared *shared;
	uint8_t *code; /* writable; what is at CODE_BASE is not */
};

/* The handler has no argument of ours. */
static struct shared *shared;
static volatile int current;

static const int register_of[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,	 REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static void take(const ucontext_t *context, struct outcome *ret)
{
	const greg_t *gregs = context->uc_mcontext.gregs;
	const struct _libc_fpstate *fpu = context->uc_mcontext.fpregs;
	struct registers *registers = &ret->registers;
	const uint8_t *area = (const uint8_t *)fpu;
	uint64_t present;

	for (unsigned i = 0; i < 16; i++)
		registers->gpr[i] = (uint64_t)gregs[register_of[i]];
	registers->rip = (uint64_t)gregs[REG_RIP];
	registers->rflags = (uint64_t)gregs[REG_EFL];
	registers->mxcsr = fpu->mxcsr;
	registers->fcw = fpu->cwd;
	registers->fsw = fpu->swd;
	registers->ftw = (uint8_t)fpu->ftw;
	memcpy(&present, area + XSAVE_HEADER, sizeof(present));
	memcpy(registers->xmm, fpu->_xmm, sizeof(registers->xmm));
	if (present & 4)
		memcpy(registers->ymm_high, area + XSAVE_YMM, sizeof(registers->ymm_high));
	else
		memset(registers->ymm_high, 0, sizeof(registers->ymm_high));
	memcpy(ret->data, (const void *)DATA_BASE, DATA_LEN);

	ret->vector = (uint8_t)gregs[REG_TRAPNO];
	ret->error = (uint32_t)gregs[REG_ERR];
	ret->address = (uint64_t)gregs[REG_CR2];
	if (ret->vector == VECTOR_BP) {
		ret->vector = NO_VECTOR;
		registers->rip--;
	}
	ret->is_known = true;
}

static void give(ucontext_t *context, const struct test_case *test)
{
	greg_t *gregs = context->uc_mcontext.gregs;
	struct _libc_fpstate *fpu = context->uc_mcontext.fpregs;
	const struct registers *registers = &test->registers;
	uint8_t *area = (uint8_t *)fpu;
	uint64_t present;

	for (unsigned i = 0; i < 16; i++)
		gregs[register_of[i]] = (greg_t)registers->gpr[i];
	gregs[REG_RIP] = (greg_t)registers->rip;
	/* CS is in the lowest of four halves. */
	gregs[REG_CSGSFS] = (greg_t)(((uint64_t)gregs[REG_CSGSFS] & ~0xffffull) |
				     (test->is_32 ? USER32_CS : USER_CS));
	gregs[REG_EFL] = (greg_t)registers->rflags;
	fpu->mxcsr = registers->mxcsr;
	fpu->cwd = registers->fcw;
	fpu->swd = registers->fsw;
	fpu->ftw = registers->ftw;
	memset(fpu->_st, 0, sizeof(fpu->_st));
	memcpy(&present, area + XSAVE_HEADER, sizeof(present));
	present |= 7;
	memcpy(area + XSAVE_HEADER, &present, sizeof(present));
	memcpy(fpu->_xmm, registers->xmm, sizeof(registers->xmm));
	memcpy(area + XSAVE_YMM, registers->ymm_high, sizeof(registers->ymm_high));
	memcpy((void *)DATA_BASE, test->data, DATA_LEN);
}

static void handle(int signal, siginfo_t *info, void *opaque)
{
	ucontext_t *context = opaque;

	(void)signal;
	(void)info;
	if (current >= 0) {
		take(context, &shared->outcomes[current]);
		shared->done = (unsigned)current + 1;
	}
	current++;
	/* exit(), which is all that strict seccomp knows, not exit_group() */
	if ((unsigned)current == shared->n)
		(void)syscall(SYS_exit, 0);
	give(context, &shared->cases[current]);
}

static _Noreturn void child(void)
{
	static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	static uint8_t stack[STACK_LEN];
	const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Have them mapped, so that a store faults as one to memory that is read-only. */
	for (size_t i = 0; i < CODE_LEN; i += 4096)
		(void)*(const volatile uint8_t *)(CODE_BASE + i);
	if (sigaltstack(&alternate, NULL))
		_exit(1);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (sigaction(signals[i], &action, NULL))
			_exit(1);
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		_exit(1);
	/* 64-bit mode does not care. */
	__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(USER_DS));
	__asm__ volatile("int3");
	__builtin_unreachable();
}

struct native *native_new(void)
{
	struct native *native = calloc(1, sizeof(*native));
	autofd fd = memfd_create("code", MFD_CLOEXEC);
	void *code, *data;

	if (!native || fd < 0 || ftruncate(fd, CODE_LEN))
		return native_free(native);
	native->shared = mmap(NULL, sizeof(*native->shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	native->code = mmap(NULL, CODE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	code = mmap((void *)CODE_BASE, CODE_LEN, PROT_READ | PROT_EXEC,
		    MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	data = mmap((void *)DATA_BASE, DATA_LEN, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (native->shared == MAP_FAILED || native->code == MAP_FAILED ||
	    code != (void *)CODE_BASE || data != (void *)DATA_BASE)
		return native_free(native);
	return native;
}

struct native *native_free(struct native *native)
{
	free(native); /* mappings go with the process */
	return NULL;
}

struct test_case *native_cases(struct native *native)
{
	return native->shared->cases;
}

const struct outcome *native_outcomes(const struct native *native)
{
	return native->shared->outcomes;
}

bool native_run(struct native *native, unsigned n, unsigned *ret_done)
{
	struct pollfd poll_child = {.events = POLLIN};
	int status;
	pid_t pid;

	shared = native->shared;
	shared->n = n;
	shared->done = 0;
	current = -1;
	memset(native->code, INT3, n * SLOT_LEN);
	for (unsigned i = 0; i < n; i++)
		memcpy(native->code + i * SLOT_LEN + SLOT_INSN, shared->cases[i].code,
		       shared->cases[i].length);
	pid = fork();
	if (pid == 0)
		child();
	*ret_done = 0;
	if (pid < 0)
		return false;
	poll_child.fd = pidfd_open(pid, 0);
	if (poll_child.fd < 0 || poll(&poll_child, 1, BATCH_TIMEOUT_MS) != 1)
		(void)kill(pid, SIGKILL);
	if (poll_child.fd >= 0)
		(void)close(poll_child.fd);
	if (waitpid(pid, &status, 0) != pid)
		return false;
	*ret_done = shared->done;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 && shared->done == n;
}
