// SPDX-License-Identifier: GPL-2.0-or-later
/* Which kernels are said to have which defects. */
#include <vmrelay/sev.h>

#include "kvm/cleanup.h"
#include "util.h"

#define PLAIN  "#1 SMP PREEMPT_DYNAMIC Thu Nov 12 10:00:00 UTC 2026"
#define DEBIAN "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)"

/* "54296! 38455? ": the last part of each name, and whether it is certain. */
static const char *defects_of(const char *release, const char *version, enum vmr_confidential kind)
{
	static char text[200];
	struct vmr_kernel_defect defect;
	size_t len = 0;

	text[0] = '\0';
	for (unsigned n = 0; vmr_kernel_defect(release, version, kind, n, &defect); n++) {
		assert_non_null(defect.text);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%c ",
					strrchr(defect.name, '-') + 1,
					defect.is_certain ? '!' : '?');
		assert_true(len < sizeof(text));
	}
	return text;
}

static void test_table(void **state)
{
	static const struct {
		const char *release, *version, *es, *sev;
	} rows[] = {
		/* As kernel.org released them: before the call, and around each fix. */
		{"5.16.0", PLAIN, "38455! ", "38455! "},
		{"5.18.7", PLAIN, "38455! 74607! ", "38455! 74607! "},
		{"5.18.8", PLAIN, "54296! 38455! 74607! ", "38455! 74607! "},
		{"6.1.53", PLAIN, "54296! 38455! 74607! ", "38455! 74607! "},
		{"6.1.54", PLAIN, "38455! 74607! ", "38455! 74607! "},
		{"6.1.145", PLAIN, "38455! 74607! ", "38455! 74607! "},
		{"6.1.146", PLAIN, "74607! ", "74607! "},
		{"6.1.183", PLAIN, "74607! ", "74607! "},
		{"6.1.184", PLAIN, "", ""},
		{"6.1.300", PLAIN, "", ""},
		{"6.5.3", PLAIN, "54296! 38455! 74607! ", "38455! 74607! "},
		{"6.5.4", PLAIN, "38455! 74607! ", "38455! 74607! "},
		/* A series that got no fix any more. */
		{"6.4.16", PLAIN, "54296! 38455! 74607! ", "38455! 74607! "},
		{"6.6.98", PLAIN, "38455! 74607! ", "38455! 74607! "},
		{"6.6.153", PLAIN, "", ""},
		{"6.12.39", PLAIN, "74607! ", "74607! "},
		{"6.12.105", PLAIN, "", ""},
		{"6.15.7", PLAIN, "74607! ", "74607! "},
		{"6.16", PLAIN, "74607! ", "74607! "},
		/* From 6.17 on with two whose fixes are not known by number. */
		{"6.17", PLAIN, "74607! 98471? 98472? ", "74607! 98471? 98472? "},
		{"6.18.44", PLAIN, "74607! 98471? 98472? ", "74607! 98471? 98472? "},
		{"6.18.45", PLAIN, "98471? 98472? ", "98471? 98472? "},
		{"7.1.9", PLAIN, "98471? 98472? ", "98471? 98472? "},
		{"7.2.0", PLAIN, "98471? 98472? ", "98471? 98472? "},
		{"7.2.99", PLAIN, "98471? 98472? ", "98471? 98472? "},
		/* Newer than the table. */
		{"7.3", PLAIN, "", ""},
		{"9.0.1", PLAIN, "", ""},
		/* A candidate of the release with the fix may lack it. */
		{"7.3.0-rc4", PLAIN, "98471? 98472? ", "98471? 98472? "},
		{"7.4.0-rc1", PLAIN, "", ""},
		{"6.16.0-rc1", PLAIN, "38455? 74607? ", "38455? 74607? "},

		/* Debian says in the version what the release does not. */
		{"6.1.0-56-amd64", DEBIAN, "", ""},
		{"6.1.0-15-amd64", "#1 SMP Debian 6.1.66-1 (2023-12-09)", "38455? 74607? ",
		 "38455? 74607? "},
		{"6.1.0-9-amd64", "#1 SMP Debian 6.1.27-1 (2023-05-08)", "54296? 38455? 74607? ",
		 "38455? 74607? "},
		{"6.12.107+deb13-amd64", "#1 SMP Debian 6.12.107-1 (2026-09-01)", "", ""},
		{"6.12.38+deb13-amd64", "#1 SMP Debian 6.12.38-1 (2025-07-16)", "38455? 74607? ",
		 "38455? 74607? "},
		/* Not Debian's version of this release. */
		{"6.12.0-1-custom", DEBIAN, "38455? 74607? ", "38455? 74607? "},

		/* Others may have fixed anything. */
		{"6.8.0-45-generic", "#45-Ubuntu SMP PREEMPT_DYNAMIC", "38455? 74607? ",
		 "38455? 74607? "},
		{"6.18.44-fc-v669", PLAIN, "74607? 98471? 98472? ", "74607? 98471? 98472? "},
		/* Or have put the call into a kernel that is older than it. */
		{"5.14.0-427.el9.x86_64", PLAIN, "54296? 38455? 74607? 98471? 98472? ",
		 "38455? 74607? 98471? 98472? "},
		/* What is no version. */
		{"", "", "54296? 38455? 74607? 98471? 98472? ", "38455? 74607? 98471? 98472? "},
		{"next", "Debian", "54296? 38455? 74607? 98471? 98472? ",
		 "38455? 74607? 98471? 98472? "},
		{"999.1.1", PLAIN, "54296? 38455? 74607? 98471? 98472? ",
		 "38455? 74607? 98471? 98472? "},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		print_message("# %s\n", rows[i].release);
		assert_string_equal(
			defects_of(rows[i].release, rows[i].version, VMR_CONFIDENTIAL_SEV_ES),
			rows[i].es);
		assert_string_equal(
			defects_of(rows[i].release, rows[i].version, VMR_CONFIDENTIAL_SEV),
			rows[i].sev);
		assert_string_equal(
			defects_of(rows[i].release, rows[i].version, VMR_CONFIDENTIAL_NONE), "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
