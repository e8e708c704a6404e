// SPDX-License-Identifier: GPL-2.0-or-later
/* guest.c - guests and their ASIDs, attestation, debugging: publication 55766, chapter 6 */
#include "psp/state.h"

enum psp_status psp_do_decommission(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	bool is_last = true;

	(void)buffer;
	if (guest->asid)
		return PSP_ACTIVE;
	psp_wipe(guest, sizeof(*guest));
	for (uint32_t i = 0; i < PSP_GUESTS_MAX; i++)
		is_last = is_last && !psp->guests[i].handle;
	if (is_last)
		psp->state = PSP_PLATFORM_INIT;
	return PSP_SUCCESS;
}

enum psp_status psp_do_activate(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	const struct psp_cmd_activate *c = buffer;
	bool is_es = guest->policy & PSP_POLICY_ES;

	if (guest->asid)
		return PSP_ACTIVE;
	if (!c->asid || c->asid > psp->max_asid || is_es != (c->asid < psp->min_sev_asid))
		return PSP_INVALID_ASID;
	/* An ASID stands for a key in the memory controller: only guests with the same key share
	 * it. */
	for (uint32_t i = 0; i < PSP_GUESTS_MAX; i++)
		if (psp->guests[i].handle && psp->guests[i].asid == c->asid &&
		    !psp_equal(psp->guests[i].vek, guest->vek, sizeof(guest->vek)))
			return PSP_ASID_OWNED;
	if (psp->needs_flush[c->asid])
		return PSP_DFFLUSH_REQUIRED;
	guest->asid = c->asid;
	return PSP_SUCCESS;
}

enum psp_status psp_do_deactivate(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	(void)buffer;
	if (guest->asid)
		psp->needs_wbinvd = psp->needs_flush[guest->asid] = true;
	guest->asid = 0;
	return PSP_SUCCESS;
}

enum psp_status psp_do_guest_status(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	struct psp_cmd_guest_status *c = buffer;

	(void)psp;
	c->policy = guest->policy;
	c->asid = guest->asid;
	c->state = (uint8_t)guest->state;
	return PSP_SUCCESS;
}

enum psp_status psp_do_finish(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	(void)psp;
	(void)buffer;
	psp_wipe(&guest->keys, sizeof(guest->keys));
	return PSP_SUCCESS;
}

enum psp_status psp_do_attestation(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	struct psp_cmd_attestation *c = buffer;
	bool is_short = c->len < sizeof(struct psp_report);
	struct psp_report report;
	uint8_t hash[PSP_HASH_LEN];
	enum psp_status status;

	c->len = sizeof(report);
	if (is_short)
		return PSP_INVALID_LEN;
	if (!psp->crypto->ecdsa_sign)
		return PSP_UNSUPPORTED;
	status = psp_identify(psp);
	if (status != PSP_SUCCESS)
		return status;
	memset(&report, 0, sizeof(report));
	memcpy(report.mnonce, c->mnonce, sizeof(report.mnonce));
	memcpy(report.launch_digest, guest->launch_digest, sizeof(report.launch_digest));
	report.policy = guest->policy;
	report.signature_usage = PSP_USAGE_PEK;
	report.signature_algo = PSP_ALGO_ECDSA_SHA256;
	psp_hash(psp->crypto, &report, offsetof(struct psp_report, signature_usage), hash);
	status = psp->crypto->ecdsa_sign(psp->identity.pek_private, hash, &report.signature);
	return status == PSP_SUCCESS ? psp_store(psp, c->address, &report, sizeof(report)) : status;
}

/* Copies between memory of the guest and plain memory. */
static enum psp_status debug(struct psp *psp, const struct psp_guest *guest,
			     const struct psp_cmd_dbg *c, bool encrypts)
{
	uint8_t *copy = psp->scratch.packet, *dst;
	const uint8_t *src;

	if (!c->len || c->len % PSP_BLOCK_LEN)
		return PSP_INVALID_LEN;
	if (c->src_address % PSP_BLOCK_LEN || c->dst_address % PSP_BLOCK_LEN)
		return PSP_INVALID_ADDRESS;
	src = psp_map(psp, c->src_address, c->len);
	dst = psp_map(psp, c->dst_address, c->len);
	if (!src || !dst)
		return PSP_INVALID_ADDRESS;
	if (guest->policy & PSP_POLICY_NODBG)
		return PSP_POLICY_FAILURE;
	for (uint32_t done = 0, n; done < c->len; done += n) {
		n = c->len - done < PSP_PACKET_MAX ? c->len - done : PSP_PACKET_MAX;
		memcpy(copy, src + done, n);
		(void)psp_cipher(psp, guest, (encrypts ? c->dst_address : c->src_address) + done,
				 copy, n, encrypts);
		memcpy(dst + done, copy, n);
	}
	return PSP_SUCCESS;
}

enum psp_status psp_do_dbg_decrypt(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	return debug(psp, guest, buffer, false);
}

enum psp_status psp_do_dbg_encrypt(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	return debug(psp, guest, buffer, true);
}
