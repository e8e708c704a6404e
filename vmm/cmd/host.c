// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmrelay host: what SEV this host has, and its certificates for the owner of a guest.
 *
 * Whether guests can use SEV is what KVM says (CPUID leaf 0x8000001f of KVM_GET_SUPPORTED_CPUID;
 * APM volume 3, E.4.17); the rest comes from the secure processor (AMD publication 55766, chapter
 * 5).
 */
#include <cpuid.h>
#include <stdio.h>
#include <string.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "../cpuid.h"
#include "../file.h"
#include "common.h"

#define LEAF_ENCRYPTION	  0x8000001fU
#define HAS_SEV		  (1U << 1)
#define HAS_SEV_ES	  (1U << 3)
#define C_BIT_POSITION	  0x3fU
#define STATUS_OWNED	  (1U << 0)
#define FW_INVALID_LENGTH 4
#define CERTIFICATES_MAX  0x4000 /* what the driver copies at most */

struct host {
	struct cmd cmd;
	const char *pdh_path;
	const char *chain_path;

	bool es; /* KVM can run SEV-ES guests */
	bool can_move;
	unsigned c_bit, asids, min_sev_asid;
	struct sev_user_data_status status;
};

enum { KEY_PDH = CMD_KEY_FIRST, KEY_CHAIN };

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct host *host = state->input;

	switch (key) {
	case KEY_PDH:
		host->pdh_path = arg;
		return 0;
	case KEY_CHAIN:
		host->chain_path = arg;
		return 0;
	default:
		return cmd_parse_opt(&host->cmd, key, arg, state);
	}
}

static int fail(struct vmm_error *ret_error, const char *text, const char *cause)
{
	vmm_error_set(ret_error, VMM_EXIT_FAILED, "this host has no SEV: %s%s%s", text,
		      cause ? ": " : "", cause ? cause : "");
	return -1;
}

static int ask_kvm(struct host *host, struct vmm_error *ret_error)
{
	autofd kvm_fd = kvm_system_open();
	autofree struct kvm_cpuid2 *cpuid = NULL;
	const struct kvm_cpuid_entry2 *leaf = NULL;
	unsigned eax, ebx, ecx, edx;
	int r = kvm_fd < 0 ? kvm_fd : cpuid_supported(kvm_fd, &cpuid);

	if (r < 0)
		return fail(ret_error, "asking /dev/kvm failed", strerrordesc_np(-r));
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == LEAF_ENCRYPTION)
			leaf = &cpuid->entries[i];
	if (!leaf || !(leaf->eax & HAS_SEV)) {
		if (__get_cpuid(LEAF_ENCRYPTION, &eax, &ebx, &ecx, &edx) && eax & HAS_SEV)
			return fail(ret_error,
				    "its CPU does, but KVM does not use it (parameter sev of "
				    "kvm_amd, settings of the BIOS)",
				    NULL);
		return fail(ret_error, "its CPU does not have it", NULL);
	}
	host->es = leaf->eax & HAS_SEV_ES;
	host->c_bit = leaf->ebx & C_BIT_POSITION;
	host->asids = leaf->ecx;
	host->min_sev_asid = leaf->edx;
	host->can_move = kvm_system_check_extension(kvm_fd, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM) > 0;
	return 0;
}

static int fail_command(struct vmm_error *ret_error, const char *command, int r, uint32_t fw)
{
	if (fw != 0)
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "%s failed: %s (status 0x%x of the secure processor)", command,
			      strerrordesc_np(-r), fw);
	else
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "%s failed: %s", command,
			      strerrordesc_np(-r));
	return -1;
}

/* Asked without room, the secure processor says that it is too small, and how much it takes. */
static int export_certificates(const struct host *host, int sev_fd, struct vmm_error *ret_error)
{
	struct sev_user_data_pdh_cert_export certs = {0};
	uint32_t fw = 0;
	int r = sev_device_pdh_cert_export(sev_fd, &certs, &fw);

	if (r != -EIO || fw != FW_INVALID_LENGTH)
		return fail_command(ret_error, "asking for the size of PDH_CERT_EXPORT", r, fw);
	if (certs.pdh_cert_len == 0 || certs.pdh_cert_len > CERTIFICATES_MAX ||
	    certs.cert_chain_len == 0 || certs.cert_chain_len > CERTIFICATES_MAX) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "the secure processor has certificates of %u and %u bytes",
			      certs.pdh_cert_len, certs.cert_chain_len);
		return -1;
	}

	const uint32_t pdh_len = certs.pdh_cert_len, chain_len = certs.cert_chain_len;
	autofree uint8_t *pdh = calloc(1, pdh_len), *chain = calloc(1, chain_len);

	if (!pdh || !chain) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "out of memory");
		return -1;
	}
	certs.pdh_cert_address = (uintptr_t)pdh;
	certs.cert_chain_address = (uintptr_t)chain;
	r = sev_device_pdh_cert_export(sev_fd, &certs, &fw);
	if (r < 0)
		return fail_command(ret_error, "PDH_CERT_EXPORT", r, fw);
	if (host->pdh_path && file_write(host->pdh_path, pdh, pdh_len, ret_error) < 0)
		return -1;
	return host->chain_path ? file_write(host->chain_path, chain, chain_len, ret_error) : 0;
}

static int ask_secure_processor(struct host *host, struct vmm_error *ret_error)
{
	autofd sev_fd = sev_device_open();
	uint32_t fw = 0;
	int r;

	if (sev_fd < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED,
			      "opening /dev/sev, which the driver of the secure processor makes, "
			      "failed: %s",
			      strerrordesc_np(-sev_fd));
		return -1;
	}
	r = sev_device_platform_status(sev_fd, &host->status, &fw);
	if (r < 0)
		return fail_command(ret_error, "PLATFORM_STATUS", r, fw);
	return host->pdh_path || host->chain_path ? export_certificates(host, sev_fd, ret_error)
						  : 0;
}

static const char *state_name(uint8_t state)
{
	static const char *const names[] = {"uninitialized", "initialized", "working"};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

static json_t *to_json(const struct host *host)
{
	const struct sev_user_data_status *status = &host->status;
	unsigned es_asids = host->min_sev_asid > 0 ? host->min_sev_asid - 1 : 0;
	unsigned sev_asids = host->asids > es_asids ? host->asids - es_asids : 0;

	return json_pack("{s:b, s:b, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:b, s:b, s:i}", "sev",
			 1, "sev_es", host->es, "can_move", host->can_move, "c_bit",
			 (int)host->c_bit, "sev_asids", (int)sev_asids, "sev_es_asids",
			 (int)es_asids, "api_major", status->api_major, "api_minor",
			 status->api_minor, "build", status->build, "state",
			 state_name(status->state), "owned", (status->flags & STATUS_OWNED) != 0,
			 "es_initialized", (status->flags & SEV_STATUS_FLAGS_CONFIG_ES) != 0,
			 "guests", (int)status->guest_count);
}

int cmd_host(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"pdh", KEY_PDH, "FILE", 0, "Write the host's Diffie-Hellman certificate to FILE",
		 0},
		{"chain", KEY_CHAIN, "FILE", 0,
		 "Write the certificates behind it to FILE: PEK, OCA, CEK", 0},
		CMD_OPTIONS,
		{0}};
	static const struct argp argp = {
		.options = options, .parser = parse_opt, .doc = "Show what SEV this host has."};
	struct host host = {0};
	struct vmm_error error;
	json_t *json, *value;
	const char *key;
	char text[64];
	int exit_code;

	if (!cmd_parse(&host.cmd, &argp, argc, argv, &exit_code))
		return exit_code;
	if (ask_kvm(&host, &error) < 0 || ask_secure_processor(&host, &error) < 0)
		return cmd_fail(&host.cmd, &error);
	json = to_json(&host);
	if (host.cmd.json) {
		cmd_print_json(json);
		return VMM_EXIT_OK;
	}
	json_object_foreach(json, key, value)
	{
		(void)printf("%-16s %s\n", key, cmd_text(json, key, text, sizeof(text)));
	}
	json_decref(json);
	return VMM_EXIT_OK;
}
