// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A keeper: packets of a VMM, the state that the guardian of a dead one has left, and targets that
 * are handed the guest, one after the other, each of which may leave the state area as it likes.
 * KVM is kvm.c.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include <vmrelay/rescue.h>

#include "kvm/cleanup.h"
#include "lib/channel.h"
#include "lib/section.h"
#include "peer.h"

#define VMM_PACKETS_MAX	   6
#define TARGETS_MAX	   3
#define TARGET_PACKETS_MAX 4

/* Contents and, which need not be the same, length of a slot. */
static void fill_slot(const struct peer *peer, unsigned slot, struct input *in)
{
	struct area_slot *slots =
		(struct area_slot *)(peer->area.base + sizeof(struct area_header));
	uint8_t how = input_u8(in);
	struct input contents = input_part(in, input_u8(in));
	uint32_t len = (uint32_t)contents.left;

	if (len > 0)
		area_publish(&peer->area, slot, AREA_WHOLE, contents.at, 0, len);
	if ((how & 3) == 1)
		len = PEER_SLOT_SIZE + 1 - (how >> 2);
	else if ((how & 3) == 2)
		len = input_u32(in);
	else if ((how & 3) == 3)
		len = how & 4 ? AREA_ABORTED : AREA_EMPTY;
	atomic_store(&slots[slot].word[AREA_WHOLE], len);
}

static void change_area(const struct peer *peer, struct input *in)
{
	struct area_header *header = area_header(&peer->area);
	uint8_t what = input_u8(in);

	atomic_store(&header->owner, what & 3);
	atomic_store(&header->all_loaded, what >> 2 & 1);
	atomic_store(&header->is_paused, what >> 3 & 1);
	for (unsigned slot = 0; slot < 2; slot++)
		if (what >> (6 + slot) & 1)
			fill_slot(peer, slot, in);
}

static void look(const struct vmr_keeper *keeper)
{
	size_t len = 0;
	const volatile uint8_t *blob = vmr_keeper_blob(keeper, SECTION_VMM_FIRST, &len);

	(void)vmr_keeper_fd(keeper, PEER_TAG);
	for (size_t i = 0; blob && i < len; i++)
		(void)blob[i];
}

static enum vmr_outcome hand_over(struct vmr_keeper *keeper, const struct peer *peer,
				  struct input *in)
{
	uint8_t how = input_u8(in);
	struct vmr_keeper_target target = {.pidfd = peer_pidfd(), .check_only = how & 1};
	struct vmr_keeper_report report;
	struct vmr_error error;
	enum vmr_outcome outcome;
	int pair[2];

	peer_connect(pair);
	target.sock = pair[1];
	for (unsigned i = 0; i < (how >> 1) % (TARGET_PACKETS_MAX + 1); i++)
		peer_send(peer, pair[0], in);
	change_area(peer, in);
	outcome = vmr_keeper_hand_over(keeper, &target, &report, &error);
	close_fd(pair[0]);
	return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct input description = input_part(&in, input_u16(&in) % 1024);
	uint8_t n_packets = input_u8(&in) % (VMM_PACKETS_MAX + 1);
	enum vmr_outcome outcome = VMR_OUTCOME_KEPT;
	struct vmr_keeper *keeper;
	struct vmr_error error;
	struct peer peer;
	int pair[2], event;

	peer_set_up(&peer, description);
	peer_connect(pair);
	for (unsigned i = 0; i < n_packets; i++)
		peer_send(&peer, pair[0], &in);
	/* It waits for nobody that lives. */
	close_fd(pair[0]);
	change_area(&peer, &in);
	if (vmr_keeper_new(pair[1], &keeper, &error) < 0)
		abort();
	event = vmr_keeper_wait(keeper, &error);
	look(keeper);
	if (event == VMR_KEEPER_ORPHANED)
		for (unsigned i = 0; i < TARGETS_MAX && in.left > 0 &&
				     outcome != VMR_OUTCOME_DONE && outcome != VMR_OUTCOME_LOST;
		     i++)
			outcome = hand_over(keeper, &peer, &in);
	(void)vmr_keeper_free(keeper);
	peer_tear_down(&peer);
	return 0;
}
