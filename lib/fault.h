/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fault injection, for tests.  In a build with -DVMR_FAULTS the environment variable VMRELAY_FAULT
 * is a comma-separated list of STEP:ACTION, where ACTION is `kill`, `stop` (SIGSTOP), `fail` (the
 * step returns -EIO) or `sleep=MS`.  Steps are named where they are reached.  A process acts on
 * each entry once, so that what survives the fault can be tried again.  If VMRELAY_TRACE names a
 * file, a line is appended to it for each step that is reached: "PID TID STEP"; model/replay
 * compares that with the model of the protocol.  Other builds contain none of it.
 */
#ifndef LIB_FAULT_H
#define LIB_FAULT_H

#include <stdbool.h>

#ifdef VMR_FAULTS
int fault_reach(const char *step);   /* 0, or -EIO */
bool fault_is_set(const char *name); /* is NAME alone in the list?  Once, as above */
#else
static inline int fault_reach(const char *step)
{
	(void)step;
	return 0;
}

static inline bool fault_is_set(const char *name)
{
	(void)name;
	return false;
}
#endif

#endif
