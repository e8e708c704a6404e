/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * psp.h - an AMD secure processor in software: what SEV and SEV-ES ask of it
 *
 * The same sources are compiled into user space programs and into a kernel module.  They allocate
 * nothing, use no floating point and little stack; whoever calls them sees to it that only one call
 * is made at a time.  SEV-SNP is not there.
 */
#ifndef PSP_PSP_H
#define PSP_PSP_H

#include "psp/firmware.h"

#define PSP_KEY_LEN   16
#define PSP_ASIDS_MAX 512

/* A hash in the making, in the crypto's own representation. */
struct psp_sha256 {
	uint64_t opaque[16];
};

/*
 * Cryptography.  Numbers of elliptic curves are P-384's, little-endian as in certificates, those of
 * RSA little-endian too.  The functions that return a status may be NULL: what would have to call
 * them answers UNSUPPORTED.
 */
struct psp_crypto {
	void (*sha256_init)(struct psp_sha256 *hash);
	void (*sha256_update)(struct psp_sha256 *hash, const void *data, size_t len);
	void (*sha256_final)(struct psp_sha256 *hash, uint8_t ret[PSP_HASH_LEN]);

	/* AES-128 of each block for itself, in place */
	void (*aes128)(const uint8_t key[PSP_KEY_LEN], bool encrypts, uint8_t *blocks,
		       size_t n_blocks);

	/* INVALID_PARAM if private is no private key; else its public key */
	enum psp_status (*ec_public)(const uint8_t private[PSP_EC_LEN], struct psp_point *ret);

	/* INVALID_CERTIFICATE if peer is no public key; else x of the shared point */
	enum psp_status (*ecdh)(const uint8_t private[PSP_EC_LEN], const struct psp_point *peer,
				uint8_t ret_x[PSP_EC_LEN]);

	enum psp_status (*ecdsa_sign)(const uint8_t private[PSP_EC_LEN],
				      const uint8_t hash[PSP_HASH_LEN], struct psp_ecdsa *ret);

	/* INVALID_CERTIFICATE if public is no public key, BAD_SIGNATURE */
	enum psp_status (*ecdsa_verify)(const struct psp_point *public,
					const uint8_t hash[PSP_HASH_LEN],
					const struct psp_ecdsa *signature);

	/* RSASSA-PSS, MGF1 and hash SHA-256, salt as long as the hash; numbers of len bytes */
	enum psp_status (*rsa_verify)(const uint8_t *modulus, const uint8_t *exponent, size_t len,
				      const uint8_t hash[PSP_HASH_LEN], const uint8_t *signature);
};

/* The machine around it. */
struct psp_host {
	/* Where len bytes of memory at a system-physical address are to be found; NULL: there is
	 * none. */
	void *(*map)(void *opaque, uint64_t address, uint32_t len);

	/*
	 * The memory controller: what is in memory at address becomes what a guest with this key
	 * sees there, or the other way round, in a copy.  address and len are multiples of 16.
	 * NULL: memory of guests is not encrypted in this machine.
	 */
	void (*cipher)(void *opaque, const uint8_t vek[PSP_KEY_LEN], uint64_t address,
		       uint8_t *copy, uint32_t len, bool encrypts);

	/* 0, or anything else: there are none */
	int (*random)(void *opaque, void *ret, size_t len);
};

/* What is burnt into a chip, made by psp/provision.h. */
struct psp_fuses {
	uint8_t magic[8];
	uint8_t chip_id[PSP_ID_LEN];
	uint8_t root_hash[PSP_HASH_LEN]; /* SHA-256 of the root's certificate, the ARK's */
	uint8_t cek_private[PSP_EC_LEN];
	struct psp_cert cek; /* signed by the ASK */
};
PSP_LAYOUT(struct psp_fuses, 2260, cek, 176);

#define PSP_FUSES_MAGIC "VMRFUSE1"

struct psp_config {
	const struct psp_host *host;
	void *opaque; /* for host */
	const struct psp_crypto *crypto;
	const struct psp_fuses *fuses; /* copied */
	uint32_t max_asid;	       /* as CPUID 0x8000001f tells it: ECX */
	uint32_t min_sev_asid;	       /* EDX: smaller ones are for SEV-ES */
};

struct psp;

/* How much memory a processor needs, aligned as for uint64_t. */
size_t psp_size(void);

/* Makes one in memory, UNINIT; NULL if the configuration makes no sense. */
struct psp *psp_init(void *memory, const struct psp_config *config);

/* Wipes it. */
void psp_done(struct psp *psp);

/* Executes a command; buffer is what the publication calls the command buffer, or NULL. */
enum psp_status psp_command(struct psp *psp, uint32_t number, void *buffer);

/* The machine has written back and invalidated all its caches: DF_FLUSH asks for that. */
void psp_wbinvd(struct psp *psp);

/* The key that memory is encrypted with for this ASID, or NULL if no guest is active there. */
const uint8_t *psp_vek(const struct psp *psp, uint32_t asid);

/*
 * A cipher for struct psp_host: AES-128 in XEX mode.  block: number of the first 16 bytes among all
 * that are in memory.  It must stay with the memory as long as there is anything encrypted in it,
 * so it is no virtual address.
 */
void psp_xex(const struct psp_crypto *crypto, const uint8_t vek[PSP_KEY_LEN], uint64_t block,
	     uint8_t *data, size_t len, bool encrypts);

#endif
