/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sev.h - SEV and SEV-ES of the host: ASIDs, commands, encrypted regions, move and copy
 *
 * sev_host	what there is one of: the secure processor, ASIDs, cgroup accounts
 * sev_vm	what KVM keeps of a VM (struct kvm_sev_info); under vm->lock
 * sev_vcpu	what KVM keeps of an SEV-ES vCPU; under vcpu->lock
 */
#ifndef SOFTKVM_SEV_H
#define SOFTKVM_SEV_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "softkvm/cpu/cpu.h"

struct call;
struct host;
struct host_config;
struct object;
struct pinned;
struct sev_host;
struct vcpu;
struct vm;

struct sev_region {
	struct sev_region *next;
	uint64_t uaddr, size; /* what UNREG_REGION must quote */
	struct pinned *pinned;
};

struct sev_vm {
	_Atomic bool in_progress; /* a move or copy names this VM */
	bool active, es;
	bool need_init; /* a VM of a type, before INIT2 */
	bool is_mirror;
	uint32_t asid, handle;
	int fd; /* number of /dev/sev in the client, as KVM stores it */
	uint64_t pages_locked;
	uint64_t vmsa_features, ap_jump_table;
	unsigned ghcb_version;
	struct sev_region *regions; /* in the order of their registration */
	char *cgroup;		    /* charged; NULL: none */

	/* Under sev_host's lock for mirrors, which is taken last. */
	struct vm *owner;   /* of a mirror: a reference */
	struct vm *mirrors; /* the first of those whose owner this is */
	struct vm *next_mirror, **mirror_link;
};

struct sev_vcpu {
	bool is_protected;     /* the VMSA is encrypted: guest_state_protected */
	uint8_t *vmsa;	       /* 4096 bytes of the host's, encrypted if is_protected; NULL: none */
	uint64_t vmsa_address; /* system-physical, for the tweak */
	uint64_t ghcb;	       /* MSR 0xc0010130 */
	uint8_t valid_bitmap[16];
	bool ghcb_in_use; /* between VMGEXIT and the next entry */
	bool received_first_sipi;
	uint64_t sw_scratch;
	uint8_t *scratch;
	uint32_t scratch_len;
	bool scratch_sync, scratch_free;
	uint8_t ap_reset_hold;
};

/* NULL and errno: the fuses cannot be read, or ASIDs make no sense. */
struct sev_host *sev_host_new(struct host *host, const struct host_config *config);
struct sev_host *sev_host_free(struct sev_host *sev);

/* misc.max of a control group; 0 or -ENOMEM.  There is no limit without. */
int sev_host_limit(struct sev_host *sev, const char *cgroup, bool es, uint64_t max);
/* misc.current */
uint64_t sev_host_usage(struct sev_host *sev, const char *cgroup, bool es);

/* An open of /dev/sev, with what access. */
struct object *sev_device_open(struct host *host, bool writable);

/* The guest's key, NULL if it has none; good while the vCPU lock is held and until a move. */
const uint8_t *sev_vek(const struct vm *vm);

/* Ioctls of a VM; the caller has seen to EIO, nothing is locked. */
long sev_mem_enc_op(struct call *call, struct vm *vm, uint64_t arg);
long sev_reg_region(struct call *call, struct vm *vm, uint64_t arg);
long sev_unreg_region(struct call *call, struct vm *vm, uint64_t arg);
long sev_move_from(struct call *call, struct vm *target, uint64_t source_fd); /* cap 206 */
long sev_copy_from(struct call *call, struct vm *mirror, uint64_t owner_fd);  /* cap 197 */

/* When the last reference of a VM goes, before its vCPUs; when a vCPU goes. */
void sev_vm_destroy(struct vm *vm);
void sev_vcpu_destroy(struct vcpu *vcpu);
int sev_vcpu_create(struct vcpu *vcpu); /* an ES VM's vCPU gets its VMSA page */

/*
 * SEV-ES execution (es.c).  enter: finish the VMGEXIT before, load the VMSA into cpu->state.  0; or
 * what KVM_RUN returns.  leave: the other way round, KVM's own copies come back.  vmgexit: serve
 * one; true: run->exit_reason is set and the VMM is to see it.
 */
int sev_es_enter(struct vcpu *vcpu);
void sev_es_leave(struct vcpu *vcpu);
int sev_es_vmgexit(struct vcpu *vcpu, bool *ret_to_user);
void sev_es_trap(struct vcpu *vcpu);	/* CPU_STOP_TRAP: KVM's copies of CR0, CR4, CR8, EFER */
bool sev_es_startup(struct vcpu *vcpu); /* SIPI: true, if the vCPU now runs */

#endif
