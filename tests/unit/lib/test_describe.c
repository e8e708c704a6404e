// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The machine description on a real KVM: a VM built from it is the same VM, and whatever else the
 * bytes are, nothing crashes or stays behind.
 */
#include "lib/describe.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "lib/preflight.h"
#include "lib/state.h"
#include "machine.h"
#include "util.h"

/* A description of few CPUID entries: the brute-force tests build thousands of VMs. */
#define FEW_CPUID 4U
#define TYPE(s)	  ((s).header.type)

struct fixture {
	struct machine machine;
	struct description description;
	unsigned n_fds, n_guest, n_run;
};

static int set_up(void **state, unsigned n_vcpus, unsigned cpuid_max)
{
	static struct fixture f;

	machine_create(&f.machine, n_vcpus, cpuid_max);
	machine_describe(f.machine.vm, &f.description);
	f.n_fds = count_fds();
	f.n_guest = count_mappings("vmrelay-guest");
	f.n_run = count_mappings("kvm-vcpu");
	*state = &f;
	return 0;
}

static int setup(void **state)
{
	return set_up(state, 3, MACHINE_CPUID_ALL);
}

static int setup_small(void **state)
{
	return set_up(state, 1, FEW_CPUID);
}

static void assert_no_leak(const struct fixture *f)
{
	assert_int_equal(count_fds(), f->n_fds);
	assert_int_equal(count_mappings("vmrelay-guest"), f->n_guest);
	assert_int_equal(count_mappings("kvm-vcpu"), f->n_run);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_no_leak(f);
	description_free(&f->description);
	machine_free(&f->machine);
	return 0;
}

static int build(const struct fixture *f, const void *bytes, size_t len, struct vmr_vm **ret,
		 struct vmr_error *ret_error)
{
	return machine_build(&f->machine, bytes, len, &f->description.fds, ret, ret_error);
}

/* Field by field; false says which. */
#define SAME(field)                                                                                \
	do {                                                                                       \
		if (a->field != b->field) {                                                        \
			(void)fprintf(stderr, "%s differs\n", #field);                             \
			return false;                                                              \
		}                                                                                  \
	} while (0)
#define SAME_BYTES(p, q, size)                                                                     \
	do {                                                                                       \
		if ((size) > 0 && memcmp((p), (q), (size)) != 0) {                                 \
			(void)fprintf(stderr, "%s differs\n", #p);                                 \
			return false;                                                              \
		}                                                                                  \
	} while (0)

static bool same_vcpu(const struct vm_vcpu *a, const struct vm_vcpu *b)
{
	SAME(id);
	SAME(caps.n);
	SAME_BYTES(a->caps.cap, b->caps.cap, a->caps.n * sizeof(a->caps.cap[0]));
	SAME(has_mce);
	SAME(mcg_cap);
	SAME(tsc_khz);
	SAME(cpuid->nent);
	SAME_BYTES(a->cpuid->entries, b->cpuid->entries,
		   a->cpuid->nent * sizeof(a->cpuid->entries[0]));
	return true;
}

static bool same_slot(const struct vmr_memory_slot *a, const struct vmr_memory_slot *b)
{
	SAME(slot);
	SAME(flags);
	SAME(gpa);
	SAME(size);
	SAME(offset);
	SAME_BYTES(a->hva, b->hva, a->size);
	/* The same memory, not a copy: what one writes, the other reads. */
	volatile uint8_t *pa = a->hva, *pb = b->hva;

	pa[123] = (uint8_t)(pa[123] + 1);
	if (pa[123] != pb[123])
		return false;
	pb[456] = (uint8_t)(pb[456] + 1);
	return pa[456] == pb[456];
}

static bool same_features(const struct vm_features *a, const struct vm_features *b)
{
	SAME(sregs2);
	SAME(xcrs);
	SAME(debugregs);
	SAME(tsc_offset);
	SAME(clock);
	SAME(xsave_size);
	SAME(xsave2);
	SAME(nested_size);
	SAME(msrs->nmsrs);
	for (uint32_t i = 0; i < a->msrs->nmsrs; i++)
		SAME(msrs->entries[i].index);
	return true;
}

static bool same_record(const struct vmr_vm *a, const struct vmr_vm *b)
{
	SAME(type);
	SAME(run_size);
	SAME(caps.n);
	SAME_BYTES(a->caps.cap, b->caps.cap, a->caps.n * sizeof(a->caps.cap[0]));
	SAME(has_tss_addr);
	SAME(has_identity_map_addr);
	SAME(has_irqchip);
	SAME(has_pit);
	SAME(pit_reinject);
	SAME(tss_addr);
	SAME(identity_map_addr);
	SAME(pit_config.flags);
	SAME(routing->nr);
	SAME_BYTES(a->routing->entries, b->routing->entries,
		   a->routing->nr * sizeof(a->routing->entries[0]));
	SAME(n_slots);
	for (unsigned i = 0; i < a->n_slots; i++)
		if (!same_slot(&a->slots[i].slot, &b->slots[i].slot))
			return false;
	SAME(n_irqfds);
	for (unsigned i = 0; i < a->n_irqfds; i++) {
		SAME(irqfds[i].gsi);
		if ((a->irqfds[i].resample_fd < 0) != (b->irqfds[i].resample_fd < 0))
			return false;
	}
	SAME(n_ioeventfds);
	for (unsigned i = 0; i < a->n_ioeventfds; i++) {
		SAME(ioeventfds[i].datamatch);
		SAME(ioeventfds[i].addr);
		SAME(ioeventfds[i].len);
		SAME(ioeventfds[i].flags);
	}
	SAME(n_vcpus);
	for (unsigned i = 0; i < a->n_vcpus; i++)
		if (!same_vcpu(&a->vcpus[i], &b->vcpus[i]))
			return false;
	SAME(is_complete);
	return same_features(&a->features, &b->features);
}

/* An eventfd of one VM and of the other are the same: a write to one is read from the other. */
static bool same_eventfd(int a, int b)
{
	uint64_t one = 1, got = 0;

	return a >= 0 && b >= 0 && a != b && write(a, &one, sizeof(one)) == sizeof(one) &&
	       read(b, &got, sizeof(got)) == sizeof(got) && got == 1 &&
	       read(a, &got, sizeof(got)) < 0;
}

static bool same_eventfds(const struct vmr_vm *a, const struct vmr_vm *b)
{
	/* While bound, KVM takes the events of irqfds. */
	bool ok = vm_unbind_irqfds(a) == 0;

	for (unsigned i = 0; ok && i < a->n_irqfds; i++)
		ok = same_eventfd(a->irqfds[i].event_fd, b->irqfds[i].event_fd) &&
		     (a->irqfds[i].resample_fd < 0 ||
		      same_eventfd(a->irqfds[i].resample_fd, b->irqfds[i].resample_fd));
	for (unsigned i = 0; ok && i < a->n_ioeventfds; i++)
		ok = same_eventfd(a->ioeventfds[i].fd, b->ioeventfds[i].fd);
	return ok && vm_bind_irqfds(a) == 0;
}

/* What KVM says of the second VM, as far as it has getters. */
static bool same_in_kvm(const struct vmr_vm *a, const struct vmr_vm *b)
{
	autofree struct kvm_cpuid2 *ca = calloc(1, sizeof(*ca) + 256 * sizeof(ca->entries[0]));
	autofree struct kvm_cpuid2 *cb = calloc(1, sizeof(*cb) + 256 * sizeof(cb->entries[0]));
	struct kvm_pit_state2 pit;
	union one_msr ma = {.msrs = {.nmsrs = 1}}, mb = ma;

	ma.msrs.entries[0].index = mb.msrs.entries[0].index = FEATURE_MSR;
	for (unsigned i = 0; i < a->n_vcpus; i++) {
		ca->nent = cb->nent = 256;
		if (kvm_vcpu_get_cpuid2(a->vcpus[i].fd, ca) < 0 ||
		    kvm_vcpu_get_cpuid2(b->vcpus[i].fd, cb) < 0)
			return false;
		SAME_BYTES(&ca->nent, &cb->nent, sizeof(ca->nent));
		SAME_BYTES(ca->entries, cb->entries, ca->nent * sizeof(ca->entries[0]));
		if (kvm_vcpu_get_msrs(a->vcpus[i].fd, &ma.msrs) != 1 ||
		    kvm_vcpu_get_msrs(b->vcpus[i].fd, &mb.msrs) != 1)
			return false;
		SAME_BYTES(&ma, &mb, sizeof(ma));
	}
	return kvm_vm_get_pit2(b->vm_fd, &pit) == 0;
}

static void test_same_machine(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;
	struct vmr_vm *vm;

	assert_int_equal(build(f, f->description.bytes, f->description.len, &vm, &error), 0);
	assert_true(same_record(f->machine.vm, vm));
	assert_true(same_eventfds(f->machine.vm, vm));
	assert_true(same_in_kvm(f->machine.vm, vm));
	assert_int_equal(vmr_vm_n_vcpus(vm), 3);
	assert_int_equal(vmr_vm_n_memory_slots(vm), 3);
	assert_null(vmr_vm_memory_slot(vm, 3));
	assert_int_equal(vmr_vm_irqfd(vm, 3, NULL), -1);
	assert_int_equal(vmr_vm_ioeventfd(vm, 2), -1);
	(void)vmr_vm_free(vm);
}

static void test_in_another_process(void **state)
{
	struct fixture *f = *state;
	pid_t pid = fork();

	if (pid == 0) {
		struct vmr_error error;
		struct vmr_vm *vm;

		/* KVM's own file cannot be used: a VM belongs to the process that made it. */
		f->machine.kvm_fd = kvm_system_open();
		if (build(f, f->description.bytes, f->description.len, &vm, &error) < 0) {
			(void)fprintf(stderr, "%s\n", error.text);
			_exit(2);
		}
		_exit(same_record(f->machine.vm, vm) ? 0 : 1);
	}
	assert_int_equal(wait_for(pid), 0);
}

/* A VM that was built can be described again: a relay after a relay. */
static void test_description_of_built_vm(void **state)
{
	struct fixture *f = *state;
	struct description second;
	struct vmr_error error;
	struct vmr_vm *vm;

	assert_int_equal(build(f, f->description.bytes, f->description.len, &vm, &error), 0);
	machine_describe(vm, &second);
	assert_int_equal(second.len, f->description.len);
	assert_memory_equal(second.bytes, f->description.bytes, second.len);
	description_free(&second);
	(void)vmr_vm_free(vm);
}

static void test_fits_size(void **state)
{
	struct fixture *f = *state;

	assert_in_range(f->description.len, 1, describe_size(f->machine.vm));
}

static void refuse_to_describe(const struct vmr_vm *vm)
{
	struct vmr_error error = {.code = 0};

	assert_int_equal(describe_check(vm, &error), -EINVAL);
	assert_int_equal(error.code, -EINVAL);
}

static void test_private_memory(void **state)
{
	struct fixture *f = *state;
	struct vmr_memory_slot slot = *vmr_vm_memory_slot(f->machine.vm, 0);
	const struct vmr_memory_slot none = {.slot = 9};
	struct vmr_error error;

	slot.slot = 9;
	slot.gpa = 0x40000000;
	slot.fd = -1;
	assert_int_equal(vmr_vm_set_memory(f->machine.vm, &slot, &error), 0);
	refuse_to_describe(f->machine.vm);
	assert_int_equal(vmr_vm_set_memory(f->machine.vm, &none, &error), 0);
	assert_int_equal(describe_check(f->machine.vm, &error), 0);
}

static void test_incomplete_vm(void **state)
{
	struct fixture *f = *state;
	struct vmr_error error;
	struct vmr_vm *vm;

	assert_int_equal(vmr_vm_create(f->machine.kvm_fd, 0, &vm, &error), 0);
	refuse_to_describe(vm);
	assert_int_equal(vmr_vm_complete(vm, &error), -EINVAL); /* no vCPU */
	(void)vmr_vm_free(vm);
}

/* Its interrupt controllers are in the VMM, and would stay behind. */
static void test_split_irqchip(void **state)
{
	static const struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	struct fixture *f = *state;
	struct vmr_error error;
	struct vmr_vm *vm;
	unsigned index;

	assert_int_equal(vmr_vm_create(f->machine.kvm_fd, 0, &vm, &error), 0);
	if (vmr_vm_enable_cap(vm, &split, &error) == 0) {
		assert_int_equal(vmr_vm_create_vcpu(vm, 0, &index, &error), 0);
		assert_int_equal(vmr_vm_complete(vm, &error), 0);
		assert_int_equal(describe_check(vm, &error), -EOPNOTSUPP);
		assert_string_equal(error.text,
				    "a VM with a split irqchip cannot be relayed by this version");
	}
	(void)vmr_vm_free(vm);
}

/* More file descriptors than a description may have. */
static void test_too_many_fds(void **state)
{
	struct fixture *f = *state;
	size_t size = describe_size(f->machine.vm);
	struct section_writer w = {malloc(size), size, 0};
	struct fd_list fds = {.n = 0};
	struct vmr_error error;

	while (fd_list_add(&fds, 0) >= 0)
		;
	assert_int_equal(fds.n, DESCRIBE_FDS_MAX);
	/* The VMM's leave room for memory, but not for the eventfds, in all their places. */
	for (unsigned less = 0; less <= f->description.fds.n; less++) {
		bool fits = less == f->description.fds.n;
		int r;

		fds.n = DESCRIBE_FDS_MAX - less;
		w.len = 0;
		r = describe_write(f->machine.vm, &w, &fds, &error);
		assert_int_equal(r, fits ? 0 : -E2BIG);
		assert_in_range(fds.n, 0, DESCRIBE_FDS_MAX);
	}
	free(fds.fd);
	free(w.buf);
}

/* A failed call leaves the record as it was. */
static void test_failed_calls_leave_no_trace(void **state)
{
	struct fixture *f = *state;
	struct vmr_vm *vm = f->machine.vm;
	const struct kvm_enable_cap cap = {.cap = 0x7fffffff};
	const struct kvm_pit_config pit = {.flags = 0};
	const struct kvm_ioeventfd ioeventfd = {.addr = 0x600, .len = 3, .fd = -1};
	struct vmr_memory_slot slot = *vmr_vm_memory_slot(vm, 0);
	struct kvm_irq_routing *routing = calloc(1, sizeof(*routing) + 48);
	const struct kvm_cpuid2 cpuid = {.nent = VM_CPUID_MAX + 1};
	struct description second;
	struct vmr_error error;
	unsigned index;
	autofd blocking = memfd_create("blocking", MFD_CLOEXEC);

	slot.slot = 11; /* overlaps slot 0 */
	routing->nr = 1;
	routing->entries[0].type = 0x7777;
	assert_in_range(-vmr_vm_enable_cap(vm, &cap, &error), 1, 4095);
	assert_in_range(-vmr_vm_set_memory(vm, &slot, &error), 1, 4095);
	assert_in_range(-vmr_vm_set_gsi_routing(vm, routing, &error), 1, 4095);
	assert_in_range(-vmr_vm_add_irqfd(vm, -1, 4, -1, &error), 1, 4095);
	assert_int_equal(vmr_vm_add_irqfd(vm, blocking, 4, -1, &error), -EINVAL);
	assert_in_range(-vmr_vm_add_ioeventfd(vm, &ioeventfd, &error), 1, 4095);
	assert_in_range(-vmr_vm_create_vcpu(vm, 1, &index, &error), 1, 4095);
	assert_in_range(-vmr_vm_create_irqchip(vm, &error), 1, 4095);
	assert_in_range(-vmr_vm_create_pit(vm, &pit, true, &error), 1, 4095);
	assert_in_range(-vmr_vm_set_tss_addr(vm, UINT32_MAX, &error), 1, 4095);
	assert_in_range(-vmr_vm_set_identity_map_addr(vm, 0x1000, &error), 1, 4095);
	assert_in_range(-vmr_vcpu_enable_cap(vm, 0, &cap, &error), 1, 4095);
	assert_in_range(-vmr_vcpu_setup_mce(vm, 0, 255, &error), 1, 4095);
	/* More than is recorded; KVM is not asked. */
	assert_int_equal(vmr_vcpu_set_cpuid(vm, 0, &cpuid, &error), -ENOMEM);
	routing->nr = VM_ROUTES_MAX + 1;
	assert_int_equal(vmr_vm_set_gsi_routing(vm, routing, &error), -ENOMEM);
	free(routing);

	machine_describe(vm, &second);
	assert_int_equal(second.len, f->description.len);
	assert_memory_equal(second.bytes, f->description.bytes, second.len);
	description_free(&second);
}

/*
 * Hostile descriptions.  Whether one is refused or not: if there is a VM, it can be described and
 * its vCPUs saved; and afterwards nothing is left of it.
 */
static int try_hostile(const struct fixture *f, const void *bytes, size_t len)
{
	struct vmr_error error = {.code = 0};
	struct vmr_vm *vm = NULL;
	int r = build(f, bytes, len, &vm, &error);

	if (r < 0) {
		assert_null(vm);
		assert_int_equal(error.code, r);
		assert_true(error.text[0]);
	} else {
		struct description again;

		assert_true(vm->is_complete);
		machine_describe(vm, &again);
		description_free(&again);
		for (unsigned i = 0; i < vm->n_vcpus; i++) {
			size_t size = state_vcpu_size(vm);
			struct section_writer w = {malloc(size), size, 0};
			struct state_vcpu parsed = {0};

			if (state_save_vcpu(vm, i, STATE_FIRST, &w, &error) == 0 &&
			    state_save_vcpu(vm, i, STATE_REST, &w, &error) == 0)
				assert_int_equal(state_parse_vcpu(vm, STATE_REST, w.buf, w.len,
								  &parsed, &error),
						 0);
			free(w.buf);
		}
		(void)vmr_vm_free(vm);
	}
	assert_no_leak(f);
	return r;
}

/* The sections of a description, to be put together anew. */
#define SECTIONS_MAX 64
static unsigned split(const struct description *d, struct section sections[static SECTIONS_MAX])
{
	struct section_reader r = {d->bytes, d->len};
	unsigned n = 0;

	while (n < SECTIONS_MAX && section_next(&r, &sections[n]) > 0)
		n++;
	assert_int_equal(r.left, 0);
	return n;
}

static void put(struct section_writer *w, const struct section *s, uint32_t len)
{
	void *to = section_begin(w, s->header.type, s->header.instance, s->header.version,
				 s->header.min_version, s->header.flags, len);

	assert_non_null(to);
	memcpy(to, s->payload, len);
	section_end(w, len);
}

/* Section `n` `copies` times and with `cut` bytes less; all others as they are. */
static int try_changed(const struct fixture *f, unsigned n, unsigned copies, uint32_t cut)
{
	struct section sections[SECTIONS_MAX];
	unsigned n_sections = split(&f->description, sections);
	size_t size = 2 * f->description.len;
	struct section_writer w = {malloc(size), size, 0};

	for (unsigned i = 0; i < n_sections; i++) {
		uint32_t len = sections[i].header.length;

		if (i == n)
			len -= cut < len ? cut : len;
		for (unsigned c = 0; c < (i == n ? copies : 1); c++)
			put(&w, &sections[i], len);
	}

	int r = try_hostile(f, w.buf, w.len);

	free(w.buf);
	return r;
}

static void test_section_removed(void **state)
{
	struct fixture *f = *state;
	struct section s[SECTIONS_MAX];
	unsigned n = split(&f->description, s);

	assert_in_range(n, 15, SECTIONS_MAX - 1);
	for (unsigned i = 0; i < n; i++) {
		int r = try_changed(f, i, 0, 0);

		if (TYPE(s[i]) == SECTION_MACHINE || TYPE(s[i]) == SECTION_VCPU ||
		    TYPE(s[i]) == SECTION_REQUIRED_MSRS || TYPE(s[i]) == SECTION_VCPU_FEATURE_MSRS)
			assert_int_equal(r, -EBADMSG);
	}
}

static void test_section_truncated(void **state)
{
	struct fixture *f = *state;
	struct section s[SECTIONS_MAX];
	unsigned n = split(&f->description, s);

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(try_changed(f, i, 1, 1), -EBADMSG);

		int r = try_changed(f, i, 1, 8);

		/* A shorter list is a list. */
		if (TYPE(s[i]) != SECTION_REQUIRED_CAPS && TYPE(s[i]) != SECTION_REQUIRED_MSRS)
			assert_int_equal(r, -EBADMSG);
	}
}

static void test_section_duplicated(void **state)
{
	struct fixture *f = *state;
	struct section s[SECTIONS_MAX];
	unsigned n = split(&f->description, s);

	for (unsigned i = 0; i < n; i++) {
		int r = try_changed(f, i, 2, 0);

		switch (TYPE(s[i])) {
		case SECTION_REQUIRED_CAPS:
		case SECTION_CAP:
		case SECTION_VCPU_CAP:
		case SECTION_ROUTING:
			break;
		default:
			assert_int_equal(r, -EBADMSG);
		}
	}
}

static void test_unknown_section(void **state)
{
	static const struct {
		uint32_t type, flags;
		uint16_t min_version;
		int expected;
	} cases[] = {
		{0x7000, 0, 1, -ENOTSUP},
		{0x7000, SECTION_OPTIONAL, 1, 0},
		{0x9000, 0, 1, 0}, /* the VMM's: its own business */
		{SECTION_REGS, 0, 1, -ENOTSUP},
		{SECTION_CAP, 0, 2, -ENOTSUP}, /* known, but not this version of it */
		{SECTION_CAP, SECTION_OPTIONAL, 2, 0},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t size = f->description.len + 200;
		struct section_writer w = {malloc(size), size, f->description.len};

		memcpy(w.buf, f->description.bytes, f->description.len);
		assert_non_null(section_begin(&w, cases[i].type, 0, 2, cases[i].min_version,
					      cases[i].flags, 5));
		section_end(&w, 5);
		assert_int_equal(try_hostile(f, w.buf, w.len), cases[i].expected);
		free(w.buf);
	}
}

/* The description's end is anywhere. */
static void test_cut_off(void **state)
{
	struct fixture *f = *state;

	for (size_t len = 0; len < f->description.len; len += 12) {
		/* A copy of this very size: a look past its end is seen. */
		uint8_t *bytes = malloc(len + (len == 0));

		memcpy(bytes, f->description.bytes, len);
		(void)try_hostile(f, bytes, len);
		free(bytes);
	}
}

static void test_missing_fds(void **state)
{
	struct fixture *f = *state;
	struct fd_list fds = f->description.fds;

	for (fds.n = 0; fds.n < f->description.fds.n; fds.n++) {
		struct vmr_error error;
		struct vmr_vm *vm;

		assert_int_equal(machine_build(&f->machine, f->description.bytes,
					       f->description.len, &fds, &vm, &error),
				 -EBADMSG);
		assert_no_leak(f);
	}
}

/* A confidential guest, as far as a host without SEV lets it be described. */
static void test_confidential(void **state)
{
	struct fixture *f = *state;
	struct vm_sev *sev = &f->machine.vm->sev;
	struct description description;
	struct vmr_error error;
	struct vmr_vm *vm;

	*sev = (struct vm_sev){
		.kind = VMR_CONFIDENTIAL_SEV_ES, .fd = 77, .handle = 5, .policy = 0x15};
	assert_int_equal(describe_check(f->machine.vm, &error), -EBUSY);
	assert_string_equal(error.text, "the confidential guest is still being launched");
	sev->is_launched = true;
	sev->is_bound = true;
	assert_int_equal(describe_check(f->machine.vm, &error), -EOPNOTSUPP);
	assert_non_null(strstr(error.text, "after a move"));
	sev->is_bound = false;
	assert_int_equal(describe_check(f->machine.vm, &error), 0);

	machine_describe(f->machine.vm, &description);
	assert_int_equal(machine_build(&f->machine, description.bytes, description.len,
				       &description.fds, &vm, &error),
			 0);
	assert_int_equal(vmr_vm_confidential(vm), VMR_CONFIDENTIAL_SEV_ES);
	assert_int_equal(vm->sev.handle, 5);
	assert_int_equal(vm->sev.policy, 0x15);
	assert_true(vm->sev.is_launched && vm->sev.is_moved);
	assert_int_equal(vm->sev.n_vmsas, vmr_vm_n_vcpus(vm));
	assert_int_equal(vm->sev.fd, -1);
	assert_false(vmr_vm_is_dead(vm));
	(void)vmr_vm_free(vm);

	/* What no launch makes. */
	for (unsigned long type = 0; type < 5; type++) {
		assert_int_equal(sev_type_fits(type, VMR_CONFIDENTIAL_SEV),
				 type == KVM_X86_DEFAULT_VM || type == KVM_X86_SEV_VM);
		assert_int_equal(sev_type_fits(type, VMR_CONFIDENTIAL_SEV_ES),
				 type == KVM_X86_DEFAULT_VM || type == KVM_X86_SEV_ES_VM);
	}

	struct section_reader r = {description.bytes, description.len};
	struct section s;
	uint32_t *kind = NULL;

	while (section_next(&r, &s) > 0)
		if (s.header.type == SECTION_SEV)
			kind = (uint32_t *)(uintptr_t)s.payload;
	assert_non_null(kind);
	for (*kind = 0; *kind < 5; (*kind)++) {
		bool is_known = *kind == VMR_CONFIDENTIAL_SEV || *kind == VMR_CONFIDENTIAL_SEV_ES;

		assert_int_equal(machine_build(&f->machine, description.bytes, description.len,
					       &description.fds, &vm, &error),
				 is_known ? 0 : -EBADMSG);
		if (is_known)
			(void)vmr_vm_free(vm);
	}
	*kind = VMR_CONFIDENTIAL_SEV;

	/* Of another boot, and of another kernel (see preflight.h). */
	struct preflight_host *host = (struct preflight_host *)(kind + 4);

	for (unsigned i = 0; i < 2; i++) {
		char *byte = i == 0 ? &host->boot_id[35] : &host->kernel[0];

		*byte ^= 1;
		assert_int_equal(machine_build(&f->machine, description.bytes, description.len,
					       &description.fds, &vm, &error),
				 -EXDEV);
		*byte ^= 1;
	}
	description_free(&description);
	*sev = (struct vm_sev){.fd = -1};
}

/* Brute force: every word of the description is something else; of long tables, some words. */
static void test_every_word(void **state)
{
	static const uint32_t values[] = {0, UINT32_MAX, 0x7fffffff};
	struct fixture *f = *state;
	unsigned n_accepted = 0, n = 0;
	uint8_t *bytes = malloc(f->description.len);
	struct section s[SECTIONS_MAX];
	unsigned n_sections = split(&f->description, s);
	size_t at = 0, step;

	for (; at < f->description.len; at += step * sizeof(uint32_t)) {
		const uint8_t *word = f->description.bytes + at;
		const unsigned all = 40, some = 11;

		step = some;
		for (unsigned i = 0; i < n_sections; i++) {
			const uint8_t *payload = s[i].payload;

			/* The last words of a table are skipped for the header behind it. */
			if (word + some * sizeof(uint32_t) >= payload - sizeof(s[i].header) &&
			    word < payload + all * sizeof(uint32_t))
				step = 1;
		}
		for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
			memcpy(bytes, f->description.bytes, f->description.len);
			if (memcmp(bytes + at, &values[v], sizeof(values[v])) == 0)
				continue;
			memcpy(bytes + at, &values[v], sizeof(values[v]));
			n++;
			n_accepted += try_hostile(f, bytes, f->description.len) == 0;
		}
	}
	free(bytes);
	print_message("# %u of %u descriptions made a VM\n", n_accepted, n);
	assert_in_range(n_accepted, 1, n - 1);
}

#define full(test)  cmocka_unit_test_setup_teardown(test, setup, teardown)
#define small(test) cmocka_unit_test_setup_teardown(test, setup_small, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		full(test_same_machine),
		full(test_in_another_process),
		full(test_description_of_built_vm),
		full(test_fits_size),
		full(test_private_memory),
		full(test_incomplete_vm),
		full(test_split_irqchip),
		full(test_too_many_fds),
		full(test_failed_calls_leave_no_trace),
		full(test_section_removed),
		full(test_section_truncated),
		full(test_section_duplicated),
		full(test_unknown_section),
		small(test_cut_off),
		full(test_missing_fds),
		full(test_confidential),
		small(test_every_word),
	};
	const char *why_not = machine_why_not();

	if (why_not) {
		(void)printf("1..0 # SKIP %s\n", why_not);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
