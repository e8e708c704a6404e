/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crypto.h - cryptography for psp/ by the kernel's own
 */
#ifndef RIG_CRYPTO_H
#define RIG_CRYPTO_H

#include "psp/psp.h"

extern const struct psp_crypto kernel_crypto;

#endif
