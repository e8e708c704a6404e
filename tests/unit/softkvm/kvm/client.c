// SPDX-License-Identifier: GPL-2.0-or-later
/* The client of the tests; see client.h. */
#include "client.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "softkvm/host/call.h"
#include "softkvm/kvm/vm.h"

#define FDS_MAX	     80
#define MEMORIES_MAX 8

struct mm {
	int unused;
};

struct client {
	struct host host;
	struct mm mm[2];
	unsigned this_mm;
	struct object *fd[FDS_MAX];
	struct {
		uint8_t *at;
		size_t len;
		int fd;
	} memory[MEMORIES_MAX];

	pthread_mutex_t lock;
	_Atomic bool is_stopped;
	bool is_interrupted;
	_Atomic bool *flag;
	void (*notify)(void *opaque);
	void *opaque;
};

struct call {
	struct client *client;
	bool is_fault;
};

/* host/object.h */

void object_init(struct object *object, const struct object_ops *ops, struct host *host)
{
	object->ops = ops;
	object->host = host;
	object->refs = 1;
}

struct object *object_get(struct object *object)
{
	object->refs++;
	return object;
}

struct object *object_put(struct object *object)
{
	if (object && --object->refs == 0)
		object->ops->release(object);
	return NULL;
}

/* host/call.h */

struct host *call_host(const struct call *call)
{
	return &call->client->host;
}

struct mm *call_mm(const struct call *call)
{
	return &call->client->mm[call->client->this_mm];
}

struct mm *mm_get(struct mm *mm)
{
	return mm;
}

struct mm *mm_put(struct mm *mm)
{
	(void)mm;
	return NULL;
}

/* The kernel knows what can be read and written. */
static bool copy(void *to, const void *from, size_t len, bool reads)
{
	struct iovec local = {reads ? to : (void *)(uintptr_t)from, len};
	struct iovec remote = {reads ? (void *)(uintptr_t)from : to, len};
	ssize_t n = reads ? process_vm_readv(getpid(), &local, 1, &remote, 1, 0)
			  : process_vm_writev(getpid(), &local, 1, &remote, 1, 0);

	return n == (ssize_t)len;
}

int call_copy_in(struct call *call, void *ret, uint64_t uaddr, size_t len)
{
	(void)call;
	return copy(ret, (const void *)(uintptr_t)uaddr, len, true) ? 0 : -EFAULT;
}

int call_copy_out_now(struct call *call, uint64_t uaddr, const void *data, size_t len)
{
	(void)call;
	return copy((void *)(uintptr_t)uaddr, data, len, false) ? 0 : -EFAULT;
}

int call_copy_out(struct call *call, uint64_t uaddr, const void *data, size_t len)
{
	call->is_fault |= call_copy_out_now(call, uaddr, data, len) < 0;
	return 0;
}

int call_object(struct call *call, int number, struct object **ret)
{
	int i = number - CLIENT_FD;

	if (i < 0 || i >= FDS_MAX || !call->client->fd[i])
		return -EBADF;
	*ret = object_get(call->client->fd[i]);
	return 0;
}

int call_fd(struct call *call, int number)
{
	int fd = dup(number);

	(void)call;
	return fd < 0 ? -errno : fd;
}

static int new_fd(struct client *client, struct object *object)
{
	for (int i = 0; i < FDS_MAX; i++)
		if (!client->fd[i]) {
			client->fd[i] = object;
			return CLIENT_FD + i;
		}
	(void)object_put(object);
	return -EMFILE;
}

long call_return_object(struct call *call, struct object *object, bool cloexec)
{
	(void)cloexec;
	return new_fd(call->client, object);
}

int call_share(struct call *call, uint64_t uaddr, uint64_t len,
	       int (*each)(void *opaque, uint64_t uaddr, uint64_t len, int fd, uint64_t offset,
			   bool writable),
	       void *opaque)
{
	for (unsigned i = 0; i < MEMORIES_MAX; i++) {
		uintptr_t at = (uintptr_t)call->client->memory[i].at;
		size_t size = call->client->memory[i].len;

		if (size > 0 && uaddr >= at && uaddr - at <= size && len <= size - (uaddr - at))
			return each(opaque, uaddr, len, call->client->memory[i].fd, uaddr - at,
				    true);
	}
	return -EFAULT;
}

uint64_t call_rlimit_memlock(struct call *call)
{
	(void)call;
	return UINT64_MAX;
}

const char *call_cgroup(struct call *call)
{
	(void)call;
	return "/";
}

bool call_is_killed(const struct call *call)
{
	(void)call;
	return false;
}

bool call_is_stopped(const struct call *call)
{
	return call->client->is_stopped;
}

bool call_is_interrupted(const struct call *call)
{
	struct client *client = call->client;
	bool is;

	(void)pthread_mutex_lock(&client->lock);
	is = client->is_interrupted;
	(void)pthread_mutex_unlock(&client->lock);
	return is;
}

static void tell(struct client *client)
{
	if (!client->flag)
		return;
	*client->flag = true;
	client->notify(client->opaque);
}

void call_watch(struct call *call, _Atomic bool *flag, void (*notify)(void *opaque), void *opaque)
{
	struct client *client = call->client;

	(void)pthread_mutex_lock(&client->lock);
	client->flag = flag;
	client->notify = notify;
	client->opaque = opaque;
	if (client->is_interrupted)
		tell(client);
	(void)pthread_mutex_unlock(&client->lock);
}

void call_signal_mask(struct call *call, uint64_t mask)
{
	(void)call, (void)mask;
}

int call_lock(struct call *call, pthread_mutex_t *mutex)
{
	(void)call;
	(void)pthread_mutex_lock(mutex);
	return 0;
}

/* The test's side. */

struct client *client_new(enum profile profile)
{
	struct client *client = calloc(1, sizeof(*client));
	struct object *kvm = NULL;

	if (!client)
		abort();
	client->host.config.profile = profile;
	client->host.memory_objects = memory_objects_new();
	(void)pthread_mutex_init(&client->lock, NULL);
	kvm = kvm_open(&client->host);
	if (!client->host.memory_objects || !kvm || new_fd(client, kvm) != CLIENT_FD)
		abort();
	return client;
}

struct client *client_free(struct client *client)
{
	if (!client)
		return NULL;
	for (int i = FDS_MAX - 1; i >= 0; i--)
		(void)object_put(client->fd[i]);
	(void)memory_objects_free(client->host.memory_objects);
	for (unsigned i = 0; i < MEMORIES_MAX; i++)
		if (client->memory[i].len > 0) {
			(void)munmap(client->memory[i].at, client->memory[i].len);
			close_fd(client->memory[i].fd);
		}
	(void)pthread_mutex_destroy(&client->lock);
	free(client);
	return NULL;
}

int client_kvm(const struct client *client)
{
	(void)client;
	return CLIENT_FD;
}

long client_ioctl(struct client *client, int fd, unsigned long request, uint64_t arg)
{
	struct call call = {.client = client};
	struct object *object;
	long r = call_object(&call, fd, &object);

	if (r < 0)
		return r;
	r = object->ops->ioctl(object, &call, (unsigned)request, arg);
	(void)object_put(object);
	(void)pthread_mutex_lock(&client->lock);
	client->is_interrupted = false;
	(void)pthread_mutex_unlock(&client->lock);
	return call.is_fault ? -EFAULT : r;
}

struct object *client_object(const struct client *client, int fd)
{
	return client->fd[fd - CLIENT_FD];
}

void client_close(struct client *client, int fd)
{
	client->fd[fd - CLIENT_FD] = object_put(client->fd[fd - CLIENT_FD]);
}

void *client_mmap_run(struct client *client, int fd)
{
	struct object *object = client->fd[fd - CLIENT_FD];
	struct call call = {.client = client};
	autofd run_fd = object->ops->mmap(object, &call, 0, RUN_SIZE);
	void *run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, run_fd, 0);

	if (run == MAP_FAILED)
		abort();
	return run;
}

void *client_memory(struct client *client, size_t len)
{
	unsigned i = 0;

	while (client->memory[i].len > 0)
		i++;
	client->memory[i].fd = memfd_create("guest", MFD_CLOEXEC);
	if (client->memory[i].fd < 0 || ftruncate(client->memory[i].fd, (off_t)len) < 0)
		abort();
	client->memory[i].at =
		mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, client->memory[i].fd, 0);
	client->memory[i].len = len;
	return client->memory[i].at;
}

void client_fork(struct client *client)
{
	client->this_mm ^= 1;
}

void client_stop(struct client *client)
{
	client->is_stopped = true;
}

void client_interrupt(struct client *client)
{
	(void)pthread_mutex_lock(&client->lock);
	client->is_interrupted = true;
	tell(client);
	(void)pthread_mutex_unlock(&client->lock);
}
