// SPDX-License-Identifier: GPL-2.0-or-later
/* access.c - what is at a guest-physical address */
#include "internal.h"
#include "shared.h"

void slots_page(struct slots *slots, uint64_t gpa, bool encrypted, struct cpu_page *ret)
{
	const struct slot *slot = slot_find(slots->table, gpa);
	const struct stretch *stretch = slot ? stretch_find(slot, gpa) : NULL;
	struct plain_page *plain;
	uint64_t offset;

	*ret = (struct cpu_page){0};
	if (!stretch)
		return;
	offset = stretch->offset + (gpa - slot->gpa - stretch->at);
	ret->read_only = slot->flags & KVM_MEM_READONLY || !stretch->writable;
	if (!encrypted || !slots->has_key) {
		ret->data = memory_object_at(stretch->object, offset);
		return;
	}
	plain = plaintext_page(slots, stretch->object, offset);
	if (!plain)
		return;
	ret->data = plain->plain;
	ret->guard = plain;
}

bool slots_is_fault(struct slots *slots, uint64_t gpa, bool is_write)
{
	struct slot_table *table = slot_table_get(slots);
	const struct slot *slot = slot_find(table, gpa);
	const struct stretch *stretch = slot ? stretch_find(slot, gpa) : NULL;
	bool is_fault = slot && !stretch;

	if (stretch && is_write)
		is_fault = !stretch->writable && !(slot->flags & KVM_MEM_READONLY);
	slot_table_put(table);
	return is_fault;
}

void slots_begin_store(const struct cpu_page *page)
{
	struct plain_page *plain = page->guard;

	pthread_mutex_lock(&plain->lock);
}

void slots_end_store(const struct cpu_page *page, unsigned offset, unsigned len)
{
	unsigned begin = offset & ~(BLOCK_SIZE - 1), end = offset + len;
	struct plain_page *plain = page->guard;

	for (; begin < end; begin += BLOCK_SIZE) {
		uint8_t *copy = plain->copy + begin;

		shared_load(copy, plain->plain + begin, BLOCK_SIZE);
		cipher_run(plain->cipher,
			   memory_object_address(plain->object, plain->offset + begin), copy,
			   BLOCK_SIZE, true);
		shared_store(memory_object_at(plain->object, plain->offset + begin), copy,
			     BLOCK_SIZE);
	}
	pthread_mutex_unlock(&plain->lock);
}

/* Part of a block, in the clear for a moment. */
static void access_encrypted(const struct stretch *stretch, uint64_t offset,
			     const struct cipher *cipher, void *data, unsigned len, bool is_write)
{
	uint64_t begin = offset & ~(uint64_t)(BLOCK_SIZE - 1);
	uint64_t address = memory_object_address(stretch->object, begin);
	uint8_t *at = memory_object_at(stretch->object, begin), block[BLOCK_SIZE];

	shared_load(block, at, sizeof(block));
	cipher_run(cipher, address, block, sizeof(block), false);
	if (is_write) {
		memcpy(block + (offset - begin), data, len);
		cipher_run(cipher, address, block, sizeof(block), true);
		shared_store(at, block, sizeof(block));
	} else {
		memcpy(data, block + (offset - begin), len);
	}
}

static bool access_piece(const struct slot_table *table, uint64_t gpa, const struct cipher *cipher,
			 void *data, unsigned len, bool is_write)
{
	const struct slot *slot = slot_find(table, gpa);
	const struct stretch *stretch = slot ? stretch_find(slot, gpa) : NULL;
	uint64_t offset;

	if (!stretch || (is_write && (slot->flags & KVM_MEM_READONLY || !stretch->writable)))
		return false;
	offset = stretch->offset + (gpa - slot->gpa - stretch->at);
	if (cipher)
		access_encrypted(stretch, offset, cipher, data, len, is_write);
	else if (is_write)
		shared_store(memory_object_at(stretch->object, offset), data, len);
	else
		shared_load(data, memory_object_at(stretch->object, offset), len);
	return true;
}

static bool access_memory(struct slots *slots, uint64_t gpa, const uint8_t *vek, void *data,
			  unsigned len, bool is_write)
{
	struct cipher *cipher = vek ? cipher_new(vek) : NULL;
	unsigned unit = vek ? BLOCK_SIZE : PAGE_SIZE, n;
	struct slot_table *table = slot_table_get(slots);
	bool is_there = !vek || cipher;

	for (unsigned done = 0; is_there && done < len; done += n) {
		n = unit - (unsigned)((gpa + done) & (unit - 1));
		if (n > len - done)
			n = len - done;
		is_there = access_piece(table, gpa + done, cipher, (uint8_t *)data + done, n,
					is_write);
	}
	slot_table_put(table);
	cipher_free(cipher);
	if (vek && is_write)
		slots_doubt(slots);
	return is_there;
}

bool slots_read(struct slots *slots, uint64_t gpa, const uint8_t *vek, void *ret, unsigned len)
{
	return access_memory(slots, gpa, vek, ret, len, false);
}

bool slots_write(struct slots *slots, uint64_t gpa, const uint8_t *vek, const void *data,
		 unsigned len)
{
	return access_memory(slots, gpa, vek, (void *)(uintptr_t)data, len, true);
}
