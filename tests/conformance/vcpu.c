// SPDX-License-Identifier: GPL-2.0-or-later
/* vCPUs of SEV-ES, whose registers KVM has no access to. */
#include "conformance.h"

#include <string.h>

static bool is_zero(const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static void getters_of(const struct vm *vm)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;

	note_result(ioctl(vm->vcpu[0], KVM_GET_REGS, &regs));
	note_result(ioctl(vm->vcpu[0], KVM_GET_SREGS, &sregs));
	note_result(ioctl(vm->vcpu[0], KVM_GET_FPU, &fpu));
	note_result(ioctl(vm->vcpu[0], KVM_GET_XCRS, &xcrs));
	note_result(ioctl(vm->vcpu[0], KVM_GET_DEBUGREGS, &debug));
	note_result(ioctl(vm->vcpu[0], KVM_GET_VCPU_EVENTS, &events));
}

static void getters(void)
{
	struct vm vm = sev_es(1);

	getters_of(&vm);
}

static void getters_after_move(void)
{
	struct vm source = sev_es(1), target = aux(1);

	(void)must(move_from(&target, source.fd), "move");
	getters_of(&target);
}

/* What is set before the launch is in the VMSA only afterwards. */
static void registers_vanish(void)
{
	struct vm vm = aux(0);
	struct kvm_regs set = {.rax = 0x1122334455667788, .rbx = 0x99, .rflags = 2}, regs;
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;

	(void)must(command(vm.fd, KVM_SEV_ES_INIT, NULL, NULL), "ES_INIT");
	vm.vcpu[0] = must(ioctl(vm.fd, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	(void)must(ioctl(vm.vcpu[0], KVM_SET_REGS, &set), "KVM_SET_REGS");
	(void)must(launch_start(vm.fd, 4), "LAUNCH_START");
	note_command(vm.fd, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL);
	note_result(ioctl(vm.vcpu[0], KVM_SET_REGS, &set));
	note_result(ioctl(vm.vcpu[0], KVM_GET_REGS, &regs));
	note_result(ioctl(vm.vcpu[0], KVM_GET_SREGS, &sregs));
	note("%s", is_zero(&sregs.cs, sizeof(sregs.cs)) ? "no CS" : "CS");
	memset(&fpu, 0, sizeof(fpu));
	note_result(ioctl(vm.vcpu[0], KVM_GET_FPU, &fpu));
	note("%s", is_zero(&fpu, sizeof(fpu)) ? "no FPU" : "FPU");
}

static void guest_debug(void)
{
	struct vm vm = sev_es(1);
	struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};

	note_result(ioctl(vm.vcpu[0], KVM_SET_GUEST_DEBUG, &debug));
}

static void bad_sregs(void)
{
	struct vm vm = sev_es(1);
	struct kvm_sregs sregs;

	(void)must(ioctl(vm.vcpu[0], KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	note_result(ioctl(vm.vcpu[0], KVM_SET_SREGS, &sregs));
	sregs.efer |= 1 << 10; /* LMA without paging */
	note_result(ioctl(vm.vcpu[0], KVM_SET_SREGS, &sregs));
}

static void mp_state(void)
{
	struct vm vm = aux(0);

	(void)must(command(vm.fd, KVM_SEV_ES_INIT, NULL, NULL), "ES_INIT");
	vm.vcpu[0] = must(ioctl(vm.fd, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	note_result(ioctl(vm.vcpu[0], KVM_GET_MP_STATE, &(struct kvm_mp_state){0}));
}

const struct test_case vcpu_cases[] = {
	{"vcpu/es-getters", getters, "0 0 0 0 0 0", NULL, NEEDS_ES},
	{"vcpu/es-getters-after-move", getters_after_move, "0 0 0 0 0 0", NULL, NEEDS_ES},
	{"vcpu/es-registers-vanish", registers_vanish, "0 0 0 0 no CS 0 no FPU", NULL, NEEDS_ES},
	{"vcpu/es-guest-debug", guest_debug, "EINVAL", NULL, NEEDS_ES},
	{"vcpu/es-bad-sregs", bad_sregs, "0 EINVAL", NULL, NEEDS_ES},
	{"vcpu/es-mp-state", mp_state, "0", NULL, NEEDS_ES},
	{0},
};
