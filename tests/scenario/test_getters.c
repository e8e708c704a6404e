// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a VMM can learn of a confidential guest's registers: the machine of the VMM in this very
 * process, and every getter of KVM asked while the guest is paused in the middle of its work.  Of
 * an SEV-ES guest nothing may be found; that all is found of an SEV guest shows that the search
 * works.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vmrelay/vmrelay.h>

#include "harness.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "vmm/machine.h"
#include "vmm/options.h"
#include "vmm/vcpu.h"

#define STEP	0x9e3779b97f4a7c15ULL /* as in guests/ticker/loop.S */
#define WORDS	(16 + 4 * 16)	      /* likewise: general and vector registers */
#define SLOTS	0x200000
#define PAUSES	20
#define WAIT_MS 30000

static void ignore_end(void *opaque, enum vmm_end end)
{
	(void)opaque, (void)end;
}

static void report_end(void *opaque, enum vmm_end end, const char *text)
{
	(void)opaque;
	(void)check(false, "the guest ended: %d %s", (int)end, text ? text : "");
}

static bool contains(const void *bytes, size_t len, const volatile struct h_slot *slot)
{
	for (uint64_t round = slot->rounds; round <= slot->rounds + 1; round++)
		for (uint64_t word = 3; word < WORDS; word++) {
			uint64_t value = round * STEP + word;

			if (memmem(bytes, len, &value, sizeof(value)))
				return true;
		}
	return false;
}

/* The getters that gave something away, as bits in the order of the calls; a failure gives nothing.
 */
static unsigned ask_all(int fd, size_t xsave_size, const volatile struct h_slot *slot)
{
	autofree struct kvm_xsave *xsave = calloc(1, xsave_size);
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};
	struct kvm_sregs2 sregs2 = {0};
	struct kvm_xcrs xcrs = {0};
	struct kvm_debugregs debugregs = {0};
	struct kvm_vcpu_events events = {0};
	struct kvm_lapic_state lapic = {0};
	const struct {
		int r;
		const void *bytes;
		size_t len;
	} answers[] = {
		{kvm_vcpu_get_regs(fd, &regs), &regs, sizeof(regs)},
		{kvm_vcpu_get_sregs(fd, &sregs), &sregs, sizeof(sregs)},
		{kvm_vcpu_get_sregs2(fd, &sregs2), &sregs2, sizeof(sregs2)},
		{kvm_vcpu_get_xsave2(fd, xsave), xsave, xsave_size},
		{kvm_vcpu_get_xcrs(fd, &xcrs), &xcrs, sizeof(xcrs)},
		{kvm_vcpu_get_debugregs(fd, &debugregs), &debugregs, sizeof(debugregs)},
		{kvm_vcpu_get_events(fd, &events), &events, sizeof(events)},
		{kvm_vcpu_get_lapic(fd, &lapic), &lapic, sizeof(lapic)},
	};
	unsigned found = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++)
		found |= (unsigned)contains(answers[i].bytes, answers[i].len, slot) << i;
	return found;
}

static void run(struct machine *machine, unsigned *ret_found)
{
	volatile struct h_slot *slot =
		vmm_memory_at(&machine->memory, SLOTS, sizeof(struct h_slot));
	int size = kvm_vm_check_extension(vmr_vm_fd(machine->vm), KVM_CAP_XSAVE2);
	size_t xsave_size = size > 4096 ? (size_t)size : 4096;
	struct vcpus *vcpus;

	if (!check(vcpus_start(machine->vm, &machine->bus, NULL, report_end, NULL, &vcpus) == 0,
		   "the vCPU threads do not start"))
		return;
	vcpus_run(vcpus);
	for (unsigned ms = 0; slot->rounds < 10 && ms < WAIT_MS; ms++)
		h_sleep_ms(1);
	(void)check(slot->rounds >= 10, "the guest does not run");
	for (unsigned i = 0; i < PAUSES; i++) {
		vcpus_pause(vcpus);
		*ret_found |= ask_all(vmr_vm_vcpu_fd(machine->vm, 0), xsave_size, slot);
		vcpus_run(vcpus);
		h_sleep_ms(3);
	}
	(void)check(slot->errors == 0, "the guest found its registers changed");
	(void)vcpus_free(vcpus);
}

static unsigned look_at(enum vmr_confidential kind)
{
	struct machine machine = MACHINE_INIT;
	struct vmm_options options;
	struct vmm_error error;
	struct console *console = NULL;
	const struct sockaddr_un anywhere = {.sun_family = AF_UNIX};
	autofd listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unsigned found = 0;
	sd_event *event = NULL;

	vmm_options_init(&options);
	options.kernel = strdup(h_guest("ticker"));
	options.memory = 16U << 20;
	options.confidential = kind;
	if (check(sd_event_new(&event) >= 0 &&
			  bind(listener, (const struct sockaddr *)&anywhere,
			       sizeof(anywhere.sun_family)) == 0 &&
			  listen(listener, 1) == 0 &&
			  console_new(event, listener, -1, &console) == 0,
		  "no console") &&
	    check(steal_fd(&listener) >= 0, "no socket") &&
	    check(machine_create(&machine, &options, &error) == 0 &&
			  machine_add_devices(&machine, console, ignore_end, NULL) == 0 &&
			  machine_boot(&machine, &options, &error) == 0,
		  "%s", error.text))
		run(&machine, &found);
	machine_done(&machine);
	(void)console_free(console);
	(void)sd_event_unref(event);
	vmm_options_done(&options);
	return found;
}

int main(void)
{
	const unsigned regs = 1U << 0, xsave = 1U << 3;

	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	h_init();

	unsigned found = look_at(VMR_CONFIDENTIAL_NONE);

	(void)check((found & (regs | xsave)) == (regs | xsave), "found by getters 0x%x", found);
	h_test("a plain guest's registers are seen through the getters");
	if (access("/dev/sev", R_OK | W_OK) < 0) {
		h_skip("confidential guests", "there is no /dev/sev: this host has no SEV");
		return h_done();
	}
	found = look_at(VMR_CONFIDENTIAL_SEV);
	(void)check((found & (regs | xsave)) == (regs | xsave), "found by getters 0x%x", found);
	h_test("an SEV guest's registers are");
	found = look_at(VMR_CONFIDENTIAL_SEV_ES);
	(void)check(found == 0, "found by getters 0x%x", found);
	h_test("nothing of an SEV-ES guest's registers is seen through any getter");
	return h_done();
}
