// SPDX-License-Identifier: GPL-2.0-or-later
/* reset.c - RESET, INIT, SIPI: 14.1.3, 14.1.5, 15.27.8; table 14-1 */
#include "descriptor.h"
#include "vector.h"

#define CR0_ET	       (1ull << 4)
#define CR0_NW	       (1ull << 29)
#define CR0_CD	       (1ull << 30)
#define FLAG_ONE       (1ull << 1)
#define DR6_INITIAL    0xffff0ff0ull
#define DR7_INITIAL    0x400ull
#define PAT_INITIAL    0x0007040600070406ull
#define LIMIT_INITIAL  0xffffu
#define CODE_SELECTOR  0xf000u
#define CODE_BASE      0xffff0000ull
#define RESET_RIP      0xfff0ull
#define FTW_EMPTY      0x00u
#define MXCSR_MASK_ALL 0x2ffffu /* with MM, as processors of AMD have it */
#define FCW_RESET      0x40u

/* What RESET and INIT have in common. */
static void initialize(struct cpu_state *state)
{
	uint16_t present = SEGMENT_PRESENT | TYPE_ACCESSED | TYPE_WRITABLE;
	struct cpu_segment data = {.attributes = present | SEGMENT_S, .limit = LIMIT_INITIAL};

	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		state->segment[i] = data;
	state->segment[CS].selector = CODE_SELECTOR;
	state->segment[CS].base = CODE_BASE;
	state->segment[CS].attributes |= TYPE_CODE;
	state->ldtr = (struct cpu_segment){
		.attributes = SEGMENT_PRESENT | TYPE_LDT,
		.limit = LIMIT_INITIAL,
	};
	state->tr = (struct cpu_segment){
		.attributes = SEGMENT_PRESENT | TYPE_TSS_16_BUSY, /* as KVM has it on AMD */
		.limit = LIMIT_INITIAL,
	};
	state->gdtr = state->idtr = (struct cpu_table){.limit = LIMIT_INITIAL};
	state->rip = RESET_RIP;
	state->rflags = FLAG_ONE;
	state->cr2 = state->cr3 = state->cr4 = state->cr8 = state->efer = 0;
	state->dr6 = DR6_INITIAL;
	state->dr7 = DR7_INITIAL;
	for (unsigned i = 0; i < 4; i++)
		state->dr[i] = 0;
	for (unsigned i = 0; i < 16; i++)
		state->gpr[i] = 0;
	state->cpl = 0;
	state->shadow = SHADOW_NONE;
	state->nmi_masked = state->halted = false;
	state->exception.pending = false;
}

void cpu_reset(struct cpu_state *state)
{
	*state = (struct cpu_state){
		.cr0 = CR0_ET | CR0_NW | CR0_CD,
		.xcr0 = XCR0_X87,
		.pat = PAT_INITIAL,
		.fpu =
			{
				.fcw = FCW_RESET,
				.ftw = FTW_EMPTY,
				.mxcsr = MXCSR_DEFAULT,
				.mxcsr_mask = MXCSR_MASK_ALL,
			},
	};
	initialize(state);
}

/* CD and NW, the FPU, XCR0 and most MSRs stay. */
void cpu_init_signal(struct cpu_state *state)
{
	state->cr0 = (state->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
	initialize(state);
}

void cpu_startup(struct cpu_state *state, uint8_t vector)
{
	state->segment[CS].selector = (uint16_t)(vector << 8);
	state->segment[CS].base = (uint64_t)vector << 12;
	state->rip = 0;
}
