/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VMM's side of a rescue: the guardian.
 *
 * Theory of operation.  KVM answers an ioctl on a VM only if the caller's address space is the one
 * that created it (kvm_vm_ioctl() compares mm), whichever process asks.  The guardian is a process
 * that shares that address space: clone() with CLONE_VM, but without CLONE_THREAD and CLONE_FILES,
 * so that a fatal signal to the VMM is none to the guardian, and the VMM's other fds can be closed
 * in it.  When every thread of the VMM is dead, which a pidfd tells, no vCPU is in the guest, and
 * all that KVM and the VMM knew is still there to be read: the guardian writes it to the state area
 * that the keeper holds, and ends.  The address space ends with it, the VM lives on by the keeper's
 * file descriptor if it is confidential, and guest memory by that of the memory object.
 *
 * Until the VMM is dead, the guardian has the thread pointer in common with the VMM's main thread,
 * and with it errno and whatever else libc keeps there.  Up to that moment it therefore calls
 * nothing but the kernel, directly.  Afterwards libc is its own; only what another thread may have
 * locked when it died, such as the heap, stays out of reach.
 */
#include <vmrelay/rescue.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "area.h"
#include "channel.h"
#include "error.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "source.h"
#include "vm.h"

#if defined(__SANITIZE_THREAD__)
#define HAS_GUARDIAN false
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_GUARDIAN false
#endif
#endif
#ifndef HAS_GUARDIAN
#define HAS_GUARDIAN true
#endif

#define STACK_SIZE (256U * 1024U)
#define GUARD_SIZE 4096U

/* Before the VMM's death there must be no access to what a sanitizer keeps per thread either. */
#define before_death __attribute__((no_sanitize("address"), no_sanitize("undefined")))

struct vmr_rescue {
	struct vmr_rescue_config config;
	struct vmr_vm *vm;
	struct vmr_source *source;
	int pidfd; /* of this process */
	int *fds;  /* what the guardian needs, in ascending order */
	unsigned n_fds;
	void *stack;
	pid_t guardian; /* 0: none */
};

before_death static long kernel(long nr, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

/* Whoever holds a socket or a lock for longer than the VMM does keeps it from being closed. */
before_death static void close_others(const struct vmr_rescue *rescue)
{
	long next = 0;

	for (unsigned i = 0; i < rescue->n_fds; i++) {
		if (rescue->fds[i] > next)
			(void)kernel(SYS_close_range, next, rescue->fds[i] - 1, 0, 0, 0);
		next = rescue->fds[i] + 1;
	}
	(void)kernel(SYS_close_range, next, ~0U, 0, 0, 0);
}

before_death static void await_death(const struct vmr_rescue *rescue)
{
	struct pollfd p = {.fd = rescue->pidfd, .events = POLLIN};

	while (kernel(SYS_ppoll, (long)&p, 1, 0, 0, 0) <= 0)
		;
}

/*
 * The last exit of a vCPU is completed by KVM when it is entered the next time; immediate_exit is
 * all of the guest that there is then.
 */
static void complete_exit(const struct vmr_rescue *rescue, unsigned index)
{
	const struct vm_vcpu *vcpu = &rescue->vm->vcpus[index];
	bool is_beyond = rescue->vm->sev.kind == VMR_CONFIDENTIAL_SEV_ES;
	uint32_t reason = vcpu->run->exit_reason;

	if (reason != KVM_EXIT_UNKNOWN && reason != KVM_EXIT_INTR && !is_beyond)
		return;
	vcpu->run->immediate_exit = 1;
	(void)kvm_vcpu_run(vcpu->fd);
}

before_death static int guard(void *arg)
{
	const struct vmr_rescue *rescue = arg;
	struct area_header *header = area_header(source_area(rescue->source));
	struct vmr_error error;

	(void)kernel(SYS_prctl, PR_SET_NAME, (long)"vmrelay-guard", 0, 0, 0);
	close_others(rescue);
	await_death(rescue);

	atomic_store(&header->orphaned, monotonic_ns());
	atomic_store(&header->is_paused, rescue->config.begin(rescue->config.opaque));
	for (unsigned i = 0; i < rescue->vm->n_vcpus; i++)
		complete_exit(rescue, i);
	/* If it fails a slot stays empty, and the keeper sees that. */
	(void)source_salvage(rescue->source, &error);
	(void)kernel(SYS_exit_group, 0, 0, 0, 0, 0);
	return 0;
}

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static int collect_fds(struct vmr_rescue *rescue)
{
	const struct vmr_vm *vm = rescue->vm;
	unsigned n = 0;

	rescue->fds = calloc(2 + vm->n_vcpus + 2 * vm->n_irqfds, sizeof(rescue->fds[0]));
	if (!rescue->fds)
		return -ENOMEM;
	rescue->fds[n++] = rescue->pidfd;
	rescue->fds[n++] = vm->vm_fd;
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		rescue->fds[n++] = vm->vcpus[i].fd;
	for (unsigned i = 0; i < vm->n_irqfds; i++) {
		rescue->fds[n++] = vm->irqfds[i].event_fd;
		if (vm->irqfds[i].resample_fd >= 0)
			rescue->fds[n++] = vm->irqfds[i].resample_fd;
	}
	qsort(rescue->fds, n, sizeof(rescue->fds[0]), compare_fds);
	rescue->n_fds = n;
	return 0;
}

static int allocate_stack(struct vmr_rescue *rescue)
{
	void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED)
		return -errno;
	rescue->stack = stack;
	return negative_errno(mprotect(stack, GUARD_SIZE, PROT_NONE));
}

int vmr_rescue_new(struct vmr_vm *vm, const struct vmr_rescue_config *config,
		   struct vmr_rescue **ret, struct vmr_error *ret_error)
{
	const struct vmr_source_config source_config = {
		.version = config->version,
		.sock = fcntl(config->sock, F_DUPFD_CLOEXEC, 0),
		.target_pidfd = -1,
		.sections = config->sections,
		.n_sections = config->n_sections,
	};
	struct vmr_rescue *rescue = calloc(1, sizeof(*rescue));
	int r = 0;

	if (!rescue || source_config.sock < 0) {
		close_fd(source_config.sock);
		free(rescue);
		return error_set(ret_error, -ENOMEM, "allocation", "rescue", NULL);
	}
	rescue->config = *config;
	rescue->vm = vm;
	rescue->pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (rescue->pidfd < 0)
		r = -errno;
	if (r == 0)
		r = collect_fds(rescue);
	if (r == 0)
		r = allocate_stack(rescue);
	if (r < 0)
		(void)error_set(ret_error, r, "rescue", "guardian", NULL);
	if (r == 0)
		r = source_new_for_keeper(vm, &source_config, &rescue->source, ret_error);
	else
		close_fd(source_config.sock);
	if (r < 0) {
		(void)vmr_rescue_free(rescue);
		return r;
	}
	*ret = rescue;
	return 0;
}

int vmr_rescue_add_fd(struct vmr_rescue *rescue, uint32_t tag, int fd)
{
	return vmr_source_add_fd(rescue->source, tag, fd);
}

int vmr_rescue_add_blob(struct vmr_rescue *rescue, uint32_t type, const void *data, size_t len)
{
	return vmr_source_add_blob(rescue->source, type, data, len);
}

static int start_guardian(struct vmr_rescue *rescue)
{
	sigset_t all, old;
	int pid;

	if (!HAS_GUARDIAN)
		return -ENOTSUP;
	/* Signals that the terminal or a service manager sends to all are not for it. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = clone(guard, (uint8_t *)rescue->stack + STACK_SIZE, CLONE_VM, rescue);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		return -errno;
	rescue->guardian = pid;
	return 0;
}

int vmr_rescue_arm(struct vmr_rescue *rescue, struct vmr_error *ret_error)
{
	bool is_confidential = rescue->vm->sev.kind != VMR_CONFIDENTIAL_NONE;
	int r = vmr_source_offer(rescue->source, ret_error);

	if (r < 0)
		return r;
	r = start_guardian(rescue);
	if (r < 0)
		return error_set(ret_error, r, "clone", "guardian", NULL);

	autofd pidfd = (int)syscall(SYS_pidfd_open, rescue->guardian, 0);
	const int fds[] = {pidfd, rescue->vm->vm_fd};

	r = pidfd < 0 ? -errno
		      : channel_send(vmr_source_fd(rescue->source), CHANNEL_KEEP, NULL, 0, fds,
				     is_confidential ? 2 : 1);
	return r < 0 ? error_set(ret_error, r, "rescue", "keeper", NULL) : 0;
}

struct vmr_rescue *vmr_rescue_free(struct vmr_rescue *rescue)
{
	if (!rescue)
		return NULL;
	if (rescue->guardian > 0) {
		(void)kill(rescue->guardian, SIGKILL);
		/* A child that sends no signal when it ends is waited for only if one says so. */
		while (waitpid(rescue->guardian, NULL, __WALL) < 0 && errno == EINTR)
			;
	}
	(void)vmr_source_free(rescue->source);
	if (rescue->stack)
		(void)munmap(rescue->stack, STACK_SIZE);
	free(rescue->fds);
	close_fd(rescue->pidfd);
	free(rescue);
	return NULL;
}
