/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is behind `struct delta`. */
#ifndef FS_STORE_HANDLE_H
#define FS_STORE_HANDLE_H

#include <stdatomic.h>
#include <stdint.h>

#include "fs/store/log.h"

struct delta {
	struct log log;
	_Atomic uint64_t size_bytes; /* grows only */
};

/* A handle that nothing was opened for, to be filled in by who looks at a delta
 * without its lock; end it with delta_abandon(). NULL: no memory. */
struct delta *delta_new_view(const struct io_gate *io, int dirfd, const char *name);

static inline uint64_t delta_blocks(const struct delta *delta)
{
	uint64_t size = atomic_load(&delta->size_bytes);

	return (size + DELTA_BLOCK_BYTES - 1) >> DELTA_BLOCK_SHIFT;
}

#endif
