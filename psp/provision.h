/* SPDX-License-Identifier: GPL-2.0-or-later */
/* provision.h - makes the chip that a processor is in, and the authority that vouches for it */
#ifndef PSP_PROVISION_H
#define PSP_PROVISION_H

#include "psp/psp.h"

/*
 * New keys for ARK and ASK, which are forgotten, and for a chip.  The certificates of the
 * authorities are what verifiers get from AMD; the chip's own is in its fuses.  0 or -EIO:
 * libcrypto failed.
 */
int psp_provision(struct psp_fuses *ret_fuses, struct psp_ca_chain *ret_authorities);

#endif
