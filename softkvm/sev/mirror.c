// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mirror.c - two VMs in one call, and VMs that share a context:
 * KVM_CAP_VM_COPY_ENC_CONTEXT_FROM, Documentation/virt/kvm/api.rst, 7.30
 *
 * A call that names two VMs claims both before it locks them.  Claims do not wait: of two calls for
 * the same VMs in opposite order at least one gets EBUSY, and none ever waits for a lock that is
 * held by a call that waits for its own.
 *
 * A mirror holds a reference on its owner, and the owner lists its mirrors.  The owner may be moved
 * while a mirror is destroyed, under locks of different VMs, so both directions change together
 * under one lock of their own.
 */
#include <errno.h>

#include "softkvm/sev/internal.h"

int sev_claim(struct vm *vm)
{
	bool is_claimed = false;

	return atomic_compare_exchange_strong(&vm->sev.in_progress, &is_claimed, true) ? 0 : -EBUSY;
}

void sev_unclaim(struct vm *vm)
{
	atomic_store(&vm->sev.in_progress, false);
}

int sev_vm_of_fd(struct call *call, uint64_t fd, struct vm **ret)
{
	struct object *object;

	/* KVM keeps it in an int: the upper half is not looked at. */
	if (call_object(call, (int)(uint32_t)fd, &object) < 0)
		return -EBADF;
	*ret = vm_of(object);
	if (*ret)
		return 0;
	object_put(object);
	return -EBADF;
}

static int claim_two(struct vm *target, struct vm *source)
{
	int err = sev_claim(target);

	if (err < 0)
		return err;
	err = sev_claim(source);
	if (err < 0)
		sev_unclaim(target);
	return err;
}

static int lock_claimed(struct call *call, struct vm *target, struct vm *source)
{
	int err = call_lock(call, &target->lock);

	if (err < 0)
		return err;
	err = call_lock(call, &source->lock);
	if (err < 0)
		pthread_mutex_unlock(&target->lock);
	return err;
}

int sev_lock_two(struct call *call, struct vm *target, struct vm *source)
{
	int err;

	if (target == source)
		return -EINVAL;
	err = claim_two(target, source);
	if (err < 0)
		return err;
	err = lock_claimed(call, target, source);
	/* It may have been moved away before it could be claimed. */
	if (err == 0 && atomic_load(&target->dead)) {
		pthread_mutex_unlock(&target->lock);
		pthread_mutex_unlock(&source->lock);
		err = -EIO;
	}
	if (err < 0) {
		sev_unclaim(target);
		sev_unclaim(source);
	}
	return err;
}

void sev_unlock_two(struct vm *target, struct vm *source)
{
	pthread_mutex_unlock(&target->lock);
	pthread_mutex_unlock(&source->lock);
	sev_unclaim(target);
	sev_unclaim(source);
}

/* Under mirror_lock; takes over a reference on owner. */
static void link_mirror(struct vm *mirror, struct vm *owner)
{
	mirror->sev.owner = owner;
	mirror->sev.next_mirror = owner->sev.mirrors;
	mirror->sev.mirror_link = &owner->sev.mirrors;
	if (owner->sev.mirrors)
		owner->sev.mirrors->sev.mirror_link = &mirror->sev.next_mirror;
	owner->sev.mirrors = mirror;
}

/* Under mirror_lock; returns the owner with the reference. */
static struct vm *unlink_mirror(struct vm *mirror)
{
	struct vm *owner = mirror->sev.owner;

	*mirror->sev.mirror_link = mirror->sev.next_mirror;
	if (mirror->sev.next_mirror)
		mirror->sev.next_mirror->sev.mirror_link = mirror->sev.mirror_link;
	mirror->sev.owner = mirror->sev.next_mirror = NULL;
	mirror->sev.mirror_link = NULL;
	return owner;
}

void sev_unlink_mirror(struct vm *mirror)
{
	struct sev_host *sev = mirror->object.host->sev;
	struct vm *owner;

	pthread_mutex_lock(&sev->mirror_lock);
	owner = unlink_mirror(mirror);
	pthread_mutex_unlock(&sev->mirror_lock);
	object_put(&owner->object);
}

void sev_move_mirrors(struct vm *target, struct vm *source)
{
	struct sev_host *sev = target->object.host->sev;

	pthread_mutex_lock(&sev->mirror_lock);
	if (source->sev.owner)
		link_mirror(target, unlink_mirror(source));
	while (source->sev.mirrors) {
		struct vm *mirror = source->sev.mirrors;

		/* Not the last reference: whoever moves holds one. */
		object_put(&unlink_mirror(mirror)->object);
		object_get(&target->object);
		link_mirror(mirror, target);
	}
	pthread_mutex_unlock(&sev->mirror_lock);
	target->sev.is_mirror = source->sev.is_mirror;
	source->sev.is_mirror = false;
}

static int copy(struct vm *mirror, struct vm *owner)
{
	struct sev_host *sev = mirror->object.host->sev;

	if (mirror->sev.active || !owner->sev.active || owner->sev.is_mirror || mirror->n_created)
		return -EINVAL;
	mirror->sev.active = true;
	mirror->sev.is_mirror = true;
	mirror->sev.es = owner->sev.es;
	mirror->sev.asid = owner->sev.asid;
	mirror->sev.handle = owner->sev.handle;
	mirror->sev.fd = owner->sev.fd;
	mirror->sev.need_init = false;
	object_get(&owner->object);
	pthread_mutex_lock(&sev->mirror_lock);
	link_mirror(mirror, owner);
	pthread_mutex_unlock(&sev->mirror_lock);
	return 0;
}

long sev_copy_from(struct call *call, struct vm *mirror, uint64_t owner_fd)
{
	struct vm *owner;
	int err = sev_vm_of_fd(call, owner_fd, &owner);

	if (err < 0)
		return err;
	err = sev_lock_two(call, mirror, owner);
	if (err == 0) {
		err = copy(mirror, owner);
		sev_unlock_two(mirror, owner);
	}
	object_put(&owner->object);
	return err;
}
