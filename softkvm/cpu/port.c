// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * port.c - IN, OUT, INS, OUTS: 12.2.4 for who may
 *
 * A repeated INS or OUTS is one access per element, after each of which it can be interrupted.
 */
#include "descriptor.h"
#include "system.h"

#define TSS_IO_MAP 0x66u /* the offset of the map, 2 bytes */

/* A bit for each port, all of them clear: allowed.  Two bytes are always read. */
static enum cpu_result check_map(struct cpu *cpu, uint16_t port, unsigned size)
{
	const struct cpu_segment *tr = &cpu->state.tr;
	uint16_t map, bits;
	unsigned offset;
	enum cpu_result result;

	if (type_of(tr) < TYPE_TSS || TSS_IO_MAP + sizeof(map) - 1 > tr->limit)
		return cpu_gp(cpu, 0);
	result = cpu_load_system(cpu, tr->base + TSS_IO_MAP, &map, sizeof(map));
	if (result != CPU_NEXT)
		return result;
	offset = map + port / 8u;
	if (offset + sizeof(bits) - 1 > tr->limit)
		return cpu_gp(cpu, 0);
	result = cpu_load_system(cpu, tr->base + offset, &bits, sizeof(bits));
	if (result != CPU_NEXT)
		return result;
	return bits >> port % 8 & ((1u << size) - 1) ? cpu_gp(cpu, 0) : CPU_NEXT;
}

static enum cpu_result check_port(struct cpu *cpu, uint16_t port, unsigned size)
{
	enum cpu_result result = CPU_NEXT;

	if (!is_real_mode(cpu) && (cpu->state.cpl > iopl_of(cpu) || (cpu->state.rflags & FLAG_VM)))
		result = check_map(cpu, port, size);
	if (result == CPU_NEXT && cpu->es)
		result = cpu_vc(cpu, VC_PORT);
	return result;
}

/* In AL, AX, EAX: 64-bit operands do not exist. */
static unsigned size_of(const struct insn *insn, unsigned n)
{
	return insn->operand[n].size < 4 ? insn->operand[n].size : 4;
}

static enum cpu_result find_port(struct cpu *cpu, const struct insn *insn, unsigned n,
				 unsigned size, uint16_t *ret)
{
	bool is_immediate = insn->operand[n].kind == OPERAND_IMMEDIATE;

	*ret = is_immediate ? (uint8_t)insn->immediate : (uint16_t)cpu->state.gpr[RDX];
	return check_port(cpu, *ret, size);
}

static enum cpu_result exec_in(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = size_of(insn, 0);
	uint32_t value = 0;
	uint16_t port;
	enum cpu_result result = find_port(cpu, insn, 1, size, &port);

	if (result != CPU_NEXT)
		return result;
	if (!cpu->ops->pio_in(cpu->opaque, port, size, &value))
		return CPU_ABANDONED;
	set_gpr(cpu, RAX, size, value);
	return CPU_NEXT;
}

static enum cpu_result exec_out(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = size_of(insn, 1);
	uint32_t value = (uint32_t)zero_extend(cpu->state.gpr[RAX], size);
	uint16_t port;
	enum cpu_result result = find_port(cpu, insn, 0, size, &port);

	if (result != CPU_NEXT)
		return result;
	return cpu->ops->pio_out(cpu->opaque, port, size, value) ? CPU_NEXT : CPU_ABANDONED;
}

static bool is_repeated(const struct insn *insn)
{
	return insn->rep || insn->repne;
}

static bool is_done(const struct cpu *cpu, const struct insn *insn)
{
	return is_repeated(insn) && zero_extend(cpu->state.gpr[RCX], insn->address_size) == 0;
}

static enum cpu_result advance(struct cpu *cpu, const struct insn *insn, unsigned reg,
			       unsigned size)
{
	uint64_t address = cpu->state.gpr[reg];

	address += cpu->state.rflags & FLAG_DF ? -(uint64_t)size : size;
	set_gpr(cpu, reg, insn->address_size, address);
	if (!is_repeated(insn))
		return CPU_NEXT;
	set_gpr(cpu, RCX, insn->address_size, cpu->state.gpr[RCX] - 1);
	return is_done(cpu, insn) ? CPU_NEXT : CPU_JUMPED;
}

static unsigned element_size(const struct insn *insn)
{
	return insn->operand_size < 4 ? insn->operand_size : 4;
}

/* Whatever can fault comes before the port is read. */
static enum cpu_result exec_ins(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = element_size(insn);
	uint16_t port = (uint16_t)cpu->state.gpr[RDX];
	uint64_t linear;
	uint32_t value = 0;
	enum cpu_result result = check_port(cpu, port, size);

	if (result == CPU_NEXT && is_done(cpu, insn))
		return CPU_NEXT;
	if (result == CPU_NEXT)
		result = cpu_linear(cpu, ES, zero_extend(cpu->state.gpr[RDI], insn->address_size),
				    size, true, &linear);
	if (result == CPU_NEXT)
		result = cpu_probe_store(cpu, linear, size);
	if (result != CPU_NEXT)
		return result;
	if (!cpu->ops->pio_in(cpu->opaque, port, size, &value))
		return CPU_ABANDONED;
	result = cpu_store(cpu, linear, &value, size);
	return result == CPU_NEXT ? advance(cpu, insn, RDI, size) : result;
}

static enum cpu_result exec_outs(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = element_size(insn);
	uint16_t port = (uint16_t)cpu->state.gpr[RDX];
	uint64_t linear;
	uint32_t value = 0;
	enum cpu_result result = check_port(cpu, port, size);

	if (result == CPU_NEXT && is_done(cpu, insn))
		return CPU_NEXT;
	if (result == CPU_NEXT)
		result = cpu_linear(cpu, insn->segment,
				    zero_extend(cpu->state.gpr[RSI], insn->address_size), size,
				    false, &linear);
	if (result == CPU_NEXT)
		result = cpu_load(cpu, linear, &value, size);
	if (result != CPU_NEXT)
		return result;
	if (!cpu->ops->pio_out(cpu->opaque, port, size, value))
		return CPU_ABANDONED;
	return advance(cpu, insn, RSI, size);
}

exec_fn *port_find(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_IN:
		return exec_in;
	case ZYDIS_MNEMONIC_OUT:
		return exec_out;
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_INSD:
		return exec_ins;
	case ZYDIS_MNEMONIC_OUTSB:
	case ZYDIS_MNEMONIC_OUTSW:
	case ZYDIS_MNEMONIC_OUTSD:
		return exec_outs;
	default:
		return NULL;
	}
}
