// SPDX-License-Identifier: GPL-2.0-or-later
/* softkvm: the command line. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvm/cleanup.h"
#include "psp/psp.h"
#include "softkvm/host/host.h"
#include "softkvm/kvm/vm.h"
#include "softkvm/memory/memory.h"
#include "softkvm/run.h"
#include "softkvm/sev/sev.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* What a Milan EPYC has: CPUID 0x8000001f ECX, and EDX as its firmware sets it when it is asked to
 * leave 99 ASIDs to SEV-ES. */
#define DEFAULT_MAX_ASID     509
#define DEFAULT_MIN_SEV_ASID 100
/* Of a processor without SEV-ES. */
#define MIN_SEV_ASID_WITHOUT_ES 1

struct options {
	struct host_config config;
	const char *socket, *log;
	int program; /* index in argv, 0 if there is none */
};

enum {
	KEY_PROFILE = 0x1000,
	KEY_QUIRKS,
	KEY_SEV,
	KEY_ASIDS,
	KEY_CAPACITY,
	KEY_FUSES,
	KEY_FAIL,
	KEY_DELAY,
	KEY_AT,
	KEY_SOCKET,
	KEY_LOG
};

static const struct argp_option options_of_host[] = {
	{"profile", KEY_PROFILE, "k61|main|v7", 0, "Whose KVM to be like; k61: Linux 6.1", 0},
	{"without-quirks", KEY_QUIRKS, NULL, 0, "Do right what kernels do by mistake", 0},
	{"sev", KEY_SEV, "off|sev|sev-es", 0, "What the processor can do; sev-es: both", 0},
	{"asids", KEY_ASIDS, "MAX[:MIN]", 0, "The highest ASID; those below MIN are SEV-ES's", 0},
	{"capacity", KEY_CAPACITY, "SEV[:SEV_ES]", 0, "As the misc controller of cgroups has it",
	 0},
	{"fuses", KEY_FUSES, "FILE", 0, "The chip's identity, from psp-provision", 0},
	{"fail", KEY_FAIL, "NTH:STATUS[:COMMAND]", 0,
	 "Let the secure processor's NTH command (of those with a number) fail; STATUS none: hang",
	 0},
	{"delay", KEY_DELAY, "MS", 0, "Let the secure processor's commands take longer", 0},
	{"at", KEY_AT, "IOCTL:NTH:MS|stop", 0,
	 "Before the NTH ioctl of this number (0: each): wait, or stop the host", 0},
	{"socket", KEY_SOCKET, "PATH", 0, "Where the host listens; run: use that host", 0},
	{"log", KEY_LOG, "FILE", 0, "Where the host's messages are appended", 0},
	{0},
};

static bool parse_profile(const char *text, enum profile *ret)
{
	static const char *const names[] = {
		[PROFILE_K61] = "k61", [PROFILE_MAIN] = "main", [PROFILE_V7] = "v7"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum profile)i;
			return true;
		}
	}
	return false;
}

static bool parse_sev(const char *text, struct host_config *ret)
{
	ret->sev = strcmp(text, "off") != 0;
	if (strcmp(text, "sev") == 0)
		ret->min_sev_asid = MIN_SEV_ASID_WITHOUT_ES;
	return !ret->sev || strcmp(text, "sev") == 0 || strcmp(text, "sev-es") == 0;
}

/* A number, hexadecimal after 0x; *text moves behind it. */
static bool parse_number(const char **text, uint32_t *ret)
{
	char *end;
	unsigned long value;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	value = strtoul(*text, &end, 0);
	*text = end;
	*ret = (uint32_t)value;
	return errno == 0 && value <= UINT32_MAX;
}

/* FIRST[:SECOND], without SECOND *ret_second stays as it is. */
static bool parse_pair(const char *text, uint32_t *ret_first, uint32_t *ret_second)
{
	if (!parse_number(&text, ret_first))
		return false;
	if (*text == ':') {
		text++;
		if (!parse_number(&text, ret_second))
			return false;
	}
	return *text == '\0';
}

static bool parse_asids(const char *text, struct host_config *ret)
{
	return parse_pair(text, &ret->max_asid, &ret->min_sev_asid) && ret->max_asid > 0 &&
	       ret->max_asid < PSP_ASIDS_MAX && ret->min_sev_asid <= ret->max_asid;
}

static bool parse_capacity(const char *text, struct host_config *ret)
{
	uint32_t sev, sev_es = 0;

	if (!parse_pair(text, &sev, &sev_es))
		return false;
	ret->sev_capacity = sev;
	ret->sev_es_capacity = sev_es;
	return true;
}

static bool parse_fault(const char *text, struct firmware_fault *ret)
{
	static const char silent[] = "none";

	if (!parse_number(&text, &ret->nth) || ret->nth == 0 || *text++ != ':')
		return false;
	ret->no_answer = strncmp(text, silent, strlen(silent)) == 0;
	if (ret->no_answer)
		text += strlen(silent);
	else if (!parse_number(&text, &ret->status))
		return false;
	if (*text == ':') {
		text++;
		if (!parse_number(&text, &ret->command))
			return false;
	}
	return *text == '\0';
}

static bool parse_at(const char *text, struct ioctl_fault *ret)
{
	if (!parse_number(&text, &ret->request) || *text++ != ':' ||
	    !parse_number(&text, &ret->nth) || *text++ != ':')
		return false;
	ret->stop = strcmp(text, "stop") == 0;
	return ret->stop ||
	       (parse_number(&text, &ret->delay_ms) && *text == '\0' && ret->delay_ms <= INT_MAX);
}

static bool parse_milliseconds(const char *text, uint32_t *ret)
{
	return parse_number(&text, ret) && *text == '\0';
}

static const char *name_of(int key)
{
	for (const struct argp_option *option = options_of_host; option->name; option++)
		if (option->key == key)
			return option->name;
	return "an option";
}

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	bool is_good = true;

	switch (key) {
	case KEY_PROFILE:
		is_good = parse_profile(arg, &options->config.profile);
		break;
	case KEY_QUIRKS:
		options->config.without_quirks = true;
		break;
	case KEY_SEV:
		is_good = parse_sev(arg, &options->config);
		break;
	case KEY_ASIDS:
		is_good = parse_asids(arg, &options->config);
		break;
	case KEY_CAPACITY:
		is_good = parse_capacity(arg, &options->config);
		break;
	case KEY_FUSES:
		options->config.fuses = arg;
		break;
	case KEY_FAIL:
		is_good = parse_fault(arg, &options->config.fault);
		break;
	case KEY_DELAY:
		is_good = parse_milliseconds(arg, &options->config.fault.delay_ms);
		break;
	case KEY_AT:
		is_good = parse_at(arg, &options->config.at);
		break;
	case KEY_SOCKET:
		options->socket = arg;
		break;
	case KEY_LOG:
		options->log = arg;
		break;
	case ARGP_KEY_ARG:
		/* The rest is the program's. */
		options->program = state->next - 1;
		state->next = state->argc;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (!is_good)
		argp_error(state, "'%s' is not a value of %s", arg, name_of(key));
	return 0;
}

/* What is set but not what depends on it. */
static void complete(struct options *options)
{
	struct host_config *config = &options->config;

	if (config->max_asid == 0)
		config->max_asid = DEFAULT_MAX_ASID;
	if (config->min_sev_asid == 0)
		config->min_sev_asid = config->max_asid < DEFAULT_MIN_SEV_ASID
					       ? (config->max_asid + 1) / 2
					       : DEFAULT_MIN_SEV_ASID;
	if (!config->sev)
		config->max_asid = config->min_sev_asid = 0;
}

static int fail(const char *what, int r)
{
	(void)fprintf(stderr, "softkvm: cannot %s: %s\n", what, strerror(-r));
	return EXIT_FAILED;
}

/* Messages go there from now on. */
static int open_log(const char *path)
{
	autofd fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 || dup2(fd, STDERR_FILENO) < 0 ? -errno : 0;
}

/* Serve, or say why not. */
static int host_main(void *opaque, int listener_fd, int program_fd)
{
	const struct options *options = opaque;
	struct host host = {.config = options->config};
	const struct devices devices = {
		.open_kvm = kvm_open,
		.open_sev = options->config.sev ? sev_device_open : NULL,
	};
	int r;

	host.memory_objects = memory_objects_new();
	if (!host.memory_objects)
		return fail("start the host", -ENOMEM);
	if (options->config.sev) {
		host.sev = sev_host_new(&host, &host.config);
		if (!host.sev)
			return fail("make a secure processor", -errno);
	}
	r = options->log ? open_log(options->log) : 0;
	if (r < 0)
		return fail("open the log", r);
	if (program_fd >= 0)
		run_is_ready(options->log != NULL);
	r = host_run(&host, &devices, listener_fd, program_fd);
	host.sev = sev_host_free(host.sev);
	host.memory_objects = memory_objects_free(host.memory_objects);
	return r < 0 ? fail("serve", r) : EXIT_SUCCESS;
}

/* The library is beside the program, in its build directory, or where libraries are installed. */
static const char *find_preload(char *buffer, size_t size)
{
	char directory[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", directory, sizeof(directory) - 1);
	char *slash;

	if (n > 0) {
		directory[n] = '\0';
		slash = strrchr(directory, '/');
		*slash = '\0';
		n = snprintf(buffer, size, "%s/preload/%s", directory, SOFTKVM_PRELOAD);
		if (n > 0 && (size_t)n < size && access(buffer, R_OK) == 0)
			return buffer;
	}
	(void)snprintf(buffer, size, "%s/%s", SOFTKVM_LIBDIR, SOFTKVM_PRELOAD);
	return buffer;
}

static int verb_run(int argc, char **argv, struct options *options)
{
	const struct run_host host = {host_main, options};
	char preload[PATH_MAX];
	const char *what;
	int r;

	if (options->program == 0 || options->program >= argc) {
		(void)fprintf(stderr, "softkvm: a program is missing, see `softkvm run --help`\n");
		return EXIT_USAGE;
	}
	argv += options->program;
	(void)find_preload(preload, sizeof(preload));
	if (access(preload, R_OK) < 0)
		return fail("find the library to be preloaded", -errno);
	if (options->socket)
		r = run_program_at(options->socket, preload, argv, &what);
	else
		r = run_program(&host, preload, argv, &what);
	return fail(what, r);
}

static int verb_serve(int argc, char **argv, struct options *options)
{
	char preload[PATH_MAX], path[PATH_MAX];
	int listener;
	int exit_code;

	(void)argc;
	(void)argv;
	if (options->program != 0 || !options->socket) {
		(void)fprintf(stderr, "softkvm: serve takes --socket=PATH and no arguments\n");
		return EXIT_USAGE;
	}
	listener = run_listen(options->socket);
	if (listener < 0)
		return fail("listen there", listener);
	(void)printf("LD_PRELOAD=%s SOFTKVM_SOCKET=%s\n", find_preload(preload, sizeof(preload)),
		     realpath(options->socket, path) ? path : options->socket);
	(void)fflush(stdout);
	exit_code = host_main(options, listener, -1);
	close_fd(listener);
	(void)unlink(options->socket);
	return exit_code;
}

static int verb_version(int argc, char **argv, struct options *options)
{
	(void)argc;
	(void)argv;
	(void)options;
	(void)printf("softkvm %s\n", VMRELAY_VERSION);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILED;
}

static const struct verb {
	const char *name, *arguments, *doc;
	int (*function)(int argc, char **argv, struct options *options);
} verbs[] = {
	{"run", "[--] PROGRAM [ARGUMENTS...]", "Run a program on a KVM of its own.", verb_run},
	{"serve", "", "Be the KVM of programs run with --socket.", verb_serve},
	{"version", "", "Show the version.", verb_version},
};

static int usage(FILE *to)
{
	(void)fputs("Usage: softkvm VERB [ARGUMENTS...]\n"
		    "/dev/kvm and /dev/sev in user space.\n\n",
		    to);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		(void)fprintf(to, "  %-8s %s\n", verbs[i].name, verbs[i].doc);
	(void)fputs("\nEvery verb takes --help.  See softkvm(1).\n", to);
	return to == stdout ? EXIT_SUCCESS : EXIT_USAGE;
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
	const struct argp argp = {
		.options = verb->function == verb_version ? NULL : options_of_host,
		.parser = parse_opt,
		.args_doc = verb->arguments,
		.doc = verb->doc,
	};
	struct options options = {.config.sev = true};
	char name[32];

	(void)snprintf(name, sizeof(name), "softkvm %s", verb->name);
	argv[0] = name;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &options) != 0)
		return EXIT_USAGE;
	complete(&options);
	return verb->function(argc, argv, &options);
}

int main(int argc, char **argv)
{
	argp_err_exit_status = EXIT_USAGE;
	if (argc < 2)
		return usage(stderr);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
		return usage(stdout);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(argv[1], verbs[i].name) == 0)
			return run_verb(&verbs[i], argc - 1, argv + 1);
	(void)fprintf(stderr, "softkvm: there is no verb '%s', see `softkvm help`\n", argv[1]);
	return EXIT_USAGE;
}
