/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The relay of a running VM from one process (source) to another (target) on the same host.
 *
 * The library has no thread, no event loop and no output of its own: the VMM's main thread drives
 * the relay, and each of the VMM's vCPU threads saves or loads its own vCPU.
 *
 * Source, main thread				Source, each vCPU thread
 *	vmr_source_new()				runs the guest
 *	vmr_source_dispatch() as the socket	.
 *	    becomes readable, until		.
 *	    VMR_SOURCE_HELLO: add fds and	.
 *	    blobs, vmr_source_offer()		.
 *	    VMR_SOURCE_READY			.
 *	vmr_source_stop(): calls kick()		comes out of KVM_RUN with -EINTR
 *						vmr_source_save_vcpu(), then waits for the VMM
 *	    returns the outcome			ends, or runs the guest again
 *
 * Target, main thread				Target, each vCPU thread
 *	vmr_target_new()
 *	vmr_target_accept()
 *	vmr_target_build(), makes its devices
 *	and vCPU threads			vmr_target_load_vcpu()
 *	vmr_target_ready()			.
 *	vmr_target_finish()			returns VMR_ENTER: runs the guest
 *
 * Who owns the guest is decided by one word in memory that both sides share, changed by
 * compare-and-swap only; see docs/protocol.md.
 */
#ifndef VMRELAY_RELAY_H
#define VMRELAY_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmrelay/error.h>
#include <vmrelay/vm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a relay ended. */
enum vmr_outcome {
	VMR_OUTCOME_DONE = 0,	 /* the target runs the guest */
	VMR_OUTCOME_REFUSED = 1, /* before the stop: the guest was not touched */
	VMR_OUTCOME_KEPT = 2,	 /* after the stop: the source runs the guest again */
	VMR_OUTCOME_LOST = 3,	 /* the process that owned the guest died with it */
};

/*
 * State that the VMM adds: its devices.  Types below 0x8000 are the library's; numbers and versions
 * are for ever.  The source writes the newest version that both sides know.
 */
struct vmr_section {
	const char *name; /* for messages */
	uint32_t type;
	uint32_t instance;
	uint16_t version;     /* newest that save() writes and load() reads */
	uint16_t min_version; /* oldest */
	bool optional;	      /* a target that does not know it may go without */
	uint32_t max_size;    /* bytes that save() may write */
	/* Write the state; returns its length or -errno.  No vCPU runs; on the main thread. */
	int (*save)(void *opaque, uint16_t version, void *buf);
	/* Take the state over; the bytes are not trusted.  0 or -errno; on the main thread. */
	int (*load)(void *opaque, uint16_t version, const void *buf, size_t len);
	void *opaque;
};

/* Times of one relay, nanoseconds of CLOCK_MONOTONIC; 0: not reached. */
struct vmr_times {
	uint64_t begin;	    /* vmr_source_new() */
	uint64_t hello;	    /* the target said hello */
	uint64_t ready;	    /* the target is complete */
	uint64_t stop;	    /* first vCPU kicked: downtime begins */
	uint64_t all_out;   /* last vCPU out of the guest */
	uint64_t all_saved; /* last vCPU saved */
	uint64_t all_loaded;
	uint64_t entered; /* first vCPU about to enter: downtime ends */
	uint64_t end;	  /* the source knows */
};

/* Who the peer is, as far as it said; strings are sanitised (printable ASCII). */
struct vmr_peer {
	int pid;
	char version[64];
};

/* Source. */

struct vmr_source;

struct vmr_source_config {
	const char *version; /* of this VMM, for the target's log */
	int sock;	     /* SOCK_SEQPACKET to the target; taken over */
	int target_pidfd; /* of the target, which alone may say hello (SO_PASSCRED); taken over */
	const struct vmr_section *sections; /* borrowed until vmr_source_free() */
	unsigned n_sections;
	bool paused;	 /* no vCPU is to run in the target */
	bool check_only; /* end with VMR_SOURCE_READY */
	bool strict;	 /* refuse what vmr_source_warning() would tell */
	unsigned max_downtime_ms;
	/*
	 * Make every vCPU thread leave KVM_RUN and call vmr_source_save_vcpu(): set its
	 * kvm_run.immediate_exit, then signal it.
	 */
	void (*kick)(void *opaque);
	void *opaque;
};

enum vmr_source_event {
	VMR_SOURCE_NOTHING = 0,
	VMR_SOURCE_HELLO, /* call vmr_source_offer() */
	VMR_SOURCE_READY, /* call vmr_source_stop() */
};

/* The fds of the config are taken over in every case. */
int vmr_source_new(struct vmr_vm *vm, const struct vmr_source_config *config,
		   struct vmr_source **ret, struct vmr_error *ret_error);
/* Takes NULL, returns NULL.  Before the stop this is also how a relay is called off. */
struct vmr_source *vmr_source_free(struct vmr_source *source);

/* Wait for POLLIN on it, then call vmr_source_dispatch(). */
int vmr_source_fd(const struct vmr_source *source);
/* An enum vmr_source_event, or -errno: the relay is refused, and the guest was not touched. */
int vmr_source_dispatch(struct vmr_source *source, struct vmr_error *ret_error);

/* Hand over one more fd (borrowed) or blob of the VMM, named by tag and in this order. */
int vmr_source_add_fd(struct vmr_source *source, uint32_t tag, int fd);
int vmr_source_add_blob(struct vmr_source *source, uint32_t type, const void *data, size_t len);
/* Send the machine description and all fds. */
int vmr_source_offer(struct vmr_source *source, struct vmr_error *ret_error);

/*
 * Stop the guest, save it, and see it run in the target or in this process.  Blocks for as long as
 * the guest is stopped, at most about max_downtime_ms.  Returns the outcome; ret_error says why it
 * is not DONE.  After KEPT the VMM lets its vCPU threads run again (of a confidential guest there
 * may be a new VM behind the fds and run pages of the old one); after DONE it must never run them
 * and closes the VM.  A vCPU thread may still be in vmr_source_save_vcpu() when this returns: free
 * the source when none is.
 */
enum vmr_outcome vmr_source_stop(struct vmr_source *source, struct vmr_error *ret_error);

/*
 * vCPU thread: the vCPU is out of KVM_RUN with its last exit completed (KVM_RUN with immediate_exit
 * returned -EINTR).  Waits for the other vCPUs, saves, returns.  Errors reach vmr_source_stop().
 */
void vmr_source_save_vcpu(struct vmr_source *source, unsigned index);

/*
 * What may go wrong with the relay and cannot be found out: known defects of the kernel, each as a
 * sentence without a full stop.  The n-th, valid until vmr_source_free(), or NULL past the last.
 */
const char *vmr_source_warning(const struct vmr_source *source, unsigned n);

void vmr_source_times(const struct vmr_source *source, struct vmr_times *ret);
const struct vmr_peer *vmr_source_peer(const struct vmr_source *source);

/* Target. */

struct vmr_target;

struct vmr_target_config {
	const char *version;
	int sock;	     /* taken over */
	unsigned timeout_ms; /* for each answer of the source before the stop */
};

int vmr_target_new(const struct vmr_target_config *config, struct vmr_target **ret,
		   struct vmr_error *ret_error);
struct vmr_target *vmr_target_free(struct vmr_target *target);

/*
 * Say hello with the sections that this VMM can read (borrowed until vmr_target_free(); save, load
 * and opaque may be filled in until vmr_target_ready()) and receive the offer.
 */
int vmr_target_accept(struct vmr_target *target, const struct vmr_section *sections,
		      unsigned n_sections, struct vmr_error *ret_error);
/* What the source added: the n-th fd of a tag (taken: the caller owns it) or -ENOENT, */
int vmr_target_take_fd(struct vmr_target *target, uint32_t tag, unsigned n);
/* and a blob, valid until vmr_target_free(); NULL if there is none.  The bytes are not trusted. */
const void *vmr_target_blob(const struct vmr_target *target, uint32_t type, size_t *ret_len);
bool vmr_target_paused(const struct vmr_target *target);
const struct vmr_peer *vmr_target_peer(const struct vmr_target *target);

/*
 * Build the VM from the source's record, map guest memory and fill the page tables for it.  The
 * eventfds of irqfds and ioeventfds belong to the VM object from then on; see vmr_vm_irqfd().
 */
int vmr_target_build(struct vmr_target *target, int kvm_fd, struct vmr_vm **ret,
		     struct vmr_error *ret_error);

/*
 * Wait until every vCPU thread has prepared its vCPU in vmr_target_load_vcpu(), and tell the source
 * that everything is there.
 */
int vmr_target_ready(struct vmr_target *target, struct vmr_error *ret_error);

/* Before the stop: tell the source why this process cannot take the guest. */
void vmr_target_refuse(struct vmr_target *target, const struct vmr_error *error);

/*
 * Main thread: wait for the stop, load VM and devices, see a vCPU enter the guest.
 * DONE: this process owns the guest.  KEPT and REFUSED: the source runs it.  LOST: the source died
 * before its state was complete.  ret_error says why it is not DONE.
 */
enum vmr_outcome vmr_target_finish(struct vmr_target *target, struct vmr_error *ret_error);

/*
 * vCPU thread: prepare the vCPU, wait for its state, load it, wait for all others.  VMR_ENTER: the
 * guest is ours and may be entered now.  VMR_STAY: it is ours and paused.  -ECANCELED: it is not
 * ours.
 */
enum { VMR_ENTER = 0, VMR_STAY = 1 };
int vmr_target_load_vcpu(struct vmr_target *target, unsigned index);

/* What this library speaks. */
void vmr_protocol_range(unsigned *ret_min, unsigned *ret_max);
/* The n-th kind of state of the library itself; returns its name or NULL past the last. */
const char *vmr_section_name(unsigned n, uint32_t *ret_type, uint16_t *ret_version,
			     uint16_t *ret_min_version);

#ifdef __cplusplus
}
#endif

#endif
