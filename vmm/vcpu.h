/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vCPU threads.
 *
 * Theory of operation.  Each thread does what the common mode says: run the guest, wait, save its
 * vCPU for a relay, or end.  The main thread changes the mode and kicks the threads out of KVM_RUN.
 * A thread leaves the guest only through -EINTR from KVM_RUN with immediate_exit set: KVM then has
 * completed the exit before (a port read has its value in the register), so the vCPU's state is
 * consistent whenever its thread is not in the guest.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <vmrelay/vmrelay.h>

#include "bus.h"
#include "vmm.h"

struct vcpus;

/* Called on a vCPU's thread when the guest ended; text may be NULL. */
typedef void vcpus_end_fn(void *opaque, enum vmm_end end, const char *text);

/*
 * Start a thread for every vCPU of the VM.  They wait, or with a target load their vCPU and run it
 * when the relay says so.  0 or -errno.
 */
int vcpus_start(struct vmr_vm *vm, const struct bus *bus, struct vmr_target *target,
		vcpus_end_fn *end, void *opaque, struct vcpus **ret);
/* End the threads and wait for them. */
struct vcpus *vcpus_free(struct vcpus *vcpus);

/* Let the guest run, or continue to wait for it: returns at once. */
void vcpus_run(struct vcpus *vcpus);
/* Stop the guest; returns when no thread is in it. */
void vcpus_pause(struct vcpus *vcpus);

/* Make every thread save its vCPU for `source`; returns at once. */
void vcpus_save(struct vcpus *vcpus, struct vmr_source *source);
/* Wait until no thread is in the guest or uses a relay. */
void vcpus_wait(struct vcpus *vcpus);

#endif
