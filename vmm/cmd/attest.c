// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay attest: what the secure processor says of a confidential guest. */
#include <stdio.h>
#include <string.h>

#include "../base64.h"
#include "../client.h"
#include "../file.h"
#include "common.h"

struct attest {
	struct cmd cmd;
	const char *out_path;
	uint8_t nonce[VMM_NONCE_SIZE];
	bool has_nonce;
};

enum { KEY_NONCE = CMD_KEY_FIRST, KEY_OUT };

static bool parse_nonce(const char *text, uint8_t ret[VMM_NONCE_SIZE])
{
	if (strlen(text) != 2UL * VMM_NONCE_SIZE ||
	    strspn(text, "0123456789abcdefABCDEF") != 2UL * VMM_NONCE_SIZE)
		return false;
	for (unsigned i = 0; i < VMM_NONCE_SIZE; i++)
		(void)sscanf(text + 2UL * i, "%2hhx", &ret[i]);
	return true;
}

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct attest *attest = state->input;

	switch (key) {
	case KEY_NONCE:
		attest->has_nonce = parse_nonce(arg, attest->nonce);
		return attest->has_nonce ? 0 : cmd_bad_value(&attest->cmd, "--nonce", arg);
	case KEY_OUT:
		attest->out_path = arg;
		return 0;
	case ARGP_KEY_END:
		if (!attest->cmd.help && !attest->has_nonce) {
			vmm_error_set(&attest->cmd.error, VMM_EXIT_USAGE, "--nonce is missing");
			return EINVAL;
		}
		return cmd_parse_opt(&attest->cmd, key, arg, state);
	default:
		return cmd_parse_opt(&attest->cmd, key, arg, state);
	}
}

/* The report in base64, to be released. */
static int ask(const struct attest *attest, json_t **ret, struct vmm_error *ret_error)
{
	char nonce[BASE64_SIZE(VMM_NONCE_SIZE)];
	struct client *client = NULL;
	int r;

	base64_encode(attest->nonce, sizeof(attest->nonce), nonce);
	if (client_connect(attest->cmd.name, CLIENT_TIMEOUT_MS, &client, ret_error) < 0)
		return -1;
	r = client_call(client, "attest", json_pack("{s:s}", "nonce", nonce), ret, ret_error);
	client_free(client);
	return r;
}

static int write_report(const char *path, const char *text, struct vmm_error *ret_error)
{
	uint8_t report[VMR_SEV_REPORT_SIZE];
	size_t len;

	if (!text || base64_decode(text, report, sizeof(report), &len) < 0) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "the VMM's answer is malformed");
		return -1;
	}
	return path ? file_write(path, report, len, ret_error) : 0;
}

int cmd_attest(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"nonce", KEY_NONCE, "HEX", 0,
		 "16 bytes of the guest's owner, which the report repeats", 0},
		{"out", KEY_OUT, "FILE", 0, "Write the report to FILE instead of printing it", 0},
		CMD_OPTIONS,
		{0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse_opt,
		.args_doc = "NAME",
		.doc = "Have the secure processor attest a confidential guest."};
	struct attest attest = {.cmd.wants_name = true};
	struct vmm_error error;
	json_t *answer = NULL;
	const char *report;
	int exit_code;

	if (!cmd_parse(&attest.cmd, &argp, argc, argv, &exit_code))
		return exit_code;
	if (ask(&attest, &answer, &error) < 0)
		return cmd_fail(&attest.cmd, &error);
	report = json_string_value(json_object_get(answer, "report"));
	if (write_report(attest.out_path, report, &error) < 0) {
		json_decref(answer);
		return cmd_fail(&attest.cmd, &error);
	}
	if (attest.cmd.json)
		cmd_print_json(json_pack("{s:s, s:s}", "vm", attest.cmd.name, "report", report));
	else if (!attest.out_path)
		(void)puts(report);
	json_decref(answer);
	return VMM_EXIT_OK;
}
