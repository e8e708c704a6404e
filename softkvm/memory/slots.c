// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * slots.c - memory of a guest: KVM_SET_USER_MEMORY_REGION
 *
 * Theory of operation.  The table of slots is made anew for every change and never changed itself.
 * vCPUs work with pointers into memory that they found by it, without a lock: so before a table,
 * and what memory only it refers to, may go, all vCPUs must have left the guest.  slots_keep_out()
 * says so to them and waits; the generation then tells them, when they come back, that what they
 * remember is void.  Others than vCPUs hold a reference on the table while they look into it.
 *
 * Checks and their order are those of __kvm_set_memory_region(); Documentation/virt/kvm/api.rst,
 * 4.35.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"
#include "kvm/cleanup.h"
#include "softkvm/host/call.h"

#define SLOTS_MAX	 32764 /* SHRT_MAX less three that KVM has for itself */
#define ADDRESS_SPACES	 2     /* the second is for SMM: it is kept, and nobody looks into it */
#define SLOT_PAGES_MAX	 ((1ull << 31) - 1)
#define GPA_MAX		 (1ull << 52)
#define USER_ADDRESS_MAX 0x7ffffffff000ull

enum change { CHANGE_NOTHING, CHANGE_CREATE, CHANGE_DELETE, CHANGE_MOVE, CHANGE_FLAGS };

static uint32_t address_space(const struct slot *slot)
{
	return slot->id >> 16;
}

static struct slot *slot_put(struct slot *slot)
{
	if (atomic_fetch_sub(&slot->refs, 1) == 1) {
		stretches_done(&slot->memory);
		free(slot);
	}
	return NULL;
}

static struct slot_table *table_new(unsigned n)
{
	struct slot_table *table = calloc(1, sizeof(*table) + n * sizeof(table->slot[0]));

	if (table)
		atomic_init(&table->refs, 1);
	return table;
}

struct slot_table *slot_table_put(struct slot_table *table)
{
	if (table && atomic_fetch_sub(&table->refs, 1) == 1) {
		for (unsigned i = 0; i < table->n; i++)
			slot_put(table->slot[i]);
		free(table);
	}
	return NULL;
}

struct slot_table *slot_table_get(struct slots *slots)
{
	struct slot_table *table;

	pthread_mutex_lock(&slots->lock);
	table = slots->table;
	atomic_fetch_add(&table->refs, 1);
	pthread_mutex_unlock(&slots->lock);
	return table;
}

struct slots *slots_new(struct memory_objects *objects, void (*kick)(void *opaque), void *opaque)
{
	struct slots *slots = calloc(1, sizeof(*slots));
	struct slot_table *table = table_new(0);

	if (!slots || !table) {
		free(slots);
		free(table);
		return NULL;
	}
	*slots = (struct slots){.objects = objects,
				.kick = kick,
				.opaque = opaque,
				.generation = 1,
				.table = table};
	pthread_mutex_init(&slots->lock, NULL);
	pthread_cond_init(&slots->changed, NULL);
	return slots;
}

struct slots *slots_free(struct slots *slots)
{
	if (!slots)
		return NULL;
	plaintext_leave(slots);
	slot_table_put(slots->table);
	pthread_cond_destroy(&slots->changed);
	pthread_mutex_destroy(&slots->lock);
	free(slots);
	return NULL;
}

/* Under lock, which is dropped meanwhile: the plaintext is of the guest's key, and not too large.
 */
static void prepare(struct slots *slots, const uint8_t *vek)
{
	bool has_tried = !vek;

	for (;;) {
		if (slots->n_waiting) {
			pthread_cond_wait(&slots->changed, &slots->lock);
		} else if (plaintext_is_full(slots->plaintext)) {
			pthread_mutex_unlock(&slots->lock);
			plaintext_empty(slots);
			pthread_mutex_lock(&slots->lock);
		} else if (!has_tried && !plaintext_has_key(slots->plaintext, vek)) {
			pthread_mutex_unlock(&slots->lock);
			plaintext_join(slots, vek);
			pthread_mutex_lock(&slots->lock);
			has_tried = true;
		} else {
			return;
		}
	}
}

uint64_t slots_enter(struct slots *slots, const uint8_t *vek)
{
	uint64_t generation;

	pthread_mutex_lock(&slots->lock);
	prepare(slots, vek);
	slots->n_inside++;
	generation = slots->generation;
	pthread_mutex_unlock(&slots->lock);
	return generation;
}

void slots_leave(struct slots *slots)
{
	pthread_mutex_lock(&slots->lock);
	if (!--slots->n_inside)
		pthread_cond_broadcast(&slots->changed);
	pthread_mutex_unlock(&slots->lock);
}

void slots_keep_out(struct slots *slots)
{
	pthread_mutex_lock(&slots->lock);
	slots->n_waiting++;
	pthread_mutex_unlock(&slots->lock);
	slots->kick(slots->opaque);
	pthread_mutex_lock(&slots->lock);
	while (slots->n_inside)
		pthread_cond_wait(&slots->changed, &slots->lock);
	slots->generation++;
	pthread_mutex_unlock(&slots->lock);
}

void slots_let_in(struct slots *slots)
{
	pthread_mutex_lock(&slots->lock);
	if (!--slots->n_waiting)
		pthread_cond_broadcast(&slots->changed);
	pthread_mutex_unlock(&slots->lock);
}

void slots_doubt(struct slots *slots)
{
	pthread_mutex_lock(&slots->lock);
	if (slots->plaintext) {
		plaintext_doubt(slots->plaintext);
		slots->generation++;
	}
	pthread_mutex_unlock(&slots->lock);
}

const struct slot *slot_find(const struct slot_table *table, uint64_t gpa)
{
	unsigned first = 0, end = table->n_visible;

	while (first < end) {
		unsigned middle = first + (end - first) / 2;
		const struct slot *slot = table->slot[middle];

		if (gpa < slot->gpa)
			end = middle;
		else if (gpa - slot->gpa < slot->len)
			return slot;
		else
			first = middle + 1;
	}
	return NULL;
}

const struct stretch *stretch_find(const struct slot *slot, uint64_t gpa)
{
	unsigned first = 0, end = slot->memory.n;
	uint64_t at = gpa - slot->gpa;

	while (first < end) {
		unsigned middle = first + (end - first) / 2;
		const struct stretch *stretch = &slot->memory.stretch[middle];

		if (at < stretch->at)
			end = middle;
		else if (at - stretch->at < stretch->len)
			return stretch;
		else
			first = middle + 1;
	}
	return NULL;
}

/* What does not depend on what is there already. */
static int check(const struct kvm_userspace_memory_region *region)
{
	uint64_t size = region->memory_size, uaddr = region->userspace_addr;

	if ((uint16_t)region->slot >= SLOTS_MAX || region->flags & ~(uint32_t)KVM_MEM_READONLY ||
	    (size | region->guest_phys_addr | uaddr) & (PAGE_SIZE - 1) ||
	    uaddr > USER_ADDRESS_MAX || size > USER_ADDRESS_MAX - uaddr ||
	    region->slot >> 16 >= ADDRESS_SPACES ||
	    region->guest_phys_addr + size < region->guest_phys_addr ||
	    size / PAGE_SIZE > SLOT_PAGES_MAX)
		return -EINVAL;
	return 0;
}

static struct slot *find_id(const struct slot_table *table, uint32_t id)
{
	for (unsigned i = 0; i < table->n; i++)
		if (table->slot[i]->id == id)
			return table->slot[i];
	return NULL;
}

static int classify(const struct kvm_userspace_memory_region *region, const struct slot *old,
		    enum change *ret)
{
	if (!region->memory_size && !old)
		return -EINVAL;
	if (!region->memory_size)
		*ret = CHANGE_DELETE;
	else if (!old)
		*ret = CHANGE_CREATE;
	else if (region->userspace_addr != old->uaddr || region->memory_size != old->len ||
		 (region->flags ^ old->flags) & KVM_MEM_READONLY)
		return -EINVAL;
	else if (region->guest_phys_addr != old->gpa)
		*ret = CHANGE_MOVE;
	else
		*ret = region->flags != old->flags ? CHANGE_FLAGS : CHANGE_NOTHING;
	return 0;
}

static bool overlaps(const struct slot_table *table,
		     const struct kvm_userspace_memory_region *region)
{
	for (unsigned i = 0; i < table->n; i++) {
		const struct slot *slot = table->slot[i];

		if (slot->id != region->slot && address_space(slot) == region->slot >> 16 &&
		    region->guest_phys_addr < slot->gpa + slot->len &&
		    slot->gpa < region->guest_phys_addr + region->memory_size)
			return true;
	}
	return false;
}

static int slot_new(struct call *call, const struct kvm_userspace_memory_region *region,
		    struct slot **ret)
{
	struct slot *slot = calloc(1, sizeof(*slot));
	int r;

	if (!slot)
		return -ENOMEM;
	*slot = (struct slot){.id = region->slot,
			      .flags = region->flags,
			      .gpa = region->guest_phys_addr,
			      .len = region->memory_size,
			      .uaddr = region->userspace_addr};
	atomic_init(&slot->refs, 1);
	r = stretches_share(&slot->memory, call, slot->uaddr, slot->len);
	if (r < 0 && r != -EFAULT) {
		slot_put(slot);
		return r;
	}
	*ret = slot;
	return 0;
}

static bool is_before(const struct slot *a, const struct slot *b)
{
	return address_space(a) != address_space(b) ? address_space(a) < address_space(b)
						    : a->gpa < b->gpa;
}

/* The table without id and with new, which may be NULL; takes over its reference. */
static struct slot_table *table_with(const struct slot_table *old, uint32_t id, struct slot *new)
{
	struct slot_table *table = table_new(old->n + 1);

	if (!table) {
		if (new)
			slot_put(new);
		return NULL;
	}
	for (unsigned i = 0; i < old->n; i++) {
		struct slot *slot = old->slot[i];

		if (slot->id == id)
			continue;
		if (new &&is_before(new, slot))
			table->slot[table->n++] = steal_ptr(new);
		atomic_fetch_add(&slot->refs, 1);
		table->slot[table->n++] = slot;
	}
	if (new)
		table->slot[table->n++] = new;
	while (table->n_visible < table->n && !address_space(table->slot[table->n_visible]))
		table->n_visible++;
	return table;
}

static void replace(struct slots *slots, struct slot_table *new)
{
	struct slot_table *old;

	slots_keep_out(slots);
	pthread_mutex_lock(&slots->lock);
	old = slots->table;
	slots->table = new;
	pthread_mutex_unlock(&slots->lock);
	slots_let_in(slots);
	slot_table_put(old);
}

int slots_set(struct slots *slots, struct call *call,
	      const struct kvm_userspace_memory_region *region)
{
	const struct slot_table *old = slots->table; /* which only who has vm->lock changes */
	struct slot_table *table;
	enum change change = CHANGE_NOTHING;
	struct slot *slot = NULL;
	int r = check(region);

	if (r == 0)
		r = classify(region, find_id(old, region->slot), &change);
	if (r < 0 || change == CHANGE_NOTHING)
		return r;
	if ((change == CHANGE_CREATE || change == CHANGE_MOVE) && overlaps(old, region))
		return -EEXIST;
	if (region->guest_phys_addr + region->memory_size > GPA_MAX)
		return -EINVAL;
	if (change != CHANGE_DELETE)
		r = slot_new(call, region, &slot);
	if (r < 0)
		return r;
	table = table_with(old, region->slot, slot);
	if (!table)
		return -ENOMEM;
	replace(slots, table);
	if (change == CHANGE_DELETE)
		plaintext_empty(slots); /* it would hold memory that the guest has no more */
	return 0;
}
