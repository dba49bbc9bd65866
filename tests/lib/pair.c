/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two disks and their layers: see pair.h. */
#include "tests/lib/pair.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/freeze.h"
#include "tests/lib/image.h"
#include "tests/lib/stamps.h"

/* Anything of a clone's that the store does not look into. */
static char *text(const char *s)
{
	return need_memory(strdup(s));
}

static struct manifest *new_manifest(uint32_t n_blocks)
{
	struct manifest *m;

	if (manifest_new(PAIR_NAME, &m) < 0)
		abort();
	for (int i = 0; i < PAIR_DISKS; i++) {
		struct store_disk *disk = need_memory(manifest_add_disk(m, i ? "vdb" : "vda"));

		disk->size_bytes = (uint64_t)n_blocks * DELTA_BLOCK_BYTES;
		disk->base_path = text("/images/a.img");
		disk->base_format = text("raw");
		disk->base_identity = text("ino=1");
		disk->mode = 0600;
	}
	return m;
}

int pair_make(const struct io_gate *io, const char *path, uint32_t n_blocks, struct err *err)
{
	struct manifest *m = new_manifest(n_blocks);
	struct store *store = NULL;
	struct store_stage *stage;
	int rc = store_create(io, path, err);

	if (rc == 0)
		rc = store_open(io, path, &store, err);
	if (rc == 0)
		rc = store_stage(store, m, &stage, err);
	if (rc == 0)
		rc = store_commit(stage, err);
	store_close(store);
	manifest_free(m);
	return rc;
}

static int open_one(struct pair *pair, int dirfd, const struct id *id, bool layer,
	struct delta **ret_delta, struct err *err)
{
	const struct delta_options options = {.io = pair->io, .layer = layer};
	char name[ID_TEXT];

	id_format(id, name);
	return delta_open(dirfd, name, &options, ret_delta, err);
}

static int open_layers(struct pair *pair, uint32_t i, int fd, struct err *err)
{
	const struct store_disk *from = &pair->m->disks[i];
	struct pair_disk *disk = &pair->disk[i];
	int rc = 0;

	assert(from->n_layers <= PAIR_LAYERS_MAX);
	for (uint32_t k = 0; rc == 0 && k < from->n_layers; k++) {
		rc = open_one(pair, fd, &from->layers[k].id, true, &disk->layer[k], err);
		disk->n_layers += rc == 0;
	}
	return rc;
}

static int open_disks(struct pair *pair, struct err *err)
{
	int fd = store_clone_dirfd(pair->store, PAIR_NAME);
	int layers_fd = pair->io->openat(
		pair->io, store_dirfd(pair->store), "layers", O_RDONLY | O_DIRECTORY, 0);
	int rc = fd < 0 ? fd : layers_fd < 0 ? layers_fd : 0;

	if (rc < 0)
		err_sys(err, rc, "directories of the clone");
	for (uint32_t i = 0; rc == 0 && i < PAIR_DISKS; i++) {
		rc = open_layers(pair, i, layers_fd, err);
		if (rc == 0)
			rc = open_one(pair, fd, &pair->m->disks[i].log, false,
				&pair->disk[i].delta, err);
	}
	if (fd >= 0)
		pair->io->close(pair->io, fd);
	if (layers_fd >= 0)
		pair->io->close(pair->io, layers_fd);
	return rc;
}

/* Closes the layers, and the deltas if they are still open. */
static void drop_disks(struct pair *pair)
{
	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		struct pair_disk *disk = &pair->disk[i];

		for (uint32_t k = 0; k < disk->n_layers; k++)
			delta_abandon(disk->layer[k]);
		if (disk->delta)
			delta_abandon(disk->delta);
		memset(disk, 0, sizeof(*disk));
	}
}

int pair_open(const struct io_gate *io, const char *path, uint32_t n_blocks, struct pair *pair,
	struct err *err)
{
	int rc;

	memset(pair, 0, sizeof(*pair));
	pair->io = io;
	pair->n_blocks = n_blocks;
	rc = store_open(io, path, &pair->store, err);
	if (rc == 0)
		rc = store_lock(pair->store, err);
	if (rc == 0)
		rc = store_sweep(pair->store, err);
	if (rc == 0)
		rc = store_clone_settle(pair->store, PAIR_NAME, err);
	if (rc == 0)
		rc = store_manifest_read(pair->store, PAIR_NAME, &pair->m, err);
	if (rc == 0)
		rc = open_disks(pair, err);
	if (rc < 0)
		pair_abandon(pair);
	return rc;
}

void pair_abandon(struct pair *pair)
{
	drop_disks(pair);
	manifest_free(pair->m);
	pair->m = NULL;
	store_close(pair->store);
	pair->store = NULL;
}

static int close_deltas(struct pair *pair)
{
	int rc = 0;

	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		int one = delta_close(pair->disk[i].delta);

		pair->disk[i].delta = NULL;
		rc = rc < 0 ? rc : one;
	}
	return rc;
}

int pair_close(struct pair *pair)
{
	int rc = close_deltas(pair);

	pair_abandon(pair);
	return rc;
}

/* What is still absent comes from delta. */
static int read_below(struct delta *delta, uint32_t n_blocks, uint32_t *versions)
{
	uint32_t *below = need_memory(calloc(n_blocks, sizeof(*below)));
	int rc = stamps_read(delta, n_blocks, below);

	for (uint32_t b = 0; rc == 0 && b < n_blocks; b++) {
		if (versions[b] == STAMP_ABSENT)
			versions[b] = below[b];
	}
	free(below);
	return rc;
}

int pair_read(struct pair *pair, uint32_t i, uint32_t *ret_versions)
{
	struct pair_disk *disk = &pair->disk[i];
	int rc;

	memset(ret_versions, 0, pair->n_blocks * sizeof(*ret_versions));
	rc = read_below(disk->delta, pair->n_blocks, ret_versions);
	for (uint32_t k = 0; rc == 0 && k < disk->n_layers; k++)
		rc = read_below(disk->layer[k], pair->n_blocks, ret_versions);
	return rc;
}

static int flush_all(struct pair *pair, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < PAIR_DISKS; i++)
		rc = delta_flush(pair->disk[i].delta);
	return rc < 0 ? err_sys(err, rc, "flush") : 0;
}

/* The new deltas, opened before the commit so that it is the last thing that
 * can fail. */
static int open_new(struct pair *pair, const struct manifest *next, struct store_change *change,
	struct delta **fresh, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < PAIR_DISKS; i++)
		rc = open_one(pair, store_change_dirfd(change), &next->disks[i].log, false,
			&fresh[i], err);
	return rc;
}

static void take_new(struct pair *pair, struct delta **fresh)
{
	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		struct pair_disk *disk = &pair->disk[i];

		assert(disk->n_layers < PAIR_LAYERS_MAX);
		memmove(disk->layer + 1, disk->layer, disk->n_layers * sizeof(disk->layer[0]));
		disk->layer[0] = disk->delta;
		disk->n_layers++;
		disk->delta = fresh[i];
		fresh[i] = NULL;
	}
}

/* Marking what was committed is no part of the freeze: opening does it else. */
static void mark_layers(struct pair *pair)
{
	for (uint32_t i = 0; i < PAIR_DISKS; i++)
		delta_freeze(pair->disk[i].layer[0]);
}

static int change_to(struct pair *pair, struct manifest *next, struct err *err)
{
	struct delta *fresh[PAIR_DISKS] = {NULL};
	struct store_change *change;
	int rc = store_change_begin(pair->store, pair->m, next, &change, err);

	if (rc < 0)
		return rc;
	rc = open_new(pair, next, change, fresh, err);
	if (rc == 0)
		rc = store_change_commit(change, err);
	if (rc == 0) {
		take_new(pair, fresh);
		mark_layers(pair);
	}
	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		if (fresh[i])
			delta_abandon(fresh[i]);
	}
	store_change_end(change);
	return rc;
}

int pair_freeze(struct pair *pair, const char *snapshot, struct err *err)
{
	uint64_t sizes[PAIR_DISKS];
	struct manifest *next;
	int rc = flush_all(pair, err);

	for (uint32_t i = 0; i < PAIR_DISKS; i++)
		sizes[i] = delta_size(pair->disk[i].delta);
	if (rc == 0)
		rc = freeze_plan(pair->m, sizes, snapshot, &next, err);
	if (rc < 0)
		return rc;
	rc = change_to(pair, next, err);
	if (rc < 0) {
		manifest_free(next);
		return rc;
	}
	manifest_free(pair->m);
	pair->m = next;
	return 0;
}

int pair_reset(struct pair *pair, const char *to, struct err *err)
{
	struct manifest *next;
	int rc = close_deltas(pair);

	if (rc < 0) /* what is thrown away need not be closed well */
		rc = 0;
	drop_disks(pair);
	rc = store_reset(pair->store, pair->m, to, NULL, &next, err);
	if (rc == -ENOTRECOVERABLE)
		return rc;
	if (rc == 0) {
		manifest_free(pair->m);
		pair->m = next;
	}
	return open_disks(pair, rc < 0 ? NULL : err) < 0 ? -EIO : rc;
}

int pair_grow(struct pair *pair, uint32_t i, uint64_t size_bytes, struct err *err)
{
	uint64_t before = pair->m->disks[i].size_bytes;
	int rc = delta_grow(pair->disk[i].delta, size_bytes);

	if (rc < 0)
		return err_sys(err, rc, "grow");
	pair->m->disks[i].size_bytes = size_bytes;
	rc = store_manifest_write(pair->store, pair->m, err);
	if (rc < 0)
		pair->m->disks[i].size_bytes = before;
	return rc;
}
