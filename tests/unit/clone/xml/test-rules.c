/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of rules: every row is met by a golden input, and says what it must. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clone/xml/rules.h"
#include "clone/xml/tree.h"
#include "tests/lib/golden.h"

static void mark_rows(const xmlNode *root, bool *met)
{
	for (const xmlNode *node = node_first(root); node; node = node_next(node)) {
		const struct row *row = rules_find(node);

		if (row)
			met[row - rules] = true;
		mark_rows(node, met);
	}
}

static void test_every_row_is_met(void **state)
{
	bool *met = calloc(n_rules, sizeof(*met));
	char **names = golden_names();
	int missing = 0;

	assert_non_null(met);
	for (char **name = names; *name; name++) {
		AUTO_FREE char *in = golden_read(*name, ".in.xml");
		AUTO_DOC xmlDoc *doc = NULL;

		if (tree_parse(in, "domain", &doc, NULL) == 0)
			mark_rows(xmlDocGetRootElement(doc), met);
	}
	golden_names_free(names);
	for (size_t i = 0; i < n_rules; i++)
		if (!met[i]) {
			print_error("row %zu has no golden input: %s %s\n", i, rules[i].path,
				rules[i].arg ?: "");
			missing++;
		}
	free(met);
	assert_int_equal(missing, 0);
}

static void test_rows_are_whole(void **state)
{
	for (size_t i = 0; i < n_rules; i++) {
		const struct row *row = &rules[i];

		if (row->rule == REFUSED)
			assert_non_null(row->why);
		assert_int_equal(row->rule == REWRITTEN, row->rewrite != NULL);
		if (row->arg)
			assert_non_null(row->when);
		/* A path list on a row whose element is not looked into says nothing. */
		if (row->rule != KEPT && row->rule != REWRITTEN)
			assert_null(row->paths);
	}
}

/* A row behind one for the same path that always holds is never reached. */
static void test_no_row_is_hidden(void **state)
{
	for (size_t i = 0; i < n_rules; i++)
		for (size_t j = 0; j < i; j++)
			if (!rules[j].when && strcmp(rules[i].path, rules[j].path) == 0)
				fail_msg("row %zu (%s) is hidden by row %zu", i, rules[i].path, j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row_is_met),
		cmocka_unit_test(test_rows_are_whole),
		cmocka_unit_test(test_no_row_is_hidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
