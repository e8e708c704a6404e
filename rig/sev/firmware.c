// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * firmware.c - stands in for the firmware of AMD's secure processor
 *
 * Theory of operation.  Every guest goes through the states of its life; commands in the wrong one,
 * and ASIDs of the wrong range, are refused (AMD publication 55766, chapters 5 and 6).
 *
 * Not modelled: encryption, keys, sessions, certificates, secrets.  A measurement is all zeros;
 * commands for debugging, attestation, sending and receiving answer UNSUPPORTED.
 */
#include <linux/psp-sev.h>
#include <linux/string.h>
#include <linux/types.h>
#include <asm/page.h>

#include "firmware.h"

#define GUESTS_MAX  128
#define MEASURE_LEN 48
#define POLICY_ES   BIT(2)

/* Publication 55766, 6.1.6. */
enum guest_state { LUPDATE = 1, LSECRET = 2, RUNNING = 3 };

struct guest {
	bool exists;
	u32 policy;
	u32 asid; /* 0: not active */
	enum guest_state state;
};

static struct guest guests[GUESTS_MAX]; /* handle - 1 is the index */

static struct guest *find(u32 handle)
{
	return handle && handle <= GUESTS_MAX && guests[handle - 1].exists ? &guests[handle - 1]
									   : NULL;
}

static int launch_start(struct sev_data_launch_start *start)
{
	u32 i;

	if (start->handle)
		return SEV_RET_UNSUPPORTED; /* sharing a key with another guest */
	for (i = 0; i < GUESTS_MAX; i++) {
		if (guests[i].exists)
			continue;
		guests[i] =
			(struct guest){.exists = true, .policy = start->policy, .state = LUPDATE};
		start->handle = i + 1;
		return SEV_RET_SUCCESS;
	}
	return SEV_RET_RESOURCE_LIMIT;
}

static int activate(const struct sev_data_activate *a)
{
	struct guest *guest = find(a->handle);
	bool is_es_asid = a->asid < min_sev_asid;
	u32 i;

	if (!guest)
		return SEV_RET_INVALID_GUEST;
	if (guest->asid)
		return SEV_RET_ACTIVE;
	if (!a->asid || a->asid > max_asid || is_es_asid != !!(guest->policy & POLICY_ES))
		return SEV_RET_INVALID_ASID;
	for (i = 0; i < GUESTS_MAX; i++)
		if (guests[i].exists && guests[i].asid == a->asid)
			return SEV_RET_ASID_OWNED;
	guest->asid = a->asid;
	return SEV_RET_SUCCESS;
}

/* A command for a guest that must be active and in one state; the state it is in then. */
static int step(u32 handle, enum guest_state from, enum guest_state to)
{
	struct guest *guest = find(handle);

	if (!guest)
		return SEV_RET_INVALID_GUEST;
	if (guest->state != from)
		return SEV_RET_INVALID_GUEST_STATE;
	if (!guest->asid)
		return SEV_RET_INACTIVE;
	guest->state = to;
	return SEV_RET_SUCCESS;
}

static int launch_measure(struct sev_data_launch_measure *measure)
{
	u32 len = measure->len;
	int status;

	measure->len = MEASURE_LEN;
	if (len < MEASURE_LEN)
		return SEV_RET_INVALID_LEN;
	status = step(measure->handle, LUPDATE, LSECRET);
	if (status == SEV_RET_SUCCESS && measure->address)
		memset(__va(measure->address), 0, MEASURE_LEN);
	return status;
}

static int guest_status(struct sev_data_guest_status *ret)
{
	const struct guest *guest = find(ret->handle);

	if (!guest)
		return SEV_RET_INVALID_GUEST;
	ret->policy = guest->policy;
	ret->asid = guest->asid;
	ret->state = guest->state;
	return SEV_RET_SUCCESS;
}

static int deactivate(const struct sev_data_deactivate *d)
{
	struct guest *guest = find(d->handle);

	if (!guest)
		return SEV_RET_INVALID_GUEST;
	guest->asid = 0;
	return SEV_RET_SUCCESS;
}

static int decommission(const struct sev_data_decommission *d)
{
	struct guest *guest = find(d->handle);

	if (!guest)
		return SEV_RET_INVALID_GUEST;
	if (guest->asid)
		return SEV_RET_ACTIVE;
	guest->exists = false;
	return SEV_RET_SUCCESS;
}

int firmware_command(unsigned int cmd, void *data)
{
	switch (cmd) {
	case SEV_CMD_LAUNCH_START:
		return launch_start(data);
	case SEV_CMD_LAUNCH_UPDATE_DATA:
		return step(((struct sev_data_launch_update_data *)data)->handle, LUPDATE, LUPDATE);
	case SEV_CMD_LAUNCH_UPDATE_VMSA:
		return step(((struct sev_data_launch_update_vmsa *)data)->handle, LUPDATE, LUPDATE);
	case SEV_CMD_LAUNCH_MEASURE:
		return launch_measure(data);
	case SEV_CMD_LAUNCH_FINISH:
		return step(((struct sev_data_launch_finish *)data)->handle, LSECRET, RUNNING);
	case SEV_CMD_GUEST_STATUS:
		return guest_status(data);
	case SEV_CMD_ACTIVATE:
		return activate(data);
	case SEV_CMD_DEACTIVATE:
		return deactivate(data);
	case SEV_CMD_DECOMMISSION:
		return decommission(data);
	case SEV_CMD_DF_FLUSH:
		return SEV_RET_SUCCESS;
	default:
		return SEV_RET_UNSUPPORTED;
	}
}
