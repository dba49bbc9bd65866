/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes and durations at the edges of their units. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/util/size.h"

static void sizes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} row[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{1536, "1.5 KiB"},
		{1048575, "1.0 MiB"}, /* not "1024.0 KiB" */
		{1048576, "1.0 MiB"},
		{8ull << 30, "8.0 GiB"},
		{8ull << 40, "8.0 TiB"},
		{UINT64_MAX, "16.0 EiB"},
	};
	char text[SIZE_TEXT];

	(void)state;
	for (unsigned int i = 0; i < sizeof(row) / sizeof(*row); i++)
		assert_string_equal(size_format(row[i].bytes, text), row[i].text);
}

static void durations(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} row[] = {
		{0, "0 us"},
		{999999, "999 us"},
		{1000000, "1.0 ms"},
		{42100000, "42.1 ms"},
		{1310000000, "1.31 s"},
		{60000000000, "1 min 00 s"},
		{125000000000, "2 min 05 s"},
	};
	char text[SIZE_TEXT];

	(void)state;
	for (unsigned int i = 0; i < sizeof(row) / sizeof(*row); i++)
		assert_string_equal(duration_format(row[i].ns, text), row[i].text);
}

static void dates(void **state)
{
	char text[SIZE_TEXT];

	(void)state;
	/* In whatever zone: a date with a time. */
	date_format(1700000000, text);
	assert_int_equal(text[4], '-');
	assert_int_equal(text[13], ':');
	date_format(INT64_MAX, text);
	assert_int_not_equal(text[0], '\0');
}

static void sizes_are_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} row[] = {
		{"0", 0}, {"1", 1}, {"4096", 4096}, {"4096B", 4096}, {"64K", 65536}, {"64k", 65536},
		{"1.5G", UINT64_C(3) << 29}, {"10GiB", UINT64_C(10) << 30}, {"2MB", 2 << 20},
		{"7mib", 7 << 20}, {"8T", UINT64_C(8) << 40}, {"16777215T", UINT64_C(16777215) << 40},
	};
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		assert_int_equal(size_parse("quota", row[i].text, UINT64_MAX, &bytes, NULL), 0);
		assert_int_equal(bytes, row[i].bytes);
	}
}

static void what_is_no_size_is_refused(void **state)
{
	static const char *const text[] = {"", "G", "-1", "+1", " 1", "1 G", "1X", "1GG", "1iB",
		"0x10", "1e3", "inf", "nan", "10GiBs", "99999999T"};
	struct err err = {0};
	uint64_t bytes = 5;

	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
		assert_int_equal(size_parse("quota", text[i], UINT64_MAX, &bytes, NULL), -EINVAL);
	assert_int_equal(size_parse("quota", "2G", 1 << 20, &bytes, &err), -EINVAL);
	assert_string_equal(err.message, "quota 2G: more than 1048576 bytes");
	assert_int_equal(size_parse("quota", "much", 1 << 20, &bytes, &err), -EINVAL);
	assert_string_equal(err.message, "quota much: not a size, as 512M or 10G");
	assert_int_equal(bytes, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(durations),
		cmocka_unit_test(dates),
		cmocka_unit_test(sizes_are_read),
		cmocka_unit_test(what_is_no_size_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
