// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * destroy.c - the end of a context, with its last VM
 *
 * Of the VMs that a context has been moved through only the last one has anything to end here.
 */
#include <stdlib.h>

#include "softkvm/sev/internal.h"

void sev_vm_destroy(struct vm *vm)
{
	struct sev_host *sev = vm->object.host->sev;

	if (!vm->sev.active)
		return;
	if (vm->sev.is_mirror) {
		sev_unlink_mirror(vm);
		return;
	}
	sev_wbinvd(sev);
	sev_regions_free(vm);
	sev_unbind(sev, vm->sev.handle);
	sev_asid_free(sev, vm->sev.cgroup, vm->sev.es, vm->sev.asid);
	free(vm->sev.cgroup);
	vm->sev.cgroup = NULL;
}
