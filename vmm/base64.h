/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes as text, RFC 4648 section 4. */
#ifndef VMM_BASE64_H
#define VMM_BASE64_H

#include <stddef.h>
#include <stdint.h>

#define BASE64_SIZE(len) (((len) + 2) / 3 * 4 + 1) /* of the text, with its NUL */

void base64_encode(const void *bytes, size_t len, char *ret);

/*
 * Strictly: no blanks, padding where it belongs, unused bits zero.  0, -EINVAL, or -E2BIG if there
 * are more than max bytes.
 */
int base64_decode(const char *text, void *ret, size_t max, size_t *ret_len);

#endif
