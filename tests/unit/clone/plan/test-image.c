/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Full images: names, space, publishing, and dropping only what is ours. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/plan/image.h"
#include "clone/plan/imagelock.h"
#include "fs/util/io.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];
static struct record *record;
static struct manifest *manifest;
static struct store *store;

static void path_of(const char *name, char path[static PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s", dir, name);
}

static void make_original(uint32_t i, const char *target)
{
	char name[32];
	char path[PATH_MAX];
	int fd;

	snprintf(name, sizeof(name), "original-%s.raw", target);
	path_of(name, path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	assert_true(fd >= 0);
	close(fd);
	record->disks[i].target = strdup(target);
	record->disks[i].source = strdup(path);
}

static void make_store(void)
{
	char path[PATH_MAX];

	path_of("stores", path);
	assert_int_equal(setenv("LAZYCLONE_STORES", path, 1), 0);
	path_of("store", path);
	assert_int_equal(store_create(&io_kernel, path, NULL), 0);
	assert_int_equal(store_open(&io_kernel, path, &store, NULL), 0);
}

static int setup_disks(uint32_t n_disks)
{
	temp_dir("image", dir);
	make_store();
	record = record_new(n_disks);
	assert_int_equal(manifest_new("web-clone1", &manifest), 0);
	make_original(0, "vda");
	if (n_disks > 1)
		make_original(1, "vdb");
	return 0;
}

static int setup_one(void **state)
{
	return setup_disks(1);
}

static int setup_two(void **state)
{
	return setup_disks(2);
}

static int teardown(void **state)
{
	record_free(record);
	manifest_free(manifest);
	store_close(store);
	temp_dir_remove(dir);
	return 0;
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static void test_the_only_disk_is_named_like_the_clone(void **state)
{
	char expected[PATH_MAX];

	path_of("web-clone1.raw", expected);
	assert_int_equal(image_plan(record, 0, manifest, NULL, NULL), 0);
	assert_string_equal(record->disks[0].image, expected);
	path_of(".web-clone1-vda.raw.lazyclone-", expected);
	assert_int_equal(strncmp(record->disks[0].temp, expected, strlen(expected)), 0);
}

static void test_several_disks_have_their_targets(void **state)
{
	char to[PATH_MAX], expected[PATH_MAX];

	path_of("web-clone1-vdb.raw", expected);
	assert_int_equal(image_plan(record, 1, manifest, NULL, NULL), 0);
	assert_string_equal(record->disks[1].image, expected);
	path_of("elsewhere", to);
	assert_int_equal(image_plan(record, 1, manifest, to, NULL), -ENOENT);
	assert_int_equal(mkdir(to, 0755), 0);
	assert_int_equal(image_plan(record, 1, manifest, to, NULL), 0);
	path_of("elsewhere/web-clone1-vdb.raw", expected);
	assert_string_equal(record->disks[1].image, expected);
}

static void test_no_file_is_replaced(void **state)
{
	char taken[PATH_MAX];
	struct err err = {0};
	int fd;

	path_of("web-clone1.raw", taken);
	assert_int_equal(symlink("/nowhere", taken), 0);
	assert_int_equal(image_plan(record, 0, manifest, NULL, &err), -EEXIST);
	assert_non_null(strstr(err.message, taken));
	assert_null(record->disks[0].image);
	assert_int_equal(unlink(taken), 0);

	/* Taken after it was planned. */
	assert_int_equal(image_plan(record, 0, manifest, NULL, NULL), 0);
	assert_int_equal(image_create(&record->disks[0], 4096, &fd, NULL), 0);
	assert_int_equal(symlink("/nowhere", taken), 0);
	assert_int_equal(image_publish(&record->disks[0], store, fd, &err), -EEXIST);
	close(fd);
	assert_int_equal(image_drop(&record->disks[0], NULL), 0);
	assert_int_equal(unlink(taken), 0);
}

/* Its own image may have its name, and an earlier thaw the next one. */
static void test_a_frozen_original_gets_a_name_that_is_free(void **state)
{
	char taken[PATH_MAX], expected[PATH_MAX];

	record->frozen = true;
	path_of("web-clone1-thawed.raw", taken);
	assert_int_equal(image_plan(record, 0, manifest, NULL, NULL), 0);
	assert_string_equal(record->disks[0].image, taken);
	assert_int_equal(symlink("/nowhere", taken), 0);
	path_of("web-clone1-thawed2.raw", expected);
	assert_int_equal(image_plan(record, 0, manifest, NULL, NULL), 0);
	assert_string_equal(record->disks[0].image, expected);
}

static void test_devices_have_no_place_beside_them(void **state)
{
	struct err err = {0};

	free(record->disks[0].source);
	record->disks[0].source = strdup("/dev/vg/web");
	assert_int_equal(image_plan(record, 0, manifest, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.hint, "--to"));
	assert_int_equal(image_plan(record, 0, manifest, dir, &err), 0);
}

static void test_space_is_counted_per_file_system(void **state)
{
	uint64_t little[] = {1 << 20, 1 << 20};
	uint64_t much[] = {UINT64_C(1) << 60, UINT64_C(1) << 60};
	struct err err = {0};

	assert_int_equal(image_plan(record, 0, manifest, NULL, NULL), 0);
	assert_int_equal(image_plan(record, 1, manifest, NULL, NULL), 0);
	assert_int_equal(image_check_space(record, little, NULL), 0);
	assert_int_equal(image_check_space(record, much, &err), -ENOSPC);
	assert_int_equal(err_exit_status(err.code), EXIT_NO_SPACE);
	assert_non_null(strstr(err.message, record->disks[0].image));
}

static void test_published_as_the_original_is(void **state)
{
	struct record_disk *disk = &record->disks[0];
	struct stat st;
	int fd;

	assert_int_equal(image_plan(record, 0, manifest, NULL, NULL), 0);
	assert_int_equal(image_create(disk, 123 * 512, &fd, NULL), 0);
	assert_int_equal(stat(disk->temp, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(st.st_ino == disk->temp_ino);
	assert_int_equal(chmod(disk->source, 0444), 0); /* nobody's to write */
	assert_int_equal(image_publish(disk, store, fd, NULL), 0);
	close(fd);
	assert_false(exists(disk->temp));
	assert_int_equal(stat(disk->image, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	assert_int_equal(st.st_size, 123 * 512);
}

static void test_drop_at_every_point(void **state)
{
	struct record_disk *disk = &record->disks[0];
	char image[PATH_MAX];
	int fd;

	assert_int_equal(image_drop(disk, NULL), 0); /* never planned */
	path_of("web-clone1.raw", image);
	for (int point = 0; point < 4; point++) {
		assert_int_equal(image_plan(record, 0, manifest, NULL, NULL), 0);
		if (point > 0) {
			assert_int_equal(image_create(disk, 4096, &fd, NULL), 0);
			if (point == 3)
				assert_int_equal(image_publish(disk, store, fd, NULL), 0);
			close(fd);
		}
		if (point == 1)
			disk->temp_ino = 0; /* killed before it was recorded */
		assert_int_equal(image_drop(disk, NULL), 0);
		assert_null(disk->image);
		assert_null(disk->temp);
		assert_false(exists(image));
	}
}

static void test_what_is_not_ours_stays(void **state)
{
	struct record_disk *disk = &record->disks[0];
	char image[PATH_MAX];
	int fd;

	path_of("web-clone1.raw", image);
	assert_int_equal(image_plan(record, 0, manifest, NULL, NULL), 0);
	assert_int_equal(image_create(disk, 4096, &fd, NULL), 0);
	close(fd);
	/* Somebody else's by that name. */
	assert_int_equal(link(disk->source, image), 0);
	assert_int_equal(image_drop(disk, NULL), 0);
	assert_true(exists(image));
	assert_int_equal(unlink(image), 0);
}

static void test_what_a_machine_uses_stays(void **state)
{
	struct record_disk *disk = &record->disks[0];
	char image[PATH_MAX];
	int fd, machine;

	path_of("web-clone1.raw", image);
	assert_int_equal(image_plan(record, 0, manifest, NULL, NULL), 0);
	assert_int_equal(image_create(disk, 4096, &fd, NULL), 0);
	assert_int_equal(image_publish(disk, store, fd, NULL), 0);
	close(fd);
	machine = open(image, O_RDWR | O_CLOEXEC);
	assert_int_equal(io_lock(machine, false, 101, 1), 0); /* as QEMU says: it writes */
	assert_int_equal(image_drop(disk, NULL), -EBUSY);
	assert_true(exists(image));
	close(machine);
	assert_int_equal(image_drop(disk, NULL), 0);
	assert_false(exists(image));
}

/* Each lock that QEMU may hold against a reader. */
static void test_qemu_locks(void **state)
{
	static const struct {
		unsigned int byte;
		int expected;
	} cases[] = {{100, 0}, {101, -EBUSY}, {102, 0}, {103, -EBUSY}, {200, -EBUSY}, {201, 0},
		{203, 0}};
	char path[PATH_MAX];

	path_of("original-vda.raw", path);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int machine = open(path, O_RDWR | O_CLOEXEC);
		int ours = open(path, O_RDONLY | O_CLOEXEC);

		assert_int_equal(io_lock(machine, false, cases[i].byte, 1), 0);
		assert_int_equal(imagelock_take(ours), cases[i].expected);
		close(machine);
		close(ours);
	}
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, setup_one, teardown)
#define TWO(name) cmocka_unit_test_setup_teardown(name, setup_two, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(test_the_only_disk_is_named_like_the_clone),
		TWO(test_several_disks_have_their_targets),
		ONE(test_no_file_is_replaced),
		ONE(test_a_frozen_original_gets_a_name_that_is_free),
		ONE(test_devices_have_no_place_beside_them),
		TWO(test_space_is_counted_per_file_system),
		ONE(test_published_as_the_original_is),
		ONE(test_drop_at_every_point),
		ONE(test_what_is_not_ours_stays),
		ONE(test_what_a_machine_uses_stays),
		ONE(test_qemu_locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
