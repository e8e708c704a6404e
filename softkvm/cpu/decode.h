/* SPDX-License-Identifier: GPL-2.0-or-later */
/* decode.h - from bytes to struct insn */
#ifndef SOFTKVM_CPU_DECODE_H
#define SOFTKVM_CPU_DECODE_H

#include "internal.h"

#define INSN_MAX 15 /* bytes */

enum decode_mode {
	DECODE_64,
	DECODE_COMPAT_32,
	DECODE_COMPAT_16,
	DECODE_32,
	DECODE_16,
	DECODE_REAL_16,
	DECODE_MODES
};

/* As CS, CR0 and EFER tell. */
enum decode_mode decode_mode(const struct cpu *cpu);
void decoder_init(ZydisDecoder *ret, enum decode_mode mode);
/* CPU_NEXT, or CPU_FAULT.  *ret_short: there may be more of it behind len. */
enum cpu_result decode(struct cpu *cpu, const ZydisDecoder *decoder, const uint8_t *bytes,
		       unsigned len, struct insn *ret, bool *ret_short);

#endif
