// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The sandbox: what a VMM can no longer do in it.  Links with: vmm/sandbox.c.
 *
 * Each thing is tried in a child, before and after it has entered: what fails anyway shows nothing.
 */
#include "vmm/sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <pthread.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/cleanup.h"

enum { COULD = 0, COULD_NOT = 1, NO_SANDBOX = 2 };

static char base[64];

static int setup(void **state)
{
	char path[128];

	(void)state;
	(void)strcpy(base, "/tmp/test-sandbox-XXXXXX");
	if (!mkdtemp(base) || setenv("VMRELAY_RUNTIME_DIR", base, 1) < 0)
		return -1;
	for (const char *name = "ab"; *name; name++) {
		(void)snprintf(path, sizeof(path), "%s/%c", base, *name);
		if (mkdir(path, 0700) < 0)
			return -1;
		(void)strcat(path, "/log");
		if (close(open(path, O_CREAT | O_WRONLY, 0600)) < 0)
			return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", base);
	return system(command);
}

/* What became of a child that tries it: an exit code from above, or -SIGNAL. */
static int outcome(bool (*try)(void), bool in_sandbox, enum vmm_seccomp mode)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		char image[128];
		const char *const images[] = {image, NULL};
		struct vmm_error error;

		(void)snprintf(image, sizeof(image), "%s/b/log", base);
		if (in_sandbox && sandbox_enter(mode, -1, images, &error) < 0) {
			print_error("%s\n", error.text);
			_exit(NO_SANDBOX);
		}
		_exit(try() ? COULD : COULD_NOT);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static bool use_network(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0;
}

static bool execute(void)
{
	(void)execl("/bin/true", "true", NULL);
	return false;
}

static bool map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED;
}

static bool make_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0;
}

static bool trace_others(void)
{
	return syscall(SYS_ptrace, 0 /* PTRACE_TRACEME */, 0, 0, 0) == 0;
}

static bool clone_into_namespace(void)
{
	return syscall(SYS_clone, CLONE_NEWIPC | SIGCHLD, 0, 0, 0, 0) >= 0;
}

static bool push_into_terminal(void)
{
	return ioctl(STDIN_FILENO, TIOCSTI, "x") == 0 || errno == ENOTTY || errno == EIO ||
	       errno == EBADF;
}

static bool ask_for_keyring(void)
{
	return syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3, 0) != -1 || errno == ENOKEY;
}

static void test_system_calls(void **state)
{
	static const struct {
		const char *name;
		bool (*try)(void);
	} cases[] = {
		{"socket", use_network},	 {"execve", execute},
		{"mmap of code", map_code},	 {"mprotect to code", make_code},
		{"ptrace", trace_others},	 {"clone with a namespace", clone_into_namespace},
		{"TIOCSTI", push_into_terminal}, {"keyctl", ask_for_keyring},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("# %s\n", cases[i].name);
		if (outcome(cases[i].try, false, VMM_SECCOMP_OFF) != COULD) {
			print_message("#   not possible here anyway\n");
			continue;
		}
		assert_int_equal(outcome(cases[i].try, true, VMM_SECCOMP_KILL), -SIGSYS);
	}
	/* The other modes. */
	assert_int_equal(outcome(use_network, true, VMM_SECCOMP_LOG), COULD);
	assert_int_equal(outcome(use_network, true, VMM_SECCOMP_OFF), COULD);
}

static void *nothing(void *arg)
{
	return arg;
}

/* What the C library does by clone3() where it may. */
static bool make_thread(void)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0;
}

static bool wait_for_child(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

static bool read_kvm_files(void)
{
	return open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC) >= 0 &&
	       open("/sys/kernel", O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0 &&
	       open("/dev/null", O_RDWR | O_CLOEXEC) >= 0;
}

static bool write_log(void)
{
	return dprintf(STDERR_FILENO, "# written in the sandbox\n") > 0;
}

static void test_needed(void **state)
{
	static bool (*const cases[])(void) = {make_thread, wait_for_child, read_kvm_files,
					      write_log};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(outcome(cases[i], true, VMM_SECCOMP_KILL), COULD);
}

/* Files; without the filter, so that it is Landlock that is seen. */

static bool read_passwd(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
}

/* The file that may be read is "b/log". */
static bool read_image(void)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/b/log", base);
	return open(path, O_RDONLY | O_CLOEXEC) >= 0;
}

static bool read_image_afterwards(void)
{
	char own[128];
	struct vmm_error error;

	(void)snprintf(own, sizeof(own), "%s/a", base);
	if (sandbox_narrow(open(own, O_RDONLY | O_DIRECTORY | O_CLOEXEC), &error) < 0)
		_exit(NO_SANDBOX);
	return read_image();
}

static bool write_file(void)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/new", base);
	return open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0;
}

static bool overwrite_file(void)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/a/log", base);
	return open(path, O_WRONLY | O_CLOEXEC) >= 0;
}

static bool remove_log_of(char name, bool is_narrowed)
{
	char path[128], own[128];
	struct vmm_error error;

	(void)snprintf(path, sizeof(path), "%s/%c/log", base, name);
	(void)snprintf(own, sizeof(own), "%s/a", base);
	if (is_narrowed &&
	    sandbox_narrow(open(own, O_RDONLY | O_DIRECTORY | O_CLOEXEC), &error) < 0)
		_exit(NO_SANDBOX);
	return unlinkat(AT_FDCWD, path, 0) == 0;
}

static bool remove_other(void)
{
	return remove_log_of('b', true);
}

static bool remove_own(void)
{
	return remove_log_of('a', true);
}

static bool remove_any(void)
{
	return remove_log_of('b', false);
}

static void test_files(void **state)
{
	static bool (*const cases[])(void) = {read_passwd, write_file, overwrite_file};

	(void)state;
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1) {
		print_message("# this kernel has no Landlock\n");
		skip();
	}
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(outcome(cases[i], false, VMM_SECCOMP_OFF), COULD);
		assert_int_equal(outcome(cases[i], true, VMM_SECCOMP_OFF), COULD_NOT);
	}
	assert_int_equal(outcome(read_image, true, VMM_SECCOMP_KILL), COULD);
	assert_int_equal(outcome(read_image_afterwards, true, VMM_SECCOMP_KILL), COULD_NOT);
	assert_int_equal(outcome(remove_other, true, VMM_SECCOMP_KILL), COULD_NOT);
	assert_int_equal(outcome(remove_own, true, VMM_SECCOMP_KILL), COULD);
	assert_int_equal(outcome(remove_any, true, VMM_SECCOMP_KILL), COULD);
}

/* Privileges. */

static bool has_capabilities(void)
{
	char line[128];
	unsigned long long value, all = 0;
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapPrm: %llx", &value) == 1 ||
		    sscanf(line, "CapEff: %llx", &value) == 1 ||
		    sscanf(line, "CapAmb: %llx", &value) == 1)
			all |= value;
	return (all & ~(1ULL << 14 /* CAP_IPC_LOCK */)) != 0;
}

static bool may_get_privileges(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0;
}

static bool change_host_name(void)
{
	char name[65];

	return gethostname(name, sizeof(name)) == 0 && sethostname(name, strlen(name)) == 0;
}

static void test_privileges(void **state)
{
	static bool (*const cases[])(void) = {has_capabilities, may_get_privileges,
					      change_host_name};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		if (outcome(cases[i], false, VMM_SECCOMP_OFF) != COULD)
			print_message("# %u: not possible here anyway\n", i);
		assert_int_equal(outcome(cases[i], true, VMM_SECCOMP_OFF), COULD_NOT);
	}
}

/* No name in the list is misspelt, or there twice. */
static void test_list(void **state)
{
	const char *name, *other, *condition;

	(void)state;
	for (unsigned i = 0; (name = sandbox_syscall(i, &condition)); i++) {
		assert_int_not_equal(seccomp_syscall_resolve_name(name), __NR_SCMP_ERROR);
		for (unsigned j = 0; j < i && (other = sandbox_syscall(j, &condition)); j++)
			assert_string_not_equal(name, other);
	}
}

/* docs/sandbox.md names them all, and with their conditions. */
static void test_documented(void **state)
{
	static char text[65536], line[sizeof(text)];
	FILE *file = fopen(SANDBOX_DOC, "re");
	const char *name, *condition;
	size_t len;

	(void)state;
	assert_non_null(file);
	len = fread(text, 1, sizeof(text) - 1, file);
	(void)fclose(file);
	/* Wherever its lines break. */
	for (size_t i = 0; i < len; i++)
		line[i] = (char)(text[i] == '\n' ? ' ' : text[i]);
	for (unsigned i = 0; (name = sandbox_syscall(i, &condition)); i++) {
		char entry[128];

		if (condition[0])
			(void)snprintf(entry, sizeof(entry), "`%s` (%s)", name, condition);
		else
			(void)snprintf(entry, sizeof(entry), "`%s`", name);
		if (!strstr(line, entry))
			fail_msg("%s is not documented", entry);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_documented),
		cmocka_unit_test_setup_teardown(test_system_calls, setup, teardown),
		cmocka_unit_test_setup_teardown(test_needed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_privileges, setup, teardown),
	};

#ifdef VMM_INSTRUMENTED
	print_message("1..0 # SKIP an instrumented build lets through what its instruments need\n");
	return 0;
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
