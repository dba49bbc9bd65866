/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The watcher alone: a writer is let in only after the last read has left. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/lease.h"
#include "fs/base/watch.h"
#include "tests/lib/scratch.h"

/* Long enough for a watcher that does not wait to let the writer in. */
#define PATIENT_ROUNDS 100

static char path[SCRATCH_PATH_MAX];
static struct gate gate;
static struct watch watch;
static struct raw raw;
static struct identity identity;
static _Atomic int writer_fd;

static int set_up(void **state)
{
	scratch_make();
	scratch_file(scratch_path(path, "base.raw"), "content", 7, 4096);
	gate_init(&gate, 10000);
	if (raw_open(path, &raw, NULL) < 0 || watch_start(&watch, &gate, &raw, &identity) < 0)
		return -1;
	return 0;
}

static int tear_down(void **state)
{
	watch_stop(&watch);
	close(raw.fd);
	gate_destroy(&gate);
	scratch_remove();
	return 0;
}

static void arm(void)
{
	assert_int_equal(watch_lease(&watch), 0);
	if (!atomic_load(&watch.leased))
		skip();
	assert_int_equal(identity_take(&raw, &identity), 0);
	watch_arm(&watch);
}

static void *open_for_writing(void *arg)
{
	atomic_store(&writer_fd, open(path, O_WRONLY | O_CLOEXEC));
	return NULL;
}

static void test_read_under_way(void **state)
{
	unsigned int rounds = 0;
	pthread_t writer;

	arm();
	atomic_store(&writer_fd, -1);
	assert_int_equal(gate_enter(&gate, false), 0);
	pthread_create(&writer, NULL, open_for_writing, NULL);
	WAIT_UNTIL(gate_state(&gate) == BASE_SUSPENDED);
	while (rounds < PATIENT_ROUNDS && scratch_patience(&rounds))
		assert_int_equal(atomic_load(&writer_fd), -1);
	assert_true(gate_leave(&gate));
	watch_wake(&watch);
	WAIT_UNTIL(atomic_load(&writer_fd) >= 0);
	pthread_join(writer, NULL);
	assert_int_equal(gate_state(&gate), BASE_SUSPENDED);
	close(atomic_load(&writer_fd));
	WAIT_UNTIL(gate_state(&gate) == BASE_READY);
	assert_true(lease_intact(raw.fd));
}

/* Woken for nothing it looks, and goes on. */
static void test_woken_for_nothing(void **state)
{
	arm();
	for (int i = 0; i < 10; i++)
		watch_wake(&watch);
	assert_int_equal(gate_state(&gate), BASE_READY);
	assert_true(lease_intact(raw.fd));
}

/* What is not armed can be stopped; tear_down does. */
static void test_never_armed(void **state)
{
	assert_int_equal(watch_lease(&watch), 0);
}

/* A lease that is refused is a writer, and says so. */
static void test_lease_refused(void **state)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int rc = watch_lease(&watch);

	close(fd);
	assert_true(rc == -EBUSY || !atomic_load(&watch.leased));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_read_under_way, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_woken_for_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_never_armed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lease_refused, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
