// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cert.c - certificates: publication 55766, appendix C
 *
 *	ARK -> ASK -> CEK -+
 *	                   +-> PEK -> PDH
 *	             OCA --+
 *
 * The first two are RSA keys in a format of their own and stay with AMD.  The chip has the CEK, the
 * platform makes the others; the OCA may be its owner's.
 */
#include "psp/state.h"

#define SIGNED_LEN    offsetof(struct psp_cert, signature)
#define CA_SIGNED_LEN offsetof(struct psp_ca_cert, signature)

enum psp_status psp_cert_make(struct psp *psp, enum psp_usage usage, enum psp_algo algo,
			      uint8_t ret_private[PSP_EC_LEN], struct psp_cert *ret)
{
	enum psp_status status;

	if (!psp->crypto->ec_public)
		return PSP_UNSUPPORTED;
	memset(ret, 0, sizeof(*ret));
	ret->version = PSP_CERT_VERSION;
	ret->api_major = PSP_API_MAJOR;
	ret->api_minor = PSP_API_MINOR;
	ret->usage = usage;
	ret->algo = algo;
	ret->ec.curve = PSP_CURVE_P384;
	ret->signature[0].usage = ret->signature[1].usage = PSP_USAGE_NONE;
	memset(ret_private, 0, PSP_EC_LEN);
	/* A number below 2^384 that is no private key is as likely as a guessed key: once is
	 * enough. */
	status = psp_random(psp, ret_private, PSP_P384_LEN);
	return status == PSP_SUCCESS ? psp->crypto->ec_public(ret_private, &ret->ec.point) : status;
}

enum psp_status psp_cert_sign(struct psp *psp, struct psp_cert *cert, unsigned int slot,
			      enum psp_usage signer, const uint8_t private[PSP_EC_LEN])
{
	struct psp_signature *signature = &cert->signature[slot];
	uint8_t hash[PSP_HASH_LEN];

	if (!psp->crypto->ecdsa_sign)
		return PSP_UNSUPPORTED;
	psp_hash(psp->crypto, cert, SIGNED_LEN, hash);
	memset(signature, 0, sizeof(*signature));
	signature->usage = signer;
	signature->algo = PSP_ALGO_ECDSA_SHA256;
	return psp->crypto->ecdsa_sign(private, hash, &signature->ecdsa);
}

bool psp_cert_is(const struct psp_cert *cert, enum psp_usage usage, enum psp_algo algo)
{
	return cert->version == PSP_CERT_VERSION && cert->usage == usage && cert->algo == algo &&
	       cert->ec.curve == PSP_CURVE_P384;
}

static enum psp_status verify_rsa(struct psp *psp, const uint8_t *modulus, const uint8_t *exponent,
				  const uint8_t hash[PSP_HASH_LEN], const uint8_t *signature)
{
	if (!psp->crypto->rsa_verify)
		return PSP_UNSUPPORTED;
	return psp->crypto->rsa_verify(modulus, exponent, PSP_CA_LEN, hash, signature);
}

/* The signature that a key of this usage and algorithm claims to have made. */
static const struct psp_signature *find_signature(const struct psp_cert *cert, uint32_t usage,
						  uint32_t algo)
{
	for (unsigned int i = 0; i < 2; i++)
		if (cert->signature[i].usage == usage && cert->signature[i].algo == algo)
			return &cert->signature[i];
	return NULL;
}

const struct psp_signature *psp_cert_signature(const struct psp_cert *cert,
					       const struct psp_cert *signer)
{
	return find_signature(cert, signer->usage, signer->algo);
}

enum psp_status psp_cert_verify(struct psp *psp, const struct psp_cert *cert,
				const struct psp_cert *signer)
{
	const struct psp_signature *signature = psp_cert_signature(cert, signer);
	uint8_t hash[PSP_HASH_LEN];

	if (!signature)
		return PSP_INVALID_CERTIFICATE;
	psp_hash(psp->crypto, cert, SIGNED_LEN, hash);
	if (signer->algo == PSP_ALGO_ECDSA_SHA256 && signer->ec.curve == PSP_CURVE_P384)
		return psp->crypto->ecdsa_verify
			       ? psp->crypto->ecdsa_verify(&signer->ec.point, hash,
							   &signature->ecdsa)
			       : PSP_UNSUPPORTED;
	if (signer->algo == PSP_ALGO_RSA_SHA256 && signer->rsa.modulus_bits == 8 * PSP_CA_LEN)
		return verify_rsa(psp, signer->rsa.modulus, signer->rsa.exponent, hash,
				  signature->rsa);
	return PSP_INVALID_CERTIFICATE;
}

enum psp_status psp_cert_verify_oca(struct psp *psp, const struct psp_cert *oca)
{
	if (oca->version != PSP_CERT_VERSION || oca->usage != PSP_USAGE_OCA)
		return PSP_INVALID_CERTIFICATE;
	return psp_cert_verify(psp, oca, oca);
}

static bool is_ca(const struct psp_ca_cert *cert, enum psp_usage usage, const uint8_t signer_id[16])
{
	return cert->version == PSP_CERT_VERSION && cert->usage == usage &&
	       cert->exponent_bits == 8 * PSP_CA_LEN && cert->modulus_bits == 8 * PSP_CA_LEN &&
	       memcmp(cert->certifying_id, signer_id, sizeof(cert->certifying_id)) == 0;
}

static enum psp_status verify_ca(struct psp *psp, const struct psp_ca_cert *cert,
				 const struct psp_ca_cert *signer)
{
	uint8_t hash[PSP_HASH_LEN];

	psp_hash(psp->crypto, cert, CA_SIGNED_LEN, hash);
	return verify_rsa(psp, signer->modulus, signer->exponent, hash, cert->signature);
}

static enum psp_status verify_cek(struct psp *psp, const struct psp_cert *cek,
				  const struct psp_ca_cert *ask)
{
	const struct psp_signature *signature =
		find_signature(cek, PSP_USAGE_ASK, PSP_ALGO_RSA_SHA256);
	uint8_t hash[PSP_HASH_LEN];

	if (!signature)
		return PSP_INVALID_CERTIFICATE;
	psp_hash(psp->crypto, cek, SIGNED_LEN, hash);
	return verify_rsa(psp, ask->modulus, ask->exponent, hash, signature->rsa);
}

enum psp_status psp_chain_verify(struct psp *psp)
{
	const struct psp_ca_cert *ark = &psp->scratch.peer.ca.ark, *ask = &psp->scratch.peer.ca.ask;
	const struct psp_chain *chain = &psp->scratch.peer.chain;
	const struct psp_cert *pdh = &psp->scratch.peer.pdh;
	enum psp_status status;

	if (!is_ca(ark, PSP_USAGE_ARK, ark->key_id) || !is_ca(ask, PSP_USAGE_ASK, ark->key_id) ||
	    !psp_cert_is(&chain->cek, PSP_USAGE_CEK, PSP_ALGO_ECDSA_SHA256) ||
	    !psp_cert_is(&chain->pek, PSP_USAGE_PEK, PSP_ALGO_ECDSA_SHA256) ||
	    !psp_cert_is(pdh, PSP_USAGE_PDH, PSP_ALGO_ECDH_SHA256))
		return PSP_INVALID_CERTIFICATE;
	status = verify_ca(psp, ark, ark);
	if (status == PSP_SUCCESS)
		status = verify_ca(psp, ask, ark);
	if (status == PSP_SUCCESS)
		status = verify_cek(psp, &chain->cek, ask);
	if (status == PSP_SUCCESS)
		status = psp_cert_verify_oca(psp, &chain->oca);
	if (status == PSP_SUCCESS)
		status = psp_cert_verify(psp, &chain->pek, &chain->oca);
	if (status == PSP_SUCCESS)
		status = psp_cert_verify(psp, &chain->pek, &chain->cek);
	if (status == PSP_SUCCESS)
		status = psp_cert_verify(psp, pdh, &chain->pek);
	return status;
}
