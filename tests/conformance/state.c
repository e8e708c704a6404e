// SPDX-License-Identifier: GPL-2.0-or-later
/* What is the same after a move: state of the guest, memory, regions, and who counts it. */
#include "conformance.h"

#include <string.h>
#include <sys/mman.h>

#define PAGE 4096

static struct sev_user_data_status platform(void)
{
	struct sev_user_data_status status = {0};
	struct sev_issue_cmd c = {.cmd = SEV_PLATFORM_STATUS, .data = POINTER(&status)};

	(void)must(ioctl(sev_fd, SEV_ISSUE_CMD, &c), "PLATFORM_STATUS");
	return status;
}

static void before_launch_start(void)
{
	struct vm source = aux(0), target = aux(0);

	(void)must(command(source.fd, KVM_SEV_INIT, NULL, NULL), "INIT");
	note_result(move_from(&target, source.fd));
	note_result(launch_start(target.fd, 0));
	note("state %u", status_of(target.fd).state);
}

/* The launch goes on where it was. */
static void launching(void)
{
	struct shared memory = shared_new(PAGE);
	struct kvm_sev_launch_update_data update = {.uaddr = POINTER(memory.at[0]), .len = PAGE};
	struct vm source = sev(1), target = aux(1);
	uint8_t blob[48];
	struct kvm_sev_launch_measure measure = {.uaddr = POINTER(blob), .len = sizeof(blob)};

	use_stored_fd();
	note_command(source.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &update);
	note_result(move_from(&target, source.fd));
	note("state %u", status_of(target.fd).state);
	note_command(target.fd, KVM_SEV_LAUNCH_MEASURE, &measure);
	note("state %u", status_of(target.fd).state);
	note_command(target.fd, KVM_SEV_LAUNCH_FINISH, NULL);
	note("state %u", status_of(target.fd).state);
}

static void finish(const struct vm *vm)
{
	uint8_t blob[48];
	struct kvm_sev_launch_measure measure = {.uaddr = POINTER(blob), .len = sizeof(blob)};

	(void)must(command(vm->fd, KVM_SEV_LAUNCH_MEASURE, &measure, NULL), "LAUNCH_MEASURE");
	(void)must(command(vm->fd, KVM_SEV_LAUNCH_FINISH, NULL, NULL), "LAUNCH_FINISH");
}

static void status_is_kept(struct vm source)
{
	struct vm target = aux(source.n);

	finish(&source);
	use_stored_fd();

	const struct kvm_sev_guest_status before = status_of(source.fd);

	note_result(move_from(&target, source.fd));

	const struct kvm_sev_guest_status after = status_of(target.fd);

	note_same(memcmp(&before, &after, sizeof(before)) == 0);
	note("policy 0x%x state %u", after.policy, after.state);
}

static void sev_status(void)
{
	status_is_kept(sev(2));
}

static void es_status(void)
{
	status_is_kept(sev_es(2));
}

/* The number of /dev/sev is not moved: fd 0 is looked up, which is no /dev/sev here. */
static void stored_descriptor(void)
{
	struct vm source = sev(1), target = aux(1);

	(void)close(0);
	note_result(move_from(&target, source.fd));
	note_command(target.fd, KVM_SEV_GUEST_STATUS, &(struct kvm_sev_guest_status){0});
}

/* What was encrypted through one mapping is decrypted through another of the same memory. */
static void memory(void)
{
	struct shared memory = shared_new(PAGE);
	struct kvm_sev_launch_update_data update = {.uaddr = POINTER(memory.at[0]), .len = PAGE};
	static _Alignas(PAGE) uint8_t plain[PAGE], seen[PAGE]; /* for older kernels, see debug() */
	struct kvm_sev_dbg debug = {
		.src_uaddr = POINTER(memory.at[1]), .dst_uaddr = POINTER(seen), .len = PAGE};
	struct vm source = sev(1), target = aux(1);

	for (size_t i = 0; i < PAGE; i++)
		memory.at[0][i] = plain[i] = (uint8_t)(i * 7);
	use_stored_fd();
	note_command(source.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &update);
	finish(&source);
	note_result(move_from(&target, source.fd));
	note_command(target.fd, KVM_SEV_DBG_DECRYPT, &debug);
	note_same(memcmp(seen, plain, PAGE) == 0);
}

static void regions(void)
{
	struct shared memory = shared_new(4 * PAGE);
	struct kvm_enc_region region = {POINTER(memory.at[0]), 4 * PAGE};
	struct kvm_enc_region elsewhere = {POINTER(memory.at[1]), 4 * PAGE};
	struct vm source = sev(1), target = aux(1);

	note_result(ioctl(source.fd, KVM_MEMORY_ENCRYPT_REG_REGION, &region));
	note_result(move_from(&target, source.fd));
	(void)munmap(memory.at[0], memory.len); /* the key is a number */
	note_result(ioctl(target.fd, KVM_MEMORY_ENCRYPT_UNREG_REGION, &elsewhere));
	note_result(ioctl(target.fd, KVM_MEMORY_ENCRYPT_UNREG_REGION, &region));
	note_result(ioctl(target.fd, KVM_MEMORY_ENCRYPT_UNREG_REGION, &region));
}

static void guests_are_counted(void)
{
	const uint32_t before = platform().guest_count;
	struct vm vm[3] = {sev(1), aux(1), aux(1)};

	note("%u", platform().guest_count - before);
	note_result(move_from(&vm[1], vm[0].fd));
	vm_close(&vm[0]);
	note("%u", platform().guest_count - before);
	note_result(move_from(&vm[2], vm[1].fd));
	vm_close(&vm[1]);
	note("%u", platform().guest_count - before);
	vm_close(&vm[2]);
	for (unsigned i = 0; i < 100 && platform().guest_count != before; i++)
		(void)usleep(10000);
	note("%u", platform().guest_count - before);
}

/* More lives than there are ASIDs. */
static void asids_come_back(void)
{
	for (unsigned i = 0; i < 40; i++) {
		struct vm source = i % 2 ? sev_es(1) : sev(1), target = aux(1);

		(void)must(move_from(&target, source.fd), "move");
		vm_close(&source);
		vm_close(&target);
	}
	note("40 lives");
}

static void init_again(void)
{
	struct vm source = sev(1), target = aux(0);

	note_result(move_from(&target, source.fd));
	note_command(target.fd, KVM_SEV_INIT, NULL);
}

static void moved_from_and_to(void)
{
	struct vm source = sev(1), target = aux(1), mirror = aux(0);

	note_result(move_from(&target, source.fd));
	note_result(copy_from(&mirror, target.fd));
}

const struct test_case state_cases[] = {
	{"state/before-launch-start", before_launch_start, "0 0 state 1", NULL, NEEDS_SEV},
	{"state/launching", launching, "0 0 state 1 0 state 2 0 state 3", NULL, NEEDS_SEV},
	{"state/sev-status", sev_status, "0 same policy 0x0 state 3", NULL, NEEDS_SEV},
	{"state/es-status", es_status, "0 same policy 0x4 state 3", NULL, NEEDS_ES},
	{"state/stored-descriptor", stored_descriptor, "0 EBADF", NULL, NEEDS_SEV},
	{"state/memory", memory, "0 0 0 same", NULL, NEEDS_SEV},
	{"state/regions", regions, "0 0 EINVAL 0 EINVAL", NULL, NEEDS_SEV},
	{"state/guests-are-counted", guests_are_counted, "1 0 1 0 1 0", NULL, NEEDS_SEV},
	{"state/asids-come-back", asids_come_back, "40 lives", NULL, NEEDS_ES},
	{"state/init-again", init_again, "0 EBUSY", "0 EINVAL", NEEDS_SEV},
	{"state/copy-of-moved", moved_from_and_to, "0 0", NULL, NEEDS_SEV},
	{0},
};
