// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * device.c - /dev/sev: include/uapi/linux/psp-sev.h
 *
 * The driver in the kernel does all of a command under one lock.  Here nothing is asked of the
 * client while the processor is locked, or a client that is stopped would stop all others; what
 * must not be torn apart is.
 */
#include <errno.h>
#include <linux/psp-sev.h>
#include <stdlib.h>

#include "kvm/cleanup.h"
#include "softkvm/sev/internal.h"

struct device {
	struct object object;
	bool is_writable;
};

struct request {
	struct call *call;
	struct sev_host *sev;
	bool is_writable;
	struct sev_issue_cmd cmd;
	uint32_t error; /* of cmd, which is packed */
	struct sev_bounce bounce;
};

static int put(struct request *r, uint64_t uaddr, const void *data, size_t len, int result)
{
	return call_copy_out(r->call, uaddr, data, len) < 0 ? -EFAULT : result;
}

static int put_bounce(struct request *r, uint64_t uaddr, uint64_t address, uint32_t len, int result)
{
	return put(r, uaddr, sev_bounce_at(&r->bounce, address, len), len, result);
}

/* A command for which the platform is initialised if need be. */
static int run_initialised(struct request *r, uint32_t number, void *buffer)
{
	int err;

	pthread_mutex_lock(&r->sev->firmware_lock);
	err = sev_platform_init_locked(r->sev, &r->error);
	if (err == 0)
		err = sev_firmware_locked(r->sev, number, buffer, &r->bounce, &r->error);
	pthread_mutex_unlock(&r->sev->firmware_lock);
	return err;
}

static int factory_reset_locked(struct request *r)
{
	struct psp_cmd_platform_status status;
	int err = sev_firmware_locked(r->sev, PSP_PLATFORM_STATUS, &status, NULL, &r->error);

	if (err == 0 && status.state == PSP_PLATFORM_WORKING)
		return -EBUSY;
	if (err == 0 && status.state == PSP_PLATFORM_INIT)
		err = sev_firmware_locked(r->sev, PSP_SHUTDOWN, NULL, NULL, &r->error);
	if (err == 0)
		err = sev_firmware_locked(r->sev, PSP_FACTORY_RESET, NULL, NULL, &r->error);
	return err;
}

static int factory_reset(struct request *r)
{
	int err;

	pthread_mutex_lock(&r->sev->firmware_lock);
	err = factory_reset_locked(r);
	pthread_mutex_unlock(&r->sev->firmware_lock);
	return err;
}

static int platform_status(struct request *r)
{
	struct psp_cmd_platform_status status;
	int err = sev_firmware(r->sev, PSP_PLATFORM_STATUS, &status, NULL, &r->error);

	return err < 0 ? err : put(r, r->cmd.data, &status, sizeof(status), 0);
}

static int pek_gen(struct request *r)
{
	return run_initialised(r, PSP_PEK_GEN, NULL);
}

static int pdh_gen(struct request *r)
{
	return run_initialised(r, PSP_PDH_GEN, NULL);
}

static int pek_csr(struct request *r)
{
	struct sev_user_data_pek_csr params;
	struct psp_cmd_export c = {0};
	uint64_t address = 0;
	int err = call_copy_in(r->call, &params, r->cmd.data, sizeof(params));

	if (err < 0)
		return err;
	if (params.address && params.length) {
		if (params.length > SEV_BLOB_MAX)
			return -EFAULT; /* so does the driver */
		err = sev_bounce_new(&r->bounce, params.length, &address);
		if (err < 0)
			return err;
		c.len = params.length;
	}
	c.address = address;
	err = run_initialised(r, PSP_PEK_CSR, &c);
	params.length = c.len;
	if (err == 0)
		err = put_bounce(r, params.address, address, c.len, 0);
	return put(r, r->cmd.data, &params, sizeof(params), err);
}

/* Who may only read does not change the platform's state. */
static int prepare_export(struct request *r)
{
	int err;

	pthread_mutex_lock(&r->sev->firmware_lock);
	if (!r->is_writable && r->sev->psp && !r->sev->is_initialized)
		err = -EPERM;
	else
		err = sev_platform_init_locked(r->sev, &r->error);
	pthread_mutex_unlock(&r->sev->firmware_lock);
	return err;
}

static int pdh_cert_export(struct request *r)
{
	struct sev_user_data_pdh_cert_export params;
	struct psp_cmd_pdh_cert_export c = {0};
	uint64_t pdh = 0, chain = 0;
	int err = prepare_export(r);

	if (err == 0)
		err = call_copy_in(r->call, &params, r->cmd.data, sizeof(params));
	if (err < 0)
		return err;
	if (params.pdh_cert_address && params.pdh_cert_len && params.cert_chain_address &&
	    params.cert_chain_len) {
		if (params.pdh_cert_len > SEV_BLOB_MAX || params.cert_chain_len > SEV_BLOB_MAX)
			return -EFAULT; /* so does the driver */
		err = sev_bounce_new(&r->bounce, params.pdh_cert_len, &pdh);
		if (err == 0)
			err = sev_bounce_new(&r->bounce, params.cert_chain_len, &chain);
		if (err < 0)
			return err;
		c.pdh_len = params.pdh_cert_len;
		c.chain_len = params.cert_chain_len;
	}
	c.pdh_address = pdh;
	c.chain_address = chain;
	err = sev_firmware(r->sev, PSP_PDH_CERT_EXPORT, &c, &r->bounce, &r->error);
	params.pdh_cert_len = c.pdh_len;
	params.cert_chain_len = c.chain_len;
	if (err == 0)
		err = put_bounce(r, params.pdh_cert_address, pdh, c.pdh_len, 0);
	if (err == 0)
		err = put_bounce(r, params.cert_chain_address, chain, c.chain_len, 0);
	return put(r, r->cmd.data, &params, sizeof(params), err);
}

static int pek_cert_import(struct request *r)
{
	struct sev_user_data_pek_cert_import params;
	struct psp_cmd_pek_cert_import c = {0};
	uint64_t pek, oca;
	int err = call_copy_in(r->call, &params, r->cmd.data, sizeof(params));

	if (err == 0)
		err = sev_bounce_in(&r->bounce, r->call, params.pek_cert_address,
				    params.pek_cert_len, &pek);
	if (err == 0)
		err = sev_bounce_in(&r->bounce, r->call, params.oca_cert_address,
				    params.oca_cert_len, &oca);
	if (err < 0)
		return err;
	c.pek_address = pek;
	c.pek_len = params.pek_cert_len;
	c.oca_address = oca;
	c.oca_len = params.oca_cert_len;
	return run_initialised(r, PSP_PEK_CERT_IMPORT, &c);
}

static int get_id(struct request *r)
{
	struct sev_user_data_get_id id; /* of two sockets: the second stays zero */
	struct psp_cmd_export c = {.len = sizeof(id)};
	uint64_t address;
	int err = sev_bounce_new(&r->bounce, sizeof(id), &address);

	if (err < 0)
		return err;
	c.address = address;
	err = sev_firmware(r->sev, PSP_GET_ID, &c, &r->bounce, &r->error);
	return err < 0 ? err : put_bounce(r, r->cmd.data, address, sizeof(id), 0);
}

static int get_id2(struct request *r)
{
	struct sev_user_data_get_id2 params;
	struct psp_cmd_export c = {0};
	uint64_t address = 0;
	int err = call_copy_in(r->call, &params, r->cmd.data, sizeof(params));

	if (err == 0 && params.address && params.length) {
		err = sev_bounce_new(&r->bounce, params.length, &address);
		c.len = params.length;
	}
	if (err < 0)
		return err;
	c.address = address;
	err = sev_firmware(r->sev, PSP_GET_ID, &c, &r->bounce, &r->error);
	params.length = c.len;
	if (err == 0)
		err = put_bounce(r, params.address, address, c.len, 0);
	return put(r, r->cmd.data, &params, sizeof(params), err);
}

static const struct {
	int (*run)(struct request *request);
	bool writes;
} commands[] = {
	[SEV_FACTORY_RESET] = {.run = factory_reset, .writes = true},
	[SEV_PLATFORM_STATUS] = {.run = platform_status},
	[SEV_PEK_GEN] = {.run = pek_gen, .writes = true},
	[SEV_PEK_CSR] = {.run = pek_csr, .writes = true},
	[SEV_PDH_GEN] = {.run = pdh_gen, .writes = true},
	[SEV_PDH_CERT_EXPORT] = {.run = pdh_cert_export},
	[SEV_PEK_CERT_IMPORT] = {.run = pek_cert_import, .writes = true},
	[SEV_GET_ID] = {.run = get_id},
	[SEV_GET_ID2] = {.run = get_id2},
};

static long run(struct request *r, uint64_t arg)
{
	long result;

	if (r->cmd.cmd >= ARRAY_SIZE(commands))
		return -EINVAL;
	r->error = r->cmd.error;
	if (commands[r->cmd.cmd].writes && !r->is_writable)
		result = -EPERM;
	else
		result = commands[r->cmd.cmd].run(r);
	r->cmd.error = r->error;
	return put(r, arg, &r->cmd, sizeof(r->cmd), (int)result);
}

static long device_ioctl(struct object *object, struct call *call, unsigned request, uint64_t arg)
{
	const struct device *device = (const struct device *)object;
	struct request r = {
		.call = call, .sev = object->host->sev, .is_writable = device->is_writable};
	long result;

	if (request != SEV_ISSUE_CMD)
		return -EINVAL;
	result = call_copy_in(call, &r.cmd, arg, sizeof(r.cmd));
	if (result < 0)
		return result;
	result = run(&r, arg);
	sev_bounce_done(&r.bounce);
	return result;
}

static void release(struct object *object)
{
	free(object);
}

static const struct object_ops device_ops = {
	.name = "sev",
	.ioctl = device_ioctl,
	.release = release,
};

bool sev_is_device(const struct object *object)
{
	return object->ops == &device_ops;
}

struct object *sev_device_open(struct host *host, bool writable)
{
	struct device *device = calloc(1, sizeof(*device));

	if (!device)
		return NULL;
	object_init(&device->object, &device_ops, host);
	device->is_writable = writable;
	return &device->object;
}
