// SPDX-License-Identifier: GPL-2.0-or-later
/* Clients of the control socket, with descriptors; the VMM says yes to everything. */
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "input.h"
#include "kvm/cleanup.h"
#include "vmm/control.h"

#define PIECES_MAX 16

struct vmm {
	sd_event *event;
	struct control_client *upgrader;
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
	(void)vmm;
	return json_object();
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
	(void)vmm;
	return -1;
}

int vmm_upgrade(struct vmm *vmm, const struct vmm_upgrade_request *request,
		struct control_client *client, struct vmm_error *ret_error)
{
	(void)vmm, (void)client, (void)ret_error;
	close_fd(request->sock);
	close_fd(request->target_pidfd);
	control_client_return(client, json_true());
	return 0;
}

static void turn(struct vmm *vmm)
{
	for (unsigned i = 0; i < 100 && sd_event_run(vmm->event, 0) > 0; i++)
		;
}

static void send_piece(int sock, struct input *in)
{
	union {
		char bytes[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	uint8_t n_fds = input_u8(in) % 8;
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(address);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	autofd sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct vmm vmm = {0};
	struct control *control = NULL;
	char got[4096];

	if (bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0 ||
	    listen(listener, 4) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &len) < 0 ||
	    sd_event_new(&vmm.event) < 0 || control_new(&vmm, listener, &control) < 0 ||
	    connect(sock, (struct sockaddr *)&address, len) < 0)
		abort();
	for (unsigned i = 0; i < PIECES_MAX && in.left > 0; i++) {
		send_piece(sock, &in);
		turn(&vmm);
		while (recv(sock, got, sizeof(got), MSG_DONTWAIT) > 0)
			;
	}
	(void)control_free(control);
	sd_event_unref(vmm.event);
	return 0;
}
