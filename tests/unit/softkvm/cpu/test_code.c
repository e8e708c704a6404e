// SPDX-License-Identifier: GPL-2.0-or-later
/* Decoded instructions are those that are in memory. */
#include "machine.h"

#include <string.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)

/* Rewrites the operand of an instruction that has been executed, and executes it again. */
CODE_BLOCK(rewrite, 64,
	   "mov $3, %ecx\n"
	   "xor %ebx, %ebx\n"
	   "1: mov $1, %eax\n"
	   "2: add %eax, %ebx\n"
	   "incl 2b - 4(%rip)\n"
	   "dec %ecx\n"
	   "jnz 1b\n"
	   "hlt");

static void test_own_store(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_LONG, rewrite, rewrite_end);
	machine_run(machine);
	assert_int_equal(machine->cpu->state.gpr[RBX], 1 + 2 + 3);
}

/* A string instruction overwrites what is right behind it. */
CODE_BLOCK(overwrite, 64,
	   "mov $2, %ebp\n"
	   "1: lea 2f(%rip), %rdi\n"
	   "mov $0x90, %al\n"
	   "mov $2, %ecx\n"
	   "cmp $2, %ebp\n"
	   "je 2f\n" /* for it to be decoded first */
	   "rep stosb\n"
	   "2: inc %ebx\n"
	   "dec %ebp\n"
	   "jnz 1b\n"
	   "hlt");

static void test_own_string_store(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_LONG, overwrite, overwrite_end);
	machine_run(machine);
	assert_int_equal(machine->cpu->state.gpr[RBX], 1);
}

CODE_BLOCK(constant, 64, "mov $1, %eax\nhlt");

static void run_again(struct machine *machine)
{
	machine->cpu->state.halted = false;
	machine->cpu->state.rip = CODE;
	machine_run(machine);
}

static void test_store_from_outside(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_LONG, constant, constant_end);
	machine_run(machine);
	assert_int_equal(machine->cpu->state.gpr[RAX], 1);
	machine->memory[CODE + 1] = 2;
	cpu_flush(machine->cpu);
	run_again(machine);
	assert_int_equal(machine->cpu->state.gpr[RAX], 2);
	/* And what has not changed is not lost. */
	machine->memory[CODE + 0x800] = 2;
	cpu_flush(machine->cpu);
	run_again(machine);
	assert_int_equal(machine->cpu->state.gpr[RAX], 2);
}

/* MOV EAX, imm32 with each of its bytes as the first of the second page. */
static void test_two_pages(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	for (unsigned first = 1; first < 5; first++) {
		unsigned offset = PAGE_SIZE - first;

		machine_start(machine, MACHINE_LONG, constant, constant_end);
		memcpy(machine->memory + CODE + offset, constant, 6);
		cpu->state.rip = CODE + offset;
		machine_run(machine);
		assert_int_equal(cpu->state.gpr[RAX], 1);

		/* The second page is compared, too. */
		machine->memory[CODE + PAGE_SIZE + 4 - first] = 0x12;
		cpu_flush(cpu);
		cpu->state.halted = false;
		cpu->state.rip = CODE + offset;
		machine_run(machine);
		assert_int_equal(cpu->state.gpr[RAX], 0x12000001);
	}
}

/* Stores into both pages of such an instruction, by this CPU. */
CODE_BLOCK(store_behind, 64,
	   "1: mov $1, %eax\n"
	   "2: add %eax, %ebx\n"
	   "incb 2b - 1(%rip)\n"
	   "dec %ecx\n"
	   "jnz 1b\n"
	   "hlt");

static void test_own_store_in_two_pages(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_LONG, store_behind, store_behind_end);
	memcpy(machine->memory + CODE + PAGE_SIZE - 3, store_behind,
	       (size_t)(store_behind_end - store_behind));
	cpu->state.rip = CODE + PAGE_SIZE - 3;
	cpu->state.gpr[RCX] = 2;
	machine_run(machine);
	assert_int_equal(cpu->state.gpr[RBX], 0x01000002);
}

/* 40: INC EAX, but a REX prefix in 64-bit mode. */
CODE_BLOCK(two_meanings, 64, ".byte 0x40, 0x90, 0xf4");

static void test_modes_do_not_mix(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_PROTECTED, two_meanings, two_meanings_end);
	machine_run(machine);
	assert_int_equal(machine->cpu->state.gpr[RAX], 1);
	machine_start(machine, MACHINE_LONG, two_meanings, two_meanings_end);
	machine->cpu->state.gpr[RAX] = 0;
	machine_run(machine);
	assert_int_equal(machine->cpu->state.gpr[RAX], 0);
}

/* More instructions in a page, one after the other, than can be numbered. */
static void test_page_is_rewritten_often(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_LONG, constant, constant_end);
	for (unsigned i = 0; i <= UINT16_MAX + 1; i++) {
		memcpy(machine->memory + CODE + 1, &i, sizeof(i));
		cpu_flush(cpu);
		run_again(machine);
		assert_int_equal(cpu->state.gpr[RAX], i);
	}
	/* And what was decoded last is found. */
	cpu->state.gpr[RAX] = 0;
	run_again(machine);
	assert_int_equal(cpu->state.gpr[RAX], UINT16_MAX + 1);
}

/* Where the exception in real mode came from that is being handled. */
static uint16_t saved_ip(const struct machine *machine)
{
	uint16_t ip;

	memcpy(&ip, machine->memory + machine->cpu->state.gpr[RSP], sizeof(ip));
	return ip;
}

/* 16 bytes. */
CODE_BLOCK(too_long, 16,
	   ".rept 15\n.byte 0x2e\n.endr\nnop\n"
	   ".org too_long + 0x100\nmov $1, %bx\nhlt\n"
	   ".org too_long + 0x200\nhlt");

static void set_vector(struct machine *machine, unsigned vector, uint16_t offset)
{
	uint16_t entry[2] = {offset, CODE / 16};

	memcpy(machine->memory + 4 * (size_t)vector, entry, sizeof(entry));
}

static void test_too_long(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_REAL, too_long, too_long_end);
	set_vector(machine, VECTOR_GP, 0x100);
	set_vector(machine, VECTOR_UD, 0x200);
	machine_run(machine);
	assert_int_equal(machine->cpu->state.gpr[RBX], 1);
	assert_int_equal(saved_ip(machine), 0);
}

/* RIP runs beyond the limit of CS: behind its page, then within one that is decoded already. */
static void test_limit(void **state)
{
	static const uint32_t limits[] = {0xffff, 0xfff8};
	struct machine *machine = *state;
	struct cpu_state *cpu = &machine->cpu->state;

	for (unsigned i = 0; i < 2; i++) {
		machine_start(machine, MACHINE_REAL, too_long, too_long_end);
		set_vector(machine, VECTOR_GP, 0x100);
		memset(machine->memory + CODE + 0xfff0, 0x90 /* NOP */, 0x20);
		cpu->rip = 0xfff0;
		cpu->segment[CS].limit = limits[i];
		machine_run(machine);
		assert_int_equal(cpu->gpr[RBX], 1);
		assert_int_equal(saved_ip(machine), (uint16_t)(limits[i] + 1));
	}
}

/* What the kernel may execute, a program may not. */
static void test_privilege(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_LONG, constant, constant_end);
	machine_run(machine);
	machine->cpu->state.halted = false;
	machine->cpu->state.rip = CODE;
	machine->cpu->state.cpl = 3;
	machine->cpu->state.idtr.limit = 0;
	assert_int_equal(cpu_run(machine->cpu, 10), CPU_STOP_SHUTDOWN);
	assert_int_equal(machine->cpu->state.cr2, CODE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_own_store),
		TEST(test_own_string_store),
		TEST(test_store_from_outside),
		TEST(test_two_pages),
		TEST(test_own_store_in_two_pages),
		TEST(test_modes_do_not_mix),
		TEST(test_page_is_rewritten_often),
		TEST(test_too_long),
		TEST(test_limit),
		TEST(test_privilege),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
