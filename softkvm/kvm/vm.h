/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm.h - /dev/kvm, VMs and vCPUs
 *
 * Locks, outermost first: vm->lock (target before source), vcpu->lock by ascending index (target's
 * before source's), what is in memory/, irq/, sev/.  vcpu->lock is held for the whole of any ioctl
 * on a vCPU, KVM_RUN included.
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
	/* clock, caps and what else the owner of this file needs */
	int64_t clock_offset;
};

struct vcpu {
	struct object object;
	struct vm *vm; /* a reference */
	unsigned index, id;
	pthread_mutex_t lock;
	struct cpu *cpu;
	struct kvm_run *run; /* RUN_SIZE bytes */
	int run_fd;
	struct lapic *lapic; /* irq/; NULL without an irqchip */
	_Atomic uint32_t mp_state;
	struct sev_vcpu sev;
};

/* /dev/kvm, a new object. */
struct object *kvm_open(struct host *host);

/* Whether object is a VM; then it is one. */
struct vm *vm_of(struct object *object); /* NULL if not */

/* Something happened that the vCPU must look at: it leaves the interpreter or wakes from HLT. */
void vcpu_kick(struct vcpu *vcpu);

#endif
