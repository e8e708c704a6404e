/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why a call of libvmrelay failed. */
#ifndef VMRELAY_ERROR_H
#define VMRELAY_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Provided by the caller, filled by a function that fails, untouched by one that succeeds.  `step`
 * is what was tried ("KVM_SET_MSRS"), `object` on what ("vCPU 3"), `text` the whole as one sentence
 * without a full stop.
 */
struct vmr_error {
	int code; /* -errno */
	char step[40];
	char object[40];
	char text[240];
};

#ifdef __cplusplus
}
#endif

#endif
