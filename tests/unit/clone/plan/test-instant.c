/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Instants: the NVRAM copy that belongs to each, kept before a freeze, dropped when it is nobody's. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/plan/instant.h"
#include "clone/state/kept.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];
static char nvram[TEMP_PATH_MAX + 32];
static struct ours ours;

static void put(const char *name, const char *text)
{
	assert_int_equal(
		io_write_file(&io_kernel, ours.dirfd, name, text, strlen(text), 0600), 0);
}

static void change_nvram(const char *text)
{
	unlink(nvram);
	put("clone_VARS.fd", text);
}

static int setup(void **state)
{
	temp_dir("instant", dir);
	snprintf(nvram, sizeof(nvram), "%s/clone_VARS.fd", dir);
	ours = (struct ours){.lock_fd = -1};
	ours.dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ours.record = record_new(2);
	ours.record->nvram = strdup(nvram);
	assert_true(asprintf(&ours.domain.xml,
			    "<domain type='qemu'><name>clone</name>"
			    "<uuid>9b5cdc66-72a0-4b6c-b751-b798a0dceacb</uuid>"
			    "<os><nvram>%s</nvram></os></domain>",
			    nvram) > 0);
	assert_int_equal(manifest_new("clone", &ours.manifest), 0);
	assert_non_null(manifest_add_disk(ours.manifest, "vda"));
	assert_non_null(manifest_add_disk(ours.manifest, "vdb"));
	put(RECORD_NVRAM, "at cloning");
	change_nvram("at cloning");
	return 0;
}

static int teardown(void **state)
{
	ours_clear(&ours);
	temp_dir_remove(dir);
	return 0;
}

/* What the daemon does to a disk in a freeze. */
static void freeze(uint32_t i)
{
	struct store_disk *disk = &ours.manifest->disks[i];

	disk->layers = realloc(disk->layers, (disk->n_layers + 1) * sizeof(*disk->layers));
	memmove(disk->layers + 1, disk->layers, disk->n_layers * sizeof(*disk->layers));
	disk->layers[0] = (struct store_layer){.id = disk->log, .size_bytes = 4096};
	disk->n_layers++;
	disk->log = id_new();
}

static void name_snapshot(const char *name)
{
	struct manifest *m = ours.manifest;
	struct store_snapshot *snapshot;

	m->snapshots = realloc(m->snapshots, (m->n_snapshots + 1) * sizeof(*m->snapshots));
	snapshot = &m->snapshots[m->n_snapshots++];
	*snapshot = (struct store_snapshot){
		.name = strdup(name), .tops = calloc(m->n_disks, sizeof(*snapshot->tops))};
	for (uint32_t i = 0; i < m->n_disks; i++)
		if (m->disks[i].n_layers > 0)
			snapshot->tops[i] = m->disks[i].layers[0].id;
}

static void belongs(const char *to, const char *expected)
{
	AUTO_FREE char *data = NULL;
	char file[KEPT_TEXT_MAX + 1];
	enum instant_nvram what;
	size_t len;

	assert_int_equal(instant_find(&ours, to, &what, file, NULL), 0);
	if (!expected) {
		assert_int_equal(what, INSTANT_NVRAM_DROP);
		return;
	}
	assert_int_equal(what, INSTANT_NVRAM_PUT);
	assert_int_equal(io_slurp(&io_kernel, ours.dirfd, file, 4096, &data, &len), 0);
	assert_string_equal(data, expected);
}

static int count_copies(void)
{
	AUTO_FREE char *command = NULL;
	FILE *pipe;
	int n = -1;

	assert_true(asprintf(&command, "ls %s | grep -c '^nvram\\.[0-9a-f]*$'", dir) > 0);
	pipe = popen(command, "r");
	assert_int_equal(fscanf(pipe, "%d", &n), 1);
	pclose(pipe);
	return n;
}

static void test_without_a_freeze_all_is_the_cloning(void **state)
{
	belongs(NULL, "at cloning");
	belongs("", "at cloning");
	assert_int_equal(instant_find(&ours, "s1", &(enum instant_nvram){0},
				 (char[KEPT_TEXT_MAX + 1]){0}, NULL), -EUCLEAN);
}

static void test_an_original_that_never_ran(void **state)
{
	assert_int_equal(unlinkat(ours.dirfd, RECORD_NVRAM, 0), 0);
	belongs("", NULL);
	assert_int_equal(unlink(nvram), 0);
	assert_int_equal(instant_keep(&ours, "s1", NULL), 0);
	freeze(0);
	name_snapshot("s1");
	belongs("s1", NULL);
	belongs(NULL, NULL);
}

static void test_each_freeze_has_its_copy(void **state)
{
	uint64_t mark = instant_mark(ours.manifest);

	change_nvram("first");
	assert_int_equal(instant_keep(&ours, "s1", NULL), 0);
	freeze(0);
	name_snapshot("s1");
	assert_true(instant_mark(ours.manifest) != mark);
	change_nvram("second");
	/* Only the other disk wrote. */
	assert_int_equal(instant_keep(&ours, NULL, NULL), 0);
	freeze(1);
	change_nvram("third");
	belongs(NULL, "second");
	belongs("s1", "first");
	belongs("", "at cloning");
	assert_int_equal(count_copies(), 2);
}

/* Without a write nothing is frozen, but the machine may have changed its variables. */
static void test_the_last_of_snapshots_on_the_same_layers(void **state)
{
	change_nvram("first");
	assert_int_equal(instant_keep(&ours, "s1", NULL), 0);
	name_snapshot("s1");
	belongs(NULL, "first");
	change_nvram("second");
	assert_int_equal(instant_keep(&ours, "s2", NULL), 0);
	freeze(0);
	name_snapshot("s2");
	change_nvram("third");
	assert_int_equal(instant_keep(&ours, "s3", NULL), 0);
	name_snapshot("s3");
	change_nvram("now");
	belongs(NULL, "third");
	belongs("s1", "first");
	belongs("s2", "second");
	belongs("", "at cloning");
	/* A freeze without a name is newer than all of them. */
	assert_int_equal(instant_keep(&ours, NULL, NULL), 0);
	freeze(1);
	belongs(NULL, "now");
}

static void test_what_a_killed_one_kept_goes(void **state)
{
	change_nvram("never frozen");
	assert_int_equal(instant_keep(&ours, "s1", NULL), 0);
	assert_int_equal(count_copies(), 1);
	put("nvram.0123456789abcdef0123456789abcdef", "not even named");
	change_nvram("first");
	assert_int_equal(instant_keep(&ours, "s1", NULL), 0);
	freeze(0);
	name_snapshot("s1");
	assert_int_equal(count_copies(), 1);
	belongs("s1", "first");
	assert_int_equal(instant_sweep(&ours, NULL), 0);
	belongs("s1", "first");
}

static void test_a_deleted_snapshot_is_still_the_newest_layer(void **state)
{
	change_nvram("first");
	assert_int_equal(instant_keep(&ours, "s1", NULL), 0);
	freeze(0);
	assert_int_equal(instant_sweep(&ours, NULL), 0);
	belongs(NULL, "first");
	/* Reset below it. */
	ours.manifest->disks[0].n_layers = 0;
	assert_int_equal(instant_sweep(&ours, NULL), 0);
	assert_int_equal(count_copies(), 0);
	belongs(NULL, "at cloning");
}

/* A layer under another id, as lazyclone-fsck writes it: an older copy is not its. */
static void test_a_layer_written_anew_has_no_copy(void **state)
{
	enum instant_nvram what;
	char file[KEPT_TEXT_MAX + 1];

	change_nvram("first");
	assert_int_equal(instant_keep(&ours, NULL, NULL), 0);
	freeze(0);
	freeze(1);
	change_nvram("second");
	assert_int_equal(instant_keep(&ours, NULL, NULL), 0);
	freeze(0);
	belongs(NULL, "second");
	ours.manifest->disks[0].layers[0].id = id_new();
	assert_int_equal(instant_find(&ours, NULL, &what, file, NULL), -EUCLEAN);
	belongs("", "at cloning");
}

/* The domain was given another file: neither is ours to touch. */
static void test_another_nvram_is_left_alone(void **state)
{
	enum instant_nvram what = INSTANT_NVRAM_PUT;
	char file[KEPT_TEXT_MAX + 1];

	free(ours.record->nvram);
	ours.record->nvram = strdup("/elsewhere_VARS.fd");
	assert_int_equal(instant_keep(&ours, "s1", NULL), 0);
	assert_int_equal(count_copies(), 0);
	assert_int_equal(instant_find(&ours, NULL, &what, file, NULL), 0);
	assert_int_equal(what, INSTANT_NVRAM_LEAVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_without_a_freeze_all_is_the_cloning, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_original_that_never_ran, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_freeze_has_its_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_last_of_snapshots_on_the_same_layers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_a_killed_one_kept_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_deleted_snapshot_is_still_the_newest_layer, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_layer_written_anew_has_no_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_nvram_is_left_alone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
