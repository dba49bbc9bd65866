/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parallel copy: same bytes, holes kept, zeros made holes, failures and signals seen. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/plan/copy.h"
#include "clone/plan/interrupt.h"
#include "fs/util/io.h"
#include "fs/util/round.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];

static int setup(void **state)
{
	temp_dir("copy", dir);
	return 0;
}

static int teardown(void **state)
{
	temp_dir_remove(dir);
	return 0;
}

static int make_file(const char *name, uint64_t size)
{
	char path[TEMP_PATH_MAX + 32];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void fill(int fd, uint64_t off, size_t len, unsigned int seed)
{
	char *buf = malloc(len);

	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(rand_r(&seed) | 1);
	assert_int_equal(io_write_full(&io_kernel, fd, buf, len, off), 0);
	free(buf);
}

static void same_bytes(int a, int b, uint64_t size)
{
	static char x[1 << 20], y[1 << 20];

	for (uint64_t off = 0; off < size; off += sizeof(x)) {
		size_t len = (size_t)min_u64(sizeof(x), size - off);

		assert_int_equal(io_read_full(&io_kernel, a, x, len, off), 0);
		assert_int_equal(io_read_full(&io_kernel, b, y, len, off), 0);
		assert_memory_equal(x, y, len);
	}
}

static uint64_t allocated(int fd)
{
	struct stat st;

	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

struct seen {
	uint64_t last, total;
	unsigned int calls;
	bool ordered;
};

static void progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
	struct seen *seen = ctx;

	seen->ordered &= done_bytes >= seen->last && done_bytes <= total_bytes;
	seen->last = done_bytes;
	seen->total = total_bytes;
	seen->calls++;
}

static void test_sparse_disk_of_odd_length(void **state)
{
	const uint64_t size = (UINT64_C(200) << 20) + 1536;
	int from = make_file("from", size);
	struct copy copy = {
		.name = "vda", .from_fd = from, .to_fd = make_file("to", size), .size_bytes = size};
	struct seen seen = {.ordered = true};
	uint64_t data, written;

	fill(from, 0, 5000, 1);
	fill(from, (10 << 20) + 123, 3 << 20, 2);
	fill(from, 63 << 20, 2 << 20, 3); /* across the end of two regions */
	fill(from, size - 700, 700, 4);
	assert_int_equal(copy_data_bytes(from, size, &data), 0);
	assert_in_range(data, 5 << 20, 6 << 20);
	assert_int_equal(copy_run(&copy, 1, data, progress, &seen, &written, NULL), 0);
	same_bytes(from, copy.to_fd, size);
	assert_in_range(allocated(copy.to_fd), 5 << 20, 6 << 20);
	assert_in_range(written, 5 << 20, data);
	assert_true(seen.ordered && seen.calls > 0);
	assert_int_equal(seen.last, data);
	assert_int_equal(seen.total, data);
	close(from);
	close(copy.to_fd);
}

static void test_zeros_become_holes(void **state)
{
	const uint64_t size = 16 << 20;
	int from = make_file("from", 0);
	struct copy copy = {
		.name = "vda", .from_fd = from, .to_fd = make_file("to", size), .size_bytes = size};
	char *zeros = calloc(1, size);
	uint64_t data, written;

	assert_int_equal(io_write_full(&io_kernel, from, zeros, size, 0), 0);
	fill(from, (7 << 20) + 65536, 100, 1);
	free(zeros);
	assert_int_equal(copy_data_bytes(from, size, &data), 0);
	assert_int_equal(data, size);
	assert_int_equal(copy_run(&copy, 1, data, NULL, NULL, &written, NULL), 0);
	same_bytes(from, copy.to_fd, size);
	assert_int_equal(written, 65536);
	assert_true(allocated(copy.to_fd) <= 2 * 65536);
	close(from);
	close(copy.to_fd);
}

static void test_several_disks_and_an_empty_one(void **state)
{
	struct copy copies[3];
	uint64_t total = 0, written, data;

	for (unsigned int i = 0; i < 3; i++) {
		uint64_t size = (UINT64_C(40) << 20) + 512 * i;
		char name[16];

		snprintf(name, sizeof(name), "from%u", i);
		copies[i].name = "vd";
		copies[i].size_bytes = size;
		copies[i].from_fd = make_file(name, size);
		snprintf(name, sizeof(name), "to%u", i);
		copies[i].to_fd = make_file(name, size);
		if (i != 1)
			fill(copies[i].from_fd, 1 << 20, 35 << 20, i);
		assert_int_equal(copy_data_bytes(copies[i].from_fd, size, &data), 0);
		total += data;
	}
	assert_int_equal(copy_run(copies, 3, total, NULL, NULL, &written, NULL), 0);
	for (unsigned int i = 0; i < 3; i++) {
		same_bytes(copies[i].from_fd, copies[i].to_fd, copies[i].size_bytes);
		close(copies[i].from_fd);
		close(copies[i].to_fd);
	}
	assert_int_equal(written, total);
}

static void test_a_huge_hole_costs_nothing(void **state)
{
	const uint64_t size = UINT64_C(8) << 40;
	int from = make_file("from", size);
	struct copy copy = {
		.name = "vda", .from_fd = from, .to_fd = make_file("to", size), .size_bytes = size};
	uint64_t data, written;

	fill(from, size - 4096, 4096, 1);
	assert_int_equal(copy_data_bytes(from, size, &data), 0);
	assert_int_equal(data, 4096);
	assert_int_equal(copy_run(&copy, 1, data, NULL, NULL, &written, NULL), 0);
	assert_int_equal(written, 4096);
	close(from);
	close(copy.to_fd);
}

static void test_a_failure_names_the_disk(void **state)
{
	const uint64_t size = 64 << 20;
	int from = make_file("from", size);
	char path[TEMP_PATH_MAX + 32];
	struct copy copy = {.name = "vdb", .from_fd = from, .size_bytes = size};
	struct err err = {0};
	uint64_t written;

	fill(from, 0, 1 << 20, 1);
	fill(from, 40 << 20, 1 << 20, 1);
	snprintf(path, sizeof(path), "%s/from", dir);
	copy.to_fd = open(path, O_RDONLY | O_CLOEXEC); /* cannot be written */
	assert_int_equal(copy_run(&copy, 1, 2 << 20, NULL, NULL, &written, &err), -EBADF);
	assert_non_null(strstr(err.message, "vdb"));
	close(from);
	close(copy.to_fd);
}

static void test_a_signal_stops_it(void **state)
{
	const uint64_t size = 8 << 20;
	int from = make_file("from", size);
	struct copy copy = {
		.name = "vda", .from_fd = from, .to_fd = make_file("to", size), .size_bytes = size};
	struct err err = {0};
	uint64_t written = 0;

	fill(from, 0, size, 1);
	interrupt_catch();
	raise(SIGTERM);
	assert_int_equal(copy_run(&copy, 1, size, NULL, NULL, &written, &err), -EINTR);
	interrupt_restore();
	assert_int_equal(written, 0);
	close(from);
	close(copy.to_fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sparse_disk_of_odd_length),
		TEST(test_zeros_become_holes),
		TEST(test_several_disks_and_an_empty_one),
		TEST(test_a_huge_hole_costs_nothing),
		TEST(test_a_failure_names_the_disk),
		TEST(test_a_signal_stops_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
