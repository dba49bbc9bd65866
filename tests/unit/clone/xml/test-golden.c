/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Golden pairs: each input gives exactly its output, or exactly its refusal.
 *
 * LAZYCLONE_REGENERATE=1 writes what comes out instead of comparing; read the
 * difference before you keep it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clone/xml/domain.h"
#include "fs/util/cleanup.h"
#include "tests/lib/golden.h"

/* The output, or the refusal as text. */
static char *produce(const char *in, const struct golden *golden, const char **ret_suffix)
{
	const struct xml_restore_request restore = {golden->request.n_disks, golden->disks};
	struct err err = {0};
	char *out = NULL;
	int rc;

	if (golden->restore)
		rc = xml_restore(in, &restore, &out, &err);
	else
		rc = xml_rewrite(in, &golden->request, &out, NULL, &err);
	*ret_suffix = rc == 0 ? ".out.xml" : ".error";
	if (rc < 0) {
		assert_null(out);
		assert_int_equal(rc, err.code);
		assert_true(asprintf(&out, "%s\n%s\n%s%s%s", strerrorname_np(-rc), err.message,
				    err.hint[0] ? "hint: " : "", err.hint,
				    err.hint[0] ? "\n" : "") > 0);
	}
	return out;
}

/* An output must be what libvirt is checked against, or a check is no check. */
static void prove(const char *out, const struct golden *golden)
{
	const struct xml_restore_request restore = {golden->request.n_disks, golden->disks};
	struct err err = {0};
	int rc;

	if (golden->restore)
		rc = xml_check_restored(out, &restore, &err);
	else
		rc = xml_check(out, &golden->request, &err);
	if (rc < 0)
		fail_msg("check: %s", err.message);
}

static void compare(const char *name, const char *out, const char *suffix)
{
	const char *other = strcmp(suffix, ".error") == 0 ? ".out.xml" : ".error";
	AUTO_FREE char *want = golden_read(name, suffix);
	AUTO_FREE char *unwanted = golden_read(name, other);

	if (getenv("LAZYCLONE_REGENERATE")) {
		golden_write(name, suffix, out);
		return;
	}
	if (unwanted || !want)
		fail_msg("%s%s was expected, this came: %s", name, other, out);
	assert_string_equal(out, want);
}

static void test_pair(void **state)
{
	const char *name = *state;
	AUTO_FREE char *in = golden_read(name, ".in.xml");
	AUTO_FREE char *text = golden_read(name, ".request");
	AUTO_FREE char *out = NULL;
	struct golden golden;
	const char *suffix;

	assert_non_null(in);
	golden_request(in, text, &golden);
	out = produce(in, &golden, &suffix);
	compare(name, out, suffix);
	if (strcmp(suffix, ".out.xml") == 0)
		prove(out, &golden);
	golden_clear(&golden);
}

int main(void)
{
	char **names = golden_names();
	struct CMUnitTest *tests;
	size_t count = 0;
	int failed;

	while (names[count])
		count++;
	tests = calloc(count, sizeof(*tests));
	for (size_t i = 0; i < count; i++) {
		tests[i].name = names[i];
		tests[i].test_func = test_pair;
		tests[i].initial_state = names[i];
	}
	failed = _cmocka_run_group_tests("golden", tests, count, NULL, NULL);
	free(tests);
	golden_names_free(names);
	return failed;
}
