/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fault injection; built into the test variants only. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
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

/* One write, so that lines of threads and processes do not mix. */
static void trace(const char *step)
{
	const char *path = getenv("VMRELAY_TRACE");
	int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
	char line[100];
	int len;

	if (fd < 0)
		return;
	len = snprintf(line, sizeof(line), "%d %d %s\n", getpid(), gettid(), step);
	(void)!write(fd, line, (size_t)len);
	(void)close(fd);
}

int fault_reach(const char *step)
{
	const char *action = find(step);

	trace(step);
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
