/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk in a scratch directory: a base file, layers, a delta, and opening them again. */
#ifndef TESTS_UNIT_FS_DISK_RIG_H
#define TESTS_UNIT_FS_DISK_RIG_H

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/disk/disk.h"
#include "fs/util/id.h"
#include "tests/lib/rawbase.h"
#include "tests/lib/scratch.h"

#define RIG_LAYERS_MAX 40

struct rig {
	char base[SCRATCH_PATH_MAX]; /* "" : no base */
	char name[ID_TEXT];          /* of the delta */
	uint64_t limit_bytes;
	int dirfd; /* logs and layers lie in one directory */
	const struct io_gate *io;
	struct layer_pool *pool;
	struct rig_layer {
		struct id id;
		uint64_t size_bytes;
	} layers[RIG_LAYERS_MAX]; /* newest first */
	uint32_t n_layers;
	struct disk *disk;
	struct layer *frozen; /* by the last swap; the disk's */
};

static inline struct delta *rig_open_delta(struct rig *rig)
{
	const struct delta_options options = {.io = rig->io};
	struct delta *delta = NULL;
	struct err err = {0};

	if (delta_open(rig->dirfd, rig->name, &options, &delta, &err) < 0)
		fail_msg("%s", err.message);
	return delta;
}

static inline void rig_open(struct rig *rig)
{
	struct delta *delta = rig_open_delta(rig);
	struct layer *layers[RIG_LAYERS_MAX];
	struct base *base = NULL;
	struct err err = {0};

	for (uint32_t i = 0; i < rig->n_layers; i++)
		if (layer_hold(rig->pool, &rig->layers[i].id, rig->layers[i].size_bytes, &layers[i],
			    &err) < 0)
			fail_msg("%s", err.message);
	if (rig->base[0] != '\0' && rawbase_hold(rig->base, NULL, &base, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(disk_open(delta, layers, rig->n_layers, base, rig->limit_bytes,
				 &rig->disk), 0);
	assert_int_equal(disk_layers(rig->disk), rig->n_layers);
}

/* A new delta; its name is the rig's from now on. */
static inline void rig_new_delta(struct rig *rig, uint64_t size_bytes)
{
	struct id id = id_new();

	id_format(&id, rig->name);
	assert_int_equal(delta_create(rig->io, rig->dirfd, rig->name, size_bytes, NULL), 0);
}

/* Make a scratch directory with a disk of size bytes over a base file with
 * (data, len) and holes up to base_bytes; base_bytes 0: none. io NULL: the kernel. */
static inline void rig_start_with(struct rig *rig, const struct io_gate *io, uint64_t size_bytes,
	const void *data, size_t len, uint64_t base_bytes)
{
	*rig = (struct rig){.limit_bytes = base_bytes, .io = io};
	scratch_make();
	rig->dirfd = open(scratch_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(rig->dirfd >= 0);
	assert_int_equal(layer_pool_new(io, rig->dirfd, false, &rig->pool), 0);
	if (base_bytes > 0)
		scratch_file(scratch_path(rig->base, "base.raw"), data, len, base_bytes);
	rig_new_delta(rig, size_bytes);
	rig_open(rig);
}

static inline void rig_start(struct rig *rig, uint64_t size_bytes, const void *data, size_t len,
	uint64_t base_bytes)
{
	rig_start_with(rig, NULL, size_bytes, data, len, base_bytes);
}

static inline void rig_close(struct rig *rig, bool killed)
{
	if (killed)
		disk_abandon(rig->disk);
	else
		assert_int_equal(disk_close(rig->disk), 0);
	rig->disk = NULL;
}

static inline void rig_reopen(struct rig *rig, bool killed)
{
	rig_close(rig, killed);
	rig_open(rig);
}

/* The delta of a stopped and flushed disk becomes its newest layer. */
static inline void rig_swap(struct rig *rig)
{
	uint64_t size_bytes = disk_size(rig->disk);
	struct layer *layer;
	struct id id;

	assert_int_equal(id_parse(rig->name, &id), 0);
	assert_int_equal(layer_expect(rig->pool, &id, &layer), 0);
	rig_new_delta(rig, size_bytes);
	assert_int_equal(disk_prepare(rig->disk, rig_open_delta(rig), layer), 0);
	disk_freeze(rig->disk);
	rig->frozen = layer;
	memmove(rig->layers + 1, rig->layers, rig->n_layers * sizeof(*rig->layers));
	rig->layers[0] = (struct rig_layer){.id = id, .size_bytes = size_bytes};
	rig->n_layers++;
}

static inline void rig_freeze(struct rig *rig)
{
	assert_int_equal(disk_stop(rig->disk, 1000), 0);
	assert_int_equal(disk_flush(rig->disk), 0);
	rig_swap(rig);
	disk_go_on(rig->disk);
	assert_int_equal(layer_freeze(rig->frozen), 0);
}

/* Throw away the delta and the newest layers. */
static inline void rig_reset(struct rig *rig, uint32_t dropped)
{
	uint64_t size_bytes = disk_size(rig->disk);

	rig_close(rig, false);
	rig->n_layers -= dropped;
	memmove(rig->layers, rig->layers + dropped, rig->n_layers * sizeof(*rig->layers));
	rig_new_delta(rig, size_bytes);
	rig_open(rig);
}

static inline void rig_end(struct rig *rig)
{
	if (rig->disk)
		disk_abandon(rig->disk);
	rig->disk = NULL;
	layer_pool_free(rig->pool);
	rig->pool = NULL;
	if (rig->dirfd > 0)
		close(rig->dirfd);
	rig->dirfd = -1;
	scratch_remove();
}

#endif
