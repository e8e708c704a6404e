// SPDX-License-Identifier: GPL-2.0-or-later
/* Records which steps real relays take, for model/replay. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "kvm/cleanup.h"

#define LOST 7 /* exit code */

/* Source and target have the same environment. */
static const struct {
	const char *fault; /* "": none */
	bool is_confidential;
} cells[] = {
	{"", false},
	{"source-hello:fail", false},
	{"source-ready:kill", false},
	{"source-save-vcpu:fail", false},
	{"source-save-vm:kill", false},
	{"source-save-vm:sleep=500,source-saved:kill", false},
	{"target-accepted:fail", false},
	{"target-ready:kill", false},
	{"target-load-vcpu:fail", false},
	{"target-loaded:kill", false},
	{"target-owner:kill", false},
	{"target-moved:kill", true},
	{"target-moved:fail", true},
};

static void print(const char *path, unsigned cpus, const char *fault)
{
	FILE *file = fopen(path, "re");
	char line[120];

	h_note("trace %u %s %u vCPUs, %s", cpus, h_confidential() ? "confidential" : "plain", cpus,
	       fault[0] ? fault : "no fault");
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		h_note("step %s", line);
	}
	h_note("end");
	if (check(file, "there is no trace"))
		(void)fclose(file);
}

static void record(const char *fault, unsigned cpus)
{
	static const char *const options[] = {"--memory", "16M", NULL};
	char path[] = "/tmp/vmrelay-trace-XXXXXX";
	struct h_vm vm;
	int fd = mkstemp(path), exit_code = 0;

	if (!check(fd >= 0, "no temporary file"))
		return;
	close_fd(fd);
	(void)setenv("VMRELAY_TRACE", path, 1);
	h_set_fault(fault[0] ? fault : NULL);
	if (h_vm_start(&vm, h_build("vmrelay-faulty"), cpus, NULL, options))
		exit_code = h_vmrelay(NULL, "upgrade", vm.name, "--vmm", h_build("vmrelay-faulty"));
	h_set_fault(NULL);
	(void)unsetenv("VMRELAY_TRACE");
	if (exit_code == LOST)
		h_vm_forget(&vm);
	else
		h_vm_stop(&vm);
	print(path, cpus, fault);
	(void)remove(path);
	h_test("%s with %u vCPUs", fault[0] ? fault : "no fault", cpus);
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();
	for (unsigned cpus = 1; cpus <= 2; cpus++)
		for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
			if (!cells[i].is_confidential || h_confidential())
				record(cells[i].fault, cpus);
	return h_done();
}
