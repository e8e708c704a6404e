/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing and reading sections. */
#include "section.h"

#include <errno.h>
#include <string.h>

void *section_begin(struct section_writer *w, uint32_t type, uint32_t instance, uint16_t version,
		    uint16_t min_version, uint32_t flags, size_t max_len)
{
	const struct section_header header = {
		.type = type,
		.instance = instance,
		.version = version,
		.min_version = min_version,
		.flags = flags,
	};

	if (max_len > UINT32_MAX - 8 || SECTION_SPACE(max_len) > w->size - w->len)
		return NULL;
	memcpy(w->buf + w->len, &header, sizeof(header));
	return w->buf + w->len + sizeof(header);
}

void section_end(struct section_writer *w, size_t len)
{
	struct section_header *header = (struct section_header *)(w->buf + w->len);
	size_t space = SECTION_SPACE(len);

	header->length = (uint32_t)len;
	/* Padding goes to another process: it must not carry what was in this memory before. */
	memset(w->buf + w->len + sizeof(*header) + len, 0, space - sizeof(*header) - len);
	w->len += space;
}

int section_put(struct section_writer *w, uint32_t type, uint32_t instance, const void *payload,
		size_t len)
{
	void *to = section_begin(w, type, instance, 1, 1, 0, len);

	if (!to)
		return -ENOSPC;
	if (len > 0)
		memcpy(to, payload, len);
	section_end(w, len);
	return 0;
}

int section_next(struct section_reader *r, struct section *ret)
{
	struct section section;

	if (r->left == 0)
		return 0;
	if (r->left < sizeof(section.header))
		return -EBADMSG;
	memcpy(&section.header, r->at, sizeof(section.header));
	if (section.header.reserved != 0 ||
	    section.header.length > r->left - sizeof(section.header) ||
	    SECTION_SPACE(section.header.length) > r->left)
		return -EBADMSG;
	section.payload = r->at + sizeof(section.header);
	r->at += SECTION_SPACE(section.header.length);
	r->left -= SECTION_SPACE(section.header.length);
	*ret = section;
	return 1;
}
