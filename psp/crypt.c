// SPDX-License-Identifier: GPL-2.0-or-later
/* crypt.c - constructions over the hash and the block cipher that the caller supplies */
#include "psp/state.h"

#define HASH_BLOCK 64
#define BATCH	   16 /* blocks of AES at a time: they are on the stack */

void psp_wipe(void *data, size_t len)
{
	memset(data, 0, len);
	__asm__ __volatile__("" : : "r"(data) : "memory"); /* it is read: do not leave that out */
}

bool psp_equal(const void *a, const void *b, size_t len)
{
	const uint8_t *x = a, *y = b;
	uint8_t difference = 0;

	for (size_t i = 0; i < len; i++)
		difference |= x[i] ^ y[i];
	return difference == 0;
}

void psp_hash(const struct psp_crypto *crypto, const void *data, size_t len,
	      uint8_t ret[PSP_HASH_LEN])
{
	struct psp_sha256 hash;

	crypto->sha256_init(&hash);
	crypto->sha256_update(&hash, data, len);
	crypto->sha256_final(&hash, ret);
}

/* RFC 2104. */
void psp_hmac_init(const struct psp_crypto *crypto, struct psp_hmac *hmac, const uint8_t *key,
		   size_t len)
{
	uint8_t inner_key[HASH_BLOCK] = {0};

	if (len > HASH_BLOCK)
		psp_hash(crypto, key, len, inner_key);
	else
		memcpy(inner_key, key, len);
	for (size_t i = 0; i < HASH_BLOCK; i++) {
		hmac->outer_key[i] = inner_key[i] ^ 0x5c;
		inner_key[i] ^= 0x36;
	}
	crypto->sha256_init(&hmac->inner);
	crypto->sha256_update(&hmac->inner, inner_key, sizeof(inner_key));
	psp_wipe(inner_key, sizeof(inner_key));
}

void psp_hmac_update(const struct psp_crypto *crypto, struct psp_hmac *hmac, const void *data,
		     size_t len)
{
	crypto->sha256_update(&hmac->inner, data, len);
}

void psp_hmac_final(const struct psp_crypto *crypto, struct psp_hmac *hmac,
		    uint8_t ret[PSP_HASH_LEN])
{
	crypto->sha256_final(&hmac->inner, ret);
	crypto->sha256_init(&hmac->inner);
	crypto->sha256_update(&hmac->inner, hmac->outer_key, sizeof(hmac->outer_key));
	crypto->sha256_update(&hmac->inner, ret, PSP_HASH_LEN);
	crypto->sha256_final(&hmac->inner, ret);
	psp_wipe(hmac, sizeof(*hmac));
}

void psp_kdf(const struct psp_crypto *crypto, const uint8_t *key, size_t key_len, const char *label,
	     size_t label_len, const uint8_t *context, size_t context_len, uint8_t ret[PSP_KEY_LEN])
{
	static const uint32_t counter = 1, bits = 8 * PSP_KEY_LEN;
	uint8_t block[PSP_HASH_LEN];
	struct psp_hmac hmac;

	psp_hmac_init(crypto, &hmac, key, key_len);
	psp_hmac_update(crypto, &hmac, &counter, sizeof(counter));
	psp_hmac_update(crypto, &hmac, label, label_len);
	psp_hmac_update(crypto, &hmac, context, context_len);
	psp_hmac_update(crypto, &hmac, &bits, sizeof(bits));
	psp_hmac_final(crypto, &hmac, block);
	memcpy(ret, block, PSP_KEY_LEN);
	psp_wipe(block, sizeof(block));
}

static void increment(uint8_t counter[16])
{
	for (int i = 15; i >= 0 && ++counter[i] == 0; i--)
		;
}

void psp_ctr(const struct psp_crypto *crypto, const uint8_t key[PSP_KEY_LEN], const uint8_t iv[16],
	     uint8_t *data, size_t len)
{
	uint8_t counter[16], pad[BATCH][16];

	memcpy(counter, iv, sizeof(counter));
	for (size_t done = 0; done < len; done += sizeof(pad)) {
		size_t n = len - done < sizeof(pad) ? len - done : sizeof(pad);

		for (size_t i = 0; i < BATCH; i++) {
			memcpy(pad[i], counter, sizeof(counter));
			increment(counter);
		}
		crypto->aes128(key, true, pad[0], BATCH);
		for (size_t i = 0; i < n; i++)
			data[done + i] ^= pad[i / 16][i % 16];
	}
	psp_wipe(pad, sizeof(pad));
}

/* Times x in GF(2^128), big-endian. */
static void times_x(uint8_t n[16])
{
	uint8_t carry = n[0] >> 7;

	for (size_t i = 0; i < 15; i++)
		n[i] = (uint8_t)(n[i] << 1 | n[i + 1] >> 7);
	n[15] = (uint8_t)(n[15] << 1 ^ carry * 0x87);
}

/* P. Rogaway, ASIACRYPT 2004, section 3: offset 2 * E(N); with E(N) alone it would not be secure.
 */
void psp_xex(const struct psp_crypto *crypto, const uint8_t vek[PSP_KEY_LEN], uint64_t block,
	     uint8_t *data, size_t len, bool encrypts)
{
	uint8_t offset[BATCH][16];

	for (size_t done = 0; done < len; done += sizeof(offset)) {
		size_t n = len - done < sizeof(offset) ? len - done : sizeof(offset);

		memset(offset, 0, sizeof(offset));
		for (size_t i = 0; i < n / 16; i++, block++)
			memcpy(offset[i], &block, sizeof(block));
		crypto->aes128(vek, true, offset[0], n / 16);
		for (size_t i = 0; i < n / 16; i++)
			times_x(offset[i]);
		for (size_t i = 0; i < n; i++)
			data[done + i] ^= offset[i / 16][i % 16];
		crypto->aes128(vek, encrypts, data + done, n / 16);
		for (size_t i = 0; i < n; i++)
			data[done + i] ^= offset[i / 16][i % 16];
	}
	psp_wipe(offset, sizeof(offset));
}
