/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies of bases: who keeps them, when they go, and what a file system without reflinks says. */
#include <errno.h>
#include <fcntl.h>
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

#include "fs/store/copies.h"
#include "fs/store/layers.h"
#include "fs/store/store.h"
#include "tests/lib/image.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/temp.h"

static char top[TEMP_PATH_MAX];
static struct saboteur sab;
static struct store *store;
static struct id id;
static char name[ID_TEXT];

static int setup(void **state)
{
	char path[TEMP_PATH_MAX + 8];

	temp_dir("copies", top);
	snprintf(path, sizeof(path), "%s/store", top);
	saboteur_init(&sab, &io_kernel);
	assert_int_equal(store_create(&sab.gate, path, NULL), 0);
	assert_int_equal(store_open(&sab.gate, path, &store, NULL), 0);
	id = id_new();
	id_format(&id, name);
	return 0;
}

static int teardown(void **state)
{
	store_close(store);
	image_clear(top);
	temp_dir_remove(top);
	return 0;
}

static void put_file(const char *path)
{
	int fd = openat(store_dirfd(store), path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void put_dir(const char *path)
{
	assert_int_equal(mkdirat(store_dirfd(store), path, 0700), 0);
}

/* What reflinking had made, were there a file system for it here. */
static void put_copy(void)
{
	char path[128];

	put_dir("bases");
	snprintf(path, sizeof(path), "bases/%s", name);
	put_dir(path);
	snprintf(path, sizeof(path), "bases/%s/lock", name);
	put_file(path);
	snprintf(path, sizeof(path), "bases/%s/0.raw", name);
	put_file(path);
}

static bool is_there(void)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "bases/%s/0.raw", name);
	return fstatat(store_dirfd(store), path, &st, 0) == 0;
}

static bool in_trash(void)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "trash/%s", name);
	return fstatat(store_dirfd(store), path, &st, 0) == 0;
}

/* -errno of the stage, or the clone made. where: the store of then. */
static int make_clone(const char *clone, const char *where, struct manifest **ret_manifest)
{
	struct store_stage *stage;
	struct store_disk *disk;
	struct manifest *m;
	int rc;

	assert_int_equal(manifest_new(clone, &m), 0);
	disk = manifest_add_disk(m, "vda");
	disk->size_bytes = 1u << 20;
	assert_true(asprintf(&disk->base_path, "%s/bases/%s/0.raw", where, name) > 0);
	disk->base_format = strdup("raw");
	disk->base_identity = strdup("ino=1");
	disk->mode = 0600;
	rc = store_stage(store, m, &stage, NULL);
	if (rc == 0)
		rc = store_commit(stage, NULL);
	if (rc < 0)
		manifest_free(m);
	else
		*ret_manifest = m;
	return rc;
}

static void test_path(void **state)
{
	char path[128];
	struct id found;

	snprintf(path, sizeof(path), "/a/bases/%s/0.raw", name);
	assert_true(store_copy_of(path, &found));
	assert_true(id_equal(&found, &id));
	snprintf(path, sizeof(path), "/bases/%s/0.raw", name);
	assert_true(store_copy_of(path, &found));
	snprintf(path, sizeof(path), "/a/images/%s/0.raw", name);
	assert_false(store_copy_of(path, &found));
	snprintf(path, sizeof(path), "/a/bases/%s", name);
	assert_false(store_copy_of(path, &found));
	snprintf(path, sizeof(path), "%s/0.raw", name);
	assert_false(store_copy_of(path, &found));
	assert_false(store_copy_of("", &found));
	assert_false(store_copy_of("/images/a.raw", &found));
}

static void test_kept_by_clones(void **state)
{
	struct manifest *one, *two;

	put_copy();
	assert_int_equal(make_clone("one", "/before/it/was/moved", &one), 0);
	assert_int_equal(make_clone("two", store_path(store), &two), 0);
	assert_int_equal(store_layers_sweep(store, NULL, NULL), 0);
	assert_true(is_there());
	assert_int_equal(store_remove(store, "one", &one->id, NULL), 0);
	assert_true(is_there());
	assert_int_equal(store_remove(store, "two", &two->id, NULL), 0);
	assert_false(is_there());
	assert_false(in_trash());
	manifest_free(one);
	manifest_free(two);
}

static int never_asked(void *ctx, struct err *err)
{
	fail_msg("a copy was about to be named");
	return 0;
}

static void test_kept_while_taken(void **state)
{
	const struct store_copy_order order = {.id = id, .check = never_asked};
	struct store_copy *copy, *again;
	bool made = true;

	put_copy();
	assert_int_equal(store_copy_take(store, &order, &copy, &made, NULL), 0);
	assert_false(made);
	assert_int_equal(store_copy_take(store, &order, &again, NULL, NULL), 0);
	store_copy_release(copy);
	assert_int_equal(store_layers_sweep(store, NULL, NULL), 0);
	assert_true(is_there());
	store_copy_release(again);
	assert_int_equal(store_layers_sweep(store, NULL, NULL), 0);
	assert_false(is_there());
}

/* Named by nobody, and half made: killed in between. A record is not ours. */
static void test_sweep(void **state)
{
	char path[128];
	struct stat st;

	put_copy();
	snprintf(path, sizeof(path), "bases/new-%s", name);
	put_dir(path);
	strcat(path, "/0.raw");
	put_file(path);
	put_file("bases/0123456789abcdef.json");
	assert_int_equal(store_sweep(store, NULL), 0);
	assert_false(is_there());
	assert_true(fstatat(store_dirfd(store), path, &st, 0) < 0);
	assert_int_equal(fstatat(store_dirfd(store), "bases/0123456789abcdef.json", &st, 0), 0);
}

/* A clone whose manifest cannot be read may need any copy. */
static void test_damage_keeps(void **state)
{
	put_copy();
	put_dir("clones/damaged");
	put_file("clones/damaged/manifest");
	assert_int_equal(store_layers_sweep(store, NULL, NULL), -EUCLEAN);
	assert_true(is_there());
}

static void test_missing(void **state)
{
	struct manifest *m;

	assert_int_equal(make_clone("one", store_path(store), &m), -ENOENT);
}

static bool whole_or_gone(void)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "bases/%s/lock", name);
	return !is_there() || fstatat(store_dirfd(store), path, &st, 0) == 0;
}

/* Each call of the sweep fails in its turn: the copy is whole, or gone. */
static void test_sweep_fails(void **state)
{
	static const enum sabotaged_call calls[] = {
		CALL_OPENAT, CALL_UNLINKAT, CALL_RENAMEAT, CALL_SYNC};

	sab.error = -EIO;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		sab.call = calls[i];
		sab.nth = 0;
		do {
			if (!is_there()) {
				unlinkat(store_dirfd(store), "bases", AT_REMOVEDIR);
				put_copy();
			}
			sab.nth++;
			sab.hits = 0;
			memset(sab.count, 0, sizeof(sab.count));
			sab.kind = SABOTAGE_FAIL;
			store_layers_sweep(store, NULL, NULL);
			sab.kind = SABOTAGE_NONE;
			assert_true(whole_or_gone());
		} while (sab.hits > 0);
		assert_true(sab.nth > 1);
		assert_false(is_there());
	}
	assert_int_equal(store_sweep(store, NULL), 0);
	assert_false(in_trash());
}

/* Where blocks cannot be shared it is said, and nothing is left. */
static void test_no_reflink(void **state)
{
	int fd = openat(store_dirfd(store), "lazyclone-store", O_RDONLY);
	int pipes[2];
	struct store_copy_file file = {.fd = fd, .path = "/a", .name = "0.raw"};
	const struct store_copy_order order = {
		.id = id, .n_files = 1, .files = &file, .check = never_asked};
	struct store_copy *copy;
	struct err err;
	char path[128];
	struct stat st;
	int rc = store_copy_try(store, fd);

	assert_int_equal(pipe(pipes), 0);
	file.fd = rc == 0 ? pipes[0] : fd; /* there is such a file system here */
	rc = store_copy_take(store, &order, &copy, NULL, &err);
	assert_true(rc < 0);
	assert_non_null(strstr(err.message, "cannot reflink /a"));
	snprintf(path, sizeof(path), "bases/%s", name);
	assert_true(fstatat(store_dirfd(store), path, &st, 0) < 0);
	assert_int_equal(unlinkat(store_dirfd(store), "bases", AT_REMOVEDIR), 0);
	close(pipes[0]);
	close(pipes[1]);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_path, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kept_by_clones, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kept_while_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage_keeps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sweep_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_reflink, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
