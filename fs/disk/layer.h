/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the disks: open layers, one for all disks that stand on it.
 *
 * A layer is a frozen delta (fs/store/freeze.h). All disks of a process that
 * have it below them share one open delta, counted; the last to release it
 * closes it. A pool belongs to one store's directory of layers.
 *
 * Threads: every call from any thread. Opening and closing a layer hold no
 * lock; who wants that layer meanwhile waits for it, others do not.
 */
#ifndef FS_DISK_LAYER_H
#define FS_DISK_LAYER_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/delta.h"
#include "fs/util/err.h"
#include "fs/util/id.h"

struct layer;
struct layer_pool;

/* dirfd: of the directory of layers; stays the caller's, open as long as the
 * pool. io NULL: the kernel. */
int layer_pool_new(const struct io_gate *io, int dirfd, bool force_takeover,
	struct layer_pool **ret_pool);
void layer_pool_free(struct layer_pool *pool); /* all are released; NULL allowed */

/* Index memory of all open layers. */
uint64_t layer_pool_index_bytes(struct layer_pool *pool);

/* Open it, or share it with who has it open. size_bytes: what the manifest
 * says; -EUCLEAN if the layer says otherwise, or as delta_open(). */
int layer_hold(struct layer_pool *pool, const struct id *id, uint64_t size_bytes,
	struct layer **ret_layer, struct err *err);
void layer_release(struct layer *layer); /* NULL allowed */

/* A delta that is about to become the layer called id: first the memory, then,
 * once the manifest says so, the delta, without fail; its space is its clone's
 * no more. In between nobody else
 * may hold it by its id. The caller has the one hold; released without a
 * delta, it is as if it had never been. */
int layer_expect(struct layer_pool *pool, const struct id *id, struct layer **ret_layer);
void layer_adopt(struct layer *layer, struct delta *delta);

/* Mark an adopted delta as frozen (delta_freeze). Not needed for data to be
 * safe: a layer that is not marked is when it is opened again. */
int layer_freeze(struct layer *layer);

const struct id *layer_id(const struct layer *layer);

#endif
