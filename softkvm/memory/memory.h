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

/* KVM_SET_USER_MEMORY_REGION, under vm->lock; all vCPUs' translations are dropped. */
struct slots *slots_new(void);
struct slots *slots_free(struct slots *slots);
int slots_set(struct slots *slots, struct call *call,
	      const struct kvm_userspace_memory_region *region);
/* KVM_GET_DIRTY_LOG is not modelled: KVM_MEM_LOG_DIRTY_PAGES gives -EINVAL. */

/*
 * For struct cpu_ops.  vek: the guest's key, NULL for accesses that are not encrypted.  Callers
 * need not hold vm->lock; what is returned stays mapped until slots_quiesce() knows that the vCPU
 * has dropped it.
 */
void slots_page(struct slots *slots, uint64_t gpa, const uint8_t *vek, struct cpu_page *ret);
void slots_begin_store(const struct cpu_page *page);
void slots_end_store(const struct cpu_page *page, unsigned offset, unsigned len);
/* Called by each vCPU thread when it begins to use pages and when it has dropped all. */
void slots_enter(struct slots *slots);
void slots_leave(struct slots *slots);
/* Plaintext pages that were made with this key are compared with memory before their next use. */
void slots_doubt(struct slots *slots);

/* Guest-physical memory for the host's own use (GHCB, kvmclock): false if some is not there. */
bool slots_read(struct slots *slots, uint64_t gpa, const uint8_t *vek, void *ret, unsigned len);
bool slots_write(struct slots *slots, uint64_t gpa, const uint8_t *vek, const void *data,
		 unsigned len);

#endif
