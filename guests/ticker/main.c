// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of a vCPU up to its loop, and what it does on a timer tick.
 *
 * Options on the command line:
 *	halt		sleep between ticks and count only those
 *	noavx		leave the upper halves of the vector registers alone
 *	say		print a numbered line every few ticks and tell each byte that comes in
 *	off=N		power off by ACPI after N ticks
 *	reboot=N	reset by port 0xcf9 after N ticks
 *	crash=N		triple fault after N ticks
 *	secret=ADDRESS	print the text that the owner of the guest had put there
 */
#include "ticker.h"

#define PM1_CONTROL   0x604
#define SLEEP_S5      (5u << 10)
#define SLEEP_ENABLE  (1u << 13)
#define RESET_CONTROL 0xcf9
#define RESET_NOW     6
#define SAY_EVERY     4	  /* ticks */
#define READ_MOST     16  /* bytes per tick */
#define WAIT_FOR_CPUS 200 /* ticks, if we know how many there are */
#define LOOK_FOR_CPUS 20  /* ticks, if we do not */
#define SECRET_MAX    32

static struct options options;
static bool avx;
static unsigned n_online;
static volatile bool announced; /* the first line of output has been printed */

static _Noreturn void run(unsigned cpu)
{
	volatile struct slot *slot = slot_of(cpu);

	for (unsigned i = 0; i < sizeof(slot->magic); i++)
		slot->magic[i] = (uint8_t) "TICKER01"[i];
	if (options.halt)
		avx ? loop_halt_avx() : loop_halt_sse();
	avx ? loop_avx() : loop_sse();
}

void ap_main(unsigned cpu)
{
	cpu_init(cpu, avx);
	__atomic_add_fetch(&n_online, 1, __ATOMIC_RELEASE);
	run(cpu);
}

static unsigned online(void)
{
	return __atomic_load_n(&n_online, __ATOMIC_ACQUIRE);
}

static void wait_ticks(uint64_t ticks)
{
	uint64_t end = slot_of(0)->ticks + ticks;

	while (slot_of(0)->ticks < end)
		__builtin_ia32_pause();
}

/* The waits are longer than hardware asks for: 10 ms after INIT, 200 us after SIPI. */
static void start_others(void)
{
	uint8_t *trampoline = (uint8_t *)TRAMPOLINE;
	uint64_t cr3;

	for (unsigned i = 0; i < (unsigned)(trampoline_end - trampoline_begin); i++)
		trampoline[i] = trampoline_begin[i];
	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	*(volatile uint32_t *)(trampoline + (trampoline_cr3 - trampoline_begin)) = (uint32_t)cr3;

	lapic_send_init();
	wait_ticks(2);
	lapic_send_startup(TRAMPOLINE >> 12);
	wait_ticks(1);
	lapic_send_startup(TRAMPOLINE >> 12);
}

static void print_secret(const uint8_t *secret)
{
	char text[SECRET_MAX + 1] = "";

	for (unsigned i = 0; i < SECRET_MAX && secret[i]; i++)
		text[i] = secret[i] >= ' ' && secret[i] < 0x7f ? (char)secret[i] : '?';
	serial_print("ticker: secret %s\n", text);
}

void bsp_main(const uint8_t *boot_params, enum confidential kind)
{
	unsigned expected;

	confidential_init(kind);
	expected = firmware_cpus(boot_params);

	firmware_options(boot_params, &options);
	avx = !options.noavx && cpu_has_avx();
	idt_init();
	cpu_init(0, avx);
	n_online = 1;

	__asm__ volatile("sti");
	if (expected != 1)
		start_others();
	while (slot_of(0)->ticks < (expected ? WAIT_FOR_CPUS : LOOK_FOR_CPUS) &&
	       (!expected || online() < expected))
		__builtin_ia32_pause();
	serial_print("ticker: %u cpus, avx %s\n", online(), avx ? "yes" : "no");
	if (options.secret)
		print_secret((const uint8_t *)options.secret);
	announced = true;
	__asm__ volatile("cli");
	run(0);
}

static void talk(uint64_t ticks)
{
	static unsigned sequence;

	if (ticks % SAY_EVERY == 0)
		serial_print("ticker: say %u\n", ++sequence);
	for (unsigned i = 0; i < READ_MOST; i++) {
		int c = serial_read();

		if (c < 0)
			break;
		serial_print("ticker: got %c\n", c);
	}
}

void tick(void)
{
	unsigned cpu = this_cpu();
	uint64_t ticks = ++slot_of(cpu)->ticks;

	lapic_eoi();
	if (cpu)
		return;
	if (options.say && announced)
		talk(ticks);
	if (ticks == options.off)
		out16(PM1_CONTROL, SLEEP_S5 | SLEEP_ENABLE);
	if (ticks == options.reboot)
		out8(RESET_CONTROL, RESET_NOW);
	if (ticks == options.crash)
		triple_fault();
}

/* reg is numbered as in loop.S. */
void mismatch(unsigned reg, uint64_t expected, uint64_t got)
{
	static const char general[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	unsigned cpu = this_cpu();

	slot_of(cpu)->errors++;
	if (reg < 16)
		serial_print("ticker: cpu %u mismatch in %s expected %x got %x\n", cpu,
			     general[reg], expected, got);
	else
		serial_print("ticker: cpu %u mismatch in %s%u[%u] expected %x got %x\n", cpu,
			     avx ? "ymm" : "xmm", (reg - 16) / 4, reg % 4, expected, got);
}

void exception(uint64_t vector, uint64_t error_code, uint64_t rip)
{
	serial_print("ticker: cpu %u exception %x error %x at %x\n", this_cpu(), vector, error_code,
		     rip);
	triple_fault();
}
