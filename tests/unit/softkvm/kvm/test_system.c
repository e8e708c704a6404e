// SPDX-License-Identifier: GPL-2.0-or-later
/* /dev/kvm: what the host says of itself. */
#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client.h"
#include "kvm/uapi.h"
#include "softkvm/kvm/vm.h"

#define CPUID_MAX 256

static struct kvm_cpuid2 *new_cpuid(uint32_t nent)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));

	cpuid->nent = nent;
	return cpuid;
}

static void test_version(void **state)
{
	struct client *client = *state;
	int kvm = client_kvm(client);

	assert_int_equal(client_ioctl(client, kvm, KVM_GET_API_VERSION, 0), 12);
	assert_int_equal(client_ioctl(client, kvm, KVM_GET_API_VERSION, 1), -EINVAL);
	assert_int_equal(client_ioctl(client, kvm, KVM_GET_VCPU_MMAP_SIZE, 0), 3 * 4096);
	assert_int_equal(client_ioctl(client, kvm, KVM_RUN, 0), -EINVAL);
}

static void test_extensions(void **state)
{
	struct client *client = *state;
	int kvm = client_kvm(client);
	int vm = (int)client_ioctl(client, kvm, KVM_CREATE_VM, 0);

	assert_int_equal(client_ioctl(client, kvm, KVM_CHECK_EXTENSION, KVM_CAP_IRQCHIP), 1);
	assert_int_equal(client_ioctl(client, vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2), 4096);
	assert_int_equal(
		client_ioctl(client, kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM),
		1);
	assert_int_equal(client_ioctl(client, kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_SMM), 0);
	assert_int_equal(client_ioctl(client, kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES), 0);
	assert_int_equal(client_ioctl(client, kvm, KVM_CHECK_EXTENSION, UINT64_MAX), 0);
}

static void test_types(void **state)
{
	struct client *client = *state, *other = client_new(PROFILE_MAIN);

	assert_int_equal(client_ioctl(client, client_kvm(client), KVM_CREATE_VM, KVM_X86_SEV_VM),
			 -EINVAL);
	assert_int_equal(client_ioctl(client, client_kvm(client), KVM_CREATE_VM, UINT64_MAX),
			 -EINVAL);
	/* A host without SEV has no type for it. */
	assert_int_equal(
		client_ioctl(other, client_kvm(other), KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES), 1);
	(void)client_free(other);
}

static void test_cpuid(void **state)
{
	struct client *client = *state;
	struct kvm_cpuid2 *cpuid = new_cpuid(1);
	int kvm = client_kvm(client);

	assert_int_equal(client_ioctl_p(client, kvm, KVM_GET_SUPPORTED_CPUID, cpuid), -E2BIG);
	assert_int_equal(cpuid->nent, 1);
	assert_int_equal(client_ioctl_p(client, kvm, KVM_GET_SUPPORTED_CPUID, NULL), -EFAULT);
	cpuid->nent = CPUID_MAX;
	assert_int_equal(client_ioctl_p(client, kvm, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
	assert_in_range(cpuid->nent, 10, CPUID_MAX);
	assert_int_equal(cpuid->entries[0].function, 0);
	assert_memory_equal(&cpuid->entries[0].ebx, "Auth", 4);
	for (uint32_t i = 0; i < cpuid->nent; i++)
		assert_int_not_equal(cpuid->entries[i].function, 0x8000001f);
	free(cpuid);
}

/* Whatever is in the list can be read on a new vCPU, and set to what it is. */
static void test_msrs(void **state)
{
	struct client *client = *state;
	int kvm = client_kvm(client);
	int vm = (int)client_ioctl(client, kvm, KVM_CREATE_VM, 0);
	int vcpu = (int)client_ioctl(client, vm, KVM_CREATE_VCPU, 0);
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 256 * sizeof(list->indices[0]));
	struct kvm_msrs *msrs = calloc(1, sizeof(*msrs) + 256 * sizeof(msrs->entries[0]));

	assert_int_equal(client_ioctl_p(client, kvm, KVM_GET_MSR_INDEX_LIST, list), -E2BIG);
	assert_in_range(list->nmsrs, 10, 200);
	assert_int_equal(client_ioctl_p(client, kvm, KVM_GET_MSR_INDEX_LIST, list), 0);
	msrs->nmsrs = list->nmsrs;
	for (uint32_t i = 0; i < list->nmsrs; i++)
		msrs->entries[i].index = list->indices[i];
	assert_int_equal(client_ioctl_p(client, vcpu, KVM_GET_MSRS, msrs), list->nmsrs);
	assert_int_equal(client_ioctl_p(client, vcpu, KVM_SET_MSRS, msrs), list->nmsrs);

	/* Up to the first that is not there. */
	msrs->entries[3].index = 0x12345678;
	assert_int_equal(client_ioctl_p(client, vcpu, KVM_GET_MSRS, msrs), 3);
	assert_int_equal(client_ioctl_p(client, vcpu, KVM_SET_MSRS, msrs), 3);
	msrs->nmsrs = 256;
	assert_int_equal(client_ioctl_p(client, vcpu, KVM_GET_MSRS, msrs), -E2BIG);
	free(list);
	free(msrs);
}

static int setup(void **state)
{
	*state = client_new(PROFILE_K61);
	return 0;
}

static int teardown(void **state)
{
	(void)client_free(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_version, setup, teardown),
		cmocka_unit_test_setup_teardown(test_extensions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_types, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cpuid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msrs, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
