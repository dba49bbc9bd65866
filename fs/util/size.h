/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes, durations and dates as people read them. */
#ifndef FS_UTIL_SIZE_H
#define FS_UTIL_SIZE_H

#include <stdint.h>

#include "fs/util/err.h"

#define SIZE_TEXT 32

/* "0 B", "512 B", "1.5 MiB", "8.0 GiB": three digits at most before the unit. */
const char *size_format(uint64_t bytes, char text[static SIZE_TEXT]);

/* "4096", "64K", "1.5G", "10GiB", "2MB": K, M, G, T are powers of 1024, with or
 * without "iB" or "B" behind, in either case. At most max. -EINVAL: what names
 * it in the message. */
int size_parse(const char *what, const char *text, uint64_t max, uint64_t *ret_bytes,
	struct err *err);

/* "870 us", "4.2 ms", "1.31 s", "2 min 05 s". */
const char *duration_format(uint64_t ns, char text[static SIZE_TEXT]);

/* Local time, "2026-11-20 14:15:02". */
const char *date_format(int64_t sec, char text[static SIZE_TEXT]);

#endif
