/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fixture.h - a machine of a profile and a client in it, for each test */
#ifndef TESTS_UNIT_SOFTKVM_SEV_FIXTURE_H
#define TESTS_UNIT_SOFTKVM_SEV_FIXTURE_H

#include "machine.h"

struct fixture {
	struct machine *m;
	struct call call;
};

static inline int setup_as(void **state, const struct host_config *config)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->m = machine_new(config);
	call_init(&f->call, f->m);
	*state = f;
	return 0;
}

static inline int setup(void **state)
{
	return setup_as(state, &(struct host_config){.profile = PROFILE_K61});
}

static inline int setup_main(void **state)
{
	return setup_as(state, &(struct host_config){.profile = PROFILE_MAIN});
}

static inline int setup_without_quirks(void **state)
{
	return setup_as(state,
			&(struct host_config){.profile = PROFILE_MAIN, .without_quirks = true});
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	call_done(&f->call);
	machine_free(f->m);
	free(f);
	return 0;
}

#define CASE(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
