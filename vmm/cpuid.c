/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CPUID that the guest sees: the host's, and a topology of our own. */
#include "cpuid.h"

#include <asm/kvm_para.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"

#define LEAF_KVM_FEATURES 0x40000001U
#define LEAF_ENCRYPTION	  0x8000001fU

/*
 * Asynchronous page faults: a "page not present" of the old VM would never be completed by the new
 * one.  (KVM wakes everybody when the feature is enabled anew, but that is more than the
 * documentation promises.)
 */
#define KVM_FEATURES_ASYNC_PF                                                                      \
	((1U << KVM_FEATURE_ASYNC_PF) | (1U << KVM_FEATURE_ASYNC_PF_VMEXIT) |                      \
	 (1U << KVM_FEATURE_ASYNC_PF_INT))

int cpuid_supported(int kvm_fd, struct kvm_cpuid2 **ret)
{
	autofree struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_ENTRIES_MAX * sizeof(cpuid->entries[0]));

	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = CPUID_ENTRIES_MAX;

	int r = kvm_system_get_supported_cpuid(kvm_fd, cpuid);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == LEAF_KVM_FEATURES)
			cpuid->entries[i].eax &= ~KVM_FEATURES_ASYNC_PF;
	*ret = steal_ptr(cpuid);
	return 0;
}

void cpuid_hide_svm(struct kvm_cpuid2 *cpuid)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 0x80000001)
			cpuid->entries[i].ecx &= ~(1U << 2);
}

void cpuid_hide_encryption(struct kvm_cpuid2 *cpuid)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == LEAF_ENCRYPTION)
			cpuid->entries[i].eax = cpuid->entries[i].ebx = cpuid->entries[i].ecx =
				cpuid->entries[i].edx = 0;
}

/* Bits that an APIC ID needs to number n CPUs. */
static uint32_t id_bits(uint32_t n)
{
	uint32_t bits = 0;

	while ((1U << bits) < n)
		bits++;
	return bits;
}

/* Extended topology (leaves 0xb and 0x1f): threads (one per core), then cores. */
static void set_topology(struct kvm_cpuid_entry2 *e, uint32_t apic_id, uint32_t n_cpus)
{
	enum { LEVEL_INVALID, LEVEL_SMT, LEVEL_CORE };

	e->eax = 0;
	e->ebx = 0;
	e->ecx = e->index;
	e->edx = apic_id;
	if (e->index == 0) {
		e->ebx = 1;
		e->ecx |= LEVEL_SMT << 8;
	} else if (e->index == 1) {
		e->eax = id_bits(n_cpus);
		e->ebx = n_cpus;
		e->ecx |= LEVEL_CORE << 8;
	}
}

void cpuid_set_vcpu(struct kvm_cpuid2 *cpuid, uint32_t apic_id, uint32_t n_cpus,
		    int has_tsc_deadline)
{
	bool has_level_1 = false;

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		switch (e->function) {
		case 0x1:
			/* APIC ID, number of logical CPUs, CLFLUSH line size and brand as they are.
			 */
			e->ebx = (e->ebx & 0xffff) | (n_cpus << 16) | (apic_id << 24);
			e->edx = n_cpus > 1 ? e->edx | (1U << 28) : e->edx & ~(1U << 28);
			e->ecx |= 1U << 31; /* hypervisor present */
			if (has_tsc_deadline)
				e->ecx |= 1U << 24;
			break;
		case 0x4:
		case 0x8000001d:
			/* Cores per package; who shares a cache: nobody but the CPU itself. */
			e->eax &= ~0xffffc000U;
			if (e->function == 0x4)
				e->eax |= (n_cpus - 1) << 26;
			break;
		case 0xb:
		case 0x1f:
			has_level_1 |= e->function == 0xb && e->index == 1;
			set_topology(e, apic_id, n_cpus);
			break;
		case 0x80000008:
			e->ecx = (e->ecx & ~0xf0ffU) | (n_cpus - 1) | (id_bits(n_cpus) << 12);
			break;
		case 0x8000001e:
			e->eax = apic_id;
			e->ebx = apic_id & 0xff; /* core ID, one thread per core */
			e->ecx = 0;		 /* node 0 of 1 */
			break;
		default:
			break;
		}
	}
	/* KVM supports leaf 0xb but lists its first level only. */
	for (uint32_t i = 0; !has_level_1 && i < cpuid->nent; i++) {
		if (cpuid->entries[i].function != 0xb || cpuid->nent == CPUID_ENTRIES_MAX)
			continue;

		struct kvm_cpuid_entry2 *e = &cpuid->entries[cpuid->nent++];

		*e = cpuid->entries[i];
		e->index = 1;
		set_topology(e, apic_id, n_cpus);
		break;
	}
}
