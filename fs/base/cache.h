/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A bounded, process-wide cache of pieces of images. Private to fs/base.
 *
 * A piece is known by its owner (an open image) and an offset, and never
 * changes. Of each kind at most a fixed number of bytes is kept; the oldest go
 * first, unless they were used since it was last their turn.
 *
 *	cache_get    the piece: kept, or fetched now
 *	cache_peek   only if it is kept
 *	blob_put     done with it
 *	cache_forget an owner has gone
 *
 * Many who miss the same piece at once wait for one fetch; if that fails all
 * of them get its error, and the next who asks fetches again. A caller that
 * must not wait (nowait) fetches for itself what its fetch function can
 * without waiting, and is never waited for.
 *
 * Any thread. No lock is held while a piece is fetched or used. A piece that
 * is dropped lives on until the last one puts it back, so what is in memory is
 * the limit and one piece for each thread.
 */
#ifndef FS_BASE_CACHE_H
#define FS_BASE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of tables: they map 256 GiB of an image with 64 KiB clusters. */
#define CACHE_TABLES_MAX (32u << 20)
/* Bytes of unpacked clusters. */
#define CACHE_CLUSTERS_MAX (64u << 20)

enum cache_kind { CACHE_TABLES, CACHE_CLUSTERS, N_CACHE_KINDS };

struct blob;

struct cache_key {
	uint64_t owner;
	uint64_t off;
};

/* Fill buf. 0 or -errno; with nowait -EAGAIN instead of waiting. */
typedef int cache_fetch(void *with, void *buf, size_t len, uint64_t off, bool nowait);

/* A number that no other owner has. */
uint64_t cache_owner(void);

/* 0 and the piece, to be put back; or the -errno of its fetch, -ENOMEM, with
 * nowait -EAGAIN. All who ask for one piece ask for the same len. */
int cache_get(enum cache_kind kind, struct cache_key key, size_t len, bool nowait,
	cache_fetch *fetch, void *with, struct blob **ret_blob);

/* NULL: not kept, or still being fetched. */
struct blob *cache_peek(enum cache_kind kind, struct cache_key key);

const void *blob_bytes(const struct blob *blob);
void blob_put(struct blob *blob); /* NULL allowed */

/* Drop what an owner has. None of its pieces may be asked for any more. */
void cache_forget(uint64_t owner);

/* Bytes kept of a kind, at this moment. */
uint64_t cache_bytes(enum cache_kind kind);

#endif
