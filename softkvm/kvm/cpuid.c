// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model of the CPU: what CPUID offers, in one table, and what becomes of it when the VMM has
 * chosen from it.
 *
 * Only what the interpreter does is offered.  Numbers and bits are of AMD publication 24594 (APM
 * volume 3, appendix E), where sections are named of KVM's documentation.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/cleanup.h"

#define BIT(n) (1u << (n))

/* Family 0x19, model 0x11, stepping 1. */
#define SIGNATURE 0x00a10f11u

/* Four characters as they are in a register. */
#define CHARS(a, b, c, d)                                                                          \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* Leaf 1 */
#define ECX_SSE3     BIT(0)
#define ECX_PCLMUL   BIT(1)
#define ECX_SSSE3    BIT(9)
#define ECX_CX16     BIT(13)
#define ECX_PCID     BIT(17)
#define ECX_SSE41    BIT(19)
#define ECX_SSE42    BIT(20)
#define ECX_X2APIC   BIT(21)
#define ECX_MOVBE    BIT(22)
#define ECX_POPCNT   BIT(23)
#define ECX_DEADLINE BIT(24) /* of the APIC timer; the VMM adds it */
#define ECX_AES	     BIT(25)
#define ECX_XSAVE    BIT(26)
#define ECX_OSXSAVE  BIT(27)
#define ECX_AVX	     BIT(28)
#define ECX_RDRAND   BIT(30)
#define ECX_GUEST    BIT(31)
/* FPU, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, MTRR, PGE, MCA, CMOV, PAT, FXSR; 0x80000001 too */
#define EDX_COMMON                                                                                 \
	(BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(9) |          \
	 BIT(12) | BIT(13) | BIT(14) | BIT(15) | BIT(16) | BIT(24))
#define EDX_SEP	    BIT(11)
#define EDX_CLFLUSH BIT(19)
#define EDX_SSE	    BIT(25)
#define EDX_SSE2    BIT(26)
/* Leaf 7 */
#define EBX_FSGSBASE BIT(0)
#define EBX_BMI1     BIT(3)
#define EBX_AVX2     BIT(5)
#define EBX_SMEP     BIT(7)
#define EBX_BMI2     BIT(8)
#define EBX_ERMS     BIT(9)
#define EBX_RDSEED   BIT(18)
#define EBX_ADX	     BIT(19)
#define EBX_SMAP     BIT(20)
#define ECX_UMIP     BIT(2)
#define ECX_LA57     BIT(16)
/* Leaf 0xd, subleaf 1 */
#define EAX_XSAVEOPT BIT(0)
#define EAX_XSAVEC   BIT(1)
/* Leaf 0x80000001 */
#define ECX_LAHF     BIT(0)
#define ECX_CR8	     BIT(4)
#define ECX_LZCNT    BIT(5)
#define ECX_PREFETCH BIT(8)
#define EDX_SYSCALL  BIT(11)
#define EDX_NX	     BIT(20)
#define EDX_1G	     BIT(26)
#define EDX_RDTSCP   BIT(27)
#define EDX_LM	     BIT(29)
/* Leaf 0x80000007 */
#define EDX_CONSTANT_TSC BIT(8)
/* Leaf 0x80000008: FXRSTOR and XRSTOR restore the error pointers always.  Where they do not, Linux
 * clears them by instructions of the x87 at each switch of tasks. */
#define EBX_ERROR_POINTERS BIT(2)
/* Leaf 0x8000001f */
#define EAX_SEV	   BIT(1)
#define EAX_SEV_ES BIT(3)

#define PHYSICAL_BITS 48u
#define LINEAR_BITS   57u

/* Up to the header, and with the upper halves of YMM (APM volume 2, 11.5.3). */
#define XSAVE_LEN_SSE (512u + 64u)
#define XSAVE_LEN_AVX (XSAVE_LEN_SSE + 256u)
#define XCR0_AVX      4u

#define LEAF_XSAVE	0xdu
#define LEAF_ENCRYPTION 0x8000001fu

#define WITHOUT_SUBLEAF -1

struct row {
	uint32_t leaf;
	int subleaf;
	uint32_t eax, ebx, ecx, edx;
};

#define VENDOR CHARS('A', 'u', 't', 'h'), CHARS('c', 'A', 'M', 'D'), CHARS('e', 'n', 't', 'i')

static const struct row model[] = {
	{0, WITHOUT_SUBLEAF, LEAF_XSAVE, VENDOR},
	/* one CPU; CLFLUSH of 64 bytes */
	{1, WITHOUT_SUBLEAF, SIGNATURE, 1u << 16 | 8u << 8,
	 ECX_SSE3 | ECX_SSSE3 | ECX_CX16 | ECX_PCID | ECX_SSE41 | ECX_SSE42 | ECX_X2APIC |
		 ECX_MOVBE | ECX_POPCNT | ECX_XSAVE | ECX_AVX | ECX_RDRAND | ECX_GUEST,
	 EDX_COMMON | EDX_SEP | EDX_CLFLUSH | EDX_SSE | EDX_SSE2},
	/* the APIC's timer runs always */
	{6, WITHOUT_SUBLEAF, BIT(2), 0, 0, 0},
	{7, 0, 0,
	 EBX_FSGSBASE | EBX_BMI1 | EBX_AVX2 | EBX_SMEP | EBX_BMI2 | EBX_ERMS | EBX_RDSEED |
		 EBX_ADX | EBX_SMAP,
	 ECX_UMIP | ECX_LA57, 0},
	/* topology: one thread; the VMM's to say more */
	{0xb, 0, 0, 1, 1u << 8, 0},
	{LEAF_XSAVE, 0, XCR0_X87_SSE_AVX, XSAVE_LEN_AVX, XSAVE_LEN_AVX, 0},
	{LEAF_XSAVE, 1, EAX_XSAVEOPT | EAX_XSAVEC, 0, 0, 0},
	{LEAF_XSAVE, 2, 256, XSAVE_LEN_SSE, 0, 0},
	/* Documentation/virt/kvm/x86/cpuid.rst: no paravirtual feature */
	{0x40000000, WITHOUT_SUBLEAF, 0x40000001, CHARS('K', 'V', 'M', 'K'),
	 CHARS('V', 'M', 'K', 'V'), CHARS('M', 0, 0, 0)},
	{0x40000001, WITHOUT_SUBLEAF, 0, 0, 0, 0},
	{0x80000000, WITHOUT_SUBLEAF, LEAF_ENCRYPTION, VENDOR},
	{0x80000001, WITHOUT_SUBLEAF, SIGNATURE, 0, ECX_LAHF | ECX_CR8 | ECX_LZCNT | ECX_PREFETCH,
	 EDX_COMMON | EDX_SYSCALL | EDX_NX | EDX_1G | EDX_RDTSCP | EDX_LM},
	{0x80000002, WITHOUT_SUBLEAF, CHARS('s', 'o', 'f', 't'), CHARS('k', 'v', 'm', ' '),
	 CHARS('v', 'i', 'r', 't'), CHARS('u', 'a', 'l', ' ')},
	{0x80000003, WITHOUT_SUBLEAF, CHARS('C', 'P', 'U', 0), 0, 0, 0},
	{0x80000004, WITHOUT_SUBLEAF, 0, 0, 0, 0},
	{0x80000007, WITHOUT_SUBLEAF, 0, 0, 0, EDX_CONSTANT_TSC},
	{0x80000008, WITHOUT_SUBLEAF, LINEAR_BITS << 8 | PHYSICAL_BITS, EBX_ERROR_POINTERS, 0, 0},
};

unsigned cpuid_model(const struct host *host, struct kvm_cpuid_entry2 ret[CPUID_ENTRIES_MAX])
{
	const struct host_config *config = &host->config;
	unsigned n = ARRAY_SIZE(model);

	for (unsigned i = 0; i < n; i++) {
		bool has_subleaf = model[i].subleaf != WITHOUT_SUBLEAF;

		ret[i] = (struct kvm_cpuid_entry2){
			.function = model[i].leaf,
			.index = has_subleaf ? (uint32_t)model[i].subleaf : 0,
			.flags = has_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = model[i].eax,
			.ebx = model[i].ebx,
			.ecx = model[i].ecx,
			.edx = model[i].edx,
		};
	}
	if (!config->sev)
		return n;
	/* 15.34.1: C-bit, by which no address is made shorter, and ASIDs */
	ret[n++] = (struct kvm_cpuid_entry2){
		.function = LEAF_ENCRYPTION,
		.eax = (config->max_asid > 0 ? EAX_SEV : 0) |
		       (config->min_sev_asid > 1 ? EAX_SEV_ES : 0),
		.ebx = C_BIT_POSITION,
		.ecx = config->max_asid,
		.edx = config->min_sev_asid,
	};
	return n;
}

long cpuid_copy_supported(const struct host *host, struct call *call, uint64_t arg)
{
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
	struct kvm_cpuid2 head;
	int r = call_copy_in(call, &head, arg, sizeof(head));

	if (r < 0)
		return r;

	uint32_t n = cpuid_model(host, entries);

	if (head.nent < n)
		return -E2BIG;
	head.nent = n;
	r = call_copy_out(call, arg, &head, sizeof(head));
	return r < 0 ? r : call_copy_out(call, arg + sizeof(head), entries, n * sizeof(entries[0]));
}

/* A vCPU's. */

static struct kvm_cpuid_entry2 *find(const struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf)
{
	for (unsigned i = 0; i < vcpu->n_cpuid; i++) {
		struct kvm_cpuid_entry2 *e = &vcpu->cpuid[i];

		if (e->function == leaf &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf))
			return e;
	}
	return NULL;
}

/* What depends on registers: OSXSAVE, whether there is an APIC, the size of the XSAVE area. */
static void make_current(const struct vcpu *vcpu, struct kvm_cpuid_entry2 *e)
{
	const struct cpu_state *state = &vcpu->cpu->state;
	const uint64_t cr4_osxsave = 1ull << 18, apic_enabled = 1ull << 11;
	const uint32_t edx_apic = BIT(9);

	if (e->function == 1) {
		e->ecx = state->cr4 & cr4_osxsave ? e->ecx | ECX_OSXSAVE : e->ecx & ~ECX_OSXSAVE;
		if (!(vcpu_get_apic_base(vcpu) & apic_enabled))
			e->edx &= ~edx_apic;
	} else if (e->function == LEAF_XSAVE && e->index == 0 && e->eax) {
		e->ebx = state->xcr0 & XCR0_AVX ? XSAVE_LEN_AVX : XSAVE_LEN_SSE;
	}
}

void vcpu_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	const struct kvm_cpuid_entry2 *found = find(vcpu, leaf, subleaf);
	struct kvm_cpuid_entry2 e = {0};

	/* Of a leaf beyond the last, AMD's have zeroes. */
	if (found) {
		e = *found;
		make_current(vcpu, &e);
	}
	ret[0] = e.eax;
	ret[1] = e.ebx;
	ret[2] = e.ecx;
	ret[3] = e.edx;
}

/* A VMM that sets no CPUID has the whole CPU: many small ones do, and hardware lets them. */
void vcpu_update_features(struct vcpu *vcpu)
{
	const struct kvm_cpuid_entry2 none = {0};
	const struct kvm_cpuid_entry2 *e1 = find(vcpu, 1, 0), *e7 = find(vcpu, 7, 0);
	const struct kvm_cpuid_entry2 *e81 = find(vcpu, 0x80000001, 0);
	const struct kvm_cpuid_entry2 *exs = find(vcpu, LEAF_XSAVE, 1);
	const struct kvm_cpuid_entry2 *e88 = find(vcpu, 0x80000008, 0);
	struct cpu_features *f = &vcpu->cpu->features;

	if (vcpu->n_cpuid == 0) {
		*f = (struct cpu_features){
			.physical_bits = PHYSICAL_BITS,
			.nx = true,
			.la57 = true,
			.gb_pages = true,
			.pcid = true,
			.smep = true,
			.smap = true,
			.fsgsbase = true,
			.umip = true,
			.rdtscp = true,
			.xsave = true,
			.avx = true,
			.avx2 = true,
			.sse3 = true,
			.ssse3 = true,
			.sse41 = true,
			.sse42 = true,
			.xsaveopt = true,
			.xsavec = true,
		};
		return;
	}
	e1 = e1 ? e1 : &none;
	e7 = e7 ? e7 : &none;
	e81 = e81 ? e81 : &none;
	exs = exs ? exs : &none;

	uint32_t bits = e88 ? e88->eax & 0xff : 36; /* KVM's default, cpuid_query_maxphyaddr() */

	*f = (struct cpu_features){
		.physical_bits = (uint8_t)(bits < 32   ? 32
					   : bits > 52 ? 52
						       : bits),
		.nx = e81->edx & EDX_NX,
		.la57 = e7->ecx & ECX_LA57,
		.gb_pages = e81->edx & EDX_1G,
		.pcid = e1->ecx & ECX_PCID,
		.smep = e7->ebx & EBX_SMEP,
		.smap = e7->ebx & EBX_SMAP,
		.fsgsbase = e7->ebx & EBX_FSGSBASE,
		.umip = e7->ecx & ECX_UMIP,
		.rdtscp = e81->edx & EDX_RDTSCP,
		.xsave = e1->ecx & ECX_XSAVE,
		.avx = e1->ecx & ECX_AVX,
		.avx2 = e7->ebx & EBX_AVX2,
		.sse3 = e1->ecx & ECX_SSE3,
		.ssse3 = e1->ecx & ECX_SSSE3,
		.sse41 = e1->ecx & ECX_SSE41,
		.sse42 = e1->ecx & ECX_SSE42,
		.aes = e1->ecx & ECX_AES,
		.pclmulqdq = e1->ecx & ECX_PCLMUL,
		.xsaveopt = exs->eax & EAX_XSAVEOPT,
		.xsavec = exs->eax & EAX_XSAVEC,
	};
	if (vcpu->lapic) {
		const struct lapic_features lapic = {
			.physical_bits = f->physical_bits,
			.x2apic = e1->ecx & ECX_X2APIC,
			.tsc_deadline = e1->ecx & ECX_DEADLINE,
		};

		lapic_set_features(vcpu->lapic, &lapic);
	}
}

/* The C-bit is no address bit of an SEV guest's. */
uint64_t vcpu_reserved_gpa_bits(const struct vcpu *vcpu)
{
	uint64_t reserved = ~0ull << vcpu->cpu->features.physical_bits;

	return vcpu->vm->sev.active ? reserved & ~C_BIT : reserved;
}

uint64_t vcpu_allowed_cr4(const struct vcpu *vcpu)
{
	const struct cpu_features *f = &vcpu->cpu->features;
	/* VME to MCE, PGE, PCE, OSFXSR, OSXMMEXCPT: bits 0 to 10 */
	uint64_t allowed = 0x7ff;

	allowed |= f->umip ? 1ull << 11 : 0;
	allowed |= f->la57 ? 1ull << 12 : 0;
	allowed |= f->fsgsbase ? 1ull << 16 : 0;
	allowed |= f->pcid ? 1ull << 17 : 0;
	allowed |= f->xsave ? 1ull << 18 : 0;
	allowed |= f->smep ? 1ull << 20 : 0;
	allowed |= f->smap ? 1ull << 21 : 0;
	return allowed;
}

/* After KVM_RUN a table must say the same, but for what depends on registers. */
static bool is_same(const struct vcpu *vcpu, const struct kvm_cpuid_entry2 *entries, unsigned n)
{
	for (unsigned i = 0; i < n && n == vcpu->n_cpuid; i++) {
		struct kvm_cpuid_entry2 a = vcpu->cpuid[i], b = entries[i];

		make_current(vcpu, &a);
		make_current(vcpu, &b);
		if (memcmp(&a, &b, sizeof(a)) != 0)
			return false;
	}
	return n == vcpu->n_cpuid;
}

static long set_cpuid2(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_cpuid2 head;
	int r = call_copy_in(call, &head, arg, sizeof(head));

	if (r < 0)
		return r;
	if (head.nent > CPUID_ENTRIES_MAX)
		return -E2BIG;

	size_t size = head.nent * sizeof(vcpu->cpuid[0]);
	autofree struct kvm_cpuid_entry2 *entries = malloc(size ? size : 1);

	if (!entries)
		return -ENOMEM;
	if (size)
		r = call_copy_in(call, entries, arg + sizeof(head), size);
	if (r < 0)
		return r;
	if (vcpu->has_run)
		return is_same(vcpu, entries, head.nent) ? 0 : -EINVAL;
	free(vcpu->cpuid);
	vcpu->cpuid = steal_ptr(entries);
	vcpu->n_cpuid = head.nent;
	vcpu_update_features(vcpu);
	return 0;
}

static long get_cpuid2(struct vcpu *vcpu, struct call *call, uint64_t arg)
{
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
	struct kvm_cpuid2 head;
	int r = call_copy_in(call, &head, arg, sizeof(head));

	if (r < 0)
		return r;
	if (head.nent < vcpu->n_cpuid)
		return -E2BIG;
	for (unsigned i = 0; i < vcpu->n_cpuid; i++) {
		entries[i] = vcpu->cpuid[i];
		make_current(vcpu, &entries[i]);
	}
	head.nent = vcpu->n_cpuid;
	r = call_copy_out(call, arg, &head, sizeof(head));
	return r < 0 || head.nent == 0 ? r
				       : call_copy_out(call, arg + sizeof(head), entries,
						       head.nent * sizeof(entries[0]));
}

const struct vcpu_ioctl vcpu_cpuid_ioctls[] = {
	{KVM_SET_CPUID2, set_cpuid2},
	{KVM_GET_CPUID2, get_cpuid2},
	{0},
};
