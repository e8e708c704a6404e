// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * message.c - which LAPICs an interrupt message is for
 *
 * APM 16.6 and 16.13, "Local APIC: Logical Destination".  One that goes to any of several takes the
 * one that the vector's number points to among them, as KVM does by default (kvm.vector_hashing).
 * KVM has two ways to find destinations, which do not agree in everything that can be seen.
 */
#include "softkvm/irq/internal.h"

#define BROADCAST	 0xffu
#define X2APIC_BROADCAST 0xffffffffu
#define DFR_FLAT	 0xfu
#define DFR_CLUSTER	 0x0u

static uint32_t physical_id(const struct lapic *lapic)
{
	return lapic_is_x2apic(lapic) ? lapic->id : lapic_reg(lapic, APIC_ID) >> 24;
}

static bool matches_physical(const struct lapic *lapic, uint32_t destination)
{
	/* Where the 8 bits of an xAPIC do not suffice, KVM compares with what an x2APIC has. */
	return destination == (destination > BROADCAST ? lapic->id : physical_id(lapic));
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

/* As KVM's slow way does it: each LAPIC is asked. */
static bool matches_any(const struct lapic *lapic, const struct lapic *from,
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

static bool is_flat(const struct lapic *lapic)
{
	return lapic_reg(lapic, APIC_DFR) >> 28 == DFR_FLAT;
}

static bool has_logical_id(const struct lapic *lapic)
{
	return lapic && lapic_is_enabled(lapic) && lapic_is_software_enabled(lapic) &&
	       lapic_reg(lapic, APIC_LDR);
}

/* All are in one mode, and no two have the same logical ID, nor any of them several.  ret_mode: a
 * LAPIC of that mode; NULL: there is none. */
static bool has_logical_map(const struct irqchip *chip, const struct lapic **ret_mode)
{
	uint32_t seen[16] = {0};

	*ret_mode = NULL;
	for (unsigned i = 0; i < LAPICS_MAX; i++) {
		const struct lapic *lapic = chip->lapic[i];
		uint32_t id, bits, *cluster;

		if (!has_logical_id(lapic))
			continue;
		*ret_mode = *ret_mode ? *ret_mode : lapic;
		if (lapic_is_x2apic(lapic) != lapic_is_x2apic(*ret_mode))
			return false;
		if (lapic_is_x2apic(lapic))
			continue;
		if (is_flat(lapic) != is_flat(*ret_mode))
			return false;
		id = lapic_reg(lapic, APIC_LDR) >> 24;
		bits = is_flat(lapic) ? id : id & 0xf;
		cluster = &seen[is_flat(lapic) ? 0 : id >> 4];
		if (bits & (bits - 1) || *cluster & bits)
			return false;
		*cluster |= bits;
	}
	return true;
}

/* The n-th of the set bits. */
static unsigned bit_of(uint64_t bits, unsigned n)
{
	while (n--)
		bits &= bits - 1;
	return (unsigned)__builtin_ctzll(bits);
}

/*
 * KVM's fast way looks the destination up in tables.  It differs from the slow one in that nobody
 * being there counts as nobody accepting it, not as an error; and one of several is chosen from
 * all that the destination could mean, whether they are there or not.
 */
static bool has_map(const struct irqchip *chip, const struct lapic *from,
		    const struct message *message, const struct lapic **ret_mode)
{
	uint32_t broadcast = from && lapic_is_x2apic(from) ? X2APIC_BROADCAST : BROADCAST;

	if (message->shorthand != TO_DESTINATION || message->destination == broadcast)
		return false;
	return !message->is_logical || has_logical_map(chip, ret_mode);
}

static bool matches_map(const struct lapic *lapic, const struct lapic *mode,
			const struct message *message)
{
	uint32_t id;

	if (!message->is_logical)
		return matches_physical(lapic, message->destination);
	if (!mode)
		return false;
	if (!lapic_is_x2apic(mode))
		return has_logical_id(lapic) && matches_logical(lapic, message->destination);
	/* An x2APIC's logical ID is made of the physical one, of whatever mode that then is. */
	id = physical_id(lapic);
	return id >> 4 == message->destination >> 16 && message->destination >> (id & 0xf) & 1;
}

static int send_by_map(struct irqchip *chip, const struct lapic *mode, struct message *message,
		       bool to_one)
{
	uint32_t bits, mask = 0xffff;
	int n = 0;

	if (to_one && message->is_logical && mode) {
		if (!lapic_is_x2apic(mode))
			mask = is_flat(mode) ? 0xff : 0xf;
		bits = message->destination & mask;
		if (!bits)
			return 0;
		bits = 1u << bit_of(bits, message->vector % (unsigned)__builtin_popcount(bits));
		message->destination = (message->destination & ~mask) | bits;
	}
	for (unsigned i = 0; i < LAPICS_MAX; i++) {
		struct lapic *lapic = chip->lapic[i];

		if (lapic && lapic_is_enabled(lapic) && matches_map(lapic, mode, message))
			n += lapic_accept(lapic, message);
	}
	return n;
}

static int send_to_any(struct irqchip *chip, const struct lapic *from,
		       const struct message *message, bool to_one)
{
	uint64_t candidates = 0;
	int n = -1;

	for (unsigned i = 0; i < LAPICS_MAX; i++) {
		struct lapic *lapic = chip->lapic[i];

		if (!lapic || !matches_any(lapic, from, message))
			continue;
		/* To itself works even if the base MSR disables it: it never is on the bus. */
		if (!lapic_is_enabled(lapic) && message->shorthand != TO_SELF)
			continue;
		if (!to_one)
			n = (n < 0 ? 0 : n) + lapic_accept(lapic, message);
		else if (lapic_is_software_enabled(lapic))
			candidates |= 1ull << i;
	}
	if (candidates) {
		unsigned n_candidates = (unsigned)__builtin_popcountll(candidates);
		unsigned chosen = bit_of(candidates, message->vector % n_candidates);

		n = lapic_accept(chip->lapic[chosen], message);
	}
	return n;
}

int message_send(struct irqchip *chip, const struct lapic *from, const struct message *sent)
{
	struct message message = *sent;
	bool to_one = message.mode == DELIVER_LOWEST || message.is_redirectable;
	const struct lapic *mode = NULL;

	if (has_map(chip, from, &message, &mode))
		return send_by_map(chip, mode, &message, to_one);
	/* "Lowest priority" to everybody is to everybody. */
	if (to_one && !message.is_logical && message.destination == BROADCAST) {
		message.mode = DELIVER_FIXED;
		to_one = message.is_redirectable;
	}
	return send_to_any(chip, from, &message, to_one);
}
