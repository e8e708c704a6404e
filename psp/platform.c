// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * platform.c - commands for the platform: publication 55766, chapter 5
 *
 * Keys and certificates are made when they are first asked for, not by INIT: nobody can tell, and
 * where elliptic curves take long, guests without a session start without them.
 */
#include "psp/state.h"

/* Replaces the PDH of an identity. */
static enum psp_status make_pdh(struct psp *psp, struct psp_identity *identity)
{
	enum psp_status status = psp_cert_make(psp, PSP_USAGE_PDH, PSP_ALGO_ECDH_SHA256,
					       identity->pdh_private, &identity->pdh);

	return status == PSP_SUCCESS
		       ? psp_cert_sign(psp, &identity->pdh, 0, PSP_USAGE_PEK, identity->pek_private)
		       : status;
}

/* Puts what was made in force. */
static enum psp_status adopt(struct psp *psp, enum psp_status status)
{
	if (status == PSP_SUCCESS)
		psp->identity = psp->next;
	psp_wipe(&psp->next, sizeof(psp->next));
	return status;
}

static enum psp_status sign_by_cek(struct psp *psp, struct psp_cert *pek)
{
	return psp_cert_sign(psp, pek, 1, PSP_USAGE_CEK, psp->fuses.cek_private);
}

enum psp_status psp_do_pek_gen(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	struct psp_identity *identity = &psp->next;
	struct psp_chain *chain = &identity->chain;
	enum psp_status status;

	(void)guest;
	(void)buffer;
	memset(identity, 0, sizeof(*identity));
	identity->exists = true;
	chain->cek = psp->fuses.cek;
	status = psp_cert_make(psp, PSP_USAGE_OCA, PSP_ALGO_ECDSA_SHA256, identity->oca_private,
			       &chain->oca);
	if (status == PSP_SUCCESS)
		status = psp_cert_sign(psp, &chain->oca, 0, PSP_USAGE_OCA, identity->oca_private);
	if (status == PSP_SUCCESS)
		status = psp_cert_make(psp, PSP_USAGE_PEK, PSP_ALGO_ECDSA_SHA256,
				       identity->pek_private, &chain->pek);
	if (status == PSP_SUCCESS)
		status = psp_cert_sign(psp, &chain->pek, 0, PSP_USAGE_OCA, identity->oca_private);
	if (status == PSP_SUCCESS)
		status = sign_by_cek(psp, &chain->pek);
	if (status == PSP_SUCCESS)
		status = make_pdh(psp, identity);
	return adopt(psp, status);
}

enum psp_status psp_identify(struct psp *psp)
{
	return psp->identity.exists ? PSP_SUCCESS : psp_do_pek_gen(psp, NULL, NULL);
}

enum psp_status psp_do_init(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	const struct psp_cmd_init *c = buffer;

	(void)guest;
	if (c->flags & ~PSP_INIT_ES)
		return PSP_INVALID_PARAM;
	/* The region that hardware keeps for SEV-ES; nothing is put there here. */
	if (c->flags & PSP_INIT_ES) {
		if (!c->tmr_address || c->tmr_address % PSP_TMR_LEN)
			return PSP_INVALID_ADDRESS;
		if (c->tmr_len < PSP_TMR_LEN)
			return PSP_INVALID_LEN;
	}
	psp->is_es = c->flags & PSP_INIT_ES;
	psp->state = PSP_PLATFORM_INIT;
	return PSP_SUCCESS;
}

enum psp_status psp_do_shutdown(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	(void)guest;
	(void)buffer;
	for (uint32_t i = 0; i < PSP_GUESTS_MAX; i++)
		if (psp->guests[i].handle && psp->guests[i].asid)
			psp->needs_wbinvd = psp->needs_flush[psp->guests[i].asid] = true;
	psp_wipe(psp->guests, sizeof(psp->guests));
	psp->is_es = false;
	psp->state = PSP_PLATFORM_UNINIT;
	return PSP_SUCCESS;
}

enum psp_status psp_do_factory_reset(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	(void)guest;
	(void)buffer;
	psp_wipe(&psp->identity, sizeof(psp->identity));
	return PSP_SUCCESS;
}

enum psp_status psp_do_platform_status(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	struct psp_cmd_platform_status *c = buffer;
	uint32_t n = 0;

	(void)guest;
	for (uint32_t i = 0; i < PSP_GUESTS_MAX; i++)
		n += psp->guests[i].handle != 0;
	*c = (struct psp_cmd_platform_status){
		.api_major = PSP_API_MAJOR,
		.api_minor = PSP_API_MINOR,
		.build = PSP_BUILD,
		.state = (uint8_t)psp->state,
		.flags = (psp->identity.is_owned ? PSP_PLATFORM_OWNED : 0) |
			 (psp->is_es ? PSP_PLATFORM_ES : 0),
		.guest_count = n,
	};
	return PSP_SUCCESS;
}

/* Gives data out, or says how long it is. */
static enum psp_status export(struct psp *psp, struct psp_cmd_export *c, const void *data,
			      uint32_t len) {
	bool is_short = c->len < len;

	c->len = len;
	return is_short ? PSP_INVALID_LEN : psp_store(psp, c->address, data, len);
}

enum psp_status psp_do_pek_csr(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	struct psp_cert *csr = &psp->scratch.import.pek;
	enum psp_status status = psp_identify(psp);

	(void)guest;
	if (status != PSP_SUCCESS)
		return status;
	*csr = psp->identity.chain.pek;
	memset(csr->signature, 0, sizeof(csr->signature));
	csr->signature[0].usage = csr->signature[1].usage = PSP_USAGE_NONE;
	return export(psp, buffer, csr, sizeof(*csr));
}

enum psp_status psp_do_pek_cert_import(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	struct psp_cert *pek = &psp->scratch.import.pek, *oca = &psp->scratch.import.oca;
	const struct psp_cmd_pek_cert_import *c = buffer;
	struct psp_identity *identity = &psp->next;
	enum psp_status status;

	(void)guest;
	if (c->pek_len < sizeof(*pek) || c->oca_len < sizeof(*oca))
		return PSP_INVALID_LEN;
	if (psp->identity.is_owned)
		return PSP_ALREADY_OWNED;
	status = psp_identify(psp);
	if (status == PSP_SUCCESS)
		status = psp_fetch(psp, c->pek_address, pek, sizeof(*pek));
	if (status == PSP_SUCCESS)
		status = psp_fetch(psp, c->oca_address, oca, sizeof(*oca));
	if (status != PSP_SUCCESS)
		return status;
	if (memcmp(pek, &psp->identity.chain.pek, offsetof(struct psp_cert, signature)) != 0)
		return PSP_INVALID_CERTIFICATE;
	status = psp_cert_verify_oca(psp, oca);
	if (status == PSP_SUCCESS)
		status = psp_cert_verify(psp, pek, oca);
	if (status != PSP_SUCCESS)
		return status;

	*identity = psp->identity;
	identity->is_owned = true;
	psp_wipe(identity->oca_private, sizeof(identity->oca_private));
	identity->chain.oca = *oca;
	identity->chain.pek.signature[0] = *psp_cert_signature(pek, oca);
	status = sign_by_cek(psp, &identity->chain.pek);
	if (status == PSP_SUCCESS)
		status = make_pdh(psp, identity);
	return adopt(psp, status);
}

enum psp_status psp_do_pdh_cert_export(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	struct psp_cmd_pdh_cert_export *c = buffer;
	bool is_short =
		c->pdh_len < sizeof(struct psp_cert) || c->chain_len < sizeof(struct psp_chain);
	enum psp_status status;

	(void)guest;
	c->pdh_len = sizeof(struct psp_cert);
	c->chain_len = sizeof(struct psp_chain);
	if (is_short)
		return PSP_INVALID_LEN;
	if (!psp_map(psp, c->pdh_address, c->pdh_len) ||
	    !psp_map(psp, c->chain_address, c->chain_len))
		return PSP_INVALID_ADDRESS;
	status = psp_identify(psp);
	if (status == PSP_SUCCESS)
		status = psp_store(psp, c->pdh_address, &psp->identity.pdh, c->pdh_len);
	if (status == PSP_SUCCESS)
		status = psp_store(psp, c->chain_address, &psp->identity.chain, c->chain_len);
	return status;
}

enum psp_status psp_do_pdh_gen(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	enum psp_status status = psp_identify(psp);

	(void)guest;
	(void)buffer;
	if (status != PSP_SUCCESS)
		return status;
	psp->next = psp->identity;
	return adopt(psp, make_pdh(psp, &psp->next));
}

enum psp_status psp_do_df_flush(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	(void)guest;
	(void)buffer;
	if (psp->needs_wbinvd)
		return PSP_WBINVD_REQUIRED;
	memset(psp->needs_flush, 0, sizeof(psp->needs_flush));
	return PSP_SUCCESS;
}

enum psp_status psp_do_get_id(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	(void)guest;
	return export(psp, buffer, psp->fuses.chip_id, sizeof(psp->fuses.chip_id));
}
