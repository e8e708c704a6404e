// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * generate.c - random instructions, and registers and memory that let them do something
 *
 * Theory of operation.  At first all encodings are enumerated (prefix, map, opcode, ModRM.reg,
 * register or memory, VEX.W and L), and those kept that softkvm knows as instructions that depend
 * on nothing but registers and memory.  A case is a mnemonic, one of its encodings, and chance for
 * everything else.  Where the instruction has an operand in memory, a register or the displacement
 * is set so that it mostly is in the data that there is: aligned or not, at the end of a page, at
 * the end of everything, nowhere.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ATTEMPTS	24
#define ATTEMPTS_SIMPLE 12 /* after these, without anything that is optional */
#define MODRM_REGISTER	0xc0
#define PREFIX_GS	0x65
#define PREFIX_ADDRESS	0x67
#define PREFIX_LOCK	0xf0

struct encoding {
	uint16_t mnemonic;
	uint8_t prefix; /* 0x66, 0xf2, 0xf3 or none */
	uint8_t map;	/* 0: one byte, 1: 0f, 2: 0f 38, 3: 0f 3a */
	uint8_t opcode, reg;
	bool is_vex, is_memory, has_modrm, w, l;
};

struct generator {
	ZydisDecoder decoder;
	bool is_32;
	struct encoding *encodings; /* by mnemonic */
	unsigned n_encodings, allocated;
	uint16_t mnemonics[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	unsigned n_mnemonics;
	unsigned first[ZYDIS_MNEMONIC_MAX_VALUE + 2]; /* encoding of a mnemonic */
};

/* Depend on more than what is compared, or leave the sandbox. */
static bool is_excluded(ZydisMnemonic mnemonic)
{
	static const ZydisMnemonic excluded[] = {
		/* which parts are in use is the processor's choice; unit tests are theirs */
		ZYDIS_MNEMONIC_XSAVE,
		ZYDIS_MNEMONIC_XSAVE64,
		ZYDIS_MNEMONIC_XSAVEOPT,
		ZYDIS_MNEMONIC_XSAVEOPT64,
		ZYDIS_MNEMONIC_XSAVEC,
		ZYDIS_MNEMONIC_XSAVEC64,
		ZYDIS_MNEMONIC_XRSTOR,
		ZYDIS_MNEMONIC_XRSTOR64,
		/* not the same twice */
		ZYDIS_MNEMONIC_RDTSC,
		ZYDIS_MNEMONIC_RDTSCP,
		ZYDIS_MNEMONIC_RDRAND,
		ZYDIS_MNEMONIC_RDSEED,
		ZYDIS_MNEMONIC_RDPID,
		ZYDIS_MNEMONIC_CPUID,
		ZYDIS_MNEMONIC_XGETBV,
		/* the system's */
		ZYDIS_MNEMONIC_INT,
		ZYDIS_MNEMONIC_INT1,
		ZYDIS_MNEMONIC_INT3,
		ZYDIS_MNEMONIC_SYSCALL,
		ZYDIS_MNEMONIC_SYSENTER,
		ZYDIS_MNEMONIC_VMMCALL,
		ZYDIS_MNEMONIC_VMCALL,
	};

	for (size_t i = 0; i < sizeof(excluded) / sizeof(excluded[0]); i++)
		if (excluded[i] == mnemonic)
			return true;
	return false;
}

/* Prefixes that no compiler makes, and that Zydis does not understand as AMD's processors do. */
static bool is_misunderstood(const ZydisDecodedInstruction *decoded)
{
	switch ((unsigned)decoded->mnemonic) {
	case ZYDIS_MNEMONIC_PAUSE: /* with REX.B it is XCHG R8, RAX */
		return decoded->attributes & ZYDIS_ATTRIB_HAS_REX;
	case ZYDIS_MNEMONIC_LOOPE: /* REP and REPNE take the place of the condition */
	case ZYDIS_MNEMONIC_LOOPNE:
		for (unsigned i = 0; i < decoded->raw.prefix_count; i++)
			if (decoded->raw.prefixes[i].value >= 0xf2)
				return true;
		return false;
	case ZYDIS_MNEMONIC_VPEXTRD: /* with VEX.W outside of 64-bit mode it is #UD */
	case ZYDIS_MNEMONIC_VPINSRD:
		return decoded->raw.vex.W;
	case ZYDIS_MNEMONIC_NOP: /* PREFETCHW without memory, which is #UD */
		return decoded->opcode == 0x0d;
	default:
		return false;
	}
}

static bool is_wanted(const ZydisDecodedInstruction *decoded, const ZydisDecodedOperand *operands)
{
	static exec_fn *(*const finders[])(const ZydisDecodedInstruction *) = {
		integer_find,  branch_find, shift_find,	   bit_find,
		multiply_find, string_find, exchange_find, vector_find,
	};

	if (is_excluded(decoded->mnemonic) ||
	    (decoded->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX &&
	     decoded->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) ||
	    decoded->meta.isa_ext == ZYDIS_ISA_EXT_KNC)
		return false;
	if (is_misunderstood(decoded))
		return false;
	/* Not implemented: instructions of SSE on registers of MMX. */
	for (unsigned i = 0; i < decoded->operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(operands[i].reg.value) == ZYDIS_REGCLASS_MMX)
			return false;
	for (size_t i = 0; i < sizeof(finders) / sizeof(finders[0]); i++)
		if (finders[i](decoded))
			return true;
	return false;
}

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static unsigned below(uint64_t *state, unsigned n)
{
	return (unsigned)(draw(state) % n);
}

static bool chance(uint64_t *state, unsigned percent)
{
	return below(state, 100) < percent;
}

struct bytes {
	uint8_t data[48];
	unsigned len;
};

static void put(struct bytes *bytes, unsigned byte)
{
	bytes->data[bytes->len++] = (uint8_t)byte;
}

/* What comes before the opcode in legacy encodings.  extended: REX.R, X, B. */
static void put_legacy(struct bytes *bytes, const struct encoding *encoding, unsigned extended,
		       bool wants_rex)
{
	if (encoding->prefix)
		put(bytes, encoding->prefix);
	if (encoding->w || extended || wants_rex)
		put(bytes, 0x40 | (encoding->w ? 8 : 0) | extended);
	if (encoding->map)
		put(bytes, 0x0f);
	if (encoding->map > 1)
		put(bytes, encoding->map == 2 ? 0x38 : 0x3a);
}

/* vvvv and extended are inverted in the encoding. */
static void put_vex(struct bytes *bytes, const struct encoding *encoding, unsigned extended,
		    unsigned vvvv, bool wants_short)
{
	unsigned pp = encoding->prefix == 0x66	 ? 1
		      : encoding->prefix == 0xf3 ? 2
		      : encoding->prefix == 0xf2 ? 3
						 : 0;
	unsigned last = (~vvvv & 15) << 3 | (encoding->l ? 4 : 0) | pp;

	if (wants_short && encoding->map == 1 && !encoding->w && !(extended & 3)) {
		put(bytes, 0xc5);
		put(bytes, (extended & 4 ? 0 : 0x80) | last);
		return;
	}
	put(bytes, 0xc4);
	put(bytes, (~extended & 7) << 5 | encoding->map);
	put(bytes, (encoding->w ? 0x80 : 0) | last);
}

/* An encoding with chance's choice of the rest; plain: without what is optional. */
static struct bytes build(const struct encoding *encoding, uint64_t *random, bool is_32, bool plain)
{
	struct bytes bytes = {0};
	unsigned extended = plain || is_32 || chance(random, 40) ? 0 : below(random, 8);

	if (!plain) {
		/* GS is a null selector, which is good for nothing outside of 64-bit mode. */
		if (!is_32 && chance(random, 4))
			put(&bytes, PREFIX_GS);
		if (chance(random, 4))
			put(&bytes, PREFIX_ADDRESS);
		if (encoding->is_memory && !encoding->is_vex && chance(random, 25))
			put(&bytes, PREFIX_LOCK);
		if (!encoding->is_vex && encoding->prefix != 0x66 && chance(random, 4))
			put(&bytes, 0x66);
	}
	if (encoding->is_vex)
		put_vex(&bytes, encoding, extended,
			plain && chance(random, 50) ? 0 : below(random, is_32 ? 8 : 16),
			chance(random, 50));
	else
		put_legacy(&bytes, encoding, extended, !plain && !is_32 && chance(random, 30));
	put(&bytes, encoding->opcode);
	if (encoding->has_modrm) {
		unsigned mod = encoding->is_memory ? below(random, 3) << 6 : MODRM_REGISTER;

		put(&bytes, mod | encoding->reg << 3 | below(random, 8));
	}
	for (unsigned i = 0; i < 2 * sizeof(uint64_t); i++)
		put(&bytes, below(random, 256));
	return bytes;
}

/* An instruction that is wanted. */
static bool understand(const ZydisDecoder *decoder, const struct bytes *bytes,
		       ZydisDecodedInstruction *ret, ZydisDecodedOperand *ret_operands)
{
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(
		       decoder, bytes->data, ZYDIS_MAX_INSTRUCTION_LENGTH, ret, ret_operands)) &&
	       is_wanted(ret, ret_operands);
}

static bool add(struct generator *generator, const struct encoding *encoding)
{
	if (generator->n_encodings == generator->allocated) {
		unsigned n = generator->allocated ? 2 * generator->allocated : 4096;
		struct encoding *grown =
			realloc(generator->encodings, n * sizeof(*generator->encodings));

		if (!grown)
			return false;
		generator->encodings = grown;
		generator->allocated = n;
	}
	generator->encodings[generator->n_encodings++] = *encoding;
	return true;
}

/* One-byte opcodes that are prefixes, of which build() has its own choice. */
static bool is_prefix(unsigned opcode, bool is_32)
{
	return (!is_32 && (opcode & 0xf0) == 0x40) || (opcode & 0xe7) == 0x26 ||
	       (opcode & 0xfc) == 0x64 || opcode == 0xf0 || opcode == 0xf2 || opcode == 0xf3 ||
	       opcode == 0xc4 || opcode == 0xc5;
}

/* All of what a first opcode byte may be followed by; false: no memory. */
static bool enumerate_opcode(struct generator *generator, struct encoding *encoding,
			     const char *only)
{
	for (unsigned modrm = 0; modrm < 16; modrm++) {
		struct bytes bytes = {0};
		ZydisDecodedInstruction decoded;
		ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

		encoding->reg = modrm >> 1;
		encoding->is_memory = modrm & 1;
		if (encoding->is_vex)
			put_vex(&bytes, encoding, 0, 0, false);
		else
			put_legacy(&bytes, encoding, 0, false);
		put(&bytes, encoding->opcode);
		put(&bytes, (encoding->is_memory ? 4 : MODRM_REGISTER) | encoding->reg << 3);
		/* VGATHERxx wants a SIB byte, and three different registers. */
		put(&bytes, 1 << 3);
		if (!understand(&generator->decoder, &bytes, &decoded, operands))
			continue;
		if (only && strcasecmp(only, ZydisMnemonicGetString(decoded.mnemonic)) != 0)
			continue;
		encoding->mnemonic = (uint16_t)decoded.mnemonic;
		encoding->has_modrm = decoded.attributes & ZYDIS_ATTRIB_HAS_MODRM;
		if (!encoding->has_modrm && modrm > 0)
			continue;
		if (!add(generator, encoding))
			return false;
	}
	return true;
}

static bool enumerate(struct generator *generator, const char *only)
{
	static const uint8_t prefixes[] = {0, 0x66, 0xf2, 0xf3};

	for (unsigned n = 0; n < 4 * 4 * 2 * 2 * 2 * 256; n++) {
		struct encoding encoding = {
			.opcode = (uint8_t)n,
			.prefix = prefixes[n >> 8 & 3],
			.map = n >> 10 & 3,
			.w = n >> 12 & 1,
			.l = n >> 13 & 1,
			.is_vex = n >> 14 & 1,
		};

		if (encoding.is_vex ? encoding.map == 0
				    : encoding.l || (encoding.w && generator->is_32) ||
					      (encoding.map == 0 &&
					       is_prefix((uint8_t)n, generator->is_32)))
			continue;
		if (!enumerate_opcode(generator, &encoding, only))
			return false;
	}
	return true;
}

static int compare_mnemonics(const void *a, const void *b)
{
	const struct encoding *first = a, *second = b;

	return (int)first->mnemonic - (int)second->mnemonic;
}

static void index_mnemonics(struct generator *generator)
{
	unsigned n = 0;

	generator->n_mnemonics = 0;
	for (unsigned mnemonic = 0; mnemonic <= ZYDIS_MNEMONIC_MAX_VALUE; mnemonic++) {
		generator->first[mnemonic] = n;
		while (n < generator->n_encodings && generator->encodings[n].mnemonic == mnemonic)
			n++;
		if (n > generator->first[mnemonic])
			generator->mnemonics[generator->n_mnemonics++] = (uint16_t)mnemonic;
	}
	generator->first[ZYDIS_MNEMONIC_MAX_VALUE + 1] = n;
}

struct generator *generator_new(bool is_32, const char *only)
{
	struct generator *generator = calloc(1, sizeof(*generator));

	if (!generator)
		return NULL;
	generator->is_32 = is_32;
	decoder_init(&generator->decoder, is_32 ? DECODE_COMPAT_32 : DECODE_64);
	if (!enumerate(generator, only) || generator->n_encodings == 0)
		return generator_free(generator);
	qsort(generator->encodings, generator->n_encodings, sizeof(*generator->encodings),
	      compare_mnemonics);
	index_mnemonics(generator);
	return generator;
}

struct generator *generator_free(struct generator *generator)
{
	if (generator) {
		free(generator->encodings);
		free(generator);
	}
	return NULL;
}

unsigned generator_count(const struct generator *generator)
{
	return generator->n_encodings;
}

bool generator_has(const struct generator *generator, ZydisMnemonic mnemonic)
{
	for (unsigned i = 0; i < generator->n_mnemonics; i++)
		if (generator->mnemonics[i] == mnemonic)
			return true;
	return false;
}

void generator_drop(struct generator *generator, ZydisMnemonic mnemonic)
{
	for (unsigned i = 0; i < generator->n_mnemonics; i++)
		if (generator->mnemonics[i] == mnemonic)
			generator->mnemonics[i] = generator->mnemonics[--generator->n_mnemonics];
}

static uint64_t draw_integer(uint64_t *random)
{
	unsigned bits = 7 + 8 * below(random, 8);

	switch (below(random, 8)) {
	case 0:
		return below(random, 256);
	case 1:
		return -(uint64_t)below(random, 256);
	case 2: /* where signs begin and end */
		return (1ull << bits) + below(random, 3) - 1;
	case 3:
		return DATA_BASE + below(random, DATA_LEN);
	case 4:
		return (uint32_t)draw(random);
	default:
		return draw(random);
	}
}

/* Zeros, one, infinities, quiet and signalling NaNs, denormals, the largest and the smallest. */
static const uint32_t singles[] = {
	0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
	0x7fc00000, 0x7f800001, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff,
	0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000,
};
static const uint64_t doubles[] = {
	0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
	0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
	0x0000000000000001, 0x800fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff,
	0x41e0000000000000, 0xc1e0000000000000, 0x43e0000000000000, 0x3810000000000000,
};

/* A single whose exponent is near one's, so that it has to do with others. */
static uint32_t draw_single(uint64_t *random)
{
	uint32_t value = (uint32_t)draw(random);

	return (value & 0x807fffff) | (112 + below(random, 32)) << 23;
}

static uint64_t draw_double(uint64_t *random)
{
	uint64_t value = draw(random);

	return (value & 0x800fffffffffffff) | (uint64_t)(1008 + below(random, 32)) << 52;
}

/* Sixteen bytes, as integers or floating point numbers of any kind. */
static void draw_vector(uint64_t *random, uint8_t ret[16])
{
	unsigned kind = below(random, 8);

	for (unsigned i = 0; i < 16; i += 8) {
		uint64_t value = draw(random);

		switch (kind) {
		case 0:
			value = draw_integer(random);
			break;
		case 1:
			value = singles[value % 16] | (uint64_t)singles[value >> 8 & 15] << 32;
			break;
		case 2:
			value = doubles[value % 16];
			break;
		case 3:
			value = draw_single(random) | (uint64_t)draw_single(random) << 32;
			break;
		case 4:
			value = draw_double(random);
			break;
		case 5: /* bytes that differ in little */
			value &= 0x8181818181818181;
			break;
		default:
			break;
		}
		memcpy(ret + i, &value, sizeof(value));
	}
}

static uint64_t draw_address(uint64_t *random)
{
	unsigned kind = below(random, 100);

	if (kind < 55) /* 64 bytes before are for the stack */
		return DATA_BASE + 64 + 32 * below(random, (DATA_LEN - 1024) / 32);
	if (kind < 78)
		return DATA_BASE + 64 + below(random, DATA_LEN - 1024);
	if (kind < 88) /* across pages */
		return DATA_BASE + DATA_LEN / 2 - below(random, 40);
	if (kind < 94) /* across the end */
		return DATA_BASE + DATA_LEN - below(random, 40);
	if (kind < 96)
		return CODE_BASE + below(random, CODE_LEN);
	if (kind < 98) /* not canonical, or just so */
		return (1ull << 47) - below(random, 40);
	return draw(random);
}

/* Of a branch: INT3 in the case's own slot, behind the instruction. */
static uint64_t draw_target(uint64_t *random, unsigned slot)
{
	return case_address(slot) + 16 + below(random, 128);
}

static void poke(struct test_case *test, uint64_t address, uint64_t value)
{
	if (address >= DATA_BASE && address <= DATA_BASE + DATA_LEN - sizeof(value))
		memcpy(test->data + (address - DATA_BASE), &value, sizeof(value));
}

static void draw_registers(uint64_t *random, struct registers *ret)
{
	const uint64_t flags = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF;

	for (unsigned i = 0; i < 16; i++) {
		ret->gpr[i] = draw_integer(random);
		draw_vector(random, ret->xmm[i]);
		draw_vector(random, ret->ymm_high[i]);
	}
	for (unsigned i = 0; i < 16; i++)
		if (i == RSP || i == RBP || i == RSI || i == RDI || i == RBX)
			ret->gpr[i] = chance(random, 80) ? draw_address(random) : ret->gpr[i];
	if (chance(random, 50))
		ret->gpr[RCX] = below(random, 40);
	ret->rflags = 2 | FLAG_IF | (draw(random) & flags) | (chance(random, 25) ? FLAG_DF : 0);
	ret->mxcsr = 0x1f80;
	if (chance(random, 50))
		ret->mxcsr = (uint32_t)(draw(random) & (chance(random, 50) ? 0xffff : 0xe03f)) |
			     (chance(random, 50) ? 0x1f80 : 0);
	/* Exceptions stay masked: a pending one would be of no instruction here. */
	ret->fcw = (uint16_t)((draw(random) & 0x1f00) | 0x7f);
	ret->fsw = draw(random) & 0x7f7f;
	ret->ftw = (uint8_t)draw(random);
}

static bool is_gather(const ZydisDecodedOperandMem *memory)
{
	return memory->type == ZYDIS_MEMOP_TYPE_VSIB;
}

/* Indices that mostly do not lead far, of four or eight bytes. */
static void draw_indices(uint64_t *random, const ZydisDecodedOperandMem *memory,
			 struct registers *registers)
{
	uint64_t mask = chance(random, 50) ? 0xff0000007f : 0x7f;
	unsigned id = (unsigned)ZydisRegisterGetId(memory->index);

	for (unsigned i = 0; i < 16; i += 8) {
		uint64_t low = draw(random) & mask, high = draw(random) & mask;

		memcpy(&registers->xmm[id][i], &low, sizeof(low));
		if (chance(random, 90))
			memcpy(&registers->ymm_high[id][i], &high, sizeof(high));
	}
}

/* Let the memory operand be at address. */
static void aim(struct test_case *test, const ZydisDecodedInstruction *decoded,
		const ZydisDecodedOperandMem *memory, uint64_t address)
{
	struct registers *registers = &test->registers;
	uint64_t *base = memory->base == ZYDIS_REGISTER_NONE ||
					 memory->base == ZYDIS_REGISTER_RIP ||
					 memory->base == ZYDIS_REGISTER_EIP
				 ? NULL
				 : &registers->gpr[ZydisRegisterGetId(memory->base)];
	uint64_t *index = memory->index == ZYDIS_REGISTER_NONE || is_gather(memory)
				  ? NULL
				  : &registers->gpr[ZydisRegisterGetId(memory->index)];
	uint64_t displacement = (uint64_t)memory->disp.value;

	if (memory->segment == ZYDIS_REGISTER_GS)
		address -= GS_BASE;
	if (base && base == index) {
		*base = (address - displacement) / (1u + memory->scale);
	} else if (base) {
		*base = address - displacement - (index ? *index * memory->scale : 0);
	} else if (decoded->raw.disp.size >= 32) {
		if (index) {
			*index &= 0xff;
			address -= *index * memory->scale;
		} else if (memory->base != ZYDIS_REGISTER_NONE) {
			address -= registers->rip + test->length;
		}
		memcpy(test->code + decoded->raw.disp.offset, &address,
		       decoded->raw.disp.size / 8u);
	}
}

/* Where a near branch goes to: never into the instruction itself. */
static void aim_branch(struct test_case *test, const ZydisDecodedInstruction *decoded,
		       const ZydisDecodedOperand *operands, uint64_t *random, unsigned slot)
{
	uint64_t target = draw_target(random, slot);

	if (decoded->raw.imm[0].is_relative) {
		int64_t distance = (int64_t)below(random, 100) + 1;

		if (chance(random, 50))
			distance = -distance - test->length;
		if (decoded->raw.imm[0].size == 8 || chance(random, 80))
			memcpy(test->code + decoded->raw.imm[0].offset, &distance,
			       decoded->raw.imm[0].size / 8u);
		return;
	}
	if (chance(random, 20))
		target = chance(random, 50) ? draw(random) >> 17 : draw_address(random);
	if (decoded->operand_count_visible > 0 && operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
		test->registers.gpr[ZydisRegisterGetId(operands[0].reg.value)] = target;
}

static bool is_branch(const ZydisDecodedInstruction *decoded)
{
	return decoded->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
	       decoded->mnemonic == ZYDIS_MNEMONIC_RET;
}

static bool fill(const struct generator *generator, const struct encoding *encoding,
		 uint64_t *random, unsigned slot, bool plain, struct test_case *ret)
{
	struct bytes bytes = build(encoding, random, generator->is_32, plain);
	ZydisDecodedInstruction decoded;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

	if (!understand(&generator->decoder, &bytes, &decoded, operands) ||
	    decoded.mnemonic != encoding->mnemonic)
		return false;
	ret->mnemonic = encoding->mnemonic;
	ret->length = decoded.length;
	memcpy(ret->code, bytes.data, decoded.length);
	ret->registers.rip = case_address(slot);
	for (unsigned i = 0; i < decoded.operand_count; i++) {
		const ZydisDecodedOperand *operand = &operands[i];
		uint64_t address = draw_address(random);

		if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    (operand->mem.type != ZYDIS_MEMOP_TYPE_MEM && !is_gather(&operand->mem)))
			continue;
		/* Some operands want 64 bytes' alignment, or are large. */
		if (operand->size > 256 && chance(random, 80))
			address = DATA_BASE + 64 * below(random, 64);
		if (is_gather(&operand->mem))
			draw_indices(random, &operand->mem, &ret->registers);
		aim(ret, &decoded, &operand->mem, address);
		for (unsigned n = 0; n < 32 && operand->size <= 256; n += 16) {
			uint8_t vector[16];
			uint64_t half[2];

			draw_vector(random, vector);
			memcpy(half, vector, sizeof(half));
			poke(ret, address + n, half[0]);
			poke(ret, address + n + 8, half[1]);
		}
		/* FXRSTOR wants an MXCSR. */
		if (decoded.mnemonic == ZYDIS_MNEMONIC_FXRSTOR ||
		    decoded.mnemonic == ZYDIS_MNEMONIC_FXRSTOR64)
			poke(ret, address + offsetof(struct cpu_fpu, mxcsr),
			     draw(random) & UINT16_MAX);
		if (is_branch(&decoded))
			poke(ret, address, draw_target(random, slot));
	}
	if (is_branch(&decoded)) {
		poke(ret, ret->registers.gpr[RSP], draw_target(random, slot));
		aim_branch(ret, &decoded, operands, random, slot);
	}
	/* Nothing that would reach into the handler: TF, NT, AC. */
	/* A shift by more than the operand has gives anything. */
	if ((decoded.mnemonic == ZYDIS_MNEMONIC_SHLD || decoded.mnemonic == ZYDIS_MNEMONIC_SHRD) &&
	    decoded.operand_width == 16) {
		ret->registers.gpr[RCX] &= 15;
		if (decoded.raw.imm[0].size)
			ret->code[decoded.raw.imm[0].offset] &= 15;
	}
	if (decoded.mnemonic == ZYDIS_MNEMONIC_POPF || decoded.mnemonic == ZYDIS_MNEMONIC_POPFD ||
	    decoded.mnemonic == ZYDIS_MNEMONIC_POPFQ) {
		ret->registers.gpr[RSP] = DATA_BASE + below(random, DATA_LEN - 8);
		poke(ret, ret->registers.gpr[RSP], draw(random) & 0xcd5);
	}
	return true;
}

/* What 32-bit code does not see is zero. */
static void truncate_registers(struct registers *registers)
{
	for (unsigned i = 0; i < 8; i++)
		registers->gpr[i] = (uint32_t)registers->gpr[i];
	for (unsigned i = 8; i < 16; i++)
		registers->gpr[i] = 0;
}

static void generate_encoding(const struct generator *generator, const struct encoding *encoding,
			      uint64_t *random, unsigned slot, struct test_case *ret)
{
	static const uint8_t nop[] = {0x90};

	ret->mnemonic = ZYDIS_MNEMONIC_NOP; /* if nothing else will do */
	ret->length = sizeof(nop);
	memcpy(ret->code, nop, sizeof(nop));
	ret->registers.rip = case_address(slot);
	draw_registers(random, &ret->registers);
	ret->is_32 = generator->is_32;
	for (unsigned i = 0; i < DATA_LEN; i += sizeof(uint64_t)) {
		uint64_t value = draw(random);

		memcpy(ret->data + i, &value, sizeof(value));
	}
	for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++)
		if (fill(generator, encoding, random, slot, attempt >= ATTEMPTS_SIMPLE, ret))
			break;
	if (generator->is_32)
		truncate_registers(&ret->registers);
}

void generate(const struct generator *generator, uint64_t seed, unsigned slot,
	      struct test_case *ret)
{
	uint64_t random = seed;
	unsigned mnemonic = generator->mnemonics[below(&random, generator->n_mnemonics)];
	unsigned first = generator->first[mnemonic], n = generator->first[mnemonic + 1] - first;

	ret->seed = seed;
	generate_encoding(generator, &generator->encodings[first + below(&random, n)], &random,
			  slot, ret);
}

void generate_nth(const struct generator *generator, unsigned n, uint64_t seed, unsigned slot,
		  struct test_case *ret)
{
	uint64_t random = seed;

	ret->seed = seed;
	generate_encoding(generator, &generator->encodings[n], &random, slot, ret);
}
