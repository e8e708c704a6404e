// SPDX-License-Identifier: GPL-2.0-or-later
/* What cases are made of: VMs of every kind, commands, memory. */
#include "conformance.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define POLICY_SEV 0
#define POLICY_ES  4

struct vm vm_new(unsigned long type, unsigned n, unsigned first_id)
{
	struct vm vm = {.fd = must(ioctl(kvm_fd, KVM_CREATE_VM, type), "KVM_CREATE_VM"), .n = n};

	for (unsigned i = 0; i < n; i++)
		vm.vcpu[i] = must(ioctl(vm.fd, KVM_CREATE_VCPU, (long)(first_id + i)),
				  "KVM_CREATE_VCPU");
	return vm;
}

void vm_close(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n; i++)
		(void)close(vm->vcpu[i]);
	(void)close(vm->fd);
	*vm = (struct vm){.fd = -1};
}

struct vm aux(unsigned n)
{
	return vm_new(KVM_X86_DEFAULT_VM, n, 0);
}

int enable_cap(int fd, uint32_t cap, uint32_t flags, uint64_t arg)
{
	struct kvm_enable_cap c = {.cap = cap, .flags = flags, .args = {arg}};

	return ioctl(fd, KVM_ENABLE_CAP, &c);
}

int move_from(const struct vm *target, int source_fd)
{
	return enable_cap(target->fd, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, 0, (uint32_t)source_fd);
}

int copy_from(const struct vm *mirror, int owner_fd)
{
	return enable_cap(mirror->fd, KVM_CAP_VM_COPY_ENC_CONTEXT_FROM, 0, (uint32_t)owner_fd);
}

int command(int vm_fd, uint32_t id, void *data, uint32_t *ret_fw)
{
	struct kvm_sev_cmd c = {.id = id, .data = POINTER(data), .sev_fd = (uint32_t)sev_fd};
	int r = ioctl(vm_fd, KVM_MEMORY_ENCRYPT_OP, &c);

	if (ret_fw)
		*ret_fw = c.error;
	return r;
}

void note_command(int vm_fd, uint32_t id, void *data)
{
	uint32_t fw;
	int r = command(vm_fd, id, data, &fw);

	note_result(r);
	if (fw)
		note("fw 0x%x", fw);
}

struct kvm_sev_guest_status status_of(int vm_fd)
{
	struct kvm_sev_guest_status status = {0};

	(void)must(command(vm_fd, KVM_SEV_GUEST_STATUS, &status, NULL), "GUEST_STATUS");
	return status;
}

int launch_start(int vm_fd, uint32_t policy)
{
	struct kvm_sev_launch_start start = {.policy = policy};

	return command(vm_fd, KVM_SEV_LAUNCH_START, &start, NULL);
}

static struct vm encrypted(unsigned n, uint32_t init, uint32_t policy)
{
	struct vm vm = aux(0);

	(void)must(command(vm.fd, init, NULL, NULL), "INIT");
	vm.n = n;
	for (unsigned i = 0; i < n; i++)
		vm.vcpu[i] = must(ioctl(vm.fd, KVM_CREATE_VCPU, (long)i), "KVM_CREATE_VCPU");
	(void)must(launch_start(vm.fd, policy), "LAUNCH_START");
	return vm;
}

struct vm sev(unsigned n)
{
	return encrypted(n, KVM_SEV_INIT, POLICY_SEV);
}

struct vm sev_es(unsigned n)
{
	struct vm vm = encrypted(n, KVM_SEV_ES_INIT, POLICY_ES);

	(void)must(command(vm.fd, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, NULL), "LAUNCH_UPDATE_VMSA");
	return vm;
}

void use_stored_fd(void)
{
	(void)must(dup2(sev_fd, 0), "dup2");
}

struct shared shared_new(size_t len)
{
	struct shared shared = {.len = len};

	shared.fd = must(memfd_create("conformance", MFD_CLOEXEC), "memfd_create");
	(void)must(ftruncate(shared.fd, (off_t)len), "ftruncate");
	for (unsigned i = 0; i < 2; i++) {
		void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, shared.fd, 0);

		(void)must(at == MAP_FAILED ? -1 : 0, "mmap");
		shared.at[i] = at;
	}
	return shared;
}

int set_memory(int vm_fd, uint32_t slot, uint64_t gpa, uint64_t size, void *at)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = POINTER(at),
	};

	return ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}
