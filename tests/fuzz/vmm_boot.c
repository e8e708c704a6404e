// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Kernels, ELF and bzImage, and an initrd; guest RAM ends at an unmapped page.  An image is
 * followed by what the last two bytes of the input say.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "input.h"
#include "kvm/cleanup.h"
#include "vmm/boot/boot.h"

#define RAM_SIZE (32u << 20)
#define PAGE	 4096u

static int image_of(const uint8_t *bytes, size_t len, size_t size)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	if (fd < 0 || (len > 0 && pwrite(fd, bytes, len, 0) < 0) || ftruncate(fd, (off_t)size) < 0)
		abort();
	return fd;
}

static void check_range(const struct boot_range *range)
{
	if (range->start > range->end || range->end > RAM_SIZE)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *ram;
	struct vmm_memory memory = {.n_regions = 1};
	uint8_t extra = size > 0 ? data[size - 1] : 0;
	autofd kernel = image_of(data, size, size + (extra & 7) * 65536u);
	autofd initrd = extra & 8 ? image_of(data, size, (extra >> 4) * 65536u) : -1;
	struct boot_entry entry;
	struct boot_error error = {""};

	if (!ram) {
		ram = mmap(NULL, RAM_SIZE + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (ram == MAP_FAILED || mprotect(ram, RAM_SIZE, PROT_READ | PROT_WRITE) < 0)
			abort();
	}
	memory.region[0] = (struct vmm_memory_region){.size = RAM_SIZE, .hva = ram, .fd = -1};
	if (boot_load(&memory, kernel, initrd, "console=ttyS0", &entry, &error) == 0) {
		check_range(&entry.image);
		check_range(&entry.initrd);
	} else if (error.text[0] == '\0') {
		abort();
	}
	(void)madvise(ram, RAM_SIZE, MADV_DONTNEED);
	return 0;
}
