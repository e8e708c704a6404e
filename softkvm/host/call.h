/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * call.h - a system call of a client that is being served
 *
 * Each thread of a client has a connection of its own, and the host a thread that serves it: what
 * the kernel half of a thread is to its user half.  While it serves a call, it may ask the library
 * in the client for what only that can do: copy from and to the client's memory, show a descriptor,
 * turn memory into what can be shared.
 */
#ifndef SOFTKVM_CALL_H
#define SOFTKVM_CALL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "object.h"

struct call;
struct host;

/* An address space.  VMs belong to the one that made them; two calls come from the same if the
 * pointers are equal. */
struct mm;

struct host *call_host(const struct call *call);
struct mm *call_mm(const struct call *call);
struct mm *mm_get(struct mm *mm);
struct mm *mm_put(struct mm *mm);

/* 0, -EFAULT, or -EINTR if the client is gone. */
int call_copy_in(struct call *call, void *ret, uint64_t uaddr, size_t len);
/* Done with the reply to the call, which becomes -EFAULT if it fails. */
int call_copy_out(struct call *call, uint64_t uaddr, const void *data, size_t len);
/* Done at once. */
int call_copy_out_now(struct call *call, uint64_t uaddr, const void *data, size_t len);

/* What the client's descriptor stands for, a reference; -EBADF if nothing, or nothing of ours. */
int call_object(struct call *call, int number, struct object **ret);
/* The client's descriptor itself, for eventfds; the caller closes it. */
int call_fd(struct call *call, int number);

/*
 * The call's result becomes a new descriptor of the client's for object (whose reference is taken
 * over in any case).  Returns what the handler is to return.
 */
long call_return_object(struct call *call, struct object *object, bool cloexec);

/*
 * The memory of the client at [uaddr, +len), of which private mappings are made shareable in
 * place, bit by bit: calls each() with a descriptor (to be duplicated by whoever wants to keep it)
 * for every stretch.  -EFAULT if some of it is not mapped.  writable: it could be stored to.
 */
int call_share(struct call *call, uint64_t uaddr, uint64_t len,
	       int (*each)(void *opaque, uint64_t uaddr, uint64_t len, int fd, uint64_t offset,
			   bool writable),
	       void *opaque);

uint64_t call_rlimit_memlock(struct call *call); /* bytes; UINT64_MAX for CAP_IPC_LOCK */
/* Path of the caller's cgroup v2, for accounting; "/" if unknown. */
const char *call_cgroup(struct call *call);

/* The client's thread or process has ended, or a fatal signal is on its way. */
bool call_is_killed(const struct call *call);
/* A signal has arrived, KVM_RUN is to return -EINTR.  Until the call ends. */
bool call_is_interrupted(const struct call *call);
/* The client's process has been stopped by a signal: no thread of it is in a system call any more.
 * Nobody tells the host, so this costs a system call. */
bool call_is_stopped(const struct call *call);
/* *flag is set and notify() called, from another thread, as soon as either becomes true.  NULL ends
 * it; after that notify() is not running. */
void call_watch(struct call *call, _Atomic bool *flag, void (*notify)(void *opaque), void *opaque);

/* Until the call ends, the client's thread blocks the signals of mask (KVM_SET_SIGNAL_MASK) instead
 * of those it had blocked.  Those that it had and mask has not interrupt, but stay pending. */
void call_signal_mask(struct call *call, uint64_t mask);

/* mutex_lock_killable(): 0, or -EINTR if the client was killed meanwhile. */
int call_lock(struct call *call, pthread_mutex_t *mutex);

#endif
