// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ACPI tables: checksums and contents as a guest finds them, and a round trip through iasl,
 * which reports what it does not understand.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/cleanup.h"
#include "vmm/boot/boot.h"
#include "vmm/layout.h"

#define RAM_SIZE   (2ULL << 20)
#define HEADER_LEN 36U

static struct vmm_memory memory;
static char directory[] = "/tmp/test_acpi.XXXXXX";

static int setup(void **state)
{
	void *hva =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (hva == MAP_FAILED || !mkdtemp(directory))
		return -1;
	memory = (struct vmm_memory){.n_regions = 1, .region = {{0, RAM_SIZE, hva, -1}}};
	return 0;
}

static int teardown(void **state)
{
	char command[100];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command) ?: munmap(memory.region[0].hva, RAM_SIZE);
}

static uint64_t get(const uint8_t *at, unsigned len)
{
	uint64_t value = 0;

	memcpy(&value, at, len);
	return value;
}

static void assert_sum_is_zero(const uint8_t *at, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += at[i];
	assert_int_equal(sum, 0);
}

static const uint8_t *rsdp(void)
{
	return vmm_memory_at(&memory, LAYOUT_ACPI, HEADER_LEN);
}

/* A table at a guest-physical address, after the checks that hold for every table. */
static const uint8_t *table_at(uint64_t gpa, const char *signature, size_t *ret_len)
{
	const uint8_t *table = vmm_memory_at(&memory, gpa, HEADER_LEN);

	assert_in_range(gpa, LAYOUT_ACPI, LAYOUT_ACPI_END - HEADER_LEN);
	assert_memory_equal(table, signature, 4);
	*ret_len = get(table + 4, 4);
	assert_in_range(*ret_len, HEADER_LEN, LAYOUT_ACPI_END - gpa);
	assert_sum_is_zero(table, *ret_len);
	return table;
}

static const uint8_t *find_table(const char *signature, size_t *ret_len)
{
	const uint8_t *xsdt = table_at(get(rsdp() + 24, 8), "XSDT", ret_len);

	for (const uint8_t *p = xsdt + HEADER_LEN; p < xsdt + get(xsdt + 4, 4); p += 8) {
		const uint8_t *table = vmm_memory_at(&memory, get(p, 8), HEADER_LEN);

		if (memcmp(table, signature, 4) == 0)
			return table_at(get(p, 8), signature, ret_len);
	}
	fail_msg("no table %s", signature);
	return NULL;
}

static const uint8_t *find_dsdt(size_t *ret_len)
{
	size_t len;

	return table_at(get(find_table("FACP", &len) + 140, 8), "DSDT", ret_len);
}

static void rsdp_is_valid(void **state)
{
	(void)state;
	assert_int_equal(acpi_write_tables(&memory, 2), 0);
	assert_memory_equal(rsdp(), "RSD PTR ", 8);
	assert_int_equal(rsdp()[15], 2);
	assert_int_equal(get(rsdp() + 20, 4), 36);
	assert_sum_is_zero(rsdp(), 20);
	assert_sum_is_zero(rsdp(), 36);
}

static void fadt_describes_the_machine(void **state)
{
	const uint8_t *fadt, *facs, *dsdt;
	size_t len;

	(void)state;
	assert_int_equal(acpi_write_tables(&memory, 1), 0);
	fadt = find_table("FACP", &len);
	assert_int_equal(len, 276);
	assert_int_equal(fadt[8], 6);
	assert_int_equal(get(fadt + 46, 2), LAYOUT_SCI_GSI);
	assert_int_equal(get(fadt + 48, 4), 0); /* SMI command: always in ACPI mode */
	assert_int_equal(get(fadt + 56, 4), LAYOUT_PM1_EVENT_PORT);
	assert_int_equal(get(fadt + 64, 4), LAYOUT_PM1_CONTROL_PORT);
	assert_int_equal(get(fadt + 76, 4), 0); /* PM timer */
	assert_int_equal(fadt[88], 4);
	assert_int_equal(fadt[89], 2);
	assert_int_equal(get(fadt + 109, 2) & 1 << 1, 0);      /* no 8042 */
	assert_int_equal(get(fadt + 109, 2) & 1 << 2, 1 << 2); /* no VGA */
	assert_int_equal(get(fadt + 109, 2) & 1 << 5, 1 << 5); /* no CMOS RTC to set the clock by */
	assert_int_equal(get(fadt + 112, 4) & 1 << 4, 0);      /* fixed power button */
	assert_int_equal(get(fadt + 112, 4) & 1 << 10, 1 << 10);
	assert_int_equal(get(fadt + 112, 4) & 1 << 20, 0); /* not hardware-reduced */
	assert_int_equal(fadt[116], 1);
	assert_int_equal(get(fadt + 120, 8), LAYOUT_RESET_PORT);
	assert_int_equal(fadt[128], 6);
	assert_int_equal(get(fadt + 152, 8), LAYOUT_PM1_EVENT_PORT);
	assert_int_equal(get(fadt + 176, 8), LAYOUT_PM1_CONTROL_PORT);

	facs = vmm_memory_at(&memory, get(fadt + 36, 4), 64);
	assert_int_equal(get(fadt + 36, 4) % 64, 0);
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(get(facs + 4, 4), 64);
	dsdt = find_dsdt(&len);
	assert_ptr_equal(dsdt, vmm_memory_at(&memory, get(fadt + 40, 4), len));
}

static void madt_lists_every_cpu(void **state)
{
	(void)state;
	for (unsigned n_cpus = 1; n_cpus <= 255; n_cpus += 127) {
		unsigned cpus = 0, ioapics = 0, overrides = 0, nmis = 0;
		const uint8_t *madt, *end;
		size_t len;

		assert_int_equal(acpi_write_tables(&memory, n_cpus), 0);
		madt = find_table("APIC", &len);
		end = madt + len;
		assert_int_equal(get(madt + 36, 4), LAYOUT_LAPIC);
		for (const uint8_t *p = madt + 44; p < end; p += p[1]) {
			assert_in_range(p[1], 2, end - p);
			switch (p[0]) {
			case 0:
				assert_int_equal(p[1], 8);
				assert_int_equal(p[2], cpus);
				assert_int_equal(p[3], cpus);
				assert_int_equal(get(p + 4, 4), 1);
				cpus++;
				break;
			case 1:
				assert_int_equal(get(p + 4, 4), LAYOUT_IOAPIC);
				assert_int_equal(get(p + 8, 4), 0);
				ioapics++;
				break;
			case 2:
				assert_int_equal(p[3], LAYOUT_SCI_GSI);
				assert_int_equal(get(p + 4, 4), LAYOUT_SCI_GSI);
				assert_int_equal(get(p + 8, 2), 0xd);
				overrides++;
				break;
			case 4:
				assert_int_equal(p[2], 0xff);
				assert_int_equal(p[5], 1);
				nmis++;
				break;
			default:
				fail_msg("entry of type %u", p[0]);
			}
		}
		assert_int_equal(cpus, n_cpus);
		assert_int_equal(ioapics, 1);
		assert_int_equal(overrides, 1);
		assert_int_equal(nmis, 1);
	}
}

static void what_does_not_fit_is_refused(void **state)
{
	struct vmm_memory small = memory;

	(void)state;
	assert_int_equal(acpi_write_tables(&memory, 0), -EINVAL);
	assert_int_equal(acpi_write_tables(&memory, 256), -EINVAL);
	small.region[0].size = LAYOUT_ACPI + 512;
	assert_int_equal(acpi_write_tables(&small, 1), -ENOSPC);
}

static void write_file(const char *name, const void *data, size_t len)
{
	char path[100];
	autofd fd = -1;

	assert_in_range(snprintf(path, sizeof(path), "%s/%s", directory, name), 1, 99);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
}

/* Run a shell command in the directory and return its exit status; its output goes to `log`. */
static int run(const char *command)
{
	char line[600];

	assert_in_range(
		snprintf(line, sizeof(line), "cd %s && { %s; } >>log 2>&1", directory, command), 1,
		599);
	return system(line);
}

static void need_iasl(void)
{
	if (system("command -v iasl >/dev/null") != 0) {
		print_message("skipped: iasl (package acpica-tools) is not installed\n");
		skip();
	}
}

static void iasl_understands_the_tables(void **state)
{
	static const char *const signatures[] = {"FACP", "APIC"};
	const uint8_t *table;
	size_t len;

	(void)state;
	need_iasl();
	assert_int_equal(acpi_write_tables(&memory, 4), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(signatures); i++) {
		table = find_table(signatures[i], &len);
		write_file("table.aml", table, len);
		assert_int_equal(run("iasl -d table.aml && iasl -p again table.dsl"), 0);
		assert_int_equal(run("! grep -qiE 'error|invalid|warning' table.dsl"), 0);
		assert_int_equal(
			run("tail -c +37 table.aml >a && tail -c +37 again.aml >b && cmp a b"), 0);
	}
}

static void dsdt_is_its_source(void **state)
{
	const uint8_t *dsdt;
	size_t len;

	(void)state;
	need_iasl();
	assert_int_equal(acpi_write_tables(&memory, 1), 0);
	dsdt = find_dsdt(&len);
	write_file("dsdt.aml", dsdt, len);
	assert_int_equal(run("iasl -d dsdt.aml"), 0);
	assert_int_equal(run("iasl -we -p compiled " DSDT_SOURCE), 0);
	assert_int_equal(run("tail -c +37 dsdt.aml >a && tail -c +37 compiled.aml >b && cmp a b"),
			 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rsdp_is_valid),
		cmocka_unit_test(fadt_describes_the_machine),
		cmocka_unit_test(madt_lists_every_cpu),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(iasl_understands_the_tables),
		cmocka_unit_test(dsdt_is_its_source),
	};

	return cmocka_run_group_tests_name("acpi", tests, setup, teardown);
}
