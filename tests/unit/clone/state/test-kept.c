/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kept NVRAM copies: which one belongs to an instant, and what must not be believed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/state/kept.h"
#include "clone/state/record.h"
#include "fs/util/cleanup.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];
static int dirfd_of_clone;

static int setup(void **state)
{
	temp_dir("kept", dir);
	dirfd_of_clone = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_of_clone < 0;
}

static int teardown(void **state)
{
	close(dirfd_of_clone);
	temp_dir_remove(dir);
	return 0;
}

/* An id made of one digit: logs of a test. */
static struct id id_of(char digit)
{
	struct id id;

	memset(&id, digit, sizeof(id));
	return id;
}

#define COPY_A "nvram.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define COPY_B "nvram.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define COPY_C "nvram.cccccccccccccccccccccccccccccccc"

static void add(struct kept *kept, const char *name, const char *logs, const char *file)
{
	struct id ids[8];
	struct kept_entry entry = {.name = (char *)name, .logs = ids, .file = (char *)file};

	for (; logs[entry.n_logs]; entry.n_logs++)
		ids[entry.n_logs] = id_of(logs[entry.n_logs]);
	assert_int_equal(kept_add(kept, &entry), 0);
}

static const char *file_of_tops(const struct kept *kept, const char *tops)
{
	struct id ids[8];
	uint32_t n = 0;
	const struct kept_entry *entry;

	for (; tops[n]; n++)
		ids[n] = id_of(tops[n]);
	entry = kept_of_tops(kept, ids, n);
	return entry ? entry->file : "none";
}

static void test_written_and_read_back(void **state)
{
	struct kept *kept = kept_new();
	struct kept_entry base = {.base = true};
	AUTO_FREE char *text = NULL;
	AUTO_FREE char *again = NULL;
	struct kept *back;

	assert_int_equal(kept_add(kept, &base), 0);
	add(kept, "be\"fore", "12", COPY_A);
	add(kept, NULL, "32", RECORD_NVRAM);
	add(kept, "none yet", "4", NULL);
	assert_int_equal(kept_write(dirfd_of_clone, kept, NULL), 0);
	assert_int_equal(kept_read(dirfd_of_clone, &back, NULL), 0);
	assert_int_equal(back->count, 4);
	assert_int_equal(kept_format(kept, &text), 0);
	assert_int_equal(kept_format(back, &again), 0);
	assert_string_equal(text, again);
	kept_free(back);
	kept_free(kept);
}

static void test_no_file_is_no_entry(void **state)
{
	struct kept *kept;

	assert_int_equal(kept_read(dirfd_of_clone, &kept, NULL), 0);
	assert_int_equal(kept->count, 0);
	assert_null(kept_of_base(kept));
	assert_null(kept_of_name(kept, "any"));
	kept_free(kept);
}

/* Two disks, 1 and 2. Frozen: both; then the first alone, since the second
 * wrote nothing; then a freeze that was killed before it happened. */
static void test_the_last_freeze_of_a_top_counts(void **state)
{
	struct kept *kept = kept_new();

	add(kept, "a", "12", COPY_A);
	assert_string_equal(file_of_tops(kept, "12"), COPY_A);
	add(kept, NULL, "34", COPY_B);
	assert_string_equal(file_of_tops(kept, "32"), COPY_B);
	/* Back at the first instant, by a reset. */
	assert_string_equal(file_of_tops(kept, "12"), COPY_A);
	add(kept, "never", "54", COPY_C);
	assert_string_equal(file_of_tops(kept, "32"), COPY_B);
	/* And its second try, which happened: the later entry has the same logs. */
	add(kept, "again", "54", COPY_A);
	assert_string_equal(file_of_tops(kept, "52"), COPY_A);
	assert_string_equal(file_of_tops(kept, "9"), "none");
	kept_free(kept);
}

static void test_of_two_of_a_name_the_last_counts(void **state)
{
	struct kept *kept = kept_new();

	add(kept, "a", "1", COPY_A);
	add(kept, "a", "1", COPY_B);
	assert_string_equal(kept_of_name(kept, "a")->file, COPY_B);
	kept_free(kept);
}

/* ---- pruning: ctx is the digits of the layers there are; the one name is "a" ---- */

static bool has_name(const void *ctx, const char *name)
{
	return strcmp(name, "a") == 0;
}

static bool has_layer(const void *ctx, const struct id *layer)
{
	return memchr(ctx, layer->byte[0], strlen(ctx));
}

static void test_pruned_by_what_the_manifest_says(void **state)
{
	const struct kept_view view = {has_name, has_layer, "12"};
	struct kept_entry base = {.base = true, .file = (char *)COPY_C};
	struct kept *kept = kept_new();

	assert_int_equal(kept_add(kept, &base), 0);
	add(kept, "a", "7", COPY_A);    /* its name is there */
	add(kept, "gone", "1", COPY_B); /* its layer is */
	add(kept, "gone", "8", NULL);   /* neither */
	assert_true(kept_prune(kept, &view));
	assert_int_equal(kept->count, 3);
	assert_true(kept_of_base(kept));
	assert_true(kept_of_name(kept, "a"));
	assert_null(kept_of_name(kept, "gone"));
	assert_string_equal(file_of_tops(kept, "1"), COPY_B);
	assert_true(kept_names_file(kept, COPY_B));
	assert_false(kept_prune(kept, &view));
	kept_free(kept);
}

static void test_names_of_copies(void **state)
{
	char file[KEPT_FILE_TEXT];

	kept_file_new(file);
	assert_true(kept_file_is_copy(file));
	assert_false(kept_file_is_copy(RECORD_NVRAM));
	assert_false(kept_file_is_copy("nvram."));
	assert_false(kept_file_is_copy(COPY_A "a"));
	assert_false(kept_file_is_copy("nvram.AAAA/../../../../etc/passwd......."));
}

static void test_too_many(void **state)
{
	struct kept *kept = kept_new();
	struct kept_entry entry = {.name = NULL};

	for (int i = 0; i < KEPT_ENTRIES_MAX; i++)
		assert_int_equal(kept_add(kept, &entry), 0);
	assert_int_equal(kept_add(kept, &entry), -EMLINK);
	kept_free(kept);
}

static void test_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"{}",
		"[]",
		"{\"kept\": 2, \"entries\": []}",
		"{\"kept\": 1}",
		"{\"kept\": 1, \"entries\": {}}",
		"{\"kept\": 1, \"entries\": [1]}",
		"{\"kept\": 1, \"entries\": [{\"name\": 1, \"base\": true, \"logs\": [], \"file\": "
		"null}]}",
		"{\"kept\": 1, \"entries\": [{\"name\": null, \"base\": 1, \"logs\": [], \"file\": "
		"null}]}",
		"{\"kept\": 1, \"entries\": [{\"name\": null, \"base\": true, \"logs\": [\"12\"], "
		"\"file\": null}]}",
		"{\"kept\": 1, \"entries\": [{\"name\": null, \"base\": true, \"logs\": [], "
		"\"file\": \"../manifest\"}]}",
		"{\"kept\": 1, \"entries\": [{\"name\": null, \"base\": true, \"logs\": [], "
		"\"file\": \"record.json\"}]}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct err err = {.code = 0};
		struct kept *kept;

		assert_int_equal(kept_parse(texts[i], strlen(texts[i]), &kept, &err), -EUCLEAN);
		assert_non_null(strstr(err.message, KEPT_NAME));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_written_and_read_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_file_is_no_entry, setup, teardown),
		cmocka_unit_test(test_the_last_freeze_of_a_top_counts),
		cmocka_unit_test(test_of_two_of_a_name_the_last_counts),
		cmocka_unit_test(test_pruned_by_what_the_manifest_says),
		cmocka_unit_test(test_names_of_copies),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
