// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lapic_timer.c - the LAPIC's timer
 *
 * APM 16.4.1, with KVM's clock: the bus runs at 1 GHz, so that a count is a nanosecond times the
 * divisor.  Nothing counts: the end of the period is kept, and the current count follows from it.
 */
#include "softkvm/irq/internal.h"

#define BUS_CYCLE_NS 1u

bool timer_is_tsc_deadline(const struct lapic *lapic)
{
	return lapic->timer.mode == TIMER_TSC_DEADLINE;
}

static bool is_periodic(const struct lapic *lapic)
{
	return lapic->timer.mode == TIMER_PERIODIC;
}

static uint64_t count_to_ns(const struct lapic *lapic, unsigned reg)
{
	return (uint64_t)lapic_reg(lapic, reg) * BUS_CYCLE_NS * lapic->timer.divisor;
}

/* A guest must not be able to keep its host busy with ticks. */
static void limit_period(struct lapic *lapic)
{
	if (is_periodic(lapic) && lapic->timer.period && lapic->timer.period < TIMER_PERIOD_MIN)
		lapic->timer.period = TIMER_PERIOD_MIN;
}

void timer_cancel(struct lapic *lapic)
{
	lapic->timer.is_armed = false;
	lapic->timer.is_pending = false;
}

void timer_set_divisor(struct lapic *lapic)
{
	uint32_t divide = lapic_reg(lapic, APIC_DIVIDE);
	unsigned exponent = ((divide & 3) | (divide & 8) >> 1) + 1;

	lapic->timer.divisor = 1u << (exponent & 7); /* 111b is 1 */
}

void timer_start(struct lapic *lapic, bool continues)
{
	struct irqchip *chip = lapic->chip;

	if (timer_is_tsc_deadline(lapic)) {
		lapic->timer.is_armed = lapic->timer.tsc_deadline;
	} else {
		uint64_t period = count_to_ns(lapic, APIC_INITIAL_COUNT), rest;

		lapic->timer.period = period;
		lapic->timer.tsc_deadline = 0;
		limit_period(lapic);
		period = lapic->timer.period;
		rest = period;
		if (continues) {
			/* A one-shot timer that is over ends anew, as in KVM. */
			rest = count_to_ns(lapic, APIC_CURRENT_COUNT);
			if ((!rest && is_periodic(lapic)) || rest > period)
				rest = period;
		}
		lapic->timer.target = irq_now(chip) + rest;
		lapic->timer.is_armed = period && lapic->timer.mode != TIMER_RESERVED;
	}
}

/* TSC-deadline mode and the others forget each other's time. */
void timer_mode_written(struct lapic *lapic)
{
	uint32_t modes = lapic->features.tsc_deadline ? LVT_TIMER_MODE : TIMER_PERIODIC;
	uint32_t mode = lapic_reg(lapic, APIC_LVT_TIMER) & modes;

	if (mode == lapic->timer.mode)
		return;
	if ((mode == TIMER_TSC_DEADLINE) != timer_is_tsc_deadline(lapic)) {
		lapic->timer.is_armed = false;
		lapic_set_reg(lapic, APIC_INITIAL_COUNT, 0);
		lapic->timer.period = 0;
		lapic->timer.tsc_deadline = 0;
	}
	lapic->timer.mode = mode;
	limit_period(lapic);
}

/* What is left is left in counts: it lasts longer or shorter. */
void timer_divisor_written(struct lapic *lapic)
{
	uint32_t old = lapic->timer.divisor;
	uint64_t now = irq_now(lapic->chip), rest = 0;

	timer_set_divisor(lapic);
	if (lapic->timer.divisor == old || !lapic->timer.period)
		return;
	if (lapic->timer.target > now)
		rest = lapic->timer.target - now;
	lapic->timer.period = count_to_ns(lapic, APIC_INITIAL_COUNT);
	limit_period(lapic);
	lapic->timer.target = now + rest * lapic->timer.divisor / old;
	/* One that is over is over again, as in KVM. */
	lapic->timer.is_armed = lapic->timer.period && lapic->timer.mode != TIMER_RESERVED &&
				(is_periodic(lapic) || !lapic->timer.is_pending);
}

uint32_t timer_count(struct lapic *lapic)
{
	uint64_t now;

	timer_run(lapic);
	if (timer_is_tsc_deadline(lapic) || !lapic_reg(lapic, APIC_INITIAL_COUNT) ||
	    !lapic->timer.period)
		return 0;
	now = irq_now(lapic->chip);
	if (now >= lapic->timer.target)
		return 0;
	return (uint32_t)((lapic->timer.target - now) % lapic->timer.period /
			  (BUS_CYCLE_NS * lapic->timer.divisor));
}

uint64_t timer_deadline(struct lapic *lapic)
{
	struct irqchip *chip = lapic->chip;
	uint64_t tsc, khz, ns;

	if (lapic->timer.is_pending)
		return 0;
	if (!lapic->timer.is_armed)
		return UINT64_MAX;
	if (!timer_is_tsc_deadline(lapic))
		return lapic->timer.target;
	tsc = chip->ops->tsc(chip->opaque, lapic->index);
	khz = chip->ops->tsc_khz(chip->opaque, lapic->index);
	if (tsc >= lapic->timer.tsc_deadline)
		return 0;
	/* Rounded up: there is nothing to do before. */
	ns = khz ? (lapic->timer.tsc_deadline - tsc) / khz + 1 : UINT64_MAX;
	return ns > UINT64_MAX / 1000000 / 2 ? UINT64_MAX : irq_now(chip) + ns * 1000000;
}

void timer_run(struct lapic *lapic)
{
	struct irqchip *chip = lapic->chip;
	uint64_t now;

	if (!lapic->timer.is_armed)
		return;
	if (timer_is_tsc_deadline(lapic)) {
		if (chip->ops->tsc(chip->opaque, lapic->index) < lapic->timer.tsc_deadline)
			return;
		lapic->timer.is_armed = false;
		lapic->timer.is_pending = true;
		return;
	}
	now = irq_now(chip);
	if (now < lapic->timer.target)
		return;
	lapic->timer.is_pending = true;
	if (is_periodic(lapic))
		lapic->timer.target += ((now - lapic->timer.target) / lapic->timer.period + 1) *
				       lapic->timer.period;
	else
		lapic->timer.is_armed = false;
}
