// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ghcb.c - what SEV-ES guests ask for: AMD publication 56421, chapters 2 and 4
 *
 * Theory of operation.  With VMGEXIT a guest shows a page, its GHCB: what happened, the registers
 * that matter, and a bitmap of which fields are valid.  The page is shared with other vCPUs and
 * with the VMM, so it is copied once and looked at there.  KVM's registers become those of the
 * page, the event is served as if an instruction had been intercepted, and what the registers are
 * then goes back to the page when the guest is about to run again.  That can be long after, when
 * the VMM has answered, or in another VM, if the guest has been moved meanwhile.
 *
 * Which events there are, what must be valid for each, and what happens if it is not, is as KVM has
 * it: sev_es_validate_vmgexit().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/cleanup.h"
#include "softkvm/sev/internal.h"

#define PAGE_SIZE 4096u

/* Fields of the page (table 3).  A field's number in the bitmap is its offset by 8. */
#define GHCB_CPL	  0x0cb
#define GHCB_RAX	  0x1f8
#define GHCB_RCX	  0x308
#define GHCB_RDX	  0x310
#define GHCB_RBX	  0x318
#define GHCB_RSI	  0x330
#define GHCB_EXIT_CODE	  0x390
#define GHCB_EXIT_INFO_1  0x398
#define GHCB_EXIT_INFO_2  0x3a0
#define GHCB_SCRATCH	  0x3a8
#define GHCB_XCR0	  0x3e8
#define GHCB_VALID_BITMAP 0x3f0
#define GHCB_USAGE	  0xffc

/* What becomes of an event (4.1): SW_EXITINFO1, and what SW_EXITINFO2 says of an error. */
#define RESULT_EXCEPTION    1u
#define RESULT_ERROR	    2u
#define ERROR_USAGE	    2u
#define ERROR_MISSING_INPUT 4u
#define ERROR_INVALID_INPUT 5u
#define ERROR_INVALID_EVENT 6u
#define INJECT_EXCEPTION    (3u << 8 | 1u << 31) /* 15.20 of publication 24593 */
#define VECTOR_UD	    6u
#define VECTOR_GP	    13u
#define CPUID_XSAVE	    0xdu
#define JUMP_TABLE_SET	    0u
#define JUMP_TABLE_GET	    1u
#define IOIO_IN		    (1u << 0)
#define IOIO_STRING	    (1u << 2)
#define EVENT_IOIO	    0x7bu
#define EVENT_CPUID	    0x72u
#define EVENT_MSR	    0x7cu

static bool is_valid(const struct sev_ghcb *ghcb, unsigned offset)
{
	return ghcb->valid[offset / 64] >> offset / 8 % 8 & 1;
}

int ghcb_error(struct vcpu *vcpu, uint64_t reason)
{
	vcpu->sev.ghcb.ret_info_1 = RESULT_ERROR;
	vcpu->sev.ghcb.ret_info_2 = reason;
	return 1;
}

static void raise_exception(struct vcpu *vcpu, uint8_t vector, bool has_error)
{
	vcpu->cpu->state.exception =
		(struct cpu_exception){.pending = true, .has_error = has_error, .vector = vector};
}

/* The events.  RIP is behind VMGEXIT already, so an instruction that does nothing is done. */

static int serve_nothing(struct vcpu *vcpu)
{
	(void)vcpu;
	return 1;
}

/* KVM intercepts no RDTSC and knows not what to do with it: svm_handle_invalid_exit(). */
static int serve_unexpected(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON;
	run->internal.ndata = 2;
	run->internal.data[0] = vcpu->sev.ghcb.exit_code;
	run->internal.data[1] = 0; /* the CPU that it ran on */
	return 0;
}

/* There are no performance counters. */
static int serve_rdpmc(struct vcpu *vcpu)
{
	raise_exception(vcpu, VECTOR_GP, true);
	return 1;
}

static int serve_rdtscp(struct vcpu *vcpu)
{
	raise_exception(vcpu, VECTOR_UD, false);
	return 1;
}

static int serve_cpuid(struct vcpu *vcpu)
{
	uint64_t *gpr = vcpu->cpu->state.gpr;
	uint32_t regs[4];

	vcpu_cpuid(vcpu, (uint32_t)gpr[RAX], (uint32_t)gpr[RCX], regs);
	gpr[RAX] = regs[0];
	gpr[RBX] = regs[1];
	gpr[RCX] = regs[2];
	gpr[RDX] = regs[3];
	return 1;
}

static int serve_msr(struct vcpu *vcpu)
{
	struct sev_ghcb *ghcb = &vcpu->sev.ghcb;
	uint64_t *gpr = vcpu->cpu->state.gpr, value = 0;
	bool is_good;

	if (ghcb->info_1) {
		value = gpr[RDX] << 32 | (uint32_t)gpr[RAX];
		is_good = vcpu_wrmsr(vcpu, (uint32_t)gpr[RCX], value);
	} else {
		is_good = vcpu_rdmsr(vcpu, (uint32_t)gpr[RCX], &value);
		if (is_good) {
			gpr[RAX] = (uint32_t)value;
			gpr[RDX] = value >> 32;
		}
	}
	if (!is_good) {
		ghcb->ret_info_1 = RESULT_EXCEPTION;
		ghcb->ret_info_2 = VECTOR_GP | INJECT_EXCEPTION;
	}
	return 1;
}

static int serve_vmmcall(struct vcpu *vcpu)
{
	struct cpu_state *kvm = &vcpu->cpu->state;

	kvm->gpr[RAX] = vcpu_hypercall(vcpu, kvm->cpl);
	return 1;
}

static int serve_mmio_read(struct vcpu *vcpu)
{
	return ghcb_mmio(vcpu, false);
}

static int serve_mmio_write(struct vcpu *vcpu)
{
	return ghcb_mmio(vcpu, true);
}

static int serve_nmi_complete(struct vcpu *vcpu)
{
	vcpu->cpu->state.nmi_masked = false;
	return 1;
}

int ghcb_hold(struct vcpu *vcpu, enum sev_hold hold)
{
	vcpu->sev.hold = hold;
	if (vcpu->lapic) {
		vcpu->mp_state = KVM_MP_STATE_AP_RESET_HOLD;
		return 1;
	}
	vcpu->run->exit_reason = KVM_EXIT_AP_RESET_HOLD;
	return 0;
}

static int serve_reset_hold(struct vcpu *vcpu)
{
	return ghcb_hold(vcpu, SEV_HOLD_EVENT);
}

static int serve_jump_table(struct vcpu *vcpu)
{
	struct sev_ghcb *ghcb = &vcpu->sev.ghcb;
	_Atomic uint64_t *address = &vcpu->vm->sev.ap_jump_table;

	switch (ghcb->info_1) {
	case JUMP_TABLE_SET:
		*address = ghcb->info_2;
		return 1;
	case JUMP_TABLE_GET:
		ghcb->ret_info_2 = *address;
		return 1;
	default:
		return ghcb_error(vcpu, ERROR_INVALID_INPUT);
	}
}

static int serve_features(struct vcpu *vcpu)
{
	vcpu->sev.ghcb.ret_info_2 = GHCB_FEATURES;
	return 1;
}

/* The guest says that it has met an exception that it cannot tell us more of. */
static int serve_unsupported(struct vcpu *vcpu)
{
	(void)vcpu;
	return -EINVAL;
}

enum { NEEDS_RAX = 1, NEEDS_RCX = 2, NEEDS_RDX = 4, NEEDS_CPL = 8, NEEDS_SCRATCH = 16 };

struct event {
	uint32_t code;
	uint8_t needs;
	bool is_of_main; /* only that profile knows it */
	int (*serve)(struct vcpu *vcpu);
};

static const struct event events[] = {
	{0x27, 0, false, serve_nothing}, /* DR7 is the guest's own */
	{0x37, NEEDS_RAX, false, serve_nothing},
	{0x6e, 0, false, serve_unexpected}, /* RDTSC */
	{0x6f, NEEDS_RCX, false, serve_rdpmc},
	{EVENT_CPUID, NEEDS_RAX | NEEDS_RCX, false, serve_cpuid},
	{0x76, 0, false, serve_nothing}, /* INVD */
	{EVENT_IOIO, 0, false, ghcb_port},
	{EVENT_MSR, NEEDS_RCX, false, serve_msr},
	{0x81, NEEDS_RAX | NEEDS_CPL, false, serve_vmmcall},
	{0x87, 0, false, serve_rdtscp},
	{0x89, 0, false, serve_nothing},				 /* WBINVD */
	{0x8a, NEEDS_RAX | NEEDS_RCX | NEEDS_RDX, false, serve_nothing}, /* MONITOR */
	{0x8b, NEEDS_RAX | NEEDS_RCX, false, serve_nothing},		 /* MWAIT */
	{0x80000001, NEEDS_SCRATCH, false, serve_mmio_read},
	{0x80000002, NEEDS_SCRATCH, false, serve_mmio_write},
	{0x80000003, 0, false, serve_nmi_complete},
	{0x80000004, 0, false, serve_reset_hold},
	{0x80000005, 0, false, serve_jump_table},
	{0x8000fffd, 0, true, serve_features},
	{0x8000fffe, 0, true, ghcb_terminate},
	{0x8000ffff, 0, false, serve_unsupported},
};

static const struct event *find_event(const struct vcpu *vcpu, uint64_t code)
{
	bool is_main = vcpu->vm->object.host->config.profile == PROFILE_MAIN;

	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i].code == code && (is_main || !events[i].is_of_main))
			return &events[i];
	return NULL;
}

/* What depends on more than the code. */
static unsigned needs_of(const struct event *event, const struct sev_ghcb *ghcb)
{
	switch (event->code) {
	case EVENT_IOIO:
		if (ghcb->info_1 & IOIO_STRING)
			return NEEDS_SCRATCH;
		return ghcb->info_1 & IOIO_IN ? 0 : NEEDS_RAX;
	case EVENT_MSR:
		return event->needs | (ghcb->info_1 ? NEEDS_RAX | NEEDS_RDX : 0);
	default:
		return event->needs;
	}
}

static bool has_needs(const struct vcpu *vcpu, unsigned needs)
{
	static const struct {
		unsigned need, offset;
	} fields[] = {{NEEDS_RAX, GHCB_RAX},
		      {NEEDS_RCX, GHCB_RCX},
		      {NEEDS_RDX, GHCB_RDX},
		      {NEEDS_CPL, GHCB_CPL},
		      {NEEDS_SCRATCH, GHCB_SCRATCH}};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (needs & fields[i].need && !is_valid(&vcpu->sev.ghcb, fields[i].offset))
			return false;
	return true;
}

static uint64_t get(const uint8_t *page, unsigned offset)
{
	uint64_t value;

	memcpy(&value, page + offset, sizeof(value));
	return value;
}

/* KVM's registers are the page's, and 0 where that says nothing. */
static void take_registers(struct vcpu *vcpu, const uint8_t *page)
{
	static const struct {
		uint8_t reg;
		uint16_t offset;
	} fields[] = {{RAX, GHCB_RAX},
		      {RBX, GHCB_RBX},
		      {RCX, GHCB_RCX},
		      {RDX, GHCB_RDX},
		      {RSI, GHCB_RSI}};
	struct cpu_state *kvm = &vcpu->cpu->state;
	const struct sev_ghcb *ghcb = &vcpu->sev.ghcb;

	memset(kvm->gpr, 0, sizeof(kvm->gpr));
	kvm->rip = 0;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (is_valid(ghcb, fields[i].offset))
			kvm->gpr[fields[i].reg] = get(page, fields[i].offset);
	if (is_valid(ghcb, GHCB_CPL))
		kvm->cpl = page[GHCB_CPL] & 3;
	if (is_valid(ghcb, GHCB_XCR0))
		kvm->xcr0 = get(page, GHCB_XCR0);
}

static void take_page(struct vcpu *vcpu, const uint8_t *page)
{
	struct sev_ghcb *ghcb = &vcpu->sev.ghcb;

	*ghcb = (struct sev_ghcb){.is_mapped = true,
				  .gpa = vcpu->cpu->ghcb,
				  .exit_code = get(page, GHCB_EXIT_CODE),
				  .info_1 = get(page, GHCB_EXIT_INFO_1),
				  .info_2 = get(page, GHCB_EXIT_INFO_2)};
	memcpy(ghcb->valid, page + GHCB_VALID_BITMAP, sizeof(ghcb->valid));
	if (is_valid(ghcb, GHCB_SCRATCH))
		ghcb->scratch.gpa = get(page, GHCB_SCRATCH);
	take_registers(vcpu, page);
}

static int serve_page(struct vcpu *vcpu, const uint8_t *page)
{
	struct sev_ghcb *ghcb = &vcpu->sev.ghcb;
	const struct event *event;
	uint32_t usage;

	take_page(vcpu, page);
	memcpy(&usage, page + GHCB_USAGE, sizeof(usage));
	if (usage)
		return ghcb_error(vcpu, ERROR_USAGE);
	if (!is_valid(ghcb, GHCB_EXIT_CODE) || !is_valid(ghcb, GHCB_EXIT_INFO_1) ||
	    !is_valid(ghcb, GHCB_EXIT_INFO_2))
		return ghcb_error(vcpu, ERROR_MISSING_INPUT);
	event = find_event(vcpu, ghcb->exit_code);
	if (!event)
		return ghcb_error(vcpu, ERROR_INVALID_EVENT);
	if (!has_needs(vcpu, needs_of(event, ghcb)) ||
	    (event->code == EVENT_CPUID && vcpu->cpu->state.gpr[RAX] == CPUID_XSAVE &&
	     !is_valid(ghcb, GHCB_XCR0)))
		return ghcb_error(vcpu, ERROR_MISSING_INPUT);
	return event->serve(vcpu);
}

int ghcb_serve(struct vcpu *vcpu)
{
	const uint64_t gpa = vcpu->cpu->ghcb;
	uint8_t page[PAGE_SIZE];

	ghcb_unmap(vcpu);
	if (gpa & (PAGE_SIZE - 1))
		return ghcb_serve_msr(vcpu);
	/* Without a page there is nobody to tell. */
	if (!gpa || !slots_read(vcpu->vm->slots, gpa, NULL, page, sizeof(page)))
		return 1;
	return serve_page(vcpu, page);
}

static void set_valid(uint8_t bitmap[16], unsigned offset)
{
	bitmap[offset / 64] |= (uint8_t)(1u << offset / 8 % 8);
}

void ghcb_unmap(struct vcpu *vcpu)
{
	static const unsigned fields[] = {GHCB_RAX, GHCB_RCX,	      GHCB_RDX,
					  GHCB_RBX, GHCB_EXIT_INFO_1, GHCB_EXIT_INFO_2};
	struct sev_ghcb *ghcb = &vcpu->sev.ghcb;
	const uint64_t *gpr = sev_es_kvm_state(vcpu)->gpr;
	const uint64_t infos[] = {ghcb->ret_info_1, ghcb->ret_info_2};
	const uint64_t rcx_to_rbx[] = {gpr[RCX], gpr[RDX], gpr[RBX]};
	struct slots *slots = vcpu->vm->slots;
	uint8_t valid[16] = {0};

	if (!ghcb->is_mapped)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		set_valid(valid, fields[i]);
	/* If the memory has gone meanwhile, the guest has to do without. */
	if (ghcb->scratch.goes_back)
		(void)slots_write(slots, ghcb->scratch.gpa, NULL, ghcb->scratch.data,
				  ghcb->scratch.len);
	(void)slots_write(slots, ghcb->gpa + GHCB_RAX, NULL, &gpr[RAX], sizeof(gpr[RAX]));
	(void)slots_write(slots, ghcb->gpa + GHCB_RCX, NULL, rcx_to_rbx, sizeof(rcx_to_rbx));
	(void)slots_write(slots, ghcb->gpa + GHCB_EXIT_INFO_1, NULL, infos, sizeof(infos));
	(void)slots_write(slots, ghcb->gpa + GHCB_VALID_BITMAP, NULL, valid, sizeof(valid));
	free(ghcb->scratch.data);
	*ghcb = (struct sev_ghcb){0};
}
