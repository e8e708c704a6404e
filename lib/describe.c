/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The machine description: a VM's record as sections, and back. */
#include "describe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <vmrelay/memory.h>

#include "error.h"
#include "fault.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "preflight.h"
#include "state.h"

enum {
	MACHINE_IRQCHIP = 1U << 0,
	MACHINE_PIT = 1U << 1,
	MACHINE_PIT_REINJECT = 1U << 2,
	MACHINE_TSS_ADDR = 1U << 3,
	MACHINE_IDENTITY_MAP_ADDR = 1U << 4,
};

struct wire_machine {
	uint64_t vm_type;
	uint64_t identity_map_addr;
	uint32_t tss_addr;
	uint32_t pit_flags;
	uint32_t flags;
	uint32_t n_vcpus;
};

struct wire_memory {
	uint64_t gpa;
	uint64_t size;
	uint64_t offset;
	uint32_t slot;
	uint32_t flags;
	uint32_t fd;
	uint32_t reserved;
};

struct wire_sev {
	uint32_t kind; /* enum vmr_confidential */
	uint32_t handle;
	uint32_t policy;
	uint32_t reserved;
	struct preflight_host host;
};

struct wire_irqfd {
	uint32_t fd;
	uint32_t resample_fd;
	uint32_t gsi;
	uint32_t reserved;
};

#define NO_FD UINT32_MAX

struct wire_ioeventfd {
	uint64_t datamatch;
	uint64_t addr;
	uint32_t len;
	uint32_t flags;
	uint32_t fd;
	uint32_t reserved;
};

struct wire_vcpu {
	uint64_t mcg_cap;
	uint32_t id;
	uint32_t has_mce;
	uint32_t tsc_khz;
	uint32_t reserved;
};

struct wire_cap {
	uint32_t cap;
	uint32_t value;
};

/*
 * Capabilities that the state of a guest depends on, and how the target's value must relate to the
 * source's.
 */
enum cap_rule {
	CAP_PRESENT, /* non-zero */
	CAP_EQUAL,
	CAP_AT_LEAST,
	CAP_BITS, /* every bit of the source */
};

static const struct {
	unsigned cap;
	enum cap_rule rule;
} state_caps[] = {
	{KVM_CAP_IRQCHIP, CAP_PRESENT},	      {KVM_CAP_MP_STATE, CAP_PRESENT},
	{KVM_CAP_PIT2, CAP_PRESENT},	      {KVM_CAP_PIT_STATE2, CAP_PRESENT},
	{KVM_CAP_IRQ_ROUTING, CAP_PRESENT},   {KVM_CAP_MCE, CAP_AT_LEAST},
	{KVM_CAP_IRQFD, CAP_PRESENT},	      {KVM_CAP_IOEVENTFD, CAP_PRESENT},
	{KVM_CAP_ADJUST_CLOCK, CAP_BITS},     {KVM_CAP_VCPU_EVENTS, CAP_PRESENT},
	{KVM_CAP_DEBUGREGS, CAP_PRESENT},     {KVM_CAP_XSAVE, CAP_PRESENT},
	{KVM_CAP_XCRS, CAP_PRESENT},	      {KVM_CAP_TSC_CONTROL, CAP_PRESENT},
	{KVM_CAP_X86_SMM, CAP_PRESENT},	      {KVM_CAP_IMMEDIATE_EXIT, CAP_PRESENT},
	{KVM_CAP_NESTED_STATE, CAP_AT_LEAST}, {KVM_CAP_SREGS2, CAP_PRESENT},
	{KVM_CAP_XSAVE2, CAP_EQUAL},
};

static enum cap_rule rule_of(unsigned cap)
{
	for (unsigned i = 0; i < ARRAY_SIZE(state_caps); i++)
		if (state_caps[i].cap == cap)
			return state_caps[i].rule;
	return CAP_PRESENT; /* one that the VMM enabled */
}

int fd_list_add(struct fd_list *list, int fd)
{
	int *grown;

	if (list->n >= DESCRIBE_FDS_MAX)
		return -E2BIG;
	grown = reallocarray(list->fd, list->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	list->fd = grown;
	list->fd[list->n] = fd;
	return (int)list->n++;
}

int describe_check(const struct vmr_vm *vm, struct vmr_error *ret_error)
{
	if (!vm->is_complete)
		return error_set(ret_error, -EINVAL, "describe", "VM",
				 "the VM was never completed, so its state is not known");
	for (unsigned i = 0; i < vm->caps.n; i++)
		if (vm->caps.cap[i].cap == KVM_CAP_SPLIT_IRQCHIP)
			return error_set(ret_error, -EOPNOTSUPP, "describe", "VM",
					 "a VM with a split irqchip cannot be relayed by this "
					 "version");
	if (vm->sev.kind != VMR_CONFIDENTIAL_NONE && !vm->sev.is_launched)
		return error_set(ret_error, -EBUSY, "describe", "VM",
				 "the confidential guest is still being launched");
	if (vm->sev.is_bound)
		return error_set(
			ret_error, -EOPNOTSUPP, "describe", "VM",
			"this host's KVM cannot go on with a VM made with KVM_SEV_INIT2 after a "
			"move; one made with KVM_SEV_INIT or KVM_SEV_ES_INIT could be relayed");
	for (unsigned i = 0; i < vm->n_slots; i++) {
		const struct vmr_memory_slot *s = &vm->slots[i].slot;
		int r = vmr_memory_check(s->fd, s->offset, s->size, ret_error);

		if (r < 0)
			return r;
	}
	return 0;
}

size_t describe_size(const struct vmr_vm *vm)
{
	size_t size = SECTION_SPACE(sizeof(struct wire_machine)) +
		      SECTION_SPACE(sizeof(struct wire_sev)) +
		      (vm->caps.n + VM_CAPS_MAX) * SECTION_SPACE(sizeof(struct kvm_enable_cap)) +
		      vm->n_slots * SECTION_SPACE(sizeof(struct wire_memory)) +
		      vm->n_irqfds * SECTION_SPACE(sizeof(struct wire_irqfd)) +
		      vm->n_ioeventfds * SECTION_SPACE(sizeof(struct wire_ioeventfd)) +
		      SECTION_SPACE(sizeof(struct kvm_irq_routing) +
				    VM_ROUTES_MAX * sizeof(struct kvm_irq_routing_entry)) +
		      SECTION_SPACE((VM_MSRS_MAX + 1) * sizeof(uint32_t));

	for (unsigned i = 0; i < vm->n_vcpus; i++)
		size += SECTION_SPACE(sizeof(struct wire_vcpu)) +
			vm->vcpus[i].caps.n * SECTION_SPACE(sizeof(struct kvm_enable_cap)) +
			SECTION_SPACE(sizeof(struct kvm_cpuid2) +
				      VM_CPUID_MAX * sizeof(struct kvm_cpuid_entry2)) +
			SECTION_SPACE(sizeof(struct kvm_msrs) +
				      VM_MSRS_MAX * sizeof(struct kvm_msr_entry));
	return size;
}

static int write_required_caps(const struct vmr_vm *vm, struct section_writer *w)
{
	struct wire_cap caps[ARRAY_SIZE(state_caps) + VM_CAPS_MAX + 1];
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(state_caps) + vm->caps.n; i++) {
		unsigned cap = i < ARRAY_SIZE(state_caps)
				       ? state_caps[i].cap
				       : vm->caps.cap[i - ARRAY_SIZE(state_caps)].cap;
		int value = kvm_vm_check_extension(vm->vm_fd, cap);

		if (value < 0)
			return value;
		if (value > 0 && n < ARRAY_SIZE(caps) - 1)
			caps[n++] = (struct wire_cap){cap, (uint32_t)value};
	}
	if (fault_is_set("require-cap"))
		caps[n++] = (struct wire_cap){9999, 1};
	return section_put(w, SECTION_REQUIRED_CAPS, 0, caps, n * sizeof(caps[0]));
}

static int write_required_msrs(const struct vmr_vm *vm, struct section_writer *w)
{
	const struct kvm_msrs *msrs = vm->features.msrs;
	uint32_t indices[VM_MSRS_MAX + 1];
	unsigned n = 0;

	while (n < msrs->nmsrs) {
		indices[n] = msrs->entries[n].index;
		n++;
	}
	if (fault_is_set("require-msr"))
		indices[n++] = 0xc0ffee;
	return section_put(w, SECTION_REQUIRED_MSRS, 0, indices, n * sizeof(indices[0]));
}

static int write_caps(struct section_writer *w, uint32_t type, uint32_t instance,
		      const struct vm_caps *caps)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < caps->n; i++)
		r = section_put(w, type, instance, &caps->cap[i], sizeof(caps->cap[i]));
	return r;
}

static int write_memory(const struct vmr_vm *vm, struct section_writer *w, struct fd_list *fds)
{
	for (unsigned i = 0; i < vm->n_slots; i++) {
		const struct vmr_memory_slot *s = &vm->slots[i].slot;
		int fd = fd_list_add(fds, s->fd);
		const struct wire_memory memory = {
			.gpa = s->gpa,
			.size = s->size,
			.offset = s->offset,
			.slot = s->slot,
			.flags = s->flags,
			.fd = (uint32_t)fd,
		};

		int r = fd < 0 ? fd
			       : section_put(w, SECTION_MEMORY, s->slot, &memory, sizeof(memory));
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_eventfds(const struct vmr_vm *vm, struct section_writer *w, struct fd_list *fds)
{
	for (unsigned i = 0; i < vm->n_irqfds; i++) {
		const struct vm_irqfd *irqfd = &vm->irqfds[i];
		int fd = fd_list_add(fds, irqfd->event_fd);
		int resample_fd = 0;

		if (irqfd->resample_fd >= 0)
			resample_fd = fd_list_add(fds, irqfd->resample_fd);
		if (fd < 0 || resample_fd < 0)
			return fd < 0 ? fd : resample_fd;

		const struct wire_irqfd wire = {
			.fd = (uint32_t)fd,
			.resample_fd = irqfd->resample_fd >= 0 ? (uint32_t)resample_fd : NO_FD,
			.gsi = irqfd->gsi,
		};
		int r = section_put(w, SECTION_IRQFD, i, &wire, sizeof(wire));

		if (r < 0)
			return r;
	}
	for (unsigned i = 0; i < vm->n_ioeventfds; i++) {
		const struct kvm_ioeventfd *ioeventfd = &vm->ioeventfds[i];
		int fd = fd_list_add(fds, ioeventfd->fd);
		const struct wire_ioeventfd wire = {
			.datamatch = ioeventfd->datamatch,
			.addr = ioeventfd->addr,
			.len = ioeventfd->len,
			.flags = ioeventfd->flags,
			.fd = (uint32_t)fd,
		};
		int r = fd < 0 ? fd : section_put(w, SECTION_IOEVENTFD, i, &wire, sizeof(wire));

		if (r < 0)
			return r;
	}
	return 0;
}

static int write_sev(const struct vm_sev *sev, struct section_writer *w,
		     struct vmr_error *ret_error)
{
	struct wire_sev wire = {
		.kind = sev->kind,
		.handle = sev->handle,
		.policy = sev->policy,
	};
	int r = preflight_this_host(&wire.host, ret_error);

	if (r < 0)
		return r;
	if (fault_is_set("other-boot"))
		wire.host.boot_id[0] ^= 1;
	else if (fault_is_set("other-kernel"))
		wire.host.kernel[0] ^= 1;
	r = section_put(w, SECTION_SEV, 0, &wire, sizeof(wire));
	return r < 0 ? error_set(ret_error, r, "describe", "VM", NULL) : 0;
}

static int write_vcpu(const struct vm_vcpu *vcpu, uint32_t index, struct section_writer *w)
{
	const struct wire_vcpu wire = {
		.mcg_cap = vcpu->mcg_cap,
		.id = vcpu->id,
		.has_mce = vcpu->has_mce,
		.tsc_khz = vcpu->tsc_khz,
	};
	int r = section_put(w, SECTION_VCPU, index, &wire, sizeof(wire));

	if (r == 0)
		r = write_caps(w, SECTION_VCPU_CAP, index, &vcpu->caps);
	if (r == 0 && vcpu->cpuid)
		r = section_put(w, SECTION_VCPU_CPUID, index, vcpu->cpuid,
				sizeof(*vcpu->cpuid) +
					vcpu->cpuid->nent * sizeof(vcpu->cpuid->entries[0]));
	if (r == 0)
		r = section_put(w, SECTION_VCPU_FEATURE_MSRS, index, vcpu->feature_msrs,
				sizeof(*vcpu->feature_msrs) +
					vcpu->feature_msrs->nmsrs *
						sizeof(vcpu->feature_msrs->entries[0]));
	return r;
}

int describe_write(const struct vmr_vm *vm, struct section_writer *w, struct fd_list *fds,
		   struct vmr_error *ret_error)
{
	const struct wire_machine machine = {
		.vm_type = vm->type,
		.identity_map_addr = vm->identity_map_addr,
		.tss_addr = vm->tss_addr,
		.pit_flags = vm->pit_config.flags,
		.flags = (vm->has_irqchip ? MACHINE_IRQCHIP : 0) | (vm->has_pit ? MACHINE_PIT : 0) |
			 (vm->pit_reinject ? MACHINE_PIT_REINJECT : 0) |
			 (vm->has_tss_addr ? MACHINE_TSS_ADDR : 0) |
			 (vm->has_identity_map_addr ? MACHINE_IDENTITY_MAP_ADDR : 0),
		.n_vcpus = vm->n_vcpus,
	};
	int r = 0;

	if (vm->sev.kind != VMR_CONFIDENTIAL_NONE)
		r = write_sev(&vm->sev, w, ret_error);
	if (r < 0)
		return r;
	r = section_put(w, SECTION_MACHINE, 0, &machine, sizeof(machine));
	if (r == 0)
		r = write_required_caps(vm, w);
	if (r == 0)
		r = write_caps(w, SECTION_CAP, 0, &vm->caps);
	if (r == 0)
		r = write_memory(vm, w, fds);
	for (unsigned i = 0; r == 0 && i < vm->n_vcpus; i++)
		r = write_vcpu(&vm->vcpus[i], i, w);
	if (r == 0)
		r = write_required_msrs(vm, w);
	if (r == 0 && vm->routing)
		r = section_put(w, SECTION_ROUTING, 0, vm->routing,
				sizeof(*vm->routing) +
					vm->routing->nr * sizeof(vm->routing->entries[0]));
	if (r == 0)
		r = write_eventfds(vm, w, fds);
	if (r < 0)
		return error_set(ret_error, r, "describe", "VM", NULL);
	return 0;
}

/* Building. */

struct builder {
	int kvm_fd;
	int *fds;
	unsigned n_fds;
	struct wire_machine machine;
	struct vmr_vm *vm;
};

static int malformed(const struct section *s, struct vmr_error *ret_error)
{
	return error_set(ret_error, -EBADMSG, "build", "VM",
			 "the machine description is malformed (section 0x%x)", s->header.type);
}

/* Copies a payload of exactly `size` bytes, or fails. */
static bool fixed(const struct section *s, void *to, size_t size)
{
	if (s->header.length != size)
		return false;
	memcpy(to, s->payload, size);
	return true;
}

/* Takes an fd that came with the description; -1 if there is no such fd any more. */
static int take_fd(struct builder *b, uint32_t n)
{
	return n < b->n_fds ? steal_fd(&b->fds[n]) : -1;
}

static int build_machine(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	struct wire_machine *m = &b->machine;

	if (b->vm || !fixed(s, m, sizeof(*m)) || m->n_vcpus == 0 || m->n_vcpus > VM_VCPUS_MAX)
		return malformed(s, ret_error);

	int r = vmr_vm_create(b->kvm_fd, (unsigned long)m->vm_type, &b->vm, ret_error);

	if (r == 0)
		b->vm->owns_eventfds = true;
	return r;
}

static int check_required_caps(struct builder *b, const struct section *s,
			       struct vmr_error *ret_error)
{
	struct wire_cap cap;

	if (s->header.length % sizeof(cap))
		return malformed(s, ret_error);
	for (uint32_t at = 0; at < s->header.length; at += sizeof(cap)) {
		memcpy(&cap, (const uint8_t *)s->payload + at, sizeof(cap));

		int r = kvm_vm_check_extension(b->vm->vm_fd, cap.cap);
		uint32_t have = r > 0 ? (uint32_t)r : 0;
		bool ok = false;

		switch (rule_of(cap.cap)) {
		case CAP_PRESENT:
			ok = have > 0;
			break;
		case CAP_EQUAL:
			ok = have == cap.value;
			break;
		case CAP_AT_LEAST:
			ok = have >= cap.value;
			break;
		case CAP_BITS:
			ok = (cap.value & ~have) == 0;
			break;
		}
		if (!ok)
			return error_set(ret_error, -ENOTSUP, "KVM_CHECK_EXTENSION", "VM",
					 "the target's KVM lacks capability %u (source has %u, "
					 "target %u)",
					 cap.cap, cap.value, have);
	}
	return 0;
}

static int build_cap(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	struct kvm_enable_cap cap;

	if (!fixed(s, &cap, sizeof(cap)) || b->vm->caps.n >= VM_CAPS_MAX)
		return malformed(s, ret_error);
	return vmr_vm_enable_cap(b->vm, &cap, ret_error);
}

/* What the machine section asks for beside the VM itself, between capabilities and vCPUs. */
static int build_chips(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	const struct wire_machine *m = &b->machine;
	const struct kvm_pit_config pit = {.flags = m->pit_flags};
	int r = 0;

	(void)s;
	if (m->flags & MACHINE_TSS_ADDR)
		r = vmr_vm_set_tss_addr(b->vm, m->tss_addr, ret_error);
	if (r == 0 && (m->flags & MACHINE_IDENTITY_MAP_ADDR))
		r = vmr_vm_set_identity_map_addr(b->vm, m->identity_map_addr, ret_error);
	if (r == 0 && (m->flags & MACHINE_IRQCHIP))
		r = vmr_vm_create_irqchip(b->vm, ret_error);
	if (r == 0 && (m->flags & MACHINE_PIT))
		r = vmr_vm_create_pit(b->vm, &pit, m->flags & MACHINE_PIT_REINJECT, ret_error);
	return r;
}

static int build_memory(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	struct wire_memory m;

	if (!fixed(s, &m, sizeof(m)) || m.size == 0 || b->vm->n_slots >= VM_SLOTS_MAX)
		return malformed(s, ret_error);
	for (unsigned i = 0; i < b->vm->n_slots; i++)
		if (b->vm->slots[i].slot.slot == m.slot)
			return malformed(s, ret_error);

	autofd fd = take_fd(b, m.fd);
	struct vmr_memory_slot slot = {
		.slot = m.slot,
		.flags = m.flags,
		.gpa = m.gpa,
		.size = m.size,
		.fd = fd,
		.offset = m.offset,
	};
	int r = fd < 0 ? malformed(s, ret_error)
		       : vmr_memory_check(fd, m.offset, m.size, ret_error);

	if (r == 0)
		r = vmr_memory_map(fd, m.offset, m.size, &slot.hva, ret_error);
	if (r < 0)
		return r;
	/* Its only effect is speed, so a failure is none. */
	(void)vmr_memory_populate(fd, m.offset, slot.hva, m.size);
	r = vmr_vm_set_memory(b->vm, &slot, ret_error);
	if (r < 0) {
		(void)munmap(slot.hva, m.size);
		return r;
	}
	b->vm->slots[b->vm->n_slots - 1].is_ours = true;
	(void)steal_fd(&fd);
	return 0;
}

static int build_vcpu(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	struct wire_vcpu v;
	unsigned index;

	if (!fixed(s, &v, sizeof(v)) || s->header.instance != b->vm->n_vcpus ||
	    b->vm->n_vcpus >= b->machine.n_vcpus)
		return malformed(s, ret_error);

	int r = vmr_vm_create_vcpu(b->vm, v.id, &index, ret_error);

	if (r == 0 && v.has_mce)
		r = vmr_vcpu_setup_mce(b->vm, index, v.mcg_cap, ret_error);
	if (r < 0)
		return r;

	int khz = kvm_vcpu_get_tsc_khz(b->vm->vcpus[index].fd);

	if (v.tsc_khz != 0 && khz != (int)v.tsc_khz) {
		r = kvm_vcpu_set_tsc_khz(b->vm->vcpus[index].fd, v.tsc_khz);
		if (r < 0)
			return error_set(ret_error, r, "KVM_SET_TSC_KHZ", "vCPU",
					 "the target's KVM cannot run a vCPU's TSC at %" PRIu32
					 " kHz",
					 v.tsc_khz);
	}
	return 0;
}

static int build_vcpu_cap(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	struct kvm_enable_cap cap;
	uint32_t index = s->header.instance;

	if (!fixed(s, &cap, sizeof(cap)) || index >= b->vm->n_vcpus ||
	    b->vm->vcpus[index].caps.n >= VM_CAPS_MAX)
		return malformed(s, ret_error);
	return vmr_vcpu_enable_cap(b->vm, index, &cap, ret_error);
}

static int build_cpuid(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	const struct kvm_cpuid2 *cpuid = s->payload;
	uint32_t index = s->header.instance;

	if (s->header.length < sizeof(*cpuid) || index >= b->vm->n_vcpus ||
	    b->vm->vcpus[index].cpuid || cpuid->nent > VM_CPUID_MAX ||
	    s->header.length != sizeof(*cpuid) + cpuid->nent * sizeof(cpuid->entries[0]))
		return malformed(s, ret_error);
	return vmr_vcpu_set_cpuid(b->vm, index, cpuid, ret_error);
}

static int build_msrs(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	uint32_t indices[VM_MSRS_MAX + 1];
	size_t n = s->header.length / sizeof(indices[0]);

	if (s->header.length % sizeof(indices[0]) || n > ARRAY_SIZE(indices) ||
	    b->vm->is_complete || b->vm->n_vcpus != b->machine.n_vcpus)
		return malformed(s, ret_error);
	memcpy(indices, s->payload, s->header.length);

	int r = state_probe(b->vm, indices, (unsigned)n, ret_error);

	b->vm->is_complete = r == 0;
	return r;
}

static int build_feature_msrs(struct builder *b, const struct section *s,
			      struct vmr_error *ret_error)
{
	const struct kvm_msrs *msrs = s->payload;
	uint32_t index = s->header.instance;

	if (s->header.length < sizeof(*msrs) || index >= b->vm->n_vcpus ||
	    b->vm->vcpus[index].feature_msrs || msrs->nmsrs > VM_MSRS_MAX ||
	    s->header.length != sizeof(*msrs) + msrs->nmsrs * sizeof(msrs->entries[0]))
		return malformed(s, ret_error);
	return state_set_feature_msrs(b->vm, index, msrs, ret_error);
}

/*
 * The VM stays as it is, without an ASID, until KVM moves the source's context to it.  That KVM has
 * the call it says on every x86 (section 7.30); whether it works shows with a VM that has SEV.
 */
static int build_sev(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	struct wire_sev wire;

	if (!fixed(s, &wire, sizeof(wire)) || b->vm->sev.kind != VMR_CONFIDENTIAL_NONE ||
	    (wire.kind != VMR_CONFIDENTIAL_SEV && wire.kind != VMR_CONFIDENTIAL_SEV_ES) ||
	    !sev_type_fits(b->vm->type, (enum vmr_confidential)wire.kind))
		return malformed(s, ret_error);

	int r = preflight_same_host(&wire.host, ret_error);

	if (r < 0)
		return r;
	if (kvm_vm_check_extension(b->vm->vm_fd, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM) <= 0)
		return error_set(ret_error, -ENOTSUP, "KVM_CHECK_EXTENSION", "VM",
				 "the target's KVM cannot take over a confidential guest "
				 "(KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, Linux 5.16)");
	b->vm->sev = (struct vm_sev){
		.kind = (enum vmr_confidential)wire.kind,
		.fd = -1,
		.handle = wire.handle,
		.policy = wire.policy,
		.is_launched = true,
		.n_vmsas = b->machine.n_vcpus,
		.is_moved = true,
	};
	return 0;
}

static int build_routing(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	const struct kvm_irq_routing *routing = s->payload;

	if (s->header.length < sizeof(*routing) || routing->nr > VM_ROUTES_MAX ||
	    s->header.length != sizeof(*routing) + routing->nr * sizeof(routing->entries[0]))
		return malformed(s, ret_error);
	return vmr_vm_set_gsi_routing(b->vm, routing, ret_error);
}

/* An irqfd goes into the record only: until the stop, the eventfd is the source's. */
static int build_irqfd(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	struct vmr_vm *vm = b->vm;
	struct wire_irqfd wire;

	if (!fixed(s, &wire, sizeof(wire)) || vm->n_irqfds >= VM_EVENTFDS_MAX)
		return malformed(s, ret_error);

	struct vm_irqfd *grown = reallocarray(vm->irqfds, vm->n_irqfds + 1, sizeof(vm->irqfds[0]));

	if (!grown)
		return error_set(ret_error, -ENOMEM, "allocation", "VM record", NULL);
	vm->irqfds = grown;

	struct vm_irqfd irqfd = {
		.event_fd = take_fd(b, wire.fd),
		.resample_fd = wire.resample_fd == NO_FD ? -1 : take_fd(b, wire.resample_fd),
		.gsi = wire.gsi,
	};

	vm->irqfds[vm->n_irqfds++] = irqfd;
	/* vm_bind_irqfds() drains it while the guest is stopped: it must not block there. */
	if (irqfd.event_fd < 0 || (wire.resample_fd != NO_FD && irqfd.resample_fd < 0) ||
	    !(fcntl(irqfd.event_fd, F_GETFL) & O_NONBLOCK))
		return malformed(s, ret_error);
	return 0;
}

static int build_ioeventfd(struct builder *b, const struct section *s, struct vmr_error *ret_error)
{
	struct wire_ioeventfd wire;

	if (!fixed(s, &wire, sizeof(wire)) || b->vm->n_ioeventfds >= VM_EVENTFDS_MAX)
		return malformed(s, ret_error);

	autofd fd = take_fd(b, wire.fd);

	if (fd < 0)
		return malformed(s, ret_error);

	const struct kvm_ioeventfd ioeventfd = {
		.datamatch = wire.datamatch,
		.addr = wire.addr,
		.len = wire.len,
		.fd = fd,
		.flags = wire.flags,
	};
	int r = vmr_vm_add_ioeventfd(b->vm, &ioeventfd, ret_error);

	if (r == 0)
		(void)steal_fd(&fd);
	return r;
}

/* In the order in which KVM wants the calls; the order in the blob does not matter. */
static const struct step {
	uint32_t type;
	int (*build)(struct builder *b, const struct section *s, struct vmr_error *ret_error);
} steps[] = {
	{SECTION_MACHINE, build_machine},
	{SECTION_REQUIRED_CAPS, check_required_caps},
	{SECTION_CAP, build_cap},
	{SECTION_SEV, build_sev},
	{SECTION_MACHINE, build_chips},
	{SECTION_MEMORY, build_memory},
	{SECTION_VCPU, build_vcpu},
	{SECTION_VCPU_CAP, build_vcpu_cap},
	{SECTION_VCPU_CPUID, build_cpuid},
	{SECTION_REQUIRED_MSRS, build_msrs},
	{SECTION_VCPU_FEATURE_MSRS, build_feature_msrs},
	{SECTION_ROUTING, build_routing},
	{SECTION_IOEVENTFD, build_ioeventfd},
	{SECTION_IRQFD, build_irqfd},
};

static bool is_known(uint32_t type)
{
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++)
		if (steps[i].type == type)
			return true;
	return type == SECTION_VMM_FD || type >= SECTION_VMM_FIRST;
}

static int check_sections(const void *description, size_t len, struct vmr_error *ret_error)
{
	struct section_reader r = {description, len};
	struct section s;
	int more;

	while ((more = section_next(&r, &s)) > 0)
		if ((s.header.min_version > 1 || !is_known(s.header.type)) &&
		    s.header.type < SECTION_VMM_FIRST && !(s.header.flags & SECTION_OPTIONAL))
			return error_set(ret_error, -ENOTSUP, "build", "VM",
					 "the machine description has a section of unknown type "
					 "0x%x",
					 s.header.type);
	if (more < 0)
		return error_set(ret_error, more, "build", "VM",
				 "the machine description is malformed");
	return 0;
}

static bool is_complete(const struct vmr_vm *vm)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		if (!vm->vcpus[i].feature_msrs)
			return false;
	return vm->is_complete;
}

int describe_build(int kvm_fd, const void *description, size_t len, int *fds, unsigned n_fds,
		   struct vmr_vm **ret, struct vmr_error *ret_error)
{
	struct builder b = {.kvm_fd = kvm_fd, .fds = fds, .n_fds = n_fds};
	int r = check_sections(description, len, ret_error);

	for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(steps); i++) {
		struct section_reader reader = {description, len};
		struct section s;

		while (r == 0 && section_next(&reader, &s) > 0)
			/* Newer than this reader: optional, or check_sections() had refused it. */
			if (s.header.type == steps[i].type && s.header.min_version <= 1)
				r = steps[i].build(&b, &s, ret_error);
		if (r == 0 && !b.vm)
			r = error_set(ret_error, -EBADMSG, "build", "VM",
				      "the machine description has no machine");
	}
	if (r == 0 && !is_complete(b.vm))
		r = error_set(ret_error, -EBADMSG, "build", "VM",
			      "the machine description is not complete");
	if (r < 0) {
		b.vm = vmr_vm_free(b.vm);
		return r;
	}
	*ret = b.vm;
	return 0;
}

/* Of sections that are as they should be. */

unsigned long describe_vm_type(const void *description, size_t len)
{
	struct section_reader r = {description, len};
	struct wire_machine machine;
	struct section s;

	while (section_next(&r, &s) > 0)
		if (s.header.type == SECTION_MACHINE && fixed(&s, &machine, sizeof(machine)))
			return machine.vm_type;
	return 0;
}

void describe_ring_irqfds(const void *description, size_t len, const int *fds, unsigned n_fds)
{
	const uint64_t one = 1;
	struct section_reader r = {description, len};
	struct wire_irqfd wire;
	struct section s;

	while (section_next(&r, &s) > 0)
		if (s.header.type == SECTION_IRQFD && fixed(&s, &wire, sizeof(wire)) &&
		    wire.fd < n_fds)
			(void)!write(fds[wire.fd], &one, sizeof(one));
}
