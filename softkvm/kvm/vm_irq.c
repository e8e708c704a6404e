// SPDX-License-Identifier: GPL-2.0-or-later
/* Interrupt controllers and lines of a VM.  The controllers themselves are in irq/. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

#include "kvm/cleanup.h"

#define ROUTES_MAX 4096 /* KVM_CAP_IRQ_ROUTING */

static void kick(void *opaque, unsigned vcpu)
{
	struct vm *vm = opaque;

	/* One that is not complete has not been run, and looks before it is. */
	if (vcpu < atomic_load_explicit(&vm->n_vcpus, memory_order_acquire))
		vcpu_kick(vm->vcpu[vcpu]);
}

static uint64_t now_ns(void *opaque)
{
	(void)opaque;
	return host_now_ns();
}

static uint64_t tsc(void *opaque, unsigned vcpu)
{
	const struct vm *vm = opaque;

	return vcpu_tsc(vm->vcpu[vcpu]);
}

static uint64_t tsc_khz(void *opaque, unsigned vcpu)
{
	const struct vm *vm = opaque;

	return vm->vcpu[vcpu]->tsc_khz;
}

static const struct irq_ops irq_ops = {
	.kick = kick,
	.now_ns = now_ns,
	.tsc = tsc,
	.tsc_khz = tsc_khz,
};

/* Once there is one, it stays. */
static struct irqchip *irqchip_of(struct vm *vm)
{
	return __atomic_load_n(&vm->irqchip, __ATOMIC_ACQUIRE);
}

static long create_irqchip(struct vm *vm, struct call *call, uint64_t arg)
{
	int r = vm_lock(vm, call);

	(void)arg;
	if (r < 0)
		return r;
	if (vm->irqchip) {
		r = -EEXIST;
	} else if (vm->n_created > 0) {
		r = -EINVAL;
	} else {
		struct irqchip *chip = irqchip_new(&irq_ops, vm);

		r = chip ? 0 : -ENOMEM;
		__atomic_store_n(&vm->irqchip, chip, __ATOMIC_RELEASE);
	}
	(void)pthread_mutex_unlock(&vm->lock);
	return r;
}

static long get_irqchip(struct vm *vm, struct call *call, uint64_t arg)
{
	struct irqchip *chip = irqchip_of(vm);
	struct kvm_irqchip state;
	int r = call_copy_in(call, &state, arg, sizeof(state));

	if (r == 0)
		r = chip ? irqchip_get(chip, &state) : -ENXIO;
	return r < 0 ? r : call_copy_out(call, arg, &state, sizeof(state));
}

static long set_irqchip(struct vm *vm, struct call *call, uint64_t arg)
{
	struct irqchip *chip = irqchip_of(vm);
	struct kvm_irqchip state;
	int r = call_copy_in(call, &state, arg, sizeof(state));

	if (r < 0)
		return r;
	return chip ? irqchip_set(chip, &state) : -ENXIO;
}

static long create_pit2(struct vm *vm, struct call *call, uint64_t arg)
{
	struct irqchip *chip = irqchip_of(vm);
	struct kvm_pit_config config;
	int r = call_copy_in(call, &config, arg, sizeof(config));

	if (r < 0)
		return r;
	return chip ? pit_create(chip, &config) : -ENOENT;
}

static long create_pit(struct vm *vm, struct call *call, uint64_t arg)
{
	const struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct irqchip *chip = irqchip_of(vm);

	(void)call, (void)arg;
	return chip ? pit_create(chip, &config) : -ENOENT;
}

static long get_pit2(struct vm *vm, struct call *call, uint64_t arg)
{
	struct irqchip *chip = irqchip_of(vm);
	struct kvm_pit_state2 state;
	int r = chip ? pit_get(chip, &state) : -ENXIO;

	return r < 0 ? r : call_copy_out(call, arg, &state, sizeof(state));
}

static long set_pit2(struct vm *vm, struct call *call, uint64_t arg)
{
	struct irqchip *chip = irqchip_of(vm);
	struct kvm_pit_state2 state;
	int r = call_copy_in(call, &state, arg, sizeof(state));

	if (r < 0)
		return r;
	return chip ? pit_set(chip, &state) : -ENXIO;
}

static long reinject_control(struct vm *vm, struct call *call, uint64_t arg)
{
	struct irqchip *chip = irqchip_of(vm);
	struct kvm_reinject_control control;
	int r = call_copy_in(call, &control, arg, sizeof(control));

	if (r < 0)
		return r;
	return chip ? pit_reinject(chip, control.pit_reinject) : -ENXIO;
}

static long set_gsi_routing(struct vm *vm, struct call *call, uint64_t arg)
{
	autofree struct kvm_irq_routing_entry *entries = NULL;
	struct irqchip *chip = irqchip_of(vm);
	struct kvm_irq_routing routing;
	int r = call_copy_in(call, &routing, arg, sizeof(routing));

	if (r < 0)
		return r;
	if (!chip || routing.nr > ROUTES_MAX || routing.flags)
		return -EINVAL;
	if (routing.nr > 0) {
		entries = calloc(routing.nr, sizeof(entries[0]));
		if (!entries)
			return -ENOMEM;
		r = call_copy_in(call, entries, arg + sizeof(routing),
				 routing.nr * sizeof(entries[0]));
	}
	return r < 0 ? r : irq_set_routing(chip, routing.nr, entries);
}

static long irq_line(struct vm *vm, struct call *call, uint64_t arg, bool with_status)
{
	struct irqchip *chip = irqchip_of(vm);
	struct kvm_irq_level line;
	int r = call_copy_in(call, &line, arg, sizeof(line));

	if (r < 0)
		return r;
	if (!chip)
		return -ENXIO;

	int status = irq_set_line(chip, line.irq, 0, line.level);

	if (!with_status)
		return 0;
	line.status = status;
	return call_copy_out(call, arg, &line, sizeof(line));
}

static long set_irq_line(struct vm *vm, struct call *call, uint64_t arg)
{
	return irq_line(vm, call, arg, false);
}

static long set_irq_line_status(struct vm *vm, struct call *call, uint64_t arg)
{
	return irq_line(vm, call, arg, true);
}

static long signal_msi(struct vm *vm, struct call *call, uint64_t arg)
{
	struct irqchip *chip = irqchip_of(vm);
	struct kvm_msi msi;
	int r = call_copy_in(call, &msi, arg, sizeof(msi));

	if (r < 0)
		return r;
	if (!chip || msi.flags)
		return -EINVAL;
	return irq_send_msi(chip, (uint64_t)msi.address_hi << 32 | msi.address_lo, msi.data);
}

static long irqfd(struct vm *vm, struct call *call, uint64_t arg)
{
	struct irqchip *chip = irqchip_of(vm);
	struct kvm_irqfd config;
	int r = call_copy_in(call, &config, arg, sizeof(config));

	if (r < 0)
		return r;
	if (!chip)
		return -EINVAL;

	autofd event_fd = call_fd(call, (int)config.fd);
	autofd resample_fd = config.flags & KVM_IRQFD_FLAG_RESAMPLE
				     ? call_fd(call, (int)config.resamplefd)
				     : -EBADF;

	return irq_fd(chip, &config, event_fd, resample_fd);
}

static long ioeventfd(struct vm *vm, struct call *call, uint64_t arg)
{
	struct kvm_ioeventfd config;
	int r = call_copy_in(call, &config, arg, sizeof(config));

	if (r < 0)
		return r;

	autofd fd = call_fd(call, config.fd);

	return ioeventfd_set(vm->ioeventfds, &config, fd);
}

const struct vm_ioctl vm_irq_ioctls[] = {
	{KVM_CREATE_IRQCHIP, create_irqchip},
	{KVM_GET_IRQCHIP, get_irqchip},
	{KVM_SET_IRQCHIP, set_irqchip},
	{KVM_CREATE_PIT, create_pit},
	{KVM_CREATE_PIT2, create_pit2},
	{KVM_GET_PIT2, get_pit2},
	{KVM_SET_PIT2, set_pit2},
	{KVM_REINJECT_CONTROL, reinject_control},
	{KVM_SET_GSI_ROUTING, set_gsi_routing},
	{KVM_IRQ_LINE, set_irq_line},
	{KVM_IRQ_LINE_STATUS, set_irq_line_status},
	{KVM_SIGNAL_MSI, signal_msi},
	{KVM_IRQFD, irqfd},
	{KVM_IOEVENTFD, ioeventfd},
	{0},
};
