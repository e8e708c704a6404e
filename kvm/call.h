/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one place where ioctl() is called on the file descriptors of KVM and of /dev/sev. */
#ifndef KVM_CALL_H
#define KVM_CALL_H

#include <errno.h>
#include <sys/ioctl.h>

static inline int call(int fd, unsigned long request, unsigned long arg)
{
	int r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

#endif
