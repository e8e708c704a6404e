// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A KVM that takes everything and has nothing to say, in place of libc's ioctl(): what is tested is
 * what happens before KVM is asked.  It reads what it is given, as KVM does.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>
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

static void read_all(unsigned long arg, size_t len)
{
	const volatile uint8_t *bytes = (const volatile uint8_t *)arg;

	for (size_t i = 0; i < len; i++)
		(void)bytes[i];
}

/* Of a structure that ends in an array, _IOC_SIZE() is only the beginning. */
static void read_arg(unsigned long request, unsigned long arg)
{
	size_t len = _IOC_SIZE(request);

	if (!(_IOC_DIR(request) & _IOC_WRITE))
		return;
	read_all(arg, len);
	if (request == KVM_SET_CPUID2)
		read_all(arg + len,
			 ((const struct kvm_cpuid2 *)arg)->nent * sizeof(struct kvm_cpuid_entry2));
	else if (request == KVM_SET_GSI_ROUTING)
		read_all(arg + len, ((const struct kvm_irq_routing *)arg)->nr *
					    sizeof(struct kvm_irq_routing_entry));
	else if (request == KVM_SET_MSRS)
		read_all(arg + len,
			 ((const struct kvm_msrs *)arg)->nmsrs * sizeof(struct kvm_msr_entry));
	else if (request == KVM_SET_NESTED_STATE)
		read_all(arg, ((const struct kvm_nested_state *)arg)->size);
}

int ioctl(int fd, unsigned long request, ...)
{
	unsigned long arg;
	va_list args;

	(void)fd;
	va_start(args, request);
	arg = va_arg(args, unsigned long);
	va_end(args);
	read_arg(request, arg);
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
	case KVM_MEMORY_ENCRYPT_OP: /* of a plain VM */
		errno = ENOTTY;
		return -1;
	default:
		return 0;
	}
}
