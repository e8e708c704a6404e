// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Clients of the control socket, with descriptors, that come and go; the VMM says yes to most, at
 * once or later, and is upgraded itself.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "input.h"
#include "kvm/cleanup.h"
#include "vmm/base64.h"
#include "vmm/control.h"

#define PIECES_MAX  16
#define CLIENTS_MAX 3

struct vmm {
	sd_event *event;
	struct control *control;
	struct control_client *upgrader; /* waits for an answer */
	bool is_slow;			 /* to answer */
	bool is_verbose;
	bool is_over;

	struct sockaddr_un address;
	socklen_t address_len;
	int clients[CLIENTS_MAX];
	unsigned n_clients;
};

const char *vmm_name(const struct vmm *vmm)
{
	(void)vmm;
	return "web1";
}

sd_event *vmm_event(struct vmm *vmm)
{
	return vmm->event;
}

json_t *vmm_status(struct vmm *vmm)
{
	static char text[8192];

	memset(text, 'x', sizeof(text) - 1);
	return vmm->is_verbose ? json_pack("{s:s}", "text", text) : json_object();
}

int vmm_pause(struct vmm *vmm, struct vmm_error *ret_error)
{
	(void)vmm, (void)ret_error;
	return 0;
}

int vmm_resume(struct vmm *vmm, struct vmm_error *ret_error)
{
	(void)vmm;
	vmm_error_set(ret_error, VMM_EXIT_WRONG_STATE, "web1 is not paused");
	return -1;
}

int vmm_put_secret(struct vmm *vmm, const struct vmm_secret *secret, struct vmm_error *ret_error)
{
	const uint8_t *header = secret->header, *packet = secret->packet;
	unsigned sum = 0;

	(void)vmm, (void)ret_error;
	for (size_t i = 0; i < secret->header_len; i++)
		sum += header[i];
	for (size_t i = 0; i < secret->packet_len; i++)
		sum += packet[i];
	return sum ? 0 : -1;
}

int vmm_attest(struct vmm *vmm, const uint8_t nonce[VMM_NONCE_SIZE],
	       uint8_t ret[VMR_SEV_REPORT_SIZE], struct vmm_error *ret_error)
{
	(void)vmm, (void)ret_error;
	memset(ret, nonce[VMM_NONCE_SIZE - 1], VMR_SEV_REPORT_SIZE);
	return 0;
}

int vmm_press_power_button(struct vmm *vmm, struct vmm_error *ret_error)
{
	(void)vmm, (void)ret_error;
	return 0;
}

void vmm_end(struct vmm *vmm, enum vmm_end end, const char *why)
{
	(void)vmm, (void)end, (void)why;
}

int vmm_previous_program(struct vmm *vmm)
{
	/* Any that stays open. */
	return vmm->is_verbose ? control_listen_fd(vmm->control) : -1;
}

int vmm_upgrade(struct vmm *vmm, const struct vmm_upgrade_request *request,
		struct control_client *client, struct vmm_error *ret_error)
{
	close_fd(request->sock);
	close_fd(request->target_pidfd);
	if (vmm->upgrader) {
		vmm_error_set(ret_error, VMM_EXIT_WRONG_STATE, "an upgrade is going on");
		return -1;
	}
	if (vmm->is_slow)
		vmm->upgrader = client;
	else
		control_client_return(client, json_true());
	return 0;
}

static void answer_upgrade(struct vmm *vmm, bool is_good)
{
	struct control_client *client = vmm->upgrader;
	struct vmm_error error;

	vmm->upgrader = NULL;
	control_client_event(client, "READY", is_good ? NULL : json_object());
	if (is_good) {
		control_client_return(client, json_true());
	} else {
		vmm_error_set(&error, VMM_EXIT_KEPT, "it is late");
		control_client_error(client, &error);
	}
}

static void turn(struct vmm *vmm)
{
	for (unsigned i = 0; i < 100 && sd_event_run(vmm->event, 0) > 0; i++)
		;
}

static int current(const struct vmm *vmm)
{
	return vmm->n_clients > 0 ? vmm->clients[vmm->n_clients - 1] : -1;
}

static void connect_client(struct vmm *vmm)
{
	int sock;

	if (vmm->n_clients == CLIENTS_MAX)
		return;
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (connect(sock, (struct sockaddr *)&vmm->address, vmm->address_len) < 0)
		sock = close_fd(sock);
	else
		vmm->clients[vmm->n_clients++] = sock;
}

static void disconnect_client(struct vmm *vmm)
{
	if (vmm->n_clients > 0)
		close_fd(vmm->clients[--vmm->n_clients]);
}

/* As a target does with those who wait; the upgrade fails or not. */
static void relay(struct vmm *vmm, bool is_good)
{
	int fds[CLIENTS_MAX];
	struct control *target;
	unsigned n;

	control_freeze(vmm->control);
	n = control_waiters(vmm->control, fds, CLIENTS_MAX);
	turn(vmm);
	if (control_new(vmm, fcntl(control_listen_fd(vmm->control), F_DUPFD_CLOEXEC, 0), &target) <
	    0)
		abort();
	control_freeze(target);
	for (unsigned i = 0; i < n; i++)
		(void)control_adopt_waiter(target, fcntl(fds[i], F_DUPFD_CLOEXEC, 0));
	if (is_good) {
		answer_upgrade(vmm, true);
		(void)control_free(vmm->control);
		vmm->control = target;
	} else {
		(void)control_free(target);
	}
	control_thaw(vmm->control);
}

/* What happens beside that a client says something. */
static void happen(struct vmm *vmm, unsigned what)
{
	switch (what) {
	case 1:
		connect_client(vmm);
		break;
	case 2:
		disconnect_client(vmm);
		break;
	case 3:
		(void)shutdown(current(vmm), SHUT_WR);
		break;
	case 4:
	case 5:
		answer_upgrade(vmm, what & 1);
		break;
	case 6:
	case 7:
		relay(vmm, what & 1);
		break;
	case 8:
		vmm->is_slow = !vmm->is_slow;
		break;
	case 9:
		vmm->is_verbose = !vmm->is_verbose;
		break;
	case 10:
		if (!vmm->is_over) /* it is patient with who does not read */
			control_announce_end(vmm->control, VMM_END_CRASHED, "it did");
		vmm->is_over = true;
		break;
	default:
		break;
	}
}

static void send_piece(int sock, uint8_t n_fds, struct input *in)
{
	union {
		char bytes[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct input piece = input_part(in, input_u16(in));
	struct iovec iov = {(void *)piece.at, piece.left};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > 0) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.align =
			(struct cmsghdr){CMSG_LEN(n_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		for (unsigned i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &sock, sizeof(int));
	}
	(void)sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Requests with bytes in them, about as many as are allowed. */
static void send_bytes(int sock, struct input *in)
{
	static const uint8_t bytes[9000];
	char header[BASE64_SIZE(512)], packet[BASE64_SIZE(sizeof(bytes))], text[16384];
	uint8_t n_header = input_u8(in);
	size_t n_packet = input_u16(in);
	int len;

	if (n_packet & 1) {
		base64_encode(bytes, n_header % 32, header);
		len = snprintf(text, sizeof(text),
			       "{\"execute\": \"attest\", \"arguments\": {\"nonce\": \"%s\"}}\n",
			       header);
	} else {
		base64_encode(bytes, n_header * 2u, header);
		base64_encode(bytes, n_packet % sizeof(bytes), packet);
		len = snprintf(text, sizeof(text),
			       "{\"execute\": \"secret\", \"arguments\": "
			       "{\"gpa\": 4096, \"header\": \"%s\", \"packet\": \"%s\"}}\n",
			       header, packet);
	}
	(void)send(sock, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Before it can have had an answer to what it has said. */
static void leave_early(struct vmm *vmm, unsigned what)
{
	if (what == 11)
		disconnect_client(vmm);
	else if (what == 12)
		(void)shutdown(current(vmm), SHUT_RD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct vmm vmm = {.address = {.sun_family = AF_UNIX},
			  .address_len = sizeof(struct sockaddr_un)};
	char got[4096];

	if (bind(listener, (struct sockaddr *)&vmm.address, sizeof(sa_family_t)) < 0 ||
	    listen(listener, 4) < 0 ||
	    getsockname(listener, (struct sockaddr *)&vmm.address, &vmm.address_len) < 0 ||
	    sd_event_new(&vmm.event) < 0 || control_new(&vmm, listener, &vmm.control) < 0)
		abort();
	connect_client(&vmm);
	for (unsigned i = 0; i < PIECES_MAX && in.left > 0; i++) {
		/* Descriptors; what else happens; whether replies are left where they are. */
		uint8_t what = input_u8(&in);

		happen(&vmm, what >> 3 & 0xf);
		if ((what >> 3 & 0xf) == 13)
			send_bytes(current(&vmm), &in);
		send_piece(current(&vmm), what % 8, &in);
		leave_early(&vmm, what >> 3 & 0xf);
		turn(&vmm);
		for (unsigned c = 0; c < vmm.n_clients && !(what & 0x80); c++)
			while (recv(vmm.clients[c], got, sizeof(got), MSG_DONTWAIT) > 0)
				;
	}
	while (vmm.n_clients > 0)
		disconnect_client(&vmm);
	(void)control_free(vmm.control);
	sd_event_unref(vmm.event);
	return 0;
}
