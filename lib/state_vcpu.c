/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* State of a vCPU; the theory is in state.h. */
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"

#define MSR_TSC		     0x10
#define MSR_FEATURE_CONTROL  0x3a
#define CPUID_ENCRYPTION     0x8000001f
#define C_BIT_POSITION	     0x3f
#define MSR_MTRR_CAP	     0xfe
#define MSR_MCG_CAP	     0x179
#define MSR_PERF_GLOBAL_CTRL 0x38f
#define MSR_TSC_DEADLINE     0x6e0
#define MSR_AMD64_SYSCFG     0xc0010010

/*
 * Each kind of state is one row: how big it is, how to read it and how to set it.  size() 0 means
 * that this VM has none of it.
 */
struct kind {
	uint32_t type;
	const char *get_name, *set_name;
	uint32_t (*size)(const struct vmr_vm *vm);
	int (*get)(const struct vmr_vm *vm, int fd, void *payload); /* length or -errno */
	int (*set)(const struct vmr_vm *vm, int fd, const void *payload, uint32_t len);
	bool skip_if_fresh; /* need not be set when it equals a fresh vCPU's */
};

static int length_or_error(int r, size_t len)
{
	return r < 0 ? r : (int)len;
}

static int get_mp_state(const struct vmr_vm *vm, int fd, void *p)
{
	(void)vm;
	return length_or_error(kvm_vcpu_get_mp_state(fd, p), sizeof(struct kvm_mp_state));
}

/*
 * Of an SEV-ES vCPU KVM knows from the last #VMEXIT whether the guest takes interrupts (bit 1 of
 * the interrupt shadow in the VMCB, AMD publication 24593, 15.35), and it does not move that: to a
 * vCPU that has not been entered since, interrupts seem blocked, and if it was halted, nothing ever
 * wakes it.  So it is let run: the guest is behind its HLT already, and sees a wake-up for nothing.
 */
static int set_mp_state(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	struct kvm_mp_state state;

	(void)len;
	memcpy(&state, p, sizeof(state));
	if (vm->sev.kind == VMR_CONFIDENTIAL_SEV_ES && state.mp_state == KVM_MP_STATE_HALTED)
		state.mp_state = KVM_MP_STATE_RUNNABLE;
	return kvm_vcpu_set_mp_state(fd, &state);
}

static uint32_t mp_state_size(const struct vmr_vm *vm)
{
	return vm->has_irqchip ? sizeof(struct kvm_mp_state) : 0;
}

static int get_regs(const struct vmr_vm *vm, int fd, void *p)
{
	(void)vm;
	return length_or_error(kvm_vcpu_get_regs(fd, p), sizeof(struct kvm_regs));
}

static int set_regs(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	(void)vm, (void)len;
	return kvm_vcpu_set_regs(fd, p);
}

/* The registers of an SEV-ES guest are in its VMSAs: no getter tells them, no setter changes them.
 */
static bool is_readable(const struct vmr_vm *vm)
{
	return vm->sev.kind != VMR_CONFIDENTIAL_SEV_ES;
}

static uint32_t regs_size(const struct vmr_vm *vm)
{
	return is_readable(vm) ? sizeof(struct kvm_regs) : 0;
}

static int get_sregs(const struct vmr_vm *vm, int fd, void *p)
{
	(void)vm;
	return length_or_error(kvm_vcpu_get_sregs(fd, p), sizeof(struct kvm_sregs));
}

/*
 * Linux has the C-bit set in CR3 as an SEV guest.  KVM takes that bit for a reserved one until the
 * VM is an SEV guest's, which it is only after the move.  The CPU does not look at it: page tables
 * are private whatever it says (publication 24593, 15.34.5).
 */
static uint64_t settable_cr3(const struct vmr_vm *vm, uint64_t cr3)
{
	const struct kvm_cpuid2 *cpuid = vm->vcpus[0].cpuid;

	if (vm->sev.kind != VMR_CONFIDENTIAL_SEV || !cpuid)
		return cr3;
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == CPUID_ENCRYPTION)
			return cr3 & ~(1ULL << (cpuid->entries[i].ebx & C_BIT_POSITION));
	return cr3;
}

static int set_sregs(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	struct kvm_sregs sregs;

	(void)len;
	memcpy(&sregs, p, sizeof(sregs));
	sregs.cr3 = settable_cr3(vm, sregs.cr3);
	return kvm_vcpu_set_sregs(fd, &sregs);
}

static uint32_t sregs_size(const struct vmr_vm *vm)
{
	return vm->features.sregs2 ? 0 : sizeof(struct kvm_sregs);
}

static int get_sregs2(const struct vmr_vm *vm, int fd, void *p)
{
	(void)vm;
	return length_or_error(kvm_vcpu_get_sregs2(fd, p), sizeof(struct kvm_sregs2));
}

static int set_sregs2(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	struct kvm_sregs2 sregs;

	(void)len;
	memcpy(&sregs, p, sizeof(sregs));
	sregs.cr3 = settable_cr3(vm, sregs.cr3);
	return kvm_vcpu_set_sregs2(fd, &sregs);
}

static uint32_t sregs2_size(const struct vmr_vm *vm)
{
	return vm->features.sregs2 ? sizeof(struct kvm_sregs2) : 0;
}

static int get_xsave(const struct vmr_vm *vm, int fd, void *p)
{
	int r = vm->features.xsave2 ? kvm_vcpu_get_xsave2(fd, p) : kvm_vcpu_get_xsave(fd, p);

	return length_or_error(r, vm->features.xsave_size);
}

static int set_xsave(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	(void)vm, (void)len;
	return kvm_vcpu_set_xsave(fd, p);
}

static uint32_t xsave_size(const struct vmr_vm *vm)
{
	return is_readable(vm) ? vm->features.xsave_size : 0;
}

static int get_xcrs(const struct vmr_vm *vm, int fd, void *p)
{
	(void)vm;
	return length_or_error(kvm_vcpu_get_xcrs(fd, p), sizeof(struct kvm_xcrs));
}

static int set_xcrs(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	(void)vm, (void)len;
	return kvm_vcpu_set_xcrs(fd, p);
}

static uint32_t xcrs_size(const struct vmr_vm *vm)
{
	return vm->features.xcrs && is_readable(vm) ? sizeof(struct kvm_xcrs) : 0;
}

static int get_debugregs(const struct vmr_vm *vm, int fd, void *p)
{
	(void)vm;
	return length_or_error(kvm_vcpu_get_debugregs(fd, p), sizeof(struct kvm_debugregs));
}

static int set_debugregs(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	(void)vm, (void)len;
	return kvm_vcpu_set_debugregs(fd, p);
}

static uint32_t debugregs_size(const struct vmr_vm *vm)
{
	return vm->features.debugregs && is_readable(vm) ? sizeof(struct kvm_debugregs) : 0;
}

static int get_lapic(const struct vmr_vm *vm, int fd, void *p)
{
	(void)vm;
	return length_or_error(kvm_vcpu_get_lapic(fd, p), sizeof(struct kvm_lapic_state));
}

static int set_lapic(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	(void)vm, (void)len;
	return kvm_vcpu_set_lapic(fd, p);
}

static uint32_t lapic_size(const struct vmr_vm *vm)
{
	return vm->has_irqchip ? sizeof(struct kvm_lapic_state) : 0;
}

static uint32_t msrs_size(const struct vmr_vm *vm)
{
	return (uint32_t)(sizeof(struct kvm_msrs) +
			  vm->features.msrs->nmsrs * sizeof(struct kvm_msr_entry));
}

static int get_msrs(const struct vmr_vm *vm, int fd, void *p)
{
	struct kvm_msrs *msrs = p;

	memcpy(msrs, vm->features.msrs, msrs_size(vm));

	int r = kvm_vcpu_get_msrs(fd, msrs);

	if (r >= 0 && (uint32_t)r != msrs->nmsrs)
		r = -EIO;
	return length_or_error(r, msrs_size(vm));
}

static int set_msrs(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	const struct kvm_msrs *msrs = p;
	int r = kvm_vcpu_set_msrs(fd, msrs);

	(void)vm, (void)len;
	return r < 0 ? r : (uint32_t)r == msrs->nmsrs ? 0 : -EIO;
}

static int get_tsc_offset(const struct vmr_vm *vm, int fd, void *p)
{
	(void)vm;
	return length_or_error(kvm_vcpu_get_tsc_offset(fd, p), sizeof(uint64_t));
}

static int set_tsc_offset(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	uint64_t offset;

	(void)vm, (void)len;
	memcpy(&offset, p, sizeof(offset));
	return kvm_vcpu_set_tsc_offset(fd, offset);
}

static uint32_t tsc_offset_size(const struct vmr_vm *vm)
{
	return vm->features.tsc_offset ? sizeof(uint64_t) : 0;
}

static int get_nested(const struct vmr_vm *vm, int fd, void *p)
{
	struct kvm_nested_state *state = p;

	state->size = vm->features.nested_size;

	int r = kvm_vcpu_get_nested_state(fd, state);

	return length_or_error(r, state->size);
}

static int set_nested(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	(void)vm, (void)len;
	return kvm_vcpu_set_nested_state(fd, p);
}

static uint32_t nested_size(const struct vmr_vm *vm)
{
	return vm->features.nested_size;
}

static int get_events(const struct vmr_vm *vm, int fd, void *p)
{
	(void)vm;
	return length_or_error(kvm_vcpu_get_events(fd, p), sizeof(struct kvm_vcpu_events));
}

static int set_events(const struct vmr_vm *vm, int fd, const void *p, uint32_t len)
{
	(void)vm, (void)len;
	return kvm_vcpu_set_events(fd, p);
}

static uint32_t events_size(const struct vmr_vm *vm)
{
	(void)vm;
	return sizeof(struct kvm_vcpu_events);
}

enum {
	K_SREGS,
	K_SREGS2,
	K_NESTED,
	K_REGS,
	K_XSAVE,
	K_XCRS,
	K_DEBUGREGS,
	K_TSC_OFFSET,
	K_LAPIC, /* from here on: STATE_REST */
	K_MSRS,
	K_MP_STATE,
	K_EVENTS,
};

/* In the order of loading. */
static const struct kind kinds[STATE_VCPU_KINDS] = {
	[K_SREGS] = {SECTION_SREGS, "KVM_GET_SREGS", "KVM_SET_SREGS", sregs_size, get_sregs,
		     set_sregs, false},
	[K_SREGS2] = {SECTION_SREGS2, "KVM_GET_SREGS2", "KVM_SET_SREGS2", sregs2_size, get_sregs2,
		      set_sregs2, false},
	[K_NESTED] = {SECTION_NESTED, "KVM_GET_NESTED_STATE", "KVM_SET_NESTED_STATE", nested_size,
		      get_nested, set_nested, true},
	[K_REGS] = {SECTION_REGS, "KVM_GET_REGS", "KVM_SET_REGS", regs_size, get_regs, set_regs,
		    false},
	[K_XSAVE] = {SECTION_XSAVE, "KVM_GET_XSAVE2", "KVM_SET_XSAVE", xsave_size, get_xsave,
		     set_xsave, true},
	[K_XCRS] = {SECTION_XCRS, "KVM_GET_XCRS", "KVM_SET_XCRS", xcrs_size, get_xcrs, set_xcrs,
		    true},
	[K_DEBUGREGS] = {SECTION_DEBUGREGS, "KVM_GET_DEBUGREGS", "KVM_SET_DEBUGREGS",
			 debugregs_size, get_debugregs, set_debugregs, true},
	[K_TSC_OFFSET] = {SECTION_TSC_OFFSET, "reading the TSC offset", "setting the TSC offset",
			  tsc_offset_size, get_tsc_offset, set_tsc_offset, true},
	[K_LAPIC] = {SECTION_LAPIC, "KVM_GET_LAPIC", "KVM_SET_LAPIC", lapic_size, get_lapic,
		     set_lapic, false},
	[K_MSRS] = {SECTION_MSRS, "KVM_GET_MSRS", "KVM_SET_MSRS", msrs_size, get_msrs, set_msrs,
		    false},
	[K_MP_STATE] = {SECTION_MP_STATE, "KVM_GET_MP_STATE", "KVM_SET_MP_STATE", mp_state_size,
			get_mp_state, set_mp_state, false},
	[K_EVENTS] = {SECTION_EVENTS, "KVM_GET_VCPU_EVENTS", "KVM_SET_VCPU_EVENTS", events_size,
		      get_events, set_events, false},
};

/* In the order of saving. */
#define N_FIRST 9
static const unsigned save_order[STATE_VCPU_KINDS] = {
	K_MP_STATE,  K_REGS,	   K_SREGS,  K_SREGS2, K_XSAVE, K_XCRS,
	K_DEBUGREGS, K_TSC_OFFSET, K_NESTED, K_LAPIC,  K_MSRS,	K_EVENTS,
};

const struct state_kind state_kinds[] = {
	{SECTION_MP_STATE, 1, 1, "mp-state"},	{SECTION_REGS, 1, 1, "regs"},
	{SECTION_SREGS, 1, 1, "sregs"},		{SECTION_SREGS2, 1, 1, "sregs2"},
	{SECTION_XSAVE, 1, 1, "xsave"},		{SECTION_XCRS, 1, 1, "xcrs"},
	{SECTION_DEBUGREGS, 1, 1, "debugregs"}, {SECTION_LAPIC, 1, 1, "lapic"},
	{SECTION_MSRS, 1, 1, "msrs"},		{SECTION_TSC_OFFSET, 1, 1, "tsc-offset"},
	{SECTION_NESTED, 1, 1, "nested"},	{SECTION_EVENTS, 1, 1, "events"},
	{SECTION_IRQCHIP, 1, 1, "irqchip"},	{SECTION_PIT, 1, 1, "pit"},
	{SECTION_CLOCK, 1, 1, "clock"},		{0, 0, 0, NULL},
};

bool state_is_written(const struct vmr_vm *vm, uint32_t type)
{
	switch (type) {
	case SECTION_IRQCHIP:
		return vm->has_irqchip;
	case SECTION_PIT:
		return vm->has_pit;
	case SECTION_CLOCK:
		return vm->features.clock;
	default:
		for (unsigned k = 0; k < STATE_VCPU_KINDS; k++)
			if (kinds[k].type == type)
				return kinds[k].size(vm) > 0;
		return false;
	}
}

size_t state_vcpu_size(const struct vmr_vm *vm)
{
	size_t size = 0;

	for (unsigned k = 0; k < STATE_VCPU_KINDS; k++)
		if (kinds[k].size(vm) > 0)
			size += SECTION_SPACE(kinds[k].size(vm));
	return size;
}

static int kind_error(struct vmr_error *ret_error, int code, const char *step, unsigned index)
{
	char object[20];

	(void)snprintf(object, sizeof(object), "vCPU %u", index);
	return error_set(ret_error, code, step, object, NULL);
}

int state_save_vcpu(const struct vmr_vm *vm, unsigned index, enum state_part part,
		    struct section_writer *w, struct vmr_error *ret_error)
{
	const unsigned end = part == STATE_FIRST ? N_FIRST : STATE_VCPU_KINDS;

	for (unsigned i = part == STATE_FIRST ? 0 : N_FIRST; i < end; i++) {
		const struct kind *kind = &kinds[save_order[i]];
		uint32_t size = kind->size(vm);

		if (size == 0)
			continue;

		void *payload = section_begin(w, kind->type, index, 1, 1, 0, size);
		int len = payload ? kind->get(vm, vm->vcpus[index].fd, payload) : -ENOSPC;

		if (len >= 0 && (uint32_t)len > size)
			len = -E2BIG;
		if (len < 0)
			return kind_error(ret_error, len, kind->get_name, index);
		section_end(w, (size_t)len);
	}
	return 0;
}

/* The checks that depend on the kind; the length is already at most the kind's size. */
static bool payload_is_sound(const struct vmr_vm *vm, unsigned k, const void *payload, uint32_t len)
{
	if (k == K_NESTED) {
		const struct kvm_nested_state *nested = payload;

		return len >= sizeof(*nested) && nested->size == len;
	}
	if (len != kinds[k].size(vm))
		return false;
	if (k == K_MSRS) {
		const struct kvm_msrs *msrs = payload, *known = vm->features.msrs;

		if (msrs->nmsrs != known->nmsrs)
			return false;
		for (uint32_t i = 0; i < known->nmsrs; i++)
			if (msrs->entries[i].index != known->entries[i].index)
				return false;
	}
	return true;
}

int state_parse_vcpu(const struct vmr_vm *vm, enum state_part part, const void *sections,
		     size_t len, struct state_vcpu *state, struct vmr_error *ret_error)
{
	const unsigned needed = part == STATE_FIRST ? K_LAPIC : STATE_VCPU_KINDS;
	struct section_reader r = {sections, len};
	struct section s;
	int more;

	while ((more = section_next(&r, &s)) > 0) {
		unsigned k = 0;

		while (k < STATE_VCPU_KINDS && kinds[k].type != s.header.type)
			k++;
		if ((s.header.flags & SECTION_OPTIONAL) &&
		    (k == STATE_VCPU_KINDS || s.header.min_version > 1))
			continue;
		if (k == STATE_VCPU_KINDS)
			return error_set(ret_error, -EBADMSG, "load", "vCPU state",
					 "the state of a vCPU has a section of unknown type 0x%x",
					 s.header.type);
		if (state->payload[k] || s.header.min_version > 1 || kinds[k].size(vm) == 0 ||
		    s.header.length > kinds[k].size(vm) ||
		    !payload_is_sound(vm, k, s.payload, s.header.length))
			return error_set(ret_error, -EBADMSG, "load", "vCPU state",
					 "the state for %s is malformed", kinds[k].set_name);
		state->payload[k] = s.payload;
		state->length[k] = s.header.length;
	}
	if (more < 0)
		return error_set(ret_error, more, "load", "vCPU state",
				 "the state of a vCPU is malformed");
	for (unsigned k = 0; k < needed; k++)
		if (!state->payload[k] && kinds[k].size(vm) > 0)
			return error_set(ret_error, -EBADMSG, "load", "vCPU state",
					 "the state of a vCPU lacks what %s needs",
					 kinds[k].set_name);
	return 0;
}

int state_load_vcpu(const struct vmr_vm *vm, unsigned index, enum state_part part,
		    const struct state_vcpu *state, const struct state_vcpu *fresh,
		    struct vmr_error *ret_error)
{
	const unsigned end = part == STATE_FIRST ? K_LAPIC : STATE_VCPU_KINDS;

	for (unsigned k = part == STATE_FIRST ? 0 : K_LAPIC; k < end; k++) {
		if (!state->payload[k])
			continue;
		if (fresh && kinds[k].skip_if_fresh && state->length[k] == fresh->length[k] &&
		    memcmp(state->payload[k], fresh->payload[k], state->length[k]) == 0)
			continue;

		int r = kinds[k].set(vm, vm->vcpus[index].fd, state->payload[k], state->length[k]);

		if (r < 0)
			return kind_error(ret_error, r, kinds[k].set_name, index);
	}
	return 0;
}

/*
 * MSRs that have state but are not in KVM_GET_MSR_INDEX_LIST: MTRRs, machine-check banks, XFD, XSS.
 * Whether KVM has them is asked one by one.
 */
static unsigned extra_msrs(uint32_t indices[static 256], uint64_t mcg_cap)
{
	static const uint32_t single[] = {0x2ff, 0x250, 0x258, 0x259,	   0x1c4,
					  0x1c5, 0xda0, 0x48,  0xc0000103, 0xc0000104};
	unsigned n = 0, banks = (unsigned)(mcg_cap & 0xff);

	for (unsigned i = 0; i < ARRAY_SIZE(single); i++)
		indices[n++] = single[i];
	for (uint32_t msr = 0x200; msr <= 0x20f; msr++)
		indices[n++] = msr;
	for (uint32_t msr = 0x268; msr <= 0x26f; msr++)
		indices[n++] = msr;
	for (uint32_t bank = 0; bank < banks && bank < 32; bank++) {
		for (uint32_t i = 0; i < 4; i++)
			indices[n++] = 0x400 + 4 * bank + i;
		indices[n++] = 0x280 + bank;
	}
	return n;
}

/* Does KVM let this MSR of a fresh vCPU be read, and set to what it is? */
static bool msr_is_state(int vcpu_fd, uint32_t index, uint64_t *ret)
{
	union {
		struct kvm_msrs msrs;
		uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} one = {.msrs = {.nmsrs = 1}};

	one.msrs.entries[0].index = index;
	if (kvm_vcpu_get_msrs(vcpu_fd, &one.msrs) != 1 ||
	    kvm_vcpu_set_msrs(vcpu_fd, &one.msrs) != 1)
		return false;
	*ret = one.msrs.entries[0].data;
	return true;
}

static bool contains(const struct kvm_msrs *msrs, uint32_t index)
{
	for (uint32_t i = 0; i < msrs->nmsrs; i++)
		if (msrs->entries[i].index == index)
			return true;
	return false;
}

static void add_msr(struct kvm_msrs *msrs, int vcpu_fd, uint32_t index)
{
	uint64_t data;

	if (msrs->nmsrs < VM_MSRS_MAX && !contains(msrs, index) &&
	    msr_is_state(vcpu_fd, index, &data)) {
		struct kvm_msr_entry *entry = &msrs->entries[msrs->nmsrs++];

		entry->index = index;
		entry->data = data;
	}
}

static struct kvm_msrs *new_msrs(void)
{
	struct kvm_msrs *msrs;

	return calloc(1, sizeof(*msrs) + VM_MSRS_MAX * sizeof(msrs->entries[0]));
}

static struct kvm_msr_list *new_msr_list(void)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + VM_MSRS_MAX * sizeof(uint32_t));

	if (list)
		list->nmsrs = VM_MSRS_MAX;
	return list;
}

static int probe_feature_msrs(struct vmr_vm *vm, struct vmr_error *ret_error)
{
	autofree struct kvm_msr_list *list = new_msr_list();
	int r = list ? kvm_system_get_msr_feature_index_list(vm->kvm_fd, list) : 0;

	for (unsigned i = 0; list && i < vm->n_vcpus; i++) {
		struct kvm_msrs *msrs = new_msrs();

		if (!msrs)
			break;
		free(vm->vcpus[i].feature_msrs);
		vm->vcpus[i].feature_msrs = msrs;
		/* Where KVM has no such list (before 4.17), there are none. */
		for (uint32_t k = 0; r >= 0 && k < list->nmsrs; k++)
			add_msr(msrs, vm->vcpus[i].fd, list->indices[k]);
	}
	return vm->vcpus[vm->n_vcpus - 1].feature_msrs
		       ? 0
		       : error_set(ret_error, -ENOMEM, "allocation", "MSR list", NULL);
}

int state_set_feature_msrs(struct vmr_vm *vm, unsigned index, const struct kvm_msrs *msrs,
			   struct vmr_error *ret_error)
{
	size_t size = sizeof(*msrs) + msrs->nmsrs * sizeof(msrs->entries[0]);
	autofree struct kvm_msrs *copy = malloc(size);
	int r;

	if (!copy)
		return error_set(ret_error, -ENOMEM, "allocation", "MSR list", NULL);
	memcpy(copy, msrs, size);
	r = kvm_vcpu_set_msrs(vm->vcpus[index].fd, copy);
	if (r < 0)
		return error_set(ret_error, r, "KVM_SET_MSRS", "vCPU", NULL);
	if ((uint32_t)r != copy->nmsrs)
		return error_set(ret_error, -ENOTSUP, "KVM_SET_MSRS", "vCPU",
				 "the target's KVM does not take the guest's value of feature MSR "
				 "0x%x",
				 copy->entries[r].index);
	vm->vcpus[index].feature_msrs = steal_ptr(copy);
	return 0;
}

static int probe_msrs(struct vmr_vm *vm, struct vmr_error *ret_error)
{
	/* Set first: it decides which others may be set.  Set last: they start something. */
	static const uint32_t last[] = {MSR_PERF_GLOBAL_CTRL, MSR_TSC_DEADLINE};
	const struct vm_vcpu *vcpu = &vm->vcpus[0];
	autofree struct kvm_msr_list *list = new_msr_list();
	autofree struct kvm_msrs *msrs = new_msrs();
	uint32_t extra[256];
	unsigned n_extra = extra_msrs(extra, vcpu->has_mce ? vcpu->mcg_cap : 0);

	if (!list || !msrs)
		return error_set(ret_error, -ENOMEM, "allocation", "MSR list", NULL);

	int r = kvm_system_get_msr_index_list(vm->kvm_fd, list);

	if (r < 0) {
		/* cppcheck-suppress memleak ; autofree */
		return error_set(ret_error, r, "KVM_GET_MSR_INDEX_LIST", "/dev/kvm", NULL);
	}
	add_msr(msrs, vcpu->fd, MSR_FEATURE_CONTROL);
	for (uint32_t i = 0; i < list->nmsrs + n_extra; i++) {
		uint32_t index = i < list->nmsrs ? list->indices[i] : extra[i - list->nmsrs];

		if ((index == MSR_TSC && vm->features.tsc_offset) || index == MSR_MTRR_CAP ||
		    index == MSR_MCG_CAP || index == MSR_AMD64_SYSCFG || index == last[0] ||
		    index == last[1])
			continue;
		add_msr(msrs, vcpu->fd, index);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(last); i++)
		add_msr(msrs, vcpu->fd, last[i]);
	vm->features.msrs = steal_ptr(msrs);
	return 0;
}

/* The source's list: every MSR of it must be readable here, and settable to what it is. */
static int adopt_msrs(struct vmr_vm *vm, const uint32_t *indices, unsigned n,
		      struct vmr_error *ret_error)
{
	autofree struct kvm_msrs *msrs = calloc(1, sizeof(*msrs) + n * sizeof(msrs->entries[0]));

	if (!msrs)
		return error_set(ret_error, -ENOMEM, "allocation", "MSR list", NULL);
	msrs->nmsrs = n;
	for (unsigned i = 0; i < n; i++)
		msrs->entries[i].index = indices[i];

	int r = kvm_vcpu_get_msrs(vm->vcpus[0].fd, msrs);

	if (r == (int)n)
		r = kvm_vcpu_set_msrs(vm->vcpus[0].fd, msrs);
	if (r < 0)
		return error_set(ret_error, r, "KVM_GET_MSRS", "vCPU 0", NULL);
	if (r != (int)n)
		return error_set(ret_error, -ENOTSUP, "KVM_GET_MSRS", "vCPU 0",
				 "the target's KVM lacks MSR 0x%x, which the guest has",
				 indices[r]);
	vm->features.msrs = steal_ptr(msrs);
	return 0;
}

/* What KVM cannot tell is not taken for absent: the state would stay behind. */
static int probe_caps(struct vmr_vm *vm, int *ret_nested, struct vmr_error *ret_error)
{
	struct vm_features *f = &vm->features;
	int xsave2, sregs2, xcrs, debugregs, clock;
	const struct {
		unsigned cap;
		int *value;
	} caps[] = {
		{KVM_CAP_XSAVE2, &xsave2},	{KVM_CAP_SREGS2, &sregs2},
		{KVM_CAP_XCRS, &xcrs},		{KVM_CAP_DEBUGREGS, &debugregs},
		{KVM_CAP_ADJUST_CLOCK, &clock}, {KVM_CAP_NESTED_STATE, ret_nested},
	};

	for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
		int value = kvm_vm_check_extension(vm->vm_fd, caps[i].cap);

		if (value < 0) {
			(void)error_set(ret_error, value, "KVM_CHECK_EXTENSION", "VM", NULL);
			return value;
		}
		*caps[i].value = value;
	}
	f->sregs2 = sregs2 > 0;
	f->xcrs = xcrs > 0;
	f->debugregs = debugregs > 0;
	f->clock = clock > 0;
	f->clock_realtime = clock & KVM_CLOCK_REALTIME;
	f->xsave2 = xsave2 >= (int)sizeof(struct kvm_xsave);
	f->xsave_size = f->xsave2 ? (uint32_t)xsave2 : sizeof(struct kvm_xsave);
	return 0;
}

int state_probe(struct vmr_vm *vm, const uint32_t *msrs, unsigned n, struct vmr_error *ret_error)
{
	struct vm_features *f = &vm->features;
	int nested, r = probe_caps(vm, &nested, ret_error);

	if (r < 0)
		return r;
	f->tsc_offset = kvm_vcpu_has_tsc_offset(vm->vcpus[0].fd) == 0;
	f->nested_size = nested > 0 && vm_cpuid_has_nested(vm->vcpus[0].cpuid) && is_readable(vm)
				 ? (uint32_t)nested
				 : 0;
	if (f->xsave_size > VM_XSAVE_SIZE_MAX || f->nested_size > VM_NESTED_SIZE_MAX)
		return error_set(ret_error, -E2BIG, "probe", "vCPU state",
				 "KVM's vCPU state is larger than this library expects");
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		int khz = kvm_vcpu_get_tsc_khz(vm->vcpus[i].fd);

		vm->vcpus[i].tsc_khz = khz > 0 ? (uint32_t)khz : 0;
	}
	if (msrs)
		return adopt_msrs(vm, msrs, n, ret_error);

	r = probe_msrs(vm, ret_error);
	return r < 0 ? r : probe_feature_msrs(vm, ret_error);
}

int vmr_vm_complete(struct vmr_vm *vm, struct vmr_error *ret_error)
{
	if (vm->is_complete || vm->n_vcpus == 0)
		return error_set(ret_error, -EINVAL, "complete", "VM",
				 "the VM has no vCPU or is already complete");

	int r = state_probe(vm, NULL, 0, ret_error);

	vm->is_complete = r == 0;
	return r;
}
