// SPDX-License-Identifier: GPL-2.0-or-later
#include "machine.h"

#include "psp/openssl.h"
#include "psp/provision.h"

static void *map(void *opaque, uint64_t address, uint32_t len)
{
	struct machine *m = opaque;

	/* The processor sees to these. */
	assert_true(address && address + len >= address);
	return address >= MEMORY_BASE && len <= MEMORY_LEN &&
			       address - MEMORY_BASE <= MEMORY_LEN - len
		       ? &m->memory[address - MEMORY_BASE]
		       : NULL;
}

static void cipher(void *opaque, const uint8_t vek[PSP_KEY_LEN], uint64_t address, uint8_t *copy,
		   uint32_t len, bool encrypts)
{
	const struct machine *m = opaque;

	if (!m->is_plain)
		psp_xex(&psp_openssl, vek, address / PSP_BLOCK_LEN, copy, len, encrypts);
}

static const struct psp_host host = {map, cipher, psp_openssl_random};

static struct machine *make(const struct psp_fuses *fuses, const struct psp_ca_chain *authorities)
{
	struct psp_config config = {
		.host = &host,
		.crypto = &psp_openssl,
		.fuses = fuses,
		.max_asid = MAX_ASID,
		.min_sev_asid = MIN_SEV_ASID,
	};
	struct psp_cmd_init init = {
		.flags = PSP_INIT_ES, .tmr_address = PSP_TMR_LEN, .tmr_len = PSP_TMR_LEN};
	struct machine *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	config.opaque = m;
	m->authorities = *authorities;
	m->psp = psp_init(malloc(psp_size()), &config);
	assert_non_null(m->psp);
	assert_int_equal(psp_command(m->psp, PSP_INIT, &init), PSP_SUCCESS);
	return m;
}

struct machine *machine_new(void)
{
	static struct psp_ca_chain authorities;
	static struct psp_fuses fuses;

	if (!fuses.magic[0])
		assert_int_equal(psp_provision(&fuses, &authorities), 0);
	return make(&fuses, &authorities);
}

struct machine *machine_new_foreign(void)
{
	struct psp_ca_chain authorities;
	struct psp_fuses fuses;

	assert_int_equal(psp_provision(&fuses, &authorities), 0);
	return make(&fuses, &authorities);
}

struct machine *machine_free(struct machine *m)
{
	if (m) {
		psp_done(m->psp);
		free(m->psp);
		free(m);
	}
	return NULL;
}

uint64_t place(struct machine *m, const void *data, uint32_t len)
{
	uint64_t address = MEMORY_BASE + m->used;

	m->used += (len + PSP_PAGE_LEN - 1) / PSP_PAGE_LEN * PSP_PAGE_LEN;
	assert_true(m->used <= MEMORY_LEN);
	if (data)
		memcpy(at(m, address), data, len);
	return address;
}

void machine_forget(struct machine *m)
{
	m->used = 0;
	memset(m->memory, 0, sizeof(m->memory));
}

void *at(struct machine *m, uint64_t address)
{
	return &m->memory[address - MEMORY_BASE];
}

enum psp_status run(struct machine *m, uint32_t number, uint32_t handle)
{
	struct psp_cmd_guest c = {handle};

	return psp_command(m->psp, number, &c);
}

uint32_t launch(struct machine *m, uint32_t policy)
{
	struct psp_cmd_start c = {.policy = policy};

	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_START, &c), PSP_SUCCESS);
	assert_int_not_equal(c.handle, 0);
	return c.handle;
}

enum psp_status activate(struct machine *m, uint32_t handle, uint32_t asid)
{
	struct psp_cmd_activate c = {handle, asid};

	return psp_command(m->psp, PSP_ACTIVATE, &c);
}

enum psp_status update_data(struct machine *m, uint32_t handle, uint64_t address, uint32_t len)
{
	struct psp_cmd_range c = {.handle = handle, .address = address, .len = len};

	return psp_command(m->psp, PSP_LAUNCH_UPDATE_DATA, &c);
}

uint32_t launch_running(struct machine *m, uint32_t policy, uint32_t asid)
{
	struct psp_cmd_range measure = {.handle = launch(m, policy),
					.address = place(m, NULL, sizeof(struct psp_measurement)),
					.len = sizeof(struct psp_measurement)};

	assert_int_equal(activate(m, measure.handle, asid), PSP_SUCCESS);
	assert_int_equal(psp_command(m->psp, PSP_LAUNCH_MEASURE, &measure), PSP_SUCCESS);
	assert_int_equal(run(m, PSP_LAUNCH_FINISH, measure.handle), PSP_SUCCESS);
	return measure.handle;
}

struct psp_cmd_guest_status guest_status(struct machine *m, uint32_t handle)
{
	struct psp_cmd_guest_status c = {.handle = handle};

	assert_int_equal(psp_command(m->psp, PSP_GUEST_STATUS, &c), PSP_SUCCESS);
	return c;
}

struct psp_cmd_platform_status platform_status(struct machine *m)
{
	struct psp_cmd_platform_status c;

	assert_int_equal(psp_command(m->psp, PSP_PLATFORM_STATUS, &c), PSP_SUCCESS);
	return c;
}

void export_chain(struct machine *m, struct psp_cert *ret_pdh, struct psp_chain *ret_chain)
{
	struct psp_cmd_pdh_cert_export c = {
		.pdh_address = place(m, NULL, sizeof(*ret_pdh)),
		.pdh_len = sizeof(*ret_pdh),
		.chain_address = place(m, NULL, sizeof(*ret_chain)),
		.chain_len = sizeof(*ret_chain),
	};

	assert_int_equal(psp_command(m->psp, PSP_PDH_CERT_EXPORT, &c), PSP_SUCCESS);
	memcpy(ret_pdh, at(m, c.pdh_address), sizeof(*ret_pdh));
	memcpy(ret_chain, at(m, c.chain_address), sizeof(*ret_chain));
}
