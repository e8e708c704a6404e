/* SPDX-License-Identifier: GPL-2.0-or-later */
/* es_guest.h - an SEV-ES vCPU without an interpreter, in memory that is real */
#ifndef TESTS_SOFTKVM_SEV_ES_GUEST_H
#define TESTS_SOFTKVM_SEV_ES_GUEST_H

#include "../memory/client.h"
#include "softkvm/kvm/vm.h"
#include "softkvm/sev/internal.h"
#include "softkvm/sev/vmsa.h"

#define GHCB_GPA     0x3000ull
#define SCRATCH_GPA  0x5ff0ull /* over the end of a page */
#define DEVICE_PORT  0x80      /* what the host has a device for */
#define DEVICE_GPA   0xfee00000ull
#define KNOWN_MSR    0x123u
#define KERNEL_VALUE 0x5566778811223344ull

struct es_guest {
	struct call *call;
	struct vm vm;
	struct vcpu vcpu;
	uint8_t *ghcb; /* as the guest sees it, and the VMM */
	struct kvm_run *run;
	/* What the fakes were asked last. */
	uint64_t written;
	uint32_t cpuid_leaf, cpuid_subleaf, cpuid_xcr0, cpuid_cr4;
	unsigned hypercall_cpl, n_accesses;
};

int es_guest_setup(void **state);
int es_guest_teardown(void **state);
/* What the firmware does at LAUNCH_UPDATE_VMSA, after vmsa_build(). */
void es_guest_launch(struct es_guest *g);
/* Fields of the GHCB: put() makes them valid, too. */
void ghcb_put(struct es_guest *g, unsigned offset, uint64_t value);
uint64_t ghcb_get(const struct es_guest *g, unsigned offset);
bool ghcb_has(const struct es_guest *g, unsigned offset);
/* A new page, with an event. */
void ghcb_event(struct es_guest *g, uint64_t code, uint64_t info_1, uint64_t info_2);
/* VMGEXIT; true: it goes to the VMM. */
bool vmgexit(struct es_guest *g);
/* KVM_RUN until the guest runs again: false, if it is asked for more instead. */
bool reenter(struct es_guest *g);

#endif
