// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What all verbs share: arguments, --json, failures, signals.
 *
 * argp's own messages and exits are switched off, because with --json a wrong argument too has to
 * be answered with an object; and with them goes its --help, so there is one here.
 */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "kvm/cleanup.h"
#include "../runtime.h"

/* Beyond it are only the digits that a binary fraction has in decimal. */
#define REAL_PRECISION JSON_REAL_PRECISION(12)

static const struct argp_option *find_option(const struct argp *argp, const char *name, size_t len)
{
	const struct argp_option *found = NULL;

	for (const struct argp_option *o = argp->options; o && (o->name || o->doc); o++)
		if (o->name && strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return o;
	for (const struct argp_child *c = argp->children; c && c->argp && !found; c++)
		found = find_option(c->argp, name, len);
	return found;
}

/* The argument at which getopt gave up. */
static void explain_option(struct cmd *cmd, const struct argp *argp, const char *argument)
{
	const char *name = argument + strspn(argument, "-");
	size_t len = strcspn(name, "=");

	if (!find_option(argp, name, len))
		vmm_error_set(&cmd->error, VMM_EXIT_USAGE, "there is no option '%.80s'", argument);
	else
		vmm_error_set(&cmd->error, VMM_EXIT_USAGE, "--%.*s %s", (int)len, name,
			      name[len] == '=' ? "takes no value" : "needs a value");
}

error_t cmd_parse_opt(struct cmd *cmd, int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case CMD_KEY_JSON:
		cmd->json = true;
		return 0;
	case '?':
		cmd->help = true;
		return 0;
	case ARGP_KEY_ARG:
		if (cmd->wants_name && !cmd->name) {
			cmd->name = arg;
			return 0;
		}
		vmm_error_set(&cmd->error, VMM_EXIT_USAGE,
			      "there is one argument too many: '%.80s'", arg);
		return EINVAL;
	case ARGP_KEY_END:
		if (!cmd->wants_name || cmd->help)
			return 0;
		if (!cmd->name) {
			vmm_error_set(&cmd->error, VMM_EXIT_USAGE, "the NAME of a VM is missing");
			return EINVAL;
		}
		if (!runtime_name_is_valid(cmd->name)) {
			vmm_error_set(&cmd->error, VMM_EXIT_USAGE,
				      "'%.80s' cannot be the name of a VM", cmd->name);
			return EINVAL;
		}
		return 0;
	case ARGP_KEY_ERROR:
		if (cmd->error.exit == VMM_EXIT_OK)
			explain_option(cmd, state->root_argp,
				       state->next > 0 ? state->argv[state->next - 1] : "");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

error_t cmd_bad_value(struct cmd *cmd, const char *option, const char *value)
{
	vmm_error_set(&cmd->error, VMM_EXIT_USAGE, "%s cannot be '%.80s'", option, value);
	return EINVAL;
}

bool cmd_parse(struct cmd *cmd, const struct argp *argp, int argc, char **argv, int *ret_exit)
{
	char name[64];
	int r;

	/* Parsing ends at the first mistake, perhaps before --json. */
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		cmd->json |= strcmp(argv[i], "--json") == 0;

	r = argp_parse(argp, argc, argv, ARGP_NO_ERRS | ARGP_NO_HELP, NULL, cmd);
	if (r != 0) {
		if (cmd->error.exit == VMM_EXIT_OK)
			vmm_error_set(&cmd->error, VMM_EXIT_USAGE, "the arguments are wrong: %s",
				      strerror(r));
		*ret_exit = cmd_fail(cmd, &cmd->error);
		return false;
	}
	if (cmd->help) {
		(void)snprintf(name, sizeof(name), "vmrelay %s", argv[0]);
		argp_help(argp, stdout, ARGP_HELP_SHORT_USAGE | ARGP_HELP_LONG | ARGP_HELP_DOC,
			  name);
		*ret_exit = VMM_EXIT_OK;
		return false;
	}
	return true;
}

void cmd_split(int *argc, char **argv, int *ret_rest_argc, char ***ret_rest_argv)
{
	*ret_rest_argc = 0;
	*ret_rest_argv = NULL;
	for (int i = 1; i < *argc; i++) {
		if (strcmp(argv[i], "--") != 0)
			continue;
		*ret_rest_argc = *argc - i - 1;
		*ret_rest_argv = argv + i + 1;
		*argc = i;
		argv[i] = NULL;
	}
}

bool cmd_parse_number(const char *text, unsigned max, unsigned *ret)
{
	unsigned long value;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value > max)
		return false;
	*ret = (unsigned)value;
	return true;
}

bool cmd_parse_hex(const char *text, uint64_t max, uint64_t *ret)
{
	unsigned long long value;
	char *end;

	if (strncmp(text, "0x", 2) != 0 || strspn(text + 2, "0123456789abcdefABCDEF") == 0)
		return false;
	errno = 0;
	value = strtoull(text + 2, &end, 16);
	if (errno || *end || value > max)
		return false;
	*ret = value;
	return true;
}

static void replace_controls(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

int cmd_fail(const struct cmd *cmd, const struct vmm_error *error)
{
	char text[sizeof(error->text)];
	size_t len;

	(void)snprintf(text, sizeof(text), "%s", error->text);
	replace_controls(text);
	len = strlen(text);
	(void)fprintf(stderr, "vmrelay: %s%s\n", text, len > 0 && text[len - 1] == '.' ? "" : ".");
	if (cmd->json) {
		json_t *json = json_pack("{s:s, s:i}", "error", text, "exit", (int)error->exit);

		cmd_print_json(json ? json
				    : json_pack("{s:s, s:i}", "error",
						"the reason is not valid UTF-8, see stderr", "exit",
						(int)error->exit));
	}
	return (int)error->exit;
}

void cmd_print_json(json_t *json)
{
	autofree char *text = json ? json_dumps(json, JSON_COMPACT | REAL_PRECISION) : NULL;

	if (text)
		(void)puts(text);
	(void)fflush(stdout);
	json_decref(json);
}

const char *cmd_text(const json_t *object, const char *key, char *buf, size_t size)
{
	json_t *value = json_object_get(object, key);

	if (json_is_string(value)) {
		(void)snprintf(buf, size, "%s", json_string_value(value));
	} else {
		autofree char *text =
			value ? json_dumps(value, JSON_ENCODE_ANY | REAL_PRECISION) : NULL;

		(void)snprintf(buf, size, "%s", text ? text : "unknown");
	}
	replace_controls(buf);
	return buf;
}

void cmd_print_end(const struct cmd *cmd, const char *name, const json_t *end)
{
	const char *how = json_string_value(json_object_get(end, "end"));
	static const struct {
		const char *end;
		const char *sentence;
	} sentences[] = {
		{"poweroff", "guest powered off"},
		{"reboot", "guest asked for a reboot"},
		{"stopped", "guest stopped"},
	};

	if (cmd->json) {
		cmd_print_json(json_pack("{s:s, s:O, s:O*}", "vm", name, "end",
					 json_object_get(end, "end"), "text",
					 json_object_get(end, "text")));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(sentences); i++) {
		if (how && strcmp(how, sentences[i].end) == 0) {
			(void)printf("%s: %s\n", name, sentences[i].sentence);
			return;
		}
	}
	(void)printf("%s: guest %s: %s\n", name, CMD_TEXT(end, "end"), CMD_TEXT(end, "text"));
}

int cmd_signal_fd(sigset_t *ret_old)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, ret_old);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int cmd_signal_read(int signal_fd)
{
	struct signalfd_siginfo info;

	return read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo
									     : 0;
}
