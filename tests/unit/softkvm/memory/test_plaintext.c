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

static void nothing(void *opaque)
{
	(void)opaque;
}

/* A VM and the one it is moved to: what the guest has stored is there without any ado. */
static void test_two_vms(void **state)
{
	struct call *call = *state;
	struct slots *first = call->slots, *second;
	uint8_t back[32];

	second = slots_new(call->host.memory_objects, nothing, NULL);
	client_store(call, key, 0x6000, secret, sizeof(secret));
	call->slots = second;
	assert_int_equal(client_set(call, 0, 0x100000, 8 * PAGE, MEMORY, 0), 0);
	load(call, key, 0x106000, back, sizeof(back));
	assert_memory_equal(back, secret, sizeof(secret));
	load(call, other_key, 0x106000, back, sizeof(back));
	assert_memory_not_equal(back, secret, sizeof(secret));
	client_store(call, key, 0x106008, "moved", 5);
	call->slots = first;
	load(call, key, 0x6008, back, 5);
	assert_memory_equal(back, "moved", 5);
	slots_free(second);
	load(call, key, 0x6008, back, 5);
	assert_memory_equal(back, "moved", 5);
}

/* More plaintext than there is room for: vCPUs are called out, and all of it is made again. */
static void test_too_much(void **state)
{
	const uint64_t pages = 16384 + 10;
	struct call *call = *state;
	uint64_t generation, value;
	struct cpu_page page;

	assert_int_equal(client_set(call, 0, 0, 0, 0, 0), 0);
	assert_int_equal(ftruncate(call->fd, (off_t)(pages * PAGE)), 0);
	assert_int_equal(client_set(call, 0, 0, pages * PAGE, MEMORY, 0), 0);
	generation = slots_enter(call->slots, key);
	call->n_kicks = 0;
	for (uint64_t i = 0; i < pages; i++) {
		page = client_page(call, key, i * PAGE);
		slots_begin_store(&page);
		memcpy(page.data + 24, &i, sizeof(i));
		slots_end_store(&page, 24, sizeof(i));
		assert_int_equal(call->n_kicks > 0, i >= 16383);
	}
	slots_leave(call->slots);
	assert_int_not_equal(slots_enter(call->slots, key), generation);
	call->n_kicks = 0;
	for (uint64_t i = 0; i < pages; i += 100) {
		memcpy(&value, client_page(call, key, i * PAGE).data + 24, sizeof(value));
		assert_int_equal(value, i);
	}
	assert_int_equal(call->n_kicks, 0);
	slots_leave(call->slots);
}

/* Four vCPUs of two VMs count in the words of two blocks, while memory is doubted and dropped. */
struct counter {
	struct slots *slots;
	pthread_t thread;
	unsigned number;
	uint64_t count;
	_Atomic bool *ends;
};

static void *count(void *opaque)
{
	struct counter *counter = opaque;
	unsigned offset = 8 * counter->number;
	uint64_t generation = 0, now, word;
	struct cpu_page page = {0};

	while (!*counter->ends) {
		now = slots_enter(counter->slots, key);
		if (now != generation)
			slots_page(counter->slots, 0x7000, true, &page);
		generation = now;
		slots_begin_store(&page);
		word = __atomic_load_n((uint64_t *)page.data + counter->number, __ATOMIC_RELAXED);
		if (word == counter->count)
			counter->count++;
		__atomic_store_n((uint64_t *)page.data + counter->number, counter->count,
				 __ATOMIC_RELAXED);
		slots_end_store(&page, offset, 8);
		slots_leave(counter->slots);
	}
	return NULL;
}

static void test_threads(void **state)
{
	static const uint64_t zeroes[4];
	struct call *call = *state;
	struct counter counter[4] = {0};
	_Atomic bool ends = false;
	uint64_t words[4] = {0};

	client_store(call, key, 0x7000, zeroes, sizeof(zeroes));
	counter[0].slots = counter[1].slots = call->slots;
	counter[2].slots = counter[3].slots = slots_new(call->host.memory_objects, nothing, NULL);
	call->slots = counter[2].slots;
	assert_int_equal(client_set(call, 0, 0, 16 * PAGE, MEMORY, 0), 0);
	call->slots = counter[0].slots;
	for (unsigned i = 0; i < 4; i++) {
		counter[i].number = i;
		counter[i].ends = &ends;
		assert_int_equal(pthread_create(&counter[i].thread, NULL, count, &counter[i]), 0);
	}
	/* Until each of them has had its turn, too. */
	for (unsigned i = 0; i < 200 || !words[0] || !words[1] || !words[2] || !words[3]; i++) {
		assert_int_equal(client_set(call, 1, 0x1000000, PAGE, MEMORY, 0), 0);
		slots_doubt(counter[i % 4].slots);
		assert_int_equal(client_set(call, 1, 0, 0, 0, 0), 0);
		assert_true(slots_read(call->slots, 0x7000, key, words, sizeof(words)));
	}
	ends = true;
	for (unsigned i = 0; i < 4; i++)
		pthread_join(counter[i].thread, NULL);
	assert_true(slots_read(call->slots, 0x7000, key, words, sizeof(words)));
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(words[i], counter[i].count);
	}
	slots_free(counter[2].slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_store, setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_doubt, setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_host_access, setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_two_vms, setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_too_much, setup, client_teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, client_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
