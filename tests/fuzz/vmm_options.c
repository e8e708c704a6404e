// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Options: as JSON, which an old VMM hands over, and on the command line.  What is accepted comes
 * back the same from JSON.
 */
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

/* Arguments end in newlines. */
static void change(struct vmm_options *options, char *text)
{
	char program[] = "vmrelay", *argv[ARGS_MAX + 2] = {program}, why[200], *rest = NULL;
	int argc = 1;

	for (char *arg = strtok_r(text, "\n", &rest); arg && argc <= ARGS_MAX;
	     arg = strtok_r(NULL, "\n", &rest))
		argv[argc++] = arg;
	(void)vmm_options_change(options, argc, argv, why, sizeof(why));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t is_json = input_u8(&in);
	char text[4097] = "", why[200];
	struct vmm_options options;
	json_t *json;

	vmm_options_init(&options);
	input_take(&in, text, in.left < sizeof(text) - 1 ? in.left : sizeof(text) - 1);
	if (is_json & 1) {
		json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		if (json && vmm_options_from_json(&options, json) == 0 &&
		    vmm_options_check(&options, why, sizeof(why)) == 0)
			check_again(&options);
		json_decref(json);
	} else {
		change(&options, text);
		if (vmm_options_check(&options, why, sizeof(why)) == 0)
			check_again(&options);
	}
	vmm_options_done(&options);
	return 0;
}
