/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Protection of a held base: against QEMU's programs, and against plain writers. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/base.h"
#include "tests/lib/rawbase.h"
#include "tests/lib/scratch.h"

#define SIZE (1u << 20)

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

static struct base *hold(void)
{
	struct base *base = NULL;
	struct err err = {0};

	if (rawbase_hold(path, NULL, &base, &err) < 0)
		fail_msg("%s", err.message);
	return base;
}

static struct base_info info(struct base *base)
{
	struct base_info now;

	base_info(base, &now);
	return now;
}

/* Where the file system gives no lease there is nothing to test of it. */
static struct base *hold_leased(void)
{
	struct base *base = hold();

	if (!info(base).leased) {
		base_release(base);
		skip();
	}
	return base;
}

static int read_first(struct base *base)
{
	char first = 0;
	int rc = base_read(base, &first, 1, 0, false);

	assert_true(rc < 0 || first == content[0]);
	return rc;
}

static void expect_busy(void)
{
	struct err err = {0};
	struct base *base;

	assert_int_equal(rawbase_hold(path, NULL, &base, &err), -EBUSY);
	assert_non_null(strstr(err.message, path));
	assert_non_null(strstr(err.message, "open for writing"));
}

/* ---- a program that has the base open for writing ---- */

struct writer {
	pid_t pid;
	int order;  /* to it: one letter each */
	int answer; /* from it: one byte for each order done */
};

static void obey(int fd, char order)
{
	switch (order) {
	case 'w':
		if (pwrite(fd, "!", 1, SIZE / 2) != 1)
			_exit(1);
		break;
	case 'q':
		_exit(0);
	}
}

static void be_writer(int order, int answer)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char letter = 'o';

	if (fd < 0)
		_exit(1);
	while (write(answer, &letter, 1) == 1 && read(order, &letter, 1) == 1)
		obey(fd, letter);
	_exit(1);
}

static struct writer start_writer(void)
{
	struct writer w;
	int order[2];
	int answer[2];

	assert_int_equal(pipe2(order, O_CLOEXEC), 0);
	assert_int_equal(pipe2(answer, O_CLOEXEC | O_NONBLOCK), 0);
	w.pid = fork();
	assert_true(w.pid >= 0);
	if (w.pid == 0)
		be_writer(order[0], answer[1]);
	close(order[0]);
	close(answer[1]);
	w.order = order[1];
	w.answer = answer[0];
	return w;
}

static bool answered(const struct writer *w)
{
	char letter;

	return read(w->answer, &letter, 1) == 1;
}

static void tell(const struct writer *w, char order)
{
	assert_int_equal(write(w->order, &order, 1), 1);
	if (order != 'q')
		WAIT_UNTIL(answered(w));
}

static void end_writer(struct writer *w)
{
	int status;

	tell(w, 'q');
	assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
	assert_int_equal(status, 0);
	close(w->order);
	close(w->answer);
}

/* ---- plain writers ---- */

static void test_writer_before(void **state)
{
	struct writer w;

	base_release(hold_leased());
	w = start_writer();
	WAIT_UNTIL(answered(&w));
	expect_busy();
	end_writer(&w);
	base_release(hold());
}

/* What a failed start of the original does: open for writing, close. */
static void test_writer_without_change(void **state)
{
	struct base *base = hold_leased();
	struct writer w = start_writer();
	char first;

	WAIT_UNTIL(answered(&w));
	assert_int_equal(info(base).state, BASE_SUSPENDED);
	assert_int_equal(base_read(base, &first, 1, 0, true), -EAGAIN);
	expect_busy();
	end_writer(&w);
	WAIT_UNTIL(info(base).state == BASE_READY);
	assert_true(info(base).leased);
	assert_int_equal(read_first(base), 0);
	/* And it is guarded as before. */
	w = start_writer();
	WAIT_UNTIL(answered(&w));
	assert_int_equal(info(base).state, BASE_SUSPENDED);
	end_writer(&w);
	WAIT_UNTIL(info(base).state == BASE_READY);
	base_release(base);
}

static void test_writer_with_change(void **state)
{
	struct base *base = hold_leased();
	struct writer w = start_writer();
	struct base *again = NULL;
	struct err err = {0};
	uint64_t run;

	WAIT_UNTIL(answered(&w));
	tell(&w, 'w');
	end_writer(&w);
	WAIT_UNTIL(info(base).state == BASE_CHANGED);
	assert_int_equal(read_first(base), -EIO);
	assert_int_equal(base_read(base, &(char){0}, 1, 0, true), -EIO);
	assert_false(base_hole(base, 0, 1, &run));
	assert_int_equal(rawbase_hold(path, base_identity(base), &again, &err), -ESTALE);
	/* For ever: another writer changes nothing of that. */
	w = start_writer();
	WAIT_UNTIL(answered(&w));
	end_writer(&w);
	assert_int_equal(read_first(base), -EIO);
	/* As it is now it may be cloned anew beside the broken one. */
	again = hold();
	assert_ptr_not_equal(again, base);
	assert_int_equal(read_first(again), 0);
	base_release(again);
	base_release(base);
}

static void test_truncated(void **state)
{
	struct base *base = hold_leased();

	assert_int_equal(truncate(path, SIZE / 2), 0);
	WAIT_UNTIL(info(base).state == BASE_CHANGED);
	assert_int_equal(read_first(base), -EIO);
	base_release(base);
}

/* An open that does not wait gets away at once, and the base recovers. */
static void test_impatient_writer(void **state)
{
	struct base *base = hold_leased();

	for (int i = 0; i < 20; i++) {
		int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

		/* Later ones may come just while the lease is given back. */
		assert_true(fd < 0 ? errno == EWOULDBLOCK : i > 0);
		if (fd >= 0)
			close(fd);
		assert_int_equal(read_first(base), 0);
	}
	WAIT_UNTIL(info(base).state == BASE_READY);
	assert_int_equal(read_first(base), 0);
	base_release(base);
}

struct reader {
	struct base *base;
	pthread_t thread;
	_Atomic int rc;
};

static void *read_once(void *arg)
{
	struct reader *r = arg;
	char first = 0;
	int rc = base_read(r->base, &first, 1, 0, false);

	assert(rc < 0 || first == content[0]);
	atomic_store(&r->rc, rc);
	return NULL;
}

static void start_reader(struct reader *r, struct base *base)
{
	r->base = base;
	atomic_store(&r->rc, 1);
	pthread_create(&r->thread, NULL, read_once, r);
}

/* A read waits for a suspended base, and goes on or fails with it. */
static void test_read_waits(void **state)
{
	for (int change = 0; change < 2; change++) {
		struct base *base = hold_leased();
		struct writer w = start_writer();
		struct reader r;

		WAIT_UNTIL(answered(&w));
		start_reader(&r, base);
		if (change)
			tell(&w, 'w');
		assert_int_equal(atomic_load(&r.rc), 1);
		end_writer(&w);
		WAIT_UNTIL(atomic_load(&r.rc) != 1);
		pthread_join(r.thread, NULL);
		assert_int_equal(atomic_load(&r.rc), change ? -EIO : 0);
		base_release(base);
	}
}

/* Releasing does not wait for the writer. */
static void test_release_suspended(void **state)
{
	struct base *base = hold_leased();
	struct writer w = start_writer();

	WAIT_UNTIL(answered(&w));
	base_release(base);
	end_writer(&w);
}

/* ---- many readers while writers come and go: no read sees a writer's byte ---- */

static struct {
	struct base *base;
	_Atomic bool stop;
	_Atomic unsigned int reads;
} storm;

static void *read_many(void *arg)
{
	static const bool nowait[] = {false, true};

	for (unsigned int i = 0; !atomic_load(&storm.stop); i++) {
		char byte = 0;
		int rc = base_read(storm.base, &byte, 1, SIZE / 2, nowait[i % 2]);

		assert(rc == 0 || rc == -EIO || (rc == -EAGAIN && i % 2));
		assert(rc < 0 || byte == content[SIZE / 2]);
		atomic_fetch_add(&storm.reads, 1);
	}
	return NULL;
}

static void test_storm(void **state)
{
	pthread_t threads[3];
	struct writer w;
	unsigned int seen = 0;

	storm.base = hold_leased();
	atomic_store(&storm.stop, false);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, read_many, NULL);
	for (int i = 0; i < 10; i++) {
		w = start_writer();
		WAIT_UNTIL(answered(&w));
		if (i == 9)
			tell(&w, 'w');
		end_writer(&w);
		if (i < 9)
			WAIT_UNTIL(info(storm.base).state == BASE_READY);
		WAIT_UNTIL(atomic_load(&storm.reads) > seen + 10);
		seen = atomic_load(&storm.reads);
	}
	WAIT_UNTIL(info(storm.base).state == BASE_CHANGED);
	atomic_store(&storm.stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	base_release(storm.base);
}

/* ---- without a lease: locks and a look every second are what there is ---- */

#define NOBODY 65534
#define KERNEL_PATIENCE_MS 45000 /* lease-break-time: so long a writer would hang */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool changed_in_time(struct base *base)
{
	unsigned int rounds = 0;

	while (info(base).state != BASE_CHANGED) {
		if (!scratch_patience(&rounds))
			return false;
	}
	return base_read(base, &(char){0}, 1, 0, false) == -EIO;
}

/* Somebody else's file gives us no lease. */
static int watch_foreign(int ready)
{
	struct base *base;

	if (rawbase_hold(path, NULL, &base, NULL) < 0 || info(base).leased)
		return 3;
	if (base_read(base, &(char){0}, 1, 0, false) < 0 || write(ready, "r", 1) != 1)
		return 4;
	if (!changed_in_time(base))
		return 5;
	base_release(base);
	return 0;
}

/* Our own file does; it becomes root's while a writer has it, as in a failed
 * start under another user. It goes on without, and has it again when the file
 * is ours again. */
static int watch_lost(int ready)
{
	unsigned int rounds = 0;
	struct base *base;

	if (rawbase_hold(path, NULL, &base, NULL) < 0 || !info(base).leased)
		return 3;
	if (write(ready, "r", 1) != 1)
		return 4;
	while (info(base).leased || info(base).state != BASE_READY) {
		if (!scratch_patience(&rounds))
			return 5;
	}
	if (base_read(base, &(char){0}, 1, 0, false) < 0 || write(ready, "r", 1) != 1)
		return 6;
	for (rounds = 0; !info(base).leased;) {
		if (!scratch_patience(&rounds))
			return 7;
	}
	if (base_read(base, &(char){0}, 1, 0, false) < 0 || write(ready, "r", 1) != 1)
		return 8;
	if (!changed_in_time(base))
		return 9;
	base_release(base);
	return 0;
}

/* A process that gives up root for good. */
static pid_t start_nobody(int (*watch)(int ready), int *ret_ready)
{
	int ready[2];
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(scratch_dir(), 0755), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		close(ready[0]);
		if (setgroups(0, NULL) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(2);
		_exit(watch(ready[1]));
	}
	close(ready[1]);
	*ret_ready = ready[0];
	return pid;
}

static void expect_success(pid_t pid, int ready)
{
	int status;

	close(ready);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* When it is ready, or when it has ended. */
static void wait_ready(int ready)
{
	char byte;

	(void)!read(ready, &byte, 1);
}

static void write_byte(void)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, "!", 1, 0), 1);
	close(fd);
}

static void test_foreign_file(void **state)
{
	int ready;
	pid_t pid = start_nobody(watch_foreign, &ready);

	wait_ready(ready);
	write_byte();
	expect_success(pid, ready);
}

static void test_lease_lost(void **state)
{
	int64_t start;
	int ready;
	pid_t pid;

	if (geteuid() == 0)
		assert_int_equal(chown(path, NOBODY, NOBODY), 0);
	pid = start_nobody(watch_lost, &ready);
	wait_ready(ready);
	assert_int_equal(chown(path, 0, 0), 0);
	start = now_ms();
	close(open(path, O_WRONLY | O_CLOEXEC));
	assert_true(now_ms() - start < KERNEL_PATIENCE_MS / 2);
	wait_ready(ready);
	/* The locks are still there. */
	assert_int_equal(scratch_run(NULL, "command -v qemu-io >/dev/null || exit 1; "
					   "qemu-io -f raw -c 'write 0 4k' %s >/dev/null 2>&1",
				 path),
		1);
	assert_int_equal(chown(path, NOBODY, NOBODY), 0);
	wait_ready(ready);
	write_byte();
	expect_success(pid, ready);
}

/* ---- QEMU's programs ---- */

static bool have(const char *program)
{
	return scratch_run(NULL, "command -v %s >/dev/null", program) == 0;
}

static void expect_qemu_refused(struct base *base, const char *command)
{
	char *output;
	int status = scratch_run(&output, "%s 2>&1 </dev/null", command);

	if (status == 0 || !strstr(output, "lock"))
		fail_msg("%s: status %d: %s", command, status, output);
	free(output);
	WAIT_UNTIL(info(base).state == BASE_READY);
	assert_int_equal(read_first(base), 0);
}

static void test_qemu_writers_refused(void **state)
{
	struct base *base;
	char command[512];

	if (!have("qemu-io"))
		skip();
	base = hold();
	snprintf(command, sizeof(command), "qemu-io -f raw -c 'write 0 4k' %s", path);
	expect_qemu_refused(base, command);
	snprintf(command, sizeof(command), "qemu-img resize -f raw %s +1M", path);
	expect_qemu_refused(base, command);
	snprintf(command, sizeof(command),
		"cd %s && qemu-img create -q -f qcow2 -F raw -b base.raw o.qcow2 && "
		"qemu-io -c 'write 0 4k' o.qcow2 >&2 && qemu-img commit o.qcow2",
		scratch_dir());
	expect_qemu_refused(base, command);
	base_release(base);
}

static void test_qemu_readers_go_on(void **state)
{
	struct base *base;

	if (!have("qemu-io"))
		skip();
	base = hold();
	assert_int_equal(scratch_run(NULL, "qemu-img info -f raw %s >/dev/null", path), 0);
	assert_int_equal(scratch_run(NULL, "cd %s && qemu-img convert -f raw -O raw base.raw c.raw "
					   "&& cmp base.raw c.raw",
				 scratch_dir()),
		0);
	assert_int_equal(
		scratch_run(NULL, "cd %s && qemu-img create -q -f qcow2 -F raw -b base.raw o.qcow2 && "
				  "qemu-io -c 'write -P 7 0 4k' -c 'read -P 7 0 4k' o.qcow2 >/dev/null",
			scratch_dir()),
		0);
	assert_int_equal(info(base).state, BASE_READY);
	assert_int_equal(read_first(base), 0);
	base_release(base);
}

/* qemu-storage-daemon with the base open for writing, until told to quit. */
static pid_t start_qemu_writer(int *ret_control, char pidfile[static SCRATCH_PATH_MAX])
{
	char node[SCRATCH_PATH_MAX + 128];
	int control[2];
	pid_t pid;

	scratch_path(pidfile, "qemu.pid");
	snprintf(node, sizeof(node), "driver=file,node-name=f,filename=%s,read-only=off", path);
	assert_int_equal(pipe2(control, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		dup2(control[0], STDIN_FILENO);
		execlp("qemu-storage-daemon", "qemu-storage-daemon", "--blockdev", node,
			"--nbd-server", "addr.type=unix,addr.path=nbd.sock", "--export",
			"type=nbd,id=e,node-name=f,writable=on", "--pidfile", pidfile, NULL);
		_exit(127);
	}
	close(control[0]);
	*ret_control = control[1];
	return pid;
}

static bool exists(const char *name)
{
	struct stat st;

	return stat(name, &st) == 0 && st.st_size > 0;
}

/* Through an owner without a lease too, so the locks are what refuses. */
static void test_qemu_running(void **state)
{
	char pidfile[SCRATCH_PATH_MAX];
	struct err err = {0};
	uint64_t size;
	char *text;
	int control;
	int status;
	pid_t pid;

	if (!have("qemu-storage-daemon"))
		skip();
	assert_int_equal(chdir(scratch_dir()), 0);
	pid = start_qemu_writer(&control, pidfile);
	WAIT_UNTIL(exists(pidfile));
	expect_busy();
	assert_int_equal(rawbase_identify(path, &text, &size, &err), -EBUSY);
	assert_non_null(strstr(err.message, "running machine"));
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(control);
	assert_int_equal(chdir("/"), 0);
	base_release(hold());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_writer_before, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_writer_without_change, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_writer_with_change, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_truncated, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_impatient_writer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_read_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_release_suspended, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_storm, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_foreign_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lease_lost, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_qemu_writers_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_qemu_readers_go_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_qemu_running, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
