// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * btf.c - where kvm_amd keeps what: offsets of structure members from a module's own BTF
 *
 * kvm_amd's structures are in no public header.  Its BTF describes the very binary that is
 * loaded, so an offset from there is right or missing, never stale.  The BTF of a module is split:
 * string offsets below the length of vmlinux's string section refer to that one.
 */
#include <linux/btf.h>

#include "svm.h"

struct strings {
	const char *base, *own;
	u32 base_len, own_len;
};

static const char *string(const struct strings *s, u32 offset)
{
	if (offset < s->base_len)
		return s->base + offset;
	offset -= s->base_len;
	return offset < s->own_len ? s->own + offset : "";
}

/* Bytes that follow a struct btf_type of this kind, negative for a kind not known here. */
static long trailer(const struct btf_type *t)
{
	u32 n = btf_type_vlen(t);

	switch (BTF_INFO_KIND(t->info)) {
	case BTF_KIND_INT:
		return sizeof(u32);
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return n * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return n * sizeof(struct btf_enum64);
	case BTF_KIND_FUNC_PROTO:
		return n * sizeof(struct btf_param);
	case BTF_KIND_VAR:
		return sizeof(struct btf_var);
	case BTF_KIND_DATASEC:
		return n * sizeof(struct btf_var_secinfo);
	case BTF_KIND_DECL_TAG:
		return sizeof(struct btf_decl_tag);
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case BTF_KIND_TYPE_TAG:
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static long member_offset(const struct strings *s, const struct btf_type *t, const char *member)
{
	const struct btf_member *m = (const void *)(t + 1);
	u32 i;

	for (i = 0; i < btf_type_vlen(t); i++)
		if (!strcmp(string(s, m[i].name_off), member))
			return __btf_member_bit_offset(t, &m[i]) / 8;
	return -ENOENT;
}

long btf_offset(const void *own_btf, size_t own_len, const void *base_btf, const char *type,
		const char *member)
{
	const struct btf_header *base = base_btf, *own = own_btf;
	const void *pos, *end;
	struct strings s;

	if (own_len < sizeof(*own) || own->magic != BTF_MAGIC || base->magic != BTF_MAGIC)
		return -ENODATA;
	s.base = (const char *)base + base->hdr_len + base->str_off;
	s.base_len = base->str_len;
	s.own = (const char *)own + own->hdr_len + own->str_off;
	s.own_len = own->str_len;

	pos = (const void *)own + own->hdr_len + own->type_off;
	end = pos + own->type_len;
	while (pos + sizeof(struct btf_type) <= end) {
		const struct btf_type *t = pos;
		long len = trailer(t);

		if (len < 0)
			return len;
		pos += sizeof(*t) + len;
		if (pos <= end && BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT &&
		    !strcmp(string(&s, t->name_off), type))
			return member_offset(&s, t, member);
	}
	return -ENOENT;
}
