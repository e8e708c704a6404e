// SPDX-License-Identifier: GPL-2.0-or-later
#include "owner.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#define FIELD 48

static EVP_PKEY *from_data(const char *type, OSSL_PARAM_BLD *build)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	EVP_PKEY *key = NULL;

	assert_non_null(params);
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static void reverse(uint8_t *to, const uint8_t *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = from[len - 1 - i];
}

EVP_PKEY *new_ec_key(const char *curve, struct psp_cert *cert, uint32_t usage, uint32_t algo)
{
	EVP_PKEY *key = EVP_EC_gen(curve);
	BIGNUM *x = NULL, *y = NULL;

	assert_non_null(key);
	assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x), 1);
	assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y), 1);
	memset(cert, 0, sizeof(*cert));
	cert->version = 1;
	cert->usage = usage;
	cert->algo = algo;
	cert->ec.curve = strcmp(curve, "P-384") == 0 ? 2 : 1;
	(void)BN_bn2lebinpad(x, cert->ec.point.x, PSP_EC_LEN);
	(void)BN_bn2lebinpad(y, cert->ec.point.y, PSP_EC_LEN);
	cert->signature[0].usage = cert->signature[1].usage = 0x1000;
	BN_free(x);
	BN_free(y);
	return key;
}

EVP_PKEY *key_of_cert(const struct psp_cert *cert)
{
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	uint8_t point[1 + 2 * FIELD] = {POINT_CONVERSION_UNCOMPRESSED};

	reverse(point + 1, cert->ec.point.x, FIELD);
	reverse(point + 1 + FIELD, cert->ec.point.y, FIELD);
	(void)OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-384", 0);
	(void)OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point,
					       sizeof(point));
	return from_data("EC", build);
}

EVP_PKEY *key_of_authority(const struct psp_ca_cert *cert)
{
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	BIGNUM *n = BN_lebin2bn(cert->modulus, sizeof(cert->modulus), NULL);
	BIGNUM *e = BN_lebin2bn(cert->exponent, sizeof(cert->exponent), NULL);
	EVP_PKEY *key;

	(void)OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n);
	(void)OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e);
	key = from_data("RSA", build);
	BN_free(n);
	BN_free(e);
	return key;
}

static void use_pss(EVP_PKEY_CTX *ctx)
{
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST), 1);
}

static bool is_signed(EVP_PKEY *key, bool is_rsa, const void *data, size_t len,
		      const uint8_t *signature, size_t signature_len)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx;
	bool is_valid;

	assert_int_equal(EVP_DigestVerifyInit(md, &ctx, EVP_sha256(), NULL, key), 1);
	if (is_rsa)
		use_pss(ctx);
	is_valid = EVP_DigestVerify(md, signature, signature_len, data, len) == 1;
	EVP_MD_CTX_free(md);
	return is_valid;
}

bool is_signed_ec(EVP_PKEY *key, const void *data, size_t len, const struct psp_ecdsa *signature)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	unsigned char *der = NULL;
	int der_len;
	bool is_valid;

	assert_int_equal(ECDSA_SIG_set0(sig, BN_lebin2bn(signature->r, PSP_EC_LEN, NULL),
					BN_lebin2bn(signature->s, PSP_EC_LEN, NULL)),
			 1);
	der_len = i2d_ECDSA_SIG(sig, &der);
	assert_true(der_len > 0);
	is_valid = is_signed(key, false, data, len, der, (size_t)der_len);
	OPENSSL_free(der);
	ECDSA_SIG_free(sig);
	return is_valid;
}

bool is_signed_rsa(EVP_PKEY *key, const void *data, size_t len, const uint8_t signature[256])
{
	uint8_t big_endian[256];

	reverse(big_endian, signature, sizeof(big_endian));
	return is_signed(key, true, data, len, big_endian, sizeof(big_endian));
}

void verify_chain(const struct psp_ca_chain *authorities, const struct psp_cert *pdh,
		  const struct psp_chain *chain)
{
	EVP_PKEY *ark = key_of_authority(&authorities->ark);
	EVP_PKEY *ask = key_of_authority(&authorities->ask);
	EVP_PKEY *cek = key_of_cert(&chain->cek), *pek = key_of_cert(&chain->pek);
	EVP_PKEY *oca = key_of_cert(&chain->oca), *pdh_key = key_of_cert(pdh);

	assert_true(is_signed_rsa(ark, &authorities->ark, 576, authorities->ark.signature));
	assert_true(is_signed_rsa(ark, &authorities->ask, 576, authorities->ask.signature));
	assert_int_equal(chain->cek.signature[0].usage, PSP_USAGE_ASK);
	assert_int_equal(chain->cek.signature[0].algo, 1);
	assert_true(is_signed_rsa(ask, &chain->cek, offsetof(struct psp_cert, signature),
				  chain->cek.signature[0].rsa));
	assert_int_equal(chain->oca.signature[0].usage, PSP_USAGE_OCA);
	assert_int_equal(chain->oca.signature[0].algo, 2);
	assert_true(is_signed_ec(oca, &chain->oca, offsetof(struct psp_cert, signature),
				 &chain->oca.signature[0].ecdsa));
	assert_int_equal(chain->pek.signature[0].usage, PSP_USAGE_OCA);
	assert_true(is_signed_ec(oca, &chain->pek, offsetof(struct psp_cert, signature),
				 &chain->pek.signature[0].ecdsa));
	assert_int_equal(chain->pek.signature[1].usage, PSP_USAGE_CEK);
	assert_true(is_signed_ec(cek, &chain->pek, offsetof(struct psp_cert, signature),
				 &chain->pek.signature[1].ecdsa));
	assert_int_equal(pdh->signature[0].usage, PSP_USAGE_PEK);
	assert_int_equal(pdh->signature[1].usage, PSP_USAGE_NONE);
	assert_true(is_signed_ec(pek, pdh, offsetof(struct psp_cert, signature),
				 &pdh->signature[0].ecdsa));
	assert_int_equal(pdh->usage, PSP_USAGE_PDH);
	assert_int_equal(pdh->algo, 3);
	EVP_PKEY_free(ark);
	EVP_PKEY_free(ask);
	EVP_PKEY_free(cek);
	EVP_PKEY_free(pek);
	EVP_PKEY_free(oca);
	EVP_PKEY_free(pdh_key);
}

static size_t sign(EVP_PKEY *key, bool is_rsa, const void *data, size_t len, uint8_t ret[256])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx;
	size_t n = 256;

	assert_int_equal(EVP_DigestSignInit(md, &ctx, EVP_sha256(), NULL, key), 1);
	if (is_rsa)
		use_pss(ctx);
	assert_int_equal(EVP_DigestSign(md, ret, &n, data, len), 1);
	EVP_MD_CTX_free(md);
	return n;
}

void sign_ec(EVP_PKEY *key, const void *data, size_t len, struct psp_ecdsa *ret)
{
	uint8_t der[256];
	const uint8_t *p = der;
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)sign(key, false, data, len, der));

	assert_non_null(sig);
	(void)BN_bn2lebinpad(ECDSA_SIG_get0_r(sig), ret->r, PSP_EC_LEN);
	(void)BN_bn2lebinpad(ECDSA_SIG_get0_s(sig), ret->s, PSP_EC_LEN);
	ECDSA_SIG_free(sig);
}

void sign_rsa(EVP_PKEY *key, const void *data, size_t len, uint8_t ret[256])
{
	uint8_t big_endian[256];

	assert_int_equal(sign(key, true, data, len, big_endian), 256);
	reverse(ret, big_endian, 256);
}

void hmac(const uint8_t key[16], const void *data, size_t len, uint8_t ret[32])
{
	assert_non_null(HMAC(EVP_sha256(), key, 16, data, len, ret, NULL));
}

void ctr(const uint8_t key[16], const uint8_t iv[16], uint8_t *data, size_t len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_128_ctr(), NULL, key, iv), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, data, &n, data, (int)len), 1);
	EVP_CIPHER_CTX_free(ctx);
}

/* Bytes put one after the other. */
struct bytes {
	uint8_t data[40000];
	size_t len;
};

static void put(struct bytes *b, const void *data, size_t len)
{
	assert_true(len <= sizeof(b->data) - b->len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

static void put8(struct bytes *b, uint8_t n)
{
	put(b, &n, sizeof(n));
}

static void put32(struct bytes *b, uint32_t n)
{
	put(b, &n, sizeof(n));
}

static void derive(const uint8_t *key, size_t key_len, const char *label, const void *context,
		   size_t context_len, uint8_t ret[16])
{
	struct bytes b = {.len = 0};
	uint8_t full[32];

	put32(&b, 1);
	put(&b, label, strlen(label));
	put8(&b, 0);
	put(&b, context, context_len);
	put32(&b, 128);
	assert_non_null(HMAC(EVP_sha256(), key, (int)key_len, b.data, b.len, full, NULL));
	memcpy(ret, full, 16);
}

static void agree(struct owner *owner, const struct psp_cert *pdh, uint8_t ret[FIELD])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(owner->key, NULL);
	EVP_PKEY *peer = key_of_cert(pdh);
	size_t len = FIELD;

	assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
	assert_int_equal(EVP_PKEY_derive_set_peer(ctx, peer), 1);
	assert_int_equal(EVP_PKEY_derive(ctx, ret, &len), 1);
	assert_int_equal(len, FIELD);
	EVP_PKEY_free(peer);
	EVP_PKEY_CTX_free(ctx);
}

void owner_init(struct owner *owner, const struct psp_cert *pdh, uint32_t policy)
{
	uint8_t shared[FIELD], master[16], kek[16], kik[16];
	struct psp_session *session = &owner->session;

	owner->key = new_ec_key("P-384", &owner->cert, 0x1003, 3);
	owner->policy = policy;
	assert_int_equal(RAND_bytes(owner->tek, 16), 1);
	assert_int_equal(RAND_bytes(owner->tik, 16), 1);
	assert_int_equal(RAND_bytes(session->nonce, 16), 1);
	assert_int_equal(RAND_bytes(session->wrap_iv, 16), 1);
	agree(owner, pdh, shared);
	derive(shared, sizeof(shared), "sev-master-secret", session->nonce, 16, master);
	derive(master, 16, "sev-kek", "", 0, kek);
	derive(master, 16, "sev-kik", "", 0, kik);
	memcpy(session->wrap_tk, owner->tek, 16);
	memcpy(session->wrap_tk + 16, owner->tik, 16);
	ctr(kek, session->wrap_iv, session->wrap_tk, 32);
	hmac(kik, session->wrap_tk, 32, session->wrap_mac);
	hmac(owner->tik, &policy, 4, session->policy_mac);
}

void owner_done(struct owner *owner)
{
	EVP_PKEY_free(owner->key);
}

bool owner_accepts(struct owner *owner, const struct psp_measurement *measurement, const void *data,
		   size_t len)
{
	struct bytes b = {.len = 0};
	uint8_t digest[32];

	assert_int_equal(EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL), 1);
	put8(&b, 4);
	put8(&b, 1);
	put8(&b, 55);
	put8(&b, 21);
	put32(&b, owner->policy);
	put(&b, digest, 32);
	put(&b, measurement->mnonce, 16);
	hmac(owner->tik, b.data, b.len, owner->measure);
	return memcmp(owner->measure, measurement->measure, 32) == 0;
}

void owner_wrap(const struct owner *owner, uint8_t *secret, uint32_t len,
		struct psp_packet_header *ret)
{
	struct bytes b = {.len = 0};

	ret->flags = 0;
	assert_int_equal(RAND_bytes(ret->iv, 16), 1);
	ctr(owner->tek, ret->iv, secret, len);
	put8(&b, 1);
	put32(&b, ret->flags);
	put(&b, ret->iv, 16);
	put32(&b, len);
	put32(&b, len);
	put(&b, secret, len);
	put(&b, owner->measure, 32);
	hmac(owner->tik, b.data, b.len, ret->mac);
}
