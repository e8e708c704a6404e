// SPDX-License-Identifier: GPL-2.0-or-later
/* Events of a vCPU: what is pending, MP state, interrupts and NMIs from the VMM, LAPIC. */
#include "internal.h"

#include <errno.h>
#include <string.h>

#define VECTORS 256

/* api.rst, 4.31.  There is no system management mode: all of its state is zero. */
static long get_events(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	const struct cpu_state *s = &vcpu->cpu->state;
	struct kvm_vcpu_events events = {
		.exception.injected = s->exception.pending,
		.exception.nr = s->exception.vector,
		.exception.has_error_code = s->exception.has_error,
		.exception.error_code = s->exception.error,
		.interrupt.injected = vcpu->interrupt >= 0,
		.interrupt.nr = vcpu->interrupt >= 0 ? (uint8_t)vcpu->interrupt : 0,
		.interrupt.shadow = s->shadow == SHADOW_STI	 ? KVM_X86_SHADOW_INT_STI
				    : s->shadow == SHADOW_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS
								 : 0,
		.nmi.masked = s->nmi_masked,
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
			 KVM_VCPUEVENT_VALID_SMM,
	};

	if (vcpu->lapic && lapic_take_nmi(vcpu->lapic))
		vcpu->n_nmis++;
	events.nmi.pending = vcpu->n_nmis > 0;
	if (vcpu->lapic)
		events.smi.latched_init = lapic_peek_signal(vcpu->lapic) == LAPIC_INIT;
	if (vcpu->vm->has_triple_fault_event) {
		events.triple_fault.pending = vcpu->has_triple_fault;
		events.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	}
	return call_copy_out(call, arg, &events, sizeof(events));
}

static bool are_valid(const struct vcpu *vcpu, const struct kvm_vcpu_events *events)
{
	const uint32_t known = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
			       KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM |
			       KVM_VCPUEVENT_VALID_TRIPLE_FAULT;

	if (events->flags & ~known)
		return false;
	if (events->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT && !vcpu->vm->has_triple_fault_event)
		return false;
	if (events->exception.injected && (events->exception.nr > 31 || events->exception.nr == 2))
		return false;
	return !(events->flags & KVM_VCPUEVENT_VALID_SMM) ||
	       !(events->smi.smm || events->smi.pending || events->smi.smm_inside_nmi);
}

static long set_events(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct cpu_state *s = &vcpu->cpu->state;
	struct kvm_vcpu_events events;
	int r = call_copy_in(call, &events, arg, sizeof(events));

	if (r < 0)
		return r;
	if (!are_valid(vcpu, &events))
		return -EINVAL;
	s->exception = (struct cpu_exception){
		.pending = events.exception.injected,
		.has_error = events.exception.has_error_code,
		.vector = events.exception.nr,
		.error = events.exception.error_code,
		.address = s->cr2,
	};
	vcpu->interrupt = events.interrupt.injected ? events.interrupt.nr : -1;
	if (events.flags & KVM_VCPUEVENT_VALID_SHADOW)
		s->shadow = events.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? SHADOW_MOV_SS
			    : events.interrupt.shadow & KVM_X86_SHADOW_INT_STI	? SHADOW_STI
										: SHADOW_NONE;
	if (events.flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		vcpu->n_nmis = events.nmi.pending != 0;
	s->nmi_masked = events.nmi.masked;
	if (vcpu->lapic && events.flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR)
		lapic_set_startup_vector(vcpu->lapic, (uint8_t)events.sipi_vector);
	if (vcpu->lapic && events.flags & KVM_VCPUEVENT_VALID_SMM && events.smi.latched_init)
		lapic_set_signal(vcpu->lapic, LAPIC_INIT);
	if (events.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
		vcpu->has_triple_fault = events.triple_fault.pending;
	return 0;
}

/* api.rst, 4.38.  Reading it has an effect: INIT and SIPI that have arrived are acted on. */
static long get_mp_state(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_mp_state state;

	vcpu_accept_signals(vcpu);
	state.mp_state = vcpu->mp_state;
	return call_copy_out(call, arg, &state, sizeof(state));
}

static long set_mp_state(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_mp_state state;
	int r = call_copy_in(call, &state, arg, sizeof(state));

	if (r < 0)
		return r;
	switch (state.mp_state) {
	case KVM_MP_STATE_RUNNABLE:
		break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
	case KVM_MP_STATE_HALTED:
	case KVM_MP_STATE_AP_RESET_HOLD:
		if (!vcpu->lapic)
			return -EINVAL;
		break;
	case KVM_MP_STATE_SIPI_RECEIVED:
		if (!vcpu->lapic)
			return -EINVAL;
		lapic_set_signal(vcpu->lapic, LAPIC_STARTUP);
		state.mp_state = KVM_MP_STATE_INIT_RECEIVED;
		break;
	default:
		return -EINVAL;
	}
	vcpu->mp_state = state.mp_state;
	return 0;
}

/* api.rst, 4.16: for a VMM that has the interrupt controllers itself. */
static long interrupt(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_interrupt irq;
	int r = call_copy_in(call, &irq, arg, sizeof(irq));

	if (r < 0)
		return r;
	if (irq.irq >= VECTORS)
		return -EINVAL;
	if (vcpu->lapic)
		return -ENXIO;
	vcpu->interrupt = (int)irq.irq;
	return 0;
}

static long nmi(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	(void)call, (void)arg;
	vcpu->n_nmis++;
	return 0;
}

static long get_lapic(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_lapic_state state;

	if (!vcpu->lapic)
		return -EINVAL;
	lapic_get(vcpu->lapic, &state);
	return call_copy_out(call, arg, &state, sizeof(state));
}

static long set_lapic(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_lapic_state state;
	int r;

	if (!vcpu->lapic)
		return -EINVAL;
	r = call_copy_in(call, &state, arg, sizeof(state));
	if (r == 0)
		r = lapic_set(vcpu->lapic, &state);
	if (r == 0)
		vcpu_tpr_to_cr8(vcpu);
	return r;
}

/* Not modelled; switching it off is no error, for VMMs do that before they do anything else. */
static long set_guest_debug(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_guest_debug debug;
	int r = call_copy_in(call, &debug, arg, sizeof(debug));

	if (r < 0)
		return r;
	return vcpu_is_protected(vcpu) || debug.control & KVM_GUESTDBG_ENABLE ? -EINVAL : 0;
}

const struct vcpu_ioctl vcpu_events_ioctls[] = {
	{KVM_GET_VCPU_EVENTS, get_events},
	{KVM_SET_VCPU_EVENTS, set_events},
	{KVM_GET_MP_STATE, get_mp_state},
	{KVM_SET_MP_STATE, set_mp_state},
	{KVM_INTERRUPT, interrupt},
	{KVM_NMI, nmi},
	{KVM_GET_LAPIC, get_lapic},
	{KVM_SET_LAPIC, set_lapic},
	{KVM_SET_GUEST_DEBUG, set_guest_debug},
	{0},
};
