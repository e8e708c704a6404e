// SPDX-License-Identifier: GPL-2.0-or-later
/* A VM with one of everything; see machine.h. */
#include "machine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "util.h"

#define N_MSI 4U

const char *machine_why_not(void)
{
	autofd kvm_fd = kvm_system_open();

	if (kvm_fd < 0)
		return "/dev/kvm cannot be opened";

	autofd vm_fd = kvm_system_create_vm(kvm_fd, 0);

	return vm_fd < 0 ? "KVM cannot make a VM" : NULL;
}

#define ok(call)                                                                                   \
	do {                                                                                       \
		if ((call) < 0)                                                                    \
			fail_msg("%s: %s", #call, error.text);                                     \
	} while (0)

static void set_memory(struct machine *machine)
{
	static const struct {
		unsigned object;
		uint32_t slot, flags;
		uint64_t gpa, size, offset;
	} slots[] = {
		{0, 0, 0, 0, 0xa0000, 0},
		{1, 1, 0, 0x100000, 0x80000, 0x1000},
		{1, 7, KVM_MEM_READONLY, 0xfffc0000, 0x40000, 0x90000},
	};
	struct vmr_error error;

	for (unsigned i = 0; i < 2; i++) {
		machine->memory_fd[i] =
			vmr_memory_create(VMR_MEMORY_MEMFD, NULL, MACHINE_RAM_SIZE, &error);
		ok(machine->memory_fd[i]);
		ok(vmr_memory_map(machine->memory_fd[i], 0, MACHINE_RAM_SIZE, &machine->hva[i],
				  &error));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
		const struct vmr_memory_slot slot = {
			.slot = slots[i].slot,
			.flags = slots[i].flags,
			.gpa = slots[i].gpa,
			.size = slots[i].size,
			.fd = machine->memory_fd[slots[i].object],
			.offset = slots[i].offset,
			.hva = (uint8_t *)machine->hva[slots[i].object] + slots[i].offset,
		};

		ok(vmr_vm_set_memory(machine->vm, &slot, &error));
	}
}

/* PIC and I/O APIC as KVM has them by default, and some MSIs. */
static void set_routing(struct machine *machine)
{
	struct vmr_error error;
	autofree struct kvm_irq_routing *routing = calloc(
		1, sizeof(*routing) + (16 + 24 + N_MSI) * sizeof(struct kvm_irq_routing_entry));

	for (uint32_t gsi = 0; gsi < 24; gsi++) {
		if (gsi < 16)
			routing->entries[routing->nr++] = (struct kvm_irq_routing_entry){
				.gsi = gsi,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = {gsi < 8 ? KVM_IRQCHIP_PIC_MASTER
						      : KVM_IRQCHIP_PIC_SLAVE,
					      gsi % 8},
			};
		routing->entries[routing->nr++] = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {KVM_IRQCHIP_IOAPIC, gsi},
		};
	}
	for (uint32_t i = 0; i < N_MSI; i++)
		routing->entries[routing->nr++] = (struct kvm_irq_routing_entry){
			.gsi = MACHINE_GSI_MSI + i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = 0xfee00000, .data = 0x50 + i},
		};
	ok(vmr_vm_set_gsi_routing(machine->vm, routing, &error));
}

static void add_eventfds(struct machine *machine)
{
	int *fd = machine->event_fd;
	struct vmr_error error;

	for (unsigned i = 0; i < MACHINE_N_EVENTS; i++) {
		fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		assert_in_range(fd[i], 0, 1 << 20);
	}
	ok(vmr_vm_add_irqfd(machine->vm, fd[0], 5, -1, &error));
	ok(vmr_vm_add_irqfd(machine->vm, fd[1], 10, fd[2], &error));
	ok(vmr_vm_add_irqfd(machine->vm, fd[3], MACHINE_GSI_MSI, -1, &error));

	const struct kvm_ioeventfd pio = {.datamatch = 3,
					  .addr = 0x510,
					  .len = 2,
					  .fd = fd[4],
					  .flags = KVM_IOEVENTFD_FLAG_PIO |
						   KVM_IOEVENTFD_FLAG_DATAMATCH};
	const struct kvm_ioeventfd mmio = {.addr = 0xd0000000, .len = 4, .fd = fd[5]};

	ok(vmr_vm_add_ioeventfd(machine->vm, &pio, &error));
	ok(vmr_vm_add_ioeventfd(machine->vm, &mmio, &error));
}

static void enable_caps(struct machine *machine)
{
	static const struct kvm_enable_cap caps[] = {
		{.cap = KVM_CAP_EXCEPTION_PAYLOAD, .args = {1}},
		{.cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT, .args = {1}},
	};
	struct vmr_error error;

	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++)
		if (kvm_vm_check_extension(vmr_vm_fd(machine->vm), caps[i].cap) > 0)
			ok(vmr_vm_enable_cap(machine->vm, &caps[i], &error));
}

/* With a value of the VMM's: KVM from 6.4 takes none after the vCPU has run. */
static void set_feature_msr(const struct vmr_vm *vm, unsigned index)
{
	union one_msr one = {.msrs = {.nmsrs = 1}};

	one.msrs.entries[0].index = FEATURE_MSR;
	one.msrs.entries[0].data = (0x7654ULL + index) << 32;
	assert_int_equal(kvm_vcpu_set_msrs(vmr_vm_vcpu_fd(vm, index), &one.msrs), 1);
}

static void create_vcpus(struct machine *machine, unsigned n, unsigned cpuid_max)
{
	static const uint32_t ids[] = {0, 1, 3};
	static const struct kvm_enable_cap pv = {.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID,
						 .args = {1}};
	autofree struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	struct vmr_error error;
	uint64_t mcg_cap = 0;

	cpuid->nent = 256;
	assert_int_equal(kvm_system_get_supported_cpuid(machine->kvm_fd, cpuid), 0);
	if (cpuid->nent > cpuid_max)
		cpuid->nent = cpuid_max;
	(void)kvm_system_get_mce_cap_supported(machine->kvm_fd, &mcg_cap);
	for (unsigned i = 0; i < n; i++) {
		unsigned index;

		for (uint32_t e = 0; e < cpuid->nent; e++)
			if (cpuid->entries[e].function == 1) {
				cpuid->entries[e].ebx =
					(cpuid->entries[e].ebx & 0xffffff) | ids[i] << 24;
				cpuid->entries[e].ecx |= 1U << 24; /* TSC deadline */
			}
		ok(vmr_vm_create_vcpu(machine->vm, ids[i], &index, &error));
		assert_int_equal(index, i);
		if (i == 1 && kvm_vm_check_extension(vmr_vm_fd(machine->vm), pv.cap) > 0)
			ok(vmr_vcpu_enable_cap(machine->vm, i, &pv, &error));
		ok(vmr_vcpu_set_cpuid(machine->vm, i, cpuid, &error));
		ok(vmr_vcpu_setup_mce(machine->vm, i, (mcg_cap & ~0xffULL) | 5, &error));
		set_feature_msr(machine->vm, i);
	}
}

void machine_create(struct machine *machine, unsigned n_vcpus, unsigned cpuid_max)
{
	const struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct vmr_error error;

	machine->kvm_fd = kvm_system_open();
	ok(vmr_vm_create(machine->kvm_fd, 0, &machine->vm, &error));
	enable_caps(machine);
	ok(vmr_vm_set_tss_addr(machine->vm, 0xfffbd000, &error));
	ok(vmr_vm_set_identity_map_addr(machine->vm, 0xfffbc000, &error));
	ok(vmr_vm_create_irqchip(machine->vm, &error));
	ok(vmr_vm_create_pit(machine->vm, &pit, false, &error));
	set_memory(machine);
	set_routing(machine);
	add_eventfds(machine);
	create_vcpus(machine, n_vcpus, cpuid_max);
	ok(vmr_vm_complete(machine->vm, &error));
}

void machine_free(struct machine *machine)
{
	machine->vm = vmr_vm_free(machine->vm);
	for (unsigned i = 0; i < 2; i++) {
		(void)munmap(machine->hva[i], MACHINE_RAM_SIZE);
		close_fd(machine->memory_fd[i]);
	}
	for (unsigned i = 0; i < MACHINE_N_EVENTS; i++)
		close_fd(machine->event_fd[i]);
	close_fd(machine->kvm_fd);
}

void machine_describe(const struct vmr_vm *vm, struct description *ret)
{
	size_t size = describe_size(vm);
	struct section_writer w = {calloc(1, size), size, 0};
	struct vmr_error error;

	*ret = (struct description){.bytes = w.buf};
	assert_int_equal(describe_check(vm, &error), 0);
	assert_int_equal(describe_write(vm, &w, &ret->fds, &error), 0);
	ret->len = w.len;
}

void description_free(struct description *description)
{
	free(description->bytes);
	free(description->fds.fd);
}

int machine_build(const struct machine *machine, const void *bytes, size_t len,
		  const struct fd_list *fds, struct vmr_vm **ret, struct vmr_error *ret_error)
{
	int copy[64];

	assert_in_range(fds->n, 0, ARRAY_SIZE(copy));
	for (unsigned i = 0; i < fds->n; i++)
		copy[i] = fcntl(fds->fd[i], F_DUPFD_CLOEXEC, 0);

	int r = describe_build(machine->kvm_fd, bytes, len, copy, fds->n, ret, ret_error);

	for (unsigned i = 0; i < fds->n; i++)
		close_fd(copy[i]);
	return r;
}
