/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source of a relay.
 *
 * Theory of operation.  Until the target is ready nothing here blocks and the guest does not notice
 * anything; every failure refuses the relay.  From the first kick on, the main thread stays in
 * vmr_source_stop() while each vCPU thread saves its own vCPU; the target's thread for it loads it
 * as soon as it is published.  The source keeps its VM as it is, so that all it takes to go on is
 * to win the ownership word and to let the vCPU threads run.  Nothing is decided by guessing: the
 * target is known to be dead by its socket or its pidfd, and if it is slow, the compare-and-swap
 * that makes the guest ours forbids it to enter.
 */
#include <vmrelay/relay.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "area.h"
#include "channel.h"
#include "describe.h"
#include "error.h"
#include "fault.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "preflight.h"
#include "protocol.h"
#include "source.h"
#include "state.h"

#define NSEC_PER_MSEC 1000000ULL
/* How often a waiting main thread looks for what no socket tells it. */
#define POLL_SLICE_MS	 5
#define DEATH_TIMEOUT_MS 1000

enum source_state {
	SOURCE_WAIT_HELLO,
	SOURCE_GOT_HELLO,
	SOURCE_WAIT_READY,
	SOURCE_GOT_READY,
	SOURCE_STOPPING,
	SOURCE_ENDED,
};

enum { ALL_OUT = 1, TOO_LATE = 2 };

struct vmr_source {
	struct vmr_vm *vm;
	struct vmr_source_config config;
	enum source_state state;
	struct vmr_peer peer;
	uint16_t protocol;
	uint16_t *versions; /* of config.sections as written to this target; 0: left out */

	/* The offer. */
	struct fd_list fds;
	struct section_writer description;
	struct area area;

	/* The stop. */
	struct vmr_times times;
	_Atomic uint32_t n_out;	  /* vCPUs that left the guest */
	_Atomic uint32_t all_out; /* set once: ALL_OUT or TOO_LATE */
	_Atomic uint32_t n_saved;
	_Atomic uint64_t all_saved;
	_Atomic uint32_t failed; /* 1: somebody owns error, 2: it is filled */
	struct vmr_error error;
	uint8_t **buffers;  /* per vCPU, and the VM's last: sections before they are published */
	size_t *lengths;    /* of their contents */
	int target_vm_fd;   /* of a confidential guest */
	uint64_t own_group; /* that a move back to this process charges */

	char warnings[PREFLIGHT_WARNINGS_MAX][PREFLIGHT_WARNING_SIZE];
	unsigned n_warnings;
};

static int out_of_memory(struct vmr_error *ret_error)
{
	return error_set(ret_error, -ENOMEM, "allocation", "relay", NULL);
}

int vmr_source_new(struct vmr_vm *vm, const struct vmr_source_config *config,
		   struct vmr_source **ret, struct vmr_error *ret_error)
{
	autofd sock = config->sock, pidfd = config->target_pidfd;
	struct vmr_source *source;
	int r = describe_check(vm, ret_error);

	if (r == 0)
		r = preflight_source(vm, ret_error);
	if (r < 0)
		return r;
	r = channel_ask_sender(sock);
	if (r < 0)
		return error_set(ret_error, r, "SO_PASSCRED", "relay", NULL);
	source = calloc(1, sizeof(*source));
	if (!source)
		return out_of_memory(ret_error);
	source->vm = vm;
	source->config = *config;
	source->area = (struct area)AREA_INIT;
	source->target_vm_fd = -1;
	source->versions = calloc(config->n_sections + 1, sizeof(source->versions[0]));
	source->times.begin = monotonic_ns();
	if (!source->versions) {
		free(source);
		return out_of_memory(ret_error);
	}
	source->n_warnings = preflight_warnings(vm, source->warnings);
	if (config->strict && source->n_warnings > 0) {
		r = error_set(ret_error, -EOPNOTSUPP, "preflight", "kernel", "%s",
			      source->warnings[0]);
		free(source->versions);
		free(source);
		return r;
	}
	source->config.sock = steal_fd(&sock);
	source->config.target_pidfd = steal_fd(&pidfd);
	*ret = source;
	return 0;
}

int source_new_for_keeper(struct vmr_vm *vm, const struct vmr_source_config *config,
			  struct vmr_source **ret, struct vmr_error *ret_error)
{
	int r = vmr_source_new(vm, config, ret, ret_error);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < config->n_sections; i++)
		(*ret)->versions[i] = config->sections[i].version;
	(*ret)->protocol = VMR_PROTOCOL_MAX;
	(*ret)->state = SOURCE_GOT_HELLO;
	return 0;
}

struct area *source_area(struct vmr_source *source)
{
	return &source->area;
}

struct vmr_source *vmr_source_free(struct vmr_source *source)
{
	if (!source)
		return NULL;
	if (source->state < SOURCE_STOPPING)
		(void)channel_send(source->config.sock, CHANNEL_CANCEL, NULL, 0, NULL, 0);
	close_fd(source->config.sock);
	close_fd(source->config.target_pidfd);
	area_done(&source->area);
	free(source->fds.fd);
	free(source->description.buf);
	for (unsigned i = 0; source->buffers && i <= source->vm->n_vcpus; i++)
		free(source->buffers[i]);
	free(source->buffers);
	free(source->lengths);
	free(source->versions);
	close_fd(source->target_vm_fd);
	free(source);
	return NULL;
}

int vmr_source_fd(const struct vmr_source *source)
{
	return source->config.sock;
}

const char *vmr_source_warning(const struct vmr_source *source, unsigned n)
{
	return n < source->n_warnings ? source->warnings[n] : NULL;
}

void vmr_source_times(const struct vmr_source *source, struct vmr_times *ret)
{
	*ret = source->times;
}

const struct vmr_peer *vmr_source_peer(const struct vmr_source *source)
{
	return &source->peer;
}

/* Before the stop. */

/* The newest version that both know, or 0. */
static uint16_t common_version(uint16_t min, uint16_t max, const struct hello_section *readable)
{
	uint16_t version = max;

	if (!readable)
		return 0;
	if (readable->max_version < version)
		version = readable->max_version;
	return version >= min && version >= readable->min_version ? version : 0;
}

static int negotiate(struct vmr_source *source, const struct channel_message *m,
		     struct vmr_error *ret_error)
{
	struct hello_message hello;
	int r = protocol_hello(m, source->config.target_pidfd, &hello, &source->peer,
			       &source->protocol, ret_error);

	if (r < 0)
		return r;
	for (const struct state_kind *k = state_kinds; k->type != 0; k++)
		if (state_is_written(source->vm, k->type) &&
		    common_version(k->min_version, k->version, protocol_find(&hello, k->type)) == 0)
			return protocol_unreadable(k->type, k->name, ret_error);
	for (unsigned i = 0; i < source->config.n_sections; i++) {
		const struct vmr_section *s = &source->config.sections[i];

		source->versions[i] =
			common_version(s->min_version, s->version, protocol_find(&hello, s->type));
		if (source->versions[i] == 0 && !s->optional)
			return protocol_unreadable(s->type, s->name, ret_error);
	}
	return 0;
}

static bool is_confidential(const struct vmr_source *source)
{
	return source->vm->sev.kind != VMR_CONFIDENTIAL_NONE;
}

int vmr_source_dispatch(struct vmr_source *source, struct vmr_error *ret_error)
{
	automessage m = {.n_fds = 0};
	int r = channel_receive(source->config.sock, &m);

	if (r == -EAGAIN)
		return VMR_SOURCE_NOTHING;
	if (r == -EBADMSG)
		return error_set(ret_error, r, "relay", "target",
				 "the target sent something that is no relay message");
	if (r < 0)
		return error_set(ret_error, r, "relay", "target",
				 source->state == SOURCE_WAIT_HELLO
					 ? "the new VMM ended before it said hello: it is not a "
					   "vmrelay VMM, or could not start"
					 : "the new VMM ended before it was ready");
	if (m.type == CHANNEL_FAILED)
		return protocol_failed(&m, ret_error);

	if (source->state == SOURCE_WAIT_HELLO) {
		r = negotiate(source, &m, ret_error);
		if (r == 0)
			r = fault_reach("source-hello");
		if (r < 0)
			return r;
		source->times.hello = monotonic_ns();
		source->state = SOURCE_GOT_HELLO;
		return VMR_SOURCE_HELLO;
	}
	if (source->state == SOURCE_WAIT_READY && m.type == CHANNEL_READY &&
	    m.n_fds == is_confidential(source)) {
		if (m.n_fds > 0)
			source->target_vm_fd = steal_fd(&m.fds[0]);
		if (is_confidential(source)) {
			source->own_group = preflight_own_group();
			r = preflight_charge(source->vm, source->config.target_pidfd, ret_error);
			if (r < 0)
				return r;
		}
		source->times.ready = monotonic_ns();
		source->state = SOURCE_GOT_READY;
		return VMR_SOURCE_READY;
	}
	return error_set(ret_error, -EPROTO, "relay", "target",
			 "the target sent message %d out of turn", (int)m.type);
}

/* Make room in the description, which begins with what the VMM adds. */
static int reserve(struct section_writer *w, size_t more)
{
	uint8_t *grown = realloc(w->buf, w->len + more);

	if (!grown)
		return -ENOMEM;
	w->buf = grown;
	w->size = w->len + more;
	return 0;
}

int vmr_source_add_fd(struct vmr_source *source, uint32_t tag, int fd)
{
	int position = fd_list_add(&source->fds, fd);
	uint32_t where;
	int r;

	if (position < 0)
		return position;
	where = (uint32_t)position;
	r = reserve(&source->description, SECTION_SPACE(sizeof(where)));
	return r < 0 ? r
		     : section_put(&source->description, SECTION_VMM_FD, tag, &where,
				   sizeof(where));
}

int vmr_source_add_blob(struct vmr_source *source, uint32_t type, const void *data, size_t len)
{
	int r = type < SECTION_VMM_FIRST ? -EINVAL
					 : reserve(&source->description, SECTION_SPACE(len));

	return r < 0 ? r : section_put(&source->description, type, 0, data, len);
}

static size_t vm_slot_size(const struct vmr_source *source)
{
	size_t size = state_vm_size(source->vm);

	for (unsigned i = 0; i < source->config.n_sections; i++)
		size += SECTION_SPACE(source->config.sections[i].max_size);
	return size;
}

static size_t slot_size(const struct vmr_source *source)
{
	size_t vcpu = state_vcpu_size(source->vm), vm = vm_slot_size(source);

	return vcpu > vm ? vcpu : vm;
}

/* A memory object whose contents nobody can change any more. */
static int sealed_copy(const void *data, size_t len)
{
	autofd fd = memfd_create("vmrelay-description", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, (const uint8_t *)data + at, len - at);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	return steal_fd(&fd);
}

int source_send_fds(int sock, const int *fds, unsigned n)
{
	int r = 0;

	for (unsigned at = 0; r == 0 && at < n; at += CHANNEL_FDS_MAX) {
		unsigned left = n - at;

		r = channel_send(sock, CHANNEL_FDS, NULL, 0, fds + at,
				 left < CHANNEL_FDS_MAX ? left : CHANNEL_FDS_MAX);
	}
	return r;
}

static int allocate_buffers(struct vmr_source *source)
{
	unsigned n = source->vm->n_vcpus + 1;

	source->buffers = calloc(n, sizeof(source->buffers[0]));
	source->lengths = calloc(n, sizeof(source->lengths[0]));
	for (unsigned i = 0; source->buffers && i < n; i++) {
		/* Written now: page faults here would be part of the downtime. */
		source->buffers[i] = malloc(source->area.slot_size);
		if (!source->buffers[i])
			return -ENOMEM;
		memset(source->buffers[i], 0, source->area.slot_size);
	}
	return source->buffers && source->lengths ? 0 : -ENOMEM;
}

int vmr_source_offer(struct vmr_source *source, struct vmr_error *ret_error)
{
	struct vmr_vm *vm = source->vm;
	struct offer offer = {
		.protocol = source->protocol,
		.pid = (uint32_t)getpid(),
		.flags = source->config.paused ? OFFER_PAUSED : 0,
		.n_vcpus = vm->n_vcpus,
		.max_downtime_ms = source->config.max_downtime_ms,
		.slot_size = slot_size(source),
	};
	int r = reserve(&source->description, describe_size(vm));

	if (source->state != SOURCE_GOT_HELLO)
		return error_set(ret_error, -EINVAL, "offer", "relay", NULL);
	if (r < 0)
		return out_of_memory(ret_error);
	r = describe_write(vm, &source->description, &source->fds, ret_error);
	if (r < 0)
		return r;

	autofd description = sealed_copy(source->description.buf, source->description.len);
	autofd pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (description < 0 || pidfd < 0)
		return error_set(ret_error, description < 0 ? description : -errno, "offer",
				 "relay", NULL);
	r = area_create(&source->area, vm->n_vcpus + 1, slot_size(source));
	if (r == 0)
		r = allocate_buffers(source);
	if (r < 0)
		return error_set(ret_error, r, "offer", "state area", NULL);

	const int fds[PROTOCOL_FDS_MIN] = {description, source->area.fd, pidfd};

	offer.n_fds = source->fds.n;
	offer.description_size = source->description.len;
	(void)snprintf(offer.version, sizeof(offer.version), "%s", source->config.version);
	r = channel_send(source->config.sock, CHANNEL_OFFER, &offer, sizeof(offer), fds,
			 PROTOCOL_FDS_MIN);
	if (r == 0)
		r = source_send_fds(source->config.sock, source->fds.fd, source->fds.n);
	if (r == 0)
		r = fault_reach("source-offered");
	if (r < 0)
		return error_set(ret_error, r, "offer", "target",
				 "sending the machine to the target failed: %s",
				 strerrordesc_np(-r));
	source->state = SOURCE_WAIT_READY;
	return 0;
}

/* The stop. */

static void fail(struct vmr_source *source, const struct vmr_error *error)
{
	uint32_t none = 0;

	if (atomic_compare_exchange_strong(&source->failed, &none, 1)) {
		source->error = *error;
		atomic_store(&source->failed, 2);
	}
}

static int save_and_publish(struct vmr_source *source, unsigned index, struct vmr_error *ret_error)
{
	struct section_writer w = {source->buffers[index], source->area.slot_size, 0};
	int r = state_save_vcpu(source->vm, index, STATE_FIRST, &w, ret_error);
	size_t first = w.len;

	if (r < 0)
		return r;
	area_publish(&source->area, index, AREA_FIRST, w.buf, 0, first);
	r = state_save_vcpu(source->vm, index, STATE_REST, &w, ret_error);
	if (r == 0 && fault_reach("source-save-vcpu") < 0)
		r = error_set(ret_error, -EIO, "fault", "vCPU", NULL);
	if (r < 0)
		return r;
	if (atomic_fetch_add(&source->n_saved, 1) + 1 == source->vm->n_vcpus)
		atomic_store(&source->all_saved, monotonic_ns());
	source->lengths[index] = w.len;
	area_publish(&source->area, index, AREA_WHOLE, w.buf, first, w.len);
	return 0;
}

void vmr_source_save_vcpu(struct vmr_source *source, unsigned index)
{
	unsigned n = source->vm->n_vcpus;
	struct vmr_error error;

	if (atomic_fetch_add(&source->n_out, 1) + 1 == n) {
		source->times.all_out = monotonic_ns();
		(void)word_set(&source->all_out, ALL_OUT);
	} else {
		(void)word_wait(&source->all_out, 0, 0);
	}
	if (atomic_load(&source->all_out) != ALL_OUT)
		return;
	if (save_and_publish(source, index, &error) < 0)
		fail(source, &error);
}

static int save_devices(struct vmr_source *source, struct section_writer *w,
			struct vmr_error *ret_error)
{
	for (unsigned i = 0; i < source->config.n_sections; i++) {
		const struct vmr_section *s = &source->config.sections[i];
		uint16_t version = source->versions[i];

		if (version == 0)
			continue;

		void *payload = section_begin(w, s->type, s->instance, version, version,
					      s->optional ? SECTION_OPTIONAL : 0, s->max_size);
		int len = payload ? s->save(s->opaque, version, payload) : -ENOSPC;

		if (len >= 0 && (uint32_t)len > s->max_size)
			len = -E2BIG;
		if (len < 0)
			return error_set(ret_error, len, "save", "device",
					 "saving the %s state failed: %s", s->name,
					 strerrordesc_np(-len));
		section_end(w, (size_t)len);
	}
	return 0;
}

static int save_vm(struct vmr_source *source, struct vmr_error *ret_error)
{
	unsigned slot = source->vm->n_vcpus;
	struct section_writer w = {source->buffers[slot], source->area.slot_size, 0};
	int r = state_save_vm(source->vm, &w, ret_error);

	if (r == 0)
		r = save_devices(source, &w, ret_error);
	if (r == 0 && fault_reach("source-save-vm") < 0)
		r = error_set(ret_error, -EIO, "fault", "VM", NULL);
	if (r < 0)
		return r;
	source->lengths[slot] = w.len;
	area_publish(&source->area, slot, AREA_WHOLE, w.buf, 0, w.len);
	return 0;
}

static int tell_stopped(const struct vmr_source *source, struct vmr_error *ret_error)
{
	int r = channel_send(source->config.sock, CHANNEL_STOPPED, NULL, 0, &source->vm->vm_fd,
			     is_confidential(source));

	if (r < 0)
		return error_set(ret_error, r, "relay", "target",
				 "telling the target that the guest is stopped failed: %s",
				 strerrordesc_np(-r));
	return 0;
}

int source_salvage(struct vmr_source *source, struct vmr_error *ret_error)
{
	int r = 0;

	(void)vm_unbind_irqfds(source->vm);
	for (unsigned i = 0; r == 0 && i < source->vm->n_vcpus; i++)
		r = save_and_publish(source, i, ret_error);
	return r < 0 ? r : save_vm(source, ret_error);
}

bool source_peer_is_dead(int pidfd, unsigned timeout_ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	uint64_t deadline = monotonic_ns() + timeout_ms * NSEC_PER_MSEC;
	int r;

	/* Its death may come with a signal to us. */
	do
		r = poll(&p, 1, (int)timeout_ms);
	while (r < 0 && errno == EINTR && monotonic_ns() < deadline);
	return r > 0;
}

static bool target_is_dead(const struct vmr_source *source, unsigned timeout_ms)
{
	return source_peer_is_dead(source->config.target_pidfd, timeout_ms);
}

int source_await_entered(const struct source_wait *wait, struct vmr_error *ret_error)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = wait->sock, .events = POLLIN},
				      {.fd = wait->pidfd, .events = POLLIN}};
		automessage m = {.n_fds = 0};
		int r = channel_receive(wait->sock, &m);

		/* What the target says is worth nothing if the ownership word does not say so. */
		if (r == 0 && m.type == CHANNEL_ENTERED && area_owner(wait->area) == AREA_ENTERED)
			return 0;
		if (r == 0 && m.type == CHANNEL_FAILED)
			return protocol_failed(&m, ret_error);
		if (r == 0)
			return error_set(ret_error, -EPROTO, "relay", "target",
					 "the target sent message %d out of turn", (int)m.type);
		if (r != -EAGAIN)
			return error_set(ret_error, r, "relay", "target",
					 "the target ended before it ran the guest");
		if (source_peer_is_dead(wait->pidfd, 0))
			return error_set(ret_error, -ESRCH, "relay", "target",
					 "the target died before it ran the guest");
		if (wait->failed && atomic_load(wait->failed) == 2) {
			*ret_error = *wait->failure;
			return ret_error->code;
		}
		if (monotonic_ns() > wait->deadline_ns)
			return error_set(ret_error, -ETIMEDOUT, "relay", "target",
					 "the target did not run the guest within %u ms",
					 wait->max_ms);
		(void)poll(p, 2, POLL_SLICE_MS);
	}
}

static int await_entered(const struct vmr_source *source, uint64_t deadline,
			 struct vmr_error *ret_error)
{
	const struct source_wait wait = {
		.sock = source->config.sock,
		.pidfd = source->config.target_pidfd,
		.area = &source->area,
		.deadline_ns = deadline,
		.max_ms = source->config.max_downtime_ms,
		.failed = &source->failed,
		.failure = &source->error,
	};

	return source_await_entered(&wait, ret_error);
}

/* Load what was saved at the stop into another VM of this process. */
static int load_saved(const struct vmr_source *source, struct vmr_vm *vm,
		      struct vmr_error *ret_error)
{
	struct section_reader reader = {source->buffers[vm->n_vcpus], source->lengths[vm->n_vcpus]};
	struct section s;
	unsigned loaded = 0;
	int r = 0;

	while (r == 0 && section_next(&reader, &s) > 0)
		if (s.header.type < SECTION_VMM_FIRST)
			r = state_load_vm(vm, &s, &loaded, ret_error);
	for (unsigned i = 0; r == 0 && i < vm->n_vcpus; i++) {
		struct state_vcpu state = {.payload = {NULL}};

		r = state_parse_vcpu(vm, STATE_REST, source->buffers[i], source->lengths[i], &state,
				     ret_error);
		if (r == 0)
			r = state_load_vcpu(vm, i, STATE_FIRST, &state, NULL, ret_error);
		if (r == 0)
			r = state_load_vcpu(vm, i, STATE_REST, &state, NULL, ret_error);
	}
	return r;
}

/*
 * KVM has moved the context of a confidential guest to the target's VM, and this VM is dead for
 * good.  The target's lives on by the fd that is held here: move the context from it into a new VM
 * like the old one, which then takes the place of the old one.
 */
static int bring_back(struct vmr_source *source, struct vmr_error *ret_error)
{
	struct vmr_vm *vm;
	int r = vm_clone(source->vm, &vm, ret_error);

	if (r < 0)
		return r;
	r = load_saved(source, vm, ret_error);
	if (r == 0) {
		r = kvm_vm_move_enc_context_from(vm->vm_fd, source->target_vm_fd);
		if (r < 0)
			(void)error_set(ret_error, r, "KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM", "VM",
					"KVM did not move the confidential guest back: %s",
					strerrordesc_np(-r));
	}
	if (r == 0)
		r = vm_replace(source->vm, vm, ret_error);
	if (r == 0)
		source->vm->sev.charged = source->own_group;
	(void)vmr_vm_free(vm);
	return r;
}

/*
 * Win the guest back.  Before this process touches what both have (irqfds), the target is killed
 * and waited for: it cannot enter the guest any more, but it could still take its interrupts.
 */
static enum vmr_outcome take_back(struct vmr_source *source, bool sock_ended,
				  struct vmr_error *ret_error)
{
	if (!area_own(&source->area, AREA_SOURCE, AREA_KEPT) &&
	    !area_own(&source->area, AREA_TARGET, AREA_KEPT)) {
		/*
		 * It entered, whether it told us or not.  A dying process closes its sockets a
		 * little before its pidfd says so.
		 */
		if (!target_is_dead(source, sock_ended ? DEATH_TIMEOUT_MS : 0))
			return VMR_OUTCOME_DONE;
		(void)error_set(ret_error, -EOWNERDEAD, "relay", "target",
				"the target died when it had begun to run the guest");
		return VMR_OUTCOME_LOST;
	}
	(void)fault_reach("source-kept");
	(void)syscall(SYS_pidfd_send_signal, source->config.target_pidfd, SIGKILL, NULL, 0);

	bool is_dead = target_is_dead(source, SOURCE_REAP_TIMEOUT_MS);
	int r = 0;

	if (is_confidential(source)) {
		/*
		 * KVM moves the context in one piece.  Once the target is dead, or has moved it, it
		 * is clear where it is.
		 */
		while (!is_dead && !vmr_vm_is_dead(source->vm))
			is_dead = target_is_dead(source, SOURCE_REAP_TIMEOUT_MS);
		if (vmr_vm_is_dead(source->vm) && bring_back(source, ret_error) < 0)
			return VMR_OUTCOME_LOST;
		/* The last of the target's VM, which would go on taking events from the irqfds. */
		source->target_vm_fd = close_fd(source->target_vm_fd);
	}
	r = vm_bind_irqfds(source->vm);

	/*
	 * What the target took out of the eventfds went with it.  An interrupt too many is
	 * harmless, one too few is not.
	 */
	if (atomic_load(&area_header(&source->area)->all_loaded) != 0)
		vm_ring_irqfds(source->vm);
	if (r < 0)
		(void)error_set(ret_error, r, "KVM_IRQFD", "VM", NULL);
	return VMR_OUTCOME_KEPT;
}

enum vmr_outcome vmr_source_stop(struct vmr_source *source, struct vmr_error *ret_error)
{
	uint64_t deadline;
	int r = source->state == SOURCE_GOT_READY && !source->config.check_only
			? fault_reach("source-ready")
			: -EINVAL;

	if (r < 0) {
		(void)error_set(ret_error, r, "stop", "relay", NULL);
		return VMR_OUTCOME_REFUSED;
	}

	/* An event from here on waits in its eventfd for whoever runs the guest next. */
	(void)vm_unbind_irqfds(source->vm);
	source->state = SOURCE_STOPPING;
	source->times.stop = monotonic_ns();
	deadline = source->times.stop + source->config.max_downtime_ms * NSEC_PER_MSEC;
	source->config.kick(source->config.opaque);
	(void)fault_reach("source-kicked");

	if (word_wait(&source->all_out, 0, deadline) < 0 && word_set(&source->all_out, TOO_LATE))
		r = error_set(ret_error, -ETIMEDOUT, "stop", "guest",
			      "a vCPU did not leave the guest within %u ms",
			      source->config.max_downtime_ms);
	if (r == 0)
		r = save_vm(source, ret_error);
	if (r == 0)
		r = tell_stopped(source, ret_error);
	(void)fault_reach("source-saved");
	if (r == 0)
		r = await_entered(source, deadline, ret_error);

	enum vmr_outcome outcome =
		r == 0 ? VMR_OUTCOME_DONE : take_back(source, r == -EPIPE, ret_error);

	if (outcome == VMR_OUTCOME_DONE)
		(void)fault_reach("source-done");
	source->times.all_saved = atomic_load(&source->all_saved);
	source->times.all_loaded = atomic_load(&area_header(&source->area)->all_loaded);
	source->times.entered = atomic_load(&area_header(&source->area)->entered);
	source->times.end = monotonic_ns();
	source->state = SOURCE_ENDED;
	return outcome;
}
