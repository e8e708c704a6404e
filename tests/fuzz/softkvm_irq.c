// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The interrupt controllers: accesses of a guest, states and routings of its VMM, and time that
 * goes by, in any order.  The machine is that of the unit tests.
 */
#include <sys/eventfd.h>

#include "input.h"
#include "kvm/cleanup.h"
#include "tests/unit/softkvm/irq/machine.h"

#define STEPS_MAX 256
#define GSIS	  64 /* some of those that there can be */

static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40,
				 0x41, 0x42, 0x43, 0x61, 0x60,	0x3f,  0x44};

static void set_state(struct machine *machine, struct lapic *lapic, struct input *in)
{
	struct kvm_irqchip chip = {.chip_id = input_u8(in) % 4};
	struct kvm_pit_state2 pit;
	struct kvm_lapic_state page;

	switch (input_u8(in) % 4) {
	case 0:
		lapic_get(lapic, &page);
		for (unsigned i = 0; i < 4; i++)
			page.regs[input_u16(in) % sizeof(page.regs)] = (char)input_u8(in);
		(void)lapic_set(lapic, &page);
		break;
	case 1:
		input_take(in, &chip.chip, sizeof(chip.chip));
		(void)irqchip_set(machine->chip, &chip);
		(void)irqchip_get(machine->chip, &chip);
		break;
	case 2:
		input_take(in, &pit, sizeof(pit));
		(void)pit_set(machine->chip, &pit);
		(void)pit_get(machine->chip, &pit);
		break;
	default:
		(void)lapic_host_set_base(lapic, input_u64(in));
		break;
	}
}

static void set_routing(struct machine *machine, struct input *in)
{
	struct kvm_irq_routing_entry entries[4];
	unsigned n = input_u8(in) % 5;

	memset(entries, 0, sizeof(entries));
	for (unsigned i = 0; i < n; i++) {
		entries[i].gsi = input_u16(in) % (GSIS * 2);
		entries[i].type = input_u8(in) % 4;
		if (entries[i].type == KVM_IRQ_ROUTING_IRQCHIP) {
			entries[i].u.irqchip.irqchip = input_u8(in) % 4;
			entries[i].u.irqchip.pin = input_u8(in);
		} else {
			input_take(in, &entries[i].u.msi, sizeof(entries[i].u.msi));
		}
	}
	(void)irq_set_routing(machine->chip, n, entries);
}

static void bind_eventfd(struct machine *machine, struct ioeventfds *set, struct input *in)
{
	autofd fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint8_t which = input_u8(in);
	uint64_t data = input_u64(in);
	struct kvm_irqfd irqfd = {.gsi = which >> 1 & 0x1f, .flags = which >> 6};
	struct kvm_ioeventfd args = {.datamatch = data & 3,
				     .addr = data >> 2 & 3,
				     .len = data >> 4 & 0xf,
				     .flags = data >> 8 & 0x1f};

	if (which & 1) {
		(void)irq_fd(machine->chip, &irqfd, fd, fd);
		return;
	}
	(void)ioeventfd_set(set, &args, fd);
	(void)ioeventfd_write(set, which & 2, data >> 2 & 3, 1u << (which >> 2 & 3), &data);
}

static void step(struct machine *machine, struct ioeventfds *set, struct input *in)
{
	uint8_t what = input_u8(in), len = (uint8_t)(1u << (what >> 4 & 3));
	struct lapic *lapic = machine->lapic[(what >> 6) % N_LAPICS];
	uint64_t data, got;
	uint16_t where;

	switch (what & 0xf) {
	case 0:
		where = input_u16(in) & 0xfff;
		data = input_u64(in);
		lapic_mmio_write(lapic, where, len, &data);
		break;
	case 1:
		lapic_mmio_read(lapic, input_u16(in) & 0xfff, len, &got);
		break;
	case 2:
		where = input_u8(in);
		(void)lapic_wrmsr(lapic, where == 0xff ? 0x6e0 : 0x800 + where, input_u64(in));
		break;
	case 3:
		(void)lapic_rdmsr(lapic, 0x800u + input_u8(in), &got);
		break;
	case 4:
		set_state(machine, lapic, in);
		break;
	case 5:
		(void)lapic_set_base(lapic, input_u64(in));
		break;
	case 6:
		lapic_poll(lapic);
		(void)lapic_deadline(lapic);
		break;
	case 7:
		(void)lapic_pending(lapic);
		(void)lapic_take(lapic);
		(void)lapic_take_nmi(lapic);
		(void)lapic_take_signal(lapic, (uint8_t *)&got);
		break;
	case 8:
		data = input_u64(in);
		machine->now += data & 0x7fffffff;
		machine->tsc += data >> 32;
		break;
	case 9:
		lapic_set_signal(lapic, input_u8(in) % 3);
		lapic_set_tpr(lapic, input_u8(in) % 16);
		break;
	case 10:
		data = input_u64(in);
		(void)irqchip_pio(machine->chip, data >> 63,
				  ports[(data >> 32) % ARRAY_SIZE(ports)], len, &data);
		break;
	case 11:
		where = input_u16(in) & 0x1ff;
		data = input_u64(in);
		(void)irqchip_mmio(machine->chip, true, 0xfec00000u + where, len, &data);
		(void)irqchip_mmio(machine->chip, false, 0xfec00010, len, &data);
		break;
	case 12:
		data = input_u64(in);
		(void)irq_set_line(machine->chip, data & 0x3f, data >> 8 & 3, data >> 16 & 1);
		break;
	case 13:
		data = input_u64(in);
		(void)irq_send_msi(machine->chip, MSI_ADDRESS ^ (data & 0xfffff), data >> 32);
		break;
	case 14:
		set_routing(machine, in);
		break;
	default:
		bind_eventfd(machine, set, in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct ioeventfds *set = ioeventfds_new();
	struct machine *machine = NULL;
	uint8_t config = input_u8(&in);

	(void)machine_setup((void **)&machine);
	if (config & 1)
		(void)pit_create(machine->chip, &(struct kvm_pit_config){.flags = config >> 1 & 1});
	for (unsigned i = 0; i < STEPS_MAX && in.left > 0; i++)
		step(machine, set, &in);
	(void)ioeventfds_free(set);
	(void)machine_teardown((void **)&machine);
	return 0;
}
