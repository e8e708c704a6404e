// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Packets of a peer, with descriptors, to a source that waits for a target's, and to a target that
 * waits for an offer, and loads what it finds in the state area.  What is in the offer is the
 * fuzzer's, too.  KVM is kvm.c.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vmrelay/vmrelay.h>

#include "kvm.h"
#include "kvm/cleanup.h"
#include "lib/channel.h"
#include "lib/protocol.h"
#include "lib/section.h"
#include "lib/source.h"
#include "lib/state.h"
#include "peer.h"

#define PACKETS_MAX 8
#define CHANGES_MAX 16
#define TIMEOUT_MS  5000
#define DEVICE	    (SECTION_VMM_FIRST + 1)

static int save_device(void *opaque, uint16_t version, void *buf)
{
	(void)opaque;
	memset(buf, version, 16);
	return 16;
}

static int load_device(void *opaque, uint16_t version, const void *buf, size_t len)
{
	const volatile uint8_t *bytes = buf;

	(void)opaque, (void)version;
	for (size_t i = 0; i < len; i++)
		(void)bytes[i];
	return 0;
}

static const struct vmr_section sections[] = {
	{.name = "clock",
	 .type = DEVICE,
	 .version = 3,
	 .min_version = 2,
	 .optional = true,
	 .max_size = 16,
	 .save = save_device,
	 .load = load_device},
};

/* The same for all inputs: nothing of a relay stays in it. */
static struct vmr_vm *the_vm(void)
{
	static struct vmr_vm *vm;
	struct vmr_error error;
	unsigned index;

	if (!vm &&
	    (vmr_vm_create(fuzz_kvm_fd(), 0, &vm, &error) < 0 ||
	     vmr_vm_create_irqchip(vm, &error) < 0 ||
	     vmr_vm_create_vcpu(vm, 0, &index, &error) < 0 || vmr_vm_complete(vm, &error) < 0))
		abort();
	return vm;
}

struct relay {
	struct vmr_source *source;
	uint8_t owner; /* what the target makes of the ownership word */
};

static void kick(void *opaque)
{
	struct relay *relay = opaque;

	vmr_source_save_vcpu(relay->source, 0);
	atomic_store(&area_header(source_area(relay->source))->owner, relay->owner & 3);
	atomic_store(&area_header(source_area(relay->source))->all_loaded, relay->owner >> 2 & 1);
}

static void be_source(int sock, uint8_t how)
{
	struct relay relay = {.owner = how};
	const struct vmr_source_config config = {
		.version = "1",
		.sock = sock,
		.target_pidfd = peer_pidfd(),
		.sections = sections,
		.n_sections = ARRAY_SIZE(sections),
		.max_downtime_ms = 1,
		.kick = kick,
		.opaque = &relay,
	};
	struct vmr_error error;
	int event;

	if (vmr_source_new(the_vm(), &config, &relay.source, &error) < 0)
		abort();
	while ((event = vmr_source_dispatch(relay.source, &error)) > 0)
		if (event == VMR_SOURCE_HELLO) {
			if (vmr_source_offer(relay.source, &error) < 0)
				break;
		} else if (vmr_source_stop(relay.source, &error) <= VMR_OUTCOME_LOST) {
			break;
		}
	(void)vmr_source_free(relay.source);
}

static void read_blob(const volatile uint8_t *blob, size_t len)
{
	for (size_t i = 0; blob && i < len; i++)
		(void)blob[i];
}

static void *load_vcpu(void *opaque)
{
	(void)vmr_target_load_vcpu(opaque, 0);
	return NULL;
}

static int save(const struct vmr_vm *vm, struct section_writer *vcpu, size_t *ret_first,
		struct section_writer *rest)
{
	struct vmr_error error;
	int r = state_save_vcpu(vm, 0, STATE_FIRST, vcpu, &error);
	void *device;

	*ret_first = vcpu->len;
	if (r == 0)
		r = state_save_vcpu(vm, 0, STATE_REST, vcpu, &error);
	if (r == 0)
		r = state_save_vm(vm, rest, &error);
	device = section_begin(rest, DEVICE, 0, 3, 2, SECTION_OPTIONAL, 16);
	if (r < 0 || !device)
		return -ENOSPC;
	(void)save_device(NULL, 3, device);
	section_end(rest, 16);
	return 0;
}

/* The state that the source says it has saved: a good one but for what the input changes. */
static void publish(const struct peer *peer, const struct vmr_vm *vm, struct input *in)
{
	autofree uint8_t *buf = calloc(2, PEER_SLOT_SIZE);
	struct section_writer w[2] = {{buf, PEER_SLOT_SIZE, 0},
				      {buf + PEER_SLOT_SIZE, PEER_SLOT_SIZE, 0}};
	size_t first;

	/* A target would wait for nothing. */
	if (save(vm, &w[0], &first, &w[1]) < 0)
		first = w[0].len = w[1].len = 8;
	for (unsigned i = 0; i < CHANGES_MAX && in->left > 0; i++) {
		uint16_t where = input_u16(in);
		struct section_writer *changed = &w[where >> 15];
		uint8_t byte = input_u8(in);

		if (changed->len > 0)
			changed->buf[(where & 0x7fff) % changed->len] ^= byte;
	}
	area_publish(&peer->area, 0, AREA_FIRST, w[0].buf, 0, first);
	area_publish(&peer->area, 0, AREA_WHOLE, w[0].buf, first, w[0].len);
	area_publish(&peer->area, 1, AREA_WHOLE, w[1].buf, 0, w[1].len);
}

/* With a thread for its vCPU, up to the guest's entry. */
static void load(struct vmr_target *target, const struct peer *peer, const struct vmr_vm *vm,
		 struct input *in)
{
	struct vmr_error error;
	pthread_t thread;

	atomic_store(&area_header(&peer->area)->owner, input_u8(in) & 3);
	publish(peer, vm, in);
	if (pthread_create(&thread, NULL, load_vcpu, target) != 0)
		abort();
	/* If it is not ready, the thread has to be told all the same. */
	(void)vmr_target_ready(target, &error);
	(void)vmr_target_finish(target, &error);
	(void)pthread_join(thread, NULL);
}

static void be_target(int sock, const struct peer *peer, struct input *in)
{
	const struct vmr_target_config config = {
		.version = "2", .sock = sock, .timeout_ms = TIMEOUT_MS};
	struct vmr_target *target;
	struct vmr_error error;
	struct vmr_vm *vm = NULL;
	size_t len = 0;
	int fd;

	if (vmr_target_new(&config, &target, &error) < 0)
		abort();
	if (vmr_target_accept(target, sections, ARRAY_SIZE(sections), &error) == 0) {
		autofd kvm_fd = fuzz_kvm_fd();

		for (unsigned i = 0; (fd = vmr_target_take_fd(target, PEER_TAG, i)) >= 0; i++)
			close_fd(fd);
		read_blob(vmr_target_blob(target, SECTION_VMM_FIRST, &len), len);
		(void)vmr_target_paused(target);
		if (vmr_target_build(target, kvm_fd, &vm, &error) < 0)
			vmr_target_refuse(target, &error);
		else if (vmr_vm_n_vcpus(vm) == 1)
			load(target, peer, vm, in);
	}
	(void)vmr_target_free(target);
	(void)vmr_vm_free(vm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t who = input_u8(&in);
	struct input description = input_part(&in, input_u16(&in) % 1024);
	unsigned n_packets = who >> 5;
	struct peer peer;
	int pair[2];

	peer_set_up(&peer, description);
	peer_connect(pair);
	for (unsigned i = 0; i < (n_packets ? n_packets : PACKETS_MAX) && in.left > 0; i++)
		peer_send(&peer, pair[0], &in);
	if (who & 1) {
		/* Nothing more comes: it waits for nobody. */
		(void)shutdown(pair[0], SHUT_WR);
		be_target(pair[1], &peer, &in);
	} else {
		be_source(pair[1], who >> 1);
	}
	close_fd(pair[0]);
	peer_tear_down(&peer);
	return 0;
}
