/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conformance.h - what a host answers to a VMM, case by case
 *
 * A case does something to /dev/kvm and /dev/sev and notes what came back, as words: "0", the name
 * of an errno, "fw 0x4" of the secure processor.  The words are its result; what they should be on
 * Linux 6.1, and where it differs on later kernels, is in the table of cases.  The suite calls
 * ioctl() itself and shares no code with the VMM: what it tests is the host, by the kernel's
 * documentation (Documentation/virt/kvm/api.rst, x86/amd-memory-encryption.rst).
 *
 * Every case runs in a process of its own: one that hangs or crashes the host's client is a result,
 * too, and nothing is left over for the next.
 */
#ifndef TESTS_CONFORMANCE_H
#define TESTS_CONFORMANCE_H

#include <errno.h>
#include <linux/kvm.h>
#include <linux/psp-sev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef KVM_CAP_VM_TYPES /* Linux 6.8 */
#define KVM_CAP_VM_TYPES   235
#define KVM_X86_DEFAULT_VM 0
#endif
#define TYPE_SEV      2	 /* KVM_X86_SEV_VM */
#define TYPE_SEV_ES   3	 /* KVM_X86_SEV_ES_VM */
#define COMMAND_INIT2 22 /* KVM_SEV_INIT2 */

enum needs {
	NEEDS_SEV = 1 << 0,
	NEEDS_ES = 1 << 1,
	NEEDS_TYPES = 1 << 2, /* the kernel has VM types for SEV */
	NEEDS_NO_TYPES = 1 << 3,
	NEEDS_MIRROR_LOCK = 1 << 4, /* else the host's memory is corrupted: CVE-2026-74607 */
};

struct test_case {
	const char *name;
	void (*run)(void);
	const char *expected;	   /* on Linux 6.1 */
	const char *expected_main; /* on one with VM types; NULL: the same */
	enum needs needs;
};

extern const struct test_case move_cases[], order_cases[], state_cases[], dead_cases[],
	copy_cases[], command_cases[], region_cases[], device_cases[], thread_cases[], type_cases[],
	vcpu_cases[];

/* Adds to the result of the case that is running. */
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);
/* "0", or the name of errno after a call that returned r. */
void note_result(long r);
/* "same", "different" */
void note_same(bool same);

/* Ends the case: what must work before anything can be tried has not. */
__attribute__((noreturn, format(printf, 1, 2))) void give_up(const char *format, ...);
/* r, unless it is negative: then give_up(). */
int must(long r, const char *what);

extern int kvm_fd, sev_fd; /* open; sev_fd O_RDONLY, -1 without */
extern unsigned rounds;	   /* of cases with threads */

/* VMs.  n vCPUs with IDs from first_id. */
#define VCPUS 16
struct vm {
	int fd;
	unsigned n;
	int vcpu[VCPUS];
};

struct vm vm_new(unsigned long type, unsigned n, unsigned first_id);
void vm_close(struct vm *vm);

/* Plain; SEV after LAUNCH_START; SEV-ES after LAUNCH_UPDATE_VMSA. */
struct vm aux(unsigned n);
struct vm sev(unsigned n);
struct vm sev_es(unsigned n);

/* KVM_ENABLE_CAP of 206 and 197: the result of ioctl(). */
int move_from(const struct vm *target, int source_fd);
int copy_from(const struct vm *mirror, int owner_fd);
int enable_cap(int fd, uint32_t cap, uint32_t flags, uint64_t arg);

/* KVM_MEMORY_ENCRYPT_OP; *ret_fw (may be NULL) what it left in `error`, which was 0. */
int command(int vm_fd, uint32_t id, void *data, uint32_t *ret_fw);
/* "0", "EIO fw 0x2" */
void note_command(int vm_fd, uint32_t id, void *data);
/* handle, policy, state; after this process has made fd 0 /dev/sev, see use_stored_fd(). */
struct kvm_sev_guest_status status_of(int vm_fd);
int launch_start(int vm_fd, uint32_t policy);

/*
 * After a move KVM looks up /dev/sev at the number that the target stored: 0, as it has never
 * stored one.  Makes it /dev/sev.
 */
void use_stored_fd(void);

/* Shared memory, mapped twice: what a source and a target have. */
struct shared {
	int fd;
	uint8_t *at[2];
	size_t len;
};
struct shared shared_new(size_t len);
int set_memory(int vm_fd, uint32_t slot, uint64_t gpa, uint64_t size, void *at);

#define POINTER(p) ((uint64_t)(uintptr_t)(p))

#endif
