// SPDX-License-Identifier: GPL-2.0-or-later
#define OPENSSL_API_COMPAT 0x10100000L

#include "psp/provision.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

#include "psp/openssl.h"

static RSA *new_key(void)
{
	BIGNUM *exponent = BN_new();
	RSA *rsa = RSA_new();
	bool is_made = exponent && rsa && BN_set_word(exponent, RSA_F4) &&
		       RSA_generate_key_ex(rsa, 8 * PSP_CA_LEN, exponent, NULL);

	BN_free(exponent);
	if (is_made)
		return rsa;
	RSA_free(rsa);
	return NULL;
}

static bool sign(RSA *rsa, const void *data, size_t len, uint8_t ret[PSP_CA_LEN])
{
	uint8_t hash[PSP_HASH_LEN], encoded[PSP_CA_LEN], signature[PSP_CA_LEN];

	(void)SHA256(data, len, hash);
	if (RSA_padding_add_PKCS1_PSS(rsa, encoded, hash, EVP_sha256(), RSA_PSS_SALTLEN_DIGEST) !=
		    1 ||
	    RSA_private_encrypt(PSP_CA_LEN, encoded, signature, rsa, RSA_NO_PADDING) != PSP_CA_LEN)
		return false;
	for (size_t i = 0; i < PSP_CA_LEN; i++)
		ret[i] = signature[PSP_CA_LEN - 1 - i];
	return true;
}

/* A certificate for a key, signed by the signer's, whose certificate is signer_cert. */
static bool certify(struct psp_ca_cert *cert, enum psp_usage usage, const RSA *key, RSA *signer,
		    const struct psp_ca_cert *signer_cert)
{
	memset(cert, 0, sizeof(*cert));
	cert->version = PSP_CERT_VERSION;
	cert->usage = usage;
	cert->exponent_bits = cert->modulus_bits = 8 * PSP_CA_LEN;
	if (RAND_bytes(cert->key_id, sizeof(cert->key_id)) != 1 ||
	    BN_bn2lebinpad(RSA_get0_e(key), cert->exponent, PSP_CA_LEN) != PSP_CA_LEN ||
	    BN_bn2lebinpad(RSA_get0_n(key), cert->modulus, PSP_CA_LEN) != PSP_CA_LEN)
		return false;
	memcpy(cert->certifying_id, signer_cert->key_id, sizeof(cert->certifying_id));
	return sign(signer, cert, offsetof(struct psp_ca_cert, signature), cert->signature);
}

static bool make_chip(struct psp_fuses *fuses, RSA *ask)
{
	struct psp_cert *cek = &fuses->cek;

	memset(fuses, 0, sizeof(*fuses));
	memcpy(fuses->magic, PSP_FUSES_MAGIC, sizeof(fuses->magic));
	cek->version = PSP_CERT_VERSION;
	cek->api_major = PSP_API_MAJOR;
	cek->api_minor = PSP_API_MINOR;
	cek->usage = PSP_USAGE_CEK;
	cek->algo = PSP_ALGO_ECDSA_SHA256;
	cek->ec.curve = PSP_CURVE_P384;
	cek->signature[0].usage = PSP_USAGE_ASK;
	cek->signature[0].algo = PSP_ALGO_RSA_SHA256;
	cek->signature[1].usage = PSP_USAGE_NONE;
	return RAND_bytes(fuses->chip_id, sizeof(fuses->chip_id)) == 1 &&
	       RAND_priv_bytes(fuses->cek_private, PSP_P384_LEN) == 1 &&
	       psp_openssl.ec_public(fuses->cek_private, &cek->ec.point) == PSP_SUCCESS &&
	       sign(ask, cek, offsetof(struct psp_cert, signature), cek->signature[0].rsa);
}

int psp_provision(struct psp_fuses *ret_fuses, struct psp_ca_chain *ret_authorities)
{
	RSA *ark = new_key(), *ask = new_key();
	struct psp_ca_chain authorities;
	struct psp_fuses fuses;
	bool is_made = ark && ask &&
		       certify(&authorities.ark, PSP_USAGE_ARK, ark, ark, &authorities.ark) &&
		       certify(&authorities.ask, PSP_USAGE_ASK, ask, ark, &authorities.ark) &&
		       make_chip(&fuses, ask);

	RSA_free(ark);
	RSA_free(ask);
	if (!is_made)
		return -EIO;
	(void)SHA256((const uint8_t *)&authorities.ark, sizeof(authorities.ark), fuses.root_hash);
	*ret_fuses = fuses;
	*ret_authorities = authorities;
	OPENSSL_cleanse(&fuses, sizeof(fuses));
	return 0;
}
