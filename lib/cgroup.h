/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The control group that a process is charged in for ASIDs (controller "misc"); see cgroup.c. */
#ifndef LIB_CGROUP_H
#define LIB_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CGROUP_PATH_MAX 4096

/* A group, by its place below the directory where its hierarchy is mounted. */
struct misc_group {
	int mount_fd;
	char path[CGROUP_PATH_MAX]; /* "": the mounted directory itself */
	uint64_t id;		    /* its inode: differs between groups, and stays */
};

#define MISC_GROUP_INIT                                                                            \
	{                                                                                          \
		.mount_fd = -1                                                                     \
	}

/*
 * The group that is charged for what a process does.  0, or -errno if that cannot be told: there
 * may be no such controller, or its hierarchy is not mounted, or not visible from here.
 */
int misc_group_of(int pid, struct misc_group *ret);
void misc_group_done(struct misc_group *group);

/*
 * Would KVM's charge of `more` units of a resource succeed?  0 if so, or if that cannot be told;
 * -EBUSY if a limit is in the way, -EINVAL if the host has nothing of it, both with the group,
 * "/a/b", in ret_where.
 */
int misc_group_has_room(const struct misc_group *group, const char *resource, uint64_t more,
			char *ret_where, size_t size);

/* Parts of the above. */

/* The group's path in a line of /proc/PID/cgroup, or NULL if it is of another hierarchy. */
const char *misc_path_in(const char *line, bool *ret_is_v1);
/* Root and place of a mount that may have the controller, from a line of /proc/PID/mountinfo. */
bool misc_mount_in(const char *line, bool is_v1, char *ret_root, char *ret_place);
/* The group that is charged for a process in the group `path` below mount_fd (taken over). */
int misc_group_at(int mount_fd, const char *path, struct misc_group *ret);

#endif
