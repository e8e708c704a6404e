// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * openssl.c - cryptography by OpenSSL's libcrypto
 *
 * Hash and block cipher may not fail and may not allocate: that is its older interface, which 3.0
 * would have us avoid.
 */
#define OPENSSL_API_COMPAT 0x10100000L

#include "psp/openssl.h"

#include <openssl/aes.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct psp_sha256), "a hash in the making");

static void sha256_init(struct psp_sha256 *hash)
{
	(void)SHA256_Init((SHA256_CTX *)hash);
}

static void sha256_update(struct psp_sha256 *hash, const void *data, size_t len)
{
	(void)SHA256_Update((SHA256_CTX *)hash, data, len);
}

static void sha256_final(struct psp_sha256 *hash, uint8_t ret[PSP_HASH_LEN])
{
	(void)SHA256_Final(ret, (SHA256_CTX *)hash);
}

static void aes128(const uint8_t key[PSP_KEY_LEN], bool encrypts, uint8_t *blocks, size_t n_blocks)
{
	AES_KEY schedule;

	if (encrypts)
		(void)AES_set_encrypt_key(key, 8 * PSP_KEY_LEN, &schedule);
	else
		(void)AES_set_decrypt_key(key, 8 * PSP_KEY_LEN, &schedule);
	for (size_t i = 0; i < n_blocks; i++, blocks += AES_BLOCK_SIZE) {
		if (encrypts)
			AES_encrypt(blocks, blocks, &schedule);
		else
			AES_decrypt(blocks, blocks, &schedule);
	}
	OPENSSL_cleanse(&schedule, sizeof(schedule));
}

/* One key on the curve and what goes with it, for the length of a call. */
struct ec {
	EC_KEY *key;
	const EC_GROUP *group;
	BIGNUM *a, *b;
	EC_POINT *point;
};

static void ec_done(struct ec *ec)
{
	EC_POINT_free(ec->point);
	BN_clear_free(ec->a);
	BN_clear_free(ec->b);
	EC_KEY_free(ec->key);
}

static bool ec_init(struct ec *ec)
{
	*ec = (struct ec){.key = EC_KEY_new_by_curve_name(NID_secp384r1)};
	if (!ec->key)
		return false;
	ec->group = EC_KEY_get0_group(ec->key);
	ec->a = BN_secure_new();
	ec->b = BN_new();
	ec->point = EC_POINT_new(ec->group);
	if (ec->a && ec->b && ec->point)
		return true;
	ec_done(ec);
	return false;
}

/* ec->a: private */
static enum psp_status set_private(struct ec *ec, const uint8_t private[PSP_EC_LEN])
{
	if (!BN_lebin2bn(private, PSP_EC_LEN, ec->a))
		return PSP_HWERROR_PLATFORM;
	if (BN_is_zero(ec->a) || BN_cmp(ec->a, EC_GROUP_get0_order(ec->group)) >= 0)
		return PSP_INVALID_PARAM;
	return EC_KEY_set_private_key(ec->key, ec->a) ? PSP_SUCCESS : PSP_HWERROR_PLATFORM;
}

/* Puts ec->a and ec->b out. */
static enum psp_status get_numbers(const struct ec *ec, uint8_t ret_a[PSP_EC_LEN],
				   uint8_t ret_b[PSP_EC_LEN])
{
	return BN_bn2lebinpad(ec->a, ret_a, PSP_EC_LEN) == PSP_EC_LEN &&
			       BN_bn2lebinpad(ec->b, ret_b, PSP_EC_LEN) == PSP_EC_LEN
		       ? PSP_SUCCESS
		       : PSP_HWERROR_PLATFORM;
}

static enum psp_status set_point(struct ec *ec, const struct psp_point *point)
{
	if (!BN_lebin2bn(point->x, PSP_EC_LEN, ec->a) || !BN_lebin2bn(point->y, PSP_EC_LEN, ec->b))
		return PSP_HWERROR_PLATFORM;
	/* Fails if they are no numbers of the field, or no point of the curve; its cofactor is 1.
	 */
	return EC_POINT_set_affine_coordinates(ec->group, ec->point, ec->a, ec->b, NULL)
		       ? PSP_SUCCESS
		       : PSP_INVALID_CERTIFICATE;
}

static enum psp_status ec_public(const uint8_t private[PSP_EC_LEN], struct psp_point *ret)
{
	enum psp_status status;
	struct ec ec;

	if (!ec_init(&ec))
		return PSP_HWERROR_PLATFORM;
	status = set_private(&ec, private);
	if (status == PSP_SUCCESS)
		status = EC_POINT_mul(ec.group, ec.point, ec.a, NULL, NULL, NULL) &&
					 EC_POINT_get_affine_coordinates(ec.group, ec.point, ec.a,
									 ec.b, NULL)
				 ? get_numbers(&ec, ret->x, ret->y)
				 : PSP_HWERROR_PLATFORM;
	ec_done(&ec);
	return status;
}

static enum psp_status ecdh(const uint8_t private[PSP_EC_LEN], const struct psp_point *peer,
			    uint8_t ret_x[PSP_EC_LEN])
{
	uint8_t y[PSP_EC_LEN];
	enum psp_status status;
	struct ec ec;

	if (!ec_init(&ec))
		return PSP_HWERROR_PLATFORM;
	status = set_point(&ec, peer);
	if (status == PSP_SUCCESS)
		status = set_private(&ec, private);
	if (status == PSP_SUCCESS)
		status = EC_POINT_mul(ec.group, ec.point, NULL, ec.point, ec.a, NULL) &&
					 EC_POINT_get_affine_coordinates(ec.group, ec.point, ec.a,
									 ec.b, NULL)
				 ? get_numbers(&ec, ret_x, y)
				 : PSP_HWERROR_PLATFORM;
	ec_done(&ec);
	return status;
}

static enum psp_status ecdsa_sign(const uint8_t private[PSP_EC_LEN],
				  const uint8_t hash[PSP_HASH_LEN], struct psp_ecdsa *ret)
{
	ECDSA_SIG *signature = NULL;
	enum psp_status status;
	struct ec ec;

	if (!ec_init(&ec))
		return PSP_HWERROR_PLATFORM;
	status = set_private(&ec, private);
	if (status == PSP_SUCCESS)
		signature = ECDSA_do_sign(hash, PSP_HASH_LEN, ec.key);
	if (status == PSP_SUCCESS)
		status = signature && BN_copy(ec.a, ECDSA_SIG_get0_r(signature)) &&
					 BN_copy(ec.b, ECDSA_SIG_get0_s(signature))
				 ? get_numbers(&ec, ret->r, ret->s)
				 : PSP_HWERROR_PLATFORM;
	ECDSA_SIG_free(signature);
	ec_done(&ec);
	return status;
}

static enum psp_status ecdsa_verify(const struct psp_point *public,
				    const uint8_t hash[PSP_HASH_LEN],
				    const struct psp_ecdsa *signature)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_lebin2bn(signature->r, PSP_EC_LEN, NULL);
	BIGNUM *s = BN_lebin2bn(signature->s, PSP_EC_LEN, NULL);
	enum psp_status status = PSP_HWERROR_PLATFORM;
	struct ec ec;

	if (!sig || !r || !s || !ECDSA_SIG_set0(sig, r, s)) {
		BN_free(r);
		BN_free(s);
	} else if (ec_init(&ec)) {
		status = set_point(&ec, public);
		if (status == PSP_SUCCESS && !EC_KEY_set_public_key(ec.key, ec.point))
			status = PSP_HWERROR_PLATFORM;
		if (status == PSP_SUCCESS && ECDSA_do_verify(hash, PSP_HASH_LEN, sig, ec.key) != 1)
			status = PSP_BAD_SIGNATURE;
		ec_done(&ec);
	}
	ECDSA_SIG_free(sig);
	return status;
}

/* RFC 8017, 8.1.2: the padding of what the signature, raised to the exponent, turns out to be. */
static enum psp_status verify_pss(RSA *rsa, const uint8_t hash[PSP_HASH_LEN],
				  const uint8_t *signature, size_t len)
{
	uint8_t big_endian[PSP_RSA_MAX], encoded[PSP_RSA_MAX];

	for (size_t i = 0; i < len; i++)
		big_endian[i] = signature[len - 1 - i];
	return (size_t)RSA_size(rsa) == len &&
			       RSA_public_decrypt((int)len, big_endian, encoded, rsa,
						  RSA_NO_PADDING) == (int)len &&
			       RSA_verify_PKCS1_PSS(rsa, hash, EVP_sha256(), encoded,
						    RSA_PSS_SALTLEN_DIGEST) == 1
		       ? PSP_SUCCESS
		       : PSP_BAD_SIGNATURE;
}

static enum psp_status rsa_verify(const uint8_t *modulus, const uint8_t *exponent, size_t len,
				  const uint8_t hash[PSP_HASH_LEN], const uint8_t *signature)
{
	BIGNUM *n = BN_lebin2bn(modulus, (int)len, NULL),
	       *e = BN_lebin2bn(exponent, (int)len, NULL);
	enum psp_status status = PSP_HWERROR_PLATFORM;
	RSA *rsa = RSA_new();

	if (len > PSP_RSA_MAX || !n || !e || !rsa || !RSA_set0_key(rsa, n, e, NULL)) {
		BN_free(n);
		BN_free(e);
	} else {
		status = verify_pss(rsa, hash, signature, len);
	}
	RSA_free(rsa);
	return status;
}

int psp_openssl_random(void *opaque, void *ret, size_t len)
{
	(void)opaque;
	return RAND_bytes(ret, (int)len) == 1 ? 0 : -1;
}

const struct psp_crypto psp_openssl = {
	.sha256_init = sha256_init,
	.sha256_update = sha256_update,
	.sha256_final = sha256_final,
	.aes128 = aes128,
	.ec_public = ec_public,
	.ecdh = ecdh,
	.ecdsa_sign = ecdsa_sign,
	.ecdsa_verify = ecdsa_verify,
	.rsa_verify = rsa_verify,
};
