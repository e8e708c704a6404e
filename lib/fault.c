/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fault injection; built into the test variants only. */
#include "fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Entries of the list that were acted on, one bit each. */
static _Atomic uint32_t used;

/* The text behind `name` in the list, "" or ":ACTION...", the first time; NULL if it is not there.
 */
static const char *find(const char *name)
{
	const char *at = getenv("VMRELAY_FAULT");
	size_t len = strlen(name);

	for (uint32_t bit = 1; at && *at; bit <<= 1) {
		if (strncmp(at, name, len) == 0 && strchr(":,", at[len]) &&
		    !(atomic_fetch_or(&used, bit) & bit))
			return at + len;
		at = strchr(at, ',');
		at = at ? at + 1 : NULL;
	}
	return NULL;
}

bool fault_is_set(const char *name)
{
	return find(name) != NULL;
}

int fault_reach(const char *step)
{
	const char *action = find(step);

	if (!action || *action != ':')
		return 0;
	action++;
	if (strncmp(action, "kill", 4) == 0)
		(void)kill(getpid(), SIGKILL);
	else if (strncmp(action, "stop", 4) == 0)
		/* To this thread, which then is stopped when the call returns. */
		(void)tgkill(getpid(), gettid(), SIGSTOP);
	else if (strncmp(action, "fail", 4) == 0)
		return -EIO;
	else if (strncmp(action, "sleep=", 6) == 0)
		(void)usleep((useconds_t)atoi(action + 6) * 1000);
	return 0;
}
