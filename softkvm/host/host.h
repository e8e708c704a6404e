/* SPDX-License-Identifier: GPL-2.0-or-later */
/* host.h - the host process: its configuration, and what there is one of */
#ifndef SOFTKVM_HOST_H
#define SOFTKVM_HOST_H

#include <stdbool.h>
#include <stdint.h>

/* Whose behaviour is reproduced where kernels differ. */
enum profile { PROFILE_K61, PROFILE_MAIN, PROFILE_V7 };

struct host_config {
	enum profile profile;
	bool sev;				/* there is a /dev/sev */
	uint32_t max_asid, min_sev_asid;	/* as CPUID 0x8000001f: ECX, EDX */
	uint64_t sev_capacity, sev_es_capacity; /* of the misc cgroup's root; 0: as many as ASIDs */
};

struct host {
	struct host_config config;
	struct memory_objects *memory_objects; /* memory/ */
	struct sev_host *sev;		       /* sev/; NULL without */
	struct connections *connections;
};

#endif
