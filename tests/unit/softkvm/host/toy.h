/* SPDX-License-Identifier: GPL-2.0-or-later */
/* toy.h - a host with a device that only exercises connections, calls and the library */
#ifndef TESTS_UNIT_SOFTKVM_HOST_TOY_H
#define TESTS_UNIT_SOFTKVM_HOST_TOY_H

#include <linux/ioctl.h>
#include <linux/kvm.h>
#include <stdint.h>

struct toy_memory {
	uint64_t address, len;
	uint64_t sum;
};

#define TOY_SUM	     _IOWR(KVMIO, 1, struct toy_memory) /* of the bytes there */
#define TOY_FILL     _IOW(KVMIO, 2, struct toy_memory)	/* with sum's lowest byte */
#define TOY_FILL_NOW _IOW(KVMIO, 3, struct toy_memory)
#define TOY_WAIT     _IO(KVMIO, 4) /* -EINTR, when a signal arrives */
#define TOY_MASKED   _IO(KVMIO, 5) /* the same with a signal mask */
#define TOY_NEW	     _IO(KVMIO, 6)
#define TOY_MM	     _IO(KVMIO, 7) /* -EIO in another address space than that of the open() */
#define TOY_POKE     _IO(KVMIO, 8) /* writes to the eventfd */
#define TOY_IS_THIS  _IO(KVMIO, 9) /* is that descriptor this object? */
#define TOY_FLIP     _IOW(KVMIO, 10, struct toy_memory) /* inverts the bytes, through a mapping */
#define TOY_LOCK     _IOW(KVMIO, 11, struct toy_memory) /* copy in with a lock held */
#define TOY_OBJECTS  _IO(KVMIO, 12)			/* how many there are */
#define TOY_NOTHING  _IO(KVMIO, 13)
#define TOY_MEMLOCK  _IO(KVMIO, 14)
#define TOY_CGROUP   _IOR(KVMIO, 15, char[256])
#define TOY_TWICE    _IOWR(KVMIO, 16, uint64_t) /* writes one more, reads that, writes one more */

#define TOY_MMAP_SIZE 8192

/* Never returns: becomes this program again, with these arguments, on a toy host. */
_Noreturn void toy_run(const char *preload, char **argv);

#endif
