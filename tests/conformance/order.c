// SPDX-License-Identifier: GPL-2.0-or-later
/* KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM: what it takes for a source, and which complaint comes first. */
#include "conformance.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void check_extension(void)
{
	note_result(ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM));
	note_result(ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_COPY_ENC_CONTEXT_FROM));
}

static void bad_descriptors(void)
{
	struct vm target = aux(1), other = aux(1);
	int ends[2], closed = dup(kvm_fd);

	(void)must(pipe(ends), "pipe");
	(void)close(closed);
	const int fds[] = {-1, closed, ends[0], kvm_fd, other.vcpu[0]};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		note_result(move_from(&target, fds[i]));
}

static void sev_device_as_source(void)
{
	struct vm target = aux(1);

	note_result(move_from(&target, sev_fd));
}

static void flags(void)
{
	struct vm target = aux(4), source = sev(4);

	note_result(
		enable_cap(target.fd, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, 1, (uint64_t)source.fd));
}

static void upper_half_of_argument(void)
{
	struct vm target = aux(4), source = sev(4);

	note_result(enable_cap(target.fd, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, 0,
			       (uint64_t)source.fd | 1ull << 40));
}

static void bad_pointer(void)
{
	struct vm target = aux(0);

	note_result(ioctl(target.fd, KVM_ENABLE_CAP, NULL));
}

static void self(void)
{
	struct vm vm = aux(1);

	note_result(move_from(&vm, vm.fd));
	note_result(move_from(&vm, dup(vm.fd)));
}

static void self_that_is_sev(void)
{
	struct vm vm = sev(1);

	note_result(move_from(&vm, vm.fd));
}

static void bad_descriptor_into_sev(void)
{
	struct vm vm = sev(1);

	note_result(move_from(&vm, -1));
}

static void bad_descriptor_into_dead(void)
{
	struct vm source = sev(1), target = aux(1);

	note_result(move_from(&target, source.fd));
	note_result(move_from(&source, -1));
}

static void plain_source(void)
{
	struct vm target = aux(0), source = aux(4);

	note_result(move_from(&target, source.fd));
}

static void source_closed_at_once(void)
{
	struct vm source = sev(2), target = aux(2);

	use_stored_fd();

	const struct kvm_sev_guest_status before = status_of(source.fd);

	note_result(move_from(&target, source.fd));
	vm_close(&source);

	const struct kvm_sev_guest_status after = status_of(target.fd);

	note_same(memcmp(&before, &after, sizeof(before)) == 0);
}

/* A process that has made a VM passes it on, and dies. */
static int vm_of_another(bool dies_first, int *ret_pid)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
	int ends[2], fd;

	(void)must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), "socketpair");
	*ret_pid = must(fork(), "fork");
	if (*ret_pid == 0) {
		struct vm vm = sev(4);

		*cmsg = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(cmsg), &vm.fd, sizeof(vm.fd));
		(void)must(sendmsg(ends[1], &message, 0), "sendmsg");
		if (!dies_first)
			(void)pause();
		_exit(0);
	}
	(void)must(recvmsg(ends[0], &message, 0), "recvmsg");
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	if (dies_first)
		(void)waitpid(*ret_pid, NULL, 0);
	return fd;
}

static void source_of_another_process(void)
{
	struct vm target = aux(4);
	int pid, fd = vm_of_another(false, &pid);

	note_result(ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY));
	note_result(move_from(&target, fd));
}

static void source_of_dead_process(void)
{
	struct vm target = aux(4);
	int pid, fd = vm_of_another(true, &pid);

	note_result(move_from(&target, fd));
	note_result(move_from(&target, fd));
}

/* Forked: the VM is its parent's. */
static void target_of_another_process(void)
{
	struct vm source = sev(2), target = aux(2);
	int status, pid = must(fork(), "fork");

	if (pid == 0)
		_exit(move_from(&target, source.fd) < 0 ? errno : 0);
	(void)waitpid(pid, &status, 0);
	note("%s", strerrorname_np(WEXITSTATUS(status)));
	note_result(move_from(&target, source.fd));
}

static void es_count_and_vmsa(void)
{
	struct vm target = aux(2), source = aux(0);

	(void)must(command(source.fd, KVM_SEV_ES_INIT, NULL, NULL), "ES_INIT");
	(void)must(ioctl(source.fd, KVM_CREATE_VCPU, 1), "KVM_CREATE_VCPU");
	note_result(move_from(&target, source.fd));
}

const struct test_case order_cases[] = {
	{"cap/check-extension", check_extension, "1 1", NULL, 0},
	{"move/bad-descriptors", bad_descriptors, "EBADF EBADF EBADF EBADF EBADF", NULL, NEEDS_SEV},
	{"move/sev-device-as-source", sev_device_as_source, "EBADF", NULL, NEEDS_SEV},
	{"move/flags", flags, "EINVAL", NULL, NEEDS_SEV},
	{"move/upper-half-of-argument", upper_half_of_argument, "0", NULL, NEEDS_SEV},
	{"move/bad-pointer", bad_pointer, "EFAULT", NULL, 0},
	{"move/self", self, "EINVAL EINVAL", NULL, 0},
	{"move/self-that-is-sev", self_that_is_sev, "EINVAL", NULL, NEEDS_SEV},
	{"move/bad-descriptor-into-sev", bad_descriptor_into_sev, "EBADF", NULL, NEEDS_SEV},
	{"move/bad-descriptor-into-dead", bad_descriptor_into_dead, "0 EIO", NULL, NEEDS_SEV},
	{"move/plain-source", plain_source, "EINVAL", NULL, 0},
	{"move/source-closed-at-once", source_closed_at_once, "0 same", NULL, NEEDS_SEV},
	{"move/source-of-another-process", source_of_another_process, "EIO 0", NULL, NEEDS_SEV},
	{"move/source-of-dead-process", source_of_dead_process, "0 EINVAL", NULL, NEEDS_SEV},
	{"move/target-of-another-process", target_of_another_process, "EIO 0", NULL, NEEDS_SEV},
	{"move/es-count-and-vmsa", es_count_and_vmsa, "EINVAL", NULL, NEEDS_ES},
	{0},
};
