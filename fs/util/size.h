/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes, durations and dates as people read them. */
#ifndef FS_UTIL_SIZE_H
#define FS_UTIL_SIZE_H

#include <stdint.h>

#define SIZE_TEXT 32

/* "0 B", "512 B", "1.5 MiB", "8.0 GiB": three digits at most before the unit. */
const char *size_format(uint64_t bytes, char text[static SIZE_TEXT]);

/* "870 us", "4.2 ms", "1.31 s", "2 min 05 s". */
const char *duration_format(uint64_t ns, char text[static SIZE_TEXT]);

/* Local time, "2026-11-20 14:15:02". */
const char *date_format(int64_t sec, char text[static SIZE_TEXT]);

#endif
