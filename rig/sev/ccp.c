// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ccp.c - stands in for ccp.ko, the driver of AMD's secure processor, where there is no such thing
 *
 * Theory of operation.  kvm_amd imports a handful of functions from ccp.ko and issues firmware
 * commands through them; it looks for SEV in CPUID leaf 0x8000001f and in the CPU's capabilities.
 * The functions under their names and a CPUID that is patched into the kernel's paravirt operations
 * are here.  /dev/sev is in device.c; what the commands do is psp/'s business, by firmware.c.
 */
#include <linux/cpufeature.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/psp-sev.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/version.h>
#include <asm/paravirt.h>

#include "ccp.h"
#include "firmware.h"

#define LEAF_EXTENDED	0x80000000U
#define LEAF_ENCRYPTION 0x8000001fU

static unsigned int c_bit =
	52; /* software-available in a PTE: a CPU that knows nothing ignores it */
unsigned int max_asid = 16;
unsigned int min_sev_asid = 8; /* below are those for SEV-ES */
module_param(c_bit, uint, 0444);
module_param(max_asid, uint, 0444);
module_param(min_sev_asid, uint, 0444);

/* How often a command succeeded. */
static unsigned long n_activate, n_deactivate, n_decommission, n_df_flush;
module_param(n_activate, ulong, 0444);
module_param(n_deactivate, ulong, 0444);
module_param(n_decommission, ulong, 0444);
module_param(n_df_flush, ulong, 0444);

/* For tests: the next command with this number fails with that status. */
static int fail_command = -1;
static int fail_status = SEV_RET_HWSEV_RET_PLATFORM;
module_param(fail_command, int, 0644);
module_param(fail_status, int, 0644);

DEFINE_MUTEX(ccp_lock);

/* Memory that the firmware wants for SEV-ES: it does not use it here. */
static struct page *tmr;

static int command(unsigned int cmd, void *data)
{
	if ((int)cmd == fail_command) {
		fail_command = -1;
		return fail_status;
	}
	return firmware_command(cmd, data);
}

static void count(unsigned int cmd)
{
	switch (cmd) {
	case SEV_CMD_ACTIVATE:
		n_activate++;
		break;
	case SEV_CMD_DEACTIVATE:
		n_deactivate++;
		break;
	case SEV_CMD_DECOMMISSION:
		n_decommission++;
		break;
	case SEV_CMD_DF_FLUSH:
		n_df_flush++;
		break;
	}
}

int ccp_command(unsigned int cmd, void *data, int *error)
{
	int status = command(cmd, data);

	if (status == SEV_RET_SUCCESS)
		count(cmd);
	if (error)
		*error = status;
	return status == SEV_RET_SUCCESS ? 0 : -EIO;
}

/* As the driver does it: SEV-ES, and caches flushed before the first guest; that is not counted. */
int ccp_platform_init(int *error)
{
	struct sev_data_init init = {
		.flags = SEV_INIT_FLAGS_SEV_ES,
		.tmr_address = page_to_phys(tmr),
		.tmr_len = SZ_1M,
	};
	struct sev_user_data_status status;
	int ret = ccp_command(SEV_CMD_PLATFORM_STATUS, &status, error);

	if (ret || status.state != SEV_STATE_UNINIT)
		return ret;
	ret = ccp_command(SEV_CMD_INIT, &init, error);
	if (!ret)
		(void)firmware_command(SEV_CMD_DF_FLUSH, NULL);
	return ret;
}

static int do_command(unsigned int cmd, void *data, int *error)
{
	int ret;

	mutex_lock(&ccp_lock);
	ret = ccp_command(cmd, data, error);
	mutex_unlock(&ccp_lock);
	return ret;
}

/* What kvm_amd imports. */

static int platform_init(int *error)
{
	int ret;

	mutex_lock(&ccp_lock);
	ret = ccp_platform_init(error);
	mutex_unlock(&ccp_lock);
	return ret;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)

int sev_platform_init(int *error)
{
	return platform_init(error);
}
EXPORT_SYMBOL_GPL(sev_platform_init);

#else

int sev_platform_init(struct sev_platform_init_args *args)
{
	return platform_init(&args->error);
}
EXPORT_SYMBOL_GPL(sev_platform_init);

void sev_platform_shutdown(void)
{
}
EXPORT_SYMBOL_GPL(sev_platform_shutdown);

/* What is left is for SEV-SNP, which this CPU does not claim. */

int sev_do_cmd(int cmd, void *data, int *error)
{
	return do_command(cmd, data, error);
}
EXPORT_SYMBOL_GPL(sev_do_cmd);

void *snp_alloc_firmware_page(gfp_t mask)
{
	return NULL;
}
EXPORT_SYMBOL_GPL(snp_alloc_firmware_page);

void snp_free_firmware_page(void *page)
{
}
EXPORT_SYMBOL_GPL(snp_free_firmware_page);

#endif

int sev_guest_activate(struct sev_data_activate *data, int *error)
{
	return do_command(SEV_CMD_ACTIVATE, data, error);
}
EXPORT_SYMBOL_GPL(sev_guest_activate);

int sev_guest_deactivate(struct sev_data_deactivate *data, int *error)
{
	return do_command(SEV_CMD_DEACTIVATE, data, error);
}
EXPORT_SYMBOL_GPL(sev_guest_deactivate);

int sev_guest_decommission(struct sev_data_decommission *data, int *error)
{
	return do_command(SEV_CMD_DECOMMISSION, data, error);
}
EXPORT_SYMBOL_GPL(sev_guest_decommission);

int sev_guest_df_flush(int *error)
{
	return do_command(SEV_CMD_DF_FLUSH, NULL, error);
}
EXPORT_SYMBOL_GPL(sev_guest_df_flush);

void *psp_copy_user_blob(u64 uaddr, u32 len)
{
	if (!uaddr || !len || len > SEV_FW_BLOB_MAX_SIZE)
		return ERR_PTR(-EINVAL);
	return memdup_user((void __user *)uaddr, len);
}
EXPORT_SYMBOL_GPL(psp_copy_user_blob);

int sev_issue_cmd_external_user(struct file *file, unsigned int cmd, void *data, int *error)
{
	if (!file || file->f_op != &sev_fops)
		return -EBADF;
	return do_command(cmd, data, error);
}
EXPORT_SYMBOL_GPL(sev_issue_cmd_external_user);

/* The CPU. */

static void (*real_cpuid)(unsigned int *eax, unsigned int *ebx, unsigned int *ecx,
			  unsigned int *edx);

/* AMD publication 24594 (APM volume 3), E.4.17. */
static void cpuid_with_sev(unsigned int *eax, unsigned int *ebx, unsigned int *ecx,
			   unsigned int *edx)
{
	unsigned int leaf = *eax;

	if (leaf == LEAF_ENCRYPTION) {
		*eax = BIT(0) | BIT(1) | BIT(3); /* SME, SEV, SEV-ES */
		*ebx = c_bit;
		*ecx = max_asid;
		*edx = min_sev_asid;
		return;
	}
	real_cpuid(eax, ebx, ecx, edx);
	if (leaf == LEAF_EXTENDED && *eax < LEAF_ENCRYPTION)
		*eax = LEAF_ENCRYPTION;
}

static void ccp_undo(void)
{
	pv_ops.cpu.cpuid = real_cpuid;
	firmware_exit();
	__free_pages(tmr, get_order(SZ_1M));
}

static int __init ccp_init(void)
{
	/*
	 * Beside SEV: what vmrelay_svm supplies because the emulated CPU does not; and LBRV,
	 * without which kvm_amd of Linux 6.12 has no SEV-ES.
	 */
	static const unsigned int features[] = {X86_FEATURE_SEV,	   X86_FEATURE_SEV_ES,
						X86_FEATURE_DECODEASSISTS, X86_FEATURE_FLUSHBYASID,
						X86_FEATURE_NRIPS,	   X86_FEATURE_LBRV};
	unsigned int i;
	int ret;

	tmr = alloc_pages(GFP_KERNEL, get_order(SZ_1M));
	if (!tmr)
		return -ENOMEM;
	ret = firmware_init();
	if (ret) {
		__free_pages(tmr, get_order(SZ_1M));
		return ret;
	}
	for (i = 0; i < ARRAY_SIZE(features); i++)
		set_cpu_cap(&boot_cpu_data, features[i]);
	real_cpuid = pv_ops.cpu.cpuid;
	pv_ops.cpu.cpuid = cpuid_with_sev;
	(void)sev_platform_init(NULL);
	ret = misc_register(&sev_device);
	if (ret)
		ccp_undo();
	return ret;
}

static void __exit ccp_exit(void)
{
	misc_deregister(&sev_device);
	ccp_undo();
}

module_init(ccp_init);
module_exit(ccp_exit);
MODULE_DESCRIPTION("stand-in for the driver of AMD's secure processor");
MODULE_LICENSE("GPL");
