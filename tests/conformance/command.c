// SPDX-License-Identifier: GPL-2.0-or-later
/* KVM_MEMORY_ENCRYPT_OP: what is asked before the secure processor is, and what that says. */
#include "conformance.h"

#include <string.h>
#include <sys/mman.h>

#define PAGE 4096

static struct vm active(uint32_t init)
{
	struct vm vm = aux(0);

	(void)must(command(vm.fd, init, NULL, NULL), "INIT");
	return vm;
}

static void probe(void)
{
	struct vm vm = aux(0);

	note_result(ioctl(vm.fd, KVM_MEMORY_ENCRYPT_OP, NULL));
	note_result(ioctl(vm.fd, KVM_MEMORY_ENCRYPT_OP, 8));
}

/* 10, 14 and 19 have numbers only. */
static void unknown(void)
{
	struct vm vm = sev(1);

	for (size_t i = 0; i < 5; i++)
		note_command(vm.fd, (const uint32_t[]){10, 14, 19, 50, 0xffffffff}[i], NULL);
}

static void on_plain_vm(void)
{
	struct vm vm = aux(1);

	for (uint32_t id = KVM_SEV_LAUNCH_START; id < 22; id++)
		if (id != 10 && id != 14 && id != 19)
			note_command(vm.fd, id, NULL);
}

static void init_twice(void)
{
	struct vm vm = active(KVM_SEV_INIT);

	note_command(vm.fd, KVM_SEV_INIT, NULL);
	note_command(vm.fd, KVM_SEV_ES_INIT, NULL);
}

static void init_with_vcpus(void)
{
	struct vm vm = aux(1);

	note_command(vm.fd, KVM_SEV_INIT, NULL);
	note_command(vm.fd, KVM_SEV_ES_INIT, NULL);
}

static void bad_pointers(void)
{
	struct vm vm = sev(1);

	note_command(vm.fd, KVM_SEV_LAUNCH_UPDATE_DATA, (void *)8);
	note_command(vm.fd, KVM_SEV_LAUNCH_MEASURE, (void *)8);
	note_command(vm.fd, KVM_SEV_LAUNCH_SECRET, (void *)8);
	note_command(vm.fd, KVM_SEV_DBG_DECRYPT, (void *)8);
	note_command(vm.fd, KVM_SEV_GUEST_STATUS, (void *)8);
}

static void bad_sev_fd(void)
{
	struct vm vm = active(KVM_SEV_INIT);
	struct kvm_sev_launch_start start = {0};
	struct kvm_sev_cmd c = {.id = KVM_SEV_LAUNCH_START, .data = POINTER(&start)};

	for (size_t i = 0; i < 3; i++) {
		c.sev_fd = (uint32_t)(const int[]){-1, kvm_fd, vm.fd}[i];
		note_result(ioctl(vm.fd, KVM_MEMORY_ENCRYPT_OP, &c));
	}
}

static void start_twice(void)
{
	struct vm vm = sev(1);
	const uint32_t handle = status_of(vm.fd).handle;
	struct kvm_sev_launch_start start = {0};

	note_command(vm.fd, KVM_SEV_LAUNCH_START, &start);
	note_same(status_of(vm.fd).handle == handle);
}

static void policy_against_init(void)
{
	struct kvm_sev_launch_start es = {.policy = 4}, plain = {.policy = 0};

	note_command(active(KVM_SEV_INIT).fd, KVM_SEV_LAUNCH_START, &es);
	note_command(active(KVM_SEV_ES_INIT).fd, KVM_SEV_LAUNCH_START, &plain);
}

static void blobs(void)
{
	static uint8_t blob[0x4001];
	struct vm vm = active(KVM_SEV_INIT);
	struct kvm_sev_launch_start no_length = {.dh_uaddr = POINTER(blob)};
	struct kvm_sev_launch_start too_long = {.dh_uaddr = POINTER(blob), .dh_len = sizeof(blob)};
	struct kvm_sev_launch_start bad = {.dh_uaddr = 8, .dh_len = 16};

	note_command(vm.fd, KVM_SEV_LAUNCH_START, &no_length);
	note_command(vm.fd, KVM_SEV_LAUNCH_START, &too_long);
	note_command(vm.fd, KVM_SEV_LAUNCH_START, &bad);
}

static void update_data(void)
{
	struct shared memory = shared_new(PAGE);
	struct vm vm = sev(1);
	struct kvm_sev_launch_update_data c = {.uaddr = POINTER(memory.at[0])};

	note_command(vm.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &c); /* nothing */
	c.len = 8;
	note_command(vm.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &c); /* half a block */
	c.uaddr += 8;
	c.len = 16;
	note_command(vm.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &c); /* not aligned */
	c.uaddr += 8;
	note_command(vm.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &c);
	c.uaddr = POINTER(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	note_command(vm.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &c); /* read-only */
	c.uaddr = PAGE;
	note_command(vm.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &c); /* nowhere */
}

static void update_vmsa_of_sev(void)
{
	note_command(sev(1).fd, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL);
}

static void update_vmsa_without_vcpus(void)
{
	struct vm vm = active(KVM_SEV_ES_INIT);

	(void)must(launch_start(vm.fd, 4), "LAUNCH_START");
	note_command(vm.fd, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL);
}

static void measure(void)
{
	uint8_t blob[100] = {0};
	struct vm vm = sev(1);
	struct kvm_sev_launch_measure c = {0};

	note_command(vm.fd, KVM_SEV_LAUNCH_MEASURE, &c);
	note("len %u", c.len);
	c = (struct kvm_sev_launch_measure){.uaddr = POINTER(blob), .len = 47};
	note_command(vm.fd, KVM_SEV_LAUNCH_MEASURE, &c);
	note("len %u", c.len);
	c = (struct kvm_sev_launch_measure){.uaddr = POINTER(blob), .len = 0x4001};
	note_command(vm.fd, KVM_SEV_LAUNCH_MEASURE, &c);
	c.len = sizeof(blob);
	note_command(vm.fd, KVM_SEV_LAUNCH_MEASURE, &c);
	note("len %u", c.len);
	note_command(vm.fd, KVM_SEV_LAUNCH_MEASURE, &c); /* again */
}

/* Out of turn. */
static void wrong_state(void)
{
	struct shared memory = shared_new(PAGE);
	uint8_t blob[48];
	struct kvm_sev_launch_measure m = {.uaddr = POINTER(blob), .len = sizeof(blob)};
	struct kvm_sev_launch_update_data update = {.uaddr = POINTER(memory.at[0]), .len = PAGE};
	struct vm vm = sev(1);

	note_command(vm.fd, KVM_SEV_LAUNCH_FINISH, NULL);
	note_command(vm.fd, KVM_SEV_LAUNCH_MEASURE, &m);
	note_command(vm.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &update);
	note_command(vm.fd, KVM_SEV_LAUNCH_FINISH, NULL);
	note_command(vm.fd, KVM_SEV_LAUNCH_FINISH, NULL);
	note_command(vm.fd, KVM_SEV_SEND_FINISH, NULL);
	note_command(vm.fd, KVM_SEV_RECEIVE_FINISH, NULL);
}

static void attestation(void)
{
	uint8_t report[208];
	struct vm vm = sev(1);
	uint8_t blob[48];
	struct kvm_sev_launch_measure m = {.uaddr = POINTER(blob), .len = sizeof(blob)};
	struct kvm_sev_attestation_report c = {.len = 0};

	(void)must(command(vm.fd, KVM_SEV_LAUNCH_MEASURE, &m, NULL), "LAUNCH_MEASURE");
	(void)must(command(vm.fd, KVM_SEV_LAUNCH_FINISH, NULL, NULL), "LAUNCH_FINISH");
	note_command(vm.fd, KVM_SEV_GET_ATTESTATION_REPORT, &c);
	note("len %u", c.len);
	c = (struct kvm_sev_attestation_report){.uaddr = POINTER(report), .len = sizeof(report)};
	memset(c.mnonce, 0x5a, sizeof(c.mnonce));
	note_command(vm.fd, KVM_SEV_GET_ATTESTATION_REPORT, &c);
	note_same(memcmp(report, c.mnonce, sizeof(c.mnonce)) == 0);
}

/*
 * Sources may cross pages; destinations not: kernels before 6.1.192 write to the next physical page
 * then, whosever that is.
 */
static void debug(void)
{
	struct shared memory = shared_new(2 * PAGE);
	struct kvm_sev_launch_update_data update = {.uaddr = POINTER(memory.at[0]),
						    .len = 2 * PAGE};
	static _Alignas(PAGE) uint8_t plain[2 * PAGE], seen[2 * PAGE];
	struct vm vm = sev(1);
	uint8_t on_stack[48];
	struct kvm_sev_dbg c = {.src_uaddr = POINTER(memory.at[0]) + 4093,
				.dst_uaddr = POINTER(seen) + 5,
				.len = 30};

	for (size_t i = 0; i < sizeof(plain); i++)
		memory.at[0][i] = plain[i] = (uint8_t)(i * 13);
	(void)must(command(vm.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &update, NULL), "LAUNCH_UPDATE_DATA");
	note_command(vm.fd, KVM_SEV_DBG_DECRYPT, &c); /* over a page's end, aligned to nothing */
	note_same(memcmp(seen + 5, plain + 4093, 30) == 0);
	memset(seen, 0xee, sizeof(seen));
	c = (struct kvm_sev_dbg){POINTER(seen) + 4090, POINTER(memory.at[0]) + 101, 11};
	note_command(vm.fd, KVM_SEV_DBG_ENCRYPT, &c);
	c = (struct kvm_sev_dbg){POINTER(memory.at[0]), POINTER(seen), sizeof(seen)};
	note_command(vm.fd, KVM_SEV_DBG_DECRYPT, &c);
	memset(plain + 101, 0xee, 11);
	note_same(memcmp(seen, plain, sizeof(plain)) == 0);
	c = (struct kvm_sev_dbg){POINTER(memory.at[0]) + 1000, POINTER(on_stack), sizeof(on_stack)};
	note_command(vm.fd, KVM_SEV_DBG_DECRYPT, &c);
	note_same(memcmp(on_stack, plain + 1000, sizeof(on_stack)) == 0);
	memset(on_stack, 0x11, sizeof(on_stack));
	c = (struct kvm_sev_dbg){POINTER(on_stack), POINTER(memory.at[0]) + 1008, sizeof(on_stack)};
	note_command(vm.fd, KVM_SEV_DBG_ENCRYPT, &c);
	c = (struct kvm_sev_dbg){POINTER(memory.at[0]), POINTER(seen), sizeof(seen)};
	note_command(vm.fd, KVM_SEV_DBG_DECRYPT, &c);
	memset(plain + 1008, 0x11, sizeof(on_stack));
	note_same(memcmp(seen, plain, sizeof(plain)) == 0);
	c = (struct kvm_sev_dbg){POINTER(seen), 0, 16};
	note_command(vm.fd, KVM_SEV_DBG_DECRYPT, &c);
	c = (struct kvm_sev_dbg){POINTER(seen), POINTER(seen), 0};
	note_command(vm.fd, KVM_SEV_DBG_DECRYPT, &c);
}

/* KVM leaves out the last of the two blocks that these bytes are in. */
static void debug_amid_blocks(void)
{
	struct shared memory = shared_new(PAGE);
	struct kvm_sev_launch_update_data update = {.uaddr = POINTER(memory.at[0]), .len = PAGE};
	static _Alignas(PAGE) uint8_t plain[PAGE], seen[PAGE];
	struct vm vm = sev(1);
	struct kvm_sev_dbg c = {POINTER(seen), POINTER(memory.at[0]) + 105, 16};

	(void)must(command(vm.fd, KVM_SEV_LAUNCH_UPDATE_DATA, &update, NULL), "LAUNCH_UPDATE_DATA");
	memset(seen, 0x22, 16);
	note_command(vm.fd, KVM_SEV_DBG_ENCRYPT, &c);
	c = (struct kvm_sev_dbg){POINTER(memory.at[0]), POINTER(seen), PAGE};
	note_command(vm.fd, KVM_SEV_DBG_DECRYPT, &c);
	memset(plain + 105, 0x22, 7);
	note_same(memcmp(seen, plain, PAGE) == 0);
}

static void no_debug(void)
{
	struct shared memory = shared_new(PAGE);
	struct vm vm = active(KVM_SEV_INIT);
	struct kvm_sev_dbg c = {POINTER(memory.at[0]), POINTER(memory.at[0]), 16};

	(void)must(launch_start(vm.fd, 1), "LAUNCH_START");
	note_command(vm.fd, KVM_SEV_DBG_DECRYPT, &c);
	note_command(vm.fd, KVM_SEV_DBG_ENCRYPT, &c);
}

static void secret_refused(void)
{
	struct shared memory = shared_new(PAGE);
	uint8_t header[52] = {0}, data[16] = {0}, blob[48];
	struct kvm_sev_launch_measure m = {.uaddr = POINTER(blob), .len = sizeof(blob)};
	struct vm vm = sev(1);
	struct kvm_sev_launch_secret c = {
		.hdr_uaddr = POINTER(header),
		.hdr_len = sizeof(header),
		.guest_uaddr = POINTER(memory.at[0]),
		.guest_len = 16,
		.trans_uaddr = POINTER(data),
		.trans_len = 16,
	};

	note_command(vm.fd, KVM_SEV_LAUNCH_SECRET, &c); /* too early */
	(void)must(command(vm.fd, KVM_SEV_LAUNCH_MEASURE, &m, NULL), "LAUNCH_MEASURE");
	note_command(vm.fd, KVM_SEV_LAUNCH_SECRET, &c); /* the MAC is wrong */
	c.hdr_len = 51;
	note_command(vm.fd, KVM_SEV_LAUNCH_SECRET, &c);
	c.hdr_len = 0;
	note_command(vm.fd, KVM_SEV_LAUNCH_SECRET, &c);
	c.hdr_len = sizeof(header);
	c.guest_len = 8;
	note_command(vm.fd, KVM_SEV_LAUNCH_SECRET, &c);
}

static void receive_refused(void)
{
	struct vm vm = active(KVM_SEV_INIT);
	struct kvm_sev_receive_start start = {0};
	struct kvm_sev_receive_update_data data = {0};

	note_command(vm.fd, KVM_SEV_RECEIVE_START, &start);
	note_command(vm.fd, KVM_SEV_RECEIVE_UPDATE_DATA, &data);
}

static void send_lengths(void)
{
	uint8_t blob[48];
	struct kvm_sev_launch_measure m = {.uaddr = POINTER(blob), .len = sizeof(blob)};
	struct vm vm = sev(1);
	struct kvm_sev_send_start c = {0};

	(void)must(command(vm.fd, KVM_SEV_LAUNCH_MEASURE, &m, NULL), "LAUNCH_MEASURE");
	(void)must(command(vm.fd, KVM_SEV_LAUNCH_FINISH, NULL, NULL), "LAUNCH_FINISH");
	note_command(vm.fd, KVM_SEV_SEND_START, &c);
	note("len %u", c.session_len);
	c = (struct kvm_sev_send_start){.session_uaddr = POINTER(blob), .session_len = 128};
	note_command(vm.fd, KVM_SEV_SEND_START, &c);
}

const struct test_case command_cases[] = {
	{"command/probe", probe, "0 EFAULT", NULL, NEEDS_SEV},
	{"command/unknown", unknown, "EINVAL EINVAL EINVAL EINVAL EINVAL", NULL, NEEDS_SEV},
	{"command/on-plain-vm", on_plain_vm,
	 "ENOTTY ENOTTY ENOTTY ENOTTY ENOTTY ENOTTY ENOTTY ENOTTY ENOTTY ENOTTY EINVAL ENOTTY "
	 "ENOTTY ENOTTY ENOTTY ENOTTY ENOTTY",
	 NULL, NEEDS_SEV},
	{"command/init-twice", init_twice, "EBUSY EBUSY", "EINVAL EINVAL", NEEDS_SEV},
	{"command/init-with-vcpus", init_with_vcpus, "EINVAL EINVAL", NULL, NEEDS_ES},
	{"command/bad-pointers", bad_pointers, "EFAULT EFAULT EFAULT EFAULT EFAULT", NULL,
	 NEEDS_SEV},
	{"command/bad-sev-fd", bad_sev_fd, "EBADF EBADF EBADF", NULL, NEEDS_SEV},
	{"command/start-twice", start_twice, "EIO fw 0xc same", NULL, NEEDS_SEV},
	{"command/policy-against-init", policy_against_init, "EIO fw 0xd EIO fw 0xd", NULL,
	 NEEDS_ES},
	{"command/blobs", blobs, "EINVAL EINVAL EFAULT", NULL, NEEDS_SEV},
	{"command/update-data", update_data, "EINVAL EIO fw 0x4 EIO fw 0x9 0 ENOMEM ENOMEM", NULL,
	 NEEDS_SEV},
	{"command/update-vmsa-of-sev", update_vmsa_of_sev, "ENOTTY", NULL, NEEDS_SEV},
	{"command/update-vmsa-without-vcpus", update_vmsa_without_vcpus, "0", NULL, NEEDS_ES},
	{"command/measure", measure,
	 "EIO fw 0x4 len 48 EIO fw 0x4 len 47 EINVAL 0 len 48 EIO fw 0x2", NULL, NEEDS_SEV},
	{"command/wrong-state", wrong_state,
	 "EIO fw 0x2 0 EIO fw 0x2 0 EIO fw 0x2 EIO fw 0x2 EIO fw 0x2", NULL, NEEDS_SEV},
	{"command/attestation", attestation, "EIO fw 0x4 len 208 0 same", NULL, NEEDS_SEV},
	{"command/debug-amid-blocks", debug_amid_blocks, "0 0 same", NULL, NEEDS_SEV},
	{"command/debug", debug, "0 same 0 0 same 0 same 0 0 same EINVAL EINVAL", NULL, NEEDS_SEV},
	{"command/no-debug", no_debug, "EIO fw 0x7 EIO fw 0x7", NULL, NEEDS_SEV},
	{"command/secret-refused", secret_refused,
	 "EIO fw 0x2 EIO fw 0xb EIO fw 0x4 EINVAL EIO fw 0x4", NULL, NEEDS_SEV},
	{"command/receive-refused", receive_refused, "EINVAL EINVAL", NULL, NEEDS_SEV},
	{"command/send-lengths", send_lengths, "EIO fw 0x4 len 128 EINVAL", NULL, NEEDS_SEV},
	{0},
};
