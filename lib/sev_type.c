/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which type of VM a confidential guest is put into.
 *
 * Theory of operation.  Since Linux 6.10 such a guest can be launched in a VM of a type of its own,
 * by KVM_SEV_INIT2, or as before in one of the default type, by KVM_SEV_INIT or KVM_SEV_ES_INIT.
 * KVM moves a context between VMs of one type only, so whoever launches the guest decides for its
 * life.  A VM of a type of its own refuses KVM_RUN (-EINVAL) until KVM_SEV_INIT2 was called for it;
 * as of Linux 7.3 a move does not end that, and there is no other way: KVM_SEV_INIT2 makes the VM
 * one that nothing can be moved to, before the move, and fails after it.
 *
 * No version says whether a kernel does better, so it is tried out, with two VMs and no guest.
 * KVM_RUN with immediate_exit would tell nothing: KVM returns -EINTR before it looks.  A vCPU with
 * a triple fault pending does not enter the guest either, and KVM looks before it sees to that.
 *
 * With SEV-ES there is more in the way.  KVM then tells nothing of a vCPU's state, not even what it
 * keeps track of itself (APIC base, CR0, CR4, EFER), and does not move that.
 */
#include <vmrelay/sev.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "vm.h"

static int run_nowhere(int vcpu_fd)
{
	struct kvm_vcpu_events events;
	int r = kvm_vcpu_get_events(vcpu_fd, &events);

	events.flags = KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	events.triple_fault.pending = 1;
	if (r == 0)
		r = kvm_vcpu_set_events(vcpu_fd, &events);
	return r < 0 ? r : kvm_vcpu_run(vcpu_fd);
}

bool sev_type_moves(int kvm_fd, unsigned long type)
{
	const struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT, .args = {1}};
	int types = kvm_system_check_extension(kvm_fd, KVM_CAP_VM_TYPES);
	uint32_t fw;

	if (types < 0 || !(types & 1 << type) || type != KVM_X86_SEV_VM)
		return false;

	autofd source = kvm_system_create_vm(kvm_fd, type);
	autofd target = kvm_system_create_vm(kvm_fd, type);

	if (source < 0 || target < 0 || kvm_sev_init2(source, &fw) < 0 ||
	    kvm_vm_enable_cap(target, &cap) < 0 || kvm_vm_move_enc_context_from(target, source) < 0)
		return false;

	autofd vcpu = kvm_vm_create_vcpu(target, 0);

	return vcpu >= 0 && run_nowhere(vcpu) == 0;
}

bool sev_type_fits(unsigned long type, enum vmr_confidential kind)
{
	return type == KVM_X86_DEFAULT_VM ||
	       type == (kind == VMR_CONFIDENTIAL_SEV_ES ? KVM_X86_SEV_ES_VM : KVM_X86_SEV_VM);
}

unsigned long vmr_sev_vm_type(int kvm_fd, enum vmr_confidential kind)
{
	return kind == VMR_CONFIDENTIAL_SEV && sev_type_moves(kvm_fd, KVM_X86_SEV_VM)
		       ? KVM_X86_SEV_VM
		       : KVM_X86_DEFAULT_VM;
}
