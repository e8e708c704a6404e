/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the library share: cmocka, and counting what must not leak. */
#ifndef TESTS_UNIT_LIB_UTIL_H
#define TESTS_UNIT_LIB_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Open file descriptors of this process. */
static inline unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	for (const struct dirent *e = readdir(dir); e; e = readdir(dir))
		n += e->d_name[0] != '.';
	(void)closedir(dir);
	return n - 1; /* the directory itself */
}

/* Mappings of this process whose line in /proc/self/maps has `name` in it. */
static inline unsigned count_mappings(const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned n = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		n += strstr(line, name) != NULL;
	(void)fclose(maps);
	return n;
}

/* An unlinked file of this size on a file system other than tmpfs, or -1. */
static inline int disk_file(size_t size)
{
	static const char *const templates[] = {"disk-XXXXXX", "/tmp/disk-XXXXXX",
						"/var/tmp/disk-XXXXXX"};

	for (unsigned i = 0; i < 3; i++) {
		char path[32];
		struct statfs fs;
		int fd;

		(void)snprintf(path, sizeof(path), "%s", templates[i]);
		fd = mkostemp(path, O_CLOEXEC);
		if (fd < 0)
			continue;
		(void)unlink(path);
		if (fstatfs(fd, &fs) == 0 && fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC &&
		    ftruncate(fd, (off_t)size) == 0)
			return fd;
		(void)close(fd);
	}
	return -1;
}

/* The exit status of a child, or 128 + the signal that killed it. */
static inline int wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/*
 * A test that cannot run here says why and returns.  Not by cmocka's skip(), which TAP readers take
 * for a failure ("not ok # SKIP") and which jumps over the cleanups.
 */
#define skip_because(...)                                                                          \
	do {                                                                                       \
		print_message("# skipped: " __VA_ARGS__);                                          \
		print_message("\n");                                                               \
		return;                                                                            \
	} while (0)

#endif
