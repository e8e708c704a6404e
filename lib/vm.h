/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The recorded VM: what libvmrelay knows of a VM beyond its file descriptor. */
#ifndef LIB_VM_H
#define LIB_VM_H

#include <vmrelay/sev.h>
#include <vmrelay/vm.h>

/* Bounds of a description that comes from another process. */
#define VM_VCPUS_MAX	   1024U
#define VM_SLOTS_MAX	   512U
#define VM_CAPS_MAX	   64U
#define VM_EVENTFDS_MAX	   1024U
#define VM_ROUTES_MAX	   4096U
#define VM_CPUID_MAX	   256U
#define VM_MSRS_MAX	   512U
#define VM_NESTED_SIZE_MAX (64U * 1024U)
#define VM_XSAVE_SIZE_MAX  (64U * 1024U)

struct vm_slot {
	struct vmr_memory_slot slot;
	bool is_ours; /* fd and mapping belong to this object */
};

struct vm_irqfd {
	int event_fd;
	int resample_fd;
	uint32_t gsi;
};

struct vm_caps {
	struct kvm_enable_cap *cap;
	unsigned n;
};

struct vm_vcpu {
	int fd;
	uint32_t id;
	struct kvm_run *run;
	struct vm_caps caps;
	bool has_mce;
	uint64_t mcg_cap;
	uint32_t tsc_khz; /* 0: not known */
	struct kvm_cpuid2 *cpuid;
	struct kvm_msrs *feature_msrs; /* fixed once the vCPU has run */
};

/* Which state KVM has for this VM; see vmr_vm_complete(). */
struct vm_features {
	bool sregs2;
	bool xcrs;
	bool debugregs;
	bool tsc_offset;
	bool clock;
	bool clock_realtime;
	uint32_t xsave_size; /* bytes of KVM_GET_XSAVE2, or of KVM_GET_XSAVE */
	bool xsave2;
	uint32_t nested_size;  /* 0: no nested state */
	struct kvm_msrs *msrs; /* indices in the order in which they are set; data unused */
};

struct vm_sev {
	enum vmr_confidential kind;
	int fd; /* /dev/sev, borrowed; -1: none */
	uint32_t handle;
	uint32_t policy;
	bool is_launched;
	unsigned n_vmsas; /* vCPUs whose registers are encrypted */
	bool is_moved;	  /* here from another VM */
	bool is_bound;	  /* to this VM: no other could run it */
	bool is_mirror;	  /* shares another VM's context */
	bool is_mirrored; /* another shares this VM's */
	uint64_t charged; /* inode of the control group whose ASID it is; 0: it cannot be told */
};

struct vmr_vm {
	int kvm_fd; /* borrowed */
	int vm_fd;
	unsigned long type;
	size_t run_size;

	/* The record. */
	struct vm_caps caps;
	bool has_tss_addr, has_identity_map_addr, has_irqchip, has_pit, pit_reinject;
	uint32_t tss_addr;
	uint64_t identity_map_addr;
	struct kvm_pit_config pit_config;
	struct kvm_irq_routing *routing; /* NULL: KVM's default */
	struct vm_slot *slots;
	unsigned n_slots;
	struct vm_irqfd *irqfds;
	unsigned n_irqfds;
	struct kvm_ioeventfd *ioeventfds;
	unsigned n_ioeventfds;
	bool owns_eventfds; /* built from an offer */
	struct vm_vcpu *vcpus;
	unsigned n_vcpus;

	struct vm_sev sev;
	bool is_complete;
	struct vm_features features;
};

/* Bind or unbind all irqfds of the record.  0 or the first failure's -errno; all are tried. */
int vm_bind_irqfds(const struct vmr_vm *vm);
int vm_unbind_irqfds(const struct vmr_vm *vm);
/* Raise each once: for events that may have gone to another VM. */
void vm_ring_irqfds(const struct vmr_vm *vm);

/* A new VM of the same record in the same process, on the same memory; irqfds are not bound. */
int vm_clone(const struct vmr_vm *vm, struct vmr_vm **ret, struct vmr_error *ret_error);
/*
 * Let `vm` be the VM that `clone` is: its fds keep their numbers and its run pages their addresses,
 * so that whoever knows them need not know of this.  No thread may be using them.
 */
int vm_replace(struct vmr_vm *vm, const struct vmr_vm *clone, struct vmr_error *ret_error);

/* Can such a guest be in a VM of this type?  And then run after a move?  See sev_type.c. */
bool sev_type_fits(unsigned long type, enum vmr_confidential kind);
bool sev_type_moves(int kvm_fd, unsigned long type);

/* Can the secure processor be asked?  KVM looks for /dev/sev in odd places, see sev.c. */
int sev_check_fd(const struct vmr_vm *vm, struct vmr_error *ret_error);

/* Is KVM_CAP_NESTED_STATE of use to this vCPU, that is, does its CPUID have SVM or VMX? */
bool vm_cpuid_has_nested(const struct kvm_cpuid2 *cpuid);

#endif
