/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the loaders of the two kinds of kernel share.  Internal to vmm/boot. */
#ifndef VMM_BOOT_IMAGE_H
#define VMM_BOOT_IMAGE_H

#include <asm/bootparam.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "boot.h"

/* A regular file that is a kernel or an initrd; what is in it is not trusted. */
struct boot_image {
	const char *what; /* for sentences: "the kernel" */
	int fd;
	uint64_t size;
};

/* Where a loaded kernel is in guest-physical memory, and what it asks for. */
struct boot_kernel {
	uint64_t entry;
	uint64_t start;
	uint64_t end;		    /* of what it needs to start, not only of what was loaded */
	uint64_t initrd_max;	    /* the initrd must end at or below */
	uint32_t cmdline_max;	    /* bytes without the NUL */
	struct setup_header header; /* as the kernel file has it, or zero */
};

/* Fill *error and be `result`, a -errno. */
#define boot_fail(error, result, ...)                                                              \
	((void)snprintf((error)->text, sizeof((error)->text), __VA_ARGS__), (result))

/* Read exactly [offset, offset + len) of the image; the range was checked against its size. */
int image_read(const struct boot_image *image, uint64_t offset, void *buf, size_t len,
	       struct boot_error *ret_error);

/* End of the RAM that starts at address 0, which is where all that boots is loaded. */
uint64_t boot_low_ram_end(const struct vmm_memory *memory);

int bzimage_load(const struct vmm_memory *memory, const struct boot_image *image,
		 struct boot_kernel *ret, struct boot_error *ret_error);
int elf_load(const struct vmm_memory *memory, const struct boot_image *image,
	     struct boot_kernel *ret, struct boot_error *ret_error);

#endif
