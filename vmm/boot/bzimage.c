// SPDX-License-Identifier: GPL-2.0-or-later
/* Linux bzImage by the 64-bit boot protocol (Documentation/arch/x86/boot.rst in Linux). */
#include "image.h"

#include <errno.h>
#include <string.h>

#include "../layout.h"

#define SECTOR		512U
#define HEADER_OFFSET	offsetof(struct boot_params, hdr)
#define HEADER_JUMP	0x202U /* the byte before is the length of the header from here */
#define DEFAULT_SECTORS 4U
#define PROTOCOL_2_12	0x020c /* the first to tell whether there is a 64-bit entry point */
#define ENTRY_64	0x200U

/* The setup header, without what lies behind its end: those bytes are code. */
static int read_header(const struct boot_image *image, struct setup_header *ret,
		       struct boot_error *ret_error)
{
	struct setup_header header = {0};
	size_t len;
	int r;

	if (image->size < HEADER_OFFSET + sizeof(header))
		return boot_fail(ret_error, -ENOEXEC, "the bzImage ends within its setup header");
	r = image_read(image, HEADER_OFFSET, &header, sizeof(header), ret_error);
	if (r < 0)
		return r;
	len = HEADER_JUMP + (header.jump >> 8) - HEADER_OFFSET;
	if (len < sizeof(header))
		memset((uint8_t *)&header + len, 0, sizeof(header) - len);
	*ret = header;
	return 0;
}

/*
 * The kernel runs in [address, address + needed), at the address that it prefers if it fits there,
 * so that it need not move itself; else as low as its alignment allows.
 */
static int choose_address(const struct setup_header *header, uint64_t needed, uint64_t ram_end,
			  uint64_t *ret, struct boot_error *ret_error)
{
	uint64_t alignment = header->kernel_alignment;
	uint64_t address = header->pref_address;

	if (alignment & (alignment - 1))
		return boot_fail(ret_error, -ENOEXEC, "the bzImage asks for an alignment of %#llx",
				 (unsigned long long)alignment);
	if (header->relocatable_kernel &&
	    (address < LAYOUT_KERNEL || address >= ram_end || needed > ram_end - address))
		address = alignment > LAYOUT_KERNEL ? alignment : LAYOUT_KERNEL;
	if (address < LAYOUT_KERNEL)
		return boot_fail(ret_error, -ENOEXEC,
				 "the bzImage wants to run at %#llx, below 1 MiB",
				 (unsigned long long)address);
	if (address >= ram_end || needed > ram_end - address)
		return boot_fail(ret_error, -ENOSPC,
				 "the kernel needs %llu MiB at %#llx, and guest RAM ends at %#llx",
				 (unsigned long long)(needed >> 20), (unsigned long long)address,
				 (unsigned long long)ram_end);
	*ret = address;
	return 0;
}

int bzimage_load(const struct vmm_memory *memory, const struct boot_image *image,
		 struct boot_kernel *ret, struct boot_error *ret_error)
{
	uint64_t address, setup_size, code_size, needed;
	struct setup_header header;
	int r;

	r = read_header(image, &header, ret_error);
	if (r < 0)
		return r;
	if (header.version < PROTOCOL_2_12)
		return boot_fail(ret_error, -ENOEXEC,
				 "its boot protocol %u.%02u is too old, 2.12 is needed",
				 header.version >> 8, header.version & 0xff);
	if (!(header.xloadflags & XLF_KERNEL_64))
		return boot_fail(ret_error, -ENOEXEC,
				 "a 32-bit kernel: it has no 64-bit entry point");
	if (!(header.loadflags & LOADED_HIGH))
		return boot_fail(ret_error, -ENOEXEC, "a zImage, which loads below 1 MiB");

	setup_size = ((header.setup_sects ?: DEFAULT_SECTORS) + 1) * SECTOR;
	if (image->size < setup_size || image->size - setup_size < 16ULL * header.syssize ||
	    image->size - setup_size <= ENTRY_64)
		return boot_fail(
			ret_error, -ENOEXEC,
			"the bzImage is cut short: it has %llu bytes, its header says %llu",
			(unsigned long long)image->size,
			(unsigned long long)(setup_size + 16ULL * header.syssize));
	code_size = image->size - setup_size;
	needed = header.init_size > code_size ? header.init_size : code_size;

	r = choose_address(&header, needed, boot_low_ram_end(memory), &address, ret_error);
	if (r < 0)
		return r;
	r = image_read(image, setup_size, vmm_memory_at(memory, address, code_size), code_size,
		       ret_error);
	if (r < 0)
		return r;

	header.code32_start = (uint32_t)address;
	*ret = (struct boot_kernel){
		.entry = address + ENTRY_64,
		.start = address,
		.end = address + needed,
		.initrd_max = header.initrd_addr_max + 1ULL,
		.cmdline_max = header.cmdline_size,
		.header = header,
	};
	return 0;
}
