// SPDX-License-Identifier: GPL-2.0-or-later
/* The keeper: what a VMM, and a target, may send it; no KVM is needed. */
#include <errno.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <vmrelay/rescue.h>

#include "kvm/cleanup.h"
#include "lib/area.h"
#include "lib/channel.h"
#include "lib/protocol.h"
#include "lib/section.h"
#include "util.h"

#define SLOT_SIZE 8192U
#define TAG	  7
#define BLOB	  0x9000
#define TIMEOUT	  5000

/* One vCPU; the "VMM" and its "guardian" are children that do nothing but live until killed. */
struct fixture {
	unsigned n_open;
	int vmm_sock;
	struct vmr_keeper *keeper;
	struct area area;
	pid_t vmm, guardian;
	int extra_fd;
};

static pid_t start_sleeper(int *ret_pidfd)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)close_range(0, ~0U, 0); /* or our sockets would never be at their end */
		pause();
		_exit(0);
	}
	*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pid;
}

static void end_sleeper(pid_t *pid)
{
	if (*pid <= 0)
		return;
	(void)kill(*pid, SIGKILL);
	(void)waitpid(*pid, NULL, 0);
	*pid = 0;
}

static int setup(void **state)
{
	static struct fixture f;
	struct vmr_error error;
	int pair[2];

	f = (struct fixture){.n_open = count_fds(), .area = AREA_INIT, .extra_fd = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
	    vmr_keeper_new(pair[1], &f.keeper, &error) < 0)
		return -1;
	f.vmm_sock = pair[0];
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)vmr_keeper_free(f->keeper);
	close_fd(f->vmm_sock);
	close_fd(f->extra_fd);
	area_done(&f->area);
	end_sleeper(&f->vmm);
	end_sleeper(&f->guardian);
	if (count_fds() == f->n_open)
		return 0;
	print_error("fds leaked\n");
	return -1;
}

static void send_message(const struct fixture *f, enum channel_type type, const void *payload,
			 size_t len, const int *fds, unsigned n)
{
	assert_int_equal(channel_send(f->vmm_sock, type, payload, len, fds, n), 0);
}

/* Ends: the VMM's side says no more. */
static int wait_at_end(struct fixture *f, struct vmr_error *ret_error)
{
	f->vmm_sock = close_fd(f->vmm_sock);
	return vmr_keeper_wait(f->keeper, ret_error);
}

/*
 * The offer of a machine whose description is one fd, at position 0, and one blob; `spoil` may
 * change it, and what it comes with.
 */
static void send_offer_that(struct fixture *f, void (*spoil)(struct offer *offer, int *fds))
{
	const uint32_t position = 0;
	uint8_t bytes[256];
	struct section_writer w = {bytes, sizeof(bytes), 0};
	autofd description = memfd_create("description", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int pidfd;

	assert_int_equal(section_put(&w, SECTION_VMM_FD, TAG, &position, sizeof(position)), 0);
	assert_int_equal(section_put(&w, BLOB, 0, "options", 7), 0);
	assert_int_equal(write(description, bytes, w.len), w.len);
	assert_int_equal(
		fcntl(description, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
	assert_int_equal(area_create(&f->area, 2, SLOT_SIZE), 0);
	f->vmm = start_sleeper(&pidfd);

	struct offer offer = {
		.protocol = VMR_PROTOCOL_MAX,
		.pid = (uint32_t)f->vmm,
		.n_fds = 1,
		.n_vcpus = 1,
		.slot_size = SLOT_SIZE,
		.description_size = w.len,
		.version = "1.2",
	};
	int fds[] = {description, f->area.fd, pidfd};

	if (spoil)
		spoil(&offer, fds);
	send_message(f, CHANNEL_OFFER, &offer, sizeof(offer), fds, 3);
	close_fd(pidfd);
}

static void send_offer(struct fixture *f)
{
	send_offer_that(f, NULL);
}

static void send_fd(struct fixture *f)
{
	f->extra_fd = memfd_create("extra", MFD_CLOEXEC);
	send_message(f, CHANNEL_FDS, NULL, 0, &f->extra_fd, 1);
}

static void send_keep(struct fixture *f)
{
	int pidfd;

	f->guardian = start_sleeper(&pidfd);
	send_message(f, CHANNEL_KEEP, NULL, 0, &pidfd, 1);
	close_fd(pidfd);
}

static void arm(struct fixture *f)
{
	send_offer(f);
	send_fd(f);
	send_keep(f);
}

/* As a guardian does before it ends. */
static void fill_area(struct fixture *f)
{
	uint8_t bytes[64];
	struct section_writer w = {bytes, sizeof(bytes), 0};

	assert_int_equal(section_put(&w, SECTION_REGS, 0, "registers", 9), 0);
	for (unsigned i = 0; i < 2; i++)
		area_publish(&f->area, i, AREA_WHOLE, bytes, 0, w.len);
}

static void orphan(struct fixture *f)
{
	struct vmr_error error;

	arm(f);
	fill_area(f);
	end_sleeper(&f->vmm);
	end_sleeper(&f->guardian);
	assert_int_equal(vmr_keeper_wait(f->keeper, &error), VMR_KEEPER_ORPHANED);
}

static void test_nobody(void **state)
{
	struct vmr_error error;

	assert_int_equal(wait_at_end(*state, &error), VMR_KEEPER_ENDED);
}

static void test_out_of_turn(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	send_keep(f);
	assert_int_equal(vmr_keeper_wait(f->keeper, &error), -EPROTO);
}

static void test_fds_without_offer(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	send_fd(f);
	assert_int_equal(vmr_keeper_wait(f->keeper, &error), -EBADMSG);
}

static void test_too_many_fds(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;
	int two[2];

	send_offer(f);
	two[0] = two[1] = f->area.fd;
	send_message(f, CHANNEL_FDS, NULL, 0, two, 2);
	assert_int_equal(vmr_keeper_wait(f->keeper, &error), -EBADMSG);
}

static void test_malformed(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	send_message(f, CHANNEL_OFFER, "short", 5, NULL, 0);
	assert_int_equal(vmr_keeper_wait(f->keeper, &error), -EBADMSG);
	assert_int_equal(send(f->vmm_sock, "x", 1, 0), 1);
	assert_int_equal(vmr_keeper_wait(f->keeper, &error), -EBADMSG);
}

/* Offers of the right length that no VMM makes. */

static void spoil_protocol(struct offer *offer, int *fds)
{
	(void)fds;
	offer->protocol = VMR_PROTOCOL_MAX + 1;
}

static void spoil_no_vcpus(struct offer *offer, int *fds)
{
	(void)fds;
	offer->n_vcpus = 0;
}

static void spoil_vcpus(struct offer *offer, int *fds)
{
	(void)fds;
	offer->n_vcpus = UINT32_MAX;
}

static void spoil_fds(struct offer *offer, int *fds)
{
	(void)fds;
	offer->n_fds = UINT32_MAX;
}

static void spoil_slots(struct offer *offer, int *fds)
{
	(void)fds;
	offer->slot_size = UINT64_MAX;
}

static void spoil_description_size(struct offer *offer, int *fds)
{
	(void)fds;
	offer->description_size++;
}

static void spoil_no_description(struct offer *offer, int *fds)
{
	(void)fds;
	offer->description_size = 0;
}

/* Sealed, but somebody could write to it. */
static void spoil_description(struct offer *offer, int *fds)
{
	offer->description_size = (uint64_t)lseek(fds[1], 0, SEEK_END);
	fds[0] = fds[1];
}

static void spoil_area(struct offer *offer, int *fds)
{
	(void)offer;
	fds[1] = fds[0];
}

static void spoil_area_size(struct offer *offer, int *fds)
{
	(void)fds;
	offer->slot_size += SLOT_SIZE;
}

static void test_hostile_offers(void **state)
{
	static const struct {
		void (*spoil)(struct offer *offer, int *fds);
		const char *text;
	} rows[] = {
		{spoil_protocol, "the source's offer is out of range"},
		{spoil_no_vcpus, "the source's offer is out of range"},
		{spoil_vcpus, "the source's offer is out of range"},
		{spoil_fds, "the source's offer is out of range"},
		{spoil_slots, "the source's offer is out of range"},
		{spoil_description_size, "the machine description is not a sealed memory object"},
		{spoil_no_description, "the machine description is not a sealed memory object"},
		{spoil_description, "the machine description is not a sealed memory object"},
		{spoil_area, "the state area is not what the offer says"},
		{spoil_area_size, "the state area is not what the offer says"},
	};
	struct fixture *f = *state;
	struct vmr_error error;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		send_offer_that(f, rows[i].spoil);
		assert_int_equal(vmr_keeper_wait(f->keeper, &error), -EBADMSG);
		assert_string_equal(error.text, rows[i].text);
		assert_int_equal(vmr_keeper_fd(f->keeper, TAG), -1);
		end_sleeper(&f->vmm);
		area_done(&f->area);
	}
	/* None of them spoils the next. */
	orphan(f);
}

static void test_incomplete_keep(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	send_offer(f);
	send_keep(f); /* the fd that was announced is not there */
	assert_int_equal(vmr_keeper_wait(f->keeper, &error), -EPROTO);
}

/* What the VMM let go of before it died is not the keeper's. */
static void test_cancelled(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	arm(f);
	send_message(f, CHANNEL_CANCEL, NULL, 0, NULL, 0);
	end_sleeper(&f->vmm);
	assert_int_equal(wait_at_end(f, &error), VMR_KEEPER_ENDED);
	assert_int_equal(vmr_keeper_fd(f->keeper, TAG), -1);
}

/* The same, said and done between the keeper's last look at the socket and its look at the pidfd.
 */
static void test_cancelled_late(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;
	pid_t pid;

	arm(f);
	end_sleeper(&f->guardian);
	(void)setenv("VMRELAY_FAULT", "keeper-read:sleep=1000", 1);
	pid = fork();
	if (pid == 0) {
		(void)usleep(300000);
		send_message(f, CHANNEL_CANCEL, NULL, 0, NULL, 0);
		(void)kill(f->vmm, SIGKILL);
		_exit(0);
	}
	assert_int_equal(wait_at_end(f, &error), VMR_KEEPER_ENDED);
	(void)unsetenv("VMRELAY_FAULT");
	assert_int_equal(wait_for(pid), 0);
}

/* A VMM that dies while it makes its offer has not put the guest into the keeper's hands. */
static void test_dead_too_early(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	send_offer(f);
	send_fd(f);
	end_sleeper(&f->vmm);
	assert_int_equal(wait_at_end(f, &error), VMR_KEEPER_ENDED);
}

static void test_lost(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	arm(f);
	end_sleeper(&f->guardian);
	end_sleeper(&f->vmm);
	assert_int_equal(vmr_keeper_wait(f->keeper, &error), VMR_KEEPER_LOST);
	assert_non_null(strstr(error.text, "killed"));
}

/* The next VMM of the same guest takes the place of the one before. */
static void test_next_vmm(void **state)
{
	struct fixture *f = *state;

	arm(f);
	send_message(f, CHANNEL_CANCEL, NULL, 0, NULL, 0);
	end_sleeper(&f->vmm);
	end_sleeper(&f->guardian);
	area_done(&f->area);
	f->extra_fd = close_fd(f->extra_fd);
	orphan(f);
	assert_true(vmr_keeper_fd(f->keeper, TAG) >= 0);
}

static void test_what_is_kept(void **state)
{
	struct fixture *f = *state;
	size_t len = 0;

	orphan(f);
	assert_true(vmr_keeper_fd(f->keeper, TAG) >= 0);
	assert_int_equal(vmr_keeper_fd(f->keeper, TAG + 1), -1);
	assert_memory_equal(vmr_keeper_blob(f->keeper, BLOB, &len), "options", 7);
	assert_int_equal(len, 7);
}

/* Targets. */

static enum vmr_outcome hand_over(struct fixture *f, int sock, int pidfd, bool check_only,
				  struct vmr_error *ret_error)
{
	const struct vmr_keeper_target target = {
		.sock = sock, .pidfd = pidfd, .timeout_ms = TIMEOUT, .check_only = check_only};
	struct vmr_keeper_report report;

	return vmr_keeper_hand_over(f->keeper, &target, &report, ret_error);
}

/* Of a target that can read what fill_area() has written. */
static const struct hello_message good_hello = {
	.hello = {.protocol_min = VMR_PROTOCOL_MIN,
		  .protocol_max = VMR_PROTOCOL_MAX,
		  .n_sections = 1},
	.readable = {{SECTION_REGS, 1, 1}},
};

static void say_hello(int sock, const struct hello_message *hello)
{
	size_t len = sizeof(hello->hello) + hello->hello.n_sections * sizeof(hello->readable[0]);

	(void)channel_send(sock, CHANNEL_HELLO, hello, len, NULL, 0);
}

/* A target: a child that does this with the socket, and then sleeps if that returns. */
static pid_t start_target(int sock, void (*act)(int sock, const void *arg), const void *arg,
			  int *ret_pidfd)
{
	pid_t pid = fork();

	if (pid == 0) {
		act(sock, arg);
		(void)close_range(0, ~0U, 0);
		pause();
		_exit(0);
	}
	*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pid;
}

struct saying {
	const struct hello_message *hello;
	bool is_ready;
};

static void say(int sock, const void *arg)
{
	const struct saying *saying = arg;

	say_hello(sock, saying->hello);
	if (saying->is_ready)
		(void)channel_send(sock, CHANNEL_READY, NULL, 0, NULL, 0);
	else
		(void)channel_send(sock, CHANNEL_FAILED, "no", 2, NULL, 0);
	(void)channel_send(sock, CHANNEL_FAILED, "never", 5, NULL, 0);
}

/* A target that says these things before it waits for its end. */
static enum vmr_outcome try_target(struct fixture *f, const struct hello_message *hello,
				   bool is_ready, bool check_only, struct vmr_error *ret_error)
{
	const struct saying saying = {hello, is_ready};
	int pair[2], pidfd;
	enum vmr_outcome outcome;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = start_target(pair[0], say, &saying, &pidfd);
	outcome = hand_over(f, pair[1], pidfd, check_only, ret_error);
	close_fd(pair[0]);
	end_sleeper(&pid);
	return outcome;
}

static void test_targets(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;
	struct hello_message hello = good_hello;

	orphan(f);
	/* It refuses; it could take the guest; it fails with it.  The guest is there for the next.
	 */
	assert_int_equal(try_target(f, &hello, false, false, &error), VMR_OUTCOME_REFUSED);
	assert_non_null(strstr(error.text, "no"));
	assert_int_equal(try_target(f, &hello, true, true, &error), VMR_OUTCOME_REFUSED);
	assert_int_equal(error.code, 0);
	assert_int_equal(try_target(f, &hello, true, false, &error), VMR_OUTCOME_KEPT);
	assert_int_equal(area_owner(&f->area), AREA_SOURCE);

	/* It cannot read what was saved. */
	hello.readable[0] = (struct hello_section){SECTION_REGS, 2, 3};
	assert_int_equal(try_target(f, &hello, true, false, &error), VMR_OUTCOME_REFUSED);
	hello.readable[0] = (struct hello_section){SECTION_SREGS, 1, 1};
	assert_int_equal(try_target(f, &hello, true, false, &error), VMR_OUTCOME_REFUSED);
	assert_non_null(strstr(error.text, "cannot read"));

	/* It speaks something else. */
	hello.hello.protocol_min = hello.hello.protocol_max = VMR_PROTOCOL_MAX + 1;
	assert_int_equal(try_target(f, &hello, true, false, &error), VMR_OUTCOME_REFUSED);
	assert_int_equal(area_owner(&f->area), AREA_SOURCE);
}

/* Not the process that the operator started: it gets nothing, the guest stays. */
static void test_stranger(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;
	automessage m = {.n_fds = 0};
	int pair[2], pidfd;
	pid_t pid;

	orphan(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = start_sleeper(&pidfd);
	say_hello(pair[0], &good_hello);
	assert_int_equal(hand_over(f, pair[1], pidfd, false, &error), VMR_OUTCOME_REFUSED);
	assert_non_null(strstr(error.text, "is not the target that was started"));
	assert_int_equal(channel_receive(pair[0], &m), 0);
	assert_int_equal(m.type, CHANNEL_CANCEL);
	assert_int_equal(area_owner(&f->area), AREA_SOURCE);
	close_fd(pair[0]);
	end_sleeper(&pid);
}

static void hello_and_end(int sock, const void *hello)
{
	say_hello(sock, hello);
	_exit(0);
}

/* As channel_send() does it, but for the credentials. */
static void hello_without_proof(int sock, const void *arg)
{
	const struct hello_message *hello = arg;
	struct {
		uint32_t magic;
		uint16_t type, n_fds;
		uint32_t len, reserved;
		struct hello hello;
	} packet = {0x4d524c59, CHANNEL_HELLO, 0, sizeof(packet.hello), 0, hello->hello};

	(void)send(sock, &packet, sizeof(packet), MSG_NOSIGNAL);
}

/* Who was dead before it was looked at, or does not say who it is, gets nothing either. */
static void test_unproven(void **state)
{
	static const struct {
		void (*act)(int sock, const void *hello);
		const char *text;
	} rows[] = {
		{hello_and_end, "ended when it had said hello"},
		{hello_without_proof, "did not prove which process it is"},
	};
	struct fixture *f = *state;
	struct vmr_error error;

	orphan(f);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pollfd p = {.events = POLLIN};
		int pair[2], pidfd;
		pid_t pid;

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		pid = start_target(pair[0], rows[i].act, &good_hello, &pidfd);
		/* It has said so, or is dead, before anybody asks who it is. */
		p.fd = rows[i].act == hello_and_end ? pidfd : pair[1];
		assert_int_equal(poll(&p, 1, TIMEOUT), 1);
		if (rows[i].act == hello_and_end)
			end_sleeper(&pid);
		assert_int_equal(hand_over(f, pair[1], pidfd, false, &error), VMR_OUTCOME_REFUSED);
		assert_non_null(strstr(error.text, rows[i].text));
		assert_int_equal(area_owner(&f->area), AREA_SOURCE);
		close_fd(pair[0]);
		end_sleeper(&pid);
	}
}

static void get_ready_and_die(int sock, const void *hello)
{
	automessage m = {.n_fds = 0};

	say_hello(sock, hello);
	(void)channel_wait(sock, TIMEOUT, &m);
	(void)channel_send(sock, CHANNEL_READY, NULL, 0, NULL, 0);
	_exit(0);
}

/* A target that is asked to take the guest, and dead. */
static enum vmr_outcome try_dying_target(struct fixture *f, struct vmr_error *ret_error)
{
	int pair[2], pidfd;
	enum vmr_outcome outcome;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = start_target(pair[0], get_ready_and_die, &good_hello, &pidfd);
	outcome = hand_over(f, pair[1], pidfd, false, ret_error);
	close_fd(pair[0]);
	end_sleeper(&pid);
	return outcome;
}

/* One that fails has written to the state area before. */
static void test_state_is_gone(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;
	struct area_slot *slots;

	orphan(f);
	assert_int_equal(try_target(f, &good_hello, true, false, &error), VMR_OUTCOME_KEPT);
	slots = (struct area_slot *)(f->area.base + sizeof(struct area_header));
	atomic_store(&slots[0].word[AREA_WHOLE], AREA_EMPTY);
	assert_int_equal(try_target(f, &good_hello, true, false, &error), VMR_OUTCOME_REFUSED);
	assert_non_null(strstr(error.text, "malformed"));
}

struct sending {
	const struct hello_message *hello;
	enum channel_type type;
	const void *payload;
	size_t len;
	bool has_fd;
};

static void send_it(int sock, const void *arg)
{
	const struct sending *s = arg;

	if (s->hello)
		say_hello(sock, s->hello);
	(void)channel_send(sock, s->type, s->payload, s->len, &sock, s->has_fd);
}

/* A target that sends this in place of a hello, or of what follows a good one. */
static void expect_refusal_of(struct fixture *f, enum channel_type type, const void *payload,
			      size_t len, bool has_fd, bool is_after_hello, const char *text)
{
	const struct sending sending = {is_after_hello ? &good_hello : NULL, type, payload, len,
					has_fd};
	struct vmr_error error;
	int pair[2], pidfd;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = start_target(pair[0], send_it, &sending, &pidfd);
	assert_int_equal(hand_over(f, pair[1], pidfd, false, &error), VMR_OUTCOME_REFUSED);
	if (!strstr(error.text, text))
		fail_msg("'%s' is not in '%s'", text, error.text);
	/* Nobody was harmed, and the guest is there for the next. */
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	assert_int_equal(area_owner(&f->area), AREA_SOURCE);
	close_fd(pair[0]);
	end_sleeper(&pid);
}

static void test_hostile_targets(void **state)
{
	struct fixture *f = *state;
	/* With room for a section more than there may be. */
	struct {
		struct hello hello;
		struct hello_section readable[PROTOCOL_SECTIONS_MAX + 1];
	} hello = {.hello = {.protocol_min = VMR_PROTOCOL_MIN, .protocol_max = VMR_PROTOCOL_MAX}};
	const size_t len = sizeof(hello.hello);

	orphan(f);
	expect_refusal_of(f, CHANNEL_READY, NULL, 0, false, false, "did not say hello");
	expect_refusal_of(f, CHANNEL_HELLO, &hello, len, true, false, "did not say hello");
	expect_refusal_of(f, CHANNEL_HELLO, &hello, len - 1, false, false, "did not say hello");
	expect_refusal_of(f, CHANNEL_HELLO, &hello, len + 1, false, false, "hello is malformed");
	hello.hello.n_sections = 1;
	expect_refusal_of(f, CHANNEL_HELLO, &hello, len, false, false, "hello is malformed");
	hello.hello.n_sections = PROTOCOL_SECTIONS_MAX + 1;
	expect_refusal_of(f, CHANNEL_HELLO, &hello,
			  len + hello.hello.n_sections * sizeof(hello.readable[0]), false, false,
			  "hello is malformed");
	hello.hello.n_sections = UINT32_MAX;
	expect_refusal_of(f, CHANNEL_HELLO, &hello, len, false, false, "hello is malformed");

	expect_refusal_of(f, CHANNEL_ENTERED, NULL, 0, false, true, "message 6 out of turn");
	/* Only a confidential guest has a VM to go to. */
	expect_refusal_of(f, CHANNEL_READY, NULL, 0, true, true, "message 4 out of turn");
	expect_refusal_of(f, CHANNEL_HELLO, &hello, len, false, true, "message 1 out of turn");
}

/* The guardian did what it could, and that is no state. */
static void test_malformed_state(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	orphan(f);
	area_publish(&f->area, 1, AREA_WHOLE, "no section", 0, 10);
	assert_int_equal(try_target(f, &good_hello, true, false, &error), VMR_OUTCOME_REFUSED);
	assert_string_equal(error.text, "the saved state of the guest is malformed");
	area_publish(&f->area, 1, AREA_WHOLE, "", 0, 0);
}

/* It entered and died: what was saved is not what the guest was in the end. */
static void test_dead_after_entry(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	orphan(f);
	assert_true(area_own(&f->area, AREA_SOURCE, AREA_TARGET));
	assert_true(area_own(&f->area, AREA_TARGET, AREA_ENTERED));
	assert_int_equal(try_dying_target(f, &error), VMR_OUTCOME_LOST);
	assert_string_equal(error.text, "the new VMM died when it had begun to run the guest");
	assert_int_equal(vmr_keeper_fd(f->keeper, TAG), -1);
}

/* It entered and made an offer of its own, but had no time to say that it entered. */
static void test_offer_of_dead_target(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	orphan(f);
	assert_true(area_own(&f->area, AREA_SOURCE, AREA_TARGET));
	assert_true(area_own(&f->area, AREA_TARGET, AREA_ENTERED));
	area_done(&f->area);
	f->extra_fd = close_fd(f->extra_fd);
	arm(f);
	fill_area(f);

	assert_int_equal(try_dying_target(f, &error), VMR_OUTCOME_DONE);

	end_sleeper(&f->vmm);
	end_sleeper(&f->guardian);
	assert_int_equal(vmr_keeper_wait(f->keeper, &error), VMR_KEEPER_ORPHANED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_out_of_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fds_without_offer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many_fds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_offers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_incomplete_keep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancelled_late, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dead_too_early, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_next_vmm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_targets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stranger, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unproven, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_targets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_malformed_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dead_after_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offer_of_dead_target, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
