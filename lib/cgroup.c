/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control group that a process is charged in for ASIDs.
 *
 * Theory of operation.  An ASID is one unit of a resource of the misc controller
 * (Documentation/admin-guide/cgroup-v2.rst, "Misc").  A process is charged in the nearest of its
 * group and those above for which the controller is enabled, which is told by a file misc.max, or
 * else in the root, and the charge counts in every group from there to the root.  It fails if one
 * of them has its limit reached, or the host its capacity.
 *
 * Paths come from /proc and go no further than the mounted hierarchy; what is odd, missing or
 * invisible (another namespace, a group that is gone) makes the answer "cannot be told", and KVM
 * will decide.  Numbers are added and compared as the kernel does it, without sign: KVM leaves
 * groups with a usage of -1 (see preflight.c).
 */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "kvm/cleanup.h"

#define FILE_MAX 4096

/* Is `word` in the list of `len` bytes? */
static bool list_has(const char *list, size_t len, const char *word)
{
	size_t word_len = strlen(word);

	for (const char *at = list; at < list + len; at += strcspn(at, ",") + 1)
		if (strncmp(at, word, word_len) == 0 &&
		    (at + word_len == list + len || at[word_len] == ','))
			return true;
	return false;
}

const char *misc_path_in(const char *line, bool *ret_is_v1)
{
	const char *controllers = strchr(line, ':');
	const char *path = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!path)
		return NULL;
	controllers++;
	*ret_is_v1 = list_has(controllers, (size_t)(path - controllers), "misc");
	return *ret_is_v1 || strncmp(line, "0::", 3) == 0 ? path + 1 : NULL;
}

/* Decode \040 and the like, in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *at = text; *at; to++) {
		unsigned byte;

		if (*at == '\\' && sscanf(at + 1, "%3o", &byte) == 1) {
			*to = (char)byte;
			at += 4;
		} else {
			*to = *at++;
		}
	}
	*to = '\0';
}

bool misc_mount_in(const char *line, bool is_v1, char *ret_root, char *ret_place)
{
	const char *rest = strstr(line, " - ");
	char type[16], options[256];

	if (!rest || sscanf(line, "%*u %*u %*s %4095s %4095s", ret_root, ret_place) != 2 ||
	    sscanf(rest, " - %15s %*s %255s", type, options) != 2 ||
	    strcmp(type, is_v1 ? "cgroup" : "cgroup2") != 0 ||
	    (is_v1 && !list_has(options, strlen(options), "misc")))
		return false;
	unescape(ret_root);
	unescape(ret_place);
	return true;
}

/* A group's directory: never outside of the mounted hierarchy. */
static int open_group(int mount_fd, const char *path)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	int fd = (int)syscall(SYS_openat2, mount_fd, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* Cut the last component off; false if there was none. */
static bool go_up(char *path)
{
	char *slash = strrchr(path, '/');

	if (!*path)
		return false;
	*(slash ? slash : path) = '\0';
	return true;
}

int misc_group_at(int mount_fd_in, const char *path, struct misc_group *ret)
{
	struct misc_group group = {.mount_fd = -1};
	autofd mount_fd = mount_fd_in;
	struct stat st;

	path += strspn(path, "/");
	if (strlen(path) >= sizeof(group.path))
		return -ENAMETOOLONG;
	memcpy(group.path, path, strlen(path) + 1);
	for (;;) {
		autofd fd = open_group(mount_fd, group.path);

		if (fd < 0)
			return fd;
		if (faccessat(fd, "misc.max", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
		    !go_up(group.path)) {
			if (fstat(fd, &st) < 0)
				return -errno;
			break;
		}
	}
	*ret = group;
	ret->id = st.st_ino;
	ret->mount_fd = steal_fd(&mount_fd);
	return 0;
}

/* The first line of a file of /proc for which found() is not 0: what it returned, or -errno. */
static int each_line(const char *path, int (*found)(const char *line, void *opaque), void *opaque)
{
	FILE *file = fopen(path, "re");
	autofree char *line = NULL;
	size_t size = 0;
	ssize_t len;
	int r = 0;

	if (!file)
		return -errno;
	while (r == 0 && (len = getline(&line, &size, file)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		r = found(line, opaque);
	}
	(void)fclose(file);
	return r == 0 ? -ENOENT : r;
}

struct search {
	bool is_v1;
	char path[CGROUP_PATH_MAX];
	struct misc_group *ret;
};

/* The hierarchy of version 1 if it has the controller, which can be in one only. */
static int take_path(const char *line, void *opaque)
{
	struct search *search = opaque;
	bool is_v1;
	const char *path = misc_path_in(line, &is_v1);

	if (!path || strlen(path) >= sizeof(search->path))
		return 0;
	memcpy(search->path, path, strlen(path) + 1);
	search->is_v1 = is_v1;
	return is_v1;
}

static int take_mount(const char *line, void *opaque)
{
	const struct search *search = opaque;
	char root[CGROUP_PATH_MAX], place[CGROUP_PATH_MAX];
	const char *path = search->path;
	size_t len;
	struct statfs fs;

	if (!misc_mount_in(line, search->is_v1, root, place))
		return 0;
	len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(path, root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return 0;

	autofd fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fstatfs(fd, &fs) < 0 ||
	    fs.f_type != (search->is_v1 ? CGROUP_SUPER_MAGIC : CGROUP2_SUPER_MAGIC))
		return 0;
	return misc_group_at(steal_fd(&fd), path + len, search->ret) == 0;
}

int misc_group_of(int pid, struct misc_group *ret)
{
	struct search search = {.ret = ret};
	char file[32];
	int r;

	(void)snprintf(file, sizeof(file), "/proc/%d/cgroup", pid);
	r = each_line(file, take_path, &search);
	if (r < 0 && !search.path[0])
		return r;
	r = each_line("/proc/self/mountinfo", take_mount, &search);
	return r < 0 ? r : 0;
}

void misc_group_done(struct misc_group *group)
{
	group->mount_fd = close_fd(group->mount_fd);
}

/* The number behind `resource` in a file of lines "RESOURCE NUMBER"; "max": as many as there are.
 */
static int read_number(int dir_fd, const char *name, const char *resource, uint64_t *ret)
{
	autofd fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char text[FILE_MAX], key[32], value[32];
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	int n;

	if (len < 0)
		return -errno;
	text[len] = '\0';
	for (const char *at = text; sscanf(at, "%31s %31s%n", key, value, &n) == 2; at += n) {
		char *end;

		if (strcmp(key, resource) != 0)
			continue;
		*ret = UINT64_MAX;
		if (strcmp(value, "max") == 0)
			return 0;
		errno = 0;
		*ret = strtoull(value, &end, 10);
		return errno || *end || end == value ? -EBADMSG : 0;
	}
	return -ENODATA;
}

/*
 * What is in use on the whole host.  Kernels before 6.9 or so do not tell it for the root; then it
 * is at least what the groups below it use.
 */
static uint64_t usage_of_root(int fd, const char *resource)
{
	uint64_t sum = 0, usage = 0;
	struct dirent *entry;

	if (read_number(fd, "misc.current", resource, &usage) == 0)
		return usage;

	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);

	if (!dir) {
		close_fd(copy);
		return 0;
	}
	while ((entry = readdir(dir))) {
		autofd group = entry->d_type == DT_DIR && entry->d_name[0] != '.'
				       ? open_group(fd, entry->d_name)
				       : -1;

		if (group >= 0 && read_number(group, "misc.current", resource, &usage) == 0)
			sum += usage;
	}
	(void)closedir(dir);
	return sum;
}

/* As misc_group_has_room(), for one group. */
static int check_group(int fd, const char *resource, uint64_t more)
{
	uint64_t limit = 0, usage = 0;
	int r = read_number(fd, "misc.capacity", resource, &limit);

	if (r == 0) {
		if (limit == 0)
			return -EINVAL;
		usage = usage_of_root(fd, resource);
	} else if (r == -ENODATA) {
		return -EINVAL;
	} else {
		r = read_number(fd, "misc.max", resource, &limit);
		if (r == -ENODATA)
			return -EINVAL;
		if (r < 0 || read_number(fd, "misc.current", resource, &usage) < 0)
			return 0;
	}
	return usage + more > limit ? -EBUSY : 0;
}

int misc_group_has_room(const struct misc_group *group, const char *resource, uint64_t more,
			char *ret_where, size_t size)
{
	char path[CGROUP_PATH_MAX];
	int r = 0;

	memcpy(path, group->path, sizeof(path));
	do {
		autofd fd = open_group(group->mount_fd, path);

		r = fd < 0 ? 0 : check_group(fd, resource, more);
		if (r < 0)
			(void)snprintf(ret_where, size, "/%s", path);
	} while (r == 0 && go_up(path));
	return r;
}
