/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtual PC; see machine.h. */
#include "machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "cpuid.h"
#include "guest.h"
#include "kvm/cleanup.h"
#include "kvm/ioctl.h"
#include "layout.h"

static int fail(struct vmm_error *ret_error, enum vmm_exit exit, const struct vmr_error *error)
{
	vmm_error_set(ret_error, exit, "%s", error->text);
	return -1;
}

/* Memory. */

static int create_region(struct vmm_memory_region *region, const struct vmm_options *options,
			 struct vmr_error *error)
{
	void *hva;

	if (options->memory_backend == VMM_MEMORY_PRIVATE) {
		hva = mmap(NULL, region->size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (hva == MAP_FAILED) {
			(void)snprintf(error->text, sizeof(error->text),
				       "allocating %llu bytes of guest memory failed: %m",
				       (unsigned long long)region->size);
			return -errno;
		}
		region->hva = hva;
		return 0;
	}

	static const enum vmr_memory_kind kinds[] = {
		[VMM_MEMORY_MEMFD] = VMR_MEMORY_MEMFD,
		[VMM_MEMORY_HUGETLB] = VMR_MEMORY_HUGETLB,
		[VMM_MEMORY_FILE] = VMR_MEMORY_FILE,
	};
	autofd fd = vmr_memory_create(kinds[options->memory_backend], options->memory_dir,
				      region->size, error);
	int r = fd < 0 ? fd : vmr_memory_map(fd, 0, region->size, &hva, error);

	if (r < 0)
		return r;
	region->hva = hva;
	region->fd = steal_fd(&fd);
	return 0;
}

static int create_memory(struct machine *machine, const struct vmm_options *options,
			 struct vmr_error *error)
{
	struct vmm_memory *memory = &machine->memory;
	unsigned n;
	int r = 0;

	guest_layout(memory, options->memory);
	n = memory->n_regions;
	memory->n_regions = 0; /* what is mapped is ours to unmap */
	machine->owns_memory = true;
	for (unsigned i = 0; r == 0 && i < n; i++) {
		struct vmm_memory_region *region = &memory->region[i];

		r = create_region(region, options, error);
		if (r < 0)
			break;
		memory->n_regions++;

		const struct vmr_memory_slot slot = {
			.slot = i,
			.gpa = region->gpa,
			.size = region->size,
			.fd = region->fd,
			.hva = region->hva,
		};

		r = vmr_vm_set_memory(machine->vm, &slot, error);
	}
	return r;
}

/* vCPUs. */

static int create_vcpus(struct machine *machine, uint32_t n, struct vmr_error *error)
{
	autofree struct kvm_cpuid2 *cpuid = NULL;
	uint64_t mcg_cap = 0;
	bool has_mce = kvm_system_get_mce_cap_supported(machine->kvm_fd, &mcg_cap) == 0;
	int banks = kvm_system_check_extension(machine->kvm_fd, KVM_CAP_MCE);
	int deadline = kvm_system_check_extension(machine->kvm_fd, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

	for (uint32_t i = 0; i < n; i++) {
		unsigned index;
		int r;

		free(steal_ptr(cpuid));
		r = cpuid_supported(machine->kvm_fd, &cpuid);
		if (r < 0) {
			(void)snprintf(error->text, sizeof(error->text),
				       "asking KVM for the supported CPUID failed: %s",
				       strerrordesc_np(-r));
			return r;
		}
		cpuid_set_vcpu(cpuid, i, n, deadline);
		if (vmr_vm_confidential(machine->vm) != VMR_CONFIDENTIAL_NONE)
			cpuid_hide_svm(cpuid); /* KVM could not read the guest's VMCBs */
		else
			/* Linux would ask SEV_STATUS, an MSR that KVM has not. */
			cpuid_hide_encryption(cpuid);
		r = vmr_vm_create_vcpu(machine->vm, i, &index, error);
		if (r == 0)
			r = vmr_vcpu_set_cpuid(machine->vm, index, cpuid, error);
		if (r == 0 && has_mce && banks > 0)
			r = vmr_vcpu_setup_mce(
				machine->vm, index,
				(mcg_cap & ~0xffULL) | (uint64_t)(banks < 10 ? banks : 10), error);
		if (r < 0)
			return r;
	}
	return 0;
}

int machine_create(struct machine *machine, const struct vmm_options *options,
		   struct vmm_error *ret_error)
{
	const struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct vmr_error error = {.text = ""};
	unsigned long type;
	int r;

	machine->kvm_fd = kvm_system_open();
	if (machine->kvm_fd < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "opening /dev/kvm failed: %s",
			      strerrordesc_np(-machine->kvm_fd));
		return -1;
	}
	if (sev_open(&machine->sev, machine->kvm_fd, options, &type, ret_error) < 0)
		return -1;
	r = vmr_vm_create(machine->kvm_fd, type, &machine->vm, &error);
	if (r == 0)
		r = vmr_vm_set_tss_addr(machine->vm, LAYOUT_TSS, &error);
	if (r == 0)
		r = vmr_vm_set_identity_map_addr(machine->vm, LAYOUT_IDENTITY_MAP, &error);
	if (r == 0)
		r = vmr_vm_create_irqchip(machine->vm, &error);
	if (r == 0 && options->pit)
		r = vmr_vm_create_pit(machine->vm, &pit, true, &error);
	if (r == 0)
		r = create_memory(machine, options, &error);
	if (r == 0 && sev_init(&machine->sev, machine->vm, options, ret_error) < 0)
		return -1;
	if (r == 0)
		r = create_vcpus(machine, options->cpus, &error);
	if (r == 0) {
		machine->uart_irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r = vmr_vm_add_irqfd(machine->vm, machine->uart_irq_fd, LAYOUT_UART_GSI, -1,
				     &error);
	}
	return r < 0 ? fail(ret_error, VMM_EXIT_FAILED, &error) : 0;
}

/* Booting. */

static int set_boot_registers(const struct vmr_vm *vm, unsigned index,
			      const struct boot_entry *entry)
{
	int vcpu_fd = vmr_vm_vcpu_fd(vm, index);
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	int r = kvm_vcpu_get_sregs(vcpu_fd, &sregs);

	if (r < 0)
		return r;
	guest_registers(entry, vmr_vm_confidential(vm), index, &regs, &sregs);
	r = kvm_vcpu_set_sregs(vcpu_fd, &sregs);
	return r < 0 ? r : kvm_vcpu_set_regs(vcpu_fd, &regs);
}

/*
 * Start with the extended states enabled that every guest with AVX enables anyway.  After reset
 * only x87 would be; but a KVM whose CPU does not intercept XSETBV (QEMU's emulation of SVM) never
 * hears of the guest's choice, and would switch AVX registers by the wrong mask.
 */
static int enable_avx(const struct vmr_vm *vm, int kvm_fd)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = GUEST_XCR0}}};
	autofree struct kvm_cpuid2 *cpuid = NULL;
	uint64_t supported = 0;
	int r = cpuid_supported(kvm_fd, &cpuid);

	for (uint32_t i = 0; r == 0 && i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 0xd && cpuid->entries[i].index == 0)
			supported = cpuid->entries[i].eax;
	if ((supported & GUEST_XCR0) != GUEST_XCR0)
		return r;
	for (unsigned i = 0; r == 0 && i < vmr_vm_n_vcpus(vm); i++)
		r = kvm_vcpu_set_xcrs(vmr_vm_vcpu_fd(vm, i), &xcrs);
	return r;
}

/*
 * Enable MTRRs, all memory write-back, as firmware would.  Without, Linux does not set up the PAT,
 * and cannot encrypt or decrypt a page in place then: as a confidential guest it stops at that.
 */
static int enable_mtrrs(const struct vmr_vm *vm)
{
	const uint32_t msr_mtrr_def_type = 0x2ff;
	const uint64_t enabled = 1U << 11, write_back = 6;
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = {.head.nmsrs = 1,
		  .entry = {.index = msr_mtrr_def_type, .data = enabled | write_back}};

	for (unsigned i = 0; i < vmr_vm_n_vcpus(vm); i++) {
		int r = kvm_vcpu_set_msrs(vmr_vm_vcpu_fd(vm, i), &msrs.head);

		if (r != 1)
			return r < 0 ? r : -ENOTSUP;
	}
	return 0;
}

int machine_boot(struct machine *machine, const struct vmm_options *options,
		 struct vmm_error *ret_error)
{
	bool es = options->confidential == VMR_CONFIDENTIAL_SEV_ES;
	struct boot_entry entry;
	int r = 0;

	if (guest_load(&machine->memory, options, machine->sev.c_bit, &entry, ret_error) < 0)
		return -1;
	if (options->confidential != VMR_CONFIDENTIAL_NONE)
		r = enable_mtrrs(machine->vm);
	/* The others start in real mode; but their VMSAs have to be complete at the launch. */
	for (unsigned i = 0; r == 0 && i < (es ? options->cpus : 1); i++)
		r = set_boot_registers(machine->vm, i, &entry);
	if (r == 0)
		r = enable_avx(machine->vm, machine->kvm_fd);
	if (r < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "preparing the guest failed: %s",
			      strerrordesc_np(-r));
		return -1;
	}
	return sev_launch(&machine->sev, machine->vm, &machine->memory, &entry, options, ret_error);
}

int machine_complete(struct machine *machine, struct vmm_error *ret_error)
{
	struct vmr_error error = {.text = ""};
	int r = 0;

	if (vmr_vm_confidential(machine->vm) != VMR_CONFIDENTIAL_NONE)
		r = vmr_sev_launch_finish(machine->vm, &error);
	if (r == 0)
		r = vmr_vm_complete(machine->vm, &error);
	return r < 0 ? fail(ret_error, VMM_EXIT_FAILED, &error) : 0;
}

int machine_adopt(struct machine *machine, int kvm_fd, struct vmr_vm *vm,
		  struct vmm_error *ret_error)
{
	const struct vmr_memory_slot *slot;

	machine->kvm_fd = kvm_fd;
	machine->vm = vm;
	if (sev_adopt(&machine->sev, vm, ret_error) < 0)
		return -1;
	for (unsigned i = 0; (slot = vmr_vm_memory_slot(vm, i)); i++) {
		if (machine->memory.n_regions == VMM_MEMORY_REGIONS_MAX) {
			vmm_error_set(ret_error, VMM_EXIT_REFUSED,
				      "the guest has more memory regions than this VMM knows");
			return -1;
		}
		machine->memory.region[machine->memory.n_regions++] = (struct vmm_memory_region){
			.gpa = slot->gpa,
			.size = slot->size,
			.hva = slot->hva,
			.fd = slot->fd,
		};
	}
	return 0;
}

/* Devices. */

int machine_add_devices(struct machine *machine, struct console *console,
			void (*end)(void *opaque, enum vmm_end end), void *opaque)
{
	uint32_t gsi;
	int r, fd;

	machine->irq.vm_fd = vmr_vm_fd(machine->vm);
	for (unsigned i = 0; i < VMM_GSI_MAX; i++)
		machine->irq.pulse_fd[i] = -1;
	for (unsigned i = 0; (fd = vmr_vm_irqfd(machine->vm, i, &gsi)) >= 0; i++)
		if (gsi < VMM_GSI_MAX)
			machine->irq.pulse_fd[gsi] = fd;

	machine->console = console;
	machine->uart = uart_new(&machine->irq, LAYOUT_UART_GSI, console);
	machine->rtc = rtc_new();
	machine->power = power_new(&machine->irq, end, opaque);
	if (!machine->uart || !machine->rtc || !machine->power)
		return -ENOMEM;
	r = uart_add_ports(machine->uart, &machine->bus, LAYOUT_UART_PORT);
	if (r == 0)
		r = rtc_add_ports(machine->rtc, &machine->bus);
	if (r == 0)
		r = power_add_ports(machine->power, &machine->bus);
	return r;
}

#ifdef VMM_TEST_SECTION
static int save_test(void *opaque, uint16_t version, void *buf)
{
	(void)opaque;
	memset(buf, version, 8U * version);
	return 8 * version;
}

static int load_test(void *opaque, uint16_t version, const void *buf, size_t len)
{
	(void)opaque;
	return len == 8U * version && *(const uint8_t *)buf == version ? 0 : -EBADMSG;
}
#endif

static struct vmr_section device_section(const struct device_ops *ops, void *device)
{
	return (struct vmr_section){
		.name = ops->name,
		.type = ops->section,
		.version = ops->version,
		.min_version = ops->min_version,
		.max_size = (uint32_t)ops->state_size,
		.save = ops->save,
		.load = ops->load,
		.opaque = device,
	};
}

void machine_sections(const struct machine *machine, struct vmr_section ret[MACHINE_SECTIONS])
{
	static const struct machine none = MACHINE_INIT;
	const struct machine *m = machine ? machine : &none;
	unsigned n = 0;

	ret[n++] = device_section(&console_ops, m->console);
	ret[n++] = device_section(&uart_ops, m->uart);
	ret[n++] = device_section(&rtc_ops, m->rtc);
	ret[n++] = device_section(&power_ops, m->power);
#ifdef VMM_TEST_SECTION
	ret[n++] = (struct vmr_section){
		.name = "test",
		.type = VMM_TEST_SECTION,
		.version = VMM_TEST_VERSION,
		.min_version = 1,
		.optional = VMM_TEST_SECTION % 2,
		.max_size = 8 * VMM_TEST_VERSION,
		.save = save_test,
		.load = load_test,
	};
#endif
}

void machine_break_locks(const struct machine *machine)
{
	console_ops.break_locks(machine->console);
	uart_ops.break_locks(machine->uart);
	rtc_ops.break_locks(machine->rtc);
	power_ops.break_locks(machine->power);
}

void machine_done(struct machine *machine)
{
	machine->uart = uart_free(machine->uart);
	machine->rtc = rtc_free(machine->rtc);
	machine->power = power_free(machine->power);
	machine->vm = vmr_vm_free(machine->vm);
	for (unsigned i = 0; machine->owns_memory && i < machine->memory.n_regions; i++) {
		(void)munmap(machine->memory.region[i].hva, machine->memory.region[i].size);
		close_fd(machine->memory.region[i].fd);
	}
	close_fd(machine->uart_irq_fd);
	sev_done(&machine->sev);
	close_fd(machine->kvm_fd);
	*machine = (struct machine)MACHINE_INIT;
}
