/* SPDX-License-Identifier: GPL-2.0-or-later */
/* types.h - all that this folder takes from where it is compiled: user space or a kernel module */
#ifndef PSP_TYPES_H
#define PSP_TYPES_H

#ifdef __KERNEL__
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#endif

#endif
