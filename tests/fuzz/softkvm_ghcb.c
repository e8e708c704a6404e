// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * VMGEXITs of an SEV-ES guest whose GHCB, and the answers of whose VMM, are the fuzzer's.  The
 * vCPU and its memory are those of the unit tests.
 */
#include <stdlib.h>

#include "input.h"
#include "kvm/cleanup.h"
#include "tests/unit/softkvm/sev/es_guest.h"

#define EXITS_MAX   16
#define ANSWERS_MAX 64 /* of the VMM, for one exit */

static const uint64_t events[] = {
	0x27,	    0x37,	0x6e,	    0x6f,	0x72,	    0x76,	0x77,
	0x7b,	    0x7c,	0x81,	    0x87,	0x89,	    0x8a,	0x8b,
	0x400,	    0x80000001, 0x80000002, 0x80000003, 0x80000004, 0x80000005, 0x80000006,
	0x80000010, 0x80000013, 0x8000fffd, 0x8000fffe, 0x8000ffff,
};
static const uint16_t fields[] = {0xcb, 0x1f8, 0x308, 0x310, 0x318, 0x370, 0x3a8, 0x3e8};

static void write_ghcb(struct es_guest *g, struct input *in)
{
	uint8_t event = input_u8(in), valid = input_u8(in), form = input_u8(in);

	/* Somewhere in memory, in no memory, or the MSR protocol. */
	g->vcpu.cpu->ghcb = form & 0x80 ? input_u64(in) : GHCB_GPA;
	memset(g->ghcb, 0, PAGE);
	ghcb_put(g, 0x390, event < ARRAY_SIZE(events) ? events[event] : input_u64(in));
	ghcb_put(g, 0x398, input_u64(in));
	ghcb_put(g, 0x3a0, input_u64(in));
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
		if (valid >> i & 1)
			ghcb_put(g, fields[i], input_u64(in));
	/* The scratch area of most events is to be in the page, or in other shared memory. */
	if (form & 1)
		ghcb_put(g, 0x3a8, GHCB_GPA + 0x800);
	else if (form & 2)
		ghcb_put(g, 0x3a8, SCRATCH_GPA);
	if (form & 4)
		input_take(in, g->ghcb + 0x800 + input_u8(in), 16);
}

/* What the VMM is asked, it answers with anything. */
static bool answer(struct es_guest *g, struct input *in)
{
	struct input bytes = input_part(in, input_u8(in));

	if (bytes.left > 0)
		memcpy((uint8_t *)g->run + RUN_PIO_OFFSET, bytes.at, bytes.left);
	if (input_u8(in) & 1)
		g->run->io.count = g->run->mmio.len = input_u32(in);
	return sev_es_enter(&g->vcpu) == 1;
}

static void vmgexit_and_back(struct es_guest *g, struct input *in)
{
	bool is_to_user = false, is_in = true;

	write_ghcb(g, in);
	if (sev_es_vmgexit(&g->vcpu, &is_to_user) < 0 || is_to_user) {
		sev_es_leave(&g->vcpu);
		is_in = false;
	}
	for (unsigned i = 0; i < ANSWERS_MAX && !is_in; i++)
		is_in = answer(g, in);
	if (is_in)
		sev_es_resume(&g->vcpu);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t config = input_u8(&in);
	struct es_guest *g = NULL;

	(void)es_guest_setup((void **)&g);
	g->call->host.config.profile = config % 3;
	g->vm.sev.ghcb_version = 1 + config / 16 % 2;
	es_guest_launch(g);
	if (sev_es_enter(&g->vcpu) != 1)
		abort();
	for (unsigned i = 0; i < EXITS_MAX && in.left > 0 && g->vcpu.sev.is_loaded; i++)
		vmgexit_and_back(g, &in);
	if (g->vcpu.sev.is_loaded)
		sev_es_leave(&g->vcpu);
	(void)es_guest_teardown((void **)&g);
	return 0;
}
