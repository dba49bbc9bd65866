/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Identity of files: its text, what is a change and what is none. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/identity-text.h"
#include "fs/base/identity.h"
#include "fs/base/raw.h"
#include "fs/base/sample.h"
#include "fs/base/source.h"
#include "tests/lib/scratch.h"

#define SIZE 1234567u

static char path[SCRATCH_PATH_MAX];
static char content[SIZE];

static int set_up(void **state)
{
	scratch_make();
	scratch_path(path, "base.raw");
	scratch_fill(content, SIZE, 1);
	scratch_file(path, content, SIZE, SIZE);
	return 0;
}

static int tear_down(void **state)
{
	scratch_remove();
	return 0;
}

static struct identity take(const char *name)
{
	struct identity id;
	struct raw raw;

	assert_int_equal(raw_open(name, &raw, NULL), 0);
	assert_int_equal(identity_take(&raw, &id), 0);
	close(raw.fd);
	return id;
}

/* What path is today against id; the reason is printed when it differs. */
static int compare(const struct identity *id)
{
	char why[IDENTITY_WHY_MAX] = "";
	struct raw raw;
	int rc;

	assert_int_equal(raw_open(path, &raw, NULL), 0);
	rc = identity_compare(id, &raw, why);
	close(raw.fd);
	assert_int_equal(rc == -ESTALE, why[0] != '\0');
	return rc;
}

static void overwrite(uint64_t off)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, "!", 1, (off_t)off), 1);
	close(fd);
}

static void set_mtime(struct timespec mtime)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime};

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static struct timespec mtime(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mtim;
}

static void test_same(void **state)
{
	struct identity id = take(path);
	struct identity again = take(path);

	assert_true(identity_same(&id, &again));
	assert_int_equal(compare(&id), 0);
}

static void test_no_change(void **state)
{
	struct identity id = take(path);
	char moved[SCRATCH_PATH_MAX];

	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(compare(&id), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_int_equal(compare(&id), 0);
	}
	assert_int_equal(rename(path, scratch_path(moved, "moved")), 0);
	assert_int_equal(rename(moved, path), 0);
	assert_int_equal(link(path, moved), 0);
	assert_int_equal(unlink(moved), 0);
	assert_int_equal(compare(&id), 0);
	/* Opened for writing, and nothing written. */
	close(open(path, O_RDWR | O_CLOEXEC));
	assert_int_equal(compare(&id), 0);
}

static void test_written(void **state)
{
	struct identity id = take(path);

	overwrite(SIZE / 3);
	assert_int_equal(compare(&id), -ESTALE);
}

static void test_touched(void **state)
{
	struct identity id = take(path);

	set_mtime((struct timespec){.tv_sec = 1});
	assert_int_equal(compare(&id), -ESTALE);
}

static void test_resized(void **state)
{
	struct identity id = take(path);
	struct timespec before = mtime();

	assert_int_equal(truncate(path, SIZE + 1), 0);
	set_mtime(before);
	assert_int_equal(compare(&id), -ESTALE);
	assert_int_equal(truncate(path, SIZE), 0);
	set_mtime(before);
	assert_int_equal(compare(&id), 0);
}

/* Somebody who puts the time back is found by the sample: first and last page. */
static void test_time_put_back(void **state)
{
	static const uint64_t offsets[] = {0, SIZE - 1};

	for (int i = 0; i < 2; i++) {
		struct identity id = take(path);
		struct timespec before = mtime();

		overwrite(offsets[i]);
		set_mtime(before);
		assert_int_equal(compare(&id), -ESTALE);
	}
}

static void test_replaced(void **state)
{
	struct identity id = take(path);
	char copy[SCRATCH_PATH_MAX];

	scratch_path(copy, "copy");
	assert_int_equal(scratch_run(NULL, "cp -p %s %s && mv %s %s", path, copy, copy, path), 0);
	assert_int_equal(compare(&id), -ESTALE);
}

static void test_sample_covers_small_files(void **state)
{
	struct identity before;
	struct identity after;

	scratch_file(path, content, 65536, 65536);
	before = take(path);
	for (uint64_t off = 4095; off < 65536; off += 4096) {
		overwrite(off);
		after = take(path);
		assert_true(before.sample != after.sample);
		before = after;
	}
}

/* Recorded in manifests, so these numbers may never become others. */
static void test_sample_is_for_ever(void **state)
{
	static const struct {
		uint64_t size_bytes;
		uint64_t sample;
	} known[] = {
		{1, UINT64_C(0x4ecc10df525aa701)},
		{512, UINT64_C(0x4180c13c98aa15c3)},
		{1234567, UINT64_C(0x13c32752c1b5036b)},
		{UINT64_C(8) << 40, UINT64_C(0xa50e4414db8b861b)},
	};
	char pattern[512];

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (char)(i * 7 + 1);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t len = known[i].size_bytes < 512 ? (size_t)known[i].size_bytes : 512;
		struct identity id;

		scratch_file(path, pattern, len, known[i].size_bytes);
		id = take(path);
		assert_int_equal(id.sample, known[i].sample);
	}
}

/* The text of one raw file, and back. */
static char *text_of(const struct identity *id)
{
	struct base_source *source;
	struct known *known;
	char *text;

	assert_int_equal(base_source_raw("/a", &source), 0);
	assert_int_equal(known_new(source, &known), 0);
	known->images[0] = *id;
	assert_int_equal(known_format(known, &text), 0);
	known_free(known);
	return text;
}

static int parse(const char *text, struct identity *ret_identity, struct err *err)
{
	struct known *known;
	int rc = known_parse("/a", text, &known, err);

	if (rc < 0)
		return rc;
	assert_int_equal(known->source->n_images, 1);
	assert_string_equal(known->source->images[0].path, "/a");
	assert_string_equal(known->source->images[0].format, "raw");
	*ret_identity = known->images[0];
	known_free(known);
	return 0;
}

static void expect_round_trip(const struct identity *id)
{
	struct identity back = {0};
	char *text = text_of(id);

	assert_true(strlen(text) < BASE_IDENTITY_MAX);
	assert_null(strpbrk(text, "\n\r\t"));
	assert_int_equal(parse(text, &back, NULL), 0);
	assert_true(identity_same(id, &back));
	assert_int_equal(id->changed.sec, back.changed.sec);
	assert_int_equal(id->changed.nsec, back.changed.nsec);
	free(text);
}

static void test_text_round_trip(void **state)
{
	struct identity file = take(path);
	struct identity far = {
		.size_bytes = RAW_SIZE_MAX,
		.sample = UINT64_MAX,
		.file_system = UINT64_MAX,
		.inode = UINT64_MAX,
		.modified = {.sec = INT64_MIN, .nsec = 999999999},
		.changed = {.sec = INT64_MAX},
	};
	struct identity device = {.device = true, .size_bytes = 512, .sample = 1};

	expect_round_trip(&file);
	expect_round_trip(&far);
	expect_round_trip(&device);
	memset(device.device_id, '"', IDENTITY_DEVICE_MAX - 1);
	expect_round_trip(&device);
}

#define FILE_TEXT                                                                                  \
	"{\"format\": 1, \"kind\": \"file\", \"size\": 1234567, \"sample\": \"0123456789abcdef\", " \
	"\"fs\": \"5e0271a5219a029a\", \"inode\": \"000000000000002a\", "                          \
	"\"mtime\": [1700000000, 123456789], \"ctime\": [-1, 0]}"

/* Written by an early lazyclone: must be read for ever. */
static void test_text_is_for_ever(void **state)
{
	struct identity id;
	char *text;

	assert_int_equal(parse(FILE_TEXT, &id, NULL), 0);
	assert_false(id.device);
	assert_int_equal(id.size_bytes, 1234567);
	assert_int_equal(id.inode, 42);
	assert_int_equal(id.modified.nsec, 123456789);
	assert_int_equal(id.changed.sec, -1);
	text = text_of(&id);
	assert_string_equal(text, FILE_TEXT);
	free(text);
}

static void expect_refused(const char *text)
{
	struct err err = {0};
	struct known *known;

	if (known_parse("/top", text, &known, &err) != -EUCLEAN || err.message[0] == '\0')
		fail_msg("not refused: %s", text);
}

/* FILE_TEXT with one of its parts replaced. */
static void expect_refused_with(const char *part, const char *by)
{
	const char *found = strstr(FILE_TEXT, part);
	char text[1024];

	assert_non_null(found);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(found - FILE_TEXT), FILE_TEXT, by,
		found + strlen(part));
	expect_refused(text);
}

static void test_text_refused(void **state)
{
	char *large = malloc(BASE_IDENTITY_MAX + 2);

	expect_refused("");
	expect_refused("{}");
	expect_refused("[]");
	expect_refused("null");
	expect_refused(FILE_TEXT "x");
	expect_refused_with("\"format\": 1", "\"format\": 2"); /* says no image */
	expect_refused_with("\"format\": 1", "\"format\": 3");
	expect_refused_with("\"format\": 1", "\"format\": \"1\"");
	expect_refused_with("\"file\"", "\"tape\"");
	expect_refused_with("\"file\"", "\"device\"");
	expect_refused_with("1234567,", "0,");
	expect_refused_with("1234567,", "-1,");
	expect_refused_with("1234567,", "70368744177665,");
	expect_refused_with("1234567,", "1e3,");
	expect_refused_with("0123456789abcdef", "0123456789abcde");
	expect_refused_with("0123456789abcdef", "0123456789ABCDEF");
	expect_refused_with("0123456789abcdef", "0x23456789abcdef");
	expect_refused_with("[-1, 0]", "[-1]");
	expect_refused_with("[-1, 0]", "[-1, 0, 0]");
	expect_refused_with("123456789]", "1000000000]");
	expect_refused_with("123456789]", "-1]");
	expect_refused_with("\"ctime\"", "\"mtime\"");
	expect_refused("{\"format\": 1, \"kind\": \"device\", \"size\": 512, "
		       "\"sample\": \"0123456789abcdef\", \"id\": \"a b\"}");
	memset(large, ' ', BASE_IDENTITY_MAX + 1);
	memcpy(large, FILE_TEXT, strlen(FILE_TEXT));
	large[BASE_IDENTITY_MAX + 1] = '\0';
	expect_refused(large);
	free(large);
}

#define FILE_MEMBERS                                                                               \
	"\"kind\": \"file\", \"size\": 1234567, \"sample\": \"0123456789abcdef\", "                  \
	"\"fs\": \"5e0271a5219a029a\", \"inode\": \"000000000000002a\", "                          \
	"\"mtime\": [1700000000, 123456789], \"ctime\": [-1, 0]"
#define OTHER_MEMBERS                                                                              \
	"\"kind\": \"device\", \"size\": 65536, \"sample\": \"fedcba9876543210\", \"id\": \"naa.1\""
#define CHAIN_TEXT                                                                                 \
	"{\"format\": 2, " FILE_MEMBERS ", \"image\": \"qcow2\", "                                  \
	"\"data\": {\"path\": \"/d\", " OTHER_MEMBERS "}, \"snapshot\": \"s 1\", "                  \
	"\"below\": [{\"path\": \"/b\", " FILE_MEMBERS ", \"image\": \"qcow2\"}, "                  \
	"{\"path\": \"/c\", " OTHER_MEMBERS ", \"image\": \"raw\"}]}"

/* It stands in manifests: must be read for ever. */
static void test_chain_is_for_ever(void **state)
{
	struct base_source *source;
	struct known *known;
	char *text;

	assert_int_equal(known_parse("/top", CHAIN_TEXT, &known, NULL), 0);
	assert_int_equal(known->data[0].size_bytes, 65536);
	assert_false(known->images[1].device);
	assert_true(known->images[2].device);
	assert_int_equal(known_format(known, &text), 0);
	assert_string_equal(text, CHAIN_TEXT);
	free(text);
	known_free(known);
	assert_int_equal(base_identity_source("/top", CHAIN_TEXT, &source, NULL), 0);
	assert_int_equal(source->n_images, 3);
	assert_string_equal(source->images[0].path, "/top");
	assert_string_equal(source->images[0].data_path, "/d");
	assert_string_equal(source->images[1].path, "/b");
	assert_string_equal(source->images[1].format, "qcow2");
	assert_null(source->images[1].data_path);
	assert_string_equal(source->images[2].format, "raw");
	assert_string_equal(source->snapshot, "s 1");
	base_source_free(source);
	assert_true(base_identity_equal(CHAIN_TEXT, CHAIN_TEXT));
	assert_false(base_identity_equal(CHAIN_TEXT, FILE_TEXT));
}

/* CHAIN_TEXT with part, where it stands first, replaced. */
static char *chain_with(const char *part, const char *by)
{
	static char text[2 * sizeof(CHAIN_TEXT)];
	const char *found = strstr(CHAIN_TEXT, part);

	assert_non_null(found);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(found - CHAIN_TEXT), CHAIN_TEXT, by,
		found + strlen(part));
	return text;
}

static void test_chain_differs(void **state)
{
	assert_true(base_identity_equal(CHAIN_TEXT, chain_with("\"/b\"", "\"/moved\"")));
	assert_false(base_identity_equal(CHAIN_TEXT, chain_with("s 1", "s 2")));
	assert_false(base_identity_equal(CHAIN_TEXT, chain_with("\"snapshot\": \"s 1\", ", "")));
	assert_false(base_identity_equal(CHAIN_TEXT, chain_with("65536", "65537")));
	assert_false(base_identity_equal(CHAIN_TEXT,
		chain_with("\"id\": \"naa.1\", \"image\"", "\"id\": \"naa.2\", \"image\"")));
	assert_false(base_identity_equal(CHAIN_TEXT,
		chain_with("\"data\": {\"path\": \"/d\", " OTHER_MEMBERS "}, ", "")));
	assert_false(base_identity_equal(CHAIN_TEXT,
		chain_with(", {\"path\": \"/c\", " OTHER_MEMBERS ", \"image\": \"raw\"}", "")));
}

static void test_chain_refused(void **state)
{
	expect_refused(chain_with("\"image\": \"qcow2\"", "\"image\": \"raw\""));
	expect_refused(chain_with("\"image\": \"qcow2\"", "\"image\": \"vmdk\""));
	expect_refused(chain_with("\"image\": \"qcow2\"", "\"image\": 2"));
	expect_refused(chain_with("\"path\": \"/b\", ", ""));
	expect_refused(chain_with("\"path\": \"/b\"", "\"path\": \"b\""));
	expect_refused(chain_with("\"path\": \"/b\"", "\"path\": \"/c\""));
	expect_refused(chain_with("\"path\": \"/b\"", "\"path\": \"/d\""));
	expect_refused(chain_with("\"path\": \"/b\"", "\"path\": \"/top\""));
	expect_refused(chain_with("\"path\": \"/d\"", "\"path\": 7"));
	expect_refused(chain_with("\"data\": {", "\"data\": {\"size\": 1}, \"x\": {"));
	expect_refused(chain_with("\"snapshot\": \"s 1\"", "\"snapshot\": \"\""));
	expect_refused(chain_with("\"snapshot\": \"s 1\"", "\"snapshot\": 1"));
	expect_refused(chain_with("\"below\": [", "\"below\": 1, \"x\": ["));
	expect_refused(chain_with("\"below\": [", "\"below\": [7, "));
}

/* As many images as may be, and one more. */
static void test_chain_depth(void **state)
{
	char *text = malloc(BASE_IDENTITY_MAX + 1);

	for (int below = BASE_IMAGES_MAX - 1; below <= BASE_IMAGES_MAX; below++) {
		struct known *known;
		struct err err = {0};
		int len = sprintf(text, "{\"format\": 2, " OTHER_MEMBERS ", \"image\": \"qcow2\", "
			"\"below\": [");

		for (int i = 0; i < below; i++)
			len += sprintf(text + len, "%s{\"path\": \"/%d\", " OTHER_MEMBERS
				", \"image\": \"qcow2\"}", i ? ", " : "", i);
		strcpy(text + len, "]}");
		if (below == BASE_IMAGES_MAX) {
			expect_refused(text);
			continue;
		}
		assert_int_equal(known_parse("/top", text, &known, &err), 0);
		known_free(known);
	}
	free(text);
}

/* What would not be read again is not written. */
static void test_chain_too_long(void **state)
{
	static char name[1100];
	struct base_source *source;
	struct known *known;
	char *text;

	assert_int_equal(source_new(BASE_IMAGES_MAX, &source), 0);
	for (uint32_t i = 0; i < BASE_IMAGES_MAX; i++) {
		snprintf(name, sizeof(name), "/%u/%01000d", i, 0);
		assert_int_equal(source_set_image(source, i, name, "qcow2", NULL), 0);
	}
	assert_int_equal(source_check(source, "x", NULL), 0);
	assert_int_equal(known_new(source, &known), 0);
	assert_int_equal(known_format(known, &text), -E2BIG);
	known_free(known);
	assert_int_equal(base_source_raw("/\xff", &source), 0);
	assert_int_equal(base_source_format(source, &text), -EILSEQ);
	base_source_free(source);
}

static void test_equal(void **state)
{
	char other[sizeof(FILE_TEXT)];

	strcpy(other, FILE_TEXT);
	strstr(other, "[-1")[2] = '2'; /* ctime is no part of it */
	assert_true(base_identity_equal(FILE_TEXT, other));
	strstr(other, "002a")[3] = 'b';
	assert_false(base_identity_equal(FILE_TEXT, other));
	assert_false(base_identity_equal(FILE_TEXT, "{}"));
	assert_false(base_identity_equal("{}", "{}"));
}

/* A device that shows no id today is not the one that had one. */
static void test_device_id(void **state)
{
	struct identity with = {.device = true, .size_bytes = 512, .device_id = "naa.1"};
	struct identity file = take(path);
	struct identity device = file;

	assert_false(identity_same(&with, &file));
	device.device = true;
	assert_int_equal(compare(&device), -ESTALE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_same, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_change, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_written, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_touched, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_resized, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_time_put_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_replaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sample_covers_small_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sample_is_for_ever, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_text_round_trip, set_up, tear_down),
		cmocka_unit_test(test_text_is_for_ever),
		cmocka_unit_test(test_text_refused),
		cmocka_unit_test(test_chain_is_for_ever),
		cmocka_unit_test(test_chain_differs),
		cmocka_unit_test(test_chain_refused),
		cmocka_unit_test(test_chain_depth),
		cmocka_unit_test(test_chain_too_long),
		cmocka_unit_test(test_equal),
		cmocka_unit_test_setup_teardown(test_device_id, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
