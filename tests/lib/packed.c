/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packing as the writers of qcow2 images do it: see packed.h. */
#include "tests/lib/packed.h"

#include <assert.h>
#include <zlib.h>
#include <zstd.h>

size_t packed_deflate(const void *plain, size_t len, void *packed, size_t room)
{
	z_stream stream = {0};

	assert(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9,
		       Z_DEFAULT_STRATEGY) == Z_OK);
	stream.next_in = (z_const Bytef *)plain;
	stream.avail_in = (uInt)len;
	stream.next_out = packed;
	stream.avail_out = (uInt)room;
	assert(deflate(&stream, Z_FINISH) == Z_STREAM_END);
	deflateEnd(&stream);
	return room - stream.avail_out;
}

size_t packed_zstd(const void *plain, size_t len, void *packed, size_t room)
{
	size_t packed_len = ZSTD_compress(packed, room, plain, len, 3);

	assert(!ZSTD_isError(packed_len));
	return packed_len;
}

size_t packed_zstd_window(const void *plain, size_t len, int window_log, void *packed, size_t room)
{
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	ZSTD_outBuffer out = {packed, room, 0};
	ZSTD_inBuffer in = {plain, len, 0};

	assert(zstd);
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, window_log);
	ZSTD_compressStream2(zstd, &out, &in, ZSTD_e_flush);
	assert(ZSTD_compressStream2(zstd, &out, &in, ZSTD_e_end) == 0);
	ZSTD_freeCCtx(zstd);
	return out.pos;
}
