// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The VMM's side of a rescue, on a real KVM: what its guardian saves when the VMM is dead, and what
 * is left when there is no rescue.  The keeper is in test_keeper.c.
 */
#include <vmrelay/rescue.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "lib/area.h"
#include "lib/offer.h"
#include "lib/section.h"
#include "machine.h"
#include "util.h"

#define VCPUS	       2
#define SECTION_DEVICE 0x8001
#define BLOB	       0x9001
#define TAG	       7
#define WAIT_MS	       10000

/* With counters (b_coverage): write them.  The guardian ends without libc, which would do that. */
extern void __gcov_dump(void) __attribute__((weak));

/* Which process did it; in memory that all share. */
struct report {
	pid_t vmm, begin, save;
};

struct fixture {
	unsigned n_open;
	struct machine machine;
	int sock[2]; /* the VMM's end, the keeper's */
	pid_t vmm;   /* a process of its own, or 0 */
	struct report *report;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){.n_open = count_fds()};
	machine_create(&f.machine, VCPUS, MACHINE_CPUID_ALL);
	f.report = mmap(NULL, sizeof(*f.report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	*state = &f;
	return f.report == MAP_FAILED ||
	       socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, f.sock) < 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->vmm > 0) {
		(void)kill(f->vmm, SIGKILL);
		(void)waitpid(f->vmm, NULL, 0);
	}
	machine_free(&f->machine);
	close_fd(f->sock[0]);
	close_fd(f->sock[1]);
	(void)munmap(f->report, sizeof(*f->report));
	if (count_fds() == f->n_open)
		return 0;
	print_error("fds leaked\n");
	return -1;
}

/* The VMM: paused, with one device. */

static bool begin(void *opaque)
{
	struct report *report = opaque;

	report->begin = (pid_t)syscall(SYS_getpid);
	return true;
}

static int save_device(void *opaque, uint16_t version, void *buf)
{
	struct report *report = opaque;

	report->save = (pid_t)syscall(SYS_getpid);
	memcpy(buf, "device", 7);
	if (__gcov_dump && report->save != report->vmm)
		__gcov_dump();
	return version == 3 ? 7 : -EINVAL;
}

static struct vmr_section device = {
	.name = "device",
	.type = SECTION_DEVICE,
	.version = 3,
	.min_version = 2,
	.max_size = 16,
	.save = save_device,
};

static int new_rescue(struct fixture *f, struct vmr_rescue **ret, struct vmr_error *ret_error)
{
	const struct vmr_rescue_config config = {
		.version = "1.2",
		.sock = f->sock[0],
		.sections = &device,
		.n_sections = 1,
		.begin = begin,
		.opaque = f->report,
	};

	device.opaque = f->report;
	return vmr_rescue_new(f->machine.vm, &config, ret, ret_error);
}

static struct vmr_rescue *arm(struct fixture *f)
{
	struct vmr_error error = {.text = ""};
	struct vmr_rescue *rescue = NULL;

	if (new_rescue(f, &rescue, &error) < 0 ||
	    vmr_rescue_add_fd(rescue, TAG, f->machine.event_fd[0]) < 0 ||
	    vmr_rescue_add_blob(rescue, BLOB, "options", 7) < 0 ||
	    vmr_rescue_arm(rescue, &error) < 0)
		fail_msg("%s", error.text);
	return rescue;
}

static bool has_guardian(struct fixture *f)
{
	struct vmr_error error;
	struct vmr_rescue *rescue;
	int r = new_rescue(f, &rescue, &error);

	if (r == 0) {
		r = vmr_rescue_arm(rescue, &error);
		(void)vmr_rescue_free(rescue);
	}
	assert_true(r == 0 || r == -ENOTSUP);
	close_fd(f->sock[0]);
	close_fd(f->sock[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, f->sock), 0);
	return r == 0;
}

#define needs_guardian(f)                                                                          \
	do {                                                                                       \
		if (!has_guardian(f))                                                              \
			skip_because("this build has no guardian");                                \
	} while (0)

/* The keeper's end. */

struct held {
	struct offered offered;
	int guardian_pidfd;
};

static void receive_all(const struct fixture *f, struct held *ret)
{
	struct vmr_error error;
	automessage m = {.n_fds = 0};

	*ret = (struct held){.offered = OFFERED_NONE, .guardian_pidfd = -1};
	assert_int_equal(channel_wait(f->sock[1], WAIT_MS, &m), 0);
	assert_int_equal(m.type, CHANNEL_OFFER);
	assert_int_equal(offered_begin(&ret->offered, &m, &error), 0);
	while (!offered_is_whole(&ret->offered)) {
		automessage more = {.n_fds = 0};

		assert_int_equal(channel_wait(f->sock[1], WAIT_MS, &more), 0);
		assert_int_equal(more.type, CHANNEL_FDS);
		assert_int_equal(offered_add_fds(&ret->offered, &more, &error), 0);
	}

	automessage keep = {.n_fds = 0};

	assert_int_equal(channel_wait(f->sock[1], WAIT_MS, &keep), 0);
	assert_int_equal(keep.type, CHANNEL_KEEP);
	assert_int_equal(keep.n_fds, 1); /* of a confidential guest there would be the VM's */
	ret->guardian_pidfd = steal_fd(&keep.fds[0]);
}

static void held_done(struct held *held)
{
	offered_done(&held->offered);
	close_fd(held->guardian_pidfd);
}

static bool ends(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, WAIT_MS) > 0;
}

static bool holds_socket(int pidfd)
{
	char path[300], line[80], target[16];
	const struct dirent *entry;
	bool found = false;
	int pid = -1;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);

	FILE *file = fopen(path, "re");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		(void)sscanf(line, "Pid: %d", &pid);
	(void)fclose(file);
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);

	DIR *dir = opendir(path);

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target));

		found |= len >= 7 && memcmp(target, "socket:", 7) == 0;
	}
	(void)closedir(dir);
	return found;
}

/* The section of a slot, copied to buf. */
static unsigned take_section(const struct held *held, unsigned slot, uint32_t type, void *buf,
			     size_t size, uint16_t *ret_version)
{
	uint8_t *bytes = malloc(held->offered.area.slot_size);
	int len = area_take(&held->offered.area, slot, AREA_WHOLE, bytes, 0);
	struct section_reader r = {bytes, len > 0 ? (size_t)len : 0};
	struct section s;
	unsigned found = 0;

	while (section_next(&r, &s) > 0)
		if (s.header.type == type && s.header.length <= size) {
			memcpy(buf, s.payload, s.header.length);
			*ret_version = s.header.version;
			found = s.header.length;
		}
	free(bytes);
	return found;
}

static struct kvm_regs registers_of(unsigned index)
{
	return (struct kvm_regs){.rax = 0x1234567 + index, .rip = 0xfff0 + index, .rflags = 2};
}

/* A VM of its own: KVM answers nobody but who made it. */
static void be_vmm(const struct fixture *f)
{
	struct fixture vmm = {.report = f->report, .sock = {f->sock[0], -1}};

	f->report->vmm = getpid();
	(void)close(f->sock[1]);
	machine_create(&vmm.machine, VCPUS, MACHINE_CPUID_ALL);
	for (unsigned i = 0; i < VCPUS; i++) {
		const struct kvm_regs regs = registers_of(i);

		assert_int_equal(kvm_vcpu_set_regs(vmr_vm_vcpu_fd(vmm.machine.vm, i), &regs), 0);
	}
	(void)arm(&vmm);
	for (;;)
		pause();
}

static void test_what_is_saved(void **state)
{
	struct fixture *f = *state;
	struct report *report = f->report;

	needs_guardian(f);
	f->vmm = fork();
	assert_int_not_equal(f->vmm, -1);
	if (f->vmm == 0)
		be_vmm(f);

	struct held held;
	uint16_t version;

	receive_all(f, &held);
	/* Or the VMM's sockets would be open for longer than the VMM lives. */
	for (unsigned ms = 0; ms < WAIT_MS && holds_socket(held.guardian_pidfd); ms++)
		(void)usleep(1000);
	assert_false(holds_socket(held.guardian_pidfd));
	assert_false(area_is_ready(&held.offered.area, 0));
	assert_int_equal(report->begin, 0);
	assert_int_equal(kill(f->vmm, SIGKILL), 0);
	assert_int_equal(wait_for(f->vmm), 128 + SIGKILL);
	f->vmm = 0;
	assert_true(ends(held.guardian_pidfd));

	/* By the guardian, and only when the VMM was dead. */

	assert_true(report->begin > 0 && report->begin != report->vmm);
	assert_int_equal(report->save, report->begin);
	assert_true(area_header(&held.offered.area)->is_paused);
	assert_true(area_header(&held.offered.area)->orphaned > 0);
	for (unsigned i = 0; i < VCPUS; i++) {
		const struct kvm_regs expected = registers_of(i);
		struct kvm_regs regs = {.rax = 0};

		assert_true(area_is_ready(&held.offered.area, i));
		assert_int_equal(
			take_section(&held, i, SECTION_REGS, &regs, sizeof(regs), &version),
			sizeof(regs));
		assert_int_equal(regs.rax, expected.rax);
		assert_int_equal(regs.rip, expected.rip);
	}

	char text[16] = "";

	assert_int_equal(take_section(&held, VCPUS, SECTION_DEVICE, text, sizeof(text), &version),
			 7);
	assert_string_equal(text, "device");
	assert_int_equal(version, 3);
	held_done(&held);
}

/* What the VMM executes does not hold the keeper's socket. */
static void test_nothing_is_inherited(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;
	struct vmr_rescue *rescue;

	bool was_open[1024];

	for (int fd = 0; fd < 1024; fd++)
		was_open[fd] = fcntl(fd, F_GETFD) >= 0;
	assert_int_equal(new_rescue(f, &rescue, &error), 0);
	for (int fd = 0; fd < 1024; fd++) {
		int flags = fcntl(fd, F_GETFD);

		if (!was_open[fd] && flags >= 0 && !(flags & FD_CLOEXEC))
			fail_msg("fd %d would be inherited", fd);
	}
	assert_null(vmr_rescue_free(rescue));
}

/* The VMM goes on without a rescue, and nothing of it is left. */
static void test_keeper_is_gone(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;
	struct vmr_rescue *rescue;
	unsigned n_open = count_fds();

	assert_int_equal(new_rescue(f, &rescue, &error), 0);
	(void)shutdown(f->sock[1], SHUT_RDWR);
	assert_int_equal(vmr_rescue_arm(rescue, &error), -EPIPE);
	assert_null(vmr_rescue_free(rescue));
	assert_int_equal(waitpid(-1, NULL, __WALL | WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(count_fds(), n_open);
	assert_int_equal(f->report->begin, 0);
}

/* The rescue ends, and the guardian with it: it saves nothing. */
static void test_end(void **state)
{
	struct fixture *f = *state;
	automessage m = {.n_fds = 0};
	struct held held;

	needs_guardian(f);

	struct vmr_rescue *rescue = arm(f);

	receive_all(f, &held);
	assert_null(vmr_rescue_free(rescue));
	assert_true(ends(held.guardian_pidfd));
	assert_int_equal(waitpid(-1, NULL, __WALL | WNOHANG), -1);
	assert_int_equal(channel_receive(f->sock[1], &m), 0);
	assert_int_equal(m.type, CHANNEL_CANCEL);
	assert_int_equal(f->report->begin, 0);
	assert_false(area_is_ready(&held.offered.area, 0));
	held_done(&held);
}

/* What cannot be relayed cannot be rescued. */
static void test_refused(void **state)
{
	struct fixture *f = *state;
	struct vmr_memory_slot slot = *vmr_vm_memory_slot(f->machine.vm, 0);
	struct vmr_rescue *rescue = NULL;
	unsigned n_open = count_fds();
	struct vmr_error error;

	slot.slot = 9;
	slot.gpa = 0x40000000;
	slot.fd = -1;
	assert_int_equal(vmr_vm_set_memory(f->machine.vm, &slot, &error), 0);
	assert_int_equal(new_rescue(f, &rescue, &error), -EINVAL);
	assert_string_equal(error.text,
			    "guest memory is private to this process and cannot be shared");
	assert_null(rescue);
	assert_int_equal(count_fds(), n_open);
}

#define full(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		full(test_what_is_saved),  full(test_nothing_is_inherited),
		full(test_keeper_is_gone), full(test_end),
		full(test_refused),
	};
	const char *why_not = machine_why_not();

	if (why_not) {
		(void)printf("1..0 # SKIP %s\n", why_not);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
