// SPDX-License-Identifier: GPL-2.0-or-later
/* Static ELF64 executables whose segments have guest-physical addresses, all of them from 1 MiB up.
 */
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "../layout.h"

#define SEGMENTS_MAX 64

static int check_header(const struct boot_image *image, const Elf64_Ehdr *header,
			struct boot_error *ret_error)
{
	uint64_t table = (uint64_t)header->e_phnum * sizeof(Elf64_Phdr);

	if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
	    header->e_machine != EM_X86_64)
		return boot_fail(ret_error, -ENOEXEC, "an ELF file, but not one for 64-bit x86");
	if (header->e_type != ET_EXEC)
		return boot_fail(ret_error, -ENOEXEC,
				 "an ELF file, but not a statically linked executable");
	if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 ||
	    header->e_phnum > SEGMENTS_MAX)
		return boot_fail(ret_error, -ENOEXEC,
				 "the ELF file has %u program headers of %u bytes", header->e_phnum,
				 header->e_phentsize);
	if (header->e_phoff > image->size || table > image->size - header->e_phoff)
		return boot_fail(
			ret_error, -ENOEXEC,
			"the ELF file is cut short: its program headers lie behind its end");
	return 0;
}

static int load_segment(const struct vmm_memory *memory, const struct boot_image *image,
			const Elf64_Phdr *segment, struct boot_error *ret_error)
{
	uint64_t ram_end = boot_low_ram_end(memory);
	uint8_t *to;
	int r;

	if (segment->p_filesz > segment->p_memsz)
		return boot_fail(ret_error, -ENOEXEC,
				 "the ELF segment at %#llx is larger in the file than in memory",
				 (unsigned long long)segment->p_paddr);
	if (segment->p_offset > image->size || segment->p_filesz > image->size - segment->p_offset)
		return boot_fail(
			ret_error, -ENOEXEC,
			"the ELF file is cut short: its segment at %#llx lies behind its end",
			(unsigned long long)segment->p_paddr);
	if (segment->p_paddr < LAYOUT_KERNEL)
		return boot_fail(ret_error, -ENOEXEC,
				 "the ELF segment at %#llx lies below 1 MiB, which is not free",
				 (unsigned long long)segment->p_paddr);
	if (segment->p_paddr >= ram_end || segment->p_memsz > ram_end - segment->p_paddr)
		return boot_fail(
			ret_error, -ENOSPC,
			"the ELF segment of %#llx bytes at %#llx does not fit into guest RAM, "
			"which ends at %#llx",
			(unsigned long long)segment->p_memsz, (unsigned long long)segment->p_paddr,
			(unsigned long long)ram_end);

	to = vmm_memory_at(memory, segment->p_paddr, segment->p_memsz);
	r = image_read(image, segment->p_offset, to, segment->p_filesz, ret_error);
	if (r < 0)
		return r;
	memset(to + segment->p_filesz, 0, segment->p_memsz - segment->p_filesz);
	return 0;
}

int elf_load(const struct vmm_memory *memory, const struct boot_image *image,
	     struct boot_kernel *ret, struct boot_error *ret_error)
{
	uint64_t start = UINT64_MAX, end = 0;
	Elf64_Phdr segments[SEGMENTS_MAX];
	bool entry_is_loaded = false;
	Elf64_Ehdr header;
	int r;

	if (image->size < sizeof(header))
		return boot_fail(ret_error, -ENOEXEC, "the ELF file ends within its header");
	r = image_read(image, 0, &header, sizeof(header), ret_error);
	if (r < 0)
		return r;
	r = check_header(image, &header, ret_error);
	if (r < 0)
		return r;
	r = image_read(image, header.e_phoff, segments, header.e_phnum * sizeof(segments[0]),
		       ret_error);
	if (r < 0)
		return r;

	for (unsigned i = 0; i < header.e_phnum; i++) {
		const Elf64_Phdr *segment = &segments[i];

		if (segment->p_type != PT_LOAD || segment->p_memsz == 0)
			continue;
		r = load_segment(memory, image, segment, ret_error);
		if (r < 0)
			return r;
		if (segment->p_paddr < start)
			start = segment->p_paddr;
		if (segment->p_paddr + segment->p_memsz > end)
			end = segment->p_paddr + segment->p_memsz;
		if (header.e_entry >= segment->p_paddr &&
		    header.e_entry - segment->p_paddr < segment->p_memsz)
			entry_is_loaded = true;
	}
	if (!entry_is_loaded)
		return boot_fail(ret_error, -ENOEXEC,
				 "the entry point %#llx of the ELF file is in none of its segments",
				 (unsigned long long)header.e_entry);

	*ret = (struct boot_kernel){
		.entry = header.e_entry,
		.start = start,
		.end = end,
		.initrd_max = UINT64_MAX,
		.cmdline_max = LAYOUT_CMDLINE_MAX - 1,
	};
	return 0;
}
