/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CPUID that the guest sees. */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <linux/kvm.h>
#include <stdint.h>

#define CPUID_ENTRIES_MAX 256U

/*
 * What KVM supports (room for CPUID_ENTRIES_MAX entries in *ret, to be freed), without what cannot
 * be handed over.  0 or -errno.
 */
int cpuid_supported(int kvm_fd, struct kvm_cpuid2 **ret);

/* Make it that of one vCPU: APIC ID, and a topology of n_cpus cores in one package. */
void cpuid_set_vcpu(struct kvm_cpuid2 *cpuid, uint32_t apic_id, uint32_t n_cpus,
		    int has_tsc_deadline);

void cpuid_hide_svm(struct kvm_cpuid2 *cpuid);
void cpuid_hide_encryption(struct kvm_cpuid2 *cpuid);

#endif
