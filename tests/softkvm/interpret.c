// SPDX-License-Identifier: GPL-2.0-or-later
/* interpret.c - instructions by softkvm's CPU, in 64-bit or compatibility mode at CPL 3 */
#include "check.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>

#include "softkvm/cpu/code.h"

#define INT3 0xcc

/* Guest-physical memory: page tables, then data, then code. */
enum { PML4, PDPT, DIRECTORY, CODE_TABLE, DATA_TABLE, DATA, CODE = DATA + DATA_LEN / PAGE_SIZE };
#define N_PAGES (CODE + CODE_LEN / PAGE_SIZE)

#define PTE_P  0x01u
#define PTE_W  0x02u
#define PTE_U  0x04u
#define PTE_A  0x20u
#define PTE_D  0x40u
#define PTE_NX (1ull << 63)

struct interpreter {
	struct cpu *cpu;
	struct cpu_state initial;
	_Alignas(64) uint8_t memory[N_PAGES][PAGE_SIZE];
};

static void find_page(void *opaque, uint64_t gpa, bool encrypted, struct cpu_page *ret)
{
	struct interpreter *interpreter = opaque;

	(void)encrypted;
	*ret = (struct cpu_page){0};
	if (gpa / PAGE_SIZE < N_PAGES)
		ret->data = interpreter->memory[gpa / PAGE_SIZE];
}

/* This machine's: what it has not, softkvm need not have. */
static void host_cpuid(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	(void)opaque;
	__cpuid_count(leaf, subleaf, ret[0], ret[1], ret[2], ret[3]);
}

static const struct cpu_ops ops = {.page = find_page, .cpuid = host_cpuid};

static void set_entry(struct interpreter *interpreter, unsigned table, uint64_t address,
		      unsigned level, uint64_t entry)
{
	unsigned index = address >> (12 + 9 * level) & 511;

	memcpy(&interpreter->memory[table][8 * index], &entry, sizeof(entry));
}

static void map(struct interpreter *interpreter)
{
	const uint64_t table = PTE_P | PTE_W | PTE_U | PTE_A, page = PTE_P | PTE_U | PTE_A | PTE_D;

	set_entry(interpreter, PML4, CODE_BASE, 3, PDPT * PAGE_SIZE | table);
	set_entry(interpreter, PDPT, CODE_BASE, 2, DIRECTORY * PAGE_SIZE | table);
	set_entry(interpreter, DIRECTORY, CODE_BASE, 1, CODE_TABLE * PAGE_SIZE | table);
	set_entry(interpreter, DIRECTORY, DATA_BASE, 1, DATA_TABLE * PAGE_SIZE | table);
	for (unsigned i = 0; i < CODE_LEN; i += PAGE_SIZE)
		set_entry(interpreter, CODE_TABLE, CODE_BASE + i, 0, (CODE * PAGE_SIZE + i) | page);
	for (unsigned i = 0; i < DATA_LEN; i += PAGE_SIZE)
		set_entry(interpreter, DATA_TABLE, DATA_BASE + i, 0,
			  (DATA * PAGE_SIZE + i) | page | PTE_W | PTE_NX);
}

static uint32_t host_mxcsr_mask(void)
{
	struct {
		_Alignas(16) uint8_t area[512];
	} fxsave;
	uint32_t mask;

	__asm__ volatile("fxsave64 %0" : "=m"(fxsave));
	memcpy(&mask, fxsave.area + offsetof(struct cpu_fpu, mxcsr_mask), sizeof(mask));
	return mask;
}

/* As Linux has it for applications. */
static void init_state(struct cpu_state *state)
{
	const uint16_t user = SEGMENT_PRESENT | SEGMENT_S | SEGMENT_DPL | SEGMENT_G | 3;

	cpu_reset(state);
	state->cr0 = CR0_PG | CR0_PE | CR0_NE | CR0_WP | CR0_MP;
	state->cr3 = PML4 * PAGE_SIZE;
	state->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	state->efer = EFER_LMA | EFER_LME | EFER_NXE;
	state->xcr0 = 7;
	state->cpl = 3;
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		state->segment[i] = (struct cpu_segment){
			.selector = 0x2b, .attributes = user | SEGMENT_DB, .limit = UINT32_MAX};
	state->segment[CS].selector = 0x33;
	state->segment[CS].attributes = user | 8 | SEGMENT_L;
	state->segment[GS].base = GS_BASE;
	state->fpu.mxcsr_mask = host_mxcsr_mask();
}

static struct cpu_features host_features(void)
{
	return (struct cpu_features){
		.physical_bits = 48,
		.nx = true,
		.xsave = true,
		.avx = __builtin_cpu_supports("avx"),
		.avx2 = __builtin_cpu_supports("avx2"),
		.sse3 = __builtin_cpu_supports("sse3"),
		.ssse3 = __builtin_cpu_supports("ssse3"),
		.sse41 = __builtin_cpu_supports("sse4.1"),
		.sse42 = __builtin_cpu_supports("sse4.2"),
		.aes = __builtin_cpu_supports("aes"),
		.pclmulqdq = __builtin_cpu_supports("pclmul"),
	};
}

struct interpreter *interpreter_new(void)
{
	struct interpreter *interpreter = aligned_alloc(64, sizeof(*interpreter));

	if (!interpreter)
		return NULL;
	memset(interpreter, 0, sizeof(*interpreter));
	interpreter->cpu = cpu_new(&ops, interpreter);
	if (!interpreter->cpu)
		return interpreter_free(interpreter);
	interpreter->cpu->features = host_features();
	map(interpreter);
	init_state(&interpreter->initial);
	return interpreter;
}

struct interpreter *interpreter_free(struct interpreter *interpreter)
{
	if (interpreter) {
		interpreter->cpu = cpu_free(interpreter->cpu);
		free(interpreter);
	}
	return NULL;
}

void interpreter_load(struct interpreter *interpreter, const struct test_case *cases, unsigned n)
{
	uint8_t *code = interpreter->memory[CODE];

	memset(code, INT3, CODE_LEN);
	for (unsigned i = 0; i < n; i++)
		memcpy(code + i * SLOT_LEN + SLOT_INSN, cases[i].code, cases[i].length);
	interpreter->cpu->state = interpreter->initial;
	cpu_flush(interpreter->cpu);
}

static void give(struct cpu_state *state, const struct registers *registers)
{
	memcpy(state->gpr, registers->gpr, sizeof(state->gpr));
	state->rip = registers->rip;
	state->rflags = registers->rflags;
	state->fpu.mxcsr = registers->mxcsr;
	state->fpu.fcw = registers->fcw;
	state->fpu.fsw = registers->fsw;
	state->fpu.ftw = registers->ftw;
	memcpy(state->fpu.xmm, registers->xmm, sizeof(registers->xmm));
	memcpy(state->fpu.ymm_high, registers->ymm_high, sizeof(registers->ymm_high));
}

static void take(const struct cpu_state *state, struct registers *ret)
{
	memcpy(ret->gpr, state->gpr, sizeof(state->gpr));
	ret->rip = state->rip;
	ret->rflags = state->rflags;
	ret->mxcsr = state->fpu.mxcsr;
	ret->fcw = state->fpu.fcw;
	ret->fsw = state->fpu.fsw;
	ret->ftw = state->fpu.ftw;
	memcpy(ret->xmm, state->fpu.xmm, sizeof(ret->xmm));
	memcpy(ret->ymm_high, state->fpu.ymm_high, sizeof(ret->ymm_high));
}

/* A string instruction returns now and then, RIP still at it. */
static enum cpu_result step(struct cpu *cpu)
{
	uint64_t rip = cpu->state.rip;
	const struct insn *insn;
	enum cpu_result result;

	do {
		result = code_find(cpu, &insn);
		if (result == CPU_NEXT)
			result = insn->exec(cpu, insn);
	} while (result == CPU_JUMPED && cpu->state.rip == rip);
	if (result == CPU_NEXT || result == CPU_NEXT_AFRESH)
		cpu->state.rip += insn->length;
	return result;
}

void interpret(struct interpreter *interpreter, const struct test_case *test, unsigned slot,
	       struct outcome *ret)
{
	struct cpu *cpu = interpreter->cpu;
	enum cpu_result result;

	(void)slot;
	cpu->state = interpreter->initial;
	if (test->is_32)
		cpu->state.segment[CS].attributes ^= SEGMENT_L | SEGMENT_DB;
	give(&cpu->state, &test->registers);
	memcpy(interpreter->memory[DATA], test->data, DATA_LEN);
	result = step(cpu);
	take(&cpu->state, &ret->registers);
	memcpy(ret->data, interpreter->memory[DATA], DATA_LEN);
	ret->is_known = result == CPU_NEXT || result == CPU_NEXT_AFRESH || result == CPU_JUMPED ||
			result == CPU_FAULT;
	ret->vector = NO_VECTOR;
	if (result == CPU_FAULT) {
		ret->vector = cpu->fault.vector;
		ret->error = cpu->fault.has_error ? cpu->fault.error : 0;
		ret->address = cpu->fault.address;
	}
}
