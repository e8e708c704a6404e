/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine for tests of the secure processor: some memory, a memory controller, and the processor.
 */
#ifndef TESTS_UNIT_PSP_MACHINE_H
#define TESTS_UNIT_PSP_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "psp/state.h"

#define MEMORY_BASE  0x80000000ULL
#define MEMORY_LEN   0x40000U
#define MAX_ASID     8
#define MIN_SEV_ASID 4 /* 1 to 3 are for SEV-ES */

struct machine {
	struct psp *psp;
	uint8_t memory[MEMORY_LEN];
	uint32_t used; /* of memory, by what place() gave out */
	bool is_plain; /* what the cipher does not do */
	struct psp_ca_chain authorities;
};

/*
 * INIT has been done, for SEV-ES too.  All machines have one chip, because authorities take long to
 * make, but for a foreign one.
 */
struct machine *machine_new(void);
struct machine *machine_new_foreign(void);
struct machine *machine_free(struct machine *m);

/* Memory for len bytes, page-aligned, with data in it if there is any; its address. */
uint64_t place(struct machine *m, const void *data, uint32_t len);
void *at(struct machine *m, uint64_t address);

/* All of memory is free again, and zeros. */
void machine_forget(struct machine *m);

/* A command for a guest that has no more to say than that. */
enum psp_status run(struct machine *m, uint32_t number, uint32_t handle);

/* A guest without a session; fails the test if that fails. */
uint32_t launch(struct machine *m, uint32_t policy);
enum psp_status activate(struct machine *m, uint32_t handle, uint32_t asid);
enum psp_status update_data(struct machine *m, uint32_t handle, uint64_t address, uint32_t len);
uint32_t launch_running(struct machine *m, uint32_t policy, uint32_t asid);

struct psp_cmd_guest_status guest_status(struct machine *m, uint32_t handle);
struct psp_cmd_platform_status platform_status(struct machine *m);

/* What the platform exports. */
void export_chain(struct machine *m, struct psp_cert *ret_pdh, struct psp_chain *ret_chain);

#endif
