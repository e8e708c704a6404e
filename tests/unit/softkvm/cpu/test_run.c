// SPDX-License-Identifier: GPL-2.0-or-later
/* The loop: what ends it, what comes between instructions. */
#include "machine.h"

#include <string.h>

CODE_BLOCK(nops, 64, "nop\nnop\nnop\nhlt");

static void test_budget(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_LONG, nops, nops_end);
	assert_int_equal(cpu_run(cpu, 0), CPU_STOP_BUDGET);
	assert_int_equal(cpu->state.rip, CODE);
	assert_int_equal(cpu_run(cpu, 2), CPU_STOP_BUDGET);
	assert_int_equal(cpu->state.rip, CODE + 2);
	assert_int_equal(cpu->instructions, 2);
	assert_int_equal(cpu_run(cpu, UINT64_MAX), CPU_STOP_HALT);
	assert_int_equal(cpu->state.rip, CODE + 4);
	assert_true(cpu->state.halted);
	assert_int_equal(cpu_run(cpu, 1), CPU_STOP_HALT);
}

static void test_attention(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_LONG, nops, nops_end);
	cpu->attention = true;
	assert_int_equal(cpu_run(cpu, 10), CPU_STOP_ATTENTION);
	assert_int_equal(cpu->state.rip, CODE);
	cpu->attention = false;
	machine_run(machine);
}

/* A string instruction is interrupted between its elements, and goes on. */
CODE_BLOCK(store_string, 64, "mov $0x200000, %edi\nmov $5, %ecx\nmov $7, %al\nrep stosb\nhlt");

static void test_attention_in_string(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_LONG, store_string, store_string_end);
	machine->attention_at = 3;
	assert_int_equal(cpu_run(cpu, 100), CPU_STOP_ATTENTION);
	assert_int_equal(cpu->state.gpr[RCX], 2);
	assert_int_equal(cpu->state.gpr[RDI], MMIO + 3);
	cpu->attention = false;
	machine_run(machine);
	assert_int_equal(machine->writes, 5);
	assert_int_equal(machine->last_written, 7);
	assert_int_equal(cpu->state.gpr[RCX], 0);
}

CODE_BLOCK(add_mmio, 64, "mov $0x200010, %esi\nmov $1, %eax\nadd (%rsi), %al\nhlt");

static void test_pending(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_LONG, add_mmio, add_mmio_end);
	machine->refusals = 2;
	assert_int_equal(cpu_run(cpu, 100), CPU_STOP_PENDING);

	struct cpu_state before = cpu->state;
	uint64_t instructions = cpu->instructions;

	assert_int_equal(cpu_run(cpu, 100), CPU_STOP_PENDING);
	assert_memory_equal(&cpu->state, &before, sizeof(before));
	assert_int_equal(cpu->instructions, instructions);
	machine_run(machine);
	assert_int_equal(cpu->state.gpr[RAX], 0x11);
	assert_int_equal(machine->reads, 1);
}

/* What is asked is asked again, but nothing that has been answered for an element before. */
CODE_BLOCK(move_string, 64, "mov $0x200010, %esi\nmov $0x9000, %edi\nmov $4, %ecx\nrep movsb\nhlt");

static void test_pending_in_string(void **state)
{
	static const uint8_t expected[] = {0x10, 0x11, 0x12, 0x13};
	struct machine *machine = *state;
	unsigned stops = 0;

	machine_start(machine, MACHINE_LONG, move_string, move_string_end);
	machine->refusals = 1;
	while (cpu_run(machine->cpu, 100) == CPU_STOP_PENDING) {
		assert_int_equal(machine->cpu->state.gpr[RCX], 4 - stops);
		stops++;
	}
	assert_int_equal(stops, 4);
	assert_int_equal(machine->reads, 4);
	assert_memory_equal(machine->memory + DATA, expected, sizeof(expected));
}

/* The instruction behind STI is still shielded. */
CODE_BLOCK(enable, 64, "nop\nsti\nnop\nnop\nhlt");

static void test_window(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_LONG, enable, enable_end);
	cpu->window_wanted = true;
	assert_int_equal(cpu_run(cpu, 100), CPU_STOP_WINDOW);
	assert_int_equal(cpu->state.rip, CODE + 3);
	assert_int_equal(cpu->state.shadow, SHADOW_NONE);
	cpu->window_wanted = false;
	machine_run(machine);
}

/* A handler in real mode that counts in BX, and notes where it came from. */
#define HANDLER_OFFSET "0x100"
CODE_BLOCK(steps, 16,
	   "pushf\npop %ax\nor $1, %ah\npush %ax\npopf\n"
	   "nop\n"			  /* the first that is trapped after */
	   "mov %ss, %cx\nmov %cx, %ss\n" /* no trap between this */
	   "nop\n"			  /* and the end of this */
	   "pushf\npop %ax\nand $0xfe, %ah\npush %ax\npopf\n"
	   "hlt\n"
	   ".org steps + " HANDLER_OFFSET "\n"
	   "inc %bx\niret");

static void set_vector(struct machine *machine, unsigned vector, uint16_t offset)
{
	uint16_t entry[2] = {offset, CODE / 16};

	memcpy(machine->memory + 4 * (size_t)vector, entry, sizeof(entry));
}

static void test_single_step(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_REAL, steps, steps_end);
	set_vector(machine, VECTOR_DB, 0x100);
	machine_run(machine);
	/* NOP, MOV, MOV with NOP, PUSHF, POP, AND, PUSH, POPF. */
	assert_int_equal(cpu->state.gpr[RBX], 8);
	assert_int_equal(cpu->state.dr6 >> 14 & 1, 1);
	assert_false(cpu->state.rflags & FLAG_TF);
}

CODE_BLOCK(divide, 16,
	   "xor %cx, %cx\ndiv %cx\nhlt\n"
	   ".org divide + " HANDLER_OFFSET "\n"
	   "mov %sp, %bp\nmov (%bp), %dx\nhlt");

static void test_exception(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_REAL, divide, divide_end);
	set_vector(machine, VECTOR_DE, 0x100);
	machine_run(machine);
	/* A fault: the return address is that of the instruction. */
	assert_int_equal(cpu->state.gpr[RDX], 2);
	assert_int_equal(cpu->state.gpr[RSP], STACK - 6);
}

static void test_pending_exception(void **state)
{
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_REAL, divide, divide_end);
	set_vector(machine, VECTOR_UD, 0x100);
	cpu->state.exception = (struct cpu_exception){.pending = true, .vector = VECTOR_UD};
	machine_run(machine);
	assert_int_equal(cpu->state.gpr[RDX], 0);
	assert_int_equal(cpu->state.rip, 0x106);
	assert_false(cpu->state.exception.pending);
}

/* No handler, no stack for its exceptions either. */
CODE_BLOCK(undefined, 64, "ud2");

static void test_shutdown(void **state)
{
	struct machine *machine = *state;

	machine_start(machine, MACHINE_LONG, undefined, undefined_end);
	machine->cpu->state.idtr.limit = 0;
	assert_int_equal(cpu_run(machine->cpu, 10), CPU_STOP_SHUTDOWN);
}

CODE_BLOCK(unknown, 64, "nop\nmovdiri %eax, (%rsi)\nhlt");

static void test_unknown(void **state)
{
	static const uint8_t bytes[] = {0x0f, 0x38, 0xf9, 0x06};
	struct machine *machine = *state;
	struct cpu *cpu = machine->cpu;

	machine_start(machine, MACHINE_LONG, unknown, unknown_end);
	assert_int_equal(cpu_run(cpu, 10), CPU_STOP_UNKNOWN);
	assert_int_equal(cpu->state.rip, CODE + 1);
	assert_string_equal(cpu->unknown.text, "movdiri [rsi], eax");
	assert_int_equal(cpu->unknown.len, sizeof(bytes));
	assert_memory_equal(cpu->unknown.bytes, bytes, sizeof(bytes));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_budget),
		TEST(test_attention),
		TEST(test_attention_in_string),
		TEST(test_pending),
		TEST(test_pending_in_string),
		TEST(test_window),
		TEST(test_single_step),
		TEST(test_exception),
		TEST(test_pending_exception),
		TEST(test_shutdown),
		TEST(test_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
