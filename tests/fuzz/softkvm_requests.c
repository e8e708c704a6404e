// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A client of softkvm that speaks to the host without the library: ioctls of all devices, answers
 * to the host's questions, nonsense, and an end at any time.
 *
 * The host runs on the fuzzer's thread and ends with the client, so that what it has leaked is
 * seen.  Guests run in the memory that the client shares, descriptor 0 of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "input.h"
#include "kvm/cleanup.h"
#include "psp/provision.h"
#include "softkvm/host/host.h"
#include "softkvm/kvm/vm.h"
#include "softkvm/memory/memory.h"
#include "softkvm/sev/sev.h"
#include "softkvm/wire.h"

#define MEMORY_SIZE   (1u << 20)
#define STEPS_MAX     48
#define QUESTIONS_MAX 64
#define PATIENCE_MS   20 /* then the call is interrupted, and then given up */

enum { FD_MEMORY, FD_EVENT, FD_FIRST_OF_HOST, FDS = 12 };

static const uint32_t requests[] = {
	/* /dev/kvm */
	KVM_GET_API_VERSION,
	KVM_CREATE_VM,
	KVM_CHECK_EXTENSION,
	KVM_GET_VCPU_MMAP_SIZE,
	KVM_GET_SUPPORTED_CPUID,
	KVM_GET_MSR_INDEX_LIST,
	KVM_GET_MSR_FEATURE_INDEX_LIST,
	KVM_GET_MSRS,
	KVM_X86_GET_MCE_CAP_SUPPORTED,
	/* a VM */
	KVM_CREATE_VCPU,
	KVM_SET_USER_MEMORY_REGION,
	KVM_GET_DIRTY_LOG,
	KVM_SET_TSS_ADDR,
	KVM_SET_IDENTITY_MAP_ADDR,
	KVM_SET_BOOT_CPU_ID,
	KVM_ENABLE_CAP,
	KVM_MEMORY_ENCRYPT_OP,
	KVM_MEMORY_ENCRYPT_REG_REGION,
	KVM_MEMORY_ENCRYPT_UNREG_REGION,
	KVM_CREATE_IRQCHIP,
	KVM_GET_IRQCHIP,
	KVM_SET_IRQCHIP,
	KVM_CREATE_PIT2,
	KVM_GET_PIT2,
	KVM_SET_PIT2,
	KVM_REINJECT_CONTROL,
	KVM_SET_GSI_ROUTING,
	KVM_IRQ_LINE,
	KVM_IRQ_LINE_STATUS,
	KVM_SIGNAL_MSI,
	KVM_IRQFD,
	KVM_IOEVENTFD,
	KVM_SET_TSC_KHZ,
	KVM_GET_TSC_KHZ,
	KVM_GET_CLOCK,
	KVM_SET_CLOCK,
	KVM_HAS_DEVICE_ATTR,
	KVM_GET_DEVICE_ATTR,
	KVM_SET_DEVICE_ATTR,
	/* a vCPU */
	KVM_SET_CPUID2,
	KVM_GET_CPUID2,
	KVM_GET_VCPU_EVENTS,
	KVM_SET_VCPU_EVENTS,
	KVM_GET_MP_STATE,
	KVM_SET_MP_STATE,
	KVM_INTERRUPT,
	KVM_NMI,
	KVM_GET_LAPIC,
	KVM_SET_LAPIC,
	KVM_SET_GUEST_DEBUG,
	KVM_GET_FPU,
	KVM_SET_FPU,
	KVM_GET_XSAVE,
	KVM_SET_XSAVE,
	KVM_GET_XSAVE2,
	KVM_GET_XCRS,
	KVM_SET_XCRS,
	KVM_SET_MSRS,
	KVM_GET_REGS,
	KVM_SET_REGS,
	KVM_GET_SREGS,
	KVM_SET_SREGS,
	KVM_GET_SREGS2,
	KVM_SET_SREGS2,
	KVM_GET_DEBUGREGS,
	KVM_SET_DEBUGREGS,
	KVM_TRANSLATE,
	KVM_RUN,
	KVM_SET_SIGNAL_MASK,
	KVM_KVMCLOCK_CTRL,
	KVM_X86_SETUP_MCE,
	/* /dev/sev: SEV_ISSUE_CMD */
	_IOWR('S', 0, char[16]),
};

struct script {
	struct input in;
	struct sockaddr_un address;
	socklen_t address_len;
	int program_fd;

	int sock, interrupt_fd;
	int fds[FDS];
	unsigned next_fd;
	uint64_t sequence;
	unsigned n_questions;
};

static void dial(struct script *s)
{
	struct wire_message hello = {.type = WIRE_HELLO, .len = WIRE_COOKIE_LEN, .sequence = 1};
	struct wire_packet packet;
	struct wire_pace pace = {0};
	uint8_t cookie[WIRE_COOKIE_LEN] = {input_u8(&s->in)};

	close_fd(s->sock);
	s->interrupt_fd = close_fd(s->interrupt_fd);
	s->sequence = 1;
	s->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(s->sock, (const struct sockaddr *)&s->address, s->address_len) < 0)
		abort();
	hello.number = cookie[0] == 0xff ? 0 : WIRE_VERSION;
	if (wire_send(s->sock, &hello, cookie, -1) == 0)
		(void)wire_receive(s->sock, &packet, &s->interrupt_fd, &pace);
}

static void keep_fd(struct script *s, int fd)
{
	unsigned slot = FD_FIRST_OF_HOST + s->next_fd++ % (FDS - FD_FIRST_OF_HOST);

	close_fd(s->fds[slot]);
	s->fds[slot] = fd;
}

/* Most answers are what the library would say, some are not. */
static void answer(struct script *s, const struct wire_message *question)
{
	static uint8_t data[WIRE_DATA_MAX];
	struct wire_message m = {.type = WIRE_ANSWER, .sequence = question->sequence};
	uint8_t how = input_u8(&s->in);
	int fd = -1;

	switch (question->type) {
	case WIRE_COPY_IN:
		m.len = question->size < WIRE_DATA_MAX ? (uint32_t)question->size : WIRE_DATA_MAX;
		break;
	case WIRE_GET_FD:
		fd = s->fds[question->number % FDS];
		m.result = fd < 0 ? -EBADF : 0;
		break;
	case WIRE_SHARE:
		m.address = question->address % MEMORY_SIZE;
		m.size = MEMORY_SIZE - m.address;
		if (m.size > question->size)
			m.size = question->size;
		m.flags = WIRE_WRITABLE;
		fd = s->fds[FD_MEMORY];
		break;
	case WIRE_MEMLOCK:
		m.size = how & 1 ? UINT64_MAX : MEMORY_SIZE / 2;
		break;
	default:
		break;
	}
	switch (how >> 3) { /* one in five is not */
	case 0x19:
		m.result = -EFAULT;
		break;
	case 0x1a:
		m.address = input_u64(&s->in);
		m.size = input_u64(&s->in);
		m.flags = input_u32(&s->in);
		break;
	case 0x1b:
		fd = s->fds[input_u8(&s->in) % FDS];
		break;
	case 0x1c:
		m.len = input_u16(&s->in) % WIRE_DATA_MAX;
		break;
	case 0x1d:
		m.type = input_u8(&s->in);
		break;
	case 0x1e:
		m.sequence = input_u8(&s->in);
		break;
	case 0x1f:
		m.result = (int64_t)input_u64(&s->in);
		break;
	default:
		break;
	}
	input_take(&s->in, data, m.len);
	(void)wire_send(s->sock, &m, data, fd);
}

/* To the end of the call; false: it takes too long, or there is no connection any more. */
static bool await_reply(struct script *s)
{
	struct wire_packet packet;
	struct wire_pace pace = {0};
	bool is_interrupted = false;

	for (;;) {
		struct pollfd p = {.fd = s->sock, .events = POLLIN};
		int fd = -1;

		if (poll(&p, 1, PATIENCE_MS) == 0) {
			if (is_interrupted)
				return false;
			(void)send(s->interrupt_fd, &s->sequence, sizeof(s->sequence),
				   MSG_NOSIGNAL | MSG_DONTWAIT);
			is_interrupted = true;
			continue;
		}
		if (wire_receive(s->sock, &packet, &fd, &pace) < 0)
			return false;
		if (fd >= 0)
			keep_fd(s, fd);
		if (packet.message.type == WIRE_REPLY)
			return true;
		if (packet.message.type == WIRE_SIGNAL_MASK)
			continue;
		if (s->n_questions++ == QUESTIONS_MAX)
			return false;
		answer(s, &packet.message);
	}
}

static void call(struct script *s, uint8_t type, bool waits)
{
	static uint8_t data[WIRE_DATA_MAX];
	struct wire_message m = {.type = type, .sequence = ++s->sequence};
	int fd = -1;

	if (type == WIRE_OPEN || type == WIRE_PROBE) {
		m.number = input_u8(&s->in);
		m.flags = m.number >> 4;
		m.number &= 3;
	} else {
		fd = s->fds[input_u8(&s->in) % FDS];
	}
	if (type == WIRE_IOCTL) {
		m.number = requests[input_u8(&s->in) % ARRAY_SIZE(requests)];
		m.len = _IOC_SIZE(m.number);
		/* A number, or an address at which there is the argument, which comes along. */
		m.address = m.len > 0 ? 4096 : input_u8(&s->in);
	} else if (type == WIRE_MMAP) {
		m.address = (uint64_t)input_u8(&s->in) << 12;
		m.size = (uint64_t)input_u8(&s->in) << 12;
	} else if (type > WIRE_STAT) {
		m.number = input_u32(&s->in);
		m.address = input_u64(&s->in);
		m.len = input_u8(&s->in);
	}
	input_take(&s->in, data, m.len);
	if (wire_send(s->sock, &m, data, fd) < 0 || (waits && !await_reply(s)))
		dial(s);
}

/* What the client can do to memory behind the host's back. */
static void write_memory(struct script *s)
{
	int fd = s->fds[input_u8(&s->in) % FDS];
	uint64_t offset = (uint64_t)input_u16(&s->in) << 4;
	struct input bytes = input_part(&s->in, input_u8(&s->in));

	(void)!pwrite(fd, bytes.at, bytes.left, (off_t)offset);
}

static void send_garbage(struct script *s)
{
	struct input bytes = input_part(&s->in, input_u8(&s->in));

	(void)send(s->sock, bytes.at, bytes.left, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void step(struct script *s)
{
	uint8_t what = input_u8(&s->in);
	unsigned slot;

	switch (what & 0xf) {
	case 0:
		send_garbage(s);
		break;
	case 1:
		dial(s);
		break;
	case 2:
		slot = what >> 4;
		if (slot < FDS)
			s->fds[slot] = close_fd(s->fds[slot]);
		break;
	case 3:
		(void)!ftruncate(s->fds[FD_MEMORY], (off_t)(what >> 4) << 16);
		break;
	case 4:
	case 5:
		write_memory(s);
		break;
	case 6:
	case 7:
		/* Sent without waiting: the next call waits behind it. */
		call(s, what >> 4, what & 1);
		break;
	case 8:
		call(s, WIRE_OPEN, true);
		break;
	case 9:
		call(s, WIRE_MMAP, true);
		break;
	default:
		call(s, WIRE_IOCTL, true);
		break;
	}
}

static void *play(void *opaque)
{
	struct script *s = opaque;

	for (unsigned i = 0; i < FDS; i++)
		s->fds[i] = -1;
	s->sock = s->interrupt_fd = -1;
	s->fds[FD_MEMORY] = memfd_create("memory", MFD_CLOEXEC);
	s->fds[FD_EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ftruncate(s->fds[FD_MEMORY], MEMORY_SIZE) < 0)
		abort();
	dial(s);
	for (unsigned i = 0; i < STEPS_MAX && s->in.left > 0; i++)
		step(s);
	for (unsigned i = 0; i < FDS; i++)
		close_fd(s->fds[i]);
	close_fd(s->sock);
	close_fd(s->interrupt_fd);
	(void)eventfd_write(s->program_fd, 1);
	return NULL;
}

static int listen_somewhere(struct script *s)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	s->address.sun_family = AF_UNIX;
	s->address_len = sizeof(s->address);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&s->address, sizeof(sa_family_t)) < 0 ||
	    listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&s->address, &s->address_len) < 0)
		abort();
	return fd;
}

/* A chip for all inputs: making one takes a while. */
static const char *fuses_path(void)
{
	static char path[] = "/proc/self/fd/1234567890";
	static int fd = -1;
	struct psp_fuses fuses;
	struct psp_ca_chain authorities;

	if (fd >= 0)
		return path;
	fd = memfd_create("fuses", MFD_CLOEXEC);
	if (fd < 0 || psp_provision(&fuses, &authorities) < 0 ||
	    write(fd, &fuses, sizeof(fuses)) != sizeof(fuses))
		abort();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct devices devices = {.open_kvm = kvm_open, .open_sev = sev_device_open};
	struct script script = {.in = {data, size}, .program_fd = eventfd(0, EFD_CLOEXEC)};
	uint8_t config = input_u8(&script.in);
	struct host host = {.config = {
				    .profile = config % 3,
				    .without_quirks = config & 0x10,
				    .sev = true,
				    .max_asid = 7,
				    .min_sev_asid = 4,
				    .fuses = fuses_path(),
			    }};
	autofd listener = listen_somewhere(&script);
	pthread_t thread;
	sigset_t before;

	(void)pthread_sigmask(SIG_SETMASK, NULL, &before);
	host.memory_objects = memory_objects_new();
	host.sev = sev_host_new(&host, &host.config);
	if (!host.memory_objects || !host.sev ||
	    pthread_create(&thread, NULL, play, &script) != 0 ||
	    host_run(&host, &devices, listener, script.program_fd) < 0)
		abort();
	(void)pthread_join(thread, NULL);
	host.sev = sev_host_free(host.sev);
	host.memory_objects = memory_objects_free(host.memory_objects);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	close_fd(script.program_fd);
	return 0;
}
