// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * psp.c - which command may be given when, and what the processor sees of the machine
 *
 * Theory of operation.  A command goes through checks of one order: is there such a command, is the
 * platform in a state for it, does the guest that it names exist, is that in a state for it, is it
 * on an ASID.  All of this is in one table, and so is the state that a guest is in after a command
 * that has succeeded: it is the machine of publication 55766, 6.1.6.  What the command's own
 * function checks then is parameters, then policy, then cryptography.  A command that fails has
 * changed nothing but lengths in its buffer, unless it says otherwise.
 */
#include "psp/state.h"

#define UNINIT	(1U << PSP_PLATFORM_UNINIT)
#define INIT	(1U << PSP_PLATFORM_INIT)
#define WORKING (1U << PSP_PLATFORM_WORKING)

#define LUPDATE (1U << PSP_GUEST_LUPDATE)
#define LSECRET (1U << PSP_GUEST_LSECRET)
#define RUNNING (1U << PSP_GUEST_RUNNING)
#define SUPDATE (1U << PSP_GUEST_SUPDATE)
#define RUPDATE (1U << PSP_GUEST_RUPDATE)
#define SENT	(1U << PSP_GUEST_SENT)
#define ANY	(LUPDATE | LSECRET | RUNNING | SUPDATE | RUPDATE | SENT)

struct command {
	uint32_t number;
	uint32_t platform; /* states of the platform */
	psp_handler *run;  /* NULL: not supported */
	uint32_t len;	   /* of the buffer */
	uint32_t guest;	   /* states of the guest that the buffer begins with; 0: with none */
	bool is_active;	   /* the guest has to be */
	enum psp_guest_state next; /* of the guest; UNINIT: as it was */
};

/* A command, the function psp_do_run, the structure psp_cmd_type, and what it asks for. */
#define PLATFORM(command, states, run, len)                                                        \
	{                                                                                          \
		PSP_##command, states, run, len, 0, false, PSP_GUEST_UNINIT                        \
	}
#define GUEST(command, run, type, states, is_active, next)                                         \
	{                                                                                          \
		PSP_##command, WORKING, psp_do_##run, sizeof(struct psp_cmd_##type), states,       \
			is_active, PSP_GUEST_##next                                                \
	}

/* clang-format off */
static const struct command commands[] = {
	PLATFORM(INIT, UNINIT, psp_do_init, sizeof(struct psp_cmd_init)),
	PLATFORM(SHUTDOWN, INIT | WORKING, psp_do_shutdown, 0),
	PLATFORM(FACTORY_RESET, UNINIT, psp_do_factory_reset, 0),
	PLATFORM(PLATFORM_STATUS, UNINIT | INIT | WORKING, psp_do_platform_status,
		 sizeof(struct psp_cmd_platform_status)),
	PLATFORM(PEK_GEN, INIT, psp_do_pek_gen, 0),
	PLATFORM(PEK_CSR, INIT, psp_do_pek_csr, sizeof(struct psp_cmd_export)),
	PLATFORM(PEK_CERT_IMPORT, INIT, psp_do_pek_cert_import,
		 sizeof(struct psp_cmd_pek_cert_import)),
	PLATFORM(PDH_CERT_EXPORT, INIT | WORKING, psp_do_pdh_cert_export,
		 sizeof(struct psp_cmd_pdh_cert_export)),
	PLATFORM(PDH_GEN, INIT | WORKING, psp_do_pdh_gen, 0),
	PLATFORM(DF_FLUSH, INIT | WORKING, psp_do_df_flush, 0),
	PLATFORM(DOWNLOAD_FIRMWARE, UNINIT, NULL, 0),
	PLATFORM(GET_ID, UNINIT | INIT | WORKING, psp_do_get_id, sizeof(struct psp_cmd_export)),
	PLATFORM(INIT_EX, UNINIT, NULL, 0), /* as INIT, with the host's memory instead of flash */
	PLATFORM(LAUNCH_START, INIT | WORKING, psp_do_launch_start, sizeof(struct psp_cmd_start)),
	PLATFORM(RECEIVE_START, INIT | WORKING, psp_do_receive_start, sizeof(struct psp_cmd_start)),

	GUEST(DECOMMISSION, decommission, guest, ANY, false, UNINIT),
	GUEST(ACTIVATE, activate, activate, ANY, false, UNINIT),
	GUEST(DEACTIVATE, deactivate, guest, ANY, false, UNINIT),
	GUEST(GUEST_STATUS, guest_status, guest_status, ANY, false, UNINIT),
	GUEST(LAUNCH_UPDATE_DATA, launch_update_data, range, LUPDATE, true, UNINIT),
	GUEST(LAUNCH_UPDATE_VMSA, launch_update_vmsa, range, LUPDATE, true, UNINIT),
	GUEST(LAUNCH_MEASURE, launch_measure, range, LUPDATE, false, LSECRET),
	GUEST(LAUNCH_SECRET, launch_secret, packet, LSECRET, true, UNINIT),
	GUEST(LAUNCH_FINISH, finish, guest, LSECRET, true, RUNNING),
	GUEST(ATTESTATION, attestation, attestation, LSECRET | RUNNING, false, UNINIT),
	GUEST(SEND_START, send_start, send_start, RUNNING, false, SUPDATE),
	GUEST(SEND_UPDATE_DATA, send_update_data, packet, SUPDATE, true, UNINIT),
	GUEST(SEND_UPDATE_VMSA, send_update_vmsa, packet, SUPDATE, true, UNINIT),
	GUEST(SEND_FINISH, finish, guest, SUPDATE, false, SENT),
	GUEST(SEND_CANCEL, finish, guest, SUPDATE, false, RUNNING),
	GUEST(RECEIVE_UPDATE_DATA, receive_update_data, packet, RUPDATE, true, UNINIT),
	GUEST(RECEIVE_UPDATE_VMSA, receive_update_vmsa, packet, RUPDATE, true, UNINIT),
	GUEST(RECEIVE_FINISH, finish, guest, RUPDATE, true, RUNNING),
	GUEST(DBG_DECRYPT, dbg_decrypt, dbg, ANY, true, UNINIT),
	GUEST(DBG_ENCRYPT, dbg_encrypt, dbg, ANY, true, UNINIT),
};
/* clang-format on */

struct psp_guest *psp_find(struct psp *psp, uint32_t handle)
{
	for (uint32_t i = 0; handle && i < PSP_GUESTS_MAX; i++)
		if (psp->guests[i].handle == handle)
			return &psp->guests[i];
	return NULL;
}

static enum psp_status run(struct psp *psp, const struct command *command, void *buffer)
{
	struct psp_guest *guest = NULL;
	enum psp_status status;
	uint32_t handle;

	if (!(command->platform & 1U << psp->state))
		return PSP_INVALID_PLATFORM_STATE;
	if (!command->run)
		return PSP_UNSUPPORTED;
	if (command->len && !buffer)
		return PSP_INVALID_ADDRESS;
	if (command->guest) {
		memcpy(&handle, buffer, sizeof(handle));
		guest = psp_find(psp, handle);
		if (!guest)
			return PSP_INVALID_GUEST;
		if (!(command->guest & 1U << guest->state))
			return PSP_INVALID_GUEST_STATE;
		if (command->is_active && !guest->asid)
			return PSP_INACTIVE;
	}
	status = command->run(psp, guest, buffer);
	if (status == PSP_SUCCESS && command->next != PSP_GUEST_UNINIT)
		guest->state = command->next;
	return status;
}

enum psp_status psp_command(struct psp *psp, uint32_t number, void *buffer)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (commands[i].number == number)
			return run(psp, &commands[i], buffer);
	return PSP_INVALID_COMMAND;
}

void psp_wbinvd(struct psp *psp)
{
	psp->needs_wbinvd = false;
}

const uint8_t *psp_vek(const struct psp *psp, uint32_t asid)
{
	for (uint32_t i = 0; asid && i < PSP_GUESTS_MAX; i++)
		if (psp->guests[i].handle && psp->guests[i].asid == asid)
			return psp->guests[i].vek;
	return NULL;
}

void *psp_map(struct psp *psp, uint64_t address, uint32_t len)
{
	if (!address || address + len < address)
		return NULL;
	return psp->host->map(psp->opaque, address, len);
}

enum psp_status psp_fetch(struct psp *psp, uint64_t address, void *ret, uint32_t len)
{
	const void *memory = psp_map(psp, address, len);

	if (!memory)
		return PSP_INVALID_ADDRESS;
	memcpy(ret, memory, len);
	return PSP_SUCCESS;
}

enum psp_status psp_store(struct psp *psp, uint64_t address, const void *data, uint32_t len)
{
	void *memory = psp_map(psp, address, len);

	if (!memory)
		return PSP_INVALID_ADDRESS;
	memcpy(memory, data, len);
	return PSP_SUCCESS;
}

enum psp_status psp_random(struct psp *psp, void *ret, size_t len)
{
	return psp->host->random(psp->opaque, ret, len) ? PSP_HWERROR_PLATFORM : PSP_SUCCESS;
}

bool psp_cipher(struct psp *psp, const struct psp_guest *guest, uint64_t address, uint8_t *copy,
		uint32_t len, bool encrypts)
{
	if (!psp->host->cipher)
		return false;
	psp->host->cipher(psp->opaque, guest->vek, address, copy, len, encrypts);
	return true;
}

size_t psp_size(void)
{
	return sizeof(struct psp);
}

struct psp *psp_init(void *memory, const struct psp_config *config)
{
	struct psp *psp = memory;

	if (config->max_asid >= PSP_ASIDS_MAX || !config->min_sev_asid ||
	    memcmp(config->fuses->magic, PSP_FUSES_MAGIC, sizeof(config->fuses->magic)) != 0 ||
	    !psp_cert_is(&config->fuses->cek, PSP_USAGE_CEK, PSP_ALGO_ECDSA_SHA256))
		return NULL;
	memset(psp, 0, sizeof(*psp));
	psp->host = config->host;
	psp->opaque = config->opaque;
	psp->crypto = config->crypto;
	psp->fuses = *config->fuses;
	psp->max_asid = config->max_asid;
	psp->min_sev_asid = config->min_sev_asid;
	return psp;
}

void psp_done(struct psp *psp)
{
	psp_wipe(psp, sizeof(*psp));
}
