/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bases of several images that qemu-img made: reads and holes, names, sharing, changes. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

#include "fs/base/base.h"
#include "tests/lib/rng.h"
#include "tests/lib/scratch.h"

#define MIB (UINT64_C(1) << 20)
#define BEYOND 9000 /* bytes read behind the end */

/* top.qcow2 (6 MiB) on mid.qcow2 (2 MiB, shorter) on bottom.raw (4 MiB). */
#define MAKE_IMAGES                                                                                \
	"cd %s && exec 2>&1 && qemu-img create -q -f raw bottom.raw 4M && "                         \
	"qemu-io -f raw -c 'write -P 1 0 64k' -c 'write -P 2 1M 100k' -c 'write -P 3 3M 64k' "      \
	"bottom.raw && "                                                                           \
	"qemu-img create -q -f qcow2 -b bottom.raw -F raw mid.qcow2 2M && "                          \
	"qemu-io -f qcow2 -c 'write -P 4 64k 64k' -c 'write -z 1M 64k' mid.qcow2 && "                \
	"qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2 6M && "                         \
	"qemu-io -f qcow2 -c 'write -P 5 128k 5000' -c 'write -P 6 5M 64k' top.qcow2 && "            \
	"qemu-img convert -f qcow2 -O raw top.qcow2 want.raw"

static int set_up(void **state)
{
	char *said = NULL;

	scratch_make();
	if (scratch_run(&said, MAKE_IMAGES, scratch_dir()) != 0)
		fail_msg("%s", said);
	free(said);
	return 0;
}

static int tear_down(void **state)
{
	scratch_remove();
	return 0;
}

static void run(const char *command)
{
	char *said = NULL;

	if (scratch_run(&said, "cd %s && exec 2>&1 && %s", scratch_dir(), command) != 0)
		fail_msg("%s: %s", command, said);
	free(said);
}

/* "top.qcow2 mid.qcow2 bottom.raw" in the scratch directory; what ends in .raw
 * is raw. "top.qcow2+data.raw" has a data file, "@NAME" is a snapshot. */
static struct base_source *source_of(const char *names)
{
	char text[4096], copy[512], path[SCRATCH_PATH_MAX];
	const char *snapshot = NULL, *comma = "";
	char *rest;
	struct base_source *source;
	struct err err = {0};
	int end = sprintf(text, "{\"images\": [");

	strcpy(copy, names);
	for (char *name = strtok_r(copy, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
		char *data = strchr(name, '+');

		if (name[0] == '@') {
			snapshot = name + 1;
			continue;
		}
		if (data)
			*data = '\0';
		end += sprintf(text + end, "%s{\"path\": \"%s\", \"format\": \"%s\"", comma,
			name[0] == '/' ? name : scratch_path(path, name),
			strstr(name, ".raw") ? "raw" : "qcow2");
		if (data)
			end += sprintf(text + end, ", \"data\": \"%s\"", scratch_path(path, data + 1));
		end += sprintf(text + end, "}");
		comma = ", ";
	}
	end += sprintf(text + end, "]");
	if (snapshot)
		end += sprintf(text + end, ", \"snapshot\": \"%s\"", snapshot);
	strcpy(text + end, "}");
	if (base_source_parse(text, &source, &err) < 0)
		fail_msg("%s: %s", text, err.message);
	return source;
}

static struct base *hold(const char *names)
{
	struct base_source *source = source_of(names);
	struct base *base = NULL;
	struct err err = {0};

	if (base_hold(source, &base, &err) < 0)
		fail_msg("%s: %s", names, err.message);
	base_source_free(source);
	return base;
}

#define CHAIN "top.qcow2 mid.qcow2 bottom.raw"

/* Looking and holding refuse it alike, with this code and these words. */
static void expect_refused(const char *names, int code, const char *words)
{
	struct base_source *source = source_of(names);
	struct err looked = {0}, held = {0};
	struct base *base;
	uint64_t size;
	char *text;

	if (base_identify(source, &text, &size, &looked) != code)
		fail_msg("%s: looked %d: %s", names, looked.code, looked.message);
	if (base_hold(source, &base, &held) != code)
		fail_msg("%s: held %d: %s", names, held.code, held.message);
	if (!strstr(looked.message, words) || !strstr(held.message, words))
		fail_msg("%s: \"%s\", \"%s\"", names, looked.message, held.message);
	base_source_free(source);
}

static struct base_info info(struct base *base)
{
	struct base_info now;

	base_info(base, &now);
	return now;
}

static char *slurp(const char *name, size_t len)
{
	char path[SCRATCH_PATH_MAX];
	char *data = calloc(1, len);
	int fd = open(scratch_path(path, name), O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, data, len) >= 0);
	close(fd);
	return data;
}

/* All of base reads as the raw image name; in pieces, of any size, from anywhere. */
static void expect_same(struct base *base, const char *name)
{
	size_t size = (size_t)info(base).size_bytes;
	size_t room = size + BEYOND;
	char *want = slurp(name, room);
	char *got = malloc(room);
	uint64_t rng = 1;

	assert_int_equal(base_read(base, got, room, 0, false), 0);
	assert_memory_equal(got, want, room);
	for (int i = 0; i < 2000; i++) {
		size_t off = (size_t)rng_below(&rng, size);
		size_t len = (size_t)rng_below(&rng, i % 10 ? BEYOND : size - off) + 1;
		int rc = base_read(base, got, len, off, true);

		if (rc == -EAGAIN)
			rc = base_read(base, got, len, off, false);
		assert_int_equal(rc, 0);
		assert_memory_equal(got, want + off, len);
	}
	free(got);
	free(want);
}

static bool is_zero(const char *data, uint64_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* A hole reads as zeros; and at least half of the zeros of all these images are holes. */
static void expect_holes(struct base *base, const char *name)
{
	uint64_t size = info(base).size_bytes, run, holes = 0, zeros = 0;
	char *want = slurp(name, size);

	for (uint64_t off = 0; off < size; off += run) {
		if (!base_hole(base, off, size - off, &run))
			continue;
		assert_in_range(run, 1, size - off);
		assert_true(is_zero(want + off, run));
		holes += run;
	}
	for (uint64_t off = 0; off < size; off += 512)
		zeros += is_zero(want + off, 512) ? 512 : 0;
	assert_true(holes >= zeros / 2);
	free(want);
}

static void test_reads(void **state)
{
	struct base *base = hold(CHAIN);

	assert_int_equal(info(base).size_bytes, 6 * MIB);
	assert_int_equal(info(base).n_files, 3);
	assert_string_equal(info(base).format, "qcow2");
	assert_null(info(base).trouble);
	expect_same(base, "want.raw");
	expect_holes(base, "want.raw");
	base_release(base);
}

/* Where data ends and a hole begins is seen through neighbours of one kind. */
static void test_holes_are_joined(void **state)
{
	struct base *base = hold(CHAIN);
	uint64_t run;

	/* top's own 64 KiB cluster; then mid's zeros over bottom's data and what lies beyond mid. */
	assert_false(base_hole(base, 128 << 10, 1 * MIB, &run));
	assert_true(base_hole(base, 2 * MIB, 4 * MIB, &run));
	assert_int_equal(run, 3 * MIB);
	assert_false(base_hole(base, 5 * MIB, 1 * MIB, &run));
	assert_int_equal(run, 64 << 10);
	assert_true(base_hole(base, 6 * MIB, UINT64_C(1) << 40, &run));
	assert_int_equal(run, UINT64_C(1) << 40);
	base_release(base);
}

static void test_snapshot(void **state)
{
	struct base *base;

	run("qemu-img snapshot -c first top.qcow2 && cp want.raw first.raw && "
	    "qemu-io -f qcow2 -c 'write -P 9 0 6M' top.qcow2 && qemu-img resize -q top.qcow2 8M");
	base = hold("top.qcow2 mid.qcow2 bottom.raw @first");
	assert_int_equal(info(base).size_bytes, 6 * MIB);
	expect_same(base, "first.raw");
	expect_holes(base, "first.raw");
	base_release(base);
	expect_refused("top.qcow2 mid.qcow2 bottom.raw @second", -ENOENT, "second");
}

static void test_compressed(void **state)
{
	struct base *base;

	run("qemu-img convert -q -c -f raw -O qcow2 -o cluster_size=16k want.raw packed.qcow2 && "
	    "qemu-img create -q -f qcow2 -b packed.qcow2 -F qcow2 over.qcow2 && "
	    "qemu-io -f qcow2 -c 'write -P 7 5000 100' over.qcow2 && "
	    "qemu-img convert -f qcow2 -O raw over.qcow2 over.raw");
	base = hold("over.qcow2 packed.qcow2");
	expect_same(base, "over.raw");
	expect_holes(base, "over.raw");
	base_release(base);
}

static void test_data_file(void **state)
{
	struct base *base;

	run("qemu-img create -q -f qcow2 -o data_file=d.raw d.qcow2 4M && "
	    "qemu-io -f qcow2 -c 'write -P 7 5000 100000' d.qcow2 && "
	    "qemu-img convert -f qcow2 -O raw d.qcow2 flat.raw");
	base = hold("d.qcow2+d.raw");
	assert_int_equal(info(base).n_files, 2);
	expect_same(base, "flat.raw");
	base_release(base);
	expect_refused("d.qcow2", -EPERM, "data file");
	expect_refused("d.qcow2+want.raw", -EPERM, "want.raw");
	expect_refused("mid.qcow2+want.raw bottom.raw", -EPERM, "no data file");
}

/* ---- names ---- */

static void test_names(void **state)
{
	run("qemu-img create -q -f raw other.raw 4M && cp mid.qcow2 other.qcow2");
	expect_refused("top.qcow2", -EPERM, "mid.qcow2 was not allowed");
	expect_refused("top.qcow2 mid.qcow2", -EPERM, "bottom.raw was not allowed");
	expect_refused("top.qcow2 other.qcow2 bottom.raw", -EPERM, "other.qcow2");
	expect_refused("top.qcow2 mid.qcow2 other.raw", -EPERM, "other.raw");
	run("qemu-img create -q -f qcow2 alone.qcow2 1M");
	expect_refused("alone.qcow2 bottom.raw", -EPERM, "names no backing image");
}

/* The same file by another name is the same file. */
static void test_other_names(void **state)
{
	run("mkdir sub && ln -s ../top.qcow2 sub/link.qcow2 && ln -s ../mid.qcow2 sub/mid.qcow2 && "
	    "ln bottom.raw sub/hard.raw");
	base_release(hold("sub/link.qcow2 mid.qcow2 sub/hard.raw"));
	run("qemu-img rebase -q -u -f qcow2 -b \"$PWD/sub/../mid.qcow2\" -F qcow2 top.qcow2");
	base_release(hold(CHAIN));
}

/* What an image says of the one below it binds; what it does not say, the source says. */
static void test_formats(void **state)
{
	run("qemu-img create -q -f qcow2 below.qcow2 1M && "
	    "qemu-img create -q -f qcow2 -u -b below.qcow2 -F raw over.qcow2 1M");
	expect_refused("over.qcow2 below.qcow2", -EPERM, "as raw, not as qcow2");
	run("qemu-img create -q -f qcow2 -u -b below.qcow2 -F vmdk over.qcow2 1M");
	expect_refused("over.qcow2 below.qcow2", -EPERM, "as vmdk, not as qcow2");
	run("qemu-img create -q -f qcow2 -u -o compat=0.10 over.qcow2 1M && "
	    "printf '\\0\\0\\0\\0\\0\\0\\2\\0\\0\\0\\0\\13' | "
	    "dd of=over.qcow2 bs=1 seek=8 conv=notrunc && "
	    "printf below.qcow2 | dd of=over.qcow2 bs=1 seek=512 conv=notrunc && "
	    "qemu-img info over.qcow2 | grep 'backing file: below.qcow2' && "
	    "! qemu-img info over.qcow2 | grep 'backing file format'");
	base_release(hold("over.qcow2 below.qcow2"));
}

/* A raw image that begins like a qcow2 one is raw. */
static void test_raw_stays_raw(void **state)
{
	struct base *base;
	char magic[4];

	run("cp top.qcow2 looks.raw");
	base = hold("looks.raw");
	assert_int_equal(info(base).n_files, 1);
	assert_int_equal(base_read(base, magic, 4, 0, false), 0);
	assert_memory_equal(magic, "QFI\xfb", 4);
	base_release(base);
}

static void test_protocols(void **state)
{
	run("qemu-img create -q -f qcow2 -u -b nbd:localhost:1 -F raw nbd.qcow2 1M && "
	    "qemu-img create -q -f qcow2 -u -b 'json:{\"driver\":\"file\",\"filename\":\"x\"}' "
	    "-F raw json.qcow2 1M");
	expect_refused("nbd.qcow2", -EOPNOTSUPP, "nbd:localhost:1");
	expect_refused("nbd.qcow2 bottom.raw", -EOPNOTSUPP, "nbd:localhost:1");
	expect_refused("json.qcow2 bottom.raw", -EOPNOTSUPP, "json:{");
}

static void test_twins(void **state)
{
	run("ln -s loop.qcow2 loop2.qcow2 && "
	    "qemu-img create -q -f qcow2 -u -b loop2.qcow2 -F qcow2 loop.qcow2 1M");
	expect_refused("loop.qcow2 loop2.qcow2", -EPERM, "twice");
}

static void test_wants(void **state)
{
	struct base_wants wants;
	char path[SCRATCH_PATH_MAX], below[SCRATCH_PATH_MAX];
	struct err err = {0};

	assert_int_equal(base_wants(scratch_path(path, "top.qcow2"), "qcow2", &wants, NULL), 0);
	assert_string_equal(wants.backing_path, scratch_path(below, "mid.qcow2"));
	assert_string_equal(wants.backing_format, "qcow2");
	assert_null(wants.data_path);
	assert_int_equal(wants.size_bytes, 6 * MIB);
	base_wants_clear(&wants);
	assert_int_equal(base_wants(path, "raw", &wants, NULL), 0);
	assert_null(wants.backing_path);
	base_wants_clear(&wants);
	assert_int_equal(base_wants(path, "vmdk", &wants, &err), -EOPNOTSUPP);
	assert_int_equal(base_wants(scratch_path(path, "bottom.raw"), "qcow2", &wants, &err),
		-EOPNOTSUPP);
	assert_int_equal(err.code, -EOPNOTSUPP);
	assert_non_null(strstr(err.hint, "qemu-img check"));
}

/* ---- identity, sharing, changes ---- */

static void test_identity(void **state)
{
	struct base_source *source = source_of(CHAIN);
	struct base *base = hold(CHAIN), *again;
	char path[SCRATCH_PATH_MAX];
	struct err err = {0};
	uint64_t size;
	char *text;

	assert_int_equal(base_identify(source, &text, &size, NULL), 0);
	assert_int_equal(size, 6 * MIB);
	assert_string_equal(text, base_identity(base));
	assert_int_equal(base_hold_known(scratch_path(path, "top.qcow2"), text, &again, NULL), 0);
	assert_ptr_equal(base, again);
	assert_int_equal(info(base).holds, 2);
	base_release(again);
	base_release(base);
	/* What lay below is another file now. */
	run("cp -p bottom.raw new && mv new bottom.raw");
	assert_int_equal(base_hold_known(path, text, &again, &err), -ESTALE);
	assert_non_null(strstr(err.message, "bottom.raw"));
	free(text);
	base_source_free(source);
}

/* A record that leaves an image out does not make it read as zeros. */
static void test_short_record(void **state)
{
	struct base_source *source = source_of("mid.qcow2 bottom.raw");
	char path[SCRATCH_PATH_MAX];
	struct err err = {0};
	struct base *base;
	uint64_t size;
	char *text, *below;

	assert_int_equal(base_identify(source, &text, &size, NULL), 0);
	base_source_free(source);
	below = strstr(text, ", \"below\"");
	assert_non_null(below);
	strcpy(below, "}");
	assert_int_equal(base_hold_known(scratch_path(path, "mid.qcow2"), text, &base, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "shorter"));
	free(text);
}

static unsigned int threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Twenty users, two bases: each file is watched once. */
static void test_shared(void **state)
{
	struct base *bases[21];
	unsigned int before = threads();

	run("qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 second.qcow2 6M");
	for (int i = 0; i < 20; i++) {
		bases[i] = hold(CHAIN);
		assert_ptr_equal(bases[i], bases[0]);
	}
	assert_int_equal(threads(), before + 3);
	bases[20] = hold("second.qcow2 mid.qcow2 bottom.raw");
	assert_ptr_not_equal(bases[20], bases[0]);
	assert_int_equal(threads(), before + 4);
	assert_int_equal(info(bases[0]).holds, 20);
	for (int i = 0; i < 21; i++)
		base_release(bases[i]);
	assert_int_equal(threads(), before);
}

/* Holding, reading and releasing what others hold, read and release. */
static void *use(void *arg)
{
	static const char *const names[] = {CHAIN, "second.qcow2 mid.qcow2 bottom.raw"};
	uint64_t rng = (uintptr_t)arg;
	struct base_source *sources[] = {source_of(names[0]), source_of(names[1])};

	for (int i = 0; i < 60; i++) {
		struct base *base = NULL;
		char data[4096];
		uint64_t run_len;

		assert(base_hold(sources[rng_below(&rng, 2)], &base, NULL) == 0);
		for (int k = 0; k < 20; k++)
			assert(base_read(base, data, sizeof(data), rng_below(&rng, 6 * MIB), false) == 0);
		/* 64 KiB from here are bottom's alone. */
		assert(base_read(base, data, sizeof(data), 1000, false) == 0 && data[0] == 1);
		assert(!base_hole(base, 0, 1000, &run_len));
		base_release(base);
	}
	base_source_free(sources[0]);
	base_source_free(sources[1]);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t users[4];
	unsigned int before = threads();

	run("qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 second.qcow2 6M");
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&users[i], NULL, use, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(users[i], NULL);
	assert_int_equal(threads(), before);
}

static bool changed(struct base *base)
{
	return info(base).state == BASE_CHANGED;
}

/* Any file of it: the base is changed, also what a cached table knows; others go on. */
static void test_changed(void **state)
{
	static const char *const names[] = {"top.qcow2", "mid.qcow2", "bottom.raw"};

	run("cp bottom.raw lone.raw");
	for (size_t i = 0; i < 3; i++) {
		struct base *base = hold(CHAIN), *lone = hold("lone.raw");
		char path[SCRATCH_PATH_MAX], command[64];
		uint64_t run_len;
		char byte;

		assert_int_equal(base_read(base, &byte, 1, 4 * MIB, false), 0);
		snprintf(command, sizeof(command), "printf x >> %s", names[i]);
		run(command);
		WAIT_UNTIL(changed(base));
		assert_string_equal(info(base).trouble, scratch_path(path, names[i]));
		assert_int_equal(base_read(base, &byte, 1, 4 * MIB, false), -EIO);
		assert_int_equal(base_read(base, &byte, 1, 4 * MIB, true), -EIO);
		assert_false(base_hole(base, 4 * MIB, 1, &run_len));
		assert_int_equal(base_read(lone, &byte, 1, 0, false), 0);
		base_release(lone);
		/* Whoever comes now takes the images as they are. */
		lone = hold(CHAIN);
		assert_ptr_not_equal(lone, base);
		base_release(lone);
		base_release(base);
	}
}

static void test_moved(void **state)
{
	struct base *base = hold(CHAIN);
	char path[SCRATCH_PATH_MAX];

	if (!info(base).leased) {
		base_release(base);
		skip();
	}
	run("mv mid.qcow2 elsewhere.qcow2");
	assert_true(info(base).moved);
	assert_string_equal(info(base).trouble, scratch_path(path, "mid.qcow2"));
	assert_int_equal(info(base).state, BASE_READY);
	expect_same(base, "want.raw");
	base_release(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_reads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_holes_are_joined, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_snapshot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_compressed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_data_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_formats, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_raw_stays_raw, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_protocols, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_twins, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wants, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_identity, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_short_record, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_moved, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
