/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Known defects of KVM on the way of a move, by the version of the kernel.
 *
 * Theory of operation.  A defect has a first release, a first release of the main line without it,
 * and for some series of stable releases the one in which it was fixed; the numbers are those of
 * the kernel's CVE records (docs/sev.md says where they end).  What a version says holds only for
 * kernels that are what kernel.org released: a suffix ("-45-generic") means that somebody added
 * patches, maybe the fix, so such a kernel only may have the defect.
 */
#include <vmrelay/sev.h>

#include <stdio.h>
#include <string.h>

#include "kvm/cleanup.h"

#define RELEASE(a, b, c) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c))
#define SERIES(release)	 ((release) >> 16)

/* Where KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM appeared. */
#define MOVE_SINCE RELEASE(5, 16, 0)

enum { ES = 1U << VMR_CONFIDENTIAL_SEV_ES, ANY = 1U << VMR_CONFIDENTIAL_SEV | ES };

static const struct defect {
	const char *name;
	const char *text;
	unsigned kinds;	    /* of guests that it concerns */
	uint32_t since;	    /* first release that has it */
	uint32_t fixed;	    /* first of the main line that has not */
	uint32_t stable[6]; /* fixed there and later in the same series; 0: no more */
	bool is_open;	    /* stable releases got the fix, too, but it is not known which */
} defects[] = {
	{
		.name = "CVE-2023-54296",
		.text = "a move takes the vCPUs of the wrong VM, which crashes the host",
		.kinds = ES,
		.since = RELEASE(5, 18, 8),
		.fixed = RELEASE(6, 6, 0),
		.stable = {RELEASE(6, 1, 54), RELEASE(6, 5, 4)},
	},
	{
		.name = "CVE-2025-38455",
		.text = "a move while a vCPU is being created can crash the host",
		.kinds = ANY,
		.since = MOVE_SINCE,
		.fixed = RELEASE(6, 16, 0),
		.stable = {RELEASE(6, 1, 146), RELEASE(6, 6, 99), RELEASE(6, 12, 39),
			   RELEASE(6, 15, 7)},
	},
	{
		.name = "CVE-2026-74607",
		.text = "a move while a mirror of a VM is made, moved or closed corrupts the "
			"host's memory",
		.kinds = ANY,
		.since = RELEASE(5, 18, 0),
		.fixed = RELEASE(7, 2, 0),
		.stable = {RELEASE(6, 1, 184), RELEASE(6, 6, 153), RELEASE(6, 12, 105),
			   RELEASE(6, 18, 45), RELEASE(7, 1, 9)},
	},
	{
		.name = "CVE-2026-98471",
		.text = "a move leaves encrypted data in the caches of CPUs that the guest ran on",
		.kinds = ANY,
		.since = RELEASE(6, 17, 0),
		.fixed = RELEASE(7, 3, 0),
		.is_open = true,
	},
	{
		.name = "CVE-2026-98472",
		.text = "each move leaks a little of the host's memory",
		.kinds = ANY,
		.since = RELEASE(6, 17, 0),
		.fixed = RELEASE(7, 3, 0),
		.is_open = true,
	},
};

struct kernel {
	uint32_t release; /* 0: it cannot be told */
	bool is_plain;	  /* as released by kernel.org */
	bool is_rc;	  /* before that release */
};

/* "6.1.192-2" or "6.1"; the rest of the text, or NULL if there is no version. */
static const char *parse_release(const char *text, uint32_t *ret)
{
	unsigned a, b, c = 0;
	int n = 0;

	if (sscanf(text, "%3u.%3u%n", &a, &b, &n) != 2 || a > 255 || b > 255)
		return NULL;
	text += n;
	if (sscanf(text, ".%5u%n", &c, &n) == 1 && c <= UINT16_MAX)
		text += n;
	*ret = RELEASE(a, b, c);
	return text;
}

static struct kernel parse_kernel(const char *release, const char *version)
{
	static const char debian[] = "Debian ";
	struct kernel kernel = {.release = 0};
	const char *suffix = parse_release(release, &kernel.release);
	const char *real = strstr(version, debian);
	uint32_t stable;

	kernel.is_plain = suffix && *suffix == '\0';
	kernel.is_rc = suffix && strncmp(suffix, "-rc", 3) == 0;
	/* Debian's release is that of the ABI, 6.1.0; what it was made from is in the version. */
	if (real && parse_release(real + sizeof(debian) - 1, &stable) &&
	    SERIES(stable) == SERIES(kernel.release))
		kernel.release = stable;
	/* The call is there, so it was put there, with whatever else. */
	if (kernel.release < MOVE_SINCE)
		kernel.release = 0;
	return kernel;
}

static bool may_have(const struct defect *d, const struct kernel *kernel)
{
	if (kernel->release == 0 || (kernel->is_rc && kernel->release == d->fixed))
		return true;
	if (kernel->release < d->since || kernel->release >= d->fixed)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(d->stable); i++)
		if (SERIES(kernel->release) == SERIES(d->stable[i]) &&
		    kernel->release >= d->stable[i])
			return false;
	return true;
}

bool vmr_kernel_defect(const char *release, const char *version, enum vmr_confidential kind,
		       unsigned n, struct vmr_kernel_defect *ret)
{
	const struct kernel kernel = parse_kernel(release, version);

	for (unsigned i = 0; i < ARRAY_SIZE(defects); i++) {
		const struct defect *d = &defects[i];

		if (!(d->kinds & 1U << kind) || !may_have(d, &kernel) || n-- > 0)
			continue;
		*ret = (struct vmr_kernel_defect){
			.name = d->name,
			.text = d->text,
			.is_certain = kernel.release != 0 && kernel.is_plain && !d->is_open,
		};
		return true;
	}
	return false;
}
