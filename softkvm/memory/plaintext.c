// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * plaintext.c - what encrypted guests see
 *
 * Theory of operation.  A machine's memory controller decrypts what is loaded and encrypts what is
 * stored.  Doing so for each access would be slow, so pages that a guest uses are kept decrypted
 * here, in memory of this process that no client maps, beside the ciphertext that they were made
 * of. A store changes the plaintext, and its blocks go to memory encrypted before the next store to
 * that page.  Loads need no lock.
 *
 * Whoever else writes to memory garbles the guest, or with the key (LAUNCH_UPDATE_DATA) does not:
 * after slots_doubt() each page is compared with memory before its next use, and blocks that differ
 * are decrypted anew.
 *
 * All VMs that have the key (a VM, its mirrors, the one it was moved from) share one plaintext,
 * keyed by object and offset.  It is bounded: if there is too much, all its VMs' vCPUs have to get
 * out, and it is emptied.  What goes is wiped.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "internal.h"
#include "shared.h"

#define PAGES_MAX 16384 /* 64 MiB of a guest */
#define BUCKETS	  8192

struct plaintext {
	struct plaintext *next;
	struct slots *members; /* both under plaintexts_lock */
	struct cipher *cipher;
	_Atomic uint64_t doubt;
	_Atomic unsigned n_pages;

	pthread_mutex_t lock; /* the rest */
	struct plain_page *bucket[BUCKETS];
};

static struct plain_page *page_free(struct plain_page *page)
{
	pthread_mutex_destroy(&page->lock);
	memory_object_put(page->object);
	OPENSSL_cleanse(page->plain, sizeof(page->plain));
	free(page);
	return NULL;
}

/* Nobody is inside. */
static void forget_all(struct plaintext *plaintext)
{
	struct plain_page *page, *next;

	for (size_t i = 0; i < BUCKETS; i++) {
		for (page = plaintext->bucket[i]; page; page = next) {
			next = page->next;
			page_free(page);
		}
		plaintext->bucket[i] = NULL;
	}
	atomic_store(&plaintext->n_pages, 0);
}

/* The functions down to plaintext_join() are under plaintexts_lock. */
static struct plaintext *find_or_make(struct memory_objects *objects,
				      const uint8_t vek[PSP_KEY_LEN])
{
	struct plaintext *plaintext;

	for (plaintext = objects->plaintexts; plaintext; plaintext = plaintext->next)
		if (cipher_has_key(plaintext->cipher, vek))
			return plaintext;
	plaintext = calloc(1, sizeof(*plaintext));
	if (!plaintext)
		return NULL;
	plaintext->cipher = cipher_new(vek);
	if (!plaintext->cipher) {
		free(plaintext);
		return NULL;
	}
	pthread_mutex_init(&plaintext->lock, NULL);
	atomic_init(&plaintext->doubt, 1);
	plaintext->next = objects->plaintexts;
	objects->plaintexts = plaintext;
	return plaintext;
}

static void drop(struct memory_objects *objects, struct plaintext *plaintext)
{
	struct plaintext **at = &objects->plaintexts;

	while (*at != plaintext)
		at = &(*at)->next;
	*at = plaintext->next;
	forget_all(plaintext);
	cipher_free(plaintext->cipher);
	pthread_mutex_destroy(&plaintext->lock);
	free(plaintext);
}

/* What slots_doubt() and slots_enter() look at under slots->lock does not go away under them. */
static void set_plaintext(struct slots *slots, struct plaintext *plaintext)
{
	pthread_mutex_lock(&slots->lock);
	slots->plaintext = plaintext;
	pthread_mutex_unlock(&slots->lock);
}

static void leave(struct slots *slots)
{
	struct plaintext *plaintext = slots->plaintext;
	struct slots **at = &plaintext->members;

	while (*at != slots)
		at = &(*at)->next_member;
	*at = slots->next_member;
	set_plaintext(slots, NULL);
	if (!plaintext->members)
		drop(slots->objects, plaintext);
}

void plaintext_join(struct slots *slots, const uint8_t vek[PSP_KEY_LEN])
{
	struct plaintext *plaintext;

	pthread_mutex_lock(&slots->objects->plaintexts_lock);
	if (!plaintext_has_key(slots->plaintext, vek)) {
		slots_keep_out(slots);
		if (slots->plaintext)
			leave(slots);
		plaintext = find_or_make(slots->objects, vek);
		if (plaintext) {
			slots->next_member = plaintext->members;
			plaintext->members = slots;
			set_plaintext(slots, plaintext);
		}
		slots->has_key = true;
		slots_let_in(slots);
	}
	pthread_mutex_unlock(&slots->objects->plaintexts_lock);
}

void plaintext_leave(struct slots *slots)
{
	pthread_mutex_lock(&slots->objects->plaintexts_lock);
	if (slots->plaintext)
		leave(slots);
	pthread_mutex_unlock(&slots->objects->plaintexts_lock);
}

void plaintext_empty(struct slots *slots)
{
	struct plaintext *plaintext;

	pthread_mutex_lock(&slots->objects->plaintexts_lock);
	plaintext = slots->plaintext;
	if (plaintext) {
		for (struct slots *m = plaintext->members; m; m = m->next_member)
			slots_keep_out(m);
		forget_all(plaintext);
		for (struct slots *m = plaintext->members; m; m = m->next_member)
			slots_let_in(m);
	}
	pthread_mutex_unlock(&slots->objects->plaintexts_lock);
}

bool plaintext_has_key(const struct plaintext *plaintext, const uint8_t vek[PSP_KEY_LEN])
{
	return plaintext && cipher_has_key(plaintext->cipher, vek);
}

bool plaintext_is_full(const struct plaintext *plaintext)
{
	return plaintext && atomic_load(&plaintext->n_pages) >= PAGES_MAX;
}

void plaintext_doubt(struct plaintext *plaintext)
{
	atomic_fetch_add(&plaintext->doubt, 1);
}

/* Blocks of which memory is not what it was; all of a page that is new. */
static void refresh(struct plain_page *page, bool is_new)
{
	uint8_t *at = memory_object_at(page->object, page->offset), block[BLOCK_SIZE];

	for (unsigned i = 0; i < PAGE_SIZE; i += BLOCK_SIZE) {
		shared_load(block, at + i, sizeof(block));
		if (!is_new && !memcmp(block, page->copy + i, sizeof(block)))
			continue;
		memcpy(page->copy + i, block, sizeof(block));
		cipher_run(page->cipher, memory_object_address(page->object, page->offset + i),
			   block, sizeof(block), false);
		shared_store(page->plain + i, block, sizeof(block));
	}
}

static struct plain_page *page_new(struct plaintext *plaintext, struct memory_object *object,
				   uint64_t offset)
{
	struct plain_page *page = aligned_alloc(_Alignof(struct plain_page), sizeof(*page));

	if (!page)
		return NULL;
	page->object = memory_object_get(object);
	page->offset = offset;
	page->cipher = plaintext->cipher;
	page->doubt = atomic_load(&plaintext->doubt);
	pthread_mutex_init(&page->lock, NULL);
	refresh(page, true);
	return page;
}

/* Under lock. */
static struct plain_page *find_page(struct plaintext *plaintext, struct memory_object *object,
				    uint64_t offset)
{
	uint64_t number = memory_object_address(object, offset) / PAGE_SIZE;
	struct plain_page **bucket =
		&plaintext->bucket[(number ^ number >> (OBJECT_SHIFT - 12)) % BUCKETS];
	struct plain_page *page = *bucket;

	while (page && (page->object != object || page->offset != offset))
		page = page->next;
	if (page)
		return page;
	page = page_new(plaintext, object, offset);
	if (page) {
		page->next = *bucket;
		*bucket = page;
		atomic_fetch_add(&plaintext->n_pages, 1);
	}
	return page;
}

struct plain_page *plaintext_page(struct slots *slots, struct memory_object *object,
				  uint64_t offset)
{
	struct plaintext *plaintext = slots->plaintext;
	struct plain_page *page;
	uint64_t doubt;

	if (!plaintext)
		return NULL;
	pthread_mutex_lock(&plaintext->lock);
	page = find_page(plaintext, object, offset);
	pthread_mutex_unlock(&plaintext->lock);
	if (page) {
		pthread_mutex_lock(&page->lock);
		doubt = atomic_load(&plaintext->doubt);
		if (page->doubt != doubt)
			refresh(page, false);
		page->doubt = doubt;
		pthread_mutex_unlock(&page->lock);
	}
	if (plaintext_is_full(plaintext))
		slots->kick(slots->opaque); /* it is emptied when this vCPU comes back */
	return page;
}
