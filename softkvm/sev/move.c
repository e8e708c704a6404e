// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * move.c - KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM: Documentation/virt/kvm/api.rst, 7.31
 *
 * Theory of operation.  All that makes a VM an encrypted one changes its owner: the ASID and with
 * it the key of the memory controller, the firmware's guest, pinned memory, mirrors, and of SEV-ES
 * the vCPUs' encrypted state.  Nothing of it is copied or goes through the firmware, so after the
 * last check there is nothing left that could fail.  Until then nothing has changed.
 *
 * Both VMs are claimed and locked (mirror.c), then all vCPUs, target's first: a vCPU that is in
 * KVM_RUN makes the call wait.  The charge for the ASID is the only thing that is done before the
 * last check; it is taken back.
 *
 * The source is dead from then on.  Whoever waits for one of its locks looks at that again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "softkvm/sev/internal.h"

static void unlock_vcpus(struct vm *vm, unsigned n)
{
	while (n)
		pthread_mutex_unlock(&vm->vcpu[--n]->lock);
}

static int lock_vcpus(struct call *call, struct vm *vm)
{
	for (unsigned i = 0; i < atomic_load(&vm->n_vcpus); i++) {
		int err = call_lock(call, &vm->vcpu[i]->lock);

		if (err < 0) {
			unlock_vcpus(vm, i);
			return err;
		}
	}
	return 0;
}

static int check_vcpus(const struct vm *target, const struct vm *source)
{
	unsigned n = atomic_load(&source->n_vcpus), n_target = atomic_load(&target->n_vcpus);

	/* One that is being created has no lock yet. */
	if (target->n_created != n_target || source->n_created != n)
		return -EBUSY;
	if (!source->sev.es && !target->sev.es)
		return 0;
	if (n_target != n)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++)
		if (!source->vcpu[i]->sev.is_protected)
			return -EINVAL;
	return 0;
}

/* What KVM leaves behind, as it seems without meaning to. */
static void move_forgotten(struct sev_vm *target, struct sev_vm *source)
{
	target->fd = SEV_FD_OF_COMMAND;
	target->ap_jump_table = source->ap_jump_table;
	target->ghcb_version = source->ghcb_version;
	target->need_init = false;
}

/* Everything is locked, nothing can fail.  cgroup: who is charged from now on, if it changes. */
static void take_over(struct vm *target, struct vm *source, char *cgroup)
{
	struct sev_host *sev = target->object.host->sev;
	struct sev_vm *to = &target->sev, *from = &source->sev;

	if (cgroup) {
		sev_uncharge(&sev->accounts, from->cgroup, from->es);
		free(from->cgroup);
		from->cgroup = cgroup;
	}
	to->active = true;
	to->es = from->es;
	to->asid = from->asid;
	to->handle = from->handle;
	to->pages_locked = from->pages_locked;
	to->regions = from->regions;
	to->vmsa_features = from->vmsa_features;
	to->cgroup = from->cgroup;
	if (sev->host->config.without_quirks)
		move_forgotten(to, from);
	from->active = from->es = false;
	from->asid = from->handle = 0;
	from->pages_locked = 0;
	from->regions = NULL;
	from->cgroup = NULL;
	sev_move_mirrors(target, source);
	for (unsigned i = 0; to->es && i < atomic_load(&target->n_vcpus); i++)
		sev_vcpu_move(target->vcpu[i], source->vcpu[i]);
}

/* Charges the caller's group if it is another one than before: *ret_cgroup, else NULL. */
static int charge(struct call *call, const struct vm *source, char **ret_cgroup)
{
	struct sev_host *sev = source->object.host->sev;
	const char *cgroup = call_cgroup(call);
	int err;

	*ret_cgroup = NULL;
	if (source->sev.is_mirror || strcmp(cgroup, source->sev.cgroup) == 0)
		return 0;
	*ret_cgroup = strdup(cgroup);
	if (!*ret_cgroup)
		return -ENOMEM;
	err = sev_charge(&sev->accounts, cgroup, source->sev.es);
	if (err < 0) {
		free(*ret_cgroup);
		*ret_cgroup = NULL;
	}
	return err;
}

static void uncharge(const struct vm *source, char *cgroup)
{
	if (cgroup)
		sev_uncharge(&source->object.host->sev->accounts, cgroup, source->sev.es);
	free(cgroup);
}

/* With the vCPUs locked, too. */
static int with_vcpus(struct call *call, struct vm *target, struct vm *source,
		      void (*act)(struct vm *target, struct vm *source, void *arg), void *arg)
{
	int err = lock_vcpus(call, target);

	if (err < 0)
		return err;
	err = lock_vcpus(call, source);
	if (err == 0) {
		err = check_vcpus(target, source);
		if (err == 0)
			act(target, source, arg);
		unlock_vcpus(source, atomic_load(&source->n_vcpus));
	}
	unlock_vcpus(target, atomic_load(&target->n_vcpus));
	return err;
}

static void finish(struct vm *target, struct vm *source, void *cgroup)
{
	take_over(target, source, cgroup);
	atomic_store(&source->dead, true);
}

static int move(struct call *call, struct vm *target, struct vm *source)
{
	char *cgroup;
	int err;

	if (target->sev.active || !source->sev.active)
		return -EINVAL;
	if (target->object.host->config.profile == PROFILE_MAIN && target->type != source->type)
		return -EINVAL;
	err = charge(call, source, &cgroup);
	if (err < 0)
		return err;
	err = with_vcpus(call, target, source, finish, cgroup);
	if (err < 0)
		uncharge(source, cgroup);
	return err;
}

/*
 * The call as it was posted in September 2021 (v7).  The target had to be one with SEV already,
 * whose own context gives way, and the source lived on without.
 */
static void finish_v7(struct vm *target, struct vm *source, void *unused)
{
	struct sev_host *sev = target->object.host->sev;
	char *own = target->sev.cgroup;

	(void)unused;
	for (unsigned i = 0; i < atomic_load(&target->n_vcpus); i++)
		sev_vcpu_destroy(target->vcpu[i]);
	sev_unbind(sev, target->sev.handle);
	sev_asid_free(sev, own, target->sev.es, target->sev.asid);
	free(own);
	take_over(target, source, NULL);
}

static int move_locked_v7(struct call *call, struct vm *target, struct vm *source)
{
	if (!source->sev.active)
		return -EINVAL;
	return with_vcpus(call, target, source, finish_v7, NULL);
}

static int move_from_fd_v7(struct call *call, struct vm *target, uint64_t fd)
{
	struct vm *source;
	int err;

	/* That a mirror has no context of its own to give up, v7 did not think of. */
	if (!target->sev.active || target->sev.is_mirror || target->sev.mirrors ||
	    target->sev.regions)
		return -EINVAL;
	err = sev_vm_of_fd(call, fd, &source);
	if (err < 0)
		return err;
	err = sev_claim(source);
	if (err == 0) {
		err = call_lock(call, &source->lock);
		if (err == 0) {
			err = move_locked_v7(call, target, source);
			pthread_mutex_unlock(&source->lock);
		}
		sev_unclaim(source);
	}
	object_put(&source->object);
	return err;
}

static int move_from_v7(struct call *call, struct vm *target, uint64_t source_fd)
{
	int err = sev_claim(target);

	if (err < 0)
		return err;
	err = call_lock(call, &target->lock);
	if (err == 0) {
		err = move_from_fd_v7(call, target, source_fd);
		pthread_mutex_unlock(&target->lock);
	}
	sev_unclaim(target);
	return err;
}

long sev_move_from(struct call *call, struct vm *target, uint64_t source_fd)
{
	struct vm *source;
	int err;

	if (target->object.host->config.profile == PROFILE_V7)
		return move_from_v7(call, target, source_fd);
	err = sev_vm_of_fd(call, source_fd, &source);
	if (err < 0)
		return err;
	err = sev_lock_two(call, target, source);
	if (err == 0) {
		err = move(call, target, source);
		sev_unlock_two(target, source);
	}
	object_put(&source->object);
	return err;
}
