/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where things are in the guest: one place for addresses that loader, ACPI tables and devices share. */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

/* Guest-physical addresses below 1 MiB, used while booting. */
#define LAYOUT_GDT	   0x00000500ULL
#define LAYOUT_BOOT_PARAMS 0x00007000ULL
#define LAYOUT_PAGE_TABLES 0x00009000ULL /* PML4, PDPT and 4 page directories: 4 GiB by 2 MiB pages */
#define LAYOUT_CMDLINE	   0x00020000ULL
#define LAYOUT_CMDLINE_MAX 2048U
#define LAYOUT_BOOT_STACK  0x0008f000ULL /* initial stack pointer of ELF guests */
#define LAYOUT_EBDA	   0x0009fc00ULL
#define LAYOUT_ACPI	   0x000e0000ULL /* RSDP first, then the tables */
#define LAYOUT_ACPI_END	   0x00100000ULL
#define LAYOUT_KERNEL	   0x00100000ULL

#define LAYOUT_IOAPIC	   0xfec00000ULL
#define LAYOUT_LAPIC	   0xfee00000ULL
#define LAYOUT_IDENTITY_MAP 0xfeffc000ULL /* KVM_SET_IDENTITY_MAP_ADDR, needed on Intel */
#define LAYOUT_TSS	   0xfeffd000ULL /* KVM_SET_TSS_ADDR, 3 pages */

/* Ports and interrupt lines (GSIs). */
#define LAYOUT_UART_PORT 0x3f8
#define LAYOUT_UART_GSI	 4
#define LAYOUT_RTC_PORT	 0x70
#define LAYOUT_RTC_GSI	 8
#define LAYOUT_KBD_PORT	 0x64 /* keyboard controller: only its reset line */
#define LAYOUT_RESET_PORT 0xcf9
#define LAYOUT_PM1_EVENT_PORT 0x600 /* status, enable: 2 bytes each */
#define LAYOUT_PM1_CONTROL_PORT 0x604 /* 2 bytes */
#define LAYOUT_SCI_GSI	 9
#define LAYOUT_SLEEP_S5	 5 /* SLP_TYP for S5, named in the DSDT */

#endif
