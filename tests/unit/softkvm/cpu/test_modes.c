// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Instructions with operands, addresses and stacks of 16 and 32 bits.  What 64-bit mode does is
 * compared with a processor by tests/softkvm/check_cpu.
 */
#include "machine.h"

#include <string.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)

/* Upper halves, which 16-bit code does not touch. */
#define UPPER 0x55550000u

static uint16_t word_at(const struct machine *machine, uint64_t address)
{
	uint16_t value;

	memcpy(&value, machine->memory + address, sizeof(value));
	return value;
}

static uint32_t long_at(const struct machine *machine, uint64_t address)
{
	uint32_t value;

	memcpy(&value, machine->memory + address, sizeof(value));
	return value;
}

CODE_BLOCK(calls_16, 16,
	   "call 1f\n"
	   "push $0x1234\n"
	   "pop %dx\n"
	   "mov $(2f - calls_16), %bx\n"
	   "push %bx\n"
	   "ret $4\n"
	   "1: mov %sp, %si\n"
	   "mov (%si), %ax\n"
	   "ret\n"
	   "2: hlt");

static void test_calls_16(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_REAL, calls_16, calls_16_end);
	cpu->state.gpr[RSP] |= UPPER;
	machine_run(machine);
	assert_int_equal(cpu->state.gpr[RAX], 3); /* the return address */
	assert_int_equal(cpu->state.gpr[RDX], 0x1234);
	assert_int_equal(cpu->state.gpr[RSP], UPPER | (STACK + 4));
	assert_int_equal(cpu->state.rip, calls_16_end - calls_16);
}

/* The stack wraps at 64 KiB. */
CODE_BLOCK(push_16, 16, "push $0x1234\nhlt");

static void test_stack_wraps(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_REAL, push_16, push_16_end);
	machine->cpu->state.gpr[RSP] = UPPER;
	machine_run(machine);
	assert_int_equal(machine->cpu->state.gpr[RSP], UPPER | 0xfffe);
	assert_int_equal(word_at(machine, 0xfffe), 0x1234);
}

CODE_BLOCK(loops, 16,
	   "mov $3, %cx\n"
	   "1: inc %ax\n"
	   "loop 1b\n"
	   "jcxz 2f\n"
	   "hlt\n"
	   "2: mov $0x20003, %ecx\n"
	   "3: inc %dx\n"
	   ".byte 0x67; loop 4f\n" /* addr32 */
	   "4: dec %cx\n"
	   "xor %bx, %bx\n"
	   "loope 5f\n"
	   "hlt\n"
	   "5: hlt");

static void test_loops(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_REAL, loops, loops_end);
	cpu->state.gpr[RAX] = UPPER;
	machine_run(machine);
	assert_int_equal(cpu->state.gpr[RAX], UPPER | 3);
	/* 0x20003: less one by ECX, one by DEC CX, one by CX, which is zero then. */
	assert_int_equal(cpu->state.gpr[RCX], 0x20000);
	assert_int_equal(cpu->state.rip, loops_end - loops - 1);
}

/* Neither is taken: ZF is clear, then CX is zero. */
CODE_BLOCK(loops_not_taken, 16,
	   "mov $2, %cx\n"
	   "or %sp, %sp\n"
	   "loope 1f\n"
	   "loopne 1f\n"
	   "hlt\n"
	   "1: hlt");

static void test_loops_not_taken(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_REAL, loops_not_taken, loops_not_taken_end);
	machine_run(machine);
	assert_int_equal(cpu->state.gpr[RCX], 0);
	assert_int_equal(cpu->state.rip, loops_not_taken_end - loops_not_taken - 1);
}

/* Offsets wrap at 64 KiB, registers keep their upper halves. */
CODE_BLOCK(string_16, 16, "cld\nrep stosb\nstd\nmov $2, %cx\nrep stosw\nhlt");

static void test_string_16(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_REAL, string_16, string_16_end);
	cpu->state.segment[ES].base = 0x20000;
	cpu->state.gpr[RAX] = 0xabcd;
	cpu->state.gpr[RCX] = UPPER | 6;
	cpu->state.gpr[RDI] = UPPER | 0xfffc;
	machine_run(machine);
	assert_int_equal(cpu->state.gpr[RCX], UPPER);
	assert_int_equal(cpu->state.gpr[RDI], UPPER | 0xfffe);
	assert_int_equal(long_at(machine, 0x2fffc), 0xcdcdcdcd);
	/* DI was 2: backwards from there. */
	assert_int_equal(long_at(machine, 0x20000), 0xabcdabcd);
	assert_int_equal(machine->memory[0x30000], 0);
}

/* An address size of 16 bits in segments of 4 GiB, and not at the end of a page. */
CODE_BLOCK(wrapping, 32, "addr16 rep stosb\nhlt");

static void test_addresses_wrap(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_PROTECTED, wrapping, wrapping_end);
	cpu->state.segment[ES].base = 0x20800;
	cpu->state.gpr[RAX] = 0xab;
	cpu->state.gpr[RCX] = UPPER | 6;
	cpu->state.gpr[RDI] = UPPER | 0xfffc;
	machine_run(machine);
	assert_int_equal(cpu->state.gpr[RDI], UPPER | 2);
	assert_int_equal(long_at(machine, 0x307fc), 0xabababab);
	assert_int_equal(word_at(machine, 0x30800), 0);
	assert_int_equal(word_at(machine, 0x20800), 0xabab);
}

/* A string that is copied into itself is a pattern. */
CODE_BLOCK(pattern, 32,
	   "mov $0x9000, %esi\nmov $0x9002, %edi\nmov $20, %ecx\nrep movsb\n"
	   "mov $0x9104, %esi\nmov $0x9100, %edi\nmov $4, %ecx\nrep movsl\n"
	   "hlt");

static void test_pattern(void **state)
{
	static const char backward[] = "ABCDEFGHIJKLMNOPQRST";
	struct machine *machine = *state;

	machine_start(machine, MACHINE_PROTECTED, pattern, pattern_end);
	memcpy(machine->memory + DATA, "ab", 2);
	memcpy(machine->memory + DATA + 0x100, backward, sizeof(backward));
	machine_run(machine);
	assert_memory_equal(machine->memory + DATA, "ababababababababababab", 22);
	assert_memory_equal(machine->memory + DATA + 0x100, backward + 4, 16);
}

/* A source in another segment. */
CODE_BLOCK(override, 16, "mov $4, %cx\ncs rep movsb\nhlt");

static void test_override(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_REAL, override, override_end);
	machine->cpu->state.gpr[RDI] = DATA;
	machine_run(machine);
	assert_memory_equal(machine->memory + DATA, override, 4);
}

CODE_BLOCK(frames, 16,
	   "mov $0x7000, %bp\n"
	   "movw $0x1111, -2(%bp)\n"
	   "enter $0x10, $2\n"
	   "mov %sp, %ax\n"
	   "mov %bp, %bx\n"
	   "leave\n"
	   "hlt");

static void test_frames(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_REAL, frames, frames_end);
	machine_run(machine);
	assert_int_equal(word_at(machine, STACK - 2), 0x7000);
	assert_int_equal(word_at(machine, STACK - 4), 0x1111);
	assert_int_equal(word_at(machine, STACK - 6), STACK - 2);
	assert_int_equal(cpu->state.gpr[RAX], STACK - 6 - 0x10);
	assert_int_equal(cpu->state.gpr[RBX], STACK - 2);
	assert_int_equal(cpu->state.gpr[RBP], 0x7000);
	assert_int_equal(cpu->state.gpr[RSP], STACK);
}

CODE_BLOCK(all_registers, 32,
	   "mov $1, %eax\nmov $2, %ecx\nmov $3, %edx\nmov $4, %ebx\n"
	   "mov $6, %ebp\nmov $7, %esi\nmov $8, %edi\n"
	   "pusha\n"
	   "mov 12(%esp), %eax\n"
	   "mov %eax, 28(%esp)\n"
	   "xor %edi, %edi\nxor %ebx, %ebx\n"
	   "popa\n"
	   "hlt");

static void test_all_registers(void **state)
{
	static const uint32_t expected[] = {STACK, 2, 3, 4, STACK, 6, 7, 8};
	struct machine *machine = *state;

	machine_start(machine, MACHINE_PROTECTED, all_registers, all_registers_end);
	machine_run(machine);
	for (unsigned reg = RAX; reg <= RDI; reg++)
		assert_int_equal(machine->cpu->state.gpr[reg], expected[reg]);
	assert_int_equal(long_at(machine, STACK - 4), STACK);
}

/* Branches through memory and registers, an address that wraps at 4 GiB. */
CODE_BLOCK(branches_32, 32,
	   "movl $0x10000 + 1f - branches_32, 0x9000\n"
	   "mov $0x9001, %esi\n"
	   "jmp *-1(%esi)\n"
	   "hlt\n"
	   "1: mov $0x10000 + 2f - branches_32, %eax\n"
	   "call *%eax\n"
	   "mov $0xfffffff0, %edi\n"
	   "mov 0x9010(%edi), %ecx\n"
	   "hlt\n"
	   "2: pop %edx\n"
	   "push %edx\n"
	   "ret");

static void test_branches_32(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_PROTECTED, branches_32, branches_32_end);
	machine_run(machine);
	assert_int_equal(cpu->state.rip, CODE + (branches_32_end - branches_32) - 3);
	assert_int_equal(cpu->state.gpr[RCX], long_at(machine, DATA));
	assert_in_range(cpu->state.gpr[RDX], CODE, CODE + 0x100);
}

/* 16-bit operands in 32-bit code cut EIP. */
CODE_BLOCK(jump_word, 32, "data16 jmp 1f\n1: hlt");

static void test_jump_word(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_PROTECTED, jump_word, jump_word_end);
	machine->memory[jump_word_end - jump_word - 1] = 0xf4; /* HLT, below 64 KiB */
	machine_run(machine);
	assert_int_equal(machine->cpu->state.rip, jump_word_end - jump_word);
}

static void run_with_ax(struct machine *machine, const uint8_t *code, const uint8_t *end,
			uint64_t ax, uint64_t flags)
{
	machine_start(machine, MACHINE_PROTECTED, code, end);
	machine->cpu->state.gpr[RAX] = ax;
	machine->cpu->state.rflags |= flags;
	machine_run(machine);
}

CODE_BLOCK(daa, 32, "daa\nhlt");
CODE_BLOCK(das, 32, "das\nhlt");
CODE_BLOCK(aaa, 32, "aaa\nhlt");
CODE_BLOCK(aas, 32, "aas\nhlt");
CODE_BLOCK(aam, 32, "aam\nhlt");
CODE_BLOCK(aad, 32, "aad\nhlt");
CODE_BLOCK(salc, 32, ".byte 0xd6\nhlt");

static void test_decimal(void **state)
{
	const uint64_t carries = FLAG_AF | FLAG_CF;
	const struct {
		const uint8_t *code, *end;
		uint64_t ax, flags, result, carries;
	} cases[] = {
		/* 79 + 35 = ae, 14 and a carry */
		{daa, daa_end, 0xae, 0, 0x14, carries},
		{daa, daa_end, 0x42, 0, 0x42, 0},
		{daa, daa_end, 0x02, FLAG_CF, 0x62, FLAG_CF},
		/* 35 - 47 = ee, 88 and a borrow */
		{das, das_end, 0xee, carries, 0x88, carries},
		{das, das_end, 0x03, FLAG_AF, 0xfd, carries},
		{aaa, aaa_end, 0x010b, 0, 0x0201, carries},
		{aaa, aaa_end, 0x0135, 0, 0x0105, 0},
		{aas, aas_end, 0x02ff, FLAG_AF, 0x0109, carries},
		{aam, aam_end, 0x0037, 0, 0x0505, 0},
		{aad, aad_end, 0x0505, 0, 0x0037, 0},
		{salc, salc_end, 0x1234, FLAG_CF, 0x12ff, FLAG_CF},
		{salc, salc_end, 0x1234, FLAG_AF, 0x1200, FLAG_AF},
	};
	struct machine *machine = *state;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_with_ax(machine, cases[i].code, cases[i].end, cases[i].ax, cases[i].flags);
		assert_int_equal(machine->cpu->state.gpr[RAX], cases[i].result);
		assert_int_equal(machine->cpu->state.rflags & carries, cases[i].carries);
	}
}

/* IF and IOPL are privileged. */
CODE_BLOCK(flags, 32, "push $0x3202\npopf\npushf\npop %eax\nhlt");

static void test_flags(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_PROTECTED, flags, flags_end);
	machine_run(machine);
	assert_int_equal(machine->cpu->state.gpr[RAX], 0x3202);

	machine_start(machine, MACHINE_PROTECTED, flags, flags_end);
	machine->cpu->state.cpl = 3;
	assert_int_equal(cpu_run(machine->cpu, 4), CPU_STOP_BUDGET);
	assert_int_equal(machine->cpu->state.gpr[RAX], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_calls_16),	    TEST(test_stack_wraps), TEST(test_loops),
		TEST(test_loops_not_taken), TEST(test_string_16),   TEST(test_override),
		TEST(test_addresses_wrap),  TEST(test_pattern),	    TEST(test_frames),
		TEST(test_all_registers),   TEST(test_branches_32), TEST(test_jump_word),
		TEST(test_decimal),	    TEST(test_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
