// SPDX-License-Identifier: GPL-2.0-or-later
/* failing.c - preloaded into a VMM, see failing.h */
#include "failing.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct failing *failing;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("VMRELAY_FAILING"), *role = getenv("VMRELAY_FAILING_ROLE");
	long fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	char line[4096] = "";
	ssize_t n = read((int)fd, line, sizeof(line) - 1);
	const char *first = n > 0 ? line + strlen(line) + 1 : line;
	long address;

	(void)close((int)fd);
	if (!path || !role || strcmp(first, role) != 0)
		return;
	fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	address = syscall(SYS_mmap, 0, sizeof(*failing), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close((int)fd);
	if (address == -1)
		return;
	failing = (struct failing *)address;
	atomic_store(&failing->is_loaded, 1);
}

static bool fails(enum failing_call call)
{
	if (!failing || !atomic_load(&failing->armed) || failing->call != call ||
	    atomic_fetch_add(&failing->n_calls, 1) + 1 != failing->nth)
		return false;
	errno = failing->error;
	return true;
}

#define NEXT(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(request) == KVMIO && request != KVM_RUN && fails(FAILING_IOCTL)) {
		failing->request = (uint32_t)request;
		return -1;
	}
	return NEXT(ioctl)(fd, request, arg);
}

void *mmap(void *address, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (fails(FAILING_MMAP))
		return MAP_FAILED;
	return NEXT(mmap)(address, len, prot, flags, fd, offset);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return fails(FAILING_OPEN) ? -1 : NEXT(open)(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return fails(FAILING_OPEN) ? -1 : NEXT(openat)(dir, path, flags, mode);
}

int memfd_create(const char *name, unsigned flags)
{
	return fails(FAILING_MEMFD) ? -1 : NEXT(memfd_create)(name, flags);
}

int eventfd(unsigned value, int flags)
{
	return fails(FAILING_EVENTFD) ? -1 : NEXT(eventfd)(value, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return fails(FAILING_SENDMSG) ? -1 : NEXT(sendmsg)(fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	return fails(FAILING_RECVMSG) ? -1 : NEXT(recvmsg)(fd, message, flags);
}

int pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	if (fails(FAILING_THREAD))
		return failing->error;
	return NEXT(pthread_create)(ret, attr, start, arg);
}

#ifndef WITHOUT_MALLOC
/* dlsym() allocates: of these the C library has another name for each. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *memory, size_t size);

void *malloc(size_t size)
{
	return fails(FAILING_MALLOC) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails(FAILING_MALLOC) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *memory, size_t size)
{
	return fails(FAILING_MALLOC) ? NULL : __libc_realloc(memory, size);
}
#endif
