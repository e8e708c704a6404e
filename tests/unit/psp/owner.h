/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The owner of a guest, who trusts no host: by OpenSSL's own functions, with nothing of psp/ but
 * the layouts, so that a mistake is not made twice.
 */
#ifndef TESTS_UNIT_PSP_OWNER_H
#define TESTS_UNIT_PSP_OWNER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "psp/firmware.h"

struct owner {
	EVP_PKEY *key;
	uint8_t tek[16], tik[16];
	uint32_t policy;
	struct psp_cert cert;
	struct psp_session session;
	uint8_t measure[32];
};

/* A new key on a curve of this name; its public part goes into cert. */
EVP_PKEY *new_ec_key(const char *curve, struct psp_cert *cert, uint32_t usage, uint32_t algo);

/* The public key in a certificate or, of an authority, its RSA key. */
EVP_PKEY *key_of_cert(const struct psp_cert *cert);
EVP_PKEY *key_of_authority(const struct psp_ca_cert *cert);

/* ECDSA by a P-384 key, and RSA-PSS, with SHA-256. */
bool is_signed_ec(EVP_PKEY *key, const void *data, size_t len, const struct psp_ecdsa *signature);
bool is_signed_rsa(EVP_PKEY *key, const void *data, size_t len, const uint8_t signature[256]);

/* Fails the test if a platform's certificates do not hold from its PDH up to the ARK. */
void verify_chain(const struct psp_ca_chain *authorities, const struct psp_cert *pdh,
		  const struct psp_chain *chain);

void sign_ec(EVP_PKEY *key, const void *data, size_t len, struct psp_ecdsa *ret);
void sign_rsa(EVP_PKEY *key, const void *data, size_t len, uint8_t ret[256]);

void hmac(const uint8_t key[16], const void *data, size_t len, uint8_t ret[32]);
void ctr(const uint8_t key[16], const uint8_t iv[16], uint8_t *data, size_t len);

/* Keys, and a session for the platform of this PDH. */
void owner_init(struct owner *owner, const struct psp_cert *pdh, uint32_t policy);
void owner_done(struct owner *owner);

/* Is that the measurement of a guest into which data was loaded? */
bool owner_accepts(struct owner *owner, const struct psp_measurement *measurement, const void *data,
		   size_t len);

/* Encrypts a secret in place and makes its header. */
void owner_wrap(const struct owner *owner, uint8_t *secret, uint32_t len,
		struct psp_packet_header *ret);

#endif
