// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * system.c - HLT, interrupts on and off, caches, calls to the hypervisor
 *
 * Instructions that no CPUID of ours offers are undefined here; those that decode.c finds nowhere
 * end the run as unknown.
 */
#include "system.h"

#include "descriptor.h"

#define PREFIX_REP	 0xf3
#define PREFIX_REPNE	 0xf2
#define LEAF_STRUCTURED	 0x7u
#define CPUID_CLFLUSHOPT (1u << 23) /* EBX */
#define CPUID_CLWB	 (1u << 24)

static enum cpu_result exec_hlt(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	cpu->state.halted = true;
	return CPU_HALTED;
}

/* CR4.VME and CR4.PVI are not offered. */
static bool may_switch_interrupts(const struct cpu *cpu)
{
	return is_real_mode(cpu) || cpu->state.cpl <= iopl_of(cpu);
}

static enum cpu_result exec_cli(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (!may_switch_interrupts(cpu))
		return cpu_gp(cpu, 0);
	cpu->state.rflags &= ~FLAG_IF;
	return CPU_NEXT;
}

/* The next instruction is not interrupted, if interrupts have been off. */
static enum cpu_result exec_sti(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (!may_switch_interrupts(cpu))
		return cpu_gp(cpu, 0);
	if (!(cpu->state.rflags & FLAG_IF))
		cpu->state.shadow = SHADOW_STI;
	cpu->state.rflags |= FLAG_IF;
	return CPU_NEXT;
}

static enum cpu_result set_ac(struct cpu *cpu, uint64_t ac)
{
	if (!cpu->features.smap || cpu->state.cpl != 0 || (cpu->state.rflags & FLAG_VM))
		return cpu_ud(cpu);
	cpu->state.rflags = (cpu->state.rflags & ~FLAG_AC) | ac;
	return CPU_NEXT;
}

static enum cpu_result exec_clac(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return set_ac(cpu, 0);
}

static enum cpu_result exec_stac(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return set_ac(cpu, FLAG_AC);
}

/* What only the hypervisor could do, and does nothing here. */
static enum cpu_result ignore(struct cpu *cpu, enum vc_code code)
{
	if (cpu->state.cpl != 0)
		return cpu_gp(cpu, 0);
	return cpu->es ? cpu_vc(cpu, code) : CPU_NEXT_AFRESH;
}

static enum cpu_result exec_wbinvd(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return ignore(cpu, VC_WBINVD);
}

static enum cpu_result exec_invd(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return ignore(cpu, VC_INVD);
}

/* KVM makes NOPs of them, whatever CPUID says (KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS). */
static enum cpu_result wait(struct cpu *cpu, enum vc_code code)
{
	if (cpu->state.cpl != 0)
		return cpu_ud(cpu);
	return cpu->es ? cpu_vc(cpu, code) : CPU_NEXT;
}

static enum cpu_result exec_monitor(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return wait(cpu, VC_MONITOR);
}

static enum cpu_result exec_mwait(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return wait(cpu, VC_MWAIT);
}

/* The line must be readable. */
static enum cpu_result exec_clflush(struct cpu *cpu, const struct insn *insn)
{
	uint64_t linear;
	uint8_t byte;
	enum cpu_result result =
		cpu_linear(cpu, insn->segment, insn_offset(cpu, insn), 1, false, &linear);

	return result == CPU_NEXT ? cpu_load(cpu, linear, &byte, 1) : result;
}

static enum cpu_result flush_if(struct cpu *cpu, const struct insn *insn, uint32_t feature)
{
	uint32_t regs[4];

	cpu->ops->cpuid(cpu->opaque, LEAF_STRUCTURED, 0, regs);
	return regs[1] & feature ? exec_clflush(cpu, insn) : cpu_ud(cpu);
}

static enum cpu_result exec_clflushopt(struct cpu *cpu, const struct insn *insn)
{
	return flush_if(cpu, insn, CPUID_CLFLUSHOPT);
}

static enum cpu_result exec_clwb(struct cpu *cpu, const struct insn *insn)
{
	return flush_if(cpu, insn, CPUID_CLWB);
}

static enum cpu_result exec_vmmcall(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return cpu->es ? cpu_vc(cpu, VC_VMMCALL) : CPU_VMMCALL;
}

/* VMMCALL with a REP prefix: it is one where there is no SEV-ES (15.35.6). */
static enum cpu_result exec_vmgexit(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return cpu->es ? CPU_VMGEXIT : CPU_VMMCALL;
}

/* Zydis does not know VMGEXIT, and ignores the prefix. */
static bool has_rep(const ZydisDecodedInstruction *decoded)
{
	for (unsigned i = 0; i < decoded->raw.prefix_count; i++)
		if (decoded->raw.prefixes[i].value == PREFIX_REP ||
		    decoded->raw.prefixes[i].value == PREFIX_REPNE)
			return true;
	return false;
}

/* #UD on a processor of AMD; KVM sees that and helps, but not if the guest is encrypted. */
static enum cpu_result exec_vmcall(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return cpu->c_bit ? cpu_ud(cpu) : CPU_VMMCALL;
}

static enum cpu_result exec_undefined(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return cpu_ud(cpu);
}

/* Features of SVM, VMX, SGX and others that are not offered; RSM outside of SMM. */
static exec_fn *find_undefined(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_RSM:
	case ZYDIS_MNEMONIC_VMRUN:
	case ZYDIS_MNEMONIC_VMLOAD:
	case ZYDIS_MNEMONIC_VMSAVE:
	case ZYDIS_MNEMONIC_STGI:
	case ZYDIS_MNEMONIC_CLGI:
	case ZYDIS_MNEMONIC_SKINIT:
	case ZYDIS_MNEMONIC_INVLPGA:
	case ZYDIS_MNEMONIC_INVLPGB:
	case ZYDIS_MNEMONIC_TLBSYNC:
	case ZYDIS_MNEMONIC_PSMASH:
	case ZYDIS_MNEMONIC_PVALIDATE:
	case ZYDIS_MNEMONIC_RMPADJUST:
	case ZYDIS_MNEMONIC_RMPUPDATE:
	case ZYDIS_MNEMONIC_MONITORX:
	case ZYDIS_MNEMONIC_MWAITX:
	case ZYDIS_MNEMONIC_RDPRU:
	case ZYDIS_MNEMONIC_MCOMMIT:
	case ZYDIS_MNEMONIC_SERIALIZE:
	case ZYDIS_MNEMONIC_GETSEC:
	case ZYDIS_MNEMONIC_PCONFIG:
	case ZYDIS_MNEMONIC_ENCLS:
	case ZYDIS_MNEMONIC_ENCLU:
	case ZYDIS_MNEMONIC_ENCLV:
	case ZYDIS_MNEMONIC_VMXON:
	case ZYDIS_MNEMONIC_VMXOFF:
	case ZYDIS_MNEMONIC_VMLAUNCH:
	case ZYDIS_MNEMONIC_VMRESUME:
	case ZYDIS_MNEMONIC_VMREAD:
	case ZYDIS_MNEMONIC_VMWRITE:
	case ZYDIS_MNEMONIC_VMPTRLD:
	case ZYDIS_MNEMONIC_VMPTRST:
	case ZYDIS_MNEMONIC_VMCLEAR:
	case ZYDIS_MNEMONIC_VMFUNC:
	case ZYDIS_MNEMONIC_INVEPT:
	case ZYDIS_MNEMONIC_INVVPID:
		return exec_undefined;
	default:
		return NULL;
	}
}

static exec_fn *find_own(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_HLT:
		return exec_hlt;
	case ZYDIS_MNEMONIC_CLI:
		return exec_cli;
	case ZYDIS_MNEMONIC_STI:
		return exec_sti;
	case ZYDIS_MNEMONIC_CLAC:
		return exec_clac;
	case ZYDIS_MNEMONIC_STAC:
		return exec_stac;
	case ZYDIS_MNEMONIC_WBINVD:
		return exec_wbinvd;
	case ZYDIS_MNEMONIC_INVD:
		return exec_invd;
	case ZYDIS_MNEMONIC_MONITOR:
		return exec_monitor;
	case ZYDIS_MNEMONIC_MWAIT:
		return exec_mwait;
	case ZYDIS_MNEMONIC_CLFLUSH:
		return exec_clflush;
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
		return exec_clflushopt;
	case ZYDIS_MNEMONIC_CLWB:
		return exec_clwb;
	case ZYDIS_MNEMONIC_VMMCALL:
		return has_rep(decoded) ? exec_vmgexit : exec_vmmcall;
	case ZYDIS_MNEMONIC_VMCALL:
		return exec_vmcall;
	default:
		return NULL;
	}
}

exec_fn *system_find(const ZydisDecodedInstruction *decoded)
{
	static exec_fn *(*const finders[])(const ZydisDecodedInstruction *) = {
		find_own,   control_find, msr_find,	  port_find,
		table_find, random_find,  find_undefined,
	};

	for (unsigned i = 0; i < sizeof(finders) / sizeof(finders[0]); i++) {
		exec_fn *exec = finders[i](decoded);

		if (exec)
			return exec;
	}
	return NULL;
}
