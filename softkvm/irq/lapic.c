// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lapic.c - a local APIC: what it holds, and what comes out of it
 *
 * APM chapter 16.  The register page is kept as KVM_GET_LAPIC shows it: that is what migrates. What
 * KVM keeps beside it, the timer's end and signals that have not been taken, is in struct lapic.
 * Registers as the guest sees them are in lapic_regs.c, the timer is in lapic_timer.c.
 */
#include "softkvm/irq/internal.h"

#include <string.h>

#define APIC_BASE_DEFAULT  0xfee00000ull
#define APIC_BASE_BSP	   (1ull << 8)
#define APIC_BASE_RESERVED 0x2ffull
#define SPIV_ENABLE	   0x100u
#define SPIV_DIRECTED_EOI  0x1000u
#define VERSION		   0x50014u /* six LVT entries */
#define PRIORITY	   0xf0u    /* of a vector: its class */
#define NMIS_MAX	   2u	    /* one being handled, one held */
#define VECTOR_WORDS	   8
#define PHYSICAL_BITS_MAX  52

uint32_t lapic_reg(const struct lapic *lapic, unsigned offset)
{
	return lapic->regs[offset / 4];
}

void lapic_set_reg(struct lapic *lapic, unsigned offset, uint32_t value)
{
	lapic->regs[offset / 4] = value;
}

static uint32_t *vector_word(struct lapic *lapic, unsigned array, unsigned vector)
{
	return &lapic->regs[(array + vector / 32 * 16) / 4];
}

bool lapic_test(const struct lapic *lapic, unsigned array, uint8_t vector)
{
	return lapic_reg(lapic, array + vector / 32u * 16) >> vector % 32 & 1;
}

static void assign(struct lapic *lapic, unsigned array, uint8_t vector, bool value)
{
	uint32_t *word = vector_word(lapic, array, vector);

	*word = (*word & ~(1u << vector % 32)) | (uint32_t)value << vector % 32;
}

static int highest(const struct lapic *lapic, unsigned array)
{
	for (int i = VECTOR_WORDS - 1; i >= 0; i--) {
		uint32_t word = lapic_reg(lapic, array + (unsigned)i * 16);

		if (word)
			return i * 32 + 31 - __builtin_clz(word);
	}
	return -1;
}

bool lapic_is_enabled(const struct lapic *lapic)
{
	return lapic->base & APIC_BASE_ENABLE;
}

bool lapic_is_software_enabled(const struct lapic *lapic)
{
	return lapic_reg(lapic, APIC_SPIV) & SPIV_ENABLE;
}

bool lapic_is_x2apic(const struct lapic *lapic)
{
	const uint64_t both = APIC_BASE_ENABLE | APIC_BASE_X2APIC;

	return (lapic->base & both) == both;
}

/* Virtual wire mode, or no LAPIC in the way at all. */
bool lapic_accepts_pic(const struct lapic *lapic)
{
	uint32_t lint0 = lapic_reg(lapic, APIC_LVT_LINT0);

	if (!lapic_is_enabled(lapic))
		return true;
	return !(lint0 & LVT_MASKED) && (lint0 & LVT_MODE) >> LVT_MODE_SHIFT == DELIVER_EXTINT;
}

/* 16.6.4, "Task and processor priorities" */
void lapic_update_ppr(struct lapic *lapic)
{
	int vector = highest(lapic, APIC_ISR);
	uint32_t tpr = lapic_reg(lapic, APIC_TPR), service = vector < 0 ? 0 : (uint32_t)vector;

	lapic_set_reg(lapic, APIC_PPR,
		      (tpr & PRIORITY) >= (service & PRIORITY) ? tpr & 0xff : service & PRIORITY);
}

void lapic_mask_lvt(struct lapic *lapic)
{
	for (unsigned lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 16)
		lapic_set_reg(lapic, lvt, lapic_reg(lapic, lvt) | LVT_MASKED);
	timer_mode_written(lapic);
}

static uint32_t x2apic_ldr(uint32_t id)
{
	return id >> 4 << 16 | 1u << (id & 0xf);
}

void lapic_set_id(struct lapic *lapic)
{
	if (lapic_is_x2apic(lapic)) {
		lapic_set_reg(lapic, APIC_ID, lapic->id);
		lapic_set_reg(lapic, APIC_LDR, x2apic_ldr(lapic->id));
	} else {
		lapic_set_reg(lapic, APIC_ID, lapic->id << 24);
	}
}

/* What RESET and INIT have in common. */
static void reset(struct lapic *lapic)
{
	uint32_t id = lapic_reg(lapic, APIC_ID), ldr = lapic_reg(lapic, APIC_LDR);

	timer_cancel(lapic);
	lapic->timer.period = 0;
	memset(lapic->regs, 0, sizeof(lapic->regs));
	lapic_set_reg(lapic, APIC_ID, id);
	lapic_set_reg(lapic, APIC_VERSION, VERSION);
	lapic_mask_lvt(lapic);
	/* KVM_X86_QUIRK_LINT0_REENABLED: as firmware would leave it. */
	if (lapic->is_bsp)
		lapic_set_reg(lapic, APIC_LVT_LINT0, DELIVER_EXTINT << LVT_MODE_SHIFT);
	lapic_set_reg(lapic, APIC_DFR, 0xffffffff);
	if (lapic_is_x2apic(lapic))
		lapic_set_reg(lapic, APIC_LDR, ldr);
	lapic_set_reg(lapic, APIC_SPIV, 0xff);
	timer_set_divisor(lapic);
	lapic->n_nmis = 0;
}

struct lapic *lapic_new(struct irqchip *chip, unsigned vcpu_index, unsigned vcpu_id, bool is_bsp)
{
	struct lapic *lapic;

	if (vcpu_index >= LAPICS_MAX)
		return NULL;
	lapic = calloc(1, sizeof(*lapic));
	if (!lapic)
		return NULL;
	lapic->chip = chip;
	lapic->index = vcpu_index;
	lapic->id = vcpu_id;
	lapic->is_bsp = is_bsp;
	lapic->features = (struct lapic_features){PHYSICAL_BITS_MAX, true, true};
	lapic->base = APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (is_bsp ? APIC_BASE_BSP : 0);
	lapic_set_id(lapic);
	irq_lock(chip);
	reset(lapic);
	chip->lapic[vcpu_index] = lapic;
	irq_unlock(chip);
	return lapic;
}

struct lapic *lapic_free(struct lapic *lapic)
{
	if (!lapic)
		return NULL;
	if (lapic->chip) {
		irq_lock(lapic->chip);
		lapic->chip->lapic[lapic->index] = NULL;
		irq_unlock(lapic->chip);
	}
	free(lapic);
	return NULL;
}

void lapic_set_features(struct lapic *lapic, const struct lapic_features *features)
{
	irq_lock(lapic->chip);
	lapic->features = *features;
	if (lapic->features.physical_bits > PHYSICAL_BITS_MAX)
		lapic->features.physical_bits = PHYSICAL_BITS_MAX;
	irq_unlock(lapic->chip);
}

void lapic_init_signal(struct lapic *lapic)
{
	irq_lock(lapic->chip);
	reset(lapic);
	irq_unlock(lapic->chip);
}

void lapic_get(struct lapic *lapic, struct kvm_lapic_state *ret)
{
	uint32_t regs[KVM_APIC_REG_SIZE / 4];

	irq_lock(lapic->chip);
	irqfds_drain(lapic->chip);
	memcpy(regs, lapic->regs, sizeof(regs));
	regs[APIC_CURRENT_COUNT / 4] = timer_count(lapic);
	if (lapic_is_x2apic(lapic)) {
		/* As in an xAPIC: KVM_X2APIC_API_USE_32BIT_IDS is unset, and ICR in halves. */
		regs[APIC_ID / 4] <<= 24;
		regs[APIC_ICR2 / 4] = regs[APIC_ICR / 4 + 1];
	}
	irq_unlock(lapic->chip);
	memcpy(ret->regs, regs, sizeof(regs));
}

int lapic_set(struct lapic *lapic, const struct kvm_lapic_state *state)
{
	irq_lock(lapic->chip);
	timer_cancel(lapic);
	memcpy(lapic->regs, state->regs, sizeof(lapic->regs));
	if (lapic_is_x2apic(lapic)) {
		uint32_t id = lapic_reg(lapic, APIC_ID) >> 24;

		lapic_set_reg(lapic, APIC_ID, id);
		lapic_set_reg(lapic, APIC_LDR, x2apic_ldr(id));
		lapic_set_reg(lapic, APIC_ICR + 4, lapic_reg(lapic, APIC_ICR2));
	}
	lapic_set_reg(lapic, APIC_VERSION, VERSION);
	lapic_update_ppr(lapic);
	timer_mode_written(lapic);
	timer_set_divisor(lapic);
	timer_start(lapic, true);
	lapic_set_reg(lapic, APIC_CURRENT_COUNT, 0);
	irq_kick(lapic->chip, lapic->index);
	irq_unlock(lapic->chip);
	return 0;
}

uint64_t lapic_get_base(const struct lapic *lapic)
{
	uint64_t base;

	irq_lock(lapic->chip);
	base = lapic->base;
	irq_unlock(lapic->chip);
	return base;
}

static bool is_legal_base(const struct lapic *lapic, uint64_t value)
{
	uint64_t reserved = APIC_BASE_RESERVED | ~0ull << lapic->features.physical_bits;

	if (!lapic->features.x2apic)
		reserved |= APIC_BASE_X2APIC;
	return !(value & reserved) && (value & APIC_BASE_ENABLE || !(value & APIC_BASE_X2APIC));
}

/* 16.9, "Extended APIC mode": figure of the transitions */
static bool is_legal_transition(const struct lapic *lapic, uint64_t value)
{
	if (lapic_is_x2apic(lapic))
		return !(value & APIC_BASE_ENABLE) || value & APIC_BASE_X2APIC;
	return lapic_is_enabled(lapic) || !(value & APIC_BASE_X2APIC);
}

static int set_base(struct lapic *lapic, uint64_t value, bool by_host)
{
	int r = -EINVAL;

	irq_lock(lapic->chip);
	if (is_legal_base(lapic, value) && (by_host || is_legal_transition(lapic, value))) {
		uint64_t changed = lapic->base ^ value;

		lapic->base = value;
		if (changed & (APIC_BASE_ENABLE | APIC_BASE_X2APIC) && lapic_is_enabled(lapic))
			lapic_set_id(lapic);
		r = 0;
	}
	irq_unlock(lapic->chip);
	return r;
}

int lapic_set_base(struct lapic *lapic, uint64_t value)
{
	return set_base(lapic, value, false);
}

int lapic_host_set_base(struct lapic *lapic, uint64_t value)
{
	return set_base(lapic, value, true);
}

int lapic_accept(struct lapic *lapic, const struct message *message)
{
	switch (message->mode) {
	case DELIVER_FIXED:
	case DELIVER_LOWEST:
		if ((message->is_level && !message->is_asserted) || !lapic_is_enabled(lapic) ||
		    !lapic_is_software_enabled(lapic))
			return 0;
		assign(lapic, APIC_TMR, message->vector, message->is_level);
		assign(lapic, APIC_IRR, message->vector, true);
		break;
	case DELIVER_NMI:
		if (lapic->n_nmis < NMIS_MAX)
			lapic->n_nmis++;
		break;
	case DELIVER_INIT:
		/* INIT level deassert set arbitration IDs once, and does nothing today. */
		if (message->is_level && !message->is_asserted)
			return 0;
		lapic->has_init = true;
		lapic->has_startup = false;
		break;
	case DELIVER_STARTUP:
		lapic->has_startup = true;
		lapic->startup_vector = message->vector;
		break;
	case DELIVER_SMI: /* there is no SMM */
	case DELIVER_RESERVED:
	case DELIVER_EXTINT: /* the 8259's output is looked at instead */
		return 0;
	}
	irq_kick(lapic->chip, lapic->index);
	return 1;
}

void lapic_deliver_local(struct lapic *lapic, unsigned lvt)
{
	uint32_t entry = lapic_reg(lapic, lvt);
	const struct message message = {
		.vector = entry & LVT_VECTOR,
		.mode = (enum delivery_mode)((entry & LVT_MODE) >> LVT_MODE_SHIFT),
		.is_level = entry & LVT_LEVEL,
		.is_asserted = true,
	};

	if (lapic_is_enabled(lapic) && !(entry & LVT_MASKED))
		(void)lapic_accept(lapic, &message);
}

void lapic_eoi(struct lapic *lapic)
{
	int vector = highest(lapic, APIC_ISR);
	bool is_level;

	if (vector < 0)
		return;
	is_level = lapic_test(lapic, APIC_TMR, (uint8_t)vector) &&
		   !(lapic_reg(lapic, APIC_SPIV) & SPIV_DIRECTED_EOI);
	assign(lapic, APIC_ISR, (uint8_t)vector, false);
	lapic_update_ppr(lapic);
	ioapic_eoi(lapic->chip, (uint8_t)vector, is_level);
	irq_kick(lapic->chip, lapic->index);
}

void lapic_poll(struct lapic *lapic)
{
	irq_lock(lapic->chip);
	pit_run(lapic->chip);
	timer_run(lapic);
	if (lapic->timer.is_pending) {
		lapic->timer.is_pending = false;
		if (timer_is_tsc_deadline(lapic))
			lapic->timer.tsc_deadline = 0;
		lapic_deliver_local(lapic, APIC_LVT_TIMER);
	}
	irq_unlock(lapic->chip);
}

uint64_t lapic_deadline(struct lapic *lapic)
{
	uint64_t deadline, pit;

	irq_lock(lapic->chip);
	deadline = timer_deadline(lapic);
	pit = lapic->is_bsp ? pit_deadline(lapic->chip) : UINT64_MAX;
	irq_unlock(lapic->chip);
	return deadline < pit ? deadline : pit;
}

/* The highest request above the processor priority, or -1. */
static int pending_vector(struct lapic *lapic)
{
	int vector;

	if (!lapic_is_enabled(lapic))
		return -1;
	lapic_update_ppr(lapic);
	vector = highest(lapic, APIC_IRR);
	if (vector < 0 || ((uint32_t)vector & PRIORITY) <= (lapic_reg(lapic, APIC_PPR) & PRIORITY))
		return -1;
	return vector;
}

int lapic_pending(struct lapic *lapic)
{
	struct irqchip *chip = lapic->chip;
	int vector;

	irq_lock(chip);
	if (chip->pic_output && lapic_accepts_pic(lapic))
		vector = pic_peek(chip);
	else
		vector = pending_vector(lapic);
	irq_unlock(chip);
	return vector;
}

int lapic_take(struct lapic *lapic)
{
	struct irqchip *chip = lapic->chip;
	int vector;

	irq_lock(chip);
	if (chip->pic_output && lapic_accepts_pic(lapic)) {
		vector = pic_acknowledge(chip);
	} else {
		vector = pending_vector(lapic);
		if (vector >= 0) {
			assign(lapic, APIC_IRR, (uint8_t)vector, false);
			assign(lapic, APIC_ISR, (uint8_t)vector, true);
			lapic_update_ppr(lapic);
		}
	}
	irq_unlock(chip);
	return vector;
}

bool lapic_take_nmi(struct lapic *lapic)
{
	bool taken;

	irq_lock(lapic->chip);
	taken = lapic->n_nmis > 0;
	if (taken)
		lapic->n_nmis--;
	irq_unlock(lapic->chip);
	return taken;
}

static enum lapic_signal first_signal(const struct lapic *lapic)
{
	if (lapic->has_init)
		return LAPIC_INIT;
	return lapic->has_startup ? LAPIC_STARTUP : LAPIC_NO_SIGNAL;
}

enum lapic_signal lapic_take_signal(struct lapic *lapic, uint8_t *ret_vector)
{
	enum lapic_signal signal;

	irq_lock(lapic->chip);
	signal = first_signal(lapic);
	if (signal == LAPIC_INIT) {
		lapic->has_init = false;
	} else if (signal == LAPIC_STARTUP) {
		lapic->has_startup = false;
		*ret_vector = lapic->startup_vector;
	}
	irq_unlock(lapic->chip);
	return signal;
}

enum lapic_signal lapic_peek_signal(const struct lapic *lapic)
{
	enum lapic_signal signal;

	irq_lock(lapic->chip);
	signal = first_signal(lapic);
	irq_unlock(lapic->chip);
	return signal;
}

void lapic_set_signal(struct lapic *lapic, enum lapic_signal signal)
{
	irq_lock(lapic->chip);
	lapic->has_init = signal == LAPIC_INIT;
	lapic->has_startup = signal == LAPIC_STARTUP;
	irq_kick(lapic->chip, lapic->index);
	irq_unlock(lapic->chip);
}

void lapic_set_startup_vector(struct lapic *lapic, uint8_t vector)
{
	irq_lock(lapic->chip);
	lapic->startup_vector = vector;
	irq_unlock(lapic->chip);
}

void lapic_set_tpr(struct lapic *lapic, uint8_t cr8)
{
	irq_lock(lapic->chip);
	lapic_set_reg(lapic, APIC_TPR, (cr8 & 0xfu) << 4);
	lapic_update_ppr(lapic);
	irq_unlock(lapic->chip);
}

uint8_t lapic_get_tpr(const struct lapic *lapic)
{
	uint8_t cr8;

	irq_lock(lapic->chip);
	cr8 = (uint8_t)((lapic_reg(lapic, APIC_TPR) & PRIORITY) >> 4);
	irq_unlock(lapic->chip);
	return cr8;
}
