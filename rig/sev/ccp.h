/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccp.h - what the parts of vmrelay_ccp's driver share
 */
#ifndef RIG_CCP_H
#define RIG_CCP_H

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>

/* ccp.c: held by whoever talks to the firmware. */
extern struct mutex ccp_lock;

/* As the driver reports: 0, or -EIO with the status of the firmware.  Under the lock. */
int ccp_command(unsigned int cmd, void *data, int *error);

/* INIT, if the platform needs it.  Under the lock. */
int ccp_platform_init(int *error);

/* device.c */
extern const struct file_operations sev_fops;
extern struct miscdevice sev_device;

#endif
