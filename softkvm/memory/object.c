// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * object.c - files that are memory, and their system-physical addresses
 *
 * An object's number stands in the upper bits of the addresses of its bytes.  A file that nobody
 * has used for a while gets the number that it had: pages of memory do not move either, and what is
 * encrypted in them can be decrypted where it was only.  Numbers are given to others when there are
 * no more.
 *
 * A client says which file, how much of it, and what with: all of that is checked here.  Only file
 * systems whose pages are memory are accepted, since a page of any other, FUSE most of all, may
 * take for ever to come.  The host keeps no descriptor: the mapping holds the file.
 */
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "internal.h"
#include "kvm/cleanup.h"

#define OBJECTS_MAX	 8192
#define OBJECTS_OF_OWNER 1024	      /* so that nobody takes all */
#define MAPPED_OF_OWNER	 (4ull << 40) /* bytes, of the host's 128 TiB */

struct memory_objects *memory_objects_new(void)
{
	struct memory_objects *objects = calloc(1, sizeof(*objects));

	if (!objects)
		return NULL;
	sigbus_install();
	pthread_mutex_init(&objects->lock, NULL);
	pthread_mutex_init(&objects->plaintexts_lock, NULL);
	return objects;
}

struct memory_objects *memory_objects_free(struct memory_objects *objects)
{
	if (!objects)
		return NULL;
	pthread_mutex_destroy(&objects->plaintexts_lock);
	pthread_mutex_destroy(&objects->lock);
	free(objects->number);
	free(objects);
	return NULL;
}

static struct mapping *mapping_free(struct mapping *mapping)
{
	struct mapping *older;

	for (; mapping; mapping = older) {
		older = mapping->older;
		if (mapping->area) {
			sigbus_forget(mapping->area);
			(void)munmap(mapping->at, mapping->len);
		}
		free(mapping);
	}
	return NULL;
}

static struct memory_object *object_free(struct memory_object *object)
{
	if (object) {
		mapping_free(atomic_load(&object->mapping));
		free(object->page);
		free(object);
	}
	return NULL;
}

/* Under lock: a number that is free and was this file's; OBJECTS_MAX: none. */
static uint64_t find_former(const struct memory_objects *objects,
			    const struct memory_object *object)
{
	for (uint64_t i = 0; i < objects->n; i++) {
		const struct memory_number *number = &objects->number[i];

		if (!number->object && number->dev == object->dev && number->ino == object->ino)
			return i;
	}
	return OBJECTS_MAX;
}

/* One that is free, whosever it was. */
static uint64_t find_free(struct memory_objects *objects)
{
	for (uint64_t n = 0; n < OBJECTS_MAX; n++) {
		uint64_t i = objects->next++ % OBJECTS_MAX;

		if (!objects->number[i].object)
			return i;
	}
	return OBJECTS_MAX;
}

/* Under lock: a number for it, from 1, so that address 0 is nowhere. */
static int enter(struct memory_objects *objects, struct memory_object *object)
{
	uint64_t i = find_former(objects, object);
	struct memory_number *table;

	if (i == OBJECTS_MAX && objects->n < OBJECTS_MAX) {
		i = objects->n;
		table = reallocarray(objects->number, i + 1, sizeof(*table));
		if (!table)
			return -ENOMEM;
		objects->number = table;
		objects->n++;
	} else if (i == OBJECTS_MAX) {
		i = find_free(objects);
	}
	if (i == OBJECTS_MAX)
		return -ENOMEM;
	objects->number[i] = (struct memory_number){object, object->dev, object->ino};
	object->id = i + 1;
	object->objects = objects;
	return 0;
}

/* What is to be mapped of a file of size bytes, so that [0, end) is in it and growth is rare. */
static uint64_t mapping_len(const struct mapping *older, uint64_t end, uint64_t size, bool is_huge)
{
	uint64_t len = size > end ? size : end;

	/* Mapping more of hugetlbfs than there is would make the file larger. */
	if (older && !is_huge && len < 2 * older->len)
		len = 2 * older->len;
	if (older && len < older->len)
		len = older->len;
	return len < OBJECT_MAX ? len : OBJECT_MAX;
}

static int map(struct memory_object *object, int fd, uint64_t end, bool writable,
	       const struct stat *st, const struct statfs *fs)
{
	struct mapping *older = atomic_load(&object->mapping), *new = calloc(1, sizeof(*new));
	bool is_huge = fs->f_type == HUGETLBFS_MAGIC;
	size_t page_size = is_huge ? (size_t)fs->f_bsize : PAGE_SIZE;

	if (!new)
		return -ENOMEM;
	new->older = older;
	new->len = mapping_len(older, end, (uint64_t)st->st_size, is_huge);
	new->len = (new->len + page_size - 1) & ~(page_size - 1);
	new->writable = true;
	new->at = mmap(NULL, new->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	/* A descriptor to read only, or a seal.  There may be pointers to what is written to. */
	if (new->at == MAP_FAILED && !writable && !(older && older->writable)) {
		new->writable = false;
		new->at = mmap(NULL, new->len, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	}
	if (new->at == MAP_FAILED) {
		int r = errno == EACCES || errno == EPERM ? -EFAULT : -ENOMEM;

		free(new);
		return r;
	}
	new->area = sigbus_watch(new->at, new->len, page_size);
	if (!new->area) {
		(void)munmap(new->at, new->len);
		free(new);
		return -ENOMEM;
	}
	atomic_store_explicit(&object->mapping, new, memory_order_release);
	return 0;
}

static bool is_enough(const struct memory_object *object, uint64_t end, bool writable)
{
	const struct mapping *mapping = atomic_load(&object->mapping);

	return mapping && end <= mapping->len && (mapping->writable || !writable);
}

/* Under lock. */
static bool is_within_limits(const struct memory_objects *objects, const struct mm *owner,
			     uint64_t len)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < objects->n; i++) {
		const struct memory_object *object = objects->number[i].object;

		if (!object || object->owner != owner)
			continue;
		n++;
		for (const struct mapping *m = atomic_load(&object->mapping); m; m = m->older)
			len += m->len;
	}
	return n < OBJECTS_OF_OWNER && len <= MAPPED_OF_OWNER;
}

/* Under lock. */
static struct memory_object *find(const struct memory_objects *objects, const struct stat *st)
{
	for (uint64_t i = 0; i < objects->n; i++) {
		struct memory_object *object = objects->number[i].object;

		if (object && !object->page && object->dev == st->st_dev &&
		    object->ino == st->st_ino)
			return object;
	}
	return NULL;
}

static int find_or_make(struct memory_objects *objects, const struct mm *owner, int fd,
			uint64_t end, bool writable, const struct stat *st, const struct statfs *fs,
			struct memory_object **ret)
{
	struct memory_object *object = find(objects, st), *new = NULL;
	int r = 0;

	if (object && is_enough(object, end, writable)) {
		object->refs++;
		*ret = object;
		return 0;
	}
	if (!is_within_limits(objects, owner, (uint64_t)st->st_size))
		return -ENOMEM;
	if (!object) {
		object = new = calloc(1, sizeof(*new));
		if (!new)
			return -ENOMEM;
		new->dev = st->st_dev;
		new->ino = st->st_ino;
		new->owner = owner;
	}
	r = map(object, fd, end, writable, st, fs);
	if (r == 0 && new)
		r = enter(objects, new);
	if (r < 0) {
		object_free(new);
		return r;
	}
	object->refs++;
	*ret = object;
	return 0;
}

int memory_object_find(struct memory_objects *objects, const struct mm *owner, int fd,
		       uint64_t offset, uint64_t len, bool writable, struct memory_object **ret)
{
	uint64_t end = offset + len;
	struct statfs fs;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -EFAULT;
	if (!S_ISREG(st.st_mode) || (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC))
		return -EFAULT;
	if (!len || end < offset || end > OBJECT_MAX ||
	    end > (((uint64_t)st.st_size + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1)))
		return -EFAULT;
	pthread_mutex_lock(&objects->lock);
	r = find_or_make(objects, owner, fd, end, writable, &st, &fs, ret);
	pthread_mutex_unlock(&objects->lock);
	return r;
}

struct memory_object *memory_object_get(struct memory_object *object)
{
	pthread_mutex_lock(&object->objects->lock);
	object->refs++;
	pthread_mutex_unlock(&object->objects->lock);
	return object;
}

struct memory_object *memory_object_put(struct memory_object *object)
{
	struct memory_objects *objects = object ? object->objects : NULL;
	bool is_last;

	if (!object)
		return NULL;
	pthread_mutex_lock(&objects->lock);
	is_last = !--object->refs;
	if (is_last)
		objects->number[object->id - 1].object = NULL;
	pthread_mutex_unlock(&objects->lock);
	return is_last ? object_free(object) : NULL;
}

void *memory_map(struct memory_objects *objects, uint64_t address, uint32_t len)
{
	uint64_t i = (address >> OBJECT_SHIFT) - 1, offset = address & (OBJECT_MAX - 1);
	void *at = NULL;

	pthread_mutex_lock(&objects->lock);
	if (i < objects->n && objects->number[i].object) {
		const struct mapping *m = atomic_load(&objects->number[i].object->mapping);

		if (offset <= m->len && len <= m->len - offset)
			at = m->at + offset;
	}
	pthread_mutex_unlock(&objects->lock);
	return at;
}

int memory_page_new(struct memory_objects *objects, uint8_t **ret, uint64_t *ret_address)
{
	struct memory_object *object = calloc(1, sizeof(*object));
	struct mapping *mapping = calloc(1, sizeof(*mapping));
	int r = -ENOMEM;

	if (object && mapping) {
		*mapping = (struct mapping){.len = PAGE_SIZE, .writable = true};
		mapping->at = object->page = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
		object->refs = 1;
		atomic_init(&object->mapping, steal_ptr(mapping));
	}
	if (object && object->page) {
		memset(object->page, 0, PAGE_SIZE);
		pthread_mutex_lock(&objects->lock);
		r = enter(objects, object);
		pthread_mutex_unlock(&objects->lock);
	}
	free(mapping);
	if (r < 0) {
		object_free(object);
		return r;
	}
	*ret = object->page;
	*ret_address = memory_object_address(object, 0);
	return 0;
}

void memory_page_free(struct memory_objects *objects, uint64_t address)
{
	struct memory_object *object;

	pthread_mutex_lock(&objects->lock);
	object = objects->number[(address >> OBJECT_SHIFT) - 1].object;
	pthread_mutex_unlock(&objects->lock);
	memory_object_put(object);
}
