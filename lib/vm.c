/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The recorded VM: KVM configuration calls that leave a trace. */
#include "vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"

/* Append *item to the array at *items (a pointer of any type) of *n elements; 0 or -ENOMEM. */
static int append(void *items, unsigned *n, const void *item, size_t size)
{
	void *array, *grown;

	memcpy(&array, items, sizeof(array));
	grown = reallocarray(array, *n + 1, size);
	if (!grown)
		return -ENOMEM;
	memcpy((uint8_t *)grown + *n * size, item, size);
	memcpy(items, &grown, sizeof(grown));
	(*n)++;
	/* cppcheck-suppress memleak ; it is at *items now */
	return 0;
}

static int no_memory(struct vmr_error *ret_error)
{
	return error_set(ret_error, -ENOMEM, "allocation", "VM record", NULL);
}

static const char *vcpu_name(char name[static 20], unsigned index)
{
	(void)snprintf(name, 20, "vCPU %u", index);
	return name;
}

int vmr_vm_create(int kvm_fd, unsigned long type, struct vmr_vm **ret, struct vmr_error *ret_error)
{
	int version = kvm_system_get_api_version(kvm_fd);
	int run_size = kvm_system_get_vcpu_mmap_size(kvm_fd);

	if (version != KVM_API_VERSION)
		return error_set(ret_error, version < 0 ? version : -ENOTSUP, "KVM_GET_API_VERSION",
				 "/dev/kvm", "/dev/kvm does not speak KVM API version %d",
				 KVM_API_VERSION);
	if (run_size < (int)sizeof(struct kvm_run))
		return error_set(ret_error, run_size < 0 ? run_size : -ENOTSUP,
				 "KVM_GET_VCPU_MMAP_SIZE", "/dev/kvm", NULL);

	struct vmr_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return no_memory(ret_error);
	do
		vm->vm_fd = kvm_system_create_vm(kvm_fd, type);
	while (vm->vm_fd == -EINTR);
	if (vm->vm_fd < 0) {
		int r = error_set(ret_error, vm->vm_fd, "KVM_CREATE_VM", "/dev/kvm", NULL);

		free(vm);
		return r;
	}
	vm->kvm_fd = kvm_fd;
	vm->type = type;
	vm->run_size = (size_t)run_size;
	vm->sev.fd = -1;
	*ret = vm;
	return 0;
}

struct vmr_vm *vmr_vm_free(struct vmr_vm *vm)
{
	if (!vm)
		return NULL;
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct vm_vcpu *vcpu = &vm->vcpus[i];

		if (vcpu->run)
			(void)munmap(vcpu->run, vm->run_size);
		close_fd(vcpu->fd);
		free(vcpu->caps.cap);
		free(vcpu->cpuid);
		free(vcpu->feature_msrs);
	}
	close_fd(vm->vm_fd);
	for (unsigned i = 0; i < vm->n_slots; i++) {
		struct vm_slot *s = &vm->slots[i];

		if (!s->is_ours)
			continue;
		(void)munmap(s->slot.hva, s->slot.size);
		close_fd(s->slot.fd);
	}
	if (vm->owns_eventfds) {
		for (unsigned i = 0; i < vm->n_irqfds; i++) {
			close_fd(vm->irqfds[i].event_fd);
			close_fd(vm->irqfds[i].resample_fd);
		}
		for (unsigned i = 0; i < vm->n_ioeventfds; i++)
			close_fd(vm->ioeventfds[i].fd);
	}
	free(vm->caps.cap);
	free(vm->routing);
	free(vm->slots);
	free(vm->irqfds);
	free(vm->ioeventfds);
	free(vm->vcpus);
	free(vm->features.msrs);
	free(vm);
	return NULL;
}

int vmr_vm_fd(const struct vmr_vm *vm)
{
	return vm->vm_fd;
}

unsigned vmr_vm_n_vcpus(const struct vmr_vm *vm)
{
	return vm->n_vcpus;
}

int vmr_vm_vcpu_fd(const struct vmr_vm *vm, unsigned index)
{
	return vm->vcpus[index].fd;
}

struct kvm_run *vmr_vm_vcpu_run(const struct vmr_vm *vm, unsigned index)
{
	return vm->vcpus[index].run;
}

int vmr_vm_enable_cap(struct vmr_vm *vm, const struct kvm_enable_cap *cap,
		      struct vmr_error *ret_error)
{
	int r = kvm_vm_enable_cap(vm->vm_fd, cap);

	if (r < 0)
		return error_set(ret_error, r, "KVM_ENABLE_CAP", "VM",
				 "enabling KVM capability %u failed: %s", cap->cap,
				 strerrordesc_np(-r));
	vm->sev.is_mirror |= cap->cap == KVM_CAP_VM_COPY_ENC_CONTEXT_FROM;
	if (append(&vm->caps.cap, &vm->caps.n, cap, sizeof(*cap)) < 0)
		return no_memory(ret_error);
	return 0;
}

int vmr_vm_set_tss_addr(struct vmr_vm *vm, uint32_t gpa, struct vmr_error *ret_error)
{
	int r = kvm_vm_set_tss_addr(vm->vm_fd, gpa);

	if (r < 0)
		return error_set(ret_error, r, "KVM_SET_TSS_ADDR", "VM", NULL);
	vm->has_tss_addr = true;
	vm->tss_addr = gpa;
	return 0;
}

int vmr_vm_set_identity_map_addr(struct vmr_vm *vm, uint64_t gpa, struct vmr_error *ret_error)
{
	int r = kvm_vm_set_identity_map_addr(vm->vm_fd, gpa);

	if (r < 0)
		return error_set(ret_error, r, "KVM_SET_IDENTITY_MAP_ADDR", "VM", NULL);
	vm->has_identity_map_addr = true;
	vm->identity_map_addr = gpa;
	return 0;
}

int vmr_vm_create_irqchip(struct vmr_vm *vm, struct vmr_error *ret_error)
{
	int r = kvm_vm_create_irqchip(vm->vm_fd);

	if (r < 0)
		return error_set(ret_error, r, "KVM_CREATE_IRQCHIP", "VM", NULL);
	vm->has_irqchip = true;
	return 0;
}

int vmr_vm_create_pit(struct vmr_vm *vm, const struct kvm_pit_config *config, bool reinject,
		      struct vmr_error *ret_error)
{
	int r = kvm_vm_create_pit2(vm->vm_fd, config);

	if (r == 0)
		r = kvm_vm_reinject_control(vm->vm_fd, reinject);
	if (r < 0)
		return error_set(ret_error, r, "KVM_CREATE_PIT2", "VM", NULL);
	vm->has_pit = true;
	vm->pit_config = *config;
	vm->pit_reinject = reinject;
	return 0;
}

int vmr_vm_set_gsi_routing(struct vmr_vm *vm, const struct kvm_irq_routing *routing,
			   struct vmr_error *ret_error)
{
	size_t size = sizeof(*routing) + routing->nr * sizeof(routing->entries[0]);
	autofree struct kvm_irq_routing *copy = routing->nr <= VM_ROUTES_MAX ? malloc(size) : NULL;

	if (!copy)
		return no_memory(ret_error);
	memcpy(copy, routing, size);

	int r = kvm_vm_set_gsi_routing(vm->vm_fd, routing);

	if (r < 0)
		return error_set(ret_error, r, "KVM_SET_GSI_ROUTING", "VM", NULL);
	free(vm->routing);
	vm->routing = steal_ptr(copy);
	return 0;
}

static int set_memory(const struct vmr_vm *vm, const struct vmr_memory_slot *slot)
{
	const struct kvm_userspace_memory_region region = {
		.slot = slot->slot,
		.flags = slot->flags,
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->size,
		.userspace_addr = (uintptr_t)slot->hva,
	};

	return kvm_vm_set_user_memory_region(vm->vm_fd, &region);
}

int vmr_vm_set_memory(struct vmr_vm *vm, const struct vmr_memory_slot *slot,
		      struct vmr_error *ret_error)
{
	const struct vm_slot entry = {.slot = *slot};
	unsigned n = 0;

	while (n < vm->n_slots && vm->slots[n].slot.slot != slot->slot)
		n++;

	bool is_new = n == vm->n_slots && slot->size > 0;

	if (is_new && append(&vm->slots, &vm->n_slots, &entry, sizeof(entry)) < 0)
		return no_memory(ret_error);

	int r = set_memory(vm, slot);

	if (r < 0) {
		if (is_new)
			vm->n_slots--;
		return error_set(ret_error, r, "KVM_SET_USER_MEMORY_REGION", "VM",
				 "giving the VM %llu bytes of memory at guest-physical 0x%llx "
				 "failed: %s",
				 (unsigned long long)slot->size, (unsigned long long)slot->gpa,
				 strerrordesc_np(-r));
	}
	if (slot->size > 0)
		vm->slots[n] = entry;
	else if (n < vm->n_slots)
		vm->slots[n] = vm->slots[--vm->n_slots];
	return 0;
}

unsigned vmr_vm_n_memory_slots(const struct vmr_vm *vm)
{
	return vm->n_slots;
}

const struct vmr_memory_slot *vmr_vm_memory_slot(const struct vmr_vm *vm, unsigned n)
{
	return n < vm->n_slots ? &vm->slots[n].slot : NULL;
}

static int bind_irqfd(const struct vmr_vm *vm, const struct vm_irqfd *irqfd, uint32_t flags)
{
	const struct kvm_irqfd arg = {
		.fd = (uint32_t)irqfd->event_fd,
		.gsi = irqfd->gsi,
		.flags = flags | (irqfd->resample_fd >= 0 ? KVM_IRQFD_FLAG_RESAMPLE : 0),
		.resamplefd = irqfd->resample_fd >= 0 ? (uint32_t)irqfd->resample_fd : 0,
	};

	return kvm_vm_irqfd(vm->vm_fd, &arg);
}

int vmr_vm_add_irqfd(struct vmr_vm *vm, int event_fd, uint32_t gsi, int resample_fd,
		     struct vmr_error *ret_error)
{
	const struct vm_irqfd irqfd = {event_fd, resample_fd, gsi};

	if (!(fcntl(event_fd, F_GETFL) & O_NONBLOCK))
		return error_set(ret_error, -EINVAL, "KVM_IRQFD", "VM",
				 "the eventfd for GSI %u is not non-blocking", gsi);

	int r = bind_irqfd(vm, &irqfd, 0);

	if (r < 0)
		return error_set(ret_error, r, "KVM_IRQFD", "VM",
				 "binding an eventfd to GSI %u failed: %s", gsi,
				 strerrordesc_np(-r));
	if (append(&vm->irqfds, &vm->n_irqfds, &irqfd, sizeof(irqfd)) < 0) {
		(void)bind_irqfd(vm, &irqfd, KVM_IRQFD_FLAG_DEASSIGN);
		return no_memory(ret_error);
	}
	return 0;
}

int vmr_vm_irqfd(const struct vmr_vm *vm, unsigned n, uint32_t *ret_gsi)
{
	if (n >= vm->n_irqfds)
		return -1;
	if (ret_gsi)
		*ret_gsi = vm->irqfds[n].gsi;
	return vm->irqfds[n].event_fd;
}

int vm_bind_irqfds(const struct vmr_vm *vm)
{
	int first = 0;

	for (unsigned i = 0; i < vm->n_irqfds; i++) {
		int r = bind_irqfd(vm, &vm->irqfds[i], 0);
		uint64_t count;

		if (r < 0) {
			first = first == 0 ? r : first;
			continue;
		}
		/*
		 * KVM injects what is pending in the eventfd but leaves the count there, and would
		 * inject it once more when the eventfd is bound by the next VM.
		 */
		(void)!read(vm->irqfds[i].event_fd, &count, sizeof(count));
	}
	return first;
}

void vm_ring_irqfds(const struct vmr_vm *vm)
{
	const uint64_t one = 1;

	for (unsigned i = 0; i < vm->n_irqfds; i++)
		(void)!write(vm->irqfds[i].event_fd, &one, sizeof(one));
}

int vm_unbind_irqfds(const struct vmr_vm *vm)
{
	int first = 0;

	for (unsigned i = 0; i < vm->n_irqfds; i++) {
		int r = bind_irqfd(vm, &vm->irqfds[i], KVM_IRQFD_FLAG_DEASSIGN);

		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

int vmr_vm_add_ioeventfd(struct vmr_vm *vm, const struct kvm_ioeventfd *ioeventfd,
			 struct vmr_error *ret_error)
{
	int r = kvm_vm_ioeventfd(vm->vm_fd, ioeventfd);

	if (r < 0)
		return error_set(ret_error, r, "KVM_IOEVENTFD", "VM",
				 "binding an eventfd to address 0x%llx failed: %s",
				 (unsigned long long)ioeventfd->addr, strerrordesc_np(-r));
	if (append(&vm->ioeventfds, &vm->n_ioeventfds, ioeventfd, sizeof(*ioeventfd)) < 0)
		return no_memory(ret_error);
	return 0;
}

int vmr_vm_ioeventfd(const struct vmr_vm *vm, unsigned n)
{
	return n < vm->n_ioeventfds ? vm->ioeventfds[n].fd : -1;
}

int vmr_vm_create_vcpu(struct vmr_vm *vm, uint32_t id, unsigned *ret_index,
		       struct vmr_error *ret_error)
{
	struct vm_vcpu vcpu = {.id = id};
	char name[20];

	(void)vcpu_name(name, vm->n_vcpus);
	do
		vcpu.fd = kvm_vm_create_vcpu(vm->vm_fd, id);
	while (vcpu.fd == -EINTR);
	if (vcpu.fd < 0)
		return error_set(ret_error, vcpu.fd, "KVM_CREATE_VCPU", name, NULL);
	vcpu.run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.fd, 0);
	if (vcpu.run == MAP_FAILED) {
		int r = error_set(ret_error, -errno, "mmap", name, NULL);

		close_fd(vcpu.fd);
		return r;
	}
	if (append(&vm->vcpus, &vm->n_vcpus, &vcpu, sizeof(vcpu)) < 0) {
		(void)munmap(vcpu.run, vm->run_size);
		close_fd(vcpu.fd);
		return no_memory(ret_error);
	}
	*ret_index = vm->n_vcpus - 1;
	return 0;
}

int vmr_vcpu_enable_cap(struct vmr_vm *vm, unsigned index, const struct kvm_enable_cap *cap,
			struct vmr_error *ret_error)
{
	struct vm_vcpu *vcpu = &vm->vcpus[index];
	int r = kvm_vcpu_enable_cap(vcpu->fd, cap);
	char name[20];

	if (r < 0)
		return error_set(ret_error, r, "KVM_ENABLE_CAP", vcpu_name(name, index),
				 "enabling KVM capability %u on vCPU %u failed: %s", cap->cap,
				 index, strerrordesc_np(-r));
	if (append(&vcpu->caps.cap, &vcpu->caps.n, cap, sizeof(*cap)) < 0)
		return no_memory(ret_error);
	return 0;
}

int vmr_vcpu_setup_mce(struct vmr_vm *vm, unsigned index, uint64_t mcg_cap,
		       struct vmr_error *ret_error)
{
	struct vm_vcpu *vcpu = &vm->vcpus[index];
	int r = kvm_vcpu_setup_mce(vcpu->fd, mcg_cap);
	char name[20];

	if (r < 0)
		return error_set(ret_error, r, "KVM_X86_SETUP_MCE", vcpu_name(name, index), NULL);
	vcpu->has_mce = true;
	vcpu->mcg_cap = mcg_cap;
	return 0;
}

int vmr_vcpu_set_cpuid(struct vmr_vm *vm, unsigned index, const struct kvm_cpuid2 *cpuid,
		       struct vmr_error *ret_error)
{
	size_t size = sizeof(*cpuid) + cpuid->nent * sizeof(cpuid->entries[0]);
	autofree struct kvm_cpuid2 *copy = cpuid->nent <= VM_CPUID_MAX ? malloc(size) : NULL;
	char name[20];

	if (!copy)
		return no_memory(ret_error);
	memcpy(copy, cpuid, size);

	int r = kvm_vcpu_set_cpuid2(vm->vcpus[index].fd, cpuid);

	if (r < 0)
		return error_set(ret_error, r, "KVM_SET_CPUID2", vcpu_name(name, index), NULL);
	free(vm->vcpus[index].cpuid);
	vm->vcpus[index].cpuid = steal_ptr(copy);
	return 0;
}

bool vm_cpuid_has_nested(const struct kvm_cpuid2 *cpuid)
{
	for (uint32_t i = 0; cpuid && i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if ((e->function == 0x80000001 && (e->ecx & (1U << 2))) || /* SVM */
		    (e->function == 1 && (e->ecx & (1U << 5))))		   /* VMX */
			return true;
	}
	return false;
}
