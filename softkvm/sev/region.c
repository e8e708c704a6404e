// SPDX-License-Identifier: GPL-2.0-or-later
/* region.c - pinned memory: KVM_MEMORY_ENCRYPT_REG_REGION, KVM_MEMORY_ENCRYPT_UNREG_REGION */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "softkvm/sev/internal.h"

#define PAGE_SHIFT 12

static uint64_t pages_of(uint64_t uaddr, uint64_t len)
{
	return ((uaddr + len - 1) >> PAGE_SHIFT) - (uaddr >> PAGE_SHIFT) + 1;
}

int sev_may_pin(struct call *call, const struct vm *vm, uint64_t n_pages)
{
	uint64_t limit = call_rlimit_memlock(call) >> PAGE_SHIFT;

	return vm->sev.pages_locked + n_pages > limit ? -ENOMEM : 0;
}

int sev_pin(struct call *call, const struct vm *vm, uint64_t uaddr, uint64_t len, bool for_write,
	    struct pinned **ret)
{
	uint64_t n;
	int err;

	if (!len || uaddr + len < uaddr)
		return -EINVAL;
	n = pages_of(uaddr, len);
	if (n > INT_MAX)
		return -EINVAL;
	err = sev_may_pin(call, vm, n);
	return err < 0 ? err : memory_pin(call, uaddr, len, for_write, ret);
}

static int register_region(struct call *call, struct vm *vm, const struct kvm_enc_region *range)
{
	struct sev_region *region, **end = &vm->sev.regions;
	struct pinned *pinned;
	int err;

	if (atomic_load(&vm->dead))
		return -EIO;
	if (!vm->sev.active)
		return -ENOTTY;
	if (vm->sev.is_mirror)
		return -EINVAL;
	region = calloc(1, sizeof(*region));
	if (!region)
		return -ENOMEM;
	/* Memory to be read only is no error to 6.1.192 and 6.12; it was to 6.1.176. */
	err = sev_pin(call, vm, range->addr, range->size, false, &pinned);
	if (err < 0) {
		free(region);
		return err;
	}
	region->uaddr = range->addr;
	region->size = range->size;
	region->pinned = pinned;
	vm->sev.pages_locked += pages_of(range->addr, range->size);
	while (*end)
		end = &(*end)->next;
	*end = region;
	return 0;
}

static void drop(struct vm *vm, struct sev_region **link)
{
	struct sev_region *region = *link;

	*link = region->next;
	vm->sev.pages_locked -= pages_of(region->uaddr, region->size);
	memory_unpin(region->pinned);
	free(region);
}

static int unregister_region(struct vm *vm, const struct kvm_enc_region *range)
{
	struct sev_region **link = &vm->sev.regions;

	if (atomic_load(&vm->dead))
		return -EIO;
	if (vm->sev.is_mirror)
		return -EINVAL;
	if (!vm->sev.active)
		return -ENOTTY;
	while (*link && ((*link)->uaddr != range->addr || (*link)->size != range->size))
		link = &(*link)->next;
	if (!*link)
		return -EINVAL;
	sev_wbinvd(vm->object.host->sev);
	drop(vm, link);
	return 0;
}

long sev_reg_region(struct call *call, struct vm *vm, uint64_t arg)
{
	struct kvm_enc_region range;
	int err = call_copy_in(call, &range, arg, sizeof(range));

	if (err == 0)
		err = call_lock(call, &vm->lock);
	if (err < 0)
		return err;
	err = register_region(call, vm, &range);
	pthread_mutex_unlock(&vm->lock);
	return err;
}

long sev_unreg_region(struct call *call, struct vm *vm, uint64_t arg)
{
	struct kvm_enc_region range;
	int err = call_copy_in(call, &range, arg, sizeof(range));

	if (err == 0)
		err = call_lock(call, &vm->lock);
	if (err < 0)
		return err;
	err = unregister_region(vm, &range);
	pthread_mutex_unlock(&vm->lock);
	return err;
}

void sev_regions_free(struct vm *vm)
{
	while (vm->sev.regions)
		drop(vm, &vm->sev.regions);
}
