// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * session.c - what is said between a platform and whoever trusts it
 *
 * The two have a secret in common: x of the point that ECDH yields.  From it and a nonce come a key
 * that wraps the transport keys (KEK) and one that vouches for the wrapping (KIK).  The transport
 * keys then encrypt (TEK) and vouch for (TIK) packets and the measurement.  Publication 55766, 2.2
 * and 6.5.
 */
#include "psp/state.h"

static void derive(const struct psp_crypto *crypto, const uint8_t *shared, size_t shared_len,
		   const uint8_t nonce[PSP_NONCE_LEN], uint8_t ret_kek[PSP_KEY_LEN],
		   uint8_t ret_kik[PSP_KEY_LEN])
{
	static const char master_label[] = "sev-master-secret", kek[] = "sev-kek",
			  kik[] = "sev-kik";
	uint8_t master[PSP_KEY_LEN];

	psp_kdf(crypto, shared, shared_len, master_label, sizeof(master_label), nonce,
		PSP_NONCE_LEN, master);
	psp_kdf(crypto, master, sizeof(master), kek, sizeof(kek), NULL, 0, ret_kek);
	psp_kdf(crypto, master, sizeof(master), kik, sizeof(kik), NULL, 0, ret_kik);
	psp_wipe(master, sizeof(master));
}

static void mac(const struct psp_crypto *crypto, const uint8_t key[PSP_KEY_LEN], const void *data,
		size_t len, uint8_t ret[PSP_HASH_LEN])
{
	struct psp_hmac hmac;

	psp_hmac_init(crypto, &hmac, key, PSP_KEY_LEN);
	psp_hmac_update(crypto, &hmac, data, len);
	psp_hmac_final(crypto, &hmac, ret);
}

void psp_session_wrap(const struct psp_crypto *crypto, const uint8_t *shared, size_t shared_len,
		      const struct psp_keys *keys, uint32_t policy, struct psp_session *session)
{
	uint8_t kek[PSP_KEY_LEN], kik[PSP_KEY_LEN];

	derive(crypto, shared, shared_len, session->nonce, kek, kik);
	memcpy(session->wrap_tk, keys, sizeof(session->wrap_tk));
	psp_ctr(crypto, kek, session->wrap_iv, session->wrap_tk, sizeof(session->wrap_tk));
	mac(crypto, kik, session->wrap_tk, sizeof(session->wrap_tk), session->wrap_mac);
	mac(crypto, keys->tik, &policy, sizeof(policy), session->policy_mac);
	psp_wipe(kek, sizeof(kek));
	psp_wipe(kik, sizeof(kik));
}

enum psp_status psp_session_unwrap(const struct psp_crypto *crypto, const uint8_t *shared,
				   size_t shared_len, const struct psp_session *session,
				   uint32_t policy, struct psp_keys *ret)
{
	uint8_t kek[PSP_KEY_LEN], kik[PSP_KEY_LEN], expected[PSP_HASH_LEN];
	enum psp_status status = PSP_BAD_MEASUREMENT;
	struct psp_keys keys;

	derive(crypto, shared, shared_len, session->nonce, kek, kik);
	mac(crypto, kik, session->wrap_tk, sizeof(session->wrap_tk), expected);
	if (psp_equal(expected, session->wrap_mac, sizeof(expected))) {
		memcpy(&keys, session->wrap_tk, sizeof(keys));
		psp_ctr(crypto, kek, session->wrap_iv, (uint8_t *)&keys, sizeof(keys));
		mac(crypto, keys.tik, &policy, sizeof(policy), expected);
		if (psp_equal(expected, session->policy_mac, sizeof(expected))) {
			*ret = keys;
			status = PSP_SUCCESS;
		}
		psp_wipe(&keys, sizeof(keys));
	}
	psp_wipe(kek, sizeof(kek));
	psp_wipe(kik, sizeof(kik));
	return status;
}

/* What this platform and the peer share, as the KDF takes it. */
static enum psp_status share(struct psp *psp, const struct psp_cert *peer,
			     uint8_t ret[PSP_P384_LEN])
{
	uint8_t x[PSP_EC_LEN];
	enum psp_status status;

	if (!psp->crypto->ecdh)
		return PSP_UNSUPPORTED;
	if (!psp_cert_is(peer, PSP_USAGE_PDH, PSP_ALGO_ECDH_SHA256))
		return PSP_INVALID_CERTIFICATE;
	status = psp_identify(psp);
	if (status == PSP_SUCCESS)
		status = psp->crypto->ecdh(psp->identity.pdh_private, &peer->ec.point, x);
	if (status != PSP_SUCCESS)
		return status;
	for (size_t i = 0; i < PSP_P384_LEN; i++)
		ret[i] = x[PSP_P384_LEN - 1 - i];
	psp_wipe(x, sizeof(x));
	return PSP_SUCCESS;
}

enum psp_status psp_session_make(struct psp *psp, const struct psp_cert *peer,
				 const struct psp_keys *keys, uint32_t policy,
				 struct psp_session *ret)
{
	uint8_t shared[PSP_P384_LEN];
	struct psp_session session;
	enum psp_status status = share(psp, peer, shared);

	if (status == PSP_SUCCESS)
		status = psp_random(psp, session.nonce, sizeof(session.nonce));
	if (status == PSP_SUCCESS)
		status = psp_random(psp, session.wrap_iv, sizeof(session.wrap_iv));
	if (status != PSP_SUCCESS)
		return status;
	psp_session_wrap(psp->crypto, shared, sizeof(shared), keys, policy, &session);
	psp_wipe(shared, sizeof(shared));
	*ret = session;
	return PSP_SUCCESS;
}

enum psp_status psp_session_open(struct psp *psp, const struct psp_cert *peer,
				 const struct psp_session *session, uint32_t policy,
				 struct psp_keys *ret)
{
	uint8_t shared[PSP_P384_LEN];
	enum psp_status status = share(psp, peer, shared);

	if (status != PSP_SUCCESS)
		return status;
	status = psp_session_unwrap(psp->crypto, shared, sizeof(shared), session, policy, ret);
	psp_wipe(shared, sizeof(shared));
	return status;
}

void psp_packet_mac(const struct psp_crypto *crypto, const uint8_t tik[PSP_KEY_LEN],
		    enum psp_packet_kind kind, const struct psp_packet_header *header,
		    uint32_t guest_len, const uint8_t *data, uint32_t trans_len,
		    const uint8_t *measure, uint8_t ret[PSP_HASH_LEN])
{
	uint8_t context = (uint8_t)kind;
	struct psp_hmac hmac;

	psp_hmac_init(crypto, &hmac, tik, PSP_KEY_LEN);
	psp_hmac_update(crypto, &hmac, &context, sizeof(context));
	psp_hmac_update(crypto, &hmac, &header->flags, sizeof(header->flags));
	psp_hmac_update(crypto, &hmac, header->iv, sizeof(header->iv));
	psp_hmac_update(crypto, &hmac, &guest_len, sizeof(guest_len));
	psp_hmac_update(crypto, &hmac, &trans_len, sizeof(trans_len));
	psp_hmac_update(crypto, &hmac, data, trans_len);
	if (measure)
		psp_hmac_update(crypto, &hmac, measure, PSP_HASH_LEN);
	psp_hmac_final(crypto, &hmac, ret);
}

void psp_measure(const struct psp_crypto *crypto, const uint8_t tik[PSP_KEY_LEN],
		 const uint8_t version[3], uint32_t policy, const uint8_t digest[PSP_HASH_LEN],
		 const uint8_t mnonce[PSP_NONCE_LEN], uint8_t ret[PSP_HASH_LEN])
{
	static const uint8_t context = 4;
	struct psp_hmac hmac;

	psp_hmac_init(crypto, &hmac, tik, PSP_KEY_LEN);
	psp_hmac_update(crypto, &hmac, &context, sizeof(context));
	psp_hmac_update(crypto, &hmac, version, 3);
	psp_hmac_update(crypto, &hmac, &policy, sizeof(policy));
	psp_hmac_update(crypto, &hmac, digest, PSP_HASH_LEN);
	psp_hmac_update(crypto, &hmac, mnonce, PSP_NONCE_LEN);
	psp_hmac_final(crypto, &hmac, ret);
}
