/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rescue: a guest outlives the crash of its VMM.
 *
 * KVM answers nobody but the address space that made a VM, and when a VMM dies, its address space
 * goes with it.  So two processes stand by while the guest runs.  The guardian shares the VMM's
 * memory, and sleeps; when the VMM is dead it reads from KVM everything that a relay reads, writes
 * it to a state area, and ends.  The keeper is a process of its own, which holds what a target
 * needs beside that: the machine description, guest memory, file descriptors, the VM of a
 * confidential guest.  It hands the guest to a new VMM in an ordinary relay.
 *
 * VMM						Keeper
 *	vmr_rescue_new()				vmr_keeper_new()
 *	add fds and blobs, as to an offer		vmr_keeper_wait() ...
 *	vmr_rescue_arm()				.
 *	the guest runs				.
 *	(dies)	the guardian saves			returns VMR_KEEPER_ORPHANED
 *						vmr_keeper_hand_over() to a new VMM
 *
 * What is lost: whatever kills everybody who shares the memory kills the guardian too.  The OOM
 * killer does that, and so does a service manager that kills a whole control group.
 */
#ifndef VMRELAY_RESCUE_H
#define VMRELAY_RESCUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmrelay/error.h>
#include <vmrelay/relay.h>
#include <vmrelay/vm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The VMM's side. */

struct vmr_rescue;

/*
 * begin() and the sections' save() are called by the guardian: the threads of the VMM are dead,
 * wherever they were.  A lock may be held for ever, the heap's included; nothing may be allocated
 * or waited for.
 *
 * A vCPU thread sets kvm_run.exit_reason to KVM_EXIT_UNKNOWN when it has done what an exit asked
 * for.  If it died before that, the instruction is not completed, and the guest executes it again.
 * An SEV-ES guest is beyond it by then: of it a write is lost, and a read has an undefined result.
 */
struct vmr_rescue_config {
	const char *version; /* of this VMM */
	int sock;	     /* SOCK_SEQPACKET to the keeper; borrowed */
	const struct vmr_section *sections;
	unsigned n_sections; /* borrowed until vmr_rescue_free() */
	/* Called first: what the dead threads had locked is free again.  Was the guest paused? */
	bool (*begin)(void *opaque);
	void *opaque;
};

int vmr_rescue_new(struct vmr_vm *vm, const struct vmr_rescue_config *config,
		   struct vmr_rescue **ret, struct vmr_error *ret_error);
/* As vmr_source_add_fd() and vmr_source_add_blob(): what a target will look for. */
int vmr_rescue_add_fd(struct vmr_rescue *rescue, uint32_t tag, int fd);
int vmr_rescue_add_blob(struct vmr_rescue *rescue, uint32_t type, const void *data, size_t len);

/*
 * Start the guardian and tell the keeper: from here on the guest survives this process.  The
 * guardian is a child that inherits nothing but the fds of the VM; -ENOTSUP under ThreadSanitizer,
 * which cannot have it.
 */
int vmr_rescue_arm(struct vmr_rescue *rescue, struct vmr_error *ret_error);

/*
 * End the guardian, and let the keeper forget the guest.  To be called before the guest goes to
 * another process (vmr_source_stop()) and before the VM is closed.  Takes NULL, returns NULL.
 */
struct vmr_rescue *vmr_rescue_free(struct vmr_rescue *rescue);

/* The keeper. */

struct vmr_keeper;

/* sock: to the VMM, and to those that follow it; taken over. */
int vmr_keeper_new(int sock, struct vmr_keeper **ret, struct vmr_error *ret_error);
struct vmr_keeper *vmr_keeper_free(struct vmr_keeper *keeper);

/*
 * Wait, for as long as a VMM runs the guest.  ENDED: the socket has no other end any more.
 * ORPHANED: the VMM died, and the guest can be handed over.  LOST: it died, and its guardian with
 * it; ret_error says so.  Or -errno: what the VMM sent makes no sense.
 */
enum vmr_keeper_event { VMR_KEEPER_ENDED, VMR_KEEPER_ORPHANED, VMR_KEEPER_LOST };
int vmr_keeper_wait(struct vmr_keeper *keeper, struct vmr_error *ret_error);

/* What the dead VMM had added; borrowed, -1 or NULL if there is none. */
int vmr_keeper_fd(const struct vmr_keeper *keeper, uint32_t tag);
const void *vmr_keeper_blob(const struct vmr_keeper *keeper, uint32_t type, size_t *ret_len);

struct vmr_keeper_target {
	int sock;	     /* SOCK_SEQPACKET to it; taken over */
	int pidfd;	     /* of it, as in struct vmr_source_config; taken over */
	unsigned timeout_ms; /* for each of its answers */
	bool check_only; /* it shall not have the guest: REFUSED with error code 0 if it could */
};

struct vmr_keeper_report {
	struct vmr_peer source; /* the VMM that died */
	struct vmr_peer target;
	uint64_t begin, orphaned, entered, end; /* ns of CLOCK_MONOTONIC */
};

/*
 * Hand the guest over; blocks.  DONE: the target runs it; go on with vmr_keeper_wait().  REFUSED or
 * KEPT: it is still here, and another target may be tried.  LOST: the target died after it had
 * entered the guest.
 */
enum vmr_outcome vmr_keeper_hand_over(struct vmr_keeper *keeper,
				      const struct vmr_keeper_target *target,
				      struct vmr_keeper_report *ret, struct vmr_error *ret_error);

#ifdef __cplusplus
}
#endif

#endif
