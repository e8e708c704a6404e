// SPDX-License-Identifier: GPL-2.0-or-later
/* Page tables of all formats: rights, error codes, A and D, reserved bits, the C-bit, the TLB. */
#include <pthread.h>
#include <string.h>

#include "platform.h"

#define ALL	      (PTE_P | PTE_W | PTE_U)
#define LOCKED_ROUNDS 200000u

#define PF_P  0x01u
#define PF_W  0x02u
#define PF_U  0x04u
#define PF_R  0x08u
#define PF_I  0x10u
#define PF_PK 0x20u

/* mov (%rdi), %rax / mov %rax, (%rdi) / jmp *%rdi */
#define LOAD  0x48, 0x8b, 0x07
#define STORE 0x48, 0x89, 0x07
#define JUMP  0xff, 0xe7

static void expect_pf(struct platform *platform, uint64_t address, uint32_t error)
{
	platform_expect_error(platform, VECTOR_PF, error);
	assert_int_equal(platform->cpu->state.cr2, address);
}

static void set_pte(struct platform *platform, uint64_t linear, uint64_t pte)
{
	put64(platform, platform_pte(linear), pte);
	cpu_flush(platform->cpu);
}

/* The handler's frame may be on pages that are the supervisor's. */
static void make_user(struct platform *platform)
{
	platform_long(platform, ALL);
	platform_user(platform);
}

static void test_not_present(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_pte(platform, DATA, 0);
	platform->cpu->state.gpr[RDI] = DATA + 8;
	platform_code(platform, LOAD);
	expect_pf(platform, DATA + 8, 0);
}

static void test_not_present_upper(void **state)
{
	struct platform *platform = *state;

	make_user(platform);
	platform->cpu->state.gpr[RDI] = 1ull << 40;
	platform_code(platform, STORE);
	expect_pf(platform, 1ull << 40, PF_W | PF_U);
}

static void test_user(void **state)
{
	struct platform *platform = *state;

	make_user(platform);
	set_pte(platform, DATA, DATA | PTE_P | PTE_W);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, LOAD);
	expect_pf(platform, DATA, PF_P | PF_U);
}

static void test_write(void **state)
{
	struct platform *platform = *state;

	make_user(platform);
	set_pte(platform, DATA, DATA | PTE_P | PTE_U);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, LOAD, STORE);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.rip, CODE + 3);
	expect_pf(platform, DATA, PF_P | PF_W | PF_U);
}

static void test_wp(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_pte(platform, DATA, DATA | PTE_P | PTE_U);
	platform->cpu->state.gpr[RDI] = DATA;
	platform->cpu->state.gpr[RAX] = 7;
	platform_code(platform, STORE, STORE);
	platform->cpu->state.cr0 &= ~CR0_WP;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(get64(platform, DATA), 7);
	platform->cpu->state.cr0 |= CR0_WP;
	cpu_flush(platform->cpu);
	expect_pf(platform, DATA, PF_P | PF_W);
}

static void test_nx(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_pte(platform, DATA, DATA | ALL | PTE_NX);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, JUMP);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	expect_pf(platform, DATA, PF_P | PF_I);
}

/* Without EFER.NXE the bit is reserved, and fetches are not told apart. */
static void test_nx_off(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_pte(platform, DATA, DATA | ALL | PTE_NX);
	platform->cpu->state.efer &= ~EFER_NXE;
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, JUMP);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	expect_pf(platform, DATA, PF_P | PF_R);
}

static void test_smep(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, PTE_P | PTE_W);
	set_pte(platform, DATA, DATA | ALL);
	platform->cpu->state.cr4 |= CR4_SMEP;
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, JUMP);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	expect_pf(platform, DATA, PF_P | PF_I);
}

static void test_smap(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, PTE_P | PTE_W);
	set_pte(platform, DATA, DATA | ALL);
	platform->cpu->state.cr4 |= CR4_SMAP;
	platform->cpu->state.gpr[RDI] = DATA;
	/* stac; load; clac; load */
	platform_code(platform, 0x0f, 0x01, 0xcb, LOAD, 0x0f, 0x01, 0xca, LOAD);
	assert_int_equal(platform_run(platform, 3), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.rip, CODE + 9);
	expect_pf(platform, DATA, PF_P);
}

static void test_protection_key(void **state)
{
	struct platform *platform = *state;

	make_user(platform);
	platform->cpu->state.cr4 |= CR4_PKE;
	set_pte(platform, DATA, DATA | ALL | 3ull << 59);
	platform->cpu->state.gpr[RDI] = DATA;
	/* load; mov $0x80, %eax; wrpkru; load; store: key 3 is not written to */
	platform_code(platform, LOAD, 0xb8, 0x80, 0, 0, 0, 0x0f, 0x01, 0xef, LOAD, STORE);
	assert_int_equal(platform_run(platform, 4), CPU_STOP_BUDGET);
	expect_pf(platform, DATA, PF_P | PF_W | PF_U | PF_PK);
}

/* XRSTOR loads keys, too. */
static void test_protection_key_by_xrstor(void **state)
{
	struct platform *platform = *state;

	make_user(platform);
	platform->cpu->state.cr4 |= CR4_PKE;
	platform->cpu->state.xcr0 = 0x203;
	set_pte(platform, DATA, DATA | ALL | 3ull << 59);
	put64(platform, DATA + 0x1000 + 512, 0x200);
	put32(platform, DATA + 0x1000 + 832, 0x40);
	platform->cpu->state.gpr[RDI] = DATA;
	platform->cpu->state.gpr[RSI] = DATA + 0x1000;
	/* load; mov $0x200, %eax; xrstor (%rsi); load */
	platform_code(platform, LOAD, 0xb8, 0, 2, 0, 0, 0x0f, 0xae, 0x2e, LOAD);
	platform->cpu->state.gpr[RDX] = 0;
	assert_int_equal(platform_run(platform, 3), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.pkru, 0x40);
	expect_pf(platform, DATA, PF_P | PF_U | PF_PK);
}

static void test_reserved(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_pte(platform, DATA, DATA | ALL | 1ull << 48);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, LOAD);
	expect_pf(platform, DATA, PF_P | PF_R);
}

static void test_reserved_in_large_page(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	put64(platform, TABLES + 0x2000 + 8 * (DATA >> 21), DATA | ALL | PTE_PS | 1 << 13);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, LOAD);
	expect_pf(platform, DATA, PF_P | PF_R);
}

static void test_large_pages(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	/* 2 MiB to the next ones; 1 GiB, from the second GiB to the first. */
	put64(platform, TABLES + 0x2000 + 8 * (DATA >> 21), (DATA + 0x200000) | ALL | PTE_PS);
	put64(platform, TABLES + 0x1000 + 8, ALL | PTE_PS);
	put64(platform, DATA + 0x200000 + 0x12340, 0x1111);
	put64(platform, DATA + 0x23450, 0x2222);
	platform->cpu->state.gpr[RDI] = DATA + 0x12340;
	platform_code(platform, LOAD, LOAD);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.gpr[RAX], 0x1111);
	platform->cpu->state.gpr[RDI] = (1ull << 30) + DATA + 0x23450;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.gpr[RAX], 0x2222);
}

/* The same tables below one more level. */
static void test_five_levels(void **state)
{
	struct platform *platform = *state;
	uint64_t high = 1ull << 50;

	platform_long(platform, ALL);
	put64(platform, TABLES + 0x8000, TABLES | ALL);
	put64(platform, TABLES + 0x8000 + 8 * (high >> 48), TABLES | ALL);
	put64(platform, DATA, 0x3333);
	platform->cpu->state.cr3 = TABLES + 0x8000;
	platform->cpu->state.cr4 |= CR4_LA57;
	platform->cpu->state.gpr[RDI] = high + DATA;
	platform_code(platform, LOAD, LOAD);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.gpr[RAX], 0x3333);
	platform->cpu->state.gpr[RDI] = 1ull << 56;
	platform_expect_error(platform, VECTOR_GP, 0);
}

static void test_not_canonical(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->state.gpr[RDI] = 1ull << 47;
	platform_code(platform, LOAD);
	platform_expect_error(platform, VECTOR_GP, 0);
}

static void test_accessed_and_dirty(void **state)
{
	struct platform *platform = *state;
	uint64_t pte = platform_pte(DATA);

	platform_long(platform, ALL);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, LOAD, STORE);
	assert_int_equal(get64(platform, pte), DATA | ALL);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(get64(platform, pte), DATA | ALL | PTE_A);
	assert_int_equal(get64(platform, TABLES), (TABLES + 0x1000) | ALL | PTE_A);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(get64(platform, pte), DATA | ALL | PTE_A | PTE_D);
	assert_int_equal(get64(platform, TABLES), (TABLES + 0x1000) | ALL | PTE_A);
}

/* What faults does not mark. */
static void test_fault_is_not_dirty(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_pte(platform, DATA, DATA | PTE_P | PTE_U);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, STORE);
	expect_pf(platform, DATA, PF_P | PF_W);
	assert_int_equal(get64(platform, platform_pte(DATA)), DATA | PTE_P | PTE_U);
}

/* A store that faults in its second page has not written to the first. */
static void test_crossing(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_pte(platform, DATA + 4096, 0);
	put32(platform, DATA + 4092, 0x55555555);
	platform->cpu->state.gpr[RDI] = DATA + 4092;
	platform->cpu->state.gpr[RAX] = 0x1122334455667788;
	platform_code(platform, STORE);
	expect_pf(platform, DATA + 4096, PF_W);
	assert_int_equal(get32(platform, DATA + 4092), 0x55555555);

	set_pte(platform, DATA + 4096, (DATA + 0x8000) | ALL);
	platform->cpu->state.rip = CODE;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(get32(platform, DATA + 4092), 0x55667788);
	assert_int_equal(get32(platform, DATA + 0x8000), 0x11223344);
}

/* Hardware keeps a translation until it is told; one that forbids too much is looked up again. */
static void test_tlb(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	put64(platform, DATA, 1);
	put64(platform, DATA + 0x1000, 2);
	platform->cpu->state.gpr[RDI] = DATA;
	/* load; load; invlpg (%rdi); load */
	platform_code(platform, LOAD, LOAD, 0x0f, 0x01, 0x3f, LOAD, STORE);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	put64(platform, platform_pte(DATA), (DATA + 0x1000) | PTE_P);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.gpr[RAX], 1);
	assert_int_equal(platform_run(platform, 2), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.gpr[RAX], 2);
	put64(platform, platform_pte(DATA), (DATA + 0x1000) | ALL);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.rip, CODE + 15);
}

/* CR3 leaves global pages alone, CR4.PGE does not. */
static void test_global(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->state.cr4 |= CR4_PGE;
	set_pte(platform, DATA, DATA | ALL | 1 << 8);
	put64(platform, DATA, 1);
	put64(platform, DATA + 0x2000, 1);
	platform->cpu->state.gpr[RDI] = DATA;
	platform->cpu->state.gpr[RSI] = DATA + 0x2000;
	/* mov (%rsi), %rdx; load; mov %cr3, %rbx; mov %rbx, %cr3; load; mov (%rsi), %rdx;
	 * mov %rcx, %cr4; load */
	platform_code(platform, 0x48, 0x8b, 0x16, LOAD, 0x0f, 0x20, 0xdb, 0x0f, 0x22, 0xdb, LOAD,
		      0x48, 0x8b, 0x16, 0x0f, 0x22, 0xe1, LOAD);
	assert_int_equal(platform_run(platform, 2), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.gpr[RDX], 1);
	put64(platform, platform_pte(DATA), (DATA + 0x1000) | ALL);
	put64(platform, platform_pte(DATA + 0x2000), (DATA + 0x1000) | ALL);
	assert_int_equal(platform_run(platform, 4), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.gpr[RAX], 1);
	assert_int_equal(platform->cpu->state.gpr[RDX], 0);
	platform->cpu->state.gpr[RCX] = platform->cpu->state.cr4 & ~CR4_PGE;
	assert_int_equal(platform_run(platform, 2), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.gpr[RAX], 0);
}

static void test_32bit(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_32(platform);
	/* 4 MiB pages: the first, and the second mapped to it; then a table with a page of 4 KiB.
	 */
	put32(platform, TABLES, ALL | PTE_PS);
	put32(platform, TABLES + 4, ALL | PTE_PS);
	put32(platform, TABLES + 8, (TABLES + 0x1000) | ALL);
	put32(platform, TABLES + 0x1000, CODE | PTE_P | PTE_U);
	cpu->cr3 = TABLES;
	cpu->cr4 = CR4_PSE;
	cpu->cr0 |= CR0_PG;
	put32(platform, 0x3abc00, 0x4444);
	cpu->gpr[RDI] = 0x400000 + 0x3abc00;
	platform_code(platform, 0x8b, 0x07, 0x8b, 0x07, 0x89, 0x07);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->gpr[RAX], 0x4444);
	cpu->gpr[RDI] = 0x800000;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->gpr[RAX], 0x078b078b);
	expect_pf(platform, 0x800000, PF_P | PF_W);
}

static void test_pae(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_32(platform);
	put64(platform, TABLES + 0x20, (TABLES + 0x1000) | PTE_P);
	put64(platform, TABLES + 0x28, (TABLES + 0x1000) | PTE_P | PTE_W);
	for (uint64_t gpa = 0; gpa < RAM_LEN; gpa += 2 << 20)
		put64(platform, TABLES + 0x1000 + (gpa >> 21) * 8, gpa | PTE_P | PTE_W | PTE_PS);
	put64(platform, TABLES + 0x1000 + (DATA >> 21) * 8, DATA | ALL | PTE_PS | PTE_NX);
	cpu->cr3 = TABLES + 0x20;
	cpu->cr4 = CR4_PAE;
	cpu->efer = EFER_NXE;
	cpu->cr0 |= CR0_PG;
	put32(platform, DATA, 0x5555);
	cpu->gpr[RDI] = DATA;
	platform_code(platform, 0x8b, 0x07, 0x8b, 0x07, 0xff, 0xe7);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(cpu->gpr[RAX], 0x5555);
	/* The second gigabyte's entry has a reserved bit. */
	cpu->gpr[RDI] = 1u << 30;
	expect_pf(platform, 1u << 30, PF_P | PF_R);
	/* What long mode leaves to software is reserved here. */
	put64(platform, TABLES + 0x1000 + (DATA >> 21) * 8, DATA | ALL | PTE_PS | 1ull << 52);
	cpu_flush(platform->cpu);
	cpu->rip = CODE + 2;
	cpu->gpr[RDI] = DATA;
	expect_pf(platform, DATA, PF_P | PF_R);
	put64(platform, TABLES + 0x1000 + (DATA >> 21) * 8, DATA | ALL | PTE_PS | PTE_NX);
	cpu->rip = CODE + 4;
	cpu->gpr[RDI] = DATA;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	expect_pf(platform, DATA, PF_P | PF_I);
}

/* Tables and code are always read encrypted, data where the entry says so. */
static void test_c_bit(void **state)
{
	struct platform *platform = *state;

	platform->cpu->c_bit = C_BIT;
	platform_long(platform, ALL | C_BIT);
	memset(platform->ram, 0xcc, RAM_LEN);
	memcpy(platform->secret + DATA, "encrypt", 8);
	memcpy(platform->ram + DATA, "visible", 8);
	memcpy(platform->ram + DATA + 4096, "visible", 8);
	platform->cpu->state.gpr[RDI] = DATA;
	platform->cpu->state.cr3 |= C_BIT;
	platform_code(platform, LOAD, LOAD, LOAD);
	memset(platform->ram + CODE, 0xcc, 4096);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_memory_equal(&platform->cpu->state.gpr[RAX], "encrypt", 8);
	put64(platform, platform_pte(DATA), DATA | ALL);
	cpu_flush(platform->cpu);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_memory_equal(&platform->cpu->state.gpr[RAX], "visible", 8);
	/* Code through an entry without the bit. */
	put64(platform, platform_pte(CODE), CODE | ALL);
	cpu_flush(platform->cpu);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.rip, CODE + 9);
}

/* Where there is no encryption the bit is one of the address. */
static void test_no_c_bit(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	platform->cpu->features.physical_bits = 46;
	set_pte(platform, DATA, DATA | ALL | C_BIT);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, LOAD);
	expect_pf(platform, DATA, PF_P | PF_R);
}

static void test_c_bit_without_paging(void **state)
{
	struct platform *platform = *state;

	platform->cpu->c_bit = C_BIT;
	platform_32(platform);
	memcpy(platform->secret + DATA, "enc", 4);
	memcpy(platform->ram + DATA, "vis", 4);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, 0x8b, 0x07);
	memcpy(platform->ram + DATA, "vis", 4);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_memory_equal(&platform->cpu->state.gpr[RAX], "enc", 4);
}

/* Entries of 32 bits have no place for it. */
static void test_c_bit_in_32bit(void **state)
{
	struct platform *platform = *state;

	platform->cpu->c_bit = C_BIT;
	platform_32(platform);
	put32(platform, TABLES, ALL | PTE_PS);
	put32(platform, TABLES + 4, DATA | ALL | PTE_PS);
	platform->cpu->state.cr3 = TABLES;
	platform->cpu->state.cr4 = CR4_PSE;
	platform->cpu->state.cr0 |= CR0_PG;
	memcpy(platform->secret + DATA, "enc", 4);
	memcpy(platform->ram + DATA, "vis", 4);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, 0x8b, 0x07);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_memory_equal(&platform->cpu->state.gpr[RAX], "enc", 4);
}

static void test_guard(void **state)
{
	struct platform *platform = *state;

	platform->guard = platform;
	platform_long(platform, ALL);
	platform->cpu->state.gpr[RDI] = DATA;
	platform->cpu->state.gpr[RAX] = 0x77;
	/* store; lock incq (%rdi); store */
	platform_code(platform, STORE, 0xf0, 0x48, 0xff, 0x07, STORE);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(get64(platform, DATA), 0x77);
	/* A in 4 levels for code, A and D in the 2 that are others for data, and the store. */
	assert_int_equal(platform->n_begun, 7);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(get64(platform, DATA), 0x78);
	assert_int_equal(platform->n_begun, 8);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->n_begun, 9);
	assert_int_equal(platform->n_ended, 9);
}

static void test_mmio(void **state)
{
	struct platform *platform = *state;
	uint64_t linear = RAM_LEN;

	platform_long(platform, ALL);
	platform->cpu->state.gpr[RDI] = linear + 5;
	platform_code(platform, LOAD, STORE, LOAD);
	platform->is_pending = true;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_PENDING);
	assert_int_equal(platform->cpu->state.rip, CODE);
	platform->is_pending = false;
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->n_mmio, 2);
	assert_int_equal(platform->mmio[0].gpa, MMIO + 5);
	assert_int_equal(platform->mmio[0].len, 3);
	assert_int_equal(platform->mmio[1].gpa, MMIO + 8);
	assert_int_equal(platform->mmio[1].len, 5);
	assert_int_equal(platform->cpu->state.gpr[RAX], 0x5544332211332211);
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(platform->n_mmio, 4);
	assert_true(platform->mmio[3].is_write);
	assert_int_equal(platform->mmio[3].data, 0x5544332211);
}

static void test_read_only(void **state)
{
	struct platform *platform = *state;

	platform->read_only = DATA;
	platform_long(platform, ALL);
	put64(platform, DATA, 0x99);
	platform->cpu->state.gpr[RDI] = DATA;
	platform_code(platform, LOAD, STORE, STORE);
	assert_int_equal(platform_run(platform, 3), CPU_STOP_BUDGET);
	assert_int_equal(platform->n_mmio, 2);
	assert_true(platform->mmio[0].is_write);
	assert_int_equal(platform->mmio[0].gpa, DATA);
	assert_int_equal(platform->mmio[0].data, 0x99);
}

/* Stores into code, by another address, are seen by the instructions that follow. */
static void test_own_code(void **state)
{
	struct platform *platform = *state;

	platform_long(platform, ALL);
	set_pte(platform, DATA, CODE | ALL);
	platform->cpu->state.gpr[RDI] = DATA;
	platform->cpu->state.gpr[RBX] = 100;
	/* mov %ebx, 16(%rdi), where `mov $1, %eax` is; jmp there, twice */
	platform_code(platform, 0x89, 0x5f, 0x11, 0xeb, 0x0b, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
		      0x90, 0x90, 0x90, 0x90, 0x90, 0xb8, 1, 0, 0, 0, 0xeb, 0xe9);
	assert_int_equal(platform_run(platform, 3), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.gpr[RAX], 100);
	platform->cpu->state.gpr[RBX] = 200;
	assert_int_equal(platform_run(platform, 4), CPU_STOP_BUDGET);
	assert_int_equal(platform->cpu->state.gpr[RAX], 200);
}

/* A page that was stored to before it had code. */
static void test_page_becomes_code(void **state)
{
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;
	static const uint8_t patched[] = {0xbb, 0,    0,   0,
					  0,	0xff, 0xe2}; /* mov $0, %ebx; jmp *%rdx */

	platform_long(platform, ALL);
	memcpy(platform->ram + DATA, patched, sizeof(patched));
	platform_code(platform, 0x89, 0x07, 0xff, 0xe6); /* mov %eax, (%rdi); jmp *%rsi */
	cpu->gpr[RSI] = DATA;
	cpu->gpr[RDI] = DATA + 1;
	cpu->gpr[RDX] = CODE;
	for (unsigned i = 1; i < 4; i++) {
		cpu->gpr[RAX] = i;
		assert_int_equal(platform_run(platform, 4), CPU_STOP_BUDGET);
		assert_int_equal(cpu->gpr[RBX], i);
	}
}

/* LOCK, aligned or not, within a page and over its end; CMPXCHG16B. */
static void test_locked(void **state)
{
	static const uint64_t offsets[] = {0, 1, 61, 0xff9};
	struct platform *platform = *state;
	struct cpu_state *cpu = &platform->cpu->state;

	platform_long(platform, ALL);
	cpu->gpr[RAX] = 0x0101010101010101;
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		put64(platform, DATA + offsets[i], 0x0101010101010102);
		cpu->gpr[RDI] = DATA + offsets[i];
		cpu->rip = CODE;
		platform_code(platform, 0xf0, 0x48, 0x01, 0x07); /* lock add %rax, (%rdi) */
		assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
		assert_int_equal(get64(platform, DATA + offsets[i]), 0x0202020202020203);
	}
	put64(platform, DATA, 1);
	put64(platform, DATA + 8, 2);
	cpu->gpr[RDI] = DATA;
	cpu->gpr[RAX] = 1;
	cpu->gpr[RDX] = 2;
	cpu->gpr[RBX] = 3;
	cpu->gpr[RCX] = 4;
	cpu->rip = CODE;
	platform_code(platform, 0xf0, 0x48, 0x0f, 0xc7, 0x0f); /* lock cmpxchg16b (%rdi) */
	assert_int_equal(platform_run(platform, 1), CPU_STOP_BUDGET);
	assert_int_equal(get64(platform, DATA), 3);
	assert_int_equal(get64(platform, DATA + 8), 4);
}

static void *run_loop(void *cpu)
{
	(void)cpu_run(cpu, 2 * LOCKED_ROUNDS);
	return NULL;
}

/* Two CPUs at once; the locked word is not aligned. */
static void test_locked_by_two(void **state)
{
	struct platform *platform = *state;
	struct cpu *other;
	pthread_t thread;

	platform_long(platform, ALL);
	platform->cpu->state.gpr[RDI] = DATA + 3;
	platform_code(platform, 0xf0, 0x48, 0xff, 0x07, 0xeb, 0xfa); /* lock incq (%rdi); jmp */
	other = platform_clone(platform);
	assert_int_equal(pthread_create(&thread, NULL, run_loop, other), 0);
	(void)run_loop(platform->cpu);
	(void)pthread_join(thread, NULL);
	(void)cpu_free(other);
	assert_int_equal(get64(platform, DATA + 3), 2 * LOCKED_ROUNDS);
}

static void test_translate(void **state)
{
	struct platform *platform = *state;
	uint64_t gpa;
	bool writable, user;

	platform_long(platform, ALL);
	set_pte(platform, DATA, (DATA + 0x3000) | PTE_P | PTE_U);
	assert_true(cpu_translate(platform->cpu, DATA + 5, &gpa, &writable, &user));
	assert_int_equal(gpa, DATA + 0x3005);
	assert_false(writable);
	assert_true(user);
	assert_false(cpu_translate(platform->cpu, 1ull << 40, &gpa, &writable, &user));
	assert_int_equal(get64(platform, platform_pte(DATA)), (DATA + 0x3000) | PTE_P | PTE_U);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, platform_setup, platform_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_not_present),
		TEST(test_not_present_upper),
		TEST(test_user),
		TEST(test_write),
		TEST(test_wp),
		TEST(test_nx),
		TEST(test_nx_off),
		TEST(test_smep),
		TEST(test_smap),
		TEST(test_protection_key),
		TEST(test_protection_key_by_xrstor),
		TEST(test_reserved),
		TEST(test_reserved_in_large_page),
		TEST(test_large_pages),
		TEST(test_five_levels),
		TEST(test_not_canonical),
		TEST(test_accessed_and_dirty),
		TEST(test_fault_is_not_dirty),
		TEST(test_crossing),
		TEST(test_tlb),
		TEST(test_global),
		TEST(test_32bit),
		TEST(test_pae),
		TEST(test_c_bit),
		TEST(test_no_c_bit),
		TEST(test_c_bit_without_paging),
		TEST(test_c_bit_in_32bit),
		TEST(test_guard),
		TEST(test_mmio),
		TEST(test_read_only),
		TEST(test_own_code),
		TEST(test_page_becomes_code),
		TEST(test_locked),
		TEST(test_locked_by_two),
		TEST(test_translate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
