/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk of a clone put together for reading only: without a daemon, without a write. */
#ifndef TOOLS_STACK_H
#define TOOLS_STACK_H

#include "fs/disk/disk.h"
#include "fs/store/store.h"

/* Which of a disk's states. */
struct stack_wanted {
	const char *clone, *target;
	const char *snapshot; /* or NULL */
	const char *layer;    /* an id, or NULL: as the disk is now */
};

struct stack_view {
	struct disk *disk;
	struct layer_pool *pool;
	int layers_fd;
	int lock_fd; /* keeps the daemon from opening the disk; -1: it may */
};

/* -EBUSY: a daemon has the disk open, and what it is now was asked for. -ENOENT:
 * there is no such clone, disk, snapshot or layer. */
int stack_open(struct store *store, const struct stack_wanted *wanted,
	struct stack_view *ret_view, struct err *err);
void stack_close(struct stack_view *view);

#endif
