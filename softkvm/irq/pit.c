// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pit.c - an 8254 with its three counters, and the speaker's port 0x61
 *
 * What it does is in Intel's data sheet of the 8254 (82C54).  The counters do not count: what they
 * hold follows from the time since they were loaded.  Counter 0 is a timer on GSI 0; it is looked
 * at by whoever polls a LAPIC.  With reinjection a tick waits until the guest has acknowledged the
 * one before, so that none is lost.
 */
#include "softkvm/irq/internal.h"

#include <string.h>

#define PIT_HZ		1193181u /* as KVM has it, rounded down */
#define PIT_BASE	0x40u
#define PIT_LEN		4u
#define SPEAKER_PORT	0x61u
#define SPEAKER_GATE	0x01u
#define SPEAKER_DATA	0x02u
#define SPEAKER_REFRESH 0x10u
#define SPEAKER_OUT	0x20u
#define COUNTERS	3u
#define CONTROL		3u /* the port behind the counters' */
#define READ_BACK	3u
#define MODE_NONE	0xffu

enum access { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_WORD, ACCESS_WORD_HIGH };

static void reset_reinjection(struct pit *pit)
{
	pit->n_pending = 0;
	pit->is_acked = true;
}

static void start(struct irqchip *chip, bool is_periodic)
{
	struct pit *pit = chip->pit;
	uint64_t ns = (uint64_t)pit->state.channels[0].count * NS_PER_S / PIT_HZ;

	if (pit->state.flags & KVM_PIT_FLAGS_HPET_LEGACY)
		return;
	reset_reinjection(pit);
	pit->is_armed = true;
	pit->is_periodic = is_periodic;
	pit->target = irq_now(chip) + ns;
	pit->period = is_periodic && ns < TIMER_PERIOD_MIN ? TIMER_PERIOD_MIN : ns;
	for (unsigned i = 0; i < LAPICS_MAX; i++)
		if (chip->lapic[i] && chip->lapic[i]->is_bsp)
			irq_kick(chip, i);
}

static void load(struct irqchip *chip, unsigned index, uint32_t count)
{
	struct kvm_pit_channel_state *counter = &chip->pit->state.channels[index];

	counter->count = count ? count : 0x10000;
	if (index) {
		counter->count_load_time = (int64_t)irq_now(chip);
		return;
	}
	switch (counter->mode) {
	case 0:
	case 1:
	case 4:
		start(chip, false);
		break;
	case 2:
	case 3:
		start(chip, true);
		break;
	default:
		chip->pit->is_armed = false;
	}
}

/* In input clocks. */
static uint64_t elapsed(struct irqchip *chip, unsigned index)
{
	const struct pit *pit = chip->pit;
	uint64_t now = irq_now(chip), since;

	if (index)
		since = (uint64_t)pit->state.channels[index].count_load_time;
	else if (pit->period)
		since = pit->target - pit->period;
	else
		return 0;
	return (uint64_t)((unsigned __int128)(now - since) * PIT_HZ / NS_PER_S);
}

static uint32_t count_of(struct irqchip *chip, unsigned index)
{
	const struct kvm_pit_channel_state *counter = &chip->pit->state.channels[index];
	uint64_t clocks = elapsed(chip, index);

	switch (counter->mode) {
	case 0:
	case 1:
	case 4:
	case 5:
		return (uint32_t)(counter->count - clocks) & 0xffff;
	case 3: /* counts by two */
		return (uint32_t)(counter->count - 2 * clocks % counter->count);
	default:
		return (uint32_t)(counter->count - clocks % counter->count);
	}
}

static bool out_of(struct irqchip *chip, unsigned index)
{
	const struct kvm_pit_channel_state *counter = &chip->pit->state.channels[index];
	uint64_t clocks = elapsed(chip, index);

	switch (counter->mode) {
	case 1:
		return clocks < counter->count;
	case 2:
		return clocks && clocks % counter->count == 0;
	case 3:
		return clocks % counter->count < (counter->count + 1ull) / 2;
	case 4:
	case 5:
		return clocks == counter->count;
	default:
		return clocks >= counter->count;
	}
}

static void latch_count(struct irqchip *chip, unsigned index)
{
	struct kvm_pit_channel_state *counter = &chip->pit->state.channels[index];

	if (counter->count_latched)
		return;
	counter->latched_count = (uint16_t)count_of(chip, index);
	counter->count_latched = counter->rw_mode;
}

static void latch_status(struct irqchip *chip, unsigned index)
{
	struct kvm_pit_channel_state *counter = &chip->pit->state.channels[index];

	if (counter->status_latched)
		return;
	counter->status = (uint8_t)((unsigned)out_of(chip, index) << 7 | counter->rw_mode << 4 |
				    counter->mode << 1 | counter->bcd);
	counter->status_latched = 1;
}

static void write_control(struct irqchip *chip, uint8_t value)
{
	unsigned index = value >> 6, access = value >> 4 & 3;
	struct kvm_pit_channel_state *counter;

	if (index == READ_BACK) {
		for (unsigned i = 0; i < COUNTERS; i++) {
			if (!(value >> 1 >> i & 1))
				continue;
			if (!(value & 0x20))
				latch_count(chip, i);
			if (!(value & 0x10))
				latch_status(chip, i);
		}
		return;
	}
	if (access == ACCESS_LATCH) {
		latch_count(chip, index);
		return;
	}
	counter = &chip->pit->state.channels[index];
	counter->rw_mode = (uint8_t)access;
	counter->read_state = (uint8_t)access;
	counter->write_state = (uint8_t)access;
	counter->mode = value >> 1 & 7;
	if (counter->mode > 5)
		counter->mode -= 4;
	counter->bcd = value & 1;
}

static void write_count(struct irqchip *chip, unsigned index, uint8_t value)
{
	struct kvm_pit_channel_state *counter = &chip->pit->state.channels[index];

	switch (counter->write_state) {
	case ACCESS_HIGH:
		load(chip, index, (uint32_t)value << 8);
		break;
	case ACCESS_WORD:
		counter->write_latch = value;
		counter->write_state = ACCESS_WORD_HIGH;
		break;
	case ACCESS_WORD_HIGH:
		load(chip, index, (uint32_t)value << 8 | counter->write_latch);
		counter->write_state = ACCESS_WORD;
		break;
	default:
		load(chip, index, value);
	}
}

static uint8_t read_count(struct irqchip *chip, unsigned index)
{
	struct kvm_pit_channel_state *counter = &chip->pit->state.channels[index];
	uint32_t count;

	if (counter->status_latched) {
		counter->status_latched = 0;
		return counter->status;
	}
	if (counter->count_latched) {
		bool is_high = counter->count_latched == ACCESS_HIGH;

		counter->count_latched = counter->count_latched == ACCESS_WORD ? ACCESS_HIGH : 0;
		return (uint8_t)(counter->latched_count >> (is_high ? 8 : 0));
	}
	count = count_of(chip, index);
	switch (counter->read_state) {
	case ACCESS_HIGH:
		return (uint8_t)(count >> 8);
	case ACCESS_WORD:
		counter->read_state = ACCESS_WORD_HIGH;
		return (uint8_t)count;
	case ACCESS_WORD_HIGH:
		counter->read_state = ACCESS_WORD;
		return (uint8_t)(count >> 8);
	default:
		return (uint8_t)count;
	}
}

static uint8_t read_speaker(struct irqchip *chip)
{
	const struct kvm_pit_state2 *state = &chip->pit->state;
	/* It toggles every 15 us. */
	uint8_t value = irq_now(chip) >> 14 & 1 ? SPEAKER_REFRESH : 0;

	if (state->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON)
		value |= SPEAKER_DATA;
	if (state->channels[2].gate)
		value |= SPEAKER_GATE;
	if (out_of(chip, 2))
		value |= SPEAKER_OUT;
	return value;
}

static void write_speaker(struct irqchip *chip, uint8_t value)
{
	struct kvm_pit_state2 *state = &chip->pit->state;
	struct kvm_pit_channel_state *counter = &state->channels[2];
	uint8_t gate = value & SPEAKER_GATE;

	state->flags &= ~(uint32_t)KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	if (value & SPEAKER_DATA)
		state->flags |= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	/* A rising gate starts these modes anew. */
	if (gate > counter->gate && counter->mode != 0 && counter->mode != 4 &&
	    counter->mode != MODE_NONE)
		counter->count_load_time = (int64_t)irq_now(chip);
	counter->gate = gate;
}

bool pit_pio(struct irqchip *chip, bool is_write, uint16_t port, unsigned size, void *data)
{
	bool is_speaker = port == SPEAKER_PORT;
	unsigned index = port - PIT_BASE;
	uint8_t *byte = data;

	if (!chip->pit)
		return false;
	if (is_speaker ? size > 1 || !chip->pit->has_speaker
		       : port < PIT_BASE || index + size > PIT_LEN)
		return false;
	pit_run(chip);
	if (is_write) {
		if (is_speaker)
			write_speaker(chip, *byte);
		else if (index == CONTROL)
			write_control(chip, *byte);
		else
			write_count(chip, index, *byte);
		return true;
	}
	memset(data, 0, size);
	if (is_speaker)
		*byte = read_speaker(chip);
	else if (index != CONTROL)
		*byte = read_count(chip, index);
	return true;
}

static void tick(struct irqchip *chip)
{
	struct pit *pit = chip->pit;

	if (pit->reinject) {
		if (!pit->is_acked)
			return;
		pit->is_acked = false;
	}
	(void)irq_set_gsi(chip, 0, SOURCE_PIT, true);
	(void)irq_set_gsi(chip, 0, SOURCE_PIT, false);
	/* The NMI watchdog of old kernels has the timer at everybody's LINT0. */
	for (unsigned i = 0; i < LAPICS_MAX; i++) {
		struct lapic *lapic = chip->lapic[i];

		if (lapic &&
		    (lapic_reg(lapic, APIC_LVT_LINT0) & LVT_MODE) >> LVT_MODE_SHIFT == DELIVER_NMI)
			lapic_deliver_local(lapic, APIC_LVT_LINT0);
	}
}

void pit_run(struct irqchip *chip)
{
	struct pit *pit = chip->pit;
	uint64_t now, ticks = 1;

	if (!pit || !pit->is_armed)
		return;
	now = irq_now(chip);
	if (now < pit->target)
		return;
	if (pit->is_periodic) {
		ticks += (now - pit->target) / pit->period;
		pit->target += ticks * pit->period;
	} else {
		pit->is_armed = false;
	}
	if (pit->reinject)
		pit->n_pending += ticks;
	tick(chip);
}

uint64_t pit_deadline(const struct irqchip *chip)
{
	return chip->pit && chip->pit->is_armed ? chip->pit->target : UINT64_MAX;
}

void pit_acked(struct irqchip *chip)
{
	struct pit *pit = chip->pit;

	if (!pit || !pit->reinject)
		return;
	pit->is_acked = true;
	if (!pit->n_pending)
		return;
	pit->n_pending--;
	if (pit->n_pending)
		tick(chip);
}

/* What was not heard behind a mask is not made up for. */
void pit_unmasked(struct irqchip *chip)
{
	if (chip->pit && chip->pit->reinject)
		reset_reinjection(chip->pit);
}

int pit_create(struct irqchip *chip, const struct kvm_pit_config *config)
{
	struct pit *pit;
	int r = -EEXIST;

	irq_lock(chip);
	if (!chip->pit) {
		pit = calloc(1, sizeof(*pit));
		r = pit ? 0 : -ENOMEM;
		chip->pit = pit;
		for (unsigned i = 0; pit && i < COUNTERS; i++) {
			pit->state.channels[i].mode = MODE_NONE;
			pit->state.channels[i].gate = i != 2;
			load(chip, i, 0);
		}
		if (pit) {
			pit->has_speaker = config->flags & KVM_PIT_SPEAKER_DUMMY;
			pit->reinject = true;
			reset_reinjection(pit);
		}
	}
	irq_unlock(chip);
	return r;
}

int pit_get(struct irqchip *chip, struct kvm_pit_state2 *ret)
{
	int r = -ENXIO;

	irq_lock(chip);
	if (chip->pit) {
		pit_run(chip);
		*ret = chip->pit->state;
		r = 0;
	}
	irq_unlock(chip);
	return r;
}

int pit_set(struct irqchip *chip, const struct kvm_pit_state2 *state)
{
	struct pit *pit;
	bool was_legacy, is_legacy;

	irq_lock(chip);
	pit = chip->pit;
	if (!pit) {
		irq_unlock(chip);
		return -ENXIO;
	}
	was_legacy = pit->state.flags & KVM_PIT_FLAGS_HPET_LEGACY;
	is_legacy = state->flags & KVM_PIT_FLAGS_HPET_LEGACY;
	memcpy(pit->state.channels, state->channels, sizeof(pit->state.channels));
	pit->state.flags = state->flags;
	for (unsigned i = 0; i < COUNTERS; i++)
		load(chip, i, pit->state.channels[i].count);
	/* The HPET takes the timer's place. */
	if (!was_legacy && is_legacy)
		pit->is_armed = false;
	irq_unlock(chip);
	return 0;
}

int pit_reinject(struct irqchip *chip, bool reinject)
{
	int r = -ENXIO;

	irq_lock(chip);
	if (chip->pit) {
		if (reinject && !chip->pit->reinject)
			reset_reinjection(chip->pit);
		chip->pit->reinject = reinject;
		r = 0;
	}
	irq_unlock(chip);
	return r;
}
