// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * xsave.c - XSAVE's area: by instructions and for KVM_GET_XSAVE, KVM_SET_XSAVE
 *
 *	0	FXSAVE's area: components 0 (x87) and 1 (XMM); MXCSR is of 1 and 2
 *	512	header: XSTATE_BV (what there is), XCOMP_BV (bit 63: compacted, others: with room)
 *	576	components 2 (upper halves of YMM) and 9 (PKRU): at fixed offsets or, compacted, one
 *		behind the other
 *
 * A component of which XSTATE_BV has no bit is in its initial state, whatever its bytes are.
 * XSAVE writes these bytes all the same, XSAVEOPT and XSAVEC do not.
 */
#include <string.h>

#include "vector.h"
#include "xsave.h"

#define XCOMP_COMPACTED (1ull << 63)
#define MXCSR_OFFSET	24
#define MXCSR_LEN	8 /* with its mask */

/* Bytes of a component. */
struct part {
	uint64_t component;
	uint16_t area;	/* offset in the area, in standard format */
	uint16_t state; /* in struct cpu_state */
	uint16_t len;
};

#define FPU(member) offsetof(struct cpu_state, fpu.member)

static const struct part parts[] = {
	{XCR0_X87, 0, FPU(fcw), MXCSR_OFFSET},
	{XCR0_X87, 32, FPU(st), sizeof(((struct cpu_fpu *)NULL)->st)},
	{XCR0_SSE, 160, FPU(xmm), sizeof(((struct cpu_fpu *)NULL)->xmm)},
	{XCR0_AVX, XSAVE_YMM, FPU(ymm_high), XSAVE_YMM_LEN},
	{XCR0_PKRU, XSAVE_PKRU, offsetof(struct cpu_state, pkru), sizeof(uint32_t)},
};

#define N_PARTS (sizeof(parts) / sizeof(parts[0]))

struct header {
	uint64_t xstate_bv, xcomp_bv, reserved[6];
};
_Static_assert(sizeof(struct header) == XSAVE_HEADER_LEN, "13.2");

/* Nothing but initial values: 11.5.10. */
static const struct cpu_state initial = {.fpu.fcw = FCW_DEFAULT, .fpu.mxcsr = MXCSR_DEFAULT};

static uint64_t in_use(const struct cpu_state *state)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < N_PARTS; i++)
		if (memcmp((const uint8_t *)state + parts[i].state,
			   (const uint8_t *)&initial + parts[i].state, parts[i].len))
			mask |= parts[i].component;
	return mask;
}

static unsigned part_offset(const struct part *part, uint64_t xcomp_bv)
{
	if (part->component == XCR0_PKRU && (xcomp_bv & XCOMP_COMPACTED) && !(xcomp_bv & XCR0_AVX))
		return XSAVE_YMM;
	return part->area;
}

/* How many bytes of a part there are: outside of 64-bit mode only the first eight registers. */
static unsigned part_len(const struct part *part, bool is_64bit)
{
	return part->component & (XCR0_SSE | XCR0_AVX) && !is_64bit ? part->len / 2 : part->len;
}

void cpu_get_xsave(const struct cpu_state *state, uint64_t mask, void *area, size_t len)
{
	struct header header = {.xstate_bv = in_use(state) & mask};

	memset(area, 0, len);
	for (size_t i = 0; i < N_PARTS; i++)
		if (parts[i].component & mask && parts[i].area + parts[i].len <= len)
			memcpy((uint8_t *)area + parts[i].area,
			       (const uint8_t *)state + parts[i].state, parts[i].len);
	if (len < XSAVE_YMM)
		return;
	memcpy((uint8_t *)area + MXCSR_OFFSET, &state->fpu.mxcsr, MXCSR_LEN);
	memcpy((uint8_t *)area + XSAVE_HEADER, &header, sizeof(header));
}

static bool is_mxcsr(const struct cpu_state *state, uint32_t mxcsr)
{
	return !(mxcsr & ~state->fpu.mxcsr_mask);
}

static bool is_reserved_clear(const struct header *header)
{
	return !(header->reserved[0] | header->reserved[1] | header->reserved[2] |
		 header->reserved[3] | header->reserved[4] | header->reserved[5]);
}

/* Components of `present` from the area, others of mask as they are initially. */
static void take(struct cpu_state *state, uint64_t mask, uint64_t present, uint64_t xcomp_bv,
		 const uint8_t *area, bool is_64bit)
{
	for (size_t i = 0; i < N_PARTS; i++) {
		const struct part *part = &parts[i];

		if (!(part->component & mask))
			continue;
		memcpy((uint8_t *)state + part->state,
		       part->component & present ? area + part_offset(part, xcomp_bv)
						 : (const uint8_t *)&initial + part->state,
		       part_len(part, is_64bit));
	}
	if (mask & XCR0_X87)
		fpu_normalize(&state->fpu);
}

bool cpu_set_xsave(struct cpu_state *state, uint64_t mask, const void *area, size_t len)
{
	struct header header;
	uint32_t mxcsr = MXCSR_DEFAULT;

	if (len < XSAVE_YMM)
		return false;
	memcpy(&header, (const uint8_t *)area + XSAVE_HEADER, sizeof(header));
	if (header.xstate_bv & ~mask || header.xcomp_bv || !is_reserved_clear(&header))
		return false;
	for (size_t i = 0; i < N_PARTS; i++)
		if (parts[i].component & header.xstate_bv && parts[i].area + parts[i].len > len)
			return false;
	if (header.xstate_bv & (XCR0_SSE | XCR0_AVX))
		memcpy(&mxcsr, (const uint8_t *)area + MXCSR_OFFSET, sizeof(mxcsr));
	if (!is_mxcsr(state, mxcsr))
		return false;
	take(state, mask, header.xstate_bv, 0, area, true);
	state->fpu.mxcsr = mxcsr;
	return true;
}

/* #UD, #NM; the area's address, aligned to 64 bytes, else #GP; of EDX:EAX what XCR0 has. */
static enum cpu_result begin(struct cpu *cpu, const struct insn *insn, bool is_offered,
			     bool is_write, uint64_t *ret_linear, uint64_t *ret_mask)
{
	const struct cpu_state *state = &cpu->state;
	enum cpu_result result;

	if (!is_offered || !(state->cr4 & CR4_OSXSAVE))
		return cpu_ud(cpu);
	if (state->cr0 & CR0_TS)
		return cpu_raise(cpu, VECTOR_NM, false, 0);
	*ret_mask = ((uint64_t)(uint32_t)state->gpr[RDX] << 32 | (uint32_t)state->gpr[RAX]) &
		    state->xcr0;
	result = cpu_linear(cpu, insn->segment, insn_offset(cpu, insn), XSAVE_YMM, is_write,
			    ret_linear);
	return result == CPU_NEXT && *ret_linear % 64 ? cpu_gp(cpu, 0) : result;
}

/* Store bytes of the image; probe: only see whether that were possible. */
static enum cpu_result store(struct cpu *cpu, uint64_t linear, const uint8_t *image, unsigned from,
			     unsigned len, bool is_probe)
{
	while (len > 0) {
		unsigned n = len < 64 ? len : 64;
		enum cpu_result result = is_probe ? cpu_probe_store(cpu, linear + from, n)
						  : cpu_store(cpu, linear + from, image + from, n);

		if (result != CPU_NEXT)
			return result;
		from += n;
		len -= n;
	}
	return CPU_NEXT;
}

static enum cpu_result save(struct cpu *cpu, uint64_t linear, uint64_t mask, uint64_t written,
			    const struct header *header)
{
	const struct cpu_state *state = &cpu->state;
	bool is_compacted = header->xcomp_bv & XCOMP_COMPACTED;
	uint8_t image[XSAVE_LEN] = {0};
	enum cpu_result result = CPU_NEXT;

	memcpy(image + MXCSR_OFFSET, &state->fpu.mxcsr, MXCSR_LEN);
	memcpy(image + XSAVE_HEADER, header, sizeof(*header));
	for (unsigned pass = 0; pass < 2 && result == CPU_NEXT; pass++) {
		bool is_probe = pass == 0;

		for (size_t i = 0; i < N_PARTS && result == CPU_NEXT; i++) {
			const struct part *part = &parts[i];
			unsigned offset = part_offset(part, header->xcomp_bv);
			unsigned len = part_len(part, is_64bit(cpu));

			if (!(part->component & written))
				continue;
			memcpy(image + offset, (const uint8_t *)state + part->state, len);
			if (part->component == XCR0_PKRU)
				len = XSAVE_PKRU_LEN;
			result = store(cpu, linear, image, offset, len, is_probe);
		}
		if (result == CPU_NEXT && mask & (XCR0_SSE | XCR0_AVX))
			result = store(cpu, linear, image, MXCSR_OFFSET, MXCSR_LEN, is_probe);
		if (result == CPU_NEXT)
			result = store(cpu, linear, image, XSAVE_HEADER, is_compacted ? 16 : 8,
				       is_probe);
	}
	return result;
}

static enum cpu_result xsave_standard(struct cpu *cpu, const struct insn *insn, bool is_offered,
				      bool is_optimized)
{
	uint64_t linear, mask, used = in_use(&cpu->state);
	struct header header = {0};
	enum cpu_result result = begin(cpu, insn, is_offered, true, &linear, &mask);

	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear + XSAVE_HEADER, &header.xstate_bv, 8);
	if (result != CPU_NEXT)
		return result;
	header.xstate_bv = (header.xstate_bv & ~mask) | (used & mask);
	return save(cpu, linear, mask, is_optimized ? mask & used : mask, &header);
}

enum cpu_result exec_xsave(struct cpu *cpu, const struct insn *insn)
{
	return xsave_standard(cpu, insn, cpu->features.xsave, false);
}

enum cpu_result exec_xsaveopt(struct cpu *cpu, const struct insn *insn)
{
	return xsave_standard(cpu, insn, cpu->features.xsaveopt, true);
}

enum cpu_result exec_xsavec(struct cpu *cpu, const struct insn *insn)
{
	uint64_t linear, mask, used = in_use(&cpu->state);
	struct header header = {0};
	enum cpu_result result = begin(cpu, insn, cpu->features.xsavec, true, &linear, &mask);

	if (result != CPU_NEXT)
		return result;
	if (cpu->state.fpu.mxcsr != MXCSR_DEFAULT)
		used |= XCR0_SSE;
	header.xstate_bv = used & mask;
	header.xcomp_bv = XCOMP_COMPACTED | mask;
	return save(cpu, linear, mask & used & XCR0_SSE, mask & used, &header);
}

/* XRSTOR's #GP: 13.2.3 and its page in APM volume 4. */
static bool is_header(const struct header *header, uint64_t xcr0)
{
	uint64_t room = header->xcomp_bv & ~XCOMP_COMPACTED;

	if (!is_reserved_clear(header))
		return false;
	if (header->xcomp_bv & XCOMP_COMPACTED)
		return !(room & ~xcr0) && !(header->xstate_bv & ~room);
	return !header->xcomp_bv && !(header->xstate_bv & ~xcr0);
}

enum cpu_result exec_xrstor(struct cpu *cpu, const struct insn *insn)
{
	struct cpu_state *state = &cpu->state;
	uint8_t image[XSAVE_LEN] = {0};
	uint64_t linear, mask;
	uint32_t mxcsr = MXCSR_DEFAULT;
	struct header header;
	bool is_compacted;
	enum cpu_result result = begin(cpu, insn, cpu->features.xsave, false, &linear, &mask);

	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear + XSAVE_HEADER, &header, sizeof(header));
	if (result != CPU_NEXT)
		return result;
	if (!is_header(&header, state->xcr0))
		return cpu_gp(cpu, 0);
	is_compacted = header.xcomp_bv & XCOMP_COMPACTED;
	for (size_t i = 0; i < N_PARTS && result == CPU_NEXT; i++) {
		unsigned offset = part_offset(&parts[i], header.xcomp_bv);

		if (!(parts[i].component & mask & header.xstate_bv))
			continue;
		for (unsigned n = 0; n < parts[i].len && result == CPU_NEXT; n += 64) {
			unsigned left = parts[i].len - n;

			result = cpu_load(cpu, linear + offset + n, image + offset + n,
					  left < 64 ? left : 64);
		}
	}
	/* In standard format MXCSR has no initial state: it is always taken from memory. */
	if (result == CPU_NEXT && mask & (XCR0_SSE | XCR0_AVX) &&
	    (!is_compacted || header.xstate_bv & XCR0_SSE))
		result = cpu_load(cpu, linear + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
	if (result != CPU_NEXT)
		return result;
	if (!is_mxcsr(state, mxcsr))
		return cpu_gp(cpu, 0);
	take(state, mask, header.xstate_bv, header.xcomp_bv, image, is_64bit(cpu));
	if (mask & XCR0_PKRU)
		tlb_flush(cpu, true);
	if (mask & (is_compacted ? XCR0_SSE : XCR0_SSE | XCR0_AVX))
		state->fpu.mxcsr = mxcsr;
	return CPU_NEXT;
}
