// SPDX-License-Identifier: GPL-2.0-or-later
/* VM types and KVM_SEV_INIT2, of Linux 6.10 and later. */
#include "conformance.h"

#include <string.h>

struct init { /* struct kvm_sev_init */
	uint64_t vmsa_features;
	uint32_t flags;
	uint16_t ghcb_version, pad1;
	uint32_t pad2[8];
};

static struct vm typed(unsigned long type, unsigned n)
{
	struct vm vm = vm_new(type, 0, 0);

	(void)must(command(vm.fd, COMMAND_INIT2, &(struct init){0}, NULL), "INIT2");
	vm.n = n;
	for (unsigned i = 0; i < n; i++)
		vm.vcpu[i] = must(ioctl(vm.fd, KVM_CREATE_VCPU, (long)i), "KVM_CREATE_VCPU");
	return vm;
}

static void on_older(void)
{
	note_result(ioctl(kvm_fd, KVM_CREATE_VM, (long)TYPE_SEV));
	note_result(ioctl(kvm_fd, KVM_CREATE_VM, (long)TYPE_SEV_ES));
}

static void init2_arguments(void)
{
	note_command(aux(0).fd, COMMAND_INIT2, &(struct init){0});
	note_command(vm_new(TYPE_SEV, 0, 0).fd, COMMAND_INIT2, &(struct init){.flags = 1});
	note_command(vm_new(TYPE_SEV, 0, 0).fd, COMMAND_INIT2, &(struct init){.vmsa_features = 1});
	note_command(vm_new(TYPE_SEV, 0, 0).fd, COMMAND_INIT2, &(struct init){.ghcb_version = 1});
	note_command(vm_new(TYPE_SEV_ES, 0, 0).fd, COMMAND_INIT2,
		     &(struct init){.ghcb_version = 3});
	note_command(vm_new(TYPE_SEV, 1, 0).fd, COMMAND_INIT2, &(struct init){0});
	note_command(vm_new(TYPE_SEV, 0, 0).fd, COMMAND_INIT2, (void *)8);
	note_command(typed(TYPE_SEV, 0).fd, COMMAND_INIT2, &(struct init){0});
	note_command(typed(TYPE_SEV_ES, 0).fd, COMMAND_INIT2, &(struct init){0});
}

static void older_init(void)
{
	note_command(vm_new(TYPE_SEV, 0, 0).fd, KVM_SEV_INIT, NULL);
	note_command(vm_new(TYPE_SEV_ES, 0, 0).fd, KVM_SEV_ES_INIT, NULL);
}

static void move(void)
{
	struct vm plain = aux(1), other = vm_new(TYPE_SEV_ES, 1, 0), same = vm_new(TYPE_SEV, 1, 0),
		  done = typed(TYPE_SEV, 1), source = typed(TYPE_SEV, 1);

	note_result(move_from(&plain, source.fd));
	note_result(move_from(&other, source.fd));
	note_result(move_from(&done, source.fd));
	note_result(move_from(&same, source.fd));
}

static void move_older_into_typed(void)
{
	struct vm source = sev(1), target = vm_new(TYPE_SEV, 1, 0);

	note_result(move_from(&target, source.fd));
}

/* need_init is not moved: the target refuses to run. */
static void run_after_move(void)
{
	struct vm source = typed(TYPE_SEV, 1), target = vm_new(TYPE_SEV, 1, 0);

	note_result(move_from(&target, source.fd));
	note_result(ioctl(target.vcpu[0], KVM_RUN, 0));
}

const struct test_case type_cases[] = {
	{"type/on-older-kernels", on_older, "EINVAL EINVAL", NULL, NEEDS_NO_TYPES},
	{"type/init2-arguments", init2_arguments, "",
	 "EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL EFAULT EINVAL EINVAL", NEEDS_TYPES | NEEDS_ES},
	{"type/older-init", older_init, "", "EINVAL EINVAL", NEEDS_TYPES | NEEDS_ES},
	{"type/move", move, "", "EINVAL EINVAL EINVAL 0", NEEDS_TYPES | NEEDS_ES},
	{"type/move-older-into-typed", move_older_into_typed, "", "EINVAL", NEEDS_TYPES | NEEDS_ES},
	{"type/run-after-move", run_after_move, "", "0 EINVAL", NEEDS_TYPES | NEEDS_SEV},
	{0},
};
