// SPDX-License-Identifier: GPL-2.0-or-later
/* Control groups, as directories of plain files; the rig's tests have real ones. */
#include "lib/cgroup.h"

#include <errno.h>
#include <sys/stat.h>

#include "kvm/cleanup.h"
#include "util.h"

static char top[] = "/tmp/cgroup-XXXXXX";

static void write_file(const char *group, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s/%s", top, group, name);
	(void)unlink(path);
	file = fopen(path, "we");
	assert_non_null(file);
	(void)fputs(text, file);
	(void)fclose(file);
}

static void make_group(const char *group, const char *max, const char *current)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", top, group);
	(void)mkdir(path, 0700);
	if (max)
		write_file(group, "misc.max", max);
	if (current)
		write_file(group, "misc.current", current);
}

static int setup(void **state)
{
	(void)state;
	(void)snprintf(top, sizeof(top), "/tmp/cgroup-XXXXXX");
	if (!mkdtemp(top))
		return -1;
	write_file("", "misc.capacity", "sev 9\nsev_es 7\n");
	make_group("a", "sev max\nsev_es max\n", "sev 2\nsev_es 0\n");
	make_group("a/b", "sev 3\nsev_es 0\n", "sev 1\nsev_es 0\n");
	make_group("a/b/plain", NULL, NULL); /* the controller is not enabled for it */
	make_group("c", "sev 0\nsev_es 1\n", "sev 0\nsev_es 0\n");
	return 0;
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static int group_at(const char *path, struct misc_group *ret)
{
	return misc_group_at(open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC), path, ret);
}

/* The group that a process in `path` is charged in; "-": there is none. */
static const char *charged(const char *path)
{
	static char text[CGROUP_PATH_MAX];
	struct misc_group group = MISC_GROUP_INIT;

	if (group_at(path, &group) < 0)
		return "-";
	(void)snprintf(text, sizeof(text), "%s", group.path);
	misc_group_done(&group);
	return text;
}

static void test_charged_group(void **state)
{
	struct misc_group a = MISC_GROUP_INIT, b = MISC_GROUP_INIT, plain = MISC_GROUP_INIT;
	char deep[CGROUP_PATH_MAX + 10];
	unsigned n_open = count_fds();

	(void)state;
	assert_string_equal(charged("/a"), "a");
	assert_string_equal(charged("/a/b"), "a/b");
	assert_string_equal(charged("/a/b/plain"), "a/b");
	assert_string_equal(charged("/"), "");
	assert_string_equal(charged(""), "");

	/* Gone, in another namespace, or meant to lead elsewhere. */
	assert_string_equal(charged("/a/gone"), "-");
	assert_string_equal(charged("/a (deleted)"), "-");
	assert_string_equal(charged("/.."), "-");
	assert_string_equal(charged("/../../etc"), "-");
	(void)snprintf(deep, sizeof(deep), "%s/link", top);
	assert_int_equal(symlink("/etc", deep), 0);
	assert_string_equal(charged("/link"), "-");
	assert_string_equal(charged("/misc.capacity"), "-");
	memset(deep, 'x', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	assert_string_equal(charged(deep), "-");
	assert_int_equal(misc_group_at(-1, "/a", &a), -EBADF);

	assert_int_equal(group_at("/a", &a), 0);
	assert_int_equal(group_at("/a/b", &b), 0);
	assert_int_equal(group_at("/a/b/plain", &plain), 0);
	assert_true(a.id != 0 && a.id != b.id && b.id == plain.id);
	misc_group_done(&a);
	misc_group_done(&b);
	misc_group_done(&plain);
	assert_int_equal(count_fds(), n_open);
}

/* The answer, and which group it is about. */
static int room(const char *path, const char *resource, uint64_t more, const char *where)
{
	struct misc_group group = MISC_GROUP_INIT;
	char text[64] = "";
	int r = group_at(path, &group);

	assert_int_equal(r, 0);
	r = misc_group_has_room(&group, resource, more, text, sizeof(text));
	assert_string_equal(text, where);
	misc_group_done(&group);
	return r;
}

static void test_room(void **state)
{
	unsigned n_open = count_fds();

	(void)state;
	assert_int_equal(room("/a/b/plain", "sev", 1, ""), 0);
	assert_int_equal(room("/a/b", "sev", 2, ""), 0);
	assert_int_equal(room("/a/b", "sev", 3, "/a/b"), -EBUSY);
	assert_int_equal(room("/c", "sev", 1, "/c"), -EBUSY);
	assert_int_equal(room("/c", "sev", 0, ""), 0);
	assert_int_equal(room("/c", "sev_es", 1, ""), 0);

	/* The limit of a group above. */
	write_file("a", "misc.max", "sev 2\nsev_es max\n");
	assert_int_equal(room("/a/b", "sev", 1, "/a"), -EBUSY);
	/* It was lowered below what is used: even what is freed first does not come back. */
	write_file("a", "misc.max", "sev 1\nsev_es max\n");
	assert_int_equal(room("/a/b", "sev", 0, "/a"), -EBUSY);

	/* The host's capacity, by what is used in the groups if the root does not tell. */
	write_file("a", "misc.max", "sev max\nsev_es max\n");
	write_file("a", "misc.current", "sev 8\n");
	assert_int_equal(room("/a/b", "sev", 1, ""), 0);
	write_file("c", "misc.current", "sev 1\n");
	assert_int_equal(room("/a/b", "sev", 1, "/"), -EBUSY);
	write_file("", "misc.current", "sev 3\n");
	assert_int_equal(room("/a/b", "sev", 1, ""), 0);
	assert_int_equal(room("/", "sev", 7, "/"), -EBUSY);

	/* KVM's -1. */
	write_file("a/b", "misc.current", "sev 18446744073709551615\n");
	assert_int_equal(room("/a/b", "sev", 1, ""), 0);
	assert_int_equal(room("/a/b", "sev", 0, "/a/b"), -EBUSY);

	/* The host has none. */
	assert_int_equal(room("/a/b", "sgx", 1, "/a/b"), -EINVAL);
	write_file("", "misc.capacity", "sev 0\n");
	assert_int_equal(room("/", "sev", 1, "/"), -EINVAL);
	assert_int_equal(count_fds(), n_open);
}

static void test_odd_files(void **state)
{
	static const char *const texts[] = {
		"sev", "sev x\n", "sev 1x\n", "sev 99999999999999999999\n", "sev \n", "sev -\n",
	};
	char path[64];

	(void)state;
	/* What cannot be understood is no reason to refuse. */
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		write_file("c", "misc.current", texts[i]);
		assert_int_equal(room("/c", "sev", 1, ""), 0);
	}
	write_file("c", "misc.current", "sev 0\n");
	assert_int_equal(room("/c", "sev", 1, "/c"), -EBUSY);
	for (unsigned i = 1; i < ARRAY_SIZE(texts) - 2; i++) {
		write_file("c", "misc.max", texts[i]);
		assert_int_equal(room("/c", "sev", 1, ""), 0);
	}
	/* Nor is a file that is none. */
	(void)snprintf(path, sizeof(path), "%s/c/misc.max", top);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(room("/c", "sev", 1, ""), 0);
}

static void test_lines_of_cgroup(void **state)
{
	static const struct {
		const char *line, *path;
		bool is_v1;
	} rows[] = {
		{"0::/", "/", false},
		{"0::/user.slice/a b", "/user.slice/a b", false},
		{"7:misc:/v1", "/v1", true},
		{"7:cpu,misc,pids:/v1:x", "/v1:x", true},
		{"7:misc,pids:/v1", "/v1", true},
		{"7:cpu:/v1", NULL, false},
		{"7:miscellany,mis:/v1", NULL, false},
		{"1:name=misc:/v1", NULL, false},
		{"0:", NULL, false},
		{"misc", NULL, false},
		{"", NULL, false},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		bool is_v1 = false;
		const char *path = misc_path_in(rows[i].line, &is_v1);

		if (rows[i].path)
			assert_string_equal(path, rows[i].path);
		else
			assert_null(path);
		assert_int_equal(is_v1, rows[i].is_v1);
	}
}

static void test_lines_of_mountinfo(void **state)
{
	static const struct {
		const char *line;
		bool is_v1;
		const char *root, *place;
	} rows[] = {
		{"27 23 0:24 / /sys/fs/cgroup rw,relatime - cgroup2 none rw", false, "/",
		 "/sys/fs/cgroup"},
		{"27 23 0:24 /a\\040b /x\\134y rw shared:4 master:1 - cgroup2 none rw,nsdelegate",
		 false, "/a b", "/x\\y"},
		{"27 23 0:24 / /sys/fs/cgroup/misc rw - cgroup cgroup rw,misc", true, "/",
		 "/sys/fs/cgroup/misc"},
		{"27 23 0:24 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", true, NULL, NULL},
		{"27 23 0:24 / /sys/fs/cgroup/misc rw - cgroup cgroup rw,misc", false, NULL, NULL},
		{"27 23 0:24 / /sys/fs/cgroup rw - cgroup2 none rw", true, NULL, NULL},
		{"27 23 0:24 / / rw - ext4 /dev/vda rw", false, NULL, NULL},
		{"27 23 0:24 / /sys/fs/cgroup rw", false, NULL, NULL},
		{"27 - cgroup2 none rw", false, NULL, NULL},
		{"", false, NULL, NULL},
	};
	char root[CGROUP_PATH_MAX], place[CGROUP_PATH_MAX];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		bool found = misc_mount_in(rows[i].line, rows[i].is_v1, root, place);

		assert_int_equal(found, rows[i].root != NULL);
		if (!found)
			continue;
		assert_string_equal(root, rows[i].root);
		assert_string_equal(place, rows[i].place);
	}
}

/* Whatever this host has, it is the same every time, and costs no file descriptor. */
static void test_this_process(void **state)
{
	struct misc_group first = MISC_GROUP_INIT, second = MISC_GROUP_INIT;
	unsigned n_open = count_fds();
	int r = misc_group_of(getpid(), &first);

	(void)state;
	assert_int_equal(misc_group_of(getpid(), &second), r);
	assert_int_equal(first.id, second.id);
	misc_group_done(&first);
	misc_group_done(&second);
	assert_int_equal(misc_group_of(-1, &first), -ENOENT);
	assert_int_equal(count_fds(), n_open);
}

#define with_tree(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_tree(test_charged_group),
		with_tree(test_room),
		with_tree(test_odd_files),
		cmocka_unit_test(test_lines_of_cgroup),
		cmocka_unit_test(test_lines_of_mountinfo),
		cmocka_unit_test(test_this_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
