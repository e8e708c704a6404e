// SPDX-License-Identifier: GPL-2.0-or-later
/* host.c - what there is one of in a machine with SEV */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "softkvm/sev/internal.h"

static int load_fuses(const char *path, struct psp_fuses *ret)
{
	autofd fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, sizeof(*ret));

	if (n < 0)
		return -errno;
	return n == sizeof(*ret) && memcmp(ret->magic, PSP_FUSES_MAGIC, sizeof(ret->magic)) == 0
		       ? 0
		       : -EINVAL;
}

/* What misc.capacity says: SEV-ES has the ASIDs below min_sev, SEV the others. */
static void set_capacities(struct sev_host *sev, const struct host_config *config)
{
	uint32_t max = config->max_asid, min = config->min_sev_asid;
	uint64_t *capacity = sev->accounts.capacity;

	capacity[SEV_RESOURCE_SEV] = min <= max ? max - min + 1 : 0;
	capacity[SEV_RESOURCE_SEV_ES] = min - 1 < max ? min - 1 : max;
	if (config->sev_capacity)
		capacity[SEV_RESOURCE_SEV] = config->sev_capacity;
	if (config->sev_es_capacity)
		capacity[SEV_RESOURCE_SEV_ES] = config->sev_es_capacity;
}

struct sev_host *sev_host_new(struct host *host, const struct host_config *config)
{
	autofree struct sev_host *sev = calloc(1, sizeof(*sev));
	int err = 0;

	if (!sev)
		return NULL;
	if (!config->min_sev_asid || config->max_asid >= PSP_ASIDS_MAX)
		err = -EINVAL;
	else if (config->fuses)
		err = load_fuses(config->fuses, &sev->fuses);
	if (err < 0) {
		errno = -err;
		return NULL;
	}
	sev->host = host;
	sev->fault = config->fault;
	sev->asids.max = config->max_asid;
	sev->asids.min_sev = config->min_sev_asid;
	set_capacities(sev, config);
	pthread_mutex_init(&sev->asids.lock, NULL);
	pthread_rwlock_init(&sev->asids.deactivate, NULL);
	pthread_mutex_init(&sev->accounts.lock, NULL);
	pthread_mutex_init(&sev->mirror_lock, NULL);
	pthread_mutex_init(&sev->firmware_lock, NULL);
	return steal_ptr(sev);
}

struct sev_host *sev_host_free(struct sev_host *sev)
{
	if (!sev)
		return NULL;
	if (sev->psp)
		psp_done(sev->psp);
	free(sev->psp);
	sev_accounts_done(&sev->accounts);
	pthread_mutex_destroy(&sev->asids.lock);
	pthread_rwlock_destroy(&sev->asids.deactivate);
	pthread_mutex_destroy(&sev->accounts.lock);
	pthread_mutex_destroy(&sev->mirror_lock);
	pthread_mutex_destroy(&sev->firmware_lock);
	explicit_bzero(sev, sizeof(*sev));
	free(sev);
	return NULL;
}
