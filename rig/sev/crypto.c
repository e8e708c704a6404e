// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * crypto.c - cryptography for psp/ by the kernel's own
 *
 * SHA-256 and AES are the kernel's libraries.  Of elliptic curves the kernel has ECDH and the
 * verification of ECDSA; signing is made here of the same parts.  They are used below the interface
 * of ecc_make_pub_key() and crypto_ecdh_shared_secret(), which take private keys in another order
 * of bytes since Linux 6.11.  None of this takes the same time for all keys: these are no secrets
 * worth it.
 *
 * RSA is missing: psp/ needs it to verify the chains of platforms that a guest is sent to, and of
 * owners that have RSA keys; it answers UNSUPPORTED.
 */
#include <crypto/aes.h>
#include <crypto/ecc_curve.h>
#include <crypto/ecdh.h>
#include <crypto/internal/ecc.h>
#include <crypto/sha2.h>
#include <linux/build_bug.h>
#include <linux/random.h>

#include "crypto.h"

#define DIGITS ECC_CURVE_NIST_P384_DIGITS
#define BYTES  (DIGITS * sizeof(u64))

static void hash_init(struct psp_sha256 *hash)
{
	BUILD_BUG_ON(sizeof(struct sha256_state) > sizeof(*hash));
	sha256_init((struct sha256_state *)hash);
}

static void hash_update(struct psp_sha256 *hash, const void *data, size_t len)
{
	sha256_update((struct sha256_state *)hash, data, len);
}

static void hash_final(struct psp_sha256 *hash, uint8_t ret[PSP_HASH_LEN])
{
	sha256_final((struct sha256_state *)hash, ret);
}

static void aes128(const uint8_t key[PSP_KEY_LEN], bool encrypts, uint8_t *blocks, size_t n_blocks)
{
	struct crypto_aes_ctx ctx;

	(void)aes_expandkey(&ctx, key, PSP_KEY_LEN); /* fails only for other lengths */
	for (; n_blocks; n_blocks--, blocks += AES_BLOCK_SIZE) {
		if (encrypts)
			aes_encrypt(&ctx, blocks, blocks);
		else
			aes_decrypt(&ctx, blocks, blocks);
	}
	memzero_explicit(&ctx, sizeof(ctx));
}

/* A number as certificates have it; false: it is too large for the curve. */
static bool get_number(u64 ret[DIGITS], const uint8_t number[PSP_EC_LEN])
{
	vli_from_le64(ret, number, DIGITS);
	return !memchr_inv(number + BYTES, 0, PSP_EC_LEN - BYTES);
}

static void put_number(uint8_t ret[PSP_EC_LEN], const u64 number[DIGITS])
{
	memset(ret, 0, PSP_EC_LEN);
	memcpy(ret, number, BYTES);
}

/* Is it from 1 to n - 1? */
static bool is_scalar(const u64 number[DIGITS], const struct ecc_curve *curve)
{
	return !vli_is_zero(number, DIGITS) && vli_cmp(number, curve->n, DIGITS) < 0;
}

/* result = a * point + b * other */
static void multiply(struct ecc_point *result, const u64 a[DIGITS], const struct ecc_point *point,
		     const u64 b[DIGITS], const struct ecc_point *other)
{
	ecc_point_mult_shamir(result, a, point, b, other, ecc_get_curve(ECC_CURVE_NIST_P384));
}

static bool get_point(struct ecc_point *ret, const struct psp_point *point)
{
	/* The cofactor is 1: whatever is on the curve, and not its zero, is in the group. */
	return get_number(ret->x, point->x) && get_number(ret->y, point->y) &&
	       ecc_is_pubkey_valid_partial(ecc_get_curve(ECC_CURVE_NIST_P384), ret) == 0;
}

static enum psp_status ec_public(const uint8_t private[PSP_EC_LEN], struct psp_point *ret)
{
	const struct ecc_curve *curve = ecc_get_curve(ECC_CURVE_NIST_P384);
	u64 key[DIGITS], x[DIGITS], y[DIGITS], zero[DIGITS] = {};
	struct ecc_point result = ECC_POINT_INIT(x, y, DIGITS);

	if (!get_number(key, private) || !is_scalar(key, curve))
		return PSP_INVALID_PARAM;
	multiply(&result, key, &curve->g, zero, &curve->g);
	memzero_explicit(key, sizeof(key));
	put_number(ret->x, x);
	put_number(ret->y, y);
	return PSP_SUCCESS;
}

static enum psp_status ecdh(const uint8_t private[PSP_EC_LEN], const struct psp_point *peer,
			    uint8_t ret_x[PSP_EC_LEN])
{
	const struct ecc_curve *curve = ecc_get_curve(ECC_CURVE_NIST_P384);
	u64 key[DIGITS], x[DIGITS], y[DIGITS], peer_x[DIGITS], peer_y[DIGITS], zero[DIGITS] = {};
	struct ecc_point result = ECC_POINT_INIT(x, y, DIGITS);
	struct ecc_point point = ECC_POINT_INIT(peer_x, peer_y, DIGITS);

	if (!get_point(&point, peer))
		return PSP_INVALID_CERTIFICATE;
	if (!get_number(key, private) || !is_scalar(key, curve))
		return PSP_INVALID_PARAM;
	multiply(&result, key, &point, zero, &curve->g);
	memzero_explicit(key, sizeof(key));
	put_number(ret_x, x);
	return PSP_SUCCESS;
}

/* A hash as a number: fewer bits than the order, so none are cut off. */
static void get_hash(u64 ret[DIGITS], const uint8_t hash[PSP_HASH_LEN])
{
	u8 padded[BYTES] = {};

	memcpy(padded + BYTES - PSP_HASH_LEN, hash, PSP_HASH_LEN);
	vli_from_be64(ret, padded, DIGITS);
}

/* result = a + b mod n, of numbers below n, with nothing but a subtraction at hand */
static void add_mod(u64 result[DIGITS], const u64 a[DIGITS], const u64 b[DIGITS],
		    const u64 n[DIGITS])
{
	u64 negative[DIGITS];

	vli_sub(negative, n, b, DIGITS);
	if (vli_cmp(a, negative, DIGITS) >= 0) {
		vli_sub(result, a, negative, DIGITS);
	} else {
		vli_sub(result, negative, a, DIGITS);
		vli_sub(result, n, result, DIGITS);
	}
}

/* FIPS 186-5, 6.4.1. */
static enum psp_status ecdsa_sign(const uint8_t private[PSP_EC_LEN],
				  const uint8_t hash[PSP_HASH_LEN], struct psp_ecdsa *ret)
{
	const struct ecc_curve *curve = ecc_get_curve(ECC_CURVE_NIST_P384);
	u64 key[DIGITS], k[DIGITS], r[DIGITS], s[DIGITS], y[DIGITS], zero[DIGITS] = {};
	struct ecc_point result = ECC_POINT_INIT(r, y, DIGITS);

	if (!get_number(key, private) || !is_scalar(key, curve))
		return PSP_INVALID_PARAM;
	do
		get_random_bytes(k, sizeof(k));
	while (!is_scalar(k, curve));
	multiply(&result, k, &curve->g, zero, &curve->g);
	if (vli_cmp(r, curve->n, DIGITS) >= 0)
		vli_sub(r, r, curve->n, DIGITS);

	/* s = (hash + r * key) / k */
	vli_mod_mult_slow(s, r, key, curve->n, DIGITS);
	get_hash(y, hash);
	add_mod(s, s, y, curve->n);
	vli_mod_inv(y, k, curve->n, DIGITS);
	vli_mod_mult_slow(s, s, y, curve->n, DIGITS);
	memzero_explicit(key, sizeof(key));
	memzero_explicit(k, sizeof(k));
	if (vli_is_zero(r, DIGITS) || vli_is_zero(s, DIGITS))
		return PSP_HWERROR_PLATFORM; /* nobody will see that */
	put_number(ret->r, r);
	put_number(ret->s, s);
	return PSP_SUCCESS;
}

/* FIPS 186-5, 6.4.2. */
static enum psp_status ecdsa_verify(const struct psp_point *public,
				    const uint8_t hash[PSP_HASH_LEN],
				    const struct psp_ecdsa *signature)
{
	const struct ecc_curve *curve = ecc_get_curve(ECC_CURVE_NIST_P384);
	u64 x[DIGITS], y[DIGITS], r[DIGITS], s[DIGITS], a[DIGITS], b[DIGITS];
	u64 result_x[DIGITS], result_y[DIGITS];
	struct ecc_point point = ECC_POINT_INIT(x, y, DIGITS);
	struct ecc_point result = ECC_POINT_INIT(result_x, result_y, DIGITS);

	if (!get_point(&point, public))
		return PSP_INVALID_CERTIFICATE;
	if (!get_number(r, signature->r) || !get_number(s, signature->s) || !is_scalar(r, curve) ||
	    !is_scalar(s, curve))
		return PSP_BAD_SIGNATURE;
	vli_mod_inv(s, s, curve->n, DIGITS);
	get_hash(a, hash);
	vli_mod_mult_slow(a, a, s, curve->n, DIGITS);
	vli_mod_mult_slow(b, r, s, curve->n, DIGITS);
	multiply(&result, a, &curve->g, b, &point);
	if (vli_cmp(result_x, curve->n, DIGITS) >= 0)
		vli_sub(result_x, result_x, curve->n, DIGITS);
	return vli_cmp(result_x, r, DIGITS) == 0 ? PSP_SUCCESS : PSP_BAD_SIGNATURE;
}

const struct psp_crypto kernel_crypto = {
	.sha256_init = hash_init,
	.sha256_update = hash_update,
	.sha256_final = hash_final,
	.aes128 = aes128,
	.ec_public = ec_public,
	.ecdh = ecdh,
	.ecdsa_sign = ecdsa_sign,
	.ecdsa_verify = ecdsa_verify,
};
