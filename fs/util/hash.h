/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XXH3, the one checksum of the project; hash.c is the only file that knows the library.
 *
 * It lives on the floor rather than in fs/store because base files are
 * sampled with it too and the two rooms may not include each other.
 */
#ifndef FS_UTIL_HASH_H
#define FS_UTIL_HASH_H

#include <stddef.h>
#include <stdint.h>

/* 64-bit XXH3 of len bytes. */
uint64_t hash64(const void *data, size_t len, uint64_t seed);

/* The same of data that comes in pieces. NULL without memory. */
struct hash64_stream;

struct hash64_stream *hash64_begin(uint64_t seed);
void hash64_add(struct hash64_stream *stream, const void *data, size_t len);
uint64_t hash64_so_far(const struct hash64_stream *stream);
void hash64_free(struct hash64_stream *stream); /* NULL allowed */

#endif
