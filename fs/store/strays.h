/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Logs in a clone's directory that its manifest does not name: what a freeze or reset left. */
#ifndef FS_STORE_STRAYS_H
#define FS_STORE_STRAYS_H

#include <stdbool.h>

#include "fs/store/store.h"

/* Is entry, a file in the directory of the clone of m, one of them? */
bool strays_is_one(const struct manifest *m, const char *entry);

/* Delete them. Only for the one daemon of the store, while none of the clone's
 * disks is open. fd: the clone's directory, m: its manifest. */
int strays_sweep(const struct io_gate *io, int fd, const struct manifest *m);

#endif
