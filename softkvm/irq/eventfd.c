// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * eventfd.c - eventfds of clients
 *
 * They are the client's, who may set them to block and race with us for their count, so they are
 * read by preadv2(RWF_NOWAIT), which eventfds know since Linux 5.8.
 */
#include "softkvm/irq/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/uio.h>

int eventfd_identity(int fd, uint64_t *ret)
{
	char path[64], line[128];
	int r = -EINVAL;
	FILE *file;

	if (fd < 0)
		return fd;
	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (r < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "eventfd-id: %" SCNu64, ret) == 1)
			r = 0;
	(void)fclose(file);
	return r;
}

bool eventfd_take(int fd)
{
	uint64_t count;
	struct iovec vector = {&count, sizeof(count)};

	return preadv2(fd, &vector, 1, -1, RWF_NOWAIT) == sizeof(count);
}

void eventfd_signal(int fd)
{
	static const uint64_t one = 1;
	struct pollfd pollfd = {.fd = fd, .events = POLLOUT};

	/* At its maximum it is signalled as it is, and a write would block. */
	(void)poll(&pollfd, 1, 0);
	if (pollfd.revents & POLLOUT)
		(void)!write(fd, &one, sizeof(one));
}
