// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * preload.c - the functions of libc that lead to /dev/kvm and /dev/sev
 *
 * They are taken over for exactly these two paths, and for requests of their kinds on sockets: a
 * client's descriptors are sockets, and no socket knows such requests.  Everything else goes to the
 * next library's functions.
 */
/* Functions are to be defined by their own names, not by those that this gives them. */
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "softkvm/preload/library.h"

/* Requests of /dev/sev, as in linux/psp-sev.h. */
#define SEV_IOC_TYPE 'S'
/* Documentation/admin-guide/devices.txt: misc devices, and KVM's minor.  That of /dev/sev is
 * assigned dynamically: this is where the kernel begins with. */
#define MISC_MAJOR 10
#define KVM_MINOR  232
#define SEV_MINOR  127

#define PUBLIC __attribute__((visibility("default")))

struct next {
	int (*openat)(int dir, const char *path, int flags, ...);
	int (*ioctl)(int fd, unsigned long request, ...);
	void *(*mmap)(void *address, size_t len, int prot, int flags, int fd, off_t offset);
	int (*munmap)(void *address, size_t len);
	int (*faccessat)(int dir, const char *path, int mode, int flags);
	int (*fstatat)(int dir, const char *path, struct stat *ret, int flags);
	int (*statx)(int dir, const char *path, int flags, unsigned mask, struct statx *ret);
	FILE *(*fopen)(const char *path, const char *mode);
};

/* Also called before the constructors of other libraries, and by several threads at once. */
static const struct next *next(void)
{
	static struct next functions;
	static _Atomic bool is_complete;

	if (!is_complete) {
		functions.openat = dlsym(RTLD_NEXT, "openat");
		functions.ioctl = dlsym(RTLD_NEXT, "ioctl");
		functions.mmap = dlsym(RTLD_NEXT, "mmap");
		functions.munmap = dlsym(RTLD_NEXT, "munmap");
		functions.faccessat = dlsym(RTLD_NEXT, "faccessat");
		functions.fstatat = dlsym(RTLD_NEXT, "fstatat");
		functions.statx = dlsym(RTLD_NEXT, "statx");
		functions.fopen = dlsym(RTLD_NEXT, "fopen");
		is_complete = true;
	}
	return &functions;
}

static __attribute__((constructor)) void find_functions(void)
{
	(void)next();
}

/* enum wire_device, or -1. */
static int device_of(const char *path)
{
	if (!library_is_active() || !path)
		return -1;
	if (strcmp(path, "/dev/kvm") == 0)
		return WIRE_KVM;
	return strcmp(path, "/dev/sev") == 0 ? WIRE_SEV : -1;
}

/* -1 with errno, as from a system call. */
static long returned(long r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

static int device_exists(int device)
{
	struct wire_message message = {.type = WIRE_PROBE, .number = (uint32_t)device};

	return (int)client_call(&message, NULL, -1, __builtin_frame_address(0), NULL);
}

static int device_open(int device, int flags)
{
	struct wire_message message = {
		.type = WIRE_OPEN, .number = (uint32_t)device, .flags = (uint32_t)flags};
	long r;
	int fd;

	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return (int)returned(-EEXIST);
	if (flags & O_DIRECTORY)
		return (int)returned(-ENOTDIR);
	r = client_call(&message, NULL, -1, __builtin_frame_address(0), &fd);
	return (int)returned(r < 0 ? r : fd);
}

static int open_any(int dir, const char *path, int flags, mode_t mode)
{
	int device = device_of(path);

	return device < 0 ? next()->openat(dir, path, flags, mode) : device_open(device, flags);
}

static mode_t mode_argument(int flags, va_list args)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(args, mode_t) : 0;
}

PUBLIC int open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_argument(flags, args);
	va_end(args);
	return open_any(AT_FDCWD, path, flags, mode);
}

PUBLIC int openat(int dir, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_argument(flags, args);
	va_end(args);
	return open_any(dir, path, flags, mode);
}

/* What _FORTIFY_SOURCE makes of an open() without a mode. */
int __open_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);

PUBLIC int __open_2(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags, 0);
}

PUBLIC int __openat_2(int dir, const char *path, int flags)
{
	return open_any(dir, path, flags, 0);
}

PUBLIC FILE *fopen(const char *path, const char *mode)
{
	int device = device_of(path);
	FILE *file;
	int fd;

	if (device < 0)
		return next()->fopen(path, mode);
	fd = device_open(device, (strchr(mode, '+') ? O_RDWR
				  : mode[0] == 'r'  ? O_RDONLY
						    : O_WRONLY) |
					 (strchr(mode, 'e') ? O_CLOEXEC : 0));
	if (fd < 0)
		return NULL;
	file = fdopen(fd, mode);
	if (!file)
		(void)close(fd);
	return file;
}

PUBLIC int faccessat(int dir, const char *path, int mode, int flags)
{
	int device = device_of(path);
	int r;

	if (device < 0)
		return next()->faccessat(dir, path, mode, flags);
	r = device_exists(device);
	return (int)returned(r == 0 && (mode & X_OK) ? -EACCES : r);
}

PUBLIC int access(const char *path, int mode)
{
	return faccessat(AT_FDCWD, path, mode, 0);
}

PUBLIC int eaccess(const char *path, int mode)
{
	return faccessat(AT_FDCWD, path, mode, AT_EACCESS);
}

PUBLIC int euidaccess(const char *path, int mode)
{
	return faccessat(AT_FDCWD, path, mode, AT_EACCESS);
}

static void fill_stat(int device, struct stat *ret)
{
	*ret = (struct stat){
		.st_mode = S_IFCHR | (device == WIRE_KVM ? 0666 : 0600),
		.st_nlink = 1,
		.st_rdev = makedev(MISC_MAJOR, device == WIRE_KVM ? KVM_MINOR : SEV_MINOR),
		.st_blksize = 4096,
	};
}

static int device_stat(int device, struct stat *ret)
{
	int r = device_exists(device);

	if (r == 0)
		fill_stat(device, ret);
	return (int)returned(r);
}

/* A descriptor of a device is no socket for its program; those of VMs and vCPUs have no type. */
PUBLIC int fstat(int fd, struct stat *ret)
{
	struct wire_message message = {.type = WIRE_STAT};
	int r = library_fstat(fd, ret);
	long device;

	if (r < 0 || !S_ISSOCK(ret->st_mode) || !library_is_active())
		return (int)returned(r);
	device = client_call(&message, NULL, fd, __builtin_frame_address(0), NULL);
	if (device == WIRE_KVM || device == WIRE_SEV)
		fill_stat((int)device, ret);
	else if (device == -ENODEV)
		ret->st_mode = 0600;
	return 0;
}

PUBLIC int fstat64(int fd, struct stat64 *ret)
{
	return fstat(fd, (struct stat *)ret);
}

static bool is_empty(const char *path)
{
	return path && path[0] == '\0';
}

PUBLIC int fstatat(int dir, const char *path, struct stat *ret, int flags)
{
	int device = device_of(path);

	if (flags & AT_EMPTY_PATH && dir >= 0 && is_empty(path))
		return fstat(dir, ret);
	return device < 0 ? next()->fstatat(dir, path, ret, flags) : device_stat(device, ret);
}

PUBLIC int stat(const char *path, struct stat *ret)
{
	return fstatat(AT_FDCWD, path, ret, 0);
}

PUBLIC int lstat(const char *path, struct stat *ret)
{
	return fstatat(AT_FDCWD, path, ret, AT_SYMLINK_NOFOLLOW);
}

_Static_assert(sizeof(struct stat64) == sizeof(struct stat), "on x86-64 they are the same");

PUBLIC int fstatat64(int dir, const char *path, struct stat64 *ret, int flags)
{
	return fstatat(dir, path, (struct stat *)ret, flags);
}

PUBLIC int stat64(const char *path, struct stat64 *ret)
{
	return fstatat(AT_FDCWD, path, (struct stat *)ret, 0);
}

PUBLIC int lstat64(const char *path, struct stat64 *ret)
{
	return fstatat(AT_FDCWD, path, (struct stat *)ret, AT_SYMLINK_NOFOLLOW);
}

PUBLIC int statx(int dir, const char *path, int flags, unsigned mask, struct statx *ret)
{
	int device = device_of(path);
	struct stat st;

	if (device < 0)
		return next()->statx(dir, path, flags, mask, ret);
	if (device_stat(device, &st) < 0)
		return -1;
	*ret = (struct statx){
		.stx_mask = STATX_BASIC_STATS,
		.stx_mode = (uint16_t)st.st_mode,
		.stx_nlink = (uint32_t)st.st_nlink,
		.stx_rdev_major = major(st.st_rdev),
		.stx_rdev_minor = minor(st.st_rdev),
		.stx_blksize = (uint32_t)st.st_blksize,
	};
	return 0;
}

static bool is_socket(int fd)
{
	struct stat st;

	return library_is_active() && library_fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

PUBLIC int ioctl(int fd, unsigned long request, ...)
{
	unsigned number = (unsigned)request;
	struct wire_message message = {.type = WIRE_IOCTL, .number = number};
	const void *argument;
	va_list args;
	long r;
	int ret_fd;

	va_start(args, request);
	argument = va_arg(args, void *);
	va_end(args);
	if ((_IOC_TYPE(number) != KVMIO && _IOC_TYPE(number) != SEV_IOC_TYPE) || !is_socket(fd))
		return next()->ioctl(fd, request, argument);
	message.address = (uint64_t)argument;
	if (_IOC_DIR(number) & _IOC_WRITE)
		message.len = _IOC_SIZE(number);
	r = client_call(&message, argument, fd, __builtin_frame_address(0), &ret_fd);
	if (r == CLIENT_NOT_OURS)
		return next()->ioctl(fd, request, argument);
	return (int)returned(ret_fd >= 0 ? ret_fd : r);
}

/* What is to be mapped instead of a client's descriptor; NULL if it is none. */
static void *map_object(void *address, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct wire_message message = {.type = WIRE_MMAP, .address = (uint64_t)offset, .size = len};
	void *mapped;
	int map_fd;
	long r = client_call(&message, NULL, fd, __builtin_frame_address(0), &map_fd);

	if (r == CLIENT_NOT_OURS || map_fd < 0)
		r = r == CLIENT_NOT_OURS || r == 0 ? -ENODEV : r;
	if (r < 0) {
		errno = (int)-r;
		return MAP_FAILED;
	}
	mapped = next()->mmap(address, len, prot, flags, map_fd, offset);
	r = errno;
	(void)close(map_fd);
	errno = (int)r;
	return mapped;
}

PUBLIC void *mmap(void *address, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *mapped = next()->mmap(address, len, prot, flags, fd, offset);

	if (!library_is_active() || (flags & MAP_ANONYMOUS))
		return mapped;
	/* That is what a socket says. */
	if (mapped == MAP_FAILED && errno == ENODEV && is_socket(fd))
		return map_object(address, len, prot, flags, fd, offset);
	if (mapped != MAP_FAILED && (flags & MAP_SHARED))
		share_mapped(mapped, len, fd);
	return mapped;
}

PUBLIC int munmap(void *address, size_t len)
{
	int r = next()->munmap(address, len);

	if (r == 0 && library_is_active())
		share_unmapped(address, len);
	return r;
}

/* On x86-64 these are other names of the same functions. */
PUBLIC int open64(const char *path, int flags, ...) __attribute__((alias("open")));
PUBLIC int openat64(int dir, const char *path, int flags, ...) __attribute__((alias("openat")));
int __open64_2(const char *path, int flags) PUBLIC __attribute__((alias("__open_2")));
int __openat64_2(int dir, const char *path, int flags) PUBLIC __attribute__((alias("__openat_2")));
PUBLIC FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));
PUBLIC void *mmap64(void *address, size_t len, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("mmap")));
