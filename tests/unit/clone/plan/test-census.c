/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* New names and MAC addresses: free, alike, and never given twice. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clone/plan/census.h"

static struct census *empty(void)
{
	struct census *census;

	assert_int_equal(census_take(NULL, NULL, &census, NULL), 0);
	return census;
}

static void next_is(const struct census *census, uint32_t *number, const char *expected)
{
	char *name;

	assert_int_equal(census_next_name(census, "web", number, &name, NULL), 0);
	assert_string_equal(name, expected);
	free(name);
}

static void test_first_free_name(void **state)
{
	struct census *census = empty();
	uint32_t number = 1;

	next_is(census, &number, "web-clone1");
	next_is(census, &number, "web-clone2");
	census_add_name(census, "web-clone3");
	census_add_name(census, "web-clone4");
	census_add_name(census, "web-clone10");
	next_is(census, &number, "web-clone5");
	number = 10;
	next_is(census, &number, "web-clone11");
	/* By number, not by text. */
	number = 1;
	census_add_name(census, "web-clone1");
	next_is(census, &number, "web-clone2");
	assert_true(census_has_name(census, "web-clone10"));
	assert_false(census_has_name(census, "web-clone2"));
	census_free(census);
}

static void test_a_name_that_would_be_too_long(void **state)
{
	char source[STORE_NAME_MAX + 1];
	struct census *census = empty();
	uint32_t number = 1;
	struct err err;
	char *name;

	memset(source, 'x', STORE_NAME_MAX);
	source[STORE_NAME_MAX] = '\0';
	assert_int_equal(census_next_name(census, source, &number, &name, &err), -EINVAL);
	assert_true(err.hint[0]);
	census_free(census);
}

static void test_macs_keep_their_first_half(void **state)
{
	struct census *census = empty();
	char mac[XML_MAC_TEXT];

	assert_int_equal(census_mac(census, "00:16:3E:01:02:03", mac, NULL), 0);
	assert_int_equal(strlen(mac), XML_MAC_TEXT - 1);
	assert_int_equal(strncmp(mac, "00:16:3e:", 9), 0);
	assert_int_equal(census_mac(census, "", mac, NULL), 0);
	assert_int_equal(strncmp(mac, "52:54:00:", 9), 0);
	assert_int_equal(census_mac(census, "no mac", mac, NULL), 0);
	assert_int_equal(strncmp(mac, "52:54:00:", 9), 0);
	census_free(census);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* 20000 of 16 million: by chance alone a dozen would be equal. */
#define MANY 20000

static void test_macs_are_unique(void **state)
{
	struct census *census = empty();
	char (*macs)[XML_MAC_TEXT] = calloc(MANY, sizeof(*macs));

	for (int i = 0; i < MANY; i++)
		assert_int_equal(census_mac(census, "52:54:00:00:00:00", macs[i], NULL), 0);
	qsort(macs, MANY, sizeof(*macs), by_text);
	for (int i = 1; i < MANY; i++)
		assert_string_not_equal(macs[i - 1], macs[i]);
	free(macs);
	census_free(census);
}

static void test_uuids(void **state)
{
	struct census *census = empty();
	char a[VIRT_UUID_TEXT], b[VIRT_UUID_TEXT];

	census_uuid(census, a);
	census_uuid(census, b);
	assert_string_not_equal(a, b);
	census_free(census);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_free_name),
		cmocka_unit_test(test_a_name_that_would_be_too_long),
		cmocka_unit_test(test_macs_keep_their_first_half),
		cmocka_unit_test(test_macs_are_unique),
		cmocka_unit_test(test_uuids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
