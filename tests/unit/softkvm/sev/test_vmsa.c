// SPDX-License-Identifier: GPL-2.0-or-later
/* The VMSA: what is measured, what the guest gets of it and what comes back. */
#include "es_guest.h"

#include <errno.h>
#include <string.h>

/* A vCPU after reset, as QEMU has it, with a family of its own in RDX. */
static void reset(struct cpu_state *state)
{
	const struct cpu_segment data = {.attributes = 0x93, .limit = 0xffff};

	memset(state, 0, sizeof(*state));
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		state->segment[i] = data;
	state->segment[CS] = (struct cpu_segment){
		.selector = 0xf000, .attributes = 0x9b, .limit = 0xffff, .base = 0xffff0000};
	state->ldtr = (struct cpu_segment){.attributes = 0x82, .limit = 0xffff};
	state->tr = (struct cpu_segment){.attributes = 0x8b, .limit = 0xffff};
	state->gdtr.limit = state->idtr.limit = 0xffff;
	state->cr0 = 0x60000010;
	state->dr6 = 0xffff0ff0;
	state->dr7 = 0x400;
	state->rflags = 2;
	state->rip = 0xfff0;
	state->pat = 0x0007040600070406;
	state->gpr[RDX] = 0x800f12;
	state->xcr0 = 1;
	state->cr2 = 0x1234;
	state->fpu.mxcsr = 0x1f80;
	state->fpu.fcw = 0x37f;
}

/* A row: so many bytes at offset. */
struct row {
	unsigned offset, len;
	uint64_t value;
};

static void put_rows(uint8_t page[4096], const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memcpy(page + rows[i].offset, &rows[i].value, rows[i].len);
}

/* What a guest owner expects to be measured: every byte. */
static void test_reset(void **state)
{
	static const struct row rows[] = {
		{0x002, 2, 0x93},	{0x004, 4, 0xffff},
		{0x010, 2, 0xf000},	{0x012, 2, 0x9b},
		{0x014, 4, 0xffff},	{0x018, 8, 0xffff0000},
		{0x022, 2, 0x93},	{0x024, 4, 0xffff},
		{0x032, 2, 0x93},	{0x034, 4, 0xffff},
		{0x042, 2, 0x93},	{0x044, 4, 0xffff},
		{0x052, 2, 0x93},	{0x054, 4, 0xffff},
		{0x064, 4, 0xffff},	{0x072, 2, 0x82},
		{0x074, 4, 0xffff},	{0x084, 4, 0xffff},
		{0x092, 2, 0x8b},	{0x094, 4, 0xffff},
		{0x0d0, 8, 0x1000},	{0x148, 8, 0x40},
		{0x158, 8, 0x10},	{0x160, 8, 0x400},
		{0x168, 8, 0xffff0ff0}, {0x170, 8, 2},
		{0x178, 8, 0xfff0},	{0x268, 8, 0x0007040600070406},
		{0x310, 8, 0x800f12},	{0x3e8, 8, 1},
	};
	static const struct row fpu_rows[] = {{0x408, 4, 0x1f80}, {0x410, 2, 0x37f}};
	uint8_t page[4096], expected[4096] = {0};
	struct es_guest *g = *state;

	reset(&g->vcpu.cpu->state);
	put_rows(expected, rows, sizeof(rows) / sizeof(rows[0]));
	memset(page, 0xee, sizeof(page));
	assert_int_equal(vmsa_build(&g->vcpu, page), 0);
	assert_memory_equal(page, expected, sizeof(page));

	/* Of VMs of a type the FPU is measured, too, and what INIT2 has asked for. */
	g->vm.type = SEV_VM_SEV_ES;
	g->vm.sev.vmsa_features = 0x20;
	expected[0x3b0] = 0x20;
	put_rows(expected, fpu_rows, 2);
	assert_int_equal(vmsa_build(&g->vcpu, page), 0);
	assert_memory_equal(page, expected, sizeof(page));

	g->vcpu.cpu->state.dr7 |= 1;
	assert_int_equal(vmsa_build(&g->vcpu, page), -EINVAL);
}

/* A state in which every byte that is kept is different. */
static void fill(struct cpu_state *state, uint8_t seed)
{
	const struct cpu_state was = *state;
	uint8_t *bytes = (uint8_t *)state;

	for (size_t i = 0; i < sizeof(*state); i++)
		bytes[i] = (uint8_t)(seed + i * 37);
	state->cr0 = 0x80010033;
	state->cr4 = 0x660;
	state->efer = 0xd01;
	state->xcr0 = 7;
	state->dr6 = 0xffff0ff0;
	state->dr7 = 0x400;
	state->cpl = 3;
	state->segment[CS].attributes = 0x29b;
	state->fpu.reserved = 0;
	state->fpu.mxcsr_mask = was.fpu.mxcsr_mask;
	memcpy(state->fpu.unused, was.fpu.unused, sizeof(was.fpu.unused));
	for (unsigned i = 0; i < 8; i++)
		memset(state->fpu.st[i] + 10, 0, 6);
	/* These do not go into the VMSA. */
	state->cr8 = was.cr8;
	state->tsc_aux = was.tsc_aux;
	state->shadow = was.shadow;
	state->nmi_masked = was.nmi_masked;
	state->halted = was.halted;
	state->exception = was.exception;
}

static void assert_same(const struct cpu_state *a, const struct cpu_state *b)
{
	assert_memory_equal(a->gpr, b->gpr, sizeof(a->gpr));
	assert_int_equal(a->rip, b->rip);
	assert_int_equal(a->rflags, b->rflags);
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		assert_memory_equal(&a->segment[i], &b->segment[i], sizeof(a->segment[i]));
	assert_memory_equal(&a->ldtr, &b->ldtr, sizeof(a->ldtr));
	assert_memory_equal(&a->tr, &b->tr, sizeof(a->tr));
	assert_int_equal(a->gdtr.base, b->gdtr.base);
	assert_int_equal(a->gdtr.limit, b->gdtr.limit);
	assert_int_equal(a->idtr.base, b->idtr.base);
	assert_int_equal(a->idtr.limit, b->idtr.limit);
	assert_memory_equal(&a->cr0, &b->cr0,
			    offsetof(struct cpu_state, cr8) - offsetof(struct cpu_state, cr0));
	assert_int_equal(a->efer, b->efer);
	assert_memory_equal(a->dr, b->dr,
			    offsetof(struct cpu_state, pkru) - offsetof(struct cpu_state, dr));
	assert_int_equal(a->pkru, b->pkru);
	assert_int_equal(a->cpl, b->cpl);
	assert_memory_equal(&a->star, &b->star,
			    offsetof(struct cpu_state, tsc_aux) - offsetof(struct cpu_state, star));
	assert_memory_equal(&a->fpu, &b->fpu, sizeof(a->fpu));
}

static void test_there_and_back(void **state)
{
	struct es_guest *g = *state;
	struct cpu *cpu = g->vcpu.cpu;
	struct cpu_state guest, kvm;
	uint8_t before[4096];

	reset(&cpu->state);
	es_guest_launch(g);
	cpu->state.gpr[RDX] = 0xabcdef; /* KVM's only */
	kvm = cpu->state;
	assert_int_equal(sev_es_enter(&g->vcpu), 1);
	assert_int_equal(cpu->state.gpr[RDX], 0x800f12);
	assert_int_equal(cpu->state.cr0, 0x10);
	assert_int_equal(cpu->state.efer, 0x1000);
	assert_int_equal(cpu->state.fpu.mxcsr, 0); /* not launched with it */
	assert_ptr_equal(sev_es_kvm_state(&g->vcpu), g->vcpu.sev.other);
	fill(&cpu->state, 5);
	guest = cpu->state;
	memcpy(before, g->vcpu.sev.vmsa, sizeof(before));
	sev_es_leave(&g->vcpu);
	assert_same(&cpu->state, &kvm);
	assert_ptr_equal(sev_es_kvm_state(&g->vcpu), &cpu->state);
	assert_memory_not_equal(g->vcpu.sev.vmsa, before, 0x670);
	/* Nothing of it in the clear. */
	assert_null(memmem(g->vcpu.sev.vmsa, 4096, guest.gpr, 16));
	assert_null(memmem(g->vcpu.sev.vmsa, 4096, &guest.rip, 8));
	assert_null(memmem(g->vcpu.sev.vmsa, 4096, guest.fpu.xmm[3], 16));

	assert_int_equal(sev_es_enter(&g->vcpu), 1);
	assert_same(&cpu->state, &guest);
	sev_es_leave(&g->vcpu);
}

/* What is neither the guest's nor KVM's alone. */
static void test_common(void **state)
{
	struct es_guest *g = *state;
	struct cpu_state *s = &g->vcpu.cpu->state;

	es_guest_launch(g);
	s->cr8 = 3;
	s->tsc_aux = 44;
	s->nmi_masked = true;
	assert_int_equal(sev_es_enter(&g->vcpu), 1);
	assert_int_equal(s->cr8, 3);
	assert_int_equal(s->tsc_aux, 44);
	assert_true(s->nmi_masked);
	s->cr8 = 5;
	s->nmi_masked = false;
	s->shadow = SHADOW_STI;
	s->exception.pending = true;
	sev_es_leave(&g->vcpu);
	assert_int_equal(s->cr8, 5);
	assert_false(s->nmi_masked);
	assert_int_equal(s->shadow, SHADOW_STI);
	assert_true(s->exception.pending);
}

static void assert_fails(struct es_guest *g)
{
	memset(g->run, 0, RUN_SIZE);
	assert_int_equal(sev_es_enter(&g->vcpu), 0);
	assert_int_equal(g->run->exit_reason, KVM_EXIT_FAIL_ENTRY);
	assert_int_equal(g->run->fail_entry.hardware_entry_failure_reason, UINT32_MAX);
	assert_false(g->vcpu.sev.is_loaded);
}

static void test_entry_fails(void **state)
{
	struct es_guest *g = *state;
	struct cpu_state *s = &g->vcpu.cpu->state;
	static const struct {
		uint64_t cr0, cr4, efer, dr7, xcr0;
		uint16_t cs;
		bool is_good;
	} rows[] = {
		{0x10, 0, 0, 0x400, 1, 0x9b, true},
		{0x100000010, 0, 0, 0x400, 1, 0x9b, false},
		{0x10, 0, 0, 0x400, 0, 0x9b, false},
		{0x10, 0, 0, 0x400, 2, 0x9b, false},
		{0x10, 0, 0, 0x400, 5, 0x9b, false},
		{0x10, 0, 0, 0x400, 7, 0x9b, true},
		{0x10, 0, 0, 0x400, 0x11, 0x9b, false},
		{0x80000011, 0x20, 0x500, 0x400, 1, 0x29b, true},
		{0x80000011, 0x20, 0x500, 0x400, 1, 0x69b, false},
		{0x80000011, 0, 0x500, 0x400, 1, 0x29b, false},
		{0x80000010, 0x20, 0x500, 0x400, 1, 0x29b, false},
	};

	assert_fails(g); /* not encrypted yet */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		s->cr0 = rows[i].cr0;
		s->cr4 = rows[i].cr4;
		s->efer = rows[i].efer;
		s->dr7 = rows[i].dr7;
		s->xcr0 = rows[i].xcr0;
		s->segment[CS].attributes = rows[i].cs;
		es_guest_launch(g);
		if (!rows[i].is_good) {
			assert_fails(g);
			continue;
		}
		assert_int_equal(sev_es_enter(&g->vcpu), 1);
		sev_es_leave(&g->vcpu);
	}
	g->vcpu.sev.vmsa[0x3e8] ^= 1; /* somebody has tampered with it: XCR0 is nonsense */
	assert_fails(g);
	g->vm.sev.active = false;
	assert_fails(g);
}

/* 15.35.10: KVM's copies, by what it is told. */
static void test_traps(void **state)
{
	struct es_guest *g = *state;
	struct cpu *cpu = g->vcpu.cpu;
	struct cpu_state *kvm;

	es_guest_launch(g);
	assert_int_equal(sev_es_enter(&g->vcpu), 1);
	kvm = sev_es_kvm_state(&g->vcpu);
	cpu->state.cr4 = 0x20;
	cpu->state.cr8 = 9;
	cpu->state.efer = 0x1901;
	cpu->state.cr0 = 0x80000011;
	cpu->trap = CPU_TRAP_CR4;
	sev_es_trap(&g->vcpu);
	assert_int_equal(kvm->cr4, 0x20);
	assert_int_equal(kvm->cr0, 0);
	assert_int_equal(kvm->cr8, 0);
	cpu->trap = CPU_TRAP_CR8;
	sev_es_trap(&g->vcpu);
	assert_int_equal(kvm->cr8, 9);
	cpu->trap = CPU_TRAP_EFER;
	sev_es_trap(&g->vcpu);
	assert_int_equal(kvm->efer, 0x901);
	cpu->trap = CPU_TRAP_CR0;
	sev_es_trap(&g->vcpu);
	assert_int_equal(kvm->cr0, 0x80000011);
	assert_int_equal(kvm->efer, 0xd01);
	assert_false(cpu->state.exception.pending);
	/* What a CPU would not take, KVM does not either. */
	cpu->state.efer = 0x801;
	cpu->trap = CPU_TRAP_EFER;
	sev_es_trap(&g->vcpu);
	assert_int_equal(kvm->efer, 0xd01);
	assert_true(cpu->state.exception.pending);
	assert_int_equal(cpu->state.exception.vector, 13);
	sev_es_leave(&g->vcpu);
}

/* To another VM's vCPU, with a VMGEXIT that has not been answered. */
static void test_move(void **state)
{
	struct es_guest *g = *state, *target;
	uint8_t *vmsa = g->vcpu.sev.vmsa;
	uint64_t address = g->vcpu.sev.vmsa_address;

	assert_int_equal(es_guest_setup((void **)&target), 0);
	sev_vcpu_destroy(&target->vcpu);
	g->vcpu.cpu->state.gpr[RBX] = 0x77;
	es_guest_launch(g);
	ghcb_event(g, 0x7b, 0x3f80011, 0); /* IN */
	ghcb_put(g, 0x1f8, 0x4321);
	assert_true(vmgexit(g));
	g->vcpu.sev.received_first_sipi = true;
	sev_vcpu_move(&target->vcpu, &g->vcpu);
	assert_ptr_equal(target->vcpu.sev.vmsa, vmsa);
	assert_int_equal(target->vcpu.sev.vmsa_address, address);
	assert_int_equal(target->vcpu.cpu->ghcb, GHCB_GPA);
	assert_int_equal(g->vcpu.cpu->ghcb, UINT64_MAX);
	assert_true(target->vcpu.sev.received_first_sipi);
	assert_null(g->vcpu.sev.vmsa);
	assert_false(g->vcpu.sev.is_protected);

	/* The VMM's answer is not taken; what it has set for KVM's RAX is. */
	memcpy(target->ghcb, g->ghcb, PAGE);
	memset((uint8_t *)target->run + RUN_PIO_OFFSET, 0xff, 1);
	target->vcpu.cpu->state.gpr[RAX] = 0x4399;
	assert_true(reenter(target));
	assert_int_equal(target->vcpu.cpu->state.gpr[RBX], 0x77);
	assert_int_equal(ghcb_get(target, 0x1f8), 0x4399);
	sev_es_leave(&target->vcpu);

	/* It is of the first one's memory objects, so it goes back for the teardown. */
	sev_vcpu_move(&g->vcpu, &target->vcpu);
	(void)es_guest_teardown((void **)&target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_reset, es_guest_setup, es_guest_teardown),
		cmocka_unit_test_setup_teardown(test_there_and_back, es_guest_setup,
						es_guest_teardown),
		cmocka_unit_test_setup_teardown(test_common, es_guest_setup, es_guest_teardown),
		cmocka_unit_test_setup_teardown(test_entry_fails, es_guest_setup,
						es_guest_teardown),
		cmocka_unit_test_setup_teardown(test_traps, es_guest_setup, es_guest_teardown),
		cmocka_unit_test_setup_teardown(test_move, es_guest_setup, es_guest_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
