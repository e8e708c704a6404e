// SPDX-License-Identifier: GPL-2.0-or-later
/* provision-main.c - psp-provision DIR: a chip and its authorities in files, see psp/provision.h */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "psp/provision.h"

static bool put(int dir, const char *name, mode_t mode, const void *data, size_t len)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	bool is_put = fd >= 0 && write(fd, data, len) == (ssize_t)len;

	if ((fd >= 0 && close(fd) < 0) || !is_put) {
		fprintf(stderr, "psp-provision: cannot write %s: %s\n", name, strerror(errno));
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct psp_ca_chain authorities;
	struct psp_fuses fuses;
	int dir;

	if (argc != 2) {
		fprintf(stderr,
			"usage: psp-provision DIR\n\n"
			"Makes a secure processor's identity: DIR/fuses, and the certificates\n"
			"DIR/ark.cert, DIR/ask.cert and DIR/cek.cert that verify it.\n");
		return 2;
	}
	dir = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		fprintf(stderr, "psp-provision: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	if (psp_provision(&fuses, &authorities) < 0) {
		fprintf(stderr, "psp-provision: libcrypto cannot make keys\n");
		return 1;
	}
	return put(dir, "fuses", 0600, &fuses, sizeof(fuses)) &&
			       put(dir, "ark.cert", 0644, &authorities.ark,
				   sizeof(authorities.ark)) &&
			       put(dir, "ask.cert", 0644, &authorities.ask,
				   sizeof(authorities.ask)) &&
			       put(dir, "cek.cert", 0644, &fuses.cek, sizeof(fuses.cek))
		       ? 0
		       : 1;
}
