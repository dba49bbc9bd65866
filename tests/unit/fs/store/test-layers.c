/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezing, resetting, users of layers, the sweep, and failing calls in between. */
#include <dirent.h>
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

#include "fs/store/delta.h"
#include "fs/store/freeze.h"
#include "fs/store/layers.h"
#include "fs/store/store.h"
#include "tests/lib/image.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/temp.h"

#define DISKS 2
#define DISK_BYTES (1u << 20)

static char top[TEMP_PATH_MAX];
static struct saboteur sab;
static struct store *store;

static int setup(void **state)
{
	char path[TEMP_PATH_MAX + 8];

	temp_dir("layers", top);
	snprintf(path, sizeof(path), "%s/store", top);
	saboteur_init(&sab, &io_kernel);
	assert_int_equal(store_create(&sab.gate, path, NULL), 0);
	assert_int_equal(store_open(&sab.gate, path, &store, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	store_close(store);
	image_clear(top);
	temp_dir_remove(top);
	return 0;
}

/* A clone of two disks on the layers of from, if there is one. */
static struct manifest *make_clone(const char *name, const struct manifest *from)
{
	struct store_stage *stage;
	struct manifest *m;
	struct err err;

	assert_int_equal(manifest_new(name, &m), 0);
	for (uint32_t i = 0; i < DISKS; i++) {
		struct store_disk *disk = manifest_add_disk(m, i ? "vdb" : "vda");

		disk->size_bytes = DISK_BYTES;
		disk->base_path = strdup("/images/a.img");
		disk->base_format = strdup("raw");
		disk->base_identity = strdup("ino=1");
		disk->mode = 0600;
		if (!from)
			continue;
		disk->n_layers = from->disks[i].n_layers;
		disk->layers = calloc(disk->n_layers + 1, sizeof(*disk->layers));
		memcpy(disk->layers, from->disks[i].layers,
			disk->n_layers * sizeof(*disk->layers));
	}
	if (store_stage(store, m, &stage, &err) < 0) {
		manifest_free(m);
		return NULL;
	}
	assert_int_equal(store_commit(stage, NULL), 0);
	return m;
}

static bool in_clone(const char *clone, const struct id *log)
{
	int fd = store_clone_dirfd(store, clone);
	char text[ID_TEXT], name[ID_TEXT + 8];
	struct stat st;
	bool is;

	id_format(log, text);
	snprintf(name, sizeof(name), "%s.log", text);
	is = fstatat(fd, name, &st, 0) == 0;
	close(fd);
	return is;
}

static bool in_layers(const struct id *log)
{
	char text[ID_TEXT], name[ID_TEXT + 16];
	struct stat st;

	id_format(log, text);
	snprintf(name, sizeof(name), "layers/%s.log", text);
	return fstatat(store_dirfd(store), name, &st, 0) == 0;
}

static unsigned int count_layer_files(void)
{
	int fd = openat(store_dirfd(store), "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	const struct dirent *entry;
	unsigned int n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void replace(struct manifest **m, struct manifest *next)
{
	manifest_free(*m);
	*m = next;
}

/* Freeze the disks named by the set of bits, while none of them is open. */
static int freeze(struct manifest **m, unsigned int set, const char *name, struct err *err)
{
	uint64_t sizes[DISKS] = {set & 1 ? DISK_BYTES : 0, set & 2 ? DISK_BYTES : 0};
	struct store_change *change;
	struct manifest *next;
	int rc = freeze_plan(*m, sizes, name, &next, err);

	if (rc < 0)
		return rc;
	rc = store_change_begin(store, *m, next, &change, err);
	if (rc == 0) {
		rc = store_change_commit(change, err);
		store_change_end(change);
	}
	if (rc == 0)
		replace(m, next);
	else
		manifest_free(next);
	return rc;
}

static int reset(struct manifest **m, const char *to, struct err *err)
{
	struct manifest *next;
	int rc = store_reset(store, *m, to, NULL, &next, err);

	if (rc == 0)
		replace(m, next);
	return rc;
}

static void assert_stored(const struct manifest *m)
{
	struct manifest *there;

	assert_int_equal(store_manifest_read(store, m->name, &there, NULL), 0);
	for (uint32_t i = 0; i < DISKS; i++) {
		assert_true(id_equal(&there->disks[i].log, &m->disks[i].log));
		assert_int_equal(there->disks[i].n_layers, m->disks[i].n_layers);
		assert_true(in_clone(m->name, &m->disks[i].log));
		for (uint32_t k = 0; k < m->disks[i].n_layers; k++)
			assert_true(in_layers(&m->disks[i].layers[k].id));
	}
	assert_int_equal(there->n_snapshots, m->n_snapshots);
	manifest_free(there);
}

static void remove_clone(struct manifest *m)
{
	assert_int_equal(store_remove(store, m->name, &m->id, NULL), 0);
	manifest_free(m);
}

/* What was written before the freeze is in the layer, and nowhere else. */
static void freeze_keeps_content(void **state)
{
	struct manifest *m = make_clone("web", NULL);
	struct id logs[DISKS] = {m->disks[0].log, m->disks[1].log};
	struct delta_options options = {.layer = true};
	char block[DELTA_BLOCK_BYTES], text[ID_TEXT];
	enum delta_owner owner;
	struct delta *delta;
	int fd = store_clone_dirfd(store, "web");
	struct err err;

	id_format(&logs[0], text);
	assert_int_equal(delta_open(fd, text, NULL, &delta, &err), 0);
	memset(block, 'x', sizeof(block));
	assert_int_equal(delta_write(delta, block, 1, 7), 0);
	assert_int_equal(delta_close(delta), 0);
	close(fd);

	assert_int_equal(freeze(&m, 3, "clean", &err), 0);
	assert_stored(m);
	for (int i = 0; i < DISKS; i++) {
		assert_false(in_clone("web", &logs[i]));
		assert_true(id_equal(&m->disks[i].layers[0].id, &logs[i]));
		assert_true(id_equal(&m->snapshots[0].tops[i], &logs[i]));
	}
	fd = openat(store_dirfd(store), "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(delta_open(fd, text, &options, &delta, &err), 0);
	memset(block, 0, sizeof(block));
	assert_int_equal(delta_read(delta, block, 1, 7, false, &owner), 1);
	assert_int_equal(owner, DELTA_DATA);
	assert_int_equal(block[0], 'x');
	delta_close(delta);
	close(fd);
	remove_clone(m);
	assert_int_equal(count_layer_files(), 0);
}

static void only_what_was_written(void **state)
{
	struct manifest *m = make_clone("web", NULL);
	struct id logs[DISKS] = {m->disks[0].log, m->disks[1].log};
	struct err err;

	assert_int_equal(freeze(&m, 2, "a", &err), 0);
	assert_true(id_equal(&m->disks[0].log, &logs[0]));
	assert_true(id_equal(&m->disks[1].layers[0].id, &logs[1]));
	assert_true(id_is_zero(&m->snapshots[0].tops[0]));
	assert_int_equal(freeze(&m, 0, "b", &err), 0); /* only a name */
	assert_int_equal(m->disks[1].n_layers, 1);
	assert_int_equal(m->n_snapshots, 2);
	assert_stored(m);
	assert_int_equal(freeze(&m, 1, "b", &err), -EEXIST);
	assert_int_equal(freeze(&m, 1, "a/b", &err), -EINVAL);
	assert_int_equal(freeze(&m, 1, NULL, &err), 0);
	assert_int_equal(m->n_snapshots, 2);
	assert_stored(m);
	remove_clone(m);
}

/* Layers live as long as anybody names them, and not longer. */
static void users(void **state)
{
	struct manifest *m = make_clone("web", NULL);
	struct manifest *first, *second;
	struct id layer[2];

	assert_int_equal(freeze(&m, 3, NULL, NULL), 0);
	layer[0] = m->disks[0].layers[0].id;
	first = make_clone("first", m);
	assert_non_null(first);
	assert_int_equal(freeze(&m, 1, NULL, NULL), 0);
	layer[1] = m->disks[0].layers[0].id;
	second = make_clone("second", m);
	assert_non_null(second);
	remove_clone(m);
	assert_stored(first);
	assert_stored(second);
	remove_clone(second);
	assert_false(in_layers(&layer[1]));
	assert_true(in_layers(&layer[0]));
	assert_stored(first);
	remove_clone(first);
	assert_int_equal(count_layer_files(), 0);
}

/* A clone that is being made keeps its layers; one that comes too late is told. */
static void stage_holds_layers(void **state)
{
	struct manifest *m = make_clone("web", NULL), *copy, *late;
	struct store_stage *stage;
	struct err err;

	assert_int_equal(freeze(&m, 3, NULL, NULL), 0);
	assert_int_equal(manifest_copy(m, &copy), 0);
	copy->id = id_new();
	copy->disks[0].log = id_new();
	copy->disks[1].log = id_new();
	free(copy->name);
	copy->name = strdup("copy");
	assert_int_equal(store_stage(store, copy, &stage, &err), 0);
	assert_int_equal(manifest_copy(m, &late), 0);
	remove_clone(m);
	assert_true(in_layers(&copy->disks[0].layers[0].id));
	assert_int_equal(store_commit(stage, &err), 0);
	assert_stored(copy);
	remove_clone(copy);
	assert_int_equal(count_layer_files(), 0);

	late->id = id_new();
	assert_int_equal(store_stage(store, late, &stage, &err), -ENOENT);
	assert_non_null(strstr(err.message, "is not there"));
	manifest_free(late);
}

static void unreadable_manifest_keeps_all(void **state)
{
	struct manifest *m = make_clone("web", NULL), *other = make_clone("other", NULL);
	char path[TEMP_PATH_MAX + 64], saved[TEMP_PATH_MAX + 80];
	struct err err;
	FILE *out;

	assert_int_equal(freeze(&m, 3, NULL, NULL), 0);
	snprintf(path, sizeof(path), "%s/store/clones/other/manifest", top);
	snprintf(saved, sizeof(saved), "%s.saved", path);
	assert_int_equal(rename(path, saved), 0);
	remove_clone(m);
	assert_int_equal(count_layer_files(), 4);
	assert_int_equal(store_layers_sweep(store, NULL, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "other"));
	out = fopen(path, "we");
	fputs("{}", out);
	fclose(out);
	assert_int_equal(store_layers_sweep(store, NULL, &err), -EUCLEAN);
	assert_int_equal(store_sweep(store, &err), 0); /* which must not fail for it */
	assert_int_equal(count_layer_files(), 4);
	assert_int_equal(rename(saved, path), 0);
	assert_int_equal(store_sweep(store, &err), 0);
	assert_int_equal(count_layer_files(), 0);
	remove_clone(other);
}

static void foreign_files_stay(void **state)
{
	char path[TEMP_PATH_MAX + 64];
	FILE *out;

	snprintf(path, sizeof(path), "%s/store/layers/notes.txt", top);
	out = fopen(path, "we");
	fclose(out);
	assert_int_equal(store_layers_sweep(store, NULL, NULL), 0);
	assert_int_equal(count_layer_files(), 1);
}

static void resets(void **state)
{
	struct manifest *m = make_clone("web", NULL);
	struct id base_log, top_layer, log;
	struct err err;

	assert_int_equal(freeze(&m, 3, "one", &err), 0);
	base_log = m->disks[0].layers[0].id;
	assert_int_equal(freeze(&m, 1, "two", &err), 0);
	top_layer = m->disks[0].layers[0].id;
	log = m->disks[0].log;
	assert_int_equal(reset(&m, NULL, &err), 0);
	assert_false(id_equal(&m->disks[0].log, &log));
	assert_false(in_clone("web", &log));
	assert_stored(m);

	assert_int_equal(reset(&m, "three", &err), -ENOENT);
	assert_int_equal(reset(&m, "one", &err), -EEXIST);
	assert_non_null(strstr(err.message, "two"));
	assert_int_equal(reset(&m, "", &err), -EEXIST);
	assert_non_null(strstr(err.message, "one, two"));
	assert_stored(m);
	assert_int_equal(reset(&m, "two", &err), 0);
	assert_true(in_layers(&top_layer));

	/* Forget the name, and the way back is free. */
	free(m->snapshots[1].name);
	free(m->snapshots[1].tops);
	m->n_snapshots = 1;
	assert_int_equal(store_manifest_write(store, m, &err), 0);
	assert_int_equal(reset(&m, "one", &err), 0);
	assert_int_equal(m->disks[0].n_layers, 1);
	assert_true(id_equal(&m->disks[0].layers[0].id, &base_log));
	assert_false(in_layers(&top_layer));
	assert_stored(m);
	remove_clone(m);
	assert_int_equal(count_layer_files(), 0);
}

static void depth_is_limited(void **state)
{
	struct manifest *m = make_clone("web", NULL);
	struct err err;

	for (int i = 0; i < STORE_LAYERS_MAX; i++)
		assert_int_equal(freeze(&m, 1, NULL, &err), 0);
	assert_int_equal(freeze(&m, 1, NULL, &err), -EMLINK);
	assert_int_equal(freeze(&m, 2, "flat", &err), 0);
	assert_stored(m);
	remove_clone(m);
}

/* The sizes of layers and disk after a growth that the manifest did not know. */
static void grown_disk(void **state)
{
	struct manifest *m = make_clone("web", NULL), *next;
	uint64_t sizes[DISKS] = {DISK_BYTES + 4096, 0};
	struct err err;

	assert_int_equal(freeze_plan(m, sizes, NULL, &next, &err), 0);
	assert_int_equal(next->disks[0].size_bytes, DISK_BYTES + 4096);
	assert_int_equal(next->disks[0].layers[0].size_bytes, DISK_BYTES + 4096);
	manifest_free(next);
	remove_clone(m);
}

/* What a killed freeze leaves in a clone's directory goes at the daemon's start. */
static void strays(void **state)
{
	struct manifest *m = make_clone("web", NULL);
	char path[TEMP_PATH_MAX + 64], text[ID_TEXT];
	struct id stray = id_new();
	int fd = store_clone_dirfd(store, "web");
	struct stat st;

	id_format(&stray, text);
	assert_int_equal(delta_create(NULL, fd, text, DISK_BYTES, NULL), 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/store/clones/web/record.json", top);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(store_sweep(store, NULL), 0);
	assert_true(in_clone("web", &stray)); /* a daemon may be at work */
	assert_int_equal(store_lock(store, NULL), 0);
	assert_int_equal(store_sweep(store, NULL), 0);
	assert_false(in_clone("web", &stray));
	assert_int_equal(stat(path, &st), 0);
	assert_stored(m);
	remove_clone(m);
}

static void fail_call(enum sabotaged_call call, uint64_t nth)
{
	memset(sab.count, 0, sizeof(sab.count));
	sab.hits = 0;
	sab.call = call;
	sab.nth = nth;
	sab.error = -EIO;
	sab.kind = SABOTAGE_FAIL;
}

/* m is what the freeze made of it, log its first log before. */
static void check_after_failure(const struct manifest *m, const struct id *log, int rc)
{
	if (rc == -ENOTRECOVERABLE) {
		/* The kernel shows the new one; what the old one names is there, too. */
		assert_true(in_clone("web", log));
		assert_true(in_layers(log));
		return;
	}
	assert_stored(m);
	assert_int_equal(m->disks[0].n_layers, rc == 0);
	if (rc < 0) {
		assert_true(id_equal(&m->disks[0].log, log));
		assert_int_equal(store_sweep(store, NULL), 0);
		assert_int_equal(count_layer_files(), 0);
	}
}

static void start_anew(void)
{
	teardown(NULL);
	setup(NULL);
}

/* Each call of a freeze fails once: all is as before, or nobody knows. */
static void failing_calls(void **state)
{
	static const enum sabotaged_call calls[] = {CALL_OPENAT, CALL_LINKAT, CALL_PWRITEV,
		CALL_RENAMEAT, CALL_SYNC, CALL_UNLINKAT};
	unsigned int failed = 0, unknown = 0;

	for (size_t c = 0; c < sizeof(calls) / sizeof(calls[0]); c++) {
		for (uint64_t nth = 1;; nth++) {
			struct manifest *m = make_clone("web", NULL);
			struct id log = m->disks[0].log;
			struct err err;
			uint64_t hits;
			int rc;

			fail_call(calls[c], nth);
			rc = freeze(&m, 3, "s", &err);
			sab.kind = SABOTAGE_NONE;
			hits = sab.hits;
			failed += rc < 0;
			unknown += rc == -ENOTRECOVERABLE;
			check_after_failure(m, &log, rc);
			assert_true(hits > 0 || rc == 0);
			manifest_free(m);
			start_anew();
			if (hits == 0)
				break;
		}
	}
	assert_true(failed > 10);
	assert_int_equal(unknown, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(freeze_keeps_content, setup, teardown),
		cmocka_unit_test_setup_teardown(only_what_was_written, setup, teardown),
		cmocka_unit_test_setup_teardown(users, setup, teardown),
		cmocka_unit_test_setup_teardown(stage_holds_layers, setup, teardown),
		cmocka_unit_test_setup_teardown(unreadable_manifest_keeps_all, setup, teardown),
		cmocka_unit_test_setup_teardown(foreign_files_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(resets, setup, teardown),
		cmocka_unit_test_setup_teardown(depth_is_limited, setup, teardown),
		cmocka_unit_test_setup_teardown(grown_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(strays, setup, teardown),
		cmocka_unit_test_setup_teardown(failing_calls, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
