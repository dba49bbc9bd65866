/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store directory: making, refusing, staging, committing, removing, locking. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
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
#include <jansson.h>

#include "fs/store/delta.h"
#include "fs/store/sealed.h"
#include "fs/store/store.h"
#include "tests/lib/image.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/temp.h"

static char top[TEMP_PATH_MAX];

/* TOP/NAME, valid until the next call but one. */
static const char *at(const char *name)
{
	static char path[2][512];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", top, name);
	return path[turn];
}

static void put(const char *path, const char *text)
{
	FILE *out = fopen(path, "we");

	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
}

static bool there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static struct store *make_store(const char *name)
{
	struct store *store;

	assert_int_equal(store_create(&io_kernel, at(name), NULL), 0);
	assert_int_equal(store_open(&io_kernel, at(name), &store, NULL), 0);
	return store;
}

static struct manifest *make_manifest(const char *name, uint32_t disks)
{
	struct manifest *m;

	assert_int_equal(manifest_new(name, &m), 0);
	for (uint32_t i = 0; i < disks; i++) {
		char target[8];
		struct store_disk *disk;

		snprintf(target, sizeof(target), "vd%c", 'a' + (int)i);
		disk = manifest_add_disk(m, target);
		disk->size_bytes = 1 << 20;
		disk->base_path = strdup("/images/a.img");
		disk->base_format = strdup("raw");
		disk->base_identity = strdup("ino=1");
		disk->mode = 0600;
	}
	return m;
}

static void make_clone(struct store *store, const struct manifest *m)
{
	struct store_stage *stage;

	assert_int_equal(store_stage(store, m, &stage, NULL), 0);
	assert_int_equal(store_commit(stage, NULL), 0);
}

static int setup(void **state)
{
	temp_dir("store", top);
	return 0;
}

static int teardown(void **state)
{
	image_clear(top);
	temp_dir_remove(top);
	return 0;
}

static void create_and_open(void **state)
{
	struct store *store;
	struct store *again;
	struct err err;
	struct stat st;

	assert_int_equal(store_open(&io_kernel, at("deep/down/store"), &store, &err), -ENOENT);
	assert_int_equal(store_create(&io_kernel, at("deep/down/store//"), &err), 0);
	assert_int_equal(store_create(&io_kernel, at("deep/down/store"), &err), 0);
	assert_int_equal(stat(at("deep/down/store"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(stat(at("deep"), &st), 0);
	assert_int_equal(st.st_mode & 0111, 0111);
	assert_int_equal(store_open(&io_kernel, at("deep/../deep/down/store"), &store, &err), 0);
	assert_string_equal(store_path(store), at("deep/down/store"));
	assert_int_equal(store_open(&io_kernel, at("deep/down/store"), &again, &err), 0);
	assert_true(id_equal(store_id(store), store_id(again)));
	store_close(again);
	store_close(store);
}

static void create_in_empty_or_unfinished(void **state)
{
	struct store *store;
	struct err err;

	assert_int_equal(mkdir(at("empty"), 0755), 0);
	assert_int_equal(store_open(&io_kernel, at("empty"), &store, &err), -ENOENT);
	assert_int_equal(store_create(&io_kernel, at("empty"), &err), 0);

	assert_int_equal(mkdir(at("half"), 0755), 0);
	assert_int_equal(mkdir(at("half/clones"), 0755), 0);
	put(at("half/lazyclone-store.0123.tmp"), "{");
	assert_int_equal(store_open(&io_kernel, at("half"), &store, &err), -ENOENT);
	assert_int_equal(store_create(&io_kernel, at("half"), &err), 0);
	assert_int_equal(store_open(&io_kernel, at("half"), &store, &err), 0);
	store_close(store);
}

static void foreign_is_refused(void **state)
{
	struct store *store;
	struct err err;

	assert_int_equal(mkdir(at("foreign"), 0755), 0);
	put(at("foreign/thesis.txt"), "mine");
	assert_int_equal(store_create(&io_kernel, at("foreign"), &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "not a lazyclone store"));
	assert_int_equal(store_open(&io_kernel, at("foreign"), &store, &err), -EUCLEAN);
	assert_false(there(at("foreign/clones")));

	/* A part's name does not make a part: what is in it is not ours. */
	assert_int_equal(mkdir(at("alike"), 0755), 0);
	assert_int_equal(mkdir(at("alike/clones"), 0755), 0);
	put(at("alike/clones/star-wars"), "mine");
	assert_int_equal(store_create(&io_kernel, at("alike"), &err), -EUCLEAN);

	put(at("file"), "");
	assert_int_equal(store_create(&io_kernel, at("file"), &err), -EUCLEAN);
	assert_int_equal(store_open(&io_kernel, at("file"), &store, &err), -EUCLEAN);
}

/* Replace a member of the label and seal it anew. */
static void change_label(const char *path, const char *key, json_t *value)
{
	char *text;
	size_t len;
	json_t *root;

	assert_int_equal(io_slurp(&io_kernel, AT_FDCWD, path, 1 << 16, &text, &len), 0);
	assert_int_equal(sealed_parse(text, len, "lazyclone store", &root, NULL), 0);
	free(text);
	json_object_set_new(root, key, value);
	assert_int_equal(sealed_format(root, "lazyclone store", &text, &len), 0);
	put(path, text);
	free(text);
	json_decref(root);
}

static void damaged_or_newer_label(void **state)
{
	struct store *store = make_store("newer");
	struct manifest *m = make_manifest("a", 0);
	struct store_stage *stage;
	struct err err;

	store_close(store);
	change_label(at("newer/lazyclone-store"), "compat", json_string("0x8"));
	assert_int_equal(store_open(&io_kernel, at("newer"), &store, &err), 0);
	store_close(store);

	change_label(at("newer/lazyclone-store"), "ro_compat", json_string("0x10"));
	assert_int_equal(store_open(&io_kernel, at("newer"), &store, &err), 0);
	assert_int_equal(store_stage(store, m, &stage, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "0x10"));
	assert_int_equal(store_lock(store, &err), -EUCLEAN);
	assert_int_equal(store_sweep(store, &err), -EUCLEAN);
	store_close(store);

	change_label(at("newer/lazyclone-store"), "incompat", json_string("0x6"));
	assert_int_equal(store_open(&io_kernel, at("newer"), &store, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "newer lazyclone"));
	assert_non_null(strstr(err.message, "0x6"));
	assert_int_equal(store_create(&io_kernel, at("newer"), &err), -EUCLEAN);

	change_label(at("newer/lazyclone-store"), "incompat", json_string("0x0"));
	assert_int_equal(store_open(&io_kernel, at("newer"), &store, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "first release"));

	put(at("newer/lazyclone-store"), "{\"format\": \"lazyclone store\", \"version\": 1}");
	assert_int_equal(store_open(&io_kernel, at("newer"), &store, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "checksum"));
	put(at("newer/lazyclone-store"), "");
	assert_int_equal(store_open(&io_kernel, at("newer"), &store, &err), -EUCLEAN);
	manifest_free(m);
}

static void stage_and_commit(void **state)
{
	struct store *store = make_store("s");
	struct manifest *m = make_manifest("web 1", 2);
	struct manifest *back;
	struct store_stage *stage;
	struct delta *delta;
	char log[ID_TEXT];
	char **names;
	uint32_t count;
	struct err err;
	int fd;

	assert_int_equal(store_stage(store, m, &stage, &err), 0);
	id_format(&m->id, log);
	assert_string_equal(store_stage_name(stage), log);
	assert_int_equal(io_write_file(&io_kernel, store_stage_dirfd(stage), "record", "r", 1, 0600), 0);
	assert_int_equal(store_list(store, &names, &count, &err), 0);
	assert_int_equal(count, 0);
	store_names_free(names, count);
	assert_int_equal(store_commit(stage, &err), 0);
	assert_true(there(at("s/clones/web 1/record")));

	assert_int_equal(store_manifest_read(store, "web 1", &back, &err), 0);
	assert_int_equal(back->n_disks, 2);
	fd = store_clone_dirfd(store, "web 1");
	assert_true(fd >= 0);
	for (int i = 0; i < 2; i++) {
		id_format(&back->disks[i].log, log);
		assert_int_equal(delta_open(fd, log, NULL, &delta, &err), 0);
		assert_int_equal(delta_size(delta), 1 << 20);
		assert_int_equal(delta_close(delta), 0);
	}
	close(fd);
	manifest_free(back);
	assert_int_equal(store_stage(store, m, &stage, &err), -EEXIST);
	manifest_free(m);
	store_close(store);
}

static void lists_sorted(void **state)
{
	struct store *store = make_store("s");
	static const char *const make[] = {"c", "a", "b10", "b1"};
	static const char *const sorted[] = {"a", "b1", "b10", "c"};
	char **names;
	uint32_t count;

	for (int i = 0; i < 4; i++) {
		struct manifest *m = make_manifest(make[i], 0);

		make_clone(store, m);
		manifest_free(m);
	}
	assert_int_equal(mkdir(at("s/clones/.hidden"), 0700), 0);
	assert_int_equal(store_list(store, &names, &count, NULL), 0);
	assert_int_equal(count, 4);
	for (int i = 0; i < 4; i++)
		assert_string_equal(names[i], sorted[i]);
	store_names_free(names, count);
	store_close(store);
}

static void name_taken_at_commit(void **state)
{
	struct store *store = make_store("s");
	struct manifest *first = make_manifest("web", 1);
	struct manifest *second = make_manifest("web", 1);
	struct manifest *back;
	struct store_stage *a;
	struct store_stage *b;
	struct err err;

	assert_int_equal(store_stage(store, first, &a, &err), 0);
	assert_int_equal(store_stage(store, second, &b, &err), 0);
	assert_int_equal(store_commit(b, &err), 0);
	assert_int_equal(store_commit(a, &err), -EEXIST);
	assert_int_equal(store_manifest_read(store, "web", &back, &err), 0);
	assert_true(id_equal(&back->id, &second->id));
	assert_int_equal(rmdir(at("s/staging")), 0); /* nothing is left in it */
	manifest_free(back);
	manifest_free(first);
	manifest_free(second);
	store_close(store);
}

static void abort_and_sweep(void **state)
{
	struct store *store = make_store("s");
	struct manifest *m = make_manifest("web", 1);
	struct store_stage *stage;
	char name[ID_TEXT];
	struct err err;

	assert_int_equal(store_stage(store, m, &stage, &err), 0);
	store_stage_abort(stage);
	assert_int_equal(rmdir(at("s/staging")), 0);
	assert_int_equal(mkdir(at("s/staging"), 0700), 0);
	store_close(store);

	/* A killed run: the process goes, the stage stays. */
	if (fork() == 0) {
		if (store_open(&io_kernel, at("s"), &store, NULL) < 0 ||
			store_stage(store, m, &stage, NULL) < 0)
			_exit(1);
		_exit(0);
	}
	wait(NULL);
	id_format(&m->id, name);
	assert_int_equal(store_open(&io_kernel, at("s"), &store, &err), 0);
	assert_int_equal(store_stage_sweep(store, name, &err), 0);
	assert_int_equal(store_stage_sweep(store, name, &err), 0);
	assert_int_equal(store_stage_sweep(store, "../clones", &err), -EINVAL);
	assert_int_equal(rmdir(at("s/staging")), 0);
	assert_true(there(at("s/clones")));
	manifest_free(m);
	store_close(store);
}

static void bad_manifest_is_not_staged(void **state)
{
	struct store *store = make_store("s");
	struct manifest *m = make_manifest("web", 1);
	struct store_stage *stage;
	struct err err;

	m->disks[0].size_bytes = 1000;
	assert_int_equal(store_stage(store, m, &stage, &err), -EINVAL);
	assert_non_null(strstr(err.message, "512"));
	assert_int_equal(rmdir(at("s/staging")), 0);
	manifest_free(m);
	store_close(store);
}

static void remove_by_id(void **state)
{
	struct store *store = make_store("s");
	struct manifest *m = make_manifest("web", 1);
	struct id other = id_new();
	struct err err;

	make_clone(store, m);
	assert_int_equal(mkdir(at("s/clones/web/tpm"), 0700), 0);
	put(at("s/clones/web/tpm/state"), "x");
	assert_int_equal(symlink("/etc", at("s/clones/web/tpm/link")), 0);
	assert_int_equal(store_remove(store, "web", &other, &err), -ENOENT);
	assert_true(there(at("s/clones/web/manifest")));
	assert_int_equal(store_remove(store, "web", &m->id, &err), 0);
	assert_false(there(at("s/clones/web")));
	assert_int_equal(rmdir(at("s/trash")), 0);
	assert_int_equal(store_remove(store, "web", &m->id, &err), -ENOENT);
	assert_int_equal(store_remove(store, "../s", &m->id, &err), -ENOENT);
	assert_true(there("/etc"));
	manifest_free(m);
	store_close(store);
}

/* The entry in trash/ may need a block that a full file system has not. */
static void remove_when_full(void **state)
{
	static struct saboteur gate;
	struct store *store = make_store("s");
	struct manifest *m = make_manifest("web", 1);
	struct stat st;

	make_clone(store, m);
	store_close(store);
	saboteur_init(&gate, &io_kernel);
	assert_int_equal(store_open(&gate.gate, at("s"), &store, NULL), 0);
	gate.kind = SABOTAGE_FAIL;
	gate.call = CALL_RENAMEAT;
	gate.error = -ENOSPC;
	gate.nth = 1;
	assert_int_equal(store_remove(store, "web", &m->id, NULL), -ENOSPC); /* no reserve */
	put(at("s/reserve"), "");
	assert_int_equal(truncate(at("s/reserve"), 3 << 20), 0);
	gate.count[CALL_RENAMEAT] = 0;
	assert_int_equal(store_remove(store, "web", &m->id, NULL), 0);
	assert_int_equal(stat(at("s/reserve"), &st), 0);
	assert_int_equal(st.st_size, 2 << 20);
	assert_false(there(at("s/clones/web")));
	manifest_free(m);
	store_close(store);
}

static void sweep_trash(void **state)
{
	struct store *store = make_store("s");
	struct err err;

	assert_int_equal(mkdir(at("s/trash/0123"), 0700), 0);
	put(at("s/trash/0123/manifest"), "half");
	put(at("s/trash/file"), "x");
	put(at("s/lazyclone-store.0123.tmp"), "x");
	put(at("s/lazyclone-store.bak"), "a copy that somebody made");
	assert_int_equal(store_sweep(store, &err), 0);
	assert_false(there(at("s/lazyclone-store.0123.tmp")));
	assert_true(there(at("s/lazyclone-store.bak")));
	assert_true(there(at("s/lazyclone-store")));
	assert_int_equal(rmdir(at("s/trash")), 0);
	store_close(store);
}

/* Removing beside sweepers: each removal says that it removed. */
static void remove_beside_sweeps(void **state)
{
	struct store *store = make_store("s");
	pid_t sweeper[2];

	for (int i = 0; i < 2; i++) {
		sweeper[i] = fork();
		if (sweeper[i] == 0) {
			struct err err;

			while (getppid() != 1) {
				if (store_sweep(store, &err) < 0) {
					fprintf(stderr, "%s\n", err.message);
					_exit(1);
				}
			}
			_exit(0);
		}
	}
	for (int i = 0; i < 200; i++) {
		struct manifest *m = make_manifest("web", 1);
		struct err err;

		make_clone(store, m);
		assert_int_equal(store_remove(store, "web", &m->id, &err), 0);
		manifest_free(m);
	}
	for (int i = 0; i < 2; i++) {
		int status;

		/* Still sweeping: none of them has met an error. */
		assert_int_equal(waitpid(sweeper[i], &status, WNOHANG), 0);
		kill(sweeper[i], SIGKILL);
		waitpid(sweeper[i], &status, 0);
	}
	store_close(store);
}

static void manifest_write(void **state)
{
	struct store *store = make_store("s");
	struct manifest *m = make_manifest("web", 1);
	struct manifest *namesake = make_manifest("web", 1);
	struct manifest *back;
	struct err err;

	make_clone(store, m);
	m->disks[0].uid = 107;
	m->disks[0].mode = 0660;
	m->disks[0].size_bytes = 2 << 20;
	assert_int_equal(store_manifest_write(store, m, &err), 0);
	assert_int_equal(store_manifest_read(store, "web", &back, &err), 0);
	assert_int_equal(back->disks[0].uid, 107);
	assert_int_equal(back->disks[0].size_bytes, 2 << 20);
	manifest_free(back);
	assert_int_equal(store_manifest_write(store, namesake, &err), -ENOENT);
	assert_int_equal(store_manifest_read(store, "web", &back, &err), 0);
	assert_true(id_equal(&back->id, &m->id));
	manifest_free(back);
	manifest_free(namesake);
	manifest_free(m);
	store_close(store);
}

static void damaged_clone(void **state)
{
	struct store *store = make_store("s");
	struct manifest *m = make_manifest("web", 1);
	struct manifest *back;
	struct err err;

	make_clone(store, m);
	assert_int_equal(rename(at("s/clones/web"), at("s/clones/other")), 0);
	assert_int_equal(store_manifest_read(store, "other", &back, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "other"));
	put(at("s/clones/other/manifest"), "{}");
	assert_int_equal(store_manifest_read(store, "other", &back, &err), -EUCLEAN);
	assert_int_equal(unlink(at("s/clones/other/manifest")), 0);
	assert_int_equal(store_manifest_read(store, "other", &back, &err), -EUCLEAN);
	assert_int_equal(symlink("/dev/zero", at("s/clones/other/manifest")), 0);
	assert_int_equal(store_manifest_read(store, "other", &back, &err), -EUCLEAN);
	assert_int_equal(store_remove(store, "other", &m->id, &err), -EUCLEAN);
	assert_int_equal(store_manifest_read(store, "none", &back, &err), -ENOENT);
	manifest_free(m);
	store_close(store);
}

static void one_daemon(void **state)
{
	struct store *a = make_store("s");
	struct store *b = make_store("s");
	struct err err;

	assert_int_equal(store_locked(a), 0);
	assert_int_equal(store_lock(a, &err), 0);
	assert_int_equal(store_locked(a), 1);
	assert_int_equal(store_locked(b), 1);
	assert_int_equal(store_lock(b, &err), -EBUSY);
	store_close(a);
	assert_int_equal(store_locked(b), 0);
	assert_int_equal(store_lock(b, &err), 0);
	store_close(b);
}

/* Many make the same store, and then the same clone, at once: one wins. */
static void race(void **state)
{
	enum { RACERS = 8 };
	int made = 0;
	struct store *store;

	for (int i = 0; i < RACERS; i++) {
		if (fork() == 0) {
			struct manifest *m = make_manifest("web", 1);
			struct store_stage *stage;
			int rc = store_create(&io_kernel, at("raced"), NULL);

			if (rc < 0 || store_open(&io_kernel, at("raced"), &store, NULL) < 0)
				_exit(2);
			rc = store_stage(store, m, &stage, NULL);
			if (rc == 0)
				rc = store_commit(stage, NULL);
			_exit(rc == 0 ? 0 : rc == -EEXIST ? 1 : 2);
		}
	}
	for (int i = 0; i < RACERS; i++) {
		int status;

		wait(&status);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
		made += WEXITSTATUS(status) == 0;
	}
	assert_int_equal(made, 1);
	assert_int_equal(rmdir(at("raced/staging")), 0);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* What a daemon does at start; said, and bounded far above what it takes. */
static void thousand_manifests(void **state)
{
	struct store *store = make_store("s");
	char **names;
	uint32_t count;
	int64_t begun;
	int64_t read_ns;

	begun = now_ns();
	for (int i = 0; i < 1000; i++) {
		char name[16];
		struct manifest *m;

		snprintf(name, sizeof(name), "c%d", i);
		m = make_manifest(name, 1);
		make_clone(store, m);
		manifest_free(m);
	}
	print_message("1000 clones made in %.2f ms each\n", (double)(now_ns() - begun) / 1e9);
	begun = now_ns();
	assert_int_equal(store_list(store, &names, &count, NULL), 0);
	assert_int_equal(count, 1000);
	for (uint32_t i = 0; i < count; i++) {
		struct manifest *m;

		assert_int_equal(store_manifest_read(store, names[i], &m, NULL), 0);
		manifest_free(m);
	}
	read_ns = now_ns() - begun;
	print_message("1000 manifests read in %.1f ms\n", (double)read_ns / 1e6);
	assert_true(read_ns < INT64_C(2000000000));
	store_names_free(names, count);
	store_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(create_and_open),
		TEST(create_in_empty_or_unfinished),
		TEST(foreign_is_refused),
		TEST(damaged_or_newer_label),
		TEST(stage_and_commit),
		TEST(lists_sorted),
		TEST(name_taken_at_commit),
		TEST(abort_and_sweep),
		TEST(bad_manifest_is_not_staged),
		TEST(remove_by_id),
		TEST(remove_when_full),
		TEST(sweep_trash),
		TEST(remove_beside_sweeps),
		TEST(manifest_write),
		TEST(damaged_clone),
		TEST(one_daemon),
		TEST(race),
		TEST(thousand_manifests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
