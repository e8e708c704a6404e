/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes as text; see base64.h. */
#include "base64.h"

#include <errno.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *bytes, size_t len, char *ret)
{
	const uint8_t *in = bytes;

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t group = 0;

		for (size_t j = 0; j < 3; j++)
			group = group << 8 | (j < n ? in[i + j] : 0);
		for (size_t j = 0; j < 4; j++)
			*ret++ = j <= n ? digits[group >> (18 - 6 * j) & 63] : '=';
	}
	*ret = '\0';
}

int base64_decode(const char *text, void *ret, size_t max, size_t *ret_len)
{
	size_t len = strlen(text), padding = 0;
	uint8_t *out = ret;

	while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
		padding++;
	if (len % 4 != 0)
		return -EINVAL;
	if (len / 4 * 3 - padding > max)
		return -E2BIG;
	for (size_t i = 0; i < len; i += 4) {
		size_t n = i + 4 == len ? 3 - padding : 3;
		uint32_t group = 0;

		for (size_t j = 0; j < 4; j++) {
			const char *digit = j <= n ? strchr(digits, text[i + j]) : digits;

			if (!digit || !*digit)
				return -EINVAL;
			group = group << 6 | (uint32_t)(digit - digits);
		}
		for (size_t j = 0; j < n; j++)
			*out++ = (uint8_t)(group >> (16 - 8 * j));
		if (n < 3 && group & (0xffffffU >> 8 * n))
			return -EINVAL;
	}
	*ret_len = (size_t)(out - (uint8_t *)ret);
	return 0;
}
