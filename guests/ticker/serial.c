// SPDX-License-Identifier: GPL-2.0-or-later
/* Console on the first serial port, by polling. */
#include <stdarg.h>

#include "ticker.h"

#define PORT		  0x3f8
#define LINE_STATUS	  (PORT + 5)
#define DATA_READY	  (1u << 0)
#define TRANSMITTER_EMPTY (1u << 5)
#define RFLAGS_IF	  (1u << 9)

static bool locked;

/* Interrupts stay off while the lock is held: the timer's handler prints too. */
static bool lock(void)
{
	uint64_t flags;

	__asm__ volatile("pushf; pop %0; cli" : "=r"(flags) : : "memory");
	while (__atomic_test_and_set(&locked, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
	return flags & RFLAGS_IF;
}

static void unlock(bool interrupts_on)
{
	__atomic_clear(&locked, __ATOMIC_RELEASE);
	if (interrupts_on)
		__asm__ volatile("sti" : : : "memory");
}

static void put(char c)
{
	while (!(in8(LINE_STATUS) & TRANSMITTER_EMPTY))
		__builtin_ia32_pause();
	out8(PORT, (uint8_t)c);
}

static void put_number(uint64_t value, unsigned base)
{
	char digits[20];
	unsigned n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n)
		put(digits[--n]);
}

void serial_print(const char *format, ...)
{
	bool interrupts_on = lock();
	va_list ap;

	va_start(ap, format);
	for (const char *p = format; *p; p++) {
		if (*p != '%') {
			put(*p);
			continue;
		}
		switch (*++p) {
		case 'u':
			put_number(va_arg(ap, unsigned), 10);
			break;
		case 'x':
			put_number(va_arg(ap, uint64_t), 16);
			break;
		case 'c':
			put((char)va_arg(ap, int));
			break;
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(*s);
			break;
		}
	}
	va_end(ap);
	unlock(interrupts_on);
}

int serial_read(void)
{
	return in8(LINE_STATUS) & DATA_READY ? in8(PORT) : -1;
}
