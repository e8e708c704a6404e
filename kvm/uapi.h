/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What vmrelay uses of KVM's interface and linux/kvm.h of Linux 6.1 does not have yet. */
#ifndef KVM_UAPI_H
#define KVM_UAPI_H

#include <linux/kvm.h>

#ifndef KVM_CAP_VM_TYPES /* Linux 6.8 */
#define KVM_CAP_VM_TYPES   235
#define KVM_X86_DEFAULT_VM 0
#endif

#ifndef KVM_X86_SEV_VM /* Linux 6.10 */
#define KVM_X86_SEV_VM	  2
#define KVM_X86_SEV_ES_VM 3
#define KVM_SEV_INIT2	  22
struct kvm_sev_init {
	__u64 vmsa_features;
	__u32 flags;
	__u16 ghcb_version;
	__u16 pad1;
	__u32 pad2[8];
};
#endif

#endif
