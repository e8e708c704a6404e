/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * svm.h - what the parts of vmrelay_svm share
 */
#ifndef RIG_SVM_H
#define RIG_SVM_H

#include <linux/kvm_host.h>
#include <linux/module.h>
#include <asm/svm.h>

/*
 * enter.S: one VMRUN with VMLOAD and VMSAVE around it.  @regs in the order of asm/kvm_vcpu_regs.h;
 * RAX and RSP are in the VMCB.
 */
asmlinkage void svm_enter(unsigned long *regs, phys_addr_t vmcb_pa, phys_addr_t host_save_pa);

#define NOWHERE (~0ULL) /* no address */

/*
 * paging.c: copy from or to a guest's memory at a linear address; the number of bytes done.  If
 * that is less than @len: *@ret_missing is the guest-physical address which the nested page tables
 * do not map that way, or NOWHERE.
 */
size_t guest_copy(const struct vmcb *vmcb, u64 linear, void *bytes, size_t len, bool is_write,
		  u64 *ret_missing);

/* Read the instruction that the guest is at. */
size_t guest_fetch(const struct vmcb *vmcb, u8 *bytes, size_t len);

/* decode.c: after #VMEXIT, what the CPU would tell of the instruction. */
void decode_assist(struct vmcb *vmcb);

/* decode.c: if the exit is for MOV to or from CR3, carry it out and be true. */
bool serve_mov_cr3(unsigned long *regs, struct vmcb *vmcb);

/* vc.c: true if the guest goes on in its handler, false if it exits as @vmcb then says. */
bool raise_vc(struct vmcb *vmcb, struct sev_es_save_area *vmsa, u32 error_code);

/*
 * btf.c: offset of @member in struct @type of a kernel module, or a negative errno.  @own_btf is
 * the module's, @base_btf the kernel's.
 */
long btf_offset(const void *own_btf, size_t own_len, const void *base_btf, const char *type,
		const char *member);

#endif
