/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unpacking of one cluster's bytes: raw deflate and zstd. Private to fs/base.
 *
 * An inflater keeps what both libraries need between uses, and room for
 * packed bytes. It belongs to one thread at a time; the idle ones wait in a
 * pool.
 */
#ifndef FS_BASE_INFLATE_H
#define FS_BASE_INFLATE_H

#include <stddef.h>

/* Largest window that a zstd frame may ask for, 8 MiB: four times the largest cluster. */
#define INFLATE_ZSTD_WINDOW_LOG 23

/* Idle inflaters kept for the next who needs one. */
#define INFLATE_IDLE_MAX 8

struct inflater;

/* NULL: no memory. */
struct inflater *inflater_get(void);
void inflater_put(struct inflater *inflater);

/* Room for len bytes; the same until the next call. NULL: no memory. */
void *inflater_packed(struct inflater *inflater, size_t len); /* for packed bytes */
void *inflater_prefix(struct inflater *inflater, size_t len); /* for unpacked ones */

/* Fill out with the first out_len bytes of what packed unpacks to. What
 * follows in packed is ignored. -EUCLEAN: it does not unpack to that many. */
int inflate_deflate(struct inflater *inflater, const void *packed, size_t packed_len, void *out,
	size_t out_len);
int inflate_zstd(struct inflater *inflater, const void *packed, size_t packed_len, void *out,
	size_t out_len);

#endif
