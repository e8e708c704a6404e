// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Model-specific registers.
 *
 * There are three kinds: those that are part of the CPU's state, those that are only stored here,
 * and a few with an effect.  What a guest may not do, a VMM may: it sets what it has read.
 *
 * Numbers are of AMD publication 24593 (APM volume 2, appendix A), or as KVM has them.
 */
#include "internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/cleanup.h"

#define MSR_TSC		 0x10
#define MSR_APIC_BASE	 0x1b
#define MSR_PATCH_LEVEL	 0x8b
#define MSR_MCG_CAP	 0x179
#define MSR_MCG_CTL	 0x17b
#define MSR_PAT		 0x277
#define MSR_MC0_CTL	 0x400
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_FIRST 0x800
#define MSR_X2APIC_LAST	 0x8ff
#define MSR_EFER	 0xc0000080
#define MSR_FS_BASE	 0xc0000100
#define MSR_GS_BASE	 0xc0000101
#define MSR_TSC_AUX	 0xc0000103
#define MSR_GHCB	 0xc0010130
#define MSR_SEV_STATUS	 0xc0010131
#define MSR_DE_CFG	 0xc0011029

#define SEV_STATUS_SEV 1u
#define SEV_STATUS_ES  2u

/* Part of struct cpu_state, 64 bits each.  canonical: it takes an address. */
static const struct {
	uint32_t index;
	bool is_canonical;
	size_t offset;
} in_state[] = {
	{0x174, false, offsetof(struct cpu_state, sysenter_cs)},
	{0x175, true, offsetof(struct cpu_state, sysenter_esp)},
	{0x176, true, offsetof(struct cpu_state, sysenter_eip)},
	{MSR_PAT, false, offsetof(struct cpu_state, pat)},
	{MSR_EFER, false, offsetof(struct cpu_state, efer)},
	{0xc0000081, false, offsetof(struct cpu_state, star)},
	{0xc0000082, true, offsetof(struct cpu_state, lstar)},
	{0xc0000083, true, offsetof(struct cpu_state, cstar)},
	{0xc0000084, false, offsetof(struct cpu_state, sfmask)},
	{MSR_FS_BASE, true, offsetof(struct cpu_state, segment[FS].base)},
	{MSR_GS_BASE, true, offsetof(struct cpu_state, segment[GS].base)},
	{0xc0000102, true, offsetof(struct cpu_state, kernel_gs_base)},
	{MSR_TSC_AUX, false, offsetof(struct cpu_state, tsc_aux)},
};

enum access { GUEST_WRITES, GUEST_READS, GUEST_NEITHER };

/* Only stored.  mask: bits that can be set. */
struct stored {
	uint32_t first, n;
	uint64_t reset, mask;
	enum access guest;
};

static const struct stored stored[] = {
	{MSR_PATCH_LEVEL, 1, 0x01000065, ~0ull, GUEST_READS},
	{0x17a, 1, 0, ~0ull, GUEST_WRITES}, /* MCG_STATUS */
	{MSR_MCG_CTL, 1, 0, ~0ull, GUEST_WRITES},
	{0x1a0, 1, 1, ~0ull, GUEST_WRITES},  /* MISC_ENABLE: fast strings */
	{0x200, 16, 0, ~0ull, GUEST_WRITES}, /* MTRRs, variable */
	{0x250, 1, 0, ~0ull, GUEST_WRITES},  /* fixed: 64 KiB */
	{0x258, 2, 0, ~0ull, GUEST_WRITES},  /* 16 KiB */
	{0x268, 8, 0, ~0ull, GUEST_WRITES},  /* 4 KiB */
	{0x2ff, 1, 0, 0xcff, GUEST_WRITES},  /* default type */
	{MSR_MC0_CTL, 4 * MCE_BANKS_MAX, 0, ~0ull, GUEST_WRITES},
	{0xc0010015, 1, 0, ~0ull, GUEST_WRITES}, /* HWCR */
	{0xc001001f, 1, 0, ~0ull, GUEST_WRITES}, /* NB_CFG */
	{MSR_DE_CFG, 1, 2, 2, GUEST_READS},	 /* LFENCE serializes */
};

/* Of which a VMM learns by KVM_GET_MSR_INDEX_LIST; MTRRs and banks it has to know, as of KVM. */
static const uint32_t listed[] = {
	MSR_TSC,
	MSR_APIC_BASE,
	MSR_PATCH_LEVEL,
	0x174,
	0x175,
	0x176,
	0x17a,
	MSR_MCG_CTL,
	0x1a0,
	MSR_PAT,
	MSR_TSC_DEADLINE,
	0xc0000081,
	0xc0000082,
	0xc0000083,
	0xc0000084,
	0xc0000102,
	MSR_TSC_AUX,
	0xc0010015,
	MSR_DE_CFG,
};

static const uint32_t features[] = {MSR_PATCH_LEVEL, MSR_DE_CFG};

/* Which row and which element of vcpu->msr; NULL if not stored. */
static const struct stored *find_stored(uint32_t index, unsigned *ret_element)
{
	unsigned element = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(stored); i++) {
		if (index >= stored[i].first && index - stored[i].first < stored[i].n) {
			*ret_element = element + index - stored[i].first;
			return &stored[i];
		}
		element += stored[i].n;
	}
	return NULL;
}

int vcpu_msrs_new(struct vcpu *vcpu)
{
	unsigned n = 0, element = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(stored); i++)
		n += stored[i].n;
	vcpu->msr = calloc(n, sizeof(vcpu->msr[0]));
	if (!vcpu->msr)
		return -ENOMEM;
	for (unsigned i = 0; i < ARRAY_SIZE(stored); i++)
		for (uint32_t k = 0; k < stored[i].n; k++)
			vcpu->msr[element++] = stored[i].reset;
	return 0;
}

static bool is_x2apic(uint32_t index)
{
	return index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST;
}

/* Banks that KVM_X86_SETUP_MCE has not made are not there; KVM has one word for all of them. */
static bool is_missing_bank(const struct vcpu *vcpu, uint32_t index)
{
	return index >= MSR_MC0_CTL && index < MSR_MC0_CTL + 4 * MCE_BANKS_MAX &&
	       (index - MSR_MC0_CTL) / 4 >= (vcpu->mcg_cap & 0xff);
}

static bool get_special(struct vcpu *vcpu, uint32_t index, bool is_host, uint64_t *ret)
{
	switch (index) {
	case MSR_TSC:
		*ret = vcpu_tsc(vcpu);
		return true;
	case MSR_APIC_BASE:
		*ret = vcpu_get_apic_base(vcpu);
		return true;
	case MSR_MCG_CAP:
		*ret = vcpu->mcg_cap;
		return true;
	case 0xfe: /* MTRRcap: 8 variable, fixed, write-combining */
		*ret = 0x508;
		return true;
	case 0xc0010010: /* SYSCFG */
		*ret = 0;
		return true;
	case MSR_TSC_DEADLINE:
		*ret = 0;
		return !vcpu->lapic || lapic_rdmsr(vcpu->lapic, index, ret);
	case MSR_GHCB:
		*ret = vcpu->cpu->ghcb;
		return vcpu->vm->sev.es;
	case MSR_SEV_STATUS:
		*ret = SEV_STATUS_SEV | (vcpu->vm->sev.es ? SEV_STATUS_ES : 0);
		return vcpu->vm->sev.active && !is_host;
	default:
		return is_x2apic(index) && !is_host && vcpu->lapic &&
		       lapic_rdmsr(vcpu->lapic, index, ret);
	}
}

static bool get_msr(struct vcpu *vcpu, uint32_t index, bool is_host, uint64_t *ret)
{
	const struct stored *s;
	unsigned element;

	for (unsigned i = 0; i < ARRAY_SIZE(in_state); i++)
		if (in_state[i].index == index) {
			if (is_host && vcpu_hides_state(vcpu))
				return false;
			memcpy(ret, (const char *)&vcpu->cpu->state + in_state[i].offset,
			       sizeof(*ret));
			return true;
		}
	s = find_stored(index, &element);
	if (!s)
		return get_special(vcpu, index, is_host, ret);
	if (is_missing_bank(vcpu, index) || (!is_host && s->guest == GUEST_NEITHER))
		return false;
	*ret = vcpu->msr[element];
	return true;
}

/* KVM synchronizes TSCs that are set to about the same; here they are exact by TSC_OFFSET only. */
static bool set_special(struct vcpu *vcpu, uint32_t index, bool is_host, uint64_t value)
{
	bool ok;

	switch (index) {
	case MSR_TSC:
		vcpu->tsc_offset += value - vcpu_tsc(vcpu);
		return true;
	case MSR_APIC_BASE:
		return vcpu_set_apic_base(vcpu, value, is_host) == 0;
	case MSR_TSC_DEADLINE:
		return !vcpu->lapic || lapic_wrmsr(vcpu->lapic, index, value);
	case MSR_GHCB:
		if (vcpu->vm->sev.es)
			vcpu->cpu->ghcb = value;
		return vcpu->vm->sev.es;
	default:
		ok = is_x2apic(index) && !is_host && vcpu->lapic &&
		     lapic_wrmsr(vcpu->lapic, index, value);
		vcpu_tpr_to_cr8(vcpu);
		return ok;
	}
}

static bool pat_is_valid(uint64_t pat)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned type = pat >> 8 * i & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

static bool is_canonical(const struct vcpu *vcpu, uint64_t address)
{
	unsigned bits = vcpu->cpu->state.cr4 & 1ull << 12 ? 57 : 48;

	return (uint64_t)((int64_t)(address << (64 - bits)) >> (64 - bits)) == address;
}

static bool state_is_valid(const struct vcpu *vcpu, uint32_t index, bool takes_address,
			   uint64_t value)
{
	const uint64_t sce = 1, lme = 1ull << 8, lma = 1ull << 10, nxe = 1ull << 11;

	switch (index) {
	case MSR_PAT:
		return pat_is_valid(value);
	case MSR_EFER:
		return !(value & ~(sce | lme | lma | nxe));
	case MSR_TSC_AUX:
		return value >> 32 == 0;
	default:
		return !takes_address || is_canonical(vcpu, value);
	}
}

static bool set_msr(struct vcpu *vcpu, uint32_t index, bool is_host, uint64_t value)
{
	const struct stored *s;
	unsigned element;

	for (unsigned i = 0; i < ARRAY_SIZE(in_state); i++)
		if (in_state[i].index == index) {
			if ((is_host && vcpu_hides_state(vcpu)) ||
			    !state_is_valid(vcpu, index, in_state[i].is_canonical, value))
				return false;
			memcpy((char *)&vcpu->cpu->state + in_state[i].offset, &value,
			       sizeof(value));
			return true;
		}
	s = find_stored(index, &element);
	if (!s)
		return set_special(vcpu, index, is_host, value);
	if (is_missing_bank(vcpu, index) || value & ~s->mask ||
	    (!is_host && s->guest != GUEST_WRITES))
		return false;
	vcpu->msr[element] = value;
	return true;
}

bool vcpu_rdmsr(struct vcpu *vcpu, uint32_t msr, uint64_t *ret)
{
	return get_msr(vcpu, msr, false, ret);
}

bool vcpu_wrmsr(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	return set_msr(vcpu, msr, false, value);
}

/* KVM_GET_MSRS, KVM_SET_MSRS (api.rst, 4.18 and 4.19): up to the first that fails. */

static int copy_entries(struct call *call, uint64_t arg, struct kvm_msrs *ret_head,
			struct kvm_msr_entry **ret)
{
	int r = call_copy_in(call, ret_head, arg, sizeof(*ret_head));

	if (r < 0)
		return r;
	if (ret_head->nmsrs >= MSRS_MAX)
		return -E2BIG;

	struct kvm_msr_entry *entries = calloc(ret_head->nmsrs + 1, sizeof(entries[0]));

	if (!entries)
		return -ENOMEM;
	if (ret_head->nmsrs > 0)
		r = call_copy_in(call, entries, arg + sizeof(*ret_head),
				 ret_head->nmsrs * sizeof(entries[0]));
	if (r < 0)
		free(entries);
	else
		*ret = entries;
	return r;
}

static long copy_back(struct call *call, uint64_t arg, const struct kvm_msr_entry *entries,
		      uint32_t nmsrs, long n)
{
	int r = nmsrs == 0 ? 0
			   : call_copy_out(call, arg + sizeof(struct kvm_msrs), entries,
					   nmsrs * sizeof(entries[0]));

	return r < 0 ? r : n;
}

static long get_msrs(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	autofree struct kvm_msr_entry *entries = NULL;
	struct kvm_msrs head;
	int r = copy_entries(call, arg, &head, &entries);
	uint32_t n = 0;

	if (r < 0)
		return r;
	while (n < head.nmsrs) {
		uint64_t value;

		if (!get_msr(vcpu, entries[n].index, true, &value))
			break;
		entries[n++].data = value;
	}
	return copy_back(call, arg, entries, head.nmsrs, n);
}

static long set_msrs(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	autofree struct kvm_msr_entry *entries = NULL;
	struct kvm_msrs head;
	int r = copy_entries(call, arg, &head, &entries);
	uint32_t n = 0;

	if (r < 0)
		return r;
	while (n < head.nmsrs && set_msr(vcpu, entries[n].index, true, entries[n].data))
		n++;
	return n;
}

/* On /dev/kvm: those that tell what the host can do. */

long msr_copy_features(struct call *call, uint64_t arg)
{
	autofree struct kvm_msr_entry *entries = NULL;
	struct kvm_msrs head;
	int r = copy_entries(call, arg, &head, &entries);
	uint32_t n = 0;

	if (r < 0)
		return r;
	while (n < head.nmsrs) {
		unsigned element, i = 0;

		while (i < ARRAY_SIZE(features) && features[i] != entries[n].index)
			i++;
		if (i == ARRAY_SIZE(features))
			break;
		entries[n].data = find_stored(entries[n].index, &element)->reset;
		n++;
	}
	return copy_back(call, arg, entries, head.nmsrs, n);
}

/* The number is told even if there is no room. */
static long copy_list(struct call *call, uint64_t arg, const uint32_t *indices, uint32_t n)
{
	struct kvm_msr_list list;
	int r = call_copy_in(call, &list, arg, sizeof(list));
	uint32_t room = list.nmsrs;

	if (r < 0)
		return r;
	list.nmsrs = n;
	if (room < n) {
		r = call_copy_out_now(call, arg, &list, sizeof(list));
		return r < 0 ? r : -E2BIG;
	}
	r = call_copy_out(call, arg, &list, sizeof(list));
	return r < 0 ? r : call_copy_out(call, arg + sizeof(list), indices, n * sizeof(indices[0]));
}

long msr_copy_index_list(struct call *call, uint64_t arg)
{
	return copy_list(call, arg, listed, ARRAY_SIZE(listed));
}

long msr_copy_feature_list(struct call *call, uint64_t arg)
{
	return copy_list(call, arg, features, ARRAY_SIZE(features));
}

/* api.rst, 4.105: all banks report everything. */
long vcpu_setup_mce(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	const uint64_t count = 0xff, has_ctl = 1ull << 8;
	uint64_t cap;
	int r = call_copy_in(call, &cap, arg, sizeof(cap));

	if (r < 0)
		return r;
	if (!(cap & count) || (cap & count) > MCE_BANKS_MAX || cap & ~(MCE_CAP_SUPPORTED | count))
		return -EINVAL;
	vcpu->mcg_cap = cap;
	if (cap & has_ctl)
		(void)set_msr(vcpu, MSR_MCG_CTL, true, ~0ull);
	for (uint32_t bank = 0; bank < (cap & count); bank++)
		(void)set_msr(vcpu, MSR_MC0_CTL + 4 * bank, true, ~0ull);
	return 0;
}

const struct vcpu_ioctl vcpu_msr_ioctls[] = {
	{KVM_GET_MSRS, get_msrs},
	{KVM_SET_MSRS, set_msrs},
	{0},
};
