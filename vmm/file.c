/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small files as a whole; see file.h. */
#include "file.h"

#include <fcntl.h>
#include <stdio.h>

#include "kvm/cleanup.h"

int file_read(const char *path, size_t max, void **ret, uint32_t *ret_len,
	      struct vmm_error *ret_error)
{
	autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	autofree uint8_t *data = malloc(max + 1);
	ssize_t n = fd < 0 || !data ? -1 : 0;
	size_t len = 0;

	for (; n >= 0 && len <= max; len += (size_t)n) {
		n = read(fd, data + len, max + 1 - len);
		if (n <= 0)
			break;
	}
	if (n < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "reading %.200s failed: %m", path);
		return -1;
	}
	if (len == 0 || len > max) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "%.200s has not 1 to %zu bytes", path,
			      max);
		return -1;
	}
	*ret = steal_ptr(data);
	*ret_len = (uint32_t)len;
	return 0;
}

int file_write(const char *path, const void *data, size_t len, struct vmm_error *ret_error)
{
	FILE *file = fopen(path, "we");
	bool is_written = file && fwrite(data, 1, len, file) == len;

	if (file && fclose(file) != 0)
		is_written = false;
	if (!is_written)
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "writing %.200s failed: %m", path);
	return is_written ? 0 : -1;
}
