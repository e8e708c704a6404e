// SPDX-License-Identifier: GPL-2.0-or-later
/* vector.c - may a vector instruction be used, where its operands are */
#include "vector.h"

#include <string.h>

static bool has_feature(const struct cpu_features *features, const struct insn *insn,
			enum vector_feature feature)
{
	if (insn->vex) {
		bool is_float = feature == NEEDS_SSE_FLOAT || feature == NEEDS_SSE3_FLOAT ||
				feature == NEEDS_SSE41_FLOAT || feature == NEEDS_AVX;

		if (feature == NEEDS_AVX2 || (insn->vector_len == 32 && !is_float))
			return features->avx2;
		if ((feature == NEEDS_AES && !features->aes) ||
		    (feature == NEEDS_PCLMULQDQ && !features->pclmulqdq))
			return false;
		return features->avx;
	}
	switch (feature) {
	case NEEDS_SSE:
	case NEEDS_SSE_FLOAT:
		return true;
	case NEEDS_SSE3:
	case NEEDS_SSE3_FLOAT:
		return features->sse3;
	case NEEDS_SSSE3:
		return features->ssse3;
	case NEEDS_SSE41:
	case NEEDS_SSE41_FLOAT:
		return features->sse41;
	case NEEDS_SSE42:
		return features->sse42;
	case NEEDS_AES:
		return features->aes;
	case NEEDS_PCLMULQDQ:
		return features->pclmulqdq;
	case NEEDS_AVX:
	case NEEDS_AVX2:
	default:
		return false;
	}
}

/* APM volume 4, 2.2: exception types. */
enum cpu_result vector_check(struct cpu *cpu, const struct insn *insn, enum vector_feature feature)
{
	const struct cpu_state *state = &cpu->state;
	const uint64_t avx = XCR0_SSE | XCR0_AVX;
	bool is_enabled;

	if (insn->vex)
		is_enabled = !is_real_mode(cpu) && !(state->rflags & FLAG_VM) &&
			     (state->cr4 & CR4_OSXSAVE) && (state->xcr0 & avx) == avx;
	else
		is_enabled = !(state->cr0 & CR0_EM) && (state->cr4 & CR4_OSFXSR);
	if (!is_enabled || !has_feature(&cpu->features, insn, feature))
		return cpu_ud(cpu);
	return state->cr0 & CR0_TS ? cpu_raise(cpu, VECTOR_NM, false, 0) : CPU_NEXT;
}

void vector_get(const struct cpu *cpu, unsigned reg, struct ymm *ret)
{
	memcpy(&ret->lane[0], cpu->state.fpu.xmm[reg], 16);
	memcpy(&ret->lane[1], cpu->state.fpu.ymm_high[reg], 16);
}

void vector_set(struct cpu *cpu, const struct insn *insn, unsigned reg, const struct ymm *value)
{
	struct cpu_fpu *fpu = &cpu->state.fpu;

	memcpy(fpu->xmm[reg], &value->lane[0], 16);
	if (!insn->vex)
		return;
	if (insn->vector_len == 32)
		memcpy(fpu->ymm_high[reg], &value->lane[1], 16);
	else
		memset(fpu->ymm_high[reg], 0, 16);
}

static enum cpu_result vector_linear(struct cpu *cpu, const struct insn *insn, unsigned len,
				     bool is_aligned, bool is_write, uint64_t *ret)
{
	if (!insn->vex && cpu->state.fpu.mxcsr & MXCSR_MM)
		is_aligned = false;
	if (is_aligned && !insn_is_aligned(cpu, insn, len))
		return cpu_gp(cpu, 0);
	return cpu_linear(cpu, insn->segment, insn_offset(cpu, insn), len, is_write, ret);
}

enum cpu_result vector_load(struct cpu *cpu, const struct insn *insn, unsigned n, unsigned len,
			    bool is_aligned, struct ymm *ret)
{
	const struct operand *operand = &insn->operand[n];
	enum cpu_result result;
	uint64_t linear;

	if (operand->kind == OPERAND_XMM) {
		vector_get(cpu, operand->reg, ret);
		if (len < 32)
			memset((uint8_t *)ret + len, 0, 32 - len);
		return CPU_NEXT;
	}
	if (operand->kind != OPERAND_MEMORY)
		return CPU_IS_UNKNOWN;
	result = vector_linear(cpu, insn, len, is_aligned, false, &linear);
	if (result != CPU_NEXT)
		return result;
	memset(ret, 0, sizeof(*ret));
	return cpu_load(cpu, linear, ret, len);
}

enum cpu_result vector_store(struct cpu *cpu, const struct insn *insn, unsigned n, unsigned len,
			     bool is_aligned, const struct ymm *value)
{
	const struct operand *operand = &insn->operand[n];
	enum cpu_result result;
	uint64_t linear;

	if (operand->kind == OPERAND_XMM) {
		vector_set(cpu, insn, operand->reg, value);
		return CPU_NEXT;
	}
	if (operand->kind != OPERAND_MEMORY)
		return CPU_IS_UNKNOWN;
	result = vector_linear(cpu, insn, len, is_aligned, true, &linear);
	return result == CPU_NEXT ? cpu_store(cpu, linear, value, len) : result;
}

exec_fn *vector_find(const ZydisDecodedInstruction *decoded)
{
	exec_fn *exec;

	if (decoded->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    decoded->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return NULL;
	exec = lane_find(decoded->mnemonic);
	if (!exec)
		exec = move_find(decoded);
	if (!exec)
		exec = permute_find(decoded->mnemonic);
	if (!exec)
		exec = float_find(decoded->mnemonic);
	if (!exec)
		exec = compare_find(decoded);
	if (!exec)
		exec = round_find(decoded->mnemonic);
	if (!exec)
		exec = text_find(decoded->mnemonic);
	if (!exec)
		exec = gather_find(decoded->mnemonic);
	return exec ? exec : fpu_find(decoded->mnemonic);
}
