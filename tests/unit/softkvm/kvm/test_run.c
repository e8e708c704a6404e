// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KVM_RUN, with guests of some bytes in real mode.  They are at address 0, where CS is too, behind
 * the interrupt vectors; the stack is below 0x2000.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "client.h"
#include "softkvm/kvm/vm.h"

#define MEMORY	0x4000
#define CODE	0x1000
#define HANDLER 0x1800

struct machine {
	struct client *client;
	int vm, vcpu;
	struct kvm_run *run;
	uint8_t *memory;
};

static long vcpu_ioctl(const struct machine *m, unsigned long request, void *p)
{
	return client_ioctl_p(m->client, m->vcpu, request, p);
}

static long run(const struct machine *m)
{
	return client_ioctl(m->client, m->vcpu, KVM_RUN, 0);
}

static struct kvm_regs get_regs(const struct machine *m)
{
	struct kvm_regs regs;

	assert_int_equal(vcpu_ioctl(m, KVM_GET_REGS, &regs), 0);
	return regs;
}

/* The machine with this code, and interrupts as flags say. */
static void load(const struct machine *m, const void *code, size_t len, uint64_t rflags)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = CODE, .rsp = 0x2000, .rflags = rflags | 2};

	memcpy(m->memory + CODE, code, len);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = sregs.cs.selector = 0;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(vcpu_ioctl(m, KVM_SET_REGS, &regs), 0);
}
#define LOAD(m, rflags, ...)                                                                       \
	load(m, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), rflags)

static void set_vector(const struct machine *m, unsigned vector, uint16_t offset)
{
	memcpy(m->memory + 4 * vector, (const uint16_t[]){offset, 0}, 4);
}

#define FLAG_IF 0x200

static void test_ports(void **state)
{
	struct machine *m = *state;
	uint8_t *data = (uint8_t *)m->run + RUN_PIO_OFFSET;

	/* mov al, 0x41; out 0x10, al; in ax, 0x12; hlt */
	LOAD(m, 0, 0xb0, 0x41, 0xe6, 0x10, 0xe5, 0x12, 0xf4);
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(m->run->io.direction, KVM_EXIT_IO_OUT);
	assert_int_equal(m->run->io.port, 0x10);
	assert_int_equal(m->run->io.size, 1);
	assert_int_equal(m->run->io.count, 1);
	assert_int_equal(m->run->io.data_offset, RUN_PIO_OFFSET);
	assert_int_equal(data[0], 0x41);

	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(m->run->io.direction, KVM_EXIT_IO_IN);
	assert_int_equal(m->run->io.port, 0x12);
	assert_int_equal(m->run->io.size, 2);
	memcpy(data, "\x34\x12", 2);
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(get_regs(m).rax, 0x1234);
	assert_int_equal(get_regs(m).rip, CODE + 7);
}

/* The answer takes effect although the guest does not go on. */
static void test_immediate_exit(void **state)
{
	struct machine *m = *state;

	/* in al, 0x10; hlt */
	LOAD(m, 0, 0xe4, 0x10, 0xf4);
	m->run->immediate_exit = 1;
	assert_int_equal(run(m), -EINTR);
	assert_int_equal(get_regs(m).rip, CODE);
	m->run->immediate_exit = 0;
	assert_int_equal(run(m), 0);
	*((uint8_t *)m->run + RUN_PIO_OFFSET) = 0x77;
	m->run->immediate_exit = 1;
	assert_int_equal(run(m), -EINTR);
	assert_int_equal(get_regs(m).rax, 0x77);
	assert_int_equal(get_regs(m).rip, CODE + 2);
}

static void test_mmio(void **state)
{
	struct machine *m = *state;

	/* mov byte [0x8000], 0x21; add word [0x8002], 3; hlt */
	LOAD(m, 0, 0xc6, 0x06, 0x00, 0x80, 0x21, 0x83, 0x06, 0x02, 0x80, 0x03, 0xf4);
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_MMIO);
	assert_int_equal(m->run->mmio.phys_addr, 0x8000);
	assert_int_equal(m->run->mmio.is_write, 1);
	assert_int_equal(m->run->mmio.len, 1);
	assert_int_equal(m->run->mmio.data[0], 0x21);

	/* One instruction, two accesses. */
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_MMIO);
	assert_int_equal(m->run->mmio.phys_addr, 0x8002);
	assert_int_equal(m->run->mmio.is_write, 0);
	assert_int_equal(m->run->mmio.len, 2);
	memcpy(m->run->mmio.data, "\xff\x00", 2);
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_MMIO);
	assert_int_equal(m->run->mmio.is_write, 1);
	assert_memory_equal(m->run->mmio.data, "\x02\x01", 2);
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_HLT);
}

/* Elements of a string are asked for one by one, equal ones, too. */
static void test_string_io(void **state)
{
	struct machine *m = *state;
	struct kvm_regs regs;

	/* rep outsb; hlt */
	LOAD(m, 0, 0xf3, 0x6e, 0xf4);
	regs = get_regs(m);
	regs.rcx = 4;
	regs.rsi = 0x3000;
	regs.rdx = 0x80;
	memcpy(m->memory + 0x3000, "aaab", 4);
	assert_int_equal(vcpu_ioctl(m, KVM_SET_REGS, &regs), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(run(m), 0);
		assert_int_equal(m->run->exit_reason, KVM_EXIT_IO);
		assert_int_equal(*((uint8_t *)m->run + RUN_PIO_OFFSET), i == 3 ? 'b' : 'a');
	}
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(get_regs(m).rcx, 0);
}

static void test_ioeventfd(void **state)
{
	struct machine *m = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct kvm_ioeventfd config = {
		.addr = 0x10, .len = 1, .fd = fd, .flags = KVM_IOEVENTFD_FLAG_PIO};
	uint64_t count = 0;

	assert_int_equal(client_ioctl_p(m->client, m->vm, KVM_IOEVENTFD, &config), 0);
	/* out 0x10, al; out 0x10, al; hlt */
	LOAD(m, 0, 0xe6, 0x10, 0xe6, 0x10, 0xf4);
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 2);
	(void)close(fd);
}

/* The VMM has the interrupt controllers: it asks for a window, and injects there. */
static void test_interrupt_window(void **state)
{
	struct kvm_interrupt irq = {.irq = 0x40};
	struct machine *m = *state;

	/* sti; nop; hlt.  Handler: mov bl, 9; iret */
	LOAD(m, 0, 0xfb, 0x90, 0xf4);
	memcpy(m->memory + HANDLER, (const uint8_t[]){0xb3, 0x09, 0xcf}, 3);
	set_vector(m, irq.irq, HANDLER);
	m->run->request_interrupt_window = 1;
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_IRQ_WINDOW_OPEN);
	assert_int_equal(m->run->ready_for_interrupt_injection, 1);
	assert_int_equal(m->run->if_flag, 1);
	assert_int_equal(get_regs(m).rip, CODE + 2); /* behind STI's shadow */
	m->run->request_interrupt_window = 0;
	assert_int_equal(vcpu_ioctl(m, KVM_INTERRUPT, &irq), 0);
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(get_regs(m).rbx, 9);
	assert_int_equal(get_regs(m).rip, CODE + 3);
}

static void test_nmi(void **state)
{
	struct machine *m = *state;

	/* hlt.  Handler: mov bl, 5; hlt */
	LOAD(m, 0, 0xf4);
	memcpy(m->memory + HANDLER, (const uint8_t[]){0xb3, 0x05, 0xf4}, 3);
	set_vector(m, 2, HANDLER);
	assert_int_equal(client_ioctl(m->client, m->vcpu, KVM_NMI, 0), 0);
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(get_regs(m).rbx, 5);
}

static void test_unknown(void **state)
{
	struct machine *m = *state;

	/* fsin */
	LOAD(m, 0, 0xd9, 0xfe);
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(m->run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
	assert_int_equal(m->run->emulation_failure.insn_size, 2);
	assert_memory_equal(m->run->emulation_failure.insn_bytes, "\xd9\xfe", 2);
}

static void test_shutdown(void **state)
{
	struct machine *m = *state;
	struct kvm_sregs sregs;

	/* ud2, without vectors */
	LOAD(m, 0, 0x0f, 0x0b);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_SREGS, &sregs), 0);
	sregs.idt.limit = 0;
	assert_int_equal(vcpu_ioctl(m, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(run(m), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_SHUTDOWN);
}

static void *interrupt_soon(void *arg)
{
	struct machine *m = arg;

	(void)usleep(20000);
	client_interrupt(m->client);
	return NULL;
}

static void test_signal(void **state)
{
	struct machine *m = *state;
	pthread_t thread;

	/* jmp $ */
	LOAD(m, 0, 0xeb, 0xfe);
	client_interrupt(m->client);
	assert_int_equal(run(m), -EINTR);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_INTR);
	assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, m), 0);
	assert_int_equal(run(m), -EINTR);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void *stop_soon(void *arg)
{
	struct machine *m = arg;

	(void)usleep(20000);
	client_stop(m->client);
	return NULL;
}

/* A guest does not run on while its VMM stands still. */
static void test_stop(void **state)
{
	struct machine *m = *state;
	pthread_t thread;

	/* jmp $ */
	LOAD(m, 0, 0xeb, 0xfe);
	assert_int_equal(pthread_create(&thread, NULL, stop_soon, m), 0);
	assert_int_equal(run(m), -EINTR);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

/* With interrupt controllers of the host's. */

static void test_halt(void **state)
{
	struct machine *m = *state;
	struct kvm_mp_state mp;
	pthread_t thread;

	/* hlt */
	LOAD(m, 0, 0xf4);
	assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, m), 0);
	assert_int_equal(run(m), -EINTR);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_MP_STATE, &mp), 0);
	assert_int_equal(mp.mp_state, KVM_MP_STATE_HALTED);
	assert_int_equal(get_regs(m).rip, CODE + 1);
}

static void *send_msi_soon(void *arg)
{
	const struct kvm_msi msi = {.address_lo = 0xfee00000, .data = 0x50};
	struct machine *m = arg;

	(void)usleep(20000);
	assert_int_equal(client_ioctl_p(m->client, m->vm, KVM_SIGNAL_MSI, &msi), 1);
	return NULL;
}

static void test_wake(void **state)
{
	struct kvm_lapic_state lapic;
	struct machine *m = *state;
	pthread_t thread;

	/* hlt; out 0x10, al.  Handler: mov bl, 6; iret */
	LOAD(m, FLAG_IF, 0xf4, 0xe6, 0x10);
	memcpy(m->memory + HANDLER, (const uint8_t[]){0xb3, 0x06, 0xcf}, 3);
	set_vector(m, 0x50, HANDLER);
	assert_int_equal(vcpu_ioctl(m, KVM_GET_LAPIC, &lapic), 0);
	lapic.regs[0xf1] |= 1; /* software-enabled */
	assert_int_equal(vcpu_ioctl(m, KVM_SET_LAPIC, &lapic), 0);
	assert_int_equal(pthread_create(&thread, NULL, send_msi_soon, m), 0);
	assert_int_equal(run(m), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(m->run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(get_regs(m).rbx, 6);
}

static int create(struct machine **ret, bool with_irqchip)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY};

	m->client = client_new(PROFILE_K61);
	m->memory = client_memory(m->client, MEMORY);
	region.userspace_addr = (uintptr_t)m->memory;
	m->vm = (int)client_ioctl(m->client, client_kvm(m->client), KVM_CREATE_VM, 0);
	assert_int_equal(client_ioctl_p(m->client, m->vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
	if (with_irqchip)
		assert_int_equal(client_ioctl(m->client, m->vm, KVM_CREATE_IRQCHIP, 0), 0);
	m->vcpu = (int)client_ioctl(m->client, m->vm, KVM_CREATE_VCPU, 0);
	m->run = client_mmap_run(m->client, m->vcpu);
	*ret = m;
	return 0;
}

static int setup(void **state)
{
	return create((struct machine **)state, false);
}

static int setup_irqchip(void **state)
{
	return create((struct machine **)state, true);
}

static int teardown(void **state)
{
	struct machine *m = *state;

	(void)munmap(m->run, RUN_SIZE);
	(void)client_free(m->client);
	free(m);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(test_immediate_exit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mmio, setup, teardown),
		cmocka_unit_test_setup_teardown(test_string_io, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ioeventfd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupt_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nmi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shutdown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_halt, setup_irqchip, teardown),
		cmocka_unit_test_setup_teardown(test_wake, setup_irqchip, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
