// SPDX-License-Identifier: GPL-2.0-or-later
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct host *call_host(const struct call *call)
{
	return (struct host *)&call->host;
}

struct mm *call_mm(const struct call *call)
{
	return call->mm;
}

int call_share(struct call *call, uint64_t uaddr, uint64_t len,
	       int (*each)(void *opaque, uint64_t uaddr, uint64_t len, int fd, uint64_t offset,
			   bool writable),
	       void *opaque)
{
	uint64_t n, end = uaddr + len;
	bool is_missing = false;
	int r = call->result;

	for (; r == 0 && uaddr < end; uaddr += n) {
		n = call->stretch && call->stretch < end - uaddr ? call->stretch : end - uaddr;
		if (call->hole >= uaddr && call->hole < uaddr + n) {
			n = call->hole > uaddr ? call->hole - uaddr : PAGE;
			is_missing = true;
			if (n == PAGE && call->hole == uaddr)
				continue;
		}
		for (unsigned i = 0; r == 0 && i < 1u + call->repeats; i++)
			r = each(opaque, uaddr, n + call->extra, call->fd, uaddr - MEMORY,
				 !call->read_only);
	}
	return r < 0 ? r : is_missing ? -EFAULT : 0;
}

static void kick(void *opaque)
{
	struct call *call = opaque;

	__atomic_fetch_add(&call->n_kicks, 1, __ATOMIC_RELAXED);
}

int client_setup(void **state)
{
	struct call *call = calloc(1, sizeof(*call));

	call->fd = memfd_create("memory", MFD_CLOEXEC);
	assert_return_code(ftruncate(call->fd, MEMORY_PAGES * PAGE), errno);
	call->memory =
		mmap(NULL, MEMORY_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, call->fd, 0);
	assert_ptr_not_equal(call->memory, MAP_FAILED);
	call->host.memory_objects = memory_objects_new();
	call->slots = slots_new(call->host.memory_objects, kick, call);
	*state = call;
	return 0;
}

int client_teardown(void **state)
{
	struct call *call = *state;

	slots_free(call->slots);
	memory_objects_free(call->host.memory_objects);
	(void)munmap(call->memory, MEMORY_PAGES * PAGE);
	(void)close(call->fd);
	free(call);
	return 0;
}

int client_set(struct call *call, uint32_t slot, uint64_t gpa, uint64_t size, uint64_t uaddr,
	       uint32_t flags)
{
	return slots_set(call->slots, call,
			 &(struct kvm_userspace_memory_region){.slot = slot,
							       .flags = flags,
							       .guest_phys_addr = gpa,
							       .memory_size = size,
							       .userspace_addr = uaddr});
}

struct cpu_page client_page(struct call *call, const uint8_t *key, uint64_t gpa)
{
	struct cpu_page page;

	slots_page(call->slots, gpa, key != NULL, &page);
	return page;
}

void client_store(struct call *call, const uint8_t *key, uint64_t gpa, const void *data,
		  unsigned len)
{
	struct cpu_page page;

	assert_true(slots_enter(call->slots, key) > 0);
	page = client_page(call, key, gpa & ~(uint64_t)(PAGE - 1));
	assert_non_null(page.data);
	if (page.guard)
		slots_begin_store(&page);
	memcpy(page.data + gpa % PAGE, data, len);
	if (page.guard)
		slots_end_store(&page, gpa % PAGE, len);
	slots_leave(call->slots);
}
