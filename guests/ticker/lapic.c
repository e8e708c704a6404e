// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The local APIC.  Every access may cost an exit: they are few.  In xAPIC mode; but in x2APIC mode
 * as an SEV-ES guest, for which an access to memory would raise #VC.
 */
#include "ticker.h"

#define EOI	      0x0b0
#define SPURIOUS      0x0f0
#define ICR_LOW	      0x300
#define LVT_TIMER     0x320
#define LVT_LINT0     0x350
#define INITIAL_COUNT 0x380
#define DIVIDE	      0x3e0

#define SOFTWARE_ENABLE	     (1u << 8)
#define MASKED		     (1u << 16)
#define PERIODIC	     (1u << 17)
#define DIVIDE_BY_16	     3u
#define ALL_BUT_SELF_INIT    0x000c4500u
#define ALL_BUT_SELF_STARTUP 0x000c4600u

/* KVM and QEMU count nanoseconds before the division: 100 Hz. */
#define TIMER_COUNT (1000000000u / 16 / 100)

#define MSR_APIC_BASE  0x1b
#define MSR_X2APIC     0x800
#define APIC_BASE_EXTD (1u << 10)

static void lapic_write(unsigned reg, uint32_t value)
{
	if (confidential == SEV_ES)
		confidential_write_msr(MSR_X2APIC + reg / 16, value);
	else
		*(volatile uint32_t *)(uintptr_t)(LAPIC + reg) = value;
}

void lapic_init(void)
{
	if (confidential == SEV_ES)
		confidential_write_msr(MSR_APIC_BASE,
				       confidential_read_msr(MSR_APIC_BASE) | APIC_BASE_EXTD);
	lapic_write(SPURIOUS, SOFTWARE_ENABLE | VECTOR_SPURIOUS);
	lapic_write(LVT_LINT0,
		    MASKED); /* the 8259 is not set up: its vectors would be exceptions */
	lapic_write(DIVIDE, DIVIDE_BY_16);
	lapic_write(LVT_TIMER, PERIODIC | VECTOR_TIMER);
	lapic_write(INITIAL_COUNT, TIMER_COUNT);
}

void lapic_eoi(void)
{
	lapic_write(EOI, 0);
}

void lapic_send_init(void)
{
	lapic_write(ICR_LOW, ALL_BUT_SELF_INIT);
}

void lapic_send_startup(unsigned page)
{
	lapic_write(ICR_LOW, ALL_BUT_SELF_STARTUP | page);
}
