// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * firmware.c - the secure processor of L1: psp/ with the kernel's memory and cryptography
 *
 * Memory stays as it is.  QEMU's CPU knows no C-bit and could not decrypt what we encrypt; so a
 * measurement is of what was loaded, and keys are derived and packets verified as they should be,
 * but nobody is kept from reading the guest.
 */
#include <linux/io.h>
#include <linux/kernel_read_file.h>
#include <linux/limits.h>
#include <linux/mm.h>
#include <linux/psp-sev.h>
#include <linux/random.h>
#include <linux/vmalloc.h>

#include "crypto.h"
#include "firmware.h"

/* Made by rig/prepare-sev, brought by rig/run. */
#define FUSES "/rig/fuses"

static struct psp *psp;

static void *map(void *opaque, uint64_t address, uint32_t len)
{
	/* The driver gives addresses of what it has allocated or pinned. */
	return pfn_valid(PHYS_PFN(address)) && pfn_valid(PHYS_PFN(address + len - 1))
		       ? __va(address)
		       : NULL;
}

static int random(void *opaque, void *ret, size_t len)
{
	get_random_bytes(ret, len);
	return 0;
}

static const struct psp_host host = {.map = map, .random = random};

int firmware_init(void)
{
	struct psp_config config = {
		.host = &host,
		.crypto = &kernel_crypto,
		.max_asid = max_asid,
		.min_sev_asid = min_sev_asid,
	};
	void *fuses = NULL, *memory;
	ssize_t len = kernel_read_file_from_path(FUSES, 0, &fuses, INT_MAX, NULL, READING_FIRMWARE);

	if (len < 0)
		return len;
	config.fuses = fuses;
	memory = vzalloc(psp_size());
	if (memory && len == sizeof(*config.fuses))
		psp = psp_init(memory, &config);
	vfree(fuses);
	if (psp)
		return 0;
	vfree(memory);
	return memory ? -EINVAL : -ENOMEM;
}

void firmware_exit(void)
{
	psp_done(psp);
	vfree(psp);
}

int firmware_command(unsigned int cmd, void *data)
{
	/*
	 * KVM, as the driver does, has the CPUs write their caches back before it asks for this.
	 * Nobody can see them do it from here; that they do is believed.
	 */
	if (cmd == SEV_CMD_DF_FLUSH)
		psp_wbinvd(psp);
	return psp_command(psp, cmd, data);
}
