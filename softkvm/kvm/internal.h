/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * internal.h - what the files of kvm/ are to each other
 *
 * system.c	/dev/kvm
 * caps.c	what KVM_CHECK_EXTENSION says
 * cpuid.c	the model of the CPU, and what a VMM makes of it
 * vm.c		life of a VM, and what is neither of the next
 * vm_irq.c	interrupt controllers and lines
 * vm_time.c	clock and TSC
 * vcpu.c	life of a vCPU
 * regs.c, fpu.c, events.c, msr.c	its state
 * run.c	KVM_RUN
 * exit.c	what the CPU asks of the world while it runs
 */
#ifndef SOFTKVM_KVM_INTERNAL_H
#define SOFTKVM_KVM_INTERNAL_H

#include "vm.h"

/* KVM's: Documentation/virt/kvm/api.rst, 4.20, 4.87 and what its ioctls accept. */
#define CPUID_ENTRIES_MAX 256
#define MSRS_MAX	  256 /* exclusive */
#define XSAVE_SIZE	  4096

/* APM volume 2, 15.34.6: of 0x8000001f.  Where the EPYCs of today have it. */
#define C_BIT_POSITION 51
#define C_BIT	       (1ull << C_BIT_POSITION)

#define XCR0_X87_SSE_AVX 7ull

#define PAGE_SIZE 4096ull

/* IDs are xAPIC IDs, of which 255 is the broadcast's. */
#define VCPU_ID_MAX 255

/* A row of a table of ioctls.  arg is not checked. */
struct vm_ioctl {
	unsigned request;
	long (*serve)(struct vm *vm, struct call *call, uint64_t arg);
};
struct vcpu_ioctl {
	unsigned request;
	long (*serve)(struct vcpu *vcpu, struct call *call, uint64_t arg);
};

/* caps.c */
long kvm_check_extension(const struct host *host, uint64_t cap);

/* vm.c */
long vm_create(struct host *host, struct call *call, uint64_t type);
/* -EIO if the VM has been moved away meanwhile. */
int vm_lock(struct vm *vm, struct call *call);
unsigned long vm_types(const struct host *host); /* a bit for each */

/* vm_irq.c, vm_time.c; each ends with a row of zeroes */
extern const struct vm_ioctl vm_irq_ioctls[], vm_time_ioctls[];

/* vm_time.c */
#define HOST_TSC_KHZ 1000000u
uint64_t host_now_ns(void);
int vcpu_set_tsc_khz(struct vcpu *vcpu, uint64_t khz);

/* vcpu.c.  create: vm->lock is not held. */
long vcpu_create(struct vm *vm, struct call *call, uint64_t id);
struct vcpu *vcpu_free(struct vcpu *vcpu);
bool vcpu_is_bsp(const struct vcpu *vcpu);
/* SEV-ES: what KVM has of the registers is not what the guest has. */
bool vcpu_is_protected(const struct vcpu *vcpu);
bool vcpu_hides_state(const struct vcpu *vcpu); /* ... and KVM says so */

/* regs.c, fpu.c, events.c, msr.c, cpuid.c; each ends with a row of zeroes */
extern const struct vcpu_ioctl vcpu_regs_ioctls[], vcpu_fpu_ioctls[], vcpu_events_ioctls[],
	vcpu_msr_ioctls[], vcpu_cpuid_ioctls[];

/* run.c */
long vcpu_run(struct vcpu *vcpu, struct call *call);
/* Between these the guest's memory may be accessed, with its key; see memory/. */
void vcpu_enter_memory(struct vcpu *vcpu);
void vcpu_leave_memory(struct vcpu *vcpu);
/* Act on INIT and SIPI. */
void vcpu_accept_signals(struct vcpu *vcpu);

/* exit.c */
extern const struct cpu_ops vcpu_cpu_ops;
/* After vcpu->io was asked: fill the run page. */
void vcpu_exit_access(struct vcpu *vcpu);
/* The VMM has carried out what it was asked: take its answer. */
void vcpu_take_answer(struct vcpu *vcpu);

/* APIC base, wherever it is. */
uint64_t vcpu_get_apic_base(const struct vcpu *vcpu);
int vcpu_set_apic_base(struct vcpu *vcpu, uint64_t value, bool is_host);
/* CR8 and the TPR are one; after either was written. */
void vcpu_cr8_to_tpr(struct vcpu *vcpu);
void vcpu_tpr_to_cr8(struct vcpu *vcpu);

/* cpuid.c */
unsigned cpuid_model(const struct host *host, struct kvm_cpuid_entry2 ret[CPUID_ENTRIES_MAX]);
long cpuid_copy_supported(const struct host *host, struct call *call, uint64_t arg);
void vcpu_update_features(struct vcpu *vcpu);
uint64_t vcpu_reserved_gpa_bits(const struct vcpu *vcpu);
uint64_t vcpu_allowed_cr4(const struct vcpu *vcpu);

/* msr.c */
int vcpu_msrs_new(struct vcpu *vcpu);
long msr_copy_index_list(struct call *call, uint64_t arg);
long msr_copy_feature_list(struct call *call, uint64_t arg);
long msr_copy_features(struct call *call, uint64_t arg);
long vcpu_setup_mce(struct vcpu *vcpu, struct call *call, uint64_t arg);
#define MCE_BANKS_MAX	  32
#define MCE_CAP_SUPPORTED (1ull << 8 | 1ull << 24) /* MCG_CTL_P, MCG_SER_P */

#endif
