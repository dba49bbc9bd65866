/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's command line, also as mount(8) writes it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/daemon/options.h"

#define WORDS_MAX 12

/* One line of words apart by blanks. */
static int parse(const char *line, struct options *ret_options, struct err *err)
{
	static char copy[256];
	char *argv[WORDS_MAX + 1] = {0};
	char *rest = copy;
	int argc = 0;

	strcpy(copy, line);
	while (argc < WORDS_MAX && (argv[argc] = strsep(&rest, " ")))
		argc++;
	return options_parse(argc, argv, ret_options, err);
}

static void expect_serve(const char *line, bool foreground)
{
	struct options options;
	struct err err = {0};

	assert_int_equal(parse(line, &options, &err), 0);
	assert_int_equal(options.wanted, OPTIONS_SERVE);
	assert_string_equal(options.store, "/s");
	assert_string_equal(options.mountpoint, "/m");
	assert_int_equal(options.foreground, foreground);
	options_release(&options);
}

static void test_options_stand_anywhere(void **state)
{
	expect_serve("lazyclonefs /s /m", false);
	expect_serve("lazyclonefs -f /s /m", true);
	expect_serve("lazyclonefs /s -f /m", true);
	expect_serve("lazyclonefs /s /m --foreground", true);
	expect_serve("lazyclonefs -o rw /s /m -onoatime,x-systemd.automount,_netdev", false);
	expect_serve("lazyclonefs -- /s /m", false);
	expect_serve("lazyclonefs /s /m -o ,", false);
}

static void test_as_a_mount_helper(void **state)
{
	struct options options;

	expect_serve("/sbin/mount.fuse.lazyclone /s /m -o rw,noauto", false);
	expect_serve("mount.fuse.lazyclone /s /m -sn -v -t fuse.lazyclone -N /ns -o rw", false);
	assert_int_equal(parse("mount.fuse.lazyclone /s /m -f", &options, NULL), 0);
	assert_int_equal(options.wanted, OPTIONS_NOTHING);
	options_release(&options);
}

static void test_what_is_asked_for(void **state)
{
	struct options options;

	assert_int_equal(parse("lazyclonefs --help", &options, NULL), 0);
	assert_int_equal(options.wanted, OPTIONS_HELP);
	assert_int_equal(parse("lazyclonefs -V", &options, NULL), 0);
	assert_int_equal(options.wanted, OPTIONS_VERSION);
	assert_int_equal(parse("lazyclonefs /s /m -o workers=16,force_takeover", &options, NULL), 0);
	assert_int_equal(options.workers, 16);
	assert_true(options.force_takeover);
	assert_int_equal(options.allow_other, geteuid() == 0);
	options_release(&options);
	assert_int_equal(parse("lazyclonefs /s /m -o allow_other", &options, NULL), 0);
	assert_true(options.allow_other);
	assert_false(options.force_takeover);
	options_release(&options);
}

static void test_limits(void **state)
{
	struct options options;

	assert_int_equal(parse("lazyclonefs /s /m", &options, NULL), 0);
	assert_int_equal(options.quota_bytes, 0);
	assert_int_equal(options.clone_quota_bytes, 0);
	assert_int_equal(options.memory_bytes, 1 << 30);
	assert_int_equal(options.idle_sec, 600);
	assert_true(options.clean);
	assert_int_equal(options.clean_rate_bytes, 0);
	options_release(&options);
	assert_int_equal(parse("lazyclonefs /s /m -o quota=10G,clone_quota=1.5G,memory=64M,idle=5 "
		"-o clean=off,clean_rate=2M", &options, NULL), 0);
	assert_int_equal(options.quota_bytes, UINT64_C(10) << 30);
	assert_int_equal(options.clone_quota_bytes, UINT64_C(3) << 29);
	assert_int_equal(options.memory_bytes, 64 << 20);
	assert_int_equal(options.idle_sec, 5);
	assert_false(options.clean);
	assert_int_equal(options.clean_rate_bytes, 2 << 20);
	options_release(&options);
}

static void test_wrong_usage_is_named(void **state)
{
	static const struct {
		const char *line, *part;
	} wrong[] = {
		{"lazyclonefs", "needed"},
		{"lazyclonefs /s", "needed"},
		{"lazyclonefs /s /m /x", "/x: one argument too many"},
		{"lazyclonefs /s /m -o", "-o: its value is missing"},
		{"lazyclonefs /s /m -x", "-x: unknown"},
		{"lazyclonefs /s /m --nonsense", "--nonsense: unknown"},
		{"lazyclonefs /s /m -s", "-s: unknown"},
		{"lazyclonefs /s /m -o ro", "ro: unknown"},
		{"lazyclonefs /s /m -o rw,workers=17", "workers: 17 is not"},
		{"lazyclonefs /s /m -o workers=", "workers: ''"},
		{"lazyclonefs /s /m -o workers=2x", "workers: '2x'"},
		{"lazyclonefs /s /m -o workers=99999999999999999999", "workers: "},
		{"mount.fuse.lazyclone /s /m -t", "-t: unknown"},
		{"lazyclonefs /s /m -o workers", "workers: unknown"},
		{"lazyclonefs /s /m -o quota=much", "option quota much: not a size"},
		{"lazyclonefs /s /m -o clone_quota=-1", "option clone_quota -1: not a size"},
		{"lazyclonefs /s /m -o memory=99999T", "option memory 99999T: more than"},
		{"lazyclonefs /s /m -o idle=0", "option idle: 0 is not between 1 and"},
		{"lazyclonefs /s /m -o clean=yes", "option clean: 'yes' is neither on nor off"},
		{"lazyclonefs /s /m -o clean_rate=", "option clean_rate : not a size"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct options options;
		struct err err = {0};

		assert_int_equal(parse(wrong[i].line, &options, &err), -EINVAL);
		assert_non_null(strstr(err.message, wrong[i].part));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_stand_anywhere),
		cmocka_unit_test(test_as_a_mount_helper),
		cmocka_unit_test(test_what_is_asked_for),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_wrong_usage_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
