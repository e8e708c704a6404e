// SPDX-License-Identifier: GPL-2.0-or-later
/* Loading a guest: everything around the kernel itself. */
#include "boot.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../layout.h"
#include "image.h"

#define PAGE		  4096ULL
#define HEADER_MAGIC	  0x53726448U /* "HdrS" */
#define BOOT_FLAG	  0xaa55U
#define LOADER_UNASSIGNED 0xff
#define MEMORY_MIN	  (2ULL << 20)

enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 };

#define PTE_PRESENT  (1ULL << 0)
#define PTE_WRITABLE (1ULL << 1)
#define PTE_LARGE    (1ULL << 7)
#define MAPPED_GIB   4U

_Static_assert(sizeof(struct boot_params) == PAGE, "the kernel's zero page");
_Static_assert(LAYOUT_BOOT_PARAMS + PAGE <= LAYOUT_PAGE_TABLES, "areas below 1 MiB");
_Static_assert(LAYOUT_PAGE_TABLES + (2 + MAPPED_GIB) * PAGE <= LAYOUT_CMDLINE, "are apart");

int image_read(const struct boot_image *image, uint64_t offset, void *buf, size_t len,
	       struct boot_error *ret_error)
{
	for (size_t done = 0; done < len;) {
		ssize_t n =
			pread(image->fd, (uint8_t *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int r = -errno;

			return boot_fail(ret_error, r, "cannot read %s: %s", image->what,
					 strerror(-r));
		}
		if (n == 0)
			return boot_fail(ret_error, -EIO, "%s became shorter while it was read",
					 image->what);
		done += (size_t)n;
	}
	return 0;
}

static int image_open(int fd, const char *what, struct boot_image *ret,
		      struct boot_error *ret_error)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		int r = -errno;

		return boot_fail(ret_error, r, "cannot look at %s: %s", what, strerror(-r));
	}
	if (!S_ISREG(st.st_mode))
		return boot_fail(ret_error, -EINVAL, "%s is not a regular file", what);
	*ret = (struct boot_image){what, fd, (uint64_t)st.st_size};
	return 0;
}

uint64_t boot_low_ram_end(const struct vmm_memory *memory)
{
	return memory->n_regions && memory->region[0].gpa == 0 ? memory->region[0].size : 0;
}

int boot_write_page_tables(const struct vmm_memory *memory)
{
	static const uint64_t gdt[] = {
		0, 0, 0x00af9b000000ffff, /* 0x10: 64-bit code, Linux's __BOOT_CS */
		0x00cf93000000ffff,	  /* 0x18: data, __BOOT_DS */
	};
	const uint64_t flags = PTE_PRESENT | PTE_WRITABLE;
	const uint64_t directories = LAYOUT_PAGE_TABLES + 2 * PAGE;
	void *gdt_at = vmm_memory_at(memory, LAYOUT_GDT, sizeof(gdt));
	uint64_t *tables = vmm_memory_at(memory, LAYOUT_PAGE_TABLES, (2 + MAPPED_GIB) * PAGE);

	if (!gdt_at || !tables)
		return -ENOSPC;
	memcpy(gdt_at, gdt, sizeof(gdt));
	memset(tables, 0, 2 * PAGE);
	tables[0] = (LAYOUT_PAGE_TABLES + PAGE) | flags;
	for (unsigned i = 0; i < MAPPED_GIB; i++)
		tables[512 + i] = (directories + i * PAGE) | flags;
	for (uint64_t i = 0; i < MAPPED_GIB * 512; i++)
		tables[1024 + i] = i << 21 | flags | PTE_LARGE;
	return 0;
}

int boot_set_c_bit(const struct vmm_memory *memory, uint64_t c_bit)
{
	uint64_t *tables = vmm_memory_at(memory, LAYOUT_PAGE_TABLES, (2 + MAPPED_GIB) * PAGE);
	uint64_t n_large = (boot_low_ram_end(memory) + (2U << 20) - 1) >> 21;

	if (!tables)
		return -ENOSPC;
	tables[0] |= c_bit;
	for (unsigned i = 0; i < MAPPED_GIB; i++)
		tables[512 + i] |= c_bit;
	for (uint64_t i = 0; i < n_large; i++)
		tables[1024 + i] |= c_bit;
	return 0;
}

static int load_kernel(const struct vmm_memory *memory, const struct boot_image *image,
		       struct boot_kernel *ret, struct boot_error *ret_error)
{
	union {
		uint8_t bytes[PAGE];
		struct boot_params linux_image; /* a bzImage begins like the zero page */
	} start = {0};
	int r;

	r = image_read(image, 0, &start, image->size < PAGE ? image->size : PAGE, ret_error);
	if (r < 0)
		return r;
	if (memcmp(start.bytes, ELFMAG, SELFMAG) == 0)
		return elf_load(memory, image, ret, ret_error);
	if (start.linux_image.hdr.boot_flag == BOOT_FLAG &&
	    start.linux_image.hdr.header == HEADER_MAGIC)
		return bzimage_load(memory, image, ret, ret_error);
	return boot_fail(ret_error, -ENOEXEC, "neither a bzImage nor an ELF64 file");
}

/* As high as the kernel can reach it, where it is out of the way of the kernel's growth. */
static int load_initrd(const struct vmm_memory *memory, int fd, const struct boot_kernel *kernel,
		       struct setup_header *header, struct boot_error *ret_error)
{
	uint64_t end = boot_low_ram_end(memory);
	struct boot_image image = {.size = 0};
	uint64_t address;
	int r;

	r = image_open(fd, "the initrd", &image, ret_error);
	if (r < 0)
		return r;
	if (image.size == 0)
		return boot_fail(ret_error, -EINVAL, "the initrd is empty");
	if (end > kernel->initrd_max)
		end = kernel->initrd_max;
	address = image.size < end ? (end - image.size) & ~(PAGE - 1) : 0;
	if (address < kernel->end)
		return boot_fail(ret_error, -ENOSPC,
				 "the initrd of %llu KiB does not fit between the kernel's end at "
				 "%#llx and %#llx",
				 (unsigned long long)(image.size >> 10),
				 (unsigned long long)kernel->end, (unsigned long long)end);

	r = image_read(&image, 0, vmm_memory_at(memory, address, image.size), image.size,
		       ret_error);
	if (r < 0)
		return r;
	header->ramdisk_image = (uint32_t)address;
	header->ramdisk_size = (uint32_t)image.size;
	return 0;
}

static int write_cmdline(const struct vmm_memory *memory, const struct boot_kernel *kernel,
			 const char *cmdline, struct boot_error *ret_error)
{
	size_t len = strlen(cmdline);
	size_t max = LAYOUT_CMDLINE_MAX - 1;

	if (max > kernel->cmdline_max)
		max = kernel->cmdline_max;
	if (len > max)
		return boot_fail(ret_error, -E2BIG,
				 "the kernel command line has %zu bytes, at most %zu are possible",
				 len, max);
	memcpy(vmm_memory_at(memory, LAYOUT_CMDLINE, LAYOUT_CMDLINE_MAX), cmdline, len + 1);
	return 0;
}

static void add_e820(struct boot_params *params, uint64_t start, uint64_t end, uint32_t type)
{
	params->e820_table[params->e820_entries++] =
		(struct boot_e820_entry){.addr = start, .size = end - start, .type = type};
}

static void fill_e820(const struct vmm_memory *memory, struct boot_params *params)
{
	add_e820(params, 0, LAYOUT_EBDA, E820_RAM);
	add_e820(params, LAYOUT_EBDA, LAYOUT_ACPI, E820_RESERVED);
	/* Linux as an SEV guest maps what is reserved without encryption, but not ACPI tables. */
	add_e820(params, LAYOUT_ACPI, LAYOUT_ACPI_END, E820_ACPI);
	add_e820(params, LAYOUT_KERNEL, memory->region[0].size, E820_RAM);
	for (unsigned i = 1; i < memory->n_regions; i++)
		add_e820(params, memory->region[i].gpa,
			 memory->region[i].gpa + memory->region[i].size, E820_RAM);
}

int boot_load(const struct vmm_memory *memory, int kernel_fd, int initrd_fd, const char *cmdline,
	      struct boot_entry *ret_entry, struct boot_error *ret_error)
{
	struct boot_params params = {0};
	struct boot_kernel kernel = {.end = 0};
	struct boot_image image = {.size = 0};
	int r;

	if (boot_low_ram_end(memory) < MEMORY_MIN)
		return boot_fail(ret_error, -ENOSPC, "the guest has less than 2 MiB of memory");
	r = image_open(kernel_fd, "the kernel", &image, ret_error);
	if (r < 0)
		return r;
	r = load_kernel(memory, &image, &kernel, ret_error);
	if (r < 0)
		return r;

	params.hdr = kernel.header;
	params.hdr.type_of_loader = LOADER_UNASSIGNED;
	params.hdr.ramdisk_image = params.hdr.ramdisk_size = 0;
	params.hdr.setup_data = 0;
	params.hdr.cmd_line_ptr = (uint32_t)LAYOUT_CMDLINE;
	r = write_cmdline(memory, &kernel, cmdline, ret_error);
	if (r < 0)
		return r;
	if (initrd_fd >= 0) {
		r = load_initrd(memory, initrd_fd, &kernel, &params.hdr, ret_error);
		if (r < 0)
			return r;
	}
	params.acpi_rsdp_addr = LAYOUT_ACPI;
	fill_e820(memory, &params);
	memcpy(vmm_memory_at(memory, LAYOUT_BOOT_PARAMS, sizeof(params)), &params, sizeof(params));
	r = boot_write_page_tables(memory);
	if (r < 0)
		return boot_fail(ret_error, r, "no room for page tables");

	*ret_entry = (struct boot_entry){
		.rip = kernel.entry,
		.rsp = LAYOUT_BOOT_STACK,
		.rsi = LAYOUT_BOOT_PARAMS,
		.cr3 = LAYOUT_PAGE_TABLES,
		.image = {kernel.start, kernel.end},
		.initrd = {params.hdr.ramdisk_image,
			   params.hdr.ramdisk_image + (uint64_t)params.hdr.ramdisk_size},
		.is_linux = kernel.header.header == HEADER_MAGIC,
	};
	return 0;
}
