// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * asid.c - address space identifiers: APM volume 2, 15.34.2 and 15.35.2
 *
 * An ASID that was in use cannot be used again before all CPUs have written back their caches
 * (WBINVD) and DF_FLUSH has cleaned the data fabric.  Both take long on hardware, so they are put
 * off until there is no other ASID left; then all that have been given back become free at once.
 * A DEACTIVATE between the two would make DF_FLUSH fail, which is what the lock is for.
 */
#include <errno.h>
#include <string.h>

#include "softkvm/sev/internal.h"

static uint32_t first_of(const struct sev_asids *asids, bool es)
{
	return es ? 1 : asids->min_sev;
}

static uint32_t last_of(const struct sev_asids *asids, bool es)
{
	return es && asids->min_sev - 1 < asids->max ? asids->min_sev - 1 : asids->max;
}

static int flush(struct sev_host *sev)
{
	uint32_t error;
	int err;

	pthread_rwlock_wrlock(&sev->asids.deactivate);
	sev_wbinvd(sev);
	err = sev_firmware(sev, PSP_DF_FLUSH, NULL, NULL, &error);
	pthread_rwlock_unlock(&sev->asids.deactivate);
	return err;
}

static uint32_t find_free(struct sev_asids *asids, bool es)
{
	for (uint32_t i = first_of(asids, es); i <= last_of(asids, es); i++)
		if (!asids->is_used[i])
			return i;
	return 0;
}

/* Makes all free that were given back, if that helps this kind of guest. */
static bool recycle(struct sev_host *sev, bool es)
{
	struct sev_asids *asids = &sev->asids;
	bool is_any = false;

	for (uint32_t i = first_of(asids, es); i <= last_of(asids, es); i++)
		is_any |= asids->is_reclaimable[i];
	if (!is_any || flush(sev) < 0)
		return false;
	for (uint32_t i = 1; i <= asids->max; i++)
		if (asids->is_reclaimable[i])
			asids->is_reclaimable[i] = asids->is_used[i] = false;
	return true;
}

int sev_asid_new(struct sev_host *sev, const char *cgroup, bool es, uint32_t *ret)
{
	struct sev_asids *asids = &sev->asids;
	uint32_t asid;
	int err;

	if (first_of(asids, es) > last_of(asids, es))
		return -ENOTTY;
	err = sev_charge(&sev->accounts, cgroup, es);
	if (err < 0)
		return err;
	pthread_mutex_lock(&asids->lock);
	asid = find_free(asids, es);
	if (!asid && recycle(sev, es))
		asid = find_free(asids, es);
	if (asid)
		asids->is_used[asid] = true;
	pthread_mutex_unlock(&asids->lock);
	if (!asid) {
		sev_uncharge(&sev->accounts, cgroup, es);
		return -EBUSY;
	}
	*ret = asid;
	return 0;
}

void sev_asid_free(struct sev_host *sev, const char *cgroup, bool es, uint32_t asid)
{
	struct sev_asids *asids = &sev->asids;

	pthread_mutex_lock(&asids->lock);
	atomic_store(&asids->key[asid].is_set, false);
	explicit_bzero(asids->key[asid].bytes, sizeof(asids->key[asid].bytes));
	asids->is_reclaimable[asid] = true;
	pthread_mutex_unlock(&asids->lock);
	sev_uncharge(&sev->accounts, cgroup, es);
}

static void decommission(struct sev_host *sev, uint32_t handle)
{
	struct psp_cmd_guest c = {handle};
	uint32_t error;

	(void)sev_firmware(sev, PSP_DECOMMISSION, &c, NULL, &error);
}

int sev_bind(struct sev_host *sev, uint32_t handle, uint32_t asid, uint32_t *ret_error)
{
	struct psp_cmd_activate c = {.handle = handle, .asid = asid};
	int err = sev_firmware(sev, PSP_ACTIVATE, &c, NULL, ret_error);

	if (err < 0)
		decommission(sev, handle);
	return err;
}

void sev_unbind(struct sev_host *sev, uint32_t handle)
{
	struct psp_cmd_guest c = {handle};
	uint32_t error;

	if (!handle)
		return;
	pthread_rwlock_rdlock(&sev->asids.deactivate);
	(void)sev_firmware(sev, PSP_DEACTIVATE, &c, NULL, &error);
	pthread_rwlock_unlock(&sev->asids.deactivate);
	decommission(sev, handle);
}

void sev_asid_set_key(struct sev_host *sev, uint32_t asid)
{
	struct sev_key *key = &sev->asids.key[asid];
	const uint8_t *vek;

	/* A second guest on an ASID has the first one's key, or it would not be there. */
	pthread_mutex_lock(&sev->firmware_lock);
	vek = psp_vek(sev->psp, asid);
	if (vek && !atomic_load(&key->is_set)) {
		memcpy(key->bytes, vek, sizeof(key->bytes));
		atomic_store(&key->is_set, true);
	}
	pthread_mutex_unlock(&sev->firmware_lock);
}

const uint8_t *sev_vek(const struct vm *vm)
{
	const struct sev_key *key;

	if (!vm->sev.active)
		return NULL;
	key = &vm->object.host->sev->asids.key[vm->sev.asid];
	return atomic_load(&key->is_set) ? key->bytes : NULL;
}
