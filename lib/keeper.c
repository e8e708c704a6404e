/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keeper: what is left of a source whose process is dead.
 *
 * Theory of operation.  While a VMM runs the guest, the keeper holds what the VMM has offered: the
 * machine description, the state area with nothing in it, file descriptors.  When the VMM is dead,
 * its guardian (rescue.c) fills the area.  From then on the keeper is the source of a relay that
 * has been stopped before it began: it makes the same offer to a target, and all the target has to
 * do is to load.  Who may run the guest is decided by the ownership word of the area as in every
 * relay; the keeper itself never can.  If a target fails, the keeper sees to it that the target is
 * dead, sets the word back, and can try another.
 *
 * The context of a confidential guest is moved by the target from the VM that the keeper holds.  If
 * the target dies around that, nobody but KVM knows in which VM the context is now, and KVM does
 * not tell; but it moves it, into a VM of the keeper's own that serves for nothing else.
 */
#include <vmrelay/rescue.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "channel.h"
#include "describe.h"
#include "error.h"
#include "fault.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "offer.h"
#include "section.h"
#include "source.h"

#define NSEC_PER_MSEC 1000000ULL

struct vmr_keeper {
	int sock;
	struct offered held;
	int guardian_pidfd;
	int vm_fd; /* that has the context of a confidential guest; -1: not confidential */
	bool is_armed;
};

int vmr_keeper_new(int sock, struct vmr_keeper **ret, struct vmr_error *ret_error)
{
	struct vmr_keeper *keeper = calloc(1, sizeof(*keeper));

	if (!keeper) {
		close_fd(sock);
		return error_set(ret_error, -ENOMEM, "allocation", "keeper", NULL);
	}
	keeper->sock = sock;
	keeper->held = (struct offered)OFFERED_NONE;
	keeper->guardian_pidfd = keeper->vm_fd = -1;
	*ret = keeper;
	return 0;
}

static void forget(struct vmr_keeper *keeper)
{
	offered_done(&keeper->held);
	keeper->guardian_pidfd = close_fd(keeper->guardian_pidfd);
	keeper->vm_fd = close_fd(keeper->vm_fd);
	keeper->is_armed = false;
}

struct vmr_keeper *vmr_keeper_free(struct vmr_keeper *keeper)
{
	if (!keeper)
		return NULL;
	forget(keeper);
	close_fd(keeper->sock);
	free(keeper);
	return NULL;
}

int vmr_keeper_fd(const struct vmr_keeper *keeper, uint32_t tag)
{
	int position = offered_find_fd(&keeper->held, tag, 0);

	return position < 0 ? -1 : keeper->held.fds[position];
}

const void *vmr_keeper_blob(const struct vmr_keeper *keeper, uint32_t type, size_t *ret_len)
{
	return offered_blob(&keeper->held, type, ret_len);
}

/* While a VMM runs the guest. */

static int take_message(struct vmr_keeper *keeper, struct channel_message *m,
			struct vmr_error *ret_error)
{
	switch (m->type) {
	case CHANNEL_OFFER:
		forget(keeper);
		return offered_begin(&keeper->held, m, ret_error);
	case CHANNEL_FDS:
		return offered_add_fds(&keeper->held, m, ret_error);
	case CHANNEL_KEEP:
		if (keeper->is_armed || !offered_is_whole(&keeper->held) || m->n_fds < 1 ||
		    m->n_fds > 2)
			break;
		keeper->guardian_pidfd = steal_fd(&m->fds[0]);
		keeper->vm_fd = m->n_fds > 1 ? steal_fd(&m->fds[1]) : -1;
		keeper->is_armed = true;
		return 0;
	case CHANNEL_CANCEL:
		forget(keeper);
		return 0;
	case CHANNEL_HELLO:
	case CHANNEL_READY:
	case CHANNEL_STOPPED:
	case CHANNEL_ENTERED:
	case CHANNEL_FAILED:
	default:
		break;
	}
	return error_set(ret_error, -EPROTO, "keep", "VMM", "the VMM sent message %d out of turn",
			 (int)m->type);
}

static bool is_saved(const struct vmr_keeper *keeper)
{
	for (unsigned i = 0; i <= keeper->held.offer.n_vcpus; i++)
		if (!area_is_ready(&keeper->held.area, i))
			return false;
	return true;
}

/* The VMM is dead: wait for the guardian to be done. */
static int await_guardian(const struct vmr_keeper *keeper, struct vmr_error *ret_error)
{
	struct pollfd p = {.fd = keeper->guardian_pidfd, .events = POLLIN};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	if (is_saved(keeper))
		return VMR_KEEPER_ORPHANED;
	(void)error_set(ret_error, -EOWNERDEAD, "rescue", "guest",
			"whatever killed its VMM killed the process that could have read the "
			"guest's state from KVM, too, or that failed");
	return VMR_KEEPER_LOST;
}

int vmr_keeper_wait(struct vmr_keeper *keeper, struct vmr_error *ret_error)
{
	bool is_closed = false;

	for (;;) {
		struct pollfd p[2] = {{.fd = is_closed ? -1 : keeper->sock, .events = POLLIN},
				      {.fd = keeper->held.source_pidfd, .events = POLLIN}};
		automessage m = {.n_fds = 0};
		/*
		 * Looked at before what the VMM said is read, so that nothing it said before it
		 * died is missed: it may have let go of the guest.
		 */
		bool is_dead = keeper->held.source_pidfd >= 0 &&
			       source_peer_is_dead(keeper->held.source_pidfd, 0);
		int r = is_closed ? -EPIPE : channel_receive(keeper->sock, &m);

		if (r == 0)
			r = take_message(keeper, &m, ret_error);
		else if (r == -EBADMSG)
			r = error_set(ret_error, r, "keep", "VMM",
				      "the VMM sent something that is no message");
		else if (r == -EPIPE)
			is_closed = true;
		if (r == 0)
			continue;
		if (r != -EAGAIN && r != -EPIPE)
			return r;
		(void)fault_reach("keeper-read");
		if (is_closed && keeper->held.source_pidfd < 0)
			return VMR_KEEPER_ENDED;
		if (is_dead) {
			if (keeper->is_armed)
				return await_guardian(keeper, ret_error);
			/* It had not finished; among the fds may be the other end of ours. */
			forget(keeper);
			continue;
		}
		(void)poll(p, 2, -1);
	}
}

/* The relay to a new VMM. */

struct hand_over {
	struct vmr_keeper *keeper;
	int sock, pidfd;
	unsigned timeout_ms;
	int target_vm_fd;
	uint16_t protocol;
};

/* Can the target read what the guardian has written? */
static int check_sections(const struct vmr_keeper *keeper, const struct hello_message *hello,
			  struct vmr_error *ret_error)
{
	size_t size = keeper->held.area.slot_size;
	autofree uint8_t *buf = malloc(size);
	int r = 0;

	if (!buf)
		return error_set(ret_error, -ENOMEM, "allocation", "rescue", NULL);
	for (unsigned i = 0; r == 0 && i <= keeper->held.offer.n_vcpus; i++) {
		/* Whoever was to have the guest before could have emptied it: nobody fills it
		 * again. */
		int len = area_read(&keeper->held.area, i, AREA_WHOLE, buf, 0), more = 0;
		struct section_reader reader = {buf, len > 0 ? (size_t)len : 0};
		struct section s;

		while (r == 0 && (more = section_next(&reader, &s)) > 0) {
			const struct hello_section *known = protocol_find(hello, s.header.type);

			if (!(s.header.flags & SECTION_OPTIONAL) &&
			    (!known || s.header.version < known->min_version ||
			     s.header.version > known->max_version))
				r = protocol_unreadable(s.header.type, "saved", ret_error);
		}
		if (len < 0 || more < 0)
			r = error_set(ret_error, -EBADMSG, "rescue", "guest",
				      "the saved state of the guest is malformed");
	}
	return r;
}

static int receive(const struct hand_over *h, struct channel_message *m,
		   struct vmr_error *ret_error)
{
	int r = channel_wait(h->sock, (int)h->timeout_ms, m);

	if (r == 0 && m->type == CHANNEL_FAILED)
		return protocol_failed(m, ret_error);
	if (r < 0)
		return error_set(ret_error, r, "relay", "target",
				 r == -ETIMEDOUT
					 ? "the new VMM did not answer in time"
					 : "the new VMM ended before it was ready: it is not a "
					   "vmrelay VMM, or could not start");
	return 0;
}

static int offer(const struct hand_over *h, struct vmr_error *ret_error)
{
	const struct offered *held = &h->keeper->held;
	struct offer offer = held->offer;
	autofd own_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	const int fds[PROTOCOL_FDS_MIN] = {held->description_fd, held->area.fd, own_pidfd};
	int r = own_pidfd < 0 ? -errno : 0;

	offer.protocol = h->protocol;
	offer.pid = (uint32_t)getpid();
	offer.flags = atomic_load(&area_header(&held->area)->is_paused) ? OFFER_PAUSED : 0;
	offer.max_downtime_ms = h->timeout_ms;
	if (r == 0)
		r = channel_send(h->sock, CHANNEL_OFFER, &offer, sizeof(offer), fds,
				 PROTOCOL_FDS_MIN);
	if (r == 0)
		r = source_send_fds(h->sock, held->fds, held->n_fds);
	return r < 0 ? error_set(ret_error, r, "offer", "target",
				 "sending the machine to the target failed: %s",
				 strerrordesc_np(-r))
		     : 0;
}

/* Until the target is ready: nothing has happened to the guest. */
static int prepare(struct hand_over *h, struct vmr_keeper_report *report,
		   struct vmr_error *ret_error)
{
	automessage greeting = {.n_fds = 0}, answer = {.n_fds = 0};
	struct hello_message hello;
	int r = channel_ask_sender(h->sock);

	if (r < 0)
		return error_set(ret_error, r, "SO_PASSCRED", "relay", NULL);
	r = receive(h, &greeting, ret_error);
	if (r == 0)
		r = protocol_hello(&greeting, h->pidfd, &hello, &report->target, &h->protocol,
				   ret_error);
	if (r == 0)
		r = check_sections(h->keeper, &hello, ret_error);
	if (r == 0)
		r = offer(h, ret_error);
	if (r == 0)
		r = receive(h, &answer, ret_error);
	if (r < 0)
		return r;
	if (answer.type != CHANNEL_READY || answer.n_fds != (h->keeper->vm_fd >= 0))
		return error_set(ret_error, -EPROTO, "relay", "target",
				 "the target sent message %d out of turn", (int)answer.type);
	if (answer.n_fds > 0)
		h->target_vm_fd = steal_fd(&answer.fds[0]);
	return 0;
}

/* A dead target had a VM that the context was moved to, or had not come that far. */
static int park_context(struct vmr_keeper *keeper, int target_vm_fd)
{
	const struct offered *held = &keeper->held;
	autofd kvm_fd = kvm_system_open();
	autofd vm_fd = kvm_fd < 0 ? kvm_fd
				  : kvm_system_create_vm(
					    kvm_fd, describe_vm_type(held->description,
								     held->offer.description_size));
	int r = vm_fd < 0 ? vm_fd : 0;

	/* KVM moves to as many vCPUs as there are in the VM that it moves from. */
	for (unsigned i = 0; r == 0 && i < held->offer.n_vcpus; i++) {
		autofd vcpu_fd = kvm_vm_create_vcpu(vm_fd, i);

		r = vcpu_fd < 0 ? vcpu_fd : 0;
	}
	if (r == 0)
		r = kvm_vm_move_enc_context_from(vm_fd, target_vm_fd);
	if (r == -EINVAL)
		r = kvm_vm_move_enc_context_from(vm_fd, keeper->vm_fd);
	if (r == 0) {
		close_fd(keeper->vm_fd);
		keeper->vm_fd = steal_fd(&vm_fd);
	}
	return r;
}

/* Has a VMM said something that was not read yet? */
static bool has_message(const struct vmr_keeper *keeper)
{
	uint8_t byte;

	return recv(keeper->sock, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* The target does not run the guest: have it back, for the next one. */
static enum vmr_outcome take_back(struct hand_over *h, struct vmr_error *ret_error)
{
	struct vmr_keeper *keeper = h->keeper;
	const struct area *area = &keeper->held.area;
	struct area_header *header = area_header(area);
	int r = 0;

	if (!area_own(area, AREA_SOURCE, AREA_KEPT) && !area_own(area, AREA_TARGET, AREA_KEPT)) {
		/* If it made an offer before it died, the guest is not lost. */
		if (!source_peer_is_dead(h->pidfd, SOURCE_REAP_TIMEOUT_MS) || has_message(keeper))
			return VMR_OUTCOME_DONE;
		(void)error_set(ret_error, -EOWNERDEAD, "relay", "target",
				"the new VMM died when it had begun to run the guest");
		return VMR_OUTCOME_LOST;
	}
	(void)syscall(SYS_pidfd_send_signal, h->pidfd, SIGKILL, NULL, 0);
	while (!source_peer_is_dead(h->pidfd, SOURCE_REAP_TIMEOUT_MS))
		;
	if (keeper->vm_fd >= 0)
		r = park_context(keeper, h->target_vm_fd);
	if (r < 0) {
		(void)error_set(ret_error, r, "KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM", "VM",
				"KVM did not give the confidential guest back: %s",
				strerrordesc_np(-r));
		return VMR_OUTCOME_LOST;
	}
	/* The last of the target's VM, which would take the events. */
	h->target_vm_fd = close_fd(h->target_vm_fd);
	if (atomic_load(&header->all_loaded) != 0)
		describe_ring_irqfds(keeper->held.description, keeper->held.offer.description_size,
				     keeper->held.fds, keeper->held.n_fds);
	atomic_store(&header->all_loaded, 0);
	atomic_store(&header->entered, 0);
	(void)area_own(area, AREA_KEPT, AREA_SOURCE);
	return VMR_OUTCOME_KEPT;
}

static enum vmr_outcome transfer(struct hand_over *h, struct vmr_error *ret_error)
{
	struct vmr_keeper *keeper = h->keeper;
	const struct source_wait wait = {
		.sock = h->sock,
		.pidfd = h->pidfd,
		.area = &keeper->held.area,
		.deadline_ns = monotonic_ns() + h->timeout_ms * NSEC_PER_MSEC,
		.max_ms = h->timeout_ms,
	};
	int r = channel_send(h->sock, CHANNEL_STOPPED, NULL, 0, &keeper->vm_fd, keeper->vm_fd >= 0);

	if (r < 0)
		r = error_set(ret_error, r, "relay", "target", NULL);
	(void)fault_reach("keeper-stopped");
	if (r == 0)
		r = source_await_entered(&wait, ret_error);
	return r == 0 ? VMR_OUTCOME_DONE : take_back(h, ret_error);
}

enum vmr_outcome vmr_keeper_hand_over(struct vmr_keeper *keeper,
				      const struct vmr_keeper_target *target,
				      struct vmr_keeper_report *ret, struct vmr_error *ret_error)
{
	autofd sock = target->sock, pidfd = target->pidfd;
	struct hand_over h = {
		.keeper = keeper,
		.sock = sock,
		.pidfd = pidfd,
		.timeout_ms = target->timeout_ms,
		.target_vm_fd = -1,
	};
	const struct offer *offer = &keeper->held.offer;
	enum vmr_outcome outcome = VMR_OUTCOME_REFUSED;

	*ret = (struct vmr_keeper_report){.begin = monotonic_ns()};
	ret->source.pid = (int)offer->pid;
	protocol_sanitise(ret->source.version, sizeof(ret->source.version), offer->version,
			  sizeof(offer->version));

	int r = prepare(&h, ret, ret_error);

	if (r == 0 && target->check_only)
		*ret_error = (struct vmr_error){.code = 0};
	else if (r == 0)
		outcome = transfer(&h, ret_error);
	if (outcome == VMR_OUTCOME_REFUSED)
		(void)channel_send(sock, CHANNEL_CANCEL, NULL, 0, NULL, 0);

	ret->orphaned = atomic_load(&area_header(&keeper->held.area)->orphaned);
	ret->entered = atomic_load(&area_header(&keeper->held.area)->entered);
	ret->end = monotonic_ns();
	close_fd(h.target_vm_fd);
	if (outcome == VMR_OUTCOME_DONE || outcome == VMR_OUTCOME_LOST)
		forget(keeper);
	return outcome;
}
