// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands for the platform: states, lengths, the chain of certificates, owners. */
#include "machine.h"
#include "owner.h"

#include <openssl/rsa.h>

#include "psp/openssl.h"

#define SIGNED offsetof(struct psp_cert, signature)

static int setup(void **state)
{
	*state = machine_new();
	return 0;
}

static int teardown(void **state)
{
	*state = machine_free(*state);
	return 0;
}

static enum psp_status shutdown(struct machine *m)
{
	return psp_command(m->psp, PSP_SHUTDOWN, NULL);
}

static enum psp_status init(struct machine *m, uint32_t flags)
{
	struct psp_cmd_init c = {flags, 0, PSP_TMR_LEN, PSP_TMR_LEN};

	return psp_command(m->psp, PSP_INIT, &c);
}

static void test_configuration(void **state)
{
	struct machine *m = *state;
	struct psp_config config = {
		.host = m->psp->host, .crypto = &psp_openssl, .max_asid = 8, .min_sev_asid = 4};
	struct psp_fuses fuses = m->psp->fuses;
	void *memory = malloc(psp_size());

	config.fuses = &fuses;
	assert_non_null(psp_init(memory, &config));
	config.max_asid = PSP_ASIDS_MAX;
	assert_null(psp_init(memory, &config));
	config.max_asid = 8;
	config.min_sev_asid = 0;
	assert_null(psp_init(memory, &config));
	config.min_sev_asid = 1;
	fuses.magic[3] ^= 1;
	assert_null(psp_init(memory, &config));
	fuses.magic[3] ^= 1;
	fuses.cek.usage = PSP_USAGE_PEK;
	assert_null(psp_init(memory, &config));
	free(memory);
}

static void test_status(void **state)
{
	struct machine *m = *state;
	struct psp_cmd_platform_status s = platform_status(m);
	uint32_t handle;

	assert_int_equal(s.api_major, 1);
	assert_int_equal(s.api_minor, 55);
	assert_int_equal(s.build, 21);
	assert_int_equal(s.state, PSP_PLATFORM_INIT);
	assert_int_equal(s.flags, 0x100);
	assert_int_equal(s.guest_count, 0);

	handle = launch(m, 0);
	(void)launch(m, 0);
	s = platform_status(m);
	assert_int_equal(s.state, PSP_PLATFORM_WORKING);
	assert_int_equal(s.guest_count, 2);
	assert_int_equal(run(m, PSP_DECOMMISSION, handle), PSP_SUCCESS);
	assert_int_equal(platform_status(m).state, PSP_PLATFORM_WORKING);

	assert_int_equal(shutdown(m), PSP_SUCCESS);
	s = platform_status(m);
	assert_int_equal(s.state, PSP_PLATFORM_UNINIT);
	assert_int_equal(s.flags, 0);
	assert_int_equal(s.guest_count, 0);

	assert_int_equal(init(m, 0), PSP_SUCCESS);
	assert_int_equal(platform_status(m).flags, 0);
	handle = launch(m, 0);
	assert_int_equal(run(m, PSP_DECOMMISSION, handle), PSP_SUCCESS);
	assert_int_equal(platform_status(m).state, PSP_PLATFORM_INIT);
}

/* Each command in each state of the platform, with buffers of zeros. */
static void test_states(void **state)
{
	static const struct {
		uint32_t command;
		bool in_uninit, in_init, in_working;
	} rows[] = {
		{PSP_INIT, true, false, false},
		{PSP_SHUTDOWN, false, true, true},
		{PSP_FACTORY_RESET, true, false, false},
		{PSP_PLATFORM_STATUS, true, true, true},
		{PSP_PEK_GEN, false, true, false},
		{PSP_PEK_CSR, false, true, false},
		{PSP_PEK_CERT_IMPORT, false, true, false},
		{PSP_PDH_CERT_EXPORT, false, true, true},
		{PSP_PDH_GEN, false, true, true},
		{PSP_DF_FLUSH, false, true, true},
		{PSP_DOWNLOAD_FIRMWARE, true, false, false},
		{PSP_GET_ID, true, true, true},
		{PSP_INIT_EX, true, false, false},
		{PSP_DECOMMISSION, false, false, true},
		{PSP_ACTIVATE, false, false, true},
		{PSP_DEACTIVATE, false, false, true},
		{PSP_GUEST_STATUS, false, false, true},
		{PSP_LAUNCH_START, false, true, true},
		{PSP_LAUNCH_UPDATE_DATA, false, false, true},
		{PSP_LAUNCH_UPDATE_VMSA, false, false, true},
		{PSP_LAUNCH_MEASURE, false, false, true},
		{PSP_LAUNCH_SECRET, false, false, true},
		{PSP_LAUNCH_FINISH, false, false, true},
		{PSP_ATTESTATION, false, false, true},
		{PSP_SEND_START, false, false, true},
		{PSP_SEND_UPDATE_DATA, false, false, true},
		{PSP_SEND_UPDATE_VMSA, false, false, true},
		{PSP_SEND_FINISH, false, false, true},
		{PSP_SEND_CANCEL, false, false, true},
		{PSP_RECEIVE_START, false, true, true},
		{PSP_RECEIVE_UPDATE_DATA, false, false, true},
		{PSP_RECEIVE_UPDATE_VMSA, false, false, true},
		{PSP_RECEIVE_FINISH, false, false, true},
		{PSP_DBG_DECRYPT, false, false, true},
		{PSP_DBG_ENCRYPT, false, false, true},
	};
	struct machine *m = *state;
	struct psp *psp = m->psp;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const bool is_allowed[3] = {rows[i].in_uninit, rows[i].in_init, rows[i].in_working};

		for (unsigned s = 0; s < 3; s++) {
			uint8_t buffer[128] = {0};
			enum psp_status status;

			psp->state = (enum psp_platform_state)s;
			status = psp_command(psp, rows[i].command, buffer);
			if ((status != PSP_INVALID_PLATFORM_STATE) != is_allowed[s])
				fail_msg("command 0x%x in state %u: status 0x%x", rows[i].command,
					 s, status);
		}
	}
	for (uint32_t command = 0; command < 0x100; command++) {
		bool is_known = false;

		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
			is_known = is_known || rows[i].command == command;
		if (!is_known)
			assert_int_equal(psp_command(psp, command, NULL), PSP_INVALID_COMMAND);
	}
	psp->state = PSP_PLATFORM_UNINIT;
	assert_int_equal(psp_command(psp, PSP_INIT_EX, NULL), PSP_UNSUPPORTED);
	assert_int_equal(psp_command(psp, PSP_DOWNLOAD_FIRMWARE, NULL), PSP_UNSUPPORTED);
	assert_int_equal(psp_command(psp, PSP_PLATFORM_STATUS, NULL), PSP_INVALID_ADDRESS);
}

static void test_init(void **state)
{
	struct machine *m = *state;
	struct psp_cmd_init c = {PSP_INIT_ES, 0, PSP_TMR_LEN, PSP_TMR_LEN - 1};

	assert_int_equal(shutdown(m), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_INIT, &c), PSP_INVALID_LEN);
	c.tmr_len = PSP_TMR_LEN;
	c.tmr_address += 4096;
	assert_int_equal(psp_command(m->psp, PSP_INIT, &c), PSP_INVALID_ADDRESS);
	c.tmr_address = 0;
	assert_int_equal(psp_command(m->psp, PSP_INIT, &c), PSP_INVALID_ADDRESS);
	c.flags = 2;
	assert_int_equal(psp_command(m->psp, PSP_INIT, &c), PSP_INVALID_PARAM);
	assert_int_equal(platform_status(m).state, PSP_PLATFORM_UNINIT);
	c.flags = 0; /* needs no region */
	assert_int_equal(psp_command(m->psp, PSP_INIT, &c), PSP_SUCCESS);
}

static void test_id(void **state)
{
	struct machine *m = *state;
	struct psp_cmd_export c = {0, 0};

	assert_int_equal(psp_command(m->psp, PSP_GET_ID, &c), PSP_INVALID_LEN);
	assert_int_equal(c.len, 64);
	assert_int_equal(psp_command(m->psp, PSP_GET_ID, &c), PSP_INVALID_ADDRESS);
	c.address = place(m, NULL, 128);
	c.len = 128; /* as the older call of the driver has it: room for two sockets */
	assert_int_equal(psp_command(m->psp, PSP_GET_ID, &c), PSP_SUCCESS);
	assert_int_equal(c.len, 64);
	assert_memory_equal(at(m, c.address), m->psp->fuses.chip_id, 64);
}

static void test_chain(void **state)
{
	struct machine *m = *state;
	struct psp_cert pdh, second;
	struct psp_chain chain, again;

	export_chain(m, &pdh, &chain);
	verify_chain(&m->authorities, &pdh, &chain);

	/* A new PDH, all else as it was. */
	assert_int_equal(psp_command(m->psp, PSP_PDH_GEN, NULL), PSP_SUCCESS);
	export_chain(m, &second, &again);
	verify_chain(&m->authorities, &second, &again);
	assert_memory_equal(&chain, &again, sizeof(chain));
	assert_memory_not_equal(&pdh.ec, &second.ec, sizeof(pdh.ec));

	/* It outlasts a shutdown. */
	assert_int_equal(shutdown(m), PSP_SUCCESS);
	assert_int_equal(init(m, 0), PSP_SUCCESS);
	export_chain(m, &pdh, &again);
	assert_memory_equal(&pdh, &second, sizeof(pdh));

	/* All of it new, but for the chip's. */
	assert_int_equal(psp_command(m->psp, PSP_PEK_GEN, NULL), PSP_SUCCESS);
	export_chain(m, &pdh, &again);
	verify_chain(&m->authorities, &pdh, &again);
	assert_memory_not_equal(&chain.pek.ec, &again.pek.ec, sizeof(chain.pek.ec));
	assert_memory_not_equal(&chain.oca.ec, &again.oca.ec, sizeof(chain.oca.ec));
	assert_memory_equal(&chain.cek, &again.cek, sizeof(chain.cek));

	assert_int_equal(shutdown(m), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_FACTORY_RESET, NULL), PSP_SUCCESS);
	assert_int_equal(init(m, 0), PSP_SUCCESS);
	export_chain(m, &pdh, &chain);
	verify_chain(&m->authorities, &pdh, &chain);
	assert_memory_not_equal(&chain.oca.ec, &again.oca.ec, sizeof(chain.oca.ec));
}

static void test_lengths(void **state)
{
	struct machine *m = *state;
	struct psp_cmd_export csr = {place(m, NULL, 2084), 2083};
	struct psp_cmd_pdh_cert_export c = {.pdh_address = place(m, NULL, 2084),
					    .pdh_len = 2084,
					    .chain_address = place(m, NULL, 6252),
					    .chain_len = 6251};

	assert_int_equal(psp_command(m->psp, PSP_PEK_CSR, &csr), PSP_INVALID_LEN);
	assert_int_equal(csr.len, 2084);
	csr.address = MEMORY_BASE + MEMORY_LEN - 2083;
	assert_int_equal(psp_command(m->psp, PSP_PEK_CSR, &csr), PSP_INVALID_ADDRESS);

	assert_int_equal(psp_command(m->psp, PSP_PDH_CERT_EXPORT, &c), PSP_INVALID_LEN);
	assert_int_equal(c.pdh_len, 2084);
	assert_int_equal(c.chain_len, 6252);
	c.pdh_len = 0;
	assert_int_equal(psp_command(m->psp, PSP_PDH_CERT_EXPORT, &c), PSP_INVALID_LEN);
	assert_int_equal(c.pdh_len, 2084);
	c.chain_address = UINT64_MAX - 100;
	assert_int_equal(psp_command(m->psp, PSP_PDH_CERT_EXPORT, &c), PSP_INVALID_ADDRESS);
	c.chain_address = 0;
	assert_int_equal(psp_command(m->psp, PSP_PDH_CERT_EXPORT, &c), PSP_INVALID_ADDRESS);
}

static enum psp_status import(struct machine *m, const struct psp_cert *pek,
			      const struct psp_cert *oca)
{
	struct psp_cmd_pek_cert_import c = {.pek_address = place(m, pek, sizeof(*pek)),
					    .pek_len = sizeof(*pek),
					    .oca_address = place(m, oca, sizeof(*oca)),
					    .oca_len = sizeof(*oca)};
	enum psp_status status = psp_command(m->psp, PSP_PEK_CERT_IMPORT, &c);

	m->used = 0;
	return status;
}

static void get_csr(struct machine *m, struct psp_cert *ret)
{
	struct psp_cmd_export c = {place(m, NULL, sizeof(*ret)), sizeof(*ret)};

	assert_int_equal(psp_command(m->psp, PSP_PEK_CSR, &c), PSP_SUCCESS);
	memcpy(ret, at(m, c.address), sizeof(*ret));
	m->used = 0;
}

static void test_import(void **state)
{
	struct machine *m = *state;
	struct psp_cert csr, signed_pek, oca, bad, pdh, old_pdh;
	struct psp_chain chain;
	EVP_PKEY *owner = new_ec_key("P-384", &oca, PSP_USAGE_OCA, 2);

	oca.signature[0].usage = PSP_USAGE_OCA;
	oca.signature[0].algo = 2;
	sign_ec(owner, &oca, SIGNED, &oca.signature[0].ecdsa);
	export_chain(m, &old_pdh, &chain);
	get_csr(m, &csr);
	assert_int_equal(csr.version, 1);
	assert_int_equal(csr.usage, PSP_USAGE_PEK);
	assert_int_equal(csr.algo, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(csr.signature[i].usage, PSP_USAGE_NONE);
		assert_int_equal(csr.signature[i].algo, 0);
	}
	assert_memory_equal(&csr, &chain.pek, SIGNED);

	assert_int_equal(import(m, &csr, &oca), PSP_INVALID_CERTIFICATE); /* not signed */
	signed_pek = csr;
	signed_pek.signature[1].usage = PSP_USAGE_OCA; /* in either place */
	signed_pek.signature[1].algo = 2;
	sign_ec(owner, &csr, SIGNED, &signed_pek.signature[1].ecdsa);

	bad = signed_pek;
	bad.signature[1].ecdsa.s[5] ^= 1;
	assert_int_equal(import(m, &bad, &oca), PSP_BAD_SIGNATURE);
	bad = signed_pek;
	bad.api_minor ^= 1;
	assert_int_equal(import(m, &bad, &oca), PSP_INVALID_CERTIFICATE);
	bad = oca;
	bad.signature[0].ecdsa.r[5] ^= 1;
	assert_int_equal(import(m, &signed_pek, &bad), PSP_BAD_SIGNATURE);
	bad = oca;
	bad.version = 2; /* although signed */
	sign_ec(owner, &bad, SIGNED, &bad.signature[0].ecdsa);
	assert_int_equal(import(m, &signed_pek, &bad), PSP_INVALID_CERTIFICATE);
	bad = oca;
	bad.usage = PSP_USAGE_CEK;
	assert_int_equal(import(m, &signed_pek, &bad), PSP_INVALID_CERTIFICATE);
	bad = oca;
	bad.ec.point.x[0] ^= 1; /* no point of the curve */
	assert_int_equal(import(m, &signed_pek, &bad), PSP_INVALID_CERTIFICATE);
	assert_int_equal(platform_status(m).flags & 1, 0);

	assert_int_equal(import(m, &signed_pek, &oca), PSP_SUCCESS);
	assert_int_equal(platform_status(m).flags & 1, 1);
	export_chain(m, &pdh, &chain);
	verify_chain(&m->authorities, &pdh, &chain);
	assert_memory_equal(&chain.oca, &oca, sizeof(oca));
	assert_memory_not_equal(&pdh.ec, &old_pdh.ec, sizeof(pdh.ec));
	assert_int_equal(import(m, &signed_pek, &oca), PSP_ALREADY_OWNED);
	EVP_PKEY_free(owner);

	/* Its own again. */
	assert_int_equal(psp_command(m->psp, PSP_PEK_GEN, NULL), PSP_SUCCESS);
	assert_int_equal(platform_status(m).flags & 1, 0);
	export_chain(m, &pdh, &chain);
	verify_chain(&m->authorities, &pdh, &chain);
}

/* An owner may have RSA. */
static void test_import_rsa(void **state)
{
	struct machine *m = *state;
	EVP_PKEY *owner = EVP_RSA_gen(2048);
	struct psp_cert pek, oca = {.version = 1, .usage = PSP_USAGE_OCA, .algo = 1};
	BIGNUM *n = NULL, *e = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(owner, "n", &n), 1);
	assert_int_equal(EVP_PKEY_get_bn_param(owner, "e", &e), 1);
	oca.rsa.modulus_bits = 2048;
	(void)BN_bn2lebinpad(n, oca.rsa.modulus, PSP_RSA_MAX);
	(void)BN_bn2lebinpad(e, oca.rsa.exponent, PSP_RSA_MAX);
	oca.signature[0].usage = PSP_USAGE_OCA;
	oca.signature[0].algo = 1;
	oca.signature[1].usage = PSP_USAGE_NONE;
	sign_rsa(owner, &oca, SIGNED, oca.signature[0].rsa);
	get_csr(m, &pek);
	pek.signature[0].usage = PSP_USAGE_OCA;
	pek.signature[0].algo = 1;
	sign_rsa(owner, &pek, SIGNED, pek.signature[0].rsa);
	assert_int_equal(import(m, &pek, &oca), PSP_SUCCESS);

	assert_int_equal(psp_command(m->psp, PSP_PEK_GEN, NULL), PSP_SUCCESS);
	get_csr(m, &pek);
	pek.signature[0].usage = PSP_USAGE_OCA;
	pek.signature[0].algo = 1;
	sign_rsa(owner, &pek, SIGNED, pek.signature[0].rsa);
	pek.signature[0].rsa[17] ^= 1;
	assert_int_equal(import(m, &pek, &oca), PSP_BAD_SIGNATURE);
	oca.rsa.modulus_bits = 4096;
	assert_int_equal(import(m, &pek, &oca), PSP_INVALID_CERTIFICATE);
	BN_free(n);
	BN_free(e);
	EVP_PKEY_free(owner);
}

/* A backend without elliptic curves: what needs them says so, what does not works. */
static void test_poor_crypto(void **state)
{
	struct machine *m = *state;
	struct psp_crypto poor = {.sha256_init = psp_openssl.sha256_init,
				  .sha256_update = psp_openssl.sha256_update,
				  .sha256_final = psp_openssl.sha256_final,
				  .aes128 = psp_openssl.aes128};
	struct psp_cmd_export csr = {place(m, NULL, 2084), 2084};
	struct psp_cmd_attestation report = {.address = place(m, NULL, 208), .len = 208};

	m->psp->crypto = &poor;
	assert_int_equal(psp_command(m->psp, PSP_PEK_GEN, NULL), PSP_UNSUPPORTED);
	assert_int_equal(psp_command(m->psp, PSP_PEK_CSR, &csr), PSP_UNSUPPORTED);
	report.handle = launch_running(m, 0, MIN_SEV_ASID);
	assert_int_equal(psp_command(m->psp, PSP_ATTESTATION, &report), PSP_UNSUPPORTED);
	poor.ec_public = psp_openssl.ec_public;
	assert_int_equal(psp_command(m->psp, PSP_ATTESTATION, &report), PSP_UNSUPPORTED);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_configuration, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_states, setup, teardown),
		cmocka_unit_test_setup_teardown(test_init, setup, teardown),
		cmocka_unit_test_setup_teardown(test_id, setup, teardown),
		cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_import, setup, teardown),
		cmocka_unit_test_setup_teardown(test_import_rsa, setup, teardown),
		cmocka_unit_test_setup_teardown(test_poor_crypto, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
