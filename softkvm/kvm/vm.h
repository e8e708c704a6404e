/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm.h - /dev/kvm, VMs and vCPUs
 *
 * Locks, outermost first: vm->lock (target before source), vcpu->lock by ascending index (target's
 * before source's), what is in memory/, irq/, sev/.  vcpu->lock is held for the whole of any ioctl
 * on a vCPU, KVM_RUN included.
 *
 * A vCPU lives as long as its VM.  Its object is its file, and that holds a reference on the VM.
 */
#ifndef SOFTKVM_VM_H
#define SOFTKVM_VM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "softkvm/cpu/cpu.h"
#include "softkvm/host/call.h"
#include "softkvm/host/host.h"
#include "softkvm/host/object.h"
#include "softkvm/irq/irq.h"
#include "softkvm/memory/memory.h"
#include "softkvm/sev/sev.h"

#define VCPUS_MAX 64

/* What is mapped from a vCPU's descriptor: struct kvm_run, a page of port data, a page that KVM has
 * for coalesced MMIO. */
#define RUN_SIZE       (3 * 4096)
#define RUN_PIO_OFFSET 4096

struct ioeventfds;
struct vcpu;

struct vm {
	struct object object;
	struct mm *mm;
	unsigned long type;
	pthread_mutex_t lock;
	_Atomic bool dead;	  /* moved away: everything is EIO */
	unsigned n_created;	  /* vCPUs begun; under lock */
	_Atomic unsigned n_vcpus; /* vCPUs complete */
	struct vcpu *vcpu[VCPUS_MAX];
	struct slots *slots;	 /* memory/ */
	struct irqchip *irqchip; /* irq/; NULL before KVM_CREATE_IRQCHIP */
	struct sev_vm sev;
	struct ioeventfds *ioeventfds;
	_Atomic int64_t clock_offset; /* KVM's clock minus CLOCK_MONOTONIC */
	uint32_t tsc_khz;	      /* of vCPUs to come */
	uint32_t bsp_id;
	_Atomic bool has_triple_fault_event; /* KVM_CAP_X86_TRIPLE_FAULT_EVENT is enabled */
};

/* An access that the VMM carries out, or has carried out: see exit.c. */
struct vcpu_access {
	bool is_mmio, is_write;
	uint8_t len;
	uint64_t address;
	uint8_t data[8];
};

/* One 16-byte store or load of the largest vector register, both ways. */
#define VCPU_ACCESSES_MAX 16

struct vcpu {
	struct object object;
	struct vm *vm; /* a reference, of the object */
	unsigned index, id;
	pthread_mutex_t lock;
	struct cpu *cpu;
	struct kvm_run *run; /* RUN_SIZE bytes; the client writes to them at any time */
	int run_fd;
	struct lapic *lapic; /* irq/; NULL without an irqchip */
	_Atomic uint32_t mp_state;
	struct sev_vcpu sev;

	/* Waiting in HLT or for SIPI. */
	pthread_mutex_t wait_lock;
	pthread_cond_t wake;
	bool is_kicked; /* under wait_lock */

	/* The answers of the VMM to what the instruction at RIP has asked so far. */
	struct {
		struct vcpu_access access[VCPU_ACCESSES_MAX];
		unsigned n;	   /* that are recorded; the last may be without an answer */
		unsigned cursor;   /* that the instruction has asked for again */
		bool is_asked;	   /* the last one is at the VMM */
		bool is_overflown; /* more than there is room for */
		bool is_fault;	   /* there is no memory behind a slot */
		uint64_t rip;
	} io;

	/* Events that have been queued by the VMM. */
	_Atomic unsigned n_nmis;
	int interrupt; /* vector that is to be delivered at the next entry; -1: none */
	bool has_triple_fault;

	/* SEV-ES: KVM has no FPU state of it.  With k61 and v7 since it was created, if its VM was
	 * SEV-ES by then; with main since LAUNCH_UPDATE_VMSA. */
	bool fpu_is_confidential;

	uint64_t memory_layout; /* what is in the TLB is of this */
	uint64_t lookout_ns;	/* when to look again whether the VMM has been stopped */

	bool has_run;
	bool has_signal_mask; /* KVM_SET_SIGNAL_MASK: for the time of KVM_RUN */
	uint64_t signal_mask;
	unsigned n_cpuid;
	struct kvm_cpuid_entry2 *cpuid;
	uint64_t apic_base;	     /* without an irqchip */
	_Atomic uint64_t tsc_offset; /* guest's minus scaled host's */
	_Atomic uint32_t tsc_khz;
	uint64_t mcg_cap;
	uint64_t *msr; /* those that are only stored, by msr.c's numbers */
};

/* /dev/kvm, a new object. */
struct object *kvm_open(struct host *host);

/* Whether object is a VM; then it is one. */
struct vm *vm_of(struct object *object); /* NULL if not */

/* Something happened that the vCPU must look at: it leaves the interpreter or wakes from HLT. */
void vcpu_kick(struct vcpu *vcpu);

/*
 * What a guest asks of KVM, be it by an instruction or through its GHCB.  False: of pio and mmio,
 * that it is the VMM's to answer; of MSRs, that it raises #GP.
 */
bool vcpu_pio(struct vcpu *vcpu, bool is_write, uint16_t port, unsigned size, void *data);
bool vcpu_mmio(struct vcpu *vcpu, bool is_write, uint64_t gpa, unsigned len, void *data);
bool vcpu_rdmsr(struct vcpu *vcpu, uint32_t msr, uint64_t *ret);
bool vcpu_wrmsr(struct vcpu *vcpu, uint32_t msr, uint64_t value);
void vcpu_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf, uint32_t ret[4]);
uint64_t vcpu_tsc(const struct vcpu *vcpu);
/* RAX of a hypercall: none is offered. */
uint64_t vcpu_hypercall(const struct vcpu *vcpu, unsigned cpl);

/* Fill run->exit_reason and what belongs to it; the data of a port access is at RUN_PIO_OFFSET, of
 * MMIO in run->mmio.data. */
void vcpu_exit_pio(struct vcpu *vcpu, bool is_write, uint16_t port, unsigned size, uint32_t count,
		   const void *data);
void vcpu_exit_mmio(struct vcpu *vcpu, bool is_write, uint64_t gpa, unsigned len, const void *data);

#endif
