// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Options: as JSON, which an old VMM hands over, on the command line of `run`, and as an upgrade
 * changes them.  What is accepted comes back the same from JSON.
 */
#include <argp.h>
#include <stdlib.h>

#include "input.h"
#include "vmm/options.h"

#define ARGS_MAX 8

static void check_again(const struct vmm_options *options)
{
	struct vmm_options again;
	json_t *json = vmm_options_to_json(options), *json_again;

	vmm_options_init(&again);
	if (!json || vmm_options_from_json(&again, json) < 0)
		abort();
	json_again = vmm_options_to_json(&again);
	if (!json_equal(json, json_again))
		abort();
	json_decref(json);
	json_decref(json_again);
	vmm_options_done(&again);
}

/* Arguments end in newlines; the first of argv is the program. */
static int split(char *text, char *argv[static ARGS_MAX + 2])
{
	static char program[] = "vmrelay";
	char *rest = NULL;
	int argc = 1;

	argv[0] = program;
	for (char *arg = strtok_r(text, "\n", &rest); arg && argc <= ARGS_MAX;
	     arg = strtok_r(NULL, "\n", &rest))
		argv[argc++] = arg;
	argv[argc] = NULL;
	return argc;
}

static void from_json(struct vmm_options *options, const char *text)
{
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	char why[200];

	if (json && vmm_options_from_json(options, json) == 0 &&
	    vmm_options_check(options, why, sizeof(why)) < 0)
		abort();
	json_decref(json);
}

static void parse(struct vmm_options *options, char *text)
{
	struct vmm_options_parser parser = {.options = options};
	char *argv[ARGS_MAX + 2];
	int argc = split(text, argv);

	(void)argp_parse(&vmm_options_argp, argc, argv, ARGP_SILENT, NULL, &parser);
}

/* Of a machine that there is. */
static void change(struct vmm_options *options, char *text)
{
	char *argv[ARGS_MAX + 2], why[200];
	int argc = split(text, argv);

	options->name = strdup("web1");
	options->kernel = strdup("/boot/vmlinuz");
	(void)vmm_options_change(options, argc - 1, argv + 1, why, sizeof(why));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t how = input_u8(&in) % 3;
	char text[4097] = "", why[200];
	struct vmm_options options;

	vmm_options_init(&options);
	input_take(&in, text, in.left < sizeof(text) - 1 ? in.left : sizeof(text) - 1);
	if (how == 0)
		change(&options, text);
	else if (how == 1)
		from_json(&options, text);
	else
		parse(&options, text);
	if (vmm_options_check(&options, why, sizeof(why)) == 0)
		check_again(&options);
	vmm_options_done(&options);
	return 0;
}
