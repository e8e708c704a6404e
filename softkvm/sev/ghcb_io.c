// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ghcb_io.c - ports and MMIO of SEV-ES guests: AMD publication 56421, 4.1.2, 4.1.5
 *
 * Data is in RAX, or in a scratch area that the guest names: a part of its GHCB, or memory
 * elsewhere. Either is copied, and goes back with the answer if something was read.  What the host
 * has no device for goes to the VMM, in steps of what fits in the run page.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "softkvm/sev/internal.h"

#define PAGE_SIZE	  4096u
#define SHARED_BUFFER	  0x800u /* of the GHCB, table 3 */
#define SHARED_BUFFER_END 0xff0u
#define SCRATCH_MAX	  (16 * PAGE_SIZE) /* what KVM copies at most */
#define ERROR_SCRATCH	  3

#define IOIO_IN		(1u << 0) /* 15.10.2 of publication 24593 */
#define IOIO_STRING	(1u << 2)
#define IOIO_SIZE(info) ((info) >> 4 & 7)
#define IOIO_PORT(info) ((uint16_t)((info) >> 16))

static bool is_scratch_good(const struct sev_ghcb *ghcb, uint64_t len)
{
	uint64_t begin = ghcb->scratch.gpa, end = begin + len;

	if (!begin || end < begin)
		return false;
	if ((begin & ~(uint64_t)(PAGE_SIZE - 1)) != ghcb->gpa)
		return len <= SCRATCH_MAX;
	return begin - ghcb->gpa >= SHARED_BUFFER && end - ghcb->gpa <= SHARED_BUFFER_END;
}

/* 1, 0 with an error for the guest, or -errno. */
static int copy_scratch(struct vcpu *vcpu, uint64_t len, bool goes_back)
{
	struct sev_ghcb *ghcb = &vcpu->sev.ghcb;

	if (!is_scratch_good(ghcb, len)) {
		(void)ghcb_error(vcpu, ERROR_SCRATCH);
		return 0;
	}
	ghcb->scratch.data = calloc(1, len + 1); /* of 0 bytes there is one, too */
	if (!ghcb->scratch.data)
		return -ENOMEM;
	ghcb->scratch.len = (uint32_t)len;
	if (!slots_read(vcpu->vm->slots, ghcb->scratch.gpa, NULL, ghcb->scratch.data,
			ghcb->scratch.len))
		return -EFAULT;
	ghcb->scratch.goes_back = goes_back;
	return 1;
}

static uint8_t *data_of(struct sev_ghcb *ghcb)
{
	return ghcb->io.kind == SEV_IO_PORT ? (uint8_t *)&ghcb->io.value : ghcb->scratch.data;
}

/* What the host has a device for. */
static bool serve(struct vcpu *vcpu, uint8_t *data, uint32_t len)
{
	const struct sev_io *io = &vcpu->sev.ghcb.io;
	uint64_t gpa = io->gpa + io->done;

	if (io->kind == SEV_IO_MMIO)
		/* Devices take accesses within 8 bytes, as the CPU makes them. */
		return gpa % 8 + len <= 8 && vcpu_mmio(vcpu, io->is_write, gpa, len, data);
	if (!vcpu_pio(vcpu, io->is_write, io->port, io->size, data))
		return false;
	for (uint32_t at = io->size; at < len; at += io->size)
		(void)vcpu_pio(vcpu, io->is_write, io->port, io->size, data + at);
	return true;
}

static void ask(struct vcpu *vcpu, const uint8_t *data)
{
	const struct sev_io *io = &vcpu->sev.ghcb.io;

	if (io->kind == SEV_IO_MMIO)
		vcpu_exit_mmio(vcpu, io->is_write, io->gpa + io->done, io->step, data);
	else
		vcpu_exit_pio(vcpu, io->is_write, io->port, io->size, io->step / io->size, data);
}

/* KVM's RAX: a shorter value leaves the rest of what the guest has given. */
static void finish_port(struct vcpu *vcpu)
{
	const struct sev_io *io = &vcpu->sev.ghcb.io;
	uint64_t *rax = &vcpu->cpu->state.gpr[RAX];

	if (!io->is_write && io->size == 4)
		*rax = io->value;
	else if (!io->is_write)
		memcpy(rax, &io->value, io->size);
}

static int go_on(struct vcpu *vcpu)
{
	struct sev_io *io = &vcpu->sev.ghcb.io;
	uint8_t *data = data_of(&vcpu->sev.ghcb);

	for (; io->done < io->len; io->done += io->step) {
		uint32_t max = io->kind == SEV_IO_MMIO ? 8 : PAGE_SIZE / io->size * io->size;

		io->step = io->len - io->done < max ? io->len - io->done : max;
		if (!serve(vcpu, data + io->done, io->step)) {
			ask(vcpu, data + io->done);
			return 0;
		}
	}
	if (io->kind == SEV_IO_PORT)
		finish_port(vcpu);
	io->kind = SEV_IO_NONE;
	return 1;
}

int ghcb_continue(struct vcpu *vcpu)
{
	struct sev_io *io = &vcpu->sev.ghcb.io;
	uint8_t *data = data_of(&vcpu->sev.ghcb);
	const uint8_t *answer = io->kind == SEV_IO_MMIO ? vcpu->run->mmio.data
							: (uint8_t *)vcpu->run + RUN_PIO_OFFSET;

	if (io->kind == SEV_IO_NONE)
		return 1;
	if (!io->is_write)
		memcpy(data + io->done, answer, io->step);
	io->done += io->step;
	return go_on(vcpu);
}

int ghcb_mmio(struct vcpu *vcpu, bool is_write)
{
	struct sev_ghcb *ghcb = &vcpu->sev.ghcb;
	int r = copy_scratch(vcpu, ghcb->info_2, !is_write);

	if (r != 1)
		return r < 0 ? r : 1;
	ghcb->io = (struct sev_io){.kind = SEV_IO_MMIO,
				   .is_write = is_write,
				   .gpa = ghcb->info_1,
				   .len = ghcb->scratch.len};
	return go_on(vcpu);
}

static int port_string(struct vcpu *vcpu, const struct sev_io *io)
{
	struct sev_ghcb *ghcb = &vcpu->sev.ghcb;
	uint64_t len;
	int r;

	if (__builtin_mul_overflow(ghcb->info_2, (uint64_t)io->size, &len))
		return -EINVAL;
	r = copy_scratch(vcpu, len, !io->is_write);
	if (r != 1)
		return r < 0 ? r : 1;
	ghcb->io = *io;
	ghcb->io.kind = SEV_IO_STRING;
	ghcb->io.len = ghcb->scratch.len;
	return go_on(vcpu);
}

int ghcb_port(struct vcpu *vcpu)
{
	struct sev_ghcb *ghcb = &vcpu->sev.ghcb;
	uint64_t info = ghcb->info_1;
	struct sev_io io = {.kind = SEV_IO_PORT,
			    .is_write = !(info & IOIO_IN),
			    .size = IOIO_SIZE(info),
			    .port = IOIO_PORT(info),
			    .len = IOIO_SIZE(info)};

	/* A bit for each of the three sizes: one must be set. */
	if (io.size != 1 && io.size != 2 && io.size != 4)
		return 1;
	if (info & IOIO_STRING)
		return port_string(vcpu, &io);
	io.value = (uint32_t)vcpu->cpu->state.gpr[RAX];
	ghcb->io = io;
	return go_on(vcpu);
}
