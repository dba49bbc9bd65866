/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes and durations at the edges of their units. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(durations),
		cmocka_unit_test(dates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
