// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cgroup.c - the misc controller: Documentation/admin-guide/cgroup-v2.rst, section Misc
 *
 * The groups are the machine's; what is charged and limited is ours, since the machine's misc
 * controller knows nothing of SEV.  A group is in the list as long as there is something to say.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "softkvm/sev/internal.h"

struct sev_account {
	struct sev_account *next;
	uint64_t usage[SEV_RESOURCES], max[SEV_RESOURCES];
	size_t len;
	char path[]; /* not terminated */
};

static enum sev_resource resource_of(bool es)
{
	return es ? SEV_RESOURCE_SEV_ES : SEV_RESOURCE_SEV;
}

/* How much of a path is that of the group above; 0: it was the root's. */
static size_t parent_len(const char *path, size_t len)
{
	if (len <= 1)
		return 0;
	while (len > 1 && path[len - 1] != '/')
		len--;
	return len > 1 ? len - 1 : 1;
}

static struct sev_account *find(struct sev_accounts *accounts, const char *path, size_t len)
{
	struct sev_account *account = accounts->first;

	while (account && (account->len != len || memcmp(account->path, path, len) != 0))
		account = account->next;
	return account;
}

static struct sev_account *find_or_add(struct sev_accounts *accounts, const char *path, size_t len)
{
	struct sev_account *account = find(accounts, path, len);

	if (account)
		return account;
	account = calloc(1, sizeof(*account) + len);
	if (!account)
		return NULL;
	memcpy(account->path, path, len);
	account->len = len;
	for (unsigned i = 0; i < SEV_RESOURCES; i++)
		account->max[i] = UINT64_MAX;
	account->next = accounts->first;
	accounts->first = account;
	return account;
}

static bool is_idle(const struct sev_account *account)
{
	for (unsigned i = 0; i < SEV_RESOURCES; i++)
		if (account->usage[i] || account->max[i] != UINT64_MAX)
			return false;
	return true;
}

static void drop_idle(struct sev_accounts *accounts)
{
	struct sev_account **link = &accounts->first, *account;

	while ((account = *link)) {
		if (is_idle(account)) {
			*link = account->next;
			free(account);
		} else {
			link = &account->next;
		}
	}
}

static int check(struct sev_accounts *accounts, const char *cgroup, enum sev_resource resource)
{
	if (!accounts->capacity[resource])
		return -EINVAL;
	for (size_t len = strlen(cgroup); len; len = parent_len(cgroup, len)) {
		const struct sev_account *account = find_or_add(accounts, cgroup, len);

		if (!account)
			return -ENOMEM;
		if (account->usage[resource] >= account->max[resource] ||
		    account->usage[resource] >= accounts->capacity[resource])
			return -EBUSY;
	}
	return 0;
}

int sev_charge(struct sev_accounts *accounts, const char *cgroup, bool es)
{
	enum sev_resource resource = resource_of(es);
	int err;

	pthread_mutex_lock(&accounts->lock);
	err = check(accounts, cgroup, resource);
	for (size_t len = strlen(cgroup); err == 0 && len; len = parent_len(cgroup, len))
		find(accounts, cgroup, len)->usage[resource]++;
	drop_idle(accounts);
	pthread_mutex_unlock(&accounts->lock);
	return err;
}

void sev_uncharge(struct sev_accounts *accounts, const char *cgroup, bool es)
{
	enum sev_resource resource = resource_of(es);

	pthread_mutex_lock(&accounts->lock);
	for (size_t len = strlen(cgroup); len; len = parent_len(cgroup, len))
		find(accounts, cgroup, len)->usage[resource]--;
	drop_idle(accounts);
	pthread_mutex_unlock(&accounts->lock);
}

int sev_host_limit(struct sev_host *sev, const char *cgroup, bool es, uint64_t max)
{
	struct sev_accounts *accounts = &sev->accounts;
	struct sev_account *account;

	pthread_mutex_lock(&accounts->lock);
	account = find_or_add(accounts, cgroup, strlen(cgroup));
	if (account)
		account->max[resource_of(es)] = max;
	drop_idle(accounts);
	pthread_mutex_unlock(&accounts->lock);
	return account ? 0 : -ENOMEM;
}

uint64_t sev_host_usage(struct sev_host *sev, const char *cgroup, bool es)
{
	struct sev_accounts *accounts = &sev->accounts;
	const struct sev_account *account;
	uint64_t usage;

	pthread_mutex_lock(&accounts->lock);
	account = find(accounts, cgroup, strlen(cgroup));
	usage = account ? account->usage[resource_of(es)] : 0;
	pthread_mutex_unlock(&accounts->lock);
	return usage;
}

void sev_accounts_done(struct sev_accounts *accounts)
{
	while (accounts->first) {
		struct sev_account *account = accounts->first;

		accounts->first = account->next;
		free(account);
	}
}
