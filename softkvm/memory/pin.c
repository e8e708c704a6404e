// SPDX-License-Identifier: GPL-2.0-or-later
/* pin.c - memory of a client that is held */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"
#include "softkvm/host/call.h"
#include "softkvm/host/host.h"

#define STRETCHES_MAX 65536 /* as many mappings as a process has */

static uint64_t page_down(uint64_t address)
{
	return address & ~(uint64_t)(PAGE_SIZE - 1);
}

static int append(struct stretches *stretches, struct stretch stretch)
{
	unsigned n = stretches->n_allocated ? 2 * stretches->n_allocated : 4;
	struct stretch *larger;

	if (stretches->n == stretches->n_allocated) {
		larger = n <= STRETCHES_MAX ? reallocarray(stretches->stretch, n, sizeof(*larger))
					    : NULL;
		if (!larger)
			return -ENOMEM;
		stretches->stretch = larger;
		stretches->n_allocated = n;
	}
	stretches->stretch[stretches->n++] = stretch;
	return 0;
}

/* For call_share().  Whatever it says comes from the client. */
static int add(void *opaque, uint64_t uaddr, uint64_t len, int fd, uint64_t offset, bool writable)
{
	struct stretches *stretches = opaque;
	struct stretch *last = stretches->n ? &stretches->stretch[stretches->n - 1] : NULL;
	struct stretch stretch = {
		.at = uaddr - stretches->begin, .len = len, .offset = offset, .writable = writable};
	int r;

	/* In order, without overlap, in pages. */
	if ((stretch.at | len | offset) & (PAGE_SIZE - 1) || !len ||
	    stretch.at < (last ? last->at + last->len : 0) || stretch.at > stretches->len ||
	    len > stretches->len - stretch.at)
		return -EFAULT;
	r = memory_object_find(stretches->objects, stretches->owner, fd, offset, len, writable,
			       &stretch.object);
	if (r < 0)
		return r;
	if (last && last->object == stretch.object && last->writable == writable &&
	    last->at + last->len == stretch.at && last->offset + last->len == offset) {
		memory_object_put(stretch.object);
		last->len += len;
		return 0;
	}
	r = append(stretches, stretch);
	if (r < 0)
		memory_object_put(stretch.object);
	return r;
}

int stretches_share(struct stretches *stretches, struct call *call, uint64_t uaddr, uint64_t len)
{
	uint64_t there = 0;
	int r;

	*stretches = (struct stretches){.objects = call_host(call)->memory_objects,
					.owner = call_mm(call),
					.begin = uaddr,
					.len = len};
	r = call_share(call, uaddr, len, add, stretches);
	for (unsigned i = 0; i < stretches->n; i++)
		there += stretches->stretch[i].len;
	return r == 0 && there < len ? -EFAULT : r;
}

void stretches_done(struct stretches *stretches)
{
	for (unsigned i = 0; i < stretches->n; i++)
		memory_object_put(stretches->stretch[i].object);
	free(stretches->stretch);
	*stretches = (struct stretches){0};
}

/* What is pinned begins and ends at any byte; takes over the references. */
static struct pinned *pinned_of(struct stretches *stretches, uint64_t uaddr, uint64_t len)
{
	struct pinned *pinned =
		calloc(1, sizeof(*pinned) + stretches->n * sizeof(pinned->stretch[0]));

	if (!pinned)
		return NULL;
	pinned->uaddr = uaddr;
	pinned->len = len;
	for (unsigned i = 0; i < stretches->n; i++) {
		const struct stretch *from = &stretches->stretch[i];
		uint64_t begin = stretches->begin + from->at, end = begin + from->len;
		uint64_t skip = begin < uaddr ? uaddr - begin : 0;

		if (end > uaddr + len)
			end = uaddr + len;
		pinned->stretch[pinned->n++] = (struct pinned_stretch){
			.object = from->object,
			.offset = from->offset + skip,
			.len = end - begin - skip,
			.address = memory_object_address(from->object, from->offset + skip),
		};
	}
	stretches->n = 0;
	return pinned;
}

int memory_pin(struct call *call, uint64_t uaddr, uint64_t len, bool for_write, struct pinned **ret)
{
	uint64_t begin = page_down(uaddr), end = page_down(uaddr + len - 1) + PAGE_SIZE;
	struct stretches stretches;
	struct pinned *pinned;
	int r;

	if (!len || uaddr + len < uaddr || end < begin)
		return -EINVAL;
	r = stretches_share(&stretches, call, begin, end - begin);
	for (unsigned i = 0; r == 0 && for_write && i < stretches.n; i++)
		if (!stretches.stretch[i].writable)
			r = -EFAULT;
	pinned = r == 0 ? pinned_of(&stretches, uaddr, len) : NULL;
	stretches_done(&stretches);
	if (r == -EINTR)
		return r;
	if (!pinned)
		return -ENOMEM;
	*ret = pinned;
	return 0;
}

struct pinned *memory_unpin(struct pinned *pinned)
{
	if (pinned)
		for (unsigned i = 0; i < pinned->n; i++)
			memory_object_put(pinned->stretch[i].object);
	free(pinned);
	return NULL;
}
