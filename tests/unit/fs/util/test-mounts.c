/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of mounts, as far as it is the same on every Linux; canonical paths. */
#include <errno.h>
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

#include "fs/util/mounts.h"

static void test_proc_is_found_by_path_and_by_number(void **state)
{
	struct mounts_entry by_path, by_dev;
	struct stat st;

	assert_int_equal(stat("/proc", &st), 0);
	assert_int_equal(mounts_at("/proc", &by_path), 1);
	assert_string_equal(by_path.type, "proc");
	assert_int_equal(by_path.dev, st.st_dev);
	assert_int_equal(mounts_of_dev(st.st_dev, &by_dev), 1);
	assert_string_equal(by_dev.type, "proc");
}

static void test_what_is_no_mount_point(void **state)
{
	struct mounts_entry entry;

	assert_int_equal(mounts_at("/proc/self", &entry), 0);
	assert_int_equal(mounts_at("proc", &entry), 0);
	assert_int_equal(mounts_at("/nonexistent", &entry), 0);
}

static void test_canonical_paths(void **state)
{
	static const struct {
		const char *path, *canonical;
	} cases[] = {
		{"real/mnt", "real/mnt"},
		{"real/mnt//", "real/mnt"},
		{"link/mnt", "real/mnt"},
		{"real/../link/./mnt", "real/mnt"},
		{"link", "real"},
		{"real/mnt/..", "real"},
		{"real/mnt/.", "real/mnt"},
		{"real/not there", "real/not there"},
	};
	char dir[] = "/tmp/lazyclone-mounts-XXXXXX";
	char canonical[PATH_MAX], wanted[2 * PATH_MAX], base[PATH_MAX];

	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_non_null(realpath(".", base));
	assert_int_equal(mkdir("real", 0700), 0);
	assert_int_equal(mkdir("real/mnt", 0700), 0);
	assert_int_equal(symlink("real", "link"), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(mounts_canonical(cases[i].path, canonical), 0);
		snprintf(wanted, sizeof(wanted), "%s/%s", base, cases[i].canonical);
		assert_string_equal(canonical, wanted);
	}
	assert_int_equal(mounts_canonical("none/mnt", canonical), -ENOENT);
	assert_int_equal(mounts_canonical("/tmp", canonical), 0);
	assert_int_equal(mounts_canonical("/", canonical), 0);
	assert_string_equal(canonical, "/");
	unlink("link");
	rmdir("real/mnt");
	rmdir("real");
	assert_int_equal(chdir("/"), 0);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_proc_is_found_by_path_and_by_number),
		cmocka_unit_test(test_what_is_no_mount_point),
		cmocka_unit_test(test_canonical_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
