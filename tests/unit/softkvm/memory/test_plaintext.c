// SPDX-License-Identifier: GPL-2.0-or-later
/* Encrypted memory: ciphertext for whoever has no key, plaintext for the guest. */
#include "client.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "psp/openssl.h"

static const uint8_t key[PSP_KEY_LEN] = "sixteen bytes..", other_key[PSP_KEY_LEN] = "another key";
static const uint8_t secret[32] = "the guest's, and nobody else's";

static int setup(void **state)
{
	if (client_setup(state))
		return -1;
	return client_set(*state, 0, 0, MEMORY_PAGES * PAGE, MEMORY, 0);
}

/* What a guest with this key reads. */
static void load(struct call *call, const uint8_t *vek, uint64_t gpa, void *ret, size_t len)
{
	assert_true(slots_enter(call->slots, vek) > 0);
	memcpy(ret, client_page(call, vek, gpa & ~(uint64_t)(PAGE - 1)).data + gpa % PAGE, len);
	slots_leave(call->slots);
}

static void test_store(void **state)
{
	struct call *call = *state;
	uint8_t back[32], block[32];
	struct pinned *pinned;

	client_store(call, key, 0x1008, secret, sizeof(secret));
	load(call, key, 0x1008, back, sizeof(back));
	assert_memory_equal(back, secret, sizeof(secret));
	assert_memory_not_equal(call->memory + 0x1008, secret, sizeof(secret));

	/* It is what psp_xex() makes of it, at the address that pinning tells. */
	assert_int_equal(memory_pin(call, MEMORY + 0x1010, 16, true, &pinned), 0);
	memcpy(block, call->memory + 0x1010, 16);
	psp_xex(&psp_openssl, key, pinned->stretch[0].address / 16, block, 16, false);
	assert_memory_equal(block, secret + 8, 16);
	memory_cipher(key, pinned->stretch[0].address, block, 16, true);
	assert_memory_equal(block, call->memory + 0x1010, 16);
	memory_unpin(pinned);

	/* The same at another place looks different. */
	client_store(call, key, 0x1100, secret, 16);
	client_store(call, key, 0x1110, secret, 16);
	assert_memory_not_equal(call->memory + 0x1100, call->memory + 0x1110, 16);

	load(call, other_key, 0x1008, back, sizeof(back));
	assert_memory_not_equal(back, secret, sizeof(secret));
	load(call, NULL, 0x1008, back, sizeof(back));
	assert_memory_equal(back, call->memory + 0x1008, sizeof(back));
	load(call, key, 0x1008, back, sizeof(back));
	assert_memory_equal(back, secret, sizeof(secret));
}

/* What the VMM writes, the guest sees garbled, as soon as there is doubt; and only that. */
static void test_doubt(void **state)
{
	static const uint8_t zeroes[16];
	struct call *call = *state;
	uint8_t back[64], saved[16];
	uint64_t generation;

	for (unsigned i = 0; i < 64; i += 32)
		client_store(call, key, 0x2000 + i, secret, sizeof(secret));
	memcpy(saved, call->memory + 0x2010, sizeof(saved));
	memset(call->memory + 0x2010, 0, 16);
	generation = slots_enter(call->slots, key);
	slots_leave(call->slots);
	slots_doubt(call->slots);
	assert_int_not_equal(slots_enter(call->slots, key), generation);
	slots_leave(call->slots);
	load(call, key, 0x2000, back, sizeof(back));
	assert_memory_equal(back, secret, 16);
	assert_memory_not_equal(back + 16, secret + 16, 16);
	assert_memory_not_equal(back + 16, zeroes, 16);
	assert_memory_equal(back + 32, secret, 32);

	memcpy(call->memory + 0x2010, saved, sizeof(saved));
	slots_doubt(call->slots);
	load(call, key, 0x2010, back, 16);
	assert_memory_equal(back, secret + 16, 16);
}

static void test_host_access(void **state)
{
	struct call *call = *state;
	uint8_t back[32];

	client_store(call, key, 0x2fe8, secret, 24);
	client_store(call, key, 0x3000, secret + 24, 8);
	assert_true(slots_read(call->slots, 0x2fe8, key, back, sizeof(back)));
	assert_memory_equal(back, secret, sizeof(back));
	assert_true(slots_write(call->slots, 0x2ff9, key, "xyz", 3));
	load(call, key, 0x2fe8, back, 24);
	assert_memory_equal(back, secret, 17);
	assert_memory_equal(back + 17, "xyz", 3);
	assert_memory_equal(back + 20, secret + 20, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_store, setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_doubt, setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_host_access, setup, client_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
