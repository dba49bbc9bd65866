/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store with one small clone, to damage, check and repair: see onestore.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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

#include "fs/store/freeze.h"
#include "tests/lib/onestore.h"
#include "tests/lib/rng.h"
#include "tests/lib/scratch.h"

struct onestore onestore;

/* ---- a store with one clone ---- */

const char *onestore_path(const char *name)
{
	static char path[2][512];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", onestore.top, name);
	return path[turn];
}

static void add_disk(struct manifest *m, const char *target)
{
	struct store_disk *disk = manifest_add_disk(m, target);

	assert_non_null(disk);
	disk->size_bytes = ONESTORE_BLOCKS * DELTA_BLOCK_BYTES;
	disk->base_path = strdup("/images/a.img");
	disk->base_format = strdup("raw");
	disk->base_identity = strdup("ino=1");
	disk->mode = 0600;
}

void onestore_make_clone(struct store *store, const char *name)
{
	struct store_stage *stage;
	struct manifest *m;

	assert_int_equal(manifest_new(name, &m), 0);
	add_disk(m, "vda");
	assert_int_equal(store_stage(store, m, &stage, NULL), 0);
	assert_int_equal(store_commit(stage, NULL), 0);
	manifest_free(m);
}

struct store *onestore_open(void)
{
	struct store *store;
	struct err err = {0};
	int rc = store_open(&io_kernel, onestore_path("store"), &store, &err);

	if (rc < 0)
		print_message("%s\n", err.message);
	assert_int_equal(rc, 0);
	return store;
}

/* Of the clone's disk; its directory is the caller's to close. */
static int log_of(const char *clone, char name[static ID_TEXT])
{
	struct store *store = onestore_open();
	struct manifest *m;
	int dirfd;

	assert_int_equal(store_manifest_read(store, clone, &m, NULL), 0);
	id_format(&m->disks[0].log, name);
	manifest_free(m);
	dirfd = store_clone_dirfd(store, clone);
	assert_true(dirfd >= 0);
	store_close(store);
	return dirfd;
}

struct delta *onestore_delta(void)
{
	char name[ID_TEXT];
	int dirfd = log_of("web", name);
	struct delta *delta;
	struct err err = {0};
	int rc = delta_open(dirfd, name, NULL, &delta, &err);

	close(dirfd);
	if (rc < 0)
		print_message("%s\n", err.message);
	assert_int_equal(rc, 0);
	return delta;
}

void onestore_write(struct delta *delta, uint32_t count)
{
	static uint8_t buf[ONESTORE_BLOCKS * DELTA_BLOCK_BYTES];
	uint32_t block = (uint32_t)rng_below(&onestore.rng, ONESTORE_BLOCKS - count + 1);
	uint32_t version = STAMP_FIRST + onestore.n_ops;
	struct stamp_op *op = &onestore.ops[onestore.n_ops++];

	assert_true(onestore.n_ops <= ONESTORE_OPS);
	stamps_fill(version, block, count, buf);
	assert_int_equal(delta_write(delta, buf, count, block), 0);
	*op = (struct stamp_op){.version = version, .block = block, .count = count};
}

static void zero_some(struct delta *delta, uint32_t count)
{
	uint32_t block = (uint32_t)rng_below(&onestore.rng, ONESTORE_BLOCKS - count + 1);

	assert_int_equal(delta_zero(delta, block, count), 0);
	onestore.ops[onestore.n_ops++] =
		(struct stamp_op){.version = STAMP_ZERO, .block = block, .count = count};
}

static void apply(const struct stamp_op *op, uint32_t count,
	uint32_t versions[static ONESTORE_BLOCKS])
{
	for (uint32_t b = op->block; b < op->block + count; b++)
		versions[b] = op->version == STAMP_ZERO ? STAMP_ZERO : stamps_value(op->version, b);
}

/* What the disk is after the first k operations. */
static void model(unsigned int k, uint32_t versions[static ONESTORE_BLOCKS])
{
	memset(versions, 0, ONESTORE_BLOCKS * sizeof(*versions));
	for (unsigned int i = 0; i < k; i++)
		apply(&onestore.ops[i], onestore.ops[i].count, versions);
}

/* Two lives, the first of several segments; flushed, then closed or not. */
static struct delta *begin_store(void)
{
	struct store *store;

	scratch_run(NULL, "cd %s && rm -rf store pristine", onestore.top);
	onestore.n_ops = 0;
	assert_int_equal(store_create(&io_kernel, onestore_path("store"), NULL), 0);
	store = onestore_open();
	onestore_make_clone(store, "web");
	store_close(store);
	return onestore_delta();
}

static void end_store(struct delta *delta, enum ending ending)
{
	assert_int_equal(delta_flush(delta), 0);
	if (ending == CLEAN)
		assert_int_equal(delta_close(delta), 0);
	else
		delta_abandon(delta);
	model(onestore.n_ops, onestore.last);
	assert_int_equal(scratch_run(NULL, "cd %s && cp -a store pristine", onestore.top), 0);
}

void onestore_make(enum ending ending, bool checkpoint)
{
	struct delta *delta = begin_store();

	for (int i = 0; i < 14; i++)
		onestore_write(delta, 1 + (uint32_t)rng_below(&onestore.rng, 40));
	zero_some(delta, 9);
	assert_int_equal(checkpoint ? delta_checkpoint(delta) : 0, 0);
	assert_int_equal(delta_close(delta), 0);
	delta = onestore_delta();
	for (int i = 0; i < 5; i++)
		onestore_write(delta, 1 + (uint32_t)rng_below(&onestore.rng, 40));
	assert_int_equal(checkpoint ? delta_checkpoint(delta) : delta_flush(delta), 0);
	onestore_write(delta, 3);
	end_store(delta, ending);
}

static void clean_all(struct delta *delta)
{
	uint64_t moved;
	int rc;

	do
		rc = delta_clean(delta, 1 << 20, &moved);
	while (rc > 0);
	assert_int_equal(rc, 0);
}

static void do_something(struct delta *delta)
{
	switch (rng_below(&onestore.rng, 16)) {
	case 0:
	case 1:
		zero_some(delta, 1 + (uint32_t)rng_below(&onestore.rng, 20));
		break;
	case 2:
		assert_int_equal(delta_checkpoint(delta), 0);
		break;
	case 3:
	case 4:
		clean_all(delta);
		break;
	case 5:
	case 6:
		assert_int_equal(delta_flush(delta), 0);
		break;
	default:
		onestore_write(delta, 1 + (uint32_t)rng_below(&onestore.rng, 12));
		break;
	}
}

void onestore_make_busy(enum ending ending)
{
	struct delta *delta = begin_store();

	for (int life = 0; life < 4; life++) {
		for (int i = 0; i < 90; i++)
			do_something(delta);
		if (life == 3)
			break;
		if (rng_below(&onestore.rng, 2))
			assert_int_equal(delta_close(delta), 0);
		else
			delta_abandon(delta);
		delta = onestore_delta();
	}
	end_store(delta, ending);
}

/* Marks it as frozen, if it is not yet. */
static struct delta *open_layer(const struct id *id)
{
	const struct delta_options options = {.layer = true};
	int dirfd = open(onestore_path("store/layers"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct delta *layer;
	char name[ID_TEXT];

	id_format(id, name);
	assert_int_equal(delta_open(dirfd, name, &options, &layer, NULL), 0);
	close(dirfd);
	return layer;
}

struct id onestore_freeze(void)
{
	struct store *store = onestore_open();
	struct store_change *change;
	struct manifest *now, *next;
	struct id id;

	assert_int_equal(store_manifest_read(store, "web", &now, NULL), 0);
	id = now->disks[0].log;
	assert_int_equal(freeze_plan(now, &now->disks[0].size_bytes, NULL, &next, NULL), 0);
	assert_int_equal(store_change_begin(store, now, next, &change, NULL), 0);
	assert_int_equal(store_change_commit(change, NULL), 0);
	store_change_end(change);
	manifest_free(now);
	manifest_free(next);
	store_close(store);
	delta_abandon(open_layer(&id));
	return id;
}

struct manifest *onestore_manifest_beside(struct store *store, const char *name)
{
	struct manifest *m;

	assert_int_equal(store_manifest_read(store, "web", &m, NULL), 0);
	free(m->name);
	m->name = strdup(name);
	m->id = id_new();
	m->node++;
	m->disks[0].log = id_new();
	return m;
}

void onestore_restore(void)
{
	assert_int_equal(scratch_run(NULL, "cd %s && rm -rf store && cp -a pristine store",
				 onestore.top), 0);
}

/* ---- checking ---- */

static bool answer(void *ctx, const struct check_problem *problem, bool may_repair)
{
	const enum answer *how = ctx;

	onestore.asked[problem->kind->code]++;
	if (onestore.refused >> problem->kind->code & 1)
		return false;
	return *how == YES || (*how == PREEN && problem->kind->safe);
}

static void repaired(void *ctx, const struct check_problem *problem, int rc, const struct err *err)
{
	if (rc < 0 && !onestore.may_fail)
		print_message("not repaired: %s: %s: %s: %s\n", problem->where,
			problem->kind->what, problem->detail, err->message);
	assert_true(rc == 0 || onestore.may_fail);
	onestore.cut = onestore.cut || problem->kind->code == PROBLEM_LOG_CUT;
}

static unsigned int left_of(const struct check *check)
{
	return (unsigned int)(check->leftovers + check->damages + check->unknowns -
			      check->n_repaired);
}

unsigned int onestore_check(enum answer how, bool full)
{
	struct check check = {
		.repair = how != NO,
		.full = full,
		.ask = answer,
		.repaired = repaired,
		.clone = onestore.clone,
		.ctx = &how,
	};
	const struct io_gate *io = onestore.io ? onestore.io : &io_kernel;
	struct err err = {0};
	struct store *store = NULL;
	int rc;

	memset(onestore.asked, 0, sizeof(onestore.asked));
	onestore.cut = false;
	rc = check_label(&check, io, onestore_path("store"), &err);
	if (rc == -EUCLEAN)
		return left_of(&check);
	if (rc == 0)
		rc = store_open(io, onestore_path("store"), &store, &err);
	if (rc == 0)
		rc = check_store(&check, io, store, NULL, 0, &err);
	store_close(store);
	if (rc < 0 && !onestore.may_fail)
		print_message("%s\n", err.message);
	assert_true(rc == 0 || (onestore.may_fail && err.message[0]));
	return left_of(&check);
}

/* Each block by itself, so that one that fails hides no other. */
static void read_versions(struct delta *delta, uint32_t versions[static ONESTORE_BLOCKS])
{
	uint8_t buf[DELTA_BLOCK_BYTES];

	for (uint32_t block = 0; block < ONESTORE_BLOCKS; block++) {
		enum delta_owner owner;
		int n = delta_read(delta, buf, 1, block, false, &owner);

		versions[block] = STAMP_ABSENT;
		if (n == -EIO)
			versions[block] = ONESTORE_BAD;
		else if (owner == DELTA_ZERO)
			versions[block] = STAMP_ZERO;
		else if (owner == DELTA_DATA)
			assert_int_equal(stamps_identify(buf, block, &versions[block]), 0);
	}
}

static void read_below(const struct id *layer, uint32_t versions[static ONESTORE_BLOCKS])
{
	struct delta *delta = open_layer(layer);
	uint32_t below[ONESTORE_BLOCKS];

	read_versions(delta, below);
	for (uint32_t block = 0; block < ONESTORE_BLOCKS; block++)
		if (versions[block] == STAMP_ABSENT)
			versions[block] = below[block];
	delta_abandon(delta);
}

void onestore_read(uint32_t versions[static ONESTORE_BLOCKS])
{
	struct delta *delta = onestore_delta();
	struct store *store = onestore_open();
	struct manifest *m;

	read_versions(delta, versions);
	assert_int_equal(delta_close(delta), 0);
	assert_int_equal(store_manifest_read(store, "web", &m, NULL), 0);
	for (uint32_t i = 0; i < m->disks[0].n_layers; i++)
		read_below(&m->disks[0].layers[i].id, versions);
	manifest_free(m);
	store_close(store);
}

static bool agrees(const uint32_t *versions, const uint32_t *wanted)
{
	for (uint32_t block = 0; block < ONESTORE_BLOCKS; block++)
		if (versions[block] != ONESTORE_BAD && versions[block] != wanted[block])
			return false;
	return true;
}

/* What is read is the end's state, but for errors; or, with earlier, that of one
 * moment before it. */
static void print_difference(const uint32_t *versions)
{
	print_message("damaged: %s\n", onestore.damage);
	for (int code = 0; code < 64; code++)
		if (onestore.found_codes >> code & 1)
			print_message("found: problem %d\n", code);
	for (uint32_t block = 0; block < ONESTORE_BLOCKS; block++)
		if (versions[block] != ONESTORE_BAD && versions[block] != onestore.last[block])
			print_message("block %" PRIu32 ": %" PRIu32 ", was %" PRIu32 "\n", block,
				versions[block], onestore.last[block]);
}

void onestore_expect(bool earlier)
{
	uint32_t versions[ONESTORE_BLOCKS], wanted[ONESTORE_BLOCKS];
	bool right;

	onestore_read(versions);
	right = agrees(versions, onestore.last);
	/* A write that came to a segment's end is two records. */
	for (unsigned int k = 0; !right && earlier && k < onestore.n_ops; k++)
		for (uint32_t part = 0; !right && part <= onestore.ops[k].count; part++) {
			model(k, wanted);
			apply(&onestore.ops[k], part, wanted);
			right = agrees(versions, wanted);
		}
	if (!right)
		print_difference(versions);
	assert_true(right);
}

unsigned int onestore_bad_blocks(void)
{
	uint32_t versions[ONESTORE_BLOCKS];
	unsigned int n = 0;

	onestore_read(versions);
	for (uint32_t block = 0; block < ONESTORE_BLOCKS; block++)
		n += versions[block] == ONESTORE_BAD;
	return n;
}

/* Repair what was damaged; the second run is clean, and nothing that is read is wrong. */
void onestore_repair(bool may_be_torn)
{
	unsigned int left = onestore_check(YES, true);
	bool cut = onestore.cut;

	assert_int_equal(left, 0);
	onestore.found_codes = 0;
	for (int code = 0; code < 64; code++)
		onestore.found_codes |= (uint64_t)(onestore.asked[code] > 0) << code;
	left = onestore_check(NO, true);
	for (int code = 0; left > 0 && code < 64; code++)
		if (onestore.asked[code])
			print_message("left: problem %d\n", code);
	assert_int_equal(left, 0);
	onestore.cut = cut;
	onestore_expect(cut || may_be_torn);
}

/* ---- damage ---- */

/* The file of the disk's log with that suffix. */
int onestore_file(const char *suffix)
{
	char name[ID_TEXT], file[ID_TEXT + 8];
	int dirfd = log_of("web", name), fd;

	snprintf(file, sizeof(file), "%s.%s", name, suffix);
	fd = openat(dirfd, file, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	close(dirfd);
	return fd;
}

static void flip(int fd, uint64_t at, unsigned int bit)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= (uint8_t)(1u << bit);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

void onestore_flip(const char *suffix, uint64_t at, unsigned int bit)
{
	flip(onestore_file(suffix), at, bit);
}

void onestore_flip_layer(const struct id *layer, uint64_t at, unsigned int bit)
{
	char name[ID_TEXT], path[64];

	id_format(layer, name);
	snprintf(path, sizeof(path), "store/layers/%s.log", name);
	flip(open(onestore_path(path), O_RDWR | O_CLOEXEC), at, bit);
}

uint64_t onestore_file_bytes(const char *suffix)
{
	struct stat st;
	int fd = onestore_file(suffix);

	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	return (uint64_t)st.st_size;
}

bool onestore_has(const char *suffix)
{
	char name[ID_TEXT], file[ID_TEXT + 8];
	int dirfd = log_of("web", name);
	bool has;

	snprintf(file, sizeof(file), "%s.%s", name, suffix);
	has = faccessat(dirfd, file, F_OK, 0) == 0;
	close(dirfd);
	return has;
}

void onestore_unlink(const char *suffix)
{
	char name[ID_TEXT], file[ID_TEXT + 8];
	int dirfd = log_of("web", name);

	snprintf(file, sizeof(file), "%s.%s", name, suffix);
	assert_int_equal(unlinkat(dirfd, file, 0), 0);
	close(dirfd);
}

int onestore_setup(void **state)
{
	uint64_t seed = rng_seed();

	print_message("SEED=%" PRIu64 "\n", seed);
	onestore.rng = seed;
	temp_dir_fast("test-store", onestore.top);
	return 0;
}

int onestore_teardown(void **state)
{
	temp_dir_remove(onestore.top);
	return 0;
}
