/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VMSA, the page of registers with which a vCPU of an SEV-ES guest starts.  KVM makes it; here
 * it is made once more, for who wants to know what the secure processor will measure.
 */
#ifndef VMM_VMSA_H
#define VMM_VMSA_H

#include <linux/kvm.h>
#include <stdint.h>

#define VMSA_SIZE 4096

/* What KVM_GET_SREGS tells of a vCPU after reset, as far as a VMSA has it. */
void vmsa_reset_sregs(struct kvm_sregs *ret);

/* For a vCPU that was given these registers after reset, and nothing else but XCR0. */
void vmsa_make(const struct kvm_regs *regs, const struct kvm_sregs *sregs, uint64_t xcr0,
	       uint8_t ret[VMSA_SIZE]);

#endif
