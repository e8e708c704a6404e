// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * check_cpu.c - does softkvm's CPU do what this machine's processor does?
 *
 * Random instructions, each with random registers and memory, are carried out by both and what
 * comes of it is compared: registers, flags that are defined, memory, exceptions.  A case is a
 * function of its number and --seed: --first N --cases 1 repeats one.  With --bits 32 it is 32-bit
 * code in compatibility mode.
 */
#include "check.h"

#include <errno.h>
#include <cpuid.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softkvm/cpu/vector.h"

#define SHOWN_PER_MNEMONIC 2

struct check {
	struct generator *generator;
	struct native *native;
	struct interpreter *interpreter;
	ZydisDecoder decoder;
	ZydisFormatter formatter;
	uint64_t bits;
	uint64_t seed, first, cases, shown, max_shown;
	uint64_t differences, unknown;
	struct {
		unsigned cases, differences, executed;
	} of[ZYDIS_MNEMONIC_MAX_VALUE + 1];
};

/* Flags whose value afterwards is nobody's business. */
static uint64_t undefined_flags(const ZydisDecodedInstruction *decoded, bool has_faulted)
{
	const uint64_t repeated = ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE;

	if (!has_faulted)
		return decoded->cpu_flags ? decoded->cpu_flags->undefined : 0;
	/* Of a comparison that is going to be made again, or is none of the last. */
	return decoded->attributes & repeated ? FLAGS_VISIBLE & ~FLAG_DF : 0;
}

/* What the kernel makes of exceptions, and what is of the instruction that would come next. */
static void normalize(const struct test_case *test, struct outcome *native,
		      struct outcome *interpreted)
{
	const uint32_t is_present = 1u << 0, is_fetch = 1u << 4;

	/* PE with unmasked OE or UE: softkvm/cpu/float.c says that it cannot know. */
	if (native->vector == VECTOR_XF && interpreted->vector == VECTOR_XF &&
	    native->registers.mxcsr & (MXCSR_OE | MXCSR_UE) & ~(test->registers.mxcsr >> 7))
		interpreted->registers.mxcsr = (interpreted->registers.mxcsr & ~MXCSR_PE) |
					       (native->registers.mxcsr & MXCSR_PE);
	if (native->vector != VECTOR_PF)
		return;
	/* A branch to nowhere is done by then. */
	if (native->error & is_fetch && native->registers.rip == native->address &&
	    native->registers.rip != test->registers.rip)
		native->vector = NO_VECTOR;
	/* Of addresses that are not an application's it does not tell whether there is memory. */
	if (native->address >= (1ull << 47) - 4096)
		interpreted->error |= is_present;
}

struct report {
	size_t len;
	char text[4096];
};

static void __attribute__((format(printf, 2, 3)))
say(struct report *report, const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(report->text + report->len, sizeof(report->text) - report->len, format,
		      arguments);
	va_end(arguments);
	if (n > 0)
		report->len += (size_t)n;
	if (report->len >= sizeof(report->text))
		report->len = sizeof(report->text) - 1;
}

static void compare_integer(struct report *report, const char *name, uint64_t before,
			    uint64_t native, uint64_t interpreted)
{
	if (native != interpreted)
		say(report,
		    "    %s: before %" PRIx64 ", processor %" PRIx64 ", softkvm %" PRIx64 "\n",
		    name, before, native, interpreted);
}

static void say_bytes(struct report *report, const char *name, const uint8_t *bytes)
{
	say(report, "      %-9s", name);
	for (unsigned i = 16; i-- > 0;)
		say(report, " %02x", bytes[i]);
	say(report, "\n");
}

static void compare_vectors(struct report *report, const char *kind, const uint8_t before[16][16],
			    const uint8_t native[16][16], const uint8_t interpreted[16][16])
{
	for (unsigned i = 0; i < 16; i++) {
		if (memcmp(native[i], interpreted[i], 16) == 0)
			continue;
		say(report, "    %s%u:\n", kind, i);
		say_bytes(report, "before", before[i]);
		say_bytes(report, "processor", native[i]);
		say_bytes(report, "softkvm", interpreted[i]);
	}
}

static void compare_data(struct report *report, const struct test_case *test,
			 const struct outcome *native, const struct outcome *interpreted)
{
	for (unsigned i = 0; i < DATA_LEN; i++) {
		if (native->data[i] == interpreted->data[i])
			continue;
		say(report, "    memory at %" PRIx64 " and perhaps more:\n",
		    (uint64_t)DATA_BASE + i);
		i &= ~15u;
		say_bytes(report, "before", test->data + i);
		say_bytes(report, "processor", native->data + i);
		say_bytes(report, "softkvm", interpreted->data + i);
		return;
	}
}

static void compare(const ZydisDecodedInstruction *decoded, const struct test_case *test,
		    const struct outcome *native, const struct outcome *interpreted,
		    struct report *report)
{
	static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	const struct registers *before = &test->registers, *n = &native->registers,
			       *i = &interpreted->registers;
	uint64_t flags = FLAGS_VISIBLE & ~undefined_flags(decoded, native->vector != NO_VECTOR);

	compare_integer(report, "exception", NO_VECTOR, native->vector, interpreted->vector);
	if (native->vector != NO_VECTOR && native->vector == interpreted->vector) {
		compare_integer(report, "error code", 0, native->error, interpreted->error);
		if (native->vector == VECTOR_PF)
			compare_integer(report, "cr2", 0, native->address, interpreted->address);
	}
	for (unsigned r = 0; r < 16; r++)
		compare_integer(report, names[r], before->gpr[r], n->gpr[r], i->gpr[r]);
	compare_integer(report, "rip", before->rip, n->rip, i->rip);
	compare_integer(report, "flags", before->rflags & flags, n->rflags & flags,
			i->rflags & flags);
	compare_integer(report, "mxcsr", before->mxcsr, n->mxcsr, i->mxcsr);
	compare_integer(report, "fcw", before->fcw, n->fcw, i->fcw);
	compare_integer(report, "fsw", before->fsw, n->fsw, i->fsw);
	compare_integer(report, "ftw", before->ftw, n->ftw, i->ftw);
	compare_vectors(report, "xmm", before->xmm, n->xmm, i->xmm);
	compare_vectors(report, "ymm_high", before->ymm_high, n->ymm_high, i->ymm_high);
	compare_data(report, test, native, interpreted);
}

static void say_register(struct report *report, const struct test_case *test, ZydisRegister reg)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(reg);

	if (class == ZYDIS_REGCLASS_GPR64 || class == ZYDIS_REGCLASS_GPR32)
		say(report, " %s=%" PRIx64, ZydisRegisterGetString(reg),
		    test->registers.gpr[ZydisRegisterGetId(reg)]);
}

/* The instruction, and what addresses its operands in memory. */
static void disassemble(struct check *check, const struct test_case *test, struct report *report)
{
	ZydisDecodedInstruction decoded;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	char text[128];

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&check->decoder, test->code, test->length,
						 &decoded, operands)) ||
	    !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&check->formatter, &decoded, operands,
							  decoded.operand_count_visible, text,
							  sizeof(text), test->registers.rip, NULL)))
		return;
	say(report, "%s ;", text);
	for (unsigned i = 0; i < decoded.operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			say_register(report, test, operands[i].mem.base);
			say_register(report, test, operands[i].mem.index);
		}
}

static void show(struct check *check, uint64_t number, const struct test_case *test,
		 const char *text)
{
	struct report disassembly = {.len = 0};

	disassemble(check, test, &disassembly);
	printf("case %" PRIu64 ": %s ; ", number, disassembly.text);
	for (unsigned i = 0; i < test->length; i++)
		printf("%02x", test->code[i]);
	printf("\n%s", text);
	check->shown++;
}

static void check_case(struct check *check, uint64_t number, unsigned slot)
{
	const struct test_case *test = &native_cases(check->native)[slot];
	struct outcome native = native_outcomes(check->native)[slot], interpreted;
	struct report report = {.len = 0};
	ZydisDecodedInstruction decoded;
	ZydisDecoderContext context;

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&check->decoder, &context, test->code,
							test->length, &decoded)))
		return;
	interpret(check->interpreter, test, slot, &interpreted);
	normalize(test, &native, &interpreted);
	check->of[test->mnemonic].cases++;
	check->of[test->mnemonic].executed += native.vector == NO_VECTOR;
	if (!interpreted.is_known) {
		check->unknown++;
		say(&report, "    softkvm does not know it\n");
	} else {
		compare(&decoded, test, &native, &interpreted, &report);
	}
	if (report.len == 0)
		return;
	check->differences++;
	if (check->of[test->mnemonic].differences++ < SHOWN_PER_MNEMONIC &&
	    check->shown < check->max_shown)
		show(check, number, test, report.text);
}

static bool run_batch(struct check *check, uint64_t first, unsigned n)
{
	struct test_case *cases = native_cases(check->native);
	unsigned done;

	for (unsigned i = 0; i < n; i++)
		generate(check->generator, check->seed ^ (first + i) * 0x9e3779b97f4a7c15, i,
			 &cases[i]);
	if (!native_run(check->native, n, &done)) {
		show(check, first + done, &cases[done < n ? done : n - 1],
		     "    the processor did not come to an end with it\n");
		return false;
	}
	interpreter_load(check->interpreter, cases, n);
	for (unsigned i = 0; i < n; i++)
		if (first + i >= check->first)
			check_case(check, first + i, i);
	return true;
}

/* Leave out what this processor has not: what is #UD in each of its encodings. */
static bool drop_absent(struct check *check)
{
	struct test_case *cases = native_cases(check->native);
	unsigned n_encodings = generator_count(check->generator), done;
	static bool is_there[ZYDIS_MNEMONIC_MAX_VALUE + 1];

	for (unsigned first = 0; first < n_encodings; first += BATCH) {
		unsigned n = n_encodings - first < BATCH ? n_encodings - first : BATCH;

		for (unsigned i = 0; i < n; i++)
			generate_nth(check->generator, first + i, check->seed + first + i, i,
				     &cases[i]);
		if (!native_run(check->native, n, &done)) {
			show(check, 0, &cases[done < n ? done : n - 1],
			     "    the processor did not come to an end with it\n");
			return false;
		}
		for (unsigned i = 0; i < n; i++)
			if (native_outcomes(check->native)[i].vector != VECTOR_UD)
				is_there[cases[i].mnemonic] = true;
	}
	for (unsigned mnemonic = 0; mnemonic <= ZYDIS_MNEMONIC_MAX_VALUE; mnemonic++) {
		if (is_there[mnemonic] || !generator_has(check->generator, mnemonic) ||
		    mnemonic == ZYDIS_MNEMONIC_UD0 || mnemonic == ZYDIS_MNEMONIC_UD1 ||
		    mnemonic == ZYDIS_MNEMONIC_UD2)
			continue;
		printf("this processor has no %s\n", ZydisMnemonicGetString(mnemonic));
		generator_drop(check->generator, mnemonic);
	}
	return true;
}

static int summarize(const struct check *check)
{
	unsigned covered = 0;

	printf("covered:");
	for (unsigned mnemonic = 0; mnemonic <= ZYDIS_MNEMONIC_MAX_VALUE; mnemonic++) {
		if (check->of[mnemonic].cases == 0)
			continue;
		covered++;
		printf(" %s", ZydisMnemonicGetString(mnemonic));
		if (check->of[mnemonic].executed == 0)
			printf("(faults only)");
	}
	printf("\n");
	for (unsigned mnemonic = 0; mnemonic <= ZYDIS_MNEMONIC_MAX_VALUE; mnemonic++)
		if (check->of[mnemonic].differences)
			printf("%s: %u of %u cases differ\n", ZydisMnemonicGetString(mnemonic),
			       check->of[mnemonic].differences, check->of[mnemonic].cases);
	printf("%" PRIu64 " cases, seed %" PRIu64 ", %u mnemonics: %" PRIu64 " differences\n",
	       check->cases, check->seed, covered, check->differences);
	return check->differences ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(struct check *check)
{
	uint64_t end = check->first + check->cases;

	if (!drop_absent(check))
		return EXIT_FAILURE;
	/* A case has its place in a batch whatever is asked for, and so the same addresses. */
	for (uint64_t n = check->first - check->first % BATCH; n < end; n += BATCH)
		if (!run_batch(check, n, end - n < BATCH ? (unsigned)(end - n) : BATCH))
			return EXIT_FAILURE;
	return summarize(check);
}

static bool parse(const char *text, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 0);
	return errno == 0 && end != text && *end == '\0';
}

/* Makers differ where the manuals leave it open; softkvm's CPU is like AMD's. */
static bool is_of_amd(void)
{
	unsigned max, vendor[3];

	return __get_cpuid(0, &max, &vendor[0], &vendor[2], &vendor[1]) &&
	       memcmp(vendor, "AuthenticAMD", sizeof(vendor)) == 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},
		{"cases", required_argument, NULL, 'c'},
		{"first", required_argument, NULL, 'f'},
		{"only", required_argument, NULL, 'o'},
		{"show", required_argument, NULL, 'n'},
		{"bits", required_argument, NULL, 'b'},
		{NULL, 0, NULL, 0},
	};
	static struct check check = {.bits = 64, .cases = 100000, .max_shown = 20};
	const char *only = NULL;
	bool is_good = true;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 's':
			is_good &= parse(optarg, &check.seed);
			break;
		case 'c':
			is_good &= parse(optarg, &check.cases);
			break;
		case 'f':
			is_good &= parse(optarg, &check.first);
			break;
		case 'n':
			is_good &= parse(optarg, &check.max_shown);
			break;
		case 'b':
			is_good &= parse(optarg, &check.bits) &&
				   (check.bits == 64 || check.bits == 32);
			break;
		case 'o':
			only = optarg;
			break;
		default:
			is_good = false;
			break;
		}
	if (!is_good || optind != argc) {
		fprintf(stderr,
			"usage: check_cpu [--seed N] [--first N] [--cases N] [--bits 64|32] "
			"[--only MNEMONIC] [--show N]\n");
		return 2;
	}
	if (!is_of_amd()) {
		printf("this machine's CPU is not AMD's, which softkvm's is like\n");
		return 77; /* skipped, to Meson */
	}
	decoder_init(&check.decoder, check.bits == 32 ? DECODE_COMPAT_32 : DECODE_64);
	(void)ZydisFormatterInit(&check.formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	check.generator = generator_new(check.bits == 32, only);
	check.native = native_new();
	check.interpreter = interpreter_new();
	if (!check.generator || !check.native || !check.interpreter) {
		fprintf(stderr, "check_cpu: %s\n",
			check.generator ? "no memory where it is needed" : "no such instruction");
		return 2;
	}
	return run(&check);
}
