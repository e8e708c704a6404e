/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpu.h - a virtual x86-64 CPU that interprets its guest's instructions
 *
 * It knows instructions, paging, exceptions, nothing of KVM.  Memory, ports, interrupts and what it
 * cannot do alone come from the machine around it, through struct cpu_ops.  One thread runs a CPU
 * at a time; only `attention` may be touched by others meanwhile.
 *
 * Sections are of AMD publication 24593 (APM volume 2), if nothing else is said.
 */
#ifndef SOFTKVM_CPU_H
#define SOFTKVM_CPU_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of their encoding. */
enum cpu_gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum cpu_segment_name { ES, CS, SS, DS, FS, GS, CPU_SEGMENTS };

/* attributes: as in a VMCB (15.5.1): descriptor bits 40-47 in 7:0, 52-55 in 11:8. */
struct cpu_segment {
	uint16_t selector;
	uint16_t attributes;
	uint32_t limit; /* in bytes, whatever G says */
	uint64_t base;
};

#define SEGMENT_TYPE	0x000fu
#define SEGMENT_S	0x0010u
#define SEGMENT_DPL	0x0060u
#define SEGMENT_PRESENT 0x0080u /* clear in DS, ES, FS, GS, LDTR: unusable */
#define SEGMENT_L	0x0200u
#define SEGMENT_DB	0x0400u
#define SEGMENT_G	0x0800u

struct cpu_table {
	uint64_t base;
	uint32_t limit;
};

/* What FXSAVE stores (APM volume 1, 11.4.4), and behind it the upper halves of YMM0 to 15. */
struct cpu_fpu {
	uint16_t fcw, fsw;
	uint8_t ftw; /* abridged */
	uint8_t reserved;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t xmm[16][16];
	uint8_t unused[96];
	uint8_t ymm_high[16][16];
};
_Static_assert(sizeof(struct cpu_fpu) == 512 + 256, "XSAVE's legacy region and YMM_Hi128");

enum cpu_shadow { SHADOW_NONE, SHADOW_STI, SHADOW_MOV_SS };

/* An exception that is still to be delivered, at the next cpu_run(). */
struct cpu_exception {
	bool pending;
	bool has_error;
	uint8_t vector;
	uint32_t error;
	uint64_t address; /* CR2, of #PF */
};

/* Everything architectural.  Plain data: it may be copied. */
struct cpu_state {
	uint64_t gpr[16];
	uint64_t rip, rflags;
	struct cpu_segment segment[CPU_SEGMENTS], ldtr, tr;
	struct cpu_table gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer;
	uint64_t dr[4], dr6, dr7;
	uint64_t xcr0, xss;
	uint32_t pkru;
	uint8_t cpl;
	uint8_t shadow; /* enum cpu_shadow */
	bool nmi_masked;
	bool halted; /* by HLT: an interrupt ends it */
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, tsc_aux;
	struct cpu_exception exception;
	_Alignas(32) struct cpu_fpu fpu;
};

/* 4 KiB of guest-physical memory. */
struct cpu_page {
	uint8_t *data;	/* in plaintext; NULL: there is no memory, it is MMIO */
	bool read_only; /* a write is MMIO, a read is not */
	void *guard;	/* not NULL: stores are between ops->begin_store() and ops->end_store() */
};

struct cpu_ops {
	/*
	 * The page at gpa, a multiple of 4096.  encrypted: the C-bit was set in the last-level
	 * entry that maps it (or, for page tables, in what points there).  What is returned holds
	 * until cpu_flush(), or until attention is raised and cpu_run() has returned.
	 */
	void (*page)(void *opaque, uint64_t gpa, bool encrypted, struct cpu_page *ret);
	/* For pages with a guard: keeps other CPUs' stores out; writes through what has changed. */
	void (*begin_store)(void *opaque, const struct cpu_page *page);
	void (*end_store)(void *opaque, const struct cpu_page *page, unsigned offset, unsigned len);

	/*
	 * The world outside.  False: the answer is not there yet.  The instruction is abandoned
	 * without any effect and cpu_run() returns CPU_STOP_PENDING; when the CPU is run again the
	 * instruction is executed anew, asks the same in the same order, and is to be told what the
	 * answer is by then.  An access has 1 to 8 bytes and does not cross a multiple of 8; larger
	 * ones are taken apart, lowest address first.
	 */
	bool (*mmio_read)(void *opaque, uint64_t gpa, unsigned len, void *ret);
	bool (*mmio_write)(void *opaque, uint64_t gpa, unsigned len, const void *data);
	bool (*pio_in)(void *opaque, uint16_t port, unsigned size, uint32_t *ret);
	bool (*pio_out)(void *opaque, uint16_t port, unsigned size, uint32_t value);

	/* MSRs that are not in struct cpu_state.  False: #GP. */
	bool (*rdmsr)(void *opaque, uint32_t msr, uint64_t *ret);
	bool (*wrmsr)(void *opaque, uint32_t msr, uint64_t value);
	/* As the VMM has set it; the CPU itself then fills in OSXSAVE, APIC ID stays the VMM's. */
	void (*cpuid)(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t ret[4]);
	uint64_t (*tsc)(void *opaque);
	/* CR8, CR0, CR4, EFER or XCR0 has been written by the guest. */
	void (*control_written)(void *opaque);
};

/* What CPUID offers and the interpreter has to know at every turn. */
struct cpu_features {
	uint8_t physical_bits; /* MAXPHYADDR, before the C-bit's reduction */
	bool nx, la57, gb_pages, pcid, smep, smap, pku, fsgsbase, umip, rdtscp, xsave, avx, avx2;
	bool sse3, ssse3, sse41, sse42, aes, pclmulqdq, xsaveopt, xsavec;
};

enum cpu_stop {
	CPU_STOP_BUDGET,    /* max_instructions are done */
	CPU_STOP_ATTENTION, /* somebody set `attention` */
	CPU_STOP_PENDING,   /* an answer from outside is missing */
	CPU_STOP_HALT,	    /* HLT is done, state.halted set */
	CPU_STOP_WINDOW,    /* window_wanted, and cpu_can_interrupt() has become true */
	CPU_STOP_SHUTDOWN,  /* triple fault */
	CPU_STOP_UNKNOWN,   /* cpu->unknown is an instruction that the interpreter does not know */
	CPU_STOP_VMMCALL,   /* VMMCALL or VMCALL is done; RIP behind it */
	CPU_STOP_VMGEXIT,   /* SEV-ES: the same */
	CPU_STOP_TRAP,	    /* SEV-ES: CR0, CR4, CR8 or EFER was written, see 15.35.10 */
	CPU_STOP_DEBUG,	    /* reserved for KVM_GUESTDBG */
};

/* The exit codes of write traps (appendix C): 0x90 and the number of the register, or EFER. */
enum cpu_trap {
	CPU_TRAP_EFER = 0x8f,
	CPU_TRAP_CR0 = 0x90,
	CPU_TRAP_CR4 = 0x94,
	CPU_TRAP_CR8 = 0x98
};

struct cpu {
	struct cpu_state state;
	struct cpu_features features; /* after a change: cpu_flush() */
	uint64_t c_bit;		      /* as a mask; 0: not encrypted */
	bool es;		      /* SEV-ES: what the hypervisor would have to see raises #VC */
	uint64_t ghcb;		      /* SEV-ES: MSR 0xc0010130, which the guest has without exit */
	uint8_t trap;		      /* with CPU_STOP_TRAP, what was written: enum cpu_trap */
	const struct cpu_ops *ops;
	void *opaque;

	_Atomic bool attention; /* return from cpu_run() before the next instruction */
	bool window_wanted;
	uint64_t instructions; /* done so far */
	struct {
		uint8_t bytes[15];
		uint8_t len;
		char text[96]; /* disassembled */
	} unknown;

	struct tlb *tlb;   /* translate.c */
	struct code *code; /* code.c */
	struct {
		uint8_t vector;
		bool has_error;
		uint32_t error;
		uint64_t address;
	} fault; /* with CPU_FAULT, see internal.h */
};

/* NULL if there is no memory.  The state is that after RESET. */
struct cpu *cpu_new(const struct cpu_ops *ops, void *opaque);
struct cpu *cpu_free(struct cpu *cpu); /* takes NULL, returns NULL */

/* 14.1.3, 14.1.5: what RESET, INIT and SIPI make of a state.  is_bsp matters to nothing here. */
void cpu_reset(struct cpu_state *state);
void cpu_init_signal(struct cpu_state *state);
void cpu_startup(struct cpu_state *state, uint8_t vector);

/* Interpret until something stops it, for max_instructions at most. */
enum cpu_stop cpu_run(struct cpu *cpu, uint64_t max_instructions);

/* Could an external interrupt (an NMI) be delivered before the next instruction? */
bool cpu_can_interrupt(const struct cpu *cpu);
bool cpu_can_nmi(const struct cpu *cpu);
/* Deliver one; only if it can be.  An exception on the way is delivered as well, or the CPU shuts
 * down at its next cpu_run(). */
void cpu_interrupt(struct cpu *cpu, uint8_t vector);
void cpu_nmi(struct cpu *cpu);

/*
 * Forget all translations and look at memory anew: what was decoded from a page whose bytes have
 * changed is decoded again.  To be called before the CPU is run after anybody else may have written
 * code, changed the memory slots or the state.
 */
void cpu_flush(struct cpu *cpu);

/* KVM_TRANSLATE: false, if there is nothing at linear.  Nothing changes. */
bool cpu_translate(struct cpu *cpu, uint64_t linear, uint64_t *ret_gpa, bool *ret_writable,
		   bool *ret_user);

/* The CPU's XSAVE area in standard format, for features of mask (bits 0 to 2, 9), and back; len
 * as CPUID 0xd tells.  False: malformed. */
void cpu_get_xsave(const struct cpu_state *state, uint64_t mask, void *area, size_t len);
bool cpu_set_xsave(struct cpu_state *state, uint64_t mask, const void *area, size_t len);

#endif
