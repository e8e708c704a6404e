// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * paging.c - a guest's memory as the CPU finds it: by the guest's page tables and the nested ones
 *
 * Both have the same format in long mode (AMD publication 24593, 5.3 and 15.25), and the C-bit, bit
 * 52 here, is no part of an address.  We are between two VMRUNs with interrupts off: as far as
 * others can tell, this vCPU is still in the guest.  What it may use is freed only after it has
 * left, so no more locks are needed here than a CPU takes.
 */
#include "svm.h"

#define PRESENT	 BIT_ULL(0)
#define WRITABLE BIT_ULL(1)
#define DIRTY	 6 /* number of the bit */
#define LARGE	 BIT_ULL(7)
#define FRAME	 GENMASK_ULL(51, 12)

static void *machine_memory(u64 address)
{
	return pfn_valid(PHYS_PFN(address)) ? __va(address) : NULL;
}

/* The entry of the nested tables is marked as the CPU would: KVM looks at it. */
static void *physical_memory(const struct vmcb *vmcb, u64 gpa, bool is_write)
{
	u64 table = vmcb->control.nested_cr3;
	unsigned int shift;

	for (shift = 39;; shift -= 9) {
		u64 *entry = machine_memory((table & FRAME) + 8 * (gpa >> shift & 511));
		u64 in_page = gpa & (BIT_ULL(shift) - 1);

		if (!entry || !(*entry & PRESENT) || (is_write && !(*entry & WRITABLE)))
			return NULL;
		table = *entry;
		if (shift > 12 && !(table & LARGE))
			continue;
		if (is_write)
			set_bit(DIRTY, (unsigned long *)entry);
		return machine_memory((table & FRAME & ~(BIT_ULL(shift) - 1)) | in_page);
	}
}

/* Without paging and in long mode with four levels; NOWHERE in other modes and if not mapped. */
static u64 translate(const struct vmcb *vmcb, u64 linear, u64 *ret_missing)
{
	const struct vmcb_save_area *save = &vmcb->save;
	u64 table = save->cr3;
	unsigned int shift;

	if (!(save->cr0 & X86_CR0_PG))
		return (u32)linear;
	if (!(save->efer & EFER_LMA) || (save->cr4 & X86_CR4_LA57))
		return NOWHERE;
	for (shift = 39;; shift -= 9) {
		u64 at = (table & FRAME) + 8 * (linear >> shift & 511);
		const u64 *entry = physical_memory(vmcb, at, false);

		if (!entry)
			*ret_missing = at;
		if (!entry || !(*entry & PRESENT))
			return NOWHERE;
		table = *entry;
		if (shift == 12 || (table & LARGE))
			return (table & FRAME & ~(BIT_ULL(shift) - 1)) |
			       (linear & (BIT_ULL(shift) - 1));
	}
}

size_t guest_copy(const struct vmcb *vmcb, u64 linear, void *bytes, size_t len, bool is_write,
		  u64 *ret_missing)
{
	size_t done = 0;

	*ret_missing = NOWHERE;
	while (done < len) {
		size_t n = min(len - done, PAGE_SIZE - offset_in_page(linear + done));
		u64 gpa = translate(vmcb, linear + done, ret_missing);
		void *memory = gpa == NOWHERE ? NULL : physical_memory(vmcb, gpa, is_write);

		if (!memory) {
			if (gpa != NOWHERE)
				*ret_missing = gpa;
			break;
		}
		if (is_write)
			memcpy(memory, bytes + done, n);
		else
			memcpy(bytes + done, memory, n);
		done += n;
	}
	return done;
}

size_t guest_fetch(const struct vmcb *vmcb, u8 *bytes, size_t len)
{
	const struct vmcb_save_area *save = &vmcb->save;
	bool is_long = save->efer & EFER_LMA && save->cs.attrib & SVM_SELECTOR_L_MASK;
	u64 missing;

	return guest_copy(vmcb, is_long ? save->rip : (u32)(save->cs.base + save->rip), bytes, len,
			  false, &missing);
}
