// SPDX-License-Identifier: GPL-2.0-or-later
/* The runtime directory: names, locks, leftovers, races.  Links with: vmm/runtime.c. */
#include "vmm/runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/cleanup.h"

static char base[64];

static int setup(void **state)
{
	(void)state;
	(void)strcpy(base, "/tmp/test-runtime-XXXXXX");
	return mkdtemp(base) && setenv("VMRELAY_RUNTIME_DIR", base, 1) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", base);
	return system(command);
}

static void in_base(char *path, size_t size, const char *suffix)
{
	(void)snprintf(path, size, "%s/%s", base, suffix);
}

static bool exists(const char *suffix)
{
	char path[256];

	in_base(path, sizeof(path), suffix);
	return access(path, F_OK) == 0;
}

static off_t size_of(const char *suffix)
{
	char path[256];
	struct stat st;

	in_base(path, sizeof(path), suffix);
	return stat(path, &st) == 0 ? st.st_size : -1;
}

static mode_t mode_of(const char *suffix)
{
	char path[256];
	struct stat st;

	in_base(path, sizeof(path), suffix);
	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static unsigned count_list(char *ret_first, size_t size)
{
	char **names;
	unsigned n;

	assert_int_equal(runtime_list(&names, &n), 0);
	if (n > 0 && ret_first)
		(void)snprintf(ret_first, size, "%s", names[0]);
	for (unsigned i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return n;
}

static void test_names(void **state)
{
	char longest[66];

	(void)state;
	(void)memset(longest, 'a', 65);
	longest[65] = '\0';
	assert_false(runtime_name_is_valid(longest));
	longest[64] = '\0';
	assert_true(runtime_name_is_valid(longest));
	assert_true(runtime_name_is_valid("web1"));
	assert_true(runtime_name_is_valid("A_b.c-9"));
	assert_false(runtime_name_is_valid(""));
	assert_false(runtime_name_is_valid("."));
	assert_false(runtime_name_is_valid(".."));
	assert_false(runtime_name_is_valid(".hidden"));
	assert_false(runtime_name_is_valid("-x"));
	assert_false(runtime_name_is_valid("a/b"));
	assert_false(runtime_name_is_valid("a b"));
	assert_false(runtime_name_is_valid("a\n"));
	assert_false(runtime_name_is_valid("\xc3\xa4"));
}

static void test_create_and_remove(void **state)
{
	struct runtime runtime = RUNTIME_INIT, second = RUNTIME_INIT;
	struct vmm_error error;
	char name[80];
	int fd;

	(void)state;
	assert_int_equal(runtime_create("web1", &runtime, &error), 0);
	assert_int_equal(mode_of("web1"), 0700);
	assert_int_equal(mode_of("web1/control.sock"), 0600);
	assert_int_equal(mode_of("web1/console.sock"), 0600);

	assert_int_equal(runtime_create("web1", &second, &error), -1);
	assert_int_equal(error.exit, VMM_EXIT_WRONG_STATE);
	assert_non_null(strstr(error.text, "web1"));
	assert_int_equal(second.dir_fd, -1);

	assert_int_equal(count_list(name, sizeof(name)), 1);
	assert_string_equal(name, "web1");

	fd = runtime_connect("web1", "control.sock", &error);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	close_fd(fd);

	fd = runtime_open_log("web1");
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close_fd(fd);

	runtime_remove(&runtime, "web1");
	runtime_close(&runtime);
	assert_int_equal(runtime.lock_fd, -1);
	assert_false(exists("web1"));
	assert_int_equal(runtime_connect("web1", "control.sock", &error), -1);
	assert_int_equal(error.exit, VMM_EXIT_NO_SUCH_VM);
}

/* Or it could appear between the removal of the files and of their directory, which then stays. */
static void test_log_is_the_owners(void **state)
{
	struct runtime runtime = RUNTIME_INIT;
	struct vmm_error error;
	char path[128];
	int fd;

	(void)state;
	assert_int_equal(runtime_create("web1", &runtime, &error), 0);
	assert_int_equal(mode_of("web1/log"), 0600);
	in_base(path, sizeof(path), "web1/log");
	assert_int_equal(unlink(path), 0);

	fd = runtime_open_log("web1");
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	close_fd(fd);
	assert_false(exists("web1/log"));

	runtime_remove(&runtime, "web1");
	runtime_close(&runtime);
	assert_false(exists("web1"));
}

static void test_list_is_sorted(void **state)
{
	static const char *const names[] = {"b", "c", "a"};
	struct runtime runtime[3];
	struct vmm_error error;
	char **list;
	unsigned n;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(runtime_create(names[i], &runtime[i], &error), 0);
	assert_int_equal(runtime_list(&list, &n), 0);
	assert_int_equal(n, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(list[i][0], 'a' + (int)i);
		free(list[i]);
		runtime_remove(&runtime[i], names[i]);
		runtime_close(&runtime[i]);
	}
	free(list);
	assert_int_equal(count_list(NULL, 0), 0);
}

/* A VMM that was killed leaves everything behind, without the lock. */
static void leave_leftovers(const char *name)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct runtime runtime;
		struct vmm_error error;

		if (runtime_create(name, &runtime, &error) < 0 ||
		    write(runtime_open_log(name), "x", 1) != 1)
			_exit(1);
		(void)kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void test_leftovers(void **state)
{
	struct runtime runtime;
	struct vmm_error error;

	(void)state;
	leave_leftovers("dead");
	assert_true(exists("dead/control.sock"));
	assert_int_equal(size_of("dead/log"), 1);
	assert_int_equal(runtime_connect("dead", "control.sock", &error), -1);
	assert_int_equal(error.exit, VMM_EXIT_NO_SUCH_VM);
	assert_int_equal(count_list(NULL, 0), 0);
	assert_false(exists("dead"));

	leave_leftovers("dead");
	assert_int_equal(runtime_create("dead", &runtime, &error), 0);
	assert_int_equal(size_of("dead/log"), 0);
	assert_int_equal(count_list(NULL, 0), 1);
	runtime_remove(&runtime, "dead");
	runtime_close(&runtime);
}

/* The lock belongs to the open file description: it outlives the process that took it. */
static void test_lock_is_handed_over(void **state)
{
	struct runtime runtime, second;
	struct vmm_error error;
	int copy;

	(void)state;
	assert_int_equal(runtime_create("moved", &runtime, &error), 0);
	copy = dup(runtime.lock_fd);
	runtime_close(&runtime);
	assert_int_equal(runtime_create("moved", &second, &error), -1);
	assert_int_equal(error.exit, VMM_EXIT_WRONG_STATE);
	assert_int_equal(count_list(NULL, 0), 1);
	close_fd(copy);
	assert_int_equal(count_list(NULL, 0), 0);
}

/* Two who look at the same time: neither takes the other's look for an owner. */
static void test_two_lookers(void **state)
{
	char path[128];
	int fd;

	(void)state;
	leave_leftovers("looked");
	in_base(path, sizeof(path), "looked/lock");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), 0);
	assert_int_equal(count_list(NULL, 0), 0);
	assert_true(exists("looked/lock")); /* the other one removes it */
	close_fd(fd);
	assert_int_equal(count_list(NULL, 0), 0);
	assert_false(exists("looked"));
}

static volatile sig_atomic_t stop_looking;

static void on_term(int signal)
{
	(void)signal;
	stop_looking = 1;
}

/*
 * Creators against a looker who removes leftovers all the time.  Whatever the order, a creator that
 * succeeded must own a directory that is still there, with the lock that it holds.
 */
static void test_race(void **state)
{
	pid_t looker = fork();
	unsigned created = 0;
	int status;

	(void)state;
	if (looker == 0) {
		(void)signal(SIGTERM, on_term);
		while (!stop_looking) {
			char **names;
			unsigned n;

			if (runtime_list(&names, &n) < 0)
				_exit(1);
			for (unsigned i = 0; i < n; i++)
				free(names[i]);
			free(names);
		}
		_exit(0);
	}

	for (unsigned i = 0; i < 400; i++) {
		struct runtime runtime;
		struct vmm_error error;
		struct stat held, named;
		char path[128];
		int fd;

		if (runtime_create("race", &runtime, &error) < 0)
			continue;
		created++;
		in_base(path, sizeof(path), "race/lock");
		assert_int_equal(fstat(runtime.lock_fd, &held), 0);
		assert_int_equal(stat(path, &named), 0);
		assert_true(held.st_ino == named.st_ino);
		fd = runtime_connect("race", "control.sock", &error);
		assert_true(fd >= 0);
		close_fd(fd);
		/* Half of them die without cleaning up. */
		if (i % 2)
			runtime_remove(&runtime, "race");
		runtime_close(&runtime);
	}
	(void)kill(looker, SIGTERM);
	assert_int_equal(waitpid(looker, &status, 0), looker);
	assert_int_equal(status, 0);
	assert_true(created > 390);
}

/* Runs once, between an open of the lock file and its locking. */
static void (*before_flock)(void);

int flock(int fd, int operation)
{
	void (*hook)(void) = before_flock;

	before_flock = NULL;
	if (hook)
		hook();
	return (int)syscall(SYS_flock, fd, operation);
}

static void remove_path(const char *suffix)
{
	char command[160];

	(void)snprintf(command, sizeof(command), "rm -r %s/%s", base, suffix);
	assert_int_equal(system(command), 0);
}

static void remove_directory(void)
{
	remove_path("slow");
}

static void test_removed_between_open_and_lock(void **state)
{
	struct runtime runtime;
	struct vmm_error error;
	struct stat held, named;
	char path[128];

	(void)state;
	before_flock = remove_directory;
	assert_int_equal(runtime_create("slow", &runtime, &error), 0);
	in_base(path, sizeof(path), "slow/lock");
	assert_int_equal(stat(path, &named), 0);
	assert_int_equal(fstat(runtime.lock_fd, &held), 0);
	assert_true(held.st_ino == named.st_ino);
	runtime_remove(&runtime, "slow");
	runtime_close(&runtime);
}

static struct runtime recreated;

/* Somebody else removes the leftovers, and a new VM moves in before the directory is gone. */
static void replace_vm(void)
{
	struct vmm_error error;

	remove_path("slow/lock");
	assert_int_equal(runtime_create("slow", &recreated, &error), 0);
}

static void test_list_spares_a_new_vm(void **state)
{
	(void)state;
	leave_leftovers("slow");
	before_flock = replace_vm;
	(void)count_list(NULL, 0);
	assert_true(exists("slow/lock"));
	assert_true(exists("slow/control.sock"));
	assert_int_equal(count_list(NULL, 0), 1);
	runtime_remove(&recreated, "slow");
	runtime_close(&recreated);
}

static void test_lock_file_was_replaced(void **state)
{
	struct runtime first, second;
	struct vmm_error error;
	char path[128];

	(void)state;
	/* The owner's directory vanishes under it: the name is free, and the two do not mix. */
	assert_int_equal(runtime_create("gone", &first, &error), 0);
	in_base(path, sizeof(path), "gone/lock");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(runtime_create("gone", &second, &error), 0);
	assert_true(exists("gone/lock"));
	runtime_remove(&second, "gone");
	runtime_close(&second);
	runtime_close(&first);
}

static void test_hostile_directories(void **state)
{
	struct runtime runtime;
	struct vmm_error error;
	char target[128], path[128], slash[80];

	(void)state;
	/* A symlink where the VM's directory, its lock or the base directory should be. */
	in_base(target, sizeof(target), "elsewhere");
	assert_int_equal(mkdir(target, 0700), 0);
	in_base(path, sizeof(path), "linked");
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(runtime_create("linked", &runtime, &error), -1);
	assert_int_equal(error.exit, VMM_EXIT_FAILED);

	in_base(path, sizeof(path), "trap");
	assert_int_equal(mkdir(path, 0700), 0);
	in_base(path, sizeof(path), "trap/lock");
	assert_int_equal(symlink("/tmp/never-created", path), 0);
	assert_int_equal(runtime_create("trap", &runtime, &error), -1);
	assert_int_equal(access("/tmp/never-created", F_OK), -1);

	in_base(path, sizeof(path), "linked");
	assert_int_equal(setenv("VMRELAY_RUNTIME_DIR", path, 1), 0);
	assert_int_equal(runtime_create("web1", &runtime, &error), -1);
	(void)snprintf(slash, sizeof(slash), "%.60s/linked/", base);
	assert_int_equal(setenv("VMRELAY_RUNTIME_DIR", slash, 1), 0);
	assert_int_equal(runtime_create("web1", &runtime, &error), -1);
	assert_int_equal(setenv("VMRELAY_RUNTIME_DIR", "relative", 1), 0);
	assert_int_equal(runtime_create("web1", &runtime, &error), -1);
	assert_int_equal(setenv("VMRELAY_RUNTIME_DIR", base, 1), 0);

	assert_int_equal(chmod(base, 0770), 0);
	assert_int_equal(runtime_create("web1", &runtime, &error), -1);
	assert_non_null(strstr(error.text, base));
	assert_int_equal(chmod(base, 0700), 0);

	assert_int_equal(runtime_create("../web1", &runtime, &error), -1);
	assert_int_equal(error.exit, VMM_EXIT_USAGE);
}

/* Longer than a socket address can be. */
static void test_long_path(void **state)
{
	struct runtime runtime;
	struct vmm_error error;
	char path[256], name[65];
	int fd;

	(void)state;
	(void)memset(name, 'x', 64);
	name[64] = '\0';
	(void)snprintf(path, sizeof(path), "%.60s/%s%s", base, name, name);
	assert_int_equal(setenv("VMRELAY_RUNTIME_DIR", path, 1), 0);
	assert_int_equal(runtime_create(name, &runtime, &error), 0);
	fd = runtime_connect(name, "console.sock", &error);
	assert_true(fd >= 0);
	close_fd(fd);
	runtime_remove(&runtime, name);
	runtime_close(&runtime);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(setenv("VMRELAY_RUNTIME_DIR", base, 1), 0);
}

static void test_no_base(void **state)
{
	struct vmm_error error;
	char path[128];

	(void)state;
	in_base(path, sizeof(path), "absent");
	assert_int_equal(setenv("VMRELAY_RUNTIME_DIR", path, 1), 0);
	assert_int_equal(count_list(NULL, 0), 0);
	assert_int_equal(runtime_connect("web1", "control.sock", &error), -1);
	assert_int_equal(error.exit, VMM_EXIT_NO_SUCH_VM);
	assert_int_equal(runtime_open_log("web1"), -1);
	assert_int_equal(setenv("VMRELAY_RUNTIME_DIR", base, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_create_and_remove, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_is_the_owners, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list_is_sorted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leftovers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock_is_handed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_lookers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_race, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removed_between_open_and_lock, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_list_spares_a_new_vm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock_file_was_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_directories, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_path, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_base, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
