/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options: every spelling, words between them, and each wrong use by its message. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/util/cli.h"

struct target {
	bool quick, start;
	const char *count, *to;
	struct cli_texts with;
};

static const struct cli_option first[] = {
	{'q', "quick", NULL, "be quick", offsetof(struct target, quick)},
	{'N', "count", "N", "so many", offsetof(struct target, count)},
	{.name = NULL},
};
static const struct cli_option second[] = {
	{'s', "start", NULL, "start", offsetof(struct target, start)},
	{0, "to", "DIR", "there", offsetof(struct target, to)},
	{'w', "with", "FILE...", "as well", offsetof(struct target, with)},
	{.name = NULL},
};
static const struct cli_option *const tables[] = {first, second, NULL};

#define PARSE(stop, ...)                                                                           \
	char *argv[] = {__VA_ARGS__, NULL};                                                        \
	struct target t = {.quick = false};                                                        \
	struct err err = {.code = 0};                                                              \
	int n = -1;                                                                                \
	int rc = cli_parse(tables, &t, stop, (int)(sizeof(argv) / sizeof(*argv)) - 1, argv, &n, &err)

#define ARG(text) ((char *)text)

static void spellings(void **state)
{
	(void)state;
	{
		PARSE(false, ARG("-qs"), ARG("a"), ARG("-N5"), ARG("b"), ARG("--to=x=y"));
		assert_int_equal(rc, 0);
		assert_int_equal(n, 2);
		assert_true(t.quick && t.start);
		assert_string_equal(t.count, "5");
		assert_string_equal(t.to, "x=y");
		assert_string_equal(argv[0], "a");
		assert_string_equal(argv[1], "b");
	}
	{
		PARSE(false, ARG("--count"), ARG("7"), ARG("-sN"), ARG("8"), ARG("--to="));
		assert_int_equal(rc, 0);
		assert_int_equal(n, 0);
		assert_string_equal(t.count, "8"); /* the last one counts */
		assert_string_equal(t.to, "");
	}
}

static void words(void **state)
{
	(void)state;
	{
		/* After "--" a dash is a letter like any other; "-" alone is a word. */
		PARSE(false, ARG("-"), ARG("-q"), ARG("--"), ARG("-s"), ARG("--to"));
		assert_int_equal(rc, 0);
		assert_int_equal(n, 3);
		assert_true(t.quick);
		assert_false(t.start);
		assert_string_equal(argv[0], "-");
		assert_string_equal(argv[1], "-s");
		assert_string_equal(argv[2], "--to");
	}
	{
		/* Up to the first word only; the rest is another table's. */
		PARSE(true, ARG("-q"), ARG("verb"), ARG("--unknown"), ARG("-s"));
		assert_int_equal(rc, 0);
		assert_int_equal(n, 3);
		assert_false(t.start);
		assert_string_equal(argv[0], "verb");
		assert_string_equal(argv[1], "--unknown");
	}
	{
		/* A value may begin with a dash. */
		PARSE(false, ARG("--count"), ARG("-q"));
		assert_int_equal(rc, 0);
		assert_string_equal(t.count, "-q");
		assert_false(t.quick);
	}
}

static void too_many(void **state)
{
	char *argv[CLI_TEXTS_MAX + 1];
	struct target t = {.quick = false};
	struct err err = {.code = 0};
	int n;

	(void)state;
	for (int i = 0; i <= CLI_TEXTS_MAX; i++)
		argv[i] = ARG("--with=x");
	assert_int_equal(cli_parse(tables, &t, false, CLI_TEXTS_MAX + 1, argv, &n, &err), -EINVAL);
	assert_non_null(strstr(err.message, "--with is given more than 64 times"));
}

static void several(void **state)
{
	(void)state;
	{
		PARSE(false, ARG("--with=a"), ARG("-w"), ARG("b"), ARG("-wc"), ARG("--with"), ARG(""));
		assert_int_equal(rc, 0);
		assert_int_equal(t.with.count, 4);
		assert_string_equal(t.with.text[0], "a");
		assert_string_equal(t.with.text[1], "b");
		assert_string_equal(t.with.text[2], "c");
		assert_string_equal(t.with.text[3], "");
	}
}

#define WRONG(message_text, ...)                                                                   \
	do {                                                                                       \
		PARSE(false, __VA_ARGS__);                                                         \
		assert_int_equal(rc, -EINVAL);                                                     \
		assert_string_equal(err.message, message_text);                                    \
	} while (0)

static void wrong(void **state)
{
	(void)state;
	WRONG("unknown option '--quic'", ARG("--quic"));
	WRONG("unknown option '--quicker'", ARG("--quicker=1"));
	WRONG("unknown option '-x'", ARG("-qx"));
	WRONG("option --quick takes no value", ARG("--quick=yes"));
	WRONG("option --count needs a value: N", ARG("-s"), ARG("--count"));
	WRONG("option --count needs a value: N", ARG("-sN"));
	WRONG("unknown option '---'", ARG("---"));
}

static void numbers(void **state)
{
	static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x10", "ten", "0", "101",
		"99999999999999999999999"};
	struct err err = {.code = 0};
	uint64_t value = 42;

	(void)state;
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(cli_number("--count", bad[i], 1, 100, &value, &err), -EINVAL);
		assert_int_equal(value, 42);
	}
	assert_non_null(strstr(err.message, "--count"));
	assert_int_equal(cli_number("--count", "100", 1, 100, &value, &err), 0);
	assert_int_equal(value, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spellings),
		cmocka_unit_test(words),
		cmocka_unit_test(several),
		cmocka_unit_test(too_many),
		cmocka_unit_test(wrong),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
