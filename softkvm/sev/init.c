// SPDX-License-Identifier: GPL-2.0-or-later
/* init.c - a VM becomes one with SEV: KVM_SEV_INIT, KVM_SEV_ES_INIT, KVM_SEV_INIT2 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/cleanup.h"
#include "softkvm/sev/internal.h"

#define GHCB_VERSION_MAX 2 /* of the GHCB specification, AMD publication 56421 */

/* struct kvm_sev_init, for headers that are older. */
struct init2 {
	uint64_t vmsa_features;
	uint32_t flags;
	uint16_t ghcb_version;
	uint16_t pad1;
	uint32_t pad2[8];
};
_Static_assert(sizeof(struct init2) == 48, "kvm_sev_init");

/* Gives the VM an ASID and sees to it that the platform is initialised. */
static int begin(struct sev_op *op, bool es)
{
	autofree char *cgroup = strdup(call_cgroup(op->call));
	struct sev_vm *vm = &op->vm->sev;
	uint32_t asid;
	int err;

	if (!cgroup)
		return -ENOMEM;
	err = sev_asid_new(op->sev, cgroup, es, &asid);
	if (err < 0)
		/* Why there is none, kernels tell since 6.2. */
		return op->sev->host->config.profile == PROFILE_MAIN ? err : -EBUSY;
	err = sev_platform_init(op->sev, &op->cmd.error);
	if (err < 0) {
		sev_asid_free(op->sev, cgroup, es, asid);
		return err;
	}
	vm->active = true;
	vm->es = es;
	vm->asid = asid;
	vm->cgroup = steal_ptr(cgroup);
	return 0;
}

int sev_init(struct sev_op *op)
{
	bool is_main = op->sev->host->config.profile == PROFILE_MAIN;
	bool es = op->cmd.id == KVM_SEV_ES_INIT;
	int err;

	if (op->vm->n_created || (is_main && op->vm->type != SEV_VM_DEFAULT))
		return -EINVAL;
	if (op->vm->sev.active)
		return is_main ? -EINVAL : -EBUSY;
	err = begin(op, es);
	if (err == 0)
		op->vm->sev.ghcb_version = es ? 1 : 0;
	return err;
}

int sev_init2(struct sev_op *op)
{
	bool es = op->vm->type == SEV_VM_SEV_ES;
	struct init2 params;
	int err;

	if (!op->vm->sev.need_init)
		return -EINVAL;
	err = sev_op_get(op, &params, sizeof(params));
	if (err < 0)
		return err;
	/* No features of VMSAs are offered. */
	if (op->vm->n_created || params.flags || params.vmsa_features ||
	    params.ghcb_version > GHCB_VERSION_MAX || (!es && params.ghcb_version) ||
	    op->vm->sev.active)
		return -EINVAL;
	err = begin(op, es);
	if (err < 0)
		return err;
	op->vm->sev.ghcb_version =
		es && !params.ghcb_version ? GHCB_VERSION_MAX : params.ghcb_version;
	op->vm->sev.need_init = false;
	return 0;
}
