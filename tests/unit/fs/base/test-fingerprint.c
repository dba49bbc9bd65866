/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fingerprints: what they see, what they do not depend on, their text. */
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

#include "fs/base/fingerprint-tree.h"
#include "fs/base/fingerprint.h"
#include "fs/util/cleanup.h"
#include "tests/lib/scratch.h"

#define LEAF FINGERPRINT_LEAF_BYTES
#define DATA_BYTES (3u * LEAF + 777)
#define SIZE (UINT64_C(200) * LEAF + 1234) /* more leaves than a sample has */

static char path[SCRATCH_PATH_MAX];
static char content[DATA_BYTES];

static int set_up(void **state)
{
	scratch_make();
	scratch_path(path, "base.raw");
	scratch_fill(content, DATA_BYTES, 1);
	scratch_file(path, content, DATA_BYTES, SIZE);
	return 0;
}

static int tear_down(void **state)
{
	scratch_remove();
	return 0;
}

static struct fingerprint *sample(const char *name)
{
	struct fingerprint *print;

	assert_int_equal(fingerprint_sample(name, &print, NULL), 0);
	return print;
}

static struct fingerprint *full(const char *name)
{
	struct fingerprint *print;

	assert_int_equal(fingerprint_full(name, NULL, NULL, &print, NULL), 0);
	assert_true(print->full);
	return print;
}

static void flip(const char *name, uint64_t off)
{
	AUTO_CLOSE int fd = open(name, O_RDWR | O_CLOEXEC);
	unsigned char byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)off), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)off), 1);
}

static bool differs(const struct fingerprint *a, const struct fingerprint *b,
	struct fingerprint_range *range)
{
	struct fingerprint_range other;
	bool answer = fingerprint_differs(a, b, range);

	assert_int_equal(fingerprint_differs(b, a, &other), answer);
	return answer;
}

static void test_sample_is_part_of_the_full_one(void **state)
{
	AUTO_FREE struct fingerprint *part = sample(path), *whole = full(path);
	struct fingerprint_range range;

	assert_int_equal(part->n_leaves, FINGERPRINT_SAMPLES_MAX);
	assert_false(part->full);
	assert_int_equal(whole->n_nodes, 201);
	assert_int_equal(part->leaves[0].number, 0);
	assert_int_equal(part->leaves[63].number, 200);
	assert_memory_equal(part->leaves, whole->leaves, sizeof(part->leaves));
	assert_false(differs(part, whole, &range));
}

/* Holes, written zeros, another file: the same. */
static void test_content_alone_counts(void **state)
{
	char copy[SCRATCH_PATH_MAX];
	AUTO_FREE struct fingerprint *a = full(path);
	AUTO_FREE struct fingerprint *b = NULL;
	struct fingerprint_range range;

	scratch_path(copy, "copy.raw");
	assert_int_equal(scratch_run(NULL, "cp --sparse=never %s %s", path, copy), 0);
	b = full(copy);
	assert_false(differs(a, b, &range));
	assert_int_equal(a->root, b->root);
}

static void test_flipped_byte(void **state)
{
	static const uint64_t places[] = {0, LEAF - 1, LEAF, 3 * LEAF, 77 * LEAF + 5, SIZE - 1};
	AUTO_FREE struct fingerprint *before = full(path);

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		AUTO_FREE struct fingerprint *now = NULL;
		struct fingerprint_range range;

		flip(path, places[i]);
		now = full(path);
		assert_true(differs(before, now, &range));
		assert_int_equal(range.start, places[i] / LEAF * LEAF);
		assert_in_range(places[i], range.start, range.end - 1);
		assert_true(range.end <= SIZE);
		assert_int_not_equal(before->root, now->root);
		flip(path, places[i]);
	}
}

/* Which flips the sample sees is said by its leaves, and by nothing else. */
static void test_sample_sees_its_leaves(void **state)
{
	AUTO_FREE struct fingerprint *before = sample(path);

	for (uint64_t leaf = 0; leaf <= 200; leaf += 7) {
		AUTO_FREE struct fingerprint *now = NULL;
		struct fingerprint_range range;
		bool sampled = false;

		for (uint32_t i = 0; i < before->n_leaves; i++)
			sampled |= before->leaves[i].number == leaf;
		flip(path, leaf * LEAF + 9);
		now = sample(path);
		assert_int_equal(differs(before, now, &range), sampled);
		flip(path, leaf * LEAF + 9);
	}
}

static void test_other_size(void **state)
{
	AUTO_FREE struct fingerprint *before = full(path), *now = NULL;
	struct fingerprint_range range;

	assert_int_equal(truncate(path, SIZE + 5), 0);
	now = full(path);
	assert_true(differs(before, now, &range));
	assert_int_equal(range.start, SIZE);
	assert_int_equal(range.end, SIZE + 5);
}

/* Nodes are larger than leaves in a large file, and a huge hole costs no reading. */
static void test_large(void **state)
{
	const uint64_t size = (UINT64_C(1) << 36) + 4096, place = UINT64_C(40) << 30;
	AUTO_FREE struct fingerprint *before = NULL, *now = NULL;
	struct fingerprint_range range;

	assert_int_equal(truncate(path, (off_t)size), 0);
	before = full(path);
	assert_true(before->n_nodes <= FINGERPRINT_NODES_MAX);
	assert_true(before->n_nodes > FINGERPRINT_NODES_MAX / 2);
	flip(path, place);
	now = full(path);
	assert_true(differs(before, now, &range));
	assert_in_range(place, range.start, range.end - 1);
	assert_true(range.end - range.start <= before->span_bytes);
}

/* The sampled leaf that differs lies behind a node that does. */
static void test_first_of_both(void **state)
{
	AUTO_FREE struct fingerprint *before = NULL, *now = NULL;
	struct fingerprint_range range;
	uint64_t span;

	assert_int_equal(truncate(path, 2100 * (off_t)LEAF), 0);
	before = full(path);
	span = before->span_bytes;
	assert_true(span > LEAF);
	flip(path, 2 * span);
	flip(path, 2099 * (uint64_t)LEAF);
	now = full(path);
	assert_true(differs(before, now, &range));
	assert_int_equal(range.start, 2 * span);
	assert_int_equal(range.end, 3 * span);
}

static bool stop_at_half(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
	uint64_t *last = ctx;

	assert_true(done_bytes > *last);
	*last = done_bytes;
	return done_bytes < total_bytes / 2;
}

static void test_stopped(void **state)
{
	struct fingerprint *print;
	uint64_t last = 0;

	assert_int_equal(fingerprint_full(path, stop_at_half, &last, &print, NULL), -EINTR);
	assert_in_range(last, SIZE / 2, SIZE);
}

static void check_text(const struct fingerprint *print)
{
	AUTO_FREE struct fingerprint *back = NULL;
	AUTO_FREE char *text = NULL;

	assert_int_equal(fingerprint_format(print, &text), 0);
	assert_true(strlen(text) <= FINGERPRINT_TEXT_MAX);
	assert_int_equal(fingerprint_parse(text, &back, NULL), 0);
	assert_memory_equal(back, print, sizeof(*print));
}

static void test_text(void **state)
{
	AUTO_FREE struct fingerprint *part = sample(path), *whole = full(path), *large = NULL;

	check_text(part);
	check_text(whole);
	assert_int_equal(truncate(path, 1024 * (off_t)LEAF), 0);
	large = full(path);
	assert_int_equal(large->n_nodes, FINGERPRINT_NODES_MAX);
	check_text(large);
}

static void refused(const char *text)
{
	struct fingerprint *print;
	struct err err = {0};

	assert_int_equal(fingerprint_parse(text, &print, &err), -EUCLEAN);
	assert_true(err.message[0]);
}

/* Each member once wrong: a byte of the text is replaced. */
static void test_damaged_text(void **state)
{
	AUTO_FREE struct fingerprint *whole = full(path);
	AUTO_FREE char *text = NULL;
	static const char *const places[] = {"format\":1", "size\":1", "leaf\":6", "[[0,", "span\":6",
		"nodes\":[\"", "root\":\""};

	assert_int_equal(fingerprint_format(whole, &text), 0);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char *at = strstr(text, places[i]), was;

		assert_non_null(at);
		at += strlen(places[i]) - 1;
		if (*at == '"' || *at == ',')
			at += *at == '"' ? 1 : -1;
		was = *at;
		*at = was == '7' ? '8' : '7';
		refused(text);
		*at = was;
	}
	text[strlen(text) - 1] = '\0';
	refused(text);
	refused("");
	refused("[]");
	refused("{}");
}

static void test_not_there(void **state)
{
	struct fingerprint *print;
	struct err err = {0};

	assert_int_equal(fingerprint_sample("/nonexistent/base", &print, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/nonexistent/base"));
	assert_int_equal(fingerprint_sample(scratch_dir(), &print, &err), -EOPNOTSUPP);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sample_is_part_of_the_full_one),
		TEST(test_content_alone_counts),
		TEST(test_flipped_byte),
		TEST(test_sample_sees_its_leaves),
		TEST(test_other_size),
		TEST(test_large),
		TEST(test_first_of_both),
		TEST(test_stopped),
		TEST(test_text),
		TEST(test_damaged_text),
		TEST(test_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
