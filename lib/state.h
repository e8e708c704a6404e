/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest state that KVM gives and takes: reading it into sections, writing it from sections.
 *
 * Theory of operation.  The order of the calls is part of the interface of KVM and is the order of
 * the tables in state_vcpu.c:
 *
 * Saving, with all vCPUs out of the guest: MP_STATE first, because reading it makes KVM accept a
 * pending INIT or SIPI and so change registers and LAPIC; EVENTS last, because it takes in an NMI
 * that is on its way.
 *
 * Loading: SREGS (EFER, APIC base) before NESTED and LAPIC; REGS drop a pending exception, so
 * EVENTS come after them, and last; the TSC offset and the LAPIC before the MSRs, whose last is
 * TSC_DEADLINE, which arms the timer by TSC and by the LAPIC's mode; MP_STATE after SREGS, which
 * may set it.  IRQCHIP comes before any LAPIC, since KVM may deliver from the I/O APIC at once, and
 * a LAPIC loaded later would overwrite that.  CLOCK comes before the MSRs: writing the wall-clock
 * MSR makes KVM write the guest's wall-clock page from it.
 *
 * Left out on purpose: the TSC MSR (0x10) where KVM has the TSC offset: writing it would be taken
 * for an attempt to synchronise.  KVM_GET_FPU: part of XSAVE.
 */
#ifndef LIB_STATE_H
#define LIB_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "section.h"
#include "vm.h"

/* The library's state sections, for negotiation: type 0 ends the table. */
struct state_kind {
	uint32_t type;
	uint16_t version;
	uint16_t min_version;
	const char *name;
};
extern const struct state_kind state_kinds[];

/* Which of state_kinds a relay of this VM writes. */
bool state_is_written(const struct vmr_vm *vm, uint32_t type);

/*
 * Find out what KVM has for this VM; vm->vcpus[0] exists and has not run.  With a list of n MSRs
 * that the source has, all of them must be there, and they become the VM's list.
 */
int state_probe(struct vmr_vm *vm, const uint32_t *msrs, unsigned n, struct vmr_error *ret_error);

/*
 * What KVM calls feature MSRs may not change any more when a vCPU has run, so they are set before
 * that, and recorded: vcpus[index].feature_msrs.
 */
int state_set_feature_msrs(struct vmr_vm *vm, unsigned index, const struct kvm_msrs *msrs,
			   struct vmr_error *ret_error);

/* Upper bounds, in bytes, of what the save functions write. */
size_t state_vcpu_size(const struct vmr_vm *vm);
size_t state_vm_size(const struct vmr_vm *vm);

/*
 * A vCPU's state is saved and loaded in two parts, each in its order.  What is in the first can be
 * loaded without the VM's state; MP_STATE is saved in the first and loaded with the second.
 */
enum state_part { STATE_FIRST, STATE_REST };

int state_save_vcpu(const struct vmr_vm *vm, unsigned index, enum state_part part,
		    struct section_writer *w, struct vmr_error *ret_error);
int state_save_vm(const struct vmr_vm *vm, struct section_writer *w, struct vmr_error *ret_error);

/*
 * A vCPU's state, checked and taken apart: payloads by position in the load order.  Points into the
 * blob that it was parsed from.
 */
#define STATE_VCPU_KINDS 12
struct state_vcpu {
	const void *payload[STATE_VCPU_KINDS];
	uint32_t length[STATE_VCPU_KINDS];
};

/*
 * Add the sections of a part, which come from another process, to *state.  -EBADMSG if anything in
 * them, or with STATE_REST in the whole, is not as it must be.
 */
int state_parse_vcpu(const struct vmr_vm *vm, enum state_part part, const void *sections,
		     size_t len, struct state_vcpu *state, struct vmr_error *ret_error);

/*
 * Load a part, the rest with the VM's state loaded.  `fresh` is the state of this vCPU before the
 * stop, or NULL: what did not change is not set again.
 */
int state_load_vcpu(const struct vmr_vm *vm, unsigned index, enum state_part part,
		    const struct state_vcpu *state, const struct state_vcpu *fresh,
		    struct vmr_error *ret_error);

/*
 * Load one VM-level section of the library.  All three chips, PIT and clock must be there:
 * *loaded collects what was, state_vm_is_whole() checks.
 */
int state_load_vm(const struct vmr_vm *vm, const struct section *section, unsigned *loaded,
		  struct vmr_error *ret_error);
bool state_vm_is_whole(const struct vmr_vm *vm, unsigned loaded);

#endif
