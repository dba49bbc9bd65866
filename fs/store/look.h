/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A delta as opening it would find it, without its lock and without a write. */
#ifndef FS_STORE_LOOK_H
#define FS_STORE_LOOK_H

#include <stdbool.h>

#include "fs/store/delta.h"

/* Replay the delta called name. With checkpoint: from there on, if it counts;
 * else all of the log. What can be read from it: delta_map, delta_read,
 * delta_verify, delta_stats; end it with delta_abandon(). Errors as
 * delta_open(); beside somebody who writes, -EUCLEAN may be no damage. */
int delta_look(const struct io_gate *io, int dirfd, const char *name, bool checkpoint,
	struct delta **ret_view, struct err *err);

/* The same for one that nothing was ever written to. */
int delta_look_empty(const struct io_gate *io, uint64_t size_bytes, struct delta **ret_view);

#endif
