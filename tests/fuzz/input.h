/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * input.h - a fuzzer's bytes, taken from the front; there are zeroes behind the last of them
 *
 * Every target is a program of its own: libFuzzer's main(), and LLVMFuzzerTestOneInput(), which
 * must leave nothing behind that the next input could notice.
 */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *at;
	size_t left;
};

static inline void input_take(struct input *in, void *ret, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(ret, 0, len);
	if (n > 0)
		memcpy(ret, in->at, n);
	in->at += n;
	in->left -= n;
}

static inline uint8_t input_u8(struct input *in)
{
	uint8_t value;

	input_take(in, &value, sizeof(value));
	return value;
}

static inline uint16_t input_u16(struct input *in)
{
	uint16_t value;

	input_take(in, &value, sizeof(value));
	return value;
}

static inline uint32_t input_u32(struct input *in)
{
	uint32_t value;

	input_take(in, &value, sizeof(value));
	return value;
}

static inline uint64_t input_u64(struct input *in)
{
	uint64_t value;

	input_take(in, &value, sizeof(value));
	return value;
}

/* At most max bytes, where they are. */
static inline struct input input_part(struct input *in, size_t max)
{
	struct input part = {in->at, in->left < max ? in->left : max};

	in->at += part.left;
	in->left -= part.left;
	return part;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
