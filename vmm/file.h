/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small files as a whole.  0, or -1 with error filled. */
#ifndef VMM_FILE_H
#define VMM_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm.h"

/* 1 to max bytes; *ret is the caller's. */
int file_read(const char *path, size_t max, void **ret, uint32_t *ret_len,
	      struct vmm_error *ret_error);
int file_write(const char *path, const void *data, size_t len, struct vmm_error *ret_error);

#endif
