/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Child processes: status, what they say, the deadline, and a grandchild that lingers. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/util/proc.h"

static int shell(const char *script, int timeout_ms, int *status, char *said, struct err *err)
{
	const char *const argv[] = {"sh", "-c", script, NULL};

	return proc_run(argv, timeout_ms, status, said, err);
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void status_and_words(void **state)
{
	char said[PROC_STDERR_MAX];
	struct err err = {.code = 0};
	int status = -1;

	(void)state;
	assert_int_equal(shell("echo out; echo why >&2; exit 9", 10000, &status, said, &err), 0);
	assert_int_equal(status, 9);
	assert_string_equal(said, "why\n");
	assert_int_equal(shell("kill -TERM $$", 10000, &status, said, &err), 0);
	assert_int_equal(status, 128 + SIGTERM);
	assert_string_equal(said, "");
}

static void no_program(void **state)
{
	const char *const argv[] = {"/no/such/program", NULL};
	char said[PROC_STDERR_MAX];
	struct err err = {.code = 0};
	int status;

	(void)state;
	assert_int_equal(proc_run(argv, 10000, &status, said, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/no/such/program"));
}

/* A flood is cut, and its writer is not kept waiting. */
static void flood(void **state)
{
	char said[PROC_STDERR_MAX];
	struct err err = {.code = 0};
	int status = -1;

	(void)state;
	assert_int_equal(shell("head -c 1000000 /dev/zero | tr '\\0' x >&2", 20000, &status, said,
		&err), 0);
	assert_int_equal(status, 0);
	assert_int_equal(strlen(said), PROC_STDERR_MAX - 1);
}

static void deadline(void **state)
{
	char said[PROC_STDERR_MAX];
	struct err err = {.code = 0};
	double begun = seconds_now();
	int status;

	(void)state;
	assert_int_equal(shell("exec sleep 60", 200, &status, said, &err), -ETIMEDOUT);
	assert_true(seconds_now() - begun < 30);
}

/* A daemon keeps stderr open; its starter has exited, and that is the end. */
static void lingering_grandchild(void **state)
{
	char said[PROC_STDERR_MAX];
	struct err err = {.code = 0};
	double begun = seconds_now();
	int status = -1;

	(void)state;
	assert_int_equal(shell("sleep 60 & echo $! >&2", 20000, &status, said, &err), 0);
	assert_int_equal(status, 0);
	assert_true(seconds_now() - begun < 15);
	assert_int_equal(kill(atoi(said), SIGKILL), 0);
}

static int fail_stale(const void *ctx)
{
	(void)ctx;
	return -ESTALE;
}

static int succeed(const void *ctx)
{
	return *(const int *)ctx == 7 ? 0 : -EINVAL;
}

static int hang(const void *ctx)
{
	(void)ctx;
	while (getppid() > 0)
		pause();
	return 0;
}

static int die(const void *ctx)
{
	(void)ctx;
	raise(SIGKILL);
	return 0;
}

static void tries(void **state)
{
	int seven = 7;

	(void)state;
	assert_int_equal(proc_try(fail_stale, NULL, 10000), -ESTALE);
	assert_int_equal(proc_try(succeed, &seven, 10000), 0);
	assert_int_equal(proc_try(hang, NULL, 100), -ETIMEDOUT);
	assert_int_equal(proc_try(die, NULL, 10000), -EIO);
}

static int as_other(const void *ctx)
{
	(void)ctx;
	if (proc_become(65534, 65534))
		return -EPERM;
	return geteuid() == 65534 && getegid() == 65534 && setuid(0) ? 0 : -EINVAL;
}

static void become(void **state)
{
	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(proc_try(as_other, NULL, 10000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_and_words),
		cmocka_unit_test(no_program),
		cmocka_unit_test(flood),
		cmocka_unit_test(deadline),
		cmocka_unit_test(lingering_grandchild),
		cmocka_unit_test(tries),
		cmocka_unit_test(become),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
