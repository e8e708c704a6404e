/* SPDX-License-Identifier: GPL-2.0-or-later */
/* system.h - what the files of privileged instructions share */
#ifndef SOFTKVM_CPU_SYSTEM_H
#define SOFTKVM_CPU_SYSTEM_H

#include "internal.h"

/* Codes of #VC: those of the #VMEXIT that there would be without SEV-ES (appendix C). */
enum vc_code {
	VC_READ_DR7 = 0x27,
	VC_WRITE_DR7 = 0x37,
	VC_RDPMC = 0x6f,
	VC_CPUID = 0x72,
	VC_INVD = 0x76,
	VC_PORT = 0x7b,
	VC_MSR = 0x7c,
	VC_VMMCALL = 0x81,
	VC_WBINVD = 0x89,
	VC_MONITOR = 0x8a,
	VC_MWAIT = 0x8b,
};

#define LEAF_EXTENDED 0x80000001u
#define CPUID_SVM     (1u << 2)	 /* ECX */
#define CPUID_FFXSR   (1u << 25) /* EDX */

/* A control register has been written.  SEV-ES: a trap (15.35.10), or the machine is told. */
enum cpu_result control_written(struct cpu *cpu, enum cpu_trap trap);
enum cpu_result control_write_efer(struct cpu *cpu, uint64_t value);

/* Parts of system_find(). */
exec_fn *control_find(const ZydisDecodedInstruction *decoded);
exec_fn *msr_find(const ZydisDecodedInstruction *decoded);
exec_fn *port_find(const ZydisDecodedInstruction *decoded);
exec_fn *table_find(const ZydisDecodedInstruction *decoded);
exec_fn *random_find(const ZydisDecodedInstruction *decoded);

/* What the VMM's CPUID says, with what depends on the CPU's state. */
void cpuid_now(struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t ret[4]);

#endif
