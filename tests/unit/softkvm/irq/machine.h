/* SPDX-License-Identifier: GPL-2.0-or-later */
/* machine.h - interrupt controllers with a clock that stands still, and how tests reach them */
#ifndef TEST_IRQ_MACHINE_H
#define TEST_IRQ_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "softkvm/irq/internal.h"

#define N_LAPICS    4
#define MSI_ADDRESS 0xfee00000u
#define SPIV_ON	    0x1ffu
#define ICR_LOW	    0x100u /* delivery mode "lowest priority" */
#define ICR_LOGICAL 0x800u
#define ICR_ASSERT  0x4000u
#define ICR_LEVEL   0x8000u
#define ICR_SELF    0x40000u
#define ICR_ALL	    0x80000u
#define ICR_OTHERS  0xc0000u
#define PIN_LEVEL   0x8000u
#define PIN_MASKED  0x10000u
#define REMOTE_IRR  0x4000u

struct machine {
	struct irqchip *chip;
	struct lapic *lapic[N_LAPICS];
	uint64_t now, tsc;
	_Atomic uint64_t kicked; /* a bit per vCPU */
};

int machine_setup(void **state); /* all LAPICs software-enabled */
int machine_teardown(void **state);

uint32_t apic_read(struct lapic *lapic, unsigned offset);
void apic_write(struct lapic *lapic, unsigned offset, uint32_t value);
/* By ICR2 and ICR */
void apic_ipi(struct lapic *lapic, uint8_t destination, uint32_t low);
void apic_x2apic(struct lapic *lapic);
/* Takes the interrupt, which must be this one (-1: none), and ends it. */
void assert_interrupt(struct lapic *lapic, int vector);
void assert_no_interrupts(struct machine *machine);

void outb(struct machine *machine, uint16_t port, uint8_t value);
uint8_t inb(struct machine *machine, uint16_t port);
void ioapic_write_pin(struct machine *machine, unsigned pin, uint64_t entry);
uint64_t ioapic_read_pin(struct machine *machine, unsigned pin);

#define IRQ_TEST(test) cmocka_unit_test_setup_teardown(test, machine_setup, machine_teardown)

#endif
