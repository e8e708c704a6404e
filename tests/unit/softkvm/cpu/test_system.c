// SPDX-License-Identifier: GPL-2.0-or-later
/* Privileged instructions, and what of them SEV-ES takes from the hypervisor: 15.35.4, 15.35.5. */
#include <string.h>

#include "platform.h"

#define ALL (PTE_P | PTE_W | PTE_U)

#define MSR_EFER       0xc0000080
#define MSR_LSTAR      0xc0000082
#define MSR_SEV_STATUS 0xc0010131
#define MSR_GHCB       0xc0010130

#define CPUID	  0x0f, 0xa2
#define RDMSR	  0x0f, 0x32
#define WRMSR	  0x0f, 0x30
#define WRITE_CR0 0x0f, 0x22, 0xc0 /* from RAX */
#define WRITE_CR3 0x0f, 0x22, 0xd8
#define WRITE_CR4 0x0f, 0x22, 0xe0
#define WRITE_CR8 0x44, 0x0f, 0x22, 0xc0
#define XSETBV	  0x0f, 0x01, 0xd1

static void make_es(struct platform *platform)
{
	platform->cpu->c_bit = C_BIT;
	platform->cpu->es = true;
	platform_long(platform, ALL | C_BIT);
}

static void run_one(struct platform *platform)
{
	uint64_t rip = platform->cpu->state.rip;

	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_in_range(platform->cpu->state.rip, rip + 1, rip + 15);
}

static void set_msr(struct platform *platform, uint32_t msr, uint64_t value)
{
	platform->cpu->state.gpr[RCX] = msr;
	platform->cpu->state.gpr[RAX] = (uint32_t)value;
	platform->cpu->state.gpr[RDX] = value >> 32;
}

static uint64_t edx_eax(const struct platform *platform)
{
	return platform->cpu->state.gpr[RDX] << 32 | platform->cpu->state.gpr[RAX];
}

/* Values that a control register does not take: #GP, and nothing is changed. */
static void test_bad_control(void **state)
{
	static const struct {
		uint8_t code[4];
		uint64_t value;
	} bad[] = {
		{{WRITE_CR0}, CR0_PG},			     /* without PE */
		{{WRITE_CR0}, 1ull << 32 | CR0_PG | CR0_PE}, /* reserved */
		{{WRITE_CR0}, 1u << 29 | CR0_PG | CR0_PE},   /* NW without CD */
		{{WRITE_CR0}, CR0_PE},			     /* paging off in 64-bit mode */
		{{WRITE_CR3}, 1ull << 48},		     /* beyond MAXPHYADDR */
		{{WRITE_CR4}, 0},			     /* PAE off in long mode */
		{{WRITE_CR4}, CR4_PAE | CR4_LA57},	     /* levels changed in long mode */
		{{WRITE_CR4}, CR4_PAE | 1 << 13},	     /* VMXE */
		{{WRITE_CR8}, 16},
	};
	struct platform *platform = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct cpu_state before;

		platform_long(platform, ALL);
		platform->cpu->state.gpr[RAX] = bad[i].value;
		platform_write_code(platform, bad[i].code, sizeof(bad[i].code));
		before = platform->cpu->state;
		platform_expect_error(platform, VECTOR_GP, 0);
		assert_int_equal(platform->cpu->state.cr0, before.cr0);
		assert_int_equal(platform->cpu->state.cr3, before.cr3);
		assert_int_equal(platform->cpu->state.cr4, before.cr4);
		assert_int_equal(platform->cpu->state.efer, before.efer);
		assert_int_equal(platform->n_controls, 0);
	}
}

static void test_control_written(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->state.gpr[RAX] = 5;
	platform_code(platform, WRITE_CR8, 0x0f, 0x06 /* clts */);
	run_one(platform);
	assert_int_equal(platform->cpu->state.cr8, 5);
	assert_int_equal(platform->n_controls, 1);
	platform->cpu->state.cr0 |= CR0_TS;
	run_one(platform);
	assert_false(platform->cpu->state.cr0 & CR0_TS);
	assert_int_equal(platform->n_controls, 2);
}

static void test_privileged(void **state)
{
	static const uint8_t codes[][4] = {
		{WRITE_CR0},
		{WRITE_CR8},
		{RDMSR},
		{WRMSR},
		{0xf4},
		{0xfa},
		{0xfb},
		{0x0f, 0x06},
		{0x0f, 0x09},
		{0x0f, 0x01, 0x3f},
		{0x0f, 0x01, 0xf8},
		{0x0f, 0x21, 0xf8},
		{0x0f, 0x00, 0xd8},
		{XSETBV},
		{0xec},
	};
	struct platform *platform = *state;

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		platform_long(platform, ALL);
		platform_user(platform);
		put16(platform, TSS + 0x66, 0x68); /* no map */
		platform_write_code(platform, codes[i], sizeof(codes[i]));
		platform_expect_error(platform, VECTOR_GP, 0);
	}
}

static void test_efer(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_msr(platform, MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE);
	platform_code(platform, WRMSR, WRMSR);
	run_one(platform);
	assert_int_equal(platform->cpu->state.efer, EFER_LME | EFER_LMA | EFER_NXE);
	assert_int_equal(platform->n_controls, 1);
	set_msr(platform, MSR_EFER, EFER_NXE); /* LME while paging */
	platform_expect_error(platform, VECTOR_GP, 0);
}

static void test_msr(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_msr(platform, MSR_LSTAR, 0xffffffff81000000);
	platform_code(platform, WRMSR, WRMSR, RDMSR, RDMSR);
	run_one(platform);
	assert_int_equal(platform->cpu->state.lstar, 0xffffffff81000000);
	set_msr(platform, 0x10, 0x1122334455667788);
	run_one(platform);
	assert_int_equal(platform->msr, 0x10);
	assert_int_equal(platform->msr_value, 0x1122334455667788);
	run_one(platform);
	assert_int_equal(edx_eax(platform), 0x1122334455667788);
	set_msr(platform, 0xdead, 0);
	platform_expect_error(platform, VECTOR_GP, 0);
}

static void test_msr_not_canonical(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_msr(platform, MSR_LSTAR, 1ull << 47);
	platform_code(platform, WRMSR);
	platform_expect_error(platform, VECTOR_GP, 0);
}

static void test_cpuid(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_long(platform, ALL);
	platform_code(platform, CPUID, CPUID, CPUID);
	cpu->gpr[RAX] = 1;
	run_one(platform);
	assert_int_equal(cpu->gpr[RCX], 1 << 27);
	cpu->cr4 &= ~CR4_OSXSAVE;
	cpu->gpr[RAX] = 1;
	run_one(platform);
	assert_int_equal(cpu->gpr[RCX], 0);
	cpu->xcr0 = 7;
	cpu->gpr[RAX] = 0xd;
	run_one(platform);
	assert_int_equal(cpu->gpr[RBX], 832);
}

static void test_xsetbv(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_msr(platform, 0, 7);
	platform_code(platform, XSETBV, XSETBV);
	run_one(platform);
	assert_int_equal(platform->cpu->state.xcr0, 7);
	set_msr(platform, 0, 5); /* AVX without SSE */
	platform_expect_error(platform, VECTOR_GP, 0);
}

static void test_ports(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_long(platform, ALL);
	cpu->gpr[RDX] = 0x3f8;
	cpu->gpr[RAX] = UINT64_MAX;
	platform_code(platform, 0xec, 0xe7, 0x80); /* in %dx, %al; out %eax, $0x80 */
	platform->is_pending = true;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_PENDING);
	platform->is_pending = false;
	run_one(platform);
	assert_int_equal(cpu->gpr[RAX], 0xffffffffffffffa5);
	run_one(platform);
	assert_int_equal(platform->n_ports, 2);
	assert_int_equal(platform->ports[0].port, 0x3f8);
	assert_int_equal(platform->ports[0].size, 1);
	assert_int_equal(platform->ports[1].port, 0x80);
	assert_int_equal(platform->ports[1].size, 4);
	assert_int_equal(platform->ports[1].value, 0xffffffa5);
}

static void test_string_ports(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_long(platform, ALL);
	cpu->gpr[RDX] = 0x1f0;
	cpu->gpr[RCX] = 2;
	cpu->gpr[RDI] = cpu->gpr[RSI] = DATA;
	platform_code(platform, 0xf3, 0x66, 0x6d, 0x6e); /* rep insw; outsb */
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->rip, CODE);
	assert_int_equal(cpu->gpr[RCX], 1);
	platform->is_pending = true;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_PENDING);
	assert_int_equal(cpu->gpr[RCX], 1);
	platform->is_pending = false;
	run_one(platform);
	assert_int_equal(cpu->gpr[RCX], 0);
	assert_int_equal(cpu->gpr[RDI], DATA + 4);
	assert_int_equal(get64(platform, DATA), 0xa5a5a5a5);
	run_one(platform);
	assert_int_equal(platform->ports[2].value, 0xa5);
	assert_true(platform->ports[2].is_write);
}

/* A user's ports are in the TSS. */
static void test_port_map(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_long(platform, ALL);
	platform_user(platform);
	cpu->tr.limit = 0x67 + 0x100;
	put16(platform, TSS + 0x66, 0x68);
	memset(platform->ram + TSS + 0x68, 0xff, 0x100);
	platform->ram[TSS + 0x68 + 0x80 / 8] = 0xfe;
	platform_code(platform, 0xe6, 0x80, 0xe7, 0x80); /* out %al, $0x80; out %eax, $0x80 */
	run_one(platform);
	platform_expect_error(platform, VECTOR_GP, 0);
	assert_int_equal(platform->n_ports, 1);
}

static void test_ltr(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_long(platform, ALL);
	cpu->tr = (struct cpu_segment){0};
	cpu->gpr[RAX] = TSS_SELECTOR;
	put32(platform, GDT + TSS_SELECTOR + 8, 0xffff8000);
	platform_code(platform, 0x0f, 0x00, 0xd8, 0x0f, 0x00, 0xd8);
	run_one(platform);
	assert_int_equal(cpu->tr.base, 0xffff800000000000 | TSS);
	assert_int_equal(cpu->tr.attributes, 0x8b);
	assert_int_equal(platform->ram[GDT + TSS_SELECTOR + 5], 0x8b);
	/* It is busy now. */
	platform->cpu->state.tr.base = TSS;
	platform_expect_error(platform, VECTOR_GP, TSS_SELECTOR);
}

/* Numbers of 4 bytes clear the upper half.  Eight equal ones would be strange. */
static void test_random(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;
	uint32_t first;

	platform_long(platform, ALL);
	platform_code(platform, 0x0f, 0xc7, 0xf1, 0x0f, 0xc7, 0xf9); /* rdrand, rdseed %ecx */
	cpu->gpr[RCX] = UINT64_MAX;
	cpu->rflags |= FLAG_ZF | FLAG_OF;
	run_one(platform);
	assert_int_equal(cpu->rflags, 2 | FLAG_CF);
	assert_int_equal(cpu->gpr[RCX] >> 32, 0);
	first = (uint32_t)cpu->gpr[RCX];
	for (unsigned i = 0; i < 8 && cpu->gpr[RCX] == first; i++) {
		cpu->rip = CODE + 3;
		cpu->rflags = 2;
		run_one(platform);
		assert_int_equal(cpu->rflags, 2 | FLAG_CF);
	}
	assert_int_not_equal(cpu->gpr[RCX], first);
}

static void test_hypercall(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform_code(platform, 0x0f, 0x01, 0xd9, 0x0f, 0x01, 0xc1, 0xf3, 0x0f, 0x01, 0xd9);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_VMMCALL);
	assert_int_equal(platform->cpu->state.rip, CODE + 3);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_VMMCALL);
	assert_int_equal(platform->cpu->state.rip, CODE + 6);
	/* There is no VMGEXIT without SEV-ES. */
	assert_int_equal(platform_run(platform, 1), CPU_STOP_VMMCALL);
	assert_int_equal(platform->cpu->state.rip, CODE + 10);
}

/* The instructions of a SEV-ES guest that raise #VC, with which code. */
static void test_vc(void **state)
{
	static const struct {
		uint8_t code[4];
		uint32_t error;
	} table[] = {
		{{CPUID}, 0x72},
		{{0xec}, 0x7b},
		{{0xee}, 0x7b},
		{{0x6c}, 0x7b},
		{{RDMSR}, 0x7c},
		{{WRMSR}, 0x7c},
		{{0x0f, 0x01, 0xd9}, 0x81}, /* vmmcall */
		{{0x0f, 0x21, 0xf8}, 0x27}, /* mov %dr7, %rax */
		{{0x0f, 0x23, 0xf8}, 0x37},
		{{0x0f, 0x33}, 0x6f},	    /* rdpmc */
		{{0x0f, 0x08}, 0x76},	    /* invd */
		{{0x0f, 0x09}, 0x89},	    /* wbinvd */
		{{0x0f, 0x01, 0xc8}, 0x8a}, /* monitor */
		{{0x0f, 0x01, 0xc9}, 0x8b}, /* mwait */
		{{0x8b, 0x07}, 0x400},	    /* mov (%rdi), %eax: nothing is there */
		{{0x89, 0x07}, 0x400},
		{{0xff, 0x07}, 0x400},	     /* incl (%rdi) */
		{{0x0f, 0x11, 0x07}, 0x400}, /* movups %xmm0, (%rdi) */
	};
	struct platform *platform = *state;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		make_es(platform);
		platform->cpu->state.gpr[RDI] = RAM_LEN;
		platform->cpu->state.gpr[RCX] = 0x1b;
		if (table[i].error != 0x400)
			platform->cpu->state.gpr[RDI] = DATA;
		platform_write_code(platform, table[i].code, sizeof(table[i].code));
		platform_expect_error(platform, VECTOR_VC, table[i].error);
		assert_int_equal(get64(platform, platform->cpu->state.gpr[RSP] + 8), CODE);
	}
	assert_int_equal(platform->n_mmio + platform->n_ports, 0);
}

/* One on the way to the handler of another: it has to end. */
static void test_vc_in_vc(void **state)
{
	struct platform *platform = *state;

	make_es(platform);
	platform_gate(platform, VECTOR_DF, 0x8e, 1);
	platform->cpu->state.gpr[RSP] = RAM_LEN + 0x100;
	platform_code(platform, CPUID);
	platform_expect_error(platform, VECTOR_DF, 0);
	platform->cpu->state.idtr.base = RAM_LEN;
	platform->cpu->state.rip = CODE;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_SHUTDOWN);
}

/* KVM cannot emulate the store, and the guest is not told of it. */
static void test_es_read_only(void **state)
{
	struct platform *platform = *state;

	platform->read_only = DATA;
	make_es(platform);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, 0x8b, 0x07, 0x89, 0x07);
	run_one(platform);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_UNKNOWN);
	assert_int_equal(platform->n_mmio, 0);
}

/* And those that need no hypervisor. */
static void test_es_native(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	make_es(platform);
	platform_code(platform, RDMSR, WRMSR, RDMSR, 0x0f, 0x20, 0xc0, 0x0f, 0x31, XSETBV, WRMSR);
	cpu->gpr[RCX] = MSR_SEV_STATUS;
	run_one(platform);
	assert_int_equal(edx_eax(platform), 3);
	set_msr(platform, MSR_GHCB, 0x5000000006000);
	run_one(platform);
	assert_int_equal(platform->cpu->ghcb, 0x5000000006000);
	cpu->gpr[RAX] = cpu->gpr[RDX] = 0;
	run_one(platform);
	assert_int_equal(edx_eax(platform), 0x5000000006000);
	run_one(platform);
	assert_int_equal(cpu->gpr[RAX], cpu->cr0);
	run_one(platform);
	assert_int_equal(edx_eax(platform), 0x123456789);
	set_msr(platform, 0, 7);
	run_one(platform);
	assert_int_equal(cpu->xcr0, 7);
	set_msr(platform, MSR_LSTAR, 0x1000);
	run_one(platform);
	assert_int_equal(cpu->lstar, 0x1000);
	assert_int_equal(platform->n_controls, 0);
}

/* 15.35.10: after the instruction, with what was written. */
static void test_write_traps(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	make_es(platform);
	platform_code(platform, WRITE_CR8, WRITE_CR0, WRITE_CR4, WRMSR, WRITE_CR3, 0xf3, 0x0f, 0x01,
		      0xd9, 0xf4);
	cpu->gpr[RAX] = 3;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_TRAP);
	assert_int_equal(platform->cpu->trap, CPU_TRAP_CR8);
	assert_int_equal(cpu->cr8, 3);
	assert_int_equal(cpu->rip, CODE + 4);
	cpu->gpr[RAX] = cpu->cr0 | CR0_TS;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_TRAP);
	assert_int_equal(platform->cpu->trap, CPU_TRAP_CR0);
	assert_true(cpu->cr0 & CR0_TS);
	cpu->gpr[RAX] = cpu->cr4 | CR4_PGE;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_TRAP);
	assert_int_equal(platform->cpu->trap, CPU_TRAP_CR4);
	set_msr(platform, MSR_EFER, cpu->efer);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_TRAP);
	assert_int_equal(platform->cpu->trap, CPU_TRAP_EFER);
	cpu->gpr[RAX] = TABLES | C_BIT;
	run_one(platform);
	assert_int_equal(cpu->cr3, TABLES | C_BIT);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_VMGEXIT);
	assert_int_equal(cpu->rip, CODE + 19);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_HALT);
	assert_int_equal(platform->n_controls, 0);
}

/* SEV without ES: only its status is there, all else goes to the hypervisor. */
static void test_sev_status(void **state)
{
	struct platform *platform = *state;

	platform->cpu->c_bit = C_BIT;
	platform_long(platform, ALL | C_BIT);
	platform_code(platform, RDMSR, 0x0f, 0x01, 0xd9, 0x0f, 0x01, 0xc1);
	platform->cpu->state.gpr[RCX] = MSR_SEV_STATUS;
	run_one(platform);
	assert_int_equal(edx_eax(platform), 1);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_VMMCALL);
	/* VMCALL is #UD, which KVM cannot help. */
	platform_expect(platform, VECTOR_UD);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, platform_setup, platform_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bad_control),	 TEST(test_control_written),
		TEST(test_privileged),	 TEST(test_efer),
		TEST(test_msr),		 TEST(test_msr_not_canonical),
		TEST(test_cpuid),	 TEST(test_xsetbv),
		TEST(test_ports),	 TEST(test_string_ports),
		TEST(test_port_map),	 TEST(test_ltr),
		TEST(test_random),	 TEST(test_hypercall),
		TEST(test_vc),		 TEST(test_vc_in_vc),
		TEST(test_es_read_only), TEST(test_es_native),
		TEST(test_write_traps),	 TEST(test_sev_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
