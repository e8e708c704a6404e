// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The options of `vmrelay run`: command line, JSON, changes by an upgrade.  Links with:
 * vmm/options.c vmm/runtime.c, libjansson.
 */
#include "vmm/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kvm/cleanup.h"

static char text[200];

/* 0 or what argp or the final check said; the sentence is in text. */
static int parse(struct vmm_options *options, unsigned n, const char **flags)
{
	struct vmm_options_parser parser = {.options = options};
	char *argv[24] = {"run"};
	int r;

	for (unsigned i = 0; i < n; i++)
		argv[i + 1] = (char *)flags[i];
	r = (int)argp_parse(&vmm_options_argp, (int)n + 1, argv, ARGP_NO_ERRS | ARGP_NO_HELP, NULL,
			    &parser);
	(void)strcpy(text, parser.text);
	return r ? r : vmm_options_check(options, text, sizeof(text));
}

#define PARSE(options, ...)                                                                        \
	parse(options, ARRAY_SIZE(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

static void test_defaults(void **state)
{
	struct vmm_options options;

	(void)state;
	vmm_options_init(&options);
	assert_int_equal(PARSE(&options, "--name", "web1", "--kernel", "/k"), 0);
	assert_string_equal(options.name, "web1");
	assert_string_equal(options.kernel, "/k");
	assert_null(options.initrd);
	assert_null(options.cmdline);
	assert_int_equal(options.memory, 256 << 20);
	assert_int_equal(options.cpus, 1);
	assert_false(options.pit);
	assert_int_equal(options.memory_backend, VMM_MEMORY_MEMFD);
	assert_int_equal(options.console, VMM_CONSOLE_SOCKET);
	assert_int_equal(options.log_level, VMM_LOG_INFO);
	vmm_options_done(&options);
	assert_null(options.name);
}

static void test_all_flags(void **state)
{
	struct vmm_options options;

	(void)state;
	vmm_options_init(&options);
	assert_int_equal(PARSE(&options, "--name=a", "--kernel=/k", "--initrd=/i", "--append=x y",
			       "--memory=3G", "--cpus=16", "--memory-backend=file:/mnt/huge",
			       "--pit", "--console=pty", "--log-level=debug"),
			 0);
	assert_string_equal(options.initrd, "/i");
	assert_string_equal(options.cmdline, "x y");
	assert_true(options.memory == 3ULL << 30);
	assert_int_equal(options.cpus, 16);
	assert_int_equal(options.memory_backend, VMM_MEMORY_FILE);
	assert_string_equal(options.memory_dir, "/mnt/huge");
	assert_true(options.pit);
	assert_int_equal(options.console, VMM_CONSOLE_PTY);
	assert_int_equal(options.log_level, VMM_LOG_DEBUG);

	assert_int_equal(PARSE(&options, "--sev-es", "--sev-policy=0x21", "--sev-dh-cert=/c",
			       "--sev-session=/s", "--sev-wait", "--memory-backend=memfd"),
			 0);
	assert_int_equal(options.confidential, VMR_CONFIDENTIAL_SEV_ES);
	assert_int_equal(options.sev_policy, 0x21);
	assert_string_equal(options.sev_dh_cert, "/c");
	assert_string_equal(options.sev_session, "/s");
	assert_true(options.sev_wait);
	vmm_options_done(&options);
	vmm_options_init(&options);
	assert_int_equal(PARSE(&options, "--name=a", "--kernel=/k"), 0);

	/* The last one counts, and leaves nothing of the one before. */
	assert_int_equal(PARSE(&options, "--memory-backend", "file"), 0);
	assert_string_equal(options.memory_dir, "/dev/shm");
	assert_int_equal(PARSE(&options, "--memory-backend", "private"), 0);
	assert_null(options.memory_dir);

	assert_int_equal(options.sev_interface, VMM_SEV_AUTO);
	assert_int_equal(
		PARSE(&options, "--memory-backend=memfd", "--sev-es", "--sev-interface=init2"), 0);
	assert_int_equal(options.confidential, VMR_CONFIDENTIAL_SEV_ES);
	assert_int_equal(options.sev_interface, VMM_SEV_INIT2);
	vmm_options_done(&options);
}

static void test_wrong_flags(void **state)
{
	static const char *const wrong[][2] = {
		{"--memory=", "--memory cannot be ''"},
		{"--memory=-1M", "--memory cannot be '-1M'"},
		{"--memory= 1M", "--memory cannot be"},
		{"--memory=1T", "--memory cannot be"},
		{"--memory=1MB", "--memory cannot be"},
		{"--memory=0x10M", "--memory cannot be"},
		{"--memory=99999999999999999999", "--memory cannot be"},
		{"--memory=18014398509481985K", "--memory cannot be"}, /* 2^64 + 1024 */
		{"--memory=1M", "--memory takes"},
		{"--memory=2000G", "--memory takes"},
		{"--memory=4198400", ""}, /* 1025 pages */
		{"--memory=4198401", "multiple of 4K"},
		{"--cpus=0", "--cpus takes"},
		{"--cpus=17", "--cpus cannot be"},
		{"--cpus=4294967297", "--cpus cannot be"},
		{"--cpus=1x", "--cpus cannot be"},
		{"--memory-backend=disk", "--memory-backend cannot be 'disk'"},
		{"--memory-backend=file:", "directory"},
		{"--sev-interface=new", "--sev-interface cannot be 'new'"},
		{"--sev-interface=init", "need --sev"},
		{"--console=vga", "--console cannot be 'vga'"},
		{"--log-level=all", "--log-level cannot be 'all'"},
		{"--name=../x", "--name takes"},
		{"--kernel=", "--kernel takes"},
		{"--sev-policy=1", "--sev-policy cannot be '1'"},
		{"--sev-policy=0x100000000", "--sev-policy cannot be"},
		{"--sev-wait", "need --sev or --sev-es"},
		{"--sev-session=/s", "go together"},
		{"--kernel=/caf\xe9", "UTF-8"},
		{"--append=\xff", "UTF-8"},
		{"--memory-backend=file:/\x80", "UTF-8"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct vmm_options options;
		int r;

		vmm_options_init(&options);
		r = PARSE(&options, "--name=a", "--kernel=/k", wrong[i][0]);
		if (wrong[i][1][0] == '\0') {
			assert_int_equal(r, 0);
		} else {
			assert_int_not_equal(r, 0);
			if (!strstr(text, wrong[i][1]))
				fail_msg("%s: '%s'", wrong[i][0], text);
		}
		vmm_options_done(&options);
	}
}

static void test_incomplete(void **state)
{
	struct vmm_options options;

	(void)state;
	vmm_options_init(&options);
	assert_int_not_equal(PARSE(&options, "--kernel=/k"), 0);
	assert_string_equal(text, "--name is missing");
	vmm_options_done(&options);
	assert_int_not_equal(PARSE(&options, "--name=a"), 0);
	assert_string_equal(text, "--kernel is missing");
	assert_int_not_equal(
		PARSE(&options, "--kernel=/k", "--memory=3M", "--memory-backend=hugetlb"), 0);
	assert_non_null(strstr(text, "2M"));
	vmm_options_done(&options);
}

static void test_round_trip(void **state)
{
	struct vmm_options options, copy;
	json_t *json, *again;

	(void)state;
	vmm_options_init(&options);
	vmm_options_init(&copy);
	assert_int_equal(PARSE(&options, "--name=a", "--kernel=/k", "--initrd=/i",
			       "--append=quote \" and \\", "--memory=5G", "--cpus=3",
			       "--memory-backend=file:/d", "--pit", "--console=pty",
			       "--log-level=error", "--sev", "--sev-policy=0x3", "--sev-dh-cert=/c",
			       "--sev-session=/s", "--sev-wait"),
			 0);
	json = vmm_options_to_json(&options);
	assert_non_null(json);
	assert_int_equal(vmm_options_from_json(&copy, json), 0);
	assert_string_equal(copy.name, "a");
	assert_string_equal(copy.kernel, "/k");
	assert_string_equal(copy.initrd, "/i");
	assert_string_equal(copy.cmdline, "quote \" and \\");
	assert_true(copy.memory == 5ULL << 30);
	assert_int_equal(copy.cpus, 3);
	assert_int_equal(copy.memory_backend, VMM_MEMORY_FILE);
	assert_string_equal(copy.memory_dir, "/d");
	assert_true(copy.pit);
	assert_int_equal(copy.console, VMM_CONSOLE_PTY);
	assert_int_equal(copy.log_level, VMM_LOG_ERROR);
	assert_int_equal(copy.confidential, VMR_CONFIDENTIAL_SEV);
	assert_int_equal(copy.sev_policy, 3);
	assert_string_equal(copy.sev_dh_cert, "/c");
	assert_string_equal(copy.sev_session, "/s");
	assert_true(copy.sev_wait);

	again = vmm_options_to_json(&copy);
	assert_true(json_equal(json, again));

	/* A newer source may say more; what concerns only the VMM may be absent. */
	assert_int_equal(json_object_set_new(json, "colour", json_string("blue")), 0);
	assert_int_equal(json_object_del(json, "console"), 0);
	assert_int_equal(json_object_del(json, "initrd"), 0);
	assert_int_equal(vmm_options_from_json(&copy, json), 0);
	assert_int_equal(copy.console, VMM_CONSOLE_SOCKET);
	assert_null(copy.initrd);

	json_decref(json);
	json_decref(again);
	vmm_options_done(&options);
	vmm_options_done(&copy);
}

static void test_hostile_json(void **state)
{
	/* Each replaces (or with null removes) one member of a good object. */
	static const char *const hostile[] = {
		"{\"name\": null}",
		"{\"name\": \"../../etc\"}",
		"{\"name\": 7}",
		"{\"name\": [\"a\"]}",
		"{\"kernel\": null}",
		"{\"kernel\": \"\"}",
		"{\"kernel\": {}}",
		"{\"initrd\": 1}",
		"{\"append\": false}",
		"{\"memory\": null}",
		"{\"memory\": -4096}",
		"{\"memory\": 0}",
		"{\"memory\": 1.5e9}",
		"{\"memory\": \"256M\"}",
		"{\"memory\": 4198401}",
		"{\"memory\": 9223372036854775807}",
		"{\"cpus\": null}",
		"{\"cpus\": 0}",
		"{\"cpus\": 17}",
		"{\"cpus\": -1}",
		"{\"cpus\": 4294967297}",
		"{\"cpus\": true}",
		"{\"pit\": null}",
		"{\"pit\": 1}",
		"{\"memory_backend\": null}",
		"{\"memory_backend\": \"floppy\"}",
		"{\"memory_backend\": 0}",
		"{\"memory_backend\": \"file\"}", /* without memory_dir */
		"{\"console\": \"vga\"}",
		"{\"console\": 1}",
		"{\"log_level\": []}",
		"{\"confidential\": \"tdx\"}",
		"{\"sev_policy\": -1}",
		"{\"sev_policy\": 4294967296}",
		"{\"sev_wait\": 1}",
		"{\"sev_wait\": true}", /* without confidential */
		"{\"sev_session\": \"/s\"}",
		"{\"sev_session\": \"/s\", \"sev_dh_cert\": \"/c\"}",
	};
	struct vmm_options good, options;
	char *cmdline = malloc(4096);

	(void)state;
	vmm_options_init(&good);
	vmm_options_init(&options);
	assert_int_equal(PARSE(&good, "--name=a", "--kernel=/k"), 0);

	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		json_t *json = vmm_options_to_json(&good);
		json_t *change = json_loads(hostile[i], 0, NULL), *value;
		const char *key;

		assert_non_null(change);
		json_object_foreach(change, key, value)
		{
			if (json_is_null(value))
				(void)json_object_del(json, key);
			else
				(void)json_object_set(json, key, value);
		}
		if (vmm_options_from_json(&options, json) != -EINVAL)
			fail_msg("accepted: %s", hostile[i]);
		assert_null(options.name); /* untouched */
		json_decref(change);
		json_decref(json);
	}

	json_t *json = vmm_options_to_json(&good);

	/* Neither a NUL in the middle nor a command line beyond its page. */
	(void)json_object_set_new(json, "kernel", json_stringn("/k\0x", 4));
	assert_int_equal(vmm_options_from_json(&options, json), -EINVAL);
	(void)json_object_set_new(json, "kernel", json_string("/k"));
	(void)memset(cmdline, 'c', 4096);
	cmdline[2048] = '\0';
	(void)json_object_set_new(json, "append", json_string(cmdline));
	assert_int_equal(vmm_options_from_json(&options, json), -EINVAL);
	cmdline[2047] = '\0';
	(void)json_object_set_new(json, "append", json_string(cmdline));
	assert_int_equal(vmm_options_from_json(&options, json), 0);
	json_decref(json);
	free(cmdline);

	json = json_array();
	assert_int_equal(vmm_options_from_json(&options, json), -EINVAL);
	assert_int_equal(vmm_options_from_json(&options, NULL), -EINVAL);
	assert_string_equal(options.name, "a"); /* untouched by what failed */
	json_decref(json);
	vmm_options_done(&good);
	vmm_options_done(&options);
}

static void test_change(void **state)
{
	static const struct {
		const char *flags[3];
		const char *sentence; /* NULL: accepted */
	} cases[] = {
		{{"--console", "pty"}, NULL},
		{{"--log-level=debug"}, NULL},
		{{"--memory", "1G"},
		 "--memory cannot be changed by an upgrade: it is part of the machine that the "
		 "guest sees"},
		{{"--cpus=2"}, "--cpus cannot be changed"},
		{{"--pit"}, "--pit cannot be changed"},
		{{"--name", "b"}, "--name cannot be changed"},
		{{"--kernel", "x"}, "--kernel cannot be changed"},
		{{"--memory-backend=memfd"}, "--memory-backend cannot be changed"},
		{{"--turbo"}, "there is no flag '--turbo'"},
		{{"--con=pty"}, "there is no flag '--con=pty'"},
		{{"--"}, "there is no flag '--'"},
		{{"console"}, "'console' is not a flag"},
		{{"-d"}, "'-d' is not a flag"},
		{{"--console"}, "--console needs a value"},
		{{"--console=vga"}, "--console cannot be 'vga'"},
		{{"--console=pty", "--log-level", "loud"}, "--log-level cannot be 'loud'"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmm_options options;
		char *argv[3];
		int argc = 0, r;

		for (; argc < 3 && cases[i].flags[argc]; argc++)
			argv[argc] = (char *)cases[i].flags[argc];
		vmm_options_init(&options);
		r = vmm_options_change(&options, argc, argv, text, sizeof(text));
		if (cases[i].sentence) {
			assert_int_equal(r, -EINVAL);
			if (!strstr(text, cases[i].sentence))
				fail_msg("%s: '%s'", argv[0], text);
			assert_int_equal(options.console, VMM_CONSOLE_SOCKET);
			assert_int_equal(options.log_level, VMM_LOG_INFO);
		} else {
			assert_int_equal(r, 0);
			assert_true(options.console == VMM_CONSOLE_PTY ||
				    options.log_level == VMM_LOG_DEBUG);
		}
		vmm_options_done(&options);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),    cmocka_unit_test(test_all_flags),
		cmocka_unit_test(test_wrong_flags), cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_hostile_json),
		cmocka_unit_test(test_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
