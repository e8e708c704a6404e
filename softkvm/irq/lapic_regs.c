// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lapic_regs.c - the LAPIC as the guest sees it, by memory or by MSR
 *
 * KVM lets pass what real APICs report in the ESR: that register is always 0.
 */
#include "softkvm/irq/internal.h"

#include <string.h>

#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC	 0x800u
#define MSR_X2APIC_LAST	 0x8ffu
#define SPIV_WRITABLE	 0x3ffu
#define DIVIDE_WRITABLE	 0xbu
#define LVT_SEND_PENDING 0x1000u
#define LVT_POLARITY	 0x2000u
#define LVT_REMOTE_IRR	 0x4000u
#define ICR_LOGICAL	 0x00800u
#define ICR_BUSY	 0x01000u
#define ICR_ASSERT	 0x04000u
#define ICR_LEVEL	 0x08000u
#define ICR_SHORTHAND	 0xc0000u
#define ICR_RESERVED	 0xfff32000u /* 16.13, of an x2APIC */

static bool is_readable(const struct lapic *lapic, unsigned offset)
{
	switch (offset) {
	case APIC_APR:
	case APIC_DFR:
	case APIC_ICR2:
		return !lapic_is_x2apic(lapic);
	case APIC_ID:
	case APIC_VERSION:
	case APIC_TPR:
	case APIC_PPR:
	case APIC_LDR:
	case APIC_SPIV:
	case APIC_ISR ... APIC_ESR: /* with TMR and IRR */
	case APIC_ICR:
	case APIC_LVT_TIMER ... APIC_CURRENT_COUNT:
	case APIC_DIVIDE:
		return true;
	default:
		return false;
	}
}

/* offset: a multiple of 16, as below.  False: there is no such register. */
static bool read_register(struct lapic *lapic, unsigned offset, uint32_t *ret)
{
	if (!is_readable(lapic, offset))
		return false;
	switch (offset) {
	case APIC_APR:
		*ret = 0; /* arbitration is by the bus of the P6 */
		break;
	case APIC_CURRENT_COUNT:
		*ret = timer_count(lapic);
		break;
	case APIC_PPR:
		lapic_update_ppr(lapic);
		*ret = lapic_reg(lapic, offset);
		break;
	default:
		*ret = lapic_reg(lapic, offset);
	}
	return true;
}

static void send_ipi(struct lapic *lapic, uint32_t low, uint32_t destination)
{
	const struct message message = {
		.destination = destination,
		.vector = low & LVT_VECTOR,
		.mode = (enum delivery_mode)((low & LVT_MODE) >> LVT_MODE_SHIFT),
		.shorthand = (enum shorthand)((low & ICR_SHORTHAND) >> 18),
		.is_logical = low & ICR_LOGICAL,
		.is_level = low & ICR_LEVEL,
		.is_asserted = low & ICR_ASSERT,
	};

	(void)message_send(lapic->chip, lapic, &message);
}

static void write_lvt(struct lapic *lapic, unsigned lvt, uint32_t value)
{
	uint32_t writable = LVT_VECTOR | LVT_SEND_PENDING | LVT_MASKED;

	switch (lvt) {
	case APIC_LVT_TIMER:
		writable |= lapic->features.tsc_deadline ? LVT_TIMER_MODE : TIMER_PERIODIC;
		break;
	case APIC_LVT_LINT0:
	case APIC_LVT_LINT1:
		writable |= LVT_MODE | LVT_POLARITY | LVT_REMOTE_IRR | LVT_LEVEL;
		break;
	case APIC_LVT_THERMAL:
	case APIC_LVT_PERF:
		writable |= LVT_MODE;
		break;
	default:
		break;
	}
	if (!lapic_is_software_enabled(lapic))
		value |= LVT_MASKED;
	lapic_set_reg(lapic, lvt, value & writable);
	if (lvt == APIC_LVT_TIMER)
		timer_mode_written(lapic);
	irq_kick(lapic->chip, lapic->index);
}

static void write_spurious(struct lapic *lapic, uint32_t value)
{
	lapic_set_reg(lapic, APIC_SPIV, value & SPIV_WRITABLE);
	if (!lapic_is_software_enabled(lapic)) {
		lapic_mask_lvt(lapic);
		lapic->timer.is_pending = false;
	}
}

/* Registers that an x2APIC has no more, or only to read. */
static bool write_xapic(struct lapic *lapic, unsigned offset, uint32_t value)
{
	if (lapic_is_x2apic(lapic))
		return false;
	switch (offset) {
	case APIC_ID:
	case APIC_ICR2:
	case APIC_LDR:
		value &= 0xff000000;
		break;
	default: /* APIC_DFR */
		value |= 0x0fffffff;
	}
	lapic_set_reg(lapic, offset, value);
	return true;
}

/* False: there is no such register, or the value is illegal. */
static bool write_register(struct lapic *lapic, unsigned offset, uint32_t value)
{
	switch (offset) {
	case APIC_ID:
	case APIC_LDR:
	case APIC_DFR:
	case APIC_ICR2:
		return write_xapic(lapic, offset, value);
	case APIC_TPR:
		lapic_set_reg(lapic, APIC_TPR, value & 0xff);
		lapic_update_ppr(lapic);
		return true;
	case APIC_EOI:
		lapic_eoi(lapic);
		return true;
	case APIC_SPIV:
		write_spurious(lapic, value);
		return true;
	case APIC_ESR:
		return !lapic_is_x2apic(lapic) || !value;
	case APIC_ICR:
		value &= ~ICR_BUSY;
		send_ipi(lapic, value, lapic_reg(lapic, APIC_ICR2) >> 24);
		lapic_set_reg(lapic, APIC_ICR, value);
		return true;
	case APIC_LVT_TIMER:
	case APIC_LVT_THERMAL:
	case APIC_LVT_PERF:
	case APIC_LVT_LINT0:
	case APIC_LVT_LINT1:
	case APIC_LVT_ERROR:
		write_lvt(lapic, offset, value);
		return true;
	case APIC_INITIAL_COUNT:
		if (timer_is_tsc_deadline(lapic))
			return true;
		timer_cancel(lapic);
		lapic_set_reg(lapic, APIC_INITIAL_COUNT, value);
		timer_start(lapic, false);
		return true;
	case APIC_DIVIDE:
		lapic_set_reg(lapic, APIC_DIVIDE, value & DIVIDE_WRITABLE);
		timer_divisor_written(lapic);
		return true;
	case APIC_SELF_IPI:
		if (!lapic_is_x2apic(lapic) || value & ~LVT_VECTOR)
			return false;
		send_ipi(lapic, TO_SELF << 18 | value, 0);
		return true;
	default:
		return false;
	}
}

/* KVM_X86_QUIRK_LAPIC_MMIO_HOLE: no LAPIC there reads as ones. */
static bool has_page(const struct lapic *lapic)
{
	return lapic_is_enabled(lapic) && !lapic_is_x2apic(lapic);
}

void lapic_mmio_read(struct lapic *lapic, unsigned offset, unsigned len, void *ret)
{
	unsigned within = offset % 16;
	uint32_t value;

	irq_lock(lapic->chip);
	memset(ret, has_page(lapic) ? 0 : 0xff, len);
	if (has_page(lapic) && within + len <= sizeof(value) &&
	    read_register(lapic, offset - within, &value))
		memcpy(ret, (const char *)&value + within, len);
	irq_unlock(lapic->chip);
}

void lapic_mmio_write(struct lapic *lapic, unsigned offset, unsigned len, const void *data)
{
	uint32_t value;

	/* 16.3.2: aligned to 16 bytes, 32 bits wide. */
	if (len != sizeof(value) || offset % 16)
		return;
	memcpy(&value, data, sizeof(value));
	irq_lock(lapic->chip);
	if (has_page(lapic))
		(void)write_register(lapic, offset, value);
	irq_unlock(lapic->chip);
}

static uint64_t read_tsc_deadline(const struct lapic *lapic)
{
	return lapic_is_enabled(lapic) && timer_is_tsc_deadline(lapic) ? lapic->timer.tsc_deadline
								       : 0;
}

static void write_tsc_deadline(struct lapic *lapic, uint64_t value)
{
	if (!lapic_is_enabled(lapic) || !timer_is_tsc_deadline(lapic))
		return;
	timer_cancel(lapic);
	lapic->timer.tsc_deadline = value;
	timer_start(lapic, false);
}

static bool read_x2apic(struct lapic *lapic, uint32_t msr, uint64_t *ret)
{
	unsigned offset = (msr - MSR_X2APIC) * 16;
	uint32_t value;

	if (msr < MSR_X2APIC || msr > MSR_X2APIC_LAST || !lapic_is_x2apic(lapic) ||
	    !read_register(lapic, offset, &value))
		return false;
	*ret = value;
	if (offset == APIC_ICR)
		*ret |= (uint64_t)lapic_reg(lapic, APIC_ICR + 4) << 32;
	return true;
}

static bool write_x2apic(struct lapic *lapic, uint32_t msr, uint64_t value)
{
	unsigned offset = (msr - MSR_X2APIC) * 16;

	if (msr < MSR_X2APIC || msr > MSR_X2APIC_LAST || !lapic_is_x2apic(lapic))
		return false;
	if (offset == APIC_ICR) {
		if (value & ICR_RESERVED)
			return false;
		value &= ~(uint64_t)ICR_BUSY;
		send_ipi(lapic, (uint32_t)value, value >> 32);
		lapic_set_reg(lapic, APIC_ICR, (uint32_t)value);
		lapic_set_reg(lapic, APIC_ICR + 4, value >> 32);
		return true;
	}
	return !(value >> 32) && write_register(lapic, offset, (uint32_t)value);
}

bool lapic_rdmsr(struct lapic *lapic, uint32_t msr, uint64_t *ret)
{
	bool is_known = true;

	irq_lock(lapic->chip);
	if (msr == MSR_TSC_DEADLINE)
		*ret = read_tsc_deadline(lapic);
	else
		is_known = read_x2apic(lapic, msr, ret);
	irq_unlock(lapic->chip);
	return is_known;
}

bool lapic_wrmsr(struct lapic *lapic, uint32_t msr, uint64_t value)
{
	bool is_known = true;

	irq_lock(lapic->chip);
	if (msr == MSR_TSC_DEADLINE)
		write_tsc_deadline(lapic, value);
	else
		is_known = write_x2apic(lapic, msr, value);
	irq_unlock(lapic->chip);
	return is_known;
}
