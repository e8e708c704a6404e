// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * message.c - which LAPICs an interrupt message is for
 *
 * APM 16.6 and 16.13, "Local APIC: Logical Destination".  One that goes to any of several takes the
 * one that the vector's number points to among them, as KVM does by default (kvm.vector_hashing).
 */
#include "softkvm/irq/internal.h"

#define BROADCAST	 0xffu
#define X2APIC_BROADCAST 0xffffffffu
#define DFR_FLAT	 0xfu
#define DFR_CLUSTER	 0x0u

static bool matches_physical(const struct lapic *lapic, uint32_t destination)
{
	/* Where the 8 bits of an xAPIC do not suffice, KVM compares with what an x2APIC has. */
	if (lapic_is_x2apic(lapic) || destination > BROADCAST)
		return destination == lapic->id;
	return destination == lapic_reg(lapic, APIC_ID) >> 24;
}

static bool matches_logical(const struct lapic *lapic, uint32_t destination)
{
	uint32_t id = lapic_reg(lapic, APIC_LDR);

	if (lapic_is_x2apic(lapic))
		return id >> 16 == destination >> 16 && (id & destination & 0xffff);
	id >>= 24;
	switch (lapic_reg(lapic, APIC_DFR) >> 28) {
	case DFR_FLAT:
		return id & destination;
	case DFR_CLUSTER:
		return id >> 4 == destination >> 4 && (id & destination & 0xf);
	default:
		return false;
	}
}

static bool matches(const struct lapic *lapic, const struct lapic *from,
		    const struct message *message)
{
	uint32_t destination = message->destination;

	switch (message->shorthand) {
	case TO_SELF:
		return lapic == from;
	case TO_ALL:
		return true;
	case TO_OTHERS:
		return lapic != from;
	case TO_DESTINATION:
		break;
	}
	/* Devices know no other broadcast (KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK unset). */
	if (!from && destination == BROADCAST && lapic_is_x2apic(lapic))
		destination = X2APIC_BROADCAST;
	if (destination == (lapic_is_x2apic(lapic) ? X2APIC_BROADCAST : BROADCAST))
		return true;
	return message->is_logical ? matches_logical(lapic, destination)
				   : matches_physical(lapic, destination);
}

/* The n-th of the set bits. */
static unsigned bit_of(uint64_t bits, unsigned n)
{
	while (n--)
		bits &= bits - 1;
	return (unsigned)__builtin_ctzll(bits);
}

int message_send(struct irqchip *chip, const struct lapic *from, const struct message *sent)
{
	struct message message = *sent;
	bool to_one = message.mode == DELIVER_LOWEST || message.is_redirectable;
	uint64_t candidates = 0;
	int n = -1;

	/* "Lowest priority" to everybody is to everybody. */
	if (to_one && !message.is_logical && message.destination == BROADCAST) {
		message.mode = DELIVER_FIXED;
		to_one = message.is_redirectable;
	}
	for (unsigned i = 0; i < LAPICS_MAX; i++) {
		struct lapic *lapic = chip->lapic[i];

		if (!lapic || !matches(lapic, from, &message))
			continue;
		/* To itself works even if the base MSR disables it: it never is on the bus. */
		if (!lapic_is_enabled(lapic) && message.shorthand != TO_SELF)
			continue;
		if (!to_one)
			n = (n < 0 ? 0 : n) + lapic_accept(lapic, &message);
		else if (lapic_is_software_enabled(lapic))
			candidates |= 1ull << i;
	}
	if (candidates) {
		unsigned n_candidates = (unsigned)__builtin_popcountll(candidates);
		unsigned chosen = bit_of(candidates, message.vector % n_candidates);

		n = lapic_accept(chip->lapic[chosen], &message);
	}
	return n;
}
