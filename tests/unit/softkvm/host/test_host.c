// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connections, calls and the preloaded library: a program on a host with a toy for a device.
 *
 * The test starts itself again with the library in place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
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

static void assert_errno(int r, int error)
{
	assert_int_equal(r, -1);
	assert_int_equal(errno, error);
}

static void test_open(void **state)
{
	(void)state;
	autofd fd = open("/dev/kvm", O_RDWR);
	struct stat st;
	struct statx stx;

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	assert_int_equal(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
	close_fd(fd);
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
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
	int n = ioctl(fd, TOY_OBJECTS);
	autofd new = ioctl(fd, TOY_NEW, 1);
	autofd copy = dup(fd);
	uint64_t value;

	assert_true(new >= 0);
	assert_int_equal(fcntl(new, F_GETFD), FD_CLOEXEC);
	assert_int_equal(ioctl(fd, TOY_OBJECTS), n + 1);
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
	while (ioctl(copy, TOY_OBJECTS) != n)
		(void)sched_yield();
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),   cmocka_unit_test(test_ioctl),
		cmocka_unit_test(test_copies), cmocka_unit_test(test_objects),
		cmocka_unit_test(test_mmap),   cmocka_unit_test(test_signal),
	};

	(void)argc;
	if (!getenv("SOFTKVM_SOCKET"))
		toy_run(getenv("SOFTKVM_PRELOAD"), argv);
	(void)alarm(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
