/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Have a call of the C library fail in another process: the nth from when the test arms it.
 *
 * The library `failing` is preloaded into a process whose first argument is $VMRELAY_FAILING_ROLE,
 * and shares a struct failing, the file $VMRELAY_FAILING, with the test.
 */
#ifndef TESTS_FAILING_H
#define TESTS_FAILING_H

#include <stdatomic.h>
#include <stdint.h>

enum failing_call {
	FAILING_IOCTL, /* of KVM, but KVM_RUN */
	FAILING_MMAP,
	FAILING_OPEN,
	FAILING_MEMFD,
	FAILING_EVENTFD,
	FAILING_SENDMSG,
	FAILING_RECVMSG,
	FAILING_THREAD,
	FAILING_MALLOC,
	FAILING_N
};

struct failing {
	_Atomic uint32_t is_loaded; /* by the process */
	_Atomic uint32_t armed;
	uint32_t call;
	uint32_t nth; /* fails; 0: none does */
	int32_t error;
	_Atomic uint32_t n_calls; /* since it was armed */
	uint32_t request;	  /* the ioctl that has failed */
};

#endif
