// SPDX-License-Identifier: GPL-2.0-or-later
/* Moves along chains, and between VMs that do not fit. */
#include "conformance.h"

static void chain_of(struct vm (*make)(unsigned n))
{
	struct vm vm[4] = {make(4), aux(4), aux(4), aux(4)};

	for (unsigned i = 1; i < 4; i++)
		note_result(move_from(&vm[i], vm[i - 1].fd));
	note_result(move_from(&vm[0], vm[3].fd));
	for (unsigned i = 0; i < 4; i++)
		vm_close(&vm[i]);
}

static void sev_chain(void)
{
	chain_of(sev);
}

static void es_chain(void)
{
	chain_of(sev_es);
}

static void into(struct vm target, struct vm source)
{
	note_result(move_from(&target, source.fd));
}

static void es_into_sev(void)
{
	into(sev(4), sev_es(4));
}

static void sev_into_es(void)
{
	into(sev_es(4), sev(4));
}

static void es_into_fewer_vcpus(void)
{
	into(aux(0), sev_es(4));
	into(aux(3), sev_es(4));
}

static void es_into_more_vcpus(void)
{
	into(aux(5), sev_es(4));
}

/* Index counts, not ID. */
static void es_into_other_ids(void)
{
	into(vm_new(KVM_X86_DEFAULT_VM, 4, 10), sev_es(4));
}

static void sev_into_any_number_of_vcpus(void)
{
	into(aux(0), sev(4));
	into(aux(1), sev(4));
	into(aux(8), sev(4));
}

/* The last vCPU has no encrypted VMSA. */
static void es_vmsa_missing(void)
{
	struct vm source = sev_es(3), target = aux(4);

	source.vcpu[source.n++] = must(ioctl(source.fd, KVM_CREATE_VCPU, 3), "KVM_CREATE_VCPU");
	note_result(move_from(&target, source.fd));
	/* Nothing has changed. */
	note("state %u", status_of(source.fd).state);
	note_result(ioctl(target.fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY));
}

static void vcpu_after_move(void)
{
	struct vm source = sev_es(2), target = aux(2);

	note_result(move_from(&target, source.fd));
	note_result(ioctl(target.fd, KVM_CREATE_VCPU, 7) < 0 ? -1 : 0);
}

/* More VMs than any host has ASIDs for. */
static void without_free_asid(void)
{
	struct vm vm[600], target = aux(0);
	unsigned n = 0;

	while (n < 600) {
		vm[n] = aux(0);
		if (command(vm[n].fd, KVM_SEV_INIT, NULL, NULL) < 0)
			break;
		n++;
	}
	note_result(n > 0 && n < 600 ? -1 : 0); /* why there are no more */
	note_result(n > 0 ? move_from(&target, vm[0].fd) : -1);
}

const struct test_case move_cases[] = {
	{"move/sev-chain-and-back", sev_chain, "0 0 0 EIO", NULL, NEEDS_SEV},
	{"move/es-chain-and-back", es_chain, "0 0 0 EIO", NULL, NEEDS_ES},
	{"move/es-into-sev", es_into_sev, "EINVAL", NULL, NEEDS_ES},
	{"move/sev-into-es", sev_into_es, "EINVAL", NULL, NEEDS_ES},
	{"move/es-into-fewer-vcpus", es_into_fewer_vcpus, "EINVAL EINVAL", NULL, NEEDS_ES},
	{"move/es-into-more-vcpus", es_into_more_vcpus, "EINVAL", NULL, NEEDS_ES},
	{"move/es-into-other-ids", es_into_other_ids, "0", NULL, NEEDS_ES},
	{"move/sev-into-any-number-of-vcpus", sev_into_any_number_of_vcpus, "0 0 0", NULL,
	 NEEDS_SEV},
	{"move/es-vmsa-missing", es_vmsa_missing, "EINVAL state 1 1", NULL, NEEDS_ES},
	{"move/vcpu-after-move", vcpu_after_move, "0 0", NULL, NEEDS_ES},
	{"move/without-free-asid", without_free_asid, "EBUSY 0", NULL, NEEDS_SEV},
	{0},
};
