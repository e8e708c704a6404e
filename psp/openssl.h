/* SPDX-License-Identifier: GPL-2.0-or-later */
/* openssl.h - cryptography for a processor in user space */
#ifndef PSP_OPENSSL_H
#define PSP_OPENSSL_H

#include "psp/psp.h"

extern const struct psp_crypto psp_openssl;

/* For struct psp_host; opaque is not used. */
int psp_openssl_random(void *opaque, void *ret, size_t len);

#endif
