// SPDX-License-Identifier: GPL-2.0-or-later
/* test_memory.c - commands that touch memory of guests later: regions, debugging, sending */
#include <errno.h>
#include <linux/psp-sev.h>

#include "fixture.h"

static void test_regions(void **state)
{
	struct fixture *f = *state;
	struct vm *plain = aux_vm(&f->call, 0), *vm = sev_vm(&f->call, 1);
	uint8_t *memory = f->m->memory[0];

	assert_int_equal(sev_reg_region(&f->call, plain, BAD_ADDRESS), -EFAULT);
	assert_int_equal(sev_unreg_region(&f->call, plain, BAD_ADDRESS), -EFAULT);
	assert_int_equal(region(&f->call, plain, true, memory, PAGE), -ENOTTY);
	assert_int_equal(region(&f->call, plain, false, memory, PAGE), -ENOTTY);
	assert_int_equal(region(&f->call, vm, true, memory, 0), -EINVAL);
	assert_int_equal(region(&f->call, vm, true, memory, UINT64_MAX), -EINVAL);
	assert_int_equal(region(&f->call, vm, true, (void *)(uintptr_t)PAGE, 1ULL << 44), -EINVAL);
	assert_int_equal(region(&f->call, vm, true, NULL, PAGE), -ENOMEM);
	assert_int_equal(region(&f->call, vm, true, f->m->read_only, PAGE), 0);
	assert_int_equal(region(&f->call, vm, false, f->m->read_only, PAGE), 0);
	assert_int_equal(region(&f->call, vm, true, memory, MEMORY_LEN + 1), -ENOMEM);
	f->call.memlock = 3 * PAGE + 4095;
	/* Two bytes of two pages are two pages; twice the same is four. */
	assert_int_equal(region(&f->call, vm, true, memory + PAGE - 1, 2), 0);
	assert_int_equal(region(&f->call, vm, true, memory + PAGE - 1, 2), -ENOMEM);
	f->call.memlock = 4 * PAGE;
	assert_int_equal(region(&f->call, vm, true, memory + PAGE - 1, 2), 0);
	assert_int_equal(vm->sev.pages_locked, 4);
	assert_int_equal(region(&f->call, vm, false, memory + PAGE - 1, 1), -EINVAL);
	assert_int_equal(region(&f->call, vm, false, memory + PAGE - 1, 2), 0);
	assert_int_equal(region(&f->call, vm, false, memory + PAGE - 1, 2), 0);
	assert_int_equal(region(&f->call, vm, false, memory + PAGE - 1, 2), -EINVAL);
	assert_int_equal(vm->sev.pages_locked, 0);
	assert_int_equal(f->m->n_pinned, 0);
	/* The rest goes with the VM: machine_free() would tell. */
	assert_int_equal(region(&f->call, vm, true, memory, PAGE), 0);
	assert_int_equal(region(&f->call, vm, true, memory + 8 * PAGE, PAGE), 0);
	vm_close(vm);
	vm_close(plain);
}

static struct vm *launch_with(struct fixture *f, uint32_t policy, unsigned n_pages)
{
	struct kvm_sev_launch_start start = {.policy = policy};
	struct kvm_sev_launch_update_data data = {.uaddr = (uintptr_t)f->m->memory[0],
						  .len = n_pages * PAGE};
	struct vm *vm = aux_vm(&f->call, 0);

	assert_int_equal(op(&f->call, vm, KVM_SEV_INIT, NULL, NULL), 0);
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_START, &start, NULL), 0);
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data, NULL), 0);
	return vm;
}

static void fill(uint8_t *memory, size_t len)
{
	for (size_t i = 0; i < len; i++)
		memory[i] = (uint8_t)(i * 13 + i / 251);
}

/* Any bytes: page and block boundaries of both sides, crossed or not. */
static const struct {
	unsigned src, dst, len;
} cases[] = {
	{0, 0, 16},
	{0, 0, 2 * PAGE},
	{16, 32, 16},
	{1, 0, 16},
	{0, 1, 16},
	{0, 0, 1},
	{15, 3, 2},
	{5, 5, 100},
	{4090, 7, 20},
	{7, 4090, 20},
	{4095, 1, 2},
	{1, 2, 2 * PAGE - 5},
	{8, 24, 4096},
	{4080, 4095, PAGE - 15},
	{2 * PAGE - 1, PAGE - 1, 1},
	{0, 8, 8},
};

static void test_debug(void **state)
{
	struct fixture *f = *state;
	uint8_t *memory = f->m->memory[0], *out = memory + 10 * PAGE, plain[4 * PAGE];
	uint8_t untouched[4 * PAGE];
	struct vm *vm;

	fill(plain, sizeof(plain));
	memcpy(memory, plain, sizeof(plain));
	vm = launch_with(f, 0, 4);
	memset(untouched, 0xee, sizeof(untouched));
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned src = cases[i].src, dst = cases[i].dst, len = cases[i].len;
		uint8_t expected[4 * PAGE];
		struct kvm_sev_dbg dbg = {.src_uaddr = (uintptr_t)memory + src,
					  .dst_uaddr = (uintptr_t)out + dst,
					  .len = len};

		memset(out, 0xee, sizeof(untouched));
		assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, &dbg, NULL), 0);
		assert_memory_equal(out + dst, plain + src, len);
		assert_memory_equal(out, untouched, dst);
		assert_memory_equal(out + dst + len, untouched, sizeof(untouched) - dst - len);

		/* The other way: bytes of out into the guest. */
		fill(out, sizeof(untouched));
		for (unsigned byte = 0; byte < sizeof(untouched); byte++)
			out[byte] ^= 0x5a;
		memcpy(expected, plain, sizeof(plain));
		memcpy(expected + dst, out + src, len);
		dbg = (struct kvm_sev_dbg){.src_uaddr = (uintptr_t)out + src,
					   .dst_uaddr = (uintptr_t)memory + dst,
					   .len = len};
		assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_ENCRYPT, &dbg, NULL), 0);
		dbg = (struct kvm_sev_dbg){.src_uaddr = (uintptr_t)f->m->memory[1],
					   .dst_uaddr = (uintptr_t)out,
					   .len = sizeof(plain)};
		assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, &dbg, NULL), 0);
		assert_memory_equal(out, expected, sizeof(expected));
		memcpy(plain, expected, sizeof(plain));
	}
	vm_close(vm);
}

/* Two blocks, the last of which KVM leaves out. */
static void test_debug_quirk(void **state)
{
	struct fixture *f = *state;
	uint8_t *memory = f->m->memory[0], *out = memory + 10 * PAGE, plain[PAGE];
	struct kvm_sev_dbg dbg = {
		.src_uaddr = (uintptr_t)out, .dst_uaddr = (uintptr_t)memory + 105, .len = 16};
	struct vm *vm;

	fill(plain, sizeof(plain));
	memcpy(memory, plain, sizeof(plain));
	vm = launch_with(f, 0, 1);
	memset(out, 0x22, 16);
	memset(plain + 105, 0x22, 7);
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_ENCRYPT, &dbg, NULL), 0);
	dbg = (struct kvm_sev_dbg){
		.src_uaddr = (uintptr_t)memory, .dst_uaddr = (uintptr_t)out, .len = PAGE};
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, &dbg, NULL), 0);
	assert_memory_equal(out, plain, PAGE);
	vm_close(vm);
}

static void test_debug_checks(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = launch_with(f, PSP_POLICY_NODBG, 1);
	struct kvm_sev_dbg good = {.src_uaddr = (uintptr_t)f->m->memory[0],
				   .dst_uaddr = (uintptr_t)f->m->memory[0] + PAGE,
				   .len = 16},
			   dbg = good;
	uint32_t error = 0;

	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, NULL, NULL), -EFAULT);
	dbg.len = 0;
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, &dbg, NULL), -EINVAL);
	dbg = good;
	dbg.src_uaddr = UINT64_MAX - 3;
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, &dbg, NULL), -EINVAL);
	dbg = good;
	dbg.dst_uaddr = 0;
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_ENCRYPT, &dbg, NULL), -EINVAL);
	dbg.dst_uaddr = (uintptr_t)f->m->read_only;
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_ENCRYPT, &dbg, NULL), -ENOMEM);
	dbg = good;
	dbg.src_uaddr = BAD_ADDRESS;
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_ENCRYPT, &dbg, NULL), -ENOMEM);
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, &dbg, NULL), -ENOMEM);
	/* Both sides are pinned, by KVM. */
	f->call.memlock = PAGE;
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, &good, NULL), -ENOMEM);
	f->call.memlock = 2 * PAGE;
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, &good, &error), -EIO);
	assert_int_equal(error, PSP_POLICY_FAILURE);
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_ENCRYPT, &good, &error), -EIO);
	assert_int_equal(error, PSP_POLICY_FAILURE);
	vm_close(vm);
}

static void test_mirror_debugs(void **state)
{
	struct fixture *f = *state;
	uint8_t *memory = f->m->memory[0];
	struct vm *vm, *mirror = aux_vm(&f->call, 0);
	struct kvm_sev_dbg dbg = {.src_uaddr = (uintptr_t)memory,
				  .dst_uaddr = (uintptr_t)memory + 8 * PAGE,
				  .len = 40};
	unsigned n_doubts;
	uint8_t plain[40];

	fill(memory, PAGE);
	memcpy(plain, memory, sizeof(plain));
	vm = launch_with(f, 0, 1);
	assert_int_equal(copy_vm(&f->call, mirror, vm), 0);
	n_doubts = f->m->n_doubts;
	assert_int_equal(op(&f->call, mirror, KVM_SEV_DBG_DECRYPT, &dbg, NULL), 0);
	assert_memory_equal(memory + 8 * PAGE, plain, sizeof(plain));
	/* Its own memory, and the owner's. */
	assert_int_equal(f->m->n_doubts, n_doubts + 2);
	vm_close(vm);
	vm_close(mirror);
}

/* From one VM to another on the same chip, by way of moves of both. */

static void finish_launch(struct fixture *f, struct vm *vm)
{
	struct psp_measurement blob;
	struct kvm_sev_launch_measure measure = {.uaddr = (uintptr_t)&blob, .len = sizeof(blob)};

	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_MEASURE, &measure, NULL), 0);
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_FINISH, NULL, NULL), 0);
}

static struct vm *moved(struct fixture *f, struct vm *vm)
{
	struct vm *target = aux_vm(&f->call, 1);

	assert_int_equal(move_vm(&f->call, target, vm), 0);
	vm_close(vm);
	return target;
}

struct other_platform {
	struct psp_cert pdh;
	struct psp_chain chain;
	struct psp_session session;
};

static struct kvm_sev_send_start send_start_of(struct fixture *f, struct other_platform *other)
{
	return (struct kvm_sev_send_start){
		.pdh_cert_uaddr = (uintptr_t)&other->pdh,
		.pdh_cert_len = sizeof(other->pdh),
		.plat_certs_uaddr = (uintptr_t)&other->chain,
		.plat_certs_len = sizeof(other->chain),
		.amd_certs_uaddr = (uintptr_t)&f->m->authorities,
		.amd_certs_len = sizeof(f->m->authorities),
		.session_uaddr = (uintptr_t)&other->session,
		.session_len = sizeof(other->session),
	};
}

static void check_send_start(struct fixture *f, struct vm *vm, struct other_platform *other)
{
	struct kvm_sev_send_start start = send_start_of(f, other);
	uint32_t error = 0;

	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_START, NULL, NULL), -EFAULT);
	start.session_len = 0;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_START, &start, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_LEN);
	assert_int_equal(start.session_len, sizeof(other->session));
	start.pdh_cert_len = 0;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_START, &start, NULL), -EINVAL);
	start = send_start_of(f, other);
	start.amd_certs_uaddr = 0;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_START, &start, NULL), -EINVAL);
	start = send_start_of(f, other);
	start.session_len = SEV_BLOB_MAX + 1;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_START, &start, NULL), -EINVAL);
	start = send_start_of(f, other);
	start.plat_certs_uaddr = BAD_ADDRESS;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_START, &start, NULL), -EFAULT);
	/* Not a platform that AMD vouches for; what the firmware says of lengths comes back. */
	start = send_start_of(f, other);
	other->chain.cek.api_minor ^= 1;
	start.session_len++;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_START, &start, &error), -EIO);
	assert_int_equal(error, PSP_BAD_SIGNATURE);
	assert_int_equal(start.session_len, sizeof(other->session));
	other->chain.cek.api_minor ^= 1;
	start = send_start_of(f, other);
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_START, &start, NULL), 0);
	assert_int_equal(start.policy, 0);
	assert_int_equal(guest_status(&f->call, vm).state, PSP_GUEST_SUPDATE);
}

static void check_send_update(struct fixture *f, struct vm *vm,
			      const struct kvm_sev_send_update_data *good)
{
	struct kvm_sev_send_update_data data = *good;
	uint32_t error = 0;

	data.hdr_len = 0;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_UPDATE_DATA, &data, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_LEN);
	assert_int_equal(data.hdr_len, sizeof(struct psp_packet_header));
	data = *good;
	data.trans_uaddr = 0;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_UPDATE_DATA, &data, NULL), -EINVAL);
	data = *good;
	data.guest_uaddr += 16;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_UPDATE_DATA, &data, NULL), -EINVAL);
	data = *good;
	data.guest_len = 2 * PAGE;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_UPDATE_DATA, &data, NULL), -EINVAL);
	data = *good;
	data.trans_len = SEV_ALLOCATION_MAX + 1;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_UPDATE_DATA, &data, NULL), -ENOMEM);
	data = *good;
	data.guest_uaddr = PAGE;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_UPDATE_DATA, &data, NULL), -ENOMEM);
	data = *good;
	assert_int_equal(op(&f->call, vm, KVM_SEV_SEND_UPDATE_DATA, &data, NULL), 0);
}

static void check_receive_update(struct fixture *f, struct vm *vm,
				 const struct kvm_sev_receive_update_data *good)
{
	struct kvm_sev_receive_update_data data = *good;
	uint8_t *packet = (void *)(uintptr_t)good->trans_uaddr;
	uint32_t error = 0;

	data.hdr_len = 0;
	assert_int_equal(op(&f->call, vm, KVM_SEV_RECEIVE_UPDATE_DATA, &data, NULL), -EINVAL);
	data = *good;
	data.guest_uaddr += 16;
	assert_int_equal(op(&f->call, vm, KVM_SEV_RECEIVE_UPDATE_DATA, &data, NULL), -EINVAL);
	data = *good;
	data.guest_uaddr = (uintptr_t)f->m->read_only;
	assert_int_equal(op(&f->call, vm, KVM_SEV_RECEIVE_UPDATE_DATA, &data, NULL), -ENOMEM);
	data = *good;
	packet[7] ^= 1;
	assert_int_equal(op(&f->call, vm, KVM_SEV_RECEIVE_UPDATE_DATA, &data, &error), -EIO);
	assert_int_equal(error, PSP_BAD_MEASUREMENT);
	packet[7] ^= 1;
	assert_int_equal(op(&f->call, vm, KVM_SEV_RECEIVE_UPDATE_DATA, &data, NULL), 0);
}

static void test_send_and_receive(void **state)
{
	struct fixture *f = *state;
	uint8_t *memory = f->m->memory[0], plain[PAGE], packet[PAGE];
	struct vm *source, *target = aux_vm(&f->call, 0);
	struct psp_packet_header header;
	struct other_platform other;
	struct sev_user_data_pdh_cert_export export = {
		.pdh_cert_address = (uintptr_t)&other.pdh,
		.pdh_cert_len = sizeof(other.pdh),
		.cert_chain_address = (uintptr_t)&other.chain,
		.cert_chain_len = sizeof(other.chain),
	};
	struct kvm_sev_send_update_data data = {
		.hdr_uaddr = (uintptr_t)&header,
		.hdr_len = sizeof(header),
		.guest_uaddr = (uintptr_t)memory,
		.guest_len = PAGE,
		.trans_uaddr = (uintptr_t)packet,
		.trans_len = PAGE,
	};
	struct kvm_sev_receive_update_data received = {
		.hdr_uaddr = (uintptr_t)&header,
		.hdr_len = sizeof(header),
		.guest_uaddr = (uintptr_t)memory + 9 * PAGE,
		.guest_len = PAGE,
		.trans_uaddr = (uintptr_t)packet,
		.trans_len = PAGE,
	};
	struct kvm_sev_receive_start start = {
		.pdh_uaddr = (uintptr_t)&other.pdh,
		.pdh_len = sizeof(other.pdh),
		.session_uaddr = (uintptr_t)&other.session,
		.session_len = sizeof(other.session),
	};
	struct kvm_sev_dbg dbg = {.src_uaddr = (uintptr_t)memory + 9 * PAGE,
				  .dst_uaddr = (uintptr_t)memory + 20 * PAGE,
				  .len = PAGE};

	assert_int_equal(device(&f->call, SEV_FD, SEV_PDH_CERT_EXPORT, &export, NULL), 0);
	fill(memory, PAGE);
	memcpy(plain, memory, PAGE);
	source = launch_with(f, 0, 1);
	finish_launch(f, source);
	source = moved(f, source);
	check_send_start(f, source, &other);
	assert_int_equal(op(&f->call, source, KVM_SEV_SEND_CANCEL, NULL, NULL), 0);
	assert_int_equal(guest_status(&f->call, source).state, PSP_GUEST_RUNNING);
	check_send_start(f, source, &other);
	source = moved(f, source);
	check_send_update(f, source, &data);
	assert_int_equal(op(&f->call, source, KVM_SEV_SEND_FINISH, NULL, NULL), 0);
	source = moved(f, source);
	assert_int_equal(guest_status(&f->call, source).state, PSP_GUEST_SENT);

	assert_int_equal(op(&f->call, target, KVM_SEV_INIT, NULL, NULL), 0);
	start.session_len = 0;
	assert_int_equal(op(&f->call, target, KVM_SEV_RECEIVE_START, &start, NULL), -EINVAL);
	start.session_len = sizeof(other.session);
	start.pdh_uaddr = BAD_ADDRESS;
	assert_int_equal(op(&f->call, target, KVM_SEV_RECEIVE_START, &start, NULL), -EFAULT);
	start.pdh_uaddr = (uintptr_t)&other.pdh;
	assert_int_equal(op(&f->call, target, KVM_SEV_RECEIVE_START, &start, NULL), 0);
	assert_int_equal(guest_status(&f->call, target).handle, start.handle);
	target = moved(f, target);
	check_receive_update(f, target, &received);
	target = moved(f, target);
	assert_int_equal(op(&f->call, target, KVM_SEV_RECEIVE_FINISH, NULL, NULL), 0);
	assert_int_equal(guest_status(&f->call, target).state, PSP_GUEST_RUNNING);
	assert_int_equal(op(&f->call, target, KVM_SEV_DBG_DECRYPT, &dbg, NULL), 0);
	assert_memory_equal(memory + 20 * PAGE, plain, PAGE);
	vm_close(source);
	vm_close(target);
}

static void test_fragments(void **state)
{
	struct fixture *f = *state;
	struct kvm_sev_dbg dbg = {.src_uaddr = (uintptr_t)f->m->memory[0] + 1,
				  .dst_uaddr = (uintptr_t)f->m->memory[0] + 30 * PAGE,
				  .len = 3 * PAGE};
	uint8_t plain[4 * PAGE];
	struct vm *vm;

	f->m->is_fragmented = true;
	fill(f->m->memory[0], sizeof(plain));
	memcpy(plain, f->m->memory[0], sizeof(plain));
	vm = launch_with(f, 0, 4);
	assert_int_equal(n_commands(f->m, PSP_LAUNCH_UPDATE_DATA), 4);
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, &dbg, NULL), 0);
	assert_memory_equal(f->m->memory[0] + 30 * PAGE, plain + 1, 3 * PAGE);
	vm_close(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_regions, setup),	 CASE(test_debug, setup_without_quirks),
		CASE(test_debug_quirk, setup),	 CASE(test_debug_checks, setup),
		CASE(test_mirror_debugs, setup), CASE(test_send_and_receive, setup),
		CASE(test_fragments, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
