// SPDX-License-Identifier: GPL-2.0-or-later
/* decode.c - from bytes to struct insn, by Zydis */
#include "decode.h"

#include <string.h>

#include "kvm/cleanup.h"
#include "translate.h"

void decoder_init(ZydisDecoder *ret, enum decode_mode mode)
{
	static const struct {
		ZydisMachineMode machine;
		ZydisStackWidth stack;
	} modes[DECODE_MODES] = {
		[DECODE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
		[DECODE_COMPAT_32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		[DECODE_COMPAT_16] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
		[DECODE_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
		[DECODE_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
		[DECODE_REAL_16] = {ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16},
	};

	(void)ZydisDecoderInit(ret, modes[mode].machine, modes[mode].stack);
	/* What AMD's processors before Zen 3 do: no MPX, and CET's hints are NOPs. */
	(void)ZydisDecoderEnableMode(ret, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
	(void)ZydisDecoderEnableMode(ret, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	(void)ZydisDecoderEnableMode(ret, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
}

enum decode_mode decode_mode(const struct cpu *cpu)
{
	bool is_32 = cpu->state.segment[CS].attributes & SEGMENT_DB;

	if (is_64bit(cpu))
		return DECODE_64;
	if (is_long_mode(cpu))
		return is_32 ? DECODE_COMPAT_32 : DECODE_COMPAT_16;
	if (is_32)
		return DECODE_32;
	return is_real_mode(cpu) || (cpu->state.rflags & FLAG_VM) ? DECODE_REAL_16 : DECODE_16;
}

static uint8_t register_number(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return NO_REGISTER;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return BASE_RIP;
	return (uint8_t)ZydisRegisterGetId(reg);
}

static void set_register(struct operand *operand, ZydisRegister reg)
{
	uint8_t id = (uint8_t)ZydisRegisterGetId(reg);

	operand->reg = id;
	switch ((unsigned)ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8: /* AL CL DL BL AH CH DH BH SPL BPL .. */
		operand->kind = id >= 4 && id < 8 ? OPERAND_HIGH_BYTE : OPERAND_GPR;
		operand->reg = id < 4 ? id : id - 4;
		break;
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		operand->kind = OPERAND_GPR;
		break;
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
		operand->kind = OPERAND_XMM;
		break;
	case ZYDIS_REGCLASS_MMX:
		operand->kind = OPERAND_MMX;
		break;
	case ZYDIS_REGCLASS_X87:
		operand->kind = OPERAND_ST;
		break;
	case ZYDIS_REGCLASS_SEGMENT:
		operand->kind = OPERAND_SEGMENT;
		break;
	case ZYDIS_REGCLASS_CONTROL:
		operand->kind = OPERAND_CONTROL;
		break;
	case ZYDIS_REGCLASS_DEBUG:
		operand->kind = OPERAND_DEBUG;
		break;
	default:
		operand->kind = OPERAND_NONE;
		break;
	}
}

static void set_memory(struct insn *insn, const ZydisDecodedInstruction *decoded,
		       const ZydisDecodedOperandMem *memory)
{
	insn->base = register_number(memory->base);
	insn->index = register_number(memory->index);
	insn->scale = memory->scale;
	insn->segment = register_number(memory->segment);
	insn->displacement = memory->disp.value;
	/* Volume 3, 1.4.2: there is no base but a displacement.  Zydis 4.0 makes it R13D with
	 * REX.B and an address size of 32 bits. */
	if (decoded->attributes & ZYDIS_ATTRIB_HAS_SIB && decoded->raw.modrm.mod == 0 &&
	    decoded->raw.sib.base == 5) {
		insn->base = NO_REGISTER;
		insn->displacement = decoded->raw.disp.value;
	}
}

static void set_operand(struct insn *insn, unsigned n, const ZydisDecodedInstruction *instruction,
			const ZydisDecodedOperand *decoded)
{
	struct operand *operand = &insn->operand[n];

	operand->size = decoded->size <= 8 * UINT8_MAX ? (uint8_t)(decoded->size / 8) : 0;
	switch ((unsigned)decoded->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		set_register(operand, decoded->reg.value);
		break;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		operand->kind = OPERAND_MEMORY;
		set_memory(insn, instruction, &decoded->mem);
		break;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		operand->kind = OPERAND_IMMEDIATE;
		if (n > 0 && insn->operand[n - 1].kind == OPERAND_IMMEDIATE)
			insn->immediate2 = (uint8_t)decoded->imm.value.u;
		else
			insn->immediate = decoded->imm.value.u;
		break;
	case ZYDIS_OPERAND_TYPE_POINTER:
		operand->kind = OPERAND_FAR_POINTER;
		insn->immediate = decoded->ptr.offset | (uint64_t)decoded->ptr.segment << 32;
		break;
	default:
		break;
	}
}

/* For hidden operands: the override, or DS. */
static uint8_t source_segment(ZydisInstructionAttributes attributes)
{
	static const struct {
		ZydisInstructionAttributes attribute;
		uint8_t segment;
	} overrides[] = {
		{ZYDIS_ATTRIB_HAS_SEGMENT_ES, ES}, {ZYDIS_ATTRIB_HAS_SEGMENT_CS, CS},
		{ZYDIS_ATTRIB_HAS_SEGMENT_SS, SS}, {ZYDIS_ATTRIB_HAS_SEGMENT_FS, FS},
		{ZYDIS_ATTRIB_HAS_SEGMENT_GS, GS},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(overrides); i++)
		if (attributes & overrides[i].attribute)
			return overrides[i].segment;
	return DS;
}

static exec_fn *find(const ZydisDecodedInstruction *decoded)
{
	static exec_fn *(*const finders[])(const ZydisDecodedInstruction *) = {
		integer_find, branch_find,   shift_find,  bit_find,	multiply_find,
		string_find,  exchange_find, system_find, segment_find, vector_find,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(finders); i++) {
		exec_fn *exec = finders[i](decoded);

		if (exec)
			return exec;
	}
	return NULL;
}

static enum cpu_result exec_unknown(struct cpu *cpu, const struct insn *insn)
{
	(void)cpu;
	(void)insn;
	return CPU_IS_UNKNOWN;
}

/* No CPUID of ours offers AVX-512, Xeon Phi's vectors and scalars with VEX, XOP, 3DNow!. */
static enum cpu_result exec_undefined(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	return cpu_ud(cpu);
}

static bool is_offered(const ZydisDecodedInstruction *decoded)
{
	/* PREFETCHW without memory: Zydis has it as a NOP. */
	if (decoded->mnemonic == ZYDIS_MNEMONIC_NOP && decoded->opcode == 0x0d)
		return false;
	return decoded->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
	       (decoded->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
		decoded->meta.isa_ext != ZYDIS_ISA_EXT_KNC);
}

/* In 64-bit mode AMD's processors truncate RIP with prefix 66, in whatever near branch. */
static bool is_short_branch(const ZydisDecodedInstruction *decoded)
{
	if (decoded->machine_mode != ZYDIS_MACHINE_MODE_LONG_64 || decoded->raw.rex.W ||
	    (decoded->meta.branch_type != ZYDIS_BRANCH_TYPE_SHORT &&
	     decoded->meta.branch_type != ZYDIS_BRANCH_TYPE_NEAR))
		return false;
	for (unsigned i = 0; i < decoded->raw.prefix_count; i++)
		if (decoded->raw.prefixes[i].value == 0x66)
			return true;
	return false;
}

static void translate(const ZydisDecodedInstruction *decoded, const ZydisDecodedOperand *operands,
		      struct insn *insn)
{
	ZydisInstructionAttributes attributes = decoded->attributes;

	*insn = (struct insn){
		.length = decoded->length,
		.operand_size = decoded->operand_width / 8,
		.address_size = decoded->address_width / 8,
		/* XCHG locks memory with or without the prefix. */
		.lock = (attributes & ZYDIS_ATTRIB_HAS_LOCK) ||
			decoded->mnemonic == ZYDIS_MNEMONIC_XCHG,
		.rep = attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE),
		.repne = attributes & ZYDIS_ATTRIB_HAS_REPNE,
		.vex = decoded->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX,
		.condition = decoded->opcode & 0xf,
		.base = NO_REGISTER,
		.index = NO_REGISTER,
		.segment = source_segment(attributes),
		.mnemonic = (uint16_t)decoded->mnemonic,
	};
	if (insn->vex)
		insn->vector_len = (uint8_t)(decoded->avx.vector_length / 8);
	insn->n_operands = decoded->operand_count_visible;
	if (insn->n_operands > ARRAY_SIZE(insn->operand))
		insn->n_operands = ARRAY_SIZE(insn->operand);
	for (unsigned i = 0; i < insn->n_operands; i++)
		set_operand(insn, i, decoded, &operands[i]);
	if (is_short_branch(decoded))
		insn->operand_size = insn->operand[0].size = 2;

	if (!is_offered(decoded))
		insn->exec = exec_undefined;
	else if (decoded->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR)
		insn->exec = fast_find(insn);
	if (!insn->exec)
		insn->exec = find(decoded);
	if (!insn->exec)
		insn->exec = exec_unknown;
}

enum cpu_result decode(struct cpu *cpu, const ZydisDecoder *decoder, const uint8_t *bytes,
		       unsigned len, struct insn *ret, bool *ret_short)
{
	ZydisDecodedInstruction decoded;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZyanStatus status = ZydisDecoderDecodeFull(decoder, bytes, len, &decoded, operands);

	*ret_short = status == ZYDIS_STATUS_NO_MORE_DATA && len < INSN_MAX;
	if (ZYAN_SUCCESS(status)) {
		translate(&decoded, operands, ret);
		return CPU_NEXT;
	}
	/* Volume 3, 1.1: "an instruction of more than 15 bytes" is a general-protection exception.
	 */
	if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ||
	    (status == ZYDIS_STATUS_NO_MORE_DATA && len >= INSN_MAX))
		return cpu_gp(cpu, 0);
	return cpu_ud(cpu);
}

/* Bytes of the instruction at RIP, as many as can be had. */
static unsigned copy_bytes(struct cpu *cpu, uint64_t linear, uint8_t *ret)
{
	unsigned len = 0;

	while (len < INSN_MAX) {
		unsigned offset = (linear + len) % PAGE_SIZE;
		unsigned part = PAGE_SIZE - offset;
		struct cpu_page memory;

		if (cpu_fetch_page(cpu, linear + len, &memory) != CPU_NEXT || !memory.data)
			break;
		if (part > INSN_MAX - len)
			part = INSN_MAX - len;
		guest_read(ret + len, memory.data + offset, part);
		len += part;
	}
	return len;
}

void cpu_describe_unknown(struct cpu *cpu)
{
	enum decode_mode mode = decode_mode(cpu);
	ZydisDecoder decoder;
	uint64_t linear = cpu->state.rip;
	ZydisDecodedInstruction decoded;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisFormatter formatter;
	uint8_t bytes[INSN_MAX];

	if (mode != DECODE_64)
		linear = (uint32_t)(cpu->state.segment[CS].base + linear);

	unsigned len = copy_bytes(cpu, linear, bytes);

	decoder_init(&decoder, mode);
	memset(&cpu->unknown, 0, sizeof(cpu->unknown));
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, len, &decoded, operands))) {
		strcpy(cpu->unknown.text, "code that is not in memory");
		return;
	}
	cpu->unknown.len = decoded.length;
	memcpy(cpu->unknown.bytes, bytes, decoded.length);
	(void)ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	(void)ZydisFormatterFormatInstruction(&formatter, &decoded, operands,
					      decoded.operand_count_visible, cpu->unknown.text,
					      sizeof(cpu->unknown.text), cpu->state.rip, NULL);
}
