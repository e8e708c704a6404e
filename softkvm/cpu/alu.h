/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * alu.h - sums, differences and the flags they leave
 *
 * Operands may have bits beyond their size; results have not.  Where the manual (publication 24594,
 * APM volume 3) leaves a flag undefined, something simple is done, which no program may rely on.
 */
#ifndef SOFTKVM_CPU_ALU_H
#define SOFTKVM_CPU_ALU_H

#include "internal.h"

#define FLAGS_STATUS (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

static inline uint64_t flag_if(bool is_set, uint64_t flag)
{
	return is_set ? flag : 0;
}

static inline bool top_bit(uint64_t value, unsigned size)
{
	return value >> (8 * size - 1) & 1;
}

/* ZF, SF, PF of a result. */
static inline uint64_t flags_of(uint64_t result, unsigned size)
{
	return flag_if(result == 0, FLAG_ZF) | flag_if(top_bit(result, size), FLAG_SF) |
	       flag_if(!__builtin_parity((uint8_t)result), FLAG_PF);
}

static inline uint64_t alu_add(uint64_t *flags, unsigned size, uint64_t a, uint64_t b, bool carry)
{
	uint64_t sum = zero_extend(a + b + carry, size);
	uint64_t carries = (a & b) | ((a | b) & ~sum); /* out of each bit */
	uint64_t overflows = (a ^ sum) & (b ^ sum);

	*flags = (*flags & ~FLAGS_STATUS) | flags_of(sum, size) | ((a ^ b ^ sum) & FLAG_AF) |
		 flag_if(top_bit(carries, size), FLAG_CF) |
		 flag_if(top_bit(overflows, size), FLAG_OF);
	return sum;
}

static inline uint64_t alu_sub(uint64_t *flags, unsigned size, uint64_t a, uint64_t b, bool borrow)
{
	uint64_t difference = zero_extend(a - b - borrow, size);
	uint64_t borrows = (~a & b) | ((~a | b) & difference);
	uint64_t overflows = (a ^ b) & (a ^ difference);

	*flags = (*flags & ~FLAGS_STATUS) | flags_of(difference, size) |
		 ((a ^ b ^ difference) & FLAG_AF) | flag_if(top_bit(borrows, size), FLAG_CF) |
		 flag_if(top_bit(overflows, size), FLAG_OF);
	return difference;
}

/* Of AND, OR, XOR. */
static inline uint64_t alu_logic(uint64_t *flags, unsigned size, uint64_t value)
{
	value = zero_extend(value, size);
	*flags = (*flags & ~FLAGS_STATUS) | flags_of(value, size);
	return value;
}

static inline uint64_t alu_inc(uint64_t *flags, unsigned size, uint64_t value)
{
	uint64_t carry = *flags & FLAG_CF;

	value = alu_add(flags, size, value, 1, false);
	*flags = (*flags & ~FLAG_CF) | carry;
	return value;
}

static inline uint64_t alu_dec(uint64_t *flags, unsigned size, uint64_t value)
{
	uint64_t carry = *flags & FLAG_CF;

	value = alu_sub(flags, size, value, 1, false);
	*flags = (*flags & ~FLAG_CF) | carry;
	return value;
}

/* As encoded in Jcc, SETcc, CMOVcc. */
static inline bool alu_condition(uint64_t flags, unsigned condition)
{
	bool is_less = !(flags & FLAG_SF) != !(flags & FLAG_OF);
	bool is_true = false;

	switch (condition >> 1) {
	case 0:
		is_true = flags & FLAG_OF;
		break;
	case 1:
		is_true = flags & FLAG_CF;
		break;
	case 2:
		is_true = flags & FLAG_ZF;
		break;
	case 3:
		is_true = flags & (FLAG_CF | FLAG_ZF);
		break;
	case 4:
		is_true = flags & FLAG_SF;
		break;
	case 5:
		is_true = flags & FLAG_PF;
		break;
	case 6:
		is_true = is_less;
		break;
	case 7:
		is_true = is_less || (flags & FLAG_ZF);
		break;
	}
	return is_true != (condition & 1);
}

#endif
