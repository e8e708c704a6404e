/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filling struct vmr_error. */
#ifndef LIB_ERROR_H
#define LIB_ERROR_H

#include <vmrelay/error.h>

/*
 * Fill *error and return `code` (-errno).  The sentence is the formatted text, or, with format
 * NULL, made from step, object and the code.
 */
__attribute__((format(printf, 5, 6))) int error_set(struct vmr_error *error, int code,
						    const char *step, const char *object,
						    const char *format, ...);

#endif
