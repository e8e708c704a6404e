/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Launch of confidential VMs, and what is recorded of them. */
#include <vmrelay/sev.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "error.h"
#include "fault.h"
#include "kvm/ioctl.h"
#include "preflight.h"
#include "vm.h"

#define FW_NOT_CALLED 0xffffffffU /* the driver's way to say so */

/* Status codes of the secure processor (publication 55766, chapter 4). */
static const char *fw_text(uint32_t fw)
{
	static const char *const text[] = {
		[0x01] = "invalid platform state",
		[0x02] = "invalid guest state",
		[0x03] = "invalid configuration",
		[0x04] = "invalid length",
		[0x05] = "platform already owned",
		[0x06] = "invalid certificate",
		[0x07] = "the policy forbids it",
		[0x08] = "guest inactive",
		[0x09] = "invalid address",
		[0x0a] = "bad signature",
		[0x0b] = "bad measurement",
		[0x0c] = "ASID owned",
		[0x0d] = "invalid ASID",
		[0x0e] = "WBINVD required",
		[0x0f] = "DF_FLUSH required",
		[0x10] = "invalid guest",
		[0x11] = "invalid command",
		[0x12] = "guest active",
		[0x13] = "platform error",
		[0x14] = "unsafe platform error",
		[0x15] = "unsupported",
		[0x16] = "invalid parameter",
		[0x17] = "out of resources",
		[0x18] = "its stored data is invalid",
	};

	return fw < sizeof(text) / sizeof(text[0]) && text[fw] ? text[fw] : "unknown status";
}

static int fail(struct vmr_error *ret_error, int code, const char *step, uint32_t fw)
{
	if (fw == 0 || fw == FW_NOT_CALLED)
		return error_set(ret_error, code, step, "VM", NULL);
	return error_set(ret_error, code, step, "VM",
			 "%s failed: the secure processor says: %s (0x%x)", step, fw_text(fw), fw);
}

static const char *kind_name(enum vmr_confidential kind)
{
	return kind == VMR_CONFIDENTIAL_SEV_ES ? "SEV-ES" : "SEV";
}

int vmr_sev_init(struct vmr_vm *vm, enum vmr_confidential kind, int sev_fd,
		 struct vmr_error *ret_error)
{
	uint32_t fw;

	if (kind == VMR_CONFIDENTIAL_NONE || vm->sev.kind != VMR_CONFIDENTIAL_NONE ||
	    !sev_type_fits(vm->type, kind))
		return error_set(ret_error, -EINVAL, "KVM_SEV_INIT", "VM", NULL);

	bool is_default = vm->type == KVM_X86_DEFAULT_VM;
	bool is_bound = !is_default && !sev_type_moves(vm->kvm_fd, vm->type);
	int r = is_default ? kvm_sev_init(vm->vm_fd, kind == VMR_CONFIDENTIAL_SEV_ES, &fw)
			   : kvm_sev_init2(vm->vm_fd, &fw);

	if (r == -ENOTTY)
		return error_set(ret_error, -EOPNOTSUPP, "KVM_SEV_INIT", "VM",
				 "this host's KVM has no %s", kind_name(kind));
	if (r == -EBUSY)
		return error_set(ret_error, r, "KVM_SEV_INIT", "VM",
				 "there is no free ASID for one more %s guest", kind_name(kind));
	if (r < 0)
		return fail(ret_error, r, "KVM_SEV_INIT", fw);
	vm->sev.kind = kind;
	vm->sev.is_bound = is_bound;
	vm->sev.fd = sev_fd;
	vm->sev.charged = preflight_own_group();
	return 0;
}

enum vmr_confidential vmr_vm_confidential(const struct vmr_vm *vm)
{
	return vm->sev.kind;
}

bool vmr_vm_is_dead(const struct vmr_vm *vm)
{
	return kvm_vm_check_extension(vm->vm_fd, KVM_CAP_USER_MEMORY) == -EIO;
}

void vmr_sev_set_fd(struct vmr_vm *vm, int sev_fd)
{
	vm->sev.fd = sev_fd;
}

void vmr_sev_set_mirrored(struct vmr_vm *vm, bool is_mirrored)
{
	vm->sev.is_mirrored = is_mirrored;
}

int vmr_sev_register_region(struct vmr_vm *vm, void *hva, uint64_t size,
			    struct vmr_error *ret_error)
{
	int r = kvm_vm_memory_encrypt_reg_region(vm->vm_fd, (uintptr_t)hva, size);

	if (r == -ENOMEM)
		return error_set(
			ret_error, r, "KVM_MEMORY_ENCRYPT_REG_REGION", "memory",
			"guest memory cannot be pinned: RLIMIT_MEMLOCK is too small, or there "
			"is not enough memory");
	return r < 0 ? error_set(ret_error, r, "KVM_MEMORY_ENCRYPT_REG_REGION", "memory", NULL) : 0;
}

/* Is the guest in the state in which the last step should have left it? */
static int expect_state(const struct vmr_vm *vm, const char *step, enum vmr_sev_state state,
			struct vmr_error *ret_error)
{
	struct vmr_sev_status status = {0};
	int r = vmr_sev_status(vm, &status, ret_error);

	if (r == 0 && (status.state != state || status.handle != vm->sev.handle ||
		       status.policy != vm->sev.policy))
		r = error_set(
			ret_error, -EPROTO, step, "VM",
			"after %s the secure processor has guest %u with policy 0x%x in state %d, "
			"not %u with 0x%x in %d",
			step, status.handle, status.policy, (int)status.state, vm->sev.handle,
			vm->sev.policy, (int)state);
	return r;
}

int vmr_sev_launch_start(struct vmr_vm *vm, const struct vmr_sev_launch *launch,
			 struct vmr_error *ret_error)
{
	struct kvm_sev_launch_start start = {
		.policy = launch->policy,
		.dh_uaddr = (uintptr_t)launch->dh_cert,
		.dh_len = launch->dh_cert_len,
		.session_uaddr = (uintptr_t)launch->session,
		.session_len = launch->session_len,
	};
	uint32_t fw;
	int r = kvm_sev_launch_start(vm->vm_fd, vm->sev.fd, &start, &fw);

	if (r < 0)
		return fail(ret_error, r, "LAUNCH_START", fw);
	vm->sev.handle = start.handle;
	vm->sev.policy = launch->policy;
	return expect_state(vm, "LAUNCH_START", VMR_SEV_LUPDATE, ret_error);
}

int vmr_sev_launch_update_data(struct vmr_vm *vm, void *hva, uint64_t len,
			       struct vmr_error *ret_error)
{
	const uint64_t most = 1U << 30; /* the command's length has 32 bits */

	for (uint64_t at = 0; at < len; at += most) {
		uint32_t n = (uint32_t)(len - at < most ? len - at : most), fw;
		int r = kvm_sev_launch_update_data(vm->vm_fd, vm->sev.fd, (uint8_t *)hva + at, n,
						   &fw);

		if (r < 0)
			return fail(ret_error, r, "LAUNCH_UPDATE_DATA", fw);
	}
	return expect_state(vm, "LAUNCH_UPDATE_DATA", VMR_SEV_LUPDATE, ret_error);
}

int vmr_sev_launch_update_vmsa(struct vmr_vm *vm, struct vmr_error *ret_error)
{
	uint32_t fw;
	int r = kvm_sev_launch_update_vmsa(vm->vm_fd, vm->sev.fd, &fw);

	if (r < 0)
		return fail(ret_error, r, "LAUNCH_UPDATE_VMSA", fw);
	vm->sev.n_vmsas = vm->n_vcpus;
	return expect_state(vm, "LAUNCH_UPDATE_VMSA", VMR_SEV_LUPDATE, ret_error);
}

int vmr_sev_launch_measure(struct vmr_vm *vm, uint8_t ret[VMR_SEV_MEASUREMENT_SIZE],
			   struct vmr_error *ret_error)
{
	uint32_t fw, len = VMR_SEV_MEASUREMENT_SIZE;
	int r = kvm_sev_launch_measure(vm->vm_fd, vm->sev.fd, ret, &len, &fw);

	if (r < 0)
		return fail(ret_error, r, "LAUNCH_MEASURE", fw);
	if (len != VMR_SEV_MEASUREMENT_SIZE)
		return error_set(ret_error, -EPROTO, "LAUNCH_MEASURE", "VM",
				 "the measurement has %u bytes", len);
	(void)fault_reach("launch-measured");
	return expect_state(vm, "LAUNCH_MEASURE", VMR_SEV_LSECRET, ret_error);
}

int vmr_sev_launch_secret(struct vmr_vm *vm, const void *header, uint32_t header_len,
			  const void *packet, uint32_t packet_len, void *hva, uint32_t len,
			  struct vmr_error *ret_error)
{
	struct kvm_sev_launch_secret secret = {
		.hdr_uaddr = (uintptr_t)header,
		.hdr_len = header_len,
		.guest_uaddr = (uintptr_t)hva,
		.guest_len = len,
		.trans_uaddr = (uintptr_t)packet,
		.trans_len = packet_len,
	};
	uint32_t fw;
	int r = kvm_sev_launch_secret(vm->vm_fd, vm->sev.fd, &secret, &fw);

	if (r < 0)
		return fail(ret_error, r, "LAUNCH_SECRET", fw);
	return expect_state(vm, "LAUNCH_SECRET", VMR_SEV_LSECRET, ret_error);
}

int vmr_sev_launch_finish(struct vmr_vm *vm, struct vmr_error *ret_error)
{
	uint32_t fw;
	int r = kvm_sev_launch_finish(vm->vm_fd, vm->sev.fd, &fw);

	if (r < 0)
		return fail(ret_error, r, "LAUNCH_FINISH", fw);
	r = expect_state(vm, "LAUNCH_FINISH", VMR_SEV_RUNNING, ret_error);
	vm->sev.is_launched = r == 0;
	return r;
}

/* The moved context lacks the number of the fd that KVM uses for commands: it has 0. */
int sev_check_fd(const struct vmr_vm *vm, struct vmr_error *ret_error)
{
	struct stat ours, zero;

	if (!vm->sev.is_moved)
		return 0;
	if (vm->sev.fd >= 0 && fstat(vm->sev.fd, &ours) == 0 && fstat(0, &zero) == 0 &&
	    S_ISCHR(zero.st_mode) && zero.st_rdev == ours.st_rdev)
		return 0;
	return error_set(
		ret_error, -ENOTSUP, "KVM_MEMORY_ENCRYPT_OP", "VM",
		"of a guest that was relayed, KVM asks /dev/sev at file descriptor 0, and it is "
		"not there");
}

int vmr_sev_status(const struct vmr_vm *vm, struct vmr_sev_status *ret, struct vmr_error *ret_error)
{
	struct kvm_sev_guest_status status;
	uint32_t fw;
	int r = sev_check_fd(vm, ret_error);

	if (r < 0)
		return r;
	r = kvm_sev_guest_status(vm->vm_fd, vm->sev.fd, &status, &fw);
	if (r < 0)
		return fail(ret_error, r, "GUEST_STATUS", fw);
	*ret = (struct vmr_sev_status){status.handle, status.policy,
				       (enum vmr_sev_state)status.state};
	return 0;
}

int vmr_sev_attestation_report(const struct vmr_vm *vm, const uint8_t nonce[16], void *buf,
			       uint32_t *len, struct vmr_error *ret_error)
{
	struct kvm_sev_attestation_report report = {.uaddr = (uintptr_t)buf, .len = *len};
	uint32_t fw;
	int r = sev_check_fd(vm, ret_error);

	if (r < 0)
		return r;
	memcpy(report.mnonce, nonce, sizeof(report.mnonce));
	r = kvm_sev_get_attestation_report(vm->vm_fd, vm->sev.fd, &report, &fw);
	if (r < 0)
		return fail(ret_error, r, "ATTESTATION", fw);
	*len = report.len;
	return 0;
}
