// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages to stderr. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static _Atomic int level_max = LOG_LEVEL_INFO;

void log_set_level(enum log_level max)
{
	level_max = max;
}

void log_message(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	char text[512];
	va_list args;

	if ((int)level > level_max)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* One write, so that lines of different threads and processes do not mix. */
	(void)dprintf(STDERR_FILENO, "<%d>%s\n", (int)level, text);
	errno = saved_errno;
}
