// SPDX-License-Identifier: GPL-2.0-or-later
/* irqfds and ioeventfds. */
#include "machine.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define GSI	 20u
#define ENTRY	 (1ull << 56 | 0x51)
#define DEASSIGN KVM_IRQFD_FLAG_DEASSIGN
#define RESAMPLE KVM_IRQFD_FLAG_RESAMPLE

static int set_irqfd(struct machine *machine, uint32_t gsi, uint32_t flags, int fd, int resample)
{
	const struct kvm_irqfd args = {.gsi = gsi, .flags = flags};

	return irq_fd(machine->chip, &args, fd, resample);
}

static uint64_t count(int fd)
{
	uint64_t value = 0;

	return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
}

static void add(int fd, uint64_t n)
{
	assert_int_equal(write(fd, &n, sizeof(n)), sizeof(n));
}

static void test_irqfd(void **state)
{
	struct machine *machine = *state;
	int fd = eventfd(0, 0), copy = dup(fd); /* blocking ones */

	ioapic_write_pin(machine, GSI, ENTRY);
	assert_int_equal(set_irqfd(machine, GSI, 0, fd, -EBADF), 0);
	machine->kicked = 0;
	add(fd, 3);
	/* The thread will hear of it; nobody asks. */
	while (!(machine->kicked & 2))
		sched_yield();
	assert_interrupt(machine->lapic[1], 0x51);
	assert_int_equal(set_irqfd(machine, GSI + 1, 0, copy, -EBADF), -EBUSY);
	/* Of another GSI there is none, which is no error. */
	assert_int_equal(set_irqfd(machine, GSI + 1, DEASSIGN, copy, -EBADF), 0);
	add(copy, 1);
	assert_int_equal(set_irqfd(machine, GSI, DEASSIGN, copy, -EBADF), 0);
	assert_interrupt(machine->lapic[1], 0x51); /* what was written before counts */
	add(fd, 1);
	assert_int_equal(count(fd), 1); /* nobody takes it any more */
	/* One that had been signalled before raises its interrupt at once. */
	for (unsigned i = 0; i < 100; i++) {
		add(fd, 1);
		assert_int_equal(set_irqfd(machine, GSI, 0, fd, -EBADF), 0);
		assert_interrupt(machine->lapic[1], 0x51);
		assert_int_equal(set_irqfd(machine, GSI, DEASSIGN, fd, -EBADF), 0);
	}
	close(fd);
	close(copy);
}

/* Who reads a controller's state finds in it all that had been signalled. */
static void test_drain(void **state)
{
	struct machine *machine = *state;
	const struct kvm_irq_routing_entry msi = {
		.gsi = 30,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {.address_lo = MSI_ADDRESS | 1 << 12, .data = 0x42},
	};
	struct kvm_lapic_state page;
	int fd = eventfd(0, EFD_NONBLOCK);

	assert_int_equal(irq_set_routing(machine->chip, 1, &msi), 0);
	assert_int_equal(set_irqfd(machine, 30, 0, fd, -EBADF), 0);
	for (unsigned i = 0; i < 1000; i++) {
		add(fd, 1);
		lapic_get(machine->lapic[1], &page);
		assert_int_equal(page.regs[APIC_IRR + 0x20], 1 << 2);
		assert_interrupt(machine->lapic[1], 0x42);
	}
	close(fd);
}

static void test_resample(void **state)
{
	struct machine *machine = *state;
	struct lapic *lapic = machine->lapic[1];
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	int fd = eventfd(0, EFD_NONBLOCK), resample = eventfd(0, EFD_NONBLOCK);

	ioapic_write_pin(machine, GSI, ENTRY | PIN_LEVEL);
	assert_int_equal(set_irqfd(machine, GSI, RESAMPLE, fd, resample), 0);
	add(fd, 1);
	assert_int_equal(irqchip_get(machine->chip, &chip), 0);
	assert_int_equal(chip.chip.ioapic.irr, 1 << GSI);
	assert_int_equal(lapic_take(lapic), 0x51);
	assert_int_equal(count(resample), 0);
	apic_write(lapic, APIC_EOI, 0);
	assert_int_equal(count(resample), 1);
	assert_int_equal(irqchip_get(machine->chip, &chip), 0);
	assert_int_equal(chip.chip.ioapic.irr, 0);
	assert_interrupt(lapic, -1);
	/* A resample eventfd that is full blocks nobody. */
	resample = (close(resample), eventfd(0, 0));
	assert_int_equal(set_irqfd(machine, GSI, DEASSIGN | RESAMPLE, fd, -EBADF), 0);
	assert_int_equal(set_irqfd(machine, GSI, RESAMPLE, fd, resample), 0);
	add(resample, UINT64_MAX - 1);
	add(fd, 1);
	assert_int_equal(irqchip_get(machine->chip, &chip), 0);
	assert_interrupt(lapic, 0x51);
	/* The line goes down with the last of them. */
	add(fd, 1);
	assert_int_equal(set_irqfd(machine, GSI, DEASSIGN, fd, -EBADF), 0);
	assert_int_equal(irqchip_get(machine->chip, &chip), 0);
	assert_int_equal(chip.chip.ioapic.irr, 0);
	assert_interrupt(lapic, 0x51);
	close(fd);
	close(resample);
}

static void test_irqfd_errors(void **state)
{
	struct machine *machine = *state;
	int fd = eventfd(0, 0), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(set_irqfd(machine, GSI, 4, fd, -EBADF), -EINVAL);
	assert_int_equal(set_irqfd(machine, GSI, 0, -EBADF, -EBADF), -EBADF);
	assert_int_equal(set_irqfd(machine, GSI, DEASSIGN, -EBADF, -EBADF), -EBADF);
	assert_int_equal(set_irqfd(machine, GSI, 0, null, -EBADF), -EINVAL);
	assert_int_equal(set_irqfd(machine, GSI, RESAMPLE, fd, -EBADF), -EBADF);
	assert_int_equal(set_irqfd(machine, GSI, RESAMPLE, fd, null), -EINVAL);
	assert_int_equal(set_irqfd(machine, GSI, DEASSIGN, null, -EBADF), -EINVAL);
	close(fd);
	close(null);
}

/* Everything at once, for the thread sanitizer. */
static void *signal_often(void *opaque)
{
	for (unsigned i = 0; i < 2000; i++)
		add(*(int *)opaque, 1);
	return NULL;
}

static void *use_often(void *opaque)
{
	struct lapic *lapic = opaque;
	struct kvm_lapic_state page;

	for (unsigned i = 0; i < 2000; i++) {
		lapic_poll(lapic);
		if (lapic_pending(lapic) >= 0 && lapic_take(lapic) >= 0)
			apic_write(lapic, APIC_EOI, 0);
		apic_write(lapic, APIC_ICR, ICR_OTHERS | 0x60);
		lapic_get(lapic, &page);
		(void)lapic_deadline(lapic);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct machine *machine = *state;
	int fd = eventfd(0, EFD_NONBLOCK), other = eventfd(0, EFD_NONBLOCK);
	pthread_t thread[4];

	ioapic_write_pin(machine, GSI, ENTRY);
	assert_int_equal(set_irqfd(machine, GSI, 0, fd, -EBADF), 0);
	assert_int_equal(pthread_create(&thread[0], NULL, signal_often, &fd), 0);
	assert_int_equal(pthread_create(&thread[1], NULL, signal_often, &other), 0);
	for (unsigned i = 2; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, use_often, machine->lapic[i - 1]),
				 0);
	for (unsigned i = 0; i < 500; i++) {
		assert_int_equal(set_irqfd(machine, GSI, 0, other, -EBADF), 0);
		assert_int_equal(set_irqfd(machine, GSI, DEASSIGN, other, -EBADF), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	close(fd);
	close(other);
}

/* An irqchip that goes away while its eventfds are signalled kicks nobody any more. */
static void test_end(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, signal_often, &fd), 0);
	for (unsigned i = 0; i < 100; i++) {
		struct machine *machine;
		void *made;

		machine_setup(&made);
		machine = made;
		ioapic_write_pin(machine, GSI, ENTRY);
		assert_int_equal(set_irqfd(machine, GSI, 0, fd, -EBADF), 0);
		sched_yield();
		machine->chip = irqchip_free(machine->chip);
		for (unsigned j = 0; j < N_LAPICS; j++)
			lapic_free(machine->lapic[j]);
		free(machine);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	close(fd);
}

static int set_ioeventfd(struct ioeventfds *set, uint32_t flags, uint64_t address, uint32_t len,
			 uint64_t data, int fd)
{
	const struct kvm_ioeventfd args = {
		.datamatch = data,
		.addr = address,
		.len = len,
		.flags = flags,
	};

	return ioeventfd_set(set, &args, fd);
}

#define DATA KVM_IOEVENTFD_FLAG_DATAMATCH
#define PIO  KVM_IOEVENTFD_FLAG_PIO
#define GONE KVM_IOEVENTFD_FLAG_DEASSIGN

static void test_ioeventfd(void **state)
{
	struct ioeventfds *set = ioeventfds_new();
	int fd = eventfd(0, EFD_NONBLOCK), other = eventfd(0, EFD_NONBLOCK), full = eventfd(0, 0);
	uint64_t value = 0x100000007;

	(void)state;
	assert_int_equal(set_ioeventfd(set, DATA, 0x1000, 4, 7, fd), 0);
	assert_int_equal(set_ioeventfd(set, DATA, 0x1000, 4, 8, other), 0);
	assert_true(ioeventfd_write(set, false, 0x1000, 4, &value));
	assert_int_equal(count(fd), 1);
	assert_int_equal(count(other), 0);
	assert_false(ioeventfd_write(set, false, 0x1000, 8, &value));
	assert_false(ioeventfd_write(set, true, 0x1000, 4, &value));
	assert_false(ioeventfd_write(set, false, 0x1004, 4, &value));
	value = 9;
	assert_false(ioeventfd_write(set, false, 0x1000, 4, &value));
	/* Of any data, of any length */
	assert_int_equal(set_ioeventfd(set, PIO, 0x1000, 2, 0, fd), 0);
	assert_true(ioeventfd_write(set, true, 0x1000, 2, &value));
	assert_false(ioeventfd_write(set, true, 0x1000, 1, &value));
	assert_int_equal(set_ioeventfd(set, 0, 0x2000, 0, 0, other), 0);
	assert_true(ioeventfd_write(set, false, 0x2000, 8, &value));
	assert_true(ioeventfd_write(set, false, 0x2000, 1, &value));
	assert_int_equal(count(other), 2);
	/* What would be for both */
	assert_int_equal(set_ioeventfd(set, DATA, 0x1000, 4, 7, other), -EEXIST);
	assert_int_equal(set_ioeventfd(set, 0, 0x1000, 4, 0, other), -EEXIST);
	assert_int_equal(set_ioeventfd(set, 0, 0x1000, 0, 0, other), -EEXIST);
	assert_int_equal(set_ioeventfd(set, 0, 0x2000, 4, 0, other), -EEXIST);
	assert_int_equal(set_ioeventfd(set, 0, 0x1000, 2, 0, other), 0);
	/* To take one away all must be the same. */
	assert_int_equal(set_ioeventfd(set, GONE | DATA, 0x1000, 4, 7, other), -ENOENT);
	assert_int_equal(set_ioeventfd(set, GONE | DATA, 0x1000, 4, 8, fd), -ENOENT);
	assert_int_equal(set_ioeventfd(set, GONE, 0x1000, 4, 7, fd), -ENOENT);
	assert_int_equal(set_ioeventfd(set, GONE | DATA | PIO, 0x1000, 4, 7, fd), -ENOENT);
	assert_int_equal(set_ioeventfd(set, GONE | DATA, 0x1000, 4, 7, fd), 0);
	assert_int_equal(set_ioeventfd(set, GONE | DATA, 0x1000, 4, 7, fd), -ENOENT);
	value = 7;
	assert_false(ioeventfd_write(set, false, 0x1000, 4, &value));
	/* A full one is signalled as it is. */
	assert_int_equal(set_ioeventfd(set, 0, 0x3000, 1, 0, full), 0);
	add(full, UINT64_MAX - 1);
	assert_true(ioeventfd_write(set, false, 0x3000, 1, &value));
	ioeventfds_free(set);
	close(fd);
	close(other);
	close(full);
}

static void test_ioeventfd_errors(void **state)
{
	struct ioeventfds *set = ioeventfds_new();
	int fd = eventfd(0, EFD_NONBLOCK), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	struct rlimit files;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(set_ioeventfd(set, 0, 0, 3, 0, -EBADF), -EINVAL);
	assert_int_equal(set_ioeventfd(set, 0, 0, 16, 0, fd), -EINVAL);
	assert_int_equal(set_ioeventfd(set, 0, UINT64_MAX, 2, 0, fd), -EINVAL);
	assert_int_equal(set_ioeventfd(set, 16, 0, 1, 0, fd), -EINVAL);
	assert_int_equal(set_ioeventfd(set, DATA, 0, 0, 0, fd), -EINVAL);
	assert_int_equal(set_ioeventfd(set, 0, 0, 1, 0, -EBADF), -EBADF);
	assert_int_equal(set_ioeventfd(set, 0, 0, 1, 0, null), -EINVAL);
	assert_int_equal(set_ioeventfd(set, GONE, 0, 1, 0, -EBADF), -EBADF);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(set_ioeventfd(set, PIO, i, 1, 0, fd), 0);
	assert_int_equal(set_ioeventfd(set, PIO, 1000, 1, 0, fd), -ENOSPC);
	assert_int_equal(set_ioeventfd(set, 0, 1000, 1, 0, fd), 0);
	ioeventfds_free(set);
	close(fd);
	close(null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IRQ_TEST(test_irqfd),
		IRQ_TEST(test_drain),
		IRQ_TEST(test_resample),
		IRQ_TEST(test_irqfd_errors),
		IRQ_TEST(test_threads),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_ioeventfd),
		cmocka_unit_test(test_ioeventfd_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
