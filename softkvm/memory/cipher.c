// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cipher.c - the memory controller's cipher
 *
 * psp_xex() asks its struct psp_crypto for AES with a key, and would have the key's schedule
 * computed anew for every sixteen blocks.  Here the key that it is given is the first member of a
 * struct cipher, which has the schedules.
 *
 * A guest's stores are encrypted one by one, so what counts is the time of a single block.  OpenSSL
 * uses the CPU's instructions for AES (FIPS 197; AMD publication 26568) behind EVP only, which
 * takes longer to get to them than they take; so they are used here.  OpenSSL is for CPUs without.
 */
#define OPENSSL_API_COMPAT 0x10100000L /* as in psp/openssl.c: it may not allocate */

#include <immintrin.h>
#include <openssl/aes.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "internal.h"

#define ROUNDS 10

struct cipher {
	uint8_t key[PSP_KEY_LEN];
	bool has_instructions;
	union {
		struct {
			__m128i encrypts[ROUNDS + 1], decrypts[ROUNDS + 1];
		} round;
		struct {
			AES_KEY encrypts, decrypts;
		} openssl;
	};
};
_Static_assert(offsetof(struct cipher, key) == 0, "aes128() finds the rest by it");

/* The next round's key; assist is of the one before. */
__attribute__((target("aes"))) static __m128i expand(__m128i key, __m128i assist)
{
	for (unsigned i = 0; i < 3; i++)
		key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
	return _mm_xor_si128(key, _mm_shuffle_epi32(assist, 0xff));
}

/* The round constants are operands of the instruction: there is no loop over them. */
__attribute__((target("aes"))) static void expand_all(struct cipher *cipher)
{
	__m128i *k = cipher->round.encrypts, *inverse = cipher->round.decrypts;

	memcpy(&k[0], cipher->key, sizeof(k[0]));
	k[1] = expand(k[0], _mm_aeskeygenassist_si128(k[0], 0x01));
	k[2] = expand(k[1], _mm_aeskeygenassist_si128(k[1], 0x02));
	k[3] = expand(k[2], _mm_aeskeygenassist_si128(k[2], 0x04));
	k[4] = expand(k[3], _mm_aeskeygenassist_si128(k[3], 0x08));
	k[5] = expand(k[4], _mm_aeskeygenassist_si128(k[4], 0x10));
	k[6] = expand(k[5], _mm_aeskeygenassist_si128(k[5], 0x20));
	k[7] = expand(k[6], _mm_aeskeygenassist_si128(k[6], 0x40));
	k[8] = expand(k[7], _mm_aeskeygenassist_si128(k[7], 0x80));
	k[9] = expand(k[8], _mm_aeskeygenassist_si128(k[8], 0x1b));
	k[10] = expand(k[9], _mm_aeskeygenassist_si128(k[9], 0x36));
	for (unsigned i = 0; i <= ROUNDS; i++)
		inverse[i] = i && i < ROUNDS ? _mm_aesimc_si128(k[ROUNDS - i]) : k[ROUNDS - i];
}

__attribute__((target("aes"))) static void
run_instructions(const struct cipher *cipher, bool encrypts, uint8_t *blocks, size_t n_blocks)
{
	const __m128i *k = encrypts ? cipher->round.encrypts : cipher->round.decrypts;

	for (; n_blocks; n_blocks--, blocks += BLOCK_SIZE) {
		__m128i block = _mm_xor_si128(_mm_loadu_si128((const __m128i *)blocks), k[0]);

		for (unsigned i = 1; i < ROUNDS; i++)
			block = encrypts ? _mm_aesenc_si128(block, k[i])
					 : _mm_aesdec_si128(block, k[i]);
		block = encrypts ? _mm_aesenclast_si128(block, k[ROUNDS])
				 : _mm_aesdeclast_si128(block, k[ROUNDS]);
		_mm_storeu_si128((__m128i *)blocks, block);
	}
}

static void run_openssl(const struct cipher *cipher, bool encrypts, uint8_t *blocks,
			size_t n_blocks)
{
	for (; n_blocks; n_blocks--, blocks += BLOCK_SIZE) {
		if (encrypts)
			AES_encrypt(blocks, blocks, &cipher->openssl.encrypts);
		else
			AES_decrypt(blocks, blocks, &cipher->openssl.decrypts);
	}
}

static void aes128(const uint8_t *key, bool encrypts, uint8_t *blocks, size_t n_blocks)
{
	const struct cipher *cipher = (const void *)key;

	if (cipher->has_instructions)
		run_instructions(cipher, encrypts, blocks, n_blocks);
	else
		run_openssl(cipher, encrypts, blocks, n_blocks);
}

static void cipher_init(struct cipher *cipher, const uint8_t vek[PSP_KEY_LEN])
{
	memcpy(cipher->key, vek, PSP_KEY_LEN);
	cipher->has_instructions = __builtin_cpu_supports("aes");
	if (cipher->has_instructions) {
		expand_all(cipher);
		return;
	}
	(void)AES_set_encrypt_key(vek, 8 * PSP_KEY_LEN, &cipher->openssl.encrypts);
	(void)AES_set_decrypt_key(vek, 8 * PSP_KEY_LEN, &cipher->openssl.decrypts);
}

struct cipher *cipher_new(const uint8_t vek[PSP_KEY_LEN])
{
	struct cipher *cipher = aligned_alloc(_Alignof(struct cipher), sizeof(*cipher));

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
