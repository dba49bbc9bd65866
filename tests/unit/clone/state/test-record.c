/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records: written and read back, and everything that must not be believed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/state/record.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];
static int dirfd_of_clone;

static int setup(void **state)
{
	temp_dir("record", dir);
	dirfd_of_clone = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_of_clone < 0;
}

static int teardown(void **state)
{
	close(dirfd_of_clone);
	temp_dir_remove(dir);
	return 0;
}

static struct record *sample(void)
{
	struct record *record = record_new(2);

	assert_non_null(record);
	record->uri = strdup("qemu:///system");
	record->uuid = strdup("9b5cdc66-72a0-4b6c-b751-b798a0dceacb");
	record->source_name = strdup("web");
	record->source_uuid = strdup("13683615-6f77-400d-a726-37907afae48a");
	record->nvram = strdup("/var/lib/x_VARS.fd");
	record->created_sec = 1795185983;
	record->phase = RECORD_COPYING;
	record->disks[0].target = strdup("vda");
	record->disks[0].source = strdup("/images/w\xc3\xa4" "b \"1\".raw");
	record->disks[0].driver = strdup("<driver name='qemu' type='raw'/>");
	record->disks[0].image = strdup("/images/clone.raw");
	record->disks[0].temp = strdup("/images/.clone.tmp");
	record->disks[0].temp_ino = UINT64_MAX;
	record->disks[1].target = strdup("vdb");
	record->disks[1].source = strdup("/images/data.raw");
	return record;
}

static void same_text(const char *a, const char *b)
{
	if (a && b)
		assert_string_equal(a, b);
	else
		assert_ptr_equal(a, b);
}

static void same(const struct record *a, const struct record *b)
{
	same_text(a->uri, b->uri);
	same_text(a->uuid, b->uuid);
	same_text(a->source_name, b->source_name);
	same_text(a->source_uuid, b->source_uuid);
	same_text(a->nvram, b->nvram);
	assert_int_equal(a->frozen, b->frozen);
	assert_int_equal(a->created_sec, b->created_sec);
	assert_int_equal(a->phase, b->phase);
	assert_int_equal(a->n_disks, b->n_disks);
	for (uint32_t i = 0; i < a->n_disks; i++) {
		same_text(a->disks[i].target, b->disks[i].target);
		same_text(a->disks[i].source, b->disks[i].source);
		same_text(a->disks[i].driver, b->disks[i].driver);
		same_text(a->disks[i].image, b->disks[i].image);
		same_text(a->disks[i].temp, b->disks[i].temp);
		assert_true(a->disks[i].temp_ino == b->disks[i].temp_ino);
	}
}

static void test_comes_back(void **state)
{
	struct record *record = sample();
	struct record *back;

	for (int phase = RECORD_CLONE; phase <= RECORD_DEFINED; phase++) {
		record->phase = (enum record_phase)phase;
		record->frozen = phase % 2;
		assert_int_equal(record_write(dirfd_of_clone, record, NULL), 0);
		assert_int_equal(record_read(dirfd_of_clone, &back, NULL), 0);
		same(record, back);
		record_free(back);
	}
	assert_ptr_equal(record_disk_find(record, "vdb"), &record->disks[1]);
	assert_null(record_disk_find(record, "vdc"));
	record_free(record);
}

static void test_without_a_domain(void **state)
{
	struct record *record = record_new(1);
	struct record *back;

	record->disks[0].target = strdup("disk");
	record->disks[0].source = strdup("/a.raw");
	assert_int_equal(record_write_new(dirfd_of_clone, record, NULL), 0);
	assert_int_equal(record_read(dirfd_of_clone, &back, NULL), 0);
	same(record, back);
	record_free(record);
	record_free(back);
}

/* The sample with one text replaced by another must be refused, and say why. */
static void refused(const char *from, const char *to, const char *why)
{
	struct record *record = sample();
	struct record *back;
	struct err err = {0};
	char *text, *at, *changed;

	assert_int_equal(record_format(record, &text), 0);
	at = strstr(text, from);
	assert_non_null(at);
	changed = malloc(strlen(text) + strlen(to) + 1);
	sprintf(changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	assert_int_equal(record_parse(changed, strlen(changed), &back, &err), -EUCLEAN);
	if (!strstr(err.message, why))
		fail_msg("'%s' does not say '%s'", err.message, why);
	free(changed);
	free(text);
	record_free(record);
}

static void test_what_is_not_believed(void **state)
{
	refused("{", "[", "");
	refused("\"record\": 1", "\"record\": 2", "another version");
	refused("\"record\": 1", "\"record\": true", "another version");
	refused("\"uri\": \"qemu:///system\"", "\"uri\": null", "uri");
	refused("\"uri\": \"qemu:///system\"", "\"uri\": 1", "uri");
	refused("9b5cdc66-72a0-4b6c-b751-b798a0dceacb", "9b5cdc66", "uuid");
	refused("\"nvram\": \"/var", "\"nvram\": \"var", "nvram");
	refused("\"created\": 1795185983", "\"created\": 1.5", "created");
	refused("\"created\":", "\"frozen\": 1, \"created\":", "frozen");
	refused("\"uri\": \"qemu:///system\",\n \"uuid\": \"9b5cdc66-72a0-4b6c-b751-b798a0dceacb\"",
		"\"frozen\": true, \"uri\": null, \"uuid\": null", "frozen");
	refused("\"copying\"", "\"coping\"", "phase");
	refused("\"target\": \"vda\"", "\"target\": \"\"", "target");
	refused("\"target\": \"vda\"", "\"target\": \"vdb\"", "target");
	refused("\"target\": \"vda\"", "\"target\": null", "target");
	refused("\"source\": \"/images/data.raw\"", "\"source\": \"data.raw\"", "source");
	refused("\"image\": \"/images/clone.raw\"", "\"image\": null", "temp");
	refused("\"temp_ino\": \"18446744073709551615\"", "\"temp_ino\": \"-1\"", "temp_ino");
	refused("\"temp_ino\": \"18446744073709551615\"",
		"\"temp_ino\": \"18446744073709551616\"", "temp_ino");
	refused("\"temp_ino\": \"18446744073709551615\"", "\"temp_ino\": 7", "temp_ino");
	refused("\"disks\": [", "\"disk\": [", "disks");
	refused("\"source\": \"web\"", "\"source\": \"w\\u0000b\"", "");
}

static void test_sizes_are_limited(void **state)
{
	static char long_text[RECORD_TEXT_MAX + 2];
	struct record *record = sample();
	struct record *many = record_new(RECORD_DISKS_MAX + 1);
	struct record *back;
	char *text;

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[0] = '/';
	free(record->nvram);
	record->nvram = strdup(long_text);
	assert_int_equal(record_write(dirfd_of_clone, record, NULL), -EILSEQ);
	record->nvram[RECORD_TEXT_MAX] = '\0';
	assert_int_equal(record_write(dirfd_of_clone, record, NULL), 0);
	assert_int_equal(record_read(dirfd_of_clone, &back, NULL), 0);
	record_free(back);
	record_free(record);

	for (uint32_t i = 0; i < many->n_disks; i++) {
		char target[16];

		snprintf(target, sizeof(target), "d%u", i);
		many->disks[i].target = strdup(target);
		many->disks[i].source = strdup("/a");
	}
	assert_int_equal(record_format(many, &text), 0);
	assert_int_equal(record_parse(text, strlen(text), &back, NULL), -EUCLEAN);
	free(text);
	record_free(many);
}

static void test_a_file_too_large_or_missing(void **state)
{
	struct record *back;
	int fd;

	assert_int_equal(record_read(dirfd_of_clone, &back, NULL), -ENOENT);
	fd = openat(dirfd_of_clone, RECORD_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, RECORD_BYTES_MAX + 1), 0);
	assert_int_equal(record_read(dirfd_of_clone, &back, NULL), -EUCLEAN);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(record_read(dirfd_of_clone, &back, NULL), -EUCLEAN);
	close(fd);
}

static void test_uuids_are_random_and_of_version_4(void **state)
{
	char a[37], b[37];

	record_uuid_new(a);
	record_uuid_new(b);
	assert_int_equal(strlen(a), 36);
	assert_string_not_equal(a, b);
	assert_int_equal(a[14], '4');
	assert_non_null(strchr("89ab", a[19]));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_comes_back),
		TEST(test_without_a_domain),
		TEST(test_what_is_not_believed),
		TEST(test_sizes_are_limited),
		TEST(test_a_file_too_large_or_missing),
		TEST(test_uuids_are_random_and_of_version_4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
