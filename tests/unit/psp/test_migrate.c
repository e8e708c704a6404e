// SPDX-License-Identifier: GPL-2.0-or-later
/* Guests from one platform to another. */
#include "machine.h"
#include "owner.h"

#define PAGES 5U

struct fixture {
	struct machine *source, *target;
	struct psp_cert pdh, source_pdh;
	struct psp_chain chain, source_chain;
	uint8_t data[PAGES * 4096];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->source = machine_new();
	f->target = machine_new();
	export_chain(f->target, &f->pdh, &f->chain);
	export_chain(f->source, &f->source_pdh, &f->source_chain);
	machine_forget(f->source);
	machine_forget(f->target);
	for (size_t i = 0; i < sizeof(f->data); i++)
		f->data[i] = (uint8_t)(i * 13 + i / 777);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)machine_free(f->source);
	(void)machine_free(f->target);
	free(f);
	return 0;
}

static struct psp_cmd_send_start send_start_command(struct fixture *f, uint32_t handle)
{
	struct machine *m = f->source;

	return (struct psp_cmd_send_start){
		.handle = handle,
		.pdh_address = place(m, &f->pdh, sizeof(f->pdh)),
		.pdh_len = sizeof(f->pdh),
		.chain_address = place(m, &f->chain, sizeof(f->chain)),
		.chain_len = sizeof(f->chain),
		.ca_address = place(m, &f->target->authorities, sizeof(f->target->authorities)),
		.ca_len = sizeof(f->target->authorities),
		.session_address = place(m, NULL, sizeof(struct psp_session)),
		.session_len = sizeof(struct psp_session),
	};
}

static enum psp_status send_start(struct fixture *f, uint32_t handle, struct psp_session *ret)
{
	uint32_t used = f->source->used;
	struct psp_cmd_send_start c = send_start_command(f, handle);
	enum psp_status status = psp_command(f->source->psp, PSP_SEND_START, &c);

	if (ret)
		memcpy(ret, at(f->source, c.session_address), sizeof(*ret));
	f->source->used = used;
	return status;
}

static uint32_t receive_start(struct fixture *f, const struct psp_session *session, uint32_t policy)
{
	struct psp_cmd_start c = {
		.policy = policy,
		.cert_address = place(f->target, &f->source_pdh, sizeof(f->source_pdh)),
		.cert_len = sizeof(f->source_pdh),
		.session_address = place(f->target, session, sizeof(*session)),
		.session_len = sizeof(*session),
	};

	assert_int_equal(psp_command(f->target->psp, PSP_RECEIVE_START, &c), PSP_SUCCESS);
	return c.handle;
}

/* One page, by kinds of commands, over what would be the network. */
static enum psp_status move(struct fixture *f, uint32_t kind, struct psp_cmd_packet *from,
			    struct psp_cmd_packet *to)
{
	assert_int_equal(psp_command(f->source->psp, PSP_SEND_UPDATE_DATA + kind, from),
			 PSP_SUCCESS);
	memcpy(at(f->target, to->header_address), at(f->source, from->header_address), 52);
	memcpy(at(f->target, to->trans_address), at(f->source, from->trans_address), 4096);
	return psp_command(f->target->psp, PSP_RECEIVE_UPDATE_DATA + kind, to);
}

static struct psp_cmd_packet packet_command(struct machine *m, uint32_t handle, uint64_t address)
{
	return (struct psp_cmd_packet){.handle = handle,
				       .header_address = place(m, NULL, 52),
				       .header_len = 52,
				       .guest_address = address,
				       .guest_len = 4096,
				       .trans_address = place(m, NULL, 4096),
				       .trans_len = 4096};
}

static void test_round_trip(void **state)
{
	struct fixture *f = *state;
	uint32_t policy = PSP_POLICY_ES | PSP_POLICY_SEV;
	uint64_t from = place(f->source, f->data, sizeof(f->data)), plain;
	uint64_t to = place(f->target, NULL, sizeof(f->data));
	uint32_t handle = launch(f->source, policy), received;
	struct psp_cmd_range measure = {
		.handle = handle, .address = place(f->source, NULL, 48), .len = 48};
	struct psp_cmd_packet send, receive;
	struct psp_session session;
	struct psp_cmd_dbg dbg;

	assert_int_equal(activate(f->source, handle, 1), PSP_SUCCESS);
	assert_int_equal(update_data(f->source, handle, from, sizeof(f->data)), PSP_SUCCESS);
	assert_int_equal(psp_command(f->source->psp, PSP_LAUNCH_MEASURE, &measure), PSP_SUCCESS);
	assert_int_equal(run(f->source, PSP_LAUNCH_FINISH, handle), PSP_SUCCESS);

	assert_int_equal(send_start(f, handle, &session), PSP_SUCCESS);
	assert_int_equal(guest_status(f->source, handle).state, PSP_GUEST_SUPDATE);
	received = receive_start(f, &session, policy);
	assert_int_equal(guest_status(f->target, received).state, PSP_GUEST_RUPDATE);
	assert_int_equal(activate(f->target, received, 3), PSP_SUCCESS);

	send = packet_command(f->source, handle, from);
	receive = packet_command(f->target, received, to);
	for (unsigned i = 0; i < PAGES; i++) {
		send.guest_address = from + 4096ULL * i;
		receive.guest_address = to + 4096ULL * i;
		/* The last one is a VMSA. */
		assert_int_equal(move(f, i == PAGES - 1, &send, &receive), PSP_SUCCESS);
		assert_memory_not_equal(at(f->source, send.trans_address), f->data + 4096 * i, 16);
	}
	assert_int_equal(run(f->source, PSP_SEND_FINISH, handle), PSP_SUCCESS);
	assert_int_equal(guest_status(f->source, handle).state, PSP_GUEST_SENT);
	assert_int_equal(run(f->target, PSP_RECEIVE_FINISH, received), PSP_SUCCESS);
	assert_int_equal(guest_status(f->target, received).state, PSP_GUEST_RUNNING);
	assert_int_equal(guest_status(f->target, received).policy, policy);

	/* It has another key there, and the same contents. */
	assert_memory_not_equal(at(f->target, to), at(f->source, from), 16);
	assert_memory_not_equal(at(f->target, to), f->data, 16);
	plain = place(f->target, NULL, sizeof(f->data));
	dbg = (struct psp_cmd_dbg){received, 0, to, plain, sizeof(f->data)};
	assert_int_equal(psp_command(f->target->psp, PSP_DBG_DECRYPT, &dbg), PSP_SUCCESS);
	assert_memory_equal(at(f->target, plain), f->data, sizeof(f->data));
	assert_int_equal(run(f->source, PSP_DEACTIVATE, handle), PSP_SUCCESS);
	assert_int_equal(run(f->source, PSP_DECOMMISSION, handle), PSP_SUCCESS);
}

static void test_cancelled(void **state)
{
	struct fixture *f = *state;
	uint32_t handle = launch_running(f->source, 0, MIN_SEV_ASID);
	struct psp_session first, second;
	struct psp_cmd_packet send =
		packet_command(f->source, handle, place(f->source, NULL, 4096));

	assert_int_equal(send_start(f, handle, &first), PSP_SUCCESS);
	assert_int_equal(run(f->source, PSP_SEND_CANCEL, handle), PSP_SUCCESS);
	assert_int_equal(psp_command(f->source->psp, PSP_SEND_UPDATE_DATA, &send),
			 PSP_INVALID_GUEST_STATE);
	assert_int_equal(send_start(f, handle, &second), PSP_SUCCESS);
	assert_memory_not_equal(&first, &second, sizeof(first));
}

static void test_lengths(void **state)
{
	struct fixture *f = *state;
	struct machine *m = f->source;
	uint32_t handle = launch_running(m, 0, MIN_SEV_ASID);
	struct psp_cmd_send_start c = {.handle = handle};
	struct psp_cmd_packet send, large = {.handle = handle, .guest_len = PSP_PACKET_MAX + 16};

	assert_int_equal(psp_command(m->psp, PSP_SEND_START, &c), PSP_INVALID_LEN);
	assert_int_equal(c.session_len, 128);
	assert_int_equal(c.policy, 0);
#define EXPECT(status) assert_int_equal(psp_command(m->psp, PSP_SEND_START, &c), status)
	c = send_start_command(f, handle);
	c.pdh_len--;
	EXPECT(PSP_INVALID_LEN);
	c.pdh_len++;
	c.chain_len--;
	EXPECT(PSP_INVALID_LEN);
	c.chain_len++;
	c.ca_len--;
	EXPECT(PSP_INVALID_LEN);
	c.ca_len++;
	c.session_address = 0;
	EXPECT(PSP_INVALID_ADDRESS);
#undef EXPECT
	assert_int_equal(guest_status(m, handle).state, PSP_GUEST_RUNNING);
	assert_int_equal(send_start(f, handle, NULL), PSP_SUCCESS);
	m->used = 0x8000;
	send = packet_command(m, handle, place(m, NULL, 8192));
#define EXPECT(status) assert_int_equal(psp_command(m->psp, PSP_SEND_UPDATE_DATA, &send), status)
	send.header_len = 0;
	send.trans_len = 0;
	EXPECT(PSP_INVALID_LEN);
	assert_int_equal(send.header_len, 52);
	assert_int_equal(send.trans_len, 4096);
	send.guest_address += 8;
	EXPECT(PSP_INVALID_ADDRESS);
	send.guest_address -= 8;
	send.trans_address = 0;
	EXPECT(PSP_INVALID_ADDRESS);
	send.guest_len = 8;
	EXPECT(PSP_INVALID_LEN);
#undef EXPECT
	large.header_len = 52;
	large.trans_len = large.guest_len;
	assert_int_equal(psp_command(m->psp, PSP_SEND_UPDATE_DATA, &large), PSP_INVALID_LEN);
	send = packet_command(m, handle, MEMORY_BASE + 16);
	assert_int_equal(psp_command(m->psp, PSP_SEND_UPDATE_VMSA, &send), PSP_INVALID_ADDRESS);
	send.guest_len = 8192;
	send.trans_len = 8192;
	assert_int_equal(psp_command(m->psp, PSP_SEND_UPDATE_VMSA, &send), PSP_INVALID_LEN);
	send = packet_command(m, handle, MEMORY_BASE);
	assert_int_equal(psp_command(m->psp, PSP_SEND_UPDATE_VMSA, &send), PSP_POLICY_FAILURE);
	assert_int_equal(run(m, PSP_DEACTIVATE, handle), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_SEND_UPDATE_DATA, &send), PSP_INACTIVE);
}

static void test_packets_are_vouched_for(void **state)
{
	struct fixture *f = *state;
	uint32_t handle = launch_running(f->source, PSP_POLICY_ES, 1), received;
	struct psp_session session;
	struct psp_cmd_packet send, receive;
	uint64_t to = place(f->target, NULL, 4096);

	assert_int_equal(send_start(f, handle, &session), PSP_SUCCESS);
	received = receive_start(f, &session, PSP_POLICY_ES);
	send = packet_command(f->source, handle, place(f->source, f->data, 4096));
	receive = packet_command(f->target, received, to);
	assert_int_equal(move(f, 0, &send, &receive), PSP_INACTIVE);
	assert_int_equal(activate(f->target, received, 1), PSP_SUCCESS);
	/* A page of data is no VMSA. */
	assert_int_equal(psp_command(f->target->psp, PSP_RECEIVE_UPDATE_VMSA, &receive),
			 PSP_BAD_MEASUREMENT);
	((uint8_t *)at(f->target, receive.trans_address))[100] ^= 1;
	assert_int_equal(psp_command(f->target->psp, PSP_RECEIVE_UPDATE_DATA, &receive),
			 PSP_BAD_MEASUREMENT);
	((uint8_t *)at(f->target, receive.trans_address))[100] ^= 1;
	for (size_t i = 0; i < 4096; i++)
		assert_int_equal(((uint8_t *)at(f->target, to))[i], 0);
	assert_int_equal(psp_command(f->target->psp, PSP_RECEIVE_UPDATE_DATA, &receive),
			 PSP_SUCCESS);
	receive.trans_len -= 16;
	assert_int_equal(psp_command(f->target->psp, PSP_RECEIVE_UPDATE_DATA, &receive),
			 PSP_INVALID_LEN);
}

static void test_receive_needs_a_session(void **state)
{
	struct fixture *f = *state;
	struct psp_cmd_start c = {0};

	assert_int_equal(psp_command(f->target->psp, PSP_RECEIVE_START, &c), PSP_INVALID_LEN);
	assert_int_equal(platform_status(f->target).guest_count, 0);
}

/* Each link of the target's chain, broken. */
static void test_bad_chains(void **state)
{
	struct fixture *f = *state;
	uint32_t handle = launch_running(f->source, 0, MIN_SEV_ASID);
	struct psp_signature *const signatures[] = {
		&f->pdh.signature[0], &f->chain.pek.signature[0], &f->chain.pek.signature[1],
		&f->chain.oca.signature[0], &f->chain.cek.signature[0]};
	struct psp_ca_chain *ca = &f->target->authorities;
	struct machine *other;

	for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
		signatures[i]->rsa[3] ^= 1;
		assert_int_equal(send_start(f, handle, NULL), PSP_BAD_SIGNATURE);
		signatures[i]->rsa[3] ^= 1;
		signatures[i]->usage = PSP_USAGE_NONE;
		assert_int_equal(send_start(f, handle, NULL), PSP_INVALID_CERTIFICATE);
		export_chain(f->target, &f->pdh, &f->chain);
		f->target->used = 0;
	}
	ca->ark.signature[7] ^= 1;
	assert_int_equal(send_start(f, handle, NULL), PSP_BAD_SIGNATURE);
	ca->ark.signature[7] ^= 1;
	ca->ask.signature[7] ^= 1;
	assert_int_equal(send_start(f, handle, NULL), PSP_BAD_SIGNATURE);
	ca->ask.signature[7] ^= 1;
	ca->ask.certifying_id[0] ^= 1;
	assert_int_equal(send_start(f, handle, NULL), PSP_INVALID_CERTIFICATE);
	ca->ask.certifying_id[0] ^= 1;
	ca->ark.usage = PSP_USAGE_ASK;
	assert_int_equal(send_start(f, handle, NULL), PSP_INVALID_CERTIFICATE);
	ca->ark.usage = PSP_USAGE_ARK;
	f->chain.cek.usage = PSP_USAGE_PEK;
	assert_int_equal(send_start(f, handle, NULL), PSP_INVALID_CERTIFICATE);
	f->chain.cek.usage = PSP_USAGE_CEK;

	/* The PDH of another platform. */
	other = machine_new();
	export_chain(other, &f->pdh, &f->source_chain);
	(void)machine_free(other);
	assert_int_equal(send_start(f, handle, NULL), PSP_BAD_SIGNATURE);
	assert_int_equal(guest_status(f->source, handle).state, PSP_GUEST_RUNNING);
}

static void test_policies(void **state)
{
	struct fixture *f = *state;
	uint32_t nosend = launch_running(f->source, PSP_POLICY_NOSEND, 4);
	uint32_t domain = launch_running(f->source, PSP_POLICY_DOMAIN, 5);
	uint32_t sev = launch_running(f->source, PSP_POLICY_SEV, 6);
	uint32_t free_one = launch_running(f->source, 0, 7);

	assert_int_equal(send_start(f, nosend, NULL), PSP_POLICY_FAILURE);
	assert_int_equal(send_start(f, domain, NULL), PSP_POLICY_FAILURE);
	/* Under the same owner: the source's own certificates do. */
	f->chain = f->source_chain;
	f->pdh = f->source_pdh;
	assert_int_equal(send_start(f, domain, NULL), PSP_SUCCESS);
	assert_int_equal(send_start(f, sev, NULL), PSP_SUCCESS);

	/* A chain that holds, but not from the same root. */
	(void)machine_free(f->target);
	f->target = machine_new_foreign();
	export_chain(f->target, &f->pdh, &f->chain);
	assert_int_equal(run(f->source, PSP_SEND_CANCEL, sev), PSP_SUCCESS);
	assert_int_equal(send_start(f, sev, NULL), PSP_POLICY_FAILURE);
	assert_int_equal(send_start(f, free_one, NULL), PSP_SUCCESS);
}

static void test_no_rsa(void **state)
{
	struct fixture *f = *state;
	struct psp_crypto poor = *f->source->psp->crypto;
	uint32_t handle = launch_running(f->source, 0, MIN_SEV_ASID);

	poor.rsa_verify = NULL;
	f->source->psp->crypto = &poor;
	assert_int_equal(send_start(f, handle, NULL), PSP_UNSUPPORTED);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_packets_are_vouched_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_needs_a_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_chains, setup, teardown),
		cmocka_unit_test_setup_teardown(test_policies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_rsa, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
