// SPDX-License-Identifier: GPL-2.0-or-later
/* Constructions: known answers, which guest owners' tools have too, and OpenSSL's own functions. */
#include "machine.h"
#include "owner.h"

#include <stdio.h>

#include "psp/openssl.h"

static const struct psp_crypto *const crypto = &psp_openssl;

static void assert_hex(const void *data, size_t len, const char *hex)
{
	char text[2 * 64 + 1];

	assert_int_equal(2 * len, strlen(hex));
	for (size_t i = 0; i < len; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)data)[i]);
	assert_string_equal(text, hex);
}

/* n, n + 1, .. */
static void count(uint8_t *data, size_t len, uint8_t n)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(n + i);
}

static void test_key_derivation(void **state)
{
	static const uint8_t zeros[16];
	static const char label[] = "sev-master-secret", kek[] = "sev-kek", kik[] = "sev-kik";
	uint8_t master[16], key[16];

	(void)state;
	psp_kdf(crypto, zeros, 16, label, sizeof(label), zeros, 16, master);
	assert_hex(master, 16, "ab4d269fcc62bedb4511d56c386ce706");
	psp_kdf(crypto, master, 16, kek, sizeof(kek), NULL, 0, key);
	assert_hex(key, 16, "b6abfbfb75ea1ea74ed8750b8afdb973");
	psp_kdf(crypto, master, 16, kik, sizeof(kik), NULL, 0, key);
	assert_hex(key, 16, "53b524bf5669a363f365c864acba8572");
}

static void test_session(void **state)
{
	static const uint8_t shared[16];
	struct psp_keys keys = {{0}, {0}}, ret;
	struct psp_session session = {0}, changed;

	(void)state;
	psp_session_wrap(crypto, shared, sizeof(shared), &keys, 0, &session);
	assert_hex(session.wrap_tk, 32,
		   "2137bc7f9bb8bd7c3e55a576a15d3454b3856b8ba27afadf46dcfee9f02c02c4");
	assert_hex(session.wrap_mac, 32,
		   "3176c0752738bd9d5e86689534020f528c088f16238826b000b327dee6aeed7d");
	assert_hex(session.policy_mac, 32,
		   "aa7855e13839dd767cd5da7c1ff5036540c9264b7a803029315e55375287b4af");

	memset(&ret, 0xff, sizeof(ret));
	assert_int_equal(psp_session_unwrap(crypto, shared, 16, &session, 0, &ret), PSP_SUCCESS);
	assert_memory_equal(&ret, &keys, sizeof(ret));
	assert_int_equal(psp_session_unwrap(crypto, shared, 16, &session, 1, &ret),
			 PSP_BAD_MEASUREMENT);
	/* Any bit that is changed is found, whichever MAC it is that covers it. */
	for (size_t i = 0; i < sizeof(session); i++) {
		changed = session;
		((uint8_t *)&changed)[i] ^= 0x10;
		assert_int_equal(psp_session_unwrap(crypto, shared, 16, &changed, 0, &ret),
				 PSP_BAD_MEASUREMENT);
	}
}

static void test_measure(void **state)
{
	static const uint8_t tik[16] = {0x66, 0x32, 0x0d, 0xb7, 0x31, 0x58, 0xa3, 0x5a,
					0x25, 0x5d, 0x05, 0x17, 0x58, 0xe9, 0x5e, 0xd4};
	static const uint8_t mnonce[16] = {0x4f, 0xbe, 0x0b, 0xed, 0xba, 0xd6, 0xc8, 0x6a,
					   0xe8, 0xf6, 0x89, 0x71, 0xd1, 0x03, 0xe5, 0x54};
	static const uint8_t version[3] = {0, 0x12, 0x0f};
	uint8_t digest[32], measure[32];

	(void)state;
	psp_hash(crypto, "", 0, digest);
	psp_measure(crypto, tik, version, 0, digest, mnonce, measure);
	assert_hex(measure, 32, "6faab2daae389bcd3405a05d6cafe33c0414f7bedd0bae19ba5f38b7fd1664ea");
}

static void test_launch_digest(void **state)
{
	struct machine *m = machine_new();
	struct psp_cmd_range measure = {.len = sizeof(struct psp_measurement)};
	uint64_t page = place(m, NULL, PSP_PAGE_LEN);

	(void)state;
	measure.handle = launch(m, 0);
	measure.address = place(m, NULL, measure.len);
	assert_int_equal(activate(m, measure.handle, MIN_SEV_ASID), PSP_SUCCESS);
	/* In two pieces: it is the same. */
	assert_int_equal(update_data(m, measure.handle, page, 4080), PSP_SUCCESS);
	assert_int_equal(update_data(m, measure.handle, page + 4080, 16), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_MEASURE, &measure), PSP_SUCCESS);
	assert_hex(psp_find(m->psp, measure.handle)->launch_digest, 32,
		   "ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7");
	(void)machine_free(m);
}

static void test_secret(void **state)
{
	uint8_t tek[16], tik[16], measure[32], data[16], mac[32];
	struct psp_packet_header header = {0};

	(void)state;
	count(tek, 16, 0x00);
	count(tik, 16, 0x10);
	count(header.iv, 16, 0x20);
	count(measure, 32, 0x40);
	memcpy(data, "0123456789abcdef", 16);
	psp_ctr(crypto, tek, header.iv, data, 16);
	assert_hex(data, 16, "6bd94c1d6f714aa37318a8cd1432a5be");
	psp_packet_mac(crypto, tik, PSP_PACKET_SECRET, &header, 16, data, 16, measure, mac);
	assert_hex(mac, 32, "1e27734dde56f4691b8ce491a892681fb65c54e87acaeafbd24bc3c612548c97");
}

/* RFC 4231, cases 1 and 6: the key of the second is longer than a block. */
static void test_hmac(void **state)
{
	uint8_t key[131], mac[32];
	struct psp_hmac h;

	(void)state;
	memset(key, 0x0b, 20);
	psp_hmac_init(crypto, &h, key, 20);
	psp_hmac_update(crypto, &h, "Hi There", 8);
	psp_hmac_final(crypto, &h, mac);
	assert_hex(mac, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	memset(key, 0xaa, 131);
	psp_hmac_init(crypto, &h, key, 131);
	psp_hmac_update(crypto, &h, "Test Using Larger Than Block-Size Key - Hash Key First", 54);
	psp_hmac_final(crypto, &h, mac);
	assert_hex(mac, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void test_ctr(void **state)
{
	static const size_t lengths[] = {0, 1, 16, 17, 255, 256, 257, 1000};
	uint8_t key[16], iv[16], ours[1000], theirs[1000];

	(void)state;
	count(key, 16, 7);
	memset(iv, 0xff, sizeof(iv)); /* carries through all of the counter */
	iv[15] = 0xfd;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		count(ours, sizeof(ours), 0);
		count(theirs, sizeof(theirs), 0);
		psp_ctr(crypto, key, iv, ours, lengths[i]);
		ctr(key, iv, theirs, lengths[i]);
		assert_memory_equal(ours, theirs, sizeof(ours));
	}
}

static void ecb(const uint8_t key[16], uint8_t block[16])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_128_ecb(), NULL, key, NULL), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, block, &n, block, 16), 1);
	EVP_CIPHER_CTX_free(ctx);
}

/* By the definition: E(P ^ d) ^ d, where d is twice E(N), in the field of GCM's polynomial. */
static void xex_block(const uint8_t key[16], uint64_t number, uint8_t block[16])
{
	unsigned __int128 d = 0;
	uint8_t offset[16] = {0};

	memcpy(offset, &number, sizeof(number));
	ecb(key, offset);
	for (unsigned i = 0; i < 16; i++)
		d = d << 8 | offset[i];
	d = d << 1 ^ (d >> 127 ? 0x87 : 0);
	for (unsigned i = 0; i < 16; i++)
		offset[i] = (uint8_t)(d >> (120 - 8 * i));
	for (unsigned i = 0; i < 16; i++)
		block[i] ^= offset[i];
	ecb(key, block);
	for (unsigned i = 0; i < 16; i++)
		block[i] ^= offset[i];
}

static void test_memory_cipher(void **state)
{
	uint8_t key[16], plain[512] = {0}, whole[512], parts[512];

	(void)state;
	count(key, 16, 3);
	memcpy(whole, plain, sizeof(whole));
	psp_xex(crypto, key, 1000, whole, sizeof(whole), true);
	for (size_t i = 0; i < 32; i++) {
		memset(parts, 0, 16);
		xex_block(key, 1000 + i, parts);
		assert_memory_equal(whole + 16 * i, parts, 16);
	}
	/* The same bytes are different bytes at each place. */
	for (size_t i = 0; i < 512; i += 16)
		for (size_t j = 0; j < i; j += 16)
			assert_memory_not_equal(whole + i, whole + j, 16);
	/* It does not matter in which pieces. */
	memcpy(parts, plain, sizeof(parts));
	psp_xex(crypto, key, 1000, parts, 16, true);
	psp_xex(crypto, key, 1001, parts + 16, 304, true);
	psp_xex(crypto, key, 1020, parts + 320, 192, true);
	assert_memory_equal(whole, parts, sizeof(whole));
	psp_xex(crypto, key, 1000, whole, sizeof(whole), false);
	assert_memory_equal(whole, plain, sizeof(whole));
	psp_xex(crypto, key, 1001, parts, sizeof(parts), false);
	assert_memory_not_equal(parts, plain, 16);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_derivation),
		cmocka_unit_test(test_session),
		cmocka_unit_test(test_measure),
		cmocka_unit_test(test_launch_digest),
		cmocka_unit_test(test_secret),
		cmocka_unit_test(test_hmac),
		cmocka_unit_test(test_ctr),
		cmocka_unit_test(test_memory_cipher),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
