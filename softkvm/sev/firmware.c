// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * firmware.c - the secure processor, and what its driver in the kernel makes of it
 *
 * The driver initialises the platform when it is loaded, at boot.  Here both happen when the
 * processor is first asked for anything, because keys of a new chip take a quarter of a second and
 * most programs never need them.  Nobody can tell.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "kvm/cleanup.h"
#include "psp/openssl.h"
#include "psp/provision.h"
#include "softkvm/sev/internal.h"

static void *map(void *opaque, uint64_t address, uint32_t len)
{
	struct sev_host *sev = opaque;
	uint8_t *data = sev->bounce ? sev_bounce_at(sev->bounce, address, len) : NULL;

	return data ? data : memory_map(sev->host->memory_objects, address, len);
}

static void cipher(void *opaque, const uint8_t vek[PSP_KEY_LEN], uint64_t address, uint8_t *copy,
		   uint32_t len, bool encrypts)
{
	(void)opaque;
	memory_cipher(vek, address, copy, len, encrypts);
}

/* The region is for hardware's own use; nobody looks at it. */
static const struct psp_cmd_init init_es = {
	.flags = PSP_INIT_ES, .tmr_address = PSP_TMR_LEN, .tmr_len = PSP_TMR_LEN};

/* INIT, then what makes ASIDs usable that were in use before it. */
static enum psp_status init(struct psp *psp)
{
	struct psp_cmd_init c = init_es;
	enum psp_status status = psp_command(psp, PSP_INIT, &c);

	if (status != PSP_SUCCESS)
		return status;
	psp_wbinvd(psp);
	return psp_command(psp, PSP_DF_FLUSH, NULL);
}

/* The machine boots. */
static int boot(struct sev_host *sev)
{
	static const struct psp_host host = {map, cipher, psp_openssl_random};
	struct psp_config config = {
		.host = &host,
		.opaque = sev,
		.crypto = &psp_openssl,
		.fuses = &sev->fuses,
		.max_asid = sev->asids.max,
		.min_sev_asid = sev->asids.min_sev,
	};
	struct psp_ca_chain authorities;
	autofree void *memory = NULL;
	struct psp *psp;

	if (sev->psp)
		return 0;
	if (!sev->fuses.magic[0] && psp_provision(&sev->fuses, &authorities) < 0)
		return -ENODEV;
	memory = malloc(psp_size());
	psp = memory ? psp_init(memory, &config) : NULL;
	if (!psp || init(psp) != PSP_SUCCESS)
		return -ENODEV;
	sev->psp = psp;
	sev->is_initialized = true;
	(void)steal_ptr(memory);
	return 0;
}

/* Is this the command that a test wants to go wrong? */
static bool hits_fault(struct firmware_fault *fault, uint32_t number)
{
	struct timespec delay = {.tv_sec = fault->delay_ms / 1000,
				 .tv_nsec = fault->delay_ms % 1000 * 1000000L};

	if (fault->delay_ms)
		(void)nanosleep(&delay, NULL);
	if (!fault->nth || (fault->command && fault->command != number))
		return false;
	return --fault->nth == 0;
}

int sev_firmware_locked(struct sev_host *sev, uint32_t number, void *buffer,
			const struct sev_bounce *bounce, uint32_t *ret_error)
{
	enum psp_status status;
	int err;

	if (sev->is_silent)
		return -EBUSY;
	err = boot(sev);
	if (err < 0)
		return err;
	if (number < SEV_COMMANDS)
		sev->n_commands[number]++;
	if (hits_fault(&sev->fault, number)) {
		sev->is_silent = sev->fault.no_answer;
		*ret_error = sev->is_silent ? 0 : sev->fault.status;
		return sev->is_silent ? -ETIMEDOUT : -EIO;
	}
	sev->bounce = bounce;
	status = psp_command(sev->psp, number, buffer);
	sev->bounce = NULL;
	if (number == PSP_SHUTDOWN && status == PSP_SUCCESS)
		sev->is_initialized = false;
	*ret_error = status;
	return status == PSP_SUCCESS ? 0 : -EIO;
}

int sev_firmware(struct sev_host *sev, uint32_t number, void *buffer,
		 const struct sev_bounce *bounce, uint32_t *ret_error)
{
	int err;

	pthread_mutex_lock(&sev->firmware_lock);
	err = sev_firmware_locked(sev, number, buffer, bounce, ret_error);
	pthread_mutex_unlock(&sev->firmware_lock);
	return err;
}

int sev_platform_init_locked(struct sev_host *sev, uint32_t *ret_error)
{
	struct psp_cmd_init c = init_es;
	int err = boot(sev);

	if (err < 0 || sev->is_initialized)
		return err;
	*ret_error = SEV_NO_FW_CALL;
	err = sev_firmware_locked(sev, PSP_INIT, &c, NULL, ret_error);
	if (err < 0)
		return err;
	sev->is_initialized = true;
	psp_wbinvd(sev->psp);
	return sev_firmware_locked(sev, PSP_DF_FLUSH, NULL, NULL, ret_error);
}

int sev_platform_init(struct sev_host *sev, uint32_t *ret_error)
{
	int err;

	pthread_mutex_lock(&sev->firmware_lock);
	err = sev_platform_init_locked(sev, ret_error);
	pthread_mutex_unlock(&sev->firmware_lock);
	return err;
}

void sev_wbinvd(struct sev_host *sev)
{
	pthread_mutex_lock(&sev->firmware_lock);
	sev->n_wbinvds++;
	if (sev->psp)
		psp_wbinvd(sev->psp);
	pthread_mutex_unlock(&sev->firmware_lock);
}
