/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What scenario tests and benchmarks share: running the program under test as a user would, reading
 * its JSON, and watching a guest from outside through its memory object.  It works on any host,
 * the L1 machine of the rig included, and needs nothing but the programs that it is told of:
 *
 *	VMRELAY		the program (default build/vmrelay)
 *	VMRELAY_GUESTS	directory of the small guests (default build/guests)
 *	VMRELAY_BUILDS	directory of the other builds of the program (default build/tests)
 *	VMRELAY_OBSERVE_US	how often the observer looks (default 70)
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Built with a sanitizer: what it cannot do is skipped. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define H_IS_TSAN 1
#elif __has_feature(address_sanitizer)
#define H_IS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define H_IS_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define H_IS_ASAN 1
#endif
#ifndef H_IS_TSAN
#define H_IS_TSAN 0
#endif
#ifndef H_IS_ASAN
#define H_IS_ASAN 0
#endif

/* TAP.  A check that fails prints where, and the test goes on; h_done() gives the exit status. */
#define check(condition, ...) h_check(!!(condition), __FILE__, __LINE__, #condition, __VA_ARGS__)
bool h_check(bool ok, const char *file, int line, const char *condition, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
/* One TAP line for all checks since the last one. */
void h_test(const char *format, ...) __attribute__((format(printf, 1, 2)));
void h_skip(const char *name, const char *reason);
/* Nothing at all can be tested: says so; the exit status. */
int h_skip_all(const char *reason);
/* Stops what is left, and fails if that was anything but VMs; the exit status. */
int h_done(void);
/* "# ..." */
void h_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A private runtime directory, removed by h_done(); forgotten VMs are stopped there. */
void h_init(void);

const char *h_program(void);
const char *h_build(const char *name); /* another build: static buffer */
const char *h_guest(const char *name); /* static buffer */
bool h_kvm_is_usable(void);	       /* can it run a small 64-bit guest? */

/*
 * Run a program with these arguments (the list ends with NULL); its exit status, 128 + N after
 * signal N.  With ret, its output as JSON (NULL if it is none), to be released.  What takes too
 * long is killed, and a failed check.
 */
int h_run_list(json_t **ret, const char *const argv[]);
#define h_run(ret, ...) h_run_list(ret, (const char *const[]){__VA_ARGS__, NULL})
/* The program under test. */
#define h_vmrelay(ret, ...) h_run(ret, h_program(), __VA_ARGS__)

/* Does the "error" of a command's JSON contain these words? */
bool h_error_has(const json_t *result, const char *words);
/* VMRELAY_FAULT for what is started from now on; NULL: none.  See lib/fault.h. */
void h_set_fault(const char *fault);

/* A program in the background, with pipes to its standard input and output. */
struct h_process {
	int pid, in, out;
};
void h_start_list(struct h_process *process, const char *const argv[]);
#define h_start(process, ...) h_start_list(process, (const char *const[]){__VA_ARGS__, NULL})
/*
 * Append what it prints to the string in buf, until `words` are in it, it has closed its output or
 * time is up.  Are they?
 */
bool h_expect(struct h_process *process, char *buf, size_t size, const char *words,
	      unsigned timeout_ms);
/* Its exit status; when time is up it is killed, which is a failed check. */
int h_wait(struct h_process *process, unsigned timeout_ms);

/* A VM of the ticker guest.  Its memory stays mapped through upgrades. */
struct h_slot {
	volatile uint64_t count, ticks, rounds, errors;
	uint8_t magic[8];
	volatile uint64_t tsc;
	uint64_t unused[2];
};
struct h_vm {
	char name[40];
	unsigned cpus;
	volatile struct h_slot *slot; /* one per vCPU */
};

/*
 * Start it with further options of `run` (NULL-terminated), and wait until every vCPU counts.
 * With another program than the one under test: `program`, or NULL.
 */
bool h_vm_start(struct h_vm *vm, const char *program, unsigned cpus, const char *cmdline,
		const char *const options[]);
/* The same for one that was started otherwise: name and cpus are given. */
bool h_vm_watch(struct h_vm *vm);
/* Force it to end, and unmap. */
void h_vm_stop(struct h_vm *vm);
/* Unmap only: it has ended. */
void h_vm_forget(struct h_vm *vm);
int h_vm_pid(const struct h_vm *vm);	 /* -1: none */
char *h_vm_state(const struct h_vm *vm); /* to be freed; "none" */
/* Does every vCPU count on, without an error?  Waits for up to two seconds. */
bool h_vm_is_alive(const struct h_vm *vm);
uint64_t h_vm_errors(const struct h_vm *vm);
/* Does no vCPU count, for this time? */
bool h_vm_is_still(const struct h_vm *vm, unsigned ms);
/*
 * The same after a signal to its VMM, whose threads stop or end one by one: within two seconds
 * there is such a time.
 */
bool h_vm_comes_to_rest(const struct h_vm *vm, unsigned ms);
/* Do timer interrupts arrive at every vCPU?  Waits for up to two seconds. */
bool h_vm_ticks(const struct h_vm *vm);
/*
 * Upgrade it, to `program` or NULL, with all that should be true of that: checks.  The new pid, or
 * -1.
 */
int h_vm_upgrade(const struct h_vm *vm, const char *program);

/* "sev" or "sev-es" if VMs are to be confidential (VMRELAY_CONFIDENTIAL), or NULL. */
const char *h_confidential(void);

/* Watching the counters: as a real-time thread, if that is allowed. */
struct h_observer;
struct h_observer *h_observer_start(const struct h_vm *vm);
struct h_observer *h_observer_stop(struct h_observer *observer);
/*
 * The time in which no vCPU counted around a point in time (microseconds of CLOCK_MONOTONIC), in
 * microseconds; 0 if they did count then.
 */
double h_observer_gap_at(struct h_observer *observer, double us);
/* That is exact on average; by how much it may be wrong at most, one way or the other. */
double h_observer_doubt_at(struct h_observer *observer, double us);
/* Sum of all such times up to now, in microseconds. */
double h_observer_gaps_sum(struct h_observer *observer);

/* What an upgrade's JSON says: downtime, total, and the middle of the downtime on CLOCK_MONOTONIC.
 */
int h_pid_in(const json_t *result, const char *side); /* "source", "target"; -1: not there */
struct h_upgrade {
	double downtime_us, total_us, middle_us;
};
bool h_upgrade_parse(const json_t *result, struct h_upgrade *ret);

/* Processes of ours that should not be there any more; prints them. */
unsigned h_count_processes(void);
unsigned h_list_processes(int *ret_pids, unsigned max); /* how many there are */
/* Waits some seconds until there are that many; prints them if not. */
bool h_processes_are(unsigned n);
/* End them, whatever they are. */
void h_kill_processes(void);
/* State of a process as in proc(5), 0 if it is not there. */
char h_process_state(int pid);
bool h_process_ends(int pid, unsigned timeout_ms);
/* What VMs have left in runtime directory and /dev/shm; prints it. */
unsigned h_count_leftovers(void);

void h_sleep_ms(unsigned ms);
double h_now_us(void);

#endif
