// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ccp.c - stands in for ccp.ko, the driver of AMD's secure processor, where there is no such thing
 *
 * Theory of operation.  kvm_amd imports a handful of functions from ccp.ko and issues firmware
 * commands through them; it looks for SEV in CPUID leaf 0x8000001f and in the CPU's capabilities.
 * All of that comes from here: the functions under their names, a CPUID that is patched into the
 * kernel's paravirt operations, and a firmware that takes every guest through the states of its
 * life and refuses commands in the wrong one, and ASIDs of the wrong range (AMD publication 55766,
 * chapters 5 and 6).
 *
 * Not modelled: encryption, keys, sessions, certificates, secrets.  A measurement is all zeros;
 * commands for debugging, attestation, sending and receiving answer UNSUPPORTED.
 */
#include <linux/cpufeature.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/psp-sev.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/paravirt.h>

#define LEAF_EXTENDED	0x80000000U
#define LEAF_ENCRYPTION 0x8000001fU
#define GUESTS_MAX	128
#define MEASURE_LEN	48
#define POLICY_ES	BIT(2)

static unsigned int c_bit =
	52; /* software-available in a PTE: a CPU that knows nothing ignores it */
static unsigned int max_asid = 16;
static unsigned int min_sev_asid = 8; /* below are those for SEV-ES */
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

/* Publication 55766, 6.1.6. */
enum guest_state { LUPDATE = 1, LSECRET = 2, RUNNING = 3 };

struct guest {
	bool exists;
	u32 policy;
	u32 asid; /* 0: not active */
	enum guest_state state;
};

static DEFINE_MUTEX(lock);
static struct guest guests[GUESTS_MAX]; /* handle - 1 is the index */

static struct guest *find(u32 handle)
{
	return handle && handle <= GUESTS_MAX && guests[handle - 1].exists ? &guests[handle - 1]
									   : NULL;
}

static int launch_start(struct sev_data_launch_start *start)
{
	u32 i;

	if (start->handle)
		return SEV_RET_UNSUPPORTED; /* sharing a key with another guest */
	for (i = 0; i < GUESTS_MAX; i++) {
		if (guests[i].exists)
			continue;
		guests[i] =
			(struct guest){.exists = true, .policy = start->policy, .state = LUPDATE};
		start->handle = i + 1;
		return SEV_RET_SUCCESS;
	}
	return SEV_RET_RESOURCE_LIMIT;
}

static int activate(const struct sev_data_activate *a)
{
	struct guest *guest = find(a->handle);
	bool is_es_asid = a->asid < min_sev_asid;
	u32 i;

	if (!guest)
		return SEV_RET_INVALID_GUEST;
	if (guest->asid)
		return SEV_RET_ACTIVE;
	if (!a->asid || a->asid > max_asid || is_es_asid != !!(guest->policy & POLICY_ES))
		return SEV_RET_INVALID_ASID;
	for (i = 0; i < GUESTS_MAX; i++)
		if (guests[i].exists && guests[i].asid == a->asid)
			return SEV_RET_ASID_OWNED;
	guest->asid = a->asid;
	n_activate++;
	return SEV_RET_SUCCESS;
}

/* A command for a guest that must be active and in one state; the state it is in then. */
static int step(u32 handle, enum guest_state from, enum guest_state to)
{
	struct guest *guest = find(handle);

	if (!guest)
		return SEV_RET_INVALID_GUEST;
	if (guest->state != from)
		return SEV_RET_INVALID_GUEST_STATE;
	if (!guest->asid)
		return SEV_RET_INACTIVE;
	guest->state = to;
	return SEV_RET_SUCCESS;
}

static int launch_measure(struct sev_data_launch_measure *measure)
{
	u32 len = measure->len;
	int status;

	measure->len = MEASURE_LEN;
	if (len < MEASURE_LEN)
		return SEV_RET_INVALID_LEN;
	status = step(measure->handle, LUPDATE, LSECRET);
	if (status == SEV_RET_SUCCESS && measure->address)
		memset(__va(measure->address), 0, MEASURE_LEN);
	return status;
}

static int guest_status(struct sev_data_guest_status *ret)
{
	const struct guest *guest = find(ret->handle);

	if (!guest)
		return SEV_RET_INVALID_GUEST;
	ret->policy = guest->policy;
	ret->asid = guest->asid;
	ret->state = guest->state;
	return SEV_RET_SUCCESS;
}

static int deactivate(const struct sev_data_deactivate *d)
{
	struct guest *guest = find(d->handle);

	if (!guest)
		return SEV_RET_INVALID_GUEST;
	guest->asid = 0;
	n_deactivate++;
	return SEV_RET_SUCCESS;
}

static int decommission(const struct sev_data_decommission *d)
{
	struct guest *guest = find(d->handle);

	if (!guest)
		return SEV_RET_INVALID_GUEST;
	if (guest->asid)
		return SEV_RET_ACTIVE;
	guest->exists = false;
	n_decommission++;
	return SEV_RET_SUCCESS;
}

static int command(unsigned int cmd, void *data)
{
	if ((int)cmd == fail_command) {
		fail_command = -1;
		return fail_status;
	}
	switch (cmd) {
	case SEV_CMD_LAUNCH_START:
		return launch_start(data);
	case SEV_CMD_LAUNCH_UPDATE_DATA:
		return step(((struct sev_data_launch_update_data *)data)->handle, LUPDATE, LUPDATE);
	case SEV_CMD_LAUNCH_UPDATE_VMSA:
		return step(((struct sev_data_launch_update_vmsa *)data)->handle, LUPDATE, LUPDATE);
	case SEV_CMD_LAUNCH_MEASURE:
		return launch_measure(data);
	case SEV_CMD_LAUNCH_FINISH:
		return step(((struct sev_data_launch_finish *)data)->handle, LSECRET, RUNNING);
	case SEV_CMD_GUEST_STATUS:
		return guest_status(data);
	case SEV_CMD_ACTIVATE:
		return activate(data);
	case SEV_CMD_DEACTIVATE:
		return deactivate(data);
	case SEV_CMD_DECOMMISSION:
		return decommission(data);
	case SEV_CMD_DF_FLUSH:
		n_df_flush++;
		return SEV_RET_SUCCESS;
	default:
		return SEV_RET_UNSUPPORTED;
	}
}

/* As the driver reports: 0, or -EIO with the status of the firmware. */
static int do_command(unsigned int cmd, void *data, int *error)
{
	int status;

	mutex_lock(&lock);
	status = command(cmd, data);
	mutex_unlock(&lock);
	if (error)
		*error = status;
	return status == SEV_RET_SUCCESS ? 0 : -EIO;
}

/* What kvm_amd imports. */

int sev_platform_init(int *error)
{
	if (error)
		*error = SEV_RET_SUCCESS;
	return 0;
}
EXPORT_SYMBOL_GPL(sev_platform_init);

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

/* /dev/sev: kvm_amd wants to see that a process has it open; it takes no commands of its own. */
static const struct file_operations sev_fops = {.owner = THIS_MODULE};
static struct miscdevice sev_device = {
	.minor = MISC_DYNAMIC_MINOR, .name = "sev", .fops = &sev_fops, .mode = 0600};

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

static int __init ccp_init(void)
{
	/* Beside SEV: what vmrelay_svm supplies because the emulated CPU does not. */
	static const unsigned int features[] = {X86_FEATURE_SEV, X86_FEATURE_SEV_ES,
						X86_FEATURE_DECODEASSISTS, X86_FEATURE_FLUSHBYASID,
						X86_FEATURE_NRIPS};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(features); i++)
		set_cpu_cap(&boot_cpu_data, features[i]);
	real_cpuid = pv_ops.cpu.cpuid;
	pv_ops.cpu.cpuid = cpuid_with_sev;
	return misc_register(&sev_device);
}

static void __exit ccp_exit(void)
{
	misc_deregister(&sev_device);
	pv_ops.cpu.cpuid = real_cpuid;
}

module_init(ccp_init);
module_exit(ccp_exit);
MODULE_DESCRIPTION("stand-in for the driver of AMD's secure processor");
MODULE_LICENSE("GPL");
