// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Packets of a peer, with descriptors, to a library that waits for messages: a source that is told
 * hello, a keeper that is sent an offer.  What is in the offer is the fuzzer's, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vmrelay/rescue.h>

#include "input.h"
#include "kvm/cleanup.h"
#include "lib/channel.h"
#include "lib/offer.h"
#include "lib/protocol.h"
#include "lib/section.h"

#define PACKETS_MAX 8
#define SLOT_SIZE   4096u
#define TAG	    7
/* As many as go into a message; more than are taken. */
#define HELLO_SECTIONS_MAX ((CHANNEL_PAYLOAD_MAX - sizeof(struct hello)) / sizeof(uint64_t))

/* channel.c's header in front of each packet. */
struct header {
	uint32_t magic;
	uint16_t type, n_fds;
	uint32_t len, reserved;
};

/* What a VMM sends: a description, a state area of two slots, the pidfd of somebody dead. */
enum { FD_DESCRIPTION, FD_AREA, FD_PID, FD_OTHER, FDS };

static int sealed(const void *bytes, size_t len, size_t size, int seals)
{
	int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
	    (len > 0 && pwrite(fd, bytes, len, 0) < 0) || fcntl(fd, F_ADD_SEALS, seals) < 0)
		abort();
	return fd;
}

static int pidfd_of_nobody(void)
{
	pid_t pid = fork();
	int fd;

	if (pid == 0)
		_exit(0);
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	(void)waitpid(pid, NULL, 0);
	return fd;
}

static void send_packet(int sock, struct input *in, const int *fds, uint64_t description_size)
{
	union {
		char bytes[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct header header = {.magic = 0x4d524c59, .type = input_u8(in) % 12};
	uint8_t how = input_u8(in);
	unsigned n_fds = how & 0xf;
	struct {
		struct hello hello;
		uint64_t sections[HELLO_SECTIONS_MAX];
	} hello = {0};
	struct offer offer = {.protocol = 1, .n_vcpus = 1, .slot_size = SLOT_SIZE};
	struct input payload = input_part(in, input_u16(in) % (CHANNEL_PAYLOAD_MAX + 64));
	struct iovec iov[] = {{&header, sizeof(header)}, {(void *)payload.at, payload.left}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	int which[16];

	for (unsigned i = 0; i < n_fds; i++)
		which[i] = fds[how & 0x10 ? i % FDS : input_u8(in) % FDS];
	if (header.type == CHANNEL_OFFER && how & 0x20) {
		offer.description_size = description_size;
		offer.n_fds = how >> 6;
		iov[1] = (struct iovec){&offer, sizeof(offer)};
	}
	if (header.type == CHANNEL_HELLO && how & 0x20) {
		hello.hello.protocol_min = input_u8(in) % 3;
		hello.hello.protocol_max = input_u8(in) % 3;
		hello.hello.n_sections = input_u16(in) % HELLO_SECTIONS_MAX;
		input_take(in, hello.sections, 64);
		iov[1] = (struct iovec){&hello, sizeof(hello.hello) +
							hello.hello.n_sections * sizeof(uint64_t)};
	}
	header.n_fds = (uint16_t)n_fds;
	header.len = (uint32_t)iov[1].iov_len;
	if (how == 0xff)
		input_take(in, &header, sizeof(header));
	if (n_fds > 0) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.align =
			(struct cmsghdr){CMSG_LEN(n_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.align), which, n_fds * sizeof(int));
	}
	(void)sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void be_source(int sock)
{
	automessage m = {.n_fds = 0};
	struct hello_message hello;
	struct vmr_peer peer;
	struct vmr_error error;
	uint16_t protocol;

	while (channel_receive(sock, &m) == 0) {
		if (protocol_hello(&m, &hello, &peer, &protocol, &error) == 0 &&
		    !protocol_find(&hello, SECTION_REGS))
			(void)protocol_unreadable(SECTION_REGS, "registers", &error);
		(void)protocol_failed(&m, &error);
		channel_message_done(&m);
	}
}

/* sock is taken over. */
static void be_keeper(int sock)
{
	struct vmr_keeper *keeper = NULL;
	struct vmr_error error;
	size_t len = 0;

	if (vmr_keeper_new(sock, &keeper, &error) == 0 && vmr_keeper_wait(keeper, &error) >= 0) {
		const volatile uint8_t *blob = vmr_keeper_blob(keeper, SECTION_VMM_FIRST, &len);

		(void)vmr_keeper_fd(keeper, TAG);
		for (size_t i = 0; blob && i < len; i++)
			(void)blob[i];
	}
	(void)vmr_keeper_free(keeper);
}

/* A target's side of the offer. */
static void be_target(int sock)
{
	automessage m = {.n_fds = 0};
	struct offered offered = OFFERED_NONE;
	struct vmr_error error;
	int r = channel_receive(sock, &m);

	if (r == 0)
		r = offered_begin(&offered, &m, &error);
	while (r == 0) {
		channel_message_done(&m);
		r = channel_receive(sock, &m);
		if (r == 0)
			r = offered_add_fds(&offered, &m, &error);
	}
	if (offered_is_whole(&offered))
		(void)offered_find_fd(&offered, TAG, 0);
	offered_done(&offered);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int pidfd = -1;
	struct input in = {data, size};
	uint8_t who = input_u8(&in);
	struct input description = input_part(&in, input_u16(&in) % 1024);
	int pair[2];

	if (pidfd < 0)
		pidfd = pidfd_of_nobody();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();

	autofd end = pair[0];
	autofd sealed_description = sealed(description.at, description.left, description.left,
					   F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	autofd area =
		sealed(NULL, 0, 4096 + 2 * SLOT_SIZE, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	autofd other = memfd_create("other", MFD_CLOEXEC);
	const int fds[FDS] = {sealed_description, area, pidfd, other};

	for (unsigned i = 0; i < PACKETS_MAX && in.left > 0; i++)
		send_packet(end, &in, fds, description.left);
	end = close_fd(end);
	if (who % 3 == 1) {
		be_keeper(pair[1]);
		return 0;
	}
	if (who % 3 == 0)
		be_source(pair[1]);
	else
		be_target(pair[1]);
	close_fd(pair[1]);
	return 0;
}
