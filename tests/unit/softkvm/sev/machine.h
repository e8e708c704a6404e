/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What SEV needs around it, in one process: clients that call, memory that two of them can share,
 * VMs and vCPUs without an interpreter.
 *
 * A call has a table of descriptors of its own.  Addresses of clients are this process's; those of
 * the first page are not mapped, as in any process.
 */
#ifndef TESTS_UNIT_SOFTKVM_SEV_MACHINE_H
#define TESTS_UNIT_SOFTKVM_SEV_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kvm/cleanup.h"
#include "softkvm/sev/internal.h"

#define PAGE	     4096u
#define MEMORY_LEN   (768 * PAGE)
#define MAX_ASID     15
#define MIN_SEV_ASID 6 /* 1 to 5 are for SEV-ES */
#define N_FDS	     32
#define BAD_ADDRESS  8

struct machine {
	struct host host;
	struct psp_ca_chain authorities;
	uint8_t *memory[2];	  /* one memory object, mapped by two processes */
	uint8_t *read_only;	  /* a third mapping of it */
	bool is_fragmented;	  /* no two pages are neighbours in physical memory */
	uint8_t (*vmsas)[PAGE];	  /* the host's own pages */
	_Atomic unsigned n_vmsas; /* given out, in all */
	_Atomic unsigned n_pinned, n_doubts, n_vms;
};

struct call {
	struct machine *machine;
	struct object *fd[N_FDS];
	const char *cgroup;
	uint64_t memlock;
	_Atomic bool is_killed;
};

/* A machine with a chip that all have, and as config says, of which all but ASIDs may be zero. */
struct machine *machine_new(const struct host_config *config);
struct machine *machine_free(struct machine *m);

/* A client; its descriptor 3 is /dev/sev, and 0, where KVM looks for it after a move. */
#define SEV_FD 3
void call_init(struct call *call, struct machine *m);
void call_done(struct call *call);
/* One more reference on object in the table. */
int give(struct call *call, struct object *object);
void close_in(struct call *call, int fd);

struct vm *vm_new(struct machine *m, unsigned long type, unsigned n_vcpus);
void vm_close(struct vm *vm);
/* KVM_CREATE_VCPU, and its two halves. */
void vcpu_create(struct vm *vm, unsigned id);
void vcpu_begin(struct vm *vm);
void vcpu_end(struct vm *vm, unsigned id);

/* KVM_MEMORY_ENCRYPT_OP of a VM; *ret_error is in and out, and may be NULL. */
long op(struct call *call, struct vm *vm, uint32_t id, void *data, uint32_t *ret_error);
long region(struct call *call, struct vm *vm, bool registers, const void *uaddr, uint64_t size);
/* KVM_ENABLE_CAP with a descriptor, and with a VM that gets one. */
long move_fd(struct call *call, struct vm *target, uint64_t fd);
long copy_fd(struct call *call, struct vm *target, uint64_t fd);
long move_vm(struct call *call, struct vm *target, struct vm *source);
long copy_vm(struct call *call, struct vm *target, struct vm *source);

/* With LAUNCH_START done; with LAUNCH_UPDATE_VMSA done, too; without SEV. */
struct vm *sev_vm(struct call *call, unsigned n_vcpus);
struct vm *es_vm(struct call *call, unsigned n_vcpus);
struct vm *aux_vm(struct call *call, unsigned n_vcpus);

struct kvm_sev_guest_status guest_status(struct call *call, struct vm *vm);
/* Of SEV_ISSUE_CMD. */
long device(struct call *call, int fd, uint32_t cmd, void *data, uint32_t *ret_error);
unsigned guest_count(struct call *call);
uint64_t n_commands(struct machine *m, uint32_t number);

#endif
