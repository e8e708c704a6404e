/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * machine.h - a machine in a hundred lines, by Documentation/virt/kvm/api.rst
 *
 * What these programs have in common.  They are written as anybody's VMM would be: private memory,
 * plain ioctl() and mmap(), threads, signals.  They know no library of this project and nothing of
 * softkvm, under which they run unchanged; on a real /dev/kvm they show that they are right.
 */
#ifndef TESTS_VMMS_MACHINE_H
#define TESTS_VMMS_MACHINE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY	  0x200000
#define CODE	  0x1000
#define STACK	  0x8000 /* of vCPU 0; the next ones 0x1000 above */
#define TABLES	  0x10000
#define EXIT_SKIP 77

#define check(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			(void)fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition,   \
				      strerror(errno));                                            \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* Code for the guest, as assembly; it runs wherever it is copied to. */
#define GUEST(text)                                                                                \
	__asm__(".pushsection .rodata\n.globl guest, guest_end\nguest:\n.intel_syntax "            \
		"noprefix\n" text "\n.att_syntax\nguest_end:\n.popsection\n")
extern const uint8_t guest[], guest_end[];

struct machine {
	int kvm, vm;
	uint8_t *memory;
	size_t run_size;
};

struct vcpu {
	int fd;
	struct kvm_run *run;
};

static inline int open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		(void)printf("no /dev/kvm: %s\n", strerror(errno));
		exit(EXIT_SKIP);
	}
	return fd;
}

/* 2 MiB of private memory at 0, mapped to itself, as all below 1 GiB; the guest's code at CODE. */
static inline void machine_init(struct machine *m)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY};
	uint64_t *tables;

	m->kvm = open_kvm();
	check(ioctl(m->kvm, KVM_GET_API_VERSION, 0) == 12);
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	check(m->vm >= 0);
	m->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(m->memory != MAP_FAILED);
	memcpy(m->memory + CODE, guest, (size_t)(guest_end - guest));
	tables = (uint64_t *)(m->memory + TABLES);
	tables[0] = (TABLES + 0x1000) | 3; /* present, writable */
	tables[512] = (TABLES + 0x2000) | 3;
	for (uint64_t i = 0; i < 512; i++)
		tables[1024 + i] = i << 21 | 0x83; /* 2 MiB */
	region.userspace_addr = (uintptr_t)m->memory;
	check(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
	m->run_size = (size_t)ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	check(m->run_size >= sizeof(struct kvm_run) && m->run_size < 1 << 20);
}

/* In 64-bit mode at CODE; its number in RDI. */
static inline void vcpu_init(struct vcpu *vcpu, const struct machine *m, unsigned id)
{
	const struct kvm_segment code = {.base = 0,
					 .limit = ~0u,
					 .selector = 8,
					 .type = 11,
					 .present = 1,
					 .s = 1,
					 .l = 1,
					 .g = 1};
	struct kvm_segment data = code;
	struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rsp = STACK + 0x1000 * id, .rdi = id};
	struct kvm_sregs sregs;
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[256];
	} cpuid = {.head.nent = 256};

	vcpu->fd = ioctl(m->vm, KVM_CREATE_VCPU, id);
	check(vcpu->fd >= 0);
	vcpu->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	check(vcpu->run != MAP_FAILED);
	check(ioctl(m->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) == 0);
	check(ioctl(vcpu->fd, KVM_SET_CPUID2, &cpuid) == 0);
	check(ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) == 0);
	data.selector = 16;
	data.type = 3;
	data.l = 0;
	data.db = 1;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr3 = TABLES;
	sregs.cr4 = 1 << 5;		   /* PAE */
	sregs.cr0 = 1u << 31 | 1 << 5 | 1; /* PG, NE, PE */
	sregs.efer = 1 << 10 | 1 << 8;	   /* LMA, LME */
	check(ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) == 0);
	check(ioctl(vcpu->fd, KVM_SET_REGS, &regs) == 0);
}

/* KVM_RUN: 0 or errno */
static inline int vcpu_run(const struct vcpu *vcpu)
{
	return ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
}

static inline void vcpu_done(struct vcpu *vcpu, const struct machine *m)
{
	check(munmap(vcpu->run, m->run_size) == 0);
	check(close(vcpu->fd) == 0);
}

static inline void machine_done(struct machine *m)
{
	check(close(m->vm) == 0);
	check(munmap(m->memory, MEMORY) == 0);
	check(close(m->kvm) == 0);
}

#endif
