// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The interpreter: code, memory, page tables and registers in all modes, with and without
 * encryption and #VC.
 *
 * Each input is run twice: at once, with an answer to every access; and one instruction at a time,
 * where every access is left pending first, so that the instruction is done anew.  The outcome must
 * be the same, unless an instruction that was left pending had stored something (docs/fidelity.md
 * says when).  Pages lie apart from each other, so that an access behind one does not go unnoticed.
 */
#include <stdlib.h>
#include <sys/random.h>

#include "input.h"
#include "softkvm/cpu/internal.h"

#define PAGES	     16u
#define INSTRUCTIONS 256u
#define STOPS_MAX    16u /* that are not the end */
#define C_BIT	     (1ull << 47)
#define MMIO	     0xc0000000ull

/* Pages, and what is in them to begin with. */
enum { VECTORS, GDT, IDT, TSS, TABLES, CODE = TABLES + 4, STACK = CODE + 2 };
enum { CODE_SELECTOR = 8, DATA_SELECTOR = 16, USER_CODE = 24, USER_DATA = 32, TSS_SELECTOR = 40 };
#define ADDRESS(page) ((page)*4096ull)

enum mode { REAL, PROTECTED_16, PROTECTED_32, PAGING_32, PAGING_PAE, COMPATIBILITY, LONG, MODES };

struct guest {
	struct cpu *cpu;
	uint8_t *page[2][PAGES]; /* without, with encryption */
	bool is_stubborn;	 /* leaves accesses pending */
	unsigned n_accesses, n_allowed;
	unsigned n_stores;
	bool is_watched;
	bool has_left_stores; /* an instruction that was pending, if it is watched */
};

/* In place of libc's: no two runs are the same with random numbers. */
ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	memset(buf, 0x5a, len);
	return (ssize_t)len;
}

static void check(bool is_good)
{
	if (!is_good)
		abort();
}

static void find_page(void *opaque, uint64_t gpa, bool encrypted, struct cpu_page *ret)
{
	struct guest *guest = opaque;

	check(gpa % 4096 == 0);
	*ret = (struct cpu_page){0};
	if (gpa / 4096 < PAGES) {
		ret->data = guest->page[encrypted][gpa / 4096];
		ret->read_only = gpa / 4096 == PAGES - 1;
		ret->guard = encrypted ? guest : NULL;
	}
}

static void begin_store(void *opaque, const struct cpu_page *page)
{
	struct guest *guest = opaque;

	check(page->guard == guest && guest->n_stores++ == 0);
}

static void end_store(void *opaque, const struct cpu_page *page, unsigned offset, unsigned len)
{
	struct guest *guest = opaque;

	check(page->guard == guest && --guest->n_stores == 0);
	check(offset <= 4096 && len <= 4096 - offset);
}

/* The nth access of an instruction is answered at the (n + 1)th attempt. */
static bool is_answered(struct guest *guest)
{
	return !guest->is_stubborn || guest->n_accesses++ < guest->n_allowed;
}

static bool mmio_read(void *opaque, uint64_t gpa, unsigned len, void *ret)
{
	check(len >= 1 && gpa % 8 + len <= 8);
	memset(ret, (int)(gpa * 7), len);
	return is_answered(opaque);
}

static bool mmio_write(void *opaque, uint64_t gpa, unsigned len, const void *data)
{
	(void)data;
	check(len >= 1 && gpa % 8 + len <= 8);
	return is_answered(opaque);
}

static bool pio_in(void *opaque, uint16_t port, unsigned size, uint32_t *ret)
{
	check(size == 1 || size == 2 || size == 4);
	*ret = port * 0x01010101u;
	return is_answered(opaque);
}

static bool pio_out(void *opaque, uint16_t port, unsigned size, uint32_t value)
{
	(void)port, (void)value;
	check(size == 1 || size == 2 || size == 4);
	return is_answered(opaque);
}

static bool rdmsr(void *opaque, uint32_t msr, uint64_t *ret)
{
	(void)opaque;
	*ret = msr * 3;
	return msr % 2;
}

static bool wrmsr(void *opaque, uint32_t msr, uint64_t value)
{
	(void)opaque, (void)value;
	return msr % 2;
}

static void cpuid(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	(void)opaque;
	for (unsigned i = 0; i < 4; i++)
		ret[i] = leaf == 0xd && i == 0 ? 7 : leaf + subleaf;
}

static uint64_t tsc(void *opaque)
{
	(void)opaque;
	return 0x123456789;
}

static void control_written(void *opaque)
{
	(void)opaque;
}

static const struct cpu_ops ops = {
	.page = find_page,
	.begin_store = begin_store,
	.end_store = end_store,
	.mmio_read = mmio_read,
	.mmio_write = mmio_write,
	.pio_in = pio_in,
	.pio_out = pio_out,
	.rdmsr = rdmsr,
	.wrmsr = wrmsr,
	.cpuid = cpuid,
	.tsc = tsc,
	.control_written = control_written,
};

static void put(struct guest *guest, uint64_t gpa, const void *data, size_t len)
{
	for (unsigned i = 0; i < 2; i++)
		memcpy(guest->page[i][gpa / 4096] + gpa % 4096, data, len);
}

static void put64(struct guest *guest, uint64_t gpa, uint64_t value)
{
	put(guest, gpa, &value, sizeof(value));
}

/* The first 64 KiB as they are, behind them MMIO; `above` is set in all entries. */
static void make_tables(struct guest *guest, enum mode mode, uint64_t above)
{
	const uint64_t flags = above | 7, last = ADDRESS(TABLES + 3);
	unsigned size = mode == PAGING_32 ? 4 : 8;

	if (mode == PAGING_32) {
		put64(guest, ADDRESS(TABLES), last | flags);
	} else {
		put64(guest, ADDRESS(TABLES),
		      ADDRESS(TABLES + 1) | (mode == PAGING_PAE ? 1 : flags));
		put64(guest, ADDRESS(TABLES + 1),
		      mode == PAGING_PAE ? last | flags : ADDRESS(TABLES + 2) | flags);
		put64(guest, ADDRESS(TABLES + 2), last | flags);
	}
	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t entry = ADDRESS(i) | flags;

		put(guest, last + i * size, &entry, size);
	}
	for (unsigned i = PAGES; i < PAGES + 2; i++) {
		uint64_t entry = (MMIO + 4096 * i) | flags;

		put(guest, last + i * size, &entry, size);
	}
}

/* All interrupts lead to HLT, at the end of the stack's page. */
static void make_vectors(struct guest *guest, enum mode mode)
{
	const uint64_t handler = ADDRESS(STACK) + 0xff0;
	const uint64_t gate = (handler & 0xffff) | CODE_SELECTOR << 16 | 0x8e0000000000;
	static const uint8_t hlt = 0xf4;

	put(guest, handler, &hlt, 1);
	for (unsigned i = 0; i < 256; i++) {
		uint32_t real = (uint32_t)handler;

		put(guest, ADDRESS(VECTORS) + 4 * i, &real, sizeof(real));
		put64(guest, ADDRESS(IDT) + (mode >= COMPATIBILITY ? 16 : 8) * i, gate);
	}
}

static void make_segments(struct guest *guest, enum mode mode, bool is_user)
{
	struct cpu_state *state = &guest->cpu->state;
	bool is_long = mode == LONG, is_16 = mode <= PROTECTED_16;
	/* L and D of a code segment, B of data; 0x13 and 0x1b: data, code, accessed. */
	uint64_t size = is_16 ? 0 : 1ull << 54, code_size = is_long ? 1ull << 53 : size;
	uint64_t flat = 0x008f90000000ffff;
	const uint64_t gdt[] = {
		0,
		flat | code_size | 11ull << 40,
		flat | size | 3ull << 40,
		flat | code_size | (11ull | 3 << 5) << 40,
		flat | size | (3ull | 3 << 5) << 40,
		0x0000890000000067 | ADDRESS(TSS) << 16,
		0,
	};

	put(guest, ADDRESS(GDT), gdt, sizeof(gdt));
	put64(guest, ADDRESS(TSS) + 4, ADDRESS(STACK) + 0x800);
	state->gdtr = (struct cpu_table){ADDRESS(GDT), sizeof(gdt) - 1};
	state->idtr = (struct cpu_table){mode == REAL ? 0 : ADDRESS(IDT), 0xfff};
	state->tr = (struct cpu_segment){TSS_SELECTOR, 0x8b, 0x67, ADDRESS(TSS)};
	state->cpl = is_user ? 3 : 0;
	for (unsigned i = 0; i < CPU_SEGMENTS; i++) {
		uint16_t selector = i == CS ? CODE_SELECTOR : DATA_SELECTOR;
		uint64_t descriptor = gdt[(selector + (is_user ? 16 : 0)) / 8];

		state->segment[i] = (struct cpu_segment){
			.selector = is_user ? (selector + 16) | 3 : selector,
			.attributes = (descriptor >> 40 & 0xff) | (descriptor >> 44 & 0xf00),
			.limit = UINT32_MAX,
		};
		if (mode == REAL)
			state->segment[i] =
				(struct cpu_segment){0, i == CS ? 0x9b : 0x93, 0xffff, 0};
	}
}

static void set_mode(struct guest *guest, enum mode mode, bool is_user, uint64_t c_bit)
{
	struct cpu_state *state = &guest->cpu->state;

	make_tables(guest, mode, mode >= PAGING_PAE ? c_bit : 0);
	make_vectors(guest, mode);
	make_segments(guest, mode, is_user && mode != REAL);
	state->cr0 = 0x10 | (mode > REAL ? CR0_PE : 0) | (mode >= PAGING_32 ? CR0_PG | CR0_WP : 0);
	state->cr3 = ADDRESS(TABLES);
	state->cr4 = CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT | (mode >= PAGING_PAE ? CR4_PAE : 0);
	state->efer = mode >= COMPATIBILITY ? EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE : 0;
	state->xcr0 = 7;
	state->rip = ADDRESS(CODE);
	state->gpr[RSP] = ADDRESS(STACK) + 0x700;
}

/* What distinguishes inputs from each other beside code. */
static void set_state(struct guest *guest, struct input *in)
{
	static const uint64_t cr4_of_any_mode = CR4_TSD | CR4_DE | CR4_PSE | CR4_PGE | CR4_OSFXSR |
						CR4_UMIP | CR4_FSGSBASE | CR4_SMEP | CR4_SMAP |
						CR4_PKE | CR4_OSXSAVE | CR4_OSXMMEXCPT;
	struct cpu_state *state = &guest->cpu->state;
	unsigned n = input_u8(in) % 8;

	state->rflags = 2 | (input_u32(in) & 0x257dd5);
	if (!(state->cr0 & CR0_PE) || is_long_mode(guest->cpu))
		state->rflags &= ~FLAG_VM;
	state->cr0 ^= input_u8(in) & (CR0_MP | CR0_EM | CR0_TS | CR0_NE);
	state->cr4 ^= input_u32(in) & cr4_of_any_mode;
	for (unsigned i = 0; i < n; i++)
		state->gpr[input_u8(in) % 16] = input_u64(in);
}

/* Of memory: page and view, offset, bytes. */
static void patch(struct guest *guest, struct input *in)
{
	uint8_t where = input_u8(in);
	uint16_t offset = input_u16(in) % 4096;
	struct input bytes = input_part(in, input_u8(in) % 64);

	if (bytes.left > 4096u - offset)
		bytes.left = 4096u - offset;
	if (bytes.left > 0)
		memcpy(guest->page[where / PAGES % 2][where % PAGES] + offset, bytes.at,
		       bytes.left);
}

static void set_up(struct guest *guest, struct input in)
{
	uint8_t mode = input_u8(&in), flags = input_u8(&in);
	struct cpu *cpu = cpu_new(&ops, guest);

	check(cpu != NULL);
	guest->cpu = cpu;
	for (unsigned i = 0; i < 2 * PAGES; i++)
		memset(guest->page[i / PAGES][i % PAGES], 0, 4096);
	cpu->c_bit = flags & 1 ? C_BIT : 0;
	cpu->es = flags & 2;
	cpu->window_wanted = flags & 8;
	cpu->features = (struct cpu_features){
		.physical_bits = flags & 0x10 ? 40 : 48,
		.nx = true,
		.la57 = flags & 0x20,
		.gb_pages = true,
		.pcid = true,
		.smep = true,
		.smap = true,
		.pku = true,
		.fsgsbase = true,
		.umip = true,
		.rdtscp = true,
		.xsave = true,
		.avx = true,
		.avx2 = !(flags & 0x40),
		.sse3 = true,
		.ssse3 = true,
		.sse41 = true,
		.sse42 = true,
		.aes = true,
		.pclmulqdq = true,
		.xsaveopt = true,
		.xsavec = true,
	};
	set_mode(guest, mode % MODES, flags & 4, cpu->c_bit);
	set_state(guest, &in);
	while (mode & 0x80 && in.left > 0 && input_u8(&in) < 0x80)
		patch(guest, &in);
	for (unsigned at = 0; in.left > 0 && at < 2 * 4096; at += 64) {
		struct input bytes = input_part(&in, 64);

		put(guest, ADDRESS(CODE) + at, bytes.at, bytes.left);
	}
	cpu_flush(cpu);
}

/* What the machine around does when the CPU stops; false: that was the end. */
static bool go_on(struct guest *guest, enum cpu_stop stop)
{
	struct cpu *cpu = guest->cpu;

	switch (stop) {
	case CPU_STOP_HALT:
	case CPU_STOP_WINDOW:
		cpu->window_wanted = false;
		if (!cpu_can_interrupt(cpu) && !cpu_can_nmi(cpu))
			return false;
		cpu->state.halted = false;
		if (cpu_can_interrupt(cpu))
			cpu_interrupt(cpu, 0x20);
		else
			cpu_nmi(cpu);
		return true;
	case CPU_STOP_VMMCALL:
	case CPU_STOP_VMGEXIT:
	case CPU_STOP_TRAP:
		return true;
	case CPU_STOP_PENDING:
		check(guest->is_stubborn);
		return true;
	case CPU_STOP_SHUTDOWN:
	case CPU_STOP_UNKNOWN:
	case CPU_STOP_BUDGET:
	case CPU_STOP_ATTENTION:
	case CPU_STOP_DEBUG:
		return false;
	}
	abort();
}

struct snapshot {
	uint64_t gpr[16];
	uint8_t page[2][PAGES][4096];
};

static void take_snapshot(const struct guest *guest, struct snapshot *ret)
{
	memcpy(ret->gpr, guest->cpu->state.gpr, sizeof(ret->gpr));
	for (unsigned i = 0; i < 2 * PAGES; i++)
		memcpy(ret->page[i / PAGES][i % PAGES], guest->page[i / PAGES][i % PAGES], 4096);
}

/* Is anything stored but A and D, of an instruction that has not told how far it came? */
static bool has_stored(const struct guest *guest, const struct snapshot *before)
{
	if (memcmp(before->gpr, guest->cpu->state.gpr, sizeof(before->gpr)) != 0)
		return false;
	for (unsigned i = 0; i < 2 * PAGES; i++)
		for (unsigned at = 0; at < 4096; at++)
			if ((before->page[i / PAGES][i % PAGES][at] ^
			     guest->page[i / PAGES][i % PAGES][at]) &
			    ~0x60)
				return true;
	return false;
}

static void run(struct guest *guest, uint64_t at_once)
{
	static struct snapshot at_start;
	struct cpu *cpu = guest->cpu;
	unsigned n_stops = 0;

	/* An exception whose delivery is pending belongs to the last instruction. */
	while ((cpu->instructions < INSTRUCTIONS || cpu->state.exception.pending) &&
	       n_stops < STOPS_MAX) {
		uint64_t before = cpu->instructions, left = INSTRUCTIONS - before;
		enum cpu_stop stop;

		if (guest->is_watched)
			take_snapshot(guest, &at_start);
		stop = cpu_run(cpu, left < at_once ? left : at_once);
		if (guest->is_watched && stop == CPU_STOP_PENDING)
			guest->has_left_stores |= has_stored(guest, &at_start);
		check(guest->n_stores == 0 && cpu->instructions - before <= at_once);
		guest->n_accesses = 0;
		guest->n_allowed = stop == CPU_STOP_PENDING ? guest->n_allowed + 1 : 0;
		if (stop == CPU_STOP_BUDGET || stop == CPU_STOP_PENDING)
			continue;
		if (!go_on(guest, stop))
			break;
		n_stops++;
	}
}

/* What KVM asks of a CPU that does not run. */
static void ask(struct cpu *cpu)
{
	uint8_t area[4096];
	uint64_t gpa;
	bool writable, user;

	(void)cpu_translate(cpu, cpu->state.rip, &gpa, &writable, &user);
	(void)cpu_translate(cpu, cpu->state.gpr[RAX], &gpa, &writable, &user);
	memset(area, 0, sizeof(area));
	cpu_get_xsave(&cpu->state, 7, area, sizeof(area));
	(void)cpu_set_xsave(&cpu->state, 7, area, sizeof(area));
}

static void allocate(struct guest *guest)
{
	for (unsigned i = 0; i < 2 * PAGES && !guest->page[i / PAGES][i % PAGES]; i++)
		guest->page[i / PAGES][i % PAGES] = aligned_alloc(4096, 4096);
}

static void run_all(struct guest *guest, const uint8_t *data, size_t size)
{
	allocate(guest);
	set_up(guest, (struct input){data, size});
	run(guest, guest->is_stubborn ? 1 : INSTRUCTIONS);
	/* What is left of an exception that has been delivered. */
	if (!guest->cpu->state.exception.pending)
		memset(&guest->cpu->state.exception, 0, sizeof(struct cpu_exception));
}

static bool is_same(const struct guest *a, const struct guest *b)
{
	if (a->cpu->instructions != b->cpu->instructions ||
	    memcmp(&a->cpu->state, &b->cpu->state, sizeof(a->cpu->state)) != 0)
		return false;
	for (unsigned i = 0; i < 2 * PAGES; i++)
		if (memcmp(a->page[i / PAGES][i % PAGES], b->page[i / PAGES][i % PAGES], 4096) != 0)
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guest quick, stubborn = {.is_stubborn = true};

	run_all(&quick, data, size);
	stubborn.is_watched = stubborn.has_left_stores = false;
	run_all(&stubborn, data, size);
	if (!is_same(&quick, &stubborn)) {
		stubborn.cpu = cpu_free(stubborn.cpu);
		stubborn.is_watched = true;
		stubborn.n_accesses = stubborn.n_allowed = 0;
		run_all(&stubborn, data, size);
		check(stubborn.has_left_stores);
	}
	ask(quick.cpu);
	ask(stubborn.cpu);
	quick.cpu = cpu_free(quick.cpu);
	stubborn.cpu = cpu_free(stubborn.cpu);
	return 0;
}
