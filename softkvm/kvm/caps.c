// SPDX-License-Identifier: GPL-2.0-or-later
/* What KVM_CHECK_EXTENSION says: a row for each capability that is there. */
#include "internal.h"

#include <unistd.h>

#include "kvm/cleanup.h"
#include "kvm/uapi.h"

/* Documentation/virt/kvm/api.rst, 4.71 and chapters 6 to 8. */
static const struct {
	uint16_t cap;
	uint16_t value;
} caps[] = {
	{KVM_CAP_IRQCHIP, 1},
	{KVM_CAP_USER_MEMORY, 1},
	{KVM_CAP_SET_TSS_ADDR, 1},
	{KVM_CAP_EXT_CPUID, 1},
	{KVM_CAP_MAX_VCPUS, VCPUS_MAX},
	{KVM_CAP_MAX_VCPU_ID, VCPU_ID_MAX},
	{KVM_CAP_NR_MEMSLOTS, 509},
	{KVM_CAP_PIT, 1},
	{KVM_CAP_NOP_IO_DELAY, 1},
	{KVM_CAP_MP_STATE, 1},
	{KVM_CAP_SYNC_MMU, 1},
	{KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1},
	{KVM_CAP_USER_NMI, 1},
	{KVM_CAP_REINJECT_CONTROL, 1},
	{KVM_CAP_IRQ_ROUTING, 4096},
	{KVM_CAP_IRQ_INJECT_STATUS, 1},
	{KVM_CAP_MCE, MCE_BANKS_MAX},
	{KVM_CAP_IRQFD, 1},
	{KVM_CAP_PIT2, 1},
	{KVM_CAP_SET_BOOT_CPU_ID, 1},
	{KVM_CAP_PIT_STATE2, 1},
	{KVM_CAP_IOEVENTFD, 1},
	{KVM_CAP_SET_IDENTITY_MAP_ADDR, 1},
	{KVM_CAP_ADJUST_CLOCK, KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME},
	{KVM_CAP_INTERNAL_ERROR_DATA, 1},
	{KVM_CAP_VCPU_EVENTS, 1},
	{KVM_CAP_DEBUGREGS, 1},
	{KVM_CAP_ENABLE_CAP, 1},
	{KVM_CAP_XSAVE, 1},
	{KVM_CAP_XCRS, 1},
	{KVM_CAP_TSC_CONTROL, 1},
	{KVM_CAP_GET_TSC_KHZ, 1},
	{KVM_CAP_TSC_DEADLINE_TIMER, 1},
	{KVM_CAP_SIGNAL_MSI, 1},
	{KVM_CAP_READONLY_MEM, 1},
	{KVM_CAP_IRQFD_RESAMPLE, 1},
	{KVM_CAP_ENABLE_CAP_VM, 1},
	{KVM_CAP_CHECK_EXTENSION_VM, 1},
	{KVM_CAP_VM_ATTRIBUTES, 1},
	{KVM_CAP_VCPU_ATTRIBUTES, 1},
	{KVM_CAP_IOEVENTFD_NO_LENGTH, 1},
	{KVM_CAP_IOEVENTFD_ANY_LENGTH, 1},
	{KVM_CAP_IMMEDIATE_EXIT, 1},
	{KVM_CAP_GET_MSR_FEATURES, 1},
	/* On every x86, whatever it can do: only the ioctl tells. */
	{KVM_CAP_VM_COPY_ENC_CONTEXT_FROM, 1},
	{KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, 1},
	{KVM_CAP_SREGS2, 1},
	{KVM_CAP_SYS_ATTRIBUTES, 1},
	{KVM_CAP_XSAVE2, XSAVE_SIZE},
	{KVM_CAP_VM_TSC_CONTROL, 1},
	{KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1},
};

long kvm_check_extension(const struct host *host, uint64_t cap)
{
	switch (cap) {
	case KVM_CAP_NR_VCPUS: {
		long online = sysconf(_SC_NPROCESSORS_ONLN);

		return online < 1 ? 1 : online > VCPUS_MAX ? VCPUS_MAX : online;
	}
	case KVM_CAP_VM_TYPES:
		return host->config.profile == PROFILE_MAIN ? (long)vm_types(host) : 0;
	default:
		break;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++)
		if (caps[i].cap == cap)
			return caps[i].value;
	return 0;
}
