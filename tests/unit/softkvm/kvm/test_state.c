// SPDX-License-Identifier: GPL-2.0-or-later
/* VMs and vCPUs that do not run: what they are made of, what is refused. */
#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client.h"
#include "softkvm/kvm/vm.h"

struct machine {
	struct client *client;
	int vm, vcpu;
};

static long vcpu_ioctl(const struct machine *m, unsigned long request, void *p)
{
	return client_ioctl_p(m->client, m->vcpu, request, p);
}

static long vm_ioctl(const struct machine *m, unsigned long request, void *p)
{
	return client_ioctl_p(m->client, m->vm, request, p);
}

static void test_vcpus(void **state)
{
	struct machine *m = *state;

	assert_int_equal(client_ioctl(m->client, m->vm, KVM_CREATE_VCPU, 0), -EEXIST);
	assert_int_equal(client_ioctl(m->client, m->vm, KVM_CREATE_VCPU, 255), -EINVAL);
	assert_int_equal(client_ioctl(m->client, m->vm, KVM_SET_BOOT_CPU_ID, 1), -EBUSY);
	assert_int_equal(vm_ioctl(m, KVM_CREATE_IRQCHIP, NULL), -EEXIST);
	assert_int_equal(client_ioctl(m->client, m->vm, KVM_RUN, 0), -ENOTTY);
	assert_int_equal(client_ioctl(m->client, m->vcpu, KVM_CREATE_VCPU, 0), -EINVAL);
	for (unsigned id = 1; id < VCPUS_MAX; id++)
		assert_true(client_ioctl(m->client, m->vm, KVM_CREATE_VCPU, id) >= CLIENT_FD);
	assert_int_equal(client_ioctl(m->client, m->vm, KVM_CREATE_VCPU, VCPUS_MAX), -EINVAL);
}

/* A vCPU's descriptor keeps its VM. */
static void test_lifetime(void **state)
{
	struct machine *m = *state;
	struct kvm_regs regs;

	client_close(m->client, m->vm);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_REGS, &regs), 0);
	assert_int_equal(regs.rip, 0xfff0);
	client_close(m->client, m->vcpu);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_REGS, &regs), -EBADF);
}

static void test_other_address_space(void **state)
{
	struct machine *m = *state;
	struct kvm_regs regs;

	client_fork(m->client);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_REGS, &regs), -EIO);
	assert_int_equal(client_ioctl(m->client, m->vm, 12345, 0), -EIO);
	assert_int_equal(client_ioctl(m->client, client_kvm(m->client), KVM_GET_API_VERSION, 0),
			 12);
	client_fork(m->client);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_REGS, &regs), 0);
}

static void test_regs(void **state)
{
	struct machine *m = *state;
	struct kvm_regs regs, got;

	memset(&regs, 0x5a, sizeof(regs));
	regs.rflags = 0x246;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_REGS, &regs), 0);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_REGS, &got), 0);
	assert_memory_equal(&regs, &got, sizeof(regs));
	assert_int_equal(vcpu_ioctl(m, KVM_GET_REGS, NULL), -EFAULT);
	assert_int_equal(vcpu_ioctl(m, KVM_SET_REGS, NULL), -EFAULT);
}

static void test_sregs(void **state)
{
	struct machine *m = *state;
	struct kvm_sregs reset, sregs, got;
	struct kvm_sregs2 sregs2;

	assert_int_equal(vcpu_ioctl(m, KVM_GET_SREGS, &reset), 0);
	assert_int_equal(reset.cs.base, 0xffff0000);
	assert_int_equal(reset.cs.selector, 0xf000);
	assert_int_equal(reset.apic_base, 0xfee00900);

	sregs = reset;
	sregs.cs = (struct kvm_segment){.base = 0x1000,
					.limit = 0xfffff,
					.selector = 0x10,
					.type = 0xb,
					.present = 1,
					.s = 1,
					.l = 1,
					.g = 1};
	sregs.fs.unusable = 1;
	sregs.fs.present = 0;
	sregs.cr0 = 0x80000031;
	sregs.cr3 = 0x5000;
	sregs.cr4 = 0x20;
	sregs.cr8 = 5;
	sregs.efer = 0x500;
	sregs.gdt.base = 0x1234;
	sregs.gdt.limit = 0x17;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_SREGS, &got), 0);
	assert_memory_equal(&sregs, &got, sizeof(sregs));
	assert_int_equal(vcpu_ioctl(m, KVM_GET_SREGS2, &sregs2), 0);
	assert_memory_equal(&sregs2, &sregs, offsetof(struct kvm_sregs, interrupt_bitmap));
	sregs2.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_SREGS2, &sregs2), -EINVAL);

	/* Long mode without its page tables; without being active; with reserved bits. */
	got = sregs;
	got.cr4 = 0;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_SREGS, &got), -EINVAL);
	got = sregs;
	got.efer = 0x100;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_SREGS, &got), -EINVAL);
	got = sregs;
	got.cr3 |= 1ull << 51;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_SREGS, &got), -EINVAL);
	got = sregs;
	got.cr4 |= 1ull << 13;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_SREGS, &got), -EINVAL);
	got = sregs;
	got.apic_base |= 1ull << 60;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_SREGS, &got), -EINVAL);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_SREGS, &got), 0);
	assert_memory_equal(&sregs, &got, sizeof(sregs));
}

static void test_fpu(void **state)
{
	struct machine *m = *state;
	struct kvm_xsave area, got;
	struct kvm_fpu fpu;
	struct kvm_xcrs xcrs;

	assert_int_equal(vcpu_ioctl(m, KVM_GET_FPU, &fpu), 0);
	assert_int_equal(fpu.mxcsr, 0x1f80);
	fpu.xmm[3][7] = 0x42;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_FPU, &fpu), 0);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_XSAVE2, &area), 0);
	assert_int_equal(((uint8_t *)&area)[160 + 16 * 3 + 7], 0x42);
	assert_int_equal(area.region[512 / 4] & 2, 2);
	((uint8_t *)&area)[576 + 5] = 0x17;
	area.region[512 / 4] |= 4;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_XSAVE, &area), 0);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_XSAVE, &got), 0);
	assert_memory_equal(&area, &got, sizeof(area));
	area.region[512 / 4] |= 1u << 8;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_XSAVE, &area), -EINVAL);

	assert_int_equal(vcpu_ioctl(m, KVM_GET_XCRS, &xcrs), 0);
	assert_int_equal(xcrs.nr_xcrs, 1);
	assert_int_equal(xcrs.xcrs[0].value, 1);
	xcrs.xcrs[0].value = 7;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_XCRS, &xcrs), 0);
	xcrs.xcrs[0].value = 5;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_XCRS, &xcrs), -EINVAL);
	xcrs.nr_xcrs = KVM_MAX_XCRS + 1;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_XCRS, &xcrs), -EINVAL);
}

static void test_debugregs(void **state)
{
	struct kvm_debugregs regs, got;
	struct machine *m = *state;
	struct kvm_guest_debug debug = {.control = 0};

	assert_int_equal(vcpu_ioctl(m, KVM_GET_DEBUGREGS, &regs), 0);
	assert_int_equal(regs.dr6, 0xffff0ff0);
	assert_int_equal(regs.dr7, 0x400);
	regs.db[2] = 0x1000;
	regs.dr7 |= 0x10;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_DEBUGREGS, &regs), 0);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_DEBUGREGS, &got), 0);
	assert_memory_equal(&regs, &got, sizeof(regs));
	regs.dr7 |= 1ull << 32;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_DEBUGREGS, &regs), -EINVAL);
	assert_int_equal(vcpu_ioctl(m, KVM_SET_GUEST_DEBUG, &debug), 0);
	debug.control = KVM_GUESTDBG_ENABLE;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_GUEST_DEBUG, &debug), -EINVAL);
}

static void test_events(void **state)
{
	struct kvm_vcpu_events events, got;
	struct machine *m = *state;

	assert_int_equal(vcpu_ioctl(m, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_equal(client_ioctl(m->client, m->vcpu, KVM_NMI, 0), 0);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_equal(events.nmi.pending, 1);
	events.exception.injected = 1;
	events.exception.nr = 13;
	events.exception.has_error_code = 1;
	events.exception.error_code = 0x18;
	events.interrupt.injected = 1;
	events.interrupt.nr = 0x30;
	events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
	events.nmi.masked = 1;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_VCPU_EVENTS, &events), 0);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_VCPU_EVENTS, &got), 0);
	assert_memory_equal(&events, &got, sizeof(events));

	events.exception.nr = 2;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
	events.exception.nr = 13;
	events.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
}

static void test_mp_state(void **state)
{
	struct machine *m = *state;
	struct kvm_mp_state mp;
	struct kvm_interrupt irq = {.irq = 32};
	int second = (int)client_ioctl(m->client, m->vm, KVM_CREATE_VCPU, 1);

	assert_int_equal(vcpu_ioctl(m, KVM_GET_MP_STATE, &mp), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_RUNNABLE);
	assert_int_equal(client_ioctl_p(m->client, second, KVM_GET_MP_STATE, &mp), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_UNINITIALIZED);
	mp.mp_state = KVM_MP_STATE_HALTED;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_MP_STATE, &mp), 0);
	mp.mp_state = 0;
	assert_int_equal(vcpu_ioctl(m, KVM_GET_MP_STATE, &mp), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_HALTED);
	mp.mp_state = KVM_MP_STATE_STOPPED;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_MP_STATE, &mp), -EINVAL);
	/* The interrupt controllers are the host's. */
	assert_int_equal(vcpu_ioctl(m, KVM_INTERRUPT, &irq), -ENXIO);
}

static void test_cpuid(void **state)
{
	struct machine *m = *state;
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[2];
	} cpuid =
		{
			.head.nent = 2,
			.entries = {{.function = 0, .eax = 1}, {.function = 1, .ecx = 1u << 26}},
		},
	  got = cpuid;

	assert_int_equal(vcpu_ioctl(m, KVM_SET_CPUID2, &cpuid), 0);
	got.head.nent = 1;
	assert_int_equal(vcpu_ioctl(m, KVM_GET_CPUID2, &got), -E2BIG);
	got.head.nent = 2;
	assert_int_equal(vcpu_ioctl(m, KVM_GET_CPUID2, &got), 0);
	assert_memory_equal(&cpuid, &got, sizeof(cpuid));
	cpuid.head.nent = 257;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_CPUID2, &cpuid), -E2BIG);
}

static void test_time(void **state)
{
	struct machine *m = *state;
	uint64_t offset = 12345;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&offset,
	};
	struct kvm_clock_data clock = {.clock = 1000000000000}, now;

	assert_int_equal(vcpu_ioctl(m, KVM_SET_DEVICE_ATTR, &attr), 0);
	offset = 0;
	assert_int_equal(vcpu_ioctl(m, KVM_GET_DEVICE_ATTR, &attr), 0);
	assert_int_equal(offset, 12345);
	attr.attr = 1;
	assert_int_equal(vcpu_ioctl(m, KVM_HAS_DEVICE_ATTR, &attr), -ENXIO);
	assert_int_equal(client_ioctl(m->client, m->vcpu, KVM_GET_TSC_KHZ, 0), 1000000);
	assert_int_equal(client_ioctl(m->client, m->vcpu, KVM_SET_TSC_KHZ, 2000000), 0);
	assert_int_equal(client_ioctl(m->client, m->vcpu, KVM_GET_TSC_KHZ, 0), 2000000);
	assert_int_equal(client_ioctl(m->client, m->vcpu, KVM_SET_TSC_KHZ, 1), -EINVAL);

	assert_int_equal(vm_ioctl(m, KVM_SET_CLOCK, &clock), 0);
	assert_int_equal(vm_ioctl(m, KVM_GET_CLOCK, &now), 0);
	assert_in_range(now.clock, clock.clock, clock.clock + 60000000000);
	/* A pause is added. */
	now.realtime -= 3600000000000;
	now.flags = KVM_CLOCK_REALTIME;
	assert_int_equal(vm_ioctl(m, KVM_SET_CLOCK, &now), 0);
	assert_int_equal(vm_ioctl(m, KVM_GET_CLOCK, &now), 0);
	assert_in_range(now.clock, clock.clock + 3600000000000, clock.clock + 3660000000000);
	clock.flags = 1;
	assert_int_equal(vm_ioctl(m, KVM_SET_CLOCK, &clock), -EINVAL);
}

static void test_caps(void **state)
{
	struct machine *m = *state;
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT, .args = {1}};
	struct kvm_vcpu_events events;

	assert_int_equal(vm_ioctl(m, KVM_ENABLE_CAP, &cap), 0);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_VCPU_EVENTS, &events), 0);
	assert_int_not_equal(events.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT, 0);
	cap.flags = 1;
	assert_int_equal(vm_ioctl(m, KVM_ENABLE_CAP, &cap), -EINVAL);
	cap = (struct kvm_enable_cap){.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	assert_int_equal(vm_ioctl(m, KVM_ENABLE_CAP, &cap), -EINVAL);
	assert_int_equal(vm_ioctl(m, KVM_ENABLE_CAP, NULL), -EFAULT);
	/* Without SEV there is nothing to take, and nothing that could take. */
	cap = (struct kvm_enable_cap){.cap = KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM,
				      .args = {(uint64_t)m->vcpu}};
	assert_int_equal(vm_ioctl(m, KVM_ENABLE_CAP, &cap), -EBADF);
	cap.args[0] = (uint64_t)m->vm;
	assert_int_equal(vm_ioctl(m, KVM_ENABLE_CAP, &cap), -EINVAL);
	assert_int_equal(vm_ioctl(m, KVM_MEMORY_ENCRYPT_OP, NULL), -ENOTTY);
}

/* Moved away: nothing is served, whatever it is. */
static void test_death(void **state)
{
	struct machine *m = *state;
	struct client *client = m->client;
	struct object *object = NULL;
	struct kvm_regs regs;

	object = client_object(client, m->vm);
	vm_of(object)->dead = true;
	assert_int_equal(client_ioctl(client, m->vm, KVM_CHECK_EXTENSION, 0), -EIO);
	assert_int_equal(client_ioctl(client, m->vm, 12345, 0), -EIO);
	assert_int_equal(client_ioctl(client, m->vcpu, KVM_RUN, 0), -EIO);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_REGS, &regs), -EIO);
	assert_null(vm_of(client_object(client, m->vcpu)));
}

static int setup(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));

	m->client = client_new(PROFILE_K61);
	m->vm = (int)client_ioctl(m->client, client_kvm(m->client), KVM_CREATE_VM, 0);
	assert_int_equal(vm_ioctl(m, KVM_CREATE_IRQCHIP, NULL), 0);
	m->vcpu = (int)client_ioctl(m->client, m->vm, KVM_CREATE_VCPU, 0);
	assert_true(m->vcpu >= CLIENT_FD);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct machine *m = *state;

	(void)client_free(m->client);
	free(m);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vcpus, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lifetime, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_address_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_regs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sregs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fpu, setup, teardown),
		cmocka_unit_test_setup_teardown(test_debugregs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mp_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cpuid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_caps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_death, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
