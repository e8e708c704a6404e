/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Launching a confidential guest; see sev.h. */
#include "sev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpuid.h"
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
	sev->fd = open("/dev/sev", O_RDWR | O_CLOEXEC);
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

/* A file of the guest owner, whole; *ret is the caller's. */
static int read_blob(const char *path, void **ret, uint32_t *ret_len, struct vmm_error *ret_error)
{
	autofd fd = open(path, O_RDONLY | O_CLOEXEC);
	autofree uint8_t *blob = malloc(VMR_SEV_BLOB_MAX + 1);
	ssize_t len = fd < 0 || !blob ? -1 : read(fd, blob, VMR_SEV_BLOB_MAX + 1);

	if (len < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "reading %s failed: %m", path);
		return -1;
	}
	if (len == 0 || len > VMR_SEV_BLOB_MAX) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "%s has %s than 1 to %d bytes", path,
			      len == 0 ? "less" : "more", VMR_SEV_BLOB_MAX);
		return -1;
	}
	*ret = steal_ptr(blob);
	*ret_len = (uint32_t)len;
	return 0;
}

static int launch_start(struct vmr_vm *vm, const struct vmm_options *options,
			struct vmm_error *ret_error)
{
	bool es = options->confidential == VMR_CONFIDENTIAL_SEV_ES;
	autofree void *dh_cert = NULL, *session = NULL;
	struct vmr_error error = {.text = ""};
	struct vmr_sev_launch launch = {.policy = options->sev_policy | (es ? POLICY_ES : 0)};

	if (options->sev_session &&
	    (read_blob(options->sev_dh_cert, &dh_cert, &launch.dh_cert_len, ret_error) < 0 ||
	     read_blob(options->sev_session, &session, &launch.session_len, ret_error) < 0))
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

static int launch_secret(struct vmr_vm *vm, const struct vmm_memory *memory,
			 const struct vmm_options *options, struct vmm_error *ret_error)
{
	autofree void *header = NULL, *packet = NULL;
	uint32_t header_len, packet_len;
	struct vmr_error error = {.text = ""};
	void *at;

	if (!options->sev_secret)
		return 0;
	if (read_blob(options->sev_secret_header, &header, &header_len, ret_error) < 0 ||
	    read_blob(options->sev_secret, &packet, &packet_len, ret_error) < 0)
		return -1;
	at = vmm_memory_at(memory, options->sev_secret_gpa, packet_len);
	if (!at) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "the guest has no memory for a secret of %u bytes at 0x%llx",
			      packet_len, (unsigned long long)options->sev_secret_gpa);
		return -1;
	}
	return vmr_sev_launch_secret(vm, header, header_len, packet, packet_len, at, packet_len,
				     &error) < 0
		       ? fail(ret_error, &error)
		       : 0;
}

/* RFC 4648 section 4. */
static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Of a length that needs no padding. */
static void to_base64(const uint8_t *bytes, size_t len, char *ret)
{
	for (size_t i = 0; i + 2 < len; i += 3) {
		uint32_t group =
			(uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];

		for (unsigned shift = 18; shift <= 18; shift -= 6)
			*ret++ = base64_digits[group >> shift & 63];
	}
	*ret = '\0';
}

int sev_set_measurement(struct sev *sev, const char *text)
{
	size_t len = strlen(text);

	if (len > 0 && (len != SEV_MEASUREMENT_TEXT || strspn(text, base64_digits) != len))
		return -EINVAL;
	memcpy(sev->measurement, text, len + 1);
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
	to_base64(measurement, sizeof(measurement), sev->measurement);
	if (launch_secret(vm, memory, options, ret_error) < 0)
		return -1;
	return vmr_sev_launch_finish(vm, &error) < 0 ? fail(ret_error, &error) : 0;
}

/*
 * KVM does not move the number of the file descriptor by which it reaches /dev/sev: it has 0 then.
 * A VMM that takes a guest over has no use for its standard input, so /dev/sev goes there.
 */
int sev_adopt(struct sev *sev, struct vmr_vm *vm, struct vmm_error *ret_error)
{
	if (vmr_vm_confidential(vm) == VMR_CONFIDENTIAL_NONE)
		return 0;
	sev->fd = open("/dev/sev", O_RDWR | O_CLOEXEC);
	if (sev->fd < 0 || dup2(sev->fd, STDIN_FILENO) < 0) {
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
