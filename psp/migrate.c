// SPDX-License-Identifier: GPL-2.0-or-later
/* migrate.c - packets for a guest, and guests that change platforms: publication 55766, 6.9 to 6.17
 */
#include "psp/state.h"

static enum psp_status check_guest_range(const struct psp_cmd_packet *c, enum psp_packet_kind kind)
{
	uint32_t alignment = kind == PSP_PACKET_VMSA ? PSP_PAGE_LEN : PSP_BLOCK_LEN;

	if (!c->guest_len || c->guest_len % alignment || c->guest_len > PSP_PACKET_MAX)
		return PSP_INVALID_LEN;
	if (kind == PSP_PACKET_VMSA && c->guest_len != PSP_PAGE_LEN)
		return PSP_INVALID_LEN;
	return c->guest_address % alignment ? PSP_INVALID_ADDRESS : PSP_SUCCESS;
}

enum psp_status psp_packet_open(struct psp *psp, struct psp_guest *guest,
				const struct psp_cmd_packet *c, enum psp_packet_kind kind,
				const uint8_t *measure)
{
	uint8_t *packet = psp->scratch.packet, *memory, mac[PSP_HASH_LEN];
	struct psp_packet_header header;
	enum psp_status status;

	if (c->header_len < sizeof(header) || c->trans_len != c->guest_len)
		return PSP_INVALID_LEN;
	status = check_guest_range(c, kind);
	if (status == PSP_SUCCESS)
		status = psp_fetch(psp, c->header_address, &header, sizeof(header));
	if (status == PSP_SUCCESS)
		status = psp_fetch(psp, c->trans_address, packet, c->trans_len);
	if (status != PSP_SUCCESS)
		return status;
	memory = psp_map(psp, c->guest_address, c->guest_len);
	if (!memory)
		return PSP_INVALID_ADDRESS;
	if (kind == PSP_PACKET_VMSA && !(guest->policy & PSP_POLICY_ES))
		return PSP_POLICY_FAILURE;
	psp_packet_mac(psp->crypto, guest->keys.tik, kind, &header, c->guest_len, packet,
		       c->trans_len, measure, mac);
	if (!psp_equal(mac, header.mac, sizeof(mac)))
		return PSP_BAD_MEASUREMENT;
	if (header.flags & PSP_PACKET_COMPRESSED)
		return PSP_UNSUPPORTED;
	psp_ctr(psp->crypto, guest->keys.tek, header.iv, packet, c->guest_len);
	(void)psp_cipher(psp, guest, c->guest_address, packet, c->guest_len, true);
	memcpy(memory, packet, c->guest_len);
	psp_wipe(packet, c->guest_len); /* where nothing is encrypted, it is plain */
	return PSP_SUCCESS;
}

enum psp_status psp_do_receive_update_data(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	return psp_packet_open(psp, guest, buffer, PSP_PACKET_DATA, NULL);
}

enum psp_status psp_do_receive_update_vmsa(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	return psp_packet_open(psp, guest, buffer, PSP_PACKET_VMSA, NULL);
}

/* May the guest go to the platform of scratch.peer? */
static enum psp_status check_target(struct psp *psp, const struct psp_guest *guest)
{
	const struct psp_cert *oca = &psp->scratch.peer.chain.oca, *own = &psp->identity.chain.oca;
	uint8_t root_hash[PSP_HASH_LEN];
	enum psp_status status = psp_chain_verify(psp);

	if (status != PSP_SUCCESS)
		return status;
	if ((guest->policy & PSP_POLICY_DOMAIN) &&
	    (oca->algo != own->algo || memcmp(&oca->rsa, &own->rsa, sizeof(own->rsa)) != 0))
		return PSP_POLICY_FAILURE;
	psp_hash(psp->crypto, &psp->scratch.peer.ca.ark, sizeof(psp->scratch.peer.ca.ark),
		 root_hash);
	if ((guest->policy & PSP_POLICY_SEV) &&
	    !psp_equal(root_hash, psp->fuses.root_hash, sizeof(root_hash)))
		return PSP_POLICY_FAILURE;
	return PSP_SUCCESS;
}

enum psp_status psp_do_send_start(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	struct psp_cmd_send_start *c = buffer;
	bool is_short = c->session_len < sizeof(struct psp_session);
	struct psp_session session;
	enum psp_status status;
	struct psp_keys keys;

	c->policy = guest->policy;
	c->session_len = sizeof(session);
	if (is_short || c->pdh_len < sizeof(psp->scratch.peer.pdh) ||
	    c->chain_len < sizeof(psp->scratch.peer.chain) ||
	    c->ca_len < sizeof(psp->scratch.peer.ca))
		return PSP_INVALID_LEN;
	if (!psp_map(psp, c->session_address, sizeof(session)))
		return PSP_INVALID_ADDRESS;
	status = psp_fetch(psp, c->pdh_address, &psp->scratch.peer.pdh,
			   sizeof(psp->scratch.peer.pdh));
	if (status == PSP_SUCCESS)
		status = psp_fetch(psp, c->chain_address, &psp->scratch.peer.chain,
				   sizeof(psp->scratch.peer.chain));
	if (status == PSP_SUCCESS)
		status = psp_fetch(psp, c->ca_address, &psp->scratch.peer.ca,
				   sizeof(psp->scratch.peer.ca));
	if (status != PSP_SUCCESS)
		return status;
	if (guest->policy & PSP_POLICY_NOSEND)
		return PSP_POLICY_FAILURE;
	status = psp_identify(psp);
	if (status == PSP_SUCCESS)
		status = check_target(psp, guest);
	if (status == PSP_SUCCESS)
		status = psp_random(psp, &keys, sizeof(keys));
	if (status == PSP_SUCCESS)
		status = psp_session_make(psp, &psp->scratch.peer.pdh, &keys, guest->policy,
					  &session);
	if (status == PSP_SUCCESS)
		status = psp_store(psp, c->session_address, &session, sizeof(session));
	if (status == PSP_SUCCESS)
		guest->keys = keys;
	psp_wipe(&keys, sizeof(keys));
	return status;
}

static enum psp_status send(struct psp *psp, const struct psp_guest *guest,
			    struct psp_cmd_packet *c, enum psp_packet_kind kind)
{
	bool is_short =
		c->header_len < sizeof(struct psp_packet_header) || c->trans_len < c->guest_len;
	struct psp_packet_header header = {0};
	uint8_t *packet = psp->scratch.packet;
	enum psp_status status;

	c->header_len = sizeof(header);
	c->trans_len = c->guest_len;
	if (is_short)
		return PSP_INVALID_LEN;
	status = check_guest_range(c, kind);
	if (status != PSP_SUCCESS)
		return status;
	if (!psp_map(psp, c->header_address, sizeof(header)) ||
	    !psp_map(psp, c->trans_address, c->trans_len))
		return PSP_INVALID_ADDRESS;
	status = psp_fetch(psp, c->guest_address, packet, c->guest_len);
	if (status != PSP_SUCCESS)
		return status;
	if (kind == PSP_PACKET_VMSA && !(guest->policy & PSP_POLICY_ES))
		return PSP_POLICY_FAILURE;
	status = psp_random(psp, header.iv, sizeof(header.iv));
	if (status != PSP_SUCCESS)
		return status;
	(void)psp_cipher(psp, guest, c->guest_address, packet, c->guest_len, false);
	psp_ctr(psp->crypto, guest->keys.tek, header.iv, packet, c->guest_len);
	psp_packet_mac(psp->crypto, guest->keys.tik, kind, &header, c->guest_len, packet,
		       c->trans_len, NULL, header.mac);
	(void)psp_store(psp, c->header_address, &header, sizeof(header));
	return psp_store(psp, c->trans_address, packet, c->trans_len);
}

enum psp_status psp_do_send_update_data(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	return send(psp, guest, buffer, PSP_PACKET_DATA);
}

enum psp_status psp_do_send_update_vmsa(struct psp *psp, struct psp_guest *guest, void *buffer)
{
	return send(psp, guest, buffer, PSP_PACKET_VMSA);
}
