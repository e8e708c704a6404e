/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of `vmrelay run`.  They travel to the target of an upgrade as JSON, and those that
 * the guest cannot see may be changed by the flags behind `upgrade NAME --`.
 */
#ifndef VMM_OPTIONS_H
#define VMM_OPTIONS_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmrelay/sev.h>

#define VMM_NAME_MAX 64
#define VMM_CPUS_MAX 16

enum vmm_memory_backend {
	VMM_MEMORY_MEMFD,   /* default: sealed memfd */
	VMM_MEMORY_HUGETLB, /* memfd of 2 MiB huge pages */
	VMM_MEMORY_FILE, /* a file on /dev/shm or hugetlbfs, created and unlinked in memory_dir */
	VMM_MEMORY_PRIVATE, /* private anonymous memory: such a VM cannot be upgraded */
};

enum vmm_console_kind {
	VMM_CONSOLE_SOCKET, /* default: unix socket in the runtime directory */
	VMM_CONSOLE_PTY,    /* that, and a pseudo terminal whose path `status` tells */
};

/* By what calls a confidential guest is made: see vmr_sev_vm_type() for the first. */
enum vmm_sev_interface { VMM_SEV_AUTO, VMM_SEV_INIT, VMM_SEV_INIT2 };

/* What happens to a VMM that makes a system call which it has no business with: sandbox.h. */
enum vmm_seccomp { VMM_SECCOMP_KILL, VMM_SECCOMP_LOG, VMM_SECCOMP_OFF };

enum vmm_log_level { VMM_LOG_ERROR, VMM_LOG_INFO, VMM_LOG_DEBUG };

struct vmm_options {
	/* The machine: seen by the guest, fixed for its life. */
	char *name;
	char *kernel;
	char *initrd;	 /* may be NULL */
	char *cmdline;	 /* --append; may be NULL */
	uint64_t memory; /* bytes */
	unsigned cpus;
	bool pit; /* in-kernel i8254 */
	enum vmm_memory_backend memory_backend;
	char *memory_dir; /* for VMM_MEMORY_FILE */
	enum vmr_confidential confidential;
	uint32_t sev_policy;

	/* For the launch of a confidential guest only. */
	enum vmm_sev_interface sev_interface;
	char *sev_dh_cert; /* files of the guest owner, may be NULL */
	char *sev_session;
	bool sev_wait; /* until it is told to go on */

	/* The VMM: an upgrade may change these. */
	enum vmm_console_kind console;
	enum vmm_log_level log_level;

	/*
	 * Of one process: an upgrade may change it, and does not inherit it, or a VMM that a guest
	 * has taken over would decide for its successor.
	 */
	enum vmm_seccomp seccomp;
};

void vmm_options_init(struct vmm_options *options); /* defaults */
void vmm_options_done(struct vmm_options *options);

/*
 * The command line of `run`, as a child of its argp.  Input: struct vmm_options_parser; if parsing
 * fails for a value, text has the sentence.
 */
struct vmm_options_parser {
	struct vmm_options *options;
	char text[200];
};
extern const struct argp vmm_options_argp;

/* Are they complete and do they fit together?  0, or -EINVAL with one sentence in text. */
int vmm_options_check(const struct vmm_options *options, char *text, size_t text_size);

const char *vmm_confidential_name(enum vmr_confidential kind); /* "none", "sev", "sev-es" */

/* JSON object with every option; NULL if out of memory. */
json_t *vmm_options_to_json(const struct vmm_options *options);

/* The reverse; the JSON is not trusted, unknown members are ignored.  0 or -EINVAL. */
int vmm_options_from_json(struct vmm_options *options, json_t *json);

/*
 * Apply the flags behind `upgrade NAME --` (argv[0] is the first flag).  A flag that the guest
 * would see (--memory, --cpus, ...) or that nobody knows fails with -EINVAL and one sentence in
 * text.
 */
int vmm_options_change(struct vmm_options *options, int argc, char **argv, char *text,
		       size_t text_size);

/* What these flags say of --seccomp, be they good or not. */
enum vmm_seccomp vmm_options_seccomp(int argc, char **argv);

#endif
