// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_launch.c - KVM_MEMORY_ENCRYPT_OP and the commands that load a guest: which check comes
 * first, what comes back; and launches that two owners of guests, who know nothing of psp/, look at
 */
#include <errno.h>
#include <linux/psp-sev.h>
#include <stdio.h>
#include <unistd.h>

#include "fixture.h"
#include "tests/unit/psp/owner.h"

#define START	KVM_SEV_LAUNCH_START
#define MEASURE KVM_SEV_LAUNCH_MEASURE

static long raw(struct fixture *f, struct vm *vm, uint32_t id, void *data, int fd)
{
	struct kvm_sev_cmd cmd = {
		.id = id, .data = (uintptr_t)data, .sev_fd = (uint32_t)fd, .error = 0xabcd};
	long result = sev_mem_enc_op(&f->call, vm, (uintptr_t)&cmd);

	assert_int_equal(cmd.error, 0xabcd);
	return result;
}

static void test_dispatch(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = aux_vm(&f->call, 0);
	static const uint32_t unknown[] = {KVM_SEV_SEND_UPDATE_VMSA,
					   KVM_SEV_RECEIVE_UPDATE_VMSA,
					   KVM_SEV_CERT_EXPORT,
					   22,
					   100,
					   UINT32_MAX};

	assert_int_equal(sev_mem_enc_op(&f->call, vm, 0), 0);
	assert_int_equal(sev_mem_enc_op(&f->call, vm, BAD_ADDRESS), -EFAULT);
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_int_equal(raw(f, vm, unknown[i], NULL, SEV_FD), -EINVAL);
	for (uint32_t id = KVM_SEV_LAUNCH_START; id < KVM_SEV_NR_MAX; id++) {
		bool is_unknown = id == KVM_SEV_SEND_UPDATE_VMSA ||
				  id == KVM_SEV_RECEIVE_UPDATE_VMSA || id == KVM_SEV_CERT_EXPORT;
		bool is_odd = id == KVM_SEV_RECEIVE_UPDATE_DATA;

		/* Whether it is a guest comes before any parameters. */
		assert_int_equal(raw(f, vm, id, NULL, -1),
				 is_unknown || is_odd ? -EINVAL : -ENOTTY);
	}
	f->m->host.sev->asids.max = 0;
	assert_int_equal(sev_mem_enc_op(&f->call, vm, 0), -ENOTTY);
	f->m->host.sev->asids.max = MAX_ASID;
	vm_close(vm);
}

static void test_init(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = aux_vm(&f->call, 0), *late = aux_vm(&f->call, 1);

	assert_int_equal(op(&f->call, late, KVM_SEV_INIT, NULL, NULL), -EINVAL);
	assert_int_equal(raw(f, vm, KVM_SEV_ES_INIT, NULL, -1), 0);
	assert_true(vm->sev.es);
	assert_int_equal(raw(f, vm, KVM_SEV_INIT, NULL, -1), -EBUSY);
	vcpu_begin(vm);
	assert_int_equal(raw(f, vm, KVM_SEV_INIT, NULL, -1), -EINVAL);
	vcpu_end(vm, 0);
	vm_close(vm);
	vm_close(late);
}

static void test_init2(void **state)
{
	struct fixture *f = *state;
	struct {
		uint64_t features;
		uint32_t flags;
		uint16_t version, pad[17];
	} params = {0}, good = {0};
	struct vm *plain = aux_vm(&f->call, 0), *sev = vm_new(f->m, SEV_VM_SEV, 0);
	struct vm *es = vm_new(f->m, SEV_VM_SEV_ES, 0);

	assert_int_equal(sizeof(params), 48);
	assert_int_equal(op(&f->call, plain, 22, &good, NULL), -EINVAL);
	assert_int_equal(op(&f->call, sev, KVM_SEV_INIT, NULL, NULL), -EINVAL);
	assert_int_equal(op(&f->call, es, KVM_SEV_ES_INIT, NULL, NULL), -EINVAL);
	assert_int_equal(op(&f->call, sev, 22, (void *)BAD_ADDRESS, NULL), -EFAULT);
	params.flags = 1;
	assert_int_equal(op(&f->call, sev, 22, &params, NULL), -EINVAL);
	params = good;
	params.features = 1 << 5;
	assert_int_equal(op(&f->call, es, 22, &params, NULL), -EINVAL);
	params = good;
	params.version = 1;
	assert_int_equal(op(&f->call, sev, 22, &params, NULL), -EINVAL);
	params.version = 3;
	assert_int_equal(op(&f->call, es, 22, &params, NULL), -EINVAL);
	params.version = 1;
	assert_int_equal(op(&f->call, es, 22, &params, NULL), 0);
	assert_int_equal(es->sev.ghcb_version, 1);
	assert_true(es->sev.es);
	assert_int_equal(op(&f->call, sev, 22, &good, NULL), 0);
	assert_false(sev->sev.es);
	assert_int_equal(op(&f->call, sev, 22, &good, NULL), -EINVAL);
	assert_int_equal(op(&f->call, sev, 101, NULL, NULL), -ENOTTY);
	assert_int_equal(op(&f->call, plain, KVM_SEV_ES_INIT, NULL, NULL), 0);
	assert_int_equal(plain->sev.ghcb_version, 1);
	assert_int_equal(op(&f->call, plain, KVM_SEV_INIT, NULL, NULL), -EINVAL);
	vm_close(plain);
	vm_close(sev);
	vm_close(es);
}

static void test_start(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = aux_vm(&f->call, 0), *plain = aux_vm(&f->call, 0);
	struct kvm_sev_launch_start start = {.policy = 1}, bad;
	uint32_t error = 0;
	uint8_t blob[16];

	assert_int_equal(op(&f->call, vm, KVM_SEV_INIT, NULL, NULL), 0);
	assert_int_equal(raw(f, vm, START, NULL, SEV_FD), -EFAULT);
	assert_int_equal(raw(f, vm, START, &start, -1), -EBADF);
	assert_int_equal(raw(f, vm, START, &start, give(&f->call, &plain->object)), -EBADF);
	bad = start;
	bad.dh_uaddr = (uintptr_t)blob;
	assert_int_equal(raw(f, vm, START, &bad, -1), -EINVAL);
	bad.dh_len = SEV_BLOB_MAX + 1;
	assert_int_equal(raw(f, vm, START, &bad, -1), -EINVAL);
	bad.dh_uaddr = BAD_ADDRESS;
	bad.dh_len = 1;
	assert_int_equal(raw(f, vm, START, &bad, -1), -EFAULT);
	bad = start;
	bad.session_uaddr = (uintptr_t)blob;
	assert_int_equal(raw(f, vm, START, &bad, -1), -EINVAL);
	/* The firmware's opinion: a guest for SEV-ES, a guest that is not there. */
	bad = start;
	bad.policy = PSP_POLICY_ES;
	assert_int_equal(op(&f->call, vm, START, &bad, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_ASID);
	assert_int_equal(guest_count(&f->call), 0);
	bad = start;
	bad.handle = 1234;
	assert_int_equal(op(&f->call, vm, START, &bad, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_GUEST);
	/* Before: no number of /dev/sev. */
	close_in(&f->call, 0);
	assert_int_equal(raw(f, vm, KVM_SEV_GUEST_STATUS, NULL, SEV_FD), -EBADF);
	assert_int_equal(op(&f->call, vm, START, &start, &error), 0);
	assert_int_equal(error, 0);
	assert_int_equal(guest_status(&f->call, vm).handle, start.handle);
	assert_int_equal(guest_status(&f->call, vm).policy, 1);
	assert_int_equal(guest_status(&f->call, vm).state, PSP_GUEST_LUPDATE);
	assert_int_equal(op(&f->call, vm, KVM_SEV_GUEST_STATUS, NULL, NULL), -EFAULT);
	/* The first one stays. */
	bad = start;
	bad.handle = 0;
	assert_int_equal(op(&f->call, vm, START, &bad, &error), -EIO);
	assert_int_equal(error, PSP_ASID_OWNED);
	assert_int_equal(guest_status(&f->call, vm).handle, start.handle);
	assert_int_equal(guest_count(&f->call), 1);
	vm_close(vm);
	vm_close(plain);
}

/* Nowhere to put the handle: the guest is given up. */
static void test_start_into_read_only(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = aux_vm(&f->call, 0);
	struct kvm_sev_launch_start *start = (void *)f->m->memory[0];
	uint32_t error = 0;

	assert_int_equal(op(&f->call, vm, KVM_SEV_INIT, NULL, NULL), 0);
	memset(start, 0, sizeof(*start));
	assert_int_equal(op(&f->call, vm, START, f->m->read_only, NULL), -EFAULT);
	assert_int_equal(guest_count(&f->call), 0);
	assert_int_equal(vm->sev.handle, 0);
	assert_null(sev_vek(vm));
	/* But the ASID was in use, and to the firmware that makes a difference. */
	assert_int_equal(op(&f->call, vm, START, start, &error), -EIO);
	assert_int_equal(error, PSP_DFFLUSH_REQUIRED);
	vm_close(vm);
}

static void test_firmware_that_fails(void **state)
{
	struct fixture *f = *state;
	struct firmware_fault *fault = &f->m->host.sev->fault;
	struct vm *vm = sev_vm(&f->call, 1);
	struct kvm_sev_guest_status status;
	uint32_t error = 0;

	*fault = (struct firmware_fault){.nth = 2, .command = PSP_GUEST_STATUS, .status = 0x17};
	assert_int_equal(op(&f->call, vm, KVM_SEV_GUEST_STATUS, &status, &error), 0);
	assert_int_equal(guest_count(&f->call), 1);
	assert_int_equal(op(&f->call, vm, KVM_SEV_GUEST_STATUS, &status, &error), -EIO);
	assert_int_equal(error, 0x17);
	assert_int_equal(op(&f->call, vm, KVM_SEV_GUEST_STATUS, &status, &error), 0);
	*fault = (struct firmware_fault){.nth = 1, .no_answer = true};
	error = 5;
	assert_int_equal(op(&f->call, vm, KVM_SEV_GUEST_STATUS, &status, &error), -ETIMEDOUT);
	assert_int_equal(error, 0);
	error = 5;
	assert_int_equal(op(&f->call, vm, KVM_SEV_GUEST_STATUS, &status, &error), -EBUSY);
	assert_int_equal(error, 5);
	vm_close(vm);
}

static void test_update_data(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = sev_vm(&f->call, 1);
	struct kvm_sev_launch_update_data data = {.uaddr = (uintptr_t)f->m->memory[0], .len = 0};
	unsigned n_doubts = f->m->n_doubts;
	uint8_t zeros[PAGE] = {0};
	uint32_t error = 0;

	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, NULL, NULL), -EFAULT);
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data, NULL), -EINVAL);
	data.len = MEMORY_LEN + 1;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data, NULL), -ENOMEM);
	data.len = PAGE;
	data.uaddr = (uintptr_t)f->m->read_only;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data, NULL), -ENOMEM);
	data.uaddr = (uintptr_t)f->m->memory[0] + 8;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_ADDRESS);
	data.uaddr -= 8;
	data.len = 8;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_LEN);
	f->call.memlock = PAGE;
	data.len = PAGE + 16;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data, NULL), -ENOMEM);
	data.len = PAGE;
	assert_memory_equal(f->m->memory[0], zeros, PAGE);
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data, &error), 0);
	assert_int_equal(error, 0);
	assert_memory_not_equal(f->m->memory[0], zeros, PAGE);
	assert_memory_equal(f->m->memory[0], f->m->memory[1], PAGE);
	assert_memory_equal(f->m->memory[0] + PAGE, zeros, PAGE);
	/* Encrypted with the key that vCPUs have, for its place in memory. */
	memory_cipher(sev_vek(vm), 0x100000000, f->m->memory[0], PAGE, false);
	assert_memory_equal(f->m->memory[0], zeros, PAGE);
	assert_true(f->m->n_doubts > n_doubts);
	assert_int_equal(vm->sev.pages_locked, 0);
	vm_close(vm);
}

static void test_update_much_data(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = sev_vm(&f->call, 1);
	struct kvm_sev_launch_update_data data = {.uaddr = (uintptr_t)f->m->memory[0],
						  .len = MEMORY_LEN - 16};
	uint8_t *zeros = calloc(1, MEMORY_LEN);

	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data, NULL), 0);
	assert_int_equal(n_commands(f->m, PSP_LAUNCH_UPDATE_DATA), 2);
	memory_cipher(sev_vek(vm), 0x100000000, f->m->memory[0], MEMORY_LEN - 16, false);
	assert_memory_equal(f->m->memory[0], zeros, MEMORY_LEN);
	free(zeros);
	vm_close(vm);
}

static void test_update_vmsa(void **state)
{
	struct fixture *f = *state;
	struct vm *sev = sev_vm(&f->call, 1), *es = aux_vm(&f->call, 0);
	struct kvm_sev_launch_start start = {.policy = PSP_POLICY_ES};
	uint32_t error = 0;
	uint8_t plain[PAGE];

	assert_int_equal(op(&f->call, sev, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, NULL), -ENOTTY);
	assert_int_equal(op(&f->call, es, KVM_SEV_ES_INIT, NULL, NULL), 0);
	assert_int_equal(op(&f->call, es, START, &start, NULL), 0);
	assert_int_equal(op(&f->call, es, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		vcpu_create(es, i);
	f->m->host.sev->fault = (struct firmware_fault){
		.nth = 2, .command = PSP_LAUNCH_UPDATE_VMSA, .status = PSP_RESOURCE_LIMIT};
	assert_int_equal(op(&f->call, es, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, &error), -EIO);
	assert_int_equal(error, PSP_RESOURCE_LIMIT);
	assert_true(es->vcpu[0]->sev.is_protected);
	assert_false(es->vcpu[1]->sev.is_protected);
	/* Again, as 6.1 allows. */
	assert_int_equal(op(&f->call, es, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, &error), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(es->vcpu[i]->sev.is_protected);
		memset(plain, (int)i + 1, sizeof(plain));
		assert_memory_not_equal(es->vcpu[i]->sev.vmsa, plain, sizeof(plain));
		memory_cipher(sev_vek(es), es->vcpu[i]->sev.vmsa_address, es->vcpu[i]->sev.vmsa,
			      PAGE, false);
		assert_memory_equal(es->vcpu[i]->sev.vmsa, plain, sizeof(plain));
	}
	vm_close(sev);
	vm_close(es);
}

static void test_update_vmsa_main(void **state)
{
	struct fixture *f = *state;
	struct vm *es = es_vm(&f->call, 1);

	assert_int_equal(op(&f->call, es, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, NULL), -EINVAL);
	vcpu_begin(es);
	assert_int_equal(op(&f->call, es, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, NULL), -EBUSY);
	vcpu_end(es, 1);
	vm_close(es);
}

static void test_measure(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = sev_vm(&f->call, 1);
	struct kvm_sev_launch_measure params = {0};
	uint8_t blob[100];
	uint32_t error = 0;

	assert_int_equal(op(&f->call, vm, MEASURE, NULL, NULL), -EFAULT);
	/* How long is it? */
	assert_int_equal(op(&f->call, vm, MEASURE, &params, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_LEN);
	assert_int_equal(params.len, 48);
	/* With a length, and no address or too little, the same is not told. */
	params.len = 100;
	assert_int_equal(op(&f->call, vm, MEASURE, &params, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_LEN);
	assert_int_equal(params.len, 100);
	params.uaddr = (uintptr_t)blob;
	params.len = 47;
	assert_int_equal(op(&f->call, vm, MEASURE, &params, &error), -EIO);
	assert_int_equal(params.len, 47);
	params.len = SEV_BLOB_MAX + 1;
	assert_int_equal(op(&f->call, vm, MEASURE, &params, NULL), -EINVAL);
	/* As many bytes as were asked for come back, then the length. */
	memset(blob, 0xff, sizeof(blob));
	params.len = 60;
	assert_int_equal(op(&f->call, vm, MEASURE, &params, &error), 0);
	assert_int_equal(params.len, 48);
	assert_int_equal(blob[59], 0);
	assert_int_equal(blob[60], 0xff);
	assert_int_equal(guest_status(&f->call, vm).state, PSP_GUEST_LSECRET);
	assert_int_equal(op(&f->call, vm, MEASURE, &params, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_GUEST_STATE);
	vm_close(vm);
}

static void test_attestation(void **state)
{
	struct fixture *f = *state;
	struct vm *vm = sev_vm(&f->call, 1);
	struct psp_report report;
	struct kvm_sev_attestation_report params = {.mnonce = "a nonce"};
	struct kvm_sev_launch_measure measure = {.uaddr = (uintptr_t)&report, .len = 48};
	uint32_t error = 0;

	assert_int_equal(op(&f->call, vm, MEASURE, &measure, NULL), 0);
	assert_int_equal(op(&f->call, vm, KVM_SEV_GET_ATTESTATION_REPORT, &params, &error), -EIO);
	assert_int_equal(error, PSP_INVALID_LEN);
	assert_int_equal(params.len, sizeof(report));
	params.uaddr = (uintptr_t)&report;
	assert_int_equal(op(&f->call, vm, KVM_SEV_GET_ATTESTATION_REPORT, &params, &error), 0);
	assert_memory_equal(report.mnonce, params.mnonce, sizeof(report.mnonce));
	vm_close(vm);
}

static void get_pdh(struct fixture *f, struct psp_cert *ret, struct psp_chain *ret_chain)
{
	struct sev_user_data_pdh_cert_export export = {
		.pdh_cert_address = (uintptr_t)ret,
		.pdh_cert_len = sizeof(*ret),
		.cert_chain_address = (uintptr_t)ret_chain,
		.cert_chain_len = sizeof(*ret_chain),
	};

	assert_int_equal(device(&f->call, SEV_FD, SEV_PDH_CERT_EXPORT, &export, NULL), 0);
}

static struct vm *start_es(struct fixture *f, const void *cert, const void *session,
			   uint32_t policy)
{
	struct kvm_sev_launch_start start = {
		.policy = policy,
		.dh_uaddr = (uintptr_t)cert,
		.dh_len = sizeof(struct psp_cert),
		.session_uaddr = (uintptr_t)session,
		.session_len = sizeof(struct psp_session),
	};
	struct vm *vm = aux_vm(&f->call, 0);

	assert_int_equal(op(&f->call, vm, KVM_SEV_ES_INIT, NULL, NULL), 0);
	vcpu_create(vm, 0);
	vcpu_create(vm, 1);
	assert_int_equal(op(&f->call, vm, START, &start, NULL), 0);
	return vm;
}

/* Three pages and two VMSAs; what the owner says they are is in ret. */
static void load(struct fixture *f, struct vm *vm, uint8_t ret[5 * PAGE])
{
	struct kvm_sev_launch_update_data data = {.uaddr = (uintptr_t)f->m->memory[0],
						  .len = 3 * PAGE};

	for (unsigned i = 0; i < 3 * PAGE; i++)
		ret[i] = (uint8_t)(i * 7 + i / PAGE);
	memcpy(f->m->memory[0], ret, 3 * PAGE);
	memset(ret + 3 * PAGE, 1, PAGE);
	memset(ret + 4 * PAGE, 2, PAGE);
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_DATA, &data, NULL), 0);
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL, NULL), 0);
}

static void measure_into(struct fixture *f, struct vm *vm, struct psp_measurement *ret)
{
	struct kvm_sev_launch_measure params = {.uaddr = (uintptr_t)ret, .len = sizeof(*ret)};

	assert_int_equal(op(&f->call, vm, MEASURE, &params, NULL), 0);
}

/* Moved between any two steps; the owner cannot tell, and sends a secret. */
static void test_owner(void **state)
{
	const uint32_t policy = PSP_POLICY_ES | PSP_POLICY_NOKS;
	struct fixture *f = *state;
	struct psp_packet_header header;
	struct psp_measurement measurement;
	struct psp_chain chain;
	struct psp_cert pdh;
	struct owner owner;
	uint8_t all[5 * PAGE], secret[32] = "what the host must not know", packet[32], found[32];
	struct kvm_sev_launch_secret params;
	struct kvm_sev_dbg dbg;
	struct vm *vm, *next;
	uint32_t error = 0;

	get_pdh(f, &pdh, &chain);
	verify_chain(&f->m->authorities, &pdh, &chain);
	owner_init(&owner, &pdh, policy);
	vm = start_es(f, &owner.cert, &owner.session, policy);
	load(f, vm, all);
	next = aux_vm(&f->call, 2);
	assert_int_equal(move_vm(&f->call, next, vm), 0);
	vm_close(vm);
	measure_into(f, next, &measurement);
	assert_true(owner_accepts(&owner, &measurement, all, sizeof(all)));

	vm = aux_vm(&f->call, 2);
	assert_int_equal(move_vm(&f->call, vm, next), 0);
	vm_close(next);
	memcpy(packet, secret, sizeof(packet));
	owner_wrap(&owner, packet, sizeof(packet), &header);
	params = (struct kvm_sev_launch_secret){
		.hdr_uaddr = (uintptr_t)&header,
		.hdr_len = sizeof(header),
		.guest_uaddr = (uintptr_t)f->m->memory[1] + 5 * PAGE - 16,
		.guest_len = sizeof(packet),
		.trans_uaddr = (uintptr_t)packet,
		.trans_len = sizeof(packet),
	};
	f->m->is_fragmented = true; /* then it may not cross a page */
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_SECRET, &params, NULL), -EINVAL);
	f->m->is_fragmented = false;
	params.hdr_len = 0;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_SECRET, &params, NULL), -EINVAL);
	params.hdr_len = sizeof(header);
	params.trans_uaddr = BAD_ADDRESS;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_SECRET, &params, NULL), -EFAULT);
	params.trans_uaddr = (uintptr_t)packet;
	packet[3] ^= 1;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_SECRET, &params, &error), -EIO);
	assert_int_equal(error, PSP_BAD_MEASUREMENT);
	packet[3] ^= 1;
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_SECRET, &params, NULL), 0);
	assert_int_equal(op(&f->call, vm, KVM_SEV_LAUNCH_FINISH, NULL, NULL), 0);
	assert_int_equal(guest_status(&f->call, vm).state, PSP_GUEST_RUNNING);

	/* The guest finds it, in the mapping of either process. */
	dbg = (struct kvm_sev_dbg){.src_uaddr = (uintptr_t)f->m->memory[0] + 5 * PAGE - 16,
				   .dst_uaddr = (uintptr_t)f->m->memory[0] + 20 * PAGE,
				   .len = sizeof(found)};
	assert_int_equal(op(&f->call, vm, KVM_SEV_DBG_DECRYPT, &dbg, NULL), 0);
	assert_memory_equal(f->m->memory[0] + 20 * PAGE, secret, sizeof(secret));
	assert_memory_not_equal(f->m->memory[0] + 5 * PAGE - 16, secret, sizeof(secret));
	vm_close(vm);
	owner_done(&owner);
}

static void write_out(const char *dir, const char *name, const void *data, size_t len)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	fclose(file);
}

static void read_in(const char *dir, const char *name, void *ret, size_t len)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_int_equal(fread(ret, 1, len, file), len);
	fclose(file);
}

/* The owner's tool: in the directory are the host's files, and the tool's own. */
static int sev_owner(const char *dir, const char *arguments)
{
	char line[1024];

	snprintf(line, sizeof(line), "cd %s && " SEV_OWNER " %s >/dev/null 2>&1", dir, arguments);
	return system(line);
}

static void test_sev_owner(void **state)
{
	struct fixture *f = *state;
	struct psp_measurement measurement;
	struct psp_session session;
	struct psp_chain chain;
	struct psp_cert pdh, cert;
	uint8_t all[5 * PAGE];
	char dir[] = "/tmp/owner-XXXXXX", line[128];
	struct vm *vm;

	assert_non_null(mkdtemp(dir));
	get_pdh(f, &pdh, &chain);
	write_out(dir, "pdh", &pdh, sizeof(pdh));
	write_out(dir, "chain", &chain, sizeof(chain));
	write_out(dir, "ark", &f->m->authorities.ark, sizeof(f->m->authorities.ark));
	write_out(dir, "ask", &f->m->authorities.ask, sizeof(f->m->authorities.ask));
	assert_int_equal(sev_owner(dir, "chain --pdh pdh --chain chain --ark ark --ask ask"), 0);
	assert_int_equal(sev_owner(dir, "session --pdh pdh --out . --policy 0x5"), 0);
	read_in(dir, "dh-cert", &cert, sizeof(cert));
	read_in(dir, "session", &session, sizeof(session));

	vm = start_es(f, &cert, &session, 5);
	load(f, vm, all);
	measure_into(f, vm, &measurement);
	write_out(dir, "data", all, sizeof(all));
	write_out(dir, "measurement", &measurement, sizeof(measurement));
	snprintf(line, sizeof(line),
		 "verify --dir . --measurement $(base64 -w0 measurement) --api %d.%d --build %d"
		 " --data data",
		 PSP_API_MAJOR, PSP_API_MINOR, PSP_BUILD);
	assert_int_equal(sev_owner(dir, line), 0);
	all[3] ^= 1;
	write_out(dir, "data", all, sizeof(all));
	assert_int_not_equal(sev_owner(dir, line), 0);
	vm_close(vm);
	snprintf(line, sizeof(line), "rm -r %s", dir);
	assert_int_equal(system(line), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_dispatch, setup),
		CASE(test_init, setup),
		CASE(test_init2, setup_main),
		CASE(test_start, setup),
		CASE(test_start_into_read_only, setup),
		CASE(test_firmware_that_fails, setup),
		CASE(test_update_data, setup),
		CASE(test_update_much_data, setup),
		CASE(test_update_vmsa, setup),
		CASE(test_update_vmsa_main, setup_main),
		CASE(test_measure, setup),
		CASE(test_attestation, setup),
		CASE(test_owner, setup),
		CASE(test_sev_owner, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
