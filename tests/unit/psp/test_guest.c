// SPDX-License-Identifier: GPL-2.0-or-later
/* Guests: states, order of checks, ASIDs, keys that are shared, debugging. */
#include "machine.h"

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

/* Each command for a guest in each state of the guest, the rest of its buffer being zeros. */
static void test_states(void **state)
{
	static const struct {
		uint32_t command;
		const char *states; /* by their numbers */
	} rows[] = {
		{PSP_ACTIVATE, "123456"},	{PSP_GUEST_STATUS, "123456"},
		{PSP_LAUNCH_UPDATE_DATA, "1"},	{PSP_LAUNCH_UPDATE_VMSA, "1"},
		{PSP_LAUNCH_MEASURE, "1"},	{PSP_LAUNCH_SECRET, "2"},
		{PSP_LAUNCH_FINISH, "2"},	{PSP_ATTESTATION, "23"},
		{PSP_SEND_START, "3"},		{PSP_SEND_UPDATE_DATA, "4"},
		{PSP_SEND_UPDATE_VMSA, "4"},	{PSP_SEND_FINISH, "4"},
		{PSP_SEND_CANCEL, "4"},		{PSP_RECEIVE_UPDATE_DATA, "5"},
		{PSP_RECEIVE_UPDATE_VMSA, "5"}, {PSP_RECEIVE_FINISH, "5"},
		{PSP_DBG_DECRYPT, "123456"},	{PSP_DBG_ENCRYPT, "123456"},
		{PSP_DEACTIVATE, "123456"},	{PSP_DECOMMISSION, "123456"},
	};
	struct machine *m = *state;

	(void)launch(m, 0); /* one stays */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (unsigned s = 1; s <= 6; s++) {
			uint8_t buffer[128] = {0};
			uint32_t handle = launch(m, 0), unknown = handle + 1000;
			bool is_allowed = strchr(rows[i].states, (int)('0' + s));
			struct psp_guest *guest = psp_find(m->psp, handle);
			enum psp_status status;

			guest->state = (enum psp_guest_state)s;
			memcpy(buffer, &unknown, sizeof(unknown));
			assert_int_equal(psp_command(m->psp, rows[i].command, buffer),
					 PSP_INVALID_GUEST);
			memset(buffer, 0, sizeof(buffer));
			assert_int_equal(psp_command(m->psp, rows[i].command, buffer),
					 PSP_INVALID_GUEST);
			memcpy(buffer, &handle, sizeof(handle));
			guest->asid = 4;
			if (rows[i].command == PSP_DECOMMISSION)
				guest->asid = 0;
			status = psp_command(m->psp, rows[i].command, buffer);
			if ((status != PSP_INVALID_GUEST_STATE) != is_allowed)
				fail_msg("command 0x%x in state %u: status 0x%x", rows[i].command,
					 s, status);
			if (status != PSP_SUCCESS)
				assert_int_equal(guest->state, s);
			guest->asid = 0;
			(void)run(m, PSP_DECOMMISSION, handle);
		}
	}
}

static void test_states_after(void **state)
{
	struct machine *m = *state;
	struct psp_cmd_range measure = {.address = place(m, NULL, 48), .len = 48};
	uint32_t handle = launch(m, 0);
	struct psp_guest *guest = psp_find(m->psp, handle);

	assert_int_equal(activate(m, handle, MIN_SEV_ASID), PSP_SUCCESS);
	assert_int_equal(guest_status(m, handle).state, PSP_GUEST_LUPDATE);
	measure.handle = handle;
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_MEASURE, &measure), PSP_SUCCESS);
	assert_int_equal(guest_status(m, handle).state, PSP_GUEST_LSECRET);
	assert_int_equal(run(m, PSP_LAUNCH_FINISH, handle), PSP_SUCCESS);
	assert_int_equal(guest_status(m, handle).state, PSP_GUEST_RUNNING);
	guest->state = PSP_GUEST_SUPDATE;
	assert_int_equal(run(m, PSP_SEND_CANCEL, handle), PSP_SUCCESS);
	assert_int_equal(guest_status(m, handle).state, PSP_GUEST_RUNNING);
	guest->state = PSP_GUEST_SUPDATE;
	assert_int_equal(run(m, PSP_SEND_FINISH, handle), PSP_SUCCESS);
	assert_int_equal(guest_status(m, handle).state, PSP_GUEST_SENT);
	guest->state = PSP_GUEST_RUPDATE;
	assert_int_equal(run(m, PSP_RECEIVE_FINISH, handle), PSP_SUCCESS);
	assert_int_equal(guest_status(m, handle).state, PSP_GUEST_RUNNING);
}

/* State before activity, activity before parameters, parameters before policy. */
static void test_order(void **state)
{
	struct machine *m = *state;
	struct psp_cmd_range c = {.handle = launch(m, 0), .address = place(m, NULL, 8192) + 8};
	struct psp_cmd_dbg dbg = {.handle = launch(m, PSP_POLICY_NODBG), .len = 8};

	psp_find(m->psp, c.handle)->state = PSP_GUEST_RUNNING;
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_DATA, &c), PSP_INVALID_GUEST_STATE);
	psp_find(m->psp, c.handle)->state = PSP_GUEST_LUPDATE;
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_DATA, &c), PSP_INACTIVE);
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_VMSA, &c), PSP_INACTIVE);
	assert_int_equal(activate(m, c.handle, 5), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_DATA, &c), PSP_INVALID_LEN);
	c.len = 24;
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_DATA, &c), PSP_INVALID_LEN);
	c.len = 16;
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_DATA, &c), PSP_INVALID_ADDRESS);
	c.address = MEMORY_BASE + MEMORY_LEN;
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_DATA, &c), PSP_INVALID_ADDRESS);
	c.address = MEMORY_BASE + 4096;
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_DATA, &c), PSP_SUCCESS);

	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_VMSA, &c), PSP_INVALID_LEN);
	c.len = 4096;
	c.address += 16;
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_VMSA, &c), PSP_INVALID_ADDRESS);
	c.address -= 16;
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_UPDATE_VMSA, &c), PSP_POLICY_FAILURE);

	assert_int_equal(psp_command(m->psp, PSP_DBG_DECRYPT, &dbg), PSP_INACTIVE);
	assert_int_equal(activate(m, dbg.handle, 6), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_DBG_DECRYPT, &dbg), PSP_INVALID_LEN);
	dbg.len = 16;
	dbg.src_address = MEMORY_BASE + 8;
	dbg.dst_address = MEMORY_BASE;
	assert_int_equal(psp_command(m->psp, PSP_DBG_DECRYPT, &dbg), PSP_INVALID_ADDRESS);
	dbg.src_address = MEMORY_BASE;
	dbg.dst_address = MEMORY_BASE + 8;
	assert_int_equal(psp_command(m->psp, PSP_DBG_ENCRYPT, &dbg), PSP_INVALID_ADDRESS);
	dbg.dst_address = MEMORY_BASE + MEMORY_LEN;
	assert_int_equal(psp_command(m->psp, PSP_DBG_ENCRYPT, &dbg), PSP_INVALID_ADDRESS);
	dbg.dst_address = MEMORY_BASE;
	assert_int_equal(psp_command(m->psp, PSP_DBG_DECRYPT, &dbg), PSP_POLICY_FAILURE);
	assert_int_equal(psp_command(m->psp, PSP_DBG_ENCRYPT, &dbg), PSP_POLICY_FAILURE);
}

static void test_policy(void **state)
{
	static const uint32_t bad[] = {1U << 6, 1U << 15, 2U << 16, 1U << 16 | 56U << 24};
	struct machine *m = *state;
	struct psp_cmd_start c;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		c = (struct psp_cmd_start){.policy = bad[i]};
		assert_int_equal(psp_command(m->psp, PSP_LAUNCH_START, &c), PSP_POLICY_FAILURE);
		assert_int_equal(c.handle, 0);
	}
	assert_int_equal(platform_status(m).state, PSP_PLATFORM_INIT);
	(void)launch(m, 1U << 16 | 55U << 24);
	(void)launch(m, 200U << 24); /* of version 0 */
	(void)launch(m, PSP_POLICY_ES);

	/* SEV-ES only if INIT was told so. */
	assert_int_equal(psp_command(m->psp, PSP_SHUTDOWN, NULL), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_INIT, &(struct psp_cmd_init){0}), PSP_SUCCESS);
	c = (struct psp_cmd_start){.policy = PSP_POLICY_ES};
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_START, &c), PSP_POLICY_FAILURE);
}

static void test_slots(void **state)
{
	struct machine *m = *state;
	struct psp_cmd_start c = {0};
	uint32_t first = launch(m, 0), second;

	for (unsigned i = 1; i < PSP_GUESTS_MAX; i++)
		(void)launch(m, 0);
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_START, &c), PSP_RESOURCE_LIMIT);
	assert_int_equal(run(m, PSP_DECOMMISSION, first), PSP_SUCCESS);
	assert_int_equal(run(m, PSP_DECOMMISSION, first), PSP_INVALID_GUEST);
	second = launch(m, 0);
	assert_int_not_equal(first, second); /* who still knows the first does not get the second */

	/* Not zero, and none that is in use, when numbers begin anew. */
	assert_int_equal(run(m, PSP_DECOMMISSION, second), PSP_SUCCESS);
	m->psp->last_handle = UINT32_MAX;
	assert_int_equal(launch(m, 0), 1);
	assert_int_equal(run(m, PSP_DECOMMISSION, 1), PSP_SUCCESS);
	m->psp->last_handle = 1;
	assert_int_equal(launch(m, 0), PSP_GUESTS_MAX + 1);
}

static void test_asids(void **state)
{
	struct machine *m = *state;
	uint32_t sev = launch(m, 0), es = launch(m, PSP_POLICY_ES), other = launch(m, 0);

	assert_int_equal(activate(m, sev, 0), PSP_INVALID_ASID);
	assert_int_equal(activate(m, sev, MIN_SEV_ASID - 1), PSP_INVALID_ASID);
	assert_int_equal(activate(m, sev, MAX_ASID + 1), PSP_INVALID_ASID);
	assert_int_equal(activate(m, es, 0), PSP_INVALID_ASID);
	assert_int_equal(activate(m, es, MIN_SEV_ASID), PSP_INVALID_ASID);
	assert_int_equal(activate(m, es, UINT32_MAX), PSP_INVALID_ASID);
	assert_int_equal(activate(m, sev, MAX_ASID), PSP_SUCCESS);
	assert_int_equal(activate(m, es, MIN_SEV_ASID - 1), PSP_SUCCESS);
	assert_int_equal(guest_status(m, sev).asid, MAX_ASID);
	assert_int_equal(guest_status(m, es).policy, PSP_POLICY_ES);
	assert_int_equal(activate(m, sev, MAX_ASID - 1), PSP_ACTIVE);
	assert_int_equal(activate(m, other, MAX_ASID), PSP_ASID_OWNED);
	assert_int_equal(run(m, PSP_DECOMMISSION, sev), PSP_ACTIVE);

	assert_ptr_equal(psp_vek(m->psp, MAX_ASID), psp_find(m->psp, sev)->vek);
	assert_null(psp_vek(m->psp, MAX_ASID - 1));
	assert_null(psp_vek(m->psp, 0));

	/* The old key may be in caches: not without both flushes, in this order. */
	assert_int_equal(run(m, PSP_DEACTIVATE, sev), PSP_SUCCESS);
	assert_int_equal(guest_status(m, sev).asid, 0);
	assert_int_equal(activate(m, other, MAX_ASID), PSP_DFFLUSH_REQUIRED);
	assert_int_equal(activate(m, sev, MAX_ASID), PSP_DFFLUSH_REQUIRED);
	assert_int_equal(psp_command(m->psp, PSP_DF_FLUSH, NULL), PSP_WBINVD_REQUIRED);
	psp_wbinvd(m->psp);
	assert_int_equal(activate(m, other, MAX_ASID), PSP_DFFLUSH_REQUIRED);
	assert_int_equal(run(m, PSP_DEACTIVATE, es), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_DF_FLUSH, NULL), PSP_WBINVD_REQUIRED);
	psp_wbinvd(m->psp);
	assert_int_equal(psp_command(m->psp, PSP_DF_FLUSH, NULL), PSP_SUCCESS);
	assert_int_equal(activate(m, other, MAX_ASID), PSP_SUCCESS);
	assert_int_equal(activate(m, es, MIN_SEV_ASID - 1), PSP_SUCCESS);

	/* A guest without an ASID leaves none behind. */
	assert_int_equal(run(m, PSP_DEACTIVATE, sev), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_DF_FLUSH, NULL), PSP_SUCCESS);
	assert_int_equal(run(m, PSP_DECOMMISSION, sev), PSP_SUCCESS);

	/* A shutdown takes guests off their ASIDs, too. */
	assert_int_equal(psp_command(m->psp, PSP_SHUTDOWN, NULL), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_INIT, &(struct psp_cmd_init){0}), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_DF_FLUSH, NULL), PSP_WBINVD_REQUIRED);
	assert_int_equal(activate(m, launch(m, 0), MAX_ASID), PSP_DFFLUSH_REQUIRED);
}

static void test_shared_keys(void **state)
{
	struct machine *m = *state;
	uint32_t first = launch(m, 0), secretive = launch(m, PSP_POLICY_NOKS);
	struct psp_cmd_start c = {.handle = 999},
			     noks = {.handle = secretive, .policy = PSP_POLICY_NOKS};
	uint8_t page[64];
	uint64_t a = place(m, NULL, 64), plain = place(m, NULL, 64);
	struct psp_cmd_dbg dbg = {.src_address = a, .dst_address = plain, .len = 64};
	uint32_t second;

	memset(page, 0x5a, sizeof(page));
	memcpy(at(m, a), page, sizeof(page));
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_START, &c), PSP_INVALID_GUEST);
	c.handle = first;
	c.policy = PSP_POLICY_NOSEND;
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_START, &c), PSP_POLICY_FAILURE);
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_START, &noks), PSP_POLICY_FAILURE);
	c.policy = 0;
	assert_int_equal(c.handle, first);
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_START, &c), PSP_SUCCESS);
	second = c.handle;
	assert_int_not_equal(second, first);

	/* Two on one ASID; each sees what the other has encrypted, a third does not. */
	assert_int_equal(activate(m, first, 5), PSP_SUCCESS);
	assert_int_equal(activate(m, second, 5), PSP_SUCCESS);
	assert_int_equal(activate(m, secretive, 5), PSP_ASID_OWNED);
	assert_int_equal(activate(m, secretive, 6), PSP_SUCCESS);
	assert_int_equal(update_data(m, first, a, 64), PSP_SUCCESS);
	assert_memory_not_equal(at(m, a), page, 16);
	dbg.handle = second;
	assert_int_equal(psp_command(m->psp, PSP_DBG_DECRYPT, &dbg), PSP_SUCCESS);
	assert_memory_equal(at(m, plain), page, sizeof(page));
	dbg.handle = secretive;
	assert_int_equal(psp_command(m->psp, PSP_DBG_DECRYPT, &dbg), PSP_SUCCESS);
	assert_memory_not_equal(at(m, plain), page, 16);

	/* What the one has measured the other has not. */
	assert_int_equal(run(m, PSP_DEACTIVATE, first), PSP_SUCCESS);
	assert_int_equal(run(m, PSP_DECOMMISSION, first), PSP_SUCCESS);
	dbg.handle = second;
	assert_int_equal(psp_command(m->psp, PSP_DBG_DECRYPT, &dbg), PSP_SUCCESS);
	assert_memory_equal(at(m, plain), page, sizeof(page));
}

static void test_debugging(void **state)
{
	struct machine *m = *state;
	uint8_t data[20000];
	uint64_t guest = place(m, NULL, sizeof(data)), plain = place(m, NULL, sizeof(data));
	struct psp_cmd_dbg dbg = {.handle = launch_running(m, PSP_POLICY_ES, 2)};

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	memcpy(at(m, plain), data, sizeof(data));
	dbg.src_address = plain;
	dbg.dst_address = guest + 32; /* it is where it will be that matters */
	dbg.len = 19952;
	assert_int_equal(psp_command(m->psp, PSP_DBG_ENCRYPT, &dbg), PSP_SUCCESS);
	assert_memory_not_equal(at(m, guest + 32), data, 16);
	assert_memory_equal(at(m, plain), data, sizeof(data));
	dbg.src_address = guest + 48;
	dbg.dst_address = plain;
	dbg.len -= 16;
	assert_int_equal(psp_command(m->psp, PSP_DBG_DECRYPT, &dbg), PSP_SUCCESS);
	assert_memory_equal(at(m, plain), data + 16, dbg.len);
	/* In place. */
	dbg.src_address = dbg.dst_address = guest + 32;
	assert_int_equal(psp_command(m->psp, PSP_DBG_DECRYPT, &dbg), PSP_SUCCESS);
	assert_memory_equal(at(m, guest + 32), data, dbg.len);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_states, setup, teardown),
		cmocka_unit_test_setup_teardown(test_states_after, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_policy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_asids, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shared_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_debugging, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
