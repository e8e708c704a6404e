// SPDX-License-Identifier: GPL-2.0-or-later
/* A device by MMIO, a doorbell that is an eventfd, an interrupt that is another, and HLT in KVM. */
#include "machine.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#define DEVICE	 0x3fff0000u
#define DOORBELL 0xe000
#define SEEN	 0x3000 /* what was read of the device */
#define DONE	 0x3004 /* set by the interrupt handler */
#define IDTR	 0x4000
#define IDT	 0x5000
#define VECTOR	 0x30
#define GSI	 24 /* behind the IO-APIC's: routed as MSI */

GUEST("	mov ebx, 0x3fff0000\n"
      "	mov eax, [rbx]\n" /* exits: MMIO read */
      "	mov [0x3000], eax\n"
      "	mov dword ptr [rbx + 4], 0x12345678\n" /* exits: MMIO write */
      "	lidt [0x4000]\n"
      "	mov ecx, 0x1b\n" /* x2APIC on: APIC_BASE, then the spurious vector */
      "	rdmsr\n"
      "	or eax, 0xc00\n"
      "	wrmsr\n"
      "	mov ecx, 0x80f\n"
      "	mov eax, 0x1ff\n"
      "	xor edx, edx\n"
      "	wrmsr\n"
      "	mov dx, 0xe000\n"
      "	out dx, al\n" /* does not exit */
      "1:	cli\n"
      "	cmp dword ptr [0x3004], 0\n"
      "	jne 2f\n"
      "	sti\n"
      "	hlt\n" /* does not exit */
      "	jmp 1b\n"
      "2:	out 0x10, al\n"
      "	.balign 64\n"
      "handler:\n"
      "	mov dword ptr [0x3004], 1\n"
      "	push rax\n"
      "	push rcx\n"
      "	push rdx\n"
      "	mov ecx, 0x80b\n" /* EOI */
      "	xor eax, eax\n"
      "	xor edx, edx\n"
      "	wrmsr\n"
      "	pop rdx\n"
      "	pop rcx\n"
      "	pop rax\n"
      "	iretq\n");
extern const uint8_t handler[];

/* A GDT is needed: the interrupt loads CS from it. */
static void set_tables(struct machine *m, const struct vcpu *vcpu)
{
	const uint64_t gdt[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
	const uint64_t entry = CODE + (uint64_t)(handler - guest);
	const uint64_t gate[2] = {(entry & 0xffff) | 8 << 16 | 0x8e00ull << 32, 0};
	const uint16_t limit = 0xfff;
	const uint64_t base = IDT;
	struct kvm_sregs sregs;

	memcpy(m->memory + IDT + VECTOR * 16, gate, sizeof(gate));
	memcpy(m->memory + IDTR, &limit, sizeof(limit));
	memcpy(m->memory + IDTR + 2, &base, sizeof(base));
	memcpy(m->memory + 0x6000, gdt, sizeof(gdt));
	check(ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) == 0);
	sregs.gdt.base = 0x6000;
	sregs.gdt.limit = sizeof(gdt) - 1;
	check(ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) == 0);
}

static void route(const struct machine *m)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry;
	} routing = {
		.head.nr = 1,
		.entry = {.gsi = GSI,
			  .type = KVM_IRQ_ROUTING_MSI,
			  .u.msi = {.address_lo = 0xfee00000, .data = VECTOR}},
	};

	check(ioctl(m->vm, KVM_SET_GSI_ROUTING, &routing) == 0);
}

/* The other side of the doorbell answers it with an interrupt. */
static int doorbell, interrupt;

static void *answer(void *arg)
{
	uint64_t count;

	(void)arg;
	check(read(doorbell, &count, sizeof(count)) == sizeof(count) && count == 1);
	(void)usleep(20000); /* let it halt */
	check(write(interrupt, &count, sizeof(count)) == sizeof(count));
	return NULL;
}

int main(void)
{
	struct machine m;
	struct vcpu vcpu;
	struct kvm_ioeventfd bell = {.addr = DOORBELL, .len = 1, .flags = KVM_IOEVENTFD_FLAG_PIO};
	struct kvm_irqfd irq = {.gsi = GSI};
	pthread_t thread;
	uint32_t word;

	machine_init(&m);
	check(ioctl(m.vm, KVM_CREATE_IRQCHIP, 0) == 0);
	vcpu_init(&vcpu, &m, 0);
	set_tables(&m, &vcpu);
	route(&m);
	doorbell = eventfd(0, EFD_CLOEXEC);
	interrupt = eventfd(0, EFD_CLOEXEC);
	check(doorbell >= 0 && interrupt >= 0);
	bell.fd = doorbell;
	irq.fd = (uint32_t)interrupt;
	check(ioctl(m.vm, KVM_IOEVENTFD, &bell) == 0);
	check(ioctl(m.vm, KVM_IRQFD, &irq) == 0);
	check(ioctl(m.vm, KVM_IRQFD, &irq) < 0 && errno == EBUSY);
	check(pthread_create(&thread, NULL, answer, NULL) == 0);

	check(vcpu_run(&vcpu) == 0);
	check(vcpu.run->exit_reason == KVM_EXIT_MMIO && !vcpu.run->mmio.is_write);
	check(vcpu.run->mmio.phys_addr == DEVICE && vcpu.run->mmio.len == 4);
	word = 0xcafe;
	memcpy(vcpu.run->mmio.data, &word, sizeof(word));
	check(vcpu_run(&vcpu) == 0);
	check(vcpu.run->exit_reason == KVM_EXIT_MMIO && vcpu.run->mmio.is_write);
	memcpy(&word, vcpu.run->mmio.data, sizeof(word));
	check(vcpu.run->mmio.phys_addr == DEVICE + 4 && word == 0x12345678);
	check(vcpu_run(&vcpu) == 0);
	check(vcpu.run->exit_reason == KVM_EXIT_IO && vcpu.run->io.port == 0x10);
	memcpy(&word, m.memory + SEEN, sizeof(word));
	check(word == 0xcafe);
	check(m.memory[DONE] == 1);

	check(pthread_join(thread, NULL) == 0);
	irq.flags = KVM_IRQFD_FLAG_DEASSIGN;
	check(ioctl(m.vm, KVM_IRQFD, &irq) == 0);
	bell.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	check(ioctl(m.vm, KVM_IOEVENTFD, &bell) == 0);
	vcpu_done(&vcpu, &m);
	machine_done(&m);
	return 0;
}
