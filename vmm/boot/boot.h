/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loading a guest into its memory.  Everything here writes guest memory only: the registers that
 * the boot vCPU starts with are returned, and the caller sets them.
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../memory.h"

/* 64-bit entry: long mode, identity-mapped page tables at cr3, flat segments, interrupts off. */
struct boot_entry {
	uint64_t rip;
	uint64_t rsp;
	uint64_t rsi; /* guest-physical address of struct boot_params (the Linux "zero page") */
	uint64_t cr3;
	struct boot_range {
		uint64_t start, end;
	} image, initrd; /* where they were loaded; the initrd's is empty if there is none */
	bool is_linux;	 /* a bzImage */
};

/* The sentence that an operator sees when an image cannot be booted. */
struct boot_error {
	char text[200];
};

/*
 * Load a kernel: a Linux bzImage (64-bit boot protocol, Documentation/arch/x86/boot.rst) or a
 * static ELF64 executable whose segments have guest-physical addresses; which of the two is seen
 * from its first bytes.  kernel_fd and initrd_fd (-1: none) are regular files, hostile until
 * checked.  Segments of an ELF file lie at 1 MiB or above.  Both kinds start with rsi =
 * boot_params, command line, e820 map and ACPI RSDP filled in, and the page tables of
 * boot_write_page_tables().  Returns 0, or -errno with ret_error filled: the reason, to put behind
 * the path of the kernel.
 */
int boot_load(const struct vmm_memory *memory, int kernel_fd, int initrd_fd, const char *cmdline,
	      struct boot_entry *ret_entry, struct boot_error *ret_error);

/* GDT and identity map of the first 4 GiB at LAYOUT_GDT and LAYOUT_PAGE_TABLES. */
int boot_write_page_tables(const struct vmm_memory *memory);

/* Make these page tables, and what they map of RAM, private: c_bit is the mask of the bit. */
int boot_set_c_bit(const struct vmm_memory *memory, uint64_t c_bit);

/*
 * ACPI 6 tables at LAYOUT_ACPI: RSDP, XSDT, FADT, FACS, DSDT (S5, serial port), MADT for n_cpus
 * with APIC IDs 0..n_cpus-1 and one I/O APIC.  -ENOSPC if they do not fit below LAYOUT_ACPI_END.
 */
int acpi_write_tables(const struct vmm_memory *memory, unsigned n_cpus);

#endif
