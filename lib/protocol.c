/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this library speaks. */
#include "protocol.h"

#include "state.h"

void vmr_protocol_range(unsigned *ret_min, unsigned *ret_max)
{
	*ret_min = VMR_PROTOCOL_MIN;
	*ret_max = VMR_PROTOCOL_MAX;
}

const char *vmr_section_name(unsigned n, uint32_t *ret_type, uint16_t *ret_version,
			     uint16_t *ret_min_version)
{
	for (unsigned i = 0; i <= n; i++)
		if (state_kinds[i].type == 0)
			return NULL;
	*ret_type = state_kinds[n].type;
	*ret_version = state_kinds[n].version;
	*ret_min_version = state_kinds[n].min_version;
	return state_kinds[n].name;
}

void protocol_sanitise(char *to, size_t size, const void *from, size_t len)
{
	const char *bytes = from;
	size_t n = 0;

	while (n < len && n < size - 1 && bytes[n] != '\0') {
		to[n] = bytes[n] >= ' ' && bytes[n] <= '~' ? bytes[n] : '?';
		n++;
	}
	to[n] = '\0';
}
