/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ioctls of a VM file descriptor. */
#include "ioctl.h"

#include "call.h"

int kvm_vm_check_extension(int vm_fd, unsigned cap)
{
	return call(vm_fd, KVM_CHECK_EXTENSION, cap);
}

int kvm_vm_enable_cap(int vm_fd, const struct kvm_enable_cap *cap)
{
	return call(vm_fd, KVM_ENABLE_CAP, (unsigned long)cap);
}

int kvm_vm_create_vcpu(int vm_fd, unsigned long id)
{
	return call(vm_fd, KVM_CREATE_VCPU, id);
}

int kvm_vm_set_user_memory_region(int vm_fd, const struct kvm_userspace_memory_region *region)
{
	return call(vm_fd, KVM_SET_USER_MEMORY_REGION, (unsigned long)region);
}

int kvm_vm_set_boot_cpu_id(int vm_fd, unsigned long id)
{
	return call(vm_fd, KVM_SET_BOOT_CPU_ID, id);
}

int kvm_vm_create_irqchip(int vm_fd)
{
	return call(vm_fd, KVM_CREATE_IRQCHIP, 0);
}

int kvm_vm_get_irqchip(int vm_fd, struct kvm_irqchip *chip)
{
	return call(vm_fd, KVM_GET_IRQCHIP, (unsigned long)chip);
}

int kvm_vm_set_irqchip(int vm_fd, const struct kvm_irqchip *chip)
{
	return call(vm_fd, KVM_SET_IRQCHIP, (unsigned long)chip);
}

int kvm_vm_create_pit2(int vm_fd, const struct kvm_pit_config *config)
{
	return call(vm_fd, KVM_CREATE_PIT2, (unsigned long)config);
}

int kvm_vm_get_pit2(int vm_fd, struct kvm_pit_state2 *ret_pit)
{
	return call(vm_fd, KVM_GET_PIT2, (unsigned long)ret_pit);
}

int kvm_vm_set_pit2(int vm_fd, const struct kvm_pit_state2 *pit)
{
	return call(vm_fd, KVM_SET_PIT2, (unsigned long)pit);
}

int kvm_vm_get_clock(int vm_fd, struct kvm_clock_data *ret_clock)
{
	return call(vm_fd, KVM_GET_CLOCK, (unsigned long)ret_clock);
}

int kvm_vm_set_clock(int vm_fd, const struct kvm_clock_data *clock)
{
	return call(vm_fd, KVM_SET_CLOCK, (unsigned long)clock);
}

int kvm_vm_set_gsi_routing(int vm_fd, const struct kvm_irq_routing *routing)
{
	return call(vm_fd, KVM_SET_GSI_ROUTING, (unsigned long)routing);
}

int kvm_vm_irqfd(int vm_fd, const struct kvm_irqfd *irqfd)
{
	return call(vm_fd, KVM_IRQFD, (unsigned long)irqfd);
}

int kvm_vm_ioeventfd(int vm_fd, const struct kvm_ioeventfd *ioeventfd)
{
	return call(vm_fd, KVM_IOEVENTFD, (unsigned long)ioeventfd);
}

int kvm_vm_set_msr_filter(int vm_fd, const struct kvm_msr_filter *filter)
{
	return call(vm_fd, KVM_X86_SET_MSR_FILTER, (unsigned long)filter);
}

int kvm_vm_set_tsc_khz(int vm_fd, unsigned khz)
{
	return call(vm_fd, KVM_SET_TSC_KHZ, khz);
}

int kvm_vm_get_tsc_khz(int vm_fd)
{
	return call(vm_fd, KVM_GET_TSC_KHZ, 0);
}

int kvm_vm_set_tss_addr(int vm_fd, uint32_t gpa)
{
	return call(vm_fd, KVM_SET_TSS_ADDR, gpa);
}

int kvm_vm_set_identity_map_addr(int vm_fd, uint64_t gpa)
{
	return call(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, (unsigned long)&gpa);
}

int kvm_vm_irq_line(int vm_fd, uint32_t gsi, uint32_t level)
{
	const struct kvm_irq_level line = {.irq = gsi, .level = level};

	return call(vm_fd, KVM_IRQ_LINE, (unsigned long)&line);
}

int kvm_vm_reinject_control(int vm_fd, bool reinject)
{
	const struct kvm_reinject_control control = {.pit_reinject = reinject};

	return call(vm_fd, KVM_REINJECT_CONTROL, (unsigned long)&control);
}
