/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * KVM_MEMORY_ENCRYPT_OP and what belongs to it
 * (Documentation/virt/kvm/x86/amd-memory-encryption.rst).
 */
#include "ioctl.h"

#include <string.h>

#include "call.h"

/* 4.110.  *fw: what the secure processor said; left alone if it was never asked. */
static int sev_command(int vm_fd, int sev_fd, uint32_t id, void *data, uint32_t *fw)
{
	struct kvm_sev_cmd command = {
		.id = id,
		.data = (uintptr_t)data,
		.sev_fd = (uint32_t)sev_fd,
	};
	int r = call(vm_fd, KVM_MEMORY_ENCRYPT_OP, (unsigned long)&command);

	*fw = command.error;
	return r;
}

int kvm_sev_init(int vm_fd, bool es, uint32_t *fw)
{
	return sev_command(vm_fd, -1, es ? KVM_SEV_ES_INIT : KVM_SEV_INIT, NULL, fw);
}

int kvm_sev_init2(int vm_fd, uint32_t *fw)
{
	struct kvm_sev_init init = {.flags = 0};

	return sev_command(vm_fd, -1, KVM_SEV_INIT2, &init, fw);
}

int kvm_sev_launch_start(int vm_fd, int sev_fd, struct kvm_sev_launch_start *start, uint32_t *fw)
{
	return sev_command(vm_fd, sev_fd, KVM_SEV_LAUNCH_START, start, fw);
}

int kvm_sev_launch_update_data(int vm_fd, int sev_fd, void *at, uint32_t len, uint32_t *fw)
{
	struct kvm_sev_launch_update_data update = {.uaddr = (uintptr_t)at, .len = len};

	return sev_command(vm_fd, sev_fd, KVM_SEV_LAUNCH_UPDATE_DATA, &update, fw);
}

int kvm_sev_launch_update_vmsa(int vm_fd, int sev_fd, uint32_t *fw)
{
	return sev_command(vm_fd, sev_fd, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, fw);
}

int kvm_sev_launch_measure(int vm_fd, int sev_fd, void *blob, uint32_t *len, uint32_t *fw)
{
	struct kvm_sev_launch_measure measure = {.uaddr = (uintptr_t)blob, .len = *len};
	int r = sev_command(vm_fd, sev_fd, KVM_SEV_LAUNCH_MEASURE, &measure, fw);

	*len = measure.len;
	return r;
}

int kvm_sev_launch_secret(int vm_fd, int sev_fd, struct kvm_sev_launch_secret *secret, uint32_t *fw)
{
	return sev_command(vm_fd, sev_fd, KVM_SEV_LAUNCH_SECRET, secret, fw);
}

int kvm_sev_launch_finish(int vm_fd, int sev_fd, uint32_t *fw)
{
	return sev_command(vm_fd, sev_fd, KVM_SEV_LAUNCH_FINISH, NULL, fw);
}

int kvm_sev_guest_status(int vm_fd, int sev_fd, struct kvm_sev_guest_status *ret, uint32_t *fw)
{
	memset(ret, 0, sizeof(*ret));
	return sev_command(vm_fd, sev_fd, KVM_SEV_GUEST_STATUS, ret, fw);
}

int kvm_sev_get_attestation_report(int vm_fd, int sev_fd, struct kvm_sev_attestation_report *report,
				   uint32_t *fw)
{
	return sev_command(vm_fd, sev_fd, KVM_SEV_GET_ATTESTATION_REPORT, report, fw);
}

int kvm_vm_memory_encrypt_reg_region(int vm_fd, uint64_t addr, uint64_t size)
{
	struct kvm_enc_region region = {.addr = addr, .size = size};

	return call(vm_fd, KVM_MEMORY_ENCRYPT_REG_REGION, (unsigned long)&region);
}

int kvm_vm_move_enc_context_from(int vm_fd, int source_vm_fd)
{
	const struct kvm_enable_cap cap = {
		.cap = KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM,
		.args = {(uint64_t)source_vm_fd},
	};

	return kvm_vm_enable_cap(vm_fd, &cap);
}
