// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connections, calls and the preloaded library: a program on a host with a toy for a device.
 *
 * The test starts itself again with the library in place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/cleanup.h"
#include "toy.h"

static int toy(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Until the objects of earlier tests are gone. */
static void assert_objects(int fd, int n)
{
	int now;

	while ((now = ioctl(fd, TOY_OBJECTS)) > n)
		(void)sched_yield();
	assert_int_equal(now, n);
}

static void assert_errno(int r, int error)
{
	assert_int_equal(r, -1);
	assert_int_equal(errno, error);
}

/* It takes fstat() and others over itself, and cannot bear clone(). */
static bool is_under_tsan(void)
{
	return dlsym(RTLD_DEFAULT, "__tsan_init") != NULL;
}

static void test_open(void **state)
{
	(void)state;
	autofd fd = open("/dev/kvm", O_RDWR);
	struct stat st;
	struct statx stx;
	int pair[2];

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	assert_int_equal(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
	close_fd(fd);
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(S_ISCHR(st.st_mode) || is_under_tsan());
	assert_true(st.st_rdev == makedev(10, 232) || is_under_tsan());
	assert_int_equal(fstatat(fd, "", &st, AT_EMPTY_PATH), 0);
	assert_true(S_ISCHR(st.st_mode) || is_under_tsan());

	autofd unnamed = ioctl(fd, TOY_NEW, 1);

	assert_int_equal(fstat(unnamed, &st), 0);
	assert_true(st.st_mode == 0600 || is_under_tsan());
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(fstat(pair[0], &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	close_fd(pair[0]);
	close_fd(pair[1]);
	assert_errno(open("/dev/sev", O_RDWR), ENOENT);
	assert_int_equal(access("/dev/kvm", R_OK | W_OK), 0);
	assert_errno(access("/dev/kvm", X_OK), EACCES);
	assert_errno(access("/dev/sev", F_OK), ENOENT);
	assert_int_equal(stat("/dev/kvm", &st), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_int_equal(st.st_rdev, makedev(10, 232));
	assert_errno(stat("/dev/sev", &st), ENOENT);
	assert_int_equal(statx(AT_FDCWD, "/dev/kvm", 0, STATX_BASIC_STATS, &stx), 0);
	assert_int_equal(stx.stx_rdev_minor, 232);
	assert_int_equal(stat("/dev/null", &st), 0);
	assert_int_equal(st.st_rdev, makedev(1, 3));
	assert_errno(open("/dev/kvm", O_RDWR | O_DIRECTORY), ENOTDIR);

	FILE *file = fopen("/dev/kvm", "r+e");

	assert_non_null(file);
	assert_int_equal(ioctl(fileno(file), TOY_NOTHING), 0);
	(void)fclose(file);
}

static void test_ioctl(void **state)
{
	(void)state;
	autofd fd = toy();
	int pair[2];

	assert_int_equal(ioctl(fd, TOY_NOTHING, 0), 0);
	errno = 77;
	assert_int_equal(ioctl(fd, TOY_NOTHING, 0), 0);
	assert_int_equal(errno, 77);
	assert_errno(ioctl(fd, _IO(KVMIO, 99), 0), ENOTTY);
	assert_errno(ioctl(-1, TOY_NOTHING, 0), EBADF);
	/* Somebody else's socket. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_errno(ioctl(pair[0], TOY_NOTHING, 0), ENOTTY);
	close_fd(pair[0]);
	close_fd(pair[1]);
}

static void test_copies(void **state)
{
	(void)state;
	static unsigned char bytes[100000];
	struct toy_memory memory = {(uint64_t)bytes, sizeof(bytes), 0};
	long page = sysconf(_SC_PAGESIZE);
	char *guarded = mmap(NULL, 2 * (size_t)page, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	autofd fd = toy();
	uint64_t value = 40;

	memset(bytes, 3, sizeof(bytes));
	assert_int_equal(ioctl(fd, TOY_SUM, &memory), 0);
	assert_int_equal(memory.sum, 3 * sizeof(bytes));
	for (unsigned n = 0; n < 2; n++) {
		memory.sum = 7 + n;
		for (memory.len = 1; memory.len <= sizeof(bytes); memory.len = memory.len * 3 + 1) {
			memset(bytes, 3, sizeof(bytes));
			assert_int_equal(ioctl(fd, n ? TOY_FILL_NOW : TOY_FILL, &memory), 0);
			assert_int_equal(bytes[memory.len - 1], 7 + n);
			assert_int_equal(bytes[memory.len], 3);
		}
	}
	assert_int_equal(ioctl(fd, TOY_TWICE, &value), 0);
	assert_int_equal(value, 42);

	/* Faults: the argument, what it points to, and half of it. */
	assert_int_equal(munmap(guarded + page, (size_t)page), 0);
	assert_errno(ioctl(fd, TOY_SUM, guarded + page), EFAULT);
	assert_errno(ioctl(fd, TOY_SUM, NULL), EFAULT);
	memory = (struct toy_memory){(uint64_t)(guarded + page - 4), 8, 9};
	assert_errno(ioctl(fd, TOY_SUM, &memory), EFAULT);
	assert_errno(ioctl(fd, TOY_FILL, &memory), EFAULT);
	assert_errno(ioctl(fd, TOY_FILL_NOW, &memory), EFAULT);
	assert_int_equal(mprotect(guarded, (size_t)page, PROT_READ), 0);
	memory.len = 4;
	assert_int_equal(ioctl(fd, TOY_SUM, &memory), 0);
	assert_errno(ioctl(fd, TOY_FILL, &memory), EFAULT);
	(void)munmap(guarded, (size_t)page);
}

static void test_objects(void **state)
{
	(void)state;
	autofd fd = toy();
	autofd event = eventfd(0, EFD_CLOEXEC);
	autofd new = ioctl(fd, TOY_NEW, 1);
	autofd copy = dup(fd);
	uint64_t value;

	assert_true(new >= 0);
	assert_int_equal(fcntl(new, F_GETFD), FD_CLOEXEC);
	assert_objects(fd, 2);
	assert_int_equal(ioctl(fd, TOY_IS_THIS, copy), 1);
	assert_int_equal(ioctl(fd, TOY_IS_THIS, new), 0);
	assert_errno(ioctl(fd, TOY_IS_THIS, event), EBADF);
	assert_errno(ioctl(fd, TOY_IS_THIS, 9999), EBADF);
	assert_errno(ioctl(fd, TOY_IS_THIS, -1), EBADF);
	assert_int_equal(ioctl(fd, TOY_POKE, event), 0);
	assert_int_equal(read(event, &value, sizeof(value)), sizeof(value));
	assert_int_equal(value, 1);

	/* The last descriptor, not the first, is the end of it. */
	fd = close_fd(fd);
	assert_int_equal(ioctl(copy, TOY_NOTHING), 0);
	new = close_fd(new);
	assert_objects(copy, 1);
}

static void test_mmap(void **state)
{
	(void)state;
	autofd fd = toy();
	char *all = mmap(NULL, TOY_MMAP_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *second = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4096);

	assert_ptr_not_equal(all, MAP_FAILED);
	assert_string_equal(all, "toy");
	assert_string_equal(second, "page 1");
	assert_ptr_equal(mmap(NULL, 16384, PROT_READ, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	(void)munmap(all, TOY_MMAP_SIZE);
	(void)munmap(second, 4096);
}

static _Atomic int n_handled;

static void handle(int number)
{
	(void)number;
	n_handled++;
}

static void *call_wait(void *opaque)
{
	int fd = *(int *)opaque;

	return (void *)(intptr_t)(ioctl(fd, TOY_WAIT) < 0 ? errno : 0);
}

static void test_signal(void **state)
{
	(void)state;
	autofd fd = toy();
	pthread_t thread;
	void *result = NULL;
	struct sigaction action = {.sa_handler = handle};

	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	for (unsigned i = 0; i < 200; i++) {
		int handled = n_handled;

		assert_int_equal(pthread_create(&thread, NULL, call_wait, &fd), 0);
		/* Whenever it arrives. */
		for (unsigned n = 0; n < i * 10; n++)
			(void)getppid();
		do
			(void)pthread_kill(thread, SIGUSR1);
		while (pthread_tryjoin_np(thread, &result) == EBUSY && sched_yield() == 0);
		assert_int_equal((intptr_t)result, EINTR);
		assert_true(n_handled > handled);
		/* Earlier interruptions are nothing to this call. */
		assert_int_equal(ioctl(fd, TOY_NOTHING), 0);
	}
}

/* In a child made by whatever; its exit status is what is told. */
static void assert_child(pid_t child, int expected)
{
	int status;

	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), expected);
}

static int errno_of(int r)
{
	return r < 0 ? errno : 0;
}

static int clone_main(void *opaque)
{
	return ioctl(*(int *)opaque, TOY_MM) == 0 ? 42 : errno;
}

static void test_fork(void **state)
{
	(void)state;
	autofd fd = toy();
	pid_t child;

	assert_int_equal(ioctl(fd, TOY_MM), 0);
	/* Another address space, and other connections: both go on. */
	child = fork();
	if (child == 0) {
		int r = errno_of(ioctl(fd, TOY_MM));
		int own = open("/dev/kvm", O_RDWR);

		_exit(r == EIO && ioctl(own, TOY_MM) == 0 && ioctl(fd, TOY_NOTHING) == 0 ? 42 : r);
	}
	assert_int_equal(ioctl(fd, TOY_MM), 0);
	assert_child(child, 42);
	assert_int_equal(ioctl(fd, TOY_MM), 0);

	/* The same without libc's knowledge. */
	child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
	if (child == 0)
		_exit(errno_of(ioctl(fd, TOY_MM)) == EIO ? 42 : 1);
	assert_child(child, 42);
	assert_int_equal(ioctl(fd, TOY_MM), 0);
}

/* The same address space, as after vfork(): it is the kernel who says so. */
static void test_shared_memory(void **state)
{
	(void)state;
	static _Alignas(16) char stack[65536];
	pid_t child;

	if (is_under_tsan()) {
		print_message("# not tested: ThreadSanitizer cannot bear CLONE_VM\n");
		return;
	}

	autofd fd = toy();

	assert_int_equal(ioctl(fd, TOY_MM), 0);
	child = clone(clone_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, &fd);
	assert_child(child, 42);
	assert_int_equal(ioctl(fd, TOY_MM), 0);
}

static void *end_quickly(void *opaque)
{
	return (void *)(intptr_t)ioctl(*(int *)opaque, TOY_NOTHING);
}

static unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 20000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_threads(void **state)
{
	(void)state;
	autofd fd = toy();
	unsigned before = count_fds();

	for (unsigned i = 0; i < 300; i++) {
		pthread_t thread;
		void *result;

		assert_int_equal(pthread_create(&thread, NULL, end_quickly, &fd), 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_int_equal((intptr_t)result, 0);
	}
	assert_int_equal(count_fds(), before);
}

static void test_descriptors(void **state)
{
	(void)state;
	autofd fd = toy();
	autofd null = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(ioctl(fd, TOY_NOTHING), 0);
	assert_int_equal(syscall(SYS_close_range, 100, ~0u, 0), 0);
	assert_int_equal(ioctl(fd, TOY_NOTHING), 0);
	/* Others in their place, which nobody may touch. */
	for (int other = 100; other < 20000; other++)
		if (fcntl(other, F_GETFD) >= 0)
			assert_int_equal(dup2(null, other), other);
	assert_int_equal(ioctl(fd, TOY_NOTHING), 0);
	for (int other = 100; other < 20000; other++) {
		struct stat st;

		if (fcntl(other, F_GETFD) >= 0 && fstat(other, &st) == 0 && S_ISCHR(st.st_mode))
			close_fd(other);
	}
}

static void test_exec(void **state)
{
	(void)state;
	autofd fd = open("/dev/kvm", O_RDWR);
	pid_t child;

	assert_int_equal(ioctl(fd, TOY_MM), 0);
	child = fork();
	if (child == 0) {
		char number[16];

		(void)snprintf(number, sizeof(number), "%d", fd);
		(void)execl("/proc/self/exe", "test_host", "--exec", number, NULL);
		_exit(127);
	}
	assert_child(child, 42);
}

/* After execve(): the descriptor is what it was, in another address space. */
static int main_of_exec(const char *number)
{
	int fd = atoi(number);

	return errno_of(ioctl(fd, TOY_MM)) == EIO && ioctl(fd, TOY_NOTHING) == 0 ? 42 : 1;
}

static void test_passing(void **state)
{
	(void)state;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int pair[2];
	pid_t child;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	child = fork();
	if (child == 0) {
		int fd = open("/dev/kvm", O_RDWR);

		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
		_exit(fd >= 0 && ioctl(fd, TOY_MM) == 0 && sendmsg(pair[0], &msg, 0) == 1 ? 42 : 1);
	}
	assert_child(child, 42);
	/* It outlives the process that made it. */
	assert_int_equal(recvmsg(pair[1], &msg, MSG_CMSG_CLOEXEC), 1);

	autofd fd = -1;

	memcpy(&fd, CMSG_DATA(&control.align), sizeof(fd));
	assert_int_equal(ioctl(fd, TOY_NOTHING), 0);
	assert_errno(ioctl(fd, TOY_MM), EIO);
	close_fd(pair[0]);
	close_fd(pair[1]);
}

static void *wait_in_child(void *opaque)
{
	(void)ioctl(*(int *)opaque, TOY_WAIT);
	return NULL;
}

/* A client that is killed in the middle of a call leaves nothing. */
static void test_killed(void **state)
{
	(void)state;
	autofd fd = toy();

	for (unsigned i = 0; i < 20; i++) {
		int pair[2];
		pid_t child;
		char byte;

		assert_int_equal(pipe(pair), 0);
		child = fork();
		if (child == 0) {
			int own = open("/dev/kvm", O_RDWR);
			pthread_t thread;

			(void)pthread_create(&thread, NULL, wait_in_child, &own);
			(void)!write(pair[1], "", 1);
			(void)ioctl(own, TOY_WAIT);
			_exit(0);
		}
		assert_int_equal(read(pair[0], &byte, 1), 1);
		assert_int_equal(kill(child, SIGKILL), 0);
		(void)waitpid(child, NULL, 0);
		close_fd(pair[0]);
		close_fd(pair[1]);
	}
	assert_objects(fd, 1);
}

static int handler_fd;
static sigjmp_buf jump;

static void call_from_handler(int number)
{
	(void)number;
	n_handled += ioctl(handler_fd, TOY_NOTHING) == 0;
}

static void jump_from_handler(int number)
{
	(void)number;
	siglongjmp(jump, 1);
}

/* Another timer than alarm()'s. */
static void after(unsigned microseconds)
{
	const struct itimerspec when = {.it_value.tv_nsec = microseconds * 1000l};
	timer_t timer;

	assert_int_equal(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &when, NULL), 0);
}

/* A call that is left by longjmp(). */
static void leave_call(int fd)
{
	if (sigsetjmp(jump, 1) == 0) {
		after(2000);
		(void)ioctl(fd, TOY_WAIT);
		fail();
	}
}

static void test_handlers(void **state)
{
	(void)state;
	autofd fd = toy();
	struct sigaction action = {.sa_handler = call_from_handler};
	unsigned before;
	int handled = n_handled;

	handler_fd = toy();
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	after(2000);
	assert_errno(ioctl(fd, TOY_WAIT), EINTR);
	assert_int_equal(n_handled, handled + 1);
	before = count_fds();
	action.sa_handler = jump_from_handler;
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	for (unsigned i = 0; i < 20; i++) {
		leave_call(fd);
		/* It is over: a vCPU would be free. */
		assert_int_equal(ioctl(fd, TOY_NOTHING), 0);
	}
	assert_int_equal(count_fds(), before);
	handler_fd = close_fd(handler_fd);
	(void)signal(SIGALRM, SIG_DFL);
}

/* What QEMU once did: a signal that is blocked but in KVM_RUN, and fetched by sigtimedwait(). */
static void test_signal_mask(void **state)
{
	(void)state;
	autofd fd = toy();
	const struct timespec now = {0};
	sigset_t set, old;
	struct sigaction action = {.sa_handler = handle};
	int handled = n_handled;

	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGALRM);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
	after(2000);
	assert_errno(ioctl(fd, TOY_MASKED, 0ul), EINTR);
	assert_int_equal(sigtimedwait(&set, NULL, &now), SIGALRM);
	assert_int_equal(n_handled, handled);
	/* And the other way round. */
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	assert_int_equal(pthread_kill(pthread_self(), SIGUSR1), 0);
	assert_int_equal(n_handled, handled + 1);
	after(2000);
	assert_errno(ioctl(fd, TOY_MASKED, 1ul << (SIGUSR1 - 1)), EINTR);
	assert_int_equal(sigtimedwait(&set, NULL, &now), SIGALRM);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
	(void)signal(SIGALRM, SIG_DFL);
}

static void assert_flips(int fd, unsigned char *bytes, size_t len)
{
	struct toy_memory memory = {(uint64_t)bytes, len, 0};

	for (size_t i = 0; i < len; i++)
		bytes[i] = (unsigned char)i;
	for (unsigned n = 0; n < 2; n++)
		assert_int_equal(ioctl(fd, TOY_FLIP, &memory), 0);
	assert_int_equal(ioctl(fd, TOY_FLIP, &memory), 0);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(bytes[i], (unsigned char)~i);
}

/* depth * 128 bytes further down on the stack, so that its pages end elsewhere. */
static __attribute__((noinline)) bool flip_stack(int fd, unsigned depth)
{
	unsigned char on_stack[128];
	struct toy_memory memory = {(uint64_t)on_stack, sizeof(on_stack), 0};
	bool refused, same = true;

	memset(on_stack, (int)depth, sizeof(on_stack));
	if (depth > 0) {
		refused = flip_stack(fd, depth - 1);
	} else {
		refused = ioctl(fd, TOY_FLIP, &memory) < 0;
		if (refused)
			assert_int_equal(errno, EFAULT);
		else
			for (unsigned i = 0; i < sizeof(on_stack); i++)
				on_stack[i] ^= 0xff;
	}
	for (unsigned i = 0; i < sizeof(on_stack); i++)
		same &= on_stack[i] == (unsigned char)depth;
	assert_true(same);
	return refused;
}

static void *flip_thread_stack(void *arg)
{
	unsigned char above[12288];
	unsigned refused = 0;
	int fd = *(int *)arg;

	for (unsigned depth = 0; depth < 40; depth++)
		refused += flip_stack(fd, depth);
	assert_true(refused > 0);
	assert_flips(fd, above + 4096, sizeof(above) - 4096);
	return NULL;
}

/* What is on a stack that is in use cannot be shared, and nothing happens to it. */
static void test_share_stack(void **state)
{
	(void)state;
	autofd fd = toy();
	pthread_t thread;

	assert_true(flip_stack(fd, 200));
	assert_int_equal(pthread_create(&thread, NULL, flip_thread_stack, &fd), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_share(void **state)
{
	(void)state;
	static unsigned char data[12288] = {1};
	const size_t size = 65536;
	autofd fd = toy();
	autofd memfd = memfd_create("test", MFD_CLOEXEC);
	char path[] = "/tmp/test_host-XXXXXX";
	autofd file = mkstemp(path);
	unsigned char *private, *shared, *zero, *named;
	struct toy_memory memory = {0, size, 0};
	unsigned before = count_fds();

	private = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* In two mappings, and with untouched pages. */
	assert_int_equal(mprotect(private + size / 2, 4096, PROT_READ), 0);
	memset(private, 5, 4096);
	memory.address = (uint64_t) private;
	assert_errno(ioctl(fd, TOY_FLIP, &memory), EACCES);
	assert_int_equal(private[0], (unsigned char)~5);
	assert_int_equal(mprotect(private + size / 2, 4096, PROT_READ | PROT_WRITE), 0);
	assert_flips(fd, private, size);
	assert_flips(fd, data + 100, 8192);
	(void)munmap(private, size);
	assert_int_equal(count_fds(), before + 1); /* data's */

	/* Files whose descriptors are closed: without a name, and with one; at an offset. */
	assert_int_equal(ftruncate(memfd, (off_t)size), 0);
	assert_int_equal(ftruncate(file, (off_t)size), 0);
	shared = mmap(NULL, size - 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 4096);
	named = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	memfd = close_fd(memfd);
	file = close_fd(file);
	assert_flips(fd, shared, size - 4096);
	assert_flips(fd, named + 4096, 4096);
	zero = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_flips(fd, zero, size);
	(void)munmap(shared, size - 4096);
	(void)munmap(named, size);
	(void)munmap(zero, size);
	(void)unlink(path);
	assert_int_equal(count_fds(), before - 1);

	/* Nothing there. */
	memory.address = (uint64_t)zero;
	assert_errno(ioctl(fd, TOY_FLIP, &memory), EFAULT);
}

static void test_process(void **state)
{
	(void)state;
	autofd fd = toy();
	const struct rlimit limit = {1 << 20, 1 << 20};
	char cgroup[256], line[256], *found = NULL;
	FILE *file = fopen("/proc/self/cgroup", "re");
	pid_t child;

	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file))
		found = strncmp(line, "0::", 3) == 0 ? line + 3 : NULL;
	(void)fclose(file);
	assert_int_equal(ioctl(fd, TOY_CGROUP, cgroup), 0);
	line[strcspn(line, "\n")] = '\0';
	assert_string_equal(cgroup, found ? found : "/");

	child = fork();
	if (child == 0) {
		/* Without the capability that makes the limit void. */
		if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 ||
		    (getuid() == 0 && syscall(SYS_setuid, 65534) < 0))
			_exit(1);
		_exit(ioctl(fd, TOY_MEMLOCK) == (1 << 20) >> 12 ? 42 : 2);
	}
	assert_child(child, 42);
}

/* A client that stands still, with a lock held, is in nobody's way but of who wants that lock; and
 * that can be killed. */
static void test_stopped(void **state)
{
	(void)state;
	autofd fd = toy();
	autofd other = toy();
	struct toy_memory memory = {0, 1, 0};
	int pair[2];
	pid_t holder, waiter;
	int status;

	/* The host asks for a byte, and the answer is not to come: stopped by the debugger's means,
	 * right before it is given, is what SIGSTOP is after any message. */
	assert_int_equal(pipe(pair), 0);
	holder = fork();
	if (holder == 0) {
		memory.address = (uint64_t)&memory;
		(void)!write(pair[1], "", 1);
		for (;;)
			(void)ioctl(fd, TOY_LOCK, &memory);
	}
	assert_int_equal(read(pair[0], &status, 1), 1);
	assert_int_equal(kill(holder, SIGSTOP), 0);
	assert_int_equal(waitpid(holder, &status, WUNTRACED), holder);
	waiter = fork();
	if (waiter == 0) {
		memory.address = (uint64_t)&memory;
		_exit(ioctl(fd, TOY_LOCK, &memory) < 0);
	}
	assert_int_equal(ioctl(other, TOY_NOTHING), 0);
	assert_int_equal(kill(waiter, SIGKILL), 0);
	assert_int_equal(waitpid(waiter, &status, 0), waiter);
	assert_int_equal(kill(holder, SIGKILL), 0);
	assert_int_equal(waitpid(holder, &status, 0), holder);
	memory.address = (uint64_t)&memory;
	assert_int_equal(ioctl(fd, TOY_LOCK, &memory), 0);
	close_fd(pair[0]);
	close_fd(pair[1]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),	    cmocka_unit_test(test_ioctl),
		cmocka_unit_test(test_copies),	    cmocka_unit_test(test_objects),
		cmocka_unit_test(test_mmap),	    cmocka_unit_test(test_signal),
		cmocka_unit_test(test_fork),	    cmocka_unit_test(test_shared_memory),
		cmocka_unit_test(test_threads),	    cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_exec),	    cmocka_unit_test(test_passing),
		cmocka_unit_test(test_killed),	    cmocka_unit_test(test_handlers),
		cmocka_unit_test(test_signal_mask), cmocka_unit_test(test_share),
		cmocka_unit_test(test_share_stack), cmocka_unit_test(test_process),
		cmocka_unit_test(test_stopped),
	};

	if (!getenv("SOFTKVM_SOCKET"))
		toy_run(getenv("SOFTKVM_PRELOAD"), argv);
	if (argc > 2)
		return main_of_exec(argv[2]);
	(void)alarm(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
