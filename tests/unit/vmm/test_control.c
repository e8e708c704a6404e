// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The control socket, with a VMM that only counts what it is asked for.  Links with: vmm/control.c,
 * libjansson, libsystemd.
 */
#include "vmm/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/cleanup.h"

struct vmm {
	sd_event *event;
	unsigned statuses, pauses, presses, ends, upgrades;
	bool refuse_upgrade;
	struct vmm_upgrade_request request;
	struct control_client *upgrader;
	int previous;
	uint64_t secret_gpa;
	char secret[16];
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
	return json_pack("{s:i}", "n", (int)++vmm->statuses);
}

int vmm_pause(struct vmm *vmm, struct vmm_error *ret_error)
{
	(void)ret_error;
	vmm->pauses++;
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
	if (secret->gpa % 16 != 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "invalid address");
		return -1;
	}
	vmm->secret_gpa = secret->gpa;
	assert_int_equal(secret->header_len, 3);
	assert_memory_equal(secret->header, "abc", 3);
	(void)snprintf(vmm->secret, sizeof(vmm->secret), "%.*s", (int)secret->packet_len,
		       (const char *)secret->packet);
	return 0;
}

int vmm_attest(struct vmm *vmm, const uint8_t nonce[VMM_NONCE_SIZE],
	       uint8_t ret[VMR_SEV_REPORT_SIZE], struct vmm_error *ret_error)
{
	(void)vmm, (void)ret_error;
	memset(ret, 0, VMR_SEV_REPORT_SIZE);
	memcpy(ret, nonce, VMM_NONCE_SIZE);
	return 0;
}

int vmm_press_power_button(struct vmm *vmm, struct vmm_error *ret_error)
{
	(void)ret_error;
	vmm->presses++;
	return 0;
}

void vmm_end(struct vmm *vmm, enum vmm_end end, const char *why)
{
	(void)why;
	assert_int_equal(end, VMM_END_STOPPED);
	vmm->ends++;
}

int vmm_previous_program(struct vmm *vmm)
{
	return vmm->previous;
}

int vmm_upgrade(struct vmm *vmm, const struct vmm_upgrade_request *request,
		struct control_client *client, struct vmm_error *ret_error)
{
	if (vmm->refuse_upgrade) {
		close_fd(request->sock);
		close_fd(request->target_pidfd);
		vmm_error_set(ret_error, VMM_EXIT_REFUSED, "it cannot begin");
		return -1;
	}
	vmm->upgrades++;
	vmm->request = *request;
	vmm->upgrader = client;
	return 0;
}

/* One VMM listening on an abstract address. */
struct host {
	struct vmm vmm;
	struct control *control;
	struct sockaddr_un address;
	socklen_t address_len;
};

static void turn(struct host *host)
{
	for (unsigned i = 0; i < 500 && sd_event_run(host->vmm.event, 0) > 0; i++)
		;
}

static int listener(struct host *host)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	host->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	/* An address without a name is given one by the kernel. */
	assert_int_equal(bind(fd, (struct sockaddr *)&host->address, sizeof(sa_family_t)), 0);
	host->address_len = sizeof(host->address);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&host->address, &host->address_len), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static int setup(void **state)
{
	struct host *host = calloc(1, sizeof(*host));

	host->vmm.previous = -1;
	assert_true(sd_event_new(&host->vmm.event) >= 0);
	assert_int_equal(control_new(&host->vmm, listener(host), &host->control), 0);
	*state = host;
	return 0;
}

static int teardown(void **state)
{
	struct host *host = *state;

	control_free(host->control);
	sd_event_unref(host->vmm.event);
	free(host);
	return 0;
}

static int dial(struct host *host)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&host->address, host->address_len), 0);
	return fd;
}

static void put(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has arrived, as a string; "" if nothing has, NULL at the end of the connection. */
static const char *take(int fd)
{
	static char text[64 * 1024];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		return NULL;
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

/* A client that has read its greeting. */
static int greeted(struct host *host)
{
	int fd = dial(host);

	turn(host);
	assert_non_null(strstr(take(fd), "\"vmrelay\""));
	return fd;
}

static const char *ask(struct host *host, int fd, const char *request)
{
	put(fd, request);
	turn(host);
	return take(fd);
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}

static void send_with_fds(int sock, const char *text, unsigned n_fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(32 * sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(n_fds * sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {.iov_base = (char *)text, .iov_len = strlen(text)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = CMSG_SPACE(n_fds * sizeof(int))};

	for (unsigned i = 0; i < n_fds; i++)
		memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &(int){STDERR_FILENO},
		       sizeof(int));
	assert_int_equal(sendmsg(sock, &msg, MSG_NOSIGNAL), strlen(text));
}

static void test_greeting_and_verbs(void **state)
{
	struct host *host = *state;
	int fd = dial(host);
	char expected[128];

	turn(host);
	(void)snprintf(expected, sizeof(expected),
		       "{\"vmrelay\":{\"version\":\"%s\",\"name\":\"web1\",\"pid\":%d}}\n",
		       VMRELAY_VERSION, (int)getpid());
	assert_string_equal(take(fd), expected);

	assert_string_equal(ask(host, fd, "{\"execute\":\"status\"}\n"),
			    "{\"return\":{\"n\":1}}\n");
	assert_string_equal(ask(host, fd, "{\"execute\":\"pause\",\"id\":[1,\"x\"]}\n"),
			    "{\"return\":{},\"id\":[1,\"x\"]}\n");
	assert_string_equal(ask(host, fd, "{\"execute\":\"resume\",\"id\":7}\n"),
			    "{\"error\":{\"exit\":4,\"text\":\"web1 is not paused\"},\"id\":7}\n");
	assert_string_equal(ask(host, fd, "{\"execute\":\"stop\"}\n"), "{\"return\":{}}\n");
	assert_int_equal(host->vmm.presses, 1);
	assert_int_equal(host->vmm.ends, 0);
	assert_string_equal(
		ask(host, fd, "{\"execute\":\"stop\",\"arguments\":{\"force\":true}}\n"),
		"{\"return\":{}}\n");
	assert_int_equal(host->vmm.ends, 1);
	close_fd(fd);
}

static void test_secret(void **state)
{
	static const char *const wrong[] = {
		"{}",
		"{\"header\":\"YWJj\",\"packet\":\"\",\"gpa\":0}",
		"{\"header\":\"YWJj\",\"packet\":\"eHl6\"}",
		"{\"header\":\"YWJj\",\"packet\":\"eHl6\",\"gpa\":-16}",
		"{\"header\":\"YWJj\",\"packet\":\"eHl6\",\"gpa\":\"0\"}",
		"{\"header\":\"YWJj\",\"packet\":\"eHl\",\"gpa\":0}",
		"{\"header\":7,\"packet\":\"eHl6\",\"gpa\":0}",
	};
	struct host *host = *state;
	int fd = greeted(host);
	char request[256], *large;

	assert_string_equal(ask(host, fd,
				"{\"execute\":\"secret\",\"arguments\":{\"header\":\"YWJj\","
				"\"packet\":\"eHl6\",\"gpa\":4194304}}\n"),
			    "{\"return\":{}}\n");
	assert_true(host->vmm.secret_gpa == 4194304);
	assert_string_equal(host->vmm.secret, "xyz");
	assert_string_equal(ask(host, fd,
				"{\"execute\":\"secret\",\"arguments\":{\"header\":\"YWJj\","
				"\"packet\":\"eHl6\",\"gpa\":1}}\n"),
			    "{\"error\":{\"exit\":1,\"text\":\"invalid address\"}}\n");
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		(void)snprintf(request, sizeof(request),
			       "{\"execute\":\"secret\",\"arguments\":%s}\n", wrong[i]);
		if (!strstr(ask(host, fd, request), "\"exit\":2"))
			fail_msg("accepted: %s", wrong[i]);
	}

	/* 8193 bytes: more than a packet may have, though it fits into a request. */
	assert_true(asprintf(&large,
			     "{\"execute\":\"secret\",\"arguments\":{\"header\":\"YWJj\","
			     "\"gpa\":0,\"packet\":\"%0*d\"}}\n",
			     10924, 0) > 0);
	assert_non_null(strstr(ask(host, fd, large), "\"exit\":2"));
	free(large);
	close_fd(fd);
}

static void test_attest(void **state)
{
	struct host *host = *state;
	int fd = greeted(host);
	const char *answer = ask(host, fd,
				 "{\"execute\":\"attest\",\"arguments\":{\"nonce\":"
				 "\"AAECAwQFBgcICQoLDA0ODw==\"}}\n");

	assert_non_null(strstr(answer, "{\"return\":{\"report\":\"AAECAwQFBgcICQoLDA0ODwAAAA"));
	answer = ask(host, fd, "{\"execute\":\"attest\",\"arguments\":{\"nonce\":\"AAEC\"}}\n");
	assert_non_null(strstr(answer, "\"exit\":2"));
	assert_non_null(strstr(ask(host, fd, "{\"execute\":\"attest\"}\n"), "\"exit\":2"));
	close_fd(fd);
}

static void test_pieces(void **state)
{
	static const char request[] = "{\"execute\":\"status\",\"id\":1}\n";
	struct host *host = *state;
	int fd = greeted(host);

	for (size_t i = 0; i + 1 < sizeof(request) - 1; i++) {
		assert_int_equal(send(fd, request + i, 1, 0), 1);
		turn(host);
		assert_string_equal(take(fd), "");
	}
	assert_string_equal(ask(host, fd, "\n"), "{\"return\":{\"n\":1},\"id\":1}\n");

	/* Several at once, the last one not whole. */
	assert_string_equal(
		ask(host, fd,
		    "{\"execute\":\"status\"}\n{\"execute\":\"pause\",\"id\":2}\n{\"exec"),
		"{\"return\":{\"n\":2}}\n{\"return\":{},\"id\":2}\n");
	assert_string_equal(ask(host, fd, "ute\":\"status\"}\n"), "{\"return\":{\"n\":3}}\n");
	close_fd(fd);
}

static void test_garbage(void **state)
{
	static const char *const garbage[] = {
		"\n",
		"hello\n",
		"{}\n",
		"[]\n",
		"null\n",
		"{\"execute\":7}\n",
		"{\"execute\":\"reboot\"}\n",
		"{\"execute\":\"status\",\"arguments\":[]}\n",
		"{\"execute\":\"status\",\"execute\":\"pause\"}\n",
		"{\"execute\":\"stop\",\"arguments\":{\"force\":\"yes\"}}\n",
		"{\"execute\":\"sta\\u0000tus\"}\n",
		"\xff\xfe\n",
	};
	struct host *host = *state;
	int fd = greeted(host);
	char deep[8192];

	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		const char *reply = ask(host, fd, garbage[i]);

		if (!reply || strncmp(reply, "{\"error\":{\"exit\":2,", 19) != 0)
			fail_msg("%s: %s", garbage[i], reply);
	}
	(void)memset(deep, '[', sizeof(deep));
	deep[sizeof(deep) - 2] = '\n';
	deep[sizeof(deep) - 1] = '\0';
	assert_non_null(strstr(ask(host, fd, deep), "\"error\""));

	/* It still understands sense, and did none of it. */
	assert_string_equal(ask(host, fd, "{\"execute\":\"status\"}\n"),
			    "{\"return\":{\"n\":1}}\n");
	assert_int_equal(host->vmm.pauses + host->vmm.presses + host->vmm.ends, 0);
	close_fd(fd);
}

static void test_oversize(void **state)
{
	struct host *host = *state;
	int fd = greeted(host);
	char *request = calloc(1, 16 * 1024 + 2);

	/* Exactly as long as allowed. */
	(void)memset(request, ' ', 16 * 1024);
	memcpy(request, "{\"execute\":\"status\"}", 20);
	request[16 * 1024 - 1] = '\n';
	assert_string_equal(ask(host, fd, request), "{\"return\":{\"n\":1}}\n");

	/* One more. */
	request[16 * 1024 - 1] = ' ';
	request[16 * 1024] = '\n';
	assert_non_null(strstr(ask(host, fd, request), "\"error\""));
	turn(host);
	assert_null(take(fd));
	assert_int_equal(host->vmm.statuses, 1);
	free(request);
	close_fd(fd);
}

static void test_fds_of_other_verbs_are_closed(void **state)
{
	struct host *host = *state;
	int fd = greeted(host);
	unsigned before = open_fds();

	send_with_fds(fd, "{\"execute\":\"status\"}\n", 2);
	turn(host);
	assert_string_equal(take(fd), "{\"return\":{\"n\":1}}\n");
	assert_int_equal(open_fds(), before);

	/* An upgrade takes two, not one or three. */
	for (unsigned n = 0; n < 4; n++) {
		if (n == 2)
			continue;
		if (n > 0)
			send_with_fds(fd, "{\"execute\":\"upgrade\",\"id\":1}\n", n);
		else
			put(fd, "{\"execute\":\"upgrade\",\"id\":1}\n");
		turn(host);
		assert_non_null(strstr(take(fd), "\"exit\":2"));
		assert_int_equal(open_fds(), before);
	}
	send_with_fds(fd, "{\"execute\":\"upgrade\",\"arguments\":{\"check\":1}}\n", 2);
	turn(host);
	assert_non_null(strstr(take(fd), "\"exit\":2"));
	assert_int_equal(open_fds(), before);
	assert_int_equal(host->vmm.upgrades, 0);

	/* Hoarding: many fds before the end of a line, at once or one after the other. */
	for (unsigned i = 0; i < 9; i++)
		send_with_fds(fd, " ", 1);
	turn(host);
	assert_non_null(strstr(take(fd), "\"exit\":2"));
	assert_null(take(fd));
	close_fd(fd);
	assert_int_equal(open_fds(), before - 2); /* both ends of this connection */

	before = open_fds();
	fd = greeted(host);
	send_with_fds(fd, "{\"execute\":\"status\"}\n", 20); /* MSG_CTRUNC */
	turn(host);
	assert_non_null(strstr(take(fd), "\"exit\":2"));
	assert_null(take(fd));
	close_fd(fd);
	assert_int_equal(open_fds(), before);
}

static void test_upgrade(void **state)
{
	struct host *host = *state;
	struct vmm *vmm = &host->vmm;
	int fd = greeted(host);
	unsigned before = open_fds();

	send_with_fds(fd,
		      "{\"execute\":\"upgrade\",\"id\":9,\"arguments\":{\"check\":true,"
		      "\"max_downtime_ms\":5,\"timeout_ms\":1000}}\n",
		      2);
	turn(host);
	assert_int_equal(vmm->upgrades, 1);
	assert_true(vmm->request.check_only);
	assert_int_equal(vmm->request.max_downtime_ms, 5);
	assert_int_equal(vmm->request.timeout_ms, 1000);
	assert_int_equal(fcntl(vmm->request.sock, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_string_equal(take(fd), "");

	/* Not twice at the same time. */
	send_with_fds(fd, "{\"execute\":\"upgrade\",\"id\":10}\n", 2);
	turn(host);
	assert_non_null(strstr(take(fd), "\"exit\":4"));

	control_client_event(vmm->upgrader, "UPGRADE_PHASE",
			     json_pack("{s:s}", "phase", "prepare"));
	assert_string_equal(take(fd),
			    "{\"event\":\"UPGRADE_PHASE\",\"data\":{\"phase\":\"prepare\"}}\n");
	control_client_return(vmm->upgrader, json_pack("{s:s}", "result", "checked"));
	assert_string_equal(take(fd), "{\"return\":{\"result\":\"checked\"},\"id\":9}\n");
	close_fd(vmm->request.sock);
	close_fd(vmm->request.target_pidfd);
	assert_int_equal(open_fds(), before);

	vmm->refuse_upgrade = true;
	send_with_fds(fd, "{\"execute\":\"upgrade\",\"id\":11}\n", 2);
	turn(host);
	assert_string_equal(take(fd),
			    "{\"error\":{\"exit\":5,\"text\":\"it cannot begin\"},\"id\":11}\n");
	close_fd(fd);
}

/* The one who asked for an upgrade goes away; struct vmm does not know. */
static void test_upgrader_leaves(void **state)
{
	struct host *host = *state;
	struct vmm *vmm = &host->vmm;
	int fd = greeted(host);

	send_with_fds(fd, "{\"execute\":\"upgrade\",\"id\":1}\n", 2);
	turn(host);
	assert_int_equal(vmm->upgrades, 1);
	close_fd(fd);
	turn(host);
	control_client_event(vmm->upgrader, "UPGRADE_PHASE", NULL);
	control_client_return(vmm->upgrader, json_object());
	control_client_event(NULL, "UPGRADE_PHASE", json_object());
	control_client_return(NULL, json_object());
	close_fd(vmm->request.sock);
	close_fd(vmm->request.target_pidfd);
}

static void test_done_with_asking(void **state)
{
	struct host *host = *state;
	int asks = greeted(host), waits = greeted(host);

	/* As socat does at the end of its input. */
	put(asks, "{\"execute\":\"status\"}\n");
	assert_int_equal(shutdown(asks, SHUT_WR), 0);
	put(waits, "{\"execute\":\"wait\"}\n");
	assert_int_equal(shutdown(waits, SHUT_WR), 0);
	turn(host);
	assert_string_equal(take(asks), "{\"return\":{\"n\":1}}\n");
	assert_null(take(asks));
	assert_string_equal(take(waits), "{\"return\":{}}\n");
	assert_string_equal(take(waits), "");
	control_announce_end(host->control, VMM_END_POWEROFF, NULL);
	assert_string_equal(take(waits), "{\"event\":\"END\",\"data\":{\"end\":\"poweroff\"}}\n");
	assert_null(take(waits));
	close_fd(asks);
	close_fd(waits);
}

static void test_previous_program(void **state)
{
	struct host *host = *state;
	int fd = greeted(host), received;
	char text[256];
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct stat sent, got;

	assert_non_null(strstr(ask(host, fd, "{\"execute\":\"previous-program\",\"id\":1}\n"),
			       "\"exit\":4"));
	host->vmm.previous = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	put(fd, "{\"execute\":\"previous-program\",\"id\":1}\n");
	turn(host);
	assert_true(recvmsg(fd, &msg, MSG_CMSG_CLOEXEC) > 0);
	assert_int_equal(control.header.cmsg_len, CMSG_LEN(sizeof(int)));
	memcpy(&received, CMSG_DATA(&control.header), sizeof(received));
	assert_int_equal(fstat(host->vmm.previous, &sent), 0);
	assert_int_equal(fstat(received, &got), 0);
	assert_true(sent.st_ino == got.st_ino && sent.st_dev == got.st_dev);
	close_fd(received);
	close_fd(host->vmm.previous);
	close_fd(fd);
}

static void test_waiters_move(void **state)
{
	struct host *source = *state, *target;
	void *target_state;
	int idle = greeted(source), waits = greeted(source), busy = greeted(source);
	int fds[8], listen_fd;

	assert_string_equal(ask(source, waits, "{\"execute\":\"wait\",\"id\":1}\n"),
			    "{\"return\":{},\"id\":1}\n");
	/* In the middle of a request it cannot change hands. */
	assert_string_equal(ask(source, busy, "{\"execute\":\"wait\"}\n{\"exe"),
			    "{\"return\":{}}\n");

	control_freeze(source->control);
	put(waits, "{\"execute\":\"status\"}\n");
	put(idle, "{\"execute\":\"status\"}\n");

	int late = dial(source);

	turn(source);
	assert_string_equal(take(waits), "");
	assert_string_equal(take(idle), "");
	assert_string_equal(take(late), "");
	assert_int_equal(control_waiters(source->control, fds, 8), 1);

	/* Another process: the same sockets, nothing else. */
	assert_int_equal(setup(&target_state), 0);
	target = target_state;
	control_free(target->control);
	listen_fd = dup(control_listen_fd(source->control));
	assert_int_equal(control_new(&target->vmm, listen_fd, &target->control), 0);
	assert_int_equal(control_adopt_waiter(target->control, dup(fds[0])), 0);
	source->control = control_free(source->control);

	/* What was not read travelled along; so did whoever knocked meanwhile. */
	turn(target);
	assert_string_equal(take(waits), "{\"return\":{\"n\":1}}\n");
	assert_int_equal(source->vmm.statuses, 0);
	assert_non_null(strstr(take(late), "\"vmrelay\""));
	assert_null(take(idle));
	assert_null(take(busy));

	control_announce_end(target->control, VMM_END_CRASHED, "triple fault");
	assert_string_equal(
		take(waits),
		"{\"event\":\"END\",\"data\":{\"end\":\"crashed\",\"text\":\"triple fault\"}}\n");
	assert_string_equal(take(late), "");
	close_fd(idle);
	close_fd(waits);
	close_fd(busy);
	close_fd(late);
	(void)teardown(&target_state);
}

static void test_thaw(void **state)
{
	struct host *host = *state;
	int waits = greeted(host), gone = greeted(host);
	int fds[8];

	(void)ask(host, waits, "{\"execute\":\"wait\"}\n");
	(void)ask(host, gone, "{\"execute\":\"wait\"}\n");
	control_freeze(host->control);
	assert_int_equal(control_waiters(host->control, fds, 1), 1);
	assert_int_equal(control_waiters(host->control, fds, 8), 2);
	/* The fds named above stay what they are, even of somebody who hangs up. */
	close_fd(gone);
	turn(host);
	for (unsigned i = 0; i < 2; i++)
		assert_true(fcntl(fds[i], F_GETFD) >= 0);
	put(waits, "{\"execute\":\"status\"}\n");
	turn(host);
	assert_string_equal(take(waits), "");
	control_thaw(host->control);
	turn(host);
	assert_string_equal(take(waits), "{\"return\":{\"n\":1}}\n");
	assert_int_equal(control_waiters(host->control, fds, 8), 1);
	close_fd(waits);
}

/* `run` asks before the guest starts, and the guest may end before the VMM has looked. */
static void test_latecomer(void **state)
{
	struct host *host = *state;
	int fd = dial(host);

	put(fd, "{\"execute\":\"wait\",\"id\":1}\n");
	assert_true(sd_event_exit(host->vmm.event, 0) >= 0);
	assert_int_equal(sd_event_loop(host->vmm.event), 0);
	control_announce_end(host->control, VMM_END_REBOOT, NULL);
	host->control = control_free(host->control);

	const char *text = take(fd);

	assert_non_null(strstr(text, "\"vmrelay\""));
	assert_non_null(strstr(text, "{\"event\":\"END\",\"data\":{\"end\":\"reboot\"}}\n"));
	close_fd(fd);
}

static void test_slow_reader(void **state)
{
	static const char request[] = "{\"execute\":\"status\"}\n";
	struct host *host = *state;
	struct vmm *vmm = &host->vmm;
	int slow = greeted(host), other = greeted(host);
	unsigned served, answered = 0, asked = 0;
	char *big;

	/* It asks for ever and does not read: at some point it is no longer served. */
	for (unsigned still = 0; still < 3;) {
		ssize_t n = send(slow, request, sizeof(request) - 1, MSG_NOSIGNAL);

		assert_true(n == sizeof(request) - 1 || (n < 0 && errno == EAGAIN));
		still = n < 0 ? still + 1 : 0;
		asked += n > 0;
		turn(host);
	}
	served = vmm->statuses;
	assert_true(served < asked);
	turn(host);
	assert_int_equal(vmm->statuses, served);
	assert_non_null(strstr(ask(host, other, request), "\"return\""));

	/* It reads, and gets everything. */
	for (unsigned idle = 0; idle < 3;) {
		const char *text = take(slow);

		assert_non_null(text);
		idle = text[0] ? 0 : idle + 1;
		for (; (text = strchr(text, '\n')); text++)
			answered++;
		turn(host);
	}
	assert_int_equal(answered, asked);

	/* Events do not wait for it to read. */
	send_with_fds(slow, "{\"execute\":\"upgrade\",\"id\":1}\n", 2);
	turn(host);
	assert_int_equal(vmm->upgrades, 1);
	big = calloc(1, 16 * 1024);
	(void)memset(big, 'x', 16 * 1024 - 1);
	for (unsigned i = 0; i < 100; i++)
		control_client_event(vmm->upgrader, "NOISE", json_string(big));
	free(big);
	for (unsigned i = 0; i < 1000 && take(slow); i++)
		turn(host);
	assert_null(take(slow));
	control_client_return(vmm->upgrader, json_object());
	close_fd(vmm->request.sock);
	close_fd(vmm->request.target_pidfd);

	assert_non_null(strstr(ask(host, other, request), "\"return\""));
	close_fd(slow);
	close_fd(other);
}

/* Another user, who got at the socket in spite of its directory. */
static void test_stranger(void **state)
{
	struct host *host = *state;
	int status = 0;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = fork();
	if (pid == 0) {
		char byte;
		int fd;

		if (setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		fd = dial(host);
		(void)fcntl(fd, F_SETFL, 0);
		_exit(recv(fd, &byte, 1, 0) > 0 ? 1 : 0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		(void)usleep(1000);
		turn(host);
	}
	assert_int_equal(status, 0);
}

static void test_too_many_clients(void **state)
{
	struct host *host = *state;
	int fds[33];

	for (unsigned i = 0; i < 32; i++)
		fds[i] = greeted(host);
	fds[32] = dial(host);
	turn(host);
	assert_null(take(fds[32]));
	close_fd(fds[0]);
	turn(host);
	fds[0] = greeted(host);
	for (unsigned i = 0; i < 33; i++)
		close_fd(fds[i]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_greeting_and_verbs),
		TEST(test_secret),
		TEST(test_attest),
		TEST(test_pieces),
		TEST(test_garbage),
		TEST(test_oversize),
		TEST(test_fds_of_other_verbs_are_closed),
		TEST(test_upgrade),
		TEST(test_upgrader_leaves),
		TEST(test_done_with_asking),
		TEST(test_previous_program),
		TEST(test_waiters_move),
		TEST(test_thaw),
		TEST(test_latecomer),
		TEST(test_slow_reader),
		TEST(test_stranger),
		TEST(test_too_many_clients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
