// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * link.c - connections to the host
 *
 * One per thread, made when it is needed first and closed when the thread ends.  The program knows
 * nothing of its descriptors and may close them or put others in their place at any time: they are
 * looked at before each use.
 *
 * Who else could come by: a signal handler, while a call is under way; and whoever shares the
 * thread's memory but is another thread (vfork, or clone with CLONE_VM).  They get a connection for
 * one call, and another process touches nothing that threads of the first may have locked when they
 * died.  A child of fork(), by whatever means, finds the page with the process's state wiped, and
 * starts anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "softkvm/preload/library.h"

/* Descriptors from here on, if the limit allows; from three quarters of it otherwise. */
#define HIGH_FD 16384

struct process {
	pthread_mutex_t lock; /* zeroed is unlocked */
	bool is_known;
	pid_t pid;
	uint8_t cookie[WIRE_COOKIE_LEN];
};

static struct {
	struct process *process;
	struct link *links;
	char path[PATH_MAX]; /* of the host's socket */
	int door;	     /* the socket's inode: good even if the path has become inaccessible */
	struct stat door_identity;
	pthread_key_t key;
	bool is_active;
} library;

static __thread struct link *own __attribute__((tls_model("initial-exec")));

long library_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	int saved = errno;
	long r = syscall(number, a, b, c, d, e, f);

	if (r == -1)
		r = -errno;
	errno = saved;
	return r;
}

int library_fstat(int fd, struct stat *ret)
{
	return (int)library_syscall(SYS_fstat, fd, (long)ret, 0, 0, 0, 0);
}

static void close_raw(int fd)
{
	(void)library_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

void library_block_signals(kernel_sigset *ret_mask)
{
	/* But those that libc works with, see pthread_sigmask(3): 32 and 33. */
	kernel_sigset all = ~(3ull << 31);

	(void)library_syscall(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)ret_mask,
			      sizeof(all), 0, 0);
}

void library_restore_signals(const kernel_sigset *mask)
{
	(void)library_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)mask, 0, sizeof(*mask), 0, 0);
}

void library_lock(kernel_sigset *ret_mask)
{
	library_block_signals(ret_mask);
	(void)pthread_mutex_lock(&library.process->lock);
}

void library_unlock(const kernel_sigset *mask)
{
	(void)pthread_mutex_unlock(&library.process->lock);
	library_restore_signals(mask);
}

bool library_is_active(void)
{
	return library.is_active;
}

const uint8_t *library_cookie(void)
{
	return library.process->cookie;
}

int library_move_high(int fd)
{
	struct rlimit limit;
	long high, min = HIGH_FD;

	if (fd < 0)
		return fd;
	if (library_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit, 0, 0) == 0 &&
	    limit.rlim_cur / 4 * 3 < HIGH_FD)
		min = (long)(limit.rlim_cur / 4 * 3);
	high = library_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, min, 0, 0, 0);
	if (high < 0)
		return fd;
	close_raw(fd);
	return (int)high;
}

bool library_is_same_file(int fd, const struct stat *identity)
{
	struct stat st;

	return fd >= 0 && library_fstat(fd, &st) == 0 && st.st_dev == identity->st_dev &&
	       st.st_ino == identity->st_ino;
}

static void close_same(int fd, const struct stat *identity)
{
	if (library_is_same_file(fd, identity))
		close_raw(fd);
}

/* is_inherited: somebody else still uses it. */
static void link_free(struct link *link, bool is_inherited)
{
	/* Ends it whoever else has inherited it. */
	if (!is_inherited && library_is_same_file(link->fd, &link->identity))
		(void)library_syscall(SYS_shutdown, link->fd, SHUT_RDWR, 0, 0, 0, 0);
	close_same(link->fd, &link->identity);
	close_same(link->interrupt_fd, &link->interrupt_identity);
	(void)library_syscall(SYS_munmap, (long)link, sizeof(*link), 0, 0, 0, 0);
}

/* A process that does not know itself yet: after fork() there is one thread, and what it has
 * inherited belongs to its parent. */
static void know_process(void)
{
	struct process *process = library.process;
	struct link *link;

	if (process->is_known)
		return;
	while ((link = library.links)) {
		library.links = link->next;
		link_free(link, true);
	}
	own = NULL;
	(void)library_syscall(SYS_getrandom, (long)process->cookie, WIRE_COOKIE_LEN, 0, 0, 0, 0);
	process->pid = (pid_t)library_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
	process->is_known = true;
}

/* In a process that has the first one's memory only. */
static bool is_guest(void)
{
	return library_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0) != library.process->pid;
}

static int open_own_door(void)
{
	return library_move_high((int)library_syscall(SYS_openat, AT_FDCWD, (long)library.path,
						      O_PATH | O_CLOEXEC, 0, 0, 0));
}

static void open_door(void)
{
	kernel_sigset mask;

	library_lock(&mask);
	if (!library_is_same_file(library.door, &library.door_identity)) {
		library.door = open_own_door();
		(void)library_fstat(library.door, &library.door_identity);
	}
	library_unlock(&mask);
}

static int connect_to_host(int fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	bool is_other = is_guest();
	int door;
	long r;

	if (!is_other)
		open_door();
	door = is_other ? open_own_door() : library.door;
	if (door < 0)
		return door;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/thread-self/fd/%d", door);
	do
		r = library_syscall(SYS_connect, fd, (long)&address, sizeof(address), 0, 0, 0);
	while (r == -EINTR);
	if (is_other)
		close_raw(door);
	return (int)r;
}

static int link_connect(struct link *link, kernel_sigset mask)
{
	int fd = library_move_high((int)library_syscall(SYS_socket, AF_UNIX,
							SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0, 0, 0));
	long r;

	if (fd < 0)
		return fd;
	link->fd = fd;
	(void)library_fstat(fd, &link->identity);
	r = connect_to_host(fd);
	if (r == 0)
		r = client_greet(link, mask, &link->interrupt_fd);
	if (r < 0)
		return (int)r;
	link->interrupt_fd = library_move_high(link->interrupt_fd);
	(void)library_fstat(link->interrupt_fd, &link->interrupt_identity);
	return 0;
}

static struct link *link_new(pid_t tid, kernel_sigset mask)
{
	long address = library_syscall(SYS_mmap, 0, sizeof(struct link), PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct link *link = address < 0 ? NULL : (struct link *)address;

	if (!link)
		return NULL;
	link->fd = -1;
	link->interrupt_fd = -1;
	link->tid = tid;
	if (link_connect(link, mask) < 0) {
		link_free(link, false);
		return NULL;
	}
	return link;
}

static void link_list(struct link *link)
{
	kernel_sigset mask;

	library_lock(&mask);
	link->next = library.links;
	library.links = link;
	library_unlock(&mask);
}

static void link_drop(struct link *link)
{
	kernel_sigset mask;

	library_lock(&mask);
	for (struct link **at = &library.links; *at; at = &(*at)->next) {
		if (*at == link) {
			*at = link->next;
			break;
		}
	}
	library_unlock(&mask);
	link_free(link, false);
}

/* Was the call that is under way left by longjmp() from a signal handler?  Then who calls now is
 * further up the stack, not in a handler that was called on top of it. */
static bool is_left(const struct link *link, const void *frame)
{
	stack_t stack = {0};

	(void)library_syscall(SYS_sigaltstack, 0, (long)&stack, 0, 0, 0, 0);
	return !(stack.ss_flags & SS_ONSTACK) && (uintptr_t)frame >= (uintptr_t)link->frame;
}

struct link *link_acquire(const void *frame, kernel_sigset mask)
{
	pid_t tid = (pid_t)library_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
	struct link *link;

	know_process();
	link = is_guest() ? NULL : own;
	if (link && link->tid == tid && (!link->frame || is_left(link, frame))) {
		if (!link->frame && library_is_same_file(link->fd, &link->identity)) {
			link->frame = frame;
			return link;
		}
		own = NULL;
		link_drop(link);
		link = NULL;
	}
	bool is_temporary = link || is_guest();

	link = link_new(tid, mask);
	if (!link)
		return NULL;
	link->frame = frame;
	/* A handler that ran during the greeting may have made one, too. */
	link->is_temporary = is_temporary || own;
	if (!link->is_temporary) {
		link_list(link);
		own = link;
		(void)pthread_setspecific(library.key, link);
	}
	return link;
}

void link_release(struct link *link, bool is_broken)
{
	link->frame = NULL;
	if (link->is_temporary) {
		link_free(link, false);
	} else if (is_broken) {
		own = NULL;
		link_drop(link);
	}
}

static void thread_ends(void *link)
{
	if (own && own == link) {
		own = NULL;
		link_drop(link);
	}
}

static void forked(void)
{
	know_process();
}

static __attribute__((constructor)) void library_start(void)
{
	const char *path = getenv(WIRE_SOCKET_ENV);

	if (!path || path[0] == '\0' || strlen(path) >= sizeof(library.path))
		return;
	(void)strcpy(library.path, path);
	library.door = -1;
	library.process = mmap(NULL, sizeof(*library.process), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (library.process == MAP_FAILED ||
	    madvise(library.process, sizeof(*library.process), MADV_WIPEONFORK) < 0 ||
	    pthread_key_create(&library.key, thread_ends) != 0 ||
	    pthread_atfork(NULL, NULL, forked) != 0)
		return;
	know_process();
	library.is_active = true;
}
