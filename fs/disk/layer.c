/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sharing open layers: see layer.h. */
#include "fs/disk/layer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "fs/disk/private.h"
#include "fs/util/cleanup.h"

struct layer_pool {
	/* set once */
	const struct io_gate *io;
	int dirfd;
	bool force_takeover;

	pthread_mutex_t lock;
	pthread_cond_t settled; /* a layer is open, adopted, or gone */
	void *by_id;            /* lock; a tsearch() tree of layers */
	uint64_t index_bytes;   /* lock; of those that are open */
};

int layer_pool_new(const struct io_gate *io, int dirfd, bool force_takeover,
	struct layer_pool **ret_pool)
{
	struct layer_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pool->io = io;
	pool->dirfd = dirfd;
	pool->force_takeover = force_takeover;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->settled, NULL);
	*ret_pool = pool;
	return 0;
}

void layer_pool_free(struct layer_pool *pool)
{
	if (!pool)
		return;
	assert(!pool->by_id);
	pthread_cond_destroy(&pool->settled);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

uint64_t layer_pool_index_bytes(struct layer_pool *pool)
{
	SCOPED_LOCK(&pool->lock);

	return pool->index_bytes;
}

static int by_id(const void *a, const void *b)
{
	const struct layer *x = a, *y = b;

	return memcmp(x->id.byte, y->id.byte, ID_BYTES);
}

/* A layer in the tree that is not settled: others wait. */
static int add_locked(struct layer_pool *pool, const struct id *id, struct layer **ret_layer)
{
	struct layer *layer = calloc(1, sizeof(*layer));
	struct layer *const *node;

	if (!layer)
		return -ENOMEM;
	layer->pool = pool;
	layer->id = *id;
	layer->holds = 1;
	node = tsearch(layer, &pool->by_id, by_id);
	if (!node) {
		free(layer);
		return -ENOMEM;
	}
	assert(*node == layer);
	*ret_layer = layer;
	return 0;
}

static void settle(struct layer *layer, struct delta *delta)
{
	struct delta_stats stats;

	delta_stats(delta, &stats);
	layer->delta = delta;
	layer->end_block = (delta_size(delta) + BLOCK - 1) / BLOCK;
	layer->data_bytes = stats.data_blocks * BLOCK;
	layer->index_bytes = stats.index_bytes;
	SCOPED_LOCK(&layer->pool->lock);
	layer->settled = true;
	layer->pool->index_bytes += layer->index_bytes;
	pthread_cond_broadcast(&layer->pool->settled);
}

/* It is in the tree, not settled, and nobody holds it. */
static void forget(struct layer *layer)
{
	struct layer_pool *pool = layer->pool;
	SCOPED_LOCK(&pool->lock);

	tdelete(layer, &pool->by_id, by_id);
	pthread_cond_broadcast(&pool->settled);
	free(layer);
}

/* 1: it was there, and is held once more; 0: *ret_layer is new, to be settled
 * or forgotten by the caller. */
static int find_or_add(struct layer_pool *pool, const struct id *id, struct layer **ret_layer)
{
	const struct layer wanted = {.id = *id};
	SCOPED_LOCK(&pool->lock);

	for (;;) {
		struct layer *const *found = tfind(&wanted, &pool->by_id, by_id);

		if (!found)
			return add_locked(pool, id, ret_layer);
		if ((*found)->settled) {
			(*found)->holds++;
			*ret_layer = *found;
			return 1;
		}
		pthread_cond_wait(&pool->settled, &pool->lock);
	}
}

/* One whose freezing was cut short is frozen now. That may need room that there
 * is not; it can be read all the same, by us alone. */
static int open_delta(struct layer *layer, struct delta **ret_delta, struct err *err)
{
	const struct layer_pool *pool = layer->pool;
	struct delta_options options = {
		.io = pool->io, .force_takeover = pool->force_takeover, .layer = true};
	char name[ID_TEXT];
	int rc;

	id_format(&layer->id, name);
	rc = delta_open(pool->dirfd, name, &options, ret_delta, err);
	if (rc != -ENOSPC)
		return rc;
	options.layer = false;
	return delta_open(pool->dirfd, name, &options, ret_delta, err);
}

static int check_size(struct layer *layer, uint64_t size_bytes, struct err *err)
{
	char name[ID_TEXT];

	if (delta_size(layer->delta) == size_bytes)
		return 0;
	id_format(&layer->id, name);
	return err_set(err, -EUCLEAN, "layer %s has another size than the manifest says", name);
}

int layer_hold(struct layer_pool *pool, const struct id *id, uint64_t size_bytes,
	struct layer **ret_layer, struct err *err)
{
	struct layer *layer = NULL;
	struct delta *delta;
	int rc = find_or_add(pool, id, &layer);

	if (rc < 0)
		return err_sys(err, rc, "layer");
	if (rc == 0) {
		rc = open_delta(layer, &delta, err);
		if (rc < 0) {
			err_prefix(err, "layer");
			forget(layer);
			return rc;
		}
		settle(layer, delta);
	}
	rc = check_size(layer, size_bytes, err);
	if (rc < 0)
		layer_release(layer);
	else
		*ret_layer = layer;
	return rc;
}

void layer_release(struct layer *layer)
{
	struct layer_pool *pool;

	if (!layer)
		return;
	pool = layer->pool;
	{
		SCOPED_LOCK(&pool->lock);

		if (--layer->holds > 0)
			return;
		if (layer->settled)
			pool->index_bytes -= layer->index_bytes;
		/* Who wants it now waits until it is closed. */
		layer->settled = false;
	}
	/* Nothing was written to it since it was flushed. */
	if (layer->delta)
		delta_close(layer->delta);
	forget(layer);
}

int layer_expect(struct layer_pool *pool, const struct id *id, struct layer **ret_layer)
{
	SCOPED_LOCK(&pool->lock);

	return add_locked(pool, id, ret_layer);
}

void layer_adopt(struct layer *layer, struct delta *delta)
{
	delta_disown(delta);
	settle(layer, delta);
}

int layer_freeze(struct layer *layer)
{
	return delta_freeze(layer->delta);
}

const struct id *layer_id(const struct layer *layer)
{
	return &layer->id;
}
