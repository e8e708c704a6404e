/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmsa.h - the save area of an SEV-ES guest: AMD publication 24593 (APM volume 2), table B-4 */
#ifndef SOFTKVM_SEV_VMSA_H
#define SOFTKVM_SEV_VMSA_H

#include <stddef.h>
#include <stdint.h>

struct vmsa_segment {
	uint16_t selector, attributes;
	uint32_t limit;
	uint64_t base;
};

struct vmsa {
	struct vmsa_segment segment[6]; /* in the order of enum cpu_segment_name */
	struct vmsa_segment gdtr, ldtr, idtr, tr;
	uint64_t vmpl_ssp[4], u_cet;
	uint8_t reserved_c8[2], vmpl, cpl;
	uint32_t reserved_cc;
	uint64_t efer;
	uint8_t reserved_d8[104];
	uint64_t xss, cr4, cr3, cr0, dr7, dr6, rflags, rip;
	uint64_t dr[4], dr_mask[4];
	uint8_t reserved_1c0[24];
	uint64_t rsp, s_cet, ssp, isst, rax;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip, cr2;
	uint8_t reserved_248[32];
	uint64_t pat, dbgctl, br_from, br_to, last_excp_from, last_excp_to;
	uint8_t reserved_298[80];
	uint32_t pkru, tsc_aux;
	uint8_t reserved_2f0[24];
	uint64_t rcx, rdx, rbx, reserved_320, rbp, rsi, rdi;
	uint64_t r8_to_r15[8];
	uint8_t reserved_380[16];
	uint64_t exit_info_1, exit_info_2, exit_int_info, next_rip;
	uint64_t sev_features, vintr_ctrl, exit_code, virtual_tom, tlb_id, pcpu_id, event_inj;
	uint64_t xcr0;
	uint8_t reserved_3f0[16];
	uint64_t x87_dp;
	uint32_t mxcsr;
	uint16_t x87_ftw, x87_fsw, x87_fcw, x87_fop, x87_ds, x87_cs;
	uint64_t x87_rip;
	uint8_t x87_low[8][8], x87_high[8][2]; /* of the 80-bit registers */
	uint8_t xmm[16][16], ymm_high[16][16];
};
_Static_assert(offsetof(struct vmsa, cpl) == 0xcb, "VMSA");
_Static_assert(offsetof(struct vmsa, xss) == 0x140, "VMSA");
_Static_assert(offsetof(struct vmsa, rsp) == 0x1d8, "VMSA");
_Static_assert(offsetof(struct vmsa, pat) == 0x268, "VMSA");
_Static_assert(offsetof(struct vmsa, pkru) == 0x2e8, "VMSA");
_Static_assert(offsetof(struct vmsa, rcx) == 0x308, "VMSA");
_Static_assert(offsetof(struct vmsa, exit_info_1) == 0x390, "VMSA");
_Static_assert(offsetof(struct vmsa, xcr0) == 0x3e8, "VMSA");
_Static_assert(offsetof(struct vmsa, x87_low) == 0x420, "VMSA");
_Static_assert(sizeof(struct vmsa) == 0x670, "VMSA, in whole blocks of the cipher");

#endif
