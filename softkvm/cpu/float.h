/* SPDX-License-Identifier: GPL-2.0-or-later */
/* float.h - what float.c, compare.c and round.c compute with; see float.c */
#ifndef SOFTKVM_CPU_FLOAT_H
#define SOFTKVM_CPU_FLOAT_H

#include "vector.h"

struct fp {
	uint32_t mxcsr; /* to compute with; then with flags */
	uint32_t host;
	bool finds_tiny; /* underflow is unmasked */
};

/* Into a, whose upper elements scalar instructions keep, from b. */
typedef __m128i fp_fn(struct fp *fp, __m128i a, __m128i b);

/* For the guest's MXCSR. */
void fp_begin(const struct cpu *cpu, struct fp *ret);
/* #XF, or CPU_NEXT and the result is to be stored. */
enum cpu_result fp_end(struct cpu *cpu, const struct fp *fp);

/* Results that may underflow: of which size their elements are. */
enum tiny { NEVER_TINY, TINY_4, TINY_8 };
/* Exact results that are denormal, in the lowest n bytes: an underflow, if that is unmasked. */
void fp_find_tiny(struct fp *fp, enum tiny tiny, const union lane *result, unsigned n);

/* A function of an instruction of the host.  Of scalar ones the upper elements are a's. */
#define FP(name)                                                                                   \
	static __m128i name(struct fp *fp, __m128i a, __m128i b)                                   \
	{                                                                                          \
		__asm__ volatile("ldmxcsr %[guest]\n\t" #name " %[b], %[a]\n\t"                    \
				 "stmxcsr %[guest]\n\tldmxcsr %[host]"                             \
				 : [a] "+x"(a), [guest] "+m"(fp->mxcsr)                            \
				 : [b] "x"(b), [host] "m"(fp->host));                              \
		return a;                                                                          \
	}

#endif
