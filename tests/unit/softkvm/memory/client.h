/* SPDX-License-Identifier: GPL-2.0-or-later */
/* client.h - a client that shares its memory, and a VM of it: what memory/ is tested with */
#ifndef TESTS_SOFTKVM_MEMORY_CLIENT_H
#define TESTS_SOFTKVM_MEMORY_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "softkvm/host/call.h"
#include "softkvm/host/host.h"
#include "softkvm/memory/memory.h"

#define PAGE	     4096u
#define MEMORY	     0x7f0000000000ull /* where the client has its file mapped */
#define MEMORY_PAGES 64u

struct call {
	struct host host;
	struct mm *mm;
	int fd;		 /* its file, which has MEMORY_PAGES pages */
	uint8_t *memory; /* the same, as a VMM sees it */
	/* What call_share() says; by default all that is asked for, of fd. */
	int result;
	bool read_only;
	uint64_t hole;	  /* this page of the client's is not mapped; 0: none */
	uint64_t stretch; /* it tells so many bytes at a time */
	uint64_t extra;	  /* it lies about their number */
	bool repeats;	  /* it tells each twice */
	struct slots *slots;
	unsigned n_kicks;
};

int client_setup(void **state);
int client_teardown(void **state);
int client_set(struct call *call, uint32_t slot, uint64_t gpa, uint64_t size, uint64_t uaddr,
	       uint32_t flags);
/* A page as the guest has it, from inside; key NULL: not encrypted. */
struct cpu_page client_page(struct call *call, const uint8_t *key, uint64_t gpa);
/* The guest stores; inside for the moment. */
void client_store(struct call *call, const uint8_t *key, uint64_t gpa, const void *data,
		  unsigned len);

#endif
