// SPDX-License-Identifier: GPL-2.0-or-later
#include "platform.h"

#include <stdlib.h>
#include <string.h>

#define HLT 0xf4

uint8_t *platform_view(struct platform *platform, bool encrypted)
{
	return encrypted ? platform->secret : platform->ram;
}

static void page(void *opaque, uint64_t gpa, bool encrypted, struct cpu_page *ret)
{
	struct platform *platform = opaque;

	*ret = (struct cpu_page){0};
	if (gpa >= RAM_LEN)
		return;
	ret->data = platform_view(platform, encrypted) + gpa;
	ret->read_only = platform->read_only && gpa == platform->read_only;
	ret->guard = platform->guard;
}

static void begin_store(void *opaque, const struct cpu_page *guarded)
{
	struct platform *platform = opaque;

	assert_ptr_equal(guarded->guard, platform->guard);
	platform->n_begun++;
}

static void end_store(void *opaque, const struct cpu_page *guarded, unsigned offset, unsigned len)
{
	struct platform *platform = opaque;

	assert_ptr_equal(guarded->guard, platform->guard);
	assert_true(offset + len <= 4096);
	platform->n_ended++;
	assert_int_equal(platform->n_begun, platform->n_ended);
}

static bool mmio(struct platform *platform, uint64_t gpa, unsigned len, bool is_write,
		 uint64_t data)
{
	if (platform->is_pending)
		return false;
	assert_in_range(platform->n_mmio, 0, 15);
	platform->mmio[platform->n_mmio].gpa = gpa;
	platform->mmio[platform->n_mmio].len = len;
	platform->mmio[platform->n_mmio].is_write = is_write;
	platform->mmio[platform->n_mmio++].data = data;
	return true;
}

static bool mmio_read(void *opaque, uint64_t gpa, unsigned len, void *ret)
{
	uint64_t pattern = 0x8877665544332211;

	memcpy(ret, &pattern, len);
	return mmio(opaque, gpa, len, false, 0);
}

static bool mmio_write(void *opaque, uint64_t gpa, unsigned len, const void *data)
{
	uint64_t value = 0;

	memcpy(&value, data, len);
	return mmio(opaque, gpa, len, true, value);
}

static bool port(struct platform *platform, uint16_t number, unsigned size, bool is_write,
		 uint32_t value)
{
	if (platform->is_pending)
		return false;
	assert_in_range(platform->n_ports, 0, 15);
	platform->ports[platform->n_ports].port = number;
	platform->ports[platform->n_ports].size = size;
	platform->ports[platform->n_ports].is_write = is_write;
	platform->ports[platform->n_ports++].value = value;
	return true;
}

static bool pio_in(void *opaque, uint16_t number, unsigned size, uint32_t *ret)
{
	*ret = 0xa5a5a5a5;
	return port(opaque, number, size, false, 0);
}

static bool pio_out(void *opaque, uint16_t number, unsigned size, uint32_t value)
{
	return port(opaque, number, size, true, value);
}

static bool rdmsr(void *opaque, uint32_t msr, uint64_t *ret)
{
	struct platform *platform = opaque;

	platform->msr = msr;
	*ret = platform->msr_value;
	return msr != 0xdead;
}

static bool wrmsr(void *opaque, uint32_t msr, uint64_t value)
{
	struct platform *platform = opaque;

	platform->msr = msr;
	platform->msr_value = value;
	return msr != 0xdead;
}

static void cpuid(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	(void)opaque;
	ret[0] = leaf;
	ret[1] = subleaf;
	ret[2] = ret[3] = 0;
	if (leaf == 0xd && subleaf == 0)
		ret[0] = 7;
}

static uint64_t tsc(void *opaque)
{
	(void)opaque;
	return 0x123456789;
}

static void control_written(void *opaque)
{
	struct platform *platform = opaque;

	platform->n_controls++;
}

static const struct cpu_ops ops = {
	.page = page,
	.begin_store = begin_store,
	.end_store = end_store,
	.mmio_read = mmio_read,
	.mmio_write = mmio_write,
	.pio_in = pio_in,
	.pio_out = pio_out,
	.rdmsr = rdmsr,
	.wrmsr = wrmsr,
	.cpuid = cpuid,
	.tsc = tsc,
	.control_written = control_written,
};

int platform_setup(void **state)
{
	struct platform *platform = calloc(1, sizeof(*platform));

	platform->ram = aligned_alloc(4096, RAM_LEN);
	platform->secret = aligned_alloc(4096, RAM_LEN);
	memset(platform->ram, 0, RAM_LEN);
	memset(platform->secret, 0, RAM_LEN);
	platform->cpu = cpu_new(&ops, platform);
	if (!platform->cpu)
		return -1;
	platform->cpu->features = (struct cpu_features){
		.physical_bits = 48,
		.nx = true,
		.la57 = true,
		.gb_pages = true,
		.pcid = true,
		.smep = true,
		.smap = true,
		.pku = true,
		.fsgsbase = true,
		.umip = true,
		.rdtscp = true,
		.xsave = true,
		.avx = true,
	};
	*state = platform;
	return 0;
}

struct cpu *platform_clone(struct platform *platform)
{
	struct cpu *cpu = cpu_new(&ops, platform);

	assert_non_null(cpu);
	cpu->state = platform->cpu->state;
	cpu->features = platform->cpu->features;
	return cpu;
}

int platform_teardown(void **state)
{
	struct platform *platform = *state;

	(void)cpu_free(platform->cpu);
	free(platform->ram);
	free(platform->secret);
	free(platform);
	return 0;
}

/* To both memories: tests that care write to one themselves. */
static void put(struct platform *platform, uint64_t gpa, const void *data, size_t len)
{
	memcpy(platform->ram + gpa, data, len);
	memcpy(platform->secret + gpa, data, len);
}

void put16(struct platform *platform, uint64_t gpa, uint16_t value)
{
	put(platform, gpa, &value, sizeof(value));
}

void put32(struct platform *platform, uint64_t gpa, uint32_t value)
{
	put(platform, gpa, &value, sizeof(value));
}

void put64(struct platform *platform, uint64_t gpa, uint64_t value)
{
	put(platform, gpa, &value, sizeof(value));
}

uint64_t get64(struct platform *platform, uint64_t gpa)
{
	uint64_t value;

	memcpy(&value, platform_view(platform, platform->cpu->c_bit) + gpa, sizeof(value));
	return value;
}

uint32_t get32(struct platform *platform, uint64_t gpa)
{
	return (uint32_t)get64(platform, gpa);
}

uint16_t get16(struct platform *platform, uint64_t gpa)
{
	return (uint16_t)get64(platform, gpa);
}

/* Level 4 at TABLES, then level 3, level 2, and 4 of level 1. */
uint64_t platform_pte(uint64_t linear)
{
	return TABLES + 0x3000 + linear / 4096 * 8;
}

static void make_tables(struct platform *platform, uint64_t flags)
{
	uint64_t above = PTE_P | PTE_W | PTE_U | (flags & C_BIT);

	put64(platform, TABLES, (TABLES + 0x1000) | above);
	put64(platform, TABLES + 0x1000, (TABLES + 0x2000) | above);
	for (unsigned i = 0; i < 4; i++)
		put64(platform, TABLES + 0x2000 + 8 * i, (TABLES + 0x3000 + 0x1000 * i) | above);
	/* And something that is not memory, where the fifth would be. */
	put64(platform, TABLES + 0x2000 + 8 * 4, MMIO | above | PTE_PS);
	for (uint64_t gpa = 0; gpa < RAM_LEN; gpa += 4096)
		put64(platform, platform_pte(gpa), gpa | flags);
}

static void make_gdt(struct platform *platform)
{
	static const uint64_t gdt[] = {
		0,
		0x00af9b000000ffff, /* 64-bit code */
		0x00cf93000000ffff, /* data */
		0x00cffb000000ffff, /* 32-bit code, DPL 3 */
		0x00cff3000000ffff, /* data, DPL 3 */
		0x00affb000000ffff, /* 64-bit code, DPL 3 */
		0x00cf9b000000ffff, /* 32-bit code */
		0,
		0x0000890000000067 | (TSS & 0xffffff) << 16, /* TSS, upper half 0 */
		0,
	};

	put(platform, GDT, gdt, sizeof(gdt));
	platform->cpu->state.gdtr = (struct cpu_table){.base = GDT, .limit = sizeof(gdt) - 1};
	platform->cpu->state.idtr = (struct cpu_table){.base = IDT, .limit = 0xfff};
	platform->cpu->state.tr = (struct cpu_segment){
		.selector = TSS_SELECTOR, .attributes = 0x8b, .limit = 0x67, .base = TSS};
}

static void set_segments(struct cpu_state *state, uint16_t cs, uint16_t cs_attributes)
{
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		state->segment[i] = (struct cpu_segment){
			.selector = KERNEL_DS, .attributes = 0xc93, .limit = UINT32_MAX};
	state->segment[CS] = (struct cpu_segment){
		.selector = cs, .attributes = cs_attributes, .limit = UINT32_MAX};
	state->cpl = 0;
}

static void make_handlers(struct platform *platform)
{
	memset(platform->ram + HANDLERS, HLT, 16 * 256);
	memset(platform->secret + HANDLERS, HLT, 16 * 256);
	for (unsigned vector = 0; vector < 256; vector++)
		platform_gate(platform, vector, 0x8e, 0);
}

void platform_long(struct platform *platform, uint64_t flags)
{
	struct cpu_state *state = &platform->cpu->state;

	make_tables(platform, flags);
	make_gdt(platform);
	set_segments(state, KERNEL_CS, 0xa9b);
	state->cr3 = TABLES;
	state->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE;
	state->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	state->cr0 = CR0_PG | CR0_PE | CR0_WP | 1 << 4;
	state->rip = CODE;
	state->gpr[RSP] = STACK;
	put64(platform, TSS + 4, KERNEL_STACK);
	put64(platform, TSS + 0x24, IST_STACK);
	make_handlers(platform);
	cpu_flush(platform->cpu);
}

void platform_32(struct platform *platform)
{
	struct cpu_state *state = &platform->cpu->state;

	make_gdt(platform);
	set_segments(state, KERNEL_CS_32, 0xc9b);
	state->cr0 = CR0_PE | CR0_WP | 1 << 4;
	state->rip = CODE;
	state->gpr[RSP] = STACK;
	put32(platform, TSS + 4, KERNEL_STACK);
	put32(platform, TSS + 8, KERNEL_DS);
	make_handlers(platform);
	cpu_flush(platform->cpu);
}

void platform_gate(struct platform *platform, unsigned vector, unsigned type_and_dpl, unsigned ist)
{
	uint64_t offset = HANDLERS + 16 * vector;
	uint64_t low =
		(offset & 0xffff) | (uint64_t)type_and_dpl << 40 | (offset & 0xffff0000) << 32;

	if (is_long_mode(platform->cpu)) {
		put64(platform, IDT + 16 * vector, low | KERNEL_CS << 16 | (uint64_t)ist << 32);
		put64(platform, IDT + 16 * vector + 8, 0);
	} else {
		put64(platform, IDT + 8 * vector, low | KERNEL_CS_32 << 16);
	}
}

void platform_user(struct platform *platform)
{
	struct cpu_state *state = &platform->cpu->state;

	state->segment[CS].selector = USER_CS | 3;
	state->segment[CS].attributes = 0xafb;
	state->segment[SS].selector = USER_DS | 3;
	state->segment[SS].attributes = 0xcf3;
	state->cpl = 3;
}

void platform_write_code(struct platform *platform, const uint8_t *code, size_t len)
{
	const struct cpu_state *state = &platform->cpu->state;

	put(platform, state->rip + (is_64bit(platform->cpu) ? 0 : state->segment[CS].base), code,
	    len);
	cpu_flush(platform->cpu);
}

enum cpu_stop platform_run(struct platform *platform, unsigned instructions)
{
	return cpu_run(platform->cpu, instructions);
}

void platform_expect(struct platform *platform, unsigned vector)
{
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.rip, HANDLERS + 16 * vector);
}

void platform_expect_error(struct platform *platform, unsigned vector, uint32_t error)
{
	platform_expect(platform, vector);
	assert_int_equal(get32(platform, platform->cpu->state.gpr[RSP]), error);
}
