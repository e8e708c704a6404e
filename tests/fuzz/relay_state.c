// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A target's work: a VM is built from a machine description, and the states of its vCPU and of the
 * VM are taken from a state area to which somebody writes all the time.  KVM is kvm.c.
 *
 * The description comes first in the input.  What follows is the state as it is in the area, or how
 * it differs from what this VM's would be, which is more than fits into an input.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "input.h"
#include "kvm.h"
#include "kvm/cleanup.h"
#include "lib/area.h"
#include "lib/describe.h"
#include "lib/state.h"

#define SLOT_SIZE   16384u
#define MEMORY_SIZE (1u << 20)
#define TAKES	    16
#define CHANGES_MAX 16

enum { FDS = 6 };

struct rewriter {
	const struct area *area;
	struct input in;
	_Atomic bool ends;
};

/* Both slots, over and over, with two contents; never nothing, for which a target would wait. */
static void *rewrite(void *opaque)
{
	struct rewriter *r = opaque;
	static const uint8_t other[SLOT_SIZE];
	struct input in = r->in;

	while (!atomic_load(&r->ends)) {
		uint32_t len = 1 + input_u16(&in) % (2 * SLOT_SIZE);

		if (in.left == 0)
			in = r->in;
		for (unsigned slot = 0; slot < 2; slot++) {
			area_publish(r->area, slot, AREA_WHOLE, other, 0, 1 + r->in.left % 64);
			if (r->in.left > 0)
				area_publish(r->area, slot, AREA_WHOLE, r->in.at, 0,
					     r->in.left < SLOT_SIZE ? r->in.left : SLOT_SIZE);
			/* A length that is none of the contents'. */
			((_Atomic uint32_t *)(r->area->base + sizeof(struct area_header) +
					      slot * sizeof(struct area_slot)))[AREA_WHOLE] = len;
		}
	}
	return NULL;
}

/* With nothing behind it. */
static void load(const struct vmr_vm *vm, const uint8_t *taken, size_t len,
		 const struct state_vcpu *fresh)
{
	autofree uint8_t *buf = malloc(len);
	struct section_reader reader = {buf, len};
	struct state_vcpu state = {0};
	struct vmr_error error;
	struct section s;
	unsigned loaded = 0;

	if (len > 0)
		memcpy(buf, taken, len);
	if (state_parse_vcpu(vm, STATE_REST, buf, len, &state, &error) == 0) {
		(void)state_load_vcpu(vm, 0, STATE_FIRST, &state, fresh, &error);
		(void)state_load_vcpu(vm, 0, STATE_REST, &state, fresh, &error);
	}
	while (section_next(&reader, &s) > 0)
		(void)state_load_vm(vm, &s, &loaded, &error);
	(void)state_vm_is_whole(vm, loaded);
}

static size_t save_vcpu(const struct vmr_vm *vm, uint8_t *buf)
{
	struct section_writer w = {buf, SLOT_SIZE, 0};
	struct vmr_error error;

	if (state_save_vcpu(vm, 0, STATE_FIRST, &w, &error) < 0 ||
	    state_save_vcpu(vm, 0, STATE_REST, &w, &error) < 0)
		abort();
	return w.len;
}

/* The nth section gets another length; those behind it move. */
static void resize(struct section_writer *w, unsigned n, size_t len)
{
	struct section_header *header = NULL;
	size_t at = 0, old = 0, space = SECTION_SPACE(len);

	for (unsigned i = 0; i <= n; i++) {
		at += old;
		if (w->len - at < sizeof(*header))
			return;
		header = (struct section_header *)(w->buf + at);
		if (header->length > w->len - at - sizeof(*header))
			return;
		old = SECTION_SPACE((size_t)header->length);
		if (old > w->len - at)
			return;
	}
	if (w->len - old + space > w->size)
		return;
	header->length = (uint32_t)len;
	memmove(w->buf + at + space, w->buf + at + old, w->len - at - old);
	if (space > old)
		memset(w->buf + at + old, 0, space - old);
	w->len = w->len - old + space;
}

/* The state that a source with the same VM would write, but for what the input changes. */
static struct input changed_state(const struct vmr_vm *vm, bool is_vcpu, uint8_t *buf,
				  struct input *in)
{
	struct section_writer w = {buf, SLOT_SIZE, 0};
	struct vmr_error error;
	size_t cut = input_u8(in);

	if (is_vcpu)
		w.len = save_vcpu(vm, buf);
	else if (state_save_vm(vm, &w, &error) < 0)
		abort();
	for (unsigned i = 0; i < CHANGES_MAX && in->left > 0 && w.len > 0; i++) {
		uint16_t where = input_u16(in);
		uint8_t how = input_u8(in);
		size_t at = where % w.len;
		struct input bytes;

		if (how & 0x80) {
			resize(&w, how % 16, where % 8192);
			continue;
		}
		bytes = input_part(in, how % 32);
		if (bytes.left > w.len - at)
			bytes.left = w.len - at;
		if (bytes.left > 0)
			memcpy(buf + at, bytes.at, bytes.left);
	}
	return (struct input){buf, w.len > cut ? w.len - cut : 0};
}

/* From an area as another process sees it, into memory of just that size. */
static void take_all(const struct vmr_vm *vm, struct input in)
{
	struct area source = AREA_INIT, area = AREA_INIT;
	autofree uint8_t *buf = malloc(SLOT_SIZE), *state = malloc(SLOT_SIZE),
			 *fresh_buf = malloc(SLOT_SIZE);
	uint8_t how = input_u8(&in) % 3;
	struct rewriter rewriter = {.area = &source, .in = in};
	struct state_vcpu fresh = {0};
	struct vmr_error error;
	pthread_t thread;

	if (how > 0)
		rewriter.in = changed_state(vm, how == 1, state, &in);
	if (state_parse_vcpu(vm, STATE_REST, fresh_buf, save_vcpu(vm, fresh_buf), &fresh, &error) <
		    0 ||
	    area_create(&source, 2, SLOT_SIZE) < 0 ||
	    area_adopt(&area, fcntl(source.fd, F_DUPFD_CLOEXEC, 0), 2, SLOT_SIZE) < 0 ||
	    pthread_create(&thread, NULL, rewrite, &rewriter) != 0)
		abort();
	for (unsigned i = 0; i < TAKES; i++) {
		int len = area_take(&area, i % 2, AREA_WHOLE, buf, i / 2 % 2 * 64);

		if (len >= 0)
			load(vm, buf, (size_t)len, i % 4 ? &fresh : NULL);
	}
	atomic_store(&rewriter.ends, true);
	(void)pthread_join(thread, NULL);
	/* What is there in between may hardly ever be what the input says. */
	load(vm, rewriter.in.at, rewriter.in.left, &fresh);
	area_done(&area);
	area_done(&source);
}

static void make_fds(int fds[FDS])
{
	for (unsigned i = 0; i < FDS; i++)
		fds[i] = i < 2 ? memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING)
			       : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ftruncate(fds[0], MEMORY_SIZE) < 0 ||
	    fcntl(fds[0], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct input part = input_part(&in, input_u16(&in));
	/* Aligned, and with nothing behind it, as what is mapped of a peer. */
	const size_t len = part.left;
	autofree uint8_t *description = malloc(len);
	autofd kvm_fd = fuzz_kvm_fd();
	struct vmr_vm *vm = NULL;
	struct vmr_error error;
	int fds[FDS];

	make_fds(fds);
	if (len > 0)
		input_take(&part, description, len);
	describe_ring_irqfds(description, len, fds, FDS);
	(void)describe_vm_type(description, len);
	if (describe_build(kvm_fd, description, len, fds, FDS, &vm, &error) == 0)
		take_all(vm, in);
	(void)vmr_vm_free(vm);
	for (unsigned i = 0; i < FDS; i++)
		close_fd(fds[i]);
	return 0;
}
