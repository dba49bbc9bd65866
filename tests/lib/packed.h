/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packing as the writers of qcow2 images do it. */
#ifndef TESTS_LIB_PACKED_H
#define TESTS_LIB_PACKED_H

#include <stddef.h>

/* Bytes packed; ends the program when they do not fit. */
size_t packed_deflate(const void *plain, size_t len, void *packed, size_t room);
size_t packed_zstd(const void *plain, size_t len, void *packed, size_t room);

/* A frame that does not say its length, and wants this window. */
size_t packed_zstd_window(
	const void *plain, size_t len, int window_log, void *packed, size_t room);

#endif
