// SPDX-License-Identifier: GPL-2.0-or-later
/* KVM_CAP_VM_COPY_ENC_CONTEXT_FROM: mirrors, and what moves do to them. */
#include "conformance.h"

#include <string.h>

#define COMMANDS 22 /* KVM_SEV_NR_MAX of Linux 6.1 */

static void into(struct vm mirror, struct vm owner)
{
	note_result(copy_from(&mirror, owner.fd));
}

static void self(void)
{
	struct vm vm = sev(1);

	note_result(copy_from(&vm, vm.fd));
}

static void refused(void)
{
	into(aux(0), aux(4));
	into(aux(4), sev(4));
	into(sev(4), sev(4));
}

static void refused_es(void)
{
	into(sev(4), sev_es(4));
	into(sev_es(4), sev(4));
}

static struct vm mirror_of(const struct vm *owner)
{
	struct vm mirror = aux(0);

	(void)must(copy_from(&mirror, owner->fd), "copy");
	return mirror;
}

static void vcpus_afterwards(void)
{
	struct vm owner = sev(4), mirror = mirror_of(&owner);

	for (unsigned i = 0; i < 4; i++)
		note_result(ioctl(mirror.fd, KVM_CREATE_VCPU, (long)i) < 0 ? -1 : 0);
}

/* All but LAUNCH_UPDATE_VMSA, GUEST_STATUS and DBG. */
static void commands(void)
{
	struct vm owner = sev(1), mirror = mirror_of(&owner);
	unsigned n = 0;

	for (uint32_t id = 0; id < COMMANDS; id++) {
		if (id == KVM_SEV_LAUNCH_UPDATE_VMSA || id == KVM_SEV_GUEST_STATUS ||
		    id == KVM_SEV_DBG_DECRYPT || id == KVM_SEV_DBG_ENCRYPT)
			continue;
		if (command(mirror.fd, id, NULL, NULL) < 0 && errno == EINVAL)
			n++;
		else
			note("command %u:", id), note_result(-1);
	}
	note("%u EINVAL", n);
	note_command(mirror.fd, KVM_SEV_GUEST_STATUS, &(struct kvm_sev_guest_status){0});
}

static void vmsa(void)
{
	struct vm owner = sev_es(1), mirror = mirror_of(&owner);

	(void)must(ioctl(mirror.fd, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	note_command(mirror.fd, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL);
}

static void regions(void)
{
	struct shared memory = shared_new(4096);
	struct kvm_enc_region region = {POINTER(memory.at[0]), 4096};
	struct vm owner = sev(1), mirror = mirror_of(&owner);

	note_result(ioctl(mirror.fd, KVM_MEMORY_ENCRYPT_REG_REGION, &region));
	note_result(ioctl(mirror.fd, KVM_MEMORY_ENCRYPT_UNREG_REGION, &region));
}

static void mirror_of_mirror(void)
{
	struct vm owner = sev(1), mirror = mirror_of(&owner);

	into(aux(0), mirror);
	into(mirror, owner);
}

static uint32_t handle_of(const struct vm *vm)
{
	return status_of(vm->fd).handle;
}

static void owner_moves(void)
{
	struct vm owner = sev(1), mirror = mirror_of(&owner), target = aux(1), next = aux(1);
	uint32_t handle = handle_of(&owner);

	note_result(move_from(&target, owner.fd));
	note_same(handle_of(&mirror) == handle);
	note_result(move_from(&next, target.fd));
	vm_close(&owner);
	vm_close(&target);
	vm_close(&next);
	note_same(handle_of(&mirror) == handle);
}

static void mirror_moves(void)
{
	struct vm owner = sev(1), mirror = mirror_of(&owner), target = aux(0);
	uint32_t handle = handle_of(&owner);

	note_result(move_from(&target, mirror.fd));
	note_result(ioctl(mirror.fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY));
	use_stored_fd();
	note_same(handle_of(&target) == handle);
	note_command(target.fd, KVM_SEV_LAUNCH_FINISH, NULL); /* still a mirror */
	note_same(handle_of(&owner) == handle);
}

/* Both move, several times; then all go, the owner's first. */
static void both_move(void)
{
	struct vm o = sev(4), m = mirror_of(&o), a = aux(0), o1 = aux(4), o2 = aux(4), b = aux(0),
		  c = aux(0), o3 = aux(4);

	note_result(move_from(&a, m.fd));
	note_result(move_from(&o1, o.fd));
	note_result(move_from(&o2, o1.fd));
	note_result(move_from(&b, a.fd));
	note_result(move_from(&c, b.fd));
	note_result(move_from(&o3, o2.fd));
	vm_close(&o1);
	vm_close(&o);
	vm_close(&o2);
	vm_close(&o3);
	vm_close(&m);
	vm_close(&a);
	vm_close(&b);
	vm_close(&c);
}

const struct test_case copy_cases[] = {
	{"copy/self", self, "EINVAL", NULL, NEEDS_SEV},
	{"copy/refused", refused, "EINVAL EINVAL EINVAL", NULL, NEEDS_SEV},
	{"copy/refused-es", refused_es, "EINVAL EINVAL", NULL, NEEDS_ES},
	{"copy/vcpus-afterwards", vcpus_afterwards, "0 0 0 0", NULL, NEEDS_SEV},
	{"copy/commands", commands, "18 EINVAL 0", NULL, NEEDS_SEV},
	{"copy/vmsa", vmsa, "0", NULL, NEEDS_ES},
	{"copy/regions", regions, "EINVAL EINVAL", NULL, NEEDS_SEV},
	{"copy/mirror-of-mirror", mirror_of_mirror, "EINVAL EINVAL", NULL, NEEDS_SEV},
	{"copy/owner-moves", owner_moves, "0 same 0 same", NULL, NEEDS_SEV},
	{"copy/mirror-moves", mirror_moves, "0 EIO same EINVAL same", NULL, NEEDS_SEV},
	{"copy/both-move", both_move, "0 0 0 0 0 0", NULL, NEEDS_SEV},
	{0},
};
