/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a VMM process, or a keeper, gives up before it deals with a guest, its images, or what
 * another process sends: docs/sandbox.md.
 *
 *   - network, IPC and UTS namespaces that it shares, where it may have its own;
 *   - all capabilities but CAP_IPC_LOCK, which pinning the memory of a confidential guest may take;
 *   - getting privileges again (no_new_privs);
 *   - files, by Landlock, where the kernel has it, but for those that upgrade, take-back and end
 *     need;
 *   - system calls, by seccomp: see sandbox_syscall().
 *
 * All of it is for the calling thread and those that it makes: there must be no others yet.
 */
#ifndef VMM_SANDBOX_H
#define VMM_SANDBOX_H

#include "options.h"
#include "vmm.h"

/*
 * dir_fd: directory of the VM (runtime.h), -1: which one is not known yet, so any may be removed.
 * images: files that are still to be read, NULL-terminated.  VMM_SECCOMP_OFF leaves the filter out,
 * and nothing else.  0, or -1 with error filled.
 */
int sandbox_enter(enum vmm_seccomp mode, int dir_fd, const char *const images[],
		  struct vmm_error *ret_error);

extern const char *const sandbox_no_images[];

/* The VM's directory is known now, and images have been read: all others are out of reach. */
int sandbox_narrow(int dir_fd, struct vmm_error *ret_error);

/* The n-th system call that is allowed, without condition or with the one in *ret_condition ("").
 */
const char *sandbox_syscall(unsigned n, const char **ret_condition);

#endif
