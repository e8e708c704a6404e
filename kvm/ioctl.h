/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One typed function per ioctl of /dev/kvm, VM and vCPU file descriptors, and of /dev/sev; nothing
 * else in the tree calls ioctl() on those.
 *
 * All return 0 (or the non-negative value that their comment names) or -errno.  Sections refer to
 * Documentation/virt/kvm/api.rst of the kernel.  No call is repeated after EINTR except where the
 * comment says so: KVM_RUN's EINTR is an answer, the others do not sleep interruptibly.
 */
#ifndef KVM_IOCTL_H
#define KVM_IOCTL_H

#include <linux/psp-sev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uapi.h"

/* System: /dev/kvm. */

int kvm_system_open(void); /* fd */
int kvm_system_get_api_version(int kvm_fd);					     /* 4.1 */
int kvm_system_create_vm(int kvm_fd, unsigned long type);			     /* 4.2: fd */
int kvm_system_check_extension(int kvm_fd, unsigned cap);			     /* 4.4: value */
int kvm_system_get_vcpu_mmap_size(int kvm_fd);					     /* 4.5: bytes */
/* 4.3, 4.46: list->nmsrs and list->nent are the room on entry, the number on return. */
int kvm_system_get_msr_index_list(int kvm_fd, struct kvm_msr_list *list);
int kvm_system_get_msr_feature_index_list(int kvm_fd, struct kvm_msr_list *list);
int kvm_system_get_supported_cpuid(int kvm_fd, struct kvm_cpuid2 *cpuid);
int kvm_system_get_mce_cap_supported(int kvm_fd, uint64_t *ret_mcg_cap);	     /* 4.104 */

/* VM. */

int kvm_vm_check_extension(int vm_fd, unsigned cap);				     /* 4.4: value */
int kvm_vm_enable_cap(int vm_fd, const struct kvm_enable_cap *cap);		     /* 4.37 */
int kvm_vm_create_vcpu(int vm_fd, unsigned long id);				     /* 4.7: fd */
int kvm_vm_set_user_memory_region(int vm_fd, const struct kvm_userspace_memory_region *region);
int kvm_vm_set_tss_addr(int vm_fd, uint32_t gpa);				     /* 4.35 */
int kvm_vm_set_identity_map_addr(int vm_fd, uint64_t gpa);			     /* 4.40 */
int kvm_vm_set_boot_cpu_id(int vm_fd, unsigned long id);			     /* 4.41 */
int kvm_vm_create_irqchip(int vm_fd);						     /* 4.24 */
int kvm_vm_irq_line(int vm_fd, uint32_t gsi, uint32_t level);			     /* 4.25 */
int kvm_vm_get_irqchip(int vm_fd, struct kvm_irqchip *chip);			     /* 4.26: chip_id in */
int kvm_vm_set_irqchip(int vm_fd, const struct kvm_irqchip *chip);		     /* 4.27 */
int kvm_vm_create_pit2(int vm_fd, const struct kvm_pit_config *config);		     /* 4.72 */
int kvm_vm_get_pit2(int vm_fd, struct kvm_pit_state2 *ret_pit);			     /* 4.73 */
int kvm_vm_set_pit2(int vm_fd, const struct kvm_pit_state2 *pit);		     /* 4.74 */
int kvm_vm_reinject_control(int vm_fd, bool reinject);
int kvm_vm_get_clock(int vm_fd, struct kvm_clock_data *ret_clock);		     /* 4.29 */
int kvm_vm_set_clock(int vm_fd, const struct kvm_clock_data *clock);		     /* 4.30 */
int kvm_vm_set_gsi_routing(int vm_fd, const struct kvm_irq_routing *routing);	     /* 4.52 */
int kvm_vm_irqfd(int vm_fd, const struct kvm_irqfd *irqfd);			     /* 4.75 */
int kvm_vm_ioeventfd(int vm_fd, const struct kvm_ioeventfd *ioeventfd);		     /* 4.59 */
int kvm_vm_set_msr_filter(int vm_fd, const struct kvm_msr_filter *filter);	     /* 4.97 */
int kvm_vm_set_tsc_khz(int vm_fd, unsigned khz);				     /* 4.55 */
int kvm_vm_get_tsc_khz(int vm_fd);						     /* 4.56: kHz */
int kvm_vm_memory_encrypt_reg_region(int vm_fd, uint64_t addr, uint64_t size);	     /* 4.111 */
int kvm_vm_move_enc_context_from(int vm_fd, int source_vm_fd);			     /* 7.30 */

/*
 * SEV commands of a VM (amd-memory-encryption.rst).  sev_fd is /dev/sev; *fw becomes the status of
 * the secure processor, and is 0 if it was not asked.
 */

int kvm_sev_init(int vm_fd, bool es, uint32_t *fw);
int kvm_sev_init2(int vm_fd, uint32_t *fw); /* for VMs of a type, with KVM's defaults */
int kvm_sev_launch_start(int vm_fd, int sev_fd, struct kvm_sev_launch_start *start, uint32_t *fw);
int kvm_sev_launch_update_data(int vm_fd, int sev_fd, void *at, uint32_t len, uint32_t *fw);
int kvm_sev_launch_update_vmsa(int vm_fd, int sev_fd, uint32_t *fw);
int kvm_sev_launch_measure(int vm_fd, int sev_fd, void *blob, uint32_t *len, uint32_t *fw);
int kvm_sev_launch_secret(int vm_fd, int sev_fd, struct kvm_sev_launch_secret *secret, uint32_t *fw);
int kvm_sev_launch_finish(int vm_fd, int sev_fd, uint32_t *fw);
int kvm_sev_guest_status(int vm_fd, int sev_fd, struct kvm_sev_guest_status *ret, uint32_t *fw);
int kvm_sev_get_attestation_report(int vm_fd, int sev_fd, struct kvm_sev_attestation_report *report,
				   uint32_t *fw);

/* /dev/sev: commands that need no VM.  *fw as above. */

int sev_device_open(void); /* fd */
int sev_device_platform_status(int sev_fd, struct sev_user_data_status *ret, uint32_t *fw);
/* With lengths of 0: -EIO with *fw 4, and the lengths are what is needed. */
int sev_device_pdh_cert_export(int sev_fd, struct sev_user_data_pdh_cert_export *certs,
			       uint32_t *fw);

/* vCPU. */

int kvm_vcpu_run(int vcpu_fd); /* 4.10: -EINTR after a signal or with immediate_exit */
int kvm_vcpu_enable_cap(int vcpu_fd, const struct kvm_enable_cap *cap);		     /* 4.37 */
int kvm_vcpu_get_regs(int vcpu_fd, struct kvm_regs *ret_regs);			     /* 4.11 */
int kvm_vcpu_set_regs(int vcpu_fd, const struct kvm_regs *regs);		     /* 4.12 */
int kvm_vcpu_get_sregs(int vcpu_fd, struct kvm_sregs *ret_sregs);		     /* 4.13 */
int kvm_vcpu_set_sregs(int vcpu_fd, const struct kvm_sregs *sregs);		     /* 4.14 */
int kvm_vcpu_get_sregs2(int vcpu_fd, struct kvm_sregs2 *ret_sregs);		     /* 4.132 */
int kvm_vcpu_set_sregs2(int vcpu_fd, const struct kvm_sregs2 *sregs);		     /* 4.133 */
int kvm_vcpu_get_msrs(int vcpu_fd, struct kvm_msrs *msrs); /* 4.18: number read before a failure */
int kvm_vcpu_set_msrs(int vcpu_fd, const struct kvm_msrs *msrs); /* 4.19: number set */
int kvm_vcpu_get_cpuid2(int vcpu_fd, struct kvm_cpuid2 *cpuid);			     /* 4.47 */
int kvm_vcpu_set_cpuid2(int vcpu_fd, const struct kvm_cpuid2 *cpuid);		     /* 4.20 */
int kvm_vcpu_get_lapic(int vcpu_fd, struct kvm_lapic_state *ret_lapic);		     /* 4.57 */
int kvm_vcpu_set_lapic(int vcpu_fd, const struct kvm_lapic_state *lapic);	     /* 4.58 */
int kvm_vcpu_get_events(int vcpu_fd, struct kvm_vcpu_events *ret_events);	     /* 4.31 */
int kvm_vcpu_set_events(int vcpu_fd, const struct kvm_vcpu_events *events);	     /* 4.32 */
int kvm_vcpu_get_debugregs(int vcpu_fd, struct kvm_debugregs *ret_debugregs);	     /* 4.33 */
int kvm_vcpu_set_debugregs(int vcpu_fd, const struct kvm_debugregs *debugregs);	     /* 4.34 */
int kvm_vcpu_get_mp_state(int vcpu_fd, struct kvm_mp_state *ret_mp_state);	     /* 4.38 */
int kvm_vcpu_set_mp_state(int vcpu_fd, const struct kvm_mp_state *mp_state);	     /* 4.39 */
int kvm_vcpu_get_xsave(int vcpu_fd, struct kvm_xsave *ret_xsave);		     /* 4.42: 4096 bytes */
int kvm_vcpu_get_xsave2(int vcpu_fd, struct kvm_xsave *ret_xsave); /* 4.134: KVM_CAP_XSAVE2 bytes */
int kvm_vcpu_set_xsave(int vcpu_fd, const struct kvm_xsave *xsave);		     /* 4.43 */
int kvm_vcpu_get_xcrs(int vcpu_fd, struct kvm_xcrs *ret_xcrs);			     /* 4.44 */
int kvm_vcpu_set_xcrs(int vcpu_fd, const struct kvm_xcrs *xcrs);		     /* 4.45 */
int kvm_vcpu_set_tsc_khz(int vcpu_fd, unsigned khz);				     /* 4.55 */
int kvm_vcpu_get_tsc_khz(int vcpu_fd);						     /* 4.56: kHz */
int kvm_vcpu_get_nested_state(int vcpu_fd, struct kvm_nested_state *state); /* 4.114: size in */
int kvm_vcpu_set_nested_state(int vcpu_fd, const struct kvm_nested_state *state);    /* 4.115 */
int kvm_vcpu_setup_mce(int vcpu_fd, uint64_t mcg_cap);				     /* 4.105 */
int kvm_vcpu_kvmclock_ctrl(int vcpu_fd);					     /* 4.65 */
/* KVM_VCPU_TSC_CTRL / KVM_VCPU_TSC_OFFSET, Documentation/virt/kvm/devices/vcpu.rst section 4. */
int kvm_vcpu_has_tsc_offset(int vcpu_fd); /* 0 or -ENXIO */
int kvm_vcpu_get_tsc_offset(int vcpu_fd, uint64_t *ret_offset);
int kvm_vcpu_set_tsc_offset(int vcpu_fd, uint64_t offset);

#endif
