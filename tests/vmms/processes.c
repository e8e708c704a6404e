// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Descriptors and processes: duplicates, fork, exec, SCM_RIGHTS.  A VM is of the address space that
 * made it; its descriptors are good for holding it and mapping, and no more, anywhere else.
 */
#include "machine.h"

#include <sys/socket.h>
#include <sys/wait.h>

GUEST("	out 0x10, al\n"
      "	mov [0x3000], edi\n"
      "	hlt\n");

static int status_of(pid_t pid)
{
	int status;

	check(waitpid(pid, &status, 0) == pid);
	check(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* All that is said here of a VM that another address space made. */
static void look_at_foreign(const struct machine *m, const struct vcpu *vcpu)
{
	struct kvm_regs regs;
	void *run;

	check(ioctl(m->vm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) < 0 && errno == EIO);
	check(ioctl(m->vm, KVM_CREATE_VCPU, 3) < 0 && errno == EIO);
	check(ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 && errno == EIO);
	check(ioctl(vcpu->fd, KVM_RUN, 0) < 0 && errno == EIO);
	run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	check(run != MAP_FAILED);
	check(munmap(run, m->run_size) == 0);
}

static void run_once(unsigned id)
{
	struct machine m;
	struct vcpu vcpu;

	machine_init(&m);
	vcpu_init(&vcpu, &m, id);
	check(vcpu_run(&vcpu) == 0 && vcpu.run->exit_reason == KVM_EXIT_IO);
	check(vcpu_run(&vcpu) == 0 && vcpu.run->exit_reason == KVM_EXIT_HLT);
	check(m.memory[0x3000] == id);
	vcpu_done(&vcpu, &m);
	machine_done(&m);
}

static void send_fds(int socket, const int fds[2])
{
	char control[CMSG_SPACE(2 * sizeof(int))] = {0};
	struct iovec iov = {(char[]){'x'}, 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);

	*cmsg = (struct cmsghdr){CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(cmsg), fds, 2 * sizeof(int));
	check(sendmsg(socket, &message, 0) == 1);
}

static void receive_fds(int socket, int ret[2])
{
	char control[CMSG_SPACE(2 * sizeof(int))], byte;
	struct iovec iov = {&byte, 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};

	check(recvmsg(socket, &message, 0) == 1);
	check(CMSG_FIRSTHDR(&message) && CMSG_FIRSTHDR(&message)->cmsg_type == SCM_RIGHTS);
	memcpy(ret, CMSG_DATA(CMSG_FIRSTHDR(&message)), 2 * sizeof(int));
}

/* A process of another program, which has inherited nothing but its end of a socket. */
static int stranger(int socket)
{
	struct machine m = {.kvm = open_kvm()};
	struct vcpu vcpu;
	int fds[2];

	m.run_size = (size_t)ioctl(m.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	receive_fds(socket, fds);
	m.vm = fds[0];
	vcpu.fd = fds[1];
	look_at_foreign(&m, &vcpu);
	run_once(7);
	return 0;
}

/* ... and one that has inherited /dev/kvm itself, which is nobody's in particular. */
static int heir(int kvm)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	check(vm >= 0);
	check(ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) > 0);
	return 0;
}

static void exec_self(const char *what, int fd)
{
	char number[16];

	(void)snprintf(number, sizeof(number), "%d", fd);
	(void)execl("/proc/self/exe", "processes", what, number, NULL);
	check(!"exec");
}

int main(int argc, char **argv)
{
	struct machine m;
	struct vcpu vcpu, copy;
	int ends[2];
	pid_t pid;

	if (argc == 3)
		return strcmp(argv[1], "stranger") == 0 ? stranger(atoi(argv[2]))
							: heir(atoi(argv[2]));
	machine_init(&m);
	vcpu_init(&vcpu, &m, 1);

	/* The child has copies of all descriptors. */
	pid = fork();
	check(pid >= 0);
	if (pid == 0) {
		look_at_foreign(&m, &vcpu);
		run_once(5); /* its own */
		_exit(0);
	}
	check(status_of(pid) == 0);

	check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
	pid = fork();
	check(pid >= 0);
	if (pid == 0)
		exec_self("stranger", ends[1]);
	send_fds(ends[0], (const int[]){m.vm, vcpu.fd});
	check(status_of(pid) == 0);

	pid = fork();
	check(pid >= 0);
	if (pid == 0) {
		check(fcntl(m.kvm, F_SETFD, 0) == 0);
		exec_self("heir", m.kvm);
	}
	check(status_of(pid) == 0);

	/* A duplicate is as good as the first; the VM lives as long as its vCPU. */
	copy = vcpu;
	copy.fd = dup(vcpu.fd);
	check(copy.fd >= 0 && close(vcpu.fd) == 0 && close(m.vm) == 0 && close(m.kvm) == 0);
	check(vcpu_run(&copy) == 0 && vcpu.run->exit_reason == KVM_EXIT_IO);
	check(vcpu_run(&copy) == 0 && vcpu.run->exit_reason == KVM_EXIT_HLT);
	check(m.memory[0x3000] == 1);
	vcpu_done(&copy, &m);
	return 0;
}
