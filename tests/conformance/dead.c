// SPDX-License-Identifier: GPL-2.0-or-later
/* A VM that was moved away from. */
#include "conformance.h"

#include <sys/mman.h>

static struct vm dead(unsigned n)
{
	struct vm source = sev(n), target = aux(n);

	(void)must(move_from(&target, source.fd), "move");
	return source;
}

static void vm_ioctls(void)
{
	struct vm vm = dead(1);
	struct shared memory = shared_new(4096);
	struct kvm_enc_region region = {POINTER(memory.at[0]), 4096};

	note_result(ioctl(vm.fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY));
	note_result(ioctl(vm.fd, KVM_MEMORY_ENCRYPT_OP, NULL));
	note_result(ioctl(vm.fd, KVM_MEMORY_ENCRYPT_UNREG_REGION, &region));
	note_result(set_memory(vm.fd, 0, 0, 4096, memory.at[0]));
	note_result(ioctl(vm.fd, KVM_CREATE_VCPU, 5));
	note_result(ioctl(vm.fd, KVM_ENABLE_CAP, NULL));
	note_result(ioctl(vm.fd, KVM_CREATE_IRQCHIP, 0));
	note_result(ioctl(vm.fd, _IO(KVMIO, 0xff)));
}

static void vcpu_ioctls(void)
{
	struct vm vm = dead(1);
	struct kvm_regs regs;

	note_result(ioctl(vm.vcpu[0], KVM_RUN, 0));
	note_result(ioctl(vm.vcpu[0], KVM_GET_REGS, &regs));
	note_result(ioctl(vm.vcpu[0], KVM_GET_REGS, NULL));
	note_result(ioctl(vm.vcpu[0], _IO(KVMIO, 0xff)));
}

static void mapping(void)
{
	struct vm vm = dead(1);
	int size = must(ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	void *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vm.vcpu[0], 0);

	note("%s", run == MAP_FAILED ? "not mapped" : "mapped");
}

static void as_source(void)
{
	struct vm vm = dead(1), target = aux(1), mirror = aux(0);

	note_result(move_from(&target, vm.fd));
	note_result(copy_from(&mirror, vm.fd));
}

static void as_target(void)
{
	struct vm vm = dead(1), source = sev(1);

	note_result(move_from(&vm, source.fd));
	note_result(copy_from(&vm, source.fd));
}

const struct test_case dead_cases[] = {
	{"dead/vm-ioctls", vm_ioctls, "EIO EIO EIO EIO EIO EIO EIO EIO", NULL, NEEDS_SEV},
	{"dead/vcpu-ioctls", vcpu_ioctls, "EIO EIO EIO EIO", NULL, NEEDS_SEV},
	{"dead/mapping", mapping, "mapped", NULL, NEEDS_SEV},
	{"dead/as-source", as_source, "EINVAL EINVAL", NULL, NEEDS_SEV},
	{"dead/as-target", as_target, "EIO EIO", NULL, NEEDS_SEV},
	{0},
};
