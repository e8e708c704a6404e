// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A confidential guest is not stopped for an upgrade that KVM would refuse.  Where that can be
 * arranged, KVM is asked as well, to see that it does refuse.  Needs a host with SEV whose secure
 * processor fails on demand: the rig.  On softkvm, what leaves the machine as it is.
 *
 * The first half uses the library, for VMs that vmrelay does not make; the second the program.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vmrelay/vmrelay.h>

#include "harness.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "lib/vm.h"

#define WAIT_MS	      30000
#define PARAMETERS    "/sys/module/vmrelay_ccp/parameters/"
#define GUEST_STATUS  "35" /* publication 55766, table 6 */
#define POLICY_ES     (1U << 2)
#define GROUPS	      "/sys/fs/cgroup"
#define PANIC_ON_WARN "/proc/sys/kernel/panic_on_warn"

static const char *const kinds[] = {"sev", "sev-es"};
static const char *const options[] = {"--memory", "16M", NULL};

static bool write_file(const char *path, const char *text)
{
	autofd fd = open(path, O_WRONLY | O_CLOEXEC);

	return check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text),
		     "writing '%s' to %s failed: %m", text, path);
}

/*
 * By the library.
 */

static int kvm_fd, sev_fd;
static struct vmr_error error;

#define must(call) check((call) >= 0, "%s", error.text)

/* A VM with vCPUs and nothing else; a launch begins if it is confidential. */
static struct vmr_vm *create_vm(enum vmr_confidential kind, unsigned n_vcpus)
{
	const struct vmr_sev_launch launch = {.policy = kind == VMR_CONFIDENTIAL_SEV_ES ? POLICY_ES
											: 0};
	struct vmr_vm *vm = NULL;
	unsigned index;

	(void)must(vmr_vm_create(kvm_fd, 0, &vm, &error));
	if (kind != VMR_CONFIDENTIAL_NONE)
		(void)must(vmr_sev_init(vm, kind, sev_fd, &error));
	for (unsigned i = 0; i < n_vcpus; i++)
		(void)must(vmr_vm_create_vcpu(vm, i, &index, &error));
	if (kind != VMR_CONFIDENTIAL_NONE)
		(void)must(vmr_sev_launch_start(vm, &launch, &error));
	return vm;
}

static void measure(struct vmr_vm *vm)
{
	uint8_t measurement[VMR_SEV_MEASUREMENT_SIZE];

	(void)must(vmr_sev_launch_measure(vm, measurement, &error));
}

static void finish(struct vmr_vm *vm)
{
	(void)must(vmr_sev_launch_finish(vm, &error));
	(void)must(vmr_vm_complete(vm, &error));
}

static struct vmr_vm *launch_vm(enum vmr_confidential kind, unsigned n_vcpus)
{
	struct vmr_vm *vm = create_vm(kind, n_vcpus);

	if (kind == VMR_CONFIDENTIAL_SEV_ES)
		(void)must(vmr_sev_launch_update_vmsa(vm, &error));
	measure(vm);
	finish(vm);
	return vm;
}

/* Ask for a relay: 0, or the reason in `error`. */
static int ask(struct vmr_vm *vm)
{
	struct vmr_source_config config = {.version = "test", .target_pidfd = -1};
	struct vmr_source *source = NULL;
	int sock[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0)
		return -errno;
	config.sock = sock[0];
	r = vmr_source_new(vm, &config, &source, &error);
	(void)vmr_source_free(source);
	close_fd(sock[1]);
	return r;
}

static void expect_refusal(struct vmr_vm *vm, const char *words)
{
	int r = ask(vm);

	(void)check(r < 0 && strstr(error.text, words), "%d, not '%s': %s", r, words,
		    r < 0 ? error.text : "it was accepted");
}

static void expect_move(const struct vmr_vm *to, const struct vmr_vm *from, int expected)
{
	int r = kvm_vm_move_enc_context_from(vmr_vm_fd(to), vmr_vm_fd(from));

	(void)check(r == expected, "KVM moves it with %d, not %d", r, expected);
}

static uint32_t state_of(const struct vmr_vm *vm)
{
	struct vmr_sev_status status = {.state = VMR_SEV_UNINIT};

	(void)must(vmr_sev_status(vm, &status, &error));
	return status.state;
}

static void test_launch(void)
{
	for (unsigned i = 0; i < 2; i++) {
		enum vmr_confidential kind =
			i == 0 ? VMR_CONFIDENTIAL_SEV : VMR_CONFIDENTIAL_SEV_ES;
		struct vmr_vm *vm = create_vm(kind, 1);

		(void)must(vmr_vm_complete(vm, &error));
		expect_refusal(vm, "still being launched");
		(void)check(state_of(vm) == VMR_SEV_LUPDATE, "the launch was harmed");
		if (kind == VMR_CONFIDENTIAL_SEV_ES)
			(void)must(vmr_sev_launch_update_vmsa(vm, &error));
		measure(vm);
		expect_refusal(vm, "still being launched");
		(void)check(state_of(vm) == VMR_SEV_LSECRET, "the launch was harmed");

		/* The library's record may be wrong; the secure processor knows. */
		vm->sev.is_launched = true;
		expect_refusal(vm, "waits for its secrets");
		vm->sev.is_launched = false;
		(void)must(vmr_sev_launch_finish(vm, &error));
		(void)check(state_of(vm) == VMR_SEV_RUNNING && ask(vm) == 0, "%s", error.text);

		vm->sev.handle++;
		expect_refusal(vm, "the secure processor has guest");
		vm->sev.handle--;
		(void)vmr_vm_free(vm);
	}
	h_test("a launch in the middle of which an upgrade is asked for goes on");
}

static void test_vcpus(void)
{
	struct vmr_vm *vm = create_vm(VMR_CONFIDENTIAL_SEV_ES, 1);
	struct vmr_vm *two = create_vm(VMR_CONFIDENTIAL_NONE, 2);
	unsigned index;

	(void)must(vmr_sev_launch_update_vmsa(vm, &error));
	(void)must(vmr_vm_create_vcpu(vm, 1, &index, &error));
	measure(vm);
	finish(vm);
	expect_refusal(vm, "vCPU 1 of the SEV-ES guest");
	expect_move(two, vm, -EINVAL);
	(void)vmr_vm_free(vm);

	/* What a target with another number of vCPUs is refused for. */
	vm = launch_vm(VMR_CONFIDENTIAL_SEV_ES, 1);
	(void)check(ask(vm) == 0, "%s", error.text);
	expect_move(two, vm, -EINVAL);
	(void)check(state_of(vm) == VMR_SEV_RUNNING, "a refused move has changed something");
	(void)vmr_vm_free(vm);
	(void)vmr_vm_free(two);
	h_test("vCPUs that KVM would not move");
}

static void test_mirrors(void)
{
	struct vmr_vm *owner = launch_vm(VMR_CONFIDENTIAL_SEV, 1);
	struct vmr_vm *mirror = create_vm(VMR_CONFIDENTIAL_NONE, 0);
	struct vmr_vm *hidden = create_vm(VMR_CONFIDENTIAL_NONE, 0);
	const struct kvm_enable_cap copy = {.cap = KVM_CAP_VM_COPY_ENC_CONTEXT_FROM,
					    .args = {(uint64_t)vmr_vm_fd(owner)}};
	unsigned index;

	(void)must(vmr_vm_enable_cap(mirror, &copy, &error));
	(void)must(vmr_vm_create_vcpu(mirror, 0, &index, &error));
	(void)must(vmr_vm_complete(mirror, &error));
	expect_refusal(mirror, "is a mirror");

	vmr_sev_set_mirrored(owner, true);
	expect_refusal(owner, "another VM mirrors");
	vmr_sev_set_mirrored(owner, false);
	(void)check(ask(owner) == 0, "%s", error.text);

	/* Past the library. */
	(void)check(kvm_vm_enable_cap(vmr_vm_fd(hidden), &copy) == 0, "KVM makes no mirror");
	(void)must(vmr_vm_create_vcpu(hidden, 0, &index, &error));
	(void)must(vmr_vm_complete(hidden, &error));
	expect_refusal(hidden, "not launched by libvmrelay");

	(void)vmr_vm_free(hidden);
	(void)vmr_vm_free(mirror);
	(void)vmr_vm_free(owner);
	h_test("mirrors");
}

/* May this process lock memory, or pin it? */
static bool may_lock_nothing(void)
{
	const struct rlimit none = {0, 0};
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || syscall(SYS_capget, &header, data) < 0)
		return false;
	data[0].effective &= ~(1U << CAP_IPC_LOCK);
	return syscall(SYS_capset, &header, data) == 0;
}

/* Why RLIMIT_MEMLOCK is not checked: a move counts no pages, for whichever process. */
static void test_memlock(void)
{
	const size_t size = 1U << 20;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct vmr_vm *vm = create_vm(VMR_CONFIDENTIAL_SEV, 1);
	int status = -1;

	(void)must(vmr_sev_register_region(vm, memory, size, &error));
	measure(vm);
	finish(vm);

	pid_t pid = fork();

	if (pid == 0) {
		struct vmr_vm *target = create_vm(VMR_CONFIDENTIAL_NONE, 1);
		bool ok = may_lock_nothing() &&
			  kvm_vm_move_enc_context_from(vmr_vm_fd(target), vmr_vm_fd(vm)) == 0 &&
			  vmr_sev_register_region(target, memory, size, &error) == -ENOMEM;

		_exit(ok ? 0 : 1);
	}
	(void)check(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0,
		    "the move, or what should fail after it: status %d", status);
	(void)vmr_vm_free(vm);
	(void)munmap(memory, size);
	h_test("a move by a process that may not lock memory");
}

/*
 * By the program.
 */

/* An upgrade that is refused, of which the guest notices nothing. */
static void expect_refused(const struct h_vm *vm, const char *program, const char *option,
			   const char *words)
{
	int before = h_vm_pid(vm), status;
	json_t *result = NULL;
	char *state;

	status = h_vmrelay(&result, "upgrade", vm->name, "--json", "--vmm", program, option);
	(void)check(status == 5, "'%s': exit code %d", words, status);
	(void)h_error_has(result, words);
	json_decref(result);

	state = h_vm_state(vm);
	(void)check(strcmp(state, "running") == 0, "'%s': the VM is %s", words, state);
	free(state);
	(void)check(h_vm_pid(vm) == before, "'%s': another process runs the guest", words);
	(void)check(h_vm_is_alive(vm) && h_vm_ticks(vm), "'%s': the guest does not go on", words);
	(void)check(h_processes_are(1), "'%s': a process is left", words);
}

static bool start(struct h_vm *vm, const char *kind, const char *fault)
{
	bool ok;

	(void)setenv("VMRELAY_CONFIDENTIAL", kind, 1);
	h_set_fault(fault);
	ok = h_vm_start(vm, fault ? h_build("vmrelay-faulty") : h_program(), 1, NULL, options);
	h_set_fault(NULL);
	return ok;
}

static void stop(struct h_vm *vm, const char *program, const char *name)
{
	(void)check(h_vm_upgrade(vm, program) > 0, "no upgrade is possible afterwards");
	(void)check(h_vm_is_alive(vm) && h_vm_ticks(vm), "the guest does not go on");
	h_vm_stop(vm);
	h_test("%s", name);
}

static void test_host(void)
{
	struct h_vm vm;

	if (start(&vm, "sev", "other-boot,other-kernel")) {
		expect_refused(&vm, h_program(), NULL, "another boot");
		expect_refused(&vm, h_program(), NULL, "another kernel");
	}
	stop(&vm, h_program(), "a source on another boot or kernel");
}

static void test_devices(const char *kind)
{
	struct h_vm vm;

	if (start(&vm, kind, NULL)) {
		(void)check(rename("/dev/sev", "/dev/no-sev") == 0, "rename: %m");
		expect_refused(&vm, h_program(), "--check", "opening /dev/sev");
		expect_refused(&vm, h_program(), NULL, "opening /dev/sev");
		(void)check(rename("/dev/no-sev", "/dev/sev") == 0, "rename: %m");

		(void)write_file(PARAMETERS "fail_command", GUEST_STATUS);
		expect_refused(&vm, h_program(), NULL, "GUEST_STATUS failed: the secure processor");
		/* Of a guest that was moved, which KVM asks by another file descriptor. */
		(void)check(h_vm_upgrade(&vm, NULL) > 0, "the upgrade failed");
		(void)write_file(PARAMETERS "fail_command", GUEST_STATUS);
		expect_refused(&vm, h_program(), NULL, "GUEST_STATUS failed: the secure processor");
	}
	stop(&vm, NULL,
	     strcmp(kind, "sev") == 0 ? "sev: a missing device, a failing secure processor"
				      : "sev-es: a missing device, a failing secure processor");
}

/* The exit code of a command, and the number of warnings in its JSON. */
static int warned(const struct h_vm *vm, const char *verb, const char *option, size_t *ret)
{
	json_t *result = NULL;
	int status = h_vmrelay(&result, verb, vm->name, "--json", option);

	*ret = json_array_size(json_object_get(result, "warnings"));
	json_decref(result);
	return status;
}

static void test_kernel(void)
{
	static const char known[] = "this kernel (6.1.50) has CVE-2023-54296: ";
	char command[600], output[4096] = "";
	struct h_process upgrade;
	struct h_vm vm;
	size_t n = 0;
	int status;

	if (start(&vm, "sev-es", NULL)) {
		/* The kernel that the rig has may be one of those that it would be warned of. */
		status = warned(&vm, "upgrade", "--check", &n);
		(void)check(status == 0, "exit code %d", status);
		status = h_vmrelay(NULL, "upgrade", vm.name, "--strict");
		(void)check(status == (n == 0 ? 0 : 5), "exit code %d, %zu warnings", status, n);

		/* The new VMM believes to be on an older one, four times. */
		h_set_fault("old-kernel,old-kernel,old-kernel,old-kernel");
		(void)check(h_vm_upgrade(&vm, h_build("vmrelay-faulty")) > 0, "no upgrade");
		h_set_fault(NULL);
		expect_refused(&vm, h_program(), "--strict", known);
		status = warned(&vm, "rollback", "--strict", &n);
		(void)check(status == 5, "exit code %d of rollback", status);
		status = warned(&vm, "upgrade", "--check", &n);
		(void)check(status == 0 && n == 3, "exit code %d, %zu warnings", status, n);
		(void)snprintf(command, sizeof(command), "%s upgrade %s 2>&1 >/dev/null",
			       h_program(), vm.name);
		h_start(&upgrade, "/bin/sh", "-c", command);
		(void)check(h_expect(&upgrade, output, sizeof(output), known, WAIT_MS),
			    "on standard error: %s", output);
		status = h_wait(&upgrade, WAIT_MS);
		(void)check(status == 0, "exit code %d", status);
	}
	stop(&vm, NULL, "a kernel with known defects");
}

static int find_stopped(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int pid = -1;

	while (proc && pid < 0 && (entry = readdir(proc)))
		if (h_process_state(atoi(entry->d_name)) == 'T')
			pid = atoi(entry->d_name);
	if (proc)
		(void)closedir(proc);
	return pid;
}

/* An upgrade that comes while the launch is in the middle has no effect on it. */
static void test_interrupted_launch(void)
{
	struct h_vm vm = {.name = "launched", .cpus = 1};
	struct h_process run;
	int pid = -1;

	h_set_fault("launch-measured:stop");
	h_start(&run, h_build("vmrelay-faulty"), "run", "--detach", "--name", vm.name, "--kernel",
		h_guest("ticker"), "--memory", "16M", "--sev-es");
	h_set_fault(NULL);
	for (unsigned ms = 0; ms < WAIT_MS && pid < 0; ms++) {
		pid = find_stopped();
		h_sleep_ms(1);
	}
	(void)check(pid > 0, "the launch does not come to its middle");
	(void)check(h_vmrelay(NULL, "upgrade", vm.name) != 0, "an upgrade was done in the middle");
	(void)check(h_process_state(pid) == 'T', "the launch goes on");
	(void)kill(pid, SIGCONT);
	(void)check(h_wait(&run, WAIT_MS) == 0, "run failed");
	if (h_vm_watch(&vm)) {
		(void)check(h_vm_pid(&vm) == pid, "another process runs the guest");
		(void)check(h_vm_upgrade(&vm, NULL) > 0, "the upgrade failed");
	}
	h_vm_stop(&vm);
	h_test("an upgrade in the middle of a launch");
}

/*
 * Control groups, last: for SEV-ES guests KVM accounts them wrongly, which the kernel says aloud.
 */

static bool enter_group(const char *group)
{
	char path[64];

	(void)snprintf(path, sizeof(path), GROUPS "/%s/cgroup.procs", group);
	return write_file(path, "0");
}

static bool limit(const char *group, const char *max)
{
	char path[64];

	(void)snprintf(path, sizeof(path), GROUPS "/%s/misc.max", group);
	return write_file(path, max);
}

/* As KVM counts: -1 is possible. */
static long long usage(const char *group, const char *resource)
{
	char path[64], key[16];
	unsigned long long value;
	long long ret = -1000;
	FILE *file;

	(void)snprintf(path, sizeof(path), GROUPS "/%s/misc.current", group);
	file = fopen(path, "re");
	while (file && fscanf(file, "%15s %llu", key, &value) == 2)
		if (strcmp(key, resource) == 0)
			ret = (long long)value;
	if (file)
		(void)fclose(file);
	return ret;
}

static bool make_groups(void)
{
	return check((mkdir(GROUPS, 0755) == 0 || errno == EEXIST) &&
			     mount("none", GROUPS, "cgroup2", 0, NULL) == 0,
		     "mounting cgroup2 failed: %m") &&
	       write_file(GROUPS "/cgroup.subtree_control", "+misc") &&
	       check(mkdir(GROUPS "/a", 0755) == 0 && mkdir(GROUPS "/b", 0755) == 0 &&
			     mkdir(GROUPS "/b/plain", 0755) == 0,
		     "making control groups failed: %m");
}

/* What KVM itself says to a charge that does not fit. */
static void test_charge_by_kvm(void)
{
	for (unsigned i = 0; i < 2; i++) {
		(void)enter_group("a");

		struct vmr_vm *vm =
			launch_vm(i == 0 ? VMR_CONFIDENTIAL_SEV : VMR_CONFIDENTIAL_SEV_ES, 1);
		struct vmr_vm *target = create_vm(VMR_CONFIDENTIAL_NONE, 1);

		/* For both kinds it is "sev" that is charged. */
		(void)limit("b", "sev 0");
		(void)limit("b", "sev_es max");
		(void)enter_group("b");
		expect_move(target, vm, -EBUSY);
		(void)check(usage("a", i == 0 ? "sev" : "sev_es") == 1 && usage("b", "sev") == 0,
			    "a refused move has changed the charges");
		(void)enter_group("a");
		expect_move(target, vm, 0);
		(void)vmr_vm_free(target);
		(void)vmr_vm_free(vm);
		(void)check(usage("a", i == 0 ? "sev" : "sev_es") == 0, "a charge is left");
	}
	h_test("KVM's own refusal of a charge");
}

static void test_groups(const char *kind)
{
	bool is_es = strcmp(kind, "sev-es") == 0;
	struct h_vm vm;

	(void)enter_group("a");
	if (start(&vm, kind, NULL)) {
		/* The target is started in the group of who asks, or charged in the one above. */
		(void)enter_group("b/plain");
		(void)limit("b", "sev 0");
		expect_refused(&vm, h_program(), "--check",
			       "control group /b, in which the target");
		expect_refused(&vm, h_program(), NULL, "control group /b, in which the target");

		/* Nor if the source could not take the guest back. */
		(void)limit("b", "sev 1");
		if (!is_es) {
			(void)limit("a", "sev 0");
			expect_refused(&vm, h_program(), NULL,
				       "control group /a, in which the source");
			(void)limit("a", "sev max");
		} else {
			(void)write_file(PANIC_ON_WARN, "1");
			expect_refused(&vm, h_program(), NULL, "panics on warnings");
			(void)write_file(PANIC_ON_WARN, "0");
		}

		(void)check(h_vm_upgrade(&vm, NULL) > 0, "there is room, but no upgrade");
		(void)check(usage("a", "sev") == (is_es ? -1 : 0) && usage("b", "sev") == 1,
			    "%lld units are in a, %lld in b", usage("a", "sev"), usage("b", "sev"));
		/* Within its group, it needs no room. */
		(void)check(h_vm_upgrade(&vm, NULL) > 0, "no upgrade within the group");
		/* A target that dies when the guest was moved: it comes back to where it is
		 * charged. */
		(void)enter_group("a");
		h_set_fault("target-moved:kill");
		(void)check(h_vmrelay(NULL, "upgrade", vm.name, "--vmm",
				      h_build("vmrelay-faulty")) == 6,
			    "the guest was not taken back");
		h_set_fault(NULL);
		(void)check(usage("b", "sev") == 1, "%lld units are in b", usage("b", "sev"));
	}
	stop(&vm, NULL, is_es ? "sev-es: control groups" : "sev: control groups");
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");

	/* Some of it takes devices away, stops others' processes and mounts: in the rig only. */
	bool is_rig = access("/dev/sev", R_OK | W_OK) == 0 && access(PARAMETERS, F_OK) == 0;

	if (!is_rig && !getenv("SOFTKVM_SOCKET"))
		return h_skip_all("this is not the rig with SEV, and not softkvm");
	h_init();
	kvm_fd = kvm_system_open();
	sev_fd = open("/dev/sev", O_RDWR | O_CLOEXEC);
	test_launch();
	test_vcpus();
	test_mirrors();
	test_memlock();
	test_host();
	test_kernel();
	for (unsigned i = 0; is_rig && i < 2; i++)
		test_devices(kinds[i]);
	if (is_rig)
		test_interrupted_launch();
	if (is_rig && make_groups()) {
		test_charge_by_kvm();
		for (unsigned i = 0; i < 2; i++)
			test_groups(kinds[i]);
	}
	close_fd(sev_fd);
	close_fd(kvm_fd);
	return h_done();
}
