// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * random.c - RDRAND, RDSEED: volume 3
 *
 * They are there whatever CPUID tells the guest, as SVM cannot take them away: Linux as an
 * encrypted guest uses RDRAND before it asks.
 */
#include <sys/random.h>

#include "alu.h"
#include "system.h"

/* CF: there is a number.  The register is cleared if not. */
static enum cpu_result exec_random(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = 0;
	bool is_valid = getrandom(&value, sizeof(value), GRND_NONBLOCK) == sizeof(value);

	set_gpr(cpu, insn->operand[0].reg, insn->operand[0].size, is_valid ? value : 0);
	cpu->state.rflags = (cpu->state.rflags & ~FLAGS_STATUS) | flag_if(is_valid, FLAG_CF);
	return CPU_NEXT;
}

exec_fn *random_find(const ZydisDecodedInstruction *decoded)
{
	bool is_known = decoded->mnemonic == ZYDIS_MNEMONIC_RDRAND ||
			decoded->mnemonic == ZYDIS_MNEMONIC_RDSEED;

	return is_known ? exec_random : NULL;
}
