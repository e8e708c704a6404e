// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmrelay measure: what a launch will measure, in its order, for the owner of a guest to hash on a
 * machine of their own.  It is laid out by the code that `run` uses; neither KVM nor SEV is needed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "../guest.h"
#include "../vmsa.h"
#include "common.h"

struct measure {
	struct cmd cmd;
	struct vmm_options options;
	struct vmm_options_parser parser;
	const char *out_path;
	unsigned c_bit; /* its position; 0: not given */
};

enum { KEY_C_BIT = CMD_KEY_FIRST, KEY_OUT };

static error_t check(struct measure *measure)
{
	struct vmm_options *options = &measure->options;

	if (!options->name)
		options->name = strdup("measured"); /* nothing depends on it */
	if (vmm_options_check(options, measure->parser.text, sizeof(measure->parser.text)) < 0)
		return EINVAL;
	if (options->confidential == VMR_CONFIDENTIAL_NONE || !measure->c_bit) {
		vmm_error_set(&measure->cmd.error, VMM_EXIT_USAGE,
			      "--sev or --sev-es, and --c-bit, are needed");
		return EINVAL;
	}
	if (options->confidential == VMR_CONFIDENTIAL_SEV_ES &&
	    options->sev_interface == VMM_SEV_INIT2) {
		vmm_error_set(&measure->cmd.error, VMM_EXIT_USAGE,
			      "what KVM puts into the VMSAs of a guest made with --sev-interface "
			      "init2 is not known here");
		return EINVAL;
	}
	return 0;
}

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct measure *measure = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &measure->parser;
		return 0;
	case KEY_C_BIT:
		/* Above what the tables address, within a page table entry. */
		return cmd_parse_number(arg, 62, &measure->c_bit) && measure->c_bit >= 32
			       ? 0
			       : cmd_bad_value(&measure->cmd, "--c-bit", arg);
	case KEY_OUT:
		measure->out_path = arg;
		return 0;
	case ARGP_KEY_ERROR:
		if (measure->parser.text[0])
			vmm_error_set(&measure->cmd.error, VMM_EXIT_USAGE, "%s",
				      measure->parser.text);
		return cmd_parse_opt(&measure->cmd, key, arg, state);
	case ARGP_KEY_END:
		return measure->cmd.help ? 0 : check(measure);
	default:
		return cmd_parse_opt(&measure->cmd, key, arg, state);
	}
}

static int map_memory(struct vmm_memory *memory, uint64_t size, struct vmm_error *ret_error)
{
	guest_layout(memory, size);
	for (unsigned i = 0; i < memory->n_regions; i++) {
		void *hva = mmap(NULL, memory->region[i].size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (hva == MAP_FAILED) {
			vmm_error_set(ret_error, VMM_EXIT_FAILED,
				      "there is no room for %llu bytes of guest memory: %m",
				      (unsigned long long)memory->region[i].size);
			memory->n_regions = i;
			return -1;
		}
		memory->region[i].hva = hva;
	}
	return 0;
}

static void unmap_memory(struct vmm_memory *memory)
{
	for (unsigned i = 0; i < memory->n_regions; i++)
		(void)munmap(memory->region[i].hva, memory->region[i].size);
}

/* Every byte to out (NULL: none); what they are, to list. */
static bool write_measured(const struct measure *measure, const struct vmm_memory *memory,
			   const struct boot_entry *entry, FILE *out, json_t *list)
{
	bool es = measure->options.confidential == VMR_CONFIDENTIAL_SEV_ES, good = true;
	struct boot_range ranges[GUEST_MEASURED_MAX];
	unsigned n = guest_measured(entry, ranges);

	for (unsigned i = 0; good && i < n; i++) {
		uint64_t len = ranges[i].end - ranges[i].start;

		good = !out ||
		       fwrite(vmm_memory_at(memory, ranges[i].start, len), 1, len, out) == len;
		(void)json_array_append_new(list, json_pack("{s:I, s:I}", "gpa",
							    (json_int_t)ranges[i].start, "size",
							    (json_int_t)len));
	}
	for (unsigned cpu = 0; good && es && cpu < measure->options.cpus; cpu++) {
		uint8_t vmsa[VMSA_SIZE];
		struct kvm_sregs sregs;
		struct kvm_regs regs;

		vmsa_reset_sregs(&sregs);
		guest_registers(entry, VMR_CONFIDENTIAL_SEV_ES, cpu, &regs, &sregs);
		vmsa_make(&regs, &sregs, GUEST_XCR0, vmsa);
		good = !out || fwrite(vmsa, 1, sizeof(vmsa), out) == sizeof(vmsa);
		(void)json_array_append_new(
			list, json_pack("{s:i, s:i}", "cpu", (int)cpu, "size", VMSA_SIZE));
	}
	return good;
}

/* Without --out it goes to standard output, unless that is for the list. */
static int write_out(const struct measure *measure, const struct vmm_memory *memory,
		     const struct boot_entry *entry, json_t *list, struct vmm_error *ret_error)
{
	FILE *out = measure->out_path	? fopen(measure->out_path, "we")
		    : measure->cmd.json ? NULL
					: stdout;
	bool good = out || !measure->out_path;

	good = good && write_measured(measure, memory, entry, out, list);
	if (out && (out == stdout ? fflush(out) : fclose(out)) != 0)
		good = false;
	if (!good)
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "writing %.200s failed: %m",
			      measure->out_path ? measure->out_path : "to standard output");
	return good ? 0 : -1;
}

static int run_measure(const struct measure *measure)
{
	struct vmm_memory memory = {.n_regions = 0};
	json_t *list = json_array();
	struct boot_entry entry;
	struct vmm_error error;
	int r = map_memory(&memory, measure->options.memory, &error);

	if (r == 0)
		r = guest_load(&memory, &measure->options, 1ULL << measure->c_bit, &entry, &error);
	if (r == 0)
		r = write_out(measure, &memory, &entry, list, &error);
	unmap_memory(&memory);
	if (r == 0 && measure->cmd.json)
		cmd_print_json(json_pack("{s:O}", "measured", list));
	json_decref(list);
	return r < 0 ? cmd_fail(&measure->cmd, &error) : VMM_EXIT_OK;
}

int cmd_measure(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"c-bit", KEY_C_BIT, "N", 0, "Position of the C-bit, as `vmrelay host` tells it",
		 0},
		{"out", KEY_OUT, "FILE", 0, "Write to FILE instead of standard output", 0},
		CMD_OPTIONS,
		{0}};
	static const struct argp_child children[] = {{&vmm_options_argp, 0, NULL, 0}, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse_opt,
		.children = children,
		.args_doc = "--kernel FILE --c-bit N",
		.doc = "Write what the launch of a confidential guest measures, byte for byte.  "
		       "Takes the options of `vmrelay run`."};
	struct measure measure = {.parser.options = &measure.options};
	int exit_code;

	vmm_options_init(&measure.options);
	if (cmd_parse(&measure.cmd, &argp, argc, argv, &exit_code))
		exit_code = run_measure(&measure);
	vmm_options_done(&measure.options);
	return exit_code;
}
