// SPDX-License-Identifier: GPL-2.0-or-later
/* What an SEV-ES guest asks for by its GHCB, and the GHCB's MSR. */
#include "es_guest.h"

#include <errno.h>
#include <string.h>

enum {
	CPL = 0xcb,
	AX = 0x1f8,
	CX = 0x308,
	DX = 0x310,
	BX = 0x318,
	CODE = 0x390,
	INFO_1 = 0x398,
	INFO_2 = 0x3a0,
	SCRATCH = 0x3a8,
	XCR = 0x3e8,
	USAGE = 0xffc
};

#define IN	   (1u << 0)
#define STRING	   (1u << 2)
#define SIZE(n)	   ((uint64_t)(n) << 4)
#define PORT(port) ((uint64_t)(port) << 16)

static int setup(void **state)
{
	int r = es_guest_setup(state);

	if (r == 0)
		es_guest_launch(*state);
	return r;
}

static int teardown(void **state)
{
	struct es_guest *g = *state;

	if (g->vcpu.sev.is_loaded)
		sev_es_leave(&g->vcpu);
	return es_guest_teardown(state);
}

static void assert_error(struct es_guest *g, uint64_t reason)
{
	if (vmgexit(g) || ghcb_get(g, INFO_1) != 2 || ghcb_get(g, INFO_2) != reason)
		fail_msg("event 0x%llx: info 0x%llx, 0x%llx instead of error %llu",
			 (unsigned long long)ghcb_get(g, CODE),
			 (unsigned long long)ghcb_get(g, INFO_1),
			 (unsigned long long)ghcb_get(g, INFO_2), (unsigned long long)reason);
}

static void assert_done(struct es_guest *g)
{
	assert_false(vmgexit(g));
	assert_int_equal(ghcb_get(g, INFO_1), 0);
}

/* Each event with what it needs; without any one of that it misses input. */
static void test_inputs(void **state)
{
	struct es_guest *g = *state;
	static const struct {
		uint64_t code, info_1;
		unsigned needs[5];
	} rows[] = {
		{0x27, 0, {0}},
		{0x37, 0, {AX}},
		{0x6e, 0, {0}},
		{0x6f, 0, {CX}},
		{0x72, 0, {AX, CX}},
		{0x76, 0, {0}},
		{0x7b, SIZE(1) | PORT(DEVICE_PORT) | IN, {0}},
		{0x7b, SIZE(1) | PORT(DEVICE_PORT), {AX}},
		{0x7b, SIZE(1) | PORT(DEVICE_PORT) | STRING, {SCRATCH}},
		{0x7c, 0, {CX}},
		{0x7c, 1, {CX, AX, DX}},
		{0x81, 0, {AX, CPL}},
		{0x87, 0, {0}},
		{0x89, 0, {0}},
		{0x8a, 0, {AX, CX, DX}},
		{0x8b, 0, {AX, CX}},
		{0x80000001, DEVICE_GPA, {SCRATCH}},
		{0x80000002, DEVICE_GPA, {SCRATCH}},
		{0x80000003, 0, {0}},
		{0x80000004, 0, {0}},
		{0x80000005, 0, {0}},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (unsigned missing = 0; missing < 5; missing++) {
			bool is_complete = !rows[i].needs[missing];

			ghcb_event(g, rows[i].code, rows[i].info_1, 1);
			for (unsigned n = 0; n < 5 && rows[i].needs[n]; n++)
				if (n != missing)
					ghcb_put(g, rows[i].needs[n],
						 rows[i].needs[n] == SCRATCH ? SCRATCH_GPA : 1);
			if (!is_complete) {
				assert_error(g, 4);
				continue;
			}
			(void)vmgexit(g);
			if (ghcb_get(g, INFO_1) == 2)
				fail_msg("row %zu: error", i);
			break;
		}
	}
	for (unsigned field = CODE; field <= INFO_2; field += 8) {
		ghcb_event(g, 0x76, 0, 0);
		g->ghcb[0x3f0 + field / 64] &= (uint8_t) ~(1u << field / 8 % 8);
		assert_error(g, 4);
	}
	ghcb_event(g, 0x76, 0, 0);
	g->ghcb[USAGE] = 1;
	assert_error(g, 2);
	ghcb_event(g, 0x72, 0, 0); /* leaf 0xd needs to be told XCR0 */
	ghcb_put(g, AX, 0xd);
	ghcb_put(g, CX, 0);
	assert_error(g, 4);
}

static void test_unknown_events(void **state)
{
	static const uint64_t codes[] = {0,	     0x78,	 0x7a,	     0x400,	 0x403,
					 0x80000006, 0x80000010, 0x80000013, 0x10000007b};
	static const uint64_t of_main[] = {0x8000fffd, 0x8000fffe};
	struct es_guest *g = *state;
	bool is_to_user;

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		ghcb_event(g, codes[i], 0, 0);
		assert_error(g, 6);
	}
	for (size_t i = 0; i < 2; i++) {
		ghcb_event(g, of_main[i], 0, 0);
		assert_error(g, 6);
	}
	ghcb_event(g, 0x8000ffff, 0, 0);
	assert_int_equal(sev_es_vmgexit(&g->vcpu, &is_to_user), -EINVAL);
	sev_es_resume(&g->vcpu);
	g->call->host.config.profile = PROFILE_MAIN;
	ghcb_event(g, 0x8000fffd, 0, 0);
	assert_done(g);
	assert_int_equal(ghcb_get(g, INFO_2), 3);
	ghcb_event(g, 0x8000fffe, 1, 2);
	assert_true(vmgexit(g));
	assert_int_equal(g->run->exit_reason, KVM_EXIT_SYSTEM_EVENT);
	assert_int_equal(g->run->system_event.type, KVM_SYSTEM_EVENT_SEV_TERM);
	assert_int_equal(g->run->system_event.data[0], GHCB_GPA);
}

/* Registers that are not valid are 0; what goes back, and that nothing else does. */
static void test_registers(void **state)
{
	struct es_guest *g = *state;
	struct cpu *cpu = g->vcpu.cpu;

	assert_int_equal(sev_es_enter(&g->vcpu), 1);
	cpu->state.gpr[RAX] = cpu->state.gpr[R9] = 0x1111; /* the guest's own */
	sev_es_kvm_state(&g->vcpu)->gpr[RAX] = 0x2222;
	ghcb_event(g, 0x76, 7, 8);
	ghcb_put(g, BX, 0xb);
	ghcb_put(g, DX, 0xd);
	memset(g->ghcb + AX, 0xff, 8); /* not valid */
	ghcb_put(g, 0x330, 0x51);
	ghcb_put(g, XCR, 3);
	assert_done(g);
	assert_int_equal(cpu->state.gpr[RAX], 0x1111);
	assert_int_equal(cpu->state.gpr[R9], 0x1111);
	assert_int_equal(sev_es_kvm_state(&g->vcpu)->gpr[RSI], 0x51);
	assert_int_equal(sev_es_kvm_state(&g->vcpu)->xcr0, 3);
	assert_int_equal(ghcb_get(g, AX), 0);
	assert_int_equal(ghcb_get(g, BX), 0xb);
	assert_int_equal(ghcb_get(g, CX), 0);
	assert_int_equal(ghcb_get(g, DX), 0xd);
	assert_int_equal(ghcb_get(g, INFO_2), 0);
	for (unsigned offset = 0; offset < 0x3f0; offset += 8)
		assert_int_equal(ghcb_has(g, offset), offset == AX || offset == BX ||
							      offset == CX || offset == DX ||
							      offset == INFO_1 || offset == INFO_2);
	assert_int_equal(ghcb_get(g, CODE), 0x76);
	assert_int_equal(ghcb_get(g, 0x330), 0x51);
}

static void test_cpuid(void **state)
{
	struct es_guest *g = *state;

	assert_int_equal(sev_es_enter(&g->vcpu), 1);
	g->vcpu.cpu->state.cr4 = 0xffff;	/* the guest's, of which KVM knows nothing */
	sev_es_kvm_state(&g->vcpu)->cr4 = 0x20; /* of which it was told */
	ghcb_event(g, 0x72, 0, 0);
	ghcb_put(g, AX, 0xd);
	ghcb_put(g, CX, 1);
	ghcb_put(g, XCR, 7);
	assert_done(g);
	assert_int_equal(g->cpuid_leaf, 0xd);
	assert_int_equal(g->cpuid_subleaf, 1);
	assert_int_equal(g->cpuid_xcr0, 7);
	assert_int_equal(g->cpuid_cr4, 0x20);
	assert_int_equal(ghcb_get(g, AX), 0xe);
	assert_int_equal(ghcb_get(g, BX), 0xf);
	assert_int_equal(ghcb_get(g, CX), 0x10);
	assert_int_equal(ghcb_get(g, DX), 0x11);
}

static void test_msr(void **state)
{
	struct es_guest *g = *state;

	ghcb_event(g, 0x7c, 0, 0);
	ghcb_put(g, CX, KNOWN_MSR);
	assert_done(g);
	assert_int_equal(ghcb_get(g, AX), (uint32_t)KERNEL_VALUE);
	assert_int_equal(ghcb_get(g, DX), KERNEL_VALUE >> 32);
	ghcb_event(g, 0x7c, 1, 0);
	ghcb_put(g, CX, KNOWN_MSR);
	ghcb_put(g, AX, 0xffffffff00000001);
	ghcb_put(g, DX, 2);
	assert_done(g);
	assert_int_equal(g->written, 0x200000001);
	for (unsigned i = 0; i < 2; i++) {
		ghcb_event(g, 0x7c, i, 0);
		ghcb_put(g, CX, KNOWN_MSR + 1);
		ghcb_put(g, AX, 0);
		ghcb_put(g, DX, 0);
		assert_false(vmgexit(g));
		assert_int_equal(ghcb_get(g, INFO_1), 1);
		assert_int_equal(ghcb_get(g, INFO_2), 0x8000030d);
	}
}

static void test_others(void **state)
{
	struct es_guest *g = *state;

	ghcb_event(g, 0x81, 0, 0);
	ghcb_put(g, AX, 5);
	ghcb_put(g, CPL, 3);
	assert_done(g);
	assert_int_equal(g->hypercall_cpl, 3);
	assert_int_equal(ghcb_get(g, AX), KERNEL_VALUE);

	g->vcpu.cpu->state.nmi_masked = true;
	ghcb_event(g, 0x80000003, 0, 0);
	assert_done(g);
	assert_false(g->vcpu.cpu->state.nmi_masked);

	ghcb_event(g, 0x87, 0, 0);
	assert_done(g);
	assert_true(g->vcpu.cpu->state.exception.pending);
	assert_int_equal(g->vcpu.cpu->state.exception.vector, 6);

	ghcb_event(g, 0x80000005, 0, 0x9000);
	assert_done(g);
	assert_int_equal(ghcb_get(g, INFO_2), 0);
	ghcb_event(g, 0x80000005, 1, 0);
	assert_done(g);
	assert_int_equal(ghcb_get(g, INFO_2), 0x9000);
	ghcb_event(g, 0x80000005, 2, 0);
	assert_error(g, 5);

	ghcb_event(g, 0x6e, 0, 0);
	assert_true(vmgexit(g));
	assert_int_equal(g->run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(g->run->internal.data[0], 0x6e);
}

/* A page that is not there. */
static void test_no_page(void **state)
{
	static const uint64_t pages[] = {0, MEMORY_PAGES * PAGE, 0x7ffffffffffff000};
	struct es_guest *g = *state;

	for (unsigned i = 0; i < 3; i++) {
		g->vcpu.cpu->ghcb = pages[i];
		assert_false(vmgexit(g));
		assert_int_equal(g->vcpu.cpu->ghcb, pages[i]);
	}
}

static void test_port(void **state)
{
	struct es_guest *g = *state;
	uint8_t *data = (uint8_t *)g->run + RUN_PIO_OFFSET;

	ghcb_event(g, 0x7b, PORT(DEVICE_PORT) | SIZE(2), 0);
	ghcb_put(g, AX, 0x123456);
	assert_done(g);
	assert_int_equal(g->written, 0x3456);
	ghcb_event(g, 0x7b, PORT(DEVICE_PORT) | SIZE(2) | IN, 0);
	ghcb_put(g, AX, 0x1234567890);
	g->n_accesses = 0xee;
	assert_done(g);
	assert_int_equal(ghcb_get(g, AX), 0x123456efef);
	ghcb_event(g, 0x7b, PORT(DEVICE_PORT) | SIZE(4) | IN, 0);
	ghcb_put(g, AX, 0x1234567890);
	assert_done(g);
	assert_int_equal(ghcb_get(g, AX), 0xf0f0f0f0);
	for (unsigned size = 0; size < 8; size++) {
		g->n_accesses = 0;
		ghcb_event(g, 0x7b, PORT(DEVICE_PORT) | SIZE(size) | IN, 0);
		assert_done(g);
		assert_int_equal(g->n_accesses, size == 1 || size == 2 || size == 4);
	}

	/* By the VMM: nothing is in the GHCB before the guest is entered again. */
	ghcb_event(g, 0x7b, PORT(0x3f8) | SIZE(1), 0);
	ghcb_put(g, AX, 0x55);
	assert_true(vmgexit(g));
	assert_int_equal(g->run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(g->run->io.port, 0x3f8);
	assert_int_equal(g->run->io.direction, KVM_EXIT_IO_OUT);
	assert_int_equal(g->run->io.size, 1);
	assert_int_equal(g->run->io.count, 1);
	assert_int_equal(*data, 0x55);
	assert_true(reenter(g));
	assert_int_equal(ghcb_get(g, AX), 0x55);

	ghcb_event(g, 0x7b, PORT(0x3f8) | SIZE(1) | IN, 0);
	ghcb_put(g, AX, 0x1200);
	assert_true(vmgexit(g));
	*data = 0x77;
	assert_int_equal(ghcb_get(g, AX), 0x1200);
	assert_true(reenter(g));
	assert_int_equal(ghcb_get(g, AX), 0x1277);
	/* Once only. */
	*data = 0x88;
	sev_es_leave(&g->vcpu);
	assert_true(reenter(g));
	assert_int_equal(ghcb_get(g, AX), 0x1277);
}

static void test_string(void **state)
{
	struct es_guest *g = *state;
	uint8_t *data = (uint8_t *)g->run + RUN_PIO_OFFSET,
		*scratch = g->call->memory + SCRATCH_GPA;

	for (unsigned i = 0; i < 9000; i++)
		scratch[i] = (uint8_t)(i * 7);
	ghcb_event(g, 0x7b, PORT(0x10) | SIZE(2) | STRING, 4500);
	ghcb_put(g, SCRATCH, SCRATCH_GPA);
	assert_true(vmgexit(g));
	for (unsigned done = 0; done < 9000; done += 4096) {
		unsigned n = 9000 - done < 4096 ? 9000 - done : 4096;

		assert_int_equal(g->run->io.count, n / 2);
		assert_memory_equal(data, scratch + done, n);
		memset(data, 0, n);
		assert_int_equal(reenter(g), done + n == 9000);
	}

	ghcb_event(g, 0x7b, PORT(0x10) | SIZE(1) | STRING | IN, 5000);
	ghcb_put(g, SCRATCH, SCRATCH_GPA);
	assert_true(vmgexit(g));
	memset(data, 1, 4096);
	assert_false(reenter(g));
	assert_int_equal(g->run->io.count, 904);
	memset(data, 2, 904);
	assert_int_equal(scratch[0], 0); /* not yet */
	assert_true(reenter(g));
	for (unsigned i = 0; i < 5001; i++)
		assert_int_equal(scratch[i], i < 4096 ? 1 : i < 5000 ? 2 : (uint8_t)(i * 7));

	/* By the host, in the GHCB itself. */
	g->n_accesses = 0;
	ghcb_event(g, 0x7b, PORT(DEVICE_PORT) | SIZE(4) | STRING | IN, 3);
	ghcb_put(g, SCRATCH, GHCB_GPA + 0x800);
	assert_done(g);
	assert_int_equal(g->n_accesses, 3);
	assert_int_equal(ghcb_get(g, 0x804), 0x0303030302020202);
	ghcb_event(g, 0x7b, PORT(DEVICE_PORT) | SIZE(4) | STRING | IN, 0);
	ghcb_put(g, SCRATCH, GHCB_GPA + 0x800);
	assert_done(g);
}

static void test_scratch(void **state)
{
	static const struct {
		uint64_t gpa, len;
		bool is_good;
	} rows[] = {
		{0, 8, false},
		{UINT64_MAX - 3, 8, false},
		{GHCB_GPA, 8, false},
		{GHCB_GPA + 0x7ff, 8, false},
		{GHCB_GPA + 0x800, 2032, true},
		{GHCB_GPA + 0x800, 2033, false},
		{GHCB_GPA + 0xfe8, 8, true},
		{GHCB_GPA + 0xfe9, 8, false},
		{GHCB_GPA + PAGE, 0x10000, true},
		{GHCB_GPA + PAGE, 0x10001, false},
		{GHCB_GPA + PAGE, UINT64_MAX - 0x10000, false},
	};
	struct es_guest *g = *state;
	bool is_to_user;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ghcb_event(g, 0x80000002, 0x1000, rows[i].len);
		ghcb_put(g, SCRATCH, rows[i].gpa);
		if (!rows[i].is_good) {
			assert_error(g, 3);
			continue;
		}
		assert_true(vmgexit(g));
		while (!reenter(g))
			;
		assert_int_equal(ghcb_get(g, INFO_1), 0);
	}
	/* So much that it overflows; memory that is not there. */
	ghcb_event(g, 0x7b, PORT(0x10) | SIZE(4) | STRING, 1ull << 62);
	ghcb_put(g, SCRATCH, SCRATCH_GPA);
	assert_int_equal(sev_es_vmgexit(&g->vcpu, &is_to_user), -EINVAL);
	sev_es_resume(&g->vcpu);
	ghcb_event(g, 0x80000001, 0x1000, 8);
	ghcb_put(g, SCRATCH, MEMORY_PAGES * PAGE - 4);
	assert_int_equal(sev_es_vmgexit(&g->vcpu, &is_to_user), -EFAULT);
}

static void test_mmio(void **state)
{
	struct es_guest *g = *state;
	uint8_t *scratch = g->call->memory + SCRATCH_GPA;

	memcpy(scratch, "0123456789abcdef01234", 21);
	ghcb_event(g, 0x80000002, DEVICE_GPA + 4, 4);
	ghcb_put(g, SCRATCH, SCRATCH_GPA);
	assert_done(g);
	assert_memory_equal(&g->written, "0123", 4);
	g->n_accesses = 0;
	ghcb_event(g, 0x80000001, DEVICE_GPA, 16);
	ghcb_put(g, SCRATCH, SCRATCH_GPA);
	assert_done(g);
	assert_int_equal(scratch[7], 1);
	assert_int_equal(scratch[8], 2);
	assert_int_equal(scratch[15], 2);
	assert_int_equal(scratch[16], '0');

	ghcb_event(g, 0x80000002, 0xd0000003, 11);
	ghcb_put(g, SCRATCH, SCRATCH_GPA + 10);
	memcpy(scratch + 10, "hello world", 11);
	assert_true(vmgexit(g));
	assert_int_equal(g->run->exit_reason, KVM_EXIT_MMIO);
	assert_int_equal(g->run->mmio.phys_addr, 0xd0000003);
	assert_int_equal(g->run->mmio.len, 8);
	assert_true(g->run->mmio.is_write);
	assert_memory_equal(g->run->mmio.data, "hello wo", 8);
	assert_false(reenter(g));
	assert_int_equal(g->run->mmio.phys_addr, 0xd000000b);
	assert_int_equal(g->run->mmio.len, 3);
	assert_memory_equal(g->run->mmio.data, "rld", 3);
	assert_true(reenter(g));

	ghcb_event(g, 0x80000001, 0xd0000000, 4);
	ghcb_put(g, SCRATCH, SCRATCH_GPA + 10);
	assert_true(vmgexit(g));
	assert_false(g->run->mmio.is_write);
	memcpy(g->run->mmio.data, "HELLo", 5);
	assert_true(reenter(g));
	assert_memory_equal(scratch + 10, "HELLo world", 4);
	assert_int_equal(scratch[14], 'o');
}

static void test_reset_hold(void **state)
{
	struct es_guest *g = *state;
	bool is_to_user;

	/* The first SIPI lets the vCPU run; it is not in a hold. */
	sev_es_startup(&g->vcpu);
	assert_true(g->vcpu.sev.received_first_sipi);
	ghcb_event(g, 0x80000004, 0, 0);
	assert_int_equal(sev_es_enter(&g->vcpu), 1);
	assert_int_equal(sev_es_vmgexit(&g->vcpu, &is_to_user), 0);
	assert_false(is_to_user);
	assert_int_equal(g->vcpu.mp_state, KVM_MP_STATE_AP_RESET_HOLD);
	sev_es_startup(&g->vcpu);
	sev_es_resume(&g->vcpu);
	assert_int_equal(ghcb_get(g, INFO_2), 1);

	/* Woken by something else. */
	ghcb_event(g, 0x80000004, 0, 0);
	assert_done(g);
	assert_int_equal(ghcb_get(g, INFO_2), 0);
	sev_es_startup(&g->vcpu); /* too late */
	sev_es_leave(&g->vcpu);
	assert_true(reenter(g));
	assert_int_equal(ghcb_get(g, INFO_2), 0);

	g->vcpu.lapic = NULL; /* the VMM has it */
	ghcb_event(g, 0x80000004, 0, 0);
	assert_true(vmgexit(g));
	assert_int_equal(g->run->exit_reason, KVM_EXIT_AP_RESET_HOLD);
	assert_true(reenter(g));
}

static uint64_t ask(struct es_guest *g, uint64_t value)
{
	g->vcpu.cpu->ghcb = value;
	assert_false(vmgexit(g));
	return g->vcpu.cpu->ghcb;
}

static void test_msr_protocol(void **state)
{
	struct es_guest *g = *state;
	static const uint64_t of_main[] = {0x006, 0x010, 0x012, 0x014, 0x080};

	assert_int_equal(g->vcpu.cpu->ghcb, 0x0001000133000001); /* after reset */
	assert_int_equal(ask(g, 2), 0x0001000133000001);
	for (uint64_t reg = 0; reg < 4; reg++) {
		assert_int_equal(ask(g, 0x8000001200000004 | reg << 30),
				 (0x80000013 + reg) << 32 | reg << 30 | 5);
		assert_int_equal(g->cpuid_leaf, 0x80000012);
		assert_int_equal(g->cpuid_subleaf, 0);
	}
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(ask(g, 0x7000 | of_main[i]), 0x7000 | of_main[i]);
	assert_int_equal(ask(g, 0xabc), 0xabc);

	g->vcpu.cpu->ghcb = 0x12100;
	assert_true(vmgexit(g));
	assert_int_equal(g->run->exit_reason, KVM_EXIT_SYSTEM_EVENT);
	assert_int_equal(g->run->system_event.type, KVM_SYSTEM_EVENT_SEV_TERM);
	assert_int_equal(g->run->system_event.ndata, 1);
	assert_int_equal(g->run->system_event.data[0], 0x12100);
	assert_true(reenter(g));

	g->call->host.config.profile = PROFILE_MAIN;
	assert_int_equal(ask(g, 2), 0x0002000133000001);
	assert_int_equal(ask(g, 0x080), 3 << 12 | 0x081);
	assert_int_equal(ask(g, 0x006), 0x007);
	assert_int_equal(g->vcpu.mp_state, KVM_MP_STATE_AP_RESET_HOLD);
	sev_es_startup(&g->vcpu); /* the first, which is for no hold */
	sev_es_startup(&g->vcpu); /* too late, it runs again */
	assert_int_equal(g->vcpu.cpu->ghcb, 0x007);
	for (size_t i = 1; i < 4; i++) {
		g->vcpu.cpu->ghcb = of_main[i];
		assert_true(vmgexit(g)); /* the guest believes to be one of SEV-SNP */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_inputs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cpuid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msr, setup, teardown),
		cmocka_unit_test_setup_teardown(test_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_page, setup, teardown),
		cmocka_unit_test_setup_teardown(test_port, setup, teardown),
		cmocka_unit_test_setup_teardown(test_string, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scratch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mmio, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msr_protocol, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
