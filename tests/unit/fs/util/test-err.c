/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors: set, prefixed, cut, and their way to an exit status and back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/util/err.h"

static void there_and_back(void **state)
{
	(void)state;
	for (int status = EXIT_DONE; status <= EXIT_DAMAGED; status++) {
		assert_int_equal(err_exit_status(err_of_exit_status(status)), status);
		assert_true(err_of_exit_status(status) <= 0);
	}
	/* A crash, a shell's "not found", nonsense: failed. */
	assert_int_equal(err_of_exit_status(139), -EIO);
	assert_int_equal(err_of_exit_status(127), -EIO);
	assert_int_equal(err_of_exit_status(-1), -EIO);
	assert_int_equal(err_exit_status(-EDOM), EXIT_FAILED);
}

static void messages(void **state)
{
	struct err err = {.code = 0};

	(void)state;
	assert_int_equal(err_set(&err, -EBUSY, "disk %s", "vda"), -EBUSY);
	err_hint(&err, "wait");
	err_prefix(&err, "clone %s", "web");
	assert_string_equal(err.message, "clone web: disk vda");
	assert_string_equal(err.hint, "wait");
	/* A new error has no old hint. */
	assert_int_equal(err_sys(&err, -ENOENT, "open"), -ENOENT);
	assert_string_equal(err.message, "open: No such file or directory");
	assert_string_equal(err.hint, "");
}

static void nobody_listens(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, -EIO, "lost"), -EIO);
	assert_int_equal(err_sys(NULL, -EIO, "lost"), -EIO);
	err_hint(NULL, "lost");
	err_prefix(NULL, "lost");
}

static void long_messages_are_cut(void **state)
{
	char path[2 * ERR_MESSAGE_MAX];
	struct err err;

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	err_sys(&err, -EIO, "%s", path);
	assert_int_equal(strlen(err.message), ERR_MESSAGE_MAX - 1);
	err_prefix(&err, "%s", path);
	assert_int_equal(strlen(err.message), ERR_MESSAGE_MAX - 1);
	err_hint(&err, "%s", path);
	assert_int_equal(strlen(err.hint), ERR_HINT_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(messages),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(long_messages_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
