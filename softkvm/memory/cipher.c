// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cipher.c - the memory controller's cipher
 *
 * psp_xex() asks its struct psp_crypto for AES with a key, and would have the key's schedule
 * computed anew for every sixteen blocks.  Here the key that it is given is the first member of a
 * struct cipher, which has the schedules.
 */
#define OPENSSL_API_COMPAT 0x10100000L /* as in psp/openssl.c: it may not allocate */

#include <openssl/aes.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "internal.h"

struct cipher {
	uint8_t key[PSP_KEY_LEN];
	AES_KEY encrypts, decrypts;
};
_Static_assert(offsetof(struct cipher, key) == 0, "aes128() finds the rest by it");

static void aes128(const uint8_t key[PSP_KEY_LEN], bool encrypts, uint8_t *blocks, size_t n_blocks)
{
	const struct cipher *cipher = (const void *)key;

	for (; n_blocks; n_blocks--, blocks += AES_BLOCK_SIZE) {
		if (encrypts)
			AES_encrypt(blocks, blocks, &cipher->encrypts);
		else
			AES_decrypt(blocks, blocks, &cipher->decrypts);
	}
}

static void cipher_init(struct cipher *cipher, const uint8_t vek[PSP_KEY_LEN])
{
	memcpy(cipher->key, vek, PSP_KEY_LEN);
	(void)AES_set_encrypt_key(vek, 8 * PSP_KEY_LEN, &cipher->encrypts);
	(void)AES_set_decrypt_key(vek, 8 * PSP_KEY_LEN, &cipher->decrypts);
}

struct cipher *cipher_new(const uint8_t vek[PSP_KEY_LEN])
{
	struct cipher *cipher = calloc(1, sizeof(*cipher));

	if (cipher)
		cipher_init(cipher, vek);
	return cipher;
}

struct cipher *cipher_free(struct cipher *cipher)
{
	if (cipher)
		OPENSSL_cleanse(cipher, sizeof(*cipher));
	free(cipher);
	return NULL;
}

bool cipher_has_key(const struct cipher *cipher, const uint8_t vek[PSP_KEY_LEN])
{
	return !memcmp(cipher->key, vek, PSP_KEY_LEN);
}

void cipher_run(const struct cipher *cipher, uint64_t address, uint8_t *data, size_t len,
		bool encrypts)
{
	static const struct psp_crypto crypto = {.aes128 = aes128};

	psp_xex(&crypto, cipher->key, address / BLOCK_SIZE, data, len, encrypts);
}

void memory_cipher(const uint8_t vek[PSP_KEY_LEN], uint64_t address, uint8_t *copy, uint32_t len,
		   bool encrypts)
{
	struct cipher cipher;

	cipher_init(&cipher, vek);
	cipher_run(&cipher, address, copy, len, encrypts);
	OPENSSL_cleanse(&cipher, sizeof(cipher));
}
