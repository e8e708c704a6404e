// SPDX-License-Identifier: GPL-2.0-or-later
/* test_device.c - /dev/sev */
#include <errno.h>
#include <linux/psp-sev.h>

#include "fixture.h"

#define WRITABLE 5

static int setup_device(void **state)
{
	struct fixture *f;

	setup(state);
	f = *state;
	f->call.fd[WRITABLE] = sev_device_open(&f->m->host, true);
	return 0;
}

static struct sev_user_data_status status_of(struct fixture *f)
{
	struct sev_user_data_status status;

	assert_int_equal(device(&f->call, SEV_FD, SEV_PLATFORM_STATUS, &status, NULL), 0);
	return status;
}

static void test_ioctl(void **state)
{
	struct fixture *f = *state;
	struct object *object = f->call.fd[SEV_FD];
	struct sev_issue_cmd cmd = {.cmd = SEV_MAX};
	uint32_t error = 9;

	assert_int_equal(object->ops->ioctl(object, &f->call, SEV_ISSUE_CMD + 1, BAD_ADDRESS),
			 -EINVAL);
	assert_int_equal(object->ops->ioctl(object, &f->call, SEV_ISSUE_CMD, BAD_ADDRESS), -EFAULT);
	assert_int_equal(object->ops->ioctl(object, &f->call, SEV_ISSUE_CMD, (uintptr_t)&cmd),
			 -EINVAL);
	for (uint32_t i = SEV_MAX; i < SEV_MAX + 5; i++)
		assert_int_equal(device(&f->call, WRITABLE, i, NULL, &error), -EINVAL);
	assert_int_equal(device(&f->call, WRITABLE, UINT32_MAX, NULL, &error), -EINVAL);
	assert_int_equal(error, 9);
}

static void test_status(void **state)
{
	struct fixture *f = *state;
	struct sev_user_data_status status = status_of(f);
	struct vm *vm;

	/* The driver has initialised the platform, for SEV-ES, too. */
	assert_int_equal(status.state, PSP_PLATFORM_INIT);
	assert_int_equal(status.flags, PSP_PLATFORM_ES);
	assert_int_equal(status.api_major, PSP_API_MAJOR);
	assert_int_equal(status.build, PSP_BUILD);
	vm = sev_vm(&f->call, 1);
	assert_int_equal(status_of(f).state, PSP_PLATFORM_WORKING);
	assert_int_equal(status_of(f).guest_count, 1);
	vm_close(vm);
	assert_int_equal(status_of(f).state, PSP_PLATFORM_INIT);
	assert_int_equal(device(&f->call, SEV_FD, SEV_PLATFORM_STATUS, NULL, NULL), -EFAULT);
}

static void test_write_access(void **state)
{
	static const uint32_t writing[] = {SEV_FACTORY_RESET, SEV_PEK_GEN, SEV_PEK_CSR, SEV_PDH_GEN,
					   SEV_PEK_CERT_IMPORT};
	struct fixture *f = *state;
	uint32_t error = 9;

	for (unsigned i = 0; i < ARRAY_SIZE(writing); i++)
		assert_int_equal(device(&f->call, SEV_FD, writing[i], NULL, &error), -EPERM);
	assert_int_equal(error, 9);
}

static void test_factory_reset(void **state)
{
	struct fixture *f = *state;
	struct sev_user_data_pdh_cert_export export = {0};
	struct vm *vm = sev_vm(&f->call, 1);
	uint32_t error = 0;

	assert_int_equal(device(&f->call, WRITABLE, SEV_FACTORY_RESET, NULL, NULL), -EBUSY);
	vm_close(vm);
	assert_int_equal(device(&f->call, WRITABLE, SEV_FACTORY_RESET, NULL, NULL), 0);
	assert_int_equal(status_of(f).state, PSP_PLATFORM_UNINIT);
	/* Now INIT is for who may write, or starts a guest. */
	assert_int_equal(device(&f->call, SEV_FD, SEV_PDH_CERT_EXPORT, &export, NULL), -EPERM);
	assert_int_equal(device(&f->call, WRITABLE, SEV_PDH_CERT_EXPORT, &export, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_LEN);
	assert_int_equal(status_of(f).state, PSP_PLATFORM_INIT);
	assert_int_equal(device(&f->call, WRITABLE, SEV_FACTORY_RESET, NULL, NULL), 0);
	vm = sev_vm(&f->call, 1);
	assert_int_equal(status_of(f).state, PSP_PLATFORM_WORKING);
	vm_close(vm);
}

static void test_export(void **state)
{
	struct fixture *f = *state;
	struct psp_chain chain;
	struct psp_cert pdh, again;
	struct sev_user_data_pdh_cert_export export = {0},
					     good = {
						     .pdh_cert_address = (uintptr_t)&pdh,
						     .pdh_cert_len = sizeof(pdh),
						     .cert_chain_address = (uintptr_t)&chain,
						     .cert_chain_len = sizeof(chain),
					     };
	uint32_t error = 0;

	assert_int_equal(device(&f->call, SEV_FD, SEV_PDH_CERT_EXPORT, NULL, NULL), -EFAULT);
	assert_int_equal(device(&f->call, SEV_FD, SEV_PDH_CERT_EXPORT, &export, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_LEN);
	assert_int_equal(export.pdh_cert_len, sizeof(pdh));
	assert_int_equal(export.cert_chain_len, sizeof(chain));
	export = good;
	export.cert_chain_len = SEV_BLOB_MAX + 1;
	assert_int_equal(device(&f->call, SEV_FD, SEV_PDH_CERT_EXPORT, &export, NULL), -EFAULT);
	export = good;
	assert_int_equal(device(&f->call, SEV_FD, SEV_PDH_CERT_EXPORT, &export, &error), 0);
	assert_int_equal(error, 0);
	again = pdh;
	export = good;
	assert_int_equal(device(&f->call, WRITABLE, SEV_PDH_GEN, NULL, NULL), 0);
	assert_int_equal(device(&f->call, SEV_FD, SEV_PDH_CERT_EXPORT, &export, NULL), 0);
	assert_memory_not_equal(&again, &pdh, sizeof(pdh));
	assert_int_equal(device(&f->call, WRITABLE, SEV_PEK_GEN, NULL, NULL), 0);
}

static void test_csr_and_import(void **state)
{
	struct fixture *f = *state;
	struct psp_cert csr, foreign = {0};
	struct sev_user_data_pek_csr params = {0};
	struct sev_user_data_pek_cert_import import = {.pek_cert_address = (uintptr_t)&csr,
						       .pek_cert_len = sizeof(csr),
						       .oca_cert_address = (uintptr_t)&foreign};
	uint32_t error = 0;

	assert_int_equal(device(&f->call, WRITABLE, SEV_PEK_CSR, &params, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_LEN);
	assert_int_equal(params.length, sizeof(csr));
	params.address = (uintptr_t)&csr;
	params.length = SEV_BLOB_MAX + 1;
	assert_int_equal(device(&f->call, WRITABLE, SEV_PEK_CSR, &params, NULL), -EFAULT);
	params.length = sizeof(csr) - 1;
	assert_int_equal(device(&f->call, WRITABLE, SEV_PEK_CSR, &params, &error), -EIO);
	assert_int_equal(device(&f->call, WRITABLE, SEV_PEK_CSR, &params, &error), 0);
	assert_int_equal(csr.usage, PSP_USAGE_PEK);
	assert_int_equal(csr.signature[0].usage, PSP_USAGE_NONE);

	assert_int_equal(device(&f->call, WRITABLE, SEV_PEK_CERT_IMPORT, &import, NULL), -EINVAL);
	import.oca_cert_len = sizeof(foreign);
	assert_int_equal(device(&f->call, WRITABLE, SEV_PEK_CERT_IMPORT, &import, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_CERTIFICATE);
}

static void test_id(void **state)
{
	struct fixture *f = *state;
	uint8_t id[PSP_ID_LEN], zeros[64] = {0};
	struct sev_user_data_get_id both;
	struct sev_user_data_get_id2 params = {0};
	uint32_t error = 0;

	assert_int_equal(device(&f->call, SEV_FD, SEV_GET_ID2, &params, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_LEN);
	assert_int_equal(params.length, sizeof(id));
	params.address = (uintptr_t)id;
	assert_int_equal(device(&f->call, SEV_FD, SEV_GET_ID2, &params, NULL), 0);
	assert_int_equal(device(&f->call, SEV_FD, SEV_GET_ID, &both, NULL), 0);
	assert_memory_equal(id, both.socket1, sizeof(id));
	assert_memory_equal(both.socket2, zeros, sizeof(zeros));
	params.length = UINT32_MAX;
	assert_int_equal(device(&f->call, SEV_FD, SEV_GET_ID2, &params, NULL), -ENOMEM);
}

/* Without a file of fuses, each host is a chip of its own, made when it is needed. */
static void test_new_chip(void **state)
{
	struct host host = {.config = {.max_asid = 1, .min_sev_asid = 1}};
	uint32_t error;

	(void)state;
	host.sev = sev_host_new(&host, &host.config);
	assert_non_null(host.sev);
	assert_null(host.sev->psp);
	assert_int_equal(sev_platform_init(host.sev, &error), 0);
	assert_non_null(host.sev->psp);
	sev_host_free(host.sev);
	host.config.fuses = "/dev/null";
	assert_null(sev_host_new(&host, &host.config));
	assert_int_equal(errno, EINVAL);
	host.config.fuses = "/nowhere";
	assert_null(sev_host_new(&host, &host.config));
	assert_int_equal(errno, ENOENT);
	host.config.fuses = NULL;
	host.config.max_asid = PSP_ASIDS_MAX;
	assert_null(sev_host_new(&host, &host.config));
	assert_int_equal(errno, EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_ioctl, setup_device),	       CASE(test_status, setup_device),
		CASE(test_write_access, setup_device), CASE(test_factory_reset, setup_device),
		CASE(test_export, setup_device),       CASE(test_csr_and_import, setup_device),
		CASE(test_id, setup_device),	       cmocka_unit_test(test_new_chip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
