// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * device.c - /dev/sev: SEV_ISSUE_CMD, by which a host's owner looks after its secure processor
 *
 * Errors, their order, and what is written back are those of Linux's driver; the firmware's answer
 * is in the error of struct sev_issue_cmd.  A blob's length is asked for by having no room for it:
 * -EIO, SEV_RET_INVALID_LEN, and the length.
 */
#include <linux/io.h>
#include <linux/module.h>
#include <linux/psp-sev.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ccp.h"

/* Room for a blob that the firmware gives out, if the caller has room for it. */
static int make_room(u64 uaddr, u32 len, void **ret)
{
	*ret = NULL;
	if (!uaddr || !len)
		return 0;
	if (len > SEV_FW_BLOB_MAX_SIZE)
		return -EFAULT;
	*ret = kzalloc(len, GFP_KERNEL);
	return *ret ? 0 : -ENOMEM;
}

static u64 address_of(const void *blob)
{
	return blob ? __pa(blob) : 0;
}

static int factory_reset(int *error)
{
	struct sev_user_data_status status;
	int ret = ccp_command(SEV_CMD_PLATFORM_STATUS, &status, error);

	if (!ret && status.state == SEV_STATE_WORKING)
		return -EBUSY;
	if (!ret && status.state == SEV_STATE_INIT)
		ret = ccp_command(SEV_CMD_SHUTDOWN, NULL, error);
	return ret ? ret : ccp_command(SEV_CMD_FACTORY_RESET, NULL, error);
}

static int platform_status(void __user *arg, int *error)
{
	struct sev_user_data_status status;
	int ret = ccp_command(SEV_CMD_PLATFORM_STATUS, &status, error);

	return !ret && copy_to_user(arg, &status, sizeof(status)) ? -EFAULT : ret;
}

static int generate(unsigned int cmd, int *error)
{
	int ret = ccp_platform_init(error);

	return ret ? ret : ccp_command(cmd, NULL, error);
}

/* PEK_CSR and GET_ID2: their structures are alike. */
static int export_blob(unsigned int cmd, bool needs_init, void __user *arg, int *error)
{
	struct sev_user_data_pek_csr user;
	struct sev_data_pek_csr data;
	void *blob;
	int ret;

	if (copy_from_user(&user, arg, sizeof(user)))
		return -EFAULT;
	ret = make_room(user.address, user.length, &blob);
	if (ret)
		return ret;
	data.address = address_of(blob);
	data.len = blob ? user.length : 0;
	ret = needs_init ? ccp_platform_init(error) : 0;
	if (!ret) {
		ret = ccp_command(cmd, &data, error);
		user.length = data.len;
		if (copy_to_user(arg, &user, sizeof(user)) ||
		    (!ret && copy_to_user((void __user *)user.address, blob, user.length)))
			ret = -EFAULT;
	}
	kfree(blob);
	return ret;
}

static int get_id(void __user *arg, int *error)
{
	struct sev_user_data_get_id *id = kzalloc(sizeof(*id), GFP_KERNEL);
	struct sev_data_get_id data = {.len = sizeof(*id)};
	int ret;

	if (!id)
		return -ENOMEM;
	data.address = __pa(id);
	ret = ccp_command(SEV_CMD_GET_ID, &data, error);
	if (!ret && copy_to_user(arg, id, sizeof(*id)))
		ret = -EFAULT;
	kfree(id);
	return ret;
}

static int export_chain(bool is_writable, void __user *arg, int *error)
{
	struct sev_user_data_pdh_cert_export user;
	struct sev_data_pdh_cert_export data = {};
	struct sev_user_data_status status;
	void *pdh, *chain;
	int ret;

	ret = ccp_command(SEV_CMD_PLATFORM_STATUS, &status, error);
	if (!ret && status.state == SEV_STATE_UNINIT)
		ret = is_writable ? ccp_platform_init(error) : -EPERM;
	if (ret)
		return ret;
	if (copy_from_user(&user, arg, sizeof(user)))
		return -EFAULT;
	if (!user.pdh_cert_address || !user.pdh_cert_len || !user.cert_chain_address ||
	    !user.cert_chain_len)
		user.pdh_cert_len = user.cert_chain_len = 0;
	ret = make_room(user.pdh_cert_address, user.pdh_cert_len, &pdh);
	if (ret)
		return ret;
	ret = make_room(user.cert_chain_address, user.cert_chain_len, &chain);
	if (!ret) {
		data.pdh_cert_address = address_of(pdh);
		data.pdh_cert_len = user.pdh_cert_len;
		data.cert_chain_address = address_of(chain);
		data.cert_chain_len = user.cert_chain_len;
		ret = ccp_command(SEV_CMD_PDH_CERT_EXPORT, &data, error);
		user.pdh_cert_len = data.pdh_cert_len;
		user.cert_chain_len = data.cert_chain_len;
		if (copy_to_user(arg, &user, sizeof(user)) ||
		    (!ret &&
		     (copy_to_user((void __user *)user.pdh_cert_address, pdh, user.pdh_cert_len) ||
		      copy_to_user((void __user *)user.cert_chain_address, chain,
				   user.cert_chain_len))))
			ret = -EFAULT;
	}
	kfree(chain);
	kfree(pdh);
	return ret;
}

static int import_pek(void __user *arg, int *error)
{
	struct sev_user_data_pek_cert_import user;
	struct sev_data_pek_cert_import data = {};
	void *pek, *oca;
	int ret;

	if (copy_from_user(&user, arg, sizeof(user)))
		return -EFAULT;
	pek = psp_copy_user_blob(user.pek_cert_address, user.pek_cert_len);
	if (IS_ERR(pek))
		return PTR_ERR(pek);
	oca = psp_copy_user_blob(user.oca_cert_address, user.oca_cert_len);
	if (IS_ERR(oca)) {
		kfree(pek);
		return PTR_ERR(oca);
	}
	data.pek_cert_address = __pa(pek);
	data.pek_cert_len = user.pek_cert_len;
	data.oca_cert_address = __pa(oca);
	data.oca_cert_len = user.oca_cert_len;
	ret = ccp_platform_init(error);
	if (!ret)
		ret = ccp_command(SEV_CMD_PEK_CERT_IMPORT, &data, error);
	kfree(oca);
	kfree(pek);
	return ret;
}

static int issue(u32 cmd, bool is_writable, void __user *arg, int *error)
{
	switch (cmd) {
	case SEV_PLATFORM_STATUS:
		return platform_status(arg, error);
	case SEV_PDH_CERT_EXPORT:
		return export_chain(is_writable, arg, error);
	case SEV_GET_ID:
		return get_id(arg, error);
	case SEV_GET_ID2:
		return export_blob(SEV_CMD_GET_ID, false, arg, error);
	}
	if (!is_writable)
		return -EPERM;
	switch (cmd) {
	case SEV_FACTORY_RESET:
		return factory_reset(error);
	case SEV_PEK_GEN:
		return generate(SEV_CMD_PEK_GEN, error);
	case SEV_PEK_CSR:
		return export_blob(SEV_CMD_PEK_CSR, true, arg, error);
	case SEV_PDH_GEN:
		return generate(SEV_CMD_PDH_GEN, error);
	default:
		return import_pek(arg, error);
	}
}

static long sev_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	struct sev_issue_cmd cmd;
	int error, ret;

	if (ioctl != SEV_ISSUE_CMD)
		return -EINVAL;
	if (copy_from_user(&cmd, user, sizeof(cmd)))
		return -EFAULT;
	if (cmd.cmd > SEV_GET_ID2)
		return -EINVAL;
	error = cmd.error;
	mutex_lock(&ccp_lock);
	ret = issue(cmd.cmd, file->f_mode & FMODE_WRITE, (void __user *)cmd.data, &error);
	mutex_unlock(&ccp_lock);
	cmd.error = error;
	return copy_to_user(user, &cmd, sizeof(cmd)) ? -EFAULT : ret;
}

const struct file_operations sev_fops = {.owner = THIS_MODULE, .unlocked_ioctl = sev_ioctl};
struct miscdevice sev_device = {
	.minor = MISC_DYNAMIC_MINOR, .name = "sev", .fops = &sev_fops, .mode = 0600};
