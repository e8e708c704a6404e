// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory objects: identity, growth, pinning, files that lose their pages. */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_pin(void **state)
{
	struct call *call = *state;
	struct pinned *pinned, *again;
	uint64_t address;

	call->stretch = 2 * PAGE;
	assert_int_equal(memory_pin(call, MEMORY + 0x1234, 0x4000, true, &pinned), 0);
	assert_int_equal(pinned->n, 1);
	assert_int_equal(pinned->uaddr, MEMORY + 0x1234);
	assert_int_equal(pinned->stretch[0].offset, 0x1234);
	assert_int_equal(pinned->stretch[0].len, 0x4000);
	address = pinned->stretch[0].address;
	assert_true(address >= PAGE);
	call->memory[0x1234] = 0x5a;
	assert_int_equal(*(uint8_t *)memory_map(call->host.memory_objects, address, 1), 0x5a);
	assert_null(memory_map(call->host.memory_objects, 0, 1));
	assert_null(memory_map(call->host.memory_objects, address + (1ull << 40), 1));
	assert_null(memory_map(call->host.memory_objects, address + MEMORY_PAGES * PAGE, 1));

	/* The same file has the same addresses, as long as somebody holds it. */
	assert_int_equal(memory_pin(call, MEMORY + 0x1235, 1, false, &again), 0);
	assert_int_equal(again->stretch[0].address, address + 1);
	memory_unpin(pinned);
	assert_non_null(memory_map(call->host.memory_objects, address, 1));
	assert_null(memory_unpin(again));
	assert_null(memory_map(call->host.memory_objects, address, 1));
	assert_null(memory_unpin(NULL));
}

/* Whatever else was held meanwhile: what was encrypted can be decrypted there only. */
static void test_addresses_last(void **state)
{
	struct call *call = *state;
	struct memory_objects *objects = call->host.memory_objects;
	struct pinned *pinned, *again;
	uint64_t address, other;
	uint8_t *page;

	assert_int_equal(memory_pin(call, MEMORY, PAGE, true, &pinned), 0);
	address = pinned->stretch[0].address;
	memory_unpin(pinned);
	assert_int_equal(memory_page_new(objects, &page, &other), 0);
	assert_int_equal(memory_pin(call, MEMORY, PAGE, true, &again), 0);
	assert_int_equal(again->stretch[0].address, address);
	memory_unpin(again);
	memory_page_free(objects, other);
}

static void test_pin_errors(void **state)
{
	struct call *call = *state;
	struct pinned *pinned;

	assert_int_equal(memory_pin(call, MEMORY, 0, true, &pinned), -EINVAL);
	assert_int_equal(memory_pin(call, UINT64_MAX - 10, 20, true, &pinned), -EINVAL);
	assert_int_equal(memory_pin(call, UINT64_MAX - 10, 10, true, &pinned), -EINVAL);
	call->hole = MEMORY + 3 * PAGE;
	assert_int_equal(memory_pin(call, MEMORY + 2 * PAGE, 4 * PAGE, true, &pinned), -ENOMEM);
	call->hole = 0;
	call->read_only = true;
	assert_int_equal(memory_pin(call, MEMORY, PAGE, true, &pinned), -ENOMEM);
	assert_int_equal(memory_pin(call, MEMORY, PAGE, false, &pinned), 0);
	memory_unpin(pinned);
	call->result = -EINTR;
	assert_int_equal(memory_pin(call, MEMORY, PAGE, false, &pinned), -EINTR);
}

/* A library that lies. */
static void test_lies(void **state)
{
	struct call *call = *state;
	struct pinned *pinned;
	int fd = call->fd, pipes[2];
	struct statfs fs;

	call->extra = PAGE; /* more than was asked for */
	assert_int_equal(memory_pin(call, MEMORY, PAGE, true, &pinned), -ENOMEM);
	call->stretch = PAGE; /* overlap */
	assert_int_equal(memory_pin(call, MEMORY, 3 * PAGE, true, &pinned), -ENOMEM);
	call->stretch = 0;
	call->extra = 1; /* not in pages */
	assert_int_equal(memory_pin(call, MEMORY, PAGE, true, &pinned), -ENOMEM);
	call->extra = 0; /* not in the file */
	assert_int_equal(memory_pin(call, MEMORY + MEMORY_PAGES * PAGE, PAGE, true, &pinned),
			 -ENOMEM);
	assert_int_equal(memory_pin(call, MEMORY + (1ull << 40), PAGE, true, &pinned), -ENOMEM);

	call->stretch = PAGE;
	call->repeats = true;
	assert_int_equal(memory_pin(call, MEMORY, 3 * PAGE, true, &pinned), -ENOMEM);
	call->repeats = false;
	assert_return_code(ftruncate(call->fd, 2ll << 40), errno); /* more than addresses */
	assert_int_equal(memory_pin(call, MEMORY + (1ull << 40), PAGE, true, &pinned), -ENOMEM);
	assert_return_code(ftruncate(call->fd, MEMORY_PAGES * PAGE), errno);

	call->fd = -1;
	assert_int_equal(memory_pin(call, MEMORY, PAGE, true, &pinned), -ENOMEM);
	assert_return_code(pipe(pipes), errno);
	call->fd = pipes[0];
	assert_int_equal(memory_pin(call, MEMORY, PAGE, true, &pinned), -ENOMEM);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	call->read_only = true;
	call->fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	assert_return_code(fstatfs(call->fd, &fs), errno);
	if (fs.f_type != TMPFS_MAGIC) /* no file in memory, as it mostly is */
		assert_int_equal(memory_pin(call, MEMORY, PAGE, false, &pinned), -ENOMEM);
	(void)close(call->fd);
	call->fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	assert_int_equal(memory_pin(call, MEMORY, PAGE, false, &pinned), -ENOMEM);
	(void)close(call->fd);
	call->fd = fd;
	assert_int_equal(memory_pin(call, MEMORY, PAGE, false, &pinned), 0);
	memory_unpin(pinned);
}

/* Pointers into an object hold, whatever becomes of the file. */
static void test_growth(void **state)
{
	struct call *call = *state;
	struct memory_objects *objects = call->host.memory_objects;
	struct pinned *first, *second;
	uint8_t *old;
	uint64_t end;

	assert_int_equal(memory_pin(call, MEMORY, PAGE, true, &first), 0);
	old = memory_map(objects, first->stretch[0].address, PAGE);
	for (unsigned pages = MEMORY_PAGES; pages < 64 * MEMORY_PAGES; pages += 100) {
		end = (uint64_t)pages * PAGE;
		assert_return_code(ftruncate(call->fd, (off_t)end), errno);
		assert_int_equal(memory_pin(call, MEMORY + end - PAGE, PAGE, true, &second), 0);
		assert_int_equal(second->stretch[0].address,
				 first->stretch[0].address + end - PAGE);
		*(uint8_t *)memory_map(objects, second->stretch[0].address, 1) = 7;
		memory_unpin(second);
	}
	*old = 9;
	assert_int_equal(call->memory[0], 9);
	memory_unpin(first);
}

/* Read-only first, then writable: the same object. */
static void test_read_only(void **state)
{
	struct call *call = *state;
	struct memory_objects *objects = call->host.memory_objects;
	struct pinned *first, *second;
	int fd = call->fd;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	call->fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_return_code(call->fd, errno);
	assert_int_equal(memory_pin(call, MEMORY, PAGE, true, &first), -ENOMEM);
	call->read_only = true;
	assert_int_equal(memory_pin(call, MEMORY, PAGE, false, &first), 0);
	(void)close(call->fd);
	call->fd = fd;
	call->read_only = false;
	assert_int_equal(memory_pin(call, MEMORY, PAGE, true, &second), 0);
	assert_int_equal(first->stretch[0].address, second->stretch[0].address);
	*(uint8_t *)memory_map(objects, second->stretch[0].address, 1) = 3;
	assert_int_equal(call->memory[0], 3);
	memory_unpin(first);
	memory_unpin(second);
}

/*
 * SIGBUS.  cmocka has handlers of its own, so these run in another process: main() with an
 * argument.
 */

static int lose_pages(void)
{
	struct memory_objects *objects;
	struct pinned *pinned;
	struct call *call;
	bool is_good;
	uint8_t *at;

	(void)client_setup((void **)&call);
	objects = call->host.memory_objects;
	if (memory_pin(call, MEMORY, MEMORY_PAGES * PAGE, true, &pinned) < 0)
		return 1;
	at = memory_map(objects, pinned->stretch[0].address, MEMORY_PAGES * PAGE);
	memset(at, 0xaa, MEMORY_PAGES * PAGE);
	if (ftruncate(call->fd, PAGE) < 0)
		return 1;
	at[5 * PAGE] = 1;
	is_good = at[1] == 0xaa && at[5 * PAGE] == 1;
	for (unsigned i = MEMORY_PAGES - 1; i > 0; i--)
		is_good = is_good && at[i * PAGE] == (i == 5);
	memory_unpin(pinned);
	(void)client_teardown((void **)&call);
	return is_good ? 0 : 1;
}

/* The host has nothing to do with it. */
static int lose_own_page(void)
{
	struct pinned *pinned;
	struct call *call;

	(void)client_setup((void **)&call);
	(void)memory_pin(call, MEMORY, PAGE, true, &pinned);
	(void)!ftruncate(call->fd, 0);
	(void)alarm(10);
	return *(volatile uint8_t *)call->memory;
}

static int run(const char *name)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		(void)execl("/proc/self/exe", "test_object", name, NULL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_truncation(void **state)
{
	(void)state;
	assert_int_equal(run("lose-pages"), 0);
}

static void test_foreign_sigbus(void **state)
{
	int status = run("lose-own-page");

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

static void test_own_page(void **state)
{
	struct memory_objects *objects = ((struct call *)*state)->host.memory_objects;
	uint64_t address, other;
	uint8_t *page, *two;

	assert_int_equal(memory_page_new(objects, &page, &address), 0);
	assert_int_equal(memory_page_new(objects, &two, &other), 0);
	assert_int_not_equal(address, other);
	assert_int_equal(address % PAGE, 0);
	assert_ptr_equal(memory_map(objects, address + 8, PAGE - 8), page + 8);
	assert_null(memory_map(objects, address + 8, PAGE));
	assert_int_equal(page[17], 0);
	memory_page_free(objects, address);
	assert_null(memory_map(objects, address, 1));
	memory_page_free(objects, other);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pin, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_addresses_last, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_pin_errors, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_lies, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_growth, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_read_only, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_truncation, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_foreign_sigbus, client_setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_own_page, client_setup, client_teardown),
	};

	if (argc == 2)
		return strcmp(argv[1], "lose-pages") ? lose_own_page() : lose_pages();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
