/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Confidential VMs: SEV and SEV-ES.
 *
 * The calls of a launch, in their order; each checks that the secure processor is then in the state
 * that it should be in.  Numbers of sections are of the AMD publication 55766, "Secure Encrypted
 * Virtualization API"; what KVM makes of the commands is in the kernel's
 * Documentation/virt/kvm/x86/amd-memory-encryption.rst.  A VM that was launched like this is
 * relayed as any other: KVM moves what the VMM may not see (see relay.h).
 */
#ifndef VMRELAY_SEV_H
#define VMRELAY_SEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmrelay/error.h>
#include <vmrelay/vm.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vmr_confidential {
	VMR_CONFIDENTIAL_NONE,
	VMR_CONFIDENTIAL_SEV,
	VMR_CONFIDENTIAL_SEV_ES,
};

/* States of a guest in the secure processor (section 6.1.6). */
enum vmr_sev_state {
	VMR_SEV_UNINIT = 0,
	VMR_SEV_LUPDATE = 1, /* being loaded */
	VMR_SEV_LSECRET = 2, /* measured; secrets may be put in */
	VMR_SEV_RUNNING = 3,
	VMR_SEV_SUPDATE = 4, /* being sent to another host */
	VMR_SEV_RUPDATE = 5, /* being received */
	VMR_SEV_SENT = 6,
};

#define VMR_SEV_MEASUREMENT_SIZE 48 /* the measurement and its nonce */
#define VMR_SEV_REPORT_SIZE	 208
#define VMR_SEV_BLOB_MAX	 0x4000

/*
 * The type to give to vmr_vm_create() for a guest that shall be relayed: for SEV, KVM_X86_SEV_VM
 * where KVM can run a VM of that type after a move; otherwise, and for SEV-ES, KVM_X86_DEFAULT_VM
 * (0).  It is tried out, by creating and closing two VMs: milliseconds, and an ASID for the moment.
 */
unsigned long vmr_sev_vm_type(int kvm_fd, enum vmr_confidential kind);
/*
 * KVM_SEV_INIT or KVM_SEV_ES_INIT, and for a VM of type KVM_X86_SEV_VM or KVM_X86_SEV_ES_VM
 * KVM_SEV_INIT2: before the first vCPU is created.  sev_fd (/dev/sev) is borrowed for the life of
 * the object.  A VM of a type that vmr_sev_vm_type() would not have given refuses to be relayed.
 */
int vmr_sev_init(struct vmr_vm *vm, enum vmr_confidential kind, int sev_fd,
		 struct vmr_error *ret_error);
enum vmr_confidential vmr_vm_confidential(const struct vmr_vm *vm);
/* Does KVM answer -EIO to whatever it is asked of this VM?  So it is after its context was moved.
 */
bool vmr_vm_is_dead(const struct vmr_vm *vm);
/*
 * /dev/sev for a VM that vmr_target_build() has built; borrowed as above.  It must be open as file
 * descriptor 0, too (see vmr_sev_status()), before vmr_target_ready().
 */
void vmr_sev_set_fd(struct vmr_vm *vm, int sev_fd);
/*
 * Tell that this VM's context is shared with mirrors of it (KVM_CAP_VM_COPY_ENC_CONTEXT_FROM), or
 * is no longer: KVM does not tell, and a VM that is mirrored is not relayed.  That a VM is a mirror
 * is known from its vmr_vm_enable_cap().
 */
void vmr_sev_set_mirrored(struct vmr_vm *vm, bool is_mirrored);

/* KVM_MEMORY_ENCRYPT_REG_REGION: pins guest memory; size in bytes. */
int vmr_sev_register_region(struct vmr_vm *vm, void *hva, uint64_t size,
			    struct vmr_error *ret_error);

/* LAUNCH_START (6.2).  Certificate and session of the guest owner: both or none. */
struct vmr_sev_launch {
	uint32_t policy; /* chapter 3 */
	const void *dh_cert;
	uint32_t dh_cert_len;
	const void *session;
	uint32_t session_len;
};
int vmr_sev_launch_start(struct vmr_vm *vm, const struct vmr_sev_launch *launch,
			 struct vmr_error *ret_error);
/* LAUNCH_UPDATE_DATA (6.3): encrypt and measure; address and length in bytes, multiples of 16. */
int vmr_sev_launch_update_data(struct vmr_vm *vm, void *hva, uint64_t len,
			       struct vmr_error *ret_error);
/* LAUNCH_UPDATE_VMSA (6.4), for each vCPU: its registers are the guest's secret from here on. */
int vmr_sev_launch_update_vmsa(struct vmr_vm *vm, struct vmr_error *ret_error);
/* LAUNCH_MEASURE (6.5). */
int vmr_sev_launch_measure(struct vmr_vm *vm, uint8_t ret[VMR_SEV_MEASUREMENT_SIZE],
			   struct vmr_error *ret_error);
/* LAUNCH_SECRET (6.6): a packet that the guest owner sealed for this guest, to len bytes at hva. */
int vmr_sev_launch_secret(struct vmr_vm *vm, const void *header, uint32_t header_len,
			  const void *packet, uint32_t packet_len, void *hva, uint32_t len,
			  struct vmr_error *ret_error);
/* LAUNCH_FINISH (6.7); call vmr_vm_complete() after it. */
int vmr_sev_launch_finish(struct vmr_vm *vm, struct vmr_error *ret_error);

/*
 * GUEST_STATUS (6.17) and ATTESTATION (6.8; *len: room on entry, length on return).  On a VM that
 * was relayed, KVM looks for /dev/sev at file descriptor 0 of the caller, since it does not move
 * the number that it had stored; without it there they fail with -ENOTSUP.
 */
struct vmr_sev_status {
	uint32_t handle;
	uint32_t policy;
	enum vmr_sev_state state;
};
int vmr_sev_status(const struct vmr_vm *vm, struct vmr_sev_status *ret,
		   struct vmr_error *ret_error);
int vmr_sev_attestation_report(const struct vmr_vm *vm, const uint8_t nonce[16], void *buf,
			       uint32_t *len, struct vmr_error *ret_error);

/*
 * Known defects of KVM that a relay of this kind of guest can meet: the n-th of those that a kernel
 * with this release and version (as in struct utsname) has or may have; false past the last.
 */
struct vmr_kernel_defect {
	const char *name; /* "CVE-2023-54296" */
	const char *text; /* what it does */
	bool is_certain; /* false: a distribution may have fixed it, or it is not known where it was
			  */
};
bool vmr_kernel_defect(const char *release, const char *version, enum vmr_confidential kind,
		       unsigned n, struct vmr_kernel_defect *ret);

#ifdef __cplusplus
}
#endif

#endif
