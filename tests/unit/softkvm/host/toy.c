// SPDX-License-Identifier: GPL-2.0-or-later
/* The host side of the toy. */
#include "toy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "softkvm/host/call.h"
#include "softkvm/host/host.h"
#include "softkvm/run.h"

struct toy {
	struct object object;
	struct mm *_Atomic mm;
	pthread_mutex_t lock;
	pthread_cond_t stopped;
	_Atomic bool flag;
};

static _Atomic long n_objects;

static long sum(struct call *call, uint64_t arg)
{
	struct toy_memory memory;
	unsigned char *bytes;
	int r = call_copy_in(call, &memory, arg, sizeof(memory));

	if (r < 0)
		return r;
	bytes = malloc(memory.len);
	r = call_copy_in(call, bytes, memory.address, memory.len);
	memory.sum = 0;
	for (uint64_t i = 0; r == 0 && i < memory.len; i++)
		memory.sum += bytes[i];
	free(bytes);
	return r < 0 ? r : call_copy_out(call, arg, &memory, sizeof(memory));
}

static long fill(struct call *call, uint64_t arg, bool now)
{
	struct toy_memory memory;
	unsigned char *bytes;
	int r = call_copy_in(call, &memory, arg, sizeof(memory));

	if (r < 0)
		return r;
	bytes = malloc(memory.len);
	memset(bytes, (int)memory.sum, memory.len);
	r = now ? call_copy_out_now(call, memory.address, bytes, memory.len)
		: call_copy_out(call, memory.address, bytes, memory.len);
	free(bytes);
	return r;
}

static void stop(void *opaque)
{
	struct toy *toy = opaque;

	pthread_mutex_lock(&toy->lock);
	pthread_cond_broadcast(&toy->stopped);
	pthread_mutex_unlock(&toy->lock);
}

static long wait_for_stop(struct toy *toy, struct call *call)
{
	toy->flag = false;
	call_watch(call, &toy->flag, stop, toy);
	pthread_mutex_lock(&toy->lock);
	while (!toy->flag)
		pthread_cond_wait(&toy->stopped, &toy->lock);
	pthread_mutex_unlock(&toy->lock);
	call_watch(call, NULL, NULL, NULL);
	return call_is_killed(call) || call_is_interrupted(call) ? -EINTR : -EIO;
}

static long poke(struct call *call, uint64_t arg)
{
	const uint64_t one = 1;
	autofd fd = call_fd(call, (int)arg);

	if (fd < 0)
		return fd;
	return write(fd, &one, sizeof(one)) == sizeof(one) ? 0 : -EIO;
}

static long is_this(struct toy *toy, struct call *call, uint64_t arg)
{
	struct object *object;
	int r = call_object(call, (int)arg, &object);

	if (r < 0)
		return r;
	r = object == &toy->object;
	object_put(object);
	return r;
}

static int flip_stretch(void *opaque, uint64_t uaddr, uint64_t len, int fd, uint64_t offset,
			bool writable)
{
	uint64_t in_page = offset % 4096;
	unsigned char *bytes = mmap(NULL, in_page + len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				    (off_t)(offset - in_page));

	(void)opaque, (void)uaddr;
	if (!writable || bytes == MAP_FAILED)
		return -EACCES;
	for (uint64_t i = 0; i < len; i++)
		bytes[in_page + i] ^= 0xff;
	(void)munmap(bytes, in_page + len);
	return 0;
}

static long flip(struct call *call, uint64_t arg)
{
	struct toy_memory memory;
	int r = call_copy_in(call, &memory, arg, sizeof(memory));

	return r < 0 ? r : call_share(call, memory.address, memory.len, flip_stretch, NULL);
}

static long lock_and_copy(struct toy *toy, struct call *call, uint64_t arg)
{
	struct toy_memory memory;
	char byte;
	int r = call_copy_in(call, &memory, arg, sizeof(memory));

	if (r == 0)
		r = call_lock(call, &toy->lock);
	if (r < 0)
		return r;
	r = call_copy_in(call, &byte, memory.address, 1);
	pthread_mutex_unlock(&toy->lock);
	return r;
}

static long twice(struct call *call, uint64_t arg)
{
	uint64_t value;
	int r = call_copy_in(call, &value, arg, sizeof(value));

	value++;
	if (r == 0)
		r = call_copy_out(call, arg, &value, sizeof(value));
	value = 0;
	if (r == 0)
		r = call_copy_in(call, &value, arg, sizeof(value));
	value++;
	return r < 0 ? r : call_copy_out(call, arg, &value, sizeof(value));
}

static struct object *toy_new(struct host *host, struct mm *mm);

/* That of the first call. */
static void remember_mm(struct toy *toy, struct call *call)
{
	struct mm *none = NULL, *mine = mm_get(call_mm(call));

	if (!atomic_compare_exchange_strong(&toy->mm, &none, mine))
		mm_put(mine);
}

static long toy_ioctl(struct object *object, struct call *call, unsigned request, uint64_t arg)
{
	struct toy *toy = (struct toy *)object;

	remember_mm(toy, call);
	switch (request) {
	case TOY_SUM:
		return sum(call, arg);
	case TOY_FILL:
		return fill(call, arg, false);
	case TOY_FILL_NOW:
		return fill(call, arg, true);
	case TOY_MASKED:
		call_signal_mask(call, arg);
		return wait_for_stop(toy, call);
	case TOY_WAIT:
		return wait_for_stop(toy, call);
	case TOY_NEW:
		return call_return_object(call, toy_new(object->host, mm_get(call_mm(call))),
					  arg != 0);
	case TOY_MM:
		return call_mm(call) == toy->mm ? 0 : -EIO;
	case TOY_POKE:
		return poke(call, arg);
	case TOY_IS_THIS:
		return is_this(toy, call, arg);
	case TOY_FLIP:
		return flip(call, arg);
	case TOY_LOCK:
		return lock_and_copy(toy, call, arg);
	case TOY_OBJECTS:
		return n_objects;
	case TOY_NOTHING:
		return 0;
	case TOY_MEMLOCK:
		return (long)(call_rlimit_memlock(call) >> 12);
	case TOY_CGROUP:
		return call_copy_out(call, arg, call_cgroup(call), strlen(call_cgroup(call)) + 1);
	case TOY_TWICE:
		return twice(call, arg);
	default:
		return -ENOTTY;
	}
}

static int toy_mmap(struct object *object, struct call *call, uint64_t offset, uint64_t len)
{
	autofd fd = memfd_create("toy", MFD_CLOEXEC);

	(void)object, (void)call;
	if (fd < 0 || offset + len > TOY_MMAP_SIZE || ftruncate(fd, TOY_MMAP_SIZE) < 0 ||
	    pwrite(fd, "toy", 4, 0) != 4 || pwrite(fd, "page 1", 7, 4096) != 7)
		return -EINVAL;
	return steal_fd(&fd);
}

static void toy_release(struct object *object)
{
	struct toy *toy = (struct toy *)object;

	mm_put(toy->mm);
	pthread_mutex_destroy(&toy->lock);
	pthread_cond_destroy(&toy->stopped);
	free(toy);
	n_objects--;
}

static struct object *toy_new(struct host *host, struct mm *mm)
{
	static const struct object_ops device = {
		.name = "kvm", .ioctl = toy_ioctl, .mmap = toy_mmap, .release = toy_release};
	static const struct object_ops other = {
		.name = "toy", .ioctl = toy_ioctl, .mmap = toy_mmap, .release = toy_release};
	struct toy *toy = calloc(1, sizeof(*toy));

	object_init(&toy->object, mm ? &other : &device, host);
	toy->mm = mm;
	pthread_mutex_init(&toy->lock, NULL);
	pthread_cond_init(&toy->stopped, NULL);
	n_objects++;
	return &toy->object;
}

static struct object *toy_open(struct host *host)
{
	return toy_new(host, NULL);
}

static int toy_main(void *opaque, int listener_fd, int program_fd)
{
	const struct devices devices = {.open_kvm = toy_open};
	struct host host = {0};

	(void)opaque;
	run_is_ready(false);
	return host_run(&host, &devices, listener_fd, program_fd) < 0 || n_objects != 0;
}

_Noreturn void toy_run(const char *preload, char **argv)
{
	const struct run_host host = {toy_main, NULL};
	const char *what;
	int r;

	argv[0] = "/proc/self/exe";
	r = run_program(&host, preload, argv, &what);

	(void)fprintf(stderr, "cannot %s: %s\n", what, strerror(-r));
	exit(1);
}
