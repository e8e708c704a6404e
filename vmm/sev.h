/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Launching a confidential guest (SEV, SEV-ES): what `run --sev` does beyond a plain VM.
 *
 * An ELF guest learns from RDI what it is (enum vmr_confidential), and from RDX the index of its
 * vCPU: with SEV-ES every vCPU starts at the entry point, the others when the boot vCPU starts
 * them.
 */
#ifndef VMM_SEV_H
#define VMM_SEV_H

#include <vmrelay/vmrelay.h>

#include "base64.h"
#include "boot/boot.h"
#include "options.h"
#include "vmm.h"

struct sev {
	int fd;		/* /dev/sev */
	uint64_t c_bit; /* mask of the bit that makes a page private */
	char measurement[BASE64_SIZE(VMR_SEV_MEASUREMENT_SIZE)]; /* empty: none */
};

#define SEV_INIT                                                                                   \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/* Is there SEV?  And what type must the VM be of?  Default for a plain VM. */
int sev_open(struct sev *sev, int kvm_fd, const struct vmm_options *options,
	     unsigned long *ret_type, struct vmm_error *ret_error);
/* Before the first vCPU.  Nothing for a plain VM. */
int sev_init(const struct sev *sev, struct vmr_vm *vm, const struct vmm_options *options,
	     struct vmm_error *ret_error);

/*
 * When memory and registers are as the guest shall find them: encrypt and measure.  Until the
 * launch is finished, secrets may be put in.  Nothing for a plain VM.
 */
int sev_launch(struct sev *sev, struct vmr_vm *vm, const struct vmm_memory *memory,
	       const struct boot_entry *entry, const struct vmm_options *options,
	       struct vmm_error *ret_error);

int sev_put_secret(struct vmr_vm *vm, const struct vmm_memory *memory,
		   const struct vmm_secret *secret, struct vmm_error *ret_error);

/* What the secure processor attests of a guest that has been measured. */
int sev_attest(const struct vmr_vm *vm, const uint8_t nonce[VMM_NONCE_SIZE],
	       uint8_t ret[VMR_SEV_REPORT_SIZE], struct vmm_error *ret_error);

/* What the source says of it, hostile until checked: 0 or -EINVAL. */
int sev_set_measurement(struct sev *sev, const char *text);
/* For a VM that came by a relay. */
int sev_adopt(struct sev *sev, struct vmr_vm *vm, struct vmm_error *ret_error);

void sev_done(struct sev *sev);

#endif
