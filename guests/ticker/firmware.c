// SPDX-License-Identifier: GPL-2.0-or-later
/* What the loader left in memory: the command line and the ACPI tables. */
#include "ticker.h"

#define BOOT_PARAMS_RSDP    0x070
#define BOOT_PARAMS_CMDLINE 0x228
#define RSDP_XSDT	    24
#define TABLE_LENGTH	    4
#define TABLE_HEADER	    36
#define MADT_ENTRIES	    44
#define MADT_LAPIC	    0
#define LAPIC_FLAGS	    4

static uint32_t read32(const uint8_t *p)
{
	return *(const uint32_t *)p;
}

static const uint8_t *pointer_at(const uint8_t *p)
{
	return (const uint8_t *)(uintptr_t)(read32(p) | (uint64_t)read32(p + 4) << 32);
}

/* If `word` begins with `name` and its end or '=' follows, return what is behind that. */
static const char *match(const char *word, const char *name)
{
	while (*name && *word == *name)
		word++, name++;
	if (*name || (*word && *word != ' ' && *word != '='))
		return NULL;
	return *word == '=' ? word + 1 : word;
}

/* Decimal, or hexadecimal behind 0x. */
static uint64_t number(const char *p)
{
	unsigned base = p[0] == '0' && p[1] == 'x' ? 16 : 10;
	uint64_t value = 0;

	for (p += base == 16 ? 2 : 0;; p++) {
		if (*p >= '0' && *p <= '9')
			value = base * value + (uint64_t)(*p - '0');
		else if (base == 16 && *p >= 'a' && *p <= 'f')
			value = base * value + (uint64_t)(*p - 'a' + 10);
		else
			return value;
	}
}

void firmware_options(const uint8_t *boot_params, struct options *ret)
{
	const char *word = (const char *)(uintptr_t)read32(boot_params + BOOT_PARAMS_CMDLINE);
	const char *value;

	*ret = (struct options){0};
	while (word && *word) {
		if (match(word, "halt"))
			ret->halt = true;
		else if (match(word, "noavx"))
			ret->noavx = true;
		else if (match(word, "say"))
			ret->say = true;
		else if ((value = match(word, "off")))
			ret->off = number(value);
		else if ((value = match(word, "reboot")))
			ret->reboot = number(value);
		else if ((value = match(word, "crash")))
			ret->crash = number(value);
		else if ((value = match(word, "secret")))
			ret->secret = number(value);
		while (*word && *word != ' ')
			word++;
		while (*word == ' ')
			word++;
	}
}

static unsigned madt_cpus(const uint8_t *madt)
{
	const uint8_t *end = madt + read32(madt + TABLE_LENGTH);
	unsigned cpus = 0;

	for (const uint8_t *entry = madt + MADT_ENTRIES; entry < end && entry[1]; entry += entry[1])
		if (entry[0] == MADT_LAPIC && (read32(entry + LAPIC_FLAGS) & 1))
			cpus++;
	return cpus;
}

unsigned firmware_cpus(const uint8_t *boot_params)
{
	const uint8_t *rsdp = pointer_at(boot_params + BOOT_PARAMS_RSDP);
	const uint8_t *xsdt, *end;

	if (!rsdp)
		return 0;
	xsdt = pointer_at(rsdp + RSDP_XSDT);
	end = xsdt + read32(xsdt + TABLE_LENGTH);
	for (const uint8_t *entry = xsdt + TABLE_HEADER; entry < end; entry += 8) {
		const uint8_t *table = pointer_at(entry);

		if (table[0] == 'A' && table[1] == 'P' && table[2] == 'I' && table[3] == 'C')
			return madt_cpus(table);
	}
	return 0;
}
