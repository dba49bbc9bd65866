/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a base consists of as text: what is let in, and comes out the same. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/base.h"

#define TEXT                                                                                       \
	"{\"images\": [{\"path\": \"/top\", \"format\": \"qcow2\", \"data\": \"/data\"}, "             \
	"{\"path\": \"/below\", \"format\": \"raw\"}], \"snapshot\": \"first\"}"

static void test_round_trip(void **state)
{
	struct base_source *source;
	char *text;

	assert_int_equal(base_source_parse(TEXT, &source, NULL), 0);
	assert_int_equal(source->n_images, 2);
	assert_string_equal(source->images[0].data_path, "/data");
	assert_string_equal(source->images[1].format, "raw");
	assert_string_equal(source->snapshot, "first");
	assert_int_equal(base_source_format(source, &text), 0);
	assert_string_equal(text, TEXT);
	free(text);
	base_source_free(source);
	base_source_free(NULL);
}

static void test_raw(void **state)
{
	struct base_source *source;
	char *text;

	assert_int_equal(base_source_raw("/a \"b\"", &source), 0);
	assert_int_equal(base_source_format(source, &text), 0);
	assert_string_equal(text, "{\"images\": [{\"path\": \"/a \\\"b\\\"\", \"format\": \"raw\"}]}");
	base_source_free(source);
	assert_int_equal(base_source_parse(text, &source, NULL), 0);
	assert_string_equal(source->images[0].path, "/a \"b\"");
	assert_null(source->snapshot);
	base_source_free(source);
	free(text);
}

static void expect_refused(const char *text)
{
	struct base_source *source;
	struct err err = {0};

	if (base_source_parse(text, &source, &err) != -EUCLEAN || err.message[0] == '\0')
		fail_msg("not refused: %s", text);
}

/* TEXT with the first of its parts replaced. */
static void expect_refused_with(const char *part, const char *by)
{
	const char *found = strstr(TEXT, part);
	char text[1024];

	assert_non_null(found);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(found - TEXT), TEXT, by,
		found + strlen(part));
	expect_refused(text);
}

static void test_refused(void **state)
{
	expect_refused("");
	expect_refused("[]");
	expect_refused("{}");
	expect_refused("{\"images\": []}");
	expect_refused("{\"images\": {}}");
	expect_refused("{\"images\": [1]}");
	expect_refused(TEXT TEXT);
	expect_refused_with("/top", "top");
	expect_refused_with("/top", "");
	expect_refused_with("/top", "/below");
	expect_refused_with("/top", "/data");
	expect_refused_with("/top", "nbd:/top");
	expect_refused_with("/top", "/a\\u0000b");
	expect_refused_with("/data", "data");
	expect_refused_with("\"/data\"", "null");
	expect_refused_with("qcow2", "raw");
	expect_refused_with("qcow2", "vmdk");
	expect_refused_with("qcow2", "QCOW2");
	expect_refused_with("\"format\"", "\"driver\"");
	expect_refused_with("\"data\"", "\"backing\"");
	expect_refused_with("\"snapshot\"", "\"probe\"");
	expect_refused_with("\"snapshot\"", "\"images\"");
	expect_refused_with("\"first\"", "\"\"");
	expect_refused_with("\"first\"", "1");
	/* A raw image has neither. */
	expect_refused("{\"images\": [{\"path\": \"/a\", \"format\": \"raw\"}], \"snapshot\": \"1\"}");
	expect_refused("{\"images\": [{\"path\": \"/a\", \"format\": \"raw\", \"data\": \"/b\"}]}");
}

/* n images, the first of which has a path of len characters. */
static char *chain_text(int n, int len, const char *snapshot)
{
	char *text = malloc(2 * BASE_SOURCE_MAX + 512);
	int end = sprintf(text, "{\"images\": [");

	for (int i = 0; i < n; i++)
		end += sprintf(text + end, "%s{\"path\": \"/%0*d\", \"format\": \"qcow2\"}",
			i ? ", " : "", i ? 1 : len - 1, i);
	sprintf(text + end, "], \"snapshot\": \"%s\"}", snapshot);
	return text;
}

static void expect_accepted(char *text)
{
	struct base_source *source;

	assert_int_equal(base_source_parse(text, &source, NULL), 0);
	base_source_free(source);
	free(text);
}

static void expect_too_much(char *text)
{
	expect_refused(text);
	free(text);
}

static void test_limits(void **state)
{
	char snapshot[BASE_SNAPSHOT_MAX + 2];

	expect_accepted(chain_text(BASE_IMAGES_MAX, 10, "s"));
	expect_too_much(chain_text(BASE_IMAGES_MAX + 1, 10, "s"));
	expect_accepted(chain_text(1, 4095, "s"));
	expect_too_much(chain_text(1, 4096, "s"));
	expect_too_much(chain_text(1, BASE_SOURCE_MAX, "s"));
	memset(snapshot, 's', sizeof(snapshot));
	snapshot[BASE_SNAPSHOT_MAX + 1] = '\0';
	expect_too_much(chain_text(1, 10, snapshot));
	snapshot[BASE_SNAPSHOT_MAX] = '\0';
	expect_accepted(chain_text(1, 10, snapshot));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_raw),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
