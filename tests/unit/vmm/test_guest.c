// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a guest starts with: its layout, what of it is measured, and the page of its registers.
 * Links with: vmm/boot/, vmm/guest.c, vmm/vmsa.c.
 */
#include "vmm/guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kvm/cleanup.h"
#include "vmm/vmsa.h"

#define GIB (1ULL << 30)

static void test_layout(void **state)
{
	struct vmm_memory memory;

	(void)state;
	guest_layout(&memory, 3 * GIB);
	assert_int_equal(memory.n_regions, 1);
	assert_true(memory.region[0].gpa == 0 && memory.region[0].size == 3 * GIB);
	guest_layout(&memory, 3 * GIB + 4096);
	assert_int_equal(memory.n_regions, 2);
	assert_true(memory.region[0].size == 3 * GIB);
	assert_true(memory.region[1].gpa == 4 * GIB && memory.region[1].size == 4096);
}

static void test_measured(void **state)
{
	struct boot_entry entry = {.image = {0x200800, 0x300001}, .initrd = {0x7000000, 0x7000001}};
	struct boot_range ranges[GUEST_MEASURED_MAX];

	(void)state;
	assert_int_equal(guest_measured(&entry, ranges), 3);
	assert_true(ranges[0].start == 0 && ranges[0].end == 0x100000);
	assert_true(ranges[1].start == 0x200000 && ranges[1].end == 0x301000);
	assert_true(ranges[2].start == 0x7000000 && ranges[2].end == 0x7001000);

	entry.initrd = (struct boot_range){0, 0};
	assert_int_equal(guest_measured(&entry, ranges), 2);
}

static uint64_t get64(const uint8_t *vmsa, unsigned offset)
{
	uint64_t value;

	memcpy(&value, vmsa + offset, sizeof(value));
	return value;
}

/*
 * Word by word, what APM volume 2, table B-4 has where; that the kernel makes the same page is seen
 * where there is a secure processor (tests/scenario/test_owner.c).
 */
static void test_vmsa(void **state)
{
	static const struct {
		unsigned offset;
		uint64_t value;
	} words[] = {
		{0x000, 0xffffffff0c930018}, /* ES: read/write, accessed, 32-bit, 4 KiB units */
		{0x010, 0xffffffff0a9b0010}, /* CS: execute/read, accessed, 64-bit */
		{0x020, 0xffffffff0c930018},
		{0x030, 0xffffffff0c930018},
		{0x040, 0xffffffff0c930018},
		{0x050, 0xffffffff0c930018},
		{0x060, 0x0000001f00000000}, /* GDTR */
		{0x068, 0x500},
		{0x070, 0x0000ffff00820000}, /* LDTR */
		{0x080, 0x0000ffff00000000}, /* IDTR */
		{0x090, 0x0000ffff00830000}, /* TR */
		{0x0d0, 0x1500},	     /* EFER: LME, LMA, SVME */
		{0x148, 0x60},		     /* CR4: PAE, MCE */
		{0x150, 0x9000},	     /* CR3 */
		{0x158, 0x80000011},	     /* CR0: PE, ET, PG */
		{0x160, 0x400},		     /* DR7 */
		{0x168, 0xffff0ff0},	     /* DR6 */
		{0x170, 2},		     /* RFLAGS */
		{0x178, 0x123456},	     /* RIP */
		{0x1d8, 0x8f000},	     /* RSP */
		{0x268, 0x0007040600070406}, /* PAT */
		{0x310, 5},		     /* RDX: the vCPU */
		{0x330, 0x7000},	     /* RSI */
		{0x338, 2},		     /* RDI: SEV-ES */
		{0x3e8, 7},		     /* XCR0 */
	};
	const struct boot_entry entry = {
		.rip = 0x123456, .rsp = 0x8f000, .rsi = 0x7000, .cr3 = 0x9000};
	uint8_t vmsa[VMSA_SIZE];
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	size_t next = 0;

	(void)state;
	memset(vmsa, 0xa5, sizeof(vmsa));
	vmsa_reset_sregs(&sregs);
	guest_registers(&entry, VMR_CONFIDENTIAL_SEV_ES, 5, &regs, &sregs);
	vmsa_make(&regs, &sregs, GUEST_XCR0, vmsa);
	for (unsigned offset = 0; offset < VMSA_SIZE; offset += 8) {
		uint64_t expected = 0;

		if (next < ARRAY_SIZE(words) && words[next].offset == offset)
			expected = words[next++].value;
		if (get64(vmsa, offset) != expected)
			fail_msg("at 0x%x: 0x%llx instead of 0x%llx", offset,
				 (unsigned long long)get64(vmsa, offset),
				 (unsigned long long)expected);
	}
	assert_int_equal(next, ARRAY_SIZE(words));

	/* Registers that guests start with as zero have their place, too. */
	regs = (struct kvm_regs){.rax = 1, .rbx = 2, .rcx = 3, .rbp = 4, .r8 = 8, .r15 = 15};
	vmsa_make(&regs, &sregs, 1, vmsa);
	assert_true(get64(vmsa, 0x1f8) == 1 && get64(vmsa, 0x318) == 2);
	assert_true(get64(vmsa, 0x308) == 3 && get64(vmsa, 0x328) == 4);
	assert_true(get64(vmsa, 0x340) == 8 && get64(vmsa, 0x378) == 15);
	assert_true(get64(vmsa, 0x3e8) == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_measured),
		cmocka_unit_test(test_vmsa),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
