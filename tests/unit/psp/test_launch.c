// SPDX-License-Identifier: GPL-2.0-or-later
/* Launches by an owner who trusts nobody, and attestation. */
#include "machine.h"
#include "owner.h"

#define DATA_LEN 40000U /* more than the processor takes at a time */

struct fixture {
	struct machine *m;
	struct owner owner;
	struct psp_cert pdh;
	struct psp_chain chain;
	uint8_t data[DATA_LEN - DATA_LEN % 16];
};

static void fill(struct fixture *f, uint32_t policy)
{
	f->m = machine_new();
	export_chain(f->m, &f->pdh, &f->chain);
	machine_forget(f->m);
	owner_init(&f->owner, &f->pdh, policy);
	for (size_t i = 0; i < sizeof(f->data); i++)
		f->data[i] = (uint8_t)(i * 31 + i / 1000);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fill(f, 0x5 /* NODBG, ES */);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	owner_done(&f->owner);
	(void)machine_free(f->m);
	free(f);
	return 0;
}

static struct psp_cmd_start start_command(struct fixture *f)
{
	return (struct psp_cmd_start){
		.policy = f->owner.policy,
		.cert_address = place(f->m, &f->owner.cert, sizeof(f->owner.cert)),
		.cert_len = sizeof(f->owner.cert),
		.session_address = place(f->m, &f->owner.session, sizeof(f->owner.session)),
		.session_len = sizeof(f->owner.session),
	};
}

static uint32_t start(struct fixture *f)
{
	struct psp_cmd_start c = start_command(f);

	assert_int_equal(psp_command(f->m->psp, PSP_LAUNCH_START, &c), PSP_SUCCESS);
	assert_int_equal(activate(f->m, c.handle, 1), PSP_SUCCESS);
	return c.handle;
}

static enum psp_status measure(struct fixture *f, uint32_t handle, struct psp_measurement *ret)
{
	struct psp_cmd_range c = {
		.handle = handle, .address = place(f->m, NULL, sizeof(*ret)), .len = sizeof(*ret)};
	enum psp_status status = psp_command(f->m->psp, PSP_LAUNCH_MEASURE, &c);

	memcpy(ret, at(f->m, c.address), sizeof(*ret));
	return status;
}

static void test_launch(void **state)
{
	struct fixture *f = *state;
	struct machine *m = f->m;
	uint32_t handle = start(f);
	uint64_t memory = place(m, f->data, sizeof(f->data));
	struct psp_cmd_range vmsa = {
		.handle = handle, .address = place(m, NULL, 4096), .len = 4096};
	uint8_t *all = calloc(1, sizeof(f->data) + 4096);
	struct psp_measurement measurement;

	memcpy(all, f->data, sizeof(f->data));
	memset(all + sizeof(f->data), 0xab, 4096);
	memset(at(m, vmsa.address), 0xab, 4096);
	assert_int_equal(update_data(m, handle, memory, 4096), PSP_SUCCESS);
	assert_int_equal(update_data(m, handle, memory + 4096, sizeof(f->data) - 4096),
			 PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_VMSA, &vmsa), PSP_SUCCESS);
	assert_int_equal(guest_status(m, handle).state, PSP_GUEST_LUPDATE);
	/* The host sees other bytes now, everywhere. */
	for (size_t i = 0; i < sizeof(f->data); i += 16)
		assert_memory_not_equal(at(m, memory + i), f->data + i, 16);
	assert_memory_not_equal(at(m, vmsa.address), all + sizeof(f->data), 4096);

	assert_int_equal(measure(f, handle, &measurement), PSP_SUCCESS);
	assert_true(owner_accepts(&f->owner, &measurement, all, sizeof(f->data) + 4096));
	all[1234] ^= 1;
	assert_false(owner_accepts(&f->owner, &measurement, all, sizeof(f->data) + 4096));
	free(all);
}

static void test_measurements_differ(void **state)
{
	struct fixture *f = *state;
	struct psp_measurement first, second;
	uint32_t handle = start(f);

	assert_int_equal(measure(f, handle, &first), PSP_SUCCESS);
	assert_int_equal(measure(f, handle, &second), PSP_INVALID_GUEST_STATE);
	assert_int_equal(run(f->m, PSP_DEACTIVATE, handle), PSP_SUCCESS);
	psp_wbinvd(f->m->psp);
	assert_int_equal(psp_command(f->m->psp, PSP_DF_FLUSH, NULL), PSP_SUCCESS);
	handle = start(f);
	assert_int_equal(measure(f, handle, &second), PSP_SUCCESS);
	assert_memory_not_equal(first.mnonce, second.mnonce, sizeof(first.mnonce));
	assert_memory_not_equal(first.measure, second.measure, sizeof(first.measure));
	assert_true(owner_accepts(&f->owner, &second, "", 0));
}

static void test_measure_lengths(void **state)
{
	struct fixture *f = *state;
	struct psp_cmd_range c = {.handle = start(f)};

	assert_int_equal(psp_command(f->m->psp, PSP_LAUNCH_MEASURE, &c), PSP_INVALID_LEN);
	assert_int_equal(c.len, 48);
	c.len = 47;
	assert_int_equal(psp_command(f->m->psp, PSP_LAUNCH_MEASURE, &c), PSP_INVALID_LEN);
	assert_int_equal(psp_command(f->m->psp, PSP_LAUNCH_MEASURE, &c), PSP_INVALID_ADDRESS);
	assert_int_equal(guest_status(f->m, c.handle).state, PSP_GUEST_LUPDATE);
	c.address = place(f->m, NULL, 48);
	c.len = 100;
	assert_int_equal(psp_command(f->m->psp, PSP_LAUNCH_MEASURE, &c), PSP_SUCCESS);
	assert_int_equal(c.len, 48);
}

static void test_bad_sessions(void **state)
{
	struct fixture *f = *state;
	struct psp_cmd_start c = start_command(f);
	struct psp_cert *cert = at(f->m, c.cert_address);
	struct psp_session *session = at(f->m, c.session_address);
	struct psp_cert p256;
	EVP_PKEY *key;

#define EXPECT(status) assert_int_equal(psp_command(f->m->psp, PSP_LAUNCH_START, &c), status)
	c.cert_len--;
	EXPECT(PSP_INVALID_LEN);
	c.cert_len++;
	c.session_len--;
	EXPECT(PSP_INVALID_LEN);
	c.session_len++;
	c.session_address = 0; /* one without the other */
	EXPECT(PSP_INVALID_ADDRESS);
	c.cert_address = 0;
	c.session_address = MEMORY_BASE + (uint64_t)((uint8_t *)session - f->m->memory);
	EXPECT(PSP_INVALID_ADDRESS);
	c.cert_address = MEMORY_BASE + (uint64_t)((uint8_t *)cert - f->m->memory);
	c.session_address = 12;
	EXPECT(PSP_INVALID_ADDRESS);
	c.session_address = MEMORY_BASE + (uint64_t)((uint8_t *)session - f->m->memory);
	cert->usage = PSP_USAGE_PEK;
	EXPECT(PSP_INVALID_CERTIFICATE);
	cert->usage = PSP_USAGE_PDH;
	cert->algo = 2;
	EXPECT(PSP_INVALID_CERTIFICATE);
	cert->algo = 3;
	cert->ec.point.y[3] ^= 1; /* a point off the curve would tell about the private key */
	EXPECT(PSP_INVALID_CERTIFICATE);
	memset(&cert->ec.point, 0, sizeof(cert->ec.point));
	EXPECT(PSP_INVALID_CERTIFICATE);
	key = new_ec_key("P-256", &p256, PSP_USAGE_PDH, 3);
	*cert = p256;
	EXPECT(PSP_INVALID_CERTIFICATE);
	cert->ec.curve = 2;
	EXPECT(PSP_INVALID_CERTIFICATE);
	*cert = f->owner.cert;
	session->wrap_mac[0] ^= 1;
	EXPECT(PSP_BAD_MEASUREMENT);
	session->wrap_mac[0] ^= 1;
	session->policy_mac[31] ^= 1;
	EXPECT(PSP_BAD_MEASUREMENT);
	session->policy_mac[31] ^= 1;
	c.policy ^= PSP_POLICY_NODBG; /* what the host would like */
	EXPECT(PSP_BAD_MEASUREMENT);
	c.policy ^= PSP_POLICY_NODBG;
	assert_int_equal(platform_status(f->m).guest_count, 0);
	assert_int_equal(platform_status(f->m).state, PSP_PLATFORM_INIT);
	EXPECT(PSP_SUCCESS);

	/* For the platform as it was. */
	assert_int_equal(psp_command(f->m->psp, PSP_PDH_GEN, NULL), PSP_SUCCESS);
	c.handle = 0;
	EXPECT(PSP_BAD_MEASUREMENT);
#undef EXPECT
	EVP_PKEY_free(key);
}

static void test_secret(void **state)
{
	static const char secret[64] = "the key of the guest's disk";
	struct fixture *f = *state;
	struct machine *m = f->m;
	uint8_t wrapped[64];
	struct psp_packet_header header;
	struct psp_measurement measurement;
	struct psp_cmd_packet c = {.handle = start(f),
				   .header_len = sizeof(header),
				   .guest_address = place(m, NULL, 64) + 16,
				   .guest_len = 64,
				   .trans_len = 64};
	const struct psp_guest *guest = psp_find(m->psp, c.handle);
	uint8_t seen[64];

	c.header_address = place(m, NULL, sizeof(header));
	c.trans_address = place(m, NULL, 64);
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_SECRET, &c), PSP_INVALID_GUEST_STATE);
	assert_int_equal(measure(f, c.handle, &measurement), PSP_SUCCESS);
	assert_true(owner_accepts(&f->owner, &measurement, "", 0));
	memcpy(wrapped, secret, sizeof(wrapped));
	owner_wrap(&f->owner, wrapped, sizeof(wrapped), &header);
	memcpy(at(m, c.header_address), &header, sizeof(header));
	memcpy(at(m, c.trans_address), wrapped, sizeof(wrapped));

#define EXPECT(status) assert_int_equal(psp_command(m->psp, PSP_LAUNCH_SECRET, &c), status)
	c.header_len--;
	EXPECT(PSP_INVALID_LEN);
	c.header_len++;
	c.guest_len = 48;
	EXPECT(PSP_INVALID_LEN);
	c.guest_len = c.trans_len = 0;
	EXPECT(PSP_INVALID_LEN);
	c.guest_len = c.trans_len = 56;
	EXPECT(PSP_INVALID_LEN);
	c.guest_len = c.trans_len = PSP_PACKET_MAX + 16;
	EXPECT(PSP_INVALID_LEN);
	c.guest_len = c.trans_len = 48; /* not what was vouched for */
	EXPECT(PSP_BAD_MEASUREMENT);
	c.guest_len = c.trans_len = 64;
	c.guest_address += 8;
	EXPECT(PSP_INVALID_ADDRESS);
	c.guest_address -= 8;
	for (size_t i = 0; i < sizeof(header); i++) {
		((uint8_t *)at(m, c.header_address))[i] ^= 1;
		EXPECT(PSP_BAD_MEASUREMENT);
		((uint8_t *)at(m, c.header_address))[i] ^= 1;
	}
	((uint8_t *)at(m, c.trans_address))[63] ^= 1;
	EXPECT(PSP_BAD_MEASUREMENT);
	((uint8_t *)at(m, c.trans_address))[63] ^= 1;
	/* So far nothing has come to the guest. */
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(((uint8_t *)at(m, c.guest_address))[i], 0);

	EXPECT(PSP_SUCCESS);
	memcpy(seen, at(m, c.guest_address), sizeof(seen));
	assert_memory_not_equal(seen, secret, sizeof(seen));
	m->psp->host->cipher(m, guest->vek, c.guest_address, seen, sizeof(seen), false);
	assert_memory_equal(seen, secret, sizeof(seen));
	EXPECT(PSP_SUCCESS); /* as often as one likes */

	assert_int_equal(run(m, PSP_LAUNCH_FINISH, c.handle), PSP_SUCCESS);
	EXPECT(PSP_INVALID_GUEST_STATE);
#undef EXPECT
}

/* Compressed packets are refused; that they are is vouched for, too. */
static void test_compressed_secret(void **state)
{
	struct fixture *f = *state;
	struct psp_packet_header header = {.flags = PSP_PACKET_COMPRESSED};
	uint8_t packet[16] = {0};
	struct psp_cmd_packet c = {.handle = start(f),
				   .header_len = sizeof(header),
				   .guest_address = place(f->m, NULL, 16),
				   .guest_len = 16,
				   .trans_len = 16};
	struct psp_measurement measurement;

	assert_int_equal(measure(f, c.handle, &measurement), PSP_SUCCESS);
	psp_packet_mac(f->m->psp->crypto, f->owner.tik, PSP_PACKET_SECRET, &header, 16, packet, 16,
		       measurement.measure, header.mac);
	c.header_address = place(f->m, &header, sizeof(header));
	c.trans_address = place(f->m, packet, sizeof(packet));
	assert_int_equal(psp_command(f->m->psp, PSP_LAUNCH_SECRET, &c), PSP_UNSUPPORTED);
}

static void test_attestation(void **state)
{
	struct fixture *f = *state;
	struct machine *m = f->m;
	struct psp_cmd_attestation c = {.handle = start(f)};
	EVP_PKEY *pek = key_of_cert(&f->chain.pek);
	struct psp_measurement measurement;
	struct psp_report report;
	uint8_t digest[32];

	assert_int_equal(update_data(m, c.handle, place(m, f->data, 4096), 4096), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_ATTESTATION, &c), PSP_INVALID_GUEST_STATE);
	assert_int_equal(measure(f, c.handle, &measurement), PSP_SUCCESS);
	assert_int_equal(run(m, PSP_LAUNCH_FINISH, c.handle), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_ATTESTATION, &c), PSP_INVALID_LEN);
	assert_int_equal(c.len, 208);
	assert_int_equal(psp_command(m->psp, PSP_ATTESTATION, &c), PSP_INVALID_ADDRESS);
	c.address = place(m, NULL, sizeof(report));
	memset(c.mnonce, 0x77, sizeof(c.mnonce));
	assert_int_equal(psp_command(m->psp, PSP_ATTESTATION, &c), PSP_SUCCESS);
	memcpy(&report, at(m, c.address), sizeof(report));
	assert_memory_equal(report.mnonce, c.mnonce, sizeof(c.mnonce));
	assert_int_equal(EVP_Digest(f->data, 4096, digest, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(report.launch_digest, digest, sizeof(digest));
	assert_int_equal(report.policy, 5);
	assert_int_equal(report.signature_usage, 0x1002);
	assert_int_equal(report.signature_algo, 2);
	assert_true(is_signed_ec(pek, &report, 52, &report.signature));
	report.policy ^= 1;
	assert_false(is_signed_ec(pek, &report, 52, &report.signature));
	EVP_PKEY_free(pek);
}

/* A machine that cannot decrypt: memory stays as it is, all else is the same. */
static void test_plain_memory(void **state)
{
	struct fixture *f = *state;
	struct psp_host host = *f->m->psp->host;
	uint64_t memory = place(f->m, f->data, 4096);
	struct psp_measurement measurement;
	uint32_t handle;

	host.cipher = NULL;
	f->m->psp->host = &host;
	handle = start(f);
	assert_int_equal(update_data(f->m, handle, memory, 4096), PSP_SUCCESS);
	assert_memory_equal(at(f->m, memory), f->data, 4096);
	assert_int_equal(measure(f, handle, &measurement), PSP_SUCCESS);
	assert_true(owner_accepts(&f->owner, &measurement, f->data, 4096));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_launch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_measurements_differ, setup, teardown),
		cmocka_unit_test_setup_teardown(test_measure_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_sessions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_secret, setup, teardown),
		cmocka_unit_test_setup_teardown(test_compressed_secret, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attestation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plain_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
