/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sections: the form in which everything but file descriptors goes from source to target.
 *
 * A blob is a row of sections, each a header and a payload padded to 8 bytes, in the byte order and
 * structure layout of x86-64 Linux (both sides are on one host).  The reader works on a private
 * copy and trusts nothing in it.
 */
#ifndef LIB_SECTION_H
#define LIB_SECTION_H

#include <stddef.h>
#include <stdint.h>

/* Section types.  Numbers are for ever; 0x8000 and up belong to the VMM. */
enum {
	/* Machine description */
	SECTION_MACHINE = 0x01,
	SECTION_CAP = 0x02,	/* KVM_ENABLE_CAP of the VM, in order */
	SECTION_MEMORY = 0x03,	/* memory slot */
	SECTION_ROUTING = 0x04, /* GSI routing table */
	SECTION_IRQFD = 0x05,
	SECTION_IOEVENTFD = 0x06,
	SECTION_VCPU = 0x07,	   /* instance: index */
	SECTION_VCPU_CAP = 0x08,   /* KVM_ENABLE_CAP of a vCPU; instance: index */
	SECTION_VCPU_CPUID = 0x09, /* instance: index */
	SECTION_REQUIRED_CAPS = 0x0a,
	SECTION_REQUIRED_MSRS = 0x0b,
	SECTION_VMM_FD = 0x0c,		  /* an fd that the VMM added */
	SECTION_VCPU_FEATURE_MSRS = 0x0d, /* instance: index */
	SECTION_SEV = 0x0e,		  /* a confidential VM */

	/* vCPU state */
	SECTION_MP_STATE = 0x20,
	SECTION_REGS = 0x21,
	SECTION_SREGS = 0x22,
	SECTION_SREGS2 = 0x23,
	SECTION_XSAVE = 0x24,
	SECTION_XCRS = 0x25,
	SECTION_DEBUGREGS = 0x26,
	SECTION_LAPIC = 0x27,
	SECTION_MSRS = 0x28,
	SECTION_TSC_OFFSET = 0x29,
	SECTION_NESTED = 0x2a,
	SECTION_EVENTS = 0x2b,

	/* VM state */
	SECTION_IRQCHIP = 0x40, /* instance: KVM_IRQCHIP_* */
	SECTION_PIT = 0x41,
	SECTION_CLOCK = 0x42,

	SECTION_VMM_FIRST = 0x8000,
};

#define SECTION_OPTIONAL 1U /* flag: who does not know it may skip it */

struct section_header {
	uint32_t type;
	uint32_t instance;
	uint16_t version;
	uint16_t min_version; /* a reader of this version or newer understands the payload */
	uint32_t flags;
	uint32_t length; /* of the payload, without padding */
	uint32_t reserved;
};

#define SECTION_SPACE(len) (sizeof(struct section_header) + (((size_t)(len) + 7) & ~(size_t)7))

struct section_writer {
	uint8_t *buf;
	size_t size;
	size_t len;
};

/*
 * Begin a section of at most max_len bytes: returns where its payload goes (8-byte aligned if buf
 * is), or NULL if there is no room.  section_end() gives the length.
 */
void *section_begin(struct section_writer *w, uint32_t type, uint32_t instance, uint16_t version,
		    uint16_t min_version, uint32_t flags, size_t max_len);
void section_end(struct section_writer *w, size_t len);

/* Both at once; 0 or -ENOSPC. */
int section_put(struct section_writer *w, uint32_t type, uint32_t instance, const void *payload,
		size_t len);

struct section_reader {
	const uint8_t *at;
	size_t left;
};

struct section {
	struct section_header header;
	const void *payload; /* header.length bytes, aligned as the blob is */
};

/* The next section: 1, 0 at the end, -EBADMSG if the bytes are not sections. */
int section_next(struct section_reader *r, struct section *ret);

#endif
