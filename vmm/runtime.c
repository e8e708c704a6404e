// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The runtime directory.
 *
 * Theory of operation: whoever holds the exclusive lock on NAME/lock, and finds that file still
 * linked after having locked it, owns NAME and everything in it.  Creating and removing both follow
 * that rule, and the lock file is the last file to be removed, so a directory is never cleaned up
 * under a VM that is just being created in it.  Removing the directory itself needs no lock: it
 * fails unless empty, and a creator that loses its empty directory starts over.
 */
#include "runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "kvm/cleanup.h"
#include "options.h"

#define CONTROL_SOCKET "control.sock"
#define CONSOLE_SOCKET "console.sock"
#define LOCK_FILE      "lock"
#define LOG_FILE       "log"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* runtime_list() holds locks for an instant; a lock that stays taken for longer has an owner. */
#define LOCK_ATTEMPTS	 20
#define LOCK_INTERVAL_NS (5 * 1000 * 1000)

#define CONNECT_TIMEOUT_S 10

bool runtime_name_is_valid(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= VMM_NAME_MAX && name[0] != '.' && name[0] != '-' &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
		       len;
}

static int check_name(const char *name, struct vmm_error *ret_error)
{
	if (runtime_name_is_valid(name))
		return 0;
	vmm_error_set(
		ret_error, VMM_EXIT_USAGE,
		"'%.80s' is not a name for a VM: 1 to %d characters of A-Z a-z 0-9 . _ - are, "
		"not beginning with . or -",
		name, VMM_NAME_MAX);
	return -1;
}

static int base_path(char *path, size_t size, struct vmm_error *ret_error)
{
	const char *given = getenv("VMRELAY_RUNTIME_DIR");
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	int n;

	if (given && given[0])
		n = snprintf(path, size, "%s", given);
	else if (geteuid() == 0)
		n = snprintf(path, size, "/run/vmrelay");
	else if (xdg && xdg[0])
		n = snprintf(path, size, "%s/vmrelay", xdg);
	else
		n = 0;

	if (n <= 0 || (size_t)n >= size || path[0] != '/') {
		vmm_error_set(
			ret_error, VMM_EXIT_FAILED,
			"there is no runtime directory: set VMRELAY_RUNTIME_DIR to an absolute "
			"path");
		return -1;
	}
	/* O_NOFOLLOW does not see a symlink behind a trailing slash. */
	while (n > 1 && path[n - 1] == '/')
		path[--n] = '\0';
	return 0;
}

/* The fd, or -1 with errno (ENOENT: there is none) and error filled. */
static int open_base(bool create, struct vmm_error *ret_error)
{
	char path[PATH_MAX];
	struct stat st;

	if (base_path(path, sizeof(path), ret_error) < 0) {
		errno = EINVAL;
		return -1;
	}

	if (create && mkdir(path, 0700) < 0 && errno != EEXIST) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot create %.150s: %s", path,
			      strerror(errno));
		return -1;
	}

	autofd fd = open(path, OPEN_DIRECTORY);

	if (fd < 0 || fstat(fd, &st) < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot open the directory %.150s: %s",
			      path, strerror(errno));
		return -1;
	}
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "%.150s is not used: others own it or may write to it", path);
		errno = EPERM;
		return -1;
	}
	return steal_fd(&fd);
}

int runtime_open_base(void)
{
	struct vmm_error ignored;

	return open_base(false, &ignored);
}

/* 1: locked; 0: locked, but no longer the file of that name; -EWOULDBLOCK: it has an owner. */
static int lock_exclusive(int lock_fd)
{
	struct stat st;

	if (flock(lock_fd, LOCK_EX | LOCK_NB) < 0 || fstat(lock_fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return st.st_nlink > 0;
}

/* -ESTALE: the directory was removed meanwhile, -EWOULDBLOCK: it has an owner. */
static int open_lock(int base_fd, const char *name, int *ret_dir_fd, int *ret_lock_fd)
{
	struct stat st;
	int r;

	if (mkdirat(base_fd, name, 0700) < 0 && errno != EEXIST)
		return -errno;

	autofd dir_fd = openat(base_fd, name, OPEN_DIRECTORY);

	if (dir_fd < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	if (fstat(dir_fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & 077))
		return -EPERM;

	autofd lock_fd = openat(dir_fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (lock_fd < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	r = lock_exclusive(lock_fd);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;

	*ret_dir_fd = steal_fd(&dir_fd);
	*ret_lock_fd = steal_fd(&lock_fd);
	return 0;
}

static int open_lock_patiently(int base_fd, const char *name, int *ret_dir_fd, int *ret_lock_fd)
{
	const struct timespec interval = {.tv_nsec = LOCK_INTERVAL_NS};
	int r;

	for (unsigned i = 0;; i++) {
		r = open_lock(base_fd, name, ret_dir_fd, ret_lock_fd);
		if ((r != -ESTALE && r != -EWOULDBLOCK) || i + 1 == LOCK_ATTEMPTS)
			return r;
		(void)nanosleep(&interval, NULL);
	}
}

/* sun_path is too short for many directories; the way through /proc never is. */
static struct sockaddr_un socket_address(int dir_fd, const char *socket)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir_fd,
		       socket);
	return address;
}

static int listen_at(int dir_fd, const char *name)
{
	struct sockaddr_un address = socket_address(dir_fd, name);
	autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* Nobody can connect before listen(), so the mode is in force from the beginning. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    fchmodat(dir_fd, name, 0600, 0) < 0 || listen(fd, 16) < 0)
		return -errno;
	return steal_fd(&fd);
}

/*
 * Only by the owner: whoever else did it might do it between the removal of the files and that of
 * their directory.
 */
static int create_log(int dir_fd)
{
	autofd fd = openat(dir_fd, LOG_FILE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			   0600);

	return fd < 0 ? -errno : 0;
}

/* With the lock held. */
static void remove_files(int dir_fd)
{
	(void)unlinkat(dir_fd, CONTROL_SOCKET, 0);
	(void)unlinkat(dir_fd, CONSOLE_SOCKET, 0);
	(void)unlinkat(dir_fd, LOG_FILE, 0);
}

static void remove_all(int base_fd, int dir_fd, const char *name)
{
	remove_files(dir_fd);
	(void)unlinkat(dir_fd, LOCK_FILE, 0);
	(void)unlinkat(base_fd, name, AT_REMOVEDIR);
}

int runtime_create(const char *name, struct runtime *ret, struct vmm_error *ret_error)
{
	struct runtime runtime = RUNTIME_INIT;
	int r;

	if (check_name(name, ret_error) < 0)
		return -1;

	autofd base_fd = open_base(true, ret_error);

	if (base_fd < 0)
		return -1;

	r = open_lock_patiently(base_fd, name, &runtime.dir_fd, &runtime.lock_fd);
	if (r == -EWOULDBLOCK) {
		vmm_error_set(ret_error, VMM_EXIT_WRONG_STATE, "a VM named %s is already running",
			      name);
		return -1;
	}
	if (r < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "cannot take the lock of %s in the runtime directory: %s", name,
			      strerror(-r));
		return -1;
	}

	remove_files(runtime.dir_fd);
	r = create_log(runtime.dir_fd);
	if (r >= 0)
		r = runtime.control_fd = listen_at(runtime.dir_fd, CONTROL_SOCKET);
	if (r >= 0)
		r = runtime.console_fd = listen_at(runtime.dir_fd, CONSOLE_SOCKET);
	if (r < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "cannot create the log and the sockets of %s in the runtime "
			      "directory: %s",
			      name, strerror(-r));
		remove_all(base_fd, runtime.dir_fd, name);
		runtime_close(&runtime);
		return -1;
	}
	*ret = runtime;
	return 0;
}

void runtime_remove(struct runtime *runtime, const char *name)
{
	struct vmm_error ignored;
	autofd base_fd = open_base(false, &ignored);

	remove_all(base_fd, runtime->dir_fd, name);
}

void runtime_close(struct runtime *runtime)
{
	runtime->control_fd = close_fd(runtime->control_fd);
	runtime->console_fd = close_fd(runtime->console_fd);
	runtime->lock_fd = close_fd(runtime->lock_fd);
	runtime->dir_fd = close_fd(runtime->dir_fd);
}

/* The fd, or -1 with error filled. */
static int open_vm(const char *name, struct vmm_error *ret_error)
{
	if (check_name(name, ret_error) < 0)
		return -1;

	autofd base_fd = open_base(false, ret_error);

	if (base_fd < 0 && errno != ENOENT)
		return -1;

	int fd = base_fd < 0 ? -1 : openat(base_fd, name, OPEN_DIRECTORY);

	if (fd < 0)
		vmm_error_set(ret_error, VMM_EXIT_NO_SUCH_VM, "no VM named %s is running", name);
	return fd;
}

int runtime_connect(const char *name, const char *socket_name, struct vmm_error *ret_error)
{
	struct timeval timeout = {.tv_sec = CONNECT_TIMEOUT_S};
	autofd dir_fd = open_vm(name, ret_error);

	if (dir_fd < 0)
		return -1;

	struct sockaddr_un address = socket_address(dir_fd, socket_name);
	autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	/* A listener that has stopped accepting lets its backlog fill up. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot create a socket: %s",
			      strerror(errno));
		return -1;
	}
	do {
		r = connect(fd, (struct sockaddr *)&address, sizeof(address));
	} while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == ENOENT || errno == ECONNREFUSED)) {
		vmm_error_set(ret_error, VMM_EXIT_NO_SUCH_VM, "no VM named %s is running", name);
		return -1;
	}
	if (r < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "cannot connect to %s of %s: %s",
			      socket_name, name,
			      errno == EAGAIN ? "its VMM does not answer" : strerror(errno));
		return -1;
	}
	timeout.tv_sec = 0;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	return steal_fd(&fd);
}

/* Does a live process own it?  If not, remove what is left of it. */
static bool is_alive(int base_fd, const char *name)
{
	autofd dir_fd = openat(base_fd, name, OPEN_DIRECTORY);

	if (dir_fd < 0)
		return false;

	autofd lock_fd = openat(dir_fd, LOCK_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (lock_fd < 0) {
		(void)unlinkat(base_fd, name, AT_REMOVEDIR);
		return false;
	}
	/* Shared, so that two who look at the same time do not take each other for the owner. */
	if (flock(lock_fd, LOCK_SH | LOCK_NB) < 0)
		return errno == EWOULDBLOCK;
	if (lock_exclusive(lock_fd) == 1)
		remove_all(base_fd, dir_fd, name);
	return false;
}

bool runtime_tidy(const char *name)
{
	struct vmm_error ignored;
	autofd base_fd = open_base(false, &ignored);

	return base_fd < 0 || !is_alive(base_fd, name);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

static int append_name(char ***names, unsigned *n, const char *name)
{
	char **grown = reallocarray(*names, *n + 1, sizeof(**names));

	if (!grown)
		return -ENOMEM;
	*names = grown;
	grown[*n] = strdup(name);
	if (!grown[*n])
		return -ENOMEM;
	(*n)++;
	return 0;
}

int runtime_list(char ***ret_names, unsigned *ret_n)
{
	struct vmm_error ignored;
	char **names = NULL;
	unsigned n = 0;
	int base_fd = open_base(false, &ignored);
	int r = base_fd < 0 ? -errno : 0;
	DIR *dir = base_fd < 0 ? NULL : fdopendir(base_fd);

	if (r == -ENOENT) {
		*ret_names = NULL;
		*ret_n = 0;
		return 0;
	}
	if (!dir) {
		r = r < 0 ? r : -errno;
		close_fd(base_fd);
		return r;
	}

	for (struct dirent *entry; r == 0;) {
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			r = -errno;
			break;
		}
		if (runtime_name_is_valid(entry->d_name) && is_alive(base_fd, entry->d_name))
			r = append_name(&names, &n, entry->d_name);
	}
	(void)closedir(dir);
	if (r < 0) {
		free_names(names, n);
		return r;
	}
	if (n > 0)
		qsort(names, n, sizeof(*names), compare_names);
	*ret_names = names;
	*ret_n = n;
	return 0;
}

int runtime_open_log(const char *name)
{
	struct vmm_error ignored;
	autofd dir_fd = open_vm(name, &ignored);
	int fd;

	if (dir_fd < 0)
		return -1;
	fd = openat(dir_fd, LOG_FILE, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	/* The VM ends just now, or somebody has deleted it by hand, which is no reason to fail. */
	if (fd < 0 && errno == ENOENT)
		fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	return fd;
}
