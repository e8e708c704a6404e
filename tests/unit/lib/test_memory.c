// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory objects: what can be handed over, and populating without allocating. */
#include <vmrelay/memory.h>

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kvm/cleanup.h"
#include "util.h"

#define PAGE 4096U
#define MIB  (1U << 20)

static int setup(void **state)
{
	static unsigned n_open;

	n_open = count_fds();
	*state = &n_open;
	return 0;
}

static int teardown(void **state)
{
	return count_fds() == *(unsigned *)*state ? 0 : -1;
}

static blkcnt_t blocks(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_blocks;
}

/* Is the page in the page tables of this process? */
static bool is_mapped(const void *page)
{
	autofd fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;

	assert_in_range(fd, 0, 1 << 20);
	assert_int_equal(
		pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / PAGE * sizeof(entry))),
		sizeof(entry));
	return entry >> 63;
}

/* What it holds after one process wrote is what another mapping of it shows. */
static void check_shared(int fd, uint64_t size)
{
	struct vmr_error error;
	void *a, *b;

	assert_int_equal(vmr_memory_map(fd, 0, size, &a, &error), 0);
	assert_int_equal(vmr_memory_map(fd, PAGE, size - PAGE, &b, &error), 0);
	assert_int_equal(((uint8_t *)a)[size - 1], 0);
	memcpy((uint8_t *)a + PAGE + 5, "guest", 6);
	assert_string_equal((char *)b + 5, "guest");
	assert_int_equal(munmap(a, size), 0);
	assert_int_equal(munmap(b, size - PAGE), 0);
}

static void check_error(const struct vmr_error *error, int code)
{
	assert_int_equal(error->code, code);
	assert_true(error->step[0] && error->object[0] && error->text[0]);
	assert_int_not_equal(error->text[strlen(error->text) - 1], '.');
}

static void test_memfd(void **state)
{
	struct vmr_error error;
	autofd fd = vmr_memory_create(VMR_MEMORY_MEMFD, NULL, MIB, &error);

	(void)state;
	assert_in_range(fd, 0, 1 << 20);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(ftruncate(fd, MIB / 2), -1);
	assert_int_equal(ftruncate(fd, MIB * 2), -1);
	assert_int_equal(vmr_memory_check(fd, 0, MIB, &error), 0);
	check_shared(fd, MIB);
}

static void test_hugetlb(void **state)
{
	struct vmr_error error;
	autofd fd = vmr_memory_create(VMR_MEMORY_HUGETLB, NULL, 4 * MIB, &error);
	void *hva;

	(void)state;
	if (fd < 0 || vmr_memory_map(fd, 0, 4 * MIB, &hva, &error) < 0) {
		check_error(&error, error.code);
		skip_because("there are no huge pages: %s", error.text);
	}
	memcpy(hva, "guest", 6);
	assert_int_equal(munmap(hva, 4 * MIB), 0);
	assert_int_equal(vmr_memory_check(fd, 0, 4 * MIB, &error), 0);
	assert_int_equal(vmr_memory_map(fd, 0, 4 * MIB, &hva, &error), 0);

	blkcnt_t before = blocks(fd);

	assert_int_equal(vmr_memory_populate(fd, 0, hva, 4 * MIB), 0);
	assert_int_equal(blocks(fd), before);
	assert_string_equal((char *)hva, "guest");
	assert_int_equal(munmap(hva, 4 * MIB), 0);
}

static void test_file(void **state)
{
	struct vmr_error error;
	autofd fd = vmr_memory_create(VMR_MEMORY_FILE, "/dev/shm", MIB, &error);

	(void)state;
	if (fd == -ENOENT || fd == -EINVAL)
		skip_because("there is no tmpfs at /dev/shm");
	assert_in_range(fd, 0, 1 << 20);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	check_shared(fd, MIB);
}

static void test_create_refuses(void **state)
{
	struct vmr_error error;

	(void)state;
	assert_int_equal(vmr_memory_create(VMR_MEMORY_FILE, "/nonexistent", MIB, &error), -ENOENT);
	check_error(&error, -ENOENT);
	assert_non_null(strstr(error.text, "/nonexistent"));
	/* Larger than any file can be. */
	assert_in_range(-vmr_memory_create(VMR_MEMORY_MEMFD, NULL, UINT64_MAX, &error), 1, 4095);
	check_error(&error, error.code);
}

static void refuse(int fd, uint64_t offset, uint64_t size)
{
	struct vmr_error error;

	assert_int_equal(vmr_memory_check(fd, offset, size, &error), -EINVAL);
	check_error(&error, -EINVAL);
}

static void test_check_private(void **state)
{
	(void)state;
	refuse(-1, 0, MIB);
}

static void test_check_unsealed(void **state)
{
	autofd fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct vmr_error error;

	(void)state;
	assert_int_equal(ftruncate(fd, MIB), 0);
	refuse(fd, 0, MIB);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	refuse(fd, 0, MIB);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(vmr_memory_check(fd, 0, MIB, &error), 0);
}

static void test_check_disk(void **state)
{
	autofd fd = disk_file(MIB), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	refuse(null, 0, 0);
	if (fd < 0)
		skip_because("there is no file system but tmpfs");
	refuse(fd, 0, MIB);
}

static void test_check_read_only(void **state)
{
	struct vmr_error error;
	autofd fd = vmr_memory_create(VMR_MEMORY_MEMFD, NULL, MIB, &error);
	char path[40];

	(void)state;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

	autofd read_only = open(path, O_RDONLY | O_CLOEXEC);

	assert_in_range(read_only, 0, 1 << 20);
	refuse(read_only, 0, MIB);
}

static void test_check_range(void **state)
{
	struct vmr_error error;
	autofd fd = vmr_memory_create(VMR_MEMORY_MEMFD, NULL, MIB, &error);

	(void)state;
	assert_int_equal(vmr_memory_check(fd, 0, MIB, &error), 0);
	assert_int_equal(vmr_memory_check(fd, MIB - PAGE, PAGE, &error), 0);
	refuse(fd, 0, MIB + 1);
	refuse(fd, MIB - PAGE, PAGE + 1);
	refuse(fd, MIB + 1, 0);
	refuse(fd, PAGE, UINT64_MAX - PAGE + 1); /* wraps to 0 */
	refuse(fd, UINT64_MAX, 1);
	refuse(fd, UINT64_MAX - PAGE + 1, 2 * PAGE);
}

static void test_map_failure(void **state)
{
	struct vmr_error error;
	autofd fd = vmr_memory_create(VMR_MEMORY_MEMFD, NULL, MIB, &error);
	void *hva = &error;

	(void)state;
	assert_int_equal(vmr_memory_map(fd, 1, PAGE, &hva, &error), -EINVAL);
	check_error(&error, -EINVAL);
	assert_ptr_equal(hva, &error);
}

/* Every `step`th page of the object has been written. */
static void check_populate(uint64_t size, uint64_t offset, unsigned step, unsigned first)
{
	struct vmr_error error;
	autofd fd = vmr_memory_create(VMR_MEMORY_MEMFD, NULL, size, &error);
	uint64_t len = size - 2 * offset;
	uint8_t page[PAGE];
	void *hva;

	memset(page, 0xa5, sizeof(page));
	for (uint64_t at = (uint64_t)first * PAGE; at < size; at += (uint64_t)step * PAGE)
		assert_int_equal(pwrite(fd, page, sizeof(page), (off_t)at), PAGE);

	blkcnt_t before = blocks(fd);

	assert_int_equal(vmr_memory_map(fd, offset, len, &hva, &error), 0);
	/* Huge pages would fill neighbours. */
	(void)madvise(hva, len, MADV_NOHUGEPAGE);
	assert_int_equal(vmr_memory_populate(fd, offset, hva, len), 0);
	assert_int_equal(blocks(fd), before);
	for (uint64_t at = 0; at < len; at += PAGE) {
		uint64_t n = (offset + at) / PAGE;

		assert_int_equal(is_mapped((uint8_t *)hva + at),
				 n >= first && (n - first) % step == 0);
	}
	assert_int_equal(munmap(hva, len), 0);
}

static void test_populate(void **state)
{
	(void)state;
	check_populate(MIB, 0, 1, 0);	   /* all of it */
	check_populate(MIB, 0, 1024, 0);   /* one page, then a hole to the end */
	check_populate(MIB, 0, 1024, 255); /* a hole up to the last page */
	check_populate(MIB, 0, 7, 3);	   /* islands */
	check_populate(MIB, 64 * PAGE, 7, 3);
	check_populate(MIB, 64 * PAGE, 1024, 250); /* nothing of it is in the mapping */
	check_populate(MIB, 0, 1024, 1024);	   /* nothing at all */
}

/* More than is done in one step. */
static void test_populate_large(void **state)
{
	const uint64_t size = 130ULL * MIB;
	struct vmr_error error;
	autofd fd = vmr_memory_create(VMR_MEMORY_MEMFD, NULL, size, &error);
	void *hva;

	(void)state;
	assert_int_equal(fallocate(fd, 0, 0, (off_t)size), 0);
	assert_int_equal(vmr_memory_map(fd, 0, size, &hva, &error), 0);
	assert_int_equal(vmr_memory_populate(fd, 0, hva, size), 0);
	for (uint64_t at = 0; at < size; at += MIB)
		assert_true(is_mapped((uint8_t *)hva + at));
	assert_true(is_mapped((uint8_t *)hva + size - PAGE));
	assert_int_equal(munmap(hva, size), 0);
}

static void test_populate_failure(void **state)
{
	(void)state;
	assert_int_equal(vmr_memory_populate(-1, 0, NULL, MIB), -EBADF);
}

#define with_fds(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_fds(test_memfd),
		with_fds(test_hugetlb),
		with_fds(test_file),
		with_fds(test_create_refuses),
		with_fds(test_check_private),
		with_fds(test_check_unsealed),
		with_fds(test_check_disk),
		with_fds(test_check_read_only),
		with_fds(test_check_range),
		with_fds(test_map_failure),
		with_fds(test_populate),
		with_fds(test_populate_large),
		with_fds(test_populate_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
