/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is checked of a confidential guest before it is stopped for a relay; see preflight.c. */
#ifndef LIB_PREFLIGHT_H
#define LIB_PREFLIGHT_H

#include <linux/kvm.h>
#include <stdint.h>

#include "vm.h"

/* On which host and boot of it a process runs, as an offer carries it. */
struct preflight_host {
	char boot_id[40];
	char kernel[136]; /* release and version */
};

int preflight_this_host(struct preflight_host *ret, struct vmr_error *ret_error);
/* Is that here?  The bytes come from the source. */
int preflight_same_host(const struct preflight_host *host, struct vmr_error *ret_error);

/* Source, when a relay is asked for: can this VM be moved at all? */
int preflight_source(const struct vmr_vm *vm, struct vmr_error *ret_error);

/* Source, when the target is ready: can both processes be charged for the ASID? */
int preflight_charge(struct vmr_vm *vm, int target_pidfd, struct vmr_error *ret_error);

/* Target, when it is complete: can this VM take the guest, which has n_vcpus, over? */
int preflight_target(struct vmr_vm *vm, unsigned n_vcpus, struct vmr_error *ret_error);

/* Does KVM have this kind of guest, by its KVM_GET_SUPPORTED_CPUID? */
bool preflight_has_kind(const struct kvm_cpuid2 *cpuid, enum vmr_confidential kind);

/* Sentences about what is known against the running kernel; how many. */
#define PREFLIGHT_WARNINGS_MAX 16
#define PREFLIGHT_WARNING_SIZE 200
unsigned preflight_warnings(const struct vmr_vm *vm,
			    char ret[PREFLIGHT_WARNINGS_MAX][PREFLIGHT_WARNING_SIZE]);

/* The control group that this process is charged in; 0: that cannot be told. */
uint64_t preflight_own_group(void);

#endif
