// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * msr.c - RDMSR, WRMSR, CPUID, RDTSC, XCR0, PKRU, bases of FS and GS
 *
 * With SEV-ES, MSRs that KVM does not intercept are the guest's own: those that are part of the
 * CPU's state here, and the GHCB's address.  All others raise #VC.
 */
#include "descriptor.h"
#include "system.h"
#include "vector.h"
#include "xsave.h"

#define MSR_X2APIC_FIRST   0x800u
#define MSR_X2APIC_LAST	   0x8ffu
#define MSR_SYSENTER_CS	   0x174u
#define MSR_SYSENTER_ESP   0x175u
#define MSR_SYSENTER_EIP   0x176u
#define MSR_PAT		   0x277u
#define MSR_EFER	   0xc0000080u
#define MSR_STAR	   0xc0000081u
#define MSR_LSTAR	   0xc0000082u
#define MSR_CSTAR	   0xc0000083u
#define MSR_SFMASK	   0xc0000084u
#define MSR_FS_BASE	   0xc0000100u
#define MSR_GS_BASE	   0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX	   0xc0000103u
#define MSR_GHCB	   0xc0010130u
#define MSR_SEV_STATUS	   0xc0010131u
/* 15.34.10 */
#define SEV_STATUS_SEV (1u << 0)
#define SEV_STATUS_ES  (1u << 1)

#define LEAF_FEATURES	0x1u
#define LEAF_STRUCTURED 0x7u
#define LEAF_XSAVE	0xdu
#define CPUID_OSXSAVE	(1u << 27) /* leaf 1, ECX */
#define CPUID_OSPKE	(1u << 4)  /* leaf 7, ECX */
#define CPUID_RDPID	(1u << 22) /* leaf 7, ECX */

#define XCR0_OFFERED (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_PKRU)

/* MSRs that are kept as they are written. */
static uint64_t *find_plain(struct cpu *cpu, uint32_t msr)
{
	struct cpu_state *state = &cpu->state;

	switch (msr) {
	case MSR_SYSENTER_CS:
		return &state->sysenter_cs;
	case MSR_SYSENTER_ESP:
		return &state->sysenter_esp;
	case MSR_SYSENTER_EIP:
		return &state->sysenter_eip;
	case MSR_PAT:
		return &state->pat;
	case MSR_STAR:
		return &state->star;
	case MSR_LSTAR:
		return &state->lstar;
	case MSR_CSTAR:
		return &state->cstar;
	case MSR_SFMASK:
		return &state->sfmask;
	case MSR_FS_BASE:
		return &state->segment[FS].base;
	case MSR_GS_BASE:
		return &state->segment[GS].base;
	case MSR_KERNEL_GS_BASE:
		return &state->kernel_gs_base;
	case MSR_TSC_AUX:
		return cpu->features.rdtscp ? &state->tsc_aux : NULL;
	case MSR_GHCB:
		return cpu->es ? &cpu->ghcb : NULL;
	default:
		return NULL;
	}
}

static bool is_address(uint32_t msr)
{
	return msr == MSR_SYSENTER_ESP || msr == MSR_SYSENTER_EIP || msr == MSR_LSTAR ||
	       msr == MSR_CSTAR || msr == MSR_FS_BASE || msr == MSR_GS_BASE ||
	       msr == MSR_KERNEL_GS_BASE;
}

/* 7.8.1: eight memory types, of which 2 and 3 are reserved. */
static bool is_pat(uint64_t value)
{
	for (unsigned i = 0; i < 8; i++) {
		uint8_t type = (uint8_t)(value >> 8 * i);

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

static enum cpu_result write_plain(struct cpu *cpu, uint32_t msr, uint64_t *at, uint64_t value)
{
	if ((is_address(msr) && !is_canonical(cpu, value)) || (msr == MSR_PAT && !is_pat(value)))
		return cpu_gp(cpu, 0);
	if (msr == MSR_SFMASK || msr == MSR_TSC_AUX || msr == MSR_SYSENTER_CS)
		value = (uint32_t)value;
	*at = value;
	return CPU_NEXT;
}

static bool is_sev_status(const struct cpu *cpu, uint32_t msr)
{
	return msr == MSR_SEV_STATUS && cpu->c_bit;
}

static enum cpu_result exec_rdmsr(struct cpu *cpu, const struct insn *insn)
{
	uint32_t msr = (uint32_t)cpu->state.gpr[RCX];
	uint64_t *plain = find_plain(cpu, msr);
	uint64_t value = 0;

	(void)insn;
	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	if (plain)
		value = *plain;
	else if (msr == MSR_EFER)
		value = cpu->state.efer;
	else if (is_sev_status(cpu, msr))
		value = SEV_STATUS_SEV | (cpu->es ? SEV_STATUS_ES : 0);
	else if (cpu->es)
		return cpu_vc(cpu, VC_MSR);
	else if (!cpu->ops->rdmsr(cpu->opaque, msr, &value))
		return cpu_gp(cpu, 0);
	cpu->state.gpr[RAX] = (uint32_t)value;
	cpu->state.gpr[RDX] = value >> 32;
	return CPU_NEXT;
}

/* 7.6.4: WRMSR is serializing, but not where it is used often. */
static bool is_light(uint32_t msr)
{
	return msr == MSR_FS_BASE || msr == MSR_GS_BASE || msr == MSR_KERNEL_GS_BASE ||
	       (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

static enum cpu_result exec_wrmsr(struct cpu *cpu, const struct insn *insn)
{
	uint32_t msr = (uint32_t)cpu->state.gpr[RCX];
	uint64_t value = cpu->state.gpr[RDX] << 32 | (uint32_t)cpu->state.gpr[RAX];
	uint64_t *plain = find_plain(cpu, msr);
	enum cpu_result result = CPU_NEXT;

	(void)insn;
	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	if (msr == MSR_EFER)
		return control_write_efer(cpu, value);
	if (plain)
		result = write_plain(cpu, msr, plain, value);
	else if (is_sev_status(cpu, msr))
		result = cpu_gp(cpu, 0);
	else if (cpu->es)
		result = cpu_vc(cpu, VC_MSR);
	else if (!cpu->ops->wrmsr(cpu->opaque, msr, value))
		result = cpu_gp(cpu, 0);
	return result == CPU_NEXT && !is_light(msr) ? CPU_NEXT_AFRESH : result;
}

/* Bytes of XSAVE's area in standard format. */
static uint32_t xsave_len(uint64_t xcr0)
{
	if (xcr0 & XCR0_PKRU)
		return XSAVE_PKRU + XSAVE_PKRU_LEN;
	return xcr0 & XCR0_AVX ? XSAVE_YMM + XSAVE_YMM_LEN : XSAVE_HEADER + XSAVE_HEADER_LEN;
}

static uint32_t xsave_compacted_len(uint64_t xcr0)
{
	return XSAVE_HEADER + XSAVE_HEADER_LEN + (xcr0 & XCR0_AVX ? XSAVE_YMM_LEN : 0) +
	       (xcr0 & XCR0_PKRU ? XSAVE_PKRU_LEN : 0);
}

void cpuid_now(struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	const struct cpu_state *state = &cpu->state;

	cpu->ops->cpuid(cpu->opaque, leaf, subleaf, ret);
	if (leaf == LEAF_FEATURES) {
		ret[2] &= ~CPUID_OSXSAVE;
		ret[2] |= state->cr4 & CR4_OSXSAVE ? CPUID_OSXSAVE : 0;
	} else if (leaf == LEAF_STRUCTURED && subleaf == 0) {
		ret[2] &= ~CPUID_OSPKE;
		ret[2] |= state->cr4 & CR4_PKE ? CPUID_OSPKE : 0;
	} else if (leaf == LEAF_XSAVE && subleaf == 0 && ret[0]) {
		ret[1] = xsave_len(state->xcr0);
	} else if (leaf == LEAF_XSAVE && subleaf == 1 && cpu->features.xsavec) {
		ret[1] = xsave_compacted_len(state->xcr0);
	}
}

static enum cpu_result exec_cpuid(struct cpu *cpu, const struct insn *insn)
{
	struct cpu_state *state = &cpu->state;
	uint32_t regs[4]; /* EAX, EBX, ECX, EDX */

	(void)insn;
	if (cpu->es)
		return cpu_vc(cpu, VC_CPUID);
	cpuid_now(cpu, (uint32_t)state->gpr[RAX], (uint32_t)state->gpr[RCX], regs);
	state->gpr[RAX] = regs[0];
	state->gpr[RBX] = regs[1];
	state->gpr[RCX] = regs[2];
	state->gpr[RDX] = regs[3];
	return CPU_NEXT_AFRESH;
}

static void set_tsc(struct cpu *cpu)
{
	uint64_t tsc = cpu->ops->tsc(cpu->opaque);

	cpu->state.gpr[RAX] = (uint32_t)tsc;
	cpu->state.gpr[RDX] = tsc >> 32;
}

static bool may_read_tsc(const struct cpu *cpu)
{
	return cpu->state.cpl == 0 || !(cpu->state.cr4 & CR4_TSD) || is_real_mode(cpu);
}

static enum cpu_result exec_rdtsc(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (!may_read_tsc(cpu))
		return cpu_gp(cpu, 0);
	set_tsc(cpu);
	return CPU_NEXT;
}

static enum cpu_result exec_rdtscp(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (!cpu->features.rdtscp)
		return cpu_ud(cpu);
	if (!may_read_tsc(cpu))
		return cpu_gp(cpu, 0);
	set_tsc(cpu);
	cpu->state.gpr[RCX] = (uint32_t)cpu->state.tsc_aux;
	return CPU_NEXT;
}

static enum cpu_result exec_rdpid(struct cpu *cpu, const struct insn *insn)
{
	uint32_t regs[4];

	cpu->ops->cpuid(cpu->opaque, LEAF_STRUCTURED, 0, regs);
	if (!(regs[2] & CPUID_RDPID))
		return cpu_ud(cpu);
	cpu->state.gpr[insn->operand[0].reg] = (uint32_t)cpu->state.tsc_aux;
	return CPU_NEXT;
}

/* There are no performance counters. */
static enum cpu_result exec_rdpmc(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (cpu->es && cpu->state.cpl == 0)
		return cpu_vc(cpu, VC_RDPMC);
	return cpu_gp(cpu, 0);
}

static enum cpu_result exec_xgetbv(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (!(cpu->state.cr4 & CR4_OSXSAVE))
		return cpu_ud(cpu);
	if ((uint32_t)cpu->state.gpr[RCX] != 0)
		return cpu_gp(cpu, 0);
	cpu->state.gpr[RAX] = (uint32_t)cpu->state.xcr0;
	cpu->state.gpr[RDX] = cpu->state.xcr0 >> 32;
	return CPU_NEXT;
}

static bool is_xcr0(const struct cpu *cpu, uint64_t value)
{
	if (!(value & XCR0_X87) || (value & ~XCR0_OFFERED))
		return false;
	if ((value & XCR0_AVX) && (!(value & XCR0_SSE) || !cpu->features.avx))
		return false;
	return !(value & XCR0_PKRU) || cpu->features.pku;
}

/* SEV-ES: it is the guest's own, KVM does not see it. */
static enum cpu_result exec_xsetbv(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = cpu->state.gpr[RDX] << 32 | (uint32_t)cpu->state.gpr[RAX];

	(void)insn;
	if (!(cpu->state.cr4 & CR4_OSXSAVE))
		return cpu_ud(cpu);
	if (cpu->state.cpl != 0 || (uint32_t)cpu->state.gpr[RCX] != 0 || !is_xcr0(cpu, value))
		return cpu_gp(cpu, 0);
	cpu->state.xcr0 = value;
	if (!cpu->es)
		cpu->ops->control_written(cpu->opaque);
	return CPU_NEXT_AFRESH;
}

static enum cpu_result exec_rdpkru(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (!(cpu->state.cr4 & CR4_PKE))
		return cpu_ud(cpu);
	if ((uint32_t)cpu->state.gpr[RCX] != 0)
		return cpu_gp(cpu, 0);
	cpu->state.gpr[RAX] = cpu->state.pkru;
	cpu->state.gpr[RDX] = 0;
	return CPU_NEXT;
}

static enum cpu_result exec_wrpkru(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (!(cpu->state.cr4 & CR4_PKE))
		return cpu_ud(cpu);
	if ((uint32_t)cpu->state.gpr[RCX] != 0 || (uint32_t)cpu->state.gpr[RDX] != 0)
		return cpu_gp(cpu, 0);
	cpu->state.pkru = (uint32_t)cpu->state.gpr[RAX];
	tlb_flush(cpu, true);
	return CPU_NEXT;
}

/* Bases of FS and GS; 64-bit mode only. */
static enum cpu_result read_base(struct cpu *cpu, const struct insn *insn, unsigned segment)
{
	if (!(cpu->state.cr4 & CR4_FSGSBASE))
		return cpu_ud(cpu);
	return operand_set(cpu, insn, 0, cpu->state.segment[segment].base);
}

static enum cpu_result write_base(struct cpu *cpu, const struct insn *insn, unsigned segment)
{
	uint64_t base;
	enum cpu_result result;

	if (!(cpu->state.cr4 & CR4_FSGSBASE))
		return cpu_ud(cpu);
	result = operand_get(cpu, insn, 0, &base);
	if (result != CPU_NEXT)
		return result;
	if (!is_canonical(cpu, base))
		return cpu_gp(cpu, 0);
	cpu->state.segment[segment].base = base;
	return CPU_NEXT;
}

static enum cpu_result exec_rdfsbase(struct cpu *cpu, const struct insn *insn)
{
	return read_base(cpu, insn, FS);
}

static enum cpu_result exec_rdgsbase(struct cpu *cpu, const struct insn *insn)
{
	return read_base(cpu, insn, GS);
}

static enum cpu_result exec_wrfsbase(struct cpu *cpu, const struct insn *insn)
{
	return write_base(cpu, insn, FS);
}

static enum cpu_result exec_wrgsbase(struct cpu *cpu, const struct insn *insn)
{
	return write_base(cpu, insn, GS);
}

static enum cpu_result exec_swapgs(struct cpu *cpu, const struct insn *insn)
{
	uint64_t base = cpu->state.segment[GS].base;

	(void)insn;
	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	cpu->state.segment[GS].base = cpu->state.kernel_gs_base;
	cpu->state.kernel_gs_base = base;
	return CPU_NEXT;
}

exec_fn *msr_find(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_RDMSR:
		return exec_rdmsr;
	case ZYDIS_MNEMONIC_WRMSR:
		return exec_wrmsr;
	case ZYDIS_MNEMONIC_CPUID:
		return exec_cpuid;
	case ZYDIS_MNEMONIC_RDTSC:
		return exec_rdtsc;
	case ZYDIS_MNEMONIC_RDTSCP:
		return exec_rdtscp;
	case ZYDIS_MNEMONIC_RDPID:
		return exec_rdpid;
	case ZYDIS_MNEMONIC_RDPMC:
		return exec_rdpmc;
	case ZYDIS_MNEMONIC_XGETBV:
		return exec_xgetbv;
	case ZYDIS_MNEMONIC_XSETBV:
		return exec_xsetbv;
	case ZYDIS_MNEMONIC_RDPKRU:
		return exec_rdpkru;
	case ZYDIS_MNEMONIC_WRPKRU:
		return exec_wrpkru;
	case ZYDIS_MNEMONIC_RDFSBASE:
		return exec_rdfsbase;
	case ZYDIS_MNEMONIC_RDGSBASE:
		return exec_rdgsbase;
	case ZYDIS_MNEMONIC_WRFSBASE:
		return exec_wrfsbase;
	case ZYDIS_MNEMONIC_WRGSBASE:
		return exec_wrgsbase;
	case ZYDIS_MNEMONIC_SWAPGS:
		return exec_swapgs;
	default:
		return NULL;
	}
}
