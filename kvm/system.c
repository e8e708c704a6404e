/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ioctls of /dev/kvm. */
#include "ioctl.h"

#include <errno.h>
#include <fcntl.h>

#include "call.h"

int kvm_system_open(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int kvm_system_get_api_version(int kvm_fd)
{
	return call(kvm_fd, KVM_GET_API_VERSION, 0);
}

int kvm_system_create_vm(int kvm_fd, unsigned long type)
{
	return call(kvm_fd, KVM_CREATE_VM, type);
}

int kvm_system_check_extension(int kvm_fd, unsigned cap)
{
	return call(kvm_fd, KVM_CHECK_EXTENSION, cap);
}

int kvm_system_get_vcpu_mmap_size(int kvm_fd)
{
	return call(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
}

int kvm_system_get_msr_index_list(int kvm_fd, struct kvm_msr_list *list)
{
	return call(kvm_fd, KVM_GET_MSR_INDEX_LIST, (unsigned long)list);
}

int kvm_system_get_msr_feature_index_list(int kvm_fd, struct kvm_msr_list *list)
{
	return call(kvm_fd, KVM_GET_MSR_FEATURE_INDEX_LIST, (unsigned long)list);
}

int kvm_system_get_supported_cpuid(int kvm_fd, struct kvm_cpuid2 *cpuid)
{
	return call(kvm_fd, KVM_GET_SUPPORTED_CPUID, (unsigned long)cpuid);
}

int kvm_system_get_mce_cap_supported(int kvm_fd, uint64_t *ret_mcg_cap)
{
	return call(kvm_fd, KVM_X86_GET_MCE_CAP_SUPPORTED, (unsigned long)ret_mcg_cap);
}
