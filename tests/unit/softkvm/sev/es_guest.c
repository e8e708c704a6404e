// SPDX-License-Identifier: GPL-2.0-or-later
#include "es_guest.h"

#include <stdlib.h>
#include <string.h>

static struct es_guest *guest_of(const struct vcpu *vcpu)
{
	return (struct es_guest *)((uint8_t *)(uintptr_t)vcpu - offsetof(struct es_guest, vcpu));
}

/* SEV: the key. */

const uint8_t *sev_vek(const struct vm *vm)
{
	return vm->sev.active ? (const uint8_t *)"a key of 16 bytes" : NULL;
}

/* KVM: softkvm/kvm/vm.h.  What is asked for has KVM's registers in cpu->state. */

bool vcpu_pio(struct vcpu *vcpu, bool is_write, uint16_t port, unsigned size, void *data)
{
	struct es_guest *g = guest_of(vcpu);

	if (port != DEVICE_PORT)
		return false;
	g->n_accesses++;
	if (is_write) {
		g->written = 0;
		memcpy(&g->written, data, size);
	} else {
		memset(data, (int)g->n_accesses, size);
	}
	return true;
}

bool vcpu_mmio(struct vcpu *vcpu, bool is_write, uint64_t gpa, unsigned len, void *data)
{
	struct es_guest *g = guest_of(vcpu);

	assert_true(gpa % 8 + len <= 8);
	if (gpa < DEVICE_GPA || gpa >= DEVICE_GPA + 64)
		return false;
	g->n_accesses++;
	if (is_write)
		memcpy(&g->written, data, len);
	else
		memset(data, (int)g->n_accesses, len);
	return true;
}

bool vcpu_rdmsr(struct vcpu *vcpu, uint32_t msr, uint64_t *ret)
{
	(void)vcpu;
	*ret = KERNEL_VALUE;
	return msr == KNOWN_MSR;
}

bool vcpu_wrmsr(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	guest_of(vcpu)->written = value;
	return msr == KNOWN_MSR;
}

void vcpu_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	struct es_guest *g = guest_of(vcpu);

	g->cpuid_leaf = leaf;
	g->cpuid_subleaf = subleaf;
	g->cpuid_xcr0 = (uint32_t)vcpu->cpu->state.xcr0;
	g->cpuid_cr4 = (uint32_t)vcpu->cpu->state.cr4;
	for (unsigned i = 0; i < 4; i++)
		ret[i] = leaf + i + 1;
}

uint64_t vcpu_hypercall(const struct vcpu *vcpu, unsigned cpl)
{
	guest_of(vcpu)->hypercall_cpl = cpl;
	return KERNEL_VALUE;
}

void vcpu_exit_pio(struct vcpu *vcpu, bool is_write, uint16_t port, unsigned size, uint32_t count,
		   const void *data)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = is_write;
	run->io.port = port;
	run->io.size = (uint8_t)size;
	run->io.count = count;
	if (is_write)
		memcpy((uint8_t *)run + RUN_PIO_OFFSET, data, (size_t)size * count);
}

void vcpu_exit_mmio(struct vcpu *vcpu, bool is_write, uint64_t gpa, unsigned len, const void *data)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = gpa;
	run->mmio.len = len;
	run->mmio.is_write = is_write;
	if (is_write)
		memcpy(run->mmio.data, data, len);
}

/* The guest. */

void es_guest_launch(struct es_guest *g)
{
	struct vcpu *vcpu = &g->vcpu;

	assert_int_equal(vmsa_build(vcpu, vcpu->sev.vmsa), 0);
	memory_cipher(sev_vek(&g->vm), vcpu->sev.vmsa_address, vcpu->sev.vmsa, 4096, true);
	vcpu->sev.is_protected = true;
}

int es_guest_setup(void **state)
{
	struct es_guest *g = calloc(1, sizeof(*g));

	(void)client_setup((void **)&g->call);
	assert_int_equal(client_set(g->call, 0, 0, MEMORY_PAGES * PAGE, MEMORY, 0), 0);
	g->ghcb = g->call->memory + GHCB_GPA;
	g->vm.object.host = &g->call->host;
	g->vm.slots = g->call->slots;
	g->vm.sev.active = g->vm.sev.es = true;
	g->vm.sev.ghcb_version = 2;
	g->run = calloc(1, RUN_SIZE);
	g->vcpu.vm = &g->vm;
	g->vcpu.run = g->run;
	g->vcpu.cpu = aligned_alloc(_Alignof(struct cpu), sizeof(struct cpu));
	memset(g->vcpu.cpu, 0, sizeof(struct cpu));
	g->vcpu.cpu->state.xcr0 = 1;
	g->vcpu.cpu->state.dr7 = 0x400;
	g->vcpu.lapic = (struct lapic *)g; /* there is one */
	assert_int_equal(sev_vcpu_create(&g->vcpu), 0);
	*state = g;
	return 0;
}

int es_guest_teardown(void **state)
{
	struct es_guest *g = *state;

	sev_vcpu_destroy(&g->vcpu);
	(void)client_teardown((void **)&g->call);
	free(g->vcpu.cpu);
	free(g->run);
	free(g);
	return 0;
}

void ghcb_put(struct es_guest *g, unsigned offset, uint64_t value)
{
	memcpy(g->ghcb + offset, &value, offset == 0xcb ? 1 : 8);
	g->ghcb[0x3f0 + offset / 64] |= (uint8_t)(1u << offset / 8 % 8);
}

uint64_t ghcb_get(const struct es_guest *g, unsigned offset)
{
	uint64_t value;

	memcpy(&value, g->ghcb + offset, sizeof(value));
	return value;
}

bool ghcb_has(const struct es_guest *g, unsigned offset)
{
	return g->ghcb[0x3f0 + offset / 64] >> offset / 8 % 8 & 1;
}

void ghcb_event(struct es_guest *g, uint64_t code, uint64_t info_1, uint64_t info_2)
{
	g->vcpu.cpu->ghcb = GHCB_GPA;
	memset(g->ghcb, 0, PAGE);
	ghcb_put(g, 0x390, code);
	ghcb_put(g, 0x398, info_1);
	ghcb_put(g, 0x3a0, info_2);
}

bool vmgexit(struct es_guest *g)
{
	bool is_to_user = false;

	if (!g->vcpu.sev.is_loaded)
		assert_int_equal(sev_es_enter(&g->vcpu), 1);
	assert_int_equal(sev_es_vmgexit(&g->vcpu, &is_to_user), 0);
	if (is_to_user)
		sev_es_leave(&g->vcpu);
	else
		sev_es_resume(&g->vcpu);
	return is_to_user;
}

bool reenter(struct es_guest *g)
{
	if (sev_es_enter(&g->vcpu) != 1)
		return false;
	sev_es_resume(&g->vcpu);
	return true;
}
