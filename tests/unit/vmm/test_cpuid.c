// SPDX-License-Identifier: GPL-2.0-or-later
/* What is kept from guests of what KVM supports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "vmm/cpuid.h"

static void hides_encryption(void **state)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[2];
	} cpuid = {
		.head.nent = 2,
		.entries = {{.function = 0x80000008, .eax = 0x3030},
			    {.function = 0x8000001f, .eax = 0xa, .ebx = 51, .ecx = 16, .edx = 1}},
	};

	(void)state;
	cpuid_hide_encryption(&cpuid.head);
	assert_int_equal(cpuid.entries[0].eax, 0x3030);
	assert_int_equal(cpuid.entries[1].function, 0x8000001f);
	assert_int_equal(cpuid.entries[1].eax | cpuid.entries[1].ebx | cpuid.entries[1].ecx |
				 cpuid.entries[1].edx,
			 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hides_encryption),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
