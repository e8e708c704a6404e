// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guest state on a real KVM: what is saved from one VM and loaded into another is saved from there
 * again bit by bit, and a hostile blob does no harm.
 */
#include "lib/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "machine.h"
#include "util.h"

#define APIC_TPR   0x80
#define APIC_SPIV  0xf0
#define APIC_ISR   0x100
#define APIC_IRR   0x200
#define APIC_LVTT  0x320
#define APIC_TMICT 0x380
#define APIC_TMCCT 0x390
#define APIC_TDCR  0x3e0

#define MSR_TSC_DEADLINE 0x6e0
#define NSEC_PER_MSEC	 1000000LL
#define NSEC_PER_SEC	 1000000000LL

struct blob {
	uint8_t *bytes;
	size_t len;
};

struct fixture {
	struct machine machine; /* the source */
	struct vmr_vm *source, *target;
	struct blob vcpu[3], vm;
};

#define ok(call) assert_int_equal((call), 0)

static struct blob save_vcpu(const struct vmr_vm *vm, unsigned index)
{
	size_t size = state_vcpu_size(vm);
	struct section_writer w = {calloc(1, size), size, 0};
	struct vmr_error error;

	if (state_save_vcpu(vm, index, STATE_FIRST, &w, &error) < 0 ||
	    state_save_vcpu(vm, index, STATE_REST, &w, &error) < 0)
		fail_msg("%s", error.text);
	return (struct blob){w.buf, w.len};
}

static struct blob save_vm(const struct vmr_vm *vm)
{
	size_t size = state_vm_size(vm);
	struct section_writer w = {calloc(1, size), size, 0};
	struct vmr_error error;

	if (state_save_vm(vm, &w, &error) < 0)
		fail_msg("%s", error.text);
	return (struct blob){w.buf, w.len};
}

static int load_vm(const struct vmr_vm *vm, const struct blob *blob)
{
	struct section_reader r = {blob->bytes, blob->len};
	unsigned loaded = 0;
	struct section s;
	int result = 0, more;

	while (result == 0 && (more = section_next(&r, &s)) > 0) {
		struct vmr_error error;

		result = state_load_vm(vm, &s, &loaded, &error);
	}
	return result < 0 ? result : state_vm_is_whole(vm, loaded) ? 0 : -EBADMSG;
}

static void load_into(const struct fixture *f, const struct vmr_vm *vm)
{
	struct state_vcpu state[3] = {0};
	struct vmr_error error = {.text = ""};
	int r = 0;

	for (unsigned i = 0; i < 3 && r == 0; i++)
		r = state_parse_vcpu(vm, STATE_REST, f->vcpu[i].bytes, f->vcpu[i].len, &state[i],
				     &error);
	for (unsigned i = 0; i < 3 && r == 0; i++)
		r = state_load_vcpu(vm, i, STATE_FIRST, &state[i], NULL, &error);
	if (r == 0)
		r = load_vm(vm, &f->vm);
	for (unsigned i = 0; i < 3 && r == 0; i++)
		r = state_load_vcpu(vm, i, STATE_REST, &state[i], NULL, &error);
	if (r < 0)
		fail_msg("loading failed: %s", error.text);
}

static void load_all(struct fixture *f)
{
	load_into(f, f->target);
}

static struct section find(const struct blob *blob, uint32_t type, uint32_t instance)
{
	struct section_reader r = {blob->bytes, blob->len};
	struct section s;

	while (section_next(&r, &s) > 0)
		if (s.header.type == type && s.header.instance == instance)
			return s;
	fail_msg("no section 0x%x", type);
	return s;
}

static uint64_t msr_in(const struct blob *blob, unsigned vcpu, uint32_t index)
{
	const struct kvm_msrs *msrs = find(blob, SECTION_MSRS, vcpu).payload;

	for (uint32_t i = 0; i < msrs->nmsrs; i++)
		if (msrs->entries[i].index == index)
			return msrs->entries[i].data;
	fail_msg("no MSR 0x%x", index);
	return 0;
}

/* Set an MSR if this KVM has it and takes the value. */
static bool set_msr(const struct vmr_vm *vm, unsigned vcpu, uint32_t index, uint64_t value)
{
	union {
		struct kvm_msrs msrs;
		uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} one = {.msrs = {.nmsrs = 1}};

	one.msrs.entries[0] = (struct kvm_msr_entry){.index = index, .data = value};
	return kvm_vcpu_set_msrs(vm->vcpus[vcpu].fd, &one.msrs) == 1;
}

/* Values that no fresh vCPU has, different for each vCPU. */

static void set_registers(int fd, uint64_t seed)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	for (unsigned i = 0; i < 16; i++)
		((uint64_t *)&regs)[i] = 0x1111111111111111ULL * i + seed;
	regs.rip = 0x1234560 + seed;
	regs.rflags = 0x2 | 0x8d5; /* flags, no interrupts */
	ok(kvm_vcpu_get_sregs(fd, &sregs));
	sregs.cr0 = 0x80050033;
	sregs.cr2 = 0xdeadbeef000 + seed;
	sregs.cr3 = 0x3000 + (seed << 12);
	sregs.cr4 = 0x40620; /* PAE, OSFXSR, OSXMMEXCPT, OSXSAVE */
	sregs.cr8 = 5;
	sregs.efer = 0xd01;
	if (seed == 1)
		sregs.apic_base |= 1U << 10; /* x2APIC: another layout of the LAPIC's state */
	sregs.cs = (struct kvm_segment){.limit = 0xffffffff,
					.selector = 8,
					.type = 11,
					.present = 1,
					.s = 1,
					.l = 1,
					.g = 1};
	sregs.fs.base = 0x7f0000001000 + seed;
	sregs.gs.base = 0x7f0000002000 + seed;
	sregs.gdt = (struct kvm_dtable){.base = 0x5000 + seed * 8, .limit = 0x7f};
	sregs.idt = (struct kvm_dtable){.base = 0x6000 + seed * 8, .limit = 0xfff};
	ok(kvm_vcpu_set_sregs(fd, &sregs));
	ok(kvm_vcpu_set_regs(fd, &regs));
}

/* XMM and YMM registers in the layout of XSAVE, and XCR0. */
static void set_vectors(const struct vmr_vm *vm, int fd, uint8_t seed)
{
	autofree struct kvm_xsave *xsave = calloc(1, vm->features.xsave_size);
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = 7}}};
	uint8_t *bytes = (uint8_t *)xsave;
	uint64_t present = 7; /* x87, SSE, AVX */

	ok(kvm_vcpu_get_xsave(fd, xsave));
	if (vm->features.xcrs)
		ok(kvm_vcpu_set_xcrs(fd, &xcrs));
	memset(bytes + 32, 0, 128);
	for (unsigned i = 0; i < 256; i++) {
		bytes[160 + i] = (uint8_t)(i + seed);	  /* XMM */
		bytes[576 + i] = (uint8_t)(i * 3 + seed); /* upper halves of YMM */
	}
	memcpy(bytes + 512, &present, sizeof(present));
	ok(kvm_vcpu_set_xsave(fd, xsave));
}

static void set_debug(int fd, uint64_t seed)
{
	const struct kvm_debugregs debugregs = {
		.db = {0x1000 + seed, 0x2000 + seed, 0x3000 + seed, 0x4000 + seed},
		.dr6 = 0xffff0ff1,
		.dr7 = 0x401 | 0x2,
	};

	ok(kvm_vcpu_set_debugregs(fd, &debugregs));
}

static const struct {
	uint32_t index;
	uint64_t value;
} msr_values[] = {
	{0x174, 0x10}, /* SYSENTER */
	{0x175, 0xffff800000001000},
	{0x176, 0xffff800000002000},
	{0x200, 0xc0000006}, /* MTRR */
	{0x201, 0xffc0000800},
	{0x250, 0x0606060606060606},
	{0x26f, 0x0505050505050505},
	{0x2ff, 0xc06},
	{0x277, 0x0007040600070406}, /* PAT */
	{0x3b, 0x12340},	     /* TSC_ADJUST */
	{0x17a, 0x4},		     /* MCG_STATUS */
	{0x400, UINT64_MAX},	     /* machine-check bank 0 */
	{0x402, 0x123456000},
	{0xc0000081, 0x0023001000000000}, /* STAR */
	{0xc0000082, 0xffff800000003000}, /* LSTAR */
	{0xc0000083, 0xffff800000004000},
	{0xc0000084, 0x47700},
	{0xc0000102, 0xffff800000005000}, /* KERNEL_GS_BASE */
	{0xc0000103, 0x5},		  /* TSC_AUX */
};

static bool msr_is_set[ARRAY_SIZE(msr_values)]; /* this KVM took it */

static void set_msrs(const struct vmr_vm *vm, unsigned vcpu)
{
	for (unsigned i = 0; i < ARRAY_SIZE(msr_values); i++)
		msr_is_set[i] = set_msr(vm, vcpu, msr_values[i].index, msr_values[i].value);
}

static uint32_t *apic_reg(struct kvm_lapic_state *lapic, unsigned reg)
{
	return (uint32_t *)(void *)(lapic->regs + reg);
}

/* A timer in this mode (0 one-shot, 1 periodic, 2 TSC deadline) and two pending interrupts. */
static void set_lapic(int fd, uint32_t mode)
{
	struct kvm_lapic_state lapic;

	ok(kvm_vcpu_get_lapic(fd, &lapic));
	*apic_reg(&lapic, APIC_SPIV) = 0x1ff;
	*apic_reg(&lapic, APIC_TPR) = 0x50;
	*apic_reg(&lapic, APIC_LVTT) = 0x40 | mode << 17;
	*apic_reg(&lapic, APIC_TDCR) = 0xb;
	*apic_reg(&lapic, APIC_TMICT) = mode == 2 ? 0 : 0xf0000000;
	*apic_reg(&lapic, APIC_TMCCT) = mode == 2 ? 0 : 0xe0000000;
	*apic_reg(&lapic, APIC_IRR + 0x30) = 1U << 1 | 1U << 9; /* vectors 0x61, 0x69 */
	*apic_reg(&lapic, APIC_ISR + 0x10) = 1U << 17;		/* 0x31 */
	ok(kvm_vcpu_set_lapic(fd, &lapic));
}

static void set_events(const struct vmr_vm *vm, unsigned vcpu)
{
	struct kvm_vcpu_events events;

	ok(kvm_vcpu_get_events(vm->vcpus[vcpu].fd, &events));
	if (vcpu == 0) {
		/* A page fault that has not been delivered yet. */
		events.exception.nr = 14;
		events.exception.has_error_code = 1;
		events.exception.error_code = 6;
		if (events.flags & KVM_VCPUEVENT_VALID_PAYLOAD) {
			events.exception.pending = 1;
			events.exception_has_payload = 1;
			events.exception_payload = 0xabcdef000;
		} else {
			events.exception.injected = 1;
		}
		events.nmi.masked = 1;
		events.nmi.pending = 1;
		events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
	} else {
		events.interrupt.injected = 1;
		events.interrupt.nr = 0x55;
		events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
		events.flags |= KVM_VCPUEVENT_VALID_SHADOW;
	}
	ok(kvm_vcpu_set_events(vm->vcpus[vcpu].fd, &events));
}

static void set_chips(const struct vmr_vm *vm)
{
	struct kvm_pit_state2 pit;

	for (uint32_t id = 0; id < 3; id++) {
		struct kvm_irqchip chip = {.chip_id = id};

		ok(kvm_vm_get_irqchip(vm->vm_fd, &chip));
		if (id < 2) {
			chip.chip.pic.irq_base = (uint8_t)(0x20 + 8 * id);
			chip.chip.pic.imr = 0xa5;
			chip.chip.pic.isr = 0x10;
		} else {
			chip.chip.ioapic.redirtbl[3].bits = 0x0100000000010044; /* masked */
			chip.chip.ioapic.redirtbl[9].bits = 0x0100000000018059; /* masked level */
			chip.chip.ioapic.ioregsel = 7;
		}
		ok(kvm_vm_set_irqchip(vm->vm_fd, &chip));
	}
	ok(kvm_vm_get_pit2(vm->vm_fd, &pit));
	pit.channels[2].count = 0x1234;
	pit.channels[2].mode = 3;
	pit.channels[2].gate = 1;
	pit.channels[2].rw_mode = 3;
	ok(kvm_vm_set_pit2(vm->vm_fd, &pit));
}

static void set_everything(const struct vmr_vm *vm)
{
	static const uint32_t mp_states[] = {KVM_MP_STATE_HALTED, KVM_MP_STATE_RUNNABLE,
					     KVM_MP_STATE_UNINITIALIZED};

	set_chips(vm);
	for (unsigned i = 0; i < 3; i++) {
		const struct kvm_mp_state mp_state = {mp_states[i]};
		int fd = vm->vcpus[i].fd;

		set_registers(fd, i);
		set_vectors(vm, fd, (uint8_t)(1 + i));
		set_debug(fd, i);
		if (vm->features.tsc_offset)
			ok(kvm_vcpu_set_tsc_offset(fd, 0x100000000ULL));
		set_lapic(fd, i == 1 ? 2 : 0);
		set_msrs(vm, i);
		if (i == 1)
			assert_true(set_msr(vm, 1, MSR_TSC_DEADLINE, 0x7000000000000000));
		ok(kvm_vcpu_set_mp_state(fd, &mp_state));
		set_events(vm, i);
	}
}

static int setup(void **state)
{
	static struct fixture f;
	struct description description;
	struct vmr_error error;

	machine_create(&f.machine, 3, MACHINE_CPUID_ALL);
	f.source = f.machine.vm;
	machine_describe(f.source, &description);
	if (machine_build(&f.machine, description.bytes, description.len, &description.fds,
			  &f.target, &error) < 0)
		return -1;
	description_free(&description);
	set_everything(f.source);
	for (unsigned i = 0; i < 3; i++)
		f.vcpu[i] = save_vcpu(f.source, i);
	f.vm = save_vm(f.source);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 3; i++)
		free(f->vcpu[i].bytes);
	free(f->vm.bytes);
	f->target = vmr_vm_free(f->target);
	machine_free(&f->machine);
	return 0;
}

/* The test itself is worth nothing if the values did not get into the source. */
static void test_values_are_saved(void **state)
{
	struct fixture *f = *state;
	const struct kvm_regs *regs = find(&f->vcpu[1], SECTION_REGS, 1).payload;
	const uint8_t *xsave = find(&f->vcpu[1], SECTION_XSAVE, 1).payload;
	const struct kvm_vcpu_events *events = find(&f->vcpu[0], SECTION_EVENTS, 0).payload;
	struct kvm_lapic_state lapic;
	unsigned n_msrs = 0;

	assert_int_equal(regs->rbx, 0x1111111111111111ULL + 1);
	assert_int_equal(regs->rip, 0x1234561);
	assert_int_equal(xsave[160 + 16], 18);
	assert_int_equal(xsave[576 + 16], 50);
	assert_true(events->exception.pending || events->exception.injected);
	assert_int_equal(events->exception.nr, 14);
	assert_int_equal(events->nmi.masked, 1);
	events = find(&f->vcpu[1], SECTION_EVENTS, 1).payload;
	assert_int_equal(events->interrupt.nr, 0x55);
	for (unsigned i = 0; i < ARRAY_SIZE(msr_values); i++) {
		if (!msr_is_set[i])
			continue;
		assert_int_equal(msr_in(&f->vcpu[0], 0, msr_values[i].index), msr_values[i].value);
		n_msrs++;
	}
	print_message("# %u of %zu MSRs\n", n_msrs, ARRAY_SIZE(msr_values));
	assert_in_range(n_msrs, 8, ARRAY_SIZE(msr_values));
	if (f->source->features.tsc_offset) {
		uint64_t offset;

		memcpy(&offset, find(&f->vcpu[0], SECTION_TSC_OFFSET, 0).payload, sizeof(offset));
		if (offset != 0x100000000)
			print_message(
				"# this KVM does not keep the TSC offset: it is not tested\n");
	}
	assert_int_equal(msr_in(&f->vcpu[1], 1, MSR_TSC_DEADLINE), 0x7000000000000000);
	memcpy(&lapic, find(&f->vcpu[0], SECTION_LAPIC, 0).payload, sizeof(lapic));
	assert_int_equal(*apic_reg(&lapic, APIC_IRR + 0x30) & 0x202, 0x202);
	assert_in_range(*apic_reg(&lapic, APIC_TMCCT), 1, 0xe0000000);
}

/* The only thing that runs on while nobody looks: the counter of a one-shot or periodic timer. */
static void check_and_hide_timer(struct kvm_lapic_state *before, struct kvm_lapic_state *after)
{
	uint32_t *from = apic_reg(before, APIC_TMCCT), *to = apic_reg(after, APIC_TMCCT);

	if (*from != 0) {
		/* One per ns at most: not more than some seconds' worth, and not backwards. */
		assert_in_range(*to, 1, *from);
		assert_in_range(*from - *to, 0, 3000000000U);
	}
	*from = *to = 0;
}

static void compare_vcpu(const struct blob *before, const struct blob *after, unsigned vcpu)
{
	struct section_reader r = {before->bytes, before->len};
	unsigned n_different = 0;
	struct section a;

	assert_int_equal(before->len, after->len);
	while (section_next(&r, &a) > 0) {
		struct section b = find(after, a.header.type, vcpu);
		struct kvm_lapic_state lapic[2];

		assert_int_equal(a.header.length, b.header.length);
		if (a.header.type == SECTION_LAPIC) {
			memcpy(&lapic[0], a.payload, sizeof(lapic[0]));
			memcpy(&lapic[1], b.payload, sizeof(lapic[1]));
			check_and_hide_timer(&lapic[0], &lapic[1]);
			a.payload = &lapic[0];
			b.payload = &lapic[1];
		}
		for (uint32_t i = 0; i + 4 <= a.header.length; i += 4) {
			uint32_t x, y;

			memcpy(&x, (const uint8_t *)a.payload + i, sizeof(x));
			memcpy(&y, (const uint8_t *)b.payload + i, sizeof(y));
			if (x == y)
				continue;
			print_error("vCPU %u, section 0x%x, byte %u: 0x%x, not 0x%x\n", vcpu,
				    a.header.type, i, y, x);
			n_different++;
		}
	}
	assert_int_equal(n_different, 0);
}

static void test_vcpu_state_is_identical(void **state)
{
	struct fixture *f = *state;

	load_all(f);
	for (unsigned i = 0; i < 3; i++) {
		struct blob after = save_vcpu(f->target, i);

		compare_vcpu(&f->vcpu[i], &after, i);
		free(after.bytes);
	}
}

/* As a target does it: what equals the state of a fresh vCPU is not set. */
static void test_identical_with_fresh(void **state)
{
	struct fixture *f = *state;
	struct blob fresh[3];
	struct vmr_error error;

	ok(load_vm(f->target, &f->vm));
	for (unsigned i = 0; i < 3; i++) {
		struct state_vcpu parsed_fresh = {0}, parsed = {0};

		fresh[i] = save_vcpu(f->target, i);
		ok(state_parse_vcpu(f->target, STATE_REST, fresh[i].bytes, fresh[i].len,
				    &parsed_fresh, &error));
		ok(state_parse_vcpu(f->target, STATE_REST, f->vcpu[i].bytes, f->vcpu[i].len,
				    &parsed, &error));
		ok(state_load_vcpu(f->target, i, STATE_FIRST, &parsed, &parsed_fresh, &error));
		ok(state_load_vcpu(f->target, i, STATE_REST, &parsed, &parsed_fresh, &error));

		struct blob after = save_vcpu(f->target, i);

		compare_vcpu(&f->vcpu[i], &after, i);
		free(after.bytes);
		free(fresh[i].bytes);
	}
}

/*
 * A BSP that halts at the reset vector: KVM takes such an SREGS for a reset by an old VMM, and
 * wakes the vCPU.
 */
/* As in a relay: the first part is parsed and loaded before the second is there. */
static void test_in_two_parts(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;

	ok(load_vm(f->target, &f->vm));
	for (unsigned i = 0; i < 3; i++) {
		size_t size = state_vcpu_size(f->source), first;
		struct section_writer w = {calloc(1, size), size, 0};
		struct state_vcpu parsed = {0}, half = {0};

		ok(state_save_vcpu(f->source, i, STATE_FIRST, &w, &error));
		first = w.len;
		ok(state_save_vcpu(f->source, i, STATE_REST, &w, &error));

		ok(state_parse_vcpu(f->target, STATE_FIRST, w.buf, first, &parsed, &error));
		ok(state_load_vcpu(f->target, i, STATE_FIRST, &parsed, NULL, &error));
		half = parsed;
		assert_int_equal(state_parse_vcpu(f->target, STATE_REST, w.buf, 0, &half, &error),
				 -EBADMSG);
		ok(state_parse_vcpu(f->target, STATE_REST, w.buf + first, w.len - first, &parsed,
				    &error));
		ok(state_load_vcpu(f->target, i, STATE_REST, &parsed, NULL, &error));

		struct blob after = save_vcpu(f->target, i);

		compare_vcpu(&f->vcpu[i], &after, i);
		free(after.bytes);

		/* A part twice, and the wrong part first. */
		half = parsed;
		assert_int_equal(
			state_parse_vcpu(f->target, STATE_FIRST, w.buf, first, &half, &error),
			-EBADMSG);
		half = (struct state_vcpu){0};
		assert_int_equal(state_parse_vcpu(f->target, STATE_FIRST, w.buf + first,
						  w.len - first, &half, &error),
				 -EBADMSG);
		free(w.buf);
	}
}

/* A guest that comes back to its VMM: the new VM is found where the old one was. */
static void test_clone_takes_the_place(void **state)
{
	struct fixture *f = *state;
	struct vmr_vm *vm = f->source, *clone;
	struct vmr_error error;

	ok(vm_unbind_irqfds(vm));
	ok(vm_clone(vm, &clone, &error));
	load_into(f, clone);
	assert_int_not_equal(clone->vm_fd, vm->vm_fd);

	const int vm_fd = vm->vm_fd, vcpu_fd = vm->vcpus[2].fd;
	const struct kvm_run *run = vm->vcpus[2].run;

	ok(vm_replace(vm, clone, &error));
	(void)vmr_vm_free(clone);
	assert_int_equal(vm->vm_fd, vm_fd);
	assert_int_equal(vm->vcpus[2].fd, vcpu_fd);
	assert_ptr_equal(vm->vcpus[2].run, run);
	assert_true(fcntl(vm_fd, F_GETFD) & FD_CLOEXEC);
	assert_false(vmr_vm_is_dead(vm));
	for (unsigned i = 0; i < 3; i++) {
		struct blob after = save_vcpu(vm, i);

		compare_vcpu(&f->vcpu[i], &after, i);
		free(after.bytes);
		/* The run page is that of the vCPU behind the fd. */
		vm->vcpus[i].run->immediate_exit = 1;
		assert_int_equal(kvm_vcpu_run(vm->vcpus[i].fd), -EINTR);
	}
	ok(vm_bind_irqfds(vm));
}

static void test_halted_at_reset(void **state)
{
	const struct kvm_mp_state halted = {KVM_MP_STATE_HALTED};
	struct kvm_regs regs = {.rip = 0xfff0, .rflags = 2};
	struct fixture *f = *state;
	struct kvm_sregs sregs;
	int fd = f->source->vcpus[0].fd;

	ok(kvm_vcpu_get_sregs(f->target->vcpus[0].fd, &sregs)); /* nobody changed that one */
	ok(kvm_vcpu_set_sregs(fd, &sregs));
	ok(kvm_vcpu_set_regs(fd, &regs));
	ok(kvm_vcpu_set_mp_state(fd, &halted));
	free(f->vcpu[0].bytes);
	f->vcpu[0] = save_vcpu(f->source, 0);
	load_all(f);

	struct blob after = save_vcpu(f->target, 0);
	const struct kvm_mp_state *mp_state = find(&after, SECTION_MP_STATE, 0).payload;

	assert_int_equal(mp_state->mp_state, KVM_MP_STATE_HALTED);
	free(after.bytes);
}

static void test_vm_state_is_identical(void **state)
{
	struct fixture *f = *state;
	struct kvm_pit_state2 pit[2];
	struct blob after;

	load_all(f);
	after = save_vm(f->target);
	for (uint32_t id = 0; id < 3; id++)
		assert_memory_equal(find(&f->vm, SECTION_IRQCHIP, id).payload,
				    find(&after, SECTION_IRQCHIP, id).payload,
				    sizeof(struct kvm_irqchip));
	memcpy(&pit[0], find(&f->vm, SECTION_PIT, 0).payload, sizeof(pit[0]));
	memcpy(&pit[1], find(&after, SECTION_PIT, 0).payload, sizeof(pit[1]));
	/* A count starts anew when it is loaded: the time of that is different. */
	for (unsigned b = 0; b < 2; b++)
		for (unsigned i = 0; i < 3; i++)
			pit[b].channels[i].count_load_time = 0;
	assert_memory_equal(&pit[0], &pit[1], sizeof(pit[0]));
	free(after.bytes);
}

static void test_vm_state_must_be_whole(void **state)
{
	struct fixture *f = *state;
	struct section_reader r = {f->vm.bytes, f->vm.len};
	struct section s;

	while (section_next(&r, &s) > 0) {
		struct blob less = {malloc(f->vm.len), f->vm.len};
		size_t before = (size_t)((const uint8_t *)s.payload - f->vm.bytes) -
				sizeof(struct section_header);
		size_t space = SECTION_SPACE(s.header.length);

		memcpy(less.bytes, f->vm.bytes, before);
		memcpy(less.bytes + before, f->vm.bytes + before + space,
		       f->vm.len - before - space);
		less.len -= space;
		assert_int_equal(load_vm(f->target, &less), -EBADMSG);
		free(less.bytes);
	}
	assert_int_equal(load_vm(f->target, &(struct blob){NULL, 0}), -EBADMSG);
	ok(load_vm(f->target, &f->vm));
}

/*
 * Sections of somebody newer, behind all others: what is OPTIONAL is skipped, and nothing else is.
 */
static const struct {
	uint32_t type, flags;
	uint16_t min_version;
	int expected;
} newer[] = {
	{0x7000, 0, 1, -EBADMSG},
	{0x7000, SECTION_OPTIONAL, 1, 0},
	{0x7000, SECTION_OPTIONAL, 2, 0},
	{SECTION_ROUTING, 0, 1, -EBADMSG}, /* known, but of the description */
	{SECTION_CLOCK, 0, 2, -EBADMSG},
	{SECTION_CLOCK, SECTION_OPTIONAL, 2, 0},
	{SECTION_REGS, 0, 2, -EBADMSG},
	{SECTION_REGS, SECTION_OPTIONAL, 2, 0},
};

static struct blob with_newer(const struct blob *blob, unsigned n)
{
	size_t size = blob->len + SECTION_SPACE(5);
	struct section_writer w = {malloc(size), size, blob->len};

	memcpy(w.buf, blob->bytes, blob->len);
	assert_non_null(
		section_begin(&w, newer[n].type, 0, 2, newer[n].min_version, newer[n].flags, 5));
	section_end(&w, 5);
	return (struct blob){w.buf, w.len};
}

static void test_newer_sections(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(newer); i++) {
		struct blob vm = with_newer(&f->vm, i), vcpu = with_newer(&f->vcpu[0], i);
		struct state_vcpu parsed = {0};
		struct vmr_error error;

		assert_int_equal(load_vm(f->target, &vm), newer[i].expected);
		assert_int_equal(state_parse_vcpu(f->target, STATE_REST, vcpu.bytes, vcpu.len,
						  &parsed, &error),
				 newer[i].expected);
		free(vm.bytes);
		free(vcpu.bytes);
	}
}

/* As on a kernel that has none of the newer calls: SREGS before 5.14, XSAVE before 5.17. */
static void test_older_kernel(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;
	struct kvm_sregs before, after;

	f->source->features.sregs2 = f->target->features.sregs2 = false;
	f->source->features.xsave2 = f->target->features.xsave2 = false;
	f->source->features.xsave_size = f->target->features.xsave_size = sizeof(struct kvm_xsave);
	for (unsigned i = 0; i < 3; i++) {
		struct blob vcpu = save_vcpu(f->source, i), again;
		struct state_vcpu parsed = {0}, other = {0};

		ok(state_parse_vcpu(f->target, STATE_REST, vcpu.bytes, vcpu.len, &parsed, &error));
		ok(state_load_vcpu(f->target, i, STATE_FIRST, &parsed, NULL, &error));
		ok(kvm_vcpu_get_sregs(f->source->vcpus[i].fd, &before));
		ok(kvm_vcpu_get_sregs(f->target->vcpus[i].fd, &after));
		assert_memory_equal(&before, &after, sizeof(before));
		again = save_vcpu(f->target, i);
		for (unsigned n = 0; n < 2; n++)
			assert_memory_equal(find(n == 0 ? &vcpu : &again, SECTION_XSAVE, i).payload,
					    find(&f->vcpu[i], SECTION_XSAVE, i).payload,
					    sizeof(struct kvm_xsave));
		/* What a newer one has saved is not for it. */
		assert_int_equal(state_parse_vcpu(f->target, STATE_REST, f->vcpu[i].bytes,
						  f->vcpu[i].len, &other, &error),
				 -EBADMSG);
		free(again.bytes);
		free(vcpu.bytes);
	}
}

/* Only who offers its guest SVM or VMX has nested state. */
static void test_has_nested(void **state)
{
	static const struct {
		uint32_t function, ecx;
		bool expected;
	} rows[] = {
		{0x80000001, 1U << 2, true}, {0x80000001, ~(1U << 2), false}, {1, 1U << 5, true},
		{1, ~(1U << 5), false},	     {2, UINT32_MAX, false},
	};
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 2 * sizeof(cpuid->entries[0]));

	(void)state;
	assert_false(vm_cpuid_has_nested(NULL));
	cpuid->nent = 2;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		cpuid->entries[1].function = rows[i].function;
		cpuid->entries[1].ecx = rows[i].ecx;
		assert_int_equal(vm_cpuid_has_nested(cpuid), rows[i].expected);
	}
	free(cpuid);
}

/* One eventfd that cannot be bound does not keep the others from it. */
static void test_bind_irqfds(void **state)
{
	struct fixture *f = *state;
	struct vmr_vm *vm = f->source;
	const struct kvm_irqfd last = {.fd = (uint32_t)vm->irqfds[vm->n_irqfds - 1].event_fd,
				       .gsi = vm->irqfds[vm->n_irqfds - 1].gsi};
	struct kvm_irqfd unbind = last;

	assert_in_range(vm->n_irqfds, 2, 100);
	unbind.flags = KVM_IRQFD_FLAG_DEASSIGN;
	ok(kvm_vm_irqfd(vm->vm_fd, &unbind));
	assert_int_equal(vm_bind_irqfds(vm), -EBUSY);
	assert_int_equal(kvm_vm_irqfd(vm->vm_fd, &last), -EBUSY);
	ok(vm_unbind_irqfds(vm));
	ok(vm_bind_irqfds(vm));
}

/* kvmclock. */

/* One instruction, so that KVM starts the clock as it does for a running guest. */
static void run_a_little(struct fixture *f)
{
	static const uint8_t code[] = {0xe6, 0x80}; /* out %al, $0x80 at the reset vector */
	struct vmr_vm *vm = f->source;
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = 0xfff0, .rflags = 2};
	const struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
	struct kvm_vcpu_events events = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING};
	int fd = vm->vcpus[0].fd;

	memcpy((uint8_t *)f->machine.hva[1] + 0x90000 + 0x3fff0, code, sizeof(code));
	ok(kvm_vcpu_get_sregs(f->target->vcpus[0].fd, &sregs)); /* nobody changed that one */
	ok(kvm_vcpu_set_sregs(fd, &sregs));
	ok(kvm_vcpu_set_regs(fd, &regs));
	ok(kvm_vcpu_set_mp_state(fd, &runnable));
	ok(kvm_vcpu_set_events(fd, &events));
	ok(kvm_vcpu_run(fd));
	assert_int_equal(vm->vcpus[0].run->exit_reason, KVM_EXIT_IO);
}

static int64_t clock_of(const struct vmr_vm *vm)
{
	struct kvm_clock_data data;

	ok(kvm_vm_get_clock(vm->vm_fd, &data));
	return (int64_t)data.clock;
}

/*
 * The target's clock against the source's, which goes on.  Read between two looks at the source's,
 * as close together as in the best of some tries.  The guest, which was stopped, sees no difference
 * if it lags a little.
 */
static void check_clock(struct fixture *f, int64_t step, int64_t may_lag)
{
	struct blob vm = save_vm(f->source);
	struct kvm_clock_data *data = (void *)find(&vm, SECTION_CLOCK, 0).payload;
	int64_t window = INT64_MAX, ahead = 0, behind = 0;

	data->realtime = (uint64_t)((int64_t)data->realtime + step);
	(void)usleep(20000);
	ok(load_vm(f->target, &vm));
	for (unsigned i = 0; i < 50; i++) {
		int64_t before = clock_of(f->source), is = clock_of(f->target);
		int64_t after = clock_of(f->source);

		if (after - before >= window)
			continue;
		window = after - before;
		ahead = is - after;
		behind = before - is;
	}
	print_message("# step %+lld s, flags 0x%x: %lld to %lld ns ahead\n",
		      (long long)(step / NSEC_PER_SEC), data->flags, (long long)ahead,
		      (long long)-behind);
	assert_true(ahead <= NSEC_PER_MSEC);
	assert_true(behind <= may_lag);
	free(vm.bytes);
}

static void test_clock(void **state)
{
	struct fixture *f = *state;

	run_a_little(f);
	check_clock(f, 0, 0);
	check_clock(f, 10 * NSEC_PER_SEC, 0);
	check_clock(f, -10 * NSEC_PER_SEC, 0);
	check_clock(f, 0, 0);
}

/*
 * A kernel before 5.16 takes no real time: what has passed is added for it, but for the call's own
 * time.
 */
static void test_clock_of_older_kernel(void **state)
{
	struct fixture *f = *state;

	f->target->features.clock_realtime = false;
	run_a_little(f);
	check_clock(f, 0, NSEC_PER_MSEC);
	check_clock(f, 10 * NSEC_PER_SEC, NSEC_PER_MSEC);
}

/* Before a vCPU has run, KVM does not say the real time. */
static void test_clock_without_realtime(void **state)
{
	check_clock(*state, 0, 0);
}

/* Times that no clock ever showed. */
static void test_hostile_clock(void **state)
{
	static const uint64_t times[] = {0, 1, INT64_MAX, 1ULL << 63, UINT64_MAX - 1, UINT64_MAX};
	struct fixture *f = *state;
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	for (unsigned i = 0; i < ARRAY_SIZE(times); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(times); k++) {
			struct blob vm = save_vm(f->source);
			uint64_t *clock = (void *)find(&vm, SECTION_CLOCK, 0).payload;

			((struct kvm_clock_data *)clock)->flags = KVM_CLOCK_REALTIME;
			((struct kvm_clock_data *)clock)->realtime =
				times[i] + (uint64_t)ts.tv_sec * NSEC_PER_SEC;
			clock[sizeof(struct kvm_clock_data) / 8] = times[k];
			(void)load_vm(f->target, &vm);
			((struct kvm_clock_data *)clock)->realtime = times[i];
			(void)load_vm(f->target, &vm);
			free(vm.bytes);
		}
}

/* Hostile vCPU blobs. */

/* Parse it at an address after which nothing can be read, load it if that succeeds. */
static int try_hostile(struct fixture *f, const void *bytes, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	struct vmr_error error = {.code = 0};
	struct state_vcpu state = {0};

	memcpy(copy, bytes, len);

	int r = state_parse_vcpu(f->target, STATE_REST, copy, len, &state, &error);

	if (r < 0) {
		assert_int_equal(error.code, r);
	} else {
		struct vmr_error ignored;

		for (unsigned k = 0; k < STATE_VCPU_KINDS; k++)
			assert_true(!state.payload[k] || state.length[k] > 0);
		if (state_load_vcpu(f->target, 0, STATE_FIRST, &state, NULL, &ignored) == 0)
			(void)state_load_vcpu(f->target, 0, STATE_REST, &state, NULL, &ignored);
	}
	free(copy);
	return r;
}

/* The n-th section `copies` times and with `cut` bytes less. */
static int try_changed(struct fixture *f, unsigned n, unsigned copies, uint32_t cut)
{
	struct section_reader r = {f->vcpu[0].bytes, f->vcpu[0].len};
	size_t size = 2 * f->vcpu[0].len;
	struct section_writer w = {malloc(size), size, 0};
	struct section s;

	for (unsigned i = 0; section_next(&r, &s) > 0; i++) {
		uint32_t len = s.header.length;

		if (i == n)
			len -= cut < len ? cut : len;
		for (unsigned c = 0; c < (i == n ? copies : 1); c++)
			ok(section_put(&w, s.header.type, s.header.instance, s.payload, len));
	}

	int result = try_hostile(f, w.buf, w.len);

	free(w.buf);
	return result;
}

static void test_hostile_sections(void **state)
{
	struct fixture *f = *state;
	struct section_reader r = {f->vcpu[0].bytes, f->vcpu[0].len};
	struct section s;

	for (unsigned i = 0; section_next(&r, &s) > 0; i++) {
		assert_int_equal(try_changed(f, i, 1, 0), 0);
		assert_int_equal(try_changed(f, i, 0, 0), -EBADMSG);
		assert_int_equal(try_changed(f, i, 2, 0), -EBADMSG);
		assert_int_equal(try_changed(f, i, 1, 1), -EBADMSG);
		assert_int_equal(try_changed(f, i, 1, 8), -EBADMSG);
		assert_int_equal(try_changed(f, i, 1, UINT32_MAX), -EBADMSG);
	}
	assert_int_equal(try_hostile(f, "", 0), -EBADMSG);
}

/* A kind of state that this VM does not have: there is nothing that its setter could read. */
static void test_empty_section_of_absent_kind(void **state)
{
	static const uint32_t types[] = {SECTION_SREGS, SECTION_SREGS2, SECTION_NESTED,
					 SECTION_XCRS,	SECTION_LAPIC,	SECTION_TSC_OFFSET};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		size_t size = f->vcpu[0].len + sizeof(struct section_header);
		struct section_writer w = {malloc(size), size, f->vcpu[0].len};

		memcpy(w.buf, f->vcpu[0].bytes, w.len);
		ok(section_put(&w, types[i], 0, NULL, 0));
		assert_int_equal(try_hostile(f, w.buf, w.len), -EBADMSG);
		free(w.buf);
	}
}

static void test_cut_off(void **state)
{
	struct fixture *f = *state;

	for (size_t len = 0; len < f->vcpu[0].len; len += 4)
		assert_int_equal(try_hostile(f, f->vcpu[0].bytes, len), -EBADMSG);
}

static void test_every_word(void **state)
{
	static const uint32_t values[] = {0, UINT32_MAX, 0x7fffffff};
	struct fixture *f = *state;
	size_t len = f->vcpu[0].len;
	uint8_t *bytes = malloc(len);

	for (size_t at = 0; at < len; at += sizeof(uint32_t))
		for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
			memcpy(bytes, f->vcpu[0].bytes, len);
			memcpy(bytes + at, &values[v], sizeof(values[v]));
			(void)try_hostile(f, bytes, len);
		}
	free(bytes);
	/* The target took it and can be saved. */
	struct blob after = save_vcpu(f->target, 1);

	free(after.bytes);
}

#define full(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		full(test_values_are_saved),
		full(test_vcpu_state_is_identical),
		full(test_identical_with_fresh),
		full(test_in_two_parts),
		full(test_clone_takes_the_place),
		full(test_halted_at_reset),
		full(test_vm_state_is_identical),
		full(test_vm_state_must_be_whole),
		full(test_newer_sections),
		full(test_older_kernel),
		full(test_has_nested),
		full(test_bind_irqfds),
		full(test_clock),
		full(test_clock_of_older_kernel),
		full(test_clock_without_realtime),
		full(test_hostile_clock),
		full(test_hostile_sections),
		full(test_empty_section_of_absent_kind),
		full(test_cut_off),
		full(test_every_word),
	};
	const char *why_not = machine_why_not();

	if (why_not) {
		(void)printf("1..0 # SKIP %s\n", why_not);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
