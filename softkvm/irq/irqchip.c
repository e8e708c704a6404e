// SPDX-License-Identifier: GPL-2.0-or-later
/* irqchip.c - the controllers of one VM, together */
#include "softkvm/irq/internal.h"

#include <string.h>

void irq_lock(struct irqchip *chip)
{
	(void)pthread_mutex_lock(&chip->lock);
}

void irq_unlock(struct irqchip *chip)
{
	uint64_t kicks = chip->kicks;

	chip->kicks = 0;
	(void)pthread_mutex_unlock(&chip->lock);
	for (; kicks; kicks &= kicks - 1)
		chip->ops->kick(chip->opaque, (unsigned)__builtin_ctzll(kicks));
}

void irq_kick(struct irqchip *chip, unsigned vcpu)
{
	chip->kicks |= 1ull << vcpu;
}

uint64_t irq_now(struct irqchip *chip)
{
	return chip->ops->now_ns(chip->opaque);
}

bool irq_line(uint32_t *line, enum irq_source source, bool level)
{
	*line = (*line & ~(1u << source)) | (uint32_t)level << source;
	return *line;
}

struct irqchip *irqchip_new(const struct irq_ops *ops, void *opaque)
{
	autofree struct irqchip *chip = calloc(1, sizeof(*chip));

	if (!chip)
		return NULL;
	chip->ops = ops;
	chip->opaque = opaque;
	pic_init(chip);
	ioapic_init(chip);
	irqfds_init(chip);
	if (routing_init(chip) < 0)
		return NULL;
	if (pthread_mutex_init(&chip->lock, NULL)) {
		free(chip->routing);
		return NULL;
	}
	return steal_ptr(chip);
}

struct irqchip *irqchip_free(struct irqchip *chip)
{
	if (!chip)
		return NULL;
	irqfds_done(chip);
	for (unsigned i = 0; i < LAPICS_MAX; i++)
		if (chip->lapic[i])
			chip->lapic[i]->chip = NULL;
	free(chip->routing);
	free(chip->pit);
	(void)pthread_mutex_destroy(&chip->lock);
	free(chip);
	return NULL;
}

int irqchip_get(struct irqchip *chip, struct kvm_irqchip *ret)
{
	int r = 0;

	irq_lock(chip);
	irqfds_drain(chip);
	pit_run(chip);
	switch (ret->chip_id) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		ret->chip.pic = chip->pic[ret->chip_id];
		break;
	case KVM_IRQCHIP_IOAPIC:
		ioapic_get(chip, &ret->chip.ioapic);
		break;
	default:
		r = -EINVAL;
	}
	irq_unlock(chip);
	return r;
}

int irqchip_set(struct irqchip *chip, const struct kvm_irqchip *state)
{
	int r = 0;

	irq_lock(chip);
	switch (state->chip_id) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		chip->pic[state->chip_id] = state->chip.pic;
		break;
	case KVM_IRQCHIP_IOAPIC:
		ioapic_set(chip, &state->chip.ioapic);
		break;
	default:
		r = -EINVAL;
	}
	pic_update(chip);
	irq_unlock(chip);
	return r;
}

bool irqchip_pio(struct irqchip *chip, bool is_write, uint16_t port, unsigned size, void *data)
{
	bool is_known;

	irq_lock(chip);
	is_known = pic_pio(chip, is_write, port, size, data) ||
		   pit_pio(chip, is_write, port, size, data);
	irq_unlock(chip);
	return is_known;
}
