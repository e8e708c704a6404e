/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * internal.h - what the interrupt controllers are to each other
 *
 * Everything here is guarded by irqchip->lock, which irq_lock() takes and irq_unlock() drops; the
 * functions below are called with it held.  vCPUs that have to look at their LAPIC are collected
 * meanwhile and kicked afterwards, so that kick() may take any lock.
 */
#ifndef SOFTKVM_IRQ_INTERNAL_H
#define SOFTKVM_IRQ_INTERNAL_H

#include <pthread.h>

#include "kvm/cleanup.h"
#include "softkvm/irq/irq.h"

#define LAPICS_MAX	 64 /* bits of irqchip->kicks */
#define PIC_PINS	 8
#define PICS_PINS	 16
#define LINES_MAX	 KVM_IOAPIC_NUM_PINS
#define GSIS_MAX	 4096	/* KVM_CAP_IRQ_ROUTING */
#define TIMER_PERIOD_MIN 200000 /* ns; kvm.min_timer_period_us */
#define NS_PER_S	 1000000000u

/* Registers of a LAPIC, by their offset (APM 16.3.2).  Vectors' bits and LVT entries are arrays
 * with a register every 16 bytes. */
enum lapic_register {
	APIC_ID = 0x020,
	APIC_VERSION = 0x030,
	APIC_TPR = 0x080,
	APIC_APR = 0x090,
	APIC_PPR = 0x0a0,
	APIC_EOI = 0x0b0,
	APIC_LDR = 0x0d0,
	APIC_DFR = 0x0e0,
	APIC_SPIV = 0x0f0,
	APIC_ISR = 0x100,
	APIC_TMR = 0x180,
	APIC_IRR = 0x200,
	APIC_ESR = 0x280,
	APIC_ICR = 0x300,
	APIC_ICR2 = 0x310,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT_THERMAL = 0x330,
	APIC_LVT_PERF = 0x340,
	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360,
	APIC_LVT_ERROR = 0x370,
	APIC_INITIAL_COUNT = 0x380,
	APIC_CURRENT_COUNT = 0x390,
	APIC_DIVIDE = 0x3e0,
	APIC_SELF_IPI = 0x3f0,
};

#define APIC_BASE_X2APIC   (1ull << 10) /* of MSR 0x1b */
#define APIC_BASE_ENABLE   (1ull << 11)
#define LVT_VECTOR	   0x000ffu
#define LVT_MODE	   0x00700u
#define LVT_MODE_SHIFT	   8
#define LVT_LEVEL	   0x08000u
#define LVT_MASKED	   0x10000u
#define LVT_TIMER_MODE	   0x60000u
#define TIMER_ONE_SHOT	   0x00000u
#define TIMER_PERIODIC	   0x20000u
#define TIMER_TSC_DEADLINE 0x40000u
#define TIMER_RESERVED	   0x60000u

/* Who drives a line: it is high as long as one of them drives it high (KVM's IRQ source IDs). */
enum irq_source { SOURCE_USER, SOURCE_RESAMPLE, SOURCE_PIT };

/* Encodings of APM 16.5, "Interprocessor Interrupts"; of LVT entries, ICR, IO-APIC and MSI. */
enum delivery_mode {
	DELIVER_FIXED,
	DELIVER_LOWEST,
	DELIVER_SMI,
	DELIVER_RESERVED,
	DELIVER_NMI,
	DELIVER_INIT,
	DELIVER_STARTUP,
	DELIVER_EXTINT,
};
enum shorthand { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

struct message {
	uint32_t destination;
	uint8_t vector;
	enum delivery_mode mode;
	enum shorthand shorthand;
	bool is_logical;
	bool is_level;	      /* trigger mode */
	bool is_asserted;     /* of level-triggered ones */
	bool is_redirectable; /* MSI's redirection hint: any one of the destinations */
};

struct lapic {
	struct irqchip *chip;
	unsigned index, id;
	bool is_bsp;
	struct lapic_features features;
	uint64_t base;
	uint32_t regs[KVM_APIC_REG_SIZE / 4];
	struct {
		uint32_t mode; /* of the LVT entry */
		uint32_t divisor;
		uint64_t period; /* ns */
		uint64_t target; /* ns: end of this period */
		uint64_t tsc_deadline;
		bool is_armed;
		bool is_pending; /* has expired, interrupt not raised yet */
	} timer;
	unsigned n_nmis;
	bool has_init, has_startup;
	uint8_t startup_vector;
};

struct pit {
	struct kvm_pit_state2 state;
	bool has_speaker;
	/* Channel 0 as a timer */
	bool is_armed, is_periodic;
	uint64_t period, target; /* ns */
	/* KVM_REINJECT_CONTROL: ticks are delivered one by one, as they are acknowledged */
	bool reinject, is_acked;
	uint64_t n_pending;
};

/* Routing entries by GSI: heads, and chains of indices plus one. */
struct routing {
	uint16_t head[GSIS_MAX];
	int16_t pin_gsi[3][KVM_IOAPIC_NUM_PINS]; /* [KVM_IRQCHIP_*]; -1: none */
	struct route {
		struct kvm_irq_routing_entry entry;
		uint16_t next;
	} route[];
};

struct irqfd;

struct irqchip {
	pthread_mutex_t lock;
	const struct irq_ops *ops;
	void *opaque;
	uint64_t kicks;
	struct lapic *lapic[LAPICS_MAX];
	struct kvm_pic_state pic[2];
	bool pic_output;	       /* the master's INTR */
	uint32_t pic_lines[PICS_PINS]; /* bits: enum irq_source */
	struct kvm_ioapic_state ioapic;
	uint32_t ioapic_delivered; /* edges in ioapic.irr that have been sent on */
	uint32_t ioapic_lines[LINES_MAX];
	struct pit *pit;
	struct routing *routing;
	struct {
		struct irqfd *first;
		pthread_t thread;
		int epoll, stop; /* epoll: -1 as long as there is no thread */
	} irqfds;
};

void irq_lock(struct irqchip *chip);
void irq_unlock(struct irqchip *chip);
void irq_kick(struct irqchip *chip, unsigned vcpu);
uint64_t irq_now(struct irqchip *chip);
/* Sets the source's share of a line, returns its level. */
bool irq_line(uint32_t *line, enum irq_source source, bool level);

/* lapic.c */
uint32_t lapic_reg(const struct lapic *lapic, unsigned offset);
void lapic_set_reg(struct lapic *lapic, unsigned offset, uint32_t value);
bool lapic_test(const struct lapic *lapic, unsigned array, uint8_t vector);
void lapic_update_ppr(struct lapic *lapic);
void lapic_mask_lvt(struct lapic *lapic);
void lapic_set_id(struct lapic *lapic);
void lapic_eoi(struct lapic *lapic);
bool lapic_is_enabled(const struct lapic *lapic);	   /* by its base MSR */
bool lapic_is_software_enabled(const struct lapic *lapic); /* by the spurious vector's register */
bool lapic_is_x2apic(const struct lapic *lapic);
bool lapic_accepts_pic(const struct lapic *lapic);
/* 1: accepted, 0: not. */
int lapic_accept(struct lapic *lapic, const struct message *message);
/* What an LVT entry makes of its event. */
void lapic_deliver_local(struct lapic *lapic, unsigned lvt);

/* lapic_timer.c */
void timer_cancel(struct lapic *lapic);
void timer_start(struct lapic *lapic, bool continues); /* continues: from the current count */
void timer_mode_written(struct lapic *lapic);
void timer_divisor_written(struct lapic *lapic);
void timer_set_divisor(struct lapic *lapic);
uint32_t timer_count(struct lapic *lapic);
uint64_t timer_deadline(struct lapic *lapic);
void timer_run(struct lapic *lapic);
bool timer_is_tsc_deadline(const struct lapic *lapic);

/* message.c: to whom it goes.  Number of vCPUs that accepted it; -1: there is none. */
int message_send(struct irqchip *chip, const struct lapic *from, const struct message *message);

/* pic.c */
void pic_init(struct irqchip *chip);
int pic_set_line(struct irqchip *chip, unsigned pin, enum irq_source source, bool level);
void pic_update(struct irqchip *chip);
int pic_peek(struct irqchip *chip); /* the vector that pic_acknowledge() would give */
int pic_acknowledge(struct irqchip *chip);
bool pic_pio(struct irqchip *chip, bool is_write, uint16_t port, unsigned size, void *data);

/* ioapic.c */
void ioapic_init(struct irqchip *chip);
int ioapic_set_line(struct irqchip *chip, unsigned pin, enum irq_source source, bool level);
void ioapic_eoi(struct irqchip *chip, uint8_t vector, bool is_level);
void ioapic_get(struct irqchip *chip, struct kvm_ioapic_state *ret);
void ioapic_set(struct irqchip *chip, const struct kvm_ioapic_state *state);

/* pit.c */
bool pit_pio(struct irqchip *chip, bool is_write, uint16_t port, unsigned size, void *data);
void pit_run(struct irqchip *chip);
uint64_t pit_deadline(const struct irqchip *chip);
void pit_acked(struct irqchip *chip);
void pit_unmasked(struct irqchip *chip);

/* routing.c: irq_set_gsi() returns what irq_set_line() does. */
int routing_init(struct irqchip *chip);
int irq_set_gsi(struct irqchip *chip, uint32_t gsi, enum irq_source source, bool level);
/* A pin of a controller has been acknowledged, or its mask has changed. */
void irq_acked(struct irqchip *chip, unsigned chip_id, unsigned pin);
void irq_mask_changed(struct irqchip *chip, unsigned chip_id, unsigned pin, bool is_masked);

/* irqfd.c */
void irqfds_init(struct irqchip *chip);
void irqfds_done(struct irqchip *chip); /* without the lock */
/* What has been signalled by now is raised by now. */
void irqfds_drain(struct irqchip *chip);
void irqfds_acked(struct irqchip *chip, uint32_t gsi);

/* eventfd.c */
/* Equal for descriptors of the same eventfd, as long as one is open.  fd may be an error already.
 * -EINVAL: it is something else. */
int eventfd_identity(int fd, uint64_t *ret);
bool eventfd_take(int fd); /* it had been signalled; never blocks */
void eventfd_signal(int fd);

#endif
