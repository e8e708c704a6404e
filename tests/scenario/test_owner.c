// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The view of a confidential guest's owner, who trusts contrib/sev-owner, `vmrelay measure` and the
 * secure processor, but not the host: see docs/sev.md.  Needs a secure processor that measures,
 *such as the rig's, and from the environment:
 *
 *	VMRELAY_OWNER	contrib/sev-owner (default), which needs openssl
 *	VMRELAY_AMD	directory with ark.cert, ask.cert and cek.cert of the secure processor
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "kvm/cleanup.h"

#define WAIT_MS	    30000
#define SECRET	    "correct horse"
#define SECRET_GPA  "0x600000"
#define CMDLINE	    "say secret=" SECRET_GPA
#define SLOTS_GPA   0x200000
#define MEASUREMENT 64 /* characters */

static char dir[] = "/tmp/vmrelay-owner-XXXXXX";

static const struct kind {
	const char *name, *option, *policy;
} kinds[] = {{"sev", "--sev", "0x1"}, {"sev-es", "--sev-es", "0x5"}};

/* What `vmrelay host` says. */
static char api[16], build[8], c_bit[8];

/* A path in our directory: one of a few static buffers. */
static const char *in_dir(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % ARRAY_SIZE(paths)];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static const char *amd(const char *name)
{
	static char paths[3][512];
	static unsigned next;
	const char *where = getenv("VMRELAY_AMD");
	char *path = paths[next++ % ARRAY_SIZE(paths)];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", where ? where : "build/rig/sev", name);
	return path;
}

static int run_owner(const char *const argv[])
{
	const char *program = getenv("VMRELAY_OWNER");
	const char *all[24] = {program ? program : "contrib/sev-owner"};
	unsigned n = 1;

	while (*argv && n < ARRAY_SIZE(all) - 1)
		all[n++] = *argv++;
	return h_run_list(NULL, all);
}

/* Is the exit status of sev-owner this one? */
#define OWNER(expected, ...)                                                                       \
	do {                                                                                       \
		int status_ = run_owner((const char *const[]){__VA_ARGS__, NULL});                 \
		(void)check(status_ == (expected), "sev-owner exited with %d", status_);           \
	} while (0)

static bool write_file(const char *path, const void *data, size_t len)
{
	autofd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	return check(fd >= 0 && write(fd, data, len) == (ssize_t)len, "cannot write %s", path);
}

/* Change one bit of a file. */
static void tamper(const char *path, off_t at)
{
	autofd fd = open(path, O_RDWR | O_CLOEXEC);
	char byte = 0;

	(void)check(fd >= 0 && pread(fd, &byte, 1, at) == 1, "cannot read %s", path);
	byte ^= 1;
	(void)check(pwrite(fd, &byte, 1, at) == 1, "cannot write %s", path);
}

static void test_host(void)
{
	json_t *host = NULL;
	int status = h_vmrelay(&host, "host", "--json", "--pdh", in_dir("pdh"), "--chain",
			       in_dir("chain"));

	if (check(status == 0, "host exited with %d", status)) {
		(void)snprintf(api, sizeof(api), "%d.%d",
			       (int)json_integer_value(json_object_get(host, "api_major")),
			       (int)json_integer_value(json_object_get(host, "api_minor")));
		(void)snprintf(build, sizeof(build), "%d",
			       (int)json_integer_value(json_object_get(host, "build")));
		(void)snprintf(c_bit, sizeof(c_bit), "%d",
			       (int)json_integer_value(json_object_get(host, "c_bit")));
		(void)check(json_is_true(json_object_get(host, "sev")) &&
				    json_is_true(json_object_get(host, "sev_es")) &&
				    json_integer_value(json_object_get(host, "sev_asids")) > 0 &&
				    json_integer_value(json_object_get(host, "sev_es_asids")) > 0,
			    "this is not what a host with SEV and SEV-ES says");
		h_note("API %s, build %s, C-bit %s", api, build, c_bit);
	}
	json_decref(host);
	h_test("the host tells what it has, and its certificates");

	OWNER(0, "chain", "--pdh", in_dir("pdh"), "--chain", in_dir("chain"), "--ark",
	      amd("ark.cert"), "--ask", amd("ask.cert"), "--cek", amd("cek.cert"));
	OWNER(1, "chain", "--pdh", in_dir("chain"), "--chain", in_dir("chain"), "--ark",
	      amd("ark.cert"), "--ask", amd("ask.cert"), "--cek", amd("cek.cert"));
	h_test("the chain of certificates up to AMD");
}

/* The member of the VM's status, as a string. */
static void get_status(const struct h_vm *vm, const char *key, char *ret, size_t size)
{
	json_t *status = NULL;
	const char *text;

	(void)h_vmrelay(&status, "status", vm->name, "--json");
	text = json_string_value(json_object_get(status, key));
	(void)snprintf(ret, size, "%s", text ? text : "");
	json_decref(status);
}

static bool is_in_state(const struct h_vm *vm, const char *expected)
{
	char state[32];

	get_status(vm, "state", state, sizeof(state));
	return check(strcmp(state, expected) == 0, "it is %s, not %s", state, expected);
}

/* Start a guest, with one option more; the exit status. */
static int start(struct h_vm *vm, const struct kind *kind, const char *policy, const char *option,
		 json_t **ret)
{
	static unsigned n_vms;
	*vm = (struct h_vm){.cpus = 2};
	(void)snprintf(vm->name, sizeof(vm->name), "owned-%u", n_vms++);
	return h_vmrelay(ret, "run", "--detach", "--json", "--name", vm->name, "--kernel",
			 h_guest("ticker"), "--cpus", "2", "--memory", "16M", "--append", CMDLINE,
			 kind->option, "--sev-policy", policy, "--sev-dh-cert",
			 in_dir("mine/dh-cert"), "--sev-session", in_dir("mine/session"), option);
}

static void measure(const struct kind *kind, const char *cmdline, const char *out)
{
	int status =
		h_vmrelay(NULL, "measure", "--kernel", h_guest("ticker"), "--cpus", "2", "--memory",
			  "16M", "--append", cmdline, kind->option, "--c-bit", c_bit, "--out", out);

	(void)check(status == 0, "measure exited with %d", status);
}

static int verify(const char *keys, const char *measurement, const char *data)
{
	const char *const argv[] = {"verify",	 "--dir",   in_dir(keys), "--measurement",
				    measurement, "--data",  data,	  "--api",
				    api,	 "--build", build,	  NULL};

	return run_owner(argv);
}

/* The guest has not run: nothing has written where it counts. */
static bool is_untouched(const struct h_vm *vm)
{
	char counters[4096], zeros[sizeof(counters)] = {0};
	json_t *status = NULL;
	const char *path;

	(void)h_vmrelay(&status, "status", vm->name, "--json");
	path = json_string_value(
		json_object_get(json_array_get(json_object_get(status, "memory"), 0), "path"));

	autofd fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	bool is_read = fd >= 0 && pread(fd, counters, sizeof(counters), SLOTS_GPA) ==
					  (ssize_t)sizeof(counters);

	json_decref(status);
	return check(is_read, "cannot read the guest's memory") &&
	       memcmp(counters, zeros, sizeof(counters)) == 0;
}

static void test_measurement(const struct kind *kind, const struct h_vm *vm, char *measurement)
{
	char wrong[MEASUREMENT + 1];

	(void)is_in_state(vm, "launching");
	(void)check(is_untouched(vm), "the guest has run");
	get_status(vm, "measurement", measurement, MEASUREMENT + 1);
	(void)check(strlen(measurement) == MEASUREMENT, "there is no measurement");

	measure(kind, CMDLINE, in_dir("data"));
	measure(kind, CMDLINE " halt", in_dir("other-data"));
	(void)check(verify("mine", measurement, in_dir("data")) == 0,
		    "what was measured is not what should have been loaded");
	(void)check(verify("mine", measurement, in_dir("other-data")) == 1,
		    "another command line makes no difference");
	(void)check(verify("other", measurement, in_dir("data")) == 1,
		    "another session makes no difference");
	(void)snprintf(wrong, sizeof(wrong), "%s", measurement);
	wrong[0] = wrong[0] == 'A' ? 'B' : 'A';
	(void)check(verify("mine", wrong, in_dir("data")) == 1,
		    "another measurement makes no difference");
	h_test("%s: the measurement is verified", kind->name);
}

static void test_refusals(const struct kind *kind, const struct h_vm *vm)
{
	int before = h_vm_pid(vm);

	for (unsigned i = 0; i < 2; i++) {
		json_t *result = NULL;
		int status = h_vmrelay(&result, "upgrade", vm->name, "--json", "--vmm",
				       h_build("vmrelay-next"), "--timeout", "30000",
				       i == 0 ? NULL : "--check");

		(void)check(status == 5, "upgrade exited with %d", status);
		(void)h_error_has(result, "being launched");
		json_decref(result);
	}
	(void)check(h_vmrelay(NULL, "pause", vm->name) == 4, "it can be paused");
	(void)check(h_vmrelay(NULL, "stop", "--timeout", "1", vm->name) == 4, "it can power off");
	(void)is_in_state(vm, "launching");
	(void)check(h_vm_pid(vm) == before && h_processes_are(1), "another process was there");
	h_test("%s: no upgrade while it is being launched", kind->name);
}

static int put_secret(const struct h_vm *vm, const char *sealed, const char *address, json_t **ret)
{
	char header[64], packet[64];

	(void)snprintf(header, sizeof(header), "%s/header", sealed);
	(void)snprintf(packet, sizeof(packet), "%s/packet", sealed);
	return h_vmrelay(ret, "secret", vm->name, "--json", "--header", in_dir(header), "--packet",
			 in_dir(packet), "--address", address);
}

static void expect_refused_secret(const struct h_vm *vm, const char *sealed, const char *address,
				  const char *words)
{
	json_t *result = NULL;
	int status = put_secret(vm, sealed, address, &result);

	(void)check(status == 1, "secret exited with %d", status);
	(void)h_error_has(result, words);
	json_decref(result);
	(void)is_in_state(vm, "launching");
}

static void test_secret(const struct kind *kind, struct h_vm *vm, const char *measurement)
{
	char output[8192] = "", *console_words = "ticker: secret " SECRET "\n";
	struct h_process console;

	(void)write_file(in_dir("secret"), SECRET, strlen(SECRET));
	OWNER(0, "secret", "--dir", in_dir("mine"), "--measurement", measurement, "--in",
	      in_dir("secret"), "--out", in_dir("sealed"));
	OWNER(0, "secret", "--dir", in_dir("mine"), "--measurement", measurement, "--in",
	      in_dir("secret"), "--out", in_dir("tampered"));
	tamper(in_dir("tampered/packet"), 3);
	OWNER(0, "secret", "--dir", in_dir("other"), "--measurement", measurement, "--in",
	      in_dir("secret"), "--out", in_dir("foreign"));

	expect_refused_secret(vm, "tampered", SECRET_GPA, "bad measurement");
	expect_refused_secret(vm, "foreign", SECRET_GPA, "bad measurement");
	expect_refused_secret(vm, "sealed", "0x600001", "invalid address");
	expect_refused_secret(vm, "sealed", "0x60000000", "no memory");
	(void)check(put_secret(vm, "sealed", SECRET_GPA, NULL) == 0, "the secret is refused");

	(void)check(h_vmrelay(NULL, "resume", vm->name) == 0, "the launch cannot be finished");
	(void)is_in_state(vm, "running");
	if (h_vm_watch(vm)) {
		h_start(&console, h_program(), "console", vm->name);
		(void)check(h_expect(&console, output, sizeof(output), console_words, WAIT_MS),
			    "the guest has no such secret: %s", output);
		(void)kill(console.pid, SIGTERM);
		(void)h_wait(&console, WAIT_MS);
	}
	(void)check(put_secret(vm, "sealed", SECRET_GPA, NULL) == 4,
		    "a guest that runs takes secrets");
	h_test("%s: a secret that is sealed to the measurement arrives in the guest", kind->name);
}

static int check_report(const struct kind *kind, const char *nonce, const char *data)
{
	const char *const argv[] = {"attestation", "--report",	    in_dir("report"),
				    "--pek",	   in_dir("chain"), "--nonce",
				    nonce,	   "--data",	    data,
				    "--policy",	   kind->policy,    NULL};

	return run_owner(argv);
}

/* A report, with a nonce that was never there before, which is returned; NULL: there is none. */
static const char *attest(const struct kind *kind, const struct h_vm *vm)
{
	static char nonce[33];
	static unsigned n;
	int status;

	(void)snprintf(nonce, sizeof(nonce), "%032x", 0xdeaf0000 + n++);
	status = h_vmrelay(NULL, "attest", vm->name, "--nonce", nonce, "--out", in_dir("report"));
	return check(status == 0, "attest exited with %d", status) &&
			       check(check_report(kind, nonce, in_dir("data")) == 0,
				     "the report is not right")
		       ? nonce
		       : NULL;
}

static void test_attestation(const struct kind *kind, const struct h_vm *vm)
{
	const char *nonce = attest(kind, vm);

	if (nonce) {
		(void)check(
			check_report(kind, "000102030405060708090a0b0c0d0e0f", in_dir("data")) == 1,
			"another nonce makes no difference");
		(void)check(check_report(kind, nonce, in_dir("other-data")) == 1,
			    "another command line makes no difference");
		tamper(in_dir("report"), 64);
		(void)check(check_report(kind, nonce, in_dir("data")) == 1,
			    "another signature makes no difference");
	}
	h_test("%s: the guest is attested", kind->name);
}

/* The measurement is known as before, and the guest can be attested. */
static void check_again(const struct kind *kind, const struct h_vm *vm, const char *measurement)
{
	char now[MEASUREMENT + 1];

	get_status(vm, "measurement", now, sizeof(now));
	(void)check(strcmp(now, measurement) == 0, "the measurement was %s and is %s", measurement,
		    now);
	(void)check(verify("mine", now, in_dir("data")) == 0, "it is not verified any more");
	(void)attest(kind, vm);
	(void)check(h_vm_is_alive(vm) && h_vm_ticks(vm), "the guest does not go on");
}

static void test_upgrades(const struct kind *kind, struct h_vm *vm, const char *measurement)
{
	int status;

	if (check(h_vm_upgrade(vm, h_build("vmrelay-next")) > 0, "the upgrade failed"))
		check_again(kind, vm, measurement);
	h_test("%s: measurement and attestation after an upgrade", kind->name);

	h_set_fault("target-owner:kill");
	status = h_vmrelay(NULL, "upgrade", vm->name, "--vmm", h_build("vmrelay-faulty"));
	h_set_fault(NULL);
	if (check(status == 6, "the upgrade to a VMM that dies exited with %d", status))
		check_again(kind, vm, measurement);
	h_test("%s: and after its VMM took it back", kind->name);
}

/* A guest whose launch did not wait, and whose VMM is killed. */
static void test_rescue(const struct kind *kind)
{
	char measurement[MEASUREMENT + 1], state[32] = "";
	struct h_vm vm;
	int status = start(&vm, kind, kind->policy, "--rescue", NULL);

	if (check(status == 0, "run exited with %d", status) && h_vm_watch(&vm)) {
		get_status(&vm, "measurement", measurement, sizeof(measurement));
		(void)kill(h_vm_pid(&vm), SIGKILL);
		for (unsigned ms = 0; ms < WAIT_MS && strcmp(state, "crashed") != 0; ms += 50) {
			h_sleep_ms(50);
			get_status(&vm, "state", state, sizeof(state));
		}
		status = h_vmrelay(NULL, "rescue", vm.name);
		if (check(status == 0, "rescue exited with %d", status))
			check_again(kind, &vm, measurement);
		h_vm_stop(&vm);
	}
	h_test("%s: measurement and attestation after a rescue", kind->name);
}

static void test_kind(const struct kind *kind)
{
	char measurement[MEASUREMENT + 1] = "";
	json_t *result = NULL;
	struct h_vm vm;
	int status;

	(void)setenv("VMRELAY_CONFIDENTIAL", kind->name, 1);
	OWNER(0, "session", "--pdh", in_dir("pdh"), "--policy", kind->policy, "--out",
	      in_dir("mine"));
	OWNER(0, "session", "--pdh", in_dir("pdh"), "--policy", kind->policy, "--out",
	      in_dir("other"));

	/* Debugging allowed, which would let the host read the guest. */
	status = start(&vm, kind, strcmp(kind->policy, "0x1") == 0 ? "0x0" : "0x4", "--sev-wait",
		       &result);
	(void)check(status == 1, "run exited with %d", status);
	(void)h_error_has(result, "bad measurement");
	json_decref(result);
	h_test("%s: the host cannot launch it under another policy", kind->name);

	status = start(&vm, kind, kind->policy, "--sev-wait", NULL);
	if (check(status == 0, "run exited with %d", status)) {
		test_measurement(kind, &vm, measurement);
		test_refusals(kind, &vm);
		test_secret(kind, &vm, measurement);
		test_attestation(kind, &vm);
		test_upgrades(kind, &vm, measurement);
		h_vm_stop(&vm);
	} else {
		h_test("%s: the launch", kind->name);
	}
	test_rescue(kind);
}

int main(void)
{
	if (!h_kvm_is_usable())
		return h_skip_all("there is no usable /dev/kvm");
	if (access("/dev/sev", R_OK | W_OK) < 0)
		return h_skip_all("there is no /dev/sev: this host has no SEV (the rig has)");
	h_init();
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	const char *only = h_confidential();
	char only_kind[16] = "";

	(void)snprintf(only_kind, sizeof(only_kind), "%s", only ? only : "");
	test_host();
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!only_kind[0] || strcmp(only_kind, kinds[i].name) == 0)
			test_kind(&kinds[i]);
	(void)h_run(NULL, "/bin/rm", "-rf", dir);
	return h_done();
}
