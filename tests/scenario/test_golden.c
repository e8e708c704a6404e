// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * State that an older release has written is taken by this build: recordings of upgrades, one for
 * each version of the protocol and of the sections, are played to a target, which must run the
 * guest.
 *
 *	test_golden FILE...		play them
 *	test_golden --record FILE	make one, of a new guest
 *
 * A recording is what a target gets: the offer, the machine's description, the slots of the state
 * area, and of each descriptor what it is, with the pages of memory that are not zero.  It is made
 * on softkvm, whose machine is the same everywhere, and played there.  Numbers are of x86-64.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "kvm/cleanup.h"
#include "lib/area.h"
#include "lib/channel.h"
#include "lib/protocol.h"
#include "lib/section.h"
#include "vmm/client.h"
#include "vmm/process.h"

#define MAGIC	   "vmrelay recording 1, SPDX-License-Identifier: GPL-2.0-or-later\n"
#define VM_NAME	   "golden"
#define CPUS	   2
#define FDS_MAX	   64
#define PAGE	   4096U
#define RECORD_MAX (16U << 20)
#define WAIT_MS	   20000

enum record_kind {
	RECORD_OFFER = 1,
	RECORD_DESCRIPTION,
	RECORD_FIRST, /* of a slot, which follows as a whole */
	RECORD_SLOT,
	RECORD_FD,
	RECORD_PAGE,
	RECORD_END,
};

struct record {
	uint32_t kind;
	uint32_t which; /* slot or descriptor */
	uint64_t len;	/* of what follows */
};

enum fd_kind { FD_MEMORY = 1, FD_EVENT, FD_OTHER };

struct fd_record {
	uint32_t kind;
	uint32_t seals;
	uint64_t size;
};

struct page_record {
	uint64_t offset;
	uint8_t bytes[PAGE];
};

/* Recording: this process is the target of an upgrade, and gives it up. */

static bool put(FILE *file, enum record_kind kind, uint32_t which, const void *data, size_t len)
{
	const struct record record = {.kind = kind, .which = which, .len = len};

	return fwrite(&record, sizeof(record), 1, file) == 1 &&
	       (len == 0 || fwrite(data, len, 1, file) == 1);
}

static bool put_pages(FILE *file, uint32_t which, int fd, size_t size)
{
	static const uint8_t zero[PAGE];
	const uint8_t *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	bool ok = bytes != MAP_FAILED;

	for (size_t at = 0; ok && at + PAGE <= size; at += PAGE) {
		struct page_record page = {.offset = at};

		if (memcmp(bytes + at, zero, PAGE) == 0)
			continue;
		memcpy(page.bytes, bytes + at, PAGE);
		ok = put(file, RECORD_PAGE, which, &page, sizeof(page));
	}
	return ok;
}

static bool put_fd(FILE *file, uint32_t which, int fd)
{
	struct fd_record record = {.kind = FD_OTHER};
	char path[64], link[256] = "";
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) < 0 || readlink(path, link, sizeof(link) - 1) < 0)
		return false;
	if (strncmp(link, "/memfd:", 7) == 0)
		record = (struct fd_record){.kind = FD_MEMORY,
					    .seals = (uint32_t)fcntl(fd, F_GET_SEALS),
					    .size = (uint64_t)st.st_size};
	else if (strstr(link, "[eventfd]"))
		record.kind = FD_EVENT;
	return put(file, RECORD_FD, which, &record, sizeof(record)) &&
	       (record.kind != FD_MEMORY || put_pages(file, which, fd, record.size));
}

/* A vCPU's is published in two parts: the target begins with the first. */
static bool put_slot(FILE *file, const struct area *area, unsigned slot, bool has_first,
		     uint8_t *bytes)
{
	int first = has_first ? area_take(area, slot, AREA_FIRST, bytes, 0) : 0;
	int len = first < 0 ? first : area_take(area, slot, AREA_WHOLE, bytes, (size_t)first);

	return check(len > 0, "slot %u", slot) &&
	       (!has_first || put(file, RECORD_FIRST, slot, bytes, (size_t)first)) &&
	       put(file, RECORD_SLOT, slot, bytes, (size_t)len);
}

/* As a target of this build says it. */
static size_t make_hello(struct hello_message *ret)
{
	json_t *version = NULL, *section;
	size_t i;

	memset(ret, 0, sizeof(*ret));
	ret->hello.protocol_min = VMR_PROTOCOL_MIN;
	ret->hello.protocol_max = VMR_PROTOCOL_MAX;
	(void)h_vmrelay(&version, "version", "--json");
	json_array_foreach(json_object_get(version, "sections"), i, section)
	{
		ret->readable[i] = (struct hello_section){
			.type = (uint32_t)json_integer_value(json_object_get(section, "type")),
			.min_version = (uint16_t)json_integer_value(
				json_object_get(section, "min_version")),
			.max_version =
				(uint16_t)json_integer_value(json_object_get(section, "version")),
		};
	}
	ret->hello.n_sections = (uint32_t)i;
	json_decref(version);
	return sizeof(ret->hello) + i * sizeof(ret->readable[0]);
}

static bool receive(int sock, enum channel_type type, struct channel_message *ret)
{
	int r = channel_wait(sock, WAIT_MS, ret);

	if (r == 0 && ret->type == CHANNEL_FAILED)
		return check(false, "the peer says: %s", (const char *)ret->payload);
	return check(r == 0, "waiting for message %d: %s", (int)type, strerror(-r)) &&
	       check(ret->type == type, "message %d instead of %d", (int)ret->type, (int)type);
}

static bool record(int sock, FILE *file)
{
	struct channel_message m = {.n_fds = 0};
	struct hello_message hello;
	struct area area = AREA_INIT;
	struct offer offer;
	autofree uint8_t *bytes = malloc(RECORD_MAX);
	int fds[FDS_MAX];
	unsigned n = 0;
	size_t hello_len = make_hello(&hello);
	bool ok = bytes && channel_send(sock, CHANNEL_HELLO, &hello, hello_len, NULL, 0) == 0 &&
		  receive(sock, CHANNEL_OFFER, &m) && m.len == sizeof(offer);

	if (!ok)
		return false;
	memcpy(&offer, m.payload, sizeof(offer));

	int description = m.fds[0], area_fd = m.fds[1];

	ok = check(offer.n_fds <= FDS_MAX && offer.description_size <= RECORD_MAX, "too large") &&
	     pread(description, bytes, offer.description_size, 0) ==
		     (ssize_t)offer.description_size &&
	     put(file, RECORD_OFFER, 0, &offer, sizeof(offer)) &&
	     put(file, RECORD_DESCRIPTION, 0, bytes, offer.description_size);
	while (ok && n < offer.n_fds) {
		ok = receive(sock, CHANNEL_FDS, &m);
		for (unsigned i = 0; ok && i < m.n_fds && n < FDS_MAX; i++)
			fds[n++] = m.fds[i];
	}
	ok = ok && area_adopt(&area, area_fd, offer.n_vcpus + 1, offer.slot_size) == 0 &&
	     channel_send(sock, CHANNEL_READY, NULL, 0, NULL, 0) == 0 &&
	     receive(sock, CHANNEL_STOPPED, &m);
	for (unsigned i = 0; ok && i <= offer.n_vcpus; i++)
		ok = put_slot(file, &area, i, i < offer.n_vcpus, bytes);
	for (unsigned i = 0; ok && i < n; i++)
		ok = put_fd(file, i, fds[i]);
	ok = ok && put(file, RECORD_END, 0, NULL, 0) && fclose(file) == 0;
	/* It takes the guest back now, and kills us. */
	(void)channel_send(sock, CHANNEL_FAILED, "recorded", 8, NULL, 0);
	return ok;
}

/* `upgrade` of the control socket: vmrelay-control(7).  The connection lasts until the outcome. */
static struct client *ask_for_upgrade(int sock, int pidfd)
{
	const int fds[] = {sock, pidfd};
	struct client *client = NULL;
	struct vmm_error error = {.text = ""};

	if (!check(client_connect(VM_NAME, WAIT_MS, &client, &error) == 0 &&
			   client_send(client, "upgrade",
				       json_pack("{s:b, s:b, s:i, s:i}", "check", 0, "strict", 0,
						 "max_downtime_ms", WAIT_MS, "timeout_ms", WAIT_MS),
				       fds, ARRAY_SIZE(fds), &error) == 0,
		   "asking for an upgrade: %s", error.text))
		return client_free(client);
	return client;
}

static bool record_file(const char *path)
{
	char cpus[16];
	int pair[2], status;
	struct h_vm vm = {.name = VM_NAME, .cpus = CPUS};
	FILE *file = fopen(path, "wxe");

	(void)snprintf(cpus, sizeof(cpus), "%u", CPUS);
	if (!check(file && fputs(MAGIC, file) >= 0, "cannot create %s: %m", path) ||
	    !check(h_vmrelay(NULL, "run", "--detach", "--name", VM_NAME, "--kernel",
			     h_guest("ticker"), "--cpus", cpus, "--memory", "4M") == 0 &&
			   h_vm_watch(&vm) && h_vm_ticks(&vm),
		   "the guest does not run") ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	(void)fflush(file);

	pid_t pid = fork();

	if (pid == 0) {
		close_fd(pair[0]);
		_exit(record(pair[1], file) ? 0 : 1);
	}

	autofd pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct client *client = ask_for_upgrade(pair[0], pidfd);
	bool ok = client != NULL;

	close_fd(pair[0]);
	close_fd(pair[1]);
	(void)waitpid(pid, &status, 0);
	client_free(client);
	ok = ok && check(h_vm_is_alive(&vm), "the guest did not stay");
	h_vm_stop(&vm);
	return ok;
}

/* Playing: this process is the source. */

struct recording {
	struct offer offer;
	uint8_t *description;
	struct area area;
	int fds[FDS_MAX];
	unsigned n_fds;
};

static bool get(FILE *file, struct record *ret, uint8_t *payload)
{
	return fread(ret, sizeof(*ret), 1, file) == 1 && ret->len <= RECORD_MAX &&
	       (ret->len == 0 || fread(payload, ret->len, 1, file) == 1);
}

static int make_fd(const struct fd_record *record)
{
	int fd;

	if (record->kind == FD_EVENT)
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (record->kind != FD_MEMORY)
		return -1;
	fd = memfd_create("golden", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ftruncate(fd, (off_t)record->size) < 0)
		return close_fd(fd);
	return fd;
}

/* Seals go on when the pages are there. */
static bool load(FILE *file, struct recording *r)
{
	autofree uint8_t *payload = malloc(RECORD_MAX);
	char magic[sizeof(MAGIC)] = "";
	uint32_t seals[FDS_MAX] = {0};
	struct record record = {0};
	size_t first = 0;

	if (!payload || !fgets(magic, sizeof(magic), file) || strcmp(magic, MAGIC) != 0)
		return false;
	while (get(file, &record, payload) && record.kind != RECORD_END) {
		const struct fd_record *fd = (const struct fd_record *)payload;
		const struct page_record *page = (const struct page_record *)payload;

		switch (record.kind) {
		case RECORD_OFFER:
			memcpy(&r->offer, payload, sizeof(r->offer));
			if (area_create(&r->area, r->offer.n_vcpus + 1, r->offer.slot_size) < 0)
				return false;
			break;
		case RECORD_DESCRIPTION:
			r->description = malloc(record.len);
			memcpy(r->description, payload, record.len);
			break;
		case RECORD_FIRST:
			first = record.len;
			area_publish(&r->area, record.which, AREA_FIRST, payload, 0, first);
			break;
		case RECORD_SLOT:
			area_publish(&r->area, record.which, AREA_WHOLE, payload, first,
				     record.len);
			first = 0;
			break;
		case RECORD_FD:
			if (record.which != r->n_fds || r->n_fds == FDS_MAX)
				return false;
			seals[r->n_fds] = fd->seals;
			r->fds[r->n_fds++] = make_fd(fd);
			break;
		case RECORD_PAGE:
			if (record.which >= r->n_fds || pwrite(r->fds[record.which], page->bytes,
							       PAGE, (off_t)page->offset) != PAGE)
				return false;
			break;
		default:
			return false;
		}
	}
	for (unsigned i = 0; i < r->n_fds; i++)
		if (seals[i] && fcntl(r->fds[i], F_ADD_SEALS, seals[i]) < 0)
			return false;
	return record.kind == RECORD_END;
}

static int listen_at(int dir_fd, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir_fd,
		       name);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
		return close_fd(fd);
	return fd;
}

/* What the recorded VM had in its runtime directory, by the tags of vmm/process.h. */
static bool make_place(struct recording *r, int *ret_log)
{
	struct section_reader reader = {r->description, r->offer.description_size};
	struct section s;
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", getenv("VMRELAY_RUNTIME_DIR"), VM_NAME);
	if (mkdir(path, 0700) < 0)
		return check(false, "mkdir %s: %m", path);

	int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*ret_log = openat(dir_fd, "log", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (section_next(&reader, &s) > 0) {
		uint32_t where;
		int fd = -1;

		if (s.header.type != SECTION_VMM_FD || s.header.length != sizeof(where))
			continue;
		memcpy(&where, s.payload, sizeof(where));
		switch (s.header.instance) {
		case VMM_FD_RUNTIME_DIR:
			fd = dup(dir_fd);
			break;
		case VMM_FD_RUNTIME_LOCK:
			fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
			(void)flock(fd, LOCK_EX);
			break;
		case VMM_FD_CONTROL_LISTEN:
			fd = listen_at(dir_fd, "control.sock");
			break;
		case VMM_FD_CONSOLE_LISTEN:
			fd = listen_at(dir_fd, "console.sock");
			break;
		case VMM_FD_PROGRAM:
			fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
			break;
		default:
			continue;
		}
		if (where >= r->n_fds || fd < 0)
			return check(false, "descriptor with tag %u: %m", s.header.instance);
		close_fd(r->fds[where]);
		r->fds[where] = fd;
	}
	close_fd(dir_fd);
	return true;
}

static pid_t start_target(int sock, int log_fd)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)dup2(log_fd, STDERR_FILENO);
		(void)dup2(sock, 3);
		(void)close_range(4, ~0U, CLOSE_RANGE_CLOEXEC);
		(void)execl(h_program(), "vmrelay", "receive", "--fd", "3", "--", NULL);
		_exit(127);
	}
	return pid;
}

static bool offer(int sock, struct recording *r)
{
	struct channel_message m = {.n_fds = 0};
	autofd description = memfd_create("golden", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	autofd pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	const int fds[PROTOCOL_FDS_MIN] = {description, r->area.fd, pidfd};

	r->offer.pid = (uint32_t)getpid();
	return receive(sock, CHANNEL_HELLO, &m) &&
	       write(description, r->description, r->offer.description_size) ==
		       (ssize_t)r->offer.description_size &&
	       fcntl(description, F_ADD_SEALS,
		     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0 &&
	       channel_send(sock, CHANNEL_OFFER, &r->offer, sizeof(r->offer), fds,
			    PROTOCOL_FDS_MIN) == 0 &&
	       channel_send(sock, CHANNEL_FDS, NULL, 0, r->fds, r->n_fds) == 0 &&
	       receive(sock, CHANNEL_READY, &m) &&
	       channel_send(sock, CHANNEL_STOPPED, NULL, 0, NULL, 0) == 0 &&
	       receive(sock, CHANNEL_ENTERED, &m);
}

static void play(const char *path)
{
	struct recording r = {.area = AREA_INIT};
	struct h_vm vm = {.name = VM_NAME};
	FILE *file = fopen(path, "re");
	int pair[2] = {-1, -1}, log_fd = -1;
	bool ok = check(file && load(file, &r), "%s is no recording", path) &&
		  make_place(&r, &log_fd) &&
		  socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0;
	pid_t pid = ok ? start_target(pair[1], log_fd) : -1;

	vm.cpus = r.offer.n_vcpus;
	close_fd(pair[1]);
	ok = ok && check(offer(pair[0], &r), "the relay failed: see the log");
	/* From here on it must not depend on us. */
	close_fd(pair[0]);
	close_fd(log_fd);
	area_done(&r.area);
	for (unsigned i = 0; i < r.n_fds; i++)
		close_fd(r.fds[i]);
	if (ok && check(h_vm_watch(&vm), "the guest does not run")) {
		(void)check(h_vm_pid(&vm) == pid, "another process runs it");
		(void)check(h_vm_is_alive(&vm) && h_vm_ticks(&vm), "the guest does not go on");
		(void)check(h_vm_errors(&vm) == 0, "registers were not preserved");
		(void)check(h_vm_upgrade(&vm, NULL) > 0, "it cannot be upgraded");
		(void)check(h_vm_is_alive(&vm) && h_vm_ticks(&vm), "the guest does not go on");
		h_vm_stop(&vm);
	}
	free(r.description);
	if (file)
		(void)fclose(file);
	(void)waitpid(pid, NULL, ok ? 0 : WNOHANG);
	h_test("%s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
}

int main(int argc, char **argv)
{
	if (!h_kvm_is_usable())
		return h_skip_all("no usable /dev/kvm");
	h_init();
	if (argc == 3 && strcmp(argv[1], "--record") == 0) {
		(void)record_file(argv[2]);
		h_test("recording %s", argv[2]);
		return h_done();
	}
	for (int i = 1; i < argc; i++)
		play(argv[i]);
	return h_done();
}
