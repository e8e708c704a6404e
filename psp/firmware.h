/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * firmware.h - the firmware's side of the SEV API: commands, their buffers, states, status codes
 *
 * Source: AMD publication 55766, chapters 4 to 6.  Numbers are little-endian, as the only machines
 * that have such a processor are.
 */
#ifndef PSP_FIRMWARE_H
#define PSP_FIRMWARE_H

#include "psp/types.h"

#define PSP_API_MAJOR 1
#define PSP_API_MINOR 55
#define PSP_BUILD     21

enum psp_command_number {
	PSP_INIT = 0x01,
	PSP_SHUTDOWN = 0x02,
	PSP_FACTORY_RESET = 0x03,
	PSP_PLATFORM_STATUS = 0x04,
	PSP_PEK_GEN = 0x05,
	PSP_PEK_CSR = 0x06,
	PSP_PEK_CERT_IMPORT = 0x07,
	PSP_PDH_CERT_EXPORT = 0x08,
	PSP_PDH_GEN = 0x09,
	PSP_DF_FLUSH = 0x0a,
	PSP_DOWNLOAD_FIRMWARE = 0x0b,
	PSP_GET_ID = 0x0c,
	PSP_INIT_EX = 0x0d,
	PSP_DECOMMISSION = 0x20,
	PSP_ACTIVATE = 0x21,
	PSP_DEACTIVATE = 0x22,
	PSP_GUEST_STATUS = 0x23,
	PSP_LAUNCH_START = 0x30,
	PSP_LAUNCH_UPDATE_DATA = 0x31,
	PSP_LAUNCH_UPDATE_VMSA = 0x32,
	PSP_LAUNCH_MEASURE = 0x33,
	PSP_LAUNCH_SECRET = 0x34,
	PSP_LAUNCH_FINISH = 0x35,
	PSP_ATTESTATION = 0x36,
	PSP_SEND_START = 0x40,
	PSP_SEND_UPDATE_DATA = 0x41,
	PSP_SEND_UPDATE_VMSA = 0x42,
	PSP_SEND_FINISH = 0x43,
	PSP_SEND_CANCEL = 0x44,
	PSP_RECEIVE_START = 0x50,
	PSP_RECEIVE_UPDATE_DATA = 0x51,
	PSP_RECEIVE_UPDATE_VMSA = 0x52,
	PSP_RECEIVE_FINISH = 0x53,
	PSP_DBG_DECRYPT = 0x60,
	PSP_DBG_ENCRYPT = 0x61,
};

enum psp_status {
	PSP_SUCCESS = 0x00,
	PSP_INVALID_PLATFORM_STATE = 0x01,
	PSP_INVALID_GUEST_STATE = 0x02,
	PSP_INVALID_CONFIG = 0x03,
	PSP_INVALID_LEN = 0x04,
	PSP_ALREADY_OWNED = 0x05,
	PSP_INVALID_CERTIFICATE = 0x06,
	PSP_POLICY_FAILURE = 0x07,
	PSP_INACTIVE = 0x08,
	PSP_INVALID_ADDRESS = 0x09,
	PSP_BAD_SIGNATURE = 0x0a,
	PSP_BAD_MEASUREMENT = 0x0b,
	PSP_ASID_OWNED = 0x0c,
	PSP_INVALID_ASID = 0x0d,
	PSP_WBINVD_REQUIRED = 0x0e,
	PSP_DFFLUSH_REQUIRED = 0x0f,
	PSP_INVALID_GUEST = 0x10,
	PSP_INVALID_COMMAND = 0x11,
	PSP_ACTIVE = 0x12,
	PSP_HWERROR_PLATFORM = 0x13,
	PSP_HWERROR_UNSAFE = 0x14,
	PSP_UNSUPPORTED = 0x15,
	PSP_INVALID_PARAM = 0x16,
	PSP_RESOURCE_LIMIT = 0x17,
	PSP_SECURE_DATA_INVALID = 0x18,
};

enum psp_platform_state { PSP_PLATFORM_UNINIT, PSP_PLATFORM_INIT, PSP_PLATFORM_WORKING };

enum psp_guest_state {
	PSP_GUEST_UNINIT,
	PSP_GUEST_LUPDATE,
	PSP_GUEST_LSECRET,
	PSP_GUEST_RUNNING,
	PSP_GUEST_SUPDATE,
	PSP_GUEST_RUPDATE,
	PSP_GUEST_SENT,
};

#define PSP_POLICY_NODBG    (1U << 0)
#define PSP_POLICY_NOKS	    (1U << 1)
#define PSP_POLICY_ES	    (1U << 2)
#define PSP_POLICY_NOSEND   (1U << 3)
#define PSP_POLICY_DOMAIN   (1U << 4)
#define PSP_POLICY_SEV	    (1U << 5)
#define PSP_POLICY_RESERVED 0xffc0U

#define PSP_INIT_ES	      (1U << 0) /* in the flags of INIT */
#define PSP_PLATFORM_OWNED    (1U << 0) /* in the flags of PLATFORM_STATUS */
#define PSP_PLATFORM_ES	      (1U << 8)
#define PSP_PACKET_COMPRESSED (1U << 0) /* in the flags of a packet's header */

#define PSP_ID_LEN     64
#define PSP_TMR_LEN    (1U << 20)
#define PSP_PAGE_LEN   4096
#define PSP_BLOCK_LEN  16
#define PSP_PACKET_MAX 0x4000U
#define PSP_NONCE_LEN  16
#define PSP_HASH_LEN   32

#define PSP_PACKED __attribute__((packed))
#define PSP_LAYOUT(type, size, member, offset)                                                     \
	_Static_assert(sizeof(type) == (size) && offsetof(type, member) == (offset), #type)

/* Buffers of commands.  Addresses are system-physical. */

struct psp_cmd_init {
	uint32_t flags;
	uint32_t reserved;
	uint64_t tmr_address;
	uint32_t tmr_len;
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_init, 20, tmr_len, 16);

struct psp_cmd_platform_status {
	uint8_t api_major;
	uint8_t api_minor;
	uint8_t state;
	uint32_t flags;
	uint8_t build;
	uint32_t guest_count;
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_platform_status, 12, flags, 3);

/* PEK_CSR, GET_ID */
struct psp_cmd_export {
	uint64_t address;
	uint32_t len; /* in and out */
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_export, 12, len, 8);

struct psp_cmd_pek_cert_import {
	uint64_t pek_address;
	uint32_t pek_len;
	uint32_t reserved;
	uint64_t oca_address;
	uint32_t oca_len;
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_pek_cert_import, 28, oca_address, 16);

struct psp_cmd_pdh_cert_export {
	uint64_t pdh_address;
	uint32_t pdh_len; /* in and out */
	uint32_t reserved;
	uint64_t chain_address;
	uint32_t chain_len; /* in and out */
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_pdh_cert_export, 28, chain_address, 16);

/* DECOMMISSION, DEACTIVATE, LAUNCH_FINISH, SEND_FINISH, SEND_CANCEL, RECEIVE_FINISH */
struct psp_cmd_guest {
	uint32_t handle;
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_guest, 4, handle, 0);

struct psp_cmd_activate {
	uint32_t handle;
	uint32_t asid;
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_activate, 8, asid, 4);

struct psp_cmd_guest_status {
	uint32_t handle;
	uint32_t policy; /* from here: out */
	uint32_t asid;
	uint8_t state;
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_guest_status, 13, state, 12);

/* LAUNCH_START, RECEIVE_START */
struct psp_cmd_start {
	uint32_t handle; /* in: a guest to share the key with, or 0; out: the new guest */
	uint32_t policy;
	uint64_t cert_address;
	uint32_t cert_len;
	uint32_t reserved;
	uint64_t session_address;
	uint32_t session_len;
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_start, 36, session_address, 24);

/* LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA, LAUNCH_MEASURE */
struct psp_cmd_range {
	uint32_t handle;
	uint32_t reserved;
	uint64_t address;
	uint32_t len; /* of LAUNCH_MEASURE: in and out */
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_range, 20, address, 8);

/*
 * LAUNCH_SECRET, SEND_UPDATE_DATA, SEND_UPDATE_VMSA, RECEIVE_UPDATE_DATA, RECEIVE_UPDATE_VMSA.
 * (Linux has another layout for SEND_UPDATE_VMSA, without the first reserved word, and does not use
 * it.)
 */
struct psp_cmd_packet {
	uint32_t handle;
	uint32_t reserved1;
	uint64_t header_address;
	uint32_t header_len; /* of SEND_UPDATE: in and out, as is trans_len */
	uint32_t reserved2;
	uint64_t guest_address;
	uint32_t guest_len;
	uint32_t reserved3;
	uint64_t trans_address;
	uint32_t trans_len;
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_packet, 52, trans_address, 40);

struct psp_cmd_attestation {
	uint32_t handle;
	uint32_t reserved;
	uint64_t address;
	uint8_t mnonce[PSP_NONCE_LEN];
	uint32_t len; /* in and out */
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_attestation, 36, mnonce, 16);

struct psp_cmd_send_start {
	uint32_t handle;
	uint32_t policy; /* out */
	uint64_t pdh_address;
	uint32_t pdh_len;
	uint32_t reserved1;
	uint64_t chain_address; /* PEK, OCA and CEK of the target */
	uint32_t chain_len;
	uint32_t reserved2;
	uint64_t ca_address; /* ASK and ARK */
	uint32_t ca_len;
	uint32_t reserved3;
	uint64_t session_address;
	uint32_t session_len; /* in and out */
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_send_start, 68, session_address, 56);

struct psp_cmd_dbg {
	uint32_t handle;
	uint32_t reserved;
	uint64_t src_address;
	uint64_t dst_address;
	uint32_t len;
} PSP_PACKED;
PSP_LAYOUT(struct psp_cmd_dbg, 28, dst_address, 16);

/* What the buffers point to. */

struct psp_session {
	uint8_t nonce[PSP_NONCE_LEN];
	uint8_t wrap_tk[32];
	uint8_t wrap_iv[16];
	uint8_t wrap_mac[PSP_HASH_LEN];
	uint8_t policy_mac[PSP_HASH_LEN];
};
PSP_LAYOUT(struct psp_session, 128, policy_mac, 96);

struct psp_measurement {
	uint8_t measure[PSP_HASH_LEN];
	uint8_t mnonce[PSP_NONCE_LEN];
};
PSP_LAYOUT(struct psp_measurement, 48, mnonce, 32);

struct psp_packet_header {
	uint32_t flags;
	uint8_t iv[16];
	uint8_t mac[PSP_HASH_LEN];
};
PSP_LAYOUT(struct psp_packet_header, 52, mac, 20);

/* Certificates: appendix C of the publication. */

enum psp_usage {
	PSP_USAGE_ARK = 0x0,
	PSP_USAGE_ASK = 0x13,
	PSP_USAGE_NONE = 0x1000,
	PSP_USAGE_OCA = 0x1001,
	PSP_USAGE_PEK = 0x1002,
	PSP_USAGE_PDH = 0x1003,
	PSP_USAGE_CEK = 0x1004,
};

enum psp_algo {
	PSP_ALGO_NONE = 0,
	PSP_ALGO_RSA_SHA256 = 1,
	PSP_ALGO_ECDSA_SHA256 = 2,
	PSP_ALGO_ECDH_SHA256 = 3,
};

#define PSP_CURVE_P384	 2U
#define PSP_CERT_VERSION 1U
#define PSP_EC_LEN	 72 /* a number in an EC key or signature: little-endian, zero-padded */
#define PSP_P384_LEN	 48
#define PSP_RSA_MAX	 512
#define PSP_CA_LEN	 256 /* ASK and ARK are RSA-2048 here, with SHA-256 */

struct psp_point {
	uint8_t x[PSP_EC_LEN];
	uint8_t y[PSP_EC_LEN];
};

struct psp_ecdsa {
	uint8_t r[PSP_EC_LEN];
	uint8_t s[PSP_EC_LEN];
};

struct psp_ec_key {
	uint32_t curve;
	struct psp_point point;
};

struct psp_rsa_key {
	uint32_t modulus_bits;
	uint8_t exponent[PSP_RSA_MAX];
	uint8_t modulus[PSP_RSA_MAX];
};

struct psp_signature {
	uint32_t usage; /* of the key that made it */
	uint32_t algo;
	union {
		struct psp_ecdsa ecdsa;
		uint8_t rsa[PSP_RSA_MAX];
	};
};

struct psp_cert {
	uint32_t version;
	uint8_t api_major;
	uint8_t api_minor;
	uint16_t reserved;
	uint32_t usage;
	uint32_t algo;
	union {
		struct psp_ec_key ec;
		struct psp_rsa_key rsa;
	};
	struct psp_signature signature[2]; /* of all before them */
};
PSP_LAYOUT(struct psp_cert, 2084, signature, 1044);

/* The certificate of an authority: ARK or ASK. */
struct psp_ca_cert {
	uint32_t version;
	uint8_t key_id[16];
	uint8_t certifying_id[16];
	uint32_t usage;
	uint8_t reserved[16];
	uint32_t exponent_bits;
	uint32_t modulus_bits;
	uint8_t exponent[PSP_CA_LEN];
	uint8_t modulus[PSP_CA_LEN];
	uint8_t signature[PSP_CA_LEN]; /* of all before it */
};
PSP_LAYOUT(struct psp_ca_cert, 832, exponent, 64);

struct psp_chain {
	struct psp_cert pek;
	struct psp_cert oca;
	struct psp_cert cek;
};
PSP_LAYOUT(struct psp_chain, 6252, cek, 4168);

struct psp_ca_chain {
	struct psp_ca_cert ask;
	struct psp_ca_cert ark;
};
PSP_LAYOUT(struct psp_ca_chain, 1664, ark, 832);

struct psp_report {
	uint8_t mnonce[PSP_NONCE_LEN];
	uint8_t launch_digest[PSP_HASH_LEN];
	uint32_t policy;
	uint32_t signature_usage;
	uint32_t signature_algo;
	uint32_t reserved;
	struct psp_ecdsa signature; /* by the PEK, of all before signature_usage */
};
PSP_LAYOUT(struct psp_report, 208, signature, 64);

#endif
