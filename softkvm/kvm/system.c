// SPDX-License-Identifier: GPL-2.0-or-later
/* /dev/kvm itself. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

#include "kvm/cleanup.h"
#include "kvm/uapi.h"

/* KVM_GET_DEVICE_ATTR on /dev/kvm: Documentation/virt/kvm/api.rst, 4.79. */
#define GROUP_GENERAL 0
#ifndef KVM_X86_GRP_SEV /* Linux 6.10 */
#define KVM_X86_GRP_SEV		  1
#define KVM_X86_SEV_VMSA_FEATURES 0
#endif

static int find_attr(const struct host *host, const struct kvm_device_attr *attr, uint64_t *ret)
{
	if (attr->flags)
		return -ENXIO;
	if (attr->group == GROUP_GENERAL && attr->attr == KVM_X86_XCOMP_GUEST_SUPP) {
		*ret = XCR0_X87_SSE_AVX;
		return 0;
	}
	if (attr->group == KVM_X86_GRP_SEV && attr->attr == KVM_X86_SEV_VMSA_FEATURES &&
	    host->config.profile == PROFILE_MAIN && host->sev) {
		*ret = 0;
		return 0;
	}
	return -ENXIO;
}

static long device_attr(const struct host *host, struct call *call, uint64_t arg, bool is_get)
{
	struct kvm_device_attr attr;
	uint64_t value;
	int r = call_copy_in(call, &attr, arg, sizeof(attr));

	if (r == 0)
		r = find_attr(host, &attr, &value);
	return r < 0 || !is_get ? r : call_copy_out(call, attr.addr, &value, sizeof(value));
}

static long system_ioctl(struct object *object, struct call *call, unsigned request, uint64_t arg)
{
	const struct host *host = object->host;
	const uint64_t mce = MCE_CAP_SUPPORTED;

	switch (request) {
	case KVM_GET_API_VERSION:
		return arg ? -EINVAL : KVM_API_VERSION;
	case KVM_CREATE_VM:
		return vm_create(object->host, call, arg);
	case KVM_CHECK_EXTENSION:
		return kvm_check_extension(host, arg);
	case KVM_GET_VCPU_MMAP_SIZE:
		return arg ? -EINVAL : RUN_SIZE;
	case KVM_GET_SUPPORTED_CPUID:
		return cpuid_copy_supported(host, call, arg);
	case KVM_GET_MSR_INDEX_LIST:
		return msr_copy_index_list(call, arg);
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
		return msr_copy_feature_list(call, arg);
	case KVM_GET_MSRS:
		return msr_copy_features(call, arg);
	case KVM_X86_GET_MCE_CAP_SUPPORTED:
		return call_copy_out(call, arg, &mce, sizeof(mce));
	case KVM_HAS_DEVICE_ATTR:
		return device_attr(host, call, arg, false);
	case KVM_GET_DEVICE_ATTR:
		return device_attr(host, call, arg, true);
	default:
		return -EINVAL;
	}
}

static void system_release(struct object *object)
{
	free(object);
}

static const struct object_ops system_ops = {
	.name = "kvm",
	.ioctl = system_ioctl,
	.release = system_release,
};

struct object *kvm_open(struct host *host)
{
	struct object *object = calloc(1, sizeof(*object));

	if (object)
		object_init(object, &system_ops, host);
	return object;
}
