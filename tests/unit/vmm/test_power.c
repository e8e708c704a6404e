// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Power button, sleep control and resets.  Links with: vmm/dev/power.c vmm/bus.c vmm/irq.c
 * vmm/log.c; kvm_vm_irq_line() is ours, so that the level of the SCI can be seen.
 */
#include "vmm/dev/power.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kvm/ioctl.h"

#define VM_FD 77

static struct {
	unsigned n_calls;
	uint32_t level;
} sci;

int kvm_vm_irq_line(int vm_fd, uint32_t gsi, uint32_t level)
{
	assert_int_equal(vm_fd, VM_FD);
	assert_int_equal(gsi, 9);
	sci.n_calls++;
	sci.level = level;
	return 0;
}

struct fixture {
	struct irq_lines lines;
	struct power *power;
	struct bus bus;
	unsigned n_ends;
	enum vmm_end end;
};

static void on_end(void *opaque, enum vmm_end end)
{
	struct fixture *f = opaque;

	f->n_ends++;
	f->end = end;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	memset(&sci, 0, sizeof(sci));
	f->lines.vm_fd = VM_FD;
	f->power = power_new(&f->lines, on_end, f);
	assert_non_null(f->power);
	assert_int_equal(power_add_ports(f->power, &f->bus), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	power_free(f->power);
	free(f);
	return 0;
}

static uint32_t in(struct fixture *f, uint16_t port, unsigned size)
{
	uint32_t value = 0;

	bus_pio(&f->bus, port, false, size, &value);
	return value;
}

static void out(struct fixture *f, uint16_t port, unsigned size, uint32_t value)
{
	bus_pio(&f->bus, port, true, size, &value);
}

static void test_power_button_raises_sci(void **state)
{
	struct fixture *f = *state;

	out(f, 0x602, 2, 0x0100);
	assert_int_equal(sci.n_calls, 0);
	power_press_button(f->power);
	assert_int_equal(sci.n_calls, 1);
	assert_int_equal(sci.level, 1);
	power_press_button(f->power);
	assert_int_equal(sci.n_calls, 1); /* only changes of the level reach KVM */
	assert_int_equal(in(f, 0x600, 2), 0x0100);
	assert_int_equal(in(f, 0x600, 4), 0x01000100);

	out(f, 0x600, 2, 0xfeff); /* clearing others leaves it */
	assert_int_equal(in(f, 0x600, 2), 0x0100);
	out(f, 0x600, 2, 0x0100);
	assert_int_equal(in(f, 0x600, 2), 0);
	assert_int_equal(sci.n_calls, 2);
	assert_int_equal(sci.level, 0);
	assert_int_equal(f->n_ends, 0);
}

static void test_sci_follows_enable(void **state)
{
	struct fixture *f = *state;

	power_press_button(f->power);
	assert_int_equal(sci.n_calls, 0);
	out(f, 0x603, 1, 0x01); /* the high byte alone */
	assert_int_equal(sci.level, 1);
	out(f, 0x602, 2, 0x0020);
	assert_int_equal(sci.level, 0);
	/* ACPICA reads back the fixed events that it enables; reserved bits stay zero. */
	out(f, 0x602, 2, 0xffff);
	assert_int_equal(in(f, 0x602, 2), 0x0721);
}

static void test_sleep_s5_powers_off(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, 0x604, 2), 0x0001);
	/* As ACPICA does it: the type first, then the type with SLP_EN. */
	out(f, 0x604, 2, 5 << 10 | 1);
	assert_int_equal(f->n_ends, 0);
	out(f, 0x604, 2, 5 << 10 | 1 << 13 | 1);
	assert_int_equal(f->n_ends, 1);
	assert_int_equal(f->end, VMM_END_POWEROFF);
	assert_int_equal(in(f, 0x604, 2), 5 << 10 | 1); /* SLP_EN reads as zero */
}

static void test_other_sleep_types_do_nothing(void **state)
{
	struct fixture *f = *state;

	for (unsigned type = 0; type < 8; type++) {
		if (type != 5)
			out(f, 0x604, 2, type << 10 | 1 << 13);
	}
	assert_int_equal(f->n_ends, 0);
	out(f, 0x605, 1, 5 << 2 | 1 << 5); /* byte access */
	assert_int_equal(f->n_ends, 1);
}

static void test_resets(void **state)
{
	struct fixture *f = *state;

	out(f, 0xcf9, 1, 0x02);
	assert_int_equal(f->n_ends, 0);
	assert_int_equal(in(f, 0xcf9, 1), 0x02);
	out(f, 0xcf9, 1, 0x06);
	assert_int_equal(f->n_ends, 1);
	assert_int_equal(f->end, VMM_END_REBOOT);

	out(f, 0x64, 1, 0x20);
	assert_int_equal(f->n_ends, 1);
	f->end = VMM_END_NONE;
	out(f, 0x64, 1, 0xfe);
	assert_int_equal(f->n_ends, 2);
	assert_int_equal(f->end, VMM_END_REBOOT);
}

static void test_keyboard_probe_gives_up(void **state)
{
	struct fixture *f = *state;
	unsigned count = 0;

	/* Linux' i8042_flush(): a controller that still has data after 16 reads does not exist. */
	while (in(f, 0x64, 1) & 0x01 && count <= 16) {
		assert_int_equal(in(f, 0x60, 1), 0xff);
		count++;
	}
	assert_int_equal(count, 17);
	assert_int_equal(in(f, 0x64, 1) & 0x02, 0); /* reboot waits for this */
}

static void test_relay_keeps_a_pending_button(void **state)
{
	struct fixture *f = *state;
	uint8_t blob[64], again[64];
	struct bus bus = {0};
	struct power *target = power_new(&f->lines, on_end, f);
	uint16_t status;
	int len;

	out(f, 0x602, 2, 0x0120);
	out(f, 0x604, 2, 3 << 10);
	out(f, 0xcf9, 1, 0x02);
	power_press_button(f->power);
	len = power_ops.save(f->power, 1, blob);
	assert_int_equal(len, power_ops.state_size);

	memset(&sci, 0, sizeof(sci));
	assert_int_equal(power_ops.load(target, 1, blob, len), 0);
	assert_int_equal(sci.n_calls, 1);
	assert_int_equal(sci.level, 1);
	assert_int_equal(power_ops.save(target, 1, again), len);
	assert_memory_equal(again, blob, len);
	assert_int_equal(power_add_ports(target, &bus), 0);
	status = 0x0100;
	bus_pio(&bus, 0x600, true, 2, &status);
	assert_int_equal(sci.level, 0);

	/* A low line is set as well: the target's VM may have it high from an earlier try. */
	power_free(target);
	target = power_new(&f->lines, on_end, f);
	out(f, 0x600, 2, 0x0100);
	len = power_ops.save(f->power, 1, blob);
	memset(&sci, 0xff, sizeof(sci));
	assert_int_equal(power_ops.load(target, 1, blob, len), 0);
	assert_int_equal(sci.level, 0);
	power_free(target);
}

static void test_bad_state_is_refused(void **state)
{
	static const struct {
		size_t offset;
		uint8_t value;
	} bad[] = {{0, 1}, {1, 2}, {2, 2}, {3, 8}, {4, 1}, {5, 0x20}, {6, 4}, {7, 1}};
	struct fixture *f = *state;
	uint8_t good[64], blob[64];
	int len = power_ops.save(f->power, 1, good);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(blob, good, len);
		blob[bad[i].offset] |= bad[i].value;
		assert_int_equal(power_ops.load(f->power, 1, blob, len), -EBADMSG);
	}
	assert_int_equal(power_ops.load(f->power, 1, good, len - 1), -EBADMSG);
	assert_int_equal(power_ops.load(f->power, 1, good, len + 1), -EBADMSG);
	assert_int_equal(power_ops.load(f->power, 2, good, len), -EPROTONOSUPPORT);
	assert_int_equal(power_ops.save(f->power, 2, blob), -EPROTONOSUPPORT);
	assert_int_equal(sci.n_calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_power_button_raises_sci, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sci_follows_enable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sleep_s5_powers_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_sleep_types_do_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_resets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyboard_probe_gives_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_relay_keeps_a_pending_button, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_state_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
