/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals become a flag while a plan runs, and do what they did before afterwards. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/plan/interrupt.h"

static void test_each_signal_is_seen(void **state)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct err err = {0};

		interrupt_catch();
		assert_false(interrupt_pending());
		assert_int_equal(interrupt_check(&err), 0);
		assert_int_equal(raise(signals[i]), 0);
		assert_true(interrupt_pending());
		assert_int_equal(interrupt_check(&err), -EINTR);
		assert_true(err.message[0]);
		interrupt_restore();
	}
}

static void test_what_was_ignored_stays_ignored(void **state)
{
	signal(SIGHUP, SIG_IGN);
	interrupt_catch();
	assert_int_equal(raise(SIGHUP), 0);
	assert_false(interrupt_pending());
	interrupt_restore();
	assert_ptr_equal(signal(SIGHUP, SIG_DFL), SIG_IGN);
}

static void test_afterwards_they_kill_again(void **state)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		interrupt_catch();
		interrupt_restore();
		raise(SIGTERM);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_signal_is_seen),
		cmocka_unit_test(test_what_was_ignored_stays_ignored),
		cmocka_unit_test(test_afterwards_they_kill_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
