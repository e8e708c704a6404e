// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ACPI tables (ACPI 6.3).  There is no PCI, no PM timer and no SMI: the machine is in ACPI mode
 * from the start.  ISA interrupts have the identity mapping onto the I/O APIC that KVM gives them
 * by default, so the only override is for the SCI, which is not edge-triggered as an ISA interrupt
 * is.
 */
#include "boot.h"

#include <errno.h>
#include <string.h>

#include "../layout.h"
#include "dsdt.h"

#define OEM_ID	     "VMRLAY"
#define OEM_TABLE_ID "VMRELAY "
#define CREATOR_ID   "VMRL"

#define FACS_ALIGNMENT	64
#define TABLE_ALIGNMENT 16

struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

struct table_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct xsdt {
	struct table_header header;
	uint64_t table[2]; /* FADT, MADT */
} __attribute__((packed));

struct generic_address {
	uint8_t space;
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} __attribute__((packed));

enum { SPACE_IO = 1 };
enum { ACCESS_BYTE = 1, ACCESS_WORD = 2 };

struct fadt {
	struct table_header header;
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved0;
	uint8_t preferred_pm_profile;
	uint16_t sci_interrupt;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios_request, pstate_control;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer;
	uint32_t gpe0, gpe1;
	uint8_t pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length;
	uint8_t gpe0_length, gpe1_length, gpe1_base, cstate_control;
	uint16_t c2_latency, c3_latency;
	uint16_t flush_size, flush_stride;
	uint8_t duty_offset, duty_width;
	uint8_t day_alarm, month_alarm, century;
	uint16_t iapc_boot_flags;
	uint8_t reserved1;
	uint32_t flags;
	struct generic_address reset;
	uint8_t reset_value;
	uint16_t arm_boot_flags;
	uint8_t minor_version;
	uint64_t x_facs, x_dsdt;
	struct generic_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control;
	struct generic_address x_pm2_control, x_pm_timer, x_gpe0, x_gpe1;
	struct generic_address sleep_control, sleep_status;
	uint64_t hypervisor_vendor;
} __attribute__((packed));

#define FADT_REVISION 6
#define FADT_MINOR    3
/* The serial port is one; bit 1 stays clear: there is no keyboard controller. */
#define BOOT_LEGACY_DEVICES (1u << 0)
#define BOOT_NO_VGA	    (1u << 2)
/*
 * The RTC is there, but Linux is told that it is not: it would set its clock from it, to the
 * second, where kvmclock gives it to the microsecond.
 */
#define BOOT_NO_CMOS_RTC     (1u << 5)
#define FADT_WBINVD	     (1u << 0)
#define FADT_C1_SUPPORTED    (1u << 2)
#define FADT_NO_SLEEP_BUTTON (1u << 5) /* bit 4 clear: the power button is a fixed feature */
#define FADT_NO_FIXED_RTC    (1u << 6)
#define FADT_RESET_REGISTER  (1u << 10)
#define FADT_HEADLESS	     (1u << 12)
#define NO_C2_LATENCY	     101
#define NO_C3_LATENCY	     1001
#define RESET_VALUE	     6

struct facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature;
	uint32_t waking_vector;
	uint32_t global_lock;
	uint32_t flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} __attribute__((packed));

struct dsdt {
	struct table_header header;
	uint8_t aml[sizeof(dsdt_aml)];
} __attribute__((packed));

struct madt {
	struct table_header header;
	uint32_t lapic_address;
	uint32_t flags;
} __attribute__((packed));

struct madt_lapic {
	uint8_t type, length;
	uint8_t processor_uid;
	uint8_t apic_id;
	uint32_t flags;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length;
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
} __attribute__((packed));

struct madt_override {
	uint8_t type, length;
	uint8_t bus;
	uint8_t source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));

struct madt_lapic_nmi {
	uint8_t type, length;
	uint8_t processor_uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_LAPIC_NMI = 4 };

#define MADT_REVISION	     5
#define MADT_8259	     (1u << 0)
#define LAPIC_ENABLED	     (1u << 0)
#define LEVEL_TRIGGERED_HIGH 0x000d
#define ALL_PROCESSORS	     0xff
#define CPUS_MAX	     255 /* an xAPIC ID has 8 bits, and 255 is broadcast */

_Static_assert(sizeof(struct rsdp) == 36 && sizeof(struct table_header) == 36 &&
		       sizeof(struct fadt) == 276 && sizeof(struct facs) == 64 &&
		       sizeof(struct madt_override) == 10 && sizeof(struct madt_lapic_nmi) == 6,
	       "as the specification has them");

/* Room for tables, handed out from bottom to top. */
struct arena {
	const struct vmm_memory *memory;
	uint64_t next;
};

static void *arena_take(struct arena *arena, size_t len, uint64_t alignment, uint64_t *ret_gpa)
{
	uint64_t gpa = (arena->next + alignment - 1) & ~(alignment - 1);
	void *at;

	if (gpa > LAYOUT_ACPI_END || len > LAYOUT_ACPI_END - gpa)
		return NULL;
	at = vmm_memory_at(arena->memory, gpa, len);
	if (!at)
		return NULL;
	memset(at, 0, len);
	arena->next = gpa + len;
	*ret_gpa = gpa;
	return at;
}

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return (uint8_t)-sum;
}

static void finish_table(struct table_header *header, const char *signature, uint8_t revision,
			 size_t len)
{
	memcpy(header->signature, signature, sizeof(header->signature));
	memcpy(header->oem_id, OEM_ID, sizeof(header->oem_id));
	memcpy(header->oem_table_id, OEM_TABLE_ID, sizeof(header->oem_table_id));
	memcpy(header->creator_id, CREATOR_ID, sizeof(header->creator_id));
	header->length = (uint32_t)len;
	header->revision = revision;
	header->oem_revision = 1;
	header->creator_revision = 1;
	header->checksum = 0;
	header->checksum = checksum(header, len);
}

static struct generic_address io_port(uint16_t port, uint8_t bytes, uint8_t access_size)
{
	return (struct generic_address){
		.space = SPACE_IO,
		.bit_width = 8 * bytes,
		.access_size = access_size,
		.address = port,
	};
}

static void fill_fadt(struct fadt *fadt, uint64_t facs_gpa, uint64_t dsdt_gpa)
{
	fadt->facs = (uint32_t)facs_gpa;
	fadt->dsdt = (uint32_t)dsdt_gpa;
	fadt->x_dsdt = dsdt_gpa;
	fadt->sci_interrupt = LAYOUT_SCI_GSI;
	fadt->pm1a_event = LAYOUT_PM1_EVENT_PORT;
	fadt->pm1a_control = LAYOUT_PM1_CONTROL_PORT;
	fadt->pm1_event_length = 4;
	fadt->pm1_control_length = 2;
	fadt->x_pm1a_event = io_port(LAYOUT_PM1_EVENT_PORT, 4, ACCESS_WORD);
	fadt->x_pm1a_control = io_port(LAYOUT_PM1_CONTROL_PORT, 2, ACCESS_WORD);
	fadt->c2_latency = NO_C2_LATENCY;
	fadt->c3_latency = NO_C3_LATENCY;
	fadt->iapc_boot_flags = BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_CMOS_RTC;
	fadt->flags = FADT_WBINVD | FADT_C1_SUPPORTED | FADT_NO_SLEEP_BUTTON | FADT_NO_FIXED_RTC |
		      FADT_RESET_REGISTER | FADT_HEADLESS;
	fadt->reset = io_port(LAYOUT_RESET_PORT, 1, ACCESS_BYTE);
	fadt->reset_value = RESET_VALUE;
	fadt->minor_version = FADT_MINOR;
	finish_table(&fadt->header, "FACP", FADT_REVISION, sizeof(*fadt));
}

static size_t madt_size(unsigned n_cpus)
{
	return sizeof(struct madt) + n_cpus * sizeof(struct madt_lapic) +
	       sizeof(struct madt_ioapic) + sizeof(struct madt_override) +
	       sizeof(struct madt_lapic_nmi);
}

static void fill_madt(struct madt *madt, unsigned n_cpus)
{
	struct madt_lapic *lapic = (struct madt_lapic *)(madt + 1);
	struct madt_ioapic *ioapic = (struct madt_ioapic *)(lapic + n_cpus);
	struct madt_override *sci = (struct madt_override *)(ioapic + 1);
	struct madt_lapic_nmi *nmi = (struct madt_lapic_nmi *)(sci + 1);

	madt->lapic_address = (uint32_t)LAYOUT_LAPIC;
	madt->flags = MADT_8259;
	for (unsigned i = 0; i < n_cpus; i++)
		lapic[i] = (struct madt_lapic){
			.type = MADT_LAPIC,
			.length = sizeof(*lapic),
			.processor_uid = (uint8_t)i,
			.apic_id = (uint8_t)i,
			.flags = LAPIC_ENABLED,
		};
	*ioapic = (struct madt_ioapic){
		.type = MADT_IOAPIC,
		.length = sizeof(*ioapic),
		.address = (uint32_t)LAYOUT_IOAPIC,
	};
	*sci = (struct madt_override){
		.type = MADT_OVERRIDE,
		.length = sizeof(*sci),
		.source = LAYOUT_SCI_GSI,
		.gsi = LAYOUT_SCI_GSI,
		.flags = LEVEL_TRIGGERED_HIGH,
	};
	*nmi = (struct madt_lapic_nmi){
		.type = MADT_LAPIC_NMI,
		.length = sizeof(*nmi),
		.processor_uid = ALL_PROCESSORS,
		.lint = 1,
	};
	finish_table(&madt->header, "APIC", MADT_REVISION, madt_size(n_cpus));
}

static void fill_rsdp(struct rsdp *rsdp, uint64_t xsdt_gpa)
{
	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem_id, OEM_ID, sizeof(rsdp->oem_id));
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = xsdt_gpa;
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
}

int acpi_write_tables(const struct vmm_memory *memory, unsigned n_cpus)
{
	struct arena arena = {memory, LAYOUT_ACPI};
	uint64_t rsdp_gpa, xsdt_gpa, fadt_gpa, madt_gpa, facs_gpa, dsdt_gpa;
	struct rsdp *rsdp;
	struct xsdt *xsdt;
	struct fadt *fadt;
	struct madt *madt;
	struct facs *facs;
	struct dsdt *dsdt;

	if (n_cpus == 0 || n_cpus > CPUS_MAX)
		return -EINVAL;
	rsdp = arena_take(&arena, sizeof(*rsdp), TABLE_ALIGNMENT, &rsdp_gpa);
	xsdt = arena_take(&arena, sizeof(*xsdt), TABLE_ALIGNMENT, &xsdt_gpa);
	fadt = arena_take(&arena, sizeof(*fadt), TABLE_ALIGNMENT, &fadt_gpa);
	madt = arena_take(&arena, madt_size(n_cpus), TABLE_ALIGNMENT, &madt_gpa);
	facs = arena_take(&arena, sizeof(*facs), FACS_ALIGNMENT, &facs_gpa);
	dsdt = arena_take(&arena, sizeof(*dsdt), TABLE_ALIGNMENT, &dsdt_gpa);
	if (!rsdp || !xsdt || !fadt || !madt || !facs || !dsdt)
		return -ENOSPC;

	memcpy(dsdt->aml, dsdt_aml, sizeof(dsdt_aml));
	finish_table(&dsdt->header, "DSDT", 2, sizeof(*dsdt));
	memcpy(facs->signature, "FACS", sizeof(facs->signature));
	facs->length = sizeof(*facs);
	facs->version = 2;
	fill_madt(madt, n_cpus);
	fill_fadt(fadt, facs_gpa, dsdt_gpa);
	xsdt->table[0] = fadt_gpa;
	xsdt->table[1] = madt_gpa;
	finish_table(&xsdt->header, "XSDT", 1, sizeof(*xsdt));
	fill_rsdp(rsdp, xsdt_gpa);
	return 0;
}
