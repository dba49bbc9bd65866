/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Journals: lines, torn ends, locks, orphans. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/state/journal.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];
static int dirfd_of_store;

static int setup(void **state)
{
	temp_dir("journal", dir);
	dirfd_of_store = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_of_store < 0;
}

static int teardown(void **state)
{
	close(dirfd_of_store);
	temp_dir_remove(dir);
	return 0;
}

static unsigned int count_files(void)
{
	char command[TEMP_PATH_MAX + 64];
	unsigned int n = 0;
	FILE *p;

	snprintf(command, sizeof(command), "find %s/journal -type f | wc -l", dir);
	p = popen(command, "r");
	assert_non_null(p);
	assert_int_equal(fscanf(p, "%u", &n), 1);
	pclose(p);
	return n;
}

static struct journal *begin(void)
{
	struct journal *journal;

	assert_int_equal(journal_begin(dirfd_of_store, &journal, NULL), 0);
	return journal;
}

static struct journal *orphan(void)
{
	struct journal *journal;

	assert_int_equal(journal_next_orphan(dirfd_of_store, &journal, NULL), 1);
	return journal;
}

static void no_orphan(void)
{
	struct journal *journal;

	assert_int_equal(journal_next_orphan(dirfd_of_store, &journal, NULL), 0);
}

static void add(struct journal *journal, enum journal_kind kind, const char *name,
	const char *more)
{
	assert_int_equal(journal_add(journal, kind, name, more, 7, UINT64_MAX, NULL), 0);
}

static void check_entry(const struct journal *journal, uint32_t i, enum journal_kind kind,
	const char *name, const char *more)
{
	const struct journal_entry *entry = journal_entry(journal, i);

	assert_int_equal(entry->kind, kind);
	if (name)
		assert_string_equal(entry->name, name);
	else
		assert_null(entry->name);
	if (more)
		assert_string_equal(entry->more, more);
	else
		assert_null(entry->more);
}

static void test_every_kind_comes_back(void **state)
{
	struct journal *journal = begin();

	add(journal, JOURNAL_GROUP, NULL, NULL);
	add(journal, JOURNAL_STAGE, "0123", NULL);
	add(journal, JOURNAL_CLONE, "we\"b \\ \xc3\xa4", "id");
	add(journal, JOURNAL_FILE, "/a/b", NULL);
	add(journal, JOURNAL_FILE_MADE, "/a/c", NULL);
	add(journal, JOURNAL_DOMAIN, "uuid", "qemu:///system");
	assert_int_equal(journal_add(journal, JOURNAL_RESET, "web", "id", UINT64_MAX, 2, NULL), 0);
	add(journal, JOURNAL_QUIESCE, "uuid", "qemu:///session");
	add(journal, JOURNAL_FREEZE, "uuid", "qemu:///system");
	add(journal, JOURNAL_MODES, NULL, NULL);
	add(journal, JOURNAL_DONE, NULL, NULL);
	journal_close(journal);

	journal = orphan();
	assert_int_equal(journal_count(journal), 11);
	check_entry(journal, 0, JOURNAL_GROUP, NULL, NULL);
	check_entry(journal, 1, JOURNAL_STAGE, "0123", NULL);
	check_entry(journal, 2, JOURNAL_CLONE, "we\"b \\ \xc3\xa4", "id");
	check_entry(journal, 3, JOURNAL_FILE, "/a/b", NULL);
	check_entry(journal, 4, JOURNAL_FILE_MADE, "/a/c", NULL);
	assert_int_equal(journal_entry(journal, 4)->dev, 7);
	assert_true(journal_entry(journal, 4)->ino == UINT64_MAX);
	check_entry(journal, 5, JOURNAL_DOMAIN, "uuid", "qemu:///system");
	check_entry(journal, 6, JOURNAL_RESET, "web", "id");
	assert_true(journal_entry(journal, 6)->dev == UINT64_MAX);
	assert_int_equal(journal_entry(journal, 6)->ino, 2);
	check_entry(journal, 7, JOURNAL_QUIESCE, "uuid", "qemu:///session");
	check_entry(journal, 8, JOURNAL_FREEZE, "uuid", "qemu:///system");
	check_entry(journal, 9, JOURNAL_MODES, NULL, NULL);
	assert_int_equal(journal_undone(journal), 11);
	assert_int_equal(journal_end(journal, NULL), 0);
	assert_int_equal(count_files(), 0);
	no_orphan();
}

static void test_what_stands_behind_done_is_undone(void **state)
{
	struct journal *journal = begin();

	assert_int_equal(journal_undone(journal), 0);
	add(journal, JOURNAL_STAGE, "a", NULL);
	assert_int_equal(journal_undone(journal), 0);
	add(journal, JOURNAL_DONE, NULL, NULL);
	add(journal, JOURNAL_STAGE, "b", NULL);
	assert_int_equal(journal_undone(journal), 2);
	assert_int_equal(journal_end(journal, NULL), 0);
}

static void test_notes_are_in_the_file_after_sync(void **state)
{
	struct journal *journal = begin();

	assert_int_equal(journal_note(journal, JOURNAL_STAGE, "a", NULL, 0, 0, NULL), 0);
	assert_int_equal(journal_note(journal, JOURNAL_CLONE, "b", "c", 0, 0, NULL), 0);
	assert_int_equal(journal_sync(journal, NULL), 0);
	assert_int_equal(journal_note(journal, JOURNAL_STAGE, "never synced", NULL, 0, 0, NULL), 0);
	assert_int_equal(journal_count(journal), 3);
	journal_close(journal);
	journal = orphan();
	assert_int_equal(journal_count(journal), 2);
	journal_close(journal);
}

static void test_a_living_run_is_no_orphan(void **state)
{
	struct journal *journal = begin();

	add(journal, JOURNAL_STAGE, "mine", NULL);
	no_orphan();
	journal_close(journal);
	journal = orphan();
	/* Held by us now: not found again, and by nobody else. */
	no_orphan();
	journal_close(journal);
	journal = orphan();
	assert_int_equal(journal_end(journal, NULL), 0);
	no_orphan();
}

static void test_the_lock_dies_with_the_process(void **state)
{
	pid_t child = fork();
	struct journal *journal;
	int status;

	if (child == 0) {
		struct journal *theirs;

		if (journal_begin(dirfd_of_store, &theirs, NULL) == 0 &&
			journal_add(theirs, JOURNAL_STAGE, "theirs", NULL, 0, 0, NULL) == 0)
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	journal = orphan();
	check_entry(journal, 0, JOURNAL_STAGE, "theirs", NULL);
	assert_int_equal(journal_end(journal, NULL), 0);
}

/* A file in journal/ as a crash may leave it. */
static void put_file(const char *name, const char *text, size_t len)
{
	char path[TEMP_PATH_MAX + 64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/journal", dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/journal/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
}

#define NAME "0123456789abcdef0123456789abcdef.json"
#define LINE "{\"what\":\"stage\",\"name\":\"a\"}\n"

static void test_a_torn_line_at_every_length(void **state)
{
	for (size_t cut = 0; cut < strlen(LINE); cut++) {
		char text[3 * sizeof(LINE)];
		struct journal *journal;

		snprintf(text, sizeof(text), "%s%.*s", LINE, (int)cut, LINE);
		put_file(NAME, text, strlen(text));
		journal = orphan();
		assert_int_equal(journal_count(journal), 1);
		/* What is added next stands where the torn line began. */
		add(journal, JOURNAL_DONE, NULL, NULL);
		journal_close(journal);
		journal = orphan();
		assert_int_equal(journal_count(journal), 2);
		assert_int_equal(journal_end(journal, NULL), 0);
	}
}

/* After a power cut the size may be there and the data not. */
static void test_zeros_at_the_end(void **state)
{
	static const char text[] = LINE "\0\0\0\0\0\0\0\0";
	struct journal *journal;

	put_file(NAME, text, sizeof(text) - 1);
	journal = orphan();
	assert_int_equal(journal_count(journal), 1);
	assert_int_equal(journal_end(journal, NULL), 0);
}

static void refused(const char *text)
{
	struct journal *journal;
	struct err err = {0};

	put_file(NAME, text, strlen(text));
	assert_int_equal(journal_next_orphan(dirfd_of_store, &journal, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, NAME));
	assert_non_null(strstr(err.hint, "journal/" NAME));
}

static void test_damage_is_named(void **state)
{
	refused("no json\n");
	refused("[]\n");
	refused("{\"what\":\"unheard of\"}\n");
	refused("{\"what\":\"stage\"}\n");
	refused("{\"what\":\"stage\",\"name\":1}\n");
	refused("{\"what\":\"stage\",\"name\":\"\"}\n");
	refused("{\"what\":\"clone\",\"name\":\"a\"}\n");
	refused("{\"what\":\"file-made\",\"path\":\"/a\",\"dev\":\"1\"}\n");
	refused("{\"what\":\"file-made\",\"path\":\"/a\",\"dev\":\"-1\",\"ino\":\"1\"}\n");
	refused("{\"what\":\"file-made\",\"path\":\"/a\",\"dev\":\"1\",\"ino\":\"18446744073709551616\"}\n");
	refused(LINE "\n" LINE);
	refused("{\"what\":\"done\",\"what\":\"stage\",\"name\":\"a\"}\n");
}

static void test_unborn_ones_are_removed(void **state)
{
	put_file(".0123456789abcdef0123456789abcdef.new", "", 0);
	put_file("readme", "somebody's", 10);
	assert_int_equal(count_files(), 2);
	no_orphan();
	assert_int_equal(count_files(), 1);
}

static void test_a_name_that_is_no_text_is_refused(void **state)
{
	struct journal *journal = begin();

	assert_int_equal(
		journal_add(journal, JOURNAL_STAGE, "\xff\xfe", NULL, 0, 0, NULL), -EILSEQ);
	assert_int_equal(journal_count(journal), 0);
	add(journal, JOURNAL_STAGE, "good", NULL);
	journal_close(journal);
	journal = orphan();
	assert_int_equal(journal_count(journal), 1);
	journal_close(journal);
}

static void test_without_a_directory_there_is_none(void **state)
{
	no_orphan();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_kind_comes_back),
		TEST(test_what_stands_behind_done_is_undone),
		TEST(test_notes_are_in_the_file_after_sync),
		TEST(test_a_living_run_is_no_orphan),
		TEST(test_the_lock_dies_with_the_process),
		TEST(test_a_torn_line_at_every_length),
		TEST(test_zeros_at_the_end),
		TEST(test_damage_is_named),
		TEST(test_unborn_ones_are_removed),
		TEST(test_a_name_that_is_no_text_is_refused),
		TEST(test_without_a_directory_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
