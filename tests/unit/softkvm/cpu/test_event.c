// SPDX-License-Identifier: GPL-2.0-or-later
/* Exceptions, interrupts and ways between privilege levels and modes. */
#include "platform.h"

#define ALL	 (PTE_P | PTE_W | PTE_U)
#define FLAGS	 (FLAG_IF | 2)
#define INT_GATE 0x8e
#define TRAP	 0x8f
#define OPEN	 0xee /* DPL 3 */

#define UD2   0x0f, 0x0b
#define INT3  0xcc
#define IRETQ 0x48, 0xcf

static uint64_t stacked(struct platform *platform, unsigned n)
{
	return get64(platform, platform->cpu->state.gpr[RSP] + 8 * n);
}

/* RIP, CS, RFLAGS, RSP, SS from word n of the stack on. */
static void expect_frame(struct platform *platform, unsigned n, uint64_t rip, uint64_t cs,
			 uint64_t flags, uint64_t rsp, uint64_t ss)
{
	assert_int_equal(stacked(platform, n), rip);
	assert_int_equal(stacked(platform, n + 1), cs);
	assert_int_equal(stacked(platform, n + 2), flags);
	assert_int_equal(stacked(platform, n + 3), rsp);
	assert_int_equal(stacked(platform, n + 4), ss);
}

static void test_same_privilege(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_long(platform, ALL);
	cpu->gpr[RSP] = STACK - 8;
	cpu->rflags = FLAGS | FLAG_TF;
	platform_code(platform, UD2);
	platform_expect(platform, VECTOR_UD);
	assert_int_equal(cpu->gpr[RSP], STACK - 16 - 40);
	expect_frame(platform, 0, CODE, KERNEL_CS, FLAGS | FLAG_TF | FLAG_RF, STACK - 8, KERNEL_DS);
	assert_int_equal(cpu->rflags, 2);
	assert_int_equal(cpu->segment[SS].selector, KERNEL_DS);
}

static void test_trap_gate(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform_gate(platform, VECTOR_BP, TRAP, 0);
	platform->cpu->state.rflags = FLAGS;
	platform_code(platform, INT3);
	platform_expect(platform, VECTOR_BP);
	expect_frame(platform, 0, CODE + 1, KERNEL_CS, FLAGS, STACK, KERNEL_DS);
	assert_int_equal(platform->cpu->state.rflags, FLAGS);
}

static void test_from_user_and_back(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;
	static const uint8_t iretq[] = {IRETQ};

	platform_long(platform, ALL);
	platform_user(platform);
	platform_gate(platform, VECTOR_BP, OPEN, 0);
	cpu->rflags = FLAGS;
	platform_code(platform, INT3);
	platform_expect(platform, VECTOR_BP);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->segment[CS].selector, KERNEL_CS);
	assert_int_equal(cpu->segment[SS].selector, 0);
	assert_int_equal(cpu->gpr[RSP], KERNEL_STACK - 40);
	expect_frame(platform, 0, CODE + 1, USER_CS | 3, FLAGS, STACK, USER_DS | 3);

	platform_write_code(platform, iretq, sizeof(iretq));
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->rip, CODE + 1);
	assert_int_equal(cpu->rflags, FLAGS);
	assert_int_equal(cpu->gpr[RSP], STACK);
	assert_int_equal(cpu->segment[SS].selector, USER_DS | 3);
	/* The kernel's DS is not the user's. */
	assert_int_equal(cpu->segment[DS].attributes, 0);
}

static void test_closed_gate(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform_user(platform);
	platform_code(platform, 0xcd, 0x55);
	platform_expect_error(platform, VECTOR_GP, 0x55 * 8 + 2);
	assert_int_equal(stacked(platform, 1), CODE);
}

static void test_missing_gate(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform_gate(platform, VECTOR_UD, 0x0e, 0);
	platform_code(platform, UD2);
	/* EXT: not by INT n. */
	platform_expect_error(platform, VECTOR_NP, VECTOR_UD * 8 + 3);
}

static void test_ist(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform_gate(platform, VECTOR_NMI, INT_GATE, 1);
	platform->cpu->state.rflags = FLAGS;
	assert_true(cpu_can_nmi(platform->cpu));
	cpu_nmi(platform->cpu);
	assert_false(cpu_can_nmi(platform->cpu));
	assert_int_equal(platform->cpu->state.rip, HANDLERS + 16 * VECTOR_NMI);
	assert_int_equal(platform->cpu->state.gpr[RSP], IST_STACK - 40);
	expect_frame(platform, 0, CODE, KERNEL_CS, FLAGS, STACK, KERNEL_DS);
	platform_code(platform, IRETQ);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_true(cpu_can_nmi(platform->cpu));
}

static void test_interrupt(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	/* sti; hlt */
	platform_code(platform, 0xfb, 0xf4);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_false(cpu_can_interrupt(platform->cpu));
	assert_int_equal(platform_run(platform, 1), CPU_STOP_HALT);
	assert_true(cpu_can_interrupt(platform->cpu));
	cpu_interrupt(platform->cpu, 0x40);
	assert_false(platform->cpu->state.halted);
	assert_int_equal(platform->cpu->state.rip, HANDLERS + 16 * 0x40);
	expect_frame(platform, 0, CODE + 2, KERNEL_CS, FLAGS, STACK, KERNEL_DS);
	assert_false(cpu_can_interrupt(platform->cpu));
}

static void test_window(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->window_wanted = true;
	platform_code(platform, 0x90, 0xfb, 0x90, 0x90);
	assert_int_equal(platform_run(platform, 10), CPU_STOP_WINDOW);
	assert_int_equal(platform->cpu->state.rip, CODE + 3);
}

/* mov %eax, %ss keeps interrupts out for one instruction. */
static void test_mov_ss(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->state.rflags = FLAGS;
	platform->cpu->state.gpr[RAX] = KERNEL_DS;
	platform_code(platform, 0x8e, 0xd0, 0x90);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_false(cpu_can_interrupt(platform->cpu));
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_true(cpu_can_interrupt(platform->cpu));
}

/* A page fault on the way to the handler of one. */
static void test_double_fault(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform_gate(platform, VECTOR_DF, INT_GATE, 1);
	put64(platform, platform_pte(STACK - 8), 0);
	platform->cpu->state.gpr[RDI] = 1ull << 40;
	platform_code(platform, 0x48, 0x8b, 0x07);
	platform_expect_error(platform, VECTOR_DF, 0);
	assert_int_equal(platform->cpu->state.cr2, STACK - 48);
	expect_frame(platform, 1, CODE, KERNEL_CS, 2 | FLAG_RF, STACK, KERNEL_DS);
}

/* An invalid opcode is benign: what its delivery meets is delivered instead. */
static void test_benign_first(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	put64(platform, platform_pte(STACK - 8), 0);
	platform_gate(platform, VECTOR_PF, INT_GATE, 1);
	platform_code(platform, UD2);
	platform_expect_error(platform, VECTOR_PF, 2);
}

static void test_triple_fault(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->state.idtr.limit = 0;
	platform_code(platform, UD2);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_SHUTDOWN);
	assert_int_equal(platform->cpu->state.rip, CODE);
}

/* What cpu_interrupt() cannot say is said by the next cpu_run(). */
static void test_triple_fault_of_interrupt(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->state.idtr.limit = 0;
	cpu_interrupt(platform->cpu, 0x40);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_SHUTDOWN);
}

static void test_injected(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->state.exception = (struct cpu_exception){
		.pending = true, .has_error = true, .vector = VECTOR_PF, .error = 6, .address = 77};
	assert_int_equal(platform_run(platform, 1), CPU_STOP_HALT);
	assert_int_equal(platform->cpu->state.cr2, 77);
	assert_int_equal(get32(platform, platform->cpu->state.gpr[RSP]), 6);
	assert_false(platform->cpu->state.exception.pending);
}

/* As the hypervisor would have to do it: loudly, and as if nothing had happened. */
static void test_task_gate(void **state)
{
	struct platform *platform = *state;

	platform_32(platform);
	platform_gate(platform, VECTOR_UD, 0x85, 0);
	platform_code(platform, UD2);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_UNKNOWN);
	assert_int_equal(platform->cpu->state.rip, CODE);
	platform_gate(platform, VECTOR_UD, INT_GATE, 0);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_HALT);
	assert_int_equal(platform->cpu->state.rip, HANDLERS + 16 * VECTOR_UD + 1);
}

static void test_single_step(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->state.rflags = FLAGS | FLAG_TF;
	platform_code(platform, 0x90, 0x90);
	platform_expect(platform, VECTOR_DB);
	expect_frame(platform, 0, CODE + 1, KERNEL_CS, FLAGS | FLAG_TF, STACK, KERNEL_DS);
	assert_int_equal(platform->cpu->state.dr6 & 1 << 14, 1 << 14);
}

static void test_legacy_stack_switch(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;
	static const uint8_t iret[] = {0xcf};

	platform_32(platform);
	cpu->segment[CS] = (struct cpu_segment){
		.selector = USER_CS_32 | 3, .attributes = 0xcfb, .limit = UINT32_MAX};
	cpu->segment[SS] = cpu->segment[DS] = (struct cpu_segment){
		.selector = USER_DS | 3, .attributes = 0xcf3, .limit = UINT32_MAX};
	cpu->cpl = 3;
	cpu->rflags = FLAGS;
	platform_gate(platform, 0x80, OPEN, 0);
	platform_code(platform, 0xcd, 0x80);
	platform_expect(platform, 0x80);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->segment[SS].selector, KERNEL_DS);
	assert_int_equal(cpu->gpr[RSP], KERNEL_STACK - 20);
	assert_int_equal(get32(platform, KERNEL_STACK - 20), CODE + 2);
	assert_int_equal(get32(platform, KERNEL_STACK - 16), USER_CS_32 | 3);
	assert_int_equal(get32(platform, KERNEL_STACK - 12), FLAGS);
	assert_int_equal(get32(platform, KERNEL_STACK - 8), STACK);
	assert_int_equal(get32(platform, KERNEL_STACK - 4), USER_DS | 3);

	platform_write_code(platform, iret, sizeof(iret));
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->rip, CODE + 2);
	assert_int_equal(cpu->gpr[RSP], STACK);
	assert_int_equal(cpu->segment[ES].attributes, 0);
	assert_int_equal(cpu->segment[DS].selector, USER_DS | 3);
}

static void test_legacy_error_code(void **state)
{
	struct platform *platform = *state;

	platform_32(platform);
	platform->cpu->state.gpr[RAX] = 0x100; /* beyond the GDT */
	platform_code(platform, 0x8e, 0xd8);
	platform_expect_error(platform, VECTOR_GP, 0x100);
	assert_int_equal(platform->cpu->state.gpr[RSP], STACK - 16);
}

static void test_segment_limit(void **state)
{
	struct platform *platform = *state;

	platform_32(platform);
	platform->cpu->state.segment[DS].limit = DATA + 2;
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, 0x8b, 0x07);
	platform_expect_error(platform, VECTOR_GP, 0);
}

static void make_real(struct platform *platform)
{
	cpu_reset(&platform->cpu->state);
	cpu_startup(&platform->cpu->state, 0x20);
	platform->cpu->state.gpr[RSP] = 0x1000;
	cpu_flush(platform->cpu);
}

static void test_real_interrupt(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;
	static const uint8_t iret[] = {0xcf};

	make_real(platform);
	put16(platform, 4 * 0x21, 0x0010);
	put16(platform, 4 * 0x21 + 2, 0x3000);
	cpu->rflags = FLAGS;
	platform_code(platform, 0xcd, 0x21);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->rip, 0x10);
	assert_int_equal(cpu->segment[CS].base, 0x30000);
	assert_int_equal(cpu->rflags, 2);
	assert_int_equal(cpu->gpr[RSP], 0x1000 - 6);
	assert_int_equal(get16(platform, 0xffa), 2);
	assert_int_equal(get16(platform, 0xffc), 0x2000);
	assert_int_equal(get16(platform, 0xffe), FLAGS);
	platform_write_code(platform, iret, sizeof(iret));
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->rip, 2);
	assert_int_equal(cpu->segment[CS].base, 0x20000);
	assert_int_equal(cpu->rflags, FLAGS);
}

static void test_reset_vector(void **state)
{
	struct platform *platform = *state;
	const struct cpu_state *cpu = &platform->cpu->state;

	cpu_reset(&platform->cpu->state);
	assert_int_equal(cpu->segment[CS].base + cpu->rip, 0xfffffff0);
	assert_int_equal(cpu->segment[CS].selector, 0xf000);
	assert_int_equal(cpu->cr0, 0x60000010);
	assert_int_equal(cpu->rflags, 2);
	assert_int_equal(cpu->dr6, 0xffff0ff0);
	assert_int_equal(cpu->dr7, 0x400);
}

static void test_init_keeps_caches(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_long(platform, ALL);
	cpu->fpu.mxcsr = 0x1f00;
	cpu->lstar = 0x1234;
	cpu->cr0 |= 1u << 30;
	cpu_init_signal(cpu);
	assert_int_equal(cpu->cr0, 0x40000010);
	assert_int_equal(cpu->efer, 0);
	assert_int_equal(cpu->fpu.mxcsr, 0x1f00);
	assert_int_equal(cpu->lstar, 0x1234);
}

/* As a kernel brings up its other CPUs, by 32-bit mode. */
static void test_real_to_long(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_long(platform, ALL);
	make_real(platform);
	put16(platform, 0x20100, 0x4f);
	put32(platform, 0x20102, GDT);
	platform_code(platform, 0x2e, 0x66, 0x0f, 0x01, 0x16, 0x00, 0x01, /* lgdtl %cs:0x100 */
		      0x0f, 0x20, 0xc0,					  /* mov %cr0, %eax */
		      0x0c, 0x01, 0x0f, 0x22, 0xc0, /* or $1; mov %eax, %cr0 */
		      0x66, 0xea, 0x20, 0x00, 0x02, 0x00, KERNEL_CS_32,
		      0x00 /* ljmpl $.., $0x20020 */);
	assert_int_equal(platform_run(platform, 5), CPU_STOP_BUDGET);
	assert_int_equal(cpu->rip, 0x20020);
	assert_int_equal(cpu->segment[CS].attributes, 0xc9b);
	platform_code(platform, 0xb8, 0x20, 0, 0, 0, 0x0f, 0x22, 0xe0,	       /* CR4.PAE */
		      0xb8, 0x00, 0x00, 0x10, 0x00, 0x0f, 0x22, 0xd8,	       /* CR3 = TABLES */
		      0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32,		       /* EFER */
		      0x0d, 0, 1, 0, 0, 0x0f, 0x30,			       /* LME */
		      0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0, /* CR0.PG */
		      0xea, 0x00, 0x00, 0x30, 0x00, KERNEL_CS, 0x00 /* ljmp $.., $CODE */);
	assert_int_equal(platform_run(platform, 8), CPU_STOP_BUDGET);
	assert_false(is_long_mode(platform->cpu));
	assert_int_equal(platform_run(platform, 3), CPU_STOP_BUDGET);
	assert_int_equal(cpu->efer, EFER_LME | EFER_LMA);
	assert_false(is_64bit(platform->cpu));
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_true(is_64bit(platform->cpu));
	assert_int_equal(cpu->rip, CODE);
	platform_code(platform, 0x49, 0xff, 0xc7); /* inc %r15 */
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->gpr[R15], 1);
}

static void test_syscall(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;
	static const uint8_t sysret[] = {0x48, 0x0f, 0x07};

	platform_long(platform, ALL);
	platform_user(platform);
	cpu->star = (uint64_t)USER_CS_32 << 48 | (uint64_t)KERNEL_CS << 32;
	cpu->lstar = HANDLERS;
	cpu->sfmask = FLAG_IF;
	cpu->rflags = FLAGS;
	platform_code(platform, 0x0f, 0x05);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->rip, HANDLERS);
	assert_int_equal(cpu->gpr[RCX], CODE + 2);
	assert_int_equal(cpu->gpr[R11], FLAGS);
	assert_int_equal(cpu->rflags, 2);
	assert_int_equal(cpu->segment[SS].selector, KERNEL_DS);
	platform_write_code(platform, sysret, sizeof(sysret));
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->rip, CODE + 2);
	assert_int_equal(cpu->rflags, FLAGS);
	assert_int_equal(cpu->segment[CS].selector, USER_CS | 3);
	assert_int_equal(cpu->segment[SS].selector, USER_DS | 3);
}

static void test_far_call_and_return(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;
	static const uint8_t lret[] = {0xcb};

	platform_long(platform, ALL);
	put32(platform, DATA, HANDLERS);
	put16(platform, DATA + 4, KERNEL_CS_32);
	cpu->gpr[RDI] = DATA;
	platform_code(platform, 0xff, 0x1f); /* lcall *(%rdi) */
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->rip, HANDLERS);
	assert_false(is_64bit(platform->cpu));
	assert_int_equal(cpu->gpr[RSP], STACK - 8);
	platform_write_code(platform, lret, sizeof(lret));
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_true(is_64bit(platform->cpu));
	assert_int_equal(cpu->rip, CODE + 2);
	assert_int_equal(cpu->gpr[RSP], STACK);
}

/* IRET in long mode does not return from tasks. */
static void test_nested_task(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->state.rflags |= FLAG_NT;
	platform_code(platform, IRETQ);
	platform_expect_error(platform, VECTOR_GP, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, platform_setup, platform_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_same_privilege),
		TEST(test_trap_gate),
		TEST(test_from_user_and_back),
		TEST(test_closed_gate),
		TEST(test_missing_gate),
		TEST(test_ist),
		TEST(test_interrupt),
		TEST(test_window),
		TEST(test_mov_ss),
		TEST(test_double_fault),
		TEST(test_benign_first),
		TEST(test_triple_fault),
		TEST(test_triple_fault_of_interrupt),
		TEST(test_injected),
		TEST(test_task_gate),
		TEST(test_single_step),
		TEST(test_legacy_stack_switch),
		TEST(test_legacy_error_code),
		TEST(test_segment_limit),
		TEST(test_real_interrupt),
		TEST(test_reset_vector),
		TEST(test_init_keeps_caches),
		TEST(test_real_to_long),
		TEST(test_syscall),
		TEST(test_far_call_and_return),
		TEST(test_nested_task),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
