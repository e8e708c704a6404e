/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * firmware.h - the secure processor, as its driver sees it
 */
#ifndef RIG_FIRMWARE_H
#define RIG_FIRMWARE_H

/* ccp.c, from module parameters: ASIDs are 1 to max_asid, those below min_sev_asid for SEV-ES. */
extern unsigned int max_asid, min_sev_asid;

/* 0 or a negative errno. */
int firmware_init(void);
void firmware_exit(void);

/*
 * firmware.c: carry out command SEV_CMD_@cmd with the structure of linux/psp-sev.h that belongs to
 * it; a status SEV_RET_*.  One at a time: the caller sees to that.
 */
int firmware_command(unsigned int cmd, void *data);

#endif
