/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The target of a relay.
 *
 * Theory of operation.  Everything is built, every page table filled and every vCPU entered once
 * before the target says that it is ready; then each vCPU thread waits for the slot of its vCPU,
 * and loads its first part while the source saves the second; the main thread waits for the VM's.
 * Whoever is last to load binds the irqfds and takes the ownership word, which opens the gate for
 * all vCPU threads; the first through it marks the guest as entered.  If the source dies, what
 * counts is whether its state is complete: then the relay goes on without it, otherwise every
 * waiting thread is sent home.
 *
 * What comes from the source is checked before use: the description lies in memory that nobody can
 * write any more, slots are copied out before they are read.
 */
#include <vmrelay/relay.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "area.h"
#include "channel.h"
#include "describe.h"
#include "error.h"
#include "fault.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "offer.h"
#include "preflight.h"
#include "protocol.h"
#include "state.h"

/* How often the waiting main thread looks for what no socket tells it. */
#define NSEC_PER_MSEC	 1000000ULL
#define WAIT_SLICE_MS	 20
#define ENTER_SLICE_US	 1000
#define DEATH_TIMEOUT_MS 1000

#define RESET_VECTOR 0xfffffff0U

enum { OPEN = 1, CLOSED = 2 }; /* of prepared, vm_loaded and the gate */

struct target_vcpu {
	uint8_t *buf;		 /* the slot, copied out */
	size_t len;		 /* so far */
	uint8_t *fresh_buf;	 /* state before the stop */
	struct state_vcpu fresh; /* parsed, in fresh_buf */
};

struct vmr_target {
	struct vmr_target_config config;
	const struct vmr_section *sections;
	unsigned n_sections;
	struct vmr_peer peer;
	struct offered in; /* what the source offered */
	int source_vm_fd;  /* of a confidential guest, from the stop on */

	struct vmr_vm *vm; /* the VMM's */
	struct target_vcpu *vcpus;
	uint8_t *vm_buf;

	_Atomic uint32_t n_prepared; /* vCPUs */
	_Atomic uint32_t prepared;
	_Atomic uint32_t vm_loaded;
	_Atomic uint32_t gate;
	_Atomic uint32_t n_loaded; /* vCPUs, and the VM */
	_Atomic uint32_t failed;   /* 1: somebody owns error, 2: it is filled */
	struct vmr_error error;
};

int vmr_target_new(const struct vmr_target_config *config, struct vmr_target **ret,
		   struct vmr_error *ret_error)
{
	struct vmr_target *target = calloc(1, sizeof(*target));

	if (!target) {
		close_fd(config->sock);
		return error_set(ret_error, -ENOMEM, "allocation", "relay", NULL);
	}
	target->config = *config;
	target->source_vm_fd = -1;
	target->in = (struct offered)OFFERED_NONE;
	*ret = target;
	return 0;
}

struct vmr_target *vmr_target_free(struct vmr_target *target)
{
	if (!target)
		return NULL;
	for (unsigned i = 0; target->vcpus && i < target->in.offer.n_vcpus; i++) {
		free(target->vcpus[i].buf);
		free(target->vcpus[i].fresh_buf);
	}
	free(target->vcpus);
	free(target->vm_buf);
	offered_done(&target->in);
	close_fd(target->source_vm_fd);
	close_fd(target->config.sock);
	free(target);
	return NULL;
}

bool vmr_target_paused(const struct vmr_target *target)
{
	return target->in.offer.flags & OFFER_PAUSED;
}

const struct vmr_peer *vmr_target_peer(const struct vmr_target *target)
{
	return &target->peer;
}

/* Before the stop. */

static int say_hello(struct vmr_target *target, struct vmr_error *ret_error)
{
	struct {
		struct hello hello;
		struct hello_section readable[PROTOCOL_SECTIONS_MAX];
	} m = {.hello = {.protocol_min = VMR_PROTOCOL_MIN,
			 .protocol_max = VMR_PROTOCOL_MAX,
			 .pid = (uint32_t)getpid()}};
	uint32_t n = 0;

	(void)snprintf(m.hello.version, sizeof(m.hello.version), "%s", target->config.version);
	for (const struct state_kind *k = state_kinds; k->type != 0; k++)
		m.readable[n++] = (struct hello_section){k->type, k->min_version, k->version};
	if (target->n_sections > PROTOCOL_SECTIONS_MAX - n)
		return error_set(ret_error, -E2BIG, "hello", "source", NULL);
	for (unsigned i = 0; i < target->n_sections; i++) {
		const struct vmr_section *s = &target->sections[i];

		m.readable[n++] = (struct hello_section){s->type, s->min_version, s->version};
	}
	m.hello.n_sections = n;

	int r = channel_send(target->config.sock, CHANNEL_HELLO, &m,
			     sizeof(m.hello) + n * sizeof(m.readable[0]), NULL, 0);

	return r < 0 ? error_set(ret_error, r, "hello", "source", NULL) : 0;
}

static int receive(struct vmr_target *target, enum channel_type type, struct channel_message *m,
		   struct vmr_error *ret_error)
{
	int r = channel_wait(target->config.sock, (int)target->config.timeout_ms, m);

	if (r == 0 && m->type == type)
		return 0;
	if (r == 0)
		r = m->type == CHANNEL_CANCEL ? -ECANCELED : -EPROTO;
	return error_set(ret_error, r, "relay", "source",
			 r == -ETIMEDOUT ? "the source did not answer in time"
			 : r == -EPIPE || r == -ECANCELED
				 ? "the source called the upgrade off"
				 : "the source sent something that does not belong here");
}

static int receive_offer(struct vmr_target *target, struct vmr_error *ret_error)
{
	automessage m = {.n_fds = 0};
	int r = receive(target, CHANNEL_OFFER, &m, ret_error);

	if (r == 0)
		r = offered_begin(&target->in, &m, ret_error);
	while (r == 0 && !offered_is_whole(&target->in)) {
		automessage more = {.n_fds = 0};

		r = receive(target, CHANNEL_FDS, &more, ret_error);
		if (r == 0)
			r = offered_add_fds(&target->in, &more, ret_error);
	}
	return r;
}

int vmr_target_accept(struct vmr_target *target, const struct vmr_section *sections,
		      unsigned n_sections, struct vmr_error *ret_error)
{
	const struct offer *offer = &target->in.offer;
	int r;

	target->sections = sections;
	target->n_sections = n_sections;
	r = say_hello(target, ret_error);
	if (r == 0)
		r = receive_offer(target, ret_error);
	if (r == 0) {
		target->peer.pid = (int)offer->pid;
		protocol_sanitise(target->peer.version, sizeof(target->peer.version),
				  offer->version, sizeof(offer->version));
	}
	if (r == 0 && fault_reach("target-accepted") < 0)
		r = error_set(ret_error, -EIO, "fault", "target", NULL);
	return r;
}

int vmr_target_take_fd(struct vmr_target *target, uint32_t tag, unsigned n)
{
	int position = offered_find_fd(&target->in, tag, n);

	return position < 0 ? position : steal_fd(&target->in.fds[position]);
}

const void *vmr_target_blob(const struct vmr_target *target, uint32_t type, size_t *ret_len)
{
	return offered_blob(&target->in, type, ret_len);
}

static bool is_confidential(const struct vmr_target *target)
{
	return target->vm->sev.kind != VMR_CONFIDENTIAL_NONE;
}

static int allocate_buffers(struct vmr_target *target, struct vmr_error *ret_error)
{
	size_t size = target->in.area.slot_size;

	target->vcpus = calloc(target->in.offer.n_vcpus, sizeof(target->vcpus[0]));
	target->vm_buf = malloc(size);
	for (unsigned i = 0; target->vcpus && i < target->in.offer.n_vcpus; i++) {
		struct target_vcpu *vcpu = &target->vcpus[i];

		vcpu->buf = malloc(size);
		vcpu->fresh_buf = malloc(size);
		if (!vcpu->buf || !vcpu->fresh_buf)
			return error_set(ret_error, -ENOMEM, "allocation", "relay", NULL);
	}
	return target->vcpus && target->vm_buf
		       ? 0
		       : error_set(ret_error, -ENOMEM, "allocation", "relay", NULL);
}

int vmr_target_build(struct vmr_target *target, int kvm_fd, struct vmr_vm **ret,
		     struct vmr_error *ret_error)
{
	struct vmr_vm *vm;
	int r = describe_build(kvm_fd, target->in.description, target->in.offer.description_size,
			       target->in.fds, target->in.n_fds, &vm, ret_error);

	if (r < 0)
		return r;
	target->vm = vm;
	if (vm->n_vcpus != target->in.offer.n_vcpus)
		r = error_set(ret_error, -EBADMSG, "build", "VM",
			      "the machine description has another number of vCPUs");
	else
		r = allocate_buffers(target, ret_error);
	if (r == 0 && fault_reach("target-built") < 0)
		r = error_set(ret_error, -EIO, "fault", "target", NULL);
	if (r < 0) {
		target->vm = vmr_vm_free(vm);
		return r;
	}
	*ret = vm;
	return 0;
}

void vmr_target_refuse(struct vmr_target *target, const struct vmr_error *error)
{
	(void)channel_send(target->config.sock, CHANNEL_FAILED, error->text, strlen(error->text),
			   NULL, 0);
}

int vmr_target_ready(struct vmr_target *target, struct vmr_error *ret_error)
{
	int r = word_wait(&target->prepared, 0,
			  monotonic_ns() + target->config.timeout_ms * NSEC_PER_MSEC);

	if (r < 0)
		return error_set(ret_error, r, "prepare", "vCPU",
				 "the vCPUs were not prepared in time");
	if (atomic_load(&target->prepared) != OPEN) {
		*ret_error = target->error;
		return ret_error->code;
	}
	if (is_confidential(target)) {
		r = preflight_target(target->vm, target->in.offer.n_vcpus, ret_error);
		if (r < 0)
			return r;
	}
	r = fault_reach("target-ready");
	if (r == 0)
		r = channel_send(target->config.sock, CHANNEL_READY, NULL, 0, &target->vm->vm_fd,
				 is_confidential(target));
	if (r < 0)
		return error_set(ret_error, r, "relay", "source",
				 "the source called the upgrade off");
	return 0;
}

/* The stop. */

/* Keep the first error and send every thread that waits home. */
static void give_up(struct vmr_target *target, const struct vmr_error *error)
{
	uint32_t none = 0;

	if (!atomic_compare_exchange_strong(&target->failed, &none, 1))
		return;
	target->error = *error;
	atomic_store(&target->failed, 2);
	(void)word_set(&target->prepared, CLOSED);
	(void)word_set(&target->vm_loaded, CLOSED);
	(void)word_set(&target->gate, CLOSED);
	for (unsigned i = 0; i <= target->in.offer.n_vcpus; i++)
		area_abort(&target->in.area, i);
}

/*
 * Have KVM move the context of a confidential guest here.  Nothing can be saved from the source's
 * VM afterwards; if this process fails from here on, the source moves the context back from this
 * VM.
 */
static int move_context(struct vmr_target *target, struct vmr_error *ret_error)
{
	int r = kvm_vm_move_enc_context_from(target->vm->vm_fd, target->source_vm_fd);

	if (r < 0)
		return error_set(ret_error, r, "KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM", "VM",
				 "KVM did not move the confidential guest to the target: %s",
				 strerrordesc_np(-r));
	if (fault_reach("target-moved") < 0)
		return error_set(ret_error, -EIO, "fault", "VM", NULL);
	return 0;
}

/* Called by whoever loaded something; the last one takes the guest and opens the gate. */
static int one_more_loaded(struct vmr_target *target, struct vmr_error *ret_error)
{
	if (atomic_fetch_add(&target->n_loaded, 1) + 1 != target->in.offer.n_vcpus + 1)
		return 0;

	int r = fault_reach("target-loaded");

	/* Before the irqfds are bound: it tells the source that this VM may have taken events. */
	if (r == 0) {
		atomic_store(&area_header(&target->in.area)->all_loaded, monotonic_ns());
		r = vm_bind_irqfds(target->vm);
	}
	if (r < 0)
		return error_set(ret_error, r, "KVM_IRQFD", "VM", NULL);
	if (!area_own(&target->in.area, AREA_SOURCE, AREA_TARGET))
		return error_set(ret_error, -ECANCELED, "relay", "guest",
				 "the source kept the guest");
	(void)fault_reach("target-owner");
	if (is_confidential(target))
		r = move_context(target, ret_error);
	if (r == 0)
		(void)word_set(&target->gate, OPEN);
	return r;
}

/* The step that no one can take back: a vCPU is about to run, or could at any time be let run. */
static int enter(struct vmr_target *target, struct vmr_error *ret_error)
{
	struct area_header *header = area_header(&target->in.area);
	uint64_t none = 0;

	/* Before the word: who sees that it says ENTERED may look at the time at once. */
	(void)atomic_compare_exchange_strong(&header->entered, &none, monotonic_ns());
	if (area_own(&target->in.area, AREA_TARGET, AREA_ENTERED)) {
		(void)fault_reach("target-entered");
		return 0;
	}
	if (area_owner(&target->in.area) == AREA_ENTERED)
		return 0;
	return error_set(ret_error, -ECANCELED, "relay", "guest", "the source kept the guest");
}

/* Is there memory where a vCPU begins after a reset? */
static bool has_reset_vector(const struct vmr_vm *vm)
{
	for (unsigned i = 0; i < vm->n_slots; i++) {
		const struct vmr_memory_slot *slot = &vm->slots[i].slot;

		if (slot->gpa <= RESET_VECTOR && RESET_VECTOR - slot->gpa < slot->size)
			return true;
	}
	return false;
}

/*
 * Enter a vCPU for nothing, so that KVM allocates now what it needs to (MMU caches, a root), and
 * binds the vCPU to this thread.  It begins at the reset vector, where this VM has no memory, so it
 * cannot fetch an instruction; with an empty IDT, whatever comes of that ends in KVM_EXIT_SHUTDOWN
 * at worst.  Nothing in guest memory is run or touched; what changes in the vCPU is loaded later
 * anyway.
 */
static int enter_for_nothing(const struct vmr_vm *vm, unsigned index)
{
	const struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
	int fd = vm->vcpus[index].fd;
	struct kvm_sregs sregs;
	int r = kvm_vcpu_get_sregs(fd, &sregs);

	sregs.idt.limit = 0;
	if (r >= 0)
		r = kvm_vcpu_set_sregs(fd, &sregs);
	if (r >= 0 && vm->has_irqchip)
		r = kvm_vcpu_set_mp_state(fd, &runnable);
	if (r >= 0)
		(void)kvm_vcpu_run(fd); /* without it the first real entry is slower, no more */
	return r;
}

/* Before the stop: all that can be done for a vCPU without its state. */
static int prepare_vcpu(struct vmr_target *target, unsigned index, struct vmr_error *ret_error)
{
	struct target_vcpu *vcpu = &target->vcpus[index];
	struct section_writer w = {vcpu->fresh_buf, target->in.area.slot_size, 0};
	int r = has_reset_vector(target->vm) ? 0 : enter_for_nothing(target->vm, index);

	if (r < 0)
		return error_set(ret_error, r, "prepare", "vCPU", NULL);
	memset(vcpu->buf, 0, target->in.area.slot_size); /* page faults now, not later */
	r = state_save_vcpu(target->vm, index, STATE_FIRST, &w, ret_error);
	if (r == 0)
		r = state_save_vcpu(target->vm, index, STATE_REST, &w, ret_error);
	if (r == 0)
		r = state_parse_vcpu(target->vm, STATE_REST, w.buf, w.len, &vcpu->fresh, ret_error);
	if (r == 0 && atomic_fetch_add(&target->n_prepared, 1) + 1 == target->in.offer.n_vcpus)
		(void)word_set(&target->prepared, OPEN);
	return r;
}

static int load_part(struct vmr_target *target, unsigned index, enum state_part part,
		     struct state_vcpu *state, struct vmr_error *ret_error)
{
	struct target_vcpu *vcpu = &target->vcpus[index];
	size_t have = vcpu->len;
	int len = area_take(&target->in.area, index, part == STATE_FIRST ? AREA_FIRST : AREA_WHOLE,
			    vcpu->buf, have);
	int r;

	if (len < 0)
		return error_set(ret_error, len, "load", "vCPU",
				 "the state of vCPU %u is malformed", index);
	vcpu->len = (size_t)len;
	r = state_parse_vcpu(target->vm, part, vcpu->buf + have, vcpu->len - have, state,
			     ret_error);
	if (r < 0)
		return r;
	if (part == STATE_REST) {
		(void)word_wait(&target->vm_loaded, 0, 0);
		if (atomic_load(&target->vm_loaded) != OPEN)
			return error_set(ret_error, -ECANCELED, "load", "vCPU", NULL);
	}
	return state_load_vcpu(target->vm, index, part, state, &vcpu->fresh, ret_error);
}

static int load_vcpu(struct vmr_target *target, unsigned index, struct vmr_error *ret_error)
{
	struct state_vcpu state = {.payload = {NULL}};
	int r = prepare_vcpu(target, index, ret_error);

	if (r == 0)
		r = load_part(target, index, STATE_FIRST, &state, ret_error);
	if (r == 0)
		r = load_part(target, index, STATE_REST, &state, ret_error);
	if (r == 0 && fault_reach("target-load-vcpu") < 0)
		r = error_set(ret_error, -EIO, "fault", "vCPU", NULL);
	return r;
}

int vmr_target_load_vcpu(struct vmr_target *target, unsigned index)
{
	struct vmr_error error;
	int r = load_vcpu(target, index, &error);

	if (r == 0)
		r = one_more_loaded(target, &error);
	if (r == 0) {
		(void)word_wait(&target->gate, 0, 0);
		if (atomic_load(&target->gate) != OPEN)
			return -ECANCELED;
		r = enter(target, &error);
	}
	if (r < 0) {
		give_up(target, &error);
		return -ECANCELED;
	}
	return vmr_target_paused(target) ? VMR_STAY : VMR_ENTER;
}

static const struct vmr_section *find_section(const struct vmr_target *target,
					      const struct section_header *h)
{
	for (unsigned i = 0; i < target->n_sections; i++)
		if (target->sections[i].type == h->type &&
		    target->sections[i].instance == h->instance)
			return &target->sections[i];
	return NULL;
}

static int load_device(struct vmr_target *target, const struct section *s,
		       struct vmr_error *ret_error)
{
	const struct vmr_section *device = find_section(target, &s->header);
	int r = -EPROTONOSUPPORT;

	if (!device && (s->header.flags & SECTION_OPTIONAL))
		return 0;
	if (device && s->header.version >= device->min_version &&
	    s->header.version <= device->version)
		r = device->load(device->opaque, s->header.version, s->payload, s->header.length);
	if (r < 0)
		return error_set(ret_error, r, "load", "device",
				 "loading the device state of type 0x%x failed: %s", s->header.type,
				 strerrordesc_np(-r));
	return 0;
}

static int load_vm(struct vmr_target *target, struct vmr_error *ret_error)
{
	/* The source has said that it is there; one that lies is not waited for. */
	int len = area_read(&target->in.area, target->in.offer.n_vcpus, AREA_WHOLE, target->vm_buf,
			    0);
	struct section_reader reader = {target->vm_buf, len > 0 ? (size_t)len : 0};
	struct section s;
	unsigned loaded = 0;
	int r = 0, more = len < 0 ? len : 0;

	while (r == 0 && len >= 0 && (more = section_next(&reader, &s)) > 0)
		r = s.header.type < SECTION_VMM_FIRST
			    ? state_load_vm(target->vm, &s, &loaded, ret_error)
			    : load_device(target, &s, ret_error);
	if (r == 0 && (more < 0 || !state_vm_is_whole(target->vm, loaded)))
		r = error_set(ret_error, -EBADMSG, "load", "VM",
			      "the state of the VM is malformed");
	if (r == 0 && fault_reach("target-load-vm") < 0)
		r = error_set(ret_error, -EIO, "fault", "VM", NULL);
	if (r < 0)
		return r;
	(void)word_set(&target->vm_loaded, OPEN);
	return one_more_loaded(target, ret_error);
}

static bool state_is_complete(const struct vmr_target *target)
{
	if (is_confidential(target) && target->source_vm_fd < 0)
		return false;
	for (unsigned i = 0; i <= target->in.offer.n_vcpus; i++)
		if (!area_is_ready(&target->in.area, i))
			return false;
	return true;
}

/*
 * Wait for the source to stop the guest.  0: its VM state is there.  -errno: the relay is off, or
 * the source died too early.
 */
static int await_stopped(struct vmr_target *target, struct vmr_error *ret_error)
{
	for (;;) {
		struct pollfd p = {.fd = target->config.sock, .events = POLLIN};
		automessage m = {.n_fds = 0};
		int r = channel_receive(target->config.sock, &m);

		if (r == 0 && m.type == CHANNEL_STOPPED && m.n_fds == is_confidential(target)) {
			if (m.n_fds > 0)
				target->source_vm_fd = steal_fd(&m.fds[0]);
			return 0;
		}
		if (r == 0 && m.type == CHANNEL_CANCEL)
			return error_set(ret_error, -ECANCELED, "relay", "source",
					 "the source called the upgrade off");
		if (r == 0)
			return error_set(ret_error, -EPROTO, "relay", "source",
					 "the source sent something that does not belong here");
		if (r != -EAGAIN) {
			if (state_is_complete(target))
				return 0;
			return error_set(ret_error, -EOWNERDEAD, "relay", "source",
					 "the source ended before the guest's state was complete");
		}
		if (atomic_load(&target->failed) == 2) {
			*ret_error = target->error;
			return ret_error->code;
		}
		(void)poll(&p, 1, WAIT_SLICE_MS);
	}
}

static int await_entered(struct vmr_target *target, struct vmr_error *ret_error)
{
	for (;;) {
		automessage m = {.n_fds = 0};
		int r;

		if (atomic_load(&target->failed) == 2) {
			*ret_error = target->error;
			return ret_error->code;
		}
		/* Paused, no vCPU thread enters, but the guest is ours all the same. */
		if (vmr_target_paused(target) && atomic_load(&target->gate) == OPEN)
			return enter(target, ret_error);
		if (area_owner(&target->in.area) == AREA_ENTERED)
			return 0;
		r = channel_receive(target->config.sock, &m);
		if (r != -EAGAIN && !state_is_complete(target))
			return error_set(ret_error, r < 0 ? r : -EPROTO, "relay", "source",
					 "the source ended before the guest's state was complete");
		(void)usleep(ENTER_SLICE_US);
	}
}

enum vmr_outcome vmr_target_finish(struct vmr_target *target, struct vmr_error *ret_error)
{
	int r = await_stopped(target, ret_error);

	if (r == 0)
		r = load_vm(target, ret_error);
	if (r == 0)
		r = await_entered(target, ret_error);
	if (r == 0) {
		(void)channel_send(target->config.sock, CHANNEL_ENTERED, NULL, 0, NULL, 0);
		(void)fault_reach("target-done");
		return VMR_OUTCOME_DONE;
	}

	struct vmr_error error = *ret_error;
	struct pollfd p = {.fd = target->in.source_pidfd, .events = POLLIN};

	give_up(target, &error);
	vmr_target_refuse(target, &error);
	if (area_owner(&target->in.area) == AREA_KEPT || r == -ECANCELED)
		return VMR_OUTCOME_KEPT;
	/* A dying process closes its sockets a little before its pidfd says so. */
	return poll(&p, 1, DEATH_TIMEOUT_MS) > 0 ? VMR_OUTCOME_LOST : VMR_OUTCOME_KEPT;
}
