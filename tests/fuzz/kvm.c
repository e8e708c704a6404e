// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A KVM that takes everything and has nothing to say, in place of libc's ioctl(): what is tested is
 * what happens before KVM is asked.
 */
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm.h"

#define RUN_SIZE   4096
#define EXTENSIONS 0x7fff /* whatever is asked for; as a size, a sensible one */

int fuzz_kvm_fd(void)
{
	int fd = memfd_create("kvm", MFD_CLOEXEC);

	return ftruncate(fd, RUN_SIZE) < 0 ? -1 : fd;
}

static int check_extension(unsigned long cap)
{
	return cap == KVM_CAP_NESTED_STATE || cap == KVM_CAP_XSAVE2 ? RUN_SIZE : EXTENSIONS;
}

int ioctl(int fd, unsigned long request, ...)
{
	unsigned long arg;
	va_list args;

	(void)fd;
	va_start(args, request);
	arg = va_arg(args, unsigned long);
	va_end(args);
	switch (request) {
	case KVM_CREATE_VM:
	case KVM_CREATE_VCPU:
		return fuzz_kvm_fd();
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_GET_VCPU_MMAP_SIZE:
		return RUN_SIZE;
	case KVM_CHECK_EXTENSION:
		return check_extension(arg);
	case KVM_GET_MSRS:
	case KVM_SET_MSRS:
		return (int)((const struct kvm_msrs *)arg)->nmsrs;
	default:
		return 0;
	}
}
