// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The sandbox of a VMM process.
 *
 * Theory of operation.  A guest that takes over its VMM must gain nothing but that guest, and a VMM
 * that was taken over nothing from the process that succeeds it or keeps its guest.  So all
 * of them enter before they look at anything that comes from outside: a new VMM before it reads the
 * guest's images, a target before it reads the offer, a keeper before its VMM exists.  How strict a
 * target's filter is does not come with the offer.
 *
 * The list is one for all of them and all threads.  It is short because whatever starts programs or
 * connects to somebody is done by the command line, which is another process.
 */
#include "sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "log.h"
#include "runtime.h"

/* From Linux 6.2 on. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

/* clone(2): what makes a namespace. */
#define NEW_NAMESPACES                                                                             \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
	 CLONE_NEWPID | CLONE_NEWNET)

/* The letter in the request of an ioctl, for KVM's those of VMs, vCPUs and devices alike. */
#define IOCTL_TYPE_MASK 0xff00U
#define KVM_IOCTLS	(KVMIO << 8)

/* Sanitizers and coverage write files, and ask the kernel for more than the program does. */
#ifdef VMM_INSTRUMENTED
#define IS_INSTRUMENTED true
#else
#define IS_INSTRUMENTED false
#endif

/* Fault injection: lib/fault.h. */
#ifdef VMR_FAULTS
#define FAULT_TRACE getenv("VMRELAY_TRACE")
#else
#define FAULT_TRACE NULL
#endif

const char *const sandbox_no_images[] = {NULL};

static const struct allowed {
	const char *name;
	const char *condition;
} allowed[] = {
	/* KVM, and the pseudo terminal of --console pty. */
	{"ioctl", "of KVM, or to make a pseudo terminal"},

	/* Memory: none of it can become code. */
	{"brk", ""},
	{"madvise", ""},
	{"memfd_create", ""},
	{"mmap", "not executable"},
	{"mprotect", "not executable"},
	{"mremap", ""},
	{"munmap", ""},

	/* Threads and signals; the guardian of a rescue is made by clone(), too. */
	{"clone", "without new namespaces"},
	{"exit", ""},
	{"exit_group", ""},
	{"futex", ""},
	{"getpid", ""},
	{"gettid", ""},
	{"restart_syscall", ""},
	{"rseq", ""},
	{"rt_sigaction", ""},
	{"rt_sigprocmask", ""},
	{"rt_sigreturn", ""},
	{"sched_getaffinity", ""},
	{"sched_yield", ""},
	{"set_robust_list", ""},
	{"tgkill", ""},
	{"wait4", ""},

	/* Other processes of the same user: whether they live; to end a target or a guardian. */
	{"kill", ""},
	{"pidfd_open", ""},
	{"pidfd_send_signal", ""},

	/* The event loop. */
	{"clock_gettime", ""},
	{"clock_nanosleep", ""},
	{"epoll_create1", ""},
	{"epoll_ctl", ""},
	{"epoll_pwait", ""},
	{"epoll_pwait2", ""},
	{"epoll_wait", ""},
	{"eventfd2", ""},
	{"poll", ""},
	{"ppoll", ""},
	{"signalfd4", ""},
	{"timerfd_create", ""},
	{"timerfd_settime", ""},

	/* Descriptors that are open, and sockets that somebody has connected. */
	{"accept4", ""},
	{"close", ""},
	{"close_range", ""},
	{"dup", ""},
	{"dup2", ""},
	{"dup3", ""},
	{"fcntl", ""},
	{"fstat", ""},
	{"fstatfs", ""},
	{"ftruncate", ""},
	{"getsockopt", ""},
	{"lseek", ""},
	{"pread64", ""},
	{"pwrite64", ""},
	{"read", ""},
	{"recvfrom", ""},
	{"recvmsg", ""},
	{"sendmsg", ""},
	{"sendto", ""},
	{"setsockopt", ""},
	{"write", ""},
	{"writev", ""},

	/* Files: which ones is Landlock's business. */
	{"faccessat", ""},
	{"faccessat2", ""},
	{"getdents64", ""},
	{"newfstatat", ""},
	{"openat", ""},
	{"openat2", ""},
	{"readlink", ""},
	{"readlinkat", ""},
	{"unlinkat", ""},

	/* Who and where we are. */
	{"getegid", ""},
	{"geteuid", ""},
	{"getrandom", ""},
	{"prctl", "to name a thread, or to give something up"},
	{"prlimit64", ""},
	{"uname", ""},

	/* To give up still more: sandbox_narrow(). */
	{"landlock_add_rule", ""},
	{"landlock_create_ruleset", ""},
	{"landlock_restrict_self", ""},
};

/*
 * KVM that is no kernel's but a process (softkvm) is reached over sockets and through its
 * /proc/PID/fd, which Landlock forbids and which root opens by its capabilities, and has to be told
 * of memory.  Whoever starts us decides that, by the environment.
 */
static bool is_on_softkvm(void)
{
	return getenv("SOFTKVM_SOCKET") != NULL;
}

static const char *const softkvm_allowed[] = {
	"capget",   "connect",	   "getsockname", "process_vm_readv", "process_vm_writev",
	"shutdown", "sigaltstack", "socket",
};

const char *sandbox_syscall(unsigned n, const char **ret_condition)
{
	if (n >= ARRAY_SIZE(allowed))
		return NULL;
	*ret_condition = allowed[n].condition;
	return allowed[n].name;
}

/* System calls. */

static int allow_ioctls(scmp_filter_ctx filter)
{
	/* grantpt(3), unlockpt(3), ptsname(3), isatty(3). */
	static const unsigned terminal[] = {TIOCGPTN, TIOCSPTLCK, TCGETS};
	int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				 SCMP_A1(SCMP_CMP_MASKED_EQ, IOCTL_TYPE_MASK, KVM_IOCTLS));

	for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(terminal); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_EQ, terminal[i], 0));
	/* What arguments decide is not in the kernel's cache of verdicts, and KVM_RUN is frequent.
	 */
	return r < 0 ? r : seccomp_syscall_priority(filter, SCMP_SYS(ioctl), UINT8_MAX);
}

static int allow_prctls(scmp_filter_ctx filter)
{
	static const unsigned options[] = {PR_SET_NAME, PR_SET_NO_NEW_PRIVS};
	int r = 0;

	for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(options); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
				     SCMP_A0(SCMP_CMP_EQ, options[i], 0));
	return r;
}

static int allow(scmp_filter_ctx filter, const char *name)
{
	int number = seccomp_syscall_resolve_name(name);

	switch (number) {
	case SCMP_SYS(ioctl):
		return allow_ioctls(filter);
	case SCMP_SYS(prctl):
		return allow_prctls(filter);
	case SCMP_SYS(mmap):
	case SCMP_SYS(mprotect):
		return seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
					SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	case SCMP_SYS(clone):
		return seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
					SCMP_A0(SCMP_CMP_MASKED_EQ, NEW_NAMESPACES, 0));
	default:
		return seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
	}
}

static int filter_syscalls(enum vmm_seccomp mode)
{
	uint32_t otherwise =
		mode == VMM_SECCOMP_LOG || IS_INSTRUMENTED ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS;
	scmp_filter_ctx filter = seccomp_init(otherwise);
	/* Its flags are in memory, where a filter cannot see them: then the C library uses clone().
	 */
	int r = filter ? seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0)
		       : -ENOMEM;

	for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(allowed); i++)
		r = allow(filter, allowed[i].name);
	for (unsigned i = 0; r == 0 && is_on_softkvm() && i < ARRAY_SIZE(softkvm_allowed); i++)
		r = allow(filter, softkvm_allowed[i]);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

/* Files. */

static int may(int ruleset, int fd, uint64_t access)
{
	const struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};

	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
		       ? -errno
		       : 0;
}

/* What is not there need not be allowed. */
static int may_at(int ruleset, const char *path, uint64_t access)
{
	autofd fd = open(path, O_PATH | O_CLOEXEC);

	return fd < 0 ? 0 : may(ruleset, fd, access);
}

static int restrict_files(int dir_fd, const char *const images[])
{
	const uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
	const uint64_t use = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
	const struct {
		const char *path;
		uint64_t access;
	} places[] = {
		/* Ourselves, and what a target is charged to. */
		{"/proc", read},
		{"/sys", read},
		/* A target's VM, and one to take a guest back into. */
		{"/dev/kvm", use},
		{"/dev/sev", use},
		/* --console pty. */
		{"/dev/ptmx", use},
		{"/dev/pts", use},
		/* What libraries open. */
		{"/dev/null", use},
		{"/dev/urandom", LANDLOCK_ACCESS_FS_READ_FILE},
	};
	struct landlock_ruleset_attr attr = {.handled_access_fs =
						     (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int r = 0;

	if (abi < 1 || IS_INSTRUMENTED || is_on_softkvm())
		return 0;
	if (abi >= 2)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;

	autofd ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	autofd base_fd = runtime_open_base();

	if (ruleset < 0)
		return -errno;
	for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(places); i++)
		r = may_at(ruleset, places[i].path, places[i].access);
	for (unsigned i = 0; r == 0 && images[i]; i++)
		r = may_at(ruleset, images[i], LANDLOCK_ACCESS_FS_READ_FILE);
	if (r == 0 && base_fd >= 0)
		r = may(ruleset, base_fd,
			LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_READ_DIR |
				(dir_fd < 0 ? LANDLOCK_ACCESS_FS_REMOVE_FILE : 0));
	if (r == 0 && dir_fd >= 0)
		r = may(ruleset, dir_fd, LANDLOCK_ACCESS_FS_REMOVE_FILE);
	if (r == 0 && FAULT_TRACE)
		r = may_at(ruleset, FAULT_TRACE, use);
	if (r == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		r = -errno;
	return r;
}

/* Capabilities and namespaces. */

static int drop_capabilities(void)
{
	if (capng_get_caps_process() < 0)
		return -EPERM;

	bool may_lock = capng_have_capability(CAPNG_EFFECTIVE, CAP_IPC_LOCK);
	/* The bounding set is for those who may change it; for others no_new_privs has to do. */
	bool may_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);

	capng_clear(CAPNG_SELECT_ALL);
	if (may_lock &&
	    capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_IPC_LOCK, -1) < 0)
		return -EPERM;
	return capng_apply(may_bound ? CAPNG_SELECT_ALL
				     : CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT) < 0
		       ? -EPERM
		       : 0;
}

static int refuse(const char *what, int r, struct vmm_error *ret_error)
{
	vmm_error_set(ret_error, VMM_EXIT_FAILED, "the sandbox could not be entered: %s: %s", what,
		      strerrordesc_np(-r));
	return -1;
}

int sandbox_enter(enum vmm_seccomp mode, int dir_fd, const char *const images[],
		  struct vmm_error *ret_error)
{
	int r;

	/* Not a mount namespace: it would keep what the host unmounts; Landlock does more. */
	if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		log_debug("no own namespaces: %s", strerrordesc_np(errno));
	r = is_on_softkvm() ? 0 : drop_capabilities();
	if (r < 0)
		return refuse("dropping capabilities", r, ret_error);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return refuse("no_new_privs", -errno, ret_error);
	r = restrict_files(dir_fd, images);
	if (r < 0)
		return refuse("Landlock", r, ret_error);
	r = mode == VMM_SECCOMP_OFF ? 0 : filter_syscalls(mode);
	return r < 0 ? refuse("seccomp (--seccomp=off runs without)", r, ret_error) : 0;
}

int sandbox_narrow(int dir_fd, struct vmm_error *ret_error)
{
	int r = restrict_files(dir_fd, sandbox_no_images);

	return r < 0 ? refuse("Landlock", r, ret_error) : 0;
}
