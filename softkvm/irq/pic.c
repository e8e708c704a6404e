// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pic.c - two 8259s, the second one behind IR2 of the first, and their edge/level registers
 *
 * What they do is in Intel's data sheet of the 8259A ("ICW" and "OCW" are its words); what they
 * leave out is what KVM leaves out: single mode, level-triggering by ICW1, special mask mode.
 */
#include "softkvm/irq/internal.h"

#include <string.h>

#define CASCADE	      2
#define SPURIOUS      7
#define ICW1	      0x10u
#define ICW1_ICW4     0x01u
#define OCW3	      0x08u
#define OCW3_POLL     0x04u
#define OCW3_READ     0x02u
#define OCW3_SPECIAL  0x40u
#define ICW4_AUTO_EOI 0x02u
#define ICW4_NESTED   0x10u
#define POLL_REQUEST  0x80u
/* Never level-triggered: timer, keyboard, cascade; RTC, coprocessor. */
#define MASTER_ELCR 0xf8u
#define SLAVE_ELCR  0xdeu

enum init_state { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 };
enum command { ROTATE_OFF, EOI, NOP, EOI_OF, ROTATE_ON, EOI_ROTATE, SET_PRIORITY, EOI_ROTATE_OF };

void pic_init(struct irqchip *chip)
{
	chip->pic[0].elcr_mask = MASTER_ELCR;
	chip->pic[1].elcr_mask = SLAVE_ELCR;
}

/* How far the first of the pins is from the one of highest priority; 8: there is none. */
static unsigned priority_of(const struct kvm_pic_state *pic, uint8_t pins)
{
	unsigned priority = 0;

	while (priority < PIC_PINS && !(pins >> ((priority + pic->priority_add) % PIC_PINS) & 1))
		priority++;
	return priority;
}

static int request(const struct irqchip *chip, const struct kvm_pic_state *pic)
{
	unsigned priority = priority_of(pic, pic->irr & (uint8_t)~pic->imr);
	uint8_t serviced = pic->isr;

	/* Special fully nested mode: the slave may interrupt its own handlers. */
	if (pic->special_fully_nested_mode && pic == &chip->pic[0])
		serviced &= (uint8_t) ~(1u << CASCADE);
	if (priority == PIC_PINS || priority >= priority_of(pic, serviced))
		return -1;
	return (int)((priority + pic->priority_add) % PIC_PINS);
}

/* 1: a request, 0: it was there already, -1: masked. */
static int set_pin(struct kvm_pic_state *pic, unsigned pin, bool level)
{
	uint8_t mask = (uint8_t)(1u << pin), before = pic->irr;
	bool is_new = true;

	if (level) {
		if (pic->elcr & mask || !(pic->last_irr & mask)) {
			pic->irr |= mask;
			is_new = !(before & mask);
		}
		pic->last_irr |= mask;
	} else {
		if (pic->elcr & mask)
			pic->irr &= (uint8_t)~mask;
		pic->last_irr &= (uint8_t)~mask;
	}
	return pic->imr & mask ? -1 : is_new;
}

void pic_update(struct irqchip *chip)
{
	bool output;

	if (request(chip, &chip->pic[1]) >= 0) {
		(void)set_pin(&chip->pic[0], CASCADE, true);
		(void)set_pin(&chip->pic[0], CASCADE, false);
	}
	output = request(chip, &chip->pic[0]) >= 0;
	if (output && !chip->pic_output) {
		for (unsigned i = 0; i < LAPICS_MAX; i++)
			if (chip->lapic[i] && lapic_accepts_pic(chip->lapic[i])) {
				irq_kick(chip, i);
				break;
			}
	}
	chip->pic_output = output;
}

int pic_set_line(struct irqchip *chip, unsigned pin, enum irq_source source, bool level)
{
	int r = set_pin(&chip->pic[pin / PIC_PINS], pin % PIC_PINS,
			irq_line(&chip->pic_lines[pin], source, level));

	pic_update(chip);
	return r;
}

static void end(struct irqchip *chip, struct kvm_pic_state *pic, unsigned pin)
{
	unsigned index = (unsigned)(pic - chip->pic);

	pic->isr &= (uint8_t) ~(1u << pin);
	irq_acked(chip, index, pin + index * PIC_PINS);
}

static void acknowledge(struct irqchip *chip, struct kvm_pic_state *pic, unsigned pin)
{
	uint8_t mask = (uint8_t)(1u << pin);

	pic->isr |= mask;
	if (!(pic->elcr & mask))
		pic->irr &= (uint8_t)~mask;
	if (pic->auto_eoi) {
		if (pic->rotate_on_auto_eoi)
			pic->priority_add = (pin + 1) % PIC_PINS;
		end(chip, pic, pin);
	}
}

/* A request that has gone meanwhile is a spurious interrupt of the last pin's. */
int pic_peek(struct irqchip *chip)
{
	int pin = request(chip, &chip->pic[0]);

	if (pin != CASCADE)
		return (uint8_t)(chip->pic[0].irq_base + (pin < 0 ? SPURIOUS : pin));
	pin = request(chip, &chip->pic[1]);
	return (uint8_t)(chip->pic[1].irq_base + (pin < 0 ? SPURIOUS : pin));
}

int pic_acknowledge(struct irqchip *chip)
{
	int vector = pic_peek(chip), pin = request(chip, &chip->pic[0]);

	if (pin >= 0)
		acknowledge(chip, &chip->pic[0], (unsigned)pin);
	if (pin == CASCADE) {
		pin = request(chip, &chip->pic[1]);
		if (pin >= 0)
			acknowledge(chip, &chip->pic[1], (unsigned)pin);
	}
	pic_update(chip);
	return vector;
}

static void initialize(struct irqchip *chip, struct kvm_pic_state *pic, uint8_t icw1)
{
	uint8_t edges = pic->irr & (uint8_t)~pic->elcr;
	bool is_heard = false;

	pic->init4 = icw1 & ICW1_ICW4;
	pic->last_irr = 0;
	pic->irr &= pic->elcr;
	pic->imr = 0;
	pic->priority_add = 0;
	pic->special_mask = 0;
	pic->read_reg_select = 0;
	if (!pic->init4) {
		pic->special_fully_nested_mode = 0;
		pic->auto_eoi = 0;
	}
	pic->init_state = INIT_ICW2;
	/* Requests that are lost must not leave those waiting who want them acknowledged. */
	for (unsigned i = 0; i < LAPICS_MAX; i++)
		is_heard |= chip->lapic[i] && lapic_accepts_pic(chip->lapic[i]);
	for (unsigned pin = 0; is_heard && pin < PIC_PINS; pin++)
		if (edges >> pin & 1)
			end(chip, pic, pin);
}

static void ocw2(struct irqchip *chip, struct kvm_pic_state *pic, uint8_t value)
{
	enum command command = value >> 5;
	unsigned pin = value % PIC_PINS, priority;

	switch (command) {
	case ROTATE_OFF:
	case ROTATE_ON:
		pic->rotate_on_auto_eoi = command == ROTATE_ON;
		return;
	case NOP:
		return;
	case EOI:
	case EOI_ROTATE:
		priority = priority_of(pic, pic->isr);
		if (priority == PIC_PINS)
			return;
		pin = (priority + pic->priority_add) % PIC_PINS;
		break;
	case EOI_OF:
	case SET_PRIORITY:
	case EOI_ROTATE_OF:
		break;
	}
	if (command == SET_PRIORITY || command == EOI_ROTATE || command == EOI_ROTATE_OF)
		pic->priority_add = (pin + 1) % PIC_PINS;
	if (command != SET_PRIORITY)
		end(chip, pic, pin);
	pic_update(chip);
}

static void write_command(struct irqchip *chip, struct kvm_pic_state *pic, uint8_t value)
{
	if (value & ICW1) {
		initialize(chip, pic, value);
	} else if (value & OCW3) {
		if (value & OCW3_POLL)
			pic->poll = 1;
		if (value & OCW3_READ)
			pic->read_reg_select = value & 1;
		if (value & OCW3_SPECIAL)
			pic->special_mask = value >> 5 & 1;
	} else {
		ocw2(chip, pic, value);
	}
}

static void set_mask(struct irqchip *chip, struct kvm_pic_state *pic, uint8_t value)
{
	unsigned index = (unsigned)(pic - chip->pic);
	uint8_t changed = pic->imr ^ value;

	pic->imr = value;
	for (unsigned pin = 0; pin < PIC_PINS; pin++)
		if (changed >> pin & 1)
			irq_mask_changed(chip, index, pin + index * PIC_PINS, value >> pin & 1);
	pic_update(chip);
}

static void write_data(struct irqchip *chip, struct kvm_pic_state *pic, uint8_t value)
{
	switch (pic->init_state) {
	case INIT_DONE:
		set_mask(chip, pic, value);
		break;
	case INIT_ICW2:
		pic->irq_base = value & 0xf8;
		pic->init_state = INIT_ICW3;
		break;
	case INIT_ICW3: /* how they are wired is known */
		pic->init_state = pic->init4 ? INIT_ICW4 : INIT_DONE;
		break;
	case INIT_ICW4:
		pic->special_fully_nested_mode = !!(value & ICW4_NESTED);
		pic->auto_eoi = !!(value & ICW4_AUTO_EOI);
		pic->init_state = INIT_DONE;
		break;
	default: /* from KVM_SET_IRQCHIP */
		break;
	}
}

static uint8_t poll(struct irqchip *chip, struct kvm_pic_state *pic)
{
	bool is_slave = pic == &chip->pic[1];
	int pin = request(chip, pic);

	pic->poll = 0;
	if (pin < 0) {
		pic_update(chip);
		return SPURIOUS;
	}
	if (is_slave) {
		chip->pic[0].isr &= (uint8_t) ~(1u << CASCADE);
		chip->pic[0].irr &= (uint8_t) ~(1u << CASCADE);
	}
	pic->irr &= (uint8_t) ~(1u << pin);
	end(chip, pic, (unsigned)pin);
	if (is_slave || pin != CASCADE)
		pic_update(chip);
	return (uint8_t)(POLL_REQUEST | (unsigned)pin);
}

static uint8_t read_register(struct irqchip *chip, struct kvm_pic_state *pic, bool is_data)
{
	if (pic->poll)
		return poll(chip, pic);
	if (is_data)
		return pic->imr;
	return pic->read_reg_select ? pic->isr : pic->irr;
}

bool pic_pio(struct irqchip *chip, bool is_write, uint16_t port, unsigned size, void *data)
{
	bool is_elcr = (port & ~1u) == 0x4d0;
	uint8_t *byte = data;
	struct kvm_pic_state *pic;

	if (!is_elcr && (port & ~1u) != 0x20 && (port & ~1u) != 0xa0)
		return false;
	/* Two bytes at the first port are these two ports, and not understood. */
	if (port % 2 + size > 2)
		return false;
	if (size != 1) {
		if (!is_write)
			memset(data, 0, size);
		return true;
	}
	pic = &chip->pic[is_elcr ? port & 1 : port >> 7];
	if (is_elcr && is_write)
		pic->elcr = *byte & pic->elcr_mask;
	else if (is_elcr)
		*byte = pic->elcr;
	else if (!is_write)
		*byte = read_register(chip, pic, port & 1);
	else if (port & 1)
		write_data(chip, pic, *byte);
	else
		write_command(chip, pic, *byte);
	return true;
}
