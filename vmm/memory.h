/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-physical memory as the VMM sees it: up to VMM_MEMORY_REGIONS_MAX regions of RAM, each one
 * whole memory object mapped at `hva`.  RAM below 3 GiB is region 0, the rest starts at 4 GiB.
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <stdint.h>

#define VMM_MEMORY_REGIONS_MAX 2
#define VMM_MMIO_HOLE_START    0xc0000000ULL
#define VMM_MMIO_HOLE_END      0x100000000ULL

struct vmm_memory_region {
	uint64_t gpa;
	uint64_t size; /* bytes */
	uint8_t *hva;
	int fd; /* the memory object, -1 for private memory */
};

struct vmm_memory {
	unsigned n_regions;
	struct vmm_memory_region region[VMM_MEMORY_REGIONS_MAX];
};

/*
 * Host address of [gpa, gpa + len), or NULL unless the whole range lies in one region of RAM.
 */
static inline void *vmm_memory_at(const struct vmm_memory *memory, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < memory->n_regions; i++) {
		const struct vmm_memory_region *r = &memory->region[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size && len <= r->size - (gpa - r->gpa))
			return r->hva + (gpa - r->gpa);
	}
	return NULL;
}

#endif
