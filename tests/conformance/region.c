// SPDX-License-Identifier: GPL-2.0-or-later
/* KVM_MEMORY_ENCRYPT_REG_REGION and _UNREG_REGION. */
#include "conformance.h"

#include <sys/mman.h>
#include <sys/resource.h>

#define PAGE 4096

static int reg(const struct vm *vm, const void *at, uint64_t size)
{
	struct kvm_enc_region region = {POINTER(at), size};

	return ioctl(vm->fd, KVM_MEMORY_ENCRYPT_REG_REGION, &region);
}

static int unreg(const struct vm *vm, const void *at, uint64_t size)
{
	struct kvm_enc_region region = {POINTER(at), size};

	return ioctl(vm->fd, KVM_MEMORY_ENCRYPT_UNREG_REGION, &region);
}

static void plain_vm(void)
{
	struct shared memory = shared_new(PAGE);
	struct vm vm = aux(0);

	note_result(reg(&vm, memory.at[0], PAGE));
	note_result(unreg(&vm, memory.at[0], PAGE));
	note_result(ioctl(vm.fd, KVM_MEMORY_ENCRYPT_REG_REGION, NULL));
}

static void bad_ranges(void)
{
	struct vm vm = sev(0);

	note_result(reg(&vm, (void *)PAGE, 0));
	note_result(reg(&vm, (void *)PAGE, PAGE));
	note_result(reg(&vm, (void *)PAGE, UINT64_MAX));
	note_result(ioctl(vm.fd, KVM_MEMORY_ENCRYPT_REG_REGION, NULL));
}

/* Twice registered, twice to be taken back; and what is asked for is what was given. */
static void same_twice(void)
{
	struct shared memory = shared_new(4 * PAGE);
	struct vm vm = sev(0);

	note_result(reg(&vm, memory.at[0], 4 * PAGE));
	note_result(reg(&vm, memory.at[0], 4 * PAGE));
	note_result(unreg(&vm, memory.at[0], 2 * PAGE));
	note_result(unreg(&vm, memory.at[0] + PAGE, 4 * PAGE));
	note_result(unreg(&vm, memory.at[0], 4 * PAGE));
	note_result(unreg(&vm, memory.at[0], 4 * PAGE));
	note_result(unreg(&vm, memory.at[0], 4 * PAGE));
}

static void not_aligned(void)
{
	struct shared memory = shared_new(2 * PAGE);
	struct vm vm = sev(0);

	note_result(reg(&vm, memory.at[0] + 5, 3));
	note_result(unreg(&vm, memory.at[0] + 5, 3));
}

/* Not: memory that can only be read.  6.1.192 and 6.12 take that, 6.1.176 does not. */
static void private_memory(void)
{
	struct vm vm = sev(0);
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	note_result(reg(&vm, at, PAGE));
	note_result(unreg(&vm, at, PAGE));
}

static void memlock(void)
{
	const struct rlimit two_pages = {2 * PAGE, 2 * PAGE};
	struct shared memory = shared_new(4 * PAGE);
	struct vm vm = sev(0), target = aux(0);

	(void)must(setrlimit(RLIMIT_MEMLOCK, &two_pages), "setrlimit");
	/* Without CAP_IPC_LOCK, which root has. */
	if (geteuid() == 0)
		(void)must(setresuid(65534, 65534, 65534), "setresuid");
	note_result(reg(&vm, memory.at[0], 4 * PAGE));
	note_result(reg(&vm, memory.at[0], 2 * PAGE));
	note_result(reg(&vm, memory.at[0], PAGE));
	note_result(unreg(&vm, memory.at[0], 2 * PAGE));
	note_result(reg(&vm, memory.at[0], PAGE));
	/* The count moves with them. */
	note_result(move_from(&target, vm.fd));
	note_result(reg(&target, memory.at[0], 2 * PAGE));
	note_result(reg(&target, memory.at[0], PAGE));
}

const struct test_case region_cases[] = {
	{"region/plain-vm", plain_vm, "ENOTTY ENOTTY EFAULT", NULL, NEEDS_SEV},
	{"region/bad-ranges", bad_ranges, "EINVAL ENOMEM EINVAL EFAULT", NULL, NEEDS_SEV},
	{"region/same-twice", same_twice, "0 0 EINVAL EINVAL 0 0 EINVAL", NULL, NEEDS_SEV},
	{"region/not-aligned", not_aligned, "0 0", NULL, NEEDS_SEV},
	{"region/private-memory", private_memory, "0 0", NULL, NEEDS_SEV},
	{"region/memlock", memlock, "ENOMEM 0 ENOMEM 0 0 0 ENOMEM 0", NULL, NEEDS_SEV},
	{0},
};
