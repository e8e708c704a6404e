// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is checked before a confidential guest is stopped, as far as a host without SEV can show it;
 * tests/scenario/test_preflight.c has a KVM that refuses by itself.
 */
#include "lib/preflight.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "machine.h"
#include "util.h"

#define N_VCPUS 2

static struct vmr_error error;

static void expect(int r, int code, const char *words)
{
	assert_int_equal(r, code);
	assert_int_equal(error.code, code);
	if (!strstr(error.text, words))
		fail_msg("'%s' is not in '%s'", words, error.text);
}

static void test_host(void **state)
{
	struct preflight_host host, same;

	(void)state;
	memset(&host, 0xff, sizeof(host));
	assert_int_equal(preflight_this_host(&host, &error), 0);
	assert_int_equal(preflight_same_host(&host, &error), 0);
	assert_int_equal(strlen(host.boot_id), 36);

	same = host;
	same.boot_id[0] ^= 1;
	expect(preflight_same_host(&same, &error), -EXDEV, "another boot");
	same = host;
	same.boot_id[36] = 'x';
	expect(preflight_same_host(&same, &error), -EXDEV, "another boot");
	same = host;
	memset(same.boot_id, 'x', sizeof(same.boot_id));
	expect(preflight_same_host(&same, &error), -EXDEV, "another boot");
	same = host;
	same.kernel[0] ^= 1;
	expect(preflight_same_host(&same, &error), -EXDEV, "another kernel");
	same = host;
	memset(same.kernel, 'x', sizeof(same.kernel));
	expect(preflight_same_host(&same, &error), -EXDEV, "another kernel");
}

static void test_cpuid(void **state)
{
	static const struct {
		uint32_t function, eax;
		bool has_sev, has_es;
	} rows[] = {
		{0x8000001f, 0x0, false, false}, {0x8000001f, 0x1, false, false},
		{0x8000001f, 0x2, true, false},	 {0x8000001f, 0xa, true, true},
		{0x8000001f, 0x8, false, false}, {0x8000001e, 0xa, false, false},
	};
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 2 * sizeof(cpuid->entries[0]));

	(void)state;
	assert_non_null(cpuid);
	assert_false(preflight_has_kind(cpuid, VMR_CONFIDENTIAL_SEV));
	cpuid->nent = 2;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		cpuid->entries[1].function = rows[i].function;
		cpuid->entries[1].eax = rows[i].eax;
		assert_int_equal(preflight_has_kind(cpuid, VMR_CONFIDENTIAL_SEV), rows[i].has_sev);
		assert_int_equal(preflight_has_kind(cpuid, VMR_CONFIDENTIAL_SEV_ES),
				 rows[i].has_es);
	}
	free(cpuid);
}

static struct machine machine;

static int setup(void **state)
{
	(void)state;
	if (!machine_why_not())
		machine_create(&machine, N_VCPUS, 8);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (machine.vm) {
		machine.vm->sev = (struct vm_sev){.fd = -1};
		machine_free(&machine);
	}
	return 0;
}

#define needs_kvm()                                                                                \
	do {                                                                                       \
		if (machine_why_not())                                                             \
			skip_because("%s", machine_why_not());                                     \
	} while (0)

/* A relay of the machine that is refused at once, and takes the fds over nevertheless. */
static void expect_refusal(int code, const char *words)
{
	struct vmr_source_config config = {.version = "test", .target_pidfd = -1};
	struct vmr_source *source = NULL;
	unsigned n_open = count_fds();
	int sock[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);
	config.sock = sock[0];
	expect(vmr_source_new(machine.vm, &config, &source, &error), code, words);
	assert_null(source);
	(void)close(sock[1]);
	assert_int_equal(count_fds(), n_open);
}

static void test_source(void **state)
{
	(void)state;
	needs_kvm();

	struct vm_sev *sev = &machine.vm->sev;

	assert_int_equal(preflight_source(machine.vm, &error), 0);

	sev->is_mirror = true;
	expect_refusal(-EOPNOTSUPP, "is a mirror");
	*sev = (struct vm_sev){.fd = -1};

	*sev = (struct vm_sev){.kind = VMR_CONFIDENTIAL_SEV_ES, .fd = -1, .is_launched = false};
	expect_refusal(-EBUSY, "still being launched");
	sev->is_launched = true;
	vmr_sev_set_mirrored(machine.vm, true);
	expect_refusal(-EBUSY, "another VM mirrors");
	vmr_sev_set_mirrored(machine.vm, false);

	/* One vCPU came after LAUNCH_UPDATE_VMSA. */
	sev->n_vmsas = N_VCPUS - 1;
	expect_refusal(-EINVAL, "vCPU 1 of the SEV-ES guest");
	sev->n_vmsas = N_VCPUS;
	/* Next it asks the secure processor; for a guest that was moved, at descriptor 0. */
	sev->is_moved = true;
	expect_refusal(-ENOTSUP, "file descriptor 0");
}

static void test_target(void **state)
{
	int r;

	(void)state;
	needs_kvm();

	struct vm_sev *sev = &machine.vm->sev;

	*sev = (struct vm_sev){.kind = VMR_CONFIDENTIAL_SEV, .fd = -1, .is_moved = true};
	r = preflight_target(machine.vm, N_VCPUS, &error);
	if (r == -EOPNOTSUPP) {
		expect(r, -EOPNOTSUPP, "the target's KVM has no SEV");
		sev->kind = VMR_CONFIDENTIAL_SEV_ES;
		expect(preflight_target(machine.vm, N_VCPUS, &error), -EOPNOTSUPP,
		       "the target's KVM has no SEV-ES");
		return;
	}
	expect(r, -ENOTSUP, "file descriptor 0");
	expect(preflight_target(machine.vm, N_VCPUS + 1, &error), -EINVAL,
	       "2 vCPUs and the confidential guest 3");
}

/* A plain VM is never told anything, whatever the kernel; for the others see test_defects.c. */
static void test_warnings(void **state)
{
	static char warnings[PREFLIGHT_WARNINGS_MAX][PREFLIGHT_WARNING_SIZE];

	(void)state;
	needs_kvm();

	struct vm_sev *sev = &machine.vm->sev;

	(void)setenv("VMRELAY_FAULT", "old-kernel", 1);
	assert_int_equal(preflight_warnings(machine.vm, warnings), 0);
	sev->kind = VMR_CONFIDENTIAL_SEV_ES;
	assert_int_equal(preflight_warnings(machine.vm, warnings), 3);
	assert_string_equal(warnings[0],
			    "this kernel (6.1.50) has CVE-2023-54296: a move takes the vCPUs of "
			    "the wrong VM, which crashes the host");
	(void)unsetenv("VMRELAY_FAULT");
}

/* The host says so to who asks for more than it has. */
static void test_launch(void **state)
{
	(void)state;
	needs_kvm();

	struct vmr_vm *vm = machine.vm;

	expect(vmr_sev_init(vm, VMR_CONFIDENTIAL_NONE, -1, &error), -EINVAL, "KVM_SEV_INIT");
	assert_int_equal(vmr_vm_confidential(vm), VMR_CONFIDENTIAL_NONE);
	if (kvm_vm_check_extension(vmr_vm_fd(vm), KVM_CAP_VM_TYPES) > 1)
		skip_because("this host may have SEV");
	for (unsigned kind = VMR_CONFIDENTIAL_SEV; kind <= VMR_CONFIDENTIAL_SEV_ES; kind++) {
		assert_true(vmr_sev_init(vm, kind, -1, &error) < 0);
		assert_int_equal(vmr_vm_confidential(vm), VMR_CONFIDENTIAL_NONE);
	}
	if (error.code == -EOPNOTSUPP)
		assert_string_equal(error.text, "this host's KVM has no SEV-ES");
}

/* What the control groups do not tell is left to KVM. */
static void test_charge(void **state)
{
	autofd pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	(void)state;
	needs_kvm();

	struct vm_sev *sev = &machine.vm->sev;
	uint64_t own = preflight_own_group();

	sev->kind = VMR_CONFIDENTIAL_SEV;
	/* Nobody, this group, another one, and a process that cannot be told. */
	sev->charged = 0;
	assert_int_equal(preflight_charge(machine.vm, pidfd, &error), 0);
	sev->charged = own;
	assert_int_equal(preflight_charge(machine.vm, pidfd, &error), 0);
	sev->charged = own + 1;
	assert_int_equal(preflight_charge(machine.vm, -1, &error), 0);
	if (access("/sys/fs/cgroup/misc.capacity", F_OK) < 0)
		assert_int_equal(preflight_charge(machine.vm, pidfd, &error), 0);
}

#define with_vm(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host), cmocka_unit_test(test_cpuid), with_vm(test_source),
		with_vm(test_target),	     with_vm(test_warnings),	   with_vm(test_launch),
		with_vm(test_charge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
