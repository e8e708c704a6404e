/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a new guest starts with: the contents of its memory, and the registers of its vCPUs. Nothing
 * here needs KVM: `run` gives it to a VM, and `measure` to whoever wants to know what the secure
 * processor will measure.
 */
#ifndef VMM_GUEST_H
#define VMM_GUEST_H

#include <linux/kvm.h>
#include <vmrelay/sev.h>

#include "boot/boot.h"
#include "options.h"
#include "vmm.h"

#define GUEST_MEASURED_MAX 3
#define GUEST_XCR0	   7 /* x87, SSE, AVX: with what a guest starts, if KVM supports it */

/* Addresses and sizes of the regions; their mapping is left to the caller. */
void guest_layout(struct vmm_memory *memory, uint64_t size);

/* Kernel, initrd, tables.  c_bit is the mask of the bit that makes a page private, or 0. */
int guest_load(const struct vmm_memory *memory, const struct vmm_options *options, uint64_t c_bit,
	       struct boot_entry *ret_entry, struct vmm_error *ret_error);

/*
 * Registers of a vCPU that starts at the entry point.  sregs holds what the vCPU has after reset,
 * and what matters is changed.
 */
void guest_registers(const struct boot_entry *entry, enum vmr_confidential kind, unsigned index,
		     struct kvm_regs *ret_regs, struct kvm_sregs *sregs);

/*
 * What of the memory is encrypted and measured at a launch, in this order and in whole pages: the
 * first MiB, the kernel, the initrd.  Returns how many ranges.
 */
unsigned guest_measured(const struct boot_entry *entry, struct boot_range ret[GUEST_MEASURED_MAX]);

#endif
