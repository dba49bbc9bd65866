/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unpacking of one cluster's bytes: see inflate.h. */
#include "fs/base/inflate.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "fs/util/cleanup.h"

/* Raw deflate: negative. The format's packers use windows of 4 KiB. */
#define DEFLATE_WINDOW_BITS (-12)

struct room {
	void *bytes;
	size_t len;
};

struct inflater {
	z_stream deflate;
	bool deflate_made;
	ZSTD_DCtx *zstd; /* NULL until it is needed */
	struct room packed;
	struct room prefix;
	struct inflater *next; /* idle: under the pool's lock */
};

static struct {
	pthread_mutex_t lock;
	struct inflater *idle;
	unsigned int n_idle;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct inflater *inflater_get(void)
{
	{
		SCOPED_LOCK(&pool.lock);
		struct inflater *inflater = pool.idle;

		if (inflater) {
			pool.idle = inflater->next;
			pool.n_idle--;
			return inflater;
		}
	}
	return calloc(1, sizeof(struct inflater));
}

static bool keep_idle(struct inflater *inflater)
{
	SCOPED_LOCK(&pool.lock);
	if (pool.n_idle == INFLATE_IDLE_MAX)
		return false;
	inflater->next = pool.idle;
	pool.idle = inflater;
	pool.n_idle++;
	return true;
}

void inflater_put(struct inflater *inflater)
{
	if (keep_idle(inflater))
		return;
	if (inflater->deflate_made)
		inflateEnd(&inflater->deflate);
	ZSTD_freeDCtx(inflater->zstd);
	free(inflater->packed.bytes);
	free(inflater->prefix.bytes);
	free(inflater);
}

static void *room_for(struct room *room, size_t len)
{
	if (room->len >= len)
		return room->bytes;
	free(room->bytes);
	room->bytes = malloc(len);
	room->len = room->bytes ? len : 0;
	return room->bytes;
}

void *inflater_packed(struct inflater *inflater, size_t len)
{
	return room_for(&inflater->packed, len);
}

void *inflater_prefix(struct inflater *inflater, size_t len)
{
	return room_for(&inflater->prefix, len);
}

static int ready_deflate(struct inflater *inflater)
{
	if (inflater->deflate_made)
		return inflateReset(&inflater->deflate) == Z_OK ? 0 : -EIO;
	if (inflateInit2(&inflater->deflate, DEFLATE_WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	inflater->deflate_made = true;
	return 0;
}

int inflate_deflate(
	struct inflater *inflater, const void *packed, size_t packed_len, void *out, size_t out_len)
{
	z_stream *stream = &inflater->deflate;
	int rc = ready_deflate(inflater);

	if (rc < 0)
		return rc;
	stream->next_in = (z_const Bytef *)packed;
	stream->avail_in = (uInt)packed_len;
	stream->next_out = out;
	stream->avail_out = (uInt)out_len;
	rc = inflate(stream, Z_FINISH);
	if (rc == Z_MEM_ERROR)
		return -ENOMEM;
	/* Z_BUF_ERROR: out is full, and more would come. */
	if ((rc != Z_STREAM_END && rc != Z_BUF_ERROR) || stream->avail_out != 0)
		return -EUCLEAN;
	return 0;
}

static int ready_zstd(struct inflater *inflater)
{
	if (!inflater->zstd) {
		inflater->zstd = ZSTD_createDCtx();
		if (!inflater->zstd)
			return -ENOMEM;
		ZSTD_DCtx_setParameter(
			inflater->zstd, ZSTD_d_windowLogMax, INFLATE_ZSTD_WINDOW_LOG);
	}
	ZSTD_DCtx_reset(inflater->zstd, ZSTD_reset_session_only);
	return 0;
}

int inflate_zstd(
	struct inflater *inflater, const void *packed, size_t packed_len, void *out, size_t out_len)
{
	ZSTD_inBuffer in = {packed, packed_len, 0};
	ZSTD_outBuffer o = {out, out_len, 0};
	int rc = ready_zstd(inflater);

	if (rc < 0)
		return rc;
	/* A cluster may be several frames. */
	while (o.pos < o.size) {
		size_t in_before = in.pos;
		size_t out_before = o.pos;

		size_t rest = ZSTD_decompressStream(inflater->zstd, &o, &in);

		if (ZSTD_isError(rest))
			return ZSTD_getErrorCode(rest) == ZSTD_error_memory_allocation ? -ENOMEM
										       : -EUCLEAN;
		if (in.pos == in_before && o.pos == out_before)
			return -EUCLEAN;
	}
	return 0;
}
