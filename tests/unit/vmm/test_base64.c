// SPDX-License-Identifier: GPL-2.0-or-later
/* Base64 both ways, and what is none.  Links with: vmm/base64.c. */
#include "vmm/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kvm/cleanup.h"

/* RFC 4648 section 10, and the digits that it does not use. */
static const struct {
	const char *bytes, *text;
} vectors[] = {
	{"", ""},
	{"f", "Zg=="},
	{"fo", "Zm8="},
	{"foo", "Zm9v"},
	{"foob", "Zm9vYg=="},
	{"fooba", "Zm9vYmE="},
	{"foobar", "Zm9vYmFy"},
	{"\xfb\xff\xbf", "+/+/"},
};

static void test_vectors(void **state)
{
	char text[16], bytes[16];
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		base64_encode(vectors[i].bytes, strlen(vectors[i].bytes), text);
		assert_string_equal(text, vectors[i].text);
		assert_int_equal(strlen(text) + 1, BASE64_SIZE(strlen(vectors[i].bytes)));
		len = 77;
		assert_int_equal(base64_decode(text, bytes, strlen(vectors[i].bytes), &len), 0);
		assert_int_equal(len, strlen(vectors[i].bytes));
		assert_memory_equal(bytes, vectors[i].bytes, len);
	}
}

static void test_every_length(void **state)
{
	uint8_t bytes[256], copy[256];
	char text[BASE64_SIZE(256)];
	size_t len;

	(void)state;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 151 + 7);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		base64_encode(bytes, n, text);
		assert_int_equal(base64_decode(text, copy, n, &len), 0);
		assert_int_equal(len, n);
		assert_memory_equal(copy, bytes, n);
		if (n > 0)
			assert_int_equal(base64_decode(text, copy, n - 1, &len), -E2BIG);
	}
}

static void test_wrong(void **state)
{
	static const char *const wrong[] = {
		"Z",	"Zg",	   "Zg=",      "Z===",	   "====",    "=",     "Zm9v=",
		"Zm=v", "Z=9v",	   "Zh==",     "Zm9=",	   "Zm9v\n",  " Zm9v", "Zm9-",
		"Zm9_", "Zm\x80v", "Zg==Zg==", "Zm8=Zm8=", "Zm9vZg=", "==Zm",
	};
	uint8_t bytes[16];
	size_t len = 77;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (base64_decode(wrong[i], bytes, sizeof(bytes), &len) != -EINVAL)
			fail_msg("accepted: '%s'", wrong[i]);
	assert_int_equal(len, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
