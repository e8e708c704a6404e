// SPDX-License-Identifier: GPL-2.0-or-later
/* vmrelay secret: put what a guest's owner sealed for it into a guest that is being launched. */
#include <stdio.h>

#include "kvm/cleanup.h"
#include "../base64.h"
#include "../client.h"
#include "../file.h"
#include "common.h"

#define HEADER_MAX 256
#define PACKET_MAX 8192

struct secret {
	struct cmd cmd;
	const char *header_path;
	const char *packet_path;
	uint64_t gpa;
	bool has_gpa;
};

enum { KEY_HEADER = CMD_KEY_FIRST, KEY_PACKET, KEY_ADDRESS };

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct secret *secret = state->input;

	switch (key) {
	case KEY_HEADER:
		secret->header_path = arg;
		return 0;
	case KEY_PACKET:
		secret->packet_path = arg;
		return 0;
	case KEY_ADDRESS:
		secret->has_gpa = cmd_parse_hex(arg, INT64_MAX, &secret->gpa);
		return secret->has_gpa ? 0 : cmd_bad_value(&secret->cmd, "--address", arg);
	case ARGP_KEY_END:
		if (!secret->cmd.help &&
		    (!secret->header_path || !secret->packet_path || !secret->has_gpa)) {
			vmm_error_set(&secret->cmd.error, VMM_EXIT_USAGE,
				      "--header, --packet and --address are needed");
			return EINVAL;
		}
		return cmd_parse_opt(&secret->cmd, key, arg, state);
	default:
		return cmd_parse_opt(&secret->cmd, key, arg, state);
	}
}

/* A file in base64, to be freed; NULL with error filled. */
static char *encode_file(const char *path, size_t max, struct vmm_error *ret_error)
{
	autofree void *data = NULL;
	uint32_t len;
	char *text;

	if (file_read(path, max, &data, &len, ret_error) < 0)
		return NULL;
	text = malloc(BASE64_SIZE(len));
	if (!text) {
		vmm_error_set(ret_error, VMM_EXIT_FAILED, "out of memory");
		return NULL;
	}
	base64_encode(data, len, text);
	return text;
}

static int put(const struct secret *secret, struct vmm_error *ret_error)
{
	autofree char *header = encode_file(secret->header_path, HEADER_MAX, ret_error);
	autofree char *packet =
		header ? encode_file(secret->packet_path, PACKET_MAX, ret_error) : NULL;
	struct client *client = NULL;
	int r;

	if (!packet || client_connect(secret->cmd.name, CLIENT_TIMEOUT_MS, &client, ret_error) < 0)
		return -1;
	r = client_call(client, "secret",
			json_pack("{s:s, s:s, s:I}", "header", header, "packet", packet, "gpa",
				  (json_int_t)secret->gpa),
			NULL, ret_error);
	client_free(client);
	return r;
}

int cmd_secret(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"header", KEY_HEADER, "FILE", 0, "Packet header", 0},
		{"packet", KEY_PACKET, "FILE", 0, "The secret, encrypted", 0},
		{"address", KEY_ADDRESS, "0xN", 0, "Guest-physical address to put it at", 0},
		CMD_OPTIONS,
		{0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse_opt,
		.args_doc = "NAME",
		.doc = "Put a secret into a guest that waits in its launch (run --sev-wait)."};
	struct secret secret = {.cmd.wants_name = true};
	struct vmm_error error;
	int exit_code;

	if (!cmd_parse(&secret.cmd, &argp, argc, argv, &exit_code))
		return exit_code;
	if (put(&secret, &error) < 0)
		return cmd_fail(&secret.cmd, &error);
	if (secret.cmd.json)
		cmd_print_json(json_pack("{s:s, s:I}", "vm", secret.cmd.name, "gpa",
					 (json_int_t)secret.gpa));
	else
		(void)printf("%s: secret put at 0x%llx\n", secret.cmd.name,
			     (unsigned long long)secret.gpa);
	return VMM_EXIT_OK;
}
