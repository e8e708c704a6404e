// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The options of `vmrelay run`: command line, JSON, and the changes that an upgrade may make.
 */
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "runtime.h"

#define KIB 1024ULL
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define MEMORY_MIN     (2 * MIB)
#define MEMORY_MAX     (1024 * GIB)
#define MEMORY_DEFAULT (256 * MIB)
#define PAGE	       (4 * KIB)
#define HUGE_PAGE      (2 * MIB)

#define FILE_BACKEND_DIR "/dev/shm"

static const char *const memory_backend_names[] = {
	[VMM_MEMORY_MEMFD] = "memfd",
	[VMM_MEMORY_HUGETLB] = "hugetlb",
	[VMM_MEMORY_FILE] = "file",
	[VMM_MEMORY_PRIVATE] = "private",
};

static const char *const confidential_names[] = {
	[VMR_CONFIDENTIAL_NONE] = "none",
	[VMR_CONFIDENTIAL_SEV] = "sev",
	[VMR_CONFIDENTIAL_SEV_ES] = "sev-es",
};

static const char *const sev_interface_names[] = {
	[VMM_SEV_AUTO] = "auto",
	[VMM_SEV_INIT] = "init",
	[VMM_SEV_INIT2] = "init2",
};

static const char *const console_names[] = {
	[VMM_CONSOLE_SOCKET] = "socket",
	[VMM_CONSOLE_PTY] = "pty",
};

static const char *const seccomp_names[] = {
	[VMM_SECCOMP_KILL] = "kill",
	[VMM_SECCOMP_LOG] = "log",
	[VMM_SECCOMP_OFF] = "off",
};

static const char *const log_level_names[] = {
	[VMM_LOG_ERROR] = "error",
	[VMM_LOG_INFO] = "info",
	[VMM_LOG_DEBUG] = "debug",
};

#define N_NAMES(names) ((int)(sizeof(names) / sizeof((names)[0])))

enum option_key {
	KEY_NAME = 0x100,
	KEY_KERNEL,
	KEY_INITRD,
	KEY_APPEND,
	KEY_MEMORY,
	KEY_CPUS,
	KEY_MEMORY_BACKEND,
	KEY_PIT,
	KEY_SEV,
	KEY_SEV_ES,
	KEY_SEV_POLICY,
	KEY_SEV_DH_CERT,
	KEY_SEV_SESSION,
	KEY_SEV_WAIT,
	KEY_SEV_INTERFACE,
	KEY_CONSOLE,
	KEY_LOG_LEVEL,
	KEY_SECCOMP,
};

static const struct argp_option argp_options[] = {
	{NULL, 0, NULL, 0, "The machine:", 1},
	{"name", KEY_NAME, "NAME", 0, "Name of the VM", 0},
	{"kernel", KEY_KERNEL, "FILE", 0, "Linux bzImage or static ELF64 program to boot", 0},
	{"initrd", KEY_INITRD, "FILE", 0, "Initial RAM disk", 0},
	{"append", KEY_APPEND, "CMDLINE", 0, "Kernel command line", 0},
	{"memory", KEY_MEMORY, "SIZE", 0, "Memory, with suffix K, M or G (default 256M)", 0},
	{"cpus", KEY_CPUS, "N", 0, "Number of vCPUs, 1 to 16 (default 1)", 0},
	{"memory-backend", KEY_MEMORY_BACKEND, "KIND", 0,
	 "memfd (default), hugetlb, file[:DIR], or private (such a VM cannot be upgraded)", 0},
	{"pit", KEY_PIT, NULL, 0, "Add an i8254 timer", 0},
	{NULL, 0, NULL, 0, "A confidential guest:", 3},
	{"sev", KEY_SEV, NULL, 0, "Encrypt its memory (AMD SEV)", 0},
	{"sev-es", KEY_SEV_ES, NULL, 0, "Encrypt its memory and registers (AMD SEV-ES)", 0},
	{"sev-policy", KEY_SEV_POLICY, "0xN", 0, "Policy of the guest owner (default 0x1)", 0},
	{"sev-dh-cert", KEY_SEV_DH_CERT, "FILE", 0, "Diffie-Hellman certificate of the guest owner",
	 0},
	{"sev-session", KEY_SEV_SESSION, "FILE", 0, "Session that goes with it", 0},
	{"sev-wait", KEY_SEV_WAIT, NULL, 0,
	 "Do not start it before `vmrelay resume`: its owner wants to see its measurement", 0},
	{"sev-interface", KEY_SEV_INTERFACE, "KIND", 0,
	 "KVM's interface: auto (default), init, or init2 (Linux 6.10)", 0},
	{NULL, 0, NULL, 0, "The VMM (an upgrade may change these):", 4},
	{"console", KEY_CONSOLE, "KIND", 0, "socket (default) or pty (in addition to it)", 0},
	{"log-level", KEY_LOG_LEVEL, "LEVEL", 0, "error, info (default) or debug", 0},
	{"seccomp", KEY_SECCOMP, "MODE", 0,
	 "A system call that the VMM has no business with: kill it (default), log it, or off: "
	 "no filter. Not inherited by an upgrade",
	 0},
	{0},
};

void vmm_options_init(struct vmm_options *options)
{
	*options = (struct vmm_options){
		.memory = MEMORY_DEFAULT,
		.cpus = 1,
		.memory_backend = VMM_MEMORY_MEMFD,
		.sev_policy = 1, /* no debugging */
		.console = VMM_CONSOLE_SOCKET,
		.log_level = VMM_LOG_INFO,
		.seccomp = VMM_SECCOMP_KILL,
	};
}

void vmm_options_done(struct vmm_options *options)
{
	free(options->name);
	free(options->kernel);
	free(options->initrd);
	free(options->cmdline);
	free(options->memory_dir);
	free(options->sev_dh_cert);
	free(options->sev_session);
	vmm_options_init(options);
}

static int find_name(const char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -EINVAL;
}

/* Digits only: strtoull() alone would take blanks, signs and other bases. */
static int parse_number(const char *text, const char **ret_end, uint64_t *ret)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;

	unsigned long long value = strtoull(text, &end, 10);

	if (errno)
		return -EINVAL;
	*ret_end = end;
	*ret = value;
	return 0;
}

static int parse_size(const char *text, uint64_t *ret)
{
	const char *end;
	uint64_t value, unit;

	if (parse_number(text, &end, &value) < 0)
		return -EINVAL;
	switch (*end) {
	case '\0':
		unit = 1;
		break;
	case 'K':
		unit = KIB;
		break;
	case 'M':
		unit = MIB;
		break;
	case 'G':
		unit = GIB;
		break;
	default:
		return -EINVAL;
	}
	if ((*end && end[1]) || __builtin_mul_overflow(value, unit, ret))
		return -EINVAL;
	return 0;
}

static int parse_hex(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;

	if (strncmp(text, "0x", 2) != 0 || strspn(text + 2, "0123456789abcdefABCDEF") == 0)
		return -EINVAL;
	errno = 0;

	unsigned long long value = strtoull(text + 2, &end, 16);

	if (errno || *end || value > max)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int parse_cpus(const char *text, unsigned *ret)
{
	const char *end;
	uint64_t value;

	if (parse_number(text, &end, &value) < 0 || *end || value > VMM_CPUS_MAX)
		return -EINVAL;
	*ret = (unsigned)value;
	return 0;
}

static int set_string(char **string, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*string);
	*string = copy;
	return 0;
}

static int set_memory_backend(struct vmm_options *options, const char *value)
{
	static const char prefix[] = "file:";
	bool with_dir = strncmp(value, prefix, sizeof(prefix) - 1) == 0;
	int backend =
		with_dir ? VMM_MEMORY_FILE
			 : find_name(memory_backend_names, N_NAMES(memory_backend_names), value);
	int r = 0;

	if (backend < 0)
		return -EINVAL;
	free(options->memory_dir);
	options->memory_dir = NULL;
	if (backend == VMM_MEMORY_FILE)
		r = set_string(&options->memory_dir,
			       with_dir ? value + sizeof(prefix) - 1 : FILE_BACKEND_DIR);
	options->memory_backend = (enum vmm_memory_backend)backend;
	return r;
}

/* One option whose value stands alone; what depends on several is for vmm_options_check(). */
static int set_option(struct vmm_options *options, int key, const char *value)
{
	uint64_t number;
	int r;

	switch (key) {
	case KEY_NAME:
		return set_string(&options->name, value);
	case KEY_KERNEL:
		return set_string(&options->kernel, value);
	case KEY_INITRD:
		return set_string(&options->initrd, value);
	case KEY_APPEND:
		return set_string(&options->cmdline, value);
	case KEY_MEMORY:
		return parse_size(value, &options->memory);
	case KEY_CPUS:
		return parse_cpus(value, &options->cpus);
	case KEY_MEMORY_BACKEND:
		return set_memory_backend(options, value);
	case KEY_PIT:
		options->pit = true;
		return 0;
	case KEY_SEV:
		options->confidential = VMR_CONFIDENTIAL_SEV;
		return 0;
	case KEY_SEV_ES:
		options->confidential = VMR_CONFIDENTIAL_SEV_ES;
		return 0;
	case KEY_SEV_POLICY:
		r = parse_hex(value, UINT32_MAX, &number);
		if (r == 0)
			options->sev_policy = (uint32_t)number;
		return r;
	case KEY_SEV_DH_CERT:
		return set_string(&options->sev_dh_cert, value);
	case KEY_SEV_SESSION:
		return set_string(&options->sev_session, value);
	case KEY_SEV_WAIT:
		options->sev_wait = true;
		return 0;
	case KEY_SEV_INTERFACE:
		r = find_name(sev_interface_names, N_NAMES(sev_interface_names), value);
		if (r >= 0)
			options->sev_interface = (enum vmm_sev_interface)r;
		return r < 0 ? r : 0;
	case KEY_CONSOLE:
		r = find_name(console_names, N_NAMES(console_names), value);
		if (r >= 0)
			options->console = (enum vmm_console_kind)r;
		return r < 0 ? r : 0;
	case KEY_LOG_LEVEL:
		r = find_name(log_level_names, N_NAMES(log_level_names), value);
		if (r >= 0)
			options->log_level = (enum vmm_log_level)r;
		return r < 0 ? r : 0;
	case KEY_SECCOMP:
		r = find_name(seccomp_names, N_NAMES(seccomp_names), value);
		if (r >= 0)
			options->seccomp = (enum vmm_seccomp)r;
		return r < 0 ? r : 0;
	default:
		return -ENOENT;
	}
}

static const struct argp_option *find_option(const char *name, size_t len)
{
	for (const struct argp_option *o = argp_options; o->name || o->doc; o++)
		if (o->name && strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return o;
	return NULL;
}

static const char *option_name(int key)
{
	for (const struct argp_option *o = argp_options; o->name || o->doc; o++)
		if (o->name && o->key == key)
			return o->name;
	return NULL;
}

static bool is_path(const char *s)
{
	return s && s[0] && strlen(s) < PATH_MAX;
}

/* A relay hands them over as JSON. */
static bool are_utf8(const struct vmm_options *options)
{
	const char *const strings[] = {options->kernel,	     options->initrd,
				       options->cmdline,     options->memory_dir,
				       options->sev_dh_cert, options->sev_session};

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		json_t *json = strings[i] ? json_string(strings[i]) : json_null();

		if (!json)
			return false;
		json_decref(json);
	}
	return true;
}

int vmm_options_check(const struct vmm_options *options, char *text, size_t text_size)
{
	uint64_t unit = options->memory_backend == VMM_MEMORY_HUGETLB ? HUGE_PAGE : PAGE;
	const char *problem = NULL;

	if (!options->name)
		problem = "--name is missing";
	else if (!runtime_name_is_valid(options->name))
		problem = "--name takes 1 to 64 characters of A-Z a-z 0-9 . _ -, not beginning "
			  "with . or -";
	else if (!options->kernel)
		problem = "--kernel is missing";
	else if (!is_path(options->kernel))
		problem = "--kernel takes the path of a file";
	else if (options->initrd && !is_path(options->initrd))
		problem = "--initrd takes the path of a file";
	else if (options->cmdline && strlen(options->cmdline) >= LAYOUT_CMDLINE_MAX)
		problem = "--append takes at most 2047 characters";
	else if (options->memory < MEMORY_MIN || options->memory > MEMORY_MAX)
		problem = "--memory takes 2M to 1024G";
	else if (options->memory % unit != 0)
		problem =
			options->memory_backend == VMM_MEMORY_HUGETLB
				? "--memory must be a multiple of 2M with --memory-backend hugetlb"
				: "--memory must be a multiple of 4K";
	else if (options->cpus < 1 || options->cpus > VMM_CPUS_MAX)
		problem = "--cpus takes 1 to 16";
	else if (options->memory_backend == VMM_MEMORY_FILE && !is_path(options->memory_dir))
		problem = "--memory-backend file: takes the path of a directory";
	else if (!options->sev_dh_cert != !options->sev_session)
		problem = "--sev-dh-cert and --sev-session go together";
	else if (options->confidential == VMR_CONFIDENTIAL_NONE &&
		 (options->sev_session || options->sev_wait || options->sev_interface))
		problem = "--sev-session, --sev-wait and --sev-interface need --sev or --sev-es";
	else if (options->sev_session &&
		 (!is_path(options->sev_session) || !is_path(options->sev_dh_cert)))
		problem = "--sev-dh-cert and --sev-session take paths of files";
	else if (options->confidential != VMR_CONFIDENTIAL_NONE &&
		 options->memory_backend == VMM_MEMORY_PRIVATE)
		problem = "a confidential guest needs memory that is not private to the VMM: the "
			  "secure processor encrypts it where it is";
	else if (!are_utf8(options))
		problem = "paths and --append must be UTF-8: an upgrade could not hand them over";

	if (!problem)
		return 0;
	(void)snprintf(text, text_size, "%s", problem);
	return -EINVAL;
}

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct vmm_options_parser *parser = state->input;
	const char *name = option_name(key);

	if (!name)
		return ARGP_ERR_UNKNOWN;

	int r = set_option(parser->options, key, arg);

	if (r == -EINVAL)
		(void)snprintf(parser->text, sizeof(parser->text), "--%s cannot be '%.80s'", name,
			       arg);
	else if (r < 0)
		(void)snprintf(parser->text, sizeof(parser->text), "--%s: %s", name, strerror(-r));
	return -r;
}

const struct argp vmm_options_argp = {.options = argp_options, .parser = parse_opt};

const char *vmm_confidential_name(enum vmr_confidential kind)
{
	return confidential_names[kind];
}

json_t *vmm_options_to_json(const struct vmm_options *options)
{
	return json_pack(
		"{s:s, s:s, s:s*, s:s*, s:I, s:i, s:b, s:s, s:s*, s:s, s:I, s:s*, s:s*, s:b, s:s, "
		"s:s, s:s}",
		"name", options->name, "kernel", options->kernel, "initrd", options->initrd,
		"append", options->cmdline, "memory", (json_int_t)options->memory, "cpus",
		(int)options->cpus, "pit", options->pit, "memory_backend",
		memory_backend_names[options->memory_backend], "memory_dir", options->memory_dir,
		"confidential", confidential_names[options->confidential], "sev_policy",
		(json_int_t)options->sev_policy, "sev_dh_cert", options->sev_dh_cert, "sev_session",
		options->sev_session, "sev_wait", options->sev_wait, "console",
		console_names[options->console], "log_level", log_level_names[options->log_level],
		"seccomp", seccomp_names[options->seccomp]);
}

static int read_string(json_t *json, const char *key, char **ret)
{
	json_t *member = json_object_get(json, key);

	if (!member)
		return 0;
	if (!json_is_string(member) ||
	    strlen(json_string_value(member)) != json_string_length(member))
		return -EINVAL;
	return set_string(ret, json_string_value(member));
}

static int read_integer(json_t *json, const char *key, uint64_t max, uint64_t *ret)
{
	json_t *member = json_object_get(json, key);

	if (!json_is_integer(member) || json_integer_value(member) < 0 ||
	    (uint64_t)json_integer_value(member) > max)
		return -EINVAL;
	*ret = (uint64_t)json_integer_value(member);
	return 0;
}

/* The index of a member's value in names; an absent one is `absent`. */
static int read_name(json_t *json, const char *key, const char *const *names, int n, int absent)
{
	json_t *member = json_object_get(json, key);

	if (!member)
		return absent;
	return json_is_string(member) ? find_name(names, n, json_string_value(member)) : -EINVAL;
}

static int read_json(struct vmm_options *options, json_t *json)
{
	json_t *pit = json_object_get(json, "pit");
	json_t *sev_wait = json_object_get(json, "sev_wait");
	uint64_t cpus, policy = options->sev_policy;
	int backend, confidential, console, log_level;

	/*
	 * The machine is what its source says or nothing; the VMM's own options have defaults.  Its
	 * word on "seccomp" is not taken.
	 */
	backend = read_name(json, "memory_backend", memory_backend_names,
			    N_NAMES(memory_backend_names), -EINVAL);
	confidential = read_name(json, "confidential", confidential_names,
				 N_NAMES(confidential_names), VMR_CONFIDENTIAL_NONE);
	console = read_name(json, "console", console_names, N_NAMES(console_names),
			    (int)options->console);
	log_level = read_name(json, "log_level", log_level_names, N_NAMES(log_level_names),
			      (int)options->log_level);
	if (backend < 0 || confidential < 0 || console < 0 || log_level < 0 ||
	    !json_is_boolean(pit) || (sev_wait && !json_is_boolean(sev_wait)))
		return -EINVAL;
	options->memory_backend = (enum vmm_memory_backend)backend;
	options->confidential = (enum vmr_confidential)confidential;
	options->console = (enum vmm_console_kind)console;
	options->log_level = (enum vmm_log_level)log_level;
	options->pit = json_is_true(pit);
	options->sev_wait = json_is_true(sev_wait);

	if (read_string(json, "name", &options->name) < 0 ||
	    read_string(json, "kernel", &options->kernel) < 0 ||
	    read_string(json, "initrd", &options->initrd) < 0 ||
	    read_string(json, "append", &options->cmdline) < 0 ||
	    read_string(json, "memory_dir", &options->memory_dir) < 0 ||
	    read_string(json, "sev_dh_cert", &options->sev_dh_cert) < 0 ||
	    read_string(json, "sev_session", &options->sev_session) < 0 ||
	    read_integer(json, "memory", MEMORY_MAX, &options->memory) < 0 ||
	    read_integer(json, "cpus", VMM_CPUS_MAX, &cpus) < 0)
		return -EINVAL;
	if (json_object_get(json, "sev_policy") &&
	    read_integer(json, "sev_policy", UINT32_MAX, &policy) < 0)
		return -EINVAL;
	options->cpus = (unsigned)cpus;
	options->sev_policy = (uint32_t)policy;
	return 0;
}

int vmm_options_from_json(struct vmm_options *options, json_t *json)
{
	struct vmm_options read;
	char ignored[128];

	vmm_options_init(&read);
	if (!json_is_object(json) || read_json(&read, json) < 0 ||
	    vmm_options_check(&read, ignored, sizeof(ignored)) < 0) {
		vmm_options_done(&read);
		return -EINVAL;
	}
	vmm_options_done(options);
	*options = read;
	return 0;
}

int vmm_options_change(struct vmm_options *options, int argc, char **argv, char *text,
		       size_t text_size)
{
	struct vmm_options changed = *options;

	for (int i = 0; i < argc; i++) {
		const char *flag = argv[i], *value = NULL;

		if (strncmp(flag, "--", 2) != 0) {
			(void)snprintf(text, text_size, "'%.80s' is not a flag", flag);
			return -EINVAL;
		}

		size_t len = strcspn(flag + 2, "=");
		const struct argp_option *option = find_option(flag + 2, len);

		if (!option) {
			(void)snprintf(text, text_size, "there is no flag '%.80s'", flag);
			return -EINVAL;
		}
		if (option->key != KEY_CONSOLE && option->key != KEY_LOG_LEVEL &&
		    option->key != KEY_SECCOMP) {
			(void)snprintf(text, text_size,
				       "--%s cannot be changed by an upgrade: it is part of the "
				       "machine that the guest sees",
				       option->name);
			return -EINVAL;
		}
		if (flag[2 + len] == '=')
			value = flag + 2 + len + 1;
		else if (i + 1 < argc)
			value = argv[++i];
		if (!value) {
			(void)snprintf(text, text_size, "--%s needs a value", option->name);
			return -EINVAL;
		}
		/* None of them owns memory, so nothing is lost if a later flag fails. */
		if (set_option(&changed, option->key, value) < 0) {
			(void)snprintf(text, text_size, "--%s cannot be '%.80s'", option->name,
				       value);
			return -EINVAL;
		}
	}
	*options = changed;
	return 0;
}

enum vmm_seccomp vmm_options_seccomp(int argc, char **argv)
{
	struct vmm_options options;
	char ignored[200];

	vmm_options_init(&options);
	(void)vmm_options_change(&options, argc, argv, ignored, sizeof(ignored));
	return options.seccomp;
}
