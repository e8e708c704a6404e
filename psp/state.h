/* SPDX-License-Identifier: GPL-2.0-or-later */
/* state.h - what the parts of the processor share; not for others */
#ifndef PSP_STATE_H
#define PSP_STATE_H

#include "psp/psp.h"

#define PSP_GUESTS_MAX 128

/* Transport keys of a guest, in the order in which they are wrapped. */
struct psp_keys {
	uint8_t tek[PSP_KEY_LEN];
	uint8_t tik[PSP_KEY_LEN];
};

struct psp_guest {
	uint32_t handle; /* 0: this slot is free */
	uint32_t policy;
	uint32_t asid; /* 0: not active */
	enum psp_guest_state state;
	uint8_t vek[PSP_KEY_LEN];
	struct psp_keys keys;
	struct psp_sha256 hash;		     /* in LUPDATE */
	uint8_t launch_digest[PSP_HASH_LEN]; /* thereafter; zeros in a guest that was received */
	uint8_t measure[PSP_HASH_LEN];
};

/* What makes a platform the one it is, and FACTORY_RESET forgets. */
struct psp_identity {
	bool exists;
	bool is_owned; /* the OCA is somebody else's */
	uint8_t oca_private[PSP_EC_LEN];
	uint8_t pek_private[PSP_EC_LEN];
	uint8_t pdh_private[PSP_EC_LEN];
	struct psp_cert pdh;
	struct psp_chain chain;
};

struct psp {
	const struct psp_host *host;
	void *opaque;
	const struct psp_crypto *crypto;
	struct psp_fuses fuses;
	uint32_t max_asid;
	uint32_t min_sev_asid;

	enum psp_platform_state state;
	bool is_es;
	struct psp_identity identity;
	struct psp_identity next; /* in the making: in force when it is complete */

	bool needs_wbinvd;		 /* since a guest was last taken off its ASID */
	bool needs_flush[PSP_ASIDS_MAX]; /* by DF_FLUSH, before the ASID is used again */

	uint32_t last_handle;
	struct psp_guest guests[PSP_GUESTS_MAX];

	/* Of one command.  What others can write to is copied here before it is looked at. */
	union {
		struct {
			struct psp_cert pek;
			struct psp_cert oca;
		} import;
		struct {
			struct psp_cert pdh;
			struct psp_chain chain;
			struct psp_ca_chain ca;
		} peer;
		uint8_t packet[PSP_PACKET_MAX];
	} scratch;
};

/* crypt.c */

struct psp_hmac {
	struct psp_sha256 inner;
	uint8_t outer_key[64];
};

void psp_hmac_init(const struct psp_crypto *crypto, struct psp_hmac *hmac, const uint8_t *key,
		   size_t len);
void psp_hmac_update(const struct psp_crypto *crypto, struct psp_hmac *hmac, const void *data,
		     size_t len);
void psp_hmac_final(const struct psp_crypto *crypto, struct psp_hmac *hmac,
		    uint8_t ret[PSP_HASH_LEN]);
void psp_hash(const struct psp_crypto *crypto, const void *data, size_t len,
	      uint8_t ret[PSP_HASH_LEN]);

/* AES-128-CTR; iv is the first counter, big-endian. */
void psp_ctr(const struct psp_crypto *crypto, const uint8_t key[PSP_KEY_LEN], const uint8_t iv[16],
	     uint8_t *data, size_t len);

/* In a time that does not depend on the bytes. */
bool psp_equal(const void *a, const void *b, size_t len);

void psp_wipe(void *data, size_t len);

/* NIST SP 800-108, counter mode.  label_len: with the zero at its end. */
void psp_kdf(const struct psp_crypto *crypto, const uint8_t *key, size_t key_len, const char *label,
	     size_t label_len, const uint8_t *context, size_t context_len,
	     uint8_t ret[PSP_KEY_LEN]);

/* session.c */

/* Keys for the transport from what two platforms share, x of a point, big-endian. */
void psp_session_wrap(const struct psp_crypto *crypto, const uint8_t *shared, size_t shared_len,
		      const struct psp_keys *keys, uint32_t policy, struct psp_session *session);
enum psp_status psp_session_unwrap(const struct psp_crypto *crypto, const uint8_t *shared,
				   size_t shared_len, const struct psp_session *session,
				   uint32_t policy, struct psp_keys *ret);

/* The same between this platform and the owner of a certificate for ECDH. */
enum psp_status psp_session_make(struct psp *psp, const struct psp_cert *peer,
				 const struct psp_keys *keys, uint32_t policy,
				 struct psp_session *ret);
enum psp_status psp_session_open(struct psp *psp, const struct psp_cert *peer,
				 const struct psp_session *session, uint32_t policy,
				 struct psp_keys *ret);

enum psp_packet_kind { PSP_PACKET_SECRET = 1, PSP_PACKET_DATA = 2, PSP_PACKET_VMSA = 3 };

/* measure: NULL but for secrets */
void psp_packet_mac(const struct psp_crypto *crypto, const uint8_t tik[PSP_KEY_LEN],
		    enum psp_packet_kind kind, const struct psp_packet_header *header,
		    uint32_t guest_len, const uint8_t *data, uint32_t trans_len,
		    const uint8_t *measure, uint8_t ret[PSP_HASH_LEN]);

/* version: major, minor, build */
void psp_measure(const struct psp_crypto *crypto, const uint8_t tik[PSP_KEY_LEN],
		 const uint8_t version[3], uint32_t policy, const uint8_t digest[PSP_HASH_LEN],
		 const uint8_t mnonce[PSP_NONCE_LEN], uint8_t ret[PSP_HASH_LEN]);

/* cert.c */

/* A new key pair, and a certificate without signatures. */
enum psp_status psp_cert_make(struct psp *psp, enum psp_usage usage, enum psp_algo algo,
			      uint8_t ret_private[PSP_EC_LEN], struct psp_cert *ret);
enum psp_status psp_cert_sign(struct psp *psp, struct psp_cert *cert, unsigned int slot,
			      enum psp_usage signer, const uint8_t private[PSP_EC_LEN]);

/* Is it well-formed, with an EC key of this usage and algorithm? */
bool psp_cert_is(const struct psp_cert *cert, enum psp_usage usage, enum psp_algo algo);

/* The signature in it that names the signer's usage and algorithm, or NULL. */
const struct psp_signature *psp_cert_signature(const struct psp_cert *cert,
					       const struct psp_cert *signer);

/* That signature is the signer's. */
enum psp_status psp_cert_verify(struct psp *psp, const struct psp_cert *cert,
				const struct psp_cert *signer);

/* An OCA's certificate: of any algorithm, signed by itself. */
enum psp_status psp_cert_verify_oca(struct psp *psp, const struct psp_cert *oca);

/* What scratch.peer says of a platform holds from its PDH up to its ARK, whoever's that is. */
enum psp_status psp_chain_verify(struct psp *psp);

/* psp.c */

/* Memory, or NULL.  Others can change what is there at any time. */
void *psp_map(struct psp *psp, uint64_t address, uint32_t len);
enum psp_status psp_fetch(struct psp *psp, uint64_t address, void *ret, uint32_t len);
enum psp_status psp_store(struct psp *psp, uint64_t address, const void *data, uint32_t len);
enum psp_status psp_random(struct psp *psp, void *ret, size_t len);
/* false: this machine has plain memory */
bool psp_cipher(struct psp *psp, const struct psp_guest *guest, uint64_t address, uint8_t *copy,
		uint32_t len, bool encrypts);
struct psp_guest *psp_find(struct psp *psp, uint32_t handle);

/* platform.c: makes the identity if there is none yet. */
enum psp_status psp_identify(struct psp *psp);

/*
 * Commands: what psp.c calls after the states of platform and guest have been checked.  guest is
 * NULL in commands that do not name one.
 */
typedef enum psp_status psp_handler(struct psp *psp, struct psp_guest *guest, void *buffer);

/* platform.c */
psp_handler psp_do_init, psp_do_shutdown, psp_do_factory_reset, psp_do_platform_status,
	psp_do_pek_gen, psp_do_pek_csr, psp_do_pek_cert_import, psp_do_pdh_cert_export,
	psp_do_pdh_gen, psp_do_df_flush, psp_do_get_id;

/* guest.c */
psp_handler psp_do_decommission, psp_do_activate, psp_do_deactivate, psp_do_guest_status,
	psp_do_attestation, psp_do_dbg_decrypt, psp_do_dbg_encrypt;

/* launch.c */
psp_handler psp_do_launch_start, psp_do_launch_update_data, psp_do_launch_update_vmsa,
	psp_do_launch_measure, psp_do_launch_secret, psp_do_receive_start;

/* migrate.c */
psp_handler psp_do_send_start, psp_do_send_update_data, psp_do_send_update_vmsa,
	psp_do_receive_update_data, psp_do_receive_update_vmsa;

/* A packet, once it is known to be what the holder of the TIK made, into the guest's memory. */
enum psp_status psp_packet_open(struct psp *psp, struct psp_guest *guest,
				const struct psp_cmd_packet *c, enum psp_packet_kind kind,
				const uint8_t *measure);

/* LAUNCH_FINISH, SEND_FINISH, SEND_CANCEL, RECEIVE_FINISH: no packets any more. */
psp_handler psp_do_finish;

#endif
