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

/* CPUID 0x8000001f, EBX[5:0]: where the EPYCs of today have it. */
#define SEV_C_BIT 51

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
	uint64_t vmsa_features;
	_Atomic uint64_t ap_jump_table; /* by any vCPU */
	unsigned ghcb_version;
	struct sev_region *regions; /* in the order of their registration */
	char *cgroup;		    /* charged; NULL: none */

	/* Under sev_host's lock for mirrors, which is taken last. */
	struct vm *owner;   /* of a mirror: a reference */
	struct vm *mirrors; /* the first of those whose owner this is */
	struct vm *next_mirror, **mirror_link;
};

/* An access of a guest's through its GHCB, which takes several steps, or exits to the VMM. */
struct sev_io {
	enum { SEV_IO_NONE, SEV_IO_PORT, SEV_IO_STRING, SEV_IO_MMIO } kind;
	bool is_write;
	uint8_t size; /* of an element */
	uint16_t port;
	uint64_t gpa;
	uint32_t len, done, step; /* step: what the VMM is asked for */
	uint32_t value;		  /* SEV_IO_PORT has no other place for it */
};

/* A VMGEXIT with a page: from there to the next entry, when the guest gets its answer. */
struct sev_ghcb {
	bool is_mapped;
	uint64_t gpa;
	uint8_t valid[16]; /* the page's bitmap, as it was */
	uint64_t exit_code, info_1, info_2;
	uint64_t ret_info_1, ret_info_2;
	struct {
		uint64_t gpa;
		uint8_t *data; /* a copy of it; NULL: none */
		uint32_t len;
		bool goes_back;
	} scratch;
	struct sev_io io;
};

/* How a vCPU waits for SIPI. */
enum sev_hold { SEV_HOLD_NONE, SEV_HOLD_EVENT, SEV_HOLD_MSR };

struct sev_vcpu {
	bool is_protected;     /* the VMSA is encrypted: guest_state_protected */
	uint8_t *vmsa;	       /* 4096 bytes of the host's, encrypted if is_protected; NULL: none */
	uint64_t vmsa_address; /* system-physical, for the tweak */
	bool received_first_sipi;
	enum sev_hold hold;
	bool is_loaded;		 /* cpu->state is the guest's, other is KVM's: see es.c */
	struct cpu_state *other; /* if it has a VMSA */
	struct sev_ghcb ghcb;
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
 * SEV-ES execution (es.c).
 *
 * enter: the VMM has answered, if it was asked; the VMSA is in cpu->state.  1, or what KVM_RUN
 * returns without running the guest.  Then, until leave, cpu->state is the guest's.
 * resume: just before the guest goes on, whenever it may have been out.
 * vmgexit: serve one; *ret_to_user: run->exit_reason is set, the VMM is to see it.
 */
int sev_es_enter(struct vcpu *vcpu);
void sev_es_leave(struct vcpu *vcpu);
void sev_es_resume(struct vcpu *vcpu);
int sev_es_vmgexit(struct vcpu *vcpu, bool *ret_to_user);
void sev_es_trap(struct vcpu *vcpu);	/* CPU_STOP_TRAP: KVM's copies of CR0, CR4, CR8, EFER */
void sev_es_startup(struct vcpu *vcpu); /* SIPI: the vCPU runs */
/* What KVM has of the registers: of other vCPUs than SEV-ES ones, and while they do not run, those
 * in cpu->state. */
struct cpu_state *sev_es_kvm_state(struct vcpu *vcpu);

#endif
