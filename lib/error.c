/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filling struct vmr_error. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct vmr_error *error, int code, const char *step, const char *object,
	      const char *format, ...)
{
	error->code = code;
	(void)snprintf(error->step, sizeof(error->step), "%s", step);
	(void)snprintf(error->object, sizeof(error->object), "%s", object);
	if (format) {
		va_list ap;

		va_start(ap, format);
		(void)vsnprintf(error->text, sizeof(error->text), format, ap);
		va_end(ap);
	} else {
		const char *cause = strerrordesc_np(-code);

		(void)snprintf(error->text, sizeof(error->text), "%s on %s failed: %s", step,
			       object, cause ? cause : "unknown error");
	}
	return code;
}
