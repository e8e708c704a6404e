/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memory.h - memory objects, memory slots, and the memory controller that encrypts
 *
 * A memory object is a file (memfd, on /dev/shm, hugetlbfs) that clients share with the host.  It
 * is known by device and inode, so that two VMMs that map the same file mean the same memory; it
 * has a range of system-physical addresses as long as anybody holds it, and the tweak of the memory
 * cipher is made of those.  That is why the memory of a guest can be decrypted after a move, and
 * why ciphertext copied elsewhere cannot.
 *
 * What an encrypted guest sees lies in plaintext pages in the host process only, beside the
 * ciphertext that they were made of; stores go through to the ciphertext.
 *
 * The clients can truncate the file at any time: then the host's mapping is replaced by zeroes.
 */
#ifndef SOFTKVM_MEMORY_H
#define SOFTKVM_MEMORY_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "psp/psp.h"
#include "softkvm/cpu/cpu.h"

struct call;
struct host;
struct vm;
struct slots;
struct memory_objects;
struct memory_object;

struct memory_objects *memory_objects_new(void);
struct memory_objects *memory_objects_free(struct memory_objects *objects);

/* A stretch of a client's memory that is held: pinned, as the kernel would say. */
struct pinned_stretch {
	struct memory_object *object;
	uint64_t offset, len;
	uint64_t address; /* system-physical, contiguous over len */
};
struct pinned {
	uint64_t uaddr, len;
	unsigned n;
	struct pinned_stretch stretch[];
};

/* Everything in [uaddr, +len), page by page not needed; -ENOMEM if it is not mapped, or not
 * writable though for_write. */
int memory_pin(struct call *call, uint64_t uaddr, uint64_t len, bool for_write,
	       struct pinned **ret);
struct pinned *memory_unpin(struct pinned *pinned); /* takes NULL, returns NULL */

/* The bytes, as they are in memory (ciphertext, if encrypted), of a system-physical address. NULL
 * if [address, +len) is nowhere. */
void *memory_map(struct memory_objects *objects, uint64_t address, uint32_t len);

/* The cipher of the memory controller, for struct psp_host. */
void memory_cipher(const uint8_t vek[PSP_KEY_LEN], uint64_t address, uint8_t *copy, uint32_t len,
		   bool encrypts);

/*
 * A page of the host's own, such as a VMSA, of zeroes; its address is in memory_map(), too.  0 or
 * -ENOMEM.
 */
int memory_page_new(struct memory_objects *objects, uint8_t **ret, uint64_t *ret_address);
void memory_page_free(struct memory_objects *objects, uint64_t address);

/* kick: all vCPUs must get out: slots_leave(), and may come back by slots_enter() at once. */
struct slots *slots_new(struct memory_objects *objects, void (*kick)(void *opaque), void *opaque);
struct slots *slots_free(struct slots *slots);

/*
 * KVM_SET_USER_MEMORY_REGION, under vm->lock.  When it returns no vCPU knows anything of before.
 * Memory that is not mapped yet is no error; there is a slot without memory then.
 * KVM_GET_DIRTY_LOG is not modelled: KVM_MEM_LOG_DIRTY_PAGES gives -EINVAL.
 */
int slots_set(struct slots *slots, struct call *call,
	      const struct kvm_userspace_memory_region *region);

/*
 * Between these a vCPU's thread runs the guest, with the guest's key or NULL.  Inside it waits for
 * nobody: no client, no lock of a VM or vCPU.  What it has got from slots_page() it may keep over
 * slots_leave(), unless slots_enter() then returns another number than the last time: cpu_flush().
 *
 * Who has been kicked leaves and enters.  cpu->attention is cleared before slots_enter(), never
 * inside.
 */
uint64_t slots_enter(struct slots *slots, const uint8_t *vek);
void slots_leave(struct slots *slots);

/* For struct cpu_ops, inside.  Without a key everything is as it is in memory. */
void slots_page(struct slots *slots, uint64_t gpa, bool encrypted, struct cpu_page *ret);
void slots_begin_store(const struct cpu_page *page);
void slots_end_store(const struct cpu_page *page, unsigned offset, unsigned len);

/*
 * There is a slot, and it is not read-only if is_write, but the VMM's memory behind it is missing,
 * or cannot be written to: KVM_RUN gives -EFAULT then, and no MMIO.
 */
bool slots_is_fault(struct slots *slots, uint64_t gpa, bool is_write);

/*
 * Others than this VM's vCPUs may have written to its memory: what is known in plaintext is
 * compared with it before its next use.  For each KVM_RUN of an encrypted guest.
 */
void slots_doubt(struct slots *slots);

/* Guest-physical memory for the host's own use (GHCB, kvmclock), outside, or inside if vek is NULL:
 * false if some is not there. */
bool slots_read(struct slots *slots, uint64_t gpa, const uint8_t *vek, void *ret, unsigned len);
bool slots_write(struct slots *slots, uint64_t gpa, const uint8_t *vek, const void *data,
		 unsigned len);

#endif
