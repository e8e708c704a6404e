/* SPDX-License-Identifier: GPL-2.0-or-later */
/* host.h - the host process: its configuration, and what there is one of */
#ifndef SOFTKVM_HOST_H
#define SOFTKVM_HOST_H

#include <stdbool.h>
#include <stdint.h>

/* Whose behaviour is reproduced where kernels differ. */
enum profile { PROFILE_K61, PROFILE_MAIN, PROFILE_V7 };

/* For tests: what goes wrong in the secure processor. */
struct firmware_fault {
	uint32_t nth;	   /* which command, from 1; 0: none */
	uint32_t command;  /* which of those with this number only; 0: of all */
	uint32_t status;   /* what it answers instead of doing anything */
	bool no_answer;	   /* instead of that, nothing: the driver gives up on the processor */
	uint32_t delay_ms; /* of every command */
};

/* For tests: something happens before an ioctl is carried out. */
struct ioctl_fault {
	uint32_t request; /* which; 0: none */
	uint32_t nth;	  /* of all with this number, from 1; 0: each */
	uint32_t delay_ms;
	bool stop; /* instead: the host, by SIGSTOP */
};

struct host_config {
	enum profile profile;
	bool without_quirks; /* put right what kernels seem to do by mistake: docs/fidelity.md */
	bool sev;	     /* there is a /dev/sev */
	uint32_t max_asid, min_sev_asid;	/* as CPUID 0x8000001f: ECX, EDX */
	uint64_t sev_capacity, sev_es_capacity; /* of the misc cgroup; 0: as many as ASIDs */
	const char *fuses; /* of psp-provision, the chip's identity; NULL: a new chip */
	struct firmware_fault fault;
	struct ioctl_fault at;
};

struct object;

struct host {
	struct host_config config;
	struct memory_objects *memory_objects; /* memory/ */
	struct sev_host *sev;		       /* sev/; NULL without */
	struct connections *connections;
};

/* What clients can open: a new object, or NULL if there is no memory.  A function that is NULL:
 * there is no such device. */
struct devices {
	struct object *(*open_kvm)(struct host *host);
	struct object *(*open_sev)(struct host *host, bool writable);
};

/*
 * Serve who connects to listener_fd, a non-blocking SOCK_SEQPACKET, until SIGINT or SIGTERM; if
 * program_fd is a pidfd: also until that process, all connections and all files have gone.
 */
int host_run(struct host *host, const struct devices *devices, int listener_fd, int program_fd);

#endif
