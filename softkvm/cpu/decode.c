// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * decode.c - from bytes to struct insn, once
 *
 * Theory of operation.  Instructions are kept per page of memory and mode of decoding, found by the
 * page's place in the host.  Of each page there is a copy of the bytes that instructions were
 * decoded from.  A page is not watched for stores of others; it is compared with the copy where
 * hardware would look anew, too:
 *
 *  - own stores into such a page are announced by code_written(), which drops the instructions that
 *    overlap them;
 *  - after a serializing instruction (volume 2, 7.6.4) and whenever somebody outside the CPU may
 *    have written, code_doubt() makes each page be compared before its next use.
 *
 * The page that RIP is in is kept at hand with what made the lookup valid (linear address, CPL,
 * CS), so that straight code costs a handful of comparisons (code.h).  An instruction that spans
 * two pages belongs to the first, and its bytes are compared at each use, as the second may change.
 *
 * Nothing is freed but in cpu_fetch(): an instruction may overwrite itself while it is executed.
 */
#include "code.h"

#include <stdlib.h>
#include <string.h>

#include "kvm/cleanup.h"

#define INSN_MAX 15 /* bytes */
#define SETS	 1024
/* Some 90 KiB each, if they are full of code. */
#define PAGES_MAX 2048
#define INSNS_MIN 64

enum mode { MODE_64, MODE_COMPAT_32, MODE_COMPAT_16, MODE_32, MODE_16, MODE_REAL_16, MODES };

struct code_page {
	struct code_page *next; /* of the set */
	const uint8_t *data;
	enum mode mode;
	uint64_t doubt;		  /* code->doubt when it was compared last */
	uint16_t slot[PAGE_SIZE]; /* 1 + place in insn; 0: none begins here */
	uint8_t bytes[PAGE_SIZE]; /* what was decoded */
	struct insn *insn;
	unsigned n_insns, allocated;
	/* The instruction that was last seen to end in the next page. */
	struct insn crossing;
	uint8_t crossing_bytes[INSN_MAX], crossing_len;
};

struct code {
	struct code_view view; /* first: code.h knows no more of it */
	ZydisDecoder decoder[MODES];
	struct code_page *set[SETS];
	unsigned n_pages;
	uint64_t doubt;
};

struct code *code_new(void)
{
	static const struct {
		ZydisMachineMode machine;
		ZydisStackWidth stack;
	} modes[MODES] = {
		[MODE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
		[MODE_COMPAT_32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		[MODE_COMPAT_16] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
		[MODE_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
		[MODE_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
		[MODE_REAL_16] = {ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16},
	};
	struct code *code = calloc(1, sizeof(*code));

	if (!code)
		return NULL;
	for (unsigned mode = 0; mode < MODES; mode++) {
		ZydisDecoder *decoder = &code->decoder[mode];

		(void)ZydisDecoderInit(decoder, modes[mode].machine, modes[mode].stack);
		/* What AMD's processors before Zen 3 do: no MPX, and CET's hints are NOPs. */
		(void)ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
		(void)ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		(void)ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	}
	return code;
}

static void drop_pages(struct code *code)
{
	for (unsigned i = 0; i < SETS; i++)
		while (code->set[i]) {
			struct code_page *page = code->set[i];

			code->set[i] = page->next;
			free(page->insn);
			free(page);
		}
	code->n_pages = 0;
}

struct code *code_free(struct code *code)
{
	if (code) {
		drop_pages(code);
		free(code);
	}
	return NULL;
}

static unsigned set_of(const uint8_t *data)
{
	uintptr_t number = (uintptr_t)data / PAGE_SIZE;

	return (number ^ number / SETS) % SETS;
}

/* Instructions with bytes in [offset, +len).  Others that begin near are dropped in vain. */
static void drop_instructions(struct code_page *page, unsigned offset, unsigned len)
{
	unsigned first = offset < INSN_MAX - 1 ? 0 : offset - (INSN_MAX - 1);

	memset(&page->slot[first], 0, (offset + len - first) * sizeof(page->slot[0]));
	page->crossing_len = 0;
}

void code_written(struct cpu *cpu, const uint8_t *page_data, unsigned offset, unsigned len)
{
	struct code_page *page = cpu->code->set[set_of(page_data)];

	for (; page; page = page->next)
		if (page->data == page_data)
			drop_instructions(page, offset, len);
}

void code_doubt(struct cpu *cpu)
{
	cpu->code->doubt++;
	cpu->code->view.slot = NULL;
}

/* From a snapshot: the bytes may be changing. */
static void compare(struct code_page *page)
{
	uint8_t now[PAGE_SIZE];

	memcpy(now, page->data, sizeof(now));
	if (memcmp(now, page->bytes, sizeof(now)) == 0)
		return;
	for (unsigned offset = 0; offset < PAGE_SIZE; offset++) {
		if (page->slot[offset] == 0)
			continue;

		unsigned len = page->insn[page->slot[offset] - 1].length;

		if (memcmp(&now[offset], &page->bytes[offset], len) != 0)
			page->slot[offset] = 0;
	}
	memcpy(page->bytes, now, sizeof(now));
}

static struct code_page *find_page(struct code *code, const uint8_t *data, enum mode mode)
{
	struct code_page **set = &code->set[set_of(data)], *page = *set;

	while (page && (page->data != data || page->mode != mode))
		page = page->next;
	if (!page) {
		if (code->n_pages == PAGES_MAX)
			drop_pages(code);
		page = calloc(1, sizeof(*page));
		if (!page)
			return NULL;
		page->data = data;
		page->mode = mode;
		page->next = *set;
		page->doubt = code->doubt;
		memcpy(page->bytes, data, sizeof(page->bytes));
		*set = page;
		code->n_pages++;
	}
	if (page->doubt != code->doubt) {
		compare(page);
		page->doubt = code->doubt;
	}
	return page;
}

static enum mode mode_of(const struct cpu *cpu)
{
	bool is_32 = cpu->state.segment[CS].attributes & SEGMENT_DB;

	if (is_64bit(cpu))
		return MODE_64;
	if (is_long_mode(cpu))
		return is_32 ? MODE_COMPAT_32 : MODE_COMPAT_16;
	if (is_32)
		return MODE_32;
	return is_real_mode(cpu) || (cpu->state.rflags & FLAG_VM) ? MODE_REAL_16 : MODE_16;
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

/* CPU_NEXT; CPU_FAULT.  *ret_short: there may be more of it behind len. */
static enum cpu_result decode(struct cpu *cpu, enum mode mode, const uint8_t *bytes, unsigned len,
			      struct insn *ret, bool *ret_short)
{
	ZydisDecodedInstruction decoded;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZyanStatus status =
		ZydisDecoderDecodeFull(&cpu->code->decoder[mode], bytes, len, &decoded, operands);

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

/* A place for one more. */
static struct insn *new_insn(struct code_page *page)
{
	if (page->n_insns == PAGE_SIZE) {
		/* Code that is written again and again. */
		memset(page->slot, 0, sizeof(page->slot));
		page->n_insns = 0;
	}
	if (page->n_insns == page->allocated) {
		unsigned n = page->allocated ? 2 * page->allocated : INSNS_MIN;
		struct insn *grown = realloc(page->insn, n * sizeof(*grown));

		if (!grown)
			return NULL;
		page->insn = grown;
		page->allocated = n;
	}
	return &page->insn[page->n_insns];
}

static enum cpu_result add_insn(struct cpu *cpu, struct code_page *page, unsigned offset,
				const struct insn **ret, bool *ret_short)
{
	uint8_t bytes[INSN_MAX];
	unsigned len = PAGE_SIZE - offset < INSN_MAX ? PAGE_SIZE - offset : INSN_MAX;
	struct insn *insn = new_insn(page);

	if (!insn)
		return CPU_IS_UNKNOWN;
	memcpy(bytes, page->data + offset, len);

	enum cpu_result result = decode(cpu, page->mode, bytes, len, insn, ret_short);

	if (result != CPU_NEXT)
		return result;
	if (memcmp(&page->bytes[offset], bytes, insn->length) != 0) {
		drop_instructions(page, offset, insn->length);
		memcpy(&page->bytes[offset], bytes, insn->length);
	}
	page->slot[offset] = (uint16_t)++page->n_insns;
	*ret = insn;
	return CPU_NEXT;
}

/* An instruction that begins at offset and ends in the page behind. */
static enum cpu_result fetch_crossing(struct cpu *cpu, struct code_page *page, unsigned offset,
				      uint64_t linear, const struct insn **ret)
{
	unsigned first = PAGE_SIZE - offset;
	uint8_t bytes[INSN_MAX];
	struct cpu_page next;
	bool is_short;
	enum cpu_result result = cpu_fetch_page(cpu, linear + first, &next);

	if (result != CPU_NEXT)
		return result;
	if (!next.data)
		return CPU_IS_UNKNOWN;
	memcpy(bytes, page->data + offset, first);
	memcpy(bytes + first, next.data, sizeof(bytes) - first);
	if (page->crossing_len != first ||
	    memcmp(page->crossing_bytes, bytes, page->crossing.length) != 0) {
		page->crossing_len = 0;
		result = decode(cpu, page->mode, bytes, sizeof(bytes), &page->crossing, &is_short);
		if (result != CPU_NEXT)
			return result;
		memcpy(page->crossing_bytes, bytes, sizeof(bytes));
		page->crossing_len = (uint8_t)first;
	}
	*ret = &page->crossing;
	return CPU_NEXT;
}

/* The limit of CS, outside of 64-bit mode.  RIP has been truncated. */
static bool is_within_limit(const struct cpu *cpu, uint64_t rip, unsigned len)
{
	return rip + len - 1 <= cpu->state.segment[CS].limit;
}

/* The page at hand for code.h: where no instruction needs its limit checked, or spans pages. */
static void set_view(struct cpu *cpu, struct code_page *page, enum mode mode, uint64_t linear)
{
	uint64_t base = mode == MODE_64 ? 0 : cpu->state.segment[CS].base;
	uint64_t begin = (linear & ~(PAGE_SIZE - 1ull)) - base;
	struct code_view *view = &cpu->code->view;

	view->slot = NULL;
	if (mode != MODE_64 &&
	    (begin > UINT32_MAX - PAGE_SIZE || !is_within_limit(cpu, begin, PAGE_SIZE)))
		return;
	*view = (struct code_view){
		.slot = page->slot,
		.insn = page->insn,
		.begin = begin,
		.cs_base = cpu->state.segment[CS].base,
		.cs_attributes = cpu->state.segment[CS].attributes,
		.cpl = cpu->state.cpl,
	};
}

enum cpu_result cpu_fetch(struct cpu *cpu, const struct insn **ret)
{
	enum mode mode = mode_of(cpu);
	uint64_t linear = cpu->state.rip;
	struct cpu_page memory;
	bool is_short = false;

	cpu->code->view.slot = NULL;
	if (mode != MODE_64) {
		linear = (uint32_t)(cpu->state.segment[CS].base + linear);
		if (!is_within_limit(cpu, cpu->state.rip, 1))
			return cpu_gp(cpu, 0);
	}

	enum cpu_result result = cpu_fetch_page(cpu, linear, &memory);

	if (result != CPU_NEXT)
		return result;
	if (!memory.data)
		return CPU_IS_UNKNOWN;

	struct code_page *page = find_page(cpu->code, memory.data, mode);
	unsigned offset = linear % PAGE_SIZE;

	if (!page)
		return CPU_IS_UNKNOWN;
	if (page->slot[offset])
		*ret = &page->insn[page->slot[offset] - 1];
	else
		result = add_insn(cpu, page, offset, ret, &is_short);
	if (is_short)
		result = fetch_crossing(cpu, page, offset, linear, ret);
	if (result != CPU_NEXT)
		return result;
	if (mode != MODE_64 && !is_within_limit(cpu, cpu->state.rip, (*ret)->length))
		return cpu_gp(cpu, 0);
	set_view(cpu, page, mode, linear);
	return CPU_NEXT;
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
		memcpy(ret + len, memory.data + offset, part);
		len += part;
	}
	return len;
}

void cpu_describe_unknown(struct cpu *cpu)
{
	enum mode mode = mode_of(cpu);
	uint64_t linear = cpu->state.rip;
	ZydisDecodedInstruction decoded;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisFormatter formatter;
	uint8_t bytes[INSN_MAX];

	if (mode != MODE_64)
		linear = (uint32_t)(cpu->state.segment[CS].base + linear);

	unsigned len = copy_bytes(cpu, linear, bytes);

	memset(&cpu->unknown, 0, sizeof(cpu->unknown));
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&cpu->code->decoder[mode], bytes, len, &decoded,
						 operands))) {
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
