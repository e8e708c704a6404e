/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a new guest starts with; see guest.h. */
#include "guest.h"

#include <fcntl.h>
#include <string.h>

#include "kvm/cleanup.h"
#include "layout.h"

#define PAGE 4096ULL

void guest_layout(struct vmm_memory *memory, uint64_t size)
{
	uint64_t low = size < VMM_MMIO_HOLE_START ? size : VMM_MMIO_HOLE_START;

	*memory = (struct vmm_memory){
		.n_regions = size > low ? 2 : 1,
		.region = {{.gpa = 0, .size = low, .fd = -1},
			   {.gpa = VMM_MMIO_HOLE_END, .size = size - low, .fd = -1}},
	};
}

static int open_image(const char *path, struct vmm_error *ret_error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "opening %s failed: %m", path);
	return fd;
}

int guest_load(const struct vmm_memory *memory, const struct vmm_options *options, uint64_t c_bit,
	       struct boot_entry *ret_entry, struct vmm_error *ret_error)
{
	autofd kernel = open_image(options->kernel, ret_error);
	autofd initrd = options->initrd ? open_image(options->initrd, ret_error) : -1;
	struct boot_error error;
	int r;

	if (kernel < 0 || (options->initrd && initrd < 0))
		return -1;
	if (boot_load(memory, kernel, initrd, options->cmdline ? options->cmdline : "", ret_entry,
		      &error) < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "booting %s failed: %s", options->kernel,
			      error.text);
		return -1;
	}
	/* GHCB standard (AMD 56421): they start where a jump table says, which firmware makes. */
	if (ret_entry->is_linux && options->cpus > 1 &&
	    options->confidential == VMR_CONFIDENTIAL_SEV_ES) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "Linux as an SEV-ES guest has one vCPU only: without firmware it "
			      "cannot start others");
		return -1;
	}
	r = acpi_write_tables(memory, options->cpus);
	if (r == 0 && c_bit)
		r = boot_set_c_bit(memory, c_bit);
	if (r < 0)
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "writing the tables of the guest failed: %s", strerrordesc_np(-r));
	return r < 0 ? -1 : 0;
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool is_code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.l = is_code,
		.db = !is_code,
	};
}

/* Long mode with paging, as boot.h promises; SDM volume 3, 9.8.5 in one step. */
void guest_registers(const struct boot_entry *entry, enum vmr_confidential kind, unsigned index,
		     struct kvm_regs *ret_regs, struct kvm_sregs *sregs)
{
	const uint64_t cr0_pe = 1, cr0_et = 1U << 4, cr0_pg = 1U << 31;
	const uint64_t cr4_pae = 1U << 5;
	const uint64_t efer_lme = 1U << 8, efer_lma = 1U << 10;
	const struct kvm_segment data = flat_segment(0x18, 3, false);

	sregs->cs = flat_segment(0x10, 11, true);
	sregs->ds = sregs->es = sregs->ss = sregs->fs = sregs->gs = data;
	sregs->gdt.base = LAYOUT_GDT;
	sregs->gdt.limit = 4 * 8 - 1;
	sregs->cr0 = cr0_pe | cr0_et | cr0_pg;
	sregs->cr3 = entry->cr3;
	sregs->cr4 = cr4_pae;
	sregs->efer = efer_lme | efer_lma;
	*ret_regs = (struct kvm_regs){
		.rip = entry->rip,
		.rsp = entry->rsp,
		.rsi = entry->rsi,
		.rdi = kind, /* see sev.h; Linux does not look */
		.rdx = index,
		.rflags = 2,
	};
}

unsigned guest_measured(const struct boot_entry *entry, struct boot_range ret[GUEST_MEASURED_MAX])
{
	const struct boot_range all[GUEST_MEASURED_MAX] = {
		{0, LAYOUT_KERNEL}, entry->image, entry->initrd};
	unsigned n = 0;

	for (unsigned i = 0; i < GUEST_MEASURED_MAX; i++)
		if (all[i].end > all[i].start)
			ret[n++] = (struct boot_range){all[i].start & ~(PAGE - 1),
						       (all[i].end + PAGE - 1) & ~(PAGE - 1)};
	return n;
}
