// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The secure processor of the rig, through /dev/sev and KVM: what it says is checked by OpenSSL, as
 * the owner of a guest does it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/psp-sev.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/psp/owner.h"

#define MEMORY_LEN 0x40000U
#define SIGNED	   offsetof(struct psp_cert, signature)
#define POINTER(p) ((uint64_t)(uintptr_t)(p))

struct fixture {
	int sev;
	struct psp_ca_chain authorities;
};

static void read_cert(const char *path, struct psp_ca_cert *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, ret, sizeof(*ret)), sizeof(*ret));
	(void)close(fd);
}

/* The errno of a command, and the firmware's status. */
static int issue_by(int fd, uint32_t number, void *data, uint32_t *ret_status)
{
	struct sev_issue_cmd c = {.cmd = number, .data = POINTER(data)};
	int r = ioctl(fd, SEV_ISSUE_CMD, &c) < 0 ? errno : 0;

	if (ret_status)
		*ret_status = c.error;
	return r;
}

static int issue(const struct fixture *f, uint32_t number, void *data, uint32_t *ret_status)
{
	return issue_by(f->sev, number, data, ret_status);
}

static struct sev_user_data_status status_of(const struct fixture *f)
{
	struct sev_user_data_status status;

	assert_int_equal(issue(f, SEV_PLATFORM_STATUS, &status, NULL), 0);
	return status;
}

/* The platform as it comes. */
static int setup(void **state)
{
	static struct fixture f;

	f.sev = open("/dev/sev", O_RDWR | O_CLOEXEC);
	assert_true(f.sev >= 0);
	read_cert("/rig/ark.cert", &f.authorities.ark);
	read_cert("/rig/ask.cert", &f.authorities.ask);
	assert_int_equal(issue(&f, SEV_FACTORY_RESET, NULL, NULL), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	const struct fixture *f = *state;

	return close(f->sev);
}

static void get_chain(const struct fixture *f, struct psp_cert *ret_pdh,
		      struct psp_chain *ret_chain)
{
	struct sev_user_data_pdh_cert_export c = {POINTER(ret_pdh), sizeof(*ret_pdh),
						  POINTER(ret_chain), sizeof(*ret_chain)};

	assert_int_equal(issue(f, SEV_PDH_CERT_EXPORT, &c, NULL), 0);
}

static void test_status(void **state)
{
	const struct fixture *f = *state;
	struct sev_user_data_status status = status_of(f);

	assert_int_equal(status.api_major, 1);
	assert_int_equal(status.api_minor, 55);
	assert_int_equal(status.build, 21);
	assert_int_equal(status.state, 0); /* what a reset leaves */
	assert_int_equal(issue(f, SEV_PDH_GEN, NULL, NULL), 0);
	status = status_of(f);
	assert_int_equal(status.state, 1);
	assert_int_equal(status.flags, 0x100);
	assert_int_equal(status.guest_count, 0);
}

/* What is no command, who may not, and how long things are. */
static void test_calls(void **state)
{
	static const uint32_t for_writers[] = {SEV_FACTORY_RESET, SEV_PEK_GEN, SEV_PDH_GEN,
					       SEV_PEK_CSR, SEV_PEK_CERT_IMPORT};
	const struct fixture *f = *state;
	struct sev_user_data_pdh_cert_export chain = {0, 0, 0, 0};
	struct sev_user_data_pek_csr csr = {0, 0};
	struct sev_user_data_get_id2 id = {0, 0};
	uint8_t bytes[64] = {0}, zeros[64] = {0};
	int reader = open("/dev/sev", O_RDONLY | O_CLOEXEC);
	uint32_t status;

	for (size_t i = 0; i < sizeof(for_writers) / sizeof(for_writers[0]); i++)
		assert_int_equal(issue_by(reader, for_writers[i], NULL, NULL), EPERM);
	/* The platform needs INIT first, which is for writers, too. */
	assert_int_equal(issue_by(reader, SEV_PDH_CERT_EXPORT, &chain, NULL), EPERM);
	assert_int_equal(issue(f, 9, NULL, NULL), EINVAL);
	assert_int_equal(issue(f, 1000, NULL, NULL), EINVAL);
	assert_int_equal(ioctl(f->sev, KVM_GET_API_VERSION, 0), -1);
	assert_int_equal(errno, EINVAL);

	assert_int_equal(issue(f, SEV_PEK_CSR, &csr, &status), EIO);
	assert_int_equal(status, PSP_INVALID_LEN);
	assert_int_equal(csr.length, 2084);
	csr = (struct sev_user_data_pek_csr){POINTER(bytes), 0x4001};
	assert_int_equal(issue(f, SEV_PEK_CSR, &csr, NULL), EFAULT);
	assert_int_equal(issue(f, SEV_PEK_CSR, NULL, NULL), EFAULT);
	assert_int_equal(issue_by(reader, SEV_PDH_CERT_EXPORT, &chain, &status), EIO);
	assert_int_equal(status, PSP_INVALID_LEN);
	assert_int_equal(chain.pdh_cert_len, 2084);
	assert_int_equal(chain.cert_chain_len, 6252);
	assert_int_equal(issue_by(reader, SEV_GET_ID2, &id, &status), EIO);
	assert_int_equal(id.length, 64);
	id.address = POINTER(bytes);
	assert_int_equal(issue_by(reader, SEV_GET_ID2, &id, NULL), 0);
	assert_memory_not_equal(bytes, zeros, sizeof(bytes));
	(void)close(reader);
}

static void test_chain(void **state)
{
	const struct fixture *f = *state;
	struct psp_cert pdh, other_pdh;
	struct psp_chain chain, other;

	get_chain(f, &pdh, &chain);
	verify_chain(&f->authorities, &pdh, &chain);
	assert_int_equal(issue(f, SEV_PDH_GEN, NULL, NULL), 0);
	get_chain(f, &other_pdh, &other);
	verify_chain(&f->authorities, &other_pdh, &other);
	assert_memory_equal(&chain, &other, sizeof(chain));
	assert_memory_not_equal(&pdh.ec, &other_pdh.ec, sizeof(pdh.ec));
	assert_int_equal(issue(f, SEV_PEK_GEN, NULL, NULL), 0);
	get_chain(f, &other_pdh, &other);
	verify_chain(&f->authorities, &other_pdh, &other);
	assert_memory_not_equal(&chain.pek.ec, &other.pek.ec, sizeof(chain.pek.ec));
}

static void test_owner(void **state)
{
	const struct fixture *f = *state;
	struct psp_cert pek, oca, pdh;
	struct psp_chain chain;
	struct sev_user_data_pek_csr csr = {POINTER(&pek), sizeof(pek)};
	struct sev_user_data_pek_cert_import import = {POINTER(&pek), sizeof(pek), POINTER(&oca),
						       sizeof(oca)};
	EVP_PKEY *owner = new_ec_key("P-384", &oca, PSP_USAGE_OCA, 2);
	uint32_t status;

	oca.signature[0].usage = PSP_USAGE_OCA;
	oca.signature[0].algo = 2;
	sign_ec(owner, &oca, SIGNED, &oca.signature[0].ecdsa);
	assert_int_equal(issue(f, SEV_PEK_CSR, &csr, NULL), 0);
	pek.signature[0].usage = PSP_USAGE_OCA;
	pek.signature[0].algo = 2;
	sign_ec(owner, &pek, SIGNED, &pek.signature[0].ecdsa);
	EVP_PKEY_free(owner);

	/* The kernel's elliptic curves, as a verifier: no to this, yes to that. */
	pek.signature[0].ecdsa.r[0] ^= 1;
	assert_int_equal(issue(f, SEV_PEK_CERT_IMPORT, &import, &status), EIO);
	assert_int_equal(status, PSP_BAD_SIGNATURE);
	pek.signature[0].ecdsa.r[0] ^= 1;
	assert_int_equal(status_of(f).flags & 1, 0);
	assert_int_equal(issue(f, SEV_PEK_CERT_IMPORT, &import, NULL), 0);
	assert_int_equal(status_of(f).flags & 1, 1);
	get_chain(f, &pdh, &chain);
	verify_chain(&f->authorities, &pdh, &chain);
	assert_memory_equal(&chain.oca, &oca, sizeof(oca));
	assert_int_equal(issue(f, SEV_PEK_CERT_IMPORT, &import, &status), EIO);
	assert_int_equal(status, PSP_ALREADY_OWNED);
	import.oca_cert_len = 0;
	assert_int_equal(issue(f, SEV_PEK_CERT_IMPORT, &import, NULL), EINVAL);
}

/* A VM with memory, and KVM's SEV commands for it. */
struct vm {
	int kvm, fd, sev;
	uint8_t *memory;
};

static int op(const struct vm *vm, uint32_t id, void *data, uint32_t *ret_status)
{
	struct kvm_sev_cmd c = {.id = id, .data = POINTER(data), .sev_fd = (uint32_t)vm->sev};
	int r = ioctl(vm->fd, KVM_MEMORY_ENCRYPT_OP, &c) < 0 ? errno : 0;

	if (ret_status)
		*ret_status = c.error;
	return r;
}

static void vm_init(struct vm *vm, const struct fixture *f)
{
	struct kvm_enc_region region = {.size = MEMORY_LEN};

	vm->sev = f->sev;
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	assert_true(vm->fd >= 0);
	vm->memory =
		mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(vm->memory, MAP_FAILED);
	for (size_t i = 0; i < MEMORY_LEN; i++)
		vm->memory[i] = (uint8_t)(i * 7 + i / 4096);
	assert_int_equal(op(vm, KVM_SEV_INIT, NULL, NULL), 0);
	region.addr = POINTER(vm->memory);
	assert_int_equal(ioctl(vm->fd, KVM_MEMORY_ENCRYPT_REG_REGION, &region), 0);
}

static void vm_done(const struct vm *vm)
{
	(void)close(vm->fd);
	(void)close(vm->kvm);
	(void)munmap(vm->memory, MEMORY_LEN);
}

static struct kvm_sev_launch_start start_for(const struct owner *owner)
{
	return (struct kvm_sev_launch_start){.policy = owner->policy,
					     .dh_uaddr = POINTER(&owner->cert),
					     .dh_len = sizeof(owner->cert),
					     .session_uaddr = POINTER(&owner->session),
					     .session_len = sizeof(owner->session)};
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void test_launch(void **state)
{
	const struct fixture *f = *state;
	struct psp_measurement measurement, zeros = {{0}, {0}};
	struct kvm_sev_launch_measure measure = {0, 0};
	struct kvm_sev_launch_update_data update = {.len = MEMORY_LEN};
	struct kvm_sev_attestation_report attestation = {.len = sizeof(struct psp_report)};
	struct kvm_sev_launch_start start;
	struct kvm_sev_launch_secret secret;
	struct psp_packet_header header;
	struct kvm_sev_dbg debug = {.len = 100};
	struct psp_report report;
	struct psp_cert pdh;
	struct psp_chain chain;
	struct owner owner;
	struct vm vm;
	uint8_t packet[32] = "a secret", digest[32], seen[100];
	uint8_t *loaded = malloc(MEMORY_LEN);
	EVP_PKEY *pek;
	uint32_t status;
	uint64_t begin;

	get_chain(f, &pdh, &chain);
	owner_init(&owner, &pdh, 0);
	vm_init(&vm, f);
	memcpy(loaded, vm.memory, MEMORY_LEN);

	start = start_for(&owner);
	start.policy = PSP_POLICY_NODBG;
	assert_int_equal(op(&vm, KVM_SEV_LAUNCH_START, &start, &status), EIO);
	assert_int_equal(status, PSP_BAD_MEASUREMENT);
	start.policy = 0;
	begin = now_ms();
	assert_int_equal(op(&vm, KVM_SEV_LAUNCH_START, &start, &status), 0);
	print_message("# a start with a session took %llu ms\n",
		      (unsigned long long)(now_ms() - begin));

	update.uaddr = POINTER(vm.memory);
	begin = now_ms();
	assert_int_equal(op(&vm, KVM_SEV_LAUNCH_UPDATE_DATA, &update, &status), 0);
	print_message("# measuring %u KiB took %llu ms\n", MEMORY_LEN / 1024,
		      (unsigned long long)(now_ms() - begin));
	assert_int_equal(op(&vm, KVM_SEV_LAUNCH_MEASURE, &measure, &status), EIO);
	assert_int_equal(status, PSP_INVALID_LEN);
	assert_int_equal(measure.len, sizeof(measurement));
	measure.uaddr = POINTER(&measurement);
	assert_int_equal(op(&vm, KVM_SEV_LAUNCH_MEASURE, &measure, &status), 0);
	assert_memory_not_equal(&measurement, &zeros, sizeof(zeros));
	assert_true(owner_accepts(&owner, &measurement, loaded, MEMORY_LEN));
	loaded[77] ^= 1;
	assert_false(owner_accepts(&owner, &measurement, loaded, MEMORY_LEN));
	loaded[77] ^= 1;

	assert_true(owner_accepts(&owner, &measurement, loaded, MEMORY_LEN));
	owner_wrap(&owner, packet, sizeof(packet), &header);
	secret = (struct kvm_sev_launch_secret){
		.hdr_uaddr = POINTER(&header),
		.hdr_len = sizeof(header),
		.guest_uaddr = POINTER(vm.memory + 0x1000),
		.guest_len = sizeof(packet),
		.trans_uaddr = POINTER(packet),
		.trans_len = sizeof(packet),
	};
	packet[5] ^= 1;
	assert_int_equal(op(&vm, KVM_SEV_LAUNCH_SECRET, &secret, &status), EIO);
	assert_int_equal(status, PSP_BAD_MEASUREMENT);
	packet[5] ^= 1;
	assert_int_equal(op(&vm, KVM_SEV_LAUNCH_SECRET, &secret, &status), 0);
	assert_string_equal(vm.memory + 0x1000, "a secret"); /* plain: it is the rig */
	assert_int_equal(op(&vm, KVM_SEV_LAUNCH_FINISH, NULL, &status), 0);

	memset(attestation.mnonce, 0x33, sizeof(attestation.mnonce));
	attestation.uaddr = POINTER(&report);
	assert_int_equal(op(&vm, KVM_SEV_GET_ATTESTATION_REPORT, &attestation, &status), 0);
	pek = key_of_cert(&chain.pek);
	assert_true(is_signed_ec(pek, &report, 52, &report.signature));
	assert_memory_equal(report.mnonce, attestation.mnonce, sizeof(report.mnonce));
	assert_int_equal(EVP_Digest(loaded, MEMORY_LEN, digest, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(report.launch_digest, digest, sizeof(digest));

	debug.src_uaddr = POINTER(vm.memory + 0x1fd0); /* across pages, not aligned */
	debug.dst_uaddr = POINTER(seen);
	assert_int_equal(op(&vm, KVM_SEV_DBG_DECRYPT, &debug, &status), 0);
	assert_memory_equal(seen, loaded + 0x1fd0, sizeof(seen));
	assert_int_equal(status_of(f).guest_count, 1);
	assert_int_equal(issue(f, SEV_FACTORY_RESET, NULL, NULL), EBUSY);
	vm_done(&vm); /* and, with the last reference to the VM, the guest */
	assert_int_equal(status_of(f).guest_count, 0);
	EVP_PKEY_free(pek);
	owner_done(&owner);
	free(loaded);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_calls, setup, teardown),
		cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(test_launch, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
