/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages to stderr, one line each, with the priority prefix of sd-daemon(3). */
#ifndef VMM_LOG_H
#define VMM_LOG_H

/* The numbers of syslog(3). */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* Messages above this level are dropped; LOG_LEVEL_INFO at start. */
void log_set_level(enum log_level max);

/* From any thread; keeps errno. */
void log_message(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_info(...)  log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
