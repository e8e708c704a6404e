/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ioctl of /dev/sev: what the driver of the secure processor lets a process ask of it. */
#include "ioctl.h"

#include <errno.h>
#include <fcntl.h>

#include "call.h"

int sev_device_open(void)
{
	int fd = open("/dev/sev", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int issue(int sev_fd, uint32_t command, void *data, uint32_t *fw)
{
	struct sev_issue_cmd issue = {.cmd = command, .data = (uintptr_t)data};
	int r = call(sev_fd, SEV_ISSUE_CMD, (unsigned long)&issue);

	*fw = issue.error;
	return r;
}

int sev_device_platform_status(int sev_fd, struct sev_user_data_status *ret, uint32_t *fw)
{
	return issue(sev_fd, SEV_PLATFORM_STATUS, ret, fw);
}

int sev_device_pdh_cert_export(int sev_fd, struct sev_user_data_pdh_cert_export *certs,
			       uint32_t *fw)
{
	return issue(sev_fd, SEV_PDH_CERT_EXPORT, certs, fw);
}
