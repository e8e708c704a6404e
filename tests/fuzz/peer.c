// SPDX-License-Identifier: LGPL-2.1-or-later
/* Packets; see peer.h. */
#include "peer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "lib/channel.h"
#include "lib/protocol.h"
#include "lib/state.h"

/* As many as go into a message; more than are taken. */
#define HELLO_SECTIONS_MAX                                                                         \
	((CHANNEL_PAYLOAD_MAX - sizeof(struct hello)) / sizeof(struct hello_section))
#define CHANGED_MAX 8

/* channel.c's header in front of each packet. */
struct header {
	uint32_t magic;
	uint16_t type, n_fds;
	uint32_t len, reserved;
};

struct good_hello {
	struct hello hello;
	struct hello_section sections[HELLO_SECTIONS_MAX];
};

static int sealed(struct input bytes)
{
	int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || (bytes.left > 0 && pwrite(fd, bytes.at, bytes.left, 0) < 0) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		abort();
	return fd;
}

int peer_pidfd(void)
{
	static int nobody = -1;
	pid_t pid;

	if (nobody < 0) {
		pid = fork();
		if (pid == 0)
			_exit(0);
		nobody = (int)syscall(SYS_pidfd_open, pid, 0);
		(void)waitpid(pid, NULL, 0);
	}
	return fcntl(nobody, F_DUPFD_CLOEXEC, 0);
}

/* The linker gives this to the library: the peer is no process of its own, and may be anybody. */
int __wrap_channel_check_sender(const struct channel_message *message, int pidfd);
int __wrap_channel_check_sender(const struct channel_message *message, int pidfd)
{
	(void)message, (void)pidfd;
	return 0;
}

void peer_set_up(struct peer *peer, struct input description)
{
	*peer = (struct peer){.area = AREA_INIT, .description_size = description.left};
	if (area_create(&peer->area, 2, PEER_SLOT_SIZE) < 0)
		abort();
	peer->fds[PEER_DESCRIPTION] = sealed(description);
	peer->fds[PEER_AREA] = peer->area.fd;
	peer->fds[PEER_PID] = peer_pidfd();
	peer->fds[PEER_OTHER] = memfd_create("other", MFD_CLOEXEC);
}

void peer_tear_down(struct peer *peer)
{
	close_fd(peer->fds[PEER_DESCRIPTION]);
	close_fd(peer->fds[PEER_PID]);
	close_fd(peer->fds[PEER_OTHER]);
	area_done(&peer->area);
}

void peer_connect(int pair[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
}

/* A target that knows all kinds of state, but for some that the input changes. */
static size_t make_hello(struct good_hello *ret, struct input *in)
{
	struct hello_section changed[CHANGED_MAX];
	unsigned n = 0, at;

	memset(ret, 0, sizeof(*ret));
	ret->hello.protocol_min = input_u8(in) % 3;
	ret->hello.protocol_max = input_u8(in) % 3;
	ret->hello.n_sections = input_u16(in) % HELLO_SECTIONS_MAX;
	for (const struct state_kind *k = state_kinds; k->type != 0; k++)
		ret->sections[n++] = (struct hello_section){k->type, k->min_version, k->version};
	at = input_u8(in);
	input_take(in, changed, sizeof(changed));
	for (unsigned i = 0; i < CHANGED_MAX; i++)
		if (changed[i].type != 0)
			ret->sections[(at + i) % HELLO_SECTIONS_MAX] = changed[i];
	return sizeof(ret->hello) + ret->hello.n_sections * sizeof(ret->sections[0]);
}

void peer_send(const struct peer *peer, int sock, struct input *in)
{
	union {
		char bytes[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct header header = {.magic = 0x4d524c59, .type = input_u8(in) % 12};
	uint8_t how = input_u8(in);
	unsigned n_fds = how & 0xf;
	struct good_hello hello;
	struct offer offer = {.protocol = 1, .n_vcpus = 1, .slot_size = PEER_SLOT_SIZE};
	struct input payload = input_part(in, input_u16(in) % (CHANNEL_PAYLOAD_MAX + 64));
	struct iovec iov[] = {{&header, sizeof(header)}, {(void *)payload.at, payload.left}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	int which[16];

	for (unsigned i = 0; i < n_fds; i++)
		which[i] = peer->fds[how & 0x10 ? i % PEER_FDS : input_u8(in) % PEER_FDS];
	if (header.type == CHANNEL_OFFER && how & 0x20) {
		offer.description_size = peer->description_size;
		offer.n_fds = how >> 6;
		offer.slot_size -= input_u8(in) << 4; /* rounded up it is the same */
		iov[1] = (struct iovec){&offer, sizeof(offer)};
	}
	if (header.type == CHANNEL_HELLO && how & 0x20)
		iov[1] = (struct iovec){&hello, make_hello(&hello, in)};
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
