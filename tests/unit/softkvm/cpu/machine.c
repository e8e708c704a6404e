// SPDX-License-Identifier: GPL-2.0-or-later
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#define PML4	  0x1000u
#define PDPT	  0x2000u
#define DIRECTORY 0x3000u
/* Entries: present, writable; of 2 MiB. */
#define TABLE	   0x03u
#define LARGE_PAGE 0x83u
#define CODE_TYPE  0xbu /* executable, readable, accessed */
#define DATA_TYPE  0x3u
#define BUDGET	   1000000u

static void find_page(void *opaque, uint64_t gpa, bool encrypted, struct cpu_page *ret)
{
	struct machine *machine = opaque;

	(void)encrypted;
	*ret = (struct cpu_page){.data = gpa < MEMORY_LEN ? machine->memory + gpa : NULL};
}

static bool is_refused(struct machine *machine)
{
	if (machine->refused == machine->refusals) {
		machine->refused = 0;
		return false;
	}
	machine->refused++;
	return true;
}

static bool mmio_read(void *opaque, uint64_t gpa, unsigned len, void *ret)
{
	struct machine *machine = opaque;

	if (is_refused(machine))
		return false;
	machine->reads++;
	memset(ret, (uint8_t)gpa, len);
	return true;
}

static bool mmio_write(void *opaque, uint64_t gpa, unsigned len, const void *data)
{
	struct machine *machine = opaque;

	(void)gpa;
	(void)len;
	if (is_refused(machine))
		return false;
	machine->last_written = *(const uint8_t *)data;
	if (++machine->writes == machine->attention_at)
		machine->cpu->attention = true;
	return true;
}

static void control_written(void *opaque)
{
	(void)opaque;
}

int machine_setup(void **state)
{
	static const struct cpu_ops ops = {
		.page = find_page,
		.mmio_read = mmio_read,
		.mmio_write = mmio_write,
		.control_written = control_written,
	};
	struct machine *machine = calloc(1, sizeof(*machine));

	*state = machine;
	if (!machine)
		return -1;
	machine->memory = aligned_alloc(PAGE_SIZE, MEMORY_LEN);
	machine->cpu = cpu_new(&ops, machine);
	if (!machine->memory || !machine->cpu)
		return -1;
	memset(machine->memory, 0, MEMORY_LEN);
	machine->cpu->features = (struct cpu_features){.physical_bits = 40, .nx = true};
	return 0;
}

int machine_teardown(void **state)
{
	struct machine *machine = *state;

	machine->cpu = cpu_free(machine->cpu);
	free(machine->memory);
	free(machine);
	return 0;
}

static void put_entry(struct machine *machine, uint64_t table, unsigned n, uint64_t entry)
{
	memcpy(machine->memory + table + 8 * (size_t)n, &entry, sizeof(entry));
}

static void enter_long_mode(struct machine *machine)
{
	struct cpu_state *state = &machine->cpu->state;

	put_entry(machine, PML4, 0, PDPT | TABLE);
	put_entry(machine, PDPT, 0, DIRECTORY | TABLE);
	put_entry(machine, DIRECTORY, 0, LARGE_PAGE);
	put_entry(machine, DIRECTORY, 1, MMIO | LARGE_PAGE);
	state->cr0 = CR0_PE | CR0_PG;
	state->cr3 = PML4;
	state->cr4 = CR4_PAE;
	state->efer = EFER_LME | EFER_LMA;
}

void machine_start(struct machine *machine, enum machine_mode mode, const uint8_t *code,
		   const uint8_t *end)
{
	struct cpu_state *state = &machine->cpu->state;
	uint16_t size = mode == MACHINE_PROTECTED ? SEGMENT_DB | SEGMENT_G : 0;
	uint32_t limit = mode == MACHINE_REAL ? 0xffff : UINT32_MAX;

	memcpy(machine->memory + CODE, code, (size_t)(end - code));
	cpu_reset(state);
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		state->segment[i] = (struct cpu_segment){
			.attributes = SEGMENT_PRESENT | SEGMENT_S | DATA_TYPE | size,
			.limit = limit,
		};
	state->segment[CS].attributes = SEGMENT_PRESENT | SEGMENT_S | CODE_TYPE | size;
	state->rip = CODE;
	switch (mode) {
	case MACHINE_REAL:
		state->segment[CS].selector = CODE / 16;
		state->segment[CS].base = CODE;
		state->rip = 0;
		break;
	case MACHINE_PROTECTED:
		state->cr0 = CR0_PE;
		break;
	case MACHINE_LONG:
		state->segment[CS].attributes |= SEGMENT_L;
		enter_long_mode(machine);
		break;
	}
	state->gpr[RSP] = STACK;
	cpu_flush(machine->cpu);
}

void machine_run(struct machine *machine)
{
	assert_int_equal(cpu_run(machine->cpu, BUDGET), CPU_STOP_HALT);
}
