/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * internal.h - how the parts of SEV work together
 *
 * firmware.c	the secure processor and its driver: one command at a time
 * bounce.c	buffers that both it and a command's handler can see
 * device.c	/dev/sev
 * asid.c	address space identifiers, which are the keys of the memory controller
 * cgroup.c	what control groups are charged for them
 * command.c	KVM_MEMORY_ENCRYPT_OP; init.c, launch.c, send.c, debug.c: its commands
 * region.c	pinned memory
 * mirror.c	VMs that share a context; move.c: a context changes its VM
 * destroy.c	the end of a context
 * vmsa.c	the encrypted state of an SEV-ES vCPU; es.c: its execution
 * ghcb.c	what the guest asks for: by a page, ghcb_io.c, or by an MSR, ghcb_msr.c
 *
 * Locks, after vm->lock and vcpu->lock: asids.lock, asids.deactivate, firmware_lock; accounts.lock;
 * mirror_lock.  None of these is held while anything is asked of a client.
 */
#ifndef SOFTKVM_SEV_INTERNAL_H
#define SOFTKVM_SEV_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>

#include "psp/psp.h"
#include "softkvm/host/call.h"
#include "softkvm/host/host.h"
#include "softkvm/kvm/vm.h"
#include "softkvm/sev/sev.h"

/* What a guest's or platform's certificates and sessions may have: the driver's limit. */
#define SEV_BLOB_MAX 0x4000u
/* What kmalloc() gives at most on x86. */
#define SEV_ALLOCATION_MAX (4u << 20)

/* Types of VMs since Linux 6.10, for headers that are older. */
enum sev_vm_type { SEV_VM_DEFAULT = 0, SEV_VM_SEV = 2, SEV_VM_SEV_ES = 3 };

/* cgroup.c */

enum sev_resource { SEV_RESOURCE_SEV, SEV_RESOURCE_SEV_ES, SEV_RESOURCES };

struct sev_account;
struct sev_accounts {
	pthread_mutex_t lock;
	struct sev_account *first;
	uint64_t capacity[SEV_RESOURCES];
};

/* One unit to a group and all above it.  0, -EBUSY over a limit, -EINVAL without capacity. */
int sev_charge(struct sev_accounts *accounts, const char *cgroup, bool es);
void sev_uncharge(struct sev_accounts *accounts, const char *cgroup, bool es);
void sev_accounts_done(struct sev_accounts *accounts);

/* asid.c */

struct sev_key {
	_Atomic bool is_set; /* then bytes do not change */
	uint8_t bytes[PSP_KEY_LEN];
};

struct sev_asids {
	pthread_mutex_t lock;
	pthread_rwlock_t deactivate; /* shared: DEACTIVATE; exclusive: WBINVD and DF_FLUSH */
	uint32_t max, min_sev;
	bool is_used[PSP_ASIDS_MAX];
	bool is_reclaimable[PSP_ASIDS_MAX]; /* free after the next DF_FLUSH */
	struct sev_key key[PSP_ASIDS_MAX];
};

/* Finds one for the guest, charged to a group.  -EBUSY: there is none; -ENOTTY: there never is. */
int sev_asid_new(struct sev_host *sev, const char *cgroup, bool es, uint32_t *ret);
void sev_asid_free(struct sev_host *sev, const char *cgroup, bool es, uint32_t asid);

/* Puts a guest of the firmware on its ASID; one that cannot be put there is given up. */
int sev_bind(struct sev_host *sev, uint32_t handle, uint32_t asid, uint32_t *ret_error);
void sev_unbind(struct sev_host *sev, uint32_t handle);
/* From now on the memory controller has the guest's key. */
void sev_asid_set_key(struct sev_host *sev, uint32_t asid);

/* bounce.c */

#define SEV_BOUNCES 4

/* Zero-initialised.  Pages, as the kernel would allocate for a command, with addresses of their
 * own. */
struct sev_bounce {
	unsigned n;
	struct {
		uint8_t *data;
		uint32_t len;
	} buffer[SEV_BOUNCES];
};

/* A buffer of zeros.  -ENOMEM. */
int sev_bounce_new(struct sev_bounce *bounce, uint32_t len, uint64_t *ret_address);
/* One with what the client has there, as psp_copy_user_blob() in the kernel: -EINVAL, -EFAULT. */
int sev_bounce_in(struct sev_bounce *bounce, struct call *call, uint64_t uaddr, uint32_t len,
		  uint64_t *ret_address);
/* NULL: not in a buffer */
uint8_t *sev_bounce_at(const struct sev_bounce *bounce, uint64_t address, uint32_t len);
void sev_bounce_done(struct sev_bounce *bounce);

/* firmware.c */

#define SEV_COMMANDS (PSP_DBG_ENCRYPT + 1)
/* What the driver reports as the firmware's status where that was never called. */
#define SEV_NO_FW_CALL UINT32_MAX

struct sev_host {
	struct host *host;
	struct sev_asids asids;
	struct sev_accounts accounts;
	pthread_mutex_t mirror_lock;

	pthread_mutex_t firmware_lock; /* all below */
	struct psp_fuses fuses;	       /* without a magic number: not made yet */
	struct psp *psp;	       /* NULL: nobody has needed it yet */
	bool is_initialized;	       /* as the driver believes */
	bool is_silent;		       /* it did not answer, and is not asked again */
	struct firmware_fault fault;
	const struct sev_bounce *bounce; /* of the command that is carried out */
	uint64_t n_commands[SEV_COMMANDS], n_wbinvds;
};

/*
 * A command.  0; -EIO with the firmware's status; -ETIMEDOUT: it does not answer, -EBUSY: nor did
 * it before, -ENODEV: there is none.  bounce may be NULL.  *ret_error is written if the firmware
 * was called.
 */
int sev_firmware(struct sev_host *sev, uint32_t number, void *buffer,
		 const struct sev_bounce *bounce, uint32_t *ret_error);
/* INIT, unless that has been done. */
int sev_platform_init(struct sev_host *sev, uint32_t *ret_error);
void sev_wbinvd(struct sev_host *sev);
/* The same with firmware_lock held, for what must not be torn apart. */
int sev_firmware_locked(struct sev_host *sev, uint32_t number, void *buffer,
			const struct sev_bounce *bounce, uint32_t *ret_error);
int sev_platform_init_locked(struct sev_host *sev, uint32_t *ret_error);

/* device.c */

bool sev_is_device(const struct object *object);

/* command.c */

/* A stored number of /dev/sev that says: the one that the command names. */
#define SEV_FD_OF_COMMAND (-1)

/* KVM_MEMORY_ENCRYPT_OP on its way; vm->lock is held. */
struct sev_op {
	struct call *call;
	struct sev_host *sev;
	struct vm *vm;
	struct kvm_sev_cmd cmd;
	struct sev_bounce bounce;
};

typedef int sev_command(struct sev_op *op);

/* A command of the firmware, by leave of the client's /dev/sev. */
int sev_op_firmware(struct sev_op *op, uint32_t number, void *buffer);
/* A command of KVM that is nothing but one of the firmware. */
int sev_op_simple(struct sev_op *op, uint32_t number);
/* The command's parameters: -EFAULT. */
int sev_op_get(struct sev_op *op, void *ret, size_t len);
/* They go back, as do other things; if that fails, it is -EFAULT instead of the result so far. */
int sev_op_put(struct sev_op *op, const void *data, size_t len, int result);
int sev_op_put_at(struct sev_op *op, uint64_t uaddr, const void *data, size_t len, int result);
int sev_op_put_bounce(struct sev_op *op, uint64_t uaddr, uint64_t address, uint32_t len,
		      int result);
/* Memory of guests with this key has changed behind their caches. */
void sev_doubt(struct vm *vm);

sev_command sev_init, sev_init2; /* init.c */
sev_command sev_launch_start, sev_launch_update_data, sev_launch_update_vmsa, sev_launch_measure,
	sev_launch_secret, sev_launch_finish, sev_guest_status, sev_attestation; /* launch.c */
sev_command sev_send_start, sev_send_update_data, sev_send_finish, sev_send_cancel,
	sev_receive_start, sev_receive_update_data, sev_receive_finish; /* send.c */
sev_command sev_dbg_decrypt, sev_dbg_encrypt;				/* debug.c */

/* launch.c, for RECEIVE_START, too: the new guest goes to its ASID and becomes the VM's.  params
 * go back to the client when *handle, in params, is known. */
int sev_start(struct sev_op *op, uint32_t number, struct psp_cmd_start *c, uint32_t *handle,
	      const void *params, size_t len);

/* region.c */

/* -ENOMEM: RLIMIT_MEMLOCK does not let as many more be pinned. */
int sev_may_pin(struct call *call, const struct vm *vm, uint64_t n_pages);
/* Memory of the client for as long as *ret lives, if it may be. */
int sev_pin(struct call *call, const struct vm *vm, uint64_t uaddr, uint64_t len, bool for_write,
	    struct pinned **ret);
void sev_regions_free(struct vm *vm);

/* mirror.c */

/* Nobody else moves or copies from or to the VM.  -EBUSY. */
int sev_claim(struct vm *vm);
void sev_unclaim(struct vm *vm);
/* The VM behind the client's descriptor, a reference; -EBADF. */
int sev_vm_of_fd(struct call *call, uint64_t fd, struct vm **ret);
/* Claims both and locks both.  -EINVAL: they are one; -EBUSY, -EINTR. */
int sev_lock_two(struct call *call, struct vm *target, struct vm *source);
void sev_unlock_two(struct vm *target, struct vm *source);

/* All that is known of mirrors of and by source is target's. */
void sev_move_mirrors(struct vm *target, struct vm *source);
/* A mirror is none any more; drops its reference. */
void sev_unlink_mirror(struct vm *mirror);

/* vmsa.c */

/* What LAUNCH_UPDATE_VMSA measures; -EINVAL: the vCPU is being debugged. */
int vmsa_build(struct vcpu *vcpu, uint8_t ret[4096]);
/* The guest's state from its VMSA and back; what is not in there stays as it is.  False: VMRUN
 * fails. */
bool vmsa_load(struct vcpu *vcpu, struct cpu_state *state);
void vmsa_store(struct vcpu *vcpu, const struct cpu_state *state);
/* All of struct sev_vcpu goes with the context, but what KVM_RUN had asked the VMM for. */
void sev_vcpu_move(struct vcpu *target, struct vcpu *source);

/*
 * ghcb.c, ghcb_msr.c, ghcb_io.c: with KVM's copies in cpu->state.  1: the guest goes on, 0: the VMM
 * is to see run->exit_reason, or -errno.
 */
int ghcb_serve(struct vcpu *vcpu);
/* What main says that it can: SEV-SNP, and vCPUs of it made by the guest (56421, 4.1.15). */
#define GHCB_FEATURES 3u
int ghcb_serve_msr(struct vcpu *vcpu);
int ghcb_hold(struct vcpu *vcpu, enum sev_hold hold);
int ghcb_terminate(struct vcpu *vcpu);
int ghcb_error(struct vcpu *vcpu, uint64_t reason);
/* The answer goes to the guest's page, unless there is none. */
void ghcb_unmap(struct vcpu *vcpu);
/* SEV_INFO, which the MSR is after reset, too. */
uint64_t ghcb_info(const struct vcpu *vcpu);

int ghcb_port(struct vcpu *vcpu);
int ghcb_mmio(struct vcpu *vcpu, bool is_write);
/* The VMM has done what it was asked for. */
int ghcb_continue(struct vcpu *vcpu);

#endif
