/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory objects: guest memory that can be handed to another process. */
#include <vmrelay/memory.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "error.h"
#include "kvm/cleanup.h"

/* Populated in steps, so that a signal is not held up for seconds. */
#define POPULATE_STEP (64ULL << 20)

static int create_file(const char *dir)
{
	return open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

int vmr_memory_create(enum vmr_memory_kind kind, const char *dir, uint64_t size,
		      struct vmr_error *ret_error)
{
	autofd fd = -1;

	switch (kind) {
	case VMR_MEMORY_MEMFD:
		fd = memfd_create("vmrelay-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		break;
	case VMR_MEMORY_HUGETLB:
		fd = memfd_create("vmrelay-guest",
				  MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB);
		break;
	case VMR_MEMORY_FILE:
		fd = create_file(dir);
		break;
	}
	if (fd < 0)
		return error_set(ret_error, -errno, "create", "memory object",
				 "creating a memory object%s%s failed: %m", dir ? " in " : "",
				 dir ? dir : "");
	if (ftruncate(fd, (off_t)size) < 0)
		return error_set(ret_error, -errno, "ftruncate", "memory object",
				 "sizing a memory object to %llu bytes failed: %m",
				 (unsigned long long)size);
	if (kind != VMR_MEMORY_FILE &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return error_set(ret_error, -errno, "F_ADD_SEALS", "memory object", NULL);

	int r = vmr_memory_check(fd, 0, size, ret_error);

	return r < 0 ? r : steal_fd(&fd);
}

int vmr_memory_check(int fd, uint64_t offset, uint64_t size, struct vmr_error *ret_error)
{
	const char *const step = "check", *const object = "memory object";
	struct statfs fs;
	struct stat st;

	if (fd < 0)
		return error_set(ret_error, -EINVAL, step, object,
				 "guest memory is private to this process and cannot be shared");
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return error_set(ret_error, -errno, step, object, NULL);
	if (!S_ISREG(st.st_mode) || (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC))
		return error_set(ret_error, -EINVAL, step, object,
				 "guest memory is not a memfd or a file on tmpfs or hugetlbfs");
	if (offset > (uint64_t)st.st_size || size > (uint64_t)st.st_size - offset)
		return error_set(ret_error, -EINVAL, step, object,
				 "a memory object is shorter than the guest memory in it");

	/*
	 * Only a memfd can be sealed (a file answers F_SEAL_SEAL alone); one that is not could be
	 * truncated under the guest by whoever else has it.
	 */
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals >= 0 && seals != F_SEAL_SEAL && !(seals & F_SEAL_SHRINK))
		return error_set(ret_error, -EINVAL, step, object,
				 "a memory object is not sealed against shrinking");

	int mode = fcntl(fd, F_GETFL);

	if (mode < 0 || (mode & O_ACCMODE) != O_RDWR)
		return error_set(ret_error, -EINVAL, step, object,
				 "a memory object is not open for reading and writing");
	return 0;
}

int vmr_memory_map(int fd, uint64_t offset, uint64_t size, void **ret_hva,
		   struct vmr_error *ret_error)
{
	void *hva = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);

	if (hva == MAP_FAILED)
		return error_set(ret_error, -errno, "mmap", "memory object",
				 "mapping %llu bytes of guest memory failed: %m",
				 (unsigned long long)size);
	*ret_hva = hva;
	return 0;
}

static int populate_range(uint8_t *hva, uint64_t size)
{
	while (size > 0) {
		uint64_t step = size < POPULATE_STEP ? size : POPULATE_STEP;

		/* A read fault is enough: a shared mapping of these files is writable at once. */
		if (madvise(hva, step, MADV_POPULATE_READ) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return -errno;
		}
		hva += step;
		size -= step;
	}
	return 0;
}

int vmr_memory_populate(int fd, uint64_t offset, void *hva, uint64_t size)
{
	uint64_t end = offset + size, at = offset;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size)
		return populate_range(hva, size);

	while (at < end) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			return 0; /* no page from here on */
		if (data < 0 || (uint64_t)data >= end)
			return data < 0 ? -errno : 0;

		off_t hole = lseek(fd, data, SEEK_HOLE);

		if (hole < 0)
			return -errno;
		at = (uint64_t)hole < end ? (uint64_t)hole : end;

		int r = populate_range((uint8_t *)hva + ((uint64_t)data - offset),
				       at - (uint64_t)data);

		if (r < 0)
			return r;
	}
	return 0;
}
