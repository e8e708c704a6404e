// SPDX-License-Identifier: GPL-2.0-or-later
/* Sections: what is written is read back, and hostile bytes are refused without a look past them.
 */
#include "lib/section.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "util.h"

#define PAGE 4096U

/* A copy of the blob that ends where a page begins that cannot be read. */
struct guarded {
	uint8_t *map;
	uint8_t *blob;
};

static struct guarded guard(const void *bytes, size_t len)
{
	struct guarded g;

	g.map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(g.map, MAP_FAILED);
	assert_int_equal(mprotect(g.map + PAGE, PAGE, PROT_NONE), 0);
	assert_in_range(len, 0, PAGE);
	g.blob = g.map + PAGE - len;
	if (len > 0)
		memcpy(g.blob, bytes, len);
	return g;
}

static void unguard(struct guarded *g)
{
	assert_int_equal(munmap(g->map, 2 * PAGE), 0);
}

/* Reads all sections and every byte of their payloads: number of sections, or -errno. */
static int read_all(const void *bytes, size_t len)
{
	struct guarded g = guard(bytes, len);
	struct section_reader r = {g.blob, len};
	struct section s;
	volatile uint8_t sum = 0;
	int n = 0, more;

	while ((more = section_next(&r, &s)) > 0) {
		for (uint32_t i = 0; i < s.header.length; i++)
			sum = (uint8_t)(sum + ((const uint8_t *)s.payload)[i]);
		n++;
	}
	unguard(&g);
	return more < 0 ? more : n;
}

static void test_round_trip(void **state)
{
	static const size_t lengths[] = {0, 1, 7, 8, 9, 1024};
	_Alignas(8) uint8_t buf[PAGE];
	struct section_writer w = {buf, sizeof(buf), 0};
	uint8_t payload[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7 + 1);
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(section_put(&w, 0x8000 + i, i, payload, lengths[i]), 0);

	void *to = section_begin(&w, 0x9000, 77, 3, 2, SECTION_OPTIONAL, 100);

	assert_non_null(to);
	memcpy(to, payload, 5);
	section_end(&w, 5);

	struct guarded g = guard(buf, w.len);
	struct section_reader r = {g.blob, w.len};
	struct section s;

	for (uint32_t i = 0; i < 6; i++) {
		assert_int_equal(section_next(&r, &s), 1);
		assert_int_equal(s.header.type, 0x8000 + i);
		assert_int_equal(s.header.instance, i);
		assert_int_equal(s.header.version, 1);
		assert_int_equal(s.header.min_version, 1);
		assert_int_equal(s.header.flags, 0);
		assert_int_equal(s.header.length, lengths[i]);
		assert_int_equal((uintptr_t)s.payload % 8, 0);
		assert_memory_equal(s.payload, payload, lengths[i]);
	}
	assert_int_equal(section_next(&r, &s), 1);
	assert_int_equal(s.header.type, 0x9000);
	assert_int_equal(s.header.instance, 77);
	assert_int_equal(s.header.version, 3);
	assert_int_equal(s.header.min_version, 2);
	assert_int_equal(s.header.flags, SECTION_OPTIONAL);
	assert_int_equal(s.header.length, 5);
	assert_int_equal(section_next(&r, &s), 0);
	assert_int_equal(section_next(&r, &s), 0);
	unguard(&g);
}

/* Bytes that were in the buffer before must not travel with the padding. */
static void test_padding_is_zero(void **state)
{
	(void)state;
	for (size_t len = 0; len <= 16; len++) {
		_Alignas(8) uint8_t buf[SECTION_SPACE(16)];
		struct section_writer w = {buf, sizeof(buf), 0};
		uint8_t payload[16];

		memset(buf, 0xee, sizeof(buf));
		memset(payload, 0x11, sizeof(payload));
		assert_int_equal(section_put(&w, 0x8000, 0, payload, len), 0);
		assert_int_equal(w.len % 8, 0);
		for (size_t i = sizeof(struct section_header) + len; i < w.len; i++)
			assert_int_equal(buf[i], 0);
	}
}

/* Also when the payload got shorter than what was asked for. */
static void test_padding_of_short_payload(void **state)
{
	_Alignas(8) uint8_t buf[SECTION_SPACE(64)];
	struct section_writer w = {buf, sizeof(buf), 0};
	uint8_t *to;

	(void)state;
	memset(buf, 0xee, sizeof(buf));
	to = section_begin(&w, 0x8000, 0, 1, 1, 0, 64);
	assert_non_null(to);
	memset(to, 0x11, 64);
	section_end(&w, 3);
	assert_int_equal(w.len, SECTION_SPACE(3));
	for (size_t i = 3; i < 8; i++)
		assert_int_equal(to[i], 0);
}

static void test_writer_bounds(void **state)
{
	const size_t size = SECTION_SPACE(16);
	_Alignas(8) uint8_t buf[SECTION_SPACE(16) + 8];
	uint8_t payload[17] = {0};

	(void)state;
	memset(buf, 0xee, sizeof(buf));
	for (size_t room = 0; room < size; room++) {
		struct section_writer w = {buf, room, 0};

		assert_int_equal(section_put(&w, 0x8000, 0, payload, 16), -ENOSPC);
		assert_int_equal(w.len, 0);
	}
	for (size_t i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0xee);

	struct section_writer w = {buf, size, 0};

	assert_int_equal(section_put(&w, 0x8000, 0, payload, 17), -ENOSPC);
	assert_int_equal(section_put(&w, 0x8000, 0, payload, 16), 0);
	assert_int_equal(w.len, size);
	assert_int_equal(section_put(&w, 0x8000, 0, payload, 0), -ENOSPC);
	for (size_t i = size; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0xee);
}

static void test_writer_huge_lengths(void **state)
{
	static const size_t lengths[] = {UINT32_MAX - 8,	 UINT32_MAX - 7, UINT32_MAX,
					 (size_t)UINT32_MAX + 1, SIZE_MAX - 32,	 SIZE_MAX};
	uint8_t buf[64];

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct section_writer w = {buf, sizeof(buf), 0};

		assert_null(section_begin(&w, 0x8000, 0, 1, 1, 0, lengths[i]));
	}
}

static void test_truncated(void **state)
{
	_Alignas(8) uint8_t buf[256];
	struct section_writer w = {buf, sizeof(buf), 0};
	size_t first;

	(void)state;
	assert_int_equal(section_put(&w, 0x8000, 0, "0123456789", 10), 0);
	first = w.len;
	assert_int_equal(section_put(&w, 0x8001, 0, "abc", 3), 0);
	for (size_t len = 0; len <= w.len; len++) {
		int expected = len == 0 ? 0 : len == first ? 1 : len == w.len ? 2 : -EBADMSG;

		assert_int_equal(read_all(buf, len), expected);
	}
}

static void test_hostile_length(void **state)
{
	static const uint32_t lengths[] = {9,
					   16,
					   17,
					   0x7fffffff,
					   0x80000000,
					   UINT32_MAX,
					   UINT32_MAX - 1,
					   UINT32_MAX - 7,
					   UINT32_MAX - 23};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct {
			struct section_header header;
			uint8_t payload[8];
		} blob = {.header = {.type = 0x8000, .version = 1, .length = lengths[i]}};

		assert_int_equal(read_all(&blob, sizeof(blob)), -EBADMSG);
	}
}

/* The payload fits, but its padding does not. */
static void test_missing_padding(void **state)
{
	struct {
		struct section_header header;
		uint8_t payload[8];
	} blob = {.header = {.type = 0x8000, .version = 1, .length = 5}};

	(void)state;
	assert_int_equal(read_all(&blob, sizeof(blob.header) + 5), -EBADMSG);
	assert_int_equal(read_all(&blob, sizeof(blob)), 1);
}

static void test_reserved(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 32; bit++) {
		struct section_header header = {
			.type = 0x8000, .version = 1, .reserved = 1U << bit};

		assert_int_equal(read_all(&header, sizeof(header)), -EBADMSG);
	}
}

/* A reader that failed stays where it is and leaves its output alone. */
static void test_failure_touches_nothing(void **state)
{
	struct section_header header = {.type = 0x8000, .length = 1};
	struct section_reader r = {(const uint8_t *)&header, sizeof(header)};
	struct section s, before;

	(void)state;
	memset(&s, 0x5a, sizeof(s));
	memcpy(&before, &s, sizeof(s));
	assert_int_equal(section_next(&r, &s), -EBADMSG);
	assert_int_equal(section_next(&r, &s), -EBADMSG);
	assert_memory_equal(&s, &before, sizeof(s));
	assert_ptr_equal(r.at, &header);
	assert_int_equal(r.left, sizeof(header));
}

/* Whatever the bytes are: no crash, no end without progress. */
static void test_random_bytes(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		uint32_t words[32];
		size_t len;

		for (size_t i = 0; i < 32; i++) {
			seed = seed * 1664525 + 1013904223;
			words[i] = seed % 3 ? seed >> 26 : seed;
			if (i % 6 == 5)
				words[i] = 0;
		}
		len = seed % (sizeof(words) + 1);

		int n = read_all(words, len);

		assert_true(n == -EBADMSG || (n >= 0 && n <= 5));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_padding_is_zero),
		cmocka_unit_test(test_padding_of_short_payload),
		cmocka_unit_test(test_writer_bounds),
		cmocka_unit_test(test_writer_huge_lengths),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_hostile_length),
		cmocka_unit_test(test_missing_padding),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_failure_touches_nothing),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
