/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fault injection; built into the test variants only. */
#include "fault.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The text behind `name` in the list: "" or ":ACTION..."; NULL if it is not in the list. */
static const char *find(const char *name)
{
	const char *list = getenv("VMRELAY_FAULT");
	size_t len = strlen(name);

	for (const char *at = list; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, name, len) == 0 && strchr(":,", at[len]))
			return at + len;
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
		(void)kill(getpid(), SIGSTOP);
	else if (strncmp(action, "fail", 4) == 0)
		return -EIO;
	else if (strncmp(action, "sleep=", 6) == 0)
		(void)usleep((useconds_t)atoi(action + 6) * 1000);
	return 0;
}
