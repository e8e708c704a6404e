/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM with one of everything that the library records, for tests on a real KVM. */
#ifndef TESTS_UNIT_LIB_MACHINE_H
#define TESTS_UNIT_LIB_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <vmrelay/vmrelay.h>

#include "lib/describe.h"

#define MACHINE_RAM_SIZE  (1U << 20)
#define MACHINE_CPUID_ALL 256U
#define MACHINE_GSI_MSI	  24U
#define MACHINE_N_EVENTS  6U

#define FEATURE_MSR 0x8bU /* IA32_UCODE_REV */
union one_msr {
	struct kvm_msrs msrs;
	uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

struct machine {
	int kvm_fd;
	struct vmr_vm *vm;
	int memory_fd[2];
	void *hva[2];
	int event_fd[MACHINE_N_EVENTS];
};

/* A description with the fds that go with it. */
struct description {
	uint8_t *bytes;
	size_t len;
	struct fd_list fds; /* borrowed from the machine */
};

/* NULL, or why there is no KVM to test with. */
const char *machine_why_not(void);

/* Assert that all went well. */
void machine_create(struct machine *machine, unsigned n_vcpus, unsigned cpuid_max);
void machine_free(struct machine *machine);
void machine_describe(const struct vmr_vm *vm, struct description *ret);
void description_free(struct description *description);

/* describe_build() with copies of the fds, as if they had come from another process. */
int machine_build(const struct machine *machine, const void *bytes, size_t len,
		  const struct fd_list *fds, struct vmr_vm **ret, struct vmr_error *ret_error);

#endif
