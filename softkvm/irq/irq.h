/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * irq.h - interrupt controllers as KVM models them: local APICs, IO-APIC, two 8259, PIT, and the
 * routing from GSIs to them
 *
 * Timers have no thread: they are asked for their deadline and looked at by whoever runs the vCPU.
 * One lock per VM guards all of it; functions may be called from any thread.
 */
#ifndef SOFTKVM_IRQ_H
#define SOFTKVM_IRQ_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct call;
struct irqchip;
struct lapic;

/* What the controllers want of the machine. */
struct irq_ops {
	/* The vCPU with this index must look at its LAPIC: it leaves the guest or wakes.  Called
	 * without locks of irq/; the others with. */
	void (*kick)(void *opaque, unsigned vcpu);
	uint64_t (*now_ns)(void *opaque);	      /* CLOCK_MONOTONIC, or a test's */
	uint64_t (*tsc)(void *opaque, unsigned vcpu); /* guest TSC, for the deadline mode */
	uint64_t (*tsc_khz)(void *opaque, unsigned vcpu);
};

struct irqchip *irqchip_new(const struct irq_ops *ops, void *opaque);
/* After it nobody is kicked.  LAPICs that are left may be freed, and nothing else. */
struct irqchip *irqchip_free(struct irqchip *chip);

/* KVM_CREATE_VCPU with an irqchip: APIC ID = vcpu_id, reset state.  LAPIC 0 is the BSP's. */
struct lapic *lapic_new(struct irqchip *chip, unsigned vcpu_index, unsigned vcpu_id, bool is_bsp);
struct lapic *lapic_free(struct lapic *lapic);

/* What CPUID, as set by KVM_SET_CPUID2, lets the guest do.  Before: everything, 52 bits. */
struct lapic_features {
	unsigned physical_bits;
	bool x2apic, tsc_deadline;
};
void lapic_set_features(struct lapic *lapic, const struct lapic_features *features);

/* KVM_GET_LAPIC, KVM_SET_LAPIC: the register page of 1 KiB, as KVM lays it out (x2APIC: ID format
 * of KVM_X2APIC_API_USE_32BIT_IDS is not modelled).  -EINVAL. */
void lapic_get(struct lapic *lapic, struct kvm_lapic_state *ret);
int lapic_set(struct lapic *lapic, const struct kvm_lapic_state *state);
uint64_t lapic_get_base(const struct lapic *lapic); /* MSR 0x1b */
/* -EINVAL: illegal.  The guest cannot go from disabled to x2APIC or from there to xAPIC; the host,
 * by KVM_SET_MSRS or KVM_SET_SREGS, can. */
int lapic_set_base(struct lapic *lapic, uint64_t value);
int lapic_host_set_base(struct lapic *lapic, uint64_t value);
void lapic_init_signal(struct lapic *lapic); /* reset by INIT: keeps the ID and the base */

/* Guest accesses.  offset: in the 4 KiB page at the base.  msr: 0x800 to 0x8ff, TSC_DEADLINE 0x6e0.
 * False: #GP. */
void lapic_mmio_read(struct lapic *lapic, unsigned offset, unsigned len, void *ret);
void lapic_mmio_write(struct lapic *lapic, unsigned offset, unsigned len, const void *data);
bool lapic_rdmsr(struct lapic *lapic, uint32_t msr, uint64_t *ret);
bool lapic_wrmsr(struct lapic *lapic, uint32_t msr, uint64_t value);
void lapic_set_tpr(struct lapic *lapic, uint8_t cr8); /* CR8 is bits 7:4 of the TPR */
uint8_t lapic_get_tpr(const struct lapic *lapic);     /* as CR8: 0 to 15 */

/* Run the timers that are due; then: */
void lapic_poll(struct lapic *lapic);
/* the highest interrupt above the priority (from the 8259s by ExtINT, too), or -1; taking it makes
 * it in service.  pending() has no effect. */
int lapic_pending(struct lapic *lapic);
int lapic_take(struct lapic *lapic);
bool lapic_take_nmi(struct lapic *lapic);
/* When lapic_poll() has something to do next, in now_ns() time; UINT64_MAX: never.  For the BSP,
 * with the PIT. */
uint64_t lapic_deadline(struct lapic *lapic);

enum lapic_signal { LAPIC_NO_SIGNAL, LAPIC_INIT, LAPIC_STARTUP };
enum lapic_signal lapic_take_signal(struct lapic *lapic, uint8_t *ret_vector);
enum lapic_signal lapic_peek_signal(const struct lapic *lapic);
/* For KVM_GET/SET_VCPU_EVENTS */
void lapic_set_signal(struct lapic *lapic, enum lapic_signal signal);
/* Of a SIPI that may have arrived, or may be set next: KVM_VCPUEVENT_VALID_SIPI_VECTOR. */
void lapic_set_startup_vector(struct lapic *lapic, uint8_t vector);

/* KVM_GET_IRQCHIP, KVM_SET_IRQCHIP: chip_id in. */
int irqchip_get(struct irqchip *chip, struct kvm_irqchip *ret);
int irqchip_set(struct irqchip *chip, const struct kvm_irqchip *state);
/* Ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, and 0x40 to 0x43, 0x61 with a PIT; the IO-APIC's page
 * at 0xfec00000.  True: it was one of those. */
bool irqchip_pio(struct irqchip *chip, bool is_write, uint16_t port, unsigned size, void *data);
bool irqchip_mmio(struct irqchip *chip, bool is_write, uint64_t gpa, unsigned len, void *data);

int pit_create(struct irqchip *chip, const struct kvm_pit_config *config); /* -EEXIST */
int pit_get(struct irqchip *chip, struct kvm_pit_state2 *ret);		   /* -ENXIO without */
int pit_set(struct irqchip *chip, const struct kvm_pit_state2 *state);
int pit_reinject(struct irqchip *chip, bool reinject);

/* KVM_SET_GSI_ROUTING: -EINVAL, -ENOMEM. */
int irq_set_routing(struct irqchip *chip, unsigned n, const struct kvm_irq_routing_entry *entries);
/* KVM_IRQ_LINE, KVM_SIGNAL_MSI: how many accepted it; 0: it coalesced with one that is pending;
 * -1: nobody wants it (KVM_SIGNAL_MSI returns that as it is, EPERM).  source: 0 for user space. */
int irq_set_line(struct irqchip *chip, uint32_t gsi, uint32_t source, bool level);
int irq_send_msi(struct irqchip *chip, uint64_t address, uint32_t data);

/* KVM_IRQFD.  event_fd, resample_fd: as call_fd() gave them, errors included, which are reported in
 * their turn; the caller closes them.  A thread, from the first to irqchip_free(), watches them. */
int irq_fd(struct irqchip *chip, const struct kvm_irqfd *irqfd, int event_fd, int resample_fd);

/* KVM_IOEVENTFD, which needs no irqchip.  event_fd: as above. */
struct ioeventfds;
struct ioeventfds *ioeventfds_new(void);
struct ioeventfds *ioeventfds_free(struct ioeventfds *set);
int ioeventfd_set(struct ioeventfds *set, const struct kvm_ioeventfd *args, int event_fd);
/* True: a guest's write has signalled one, and is done. */
bool ioeventfd_write(struct ioeventfds *set, bool is_pio, uint64_t address, unsigned len,
		     const void *data);

#endif
