// SPDX-License-Identifier: GPL-2.0-or-later
/* compare.c - comparisons of floating point, and conversions from and to general registers */
#include "float.h"

FP(cmpeqps)
FP(cmpeqpd)
FP(cmpltps)
FP(cmpltpd)
FP(cmpunordps)
FP(cmpunordpd)

/* Predicates of CMPxx: what has to be so.  Sixteen more are these with the other kind of NaN. */
enum { EQUAL = 1, LESS = 2, UNORDERED = 4, GREATER = 8 };

static const uint8_t predicates[16] = {
	EQUAL,
	LESS,
	LESS | EQUAL,
	UNORDERED,
	UNORDERED | LESS | GREATER,
	UNORDERED | EQUAL | GREATER,
	UNORDERED | GREATER,
	LESS | EQUAL | GREATER,
	UNORDERED | EQUAL,
	UNORDERED | LESS,
	UNORDERED | LESS | EQUAL,
	0,
	LESS | GREATER,
	GREATER | EQUAL,
	GREATER,
	UNORDERED | LESS | EQUAL | GREATER,
};

/* Is a quiet NaN invalid?  1, 2 of each four; of predicates over 15 the others. */
static bool is_signalling(unsigned predicate)
{
	unsigned n = predicate & 3;

	return (n == 1 || n == 2) != (predicate > 15);
}

static __m128i compare(struct fp *fp, unsigned predicate, bool is_double, __m128i a, __m128i b)
{
	unsigned relations = predicates[predicate & 15];
	struct fp quiet = *fp;
	__m128i equal = (is_double ? cmpeqpd : cmpeqps)(&quiet, a, b);
	__m128i less = (is_double ? cmpltpd : cmpltps)(&quiet, a, b);
	__m128i unordered = (is_double ? cmpunordpd : cmpunordps)(&quiet, a, b);
	__m128i none = _mm_setzero_si128(), r = none;

	if (is_signalling(predicate))
		(void)(is_double ? cmpltpd : cmpltps)(fp, a, b);
	else
		(void)(is_double ? cmpeqpd : cmpeqps)(fp, a, b);
	if (relations & EQUAL)
		r = _mm_or_si128(r, equal);
	if (relations & LESS)
		r = _mm_or_si128(r, less);
	if (relations & UNORDERED)
		r = _mm_or_si128(r, unordered);
	if (relations & GREATER)
		r = _mm_or_si128(
			r,
			_mm_cmpeq_epi32(_mm_or_si128(_mm_or_si128(equal, less), unordered), none));
	return r;
}

static unsigned predicate_of(const struct insn *insn)
{
	return (unsigned)insn->immediate & (insn->vex ? 31 : 7);
}

static enum cpu_result compare_packed(struct cpu *cpu, const struct insn *insn, bool is_double)
{
	unsigned first = first_source(insn);
	struct ymm a, b, r = {0};
	struct fp fp;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, first + 1, vector_len(insn), wants_aligned(insn),
				     &b);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[first].reg, &a);
	fp_begin(cpu, &fp);
	for (unsigned i = 0; i < vector_len(insn) / 16; i++)
		r.lane[i].m = compare(&fp, predicate_of(insn), is_double, a.lane[i].m, b.lane[i].m);
	result = fp_end(cpu, &fp);
	if (result == CPU_NEXT)
		vector_set(cpu, insn, insn->operand[0].reg, &r);
	return result;
}

static enum cpu_result cmpps(struct cpu *cpu, const struct insn *insn)
{
	return compare_packed(cpu, insn, false);
}

static enum cpu_result cmppd(struct cpu *cpu, const struct insn *insn)
{
	return compare_packed(cpu, insn, true);
}

/* Zeros above: they are equal, and raise nothing. */
static enum cpu_result compare_scalar(struct cpu *cpu, const struct insn *insn, bool is_double)
{
	unsigned first = first_source(insn);
	struct ymm a, b, r;
	struct fp fp;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, first + 1, is_double ? 8 : 4, false, &b);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[first].reg, &r);
	r.lane[1].m = _mm_setzero_si128();
	a.lane[0].m = is_double ? _mm_move_epi64(r.lane[0].m) : _mm_cvtsi32_si128(r.lane[0].i32[0]);
	fp_begin(cpu, &fp);
	a.lane[0].m = compare(&fp, predicate_of(insn), is_double, a.lane[0].m, b.lane[0].m);
	r.lane[0].u32[0] = a.lane[0].u32[0];
	if (is_double)
		r.lane[0].u32[1] = a.lane[0].u32[1];
	result = fp_end(cpu, &fp);
	if (result == CPU_NEXT)
		vector_set(cpu, insn, insn->operand[0].reg, &r);
	return result;
}

static enum cpu_result cmpss(struct cpu *cpu, const struct insn *insn)
{
	return compare_scalar(cpu, insn, false);
}

static enum cpu_result cmpsd(struct cpu *cpu, const struct insn *insn)
{
	return compare_scalar(cpu, insn, true);
}

/* To RFLAGS.  Conversions to and from general registers are similar, but for kinds of operands. */
#define COMI(name)                                                                                 \
	static uint64_t name##_flags(struct fp *fp, __m128i a, __m128i b)                          \
	{                                                                                          \
		bool z, p, c;                                                                      \
                                                                                                   \
		__asm__ volatile("ldmxcsr %[guest]\n\t" #name " %[b], %[a]\n\t"                    \
				 "stmxcsr %[guest]\n\tldmxcsr %[host]"                             \
				 : "=@ccz"(z), "=@ccp"(p), "=@ccc"(c), [guest] "+m"(fp->mxcsr)     \
				 : [a] "x"(a), [b] "x"(b), [host] "m"(fp->host));                  \
		return (z ? FLAG_ZF : 0) | (p ? FLAG_PF : 0) | (c ? FLAG_CF : 0);                  \
	}                                                                                          \
                                                                                                   \
	static enum cpu_result name(struct cpu *cpu, const struct insn *insn)                      \
	{                                                                                          \
		return compare_flags(cpu, insn, name##_flags);                                     \
	}

static enum cpu_result compare_flags(struct cpu *cpu, const struct insn *insn,
				     uint64_t (*fn)(struct fp *fp, __m128i a, __m128i b))
{
	bool is_double = insn->operand[1].size == 8 || insn->mnemonic == ZYDIS_MNEMONIC_COMISD ||
			 insn->mnemonic == ZYDIS_MNEMONIC_UCOMISD ||
			 insn->mnemonic == ZYDIS_MNEMONIC_VCOMISD ||
			 insn->mnemonic == ZYDIS_MNEMONIC_VUCOMISD;
	struct ymm a, b;
	struct fp fp;
	uint64_t flags;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, is_double ? 8 : 4, false, &b);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[0].reg, &a);
	fp_begin(cpu, &fp);
	flags = fn(&fp, a.lane[0].m, b.lane[0].m);
	result = fp_end(cpu, &fp);
	if (result != CPU_NEXT)
		return result;
	cpu->state.rflags &= ~(FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF);
	cpu->state.rflags |= flags;
	return CPU_NEXT;
}

COMI(comiss)
COMI(comisd)
COMI(ucomiss)
COMI(ucomisd)

#define TO_INTEGER(name, bytes)                                                                    \
	static uint64_t name##_value(struct fp *fp, __m128i b, bool is_64)                         \
	{                                                                                          \
		uint64_t r;                                                                        \
                                                                                                   \
		if (is_64)                                                                         \
			__asm__ volatile("ldmxcsr %[guest]\n\t" #name " %[b], %q[r]\n\t"           \
					 "stmxcsr %[guest]\n\tldmxcsr %[host]"                     \
					 : [r] "=r"(r), [guest] "+m"(fp->mxcsr)                    \
					 : [b] "x"(b), [host] "m"(fp->host));                      \
		else                                                                               \
			__asm__ volatile("ldmxcsr %[guest]\n\t" #name " %[b], %k[r]\n\t"           \
					 "stmxcsr %[guest]\n\tldmxcsr %[host]"                     \
					 : [r] "=r"(r), [guest] "+m"(fp->mxcsr)                    \
					 : [b] "x"(b), [host] "m"(fp->host));                      \
		return r;                                                                          \
	}                                                                                          \
                                                                                                   \
	static enum cpu_result name(struct cpu *cpu, const struct insn *insn)                      \
	{                                                                                          \
		return to_integer(cpu, insn, bytes, name##_value);                                 \
	}

static enum cpu_result to_integer(struct cpu *cpu, const struct insn *insn, unsigned size,
				  uint64_t (*fn)(struct fp *fp, __m128i b, bool is_64))
{
	struct ymm b;
	struct fp fp;
	uint64_t value;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE_FLOAT);

	if (result == CPU_NEXT)
		result = vector_load(cpu, insn, 1, size, false, &b);
	if (result != CPU_NEXT)
		return result;
	fp_begin(cpu, &fp);
	value = fn(&fp, b.lane[0].m, insn->operand[0].size == 8);
	result = fp_end(cpu, &fp);
	if (result == CPU_NEXT)
		set_gpr(cpu, insn->operand[0].reg, insn->operand[0].size, value);
	return result;
}

TO_INTEGER(cvtss2si, 4)
TO_INTEGER(cvttss2si, 4)
TO_INTEGER(cvtsd2si, 8)
TO_INTEGER(cvttsd2si, 8)

#define FROM_INTEGER(name)                                                                         \
	static __m128i name##_value(struct fp *fp, __m128i a, uint64_t value, bool is_64)          \
	{                                                                                          \
		if (is_64)                                                                         \
			__asm__ volatile("ldmxcsr %[guest]\n\t" #name " %q[value], %[a]\n\t"       \
					 "stmxcsr %[guest]\n\tldmxcsr %[host]"                     \
					 : [a] "+x"(a), [guest] "+m"(fp->mxcsr)                    \
					 : [value] "r"(value), [host] "m"(fp->host));              \
		else                                                                               \
			__asm__ volatile("ldmxcsr %[guest]\n\t" #name " %k[value], %[a]\n\t"       \
					 "stmxcsr %[guest]\n\tldmxcsr %[host]"                     \
					 : [a] "+x"(a), [guest] "+m"(fp->mxcsr)                    \
					 : [value] "r"(value), [host] "m"(fp->host));              \
		return a;                                                                          \
	}                                                                                          \
                                                                                                   \
	static enum cpu_result name(struct cpu *cpu, const struct insn *insn)                      \
	{                                                                                          \
		return from_integer(cpu, insn, name##_value);                                      \
	}

static enum cpu_result from_integer(struct cpu *cpu, const struct insn *insn,
				    __m128i (*fn)(struct fp *fp, __m128i a, uint64_t value,
						  bool is_64))
{
	unsigned first = first_source(insn);
	struct ymm a, r = {0};
	struct fp fp;
	uint64_t value;
	enum cpu_result result = vector_check(cpu, insn, NEEDS_SSE_FLOAT);

	if (result == CPU_NEXT)
		result = operand_get(cpu, insn, first + 1, &value);
	if (result != CPU_NEXT)
		return result;
	vector_get(cpu, insn->operand[first].reg, &a);
	fp_begin(cpu, &fp);
	r.lane[0].m = fn(&fp, a.lane[0].m, value, insn->operand[first + 1].size == 8);
	result = fp_end(cpu, &fp);
	if (result == CPU_NEXT)
		vector_set(cpu, insn, insn->operand[0].reg, &r);
	return result;
}

FROM_INTEGER(cvtsi2ss)
FROM_INTEGER(cvtsi2sd)

#define BOTH(name, exec) [ZYDIS_MNEMONIC_##name] = exec, [ZYDIS_MNEMONIC_V##name] = exec

static exec_fn *const table[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	BOTH(CMPPS, cmpps),	    BOTH(CMPPD, cmppd),	      BOTH(CMPSS, cmpss),
	BOTH(CMPSD, cmpsd),	    BOTH(COMISS, comiss),     BOTH(COMISD, comisd),
	BOTH(UCOMISS, ucomiss),	    BOTH(UCOMISD, ucomisd),   BOTH(CVTSS2SI, cvtss2si),
	BOTH(CVTTSS2SI, cvttss2si), BOTH(CVTSD2SI, cvtsd2si), BOTH(CVTTSD2SI, cvttsd2si),
	BOTH(CVTSI2SS, cvtsi2ss),   BOTH(CVTSI2SD, cvtsi2sd),
};

exec_fn *compare_find(const ZydisDecodedInstruction *decoded)
{
	/* The string instruction has the same name. */
	if (decoded->mnemonic == ZYDIS_MNEMONIC_CMPSD && decoded->opcode_map != ZYDIS_OPCODE_MAP_0F)
		return NULL;
	return table[decoded->mnemonic];
}
