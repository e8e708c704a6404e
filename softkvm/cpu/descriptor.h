/* SPDX-License-Identifier: GPL-2.0-or-later */
/* descriptor.h - descriptors in the GDT and LDT, and what may be done with them: 4.7, 4.8, 4.10 */
#ifndef SOFTKVM_CPU_DESCRIPTOR_H
#define SOFTKVM_CPU_DESCRIPTOR_H

#include "internal.h"

#define SELECTOR_RPL 3u
#define SELECTOR_LDT 4u

/* Types of segments, with S set. */
#define TYPE_ACCESSED	 0x1u
#define TYPE_WRITABLE	 0x2u /* of data */
#define TYPE_READABLE	 0x2u /* of code */
#define TYPE_EXPAND_DOWN 0x4u
#define TYPE_CONFORMING	 0x4u
#define TYPE_CODE	 0x8u

/* Types with S clear. */
enum system_type {
	TYPE_TSS_16 = 1,
	TYPE_LDT,
	TYPE_TSS_16_BUSY,
	TYPE_CALL_GATE_16,
	TYPE_TASK_GATE,
	TYPE_INTERRUPT_GATE_16,
	TYPE_TRAP_GATE_16,
	TYPE_TSS = 9,
	TYPE_TSS_BUSY = 11,
	TYPE_CALL_GATE,
	TYPE_INTERRUPT_GATE = 14,
	TYPE_TRAP_GATE,
};

struct descriptor {
	uint64_t linear; /* its place */
	uint64_t low, high;
	struct cpu_segment segment;
};

/* A fault of a selector.  external: not the program's doing (8.2.1, EXT). */
enum cpu_result selector_fault(struct cpu *cpu, enum vector vector, uint16_t selector,
			       bool external);

/* Raises vector if there is no such descriptor. */
enum cpu_result descriptor_read(struct cpu *cpu, uint16_t selector, enum vector vector,
				bool external, struct descriptor *ret);
/* The upper half of a system descriptor in long mode, which has 16 bytes. */
enum cpu_result descriptor_widen(struct cpu *cpu, uint16_t selector, struct descriptor *descriptor);
/* Sets `accessed`, in memory too. */
enum cpu_result descriptor_access(struct cpu *cpu, struct descriptor *descriptor);
/* For SS at a privilege level; vector is raised if it is not fit for that. */
enum cpu_result descriptor_read_stack(struct cpu *cpu, uint16_t selector, unsigned cpl,
				      enum vector vector, bool external, struct descriptor *ret);
/* For a transfer to 64-bit mode: there is no SS, but a privilege level (8.9.3). */
struct cpu_segment null_stack(unsigned cpl);

static inline bool is_null(uint16_t selector)
{
	return (selector & ~SELECTOR_RPL) == 0;
}

static inline unsigned type_of(const struct cpu_segment *segment)
{
	return segment->attributes & SEGMENT_TYPE;
}

static inline bool is_system(const struct cpu_segment *segment)
{
	return !(segment->attributes & SEGMENT_S);
}

static inline bool is_code(const struct cpu_segment *segment)
{
	return !is_system(segment) && (segment->attributes & TYPE_CODE);
}

static inline bool is_conforming(const struct cpu_segment *segment)
{
	return is_code(segment) && (segment->attributes & TYPE_CONFORMING);
}

static inline bool is_writable(const struct cpu_segment *segment)
{
	return !is_system(segment) && !is_code(segment) && (segment->attributes & TYPE_WRITABLE);
}

static inline bool is_readable(const struct cpu_segment *segment)
{
	return !is_system(segment) && (!is_code(segment) || (segment->attributes & TYPE_READABLE));
}

static inline bool is_present(const struct cpu_segment *segment)
{
	return segment->attributes & SEGMENT_PRESENT;
}

static inline unsigned dpl_of(const struct cpu_segment *segment)
{
	return (segment->attributes & SEGMENT_DPL) / (SEGMENT_DPL / 3);
}

static inline bool is_canonical(const struct cpu *cpu, uint64_t address)
{
	unsigned unused = cpu->state.cr4 & CR4_LA57 ? 7 : 16;

	return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

/* How far RSP counts. */
static inline unsigned stack_size(const struct cpu *cpu)
{
	if (is_64bit(cpu))
		return 8;
	return cpu->state.segment[SS].attributes & SEGMENT_DB ? 4 : 2;
}

static inline unsigned iopl_of(const struct cpu *cpu)
{
	return (unsigned)((cpu->state.rflags & FLAG_IOPL) / (FLAG_IOPL / 3));
}

static inline uint64_t next_rip(const struct cpu *cpu, const struct insn *insn)
{
	return zero_extend(cpu->state.rip + insn->length, is_64bit(cpu) ? 8 : 4);
}

/* Parts of segment_find(). */
exec_fn *far_find(const ZydisDecodedInstruction *decoded);
exec_fn *syscall_find(const ZydisDecodedInstruction *decoded);

#endif
