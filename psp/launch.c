// SPDX-License-Identifier: GPL-2.0-or-later
/* launch.c - how guests come into being: publication 55766, 6.2 to 6.8, and 6.15 */
#include "psp/state.h"

static enum psp_status check_policy(const struct psp *psp, uint32_t policy,
				    const struct psp_guest *sharer)
{
	uint32_t major = policy >> 16 & 0xff, minor = policy >> 24;

	if (policy & PSP_POLICY_RESERVED) /* it might be something that we ought to heed */
		return PSP_POLICY_FAILURE;
	if ((policy & PSP_POLICY_ES) && !psp->is_es)
		return PSP_POLICY_FAILURE;
	if (major > PSP_API_MAJOR || (major == PSP_API_MAJOR && minor > PSP_API_MINOR))
		return PSP_POLICY_FAILURE;
	if (sharer && (policy != sharer->policy || (policy & PSP_POLICY_NOKS)))
		return PSP_POLICY_FAILURE;
	return PSP_SUCCESS;
}

static struct psp_guest *free_slot(struct psp *psp)
{
	for (uint32_t i = 0; i < PSP_GUESTS_MAX; i++)
		if (!psp->guests[i].handle)
			return &psp->guests[i];
	return NULL;
}

/* A handle is not soon used again: one that is out of date should not name somebody else. */
static uint32_t new_handle(struct psp *psp)
{
	do
		psp->last_handle++;
	while (!psp->last_handle || psp_find(psp, psp->last_handle));
	return psp->last_handle;
}

/* What the guest's owner, or the platform that sends the guest, has wrapped for this platform. */
static enum psp_status open_session(struct psp *psp, const struct psp_cmd_start *c,
				    struct psp_keys *ret)
{
	struct psp_cert *cert = &psp->scratch.peer.pdh;
	struct psp_session session;
	enum psp_status status = psp_fetch(psp, c->cert_address, cert, sizeof(*cert));

	if (status == PSP_SUCCESS)
		status = psp_fetch(psp, c->session_address, &session, sizeof(session));
	return status == PSP_SUCCESS ? psp_session_open(psp, cert, &session, c->policy, ret)
				     : status;
}

static enum psp_status start(struct psp *psp, struct psp_cmd_start *c, enum psp_guest_state state)
{
	const struct psp_guest *sharer = psp_find(psp, c->handle);
	bool has_session = state == PSP_GUEST_RUPDATE || c->cert_address || c->session_address;
	struct psp_guest *guest = free_slot(psp);
	enum psp_status status;

	if (c->handle && !sharer)
		return PSP_INVALID_GUEST;
	if (has_session &&
	    (c->cert_len < sizeof(struct psp_cert) || c->session_len < sizeof(struct psp_session)))
		return PSP_INVALID_LEN;
	if (has_session && (!psp_map(psp, c->cert_address, sizeof(struct psp_cert)) ||
			    !psp_map(psp, c->session_address, sizeof(struct psp_session))))
		return PSP_INVALID_ADDRESS;
	status = check_policy(psp, c->policy, sharer);
	if (status != PSP_SUCCESS)
		return status;
	if (!guest)
		return PSP_RESOURCE_LIMIT;

	/* Without a session nobody knows the keys: the guest cannot be vouched for, but it starts.
	 */
	status = has_session ? open_session(psp, c, &guest->keys)
			     : psp_random(psp, &guest->keys, sizeof(guest->keys));
	if (status == PSP_SUCCESS && sharer)
		memcpy(guest->vek, sharer->vek, sizeof(guest->vek));
	else if (status == PSP_SUCCESS)
		status = psp_random(psp, guest->vek, sizeof(guest->vek));
	if (status != PSP_SUCCESS) {
		psp_wipe(guest, sizeof(*guest));
		return status;
	}
	guest->policy = c->policy;
	guest->state = state;
	psp->crypto->sha256_init(&guest->hash);
	guest->handle = new_handle(psp);
	c->handle = guest->handle;
	psp->state = PSP_PLATFORM_WORKING;
	return PSP_SUCCESS;
}

enum psp_status psp_do_launch_start(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	(void)guest;
	return start(psp, buffer, PSP_GUEST_LUPDATE);
}

enum psp_status psp_do_receive_start(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	(void)guest;
	return start(psp, buffer, PSP_GUEST_RUPDATE);
}

/* Measures and encrypts the same bytes, even if somebody changes memory meanwhile. */
static enum psp_status update(struct psp *psp, struct psp_guest *guest,
			      const struct psp_cmd_range *c)
{
	uint8_t *memory = psp_map(psp, c->address, c->len), *copy = psp->scratch.packet;

	if (!memory)
		return PSP_INVALID_ADDRESS;
	for (uint32_t done = 0, n; done < c->len; done += n) {
		n = c->len - done < PSP_PACKET_MAX ? c->len - done : PSP_PACKET_MAX;
		memcpy(copy, memory + done, n);
		psp->crypto->sha256_update(&guest->hash, copy, n);
		if (psp_cipher(psp, guest, c->address + done, copy, n, true))
			memcpy(memory + done, copy, n);
	}
	return PSP_SUCCESS;
}

enum psp_status psp_do_launch_update_data(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	const struct psp_cmd_range *c = buffer;

	if (!c->len || c->len % PSP_BLOCK_LEN)
		return PSP_INVALID_LEN;
	if (c->address % PSP_BLOCK_LEN)
		return PSP_INVALID_ADDRESS;
	return update(psp, guest, c);
}

enum psp_status psp_do_launch_update_vmsa(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	const struct psp_cmd_range *c = buffer;

	if (c->len != PSP_PAGE_LEN)
		return PSP_INVALID_LEN;
	if (c->address % PSP_PAGE_LEN)
		return PSP_INVALID_ADDRESS;
	if (!(guest->policy & PSP_POLICY_ES))
		return PSP_POLICY_FAILURE;
	return update(psp, guest, c);
}

enum psp_status psp_do_launch_measure(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	static const uint8_t version[3] = {PSP_API_MAJOR, PSP_API_MINOR, PSP_BUILD};
	struct psp_cmd_range *c = buffer;
	bool is_short = c->len < sizeof(struct psp_measurement);
	struct psp_measurement *memory, measurement;
	enum psp_status status;

	c->len = sizeof(measurement);
	if (is_short)
		return PSP_INVALID_LEN;
	memory = psp_map(psp, c->address, sizeof(measurement));
	if (!memory)
		return PSP_INVALID_ADDRESS;
	status = psp_random(psp, measurement.mnonce, sizeof(measurement.mnonce));
	if (status != PSP_SUCCESS)
		return status;
	psp->crypto->sha256_final(&guest->hash, guest->launch_digest);
	psp_measure(psp->crypto, guest->keys.tik, version, guest->policy, guest->launch_digest,
		    measurement.mnonce, measurement.measure);
	memcpy(guest->measure, measurement.measure, sizeof(guest->measure));
	memcpy(memory, &measurement, sizeof(measurement));
	return PSP_SUCCESS;
}

enum psp_status psp_do_launch_secret(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	return psp_packet_open(psp, guest, buffer, PSP_PACKET_SECRET, guest->measure);
}
