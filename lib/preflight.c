/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is checked of a confidential guest before it is stopped for a relay.
 *
 * Theory of operation.  Whether KVM moves a guest shows only when it is told to, with the guest
 * stopped: KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM is said to be there on every x86, and there is no dry
 * run.  So everything that KVM will look at (sev_vm_move_enc_context_from() in
 * arch/x86/kvm/svm/sev.c) is looked at here before, and what KVM does not look at but the guest
 * depends on: that it is not in the middle of something in the secure processor, that nobody shares
 * its context.  Nothing of this runs between stop and resume.
 *
 * The limit RLIMIT_MEMLOCK is not here, because KVM does not consult it: pinned pages change their
 * owner without being counted again, on the way to the target and back.
 *
 * A move charges the control group of the process that calls if it is another one than that which
 * is charged already.  KVM picks the resource by a flag that the new VM does not have yet and the
 * old one has no longer, so that for SEV-ES guests, too, a unit of "sev" is charged there and given
 * back here, where there may be none: the kernel warns, and the usage becomes -1.  Taking the guest
 * back is such a move by the source: it could fail as well, so there must be room on both sides.
 */
#include "preflight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cgroup.h"
#include "channel.h"
#include "error.h"
#include "fault.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"

#define BOOT_ID		"/proc/sys/kernel/random/boot_id"
#define BOOT_ID_LEN	36
#define PANIC_ON_WARN	"/proc/sys/kernel/panic_on_warn"
#define CHARGED		"sev"
#define LEAF_ENCRYPTION 0x8000001fU
/* EAX of that leaf: AMD publication 24594 (APM volume 3), E.4.17. */
#define HAS_SEV	   (1U << 1)
#define HAS_SEV_ES (1U << 3)

static const char *kind_name(const struct vmr_vm *vm)
{
	return vm->sev.kind == VMR_CONFIDENTIAL_SEV_ES ? "SEV-ES" : "SEV";
}

/* Host and boot. */

int preflight_this_host(struct preflight_host *ret, struct vmr_error *ret_error)
{
	autofd fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	struct preflight_host host = {.boot_id = ""};
	struct utsname name;

	if (fd < 0 || read(fd, host.boot_id, BOOT_ID_LEN) != BOOT_ID_LEN || uname(&name) < 0)
		return error_set(ret_error, fd < 0 ? -errno : -EIO, "preflight", "host",
				 "which boot of the host this is cannot be read from " BOOT_ID);
	(void)snprintf(host.kernel, sizeof(host.kernel), "%s %s", name.release, name.version);
	*ret = host;
	return 0;
}

int preflight_same_host(const struct preflight_host *host, struct vmr_error *ret_error)
{
	struct preflight_host here;
	int r = preflight_this_host(&here, ret_error);

	if (r < 0)
		return r;
	if (memcmp(host->boot_id, here.boot_id, sizeof(here.boot_id)) != 0)
		return error_set(ret_error, -EXDEV, "preflight", "host",
				 "the confidential guest is on another host, or on another boot of "
				 "it, and KVM moves it only within one");
	if (memcmp(host->kernel, here.kernel, sizeof(here.kernel)) != 0)
		return error_set(ret_error, -EXDEV, "preflight", "host",
				 "the confidential guest is run by another kernel than the target");
	return 0;
}

/* The source's VM. */

/* Somebody made a confidential VM of it without the library, which would not move its context. */
static int check_plain(const struct vmr_vm *vm, struct vmr_error *ret_error)
{
	struct kvm_sev_guest_status status;
	uint32_t fw;
	int r = kvm_sev_guest_status(vm->vm_fd, vm->sev.fd, &status, &fw);

	/* -EBADF: KVM would have asked the secure processor; -EPERM: an SNP guest. */
	if (r == 0 || r == -EBADF || r == -EPERM)
		return error_set(ret_error, -EOPNOTSUPP, "preflight", "VM",
				 "the VM is confidential, but was not launched by libvmrelay");
	return 0;
}

static int check_sharing(const struct vm_sev *sev, struct vmr_error *ret_error)
{
	if (sev->is_mirror)
		return error_set(ret_error, -EOPNOTSUPP, "preflight", "VM",
				 "the VM is a mirror of another confidential VM, and mirrors "
				 "cannot be relayed");
	if (sev->is_mirrored)
		return error_set(ret_error, -EBUSY, "preflight", "VM",
				 "another VM mirrors the confidential guest, and the two cannot be "
				 "relayed together");
	return 0;
}

static const char *state_text(enum vmr_sev_state state)
{
	static const char *const text[] = {
		[VMR_SEV_UNINIT] = "not launched",
		[VMR_SEV_LUPDATE] = "being loaded",
		[VMR_SEV_LSECRET] = "measured, and waits for its secrets",
		[VMR_SEV_RUNNING] = "running",
		[VMR_SEV_SUPDATE] = "being sent to another host",
		[VMR_SEV_RUPDATE] = "being received from another host",
		[VMR_SEV_SENT] = "sent to another host",
	};

	return (unsigned)state < ARRAY_SIZE(text) ? text[state] : "in a state that is not known";
}

static int check_state(const struct vmr_vm *vm, struct vmr_error *ret_error)
{
	struct vmr_sev_status status = {0};
	int r = vmr_sev_status(vm, &status, ret_error);

	if (r < 0)
		return r;
	if (status.state != VMR_SEV_RUNNING)
		return error_set(ret_error, -EBUSY, "preflight", "VM",
				 "the secure processor says that the confidential guest is %s",
				 state_text(status.state));
	if (status.handle != vm->sev.handle || status.policy != vm->sev.policy)
		return error_set(ret_error, -EPROTO, "preflight", "VM",
				 "the secure processor has guest %u with policy 0x%x in the VM, "
				 "not %u with 0x%x",
				 status.handle, status.policy, vm->sev.handle, vm->sev.policy);
	return 0;
}

int preflight_source(const struct vmr_vm *vm, struct vmr_error *ret_error)
{
	int r = check_sharing(&vm->sev, ret_error);

	if (r < 0)
		return r;
	if (vm->sev.kind == VMR_CONFIDENTIAL_NONE)
		return check_plain(vm, ret_error);
	if (vm->sev.kind == VMR_CONFIDENTIAL_SEV_ES && vm->sev.n_vmsas != vm->n_vcpus)
		return error_set(ret_error, -EINVAL, "preflight", "vCPU",
				 "the registers of vCPU %u of the SEV-ES guest were never "
				 "encrypted (LAUNCH_UPDATE_VMSA)",
				 vm->sev.n_vmsas);
	return check_state(vm, ret_error);
}

/* Control groups. */

uint64_t preflight_own_group(void)
{
	struct misc_group group = MISC_GROUP_INIT;

	if (misc_group_of(getpid(), &group) < 0)
		return 0;
	misc_group_done(&group);
	return group.id;
}

static int check_room(const struct misc_group *group, uint64_t more, const char *who,
		      struct vmr_error *ret_error)
{
	char where[80] = "";
	int r = misc_group_has_room(group, CHARGED, more, where, sizeof(where));

	if (r == -EINVAL)
		return error_set(ret_error, r, "preflight", "control group",
				 "the %s's control group differs from the one that is charged for "
				 "the guest, and the host has no ASID of the kind that KVM charges "
				 "then (misc controller: sev)",
				 who);
	if (r < 0)
		return error_set(ret_error, r, "preflight", "control group",
				 "control group %s, in which the %s is charged for the guest's "
				 "ASID, has no room for it (misc controller: sev)",
				 where, who);
	return 0;
}

/* Would the kernel's warning about an SEV-ES guest that changes its group be the end of the host?
 */
static int check_warning(const struct vmr_vm *vm, struct vmr_error *ret_error)
{
	autofd fd = open(PANIC_ON_WARN, O_RDONLY | O_CLOEXEC);
	char value = '0';

	if (vm->sev.kind == VMR_CONFIDENTIAL_SEV_ES && fd >= 0 && read(fd, &value, 1) == 1 &&
	    value != '0')
		return error_set(ret_error, -EOPNOTSUPP, "preflight", "control group",
				 "the target's control group differs from the one that is charged "
				 "for the SEV-ES guest, of which the kernel warns, and this host "
				 "panics on warnings (kernel.panic_on_warn)");
	return 0;
}

int preflight_charge(struct vmr_vm *vm, int target_pidfd, struct vmr_error *ret_error)
{
	struct misc_group own = MISC_GROUP_INIT, target = MISC_GROUP_INIT;
	pid_t pid = channel_process(target_pidfd);
	int r = 0;

	if (vm->sev.charged != 0 && pid > 0 && misc_group_of(pid, &target) == 0 &&
	    target.id != vm->sev.charged) {
		r = check_warning(vm, ret_error);
		if (r == 0)
			r = check_room(&target, 1, "target", ret_error);
		/* The move frees one unit of the group that is charged now. */
		if (r == 0 && misc_group_of(getpid(), &own) == 0)
			r = check_room(&own, own.id == vm->sev.charged ? 0 : 1, "source",
				       ret_error);
	}
	misc_group_done(&own);
	misc_group_done(&target);
	return r;
}

/* The target's VM. */

bool preflight_has_kind(const struct kvm_cpuid2 *cpuid, enum vmr_confidential kind)
{
	uint32_t needed = HAS_SEV | (kind == VMR_CONFIDENTIAL_SEV_ES ? HAS_SEV_ES : 0);

	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == LEAF_ENCRYPTION)
			return (cpuid->entries[i].eax & needed) == needed;
	return false;
}

int preflight_target(struct vmr_vm *vm, unsigned n_vcpus, struct vmr_error *ret_error)
{
	autofree struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + VM_CPUID_MAX * sizeof(cpuid->entries[0]));
	int r = -ENOMEM;

	if (cpuid) {
		cpuid->nent = VM_CPUID_MAX;
		r = kvm_system_get_supported_cpuid(vm->kvm_fd, cpuid);
	}
	if (r < 0)
		return error_set(ret_error, r, "KVM_GET_SUPPORTED_CPUID", "/dev/kvm", NULL);
	if (!preflight_has_kind(cpuid, vm->sev.kind))
		return error_set(ret_error, -EOPNOTSUPP, "preflight", "/dev/kvm",
				 "the target's KVM has no %s", kind_name(vm));
	if (vm->n_vcpus != n_vcpus)
		return error_set(ret_error, -EINVAL, "preflight", "VM",
				 "the target's VM has %u vCPUs and the confidential guest %u",
				 vm->n_vcpus, n_vcpus);
	r = sev_check_fd(vm, ret_error);
	vm->sev.charged = preflight_own_group();
	return r;
}

/* The kernel. */

unsigned preflight_warnings(const struct vmr_vm *vm,
			    char ret[PREFLIGHT_WARNINGS_MAX][PREFLIGHT_WARNING_SIZE])
{
	struct vmr_kernel_defect defect;
	struct utsname name;
	unsigned n = 0;

	if (vm->sev.kind == VMR_CONFIDENTIAL_NONE || uname(&name) < 0)
		return 0;
	if (fault_is_set("old-kernel"))
		name = (struct utsname){.release = "6.1.50"};
	while (n < PREFLIGHT_WARNINGS_MAX &&
	       vmr_kernel_defect(name.release, name.version, vm->sev.kind, n, &defect)) {
		(void)snprintf(ret[n], PREFLIGHT_WARNING_SIZE, "this kernel (%s) %s %s: %s",
			       name.release, defect.is_certain ? "has" : "may have", defect.name,
			       defect.text);
		n++;
	}
	return n;
}
