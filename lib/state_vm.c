/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* State of VM-level objects: interrupt chips, PIT, kvmclock. */
#include "state.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "error.h"
#include "kvm/ioctl.h"

#define NSEC_PER_SEC 1000000000ULL
/* CLOCK_REALTIME was stepped if it and CLOCK_MONOTONIC disagree by more about how long it took. */
#define STEP_NS 1000000U
/* Who is preempted between reading one and the other reads them again, that often. */
#define PREEMPTED_NS (STEP_NS / 4)
#define READS_MAX    8

/* struct kvm_clock_data and the time at which it was read. */
struct clock_state {
	struct kvm_clock_data data;
	uint64_t monotonic_ns; /* CLOCK_MONOTONIC, the same for both processes */
};

enum { LOADED_CHIP_0 = 1U, LOADED_PIT = 8U, LOADED_CLOCK = 16U };

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

size_t state_vm_size(const struct vmr_vm *vm)
{
	return (vm->has_irqchip ? KVM_NR_IRQCHIPS * SECTION_SPACE(sizeof(struct kvm_irqchip)) : 0) +
	       (vm->has_pit ? SECTION_SPACE(sizeof(struct kvm_pit_state2)) : 0) +
	       SECTION_SPACE(sizeof(struct clock_state));
}

static int save_clock(const struct vmr_vm *vm, struct clock_state *ret)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < READS_MAX; i++) {
		/* Before, not after: what lies between puts the guest's clock ahead, never back. */
		ret->monotonic_ns = clock_ns(CLOCK_MONOTONIC);
		r = kvm_vm_get_clock(vm->vm_fd, &ret->data);
		if (clock_ns(CLOCK_MONOTONIC) - ret->monotonic_ns < PREEMPTED_NS)
			break;
	}
	return r;
}

static void read_clocks(uint64_t *ret_real, uint64_t *ret_monotonic)
{
	for (unsigned i = 0; i < READS_MAX; i++) {
		*ret_real = clock_ns(CLOCK_REALTIME);
		*ret_monotonic = clock_ns(CLOCK_MONOTONIC);
		if (clock_ns(CLOCK_REALTIME) - *ret_real < PREEMPTED_NS)
			break;
	}
}

/*
 * The guest's clock goes on through the relay.  With KVM_CLOCK_REALTIME KVM itself adds the time
 * that passed since `realtime`, to the microsecond: since the real time at which it was read, as
 * long as nobody stepped CLOCK_REALTIME meanwhile; otherwise since as long ago as CLOCK_MONOTONIC
 * says.  Either way the clock never goes back.
 */
static int load_clock(const struct vmr_vm *vm, const struct clock_state *state)
{
	struct kvm_clock_data data = {.clock = state->data.clock};
	uint64_t real, monotonic;

	read_clocks(&real, &monotonic);

	uint64_t passed = monotonic - state->monotonic_ns;
	uint64_t stepped = real - state->data.realtime - passed; /* modulo 2^64 */

	if (monotonic < state->monotonic_ns)
		return -EBADMSG;
	if (vm->features.clock_realtime) {
		bool is_known = (state->data.flags & KVM_CLOCK_REALTIME) &&
				stepped + STEP_NS <= 2 * STEP_NS;

		data.flags = KVM_CLOCK_REALTIME;
		data.realtime = is_known ? state->data.realtime : real - passed;
	} else {
		data.clock += passed;
	}
	return kvm_vm_set_clock(vm->vm_fd, &data);
}

int state_save_vm(const struct vmr_vm *vm, struct section_writer *w, struct vmr_error *ret_error)
{
	for (uint32_t id = 0; vm->has_irqchip && id < KVM_NR_IRQCHIPS; id++) {
		struct kvm_irqchip chip = {.chip_id = id};
		int r = kvm_vm_get_irqchip(vm->vm_fd, &chip);

		if (r == 0)
			r = section_put(w, SECTION_IRQCHIP, id, &chip, sizeof(chip));
		if (r < 0)
			return error_set(ret_error, r, "KVM_GET_IRQCHIP", "VM", NULL);
	}
	if (vm->has_pit) {
		struct kvm_pit_state2 pit;
		int r = kvm_vm_get_pit2(vm->vm_fd, &pit);

		if (r == 0)
			r = section_put(w, SECTION_PIT, 0, &pit, sizeof(pit));
		if (r < 0)
			return error_set(ret_error, r, "KVM_GET_PIT2", "VM", NULL);
	}
	if (vm->features.clock) {
		struct clock_state clock;
		int r = save_clock(vm, &clock);

		if (r == 0)
			r = section_put(w, SECTION_CLOCK, 0, &clock, sizeof(clock));
		if (r < 0)
			return error_set(ret_error, r, "KVM_GET_CLOCK", "VM", NULL);
	}
	return 0;
}

static bool is_vm_state(uint32_t type)
{
	return type == SECTION_IRQCHIP || type == SECTION_PIT || type == SECTION_CLOCK;
}

int state_load_vm(const struct vmr_vm *vm, const struct section *s, unsigned *loaded,
		  struct vmr_error *ret_error)
{
	const char *step = "load";
	unsigned bit = 0;
	int r = -EBADMSG;

	/* Of a newer VMM, which the guest may come back from. */
	if ((s->header.flags & SECTION_OPTIONAL) &&
	    (s->header.min_version > 1 || !is_vm_state(s->header.type)))
		return 0;
	if (s->header.min_version > 1)
		return error_set(ret_error, -EBADMSG, step, "VM state",
				 "VM state of type 0x%x needs version %u", s->header.type,
				 s->header.min_version);
	switch (s->header.type) {
	case SECTION_IRQCHIP: {
		struct kvm_irqchip chip;

		step = "KVM_SET_IRQCHIP";
		if (s->header.length != sizeof(chip) || s->header.instance >= KVM_NR_IRQCHIPS)
			break;
		memcpy(&chip, s->payload, sizeof(chip));
		if (chip.chip_id != s->header.instance || !vm->has_irqchip)
			break;
		bit = LOADED_CHIP_0 << chip.chip_id;
		r = kvm_vm_set_irqchip(vm->vm_fd, &chip);
		break;
	}
	case SECTION_PIT: {
		struct kvm_pit_state2 pit;

		step = "KVM_SET_PIT2";
		if (s->header.length != sizeof(pit) || !vm->has_pit)
			break;
		memcpy(&pit, s->payload, sizeof(pit));
		bit = LOADED_PIT;
		r = kvm_vm_set_pit2(vm->vm_fd, &pit);
		break;
	}
	case SECTION_CLOCK: {
		struct clock_state clock;

		step = "KVM_SET_CLOCK";
		if (s->header.length != sizeof(clock))
			break;
		memcpy(&clock, s->payload, sizeof(clock));
		bit = LOADED_CLOCK;
		r = load_clock(vm, &clock);
		break;
	}
	default:
		break;
	}
	if (r < 0)
		return error_set(ret_error, r, step, "VM", NULL);
	*loaded |= bit;
	return 0;
}

bool state_vm_is_whole(const struct vmr_vm *vm, unsigned loaded)
{
	unsigned needed = (vm->has_irqchip ? LOADED_CHIP_0 * ((1U << KVM_NR_IRQCHIPS) - 1) : 0) |
			  (vm->has_pit ? LOADED_PIT : 0) | (vm->features.clock ? LOADED_CLOCK : 0);

	return (loaded & needed) == needed;
}
