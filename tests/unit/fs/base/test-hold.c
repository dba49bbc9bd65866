/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holding and reading a base: what is refused, sharing, odd sizes, holes. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/base.h"
#include "fs/base/raw.h"
#include "fs/util/round.h"
#include "tests/lib/rawbase.h"
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

static struct base *hold(const char *identity)
{
	struct base *base = NULL;
	struct err err = {0};

	if (rawbase_hold(path, identity, &base, &err) < 0)
		fail_msg("%s", err.message);
	return base;
}

static char *identify(void)
{
	char *text = NULL;
	uint64_t size = 0;

	assert_int_equal(rawbase_identify(path, &text, &size, NULL), 0);
	assert_int_equal(size, SIZE);
	return text;
}

/* Both ways in refuse it with this code and a message that names it. */
static void expect_refused(const char *name, int code, const char *words)
{
	struct err err = {0};
	struct base *base;
	uint64_t size;
	char *text;

	assert_int_equal(rawbase_identify(name, &text, &size, &err), code);
	assert_non_null(strstr(err.message, name));
	assert_non_null(strstr(err.message, words));
	assert_int_equal(rawbase_hold(name, NULL, &base, &err), code);
	assert_non_null(strstr(err.message, name));
	assert_non_null(strstr(err.message, words));
}

/* Held under identity: refused as changed, with these words. */
static void expect_changed(const char *identity, const char *words)
{
	struct err err = {0};
	struct base *base;

	assert_int_equal(rawbase_hold(path, identity, &base, &err), -ESTALE);
	assert_non_null(strstr(err.message, path));
	if (!strstr(err.message, words))
		fail_msg("\"%s\" does not say \"%s\"", err.message, words);
	assert_true(err.hint[0] != '\0');
}

static void test_refused(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[SCRATCH_PATH_MAX];
	int fd;

	expect_refused(scratch_path(name, "missing"), -ENOENT, "No such file");
	expect_refused(scratch_dir(), -EOPNOTSUPP, "not a regular file");
	assert_int_equal(mkfifo(scratch_path(name, "fifo"), 0600), 0);
	expect_refused(name, -EOPNOTSUPP, "not a regular file");
	expect_refused("/dev/null", -EOPNOTSUPP, "not a regular file");
	scratch_file(scratch_path(name, "empty"), "", 0, 0);
	expect_refused(name, -EOPNOTSUPP, "empty");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, scratch_path(name, "socket"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	expect_refused(name, -EOPNOTSUPP, "not a file");
	close(fd);
}

static void test_too_large(void **state)
{
	char name[SCRATCH_PATH_MAX];
	int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	/* ext4 ends at 16 TiB; tmpfs takes more. */
	if (fd < 0 || ftruncate(fd, (off_t)(UINT64_C(1) << 46) + 512) < 0)
		skip();
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	expect_refused(name, -EOPNOTSUPP, "64 TiB");
	close(fd);
}

static void test_not_permitted(void **state)
{
	struct err err = {0};
	struct base *base;
	int rc;

	assert_int_equal(chmod(path, 0000), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(65534), 0);
	rc = rawbase_hold(path, NULL, &base, &err);
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(rc, -EACCES);
	assert_non_null(strstr(err.message, path));
}

static void test_shared(void **state)
{
	char *identity = identify();
	struct base *a = hold(NULL);
	struct base *b = hold(identity);
	struct base *c = hold(base_identity(a));
	struct base_info info;

	assert_ptr_equal(a, b);
	assert_ptr_equal(a, c);
	assert_ptr_equal(a, base_ref(a));
	base_info(a, &info);
	assert_int_equal(info.holds, 4);
	assert_int_equal(info.size_bytes, SIZE);
	assert_true(info.allocated_bytes > SIZE - 4096 && info.allocated_bytes <= SIZE);
	assert_int_equal(info.state, BASE_READY);
	assert_string_equal(info.path, path);
	for (int i = 0; i < 4; i++)
		base_release(a);
	base_release(NULL);
	/* Nothing of it is left: another comes with new state. */
	a = hold(identity);
	base_info(a, &info);
	assert_int_equal(info.holds, 1);
	base_release(a);
	free(identity);
}

/* A chown between two clones: their texts differ in ctime, the base is one. */
static void test_shared_over_ctime(void **state)
{
	char *before = identify();
	struct base *a = hold(before);
	struct base *b;
	char *after;

	assert_int_equal(chmod(path, 0600), 0);
	after = identify();
	assert_string_not_equal(before, after);
	b = hold(after);
	assert_ptr_equal(a, b);
	assert_string_equal(base_identity(a), before);
	base_release(a);
	base_release(b);
	free(before);
	free(after);
}

static void *hold_and_release(void *arg)
{
	struct base *base;

	for (int i = 0; i < 50; i++) {
		char first;

		/* cmocka's assertions are for the main thread. */
		assert(rawbase_hold(path, arg, &base, NULL) == 0);
		assert(base_read(base, &first, 1, 0, false) == 0);
		assert(first == content[0]);
		base_release(base);
	}
	return NULL;
}

static void test_shared_by_threads(void **state)
{
	char *identity = identify();
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, hold_and_release, i % 2 ? identity : NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	free(identity);
}

static void test_gone(void **state)
{
	char *identity = identify();
	char moved[SCRATCH_PATH_MAX];

	assert_int_equal(rename(path, scratch_path(moved, "moved")), 0);
	expect_changed(identity, "not there any more");
	scratch_file(path, content, SIZE, SIZE);
	expect_changed(identity, "another file");
	assert_int_equal(rename(moved, path), 0);
	base_release(hold(identity));
	free(identity);
}

static void test_changed(void **state)
{
	char *identity = identify();
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
	struct base *base;

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	expect_changed(identity, "modification time");
	assert_int_equal(truncate(path, SIZE - 1), 0);
	expect_changed(identity, "1234567 bytes and has 1234566");
	/* Whoever takes it as it is now may have it. */
	base = hold(NULL);
	expect_changed(identity, "1234567 bytes and has 1234566");
	base_release(base);
	free(identity);
}

static void test_bad_identity(void **state)
{
	struct err err = {0};
	struct base *base;

	assert_int_equal(rawbase_hold(path, "{}", &base, &err), -EUCLEAN);
	assert_true(err.message[0] != '\0');
}

/* utimensat does not open the file, so the lease does not speak; nothing was
 * written either. Who holds it reads on; who comes with the old identity is
 * refused; who comes without gets a base of its own. */
static void test_touched_while_held(void **state)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
	struct base *base = hold(NULL);
	struct base_info info;
	struct base *other;
	char first;

	base_info(base, &info);
	if (!info.leased) {
		base_release(base);
		skip();
	}
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	assert_int_equal(base_read(base, &first, 1, 0, false), 0);
	expect_changed(base_identity(base), "modification time");
	other = hold(NULL);
	assert_ptr_not_equal(base, other);
	assert_int_equal(base_read(other, &first, 1, 0, false), 0);
	assert_int_equal(first, content[0]);
	base_release(other);
	base_release(base);
}

static bool has_moved(struct base *base)
{
	struct base_info info;

	base_info(base, &info);
	return info.moved;
}

/* Reads go on, through the descriptor; but nobody could open it again. */
static void test_moved_while_held(void **state)
{
	char aside[SCRATCH_PATH_MAX + 8];
	struct base *base = hold(NULL);
	struct base_info info;
	char first;

	base_info(base, &info);
	if (!info.leased) {
		base_release(base);
		skip();
	}
	assert_false(info.moved);
	snprintf(aside, sizeof(aside), "%s.aside", path);
	assert_int_equal(rename(path, aside), 0);
	assert_true(has_moved(base));
	assert_int_equal(base_read(base, &first, 1, 0, false), 0);
	assert_int_equal(first, content[0]);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_true(has_moved(base));
	assert_int_equal(rename(aside, path), 0);
	assert_false(has_moved(base));
	base_release(base);
}

static void expect_read(struct base *base, size_t len, uint64_t off, bool nowait)
{
	static char buf[1 << 20];
	size_t inside = off < SIZE ? (size_t)min_u64(len, SIZE - off) : 0;

	memset(buf, 'y', len);
	assert_int_equal(base_read(base, buf, len, off, nowait), 0);
	assert_memory_equal(buf, content + (inside ? off : 0), inside);
	for (size_t i = inside; i < len; i++)
		assert_int_equal(buf[i], 0);
}

static void test_read(void **state)
{
	struct base *base = hold(NULL);

	expect_read(base, 1 << 20, 0, false);
	expect_read(base, 1, SIZE - 1, false);
	expect_read(base, 4096, round_down(SIZE, 4096), false);
	expect_read(base, 4096, SIZE, false);
	expect_read(base, 512, (UINT64_C(1) << 62), false);
	expect_read(base, 65537, SIZE - 4097, false);
	expect_read(base, 0, 0, false);
	/* All of it is in the page cache by now: it was just written. */
	expect_read(base, 1 << 20, 4096, true);
	expect_read(base, 8192, SIZE - 1, true);
	base_release(base);
}

/* Cut short under a reader whom no lease has warned: an error, never zeros. */
static void test_cut_short(void **state)
{
	struct raw raw;
	char buf[4096];

	assert_int_equal(raw_open(path, &raw, NULL), 0);
	assert_int_equal(truncate(path, 8192), 0);
	assert_int_equal(raw_read(&raw, buf, sizeof(buf), 8192, false), -EIO);
	assert_int_equal(raw_read(&raw, buf, sizeof(buf), 6000, false), -EIO);
	assert_int_equal(raw_read(&raw, buf, sizeof(buf), 4096, false), 0);
	assert_int_equal(raw_read(&raw, buf, sizeof(buf), SIZE, false), 0);
	close(raw.fd);
}

/* Not in the page cache: the fast way says so and the slow way brings it. */
static void test_read_uncached(void **state)
{
	struct base *base;
	char buf[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc;

	assert_int_equal(fsync(fd), 0);
	base = hold(NULL);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	rc = base_read(base, buf, sizeof(buf), 409600, true);
	assert_true(rc == -EAGAIN || rc == 0); /* tmpfs has it always */
	expect_read(base, 4096, 409600, false);
	expect_read(base, 4096, 409600, true);
	base_release(base);
	close(fd);
}

/* Walk all stretches; add up the data. */
static uint64_t walk(struct base *base, uint64_t limit, unsigned int *ret_stretches)
{
	uint64_t data = 0;
	uint64_t run;

	*ret_stretches = 0;
	for (uint64_t off = 0; off < limit; off += run) {
		if (!base_hole(base, off, limit - off, &run))
			data += run;
		assert_true(run > 0 && run <= limit - off);
		++*ret_stretches;
	}
	return data;
}

static void test_holes(void **state)
{
	const uint64_t size = (UINT64_C(8) << 40) - 1536;
	unsigned int stretches;
	struct base *base;
	uint64_t run;
	int fd;

	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(pwrite(fd, content, 65536, 1 << 20), 65536);
	assert_int_equal(pwrite(fd, content, 100, (off_t)size - 100), 100);
	close(fd);
	base = hold(NULL);
	if (!base_hole(base, 0, size, &run)) { /* the file system cannot tell */
		base_release(base);
		skip();
	}
	assert_int_equal(run, 1 << 20);
	assert_true(base_hole(base, 5, 7, &run));
	assert_int_equal(run, 7);
	assert_false(base_hole(base, 1 << 20, size, &run));
	assert_int_equal(run, 65536);
	assert_false(base_hole(base, (1 << 20) + 65535, size, &run));
	assert_int_equal(run, 1);
	assert_true(walk(base, size, &stretches) < 65536 + 2 * 65536);
	assert_int_equal(stretches, 4);
	/* The data at the end ends there, and beyond is a hole without end. */
	assert_false(base_hole(base, size - 1, 1 << 20, &run));
	assert_int_equal(run, 1);
	assert_true(base_hole(base, size, UINT64_C(1) << 50, &run));
	assert_int_equal(run, UINT64_C(1) << 50);
	base_release(base);
}

static void test_one_hole(void **state)
{
	struct base *base;
	uint64_t run;

	scratch_file(path, "", 0, 10 << 20);
	base = hold(NULL);
	if (base_hole(base, 4096, UINT64_C(1) << 40, &run))
		assert_int_equal(run, UINT64_C(1) << 40);
	base_release(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test_setup_teardown(test_not_permitted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared_over_ctime, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared_by_threads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bad_identity, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_touched_while_held, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cut_short, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_moved_while_held, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_read_uncached, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_holes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_hole, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
