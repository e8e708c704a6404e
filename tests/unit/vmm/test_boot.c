// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Loading of kernels, from images made here.  Guest RAM ends at an unmapped page, so that a write
 * behind it does not go unnoticed.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/cleanup.h"
#include "vmm/boot/boot.h"
#include "vmm/layout.h"

#define MIB	 (1ULL << 20)
#define RAM_SIZE (64 * MIB)
#define PAGE	 4096U

static struct vmm_memory memory;

static int setup(void **state)
{
	uint8_t *hva = mmap(NULL, RAM_SIZE + PAGE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)state;
	if (hva == MAP_FAILED || mprotect(hva, RAM_SIZE, PROT_READ | PROT_WRITE) < 0)
		return -1;
	memory = (struct vmm_memory){
		.n_regions = 1,
		.region = {{.gpa = 0, .size = RAM_SIZE, .hva = hva, .fd = -1}},
	};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return munmap(memory.region[0].hva, RAM_SIZE + PAGE);
}

static int image_fd(const void *data, size_t len)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, 0), len);
	return fd;
}

/* A bzImage of one setup sector beside the boot sector, and CODE_SIZE bytes of code. */
#define SETUP_SIZE 1024U
#define CODE_SIZE  8192U

struct bzimage {
	union {
		struct boot_params params;
		uint8_t bytes[SETUP_SIZE + CODE_SIZE];
	};
};

static struct bzimage bzimage(void)
{
	struct bzimage image = {0};

	image.params.hdr = (struct setup_header){
		.setup_sects = 1,
		.syssize = CODE_SIZE / 16,
		.boot_flag = 0xaa55,
		.jump = 0xeb | (sizeof(struct setup_header) - 0x11) << 8,
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 2 * MIB,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047,
		.pref_address = 16 * MIB,
		.init_size = 20 * MIB,
	};
	for (unsigned i = 0; i < CODE_SIZE; i++)
		image.bytes[SETUP_SIZE + i] = (uint8_t)(i * 7 + 1);
	return image;
}

/* Load an image that must be accepted. */
static struct boot_entry load(const void *image, size_t len, int initrd_fd, const char *cmdline)
{
	autofd fd = image_fd(image, len);
	struct boot_entry entry;
	struct boot_error error;
	int r = boot_load(&memory, fd, initrd_fd, cmdline, &entry, &error);

	if (r < 0)
		fail_msg("refused: %s", error.text);
	return entry;
}

/* Load one that must not be, for a reason that contains `text`. */
static void refuse(const void *image, size_t len, int initrd_fd, const char *cmdline, int result,
		   const char *text)
{
	autofd fd = image_fd(image, len);
	struct boot_entry entry = {.rip = 1, .rsp = 2, .rsi = 3, .cr3 = 4};
	struct boot_error error = {""};

	assert_int_equal(boot_load(&memory, fd, initrd_fd, cmdline, &entry, &error), result);
	if (!strstr(error.text, text))
		fail_msg("the reason is \"%s\", expected \"...%s...\"", error.text, text);
	assert_int_equal(entry.rip, 1);
	assert_int_equal(entry.cr3, 4);
}

static const struct boot_params *params_of(const struct boot_entry *entry)
{
	return vmm_memory_at(&memory, entry->rsi, sizeof(struct boot_params));
}

static void bzimage_is_loaded_where_it_prefers(void **state)
{
	struct bzimage image = bzimage();
	const struct boot_params *params;
	struct boot_entry entry;

	(void)state;
	image.params.hdr.setup_data = 0x1234;
	image.params.hdr.ramdisk_image = 0x5678;
	entry = load(&image, sizeof(image), -1, "console=ttyS0 quiet");
	assert_int_equal(entry.rip, 16 * MIB + 0x200);
	assert_true(entry.is_linux);
	assert_int_equal(entry.rsp, LAYOUT_BOOT_STACK);
	assert_int_equal(entry.rsi, LAYOUT_BOOT_PARAMS);
	assert_int_equal(entry.cr3, LAYOUT_PAGE_TABLES);
	assert_memory_equal(vmm_memory_at(&memory, 16 * MIB, CODE_SIZE), image.bytes + SETUP_SIZE,
			    CODE_SIZE);

	params = params_of(&entry);
	assert_int_equal(params->hdr.type_of_loader, 0xff);
	assert_int_equal(params->hdr.code32_start, 16 * MIB);
	assert_int_equal(params->hdr.version, 0x020f);
	assert_int_equal(params->hdr.init_size, 20 * MIB);
	assert_int_equal(params->hdr.setup_data, 0);
	assert_int_equal(params->hdr.ramdisk_image, 0);
	assert_int_equal(params->acpi_rsdp_addr, LAYOUT_ACPI);
	assert_string_equal(
		(const char *)vmm_memory_at(&memory, params->hdr.cmd_line_ptr, LAYOUT_CMDLINE_MAX),
		"console=ttyS0 quiet");
}

static void bzimage_moves_if_it_must_and_can(void **state)
{
	struct bzimage image = bzimage();

	(void)state;
	image.params.hdr.pref_address = 48 * MIB;
	assert_int_equal(load(&image, sizeof(image), -1, "").rip, 2 * MIB + 0x200);
	image.params.hdr.pref_address = UINT64_MAX;
	assert_int_equal(load(&image, sizeof(image), -1, "").rip, 2 * MIB + 0x200);
	image.params.hdr.pref_address = 0;
	image.params.hdr.kernel_alignment = PAGE;
	assert_int_equal(load(&image, sizeof(image), -1, "").rip, 1 * MIB + 0x200);

	image.params.hdr.pref_address = 48 * MIB;
	image.params.hdr.relocatable_kernel = 0;
	refuse(&image, sizeof(image), -1, "", -ENOSPC, "the kernel needs 20 MiB at 0x3000000");
}

static void setup_header_ends_where_it_says(void **state)
{
	struct bzimage image = bzimage();
	const struct boot_params *params;
	struct boot_entry entry;

	(void)state;
	image.params.hdr.jump = 0xeb | (offsetof(struct setup_header, handover_offset) - 0x11) << 8;
	image.params.hdr.handover_offset = 0xbadc0de;
	entry = load(&image, sizeof(image), -1, "");
	params = params_of(&entry);
	assert_int_equal(params->hdr.handover_offset, 0);
	assert_int_equal(params->hdr.init_size, 20 * MIB);

	/* One that ends at once has not even a version. */
	image.params.hdr.jump = 0xeb;
	refuse(&image, sizeof(image), -1, "", -ENOEXEC, "protocol 0.00 is too old");
}

static void bad_bzimages_are_refused(void **state)
{
	struct bzimage image;

	(void)state;
	image = bzimage();
	refuse(&image, 0x210, -1, "", -ENOEXEC, "ends within its setup header");
	image = bzimage();
	image.params.hdr.version = 0x020b;
	refuse(&image, sizeof(image), -1, "", -ENOEXEC, "protocol 2.11 is too old");
	image = bzimage();
	image.params.hdr.xloadflags = 0;
	refuse(&image, sizeof(image), -1, "", -ENOEXEC, "a 32-bit kernel");
	image = bzimage();
	image.params.hdr.loadflags = 0;
	refuse(&image, sizeof(image), -1, "", -ENOEXEC, "a zImage");
	image = bzimage();
	refuse(&image, sizeof(image) - 1, -1, "", -ENOEXEC, "cut short");
	image.params.hdr.syssize = UINT32_MAX;
	refuse(&image, sizeof(image), -1, "", -ENOEXEC, "cut short");
	image.params.hdr.syssize = 0;
	refuse(&image, SETUP_SIZE + 0x200, -1, "", -ENOEXEC, "cut short");
	image = bzimage();
	image.params.hdr.setup_sects = 255;
	refuse(&image, sizeof(image), -1, "", -ENOEXEC, "cut short");
	image = bzimage();
	image.params.hdr.kernel_alignment = 3 * MIB;
	refuse(&image, sizeof(image), -1, "", -ENOEXEC, "alignment of 0x300000");
	image = bzimage();
	image.params.hdr.relocatable_kernel = 0;
	image.params.hdr.pref_address = 0x7000;
	refuse(&image, sizeof(image), -1, "", -ENOEXEC, "below 1 MiB");
	image = bzimage();
	image.params.hdr.init_size = UINT32_MAX;
	refuse(&image, sizeof(image), -1, "", -ENOSPC, "guest RAM ends at 0x4000000");
}

static void initrd_goes_as_high_as_allowed(void **state)
{
	static const uint8_t initrd[] = "initrd contents";
	autofd initrd_fd = image_fd(initrd, sizeof(initrd));
	struct bzimage image = bzimage();
	const struct boot_params *params;
	struct boot_entry entry;

	(void)state;
	entry = load(&image, sizeof(image), initrd_fd, "");
	params = params_of(&entry);
	assert_int_equal(params->hdr.ramdisk_image, RAM_SIZE - PAGE);
	assert_int_equal(params->hdr.ramdisk_size, sizeof(initrd));
	assert_memory_equal(vmm_memory_at(&memory, RAM_SIZE - PAGE, sizeof(initrd)), initrd,
			    sizeof(initrd));

	image.params.hdr.initrd_addr_max = 40 * MIB - 1;
	entry = load(&image, sizeof(image), initrd_fd, "");
	assert_int_equal(params_of(&entry)->hdr.ramdisk_image, 40 * MIB - PAGE);

	/* The kernel's working space ends at 36 MiB. */
	image.params.hdr.initrd_addr_max = 36 * MIB;
	refuse(&image, sizeof(image), initrd_fd, "", -ENOSPC, "the initrd of 0 KiB does not fit");
}

static void bad_initrds_are_refused(void **state)
{
	struct bzimage image = bzimage();
	autofd initrd_fd = image_fd("", 0);
	int pipe_fds[2];

	(void)state;
	refuse(&image, sizeof(image), initrd_fd, "", -EINVAL, "the initrd is empty");
	assert_int_equal(ftruncate(initrd_fd, (off_t)(28 * MIB + 1)), 0);
	refuse(&image, sizeof(image), initrd_fd, "", -ENOSPC, "the initrd of 28672 KiB does not");
	assert_int_equal(ftruncate(initrd_fd, (off_t)(1ULL << 50)), 0);
	refuse(&image, sizeof(image), initrd_fd, "", -ENOSPC, "does not fit");
	assert_int_equal(ftruncate(initrd_fd, (off_t)(28 * MIB)), 0);
	load(&image, sizeof(image), initrd_fd, "");

	assert_int_equal(pipe(pipe_fds), 0);
	refuse(&image, sizeof(image), pipe_fds[0], "", -EINVAL, "the initrd is not a regular file");
	close_fd(pipe_fds[0]);
	close_fd(pipe_fds[1]);
}

static void long_command_lines_are_refused(void **state)
{
	struct bzimage image = bzimage();
	char cmdline[LAYOUT_CMDLINE_MAX + 1];

	(void)state;
	memset(cmdline, 'x', sizeof(cmdline));
	cmdline[LAYOUT_CMDLINE_MAX] = '\0';
	refuse(&image, sizeof(image), -1, cmdline, -E2BIG, "has 2048 bytes, at most 2047");
	cmdline[LAYOUT_CMDLINE_MAX - 1] = '\0';
	load(&image, sizeof(image), -1, cmdline);
	image.params.hdr.cmdline_size = 255;
	refuse(&image, sizeof(image), -1, cmdline, -E2BIG, "has 2047 bytes, at most 255");
}

struct elf {
	Elf64_Ehdr header;
	Elf64_Phdr segment[2];
	uint8_t text[100];
	uint8_t data[50];
};

static struct elf elf(void)
{
	struct elf image = {
		.header =
			{
				.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1},
				.e_type = ET_EXEC,
				.e_machine = EM_X86_64,
				.e_entry = 1 * MIB + 4,
				.e_phoff = offsetof(struct elf, segment),
				.e_phentsize = sizeof(Elf64_Phdr),
				.e_phnum = 2,
			},
		.segment =
			{
				{
					.p_type = PT_LOAD,
					.p_offset = offsetof(struct elf, text),
					.p_vaddr = 0xffffffff80000000,
					.p_paddr = 1 * MIB,
					.p_filesz = sizeof(image.text),
					.p_memsz = sizeof(image.text),
				},
				{
					.p_type = PT_LOAD,
					.p_offset = offsetof(struct elf, data),
					.p_paddr = 3 * MIB,
					.p_filesz = sizeof(image.data),
					.p_memsz = 2 * PAGE,
				},
			},
	};

	memset(image.text, 'T', sizeof(image.text));
	memset(image.data, 'D', sizeof(image.data));
	return image;
}

static void elf_segments_are_loaded_and_zeroed(void **state)
{
	static const uint8_t zero[2 * PAGE];
	struct elf image = elf();
	uint8_t *data = vmm_memory_at(&memory, 3 * MIB, 3 * PAGE);
	struct boot_entry entry;

	(void)state;
	memset(data, 0xee, 3 * PAGE);
	entry = load(&image, sizeof(image), -1, "halt");
	assert_int_equal(entry.rip, 1 * MIB + 4);
	assert_false(entry.is_linux);
	assert_int_equal(entry.rsi, LAYOUT_BOOT_PARAMS);
	assert_memory_equal(vmm_memory_at(&memory, 1 * MIB, sizeof(image.text)), image.text,
			    sizeof(image.text));
	assert_memory_equal(data, image.data, sizeof(image.data));
	assert_memory_equal(data + sizeof(image.data), zero, 2 * PAGE - sizeof(image.data));
	assert_int_equal(data[2 * PAGE], 0xee);
	assert_int_equal(params_of(&entry)->hdr.cmd_line_ptr, LAYOUT_CMDLINE);
	assert_int_equal(params_of(&entry)->acpi_rsdp_addr, LAYOUT_ACPI);
}

static void bad_elf_files_are_refused(void **state)
{
	static const struct {
		size_t offset, len; /* what to change in struct elf */
		uint64_t value;
		int result;
		const char *text;
	} cases[] = {
#define CASE(member, value, result, text)                                                          \
	{offsetof(struct elf, member), sizeof(((struct elf *)NULL)->member), value, result, text}
		CASE(header.e_ident[EI_CLASS], ELFCLASS32, -ENOEXEC, "not one for 64-bit x86"),
		CASE(header.e_ident[EI_DATA], ELFDATA2MSB, -ENOEXEC, "not one for 64-bit x86"),
		CASE(header.e_machine, EM_AARCH64, -ENOEXEC, "not one for 64-bit x86"),
		CASE(header.e_type, ET_DYN, -ENOEXEC, "not a statically linked executable"),
		CASE(header.e_phentsize, 32, -ENOEXEC, "2 program headers of 32 bytes"),
		CASE(header.e_phnum, 0, -ENOEXEC, "0 program headers"),
		CASE(header.e_phnum, 65, -ENOEXEC, "65 program headers"),
		CASE(header.e_phnum, 5, -ENOEXEC, "program headers lie behind its end"),
		CASE(header.e_phoff, UINT64_MAX - 8, -ENOEXEC,
		     "program headers lie behind its end"),
		CASE(header.e_entry, 2 * MIB, -ENOEXEC, "entry point 0x200000"),
		CASE(header.e_entry, 1 * MIB + 100, -ENOEXEC, "entry point 0x100064"),
		CASE(segment[0].p_filesz, 101, -ENOEXEC, "larger in the file than in memory"),
		CASE(segment[1].p_offset, UINT64_MAX, -ENOEXEC, "segment at 0x300000 lies behind"),
		CASE(segment[1].p_offset, sizeof(struct elf) - 49, -ENOEXEC, "lies behind its end"),
		CASE(segment[1].p_paddr, 0x7000, -ENOEXEC, "0x7000 lies below 1 MiB"),
		CASE(segment[1].p_paddr, RAM_SIZE - PAGE, -ENOSPC, "does not fit into guest RAM"),
		CASE(segment[1].p_paddr, UINT64_MAX - 10, -ENOSPC, "does not fit into guest RAM"),
		CASE(segment[1].p_memsz, UINT64_MAX, -ENOSPC, "does not fit into guest RAM"),
		CASE(segment[0].p_type, PT_NOTE, -ENOEXEC, "entry point 0x100004"),
#undef CASE
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct elf image = elf();

		memcpy((uint8_t *)&image + cases[i].offset, &cases[i].value, cases[i].len);
		refuse(&image, sizeof(image), -1, "", cases[i].result, cases[i].text);
	}
	struct elf image = elf();

	refuse(&image, sizeof(image.header) - 1, -1, "", -ENOEXEC, "ends within its header");
}

static void other_files_are_refused(void **state)
{
	struct boot_entry entry;
	struct boot_error error;
	int pipe_fds[2];

	(void)state;
	refuse("", 0, -1, "", -ENOEXEC, "neither a bzImage nor an ELF64 file");
	refuse("#!/bin/sh\n", 10, -1, "", -ENOEXEC, "neither a bzImage nor an ELF64 file");
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(boot_load(&memory, pipe_fds[0], -1, "", &entry, &error), -EINVAL);
	assert_string_equal(error.text, "the kernel is not a regular file");
	close_fd(pipe_fds[0]);
	close_fd(pipe_fds[1]);
}

static void tiny_guests_are_refused(void **state)
{
	struct vmm_memory tiny = memory;
	struct elf image = elf();
	autofd fd = image_fd(&image, sizeof(image));
	struct boot_entry entry;
	struct boot_error error;

	(void)state;
	tiny.region[0].size = MIB;
	assert_int_equal(boot_load(&tiny, fd, -1, "", &entry, &error), -ENOSPC);
	assert_string_equal(error.text, "the guest has less than 2 MiB of memory");
	tiny.region[0].size = 2 * MIB;
	assert_int_equal(boot_load(&tiny, fd, -1, "", &entry, &error), -ENOSPC);
	tiny.n_regions = 0;
	assert_int_equal(boot_load(&tiny, fd, -1, "", &entry, &error), -ENOSPC);
}

static void e820_tells_all_ram(void **state)
{
	static const struct boot_e820_entry expected[] = {
		{0, LAYOUT_EBDA, 1},
		{LAYOUT_EBDA, LAYOUT_ACPI - LAYOUT_EBDA, 2},
		{LAYOUT_ACPI, LAYOUT_KERNEL - LAYOUT_ACPI, 3},
		{LAYOUT_KERNEL, RAM_SIZE - LAYOUT_KERNEL, 1},
		{VMM_MMIO_HOLE_END, 512 * MIB, 1},
	};
	struct elf image = elf();
	struct boot_entry entry;
	const struct boot_params *params;

	(void)state;
	/* Nothing is loaded there, so the second region needs no memory. */
	memory.region[1] =
		(struct vmm_memory_region){VMM_MMIO_HOLE_END, 512 * MIB, (uint8_t *)PAGE, -1};
	memory.n_regions = 2;
	entry = load(&image, sizeof(image), -1, "");
	memory.n_regions = 1;
	params = params_of(&entry);
	assert_int_equal(params->e820_entries, ARRAY_SIZE(expected));
	assert_memory_equal(params->e820_table, expected, sizeof(expected));
}

static void page_tables_map_4_gib(void **state)
{
	const uint64_t *tables = vmm_memory_at(&memory, LAYOUT_PAGE_TABLES, 6 * PAGE);
	const uint64_t *gdt = vmm_memory_at(&memory, LAYOUT_GDT, 4 * sizeof(uint64_t));

	(void)state;
	assert_int_equal(boot_write_page_tables(&memory), 0);
	assert_int_equal(tables[0], LAYOUT_PAGE_TABLES + PAGE + 3);
	assert_int_equal(tables[1], 0);
	for (uint64_t address = 0; address < 1ULL << 32; address += 2 * MIB) {
		uint64_t directory = tables[512 + (address >> 30)];
		const uint64_t *at = vmm_memory_at(&memory, directory & ~0xfffULL, PAGE);

		assert_int_equal(directory & 0xfff, 3);
		assert_int_equal(at[address >> 21 & 511], address | 0x83);
	}
	assert_int_equal(tables[512 + 4], 0);
	assert_int_equal(gdt[2], 0x00af9b000000ffff);
	assert_int_equal(gdt[3], 0x00cf93000000ffff);
}

/* Whatever a header says, an image is refused or loaded inside RAM: the guard page is not hit. */
static void no_header_does_harm(void **state)
{
	static const uint8_t values[] = {0x00, 0x01, 0x40, 0x7f, 0x80, 0xff};
	unsigned accepted = 0;

	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(values); i++) {
		bool is_elf = i % 2;
		size_t begin = is_elf ? 4 : offsetof(struct boot_params, hdr);
		size_t end =
			is_elf ? offsetof(struct elf, text) : begin + sizeof(struct setup_header);

		for (size_t at = begin; at < end; at++) {
			struct bzimage linux_image = bzimage();
			struct elf elf_image = elf();
			uint8_t *bytes = is_elf ? (uint8_t *)&elf_image : linux_image.bytes;
			size_t size = is_elf ? sizeof(elf_image) : sizeof(linux_image);
			struct boot_entry entry;
			struct boot_error error;

			bytes[at] = values[i / 2];
			autofd fd = image_fd(bytes, size);

			if (boot_load(&memory, fd, -1, "", &entry, &error) < 0)
				continue;
			accepted++;
			assert_in_range(entry.rip, LAYOUT_KERNEL, RAM_SIZE - 1);
		}
	}
	assert_true(accepted > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bzimage_is_loaded_where_it_prefers),
		cmocka_unit_test(bzimage_moves_if_it_must_and_can),
		cmocka_unit_test(setup_header_ends_where_it_says),
		cmocka_unit_test(bad_bzimages_are_refused),
		cmocka_unit_test(initrd_goes_as_high_as_allowed),
		cmocka_unit_test(bad_initrds_are_refused),
		cmocka_unit_test(long_command_lines_are_refused),
		cmocka_unit_test(elf_segments_are_loaded_and_zeroed),
		cmocka_unit_test(bad_elf_files_are_refused),
		cmocka_unit_test(other_files_are_refused),
		cmocka_unit_test(tiny_guests_are_refused),
		cmocka_unit_test(e820_tells_all_ram),
		cmocka_unit_test(page_tables_map_4_gib),
		cmocka_unit_test(no_header_does_harm),
	};

	return cmocka_run_group_tests_name("boot", tests, setup, teardown);
}
