// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The same done to KVM's interrupt controllers and to these: random states, registers, lines,
 * messages.  What getters show must be the same.  No guest runs.  Skipped without /dev/kvm.
 */
#include "machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VCPUS	     3u
#define ROUNDS	     3000u
#define CPUID_MAX    256u
#define MSR_APICBASE 0x1bu
#define PHYSICAL     0x80000008u

struct pair {
	struct machine *machine; /* ours */
	int kvm, vm, vcpu[VCPUS];
	uint64_t seed;
};

/* xorshift64 */
static uint32_t any(struct pair *pair)
{
	pair->seed ^= pair->seed << 13;
	pair->seed ^= pair->seed >> 7;
	pair->seed ^= pair->seed << 17;
	return (uint32_t)(pair->seed >> 16);
}

static uint32_t any_below(struct pair *pair, uint32_t n)
{
	return any(pair) % n;
}

/* Both CPUs offer x2APIC and TSC-deadline mode, and as many address bits. */
static void set_cpuid(struct pair *pair)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));
	struct lapic_features features = {
		.physical_bits = 36, .x2apic = true, .tsc_deadline = true};

	cpuid->nent = CPUID_MAX;
	assert_int_equal(ioctl(pair->kvm, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
	for (unsigned i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == 1)
			cpuid->entries[i].ecx |= 1u << 21 | 1u << 24;
		if (cpuid->entries[i].function == PHYSICAL)
			features.physical_bits = cpuid->entries[i].eax & 0xff;
	}
	for (unsigned i = 0; i < VCPUS; i++) {
		assert_int_equal(ioctl(pair->vcpu[i], KVM_SET_CPUID2, cpuid), 0);
		lapic_set_features(pair->machine->lapic[i], &features);
	}
	free(cpuid);
}

static int setup(void **state)
{
	const struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct pair *pair = calloc(1, sizeof(*pair));
	void *machine;

	*state = pair;
	pair->seed = 0x9e3779b97f4a7c15;
	pair->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (pair->kvm < 0)
		return 0;
	machine_setup(&machine);
	pair->machine = machine;
	pair->vm = ioctl(pair->kvm, KVM_CREATE_VM, 0);
	assert_true(pair->vm >= 0);
	assert_int_equal(ioctl(pair->vm, KVM_CREATE_IRQCHIP, 0), 0);
	assert_int_equal(ioctl(pair->vm, KVM_CREATE_PIT2, &config), 0);
	assert_int_equal(pit_create(pair->machine->chip, &config), 0);
	for (unsigned i = VCPUS; i < N_LAPICS; i++)
		pair->machine->lapic[i] = lapic_free(pair->machine->lapic[i]);
	for (unsigned i = 0; i < VCPUS; i++) {
		pair->vcpu[i] = ioctl(pair->vm, KVM_CREATE_VCPU, i);
		assert_true(pair->vcpu[i] >= 0);
		lapic_init_signal(pair->machine->lapic[i]);
	}
	set_cpuid(pair);
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;
	void *machine = pair->machine;

	if (pair->kvm >= 0) {
		for (unsigned i = 0; i < VCPUS; i++)
			close(pair->vcpu[i]);
		close(pair->vm);
		close(pair->kvm);
		machine_teardown(&machine);
	}
	free(pair);
	return 0;
}

static struct pair *pair_of(void **state)
{
	struct pair *pair = *state;

	if (pair->kvm < 0)
		skip();
	return pair;
}

/* -errno as handlers return it, for comparison. */
static int kernel(int fd, unsigned long request, void *arg)
{
	int r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

static void assert_same(const void *ours, const void *theirs, size_t len, const char *what)
{
	for (size_t i = 0; i < len; i++)
		if (((const uint8_t *)ours)[i] != ((const uint8_t *)theirs)[i])
			fail_msg("%s: byte 0x%zx is 0x%02x, the kernel's is 0x%02x", what, i,
				 ((const uint8_t *)ours)[i], ((const uint8_t *)theirs)[i]);
}

static void clear_reg(struct kvm_lapic_state *page, unsigned offset)
{
	memset(page->regs + offset, 0, 4);
}

static void assert_same_lapics(struct pair *pair, const char *what)
{
	struct kvm_lapic_state ours, theirs;

	for (unsigned i = 0; i < VCPUS; i++) {
		lapic_get(pair->machine->lapic[i], &ours);
		assert_int_equal(ioctl(pair->vcpu[i], KVM_GET_LAPIC, &theirs), 0);
		clear_reg(&ours, APIC_CURRENT_COUNT);
		clear_reg(&theirs, APIC_CURRENT_COUNT);
		assert_same(&ours, &theirs, sizeof(ours), what);
	}
}

static void assert_same_chips(struct pair *pair, const char *what)
{
	struct kvm_irqchip ours, theirs;

	for (uint32_t id = KVM_IRQCHIP_PIC_MASTER; id <= KVM_IRQCHIP_IOAPIC; id++) {
		memset(&ours, 0, sizeof(ours));
		ours.chip_id = id;
		theirs = ours;
		assert_int_equal(irqchip_get(pair->machine->chip, &ours), 0);
		assert_int_equal(ioctl(pair->vm, KVM_GET_IRQCHIP, &theirs), 0);
		assert_same(&ours, &theirs, sizeof(ours), what);
	}
}

static void set_page(struct pair *pair, unsigned vcpu, const struct kvm_lapic_state *page)
{
	struct kvm_lapic_state copy = *page;

	assert_int_equal(lapic_set(pair->machine->lapic[vcpu], page),
			 kernel(pair->vcpu[vcpu], KVM_SET_LAPIC, &copy));
}

static int kernel_set_msr(struct pair *pair, unsigned vcpu, uint32_t msr, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = {{.nmsrs = 1}, {.index = msr, .data = value}};

	return ioctl(pair->vcpu[vcpu], KVM_SET_MSRS, &msrs) == 1;
}

static int kernel_get_msr(struct pair *pair, unsigned vcpu, uint32_t msr, uint64_t *ret)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = {{.nmsrs = 1}, {.index = msr}};
	int r = ioctl(pair->vcpu[vcpu], KVM_GET_MSRS, &msrs) == 1;

	*ret = msrs.entry.data;
	return r;
}

static void set_base(struct pair *pair, unsigned vcpu, uint64_t base)
{
	assert_int_equal(lapic_host_set_base(pair->machine->lapic[vcpu], base) == 0,
			 kernel_set_msr(pair, vcpu, MSR_APICBASE, base));
}

static void test_reset(void **state)
{
	struct pair *pair = pair_of(state);
	struct kvm_pit_state2 ours, theirs;

	assert_same_lapics(pair, "LAPIC after reset");
	assert_same_chips(pair, "irqchip after reset");
	assert_int_equal(pit_get(pair->machine->chip, &ours), 0);
	assert_int_equal(ioctl(pair->vm, KVM_GET_PIT2, &theirs), 0);
	for (unsigned i = 0; i < 3; i++)
		ours.channels[i].count_load_time = theirs.channels[i].count_load_time;
	assert_same(&ours, &theirs, sizeof(ours), "PIT after reset");
}

/* Bits at random in all registers; the timer stands. */
static void any_page(struct pair *pair, struct kvm_lapic_state *page)
{
	for (unsigned i = 0; i < sizeof(page->regs); i += 4) {
		uint32_t value = any(pair) & any(pair);

		memset(page->regs + i, 0, 4);
		if (i % 16 == 0)
			memcpy(page->regs + i, &value, 4);
	}
	clear_reg(page, APIC_INITIAL_COUNT);
}

static void test_pages(void **state)
{
	struct pair *pair = pair_of(state);
	struct kvm_lapic_state page;

	for (unsigned i = 0; i < ROUNDS; i++) {
		any_page(pair, &page);
		/* Until the vCPU runs, KVM's PPR lacks what is in service. */
		memset(page.regs + APIC_ISR, 0, APIC_TMR - APIC_ISR);
		set_page(pair, i % VCPUS, &page);
		assert_same_lapics(pair, "LAPIC that was set");
	}
}

static void test_base(void **state)
{
	struct pair *pair = pair_of(state);

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned vcpu = any_below(pair, VCPUS);
		uint64_t base = 0xfee00000ull | (any(pair) & 0xd00), ours, theirs;

		if (any_below(pair, 8) == 0)
			base ^= 1ull << any_below(pair, 64);
		set_base(pair, vcpu, base);
		ours = lapic_get_base(pair->machine->lapic[vcpu]);
		assert_true(kernel_get_msr(pair, vcpu, MSR_APICBASE, &theirs));
		assert_int_equal(ours, theirs);
	}
	assert_same_lapics(pair, "LAPIC after changes of its base");
}

/* KVM_SET_MSRS reaches the registers of an x2APIC. */
static void test_x2apic(void **state)
{
	static const uint32_t messages[] = {0, 1, 4, 5, 6};
	struct pair *pair = pair_of(state);

	for (unsigned i = 0; i < VCPUS; i++)
		set_base(pair, i, lapic_get_base(pair->machine->lapic[i]) | APIC_BASE_X2APIC);
	for (unsigned i = 0; i < 10 * ROUNDS; i++) {
		unsigned vcpu = any_below(pair, VCPUS);
		uint32_t msr = 0x800 + any_below(pair, 0x40);
		uint64_t value = any(pair) & any(pair), ours = 0, theirs = 0;
		char what[80];
		int r;

		if (msr == 0x80f && any_below(pair, 2))
			value |= SPIV_ON;
		if (msr == 0x830) {
			value = (value & 0xcf8ff) | messages[any_below(pair, 5)] << 8;
			value |= (uint64_t)any_below(pair, 8) << 32;
		} else if (msr == 0x838) {
			value = 0; /* the timer stands */
		} else if (any_below(pair, 16) == 0) {
			value |= 1ull << 40;
		}
		(void)snprintf(what, sizeof(what), "MSR 0x%x = 0x%llx", msr,
			       (unsigned long long)value);
		r = kernel_set_msr(pair, vcpu, msr, value);
		if (lapic_wrmsr(pair->machine->lapic[vcpu], msr, value) != r)
			fail_msg("%s: the kernel's answer is %d", what, r);
		assert_same_lapics(pair, what);
		msr = 0x800 + any_below(pair, 0x100);
		r = kernel_get_msr(pair, vcpu, msr, &theirs);
		if (lapic_rdmsr(pair->machine->lapic[vcpu], msr, &ours) != r ||
		    (r && ours != theirs))
			fail_msg("MSR 0x%x: 0x%llx, the kernel has %d, 0x%llx", msr,
				 (unsigned long long)ours, r, (unsigned long long)theirs);
	}
}

/* LAPICs with IDs, modes and TPRs of all kinds, nothing in service or requested. */
static void any_lapics(struct pair *pair)
{
	struct kvm_lapic_state page;

	for (unsigned i = 0; i < VCPUS; i++) {
		uint64_t base = 0xfee00800 | (i ? 0 : 0x100);
		uint32_t value;

		set_base(pair, i, any_below(pair, 3) ? base : base | APIC_BASE_X2APIC);
		lapic_get(pair->machine->lapic[i], &page);
		memset(page.regs + APIC_ISR, 0, APIC_ESR - APIC_ISR);
		value = any_below(pair, 4) ? SPIV_ON : 0xff;
		memcpy(page.regs + APIC_SPIV, &value, 4);
		value = any_below(pair, 2) ? 0xffffffff : 0x0fffffff;
		memcpy(page.regs + APIC_DFR, &value, 4);
		value = any(pair) << 24;
		memcpy(page.regs + APIC_LDR, &value, 4);
		set_page(pair, i, &page);
	}
}

static void test_msi(void **state)
{
	struct pair *pair = pair_of(state);

	for (unsigned i = 0; i < ROUNDS; i++) {
		any_lapics(pair);
		for (unsigned j = 0; j < 4; j++) {
			uint32_t destination = any_below(pair, 4) ? any_below(pair, 5) : any(pair);
			struct kvm_msi msi = {
				.address_lo = MSI_ADDRESS | (destination & 0xff) << 12 |
					      (any(pair) & 0xc),
				.data = any(pair) & 0xc1ff,
			};
			int r = kernel(pair->vm, KVM_SIGNAL_MSI, &msi);
			int ours = irq_send_msi(pair->machine->chip, msi.address_lo, msi.data);

			if (ours != r)
				fail_msg("MSI 0x%x 0x%x: %d, the kernel's is %d", msi.address_lo,
					 msi.data, ours, r);
			assert_same_lapics(pair, "LAPIC after an MSI");
		}
	}
}

static void any_chips(struct pair *pair)
{
	struct kvm_irqchip chip;

	for (uint32_t id = KVM_IRQCHIP_PIC_MASTER; id <= KVM_IRQCHIP_IOAPIC; id++) {
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = id;
		assert_int_equal(irqchip_get(pair->machine->chip, &chip), 0);
		if (id == KVM_IRQCHIP_IOAPIC) {
			for (unsigned i = 0; i < KVM_IOAPIC_NUM_PINS; i++)
				chip.chip.ioapic.redirtbl[i].bits =
					(uint64_t)any_below(pair, 4) << 56 |
					(any(pair) & (any_below(pair, 2) ? 0xe9ff : 0x1e9ff));
			chip.chip.ioapic.irr = any(pair) & any(pair) & 0xffffff;
		} else {
			uint8_t *byte = (uint8_t *)&chip.chip.pic;

			for (unsigned i = 0; i < offsetof(struct kvm_pic_state, elcr); i++)
				byte[i] = any(pair) & 1;
			chip.chip.pic.irr = any(pair) & any(pair);
			chip.chip.pic.isr = any(pair) & any(pair);
			chip.chip.pic.imr = any(pair) & any(pair);
			chip.chip.pic.elcr = any(pair) & chip.chip.pic.elcr_mask;
			chip.chip.pic.priority_add = any_below(pair, 8);
		}
		assert_int_equal(irqchip_set(pair->machine->chip, &chip), 0);
		assert_int_equal(ioctl(pair->vm, KVM_SET_IRQCHIP, &chip), 0);
	}
}

static void test_lines(void **state)
{
	struct pair *pair = pair_of(state);

	for (unsigned i = 0; i < ROUNDS; i++) {
		any_lapics(pair);
		any_chips(pair);
		assert_same_chips(pair, "irqchip that was set");
		assert_same_lapics(pair, "LAPIC after an irqchip was set");
		for (unsigned j = 0; j < 16; j++) {
			struct kvm_irq_level line = {.irq = any_below(pair, 26)};
			char what[40];
			int ours;

			/* KVM waits for the RTC's EOIs; here they are like all others. */
			if (line.irq == 8)
				continue;
			line.level = any(pair) & 1;
			ours = irq_set_line(pair->machine->chip, line.irq, 0, line.level);
			(void)snprintf(what, sizeof(what), "line %u = %u", line.irq, line.level);
			assert_int_equal(ioctl(pair->vm, KVM_IRQ_LINE_STATUS, &line), 0);
			if (ours != line.status)
				fail_msg("%s: %d, the kernel's is %d", what, ours, line.status);
			assert_same_chips(pair, what);
			assert_same_lapics(pair, what);
		}
	}
}

static void test_routing(void **state)
{
	struct pair *pair = pair_of(state);
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[3];
	} routing;

	for (unsigned i = 0; i < ROUNDS; i++) {
		memset(&routing, 0, sizeof(routing));
		routing.head.nr = any_below(pair, 4);
		for (unsigned j = 0; j < routing.head.nr; j++) {
			struct kvm_irq_routing_entry *entry = &routing.entry[j];

			entry->gsi =
				any_below(pair, 3) ? any_below(pair, 3) : 4094 + any_below(pair, 3);
			entry->type = any_below(pair, 4);
			if (entry->type == 3)
				entry->type = KVM_IRQ_ROUTING_MSI;
			entry->flags = any_below(pair, 8) ? 0 : any_below(pair, 3);
			entry->u.irqchip.irqchip = any_below(pair, 4);
			entry->u.irqchip.pin = any_below(pair, 26);
		}
		assert_int_equal(
			irq_set_routing(pair->machine->chip, routing.head.nr, routing.entry),
			kernel(pair->vm, KVM_SET_GSI_ROUTING, &routing));
	}
}

static void test_pit(void **state)
{
	struct pair *pair = pair_of(state);
	struct kvm_pit_state2 ours, theirs;

	for (unsigned i = 0; i < ROUNDS; i++) {
		memset(&ours, 0, sizeof(ours));
		for (unsigned j = 0; j < 3; j++) {
			uint8_t *byte = (uint8_t *)&ours.channels[j];

			for (unsigned k = 0; k < sizeof(ours.channels[j]); k++)
				byte[k] = (uint8_t)any(pair);
			/* Seconds away */
			ours.channels[j].count = any(pair) & any_below(pair, 2) ? 0 : any(pair);
			ours.channels[0].mode = (uint8_t)(5 + any_below(pair, 3));
		}
		ours.flags = any(pair) & 3;
		theirs = ours;
		assert_int_equal(pit_set(pair->machine->chip, &ours), 0);
		assert_int_equal(ioctl(pair->vm, KVM_SET_PIT2, &theirs), 0);
		assert_int_equal(pit_get(pair->machine->chip, &ours), 0);
		assert_int_equal(ioctl(pair->vm, KVM_GET_PIT2, &theirs), 0);
		for (unsigned j = 0; j < 3; j++)
			if (j)
				ours.channels[j].count_load_time =
					theirs.channels[j].count_load_time;
		assert_same(&ours, &theirs, sizeof(ours), "PIT that was set");
	}
}

#define KERNEL_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		KERNEL_TEST(test_reset),   KERNEL_TEST(test_pages), KERNEL_TEST(test_base),
		KERNEL_TEST(test_x2apic),  KERNEL_TEST(test_msi),   KERNEL_TEST(test_lines),
		KERNEL_TEST(test_routing), KERNEL_TEST(test_pit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
