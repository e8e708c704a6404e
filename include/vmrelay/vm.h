/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A KVM VM whose configuration is recorded.
 *
 * KVM has no getter for much of what a VMM tells it: enabled capabilities, memory slots, interrupt
 * routes, irqfds, ioeventfds.  These functions make the KVM call and write down what was set; the
 * record is what the target of a relay builds its VM from.  A VMM that wants to be relayable makes
 * these calls through them and all others (KVM_RUN, registers, KVM_IRQ_LINE) on the fds directly.
 *
 * All functions are for one thread at a time.  They return 0 or -errno and fill ret_error (never
 * NULL) on failure.  A failed call leaves the record as it was.
 */
#ifndef VMRELAY_VM_H
#define VMRELAY_VM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmrelay/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vmr_vm;

/* KVM_CREATE_VM.  kvm_fd (/dev/kvm) is borrowed for the life of the object. */
int vmr_vm_create(int kvm_fd, unsigned long type, struct vmr_vm **ret, struct vmr_error *ret_error);

/*
 * Close the VM with all its vCPUs and unmap their run pages; memory that vmr_target_build() mapped
 * is unmapped too.  Takes NULL, returns NULL.
 */
struct vmr_vm *vmr_vm_free(struct vmr_vm *vm);

/* Borrowed file descriptors and pages; index counts vCPUs in the order of their creation. */
int vmr_vm_fd(const struct vmr_vm *vm);
unsigned vmr_vm_n_vcpus(const struct vmr_vm *vm);
int vmr_vm_vcpu_fd(const struct vmr_vm *vm, unsigned index);
struct kvm_run *vmr_vm_vcpu_run(const struct vmr_vm *vm, unsigned index);

/* KVM_ENABLE_CAP; before vmr_vm_create_vcpu() where KVM asks for that. */
int vmr_vm_enable_cap(struct vmr_vm *vm, const struct kvm_enable_cap *cap,
		      struct vmr_error *ret_error);
/* KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR: guest-physical addresses, needed on Intel. */
int vmr_vm_set_tss_addr(struct vmr_vm *vm, uint32_t gpa, struct vmr_error *ret_error);
int vmr_vm_set_identity_map_addr(struct vmr_vm *vm, uint64_t gpa, struct vmr_error *ret_error);
/* KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2 (with KVM_REINJECT_CONTROL). */
int vmr_vm_create_irqchip(struct vmr_vm *vm, struct vmr_error *ret_error);
int vmr_vm_create_pit(struct vmr_vm *vm, const struct kvm_pit_config *config, bool reinject,
		      struct vmr_error *ret_error);
/* KVM_SET_GSI_ROUTING: replaces the whole table. */
int vmr_vm_set_gsi_routing(struct vmr_vm *vm, const struct kvm_irq_routing *routing,
			   struct vmr_error *ret_error);

/*
 * KVM_SET_USER_MEMORY_REGION.  `fd` is the memory object (borrowed for the life of the slot) behind
 * `hva`, whose first byte is at `offset` of it; -1 for memory that no other process can map: the VM
 * runs, but refuses to be relayed.  size 0 deletes the slot.
 */
struct vmr_memory_slot {
	uint32_t slot;
	uint32_t flags; /* KVM_MEM_READONLY */
	uint64_t gpa;
	uint64_t size; /* bytes */
	int fd;
	uint64_t offset;
	void *hva;
};
int vmr_vm_set_memory(struct vmr_vm *vm, const struct vmr_memory_slot *slot,
		      struct vmr_error *ret_error);
unsigned vmr_vm_n_memory_slots(const struct vmr_vm *vm);
/* The n-th slot; NULL past the last. */
const struct vmr_memory_slot *vmr_vm_memory_slot(const struct vmr_vm *vm, unsigned n);

/*
 * KVM_IRQFD.  The eventfd must be non-blocking (EFD_NONBLOCK); it is borrowed, and travels with a
 * relay.  resample_fd: the resample eventfd of a level-triggered interrupt, or -1.
 */
int vmr_vm_add_irqfd(struct vmr_vm *vm, int event_fd, uint32_t gsi, int resample_fd,
		     struct vmr_error *ret_error);
/* The eventfd of the n-th irqfd, in the order of their addition, or -1; *ret_gsi may be NULL. */
int vmr_vm_irqfd(const struct vmr_vm *vm, unsigned n, uint32_t *ret_gsi);

/* KVM_IOEVENTFD; ioeventfd->fd is borrowed and travels with a relay. */
int vmr_vm_add_ioeventfd(struct vmr_vm *vm, const struct kvm_ioeventfd *ioeventfd,
			 struct vmr_error *ret_error);
/* The eventfd of the n-th ioeventfd, in the order of their addition, or -1. */
int vmr_vm_ioeventfd(const struct vmr_vm *vm, unsigned n);

/* KVM_CREATE_VCPU and the mapping of its run page; *ret_index counts from 0. */
int vmr_vm_create_vcpu(struct vmr_vm *vm, uint32_t id, unsigned *ret_index,
		       struct vmr_error *ret_error);
/* KVM_ENABLE_CAP, KVM_X86_SETUP_MCE and KVM_SET_CPUID2 of a vCPU; CPUID once, before it runs. */
int vmr_vcpu_enable_cap(struct vmr_vm *vm, unsigned index, const struct kvm_enable_cap *cap,
			struct vmr_error *ret_error);
int vmr_vcpu_setup_mce(struct vmr_vm *vm, unsigned index, uint64_t mcg_cap,
		       struct vmr_error *ret_error);
int vmr_vcpu_set_cpuid(struct vmr_vm *vm, unsigned index, const struct kvm_cpuid2 *cpuid,
		       struct vmr_error *ret_error);

/*
 * Call once when all vCPUs are created and configured, before the first of them runs: finds out
 * which MSRs and other state KVM has for them.  A VM without it cannot be relayed.
 */
int vmr_vm_complete(struct vmr_vm *vm, struct vmr_error *ret_error);

#ifdef __cplusplus
}
#endif

#endif
