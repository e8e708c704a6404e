/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VMM's half of a rescue: what its guardian needs to know, and what a new VMM is to be given.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vmrelay/vmrelay.h>

#include "kvm/cleanup.h"
#include "log.h"
#include "process.h"

struct rescue {
	struct vmr_rescue *guardian;
	struct vmr_section sections[MACHINE_SECTIONS];
};

/* Called by the guardian when all threads of this process are dead. */
static bool begin(void *opaque)
{
	const struct vmm *vmm = opaque;

	machine_break_locks(&vmm->machine);
	return vmm->state == VMM_PAUSED;
}

/* The clients of console and control socket are not among them: they were connected to us. */
static int add_all(const struct vmm *vmm, struct vmr_rescue *guardian)
{
	struct process_fd fds[PROCESS_FDS_MAX];
	unsigned n = process_fds(vmm, fds);
	autofree char *text = process_options_blob(vmm);
	int r = text ? vmr_rescue_add_blob(guardian, VMM_SECTION_OPTIONS, text, strlen(text))
		     : -ENOMEM;

	for (unsigned i = 0; r == 0 && i < n; i++)
		r = vmr_rescue_add_fd(guardian, fds[i].tag, fds[i].fd);
	return r;
}

int rescue_arm(struct vmm *vmm, struct vmm_error *ret_error)
{
	struct vmr_error error = {.text = "out of memory"};
	struct rescue *rescue;
	int r = -ENOMEM;

	if (vmm->keeper_fd < 0 || vmm->rescue)
		return 0;
	rescue = calloc(1, sizeof(*rescue));
	if (rescue) {
		const struct vmr_rescue_config config = {
			.version = VMRELAY_VERSION,
			.sock = vmm->keeper_fd,
			.sections = rescue->sections,
			.n_sections = MACHINE_SECTIONS,
			.begin = begin,
			.opaque = vmm,
		};

		machine_sections(&vmm->machine, rescue->sections);
		r = vmr_rescue_new(vmm->machine.vm, &config, &rescue->guardian, &error);
	}
	if (r == 0)
		r = add_all(vmm, rescue->guardian);
	if (r == 0)
		r = vmr_rescue_arm(rescue->guardian, &error);
	vmm->rescue = rescue;
	if (r == 0)
		return 0;
	rescue_disarm(vmm);
	vmm_error_set(ret_error, VMM_EXIT_FAILED, "the guest would not outlive its VMM: %s",
		      error.text);
	return -1;
}

void rescue_rearm(struct vmm *vmm)
{
	struct vmm_error error;

	if (rescue_arm(vmm, &error) < 0)
		log_error("%s", error.text);
}

void rescue_disarm(struct vmm *vmm)
{
	if (!vmm->rescue)
		return;
	(void)vmr_rescue_free(vmm->rescue->guardian);
	free(vmm->rescue);
	vmm->rescue = NULL;
}
