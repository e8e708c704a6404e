// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A VMM of SEV guests, after Documentation/virt/kvm/x86/amd-memory-encryption.rst: it launches one,
 * moves it to another VM, and tries what a VMM would get that does not move it.
 */
#include "machine.h"

#include <linux/psp-sev.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/time.h>

#define DATA	0x3000
#define FIRST	0x41
#define TEXT	"what only the guest may know: 42"
#define TEXT_AT 0x3800

/* Counts in encrypted memory, and tells. */
GUEST("1:	mov al, [0x3000]\n"
      "	inc byte ptr [0x3000]\n"
      "	out 0x10, al\n"
      "	jmp 1b\n");

static int sev;

static void command(int vm, uint32_t id, void *data)
{
	struct kvm_sev_cmd c = {.id = id, .data = (uintptr_t)data, .sev_fd = (uint32_t)sev};

	if (ioctl(vm, KVM_MEMORY_ENCRYPT_OP, &c) < 0) {
		(void)fprintf(stderr, "SEV command %u: %s, firmware status 0x%x\n", id,
			      strerror(errno), c.error);
		exit(1);
	}
}

static unsigned c_bit_of(int kvm)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[256];
	} cpuid = {.head.nent = 256};

	check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) == 0);
	for (uint32_t i = 0; i < cpuid.head.nent; i++)
		if (cpuid.entry[i].function == 0x8000001f && (cpuid.entry[i].eax & 2))
			return cpuid.entry[i].ebx & 0x3f;
	(void)printf("no SEV\n");
	exit(EXIT_SKIP);
}

/* Another VM with the same memory, and a vCPU in the same state. */
static void second_machine(struct machine *ret, struct vcpu *ret_vcpu, const struct machine *first,
			   const struct vcpu *vcpu)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY,
						     .userspace_addr = (uintptr_t)first->memory};
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	*ret = *first;
	ret->vm = ioctl(first->kvm, KVM_CREATE_VM, 0);
	check(ret->vm >= 0);
	check(ioctl(ret->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
	vcpu_init(ret_vcpu, ret, 0);
	check(ioctl(vcpu->fd, KVM_GET_REGS, &regs) == 0);
	check(ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) == 0);
	check(ioctl(ret_vcpu->fd, KVM_SET_SREGS, &sregs) == 0);
	check(ioctl(ret_vcpu->fd, KVM_SET_REGS, &regs) == 0);
}

/* The next number that the guest tells, or -1 if it does something else. */
static int next_number(const struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	if (vcpu_run(vcpu) != 0 || run->exit_reason != KVM_EXIT_IO || run->io.port != 0x10)
		return -1;
	return ((const uint8_t *)run)[run->io.data_offset];
}

/* KVM completes the last exit first. */
static void complete(const struct vcpu *vcpu)
{
	vcpu->run->immediate_exit = 1;
	check(vcpu_run(vcpu) == EINTR);
	vcpu->run->immediate_exit = 0;
}

static void ignore(int signal)
{
	(void)signal;
}

int main(void)
{
	const struct sigaction action = {.sa_handler = ignore};
	const struct itimerval soon = {{0, 100000}, {0, 100000}};
	struct machine m, moved, robber;
	struct vcpu vcpu, moved_vcpu, robber_vcpu;
	struct kvm_sev_launch_start start = {0};
	struct kvm_enc_region region = {.size = MEMORY};
	uint8_t blob[48];
	struct kvm_sev_launch_measure measure = {.uaddr = (uintptr_t)blob, .len = sizeof(blob)};
	struct kvm_sev_launch_update_data update = {.len = MEMORY};
	uint64_t *tables, c_bit;
	bool encrypts;

	m.kvm = open_kvm();
	c_bit = 1ull << c_bit_of(m.kvm);
	check(close(m.kvm) == 0);
	sev = open("/dev/sev", O_RDWR | O_CLOEXEC);
	check(sev >= 0);

	machine_init(&m);
	command(m.vm, KVM_SEV_INIT, NULL);
	vcpu_init(&vcpu, &m, 0);
	tables = (uint64_t *)(m.memory + TABLES);
	for (unsigned i = 0; i < 3 * 512; i++)
		if (tables[i] & 1)
			tables[i] |= c_bit;
	m.memory[DATA] = FIRST;
	memcpy(m.memory + TEXT_AT, TEXT, sizeof(TEXT));
	region.addr = update.uaddr = (uintptr_t)m.memory;
	check(ioctl(m.vm, KVM_MEMORY_ENCRYPT_REG_REGION, &region) == 0);
	command(m.vm, KVM_SEV_LAUNCH_START, &start);
	command(m.vm, KVM_SEV_LAUNCH_UPDATE_DATA, &update);
	command(m.vm, KVM_SEV_LAUNCH_MEASURE, &measure);
	command(m.vm, KVM_SEV_LAUNCH_FINISH, NULL);
	encrypts = memcmp(m.memory + TEXT_AT, TEXT, sizeof(TEXT)) != 0;
	(void)printf("this host %s memory\n", encrypts ? "encrypts" : "does not encrypt");

	for (int i = 0; i < 3; i++)
		check(next_number(&vcpu) == FIRST + i);
	complete(&vcpu);

	/* One that has the memory and the registers, but no right to them. */
	second_machine(&robber, &robber_vcpu, &m, &vcpu);
	if (encrypts) {
		check(sigaction(SIGALRM, &action, NULL) == 0);
		check(setitimer(ITIMER_REAL, &soon, NULL) == 0);
		check(next_number(&robber_vcpu) == -1);
		check(setitimer(ITIMER_REAL, &(const struct itimerval){0}, NULL) == 0);
	}
	vcpu_done(&robber_vcpu, &robber);
	check(close(robber.vm) == 0);

	/* The guest has not noticed, and goes on in the VM that it is moved to. */
	second_machine(&moved, &moved_vcpu, &m, &vcpu);
	struct kvm_enable_cap move = {.cap = KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM,
				      .args = {(uint64_t)m.vm}};

	check(ioctl(moved.vm, KVM_ENABLE_CAP, &move) == 0);
	check(vcpu_run(&vcpu) == EIO);
	vcpu_done(&vcpu, &m);
	check(close(m.vm) == 0);
	for (int i = 3; i < 6; i++)
		check(next_number(&moved_vcpu) == FIRST + i);
	check(!encrypts || memcmp(m.memory + TEXT_AT, TEXT, sizeof(TEXT)) != 0);
	vcpu_done(&moved_vcpu, &moved);
	machine_done(&moved);
	check(close(sev) == 0);
	return 0;
}
