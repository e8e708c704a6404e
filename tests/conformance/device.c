// SPDX-License-Identifier: GPL-2.0-or-later
/* /dev/sev. */
#include "conformance.h"

#include <fcntl.h>
#include <string.h>

#define PLATFORM_FLAG_ES 0x100 /* in sev_user_data_status.flags */

static void issue(uint32_t number, void *data)
{
	struct sev_issue_cmd c = {.cmd = number, .data = POINTER(data)};

	note_result(ioctl(sev_fd, SEV_ISSUE_CMD, &c));
	if (c.error)
		note("fw 0x%x", c.error);
}

static void calls(void)
{
	note_result(ioctl(sev_fd, _IO('S', 1)));
	note_result(ioctl(sev_fd, SEV_ISSUE_CMD, NULL));
	issue(9, NULL);
	issue(100, NULL);
}

/* Opened for reading only. */
static void for_writers(void)
{
	struct sev_user_data_pek_csr csr = {0};

	issue(SEV_FACTORY_RESET, NULL);
	issue(SEV_PEK_GEN, NULL);
	issue(SEV_PDH_GEN, NULL);
	issue(SEV_PEK_CSR, &csr);
	issue(SEV_PEK_CERT_IMPORT, NULL);
}

static void status(void)
{
	struct sev_user_data_status s;
	struct vm vm = sev(0);

	memset(&s, 0xff, sizeof(s));
	issue(SEV_PLATFORM_STATUS, &s);
	note("state %u, %s, %s", s.state, s.flags & PLATFORM_FLAG_ES ? "es" : "no es",
	     s.guest_count > 0 ? "guests" : "no guests");
	vm_close(&vm);
	issue(SEV_PLATFORM_STATUS, (void *)8);
}

static void reset_while_guests(void)
{
	int writer = must(open("/dev/sev", O_RDWR | O_CLOEXEC), "open");
	struct sev_issue_cmd c = {.cmd = SEV_FACTORY_RESET};
	struct vm vm = sev(0);

	note_result(ioctl(writer, SEV_ISSUE_CMD, &c));
	note("state %u", status_of(vm.fd).state);
}

static void lengths(void)
{
	struct sev_user_data_pdh_cert_export certs = {0};
	struct sev_user_data_get_id2 id = {0};
	struct vm vm = sev(0);

	issue(SEV_PDH_CERT_EXPORT, &certs);
	note("len %u %u", certs.pdh_cert_len, certs.cert_chain_len);
	issue(SEV_GET_ID2, &id);
	/* 64 bytes for each socket that there is. */
	note("%s", id.length == 64 || id.length == 128 ? "some sockets" : "no sockets");
	vm_close(&vm);
}

const struct test_case device_cases[] = {
	{"device/calls", calls, "EINVAL EFAULT EINVAL EINVAL", NULL, NEEDS_SEV},
	{"device/for-writers", for_writers, "EPERM EPERM EPERM EPERM EPERM", NULL, NEEDS_SEV},
	{"device/status", status, "0 state 2, es, guests EFAULT", NULL, NEEDS_ES},
	{"device/reset-while-guests", reset_while_guests, "EBUSY state 1", NULL, NEEDS_SEV},
	{"device/lengths", lengths, "EIO fw 0x4 len 2084 6252 EIO fw 0x4 some sockets", NULL,
	 NEEDS_SEV},
	{0},
};
