/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Launching a confidential guest; see sev.h. */
#include "sev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "cpuid.h"
#include "file.h"
#include "guest.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"

#define LEAF_MEMORY_ENCRYPTION 0x8000001fU
#define C_BIT_POSITION	       0x3fU /* of EBX */
#define POLICY_ES	       (1U << 2)

static int fail(struct vmm_error *ret_error, const struct vmr_error *error)
{
	vmm_error_set(ret_error, VMM_EXIT_FAILED, "%s", error->text);
	return -1;
}

/* 0: the CPU has no memory encryption. */
static uint64_t find_c_bit(int kvm_fd)
{
	autofree struct kvm_cpuid2 *cpuid = NULL;

	if (cpuid_supported(kvm_fd, &cpuid) < 0)
		return 0;
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == LEAF_MEMORY_ENCRYPTION)
			return 1ULL << (cpuid->entries[i].ebx & C_BIT_POSITION);
	return 0;
}

/*
 * KVM reaches /dev/sev by the number of a file descriptor, and does not move that with the guest:
 * it has 0 then.  A VMM has no use for its standard input, so /dev/sev goes there, too.
 */
static int open_device(void)
{
	autofd fd = open("/dev/sev", O_RDWR | O_CLOEXEC);

	return fd >= 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO ? steal_fd(&fd) : -1;
}

static int choose_type(int kvm_fd, const struct vmm_options *options, unsigned long *ret_type,
		       struct vmm_error *ret_error)
{
	int types = kvm_system_check_extension(kvm_fd, KVM_CAP_VM_TYPES);

	switch (options->sev_interface) {
	case VMM_SEV_AUTO:
		*ret_type = vmr_sev_vm_type(kvm_fd, options->confidential);
		return 0;
	case VMM_SEV_INIT:
		*ret_type = KVM_X86_DEFAULT_VM;
		return 0;
	case VMM_SEV_INIT2:
		*ret_type = options->confidential == VMR_CONFIDENTIAL_SEV_ES ? KVM_X86_SEV_ES_VM
									     : KVM_X86_SEV_VM;
		if (types > 0 && types & 1 << *ret_type)
			return 0;
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "this host's KVM has no KVM_SEV_INIT2 for such a guest (Linux 6.10)");
	}
	return -1;
}

int sev_open(struct sev *sev, int kvm_fd, const struct vmm_options *options,
	     unsigned long *ret_type, struct vmm_error *ret_error)
{
	*ret_type = KVM_X86_DEFAULT_VM;
	if (options->confidential == VMR_CONFIDENTIAL_NONE)
		return 0;
	sev->fd = open_device();
	if (sev->fd < 0) {
		vmm_error_set(
			ret_error, VMM_EXIT_FAILED,
			"this host has no SEV: opening /dev/sev failed: %m (rig/run --sev runs "
			"programs on a Linux that has it)");
		return -1;
	}
	sev->c_bit = find_c_bit(kvm_fd);
	if (sev->c_bit <= 1) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "this host has no SEV: KVM does not tell the position of the C-bit");
		return -1;
	}
	return choose_type(kvm_fd, options, ret_type, ret_error);
}

int sev_init(const struct sev *sev, struct vmr_vm *vm, const struct vmm_options *options,
	     struct vmm_error *ret_error)
{
	struct vmr_error error = {.text = ""};

	if (options->confidential == VMR_CONFIDENTIAL_NONE)
		return 0;
	if (vmr_sev_init(vm, options->confidential, sev->fd, &error) < 0)
		return fail(ret_error, &error);
	return 0;
}

static int launch_start(struct vmr_vm *vm, const struct vmm_options *options,
			struct vmm_error *ret_error)
{
	bool es = options->confidential == VMR_CONFIDENTIAL_SEV_ES;
	autofree void *dh_cert = NULL, *session = NULL;
	struct vmr_error error = {.text = ""};
	struct vmr_sev_launch launch = {.policy = options->sev_policy | (es ? POLICY_ES : 0)};

	if (options->sev_session && (file_read(options->sev_dh_cert, VMR_SEV_BLOB_MAX, &dh_cert,
					       &launch.dh_cert_len, ret_error) < 0 ||
				     file_read(options->sev_session, VMR_SEV_BLOB_MAX, &session,
					       &launch.session_len, ret_error) < 0))
		return -1;
	launch.dh_cert = dh_cert;
	launch.session = session;
	return vmr_sev_launch_start(vm, &launch, &error) < 0 ? fail(ret_error, &error) : 0;
}

/* Pin all memory; encrypt and measure what was loaded. */
static int launch_update(struct vmr_vm *vm, const struct vmm_memory *memory,
			 const struct boot_entry *entry, struct vmr_error *error)
{
	struct boot_range ranges[GUEST_MEASURED_MAX];
	unsigned n = guest_measured(entry, ranges);
	int r = 0;

	for (unsigned i = 0; r == 0 && i < memory->n_regions; i++)
		r = vmr_sev_register_region(vm, memory->region[i].hva, memory->region[i].size,
					    error);
	for (unsigned i = 0; r == 0 && i < n; i++) {
		uint64_t len = ranges[i].end - ranges[i].start;

		r = vmr_sev_launch_update_data(vm, vmm_memory_at(memory, ranges[i].start, len), len,
					       error);
	}
	return r;
}

int sev_put_secret(struct vmr_vm *vm, const struct vmm_memory *memory,
		   const struct vmm_secret *secret, struct vmm_error *ret_error)
{
	void *at = vmm_memory_at(memory, secret->gpa, secret->packet_len);
	struct vmr_error error = {.text = ""};

	if (!at) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "the guest has no memory for a secret of %u bytes at 0x%llx",
			      secret->packet_len, (unsigned long long)secret->gpa);
		return -1;
	}
	return vmr_sev_launch_secret(vm, secret->header, secret->header_len, secret->packet,
				     secret->packet_len, at, secret->packet_len, &error) < 0
		       ? fail(ret_error, &error)
		       : 0;
}

int sev_set_measurement(struct sev *sev, const char *text)
{
	uint8_t measurement[VMR_SEV_MEASUREMENT_SIZE];
	size_t len = 0;

	if (text[0] && (base64_decode(text, measurement, sizeof(measurement), &len) < 0 ||
			len != sizeof(measurement)))
		return -EINVAL;
	memcpy(sev->measurement, text, strlen(text) + 1);
	return 0;
}

int sev_launch(struct sev *sev, struct vmr_vm *vm, const struct vmm_memory *memory,
	       const struct boot_entry *entry, const struct vmm_options *options,
	       struct vmm_error *ret_error)
{
	uint8_t measurement[VMR_SEV_MEASUREMENT_SIZE] = {0};
	struct vmr_error error = {.text = ""};
	int r;

	if (options->confidential == VMR_CONFIDENTIAL_NONE)
		return 0;
	if (launch_start(vm, options, ret_error) < 0)
		return -1;
	r = launch_update(vm, memory, entry, &error);
	if (r == 0 && options->confidential == VMR_CONFIDENTIAL_SEV_ES)
		r = vmr_sev_launch_update_vmsa(vm, &error);
	if (r == 0)
		r = vmr_sev_launch_measure(vm, measurement, &error);
	if (r < 0)
		return fail(ret_error, &error);
	base64_encode(measurement, sizeof(measurement), sev->measurement);
	return 0;
}

int sev_attest(const struct vmr_vm *vm, const uint8_t nonce[VMM_NONCE_SIZE],
	       uint8_t ret[VMR_SEV_REPORT_SIZE], struct vmm_error *ret_error)
{
	struct vmr_error error = {.text = ""};
	uint32_t len = VMR_SEV_REPORT_SIZE;

	if (vmr_sev_attestation_report(vm, nonce, ret, &len, &error) < 0)
		return fail(ret_error, &error);
	if (len == VMR_SEV_REPORT_SIZE)
		return 0;
	vmm_error_set(ret_error, VMM_EXIT_FAILED, "the attestation report has %u bytes", len);
	return -1;
}

int sev_adopt(struct sev *sev, struct vmr_vm *vm, struct vmm_error *ret_error)
{
	if (vmr_vm_confidential(vm) == VMR_CONFIDENTIAL_NONE)
		return 0;
	sev->fd = open_device();
	if (sev->fd < 0) {
		vmm_error_set(ret_error, VMM_EXIT_REFUSED,
			      "opening /dev/sev for the confidential guest failed: %m");
		return -1;
	}
	vmr_sev_set_fd(vm, sev->fd);
	return 0;
}

void sev_done(struct sev *sev)
{
	close_fd(sev->fd);
	*sev = (struct sev)SEV_INIT;
}
