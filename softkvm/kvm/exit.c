// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the CPU asks of the world: ports, memory that is none, MSRs, CPUID, the time.
 *
 * Theory of operation.  What a device in the host answers is answered at once.  Anything else is
 * the VMM's: the access is recorded in vcpu->io, the CPU abandons the instruction, and KVM_RUN
 * returns.  When the VMM calls KVM_RUN again, its answer is put into the record, and the CPU does
 * the instruction anew: whatever it asks that is in the record, in the order of the record, has its
 * answer there.  So an instruction may ask several times, each time for one exit, and takes effect
 * as a whole with the last answer.
 *
 * Should it ask something else this time, because the VMM or another vCPU have changed what it is
 * made of meanwhile, what is left of the record is of no use and is dropped.
 */
#include "internal.h"

#include <string.h>

uint64_t vcpu_get_apic_base(const struct vcpu *vcpu)
{
	return vcpu->lapic ? lapic_get_base(vcpu->lapic) : vcpu->apic_base;
}

int vcpu_set_apic_base(struct vcpu *vcpu, uint64_t value, bool is_host)
{
	if (vcpu->lapic)
		return is_host ? lapic_host_set_base(vcpu->lapic, value)
			       : lapic_set_base(vcpu->lapic, value);
	vcpu->apic_base = value;
	return 0;
}

void vcpu_cr8_to_tpr(struct vcpu *vcpu)
{
	if (vcpu->lapic)
		lapic_set_tpr(vcpu->lapic, (uint8_t)vcpu->cpu->state.cr8);
}

void vcpu_tpr_to_cr8(struct vcpu *vcpu)
{
	if (vcpu->lapic)
		vcpu->cpu->state.cr8 = lapic_get_tpr(vcpu->lapic);
}

bool vcpu_pio(struct vcpu *vcpu, bool is_write, uint16_t port, unsigned size, void *data)
{
	struct vm *vm = vcpu->vm;

	if (vm->irqchip && irqchip_pio(vm->irqchip, is_write, port, size, data))
		return true;
	return is_write && ioeventfd_write(vm->ioeventfds, true, port, size, data);
}

/* APM volume 2, 16.3.1: the page of an APIC that is enabled and not in x2APIC mode. */
static bool is_apic_page(const struct vcpu *vcpu, uint64_t gpa)
{
	const uint64_t enabled = 1u << 11, x2apic = 1u << 10, address = 0x000ffffffffff000;
	uint64_t base = vcpu->lapic ? lapic_get_base(vcpu->lapic) : 0;

	return (base & (enabled | x2apic)) == enabled && (gpa & address) == (base & address);
}

bool vcpu_mmio(struct vcpu *vcpu, bool is_write, uint64_t gpa, unsigned len, void *data)
{
	struct vm *vm = vcpu->vm;
	unsigned offset = gpa & (PAGE_SIZE - 1);

	if (is_apic_page(vcpu, gpa)) {
		if (is_write) {
			lapic_mmio_write(vcpu->lapic, offset, len, data);
			vcpu_tpr_to_cr8(vcpu);
		} else {
			lapic_mmio_read(vcpu->lapic, offset, len, data);
		}
		return true;
	}
	if (vm->irqchip && irqchip_mmio(vm->irqchip, is_write, gpa, len, data))
		return true;
	return is_write && ioeventfd_write(vm->ioeventfds, false, gpa, len, data);
}

static bool is_same(const struct vcpu_access *a, const struct vcpu_access *b)
{
	return a->is_mmio == b->is_mmio && a->is_write == b->is_write && a->len == b->len &&
	       a->address == b->address && (!a->is_write || memcmp(a->data, b->data, a->len) == 0);
}

/* False: not answered yet.  True: *access is, data included. */
static bool ask(struct vcpu *vcpu, struct vcpu_access *access)
{
	/* It would be memory, if the VMM had some there: nobody's to answer. */
	if (access->is_mmio && slots_is_fault(vcpu->vm->slots, access->address, access->is_write)) {
		vcpu->io.is_fault = true;
		return false;
	}
	if (vcpu->io.cursor < vcpu->io.n) {
		const struct vcpu_access *known = &vcpu->io.access[vcpu->io.cursor];

		if (is_same(known, access)) {
			*access = *known;
			vcpu->io.cursor++;
			return true;
		}
		vcpu->io.n = vcpu->io.cursor;
	}
	if (vcpu->io.n == VCPU_ACCESSES_MAX) {
		vcpu->io.is_overflown = true;
		return false;
	}
	vcpu->io.access[vcpu->io.n++] = *access;
	vcpu->io.is_asked = true;
	vcpu->io.rip = vcpu->cpu->state.rip;
	return false;
}

static bool mmio_read(void *opaque, uint64_t gpa, unsigned len, void *ret)
{
	struct vcpu_access access = {.is_mmio = true, .len = (uint8_t)len, .address = gpa};

	if (vcpu_mmio(opaque, false, gpa, len, ret))
		return true;
	if (!ask(opaque, &access))
		return false;
	memcpy(ret, access.data, len);
	return true;
}

static bool mmio_write(void *opaque, uint64_t gpa, unsigned len, const void *data)
{
	struct vcpu_access access = {
		.is_mmio = true, .is_write = true, .len = (uint8_t)len, .address = gpa};

	memcpy(access.data, data, len);
	return vcpu_mmio(opaque, true, gpa, len, access.data) || ask(opaque, &access);
}

static bool pio_in(void *opaque, uint16_t port, unsigned size, uint32_t *ret)
{
	struct vcpu_access access = {.len = (uint8_t)size, .address = port};

	*ret = 0;
	if (vcpu_pio(opaque, false, port, size, ret))
		return true;
	if (!ask(opaque, &access))
		return false;
	memcpy(ret, access.data, size);
	return true;
}

static bool pio_out(void *opaque, uint16_t port, unsigned size, uint32_t value)
{
	struct vcpu_access access = {.is_write = true, .len = (uint8_t)size, .address = port};

	memcpy(access.data, &value, size);
	return vcpu_pio(opaque, true, port, size, access.data) || ask(opaque, &access);
}

void vcpu_exit_pio(struct vcpu *vcpu, bool is_write, uint16_t port, unsigned size, uint32_t count,
		   const void *data)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = is_write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
	run->io.size = (uint8_t)size;
	run->io.port = port;
	run->io.count = count;
	run->io.data_offset = RUN_PIO_OFFSET;
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

void vcpu_exit_access(struct vcpu *vcpu)
{
	const struct vcpu_access *a = &vcpu->io.access[vcpu->io.n - 1];

	if (a->is_mmio)
		vcpu_exit_mmio(vcpu, a->is_write, a->address, a->len, a->data);
	else
		vcpu_exit_pio(vcpu, a->is_write, (uint16_t)a->address, a->len, 1, a->data);
}

void vcpu_take_answer(struct vcpu *vcpu)
{
	struct vcpu_access *a = &vcpu->io.access[vcpu->io.n - 1];

	if (!a->is_write)
		memcpy(a->data,
		       a->is_mmio ? vcpu->run->mmio.data : (uint8_t *)vcpu->run + RUN_PIO_OFFSET,
		       a->len);
	vcpu->io.is_asked = false;
}

/* The rest. */

static void page(void *opaque, uint64_t gpa, bool encrypted, struct cpu_page *ret)
{
	struct vcpu *vcpu = opaque;

	slots_page(vcpu->vm->slots, gpa, encrypted, ret);
}

static void begin_store(void *opaque, const struct cpu_page *page_stored)
{
	(void)opaque;
	slots_begin_store(page_stored);
}

static void end_store(void *opaque, const struct cpu_page *page_stored, unsigned offset,
		      unsigned len)
{
	(void)opaque;
	slots_end_store(page_stored, offset, len);
}

static bool rdmsr(void *opaque, uint32_t msr, uint64_t *ret)
{
	return vcpu_rdmsr(opaque, msr, ret);
}

static bool wrmsr(void *opaque, uint32_t msr, uint64_t value)
{
	return vcpu_wrmsr(opaque, msr, value);
}

static void cpuid(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	vcpu_cpuid(opaque, leaf, subleaf, ret);
}

static uint64_t tsc(void *opaque)
{
	return vcpu_tsc(opaque);
}

static void control_written(void *opaque)
{
	vcpu_cr8_to_tpr(opaque);
}

const struct cpu_ops vcpu_cpu_ops = {
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
