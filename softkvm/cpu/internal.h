/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * internal.h - how the parts of the interpreter work together
 *
 * code.c	finds the instruction at RIP in a cache, or has decode.c make it of bytes
 * run.c	the loop: what an instruction leads to
 * integer.c ...	carry out instructions: system.c, vector.c and others are like it
 * translate.c	linear addresses: paging, TLB, loads and stores
 * event.c	exceptions and interrupts through the IDT
 * segment.c	descriptors, far transfers
 *
 * Whatever can fault or be left pending is done before the first register is written, so that an
 * instruction can be executed anew.  What it has stored before is in memory then, and is stored
 * again, like that of a far call whose second push faults; those that hardware can interrupt (REP,
 * gathers) keep what they have done in registers, too.
 */
#ifndef SOFTKVM_CPU_INTERNAL_H
#define SOFTKVM_CPU_INTERNAL_H

#include <Zydis/Zydis.h>

#include "cpu.h"

#define PAGE_SIZE 4096u

/*
 * What an instruction's function returns.  During it RIP is that of the instruction.  The loop
 * moves RIP behind it after all that are "done", but CPU_JUMPED.
 */
enum cpu_result {
	CPU_NEXT,	/* done, go on behind it */
	CPU_JUMPED,	/* done, RIP is set: to itself by a string instruction that is to go on */
	CPU_FAULT,	/* an exception, as cpu->fault says; nothing has changed */
	CPU_ABANDONED,	/* an answer from outside is missing; nothing has changed */
	CPU_IS_UNKNOWN, /* not implemented */
	CPU_SHUTS_DOWN,
	/* done, and cpu_run() returns */
	CPU_HALTED,
	CPU_VMMCALL,
	CPU_VMGEXIT,
	CPU_TRAPPED,
	/* done; translations and the page that RIP is in are to be looked at anew: serializing */
	CPU_NEXT_AFRESH,
};

enum operand_kind {
	OPERAND_NONE,
	OPERAND_GPR,
	OPERAND_HIGH_BYTE,
	OPERAND_MEMORY,
	OPERAND_IMMEDIATE,
	OPERAND_XMM,
	OPERAND_SEGMENT,
	OPERAND_CONTROL,
	OPERAND_DEBUG,
	OPERAND_MMX,
	OPERAND_ST,
	OPERAND_FAR_POINTER, /* immediate: the offset; the selector in bits 47:32 */
};

struct operand {
	uint8_t kind; /* enum operand_kind */
	uint8_t reg;  /* number; of a HIGH_BYTE: of the register whose bits 15:8 they are */
	uint8_t size; /* in bytes: 1, 2, 4, 8, 10, 16, 32 and what else there is; 0: over 255 */
};

#define NO_REGISTER 0xff
#define BASE_RIP    0xfe

struct cpu;
struct insn;
typedef enum cpu_result exec_fn(struct cpu *cpu, const struct insn *insn);

struct insn {
	exec_fn *exec;
	uint8_t length;
	uint8_t operand_size; /* 2, 4, 8: the effective operand size; 1 for byte instructions */
	uint8_t address_size; /* 2, 4, 8 */
	uint8_t n_operands;   /* the visible ones */
	bool lock, rep, repne, vex;
	uint8_t vector_len; /* of VEX: 16 or 32 */
	uint8_t condition;  /* of Jcc, SETcc, CMOVcc: the low four bits of the opcode */
	struct operand operand[4];
	/* the memory operand, of which there is one at most */
	uint8_t base, index, scale; /* NO_REGISTER, BASE_RIP; scale 1, 2, 4, 8 */
	/* after override and default; of string instructions and XLAT: of their source */
	uint8_t segment;
	int64_t displacement;
	uint64_t immediate; /* sign-extended; of a near branch: relative to what is behind it */
	uint8_t immediate2; /* of ENTER, EXTRQ */
	uint16_t mnemonic;  /* ZydisMnemonic */
};

/* Which function carries it out, or NULL.  Each file looks into a table of its own. */
exec_fn *integer_find(const ZydisDecodedInstruction *decoded);
exec_fn *shift_find(const ZydisDecodedInstruction *decoded);
exec_fn *bit_find(const ZydisDecodedInstruction *decoded); /* single bits, BMI, CRC32 */
exec_fn *multiply_find(const ZydisDecodedInstruction *decoded);
exec_fn *exchange_find(const ZydisDecodedInstruction *decoded);
exec_fn *branch_find(const ZydisDecodedInstruction *decoded);  /* near ones, and the stack */
exec_fn *string_find(const ZydisDecodedInstruction *decoded);  /* string.c, with REP */
exec_fn *system_find(const ZydisDecodedInstruction *decoded);  /* system.c: privileged and I/O */
exec_fn *segment_find(const ZydisDecodedInstruction *decoded); /* far transfers, segment registers,
								* INT, IRET, SYSCALL, SYSENTER */
exec_fn *vector_find(const ZydisDecodedInstruction *decoded);  /* vector.c, also FXSAVE, XSAVE */

/* fast.c: a special function instead, or NULL. */
exec_fn *fast_find(const struct insn *insn);

/* code.c: the instruction at RIP.  CPU_NEXT, or why not (#PF, #GP, #UD, ABANDONED, UNKNOWN). */
enum cpu_result cpu_fetch(struct cpu *cpu, const struct insn **ret);
/* decode.c: fills in cpu->unknown with the instruction at RIP. */
void cpu_describe_unknown(struct cpu *cpu);

/*
 * translate.c.  Linear addresses; len up to 64, page crossing is taken care of.  Privilege is
 * CPL's, but supervisor's with `_system` (descriptor tables, TSS).  A store that spans two pages
 * writes nothing if it faults in the second.
 */
enum cpu_result cpu_load(struct cpu *cpu, uint64_t linear, void *ret, unsigned len);
enum cpu_result cpu_store(struct cpu *cpu, uint64_t linear, const void *data, unsigned len);
enum cpu_result cpu_load_system(struct cpu *cpu, uint64_t linear, void *ret, unsigned len);
enum cpu_result cpu_store_system(struct cpu *cpu, uint64_t linear, const void *data, unsigned len);
/* Would a store of len bytes fault? */
enum cpu_result cpu_probe_store(struct cpu *cpu, uint64_t linear, unsigned len);
/*
 * Read-modify-write.  modify() computes the new value from the old one (len 1, 2, 4, 8, 16) and
 * may be called more than once.  locked: as one step, seen from all other CPUs.  False from
 * modify(): nothing is to be stored.
 */
enum cpu_result cpu_modify(struct cpu *cpu, uint64_t linear, unsigned len, bool locked,
			   bool (*modify)(void *opaque, const void *old, void *ret_new),
			   void *opaque);
/* The bytes at RIP's linear address up to the end of the page or max, for code.c; *ret is good
 * until the next cpu_flush().  *ret_page: the page they are in, which is stored to by this CPU only
 * after code_written(). */
enum cpu_result cpu_fetch_page(struct cpu *cpu, uint64_t linear, struct cpu_page *ret_page);
/* The byte at linear in the host, if it and what follows up to the end of the page is memory that
 * can be read (written) without further ado: no fault, no MMIO, no guard, no decoded code if
 * written to; otherwise NULL.  For the time of one instruction. */
uint8_t *cpu_direct(struct cpu *cpu, uint64_t linear, bool is_write);
void tlb_flush(struct cpu *cpu, bool globals_too);
void tlb_flush_page(struct cpu *cpu, uint64_t linear);
struct tlb *tlb_new(void);
struct tlb *tlb_free(struct tlb *tlb);

/* code.c: this CPU has written into a page that instructions were decoded from. */
void code_written(struct cpu *cpu, const uint8_t *page_data, unsigned offset, unsigned len);
/*
 * Compare before use whether bytes are still those that were decoded, and look RIP up anew.  For
 * cpu_flush() and for serializing instructions that do not return CPU_NEXT_AFRESH: IRET.
 */
void code_doubt(struct cpu *cpu);
struct code *code_new(void);
struct code *code_free(struct code *code);

/* event.c: through the IDT (or the IVT in real mode).  Software interrupts: is_software, RIP
 * already behind the instruction.  CPU_JUMPED, CPU_SHUTS_DOWN, CPU_ABANDONED. */
enum cpu_result cpu_deliver(struct cpu *cpu, uint8_t vector, bool has_error, uint32_t error,
			    bool is_software);

/* Makes an exception of it; returns CPU_FAULT. */
static inline enum cpu_result cpu_raise(struct cpu *cpu, uint8_t vector, bool has_error,
					uint32_t error)
{
	cpu->fault.vector = vector;
	cpu->fault.has_error = has_error;
	cpu->fault.error = error;
	return CPU_FAULT;
}

enum vector {
	VECTOR_DE,
	VECTOR_DB,
	VECTOR_NMI,
	VECTOR_BP,
	VECTOR_OF,
	VECTOR_BR,
	VECTOR_UD,
	VECTOR_NM,
	VECTOR_DF,
	VECTOR_TS = 10,
	VECTOR_NP,
	VECTOR_SS,
	VECTOR_GP,
	VECTOR_PF,
	VECTOR_MF = 16,
	VECTOR_AC,
	VECTOR_MC,
	VECTOR_XF,
	VECTOR_CP = 21,
	VECTOR_VC = 29
};

#define cpu_gp(cpu, error) cpu_raise(cpu, VECTOR_GP, true, error)
#define cpu_ud(cpu)	   cpu_raise(cpu, VECTOR_UD, false, 0)

/* SEV-ES, 15.35.5: the hypervisor would have to see it. */
#define cpu_vc(cpu, code) cpu_raise(cpu, VECTOR_VC, true, code)

#define FLAG_CF	  (1ull << 0)
#define FLAG_PF	  (1ull << 2)
#define FLAG_AF	  (1ull << 4)
#define FLAG_ZF	  (1ull << 6)
#define FLAG_SF	  (1ull << 7)
#define FLAG_TF	  (1ull << 8)
#define FLAG_IF	  (1ull << 9)
#define FLAG_DF	  (1ull << 10)
#define FLAG_OF	  (1ull << 11)
#define FLAG_IOPL (3ull << 12)
#define FLAG_NT	  (1ull << 14)
#define FLAG_RF	  (1ull << 16)
#define FLAG_VM	  (1ull << 17)
#define FLAG_AC	  (1ull << 18)
#define FLAG_ID	  (1ull << 21)

#define CR0_PE	       (1ull << 0)
#define CR0_MP	       (1ull << 1)
#define CR0_EM	       (1ull << 2)
#define CR0_TS	       (1ull << 3)
#define CR0_NE	       (1ull << 5)
#define CR0_WP	       (1ull << 16)
#define CR0_AM	       (1ull << 18)
#define CR0_PG	       (1ull << 31)
#define CR4_VME	       (1ull << 0)
#define CR4_TSD	       (1ull << 2)
#define CR4_DE	       (1ull << 3)
#define CR4_PSE	       (1ull << 4)
#define CR4_PAE	       (1ull << 5)
#define CR4_PGE	       (1ull << 7)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_UMIP       (1ull << 11)
#define CR4_LA57       (1ull << 12)
#define CR4_FSGSBASE   (1ull << 16)
#define CR4_PCIDE      (1ull << 17)
#define CR4_OSXSAVE    (1ull << 18)
#define CR4_SMEP       (1ull << 20)
#define CR4_SMAP       (1ull << 21)
#define CR4_PKE	       (1ull << 22)
#define EFER_SCE       (1ull << 0)
#define EFER_LME       (1ull << 8)
#define EFER_LMA       (1ull << 10)
#define EFER_NXE       (1ull << 11)

static inline bool is_long_mode(const struct cpu *cpu)
{
	return cpu->state.efer & EFER_LMA;
}

/* 64-bit mode proper, not compatibility mode. */
static inline bool is_64bit(const struct cpu *cpu)
{
	return is_long_mode(cpu) && (cpu->state.segment[CS].attributes & SEGMENT_L);
}

static inline bool is_real_mode(const struct cpu *cpu)
{
	return !(cpu->state.cr0 & CR0_PE);
}

/* The offset of the memory operand, and with its segment's base. */
static inline uint64_t insn_offset(const struct cpu *cpu, const struct insn *insn)
{
	uint64_t offset = (uint64_t)insn->displacement;

	if (insn->base == BASE_RIP)
		offset += cpu->state.rip + insn->length;
	else if (insn->base != NO_REGISTER)
		offset += cpu->state.gpr[insn->base];
	if (insn->index != NO_REGISTER)
		offset += cpu->state.gpr[insn->index] * insn->scale;
	if (insn->address_size == 4)
		return (uint32_t)offset;
	return insn->address_size == 2 ? (uint16_t)offset : offset;
}

/*
 * Is the memory operand at a multiple of len?  Of those that have to be, #GP comes before all that
 * cpu_linear() finds, #SS as well.
 */
static inline bool insn_is_aligned(const struct cpu *cpu, const struct insn *insn, unsigned len)
{
	uint64_t linear = insn_offset(cpu, insn);

	if (!is_64bit(cpu) || insn->segment >= FS)
		linear += cpu->state.segment[insn->segment].base;
	return linear % len == 0;
}

/*
 * segment.c: the linear address of [segment:offset, +len), for an access that may write: limit,
 * type and canonical form are checked.  64-bit mode has a fast path here.
 */
enum cpu_result cpu_linear_slow(struct cpu *cpu, unsigned segment, uint64_t offset, unsigned len,
				bool is_write, uint64_t *ret);

static inline enum cpu_result cpu_linear(struct cpu *cpu, unsigned segment, uint64_t offset,
					 unsigned len, bool is_write, uint64_t *ret)
{
	if (is_64bit(cpu)) {
		uint64_t linear = offset;

		if (segment == FS || segment == GS)
			linear += cpu->state.segment[segment].base;
		/* canonical are the 2^47 bytes on both sides of 0; first and last byte are */
		const uint64_t half = 1ull << 47;

		if ((linear + half) >> 48 == 0 && (linear + len - 1 + half) >> 48 == 0) {
			*ret = linear;
			return CPU_NEXT;
		}
	}
	return cpu_linear_slow(cpu, segment, offset, len, is_write, ret);
}

/* Segment registers.  Selector 0 to 3 is null. */
enum cpu_result cpu_load_segment(struct cpu *cpu, unsigned segment, uint16_t selector);
/* CS:RIP from a far transfer within the same privilege or as cpl says. */

/* The stack, with SS's size and base.  push() does not move RSP if it faults. */
enum cpu_result cpu_push(struct cpu *cpu, uint64_t value, unsigned size);
enum cpu_result cpu_pop(struct cpu *cpu, uint64_t *ret, unsigned size);

/* A GPR of a size: writing 4 bytes clears the upper half, 1 and 2 leave the rest. */
static inline void set_gpr(struct cpu *cpu, unsigned reg, unsigned size, uint64_t value)
{
	uint64_t *gpr = &cpu->state.gpr[reg];

	switch (size) {
	case 1:
		*gpr = (*gpr & ~0xffull) | (uint8_t)value;
		break;
	case 2:
		*gpr = (*gpr & ~0xffffull) | (uint16_t)value;
		break;
	case 4:
		*gpr = (uint32_t)value;
		break;
	default:
		*gpr = value;
		break;
	}
}

/* operand.c: any integer operand, up to 8 bytes.  An immediate comes sign-extended to 64 bits. */
enum cpu_result operand_get(struct cpu *cpu, const struct insn *insn, unsigned n, uint64_t *ret);
enum cpu_result operand_set(struct cpu *cpu, const struct insn *insn, unsigned n, uint64_t value);

/* A new value for a register or memory operand, made of the old one.  compute() may be called more
 * than once: it is to start from flags_before each time. */
struct modification {
	uint64_t (*compute)(struct modification *modification, uint64_t old);
	unsigned size;
	uint64_t source;
	unsigned count;		      /* of shifts and rotates */
	uint64_t old;		      /* what compute() was called with last */
	uint64_t flags_before, flags; /* RFLAGS */
};

/* With size, old and flags taken care of; RFLAGS is set if it is done. */
enum cpu_result operand_modify(struct cpu *cpu, const struct insn *insn, unsigned n,
			       struct modification *modification);

static inline uint64_t zero_extend(uint64_t value, unsigned size)
{
	return size == 8 ? value : value & ((1ull << 8 * size) - 1);
}

static inline int64_t sign_extend(uint64_t value, unsigned size)
{
	unsigned unused = 64 - 8 * size;

	return (int64_t)(value << unused) >> unused;
}

#endif
