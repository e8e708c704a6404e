// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Packets of a peer, with descriptors, to a source that waits for a target's, and to a target that
 * waits for an offer.  What is in the offer is the fuzzer's, too.  KVM is kvm.c.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include <vmrelay/vmrelay.h>

#include "kvm.h"
#include "kvm/cleanup.h"
#include "lib/channel.h"
#include "lib/protocol.h"
#include "lib/section.h"
#include "lib/source.h"
#include "peer.h"

#define PACKETS_MAX 8
#define DEVICE	    (SECTION_VMM_FIRST + 1)

static int save_device(void *opaque, uint16_t version, void *buf)
{
	(void)opaque;
	memset(buf, version, 16);
	return 16;
}

static const struct vmr_section sections[] = {
	{.name = "clock",
	 .type = DEVICE,
	 .version = 3,
	 .min_version = 2,
	 .optional = true,
	 .max_size = 16,
	 .save = save_device},
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

static void be_target(int sock)
{
	const struct vmr_target_config config = {.version = "2", .sock = sock, .timeout_ms = 0};
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
	}
	(void)vmr_target_free(target);
	(void)vmr_vm_free(vm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t who = input_u8(&in);
	struct input description = input_part(&in, input_u16(&in) % 1024);
	struct peer peer;
	int pair[2];

	peer_set_up(&peer, description);
	peer_connect(pair);
	for (unsigned i = 0; i < PACKETS_MAX && in.left > 0; i++)
		peer_send(&peer, pair[0], &in);
	if (who & 1)
		be_target(pair[1]);
	else
		be_source(pair[1], who >> 1);
	close_fd(pair[0]);
	peer_tear_down(&peer);
	return 0;
}
