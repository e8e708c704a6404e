// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What tests/softkvm/check_cpu cannot ask an application's processor: when vectors may not be used,
 * and XSAVE's area, of which processors differ in what they leave out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "softkvm/cpu/vector.h"
#include "softkvm/cpu/xsave.h"

#define CODE	   0x4000u
#define AREA	   0x8000u
#define MEMORY_LEN 0x10000u
#define PKRU_TOO   (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_PKRU)

/* 64-bit mode at CPL 0, one large page. */
struct machine {
	struct cpu *cpu;
	_Alignas(64) uint8_t memory[MEMORY_LEN];
};

static void find_page(void *opaque, uint64_t gpa, bool encrypted, struct cpu_page *ret)
{
	struct machine *machine = opaque;

	(void)encrypted;
	*ret = (struct cpu_page){.data = gpa < MEMORY_LEN ? machine->memory + gpa : NULL};
}

static const struct cpu_ops ops = {.page = find_page};

static int setup(void **state)
{
	struct machine *machine = aligned_alloc(64, sizeof(*machine));
	const uint64_t entries[] = {0x1000 | 3, 0x2000 | 3, 0x80 | 3};
	struct cpu_state *cpu;

	assert_non_null(machine);
	memset(machine, 0, sizeof(*machine));
	machine->cpu = cpu_new(&ops, machine);
	assert_non_null(machine->cpu);
	for (unsigned i = 0; i < 3; i++)
		memcpy(machine->memory + 0x1000 * i, &entries[i], sizeof(entries[i]));
	machine->cpu->features = (struct cpu_features){
		.physical_bits = 48,
		.nx = true,
		.xsave = true,
		.avx = true,
		.avx2 = true,
		.sse3 = true,
		.ssse3 = true,
		.sse41 = true,
		.sse42 = true,
		.xsaveopt = true,
		.xsavec = true,
	};
	cpu = &machine->cpu->state;
	cpu->cr0 = CR0_PG | CR0_PE | CR0_NE;
	cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	cpu->efer = EFER_LMA | EFER_LME;
	cpu->segment[CS].attributes =
		SEGMENT_PRESENT | SEGMENT_S | SEGMENT_L | 0xb; /* code, readable, accessed */
	cpu->cr3 = 0;
	cpu->xcr0 = PKRU_TOO;
	cpu->gpr[RDI] = AREA;
	cpu->gpr[RAX] = UINT32_MAX;
	cpu->gpr[RDX] = UINT32_MAX;
	*state = machine;
	return 0;
}

static int teardown(void **state)
{
	struct machine *machine = *state;

	machine->cpu = cpu_free(machine->cpu);
	free(machine);
	return 0;
}

/* One instruction, of as many hexadecimal digits as there are. */
static enum cpu_result execute(struct machine *machine, const char *hex)
{
	struct cpu *cpu = machine->cpu;
	const struct insn *insn;
	enum cpu_result result;

	memset(machine->memory + CODE, 0, 16);
	for (unsigned i = 0; hex[2 * i]; i++) {
		const char byte[] = {hex[2 * i], hex[2 * i + 1], '\0'};

		machine->memory[CODE + i] = (uint8_t)strtoul(byte, NULL, 16);
	}
	cpu->state.rip = CODE;
	cpu_flush(cpu);
	result = cpu_fetch(cpu, &insn);
	return result == CPU_NEXT ? insn->exec(cpu, insn) : result;
}

static void expect_fault(struct machine *machine, const char *hex, uint8_t vector)
{
	assert_int_equal(execute(machine, hex), CPU_FAULT);
	assert_int_equal(machine->cpu->fault.vector, vector);
}

#define PADDB	 "660ffcc1"   /* paddb xmm0, xmm1 */
#define VPADDB	 "c5f9fcc1"   /* vpaddb xmm0, xmm0, xmm1 */
#define VPADDB_Y "c5fdfcc1"   /* vpaddb ymm0, ymm0, ymm1 */
#define VADDPS_Y "c5fc58c1"   /* vaddps ymm0, ymm0, ymm1 */
#define PSHUFB	 "660f3800c1" /* pshufb xmm0, xmm1 */
#define MMX	 "0ffcc1"     /* paddb mm0, mm1 */
#define DIVSS	 "f30f5ec1"   /* divss xmm0, xmm1 */
#define FXSAVE	 "480fae07"   /* fxsave64 [rdi] */
#define FXRSTOR	 "480fae0f"   /* fxrstor64 [rdi] */
#define XSAVE	 "480fae27"   /* xsave64 [rdi] */
#define XSAVEOPT "480fae37"   /* xsaveopt64 [rdi] */
#define XSAVEC	 "480fc727"   /* xsavec64 [rdi] */
#define XRSTOR	 "480fae2f"   /* xrstor64 [rdi] */
#define FWAIT	 "9b"
#define FLDCW	 "d92f" /* fldcw [rdi] */

static void test_legacy_is_enabled(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	assert_int_equal(execute(machine, PADDB), CPU_NEXT);
	assert_int_equal(execute(machine, MMX), CPU_IS_UNKNOWN);
	cpu->state.cr0 |= CR0_TS;
	expect_fault(machine, PADDB, VECTOR_NM);
	cpu->state.cr4 &= ~CR4_OSFXSR;
	expect_fault(machine, PADDB, VECTOR_UD);
	cpu->state.cr4 |= CR4_OSFXSR;
	cpu->state.cr0 |= CR0_EM;
	expect_fault(machine, PADDB, VECTOR_UD);
	cpu->state.cr0 &= ~(CR0_EM | CR0_TS);
	assert_int_equal(execute(machine, PSHUFB), CPU_NEXT);
	cpu->features.ssse3 = false;
	expect_fault(machine, PSHUFB, VECTOR_UD);
}

static void test_vex_is_enabled(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	/* CR0.EM and CR4.OSFXSR are of legacy instructions. */
	cpu->state.cr0 |= CR0_EM;
	cpu->state.cr4 &= ~CR4_OSFXSR;
	assert_int_equal(execute(machine, VPADDB_Y), CPU_NEXT);
	cpu->features.avx2 = false;
	expect_fault(machine, VPADDB_Y, VECTOR_UD);
	assert_int_equal(execute(machine, VADDPS_Y), CPU_NEXT);
	assert_int_equal(execute(machine, VPADDB), CPU_NEXT);
	cpu->state.cr0 |= CR0_TS;
	expect_fault(machine, VPADDB, VECTOR_NM);
	cpu->state.xcr0 = XCR0_X87 | XCR0_SSE;
	expect_fault(machine, VPADDB, VECTOR_UD);
	cpu->state.xcr0 = PKRU_TOO;
	cpu->state.cr4 &= ~CR4_OSXSAVE;
	expect_fault(machine, VPADDB, VECTOR_UD);
	cpu->state.cr4 |= CR4_OSXSAVE;
	cpu->features.avx = false;
	expect_fault(machine, VPADDB, VECTOR_UD);
}

static void test_exceptions(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	/* 0 / 0 */
	cpu->state.fpu.mxcsr = MXCSR_DEFAULT & ~(MXCSR_IE << MXCSR_MASK_SHIFT);
	expect_fault(machine, DIVSS, VECTOR_XF);
	assert_true(cpu->state.fpu.mxcsr & MXCSR_IE);
	cpu->state.cr4 &= ~CR4_OSXMMEXCPT;
	expect_fault(machine, DIVSS, VECTOR_UD);
	/* The host's own is as it was: nothing is unmasked. */
	assert_int_equal(_mm_getcsr() & MXCSR_MASKS, MXCSR_MASKS);
}

/* Each byte of a component tells where it is from. */
static void fill(struct cpu_state *state)
{
	struct cpu_fpu *fpu = &state->fpu;

	memset(fpu->st, 0, sizeof(fpu->st));
	for (unsigned i = 0; i < 8; i++)
		memset(fpu->st[i], 0x10 + (int)i, 10);
	for (unsigned i = 0; i < 16; i++) {
		memset(fpu->xmm[i], 0x40 + (int)i, 16);
		memset(fpu->ymm_high[i], 0x80 + (int)i, 16);
	}
	fpu->fcw = 0x27f;
	fpu->fsw = 0x3800;
	fpu->ftw = 0xff;
	fpu->mxcsr = 0x1fa0;
	state->pkru = 0x55555554;
}

static uint64_t get64(const struct machine *machine, unsigned offset)
{
	uint64_t value;

	memcpy(&value, machine->memory + AREA + offset, sizeof(value));
	return value;
}

static void put64(struct machine *machine, unsigned offset, uint64_t value)
{
	memcpy(machine->memory + AREA + offset, &value, sizeof(value));
}

static void assert_filled(const struct cpu_state *state)
{
	struct cpu_state expected = *state;

	fill(&expected);
	assert_memory_equal(&expected.fpu, &state->fpu, sizeof(expected.fpu));
	assert_int_equal(expected.pkru, state->pkru);
}

static void clear(struct cpu_state *state)
{
	uint32_t mask = state->fpu.mxcsr_mask;

	memset(&state->fpu, 0, sizeof(state->fpu));
	state->fpu.mxcsr_mask = mask;
	state->pkru = 0;
}

static void test_xsave(void **state)
{
	struct machine *machine = *state;
	struct cpu_state *cpu = &machine->cpu->state;

	fill(cpu);
	memset(machine->memory + AREA, 0xee, 0x1000);
	put64(machine, XSAVE_HEADER, 1ull << 62);
	assert_int_equal(execute(machine, XSAVE), CPU_NEXT);
	/* A bit that is not asked for stays; of the header only XSTATE_BV is written. */
	assert_int_equal(get64(machine, XSAVE_HEADER), PKRU_TOO | 1ull << 62);
	assert_int_equal(get64(machine, XSAVE_HEADER + 8), 0xeeeeeeeeeeeeeeee);
	assert_int_equal(get64(machine, XSAVE_YMM), 0x8080808080808080);
	assert_int_equal(get64(machine, XSAVE_PKRU), 0x55555554);
	assert_int_equal(get64(machine, 416), 0xeeeeeeeeeeeeeeee);

	memset(machine->memory + AREA + XSAVE_HEADER, 0, XSAVE_HEADER_LEN);
	put64(machine, XSAVE_HEADER, PKRU_TOO);
	clear(cpu);
	assert_int_equal(execute(machine, XRSTOR), CPU_NEXT);
	assert_filled(cpu);

	/* Only what is asked for: SSE, and with it MXCSR. */
	clear(cpu);
	cpu->gpr[RAX] = XCR0_SSE;
	cpu->gpr[RDX] = 0;
	assert_int_equal(execute(machine, XRSTOR), CPU_NEXT);
	assert_int_equal(cpu->fpu.xmm[3][0], 0x43);
	assert_int_equal(cpu->fpu.mxcsr, 0x1fa0);
	assert_int_equal(cpu->fpu.ymm_high[3][0], 0);
	assert_int_equal(cpu->fpu.fcw, 0);
}

static void test_xsave_of_initial_state(void **state)
{
	struct machine *machine = *state;
	struct cpu_state *cpu = &machine->cpu->state;

	fill(cpu);
	memset(cpu->fpu.ymm_high, 0, sizeof(cpu->fpu.ymm_high));
	memset(machine->memory + AREA, 0xee, 0x1000);
	put64(machine, XSAVE_HEADER, XCR0_AVX);
	/* XSAVEOPT leaves what is initial alone, XSAVE does not. */
	assert_int_equal(execute(machine, XSAVEOPT), CPU_NEXT);
	assert_int_equal(get64(machine, XSAVE_HEADER), PKRU_TOO & ~XCR0_AVX);
	assert_int_equal(get64(machine, XSAVE_YMM), 0xeeeeeeeeeeeeeeee);
	assert_int_equal(execute(machine, XSAVE), CPU_NEXT);
	assert_int_equal(get64(machine, XSAVE_YMM), 0);

	/* A component that is not in XSTATE_BV becomes initial; MXCSR is none. */
	memset(machine->memory + AREA + XSAVE_HEADER, 0, XSAVE_HEADER_LEN);
	assert_int_equal(execute(machine, XRSTOR), CPU_NEXT);
	assert_int_equal(cpu->fpu.fcw, FCW_DEFAULT);
	assert_int_equal(cpu->fpu.xmm[3][0], 0);
	assert_int_equal(cpu->fpu.mxcsr, 0x1fa0);
	assert_int_equal(cpu->pkru, 0);
}

static void test_xsavec(void **state)
{
	struct machine *machine = *state;
	struct cpu_state *cpu = &machine->cpu->state;

	fill(cpu);
	memset(machine->memory + AREA, 0, 0x1000);
	assert_int_equal(execute(machine, XSAVEC), CPU_NEXT);
	assert_int_equal(get64(machine, XSAVE_HEADER), PKRU_TOO);
	assert_int_equal(get64(machine, XSAVE_HEADER + 8), PKRU_TOO | 1ull << 63);
	assert_int_equal(get64(machine, XSAVE_PKRU), 0x55555554);
	clear(cpu);
	assert_int_equal(execute(machine, XRSTOR), CPU_NEXT);
	assert_filled(cpu);

	/* Without AVX, PKRU takes its place. */
	cpu->gpr[RAX] = XCR0_PKRU;
	cpu->gpr[RDX] = 0;
	assert_int_equal(execute(machine, XSAVEC), CPU_NEXT);
	assert_int_equal(get64(machine, XSAVE_HEADER + 8), XCR0_PKRU | 1ull << 63);
	assert_int_equal(get64(machine, XSAVE_YMM), 0x55555554);
	cpu->pkru = 0;
	assert_int_equal(execute(machine, XRSTOR), CPU_NEXT);
	assert_filled(cpu);
}

static void test_xrstor_refuses(void **state)
{
	static const struct {
		unsigned offset;
		uint64_t value;
	} bad[] = {
		{XSAVE_HEADER, 1ull << 10},		/* XSTATE_BV: not in XCR0 */
		{XSAVE_HEADER + 8, PKRU_TOO},		/* XCOMP_BV: not compacted, not 0 */
		{XSAVE_HEADER + 8, 1ull << 63 | 7},	/* no room for PKRU, which is there */
		{XSAVE_HEADER + 8, 1ull << 63 | 0xa07}, /* room for what is not in XCR0 */
		{XSAVE_HEADER + 16, 1},
		{XSAVE_HEADER + 56, 1},
		{24, 1ull << 16}, /* MXCSR */
	};
	struct machine *machine = *state;
	struct cpu_state *cpu = &machine->cpu->state;

	fill(cpu);
	memset(machine->memory + AREA, 0, 0x1000);
	assert_int_equal(execute(machine, XSAVE), CPU_NEXT);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t good = get64(machine, bad[i].offset);

		put64(machine, bad[i].offset, bad[i].value);
		expect_fault(machine, XRSTOR, VECTOR_GP);
		assert_filled(cpu);
		put64(machine, bad[i].offset, good);
	}
	assert_int_equal(execute(machine, XRSTOR), CPU_NEXT);
	cpu->gpr[RDI] = AREA + 32;
	expect_fault(machine, XRSTOR, VECTOR_GP);
	expect_fault(machine, XSAVE, VECTOR_GP);
	cpu->cr0 |= CR0_TS;
	expect_fault(machine, XSAVE, VECTOR_NM);
	cpu->cr4 &= ~CR4_OSXSAVE;
	expect_fault(machine, XSAVE, VECTOR_UD);
}

static void test_fxsave(void **state)
{
	struct machine *machine = *state;
	struct cpu_state *cpu = &machine->cpu->state;

	fill(cpu);
	memset(machine->memory + AREA, 0xee, 0x1000);
	assert_int_equal(execute(machine, FXSAVE), CPU_NEXT);
	assert_int_equal(get64(machine, 416), 0xeeeeeeeeeeeeeeee);
	clear(cpu);
	assert_int_equal(execute(machine, FXRSTOR), CPU_NEXT);
	assert_int_equal(cpu->fpu.xmm[15][15], 0x4f);
	assert_int_equal(cpu->fpu.st[7][9], 0x17);
	assert_int_equal(cpu->fpu.mxcsr, 0x1fa0);
	put64(machine, 24, 1ull << 16);
	expect_fault(machine, FXRSTOR, VECTOR_GP);
	cpu->cr0 |= CR0_TS;
	expect_fault(machine, FXSAVE, VECTOR_NM);
}

static void test_x87_pending(void **state)
{
	struct machine *machine = *state;
	struct cpu_state *cpu = &machine->cpu->state;

	/* Invalid operation happened; it is unmasked now. */
	cpu->fpu.fsw = 1;
	put64(machine, 0, 0x37e);
	assert_int_equal(execute(machine, FLDCW), CPU_NEXT);
	assert_int_equal(cpu->fpu.fsw, 0x8081);
	expect_fault(machine, FWAIT, VECTOR_MF);
	expect_fault(machine, FLDCW, VECTOR_MF);
	/* There is no IRQ 13. */
	cpu->cr0 &= ~CR0_NE;
	assert_int_equal(execute(machine, FWAIT), CPU_IS_UNKNOWN);
}

static void test_get_and_set(void **state)
{
	struct machine *machine = *state;
	struct cpu_state *cpu = &machine->cpu->state;
	uint8_t area[XSAVE_LEN];
	uint64_t bit = 1ull << 5;

	fill(cpu);
	cpu_get_xsave(cpu, PKRU_TOO, area, sizeof(area));
	clear(cpu);
	assert_true(cpu_set_xsave(cpu, PKRU_TOO, area, sizeof(area)));
	assert_filled(cpu);
	/* Too short for what it says that there is. */
	assert_false(cpu_set_xsave(cpu, PKRU_TOO, area, XSAVE_PKRU));
	assert_false(cpu_set_xsave(cpu, PKRU_TOO, area, XSAVE_HEADER));
	/* A component that is not offered, nor written. */
	assert_false(cpu_set_xsave(cpu, XCR0_X87 | XCR0_SSE | XCR0_AVX, area, sizeof(area)));
	assert_filled(cpu);
	memset(area, 0xee, sizeof(area));
	cpu_get_xsave(cpu, XCR0_X87 | XCR0_SSE, area, XSAVE_YMM);
	assert_int_equal(area[XSAVE_YMM], 0xee);
	assert_int_equal(area[XSAVE_HEADER], XCR0_X87 | XCR0_SSE);
	for (unsigned i = 0; i < XSAVE_HEADER_LEN; i += 8) {
		uint8_t bad[XSAVE_LEN];

		memcpy(bad, area, sizeof(bad));
		bad[XSAVE_HEADER + i] |= (uint8_t)bit;
		assert_false(cpu_set_xsave(cpu, PKRU_TOO, bad, sizeof(bad)));
	}
	area[26] = 1; /* MXCSR */
	assert_false(cpu_set_xsave(cpu, PKRU_TOO, area, sizeof(area)));
	assert_filled(cpu);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_legacy_is_enabled),
		TEST(test_vex_is_enabled),
		TEST(test_exceptions),
		TEST(test_xsave),
		TEST(test_xsave_of_initial_state),
		TEST(test_xsavec),
		TEST(test_xrstor_refuses),
		TEST(test_fxsave),
		TEST(test_x87_pending),
		TEST(test_get_and_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
