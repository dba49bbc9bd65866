/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line without a store: help, wrong use, error objects, rows of verbs. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "clone/cmd/cmd.h"
#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"

#define SAID_MAX 16384
#define WORDS_MAX 16

/* One run of the program with its two outputs caught in files. */
struct run {
	int status;
	char out[SAID_MAX];
	char err[SAID_MAX];
};

static int divert(FILE *stream, FILE *to)
{
	int saved;

	fflush(stream);
	saved = dup(fileno(stream));
	assert_true(dup2(fileno(to), fileno(stream)) >= 0);
	return saved;
}

static void restore(FILE *stream, int saved, FILE *from, char *text)
{
	size_t len;

	fflush(stream);
	dup2(saved, fileno(stream));
	close(saved);
	rewind(from);
	len = fread(text, 1, SAID_MAX - 1, from);
	text[len] = '\0';
	fclose(from);
}

static void run(struct run *r, const char *line)
{
	char *words = strdup(line);
	char *argv[WORDS_MAX + 1] = {(char *)"lazyclone"};
	FILE *out = tmpfile();
	FILE *err = tmpfile();
	int argc = 1;
	int saved_out, saved_err;

	for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
		argv[argc++] = w;
	argv[argc] = NULL;
	saved_out = divert(stdout, out);
	saved_err = divert(stderr, err);
	r->status = cmd_run(argc, argv);
	restore(stdout, saved_out, out, r->out);
	restore(stderr, saved_err, err, r->err);
	free(words);
}

/* The help asked for by line has all verbs, and each of them has a help of its own. */
static void help_names_verbs(const char *line, const struct verb *const *v, size_t skip)
{
	struct run r, other;
	char words[128];

	run(&r, line);
	assert_int_equal(r.status, 0);
	assert_string_equal(r.err, "");
	for (; *v; v++) {
		snprintf(words, sizeof(words), "\n  %-10s%s", (*v)->name + skip, (*v)->summary);
		assert_non_null(strstr(r.out, words));
		snprintf(words, sizeof(words), "%s --help", (*v)->name);
		if ((*v)->verbs)
			help_names_verbs(words, (*v)->verbs, strlen((*v)->name) + 1);
		run(&other, words);
		assert_int_equal(other.status, 0);
		assert_string_equal(other.err, "");
		assert_int_equal(strncmp(other.out, "usage: lazyclone ", 17), 0);
		assert_int_equal(strncmp(other.out + 17, (*v)->name, strlen((*v)->name)), 0);
		assert_non_null(strstr(other.out, (*v)->summary));
	}
}

static void help_names_every_verb(void **state)
{
	(void)state;
	help_names_verbs("--help", verbs, 0);
}

static void help_by_either_way(void **state)
{
	struct run a, b;

	(void)state;
	run(&a, "help clone");
	run(&b, "clone --help");
	assert_string_equal(a.out, b.out);
	run(&a, "help");
	run(&b, "--help");
	assert_string_equal(a.out, b.out);
	run(&a, "help base info");
	run(&b, "base --help info");
	assert_string_equal(a.out, b.out);
}

static void version(void **state)
{
	struct run a, b;

	(void)state;
	run(&a, "--version");
	run(&b, "version");
	assert_int_equal(a.status, 0);
	assert_string_equal(a.out, "lazyclone " LAZYCLONE_VERSION "\n");
	assert_string_equal(a.out, b.out);
}

/* One line that says what, one that says where to read on; nothing on stdout. */
static void wrong_use(void **state)
{
	static const struct {
		const char *line;
		const char *message;
		const char *hint;
	} row[] = {
		{"", "no verb given", "lazyclone --help"},
		{"frobnicate", "unknown verb 'frobnicate'", "lazyclone --help"},
		/* Verbs that later versions bring do not half exist. */
		{"prune", "unknown verb 'prune'", "lazyclone --help"},
		{"help nonsense", "unknown verb 'nonsense'", "lazyclone --help"},
		{"--frob list", "unknown option '--frob'", "lazyclone --help"},
		{"list --frob", "list: unknown option '--frob'", "lazyclone list --help"},
		{"list -z", "list: unknown option '-z'", "lazyclone list --help"},
		{"list extra", "list: one argument too many: 'extra'", "lazyclone list --help"},
		{"--store", "option --store needs a value: DIR", "lazyclone --help"},
		{"info", "info: CLONE is missing", "lazyclone info --help"},
		{"base", "base: no verb given", "lazyclone base --help"},
		{"base nonsense", "base: unknown verb 'nonsense'", "lazyclone base --help"},
		{"base list extra", "base list: one argument too many: 'extra'",
			"lazyclone base list --help"},
		{"base -q info", "base info: PATH is missing", "lazyclone base info --help"},
		{"help list extra", "unknown verb 'extra'", "lazyclone --help"},
		{"help base extra", "unknown verb 'extra'", "lazyclone --help"},
		{"info a b", "info: one argument too many: 'b'", "lazyclone info --help"},
		{"rm", "rm: CLONE is missing", "lazyclone rm --help"},
		{"rm --force=yes a", "rm: option --force takes no value", "lazyclone rm --help"},
		{"hydrate", "hydrate: CLONE is missing", "lazyclone hydrate --help"},
		{"snapshot", "snapshot: CLONE is missing", "lazyclone snapshot --help"},
		{"snapshot a", "snapshot: NAME is missing", "lazyclone snapshot --help"},
		{"snapshot a b c", "snapshot: one argument too many: 'c'",
			"lazyclone snapshot --help"},
		{"snapshot a --list --delete b", "snapshot: --list and --delete exclude each other",
			"lazyclone snapshot --help"},
		{"snapshot a b --delete c", "snapshot: --list and --delete take nothing but the CLONE",
			"lazyclone snapshot --help"},
		{"reset", "reset: CLONE is missing", "lazyclone reset --help"},
		{"reset --to s --to-base a", "reset: --to and --to-base exclude each other",
			"lazyclone reset --help"},
		{"reset --to= a", "reset: --to: the snapshot's NAME is empty",
			"lazyclone reset --help"},
		{"quota", "quota: CLONE is missing", "lazyclone quota --help"},
		{"quota a much", "quota: SIZE much: not a size, as 512M or 10G",
			"lazyclone quota --help"},
		{"quota a 1K", "quota: SIZE 1K: at least 16 MiB", "lazyclone quota --help"},
		{"clone --quota 1K a", "clone: --quota 1K: at least 16 MiB", "lazyclone clone --help"},
		{"clone --disk-only x y --snapshot s",
			"clone: --disk-only and --snapshot exclude each other",
			"lazyclone clone --help"},
		{"clone", "clone: SOURCE is missing", "lazyclone clone --help"},
		{"clone a b c", "clone: one argument too many: 'c'", "lazyclone clone --help"},
		{"clone -o a -n b c", "clone: one argument too many: 'c'",
			"lazyclone clone --help"},
		{"clone -N zero a", "clone: --count: 'zero' is not a whole number",
			"lazyclone clone --help"},
		{"clone -N 0 a", "clone: --count: 0 is not between 1 and 10000",
			"lazyclone clone --help"},
		{"clone --mode copy a", "clone: unknown option '--mode'",
			"lazyclone clone --help"},
		{"clone --disk-only x", "clone: --disk-only needs a NAME",
			"lazyclone clone --help"},
		{"clone --disk-only x -o y z", "clone: --original and --disk-only exclude each other",
			"lazyclone clone --help"},
		{"clone --disk-only x y --start",
			"clone: --disk-only makes no domain to start or to print",
			"lazyclone clone --help"},
		{"clone a --start --dry-run", "clone: --start and making nothing exclude each other",
			"lazyclone clone --help"},
	};
	struct run r;

	(void)state;
	for (unsigned int i = 0; i < sizeof(row) / sizeof(*row); i++) {
		char expected[512];

		run(&r, row[i].line);
		assert_int_equal(r.status, 2);
		assert_string_equal(r.out, "");
		snprintf(expected, sizeof(expected), "lazyclone: error: %s\n", row[i].message);
		assert_int_equal(strncmp(r.err, expected, strlen(expected)), 0);
		assert_non_null(strstr(r.err, row[i].hint));
	}
}

/* Scripts that know qemu-img's take 2 for damage. */
static void check_has_the_statuses_of_qemu_img(void **state)
{
	struct run r;

	(void)state;
	run(&r, "check");
	assert_int_equal(r.status, 1);
	run(&r, "check --nonsense a");
	assert_int_equal(r.status, 1);
	run(&r, "check --help");
	assert_int_equal(r.status, 0);
	assert_int_equal(verb_check.status_of(-EOPNOTSUPP), 63);
	assert_int_equal(verb_check.status_of(-EUCLEAN), 1);
	for (const struct verb *const *v = verbs; *v; v++)
		assert_true(!(*v)->status_of || *v == &verb_check);
}

static void json_of_results_and_errors(void **state)
{
	json_t *document;
	json_t *error;
	struct run r;

	(void)state;
	run(&r, "--json version");
	document = json_loads(r.out, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(document, "version")),
		LAZYCLONE_VERSION);
	json_decref(document);

	run(&r, "info --json");
	assert_int_equal(r.status, 2);
	assert_string_equal(r.out, "");
	document = json_loads(r.err, 0, NULL);
	error = json_object_get(document, "error");
	assert_int_equal(json_integer_value(json_object_get(error, "code")), 2);
	assert_string_equal(json_string_value(json_object_get(error, "class")), "usage");
	assert_string_equal(json_string_value(json_object_get(error, "message")),
		"info: CLONE is missing");
	assert_non_null(json_string_value(json_object_get(error, "hint")));
	json_decref(document);
}

static void one_line_per_error(const char *message)
{
	struct err err = {.code = -EIO};
	FILE *file = tmpfile();
	char said[SAID_MAX];
	int saved;

	snprintf(err.message, sizeof(err.message), "%s", message);
	saved = divert(stderr, file);
	output_error(&err, false);
	restore(stderr, saved, file, said);
	assert_null(strchr(said, '\033'));
	assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

/* A name from outside may hold what a terminal would obey. */
static void hostile_text(void **state)
{
	struct err err = {.code = -ENOENT};
	json_t *object;

	(void)state;
	one_line_per_error("clone a\033[31m\nhint: rm -rf /\r: not found");
	snprintf(err.message, sizeof(err.message), "clone \xff\xfe: not found");
	object = output_error_object(&err);
	assert_non_null(object);
	assert_string_equal(json_string_value(json_object_get(object, "message")),
		"clone ??: not found");
	json_decref(object);
	assert_true(json_is_null(output_text(NULL)));
}

/* A letter or name means one thing in the whole program. */
static void options_are_one_language(void **state)
{
	(void)state;
	for (const struct verb *const *a = verbs; *a; a++)
		for (const struct cli_option *o = (*a)->options; o->name; o++) {
			for (const struct cli_option *g = global_options; g->name; g++) {
				assert_string_not_equal(o->name, g->name);
				assert_true(!o->letter || o->letter != g->letter);
			}
			for (const struct verb *const *b = verbs; *b; b++)
				for (const struct cli_option *p = (*b)->options; p->name; p++)
					if (!strcmp(o->name, p->name))
						assert_int_equal(o->offset, p->offset);
		}
}

static void lost_output_is_an_error(void **state)
{
	char *argv[] = {(char *)"lazyclone", (char *)"version", NULL};
	FILE *full = fopen("/dev/full", "w");
	int saved;
	int status;

	(void)state;
	assert_non_null(full);
	saved = divert(stdout, full);
	status = cmd_run(2, argv);
	dup2(saved, fileno(stdout));
	close(saved);
	fclose(full);
	clearerr(stdout);
	assert_int_equal(status, 9); /* ENOSPC: the result did not arrive */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(help_names_every_verb),
		cmocka_unit_test(help_by_either_way),
		cmocka_unit_test(version),
		cmocka_unit_test(wrong_use),
		cmocka_unit_test(check_has_the_statuses_of_qemu_img),
		cmocka_unit_test(json_of_results_and_errors),
		cmocka_unit_test(hostile_text),
		cmocka_unit_test(options_are_one_language),
		cmocka_unit_test(lost_output_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
