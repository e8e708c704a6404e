/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * internal.h - how the parts of memory/ work together
 *
 * object.c	files that are memory, and their system-physical addresses
 * sigbus.c	what is missing of a file reads as zeroes
 * pin.c	memory of a client that is held
 * slots.c	memory of a guest: KVM_SET_USER_MEMORY_REGION
 * access.c	what is at a guest-physical address
 * plaintext.c	what encrypted guests see
 * cipher.c	the memory controller's cipher
 *
 * Locks, outermost first: vm->lock, plaintexts_lock, slots->lock; plaintext->lock,
 * plain_page->lock; objects->lock.  Who is inside, as memory.h calls it, takes neither of the first
 * two.
 */
#ifndef SOFTKVM_MEMORY_INTERNAL_H
#define SOFTKVM_MEMORY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "memory.h"

#define PAGE_SIZE  4096u
#define BLOCK_SIZE 16u /* of the cipher */

struct mm;

/* sigbus.c */

/* A mapping that may be missing pages. */
struct bus_area {
	_Atomic uintptr_t begin, end; /* end 0: unused */
	size_t page_size;
	_Atomic unsigned n_holes; /* that had to be filled */
};

void sigbus_install(void);
/* NULL: too many. */
struct bus_area *sigbus_watch(void *begin, size_t len, size_t page_size);
void sigbus_forget(struct bus_area *area);

/* object.c */

#define OBJECT_SHIFT 40 /* system-physical address: number of the object, offset */
#define OBJECT_MAX   (1ull << OBJECT_SHIFT)

struct mapping {
	struct mapping *older;
	uint8_t *at;
	uint64_t len;
	bool writable;
	struct bus_area *area;
};

struct memory_object {
	struct memory_objects *objects;
	dev_t dev;
	ino_t ino;
	const struct mm *owner; /* who brought it; only compared */
	uint64_t id;
	unsigned refs; /* under objects->lock */
	/* The newest; older ones are left alone, since there are pointers into them. */
	_Atomic(struct mapping *) mapping;
	uint8_t *page; /* of the host's own, instead of a file's; NULL: of a file */
};

/* A number, the object that has it or NULL, and whose it is or was last. */
struct memory_number {
	struct memory_object *object;
	dev_t dev;
	ino_t ino;
};

struct memory_objects {
	pthread_mutex_t lock;
	struct memory_number *number;
	uint64_t n, next; /* of those that have all been somebody's, which to look at first */
	pthread_mutex_t plaintexts_lock;
	struct plaintext *plaintexts; /* under it, with who is member of them */
};

/*
 * The object of a descriptor of owner's, of which [offset, +len) is there to be used.  A reference.
 * -EFAULT: it is not, or not writable though it should be; -ENOMEM.
 */
int memory_object_find(struct memory_objects *objects, const struct mm *owner, int fd,
		       uint64_t offset, uint64_t len, bool writable, struct memory_object **ret);
struct memory_object *memory_object_get(struct memory_object *object);
struct memory_object *memory_object_put(struct memory_object *object); /* takes NULL */

static inline uint8_t *memory_object_at(const struct memory_object *object, uint64_t offset)
{
	return atomic_load_explicit(&object->mapping, memory_order_acquire)->at + offset;
}

static inline uint64_t memory_object_address(const struct memory_object *object, uint64_t offset)
{
	return object->id << OBJECT_SHIFT | offset;
}

/* pin.c: stretches of a client's memory as they come from call_share(). */

struct stretches {
	struct memory_objects *objects;
	const struct mm *owner;
	uint64_t begin, len;
	unsigned n, n_allocated;
	struct stretch {
		uint64_t at, len; /* at: from begin */
		struct memory_object *object;
		uint64_t offset;
		bool writable;
	} * stretch;
};

/* All of it in pages.  -ENOMEM; -EFAULT: some is missing, *stretches has what is there. */
int stretches_share(struct stretches *stretches, struct call *call, uint64_t uaddr, uint64_t len);
void stretches_done(struct stretches *stretches);

/* cipher.c */

struct cipher;
struct cipher *cipher_new(const uint8_t vek[PSP_KEY_LEN]); /* NULL: no memory */
struct cipher *cipher_free(struct cipher *cipher);
bool cipher_has_key(const struct cipher *cipher, const uint8_t vek[PSP_KEY_LEN]);
void cipher_run(const struct cipher *cipher, uint64_t address, uint8_t *data, size_t len,
		bool encrypts);

/* slots.c */

struct slot {
	uint32_t id; /* with the address space in bits 31:16 */
	uint32_t flags;
	uint64_t gpa, len, uaddr;
	_Atomic unsigned refs;
	struct stretches memory;
};

/* Never changed; sorted by gpa, those of address space 0, which the guest sees, first. */
struct slot_table {
	_Atomic unsigned refs;
	unsigned n, n_visible;
	struct slot *slot[];
};

struct slots {
	struct memory_objects *objects;
	void (*kick)(void *opaque);
	void *opaque;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	unsigned n_inside;  /* vCPUs between enter and leave */
	unsigned n_waiting; /* for them to be outside */
	uint64_t generation;
	/* These change while nobody is inside. */
	struct slot_table *table;
	bool has_key;		     /* it was entered with one */
	struct plaintext *plaintext; /* of that; NULL: there is no memory for it */

	struct slots *next_member; /* under plaintexts_lock */
};

/* All vCPUs are outside, and have forgotten what they know of memory, until slots_let_in(). */
void slots_keep_out(struct slots *slots);
void slots_let_in(struct slots *slots);
/* The table, a reference. */
struct slot_table *slot_table_get(struct slots *slots);
struct slot_table *slot_table_put(struct slot_table *table); /* takes NULL, returns NULL */
/* What the guest has at gpa, and what is behind that; NULL: nothing. */
const struct slot *slot_find(const struct slot_table *table, uint64_t gpa);
const struct stretch *stretch_find(const struct slot *slot, uint64_t gpa);

/* plaintext.c */

struct plain_page {
	struct plain_page *next;      /* in its bucket */
	struct memory_object *object; /* a reference */
	uint64_t offset;
	const struct cipher *cipher;
	pthread_mutex_t lock;	 /* who stores, and all below */
	uint64_t doubt;		 /* plaintext->doubt when it was last compared */
	uint8_t copy[PAGE_SIZE]; /* of memory, that plain was made of */
	_Alignas(64) uint8_t plain[PAGE_SIZE];
};

/* From outside: the plaintext of this key is what plaintext_page() looks into; if
 * there is memory for it. */
void plaintext_join(struct slots *slots, const uint8_t vek[PSP_KEY_LEN]);
void plaintext_leave(struct slots *slots);
/* From outside: all is forgotten, by all that share it. */
void plaintext_empty(struct slots *slots);
/* From inside, with a key: the page of that object, up to date.  NULL: no memory. */
struct plain_page *plaintext_page(struct slots *slots, struct memory_object *object,
				  uint64_t offset);
/* Under slots->lock, or from inside.  NULL has no key and is not full. */
bool plaintext_has_key(const struct plaintext *plaintext, const uint8_t vek[PSP_KEY_LEN]);
bool plaintext_is_full(const struct plaintext *plaintext);
void plaintext_doubt(struct plaintext *plaintext);

#endif
